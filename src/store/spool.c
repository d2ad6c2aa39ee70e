/*
 * spool: sealed batches that wait for delivery.
 *
 * Records (store/seg.c draws the head), little-endian:
 *
 *	CHECKPOINT (1), the first record of each segment
 *	   0	u64	newest batch
 *	   8	5 x u64	totals: batches, events, delivered, dead, done batches
 *	  48	16 x u64 totals: dropped, by reason
 *	 176	u32	number of older segments S
 *	 180	u32	number of batches V that were taken back
 *	 184	u32	number of batches P of which a part is finished
 *	 188	u32	0
 *	 192	S x	u32 segno, u32 batches, u32 waiting, u32 bytes of bitmap B,
 *			u64 first batch, u64 last batch, u64 events, u64 bytes of
 *			bodies, u64 waiting events, u64 waiting bytes,
 *			u64 newest batch that the journal is to mark as sealed,
 *			B bytes: bit i is set when its i-th batch is done (B is
 *			0 when none is, or when all are)
 *		V x	u32 segno, u32 index
 *		P x	u32 segno, u32 index, u32 finished, u32 delivered,
 *			u32 dead
 *
 *	BATCH (2)
 *	   0	u64	xxh3 of what follows up to the body, seeded with segno
 *			and offset
 *	   8	u64	sequence number
 *	  16	u64	events in this segment before it
 *	  24	u64	bytes of bodies in this segment before it
 *	  32	i64	receipt of its first event, microseconds since 1970
 *	  40	i64	sealed
 *	  48	u64	journal lsn
 *	  56	u64	parent's sequence number
 *	  64	u64	xxh3 of the runId
 *	  72	u32	first of the parent's events
 *	  76	u32	part
 *	  80	u32	events
 *	  84	u32	length of the JSON
 *	  88	u32	length of the body
 *	  92	u32	index: which batch of its segment it is
 *	  96	u16	length of the runId
 *	  98	u8	length of the id
 *	  99	u8	kind
 *	 100	u8	reason
 *	 101	u8	flags; 1: zstd
 *	 102	u16	0
 *	 104	u64	first journal lsn
 *	 112		id, runId, body
 *
 *	DONE (3), PROGRESS (4): what became of a batch since its beginning
 *	   0	u64	sequence number
 *	   8	u32	segno
 *	  12	u32	index
 *	  16	u32	events
 *	  20	u32	length of the body
 *	  24	u32	so many of its events are finished: of them were
 *	  28	u32	delivered
 *	  32	u32	dead
 *	  36	u32	dropped; the others moved to another batch
 *	  40	u8	reason of dropping
 *	  41	u8	flags; 1: taken back by its owner
 *	  42	6	0
 *
 * The description has a checksum of its own, so that a walk need not read
 * bodies; index and running sums tell what a damaged stretch has held.
 *
 * A segment that is not the tail is deleted when none of its batches waits,
 * the marks that say so are durable, and so is the checkpoint of the tail,
 * which repeats what marks in deleted segments have said.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "base/mem.h"
#include "store/le.h"
#include "store/spool.h"
#include "store/spool_int.h"

const char *
spool_reason_name(unsigned reason)
{
	static const char *const names[SPOOL_REASONS] = {
		[SPOOL_END] = "end", [SPOOL_IDLE] = "idle",
		[SPOOL_AGE] = "age", [SPOOL_SIZE] = "size",
		[SPOOL_PRESSURE] = "pressure", [SPOOL_FLUSH] = "flush",
	};

	return reason < SPOOL_REASONS && names[reason] != NULL ?
	    names[reason] : "unknown";
}

/* --- appending ------------------------------------------------------------- */

void
spool_stamp(struct spool *sp)
{
	seglog_stamp(sp->log, (struct seglog_stamp){ { sp->seq,
	    sp->appended, 0 } });
}

