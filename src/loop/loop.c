/*
 * loop: turns of the event loop. Owns the event_base, the signal events, the
 * table of users and one timer, which is armed for the engine's next deadline.
 * Knows nothing of sockets.
 */
#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/engine.h"
#include "core/uids.h"
#include "loop/loop.h"

#define LOOP_SMALL	(64u << 10)	/* bytes */
#define LOOP_HOOKS_MAX		8
#define LOOP_SIGNALS_MAX	8
#define LOOP_SLOW_MS		1000	/* a turn that is worth a line */
#define LOOP_LONGEST_MS		60000

struct loop_hook {
	void	(*fn)(void *);
	void	*arg;
};

struct loop_signal {
	struct event	*ev;
	void		(*fn)(void *, int);
	void		*arg;
};

struct loop {
	struct event_base	*base;
	struct engine		*engine;
	struct uids		*uids;
	struct event		*timer;
	struct mono		 armed;		/* MONO_NEVER: it is not */
	bool			 woken;
	bool			 taken;
	bool			 poked;
	bool			 quit;
	struct mono		 began;		/* this turn; us 0: not yet */
	struct hist		 took;
	int64_t			 longest_us[2];	/* this minute, the last */
	struct mono		 minute;	/* when this one is over */
	int64_t			 stuck_us;	/* the newest that was stuck */
	struct mono		 stuck_end;
	struct log_limit	 slow_limit;
	struct loop_hook	 hooks[LOOP_HOOKS_MAX];
	size_t			 hooks_n;
	struct loop_signal	 signals[LOOP_SIGNALS_MAX];
	size_t			 signals_n;
};

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct loop *lo = arg;

	lo->armed = MONO_NEVER;
}

static void
on_signal(evutil_socket_t signo, short what, void *arg)
{
	struct loop_signal *sig = arg;

	sig->fn(sig->arg, (int)signo);
}

/*
 * libevent's evhttp does not outlive a failed allocation of a few bytes: it
 * frees what it has not made yet. So that is the process's end, in words, as
 * with our own. What a peer can make large may fail.
 */
static void *
loop_malloc(size_t n)
{
	return n > LOOP_SMALL ? malloc(n) : mem_alloc(n);
}

static void *
loop_realloc(void *p, size_t n)
{
	return n > LOOP_SMALL ? realloc(p, n) : mem_grow(p, 1, n);
}

int
loop_new(struct loop **ret, struct why *why)
{
	event_set_mem_functions(loop_malloc, loop_realloc, free);

	struct event_config *cfg = event_config_new();
	struct loop *lo = mem_zalloc(sizeof *lo);

	lo->armed = MONO_NEVER;
	lo->uids = uids_new();
	if (cfg != NULL) {
		/* One thread: no locks are taken for the base. */
		(void)event_config_set_flag(cfg, EVENT_BASE_FLAG_NOLOCK);
		lo->base = event_base_new_with_config(cfg);
		event_config_free(cfg);
	}
	if (lo->base != NULL)
		lo->timer = evtimer_new(lo->base, on_timer, lo);
	if (lo->timer == NULL) {
		loop_free(lo);
		return why_set(why, -EMFILE, "the event loop cannot be made: "
		    "raise the limit of open files");
	}
	*ret = lo;
	return 0;
}

void
loop_free(struct loop *lo)
{
	if (lo == NULL)
		return;
	for (size_t i = 0; i < lo->signals_n; i++)
		event_free(lo->signals[i].ev);
	if (lo->timer != NULL)
		event_free(lo->timer);
	if (lo->base != NULL)
		event_base_free(lo->base);
	uids_free(lo->uids);
	free(lo);
}

struct event_base *
loop_base(struct loop *lo)
{
	return lo->base;
}

struct engine *
loop_engine(struct loop *lo)
{
	return lo->engine;
}

struct uids *
loop_uids(struct loop *lo)
{
	return lo->uids;
}

void
loop_set_engine(struct loop *lo, struct engine *engine)
{
	lo->engine = engine;
	lo->woken = true;
}

static void
loop_begin_turn(struct loop *lo)
{
	if (lo->began.us == 0)
		lo->began = clock_mono();
}

void
loop_wake(struct loop *lo)
{
	lo->woken = true;
	loop_begin_turn(lo);
}

void
loop_wake_taken(struct loop *lo)
{
	lo->taken = true;
	loop_begin_turn(lo);
}

void
loop_poke(struct loop *lo)
{
	lo->poked = true;
	loop_begin_turn(lo);
}

void
loop_add_hook(struct loop *lo, void (*fn)(void *), void *arg)
{
	assert(lo->hooks_n < LOOP_HOOKS_MAX);
	lo->hooks[lo->hooks_n++] = (struct loop_hook){ fn, arg };
}

