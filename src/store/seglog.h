/*
 * seglog: an append-only log in a directory of numbered segment files, used
 * twice: by the journal and by the spool.
 *
 * Appends gather in a write buffer; seglog_flush() writes it, once for each
 * turn of the loop. Nothing is durable before a sync round (seglog_sync_*)
 * that began after the flush has ended well. The calls that block for long
 * (fdatasync, fsync) are made by the caller's helper thread on the fds that
 * seglog_sync_begin() hands out; all else is called from one thread.
 *
 * Opening reads directory entries and the headers, of no segment more.
 */
#ifndef LUMNID_STORE_SEGLOG_H
#define LUMNID_STORE_SEGLOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/cdefs.h"
#include "base/clock.h"
#include "base/why.h"
#include "store/seg.h"

enum {
	SEGLOG_JOURNAL	= 0x4c4e524a,	/* "JRNL" */
	SEGLOG_SPOOL	= 0x4c4f5053,	/* "SPOL" */
	SEGLOG_RECORDS	= 0x53434552,	/* "RECS" */
};

struct seglog;

struct seglog_pos {
	uint32_t	segno;
	uint32_t	off;
};

struct seglog_options {
	uint32_t	kind;
	uint8_t		instance[16];	/* for new segments */
	uint64_t	segment_bytes;	/* roll when a segment has reached it */
	size_t		buffer_bytes;	/* of the write buffer */
	/*
	 * What was written stays in the write buffer while there is room, and
	 * is read from there: for logs that are read soon.
	 */
	bool		keep_written;
	/*
	 * Writes what every new segment begins with: called during the roll,
	 * with an empty buf for the payload of one record of
	 * checkpoint_type. May be NULL.
	 */
	void		(*checkpoint)(void *owner, uint32_t segno, struct buf *);
	uint8_t		checkpoint_type;
	void		*owner;
	/*
	 * Told of each damaged stretch or file, once; logging is core's. A
	 * whole file has off 0. reason is one line for a person.
	 */
	void		(*damaged)(void *arg, const char *file, uint64_t off,
			    uint64_t len, const char *reason);
	/*
	 * Look only: nothing is created, moved, repaired, cut or deleted; what
	 * would append or delete returns -EROFS.
	 */
	bool		read_only;
	void		*arg;
};

/* One live segment, in order of segno. */
struct seglog_info {
	uint32_t	segno;
	uint64_t	size;	/* bytes, with what is still in the buffer */
	uint64_t	written;	/* bytes, without it */
};

/* What a sync round has to make durable. */
#define SEGLOG_SYNC_MAX	48
struct seglog_sync {
	struct {
		int	fd;
		bool	is_dir;		/* fsync, not fdatasync */
	} what[SEGLOG_SYNC_MAX];
	size_t	n;
	size_t	first;	/* the end of these is worth telling; 0: of none */
};

/*
 * Is every segment in `dir` of a version that is known here? To be asked of all
 * logs before one is opened, so that who goes back to an older lumnid finds
 * the files untouched. Changes nothing.
 * Returns 0; -EPROTONOSUPPORT, and in `why` which file, and what to do; or,
 * where none of these is known, -errno of what could not be read and so may be
 * of any version.
 */
int	seglog_known(const char *dir, struct why *) MUSTUSE;

/*
 * Open or create the log in `dir`, an existing directory; `quarantine`, a
 * directory that is created when it is first needed. Files that are no
 * segments of this kind, or of a newer version, move to quarantine and are
 * told through `damaged`: the newest here, the others when they are first
 * read. A damaged header is repaired where a record proves that the segment
 * is ours. The tail is not scanned here: the owner scans it with
 * seglog_scan() before its first append, which cuts a torn tail.
 * What is in the files counts as not yet synced: a process that was killed
 * may have left it in the page cache only.
 * Returns 0 or -errno of the directory.
 */
int	seglog_open(const char *dir, const char *quarantine,
	    const struct seglog_options *, struct seglog **, struct why *)
	    MUSTUSE;
