/*
 * runs: a chained hash table (the chain and the hash lie in the run: 16 bytes,
 * where a general table's handle takes 56), three intrusive lists, and a ring
 * of part numbers.
 */
#include "core/runs.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/mem.h"
#include "store/spool.h"

#define RUNS_BUCKETS_MIN	256

struct runs_part {		/* of a run that may come back */
	uint64_t	hash;
	uint32_t	part;
	uint32_t	next;		/* index + 1 in the bucket's chain */
};

struct runs_parted {		/* an open run of a part above 1 */
	struct run	*run;		/* its `parted` is the index + 1 */
	uint32_t	 part;
};

struct runs_list {
	struct run	*head, *tail;
};

struct runs {
	struct run	**buckets;
	size_t		  buckets_n;	/* a power of two */
	size_t		  count;
	uint64_t	  events;
	uint64_t	  bytes;
	struct runs_list  idle, age, due;

	/* The ring: slot i % RUNS_PARTS; untouched pages cost nothing. */
	struct runs_part *parts;
	uint32_t	 *parts_buckets;	/* RUNS_PARTS of them */
	uint64_t	  parts_written;
	struct runs_parted *parted;
	size_t		  parted_n, parted_cap;
	struct journal_part *out;	/* of runs_parts() */
	size_t		  out_n, out_cap;
};

/* The three lists differ only in which link of the run they use. */
#define RUNS_LIST(name)							\
static void								\
runs_##name##_append(struct runs_list *l, struct run *r)		\
{									\
	r->name.next = NULL;						\
	r->name.prev = l->tail;						\
	if (l->tail != NULL)						\
		l->tail->name.next = r;					\
	else								\
		l->head = r;						\
	l->tail = r;							\
}									\
									\
static void								\
runs_##name##_remove(struct runs_list *l, struct run *r)		\
{									\
	if (r->name.prev != NULL)					\
		r->name.prev->name.next = r->name.next;			\
	else								\
		l->head = r->name.next;					\
	if (r->name.next != NULL)					\
		r->name.next->name.prev = r->name.prev;			\
	else								\
		l->tail = r->name.prev;					\
	r->name.prev = r->name.next = NULL;				\
}

RUNS_LIST(idle)
RUNS_LIST(age)
RUNS_LIST(due_link)

struct runs *
runs_new(void)
{
	struct runs *rs = mem_zalloc(sizeof *rs);

	rs->buckets_n = RUNS_BUCKETS_MIN;
	rs->buckets = mem_zalloc(rs->buckets_n * sizeof *rs->buckets);
	rs->parts = mem_zalloc(RUNS_PARTS * sizeof *rs->parts);
	rs->parts_buckets = mem_zalloc(RUNS_PARTS * sizeof(uint32_t));
	return rs;
}

void
runs_free(struct runs *rs)
{
	if (rs == NULL)
		return;
	for (size_t i = 0; i < rs->buckets_n; i++) {
		struct run *next;
		for (struct run *r = rs->buckets[i]; r != NULL; r = next) {
			next = r->hash_next;
			free(r->events);
			free(r);
		}
	}
	free(rs->buckets);
	free(rs->parts);
	free(rs->parted);
	free(rs->out);
	free(rs->parts_buckets);
	free(rs);
}

uint64_t
runs_hash(const char *runid, size_t len)
{
	return XXH3_64bits(runid, len);
}

static struct run *
runs_find_hash(const struct runs *rs, uint64_t hash, const char *runid,
    size_t len)
{
	struct run *r = rs->buckets[hash & (rs->buckets_n - 1)];

	for (; r != NULL; r = r->hash_next)
		if (r->hash == hash && r->runid_len == len &&
		    memcmp(r->runid, runid, len) == 0)
			return r;
	return NULL;
}

struct run *
runs_find(const struct runs *rs, const char *runid, size_t len)
{
	return runs_find_hash(rs, runs_hash(runid, len), runid, len);
}

/* Keep about one run in each bucket, growing and shrinking. */
static void
runs_resize(struct runs *rs, size_t want)
{
	struct run **old = rs->buckets;
	size_t old_n = rs->buckets_n;

	rs->buckets = mem_zalloc(want * sizeof *rs->buckets);
	rs->buckets_n = want;
	for (size_t i = 0; i < old_n; i++) {
		struct run *next;
		for (struct run *r = old[i]; r != NULL; r = next) {
			struct run **slot = &rs->buckets[r->hash & (want - 1)];
			next = r->hash_next;
			r->hash_next = *slot;
			*slot = r;
		}
	}
	free(old);
}

static uint32_t
runs_part_of(const struct runs *rs, uint64_t hash)
{
	uint32_t i = rs->parts_buckets[hash % RUNS_PARTS];

	for (; i != 0; i = rs->parts[i - 1].next)
		if (rs->parts[i - 1].hash == hash)
			return rs->parts[i - 1].part;
	return 1;
}

