/*
 * backoff: how long to wait after a failure: exponential with full jitter
 * (a uniform draw below a ceiling that doubles), so that many lumnids that
 * lose the same upstream do not return in step; a Retry-After is a floor with
 * jitter on top of it.
 */
#ifndef LUMNID_CORE_BACKOFF_H
#define LUMNID_CORE_BACKOFF_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/rand.h"

#define BACKOFF_MIN_MS		1000
#define BACKOFF_MAX_MS		(5 * 60 * 1000)
#define BACKOFF_FLOOR_MS	100	/* no draw is shorter */

struct backoff {
	unsigned	failures;	/* in a row */
	struct mono	until;		/* do not try before */
};

void	backoff_reset(struct backoff *);
/*
 * An operator wants a try now. If it fails, too, the waits begin anew: his
 * impatience is no reason to wait longer.
 */
void	backoff_hurry(struct backoff *, struct mono now);
/*
 * One more failure. min_ms: the first ceiling; it doubles up to max_ms.
 * retry_after_ms: -1 when the upstream named no time. Returns the wait in ms.
 */
int64_t	backoff_fail(struct backoff *, struct rng *, struct mono,
	    int64_t min_ms, int64_t max_ms, int64_t retry_after_ms);
bool	backoff_over(const struct backoff *, struct mono);

#endif
