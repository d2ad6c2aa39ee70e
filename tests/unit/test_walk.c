/*
 * test_walk: a random walk through an hour of virtual time. Agents send, the
 * upstream has good and bad times, connections break before and after it has
 * taken a batch, lumnid is stopped, killed, loses power and is reloaded. At
 * the end every event was delivered once, in order, or is a dead letter with
 * its reason; the books balance.
 *
 * The upstream is an honest one: it answers a key that it has seen as it did
 * before, with the same status for each event, or with 409 while it is at
 * work on it (draft-ietf-httpapi-idempotency-key-header, 2.7).
 *
 * LUMNID_WALK_SEED=n walks from that seed alone, with a log; LUMNID_WALK_HOURS
 * makes each walk longer.
 */
#include <check.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "codec/batch.h"
#include "core/engine_int.h"
#include "tests/unit/crashfs.h"
#include "tests/unit/world.h"

#define WALKS		4
#define RUNS		12
#define TOO_LARGE	1500	/* bytes of JSON that the upstream takes */

static const char *const confs[] = {
	"runs: {idle: 5s, max_age: 20s, max_events: 24}\n",
	"runs: {idle: 2s, max_age: 9s, max_events: 7}\n"
	"upstream: {connections: 2, compression: none}\n",
	"runs: {idle: 9s, max_age: 60s, max_events: 60}\n"
	"upstream: {connections: 16, level: 1}\n",
};

enum mood {
	GOOD, GONE, BROKEN, WRONG, BUSY, SLOW, NO_ZSTD, MOODS
};

static const char *const moods[MOODS] = {
	"good", "gone", "broken", "wrong", "busy", "slow", "no zstd",
};

struct key {			/* that the upstream has begun to work on */
	char		id[128];
	struct mono	ready;		/* 409 before */
};

static struct walk {
	struct world	*w;
	enum mood	mood;
	struct mono	until;		/* of the mood */
	int		wrong;		/* the status of this WRONG time */
	struct key	*keys;
	size_t		keys_n, keys_cap;
	struct conf	*old[512];	/* free only at the end */
	size_t		old_n;
	unsigned	changes, change_next;
	bool		power_lost;
	unsigned	conflicts, partials, restarts, reloads, unanswered;
	unsigned	answers[7];
} walk;

static size_t	at[WORLD_REQUESTS];

/* Events that the upstream never takes, and the answer that it gives. */
static bool
poison(unsigned run, uint64_t n)
{
	return (run * 131 + n * 7919) % 61 == 3;
}

static int
poison_status(unsigned run, uint64_t n)
{
	static const int statuses[] = { 400, 422, 409, 410, 422, 404 + 14 };

	return statuses[(run + n / 61) % NELEM(statuses)];
}

/* --- the upstream ----------------------------------------------------------- */

struct look {
	unsigned	run;
	size_t		n;
	unsigned	first_bad;	/* its number */
	bool		bad;
	struct buf	errors;		/* "{"index":..,"status":..}",... */
};

static int
look_event(void *arg, size_t i, const char *json, size_t len)
{
	struct look *l = arg;
	unsigned long long n;

	ck_assert_int_eq(sscanf(json, "{\"n\":%llu,", &n), 1);
	l->n++;
	if (!poison(l->run, n))
		return 0;
	if (!l->bad)
		l->first_bad = (unsigned)n;
	buf_printf(&l->errors, "%s{\"index\":%zu,\"status\":%d}",
	    l->bad ? "," : "", i, poison_status(l->run, n));
	l->bad = true;
	return 0;
}

/* What is in it; returns the bytes of its JSON. */
static size_t
look(const struct world_request *r, struct look *l)
{
	struct buf raw;

	*l = (struct look){ 0 };
	buf_init(&l->errors, 0);
	buf_init(&raw, 0);
	if (r->compressed)
		ck_assert_int_eq(batch_unpack(r->body, r->len, &raw, NULL),
		    0);
	else
		buf_put(&raw, r->body, r->len);
	ck_assert_int_eq(sscanf(buf_cstr(&raw), "{\"runId\":\"run_%u\"",
	    &l->run), 1);
	ck_assert_int_ge(batch_walk((const char *)raw.data, raw.len,
	    look_event, l), 0);
	size_t len = raw.len;
	buf_free(&raw);
	return len;
}

