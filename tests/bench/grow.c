/*
 * grow: what an event costs as what lies around it grows: the run table with
 * 1,000 to 1,000,000 open events, journal and spool with 1 to 1,000 segments.
 * All sizes of a curve are made first and then measured in turn, some rounds:
 * a machine that is slow for a second is slow for all of them. Prints "curve
 * <tab> x <tab> nanoseconds of CPU an event", the rounds with spaces between.
 *
 * Two curves of the run table: what a run costs that comes and goes beside
 * those that are open; and what an event costs that may belong to any of them,
 * where the processor's caches hold less of them the more they are, and an
 * event is read back from the page cache, not from lumnid's own.
 *
 * The engine runs whole, with a transport that answers at once; durability is
 * never, so that no disk is measured.
 */
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <msgpack.h>

#include "base/log.h"
#include "base/mem.h"
#include "core/engine.h"
#include "store/journal.h"
#include "store/spool.h"

#define RUN		16	/* events */
#define SIZES		4	/* of a curve */
#define ROUNDS		9	/* measured */
#define TEXT		200	/* bytes of an event's text */
#define SEGMENT		(1u << 20)
#define FILL		(60u << 10)	/* of a record that fills segments */
#define BODY		2500

static char dir[256];
static struct rng rng;
static struct {
	struct transport	transport;
	uint64_t		tags[256];
	size_t			n;
} net;

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static void
remove_dir(void)
{
	(void)nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void __attribute__((noreturn))
die(const char *what)
{
	(void)fprintf(stderr, "grow: %s\n", what);
	exit(1);
}

/*
 * What fills the disk is written back now: else the kernel takes the time for
 * it out of the writes that are measured.
 */
static void
settle(void)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || syncfs(fd) < 0)
		die("syncfs");
	(void)close(fd);
}

static double
cpu_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static const char *
make_dir(const char *name, uint64_t x)
{
	static char path[300];

	(void)snprintf(path, sizeof path, "%s/%s-%" PRIu64, dir, name, x);
	if (mkdir(path, 0700) < 0)
		die(path);
	return path;
}

/* A run that is open, and how many events it has. */
struct open_run {
	uint64_t	run;
	int		n;
};

/* One of a curve: measure() gives the ns an event beside x of something. */
struct size {
	uint64_t	 x, run;	/* run: the next one's number */
	struct open_run	*open, passing;
	size_t		 open_n;
	struct engine	*engine;
	struct journal	*journal;
	struct spool	*spool;
	struct buf	 scratch;
	double		 ns[ROUNDS];
};

/* Sizes of x = first, ten times that, and so on. */
static void
sizes_init(struct size *sizes, size_t n, uint64_t first)
{
	memset(sizes, 0, n * sizeof *sizes);
	for (size_t i = 0; i < n; i++, first *= 10) {
		sizes[i].x = first;
		buf_init(&sizes[i].scratch, 0);
	}
}

static void
sizes_free(struct size *sizes, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (sizes[i].engine != NULL)
			engine_close(sizes[i].engine, clock_now());
		if (sizes[i].journal != NULL)
			journal_close(sizes[i].journal);
		if (sizes[i].spool != NULL)
			spool_close(sizes[i].spool);
		free(sizes[i].open);
		buf_free(&sizes[i].scratch);
	}
}

static void
measure_all(const char *curve, struct size *sizes, size_t n,
    double (*measure)(struct size *))
{
	settle();
	for (size_t i = 0; i < n; i++)	/* memory is taken, caches are warm */
		(void)measure(&sizes[i]);
	for (size_t round = 0; round < ROUNDS; round++)
		for (size_t i = 0; i < n; i++)
			sizes[i].ns[round] = measure(&sizes[i]);
	for (size_t i = 0; i < n; i++) {
		(void)printf("%s\t%" PRIu64 "\t", curve, sizes[i].x);
		for (size_t round = 0; round < ROUNDS; round++)
			(void)printf("%.0f%c", sizes[i].ns[round],
			    round == ROUNDS - 1 ? '\n' : ' ');
	}
}

/* --- the engine --- */

static int
net_send(struct transport *tp, const struct transport_request *rq,
    struct why *why)
{
	if (net.n == NELEM(net.tags))
		return -1;
	net.tags[net.n++] = rq->tag;
	return 0;
}

static void
net_cancel(struct transport *tp, uint64_t tag)
{
}

static void
on_answer(void *arg, uint64_t peer, enum event_code code, const char *text,
    const struct event_ack *ack)
{
}

static int
on_sync(void *arg, const struct seglog_sync *set)
{
	die("a sync was asked for");
}

static void
turn(struct engine *e)
{
	struct now now = clock_now();
	struct transport_answer ok = { .result = TRANSPORT_ANSWERED,
		.status = 202 };

	engine_turn(e, now);
	while (net.n > 0)
		engine_answer(e, net.tags[--net.n], &ok, now);
}

