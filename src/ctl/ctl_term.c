/* ctl_term: see ctl_term.h. */
#include "ctl/ctl_term.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/utf8.h"

void
ctl_term_look(struct ctl_term *t, int fd)
{
	const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
	struct winsize ws;

	*t = (struct ctl_term){ .width = SIZE_MAX, .height = 24 };
	t->tty = isatty(fd) == 1;
	if (!t->tty)
		return;
	t->color = (no_color == NULL || no_color[0] == '\0') &&
	    term != NULL && strcmp(term, "dumb") != 0;
	t->width = 80;
	if (ioctl(fd, TIOCGWINSZ, &ws) == 0 && ws.ws_col > 0 &&
	    ws.ws_row > 0) {
		t->width = ws.ws_col;
		t->height = ws.ws_row;
	}
}

/* --- characters ----------------------------------------------------------- */

/* Does it turn the direction of writing (Unicode 15, 9, table 4-1)? */
static bool
term_turns(uint32_t cp)
{
	return cp == 0x61c || cp == 0x200e || cp == 0x200f ||
	    (cp >= 0x202a && cp <= 0x202e) || (cp >= 0x2066 && cp <= 0x2069);
}

/* Separators of lines, and all that a terminal may obey. */
static bool
term_steers(uint32_t cp)
{
	return cp < 0x20 || (cp >= 0x7f && cp < 0xa0) || cp == 0x2028 ||
	    cp == 0x2029 || term_turns(cp);
}

/*
 * Columns of a character (Unicode 15, UAX 11, in the main): 0 for what joins
 * the one before, 2 for wide ones.
 */
static size_t
term_columns(uint32_t cp)
{
	static const struct { uint32_t from, to; } wide[] = {
		{ 0x1100, 0x115f }, { 0x2e80, 0x303e }, { 0x3041, 0xa4cf },
		{ 0xac00, 0xd7a3 }, { 0xf900, 0xfaff }, { 0xfe30, 0xfe6f },
		{ 0xff00, 0xff60 }, { 0xffe0, 0xffe6 }, { 0x1f300, 0x1f64f },
		{ 0x1f680, 0x1f6ff }, { 0x1f900, 0x1faff },
		{ 0x20000, 0x3fffd },
	};

	if ((cp >= 0x300 && cp <= 0x36f) || cp == 0x200b || cp == 0x200c ||
	    cp == 0x200d || (cp >= 0xfe00 && cp <= 0xfe0f))
		return 0;
	for (size_t i = 0; i < NELEM(wide); i++)
		if (cp >= wide[i].from && cp <= wide[i].to)
			return 2;
	return 1;
}

size_t
ctl_term_text(struct buf *b, const char *text, size_t len, size_t width)
{
	const uint8_t *p = (const uint8_t *)text;
	size_t used = 0, fit = b->len, fit_used = 0;
	uint32_t cp;
	int n;

	for (size_t i = 0; i < len; i += (size_t)(n < 0 ? -n : n)) {
		n = utf8_next(p + i, len - i, &cp);
		bool bad = n < 0 || term_steers(cp);
		size_t columns = bad ? 1 : term_columns(cp);

		/* Room for the ellipsis, should the next not fit. */
		if (used + 1 <= width) {
			fit = b->len;
			fit_used = used;
		}
		if (columns > width - used) {
			b->len = fit;
			if (width > 0) {
				buf_puts(b, "\xe2\x80\xa6");
				fit_used++;
			}
			return fit_used;
		}
		if (bad)
			buf_putc(b, '?');
		else
			buf_put(b, p + i, (size_t)n);
		used += columns;
	}
	return used;
}

void
ctl_term_cell(struct buf *b, const char *text, size_t len, size_t width)
{
	size_t used = ctl_term_text(b, text, len, width);

	for (; used < width; used++)
		buf_putc(b, ' ');
}

