/*
 * spool_read: the walk over what waits, and reading single batches.
 *
 * A walk reads heads and descriptions only. What it cannot read as a record
 * it passes over up to the next valid one; which batches were lost on the way
 * it knows from the next one's index.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include <xxhash.h>

#include "store/le.h"
#include "store/spool.h"
#include "store/spool_int.h"

#define SPOOL_F_ZSTD	1u	/* of a batch */
#define SPOOL_F_BACK	1u	/* of a mark */

#define EACH_STEP_BYTES	4096u	/* of a body that is checked: one step more */

/* --- descriptions ---------------------------------------------------------- */

static uint64_t
desc_sum(struct seglog_pos pos, const uint8_t *p, size_t n)
{
	return XXH3_64bits_withSeed(p + 8, n - 8,
	    (uint64_t)pos.segno << 32 | pos.off);
}

size_t
spool_desc_pack(uint8_t dst[SPOOL_META_MAX], struct spool_desc *d,
    struct seglog_pos pos)
{
	const struct spool_batch *b = &d->b;
	size_t id = strlen(b->id), n = SPOOL_META;

	le_put64(dst + 8, b->seq);
	le_put64(dst + 16, d->events_before);
	le_put64(dst + 24, d->bytes_before);
	le_put64(dst + 32, (uint64_t)b->first.us);
	le_put64(dst + 40, (uint64_t)b->sealed.us);
	le_put64(dst + 48, b->journal_lsn);
	le_put64(dst + 56, b->parent);
	le_put64(dst + 64, d->run_hash);
	le_put32(dst + 72, b->parent_from);
	le_put32(dst + 76, b->part);
	le_put32(dst + 80, b->events);
	le_put32(dst + 84, b->raw_len);
	le_put32(dst + 88, b->body_len);
	le_put32(dst + 92, d->index);
	le_put16(dst + 96, (uint16_t)b->runid_len);
	dst[98] = (uint8_t)id;
	dst[99] = (uint8_t)b->kind;
	dst[100] = (uint8_t)b->reason;
	dst[101] = b->compressed ? SPOOL_F_ZSTD : 0;
	le_put16(dst + 102, 0);
	le_put64(dst + 104, b->journal_first);
	memcpy(dst + n, b->id, id);
	n += id;
	memcpy(dst + n, b->runid, b->runid_len);
	n += b->runid_len;
	le_put64(dst, desc_sum(pos, dst, n));
	d->meta_len = (uint32_t)n;
	return n;
}

bool
spool_desc_unpack(struct spool_desc *d, struct seglog_pos pos,
    const uint8_t *p, size_t n)
{
	struct spool_batch *b = &d->b;
	size_t id, runid;

	if (n < SPOOL_META)
		return false;
	runid = le_get16(p + 96);
	id = p[98];
	if (runid > SPOOL_RUNID_MAX || id >= SPOOL_ID_MAX ||
	    SPOOL_META + id + runid > n)
		return false;
	d->meta_len = (uint32_t)(SPOOL_META + id + runid);
	if (le_get64(p) != desc_sum(pos, p, d->meta_len))
		return false;
	memset(b, 0, sizeof *b);
	b->seq = le_get64(p + 8);
	d->events_before = le_get64(p + 16);
	d->bytes_before = le_get64(p + 24);
	b->first.us = (int64_t)le_get64(p + 32);
	b->sealed.us = (int64_t)le_get64(p + 40);
	b->journal_lsn = le_get64(p + 48);
	b->journal_first = le_get64(p + 104);
	b->parent = le_get64(p + 56);
	d->run_hash = le_get64(p + 64);
	b->parent_from = le_get32(p + 72);
	b->part = le_get32(p + 76);
	b->events = le_get32(p + 80);
	b->raw_len = le_get32(p + 84);
	b->body_len = le_get32(p + 88);
	d->index = le_get32(p + 92);
	b->kind = (enum spool_kind)p[99];
	b->reason = (enum spool_reason)p[100];
	b->compressed = (p[101] & SPOOL_F_ZSTD) != 0;
	memcpy(b->id, p + SPOOL_META, id);
	memcpy(b->runid, p + SPOOL_META + id, runid);
	b->runid_len = runid;
	return true;
}