/* Changes come once each, in order. */
static void
take_change(const struct world_request *r)
{
	struct buf raw;
	const char *ref;
	unsigned n;

	buf_init(&raw, 0);
	if (r->compressed)
		ck_assert_int_eq(batch_unpack(r->body, r->len, &raw, NULL),
		    0);
	else
		buf_put(&raw, r->body, r->len);
	ref = strstr(buf_cstr(&raw), "\"ref\":\"git:");
	ck_assert_ptr_nonnull(ref);
	ck_assert_int_eq(sscanf(ref, "\"ref\":\"git:%u", &n), 1);
	buf_free(&raw);
	ck_assert_msg(n == walk.change_next ||
	    (walk.power_lost && n > walk.change_next),
	    "change %u where %u was due", n, walk.change_next);
	walk.change_next = n + 1;
}

static struct key *
key_find(const char *id)
{
	for (size_t i = walk.keys_n; i-- > 0;)
		if (strcmp(walk.keys[i].id, id) == 0)
			return &walk.keys[i];
	return NULL;
}

/* Returns false when it was taken before. */
static bool
take(size_t i, int64_t work_ms)
{
	struct world_request *r = &walk.w->request[i];
	struct key *k = key_find(r->id);

	if (r->route == TRANSPORT_EVENTS)
		world_take_unanswered(walk.w, i);	/* knows keys, too */
	if (k != NULL)
		return false;
	if (r->route == TRANSPORT_CHANGES)
		take_change(r);
	if (walk.keys_n == walk.keys_cap) {
		walk.keys_cap = walk.keys_cap == 0 ? 256 : walk.keys_cap * 2;
		walk.keys = mem_grow(walk.keys, walk.keys_cap,
		    sizeof *walk.keys);
	}
	k = &walk.keys[walk.keys_n++];
	(void)snprintf(k->id, sizeof k->id, "%s", r->id);
	k->ready = mono_add_ms(walk.w->now.mono, work_ms);
	return true;
}

static void
say(size_t i, const struct transport_answer *a)
{
	unsigned hundreds = a->result == TRANSPORT_ANSWERED ?
	    (unsigned)a->status / 100 : 0;

	walk.answers[hundreds]++;
	log_debug("answer", LS("to", walk.w->request[i].id),
	    LI("status", a->status), LI("result", a->result),
	    LS("body", a->body != NULL ? a->body : ""));
	world_answer_full(walk.w, i, false, a);
}

static void
say_status(size_t i, int status, const char *retry_after)
{
	struct transport_answer a = { .result = TRANSPORT_ANSWERED,
		.status = status, .body = "{\"error\":\"no\"}", .body_len = 14 };

	(void)snprintf(a.retry_after, sizeof a.retry_after, "%s", retry_after);
	say(i, &a);
}

static void
say_nothing(size_t i, enum transport_result result)
{
	struct transport_answer a = { .result = result };

	(void)snprintf(a.detail, sizeof a.detail, "nothing came");
	say(i, &a);
}

/* As the upstream answers this batch at all times; the answer may get lost. */
static void
judge(size_t i)
{
	struct world_request *r = &walk.w->request[i];
	uint64_t dice = rng_below(&walk.w->rng, 12);
	struct key *k = key_find(r->id);
	struct look l;

	if (k != NULL && walk.w->now.mono.us < k->ready.us) {
		walk.conflicts++;
		say_status(i, 409, dice < 3 ? "3" : "");
		return;
	}
	if (r->route != TRANSPORT_EVENTS) {
		(void)take(i, 0);
		say_status(i, 202, "");
		return;
	}
	size_t len = look(r, &l);
	/* Half of all batches are judged event by event. */
	bool whole = (l.run + r->part) % 2 == 0;
	if (len > TOO_LARGE) {
		say_status(i, 413, "");
	} else if (whole && l.bad) {
		say_status(i, poison_status(l.run, l.first_bad), "");
	} else {
		bool at_work = dice == 0;
		(void)take(i, at_work ? 1000 * (int64_t)(1 +
		    rng_below(&walk.w->rng, 40)) : 0);
		struct buf body;
		buf_init(&body, 0);
		if (l.bad)
			buf_printf(&body, "{\"errors\":[%s]}",
			    buf_cstr(&l.errors));
		walk.partials += l.bad;
		struct transport_answer a = { .result = TRANSPORT_ANSWERED,
			.status = 200, .body = buf_cstr(&body),
			.body_len = body.len };
		if (at_work || dice == 1) {
			walk.unanswered++;
			say_nothing(i, TRANSPORT_NO_ANSWER);
		} else {
			say(i, &a);
		}
		buf_free(&body);
	}
	buf_free(&l.errors);
}

