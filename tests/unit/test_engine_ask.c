/*
 * test_engine_ask: what an operator sees and steers: listings in every order
 * and in pages, a run's events, batches that wait, flushes that are followed
 * to their end, a pause that outlives the process; and rates.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/ask_json.h"
#include "core/engine_ask.h"
#include "core/engine_int.h"
#include "core/rates.h"
#include "tests/unit/tmpdir.h"
#include "tests/unit/unit.h"
#include "tests/unit/world.h"

#define RUNS_MAX	100

static char	dir[256];

static struct world *
open_world(const char *conf)
{
	struct world *w;

	tmpdir_make(dir, sizeof dir);
	log_set_sink(world_no_log, NULL);
	w = world_new(1, dir, conf);
	w->sync_auto = true;
	return w;
}

static void
close_world(struct world *w)
{
	world_free(w);
	tmpdir_remove(dir);
}

/* The name of world's run number r. */
static const char *
run_name(struct world *w, unsigned r)
{
	static struct engine_run all[RUNS_MAX];
	size_t n = engine_runs(w->engine, ENGINE_BY_AGE, NULL, w->now, all,
	    RUNS_MAX);

	ck_assert_uint_lt(r, n);
	return all[r].runid;
}

static struct engine_flush_status
flush_status(struct world *w, struct engine_flush *f)
{
	struct engine_flush_status st;

	engine_flush_status(w->engine, f, w->now, &st);
	return st;
}

static void
answer_all(struct world *w, int status, bool take)
{
	size_t at[WORLD_REQUESTS], n = world_requests(w, at);

	for (size_t i = 0; i < n; i++)
		world_answer(w, at[i], status, take, NULL);
	world_turn(w);
}

static size_t
largest(struct world *w, enum engine_order order, struct engine_run *ret,
    size_t n, unsigned *ret_steps)
{
	struct engine_top *top = engine_top_begin(order, n);
	unsigned steps = 1;
	size_t got;

	while (engine_top_step(w->engine, top))
		steps++;
	got = engine_top_get(w->engine, top, w->now, ret);
	engine_top_free(top);
	if (ret_steps != NULL)
		*ret_steps = steps;
	return got;
}

/* --- listings ------------------------------------------------------------- */

START_TEST(runs_in_order)
{
	struct world *w = open_world("");
	struct engine_run r[RUNS_MAX];

	for (unsigned i = 0; i < 20; i++) {
		ck_assert_int_eq(world_send(w, i, 1 + i * 7 % 20, false, false),
		    EVENT_OK);
		w->now.mono.us += 1000;
	}
	world_turn(w);
	ck_assert_uint_eq(engine_runs(w->engine, ENGINE_BY_AGE, NULL, w->now,
	    r, RUNS_MAX), 20);
	for (unsigned i = 1; i < 20; i++)
		ck_assert_int_ge(r[i - 1].age_ms, r[i].age_ms);
	ck_assert_uint_eq(engine_runs(w->engine, ENGINE_BY_RECENT, NULL,
	    w->now, r, RUNS_MAX), 20);
	for (unsigned i = 1; i < 20; i++)
		ck_assert_int_le(r[i - 1].idle_ms, r[i].idle_ms);
	/* The k largest, whatever k is. */
	for (size_t k = 0; k <= 21; k++) {
		size_t n = largest(w, ENGINE_BY_EVENTS, r, k, NULL);
		ck_assert_uint_eq(n, k < 20 ? k : 20);
		for (unsigned i = 0; i < n; i++)
			ck_assert_uint_eq(r[i].events, 20 - i);
		n = largest(w, ENGINE_BY_BYTES, r, k, NULL);
		for (unsigned i = 1; i < n; i++)
			ck_assert_uint_ge(r[i - 1].bytes, r[i].bytes);
	}
	close_world(w);
}
END_TEST

