/*
 * clock: the only reader of the clocks. Policy code takes `struct now` as an
 * argument. Monotonic and wall time are different types, so that a deadline
 * can never be computed from a clock that jumps.
 */
#ifndef LUMNID_BASE_CLOCK_H
#define LUMNID_BASE_CLOCK_H

#include <stdint.h>

#include "base/cdefs.h"

struct mono {
	int64_t	us;	/* microseconds of CLOCK_MONOTONIC */
};

struct wall {
	int64_t	us;	/* microseconds since 1970-01-01T00:00:00Z */
};

struct now {
	struct mono	mono;
	struct wall	wall;
};

#define MONO_NEVER	((struct mono){ INT64_MAX })

struct now	clock_now(void) HOT;
struct mono	clock_mono(void) HOT;
/* Microseconds of CPU that this thread has used. */
int64_t	clock_cpu_us(void);

static inline struct mono
mono_add_ms(struct mono t, int64_t ms)
{
	int64_t us;

	/* What began before the host was started has a time below 0. */
	if (t.us == INT64_MAX || __builtin_mul_overflow(ms, 1000, &us) ||
	    __builtin_add_overflow(t.us, us, &us))
		return MONO_NEVER;
	return (struct mono){ us };
}

static inline int64_t
mono_sub_ms(struct mono a, struct mono b)
{
	return (a.us - b.us) / 1000;
}

static inline struct mono
mono_min(struct mono a, struct mono b)
{
	return a.us < b.us ? a : b;
}

#endif
