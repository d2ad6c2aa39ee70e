/*
 * sender_split: a batch of which the upstream takes only a part.
 *
 * The pieces of a batch of n events are the nodes of the binary tree over
 * [0, n), visited from left to right, so that order is kept and what is
 * finished is always a prefix: one number in the spool (spool_progress())
 * tells a restart where to go on. A piece's id and bytes follow from the
 * batch and its place alone: every attempt sends the same.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "codec/batch.h"
#include "core/bury.h"
#include "core/sender_int.h"

/* Fixed, so that a changed configuration does not change a piece's bytes. */
#define SENDER_SPLIT_LEVEL	3

void
sender_split_id(const struct slot *slot, const struct spool_batch *batch,
    char dst[SPOOL_ID_MAX + 24])
{
	if (!slot->split || (slot->lo == 0 && slot->hi == slot->ref.events))
		(void)snprintf(dst, SPOOL_ID_MAX + 24, "%s", batch->id);
	else
		(void)snprintf(dst, SPOOL_ID_MAX + 24, "%s.%" PRIu32 "-%"
		    PRIu32, batch->id, slot->lo, slot->hi - 1);
}

struct sender_pick {
	const struct slot	*slot;
	uint8_t			 fate;	/* only those, where fates are known */
	struct bury_event	*events;
	size_t			 n;
	size_t			 bytes;
};

static int
sender_pick_one(void *arg, size_t i, const char *json, size_t len)
{
	struct sender_pick *p = arg;
	const struct slot *s = p->slot;

	if (i < s->lo || i >= s->hi ||
	    (s->fate != NULL && s->fate[i - s->lo] != p->fate))
		return 0;
	p->events[p->n++] = (struct bury_event){ (uint32_t)i, json, len };
	p->bytes += len;
	return 0;
}

/*
 * Find the events of the piece (those with this fate) in the batch's JSON,
 * which is unpacked to s->parent and stays valid until sender_pick_free().
 */
static int
sender_pick(struct sender *s, const struct slot *slot,
    const struct spool_batch *batch, uint8_t fate, struct sender_pick *p,
    struct why *why)
{
	struct buf body;
	int r;

	*p = (struct sender_pick){ .slot = slot, .fate = fate };
	buf_init(&body, 0);
	uint8_t *dst = buf_room(&body, slot->ref.body_len);
	if (dst == NULL)
		return why_set(why, -ENOMEM, "no memory for a batch");
	r = spool_body(slot->spool, &slot->ref, 0, dst, slot->ref.body_len,
	    why);
	if (r == 0) {
		buf_reset(&s->parent, 0);
		r = batch_unpack(dst, slot->ref.body_len, &s->parent, why);
	}
	buf_free(&body);
	if (r < 0)
		return r;
	p->events = mem_alloc((slot->hi - slot->lo) * sizeof *p->events);
	if (batch->kind != SPOOL_RUN) {
		/* A record is its own and only event. */
		return sender_pick_one(p, 0, (char *)s->parent.data,
		    s->parent.len);
	}
	r = batch_walk((const char *)s->parent.data, s->parent.len,
	    sender_pick_one, p);
	if (r < 0) {
		free(p->events);
		return why_set(why, r, "batch %" PRIu64 ": no body of ours",
		    slot->ref.seq);
	}
	return 0;
}

static void
sender_pick_free(struct sender *s, struct sender_pick *p)
{
	free(p->events);
	buf_reset(&s->parent, 0);
}

/* Pack the picked events as a body; it belongs to s->packer. */
static int
sender_pack(struct sender *s, const struct spool_batch *batch,
    const struct sender_pick *p, const uint8_t **ret, size_t *ret_len,
    size_t *ret_raw, struct why *why)
{
	if (s->packer == NULL)
		s->packer = batch_new();
	int r = batch_begin(s->packer, batch->runid, batch->runid_len, p->n,
	    p->bytes, SENDER_SPLIT_LEVEL, why);
	for (size_t i = 0; r == 0 && i < p->n; i++) {
		r = batch_event_begin(s->packer);
		if (r == 0)
			r = batch_event_piece(s->packer, p->events[i].json,
			    p->events[i].len, why);
	}
	if (r == 0)
		r = batch_end(s->packer, ret, ret_len, ret_raw, why);
	return r;
}