/* n events of run i, of which there may be more than a world keeps. */
static void
take(struct world *w, unsigned i, unsigned n)
{
	struct event_ack ack;
	struct why why;
	struct buf b;

	buf_init(&b, 0);
	buf_printf(&b, "\x82\xa5runId\xa6x%05u\xa6" "events%c", i, 0x90 | n);
	for (unsigned k = 0; k < n; k++)
		buf_put(&b, "\x81\xa1n\x01", 4);
	ck_assert_int_eq(engine_take(w->engine, BOOKS_STREAM, 0, b.data,
	    b.len, w->now, &ack, &why), EVENT_OK);
	buf_free(&b);
}

/* What a turn may look at is bounded; runs come and go, and the table grows. */
START_TEST(largest_in_steps)
{
	struct world *w = open_world("");
	struct engine_run r[3];
	struct engine_top *top;
	unsigned steps;

	for (unsigned i = 0; i < 6000; i++)
		take(w, i, i == 3000 ? 9 : i == 4000 ? 7 : i % 5 + 1);
	ck_assert_uint_eq(largest(w, ENGINE_BY_EVENTS, r, 3, &steps), 3);
	ck_assert_uint_ge(steps, 3);
	ck_assert_uint_eq(r[0].events, 9);
	ck_assert_uint_eq(r[1].events, 7);
	ck_assert_uint_eq(r[2].events, 5);

	top = engine_top_begin(ENGINE_BY_EVENTS, 3);
	ck_assert(engine_top_step(w->engine, top));
	ck_assert_uint_eq(engine_flush_runs(w->engine, r[0].runid,
	    r[0].runid_len, w->now), 1);
	world_turn(w);
	for (unsigned i = 6000; i < 9000; i++)
		take(w, i, i == 8000 ? 8 : 1);
	while (engine_top_step(w->engine, top))
		continue;
	ck_assert_uint_eq(engine_top_get(w->engine, top, w->now, r), 3);
	ck_assert_uint_eq(r[0].events, 8);
	ck_assert_uint_eq(r[1].events, 7);
	engine_top_free(top);

	/* Gone since it was looked at: left out. */
	top = engine_top_begin(ENGINE_BY_EVENTS, 2);
	while (engine_top_step(w->engine, top))
		continue;
	ck_assert_uint_eq(engine_flush_runs(w->engine, r[0].runid,
	    r[0].runid_len, w->now), 1);
	world_turn(w);
	ck_assert_uint_eq(engine_top_get(w->engine, top, w->now, r), 1);
	ck_assert_uint_eq(r[0].events, 7);
	engine_top_free(top);
	close_world(w);
}
END_TEST

/* Pages of 7; with runs that go and come between them. */
START_TEST(runs_in_pages)
{
	struct world *w = open_world("");
	struct engine_run r[7];
	char last[300];
	struct engine_page page = { .runid = last };
	unsigned seen = 0;
	size_t n;

	for (unsigned i = 0; i < 40; i++) {
		(void)!world_send(w, i, 1, false, false);
		w->now.mono.us += 10;
	}
	while ((n = engine_runs(w->engine, ENGINE_BY_AGE, &page, w->now, r,
	    7)) > 0) {
		seen += (unsigned)n;
		page.mark = r[n - 1].mark;
		page.runid_len = r[n - 1].runid_len;
		(void)snprintf(last, sizeof last, "%s", r[n - 1].runid);
		/* The run that the page ends with goes out. */
		if (seen == 14) {
			ck_assert_uint_eq(engine_flush_runs(w->engine, last,
			    page.runid_len, w->now), 1);
			world_turn(w);
		}
	}
	ck_assert_uint_eq(seen, 40);
	close_world(w);
}
END_TEST

