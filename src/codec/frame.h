/*
 * frame: finds where one msgpack value ends in a stream of bytes, resuming
 * where it stopped, without memory of its own beyond the nesting stack.
 *
 * The caller keeps the bytes of the current value, contiguous from its first
 * byte, and offers them again with what has been read since; each byte is
 * looked at once. A head that promises more than the limit allows is refused
 * when the head is seen, before its bytes arrive.
 */
#ifndef LUMNID_CODEC_FRAME_H
#define LUMNID_CODEC_FRAME_H

#include <stddef.h>
#include <stdint.h>

#include "base/cdefs.h"

/* Containers within containers; the outermost counts as 1. */
#define FRAME_DEPTH_MAX		34

enum frame_result {
	FRAME_MORE,		/* not whole yet */
	FRAME_VALUE,		/* a whole value: *ret_len bytes */
	FRAME_BAD,		/* no msgpack (byte 0xc1) */
	FRAME_TOO_LARGE,	/* it is, or promises to be, over max bytes */
	FRAME_TOO_DEEP,		/* nested deeper than FRAME_DEPTH_MAX */
};

struct frame {
	size_t		pos;	/* bytes looked at, or skipped though not yet here */
	size_t		max;	/* bytes a value may have */
	uint64_t	owed;	/* least bytes still to come, of open ones */
	int		depth;
	uint64_t	left[FRAME_DEPTH_MAX];	/* values due in each */
};

void	frame_init(struct frame *, size_t max) HOT;
/*
 * data: the value's bytes from its first one, len of them so far.
 * On FRAME_VALUE, *ret_len is the length of the value, and the frame is ready
 * for the next one. Other results leave *ret_len alone. After FRAME_BAD,
 * FRAME_TOO_LARGE and FRAME_TOO_DEEP the stream is lost: only frame_init()
 * may follow.
 */
enum frame_result frame_next(struct frame *, const uint8_t *data, size_t len,
	    size_t *ret_len) MUSTUSE HOT;
const char *frame_strerror(enum frame_result);

#endif
