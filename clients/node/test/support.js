'use strict';
/*
 * What the tests share: a server that stands for lumnid, child processes, and
 * waiting for what happens instead of for time to pass.
 */
const { execFile, spawn } = require('node:child_process');
const fs = require('node:fs');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');
const { decodeMulti, DecodeError } = require('@msgpack/msgpack');

const PACKAGE = path.dirname(require.resolve('lumni/package.json'));
const SLOW = Number(process.env.LUMNID_SLOW || 1);

/* A module of the package that is not for its users. */
function
internal(name) {
	return require(path.join(PACKAGE, 'lib', name));
}

function
temporary() {
	return fs.mkdtempSync(path.join(os.tmpdir(), 'lumni-node.'));
}

function
sleep(ms) {
	return new Promise((resolve) => setTimeout(resolve, ms));
}

/* The first true value of condition(), which may be late but must come. */
async function
wait_for(what, condition, seconds = 20) {
	const end = Date.now() + seconds * 1000 * SLOW;
	for (;;) {
		const value = await condition();
		if (value)
			return value;
		if (Date.now() > end)
			throw new Error('waited in vain for ' + what);
		await sleep(2);
	}
}

/* The events of a message of any form, each with its run id and end. */
function
events_of(message) {
	if (Array.isArray(message.events))
		/* A message that only asks for an ack has none. */
		return message.events.map((event, i) => ({
			...event, runId: message.runId,
			end: message.end === true && i === message.events.length - 1,
		}));
	return [{ ...message, end: false }];
}

/* Listens on a Unix socket and decodes with a decoder that is not ours. */
class Server {
	constructor(dir) {
		this.dir = dir ?? temporary();
		this.path = path.join(this.dir, 'lumnid.sock');
		this.address = 'unix://' + this.path;
		this.messages = [];
		this.sockets = new Set();
		this.paused = false;
		this.connections = 0;
	}

	async listen() {
		this.server = net.createServer({ pauseOnConnect: true },
		    (socket) => this.#take(socket));
		await new Promise((resolve) => {
			this.server.listen(this.path, resolve);
		});
		return this;
	}

	#take(socket) {
		this.connections++;
		this.sockets.add(socket);
		let rest = Buffer.alloc(0);
		socket.on('error', () => {});
		socket.on('close', () => this.sockets.delete(socket));
		socket.on('data', (data) => {
			rest = Buffer.concat([rest, data]);
			rest = this.#decode(rest, socket);
		});
		if (!this.paused)
			socket.resume();
	}

	/* Returns the bytes of the message that is not whole yet. */
	#decode(bytes, socket) {
		let used = 0;
		for (;;) {
			const n = whole(bytes, used);
			if (n === 0)
				return bytes.subarray(used);
			const one = bytes.subarray(used, used + n);
			for (const value of decodeMulti(one, { useBigInt64: true })) {
				this.messages.push(value);
				this.answer?.(value, socket);
			}
			used += n;
		}
	}

	get events() {
		return this.messages.flatMap(events_of);
	}

	run(id) {
		return this.events.filter((event) => event.runId === id);
	}

	/* The events of a run that has ended. */
	async whole_run(id) {
		return await wait_for('the end of run ' + id, () => {
			const events = this.run(id);
			return events.some((event) => event.type === 'run_end') &&
			    events;
		});
	}

	wait(n) {
		return wait_for(n + ' events, of which came ' +
		    this.events.length, () => this.events.length >= n);
	}

	pause() {
		this.paused = true;
		for (const socket of this.sockets)
			socket.pause();
	}

	resume() {
		this.paused = false;
		for (const socket of this.sockets)
			socket.resume();
	}

	/* As a lumnid that is killed: what was not read is gone. */
	async close() {
		for (const socket of this.sockets)
			socket.destroy();
		if (this.server?.listening)
			await new Promise((resolve) => this.server.close(resolve));
	}

	async remove() {
		await this.close();
		fs.rmSync(this.dir, { recursive: true, force: true });
	}
}

/* The length of the value at bytes[at], 0 if it is not all there. */
function
whole(bytes, at) {
	const start = at;
	let due = 1;
	while (due > 0) {
		if (at >= bytes.length)
			return 0;
		const b = bytes[at];
		let head = 1;
		let data = 0;
		let more = 0;
		const size = (n) => at + 1 + n <= bytes.length ?
		    bytes.readUIntBE(at + 1, n) : NaN;
		if (b >= 0x80 && b < 0x90) more = 2 * (b & 15);
		else if (b >= 0x90 && b < 0xa0) more = b & 15;
		else if (b >= 0xa0 && b < 0xc0) data = b & 31;
		else if (b >= 0xc4 && b <= 0xc6) {
			head += 1 << (b - 0xc4); data = size(head - 1);
		} else if (b >= 0xc7 && b <= 0xc9) {
			head += 1 << (b - 0xc7); data = size(head - 1) + 1;
		} else if (b === 0xca) data = 4;
		else if (b === 0xcb) data = 8;
		else if (b >= 0xcc && b <= 0xcf) data = 1 << (b - 0xcc);
		else if (b >= 0xd0 && b <= 0xd3) data = 1 << (b - 0xd0);
		else if (b >= 0xd4 && b <= 0xd8) data = 1 + (1 << (b - 0xd4));
		else if (b >= 0xd9 && b <= 0xdb) {
			head += 1 << (b - 0xd9); data = size(head - 1);
		} else if (b === 0xdc || b === 0xdd) {
			head += b === 0xdc ? 2 : 4; more = size(head - 1);
		} else if (b === 0xde || b === 0xdf) {
			head += b === 0xde ? 2 : 4; more = 2 * size(head - 1);
		} else if (b === 0xc1)
			throw new DecodeError('the byte 0xc1');
		if (Number.isNaN(data + more))
			return 0;
		at += head + data;
		if (at > bytes.length)
			return 0;
		due += more - 1;
	}
	return at - start;
}

/*
 * Run a program of the tests' own: source is CommonJS. Returns { status,
 * signal, stdout, stderr, ms }.
 */
function
node(source, env = {}, args = []) {
	return new Promise((resolve) => {
		const since = process.hrtime.bigint();
		execFile(process.execPath, ['-e', source, '--', ...args], {
			cwd: __dirname,
			env: { ...process.env, NODE_TEST_CONTEXT: undefined, ...env },
			timeout: 60000 * SLOW,
		}, (err, stdout, stderr) => {
			const status = err ? err.code : 0;
			const signal = err ? err.signal : null;
			const ms = Number(process.hrtime.bigint() - since) / 1e6;
			resolve({ status, signal, stdout, stderr, ms });
		});
	});
}

module.exports = {
	PACKAGE, Server, events_of, internal, node, sleep, spawn, temporary,
	wait_for,
};
