'use strict';
/*
 * run: what a program says of its own runs: run(), the run's events, tool()
 * and step() around functions, and the run that is current where the program
 * is. The names are those of lumni-events(7).
 *
 * What is wrapped behaves as before: same arguments, `this`, result, errors.
 */
const { AsyncLocalStorage } = require('node:async_hooks');
const { randomBytes } = require('node:crypto');
const { performance } = require('node:perf_hooks');
const { isPromise } = require('node:util').types;
const { Timestamp } = require('./msgpack.js');
const { Failures, error_text, error_type, error_status } =
    require('./failure.js');

/* Strings of what is recorded by itself are cut; a caller's own are not. */
const CUT = 16384;

/* { run, stepId, failures }: where the program is. */
const place = new AsyncLocalStorage();

/* Ids of steps: unlike those of any other thread or process of the run. */
const prefix = randomBytes(6).toString('hex');
let counter = 0;

function
step_id() {
	return prefix + '-' + (++counter).toString(36);
}

function
elapsed(since) {
	return Math.round((performance.now() - since) * 1000) / 1000;
}

class Run {
	#client;
	#started = performance.now();
	#ended = false;

	constructor(client, id) {
		this.#client = client;
		this.id = id;
		this.failures = new Failures();
	}

	/*
	 * Any event: the fields go as they are, beside stepId and parentId.
	 * Returns the step's id.
	 */
	event(type, fields) {
		return this.#record(type, fields, false);
	}

	start(fields) {
		this.#started = performance.now();
		this.#guard(() => this.#emit('run_start', this.id, undefined,
		    fields));
		return this;
	}

	modelCall(fields) {
		return this.#record('model_call', fields, false);
	}

	/* stepId: what modelCall() returned. */
	modelOutput(fields) {
		return this.#record('model_output', fields, true);
	}

	toolCall(fields) {
		return this.#record('tool_call', fields, true);
	}

	retrieval(fields) {
		return this.#record('retrieval', fields, true);
	}

	agentStep(fields) {
		return this.#record('agent_step', fields, true);
	}

	custom(name, data) {
		return this.#record('custom', { name, data }, false);
	}

	/* The run is over: lumnid seals it and sends it at once. */
	end(fields) {
		if (this.#ended)
			return;
		this.#ended = true;
		this.#guard(() => {
			const f = { status: 'ok', ...fields };
			if (f.error !== undefined) {
				f.status = fields.status ?? error_status(f.error);
				this.#explain(f, this.failures);
			}
			f.durationMs ??= elapsed(this.#started);
			this.#emit('run_end', this.id, undefined, f,
			    { end: true });
		});
	}

	/* What the agent passes may throw when looked at: one event is lost. */
	#guard(fn) {
		try {
			return fn();
		} catch {
			this.#client().send(this.id, null);
			return undefined;
		}
	}

	/* Call fn(run) with this as the current run. */
	in(fn) {
		const here = { run: this, stepId: this.id,
		    failures: this.failures };
		return place.run(here, fn, this);
	}

	/* As lumni.tool() and lumni.step(), in this run wherever it is called. */
	tool(name, fn) {
		return wrap(fn, name, 'tool_call', () => this);
	}

	step(name, fn) {
		return wrap(fn, name, 'agent_step', () => this);
	}

	/* One event for a call that was made through a wrapper. */
	record_call(type, here, fields, err) {
		this.#guard(() => {
			const f = { ...fields };
			if (err !== undefined) {
				f.error = err.value;
				f.status = error_status(err.value);
				this.#explain(f, here.failures);
				if (f.status === 'failed')
					here.above.add(err.value, f.error,
					    f.originId ?? here.stepId);
			}
			this.#emit(type, here.stepId, here.parentId, f,
			    { cut: CUT, heavy: ['args', 'result'] });
		});
	}

	#record(type, fields, with_status) {
		return this.#guard(() => {
			const id = String(fields?.stepId ?? step_id());
			const here = place.getStore();
			const parent = fields?.parentId ??
			    (here?.run === this ? here.stepId : this.id);
			const event = this.#event(type, id, parent, fields);
			if (with_status)
				this.#judge(event);
			this.#client().send(this.id, event);
			return id;
		}) ?? step_id();
	}

	/* The status of a step that was told of by hand. */
	#judge(event) {
		const err = event.error;
		event.status ??= err === undefined ? 'ok' : error_status(err);
		if (err === undefined)
			return;
		this.#explain(event, new Failures());
		if (event.status === 'failed')
			this.#above(event.parentId).add(err, event.error,
			    event.stepId);
	}

	/* fields are not changed: they are the caller's. */
	#event(type, stepId, parentId, fields) {
		const event = { type, at: Timestamp.fromMs(Date.now()), stepId,
			parentId };
		for (const key of Object.keys(fields ?? {}))
			if (key !== 'stepId' && key !== 'parentId')
				event[key] = fields[key];
		return event;
	}

	/* The failures of the step that is the parent, as far as is known. */
	#above(parent) {
		const here = place.getStore();
		return here?.run === this && here.stepId === parent ?
		    here.failures : this.failures;
	}

	/* Turn f.error, of any kind, into the fields that tell of it. */
	#explain(f, below) {
		const err = f.error;
		f.error = error_text(err);
		f.errorType ??= error_type(err);
		if (f.status !== 'failed' || f.origin !== undefined)
			return;
		f.originId ??= below.origin_of(err, f.error);
		if (f.originId === undefined)
			f.origin = true;
	}

	#emit(type, stepId, parentId, fields, options) {
		this.#client().send(this.id,
		    this.#event(type, stepId, parentId, fields), options);
	}
}

