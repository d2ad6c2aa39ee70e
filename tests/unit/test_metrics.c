/*
 * test_metrics: the text for Prometheus is well-formed and tells the truth,
 * the status is JSON, and the ledger adds up.
 */
#include <check.h>
#include <ctype.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "core/engine_int.h"
#include "core/metrics.h"
#include "tests/unit/tmpdir.h"
#include "tests/unit/world.h"

static char	dir[256];

static const struct metrics_process process = {
	.version = "1.2.3", .start_time = 1795435200.5, .cpu_seconds = 0.25,
	.resident_bytes = 4096, .open_fds = 9, .connections = 2,
	.config_generation = 3,
};

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

/* Every sample belongs to a family that was announced, once. */
static void
check_text(const char *text)
{
	char family[128] = "", type[32] = "", line[512];
	const char *end;

	for (; *text != '\0'; text = end + 1) {
		end = strchr(text, '\n');
		ck_assert_ptr_nonnull(end);
		ck_assert_uint_lt((size_t)(end - text), sizeof line);
		memcpy(line, text, (size_t)(end - text));
		line[end - text] = '\0';
		if (strncmp(line, "# HELP ", 7) == 0) {
			ck_assert_int_eq(sscanf(line, "# HELP %127s", family),
			    1);
			ck_assert_uint_gt(strlen(line),
			    strlen("# HELP ") + strlen(family) + 1);
			continue;
		}
		if (strncmp(line, "# TYPE ", 7) == 0) {
			char name[128];
			ck_assert_int_eq(sscanf(line, "# TYPE %127s %31s",
			    name, type), 2);
			ck_assert_str_eq(name, family);
			ck_assert(strcmp(type, "counter") != 0 ||
			    strcmp(name + strlen(name) - 6, "_total") == 0);
			continue;
		}
		ck_assert_msg(strncmp(line, family, strlen(family)) == 0,
		    "%s in %s", line, family);
		const char *value = strrchr(line, ' ');
		ck_assert_ptr_nonnull(value);
		char *stop;
		(void)strtod(value + 1, &stop);
		ck_assert_msg(*stop == '\0', "%s", line);
	}
}

static double
sample(const char *text, const char *name)
{
	const char *at = text;
	size_t n = strlen(name);

	while ((at = strstr(at, name)) != NULL) {
		if ((at == text || at[-1] == '\n') && at[n] == ' ')
			return strtod(at + n, NULL);
		at += n;
	}
	ck_abort_msg("no sample %s", name);
}

START_TEST(text_tells_the_truth)
{
	struct world *w = world_new(1, dir, "");
	size_t at[WORLD_REQUESTS];
	struct buf b;

	buf_init(&b, 0);
	world_send(w, 0, 5, true, true);
	world_send(w, 1, 3, false, true);
	world_turn(w);
	world_turn(w);
	(void)world_requests(w, at);
	world_answer(w, at[0], 503, false, NULL);
	world_sleep(w, 2000);
	(void)world_requests(w, at);
	world_answer(w, at[0], 202, true, NULL);
	world_turn(w);
	metrics_prometheus(w->engine, &process, w->now, &b);
	const char *text = buf_cstr(&b);
	check_text(text);
	ck_assert(sample(text, "lumnid_events_accepted_total") == 8);
	ck_assert(sample(text, "lumnid_events_delivered_total") == 5);
	ck_assert(sample(text, "lumnid_events_pending") == 3);
	ck_assert(sample(text, "lumnid_open_runs") == 1);
	ck_assert(sample(text, "lumnid_seals_total{reason=\"end\"}") == 1);
	ck_assert(sample(text, "lumnid_upstream_answers_total{code=\"503\"}")
	    == 1);
	ck_assert(sample(text, "lumnid_accept_to_durable_seconds_count") == 2);
	ck_assert(sample(text, "lumnid_seal_to_delivered_seconds_count") == 1);
	ck_assert(sample(text, "lumnid_upstream_up") == 1);
	ck_assert(sample(text, "lumnid_build_info{version=\"1.2.3\"}") == 1);
	buf_free(&b);
	world_drain(w);
	world_free(w);
}
END_TEST

static int64_t
number(struct json_object *o, const char *a, const char *key)
{
	struct json_object *in, *v;

	ck_assert(json_object_object_get_ex(o, a, &in));
	ck_assert(json_object_object_get_ex(in, key, &v));
	return json_object_get_int64(v);
}

START_TEST(status_is_json_and_balances)
{
	struct world *w = world_new(2, dir, "");
	struct buf b;

	buf_init(&b, 0);
	for (unsigned r = 0; r < 10; r++)
		world_send(w, r, r + 1, r % 2 == 0, true);
	(void)world_send_change(w, 1, false);
	world_turn(w);
	metrics_status(w->engine, &process, w->now, &b);
	struct json_object *o = json_tokener_parse(buf_cstr(&b));
	ck_assert_ptr_nonnull(o);
	ck_assert_int_eq(number(o, "events", "accepted"), 55);
	ck_assert_int_eq(number(o, "events", "accepted"),
	    number(o, "events", "delivered") + number(o, "events", "pending") +
	    number(o, "events", "dead"));
	ck_assert_int_eq(number(o, "records", "accepted"), 1);
	ck_assert_int_eq(number(o, "open", "runs"), 5);
	json_object_put(o);
	buf_free(&b);
	world_drain(w);
	world_free(w);
}
END_TEST

