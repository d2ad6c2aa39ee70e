/* test_runs: the run table against a simple model, and its corners. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rand.h"
#include "core/runs.h"
#include "store/spool.h"

static struct now
at(int64_t ms)
{
	return (struct now){ { ms * 1000 + 1 }, { ms * 1000 } };
}

static struct journal_place
place(uint32_t n, uint32_t len)
{
	return (struct journal_place){ 1 + n / 100, n * 64, len };
}

START_TEST(opens_finds_and_closes)
{
	struct runs *rs = runs_new();

	ck_assert_ptr_null(runs_find(rs, "a", 1));
	struct run *r = runs_open(rs, "a", 1, at(5));
	ck_assert_ptr_eq(runs_find(rs, "a", 1), r);
	ck_assert_str_eq(r->runid, "a");
	ck_assert_uint_eq(runs_part(rs, r), 1);
	ck_assert_uint_eq(runs_count(rs), 1);
	runs_add(rs, r, place(0, 10), 7, at(6));
	runs_add(rs, r, place(1, 20), 9, at(7));
	ck_assert_uint_eq(runs_bytes(rs), 30);
	ck_assert_uint_eq(runs_events(rs), 2);
	ck_assert_uint_eq(runs_lsn(r, 0), 7);
	ck_assert_uint_eq(runs_lsn(r, 1), 9);
	runs_close(rs, r, 4);
	ck_assert_uint_eq(runs_count(rs), 0);
	ck_assert_uint_eq(runs_bytes(rs), 0);
	ck_assert_uint_eq(runs_events(rs), 0);
	/* A late event continues its run. */
	r = runs_open(rs, "a", 1, at(8));
	ck_assert_uint_eq(runs_part(rs, r), 4);
	runs_free(rs);
}
END_TEST

START_TEST(lsn_beyond_32_bits)
{
	struct runs *rs = runs_new();
	struct run *r = runs_open(rs, "a", 1, at(0));
	uint64_t base = 0x1fffffff0ull;

	for (uint32_t i = 0; i < 40; i++)
		runs_add(rs, r, place(i, 1), base + i, at(1));
	for (uint32_t i = 0; i < 40; i++)
		ck_assert_uint_eq(runs_lsn(r, i), base + i);
	runs_free(rs);
}
END_TEST

START_TEST(deadline_lists_keep_order)
{
	struct runs *rs = runs_new();
	struct run *a = runs_open(rs, "a", 1, at(1));
	struct run *b = runs_open(rs, "b", 1, at(2));

	runs_add(rs, a, place(0, 1), 1, at(1));
	runs_add(rs, b, place(1, 1), 2, at(2));
	ck_assert_ptr_eq(runs_idle_first(rs), a);
	runs_add(rs, a, place(2, 1), 3, at(3));
	ck_assert_ptr_eq(runs_idle_first(rs), b);
	ck_assert_ptr_eq(runs_age_first(rs), a);
	/* What is left after a cut is young again. */
	runs_cut(rs, a, 1, at(4));
	ck_assert_ptr_eq(runs_age_first(rs), b);
	ck_assert_uint_eq(a->n, 1);
	ck_assert_uint_eq(runs_lsn(a, 0), 3);
	runs_free(rs);
}
END_TEST

START_TEST(due_and_end)
{
	struct runs *rs = runs_new();
	struct run *a = runs_open(rs, "a", 1, at(1));
	struct run *b = runs_open(rs, "b", 1, at(1));

	runs_set_due(rs, a, SPOOL_SIZE);
	runs_set_due(rs, b, SPOOL_END);
	runs_set_due(rs, a, SPOOL_END);
	runs_set_due(rs, a, SPOOL_SIZE);
	ck_assert_ptr_eq(runs_due(rs), a);
	ck_assert_uint_eq(a->due, SPOOL_END);
	runs_close(rs, a, 2);
	ck_assert_ptr_eq(runs_due(rs), b);
	runs_clear_due(rs, b);
	ck_assert_ptr_null(runs_due(rs));
	runs_free(rs);
}
END_TEST

START_TEST(prepend_and_remove)
{
	struct runs *rs = runs_new();
	struct run *r = runs_open(rs, "a", 1, at(1));
	struct run_event old[3] = {
		{ place(0, 5), 1 }, { place(1, 6), 2 }, { place(2, 7), 3 },
	};

	runs_add(rs, r, place(9, 100), 10, at(2));
	runs_prepend(rs, r, old, 3, 3, at(3));
	ck_assert_uint_eq(r->n, 4);
	ck_assert_uint_eq(r->json_bytes, 118);
	ck_assert_uint_eq(runs_bytes(rs), 118);
	for (uint32_t i = 0; i < 3; i++)
		ck_assert_uint_eq(runs_lsn(r, i), i + 1);
	ck_assert_uint_eq(runs_lsn(r, 3), 10);
	runs_remove(rs, r, 1);
	ck_assert_uint_eq(r->n, 3);
	ck_assert_uint_eq(runs_lsn(r, 1), 3);
	ck_assert_uint_eq(runs_bytes(rs), 112);
	runs_free(rs);
}
END_TEST