void
spool_mark_pack(uint8_t dst[SPOOL_MARK], const struct spool_mark *m)
{
	memset(dst, 0, SPOOL_MARK);
	le_put64(dst, m->seq);
	le_put32(dst + 8, m->segno);
	le_put32(dst + 12, m->index);
	le_put32(dst + 16, m->events);
	le_put32(dst + 20, m->body_len);
	le_put32(dst + 24, m->upto);
	le_put32(dst + 28, m->delivered);
	le_put32(dst + 32, m->dead);
	le_put32(dst + 36, m->dropped);
	dst[40] = m->reason;
	dst[41] = m->back ? SPOOL_F_BACK : 0;
}

bool
spool_mark_unpack(struct spool_mark *m, uint8_t type, const uint8_t *p,
    size_t n)
{
	if (n < SPOOL_MARK)
		return false;
	m->seq = le_get64(p);
	m->segno = le_get32(p + 8);
	m->index = le_get32(p + 12);
	m->events = le_get32(p + 16);
	m->body_len = le_get32(p + 20);
	m->upto = le_get32(p + 24);
	m->delivered = le_get32(p + 28);
	m->dead = le_get32(p + 32);
	m->dropped = le_get32(p + 36);
	m->reason = p[40];
	m->back = (p[41] & SPOOL_F_BACK) != 0;
	m->done = type == SPOOL_REC_DONE;
	return true;
}

/* --- lost batches ---------------------------------------------------------- */

/*
 * Batches [c->index, to) of the segment are not to be found; they had so many
 * events and bytes. Those that wait are given up as corrupt.
 */
static void
next_lost(struct spool *sp, uint32_t segno, const struct spool_cursor *c,
    uint32_t to, uint64_t events, uint64_t bytes)
{
	struct spool_mark m = { .segno = segno, .done = true,
	    .reason = SPOOL_DROP_CORRUPT };
	struct spool_seg *sg;
	struct spool_part part;
	uint64_t ev = events - c->events, by = bytes - c->bytes;

	if (ev > UINT32_MAX || by > UINT32_MAX)
		ev = by = 0;
	for (uint32_t i = c->index; i < to; i++) {
		sg = spool_seg_find(sp, segno);
		/* A checkpoint that lies: it told of fewer. */
		if (i >= sg->batches || sg->waiting == 0)
			return;
		if (spool_seg_is_done(sg, i))
			continue;
		part = spool_part_get(sp, segno, i);
		ev = ev < part.finished ? 0 : ev - part.finished;
		m.index = i;
		m.delivered = part.delivered;
		m.dead = part.dead;
		m.dropped = (uint32_t)(ev < sg->waiting_events ? ev :
		    sg->waiting_events);
		m.events = m.upto = part.finished + m.dropped;
		m.body_len = (uint32_t)(by < sg->waiting_bytes ? by :
		    sg->waiting_bytes);
		/* A mark that cannot be written is kept. */
		(void)spool_mark(sp, sg, &m, NULL);
		ev = by = 0;
	}
}

/* A segment has vanished from the log: it was found to be none of ours. */
static void
next_vanished(struct spool *sp, uint32_t segno)
{
	struct spool_seg *sg = spool_seg_find(sp, segno);
	struct spool_cursor none = { 0 };

	if (sg->waiting > 0)
		next_lost(sp, segno, &none, sg->batches, sg->waiting_events,
		    sg->waiting_bytes);
	sg = spool_seg_find(sp, segno);
	/* Marks for it may wait in memory: it stays known until trimmed. */
	assert(sg->waiting == 0);
}

/* --- the walk -------------------------------------------------------------- */