/* A roll is noticed here. */
static void
spool_note_tail(struct spool *sp)
{
	uint32_t tail = seglog_tail(sp->log);
	struct spool_seg *old;

	if (tail == 0 || spool_seg_find(sp, tail) != NULL)
		return;
	/* A sealed segment that has nothing left to send needs no bitmap. */
	old = sp->n > 0 ? &sp->segs[sp->n - 1] : NULL;
	if (old != NULL && old->waiting == 0) {
		free(old->done);
		old->done = NULL;
		old->done_cap = 0;
		sp->spent = true;
	}
	(void)spool_seg_add(sp, tail);
	sp->born = ++sp->appended;
	sp->bare = false;
	/* The checkpoint says what the marks in memory were to say. */
	for (size_t i = 0; i < sp->kept_n; i++) {
		old = spool_seg_find(sp, sp->kept[i].segno);
		if (old == NULL)
			continue;
		old->kept = 0;
		old->marked = sp->appended;
	}
	sp->kept_n = 0;
	spool_stamp(sp);
}

static void
spool_make_id(const struct spool *sp, struct spool_batch *b)
{
	static const char hex[] = "0123456789abcdef";
	const uint8_t *in = seglog_instance(sp->log);
	size_t n = 0;

	if (b->id[0] != '\0')
		return;
	for (size_t i = 0; i < 8; i++) {
		b->id[n++] = hex[in[i] >> 4];
		b->id[n++] = hex[in[i] & 15];
	}
	(void)snprintf(b->id + n, sizeof b->id - n, "-%s%" PRIu64,
	    sp->o.kind == SEGLOG_RECORDS ? "r" : "", b->seq);
}

/* The batch is in the log: count it. */
static void
spool_count_in(struct spool *sp, const struct spool_batch *b)
{
	struct spool_seg *sg = &sp->segs[sp->n - 1];

	sp->seq = b->seq;
	if (sg->batches++ == 0)
		sg->first_seq = b->seq;
	sg->last_seq = b->seq;
	if (b->parent == 0)
		sg->owed_seq = b->seq;
	sg->events += b->events;
	sg->bytes += b->body_len;
	sg->waiting++;
	sg->waiting_events += b->events;
	sg->waiting_bytes += b->body_len;
	sp->waiting.batches++;
	sp->waiting.events += b->events;
	sp->waiting.bytes += b->body_len;
	sp->totals.batches++;
	sp->totals.events += b->events;
	sp->appended++;
	spool_stamp(sp);
}

int
spool_append(struct spool *sp, struct spool_batch *b, const void *body,
    size_t len, struct spool_ref *ret, struct why *why)
{
	uint8_t meta[SPOOL_META_MAX];
	struct spool_desc d = { .b = *b };
	struct seg_piece piece[2] = { { meta, 0 }, { body, len } };
	struct spool_seg *sg;
	struct seglog_pos pos;
	int r;

	assert(b->runid_len <= SPOOL_RUNID_MAX);
	if (len > SEG_RECORD_MAX - SPOOL_META_MAX)
		return why_set(why, -EMSGSIZE, "body of %zu bytes", len);
	sp->now = b->sealed;
	r = seglog_reserve(sp->log, seg_record_size(SPOOL_META_MAX + len),
	    sp->now, why);
	spool_note_tail(sp);
	if (r < 0)
		return r;
	sg = &sp->segs[sp->n - 1];
	d.b.seq = sp->seq + 1;
	d.b.body_len = (uint32_t)len;
	spool_make_id(sp, &d.b);
	d.events_before = sg->events;
	d.bytes_before = sg->bytes;
	d.index = sg->batches;
	if (b->kind == SPOOL_RUN)
		d.run_hash = XXH3_64bits(b->runid, b->runid_len);
	piece[0].len = spool_desc_pack(meta, &d, seglog_mark(sp->log));
	r = seglog_append(sp->log, SPOOL_REC_BATCH, piece, len > 0 ? 2 : 1,
	    &pos, why);
	if (r < 0)
		return r;
	*b = d.b;
	*ret = (struct spool_ref){ .seq = b->seq, .pos = pos,
	    .run_hash = d.run_hash, .body_len = b->body_len,
	    .events = b->events, .index = d.index,
	    .meta_len = (uint32_t)piece[0].len };
	spool_count_in(sp, b);
	return 0;
}

/* --- done ------------------------------------------------------------------ */

