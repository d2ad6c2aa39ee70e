/* test_rand: repeatable, in range, and not lopsided. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/rand.h"
#include "base/why.h"

START_TEST(one_seed_is_one_sequence)
{
	struct rng a, b, c;
	int same = 0;

	rng_seed(&a, 42);
	rng_seed(&b, 42);
	rng_seed(&c, 43);
	for (int i = 0; i < 1000; i++) {
		uint64_t v = rng_u64(&a);
		ck_assert_uint_eq(v, rng_u64(&b));
		same += v == rng_u64(&c);
	}
	ck_assert_int_eq(same, 0);
}
END_TEST

START_TEST(a_zero_seed_is_a_seed)
{
	struct rng r;

	rng_seed(&r, 0);
	ck_assert_uint_ne(rng_u64(&r) | rng_u64(&r), 0);
}
END_TEST

START_TEST(below_is_below_and_even)
{
	struct rng r;
	unsigned hits[7] = { 0 };

	rng_seed(&r, 1);
	for (int i = 0; i < 70000; i++) {
		uint64_t v = rng_below(&r, 7);
		ck_assert_uint_lt(v, 7);
		hits[v]++;
	}
	for (int i = 0; i < 7; i++) {
		ck_assert_uint_gt(hits[i], 9500);
		ck_assert_uint_lt(hits[i], 10500);
	}
	ck_assert_uint_eq(rng_below(&r, 1), 0);
	for (int i = 0; i < 1000; i++)
		(void)rng_below(&r, UINT64_MAX);
}
END_TEST

START_TEST(unit_is_half_open)
{
	struct rng r;
	double sum = 0;

	rng_seed(&r, 2);
	for (int i = 0; i < 10000; i++) {
		double v = rng_unit(&r);
		ck_assert(v >= 0 && v < 1);
		sum += v;
	}
	ck_assert(sum > 4800 && sum < 5200);
}
END_TEST

START_TEST(os_seeds_differ)
{
	struct rng a, b;

	rng_seed_os(&a);
	rng_seed_os(&b);
	ck_assert_int_ne(memcmp(&a, &b, sizeof a), 0);
}
END_TEST

START_TEST(clock_arithmetic_saturates)
{
	struct mono t = { 1000 };
	struct now now = clock_now();

	ck_assert_int_eq(mono_add_ms(t, 5).us, 6000);
	ck_assert_int_eq(mono_add_ms(MONO_NEVER, 5).us, INT64_MAX);
	ck_assert_int_eq(mono_add_ms(t, INT64_MAX).us, INT64_MAX);
	ck_assert_int_eq(mono_sub_ms((struct mono){ 6999 }, t), 5);
	ck_assert_int_eq(mono_min(t, MONO_NEVER).us, 1000);
	ck_assert_int_le(now.mono.us, clock_mono().us);
	/* 2020 or later. */
	ck_assert_int_gt(now.wall.us, 1577836800000000);
}
END_TEST

START_TEST(why_tells_and_truncates)
{
	struct why why;
	char huge[2000];

	ck_assert_int_eq(why_set(&why, -22, "%s: %d", "a", 7), -22);
	ck_assert_str_eq(why.text, "a: 7");
	ck_assert_int_eq(why_prefix(&why, -5, "file %s", "f"), -5);
	ck_assert_str_eq(why.text, "file f: a: 7");
	ck_assert_int_eq(why_errno(&why, -2, "open"), -2);
	ck_assert_str_eq(why.text, "open: No such file or directory");
	memset(huge, 'x', sizeof huge - 1);
	huge[sizeof huge - 1] = '\0';
	ck_assert_int_eq(why_set(&why, -1, "%s", huge), -1);
	ck_assert_uint_eq(strlen(why.text), sizeof why.text - 1);
	ck_assert_int_eq(why_prefix(&why, -1, "%s", huge), -1);
	ck_assert_uint_eq(strlen(why.text), sizeof why.text - 1);
	ck_assert_int_eq(why_set(NULL, -3, "nobody asks"), -3);
	ck_assert_int_eq(why_errno(NULL, -3, "nobody asks"), -3);
	ck_assert_int_eq(why_prefix(NULL, -3, "nobody asks"), -3);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("rand, clock, why");
	TCase *tc = tcase_create("core");

	tcase_add_test(tc, one_seed_is_one_sequence);
	tcase_add_test(tc, a_zero_seed_is_a_seed);
	tcase_add_test(tc, below_is_below_and_even);
	tcase_add_test(tc, unit_is_half_open);
	tcase_add_test(tc, os_seeds_differ);
	tcase_add_test(tc, clock_arithmetic_saturates);
	tcase_add_test(tc, why_tells_and_truncates);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
