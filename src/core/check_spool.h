/*
 * check_spool: what `lumnid --check-spool` prints. Reads a storage directory
 * whole and changes nothing in it.
 */
#ifndef LUMNID_CORE_CHECK_SPOOL_H
#define LUMNID_CORE_CHECK_SPOOL_H

#include <stdio.h>

#include "base/cdefs.h"
#include "base/clock.h"
#include "base/why.h"

/* Exit statuses, beside 1 (it could not be read) and 2 (usage). */
enum check_spool_result {
	CHECK_SPOOL_CLEAN = 0,
	CHECK_SPOOL_REPAIR = 3,	/* a start mends it, nothing is lost by it */
	CHECK_SPOOL_DAMAGED = 4,
};

/*
 * Print to `out` each place that is not as it should be, then counts, sizes
 * and ages. now: what ages are counted to. Returns a result, or -errno.
 */
int	check_spool(const char *dir, struct wall now, FILE *out,
	    struct why *) MUSTUSE;

#endif
