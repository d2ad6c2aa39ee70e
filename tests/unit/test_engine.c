/*
 * test_engine: the road of an event with the real store on a temporary
 * directory, and a fake clock, network and helper thread.
 */
#include <check.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/sys.h"
#include "core/engine_int.h"
#include "tests/unit/fewer.h"
#include "tests/unit/tmpdir.h"
#include "tests/unit/world.h"

static char	dir[256];

/* A message may not be larger than the journal. */
#define SMALL	"events: {max_message: 64KiB}\nruns: {max_bytes: 256KiB}\n"

static void
setup(void)
{
	tmpdir_make(dir, sizeof dir);
}

static void
teardown(void)
{
	tmpdir_remove(dir);
}

/* The one request under way. */
static struct world_request *
only_request(struct world *w)
{
	size_t at[WORLD_REQUESTS];

	ck_assert_uint_eq(world_requests(w, at), 1);
	return &w->request[at[0]];
}

static struct sys	blocked;
static unsigned		listed;

static int
blocked_unlinkat(int fd, const char *name, int flags)
{
	return -EPERM;
}

static int
counted_list(int fd, int (*fn)(void *, const char *), void *arg)
{
	listed++;
	return sys_kernel.list(fd, fn, arg);
}

/*
 * Letters beyond their limit that cannot be deleted: the directory was listed,
 * and each file looked at, in every turn.
 */
START_TEST(letters_that_cannot_go)
{
	struct world *w = world_new(40, dir, "");
	size_t at[WORLD_REQUESTS];

	blocked = sys_kernel;
	blocked.unlinkat = blocked_unlinkat;
	blocked.list = counted_list;
	w->conf->storage.dead_max = 1;
	world_send(w, 0, 1, true, false);
	world_turn(w);
	world_turn(w);
	ck_assert_uint_eq(world_requests(w, at), 1);
	world_set_dead(w, 0, 0);
	sys = &blocked;
	world_answer(w, at[0], 422, false, NULL);
	for (int i = 0; i < 50; i++)
		world_turn(w);
	ck_assert_uint_eq(world_status(w).dead_letters, 1);
	ck_assert_uint_ge(listed, 1);
	ck_assert_uint_le(listed, 2);
	/* It is tried again, and then it works. */
	sys = &sys_kernel;
	world_sleep(w, ENGINE_PRUNE_RETRY_MS + 1);
	world_turn(w);
	ck_assert_uint_eq(world_status(w).dead_letters, 0);
	world_free(w);
}
END_TEST

START_TEST(end_seals_at_once)
{
	struct world *w = world_new(1, dir, "");

	ck_assert_int_eq(world_send(w, 3, 2, false, false), EVENT_OK);
	world_turn(w);
	ck_assert_uint_eq(w->in_flight, 0);
	ck_assert_uint_eq(world_status(w).open_runs, 1);
	ck_assert_int_eq(world_send(w, 3, 1, true, true), EVENT_OK);
	ck_assert_uint_eq(w->acks, 0);
	world_turn(w);
	ck_assert_uint_eq(w->acks, 1);
	struct world_request *r = only_request(w);
	ck_assert_str_eq(r->reason, "end");
	ck_assert_uint_eq(r->part, 1);
	ck_assert(r->compressed);
	world_drain(w);
	world_check(w);
	world_free(w);
}
END_TEST

START_TEST(idle_age_and_size_seal)
{
	struct world *w = world_new(2, dir, "runs: {idle: 20s, max_age: 1min, "
	    "max_events: 5}");

	world_send(w, 0, 1, false, false);
	world_sleep(w, 19000);
	ck_assert_uint_eq(w->in_flight, 0);
	world_sleep(w, 1100);
	ck_assert_str_eq(only_request(w)->reason, "idle");
	world_drain(w);
	/* A run that never rests is cut by age; its parts count on. */
	for (int i = 0; i < 4; i++) {
		world_send(w, 0, 1, false, false);
		world_sleep(w, 15000);
	}
	ck_assert_str_eq(only_request(w)->reason, "age");
	ck_assert_uint_eq(only_request(w)->part, 2);
	world_drain(w);
	world_send(w, 1, 4, false, false);
	world_turn(w);
	ck_assert_uint_eq(w->in_flight, 0);
	world_send(w, 1, 8, false, false);
	world_turn(w);
	ck_assert_str_eq(only_request(w)->reason, "size");
	ck_assert_uint_eq(world_status(w).open_events, 2);
	world_drain(w);
	world_check(w);
	world_free(w);
}
END_TEST

