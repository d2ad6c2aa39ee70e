/* json: writes JSON (RFC 8259) into a buf. */
#include "codec/json.h"

#include <math.h>

#include "base/utf8.h"
#include "codec/dtoa.h"

#define JSON_NUMBER_MAX	32	/* bytes of any number */

static const char json_hex[16] = "0123456789abcdef";

/* The letter of the short escape of a control character, or 0. */
static const char json_short[0x20] = {
	['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r',
};

/* Escape one ASCII character that needs it; at most 6 bytes. Their end. */
static uint8_t *
json_escape_ascii(uint8_t *w, uint8_t c)
{
	*w++ = '\\';
	if (c >= 0x20) {	/* '"' or '\\' */
		*w++ = c;
	} else if (json_short[c] != 0) {
		*w++ = (uint8_t)json_short[c];
	} else {
		*w++ = 'u';
		*w++ = '0';
		*w++ = '0';
		*w++ = (uint8_t)json_hex[c >> 4];
		*w++ = (uint8_t)json_hex[c & 15];
	}
	return w;
}

/* Copy or replace one character that is not ASCII. Bytes of src used. */
static size_t
json_copy_wide(uint8_t **w, const uint8_t *src, size_t n)
{
	uint32_t cp;

	/* By far the most: two and three bytes that are plainly right. */
	if (n >= 2 && src[0] >= 0xc2 && src[0] < 0xe0 &&
	    (src[1] & 0xc0) == 0x80) {
		memcpy(*w, src, 2);
		*w += 2;
		return 2;
	}
	if (n >= 3 && src[0] > 0xe0 && src[0] < 0xed &&
	    (src[1] & 0xc0) == 0x80 && (src[2] & 0xc0) == 0x80) {
		memcpy(*w, src, 3);
		*w += 3;
		return 3;
	}
	int k = utf8_next(src, n, &cp);
	if (k > 0) {
		memcpy(*w, src, (size_t)k);
		*w += k;
		return (size_t)k;
	}
	memcpy(*w, "\xef\xbf\xbd", 3);
	*w += 3;
	return (size_t)-k;
}

/*
 * No byte of input gives less than one of output, so the room asked for is
 * never more than what will be written (but for a byte, in the last two of
 * a text), and the buffer's limit can be met.
 */
void
json_put_escaped(struct buf *b, const char *s, size_t n)
{
	const uint8_t *p = (const uint8_t *)s;

	while (n > 0) {
		uint8_t *w = buf_room(b, n);
		if (w == NULL)
			return;
		size_t k = json_copy_plain(w, p, n);
		w += k;
		p += k;
		n -= k;
		b->len += k;
		while (n > 0 && *p >= 0x80) {
			if ((w = buf_room(b, n > 3 ? n : 3)) == NULL)
				return;
			k = json_copy_wide(&w, p, n);
			p += k;
			n -= k;
			b->len = (size_t)(w - b->data);
		}
		if (n == 0)
			return;
		if (*p >= 0x20 && *p != '"' && *p != '\\')
			continue;
		k = *p >= 0x20 || json_short[*p] != 0 ? 2 : 6;
		if ((w = buf_room(b, n - 1 + k)) == NULL)
			return;
		w = json_escape_ascii(w, *p);
		b->len = (size_t)(w - b->data);
		p++;
		n--;
	}
}

void
json_put_string(struct buf *b, const char *s, size_t n)
{
	buf_putc(b, '"');
	json_put_escaped(b, s, n);
	buf_putc(b, '"');
}

size_t
json_string_len(const char *s, size_t n)
{
	const uint8_t *p = (const uint8_t *)s;
	size_t len = 2;
	uint8_t esc[8];
	uint32_t cp;

	while (n > 0) {
		int k = utf8_next(p, n, &cp);
		if (k < 0)
			len += 3;
		else if (cp < 0x20 || cp == '"' || cp == '\\')
			len += (size_t)(json_escape_ascii(esc, *p) - esc);
		else
			len += (size_t)k;
		size_t step = (size_t)(k < 0 ? -k : k);
		p += step;
		n -= step;
	}
	return len;
}

static const char json_pairs[] =
    "00010203040506070809101112131415161718192021222324"
    "25262728293031323334353637383940414243444546474849"
    "50515253545556575859606162636465666768697071727374"
    "75767778798081828384858687888990919293949596979899";

/* Write the decimal digits of v so that they end at `end`; their start. */
static HOT char *
json_digits(char *end, uint64_t v)
{
	while (v >= 100) {
		end -= 2;
		memcpy(end, json_pairs + v % 100 * 2, 2);
		v /= 100;
	}
	if (v >= 10) {
		end -= 2;
		memcpy(end, json_pairs + v * 2, 2);
	} else {
		*--end = (char)('0' + v);
	}
	return end;
}

void
json_put_uint(struct buf *b, uint64_t v)
{
	char text[JSON_NUMBER_MAX], *end = text + sizeof text;

	if (v < 10) {
		buf_putc(b, (char)('0' + v));
		return;
	}
	char *p = json_digits(end, v);
	buf_put(b, p, (size_t)(end - p));
}

void
json_put_int(struct buf *b, int64_t v)
{
	char text[JSON_NUMBER_MAX], *end = text + sizeof text;

	if (v >= 0) {
		json_put_uint(b, (uint64_t)v);
		return;
	}
	char *p = json_digits(end, -(uint64_t)v);
	*--p = '-';
	buf_put(b, p, (size_t)(end - p));
}

/*
 * Most doubles that people send are short decimals: m / 10^k with m below
 * 2^53. Such a quotient of two exact doubles is correctly rounded (IEEE 754),
 * so if it equals d, the decimal reads back as d; and the least k that does
 * gives the shortest one. Returns false when d is no such number.
 */
static bool
json_put_decimal(struct buf *b, double d)
{
	static const double tens[] = { 1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7,
		1e8, 1e9 };
	char text[JSON_NUMBER_MAX], *end = text + sizeof text, *p = end;
	double a = fabs(d);
	uint64_t m = 0;
	unsigned k;

	if (!(a < 1e15) || (a < 1e-5 && a != 0))
		return false;
	for (k = 0; k < NELEM(tens); k++) {
		double scaled = a * tens[k] + 0.5;
		if (scaled >= 1e15)
			return false;
		m = (uint64_t)scaled;
		if ((double)m / tens[k] == a)
			break;
	}
	if (k == NELEM(tens))
		return false;
	if (k == 0) {
		*--p = '0';
	} else {
		for (unsigned i = 0; i < k; i++, m /= 10)
			*--p = (char)('0' + m % 10);
	}
	*--p = '.';
	p = json_digits(p, m);
	if (signbit(d))
		*--p = '-';
	buf_put(b, p, (size_t)(end - p));
	return true;
}

/* Digits with a point among them, or with an exponent where it is far. */
static void
json_put_digits(struct buf *b, const char *digits, int n, int exp)
{
	char text[2 * JSON_NUMBER_MAX], *w = text;
	int point = n + exp;	/* so many digits stand before it */

	if (point > 0 && point <= 16) {
		for (int i = 0; i < point; i++)
			*w++ = i < n ? digits[i] : '0';
		*w++ = '.';
		for (int i = point; i < n; i++)
			*w++ = digits[i];
		if (point >= n)
			*w++ = '0';
	} else if (point <= 0 && point > -5) {
		*w++ = '0';
		*w++ = '.';
		for (int i = point; i < n; i++)
			*w++ = i < 0 ? '0' : digits[i];
	} else {
		*w++ = digits[0];
		if (n > 1)
			*w++ = '.';
		for (int i = 1; i < n; i++)
			*w++ = digits[i];
		*w++ = 'e';
		buf_put(b, text, (size_t)(w - text));
		json_put_int(b, point - 1);
		return;
	}
	buf_put(b, text, (size_t)(w - text));
}

void
json_put_double(struct buf *b, double d)
{
	char digits[DTOA_DIGITS_MAX];
	int exp;

	if (!isfinite(d)) {
		buf_put(b, "null", 4);
		return;
	}
	if (json_put_decimal(b, d))
		return;
	if (d < 0)
		buf_putc(b, '-');
	int n = dtoa_digits(fabs(d), digits, &exp);
	json_put_digits(b, digits, n, exp);
}

static const char json_base64[64] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void
json_put_base64(struct buf *b, const uint8_t *p, size_t n)
{
	size_t len = (n + 2) / 3 * 4 + 2;
	uint8_t *w = buf_room(b, len);
	uint32_t v;

	if (w == NULL)
		return;
	*w++ = '"';
	for (; n >= 3; n -= 3, p += 3) {
		v = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
		*w++ = (uint8_t)json_base64[v >> 18];
		*w++ = (uint8_t)json_base64[v >> 12 & 63];
		*w++ = (uint8_t)json_base64[v >> 6 & 63];
		*w++ = (uint8_t)json_base64[v & 63];
	}
	if (n > 0) {
		v = (uint32_t)p[0] << 16 | (n == 2 ? (uint32_t)p[1] << 8 : 0);
		*w++ = (uint8_t)json_base64[v >> 18];
		*w++ = (uint8_t)json_base64[v >> 12 & 63];
		*w++ = n == 2 ? (uint8_t)json_base64[v >> 6 & 63] : '=';
		*w++ = '=';
	}
	*w = '"';
	b->len += len;
}

bool
json_is_clean(const char *s, size_t n)
{
	const uint8_t *p = (const uint8_t *)s;
	uint32_t cp;

	while (n > 0) {
		if (LIKELY(*p >= 0x20 && *p < 0x7f)) {
			p++;
			n--;
			continue;
		}
		int k = utf8_next(p, n, &cp);
		if (k < 0 || cp < 0x20 || (cp >= 0x7f && cp < 0xa0))
			return false;
		p += k;
		n -= (size_t)k;
	}
	return true;
}
