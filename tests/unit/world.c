/* world: see world.h. */
#include "tests/unit/world.h"

#include <check.h>
#include <msgpack.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/mem.h"
#include "base/sys.h"
#include "codec/batch.h"
#include "codec/mp.h"
#include "core/engine_int.h"

struct world_ack {
	unsigned	run;
	size_t		from, n;
};

static struct world_ack	*world_acks;
static size_t		 world_acks_cap;

void
world_no_log(void *arg, const char *line, size_t len)
{
}

static int
world_transport_send(struct transport *t, const struct transport_request *rq,
    struct why *why)
{
	struct world *w = (struct world *)((char *)t -
	    offsetof(struct world, transport));

	for (size_t i = 0; i < WORLD_REQUESTS; i++) {
		struct world_request *r = &w->request[i];
		if (r->used)
			continue;
		memset(r, 0, sizeof *r);
		r->used = true;
		r->tag = rq->tag;
		(void)snprintf(r->id, sizeof r->id, "%s", rq->id);
		r->part = rq->part;
		(void)snprintf(r->reason, sizeof r->reason, "%s",
		    rq->reason != NULL ? rq->reason : "");
		r->compressed = rq->compressed;
		r->route = rq->route;
		r->len = rq->body_len;
		r->body = mem_alloc(rq->body_len);
		if (rq->body != NULL)
			memcpy(r->body, rq->body, rq->body_len);
		else
			ck_assert_int_eq(rq->read(rq->arg, rq->tag, 0, r->body,
			    rq->body_len), 0);
		w->sends++;
		if (++w->in_flight > w->max_in_flight)
			w->max_in_flight = w->in_flight;
		return 0;
	}
	return why_set(why, -EAGAIN, "too many requests in the test");
}

static void
world_transport_cancel(struct transport *t, uint64_t tag)
{
}

static uint64_t
world_transport_stamp(struct transport *t)
{
	return ((struct world *)((char *)t -
	    offsetof(struct world, transport)))->key_stamp;
}

static void
world_answer_client(void *arg, uint64_t peer, enum event_code code,
    const char *text, const struct event_ack *ack)
{
	struct world *w = arg;
	struct mp_head h;

	ck_assert_uint_eq(peer, 7);
	ck_assert_int_gt(mp_head(ack->raw, ack->len, &h), 0);
	ck_assert_int_eq(h.type, MP_UINT);
	ck_assert_uint_lt(h.u, w->next_ack);
	if (code != EVENT_OK)
		return;
	const struct world_ack *a = &world_acks[h.u];
	for (size_t i = 0; i < a->n; i++)
		w->run[a->run].events[a->from + i] |= WORLD_ACKED;
	w->acks++;
}

static int
world_sync(void *arg, const struct seglog_sync *set)
{
	struct world *w = arg;

	ck_assert(!w->sync_wanted);
	w->sync_wanted = true;
	w->sync_set = *set;
	return 0;
}

struct world *
world_new(uint64_t seed, const char *dir, const char *conf_text)
{
	struct world *w = mem_zalloc(sizeof *w);
	char text[2048];
	struct why why = { "" };

	rng_seed(&w->rng, seed);
	(void)snprintf(w->dir, sizeof w->dir, "%s", dir);
	int n = snprintf(text, sizeof text,
	    "upstream: {url: \"http://127.0.0.1:1\"}\n%s\n", conf_text);
	ck_assert_int_lt(n, (int)sizeof text);
	ck_assert_msg(conf_parse(text, (size_t)n, "test", false, &w->conf,
	    &why) == 0, "%s", why.text);
	ck_assert_msg(conf_set(w->conf, "storage.dir", dir, &why) == 0, "%s",
	    why.text);
	w->transport.send = world_transport_send;
	w->transport.cancel = world_transport_cancel;
	w->transport.key_stamp = world_transport_stamp;
	w->now.mono.us = 1000000000;
	w->now.wall.us = 1795435200000000;	/* 2026-11-23T12:00:00Z */
	w->sync_auto = true;
	for (size_t i = 0; i < WORLD_RUNS; i++)
		w->run[i].last_taken = -1;
	world_open(w);
	return w;
}

static void
world_forget_requests(struct world *w)
{
	for (size_t i = 0; i < WORLD_REQUESTS; i++)
		if (w->request[i].used) {
			free(w->request[i].body);
			w->request[i].used = false;
		}
	w->in_flight = 0;
}

