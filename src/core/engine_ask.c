/*
 * engine_ask: listings. Nothing here changes what the engine holds; a read
 * that meets damage sets it aside as any other read does.
 */
#include "core/engine_ask.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "codec/event.h"
#include "core/engine_int.h"

#define ASK_STEPS	256	/* of a walk, in one call */
#define ASK_RUNS	2048	/* looked at in one step */

/* --- open runs ------------------------------------------------------------ */

bool
engine_order_parse(const char *word, enum engine_order *ret)
{
	static const char *const words[ENGINE_ORDERS] = {
		[ENGINE_BY_AGE] = "age", [ENGINE_BY_RECENT] = "recent",
		[ENGINE_BY_EVENTS] = "events", [ENGINE_BY_BYTES] = "bytes",
	};

	for (unsigned i = 0; i < ENGINE_ORDERS; i++)
		if (strcmp(word, words[i]) == 0) {
			*ret = (enum engine_order)i;
			return true;
		}
	return false;
}

static void
ask_run(const struct engine *e, const struct run *r, struct now now,
    struct engine_run *ret)
{
	*ret = (struct engine_run){
		.runid = r->runid, .runid_len = r->runid_len,
		.part = runs_part(e->runs, r),
		.events = r->n, .bytes = r->json_bytes,
		.age_ms = mono_sub_ms(now.mono, r->first),
		.idle_ms = mono_sub_ms(now.mono, r->last),
		.mark = (uint64_t)r->first.us,
	};
}

/*
 * The first run of the page. The list is in the order of `first`; where the
 * last run of the page before is not open any more, those of its very
 * microsecond come twice rather than never.
 */
static const struct run *
ask_page_first(const struct engine *e, const struct engine_page *page)
{
	const struct run *r;

	if (page == NULL || page->mark == 0)
		return runs_age_first(e->runs);
	r = runs_find(e->runs, page->runid, page->runid_len);
	if (r != NULL && (uint64_t)r->first.us == page->mark)
		return runs_age_next(r);
	r = runs_age_first(e->runs);
	while (r != NULL && (uint64_t)r->first.us < page->mark)
		r = runs_age_next(r);
	return r;
}

size_t
engine_runs(struct engine *e, enum engine_order order,
    const struct engine_page *page, struct now now, struct engine_run *ret,
    size_t n)
{
	const struct run *r;
	size_t used = 0;

	if (order == ENGINE_BY_RECENT) {
		r = runs_idle_last(e->runs);
		for (; r != NULL && used < n; r = runs_idle_prev(r))
			ask_run(e, r, now, &ret[used++]);
		return used;
	}
	assert(order == ENGINE_BY_AGE);
	if (n == 0)
		return 0;
	r = ask_page_first(e, page);
	for (; r != NULL && used < n; r = runs_age_next(r))
		ask_run(e, r, now, &ret[used++]);
	return used;
}

bool
engine_run_find(struct engine *e, const char *runid, size_t len,
    struct now now, struct engine_run *ret)
{
	const struct run *r = runs_find(e->runs, runid, len);

	if (r == NULL)
		return false;
	ask_run(e, r, now, ret);
	return true;
}

/* --- the largest ---------------------------------------------------------- */

/* By its id: it may be gone at the next step. */
struct ask_large {
	uint64_t	weight;
	uint16_t	runid_len;
	char		runid[EVENT_RUNID_MAX + 1];
};

struct engine_top {
	enum engine_order order;
	size_t		 n;		/* that are wanted */
	size_t		 used;
	size_t		 buckets;	/* of the table that `at` is of */
	size_t		 at;
	struct ask_large **heap;	/* the least in front */
};

struct engine_top *
engine_top_begin(enum engine_order order, size_t n)
{
	struct engine_top *t = mem_zalloc(sizeof *t);

	t->order = order;
	t->n = n;
	t->heap = mem_zalloc((n + 1) * sizeof(struct ask_large *));
	return t;
}

void
engine_top_free(struct engine_top *t)
{
	for (size_t i = 0; i < t->used; i++)
		free(t->heap[i]);
	free(t->heap);
	free(t);
}

static void
ask_large_set(struct ask_large *l, uint64_t weight, const struct run *r)
{
	l->weight = weight;
	l->runid_len = r->runid_len;
	memcpy(l->runid, r->runid, r->runid_len);
}

/* Put `l` into the heap of n, whose place i is free, from there downwards. */
static void
ask_heap_sink(struct ask_large **heap, size_t n, size_t i, struct ask_large *l)
{
	size_t k;

	for (; (k = 2 * i + 1) < n; i = k) {
		if (k + 1 < n && heap[k + 1]->weight < heap[k]->weight)
			k++;
		if (heap[k]->weight >= l->weight)
			break;
		heap[i] = heap[k];
	}
	heap[i] = l;
}