/* An event of a run of its own; or, as a record, a change. */
static void
send_acked(struct world *w, unsigned n, bool record)
{
	ck_assert_int_eq(record ? world_send_change(w, n, true) :
	    world_send(w, n, 1, false, true), EVENT_OK);
}

/* The second time of changes and policies, which are in the spool alone. */
START_TEST(ack_follows_the_sync)
{
	struct world *w = world_new(3, dir, "");

	w->sync_auto = false;
	send_acked(w, 0, _i == 1);
	world_turn(w);
	ck_assert(w->sync_wanted);
	ck_assert_uint_eq(w->acks, 0);
	/* What comes while a round is under way waits for the next one. */
	send_acked(w, 1, _i == 1);
	world_turn(w);
	world_sync_end(w, 0);
	ck_assert_uint_eq(w->acks, 1);
	world_turn(w);
	ck_assert(w->sync_wanted);
	world_sync_end(w, 0);
	ck_assert_uint_eq(w->acks, 2);
	w->sync_auto = true;
	world_drain(w);
	world_check(w);
	world_free(w);
}
END_TEST

START_TEST(batch_waits_for_its_sync)
{
	struct world *w = world_new(4, dir, "");

	w->sync_auto = false;
	world_send(w, 0, 1, true, false);
	world_turn(w);
	ck_assert(w->sync_wanted);
	ck_assert_uint_eq(w->in_flight, 0);
	world_sync_end(w, 0);
	world_turn(w);
	ck_assert_uint_eq(w->in_flight, 1);
	w->sync_auto = true;
	world_drain(w);
	world_check(w);
	world_free(w);
}
END_TEST

START_TEST(never_waits_for_nothing)
{
	struct world *w = world_new(5, dir, "storage: {durability: never}");

	w->sync_auto = false;
	world_send(w, 0, 1, true, true);
	world_turn(w);
	ck_assert(!w->sync_wanted);
	ck_assert_uint_eq(w->acks, 1);
	ck_assert_uint_eq(w->in_flight, 1);
	world_drain(w);
	world_check(w);
	world_free(w);
}
END_TEST

START_TEST(a_second_without_a_sync)
{
	struct world *w = world_new(6, dir, "");

	w->sync_auto = false;
	world_send(w, 0, 1, false, false);
	world_turn(w);
	ck_assert(!w->sync_wanted);
	world_sleep(w, 900);
	ck_assert(!w->sync_wanted);
	world_sleep(w, 200);
	ck_assert(w->sync_wanted);
	world_sync_end(w, 0);
	/* Then nothing is left to do before the run is idle. */
	ck_assert_int_ge(mono_sub_ms(engine_deadline(w->engine), w->now.mono),
	    25000);
	world_free(w);
}
END_TEST

/* Time passes, and nothing else: turns come where they are due. */
static void
pass(struct world *w, int64_t ms)
{
	for (; ms > 0; ms--) {
		w->now.mono.us += 1000;
		w->now.wall.us += 1000;
		while (engine_deadline(w->engine).us <= w->now.mono.us)
			world_turn(w);
	}
}

/*
 * One event after the other, each in a turn of its own: such turns only write
 * them, and nothing that has a time waits for the traffic's end.
 */
START_TEST(events_alone_make_short_turns)
{
	struct world *w = world_new(6, dir, "runs: {idle: 100ms}");

	/* Of the runs that come no turn has known so far. */
	world_turn(w);
	int64_t began = w->now.mono.us;
	unsigned calm = 0;
	world_send(w, 0, 1, false, false);
	for (int i = 0; i < 60; i++) {
		world_send(w, 1, 1, false, false);
		world_turn(w);
		calm += w->engine->calm;
		ck_assert(!seglog_dirty(journal_log(w->engine->journal)));
		pass(w, 5);
		int64_t ms = (w->now.mono.us - began) / 1000;
		ck_assert_uint_eq(world_status(w).open_runs, ms < 100 ? 2 : 1);
	}
	ck_assert_uint_gt(calm, 40);
	world_drain(w);
	world_check(w);
	world_free(w);
}
END_TEST

/* An event alone, after a whole turn: is what follows a short one? */
static bool
is_calm(struct world *w)
{
	world_turn_once(w);
	w->woken = true;
	world_turn_once(w);
	world_send(w, 0, 1, false, false);
	world_turn_once(w);
	return w->engine->calm;
}

