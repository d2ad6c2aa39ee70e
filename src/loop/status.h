/*
 * status: keeps the service manager's one line about us true: what
 * `systemctl status lumnid` shows. Without a service manager it does nothing.
 */
#ifndef LUMNID_LOOP_STATUS_H
#define LUMNID_LOOP_STATUS_H

#include "base/cdefs.h"
#include "base/why.h"
#include "core/conf.h"

struct loop;
struct status;

/*
 * The loop's engine must be set. Adds a hook to the loop, so it lives as long
 * as the loop runs. Looks at the key, and logs when there is none.
 */
struct status *status_new(struct loop *, const struct conf *);
void	status_free(struct status *);

/* Another configuration: the key is looked at again. */
void	status_set_conf(struct status *, const struct conf *);
/* The line now, for a message of another kind; readable until the next call. */
const char *status_now(struct status *);
/* Why there is no API key; NULL: there is one. */
const char *status_no_key(struct status *);
/* Nothing is sent from now on: a stop has lines of its own. */
void	status_stop(struct status *);

#endif
