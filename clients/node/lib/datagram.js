'use strict';
/*
 * datagram: takes messages from a queue to lumnid's UDP port, several in one
 * datagram. The socket is connected, so that the kernel tells of a datagram
 * that nobody took: on the loopback each is told of once, before the next is
 * sent, and so the count of lost events is exact.
 *
 * Nothing here keeps the process alive, waits, throws or logs.
 */
const dgram = require('node:dgram');
const net = require('node:net');
const dns = require('node:dns');
const { scope } = require('./stream.js');

/* Messages are joined up to this size; a larger one travels alone. */
const JOIN_MAX = 8 * 1024;
/* The largest payload of UDP over IPv4. */
const DATAGRAM_MAX = 65507;
/* Datagrams sent in one turn of the loop, so that lumnid can keep up. */
const TURN_MAX = 64;

const BACKOFF_MS = 200;

class Datagram {
	/* on_lost(item): that message was in a datagram that was refused. */
	constructor(host, port, queue, on_lost) {
		this.host = host;
		this.port = port;
		this.queue = queue;
		this.on_lost = on_lost;
		this.socket = null;
		this.ready = false;
		this.timer = null;
		/* What the last datagram held: the one a refusal is about. */
		this.last = null;
		this.waiters = [];
		this.sending = false;
		this.closed = false;
	}

	kick() {
		if (this.closed || this.timer !== null)
			return;
		try {
			if (this.socket === null)
				this.open();
			if (this.ready)
				this.pump();
		} catch {
			/* Such as no descriptor left; most faults come by events. */
			this.refused();
		}
	}

	idle() {
		return this.queue.length === 0 && !this.sending;
	}

	/* Events that are off the queue and not yet handed over. */
	in_hand() {
		return 0;
	}

	open() {
		scope.runInAsyncScope(() => {
			const socket = dgram.createSocket({
				type: net.isIPv6(this.host) ? 'udp6' : 'udp4',
				lookup,
			});
			this.socket = socket;
			socket.on('error', (err) => this.on_error(socket, err));
			socket.on('connect', () => {
				if (socket !== this.socket)
					return;
				this.ready = true;
				this.pump();
			});
			/* Bound by itself, a cluster's worker would ask its parent. */
			socket.bind({ port: 0, exclusive: true });
			socket.connect(this.port, this.host);
			socket.unref();
		});
	}

	on_error(socket, err) {
		if (socket !== this.socket)
			return;
		this.refused();
		if (err.code === 'ECONNREFUSED')
			return;
		/* The address is none, or the socket broke: begin again later. */
		this.socket = null;
		this.ready = false;
		try {
			socket.close();
		} catch {
			/* It was never open. */
		}
	}

	/* The last datagram is lost; wait before the next is tried. */
	refused() {
		if (this.last !== null) {
			for (const item of this.last)
				this.on_lost(item);
			this.last = null;
		}
		this.settle(false);
		if (this.timer !== null || this.closed)
			return;
		scope.runInAsyncScope(() => {
			this.timer = setTimeout(() => {
				this.timer = null;
				if (this.queue.length !== 0)
					this.kick();
			}, BACKOFF_MS);
			this.timer.unref();
		});
	}

	/* One after the other: a refusal must find the datagram it is about. */
	pump(turn = 0) {
		if (this.sending || this.timer !== null)
			return;
		if (this.queue.length === 0)
			return this.settle(true);
		if (turn === TURN_MAX) {
			scope.runInAsyncScope(() => {
				setImmediate(() => this.kick()).unref();
			});
			return;
		}
		const socket = this.socket;
		const items = this.next();
		this.sending = true;
		socket.send(joined(items), (err) => {
			this.sending = false;
			if (socket !== this.socket)
				return this.give_back(items);
			if (err)
				return this.on_send_error(items, err);
			this.last = items;
			this.pump(turn + 1);
		});
	}

	/* The messages of the next datagram, off the queue. */
	next() {
		const items = [];
		let size = 0;
		while (this.queue.length !== 0) {
			const n = this.queue.peek().bytes.length;
			if (items.length !== 0 && size + n > JOIN_MAX)
				break;
			items.push(this.queue.shift());
			size += n;
		}
		return items;
	}

	give_back(items) {
		for (const item of items.reverse())
			this.queue.unshift(item);
	}

	/*
	 * ECONNREFUSED is about the datagram before: this one was not sent, and
	 * goes again. Any other error is its own.
	 */
	on_send_error(items, err) {
		if (err.code === 'ECONNREFUSED')
			this.give_back(items);
		else
			this.last = items;
		this.refused();
	}

	when_idle(callback) {
		if (this.idle() || this.closed)
			return callback(this.idle());
		this.waiters.push(callback);
		if (this.timer !== null) {
			clearTimeout(this.timer);
			this.timer = null;
		}
		this.kick();
		if (this.waiters.length !== 0 && this.socket !== null)
			this.socket.ref();
	}

	forget(callback) {
		this.waiters = this.waiters.filter((w) => w !== callback);
		if (this.waiters.length === 0 && this.socket !== null)
			this.socket.unref();
	}

	settle(ok) {
		if (this.waiters.length === 0)
			return;
		const waiters = this.waiters;
		this.waiters = [];
		if (this.socket !== null)
			this.socket.unref();
		for (const callback of waiters)
			callback(ok);
	}

	/* As Stream.drain_now(): the socket takes a datagram or refuses it. */
	drain_now() {
		if (this.closed)
			return;
		if (this.socket === null)
			this.open();
		while (this.queue.length !== 0)
			this.socket.send(joined(this.next()), () => {});
	}

	close() {
		this.closed = true;
		if (this.timer !== null)
			clearTimeout(this.timer);
		this.timer = null;
		const socket = this.socket;
		this.socket = null;
		this.ready = false;
		try {
			socket?.close();
		} catch {
			/* It was closed before. */
		}
		this.settle(this.idle());
	}
}

function
joined(items) {
	return items.length === 1 ? items[0].bytes :
	    Buffer.concat(items.map((item) => item.bytes));
}

/* An address needs no resolver: the answer comes before this returns. */
function
lookup(host, options, callback) {
	const family = net.isIP(host);
	if (family)
		return callback(null, host, family);
	return dns.lookup(host, options, callback);
}

module.exports = { Datagram, DATAGRAM_MAX };
