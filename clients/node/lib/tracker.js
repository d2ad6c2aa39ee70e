'use strict';
/*
 * tracker: turns what a framework reports of starts and ends into the events
 * of lumni-events(7): which run a step belongs to, the parent that is shown,
 * durations, and the origin of a failure. The adapters of the frameworks stand
 * on it and know only what a callback means.
 *
 * Its maps are bounded, so ends that never come cost a bounded memory: the
 * oldest step gives way, and of a root that gives way the whole run.
 */
const { performance } = require('node:perf_hooks');
const { Timestamp } = require('./msgpack.js');
const { Failures, error_text, error_type, error_status } =
    require('./failure.js');
const { elapsed, step_id, CUT } = require('./run.js');

const OPEN_MAX = 65536;
const ENDED_MAX = 8192;

/* Left out first when an event is too large. */
const HEAVY = ['input', 'output', 'messages', 'args', 'result', 'documents',
    'toolCalls', 'data', 'metadata'];

class Tracker {
	#client;
	#options;
	#open_max;
	#open = new Map();
	/* Of ended steps, for children that are late: id to its step. */
	#ended = new Map();

	/*
	 * client: returns the client to send with. shorten: see Packer.
	 * options: maxString, maxOpenSteps.
	 */
	constructor(client, shorten, options) {
		this.#client = client;
		this.#options = {
			cut: options?.maxString ?? CUT,
			shorten,
			heavy: HEAVY,
		};
		this.#open_max = options?.maxOpenSteps ?? OPEN_MAX;
	}

	/*
	 * A step begins. type: of the event that tells its end. parent_id: its
	 * parent's id, undefined at a root; a parent never heard of makes it a
	 * root too. Returns the step, or null where its run is over.
	 */
	open(id, parent_id, type, name, hidden = false) {
		const above = parent_id === undefined ? undefined :
		    this.#open.get(parent_id) ?? this.#ended.get(parent_id);
		if (above?.run.over) {
			this.#bury({ id, run: above.run });
			return null;
		}
		const step = {
			id, type, name, hidden, run: null, above: above ?? null,
			parent: undefined, since: performance.now(),
			failures: new Failures(), fields: {},
		};
		if (above === undefined)
			step.run = { id, root: step, over: false, open: new Set() };
		else
			step.run = above.run;
		step.parent = shown(step.above);
		if (this.#open.size >= this.#open_max)
			this.#forget(this.#open.values().next().value);
		this.#open.set(id, step);
		step.run.open.add(step);
		return step;
	}

	get(id) {
		return this.#open.get(id);
	}

	size() {
		return this.#open.size + this.#ended.size;
	}

	/* The run begins, with this step as its root. */
	start_run(step, fields) {
		this.#send(step.run, {
			type: 'run_start', at: now(), stepId: step.id,
			name: step.name, ...fields,
		});
	}

	/* An event of a step that goes on. */
	note(step, type, fields) {
		if (!step.hidden)
			this.#send(step.run, {
				type, at: now(), stepId: step.id,
				parentId: step.parent, ...fields,
			});
	}

	/* An event of the program's own, from within a step. */
	custom(step, fields) {
		this.#send(step.run, {
			type: 'custom', at: now(), stepId: step_id(),
			parentId: shown(step), ...fields,
		});
	}

	/*
	 * The step has ended. fields: of its event, beside those that every
	 * event has. failed: { err } or undefined; of a hidden step the one above
	 * has to tell, as if it had failed itself. A root's run ends with it;
	 * end: the fields of run_end.
	 */
	close(step, fields, failed, end) {
		const is_root = step.run.root === step;
		const how = verdict(step, failed);
		if (is_root)
			this.#cancel_open(step);
		if (!step.hidden && !(is_root && step.type === 'agent_step'))
			this.#tell(step, fields, how);
		this.#retire(step);
		if (is_root)
			this.#end_run(step, how, end);
		else if (how.status === 'failed' && !(step.hidden && how.origin))
			step.above.failures.add(failed.err, how.error,
			    how.originId ?? step.id);
	}

	#tell(step, fields, how) {
		this.#send(step.run, {
			type: step.type, at: now(), stepId: step.id,
			parentId: step.parent, name: step.name, ...step.fields,
			...fields, ...how, durationMs: elapsed(step.since),
		});
	}

	#end_run(step, how, end) {
		const run = step.run;
		/* A root of another kind has told of itself: it is the origin. */
		const { origin, ...rest } = how;
		if (origin && step.type !== 'agent_step')
			rest.originId = step.id;
		else if (origin)
			rest.origin = true;
		run.over = true;
		this.#send(run, {
			type: 'run_end', at: now(), stepId: step.id,
			name: step.name, ...rest, ...end,
			durationMs: elapsed(step.since),
		}, true);
	}

	/* Children first, as they would have ended. */
	#cancel_open(root) {
		const open = Array.from(root.run.open).reverse();
		for (const step of open) {
			if (step === root)
				continue;
			if (!step.hidden)
				this.#tell(step, {}, { status: 'cancelled' });
			this.#retire(step);
		}
	}

	#retire(step) {
		this.#open.delete(step.id);
		step.run.open.delete(step);
		this.#bury(step);
	}

	#bury(step) {
		if (this.#ended.size >= ENDED_MAX)
			this.#ended.delete(this.#ended.keys().next().value);
		this.#ended.set(step.id, step);
		/* What a late child needs is where it hangs, not what it was. */
		step.fields = undefined;
	}

	#forget(step) {
		const run = step.run;
		const gone = run.root === step ? Array.from(run.open) : [step];
		for (const s of gone) {
			this.#open.delete(s.id);
			run.open.delete(s);
		}
	}

	#send(run, event, end) {
		this.#client().send(run.id, event, end ?
		    { ...this.#options, end: true } : this.#options);
	}
}

function
now() {
	return Timestamp.fromMs(Date.now());
}

/* The nearest step at or above that has events of its own. */
function
shown(step) {
	while (step && step.hidden)
		step = step.above;
	return step?.id;
}

/*
 * LangGraph reports at the root of a run that was stopped, for whatever
 * reason, an Error("Abort") of its own: what the steps below say is truer.
 */
function
is_own_abort(step, err) {
	return step.type === 'agent_step' && error_type(err) === 'Error' &&
	    err.message === 'Abort';
}

/* Status, error, errorType, and origin or originId, of a step that ended. */
function
verdict(step, failed) {
	if (failed === undefined)
		return { status: 'ok' };
	let err = failed.err;
	if (is_own_abort(step, err)) {
		const below = step.failures.first();
		if (below === undefined)
			return { status: 'cancelled', error: error_text(err),
			    errorType: 'AbortError' };
		failed.err = err = below.err;
	}
	const status = error_status(err);
	if (status === 'ok')
		return { status };
	const error = error_text(err);
	const how = { status, error, errorType: error_type(err) };
	if (status !== 'failed')
		return how;
	const originId = step.failures.origin_of(err, error);
	return originId === undefined ? { ...how, origin: true } :
	    { ...how, originId };
}

module.exports = { Tracker };
