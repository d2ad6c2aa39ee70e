/*
 * engine_recover: what the journal and the spools hold becomes the run table
 * and the books again. Nothing that is found makes it fail; only a directory
 * that cannot be used does.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rand.h"
#include "core/engine_int.h"

struct engine_recovery {
	struct engine	*e;
	struct now	 now;
	uint64_t	 recent;	/* batches without a seal mark */
	uint64_t	 uncounted;	/* journal_lost(), not yet accounted for */
	uint64_t	 known;		/* up to here all marks are durable */
	uint64_t	*marks;		/* batches newer than that with a mark */
	size_t		 marks_n, marks_cap;
};

static void
engine_recover_state(void *arg, const struct journal_state *st)
{
	struct engine_recovery *rec = arg;
	struct engine *e = rec->e;

	memcpy(e->books.total, st->totals, sizeof e->books.total);
	if (rec->known < st->batch_seq)
		rec->known = st->batch_seq;
	if (e->batch_seq < st->batch_seq)
		e->batch_seq = st->batch_seq;
	for (size_t i = 0; i < st->parts_n; i++)
		runs_remember(e->runs, st->parts[i].run_hash,
		    st->parts[i].part);
}

static struct run *
engine_recover_run(struct engine_recovery *rec, const char *runid, size_t len)
{
	struct run *run = runs_find(rec->e->runs, runid, len);

	if (run == NULL)
		run = runs_open(rec->e->runs, runid, len, rec->now);
	return run;
}

static void
engine_recover_event(void *arg, const char *runid, size_t runid_len,
    uint64_t lsn, struct wall wall, bool end, struct journal_place place)
{
	struct engine_recovery *rec = arg;
	struct engine *e = rec->e;
	struct run *run = engine_recover_run(rec, runid, runid_len);
	bool first = run->n == 0;

	runs_add(e->runs, run, place, lsn, rec->now);
	if (first)
		run->first_wall = wall;
	e->books.total[BOOKS_ACCEPTED]++;
	if (end)
		run->end = true;
}

static void
engine_recover_end(void *arg, const char *runid, size_t runid_len,
    uint64_t lsn)
{
	struct engine_recovery *rec = arg;
	struct run *run = runs_find(rec->e->runs, runid, runid_len);

	if (run == NULL)
		return;
	run->end = true;
	run->last_lsn = lsn;
}

/*
 * The run's events up to lsn are in the spool. Returns how many of them were
 * open.
 */
static uint32_t
engine_recover_cut(struct engine_recovery *rec, const char *runid,
    size_t runid_len, uint64_t lsn, uint32_t part)
{
	struct engine *e = rec->e;
	struct run *run = runs_find(e->runs, runid, runid_len);
	uint32_t k = 0;

	if (run == NULL) {
		runs_remember(e->runs, runs_hash(runid, runid_len), part + 1);
		return 0;
	}
	while (k < run->n && runs_lsn(run, k) <= lsn)
		k++;
	bool whole = k == run->n;
	runs_cut(e->runs, run, k, rec->now);
	/* An older batch whose mark was lost is told of late. */
	if (runs_part(e->runs, run) < part + 1)
		runs_set_part(e->runs, run, part + 1);
	if (whole)
		runs_close(e->runs, run, runs_part(e->runs, run));
	return k;
}

static void
engine_recover_sealed(void *arg, const char *runid, size_t runid_len,
    uint64_t lsn, uint32_t part, uint64_t batch_seq)
{
	struct engine_recovery *rec = arg;

	(void)engine_recover_cut(rec, runid, runid_len, lsn, part);
	if (rec->e->batch_seq < batch_seq)
		rec->e->batch_seq = batch_seq;
	if (rec->marks_n == rec->marks_cap) {
		rec->marks_cap = rec->marks_cap == 0 ? 256 :
		    rec->marks_cap * 2;
		rec->marks = mem_grow(rec->marks, rec->marks_cap,
		    sizeof *rec->marks);
	}
	rec->marks[rec->marks_n++] = batch_seq;
}

