'use strict';
/* LumniTracingProcessor under the real @openai/agents-core. */
process.env.NODE_ENV = 'production';	/* else the SDK does not trace */
const test = require('node:test');
const assert = require('node:assert');
const { Agent, Runner, tool, setTraceProcessors, setTracingDisabled, withTrace,
	withGenerationSpan, withGuardrailSpan, withHandoffSpan,
	withCustomSpan } = require('@openai/agents-core');
const { ScriptedModel, assistantMessage, functionCall, modelError } =
    require('@openai/agents-core/testing');
const { z } = require('zod');
const { Client } = require('lumni');
const { LumniTracingProcessor } = require('lumni/openai-agents');
const { Server, sleep, wait_for } = require('./support.js');

const server = new Server();
let client;
let processor;

test.before(async () => {
	await server.listen();
	client = new Client({ address: server.address });
	processor = new LumniTracingProcessor({ client });
	setTracingDisabled(false);
	setTraceProcessors([processor]);
});
test.after(async () => {
	await client.close(0);
	await server.remove();
});

const runner = new Runner({ groupId: 'chat-1', workflowName: 'support',
	tracingDisabled: false });

function
lines(events) {
	return events.map((e) => [e.type, e.kind, e.name, e.status]
	    .filter((x) => x !== undefined).join(' '));
}

const seen = new Set();

/* The run of the trace that has begun since this was last asked. */
async function
last_run() {
	const start = await wait_for('a run', () => server.events.find(
	    (e) => e.type === 'run_start' && !seen.has(e.runId)));
	seen.add(start.runId);
	return await server.whole_run(start.runId);
}

function
agent(steps, errorFunction) {
	const good = tool({ name: 'good', description: 'g',
		parameters: z.object({ x: z.number() }),
		execute: async ({ x }) => 'ok ' + x });
	const bad = tool({ name: 'bad', description: 'b',
		parameters: z.object({}), errorFunction,
		execute: async () => { throw new Error('boom'); } });
	return new Agent({ name: 'A', instructions: 'i',
		model: new ScriptedModel(steps), tools: [good, bad] });
}

const CALLS = [functionCall('good', { x: 1 }, { callId: 'c1' }),
	functionCall('bad', {}, { callId: 'c2' })];

test('an agent with two tools, one of which fails and is handled', async () => {
	await runner.run(agent([CALLS, [assistantMessage('done')]]), 'hello');
	const events = await last_run();
	assert.deepStrictEqual(lines(events), [
		'run_start support',
		'tool_call good ok',
		'tool_call bad failed',
		'agent_step turn A ok',
		'agent_step turn A ok',
		'agent_step agent A ok',
		'agent_step task support ok',
		'run_end support ok',
	]);
	assert.match(events[0].runId, /^trace_/);
	assert.strictEqual(events[0].threadId, 'chat-1');
	assert.deepStrictEqual([events[1].args, events[1].result],
	    [{ x: 1 }, 'ok 1']);
	assert.strictEqual(events[1].parentId, events[3].stepId);
	assert.strictEqual(events[6].parentId, events[0].runId);
	assert.strictEqual(events[2].origin, true);
	assert.strictEqual(events[7].end, true);
});

test('a run that throws ends, though the SDK never says so', async () => {
	await assert.rejects(runner.run(agent([CALLS], null), 'hello'));
	const events = await last_run();
	assert.deepStrictEqual(lines(events).slice(-4), [
		'agent_step turn A failed',
		'agent_step agent A failed',
		'agent_step task support failed',
		'run_end support failed',
	]);
	const bad = events.find((e) => e.name === 'bad');
	assert.strictEqual(bad.error, 'Error: boom');
	for (const e of events.slice(-4))
		assert.strictEqual(e.originId, bad.stepId, e.error);
	await assert.rejects(runner.run(
	    agent([modelError(new Error('model down'))]), 'hello'));
	const end = (await last_run()).pop();
	assert.strictEqual(end.error, 'Error: model down');
});

test('a trace goes on after a failure: all of it is one run', async () => {
	await withTrace('several', async () => {
		await assert.rejects(runner.run(
		    agent([modelError(new Error('once'))]), 'hello'));
		await sleep(400);
		await runner.run(agent([[assistantMessage('done')]]), 'again');
	});
	const { runId } = (await last_run())[0];
	const events = await wait_for('both ends', () => {
		const all = server.run(runId);
		return all.filter((e) => e.type === 'run_end').length === 2 && all;
	});
	assert.strictEqual(events.filter((e) => e.kind === 'task').length, 2);
});

test('generations, handoffs, guardrails and spans of one\'s own', async () => {
	await withTrace('spans', async () => {
		await withGenerationSpan(async (span) => {
			await sleep(5);
			span.spanData.output = [{ type: 'message',
				role: 'assistant', content: [{ type: 'output_text',
					text: 'hello' }] }];
			span.spanData.usage = { input_tokens: 3, output_tokens: 4 };
		}, { data: { model: 'm-1', input: [{ role: 'user',
			content: 'hi' }] } });
		await withHandoffSpan(async () => {}, { data: {
			from_agent: 'a', to_agent: 'b' } });
		await withGuardrailSpan(async () => {}, { data: { name: 'g',
			triggered: true } });
		await withCustomSpan(async () => {}, { data: { name: 'mine',
			data: { k: 1 } } });
	});
	const events = await last_run();
	assert.deepStrictEqual(lines(events), ['run_start spans',
		'model_call m-1', 'model_output m-1 ok',
		'agent_step handoff handoff ok', 'agent_step guardrail g ok',
		'agent_step custom mine ok', 'run_end spans ok']);
	assert.deepStrictEqual(events[1].messages,
	    [{ role: 'user', text: 'hi' }]);
	assert.strictEqual(events[2].text, 'hello');
	assert.strictEqual(events[2].stepId, events[1].stepId);
	assert.deepStrictEqual(events[2].usage,
	    { inputTokens: 3, outputTokens: 4, totalTokens: 7 });
	assert.deepStrictEqual([events[3].from, events[3].to], ['a', 'b']);
	assert.strictEqual(events[4].triggered, true);
	assert.deepStrictEqual(events[5].data, { k: 1 });
});

test('nothing of a stranger\'s shape throws', async () => {
	for (const x of [undefined, null, {}, { spanData: {} },
	    { spanId: 's', traceId: 't', spanData: { type: 'function' } }]) {
		for (const method of ['onTraceStart', 'onSpanStart', 'onSpanEnd',
		    'onTraceEnd'])
			await processor[method](x);
	}
	await processor.forceFlush();
	await processor.shutdown(1000);
});