/* What asks for more than to be written has a whole turn at once. */
START_TEST(whole_turns_where_they_are_needed)
{
	struct world *w = world_new(6, dir, "");

	w->sync_auto = false;
	ck_assert(is_calm(w));
	world_send(w, 1, 1, true, false);
	world_turn_once(w);
	ck_assert(!w->engine->calm);
	ck_assert_uint_eq(world_status(w).open_runs, 1);
	ck_assert(w->sync_wanted);
	world_sync_end(w, 0);
	world_turn(w);

	ck_assert(is_calm(w));
	world_send_change(w, 1, false);
	world_turn_once(w);
	ck_assert(!w->engine->calm);
	ck_assert(!seglog_dirty(spool_log(w->engine->records)));
	w->sync_auto = true;
	world_drain(w);
	w->sync_auto = false;

	/* The limit of the journal is looked at. */
	ck_assert(is_calm(w));
	uint64_t bytes = w->engine->books.bytes + ENGINE_CALM_BYTES;
	for (unsigned r = 2; w->engine->books.bytes < bytes; r = 2 + r % 50) {
		ck_assert(w->engine->calm);
		world_send(w, r, 2, false, false);
		world_turn_once(w);
	}
	ck_assert(!w->engine->calm);
	ck_assert(runs_due(w->engine->runs) == NULL);

	ck_assert(is_calm(w));
	ck_assert(!w->sync_wanted);
	world_send(w, 0, 1, false, true);
	world_turn_once(w);
	ck_assert(w->sync_wanted);
	w->sync_auto = true;
	world_drain(w);
	world_check(w);
	world_free(w);
}
END_TEST

START_TEST(parts_go_one_by_one)
{
	struct world *w = world_new(7, dir, "runs: {max_events: 2}");

	world_send(w, 0, 10, false, false);
	world_send(w, 1, 2, false, false);
	world_turn(w);
	/* Two runs, so two requests, though six batches wait. */
	world_turn(w);
	ck_assert_uint_eq(w->in_flight, 1);	/* the first goes alone */
	size_t at[WORLD_REQUESTS];
	world_requests(w, at);
	world_answer(w, at[0], 202, true, NULL);
	world_turn(w);
	ck_assert_uint_eq(w->in_flight, 2);
	world_drain(w);
	ck_assert_uint_eq(w->run[0].last_part, 5);
	ck_assert_uint_le(w->max_in_flight, 2);
	world_check(w);
	world_free(w);
}
END_TEST

START_TEST(restart_splits_no_run)
{
	struct world *w = world_new(8, dir, "");

	for (unsigned r = 0; r < 20; r++)
		world_send(w, r, 3, false, true);
	world_turn(w);
	world_close(w);
	w->now.mono.us = 5;	/* another boot */
	w->now.wall.us += 20000000;
	world_open(w);
	ck_assert_uint_eq(world_status(w).open_runs, 20);
	ck_assert_uint_eq(world_status(w).open_events, 60);
	world_turn(w);
	ck_assert_uint_eq(w->in_flight, 0);
	world_check_books(w);
	for (unsigned r = 0; r < 20; r++)
		world_send(w, r, 1, true, true);
	world_drain(w);
	for (unsigned r = 0; r < 20; r++)
		ck_assert_uint_eq(w->run[r].last_part, 1);
	world_check(w);
	world_free(w);
}
END_TEST

START_TEST(parts_count_on_over_restarts)
{
	struct world *w = world_new(9, dir, "");

	for (uint32_t i = 1; i <= 5; i++) {
		world_send(w, 0, 2, true, false);
		world_drain(w);
		ck_assert_uint_eq(w->run[0].last_part, i);
		world_close(w);
		world_open(w);
	}
	world_check(w);
	world_free(w);
}
END_TEST

/*
 * A run that stays open while its earlier parts leave the journal began at
 * part 1 again after a restart: the marks that told its number were deleted.
 */
