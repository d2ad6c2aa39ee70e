'use strict';
/*
 * openai-agents: a tracing processor for @openai/agents-core, which tells
 * lumnid of its traces and spans. It needs none of their code:
 *
 *	addTraceProcessor(new LumniTracingProcessor());
 */
const lumni = require('./index.js');
const { Tracker } = require('./tracker.js');

const MODEL = new Set(['generation', 'response']);
const FINISHED = Promise.resolve();

/*
 * A trace whose run throws is never told to have ended. So it is taken as
 * ended when its outermost span has failed and nothing follows for so long.
 */
const GRACE_MS = 200;
const DOUBTFUL_MAX = 1024;

class LumniTracingProcessor {
	#client;
	#tracker;
	/* Traces that seem to have failed: id to the timer that ends them. */
	#failing = new Map();
	/* Traces that were ended so; should they go on, their run does. */
	#doubtful = new Set();

	/* See the types for the options. */
	constructor(options) {
		const client = options?.client;
		this.#client = () => client ?? lumni.defaultClient();
		this.#tracker = new Tracker(this.#client, null, options);
	}

	get size() {
		return this.#tracker.size();
	}

	onTraceStart(trace) {
		return guard(() => {
			const step = this.#tracker.open(trace.traceId, undefined,
			    'agent_step', trace.name);
			this.#tracker.start_run(step, {
				threadId: trace.groupId ?? undefined,
				metadata: some(trace.metadata),
			});
		});
	}

	onTraceEnd(trace) {
		return guard(() => this.#end_trace(trace.traceId));
	}

	onSpanStart(span) {
		return guard(() => {
			this.#goes_on(span.traceId);
			const data = span.spanData;
			const step = this.#tracker.open(span.spanId,
			    span.parentId ?? span.traceId, event_type(data.type),
			    name_of(data));
			if (step === null)
				return;
			if (step.run.root === step)
				this.#tracker.start_run(step, {});
			if (MODEL.has(data.type))
				this.#tracker.note(step, 'model_call', asked(data));
		});
	}

	onSpanEnd(span) {
		return guard(() => {
			const step = this.#tracker.get(span.spanId);
			if (step === undefined)
				return;
			const { run } = step;
			step.name = name_of(span.spanData) ?? step.name;
			this.#tracker.close(step, told(span.spanData),
			    span.error ? { err: cause(span.error) } : undefined);
			if (span.error && !span.parentId && run.open.size === 1 &&
			    !run.over)
				this.#expect_end(span.traceId);
		});
	}

	/* A trace has no error of its own: it has that of a span right below. */
	#end_trace(id) {
		clearTimeout(this.#failing.get(id));
		this.#failing.delete(id);
		this.#doubtful.delete(id);
		const step = this.#tracker.get(id);
		if (step === undefined)
			return;
		const failure = step.failures.first();
		this.#tracker.close(step, {}, failure && { err: failure.err });
	}

	#expect_end(id) {
		const timer = setTimeout(() => this.#give_up(id), GRACE_MS);
		timer.unref();
		this.#failing.set(id, timer);
	}

	#give_up(id) {
		guard(() => {
			this.#end_trace(id);
			if (this.#doubtful.size >= DOUBTFUL_MAX)
				this.#doubtful.clear();
			this.#doubtful.add(id);
		});
	}

	/* The trace was not at its end: what follows belongs to its run. */
	#goes_on(id) {
		clearTimeout(this.#failing.get(id));
		this.#failing.delete(id);
		if (this.#doubtful.delete(id))
			this.#tracker.open(id, undefined, 'agent_step');
	}

	async forceFlush() {
		await this.#client().flush();
	}

	/* The SDK calls it when the program ends: nothing more will follow. */
	async shutdown(timeout) {
		for (const id of Array.from(this.#failing.keys()))
			this.#give_up(id);
		await this.#client().flush(timeout);
	}
}

/* The frameworks await a promise; nothing in here may reject it. */
function
guard(fn) {
	try {
		fn();
	} catch {
		/* One event less. */
	}
	return FINISHED;
}

/* The message says where it was caught; what was thrown is in the data. */
function
cause(error) {
	const text = error.data?.error;
	return typeof text === 'string' && text !== '' ? text : error.message;
}

function
event_type(type) {
	if (MODEL.has(type))
		return 'model_output';
	return type === 'function' ? 'tool_call' : 'agent_step';
}

function
name_of(data) {
	if (data.type === 'turn')
		return data.agent_name;
	return data.name ?? data.model ?? data._response?.model ?? data.type;
}

function
some(o) {
	return o && Object.keys(o).length ? o : undefined;
}

function
asked(data) {
	const input = data.input ?? data._input;
	return {
		name: name_of(data),
		model: data.model,
		...(typeof input === 'string' ? { prompt: input } :
		    { messages: messages(input) }),
	};
}

function
messages(input) {
	if (!Array.isArray(input))
		return undefined;
	return input.map((item) => {
		if (item?.role === undefined)
			return item;
		return { role: item.role, text: text_of(item.content) };
	});
}

function
text_of(content) {
	if (!Array.isArray(content))
		return content;
	const texts = content.filter((part) => typeof part?.text === 'string');
	return texts.map((part) => part.text).join('');
}

/* The fields of the event that tells of the span's end. */
function
told(data) {
	const { type } = data;
	if (MODEL.has(type))
		return answer(data);
	if (type === 'function')
		return { args: parsed(data.input), result: data.output };
	const { name, ...rest } = data;
	void name;
	delete rest.type;
	switch (type) {
	case 'handoff':
		return { kind: type, from: data.from_agent, to: data.to_agent };
	case 'guardrail':
		return { kind: type, triggered: data.triggered };
	case 'agent':
	case 'task':
	case 'turn':
		return { kind: type };
	case 'custom':
		return { kind: type, data: data.data };
	default:
		return { kind: type, data: some(rest) };
	}
}

function
parsed(input) {
	if (typeof input !== 'string' || input[0] !== '{')
		return input;
	try {
		return JSON.parse(input);
	} catch {
		return input;
	}
}

/*
 * A generation's output is a list of messages and calls, a response's is in
 * the response of the API.
 */
function
answer(data) {
	const outputs = (data.output ?? data._response?.output ?? [])
	    .flatMap((o) => o?.output ?? o);
	const texts = outputs.filter((o) => o?.role === 'assistant' ||
	    o?.type === 'message');
	const calls = outputs.filter((o) => o?.type === 'function_call');
	return {
		model: data.model ?? data._response?.model,
		text: texts.length ? texts.map((o) => text_of(o.content)).join('') :
		    undefined,
		toolCalls: calls.length ? calls.map((o) => ({
			id: o.callId ?? o.call_id, name: o.name,
			args: parsed(o.arguments),
		})) : undefined,
		usage: usage(data.usage ?? data._response?.usage),
	};
}

function
usage(u) {
	if (!u)
		return undefined;
	const input = u.input_tokens ?? u.inputTokens;
	const output = u.output_tokens ?? u.outputTokens;
	return {
		inputTokens: input,
		outputTokens: output,
		totalTokens: u.total_tokens ?? u.totalTokens ??
		    (input === undefined || output === undefined ? undefined :
		    input + output),
	};
}

module.exports = { LumniTracingProcessor };
