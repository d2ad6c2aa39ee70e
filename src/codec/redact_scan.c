/*
 * redact_scan: the words of JSON, and of what Python and JavaScript print for
 * it: where a string, a bare word or any value ends, and a string's text.
 */
#include "codec/redact_int.h"

#include <string.h>

size_t
redact_scan_blank(const uint8_t *s, size_t n, size_t at)
{
	while (at < n && (s[at] == ' ' || s[at] == '\n' ||
	    s[at] == '\r' || s[at] == '\t'))
		at++;
	return at;
}

bool
redact_scan_is_quote(uint8_t c)
{
	return c == '"' || c == '\'';
}

/* Four letters of hex, or -1. */
static int32_t
scan_hex4(const uint8_t *p, size_t n)
{
	int32_t v = 0;

	if (n < 4)
		return -1;
	for (int i = 0; i < 4; i++) {
		uint8_t c = p[i];
		if (c >= '0' && c <= '9')
			v = v * 16 + (c - '0');
		else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
			v = v * 16 + ((c | 0x20) - 'a' + 10);
		else
			return -1;
	}
	return v;
}

static void
scan_put_utf8(struct buf *b, uint32_t cp)
{
	if (cp < 0x80) {
		buf_putc(b, (char)cp);
	} else if (cp < 0x800) {
		buf_putc(b, (char)(0xc0 | cp >> 6));
		buf_putc(b, (char)(0x80 | (cp & 0x3f)));
	} else if (cp < 0x10000) {
		buf_putc(b, (char)(0xe0 | cp >> 12));
		buf_putc(b, (char)(0x80 | (cp >> 6 & 0x3f)));
		buf_putc(b, (char)(0x80 | (cp & 0x3f)));
	} else {
		buf_putc(b, (char)(0xf0 | cp >> 18));
		buf_putc(b, (char)(0x80 | (cp >> 12 & 0x3f)));
		buf_putc(b, (char)(0x80 | (cp >> 6 & 0x3f)));
		buf_putc(b, (char)(0x80 | (cp & 0x3f)));
	}
}

/* \uXXXX, of which p is behind the u; returns the letters used. */
static size_t
scan_unicode(struct buf *b, const uint8_t *p, size_t n)
{
	int32_t hi = scan_hex4(p, n);

	if (hi < 0) {
		buf_putc(b, 'u');
		return 0;
	}
	if (hi < 0xd800 || hi > 0xdfff) {
		scan_put_utf8(b, (uint32_t)hi);
		return 4;
	}
	int32_t lo = n >= 10 && p[4] == '\\' && p[5] == 'u' ?
	    scan_hex4(p + 6, n - 6) : -1;
	if (hi < 0xdc00 && lo >= 0xdc00 && lo <= 0xdfff) {
		scan_put_utf8(b, 0x10000 + (((uint32_t)hi & 0x3ff) << 10) +
		    ((uint32_t)lo & 0x3ff));
		return 10;
	}
	scan_put_utf8(b, 0xfffd);	/* half a pair */
	return 4;
}

void
redact_scan_unescape(struct buf *b, const uint8_t *p, size_t n)
{
	static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";

	while (n > 0) {
		const uint8_t *slash = memchr(p, '\\', n);
		size_t k = slash != NULL ? (size_t)(slash - p) : n;
		buf_put(b, p, k);
		p += k;
		n -= k;
		if (n < 2) {
			buf_put(b, p, n);	/* a last backslash */
			return;
		}
		uint8_t c = p[1];
		p += 2;
		n -= 2;
		const char *known = c != 0 ? strchr(from, c) : NULL;
		if (c == 'u') {
			k = scan_unicode(b, p, n);
			p += k;
			n -= k;
		} else {
			buf_putc(b, known != NULL ? to[known - from] :
			    (char)c);
		}
	}
}

struct redact_quoted
redact_scan_quoted(const uint8_t *s, size_t n, size_t at,
    struct buf *plain)
{
	const uint8_t quote = s[at];
	const size_t from = at + 1;
	bool escaped = false;
	struct redact_quoted q;

	for (at = from; at < n;) {
		const uint8_t *p = memchr(s + at, quote, n - at);
		size_t end = p != NULL ? (size_t)(p - s) : n;
		size_t slash = end;
		/* An odd number of them before the quote, and it is none. */
		while (slash > at && s[slash - 1] == '\\')
			slash--;
		if (!escaped && memchr(s + at, '\\', end - at) != NULL)
			escaped = true;
		at = end;
		if (p == NULL || (end - slash) % 2 == 0)
			break;
		at = end + 1;
	}
	if (at > n)
		at = n;
	q.p = s + from;
	q.n = at - from;
	q.end = at < n ? at + 1 : n;
	q.escaped = escaped;
	if (escaped) {
		buf_reset(plain, SIZE_MAX);
		redact_scan_unescape(plain, q.p, q.n);
		q.p = plain->data != NULL ? plain->data : s;
		q.n = plain->len;
	}
	return q;
}

size_t
redact_scan_bare(const uint8_t *s, size_t n, size_t at)
{
	while (at < n && strchr(",:]}[{\"' \t\r\n", s[at]) == NULL)
		at++;
	return at;
}

size_t
redact_scan_skip_string(const uint8_t *s, size_t n, size_t at)
{
	const uint8_t quote = s[at];

	for (at++; at < n && s[at] != quote; at++)
		at += s[at] == '\\';
	return at < n ? at + 1 : n;
}

size_t
redact_scan_skip(const uint8_t *s, size_t n, size_t at)
{
	size_t open = 0;

	for (; at < n; at++) {
		uint8_t c = s[at];
		if (redact_scan_is_quote(c)) {
			at = redact_scan_skip_string(s, n, at);
			if (open == 0)
				return at;
			at--;
		} else if (c == '{' || c == '[' || c == '(') {
			open++;
		} else if (c == '}' || c == ']' || (c == ')' && open > 0)) {
			if (open == 0)
				return at;
			if (--open == 0)
				return at + 1;
		} else if (c == ',' && open == 0) {
			return at;
		}
	}
	return n;
}
