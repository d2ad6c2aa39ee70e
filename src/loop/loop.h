/*
 * loop: the event loop in turns. A turn is one dispatch pass of libevent, in
 * which every ready event is handled, then one turn of the engine, then the
 * hooks of the parts of this layer (answers go out, requests start, dead
 * objects are freed). So what many clients sent is written, synced and answered
 * together, and no object dies within its own callback.
 *
 * One thread. All functions are called from it.
 */
#ifndef LUMNID_LOOP_LOOP_H
#define LUMNID_LOOP_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/cdefs.h"
#include "base/clock.h"
#include "base/why.h"
#include "core/hist.h"

struct engine;
struct event;
struct event_base;
struct loop;
struct uids;

int	loop_new(struct loop **, struct why *) MUSTUSE;
/* All events on the base must be gone. Does not free the engine. */
void	loop_free(struct loop *);

struct event_base *loop_base(struct loop *);
/* NULL before loop_set_engine(). The engine stays the caller's. */
struct engine *loop_engine(struct loop *);
void	loop_set_engine(struct loop *, struct engine *);

/* What each user has sent, over all inputs; lives as long as the loop. */
struct uids *loop_uids(struct loop *) HOT;

/* Something happened that the engine has to see at the end of this turn. */
void	loop_wake(struct loop *);
/* Messages may have been taken, and nothing else has happened: as that. */
void	loop_wake_taken(struct loop *) HOT;
/* The hooks have to run, without waiting for an event; the engine has not. */
void	loop_poke(struct loop *);

/*
 * How long turns take, without the wait for events: from the first
 * loop_wake(), loop_wake_taken() or loop_poke() in it, or else from the end of
 * the dispatch pass. So a callback that works long begins with one of them.
 */
struct loop_turns {
	struct hist	took;
	int64_t		longest_us;	/* of the last minute, or two */
	/* A turn of at least LOOP_STUCK_MS has ended just now; else 0. */
	int64_t		stuck_us;
};
#define LOOP_STUCK_MS	10000
void	loop_turns(const struct loop *, struct loop_turns *);

/*
 * Arm a timer for `due`, unless it fires before that anyway. *armed: for when
 * it is armed, MONO_NEVER where it is not; its callback sets that, and arms it
 * anew where it was in vain. So a limit that moves later with each event (a
 * run's) or that each request has does not touch the timer.
 */
void	loop_arm(struct event *timer, struct mono *armed, struct mono due,
	    struct mono now);

/*
 * Call fn at the end of every turn, after the engine's; hooks run in the order
 * they were added. fn may call loop_wake(): the next turn then comes without
 * waiting.
 */
void	loop_add_hook(struct loop *, void (*fn)(void *), void *arg);

/*
 * Call fn for each arrival of the signal, from the loop. Several signals of a
 * kind may be one call.
 */
int	loop_add_signal(struct loop *, int signo, void (*fn)(void *, int),
	    void *arg, struct why *) MUSTUSE;

/* Run turns until loop_quit(); the turn it is called in is finished. */
int	loop_run(struct loop *, struct why *) MUSTUSE HOT;
void	loop_quit(struct loop *);

#endif
