/*
 * engine_turn: what comes round: the end of a turn of the loop, what is looked
 * after in it, and when the next one is due.
 */
#include "base/mem.h"
#include "core/engine_int.h"

/* A removal that fails is tried again in the next turn. */
static void
engine_trim(struct engine *e, struct now now)
{
	struct why why = { "" };
	uint64_t swallowed;
	int r;

	/* Each removal costs a round: a stop leaves them to the next start. */
	if (e->stopping || engine_aside_unsure(e))
		return;
	r = journal_trim(e->journal, &why);
	if (r >= 0)
		r = spool_trim(e->spool,
		    journal_sealed_durable(e->journal), &why);
	if (r >= 0)
		r = spool_trim(e->records, e->drops_held ? 0 :
		    UINT64_MAX, &why);
	if (r < 0 && log_limit_hit(&e->trim_limit, now.mono.us, &swallowed))
		log_error("segment_remove_failed", LS("error", why.text),
		    LU("repeated", swallowed));
}

/* Not in each turn: the whole directory is looked at. */
static void
engine_prune_failed(struct engine *e, struct now now)
{
	uint64_t n;

	e->prune_retry = mono_add_ms(now.mono, ENGINE_PRUNE_RETRY_MS);
	if (log_limit_hit(&e->prune_limit, now.mono.us, &n))
		log_error("dead_letters_not_deleted",
		    LU("bytes", dead_stats(e->dead).bytes),
		    LU("limit", e->conf->storage.dead_max),
		    LS("error", "storage.dead_max is exceeded, and letters "
		    "cannot be deleted"), LU("repeated", n));
}

/* Dead letters have limits too; what goes is counted. */
static void
engine_prune(struct engine *e, struct now now)
{
	const struct conf *conf = e->conf;
	int64_t max_ms = conf->storage.dead_max_age_ms;
	struct wall oldest = { INT64_MIN };

	/* Each whole turn, so that the clock is watched. */
	if (max_ms == 0 || !age_limit(&e->dead_age, now, max_ms, &oldest))
		oldest.us = INT64_MIN;
	if (now.mono.us < e->prune_next.us &&
	    (dead_stats(e->dead).bytes <= conf->storage.dead_max ||
	    now.mono.us < e->prune_retry.us))
		return;
	e->prune_next = mono_add_ms(now.mono, max_ms > 0 &&
	    max_ms < ENGINE_PRUNE_MS ? max_ms : ENGINE_PRUNE_MS);
	uint64_t n = dead_prune(e->dead, conf->storage.dead_max, oldest);
	if (dead_stats(e->dead).bytes > conf->storage.dead_max)
		engine_prune_failed(e, now);
	if (n == 0)
		return;
	log_warn("dead_letters_deleted", LU("events", n),
	    LS("reason", "storage.dead_max or storage.dead_max_age"));
	engine_count(e, BOOKS_DEAD_DELETED, n, now);
}

/* storage.max_age, if the operator has set it; it is off by default. */
static void
engine_drop_aged(struct engine *e, struct now now)
{
	int64_t max_ms = e->conf->storage.max_age_ms;
	struct wall oldest, limit;
	uint64_t n;

	if (max_ms == 0 || now.mono.us < e->age_next.us)
		return;
	e->age_next = mono_add_ms(now.mono, ENGINE_SPACE_MS);
	if (!age_limit(&e->age, now, max_ms, &limit) ||
	    !spool_oldest(e->spool, &oldest) || oldest.us >= limit.us)
		return;
	n = sender_drop_aged(e->sender, limit, ENGINE_SEALS_PER_TURN);
	if (n > 0)
		log_warn("events_dropped", LU("events", n), LS("reason",
		    "storage.max_age"));
}

