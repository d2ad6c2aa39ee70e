/*
 * test_herd: a thousand sidecars lose the same upstream and get it back. Each
 * is a real sender with its own spool; clock and network are made here. What
 * the upstream sees, requests per second over time, is printed, and must not
 * show that they return in step.
 */
#include <math.h>
#include <sys/resource.h>

#include "base/log.h"
#include "base/mem.h"
#include "core/sender.h"
#include "core/sender_int.h"
#include "store_help.h"
#include "unit.h"

#define CARS		1000
#define TICK_MS		50
#define LATENCY_TICKS	1
#define SECONDS		1500
#define PLACES		8	/* requests of one car under way */

struct car {
	struct transport	 transport;
	struct sender		*sender;
	struct spool		*spool;
	struct mono		 due;
	uint64_t		 waiting;	/* batches */
	struct {
		uint64_t	 tag;
		int		 status;	/* 0: no answer */
		int64_t		 at;		/* tick of the answer */
		bool		 used;
	}			 under_way[PLACES];
	bool			 back;		/* came since the return */
};

static struct herd {
	struct car	 cars[CARS];
	struct help_dir	 dir;
	struct spool	*records;
	struct dead	*dead;
	struct books	 books;
	struct conf	*conf;
	struct rng	 rng;
	int64_t		 tick;
	unsigned	 per_second[SECONDS];
	unsigned	 first_per_second[SECONDS];	/* since the return */
	/* The upstream. */
	int64_t		 away_from, away_to;	/* ticks */
	const char	*retry_after;
	bool		 says_503;		/* while it is away */
	unsigned	 capacity;		/* requests a second */
} herd;

static struct now
herd_now(void)
{
	return (struct now){ { 1000000 + herd.tick * TICK_MS * 1000 },
	    { 1795435200000000 + herd.tick * TICK_MS * 1000 } };
}

static int
herd_send(struct transport *t, const struct transport_request *rq,
    struct why *why)
{
	struct car *car = (struct car *)t;
	size_t second = (size_t)(herd.tick * TICK_MS / 1000);
	int status = 202;

	herd.per_second[second]++;
	if (herd.tick >= herd.away_from && herd.tick < herd.away_to)
		status = herd.says_503 ? 503 : 0;
	else if (herd.per_second[second] > herd.capacity)
		status = 503;
	if (herd.tick >= herd.away_to && !car->back) {
		car->back = true;
		herd.first_per_second[second]++;
	}
	for (size_t i = 0; i < PLACES; i++)
		if (!car->under_way[i].used) {
			car->under_way[i].used = true;
			car->under_way[i].tag = rq->tag;
			car->under_way[i].status = status;
			car->under_way[i].at = herd.tick + LATENCY_TICKS;
			return 0;
		}
	return why_set(why, -EBUSY, "too many at a time");
}

static void
herd_cancel(struct transport *t, uint64_t tag)
{
}

static struct spool *
herd_spool(const char *name, uint32_t kind)
{
	struct spool_options o = { .kind = kind, .segment_bytes = 1024 * 1024,
	    .buffer_bytes = 4096 };
	char path[400];
	struct spool *sp;
	struct why why;

	(void)snprintf(path, sizeof path, "%s/%s", herd.dir.log, name);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	ck_assert_msg(spool_open(path, herd.dir.quar, &o, NULL, NULL, &sp,
	    &why) == 0, "%s", why.text);
	return sp;
}

static void
car_add(struct car *car, uint64_t run)
{
	static const char body[] = "{\"runId\":\"r\",\"events\":[{}]}";
	struct spool_batch b = { .kind = SPOOL_RUN, .reason = SPOOL_END,
	    .part = 1, .events = 1, .raw_len = sizeof body - 1,
	    .first = herd_now().wall, .sealed = herd_now().wall,
	    .runid_len = 8 };
	struct spool_ref ref;
	struct seglog_sync set = { .n = 0 };
	struct why why;

	(void)snprintf(b.runid, sizeof b.runid, "%08llx",
	    (unsigned long long)run);
	ck_assert_int_eq(spool_append(car->spool, &b, body, sizeof body - 1,
	    &ref, &why), 0);
	ck_assert_int_eq(spool_flush(car->spool, &why), 0);
	spool_sync_begin(car->spool, &set);
	spool_sync_end(car->spool, true);
	car->waiting++;
	car->due.us = 0;
}

