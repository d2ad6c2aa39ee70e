/* timefmt: against gmtime(3), and tables of what must and must not parse. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/rand.h"
#include "codec/timefmt.h"
#include "unit.h"

START_TEST(test_write)
{
	char s[TIMEFMT_MAX];

	ck_assert_uint_eq(timefmt_rfc3339_ms((struct wall){ 0 }, s), 24);
	ck_assert_str_eq(s, "1970-01-01T00:00:00.000Z");
	ck_assert_uint_eq(timefmt_rfc3339_ms(
	    (struct wall){ INT64_C(1795435200123999) }, s), 24);
	ck_assert_str_eq(s, "2026-11-23T12:00:00.123Z");
	timefmt_rfc3339_ms((struct wall){ -1 }, s);
	ck_assert_str_eq(s, "1969-12-31T23:59:59.999Z");
	timefmt_rfc3339_ms((struct wall){ INT64_MAX }, s);
	ck_assert_uint_eq(strlen(s), 24);
	timefmt_rfc3339_ms((struct wall){ INT64_MIN }, s);
	ck_assert_uint_eq(strlen(s), 24);

	ck_assert_uint_eq(timefmt_rfc3339_ns(951782399, 123456789, s), 30);
	ck_assert_str_eq(s, "2000-02-28T23:59:59.123456789Z");
	ck_assert_uint_eq(timefmt_rfc3339_ns(INT64_C(253402300799), 999999999,
	    s), 30);
	ck_assert_str_eq(s, "9999-12-31T23:59:59.999999999Z");
	ck_assert_uint_eq(timefmt_rfc3339_ns(INT64_C(253402300800), 0, s), 0);
	ck_assert_uint_eq(timefmt_rfc3339_ns(-INT64_C(62167219200), 0, s), 30);
	ck_assert_str_eq(s, "0000-01-01T00:00:00.000000000Z");
	ck_assert_uint_eq(timefmt_rfc3339_ns(-INT64_C(62167219201), 0, s), 0);
	ck_assert_uint_eq(timefmt_rfc3339_ns(0, 1000000000, s), 0);
	ck_assert_uint_eq(timefmt_rfc3339_ns(INT64_MIN, 0, s), 0);
}
END_TEST

/* What is written is what gmtime(3) says, and reads back. */
START_TEST(test_against_gmtime)
{
	char s[TIMEFMT_MAX], want[128];
	struct wall back;
	struct rng rng;
	struct tm tm;

	rng_seed(&rng, 2);
	for (int i = 0; i < 200000; i++) {
		int64_t sec = (int64_t)rng_below(&rng, 315569519999) -
		    INT64_C(62167219200);
		if (i % 3 == 0)
			sec = (int64_t)rng_below(&rng, 3000000000);
		if (i % 7 == 0)
			sec -= sec % 86400;
		time_t t = (time_t)sec;
		ck_assert_ptr_nonnull(gmtime_r(&t, &tm));
		uint32_t ns = (uint32_t)rng_below(&rng, 1000000000);
		(void)snprintf(want, sizeof want,
		    "%04d-%02d-%02dT%02d:%02d:%02d.%09" PRIu32 "Z",
		    tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour,
		    tm.tm_min, tm.tm_sec, ns);
		ck_assert_uint_eq(timefmt_rfc3339_ns(sec, ns, s), 30);
		ck_assert_str_eq(s, want);
		ck_assert_int_eq(timefmt_parse_rfc3339(s, &back), 0);
		ck_assert_int_eq(back.us, sec * 1000000 + ns / 1000);
		ck_assert_uint_eq(timefmt_rfc3339_ms(back, s), 24);
		ck_assert_int_eq(memcmp(s, want, 23), 0);
		if (tm.tm_year < 70 || tm.tm_year > 8000)
			continue;
		static const char *const forms[] = {
			"%a, %d %b %Y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y",
			"%A, %d-%b-%y %H:%M:%S GMT" };
		for (int f = 0; f < (tm.tm_year < 170 ? 3 : 2); f++) {
			ck_assert_uint_ne(strftime(want, sizeof want,
			    forms[f], &tm), 0);
			ck_assert_msg(timefmt_parse_http_date(want, &back) ==
			    0, "%s", want);
			ck_assert_int_eq(back.us, sec * 1000000);
		}
	}
}
END_TEST

START_TEST(test_parse_rfc3339)
{
	static const struct {
		const char *text;
		int64_t us;
	} must[] = {
		{ "1970-01-01T00:00:00Z", 0 },
		{ "1970-01-01t00:00:00z", 0 },
		{ "1970-01-01 00:00:00Z", 0 },
		{ "1970-01-01T01:30:00+01:30", 0 },
		{ "1969-12-31T22:00:00-02:00", 0 },
		{ "1970-01-01T00:00:00-00:00", 0 },
		{ "1970-01-01T00:00:00.5Z", 500000 },
		{ "1970-01-01T00:00:00.123456789123456789Z", 123456 },
		{ "1969-12-31T23:59:59.5Z", -500000 },
		{ "2016-12-31T23:59:60Z", 1483228800000000 },
		{ "2000-02-29T00:00:00Z", 951782400000000 },
	};
	static const char *const must_not[] = {
		"", "1970", "1970-01-01", "1970-01-01T00:00:00",
		"1970-01-01T00:00Z", "1970-01-01T00:00:00.Z",
		"1970-13-01T00:00:00Z", "1970-00-01T00:00:00Z",
		"1970-01-00T00:00:00Z", "1970-01-32T00:00:00Z",
		"1900-02-29T00:00:00Z", "2001-02-29T00:00:00Z",
		"1970-04-31T00:00:00Z", "1970-01-01T24:00:00Z",
		"1970-01-01T00:60:00Z", "1970-01-01T00:00:61Z",
		"1970-01-01T00:00:00+24:00", "1970-01-01T00:00:00+01:60",
		"1970-01-01T00:00:00+0100", "1970-01-01T00:00:00Z ",
		" 1970-01-01T00:00:00Z", "1970-1-01T00:00:00Z",
		"-1970-01-01T00:00:00Z", "1970-01-01T0a:00:00Z",
	};
	struct wall t;

	for (size_t i = 0; i < NELEM(must); i++) {
		ck_assert_msg(timefmt_parse_rfc3339(must[i].text, &t) == 0,
		    "%s", must[i].text);
		ck_assert_int_eq(t.us, must[i].us);
	}
	for (size_t i = 0; i < NELEM(must_not); i++)
		ck_assert_msg(timefmt_parse_rfc3339(must_not[i], &t) ==
		    -EINVAL, "%s", must_not[i]);
}
END_TEST

