/*
 * spool_open: what the files tell of the past.
 *
 * The newest sound checkpoint tells all of the segments before it; the
 * records behind it tell the rest. As a rule that is one segment. When the
 * newest checkpoint is damaged the one before it serves, and more is read;
 * when none is left, all is.
 *
 * What was not durable when the power went may be gone in any part. Batches
 * above `promised` (the newest seal mark there was) were promised to nobody:
 * where they are missing they count as never appended; and those behind the
 * first that is missing are taken back even if they are there, because their
 * run's events must not go before those of the missing one. The journal holds
 * all of them. Others that are missing are losses, counted and told. Either
 * way the log goes on in a new segment, whose checkpoint holds what was
 * decided here.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "store/spool.h"
#include "store/spool_int.h"

/* Numbers that may have been given out, but are not to be found. */
#define SEQ_JUMP	(1u << 20)

/* A stretch of a scanned segment whose batches were not found. */
struct gap {
	uint32_t	segno;
	uint32_t	from, to;	/* indexes */
	uint64_t	events, bytes;
	uint64_t	last_seq;	/* none of them is newer */
};

struct opening {
	struct spool	*sp;
	void		(*recent)(void *, const struct spool_batch *,
			    const struct spool_ref *);
	void		*arg;
	uint64_t	above;		/* tell of batches above it */
	uint64_t	promised;	/* these were durable once */
	bool		odd;		/* something was not as it should be */
	uint64_t	hole;		/* first missing one above `promised` */
	struct gap	*gaps;
	size_t		gaps_n, gaps_cap;
};

/* --- the checkpoint -------------------------------------------------------- */

/* Find the newest sound checkpoint; *ret_i is the segment it begins. */
static int
open_find_ckpt(struct opening *o, size_t *ret_i, struct why *why)
{
	struct seglog *log = o->sp->log;
	const uint8_t *data;
	struct buf buf;
	uint32_t len, segno;
	uint8_t type;
	int r = 0;

	*ret_i = 0;
	buf_init(&buf, 0);
	for (size_t i = seglog_count(log); i-- > 0;) {
		segno = seglog_at(log, i).segno;
		r = seglog_get(log, (struct seglog_pos){ segno,
		    SEG_HEADER_LEN }, &type, &buf, &data, &len, why);
		if (r == -ENOMEM)
			break;
		if (r == 0 && type == SPOOL_REC_CHECKPOINT &&
		    spool_ckpt_sound(data, len)) {
			spool_ckpt_adopt(o->sp, data);
			*ret_i = i;
			buf_free(&buf);
			return 0;
		}
		/* The log goes on in a segment that begins soundly. */
		o->odd = true;
		o->sp->bare = true;
		if (i > seglog_count(log))
			i = seglog_count(log);
	}
	buf_free(&buf);
	return r == -ENOMEM ? r : 0;
}

/* A batch from `seq` on, up to `last`, is missing. */
static void
open_hole(struct opening *o, uint64_t seq, uint64_t last)
{
	if (last <= o->promised)
		return;
	o->odd = true;
	if (seq <= o->promised)
		seq = o->promised + 1;
	if (seq < o->hole)
		o->hole = seq;
}

/* --- scanning -------------------------------------------------------------- */

static void
gap_add(struct opening *o, const struct gap *g)
{
	if (o->gaps_n == o->gaps_cap) {
		o->gaps_cap = o->gaps_cap == 0 ? 16 : o->gaps_cap * 2;
		o->gaps = mem_grow(o->gaps, o->gaps_cap, sizeof *o->gaps);
	}
	o->gaps[o->gaps_n++] = *g;
	o->odd = true;
}

static void
scan_batch(struct opening *o, const struct spool_desc *d,
    struct seglog_pos pos)
{
	struct spool *sp = o->sp;
	struct spool_seg *sg = spool_seg_find(sp, pos.segno);
	const struct spool_batch *b = &d->b;

