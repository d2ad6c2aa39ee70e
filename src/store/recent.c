/*
 * recent: a segment's bytes follow those of the one before it in the ring, so
 * a place is the segment's base and the offset. A text is there while nothing
 * was put a whole ring later, and nothing was cut below its end.
 */
#include "store/recent.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

void
recent_init(struct recent *rc, size_t size)
{
	assert((size & (size - 1)) == 0);
	*rc = (struct recent){ .size = size };
}

void
recent_drop(struct recent *rc)
{
	free(rc->ring);
	recent_init(rc, rc->size);
}

size_t
recent_used(const struct recent *rc)
{
	if (rc->ring == NULL)
		return 0;
	return rc->high < (int64_t)rc->size ? (size_t)rc->high : rc->size;
}

/* A segment that is new here begins where the newest text ends. */
static int64_t
recent_place(struct recent *rc, uint32_t segno, uint32_t off)
{
	if (rc->seg[0].segno != segno) {
		memmove(&rc->seg[1], &rc->seg[0],
		    (RECENT_SEGMENTS - 1) * sizeof rc->seg[0]);
		rc->seg[0].segno = segno;
		rc->seg[0].base = rc->end - off;	/* may be below 0 */
		rc->seg[0].from = rc->end;
	}
	return rc->seg[0].base + off;
}

void
recent_put(struct recent *rc, uint32_t segno, uint32_t off, const void *text,
    size_t len)
{
	/* One text must not push out all the others. */
	if (rc->size == 0 || len > rc->size / 4)
		return;
	if (rc->ring == NULL)
		rc->ring = mem_alloc(rc->size);

	int64_t at = recent_place(rc, segno, off);
	size_t from = (size_t)at & (rc->size - 1);
	size_t first = len < rc->size - from ? len : rc->size - from;
	memcpy(rc->ring + from, text, first);
	memcpy(rc->ring, (const uint8_t *)text + first, len - first);
	rc->end = at + (int64_t)len;
	if (rc->high < rc->end)
		rc->high = rc->end;
}

void
recent_cut(struct recent *rc, uint32_t segno, uint32_t off)
{
	if (rc->seg[0].segno != segno || rc->seg[0].base + off >= rc->end)
		return;
	if (rc->seg[0].base + off >= rc->seg[0].from) {
		rc->end = rc->seg[0].base + off;
		return;
	}
	/*
	 * Below the first text that was kept, before which one came that was
	 * too large. Places down there are of the segment before: nothing of
	 * this one is left, and it begins anew.
	 */
	rc->end = rc->seg[0].from;
	memmove(&rc->seg[0], &rc->seg[1],
	    (RECENT_SEGMENTS - 1) * sizeof rc->seg[0]);
	rc->seg[RECENT_SEGMENTS - 1] = rc->seg[RECENT_SEGMENTS - 2];
}

const char *
recent_get(const struct recent *rc, uint32_t segno, uint32_t off, size_t len,
    struct buf *buf)
{
	size_t i = 0;

	if (rc->ring == NULL || len > rc->size / 4)
		return NULL;
	while (i < RECENT_SEGMENTS && rc->seg[i].segno != segno)
		i++;
	if (i == RECENT_SEGMENTS)
		return NULL;

	int64_t at = rc->seg[i].base + off;
	if (at < rc->seg[i].from || at + (int64_t)len > rc->end ||
	    at + (int64_t)rc->size < rc->high)
		return NULL;
	size_t from = (size_t)at & (rc->size - 1);
	if (len <= rc->size - from)
		return (const char *)rc->ring + from;
	size_t first = rc->size - from;
	buf_reset(buf, SIZE_MAX);
	buf_put(buf, rc->ring + from, first);
	buf_put(buf, rc->ring, len - first);
	return buf_error(buf) == 0 ? (const char *)buf->data : NULL;
}