static int
next_stop(void *arg, uint8_t type, const uint8_t *data, uint32_t len,
    struct seglog_pos pos)
{
	*(uint32_t *)arg = pos.off;
	return 1;
}

/* No record is at the cursor: find the next one, or the end. */
static int
next_resync(struct spool *sp, struct spool_cursor *c, uint64_t end,
    struct why *why)
{
	uint32_t off = 0;
	int r = seglog_scan(sp->log, c->segno, c->off, next_stop, &off, why);

	if (r < 0)
		return r;
	/* One that cannot be read there is passed over: never stand still. */
	if (r == 1 && off <= c->off)
		off = c->off + SEG_ALIGN;
	c->off = r == 1 ? off : (uint32_t)end;
	return 0;
}

static void
next_segment(struct spool_cursor *c, uint32_t segno)
{
	*c = (struct spool_cursor){ .segno = segno };
}

/* A batch is at the cursor. 1: it waits; 0: it is done. */
static int
next_batch(struct spool *sp, struct spool_cursor *c,
    const struct spool_desc *d, uint32_t len, struct spool_ref *ret)
{
	struct spool_seg *sg;
	struct seglog_pos pos = { c->segno, c->off };

	sg = spool_seg_find(sp, c->segno);
	if (d->index > c->index && !(sg != NULL && sg->unreadable))
		next_lost(sp, c->segno, c, d->index, d->events_before,
		    d->bytes_before);
	sg = spool_seg_find(sp, c->segno);
	c->off += (uint32_t)seg_record_size(len);
	c->index = d->index + 1;
	c->events = d->events_before + d->b.events;
	c->bytes = d->bytes_before + d->b.body_len;
	if (sg == NULL || d->index >= sg->batches ||
	    spool_seg_is_done(sg, d->index))
		return 0;
	*ret = (struct spool_ref){ .seq = d->b.seq, .pos = pos,
	    .run_hash = d->run_hash, .body_len = d->b.body_len,
	    .events = d->b.events, .index = d->index,
	    .finished = spool_part_get(sp, c->segno, d->index).finished,
	    .meta_len = d->meta_len };
	return 1;
}

/* Read one record at the cursor. 1: *ret is set, 0: go on, -errno. */
static int
next_record(struct spool *sp, struct spool_cursor *c, uint64_t end,
    struct spool_ref *ret, struct why *why)
{
	struct seglog_pos pos = { c->segno, c->off };
	uint8_t peek[SPOOL_META_MAX], type;
	struct spool_desc d;
	uint32_t len;
	size_t n;
	int r;

	r = seglog_head(sp->log, pos, &type, &len, peek, sizeof peek, &n,
	    why);
	if (r == -EIO) {
		if (c->bad_off != pos.off)
			c->bad_tries = 0;
		c->bad_off = pos.off;
		if (++c->bad_tries < SPOOL_TRIES)
			return r;
		/* An error of the disk proves nothing of what is on it. */
		spool_seg_find(sp, c->segno)->unreadable = true;
	}
	if (r == -EBADMSG || r == -ENODATA || r == -EIO)
		return next_resync(sp, c, end, why);
	if (r < 0)
		return r;
	if (type == SPOOL_REC_BATCH && spool_desc_unpack(&d, pos, peek, n) &&
	    (uint64_t)d.meta_len + d.b.body_len == len)
		return next_batch(sp, c, &d, len, ret);
	/* A description that is wrong: verifying sets it aside. */
	if (type == SPOOL_REC_BATCH)
		(void)!seglog_verify(sp->log, pos, NULL);
	c->off += (uint32_t)seg_record_size(len);
	return 0;
}

int
spool_next(struct spool *sp, struct spool_cursor *c, struct spool_ref *ret,
    struct why *why)
{
	struct seglog_info info;
	struct spool_seg *sg;
	size_t i;
	int r;