static int
spool_write_mark(struct spool *sp, const struct spool_mark *m,
    struct why *why)
{
	uint8_t rec[SPOOL_MARK];
	struct seg_piece piece = { rec, sizeof rec };
	struct seglog_pos pos;
	uint32_t tail = seglog_tail(sp->log);
	int r;

	r = seglog_reserve_mark(sp->log, seg_record_size(sizeof rec), sp->now,
	    why);
	spool_note_tail(sp);
	if (r < 0)
		return r;
	/* The mark has taken effect before: a new checkpoint tells of it. */
	if (seglog_tail(sp->log) != tail)
		return 0;
	spool_mark_pack(rec, m);
	r = seglog_append(sp->log, m->done ? SPOOL_REC_DONE :
	    SPOOL_REC_PROGRESS, &piece, 1, &pos, why);
	if (r < 0)
		return r;
	sp->appended++;
	spool_stamp(sp);
	return 0;
}

static void
spool_keep_mark(struct spool *sp, struct spool_seg *sg,
    const struct spool_mark *m)
{
	if (sp->kept_n == sp->kept_cap) {
		sp->kept_cap = sp->kept_cap == 0 ? 64 : sp->kept_cap * 2;
		sp->kept = mem_grow(sp->kept, sp->kept_cap, sizeof *sp->kept);
	}
	sp->kept[sp->kept_n++] = *m;
	sg->kept++;
}

int
spool_mark(struct spool *sp, struct spool_seg *sg,
    const struct spool_mark *m, struct why *why)
{
	uint32_t segno = sg->segno;
	int r = sp->kept_n > 0 ? sp->mark_error : 0;

	spool_apply(sp, sg, m);
	/* In order: behind those that could not be written. */
	if (r == 0)
		r = spool_write_mark(sp, m, why);
	else
		(void)why_errno(why, r, "marks wait to be written");
	sp->mark_error = r;
	sg = spool_seg_find(sp, segno);	/* a roll moves them */
	if (r < 0)
		spool_keep_mark(sp, sg, m);
	else
		sg->marked = sp->appended;
	return r;
}

/* A mark for a batch that waits; false when it does not. */
static bool
spool_mark_begin(const struct spool *sp, const struct spool_ref *ref,
    struct spool_seg **ret_sg, struct spool_mark *m)
{
	struct spool_seg *sg = spool_seg_find(sp, ref->pos.segno);
	struct spool_part part;

	/* Found damaged and given up meanwhile. */
	if (sg == NULL || spool_seg_is_done(sg, ref->index))
		return false;
	part = spool_part_get(sp, ref->pos.segno, ref->index);
	*m = (struct spool_mark){ .seq = ref->seq, .segno = ref->pos.segno,
	    .index = ref->index, .events = ref->events,
	    .body_len = ref->body_len, .upto = part.finished,
	    .delivered = part.delivered, .dead = part.dead };
	*ret_sg = sg;
	return true;
}

int
spool_done(struct spool *sp, const struct spool_ref *ref, uint32_t delivered,
    uint32_t dead, uint32_t dropped, enum spool_drop reason, struct why *why)
{
	struct spool_seg *sg;
	struct spool_mark m;

	if (!spool_mark_begin(sp, ref, &sg, &m))
		return 0;
	assert((uint64_t)m.upto + delivered + dead + dropped <= ref->events);
	if (sp->watch != NULL)
		sp->watch(sp->watch_arg, ref, delivered, dead, dropped);
	m.upto = ref->events;
	m.delivered += delivered;
	m.dead += dead;
	m.dropped = dropped;
	m.reason = (uint8_t)reason;
	m.done = true;
	return spool_mark(sp, sg, &m, why);
}

int
spool_take_back(struct spool *sp, const struct spool_ref *ref,
    struct why *why)
{
	struct spool_seg *sg;
	struct spool_mark m;

	if (!spool_mark_begin(sp, ref, &sg, &m))
		return 0;
	m.upto = ref->events;
	m.back = m.done = true;
	return spool_mark(sp, sg, &m, why);
}