int
world_try_open(struct world *w, struct why *why)
{
	struct engine_env env = {
		.transport = &w->transport, .answer = world_answer_client,
		.sync = world_sync, .arg = w,
	};

	w->sync_wanted = false;
	rng_seed(&env.rng, rng_u64(&w->rng));
	return engine_open(w->conf, &env, w->now, &w->engine, why);
}

void
world_open(struct world *w)
{
	struct why why = { "" };

	ck_assert_msg(world_try_open(w, &why) == 0, "%s", why.text);
}

void
world_close(struct world *w)
{
	if (w->sync_wanted)
		world_sync_end(w, 0);
	engine_close(w->engine, w->now);
	w->engine = NULL;
	world_forget_requests(w);
}

void
world_kill(struct world *w)
{
	struct engine *e = w->engine;

	/* A sender that is gone keeps engine_close() from flushing. */
	sender_free(e->sender);
	e->sender = NULL;
	engine_close(e, w->now);
	w->engine = NULL;
	w->sync_wanted = false;
	world_forget_requests(w);
}

void
world_free(struct world *w)
{
	if (w->engine != NULL)
		world_close(w);
	for (size_t i = 0; i < WORLD_RUNS; i++)
		free(w->run[i].events);
	for (size_t i = 0; i < w->taken_n; i++)
		free(w->taken[i].id);
	free(w->taken);
	conf_free(w->conf);
	free(world_acks);
	world_acks = NULL;
	world_acks_cap = 0;
	free(w);
}

static void
world_pack_str(msgpack_packer *pk, const char *s)
{
	msgpack_pack_str(pk, strlen(s));
	msgpack_pack_str_body(pk, s, strlen(s));
}

static void
world_pack_step(struct world *w, msgpack_packer *pk, uint64_t n,
    const char *runid)
{
	static const char pad[] = "the quick brown fox jumps over the lazy dog "
	    "and \"quotes\" and \\ and \n newlines, again and again";
	size_t len = rng_below(&w->rng, sizeof pad);

	msgpack_pack_map(pk, runid != NULL ? 4 : 3);
	if (runid != NULL) {
		world_pack_str(pk, "runId");
		world_pack_str(pk, runid);
	}
	world_pack_str(pk, "n");
	msgpack_pack_uint64(pk, n);
	world_pack_str(pk, "type");
	world_pack_str(pk, "step");
	world_pack_str(pk, "pad");
	msgpack_pack_str(pk, len);
	msgpack_pack_str_body(pk, pad, len);
}

static void
world_pack(struct world *w, msgpack_sbuffer *sb, unsigned r, unsigned n,
    bool end, bool ack)
{
	struct world_run *run = &w->run[r];
	msgpack_packer pk;
	char runid[32];

	msgpack_packer_init(&pk, sb, msgpack_sbuffer_write);
	(void)snprintf(runid, sizeof runid, "run_%u", r);
	if (n == 0) {
		world_pack_step(w, &pk, run->n, runid);
		return;
	}
	msgpack_pack_map(&pk, 2 + (size_t)end + (size_t)ack);
	world_pack_str(&pk, "runId");
	world_pack_str(&pk, runid);
	world_pack_str(&pk, "events");
	msgpack_pack_array(&pk, n);
	for (unsigned i = 0; i < n; i++)
		world_pack_step(w, &pk, run->n + i, NULL);
	if (end) {
		world_pack_str(&pk, "end");
		msgpack_pack_true(&pk);
	}
	if (ack) {
		world_pack_str(&pk, "ack");
		msgpack_pack_uint64(&pk, w->next_ack);
	}
}

static void
world_grow_acks(struct world *w)
{
	if (w->next_ack == world_acks_cap) {
		world_acks_cap = world_acks_cap == 0 ? 1024 :
		    world_acks_cap * 2;
		world_acks = mem_grow(world_acks, world_acks_cap,
		    sizeof *world_acks);
	}
}

