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
frame_short(const struct frame *f, uint8_t first)
{
	/* owed counts one byte of this head. */
	uint64_t least = f->pos + f->owed - 1 + (uint64_t)mp_head_len(first);

	return least > f->max ? FRAME_TOO_LARGE : FRAME_MORE;
}

/*
 * The loop over heads, on copies of the state that stay in registers; `left`
 * is that of the innermost container. Returns FRAME_VALUE when no more values
 * are owed.
 */
static enum frame_result
frame_scan(struct frame *f, const uint8_t *data, size_t len)
{
	enum frame_result r = FRAME_VALUE;
	uint64_t owed = f->owed, n;
	size_t pos = f->pos;
	int depth = f->depth;
	uint64_t left = depth > 0 ? f->left[depth - 1] : 1;
	struct mp_head h;

	while (owed > 0) {
		if (pos >= len) {
			r = FRAME_MORE;
			break;
		}
		/* Short strings and small integers: most of all there is. */
		uint8_t c = data[pos];
		if ((c & 0xe0) == 0xa0) {
			pos += 1 + (c & 0x1fu);
		} else if (c < 0x80) {
			pos++;
		} else {
			int head = mp_head(data + pos, len - pos, &h);
			if (UNLIKELY(head <= 0)) {
				r = head == 0 ? FRAME_MORE : FRAME_BAD;
				break;
			}
			pos += (size_t)head;
			if (mp_has_payload(h.type)) {
				pos += h.size;
			} else if (h.type >= MP_ARRAY) {
				if (depth >= FRAME_DEPTH_MAX) {
					r = FRAME_TOO_DEEP;
					break;
				}
				n = (uint64_t)h.size << (h.type == MP_MAP);
				owed += n;
				if (depth > 0)
					f->left[depth - 1] = left;
				/* One more for the container itself. */
				left = n + 1;
				depth++;
			}
		}
		owed--;
		while (--left == 0 && depth > 0)
			left = --depth > 0 ? f->left[depth - 1] : 1;
		if (UNLIKELY(pos + owed > f->max)) {
			r = FRAME_TOO_LARGE;
			break;
		}
	}
	f->pos = pos;
	f->owed = owed;
	f->depth = depth;
	if (depth > 0)
		f->left[depth - 1] = left;
	return r;
}

enum frame_result
frame_next(struct frame *f, const uint8_t *data, size_t len, size_t *ret_len)
{
	if (f->max == 0)
		return FRAME_TOO_LARGE;
	enum frame_result r = frame_scan(f, data, len);
	if (r == FRAME_MORE && f->pos < len)
		return frame_short(f, data[f->pos]);
	if (r != FRAME_VALUE)
		return r;
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