/* Flushes nothing: what is in the buffer is gone. */
void	seglog_close(struct seglog *);

/* The instance id: that of the newest segment, or the one of the options. */
const uint8_t *seglog_instance(const struct seglog *);

size_t	seglog_count(const struct seglog *);
/* i-th live segment, 0 is the oldest. */
struct seglog_info seglog_at(const struct seglog *, size_t i);
/* false when there is no such segment. */
bool	seglog_find(const struct seglog *, uint32_t segno,
	    struct seglog_info *ret);
/* The segment that is appended to; 0 when there is none yet. */
uint32_t seglog_tail(const struct seglog *) HOT;
/* Bytes of all live segments. */
uint64_t seglog_bytes(const struct seglog *) HOT;

/*
 * Walk the valid records of one segment from `from` (0: its first record).
 * Damaged stretches are copied to quarantine, once, and told. In the tail
 * segment what follows the last valid record is cut off (and copied to
 * quarantine unless it is all zero bytes).
 * Returns 0, what fn returned, or -errno of reading.
 */
typedef int seglog_record_fn(void *arg, uint8_t type, const uint8_t *data,
	    uint32_t len, struct seglog_pos);

int	seglog_scan(struct seglog *, uint32_t segno, uint32_t from,
	    seglog_record_fn *, void *, struct why *) MUSTUSE;
/* The same, but nothing is copied, cut or changed; for --check-spool. */
int	seglog_check(struct seglog *, uint32_t segno, seglog_record_fn *,
	    void (*damage)(void *, uint64_t off, uint64_t len),
	    void *, struct why *) MUSTUSE;

/*
 * Make sure that records of `bytes` in all (seg_record_size() each) can be
 * appended to one segment: rolls to a new one when the tail is full, and
 * reserves disk space where the filesystem can, so that a full disk is seen
 * here. Returns 0 or -errno (-ENOSPC, -EDQUOT, -EIO, ...); then nothing has
 * changed.
 */
int	seglog_reserve(struct seglog *, uint64_t bytes, struct wall,
	    struct why *) MUSTUSE HOT;
/*
 * The same for a small mark that must find room on a full disk: it may use
 * the last SEGLOG_SLACK bytes, which seglog_reserve() keeps free behind what
 * it grants, beyond the segment's size too.
 */
#define SEGLOG_SLACK	(64u << 10)
int	seglog_reserve_mark(struct seglog *, uint64_t bytes, struct wall,
	    struct why *) MUSTUSE;

/*
 * Append one record of n pieces after seglog_reserve(). A record larger than
 * the write buffer is written at once. Returns 0 and the place of the
 * record's head, or -errno; then the log ends where it ended before.
 */
int	seglog_append(struct seglog *, uint8_t type, const struct seg_piece *,
	    size_t n, struct seglog_pos *ret, struct why *) MUSTUSE HOT;

/*
 * Counters of the owner's, as of its newest append; only the latest call
 * counts. seglog_durable() returns what they were at the end of what is
 * durable.
 */
#define SEGLOG_STAMPS	4
struct seglog_stamp {
	uint64_t	v[SEGLOG_STAMPS];
};
void	seglog_stamp(struct seglog *, struct seglog_stamp) HOT;
struct seglog_stamp seglog_durable(const struct seglog *);

/*
 * Undo appends: the log ends again where it ended at the mark. Only for what
 * was appended since seglog_mark() in the same turn, without a roll between.
 */
struct seglog_pos seglog_mark(const struct seglog *) HOT;
void	seglog_rollback(struct seglog *, struct seglog_pos mark);

/*
 * Write the buffer out. On failure (-errno) the buffer stays whole and a
 * later call tries again; a torn write is overwritten by the next try.
 */
int	seglog_flush(struct seglog *, struct why *) MUSTUSE HOT;
/* In quiet moments: give back what memory is not in use. */
void	seglog_relax(struct seglog *);
bool	seglog_dirty(const struct seglog *);	/* buffered bytes wait */