enum event_code
world_send(struct world *w, unsigned r, unsigned n, bool end, bool ack)
{
	struct world_run *run = &w->run[r];
	struct event_ack ret;
	struct why why = { "" };
	msgpack_sbuffer sb;
	unsigned count = n == 0 ? 1 : n;

	msgpack_sbuffer_init(&sb);
	world_pack(w, &sb, r, n, end, ack);
	world_grow_acks(w);
	world_acks[w->next_ack] = (struct world_ack){ r, run->n, count };
	if (run->n + count > run->cap) {
		size_t cap = (run->n + count) * 2;
		run->events = mem_grow(run->events, cap, 1);
		memset(run->events + run->cap, 0, cap - run->cap);
		run->cap = cap;
	}
	/* The ack may come at once, so the message must be known before. */
	if (ack && n > 0)
		w->next_ack++;
	size_t from = run->n;
	run->n += count;
	for (size_t i = 0; i < count; i++)
		run->events[from + i] = WORLD_SENT;
	w->messages = true;
	enum event_code code = engine_take(w->engine, BOOKS_STREAM, 7,
	    (const uint8_t *)sb.data, sb.size, w->now, &ret, &why);
	msgpack_sbuffer_destroy(&sb);
	if (code != EVENT_OK) {
		run->n = from;
		memset(run->events + from, 0, count);
		w->refused++;
	}
	return code;
}

enum event_code
world_send_change(struct world *w, unsigned n, bool ack)
{
	msgpack_sbuffer sb;
	msgpack_packer pk;
	struct event_ack ret;
	struct why why;
	char ref[32];

	msgpack_sbuffer_init(&sb);
	msgpack_packer_init(&pk, &sb, msgpack_sbuffer_write);
	(void)snprintf(ref, sizeof ref, "git:%u", n);
	msgpack_pack_map(&pk, ack ? 2 : 1);
	if (ack) {
		world_grow_acks(w);
		world_acks[w->next_ack] = (struct world_ack){ 0, 0, 0 };
		world_pack_str(&pk, "ack");
		msgpack_pack_uint64(&pk, w->next_ack++);
	}
	world_pack_str(&pk, "change");
	msgpack_pack_map(&pk, 2);
	world_pack_str(&pk, "kind");
	world_pack_str(&pk, "code");
	world_pack_str(&pk, "ref");
	world_pack_str(&pk, ref);
	w->messages = true;
	enum event_code code = engine_take(w->engine, BOOKS_STREAM, 7,
	    (const uint8_t *)sb.data, sb.size, w->now, &ret, &why);
	msgpack_sbuffer_destroy(&sb);
	return code;
}

struct engine_status
world_status(struct world *w)
{
	struct engine_status st;

	engine_status(w->engine, w->now, &st);
	return st;
}

void
world_sync_end(struct world *w, int err)
{
	ck_assert(w->sync_wanted);
	w->sync_wanted = false;
	w->woken = true;
	for (size_t i = 0; w->sync_real && err == 0 && i < w->sync_set.n;
	    i++) {
		int fd = w->sync_set.what[i].fd;
		err = w->sync_set.what[i].is_dir ? sys->fsync(fd) :
		    sys->fdatasync(fd);
		if (err == 0 && i + 1 == w->sync_set.first)
			engine_sync_part(w->engine, w->now);
	}
	engine_sync_end(w->engine, err, 100, w->now);
}

void
world_turn_once(struct world *w)
{
	bool taken = w->messages && !w->woken;

	w->messages = w->woken = false;
	if (taken)
		engine_turn_taken(w->engine, w->now);
	else
		engine_turn(w->engine, w->now);
}

/* Wait for a round that comes some milliseconds after the one before. */
static void
world_pace(struct world *w)
{
	struct mono at = engine_sync_deadline(w->engine);

	if (w->sync_wanted || at.us <= w->now.mono.us ||
	    at.us > mono_add_ms(w->now.mono, ENGINE_PACE_MS).us)
		return;
	w->now.wall.us += at.us - w->now.mono.us;
	w->now.mono = at;
	world_turn_once(w);
}

void
world_turn(struct world *w)
{
	world_turn_once(w);
	world_pace(w);
	while (w->sync_auto && w->sync_wanted) {
		world_sync_end(w, 0);
		world_turn_once(w);
		world_pace(w);
	}
}

void
world_sleep(struct world *w, int64_t ms)
{
	struct mono end = mono_add_ms(w->now.mono, ms);
	int turns = 0;

	for (;;) {
		struct mono d = engine_deadline(w->engine);
		if (d.us > end.us)
			break;
		if (d.us > w->now.mono.us) {
			w->now.wall.us += d.us - w->now.mono.us;
			w->now.mono = d;
			turns = 0;
		}
		/* A deadline that no turn moves on would spin a core. */
		ck_assert_msg(++turns < 1000, "the deadline stands still");
		world_turn(w);
	}
	w->now.wall.us += end.us - w->now.mono.us;
	w->now.mono = end;
	world_turn(w);
}

