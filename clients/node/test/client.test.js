'use strict';
/*
 * The client against a server that stands for lumnid: order, queue, counted
 * drops, lost connections, the end of the process.
 */
const test = require('node:test');
const assert = require('node:assert');
const dgram = require('node:dgram');
const fs = require('node:fs');
const path = require('node:path');
const { decodeMulti, encode } = require('@msgpack/msgpack');
const { Client } = require('lumni');
const { Server, events_of, node, sleep, temporary, wait_for } =
    require('./support.js');

async function
with_server(fn, options) {
	const server = new Server();
	await server.listen();
	const client = new Client({ address: server.address, ...options });
	try {
		await fn(server, client);
	} finally {
		await client.close(0);
		await server.remove();
	}
}

/* A server that is gone when the test is over. */
async function
serve(t) {
	const server = new Server();
	t.after(() => server.remove());
	return await server.listen();
}

/* The drops that a server was told of. */
function
told(events) {
	return events.filter((event) => event.type === 'lumni_client');
}

function
sum(events) {
	return told(events).reduce((n, event) => n + event.dropped, 0);
}

test('events arrive in order, stamped, the last with end', () =>
	with_server(async (server, client) => {
		for (let i = 0; i < 1000; i++)
			assert.ok(client.send('r', { type: 't', i }));
		client.send('r', { type: 'run_end', at: 'mine' }, { end: true });
		await server.wait(1001);
		const events = server.run('r');
		assert.deepStrictEqual(events.slice(0, 1000).map((e) => e.i),
		    Array.from({ length: 1000 }, (_, i) => i));
		for (const event of events.slice(0, 1000))
			assert.ok(Math.abs(Date.now() - event.at.getTime()) < 60000);
		assert.strictEqual(events[1000].at, 'mine');
		assert.strictEqual(events[1000].end, true);
		assert.deepStrictEqual(client.stats(), { events: 1001, sent: 1001,
			dropped: 0, queued: 0, queuedBytes: 0, reported: 0 });
	}));

test('large messages and a slow reader: nothing is lost or torn', () =>
	with_server(async (server, client) => {
		server.pause();
		const n = 40;
		for (let i = 0; i < n; i++)
			client.send('r', { i, text: String(i % 10).repeat(90000) });
		await sleep(50);
		server.resume();
		await server.wait(n);
		assert.deepStrictEqual(server.run('r').map((e) => e.i),
		    Array.from({ length: n }, (_, i) => i));
		for (const event of server.events)
			assert.strictEqual(event.text.length, 90000);
	}));

test('a full queue drops, counts, and tells in-band, exactly', () =>
	with_server(async (server, client) => {
		server.pause();
		const n = 2000;
		let kept = 0;
		for (let i = 0; i < n; i++) {
			kept += client.send('run' + i % 3, { i,
				text: 'x'.repeat(1000) });
			if (i % 100 === 0)
				await sleep(1);
		}
		const { dropped } = client.stats();
		assert.ok(dropped > 100, String(dropped));
		assert.strictEqual(kept + dropped, n);
		server.resume();
		await wait_for('room', () => client.stats().queued === 0);
		client.send('later', { type: 'last' });
		await server.wait(kept + 2);
		const came = server.events.filter((e) => e.text).length;
		assert.strictEqual(came, kept);
		assert.strictEqual(sum(server.events), dropped);
		const report = told(server.events).pop();
		assert.strictEqual(report.runId, 'later');
		assert.match(report.client, /^lumni-node\/\d/);
		assert.strictEqual(report.pid, process.pid);
		assert.strictEqual(report.droppedTotal, dropped);
		assert.match(report.droppedRunId, /^run[012]$/);
		/* Ahead of the message that found room. */
		assert.strictEqual(server.events.pop().type, 'last');
		assert.strictEqual(client.stats().reported, dropped);
	}, { queueBytes: 300000 }));

test('what is no event or no run id is dropped by its reason', () =>
	with_server(async (server, client) => {
		const bad = [['', {}], ['a\nb', {}], ['x'.repeat(257), {}],
		    ['\u0080', {}], [null, {}], [undefined, {}], [{}, {}],
		    [1.5, {}], ['r', null], ['r', 'text'], ['r', []]];
		for (const [runId, event] of bad)
			assert.strictEqual(client.send(runId, event), false);
		assert.strictEqual(client.send('r', { t: 'x'.repeat(2 << 20) }),
		    false);
		for (const runId of [7, 2n ** 60n, 'é'.repeat(128)])
			assert.strictEqual(client.send(runId, { ok: 1 }), true);
		await server.wait(4);
		assert.deepStrictEqual(told(server.events)[0].reasons,
		    { invalid: bad.length, too_large: 1 });
		assert.deepStrictEqual(server.events.filter((e) => e.ok)
		    .map((e) => e.runId),
		    ['7', '1152921504606846976', 'é'.repeat(128)]);
	}));