static void
answer(size_t i)
{
	static const int broken[] = { 500, 502, 503, 504, 408, 425, 599 };
	static const enum transport_result gone[] = { TRANSPORT_NO_ANSWER,
		TRANSPORT_DNS, TRANSPORT_TLS, TRANSPORT_PROXY };
	struct rng *rng = &walk.w->rng;
	uint64_t dice = rng_below(rng, 10);

	switch (walk.mood) {
	case GONE:
		say_nothing(i, gone[rng_below(rng, NELEM(gone))]);
		return;
	case BROKEN:
		if (dice < 8)
			say_status(i, broken[rng_below(rng, NELEM(broken))],
			    dice < 2 ? "2" : "");
		else
			judge(i);
		return;
	case WRONG:
		if (walk.wrong < 0)
			say_nothing(i, (enum transport_result)-walk.wrong);
		else
			say_status(i, walk.wrong, "");
		return;
	case SLOW:
		if (dice < 6)
			say_status(i, dice < 3 ? 429 : 503, dice < 4 ? "7" :
			    "Mon, 23 Nov 2026 12:30:00 GMT");
		else
			judge(i);
		return;
	case NO_ZSTD:
		if (walk.w->request[i].compressed)
			say_status(i, 415, "");
		else
			judge(i);
		return;
	case BUSY:
	case GOOD:
	case MOODS:
		break;
	}
	if (dice == 0)
		say_nothing(i, TRANSPORT_STALE);
	else
		judge(i);
}

static void
answer_some(uint64_t percent)
{
	size_t n = world_requests(walk.w, at);

	for (size_t k = 0; k < n; k++)
		if (rng_below(&walk.w->rng, 100) < percent)
			answer(at[k]);
}

static void
change_mood(void)
{
	static const int wrong[] = { 401, 403, 404, 405, 301, 308,
		-(int)TRANSPORT_TLS_VERIFY, -(int)TRANSPORT_TLS_FILE,
		-(int)TRANSPORT_NO_KEY };
	struct world *w = walk.w;

	if (w->now.mono.us < walk.until.us)
		return;
	bool good = walk.mood != GOOD || rng_below(&w->rng, 3) == 0;
	walk.mood = good ? GOOD : (enum mood)rng_below(&w->rng, MOODS);
	walk.wrong = wrong[rng_below(&w->rng, NELEM(wrong))];
	walk.until = mono_add_ms(w->now.mono, 2000 +
	    (int64_t)rng_below(&w->rng, good ? 60000 : 40000));
	/* A key file that was corrected, now and then. */
	if (rng_below(&w->rng, 2) == 0)
		w->key_stamp++;
	log_info("mood", LS("is", moods[walk.mood]),
	    LI("second", w->now.mono.us / 1000000));
}

/* --- lumnid's life ----------------------------------------------------------- */

/* The process ends while the upstream is at work. */
static void
lose_answers(void)
{
	size_t n = world_requests(walk.w, at);

	for (size_t k = 0; k < n; k++) {
		struct world_request *r = &walk.w->request[at[k]];
		struct look l = { 0 };
		bool would = walk.mood == GOOD || walk.mood == BUSY;

		if (!would || rng_below(&walk.w->rng, 2) == 0)
			continue;
		if (r->route == TRANSPORT_EVENTS) {
			bool large = look(r, &l) > TOO_LARGE;
			buf_free(&l.errors);
			if (large || (l.bad && (l.run + r->part) % 2 == 0))
				continue;
		}
		(void)take(at[k], 1000 *
		    (int64_t)rng_below(&walk.w->rng, 20));
		walk.unanswered++;
	}
}

static void
restart(void)
{
	struct world *w = walk.w;
	uint64_t dice = rng_below(&w->rng, 3);

	walk.restarts++;
	lose_answers();
	if (dice == 0) {
		world_close(w);
	} else {
		if (dice == 1)
			engine_flush(w->engine, w->now);
		world_kill(w);
		if (dice == 1) {
			crashfs_kill();
		} else {
			crashfs_reboot();
			walk.power_lost = true;
			w->gaps_allowed = true;
		}
	}
	world_open(w);
	world_check_books(w);
}

