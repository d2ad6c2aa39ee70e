/*
 * engine_sync: group commit and the state of the disk.
 *
 * One sync round is under way at a time; all that was flushed before it began
 * shares it. A round is begun at once when an ack waits for it, and at least a
 * second after anything was written. Sealed batches and deleted segments, for
 * which no client waits, begin one some milliseconds after the round before:
 * at a high rate they then share rounds, at a low one they do not wait.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/sys.h"
#include "core/engine_int.h"

void
engine_damaged(void *arg, const char *file, uint64_t off, uint64_t len,
    const char *reason)
{
	log_error("damage_quarantined", LS("file", file), LU("offset", off),
	    LU("bytes", len), LS("reason", reason));
}

void
engine_ack_push(struct engine_acks *q, uint64_t peer, uint64_t mark,
    const struct event_ack *ack, struct mono taken)
{
	if (q->n == q->cap) {
		size_t cap = q->cap == 0 ? 64 : q->cap * 2;
		struct engine_ack *v = mem_alloc(cap * sizeof *v);

		for (size_t i = 0; i < q->n; i++)
			v[i] = q->v[(q->head + i) % q->cap];
		free(q->v);
		q->v = v;
		q->cap = cap;
		q->head = 0;
	}
	q->v[(q->head + q->n++) % q->cap] =
	    (struct engine_ack){ peer, mark, taken, *ack };
}

/* Answer all whose log has reached their mark. */
static void
engine_acks_pop(struct engine *e, struct engine_acks *q, uint64_t mark,
    enum event_code code, const char *text, struct mono now)
{
	while (q->n > 0 && q->v[q->head].mark <= mark) {
		const struct engine_ack *a = &q->v[q->head];

		e->env.answer(e->env.arg, a->peer, code, text, &a->ack);
		if (code == EVENT_OK) {
			e->books.acks++;
			hist_add(&e->books.durable, now.us - a->taken.us);
		}
		q->head = (q->head + 1) % q->cap;
		q->n--;
	}
	if (q->n == 0 && q->cap > 4096) {
		free(q->v);
		*q = (struct engine_acks){ NULL, 0, 0, 0 };
	}
}

void
engine_storage_fault(struct engine *e, int err, const char *what,
    const struct why *why, struct now now)
{
	bool full = err == -ENOSPC || err == -EDQUOT;
	uint64_t n;

	e->storage = full ? ENGINE_FULL : ENGINE_DEGRADED;
	e->storage_retry = mono_add_ms(now.mono, ENGINE_RETRY_MS);
	(void)snprintf(e->storage_why, sizeof e->storage_why, "%s: %.200s",
	    what, why != NULL ? why->text : "storage.journal_max is reached");
	if (log_limit_hit(&e->storage_limit, now.mono.us, &n))
		log_error(full ? "storage_full" : "storage_degraded",
		    LS("error", e->storage_why), LU("repeated", n));
}

/* Look at free space now and then; leave a fault when its cause is gone. */
void
engine_storage_check(struct engine *e, struct now now)
{
	const struct conf *conf = e->conf;
	uint64_t avail, total;
	struct why why = { "" };

	if (now.mono.us >= e->space_next.us) {
		e->space_next = mono_add_ms(now.mono, ENGINE_SPACE_MS);
		if (seglog_space(journal_log(e->journal), &avail, &total,
		    &why) == 0) {
			uint64_t floor = conf->storage.free_min;
			if (floor == 0)
				floor = total / 20 < ENGINE_FREE_MAX ?
				    total / 20 : ENGINE_FREE_MAX;
			e->below_floor = avail < floor;
			(void)why_set(&why, 0, "%" PRIu64 " bytes are free, "
			    "storage.free_min keeps %" PRIu64, avail, floor);
		}
		if (e->below_floor)
			engine_storage_fault(e, -ENOSPC, "storage.dir", &why,
			    now);
	}
	if (e->storage == ENGINE_OK || now.mono.us < e->storage_retry.us)
		return;
	/* The cause may be gone: what is tried next will tell. */
	e->storage_retry = mono_add_ms(now.mono, ENGINE_RETRY_MS);
	if (e->below_floor ||
	    journal_bytes(e->journal) >= conf->storage.journal_max)
		return;
	if (e->storage == ENGINE_DEGRADED) {
		/* A new segment, so that a good write proves a good disk. */
		if (journal_roll(e->journal, now.wall, &why) < 0 ||
		    journal_flush(e->journal, &why) < 0)
			return;
	}
	e->storage = ENGINE_OK;
	e->storage_why[0] = '\0';
	if (log_limit_over(&e->storage_limit))
		log_info("storage_ok", LU("journal_bytes",
		    journal_bytes(e->journal)));
}