test('an event too large for its heavy fields is sent without them', () =>
	with_server(async (server, client) => {
		client.send('r', { type: 'run_end', name: 'n',
			output: { big: ['x'.repeat(2 << 20)] } },
		    { end: true, heavy: ['output'] });
		const [event] = await server.whole_run('r');
		assert.strictEqual(event.output, '[too large]');
		assert.strictEqual(event.name, 'n');
	}));

test('changes and policies are records', () =>
	with_server(async (server, client) => {
		client.change({ id: 'c1' });
		client.policy({ rule: 'p' });
		client.send('r', {});
		await wait_for('them', () => server.messages.length === 3);
		assert.deepStrictEqual(server.messages.slice(0, 2),
		    [{ change: { id: 'c1' } }, { policy: { rule: 'p' } }]);
	}));

test('lumnid restarts: later events arrive, torn ones again and whole', () =>
	with_server(async (server, client) => {
		client.send('r', { i: 0 });
		await server.wait(1);
		await server.close();
		await wait_for('the client to see it', async () => {
			client.send('gap', { i: 1 });
			await sleep(5);
			return client.stats().queued > 0;
		});
		for (let i = 0; i < 50; i++)
			client.send('after', { i, text: 'y'.repeat(5000) });
		await server.listen();
		await wait_for('the rest',
		    () => server.run('after').length === 50);
		assert.deepStrictEqual(server.run('after').map((e) => e.i),
		    Array.from({ length: 50 }, (_, i) => i));
	}));

test('killed while a message is half written: it goes again, whole', () =>
	with_server(async (server, client) => {
		server.pause();
		/* More than a socket holds, so one is torn. */
		for (let i = 0; i < 8; i++)
			client.send('r', { i, text: 'z'.repeat(90000) });
		await wait_for('a full socket', () => client.stats().queued < 8);
		const left = client.stats().queued;
		await server.close();
		server.paused = false;
		await server.listen();
		await wait_for('those', () => server.run('r').length === left);
		assert.deepStrictEqual(server.run('r').map((e) => e.i),
		    Array.from({ length: left }, (_, i) => 8 - left + i));
	}));

test('a message that breaks the connection again and again is given up', () =>
	with_server(async (server, client) => {
		/* As lumnid does with a message over its limit. */
		server.server.on('connection', (socket) => {
			socket.on('data', () => {
				if (client.stats().dropped === 0)
					socket.destroy();
			});
		});
		client.send('bad', { text: 'x'.repeat(900000) });
		await wait_for('the drop', () => client.stats().dropped === 1);
		client.send('good', { type: 'last' });
		await wait_for('the next', () => server.run('good').length === 2);
		assert.deepStrictEqual(told(server.events)[0].reasons,
		    { refused: 1 });
	}));

test('flush tells whether all was handed over', async () => {
	await with_server(async (server, client) => {
		assert.strictEqual(await client.flush(), true);
		client.send('r', {});
		assert.strictEqual(await client.flush(), true);
		assert.strictEqual(client.stats().queued, 0);
		server.pause();
		for (let i = 0; i < 5; i++)
			client.send('r', { text: 'x'.repeat(500000) });
		assert.strictEqual(await client.flush(50), false);
		server.resume();
		assert.strictEqual(await client.flush(5000), true);
		await server.wait(6);
	});
	const absent = new Client({ address: '/nonexistent/sock' });
	absent.send('r', {});
	const since = Date.now();
	assert.strictEqual(await absent.flush(5000), false);
	assert.ok(Date.now() - since < 2000);
	await absent.close(0);
});

