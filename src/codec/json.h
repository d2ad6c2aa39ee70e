/*
 * json: writes JSON (RFC 8259) into a buf. Output is always valid UTF-8 on
 * one line: control characters are escaped, invalid UTF-8 becomes U+FFFD, one
 * for each maximal subpart (Unicode 15, 3.9, table 3-8).
 */
#ifndef LUMNID_CODEC_JSON_H
#define LUMNID_CODEC_JSON_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "base/buf.h"
#include "base/cdefs.h"

/* A string with its quotes. */
void	json_put_string(struct buf *, const char *, size_t);
/* The same, without quotes: several pieces make one string. */
void	json_put_escaped(struct buf *, const char *, size_t) HOT;
void	json_put_uint(struct buf *, uint64_t) HOT;
void	json_put_int(struct buf *, int64_t);
/*
 * A form that reads back as the same double, the shortest as a rule;
 * a whole number keeps its fraction (1.0), so that it reads back as a float.
 * NaN and infinities are null, as JSON has no word for them.
 */
void	json_put_double(struct buf *, double) HOT;
/* Standard base64 with padding (RFC 4648 section 4), quoted. */
void	json_put_base64(struct buf *, const uint8_t *, size_t);

/* Is it valid UTF-8 without control characters (U+0000-1F, 7F-9F)? */
bool	json_is_clean(const char *, size_t) HOT;

/*
 * The length of the JSON string literal json_put_string() would write.
 */
size_t	json_string_len(const char *, size_t);

/*
 * Which bytes of a little-endian word may not stand in a JSON string as they
 * are (below 0x20, '"', '\\', above 0x7f)? The lowest bit that is set is
 * exact, those above it may be wrong.
 */
static inline uint64_t
json_special_bytes(uint64_t x)
{
	const uint64_t ones = 0x0101010101010101u;

	return (x | (x - ones * 0x20) | ((x ^ ones * '"') - ones) |
	    ((x ^ ones * '\\') - ones)) & ones * 0x80;
}

/*
 * The same for 4 to 7 bytes, as two halves that may overlap: how many bytes
 * stand before the first special one, n if there is none.
 */
static inline size_t
json_copy_short(uint8_t *dst, const uint8_t *src, size_t n)
{
	uint32_t lo, hi;

	memcpy(&lo, src, 4);
	memcpy(&hi, src + n - 4, 4);
	memcpy(dst, &lo, 4);
	memcpy(dst + n - 4, &hi, 4);
	uint64_t special = json_special_bytes(le32toh(lo) |
	    (uint64_t)le32toh(hi) << 32);
	if (LIKELY(special == 0))
		return n;
	size_t at = (size_t)__builtin_ctzll(special) / 8;
	return at < 4 ? at : n - 8 + at;
}

#ifdef __SSE2__
#define JSON_STEP	16

/* One bit for each of 16 bytes: is it special? */
static inline unsigned
json_special_mask(__m128i x)
{
	/* Signed, all above 0x7f are below zero. */
	__m128i m = _mm_cmplt_epi8(x, _mm_set1_epi8(0x20));

	m = _mm_or_si128(m, _mm_cmpeq_epi8(x, _mm_set1_epi8('"')));
	m = _mm_or_si128(m, _mm_cmpeq_epi8(x, _mm_set1_epi8('\\')));
	return (unsigned)_mm_movemask_epi8(m);
}

/* Copy JSON_STEP bytes; how many stand before the first special one. */
static inline size_t
json_copy_step(uint8_t *dst, const uint8_t *src)
{
	__m128i x = _mm_loadu_si128((const __m128i *)(const void *)src);

	_mm_storeu_si128((__m128i *)(void *)dst, x);
	return (size_t)__builtin_ctz(json_special_mask(x) | 1u << 16);
}

/* As json_copy_short(), for 8 to 15 bytes. */
static inline size_t
json_copy_half(uint8_t *dst, const uint8_t *src, size_t n)
{
	uint64_t lo, hi;

	memcpy(&lo, src, 8);
	memcpy(&hi, src + n - 8, 8);
	memcpy(dst, &lo, 8);
	memcpy(dst + n - 8, &hi, 8);
	size_t at = (size_t)__builtin_ctz(json_special_mask(
	    _mm_set_epi64x((long long)hi, (long long)lo)) | 1u << 16);
	return at < 8 ? at : at == 16 ? n : n - 16 + at;
}
#else
#define JSON_STEP	8

static inline size_t
json_copy_step(uint8_t *dst, const uint8_t *src)
{
	uint64_t x;

	memcpy(&x, src, 8);
	memcpy(dst, &x, 8);
	uint64_t special = json_special_bytes(le64toh(x));
	return special == 0 ? 8 : (size_t)__builtin_ctzll(special) / 8;
}
#endif

/*
 * Copy from src to dst while the bytes need no escape, at most n. Returns how
 * many were copied; up to n bytes of dst are written. The last step may go
 * back over bytes that are known to be plain.
 */
static inline size_t
json_copy_plain(uint8_t *dst, const uint8_t *src, size_t n)
{
	size_t i = 0, k;

	if (n >= JSON_STEP) {
		for (; n - i >= JSON_STEP; i += JSON_STEP)
			if ((k = json_copy_step(dst + i, src + i)) < JSON_STEP)
				return i + k;
		if (i == n)
			return n;
		i = n - JSON_STEP;
		return i + json_copy_step(dst + i, src + i);
	}
#ifdef __SSE2__
	if (n >= 8)
		return json_copy_half(dst, src, n);
#endif
	if (n >= 4)
		return json_copy_short(dst, src, n);
	for (; i < n; i++) {
		uint8_t c = src[i];
		if (c < 0x20 || c >= 0x80 || c == '"' || c == '\\')
			break;
		dst[i] = c;
	}
	return i;
}

#endif