static double
stalled(struct world *w)
{
	struct buf b;

	buf_init(&b, 0);
	metrics_prometheus(w->engine, &process, w->now, &b);
	double v = sample(buf_cstr(&b), "lumnid_stalled_seconds");
	buf_free(&b);
	return v;
}

/*
 * It counts while work waits. A batch that came after an idle hour was said to
 * be stalled for an hour at once.
 */
START_TEST(stalled_begins_with_work)
{
	struct world *w = world_new(5, dir, "");
	size_t at[WORLD_REQUESTS];

	world_send(w, 0, 1, true, false);
	world_turn(w);
	world_turn(w);
	world_sleep(w, 3000);
	ck_assert(stalled(w) >= 3 && stalled(w) < 4);
	ck_assert_uint_eq(world_requests(w, at), 1);
	world_answer(w, at[0], 202, true, NULL);
	world_turn(w);
	ck_assert(stalled(w) < 0.001);
	world_sleep(w, 3600 * 1000);
	world_send(w, 1, 1, true, false);
	world_turn(w);
	world_turn(w);
	world_sleep(w, 2000);
	ck_assert(stalled(w) >= 2 && stalled(w) < 3);
	/* Old work, and a success just now. */
	world_send(w, 2, 1, true, false);
	world_turn(w);
	world_turn(w);
	world_sleep(w, 5000);
	ck_assert_uint_eq(world_requests(w, at), 2);
	world_answer(w, at[0], 202, true, NULL);
	ck_assert(stalled(w) < 1);
	world_drain(w);
	world_free(w);
}
END_TEST

START_TEST(ready_says_why_not)
{
	struct world *w = world_new(3, dir, "");
	size_t at[WORLD_REQUESTS];
	struct buf b;

	buf_init(&b, 0);
	ck_assert(metrics_ready(w->engine, &process, w->now, &b));
	ck_assert_str_eq(buf_cstr(&b), "{\"ready\":true,\"reasons\":[]}\n");
	world_send(w, 0, 1, true, true);
	world_turn(w);
	world_turn(w);
	(void)world_requests(w, at);
	world_answer(w, at[0], 401, false, NULL);
	buf_reset(&b, 0);
	ck_assert(!metrics_ready(w->engine, &process, w->now, &b));
	ck_assert_ptr_nonnull(strstr(buf_cstr(&b), "\"what\":\"hold\""));
	ck_assert_ptr_nonnull(strstr(buf_cstr(&b), "key file"));
	struct metrics_process bad = process;
	bad.config_fault = "x.yaml:3:1: no";
	buf_reset(&b, 0);
	ck_assert(!metrics_ready(w->engine, &bad, w->now, &b));
	ck_assert_ptr_nonnull(strstr(buf_cstr(&b), "\"what\":\"hold\""));
	ck_assert_ptr_nonnull(strstr(buf_cstr(&b),
	    "{\"what\":\"config\",\"why\":\"x.yaml:3:1: no\"}]"));
	buf_free(&b);
	world_drain(w);
	world_free(w);
}
END_TEST

START_TEST(refusals_survive_restarts)
{
	struct world *w = world_new(4, dir, "runs: {max_open: 1}");
	struct books *b = engine_books(w->engine);
	const unsigned i = BOOKS_REFUSED + EVENT_TOO_MANY_RUNS;

	world_send(w, 0, 1, false, true);
	for (int k = 0; k < 7; k++)
		(void)world_send(w, 1, 1, false, true);
	b->total[BOOKS_KERNEL_UDP] += 5;
	ck_assert_uint_eq(b->total[i], 7);
	ck_assert_uint_eq(b->total[BOOKS_REFUSED_BY + BOOKS_STREAM], 7);
	for (int k = 0; k < 3; k++) {
		world_close(w);
		world_open(w);
		b = engine_books(w->engine);
		ck_assert_uint_eq(b->total[i], 7);
		ck_assert_uint_eq(b->total[BOOKS_REFUSED_BY + BOOKS_STREAM],
		    7);
		ck_assert_uint_eq(b->total[BOOKS_KERNEL_UDP], 5);
		ck_assert_uint_eq(b->total[BOOKS_ACCEPTED_BY + BOOKS_STREAM],
		    1);
	}
	world_drain(w);
	world_free(w);
}
END_TEST

START_TEST(histogram_bounds)
{
	struct hist h = { { 0 }, 0 };

	hist_add(&h, -5);
	hist_add(&h, 500);
	hist_add(&h, 501);
	hist_add(&h, INT64_MAX / 4);
	ck_assert_uint_eq(h.bucket[0], 2);
	ck_assert_uint_eq(h.bucket[1], 1);
	ck_assert_uint_eq(h.bucket[HIST_BOUNDS], 1);
	for (int i = 1; i < HIST_BOUNDS; i++)
		ck_assert_int_gt(hist_bounds[i], hist_bounds[i - 1]);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("metrics");
	TCase *tc = tcase_create("core");

	log_set_sink(world_no_log, NULL);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, text_tells_the_truth);
	tcase_add_test(tc, status_is_json_and_balances);
	tcase_add_test(tc, stalled_begins_with_work);
	tcase_add_test(tc, ready_says_why_not);
	tcase_add_test(tc, refusals_survive_restarts);
	tcase_add_test(tc, histogram_bounds);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