test('a durable flush: true only when lumnid has said so', async () => {
	await with_server(async (server, client) => {
		/* In pieces, and with other answers between. */
		server.answer = (message, socket) => {
			if (message.ack === undefined)
				return;
			const answer = Buffer.from(encode({ ack: message.ack,
				...server.fault }));
			for (const byte of Buffer.concat([
				Buffer.from(encode({ ack: 9999 })),
				Buffer.from(encode({ error: 'x'.repeat(300),
					code: 'other' })), answer]))
				socket.write(Buffer.from([byte]));
		};
		for (let i = 0; i < 5; i++) {
			client.send('r', { i });
			assert.strictEqual(
			    await client.flush(5000, { durable: true }), true);
			assert.strictEqual(server.run('r').length, i + 1);
		}
		server.fault = { error: 'no room', code: 'full' };
		assert.strictEqual(await client.flush(5000, { durable: true }),
		    false);
		server.answer = (message, socket) => socket.destroy();
		assert.strictEqual(await client.flush(5000, { durable: true }),
		    false);
		server.answer = undefined;
		assert.strictEqual(await client.flush(50, { durable: true }),
		    false);
		assert.strictEqual(await client.flush(1000), true);
	});
	const udp = new Client({ address: 'udp://127.0.0.1:9' });
	assert.strictEqual(await udp.flush(50, { durable: true }), false);
	await udp.close(0);
});

test('answers that are none end the reading, not the writing', () =>
	with_server(async (server, client) => {
		server.answer = (message, socket) =>
		    socket.write(Buffer.alloc(40000, 0x93));
		for (let i = 0; i < 20; i++) {
			client.send('r', { i });
			await client.flush();
		}
		await server.wait(20);
	}));

test('code beats environment beats default', () => {
	const before = { ...process.env };
	try {
		delete process.env.LUMNID_ADDRESS;
		delete process.env.LUMNID_DISABLED;
		assert.strictEqual(new Client().address,
		    'unix:///run/lumnid/lumnid.sock');
		process.env.LUMNID_ADDRESS = 'udp://127.0.0.1:1';
		process.env.LUMNID_DISABLED = '1';
		assert.strictEqual(new Client().address, 'udp://127.0.0.1:1');
		assert.strictEqual(new Client().disabled, true);
		assert.strictEqual(new Client().send('r', {}), false);
		assert.strictEqual(new Client({ disabled: false }).disabled, false);
		assert.strictEqual(new Client({ address: '/a' }).address, '/a');
		process.env.LUMNID_DISABLED = '0';
		assert.strictEqual(new Client().disabled, false);
	} finally {
		process.env = before;
	}
});

test('an address that is none is a lumnid that is not there', async () => {
	for (const address of ['http://x', 'udp://a', 'udp://a:99999', '', 'unix:',
	    'udp://[::g]:1', 7, '/' + 'x'.repeat(200), '/a\0b']) {
		const client = new Client({ address, queueBytes: 1 });
		client.send('r', {});
		for (let i = 0; i < 9; i++)
			client.send('r', { text: 'x'.repeat(5000) });
		assert.strictEqual(await client.flush(100), false);
		assert.ok(client.stats().dropped > 0);
		await client.close(0);
	}
});

test('UDP: many small messages and a large one', async () => {
	const events = [];
	const server = dgram.createSocket('udp4');
	server.on('message', (data) => {
		for (const message of decodeMulti(data))
			events.push(...events_of(message));
	});
	await new Promise((resolve) => server.bind(0, '127.0.0.1', resolve));
	const client = new Client({
		address: 'udp://127.0.0.1:' + server.address().port });
	for (let i = 0; i < 300; i++)
		client.send('r', { i });
	client.send('r', { i: 300, text: 'x'.repeat(60000) });
	assert.strictEqual(client.send('r', { text: 'x'.repeat(65500) }), false);
	client.send('r', { i: 301 });
	assert.strictEqual(await client.flush(), true);
	await wait_for('them', () => events.length >= 303);
	assert.deepStrictEqual(events.filter((e) => !e.client).map((e) => e.i),
	    Array.from({ length: 302 }, (_, i) => i));
	assert.strictEqual(sum(events), 1);
	await client.close();
	server.close();
});

test('UDP without lumnid: each refused datagram is counted once', async () => {
	const probe = dgram.createSocket('udp4');
	await new Promise((resolve) => probe.bind(0, '127.0.0.1', resolve));
	const { port } = probe.address();
	await new Promise((resolve) => probe.close(resolve));
	const client = new Client({ address: 'udp://127.0.0.1:' + port });
	for (let i = 0; i < 5; i++) {
		client.send('gone', { i });
		await wait_for('the refusal',
		    () => client.stats().dropped === i + 1);
	}
	assert.deepStrictEqual(client.stats(), { events: 5, sent: 0, dropped: 5,
		queued: 0, queuedBytes: 0, reported: 0 });
	/* lumnid comes up on the port: it is told. */
	const events = [];
	const server = dgram.createSocket('udp4');
	server.on('message', (data) => {
		for (const message of decodeMulti(data))
			events.push(...events_of(message));
	});
	await new Promise((resolve) => server.bind(port, '127.0.0.1', resolve));
	client.send('back', { i: 5 });
	await wait_for('it', () => events.length >= 2);
	assert.strictEqual(sum(events), 5);
	assert.deepStrictEqual(events[0].reasons, { socket: 5 });
	await client.close();
	server.close();
});

