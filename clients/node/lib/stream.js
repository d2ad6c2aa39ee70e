'use strict';
/*
 * stream: takes messages from a queue to lumnid's Unix stream socket. Connects
 * when there is something to send, again with back-off when it was refused or
 * broken, and knows of each message whether the kernel has taken it whole.
 *
 * The socket is written with write(2) itself, through its descriptor, for three
 * reasons: the number of bytes taken is known at once, so that after a broken
 * connection exactly the messages that were not taken go again; a write that
 * libuv has under way would keep the process alive; and it works while the
 * process exits, when the event loop runs no more. Where the descriptor cannot
 * be had, messages go through the stream of Node.
 *
 * Nothing here keeps the process alive, waits, throws or logs.
 */
const net = require('node:net');
const { writeSync } = require('node:fs');
const { AsyncResource } = require('node:async_hooks');
const { Answers } = require('./answers.js');

/* As much as one write is asked to take, and all writes of one turn. */
const WRITE_MAX = 64 * 1024;
const TURN_MAX = 1024 * 1024;

/* How long to wait for a lumnid that does not read, at first and at most. */
const FULL_FIRST_MS = 1;
const FULL_MAX_MS = 64;

const BACKOFF_FIRST_MS = 50;
const BACKOFF_MAX_MS = 2000;

/* Connections that may break over one message. */
const TRIES_MAX = 3;

const DOWN = 0;
const CONNECTING = 1;
const UP = 2;

/*
 * Sockets and timers are made in a context of their own: else they would hold
 * the async context of the run that happened to be the first, for ever.
 */
const scope = new AsyncResource('lumni', { requireManualDestroy: true });

class Stream {
	/*
	 * path: of the socket. queue: what is to be sent. on_lost(item): that
	 * message has broken the connection again and again. on_answer(map):
	 * lumnid has said this; null when it can answer no more.
	 */
	constructor(path, queue, on_lost, on_answer) {
		this.path = path;
		this.queue = queue;
		this.on_lost = on_lost;
		this.on_answer = on_answer;
		this.state = DOWN;
		this.socket = null;
		this.timer = null;
		this.backoff_ms = 0;
		this.full_ms = 0;
		/* The message the kernel has taken a part of: item, off. */
		this.tail = null;
		this.waiters = [];
		this.closed = false;
	}

	/* There is something in the queue. */
	kick() {
		if (this.closed)
			return;
		if (this.timer !== null)
			return;
		if (this.state === UP)
			this.pump();
		else if (this.state === DOWN)
			this.connect();
	}

	idle() {
		return this.queue.length === 0 && this.tail === null;
	}

	/* Events that are off the queue and not yet handed over. */
	in_hand() {
		return this.tail === null ? 0 : this.tail.item.events;
	}

	connect() {
		this.stop_timer();
		this.state = CONNECTING;
		try {
			this.open();
		} catch {
			/* Such as no descriptor left; most faults come by events. */
			this.state = DOWN;
			this.socket = null;
			this.settle(false);
			this.retry_later();
		}
	}

	open() {
		scope.runInAsyncScope(() => {
			const socket = net.createConnection({ path: this.path });
			this.socket = socket;
			socket.unref();
			socket.on('connect', () => this.on_connect(socket));
			const answers = new Answers();
			socket.on('data', (data) => {
				for (const answer of answers.read(data))
					this.on_answer(answer);
			});
			socket.on('error', () => {});
			socket.on('close', () => this.on_close(socket));
		});
	}

	on_connect(socket) {
		if (socket !== this.socket)
			return;
		this.state = UP;
		this.pump();
	}

	on_close(socket) {
		if (socket !== this.socket)
			return;
		const was_up = this.state === UP;
		this.state = DOWN;
		this.socket = null;
		this.stop_timer();
		this.put_back();
		this.on_answer(null);
		if (was_up)
			this.backoff_ms = 0;
		else
			this.settle(false);
		if (this.queue.length === 0 && this.waiters.length !== 0)
			this.settle(true);
		if (this.queue.length !== 0 && !this.closed)
			this.retry_later();
	}

	/*
	 * lumnid has seen the message under way in part at most: it goes again,
	 * whole; but it may be the reason that lumnid hangs up.
	 */
	put_back() {
		const tail = this.tail;
		if (tail === null)
			return;
		this.tail = null;
		if (tail.off > 0)
			tail.item.tries = (tail.item.tries ?? 0) + 1;
		if (tail.item.tries >= TRIES_MAX)
			this.on_lost(tail.item);
		else
			this.queue.unshift(tail.item);
	}

	retry_later() {
		const base = this.backoff_ms || BACKOFF_FIRST_MS;
		this.backoff_ms = Math.min(base * 2, BACKOFF_MAX_MS);
		this.wait(base * (0.5 + Math.random() / 2));
	}