START_TEST(an_open_run_keeps_its_part)
{
	struct world *w = world_new(40, dir, "events: {max_message: 64KiB}\n"
	    "storage: {journal_max: 2MiB}\n"
	    "runs: {max_bytes: 256KiB, max_events: 50}");
	bool gone;

	world_send(w, 0, 50, false, true);
	world_turn(w);
	world_send(w, 0, 1, false, true);
	for (int i = 0; i < 400; i++) {
		size_t at[WORLD_REQUESTS];

		world_send(w, 1 + (unsigned)i % 20, 20, true, true);
		/* It stays alive, and its events stay young. */
		if (i % 49 == 0)
			world_send(w, 0, 49, false, true);
		world_turn(w);
		size_t n = world_requests(w, at);
		for (size_t k = 0; k < n; k++)
			world_answer(w, at[k], 202, true, NULL);
		world_sleep(w, 1100);
	}
	gone = seglog_at(journal_log(w->engine->journal), 0).segno > 2;
	ck_assert(gone);
	uint32_t had = w->run[0].last_part;
	ck_assert_uint_gt(had, 1);
	world_close(w);
	world_open(w);
	world_send(w, 0, 1, true, true);
	world_drain(w);
	ck_assert_uint_eq(w->run[0].last_part, had + 1);
	world_check(w);
	world_free(w);
}
END_TEST

START_TEST(an_end_survives)
{
	struct world *w = world_new(10, dir, "");

	w->sync_auto = false;
	world_send(w, 0, 2, true, false);
	/* Journaled, but the process dies before it seals. */
	struct why why;
	ck_assert_int_eq(journal_flush(w->engine->journal, &why), 0);
	world_kill(w);
	w->sync_auto = true;
	world_open(w);
	world_turn(w);
	world_turn(w);
	ck_assert_str_eq(only_request(w)->reason, "end");
	world_drain(w);
	world_check(w);
	world_free(w);
}
END_TEST

/* The spool has the batch, the journal not yet the mark. */
START_TEST(crash_between_batch_and_mark)
{
	struct world *w = world_new(11, dir, "");

	w->sync_auto = false;
	world_send(w, 0, 2, true, false);
	world_send(w, 1, 2, false, false);
	world_turn_once(w);
	world_kill(w);
	w->sync_auto = true;
	world_open(w);
	ck_assert_uint_eq(world_status(w).open_events, 2);
	ck_assert_uint_eq(world_status(w).waiting_batches, 1);
	world_check_books(w);
	/* And once more, when the mark was made up for but not synced. */
	w->sync_auto = false;
	world_kill(w);
	world_open(w);
	w->sync_auto = true;
	ck_assert_uint_eq(world_status(w).open_events, 2);
	world_send(w, 0, 1, true, true);
	world_drain(w);
	ck_assert_uint_eq(w->run[0].last_part, 2);
	world_check(w);
	world_free(w);
}
END_TEST

START_TEST(failed_sync_is_told_and_mended)
{
	struct world *w = world_new(12, dir, "");

	w->sync_auto = false;
	world_send(w, 0, 2, true, true);
	world_send(w, 1, 2, false, true);
	world_turn(w);
	ck_assert(w->sync_wanted);
	world_sync_end(w, -EIO);
	ck_assert_uint_eq(w->acks, 0);
	ck_assert_str_eq(world_status(w).storage, "degraded");
	ck_assert_int_eq(engine_room(w->engine), EVENT_DEGRADED);
	ck_assert_int_eq(world_send(w, 2, 1, false, true), EVENT_DEGRADED);
	world_check_books(w);
	w->sync_auto = true;
	world_sleep(w, 3000);
	ck_assert_str_eq(world_status(w).storage, "ok");
	ck_assert_int_eq(world_send(w, 2, 1, true, true), EVENT_OK);
	world_drain(w);
	world_check(w);
	world_free(w);
}
END_TEST

START_TEST(a_full_journal_refuses_and_recovers)
{
	struct world *w = world_new(13, dir, SMALL "storage: {journal_max: 1MiB, "
	    "spool_max: 1MiB}");
	enum event_code code;
	int sent = 0;

	/* The upstream is away: batches fill the spool, runs the journal. */
	while ((code = world_send(w, (unsigned)sent % 60, 20, false, true)) ==
	    EVENT_OK) {
		sent++;
		if (sent % 10 == 0)
			world_turn(w);
		ck_assert_int_lt(sent, 20000);
	}
	ck_assert_int_eq(code, EVENT_FULL);
	ck_assert_str_eq(world_status(w).storage, "full");
	ck_assert_uint_le(world_status(w).journal_bytes, 1150000);
	world_check_books(w);
	world_drain(w);
	ck_assert_str_eq(world_status(w).storage, "ok");
	ck_assert_int_eq(world_send(w, 0, 1, true, true), EVENT_OK);
	world_drain(w);
	world_check(w);
	world_free(w);
}
END_TEST