START_TEST(test_parse_http_date)
{
	static const char *const must[] = {	/* RFC 9110 5.6.7 */
		"Sun, 06 Nov 1994 08:49:37 GMT",
		"Sunday, 06-Nov-94 08:49:37 GMT",
		"Sun Nov  6 08:49:37 1994",
	};
	static const char *const must_not[] = {
		"", "now", "784111777", "Sun, 06 Nov 1994 08:49:37",
		"Sun, 06 Nov 1994 08:49:37 UTC", "Sun, 6 Nov 1994 08:49:37 GMT",
		"Xxx, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Xxx 1994 08:49:37 GMT",
		"Sun, 31 Feb 1994 08:49:37 GMT", "Sun, 06 Nov 1994 25:49:37 GMT",
		"Sun, 06 Nov 1994 08:49:37 GMT ", "Sun Nov 6 08:49:37 1994",
		"Sun Nov  6 08:49:37 94", "Sun, 06-Nov-94 08:49:37 GMT",
		"Sunday, 06-Nov-1994 08:49:37 GMT",
	};
	struct wall t;

	for (size_t i = 0; i < NELEM(must); i++) {
		ck_assert_int_eq(timefmt_parse_http_date(must[i], &t), 0);
		ck_assert_int_eq(t.us, INT64_C(784111777000000));
	}
	for (size_t i = 0; i < NELEM(must_not); i++)
		ck_assert_msg(timefmt_parse_http_date(must_not[i], &t) ==
		    -EINVAL, "%s", must_not[i]);
}
END_TEST

START_TEST(test_retry_after)
{
	static const struct {
		const char *text;
		int r;
		int64_t ms;
	} t[] = {
		{ "0", 0, 0 }, { "1", 0, 1000 }, { " 120\t", 0, 120000 },
		{ "3600", 0, 3600000 }, { "3601", 0, 3600000 },
		{ "99999999999999999999999999999", 0, 3600000 },
		{ "Sun, 06 Nov 1994 08:49:37 GMT", 0, 7000 },
		{ "Sun, 06 Nov 1994 08:49:00 GMT", 0, 0 },
		{ "Sun, 06 Nov 2094 08:49:37 GMT", 0, 3600000 },
		{ "", -EINVAL, 7 }, { "-1", -EINVAL, 7 }, { "1.5", -EINVAL, 7 },
		{ "1s", -EINVAL, 7 }, { "+1", -EINVAL, 7 },
		{ "soon", -EINVAL, 7 },
		{ "Sun, 06 Nov 1994 08:49:37 GMT, and more than will be read "
		  "of it", -EINVAL, 7 },
	};
	const struct wall now = { INT64_C(784111770000000) };

	for (size_t i = 0; i < NELEM(t); i++) {
		int64_t ms = 7;
		ck_assert_int_eq(timefmt_parse_retry_after(t[i].text, now,
		    3600000, &ms), t[i].r);
		ck_assert_int_eq(ms, t[i].ms);
	}
}
END_TEST

/* Random text near the forms: nothing is read past its end. */
START_TEST(test_rubbish)
{
	static const char *const seeds[] = { "1970-01-01T00:00:00.5+01:00",
		"Sun, 06 Nov 1994 08:49:37 GMT", "Sun Nov  6 08:49:37 1994",
		"Sunday, 06-Nov-94 08:49:37 GMT", "120" };
	struct wall t;
	struct rng rng;
	int64_t ms;

	rng_seed(&rng, 5);
	for (int i = 0; i < 100000; i++) {
		char *s = strdup(seeds[rng_below(&rng, NELEM(seeds))]);
		size_t n = strlen(s);
		s[rng_below(&rng, n)] = (char)rng_u64(&rng);
		if (rng_below(&rng, 2))
			s[rng_below(&rng, n)] = '\0';
		/* Codes do not matter here; sanitizers look on. */
		if (timefmt_parse_rfc3339(s, &t) == 0)
			ck_assert_int_lt(t.us, INT64_C(300000000000000000));
		if (timefmt_parse_http_date(s, &t) == 0)
			ck_assert_int_lt(t.us, INT64_C(300000000000000000));
		if (timefmt_parse_retry_after(s, (struct wall){ 0 }, 1000,
		    &ms) == 0)
			ck_assert(ms >= 0 && ms <= 1000);
		free(s);
	}
}
END_TEST

int
main(void)
{
	return unit_run("timefmt", (const TTest *const[]){ test_write,
	    test_against_gmtime, test_parse_rfc3339, test_parse_http_date,
	    test_retry_after, test_rubbish, NULL });
}
