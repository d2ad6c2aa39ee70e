/* status_line: the state of the daemon in one line for people. */
#ifndef LUMNID_CORE_STATUS_LINE_H
#define LUMNID_CORE_STATUS_LINE_H

#include <stddef.h>

#include "base/cdefs.h"
#include "core/engine.h"

/*
 * "forwarding, 12 runs open, 0 events waiting"; what is wrong comes first.
 * no_key: what conf_api_key() says of a key that is missing, or NULL; it counts
 * only until the upstream was asked. dst: n bytes; returned.
 */
const char *status_line(const struct engine_status *, const char *no_key,
	    char *dst, size_t n);

#endif