static void
herd_begin(void)
{
	struct rlimit rl;
	struct why why;
	static const char text[] = "upstream: {url: \"http://127.0.0.1:1\"}";

	memset(&herd, 0, sizeof herd);
	herd.capacity = UINT32_MAX;
	rng_seed(&herd.rng, 4);
	help_no_sync();
	help_dir_make(&herd.dir);
	if (getrlimit(RLIMIT_NOFILE, &rl) == 0) {
		rl.rlim_cur = rl.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &rl);
	}
	ck_assert_int_eq(conf_parse(text, sizeof text - 1, "herd", false,
	    &herd.conf, &why), 0);
	herd.records = herd_spool("records", SEGLOG_RECORDS);
	ck_assert_int_eq(dead_open(herd.dir.root, &herd.dead, &why), 0);
	for (size_t i = 0; i < CARS; i++) {
		struct car *car = &herd.cars[i];
		struct sender_env env = { .transport = &car->transport,
		    .records = herd.records, .dead = herd.dead,
		    .books = &herd.books, .conf = herd.conf,
		    .run_slots = 32 };
		char name[16];

		car->transport.send = herd_send;
		car->transport.cancel = herd_cancel;
		(void)snprintf(name, sizeof name, "%zu", i);
		env.runs = car->spool = herd_spool(name, SEGLOG_SPOOL);
		rng_seed(&env.rng, rng_u64(&herd.rng));
		car->sender = sender_new(&env);
	}
}

static void
herd_end(void)
{
	for (size_t i = 0; i < CARS; i++) {
		sender_free(herd.cars[i].sender);
		spool_close(herd.cars[i].spool);
	}
	spool_close(herd.records);
	dead_close(herd.dead);
	conf_free(herd.conf);
	help_dir_drop(&herd.dir);
	sys = &sys_kernel;
}

static void
car_answers(struct car *car)
{
	for (size_t i = 0; i < PLACES; i++) {
		if (!car->under_way[i].used ||
		    car->under_way[i].at > herd.tick)
			continue;
		int status = car->under_way[i].status;
		struct transport_answer a = { .status = status,
		    .result = status == 0 ? TRANSPORT_NO_ANSWER :
		    TRANSPORT_ANSWERED };
		if (status == 503 && herd.retry_after != NULL)
			(void)snprintf(a.retry_after, sizeof a.retry_after,
			    "%s", herd.retry_after);
		car->under_way[i].used = false;
		car->waiting -= status == 202;
		sender_answer(car->sender, car->under_way[i].tag, &a,
		    herd_now());
		car->due.us = 0;
	}
}

static uint64_t
herd_waiting(void)
{
	uint64_t n = 0;

	for (size_t i = 0; i < CARS; i++)
		n += herd.cars[i].waiting;
	return n;
}

/* Each car makes a batch every ten seconds or so. Returns the second's end. */
static void
herd_run(int seconds, bool load)
{
	const int64_t end = herd.tick + seconds * 1000 / TICK_MS;

	for (; herd.tick < end; herd.tick++)
		for (size_t i = 0; i < CARS; i++) {
			struct car *car = &herd.cars[i];

			if (load && rng_below(&herd.rng, 10000 / TICK_MS) == 0)
				car_add(car, rng_u64(&herd.rng));
			car_answers(car);
			if (car->due.us > herd_now().mono.us)
				continue;
			sender_pump(car->sender, herd_now());
			car->due = sender_deadline(car->sender);
		}
}

