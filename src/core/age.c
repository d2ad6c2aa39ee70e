/* age: see age.h. */
#include "core/age.h"

#define AGE_LEAP_US	(60 * (int64_t)1000000)	/* less is drift */
#define AGE_BELIEVE_MS	(60 * 60 * (int64_t)1000)

static bool
age_has_leapt(int64_t offset, int64_t from)
{
	return offset - from > AGE_LEAP_US || from - offset > AGE_LEAP_US;
}

bool
age_limit(struct age *a, struct now now, int64_t max_ms, struct wall *ret)
{
	const int64_t offset = now.wall.us - now.mono.us;
	const int64_t patience = max_ms < AGE_BELIEVE_MS ? max_ms :
	    AGE_BELIEVE_MS;

	if (!a->started) {
		*a = (struct age){ .started = true, .ahead = true,
		    .offset = INT64_MIN / 2, .leapt = offset,
		    .since = now.mono };
	} else if (offset <= a->offset || !age_has_leapt(offset, a->offset)) {
		a->offset = offset;
		a->ahead = false;
	} else if (!a->ahead || age_has_leapt(offset, a->leapt)) {
		a->ahead = true;
		a->leapt = offset;
		a->since = now.mono;
	}
	if (a->ahead && mono_sub_ms(now.mono, a->since) >= patience) {
		a->ahead = false;
		a->offset = offset;
	}
	if (a->offset == INT64_MIN / 2)
		return false;
	ret->us = now.mono.us + a->offset - max_ms * 1000;
	return true;
}
