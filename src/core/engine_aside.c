/*
 * engine_aside: what a newer lumnid has left (store/aside.h), and how the
 * lumnid that knows it takes it over.
 *
 * The state that was set aside is opened by an engine of its own, whose open
 * runs are sealed at once and whose upstream is this lumnid: a request of its
 * sender becomes a batch of the own spool, with the same id and the same bytes,
 * and is answered 200 once that is durable. So the order within runs, batches
 * of which a part is finished, damage, and a crash at any moment are met by the
 * code that meets them always. Sync rounds are made in turn with those of the
 * own logs.
 *
 * A crash may come when a batch is in the own spool and not yet marked as done
 * in the other. So each taking over begins with a look at the newest of the own
 * batches, and what is there already is not taken a second time; and as long as
 * marks of the other engine wait to be durable no segment of the own spools is
 * deleted.
 *
 * A run that went on under the older lumnid in the meantime cannot be sent in
 * order any more.
 */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/mem.h"
#include "core/engine_int.h"
#include "store/aside.h"

#define ASIDE_BATCHES	32	/* on their way at a time: the sender's width */
#define ASIDE_LOOK	1024	/* batches looked at, at a time */

/*
 * What is answered when the own spool is durable up to seq: a record, or a
 * batch that was taken over before. Other batches of runs are in e->sealing.
 */
struct aside_wait {
	uint64_t	tag;
	uint64_t	seq;
	bool		run;
};

/* A batch that was there before. */
struct aside_had {
	uint64_t	hash;	/* of its id */
	uint64_t	seq;
};

struct engine_aside {
	struct transport transport;	/* of `from`; the first */
	struct engine	*e;		/* whose this is */
	struct engine	*from;
	struct aside	 at;
	char		 path[4096];
	struct conf	 conf;		/* of `from`; strings are e->conf's */
	struct seglog_sync job;		/* that `from` waits for */
	bool		 job_waits, job_runs;
	bool		 job_last;	/* the newest round was for it */
	struct aside_wait wait[2 * ASIDE_BATCHES];
	size_t		 waits;
	uint64_t	 batches;	/* taken over so far */
	struct aside_had *had;
	size_t		 had_n, had_cap;
	struct spool_batch batch;
};

/* --- what the other engine is told ----------------------------------------- */

static void
aside_answer(struct engine_aside *a, uint64_t tag, bool taken, struct now now)
{
	const struct transport_answer answer = {
		.result = taken ? TRANSPORT_ANSWERED : TRANSPORT_CANCELLED,
		.status = taken ? 200 : 0,
	};

	a->batches += taken;
	engine_answer(a->from, tag, &answer, now);
}

void
engine_aside_durable(struct engine *e, const struct engine_sealing *s,
    struct now now)
{
	/*
	 * Behind the mark: a crash between the two leaves more events than
	 * are accepted, and recovery counts them.
	 */
	engine_count(e, BOOKS_ACCEPTED, s->ref.events, now);
	if (e->aside != NULL)
		aside_answer(e->aside, s->aside_tag, true, now);
}

void
engine_aside_revert(struct engine *e, const struct engine_sealing *s,
    struct now now)
{
	if (e->aside != NULL)
		aside_answer(e->aside, s->aside_tag, false, now);
}

static bool
aside_is_durable(const struct engine_aside *a, const struct aside_wait *w)
{
	return w->seq <= spool_durable(w->run ? a->e->spool : a->e->records);
}

static void
aside_durable(struct engine_aside *a, struct now now)
{
	struct aside_wait done[NELEM(a->wait)];
	size_t kept = 0, done_n = 0;

	for (size_t i = 0; i < a->waits; i++) {
		if (aside_is_durable(a, &a->wait[i]))
			done[done_n++] = a->wait[i];
		else
			a->wait[kept++] = a->wait[i];
	}
	a->waits = kept;
	for (size_t i = 0; i < done_n; i++)
		aside_answer(a, done[i].tag, true, now);
}

/* --- what is taken over already -------------------------------------------- */