/* With nothing at hand, the memory that traffic has taken goes back. */
static void
engine_relax(struct engine *e)
{
	if (e->books.bytes - e->trimmed < ENGINE_TRIM_BYTES ||
	    runs_events(e->runs) > 0 || e->sealing != NULL ||
	    sender_in_flight(e->sender) > 0 ||
	    spool_waiting(e->spool).batches > 0)
		return;
	e->trimmed = e->books.bytes;
	journal_recent_drop(e->journal);
	batch_trim(e->batch);
	event_message_free(&e->message);	/* taken anew */
	buf_free(&e->scratch);
	seglog_relax(journal_log(e->journal));
	seglog_relax(spool_log(e->spool));
	seglog_relax(spool_log(e->records));
	sender_relax(e->sender);
	mem_trim();
}

static struct mono
engine_runs_deadline(const struct engine *e)
{
	struct mono t = MONO_NEVER;
	const struct run *r = runs_idle_first(e->runs);

	if (r != NULL)
		t = mono_add_ms(r->last, e->conf->runs.idle_ms);
	r = runs_age_first(e->runs);
	if (r != NULL)
		t = mono_min(t, mono_add_ms(r->first,
		    e->conf->runs.max_age_ms));
	if (runs_due(e->runs) != NULL || e->more)
		t = (struct mono){ 0 };
	if (e->seal_blocked && t.us < e->seal_retry.us)
		t = e->seal_retry;
	return t;
}

struct mono
engine_deadline(const struct engine *e)
{
	struct mono t;

	if (e->calm)
		return e->calm_until;
	t = mono_min(engine_runs_deadline(e), sender_deadline(e->sender));
	t = mono_min(t, engine_sync_deadline(e));
	if (e->storage != ENGINE_OK)
		t = mono_min(t, e->storage_retry);
	if (e->conf->storage.max_age_ms != 0 &&
	    spool_waiting(e->spool).batches > 0)
		t = mono_min(t, e->age_next);
	return mono_min(t, engine_aside_deadline(e));
}

/*
 * Until when a turn may only write what was taken: the runs that it opens have
 * deadlines too, and none may be missed.
 */
static void
engine_calm_begin(struct engine *e, struct now now)
{
	int64_t ms = ENGINE_CALM_MS;

	if (e->conf->runs.idle_ms < ms)
		ms = e->conf->runs.idle_ms;
	if (e->conf->runs.max_age_ms < ms)
		ms = e->conf->runs.max_age_ms;
	e->calm = e->stirred = false;
	e->calm_bytes = e->books.bytes;
	e->calm_until = mono_min(engine_deadline(e),
	    mono_add_ms(now.mono, ms));
}

void
engine_turn(struct engine *e, struct now now)
{
	engine_storage_check(e, now);
	if (now.mono.us >= e->save_next.us) {
		e->save_next = mono_add_ms(now.mono, ENGINE_SYNC_MS);
		engine_save_totals(e, now);
	}
	engine_drop_aged(e, now);
	engine_seal_due(e, now);
	engine_aside_turn(e, now);
	engine_flush(e, now);
	engine_sync_pump(e, now);
	sender_pump(e->sender, now);
	engine_trim(e, now);
	engine_prune(e, now);
	engine_relax(e);
	/* A removal is a change of the directory: it waits for a round too. */
	engine_sync_note(e, now);
	engine_calm_begin(e, now);
}

/* Do the events that were taken ask for more than to be written? */
static bool
engine_is_calm(const struct engine *e, struct now now)
{
	return now.mono.us < e->calm_until.us && !e->stirred &&
	    e->books.bytes - e->calm_bytes < ENGINE_CALM_BYTES &&
	    runs_due(e->runs) == NULL && e->acks.n == 0 &&
	    e->storage == ENGINE_OK && !e->stopping &&
	    e->conf->storage.durability == CONF_DURABILITY_ACK;
}

void
engine_turn_taken(struct engine *e, struct now now)
{
	if (!engine_is_calm(e, now)) {
		engine_turn(e, now);
		return;
	}
	e->calm = true;
	engine_flush_journal(e, now);
	engine_sync_note(e, now);
}