static struct conf *
make_conf(const char *path)
{
	static const char *const keys[][2] = {
		{ "upstream.url", "http://localhost" },
		{ "storage.durability", "never" },
		{ "storage.journal_max", "4GiB" },
		{ "runs.idle", "1h" }, { "runs.max_age", "1h" },
		{ "runs.max_open", "1000000" },
	};
	struct conf *conf;
	struct why why;

	if (conf_load(NULL, true, &conf, &why) < 0)
		die(why.text);
	for (size_t i = 0; i < NELEM(keys); i++)
		if (conf_set(conf, keys[i][0], keys[i][1], &why) < 0)
			die(why.text);
	if (conf_set(conf, "storage.dir", path, &why) < 0)
		die(why.text);
	return conf;
}

/* One event of a run: n tells which it is, the last one ends the run. */
static void
take(struct engine *e, uint64_t run, int n)
{
	static char text[TEXT + 1];
	static msgpack_sbuffer out;
	msgpack_packer pk;
	struct event_ack ack;
	struct why why;
	char runid[40];

	if (text[0] == '\0')
		memset(text, 'x', TEXT);
	msgpack_sbuffer_clear(&out);
	msgpack_packer_init(&pk, &out, msgpack_sbuffer_write);
	(void)snprintf(runid, sizeof runid, "run-%" PRIu64, run);
	msgpack_pack_map(&pk, 3);
	msgpack_pack_str_with_body(&pk, "runId", 5);
	msgpack_pack_str_with_body(&pk, runid, strlen(runid));
	msgpack_pack_str_with_body(&pk, "type", 4);
	msgpack_pack_str_with_body(&pk, n == RUN - 1 ? "run_end" : "step",
	    n == RUN - 1 ? 7 : 4);
	msgpack_pack_str_with_body(&pk, "text", 4);
	msgpack_pack_str_with_body(&pk, text, TEXT);
	if (engine_take(e, BOOKS_STREAM, 0, (const uint8_t *)out.data,
	    out.size, clock_now(), &ack, &why) != EVENT_OK)
		die(why.text);
}

/* The next event comes to any of the open runs; one that ends is followed. */
static void
take_any(struct size *s)
{
	struct open_run *r = &s->open[rng_below(&rng, s->open_n)];

	take(s->engine, r->run, r->n++);
	if (r->n == RUN)
		*r = (struct open_run){ .run = s->run++ };
}

/* The next one of a run that comes and goes beside those that are open. */
static void
take_passing(struct size *s)
{
	take(s->engine, s->passing.run, s->passing.n++);
	if (s->passing.n == RUN)
		s->passing = (struct open_run){ .run = s->run++ };
}

/* Runs at any point of their way, until x of their events are held. */
static void
fill(struct size *s)
{
	s->open_n = s->x * 2 / (RUN - 1);
	s->open = mem_zalloc(s->open_n * sizeof *s->open);
	for (size_t i = 0; i < s->open_n; i++)
		s->open[i].run = s->run++;
	s->passing.run = s->run++;
	/* Twice: from where all begin to where they are at any point. */
	for (uint64_t i = 0; i < 2 * s->x; i++) {
		take_any(s);
		if (i % 64 == 63)
			turn(s->engine);
	}
	turn(s->engine);
}

static double
measure_events(struct size *s, void (*take_next)(struct size *))
{
	const unsigned events = 16000;
	double begin = cpu_ns();

	for (unsigned i = 0; i < events; i++) {
		take_next(s);
		if (i % RUN == RUN - 1)
			turn(s->engine);
	}
	while (net.n > 0)
		turn(s->engine);
	return (cpu_ns() - begin) / events;
}

static double
measure_open(struct size *s)
{
	return measure_events(s, take_any);
}

static double
measure_passing(struct size *s)
{
	return measure_events(s, take_passing);
}

static void
grow_runs(size_t n)
{
	struct engine_env env = { .transport = &net.transport,
		.answer = on_answer, .sync = on_sync };
	struct size sizes[SIZES];
	struct conf *confs[SIZES];
	struct why why;

	net.transport = (struct transport){ .send = net_send,
		.cancel = net_cancel };
	rng_seed(&env.rng, 8);
	rng_seed(&rng, 9);
	sizes_init(sizes, n, 1000);
	for (size_t i = 0; i < n; i++) {
		confs[i] = make_conf(make_dir("engine", sizes[i].x));
		if (engine_open(confs[i], &env, clock_now(), &sizes[i].engine,
		    &why) < 0)
			die(why.text);
		fill(&sizes[i]);
	}
	measure_all("open events", sizes, n, measure_passing);
	measure_all("open events, the next of any run", sizes, n,
	    measure_open);
	sizes_free(sizes, n);
	for (size_t i = 0; i < n; i++)
		conf_free(confs[i]);
}

/* --- the logs --- */

static void
give_state(void *arg, struct journal_state *st)
{
}

static void
journal_round(struct journal *j)
{
	struct seglog_sync set = { .n = 0 };

	/* As if the disk were infinitely fast. */
	if (journal_flush(j, NULL) < 0)
		die("journal");
	journal_sync_begin(j, &set);
	journal_sync_end(j, true);
	if (journal_trim(j, NULL) < 0)
		die("journal trim");
}