	for (;;) {
		i = spool_seg_at(sp, c->segno);
		if (i == sp->n)
			return 0;
		sg = &sp->segs[i];
		if (sg->segno != c->segno)
			next_segment(c, sg->segno);
		if (c->off == 0)
			c->off = SEG_HEADER_LEN;
		if (i + 1 < sp->n && sg->waiting == 0) {
			next_segment(c, sg->segno + 1);
			continue;
		}
		if (!seglog_find(sp->log, sg->segno, &info)) {
			next_vanished(sp, sg->segno);
			next_segment(c, c->segno + 1);
			continue;
		}
		if (c->off >= info.written) {
			if (i + 1 == sp->n)
				return 0;
			if (c->index < sg->batches && !sg->unreadable)
				next_lost(sp, sg->segno, c, sg->batches,
				    sg->events, sg->bytes);
			next_segment(c, c->segno + 1);
			continue;
		}
		r = next_record(sp, c, info.written, ret, why);
		if (r != 0)
			return r;
	}
}

/* The segment that the cursor is in, or the next one that is there. */
static bool
each_segment(const struct spool *sp, struct spool_cursor *c,
    struct seglog_info *ret)
{
	for (size_t i = 0; i < seglog_count(sp->log); i++) {
		struct seglog_info info = seglog_at(sp->log, i);

		if (info.segno < c->segno || (info.segno == c->segno &&
		    c->off >= info.written))
			continue;
		if (info.segno != c->segno || c->off == 0)
			*c = (struct spool_cursor){ .segno = info.segno,
			    .off = SEG_HEADER_LEN };
		*ret = info;
		return c->off < info.written;
	}
	return false;
}

int
spool_each(struct spool *sp, struct spool_cursor *c, unsigned steps,
    void (*fn)(void *, const struct spool_batch *), void *arg,
    struct why *why)
{
	uint8_t peek[SPOOL_META_MAX], type;
	struct seglog_info info;
	struct spool_desc d;
	uint32_t len;
	size_t n;

	for (; steps > 0; steps--) {
		if (!each_segment(sp, c, &info))
			return 0;
		struct seglog_pos pos = { c->segno, c->off };
		int r = seglog_head(sp->log, pos, &type, &len, peek,
		    sizeof peek, &n, why);

		/* No head of ours: the next one is somewhere behind. */
		if (r == -EBADMSG || r == -ENODATA) {
			c->off += SEG_ALIGN;
			continue;
		}
		if (r < 0)
			return r;
		bool told = type == SPOOL_REC_BATCH &&
		    spool_desc_unpack(&d, pos, peek, n);
		/* A description may be whole, and its body torn. */
		if (told) {
			unsigned more = len / EACH_STEP_BYTES;

			r = seglog_verify(sp->log, pos, why);
			if (r < 0 && r != -EBADMSG)
				return r;
			steps -= more < steps ? more : steps - 1;
		}
		if (told && r == 0)
			fn(arg, &d.b);
		c->off += (uint32_t)seg_record_size(len);
	}
	return 1;
}

bool
spool_at_end(const struct spool *sp, const struct spool_cursor *c)
{
	for (size_t i = sp->n; i-- > 0;) {
		const struct spool_seg *sg = &sp->segs[i];

		if (sg->segno < c->segno)
			return true;
		if (sg->segno == c->segno)
			return c->index >= sg->batches;
		if (sg->batches > 0 && (sg->waiting > 0 || i + 1 == sp->n))
			return false;
	}
	return true;
}

void
spool_to_end(const struct spool *sp, struct spool_cursor *c)
{
	const struct spool_seg *sg;
	struct seglog_info info;

	*c = (struct spool_cursor){ 0 };
	if (sp->n == 0)
		return;
	sg = &sp->segs[sp->n - 1];
	*c = (struct spool_cursor){ .segno = sg->segno, .index = sg->batches,
	    .events = sg->events, .bytes = sg->bytes };
	if (seglog_find(sp->log, sg->segno, &info))
		c->off = (uint32_t)info.size;
}

