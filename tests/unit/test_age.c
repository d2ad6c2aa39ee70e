/*
 * test_age: a clock that jumps makes nothing old. A clock that was wrong by
 * weeks, for a minute, deleted every dead letter.
 */
#include "core/age.h"
#include "unit.h"

#define HOUR	(3600 * (int64_t)1000)

static struct now
at(int64_t mono_ms, int64_t wall_ms)
{
	return (struct now){ { mono_ms * 1000 }, { wall_ms * 1000 } };
}

START_TEST(what_was_there_is_given_time)
{
	struct age a = { 0 };
	struct wall w;

	ck_assert(!age_limit(&a, at(5000, 10000 * HOUR), 30 * HOUR, &w));
	ck_assert(!age_limit(&a, at(5000 + HOUR - 1, 10001 * HOUR - 1),
	    30 * HOUR, &w));
	ck_assert(age_limit(&a, at(5000 + HOUR, 10001 * HOUR), 30 * HOUR,
	    &w));
	ck_assert_int_eq(w.us, 9971 * HOUR * 1000);
}
END_TEST

START_TEST(a_short_limit_waits_no_longer_than_itself)
{
	struct age a = { 0 };
	struct wall w;

	ck_assert(!age_limit(&a, at(0, 50 * HOUR), 1000, &w));
	ck_assert(!age_limit(&a, at(999, 50 * HOUR + 999), 1000, &w));
	ck_assert(age_limit(&a, at(1000, 50 * HOUR + 1000), 1000, &w));
	ck_assert_int_eq(w.us, 50 * HOUR * 1000);
}
END_TEST

/* Started: it has run for two hours with this clock. */
static struct age
settled(void)
{
	struct age a = { 0 };
	struct wall w;

	(void)age_limit(&a, at(0, 1000 * HOUR), 10 * HOUR, &w);
	ck_assert(age_limit(&a, at(2 * HOUR, 1002 * HOUR), 10 * HOUR, &w));
	return a;
}

START_TEST(a_leap_ahead_is_not_believed)
{
	struct age a = settled();
	struct wall w;

	ck_assert(age_limit(&a, at(2 * HOUR + 1, 9999 * HOUR), 10 * HOUR,
	    &w));
	ck_assert_int_eq(w.us, (992 * HOUR + 1) * 1000);
	/* It is corrected in time. */
	ck_assert(age_limit(&a, at(3 * HOUR, 1003 * HOUR), 10 * HOUR, &w));
	ck_assert_int_eq(w.us, 993 * HOUR * 1000);
	ck_assert(age_limit(&a, at(9 * HOUR, 1009 * HOUR), 10 * HOUR, &w));
	ck_assert_int_eq(w.us, 999 * HOUR * 1000);
}
END_TEST

START_TEST(a_leap_that_lasts_is_believed)
{
	struct age a = settled();
	struct wall w;

	for (int i = 0; i < 60; i++) {
		ck_assert(age_limit(&a, at(2 * HOUR + i * HOUR / 60,
		    2002 * HOUR + i * HOUR / 60), 10 * HOUR, &w));
		ck_assert_int_lt(w.us, 1000 * HOUR * 1000);
	}
	ck_assert(age_limit(&a, at(3 * HOUR, 2003 * HOUR), 10 * HOUR, &w));
	ck_assert_int_eq(w.us, 1993 * HOUR * 1000);
}
END_TEST

/* Each further leap begins to be waited for anew. */
START_TEST(a_clock_gone_mad_is_never_believed)
{
	struct age a = settled();
	struct wall w;

	for (int i = 0; i < 100; i++) {
		ck_assert(age_limit(&a, at((3 + i) * HOUR / 2,
		    (5000 + 100 * i) * HOUR), 10 * HOUR, &w));
		ck_assert_int_lt(w.us, 1100 * HOUR * 1000);
	}
}
END_TEST

START_TEST(back_and_drift_are_believed_at_once)
{
	struct age a = settled();
	struct wall w;

	ck_assert(age_limit(&a, at(2 * HOUR, 500 * HOUR), 10 * HOUR, &w));
	ck_assert_int_eq(w.us, 490 * HOUR * 1000);
	ck_assert(age_limit(&a, at(2 * HOUR, 500 * HOUR + 59000), 10 * HOUR,
	    &w));
	ck_assert_int_eq(w.us, (490 * HOUR + 59000) * 1000);
}
END_TEST

/* What lay on the disk before the host was started has times below 0. */
START_TEST(deadlines_before_the_start)
{
	const struct mono old = { -20000000 };

	ck_assert_int_eq(mono_add_ms(old, 30000).us, 10000000);
	ck_assert_int_eq(mono_add_ms(old, INT64_MAX / 1000).us,
	    INT64_MAX / 1000 * 1000 - 20000000);
	ck_assert_int_eq(mono_add_ms(old, INT64_MAX).us, MONO_NEVER.us);
	ck_assert_int_eq(mono_add_ms((struct mono){ 1000 },
	    INT64_MAX / 1000).us, MONO_NEVER.us);
	ck_assert_int_eq(mono_add_ms(MONO_NEVER, 0).us, MONO_NEVER.us);
	ck_assert_int_eq(mono_add_ms(MONO_NEVER, -1).us, MONO_NEVER.us);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		what_was_there_is_given_time,
		a_short_limit_waits_no_longer_than_itself,
		a_leap_ahead_is_not_believed,
		a_leap_that_lasts_is_believed,
		a_clock_gone_mad_is_never_believed,
		back_and_drift_are_believed_at_once,
		deadlines_before_the_start,
		NULL
	};

	return unit_run("age", tests);
}