/* A program that sends three events, and then what `end` says. */
function
program(end) {
	return `
	const lumni = require('lumni');
	const run = lumni.run('exit');
	run.toolCall({ name: 'a' });
	run.modelOutput({ text: 'b' });
	run.end();
	${end}`;
}

for (const [how, end, status] of [
	['the loop ends', '', 0],
	['process.exit() at once', 'process.exit(3)', 3],
	['process.exit() later', 'setTimeout(() => process.exit(3), 30)', 3],
	['an uncaught exception', 'throw new Error("the agent\'s own")', 1],
	['a rejection', 'Promise.reject(new Error("the agent\'s own"))', 1],
	['await flush() and SIGKILL', `lumni.flush().then(
	    () => process.kill(process.pid, 'SIGKILL'))`, null],
]) {
	test('the process ends: ' + how, async (t) => {
		const server = await serve(t);
		const got = await node(program(end),
		    { LUMNID_ADDRESS: server.address });
		await server.wait(3);
		assert.deepStrictEqual(server.run('exit').map((e) => e.type),
		    ['tool_call', 'model_output', 'run_end']);
		if (status !== null)
			assert.strictEqual(got.status, status);
		assert.strictEqual(got.stdout, '');
		assert.ok(got.stderr === '' || /the agent's own/.test(got.stderr));
	});
}

test('at process.exit() a megabyte is still handed over', async (t) => {
	const server = await serve(t);
	/* How long the reader needs for it is not what is tested here. */
	await node(`const lumni = require('lumni');
	lumni.configure({ exitMs: 20000 });
	for (let i = 0; i < 30; i++)
		lumni.send('r', { i, text: 'x'.repeat(100000) });
	setTimeout(() => {
		for (let i = 30; i < 60; i++)
			lumni.send('r', { i, text: 'x'.repeat(10000) });
		process.exit();
	}, 20);`, { LUMNID_ADDRESS: server.address });
	await server.wait(60);
	assert.deepStrictEqual(server.run('r').map((e) => e.i),
	    Array.from({ length: 60 }, (_, i) => i));
});

test('UDP: handed over at process.exit() too', async () => {
	const events = [];
	const server = dgram.createSocket('udp4');
	server.on('message', (data) => {
		for (const message of decodeMulti(data))
			events.push(...events_of(message));
	});
	await new Promise((resolve) => server.bind(0, '127.0.0.1', resolve));
	await node(program('process.exit()'), {
		LUMNID_ADDRESS: 'udp://127.0.0.1:' + server.address().port });
	await wait_for('them', () => events.length >= 3);
	server.close();
});

test('no descriptor is left: silent, and better later', async (t) => {
	const server = await serve(t);
	const got = await node(`
	const fs = require('node:fs');
	const lumni = require('lumni');
	const held = [];
	try {
		for (;;)
			held.push(fs.openSync('/dev/null'));
	} catch {}
	lumni.send('r', { type: 'first' });
	new lumni.Client({ address: 'udp://127.0.0.1:9' }).send('u', {});
	setTimeout(() => {
		held.forEach((fd) => fs.closeSync(fd));
		lumni.send('r', { type: 'second' });
	}, 100);
	setTimeout(() => {}, 600);
	`, { LUMNID_ADDRESS: server.address });
	assert.deepStrictEqual([got.status, got.stdout, got.stderr], [0, '', '']);
	await server.wait(2);
	assert.deepStrictEqual(server.run('r').map((e) => e.type),
	    ['first', 'second']);
});

test('no lumnid: silent, and the end is not held up', async (t) => {
	const dir = temporary();
	t.after(() => fs.rmSync(dir, { recursive: true }));
	fs.writeFileSync(path.join(dir, 'file'), '');
	const plain = (await node('')).ms;
	for (const address of ['unix:///nonexistent/sock', 'nonsense',
	    'unix://' + dir, 'unix://' + dir + '/file',
	    'udp://127.0.0.1:9', 'udp://no-such-host.invalid:9']) {
		for (const end of ['', 'process.exit(0)',
		    'setTimeout(() => {}, 20)']) {
			const got = await node(program(end),
			    { LUMNID_ADDRESS: address });
			assert.deepStrictEqual([got.status, got.stdout, got.stderr],
			    [0, '', ''], address + end);
			assert.ok(got.ms < plain + 3000, address + got.ms);
		}
	}
});

test('a lumnid that hangs holds up the end for exitMs, no longer', async (t) => {
	const server = await serve(t);
	server.pause();
	for (const end of ['', 'process.exit(0)']) {
		const got = await node(`const lumni = require('lumni');
		lumni.configure({ exitMs: 300 });
		for (let i = 0; i < 30; i++)
			lumni.send('r', { text: 'x'.repeat(100000) });
		${end}`, { LUMNID_ADDRESS: server.address });
		assert.strictEqual(got.status, 0);
		assert.ok(got.ms > 250 && got.ms < 8000, String(got.ms));
	}
});

test('an open connection does not keep the process alive', async (t) => {
	const server = await serve(t);
	const got = await node(program('lumni.flush()'),
	    { LUMNID_ADDRESS: server.address });
	assert.strictEqual(got.status, 0);
	await server.wait(3);
});

test('worker threads and a cluster', async (t) => {
	const server = await serve(t);
	const threads = await node(`
	const { Worker } = require('node:worker_threads');
	const lumni = require('lumni');
	lumni.send('main', { type: 'first' });
	for (let i = 0; i < 3; i++)
		new Worker(\`const lumni = require('lumni');
		    lumni.send('thread' + \${i}, { type: 'one' });
		    setTimeout(() => { lumni.send('thread' + \${i},
			{ type: 'two' }); \${i === 1 ? 'process.exit()' : ''} }, 20);
		\`, { eval: true });
	`, { LUMNID_ADDRESS: server.address });
	assert.deepStrictEqual([threads.status, threads.stderr], [0, '']);
	await server.wait(7);
	for (let i = 0; i < 3; i++)
		assert.deepStrictEqual(
		    server.run('thread' + i).map((e) => e.type), ['one', 'two']);
	const program_path = path.join(server.dir, 'cluster.js');
	fs.writeFileSync(program_path, `
	const cluster = require('node:cluster');
	const lumni = require(${JSON.stringify(require.resolve('lumni'))});
	lumni.send('cluster', { pid: process.pid });
	if (cluster.isPrimary) {
		cluster.setupPrimary({ exec: __filename });
		cluster.fork(); cluster.fork();
	} else
		process.disconnect();
	`);
	const many = await node(`require(${JSON.stringify(program_path)})`,
	    { LUMNID_ADDRESS: server.address });
	assert.strictEqual(many.stderr, '');
});

test('the async context of the first event is not held', async (t) => {
	const server = await serve(t);
	const got = await node(`
	require('node:v8').setFlagsFromString('--expose-gc');
	const gc = require('node:vm').runInNewContext('gc');
	const { AsyncLocalStorage } = require('node:async_hooks');
	const lumni = require('lumni');
	const als = new AsyncLocalStorage();
	let gone = false;
	const registry = new FinalizationRegistry(() => { gone = true; });
	(() => {
		const held = { big: Buffer.alloc(1000) };
		registry.register(held, 1);
		als.run(held, () => lumni.send('r', { type: 't' }));
	})();
	let tries = 0;
	const timer = setInterval(() => {
		gc();
		if (gone || ++tries === 100) {
			clearInterval(timer);
			process.exitCode = gone ? 0 : 1;
		}
	}, 5);`, { LUMNID_ADDRESS: server.address });
	assert.strictEqual(got.stderr, '');
	assert.strictEqual(got.status, 0);
});

test('a million dropped events cost little memory and time', async () => {
	const client = new Client({ address: '/nonexistent/sock' });
	const event = { type: 'model_output', text: 'x'.repeat(200) };
	const before = process.memoryUsage().heapUsed;
	const since = process.hrtime.bigint();
	for (let i = 0; i < 1000000; i++)
		client.send('r', event);
	const us = Number(process.hrtime.bigint() - since) / 1e9;
	const { dropped, queuedBytes } = client.stats();
	assert.ok(dropped > 900000);
	assert.ok(queuedBytes <= 4 << 20);
	assert.ok(process.memoryUsage().heapUsed - before < 64 << 20);
	assert.ok(us < 20, us + ' us for a dropped event');
	await client.close(0);
});