/*
 * fn, recorded each time it is called within a run: name, arguments, result,
 * error and duration. find: the run it belongs to, or undefined. Only a promise
 * is waited for: to ask anything else that has a then() could begin its work a
 * second time (queries of databases are such).
 */
function
wrap(fn, name, type, find) {
	const recorded = function (...args) {
		const run = find();
		if (run === undefined)
			return fn.apply(this, args);
		return call(run, this, fn, name, type, args);
	};
	Object.defineProperty(recorded, 'name', { value: name });
	Object.defineProperty(recorded, 'length', { value: fn.length });
	return recorded;
}

function
call(run, self, fn, name, type, args) {
	const outer = place.getStore();
	const inside = outer?.run === run;
	const here = {
		run, stepId: step_id(), failures: new Failures(),
		parentId: inside ? outer.stepId : run.id,
		above: inside ? outer.failures : run.failures,
	};
	const since = performance.now();
	const done = (result, err) => {
		run.record_call(type, here, {
			name,
			...(type === 'tool_call' ?
			    { args: arguments_of(args), result } : {}),
			status: 'ok',
			durationMs: elapsed(since),
		}, err);
	};
	let result;
	try {
		result = place.run(here, () => fn.apply(self, args));
	} catch (value) {
		done(undefined, { value });
		throw value;
	}
	if (!isPromise(result)) {
		done(result);
		return result;
	}
	return result.then((value) => {
		done(value);
		return value;
	}, (value) => {
		done(undefined, { value });
		throw value;
	});
}

/* One map or string is taken as it is; else arguments go by position. */
function
arguments_of(args) {
	if (args.length === 0)
		return {};
	const [first] = args;
	if (args.length === 1 && typeof first === 'string')
		return first;
	if (args.length === 1 && first !== null && typeof first === 'object' &&
	    !Array.isArray(first))
		return first;
	return Object.fromEntries(args.map((v, i) => [String(i), v]));
}

/* Starts the run, calls fn(run) within it, and ends it with fn. */
function
run_around(run, fields, fn) {
	run.start(fields);
	let result;
	try {
		result = run.in(fn);
	} catch (err) {
		run.end({ error: err });
		throw err;
	}
	if (!isPromise(result)) {
		run.end();
		return result;
	}
	return result.then((value) => {
		run.end();
		return value;
	}, (err) => {
		run.end({ error: err });
		throw err;
	});
}

function
current() {
	return place.getStore()?.run;
}

module.exports = { Run, run_around, wrap, current, elapsed, step_id, CUT };
