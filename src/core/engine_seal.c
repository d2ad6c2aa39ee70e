/*
 * engine_seal: a run's events leave the journal as a batch in the spool.
 *
 * The order that makes it safe: the batch is appended to the spool; the spool
 * is synced; only then goes the seal mark to the journal, the events are
 * released, and the sender may see the batch. A crash in between leaves both,
 * and recovery believes the spool.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "core/engine_int.h"

/* How many of its oldest events make the next part? */
static uint32_t
engine_seal_prefix(const struct engine *e, const struct run *run)
{
	uint64_t max_bytes = e->conf->runs.max_bytes;
	uint64_t learned = sender_max_raw(e->sender);
	uint64_t bytes = 0;
	uint32_t k = 0;

	if (learned != 0 && learned < max_bytes)
		max_bytes = learned;
	while (k < run->n && k < e->conf->runs.max_events) {
		bytes += run->events[k].place.len;
		if (bytes > max_bytes && k > 0)
			break;
		k++;
	}
	return k;
}

/* An event that cannot be read back is quarantined, counted, left out. */
static void
engine_seal_lost(struct engine *e, struct run *run, uint32_t i, struct now now)
{
	engine_count(e, BOOKS_DROPPED_CORRUPT, 1, now);
	journal_release(e->journal, run->events[i].place);
	runs_remove(e->runs, run, i);
}

/*
 * Build the body from the first k events. Returns 0; -EAGAIN when an event was
 * lost and the caller has to count again; -errno of a read.
 */
static int
engine_seal_build(struct engine *e, struct run *run, uint32_t k,
    const uint8_t **ret_body, size_t *ret_len, size_t *ret_raw,
    struct now now, struct why *why)
{
	size_t json = 0;

	for (uint32_t i = 0; i < k; i++)
		json += run->events[i].place.len;
	int r = batch_begin(e->batch, run->runid, run->runid_len, k, json,
	    (int)e->conf->upstream.level, why);
	for (uint32_t i = 0; r == 0 && i < k; i++) {
		const char *text;

		r = journal_read(e->journal, run->events[i].place,
		    run->runid_len, &e->scratch, &text, why);
		if (r == -EBADMSG) {
			engine_seal_lost(e, run, i, now);
			return -EAGAIN;
		}
		if (r == 0)
			r = batch_event_begin(e->batch);
		if (r == 0)
			r = batch_event_piece(e->batch, text,
			    run->events[i].place.len, why);
	}
	if (r == 0)
		r = batch_end(e->batch, ret_body, ret_len, ret_raw, why);
	buf_reset(&e->scratch, ENGINE_BUFFER_BYTES);
	return r;
}

static void
engine_sealing_push(struct engine *e, const struct run *run, uint32_t k,
    const struct spool_ref *ref, uint64_t last_lsn, enum spool_reason reason)
{
	struct engine_sealing *s = mem_zalloc(sizeof *s + run->runid_len + 1u);

	s->ref = *ref;
	s->last_lsn = last_lsn;
	s->part = runs_part(e->runs, run);
	s->reason = (uint8_t)reason;
	s->runid_len = run->runid_len;
	memcpy(s->runid, run->runid, run->runid_len);
	s->n = k;
	s->events = mem_dup(run->events, k * sizeof *run->events);
	for (uint32_t i = 0; i < k; i++)
		e->leaving += run->events[i].place.len;
	*e->sealing_tail = s;
	e->sealing_tail = &s->next;
}

static void
engine_seal_block(struct engine *e, struct now now)
{
	e->seal_blocked = true;
	e->seal_retry = mono_add_ms(now.mono, ENGINE_RETRY_MS);
}

/* Seal the first k events as one part. false: not now. */
static bool
engine_seal_part(struct engine *e, struct run *run, uint32_t k,
    enum spool_reason reason, struct now now)
{
	struct spool_batch *b = &e->meta;
	struct spool_ref ref;
	struct why why = { "" };
	const uint8_t *body;
	size_t len, raw;