static void
aside_note_id(void *arg, const struct spool_batch *b)
{
	struct engine_aside *a = arg;

	/* The others are of events of the own journal. */
	if (b->journal_lsn != 0)
		return;
	if (a->had_n == a->had_cap) {
		a->had_cap = a->had_cap == 0 ? 64 : a->had_cap * 2;
		a->had = mem_grow(a->had, a->had_cap, sizeof *a->had);
	}
	a->had[a->had_n++] = (struct aside_had){
	    XXH3_64bits(b->id, strlen(b->id)), b->seq };
}

/*
 * What a crash has left without its mark was appended within a sync round or
 * two of the end: it is in the newest two segments.
 */
static int
aside_look(struct engine_aside *a, struct spool *sp, struct why *why)
{
	size_t n = seglog_count(spool_log(sp));
	struct spool_cursor c = { 0 };
	int r = 1;

	if (n > 2)
		c.segno = seglog_at(spool_log(sp), n - 2).segno;
	while (r > 0)
		r = spool_each(sp, &c, ASIDE_LOOK, aside_note_id, a, why);
	return r;
}

/* Was it taken over before a crash? */
static const struct aside_had *
aside_find(const struct engine_aside *a, const char *id)
{
	uint64_t hash = XXH3_64bits(id, strlen(id));

	for (size_t i = 0; i < a->had_n; i++)
		if (a->had[i].hash == hash)
			return &a->had[i];
	return NULL;
}

bool
engine_aside_unsure(const struct engine *e)
{
	const struct engine_aside *a = e->aside;

	return a != NULL && (spool_unsynced(a->from->spool) ||
	    spool_unsynced(a->from->records));
}

/* --- what the other engine asks for ---------------------------------------- */

static int
aside_append(struct engine_aside *a, const struct transport_request *rq,
    const uint8_t *body, struct why *why)
{
	struct engine *e = a->e;
	struct spool_batch *b = &a->batch;
	bool run = rq->batch->kind == SPOOL_RUN;
	struct spool_ref ref;

	*b = *rq->batch;
	b->events = rq->events;
	b->compressed = rq->compressed;
	b->raw_len = (uint32_t)rq->raw_len;
	/* The own journal has never had its events. */
	b->journal_first = b->journal_lsn = 0;
	b->parent = b->parent_from = 0;
	(void)snprintf(b->id, sizeof b->id, "%s", rq->id);
	int r = spool_append(run ? e->spool : e->records, b, body,
	    rq->body_len, &ref, why);
	if (r < 0)
		return r;
	if (!run) {
		a->wait[a->waits++] =
		    (struct aside_wait){ rq->tag, ref.seq, false };
		return 0;
	}
	struct engine_sealing *s = mem_zalloc(sizeof *s + b->runid_len + 1);
	s->ref = ref;
	s->part = b->part;
	s->reason = (uint8_t)b->reason;
	s->aside = true;
	s->aside_tag = rq->tag;
	s->runid_len = (uint16_t)b->runid_len;
	memcpy(s->runid, b->runid, b->runid_len);
	*e->sealing_tail = s;
	e->sealing_tail = &s->next;
	return 0;
}

static int
aside_send(struct transport *t, const struct transport_request *rq,
    struct why *why)
{
	struct engine_aside *a = (struct engine_aside *)(void *)t;
	uint8_t *body;
	int r;

	if (strlen(rq->id) >= SPOOL_ID_MAX)
		return why_set(why, -EMSGSIZE, "batch id %s is too long",
		    rq->id);
	if (a->waits == NELEM(a->wait))
		return why_set(why, -EBUSY, "too many batches on their way");
	const struct aside_had *had = aside_find(a, rq->id);
	if (had != NULL) {
		a->wait[a->waits++] = (struct aside_wait){ rq->tag, had->seq,
		    rq->batch->kind == SPOOL_RUN };
		return 0;
	}
	if (rq->body != NULL)
		return aside_append(a, rq, rq->body, why);
	body = mem_alloc(rq->body_len + 1);
	r = rq->read(rq->arg, rq->tag, 0, body, rq->body_len);
	if (r < 0)
		(void)why_errno(why, r, "%s: a batch", a->path);
	else
		r = aside_append(a, rq, body, why);
	free(body);
	return r;
}

