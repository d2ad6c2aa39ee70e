/* backoff: pure arithmetic on a clock that is given. */
#include "core/backoff.h"

void
backoff_reset(struct backoff *b)
{
	b->failures = 0;
	b->until = (struct mono){ 0 };
}

void
backoff_hurry(struct backoff *b, struct mono now)
{
	if (b->until.us <= now.us)
		return;
	b->until = now;
	if (b->failures > 1)
		b->failures = 1;
}

int64_t
backoff_fail(struct backoff *b, struct rng *rng, struct mono now,
    int64_t min_ms, int64_t max_ms, int64_t retry_after_ms)
{
	int64_t ceiling = min_ms;

	for (unsigned i = 0; i < b->failures && ceiling < max_ms; i++)
		ceiling *= 2;
	if (ceiling > max_ms)
		ceiling = max_ms;
	if (b->failures < UINT32_MAX)
		b->failures++;

	int64_t wait = (int64_t)rng_below(rng, (uint64_t)ceiling) + 1;
	if (wait < BACKOFF_FLOOR_MS)
		wait = BACKOFF_FLOOR_MS;
	if (retry_after_ms >= 0) {
		/*
		 * The upstream told every client the same time: spread over
		 * as much again, but at least over the first ceiling.
		 */
		int64_t spread = retry_after_ms / 4;
		if (spread < min_ms)
			spread = min_ms;
		wait = retry_after_ms +
		    (int64_t)rng_below(rng, (uint64_t)spread);
	}
	b->until = mono_add_ms(now, wait);
	return wait;
}

bool
backoff_over(const struct backoff *b, struct mono now)
{
	return now.us >= b->until.us;
}
