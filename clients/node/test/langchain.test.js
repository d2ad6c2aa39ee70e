'use strict';
/*
 * LumniCallbackHandler under the real LangChain and LangGraph. The sequence of
 * callbacks that the assertions stand on was recorded with @langchain/core
 * 1.4.0 and @langchain/langgraph 1.7.3.
 */
const test = require('node:test');
const assert = require('node:assert');
const { StateGraph, Annotation, MessagesAnnotation, MemorySaver, START, END,
	interrupt } = require('@langchain/langgraph');
const { ToolNode } = require('@langchain/langgraph/prebuilt');
const { FakeListChatModel, FakeRetriever, FakeLLM } =
    require('@langchain/core/utils/testing');
const { AIMessage, HumanMessage } = require('@langchain/core/messages');
const { RunnableLambda } = require('@langchain/core/runnables');
const { CallbackManager } = require('@langchain/core/callbacks/manager');
const { BaseCallbackHandler, isBaseCallbackHandler } =
    require('@langchain/core/callbacks/base');
const { awaitAllCallbacks } = require('@langchain/core/callbacks/promises');
const { dispatchCustomEvent } =
    require('@langchain/core/callbacks/dispatch');
const { tool } = require('@langchain/core/tools');
const { z } = require('zod');
const { Client } = require('lumni');
const { LumniCallbackHandler } = require('lumni/langchain');
const { Server, sleep } = require('./support.js');

const server = new Server();
let client;

test.before(async () => {
	await server.listen();
	client = new Client({ address: server.address });
});
test.after(async () => {
	await client.close(0);
	await server.remove();
});

let last = 0;

/* A handler, and the config that names a run. */
function
watch(options) {
	const runId = '0198b5a0-0000-7000-8000-' +
	    String(++last).padStart(12, '0');
	const handler = new LumniCallbackHandler({ client, ...options });
	return { runId, handler, config: { runId, callbacks: [handler],
		configurable: { thread_id: 'thread-' + last } } };
}

function
lines(events) {
	return events.map((e) => [e.type, e.name, e.status]
	    .filter((x) => x !== undefined).join(' '));
}

function
find(events, type, name) {
	const found = events.find((e) => e.type === type && e.name === name);
	assert.ok(found, type + ' ' + name + ' in ' + lines(events).join(', '));
	return found;
}

/* retrieve -> plan -> tools (good, bad) -> model */
function
agent(handleToolErrors) {
	const good = tool(async ({ x }) => 'good ' + x,
	    { name: 'good_tool', schema: z.object({ x: z.number() }) });
	const bad = tool(async () => { throw new TypeError('boom'); },
	    { name: 'bad_tool', schema: z.object({}) });
	const retriever = new FakeRetriever();
	const model = new FakeListChatModel({ responses: ['final answer'] });
	return new StateGraph(MessagesAnnotation)
	    .addNode('retrieve', async (_state, config) => {
		    await retriever.invoke('what?', config);
		    return {};
	    })
	    .addNode('plan', async () => ({ messages: [new AIMessage({
		    content: '', tool_calls: [
			    { id: 'c1', name: 'good_tool', args: { x: 1 } },
			    { id: 'c2', name: 'bad_tool', args: {} },
		    ] })] }))
	    .addNode('tools', new ToolNode([good, bad], { handleToolErrors }))
	    .addNode('model', async (state, config) => ({ messages:
		[await model.invoke(state.messages, config)] }))
	    .addEdge(START, 'retrieve').addEdge('retrieve', 'plan')
	    .addEdge('plan', 'tools').addEdge('tools', 'model')
	    .addEdge('model', END).compile({ name: 'myagent' });
}

const INPUT = { messages: [new HumanMessage('hi')] };

test('the handler is one to LangChain, though it knows nothing of it', () => {
	const handler = new LumniCallbackHandler();
	assert.ok(isBaseCallbackHandler(handler));
	const manager = CallbackManager.configure([handler]);
	assert.strictEqual(manager.handlers[0], handler);
	const again = CallbackManager.configure([handler], [handler]);
	assert.strictEqual(again.handlers.length, 1);
	assert.ok(!(handler instanceof BaseCallbackHandler));
	assert.doesNotThrow(() => JSON.stringify({ callbacks: [handler] }));
	assert.strictEqual(handler.copy(), handler);
});