uint32_t
runs_part(const struct runs *rs, const struct run *r)
{
	return r->parted == 0 ? 1 : rs->parted[r->parted - 1].part;
}

/*
 * Those of a part above 1 are few among many, and each state record has to
 * know them.
 */
void
runs_set_part(struct runs *rs, struct run *r, uint32_t part)
{
	if (part > 1 && r->parted == 0) {
		if (rs->parted_n == rs->parted_cap) {
			rs->parted_cap = rs->parted_cap == 0 ? 64 :
			    rs->parted_cap * 2;
			rs->parted = mem_grow(rs->parted, rs->parted_cap,
			    sizeof *rs->parted);
		}
		rs->parted[rs->parted_n++].run = r;
		r->parted = (uint32_t)rs->parted_n;
	} else if (part <= 1 && r->parted != 0) {
		struct runs_parted *last = &rs->parted[--rs->parted_n];

		last->run->parted = r->parted;
		rs->parted[r->parted - 1] = *last;
		r->parted = 0;
	}
	if (r->parted != 0)
		rs->parted[r->parted - 1].part = part;
}

struct run *
runs_open(struct runs *rs, const char *runid, size_t len, struct now now)
{
	struct run *r = mem_zalloc(offsetof(struct run, runid) + len + 1);

	assert(len > 0 && len <= UINT16_MAX);
	if (rs->count >= rs->buckets_n)
		runs_resize(rs, rs->buckets_n * 2);
	r->hash = runs_hash(runid, len);
	memcpy(r->runid, runid, len);
	r->runid_len = (uint16_t)len;
	runs_set_part(rs, r, runs_part_of(rs, r->hash));
	r->first = r->last = now.mono;
	r->first_wall = now.wall;
	struct run **slot = &rs->buckets[r->hash & (rs->buckets_n - 1)];
	r->hash_next = *slot;
	*slot = r;
	rs->count++;
	runs_idle_append(&rs->idle, r);
	runs_age_append(&rs->age, r);
	return r;
}

void
runs_close(struct runs *rs, struct run *r, uint32_t next_part)
{
	struct run **slot = &rs->buckets[r->hash & (rs->buckets_n - 1)];

	while (*slot != r)
		slot = &(*slot)->hash_next;
	*slot = r->hash_next;
	rs->count--;
	rs->events -= r->n;
	rs->bytes -= r->json_bytes;
	runs_idle_remove(&rs->idle, r);
	runs_age_remove(&rs->age, r);
	runs_clear_due(rs, r);
	runs_set_part(rs, r, 1);	/* no more among those of a part */
	runs_remember(rs, r->hash, next_part);
	free(r->events);
	free(r);
	if (rs->buckets_n > RUNS_BUCKETS_MIN && rs->count < rs->buckets_n / 8)
		runs_resize(rs, rs->buckets_n / 4);
}

void
runs_add(struct runs *rs, struct run *r, struct journal_place place,
    uint64_t lsn, struct now now)
{
	if (r->n == r->cap) {
		r->cap = r->cap == 0 ? 4 : r->cap + r->cap / 2;
		r->events = mem_grow(r->events, r->cap, sizeof *r->events);
	}
	if (r->n == 0) {
		/* What an `end` alone has opened has no age of its own. */
		r->first = now.mono;
		r->first_wall = now.wall;
		runs_age_remove(&rs->age, r);
		runs_age_append(&rs->age, r);
	}
	r->events[r->n].place = place;
	r->events[r->n].lsn_low = (uint32_t)lsn;
	r->n++;
	r->json_bytes += place.len;
	r->last_lsn = lsn;
	r->last = now.mono;
	rs->events++;
	rs->bytes += place.len;
	if (r->idle.next != NULL) {
		runs_idle_remove(&rs->idle, r);
		runs_idle_append(&rs->idle, r);
	}
}

void
runs_cut(struct runs *rs, struct run *r, uint32_t k, struct now now)
{
	uint64_t bytes = 0;

	assert(k <= r->n);
	for (uint32_t i = 0; i < k; i++)
		bytes += r->events[i].place.len;
	memmove(r->events, r->events + k, (r->n - k) * sizeof *r->events);
	r->n -= k;
	r->json_bytes -= bytes;
	rs->events -= k;
	rs->bytes -= bytes;
	r->first = now.mono;
	r->first_wall = now.wall;
	runs_age_remove(&rs->age, r);
	runs_age_append(&rs->age, r);
}

void
runs_prepend(struct runs *rs, struct run *r, const struct run_event *events,
    uint32_t n, uint64_t last_lsn, struct now now)
{
	if (r->n + n > r->cap) {
		r->cap = r->n + n;
		r->events = mem_grow(r->events, r->cap, sizeof *r->events);
	}
	if (r->n == 0) {
		r->first = now.mono;
		r->first_wall = now.wall;
		if (r->last_lsn < last_lsn)
			r->last_lsn = last_lsn;
	}
	memmove(r->events + n, r->events, r->n * sizeof *r->events);
	memcpy(r->events, events, n * sizeof *r->events);
	r->n += n;
	rs->events += n;
	for (uint32_t i = 0; i < n; i++) {
		r->json_bytes += events[i].place.len;
		rs->bytes += events[i].place.len;
	}
}

