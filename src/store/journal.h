/*
 * journal: the memory of open runs: an append-only log of events and of what
 * has become of them.
 *
 * Every event has a log sequence number (lsn), 1, 2, 3, ... over the life of
 * the installation. An event is live from journal_event() until
 * journal_release(). A segment is deleted once nothing in it or before it is
 * live: always the oldest first, and the next only after the directory was
 * synced, because the marks that say which events of segment n have left the
 * journal lie in n and later ones.
 *
 * The record layouts are drawn at the top of journal.c.
 */
#ifndef LUMNID_STORE_JOURNAL_H
#define LUMNID_STORE_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/cdefs.h"
#include "base/clock.h"
#include "base/why.h"
#include "store/seglog.h"

struct journal;

/* Where an event lies: all that an open run keeps of it. */
struct journal_place {
	uint32_t	segno;
	uint32_t	off;	/* of the record's head */
	uint32_t	len;	/* of the JSON, bytes */
};

/* Totals that survive restarts; the engine gives them their meaning. */
#define JOURNAL_TOTALS	64

/* The part that comes next of a run that is not open. */
struct journal_part {
	uint64_t	run_hash;	/* xxh3 of the runId */
	uint32_t	part;
};

struct journal_state {
	uint64_t		totals[JOURNAL_TOTALS];
	/*
	 * Told: all seal marks up to it were durable. Asked: not looked at,
	 * the journal knows.
	 */
	uint64_t		batch_seq;
	const struct journal_part *parts;	/* oldest first */
	size_t			parts_n;
};

/*
 * What journal_open() tells of the past, in the order of writing. Texts are
 * valid during the call only.
 */
struct journal_replay {
	/* State as of a segment's start; what came before is superseded. */
	void	(*state)(void *, const struct journal_state *);
	void	(*event)(void *, const char *runid, size_t runid_len,
		    uint64_t lsn, struct wall, bool end,
		    struct journal_place);
	/* end: true without an event of its own. */
	void	(*end)(void *, const char *runid, size_t runid_len,
		    uint64_t lsn);
	/* All events of the run up to lsn went into that batch, this part. */
	void	(*sealed)(void *, const char *runid, size_t runid_len,
		    uint64_t lsn, uint32_t part, uint64_t batch_seq);
	/* Totals that moved without a record of their own. */
	void	(*count)(void *, unsigned total, uint64_t n);
	void	*arg;
};

struct journal_options {
	uint64_t	segment_bytes;
	size_t		buffer_bytes;
	/* Of the newest events so many bytes are kept: a power of two or 0. */
	size_t		recent_bytes;
	uint8_t		instance[16];
	/*
	 * The state to begin a new segment with; parts are borrowed. Asked
	 * for during journal_reserve(), journal_roll() and the calls that
	 * append a mark, before the mark is written: so what a mark means is
	 * to be counted after the call has returned.
	 */
	void		(*state)(void *, struct journal_state *);
	void		(*damaged)(void *, const char *file, uint64_t off,
			    uint64_t len, const char *reason);
	bool		read_only;	/* see seglog.h */
	void		*arg;
};

/*
 * Open and replay. Returns 0 or -errno of the directory. A segment that
 * cannot be read now (-EIO) is passed over, told through `damaged`, and kept.
 */
int	journal_open(const char *dir, const char *quarantine,
	    const struct journal_options *, const struct journal_replay *,
	    struct journal **, struct why *) MUSTUSE;
void	journal_close(struct journal *);
const uint8_t *journal_instance(const struct journal *);
/*
 * A crash may have taken one seal mark and left the next. So the owner writes
 * those that are missing (journal_sealed()), and then says that all up to the
 * newest are there.
 */
void	journal_marks_complete(struct journal *);
/* All seal marks up to it are durable: spool_trim()'s may_delete. */
uint64_t journal_sealed_durable(const struct journal *);
/*
 * Events that were appended before the newest segment, or before a COUNT in
 * it, but were not found by the replay: lost by damage, or, if unsynced, by a
 * crash before they were known to be durable. Totals in the newest state count
 * them, but for `uncounted`.
 */
struct journal_lost {
	uint64_t	durable;
	uint64_t	unsynced;
	/*
	 * Of `durable`: those that no state's totals count, since they were
	 * appended to the newest segment.
	 */
	uint64_t	uncounted;
};
struct journal_lost journal_lost(const struct journal *);

