/*
 * world: an engine in a test, with a fake clock, network and helper thread. It
 * sends numbered events, plays the upstream (which honours idempotency keys),
 * and checks at the end that every event that was acknowledged arrived exactly
 * once, in order, in bodies of the exact form, and that the books balance.
 */
#ifndef LUMNID_TESTS_WORLD_H
#define LUMNID_TESTS_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/rand.h"
#include "core/engine.h"

#define WORLD_RUNS	64
#define WORLD_REQUESTS	64

enum world_event {		/* what has become of a sent event */
	WORLD_SENT = 1,		/* engine_take() said OK */
	WORLD_ACKED = 2,	/* and the ack came */
	WORLD_TAKEN = 4,	/* the upstream has it */
	WORLD_DEAD = 8,		/* the upstream refuses it */
};

struct world_run {
	uint8_t		*events;	/* enum world_event, by number */
	size_t		 n, cap;
	int64_t		 last_taken;	/* -1: none */
	uint32_t	 last_part;
};

struct world_request {
	bool		 used;
	uint64_t	 tag;
	char		 id[128];
	uint32_t	 part;
	char		 reason[16];
	bool		 compressed;
	enum transport_route route;
	uint8_t		*body;
	size_t		 len;
};

struct world {
	struct conf	*conf;
	struct engine	*engine;
	struct transport transport;
	struct now	 now;
	struct rng	 rng;
	char		 dir[256];
	struct world_run run[WORLD_RUNS];
	struct world_request request[WORLD_REQUESTS];
	struct {
		char		*id;
		uint64_t	 hash[2];	/* plain and zstd; 0: unknown */
		uint64_t	 json;
	}		*taken;		/* idempotency keys and body hashes */
	size_t		 taken_n, taken_cap;
	uint64_t	 sends, duplicates, acks, refused;
	size_t		 in_flight, max_in_flight;
	bool		 messages;	/* taken since the last turn, ... */
	bool		 woken;		/* ... and more has happened */
	uint64_t	 key_stamp;
	bool		 sync_wanted;	/* a round is under way */
	struct seglog_sync sync_set;
	bool		 sync_auto;	/* world_turn() ends rounds itself */
	bool		 sync_real;	/* and calls the system for them */
	bool		 gaps_allowed;	/* unacked events may be missing */
	bool		 again_allowed;	/* unacked events may come twice */
	/*
	 * NULL, or which events the upstream takes no part of a batch for:
	 * the rest of what is taken is taken, these are WORLD_DEAD.
	 */
	bool		 (*refuses)(unsigned run, uint64_t n);
	uint64_t	 next_ack;
};

/* A log sink that swallows everything. */
void	world_no_log(void *, const char *, size_t);

/* conf_text: YAML beside storage.dir and upstream.url; may be "". */
struct world *world_new(uint64_t seed, const char *dir, const char *conf_text);
void	world_free(struct world *);
/* Open, close and reopen the engine on the same directory. */
void	world_open(struct world *);
/* 0 or -errno; then w->engine is not to be used. */
int	world_try_open(struct world *, struct why *);
void	world_close(struct world *);
/* A process that is killed: nothing is flushed. */
void	world_kill(struct world *);

/*
 * Send `n` events of run number r in the events form (n == 0: the flat form
 * with one event, which has no ack). Returns the code of engine_take().
 */
enum event_code world_send(struct world *, unsigned r, unsigned n, bool end,
	    bool ack);
/* Send a change; returns the code. Its number is in the ref. */
enum event_code world_send_change(struct world *, unsigned n, bool ack);
/* What the engine says of itself now. */
struct engine_status world_status(struct world *);
/* The engine's turn, as the loop has it. */
void	world_turn_once(struct world *);
/*
 * One turn of the loop, and a moment later for what waits for a round; rounds
 * end well when sync_auto.
 */
void	world_turn(struct world *);
/* The helper thread is done, with this error (0: none). */
void	world_sync_end(struct world *, int err);
/* Move both clocks on, with turns at each deadline on the way. */
void	world_sleep(struct world *, int64_t ms);
/*
 * Answer the i-th request under way. take: the upstream has processed it
 * before it answers so. status 0: no answer.
 */
void	world_answer(struct world *, size_t i, int status, bool take,
	    const char *retry_after);
/* The same with all of struct transport_answer in the caller's hand. */
void	world_answer_full(struct world *, size_t i, bool take,
	    const struct transport_answer *);
/* The upstream takes the i-th request and has not answered yet. */
void	world_take_unanswered(struct world *, size_t i);
/* Does the i-th request carry event number n of that run? */
bool	world_carries(struct world *, size_t i, unsigned r, size_t n);
/* How many events does it carry? */
size_t	world_count(struct world *, size_t i);
/* Events that the upstream has for good refused: they may be missing. */
void	world_set_dead(struct world *, unsigned r, size_t n);
/* Indices of requests under way; returns how many. */
size_t	world_requests(struct world *, size_t *dst);
/* Deliver everything: answer 202 to all until nothing waits; seals idle runs. */
void	world_drain(struct world *);
/* Every acked event was taken once, in order; the books balance. */
void	world_check(struct world *);
void	world_check_books(struct world *);

#endif
