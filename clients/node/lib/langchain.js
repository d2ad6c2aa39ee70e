'use strict';
/*
 * langchain: LumniCallbackHandler, which tells lumnid of the runs of LangChain
 * and LangGraph. It needs none of their code: a handler is any object with a
 * name and the methods below, and so it fits whatever version is installed.
 *
 * The order of arguments is that of the calls as they are made, which for
 * handleChainStart is not that of the published types: the parent's id comes
 * fourth.
 */
const lumni = require('./index.js');
const { Tracker } = require('./tracker.js');
const { read } = require('./msgpack.js');

const ROLES = { human: 'user', ai: 'assistant', AIMessageChunk: 'assistant' };

const HIDDEN = 'langsmith:hidden';
const TAGS_LEFT_OUT = /^(graph|seq|map|langsmith):/;
const METADATA_LEFT_OUT = /^(langgraph_|ls_|__)|^(checkpoint_ns|thread_id)$/;

class LumniCallbackHandler {
	name = 'lumni_callback_handler';
	lc_serializable = false;
	ignoreLLM = false;
	ignoreChain = false;
	ignoreAgent = false;
	ignoreRetriever = false;
	ignoreCustomEvent = false;
	raiseError = false;
	/*
	 * true: called where things happen, so that durations and order are
	 * true and nothing is left when invoke() returns. No call here waits.
	 */
	awaitHandlers = true;
	#tracker;

	/* See the types for the options. */
	constructor(options) {
		const client = options?.client;
		this.awaitHandlers = options?.awaitHandlers ?? true;
		this.#tracker = new Tracker(
		    () => client ?? lumni.defaultClient(), shorten, options);
	}

	get lc_namespace() {
		return ['lumni', 'callbacks'];
	}

	get lc_id() {
		return [...this.lc_namespace, 'LumniCallbackHandler'];
	}

	/* All copies tell of the same runs. */
	copy() {
		return this;
	}

	toJSON() {
		return { lc: 1, type: 'not_implemented', id: this.lc_id };
	}

	/* How many steps are remembered, ended ones included. */
	get size() {
		return this.#tracker.size();
	}

	handleChainStart(chain, inputs, runId, parentRunId, tags, metadata,
	    _runType, runName) {
		this.#guard(() => {
			const step = this.#open(runId, parentRunId, 'agent_step',
			    runName ?? label(chain), tags, metadata);
			if (step === null)
				return;
			this.#begin(step, inputs, tags, metadata);
		});
	}

	handleChainEnd(output, runId) {
		this.#guard(() => this.#close(runId, {}, undefined, { output }));
	}

	handleChainError(err, runId) {
		this.#guard(() => this.#close(runId, {}, { err }));
	}

	handleChatModelStart(llm, messages, runId, parentRunId, extra, tags,
	    metadata, runName) {
		this.#guard(() => this.#model(llm, runId, parentRunId, extra,
		    tags, metadata, runName, { messages: messages?.[0] }));
	}

	handleLLMStart(llm, prompts, runId, parentRunId, extra, tags, metadata,
	    runName) {
		this.#guard(() => this.#model(llm, runId, parentRunId, extra,
		    tags, metadata, runName, { prompt: prompts?.[0] }));
	}

	#model(llm, runId, parentRunId, extra, tags, metadata, runName, asked) {
		const step = this.#open(runId, parentRunId, 'model_output',
		    runName ?? label(llm), tags, metadata);
		if (step === null)
			return;
		const params = extra?.invocation_params;
		const own = step.fields;
		step.fields = {};
		this.#begin(step, asked.messages ?? asked.prompt, tags, metadata);
		this.#tracker.note(step, 'model_call', {
			name: step.name,
			model: metadata?.ls_model_name ?? params?.model ??
			    params?.model_name,
			provider: metadata?.ls_provider,
			...asked, ...own,
		});
	}

	handleLLMNewToken(_token, _index, runId) {
		const step = this.#tracker.get(runId);
		if (step !== undefined && step.first === undefined)
			step.first = performance.now();
	}

	handleLLMEnd(output, runId) {
		this.#guard(() => {
			const step = this.#tracker.get(runId);
			if (step === undefined)
				return;
			const told = answer(output);
			this.#tracker.close(step, {
				...told, firstTokenMs: first_token(step),
			}, undefined, { output: told.text });
		});
	}

	handleLLMError(err, runId) {
		this.#guard(() => {
			const step = this.#tracker.get(runId);
			if (step !== undefined)
				this.#close(runId,
				    { firstTokenMs: first_token(step) }, { err });
		});
	}

	handleToolStart(tool, input, runId, parentRunId, tags, metadata, runName,
	    toolCallId) {
		this.#guard(() => {
			const step = this.#open(runId, parentRunId, 'tool_call',
			    runName ?? label(tool), tags, metadata);
			if (step === null)
				return;
			const args = parsed(input);
			this.#begin(step, args, tags, metadata);
			Object.assign(step.fields, { args, toolCallId });
		});
	}

	handleToolEnd(output, runId) {
		this.#guard(() => {
			const message = tool_message(output);
			const result = message ? text_of(message.content) : output;
			const fields = { result };
			if (message?.tool_call_id)
				fields.toolCallId = message.tool_call_id;
			if (message?.status === 'error')
				return this.#close(runId, fields,
				    { err: String(result) }, { output: result });
			this.#close(runId, fields, undefined, { output: result });
		});
	}

	handleToolError(err, runId) {
		this.#guard(() => this.#close(runId, {}, { err }));
	}

	handleRetrieverStart(retriever, query, runId, parentRunId, tags,
	    metadata, runName) {
		this.#guard(() => {
			const step = this.#open(runId, parentRunId, 'retrieval',
			    runName ?? label(retriever), tags, metadata);
			if (step === null)
				return;
			this.#begin(step, query, tags, metadata);
			step.fields.query = query;
		});
	}

	handleRetrieverEnd(documents, runId) {
		this.#guard(() => this.#close(runId, {
			count: documents?.length,
			documents,
		}, undefined, { output: documents }));
	}

	handleRetrieverError(err, runId) {
		this.#guard(() => this.#close(runId, {}, { err }));
	}

	/* It comes with the id of the step it was sent from. */
	handleCustomEvent(name, data, runId) {
		this.#guard(() => {
			const step = this.#tracker.get(runId);
			if (step !== undefined)
				this.#tracker.custom(step, { name, data });
		});
	}

	#open(id, parent, type, name, tags, metadata) {
		const step = this.#tracker.open(id, parent, type, name,
		    tags?.includes(HIDDEN));
		if (step !== null)
			step.fields = attached(tags, metadata);
		return step;
	}

	/* The root's input, tags and metadata are told at once. */
	#begin(step, input, tags, metadata) {
		if (step.run.root === step)
			this.#tracker.start_run(step, {
				input, threadId: metadata?.thread_id,
				...attached(tags, metadata),
			});
	}

	#close(id, fields, failed, end) {
		const step = this.#tracker.get(id);
		if (step !== undefined)
			this.#tracker.close(step, fields, failed, end);
	}

	/* What goes wrong in here must not become a warning of LangChain's. */
	#guard(fn) {
		try {
			fn();
		} catch {
			/* One event less. */
		}
	}
}

