'use strict';
/*
 * answers: reads what lumnid says on a stream: msgpack maps such as
 * {"ack": 7} and {"error": "...", "code": "full", "ack": 7}, nothing larger
 * and nothing nested. Bytes that are anything else end the reading.
 */

const ANSWER_MAX = 16 * 1024;

/* Raised within: the value is not all there yet. */
const MORE = Symbol('more');

class Answers {
	#rest = Buffer.alloc(0);
	#dead = false;

	/* More bytes have come. Returns the answers that are whole. */
	read(bytes) {
		const found = [];
		if (this.#dead)
			return found;
		const all = this.#rest.length === 0 ? bytes :
		    Buffer.concat([this.#rest, bytes]);
		const at = { bytes: all, pos: 0 };
		let done = 0;
		try {
			while (at.pos < all.length) {
				found.push(value(at, 0));
				done = at.pos;
			}
		} catch (err) {
			this.#dead = err !== MORE || all.length - done > ANSWER_MAX;
		}
		this.#rest = Buffer.from(all.subarray(done));
		return found.filter((v) => v instanceof Map);
	}
}

function
take(at, n) {
	const from = at.pos;
	if (from + n > at.bytes.length)
		throw MORE;
	at.pos += n;
	return at.bytes.subarray(from, from + n);
}

function
number(at, n) {
	return take(at, n).readUIntBE(0, n);
}

function
value(at, depth) {
	const b = number(at, 1);
	if (b < 0x80)
		return b;
	if (b < 0x90)
		return map(at, b & 15, depth);
	if (b >= 0xa0 && b < 0xc0)
		return take(at, b & 31).toString();
	switch (b) {
	case 0xc0:
		return null;
	case 0xc2:
	case 0xc3:
		return b === 0xc3;
	case 0xcc:
	case 0xcd:
	case 0xce:
		return number(at, 1 << (b - 0xcc));
	case 0xd9:
	case 0xda:
		return take(at, number(at, 1 << (b - 0xd9))).toString();
	case 0xde:
		return map(at, number(at, 2), depth);
	default:
		throw new Error('no answer of lumnid');
	}
}

function
map(at, n, depth) {
	if (depth > 0)
		throw new Error('no answer of lumnid');
	const found = new Map();
	for (let i = 0; i < n; i++)
		found.set(value(at, 1), value(at, 1));
	return found;
}

module.exports = { Answers };
