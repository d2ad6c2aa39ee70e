/*
 * engine_flush: follows what an operator wants to see delivered. Nothing is
 * remembered for each event or batch: that all is sealed shows in the age of
 * the oldest run that is open, and that all is finished in the sequence number
 * of the oldest batch that waits; of one run, in its newest batch, since the
 * parts of a run are finished in order.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "core/engine_ask.h"
#include "core/engine_int.h"

struct engine_flush {
	struct engine_flush	*next;
	bool			 all;
	bool			 sealed;
	bool			 has_last;
	struct mono		 began;
	uint64_t		 reverts;	/* of the engine, at `began` */
	uint64_t		 seq;		/* all: the newest, once sealed */
	uint64_t		 records_seq;
	struct spool_ref	 last;		/* of the one run */
	uint64_t		 hash;
	struct engine_flush_status st;
	size_t			 runid_len;
	char			 runid[];
};

static bool
flush_covers(const struct engine_flush *f, const struct spool_ref *ref)
{
	if (f->all)
		return !f->sealed || ref->seq <= f->seq;
	return ref->run_hash == f->hash &&
	    (!f->sealed || (f->has_last && ref->seq <= f->last.seq));
}

static void
flush_count(struct engine_flush *f, uint32_t delivered, uint32_t dead,
    uint32_t dropped)
{
	f->st.delivered += delivered;
	f->st.dead += dead;
	f->st.dropped += dropped;
}

/* Told by the spool of runs. */
static void
flush_on_runs(void *arg, const struct spool_ref *ref, uint32_t delivered,
    uint32_t dead, uint32_t dropped)
{
	struct engine *e = arg;

	for (struct engine_flush *f = e->flushes; f != NULL; f = f->next)
		if (flush_covers(f, ref))
			flush_count(f, delivered, dead, dropped);
}

static void
flush_on_records(void *arg, const struct spool_ref *ref, uint32_t delivered,
    uint32_t dead, uint32_t dropped)
{
	struct engine *e = arg;

	for (struct engine_flush *f = e->flushes; f != NULL; f = f->next)
		if (f->all && ref->seq <= f->records_seq)
			flush_count(f, delivered, dead, dropped);
}

void
engine_flush_sealed(struct engine *e, const struct run *run,
    const struct spool_ref *ref)
{
	for (struct engine_flush *f = e->flushes; f != NULL; f = f->next)
		if (!f->all && !f->sealed && f->hash == run->hash) {
			f->last = *ref;
			f->has_last = true;
		}
}

/* The oldest run that is open and was so when the flush began, or NULL. */
static struct run *
flush_open_run(struct engine *e, const struct engine_flush *f)
{
	struct run *r = f->all ? runs_age_first(e->runs) :
	    runs_find(e->runs, f->runid, f->runid_len);

	return r != NULL && r->first.us <= f->began.us ? r : NULL;
}

/* Begin, or begin anew after sealed batches were lost to a failing disk. */
static void
flush_start(struct engine *e, struct engine_flush *f, struct now now)
{
	f->began = now.mono;
	f->reverts = e->reverts;
	f->sealed = f->has_last = false;
	f->st.runs = engine_flush_runs(e, f->all ? NULL : f->runid,
	    f->runid_len, now);
}

/* The run is not open: is a batch of it on its way? */
static bool
flush_find_last(struct engine *e, struct engine_flush *f)
{
	f->has_last = sender_find_run(e->sender, f->hash, &f->last);
	for (const struct engine_sealing *s = e->sealing; s != NULL;
	    s = s->next)
		if (s->runid_len == f->runid_len &&
		    memcmp(s->runid, f->runid, f->runid_len) == 0) {
			f->last = s->ref;
			f->has_last = true;
		}
	if (f->has_last)
		f->st.events = f->last.events - f->last.finished;
	return f->has_last;
}

static void
flush_count_wanted(struct engine *e, struct engine_flush *f)
{
	const struct run *run;

	if (!f->all) {
		run = runs_find(e->runs, f->runid, f->runid_len);
		f->st.events = run != NULL ? run->n : 0;
		return;
	}
	f->records_seq = spool_seq(e->records);
	f->st.events = runs_events(e->runs) + spool_waiting(e->spool).events +
	    spool_waiting(e->records).events;
}

struct engine_flush *
engine_flush_begin(struct engine *e, const char *runid, size_t len,
    struct now now)
{
	struct engine_flush *f = mem_zalloc(sizeof *f + len + 1);

	f->all = runid == NULL;
	f->runid_len = f->all ? 0 : len;
	if (!f->all) {
		memcpy(f->runid, runid, len);
		f->hash = runs_hash(runid, len);
	}
	flush_count_wanted(e, f);
	flush_start(e, f, now);
	if (!f->all && f->st.runs == 0 && !flush_find_last(e, f)) {
		free(f);
		return NULL;
	}
	f->next = e->flushes;
	e->flushes = f;
	spool_watch(e->spool, flush_on_runs, e);
	spool_watch(e->records, flush_on_records, e);
	sender_hurry(e->sender, now);
	return f;
}

void
engine_flush_end(struct engine *e, struct engine_flush *f)
{
	struct engine_flush **at = &e->flushes;

	while (*at != f)
		at = &(*at)->next;
	*at = f->next;
	free(f);
	if (e->flushes == NULL) {
		spool_watch(e->spool, NULL, NULL);
		spool_watch(e->records, NULL, NULL);
	}
}

static void
flush_check_sealed(struct engine *e, struct engine_flush *f)
{
	struct run *open = flush_open_run(e, f);

	if (open == NULL) {
		f->sealed = true;
		f->seq = spool_seq(e->spool);
		return;
	}
	/* Opened in the microsecond in which the flush began. */
	if (open->due == 0)
		runs_set_due(e->runs, open, SPOOL_FLUSH);
}

static bool
flush_is_done(struct engine *e, struct engine_flush *f)
{
	if (!f->sealed)
		return false;
	if (!f->all)
		return !f->has_last || !spool_waits(e->spool, &f->last);
	return spool_is_past(e->spool, f->seq) &&
	    spool_is_past(e->records, f->records_seq);
}

/* Nothing is under way and nothing will be before somebody acts. */
static bool
flush_is_held(struct engine *e, struct now now)
{
	struct sender_status ss;

	if (sender_in_flight(e->sender) > 0)
		return false;
	if (sender_is_paused(e->sender))
		return true;
	sender_status(e->sender, &ss);
	return ss.state == SENDER_HOLD && ss.next_try.us > now.mono.us;
}

void
engine_flush_status(struct engine *e, struct engine_flush *f, struct now now,
    struct engine_flush_status *ret)
{
	if (f->reverts != e->reverts)
		flush_start(e, f, now);
	if (!f->sealed)
		flush_check_sealed(e, f);
	bool done = flush_is_done(e, f);
	f->st.state = done ? ENGINE_FLUSH_DONE : f->sealed ?
	    ENGINE_FLUSH_SENDING : ENGINE_FLUSH_SEALING;
	f->st.held = !done && flush_is_held(e, now);
	uint64_t sum = f->st.delivered + f->st.dead + f->st.dropped;
	if (f->st.events < sum || done)
		f->st.events = sum;
	*ret = f->st;
}
