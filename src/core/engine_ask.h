/*
 * engine_ask: what an operator asks of the engine: which runs are open and what
 * they hold, which batches wait, what becomes of what is flushed. Every call is
 * bounded work; who wants much asks for it in pieces.
 */
#ifndef LUMNID_CORE_ENGINE_ASK_H
#define LUMNID_CORE_ENGINE_ASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/cdefs.h"
#include "base/clock.h"
#include "base/why.h"
#include "core/engine.h"
#include "store/spool.h"

/* --- open runs ------------------------------------------------------------ */

enum engine_order {
	ENGINE_BY_AGE,		/* the oldest first; the one that has pages */
	ENGINE_BY_RECENT,	/* the newest event first */
	ENGINE_BY_EVENTS,	/* the most first */
	ENGINE_BY_BYTES,
	ENGINE_ORDERS
};
/* "age", "recent", "events", "bytes"; false for another word. */
bool	engine_order_parse(const char *, enum engine_order *ret) MUSTUSE;

struct engine_run {
	const char	*runid;		/* until the engine is called again */
	size_t		 runid_len;
	uint32_t	 part;		/* of the batch to come, from 1 */
	uint32_t	 events;
	uint64_t	 bytes;		/* of JSON */
	int64_t		 age_ms;	/* of its oldest event */
	int64_t		 idle_ms;	/* since its newest event */
	uint64_t	 mark;		/* for the next page */
};

/* Where a page begins: behind the last run of the page before. */
struct engine_page {
	uint64_t	 mark;		/* 0: at the beginning */
	const char	*runid;
	size_t		 runid_len;
};

/*
 * At most n open runs, by age or the newest first, to ret; returns how many.
 * page may be NULL; it is obeyed by ENGINE_BY_AGE. A run that is open all the
 * while is on one of the pages.
 */
size_t	engine_runs(struct engine *, enum engine_order,
	    const struct engine_page *, struct now, struct engine_run *ret,
	    size_t n) MUSTUSE;
/*
 * The n largest, by events or bytes. All open runs have to be looked at, so it
 * is done in steps: call engine_top_step() until it returns false, then
 * engine_top_get(). What happens between two steps may be seen or not.
 */
struct engine_top;
struct engine_top *engine_top_begin(enum engine_order, size_t n);
bool	engine_top_step(struct engine *, struct engine_top *) MUSTUSE;
/* The largest first, of those still open; returns how many. */
size_t	engine_top_get(struct engine *, struct engine_top *, struct now,
	    struct engine_run *ret) MUSTUSE;
void	engine_top_free(struct engine_top *);

/* One of them; false: it is not open. */
bool	engine_run_find(struct engine *, const char *runid, size_t len,
	    struct now, struct engine_run *ret) MUSTUSE;
/*
 * Append the run's events behind *lsn (0: all) to the buffer, each a line
 * {"event":{...}}, until `max` bytes are reached; *lsn moves. Returns 1: there are more, 0:
 * none, -ENOENT: the run is not open (any more), -errno of a read.
 */
int	engine_run_events(struct engine *, const char *runid, size_t len,
	    uint64_t *lsn, struct buf *, size_t max, struct why *) MUSTUSE;

/* --- batches that wait ---------------------------------------------------- */

/* Records first, then runs, each oldest first. Begin with a zeroed one. */
struct engine_walk {
	bool		 runs;		/* the records are behind it */
	struct spool_cursor cursor;
};

struct engine_batch {
	bool		 record;	/* a change or a policy */
	struct spool_ref ref;
	struct spool_batch b;
	uint32_t	 attempts;	/* that failed, since the start */
	bool		 in_flight;
};

/*
 * The next batch that waits: 1, 0 at the end, -EAGAIN after some steps without
 * one (call again later), or -errno of a read. seq: 0, or the one to stop at
 * (others are stepped over unread). run: NULL, or the only one to stop at.
 */
int	engine_walk_next(struct engine *, struct engine_walk *, uint64_t seq,
	    const char *run, size_t run_len, struct engine_batch *,
	    struct why *) MUSTUSE;
/*
 * Part of its body, as it is stored: zstd where b.compressed. -ENOENT when it
 * has left the spool meanwhile.
 */
int	engine_batch_body(struct engine *, const struct engine_batch *,
	    uint32_t off, void *dst, size_t len, struct why *) MUSTUSE;

/* --- flush ---------------------------------------------------------------- */

enum engine_flush_state {
	ENGINE_FLUSH_SEALING,
	ENGINE_FLUSH_SENDING,
	ENGINE_FLUSH_DONE,
};

struct engine_flush;

struct engine_flush_status {
	enum engine_flush_state state;
	uint64_t	runs;		/* open runs that it sealed */
	uint64_t	events;		/* it waits, or waited, for */
	uint64_t	delivered, dead, dropped;
	bool		held;		/* the upstream takes nothing, or paused */
};

/*
 * Seal a run (runid NULL: all of them), try the upstream at once if it was
 * away, and follow what is accepted by now until it is finished. Records are
 * among it where all runs are. NULL: no such run is open, and none of its
 * batches is among the next to be sent.
 */
struct engine_flush *engine_flush_begin(struct engine *, const char *runid,
	    size_t len, struct now) MUSTUSE;
void	engine_flush_status(struct engine *, struct engine_flush *,
	    struct now, struct engine_flush_status *);
void	engine_flush_end(struct engine *, struct engine_flush *);

#endif