static int
engine_recover_compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static bool
engine_recover_is_marked(const struct engine_recovery *rec, uint64_t seq)
{
	return rec->marks_n > 0 && bsearch(&seq, rec->marks, rec->marks_n,
	    sizeof *rec->marks, engine_recover_compare) != NULL;
}

static void
engine_recover_count(void *arg, unsigned total, uint64_t n)
{
	struct engine_recovery *rec = arg;

	if (total < BOOKS_TOTALS)
		rec->e->books.total[total] += n;
}

/* The state a new journal segment begins with. */
static void
engine_journal_state(void *arg, struct journal_state *st)
{
	struct engine *e = arg;

	memcpy(st->totals, e->books.total, sizeof st->totals);
	memcpy(e->saved, e->books.total, sizeof e->saved);
	st->parts_n = runs_parts(e->runs, &st->parts);
}

/*
 * A batch that is in the spool, but whose seal mark is not in the journal: the
 * crash came between the two. Its events are not open any more; the mark is
 * made up for when the journal is open.
 */
struct engine_recent {
	struct engine_recent	*next;
	struct spool_ref	 ref;
	uint64_t		 first, last;	/* lsn */
	uint32_t		 part;
	size_t			 runid_len;
	char			 runid[];
};

struct engine_recents {
	struct engine_recovery	*rec;
	struct engine_recent	*head, **tail;
};

static void
engine_recover_recent(void *arg, const struct spool_batch *b,
    const struct spool_ref *ref)
{
	struct engine_recents *l = arg;

	if (engine_recover_is_marked(l->rec, b->seq))
		return;
	struct engine_recent *r = mem_zalloc(sizeof *r + b->runid_len + 1);
	r->ref = *ref;
	r->first = b->journal_first;
	r->last = b->journal_lsn;
	r->part = b->part;
	r->runid_len = b->runid_len;
	memcpy(r->runid, b->runid, b->runid_len);
	*l->tail = r;
	l->tail = &r->next;
}

/*
 * Is an older event of its run open? Then an older batch of the run was lost
 * with the power, so this one was not durable either, and nobody has seen it:
 * its events are sealed again, behind the older ones.
 */
static bool
engine_recover_is_orphan(const struct engine *e, const struct engine_recent *b)
{
	const struct run *run = runs_find(e->runs, b->runid, b->runid_len);

	return run != NULL && run->n > 0 && runs_lsn(run, 0) < b->first;
}

static int
engine_recover_mark(struct engine_recovery *rec, const struct engine_recent *b,
    struct why *why)
{
	struct engine *e = rec->e;
	int r = 0;

	journal_skip_lsn(e->journal, b->last);
	if (engine_recover_is_orphan(e, b)) {
		/* Kept and written later where it fails. */
		(void)spool_take_back(e->spool, &b->ref, NULL);
		return 0;
	}
	uint32_t k = engine_recover_cut(rec, b->runid, b->runid_len, b->last,
	    b->part);
	/*
	 * Events that the journal has lost (nobody was told that they are
	 * safe) but the spool has kept: they count again.
	 */
	if (k < b->ref.events) {
		uint32_t missing = b->ref.events - k;
		rec->uncounted -= missing < rec->uncounted ? missing :
		    rec->uncounted;
		r = journal_count(e->journal, BOOKS_ACCEPTED, missing,
		    rec->now.wall, why);
		e->books.total[BOOKS_ACCEPTED] += missing;
	}
	if (r == 0)
		r = journal_sealed(e->journal, b->runid, b->runid_len,
		    b->last, b->part, b->ref.seq, rec->now.wall, why);
	if (e->batch_seq < b->ref.seq)
		e->batch_seq = b->ref.seq;
	rec->recent++;
	return r;
}

static int
engine_recover_marks(struct engine_recovery *rec, struct engine_recents *l,
    struct why *why)
{
	int r = 0;

