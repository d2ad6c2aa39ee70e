/*
 * reap: the thread that closes deleted files. The blocks of a file go with its
 * last descriptor, which takes a file system some milliseconds for a segment:
 * too long for the loop's turn, and for a sync round.
 */
#ifndef LUMNID_LOOP_REAP_H
#define LUMNID_LOOP_REAP_H

#include "base/cdefs.h"
#include "base/why.h"

/* Start the thread, and give it what base/sys deletes. One for a process. */
int	reap_start(struct why *) MUSTUSE;
/* Close what is left and end it. Nothing, where it was not started. */
void	reap_stop(void);

#endif
