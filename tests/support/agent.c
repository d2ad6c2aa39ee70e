/*
 * agent: a stand-in for an agent that uses the C client.
 *
 *	agent ADDRESS runs=N steps=N threads=N queue=BYTES flush_ms=N prefix=S
 *	    Runs of run_start, steps-2 tool calls and run_end, all open at once;
 *	    pause_us: between two steps of a run.
 *	agent ADDRESS measure blocks=N steps=N work_us=N ...
 *	    Blocks of steps of work, with and without the client in turn.
 *
 * Prints a line, "worked", when all is said but not yet handed over, and one of
 * JSON at the end. Events carry `n`, their number within their run.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lumni.h"

static struct {
	long	runs, steps, threads, queue, flush_ms, blocks, work_us, pause_us;
	char	prefix[64];
	bool	measure;
} opt = { .runs = 1, .steps = 3, .threads = 1, .flush_ms = 10000,
    .blocks = 41, .work_us = 1000, .prefix = "run" };

static struct lumni *client;

static uint64_t
clock_ns(clockid_t clock)
{
	struct timespec ts;

	(void)clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static uint64_t
now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

static void
step(const char *run, long n, long last)
{
	const char *type = n == 0 ? "run_start" : n == last ? "run_end" :
	    "tool_call";

	LUMNI_EVENT(client, run, type, lumni_int("n", n),
	    lumni_str("name", "issue_refund"), lumni_str("status", "failed"),
	    lumni_str("error", "502 Bad Gateway"),
	    lumni_double("durationMs", 812.4), lumni_str("stepId", "s2"),
	    lumni_str("parentId", "s1"));
}

/* Every thread has its share of the runs, and goes through them in turn. */
static void *
work(void *arg)
{
	long me = (long)(intptr_t)arg;
	char run[96];

	for (long n = 0; n < opt.steps; n++) {
		const struct timespec pause = {
		    .tv_nsec = opt.pause_us * 1000 };

		(void)nanosleep(&pause, NULL);
		for (long r = me; r < opt.runs; r += opt.threads) {
			snprintf(run, sizeof run, "%s-%ld", opt.prefix, r);
			step(run, n, opt.steps - 1);
		}
	}
	return NULL;
}

/* A fixed amount of work, so that what disturbs it shows. */
static void
spin(long loops)
{
	for (volatile long i = 0; i < loops; i++)
		;
}

static long
calibrate(void)
{
	long loops = 1000;

	for (;;) {
		uint64_t t = now_ns();

		spin(loops);
		t = now_ns() - t;
		if (t > 50000000)
			return (long)((double)loops * 1000.0 *
			    (double)opt.work_us / (double)t);
		loops *= 2;
	}
}

static int
compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double
median(double *v, long n)
{
	qsort(v, (size_t)n, sizeof *v, compare);
	return v[n / 2];
}

struct block {
	uint64_t wall, cpu;	/* ns, of the whole */
	double	*call_cpu;	/* us, of each step's call */
	double	*call_wall;
};

static void
block(struct block *b, long loops)
{
	b->wall = now_ns();
	b->cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	for (long n = 0; n < opt.steps; n++) {
		uint64_t cpu, wall;

		spin(loops);
		wall = now_ns();
		cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID);
		step(opt.prefix, n + 1, 0);
		b->call_cpu[n] = (double)(clock_ns(CLOCK_THREAD_CPUTIME_ID) -
		    cpu) / 1000;
		b->call_wall[n] = (double)(now_ns() - wall) / 1000;
	}
	b->wall = now_ns() - b->wall;
	b->cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID) - b->cpu;
}

static double *
doubles(long n)
{
	double *v = calloc((size_t)n, sizeof *v);

	if (v == NULL)
		exit(1);
	return v;
}

/*
 * Medians: of blocks with the client over those without, the processor's time
 * and the clock's; and of what a call takes of either.
 */
