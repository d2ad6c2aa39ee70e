/* ctl_ask: one message to lumnid, and its answer. */
#ifndef LUMNID_CTL_CTL_ASK_H
#define LUMNID_CTL_CTL_ASK_H

#include <stdint.h>

#include "base/buf.h"
#include "base/cdefs.h"
#include "base/why.h"
#include "ctl/ctl.h"

/*
 * Send a whole message that asks for the ack `id`, and wait for it. Returns
 * CTL_OK (it is on lumnid's disk), CTL_REFUSED or CTL_UNREACHABLE, both with
 * the reason in why.
 */
int	ctl_ask(const struct ctl *, const struct buf *message, uint64_t id,
	    struct why *) MUSTUSE;

#endif