	if (d->index < sg->batches)
		return;		/* cannot be, but for a crafted file */
	if (d->index > sg->batches) {
		struct gap g = { pos.segno, sg->batches, d->index,
		    d->events_before - sg->events,
		    d->bytes_before - sg->bytes, b->seq - 1 };

		gap_add(o, &g);
	}
	/* Numbers go on without a gap; a jump begins a segment. */
	if (b->seq > sp->seq + 1)
		open_hole(o, sp->seq + 1, b->seq - 1);
	if (sg->first_seq == 0)
		sg->first_seq = b->seq;
	sg->last_seq = b->seq;
	if (b->parent == 0)
		sg->owed_seq = b->seq;
	sg->batches = d->index + 1;
	sg->events = d->events_before + b->events;
	sg->bytes = d->bytes_before + b->body_len;
	sg->waiting++;
	sg->waiting_events += b->events;
	sg->waiting_bytes += b->body_len;
	sp->waiting.batches++;
	sp->waiting.events += b->events;
	sp->waiting.bytes += b->body_len;
	sp->totals.batches++;
	sp->totals.events += b->events;
	if (b->seq > sp->seq)
		sp->seq = b->seq;
	if (b->sealed.us > sp->now.us)
		sp->now = b->sealed;
}

/* A batch that is known by its mark only: it was there, and is done. */
static void
scan_mark_of_lost(struct spool *sp, struct spool_seg *sg,
    const struct spool_mark *m)
{
	if (sg->batches <= m->index) {
		sg->batches = m->index + 1;
		sg->events += m->events;
		sg->bytes += m->body_len;
		if (m->seq > sg->last_seq)
			sg->last_seq = m->seq;
	}
	sg->waiting++;
	sg->waiting_events += m->events;
	sg->waiting_bytes += m->body_len;
	sp->waiting.batches++;
	sp->waiting.events += m->events;
	sp->waiting.bytes += m->body_len;
	sp->totals.batches++;
	sp->totals.events += m->events;
	if (m->seq > sp->seq)
		sp->seq = m->seq;
}

static void
scan_mark(struct opening *o, const struct spool_mark *m)
{
	struct spool_seg *sg = spool_seg_find(o->sp, m->segno);
	bool lost = false;

	/* No segment has a million batches: such a mark lies. */
	if (sg == NULL || m->index >= 1u << 20 || (m->index < sg->done_cap &&
	    (sg->done[m->index / 8] & 1u << m->index % 8) != 0))
		return;
	if (m->index >= sg->batches) {
		o->odd = true;
		lost = true;
	}
	for (size_t i = 0; i < o->gaps_n && !lost; i++) {
		struct gap *g = &o->gaps[i];

		lost = g->segno == m->segno && m->index >= g->from &&
		    m->index < g->to;
		if (!lost || !m->done)
			continue;
		g->events -= m->events < g->events ? m->events : g->events;
		g->bytes -= m->body_len < g->bytes ? m->body_len : g->bytes;
	}
	/* A batch that is gone makes no more progress. */
	if (lost && !m->done)
		return;
	/* Those before it that nothing tells of are gone, too. */
	if (m->index > sg->batches) {
		struct gap g = { .segno = m->segno, .from = sg->batches,
		    .to = m->index, .last_seq = m->seq > 0 ? m->seq - 1 : 0 };

		gap_add(o, &g);
	}
	if (lost)
		scan_mark_of_lost(o->sp, sg, m);
	if (sg->waiting > 0 && m->index < sg->batches)
		spool_apply(o->sp, sg, m);
}

static int
scan_record(void *arg, uint8_t type, const uint8_t *data, uint32_t len,
    struct seglog_pos pos)
{
	struct opening *o = arg;
	struct spool_desc d;
	struct spool_mark m;

	if (type == SPOOL_REC_BATCH && spool_desc_unpack(&d, pos, data, len) &&
	    (uint64_t)d.meta_len + d.b.body_len == len)
		scan_batch(o, &d, pos);
	else if ((type == SPOOL_REC_DONE || type == SPOOL_REC_PROGRESS) &&
	    spool_mark_unpack(&m, type, data, len))
		scan_mark(o, &m);
	return 0;
}

/* Scan the segments from the i-th on. */
static int
open_scan(struct opening *o, size_t i, struct why *why)
{
	struct spool *sp = o->sp;
	struct seglog_info info;
	struct why text;
	int r;

	while (i < seglog_count(sp->log)) {
		info = seglog_at(sp->log, i);
		(void)spool_seg_add(sp, info.segno);
		r = seglog_scan(sp->log, info.segno, 0, scan_record, o, &text);
		if (r == -ENOMEM)
			return why_set(why, r, "%s", text.text);
		if (r == -EBADMSG) {
			/* Set aside: it has left the log's list, too. */
			spool_seg_drop(sp, spool_seg_find(sp, info.segno));
			o->odd = true;
			continue;
		}
		if (r < 0) {
			seglog_tell(sp->log, info.segno, info.size, text.text);
			o->odd = true;
		}
		i++;
	}
	return 0;
}

