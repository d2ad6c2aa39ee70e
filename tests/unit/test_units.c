/* units: sizes, durations, and the sentences of failures. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/rand.h"
#include "base/units.h"
#include "base/utf8.h"
#include "unit.h"

START_TEST(test_sizes)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} must[] = {
		{ "0", 0 }, { "4096", 4096 }, { "64KiB", 65536 },
		{ "4MiB", 4 << 20 }, { "1GiB", 1 << 30 }, { "2TiB", 2ull << 40 },
		{ "64KB", 64000 }, { "64kB", 64000 }, { "3MB", 3000000 },
		{ "1GB", 1000000000 }, { "12B", 12 }, { "4 MiB", 4 << 20 },
		{ "18446744073709551615", UINT64_MAX },
	};
	static const struct {
		const char *text;
		int code;
	} must_not[] = {
		{ "", -EINVAL }, { "MiB", -EINVAL }, { "-1", -EINVAL },
		{ "4mib", -EINVAL }, { "4M", -EINVAL }, { "1.5GiB", -EINVAL },
		{ "4MiB!", -EINVAL }, { "4MiB 5", -EINVAL }, { "0x10", -EINVAL },
		{ "18446744073709551616", -ERANGE },
		{ "99999999999999999999999", -ERANGE },
		{ "18014398509481984KiB", -ERANGE },
	};
	struct why why;
	uint64_t v;

	for (size_t i = 0; i < NELEM(must); i++) {
		ck_assert_int_eq(units_parse_size(must[i].text, &v, &why), 0);
		ck_assert_uint_eq(v, must[i].bytes);
	}
	for (size_t i = 0; i < NELEM(must_not); i++) {
		v = 77;
		why.text[0] = '\0';
		ck_assert_int_eq(units_parse_size(must_not[i].text, &v, &why),
		    must_not[i].code);
		ck_assert_uint_eq(v, 77);
		ck_assert_str_ne(why.text, "");
	}
	ck_assert_int_eq(units_parse_size("x", &v, NULL), -EINVAL);
}
END_TEST

START_TEST(test_durations)
{
	static const struct {
		const char *text;
		int64_t ms;
	} must[] = {
		{ "0", 0 }, { "0s", 0 }, { "500ms", 500 }, { "30s", 30000 },
		{ "5min", 300000 }, { "5m", 300000 }, { "1h", 3600000 },
		{ "7d", 604800000 }, { "1h30m", 5400000 },
		{ "1h 30min", 5400000 }, { "1d2h3m4s5ms", 93784005 },
	};
	static const struct {
		const char *text;
		int code;
	} must_not[] = {
		{ "", -EINVAL }, { "30", -EINVAL }, { "s", -EINVAL },
		{ "-1s", -EINVAL }, { "1m2h", -EINVAL }, { "1s1s", -EINVAL },
		{ "1.5h", -EINVAL }, { "1h30", -EINVAL }, { "1S", -EINVAL },
		{ "1h0", -EINVAL }, { "99999999999999999999s", -ERANGE },
		{ "9223372036854775807d", -ERANGE },
		{ "9223372036854775ms1s", -EINVAL },
	};
	struct why why;
	int64_t v;

	for (size_t i = 0; i < NELEM(must); i++) {
		ck_assert_msg(units_parse_duration(must[i].text, &v, &why) == 0,
		    "%s: %s", must[i].text, why.text);
		ck_assert_int_eq(v, must[i].ms);
	}
	for (size_t i = 0; i < NELEM(must_not); i++) {
		v = 77;
		ck_assert_int_eq(units_parse_duration(must_not[i].text, &v,
		    &why), must_not[i].code);
		ck_assert_int_eq(v, 77);
	}
}
END_TEST

START_TEST(test_format)
{
	char s[32];

	ck_assert_str_eq(units_format_size(0, s), "0");
	ck_assert_str_eq(units_format_size(1000, s), "1000");
	ck_assert_str_eq(units_format_size(4 << 20, s), "4MiB");
	ck_assert_str_eq(units_format_size(1536, s), "1536");
	ck_assert_str_eq(units_format_size(1536 << 10, s), "1536KiB");
	ck_assert_str_eq(units_format_size(UINT64_MAX, s),
	    "18446744073709551615");
	ck_assert_str_eq(units_format_duration(0, s), "0s");
	ck_assert_str_eq(units_format_duration(30000, s), "30s");
	ck_assert_str_eq(units_format_duration(300000, s), "5min");
	ck_assert_str_eq(units_format_duration(1500, s), "1500ms");
	ck_assert_str_eq(units_format_duration(172800000, s), "2d");
	ck_assert_str_eq(units_format_duration(5400000, s), "90min");
}
END_TEST

/* What is written reads back as the same. */
START_TEST(test_round_trip)
{
	struct rng rng;
	char s[32];

	rng_seed(&rng, 3);
	for (int i = 0; i < 20000; i++) {
		uint64_t v = rng_u64(&rng) >> rng_below(&rng, 64), back;
		v &= ~0ull << rng_below(&rng, 40);
		ck_assert_int_eq(units_parse_size(units_format_size(v, s),
		    &back, NULL), 0);
		ck_assert_uint_eq(back, v);
		int64_t ms = (int64_t)(v >> 12), ms_back;
		ck_assert_int_eq(units_parse_duration(
		    units_format_duration(ms, s), &ms_back, NULL), 0);
		ck_assert_int_eq(ms, ms_back);
	}
}
END_TEST

