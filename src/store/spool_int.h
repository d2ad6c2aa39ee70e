/* spool_int: the inside of a spool, shared by its sources only. */
#ifndef LUMNID_STORE_SPOOL_INT_H
#define LUMNID_STORE_SPOOL_INT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/cdefs.h"
#include "store/seglog.h"
#include "store/spool.h"

enum {
	SPOOL_REC_CHECKPOINT = 1,
	SPOOL_REC_BATCH,
	SPOOL_REC_DONE,
	SPOOL_REC_PROGRESS,
};

#define SPOOL_META	112	/* bytes of a batch before id and runId */
#define SPOOL_META_MAX	(SPOOL_META + SPOOL_ID_MAX + SPOOL_RUNID_MAX)
#define SPOOL_MARK	48	/* bytes of a DONE or PROGRESS */

/* What is known of a segment: its batches are 0, 1, ... batches - 1. */
struct spool_seg {
	uint32_t	segno;
	uint32_t	batches;
	uint32_t	waiting;
	uint32_t	kept;		/* marks for it that wait in memory */
	uint64_t	events;		/* of all its batches */
	uint64_t	bytes;		/* of their bodies */
	uint64_t	waiting_events;
	uint64_t	waiting_bytes;
	uint64_t	first_seq;
	uint64_t	last_seq;
	uint64_t	owed_seq;	/* newest that the journal is to mark */
	uint64_t	marked;		/* `appended` at its newest mark */
	uint8_t		*done;		/* bit by batch; NULL: none is done */
	uint32_t	done_cap;	/* bits */
	bool		unreadable;	/* in parts, for this process */
};

/*
 * What became of a batch since its beginning, as the record says it. Later
 * marks repeat what earlier ones have said, so the loss of one heals.
 */
struct spool_mark {
	uint64_t	seq;
	uint32_t	segno;
	uint32_t	index;
	uint32_t	events;		/* of the batch */
	uint32_t	body_len;
	uint32_t	upto;		/* so many of them are finished */
	uint32_t	delivered;
	uint32_t	dead;
	uint32_t	dropped;
	uint8_t		reason;
	bool		back;		/* taken back by its owner */
	bool		done;		/* DONE, not PROGRESS */
};

/* A batch of which a part is finished. */
struct spool_part {
	uint32_t	segno;
	uint32_t	index;
	uint32_t	finished;
	uint32_t	delivered;
	uint32_t	dead;
};

/* A batch that was taken back by its owner. */
struct spool_void {
	uint32_t	segno;
	uint32_t	index;
};

struct spool {
	struct seglog	*log;
	struct spool_options o;
	struct spool_seg *segs;		/* by segno */
	size_t		 n, cap;
	struct spool_totals totals;
	uint64_t	 lost;		/* of them, found to be so on opening */
	struct spool_waiting waiting;
	uint64_t	 seq;
	uint64_t	 appended;	/* records; the opening is the first */
	uint64_t	 born;		/* `appended` at the tail's checkpoint */
	bool		 bare;		/* the tail has no sound checkpoint */
	bool		 spent;		/* a segment but the tail may be */
	struct wall	 now;		/* newest that was seen */
	struct spool_mark *kept;	/* marks that could not be written */
	size_t		 kept_n, kept_cap;
	int		 mark_error;	/* of the newest mark */
	struct spool_void *voids;
	size_t		 voids_n, voids_cap;
	struct spool_part *parts;
	size_t		 parts_n, parts_cap;
	struct spool_cursor oldest;	/* behind oldest_ref */
	struct spool_ref oldest_ref;
	struct wall	 oldest_sealed;
	void		(*watch)(void *, const struct spool_ref *, uint32_t,
			    uint32_t, uint32_t);
	void		*watch_arg;
};

/* Where segno is in segs, or would be. */
size_t	spool_seg_at(const struct spool *, uint32_t segno);
struct spool_seg *spool_seg_find(const struct spool *, uint32_t segno);
struct spool_seg *spool_seg_add(struct spool *, uint32_t segno);
void	spool_seg_drop(struct spool *, struct spool_seg *);
bool	spool_seg_is_done(const struct spool_seg *, uint32_t index);
/* Set the bit; no counter moves. */
void	spool_seg_set_done(struct spool_seg *, uint32_t index);
/* What is finished of a batch; zeros when nothing is. */
struct spool_part spool_part_get(const struct spool *, uint32_t segno,
	    uint32_t index);
void	spool_part_set(struct spool *, const struct spool_part *);
void	spool_void_add(struct spool *, uint32_t segno, uint32_t index);
bool	spool_is_void(const struct spool *, uint32_t segno, uint32_t index);
/* What a sync round is to make durable, as it stands now. */
void	spool_stamp(struct spool *);
/* The mark takes effect in memory. */
void	spool_apply(struct spool *, struct spool_seg *,
	    const struct spool_mark *);
/* The same, and write it, or keep it for later. */
int	spool_mark(struct spool *, struct spool_seg *,
	    const struct spool_mark *, struct why *);

/*
 * Take the description of a batch apart: n bytes of the payload at that
 * place. False when it is damaged or cut short.
 */
struct spool_desc {
	struct spool_batch b;
	uint64_t	events_before;
	uint64_t	bytes_before;
	uint64_t	run_hash;
	uint32_t	index;
	uint32_t	meta_len;
};
bool	spool_desc_unpack(struct spool_desc *, struct seglog_pos,
	    const uint8_t *, size_t n);
/* Pack it; returns meta_len. */
size_t	spool_desc_pack(uint8_t dst[SPOOL_META_MAX], struct spool_desc *,
	    struct seglog_pos);
bool	spool_mark_unpack(struct spool_mark *, uint8_t type, const uint8_t *,
	    size_t n);
void	spool_mark_pack(uint8_t dst[SPOOL_MARK], const struct spool_mark *);

/* Called by the log as a segment begins. */
void	spool_on_checkpoint(void *, uint32_t segno, struct buf *);
/* Does the length fit what the payload claims to hold? */
bool	spool_ckpt_sound(const uint8_t *, size_t len);
/* Take a sound checkpoint over into a spool that knows nothing yet. */
void	spool_ckpt_adopt(struct spool *, const uint8_t *);

#endif
