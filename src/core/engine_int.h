/* engine_int: what the engine's files share; nobody else includes it. */
#ifndef LUMNID_CORE_ENGINE_INT_H
#define LUMNID_CORE_ENGINE_INT_H

#include <errno.h>

#include "base/buf.h"
#include "base/cdefs.h"
#include "base/log.h"
#include "codec/batch.h"
#include "codec/redact.h"
#include "core/age.h"
#include "core/engine.h"
#include "core/runs.h"
#include "core/sender.h"
#include "store/dead.h"
#include "store/journal.h"
#include "store/spool.h"

#define ENGINE_SEGMENT_BYTES	(8u << 20)
#define ENGINE_SEGMENT_MIN	(64u << 10)
#define ENGINE_BUFFER_BYTES	(256u << 10)
/* With 256 runs of 16 steps interleaved most are sealed within so many. */
#define ENGINE_RECENT_BYTES	(2u << 20)
#define ENGINE_RECORDS_BUFFER	(32u << 10)
#define ENGINE_SYNC_MS		1000	/* the longest anything stays unsynced */
#define ENGINE_PACE_MS		8	/* between rounds nobody waits for */
#define ENGINE_CALM_MS		1000	/* between whole turns, under traffic */
#define ENGINE_CALM_BYTES	(64u << 10)	/* taken between them */
#define ENGINE_RETRY_MS		1000	/* between tries on a failing disk */
#define ENGINE_SPACE_MS		1000	/* between looks at free space */
#define ENGINE_PRUNE_MS		(60 * 60 * 1000)
#define ENGINE_PRUNE_RETRY_MS	10000	/* where letters could not go */
#define ENGINE_SEALS_PER_TURN	512
/* JSON: some ms of reading back and zstd. One part may be larger. */
#define ENGINE_SEAL_BYTES_PER_TURN	(512u << 10)
#define ENGINE_DROPS_PER_TURN	1024	/* records looked at */
#define ENGINE_FREE_MAX		(256ull << 20)
#define ENGINE_TRIM_BYTES	(1u << 20)	/* taken between two trims */
#define ENGINE_ACKS_MAX		65536	/* that wait; intake pauses above */

/* A batch in the spool that is not durable yet; its events are still live. */
struct engine_sealing {
	struct engine_sealing	*next;
	struct spool_ref	 ref;
	uint64_t		 last_lsn;
	uint32_t		 part;
	uint8_t			 reason;
	bool			 aside;	/* taken over; has no events here */
	uint16_t		 runid_len;
	uint32_t		 n;
	struct run_event	*events;
	uint64_t		 aside_tag;
	char			 runid[];
};

/* A spool and storage.spool_max. */
struct engine_spool_room {
	bool			 full;
	uint64_t		 drop_credit;	/* bytes given up, not yet freed */
	struct log_limit	 limit;
};

struct engine_ack {
	uint64_t		 peer;
	uint64_t		 mark;	/* durable when its log has reached it */
	struct mono		 taken;
	struct event_ack	 ack;
};

/*
 * Events whose seal mark is written but not durable: their segment has to stay
 * until the journal is durable up to `mark`, so that recovery always finds a
 * batch's events and its mark, or neither.
 */
struct engine_marked {
	uint64_t		 mark;
	uint32_t		 segno;
	uint32_t		 n;
};

struct engine_marks {
	struct engine_marked	*v;
	size_t			 n, cap;
};

struct engine_redacted {
	char			 name[REDACT_NAME_MAX + 1];
	uint64_t		 hits, limits;
};

/* A queue of acks in the order of their marks. */
struct engine_acks {
	struct engine_ack	*v;
	size_t			 head, n, cap;
};

enum engine_storage_state { ENGINE_OK, ENGINE_FULL, ENGINE_DEGRADED };

struct engine {
	const struct conf	*conf;
	struct engine_env	 env;
	int			 dir_fd;	/* holds the lock */

	struct journal		*journal;
	struct spool		*spool;
	struct spool		*records;
	struct dead		*dead;
	struct runs		*runs;
	struct sender		*sender;
	struct batch		*batch;
	struct books		 books;
	uint64_t		 saved[BOOKS_TOTALS];	/* in the journal */

	struct event_message	 message;
	struct redact_run	*redact;	/* NULL: there are no rules */
	/* Of all rules there were: what they counted up to the last reload. */
	struct engine_redacted	*redacted;
	size_t			 redacted_n;
	struct buf		 scratch;
	struct spool_batch	 meta;

	struct engine_sealing	*sealing, **sealing_tail;
	uint64_t		 leaving;	/* JSON bytes in `sealing` */
	struct engine_marks	 marks;
	struct engine_acks	 acks;		/* marks: journal_appended() */
	struct engine_acks	 record_acks;	/* marks: seq */
	uint64_t		 batch_seq;	/* newest in a seal mark */
	struct spool_cursor	 drops_at;
	bool			 drops_held;

	/* Sync rounds. */
	bool			 syncing;
	bool			 sync_journal, sync_spool, sync_records;
	bool			 sync_dead;
	uint64_t		 sync_appended;
	struct mono		 dirty_since;	/* us 0: nothing is */
	struct mono		 sync_retry, sync_began;

