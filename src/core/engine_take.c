/* engine_take: a message becomes journaled events of a run, or a refusal. */
#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "base/mem.h"
#include "core/engine_int.h"

/* Where the wait for an ack ends depends on the log that holds the message. */
static void
engine_want_ack(struct engine *e, uint64_t peer, struct engine_acks *acks,
    uint64_t mark, struct now now)
{
	if (peer == 0 || e->message.ack.len == 0)
		return;
	engine_ack_push(acks, peer, mark, &e->message.ack, now.mono);
}

enum event_code
engine_room(const struct engine *e)
{
	switch (e->storage) {
	case ENGINE_FULL:
		return EVENT_FULL;
	case ENGINE_DEGRADED:
		return EVENT_DEGRADED;
	case ENGINE_OK:
		break;
	}
	if (e->acks.n >= ENGINE_ACKS_MAX)
		return EVENT_FULL;
	return EVENT_OK;
}

/* Disk errors of an append, in the words of the protocol. */
static enum event_code
engine_append_fault(struct engine *e, int r, struct why *why, struct now now)
{
	engine_storage_fault(e, r, "journal", why, now);
	return r == -ENOSPC || r == -EDQUOT ? EVENT_FULL : EVENT_DEGRADED;
}

/* A change or a policy is a batch of its own at once. */
static enum event_code
engine_take_record(struct engine *e, enum books_input in, uint64_t peer,
    const char *drop, struct now now, struct why *why)
{
	const struct event_message *m = &e->message;
	const uint8_t *body;
	size_t len;
	struct spool_ref ref;
	struct spool_batch *b = &e->meta;

	if (!engine_spool_room(e, true, now)) {
		(void)why_set(why, 0, "storage.spool_max is reached by changes "
		    "and policies that wait for the upstream");
		return EVENT_FULL;
	}
	int r = batch_pack(e->batch, m->json.data + m->events[0].off,
	    m->events[0].len, (int)e->conf->upstream.level, &body, &len, why);
	if (r < 0)
		return EVENT_NO_MEMORY;
	memset(b, 0, sizeof *b);
	b->kind = m->kind == EVENT_KIND_CHANGE ? SPOOL_CHANGE : SPOOL_POLICY;
	b->reason = SPOOL_END;
	b->events = 1;
	b->compressed = true;
	b->raw_len = m->events[0].len;
	b->first = b->sealed = now.wall;
	/* Of a file in the inbox: by it engine_each_drop() finds the record. */
	b->runid_len = strlen(drop);
	memcpy(b->runid, drop, b->runid_len + 1);
	r = spool_append(e->records, b, body, len, &ref, why);
	if (r < 0)
		return engine_append_fault(e, r, why, now);
	e->stirred = true;
	e->books.total[BOOKS_RECORDS_BY + in]++;
	engine_want_ack(e, peer, &e->record_acks, ref.seq, now);
	return EVENT_OK;
}

/* Append the message's events to the journal and to the run. */
static int
engine_append(struct engine *e, struct run *run, struct now now,
    struct why *why)
{
	const struct event_message *m = &e->message;
	struct journal_mark mark = journal_mark(e->journal);
	uint64_t last_lsn = run->last_lsn;

	for (size_t i = 0; i < m->events_n; i++) {
		const struct event_span *s = &m->events[i];
		struct journal_place place;
		uint64_t lsn;
		bool end = s->is_end || (m->end && i + 1 == m->events_n);
		int r = journal_event(e->journal, m->runid, m->runid_len,
		    m->json.data + s->off, s->len, end, now.wall, &lsn,
		    &place, why);

		if (r < 0) {
			/* All of the message, or nothing of it. */
			while (i-- > 0)
				runs_remove(e->runs, run, run->n - 1);
			run->last_lsn = last_lsn;
			journal_rollback(e->journal, mark);
			return r;
		}
		runs_add(e->runs, run, place, lsn, now);
		if (e->env.watch != NULL)
			e->env.watch(e->env.arg, m->runid,
			    (const char *)m->json.data + s->off, s->len);
	}
	return 0;
}

/* Is this run complete after the message? */
static bool
engine_message_ends(const struct event_message *m)
{
	if (m->end)
		return true;
	for (size_t i = 0; i < m->events_n; i++)
		if (m->events[i].is_end)
			return true;
	return false;
}

