/*
 * test_crash_engine: the whole road on a disk that loses power, fails and
 * fills up: at every call of a scripted load in turn, then at random. After
 * each crash the engine opens again, delivers all, and then every event that
 * was acknowledged has arrived exactly once, in order, every batch under one id
 * with the same bytes, and the books balance.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "core/engine_int.h"
#include "tests/unit/crashfs.h"
#include "tests/unit/fewer.h"
#include "tests/unit/world.h"

#define CONF	"runs: {max_events: 6, max_bytes: 64KiB}\n"		\
		"events: {max_message: 16KiB}\n"			\
		"storage: {journal_max: 1MiB, spool_max: 1MiB}\n"

static size_t	at[WORLD_REQUESTS];

/* Answer what is under way, as an upstream does on a bad day. */
static void
answer_some(struct world *w)
{
	static const int answers[] = { 202, 202, 202, 202, 202, 503, 0, 500 };
	size_t n = world_requests(w, at);

	for (size_t k = 0; k < n && !crashfs_dead(); k++) {
		int a = answers[rng_below(&w->rng, NELEM(answers))];
		/* Taken, though the answer is another or lost. */
		bool take = a == 202 || (a == 0 && rng_below(&w->rng, 2) == 0);
		world_answer(w, at[k], a, take, a == 503 ? "0" : NULL);
	}
}

static void
load_step(struct world *w)
{
	uint64_t dice = rng_below(&w->rng, 100);
	unsigned r = (unsigned)rng_below(&w->rng, 8);

	if (dice < 60)
		(void)world_send(w, r, 1 + (unsigned)rng_below(&w->rng, 4),
		    rng_below(&w->rng, 4) == 0, rng_below(&w->rng, 3) > 0);
	else if (dice < 85)
		world_turn_once(w);
	else if (dice < 90)
		w->now.mono.us += 400000, w->now.wall.us += 400000;
	else
		answer_some(w);
	/* The helper thread takes its time. */
	if (w->sync_wanted && rng_below(&w->rng, 2) == 0)
		world_sync_end(w, 0);
}

static struct world *
begin_with(uint64_t seed, const char *conf)
{
	crashfs_start(seed);
	crashfs_mkdir("/d");
	struct world *w = world_new(seed, "/d/data", conf);
	w->sync_auto = false;
	w->sync_real = true;
	w->gaps_allowed = true;
	return w;
}

static struct world *
begin(uint64_t seed)
{
	return begin_with(seed, CONF);
}

/* Deliver all and check; then once more from what that has left. */
static void
end(struct world *w, uint64_t n)
{
	w->sync_auto = true;
	world_check_books(w);
	world_drain(w);
	world_check(w);
	world_close(w);
	world_open(w);
	world_check_books(w);
	struct engine_status st;
	engine_status(w->engine, w->now, &st);
	ck_assert_uint_eq(st.open_events, 0);
	ck_assert_uint_eq(st.waiting_events, 0);
	/* And it goes on. */
	ck_assert_int_eq(world_send(w, 60, 2, true, true), EVENT_OK);
	world_drain(w);
	world_check(w);
	world_free(w);
	ck_assert_uint_eq(crashfs_fds(), 0);
	crashfs_stop();
}

/* The power comes back, and lumnid with it. */
static void
reboot(struct world *w)
{
	crashfs_reboot();
	crashfs_plan(0, CRASHFS_NONE, 0);
	world_open(w);
}

static void
run_power(uint64_t seed, uint64_t n, int steps)
{
	struct world *w = begin(seed);

	if (getenv("LUMNID_CRASH_VERBOSE") != NULL)
		(void)fprintf(stderr, "seed %llu call %llu\n",
		    (unsigned long long)seed, (unsigned long long)n);
	crashfs_plan(n, CRASHFS_POWER, 1);
	for (int i = 0; i < steps && !crashfs_dead(); i++)
		load_step(w);
	world_kill(w);
	reboot(w);
	end(w, n);
}

