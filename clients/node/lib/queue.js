'use strict';
/*
 * queue: the packed messages that wait for lumnid, oldest first, and the
 * number of their bytes. It holds no more than it was told to.
 *
 * An item is { bytes, events, runId }: one whole message, how many events a
 * loss of it would be, and the run they are of.
 */

class Queue {
	constructor(max) {
		this.max = max;
		this.items = [];
		this.head = 0;
		this.size = 0;
	}

	get length() {
		return this.items.length - this.head;
	}

	has_room(bytes) {
		return this.size + bytes <= this.max;
	}

	push(item) {
		this.items.push(item);
		this.size += item.bytes.length;
	}

	peek(i = 0) {
		return this.items[this.head + i];
	}

	shift() {
		const item = this.items[this.head];
		this.items[this.head++] = undefined;
		this.size -= item.bytes.length;
		/* Moving the rest is cheap when half of the array is empty. */
		if (this.head * 2 > this.items.length) {
			this.items = this.items.slice(this.head);
			this.head = 0;
		}
		return item;
	}

	/* Back to the front: an item that was shifted and not delivered. */
	unshift(item) {
		if (this.head > 0)
			this.items[--this.head] = item;
		else
			this.items.unshift(item);
		this.size += item.bytes.length;
	}

	/* The oldest messages, whole, up to about `bytes`; at least one. */
	front(bytes) {
		const n = this.length;
		if (n === 1 || this.peek().bytes.length >= bytes)
			return this.peek().bytes;
		const parts = [];
		let size = 0;
		for (let i = 0; i < n; i++) {
			const part = this.peek(i).bytes;
			if (i > 0 && size + part.length > bytes)
				break;
			parts.push(part);
			size += part.length;
		}
		return Buffer.concat(parts, size);
	}
}

module.exports = { Queue };