START_TEST(part_memory_is_bounded)
{
	const struct journal_part *parts;
	struct runs *rs = runs_new();

	for (uint64_t i = 0; i < RUNS_PARTS * 2 + 10; i++)
		runs_remember(rs, i * 0x9e3779b97f4a7c15ull,
		    (uint32_t)i + 2);
	size_t n = runs_parts(rs, &parts);
	ck_assert_uint_eq(n, RUNS_PARTS);
	for (size_t i = 0; i < n; i++) {
		uint64_t k = RUNS_PARTS + 10 + i;
		ck_assert_uint_eq(parts[i].run_hash,
		    k * 0x9e3779b97f4a7c15ull);
		ck_assert_uint_eq(parts[i].part, (uint32_t)k + 2);
	}
	/* The same run again takes no second place. */
	runs_remember(rs, parts[5].run_hash, 77);
	ck_assert_uint_eq(runs_parts(rs, &parts), RUNS_PARTS);
	ck_assert_uint_eq(parts[5].part, 77);
	/* An open run that has had parts comes last. */
	struct run *r = runs_open(rs, "open", 4, at(1));
	runs_set_part(rs, r, 9);
	(void)runs_open(rs, "fresh", 5, at(1));
	ck_assert_uint_eq(runs_parts(rs, &parts), RUNS_PARTS + 1);
	ck_assert_uint_eq(parts[RUNS_PARTS].run_hash, runs_hash("open", 4));
	ck_assert_uint_eq(parts[RUNS_PARTS].part, 9);
	runs_free(rs);
}
END_TEST

/* At the end of runs_parts(): each open run of a part above 1, once. */
static void
model_check_parts(struct runs *rs)
{
	const struct journal_part *parts;
	size_t all = runs_parts(rs, &parts), above = 0;

	for (struct run *r = runs_idle_first(rs); r != NULL;
	    r = runs_idle_next(r))
		above += runs_part(rs, r) > 1;
	ck_assert_uint_gt(above, 0);
	ck_assert_uint_ge(all, above);
	for (struct run *r = runs_idle_first(rs); r != NULL;
	    r = runs_idle_next(r)) {
		size_t found = 0;

		for (size_t i = all - above; i < all; i++)
			found += parts[i].run_hash == r->hash &&
			    parts[i].part == runs_part(rs, r);
		ck_assert_uint_eq(found, runs_part(rs, r) > 1);
	}
}

/* Random operations on many runs against arrays. */
START_TEST(model)
{
	enum { RUNS = 3000, OPS = 60000 };
	static struct { uint32_t n, part; uint64_t bytes; bool open; } m[RUNS];
	struct runs *rs = runs_new();
	struct rng rng;
	uint64_t lsn = 0, total = 0;
	char id[16];

	memset(m, 0, sizeof m);
	rng_seed(&rng, (uint64_t)_i + 11);
	for (int op = 0; op < OPS; op++) {
		size_t k = rng_below(&rng, RUNS);
		size_t len = (size_t)snprintf(id, sizeof id, "run_%zu", k);
		struct run *r = runs_find(rs, id, len);

		ck_assert_int_eq(r != NULL, m[k].open);
		if (r != NULL && rng_below(&rng, 8) == 0) {
			ck_assert_uint_eq(r->n, m[k].n);
			ck_assert_uint_eq(r->json_bytes, m[k].bytes);
			total -= m[k].n;
			m[k].n = 0;
			m[k].bytes = 0;
			m[k].open = false;
			m[k].part = runs_part(rs, r) + 1;
			runs_close(rs, r, m[k].part);
			continue;
		}
		if (r == NULL) {
			r = runs_open(rs, id, len, at(op));
			m[k].open = true;
			if (RUNS < RUNS_PARTS)
				ck_assert_uint_eq(runs_part(rs, r),
				    m[k].part == 0 ? 1 : m[k].part);
		}
		uint32_t bytes = (uint32_t)rng_below(&rng, 1000);
		runs_add(rs, r, place((uint32_t)op, bytes), ++lsn, at(op));
		if (rng_below(&rng, 16) == 0) {
			m[k].part = (uint32_t)rng_below(&rng, 4) + 1;
			runs_set_part(rs, r, m[k].part);
		}
		m[k].n++;
		m[k].bytes += bytes;
		total++;
		ck_assert_uint_eq(runs_events(rs), total);
	}
	/* Both lists hold all runs; idle is in the order of last. */
	size_t n = 0;
	int64_t last = 0;
	for (struct run *r = runs_idle_first(rs); r != NULL;
	    r = runs_idle_next(r)) {
		ck_assert_int_ge(r->last.us, last);
		last = r->last.us;
		n++;
	}
	ck_assert_uint_eq(n, runs_count(rs));
	model_check_parts(rs);
	runs_free(rs);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("runs");
	TCase *tc = tcase_create("core");

	tcase_add_test(tc, opens_finds_and_closes);
	tcase_add_test(tc, lsn_beyond_32_bits);
	tcase_add_test(tc, deadline_lists_keep_order);
	tcase_add_test(tc, due_and_end);
	tcase_add_test(tc, prepend_and_remove);
	tcase_add_test(tc, part_memory_is_bounded);
	tcase_add_loop_test(tc, model, 0, 3);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