/* How many calls does the load make when nothing happens? */
static uint64_t
count_calls(uint64_t seed, int steps)
{
	struct world *w = begin(seed);

	crashfs_plan(0, CRASHFS_NONE, 0);
	for (int i = 0; i < steps; i++)
		load_step(w);
	uint64_t n = crashfs_calls();
	end(w, 0);
	return n;
}

START_TEST(power_at_every_call)
{
	enum { STEPS = 120 };
	uint64_t calls = count_calls(7, STEPS);

	ck_assert_uint_gt(calls, 30);
	for (uint64_t n = 1; n <= calls; n++)
		run_power(7, n, STEPS);
}
END_TEST

START_TEST(power_at_random)
{
	const char *more = getenv("LUMNID_CRASH_ROUNDS");
	int rounds = more != NULL ? atoi(more) : FEWER(60, 4);
	struct rng rng;

	rng_seed(&rng, 1000 + (uint64_t)_i);
	for (int i = 0; i < rounds; i++)
		run_power(rng_u64(&rng), 1 + rng_below(&rng, 400), 600);
}
END_TEST

/* Power is lost again and again, also while recovering. */
START_TEST(power_again_and_again)
{
	for (uint64_t seed = 1; seed <= FEWER(12, 2); seed++) {
		struct world *w = begin(seed * 31 + (uint64_t)_i);

		for (int crash = 0; crash < 8; crash++) {
			crashfs_plan(1 + rng_below(&w->rng, 60),
			    CRASHFS_POWER, 1);
			for (int i = 0; i < 100 && !crashfs_dead(); i++)
				load_step(w);
			world_kill(w);
			reboot(w);
			world_check_books(w);
		}
		end(w, seed);
	}
}
END_TEST

static const struct {
	enum crashfs_fault	fault;
	uint64_t		times;
} faults[] = {
	{ CRASHFS_EIO, 1 }, { CRASHFS_EIO, 5 }, { CRASHFS_ENOSPC, 1 },
	{ CRASHFS_ENOSPC, 20 }, { CRASHFS_EINTR, 3 }, { CRASHFS_SHORT, 3 },
};

/* Each call in turn fails; the disk is well again afterwards. */
START_TEST(faults_at_every_call)
{
	enum { STEPS = 120 };
	uint64_t calls = count_calls(11, STEPS);

	for (uint64_t n = 1 + (uint64_t)_i % FEWER(1, 4); n <= calls;
	    n += FEWER(1, 4)) {
		struct world *w = begin(11);

		crashfs_plan(n, faults[_i].fault, faults[_i].times);
		for (int i = 0; i < STEPS; i++)
			load_step(w);
		crashfs_plan(0, CRASHFS_NONE, 0);
		if (w->sync_wanted)
			world_sync_end(w, 0);
		w->sync_auto = true;
		world_sleep(w, 5000);
		ck_assert_int_eq(engine_room(w->engine), EVENT_OK);
		end(w, n);
	}
}
END_TEST

/* The disk fills up; nothing is lost, and with room it goes on. */
START_TEST(full_disk)
{
	struct world *w = begin(5);
	int refused = 0;

	crashfs_limit(crashfs_used() + 300000);
	for (int i = 0; i < 3000; i++) {
		enum event_code code = world_send(w, (unsigned)i % 8, 3,
		    i % 5 == 0, true);
		refused += code == EVENT_FULL;
		world_turn_once(w);
		if (w->sync_wanted)
			world_sync_end(w, 0);
	}
	ck_assert_int_gt(refused, 100);
	world_check_books(w);
	crashfs_limit(0);
	w->sync_auto = true;
	world_sleep(w, 3000);
	ck_assert_int_eq(world_send(w, 1, 1, true, true), EVENT_OK);
	end(w, 0);
}
END_TEST

/* LUMNID_CRASH_ONE=SEED:CALL runs just that case, as a failure names it. */
START_TEST(one_case)
{
	unsigned long long seed, n;

	ck_assert_int_eq(sscanf(getenv("LUMNID_CRASH_ONE"), "%llu:%llu", &seed,
	    &n), 2);
	run_power(seed, n, 600);
}
END_TEST