	/* Go on after ms; nothing happens before. */
	wait(ms) {
		scope.runInAsyncScope(() => {
			this.timer = setTimeout(() => {
				this.timer = null;
				if (!this.idle() || this.waiters.length !== 0)
					this.kick();
			}, ms);
			this.timer.unref();
		});
	}

	stop_timer() {
		clearTimeout(this.timer);
		this.timer = null;
	}

	/* Hand over what the kernel takes now; the rest when it takes more. */
	pump() {
		let budget = TURN_MAX;
		while (!this.idle()) {
			if (budget <= 0)
				return this.wait(0);
			const bytes = this.next_bytes();
			const n = this.write(bytes);
			this.taken(n);
			if (n < bytes.length)
				return this.wait_for_room(n);
			budget -= n;
			this.full_ms = 0;
			this.backoff_ms = 0;
		}
		this.settle(true);
	}

	next_bytes() {
		if (this.tail !== null)
			return this.tail.item.bytes.subarray(this.tail.off);
		return this.queue.front(WRITE_MAX);
	}

	/*
	 * lumnid does not read as fast as is written. There is no way to be told
	 * of room that would not keep the process alive, so look again soon.
	 */
	wait_for_room(n) {
		const base = n > 0 ? 0 : this.full_ms;
		this.full_ms = Math.min(base * 2 || FULL_FIRST_MS, FULL_MAX_MS);
		this.wait(this.full_ms);
	}

	/* write(2): the number of bytes taken, 0 where it would have to wait. */
	write(bytes) {
		/* A broken connection is told of by its close. */
		if (this.socket.destroyed || !this.socket.writable)
			return 0;
		const fd = this.fd();
		/* Between its end and its close, a socket takes everything and
		 * sends nothing. */
		if (this.socket.destroyed || this.socket.writableEnded)
			return 0;
		if (fd < 0)
			return this.write_stream(bytes);
		try {
			return writeSync(fd, bytes, 0, bytes.length);
		} catch {
			return 0;
		}
	}

	/* In a runtime that shows no descriptor. */
	write_stream(bytes) {
		if (this.socket.writableLength > WRITE_MAX)
			return 0;
		this.socket.write(bytes);
		return bytes.length;
	}

	fd() {
		const handle = this.socket && !this.socket.destroyed &&
		    this.socket._handle;
		return handle && typeof handle.fd === 'number' ? handle.fd : -1;
	}

	/* The kernel has taken n bytes of what was to be sent. */
	taken(n) {
		if (this.tail !== null) {
			this.tail.off += n;
			if (this.tail.off === this.tail.item.bytes.length)
				this.tail = null;
			return;
		}
		while (n > 0) {
			const item = this.queue.shift();
			if (n < item.bytes.length) {
				this.tail = { item, off: n };
				return;
			}
			n -= item.bytes.length;
		}
	}

	/*
	 * Calls back with true once all is handed over, with false when lumnid
	 * is not there.
	 */
	when_idle(callback) {
		if (this.idle() || this.closed)
			return callback(this.idle());
		this.waiters.push(callback);
		if (this.state !== CONNECTING)
			this.stop_timer();
		this.kick();
	}

	forget(callback) {
		this.waiters = this.waiters.filter((w) => w !== callback);
	}

	settle(ok) {
		const waiters = this.waiters;
		this.waiters = [];
		for (const callback of waiters)
			callback(ok);
	}

	/*
	 * The process exits and no callback will run again: write for at most
	 * ms, and sleep in between while lumnid is busy. On Linux a Unix socket
	 * is connected when connect() returns, so this needs no event loop even
	 * where nothing was sent before.
	 */
	drain_now(ms) {
		const deadline = Date.now() + ms;
		if (this.state === DOWN && !this.closed && !this.idle())
			this.connect();
		const fd = this.fd();
		if (fd < 0)
			return;
		while (!this.idle()) {
			const bytes = this.next_bytes();
			const n = write_until(fd, bytes, deadline);
			this.taken(n);
			if (n < bytes.length)
				return;
		}
	}

	close() {
		this.closed = true;
		this.stop_timer();
		if (this.socket !== null)
			this.socket.destroy();
		this.settle(this.idle());
	}
}

/* The number of bytes taken until the deadline, or until it was refused. */
function
write_until(fd, bytes, deadline) {
	let off = 0;
	while (off < bytes.length) {
		try {
			off += writeSync(fd, bytes, off, bytes.length - off);
		} catch (err) {
			if (err.code !== 'EAGAIN' || Date.now() >= deadline)
				break;
			nap();
		}
	}
	return off;
}

function
nap() {
	Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
}

module.exports = { Stream, scope };
