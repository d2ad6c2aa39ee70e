/*
 * test_ctl_text: what lumnictl prints is cut to width, coloured where there are
 * colours, and never steers a terminal; and its answers come apart as they were
 * put together, however they are cut on the way.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/rand.h"
#include "ctl/ctl_frames.h"
#include "ctl/ctl_term.h"
#include "unit.h"

START_TEST(text_is_cut)
{
	static const struct {
		const char	*in;
		size_t		 width;
		const char	*out;
		size_t		 columns;
	} must[] = {
		{ "abc", 3, "abc", 3 },
		{ "abc", 10, "abc", 3 },
		{ "abc", SIZE_MAX, "abc", 3 },
		{ "abcd", 3, "ab\u2026", 3 },
		{ "abcd", 1, "\u2026", 1 },
		{ "abcd", 0, "", 0 },
		{ "", 0, "", 0 },
		{ "\u00e4\u00f6\u00fc", 3, "\u00e4\u00f6\u00fc", 3 },
		/* Wide: it fits whole, or not at all. */
		{ "\u65e5\u672c", 4, "\u65e5\u672c", 4 },
		{ "\u65e5\u672c\u8a9e", 5, "\u65e5\u672c\u2026", 5 },
		{ "\u65e5\u672c\u8a9e", 4, "\u65e5\u2026", 3 },
		/* It joins the letter before it. */
		{ "e\u0301x", 2, "e\u0301x", 2 },
		{ "\U0001f600a", 3, "\U0001f600a", 3 },
	};
	struct buf b;

	buf_init(&b, 0);
	for (size_t i = 0; i < NELEM(must); i++) {
		buf_reset(&b, 0);
		size_t n = ctl_term_text(&b, must[i].in, strlen(must[i].in),
		    must[i].width);
		ck_assert_msg(strcmp(buf_cstr(&b), must[i].out) == 0,
		    "%zu: %s", i, buf_cstr(&b));
		ck_assert_uint_eq(n, must[i].columns);
	}
	buf_reset(&b, 0);
	ctl_term_cell(&b, "ab", 2, 4);
	ctl_term_cell(&b, "abcdef", 6, 4);
	ck_assert_str_eq(buf_cstr(&b), "ab  abc\u2026");
	buf_free(&b);
}
END_TEST

/* No byte of it may reach a terminal. */
static const char *const evil[] = {
	"\033[31m", "\033]0;x\007", "\r", "\n", "\b", "\177", "\302\233",
	"\302\205", "\342\200\256", "\342\201\246", "\342\200\250",
	"\330\234", "\377\376", "\xc2", "\xe2\x80",
};

START_TEST(text_does_not_steer)
{
	struct buf b;

	buf_init(&b, 0);
	for (size_t i = 0; i < NELEM(evil); i++) {
		buf_reset(&b, 0);
		(void)ctl_term_text(&b, evil[i], strlen(evil[i]), 80);
		const char *s = buf_cstr(&b);
		ck_assert_msg(s[0] == '?', "%zu: %s", i, s);
		for (size_t k = 0; k < b.len; k++)
			ck_assert_uint_ge(b.data[k], ' ');
		ck_assert_ptr_null(strstr(s, "\302\233"));
		ck_assert_ptr_null(strstr(s, "\177"));
		ck_assert_ptr_null(strstr(s, "\342\200\256"));
	}
	buf_free(&b);
}
END_TEST

START_TEST(json_stays_json)
{
	static const struct {
		const char	*in, *out;
	} must[] = {
		{ "{\"a\":1}", "{\"a\":1}" },
		{ "\"\u00e4\u65e5\"", "\"\u00e4\u65e5\"" },
		{ "\"\\u001b[1m\"", "\"\\u001b[1m\"" },
		{ "\"\177\"", "\"\\u007f\"" },
		{ "\"\302\233\"", "\"\\u009b\"" },
		{ "\"\342\200\256x\"", "\"\\u202ex\"" },
		{ "\"\342\200\250\"", "\"\\u2028\"" },
		{ "\"\033\"", "\" \"" },
		{ "{\n\t\"a\": 1\n}", "{\n\t\"a\": 1\n}" },
		{ "\"\377\"", "\"\\ufffd\"" },
	};
	struct buf b;

	buf_init(&b, 0);
	for (size_t i = 0; i < NELEM(must); i++) {
		buf_reset(&b, 0);
		ctl_term_json(&b, must[i].in, strlen(must[i].in));
		ck_assert_str_eq(buf_cstr(&b), must[i].out);
	}
	buf_free(&b);
}
END_TEST