/*
 * What waits for an ack cannot be written now, for who knows how long: that is
 * an answer, too. It stays in the buffer, and may be kept all the same. What a
 * round is at work on is answered when that ends.
 */
static void
engine_flush_failed(struct engine *e, struct engine_acks *acks, uint64_t mark,
    struct now now)
{
	if (!e->syncing)
		engine_acks_pop(e, acks, mark, EVENT_DEGRADED,
		    e->storage_why, now.mono);
}

void
engine_flush_journal(struct engine *e, struct now now)
{
	struct why why = { "" };
	int r = journal_flush(e->journal, &why);

	if (r < 0) {
		engine_storage_fault(e, r, "journal", &why, now);
		engine_flush_failed(e, &e->acks, journal_appended(e->journal),
		    now);
	}
}

void
engine_flush(struct engine *e, struct now now)
{
	struct why why = { "" };
	int r;

	engine_flush_journal(e, now);
	r = spool_flush(e->spool, &why);
	if (r == 0 && (r = spool_flush(e->records, &why)) < 0) {
		engine_storage_fault(e, r, "records", &why, now);
		engine_flush_failed(e, &e->record_acks,
		    spool_seq(e->records), now);
	}
	if (r < 0) {
		/* Seal no more into a buffer that cannot be written. */
		engine_storage_fault(e, r, "spool", &why, now);
		e->seal_blocked = true;
		e->seal_retry = mono_add_ms(now.mono, ENGINE_RETRY_MS);
	}
}

void
engine_count(struct engine *e, enum books_total which, uint64_t n,
    struct now now)
{
	struct why why;

	/*
	 * A segment that begins with this record has the totals before it, so
	 * it is counted behind.
	 */
	if (journal_count(e->journal, which, n, now.wall, &why) < 0)
		log_error("journal_write_failed", LS("error", why.text));
	e->books.total[which] += n;
}

void
engine_save_totals(struct engine *e, struct now now)
{
	struct why why;

	for (unsigned i = BOOKS_KERNEL_UDP; i < BOOKS_TOTALS; i++) {
		if (i == BOOKS_DEAD_DELETED)
			continue;	/* it has a record of its own */
		uint64_t total = e->books.total[i], n = total - e->saved[i];

		if (n == 0)
			continue;
		/*
		 * A segment that begins with this record has the totals before
		 * it, so it is counted behind.
		 */
		e->books.total[i] = e->saved[i];
		int r = journal_count(e->journal, i, n, now.wall, &why);
		e->books.total[i] = total;
		/* On failure it is tried with the next round. */
		if (r < 0)
			return;
		e->saved[i] = total;
	}
}

static void
engine_sync_good(struct engine *e, struct now now)
{
	engine_acks_pop(e, &e->acks, journal_durable(e->journal), EVENT_OK,
	    NULL, now.mono);
	engine_acks_pop(e, &e->record_acks, spool_durable(e->records),
	    EVENT_OK, NULL, now.mono);
	if (e->sync_journal)
		engine_seal_release(e, journal_durable(e->journal));
	engine_seal_durable(e, spool_durable(e->spool), now);
}