static void
reload(void)
{
	const char *text = confs[rng_below(&walk.w->rng, NELEM(confs))];
	struct why why = { "" };
	struct conf *conf;

	ck_assert_msg(conf_parse(text, strlen(text), "walk", true, &conf,
	    &why) == 0, "%s", why.text);
	ck_assert_int_eq(conf_set(conf, "upstream.url", "http://127.0.0.1:1",
	    &why), 0);
	ck_assert_int_eq(conf_set(conf, "storage.dir", walk.w->dir, &why), 0);
	walk.old[walk.old_n++] = walk.w->conf;
	walk.w->conf = conf;
	engine_set_conf(walk.w->engine, conf, walk.w->now);
	walk.reloads++;
}

static void
step(void)
{
	struct world *w = walk.w;
	uint64_t dice = rng_below(&w->rng, 1000);

	change_mood();
	if (dice < 300) {
		(void)world_send(w, (unsigned)rng_below(&w->rng, RUNS),
		    (unsigned)rng_below(&w->rng, 5),
		    rng_below(&w->rng, 6) == 0, rng_below(&w->rng, 2) == 0);
	} else if (dice < 320) {
		if (world_send_change(w, walk.changes, false) == EVENT_OK)
			walk.changes++;
	} else if (dice < 322) {
		restart();
	} else if (dice < 326 && walk.old_n < NELEM(walk.old)) {
		reload();
	} else {
		answer_some(60);
	}
	/* The helper thread takes its time. */
	if (w->sync_wanted && rng_below(&w->rng, 3) > 0)
		world_sync_end(w, 0);
	world_sleep(w, (int64_t)rng_below(&w->rng, 400));
}

/* --- the end ------------------------------------------------------------------ */

static size_t	letters_events;

static void
check_letter_event(const char *name, unsigned run, struct json_object *o)
{
	struct json_object *ev, *n;

	ck_assert(json_object_object_get_ex(o, "event", &ev));
	ck_assert(json_object_object_get_ex(ev, "n", &n));
	uint64_t number = json_object_get_uint64(n);
	ck_assert_msg(poison(run, number), "%s: run_%u's %llu is sound", name,
	    run, (unsigned long long)number);
	uint8_t *e = &walk.w->run[run].events[number];
	/* WORLD_SENT is not looked at any more: it marks those seen here. */
	ck_assert_msg(*e & WORLD_SENT, "%s: run_%u's %llu is buried twice",
	    name, run, (unsigned long long)number);
	*e = (uint8_t)((*e & ~WORLD_SENT) | WORLD_DEAD);
	letters_events++;
}

static void
check_letter(void *arg, const char *name)
{
	struct json_object *o, *v;
	char path[512];
	size_t len;
	unsigned run;

	if (name[0] == '.')
		return;
	(void)snprintf(path, sizeof path, "%s/dead/%s", walk.w->dir, name);
	char *text = (char *)crashfs_file(path, &len);
	ck_assert_ptr_nonnull(text);
	struct json_tokener *tok = json_tokener_new();
	o = json_tokener_parse_ex(tok, text, (int)len);
	json_tokener_free(tok);
	ck_assert_msg(o != NULL, "%s is no JSON", name);
	ck_assert(json_object_object_get_ex(o, "runId", &v));
	ck_assert_int_eq(sscanf(json_object_get_string(v), "run_%u", &run), 1);
	ck_assert(json_object_object_get_ex(o, "status", &v));
	int status = json_object_get_int(v);
	ck_assert_msg(status == 200 || (status >= 400 && status < 500),
	    "%s: status %d", name, status);
	ck_assert(json_object_object_get_ex(o, "answer", &v));
	ck_assert_int_gt(json_object_get_string_len(v), 0);
	ck_assert(json_object_object_get_ex(o, "events", &v));
	for (size_t i = 0; i < json_object_array_length(v); i++)
		check_letter_event(name, run, json_object_array_get_idx(v, i));
	json_object_put(o);
}