	/* The disk. */
	enum engine_storage_state storage;
	char			 storage_why[256];
	struct mono		 storage_retry;
	struct mono		 space_next;
	struct mono		 prune_next, prune_retry, save_next, age_next;
	uint64_t		 trimmed;	/* books.bytes at the last trim */
	struct age		 age, dead_age;	/* of storage.max_age, ... */
	bool			 below_floor;
	struct engine_spool_room runs_room, records_room;
	bool			 seal_blocked;	/* until seal_retry */
	struct mono		 seal_retry;
	struct log_limit	 storage_limit, trim_limit;
	struct log_limit	 prune_limit;

	struct engine_flush	*flushes;	/* that somebody follows */
	struct engine_aside	*aside;		/* NULL: none is taken over */
	unsigned		 newer_dirs;	/* that are there ... */
	uint64_t		 newer_bytes;	/* ... and bytes in them */
	uint64_t		 reverts;	/* engine_seal_revert() calls */

	/* Of the last whole turn; see engine_turn_taken(). */
	struct mono		 calm_until;
	uint64_t		 calm_bytes;	/* books.bytes then */
	bool			 calm;		/* the last turn was not whole */
	bool			 stirred;	/* more than journaled since */

	bool			 more;		/* seals left from this turn */
	bool			 recovering;
	bool			 stopping;
};

/* engine_recover.c */
int	engine_recover(struct engine *, struct now, struct why *) MUSTUSE;

/* engine_seal.c */
/* Seal what is due by time, by order, or under pressure; bounded. */
void	engine_seal_due(struct engine *, struct now);
/*
 * Seal the run whole, in as many parts as the limits ask for (reason size:
 * only the parts that are full). false: the spool takes no more now.
 */
bool	engine_seal_run(struct engine *, struct run *, enum spool_reason,
	    struct now);
/* Batches up to this seq are durable: mark and release. */
void	engine_seal_durable(struct engine *, uint64_t seq, struct now);
/* The journal is durable up to here: let the events' segments go. */
void	engine_seal_release(struct engine *, uint64_t durable);
/* The spool lost what was not durable: give the events back to their runs. */
void	engine_seal_revert(struct engine *, struct now);

/* engine_redact.c */
/* Other rules (NULL: none), all at once. */
void	engine_set_redact(struct engine *, const struct redact *);
void	engine_free_redact(struct engine *);

/* engine_flush.c */
/* A part of the run was appended to the spool. */
void	engine_flush_sealed(struct engine *, const struct run *,
	    const struct spool_ref *);

/* engine_aside.c */
/* Set all logs aside: newer says which is of a newer lumnid. 0 or -errno. */
int	engine_aside_move(struct engine *, const struct why *newer,
	    struct why *) MUSTUSE;
/* Begin to take over what a newer one has left, as far as it is known. */
void	engine_aside_open(struct engine *, struct now);
void	engine_aside_close(struct engine *, struct now);
void	engine_aside_set_conf(struct engine *, struct now);
void	engine_aside_stop(struct engine *, struct now);
void	engine_aside_turn(struct engine *, struct now);
struct mono engine_aside_deadline(const struct engine *);
/* A batch that was taken over is durable, and its mark written ... */
void	engine_aside_durable(struct engine *, const struct engine_sealing *,
	    struct now);
/* ... or it was lost by a sync that failed. */
void	engine_aside_revert(struct engine *, const struct engine_sealing *,
	    struct now);
/*
 * Begin its sync round, if one waits; is one under way? again: also behind
 * another of its own, since the own logs had their turn.
 */
bool	engine_aside_pump(struct engine *, bool again, struct now);
/* A round has ended: was it its own? */
bool	engine_aside_sync_end(struct engine *, int err, int64_t took_us,
	    struct now);
bool	engine_aside_settled(const struct engine *);
/* What was taken over might be taken again: are marks not durable yet? */
bool	engine_aside_unsure(const struct engine *);

/* engine_sync.c */
void	engine_ack_push(struct engine_acks *, uint64_t peer, uint64_t mark,
	    const struct event_ack *, struct mono);
/* Move a total that has a record of its own; the journal is told first. */
void	engine_count(struct engine *, enum books_total, uint64_t n,
	    struct now);
/* Write the totals that have no record of their own. */
void	engine_save_totals(struct engine *, struct now);
void	engine_sync_pump(struct engine *, struct now);
/* Something was written: a round is due within a second. */
void	engine_sync_note(struct engine *, struct now) HOT;
struct mono	engine_sync_deadline(const struct engine *);
/*
 * May the spool of runs, or of records, take one more? At its limit the oldest
 * go if the operator wants it so.
 */
bool	engine_spool_room(struct engine *, bool records, struct now);
/* Write the buffers out; failures change the storage state. */
void	engine_flush(struct engine *, struct now);
void	engine_flush_journal(struct engine *, struct now) HOT;
void	engine_storage_fault(struct engine *, int err, const char *what,
	    const struct why *, struct now);
void	engine_storage_check(struct engine *, struct now);
/* Told by the store of something set aside. */
void	engine_damaged(void *, const char *file, uint64_t off, uint64_t len,
	    const char *reason);

#endif
