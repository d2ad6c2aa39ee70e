'use strict';
/*
 * msgpack: writes any value of an agent as msgpack, and never throws for what
 * the value is: cycles, getters and proxies that throw, depth without end.
 *
 * undefined, functions and symbols are left out of maps as JSON does (null in
 * arrays). bigint is exact to 64 bits, beyond that its decimal text. Uint8Array
 * and ArrayBuffer are bin, Date is the timestamp extension. toJSON is honoured.
 * What cannot be shown is a short text in brackets, so that a reader sees that
 * something was there.
 */

/* lumnid refuses an event nested deeper than 32; the event's map is one. */
const DEPTH_MAX = 32;

/* Keys of an event that would mean something to the envelope (flat form). */
const ENVELOPE = new Set(['runId', 'traceId', 'events', 'end', 'ack',
    'change', 'policy']);

const TOO_DEEP = '[too deep]';
const CIRCULAR = '[circular]';
const UNREADABLE = '[unreadable]';

const U64_MAX = 0xffffffffffffffffn;
const I64_MIN = -0x8000000000000000n;

/* Raised when a message passes its limit; the client counts it as dropped. */
class TooLarge extends Error {}

/* An extension value. type: -128..127, data: Uint8Array. */
class Ext {
	constructor(type, data) {
		this.type = type;
		this.data = data;
	}
}

/* A time finer than a Date: whole seconds since 1970, and nanoseconds. */
class Timestamp {
	constructor(seconds, nanos = 0) {
		this.seconds = seconds;
		this.nanos = nanos;
	}

	static fromMs(ms) {
		const seconds = Math.floor(ms / 1000);
		return new Timestamp(seconds,
		    Math.round((ms - seconds * 1000) * 1e6) % 1e9);
	}
}

class Packer {
	/*
	 * max: bytes one message may have. cut: characters a string may have,
	 * 0 for no limit. shorten: called with each object before it is
	 * packed; what it returns, unless undefined, is packed instead.
	 */
	constructor(max, cut = 0, shorten = null) {
		this.max = max;
		this.cut = cut;
		this.shorten = shorten;
		this.keep = 64 * 1024;
		this.buf = Buffer.allocUnsafeSlow(8 * 1024);
		this.len = 0;
		this.open = new Set();
	}

	/*
	 * Pack one value, as it is now. The bytes returned are the caller's.
	 * Throws TooLarge, and nothing else.
	 */
	pack(value) {
		return this.whole(() => this.any(value, 0));
	}

	/*
	 * One message for lumnid. events: an array of objects. ack: undefined,
	 * or what lumnid shall answer with. As pack().
	 */
	message(runId, events, end, ack) {
		return this.whole(() => {
			if (events.length === 1 && !end && ack === undefined &&
			    !has_envelope_key(events[0])) {
				this.map(events[0], 0, runId);
				return;
			}
			this.byte(0x82 + (end ? 1 : 0) + (ack === undefined ? 0 : 1));
			this.str('runId');
			this.str(runId);
			this.str('events');
			this.count(0x90, 0xdc, events.length);
			for (const event of events)
				this.map(event, 0);
			if (end) {
				this.str('end');
				this.byte(0xc3);
			}
			if (ack !== undefined) {
				this.str('ack');
				this.any(ack, 0);
			}
		});
	}

	/* A record for lumnid: kind is `change` or `policy`. As pack(). */
	record(kind, fields) {
		return this.whole(() => {
			this.byte(0x81);
			this.str(kind);
			this.map(fields, 0);
		});
	}

	whole(write) {
		this.len = 0;
		this.open.clear();
		try {
			write();
			const out = Buffer.allocUnsafe(this.len);
			this.buf.copy(out, 0, 0, this.len);
			return out;
		} finally {
			/* One huge event must not hold its memory for ever. */
			if (this.buf.length > this.keep)
				this.buf = Buffer.allocUnsafeSlow(8 * 1024);
			this.open.clear();
		}
	}