	if (!engine_spool_room(e, false, now)) {
		engine_seal_block(e, now);
		return false;
	}
	int r = engine_seal_build(e, run, k, &body, &len, &raw, now, &why);
	if (r == -EAGAIN)
		return true;	/* the caller counts again */
	uint64_t last_lsn = k == run->n ? run->last_lsn : runs_lsn(run, k - 1);
	if (r == 0) {
		memset(b, 0, sizeof *b);
		b->kind = SPOOL_RUN;
		b->reason = reason;
		b->part = runs_part(e->runs, run);
		b->events = k;
		b->compressed = true;
		b->raw_len = (uint32_t)raw;
		b->first = run->first_wall;
		b->sealed = now.wall;
		b->journal_first = runs_lsn(run, 0);
		b->journal_lsn = last_lsn;
		b->runid_len = run->runid_len;
		memcpy(b->runid, run->runid, run->runid_len);
		r = spool_append(e->spool, b, body, len, &ref, &why);
	}
	if (r < 0) {
		engine_storage_fault(e, r, "seal", &why, now);
		engine_seal_block(e, now);
		return false;
	}
	e->stirred = true;
	e->books.seals[reason]++;
	e->books.raw_bytes += raw;
	e->books.body_bytes += len;
	engine_sealing_push(e, run, k, &ref, last_lsn, reason);
	engine_flush_sealed(e, run, &ref);
	runs_set_part(e->runs, run, runs_part(e->runs, run) + 1);
	runs_cut(e->runs, run, k, now);
	return true;
}

/* Is there another part to seal of this run, for this reason? */
static bool
engine_seal_wants(const struct engine *e, const struct run *run,
    enum spool_reason reason)
{
	const struct conf *conf = e->conf;

	return run->n > 0 && (reason != SPOOL_SIZE ||
	    run->n >= conf->runs.max_events ||
	    run->json_bytes >= conf->runs.max_bytes);
}

/* Seal the run's next part. false: not now. */
static bool
engine_seal_next(struct engine *e, struct run *run, enum spool_reason reason,
    struct now now)
{
	uint32_t k = engine_seal_prefix(e, run);

	return engine_seal_part(e, run, k, k < run->n ? SPOOL_SIZE : reason,
	    now);
}

/* After a part: the run is closed, still due, or goes on. */
static void
engine_seal_settle(struct engine *e, struct run *run, enum spool_reason reason)
{
	if (run->n == 0)
		runs_close(e->runs, run, runs_part(e->runs, run));
	else if (engine_seal_wants(e, run, reason))
		runs_set_due(e->runs, run, reason);
	else
		runs_clear_due(e->runs, run);
}

bool
engine_seal_run(struct engine *e, struct run *run, enum spool_reason reason,
    struct now now)
{
	while (engine_seal_wants(e, run, reason))
		if (!engine_seal_next(e, run, reason, now))
			return false;
	engine_seal_settle(e, run, reason);
	return true;
}

/* The journal is nearly full: the run with the oldest bytes leaves it. */
static bool
engine_under_pressure(const struct engine *e)
{
	uint64_t max = e->conf->storage.journal_max;

	/*
	 * What is sealed but not durable yet still lies there, and will not
	 * for long.
	 */
	return journal_bytes(e->journal) > max - max / 8 + e->leaving &&
	    runs_age_first(e->runs) != NULL &&
	    journal_oldest_live(e->journal) != 0;
}

static struct run *
engine_next_due(struct engine *e, struct now now, enum spool_reason *ret)
{
	const struct conf *conf = e->conf;
	struct run *r = runs_due(e->runs);

	if (r != NULL) {
		*ret = (enum spool_reason)r->due;
		return r;
	}
	r = runs_idle_first(e->runs);
	if (r != NULL && mono_sub_ms(now.mono, r->last) >=
	    conf->runs.idle_ms) {
		*ret = SPOOL_IDLE;
		return r;
	}
	r = runs_age_first(e->runs);
	if (r != NULL && mono_sub_ms(now.mono, r->first) >=
	    conf->runs.max_age_ms) {
		*ret = SPOOL_AGE;
		return r;
	}
	if (r != NULL && engine_under_pressure(e)) {
		*ret = SPOOL_PRESSURE;
		return r;
	}
	return NULL;
}

void
engine_seal_due(struct engine *e, struct now now)
{
	enum spool_reason reason;
	struct run *r;
	int budget = ENGINE_SEALS_PER_TURN;
	uint64_t end = e->books.raw_bytes + ENGINE_SEAL_BYTES_PER_TURN;

	e->more = false;
	if (e->seal_blocked && now.mono.us < e->seal_retry.us)
		return;
	e->seal_blocked = false;
	while ((r = engine_next_due(e, now, &reason)) != NULL) {
		/* Who waits for an ack waits for this turn, too. */
		if (budget-- == 0 || e->books.raw_bytes >= end) {
			e->more = true;
			return;
		}
		if (engine_seal_wants(e, r, reason) &&
		    !engine_seal_next(e, r, reason, now))
			return;
		engine_seal_settle(e, r, reason);
	}
}

