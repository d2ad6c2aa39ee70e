/*
 * test_sender: what follows from each kind of answer, through the engine with
 * a fake clock and network.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "core/engine_int.h"
#include "tests/unit/tmpdir.h"
#include "tests/unit/world.h"

static char	dir[256];
static size_t	at[WORLD_REQUESTS];

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

static struct engine_status
status(struct world *w)
{
	struct engine_status st;

	engine_status(w->engine, w->now, &st);
	return st;
}

/* n runs of one batch each wait. */
static void
load(struct world *w, unsigned n)
{
	for (unsigned r = 0; r < n; r++)
		world_send(w, r, 2, true, false);
	world_turn(w);
	world_turn(w);
}

START_TEST(ramps_up_one_by_one)
{
	struct world *w = world_new(1, dir, "");

	load(w, 20);
	ck_assert_uint_eq(world_requests(w, at), 1);
	world_answer(w, at[0], 202, true, NULL);
	world_turn(w);
	ck_assert_uint_eq(world_requests(w, at), 2);
	world_answer(w, at[0], 202, true, NULL);
	world_answer(w, at[1], 202, true, NULL);
	world_turn(w);
	ck_assert_uint_eq(world_requests(w, at), 4);
	world_drain(w);
	ck_assert_uint_eq(w->max_in_flight, 4);
	world_check(w);
	world_free(w);
}
END_TEST

START_TEST(one_probe_while_down)
{
	struct world *w = world_new(2, dir, "");
	uint64_t sends;

	load(w, 20);
	for (int i = 0; i < 3; i++) {
		size_t n = world_requests(w, at);
		for (size_t k = 0; k < n; k++)
			world_answer(w, at[k], 202, true, NULL);
		world_turn(w);
	}
	ck_assert_uint_eq(world_requests(w, at), 4);
	/* Four failures of one outage count once. */
	for (int k = 0; k < 4; k++)
		world_answer(w, at[k], 0, false, NULL);
	ck_assert_str_eq(status(w).upstream, "down");
	ck_assert_int_le(status(w).retry_in_ms, 1000);
	sends = w->sends;
	for (int probes = 1; probes <= 12; probes++) {
		world_sleep(w, status(w).retry_in_ms);
		size_t n = world_requests(w, at);
		ck_assert_uint_eq(n, 1);
		ck_assert_uint_eq(w->sends, sends + (uint64_t)probes);
		world_answer(w, at[0], 503, false, NULL);
	}
	/* An hour of outage costs few requests. */
	sends = w->sends;
	for (int i = 0; i < 3600; i++) {
		world_sleep(w, 1000);
		if (world_requests(w, at) > 0)
			world_answer(w, at[0], 502, false, NULL);
	}
	ck_assert_uint_lt(w->sends - sends, 60);
	ck_assert_uint_gt(w->sends - sends, 8);
	world_drain(w);
	ck_assert_str_eq(status(w).upstream, "ok");
	world_check(w);
	world_free(w);
}
END_TEST

START_TEST(retry_after_is_obeyed)
{
	struct world *w = world_new(3, dir, "");

	load(w, 3);
	world_requests(w, at);
	world_answer(w, at[0], 429, false, "120");
	world_sleep(w, 119000);
	ck_assert_uint_eq(world_requests(w, at), 0);
	world_sleep(w, 32000);
	ck_assert_uint_eq(world_requests(w, at), 1);
	world_drain(w);
	world_check(w);
	world_free(w);
}
END_TEST

START_TEST(a_clock_that_jumps_does_no_harm)
{
	struct world *w = world_new(4, dir, "");

	load(w, 3);
	world_requests(w, at);
	world_answer(w, at[0], 503, false, "Mon, 23 Nov 2026 12:01:00 GMT");
	w->now.wall.us += 86400000000ll * 365;
	world_sleep(w, 59000);
	ck_assert_uint_eq(world_requests(w, at), 0);
	world_sleep(w, 20000);
	ck_assert_uint_eq(world_requests(w, at), 1);
	w->now.wall.us -= 86400000000ll * 3650;
	world_drain(w);
	world_check(w);
	world_free(w);
}
END_TEST