/* --- single batches -------------------------------------------------------- */

int
spool_describe(struct spool *sp, const struct spool_ref *ref,
    struct spool_batch *ret, struct why *why)
{
	uint8_t peek[SPOOL_META_MAX];
	struct spool_desc d;
	int r;

	assert(ref->meta_len <= sizeof peek);
	r = seglog_read(sp->log, ref->pos, 0, peek, ref->meta_len, why);
	if (r == -ENODATA)
		r = -EBADMSG;
	if (r < 0)
		return r;
	if (!spool_desc_unpack(&d, ref->pos, peek, ref->meta_len) ||
	    d.b.seq != ref->seq)
		return why_set(why, -EBADMSG, "batch %" PRIu64 ": damaged "
		    "description", ref->seq);
	*ret = d.b;
	return 0;
}

int
spool_verify(struct spool *sp, const struct spool_ref *ref, struct why *why)
{
	return seglog_verify(sp->log, ref->pos, why);
}

int
spool_body(struct spool *sp, const struct spool_ref *ref, uint32_t off,
    void *dst, size_t len, struct why *why)
{
	assert((uint64_t)off + len <= ref->body_len);
	return seglog_read(sp->log, ref->pos, ref->meta_len + off, dst, len,
	    why);
}

int
spool_load(struct spool *sp, const struct spool_ref *ref,
    struct spool_batch *ret, struct buf *buf, const uint8_t **ret_body,
    struct why *why)
{
	uint32_t len = ref->meta_len + ref->body_len;
	struct spool_desc d;
	uint8_t *rec;
	int r;

	buf_reset(buf, SIZE_MAX);
	rec = buf_room(buf, SEG_HEAD_LEN + (size_t)len);
	if (rec == NULL)
		return why_errno(why, buf_error(buf), "batch of %" PRIu32
		    " bytes", len);
	r = seglog_get_known(sp->log, ref->pos, len, rec, why);
	if (r < 0)
		return r;
	if (!spool_desc_unpack(&d, ref->pos, rec + SEG_HEAD_LEN,
	    ref->meta_len))
		return why_set(why, -EBADMSG, "batch %" PRIu64 ": damaged "
		    "description", ref->seq);
	buf->len = SEG_HEAD_LEN + (size_t)len;
	*ret = d.b;
	*ret_body = rec + SEG_HEAD_LEN + ref->meta_len;
	return 0;
}

bool
spool_oldest(struct spool *sp, struct wall *ret)
{
	const struct spool_ref *ref = &sp->oldest_ref;
	struct spool_seg *sg = spool_seg_find(sp, ref->pos.segno);
	struct spool_batch b;

	if (sp->waiting.batches == 0)
		return false;
	while (sg == NULL || spool_seg_is_done(sg, ref->index)) {
		if (spool_next(sp, &sp->oldest, &sp->oldest_ref, NULL) <= 0)
			return false;
		if (spool_describe(sp, ref, &b, NULL) == 0)
			sp->oldest_sealed = b.sealed;
		sg = spool_seg_find(sp, ref->pos.segno);
	}
	*ret = sp->oldest_sealed;
	return true;
}

bool
spool_is_past(struct spool *sp, uint64_t seq)
{
	struct wall sealed;

	if (sp->waiting.batches == 0)
		return true;
	/* Not to be found, as it is not flushed yet: so it waits. */
	return spool_oldest(sp, &sealed) && sp->oldest_ref.seq > seq;
}

bool
spool_waits(const struct spool *sp, const struct spool_ref *ref)
{
	const struct spool_seg *sg = spool_seg_find(sp, ref->pos.segno);

	return sg != NULL && !spool_seg_is_done(sg, ref->index);
}

void
spool_watch(struct spool *sp, void (*fn)(void *, const struct spool_ref *,
    uint32_t, uint32_t, uint32_t), void *arg)
{
	sp->watch = fn;
	sp->watch_arg = arg;
}