test('a run whose tool fails and is handled', async () => {
	const { runId, config, handler } = watch();
	await agent(true).invoke(INPUT, { ...config, tags: ['mine'],
		metadata: { customer: 7 } });
	const events = await server.whole_run(runId);
	assert.deepStrictEqual(lines(events), [
		'run_start myagent',
		'retrieval FakeRetriever ok',
		'agent_step retrieve ok',
		'agent_step plan ok',
		'tool_call good_tool ok',
		'tool_call bad_tool failed',
		'agent_step tools ok',
		'model_call FakeListChatModel',
		'model_output FakeListChatModel ok',
		'agent_step model ok',
		'run_end myagent ok',
	]);
	const [start] = events;
	assert.strictEqual(start.stepId, runId);
	assert.strictEqual(start.parentId, undefined);
	assert.strictEqual(start.threadId, 'thread-' + last);
	assert.deepStrictEqual(start.input,
	    { messages: [{ role: 'user', text: 'hi' }] });
	assert.deepStrictEqual(start.tags, ['mine']);
	assert.deepStrictEqual(start.metadata, { customer: 7 });
	const tools = find(events, 'agent_step', 'tools');
	assert.deepStrictEqual([tools.node, tools.step, tools.parentId],
	    ['tools', 3, runId]);
	const good = find(events, 'tool_call', 'good_tool');
	assert.deepStrictEqual(
	    [good.args, good.result, good.toolCallId, good.parentId],
	    [{ x: 1 }, 'good 1', 'c1', tools.stepId]);
	const bad = find(events, 'tool_call', 'bad_tool');
	assert.deepStrictEqual([bad.error, bad.errorType, bad.origin],
	    ['boom', 'TypeError', true]);
	const docs = find(events, 'retrieval', 'FakeRetriever');
	assert.deepStrictEqual([docs.query, docs.count, docs.documents[0].text],
	    ['what?', 2, 'foo']);
	const asked = find(events, 'model_call', 'FakeListChatModel');
	assert.deepStrictEqual(asked.messages[1].toolCalls.map((c) => c.name),
	    ['good_tool', 'bad_tool']);
	const answer = find(events, 'model_output', 'FakeListChatModel');
	assert.strictEqual(answer.stepId, asked.stepId);
	assert.strictEqual(answer.text, 'final answer');
	const end = events[events.length - 1];
	assert.strictEqual(end.end, true);
	assert.strictEqual(end.stepId, runId);
	assert.strictEqual(end.output.messages.length, 5);
	for (const e of events) {
		if (e.type !== 'run_start' && e.type !== 'model_call')
			assert.strictEqual(typeof e.durationMs, 'number');
		assert.ok(!JSON.stringify(e).includes('langgraph_'));
		assert.ok(!e.name?.startsWith('__'));
	}
	assert.ok(handler.size > 0);
});

test('a run whose tool fails: one failure, three times reported', async () => {
	const { runId, config } = watch();
	await assert.rejects(agent(false).invoke(INPUT, config), /boom/);
	const events = await server.whole_run(runId);
	assert.deepStrictEqual(lines(events).slice(-4), [
		'tool_call good_tool ok',
		'tool_call bad_tool failed',
		'agent_step tools failed',
		'run_end myagent failed',
	]);
	const bad = find(events, 'tool_call', 'bad_tool');
	assert.strictEqual(bad.origin, true);
	for (const e of events.slice(-2)) {
		assert.strictEqual(e.error, 'boom');
		assert.strictEqual(e.originId, bad.stepId);
		assert.strictEqual(e.origin, undefined);
	}
});