/*
 * Start a new segment now, unless the tail holds nothing but its checkpoint;
 * the buffer is flushed. Used after a failed fdatasync.
 * Returns 0 or -errno (-EBUSY: too many segments wait to be synced); then
 * nothing has changed.
 */
int	seglog_roll(struct seglog *, struct wall, struct why *) MUSTUSE;

/* Append no more to the tail: the next append begins a new segment. */
void	seglog_finish(struct seglog *);

/*
 * Read a record's payload, part of it from `skip` on, without checking: len
 * bytes to dst, from the file or the buffer. Returns 0 or -errno.
 */
int	seglog_read(struct seglog *, struct seglog_pos, uint32_t skip,
	    void *dst, size_t len, struct why *) MUSTUSE;
/*
 * Read a record's head and the first bytes of its payload, at most `max`, in
 * one read; only the head is checked. Returns 0, -EBADMSG (no head of ours),
 * -ENODATA (the segment ends here) or -errno. Nothing is told or quarantined.
 */
#define SEGLOG_PEEK_MAX	640
int	seglog_head(struct seglog *, struct seglog_pos, uint8_t *ret_type,
	    uint32_t *ret_len, void *dst, size_t max, size_t *ret_n,
	    struct why *) MUSTUSE;
/*
 * Read a whole record, check it, and return its payload, which lies in buf.
 * Returns 0, -EBADMSG (damaged; quarantined and told) or -errno.
 */
int	seglog_get(struct seglog *, struct seglog_pos, uint8_t *ret_type,
	    struct buf *, const uint8_t **ret_data, uint32_t *ret_len,
	    struct why *) MUSTUSE;
/*
 * As seglog_get() where the payload's length is known: one read call. rec:
 * room for SEG_HEAD_LEN + len bytes; the payload lies at rec + SEG_HEAD_LEN.
 */
int	seglog_get_known(struct seglog *, struct seglog_pos, uint32_t len,
	    uint8_t *rec, struct why *) MUSTUSE;
/* Check a record of any size in pieces, with little memory. */
int	seglog_verify(struct seglog *, struct seglog_pos, struct why *)
	    MUSTUSE;

/*
 * Delete a segment that is not the tail. Never writes. The directory is then
 * unsynced until the next sync round; seglog_removals_pending() tells so.
 */
int	seglog_remove(struct seglog *, uint32_t segno, struct why *) MUSTUSE;
bool	seglog_removals_pending(const struct seglog *);

/* Is there anything that a sync round would make durable? */
bool	seglog_unsynced(const struct seglog *);
/*
 * Add to the set what must be synced for what has been flushed so far: the
 * directory and at most SEGLOG_SYNC_EACH - 1 segments, oldest first, so that
 * what becomes durable is always the log up to some place. The fds stay open
 * until seglog_sync_end(). One round at a time.
 */
#define SEGLOG_SYNC_EACH	5
void	seglog_sync_begin(struct seglog *, struct seglog_sync *);
/*
 * The round has ended. ok: every call returned 0. If not, the kernel may have
 * thrown away what it could not write and call it clean (fsync(2)): so the
 * next round writes these bytes anew before it syncs them.
 */
void	seglog_sync_end(struct seglog *, bool ok);

/* Make all that is flushed durable, on this thread; for opening. 0 or -errno. */
int	seglog_sync_now(struct seglog *) MUSTUSE;

/* Count and tell of a segment that is missing or cannot be read. */
void	seglog_tell(struct seglog *, uint32_t segno, uint64_t bytes,
	    const char *reason);
/* Damaged stretches and files met so far, and their bytes. */
void	seglog_damage(const struct seglog *, uint64_t *ret_n,
	    uint64_t *ret_bytes);
/* Free space of the filesystem under the log. */
int	seglog_space(struct seglog *, uint64_t *ret_avail,
	    uint64_t *ret_total, struct why *) MUSTUSE;

#endif
