/*
 * sync: the helper thread of the engine. It calls fdatasync and fsync, which
 * may take seconds, and nothing else; one round at a time. (Others: reap.h,
 * dirsync.h.)
 */
#ifndef LUMNID_LOOP_SYNC_H
#define LUMNID_LOOP_SYNC_H

#include "base/cdefs.h"
#include "base/why.h"

struct loop;
struct seglog_sync;	/* of core/engine.h */
struct sync;

/* Start the thread. A round's end is given to the loop's engine. */
int	sync_new(struct loop *, struct sync **, struct why *) MUSTUSE;
/* Waits for the round under way, whose end is then told to nobody. */
void	sync_free(struct sync *);

/*
 * Begin a round; the set is copied, its fds stay open until its end. Returns 0
 * or -EBUSY. engine_sync_part() and engine_sync_end() come from the loop, never
 * from within.
 */
int	sync_start(struct sync *, const struct seglog_sync *) MUSTUSE;

#endif