/* --- the upstream ---------------------------------------------------------- */

struct world_body {
	struct world		*w;
	struct world_run	*run;
	uint64_t		 n;
};

static int
world_take_event(void *arg, size_t i, const char *json, size_t len)
{
	struct world_body *b = arg;
	unsigned long long n;

	ck_assert_msg(sscanf(json, "{\"n\":%llu,\"type\":\"step\",\"pad\":\"",
	    &n) == 1, "event: %.*s", (int)len, json);
	ck_assert_int_eq(json[len - 1], '}');
	ck_assert_uint_lt(n, b->run->n);
	uint8_t *ev = &b->run->events[n];
	b->n++;
	if (b->w->refuses != NULL &&
	    b->w->refuses((unsigned)(b->run - b->w->run), n)) {
		*ev |= WORLD_DEAD;
		return 0;
	}
	ck_assert_msg(!(*ev & WORLD_TAKEN) || (b->w->again_allowed &&
	    !(*ev & WORLD_ACKED)), "event %llu twice", n);
	if (!(*ev & WORLD_TAKEN))
		ck_assert_msg((int64_t)n > b->run->last_taken,
		    "event %llu after %lld", n,
		    (long long)b->run->last_taken);
	*ev |= WORLD_TAKEN;
	b->run->last_taken = (int64_t)n;
	return 0;
}

/*
 * Returns true when this key was seen before: with the same bytes, or in
 * another coding with the same text.
 */
static bool
world_seen(struct world *w, const struct world_request *r,
    const struct buf *raw)
{
	uint64_t hash = XXH3_64bits(r->body, r->len);
	uint64_t json = XXH3_64bits(raw->data, raw->len);

	for (size_t i = 0; i < w->taken_n; i++)
		if (strcmp(w->taken[i].id, r->id) == 0) {
			uint64_t *had = &w->taken[i].hash[r->compressed];

			ck_assert_msg((*had == 0 || *had == hash) &&
			    w->taken[i].json == json,
			    "batch %s with other bytes", r->id);
			*had = hash;
			return true;
		}
	if (w->taken_n == w->taken_cap) {
		w->taken_cap = w->taken_cap == 0 ? 64 : w->taken_cap * 2;
		w->taken = mem_grow(w->taken, w->taken_cap, sizeof *w->taken);
	}
	w->taken[w->taken_n].id = mem_strdup(r->id);
	memset(w->taken[w->taken_n].hash, 0, sizeof w->taken[0].hash);
	w->taken[w->taken_n].hash[r->compressed] = hash;
	w->taken[w->taken_n++].json = json;
	return false;
}

static void
world_take(struct world *w, const struct world_request *r)
{
	struct world_body b = { .w = w };
	struct buf raw;
	struct why why = { "" };
	unsigned run;
	int at = 0;

	buf_init(&raw, 0);
	if (r->compressed)
		ck_assert_msg(batch_unpack(r->body, r->len, &raw, &why) == 0,
		    "%s", why.text);
	else
		buf_put(&raw, r->body, r->len);
	if (world_seen(w, r, &raw)) {
		w->duplicates++;
		buf_free(&raw);
		return;
	}
	if (r->route != TRANSPORT_EVENTS) {
		buf_free(&raw);
		return;
	}
	ck_assert_msg(sscanf(buf_cstr(&raw),
	    "{\"runId\":\"run_%u\",\"events\":[%n", &run, &at) == 1 && at > 0,
	    "body: %.60s", buf_cstr(&raw));
	ck_assert_uint_lt(run, WORLD_RUNS);
	b.run = &w->run[run];
	ck_assert_uint_ge(r->part, 1);
	ck_assert_int_ge(batch_walk((const char *)raw.data, raw.len,
	    world_take_event, &b), 0);
	ck_assert_uint_gt(b.n, 0);
	b.run->last_part = r->part;
	buf_free(&raw);
}

struct world_look {
	unsigned long long	n;
	size_t			count;
	bool			found;
};

static int
world_look_event(void *arg, size_t i, const char *json, size_t len)
{
	struct world_look *l = arg;
	unsigned long long n;

	if (sscanf(json, "{\"n\":%llu,", &n) == 1 && n == l->n)
		l->found = true;
	l->count++;
	return 0;
}

