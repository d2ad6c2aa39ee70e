/*
 * age: what may be given up for its age? Ages are differences of the wall
 * clock, which jumps: a wrong clock at a boot, or a leap of a year, must not
 * delete everything at once. So a clock that has leapt ahead is believed only
 * after it has stood so for an hour, or for as long as the limit itself,
 * whichever is shorter; and what an earlier process has left behind is given
 * as long before it counts as old. A clock that was set back is believed at
 * once: then all is younger.
 */
#ifndef LUMNID_CORE_AGE_H
#define LUMNID_CORE_AGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"

struct age {			/* zeroed: just started */
	bool		started;
	bool		ahead;		/* it has leapt, and is not believed */
	int64_t		offset;		/* us, wall minus mono, believed */
	int64_t		leapt;		/* offset since the leap */
	struct mono	since;		/* of the start, or of the leap */
};

/*
 * To be called at least every few minutes. max_ms: the limit, > 0. Returns
 * false when nothing may be called too old now; else *ret: what is from before
 * it is.
 */
bool	age_limit(struct age *, struct now, int64_t max_ms, struct wall *ret);

#endif