static void
ask_heap_put(void *arg, const struct run *r)
{
	struct engine_top *t = arg;
	uint64_t w = t->order == ENGINE_BY_EVENTS ? r->n : r->json_bytes;
	size_t i = t->used;

	if (t->used == t->n) {
		if (t->n == 0 || w <= t->heap[0]->weight)
			return;
		ask_large_set(t->heap[0], w, r);
		ask_heap_sink(t->heap, t->n, 0, t->heap[0]);
		return;
	}
	struct ask_large *l = mem_alloc(sizeof *l);
	ask_large_set(l, w, r);
	for (t->used++; i > 0 && t->heap[(i - 1) / 2]->weight > w;
	    i = (i - 1) / 2)
		t->heap[i] = t->heap[(i - 1) / 2];
	t->heap[i] = l;
}

bool
engine_top_step(struct engine *e, struct engine_top *t)
{
	if (runs_buckets(e->runs) != t->buckets) {
		/* The table has grown or shrunk: from the beginning. */
		while (t->used > 0)
			free(t->heap[--t->used]);
		t->at = 0;
		t->buckets = runs_buckets(e->runs);
	}
	return runs_walk(e->runs, &t->at, ASK_RUNS, ask_heap_put, t);
}

size_t
engine_top_get(struct engine *e, struct engine_top *t, struct now now,
    struct engine_run *ret)
{
	struct ask_large **heap = t->heap;
	size_t got = 0;

	/* Sorted in place: the least goes behind the others. */
	for (size_t n = t->used; n > 1; n--) {
		struct ask_large *least = heap[0], *last = heap[n - 1];

		ask_heap_sink(heap, n - 1, 0, last);
		heap[n - 1] = least;
	}
	for (size_t i = 0; i < t->used; i++)
		got += engine_run_find(e, heap[i]->runid, heap[i]->runid_len,
		    now, &ret[got]);
	return got;
}

/* --- one run -------------------------------------------------------------- */

/* The place of the first event behind this lsn; they are in order. */
static uint32_t
ask_after(const struct run *r, uint64_t lsn)
{
	uint32_t lo = 0, hi = r->n;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		if (runs_lsn(r, mid) <= lsn)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

int
engine_run_events(struct engine *e, const char *runid, size_t len,
    uint64_t *lsn, struct buf *dst, size_t max, struct why *why)
{
	const struct run *run = runs_find(e->runs, runid, len);
	int r = 0;

	if (run == NULL)
		return why_set(why, -ENOENT, "the run is not open");
	uint32_t i = ask_after(run, *lsn);
	for (; i < run->n && dst->len < max; i++) {
		const struct run_event *ev = &run->events[i];
		const char *text;

		r = journal_read(e->journal, ev->place, run->runid_len,
		    &e->scratch, &text, why);
		if (r < 0 && r != -EBADMSG)
			break;
		if (r == 0) {
			buf_puts(dst, "{\"event\":");
			buf_put(dst, text, ev->place.len);
			buf_puts(dst, "}\n");
		}
		r = 0;
		*lsn = runs_lsn(run, i);
	}
	buf_reset(&e->scratch, ENGINE_BUFFER_BYTES);
	return r < 0 ? r : i < run->n;
}

/* --- batches that wait ---------------------------------------------------- */

static bool
ask_is_it(const struct engine_batch *b, uint64_t seq, const char *run,
    size_t run_len)
{
	if (seq != 0)
		return b->ref.seq == seq;
	return run == NULL || (b->b.runid_len == run_len &&
	    memcmp(b->b.runid, run, run_len) == 0);
}

/* 1: *ret is one of those asked for; 0: none is left; -EAGAIN: go on. */
static int
ask_step(struct engine *e, struct engine_walk *w, uint64_t seq,
    const char *run, size_t run_len, struct engine_batch *ret, struct why *why)
{
	struct spool *sp = w->runs ? e->spool : e->records;
	int r = spool_next(sp, &w->cursor, &ret->ref, why);

	if (r < 0)
		return r;
	if (r == 0 && w->runs)
		return 0;
	if (r == 0) {
		w->runs = true;
		w->cursor = (struct spool_cursor){ 0 };
		return -EAGAIN;
	}
	if (seq != 0 && ret->ref.seq != seq)
		return -EAGAIN;
	if (run != NULL && ret->ref.run_hash != runs_hash(run, run_len))
		return -EAGAIN;
	/* A damaged one is the sender's to give up. */
	if (spool_describe(sp, &ret->ref, &ret->b, NULL) < 0 ||
	    !ask_is_it(ret, seq, run, run_len))
		return -EAGAIN;
	ret->record = !w->runs;
	sender_attempts(e->sender, ret->record, ret->ref.seq, &ret->attempts,
	    &ret->in_flight);
	return 1;
}

int
engine_walk_next(struct engine *e, struct engine_walk *w, uint64_t seq,
    const char *run, size_t run_len, struct engine_batch *ret, struct why *why)
{
	int r = -EAGAIN;

	for (int i = 0; r == -EAGAIN && i < ASK_STEPS; i++)
		r = ask_step(e, w, seq, run, run_len, ret, why);
	return r;
}

int
engine_batch_body(struct engine *e, const struct engine_batch *b, uint32_t off,
    void *dst, size_t len, struct why *why)
{
	struct spool *sp = b->record ? e->records : e->spool;

	if (!spool_waits(sp, &b->ref))
		return why_set(why, -ENOENT, "the batch has left the spool");
	return spool_body(sp, &b->ref, off, dst, len, why);
}