/* Returns the run, or -1 for a record. */
static int
world_look(struct world *w, size_t i, struct world_look *l)
{
	const struct world_request *r = &w->request[i];
	struct buf raw;
	unsigned run = 0;

	if (r->route != TRANSPORT_EVENTS)
		return -1;
	buf_init(&raw, 0);
	if (r->compressed)
		ck_assert_int_eq(batch_unpack(r->body, r->len, &raw, NULL),
		    0);
	else
		buf_put(&raw, r->body, r->len);
	ck_assert_int_eq(sscanf(buf_cstr(&raw), "{\"runId\":\"run_%u\"", &run),
	    1);
	ck_assert_int_ge(batch_walk((const char *)raw.data, raw.len,
	    world_look_event, l), 0);
	buf_free(&raw);
	return (int)run;
}

bool
world_carries(struct world *w, size_t i, unsigned r, size_t n)
{
	struct world_look l = { .n = n };

	return world_look(w, i, &l) == (int)r && l.found;
}

size_t
world_count(struct world *w, size_t i)
{
	struct world_look l = { 0 };

	(void)world_look(w, i, &l);
	return l.count;
}

void
world_take_unanswered(struct world *w, size_t i)
{
	world_take(w, &w->request[i]);
}

void
world_set_dead(struct world *w, unsigned r, size_t n)
{
	w->run[r].events[n] |= WORLD_DEAD;
}

void
world_answer_full(struct world *w, size_t i, bool take,
    const struct transport_answer *a)
{
	struct world_request *r = &w->request[i];

	ck_assert(r->used);
	if (take)
		world_take(w, r);
	free(r->body);
	r->used = false;
	w->in_flight--;
	w->woken = true;
	engine_answer(w->engine, r->tag, a, w->now);
}

void
world_answer(struct world *w, size_t i, int status, bool take,
    const char *retry_after)
{
	struct transport_answer a = {
		.result = status == 0 ? TRANSPORT_NO_ANSWER :
		    TRANSPORT_ANSWERED,
		.status = status,
	};

	if (retry_after != NULL)
		(void)snprintf(a.retry_after, sizeof a.retry_after, "%s",
		    retry_after);
	(void)snprintf(a.detail, sizeof a.detail, "connection reset");
	world_answer_full(w, i, take, &a);
}

size_t
world_requests(struct world *w, size_t *dst)
{
	size_t n = 0;

	for (size_t i = 0; i < WORLD_REQUESTS; i++)
		if (w->request[i].used)
			dst[n++] = i;
	return n;
}

void
world_drain(struct world *w)
{
	size_t at[WORLD_REQUESTS], n;
	struct engine_status st;

	for (int round = 0; round < 100000; round++) {
		world_turn(w);
		n = world_requests(w, at);
		for (size_t i = 0; i < n; i++)
			world_answer(w, at[i], 202, true, NULL);
		if (n > 0)
			continue;
		engine_status(w->engine, w->now, &st);
		if (st.open_runs == 0 && st.waiting_batches == 0 &&
		    st.waiting_records == 0 && engine_settled(w->engine))
			return;
		world_sleep(w, 1000);
	}
	ck_abort_msg("what waits is never sent");
}

void
world_check_books(struct world *w)
{
	struct engine *e = w->engine;
	struct spool_totals t = spool_totals(e->spool);
	const uint64_t *b = e->books.total;
	uint64_t dropped = b[BOOKS_DROPPED_CORRUPT] + b[BOOKS_DROPPED_FULL];

	for (int i = 0; i < SPOOL_DROPS; i++)
		dropped += t.dropped[i];
	uint64_t there = t.delivered + t.dead + dropped +
	    runs_events(e->runs) + spool_waiting(e->spool).events;
	ck_assert_msg(b[BOOKS_ACCEPTED] == there, "accepted %llu, found %llu",
	    (unsigned long long)b[BOOKS_ACCEPTED], (unsigned long long)there);
}

void
world_check(struct world *w)
{
	for (unsigned r = 0; r < WORLD_RUNS; r++)
		for (size_t i = 0; i < w->run[r].n; i++) {
			uint8_t ev = w->run[r].events[i];
			if (ev & (WORLD_TAKEN | WORLD_DEAD))
				continue;
			ck_assert_msg(w->gaps_allowed && !(ev & WORLD_ACKED),
			    "run_%u: event %zu of %zu is lost%s", r, i,
			    w->run[r].n, ev & WORLD_ACKED ? ", acked" : "");
		}
	world_check_books(w);
}