int
loop_add_signal(struct loop *lo, int signo, void (*fn)(void *, int),
    void *arg, struct why *why)
{
	struct loop_signal *sig;

	assert(lo->signals_n < LOOP_SIGNALS_MAX);
	sig = &lo->signals[lo->signals_n];
	sig->fn = fn;
	sig->arg = arg;
	sig->ev = evsignal_new(lo->base, signo, on_signal, sig);
	if (sig->ev == NULL || evsignal_add(sig->ev, NULL) < 0) {
		if (sig->ev != NULL)
			event_free(sig->ev);
		return why_set(why, -ENOMEM, "signal %d cannot be handled",
		    signo);
	}
	lo->signals_n++;
	return 0;
}

void
loop_arm(struct event *timer, struct mono *armed, struct mono due,
    struct mono now)
{
	struct timeval tv;
	int64_t us;

	if (due.us == MONO_NEVER.us || due.us >= armed->us)
		return;
	us = due.us > now.us ? due.us - now.us : 0;
	/* libevent's coarse clock may be a tick behind: never a turn early. */
	us += 1000;
	tv.tv_sec = us / 1000000;
	tv.tv_usec = us % 1000000;
	if (evtimer_add(timer, &tv) == 0)
		*armed = due;
}

static void
loop_note_slow(struct loop *lo, int64_t us, struct mono now)
{
	uint64_t n;

	if (us >= LOOP_STUCK_MS * INT64_C(1000)) {
		lo->stuck_us = us;
		lo->stuck_end = now;
	}
	if (log_limit_hit(&lo->slow_limit, now.us, &n))
		log_warn("turn_slow", LI("ms", us / 1000), LU("repeated", n),
		    LS("hint", "nothing was taken or answered meanwhile: the "
		    "disk, or the host, is overloaded"));
}

/* Is this still the minute, or the one after it? */
static bool
loop_follows(const struct loop *lo, struct mono now)
{
	return now.us < mono_add_ms(lo->minute, LOOP_LONGEST_MS).us;
}

/* The turn is over. What its hooks have begun is the next. */
static void
loop_note_turn(struct loop *lo, struct mono began)
{
	struct mono now = clock_mono();
	int64_t us = now.us - began.us;

	if (lo->began.us != 0)
		lo->began = now;
	hist_add(&lo->took, us);
	if (now.us >= lo->minute.us) {
		lo->longest_us[1] = loop_follows(lo, now) ?
		    lo->longest_us[0] : 0;
		lo->longest_us[0] = 0;
		lo->minute = mono_add_ms(now, LOOP_LONGEST_MS);
	}
	if (us > lo->longest_us[0])
		lo->longest_us[0] = us;
	if (us >= LOOP_SLOW_MS * INT64_C(1000))
		loop_note_slow(lo, us, now);
}

void
loop_turns(const struct loop *lo, struct loop_turns *ret)
{
	struct mono now = clock_mono();
	const int64_t *l = lo->longest_us;

	ret->took = lo->took;
	ret->longest_us = !loop_follows(lo, now) ? 0 :
	    now.us >= lo->minute.us || l[0] > l[1] ? l[0] : l[1];
	ret->stuck_us = lo->stuck_us != 0 && mono_sub_ms(now,
	    lo->stuck_end) < LOOP_STUCK_MS ? lo->stuck_us : 0;
}

/* What follows a dispatch pass. */
static void
loop_turn(struct loop *lo)
{
	struct mono began = lo->began;

	lo->began = (struct mono){ 0 };
	if (lo->engine != NULL) {
		struct now now = clock_now();
		bool woken = lo->woken, taken = lo->taken;

		if (began.us == 0)
			began = now.mono;
		lo->woken = lo->taken = false;
		if (taken && !woken)
			engine_turn_taken(lo->engine, now);
		else if (woken ||
		    engine_deadline(lo->engine).us <= now.mono.us)
			engine_turn(lo->engine, now);
	}
	lo->poked = false;
	for (size_t i = 0; i < lo->hooks_n; i++)
		lo->hooks[i].fn(lo->hooks[i].arg);
	if (began.us != 0)
		loop_note_turn(lo, began);
}

/* Is there work that may not wait for an event? */
static bool
loop_is_pressed(struct loop *lo)
{
	struct mono now, due;

	if (lo->woken || lo->taken || lo->poked)
		return true;
	if (lo->engine == NULL)
		return false;
	now = clock_mono();
	due = engine_deadline(lo->engine);
	if (due.us <= now.us)
		return true;
	loop_arm(lo->timer, &lo->armed, due, now);
	return false;
}

int
loop_run(struct loop *lo, struct why *why)
{
	lo->quit = false;
	lo->began = (struct mono){ 0 };
	while (!lo->quit) {
		int flags = EVLOOP_ONCE;

		if (loop_is_pressed(lo))
			flags |= EVLOOP_NONBLOCK;
		if (event_base_loop(lo->base, flags) < 0)
			return why_errno(why, -errno, "event loop");
		loop_turn(lo);
	}
	return 0;
}

void
loop_quit(struct loop *lo)
{
	lo->quit = true;
}