/*
 * What the kernel could not write it may have thrown away, and a second
 * fdatasync may succeed nonetheless (fsync(2)). So what the round covered is
 * not believed: acks become errors, unsynced batches go back to their runs,
 * and all logs go on in new segments.
 */
static void
engine_sync_bad(struct engine *e, int err, struct now now)
{
	struct why why = { "" };

	(void)why_errno(&why, err, "%s: fdatasync", e->conf->storage.dir);
	e->books.sync_errors++;
	engine_storage_fault(e, -EIO, "sync", &why, now);
	engine_acks_pop(e, &e->acks, e->sync_appended, EVENT_DEGRADED,
	    e->storage_why, now.mono);
	engine_acks_pop(e, &e->record_acks, spool_seq(e->records),
	    EVENT_DEGRADED, e->storage_why, now.mono);
	if (e->sync_spool)
		engine_seal_revert(e, now);
	if (journal_flush(e->journal, &why) < 0 ||
	    journal_roll(e->journal, now.wall, &why) < 0 ||
	    spool_flush(e->spool, &why) < 0 ||
	    spool_roll(e->spool, now.wall, &why) < 0 ||
	    spool_flush(e->records, &why) < 0 ||
	    spool_roll(e->records, now.wall, &why) < 0)
		engine_storage_fault(e, -EIO, "roll", &why, now);
}

void
engine_sync_end(struct engine *e, int err, int64_t took_us, struct now now)
{
	if (engine_aside_sync_end(e, err, took_us, now))
		return;
	assert(e->syncing);
	e->syncing = false;
	e->books.syncs++;
	e->books.sync_us += (uint64_t)took_us;
	hist_add(&e->books.synced, took_us);
	if (e->sync_journal)
		journal_sync_end(e->journal, err == 0);
	if (e->sync_spool)
		spool_sync_end(e->spool, err == 0);
	if (e->sync_records)
		spool_sync_end(e->records, err == 0);
	if (e->sync_dead) {
		dead_sync_end(e->dead, err == 0);
		sender_letters(e->sender, err == 0, now);
	}
	if (err == 0)
		engine_sync_good(e, now);
	else
		engine_sync_bad(e, err, now);
}

void
engine_sync_part(struct engine *e, struct now now)
{
	assert(e->syncing && e->sync_journal);
	journal_sync_end(e->journal, true);
	e->sync_journal = false;
	engine_acks_pop(e, &e->acks, journal_durable(e->journal), EVENT_OK,
	    NULL, now.mono);
	engine_seal_release(e, journal_durable(e->journal));
}

int64_t
engine_sync_age_ms(const struct engine *e, struct now now)
{
	return e->syncing ? mono_sub_ms(now.mono, e->sync_began) : 0;
}

/* A deleted segment is among it: its directory has changed. */
static bool
engine_unsynced(const struct engine *e)
{
	return journal_unsynced(e->journal) || spool_unsynced(e->spool) ||
	    spool_unsynced(e->records) || dead_unsynced(e->dead);
}

static void
engine_sync_begin(struct engine *e, bool journal, bool spool, bool records,
    struct now now)
{
	struct seglog_sync set = { .n = 0 };

	e->sync_journal = journal;
	e->sync_spool = spool;
	e->sync_records = records;
	e->sync_appended = journal_appended(e->journal);
	if (journal)
		journal_sync_begin(e->journal, &set);
	/* Who waits for an ack need not wait for sealed batches, too. */
	if (journal && e->acks.n > 0)
		set.first = set.n;
	if (spool)
		spool_sync_begin(e->spool, &set);
	if (records)
		spool_sync_begin(e->records, &set);
	e->sync_dead = dead_unsynced(e->dead);
	if (e->sync_dead)
		dead_sync_begin(e->dead, &set);
	if (set.first == set.n)
		set.first = 0;
	e->syncing = true;
	e->sync_began = now.mono;
	if (e->conf->storage.durability == CONF_DURABILITY_NEVER ||
	    set.n == 0) {
		/* The operator trusts the page cache. */
		engine_sync_end(e, 0, 0, now);
		return;
	}
	int r = e->env.sync(e->env.arg, &set);
	if (r < 0) {
		log_error("sync_not_started", LI("errno", -r));
		e->sync_retry = mono_add_ms(now.mono, ENGINE_RETRY_MS);
		engine_sync_end(e, r, 0, now);
	}
}

