/* hist: counts durations. */
#include "core/hist.h"

const int64_t hist_bounds[HIST_BOUNDS] = {
	500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 1000000,
	5000000, 30000000, 60000000, 300000000,
};

void
hist_add(struct hist *h, int64_t us)
{
	size_t i = 0;

	if (us < 0)
		us = 0;
	while (i < HIST_BOUNDS && us > hist_bounds[i])
		i++;
	h->bucket[i]++;
	h->sum_us += (uint64_t)us;
}