/*
 * A message that could never fit into the journal was answered as if there
 * were no room just now: a stream held it for ever, and made the storage
 * "full" for all others each time it was offered again.
 */
START_TEST(what_never_fits_is_refused_for_good)
{
	struct world *w = world_new(22, dir, SMALL
	    "storage: {journal_max: 1MiB}");
	static char m[300 * 1024];
	struct event_ack ack;
	struct why why;
	size_t n = sizeof m;

	/* {"runId":"r","x":<control characters: six times as long as JSON>} */
	memset(m, 1, n);
	memcpy(m, "\x82\xa5runId\xa1r\xa1x\xda", 12);
	m[1 + 6 + 2 + 2] = (char)0xdb;
	uint32_t len = (uint32_t)n - 16;
	for (int i = 0; i < 4; i++)
		m[12 + i] = (char)(len >> (24 - 8 * i));
	ck_assert_int_eq(engine_take(w->engine, BOOKS_STREAM, 1,
	    (const uint8_t *)m, n, w->now, &ack, &why), EVENT_TOO_LARGE);
	ck_assert_str_eq(world_status(w).storage, "ok");
	world_check_books(w);
	world_free(w);
}
END_TEST

/* So is one of many small events, of which each costs a record's head. */
START_TEST(many_small_events_count_with_their_heads)
{
	struct world *w = world_new(23, dir, SMALL
	    "storage: {journal_max: 1MiB}");
	enum { N = 12000 };
	static uint8_t m[24 + 5 * N];
	struct event_ack ack;
	struct why why;
	uint8_t *p = m + 19;

	/* {"runId":"r","events":[{"at":0}, ...]} */
	memcpy(m, "\x82\xa5runId\xa1r\xa6" "events\xdc", 17);
	m[17] = (uint8_t)(N >> 8);
	m[18] = (uint8_t)(N & 0xff);
	for (int i = 0; i < N; i++, p += 5)
		memcpy(p, "\x81\xa2" "at", 5);
	ck_assert_int_eq(engine_take(w->engine, BOOKS_STREAM, 1, m,
	    (size_t)(p - m), w->now, &ack, &why), EVENT_TOO_LARGE);
	ck_assert_str_eq(world_status(w).storage, "ok");
	world_check_books(w);
	world_free(w);
}
END_TEST

/* One run that stays open must not pin the journal. */
START_TEST(pressure_seals_the_oldest)
{
	struct world *w = world_new(14, dir, "events: {max_message: 64KiB}\n"
	    "storage: {journal_max: 1MiB}\n"
	    "runs: {max_bytes: 256KiB, idle: 1h, max_age: 10h, max_events: 100000}");
	size_t at[WORLD_REQUESTS];
	bool pressure = false;

	world_send(w, 0, 1, false, true);
	for (int i = 0; i < 1500; i++) {
		ck_assert_int_eq(world_send(w, 1 + (unsigned)i % 30, 20,
		    i % 300 > 270, true), EVENT_OK);
		world_turn(w);
		size_t n = world_requests(w, at);
		for (size_t k = 0; k < n; k++) {
			pressure |= strcmp(w->request[at[k]].reason,
			    "pressure") == 0;
			world_answer(w, at[k], 202, true, NULL);
		}
		ck_assert_uint_le(world_status(w).journal_bytes, 1150000);
	}
	ck_assert(pressure);
	world_drain(w);
	world_check(w);
	world_free(w);
}
END_TEST

START_TEST(drop_oldest_counts_what_it_drops)
{
	struct world *w = world_new(15, dir, SMALL "storage: {journal_max: 2MiB, "
	    "spool_max: 1MiB, when_full: drop_oldest}");

	w->gaps_allowed = true;
	for (int i = 0; i < 6000; i++) {
		ck_assert_int_eq(world_send(w, (unsigned)i % 60, 20, i % 3 ==
		    0, false), EVENT_OK);
		if (i % 10 == 0)
			world_turn(w);
	}
	world_turn(w);
	struct spool_totals t = spool_totals(w->engine->spool);
	ck_assert_uint_gt(t.dropped[SPOOL_DROP_OLDEST], 1000);
	world_check_books(w);
	/* What is left is the newest, and it is delivered. */
	world_drain(w);
	world_check(w);
	world_free(w);
}
END_TEST