/*
 * Does the room that deleting segments would make wait for a round? Deleting
 * follows durable marks, and one deletion the directory's sync of another.
 */
static bool
engine_room_waits(const struct engine *e)
{
	uint64_t max = e->conf->storage.journal_max;

	return e->storage != ENGINE_OK ||
	    journal_bytes(e->journal) > max - max / 4;
}

void
engine_sync_note(struct engine *e, struct now now)
{
	if (!e->syncing && e->dirty_since.us == 0 && engine_unsynced(e))
		e->dirty_since = now.mono;
}

/* Is there what no client waits for, and yet ought to be durable soon? */
static bool
engine_journal_wants(const struct engine *e)
{
	return seglog_removals_pending(journal_log(e->journal));
}

static bool
engine_spool_wants(struct spool *sp)
{
	return spool_durable(sp) < spool_seq(sp) ||
	    seglog_removals_pending(spool_log(sp));
}

static bool
engine_sync_wanted(const struct engine *e)
{
	return engine_journal_wants(e) || engine_spool_wants(e->spool) ||
	    engine_spool_wants(e->records) || dead_unsynced(e->dead);
}

struct mono
engine_sync_deadline(const struct engine *e)
{
	struct mono at;

	if (e->syncing || e->dirty_since.us == 0)
		return MONO_NEVER;
	at = mono_add_ms(e->dirty_since, e->stopping ? 0 : ENGINE_SYNC_MS);
	if (engine_sync_wanted(e))
		at = mono_min(at, mono_add_ms(e->sync_began, ENGINE_PACE_MS));
	return at.us < e->sync_retry.us ? e->sync_retry : at;
}

static void
engine_sync_pump_own(struct engine *e, struct now now)
{
	/*
	 * What a failed flush left in a buffer is not covered by a round, so
	 * acks behind it wait on.
	 */
	for (int rounds = 0; rounds < 3 && !e->syncing; rounds++) {
		if (!engine_unsynced(e)) {
			/* All that waits is durable already. */
			engine_sync_good(e, now);
			e->dirty_since = (struct mono){ 0 };
			return;
		}
		engine_sync_note(e, now);
		bool all = e->stopping || e->conf->storage.durability !=
		    CONF_DURABILITY_ACK || mono_sub_ms(now.mono,
		    e->dirty_since) >= ENGINE_SYNC_MS;
		bool urgent = all || e->acks.n > 0 || e->record_acks.n > 0 ||
		    e->runs_room.full || e->records_room.full ||
		    engine_room_waits(e);
		struct mono at = urgent ? e->sync_retry :
		    engine_sync_deadline(e);
		if (now.mono.us < at.us)
			return;
		bool j = all || e->acks.n > 0 || engine_room_waits(e) ||
		    engine_journal_wants(e);
		bool s = all || e->runs_room.full ||
		    engine_spool_wants(e->spool);
		bool rec = all || e->record_acks.n > 0 ||
		    e->records_room.full || engine_spool_wants(e->records);
		if (all)
			e->dirty_since = (struct mono){ 0 };
		engine_sync_begin(e, j, s, rec, now);
		/*
		 * A round that ended at once (never) has written seal marks:
		 * one more covers them.
		 */
		if (!e->syncing)
			engine_flush(e, now);
	}
}

void
engine_sync_pump(struct engine *e, struct now now)
{
	/* In turn, so that neither waits for ever. */
	if (engine_aside_pump(e, false, now))
		return;
	engine_sync_pump_own(e, now);
	(void)engine_aside_pump(e, true, now);	/* it waits for no answer */
}
