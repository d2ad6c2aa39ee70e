/*
 * sender_window: the sender's window on the spools: slots, lanes and the list
 * of what may be sent now. Pure bookkeeping; it sends nothing.
 */
#ifndef LUMNID_CORE_SENDER_WINDOW_H
#define LUMNID_CORE_SENDER_WINDOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/clock.h"
#include "core/transport.h"
#include "store/spool.h"

enum slot_state {
	SLOT_FREE,
	SLOT_BLOCKED,		/* behind another of its lane */
	SLOT_READY,		/* may be sent */
	SLOT_LATER,		/* may be sent from not_before on */
	SLOT_FLIGHT,
	SLOT_BURY,		/* its dead letter waits for a sync round */
};

struct slot {
	enum slot_state	 state;
	uint32_t	 index;
	uint32_t	 generation;	/* its own: makes tags unique */
	uint32_t	 attempts;	/* that failed */
	uint32_t	 stale;		/* stale connections in a row */
	/*
	 * An earlier request under this id may have been taken: it had no
	 * answer, or another process sent it.
	 */
	bool		 doubt;
	bool		 inherited;	/* of an earlier process */
	struct mono	 conflict;	/* the first 409 while in doubt; or 0 */
	size_t		 json_len;	/* of the request, before any coding */
	struct spool	*spool;
	struct spool_ref ref;
	uint64_t	 lane;		/* key */
	struct mono	 not_before;
	uint64_t	 sent;		/* number of its newest request */
	struct buf	 raw;		/* a body made for this request */
	bool		 raw_packed;	/* and it is zstd */

	/*
	 * Bisecting: events [lo, hi) of the batch are the request; those
	 * before lo are finished (ref.finished).
	 */
	bool		 split;
	uint32_t	 lo, hi;
	uint8_t		*fate;		/* of [lo, hi), after an answer */
	struct wall	 sealed;	/* known once it was sent */
	uint64_t	 letter;	/* dead_written() that must be safe */

	struct slot	*lane_next;	/* behind it in its lane */
	struct slot	*lane_tail;	/* of the lane; valid in its head */
	struct slot	*hash_next;	/* lane heads with the same bucket */
	struct slot	*prev, *next;	/* in the list of its state */
	struct slot	*older, *newer;	/* all used slots, in order of seq */
};

struct slot_list {
	struct slot	*head, *tail;
	size_t		 n;
};

struct window {
	struct slot	*slots;
	size_t		 slots_n;
	size_t		 touched;	/* those behind were never used */
	uint32_t	 generation;	/* of the newest slot in use */
	struct slot	**buckets;
	size_t		 buckets_n;
	struct slot_list free, ready, later, bury;
	struct slot	*oldest, *newest;
	struct spool	*spool;
	struct spool_cursor cursor;
	uint64_t	 seen;		/* newest seq the cursor has passed */
	uint64_t	 inherited;	/* newest seq of an earlier process */
};

/* The end of the largest piece (see sender_split.c) that begins at k of n. */
uint32_t window_piece_end(uint32_t n, uint32_t k);

/* n: slots, a power of two. */
void	window_init(struct window *, struct spool *, size_t n);
void	window_free(struct window *);
/* Without a slot in use, give their memory back. */
void	window_relax(struct window *);
/*
 * Read on from the spool while slots are free, up to what is durable. Stops
 * at a read error, which is returned as -errno; 0 otherwise.
 */
int	window_fill(struct window *, struct why *);

/* What waits for a time may be sent now. */
void	window_hurry(struct window *);
/* The oldest slot that may be sent now; due LATER ones become READY. */
struct slot *window_pick(struct window *, struct mono);
/* The earliest not_before of what waits for a time; MONO_NEVER. */
struct mono window_next(const struct window *);
/* READY -> FLIGHT. */
void	window_take(struct window *, struct slot *);
/* FLIGHT, BURY (or READY) -> READY, or LATER when not_before is in the future. */
void	window_put_back(struct window *, struct slot *, struct mono not_before,
	    struct mono now, bool to_tail);
/* FLIGHT -> BURY. */
void	window_bury(struct window *, struct slot *);
/* The batch is finished: the next of its lane becomes ready. */
void	window_finish(struct window *, struct slot *);

#endif
