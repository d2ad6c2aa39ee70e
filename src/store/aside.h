/*
 * aside: what a newer lumnid has left, out of the way of an older one.
 *
 * A log of which one segment is of a version that is not known here can be
 * neither read nor gone on with, and neither can the others: a mark in one
 * segment says what has become of batches and events in another, and so a log
 * that is read in part sends again what was sent. So the journal and the
 * spools are moved together, as they are, to a directory of their own in the
 * storage directory, and nothing in them is read or changed before a lumnid
 * comes that knows all of it. That one takes over what waits in them
 * (core/engine_aside.c) and removes them.
 *
 *	newer-1			one state; newer-2 etc. are later ones
 *	newer-1.part		the move is not complete yet
 *	newer-1.gone		taken over; is being removed
 *
 * A crash leaves the one before or the one behind it.
 */
#ifndef LUMNID_STORE_ASIDE_H
#define LUMNID_STORE_ASIDE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/cdefs.h"
#include "base/why.h"

#define ASIDE_NAME_LEN	24	/* "newer-1.part" and its NUL */

/* The directories of a state's logs, in the storage directory. */
#define ASIDE_LOGS	3
extern const char *const aside_logs[ASIDE_LOGS];

/* One state that was set aside. */
struct aside {
	unsigned	n;		/* newer-<n> */
	char		name[ASIDE_NAME_LEN];
	uint64_t	files;		/* segments */
	uint64_t	bytes;		/* of them */
	bool		known;		/* all are of a version known here */
};

/*
 * Is each log in the storage directory `path` of a version that is known here?
 * Changes nothing. Returns 0; -EPROTONOSUPPORT and which file is not; or -errno
 * of a file that could not be read.
 */
int	aside_known(const char *path, struct why *) MUSTUSE;
/*
 * Complete what a crash has cut short: to be called before the logs'
 * directories are made. dirfd: of the storage directory, whose path is for
 * errors. 0 or -errno.
 */
int	aside_finish(int dirfd, const char *path, struct why *) MUSTUSE;
/*
 * Set the logs aside, durably; their directories are to be made anew. Returns
 * 0 and the new directory's name, or -errno; then aside_finish() goes on.
 */
int	aside_move(int dirfd, const char *path, char ret_name[ASIDE_NAME_LEN],
	    struct why *) MUSTUSE;
/* The state with the lowest number above `after`; false when there is none. */
bool	aside_next(int dirfd, const char *path, unsigned after,
	    struct aside *ret);
/*
 * Nothing waits in it any more: delete its segments and directories. What else
 * is there (its own quarantine) moves to quarantine/<name>, or <name>.2 etc.
 * where that is taken. 0 or -errno; aside_finish() goes on.
 */
int	aside_remove(int dirfd, const char *path, const struct aside *,
	    struct why *) MUSTUSE;

#endif
