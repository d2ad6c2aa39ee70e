/*
 * recent: the newest texts that went into a log, kept in memory, so that what
 * is read back soon needs no system call. A ring of bytes, addressed by where
 * the texts lie in the log; it has what still fits, and is never needed: who
 * finds nothing reads the file.
 */
#ifndef LUMNID_STORE_RECENT_H
#define LUMNID_STORE_RECENT_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/cdefs.h"

#define RECENT_SEGMENTS	4	/* so many of the log's newest are known */

struct recent {
	uint8_t		*ring;		/* NULL: nothing is kept */
	size_t		 size;		/* bytes, a power of two; 0: off */
	/* Places in the ring as if it had no end: taken modulo size. */
	int64_t		 end;		/* of the newest text */
	int64_t		 high;		/* the highest that `end` ever was */
	struct {
		uint32_t	segno;
		int64_t		base;	/* the place of its offset 0 */
		int64_t		from;	/* of its first text that is kept */
	}		 seg[RECENT_SEGMENTS];	/* newest first */
};

/* size: a power of two, or 0 to keep nothing. Takes no memory yet. */
void	recent_init(struct recent *, size_t size);
/* Give the memory back; what comes is kept again. */
void	recent_drop(struct recent *);
/* How much memory it holds, at most. */
size_t	recent_used(const struct recent *);

/*
 * Keep a text of which the log has its record at segno:off. Records come in
 * the order of the log, and each takes more than its text.
 */
void	recent_put(struct recent *, uint32_t segno, uint32_t off,
	    const void *, size_t len) HOT;
/* The log was cut: what lay at segno:off and behind it is no more. */
void	recent_cut(struct recent *, uint32_t segno, uint32_t off);
/*
 * Find a text again. Returns it, in the ring until the next put or, where it
 * goes over the ring's end, in buf; NULL when it is not kept.
 */
const char *recent_get(const struct recent *, uint32_t segno, uint32_t off,
	    size_t len, struct buf *);

#endif