/* Random load, answers, kills and restarts; the upstream dedupes by key. */
START_TEST(random_walk)
{
	struct world *w = world_new((uint64_t)_i + 100, dir,
	    "runs: {max_events: 40}");
	size_t at[WORLD_REQUESTS];

	w->gaps_allowed = true;
	w->again_allowed = false;
	for (int op = 0; op < 4000; op++) {
		unsigned r = (unsigned)rng_below(&w->rng, WORLD_RUNS);
		uint64_t dice = rng_below(&w->rng, 1000);

		if (dice < 500) {
			world_send(w, r, (unsigned)rng_below(&w->rng, 5),
			    rng_below(&w->rng, 4) == 0,
			    rng_below(&w->rng, 2) == 0);
		} else if (dice < 700) {
			world_turn(w);
		} else if (dice < 750) {
			world_sleep(w, (int64_t)rng_below(&w->rng, 40000));
		} else if (dice < 985) {
			static const int answers[] = { 202, 202, 202, 200, 500,
				503, 429, 0, 401, 408 };
			size_t n = world_requests(w, at);
			if (n == 0)
				continue;
			int a = answers[rng_below(&w->rng, 10)];
			/* Taken, but the answer was another, or none. */
			bool take = a / 100 == 2 || (a % 100 == 0 &&
			    rng_below(&w->rng, 2) == 0);
			world_answer(w, at[rng_below(&w->rng, n)], a, take,
			    a == 503 ? "2" : NULL);
		} else if (dice < 992) {
			world_close(w);
			world_open(w);
			world_check_books(w);
		} else {
			/* The kernel keeps what was written. */
			engine_flush(w->engine, w->now);
			world_kill(w);
			world_open(w);
			world_check_books(w);
		}
	}
	w->key_stamp++;
	world_drain(w);
	world_check(w);
	world_free(w);
}
END_TEST

START_TEST(second_engine_is_refused)
{
	struct world *w = world_new(16, dir, "");
	struct engine_env env = { .transport = &w->transport };
	struct engine *other;
	struct why why = { "" };

	ck_assert_int_lt(engine_open(w->conf, &env, w->now, &other, &why), 0);
	ck_assert_ptr_nonnull(strstr(why.text, "another lumnid"));
	world_free(w);
}
END_TEST

START_TEST(runs_max_open)
{
	struct world *w = world_new(17, dir, "runs: {max_open: 3}");

	for (unsigned r = 0; r < 3; r++)
		ck_assert_int_eq(world_send(w, r, 1, false, true), EVENT_OK);
	ck_assert_int_eq(world_send(w, 3, 1, false, true),
	    EVENT_TOO_MANY_RUNS);
	ck_assert_int_eq(world_send(w, 2, 1, true, true), EVENT_OK);
	world_drain(w);
	ck_assert_int_eq(world_send(w, 3, 1, true, true), EVENT_OK);
	world_drain(w);
	world_check(w);
	world_free(w);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("engine");
	TCase *tc = tcase_create("engine");

	log_set_sink(world_no_log, NULL);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, letters_that_cannot_go);
	tcase_add_test(tc, end_seals_at_once);
	tcase_add_test(tc, idle_age_and_size_seal);
	tcase_add_loop_test(tc, ack_follows_the_sync, 0, 2);
	tcase_add_test(tc, batch_waits_for_its_sync);
	tcase_add_test(tc, never_waits_for_nothing);
	tcase_add_test(tc, a_second_without_a_sync);
	tcase_add_test(tc, events_alone_make_short_turns);
	tcase_add_test(tc, whole_turns_where_they_are_needed);
	tcase_add_test(tc, parts_go_one_by_one);
	tcase_add_test(tc, restart_splits_no_run);
	tcase_add_test(tc, parts_count_on_over_restarts);
	tcase_add_test(tc, an_open_run_keeps_its_part);
	tcase_add_test(tc, an_end_survives);
	tcase_add_test(tc, crash_between_batch_and_mark);
	tcase_add_test(tc, failed_sync_is_told_and_mended);
	tcase_add_test(tc, a_full_journal_refuses_and_recovers);
	tcase_add_test(tc, what_never_fits_is_refused_for_good);
	tcase_add_test(tc, many_small_events_count_with_their_heads);
	tcase_add_test(tc, pressure_seals_the_oldest);
	tcase_add_test(tc, drop_oldest_counts_what_it_drops);
	tcase_add_test(tc, second_engine_is_refused);
	tcase_add_test(tc, runs_max_open);
	tcase_add_loop_test(tc, random_walk, 0, FEWER(10, 2));
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