/* Nothing on its way takes longer than a sync round. */
static void
aside_cancel(struct transport *t, uint64_t tag)
{
}

static int
aside_reload(struct transport *t, struct why *why)
{
	return 0;
}

static void
aside_no_answer(void *arg, uint64_t peer, enum event_code code,
    const char *text, const struct event_ack *ack)
{
}

static int
aside_sync(void *arg, const struct seglog_sync *job)
{
	struct engine_aside *a = arg;

	a->job = *job;
	a->job_waits = true;
	return 0;
}

bool
engine_aside_pump(struct engine *e, bool again, struct now now)
{
	struct engine_aside *a = e->aside;

	if (a == NULL)
		return false;
	if (a->job_runs)
		return true;
	if (!a->job_waits || e->syncing)
		return false;
	if (a->job_last && !again) {
		a->job_last = false;
		return false;
	}
	a->job_waits = false;
	int r = e->env.sync(e->env.arg, &a->job);
	if (r < 0) {
		engine_sync_end(a->from, r, 0, now);
		return false;
	}
	a->job_runs = a->job_last = true;
	return true;
}

bool
engine_aside_sync_end(struct engine *e, int err, int64_t took_us,
    struct now now)
{
	struct engine_aside *a = e->aside;

	if (a == NULL || !a->job_runs)
		return false;
	a->job_runs = false;
	engine_sync_end(a->from, err, took_us, now);
	return true;
}

bool
engine_aside_settled(const struct engine *e)
{
	return e->aside == NULL || !e->aside->job_runs;
}

/* --- opening and closing --------------------------------------------------- */

void
engine_aside_set_conf(struct engine *e, struct now now)
{
	struct engine_aside *a = e->aside;

	if (a == NULL)
		return;
	a->conf = *e->conf;
	a->conf.storage.dir = a->path;
	/* Its room is what it takes already. */
	a->conf.storage.spool_max = UINT64_MAX;
	a->conf.storage.when_full = CONF_REFUSE;
	a->conf.storage.max_age_ms = 0;
	a->conf.upstream.compression = CONF_ZSTD;
	a->conf.upstream.connections = ASIDE_BATCHES;
	a->conf.redact.set = NULL;	/* it was, before it was journaled */
	if (a->from != NULL)
		engine_set_conf(a->from, &a->conf, now);
}

static int
aside_open(struct engine *e, const struct aside *at, struct now now,
    struct why *why)
{
	struct engine_aside *a = mem_zalloc(sizeof *a);
	struct engine_env env = { .transport = &a->transport,
	    .answer = aside_no_answer, .sync = aside_sync, .arg = a,
	    .inner = true };
	int r;

	a->e = e;
	a->at = *at;
	a->transport = (struct transport){ .send = aside_send,
	    .cancel = aside_cancel, .reload = aside_reload };
	(void)snprintf(a->path, sizeof a->path, "%s/%s", e->conf->storage.dir,
	    at->name);
	rng_seed(&env.rng, rng_u64(&e->env.rng));
	e->aside = a;
	engine_aside_set_conf(e, now);
	r = aside_look(a, e->spool, why);
	if (r == 0)
		r = aside_look(a, e->records, why);
	if (r == 0)
		r = engine_open(&a->conf, &env, now, &a->from, why);
	if (r < 0) {
		e->aside = NULL;
		free(a->had);
		free(a);
		return r;
	}
	(void)engine_flush_runs(a->from, NULL, 0, now);
	return 0;
}

/*
 * Take over the oldest that is known, of those above `after`; say what waits
 * for another lumnid.
 */
