/* sender_int: what sender.c and sender_answer.c share. */
#ifndef LUMNID_CORE_SENDER_INT_H
#define LUMNID_CORE_SENDER_INT_H

#include <errno.h>

#include "base/buf.h"
#include "base/log.h"
#include "core/backoff.h"
#include "core/sender.h"
#include "core/sender_window.h"

enum { SENDER_RECORDS, SENDER_RUNS, SENDER_CLASSES };

#define SENDER_RECORD_SLOTS	64
#define SENDER_RUN_SLOTS	1024
#define SENDER_BODY_SMALL	(64u * 1024)
#define SENDER_SCRATCH_KEEP	(128u * 1024)
#define SENDER_LOCAL_RETRY_MS	1000
#define SENDER_KEY_WATCH_MS	2000
#define SENDER_HOLD_MIN_MS	10000
#define SENDER_PER_TURN		64	/* requests started in one turn */
#define SENDER_STALE_MAX	4	/* then it counts as a failure */
#define SENDER_CONFLICT_MS	(5 * 60 * 1000)	/* then a 409 is a refusal */
#define SENDER_NO_CODING_MS	(60 * 60 * 1000)

/* A wrong configuration closes a class's gate, but for a slow probe. */
struct sender_gate {
	bool		held;
	bool		all_routes;	/* the key or the host is wrong */
	size_t		in_flight;
	struct backoff	backoff;
	char		why[256];
};

struct sender {
	struct sender_env	 env;
	const struct conf	*conf;
	struct window		 window[SENDER_CLASSES];
	struct sender_gate	 gate[SENDER_CLASSES];
	size_t			 in_flight;
	bool			 stopped;
	bool			 paused;	/* by an operator */
	bool			 more;		/* work left from this turn */

	/* The shared back-off. */
	bool			 down;
	struct backoff		 backoff;
	uint64_t		 sent;		/* requests so far */
	uint64_t		 failed_at;	/* `sent` at the newest failure */
	char			 why[256];
	uint64_t		 suspect;	/* seq: only it has failed */
	struct mono		 last_success;
	struct mono		 last_move;	/* a request began or ended */
	struct mono		 last_idle;	/* nothing was due */

	/* AIMD: requests allowed at a time, and where doubling ends. */
	double			 ramp, ramp_knee;

	struct mono		 no_coding_until;	/* after a 415 */

	bool			 key_watch;
	struct mono		 key_next;
	uint64_t		 key_stamp;

	/* Learned from 413s, until the next reload; 0: nothing yet. */
	uint64_t		 too_large;	/* body, bytes as sent */
	uint64_t		 max_raw;	/* JSON of a batch, bytes */

	struct batch		*packer;	/* made for the first split */
	struct buf		 parent;	/* a batch's JSON, while splitting */
	struct log_limit	 read_limit, down_limit, hold_limit;
	struct mono		 read_retry[SENDER_CLASSES];
	struct log_limit	 refused_limit, local_limit;
	struct buf		 scratch;
	struct spool_batch	 batch;
};

/* The slot under way with this tag, or NULL. */
struct slot	*sender_slot(struct sender *, uint64_t tag, int *ret_class);
void		 sender_ramp_start(struct sender *);

/* sender_split.c */
/*
 * Make the request's body for a slot that is being split, into slot->raw.
 * batch: of the slot. 0, -EBADMSG, -errno.
 */
int	sender_split_build(struct sender *, struct slot *,
	    const struct spool_batch *, bool plain, struct why *) MUSTUSE;
/* The id of the request: the batch's own, or one derived for the piece. */
void	sender_split_id(const struct slot *, const struct spool_batch *,
	    char dst[SPOOL_ID_MAX + 24]);
/*
 * What is under way is refused: halve it, or bury it when it is one event.
 */
void	sender_split_refused(struct sender *, int class, struct slot *,
	    const struct transport_answer *, struct now);
/* A 2xx: finish the piece, but for the events that the answer refuses. */
void	sender_split_taken(struct sender *, int class, struct slot *,
	    const struct transport_answer *, struct now);

#endif