START_TEST(hold_says_why_and_probes_slowly)
{
	static const int holds[] = { 401, 403, 404, 405, 301, 307 };
	struct world *w = world_new(5, dir, "");

	load(w, 5);
	world_requests(w, at);
	world_answer(w, at[0], holds[_i], false, NULL);
	ck_assert_str_eq(status(w).upstream, "hold");
	ck_assert_str_ne(status(w).upstream_why, "");
	uint64_t sends = w->sends;
	for (int i = 0; i < 600; i++) {
		world_sleep(w, 1000);
		size_t n = world_requests(w, at);
		ck_assert_uint_le(n, 1);
		if (n > 0)
			world_answer(w, at[0], holds[_i], false, NULL);
	}
	ck_assert_uint_ge(w->sends - sends, 3);
	ck_assert_uint_le(w->sends - sends, 40);
	/* A new key file is tried within seconds. */
	w->key_stamp = 99;
	sends = w->sends;
	world_sleep(w, 2100);
	ck_assert_uint_eq(w->sends, sends + 1);
	world_drain(w);
	ck_assert_str_eq(status(w).upstream, "ok");
	world_check(w);
	world_free(w);
}
END_TEST

START_TEST(bad_certificate_and_no_key_hold)
{
	static const enum transport_result results[] = {
		TRANSPORT_TLS_VERIFY, TRANSPORT_NO_KEY,
	};
	struct world *w = world_new(6, dir, "");
	struct transport_answer a = { .result = results[_i] };

	load(w, 2);
	world_requests(w, at);
	(void)snprintf(a.detail, sizeof a.detail, "say what is wrong");
	world_answer_full(w, at[0], false, &a);
	ck_assert_str_eq(status(w).upstream, "hold");
	ck_assert_str_eq(status(w).upstream_why, "say what is wrong");
	w->key_stamp = 5;
	world_sleep(w, 2100);
	ck_assert_uint_eq(world_requests(w, at), 1);
	world_drain(w);
	world_check(w);
	world_free(w);
}
END_TEST

/* A batch that makes the upstream fail must not hold up the others. */
START_TEST(poison_waits_alone)
{
	struct world *w = world_new(7, dir, "");
	char poison[128];

	load(w, 10);
	world_requests(w, at);
	(void)snprintf(poison, sizeof poison, "%s", w->request[at[0]].id);
	for (int round = 0; round < 400; round++) {
		size_t n = world_requests(w, at);
		for (size_t k = 0; k < n; k++) {
			bool bad = strcmp(w->request[at[k]].id, poison) == 0;
			world_answer(w, at[k], bad ? 500 : 202, !bad, NULL);
		}
		world_sleep(w, 100);
	}
	ck_assert_uint_eq(status(w).waiting_batches, 1);
	/* 40 s in which the others went on. */
	for (unsigned r = 10; r < 20; r++)
		world_send(w, r, 1, true, false);
	for (int round = 0; round < 30; round++) {
		size_t n = world_requests(w, at);
		for (size_t k = 0; k < n; k++) {
			bool bad = strcmp(w->request[at[k]].id, poison) == 0;
			world_answer(w, at[k], bad ? 500 : 202, !bad, NULL);
		}
		world_sleep(w, 100);
	}
	ck_assert_uint_eq(status(w).waiting_batches, 1);
	world_drain(w);
	world_check(w);
	world_free(w);
}
END_TEST

