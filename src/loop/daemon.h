/*
 * daemon: puts the parts together: engine, transport, inputs, signals; starts
 * them in order, reloads them, and stops them without loss.
 *
 *	SIGTERM, SIGINT	read what the sockets hold, sync, answer, give
 *			requests under way five seconds, end. A second one
 *			does not wait for requests.
 *	SIGHUP		read the configuration anew; a fault keeps the old.
 */
#ifndef LUMNID_LOOP_DAEMON_H
#define LUMNID_LOOP_DAEMON_H

#include "base/cdefs.h"
#include "base/why.h"
#include "core/conf.h"

struct daemon;

/*
 * Read the configuration, whole and checked, into *ret; called again for a
 * reload. arg: as given to daemon_run().
 */
typedef int daemon_load_fn(void *arg, struct conf **ret, struct why *);

/*
 * Start with conf, which becomes the daemon's, and run until a signal ends it.
 * Returns 0, or -errno of what could not be started, with a sentence that says
 * what to do.
 */
int	daemon_run(struct conf *conf, daemon_load_fn *load, void *arg,
	    struct why *) MUSTUSE;

#endif