uint64_t
runs_lsn(const struct run *r, uint32_t i)
{
	/* A run's events span far fewer than 2^32 records. */
	return r->last_lsn - (uint32_t)((uint32_t)r->last_lsn -
	    r->events[i].lsn_low);
}

void
runs_remove(struct runs *rs, struct run *r, uint32_t i)
{
	uint32_t len = r->events[i].place.len;

	memmove(r->events + i, r->events + i + 1,
	    (r->n - i - 1) * sizeof *r->events);
	r->n--;
	r->json_bytes -= len;
	rs->events--;
	rs->bytes -= len;
}

void
runs_set_due(struct runs *rs, struct run *r, unsigned reason)
{
	if (r->due == 0)
		runs_due_link_append(&rs->due, r);
	if (r->due != SPOOL_END)
		r->due = (uint8_t)reason;
}

void
runs_clear_due(struct runs *rs, struct run *r)
{
	if (r->due == 0)
		return;
	runs_due_link_remove(&rs->due, r);
	r->due = 0;
}

struct run *
runs_due(const struct runs *rs)
{
	return rs->due.head;
}

struct run *
runs_idle_first(const struct runs *rs)
{
	return rs->idle.head;
}

struct run *
runs_idle_next(const struct run *r)
{
	return r->idle.next;
}

struct run *
runs_age_next(const struct run *r)
{
	return r->age.next;
}

struct run *
runs_idle_last(const struct runs *rs)
{
	return rs->idle.tail;
}

struct run *
runs_idle_prev(const struct run *r)
{
	return r->idle.prev;
}

struct run *
runs_age_first(const struct runs *rs)
{
	return rs->age.head;
}

bool
runs_walk(const struct runs *rs, size_t *at, size_t some,
    void (*fn)(void *, const struct run *), void *arg)
{
	size_t told = 0, end = *at + some;

	/* Empty buckets are work, too. */
	for (; *at < rs->buckets_n && *at < end && told < some; (*at)++)
		for (const struct run *r = rs->buckets[*at]; r != NULL;
		    r = r->hash_next, told++)
			fn(arg, r);
	return *at < rs->buckets_n;
}

size_t
runs_buckets(const struct runs *rs)
{
	return rs->buckets_n;
}

size_t
runs_count(const struct runs *rs)
{
	return rs->count;
}

uint64_t
runs_events(const struct runs *rs)
{
	return rs->events;
}

uint64_t
runs_bytes(const struct runs *rs)
{
	return rs->bytes;
}

/* Take slot i out of its chain, so that it can be written anew. */
static void
runs_part_unlink(struct runs *rs, uint32_t i)
{
	uint32_t *at = &rs->parts_buckets[rs->parts[i].hash % RUNS_PARTS];

	while (*at != 0 && *at != i + 1)
		at = &rs->parts[*at - 1].next;
	if (*at != 0)
		*at = rs->parts[i].next;
}

void
runs_remember(struct runs *rs, uint64_t hash, uint32_t part)
{
	uint32_t *bucket = &rs->parts_buckets[hash % RUNS_PARTS];

	for (uint32_t i = *bucket; i != 0; i = rs->parts[i - 1].next)
		if (rs->parts[i - 1].hash == hash) {
			rs->parts[i - 1].part = part;
			return;
		}
	/* Part 1 is what an unknown run gets anyway. */
	if (part <= 1)
		return;
	uint32_t slot = (uint32_t)(rs->parts_written++ % RUNS_PARTS);
	if (rs->parts[slot].part != 0)
		runs_part_unlink(rs, slot);
	rs->parts[slot] = (struct runs_part){ hash, part, *bucket };
	*bucket = slot + 1;
}

static void
runs_parts_put(struct runs *rs, uint64_t hash, uint32_t part)
{
	if (rs->out_n == rs->out_cap) {
		rs->out_cap = rs->out_cap == 0 ? 256 : rs->out_cap * 2;
		rs->out = mem_grow(rs->out, rs->out_cap, sizeof *rs->out);
	}
	rs->out[rs->out_n++] = (struct journal_part){ hash, part };
}

size_t
runs_parts(struct runs *rs, const struct journal_part **ret)
{
	uint64_t end = rs->parts_written;
	uint64_t from = end > RUNS_PARTS ? end - RUNS_PARTS : 0;

	rs->out_n = 0;
	for (uint64_t i = from; i < end; i++)
		runs_parts_put(rs, rs->parts[i % RUNS_PARTS].hash,
		    rs->parts[i % RUNS_PARTS].part);
	for (size_t i = 0; i < rs->parted_n; i++)
		runs_parts_put(rs, rs->parted[i].run->hash,
		    rs->parted[i].part);
	*ret = rs->out;
	return rs->out_n;
}