	for (struct engine_recent *b = l->head, *next; b != NULL; b = next) {
		next = b->next;
		if (r == 0)
			r = engine_recover_mark(rec, b, why);
		free(b);
	}
	if (r == 0)
		journal_marks_complete(rec->e->journal);
	return r;
}

static void
engine_path(char *dst, size_t n, const char *dir, const char *name)
{
	(void)snprintf(dst, n, "%s/%s", dir, name);
}

static uint64_t
engine_segment_bytes(uint64_t limit)
{
	uint64_t n = limit / 16;

	if (n > ENGINE_SEGMENT_BYTES)
		return ENGINE_SEGMENT_BYTES;
	return n < ENGINE_SEGMENT_MIN ? ENGINE_SEGMENT_MIN : n;
}

static int
engine_recover_journal(struct engine_recovery *rec, const char *quarantine,
    uint8_t instance[16], struct why *why)
{
	struct engine *e = rec->e;
	char dir[4096];
	struct journal_options o = {
		.segment_bytes =
		    engine_segment_bytes(e->conf->storage.journal_max),
		.buffer_bytes = ENGINE_BUFFER_BYTES,
		.recent_bytes = ENGINE_RECENT_BYTES,
		.state = engine_journal_state,
		.damaged = engine_damaged,
		.arg = e,
	};
	const struct journal_replay replay = {
		.state = engine_recover_state,
		.event = engine_recover_event,
		.end = engine_recover_end,
		.sealed = engine_recover_sealed,
		.count = engine_recover_count,
		.arg = rec,
	};

	for (int i = 0; i < 2; i++) {
		uint64_t v = rng_u64(&e->env.rng);
		memcpy(o.instance + 8 * i, &v, sizeof v);
	}
	engine_path(dir, sizeof dir, e->conf->storage.dir, "journal");
	int r = journal_open(dir, quarantine, &o, &replay, &e->journal, why);
	if (r < 0)
		return r;
	memcpy(instance, journal_instance(e->journal), 16);
	rec->uncounted = journal_lost(e->journal).uncounted;
	return 0;
}

static int
engine_recover_spools(struct engine_recovery *rec, const char *quarantine,
    const uint8_t instance[16], struct engine_recents *recents,
    struct why *why)
{
	struct engine *e = rec->e;
	char dir[4096];
	struct spool_options o = {
		.kind = SEGLOG_RECORDS,
		.segment_bytes =
		    engine_segment_bytes(e->conf->storage.spool_max / 64),
		.buffer_bytes = ENGINE_RECORDS_BUFFER,
		.seq_above = UINT64_MAX,
		.damaged = engine_damaged,
		.arg = e,
	};

	memcpy(o.instance, instance, 16);
	engine_path(dir, sizeof dir, e->conf->storage.dir, "spool/records");
	o.seq_above = 0;
	int r = spool_open(dir, quarantine, &o, NULL, NULL, &e->records, why);
	if (r < 0)
		return r;
	o.kind = SEGLOG_SPOOL;
	o.segment_bytes = engine_segment_bytes(e->conf->storage.spool_max);
	o.buffer_bytes = ENGINE_BUFFER_BYTES;
	o.seq_above = rec->known;
	o.promised = e->batch_seq;
	engine_path(dir, sizeof dir, e->conf->storage.dir, "spool");
	return spool_open(dir, quarantine, &o, engine_recover_recent, recents,
	    &e->spool, why);
}

/*
 * Deadlines begin anew, so that a restart splits no run that goes on; but the
 * age of a batch counts from its first event where there is time left.
 */
static void
engine_recover_deadlines(struct engine_recovery *rec)
{
	struct engine *e = rec->e;
	int64_t spare = e->conf->runs.max_age_ms - e->conf->runs.idle_ms;

	for (struct run *r = runs_idle_first(e->runs); r != NULL;
	    r = runs_idle_next(r)) {
		int64_t age = (rec->now.wall.us - r->first_wall.us) / 1000;
		if (age > spare)
			age = spare;
		if (age > 0)
			r->first.us -= age * 1000;
		for (uint32_t i = 0; i < r->n; i++)
			journal_adopt(e->journal, r->events[i].place);
		if (r->end)
			runs_set_due(e->runs, r, SPOOL_END);
	}
}