test('streaming: the time of the first token', async () => {
	const { runId, config } = watch();
	for await (const chunk of await agent(true).stream(INPUT,
	    { ...config, streamMode: 'messages' }))
		void chunk;
	const events = await server.whole_run(runId);
	const output = find(events, 'model_output', 'FakeListChatModel');
	assert.strictEqual(output.text, 'final answer');
	assert.ok(output.firstTokenMs > 0 &&
	    output.firstTokenMs <= output.durationMs);
	assert.strictEqual(events.filter((e) => e.type === 'model_output')
	    .length, 1);
});

test('streaming that the reader breaks off is cancelled', async () => {
	const { runId, config } = watch();
	for await (const chunk of await agent(true).stream(INPUT,
	    { ...config, streamMode: 'updates' })) {
		void chunk;
		break;
	}
	const events = await server.whole_run(runId);
	assert.strictEqual(events[events.length - 1].status, 'cancelled');
	assert.ok(events.every((e) => e.origin === undefined));
});

const State = Annotation.Root({ x: Annotation({
	reducer: (a, b) => a.concat(b), default: () => [] }) });

/* a -> (p1, p2) -> sub(in1) -> ask */
function
branches({ p1, p2, ask }) {
	const sub = new StateGraph(State)
	    .addNode('in1', async () => ({ x: ['in1'] }))
	    .addEdge(START, 'in1').addEdge('in1', END).compile({ name: 'sub' });
	return new StateGraph(State)
	    .addNode('a', async () => ({ x: ['a'] }))
	    .addNode('p1', p1 ?? (async () => ({ x: ['p1'] })))
	    .addNode('p2', p2 ?? (async () => {
		    await sleep(40);
		    return { x: ['p2'] };
	    }))
	    .addNode('sub', sub)
	    .addNode('ask', ask ?? (() => ({})))
	    .addEdge(START, 'a').addEdge('a', 'p1').addEdge('a', 'p2')
	    .addEdge(['p1', 'p2'], 'sub').addEdge('sub', 'ask')
	    .addEdge('ask', END)
	    .compile({ name: 'g', checkpointer: new MemorySaver() });
}

test('parallel branches and a subgraph', async () => {
	const { runId, config } = watch();
	await branches({}).invoke({ x: [] }, config);
	const events = await server.whole_run(runId);
	assert.deepStrictEqual(lines(events), ['run_start g', 'agent_step a ok',
		'agent_step p1 ok', 'agent_step p2 ok', 'agent_step in1 ok',
		'agent_step sub ok', 'agent_step sub ok', 'agent_step ask ok',
		'run_end g ok']);
	const [node, graph] = events.filter((e) => e.name === 'sub').reverse();
	assert.strictEqual(node.parentId, runId);
	assert.strictEqual(graph.parentId, node.stepId);
	assert.strictEqual(find(events, 'agent_step', 'in1').parentId,
	    graph.stepId);
	assert.ok(find(events, 'agent_step', 'p2').durationMs >= 35);
});

test('a branch fails: its brother is cancelled, not failed', async () => {
	const { runId, config } = watch();
	await assert.rejects(branches({
		p1: async () => {
			await sleep(10);
			throw new Error('p1 is broken');
		},
	}).invoke({ x: [] }, config));
	const events = await server.whole_run(runId);
	const p1 = find(events, 'agent_step', 'p1');
	assert.strictEqual(p1.origin, true);
	assert.strictEqual(find(events, 'agent_step', 'p2').status, 'cancelled');
	const end = find(events, 'run_end', 'g');
	assert.deepStrictEqual([end.status, end.error, end.originId],
	    ['failed', 'p1 is broken', p1.stepId]);
});

test('aborted', async () => {
	const { runId, config } = watch();
	const control = new AbortController();
	await assert.rejects(branches({
		p2: () => {
			setTimeout(() => control.abort(), 20);
			return sleep(5000, undefined);
		},
	}).invoke({ x: [] }, { ...config, signal: control.signal }));
	const events = await server.whole_run(runId);
	assert.deepStrictEqual(lines(events).slice(-1), ['run_end g cancelled']);
	assert.strictEqual(find(events, 'agent_step', 'p2').status, 'cancelled');
	assert.ok(events.every((e) => e.origin === undefined));
});

