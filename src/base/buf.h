/*
 * buf: a byte buffer that grows, with a limit and a sticky failure.
 *
 * Writers do not check each put: after a failed put (over the limit, or no
 * memory) the buffer ignores further puts and buf_error() tells. The owner
 * checks once at the end.
 */
#ifndef LUMNID_BASE_BUF_H
#define LUMNID_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/cdefs.h"

struct buf {
	uint8_t	*data;
	size_t	 len;
	size_t	 cap;
	size_t	 max;	/* len never exceeds this; 0: no limit */
	int	 error;	/* 0, -ENOBUFS (over max) or -ENOMEM */
};

/* max: bytes, 0 for no limit. Takes no memory. */
void	buf_init(struct buf *, size_t max);
void	buf_free(struct buf *);
/* Empty it and forget the failure; memory above `keep` bytes is freed. */
void	buf_reset(struct buf *, size_t keep);
/*
 * Make room for n more bytes and return where they go (buf->data + buf->len),
 * or NULL on failure, which is then sticky.
 */
static inline uint8_t *buf_room(struct buf *, size_t n) MUSTUSE;
void	buf_put(struct buf *, const void *, size_t) HOT;
static inline void buf_putc(struct buf *, char);
void	buf_puts(struct buf *, const char *) HOT;
void	buf_printf(struct buf *, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Remove the first n bytes; the rest moves to the front. */
void	buf_drain(struct buf *, size_t n);
/*
 * End with a NUL that is not counted in len, and return data as a string;
 * "" when there is no memory.
 */
const char *buf_cstr(struct buf *);

uint8_t	*buf_room_slow(struct buf *, size_t n) MUSTUSE;	/* of buf_room() */

static inline uint8_t *
buf_room(struct buf *b, size_t n)
{
	if (LIKELY(b->error == 0 && n < b->cap - b->len &&
	    (b->max == 0 || n <= b->max - b->len)))
		return b->data + b->len;
	return buf_room_slow(b, n);
}

static inline void
buf_putc(struct buf *b, char c)
{
	uint8_t *p = buf_room(b, 1);

	if (p == NULL)
		return;
	*p = (uint8_t)c;
	b->len++;
}

static inline int
buf_error(const struct buf *b)
{
	return b->error;
}

#endif
