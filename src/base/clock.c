/* clock: the only reader of the clocks. */
#include "base/clock.h"

#include <time.h>

#include "base/mem.h"

static int64_t
clock_read(clockid_t id)
{
	struct timespec ts;

	if (clock_gettime(id, &ts) < 0)
		fatal("clock_gettime: no clock %d", (int)id);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

struct mono
clock_mono(void)
{
	return (struct mono){ clock_read(CLOCK_MONOTONIC) };
}

struct now
clock_now(void)
{
	return (struct now){
		.mono = clock_mono(),
		.wall = { clock_read(CLOCK_REALTIME) },
	};
}

int64_t
clock_cpu_us(void)
{
	return clock_read(CLOCK_THREAD_CPUTIME_ID);
}