int
sender_split_build(struct sender *s, struct slot *slot,
    const struct spool_batch *batch, bool plain, struct why *why)
{
	struct sender_pick p;
	const uint8_t *body;
	size_t len, raw;

	assert(slot->fate == NULL);
	int r = sender_pick(s, slot, batch, 0, &p, why);
	if (r < 0)
		return r;
	r = sender_pack(s, batch, &p, &body, &len, &raw, why);
	sender_pick_free(s, &p);
	if (r < 0)
		return r;
	slot->json_len = raw;
	buf_free(&slot->raw);
	buf_init(&slot->raw, 0);
	if (plain) {
		r = batch_unpack(body, len, &slot->raw, why);
	} else {
		buf_put(&slot->raw, body, len);
		r = buf_error(&slot->raw);
	}
	if (r < 0) {
		buf_free(&slot->raw);
		buf_init(&slot->raw, 0);
	}
	return r;
}

/*
 * Another piece, under an id that this process has not used. An earlier one
 * may have, of any piece: its marks are lost where it lost power.
 */
static void
sender_split_fresh(struct slot *slot)
{
	slot->attempts = 0;
	slot->doubt = slot->inherited;
	slot->conflict = (struct mono){ 0 };
}

static void
sender_split_halve(struct sender *s, int class, struct slot *slot,
    struct mono now)
{
	assert(slot->hi - slot->lo > 1);
	slot->split = true;
	slot->hi = slot->lo + (slot->hi - slot->lo) / 2;
	sender_split_fresh(slot);
	buf_free(&slot->raw);
	buf_init(&slot->raw, 0);
	window_put_back(&s->window[class], slot, (struct mono){ 0 }, now,
	    false);
}

/*
 * The upstream asked for some events to be sent again later: they become a
 * batch of their own, behind the others.
 */
static uint32_t
sender_split_again(struct sender *s, struct slot *slot)
{
	struct spool_batch *b = &s->batch;
	struct sender_pick p;
	struct spool_ref ref;
	const uint8_t *body;
	size_t len, raw;
	struct why why = { "" };

	int r = spool_describe(slot->spool, &slot->ref, b, &why);
	if (r == 0)
		r = sender_pick(s, slot, b, BURY_AGAIN, &p, &why);
	if (r == 0) {
		r = sender_pack(s, b, &p, &body, &len, &raw, &why);
		if (r == 0) {
			b->parent = slot->ref.seq;
			b->parent_from = slot->lo;
			b->id[0] = '\0';
			b->events = (uint32_t)p.n;
			b->raw_len = (uint32_t)raw;
			b->compressed = true;
			r = spool_append(slot->spool, b, body, len, &ref,
			    &why);
		}
		sender_pick_free(s, &p);
	}
	if (r < 0) {
		log_warn("batch_not_split", LU("batch", slot->ref.seq),
		    LS("error", why.text));
		return UINT32_MAX;
	}
	return ref.events;
}

/* Events [lo, hi) are finished; go on behind them. */
static void
sender_split_advance(struct sender *s, int class, struct slot *slot,
    struct now now)
{
	uint32_t n = slot->hi - slot->lo, dead = 0, again = 0;