static void
engine_marks_push(struct engine *e, uint32_t segno)
{
	struct engine_marks *m = &e->marks;
	uint64_t mark = journal_appended(e->journal);

	/* The newest entry of the same segment serves a whole round. */
	for (size_t i = m->n; i > 0 && i + 4 > m->n; i--) {
		struct engine_marked *at = &m->v[i - 1];
		if (at->segno == segno && at->mark > e->sync_appended) {
			at->mark = mark;
			at->n++;
			return;
		}
	}
	if (m->n == m->cap) {
		m->cap = m->cap == 0 ? 16 : m->cap * 2;
		m->v = mem_grow(m->v, m->cap, sizeof *m->v);
	}
	m->v[m->n++] = (struct engine_marked){ mark, segno, 1 };
}

void
engine_seal_release(struct engine *e, uint64_t durable)
{
	struct engine_marks *m = &e->marks;
	size_t kept = 0;

	for (size_t i = 0; i < m->n; i++) {
		struct journal_place place = { .segno = m->v[i].segno };

		if (m->v[i].mark > durable) {
			m->v[kept++] = m->v[i];
			continue;
		}
		for (uint32_t k = 0; k < m->v[i].n; k++)
			journal_release(e->journal, place);
	}
	m->n = kept;
}

/* Its bytes are no more on their way out. */
static void
engine_left(struct engine *e, const struct engine_sealing *s)
{
	for (uint32_t i = 0; i < s->n; i++)
		e->leaving -= s->events[i].place.len;
}

void
engine_seal_durable(struct engine *e, uint64_t seq, struct now now)
{
	struct engine_sealing *s;

	while ((s = e->sealing) != NULL && s->ref.seq <= seq) {
		struct why why = { "" };
		int r = journal_sealed(e->journal, s->runid, s->runid_len,
		    s->last_lsn, s->part, s->ref.seq, now.wall, &why);

		if (r < 0) {
			/*
			 * Without the mark the events stay live: deleting
			 * their segment must wait for it.
			 */
			engine_storage_fault(e, r, "journal", &why, now);
			return;
		}
		for (uint32_t i = 0; i < s->n; i++)
			engine_marks_push(e, s->events[i].place.segno);
		engine_left(e, s);
		e->batch_seq = s->ref.seq;
		e->sealing = s->next;
		if (e->sealing == NULL)
			e->sealing_tail = &e->sealing;
		if (s->aside)
			engine_aside_durable(e, s, now);
		free(s->events);
		free(s);
	}
}

/* Put the events of one lost batch back in front of its run. */
static void
engine_seal_give_back(struct engine *e, struct engine_sealing *s,
    struct now now)
{
	struct run *run = runs_find(e->runs, s->runid, s->runid_len);

	if (s->aside) {
		(void)spool_take_back(e->spool, &s->ref, NULL);
		engine_aside_revert(e, s, now);
		return;
	}
	engine_left(e, s);
	if (run == NULL)
		run = runs_open(e->runs, s->runid, s->runid_len, now);
	runs_prepend(e->runs, run, s->events, s->n, s->last_lsn, now);
	runs_set_part(e->runs, run, s->part);
	if (s->reason == SPOOL_END)
		run->end = true;
	runs_set_due(e->runs, run, s->reason);
	/* The mark is kept and written later where it fails. */
	(void)spool_take_back(e->spool, &s->ref, NULL);
}

void
engine_seal_revert(struct engine *e, struct now now)
{
	struct engine_sealing *s = e->sealing, *reversed = NULL, *next;

	e->reverts++;
	/* Newest first, so that the older ones end up in front. */
	for (; s != NULL; s = next) {
		next = s->next;
		s->next = reversed;
		reversed = s;
	}
	e->sealing = NULL;
	e->sealing_tail = &e->sealing;
	for (s = reversed; s != NULL; s = next) {
		next = s->next;
		engine_seal_give_back(e, s, now);
		free(s->events);
		free(s);
	}
}