void
ctl_term_json(struct buf *b, const char *text, size_t len)
{
	const uint8_t *p = (const uint8_t *)text;
	uint32_t cp;
	int n;

	for (size_t i = 0; i < len; i += (size_t)(n < 0 ? -n : n)) {
		n = utf8_next(p + i, len - i, &cp);
		if (n < 0)
			buf_puts(b, "\\ufffd");
		else if (cp >= 0x20 && term_steers(cp))
			buf_printf(b, "\\u%04" PRIx32, cp);
		else if (cp < 0x20 && cp != '\n' && cp != '\t' && cp != '\r')
			buf_putc(b, ' ');	/* no JSON has it */
		else
			buf_put(b, p + i, (size_t)n);
	}
}

/* --- colours -------------------------------------------------------------- */

void
ctl_term_switch(struct buf *b, const struct ctl_term *t, enum ctl_color color)
{
	static const char *const codes[] = {
		[CTL_PLAIN] = "0", [CTL_BOLD] = "1", [CTL_DIM] = "2",
		[CTL_RED] = "31", [CTL_GREEN] = "32", [CTL_YELLOW] = "33",
		[CTL_CYAN] = "36",
	};

	if (t->color)
		buf_printf(b, "\033[%sm", codes[color]);
}

void
ctl_term_paint(struct buf *b, const struct ctl_term *t, enum ctl_color color,
    const char *text)
{
	ctl_term_switch(b, t, color);
	buf_puts(b, text);
	ctl_term_switch(b, t, CTL_PLAIN);
}

/* --- numbers -------------------------------------------------------------- */

const char *
ctl_term_bytes(uint64_t v, char dst[32])
{
	static const char *const units[] = { "KiB", "MiB", "GiB", "TiB",
	    "PiB", "EiB" };
	double x = (double)v;
	size_t i = 0;

	if (v < 1024) {
		(void)snprintf(dst, 32, "%" PRIu64 " B", v);
		return dst;
	}
	/* 1023.95 would be shown as 1024.0. */
	for (x /= 1024; x >= 1023.95 && i + 1 < NELEM(units); x /= 1024)
		i++;
	(void)snprintf(dst, 32, "%.1f %s", x, units[i]);
	return dst;
}

const char *
ctl_term_ms(int64_t ms, char dst[32])
{
	int64_t s = ms / 1000;

	if (ms < 0)
		(void)snprintf(dst, 32, "-");
	else if (ms < 1000)
		(void)snprintf(dst, 32, "%" PRId64 " ms", ms);
	else if (s < 120)
		(void)snprintf(dst, 32, "%" PRId64 " s", s);
	else if (s < 2 * 3600)
		(void)snprintf(dst, 32, "%" PRId64 " min", s / 60);
	else if (s < 2 * 86400)
		(void)snprintf(dst, 32, "%" PRId64 " h", s / 3600);
	else
		(void)snprintf(dst, 32, "%" PRId64 " d", s / 86400);
	return dst;
}

const char *
ctl_term_count(uint64_t v, char dst[32])
{
	char digits[24];
	int n = snprintf(digits, sizeof digits, "%" PRIu64, v), at = 0;

	for (int i = 0; i < n; i++) {
		if (i > 0 && (n - i) % 3 == 0)
			dst[at++] = ',';
		dst[at++] = digits[i];
	}
	dst[at] = '\0';
	return dst;
}

const char *
ctl_term_rate(double v, char dst[32])
{
	if (v >= 100)
		return ctl_term_count((uint64_t)(v + 0.5), dst);
	(void)snprintf(dst, 32, v > 0 || v < 0 ? "%.1f" : "%.0f", v);
	return dst;
}

int
ctl_term_put(struct buf *b)
{
	size_t n = b->len > 0 ? fwrite(b->data, 1, b->len, stdout) : 0;
	bool ok = n == b->len && fflush(stdout) == 0 && b->error == 0;

	buf_reset(b, SIZE_MAX);
	return ok ? 0 : -1;
}