static void
check_end(void)
{
	struct world *w = walk.w;
	struct engine_status st;

	engine_status(w->engine, w->now, &st);
	ck_assert_uint_eq(st.waiting_records, 0);
	ck_assert_msg(walk.change_next == walk.changes || walk.power_lost,
	    "changes: %u of %u", walk.change_next, walk.changes);
	letters_events = 0;
	crashfs_each("/d/data/dead", check_letter, NULL);
	ck_assert_uint_eq(spool_totals(w->engine->spool).dead, letters_events);
	for (unsigned r = 0; r < RUNS; r++)
		for (size_t n = 0; n < w->run[r].n; n++) {
			uint8_t e = w->run[r].events[n];
			if (poison(r, n) && (e & WORLD_ACKED))
				ck_assert_msg(!(e & WORLD_SENT), "run_%u: "
				    "%zu has no letter", r, n);
			ck_assert_msg(!(poison(r, n) && (e & WORLD_TAKEN)),
			    "run_%u: %zu was refused and taken", r, n);
		}
	world_check(w);
}

/* Good times at last: deliver all that waits. */
static void
drain(void)
{
	struct world *w = walk.w;
	struct engine_status st;

	walk.mood = GOOD;
	w->key_stamp++;
	w->sync_auto = true;
	if (w->sync_wanted)
		world_sync_end(w, 0);
	for (int i = 0; i < 20000; i++) {
		world_sleep(w, 1000);
		answer_some(100);
		engine_status(w->engine, w->now, &st);
		if (st.open_runs == 0 && st.waiting_batches == 0 &&
		    st.waiting_records == 0 && engine_settled(w->engine))
			return;
	}
	ck_abort_msg("what waits is never sent");
}

static void
walk_from(uint64_t seed)
{
	const char *hours = getenv("LUMNID_WALK_HOURS");
	int64_t ms = 3600000 * (int64_t)(hours != NULL ? atoi(hours) : 1);

	crashfs_start(seed);
	crashfs_mkdir("/d");
	memset(&walk, 0, sizeof walk);
	struct world *w = walk.w = world_new(seed, "/d/data", confs[0]);
	w->sync_auto = false;
	w->sync_real = true;
	w->refuses = poison;
	struct mono end = mono_add_ms(w->now.mono, ms);
	while (w->now.mono.us < end.us)
		step();
	drain();
	check_end();
	(void)fprintf(stderr, "walk %llu: %llu requests, answers none %u, 2xx "
	    "%u, 3xx %u, 4xx %u, 5xx %u; %u lost after taking, %u conflicts, "
	    "%u partial, %llu keys again, %u restarts, %u reloads, %zu events "
	    "dead\n", (unsigned long long)seed, (unsigned long long)w->sends,
	    walk.answers[0], walk.answers[2], walk.answers[3],
	    walk.answers[4], walk.answers[5], walk.unanswered, walk.conflicts,
	    walk.partials, (unsigned long long)w->duplicates, walk.restarts,
	    walk.reloads, letters_events);
	/* It went where it should. */
	ck_assert_uint_gt(walk.answers[0], 100);
	ck_assert_uint_gt(walk.answers[2], 100);
	ck_assert_uint_gt(walk.answers[4], 100);
	ck_assert_uint_gt(walk.answers[5], 10);
	ck_assert_uint_gt(w->duplicates, 10);
	ck_assert_uint_gt(walk.conflicts, 10);
	ck_assert_uint_gt(walk.restarts, 10);
	ck_assert_uint_gt(letters_events, 10);
	world_free(w);
	for (size_t i = 0; i < walk.old_n; i++)
		conf_free(walk.old[i]);
	free(walk.keys);
	ck_assert_uint_eq(crashfs_fds(), 0);
	crashfs_stop();
}

START_TEST(an_hour)
{
	walk_from(1 + (uint64_t)_i);
}
END_TEST

START_TEST(one_walk)
{
	walk_from(strtoull(getenv("LUMNID_WALK_SEED"), NULL, 10));
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("walk");
	TCase *tc = tcase_create("walk");

	tcase_set_timeout(tc, 3600);
	if (getenv("LUMNID_WALK_SEED") != NULL) {
		log_set_level(LOG_LEVEL_DEBUG);
		tcase_add_test(tc, one_walk);
	} else {
		log_set_sink(world_no_log, NULL);
		tcase_add_loop_test(tc, an_hour, 0, WALKS);
	}
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
