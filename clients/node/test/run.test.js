'use strict';
/* What a program says of its own runs. */
const test = require('node:test');
const assert = require('node:assert');
const lumni = require('lumni');
const { Server, sleep } = require('./support.js');

const server = new Server();

test.before(async () => {
	await server.listen();
	lumni.configure({ address: server.address });
});
test.after(async () => {
	await lumni.close(0);
	await server.remove();
});

function
by(events, type, name) {
	return events.find((e) => e.type === type &&
	    (name === undefined || e.name === name));
}

test('the example of the README', async () => {
	const run = lumni.run('run_8842');
	run.toolCall({ name: 'issue_refund', args: { order: 'A-1009' },
		error: '502 Bad Gateway', durationMs: 812.4 });
	run.modelOutput({ text: 'Your refund has been processed.' });
	run.end({ status: 'ok' });
	run.end({ status: 'failed' });
	const events = await server.whole_run('run_8842');
	assert.deepStrictEqual(events.map((e) => e.type),
	    ['tool_call', 'model_output', 'run_end']);
	const [call, output, end] = events;
	assert.deepStrictEqual({ ...call, at: 0, stepId: 0 }, {
		type: 'tool_call', at: 0, stepId: 0, parentId: 'run_8842',
		name: 'issue_refund', args: { order: 'A-1009' },
		status: 'failed', error: '502 Bad Gateway', durationMs: 812.4,
		origin: true, runId: 'run_8842', end: false,
	});
	assert.notStrictEqual(call.stepId, output.stepId);
	assert.strictEqual(end.stepId, 'run_8842');
	assert.strictEqual(end.end, true);
	assert.strictEqual(end.parentId, undefined);
	assert.strictEqual(end.status, 'ok');
});

test('a run around a function: tools and steps nest in it', async () => {
	const search = lumni.tool('search', async (query) => {
		await sleep(5);
		return { hits: query.length };
	});
	const add = lumni.tool('add', function (a, b) {
		return this.base + a + b;
	});
	const work = lumni.step('work', async () => {
		const { hits } = await search('where is it');
		return add.call({ base: 100 }, hits, 1);
	});
	const got = await lumni.run('nested', { name: 'agent', input: 'go' },
	    async (run) => {
		    assert.strictEqual(lumni.current(), run);
		    return await work();
	    });
	assert.strictEqual(got, 112);
	assert.strictEqual(lumni.current(), undefined);
	assert.strictEqual(add.length, 2);
	assert.strictEqual(add.name, 'add');
	const events = await server.whole_run('nested');
	assert.deepStrictEqual(events.map((e) => e.type), ['run_start',
		'tool_call', 'tool_call', 'agent_step', 'run_end']);
	const step = by(events, 'agent_step');
	assert.strictEqual(step.parentId, 'nested');
	assert.strictEqual(by(events, 'run_start').input, 'go');
	const found = by(events, 'tool_call', 'search');
	assert.strictEqual(found.parentId, step.stepId);
	assert.strictEqual(found.args, 'where is it');
	assert.deepStrictEqual(found.result, { hits: 11 });
	assert.ok(found.durationMs >= 4);
	assert.deepStrictEqual(by(events, 'tool_call', 'add').args,
	    { 0: 11, 1: 1 });
});

test('errors pass through, and the deepest step is the origin', async () => {
	const boom = new RangeError('boom');
	const inner = lumni.tool('inner', async () => { throw boom; });
	const outer = lumni.step('outer', async () => {
		try {
			await inner();
		} catch (err) {
			throw new Error('outer failed', { cause: err });
		}
	});
	const caught = await lumni.run('failing', () => outer())
	    .catch((err) => err);
	assert.strictEqual(caught.cause, boom);
	const events = await server.whole_run('failing');
	const tool = by(events, 'tool_call');
	assert.strictEqual(tool.status, 'failed');
	assert.strictEqual(tool.error, 'boom');
	assert.strictEqual(tool.errorType, 'RangeError');
	assert.strictEqual(tool.origin, true);
	for (const e of [by(events, 'agent_step'), by(events, 'run_end')]) {
		assert.strictEqual(e.status, 'failed');
		assert.strictEqual(e.error, 'outer failed');
		assert.strictEqual(e.originId, tool.stepId);
		assert.strictEqual(e.origin, undefined);
	}
});

