/*
 * spool: sealed batches that wait for delivery: an append-only log of batches
 * and of what became of them. Used twice: for runs and for records (changes
 * and policies).
 *
 * A batch has one id and one body for ever. The newest segment begins with a
 * checkpoint that tells which batches of the older segments still wait, so
 * opening reads the newest segment only, and the backlog is read as it is
 * sent. A segment is deleted when none of its batches waits and this is
 * durable; the newest is kept always, because it holds the sequence number
 * and the totals.
 *
 * The record layouts are drawn at the top of spool.c.
 */
#ifndef LUMNID_STORE_SPOOL_H
#define LUMNID_STORE_SPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/cdefs.h"
#include "base/clock.h"
#include "base/why.h"
#include "store/seglog.h"

struct spool;

#define SPOOL_ID_MAX	96	/* characters of a batch id, with its NUL */
#define SPOOL_RUNID_MAX	256

enum spool_kind {
	SPOOL_RUN = 1,
	SPOOL_CHANGE = 2,
	SPOOL_POLICY = 3,
};

enum spool_reason {		/* why a run's part was sealed */
	SPOOL_END = 1,
	SPOOL_IDLE,
	SPOOL_AGE,
	SPOOL_SIZE,
	SPOOL_PRESSURE,
	SPOOL_FLUSH,
	SPOOL_REASONS
};
const char *spool_reason_name(unsigned);	/* "end", "idle", ... */

/* Totals over the life of the installation. */
struct spool_totals {
	uint64_t	batches;	/* appended */
	uint64_t	events;		/* in them */
	uint64_t	delivered;	/* events */
	uint64_t	dead;		/* events */
	uint64_t	dropped[16];	/* events, by enum spool_drop */
	uint64_t	done_batches;
};

enum spool_drop {
	SPOOL_DROP_OLDEST,	/* storage.when_full: drop_oldest */
	SPOOL_DROP_AGE,		/* storage.max_age */
	SPOOL_DROP_CORRUPT,	/* damaged on disk, quarantined */
	SPOOL_DROP_OPERATOR,
	SPOOL_DROPS
};

/* All that the sender keeps of a waiting batch. */
struct spool_ref {
	uint64_t	seq;		/* 1, 2, 3, ...: the order of sealing */
	struct seglog_pos pos;
	uint64_t	run_hash;	/* xxh3 of the runId; records: 0 */
	uint32_t	body_len;
	uint32_t	events;
	uint32_t	finished;	/* of them, see spool_progress() */
	uint32_t	index;		/* 0, 1, 2, ... within its segment */
	uint32_t	meta_len;	/* bytes of the payload before the body */
};

/* The whole description of a batch, without its body. */
struct spool_batch {
	uint64_t	seq;
	enum spool_kind	kind;
	enum spool_reason reason;
	uint32_t	part;		/* 1, 2, ... within the run */
	uint32_t	events;
	bool		compressed;	/* zstd */
	uint32_t	body_len;
	uint32_t	raw_len;	/* of the JSON before compression */
	struct wall	first;		/* receipt of its first event */
	struct wall	sealed;
	/* Of the run's events it holds those with these lsn. */
	uint64_t	journal_first;
	uint64_t	journal_lsn;	/* the last */
	/*
	 * Bisecting: the batch this one was cut from, and which of its events
	 * it holds; 0 for a batch of its own.
	 */
	uint64_t	parent;
	uint32_t	parent_from;
	char		id[SPOOL_ID_MAX];
	size_t		runid_len;
	char		runid[SPOOL_RUNID_MAX + 1];
};