static struct journal_place
journal_put(struct journal *j, const char *json, size_t len)
{
	struct journal_place place;
	struct wall now = clock_now().wall;
	uint64_t lsn;

	if (journal_reserve(j, 1, len, 3, now, NULL) < 0 ||
	    journal_event(j, "run", 3, json, len, false, now, &lsn, &place,
	    NULL) < 0)
		die("journal");
	return place;
}

static double
measure_journal(struct size *s)
{
	static char json[500];
	double begin = cpu_ns();
	struct why why;
	const char *got;

	memset(json, ' ', sizeof json);
	for (int i = 0; i < 8000; i++) {
		struct journal_place p = journal_put(s->journal, json,
		    sizeof json);

		if (i % RUN != RUN - 1)
			continue;
		journal_round(s->journal);
		if (journal_read(s->journal, p, 3, &s->scratch, &got,
		    &why) < 0)
			die(why.text);
	}
	return (cpu_ns() - begin) / 8000;
}

static void
grow_journal(size_t n)
{
	const struct journal_options o = { .segment_bytes = SEGMENT,
		.buffer_bytes = 256u << 10, .instance = "grow",
		.state = give_state };
	const struct journal_replay none = { .arg = NULL };
	struct size sizes[SIZES];
	static char json[FILL];
	struct why why;

	memset(json, ' ', sizeof json);
	sizes_init(sizes, n, 1);
	for (struct size *s = sizes; s < sizes + n; s++) {
		if (journal_open(make_dir("journal", s->x), dir, &o, &none,
		    &s->journal, &why) < 0)
			die(why.text);
		while (seglog_count(journal_log(s->journal)) < s->x) {
			(void)journal_put(s->journal, json, sizeof json);
			journal_round(s->journal);
		}
	}
	measure_all("journal segments", sizes, n, measure_journal);
	sizes_free(sizes, n);
}

static void
spool_round(struct spool *sp)
{
	struct seglog_sync set = { .n = 0 };

	if (spool_flush(sp, NULL) < 0)
		die("spool");
	spool_sync_begin(sp, &set);
	spool_sync_end(sp, true);
	if (spool_trim(sp, UINT64_MAX, NULL) < 0)
		die("spool trim");
}

static struct spool_ref
spool_put(struct spool *sp, const char *body, size_t len)
{
	struct spool_batch b = { .kind = SPOOL_RUN, .reason = SPOOL_END,
		.part = 1, .events = RUN, .compressed = true,
		.raw_len = (uint32_t)len, .first = clock_now().wall,
		.sealed = clock_now().wall, .runid_len = 3, .runid = "run" };
	struct spool_ref ref;

	if (spool_append(sp, &b, body, len, &ref, NULL) < 0)
		die("spool");
	return ref;
}

static double
measure_spool(struct size *s)
{
	static const char body[BODY];
	double begin = cpu_ns();
	struct spool_batch b;
	const uint8_t *got;

	for (int i = 0; i < 2000; i++) {
		struct spool_ref ref = spool_put(s->spool, body, BODY);

		spool_round(s->spool);
		if (spool_load(s->spool, &ref, &b, &s->scratch, &got,
		    NULL) < 0)
			die("spool load");
		(void)spool_done(s->spool, &ref, RUN, 0, 0, SPOOL_DROP_OLDEST,
		    NULL);
	}
	return (cpu_ns() - begin) / 2000 / RUN;
}

static void
grow_spool(size_t n)
{
	const struct spool_options o = { .kind = SEGLOG_SPOOL,
		.segment_bytes = SEGMENT, .buffer_bytes = 256u << 10,
		.instance = "grow" };
	struct size sizes[SIZES];
	static const char body[FILL];
	struct why why;

	sizes_init(sizes, n, 1);
	for (struct size *s = sizes; s < sizes + n; s++) {
		if (spool_open(make_dir("spool", s->x), dir, &o, NULL, NULL,
		    &s->spool, &why) < 0)
			die(why.text);
		while (seglog_count(spool_log(s->spool)) < s->x) {
			(void)spool_put(s->spool, body, sizeof body);
			spool_round(s->spool);
		}
	}
	measure_all("spool segments", sizes, n, measure_spool);
	sizes_free(sizes, n);
}

int
main(int argc, char **argv)
{
	size_t n = argc > 1 && strcmp(argv[1], "quick") == 0 ? SIZES - 1 :
	    SIZES;
	const char *tmp = getenv("TMPDIR");

	mem_setup();
	(void)snprintf(dir, sizeof dir, "%s/lumnid-grow-XXXXXX",
	    tmp != NULL ? tmp : "/tmp");
	if (mkdtemp(dir) == NULL)
		die(dir);
	(void)atexit(remove_dir);
	log_set_level(LOG_LEVEL_ERROR);
	grow_runs(n);
	grow_journal(n);
	grow_spool(n);
	return 0;
}