test('a failure that was handled is nobody else\'s', async () => {
	const fails = lumni.tool('fails', () => { throw new Error('first'); });
	assert.throws(() => lumni.run('handled', () => {
		assert.throws(() => fails(), /first/);
		throw new Error('second');
	}), /second/);
	const events = await server.whole_run('handled');
	assert.strictEqual(by(events, 'tool_call').origin, true);
	assert.strictEqual(by(events, 'run_end').origin, true);
	assert.strictEqual(by(events, 'run_end').originId, undefined);
});

test('what was said by hand of a failure is known at the end', async () => {
	const run = lumni.run('by-hand');
	const err = new Error('disk full');
	const id = run.toolCall({ name: 'write', error: err });
	run.end({ error: err });
	const events = await server.whole_run('by-hand');
	assert.strictEqual(by(events, 'run_end').originId, id);
	assert.strictEqual(by(events, 'run_end').status, 'failed');
});

test('cancelled is no failure', async () => {
	const abort = new DOMException('stop', 'AbortError');
	const slow = lumni.tool('slow', async () => { throw abort; });
	await assert.rejects(lumni.run('stopped', () => slow()));
	const events = await server.whole_run('stopped');
	for (const e of [by(events, 'tool_call'), by(events, 'run_end')]) {
		assert.strictEqual(e.status, 'cancelled');
		assert.strictEqual(e.origin, undefined);
	}
});

test('runs beside each other do not mix', async () => {
	const tool = lumni.tool('t', async (n) => {
		await sleep(Math.random() * 10);
		return n;
	});
	const ids = Array.from({ length: 50 }, (_, i) => 'beside' + i);
	await Promise.all(ids.map((id, i) => lumni.run(id, async () => {
		for (let k = 0; k < 5; k++)
			await tool(i * 10 + k);
	})));
	for (const [i, id] of ids.entries()) {
		const events = await server.whole_run(id);
		assert.deepStrictEqual(events.filter((e) => e.type === 'tool_call')
		    .map((e) => e.result), [0, 1, 2, 3, 4].map((k) => i * 10 + k));
	}
});

test('outside a run a tool is just its function', async () => {
	const before = server.messages.length;
	const tool = lumni.tool('t', (x) => x + 1);
	assert.strictEqual(tool(1), 2);
	await lumni.flush();
	assert.strictEqual(server.messages.length, before);
	const run = lumni.run('mine');
	const own = run.tool('own', (x) => x + 1);
	assert.strictEqual(own(1), 2);
	run.end();
	assert.strictEqual((await server.whole_run('mine')).length, 2);
});

test('whatever is thrown, returned or passed is no trouble', async () => {
	const bad = new Proxy({}, { get() { throw new Error('trap'); } });
	for (const value of [undefined, null, 0, '', bad, Symbol('s'), () => 1]) {
		const tool = lumni.tool('odd', () => { throw value; });
		let caught = 'nothing';
		try {
			lumni.run('odd', () => tool(value, bad));
		} catch (err) {
			caught = err;
		}
		assert.ok(Object.is(caught, value));
	}
	for (const value of [undefined, null, bad, Symbol('s')]) {
		const tool = lumni.tool('odd', (x) => x);
		lumni.run('odd', () => assert.ok(Object.is(tool(value), value)));
	}
	lumni.run('').toolCall();
	lumni.run(undefined).end(null);
	lumni.run('odd').event('own', { a: bad });
	const worse = new Proxy({}, { ownKeys() { throw new Error('trap'); } });
	for (const fields of [worse, bad, 7, 'text', { stepId: Symbol('s') }]) {
		const run = lumni.run('odd').start(fields);
		assert.strictEqual(typeof run.toolCall(fields), 'string');
		run.end(fields);
	}
	lumni.run('odd-end').end();
	const events = await server.whole_run('odd-end');
	assert.strictEqual(events.length, 1 + lumni_client(events));
});

function
lumni_client(events) {
	return events.filter((e) => e.type === 'lumni_client').length;
}
