/* watchdog: a timer makes a turn due; the turn's end decides. */
#include "loop/watchdog.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/engine.h"
#include "loop/loop.h"
#include "loop/notify.h"

struct watchdog {
	struct loop	*loop;
	int64_t		 period_us;	/* the manager's; 0: it has none */
	bool		 due;
	struct log_limit limit;
	struct event	 ev;
};

/* How often it wants to hear of this process, in us; 0: not at all. */
static int64_t
watchdog_period(void)
{
	const char *usec = getenv("WATCHDOG_USEC");
	const char *pid = getenv("WATCHDOG_PID");
	long long n;

	if (usec == NULL || (pid != NULL && strtol(pid, NULL, 10) != getpid()))
		return 0;
	n = strtoll(usec, NULL, 10);
	return n > 0 && n < INT64_MAX / 4 ? n : 0;
}

/* Thrice in the manager's time, so that one may be late. */
static void
watchdog_arm(struct watchdog *wd)
{
	const struct timeval tv = {
		.tv_sec = wd->period_us / 3 / 1000000,
		.tv_usec = wd->period_us / 3 % 1000000,
	};

	(void)evtimer_add(&wd->ev, &tv);
}

/* This turn passes through the engine, and ends with watchdog_turn(). */
static void
on_watchdog(evutil_socket_t fd, short what, void *arg)
{
	struct watchdog *wd = arg;

	wd->due = true;
	loop_wake(wd->loop);
	watchdog_arm(wd);
}

static void
watchdog_turn(void *arg)
{
	struct watchdog *wd = arg;
	struct engine *engine = loop_engine(wd->loop);
	struct now now;
	int64_t sync_ms, sender_ms, limit_ms = wd->period_us * 2 / 1000;
	uint64_t n;

	if (!wd->due)
		return;
	wd->due = false;
	now = clock_now();
	sync_ms = engine_sync_age_ms(engine, now);
	sender_ms = engine_sender_overdue_ms(engine, now);
	if (sync_ms <= limit_ms && sender_ms <= limit_ms) {
		(void)notify_send("WATCHDOG=1");
		return;
	}
	if (log_limit_hit(&wd->limit, now.mono.us, &n))
		log_error("no_progress", LI("sync_under_way_ms", sync_ms),
		    LI("sender_overdue_ms", sender_ms), LU("repeated", n),
		    LS("hint", sync_ms > limit_ms ? "the disk hangs" :
		    "this is a fault of lumnid's; please report it"));
}

struct watchdog *
watchdog_new(struct loop *loop)
{
	struct watchdog *wd = mem_zalloc(sizeof *wd);

	wd->loop = loop;
	wd->period_us = watchdog_period();
	(void)evtimer_assign(&wd->ev, loop_base(loop), on_watchdog, wd);
	if (wd->period_us != 0) {
		loop_add_hook(loop, watchdog_turn, wd);
		watchdog_arm(wd);
	}
	return wd;
}

void
watchdog_free(struct watchdog *wd)
{
	if (wd == NULL)
		return;
	(void)event_del(&wd->ev);
	free(wd);
}