struct spool_options {
	uint32_t	kind;		/* SEGLOG_SPOOL or SEGLOG_RECORDS */
	uint64_t	segment_bytes;
	size_t		buffer_bytes;
	uint8_t		instance[16];
	uint64_t	seq_above;	/* tell recent() of those above it */
	/*
	 * Batches up to here were durable once (>= seq_above): where one is
	 * missing, it is lost. New sequence numbers start above it.
	 */
	uint64_t	promised;
	void		(*damaged)(void *, const char *file, uint64_t off,
			    uint64_t len, const char *reason);
	/*
	 * See seglog.h. Marks take effect in memory; the process that the
	 * files belong to does not learn of them.
	 */
	bool		read_only;
	void		*arg;
};

/*
 * Open. Reads the newest segment. recent, unless it is NULL, is told of every
 * sound batch with seq > seq_above, in order, delivered or not (the journal
 * may not have their seal marks), but not of those that were taken back, nor
 * of those that were cut from another; older segments are read for it where
 * they hold such. What it is told of is durable: it is synced here, on this
 * thread, where needed. Batches above promised that
 * a crash has destroyed were never promised and count as never appended, and
 * so do those behind the first of them: the journal still has their events.
 * Returns 0 or -errno of the directory.
 */
int	spool_open(const char *dir, const char *quarantine,
	    const struct spool_options *,
	    void (*recent)(void *, const struct spool_batch *,
	    const struct spool_ref *), void *,
	    struct spool **, struct why *) MUSTUSE;
void	spool_close(struct spool *);
const uint8_t *spool_instance(const struct spool *);

/*
 * Append a batch. In: kind, reason, part, events, compressed, raw_len, first,
 * sealed, journal_lsn, runid, parent, parent_from; and id, which is made here
 * ("<instance, 16 hex>-<seq>", of records "<instance, 16 hex>-r<seq>") unless
 * it is not empty. seq, body_len and id
 * are filled in. Returns 0 or -errno (-ENOSPC among them); then nothing has
 * changed. The batch may be sent once spool_durable() has reached its seq.
 */
int	spool_append(struct spool *, struct spool_batch *, const void *body,
	    size_t len, struct spool_ref *ret, struct why *) MUSTUSE;

/*
 * Walk the waiting batches, oldest first, lazily. The cursor is the caller's;
 * begin with a zeroed one. Only what has been flushed is seen.
 * Returns 1 and *ret, 0 when there is no more now, -errno of a read. Damaged
 * batches are quarantined, counted as SPOOL_DROP_CORRUPT and passed over. A
 * place that cannot be read (-EIO) is tried SPOOL_TRIES times, at the caller's
 * pace, and then passed over as well; but its batches wait on, for the next
 * opening.
 */
#define SPOOL_TRIES	30
struct spool_cursor {
	uint32_t	segno;
	uint32_t	off;
	uint32_t	index;	/* of the next batch in its segment */
	uint64_t	events;	/* in its segment before it */
	uint64_t	bytes;
	uint32_t	bad_off;	/* a place that cannot be read (-EIO) */
	uint32_t	bad_tries;	/* ... and how often that was tried */
};
int	spool_next(struct spool *, struct spool_cursor *, struct spool_ref *,
	    struct why *) MUSTUSE;
/*
 * Walk all batches that the files have whole, also those that are done, and
 * tell fn of each. The cursor as of spool_next(); at most `steps` records at a
 * call, fewer of long ones. What is damaged is passed over.
 * Returns 1: call again; 0: that was all; -errno of a read: the cursor stays.
 */
int	spool_each(struct spool *, struct spool_cursor *, unsigned steps,
	    void (*fn)(void *, const struct spool_batch *), void *,
	    struct why *) MUSTUSE;
/* Is the cursor behind all that was appended? */
bool	spool_at_end(const struct spool *, const struct spool_cursor *);
/* Set the cursor behind the newest batch. */
void	spool_to_end(const struct spool *, struct spool_cursor *);

/*
 * Read the description; 0, -EBADMSG, -errno. On -EBADMSG here and below the
 * caller gives the batch up with spool_done() and SPOOL_DROP_CORRUPT.
 */
int	spool_describe(struct spool *, const struct spool_ref *,
	    struct spool_batch *, struct why *) MUSTUSE;