static void
aside_open_next(struct engine *e, unsigned after, struct now now)
{
	struct aside at;
	struct why why = { "" };

	e->newer_dirs = 0;
	e->newer_bytes = 0;
	for (; aside_next(e->dir_fd, e->conf->storage.dir, after, &at);
	    after = at.n) {
		e->newer_dirs++;
		e->newer_bytes += at.bytes;
		if (!at.known) {
			log_warn("newer_waits", LS("dir", at.name),
			    LU("bytes", at.bytes), LS("hint", "what a newer "
			    "lumnid has left is kept; install it again, and "
			    "it delivers it"));
			continue;
		}
		if (e->aside != NULL)
			continue;
		if (aside_open(e, &at, now, &why) == 0)
			log_info("newer_taking", LS("dir", at.name),
			    LU("bytes", at.bytes));
		else
			log_error("newer_unreadable", LS("dir", at.name),
			    LS("error", why.text));
	}
}

void
engine_aside_open(struct engine *e, struct now now)
{
	aside_open_next(e, 0, now);
}

int
engine_aside_move(struct engine *e, const struct why *newer, struct why *why)
{
	char name[ASIDE_NAME_LEN];
	int r = aside_move(e->dir_fd, e->conf->storage.dir, name, why);

	if (r < 0)
		return r;
	log_error("newer_set_aside", LS("reason", newer->text),
	    LS("dir", name), LS("consequence", "what waits there is not "
	    "delivered before that lumnid is installed again; nothing in it is "
	    "changed, and this one begins anew"));
	return 0;
}

void
engine_aside_stop(struct engine *e, struct now now)
{
	if (e->aside != NULL)
		engine_stop_sending(e->aside->from, now);
}

void
engine_aside_close(struct engine *e, struct now now)
{
	struct engine_aside *a = e->aside;

	if (a == NULL)
		return;
	e->aside = NULL;
	/* Without a sender nothing is flushed: so tests kill a process. */
	if (e->sender == NULL) {
		sender_free(a->from->sender);
		a->from->sender = NULL;
	}
	engine_close(a->from, now);
	free(a->had);
	free(a);
}

/* --- the turn -------------------------------------------------------------- */

static bool
aside_is_empty(const struct engine_aside *a)
{
	struct engine *f = a->from;

	return runs_count(f->runs) == 0 && f->sealing == NULL &&
	    spool_waiting(f->spool).batches == 0 &&
	    spool_waiting(f->records).batches == 0 &&
	    sender_in_flight(f->sender) == 0 && !f->syncing &&
	    !a->job_waits && !a->job_runs && a->waits == 0;
}

/* All of it is in the own spools, durably. */
static void
aside_end(struct engine *e, struct now now)
{
	struct books_ledger events, records;
	struct aside at = e->aside->at;
	struct why why = { "" };

	engine_ledger(e->aside->from, &events, &records);
	log_info("newer_taken", LS("dir", at.name),
	    LU("batches", e->aside->batches),
	    LU("damaged_events", events.dropped[SPOOL_DROP_CORRUPT].n),
	    LU("damaged_records", records.dropped[SPOOL_DROP_CORRUPT].n));
	engine_aside_close(e, now);
	if (aside_remove(e->dir_fd, e->conf->storage.dir, &at, &why) < 0)
		log_error("newer_not_removed", LS("dir", at.name),
		    LS("error", why.text));
	aside_open_next(e, at.n, now);
}

void
engine_aside_turn(struct engine *e, struct now now)
{
	struct engine_aside *a = e->aside;

	if (a == NULL || e->stopping)
		return;
	aside_durable(a, now);
	/* What the own spool has no room for waits where it is. */
	sender_pause(a->from->sender, e->storage != ENGINE_OK ||
	    e->seal_blocked || e->runs_room.full ||
	    spool_bytes(e->spool) >= e->conf->storage.spool_max ||
	    spool_bytes(e->records) >= e->conf->storage.spool_max);
	engine_turn(a->from, now);
	if (aside_is_empty(a))
		aside_end(e, now);
}

struct mono
engine_aside_deadline(const struct engine *e)
{
	const struct engine_aside *a = e->aside;

	if (a == NULL || e->stopping)
		return MONO_NEVER;
	for (size_t i = 0; i < a->waits; i++)
		if (aside_is_durable(a, &a->wait[i]))
			return (struct mono){ 0 };
	/* The end of a round wakes us. */
	return a->job_waits || a->job_runs ? MONO_NEVER :
	    engine_deadline(a->from);
}
