/*
 * ctl_drop: a message left in lumnid's inbox (listen.inbox), for when lumnid
 * is not there to take it.
 */
#ifndef LUMNID_CTL_CTL_DROP_H
#define LUMNID_CTL_CTL_DROP_H

#include "base/buf.h"
#include "base/cdefs.h"
#include "base/why.h"

/*
 * Write the message to a new file in dir, which exists, in the manner of a
 * maildir: whole and synced in dir/tmp, then renamed to dir/new, which is
 * synced too. Names begin with the time, so that they are taken in order.
 * Returns 0: it outlives a power loss; or -errno.
 */
int	ctl_drop(const char *dir, const struct buf *message, struct why *)
	    MUSTUSE;

#endif