	for (uint32_t i = 0; slot->fate != NULL && i < n; i++) {
		dead += slot->fate[i] == BURY_REFUSED;
		again += slot->fate[i] == BURY_AGAIN;
	}
	if (again > 0 && sender_split_again(s, slot) == UINT32_MAX) {
		/* Not possible now: the whole piece once more, later. */
		free(slot->fate);
		slot->fate = NULL;
		window_put_back(&s->window[class], slot, mono_add_ms(now.mono,
		    SENDER_LOCAL_RETRY_MS), now.mono, false);
		return;
	}
	free(slot->fate);
	slot->fate = NULL;
	/* A mark that cannot be written now is kept and written later. */
	if (slot->hi == slot->ref.events) {
		(void)spool_done(slot->spool, &slot->ref, n - dead - again,
		    dead, 0, SPOOL_DROP_OPERATOR, NULL);
		window_finish(&s->window[class], slot);
		return;
	}
	(void)spool_progress(slot->spool, &slot->ref, slot->hi,
	    n - dead - again, dead, NULL);
	slot->lo = slot->hi;
	slot->hi = window_piece_end(slot->ref.events, slot->lo);
	slot->letter = 0;
	sender_split_fresh(slot);
	window_put_back(&s->window[class], slot, (struct mono){ 0 }, now.mono,
	    false);
}

/* Write the letter; what follows waits until it is durable. */
static void
sender_split_bury(struct sender *s, int class, struct slot *slot,
    const struct transport_answer *a, struct now now)
{
	struct spool_batch *b = &s->batch;
	struct sender_pick p;
	struct why why = { "" };
	struct buf text;

	buf_init(&text, 0);
	int r = spool_describe(slot->spool, &slot->ref, b, &why);
	if (r == 0)
		r = sender_pick(s, slot, b, BURY_REFUSED, &p, &why);
	if (r == 0) {
		bury_text(&text, b, now.wall, slot->attempts + 1, a, p.events,
		    p.n);
		r = buf_error(&text);
		if (r == 0)
			r = dead_write(s->env.dead, now.wall, b->id,
			    p.events[0].index, (uint32_t)p.n,
			    slot->inherited || slot->letter != 0, text.data,
			    text.len, &why);
		sender_pick_free(s, &p);
	}
	buf_free(&text);
	if (r < 0) {
		if (r != -EAGAIN)
			log_error("dead_letter_failed", LS("error", why.text));
		free(slot->fate);
		slot->fate = NULL;
		window_put_back(&s->window[class], slot, mono_add_ms(now.mono,
		    r == -EAGAIN ? 50 : SENDER_LOCAL_RETRY_MS), now.mono,
		    false);
		return;
	}
	slot->letter = dead_written(s->env.dead);
	window_bury(&s->window[class], slot);
}

void
sender_split_refused(struct sender *s, int class, struct slot *slot,
    const struct transport_answer *a, struct now now)
{
	if (slot->hi - slot->lo > 1) {
		if (a->status == 413 && (s->max_raw == 0 ||
		    slot->json_len / 2 < s->max_raw))
			s->max_raw = slot->json_len / 2;
		sender_split_halve(s, class, slot, now.mono);
		return;
	}
	slot->fate = mem_alloc(1);
	slot->fate[0] = BURY_REFUSED;
	sender_split_bury(s, class, slot, a, now);
}

void
sender_split_taken(struct sender *s, int class, struct slot *slot,
    const struct transport_answer *a, struct now now)
{
	uint32_t n = slot->hi - slot->lo;

	/* The common case costs nothing: no body that lists anything. */
	if (a->body_len >= 2) {
		uint8_t *fate = mem_alloc(n);
		if (bury_partial(a, fate, n))
			slot->fate = fate;
		else
			free(fate);
	}
	if (slot->fate != NULL && memchr(slot->fate, BURY_REFUSED, n) != NULL)
		sender_split_bury(s, class, slot, a, now);
	else
		sender_split_advance(s, class, slot, now);
}

void
sender_letters(struct sender *s, bool ok, struct now now)
{
	uint64_t durable = dead_durable(s->env.dead);

	for (int c = 0; c < SENDER_CLASSES; c++) {
		struct window *w = &s->window[c];
		struct slot *next;

		for (struct slot *slot = w->bury.head; slot != NULL;
		    slot = next) {
			next = slot->next;
			if (ok && slot->letter <= durable) {
				sender_split_advance(s, c, slot, now);
			} else if (!ok) {
				free(slot->fate);
				slot->fate = NULL;
				window_put_back(w, slot, (struct mono){ 0 },
				    now.mono, false);
			}
		}
	}
}
