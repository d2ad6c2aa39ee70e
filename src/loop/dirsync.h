/*
 * dirsync: fsync(2) of a few directories without holding the loop up: a thread
 * for each call, as there are few. What the engine syncs, sync.h does.
 */
#ifndef LUMNID_LOOP_DIRSYNC_H
#define LUMNID_LOOP_DIRSYNC_H

#include <stdbool.h>
#include <stddef.h>

#include "base/cdefs.h"

#define DIRSYNC_MAX	4	/* directories of one call */

struct dirsync;
struct loop;

/* fn: told in the loop's thread of the end of each; err: 0 or -errno. */
struct dirsync *dirsync_new(struct loop *, void (*fn)(void *, int err),
	    void *);
/* Waits for what is under way, of which fn is not told. */
void	dirsync_free(struct dirsync *);
/*
 * Sync these directories, of whose fds copies are made: the caller may close his.
 * Returns 0: fn will be called; -EBUSY: the last is under way; or -errno.
 */
int	dirsync_start(struct dirsync *, const int *fds, size_t n) MUSTUSE;

#endif