START_TEST(retries_are_identical)
{
	struct world *w = world_new(8, dir, "");
	char id[128];
	uint8_t *body;
	size_t len;

	load(w, 1);
	world_requests(w, at);
	(void)snprintf(id, sizeof id, "%s", w->request[at[0]].id);
	len = w->request[at[0]].len;
	body = malloc(len);
	memcpy(body, w->request[at[0]].body, len);
	for (int i = 0; i < 20; i++) {
		/* It was taken, but the answer was lost. */
		world_answer(w, at[0], 0, true, NULL);
		if (i % 5 == 4) {
			world_close(w);
			world_open(w);
		}
		for (int s = 0; s < 700 && world_requests(w, at) == 0; s++)
			world_sleep(w, 1000);
		ck_assert_uint_eq(world_requests(w, at), 1);
		ck_assert_str_eq(w->request[at[0]].id, id);
		ck_assert_uint_eq(w->request[at[0]].len, len);
		ck_assert_mem_eq(w->request[at[0]].body, body, len);
	}
	ck_assert_uint_eq(w->duplicates, 19);
	world_drain(w);
	world_check(w);
	free(body);
	world_free(w);
}
END_TEST

START_TEST(no_zstd_falls_back_and_comes_back)
{
	struct world *w = world_new(9, dir, "");

	load(w, 2);
	world_requests(w, at);
	ck_assert(w->request[at[0]].compressed);
	world_answer(w, at[0], 415, false, NULL);
	world_turn(w);
	world_requests(w, at);
	ck_assert(!w->request[at[0]].compressed);
	ck_assert_mem_eq(w->request[at[0]].body, "{\"runId\":\"run_0\"", 16);
	world_drain(w);
	world_sleep(w, 3600 * 1000);
	world_send(w, 3, 1, true, false);
	world_turn(w);
	world_turn(w);
	ck_assert_uint_eq(world_requests(w, at), 1);
	ck_assert(w->request[at[0]].compressed);
	world_drain(w);
	world_check(w);
	world_free(w);
}
END_TEST

START_TEST(stale_connections_are_no_attempts)
{
	struct world *w = world_new(10, dir, "");
	struct transport_answer stale = { .result = TRANSPORT_STALE };

	load(w, 1);
	for (int i = 0; i < 3; i++) {
		ck_assert_uint_eq(world_requests(w, at), 1);
		world_answer_full(w, at[0], false, &stale);
		ck_assert_str_ne(status(w).upstream, "down");
		world_turn(w);
	}
	ck_assert_uint_eq(world_requests(w, at), 1);
	world_drain(w);
	world_check(w);
	world_free(w);
}
END_TEST

START_TEST(a_large_backlog_is_read_as_it_is_sent)
{
	struct world *w = world_new(11, dir, "runs: {max_events: 1}");

	/* More batches than the window has slots, many of one run. */
	for (int i = 0; i < 500; i++)
		for (unsigned r = 0; r < 8; r++)
			world_send(w, r, 1, false, false);
	world_turn(w);
	for (int i = 0; i < 20; i++)
		world_turn(w);
	ck_assert_uint_eq(status(w).waiting_batches, 4000);
	world_close(w);
	world_open(w);
	ck_assert_uint_eq(status(w).waiting_batches, 4000);
	world_drain(w);
	ck_assert_uint_eq(w->run[7].last_part, 500);
	world_check(w);
	world_free(w);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("sender");
	TCase *tc = tcase_create("sender");

	log_set_sink(world_no_log, NULL);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, ramps_up_one_by_one);
	tcase_add_test(tc, one_probe_while_down);
	tcase_add_test(tc, retry_after_is_obeyed);
	tcase_add_test(tc, a_clock_that_jumps_does_no_harm);
	tcase_add_loop_test(tc, hold_says_why_and_probes_slowly, 0, 6);
	tcase_add_loop_test(tc, bad_certificate_and_no_key_hold, 0, 2);
	tcase_add_test(tc, poison_waits_alone);
	tcase_add_test(tc, retries_are_identical);
	tcase_add_test(tc, no_zstd_falls_back_and_comes_back);
	tcase_add_test(tc, stale_connections_are_no_attempts);
	tcase_add_test(tc, a_large_backlog_is_read_as_it_is_sent);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
