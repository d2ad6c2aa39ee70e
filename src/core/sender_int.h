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
#define SENDER_NO_CODING_MS	(60 * 60 * 1000)

/* A wrong configuration closes a class's gate, but for a slow probe. */
struct sender_gate {
	bool		held;
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
	bool			 more;		/* work left from this turn */

	/* The shared back-off. */
	bool			 down;
	struct backoff		 backoff;
	struct mono		 failed_at;	/* the newest failure */
	char			 why[256];
	uint64_t		 successes;
	struct mono		 last_success;

	/* AIMD: requests allowed at a time, and where doubling ends. */
	double			 ramp, ramp_knee;

	struct mono		 no_coding_until;	/* after a 415 */

	bool			 key_watch;
	struct mono		 key_next;
	uint64_t		 key_stamp;

	struct log_limit	 read_limit, down_limit, hold_limit;
	struct log_limit	 refused_limit;
	struct buf		 scratch;
	struct spool_batch	 batch;
};

/* The slot under way with this tag, or NULL. */
struct slot	*sender_slot(struct sender *, uint64_t tag, int *ret_class);
void		 sender_ramp_start(struct sender *);

#endif