function
first_token(step) {
	return step.first === undefined ? undefined :
	    Math.round((step.first - step.since) * 1000) / 1000;
}

/* A name for what has none of its own. */
function
label(serialized) {
	const id = serialized?.id;
	return serialized?.name ??
	    (Array.isArray(id) ? id[id.length - 1] : undefined);
}

/*
 * What the program has attached, without what the frameworks have but for the
 * graph's node and the number of its step.
 */
function
attached(tags, metadata) {
	const own = tags?.filter((tag) => !TAGS_LEFT_OUT.test(tag));
	const keys = Object.keys(metadata ?? {}).filter(
	    (key) => !METADATA_LEFT_OUT.test(key) &&
	    !(key === 'versions' && metadata.versions?.['@langchain/core']));
	const fields = {
		node: metadata?.langgraph_node,
		step: metadata?.langgraph_step,
	};
	if (own?.length)
		fields.tags = own;
	if (keys.length)
		fields.metadata = Object.fromEntries(
		    keys.map((key) => [key, metadata[key]]));
	return fields;
}

/* A tool's input is the text of its arguments: a map where it is JSON. */
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

function
type_of(message) {
	const get = read(message, '_getType') ?? read(message, 'getType');
	return typeof get === 'function' && 'content' in message ?
	    String(get.call(message)) : undefined;
}

function
tool_message(output) {
	return output !== null && typeof output === 'object' &&
	    type_of(output) === 'tool' ? output : undefined;
}

/* The text of a message's content, which may come in parts. */
function
text_of(content) {
	if (!Array.isArray(content))
		return content;
	const texts = content.filter((part) => typeof part === 'string' ||
	    typeof part?.text === 'string');
	return texts.map((part) => part.text ?? part).join('');
}

function
tool_calls(message) {
	const calls = message?.tool_calls;
	if (!Array.isArray(calls) || calls.length === 0)
		return undefined;
	return calls.map(({ id, name, args }) => ({ id, name, args }));
}

/* Messages and documents in few words; anything else as it is. */
function
shorten(o) {
	const type = type_of(o);
	if (type !== undefined)
		return {
			role: ROLES[type] ?? type,
			text: text_of(o.content),
			toolCalls: tool_calls(o),
			toolCallId: o.tool_call_id,
			name: o.name,
		};
	if (typeof read(o, 'pageContent') === 'string')
		return { text: o.pageContent, metadata: o.metadata, id: o.id };
	return undefined;
}

/* What the model said, out of the shapes that the providers give it. */
function
answer(output) {
	const first = output?.generations?.[0]?.[0];
	const message = first?.message;
	const info = first?.generationInfo;
	const meta = message?.response_metadata;
	return {
		text: first?.text || text_of(message?.content),
		toolCalls: tool_calls(message),
		usage: usage(message?.usage_metadata,
		    output?.llmOutput?.tokenUsage),
		finishReason: info?.finish_reason ?? meta?.finish_reason ??
		    meta?.stop_reason,
	};
}

function
usage(meta, old) {
	if (meta)
		return {
			inputTokens: meta.input_tokens,
			outputTokens: meta.output_tokens,
			totalTokens: meta.total_tokens,
		};
	if (old && Object.keys(old).length)
		return {
			inputTokens: old.promptTokens,
			outputTokens: old.completionTokens,
			totalTokens: old.totalTokens,
		};
	return undefined;
}

module.exports = { LumniCallbackHandler };
