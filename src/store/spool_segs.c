/*
 * spool_segs: what a spool knows of its segments and of the batches in them,
 * in memory: which are done, which are finished in part, which were taken
 * back; and how a mark moves the counters.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "store/spool.h"
#include "store/spool_int.h"

size_t
spool_seg_at(const struct spool *sp, uint32_t segno)
{
	size_t lo = 0, hi = sp->n, mid;

	while (lo < hi) {
		mid = lo + (hi - lo) / 2;
		if (sp->segs[mid].segno < segno)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

struct spool_seg *
spool_seg_find(const struct spool *sp, uint32_t segno)
{
	size_t i = spool_seg_at(sp, segno);

	return i < sp->n && sp->segs[i].segno == segno ? &sp->segs[i] : NULL;
}

struct spool_seg *
spool_seg_add(struct spool *sp, uint32_t segno)
{
	size_t i = spool_seg_at(sp, segno);

	if (sp->n == sp->cap) {
		sp->cap = sp->cap == 0 ? 16 : sp->cap * 2;
		sp->segs = mem_grow(sp->segs, sp->cap, sizeof *sp->segs);
	}
	memmove(&sp->segs[i + 1], &sp->segs[i],
	    (sp->n - i) * sizeof *sp->segs);
	sp->n++;
	sp->segs[i] = (struct spool_seg){ .segno = segno };
	return &sp->segs[i];
}

void
spool_seg_drop(struct spool *sp, struct spool_seg *sg)
{
	size_t i = (size_t)(sg - sp->segs), kept = 0;

	for (size_t k = 0; k < sp->voids_n; k++)
		if (sp->voids[k].segno != sg->segno)
			sp->voids[kept++] = sp->voids[k];
	sp->voids_n = kept;
	kept = 0;
	for (size_t k = 0; k < sp->parts_n; k++)
		if (sp->parts[k].segno != sg->segno)
			sp->parts[kept++] = sp->parts[k];
	sp->parts_n = kept;
	free(sg->done);
	sp->n--;
	memmove(sg, sg + 1, (sp->n - i) * sizeof *sg);
}

bool
spool_seg_is_done(const struct spool_seg *sg, uint32_t i)
{
	if (i >= sg->batches)
		return false;
	if (sg->waiting == 0)
		return true;
	return i < sg->done_cap && (sg->done[i / 8] & 1u << i % 8) != 0;
}

void
spool_seg_set_done(struct spool_seg *sg, uint32_t i)
{
	uint32_t cap = sg->done_cap == 0 ? 64 : sg->done_cap;

	while (cap <= i)
		cap *= 2;
	if (cap > sg->done_cap) {
		sg->done = mem_grow(sg->done, cap / 8, 1);
		memset(sg->done + sg->done_cap / 8, 0,
		    (cap - sg->done_cap) / 8);
		sg->done_cap = cap;
	}
	sg->done[i / 8] |= (uint8_t)(1u << i % 8);
}

bool
spool_is_void(const struct spool *sp, uint32_t segno, uint32_t index)
{
	for (size_t i = 0; i < sp->voids_n; i++)
		if (sp->voids[i].segno == segno &&
		    sp->voids[i].index == index)
			return true;
	return false;
}

void
spool_void_add(struct spool *sp, uint32_t segno, uint32_t index)
{
	if (sp->voids_n == sp->voids_cap) {
		sp->voids_cap = sp->voids_cap == 0 ? 16 : sp->voids_cap * 2;
		sp->voids = mem_grow(sp->voids, sp->voids_cap,
		    sizeof *sp->voids);
	}
	sp->voids[sp->voids_n++] = (struct spool_void){ segno, index };
}

static struct spool_part *
spool_part_find(const struct spool *sp, uint32_t segno, uint32_t index)
{
	for (size_t i = 0; i < sp->parts_n; i++)
		if (sp->parts[i].segno == segno &&
		    sp->parts[i].index == index)
			return &sp->parts[i];
	return NULL;
}

struct spool_part
spool_part_get(const struct spool *sp, uint32_t segno, uint32_t index)
{
	const struct spool_part *p = spool_part_find(sp, segno, index);

	return p != NULL ? *p : (struct spool_part){ segno, index, 0, 0, 0 };
}

void
spool_part_set(struct spool *sp, const struct spool_part *part)
{
	struct spool_part *p = spool_part_find(sp, part->segno, part->index);

	if (p == NULL) {
		if (sp->parts_n == sp->parts_cap) {
			sp->parts_cap = sp->parts_cap == 0 ? 16 :
			    sp->parts_cap * 2;
			sp->parts = mem_grow(sp->parts, sp->parts_cap,
			    sizeof *sp->parts);
		}
		p = &sp->parts[sp->parts_n++];
	}
	*p = *part;
}

static void
spool_part_drop(struct spool *sp, uint32_t segno, uint32_t index)
{
	struct spool_part *p = spool_part_find(sp, segno, index);

	if (p != NULL)
		*p = sp->parts[--sp->parts_n];
}

/* Subtract, but never below nothing: damage may have bent a sum. */
static void
spool_take(uint64_t *from, uint64_t n)
{
	*from -= n < *from ? n : *from;
}

