/*
 * mpjson: writes msgpack values as JSON, as they stream by: no tree of
 * objects, no memory but the output. The conversions are listed in event.h.
 */
#ifndef LUMNID_CODEC_MPJSON_H
#define LUMNID_CODEC_MPJSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/cdefs.h"
#include "codec/mp.h"

/* Containers within containers; the outermost is at level 1. */
#define MPJSON_DEPTH_MAX	32

enum mpjson_error {
	MPJSON_OK,
	MPJSON_BAD,		/* no msgpack, or it ends too early */
	MPJSON_TOO_DEEP,
};

/* The place in the input, and where output goes. Both are borrowed. */
struct mpjson {
	const uint8_t		*p, *end;
	struct buf		*out;	/* its failure is the caller's to see */
	bool			 in_key;
	enum mpjson_error	 error;
};

void	mpjson_init(struct mpjson *, const uint8_t *, size_t, struct buf *out)
	    HOT;
/*
 * Step over the head of the next value. Where it has a payload (str, bin,
 * ext), p is then at the payload, which is whole.
 */
static inline bool mpjson_head(struct mpjson *, struct mp_head *) MUSTUSE;
/* Step over the next value whole, however deep it nests. */
bool	mpjson_skip(struct mpjson *) MUSTUSE;
/* Write the next value; a container there is at `level`. */
bool	mpjson_value(struct mpjson *, int level) MUSTUSE HOT;
/* Write the next value as a key with its colon. */
bool	mpjson_key(struct mpjson *, int level) MUSTUSE;
/*
 * The time that an ext is: -1 of 4, 8 or 12 bytes (msgpack's timestamp), or 0
 * of 8 bytes (Fluent's EventTime). dst: TIMEFMT_MAX bytes. Returns the length
 * of its text, or 0.
 */
size_t	mpjson_time(int8_t type, const uint8_t *, uint32_t size, char *dst);
/* Write a string as a key with its colon. */
void	mpjson_put_key(struct mpjson *, const uint8_t *, size_t) HOT;

static inline bool
mpjson_head(struct mpjson *m, struct mp_head *h)
{
	int n = mp_head(m->p, (size_t)(m->end - m->p), h);

	if (UNLIKELY(n <= 0)) {
		m->error = MPJSON_BAD;
		return false;
	}
	m->p += n;
	if (mp_has_payload(h->type) &&
	    UNLIKELY(h->size > (size_t)(m->end - m->p))) {
		m->error = MPJSON_BAD;
		return false;
	}
	return true;
}

#endif