/*
 * Check the whole record, description and body, against its checksum: to be
 * called before the first byte is sent. 0, -EBADMSG, -errno.
 */
int	spool_verify(struct spool *, const struct spool_ref *, struct why *)
	    MUSTUSE;
/* Read part of the body. */
int	spool_body(struct spool *, const struct spool_ref *, uint32_t off,
	    void *dst, size_t len, struct why *) MUSTUSE;
/*
 * Description, check and body (into buf, whole) in one read: for batches up
 * to some tens of KiB.
 */
int	spool_load(struct spool *, const struct spool_ref *,
	    struct spool_batch *, struct buf *, const uint8_t **ret_body,
	    struct why *) MUSTUSE;

/*
 * The batch waits no more: so many of its events were delivered, went to
 * dead, were dropped for a reason. What is left to the number of its events
 * has moved to another batch. It counts at once, and a second time it does
 * nothing. If the mark cannot be written now (-ENOSPC, -EIO; returned as
 * information) it is kept and written by a later spool_flush(); a crash before
 * that sends the batch again under the same id.
 */
int	spool_done(struct spool *, const struct spool_ref *,
	    uint32_t delivered, uint32_t dead, uint32_t dropped,
	    enum spool_drop, struct why *);

/*
 * The owner takes a batch back that is not durable: its events are with him
 * again, and it counts as never appended. As spool_done() otherwise.
 */
int	spool_take_back(struct spool *, const struct spool_ref *,
	    struct why *);

/*
 * Part of the batch is finished: its first `upto` events, of which since the
 * last call so many were delivered, went to dead, or moved to a batch of their
 * own. Updates ref->finished; survives restarts as spool_done() does, whose
 * counts are then those of the rest.
 */
int	spool_progress(struct spool *, struct spool_ref *, uint32_t upto,
	    uint32_t delivered, uint32_t dead, struct why *);

/*
 * fn is told of each spool_done() and spool_progress(): so many events of the
 * batch are finished so. It must not call the spool. NULL: nobody.
 */
void	spool_watch(struct spool *, void (*fn)(void *,
	    const struct spool_ref *, uint32_t delivered, uint32_t dead,
	    uint32_t dropped), void *);
/* Does this batch wait still? */
bool	spool_waits(const struct spool *, const struct spool_ref *);

/* The oldest waiting batch: when it was sealed. false when none waits. */
bool	spool_oldest(struct spool *, struct wall *ret);
/* Does none wait of those up to seq? */
bool	spool_is_past(struct spool *, uint64_t seq);
struct spool_totals spool_totals(const struct spool *) HOT;
/* Events that the opening has found lost, and counted as dropped. */
uint64_t spool_lost(const struct spool *);
/* Batches, events and body bytes that wait. */
struct spool_waiting {
	uint64_t	batches;
	uint64_t	events;
	uint64_t	bytes;
};
struct spool_waiting spool_waiting(const struct spool *);
uint64_t spool_bytes(const struct spool *);	/* of the files */
uint64_t spool_seq(const struct spool *);	/* the newest */

int	spool_flush(struct spool *, struct why *) MUSTUSE;
bool	spool_unsynced(const struct spool *);
void	spool_sync_begin(struct spool *, struct seglog_sync *);
void	spool_sync_end(struct spool *, bool ok);
uint64_t spool_durable(const struct spool *);	/* seq: all up to it are */
int	spool_roll(struct spool *, struct wall, struct why *) MUSTUSE;
/*
 * Delete segments none of whose batches waits, if this is durable (or if the
 * disk is too full to write it down). may_delete
 * is the seq up to which the journal's seal marks are durable: a segment with
 * a newer batch is kept. Returns the number deleted or -errno.
 */
int	spool_trim(struct spool *, uint64_t may_delete, struct why *) MUSTUSE;
struct seglog *spool_log(struct spool *);

#endif