static uint32_t
spool_more(uint32_t now, uint32_t before)
{
	return now > before ? now - before : 0;
}

/* The counters move by what the mark says more than was known before. */
static void
spool_apply_counts(struct spool *sp, struct spool_seg *sg,
    const struct spool_mark *m)
{
	struct spool_part before = spool_part_get(sp, m->segno, m->index);
	uint32_t n = spool_more(m->done ? m->events : m->upto,
	    before.finished);
	uint32_t delivered = spool_more(m->delivered, before.delivered);
	uint32_t dead = spool_more(m->dead, before.dead);
	uint64_t sum = (uint64_t)delivered + dead + m->dropped;
	unsigned reason = m->reason < NELEM(sp->totals.dropped) ? m->reason :
	    SPOOL_DROP_CORRUPT;

	sp->totals.delivered += delivered;
	sp->totals.dead += dead;
	sp->totals.dropped[reason] += m->dropped;
	/* Moved to another batch, which has counted them, or taken back. */
	if (sum < n)
		sp->totals.events -= n - sum;
	spool_take(&sg->waiting_events, n);
	spool_take(&sp->waiting.events, n);
}

void
spool_apply(struct spool *sp, struct spool_seg *sg,
    const struct spool_mark *m)
{
	struct spool_part part = { m->segno, m->index, m->upto, m->delivered,
	    m->dead };
	uint64_t rest;

	assert(sg->waiting > 0 && m->index < sg->batches);
	spool_apply_counts(sp, sg, m);
	if (!m->done) {
		spool_part_set(sp, &part);
		return;
	}
	spool_part_drop(sp, m->segno, m->index);
	spool_seg_set_done(sg, m->index);
	if (m->back) {
		spool_void_add(sp, sg->segno, m->index);
		/* The newest goes first: so this finds the next below it. */
		if (sg->owed_seq == m->seq)
			sg->owed_seq--;
	}
	sg->waiting--;
	sp->waiting.batches--;
	sp->totals.done_batches++;
	spool_take(&sg->waiting_bytes, m->body_len);
	spool_take(&sp->waiting.bytes, m->body_len);
	if (sg->waiting > 0)
		return;
	/* The tail is not looked at before it is one no more. */
	if (sg->segno != seglog_tail(sp->log))
		sp->spent = true;
	/* Of batches that were damaged the events are known in sum only. */
	rest = sg->waiting_events;
	sp->totals.dropped[SPOOL_DROP_CORRUPT] += rest;
	spool_take(&sp->waiting.events, rest);
	spool_take(&sp->waiting.bytes, sg->waiting_bytes);
	sg->waiting_events = sg->waiting_bytes = 0;
}