/*
 * Events that a crash took before they were durable were accepted by nobody,
 * though the state of a newer segment counts them.
 */
static void
engine_recover_unaccept(struct engine_recovery *rec, uint64_t n)
{
	struct engine *e = rec->e;

	if (n > journal_lost(e->journal).unsynced)
		n = journal_lost(e->journal).unsynced;
	if (n > 0)
		engine_count(e, BOOKS_ACCEPTED, -n, rec->now);
}

/*
 * Events that the journal's newest segment had, and that were durable: they
 * were accepted, though nothing is left of them but their number.
 */
static void
engine_recover_uncounted(struct engine_recovery *rec)
{
	if (rec->uncounted > 0)
		engine_count(rec->e, BOOKS_ACCEPTED, rec->uncounted, rec->now);
}

/* Count what damage has taken, so that the books balance. */
static void
engine_recover_balance(struct engine_recovery *rec)
{
	struct engine *e = rec->e;
	uint64_t *t = e->books.total;

	engine_recover_uncounted(rec);
	struct spool_totals s = spool_totals(e->spool);
	uint64_t there = runs_events(e->runs) + spool_waiting(e->spool).events +
	    s.delivered + s.dead + t[BOOKS_DROPPED_CORRUPT] +
	    t[BOOKS_DROPPED_FULL];

	for (int i = 0; i < SPOOL_DROPS; i++)
		there += s.dropped[i];

	if (there < t[BOOKS_ACCEPTED])
		engine_recover_unaccept(rec, t[BOOKS_ACCEPTED] - there);
	if (there == t[BOOKS_ACCEPTED])
		return;
	log_warn("books_corrected", LU("accepted", t[BOOKS_ACCEPTED]),
	    LU("found", there), LS("reason", "events were damaged on disk"));
	unsigned which = there < t[BOOKS_ACCEPTED] ? BOOKS_DROPPED_CORRUPT :
	    BOOKS_ACCEPTED;
	uint64_t n = there < t[BOOKS_ACCEPTED] ? t[BOOKS_ACCEPTED] - there :
	    there - t[BOOKS_ACCEPTED];
	engine_count(e, which, n, rec->now);
}

int
engine_recover(struct engine *e, struct now now, struct why *why)
{
	struct engine_recovery rec = { .e = e, .now = now };
	struct engine_recents recents = { &rec, NULL, &recents.head };
	char quarantine[4096];
	uint8_t instance[16] = { 0 };

	engine_path(quarantine, sizeof quarantine, e->conf->storage.dir,
	    "quarantine");
	int r = engine_recover_journal(&rec, quarantine, instance, why);
	if (r < 0)
		return r;
	if (rec.marks_n > 0)
		qsort(rec.marks, rec.marks_n, sizeof *rec.marks,
		    engine_recover_compare);
	r = engine_recover_spools(&rec, quarantine, instance, &recents, why);
	free(rec.marks);
	if (r < 0)
		return r;
	char dead[4096];
	engine_path(dead, sizeof dead, e->conf->storage.dir, "dead");
	r = dead_open(dead, &e->dead, why);
	if (r < 0)
		return r;
	r = engine_recover_marks(&rec, &recents, why);
	if (r < 0)
		engine_storage_fault(e, r, "journal", why, now);
	memcpy(e->saved, e->books.total, sizeof e->saved);
	engine_recover_deadlines(&rec);
	engine_recover_balance(&rec);
	struct spool_waiting w = spool_waiting(e->spool);
	log_info("recovered", LU("open_runs", runs_count(e->runs)),
	    LU("open_events", runs_events(e->runs)),
	    LU("waiting_batches", w.batches), LU("waiting_events", w.events),
	    LU("batches_remarked", rec.recent));
	return 0;
}