/* Events that damage has taken, as is found out now. */
static void
open_lost(struct spool *sp, uint64_t events)
{
	sp->totals.dropped[SPOOL_DROP_CORRUPT] += events;
	sp->lost += events;
}

/* Decide on what was not found: lost, or never there. */
static void
open_gaps(struct opening *o)
{
	struct spool *sp = o->sp;

	for (size_t i = 0; i < o->gaps_n; i++) {
		const struct gap *g = &o->gaps[i];
		struct spool_seg *sg = spool_seg_find(sp, g->segno);
		bool promised = g->last_seq <= o->promised, any = false;

		for (uint32_t k = g->from; sg != NULL && k < g->to; k++) {
			if (k < sg->done_cap &&
			    (sg->done[k / 8] & 1u << k % 8) != 0)
				continue;
			any = true;
			spool_seg_set_done(sg, k);
			if (!promised)
				continue;
			sp->totals.batches++;
			sp->totals.done_batches++;
		}
		if (any && promised) {
			sp->totals.events += g->events;
			open_lost(sp, g->events);
		}
	}
}

/* --- segments before the checkpoint ---------------------------------------- */

/* Forget so many waiting batches of a segment: appended, but never promised. */
static void
open_unappend(struct spool *sp, struct spool_seg *sg, uint32_t batches,
    uint64_t events, uint64_t bytes)
{
	if (events > sg->waiting_events)
		events = sg->waiting_events;
	if (bytes > sg->waiting_bytes)
		bytes = sg->waiting_bytes;
	sg->waiting -= batches;
	sg->waiting_events -= events;
	sg->waiting_bytes -= bytes;
	sp->waiting.batches -= batches;
	sp->waiting.events -= events;
	sp->waiting.bytes -= bytes;
	sp->totals.batches -= batches;
	sp->totals.events -= events;
}

/* Segments of which the checkpoint speaks, but which are not there. */
static void
open_missing(struct opening *o)
{
	struct spool *sp = o->sp;
	struct seglog_info info;

	for (size_t i = 0; i < sp->n;) {
		struct spool_seg *sg = &sp->segs[i];

		if (seglog_find(sp->log, sg->segno, &info)) {
			i++;
			continue;
		}
		/* Deleted after the checkpoint was written: nothing is lost. */
		if (sg->waiting > 0) {
			o->odd = true;
			if (sg->first_seq > o->promised) {
				open_hole(o, sg->first_seq, sg->last_seq);
				open_unappend(sp, sg, sg->waiting,
				    sg->waiting_events, sg->waiting_bytes);
			} else {
				seglog_tell(sp->log, sg->segno,
				    sg->waiting_bytes, "the segment is "
				    "missing, batches waited in it");
				open_lost(sp, sg->waiting_events);
				sp->totals.done_batches += sg->waiting;
				sp->waiting.batches -= sg->waiting;
				sp->waiting.events -= sg->waiting_events;
				sp->waiting.bytes -= sg->waiting_bytes;
			}
		}
		spool_seg_drop(sp, sg);
	}
}

/* Segments that the checkpoint does not know were deleted: once more. */
static void
open_reappeared(struct opening *o, uint32_t start)
{
	struct seglog *log = o->sp->log;
	uint32_t segno;

	for (size_t i = 0; i < seglog_count(log);) {
		segno = seglog_at(log, i).segno;
		if (segno >= start)
			return;
		if (spool_seg_find(o->sp, segno) != NULL ||
		    seglog_remove(log, segno, NULL) < 0)
			i++;
	}
}

struct recheck {
	struct opening	*o;
	struct spool_seg *sg;
	uint32_t	next;		/* index that is expected */
	uint64_t	events, bytes;	/* before it */
};

/* Batches [rc->next, to) are not there; none is newer than last_seq. */
static void
recheck_gap(struct recheck *rc, uint32_t to, uint64_t events, uint64_t bytes,
    uint64_t last_seq)
{
	struct spool_seg *sg = rc->sg;
	uint32_t n = 0;

	if (last_seq <= rc->o->promised)
		return;		/* a loss: the walk will meet it */
	for (uint32_t i = rc->next; i < to; i++)
		n += !spool_seg_is_done(sg, i);
	if (n == 0)
		return;
	open_hole(rc->o, last_seq - (to - rc->next) + 1, last_seq);
	for (uint32_t i = rc->next; i < to; i++)
		spool_seg_set_done(sg, i);
	open_unappend(rc->o->sp, sg, n, events - rc->events,
	    bytes - rc->bytes);
}