START_TEST(events_of_a_run)
{
	struct world *w = open_world("");
	struct why why = { "" };
	uint64_t lsn = 0;
	unsigned pieces = 0, lines = 0;
	struct buf b;
	int r;

	(void)!world_send(w, 1, 50, false, false);
	(void)!world_send(w, 2, 50, false, false);
	(void)!world_send(w, 1, 50, false, false);
	char *name = strdup(run_name(w, 0));
	buf_init(&b, 0);
	do {
		buf_reset(&b, 0);
		r = engine_run_events(w->engine, name, strlen(name), &lsn, &b,
		    500, &why);
		for (size_t i = 0; i < b.len; i++)
			lines += b.data[i] == '\n';
		pieces++;
	} while (r == 1);
	ck_assert_int_eq(r, 0);
	ck_assert_uint_eq(lines, 100);
	ck_assert_uint_gt(pieces, 3);
	/* Nothing new; then it goes out in the middle of a listing. */
	buf_reset(&b, 0);
	ck_assert_int_eq(engine_run_events(w->engine, name, strlen(name), &lsn,
	    &b, 500, &why), 0);
	ck_assert_uint_eq(b.len, 0);
	ck_assert_uint_eq(engine_flush_runs(w->engine, name, strlen(name),
	    w->now), 1);
	world_turn(w);
	ck_assert_int_eq(engine_run_events(w->engine, name, strlen(name), &lsn,
	    &b, 500, &why), -ENOENT);
	buf_free(&b);
	free(name);
	close_world(w);
}
END_TEST

START_TEST(batches_that_wait)
{
	struct world *w = open_world("");
	struct engine_walk walk = { 0 };
	struct engine_batch b;
	struct why why = { "" };
	uint8_t body[64];
	uint64_t seq = 0;
	unsigned n = 0;
	int r;

	engine_pause(w->engine, true, w->now);
	(void)!world_send_change(w, 1, false);
	for (unsigned i = 0; i < 30; i++)
		(void)!world_send(w, i, 2, true, false);
	world_turn(w);
	world_turn(w);
	while ((r = engine_walk_next(w->engine, &walk, 0, NULL, 0, &b,
	    &why)) != 0) {
		ck_assert(r == 1 || r == -EAGAIN);
		if (r != 1)
			continue;
		ck_assert_uint_eq(b.record, n == 0);
		ck_assert(n < 2 || b.ref.seq > seq);
		seq = b.ref.seq;
		n++;
	}
	ck_assert_uint_eq(n, 31);
	/* One of them, by its number; and its body, until it is gone. */
	walk = (struct engine_walk){ .runs = true };
	while ((r = engine_walk_next(w->engine, &walk, 17, NULL, 0, &b,
	    &why)) == -EAGAIN)
		continue;
	ck_assert_int_eq(r, 1);
	ck_assert_uint_eq(b.b.seq, 17);
	ck_assert_uint_eq(b.attempts, 0);
	ck_assert_int_eq(engine_batch_body(w->engine, &b, 0, body, 4, &why),
	    0);
	ck_assert_mem_eq(body, "\x28\xb5\x2f\xfd", 4);	/* zstd's magic */
	engine_pause(w->engine, false, w->now);
	world_drain(w);
	ck_assert_int_eq(engine_batch_body(w->engine, &b, 0, body, 4, &why),
	    -ENOENT);
	walk = (struct engine_walk){ 0 };
	while ((r = engine_walk_next(w->engine, &walk, 0, NULL, 0, &b,
	    &why)) == -EAGAIN)
		continue;
	ck_assert_int_eq(r, 0);
	world_check(w);
	close_world(w);
}
END_TEST

/* --- flushes -------------------------------------------------------------- */

START_TEST(flush_one)
{
	struct world *w = open_world("");
	struct engine_flush *f;
	struct engine_flush_status st;

	(void)!world_send(w, 1, 3, false, false);
	(void)!world_send(w, 2, 5, false, false);
	char *name = strdup(run_name(w, 0));
	f = engine_flush_begin(w->engine, name, strlen(name), w->now);
	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(flush_status(w, f).state, ENGINE_FLUSH_SEALING);
	world_turn(w);
	world_turn(w);
	st = flush_status(w, f);
	ck_assert_int_eq(st.state, ENGINE_FLUSH_SENDING);
	ck_assert_uint_eq(st.events, 3);
	ck_assert(!st.held);
	answer_all(w, 202, true);
	st = flush_status(w, f);
	ck_assert_int_eq(st.state, ENGINE_FLUSH_DONE);
	ck_assert_uint_eq(st.delivered, 3);
	engine_flush_end(w->engine, f);
	/* It is not open, nor on its way; the other is not touched. */
	ck_assert_ptr_null(engine_flush_begin(w->engine, name, strlen(name),
	    w->now));
	ck_assert_uint_eq(runs_count(w->engine->runs), 1);
	free(name);
	close_world(w);
}
END_TEST