int
spool_progress(struct spool *sp, struct spool_ref *ref, uint32_t upto,
    uint32_t delivered, uint32_t dead, struct why *why)
{
	struct spool_seg *sg;
	struct spool_mark m;

	if (!spool_mark_begin(sp, ref, &sg, &m))
		return 0;
	assert(upto > m.upto && upto < ref->events);
	assert((uint64_t)m.upto + delivered + dead <= upto);
	if (sp->watch != NULL)
		sp->watch(sp->watch_arg, ref, delivered, dead, 0);
	m.upto = upto;
	m.delivered += delivered;
	m.dead += dead;
	ref->finished = upto;
	return spool_mark(sp, sg, &m, why);
}

int
spool_flush(struct spool *sp, struct why *why)
{
	struct spool_seg *sg;
	size_t i = 0;
	int r = 0, written;

	while (i < sp->kept_n) {
		struct spool_mark m = sp->kept[i];

		r = spool_write_mark(sp, &m, why);
		if (r < 0)
			break;
		/* A roll has dealt with all of them. */
		if (sp->kept_n == 0)
			break;
		i++;
		sg = spool_seg_find(sp, m.segno);
		if (sg != NULL) {
			sg->kept--;
			sg->marked = sp->appended;
		}
	}
	if (i > 0 && sp->kept_n > 0) {
		sp->kept_n -= i;
		memmove(sp->kept, sp->kept + i, sp->kept_n * sizeof *sp->kept);
	}
	sp->mark_error = r;
	written = seglog_flush(sp->log, r < 0 ? NULL : why);
	return r < 0 ? r : written;
}

/* --- deletion -------------------------------------------------------------- */

static bool
spool_may_drop(const struct spool *sp, const struct spool_seg *sg,
    uint64_t may_delete, uint64_t durable)
{
	if (sg->waiting > 0 || sg->owed_seq > may_delete)
		return false;
	/* Deleting is what makes room for the marks. */
	if (sg->kept > 0)
		return sp->mark_error == -ENOSPC || sp->mark_error == -EDQUOT;
	return sg->marked <= durable;
}

int
spool_trim(struct spool *sp, uint64_t may_delete, struct why *why)
{
	uint64_t durable = seglog_durable(sp->log).v[1];
	uint32_t tail = seglog_tail(sp->log);
	bool spent = false;
	int n = 0, r;

	/* Called each turn: with a long backlog mostly none is empty. */
	if (!sp->spent || tail == 0 || sp->bare || sp->born > durable)
		return 0;
	for (size_t i = 0; i < sp->n && sp->segs[i].segno != tail;) {
		struct spool_seg *sg = &sp->segs[i];

		if (!spool_may_drop(sp, sg, may_delete, durable)) {
			spent |= sg->waiting == 0;
			i++;
			continue;
		}
		r = seglog_remove(sp->log, sg->segno, why);
		if (r < 0)
			return r;
		spool_seg_drop(sp, sg);
		n++;
	}
	sp->spent = spent;
	return n;
}

/* --- durability and figures ------------------------------------------------ */

bool
spool_unsynced(const struct spool *sp)
{
	return seglog_unsynced(sp->log);
}

void
spool_sync_begin(struct spool *sp, struct seglog_sync *set)
{
	seglog_sync_begin(sp->log, set);
}

void
spool_sync_end(struct spool *sp, bool ok)
{
	seglog_sync_end(sp->log, ok);
}

uint64_t
spool_durable(const struct spool *sp)
{
	return seglog_durable(sp->log).v[0];
}

int
spool_roll(struct spool *sp, struct wall now, struct why *why)
{
	int r;

	sp->now = now;
	r = seglog_roll(sp->log, now, why);
	spool_note_tail(sp);
	return r;
}

uint64_t
spool_lost(const struct spool *sp)
{
	return sp->lost;
}

struct spool_totals
spool_totals(const struct spool *sp)
{
	return sp->totals;
}

struct spool_waiting
spool_waiting(const struct spool *sp)
{
	return sp->waiting;
}

uint64_t
spool_bytes(const struct spool *sp)
{
	return seglog_bytes(sp->log);
}

uint64_t
spool_seq(const struct spool *sp)
{
	return sp->seq;
}

const uint8_t *
spool_instance(const struct spool *sp)
{
	return seglog_instance(sp->log);
}

struct seglog *
spool_log(struct spool *sp)
{
	return sp->log;
}