/* The curve: mean and highest requests per second in steps of so many. */
static void
herd_print(const char *title, int from, int to, int step)
{
	(void)fprintf(stderr, "%s\n  second  mean  highest second\n", title);
	for (int s = from; s < to; s += step) {
		unsigned sum = 0, max = 0;

		for (int i = s; i < s + step && i < to; i++) {
			sum += herd.per_second[i];
			if (herd.per_second[i] > max)
				max = herd.per_second[i];
		}
		(void)fprintf(stderr, "%8d %5u %5u %.*s\n", s,
		    sum / (unsigned)step, max,
		    (int)(sqrt((double)sum / step) * 2),
		    "########################################"
		    "########################################");
	}
}

static unsigned
highest(const unsigned *v, int from, int to)
{
	unsigned max = 0;

	for (int i = from; i < to; i++)
		if (v[i] > max)
			max = v[i];
	return max;
}

static unsigned
sum(const unsigned *v, int from, int to)
{
	unsigned n = 0;

	for (int i = from; i < to; i++)
		n += v[i];
	return n;
}

/* Ten minutes away, then a capacity that the whole herd would exceed. */
START_TEST(a_long_outage)
{
	const int lost = 60, back = 660;

	herd_begin();
	herd.away_from = lost * 1000 / TICK_MS;
	herd.away_to = back * 1000 / TICK_MS;
	herd.capacity = 400;
	herd_run(1400, true);
	herd_print("1,000 sidecars; away from second 60 to 660; takes 400 "
	    "requests a second", 0, 1400, 20);
	/* Away: everybody notices, then few ask, fewer with time. */
	ck_assert_uint_ge(sum(herd.per_second, lost, lost + 60), CARS);
	ck_assert_uint_lt(sum(herd.per_second, back - 60, back), CARS);
	ck_assert_uint_lt(highest(herd.per_second, back - 300, back),
	    CARS / 20);
	/* Back: their first requests lie minutes apart, not in one second. */
	ck_assert_uint_lt(highest(herd.first_per_second, back, 1400),
	    CARS / 25);
	ck_assert_uint_lt(sum(herd.first_per_second, back, back + 30),
	    CARS / 3);
	ck_assert_uint_eq(sum(herd.first_per_second, back, back + 310), CARS);
	/* What it takes is used, and little more is asked of it. */
	ck_assert_uint_lt(highest(herd.per_second, back, 1400),
	    2 * herd.capacity);
	herd_run(60, false);
	ck_assert_uint_eq(herd_waiting(), 0);
	herd_end();
}
END_TEST

/* A restart of the upstream: five seconds, everybody has just failed. */
START_TEST(a_short_outage)
{
	const int lost = 60, back = 65;

	herd_begin();
	herd.away_from = lost * 1000 / TICK_MS;
	herd.away_to = back * 1000 / TICK_MS;
	herd_run(120, true);
	herd_print("away for five seconds", 55, 85, 1);
	ck_assert_uint_lt(highest(herd.first_per_second, back, 120),
	    CARS * 2 / 5);
	ck_assert_uint_gt(sum(herd.first_per_second, back, back + 30),
	    CARS * 9 / 10);
	herd_run(30, false);
	ck_assert_uint_eq(herd_waiting(), 0);
	herd_end();
}
END_TEST

/* All are told the same time to come back at. */
START_TEST(the_same_retry_after_for_all)
{
	const int lost = 60, back = 75;

	herd_begin();
	herd.away_from = lost * 1000 / TICK_MS;
	herd.away_to = back * 1000 / TICK_MS;
	herd.says_503 = true;
	herd.retry_after = "60";
	herd_run(240, true);
	herd_print("503 with Retry-After: 60 for fifteen seconds", 50, 200, 5);
	/* Nobody comes early, and they do not come as they were told. */
	ck_assert_uint_lt(sum(herd.first_per_second, back, lost + 59),
	    CARS / 4);
	ck_assert_uint_lt(highest(herd.first_per_second, back, 240),
	    CARS / 5);
	herd_run(30, false);
	ck_assert_uint_eq(herd_waiting(), 0);
	herd_end();
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		a_long_outage,
		a_short_outage,
		the_same_retry_after_for_all,
		NULL
	};

	log_set_level(LOG_LEVEL_ERROR);
	return unit_run("herd", tests);
}
