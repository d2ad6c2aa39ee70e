/* test_backoff: bounds, spread and Retry-After of the back-off. */
#include <check.h>
#include <stdlib.h>

#include "core/backoff.h"

static const struct mono t0 = { 5000000 };

START_TEST(grows_to_the_cap_with_full_jitter)
{
	struct rng rng;
	int64_t most[16] = { 0 };

	rng_seed(&rng, 1);
	for (int round = 0; round < 2000; round++) {
		struct backoff b;
		backoff_reset(&b);
		int64_t ceiling = BACKOFF_MIN_MS;
		for (int i = 0; i < 12; i++) {
			int64_t w = backoff_fail(&b, &rng, t0, BACKOFF_MIN_MS,
			    BACKOFF_MAX_MS, -1);
			ck_assert_int_ge(w, BACKOFF_FLOOR_MS);
			ck_assert_int_le(w, ceiling);
			ck_assert_int_eq(b.until.us, t0.us + w * 1000);
			if (w > most[i])
				most[i] = w;
			ceiling = ceiling * 2 > BACKOFF_MAX_MS ?
			    BACKOFF_MAX_MS : ceiling * 2;
		}
	}
	/* The draws use the whole range. */
	ck_assert_int_gt(most[0], 900);
	ck_assert_int_gt(most[5], 30000);
	ck_assert_int_gt(most[11], 290000);
}
END_TEST

START_TEST(retry_after_is_a_floor)
{
	struct rng rng;
	int64_t low = INT64_MAX, high = 0;

	rng_seed(&rng, 2);
	for (int i = 0; i < 1000; i++) {
		struct backoff b;
		backoff_reset(&b);
		int64_t w = backoff_fail(&b, &rng, t0, BACKOFF_MIN_MS,
		    BACKOFF_MAX_MS, 60000);
		ck_assert_int_ge(w, 60000);
		ck_assert_int_le(w, 75000);
		low = w < low ? w : low;
		high = w > high ? w : high;
	}
	ck_assert_int_lt(low, 61000);
	ck_assert_int_gt(high, 74000);
}
END_TEST

START_TEST(over_and_reset)
{
	struct rng rng;
	struct backoff b;

	rng_seed(&rng, 3);
	backoff_reset(&b);
	ck_assert(backoff_over(&b, t0));
	int64_t w = backoff_fail(&b, &rng, t0, BACKOFF_MIN_MS, BACKOFF_MAX_MS,
	    -1);
	ck_assert(!backoff_over(&b, t0));
	ck_assert(!backoff_over(&b, mono_add_ms(t0, w - 1)));
	ck_assert(backoff_over(&b, mono_add_ms(t0, w)));
	ck_assert_uint_eq(b.failures, 1);
	backoff_reset(&b);
	ck_assert(backoff_over(&b, t0));
	ck_assert_uint_eq(b.failures, 0);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("backoff");
	TCase *tc = tcase_create("core");

	tcase_add_test(tc, grows_to_the_cap_with_full_jitter);
	tcase_add_test(tc, retry_after_is_a_floor);
	tcase_add_test(tc, over_and_reset);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