START_TEST(numbers)
{
	char t[32];

	ck_assert_str_eq(ctl_term_bytes(0, t), "0 B");
	ck_assert_str_eq(ctl_term_bytes(1023, t), "1023 B");
	ck_assert_str_eq(ctl_term_bytes(1024, t), "1.0 KiB");
	ck_assert_str_eq(ctl_term_bytes(1536, t), "1.5 KiB");
	ck_assert_str_eq(ctl_term_bytes((1 << 20) - 1, t), "1.0 MiB");
	ck_assert_str_eq(ctl_term_bytes(UINT64_MAX, t), "16.0 EiB");
	ck_assert_str_eq(ctl_term_ms(-1, t), "-");
	ck_assert_str_eq(ctl_term_ms(999, t), "999 ms");
	ck_assert_str_eq(ctl_term_ms(119999, t), "119 s");
	ck_assert_str_eq(ctl_term_ms(120000, t), "2 min");
	ck_assert_str_eq(ctl_term_ms(7200000, t), "2 h");
	ck_assert_str_eq(ctl_term_ms(INT64_C(400) * 86400000, t), "400 d");
	ck_assert_str_eq(ctl_term_count(0, t), "0");
	ck_assert_str_eq(ctl_term_count(999, t), "999");
	ck_assert_str_eq(ctl_term_count(1000, t), "1,000");
	ck_assert_str_eq(ctl_term_count(UINT64_MAX, t),
	    "18,446,744,073,709,551,615");
	ck_assert_str_eq(ctl_term_rate(0, t), "0");
	ck_assert_str_eq(ctl_term_rate(12.34, t), "12.3");
	ck_assert_str_eq(ctl_term_rate(12345.6, t), "12,346");
}
END_TEST

START_TEST(colours)
{
	struct ctl_term plain = { .width = 80 }, color = { .color = true };
	struct buf b;

	buf_init(&b, 0);
	ctl_term_paint(&b, &plain, CTL_RED, "x");
	ck_assert_str_eq(buf_cstr(&b), "x");
	buf_reset(&b, 0);
	ctl_term_paint(&b, &color, CTL_RED, "x");
	ck_assert_str_eq(buf_cstr(&b), "\033[31mx\033[0m");
	buf_free(&b);
}
END_TEST

/* --- frames --------------------------------------------------------------- */

/* What was met, as text: lines between <>, bytes between (). */
struct met {
	struct buf	text;
	bool		bytes;		/* the newest was one */
	int64_t		end_at;		/* the line to end with; -1: none */
	int64_t		lines;
};

static int64_t
met_line(void *arg, const char *line, size_t n)
{
	struct met *m = arg;

	buf_putc(&m->text, '<');
	buf_put(&m->text, line, n);
	buf_putc(&m->text, '>');
	if (m->lines++ == m->end_at)
		return -EPIPE;
	/* A line has no NUL behind it. */
	return line[0] == '#' && n > 1 ? line[1] - '0' : 0;
}

static int
met_bytes(void *arg, const void *data, size_t n)
{
	struct met *m = arg;

	ck_assert_uint_gt(n, 0);
	buf_put(&m->text, data, n);
	return 0;
}

/* Feed it in pieces of a random length. */
static int
feed(struct met *m, const char *in, size_t len, size_t most, struct rng *rng)
{
	struct ctl_frames f;
	int r = 0;

	buf_init(&m->text, 0);
	m->lines = 0;
	ctl_frames_init(&f, met_line, met_bytes, m);
	for (size_t at = 0; r == 0 && at < len;) {
		size_t n = 1 + (size_t)rng_below(rng, most);
		if (n > len - at)
			n = len - at;
		char *copy = malloc(n);
		memcpy(copy, in + at, n);
		r = ctl_frames_feed(&f, copy, n);
		free(copy);
		at += n;
	}
	ctl_frames_free(&f);
	return r;
}

START_TEST(frames_come_apart)
{
	static const char in[] = "a\n\n\nbc\n#3\nx\ny#0\nend\n#1\n\nlast\npart";
	struct met m = { .end_at = -1 };
	struct rng rng;

	rng_seed(&rng, 7);
	for (size_t most = 1; most < 40; most++) {
		ck_assert_int_eq(feed(&m, in, sizeof in - 1, most, &rng), 0);
		ck_assert_str_eq(buf_cstr(&m.text),
		    "<a><bc><#3>x\ny<#0><end><#1>\n<last>");
		buf_free(&m.text);
	}
	/* A callback ends it, and nothing more is met. */
	m.end_at = 1;
	ck_assert_int_eq(feed(&m, in, sizeof in - 1, 5, &rng), -EPIPE);
	ck_assert_str_eq(buf_cstr(&m.text), "<a><bc>");
	buf_free(&m.text);
}
END_TEST

START_TEST(frames_have_a_limit)
{
	struct ctl_frames f;
	struct met m = { .end_at = -1 };
	static char block[1 << 20];
	int r = 0;

	buf_init(&m.text, 0);
	memset(block, 'x', sizeof block);
	ctl_frames_init(&f, met_line, NULL, &m);
	for (int i = 0; r == 0 && i < 100; i++)
		r = ctl_frames_feed(&f, block, sizeof block);
	ck_assert_int_eq(r, -EMSGSIZE);
	ctl_frames_free(&f);
	buf_free(&m.text);
}
END_TEST

int
main(void)
{
	return unit_run("ctl_text", (const TTest *const[]){ text_is_cut,
	    text_does_not_steer, json_stays_json, numbers, colours,
	    frames_come_apart, frames_have_a_limit, NULL });
}
