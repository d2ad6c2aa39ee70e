/*
 * mp: reads the heads of msgpack values
 * (github.com/msgpack/msgpack/blob/master/spec.md). The frame scanner and the
 * event decoder both stand on it; no tree of objects is ever built, so memory
 * does not grow with the number of values a peer sends.
 */
#ifndef LUMNID_CODEC_MP_H
#define LUMNID_CODEC_MP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cdefs.h"

enum mp_type {
	MP_NIL,
	MP_BOOL,	/* u: 0 or 1 */
	MP_UINT,	/* u */
	MP_INT,		/* i, always negative */
	MP_FLOAT,	/* d; float 32 is widened exactly */
	MP_ARRAY,	/* size: elements that follow */
	MP_MAP,		/* size: pairs that follow */
	/* The last ones have a payload; see mp_has_payload(). */
	MP_STR,		/* size: payload bytes that follow the head */
	MP_BIN,		/* size */
	MP_EXT,		/* size, ext: the type, -128..127 */
};

struct mp_head {
	enum mp_type	type;
	int8_t		ext;
	uint32_t	size;
	union {
		uint64_t	u;
		int64_t		i;
		double		d;
	};
};

/*
 * Read the head at p. Returns its length in bytes (1..9, for scalars the whole
 * value), 0 if len bytes are too few, -EBADMSG for the byte 0xc1, which is no
 * msgpack. For str, bin and ext the payload is not looked at.
 */
static inline int mp_head(const uint8_t *p, size_t len, struct mp_head *ret)
	    MUSTUSE;
static inline bool
mp_has_payload(enum mp_type type)
{
	return type >= MP_STR;
}

/* How long a head is that begins with this byte: 1..9. */
int	mp_head_len(uint8_t first);

/* The types whose first byte is not all they are; of mp_head(). */
int	mp_head_long(const uint8_t *p, size_t len, struct mp_head *ret) MUSTUSE
	    HOT;

static inline int
mp_head(const uint8_t *p, size_t len, struct mp_head *ret)
{
	if (len == 0)
		return 0;
	uint8_t c = *p;
	if (c < 0x80) {
		ret->type = MP_UINT;
		ret->u = c;
	} else if (c < 0x90) {
		ret->type = MP_MAP;
		ret->size = c & 0x0f;
	} else if (c < 0xa0) {
		ret->type = MP_ARRAY;
		ret->size = c & 0x0f;
	} else if (c < 0xc0) {
		ret->type = MP_STR;
		ret->size = c & 0x1f;
	} else if (c >= 0xe0) {
		ret->type = MP_INT;
		ret->i = (int8_t)c;
	} else {
		return mp_head_long(p, len, ret);
	}
	return 1;
}

#endif
