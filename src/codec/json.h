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

#include "base/buf.h"
#include "base/cdefs.h"

/* A string with its quotes. */
void	json_put_string(struct buf *, const char *, size_t);
/* The same, without quotes: several pieces make one string. */
void	json_put_escaped(struct buf *, const char *, size_t);
void	json_put_uint(struct buf *, uint64_t);
void	json_put_int(struct buf *, int64_t);
/*
 * A form that reads back as the same double, the shortest as a rule;
 * a whole number keeps its fraction (1.0), so that it reads back as a float.
 * NaN and infinities are null, as JSON has no word for them.
 */
void	json_put_double(struct buf *, double);
/* Standard base64 with padding (RFC 4648 section 4), quoted. */
void	json_put_base64(struct buf *, const uint8_t *, size_t);

/* Is it valid UTF-8 without control characters (U+0000-1F, 7F-9F)? */
bool	json_is_clean(const char *, size_t);

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
 * Copy from src to dst while the bytes need no escape, at most n. Returns how
 * many were copied; up to n bytes of dst are written.
 */
static inline size_t
json_copy_plain(uint8_t *dst, const uint8_t *src, size_t n)
{
	size_t i = 0;
	uint64_t x, special;

	for (; n - i >= 8; i += 8) {
		memcpy(&x, src + i, 8);
		memcpy(dst + i, &x, 8);
		special = json_special_bytes(le64toh(x));
		if (special != 0)
			return i + (size_t)__builtin_ctzll(special) / 8;
	}
	if (n - i >= 4) {
		uint32_t half;
		memcpy(&half, src + i, 4);
		memcpy(dst + i, &half, 4);
		/* Blanks above, which are not special. */
		special = json_special_bytes(le32toh(half) |
		    0x2020202000000000u);
		if (special != 0)
			return i + (size_t)__builtin_ctzll(special) / 8;
		i += 4;
	}
	for (; i < n; i++) {
		uint8_t c = src[i];
		if (c < 0x20 || c >= 0x80 || c == '"' || c == '\\')
			break;
		dst[i] = c;
	}
	return i;
}

#endif
