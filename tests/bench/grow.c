/*
 * grow: what an event costs as what lies around it grows: the run table with
 * 1,000 to 1,000,000 open events, journal and spool with 1 to 1,000 segments.
 * Prints "curve <tab> x <tab> nanoseconds of CPU an event": the least of some
 * measurements, as what else the machine does only ever adds.
 *
 * The engine runs whole, with a transport that answers at once; durability is
 * never, so that no disk is measured.
 */
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <math.h>
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
#define TIMES		5	/* measured */
#define TEXT		200	/* bytes of an event's text */
#define SEGMENT		(1u << 20)
#define FILL		(60u << 10)	/* of a record that fills segments */
#define BODY		2500

static char dir[256];
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
make_dir(const char *name)
{
	static char path[300];

	(void)snprintf(path, sizeof path, "%s/%s", dir, name);
	if (mkdir(path, 0700) < 0)
		die(path);
	return path;
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
take(struct engine *e, const char *kind, uint64_t run, int n)
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
	(void)snprintf(runid, sizeof runid, "%s-%" PRIu64, kind, run);
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

/* Runs that stay open, interleaved, until there are so many events. */
static void
fill(struct engine *e, uint64_t *have, uint64_t want)
{
	for (; *have < want; ++*have) {
		uint64_t block = *have / 4096;

		/* 256 runs at a time, each of whose events come in turn. */
		take(e, "open", block * 256 + *have % 256,
		    (int)(*have % 4096 / 256) % (RUN - 1));
		if (*have % 64 == 63)
			turn(e);
	}
	turn(e);
}

/* Runs come and go beside those that are open; ns an event. */
static double
measure(struct engine *e, uint64_t *run, unsigned events)
{
	double begin = cpu_ns();

	for (unsigned i = 0; i < events; i++) {
		take(e, "passing", *run, (int)(i % RUN));
		if (i % RUN == RUN - 1) {
			++*run;
			turn(e);
		}
	}
	while (net.n > 0)
		turn(e);
	return (cpu_ns() - begin) / events;
}

static void
grow_runs(uint64_t most)
{
	struct engine_env env = { .transport = &net.transport,
		.answer = on_answer, .sync = on_sync };
	struct conf *conf = make_conf(make_dir("engine"));
	struct engine *e;
	struct why why;
	uint64_t have = 0, run = 0;

	net.transport = (struct transport){ .send = net_send,
		.cancel = net_cancel };
	rng_seed(&env.rng, 8);
	if (engine_open(conf, &env, clock_now(), &e, &why) < 0)
		die(why.text);
	(void)measure(e, &run, 20000);	/* memory is taken, caches are warm */
	for (uint64_t n = 1000; n <= most; n *= 10) {
		fill(e, &have, n);
		settle();
		double least = measure(e, &run, 16000);
		for (int i = 1; i < TIMES; i++)
			least = fmin(least, measure(e, &run, 16000));
		(void)printf("open events\t%" PRIu64 "\t%.0f\n", n, least);
	}
	engine_close(e, clock_now());
	conf_free(conf);
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
measure_journal(struct journal *j, struct buf *scratch, const char *json)
{
	double begin = cpu_ns();
	struct why why;
	const char *got;

	for (int i = 0; i < 8000; i++) {
		struct journal_place p = journal_put(j, json, 500);

		if (i % RUN != RUN - 1)
			continue;
		journal_round(j);
		if (journal_read(j, p, 3, scratch, &got, &why) < 0)
			die(why.text);
	}
	return (cpu_ns() - begin) / 8000;
}

static void
grow_journal(unsigned most)
{
	const struct journal_options o = { .segment_bytes = SEGMENT,
		.buffer_bytes = 256u << 10, .instance = "grow",
		.state = give_state };
	const struct journal_replay none = { .arg = NULL };
	static char json[FILL];
	struct buf scratch;
	struct journal *j;
	struct why why;

	memset(json, ' ', sizeof json);
	buf_init(&scratch, 0);
	if (journal_open(make_dir("journal"), dir, &o, &none, &j, &why) < 0)
		die(why.text);
	for (unsigned n = 1; n <= most; n *= 10) {
		while (seglog_count(journal_log(j)) < n) {
			(void)journal_put(j, json, sizeof json);
			journal_round(j);
		}
		settle();
		double least = measure_journal(j, &scratch, json);
		for (int i = 1; i < TIMES; i++)
			least = fmin(least, measure_journal(j, &scratch, json));
		(void)printf("journal segments\t%u\t%.0f\n", n, least);
	}
	journal_close(j);
	buf_free(&scratch);
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
measure_spool(struct spool *sp, struct buf *scratch, const char *body)
{
	double begin = cpu_ns();
	struct spool_batch b;
	const uint8_t *got;

	for (int i = 0; i < 2000; i++) {
		struct spool_ref ref = spool_put(sp, body, BODY);

		spool_round(sp);
		if (spool_load(sp, &ref, &b, scratch, &got, NULL) < 0)
			die("spool load");
		(void)spool_done(sp, &ref, RUN, 0, 0, SPOOL_DROP_OLDEST, NULL);
	}
	return (cpu_ns() - begin) / 2000 / RUN;
}

static void
grow_spool(unsigned most)
{
	const struct spool_options o = { .kind = SEGLOG_SPOOL,
		.segment_bytes = SEGMENT, .buffer_bytes = 256u << 10,
		.instance = "grow" };
	static char body[FILL];
	struct buf scratch;
	struct spool *sp;
	struct why why;

	buf_init(&scratch, 0);
	if (spool_open(make_dir("spool"), dir, &o, NULL, NULL, &sp, &why) < 0)
		die(why.text);
	for (unsigned n = 1; n <= most; n *= 10) {
		while (seglog_count(spool_log(sp)) < n) {
			(void)spool_put(sp, body, sizeof body);
			spool_round(sp);
		}
		settle();
		double least = measure_spool(sp, &scratch, body);
		for (int i = 1; i < TIMES; i++)
			least = fmin(least, measure_spool(sp, &scratch, body));
		(void)printf("spool segments\t%u\t%.0f\n", n, least);
	}
	spool_close(sp);
	buf_free(&scratch);
}

int
main(int argc, char **argv)
{
	bool quick = argc > 1 && strcmp(argv[1], "quick") == 0;
	const char *tmp = getenv("TMPDIR");

	mem_setup();
	(void)snprintf(dir, sizeof dir, "%s/lumnid-grow-XXXXXX",
	    tmp != NULL ? tmp : "/tmp");
	if (mkdtemp(dir) == NULL)
		die(dir);
	(void)atexit(remove_dir);
	log_set_level(LOG_LEVEL_ERROR);
	grow_runs(quick ? 100000 : 1000000);
	grow_journal(quick ? 100 : 1000);
	grow_spool(quick ? 100 : 1000);
	return 0;
}