	room(n) {
		const need = this.len + n;
		if (need > this.max)
			throw new TooLarge('message over ' + this.max + ' bytes');
		if (need <= this.buf.length)
			return;
		let size = this.buf.length * 2;
		while (size < need)
			size *= 2;
		const grown = Buffer.allocUnsafeSlow(size);
		this.buf.copy(grown, 0, 0, this.len);
		this.buf = grown;
	}

	byte(b) {
		this.room(1);
		this.buf[this.len++] = b;
	}

	/* A head of `first`, then n as an unsigned integer of `size` bytes. */
	head(first, n, size) {
		this.room(1 + size);
		this.buf[this.len] = first;
		this.buf.writeUIntBE(n, this.len + 1, size);
		this.len += 1 + size;
	}

	any(v, depth) {
		switch (typeof v) {
		case 'string':
			return this.text(v);
		case 'number':
			return this.number(v);
		case 'boolean':
			return this.byte(v ? 0xc3 : 0xc2);
		case 'bigint':
			return this.bigint(v);
		case 'object':
			if (v === null)
				return this.byte(0xc0);
			return this.object(v, depth);
		default:
			return this.byte(0xc0);
		}
	}

	/* A string of a value: one that may be cut. */
	text(s) {
		if (this.cut === 0 || s.length <= this.cut)
			return this.str(s);
		return this.str(cut_text(s, this.cut));
	}

	str(s) {
		const chars = s.length;
		/* UTF-8 of n UTF-16 units has n..3n bytes. */
		if (chars > this.max)
			throw new TooLarge('string over ' + this.max + ' bytes');
		if (chars < 32 && this.short(s, chars))
			return;
		const n = Buffer.byteLength(s);
		if (n < 32)
			this.byte(0xa0 | n);
		else if (n < 0x100)
			this.head(0xd9, n, 1);
		else if (n < 0x10000)
			this.head(0xda, n, 2);
		else
			this.head(0xdb, n, 4);
		this.room(n);
		this.buf.utf8Write(s, this.len, n);
		this.len += n;
	}

	/*
	 * Keys and names are short and ASCII as a rule: a loop is faster than
	 * the way out of JavaScript. Returns false for any other string.
	 */
	short(s, chars) {
		this.room(1 + chars);
		const { buf } = this;
		let at = this.len;
		buf[at++] = 0xa0 | chars;
		for (let i = 0; i < chars; i++) {
			const c = s.charCodeAt(i);
			if (c > 0x7f)
				return false;
			buf[at++] = c;
		}
		this.len = at;
		return true;
	}

	bin(bytes) {
		const n = bytes.byteLength;
		if (n < 0x100)
			this.head(0xc4, n, 1);
		else if (n < 0x10000)
			this.head(0xc5, n, 2);
		else
			this.head(0xc6, n, 4);
		this.room(n);
		this.buf.set(bytes, this.len);
		this.len += n;
	}

	number(n) {
		/* -0 has no integer form. */
		if (!Number.isSafeInteger(n) || Object.is(n, -0)) {
			this.room(9);
			this.buf[this.len] = 0xcb;
			this.buf.writeDoubleBE(n, this.len + 1);
			this.len += 9;
			return;
		}
		if (n >= 0)
			this.uint(n);
		else
			this.negative(n);
	}

	uint(n) {
		if (n < 0x80)
			this.byte(n);
		else if (n < 0x100)
			this.head(0xcc, n, 1);
		else if (n < 0x10000)
			this.head(0xcd, n, 2);
		else if (n < 0x100000000)
			this.head(0xce, n, 4);
		else
			this.wide(0xcf, BigInt(n));
	}

	negative(n) {
		if (n >= -0x20)
			this.byte(n & 0xff);
		else if (n >= -0x80)
			this.head(0xd0, n & 0xff, 1);
		else if (n >= -0x8000)
			this.head(0xd1, n & 0xffff, 2);
		else if (n >= -0x80000000)
			this.head(0xd2, n >>> 0, 4);
		else
			this.wide(0xd3, BigInt(n));
	}