/* What comes meanwhile is not waited for; records are. */
START_TEST(flush_all)
{
	struct world *w = open_world("");
	struct engine_flush *f, *second;
	struct engine_flush_status st;

	(void)!world_send_change(w, 1, false);
	for (unsigned i = 0; i < 10; i++)
		(void)!world_send(w, i, 2, false, false);
	world_turn(w);
	f = engine_flush_begin(w->engine, NULL, 0, w->now);
	ck_assert_uint_eq(flush_status(w, f).events, 21);
	world_turn(w);
	w->now.mono.us += 10;
	(void)!world_send(w, 20, 4, false, false);
	for (int i = 0; i < 20 &&
	    flush_status(w, f).state != ENGINE_FLUSH_DONE; i++) {
		world_turn(w);
		answer_all(w, 202, true);
	}
	st = flush_status(w, f);
	ck_assert_int_eq(st.state, ENGINE_FLUSH_DONE);
	ck_assert_uint_eq(st.delivered, 21);
	ck_assert_uint_eq(runs_count(w->engine->runs), 1);
	/* Two at once, one ended before the other. */
	second = engine_flush_begin(w->engine, NULL, 0, w->now);
	engine_flush_end(w->engine, f);
	world_turn(w);
	world_turn(w);
	answer_all(w, 202, true);
	st = flush_status(w, second);
	ck_assert_int_eq(st.state, ENGINE_FLUSH_DONE);
	ck_assert_uint_eq(st.delivered, 4);
	/* With nothing to do it is done at once; closing ends it, too. */
	f = engine_flush_begin(w->engine, NULL, 0, w->now);
	ck_assert_int_eq(flush_status(w, f).state, ENGINE_FLUSH_DONE);
	close_world(w);
}
END_TEST

/* An upstream that was to be tried in minutes is tried at once. */
START_TEST(flush_hurries)
{
	struct world *w = open_world("");
	struct engine_flush *f;
	struct engine_flush_status st;
	struct engine_status es;

	(void)!world_send(w, 1, 3, true, false);
	world_turn(w);
	world_turn(w);
	for (int i = 0; i < 12; i++) {
		answer_all(w, 503, false);
		engine_status(w->engine, w->now, &es);
		ck_assert_int_le(es.retry_in_ms, 2000);
		f = engine_flush_begin(w->engine, NULL, 0, w->now);
		world_turn(w);
		ck_assert_uint_eq(w->in_flight, 1);
		st = flush_status(w, f);
		ck_assert_int_eq(st.state, ENGINE_FLUSH_SENDING);
		ck_assert(!st.held);
		engine_flush_end(w->engine, f);
	}
	answer_all(w, 202, true);
	close_world(w);
}
END_TEST

START_TEST(flush_is_held)
{
	struct world *w = open_world("");
	struct engine_flush *f;

	(void)!world_send(w, 1, 3, true, false);
	world_turn(w);
	world_turn(w);
	f = engine_flush_begin(w->engine, NULL, 0, w->now);
	ck_assert(!flush_status(w, f).held);	/* under way */
	answer_all(w, 401, false);
	ck_assert(flush_status(w, f).held);
	/* The key is mended: it goes on. */
	engine_flush_end(w->engine, f);
	f = engine_flush_begin(w->engine, NULL, 0, w->now);
	world_turn(w);
	ck_assert(!flush_status(w, f).held);
	answer_all(w, 202, true);
	ck_assert_int_eq(flush_status(w, f).state, ENGINE_FLUSH_DONE);
	ck_assert_uint_eq(flush_status(w, f).delivered, 3);
	close_world(w);
}
END_TEST

/*
 * A sync that fails gives sealed batches back to their runs: the flush must
 * not call them delivered.
 */
