/* hist: a histogram of durations with fixed bounds, as Prometheus takes it. */
#ifndef LUMNID_CORE_HIST_H
#define LUMNID_CORE_HIST_H

#include <stddef.h>
#include <stdint.h>

#include "base/cdefs.h"

#define HIST_BOUNDS	14

struct hist {
	uint64_t	bucket[HIST_BOUNDS + 1];	/* the last: above all */
	uint64_t	sum_us;
};

/* Upper bounds, microseconds: 0.5 ms to 5 min. */
extern const int64_t	hist_bounds[HIST_BOUNDS];

void	hist_add(struct hist *, int64_t us) HOT;

#endif