static void
measure(char *dst, size_t size)
{
	long loops = calibrate(), calls = opt.blocks * opt.steps;
	double *cpu = doubles(opt.blocks), *wall = doubles(opt.blocks);
	double *call_cpu = doubles(calls), *call_wall = doubles(calls);
	double *none = doubles(opt.steps);
	struct lumni *real = client;

	for (long b = 0; b < opt.blocks; b++) {
		struct block with = { .call_cpu = call_cpu + b * opt.steps,
		    .call_wall = call_wall + b * opt.steps };
		struct block without = { .call_cpu = none, .call_wall = none };

		for (long i = 0; i < 2; i++) {
			bool on = (b + i) % 2;	/* neither is always first */

			client = on ? real : NULL;
			block(on ? &with : &without, loops);
		}
		cpu[b] = (double)with.cpu / (double)without.cpu;
		wall[b] = (double)with.wall / (double)without.wall;
	}
	client = real;
	snprintf(dst, size, ", \"cpu_ratio\": %.5f, \"wall_ratio\": %.5f, "
	    "\"call_cpu_us\": %.2f, \"call_us\": %.2f",
	    median(cpu, opt.blocks), median(wall, opt.blocks),
	    median(call_cpu, calls), median(call_wall, calls));
	free(cpu);
	free(wall);
	free(call_cpu);
	free(call_wall);
	free(none);
}

static void
option(const char *arg)
{
	static const struct { const char *name; long *value; } names[] = {
		{ "runs=", &opt.runs }, { "steps=", &opt.steps },
		{ "threads=", &opt.threads }, { "queue=", &opt.queue },
		{ "flush_ms=", &opt.flush_ms }, { "blocks=", &opt.blocks },
		{ "work_us=", &opt.work_us }, { "pause_us=", &opt.pause_us },
	};

	if (strcmp(arg, "measure") == 0) {
		opt.measure = true;
		return;
	}
	if (strncmp(arg, "prefix=", 7) == 0) {
		snprintf(opt.prefix, sizeof opt.prefix, "%s", arg + 7);
		return;
	}
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		if (strncmp(arg, names[i].name, strlen(names[i].name)) == 0) {
			*names[i].value = atol(arg + strlen(names[i].name));
			return;
		}
	fprintf(stderr, "agent: what is %s?\n", arg);
	exit(2);
}

int
main(int argc, char **argv)
{
	struct lumni_options o = { .exit_ms = -1 };
	struct lumni_stats st;
	pthread_t t[64];
	char measured[200] = "";
	uint64_t begun, took, cpu;
	int flushed;

	for (int i = 2; i < argc; i++)
		option(argv[i]);
	if (argc < 2 || opt.threads > 64)
		return 2;
	o.address = argv[1];
	o.queue_bytes = (size_t)opt.queue;
	o.message_bytes = opt.queue != 0 ? 4096 : 0;
	client = lumni_open(&o);
	if (client == NULL)
		return 1;
	begun = now_ns();
	cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	if (opt.measure) {
		measure(measured, sizeof measured);
	} else {
		for (long i = 0; i < opt.threads; i++)
			if (pthread_create(&t[i], NULL, work,
			    (void *)(intptr_t)i) != 0)
				return 1;
		for (long i = 0; i < opt.threads; i++)
			(void)pthread_join(t[i], NULL);
	}
	took = now_ns() - begun;
	cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	puts("worked");
	(void)fflush(stdout);		/* of no use to fail */
	flushed = lumni_flush(client, (int)opt.flush_ms) == 0;
	/* Where something was dropped, this carries the report. */
	if (flushed)
		LUMNI_EVENT(client, "last", "run_end",
		    lumni_str("status", "ok"));
	flushed = lumni_flush(client, (int)opt.flush_ms) == 0;
	lumni_get_stats(client, &st);
	printf("{\"events\": %" PRIu64 ", \"sent\": %" PRIu64
	    ", \"dropped\": %" PRIu64 ", \"queued\": %" PRIu64
	    ", \"reported\": %" PRIu64 ", \"connects\": %" PRIu64
	    ", \"seconds\": %.6f, \"cpu_seconds\": %.6f"
	    ", \"flushed\": %s%s}\n",
	    st.events, st.sent, st.dropped, st.queued, st.reported,
	    st.connects, (double)took / 1e9, (double)cpu / 1e9,
	    flushed ? "true" : "false", measured);
	lumni_close(client);
	return 0;
}
