'use strict';
/*
 * client: one agent's connection to lumnid. It packs events where they happen,
 * keeps them in a bounded queue and hands them over at the end of the turn of
 * the event loop. What finds no room is dropped and counted, and the count is
 * sent in-band as a lumni_client event.
 *
 * No call waits, throws or writes to the terminal.
 */
const { Packer, TooLarge, Timestamp } = require('./msgpack.js');
const { Queue } = require('./queue.js');
const { Stream, scope } = require('./stream.js');
const { Datagram, DATAGRAM_MAX } = require('./datagram.js');
const { parse_address, DEFAULT } = require('./address.js');
const { version } = require('../package.json');

const MESSAGE_MAX = 1024 * 1024;
const QUEUE_MAX = 4 * 1024 * 1024;
const QUEUE_MIN = 16 * 1024;
const EXIT_MS = 250;
/* A message of a lumni_client event is never larger. */
const REPORT_MAX = 1024;
const RUNID_MAX = 256;			/* bytes */

const TOO_LARGE = '[too large]';

/* All that may still have something to send when the process ends. */
const clients = new Set();

class Client {
	#packer;
	#cutter = null;
	#cutter_hook = null;
	#queue;
	#transport = null;
	#scheduled = false;
	#exit_ms;
	#gave_up = false;
	#events = 0;
	#dropped_total = 0;
	#reported = 0;
	#drops = null;
	/* Those who wait for an ack: its id to a function of the outcome. */
	#asked = new Map();
	#asks = 0;
	#last_run = 'lumni';

