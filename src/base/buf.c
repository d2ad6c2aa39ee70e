/* buf: a byte buffer that grows, with a limit and a sticky failure. */
#include "base/buf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define BUF_CAP_MIN	256

void
buf_init(struct buf *b, size_t max)
{
	*b = (struct buf){ .max = max };
}

void
buf_free(struct buf *b)
{
	free(b->data);
	buf_init(b, b->max);
}

void
buf_reset(struct buf *b, size_t keep)
{
	if (b->cap > keep) {
		free(b->data);
		b->data = NULL;
		b->cap = 0;
	}
	b->len = 0;
	b->error = 0;
}

/* Make cap at least `need`; by doubling, so that puts are cheap overall. */
static bool
buf_grow(struct buf *b, size_t need)
{
	size_t cap = b->cap < BUF_CAP_MIN ? BUF_CAP_MIN : b->cap;

	while (cap < need) {
		if (cap > SIZE_MAX / 2) {
			cap = need;
			break;
		}
		cap *= 2;
	}
	/* One more than max: buf_cstr() may need to place a NUL. */
	if (b->max != 0 && cap > b->max && need <= b->max + 1)
		cap = b->max + 1;
	uint8_t *p = realloc(b->data, cap);
	if (p == NULL) {
		b->error = -ENOMEM;
		return false;
	}
	b->data = p;
	b->cap = cap;
	return true;
}

uint8_t *
buf_room_slow(struct buf *b, size_t n)
{
	if (b->error != 0)
		return NULL;
	if (n > SIZE_MAX / 4 - b->len) {
		b->error = -ENOMEM;
		return NULL;
	}
	if (b->max != 0 && b->len + n > b->max) {
		b->error = -ENOBUFS;
		return NULL;
	}
	if ((b->data == NULL || b->cap - b->len < n) &&
	    !buf_grow(b, b->len + n))
		return NULL;
	return b->data + b->len;
}

void
buf_put(struct buf *b, const void *src, size_t n)
{
	if (n == 0)
		return;
	uint8_t *p = buf_room(b, n);
	if (p == NULL)
		return;
	memcpy(p, src, n);
	b->len += n;
}

void
buf_puts(struct buf *b, const char *s)
{
	buf_put(b, s, strlen(s));
}

void
buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	char small[256];

	va_start(ap, fmt);
	int n = vsnprintf(small, sizeof small, fmt, ap);
	va_end(ap);
	if (n < 0) {
		if (b->error == 0)
			b->error = -ENOMEM;
		return;
	}
	size_t len = (size_t)n;
	if (len < sizeof small) {
		buf_put(b, small, len);
		return;
	}
	/* Check the limit first; the room for the NUL is not counted in it. */
	if (buf_room(b, len) == NULL ||
	    (b->cap - b->len <= len && !buf_grow(b, b->len + len + 1)))
		return;
	va_start(ap, fmt);
	(void)vsnprintf((char *)b->data + b->len, len + 1, fmt, ap);
	va_end(ap);
	b->len += len;
}

void
buf_drain(struct buf *b, size_t n)
{
	if (n >= b->len) {
		b->len = 0;
		return;
	}
	if (n == 0)
		return;
	memmove(b->data, b->data + n, b->len - n);
	b->len -= n;
}

const char *
buf_cstr(struct buf *b)
{
	if (b->len >= b->cap && !buf_grow(b, b->len + 1))
		return "";
	b->data[b->len] = '\0';
	return (const char *)b->data;
}
