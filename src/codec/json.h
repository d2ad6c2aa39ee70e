/*
 * json: writes JSON (RFC 8259) into a buf. Output is always valid UTF-8 on
 * one line: control characters are escaped, invalid UTF-8 becomes U+FFFD, one
 * for each maximal subpart (Unicode 15, 3.9, table 3-8).
 */
#ifndef LUMNID_CODEC_JSON_H
#define LUMNID_CODEC_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

/* A string with its quotes. */
void	json_put_string(struct buf *, const char *, size_t);
/* The same, without quotes: several pieces make one string. */
void	json_put_escaped(struct buf *, const char *, size_t);
void	json_put_uint(struct buf *, uint64_t);
void	json_put_int(struct buf *, int64_t);
/* The shortest form that reads back as the same double; NaN and infinities
 * are null, as JSON has no word for them. */
void	json_put_double(struct buf *, double);
/* Standard base64 with padding (RFC 4648 section 4), quoted. */
void	json_put_base64(struct buf *, const uint8_t *, size_t);

/* Is it valid UTF-8 without control characters (U+0000-1F, 7F-9F)? */
bool	json_is_clean(const char *, size_t);

/*
 * The length of the JSON string literal json_put_string() would write.
 */
size_t	json_string_len(const char *, size_t);

#endif