	/*
	 * address, disabled: code beats environment beats default. queueBytes,
	 * messageBytes: limits. exitMs: how long the end of the process may be
	 * held up for what is queued.
	 */
	constructor(options = {}) {
		const o = options ?? {};
		this.disabled = Boolean(o.disabled ??
		    process.env.LUMNID_DISABLED === '1');
		this.address = String(o.address ??
		    (process.env.LUMNID_ADDRESS || DEFAULT));
		const at = parse_address(this.address);
		const max = positive(o.messageBytes, MESSAGE_MAX);
		this.#packer = new Packer(at?.port ?
		    Math.min(max, DATAGRAM_MAX) : max);
		this.#queue = new Queue(Math.max(QUEUE_MIN,
		    positive(o.queueBytes, QUEUE_MAX)));
		this.#exit_ms = positive(o.exitMs, EXIT_MS);
		if (this.disabled)
			return;
		/* An address that is none is a lumnid that is not there. */
		if (at?.port)
			this.#transport = new Datagram(at.host, at.port, this.#queue,
			    (item) => this.#lose('socket', item));
		else if (at)
			this.#transport = new Stream(at.path, this.#queue,
			    (item) => this.#lose('refused', item),
			    (answer) => this.#answered(answer));
		install_exit_hooks();
		clients.add(this);
	}

	/*
	 * Hand over one event of a run. event: an object; `at` is added where
	 * it has none. options: end (the run is over), and for the handlers:
	 * cut and shorten (see Packer), heavy (names of the fields to leave out
	 * when the event is too large with them). Returns false if the event
	 * was dropped.
	 */
	send(runId, event, options) {
		return this.sendAll(runId, [event], options);
	}

	/* The same for several events, which travel as one message. */
	sendAll(runId, events, options) {
		if (this.disabled)
			return false;
		const o = options ?? {};
		let id = null;
		this.#events += events?.length ?? 1;
		try {
			id = run_id(runId);
			if (id === null || !events.every(is_event))
				return this.#drop('invalid', events.length, id);
			/* An absent lumnid must not cost the packing as well. */
			if (!this.#has_room(1))
				return this.#drop('queue_full', events.length, id);
			const stamped = events.map(with_time);
			return this.#enqueue(this.#pack(id, stamped, o),
			    events.length, id);
		} catch (err) {
			return this.#drop(err instanceof TooLarge ? 'too_large' :
			    'invalid', events?.length ?? 1, id);
		}
	}

	/* Record a change, or a policy: an object, as Lumni's API takes it. */
	change(fields) {
		return this.#record('change', fields);
	}

	policy(fields) {
		return this.#record('policy', fields);
	}

	#record(kind, fields) {
		if (this.disabled)
			return false;
		this.#events++;
		try {
			if (!is_event(fields))
				return this.#drop('invalid', 1, null);
			return this.#enqueue(this.#packer.record(kind, fields), 1,
			    null);
		} catch (err) {
			return this.#drop(err instanceof TooLarge ? 'too_large' :
			    'invalid', 1, null);
		}
	}

	#pack(id, events, o) {
		const packer = o.cut ? this.#cutting(o) : this.#packer;
		try {
			return packer.message(id, events, o.end === true, o.ack);
		} catch (err) {
			if (!(err instanceof TooLarge) || !o.heavy)
				throw err;
		}
		const light = events.map((event) => {
			const copy = { ...event };
			for (const key of o.heavy)
				if (typeof copy[key] === 'object' &&
				    copy[key] !== null)
					copy[key] = TOO_LARGE;
			return copy;
		});
		return packer.message(id, light, o.end === true, o.ack);
	}

	#cutting(o) {
		if (this.#cutter === null || this.#cutter.cut !== o.cut ||
		    this.#cutter_hook !== o.shorten) {
			this.#cutter = new Packer(this.#packer.max, o.cut,
			    o.shorten ?? null);
			this.#cutter_hook = o.shorten;
		}
		return this.#cutter;
	}

	#enqueue(bytes, events, runId) {
		if (!this.#has_room(bytes.length))
			return this.#drop('queue_full', events, runId);
		/* A record has no run that a report could go to. */
		if (this.#drops !== null && runId !== null)
			this.#report(runId);
		this.#queue.push({ bytes, events, runId });
		this.#last_run = runId ?? this.#last_run;
		this.#schedule();
		return true;
	}

	/* After a drop there must also be room for the report of it. */
	#has_room(bytes) {
		return this.#queue.has_room(bytes +
		    (this.#drops === null ? 0 : REPORT_MAX));
	}

	/*
	 * Once per turn: the events of a burst go in one write. Should the loop
	 * end before, the exit hooks see to it.
	 */
	#schedule() {
		if (this.#scheduled || this.#transport === null)
			return;
		this.#scheduled = true;
		scope.runInAsyncScope(() => {
			setImmediate(() => this.#kick()).unref();
		});
	}

	#kick() {
		this.#scheduled = false;
		try {
			this.#transport.kick();
		} catch {
			/* Such as no descriptor left: the next turn tries again. */
		}
	}

	#drop(reason, events, runId) {
		if (events === 0)
			return false;
		this.#drops ??= { dropped: 0, reasons: {}, runId: null };
		const d = this.#drops;
		d.dropped += events;
		d.reasons[reason] = (d.reasons[reason] ?? 0) + events;
		d.runId = runId ?? d.runId;
		this.#dropped_total += events;
		return false;
	}

	/* A message that was taken off the queue and is lost. */
	#lose(reason, item) {
		/* A lost report's count is told again by the next one. */
		if (item.report) {
			this.#drops = sum(item.report, this.#drops);
			this.#reported -= item.report.dropped;
		}
		this.#drop(reason, item.events, item.runId);
	}

	/* Queue the count of what was dropped. */
	#report(runId) {
		const d = this.#drops;
		const bytes = this.#packer.message(runId, [{
			type: 'lumni_client',
			at: Timestamp.fromMs(Date.now()),
			client: 'lumni-node/' + version,
			pid: process.pid,
			dropped: d.dropped,
			droppedTotal: this.#dropped_total,
			reasons: d.reasons,
			droppedRunId: d.runId ?? undefined,
		}], false, undefined);
		this.#drops = null;
		this.#reported += d.dropped;
		this.#queue.push({ bytes, events: 0, runId, report: d });
	}

	#report_last() {
		if (this.#drops !== null && this.#drops.runId !== null)
			this.#report(this.#drops.runId);
	}

	/*
	 * Resolves when everything is handed over: true; or with false after
	 * ms, or as soon as it is known that lumnid is not there. With durable,
	 * true means that lumnid has said it is safe on its disk.
	 */
	async flush(ms = 1000, options = undefined) {
		const transport = this.#transport;
		this.#report_last();
		if (transport === null)
			return this.disabled;
		const end = Date.now() + ms;
		const safe = options?.durable ? this.#ask(ms) : true;
		const ok = await within(ms, (done) => transport.when_idle(done),
		    (done) => transport.forget(done));
		if (!ok || safe === true)
			return ok;
		return await within(end - Date.now(), (done) => safe.then(done));
	}

	/*
	 * A message without events has its ack when all that was taken before
	 * it is durable.
	 */
	#ask(ms) {
		if (!(this.#transport instanceof Stream))
			return Promise.resolve(false);
		const ack = ++this.#asks;
		const bytes = this.#packer.message(this.#last_run, [], false, ack);
		this.#queue.push({ bytes, events: 0, runId: this.#last_run });
		return new Promise((resolve) => {
			const timer = setTimeout(() => answer(false), ms);
			timer.unref();
			const answer = (ok) => {
				clearTimeout(timer);
				this.#asked.delete(ack);
				resolve(ok);
			};
			this.#asked.set(ack, answer);
		});
	}

	/* null: the connection is gone, and with it all answers. */
	#answered(answer) {
		if (answer === null) {
			for (const done of Array.from(this.#asked.values()))
				done(false);
			return;
		}
		this.#asked.get(answer.get('ack'))?.(!answer.has('error'));
	}

	/* Flush, then let go of the socket. Later events are dropped. */
	async close(ms = 1000) {
		const ok = await this.flush(ms);
		this.#transport?.close();
		clients.delete(this);
		return ok;
	}

	/*
	 * events = sent + queued + dropped. sent: handed to the socket;
	 * reported: those of dropped that lumnid has been told of.
	 */
	stats() {
		let queued = this.#transport?.in_hand() ?? 0;
		for (let i = 0; i < this.#queue.length; i++)
			queued += this.#queue.peek(i).events;
		return {
			events: this.#events,
			sent: this.#events - queued - this.#dropped_total,
			dropped: this.#dropped_total,
			queued,
			queuedBytes: this.#queue.size,
			reported: this.#reported,
		};
	}

	/* The loop has nothing more to do: the last moment to wait in. */
	static async #before_exit(client) {
		if (client.#gave_up || client.#transport === null)
			return;
		if (client.#transport.idle() && client.#drops === null)
			return;
		/* Waiting ends in another beforeExit: once is enough. */
		client.#gave_up = !await client.flush(client.#exit_ms);
	}

	static #at_exit(client) {
		if (client.#transport === null)
			return;
		client.#report_last();
		try {
			client.#transport.drain_now(client.#gave_up ? 0 :
			    client.#exit_ms);
		} catch {
			/* The process ends; there is nobody to tell. */
		}
	}

	static end_of_loop() {
		for (const client of clients)
			void Client.#before_exit(client);
	}

	static end_of_process() {
		for (const client of clients)
			Client.#at_exit(client);
	}
}

/*
 * What begin(done) tells done, or false after ms, when undo(done) is called.
 * The process stays alive meanwhile.
 */
function
within(ms, begin, undo) {
	return new Promise((resolve) => {
		const done = (ok) => {
			clearTimeout(timer);
			resolve(ok);
		};
		const timer = setTimeout(() => {
			undo?.(done);
			resolve(false);
		}, Math.max(ms, 0));
		try {
			begin(done);
		} catch {
			done(false);
		}
	});
}

/* One report of two; b, the newer, may be null. */
function
sum(a, b) {
	if (b === null)
		return a;
	const reasons = { ...a.reasons };
	for (const [reason, n] of Object.entries(b.reasons))
		reasons[reason] = (reasons[reason] ?? 0) + n;
	return { dropped: a.dropped + b.dropped, reasons,
	    runId: b.runId ?? a.runId };
}

let hooks_installed = false;

function
install_exit_hooks() {
	if (hooks_installed)
		return;
	hooks_installed = true;
	process.on('beforeExit', Client.end_of_loop);
	process.on('exit', Client.end_of_process);
}

function
positive(n, otherwise) {
	return Number.isFinite(n) && n > 0 ? n : otherwise;
}

/* The id as lumnid takes it, or null: a run id is no place for surprises. */
function
run_id(id) {
	if (typeof id === 'bigint' || Number.isSafeInteger(id))
		return String(id);
	if (typeof id !== 'string' || id === '')
		return null;
	if (id.length > RUNID_MAX || Buffer.byteLength(id) > RUNID_MAX)
		return null;
	/* eslint-disable-next-line no-control-regex */
	return /[\u0000-\u001f\u007f-\u009f]/.test(id) ? null : id;
}

function
is_event(event) {
	return event !== null && typeof event === 'object' &&
	    !Array.isArray(event);
}

function
with_time(event) {
	if (event.at !== undefined)
		return event;
	return { ...event, at: Timestamp.fromMs(Date.now()) };
}

module.exports = { Client, run_id, version };
