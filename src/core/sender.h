/*
 * sender: takes waiting batches out of the spools, in order, and gives them to
 * the transport; decides by the answers what happens next.
 *
 * It holds a bounded window of references; the backlog stays on disk and is
 * read as it is sent. Batches of one run form a lane: only the first of a lane
 * is ever under way. Records (changes, policies) have lanes of their own and
 * go first. One back-off serves the whole upstream: while it is down, one
 * request at a time probes it, and each probe is another lane's, so that one
 * poisonous batch holds up nobody. A wrong configuration (401, 404, ...) holds
 * a route, loudly, and loses nothing.
 *
 * Nothing is logged but changes of state.
 */
#ifndef LUMNID_CORE_SENDER_H
#define LUMNID_CORE_SENDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cdefs.h"
#include "base/clock.h"
#include "base/rand.h"
#include "core/books.h"
#include "core/conf.h"
#include "core/transport.h"
#include "store/dead.h"
#include "store/spool.h"

struct sender;

struct sender_env {
	struct transport	*transport;
	struct spool		*runs;
	struct spool		*records;
	struct dead		*dead;
	struct books		*books;
	const struct conf	*conf;
	struct rng		 rng;
	size_t			 run_slots;	/* a power of 2; 0: 1,024 */
};

struct sender	*sender_new(const struct sender_env *);
/* Requests under way must have been answered or given up by the transport. */
void		 sender_free(struct sender *);
void		 sender_set_conf(struct sender *, const struct conf *,
		    struct now);

/* Fill the window and start what may start. */
void		 sender_pump(struct sender *, struct now);
/* A request has ended. Unknown tags are ignored. */
void		 sender_answer(struct sender *, uint64_t tag,
		    const struct transport_answer *, struct now);
/* When sender_pump() has to run even if nothing happens. */
struct mono	 sender_deadline(const struct sender *);

/*
 * A sync round that covered dead letters has ended: finish what waited for
 * it, or (not ok) send again.
 */
void		 sender_letters(struct sender *, bool ok, struct now);
/* JSON bytes that a batch should not exceed (learned from 413s); 0: any. */
uint64_t	 sender_max_raw(const struct sender *);

/* Start nothing until it is resumed; what is under way ends as it ends. */
void		 sender_pause(struct sender *, bool pause);
bool		 sender_is_paused(const struct sender *);
/* Whatever waits for a time may be tried now. */
void		 sender_hurry(struct sender *, struct now);
/*
 * The failed attempts of a batch, and whether it is under way; zeros for one
 * that is not among the next to be sent.
 */
void		 sender_attempts(const struct sender *, bool record,
		    uint64_t seq, uint32_t *ret_attempts, bool *ret_in_flight);
/* The newest batch of a run among the next to be sent; false: none. */
bool		 sender_find_run(const struct sender *, uint64_t run_hash,
		    struct spool_ref *ret);

/*
 * For how long it has left undone what it could do: start what is due, or see
 * the end of a request whose time (upstream.timeout) is up. 0 while it makes
 * progress; so it does when the next try lies ahead. Only a fault of this
 * program's makes it grow. Call it after sender_pump().
 */
int64_t		 sender_overdue_ms(const struct sender *, struct mono now);

/* Start nothing more. */
void		 sender_stop(struct sender *);
void		 sender_cancel(struct sender *);
/* In quiet moments: give back what memory is not in use. */
void		 sender_relax(struct sender *);
size_t		 sender_in_flight(const struct sender *);

/*
 * Give up the oldest batch of a run, or the oldest record, that is not under
 * way, as dropped for this reason. Returns the number of events, 0 when there
 * is none.
 */
uint32_t	 sender_drop_oldest(struct sender *, bool records,
		    enum spool_drop, struct now);

/*
 * Give up batches of runs that were sealed before `limit`, at most max of
 * them, as dropped for their age (storage.max_age). Returns the number of
 * events.
 */
uint64_t	 sender_drop_aged(struct sender *, struct wall limit,
		    unsigned max);

enum sender_state {
	SENDER_OK,
	SENDER_DOWN,		/* backing off */
	SENDER_HOLD,		/* configuration is wrong */
};

struct sender_status {
	enum sender_state state;
	const char	*why;		/* "" when ok; valid until the next call */
	struct mono	 last_success;	/* us 0: never */
	struct mono	 next_try;	/* when down or held */
};
void		 sender_status(const struct sender *, struct sender_status *);

#endif