START_TEST(flush_over_a_revert)
{
	struct world *w = open_world("");
	struct engine_flush *f;

	(void)!world_send(w, 1, 3, false, true);
	world_turn(w);
	w->sync_auto = false;
	char *name = strdup(run_name(w, 0));
	f = engine_flush_begin(w->engine, name, strlen(name), w->now);
	world_turn(w);
	ck_assert(w->sync_wanted);
	world_sync_end(w, -EIO);
	w->sync_auto = true;
	ck_assert_int_ne(flush_status(w, f).state, ENGINE_FLUSH_DONE);
	for (int i = 0; i < 50 &&
	    flush_status(w, f).state != ENGINE_FLUSH_DONE; i++) {
		world_sleep(w, 200);
		answer_all(w, 202, true);
	}
	ck_assert_int_eq(flush_status(w, f).state, ENGINE_FLUSH_DONE);
	ck_assert_uint_eq(flush_status(w, f).delivered, 3);
	free(name);
	close_world(w);
}
END_TEST

/* --- pause ---------------------------------------------------------------- */

/*
 * It was lost once: the first record of a new journal begins a segment, whose
 * state had counted it already, and twice is not odd.
 */
START_TEST(pause_outlives)
{
	struct world *w = open_world("");
	struct engine_status st;

	for (int i = 0; i < 5; i++) {
		bool paused = i % 2 == 0;

		engine_pause(w->engine, paused, w->now);
		engine_pause(w->engine, paused, w->now);
		world_turn(w);
		for (int k = 0; k < 2; k++) {
			world_close(w);
			world_open(w);
			engine_status(w->engine, w->now, &st);
			ck_assert_int_eq(st.paused, paused);
		}
	}
	/* i 4: it is paused. Nothing goes out, whatever happens. */
	(void)!world_send(w, 1, 3, true, true);
	world_sleep(w, 1000);
	ck_assert_uint_eq(w->in_flight, 0);
	ck_assert_uint_eq(w->acks, 1);
	engine_pause(w->engine, false, w->now);
	world_turn(w);
	ck_assert_uint_eq(w->in_flight, 1);
	world_drain(w);
	world_check(w);
	close_world(w);
}
END_TEST

/* --- rates ---------------------------------------------------------------- */

START_TEST(rates)
{
	struct rates r = { .n = 0 };
	struct mono now = { 1000000 };
	uint64_t v[RATES_N] = { 0 };
	double s[RATES_N];

	ck_assert_int_eq(rates_get(&r, now, v, RATES_WINDOW_MS, s), 0);
	/* 100 a second, for a minute. */
	for (int i = 0; i < 600; i++) {
		now.us += 100000;
		v[RATES_EVENTS] += 10;
		rates_note(&r, now, v);
	}
	ck_assert_int_eq(rates_get(&r, now, v, RATES_WINDOW_MS, s), 10000);
	ck_assert(s[RATES_EVENTS] > 99 && s[RATES_EVENTS] < 111);
	ck_assert(s[RATES_BYTES] >= 0 && s[RATES_BYTES] <= 0);
	/* Silence: half of the window, all of it, an hour. */
	now.us += 5000000;
	(void)rates_get(&r, now, v, RATES_WINDOW_MS, s);
	ck_assert(s[RATES_EVENTS] > 45 && s[RATES_EVENTS] < 61);
	now.us += 3600000000;
	(void)rates_get(&r, now, v, RATES_WINDOW_MS, s);
	ck_assert(s[RATES_EVENTS] >= 0 && s[RATES_EVENTS] <= 0);
	/* A burst after it. */
	v[RATES_EVENTS] += 5000;
	(void)rates_get(&r, now, v, RATES_WINDOW_MS, s);
	ck_assert(s[RATES_EVENTS] > 499 && s[RATES_EVENTS] < 511);
}
END_TEST

int
main(void)
{
	return unit_run("engine_ask", (const TTest *const[]){ runs_in_order,
	    largest_in_steps,
	    runs_in_pages, events_of_a_run, batches_that_wait, flush_one,
	    flush_all, flush_hurries, flush_is_held, flush_over_a_revert,
	    pause_outlives, rates, NULL });
}
