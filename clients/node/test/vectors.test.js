'use strict';
/*
 * The bytes on the wire: every client is held to the same vectors, which an
 * implementation that is none of ours has written (tests/vectors/README).
 */
const test = require('node:test');
const assert = require('node:assert');
const fs = require('node:fs');
const path = require('node:path');

const { internal } = require('./support.js');
const { Packer, Ext, Timestamp } = internal('msgpack.js');

const DIR = path.join(process.env.LUMNID_SOURCE ||
    path.join(__dirname, '../../..'), 'tests/vectors');

/* The value that the vectors' JSON stands for. */
function
plain(v) {
	if (Array.isArray(v))
		return v.map(plain);
	if (v === null || typeof v !== 'object')
		return v;
	const keys = Object.keys(v);
	if (keys.length === 1 && keys[0][0] === '$')
		return special(keys[0], v[keys[0]]);
	return Object.fromEntries(keys.map((k) => [k, plain(v[k])]));
}

function
special(key, arg) {
	switch (key) {
	case '$bin':
		return new Uint8Array(Buffer.from(arg, 'base64'));
	case '$ext':
		return new Ext(arg[0], Buffer.from(arg[1], 'base64'));
	case '$time':
		return new Timestamp(arg[0], arg[1]);
	case '$int':
		return BigInt(arg);
	case '$float':
		return { nan: NaN, inf: Infinity, '-inf': -Infinity }[arg] ??
		    Number(arg);
	case '$repeat':
		return arg[0].repeat(arg[1]);
	case '$deep': {
		let inner = [];
		for (let i = 1; i < arg; i++)
			inner = [inner];
		return inner;
	}
	default:
		throw new Error('a vector of a kind not known here: ' + key);
	}
}

for (const [file, hex] of [
	['pack.json', (p, c) => p.pack(plain(c.event))],
	['messages.json', (p, c) => p.message(c.runId, c.events.map(plain),
	    c.end, plain(c.ack))],
]) {
	const cases = JSON.parse(fs.readFileSync(path.join(DIR, file)));
	test(file, () => {
		const packer = new Packer(8 << 20);
		let n = 0;
		for (const c of cases) {
			if (c.not && c.not.includes('node'))
				continue;
			assert.strictEqual(hex(packer, c).toString('hex'),
			    c.msgpack_hex, c.name);
			n++;
		}
		assert.ok(n > 10);
	});
}