/*
 * The process is killed, which leaves what it had not synced in the page
 * cache; the next one finds it all, and then the power goes, at every call of
 * its start and of what follows.
 */
START_TEST(power_after_kill)
{
	uint64_t seed = 500 + (uint64_t)_i, n = 1;
	bool lost = true;

	for (; lost; n++) {
		struct world *w = begin(seed);

		crashfs_plan(0, CRASHFS_NONE, 0);
		for (int i = 0; i < 40 + 7 * _i; i++)
			load_step(w);
		world_kill(w);
		crashfs_kill();
		crashfs_plan(n, CRASHFS_POWER, 1);
		if (world_try_open(w, NULL) == 0) {
			for (int i = 0; i < 30 && !crashfs_dead(); i++)
				load_step(w);
			lost = crashfs_dead();
			world_kill(w);
		}
		reboot(w);
		end(w, n);
	}
	ck_assert_uint_gt(n, 5);
}
END_TEST

/* All that is in the first segment of the journal is sealed, and it goes. */
static void
seal_and_trim(struct world *w)
{
	for (unsigned r = 0; r < 4 && !crashfs_dead(); r++) {
		(void)world_send(w, r, 1, true, false);
		for (int i = 0; i < 3 && !crashfs_dead(); i++) {
			world_turn_once(w);
			if (w->sync_wanted)
				world_sync_end(w, 0);
			w->now.mono.us += 5000, w->now.wall.us += 5000;
		}
	}
}

/*
 * The power goes while a segment of the journal is deleted whose events have
 * just gone to the spool: their seal marks may not be on the disk, and then
 * nothing may be counted a second time.
 */
START_TEST(power_while_trimmed)
{
	uint64_t seed = 900 + (uint64_t)_i, n = 1;
	bool lost = true;

	for (; lost; n++) {
		struct world *w = begin_with(seed, "runs: {max_events: 1000, "
		    "max_bytes: 512KiB}\nstorage: {journal_max: 1MiB, spool_max: 1MiB}\n"
		    "events: {max_message: 16KiB}\n");

		w->sync_auto = true;
		for (unsigned i = 0; i < 5000 && seglog_count(journal_log(
		    w->engine->journal)) < 2; i++) {
			ck_assert_int_eq(world_send(w, i % 4, 8, false, true),
			    EVENT_OK);
			world_turn(w);
		}
		ck_assert_uint_eq(seglog_count(journal_log(
		    w->engine->journal)), 2);
		world_sleep(w, 1500);
		w->sync_auto = false;
		crashfs_plan(n, CRASHFS_POWER, 1);
		seal_and_trim(w);
		lost = crashfs_dead();
		world_kill(w);
		reboot(w);
		/* Or what was counted twice would be missed, and given up. */
		ck_assert_uint_eq(w->engine->books.total[
		    BOOKS_DROPPED_CORRUPT], 0);
		end(w, n);
	}
	ck_assert_uint_gt(n, 10);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("crash_engine");
	TCase *tc = tcase_create("engine");

	log_set_sink(world_no_log, NULL);
	tcase_set_timeout(tc, 600);
	if (getenv("LUMNID_CRASH_ONE") != NULL) {
		log_set_sink(NULL, NULL);
		tcase_add_test(tc, one_case);
		goto run;
	}
	tcase_add_test(tc, power_at_every_call);
	tcase_add_loop_test(tc, power_at_random, 0, 4);
	tcase_add_loop_test(tc, power_again_and_again, 0, 4);
	tcase_add_loop_test(tc, faults_at_every_call, 0, 6);
	tcase_add_test(tc, full_disk);
	tcase_add_loop_test(tc, power_while_trimmed, 0, FEWER(8, 2));
	tcase_add_loop_test(tc, power_after_kill, 0, FEWER(8, 2));
run:
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
