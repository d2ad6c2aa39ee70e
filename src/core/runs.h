/*
 * runs: the table of open runs. A run holds where its events lie in the
 * journal, never their payload. Two lists keep the runs in the order of their
 * idle and age deadlines, both constant offsets, so there is no timer per
 * run and finding what is due costs nothing.
 *
 * The part numbers of runs that are not open are remembered for the newest
 * RUNS_PARTS of them, so that a late event continues its run.
 */
#ifndef LUMNID_CORE_RUNS_H
#define LUMNID_CORE_RUNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cdefs.h"
#include "base/clock.h"
#include "store/journal.h"

#define RUNS_PARTS	8192

struct run_event {
	struct journal_place	place;
	uint32_t		lsn_low;	/* low 32 bits of its lsn */
};

struct run_link {
	struct run	*prev, *next;
};

struct run {
	struct run		*hash_next;
	uint64_t		 hash;
	struct run_event	*events;
	uint32_t		 n, cap;
	uint32_t		 parted;	/* runs' own: runs_part() */
	uint8_t			 due;		/* enum spool_reason, 0: not */
	bool			 end;		/* complete */
	uint16_t		 runid_len;
	uint64_t		 json_bytes;
	uint64_t		 last_lsn;	/* of its newest record */
	struct mono		 first;		/* its oldest event came */
	struct mono		 last;		/* its newest event came */
	struct wall		 first_wall;
	struct run_link		 idle, age, due_link;
	char			 runid[];	/* NUL-ended */
};

struct runs;

struct runs	*runs_new(void);
void		 runs_free(struct runs *);

uint64_t	 runs_hash(const char *runid, size_t len);
struct run	*runs_find(const struct runs *, const char *runid, size_t len)
	    HOT;
/*
 * Open a run that is not open. first and last are `now`; its part continues
 * what is remembered of it.
 */
struct run	*runs_open(struct runs *, const char *runid, size_t len,
		    struct now);
/* Forget an open run and remember that `next_part` comes next. */
void		 runs_close(struct runs *, struct run *, uint32_t next_part);

/* Which part the batch to come is, from 1. */
uint32_t	 runs_part(const struct runs *, const struct run *);
void		 runs_set_part(struct runs *, struct run *, uint32_t part);

/* Append an event; the run is active now. */
void		 runs_add(struct runs *, struct run *, struct journal_place,
		    uint64_t lsn, struct now) HOT;
/*
 * Take away the k oldest events. json_bytes follows; the age of what is left,
 * if anything, counts from now.
 */
void		 runs_cut(struct runs *, struct run *, uint32_t k, struct now);
/*
 * Put n events (copied) before those it has; last_lsn is of the last of them,
 * and counts when the run has none.
 */
void		 runs_prepend(struct runs *, struct run *,
		    const struct run_event *, uint32_t n, uint64_t last_lsn,
		    struct now);
/* The full lsn of the run's i-th event. */
uint64_t	 runs_lsn(const struct run *, uint32_t i);
/* Take away one event in the middle (it was damaged). */
void		 runs_remove(struct runs *, struct run *, uint32_t i);

/* Mark it to be sealed, for this reason; `end` outranks other reasons. */
void		 runs_set_due(struct runs *, struct run *, unsigned reason);
void		 runs_clear_due(struct runs *, struct run *);
struct run	*runs_due(const struct runs *) HOT;	/* the first, or NULL */
/* The runs that will be idle, or of age, first. NULL when none is open. */
struct run	*runs_idle_first(const struct runs *);
struct run	*runs_age_first(const struct runs *);
struct run	*runs_idle_next(const struct run *);
struct run	*runs_age_next(const struct run *);
/* The one whose event is the newest, and so on backwards. */
struct run	*runs_idle_last(const struct runs *);
struct run	*runs_idle_prev(const struct run *);

/*
 * Walk the table in pieces: fn is told of the runs of the buckets from *at on,
 * of `some` runs or a few more; *at moves (begin with 0). Returns false at the
 * end. Runs may open and close between two pieces; but when runs_buckets()
 * changes, *at means nothing any more. fn does not change the table.
 */
bool		 runs_walk(const struct runs *, size_t *at, size_t some,
		    void (*fn)(void *, const struct run *), void *arg)
		    MUSTUSE;
size_t		 runs_buckets(const struct runs *);

size_t		 runs_count(const struct runs *);
uint64_t	 runs_events(const struct runs *);
uint64_t	 runs_bytes(const struct runs *);	/* of JSON */

/* Part numbers of runs that are not open. */
void		 runs_remember(struct runs *, uint64_t hash, uint32_t part);
/*
 * What a restart has to know: the part numbers remembered, oldest first, then
 * those of open runs that have had parts before. The array belongs to the
 * table until the next call.
 */
size_t		 runs_parts(struct runs *, const struct journal_part **ret);

#endif