/* An `end` that brings no event of its own. */
static int
engine_end_only(struct engine *e, struct run *run, struct now now,
    struct why *why)
{
	uint64_t lsn;
	int r = journal_end(e->journal, run->runid, run->runid_len, now.wall,
	    &lsn, why);

	if (r < 0)
		return r;
	run->last_lsn = lsn;
	run->end = true;
	runs_set_due(e->runs, run, SPOOL_END);
	return 0;
}

static HOT enum event_code
engine_take_events(struct engine *e, enum books_input in, uint64_t peer,
    struct now now, struct why *why)
{
	const struct event_message *m = &e->message;
	const struct conf *conf = e->conf;
	struct run *run = runs_find(e->runs, m->runid, m->runid_len);
	int r;

	/* What comes after the end belongs to the next part. */
	if (run != NULL && run->end && m->events_n > 0) {
		if (!engine_seal_run(e, run, SPOOL_END, now)) {
			(void)why_set(why, 0, "the run has ended, and its "
			    "last part waits for room in the spool");
			return EVENT_FULL;
		}
		run = NULL;
	}
	if (m->events_n == 0) {
		if (m->end && run != NULL && !run->end &&
		    (r = engine_end_only(e, run, now, why)) < 0)
			return engine_append_fault(e, r, why, now);
		engine_want_ack(e, peer, &e->acks,
		    journal_appended(e->journal), now);
		return EVENT_OK;
	}
	/* Refused for good: who offers it again would wait for ever. */
	uint64_t need = journal_room(m->events_n, m->json.len, m->runid_len);
	if (need > conf->storage.journal_max / 2) {
		(void)why_set(why, 0, "the message takes %" PRIu64 " bytes in "
		    "the journal, too many for storage.journal_max", need);
		return EVENT_TOO_LARGE;
	}
	if (journal_bytes(e->journal) + need > conf->storage.journal_max) {
		engine_storage_fault(e, -ENOSPC, "journal_max", NULL, now);
		(void)why_set(why, 0, "the journal is at its limit "
		    "(storage.journal_max)");
		return EVENT_FULL;
	}
	r = journal_reserve(e->journal, m->events_n, m->json.len,
	    m->runid_len, now.wall, why);
	if (r < 0)
		return engine_append_fault(e, r, why, now);
	bool opened = run == NULL;
	if (opened) {
		if (runs_count(e->runs) >= conf->runs.max_open) {
			(void)why_set(why, 0, "%zu runs are open "
			    "(runs.max_open)", runs_count(e->runs));
			return EVENT_TOO_MANY_RUNS;
		}
		run = runs_open(e->runs, m->runid, m->runid_len, now);
	}
	r = engine_append(e, run, now, why);
	if (r < 0) {
		if (opened)
			runs_close(e->runs, run, runs_part(e->runs, run));
		return engine_append_fault(e, r, why, now);
	}
	e->books.total[BOOKS_ACCEPTED] += m->events_n;
	e->books.total[BOOKS_ACCEPTED_BY + (unsigned)in] += m->events_n;
	if (engine_message_ends(m)) {
		run->end = true;
		runs_set_due(e->runs, run, SPOOL_END);
	} else if (run->n >= conf->runs.max_events ||
	    run->json_bytes >= conf->runs.max_bytes) {
		runs_set_due(e->runs, run, SPOOL_SIZE);
	}
	engine_want_ack(e, peer, &e->acks, journal_appended(e->journal), now);
	return EVENT_OK;
}

static void
engine_options(const struct engine *e, struct event_options *ret)
{
	*ret = (struct event_options){
		.redact = e->redact,
		.stamp_at = e->conf->events.stamp_at,
		.end_types = e->conf->runs.end_types.v,
		.end_types_n = e->conf->runs.end_types.n,
	};
}

/* Is there room for what was decoded? */
static enum event_code
engine_check_room(const struct engine *e, struct why *why)
{
	enum event_code code = engine_room(e);

	if (code != EVENT_OK)
		(void)why_set(why, 0, "%s", e->storage != ENGINE_OK ?
		    e->storage_why : "too many acks wait for the disk");
	return code;
}

