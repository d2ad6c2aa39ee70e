/*
 * An agent for the tests with the real lumnid: what it does is its first
 * argument; the second, if any, is JSON. Prints lines of JSON, and waits where
 * it says so for a line on its standard input.
 */
import { createHash, randomBytes } from 'node:crypto';
import { createInterface } from 'node:readline';
import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises';
import * as lumni from 'lumni';

const [what, argument] = process.argv.slice(2);
const options = JSON.parse(argument ?? '{}');
const input = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

function
say(value) {
	process.stdout.write(JSON.stringify(value) + '\n');
}

/* Tell where the program is, and go on when that was heard. */
async function
meet(where) {
	say({ at: where, ...lumni.stats() });
	await input.next();
}

/* LangGraph runs, one after the other; when each of them ended. */
async function
graph() {
	const { StateGraph, MessagesAnnotation } =
	    await import('@langchain/langgraph');
	const { ToolNode } = await import('@langchain/langgraph/prebuilt');
	const { AIMessage } = await import('@langchain/core/messages');
	const { tool } = await import('@langchain/core/tools');
	const { z } = await import('zod');
	const { LumniCallbackHandler } = await import('lumni/langchain');
	const good = tool(async ({ x }) => 'good ' + x,
	    { name: 'good', schema: z.object({ x: z.number() }) });
	const bad = tool(async () => { throw new Error('boom'); },
	    { name: 'bad', schema: z.object({}) });
	const agent = new StateGraph(MessagesAnnotation)
	    .addNode('plan', async () => ({ messages: [new AIMessage({
		    content: '', tool_calls: [
			    { id: 'c1', name: 'good', args: { x: 1 } },
			    { id: 'c2', name: 'bad', args: {} }] })] }))
	    .addNode('tools', new ToolNode([good, bad]))
	    .addEdge('__start__', 'plan').addEdge('plan', 'tools')
	    .addEdge('tools', '__end__').compile({ name: 'agent' });
	const handler = new LumniCallbackHandler();
	for (let i = 0; i < options.runs; i++) {
		const runId = 'graph-' + i;
		await agent.invoke({ messages: [] },
		    { runId, callbacks: [handler] });
		say({ runId, endedAt: Date.now() });
		await sleep(20);
	}
}

/* Many runs at once, each with three tools that take a moment. */
async function
many() {
	lumni.configure({ queueBytes: options.queueBytes });
	const work = lumni.tool('work', async (n) => {
		await sleep(Math.random() * 50);
		return n;
	});
	await Promise.all(Array.from({ length: options.runs }, (_, i) =>
	    lumni.run('many-' + i, async () => {
		    for (let n = 0; n < 3; n++)
			    await work(n);
	    })));
	await lumni.flush(60000);
}

/*
 * Numbered events of a few runs, at a pace, in as many phases as asked for;
 * between phases the test does something to lumnid. In the end all is told.
 */
async function
phases() {
	lumni.configure({ queueBytes: options.queueBytes });
	let n = 0;
	for (let phase = 0; phase < options.phases; phase++) {
		if (!options.running)
			await meet(phase);
		else
			say({ at: phase });
		for (let i = 0; i < options.events; i++, n++) {
			const text = options.random ?
			    randomBytes(375).toString('base64') : 'x'.repeat(500);
			lumni.send('p' + n % 5, { type: 'custom', n, text });
			if (i % 50 === 49)
				await sleep(1);
		}
	}
	await meet('end');
	/* Until there is room again: then the last count is told, too. */
	while (lumni.stats().queued !== 0 && !await lumni.flush(1000))
		await sleep(50);
	for (let run = 0; run < 5; run++)
		lumni.run('p' + run).end();
	while (lumni.stats().queued !== 0 && !await lumni.flush(1000))
		await sleep(50);
	say({ sent: n + 5, ...lumni.stats() });
}

/*
 * What the client costs the agent: steps of some milliseconds of work, each
 * with the events of a tool call and a model's answer and a turn of the loop,
 * with the client and without, in turns. What the events and the turn take is
 * measured by itself, as the work varies by more from step to step than they
 * take in all; the medians stand for all steps. What counts is the processor's
 * time of the whole process: time by the clock is also that of others.
 */
async function
cost() {
	const off = new lumni.Client({ disabled: true });
	const on = lumni.configure({ queueBytes: options.queueBytes });
	const text = 'A sentence of what a model may answer. '.repeat(20);
	const runs = [off, on].map((client) => new lumni.Run(() => client, 'cost'));
	const work = [];
	const told = [[], []];
	const now = () => {
		const used = process.cpuUsage();
		return (used.user + used.system) / 1000;
	};
	const step = async (i, which) => {
		const begun = now();
		let x = 'seed';
		for (let k = 0; k < options.hashes; k++)
			x = createHash('sha256').update(x).digest('hex');
		const worked = now();
		runs[which].toolCall({ name: 'search', args: { q: text, i },
			result: text, durationMs: 5 });
		runs[which].modelOutput({ text, usage: { inputTokens: 100 } });
		await turn();
		told[which].push(now() - worked);
		work.push(worked - begun);
	};
	const steps = async (n) => {
		for (let i = 0; i < n; i++) {
			await step(i, i % 2);
			await step(i, (i + 1) % 2);
		}
	};
	/* An agent that has run for a while: its code is compiled. */
	for (let i = 0; i < 40; i++) {
		for (let k = 0; k < 40; k++)
			runs[1].toolCall({ name: 'search', args: { q: text, i },
				result: text, durationMs: 5 });
		runs[1].modelOutput({ text, usage: { inputTokens: 100 } });
		await turn();
		await on.flush(1000);
	}
	await steps(3);
	await meet('warm');
	for (const times of [work, ...told])
		times.length = 0;
	await steps(options.steps);
	const median = (times) =>
	    times.sort((a, b) => a - b)[times.length >> 1];
	const extra = median(told[1]) - median(told[0]);
	say({ work: median(work), extra, share: extra / median(work),
		...lumni.stats() });
	await meet('end');
}

/* Tells of each event of which a durable flush has said that it is safe. */
async function
durable() {
	let stop = false;
	input.next().then(() => { stop = true; });
	const safe = [];
	let n = 0;
	while (!stop) {
		const first = n;
		for (let i = 0; i < 20; i++, n++)
			lumni.send('d' + n % 5, { type: 'custom', n });
		const ok = await lumni.flush(5000, { durable: true });
		for (let i = first; ok && i < n; i++)
			safe.push(i);
		say({ safe: ok ? n - first : 0 });
		if (!ok)
			await sleep(10);
	}
	while (!await lumni.flush(1000, { durable: true }))
		await sleep(50);
	for (let run = 0; run < 5; run++)
		lumni.run('d' + run).end();
	while (!await lumni.flush(1000))
		await sleep(50);
	say({ sent: n, vouched: safe, ...lumni.stats() });
}

await { graph, many, phases, durable, cost }[what]();
process.stdin.destroy();
