/*
 * rates: how fast counters have moved of late: a ring of samples, one a second
 * at most, compared with what they are now. It is told whenever something may
 * have moved; without activity nobody has to wake for it.
 */
#ifndef LUMNID_CORE_RATES_H
#define LUMNID_CORE_RATES_H

#include <stddef.h>
#include <stdint.h>

#include "base/cdefs.h"
#include "base/clock.h"

enum { RATES_EVENTS, RATES_BYTES, RATES_DELIVERED, RATES_N };

#define RATES_SAMPLES	16
#define RATES_WINDOW_MS	10000

struct rates {
	struct {
		struct mono	at;
		uint64_t	v[RATES_N];
	}		sample[RATES_SAMPLES];
	size_t		n;		/* taken so far, by far more than kept */
	uint64_t	last[RATES_N];	/* as told last, */
	struct mono	moved;		/* and when that was news */
};

/* What the counters are now. */
void	rates_note(struct rates *, struct mono, const uint64_t v[RATES_N]) HOT;
/*
 * What moved in each second of the last window_ms, or since the first sample
 * where that is younger. Returns over how many ms; 0 and zeros: not known yet.
 */
int64_t	rates_get(const struct rates *, struct mono, const uint64_t v[RATES_N],
	    int64_t window_ms, double ret[RATES_N]);

#endif