enum event_code
engine_take(struct engine *e, enum books_input in, uint64_t peer,
    const uint8_t *data, size_t len, struct now now, struct event_ack *ret_ack,
    struct why *why)
{
	struct event_message *m = &e->message;
	struct event_options options;

	engine_options(e, &options);
	e->books.messages++;
	e->books.bytes += len;
	enum event_code code = event_decode(m, data, len, &options, now.wall,
	    why);
	if (code == EVENT_OK)
		code = engine_check_room(e, why);
	if (code == EVENT_OK)
		code = m->kind == EVENT_KIND_EVENTS ?
		    engine_take_events(e, in, peer, now, why) :
		    engine_take_record(e, in, peer, "", now, why);
	*ret_ack = m->ack;
	/* A stream keeps what finds no room and offers it again. */
	bool again = in == BOOKS_STREAM && m->ack.len == 0 &&
	    (code == EVENT_FULL || code == EVENT_DEGRADED);
	if (code != EVENT_OK && !again)
		books_refuse(&e->books, in, code);
	if (len > ENGINE_BUFFER_BYTES)
		event_message_trim(m);
	return code;
}

bool
engine_is_passing(enum event_code code)
{
	return code == EVENT_FULL || code == EVENT_DEGRADED ||
	    code == EVENT_TOO_MANY_RUNS || code == EVENT_NO_MEMORY;
}

enum event_code
engine_take_entry(struct engine *e, enum books_input in,
    const struct event_record *rec, struct now now, struct why *why)
{
	struct event_message *m = &e->message;
	struct event_options options;

	engine_options(e, &options);
	e->books.messages++;
	e->books.bytes += rec->len;
	enum event_code code = event_decode_record(m, rec, &options, now.wall,
	    why);
	if (code == EVENT_OK)
		code = engine_check_room(e, why);
	if (code == EVENT_OK)
		code = engine_take_events(e, in, 0, now, why);
	if (code != EVENT_OK && !engine_is_passing(code))
		books_refuse(&e->books, in, code);
	if (rec->len > ENGINE_BUFFER_BYTES)
		event_message_trim(m);
	return code;
}

void
engine_take_ack(struct engine *e, uint64_t peer, const struct event_ack *ack,
    struct now now)
{
	engine_ack_push(&e->acks, peer, journal_appended(e->journal), ack,
	    now.mono);
}

enum event_code
engine_take_drop(struct engine *e, uint64_t peer, const char *name,
    const uint8_t *data, size_t len, struct now now, struct why *why)
{
	struct event_message *m = &e->message;
	struct event_options options;

	assert(strlen(name) <= SPOOL_RUNID_MAX);
	engine_options(e, &options);
	e->books.messages++;
	e->books.bytes += len;
	enum event_code code = event_decode(m, data, len, &options, now.wall,
	    why);
	if (code == EVENT_OK && m->kind == EVENT_KIND_EVENTS) {
		(void)why_set(why, 0, "the inbox takes changes and policies");
		code = EVENT_BAD_RECORD;
	}
	if (code == EVENT_OK)
		code = engine_check_room(e, why);
	if (code == EVENT_OK) {
		m->ack = (struct event_ack){ 1, { 0 } };
		code = engine_take_record(e, BOOKS_INBOX, peer, name, now,
		    why);
	}
	if (code != EVENT_OK && !engine_is_passing(code))
		books_refuse(&e->books, BOOKS_INBOX, code);
	if (len > ENGINE_BUFFER_BYTES)
		event_message_trim(m);
	return code;
}

/* Who is told of names. */
struct engine_drop_names {
	void	(*fn)(void *, const char *name);
	void	*arg;
};

static void
engine_on_drop(void *arg, const struct spool_batch *b)
{
	const struct engine_drop_names *names = arg;

	if (b->runid_len > 0)
		names->fn(names->arg, b->runid);
}

int
engine_each_drop(struct engine *e, bool begin, void (*fn)(void *,
    const char *name), void *arg, struct why *why)
{
	struct engine_drop_names names = { fn, arg };

	if (begin)
		e->drops_at = (struct spool_cursor){ 0 };
	return spool_each(e->records, &e->drops_at, ENGINE_DROPS_PER_TURN,
	    engine_on_drop, &names, why);
}

void
engine_hold_drops(struct engine *e, bool hold)
{
	e->drops_held = hold;
}