static int
recheck_record(void *arg, uint8_t type, const uint8_t *data, uint32_t len,
    struct seglog_pos pos)
{
	struct recheck *rc = arg;
	struct spool_desc d;

	if (type != SPOOL_REC_BATCH || !spool_desc_unpack(&d, pos, data, len))
		return 0;
	if (d.index > rc->next)
		recheck_gap(rc, d.index, d.events_before, d.bytes_before,
		    d.b.seq - 1);
	rc->next = d.index + 1;
	rc->events = d.events_before + d.b.events;
	rc->bytes = d.bytes_before + d.b.body_len;
	return 0;
}

/*
 * The last segments before the checkpoint may not have been durable: see
 * what is there of the batches that nobody was promised.
 */
static int
open_recheck(struct opening *o, uint32_t start, struct why *why)
{
	struct spool *sp = o->sp;
	int r;

	for (size_t i = 0; i < sp->n && sp->segs[i].segno < start; i++) {
		struct recheck rc = { .o = o, .sg = &sp->segs[i] };

		if (rc.sg->last_seq <= o->promised || rc.sg->waiting == 0)
			continue;
		r = seglog_scan(sp->log, rc.sg->segno, 0, recheck_record, &rc,
		    why);
		if (r == -ENOMEM)
			return r;
		if (r == 0 && rc.next < rc.sg->batches)
			recheck_gap(&rc, rc.sg->batches, rc.sg->events,
			    rc.sg->bytes, rc.sg->last_seq);
		else if (r < 0)
			o->odd = true;
	}
	/* What was found to be none of ours has left the list. */
	open_missing(o);
	return 0;
}

/* --- behind a hole --------------------------------------------------------- */

static int
behind_record(void *arg, uint8_t type, const uint8_t *data, uint32_t len,
    struct seglog_pos pos)
{
	struct opening *o = arg;
	struct spool_seg *sg = spool_seg_find(o->sp, pos.segno);
	struct spool_desc d;

	if (type != SPOOL_REC_BATCH || !spool_desc_unpack(&d, pos, data, len))
		return 0;
	if (d.b.seq < o->hole || d.index >= sg->batches ||
	    spool_seg_is_done(sg, d.index))
		return 0;
	spool_seg_set_done(sg, d.index);
	spool_void_add(o->sp, pos.segno, d.index);
	open_unappend(o->sp, sg, 1, d.b.events, d.b.body_len);
	return 0;
}

static int
open_behind(struct opening *o, struct why *why)
{
	struct spool *sp = o->sp;
	int r;

	for (size_t i = 0; i < sp->n && o->hole != UINT64_MAX; i++) {
		if (sp->segs[i].last_seq < o->hole)
			continue;
		if (sp->segs[i].owed_seq >= o->hole)
			sp->segs[i].owed_seq = o->hole - 1;
		r = seglog_scan(sp->log, sp->segs[i].segno, 0, behind_record,
		    o, why);
		if (r == -ENOMEM)
			return r;
	}
	return 0;
}

/* --- recent batches -------------------------------------------------------- */

static int
recent_record(void *arg, uint8_t type, const uint8_t *data, uint32_t len,
    struct seglog_pos pos)
{
	struct opening *o = arg;
	struct spool_desc d;
	struct spool_ref ref;

	if (type != SPOOL_REC_BATCH || !spool_desc_unpack(&d, pos, data, len) ||
	    d.b.seq <= o->above || d.b.seq >= o->hole || d.b.parent != 0 ||
	    spool_is_void(o->sp, pos.segno, d.index))
		return 0;
	ref = (struct spool_ref){ .seq = d.b.seq, .pos = pos,
	    .run_hash = d.run_hash, .body_len = d.b.body_len,
	    .events = d.b.events, .index = d.index, .meta_len = d.meta_len };
	o->recent(o->arg, &d.b, &ref);
	return 0;
}

static int
open_recent(struct opening *o, struct why *why)
{
	struct spool *sp = o->sp;
	int r;

	for (size_t i = 0; i < sp->n; i++) {
		if (sp->segs[i].last_seq <= o->above)
			continue;
		r = seglog_scan(sp->log, sp->segs[i].segno, 0, recent_record,
		    o, why);
		if (r == -ENOMEM)
			return r;
		if (r < 0)
			o->odd = true;
	}
	return 0;
}

/* --- opening --------------------------------------------------------------- */

