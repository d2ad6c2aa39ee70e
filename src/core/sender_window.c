/*
 * sender_window: a slot is a lane's head when it lies in the hash of lanes;
 * the others of the lane hang behind it by lane_next, in order of seq, because
 * the cursor meets them in that order.
 */
#include "core/sender_window.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static void
window_list_append(struct slot_list *l, struct slot *s)
{
	s->next = NULL;
	s->prev = l->tail;
	if (l->tail != NULL)
		l->tail->next = s;
	else
		l->head = s;
	l->tail = s;
	l->n++;
}

static void
window_list_remove(struct slot_list *l, struct slot *s)
{
	if (s->prev != NULL)
		s->prev->next = s->next;
	else
		l->head = s->next;
	if (s->next != NULL)
		s->next->prev = s->prev;
	else
		l->tail = s->prev;
	s->prev = s->next = NULL;
	l->n--;
}

/* Keep the ready list in order of seq: an older batch goes before newer. */
static void
window_list_insert(struct slot_list *l, struct slot *s)
{
	struct slot *at = l->tail;

	/* Nearly always it belongs at one of the ends. */
	if (l->head != NULL && s->ref.seq < l->head->ref.seq)
		at = NULL;
	else
		while (at != NULL && at->ref.seq > s->ref.seq)
			at = at->prev;
	s->prev = at;
	s->next = at != NULL ? at->next : l->head;
	if (s->next != NULL)
		s->next->prev = s;
	else
		l->tail = s;
	if (at != NULL)
		at->next = s;
	else
		l->head = s;
	l->n++;
}

uint32_t
window_piece_end(uint32_t n, uint32_t k)
{
	uint32_t lo = 0, hi = n;

	while (lo != k) {
		uint32_t mid = lo + (hi - lo) / 2;
		if (k < mid)
			hi = mid;
		else
			lo = mid;
	}
	return hi;
}

void
window_init(struct window *w, struct spool *spool, size_t n)
{
	memset(w, 0, sizeof *w);
	w->spool = spool;
	w->inherited = spool_seq(spool);
	w->slots_n = n;
	w->slots = mem_zalloc(n * sizeof *w->slots);
	w->buckets_n = n;
	w->buckets = mem_zalloc(n * sizeof(struct slot *));
}

void
window_relax(struct window *w)
{
	if (w->oldest != NULL)
		return;
	w->free = (struct slot_list){ .n = 0 };
	w->touched = 0;
	mem_forget(w->slots, w->slots_n * sizeof *w->slots);
}

static bool
window_has_room(const struct window *w)
{
	return w->free.head != NULL || w->touched < w->slots_n;
}

/* One that was used before, so that memory grows with the backlog only. */
static struct slot *
window_free_slot(struct window *w)
{
	struct slot *s = w->free.head;

	if (s != NULL) {
		window_list_remove(&w->free, s);
		return s;
	}
	s = &w->slots[w->touched];
	s->index = (uint32_t)w->touched++;
	return s;
}

void
window_free(struct window *w)
{
	for (size_t i = 0; i < w->touched; i++) {
		buf_free(&w->slots[i].raw);
		free(w->slots[i].fate);
	}
	free(w->slots);
	free(w->buckets);
}

static struct slot **
window_bucket(struct window *w, uint64_t lane)
{
	return &w->buckets[(lane ^ lane >> 32) & (w->buckets_n - 1)];
}

static void
window_enter_lane(struct window *w, struct slot *s)
{
	struct slot **bucket = window_bucket(w, s->lane);
	struct slot *head = *bucket;

	while (head != NULL && head->lane != s->lane)
		head = head->hash_next;
	s->lane_next = NULL;
	if (head != NULL) {
		head->lane_tail->lane_next = s;
		head->lane_tail = s;
		s->state = SLOT_BLOCKED;
		return;
	}
	s->lane_tail = s;
	s->hash_next = *bucket;
	*bucket = s;
	s->state = SLOT_READY;
	window_list_insert(&w->ready, s);
}