	wide(first, n) {
		this.room(9);
		this.buf[this.len] = first;
		this.buf.writeBigUInt64BE(BigInt.asUintN(64, n), this.len + 1);
		this.len += 9;
	}

	bigint(n) {
		if (n >= BigInt(Number.MIN_SAFE_INTEGER) &&
		    n <= BigInt(Number.MAX_SAFE_INTEGER))
			return this.number(Number(n));
		if (n > U64_MAX || n < I64_MIN)
			return this.str(n.toString());
		return this.wide(n < 0n ? 0xd3 : 0xcf, n);
	}

	/* Heads of containers: first of the fix form, then of 16 and 32 bits. */
	count(fix, first, n) {
		if (n < 16)
			this.byte(fix | n);
		else if (n < 0x10000)
			this.head(first, n, 2);
		else
			this.head(first + 1, n, 4);
	}

	/*
	 * Anything that an object of a stranger does may throw. What was
	 * written of it until then is taken back.
	 */
	object(o, depth) {
		const start = this.len;
		let entered = false;
		try {
			if (this.open.has(o))
				return this.str(CIRCULAR);
			if (depth >= DEPTH_MAX)
				return this.str(TOO_DEEP);
			this.open.add(o);
			entered = true;
			const short = this.shorten === null ? undefined :
			    this.shorten(o);
			if (short !== undefined)
				this.replaced(o, short, depth);
			else
				this.shape(o, depth);
		} catch (err) {
			if (err instanceof TooLarge)
				throw err;
			this.len = start;
			this.str(err instanceof RangeError ? TOO_DEEP : UNREADABLE);
		} finally {
			if (entered)
				this.open.delete(o);
		}
	}

	shape(o, depth) {
		if (o instanceof Uint8Array)
			return this.bin(o);
		if (Array.isArray(o))
			return this.array(o, depth);
		if (o instanceof Date)
			return this.date(o);
		if (o instanceof Timestamp)
			return this.time(o.seconds, o.nanos);
		if (o instanceof Ext)
			return this.ext(o.type, o.data);
		if (o instanceof Error)
			return this.map(error_fields(o), depth);
		if (typeof o.toJSON === 'function')
			return this.replaced(o, o.toJSON(''), depth);
		if (o instanceof Map)
			return this.map(map_fields(o), depth);
		if (o instanceof Set)
			return this.array(Array.from(o), depth);
		if (o instanceof ArrayBuffer)
			return this.bin(new Uint8Array(o));
		if (ArrayBuffer.isView(o))
			return this.view(o, depth);
		if (o instanceof Number || o instanceof String ||
		    o instanceof Boolean || o instanceof BigInt)
			return this.any(o.valueOf(), depth);
		return this.map(o, depth);
	}

	/* A toJSON that answers with its own object has not replaced it. */
	replaced(o, value, depth) {
		if (value === o)
			return this.map(o, depth);
		if (value === null || typeof value !== 'object')
			return this.any(value, depth);
		if (this.open.has(value))
			return this.str(CIRCULAR);
		this.open.add(value);
		try {
			/* As JSON.stringify: toJSON is asked once, not again. */
			if (typeof value.toJSON === 'function' &&
			    !Array.isArray(value))
				return this.map(value, depth);
			return this.shape(value, depth);
		} finally {
			this.open.delete(value);
		}
	}

	date(d) {
		const t = d.getTime();
		if (Number.isNaN(t))
			return this.byte(0xc0);
		const seconds = Math.floor(t / 1000);
		return this.time(seconds, (t - seconds * 1000) * 1e6);
	}

