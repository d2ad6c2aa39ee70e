/*
 * test_sender: what follows from each kind of answer, through the engine with
 * a fake clock and network.
 */
#include <check.h>
#include <dirent.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "codec/batch.h"
#include "core/engine_int.h"
#include "core/sender_int.h"
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

/* Nothing waits to be sent or buried. */
static bool
status_settled(struct world *w)
{
	return !dead_unsynced(w->engine->dead) &&
	    world_status(w).waiting_batches == 0;
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

/*
 * Progress, for the watchdog: a request that is never ended stops it, after
 * its time; an upstream that is away for days does not, nor one that holds.
 */
START_TEST(overdue_is_what_was_left_undone)
{
	struct world *w = world_new(2, dir, "");

	w->conf->upstream.timeout_ms = 200000;
	ck_assert_int_eq(engine_sender_overdue_ms(w->engine, w->now), 0);
	load(w, 3);
	ck_assert_uint_eq(world_requests(w, at), 1);
	world_sleep(w, 199000);
	ck_assert_int_eq(engine_sender_overdue_ms(w->engine, w->now), 0);
	world_sleep(w, 61000);
	ck_assert_int_ge(engine_sender_overdue_ms(w->engine, w->now), 59000);
	ck_assert_int_le(engine_sender_overdue_ms(w->engine, w->now), 61000);
	world_answer(w, at[0], 503, false, NULL);
	ck_assert_int_eq(engine_sender_overdue_ms(w->engine, w->now), 0);
	for (int i = 0; i < 200; i++) {
		world_sleep(w, 60000);
		/* Asked between a deadline and its turn, too. */
		w->now.mono = mono_add_ms(w->now.mono, 100000);
		ck_assert_int_le(engine_sender_overdue_ms(w->engine, w->now),
		    100000);
		world_turn(w);
		if (world_requests(w, at) == 0) {
			ck_assert_int_eq(engine_sender_overdue_ms(w->engine,
			    w->now), 0);
			continue;
		}
		world_answer(w, at[0], i < 100 ? 503 : 401, false, NULL);
		ck_assert_int_eq(engine_sender_overdue_ms(w->engine, w->now),
		    0);
	}
	world_drain(w);
	world_check(w);
	ck_assert_int_eq(engine_sender_overdue_ms(w->engine, w->now), 0);
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
	ck_assert_str_eq(world_status(w).upstream, "down");
	ck_assert_int_le(world_status(w).retry_in_ms, 1000);
	sends = w->sends;
	for (int probes = 1; probes <= 12; probes++) {
		world_sleep(w, world_status(w).retry_in_ms);
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
	ck_assert_str_eq(world_status(w).upstream, "ok");
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
	ck_assert_str_eq(world_status(w).upstream, "hold");
	ck_assert_str_ne(world_status(w).upstream_why, "");
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
	ck_assert_str_eq(world_status(w).upstream, "ok");
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
	ck_assert_str_eq(world_status(w).upstream, "hold");
	ck_assert_str_eq(world_status(w).upstream_why, "say what is wrong");
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
	ck_assert_uint_eq(world_status(w).waiting_batches, 1);
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
	ck_assert_uint_eq(world_status(w).waiting_batches, 1);
	world_drain(w);
	world_check(w);
	world_free(w);
}
END_TEST

/*
 * A batch that had failed was due again while the only request allowed was
 * under way: its time stood as the engine's deadline, in the past, and the
 * loop turned without rest until the answer came.
 */
START_TEST(what_is_due_behind_a_slow_request_waits)
{
	struct world *w = world_new(40, dir, "");

	load(w, 2);
	world_requests(w, at);
	world_answer(w, at[0], 500, false, NULL);
	world_turn(w);
	ck_assert_uint_eq(world_requests(w, at), 1);
	world_sleep(w, 60000);
	ck_assert_uint_eq(world_requests(w, at), 1);
	world_drain(w);
	world_check(w);
	world_free(w);
}
END_TEST

/* The same for the probe of a held route, while the other's is under way. */
START_TEST(a_probe_behind_a_slow_probe_waits)
{
	struct world *w = world_new(41, dir, "");

	world_send_change(w, 0, false);
	load(w, 2);
	world_requests(w, at);
	world_answer(w, at[0], 401, false, NULL);
	world_sleep(w, 120000);
	ck_assert_uint_eq(world_requests(w, at), 1);
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
		ck_assert_str_ne(world_status(w).upstream, "down");
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
	ck_assert_uint_eq(world_status(w).waiting_batches, 4000);
	world_close(w);
	world_open(w);
	ck_assert_uint_eq(world_status(w).waiting_batches, 4000);
	world_drain(w);
	ck_assert_uint_eq(w->run[7].last_part, 500);
	world_check(w);
	world_free(w);
}
END_TEST

/* --- pieces ----------------------------------------------------------------- */

static struct spool_totals
totals(struct world *w)
{
	return spool_totals(w->engine->spool);
}

/* How many letters lie in dead/, and is this text in one of them? */
static size_t
letters(const char *text, bool *ret_found)
{
	char path[512];
	struct dirent *d;
	size_t n = 0;

	*ret_found = false;
	(void)snprintf(path, sizeof path, "%s/dead", dir);
	DIR *dd = opendir(path);
	ck_assert_ptr_nonnull(dd);
	while ((d = readdir(dd)) != NULL) {
		char file[1024], body[16384];

		if (d->d_name[0] == '.')
			continue;
		n++;
		(void)snprintf(file, sizeof file, "%s/%s", path, d->d_name);
		FILE *f = fopen(file, "r");
		ck_assert_ptr_nonnull(f);
		size_t len = fread(body, 1, sizeof body - 1, f);
		(void)fclose(f);
		body[len] = '\0';
		if (strstr(body, text) != NULL)
			*ret_found = true;
		struct json_object *o = json_tokener_parse(body);
		ck_assert_msg(o != NULL, "a letter is no JSON: %s", body);
		json_object_put(o);
	}
	(void)closedir(dd);
	return n;
}

/*
 * Answer all until nothing is under way: what carries an event of run 0 that
 * `bad` names gets the status. Returns the number of answers.
 */
static size_t
answer_all(struct world *w, int status, bool (*bad)(size_t))
{
	size_t answers = 0, n;

	for (int round = 0; round < 5000; round++) {
		world_turn(w);
		n = world_requests(w, at);
		if (n == 0 && status_settled(w))
			return answers;
		for (size_t k = 0; k < n; k++) {
			bool hit = false;
			for (size_t e = 0; e < w->run[0].n && !hit; e++)
				hit = bad(e) && world_carries(w, at[k], 0, e);
			struct transport_answer a = {
				.result = TRANSPORT_ANSWERED,
				.status = hit ? status : 202,
				.body = hit ? "{\"error\":\"bad step\"}" : "",
				.body_len = hit ? 20 : 0,
			};
			world_answer_full(w, at[k], !hit, &a);
			answers++;
		}
	}
	ck_abort_msg("it never ends");
}

static bool
bad_some(size_t e)
{
	return e == 5 || e == 17 || e == 18;
}

static bool
bad_none(size_t e)
{
	return false;
}

START_TEST(one_refused_event_goes_to_dead)
{
	static const int refusals[] = { 400, 409, 410, 422, 418 };
	struct world *w = world_new(20, dir, "");
	bool found;

	world_send(w, 0, 40, true, true);
	world_send(w, 1, 3, true, true);
	world_turn(w);
	size_t answers = answer_all(w, refusals[_i], bad_some);
	ck_assert_uint_lt(answers, 50);
	ck_assert_uint_eq(totals(w).dead, 3);
	ck_assert_uint_eq(totals(w).delivered, 40);
	ck_assert_uint_eq(letters("\"n\":17", &found), 3);
	ck_assert(found);
	(void)letters("bad step", &found);
	ck_assert(found);
	for (size_t e = 0; e < 40; e++)
		if (bad_some(e))
			world_set_dead(w, 0, e);
	world_drain(w);
	world_check(w);
	world_free(w);
}
END_TEST

/* A crash at any point of a bisection sends nothing again that was taken. */
START_TEST(bisection_survives_restarts)
{
	struct world *w = world_new(21 + (uint64_t)_i, dir, "");
	size_t n;

	world_send(w, 0, 40, true, true);
	/* A later part waits behind the pieces. */
	world_send(w, 0, 2, true, true);
	world_turn(w);
	for (int step = 0; step < 2000; step++) {
		world_turn(w);
		n = world_requests(w, at);
		if (n == 0 && status_settled(w))
			break;
		for (size_t k = 0; k < n; k++) {
			bool hit = false;
			for (size_t e = 0; e < 40; e++)
				hit |= bad_some(e) &&
				    world_carries(w, at[k], 0, e);
			world_answer(w, at[k], hit ? 422 : 202, !hit, NULL);
		}
		if ((int)rng_below(&w->rng, 12) == 0) {
			/* The kernel keeps what was written. */
			engine_flush(w->engine, w->now);
			world_kill(w);
			world_open(w);
		}
	}
	ck_assert_uint_eq(w->duplicates, 0);
	ck_assert_uint_eq(totals(w).delivered + totals(w).dead, 42);
	ck_assert_uint_eq(totals(w).dead, 3);
	for (size_t e = 0; e < 40; e++)
		if (bad_some(e))
			world_set_dead(w, 0, e);
	world_drain(w);
	ck_assert_uint_eq(w->run[0].last_part, 2);
	world_check(w);
	world_free(w);
}
END_TEST

/*
 * The process ended while the upstream was at work on a piece, and took it.
 * The next process asked for all of the rest at once, under an id that the
 * upstream had never seen, and the piece's events came twice.
 */
START_TEST(a_piece_in_doubt_is_met_again)
{
	struct world *w = world_new(60 + (uint64_t)_i, dir, "");
	size_t n;

	world_send(w, 0, 40, true, true);
	world_send(w, 0, 2, true, true);
	world_turn(w);
	for (int step = 0; step < 2000; step++) {
		world_turn(w);
		n = world_requests(w, at);
		if (n == 0 && status_settled(w))
			break;
		ck_assert_uint_le(n, 1);
		if (n == 0) {
			world_sleep(w, 1000);
			continue;
		}
		bool hit = false;
		for (size_t e = 0; e < 40; e++)
			hit |= bad_some(e) && world_carries(w, at[0], 0, e);
		if (rng_below(&w->rng, 3) > 0) {
			world_answer(w, at[0], hit ? 422 : 202, !hit, NULL);
			continue;
		}
		if (!hit)
			world_take_unanswered(w, at[0]);
		engine_flush(w->engine, w->now);
		world_kill(w);
		world_open(w);
	}
	if (_i == 0)
		ck_assert_uint_gt(w->duplicates, 0);
	ck_assert_uint_eq(totals(w).delivered, 39);
	ck_assert_uint_eq(totals(w).dead, 3);
	for (size_t e = 0; e < 40; e++)
		if (bad_some(e))
			world_set_dead(w, 0, e);
	world_drain(w);
	world_check(w);
	world_free(w);
}
END_TEST

/*
 * A request without an answer, then 409 while the upstream is still at work
 * on it: it was cut in two, and its events came twice, under other keys.
 */
START_TEST(a_conflict_with_oneself_waits)
{
	struct world *w = world_new(50, dir, "");
	size_t n;

	world_send(w, 0, 8, true, true);
	world_turn(w);
	world_turn(w);
	ck_assert_uint_eq(world_requests(w, at), 1);
	world_answer(w, at[0], 0, true, NULL);
	for (int busy = 0; busy < 5; busy++) {
		world_send(w, 1, 1, true, true);
		for (int i = 0; i < 400; i++) {
			world_sleep(w, 1000);
			n = world_requests(w, at);
			if (n > 0 && world_carries(w, at[0], 0, 0))
				break;
			/* The others go on meanwhile. */
			if (n > 0)
				world_answer(w, at[0], 202, true, NULL);
		}
		ck_assert_uint_eq(world_count(w, at[0]), 8);
		world_answer(w, at[0], 409, false, busy == 0 ? "20" : NULL);
		int64_t wait = busy == 0 ? 19900 : 90;
		world_sleep(w, wait);
		n = world_requests(w, at);
		ck_assert(n == 0 || !world_carries(w, at[0], 0, 0));
		if (n > 0)
			world_answer(w, at[0], 202, true, NULL);
	}
	world_drain(w);
	ck_assert_uint_ge(w->duplicates, 1);
	ck_assert_uint_eq(totals(w).dead, 0);
	world_check(w);
	world_free(w);
}
END_TEST

/* A conflict that lasts is a refusal; one without doubt is so at once. */
START_TEST(a_conflict_that_lasts_is_a_refusal)
{
	struct world *w = world_new(51, dir, "");
	unsigned whole = 0;
	struct mono begun = w->now.mono, cut = begun;
	size_t n;

	world_send(w, 0, 4, true, true);
	world_turn(w);
	world_turn(w);
	ck_assert_uint_eq(world_requests(w, at), 1);
	world_answer(w, at[0], 0, false, NULL);
	for (int i = 0; i < 3000 && !status_settled(w); i++) {
		world_sleep(w, 1000);
		n = world_requests(w, at);
		if (n == 0)
			continue;
		bool hit = world_carries(w, at[0], 0, 2);
		if (world_count(w, at[0]) == 4) {
			whole++;
			cut = w->now.mono;
		}
		world_answer(w, at[0], hit ? 409 : 202, !hit, NULL);
	}
	ck_assert_uint_ge(whole, 4);
	ck_assert_int_ge(mono_sub_ms(cut, begun), SENDER_CONFLICT_MS);
	ck_assert_int_lt(mono_sub_ms(cut, begun), 3 * SENDER_CONFLICT_MS);
	ck_assert_uint_eq(totals(w).dead, 1);
	ck_assert_uint_eq(totals(w).delivered, 3);
	world_set_dead(w, 0, 2);
	world_check(w);
	world_free(w);
}
END_TEST

/* One large event among small ones made all later batches far too small. */
START_TEST(the_limit_is_learned_of_what_was_sent)
{
	struct world *w = world_new(52, dir, "");
	uint64_t whole;

	world_send(w, 0, 16, true, true);
	world_turn(w);
	world_turn(w);
	ck_assert_uint_eq(world_requests(w, at), 1);
	struct buf raw;
	buf_init(&raw, 0);
	ck_assert_int_eq(batch_unpack(w->request[at[0]].body,
	    w->request[at[0]].len, &raw, NULL), 0);
	whole = raw.len;
	buf_free(&raw);
	world_answer(w, at[0], 413, false, NULL);
	ck_assert_uint_eq(sender_max_raw(w->engine->sender), whole / 2);
	world_drain(w);
	world_check(w);
	world_free(w);
}
END_TEST

START_TEST(too_large_is_learned)
{
	struct world *w = world_new(22, dir, "");
	size_t n, refused = 0;

	/* The upstream takes at most 700 bytes. */
	for (int round = 0; round < 12; round++) {
		world_send(w, (unsigned)round, 60, true, true);
		for (int i = 0; i < 200; i++) {
			world_turn(w);
			n = world_requests(w, at);
			if (n == 0 && status_settled(w))
				break;
			for (size_t k = 0; k < n; k++) {
				bool large = w->request[at[k]].len > 700;
				if (round > 3)
					refused += large;
				world_answer(w, at[k], large ? 413 : 202,
				    !large, NULL);
			}
		}
	}
	/* Once learned, hardly any is refused. */
	ck_assert_uint_le(refused, 3);
	ck_assert_uint_eq(totals(w).dead, 0);
	world_drain(w);
	world_check(w);
	world_free(w);
}
END_TEST

START_TEST(one_event_too_large_goes_to_dead)
{
	struct world *w = world_new(23, dir, "");
	bool found;

	world_send(w, 0, 1, true, true);
	world_turn(w);
	world_turn(w);
	(void)world_requests(w, at);
	world_answer(w, at[0], 413, false, NULL);
	world_turn(w);
	world_turn(w);
	ck_assert_uint_eq(letters("\"status\":413", &found), 1);
	ck_assert(found);
	ck_assert_uint_eq(totals(w).dead, 1);
	world_set_dead(w, 0, 0);
	world_drain(w);
	world_check(w);
	world_free(w);
}
END_TEST

START_TEST(partial_success_buries_just_those)
{
	static const struct {
		int		status;
		const char	*body;
	} t[] = {
		{ 200, "{\"errors\":[{\"index\":2,\"error\":\"no\"},"
		    "{\"index\":99}]}" },
		{ 207, "[{\"status\":202},{\"status\":200},{\"status\":"
		    "422},{\"status\":202},{\"status\":202}]" },
		{ 207, "{\"results\":[200,200,400,200,200]}" },
	};
	struct world *w = world_new(24, dir, "");
	struct transport_answer a = { .result = TRANSPORT_ANSWERED,
		.status = t[_i].status, .body = t[_i].body,
		.body_len = strlen(t[_i].body) };
	bool found;

	world_send(w, 0, 5, true, true);
	world_turn(w);
	world_turn(w);
	(void)world_requests(w, at);
	world_answer_full(w, at[0], true, &a);
	world_turn(w);
	world_turn(w);
	ck_assert_uint_eq(letters("\"index\":2,\"event\":{\"n\":2", &found), 1);
	ck_assert(found);
	ck_assert_uint_eq(totals(w).dead, 1);
	ck_assert_uint_eq(totals(w).delivered, 4);
	world_drain(w);
	world_check(w);
	world_free(w);
}
END_TEST

START_TEST(partial_success_sends_again_what_may_come_later)
{
	static const char body[] = "{\"results\":[200,503,200,429,200]}";
	struct world *w = world_new(25, dir, "");
	struct transport_answer a = { .result = TRANSPORT_ANSWERED,
		.status = 207, .body = body, .body_len = sizeof body - 1 };

	world_send(w, 0, 5, true, true);
	world_turn(w);
	world_turn(w);
	(void)world_requests(w, at);
	world_answer_full(w, at[0], false, &a);
	world_turn(w);
	world_turn(w);
	ck_assert_uint_eq(world_requests(w, at), 1);
	ck_assert_uint_eq(world_count(w, at[0]), 2);
	ck_assert(world_carries(w, at[0], 0, 1));
	ck_assert(world_carries(w, at[0], 0, 3));
	world_check_books(w);
	for (size_t e = 0; e < 5; e += 2)
		w->run[0].events[e] |= WORLD_TAKEN;
	world_drain(w);
	ck_assert_uint_eq(totals(w).delivered, 5);
	world_check(w);
	world_free(w);
}
END_TEST

START_TEST(a_failed_letter_is_written_again)
{
	struct world *w = world_new(26, dir, "");
	bool found;

	world_send(w, 0, 1, true, true);
	world_turn(w);
	world_turn(w);
	(void)world_requests(w, at);
	w->sync_auto = false;
	world_answer(w, at[0], 422, false, NULL);
	world_turn(w);
	ck_assert(w->sync_wanted);
	ck_assert_uint_eq(totals(w).dead, 0);
	world_sync_end(w, -EIO);
	ck_assert_uint_eq(totals(w).dead, 0);
	w->sync_auto = true;
	world_sleep(w, 2000);
	ck_assert_uint_eq(world_requests(w, at), 1);
	world_answer(w, at[0], 422, false, NULL);
	world_turn(w);
	ck_assert_uint_eq(totals(w).dead, 1);
	(void)letters("\"n\":0", &found);
	ck_assert(found);
	world_set_dead(w, 0, 0);
	world_drain(w);
	world_check(w);
	world_free(w);
}
END_TEST

START_TEST(a_plain_2xx_of_any_body_is_done)
{
	static const char *const bodies[] = {
		"", "ok", "{}", "{\"errors\":[]}", "{\"errors\":\"none\"}",
		"[1,2", "{\"errors\":[{\"index\":-1}]}", "\"errors\"",
	};
	struct world *w = world_new(27, dir, "");

	for (unsigned i = 0; i < NELEM(bodies); i++) {
		struct transport_answer a = { .result = TRANSPORT_ANSWERED,
			.status = i % 2 == 0 ? 200 : 207, .body = bodies[i],
			.body_len = strlen(bodies[i]) };

		world_send(w, i, 3, true, true);
		world_turn(w);
		world_turn(w);
		ck_assert_uint_ge(world_requests(w, at), 1);
		world_answer_full(w, at[0], true, &a);
	}
	ck_assert_uint_eq(answer_all(w, 400, bad_none), 0);
	ck_assert_uint_eq(totals(w).delivered, 3 * NELEM(bodies));
	world_check(w);
	world_free(w);
}
END_TEST

/* --- records, age ------------------------------------------------------------ */

/* The number of the change that the i-th request carries, or -1. */
static int
change_of(struct world *w, size_t i)
{
	struct world_request *r = &w->request[i];
	struct buf raw;
	int n = -1;
	const char *ref;

	if (r->route != TRANSPORT_CHANGES)
		return -1;
	buf_init(&raw, 0);
	ck_assert_int_eq(batch_unpack(r->body, r->len, &raw, NULL), 0);
	ref = strstr(buf_cstr(&raw), "\"ref\":\"git:");
	ck_assert_ptr_nonnull(ref);
	ck_assert_int_eq(sscanf(ref, "\"ref\":\"git:%d", &n), 1);
	ck_assert_ptr_nonnull(strstr(buf_cstr(&raw), "\"at\":\""));
	buf_free(&raw);
	return n;
}

START_TEST(records_go_first_and_in_order)
{
	struct world *w = world_new(30, dir, "");
	int expected = 0;

	/* A backlog of runs, an upstream that is down. */
	load(w, 20);
	(void)world_requests(w, at);
	world_answer(w, at[0], 0, false, NULL);
	for (unsigned n = 0; n < 5; n++)
		ck_assert_int_eq(world_send_change(w, n, false), EVENT_OK);
	world_close(w);
	world_open(w);
	for (int round = 0; round < 200 && expected < 5; round++) {
		world_sleep(w, 500);
		size_t n = world_requests(w, at);
		for (size_t k = 0; k < n; k++) {
			int change = change_of(w, at[k]);
			if (change >= 0) {
				ck_assert_int_eq(change, expected);
				/* It fails once; the order stays. */
				static bool failed;
				bool fail = change == 2 && !failed;
				failed |= fail;
				world_answer(w, at[k], fail ? 503 : 202,
				    !fail, NULL);
				expected += !fail;
			} else {
				world_answer(w, at[k], 202, true, NULL);
			}
		}
		if (round == 0 && n > 0)
			ck_assert_int_eq(expected, 1);
	}
	ck_assert_int_eq(expected, 5);
	world_drain(w);
	world_check(w);
	world_free(w);
}
END_TEST

/* A route that is wrong for runs does not hold up records. */
START_TEST(records_pass_a_run_that_is_held)
{
	struct world *w = world_new(31, dir, "");
	size_t n;
	int change = -1;

	load(w, 3);
	(void)world_requests(w, at);
	world_answer(w, at[0], 404, false, NULL);
	world_send_change(w, 9, false);
	for (int i = 0; i < 5; i++)
		world_turn(w);
	n = world_requests(w, at);
	for (size_t k = 0; k < n; k++)
		if (change_of(w, at[k]) == 9) {
			change = 9;
			world_answer(w, at[k], 202, true, NULL);
		}
	ck_assert_int_eq(change, 9);
	world_drain(w);
	world_check(w);
	world_free(w);
}
END_TEST

START_TEST(a_refused_record_goes_to_dead)
{
	struct world *w = world_new(32, dir, "");
	bool found;

	world_send_change(w, 1, false);
	world_send_change(w, 2, false);
	world_turn(w);
	world_turn(w);
	(void)world_requests(w, at);
	world_answer(w, at[0], 422, false, NULL);
	world_turn(w);
	world_turn(w);
	ck_assert_uint_eq(letters("git:1", &found), 1);
	ck_assert(found);
	ck_assert_uint_eq(world_requests(w, at), 1);
	ck_assert_int_eq(change_of(w, at[0]), 2);
	world_drain(w);
	ck_assert_uint_eq(spool_totals(w->engine->records).dead, 1);
	ck_assert_uint_eq(spool_totals(w->engine->records).delivered, 1);
	world_free(w);
}
END_TEST

START_TEST(age_drops_only_when_asked)
{
	struct world *w = world_new(33, dir, _i == 0 ? "" :
	    "storage: {max_age: 1h}");

	load(w, 3);
	(void)world_requests(w, at);
	world_answer(w, at[0], 0, false, NULL);
	for (int i = 0; i < 7300; i++) {
		world_sleep(w, 1000);
		if (world_requests(w, at) > 0)
			world_answer(w, at[0], 502, false, NULL);
	}
	ck_assert_uint_eq(totals(w).dropped[SPOOL_DROP_AGE], _i == 0 ? 0 : 6);
	world_check_books(w);
	w->gaps_allowed = true;
	world_send(w, 9, 1, true, true);
	world_drain(w);
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
	tcase_add_test(tc, overdue_is_what_was_left_undone);
	tcase_add_test(tc, one_probe_while_down);
	tcase_add_test(tc, retry_after_is_obeyed);
	tcase_add_test(tc, a_clock_that_jumps_does_no_harm);
	tcase_add_loop_test(tc, hold_says_why_and_probes_slowly, 0, 6);
	tcase_add_loop_test(tc, bad_certificate_and_no_key_hold, 0, 2);
	tcase_add_test(tc, poison_waits_alone);
	tcase_add_test(tc, what_is_due_behind_a_slow_request_waits);
	tcase_add_test(tc, a_probe_behind_a_slow_probe_waits);
	tcase_add_test(tc, retries_are_identical);
	tcase_add_test(tc, no_zstd_falls_back_and_comes_back);
	tcase_add_test(tc, stale_connections_are_no_attempts);
	tcase_add_loop_test(tc, one_refused_event_goes_to_dead, 0, 5);
	tcase_add_loop_test(tc, bisection_survives_restarts, 0, 20);
	tcase_add_loop_test(tc, a_piece_in_doubt_is_met_again, 0, 20);
	tcase_add_test(tc, a_conflict_with_oneself_waits);
	tcase_add_test(tc, a_conflict_that_lasts_is_a_refusal);
	tcase_add_test(tc, the_limit_is_learned_of_what_was_sent);
	tcase_add_test(tc, too_large_is_learned);
	tcase_add_test(tc, one_event_too_large_goes_to_dead);
	tcase_add_loop_test(tc, partial_success_buries_just_those, 0, 3);
	tcase_add_test(tc, partial_success_sends_again_what_may_come_later);
	tcase_add_test(tc, a_failed_letter_is_written_again);
	tcase_add_test(tc, a_plain_2xx_of_any_body_is_done);
	tcase_add_test(tc, records_go_first_and_in_order);
	tcase_add_test(tc, records_pass_a_run_that_is_held);
	tcase_add_test(tc, a_refused_record_goes_to_dead);
	tcase_add_loop_test(tc, age_drops_only_when_asked, 0, 2);
	tcase_add_test(tc, a_large_backlog_is_read_as_it_is_sent);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
