/*
 * inherited: holds the sockets that the service manager has opened to what the
 * configuration says of them, and tells where they differ. It changes nothing.
 */
#ifndef LUMNID_LOOP_INHERITED_H
#define LUMNID_LOOP_INHERITED_H

#include "core/conf.h"
#include "loop/listen.h"

/*
 * Warn of each key under listen. that was set, and has no effect, as the
 * socket that came (listen_inherit()) is another: at the start, and when a
 * reload has put another configuration in force.
 */
void	inherited_check(const struct listen_inherited *, const struct conf *);

#endif
