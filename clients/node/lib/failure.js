'use strict';
/*
 * failure: which step a failure comes from. One failure is reported by every
 * step it passes on its way up; the deepest of them is its origin, and those
 * above name it (lumni-events(7), Failures).
 */
const { cut_text, read } = require('./msgpack.js');

const CAUSES_MAX = 8;
const KEPT_MAX = 16;

const CANCELLED = new Set(['AbortError', 'CancelledError']);
/* How LangGraph stops a run to ask a person: thrown, and yet no failure. */
const NO_FAILURE = new Set(['GraphInterrupt', 'NodeInterrupt',
    'GraphBubbleUp', 'ParentCommand']);

/* The text of an error, whatever was thrown. */
function
error_text(err, cut = 0) {
	let text;
	try {
		text = typeof err === 'object' && err !== null &&
		    typeof err.message === 'string' ? err.message : String(err);
	} catch {
		text = '[unreadable]';
	}
	return cut && text.length > cut ? cut_text(text, cut) : text;
}

function
error_type(err) {
	if (typeof err !== 'object' || err === null)
		return undefined;
	const name = read(err, 'name');
	if (typeof name === 'string' && name !== '')
		return name;
	return undefined;
}

/* "ok", "failed" or "cancelled" for a step that ended with err. */
function
error_status(err) {
	const type = error_type(err);
	if (NO_FAILURE.has(type))
		return 'ok';
	return CANCELLED.has(type) ? 'cancelled' : 'failed';
}

/* Where all that is known of an error is its text: "Tool failed: " + text. */
function
wraps(text, deeper) {
	return deeper !== '' && text.endsWith(': ' + deeper);
}

/* The error, its causes, and theirs. */
function
causes(err) {
	const all = [];
	const todo = [err];
	while (todo.length !== 0 && all.length < CAUSES_MAX) {
		const e = todo.shift();
		if (typeof e !== 'object' || e === null || all.includes(e))
			continue;
		all.push(e);
		todo.push(read(e, 'cause'));
		const several = read(e, 'errors');
		if (Array.isArray(several))
			todo.push(...several.slice(0, CAUSES_MAX));
	}
	return all;
}

/*
 * What the steps below a step have failed with; it holds the first and the
 * newest few.
 */
class Failures {
	#kept = [];

	/* The step originId has failed with err. */
	add(err, text, originId) {
		if (this.#kept.length === KEPT_MAX)
			this.#kept.splice(1, 1);
		this.#kept.push({ err, text, originId });
	}

	/* The first of them: { err, text, originId }, or undefined. */
	first() {
		return this.#kept[0];
	}

	/* The id of the step that err comes from; undefined: from none below. */
	origin_of(err, text) {
		const chain = causes(err);
		for (let i = this.#kept.length - 1; i >= 0; i--) {
			const f = this.#kept[i];
			if (chain.includes(f.err) || f.text === text ||
			    (typeof err === 'string' && wraps(err, f.text)))
				return f.originId;
		}
		return undefined;
	}
}

module.exports = { Failures, error_text, error_type, error_status };
