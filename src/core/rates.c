/* rates: see rates.h. */
#include "core/rates.h"

#include <stdbool.h>
#include <string.h>

#define RATES_STEP_MS	1000

static bool
rates_moved(const struct rates *r, const uint64_t v[RATES_N])
{
	return r->n == 0 || memcmp(r->last, v, sizeof r->last) != 0;
}

void
rates_note(struct rates *r, struct mono now, const uint64_t v[RATES_N])
{
	if (!rates_moved(r, v))
		return;
	memcpy(r->last, v, sizeof r->last);
	r->moved = now;
	if (r->n > 0 && mono_sub_ms(now,
	    r->sample[(r->n - 1) % RATES_SAMPLES].at) < RATES_STEP_MS)
		return;
	r->sample[r->n % RATES_SAMPLES].at = now;
	memcpy(r->sample[r->n % RATES_SAMPLES].v, v,
	    sizeof r->sample[0].v);
	r->n++;
}

int64_t
rates_get(const struct rates *r, struct mono now, const uint64_t v[RATES_N],
    int64_t window_ms, double ret[RATES_N])
{
	size_t kept = r->n < RATES_SAMPLES ? r->n : RATES_SAMPLES;
	size_t i = r->n;
	int64_t ms;

	memset(ret, 0, RATES_N * sizeof *ret);
	if (kept == 0)
		return 0;
	/* What moved behind the newest sample is older than the window, too. */
	if (!rates_moved(r, v) && mono_sub_ms(now, r->moved) >= window_ms)
		return window_ms;
	/*
	 * The newest that is as old as the window. From one that is older
	 * nothing moved until the next, but for less than a second.
	 */
	do
		i--;
	while (r->n - i < kept && mono_sub_ms(now,
	    r->sample[i % RATES_SAMPLES].at) < window_ms);
	ms = mono_sub_ms(now, r->sample[i % RATES_SAMPLES].at);
	if (ms > window_ms)
		ms = window_ms;
	if (ms <= 0)
		return 0;
	for (size_t k = 0; k < RATES_N; k++)
		ret[k] = (double)(v[k] - r->sample[i % RATES_SAMPLES].v[k]) *
		    1000 / (double)ms;
	return ms;
}