test('timed out: failed, and the origin is the step that was cut', async () => {
	const { runId, config } = watch();
	await assert.rejects(branches({
		p2: () => sleep(5000, undefined),
	}).invoke({ x: [] }, { ...config, timeout: 500 }));
	const events = await server.whole_run(runId);
	const p2 = find(events, 'agent_step', 'p2');
	assert.strictEqual(p2.errorType, 'TimeoutError');
	const end = find(events, 'run_end', 'g');
	assert.deepStrictEqual([end.status, end.errorType, end.originId],
	    ['failed', 'TimeoutError', p2.stepId]);
});

test('an interrupt that asks a person is no failure', async () => {
	const { runId, config } = watch();
	await branches({ ask: () => ({ x: [interrupt('sure?')] }) })
	    .invoke({ x: [] }, config);
	const events = await server.whole_run(runId);
	const ask = find(events, 'agent_step', 'ask');
	assert.deepStrictEqual([ask.status, ask.error], ['ok', undefined]);
	assert.strictEqual(find(events, 'run_end', 'g').status, 'ok');
});

test('callbacks that come after invoke() has returned', async () => {
	const { runId, config, handler } = watch({ awaitHandlers: false });
	assert.strictEqual(handler.awaitHandlers, false);
	await agent(true).invoke(INPUT, config);
	await awaitAllCallbacks();
	const events = await server.whole_run(runId);
	assert.strictEqual(events.length, 11);
	assert.strictEqual(events[10].type, 'run_end');
});

test('with awaitHandlers all is told when invoke() returns', async () => {
	const { runId, config } = watch();
	await agent(true).invoke(INPUT, config);
	assert.strictEqual(await client.flush(), true);
	assert.strictEqual((await server.whole_run(runId)).length, 11);
});

test('a model, an LLM, a tool, a retriever by themselves', async () => {
	for (const [thing, input, want] of [
		[new FakeListChatModel({ responses: ['yes'] }), 'well?',
			['model_call', 'model_output']],
		[new FakeLLM({ response: 'no' }), 'well?',
			['model_call', 'model_output']],
		[tool(async () => 'done', { name: 'alone',
			schema: z.object({}) }), {}, ['tool_call']],
		[new FakeRetriever(), 'where?', ['retrieval']],
	]) {
		const { runId, config } = watch();
		await thing.invoke(input, config);
		const events = await server.whole_run(runId);
		assert.deepStrictEqual(events.map((e) => e.type),
		    ['run_start', ...want, 'run_end']);
		for (const e of events)
			assert.deepStrictEqual([e.stepId, e.parentId],
			    [runId, undefined]);
	}
	const { runId, config } = watch();
	const fails = tool(async () => { throw new Error('alone'); },
	    { name: 'fails', schema: z.object({}) });
	await assert.rejects(fails.invoke({}, config));
	const [, call, end] = await server.whole_run(runId);
	assert.strictEqual(call.origin, true);
	assert.deepStrictEqual([end.status, end.originId], ['failed', runId]);
});

test('custom events, errors with causes, hidden steps', async () => {
	const { runId, config } = watch();
	const chain = RunnableLambda.from(async (_x, inner) => {
		await dispatchCustomEvent('progress', { done: 0.5 }, inner);
		const hidden = RunnableLambda.from(async () => {
			throw new Error('deep');
		}).withConfig({ runName: 'unseen', tags: ['langsmith:hidden'] });
		try {
			await hidden.invoke(1, inner);
		} catch (err) {
			throw new Error('wrapped', { cause: err });
		}
	}).withConfig({ runName: 'visible' });
	await assert.rejects(RunnableLambda.from((x, c) => chain.invoke(x, c))
	    .withConfig({ runName: 'root' }).invoke(1, config));
	const events = await server.whole_run(runId);
	assert.deepStrictEqual(lines(events), ['run_start root',
		'custom progress', 'agent_step visible failed',
		'run_end root failed']);
	const [, custom, visible] = events;
	assert.deepStrictEqual([custom.data, custom.parentId],
	    [{ done: 0.5 }, visible.stepId]);
	assert.strictEqual(visible.origin, true);
});

