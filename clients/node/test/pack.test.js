'use strict';
/* The packer: whatever an agent hands it becomes msgpack, and nothing throws. */
const test = require('node:test');
const assert = require('node:assert');
const { decode } = require('@msgpack/msgpack');
const { internal } = require('./support.js');

const { Packer, TooLarge, Ext } = internal('msgpack.js');

const packer = new Packer(1 << 20);

function
seen(value) {
	return decode(plain(packer.pack(value)), { useBigInt64: true });
}

/* The decoder gives of a Buffer Buffers again. */
function
plain(bytes) {
	return new Uint8Array(bytes);
}

function
nested(n) {
	let inner = {};
	for (let i = 1; i < n; i++)
		inner = { in: inner };
	return inner;
}

test('values as another decoder sees them', () => {
	const cyclic = { a: 1 };
	cyclic.self = cyclic;
	const twice = { n: 1 };
	const cases = [
		[{ a: undefined, b: () => 1, c: Symbol('x'), d: 0 }, { d: 0 }],
		[[undefined, () => 1, 2], [null, null, 2]],
		[cyclic, { a: 1, self: '[circular]' }],
		[{ x: twice, y: twice }, { x: { n: 1 }, y: { n: 1 } }],
		[new Map([['k', 1], [2, 'v'], [{}, 3]]),
		    { k: 1, 2: 'v', '[unreadable]': 3 }],
		[new Set([1, 'a']), [1, 'a']],
		[new Date(NaN), null],
		[new URL('http://a.test/b'), 'http://a.test/b'],
		[{ toJSON: () => ({ z: 1 }) }, { z: 1 }],
		[{ toJSON: (key) => key === '' && 'text' }, 'text'],
		[{ toJSON() { return this; }, k: 1 }, { k: 1 }],
		[{ toJSON() { throw new Error('no'); } }, '[unreadable]'],
		[{ get bad() { throw new Error('no'); }, good: 1 },
		    { bad: '[unreadable]', good: 1 }],
		[new Proxy({}, { ownKeys() { throw new Error('no'); } }),
		    '[unreadable]'],
		[[1, new Proxy([], { get() { throw new Error('no'); } })],
		    [1, '[unreadable]']],
		[2n ** 70n, '1180591620717411303424'],
		[-(2n ** 64n), '-18446744073709551616'],
		[5n, 5],
		[Object(7), 7],
		[Object('s'), 's'],
		[Float64Array.of(0.5, 2), [0.5, 2]],
		[new Uint8Array([1, 2]).buffer, new Uint8Array([1, 2])],
		[Buffer.from('ab'), new Uint8Array([97, 98])],
		[new DataView(new ArrayBuffer(1)), new Uint8Array([0])],
		// eslint-disable-next-line no-sparse-arrays
		[[, 1], [null, 1]],
		[Object.create(null, { k: { value: 1, enumerable: true } }),
		    { k: 1 }],
		[JSON.parse('{"__proto__": 1}').__proto__, 1],
		[undefined, null],
		[Symbol('x'), null],
		[1e300, 1e300],
	];
	for (const [value, want] of cases)
		assert.deepStrictEqual(seen(value), want);
});

test('errors show their class, text, fields and causes', () => {
	const err = new TypeError('bad', { cause: new Error('deep') });
	err.code = 'E_BAD';
	assert.deepStrictEqual(seen(err), {
		code: 'E_BAD', name: 'TypeError', message: 'bad',
		cause: { name: 'Error', message: 'deep' },
	});
	const loop = new Error('round');
	loop.cause = loop;
	assert.strictEqual(seen(loop).cause, '[circular]');
});

test('depth is limited, in whatever way it is reached', () => {
	let deep = seen(nested(100));
	let n = 0;
	for (; typeof deep === 'object'; n++)
		deep = deep.in;
	assert.strictEqual(n, 32);
	assert.strictEqual(deep, '[too deep]');
	const endless = { toJSON: () => [endless_new()] };
	function endless_new() {
		return { toJSON: () => [endless_new()] };
	}
	assert.ok(packer.pack(endless).length > 0);
});

test('a map from which many keys are left out has the right count', () => {
	for (const n of [3, 15, 16, 17, 40]) {
		for (const keep of [0, 1, 14, 15, 16]) {
			const o = {};
			for (let i = 0; i < n; i++)
				o['k' + i] = i < keep ? i : undefined;
			const want = Object.fromEntries(
			    Object.entries(o).filter(([, v]) => v !== undefined));
			assert.deepStrictEqual(seen([o, 'after']),
			    [want, 'after']);
		}
	}
});

test('random values survive the round', () => {
	let seed = 42;
	const random = (n) => {
		seed = (seed * 1103515245 + 12345) & 0x7fffffff;
		return seed % n;
	};
	const make = (depth) => {
		switch (random(depth > 6 ? 6 : 8)) {
		case 0: return null;
		case 1: return random(2) === 1;
		case 2: return random(2 ** 31) * (random(2) ? 1 : -1);
		case 3: return random(1e9) / 7;
		case 4: return 'é漢'.repeat(random(40)) + random(1e6);
		case 5: return new Uint8Array(random(300)).fill(random(256));
		case 6: return Array.from({ length: random(20) },
			    () => make(depth + 1));
		default: return Object.fromEntries(Array.from(
			    { length: random(20) },
			    (_, i) => ['key' + i + random(99), make(depth + 1)]));
		}
	};
	for (let i = 0; i < 500; i++) {
		const value = make(0);
		assert.deepStrictEqual(decode(plain(packer.pack(value))), value);
	}
});

test('a message over the limit is refused, and the next one is not', () => {
	const small = new Packer(1000);
	for (const value of ['x'.repeat(1001), new Uint8Array(1000),
	    Array(1001).fill(1), { k: 'é'.repeat(500) }])
		assert.throws(() => small.pack(value), TooLarge);
	assert.strictEqual(decode(small.pack('y'.repeat(900))).length, 900);
});

test('strings are cut between characters, and say what they were', () => {
	const cutter = new Packer(1000, 10);
	assert.strictEqual(decode(cutter.pack('0123456789')), '0123456789');
	assert.strictEqual(decode(cutter.pack('0123456789a')),
	    '0123456789... [cut, 11 characters]');
	assert.strictEqual(decode(cutter.pack('012345678\u{1f600}z')),
	    '012345678... [cut, 12 characters]');
	/* Keys are names: they stay. */
	assert.deepStrictEqual(decode(cutter.pack({ abcdefghijklm: 1 })),
	    { abcdefghijklm: 1 });
});

test('what is packed is what it was at the call', () => {
	const event = { list: [1] };
	const bytes = packer.pack(event);
	event.list.push(2);
	packer.pack('something else');
	assert.deepStrictEqual(decode(bytes), { list: [1] });
	assert.deepStrictEqual(decode(plain(packer.pack(new Ext(9,
	    new Uint8Array([7]))))).data, new Uint8Array([7]));
});
