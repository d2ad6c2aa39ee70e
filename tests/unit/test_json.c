/* json: strings, numbers and base64, read back by json-c. */
#include <errno.h>
#include <inttypes.h>
#include <json.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/rand.h"
#include "base/utf8.h"
#include "codec/json.h"
#include "unit.h"

static struct buf b;

/* What was written since the last time. */
static const char *
written(void)
{
	static char text[4096];

	ck_assert_int_eq(buf_error(&b), 0);
	ck_assert_uint_lt(b.len, sizeof text);
	memcpy(text, b.data, b.len);
	text[b.len] = '\0';
	b.len = 0;
	return text;
}

START_TEST(test_strings)
{
	static const struct {
		const char *in;
		size_t len;
		const char *out;
	} t[] = {
#define T(in, out)	{ in, sizeof (in) - 1, out }
		T("", "\"\""),
		T("a", "\"a\""),
		T("\"\\/", "\"\\\"\\\\/\""),
		T("\b\t\n\f\r", "\"\\b\\t\\n\\f\\r\""),
		T("\0\x01\x1f\x7f", "\"\\u0000\\u0001\\u001f\x7f\""),
		T("\x0b", "\"\\u000b\""),
		T("12345678\"", "\"12345678\\\"\""),
		T("1234567\"9", "\"1234567\\\"9\""),
		T("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80",
		    "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\""),
		T("\xe2\x80\xa8", "\"\xe2\x80\xa8\""),
		/* One U+FFFD for each maximal subpart. */
		T("\xff", "\"\xef\xbf\xbd\""),
		T("\xe2\x82", "\"\xef\xbf\xbd\""),
		T("\xe2\x82.", "\"\xef\xbf\xbd.\""),
		T("\xf0\x9f\x98", "\"\xef\xbf\xbd\""),
		T("\xf0\x80\x80\x41",
		    "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" "A\""),
		T("\xed\xa0\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""),
		T("\xc0\xaf", "\"\xef\xbf\xbd\xef\xbf\xbd\""),
		T("\xe0\x80\xaf", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""),
		T("a\x80\xe2\x82\"", "\"a\xef\xbf\xbd\xef\xbf\xbd\\\"\""),
	};

	buf_init(&b, 0);
	for (size_t i = 0; i < NELEM(t); i++) {
		json_put_string(&b, t[i].in, t[i].len);
		ck_assert_str_eq(written(), t[i].out);
		ck_assert_uint_eq(json_string_len(t[i].in, t[i].len),
		    strlen(t[i].out));
		json_put_escaped(&b, t[i].in, t[i].len);
		ck_assert_uint_eq(strlen(written()), strlen(t[i].out) - 2);
	}
	buf_free(&b);
}
END_TEST

/* Every byte at every place of the words that are looked at as a whole. */
START_TEST(test_every_byte_everywhere)
{
	buf_init(&b, 0);
	for (size_t len = 1; len < 36; len++) {
		for (size_t at = 0; at < len; at++) {
			for (int c = 0; c < 256; c++) {
				char in[40], want[60], esc[8];
				memset(in, 'x', sizeof in);
				in[at] = (char)c;
				if (c >= 0x80)
					strcpy(esc, "\xef\xbf\xbd");
				else if (c == '"' || c == '\\')
					(void)snprintf(esc, 8, "\\%c", c);
				else if (c >= 0x20)
					(void)snprintf(esc, 8, "%c", c);
				else if (strchr("\b\t\n\f\r", c) && c != 0)
					(void)snprintf(esc, 8, "\\%c",
					    "btn?fr"[c - 8]);
				else
					(void)snprintf(esc, 8, "\\u%04x",
					    (unsigned)c);
				(void)snprintf(want, sizeof want, "\"%.*s%s%.*s\"",
				    (int)at, in, esc, (int)(len - at - 1),
				    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
				json_put_string(&b, in, len);
				ck_assert_str_eq(written(), want);
			}
		}
	}
	buf_free(&b);
}
END_TEST

/* Random bytes: json-c takes it, and the length is as foretold. */
START_TEST(test_random_strings)
{
	struct rng rng;

	rng_seed(&rng, 4);
	buf_init(&b, 0);
	for (int i = 0; i < 30000; i++) {
		char in[64];
		size_t n = rng_below(&rng, sizeof in);
		int mode = (int)rng_below(&rng, 3);
		for (size_t k = 0; k < n; k++)
			in[k] = (char)(mode == 0 ? rng_u64(&rng) :
			    mode == 1 ? 0x80 + rng_below(&rng, 128) :
			    0x18 + rng_below(&rng, 0x70));
		json_put_string(&b, in, n);
		ck_assert_uint_eq(b.len, json_string_len(in, n));
		struct json_tokener *tok = json_tokener_new();
		json_tokener_set_flags(tok, JSON_TOKENER_STRICT |
		    JSON_TOKENER_VALIDATE_UTF8);
		struct json_object *o = json_tokener_parse_ex(tok,
		    (char *)b.data, (int)b.len);
		ck_assert_ptr_nonnull(o);
		if (mode == 2 && memchr(in, '\x80', n) == NULL) {
			bool ascii = true;
			for (size_t k = 0; k < n; k++)
				ascii = ascii && (uint8_t)in[k] < 0x80;
			if (ascii) {
				ck_assert_int_eq(
				    json_object_get_string_len(o), (int)n);
				ck_assert(memcmp(json_object_get_string(o),
				    in, n) == 0);
			}
		}
		json_object_put(o);
		json_tokener_free(tok);
		b.len = 0;
	}
	buf_free(&b);
}
END_TEST

START_TEST(test_limit)
{
	for (size_t max = 1; max < 200; max++) {
		char in[64];
		memset(in, '\n', sizeof in);
		buf_init(&b, max);
		json_put_string(&b, in, sizeof in);
		ck_assert_int_eq(buf_error(&b), max < 130 ? -ENOBUFS : 0);
		ck_assert_uint_le(b.len, max);
		buf_free(&b);
	}
}
END_TEST

START_TEST(test_integers)
{
	struct rng rng;
	char want[32];

	rng_seed(&rng, 8);
	buf_init(&b, 0);
	for (int i = 0; i < 50000; i++) {
		uint64_t v = i < 2000 ? (uint64_t)i : rng_u64(&rng) >>
		    rng_below(&rng, 64);
		if (i == 2000)
			v = UINT64_MAX;
		if (i == 2001)
			v = (uint64_t)INT64_MIN;
		json_put_uint(&b, v);
		(void)snprintf(want, sizeof want, "%" PRIu64, v);
		ck_assert_str_eq(written(), want);
		json_put_int(&b, (int64_t)v);
		(void)snprintf(want, sizeof want, "%" PRId64, (int64_t)v);
		ck_assert_str_eq(written(), want);
		json_put_int(&b, (int64_t)-v);
		(void)snprintf(want, sizeof want, "%" PRId64, (int64_t)-v);
		ck_assert_str_eq(written(), want);
	}
	buf_free(&b);
}
END_TEST

START_TEST(test_doubles)
{
	static const struct {
		double d;
		const char *text;
	} t[] = {
		{ 0, "0.0" }, { -0.0, "-0.0" }, { 1, "1.0" }, { -1, "-1.0" },
		{ 0.1, "0.1" }, { 0.25, "0.25" }, { 12.5, "12.5" },
		{ 1732366.123, "1732366.123" }, { 0.0042, "0.0042" },
		{ 1e-5, "0.00001" }, { 123456789012345, "123456789012345.0" },
		{ 0.1 + 0.2, "0.30000000000000004" }, { 1e100, "1e100" },
		{ 1e15, "1000000000000000.0" }, { 9007199254740993.0, "9007199254740992.0" },
		{ 5e-324, "5e-324" }, { 1e-7, "1e-7" },
		{ 1.7976931348623157e308, "1.7976931348623157e308" },
		{ NAN, "null" }, { INFINITY, "null" }, { -INFINITY, "null" },
		{ 0.001, "0.001" }, { 1e16, "1e16" }, { 1.5e-9, "1.5e-9" },
		{ 2.2250738585072014e-308, "2.2250738585072014e-308" },
		{ 0x1p60, "1.152921504606847e18" }, { 1e23, "9.999999999999999e22" },
		{ 1.0 / 3e5, "3.3333333333333333e-6" }, { 100.0 / 3, "33.333333333333336" },
	};

	buf_init(&b, 0);
	for (size_t i = 0; i < NELEM(t); i++) {
		json_put_double(&b, t[i].d);
		ck_assert_str_eq(written(), t[i].text);
	}
	buf_free(&b);
}
END_TEST

/* Every double reads back as itself, and is a float to json-c. */
START_TEST(test_random_doubles)
{
	struct rng rng;
	char shortest[40];
	unsigned longer = 0;

	rng_seed(&rng, 6);
	buf_init(&b, 0);
	for (int i = 0; i < 200000; i++) {
		uint64_t bits = rng_u64(&rng);
		double d;
		if (i % 4 == 0)
			memcpy(&d, &bits, sizeof d);
		else if (i % 4 == 1)
			d = (double)(bits >> 40) / 1000.0;
		else if (i % 4 == 2)
			d = (double)(float)(bits >> 11) * 0x1p-40;
		else
			d = (double)(bits % 10000000) *
			    pow(10, -(double)(bits >> 60));
		json_put_double(&b, d);
		const char *text = written();
		if (!isfinite(d)) {
			ck_assert_str_eq(text, "null");
			continue;
		}
		ck_assert(strtod(text, NULL) == d);
		ck_assert_ptr_nonnull(strpbrk(text, ".e"));
		struct json_object *o = json_tokener_parse(text);
		ck_assert(json_object_is_type(o, json_type_double));
		json_object_put(o);
		/* No more digits than the least that will do. */
		for (int digits = 1; digits <= 17; digits++) {
			(void)snprintf(shortest, sizeof shortest, "%.*e",
			    digits - 1, d);
			if (strtod(shortest, NULL) == d)
				break;
		}
		size_t least = 0, used = 0, len = strlen(text);
		if (len > 2 && strcmp(text + len - 2, ".0") == 0)
			len -= 2;
		for (const char *p = shortest; *p != 'e'; p++)
			least += *p >= '0' && *p <= '9';
		bool lead = true;
		for (const char *p = text; p < text + len && *p != 'e'; p++) {
			lead = lead && (*p == '0' || *p == '.' || *p == '-');
			used += !lead && *p >= '0' && *p <= '9';
		}
		ck_assert_msg(used <= 17, "%s %s", text, shortest);
		/* Decimals of everyday size are always as people wrote them. */
		if (least <= 15 && fabs(d) >= 0.001 && fabs(d) < 1e6 &&
		    fabs(d * 1e9) < 1e15 && i % 4 == 1)
			ck_assert_msg(used <= least || d == floor(d), "%s %s",
			    text, shortest);
		longer += used > least && d != floor(d);
	}
	ck_assert_uint_lt(longer, 500);
	buf_free(&b);
}
END_TEST

START_TEST(test_base64)
{
	static const char *const t[][2] = {	/* RFC 4648 section 10 */
		{ "", "\"\"" }, { "f", "\"Zg==\"" }, { "fo", "\"Zm8=\"" },
		{ "foo", "\"Zm9v\"" }, { "foob", "\"Zm9vYg==\"" },
		{ "fooba", "\"Zm9vYmE=\"" }, { "foobar", "\"Zm9vYmFy\"" },
		{ "\xfb\xff\xfe", "\"+//+\"" },
	};

	buf_init(&b, 0);
	for (size_t i = 0; i < NELEM(t); i++) {
		json_put_base64(&b, (const uint8_t *)t[i][0], strlen(t[i][0]));
		ck_assert_str_eq(written(), t[i][1]);
	}
	buf_free(&b);
}
END_TEST

START_TEST(test_clean)
{
	ck_assert(json_is_clean("", 0));
	ck_assert(json_is_clean("run_8842 \"x\" \xe2\x82\xac", 16));
	ck_assert(json_is_clean("\xc2\xa0", 2));
	ck_assert(!json_is_clean("a\0", 2));
	ck_assert(!json_is_clean("\x1f", 1));
	ck_assert(!json_is_clean("\x7f", 1));
	ck_assert(!json_is_clean("\xc2\x80", 2));
	ck_assert(!json_is_clean("\xc2\x9f", 2));
	ck_assert(!json_is_clean("\xff", 1));
	ck_assert(!json_is_clean("\xe2\x82", 2));
}
END_TEST

int
main(void)
{
	return unit_run("json", (const TTest *const[]){ test_strings,
	    test_every_byte_everywhere, test_random_strings, test_limit,
	    test_integers, test_doubles, test_random_doubles, test_base64,
	    test_clean, NULL });
}
