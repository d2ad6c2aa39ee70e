'use strict';
/* lumni: the API that an agent sees; README.md tells how it is used. */
const { Client, version } = require('./client.js');
const { Ext, Timestamp } = require('./msgpack.js');
const { Run, run_around, wrap, current } = require('./run.js');

let client = null;

/* The client that everything below uses; made when it is first needed. */
function
defaultClient() {
	client ??= new Client();
	return client;
}

/* Set the default client's options (see Client); before its first use. */
function
configure(options) {
	if (client !== null)
		void client.close();
	client = new Client(options);
	return client;
}

/*
 * run(id) is a handle on a run. run(id, [fields,] fn) also starts it, calls
 * fn(run) with it as the current run, ends it, and returns what fn did.
 */
function
run(id, fields, fn) {
	const handle = new Run(defaultClient, id);
	if (typeof fields === 'function')
		return run_around(handle, undefined, fields);
	if (typeof fn === 'function')
		return run_around(handle, fields, fn);
	return handle;
}

/* fn, recorded as a tool_call whenever it is called within a run. */
function
tool(name, fn) {
	return wrap(fn, name, 'tool_call', current);
}

/* fn, recorded as an agent_step that contains what happens in it. */
function
step(name, fn) {
	return wrap(fn, name, 'agent_step', current);
}

function
flush(ms, options) {
	return defaultClient().flush(ms, options);
}

function
close(ms) {
	return defaultClient().close(ms);
}

function
send(runId, event, options) {
	return defaultClient().send(runId, event, options);
}

function
change(fields) {
	return defaultClient().change(fields);
}

function
policy(fields) {
	return defaultClient().policy(fields);
}

function
stats() {
	return defaultClient().stats();
}

module.exports = {
	Client, Ext, Run, Timestamp, change, close, configure, current,
	defaultClient, flush, policy, run, send, stats, step, tool, version,
};
