/*
 * frame: finds where one msgpack value ends in a stream of bytes.
 *
 * `pos` may lie beyond what has arrived: then it is the payload of a string
 * that is awaited, whose bytes are never looked at. `owed` counts the values
 * that the heads seen so far have promised; each takes a byte or more, so
 * pos + owed is the least that the value can come to. It is checked at every
 * head, which also means that FRAME_MORE is only returned while len < max: a
 * caller with a buffer of max bytes never waits with a full one.
 */
#include "codec/frame.h"

#include <assert.h>

#include "codec/mp.h"

void
frame_init(struct frame *f, size_t max)
{
	f->pos = 0;
	f->max = max;
	f->owed = 1;
	f->depth = 0;
}

/* A head that is not whole: can it become so within the limit? */
static enum frame_result
frame_short(struct frame *f, const uint8_t *data, size_t len)
{
	if (f->pos >= len)
		return FRAME_MORE;
	/* owed counts one byte of this head. */
	uint64_t least = f->pos + f->owed - 1 +
	    (uint64_t)mp_head_len(data[f->pos]);
	return least > f->max ? FRAME_TOO_LARGE : FRAME_MORE;
}

/* One value is complete, and with it all containers that it completes. */
static void
frame_pop(struct frame *f)
{
	while (f->depth > 0 && --f->left[f->depth - 1] == 0)
		f->depth--;
}

/* A container's head: n values will follow. */
static enum frame_result
frame_push(struct frame *f, uint64_t n)
{
	if (f->depth >= FRAME_DEPTH_MAX)
		return FRAME_TOO_DEEP;
	if (n == 0) {
		frame_pop(f);
		return FRAME_MORE;
	}
	f->owed += n;
	f->left[f->depth++] = n;
	return FRAME_MORE;
}

enum frame_result
frame_next(struct frame *f, const uint8_t *data, size_t len, size_t *ret_len)
{
	struct mp_head h;

	if (f->max == 0)
		return FRAME_TOO_LARGE;
	while (f->owed > 0) {
		enum frame_result r = FRAME_MORE;
		if (f->pos >= len)
			return FRAME_MORE;
		int n = mp_head(data + f->pos, len - f->pos, &h);
		if (n == 0)
			return frame_short(f, data, len);
		if (n < 0)
			return FRAME_BAD;
		f->pos += (size_t)n;
		f->owed--;
		switch (h.type) {
		case MP_STR:
		case MP_BIN:
		case MP_EXT:
			f->pos += h.size;
			frame_pop(f);
			break;
		case MP_ARRAY:
			r = frame_push(f, h.size);
			break;
		case MP_MAP:
			r = frame_push(f, (uint64_t)h.size * 2);
			break;
		default:
			frame_pop(f);
			break;
		}
		if (f->pos + f->owed > f->max)
			return FRAME_TOO_LARGE;
		if (r != FRAME_MORE)
			return r;
	}
	if (f->pos > len)
		return FRAME_MORE;
	assert(f->depth == 0);
	*ret_len = f->pos;
	frame_init(f, f->max);
	return FRAME_VALUE;
}

const char *
frame_strerror(enum frame_result r)
{
	switch (r) {
	case FRAME_MORE:
		return "not whole yet";
	case FRAME_VALUE:
		return "a whole value";
	case FRAME_BAD:
		return "not msgpack: byte 0xc1";
	case FRAME_TOO_LARGE:
		return "message larger than events.max_message";
	case FRAME_TOO_DEEP:
		return "containers nested too deep";
	}
	return "?";
}