static void
window_add(struct window *w, const struct spool_ref *ref)
{
	struct slot *s = window_free_slot(w);

	s->generation = ++w->generation;
	s->attempts = s->stale = 0;
	s->letter = 0;
	s->not_before = (struct mono){ 0 };
	s->spool = w->spool;
	s->ref = *ref;
	s->doubt = s->inherited = ref->seq <= w->inherited;
	s->conflict = (struct mono){ 0 };
	/*
	 * It was being cut in pieces when the process ended. The piece that
	 * was under way is met again under its own id: what begins here is
	 * asked for as it was then, and cut by the same refusals.
	 */
	s->split = ref->finished > 0;
	s->lo = ref->finished;
	s->hi = window_piece_end(ref->events, s->lo);
	s->lane = ref->run_hash;
	s->newer = NULL;
	s->older = w->newest;
	if (w->newest != NULL)
		w->newest->newer = s;
	else
		w->oldest = s;
	w->newest = s;
	window_enter_lane(w, s);
}

int
window_fill(struct window *w, struct why *why)
{
	uint64_t durable = spool_durable(w->spool);

	while (window_has_room(w) && w->seen < durable) {
		struct spool_cursor c = w->cursor;
		struct spool_ref ref;
		int r = spool_next(w->spool, &c, &ref, why);

		if (r < 0) {
			w->cursor = c;	/* it counts the tries */
			return r;
		}
		if (r == 0) {
			w->cursor = c;
			w->seen = durable;
			break;
		}
		if (ref.seq > durable)
			break;
		w->cursor = c;
		w->seen = ref.seq;
		window_add(w, &ref);
	}
	return 0;
}

void
window_hurry(struct window *w)
{
	for (struct slot *s = w->later.head; s != NULL; s = s->next)
		s->not_before = (struct mono){ 0 };
}

struct slot *
window_pick(struct window *w, struct mono now)
{
	struct slot *next;

	for (struct slot *s = w->later.head; s != NULL; s = next) {
		next = s->next;
		if (s->not_before.us > now.us)
			continue;
		window_list_remove(&w->later, s);
		s->state = SLOT_READY;
		window_list_insert(&w->ready, s);
	}
	return w->ready.head;
}

struct mono
window_next(const struct window *w)
{
	struct mono t = MONO_NEVER;

	for (const struct slot *s = w->later.head; s != NULL; s = s->next)
		t = mono_min(t, s->not_before);
	return t;
}

void
window_take(struct window *w, struct slot *s)
{
	assert(s->state == SLOT_READY);
	window_list_remove(&w->ready, s);
	s->state = SLOT_FLIGHT;
}

void
window_put_back(struct window *w, struct slot *s, struct mono not_before,
    struct mono now, bool to_tail)
{
	if (s->state == SLOT_READY)
		window_list_remove(&w->ready, s);
	else if (s->state == SLOT_BURY)
		window_list_remove(&w->bury, s);
	s->not_before = not_before;
	if (not_before.us > now.us) {
		s->state = SLOT_LATER;
		window_list_append(&w->later, s);
		return;
	}
	s->state = SLOT_READY;
	if (to_tail)
		window_list_append(&w->ready, s);
	else
		window_list_insert(&w->ready, s);
}

void
window_bury(struct window *w, struct slot *s)
{
	assert(s->state == SLOT_FLIGHT);
	s->state = SLOT_BURY;
	window_list_append(&w->bury, s);
}

static void
window_leave_lane(struct window *w, struct slot *s)
{
	struct slot **at = window_bucket(w, s->lane);
	struct slot *next = s->lane_next;

	while (*at != s)
		at = &(*at)->hash_next;
	if (next == NULL) {
		*at = s->hash_next;
		return;
	}
	next->hash_next = s->hash_next;
	next->lane_tail = s->lane_tail;
	*at = next;
	next->state = SLOT_READY;
	window_list_insert(&w->ready, next);
}

void
window_finish(struct window *w, struct slot *s)
{
	assert(s->state != SLOT_FREE && s->state != SLOT_BLOCKED);
	if (s->state == SLOT_READY)
		window_list_remove(&w->ready, s);
	else if (s->state == SLOT_LATER)
		window_list_remove(&w->later, s);
	else if (s->state == SLOT_BURY)
		window_list_remove(&w->bury, s);
	window_leave_lane(w, s);
	if (s->older != NULL)
		s->older->newer = s->newer;
	else
		w->oldest = s->newer;
	if (s->newer != NULL)
		s->newer->older = s->older;
	else
		w->newest = s->older;
	buf_free(&s->raw);
	buf_init(&s->raw, 0);
	free(s->fate);
	s->fate = NULL;
	s->state = SLOT_FREE;
	window_list_append(&w->free, s);
}