START_TEST(test_why)
{
	struct why why;

	ck_assert_int_eq(why_set(&why, -EIO, "a\nb %d", 3), -EIO);
	ck_assert_str_eq(why.text, "a b 3");
	ck_assert_int_eq(why_errno(&why, -ENOENT, "%s", "x"), -ENOENT);
	ck_assert_str_eq(why.text, "x: No such file or directory");
	ck_assert_int_eq(why_prefix(&why, -ENOENT, "conf"), -ENOENT);
	ck_assert_str_eq(why.text, "conf: x: No such file or directory");
	for (int i = 0; i < 100; i++)
		ck_assert_int_eq(why_prefix(&why, -1, "prefix %d", i), -1);
	ck_assert_uint_eq(strlen(why.text), sizeof why.text - 1);
	ck_assert_int_eq(why_set(NULL, -3, "x"), -3);
	ck_assert_int_eq(why_errno(NULL, -3, "x"), -3);
	ck_assert_int_eq(why_prefix(NULL, -3, "x"), -3);
}
END_TEST

START_TEST(test_clock)
{
	struct mono t = { 5000 };

	ck_assert_int_eq(mono_add_ms(t, 10).us, 15000);
	ck_assert_int_eq(mono_add_ms(t, INT64_MAX).us, INT64_MAX);
	ck_assert_int_eq(mono_add_ms(MONO_NEVER, 1).us, INT64_MAX);
	ck_assert_int_eq(mono_sub_ms((struct mono){ 15000 }, t), 10);
	struct now a = clock_now(), b = clock_now();
	ck_assert_int_le(a.mono.us, b.mono.us);
	ck_assert_int_gt(a.wall.us, INT64_C(1600000000000000));
}
END_TEST

/* Table 3-8 of Unicode 15, and the edges of each length. */
START_TEST(test_utf8)
{
	static const struct {
		const char *bytes;
		int want;
		uint32_t cp;
	} t[] = {
		{ "a", 1, 'a' }, { "\x7f", 1, 0x7f }, { "\xc2\x80", 2, 0x80 },
		{ "\xdf\xbf", 2, 0x7ff }, { "\xe0\xa0\x80", 3, 0x800 },
		{ "\xed\x9f\xbf", 3, 0xd7ff }, { "\xee\x80\x80", 3, 0xe000 },
		{ "\xef\xbf\xbf", 3, 0xffff },
		{ "\xf0\x90\x80\x80", 4, 0x10000 },
		{ "\xf4\x8f\xbf\xbf", 4, 0x10ffff },
		{ "\x80", -1, 0xfffd }, { "\xbf", -1, 0xfffd },
		{ "\xc0\xaf", -1, 0xfffd }, { "\xc1\xbf", -1, 0xfffd },
		{ "\xc2", -1, 0xfffd }, { "\xc2 ", -1, 0xfffd },
		{ "\xe0\x80\xaf", -1, 0xfffd }, { "\xe0\xa0", -2, 0xfffd },
		{ "\xed\xa0\x80", -1, 0xfffd }, { "\xe2\x82", -2, 0xfffd },
		{ "\xe2\x82 ", -2, 0xfffd }, { "\xf0\x80\x80\x80", -1, 0xfffd },
		{ "\xf1\x80\x80", -3, 0xfffd }, { "\xf1\x80", -2, 0xfffd },
		{ "\xf4\x90\x80\x80", -1, 0xfffd }, { "\xf5\x80", -1, 0xfffd },
		{ "\xff", -1, 0xfffd },
	};
	uint32_t cp;

	for (size_t i = 0; i < NELEM(t); i++) {
		ck_assert_int_eq(utf8_next((const uint8_t *)t[i].bytes,
		    strlen(t[i].bytes), &cp), t[i].want);
		ck_assert_uint_eq(cp, t[i].cp);
	}
}
END_TEST

int
main(void)
{
	return unit_run("units", (const TTest *const[]){ test_sizes,
	    test_durations, test_format, test_round_trip, test_why, test_clock,
	    test_utf8, NULL });
}