/* The sums must agree, whatever damage has done to them. */
static void
open_balance(struct spool *sp)
{
	struct spool_totals *t = &sp->totals;
	uint64_t out = t->delivered + t->dead + sp->waiting.events;

	for (size_t i = 0; i < NELEM(t->dropped); i++)
		out += t->dropped[i];
	if (t->events > out) {
		open_lost(sp, t->events - out);
		return;
	}
	/* Marks were lost: what they told of is sent again. */
	out -= t->events;
	if (out <= t->delivered)
		t->delivered -= out;
	else
		t->events += out;
}

/*
 * Batches that the journal has no mark for. It gets one now, so they must be
 * durable: the process before may have died between write and sync.
 */
static int
open_unmarked(struct opening *o, uint32_t start, struct why *why)
{
	const struct spool *sp = o->sp;
	bool any = false;
	int r;

	r = open_recheck(o, start, why);
	for (size_t i = 0; i < sp->n && !any; i++)
		any = sp->segs[i].last_seq > o->promised;
	if (r < 0)
		return r;
	if (any && seglog_sync_now(sp->log) < 0)
		open_hole(o, o->promised + 1, UINT64_MAX);
	r = open_behind(o, why);
	return r < 0 ? r : open_recent(o, why);
}

static int
open_all(struct opening *o, struct why *why)
{
	struct spool *sp = o->sp;
	uint32_t start = 0;
	size_t first;
	bool jump;
	int r;

	r = open_find_ckpt(o, &first, why);
	if (r < 0)
		return r;
	if (first < seglog_count(sp->log))
		start = seglog_at(sp->log, first).segno;
	jump = o->odd;
	open_reappeared(o, start);
	/* Deletions have moved it. */
	for (first = 0; first < seglog_count(sp->log) &&
	    seglog_at(sp->log, first).segno < start; first++)
		;
	r = open_scan(o, first, why);
	if (r < 0)
		return r;
	open_gaps(o);
	/* Only now: marks in the tail may say that nothing waited there. */
	open_missing(o);
	if (jump)
		sp->seq += SEQ_JUMP;
	if (o->recent != NULL && sp->seq < o->promised) {
		sp->seq = o->promised;
		o->odd = true;
	}
	/* What is found is not durable before a sync round: it counts as one. */
	sp->appended = sp->born = 1;
	spool_stamp(sp);
	if (o->recent != NULL)
		r = open_unmarked(o, start, why);
	open_balance(sp);
	return r;
}

int
spool_open(const char *dir, const char *quarantine,
    const struct spool_options *so,
    void (*recent)(void *, const struct spool_batch *,
    const struct spool_ref *), void *arg,
    struct spool **ret, struct why *why)
{
	struct spool *sp = mem_zalloc(sizeof *sp);
	struct seglog_options lo = { .kind = so->kind,
	    .segment_bytes = so->segment_bytes,
	    .buffer_bytes = so->buffer_bytes, .keep_written = true,
	    .checkpoint = spool_on_checkpoint,
	    .checkpoint_type = SPOOL_REC_CHECKPOINT, .owner = sp,
	    .damaged = so->damaged, .read_only = so->read_only,
	    .arg = so->arg };
	struct opening o = { .sp = sp, .recent = recent, .arg = arg,
	    .above = recent != NULL ? so->seq_above : UINT64_MAX,
	    .promised = recent == NULL ? UINT64_MAX :
	    so->promised > so->seq_above ? so->promised : so->seq_above,
	    .hole = UINT64_MAX };
	uint64_t damaged, bytes;
	int r;

	sp->o = *so;
	sp->spent = true;
	memcpy(lo.instance, so->instance, sizeof lo.instance);
	r = seglog_open(dir, quarantine, &lo, &sp->log, why);
	if (r == 0) {
		/* A file that was set aside may have been the newest. */
		seglog_damage(sp->log, &damaged, &bytes);
		o.odd = damaged > 0;
		r = open_all(&o, why);
	}
	free(o.gaps);
	if (r < 0) {
		spool_close(sp);
		return r;
	}
	for (size_t i = 0; i < sp->n; i++)
		sp->segs[i].marked = sp->appended;
	if (o.odd)
		seglog_finish(sp->log);
	*ret = sp;
	return 0;
}

void
spool_close(struct spool *sp)
{
	if (sp == NULL)
		return;
	seglog_close(sp->log);
	for (size_t i = 0; i < sp->n; i++)
		free(sp->segs[i].done);
	free(sp->segs);
	free(sp->kept);
	free(sp->voids);
	free(sp->parts);
	free(sp);
}