test('strings are cut, and a state of any size ends its run', async () => {
	const { runId, config } = watch({ maxString: 100 });
	const chain = RunnableLambda.from(async () => ({
		text: 'x'.repeat(5000), many: Array(200000).fill('0123456789'),
	}));
	await chain.invoke('y'.repeat(300), config);
	const events = await server.whole_run(runId);
	assert.strictEqual(events[0].input.input,
	    'y'.repeat(100) + '... [cut, 300 characters]');
	assert.strictEqual(events[1].type, 'run_end');
	assert.strictEqual(events[1].output, '[too large]');
});

test('the same runs as recorded, by hand and without a parent', async () => {
	const { handler } = watch();
	const r = (n) => `recorded-${n}`;
	handler.handleChainStart(undefined, undefined, r(1), undefined,
	    undefined, undefined, undefined, 'root', undefined);
	handler.handleToolStart(null, 'not json', r(2), r(1));
	handler.handleLLMStart({ id: ['a', 'Model'] }, ['p'], r(3), r(1), {
		invocation_params: { model: 'm-1' } });
	/* An end that is never heard of again, a start of an unknown parent. */
	handler.handleToolEnd('x', r(99));
	handler.handleChainStart(null, {}, r(50), r(49), [], {}, '', 'lost');
	handler.handleChainEnd({}, r(50));
	handler.handleChainError(new Error('out'), r(1));
	/* Too late: the run is over. */
	handler.handleToolEnd('late', r(2));
	handler.handleChainStart(null, {}, r(4), r(1), [], {}, '', 'late');
	handler.handleChainStart(null, {}, r(5), r(4), [], {}, '', 'later');
	handler.handleChainEnd({}, r(4));
	handler.handleCustomEvent('late', 1, r(2));
	await client.flush();
	const events = await server.whole_run(r(1));
	assert.deepStrictEqual(lines(events), ['run_start root',
		'model_call Model', 'model_output Model cancelled',
		'tool_call cancelled', 'run_end root failed']);
	assert.strictEqual(events[1].model, 'm-1');
	assert.strictEqual(events[1].prompt, 'p');
	assert.strictEqual(events[3].args, 'not json');
	assert.deepStrictEqual(lines(await server.whole_run(r(50))),
	    ['run_start lost', 'run_end lost ok']);
	await sleep(20);
	assert.strictEqual(server.run(r(1)).length, 5);
});

test('a million starts without an end take a bounded memory', () => {
	const quiet = new Client({ disabled: true });
	const handler = new LumniCallbackHandler({ client: quiet,
		maxOpenSteps: 1000 });
	for (let i = 0; i < 300000; i++) {
		const root = 'root' + i;
		handler.handleChainStart(null, {}, root, undefined, [], {}, '',
		    'r');
		handler.handleToolStart(null, '{}', 'tool' + i, root);
		handler.handleLLMEnd({}, 'never' + i);
	}
	assert.ok(handler.size <= 1000 + 8192, String(handler.size));
});

test('10,000 runs at once', async () => {
	const before = server.messages.length;
	const wide = new Client({ address: server.address,
		queueBytes: 64 << 20 });
	const handler = new LumniCallbackHandler({ client: wide });
	const inner = RunnableLambda.from(async (x) => {
		await sleep(1);
		return x;
	}).withConfig({ runName: 'inner' });
	const chain = RunnableLambda.from((x, c) => inner.invoke(x, c));
	const n = 10000;
	await Promise.all(Array.from({ length: n }, (_, i) => chain.invoke(i,
	    { runId: 'many-' + i, callbacks: [handler] })));
	assert.strictEqual(await wide.flush(20000), true);
	await server.wait(before + 3 * n);
	const ends = server.events.filter((e) => e.type === 'run_end' &&
	    e.runId.startsWith('many-'));
	assert.strictEqual(new Set(ends.map((e) => e.runId)).size, n);
	assert.strictEqual(wide.stats().dropped, 0);
	await wide.close();
});