	/* The shortest of the three forms of the timestamp extension. */
	time(seconds, nanos) {
		this.room(15);
		const b = this.buf;
		if (seconds < 0 || seconds >= 2 ** 34) {
			b[this.len] = 0xc7;
			b[this.len + 1] = 12;
			b[this.len + 2] = 0xff;
			b.writeUInt32BE(nanos, this.len + 3);
			b.writeBigInt64BE(BigInt(seconds), this.len + 7);
			this.len += 15;
		} else if (nanos !== 0 || seconds >= 2 ** 32) {
			b[this.len] = 0xd7;
			b[this.len + 1] = 0xff;
			b.writeUInt32BE(nanos * 4 + Math.floor(seconds / 2 ** 32),
			    this.len + 2);
			b.writeUInt32BE(seconds % 2 ** 32, this.len + 6);
			this.len += 10;
		} else {
			b[this.len] = 0xd6;
			b[this.len + 1] = 0xff;
			b.writeUInt32BE(seconds, this.len + 2);
			this.len += 6;
		}
	}

	ext(type, data) {
		const n = data.byteLength;
		const fix = [1, 2, 4, 8, 16].indexOf(n);
		if (fix >= 0)
			this.byte(0xd4 + fix);
		else if (n < 0x100)
			this.head(0xc7, n, 1);
		else if (n < 0x10000)
			this.head(0xc8, n, 2);
		else
			this.head(0xc9, n, 4);
		this.room(1 + n);
		this.buf.writeInt8(type, this.len);
		this.buf.set(data, this.len + 1);
		this.len += 1 + n;
	}

	view(o, depth) {
		if (o instanceof DataView)
			return this.bin(new Uint8Array(o.buffer, o.byteOffset,
			    o.byteLength));
		return this.array(o, depth);
	}

	array(a, depth) {
		const n = a.length;
		this.count(0x90, 0xdc, n);
		for (let i = 0; i < n; i++)
			this.any(a[i], depth + 1);
	}

	/* lead: the run id that a flat event begins with, or undefined. */
	map(o, depth, lead) {
		const keys = Object.keys(o);
		const at = this.len;
		const most = keys.length + (lead === undefined ? 0 : 1);
		/* How many stay is known only once all were read. */
		this.count(0x80, 0xde, most);
		let n = 0;
		if (lead !== undefined) {
			this.str('runId');
			this.str(lead);
			n++;
		}
		for (const key of keys) {
			const v = read(o, key);
			const type = typeof v;
			if (type === 'undefined' || type === 'function' ||
			    type === 'symbol')
				continue;
			this.str(key);
			this.any(v, depth + 1);
			n++;
		}
		if (n !== most)
			this.recount(at, most, n);
	}

	/* Write the count of a map again; a shorter form moves its content. */
	recount(at, most, n) {
		const was = most < 16 ? 1 : most < 0x10000 ? 3 : 5;
		const end = this.len;
		this.len = at;
		this.count(0x80, 0xde, n);
		const is = this.len - at;
		if (is !== was)
			this.buf.copy(this.buf, at + is, at + was, end);
		this.len = end - (was - is);
	}
}

function
has_envelope_key(event) {
	for (const key of Object.keys(event))
		if (ENVELOPE.has(key))
			return true;
	return false;
}

/* A cut must not fall between the two halves of a character. */
function
cut_text(s, max) {
	const last = s.charCodeAt(max - 1);
	const end = last >= 0xd800 && last < 0xdc00 ? max - 1 : max;
	return s.slice(0, end) + '... [cut, ' + s.length + ' characters]';
}

function
read(o, key) {
	try {
		return o[key];
	} catch {
		return UNREADABLE;
	}
}

/* Own fields first, so that the well-known ones are never overwritten. */
function
error_fields(e) {
	const fields = Object.create(null);
	for (const key of Object.keys(e))
		if (key !== 'stack')
			fields[key] = read(e, key);
	fields.name = String(read(e, 'name') ?? 'Error');
	fields.message = String(read(e, 'message') ?? '');
	const cause = read(e, 'cause');
	if (cause !== undefined)
		fields.cause = cause;
	return fields;
}

function
map_fields(m) {
	const fields = Object.create(null);
	for (const [key, v] of m)
		fields[typeof key === 'object' && key !== null ?
		    UNREADABLE : String(key)] = v;
	return fields;
}

module.exports = { Packer, TooLarge, Ext, Timestamp, cut_text, read };
