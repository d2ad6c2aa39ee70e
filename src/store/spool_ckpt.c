/*
 * spool_ckpt: the checkpoint that each segment begins with; spool.c draws it.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "store/le.h"
#include "store/spool.h"
#include "store/spool_int.h"

#define CKPT_LEN	192
#define CKPT_BATCHES	(1u << 20)	/* a segment that says more lies */
#define CKPT_SEG	72
#define CKPT_VOID	8
#define CKPT_PART	20

static uint32_t
ckpt_bitmap(const struct spool_seg *sg)
{
	return sg->waiting == 0 || sg->waiting == sg->batches ? 0 :
	    (sg->batches + 7) / 8;
}

static void
ckpt_put_seg(const struct spool_seg *sg, uint8_t *p)
{
	le_put32(p, sg->segno);
	le_put32(p + 4, sg->batches);
	le_put32(p + 8, sg->waiting);
	le_put32(p + 12, ckpt_bitmap(sg));
	le_put64(p + 16, sg->first_seq);
	le_put64(p + 24, sg->last_seq);
	le_put64(p + 32, sg->events);
	le_put64(p + 40, sg->bytes);
	le_put64(p + 48, sg->waiting_events);
	le_put64(p + 56, sg->waiting_bytes);
	le_put64(p + 64, sg->owed_seq);
}

void
spool_on_checkpoint(void *arg, uint32_t segno, struct buf *out)
{
	const struct spool *sp = arg;
	const struct spool_totals *t = &sp->totals;
	uint8_t p[CKPT_LEN];

	le_put64(p, sp->seq);
	le_put64(p + 8, t->batches);
	le_put64(p + 16, t->events);
	le_put64(p + 24, t->delivered);
	le_put64(p + 32, t->dead);
	le_put64(p + 40, t->done_batches);
	for (size_t i = 0; i < NELEM(t->dropped); i++)
		le_put64(p + 48 + i * 8, t->dropped[i]);
	le_put32(p + 176, (uint32_t)sp->n);
	le_put32(p + 180, (uint32_t)sp->voids_n);
	le_put32(p + 184, (uint32_t)sp->parts_n);
	le_put32(p + 188, 0);
	buf_put(out, p, CKPT_LEN);
	for (size_t i = 0; i < sp->n; i++) {
		const struct spool_seg *sg = &sp->segs[i];
		uint32_t bits = ckpt_bitmap(sg), have = sg->done_cap / 8;

		ckpt_put_seg(sg, p);
		buf_put(out, p, CKPT_SEG);
		if (bits <= have) {
			buf_put(out, sg->done, bits);
			continue;
		}
		buf_put(out, sg->done, have);
		memset(p, 0, sizeof p);
		for (uint32_t n = bits - have; n > 0;) {
			uint32_t k = n < sizeof p ? n : (uint32_t)sizeof p;

			buf_put(out, p, k);
			n -= k;
		}
	}
	for (size_t i = 0; i < sp->voids_n; i++) {
		le_put32(p, sp->voids[i].segno);
		le_put32(p + 4, sp->voids[i].index);
		buf_put(out, p, CKPT_VOID);
	}
	for (size_t i = 0; i < sp->parts_n; i++) {
		le_put32(p, sp->parts[i].segno);
		le_put32(p + 4, sp->parts[i].index);
		le_put32(p + 8, sp->parts[i].finished);
		le_put32(p + 12, sp->parts[i].delivered);
		le_put32(p + 16, sp->parts[i].dead);
		buf_put(out, p, CKPT_PART);
	}
}

/* Do the bits say as many as the numbers do? */
static bool
ckpt_bits_fit(const uint8_t *bits, uint32_t len, uint32_t batches,
    uint32_t waiting)
{
	uint32_t done = 0;

	if (len == 0)
		return waiting == 0 || waiting == batches;
	for (uint32_t i = 0; i < len; i++)
		done += (uint32_t)__builtin_popcount(bits[i]);
	return done == batches - waiting;
}

bool
spool_ckpt_sound(const uint8_t *p, size_t len)
{
	uint64_t rest;
	uint32_t n, last = 0;

	if (len < CKPT_LEN)
		return false;
	n = le_get32(p + 176);
	rest = (uint64_t)le_get32(p + 180) * CKPT_VOID +
	    (uint64_t)le_get32(p + 184) * CKPT_PART;
	p += CKPT_LEN;
	len -= CKPT_LEN;
	for (uint32_t i = 0; i < n; i++) {
		uint32_t batches, waiting, bits;

		if (len < CKPT_SEG || le_get32(p) <= last)
			return false;
		last = le_get32(p);
		batches = le_get32(p + 4);
		waiting = le_get32(p + 8);
		bits = le_get32(p + 12);
		if (waiting > batches || batches > CKPT_BATCHES || (bits != 0 && bits !=
		    (batches - 1) / 8 + 1) || bits > len - CKPT_SEG ||
		    !ckpt_bits_fit(p + CKPT_SEG, bits, batches, waiting))
			return false;
		p += CKPT_SEG + bits;
		len -= CKPT_SEG + bits;
	}
	return len == rest;
}

static size_t
ckpt_get_seg(struct spool *sp, const uint8_t *p)
{
	struct spool_seg *sg = spool_seg_add(sp, le_get32(p));
	uint32_t bits = le_get32(p + 12);

	sg->batches = le_get32(p + 4);
	sg->waiting = le_get32(p + 8);
	sg->first_seq = le_get64(p + 16);
	sg->last_seq = le_get64(p + 24);
	sg->events = le_get64(p + 32);
	sg->bytes = le_get64(p + 40);
	sg->waiting_events = le_get64(p + 48);
	sg->waiting_bytes = le_get64(p + 56);
	sg->owed_seq = le_get64(p + 64);
	if (bits > 0) {
		sg->done = mem_dup(p + CKPT_SEG, bits);
		sg->done_cap = bits * 8;
	}
	sp->waiting.batches += sg->waiting;
	sp->waiting.events += sg->waiting_events;
	sp->waiting.bytes += sg->waiting_bytes;
	return CKPT_SEG + bits;
}

void
spool_ckpt_adopt(struct spool *sp, const uint8_t *p)
{
	struct spool_totals *t = &sp->totals;
	uint32_t n = le_get32(p + 176), voids = le_get32(p + 180);
	uint32_t parts = le_get32(p + 184);

	sp->seq = le_get64(p);
	t->batches = le_get64(p + 8);
	t->events = le_get64(p + 16);
	t->delivered = le_get64(p + 24);
	t->dead = le_get64(p + 32);
	t->done_batches = le_get64(p + 40);
	for (size_t i = 0; i < NELEM(t->dropped); i++)
		t->dropped[i] = le_get64(p + 48 + i * 8);
	p += CKPT_LEN;
	for (uint32_t i = 0; i < n; i++)
		p += ckpt_get_seg(sp, p);
	sp->voids = mem_alloc((size_t)voids * sizeof *sp->voids + 1);
	sp->voids_n = sp->voids_cap = voids;
	for (uint32_t i = 0; i < voids; i++, p += CKPT_VOID)
		sp->voids[i] = (struct spool_void){ le_get32(p),
		    le_get32(p + 4) };
	for (uint32_t i = 0; i < parts; i++, p += CKPT_PART) {
		struct spool_part part = { le_get32(p), le_get32(p + 4),
		    le_get32(p + 8), le_get32(p + 12), le_get32(p + 16) };

		spool_part_set(sp, &part);
	}
}