/* The next lsn is above `lsn`; for the engine's recovery. */
void	journal_skip_lsn(struct journal *, uint64_t lsn);
uint64_t journal_lsn(const struct journal *);	/* the newest given out */

/* The most that n events of json_bytes in all take of the journal. */
uint64_t journal_room(size_t n, uint64_t json_bytes, size_t runid_len) HOT;
/*
 * Make sure that n events of json_bytes in all, of a run with this length of
 * runId, can be appended together. 0 or -errno; on failure nothing changed.
 */
int	journal_reserve(struct journal *, size_t n, uint64_t json_bytes,
	    size_t runid_len, struct wall, struct why *) MUSTUSE HOT;
/*
 * Undo the events appended since the mark, in the same turn, none of which
 * was released. The mark is taken after journal_reserve().
 */
struct journal_mark {
	struct seglog_pos	pos;
	uint64_t		lsn;
	uint64_t		appended;
	uint64_t		events;
	uint32_t		live;
};
struct journal_mark journal_mark(const struct journal *) HOT;
void	journal_rollback(struct journal *, struct journal_mark);

/*
 * Append one event; it is live. end: the run is complete with it.
 * Returns 0, its lsn and place, or -errno.
 */
int	journal_event(struct journal *, const char *runid, size_t runid_len,
	    const void *json, size_t len, bool end, struct wall,
	    uint64_t *ret_lsn, struct journal_place *ret, struct why *)
	    MUSTUSE HOT;
int	journal_end(struct journal *, const char *runid, size_t runid_len,
	    struct wall, uint64_t *ret_lsn, struct why *) MUSTUSE;
int	journal_sealed(struct journal *, const char *runid, size_t runid_len,
	    uint64_t lsn, uint32_t part, uint64_t batch_seq, struct wall,
	    struct why *) MUSTUSE;
int	journal_count(struct journal *, unsigned total, uint64_t n,
	    struct wall, struct why *) MUSTUSE;
/*
 * Write down how many events there are, unless a journal_count() behind the
 * newest has: so that a replay knows how many damage has taken.
 */
int	journal_note(struct journal *, struct wall, struct why *) MUSTUSE;

/*
 * Read an event's JSON back: as it was given where it is still in memory, else
 * from the file, checked. runid_len: of its run. buf is scratch; *ret is valid
 * until the next event is appended or read. 0, -EBADMSG (damaged, quarantined)
 * or -errno.
 */
int	journal_read(struct journal *, struct journal_place, size_t runid_len,
	    struct buf *, const char **ret, struct why *) MUSTUSE;

/* The memory that recent events take, and giving it back. */
size_t	journal_recent_used(const struct journal *);
void	journal_recent_drop(struct journal *);

/*
 * After journal_open() none of the replayed events is live: the owner adopts
 * those that are still open, before its first append or trim.
 */
void	journal_adopt(struct journal *, struct journal_place);
/*
 * The event is live no more; what says so (a seal mark) is durable. Only
 * place.segno is looked at.
 */
void	journal_release(struct journal *, struct journal_place);
/*
 * Delete what can be deleted now, at most one segment for each sync round.
 * Returns the number deleted or -errno.
 */
int	journal_trim(struct journal *, struct why *) MUSTUSE;
/* The oldest segment that holds a live event; 0 when none. */
uint32_t journal_oldest_live(const struct journal *);

int	journal_flush(struct journal *, struct why *) MUSTUSE HOT;
bool	journal_unsynced(const struct journal *);
void	journal_sync_begin(struct journal *, struct seglog_sync *);
/* After it, journal_synced_lsn() and _mark() have moved (ok only). */
void	journal_sync_end(struct journal *, bool ok);
uint64_t journal_synced_lsn(const struct journal *);
/*
 * Records of every type appended / appended and durable, since the opening,
 * which counts as the first.
 */
uint64_t journal_appended(const struct journal *) HOT;
uint64_t journal_durable(const struct journal *);
int	journal_roll(struct journal *, struct wall, struct why *) MUSTUSE;

uint64_t journal_bytes(const struct journal *) HOT;
struct seglog *journal_log(struct journal *);

#endif
