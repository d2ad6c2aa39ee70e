/*
 * forward: the Fluentd forward protocol, version 1, as a server reads it
 * (github.com/fluent/fluentd/wiki/Forward-Protocol-Specification-v1): one
 * message after another, and of each its entries one by one.
 *
 *	Message                  [tag, time, record, option?]
 *	Forward                  [tag, [[time, record], ...], option?]
 *	PackedForward            [tag, bin, option?], bin: entries in a row
 *	CompressedPackedForward  the same, gzip or zstd, several members
 *
 * A message lies whole in its caller's memory and may move between calls.
 * Compressed entries are decoded as they are asked for, so that a small
 * message never takes more memory than one entry may.
 */
#ifndef LUMNID_CODEC_FORWARD_H
#define LUMNID_CODEC_FORWARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/cdefs.h"
#include "base/why.h"
#include "codec/event.h"
#include "codec/frame.h"
#include "codec/unzip.h"

/* What all entries of a compressed message may come to. */
#define FORWARD_PLAIN_MAX	((uint64_t)64 << 20)

enum forward_mode {
	FORWARD_MESSAGE,
	FORWARD_FORWARD,
	FORWARD_PACKED,
	FORWARD_COMPRESSED,
	FORWARD_PING,		/* a client that wants to log in */
};

/* A message that is being read. Offsets are from its first byte. */
struct forward {
	enum forward_mode	 mode;
	size_t			 tag, tag_len;
	struct event_ack	 chunk;		/* len 0: no ack is asked for */
	size_t			 pos, end;	/* entries, or their bytes */
	uint32_t		 left;		/* entries, where counted */
	size_t			 entry;		/* the last one, or in plain */
	size_t			 max;		/* bytes of one entry */
	struct unzip		*unzip;
	struct buf		 plain;		/* decoded, not all taken */
	size_t			 plain_off;
	uint64_t		 plain_total;
	struct frame		 frame;		/* of what begins at plain_off */
	bool			 plain_end;
};

enum forward_next {
	FORWARD_ENTRY,		/* one entry */
	FORWARD_SKIP,		/* an entry that is none; the next may be */
	FORWARD_LOST,		/* this one and all after it are unreadable */
	FORWARD_END,		/* there are no more */
};

/* Is this the first byte of an array, so that forward_open() is to see it? */
static inline bool
forward_is(uint8_t first)
{
	return (first & 0xf0) == 0x90 || first == 0xdc || first == 0xdd;
}

/*
 * Begin with a whole array as frame_next() found it. max: bytes that one
 * compressed entry may have. Returns EVENT_OK, or why the message is refused;
 * then `chunk` is set where there was one. In any case forward_free() follows.
 */
enum event_code forward_open(struct forward *, const uint8_t *msg, size_t len,
	    size_t max, struct why *) MUSTUSE;
void	forward_free(struct forward *);

/*
 * The next entry, in *ret; what it points to lasts until the next call. msg:
 * as given to forward_open(), perhaps moved. With FORWARD_SKIP and
 * FORWARD_LOST, *ret_code and why say what is wrong.
 */
enum forward_next forward_next(struct forward *, const uint8_t *msg,
	    struct event_record *ret, enum event_code *ret_code,
	    struct why *) MUSTUSE;

/* Give the last FORWARD_ENTRY again with the next call. */
void	forward_back(struct forward *);

#endif
