/*
 * loadgen: sends a repeatable load to lumnid, one event a write, at a fixed
 * rate or as fast as it is taken, and prints what it did as JSON.
 *
 * One thread; the runs are spread over the connections, and the events of one
 * run keep to one connection. The clock of an ack runs from the write of its
 * message to the reading of the answer. --prepare makes all messages before
 * the first is sent, so that sending costs no more than the writes; --ends
 * writes "runId microseconds-since-1970" for the last event of each run.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <msgpack.h>

#include "support/load_event.h"

#define CONNECTIONS_MAX	1024

struct gen {
	struct load_options	 opt;
	const char		*stream, *dgram, *udp;
	unsigned		 connections;
	double			 rate;		/* events a second; 0: none */
	uint64_t		 window;	/* acks due at most; 0: any */
	bool			 prepare;	/* make all before the first write */
	struct pollfd		 fds[CONNECTIONS_MAX];
	msgpack_unpacker	 answers[CONNECTIONS_MAX];
	FILE			*ends;		/* when each run's last was sent */
	/* By message: when it was sent, then how long its ack took, in us. */
	int64_t			*times;
	uint32_t		*sizes;
	int64_t			 began_us;	/* the first write */
	uint64_t		 sent, bytes, due, acks, errors, dropped;
};

static int64_t
now_us(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static int64_t
wall_us(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static void __attribute__((noreturn))
die(const char *what)
{
	(void)fprintf(stderr, "loadgen: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* --- connections --- */

static int
connect_unix(const char *path, int type)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	if (fd < 0 || strlen(path) >= sizeof sun.sun_path)
		die(path);
	(void)strcpy(sun.sun_path, path);
	if (connect(fd, (struct sockaddr *)&sun, sizeof sun) < 0)
		die(path);
	return fd;
}

static int
connect_udp(const char *port)
{
	struct sockaddr_in sin = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	sin.sin_port = htons((uint16_t)atoi(port));
	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || connect(fd, (struct sockaddr *)&sin, sizeof sin) < 0)
		die("udp");
	return fd;
}

static void
connect_all(struct gen *g)
{
	unsigned i;
	int fd;

	for (i = 0; i < g->connections; i++) {
		if (g->stream != NULL)
			fd = connect_unix(g->stream, SOCK_STREAM);
		else if (g->dgram != NULL)
			fd = connect_unix(g->dgram, SOCK_DGRAM);
		else
			fd = connect_udp(g->udp);
		/* A full datagram socket cannot be polled for: block there. */
		if (g->stream != NULL && fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
			die("fcntl");
		g->fds[i] = (struct pollfd){ .fd = fd, .events = POLLIN };
		if (!msgpack_unpacker_init(&g->answers[i], 4096))
			die("memory");
	}
}

/* --- answers --- */

static void
read_answer(struct gen *g, const msgpack_object *o)
{
	const msgpack_object *id = NULL;
	bool error = false;
	uint32_t i;

	for (i = 0; o->type == MSGPACK_OBJECT_MAP && i < o->via.map.size;
	    i++) {
		const msgpack_object_kv *kv = &o->via.map.ptr[i];

		if (kv->key.via.str.size == 3 &&
		    memcmp(kv->key.via.str.ptr, "ack", 3) == 0)
			id = &kv->val;
		else
			error = true;
	}
	if (error || id == NULL ||
	    id->type != MSGPACK_OBJECT_POSITIVE_INTEGER ||
	    id->via.u64 >= g->sent || g->times[id->via.u64] <= 0) {
		if (g->errors++ == 0) {
			(void)fprintf(stderr, "loadgen: answer: ");
			msgpack_object_print(stderr, *o);
			(void)fprintf(stderr, "\n");
		}
		if (id == NULL || !error)
			return;
	} else {
		g->acks++;
		g->times[id->via.u64] -= now_us();	/* negative: taken */
	}
	g->due--;
}

static void
read_answers(struct gen *g, unsigned i)
{
	msgpack_unpacker *up = &g->answers[i];
	msgpack_unpacked result;
	ssize_t n;

	if (!msgpack_unpacker_reserve_buffer(up, 16384))
		die("memory");
	n = read(g->fds[i].fd, msgpack_unpacker_buffer(up), 16384);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		if (n == 0)
			errno = EPIPE;
		die("lumnid closed the connection");
	}
	msgpack_unpacker_buffer_consumed(up, (size_t)n);
	msgpack_unpacked_init(&result);
	while (msgpack_unpacker_next(up, &result) == MSGPACK_UNPACK_SUCCESS)
		read_answer(g, &result.data);
	msgpack_unpacked_destroy(&result);
}

/* Read what answers there are, waiting at most so long for one; -1: ever. */
static void
poll_answers(struct gen *g, int64_t wait_us)
{
	struct timespec ts = { wait_us / 1000000, wait_us % 1000000 * 1000 };
	unsigned i;

	if (ppoll(g->fds, g->connections, wait_us < 0 ? NULL : &ts,
	    NULL) <= 0)
		return;
	for (i = 0; i < g->connections; i++)
		if ((g->fds[i].revents & (POLLIN | POLLHUP | POLLERR)) != 0)
			read_answers(g, i);
}

/* --- sending --- */

static void
send_stream(struct gen *g, unsigned i, const char *p, size_t len)
{
	while (len > 0) {
		ssize_t n = write(g->fds[i].fd, p, len);

		if (n > 0) {
			p += n;
			len -= (size_t)n;
			continue;
		}
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			die("write");
		g->fds[i].events |= POLLOUT;
		poll_answers(g, -1);
		g->fds[i].events = POLLIN;
	}
}

static void
send_datagram(struct gen *g, unsigned i, const char *p, size_t len)
{
	while (send(g->fds[i].fd, p, len, 0) < 0) {
		if (errno == EINTR)
			continue;
		if (errno == ECONNREFUSED || errno == ENOBUFS) {
			g->dropped++;
			return;
		}
		die("send");
	}
}

/* Keep to the rate and the window; meanwhile answers are read. */
static void
wait_turn(struct gen *g, int64_t start_us)
{
	int64_t left;

	if (g->rate > 0) {
		while ((left = start_us + (int64_t)((double)g->sent * 1e6 /
		    g->rate) - now_us()) > 0)
			poll_answers(g, left);
	}
	while (g->window > 0 && g->due >= g->window)
		poll_answers(g, -1);
	if (g->due > 0 && g->sent % 32 == 0)
		poll_answers(g, 0);
}

static void
send_one(struct gen *g, const struct load_message *m, int64_t start_us)
{
	unsigned i = m->slot % g->connections;

	wait_turn(g, start_us);
	g->sizes[g->sent] = (uint32_t)m->len;
	g->bytes += m->len;
	if (m->wants_ack) {
		g->times[g->sent] = now_us();
		g->due++;
	}
	g->sent++;
	if (g->stream != NULL)
		send_stream(g, i, m->data, m->len);
	else
		send_datagram(g, i, m->data, m->len);
	if (m->ends && g->ends != NULL)
		(void)fprintf(g->ends, "%s %lld\n", m->runid,
		    (long long)wall_us());
}

/* All messages in memory, one behind the other. */
static struct load_message *
make_all(const struct gen *g, struct load *ld)
{
	struct load_message *all = calloc(g->opt.events, sizeof *all);
	uint64_t i;

	for (i = 0; all != NULL && load_next(ld, i, &all[i]); i++) {
		char *copy = malloc(all[i].len);

		if (copy == NULL)
			die("memory");
		memcpy(copy, all[i].data, all[i].len);
		all[i].data = copy;
	}
	if (all == NULL)
		die("memory");
	return all;
}

static int64_t
send_all(struct gen *g)
{
	struct load *ld = load_new(&g->opt);
	struct load_message *all = g->prepare ? make_all(g, ld) : NULL, m;
	int64_t start_us = g->began_us = now_us();
	uint64_t i;

	for (i = 0; all != NULL && i < g->opt.events; i++)
		send_one(g, &all[i], start_us);
	while (all == NULL && load_next(ld, g->sent, &m))
		send_one(g, &m, start_us);
	while (g->due > 0)
		poll_answers(g, -1);
	start_us = now_us() - start_us;
	for (i = 0; all != NULL && i < g->opt.events; i++)
		free((void *)(uintptr_t)all[i].data);
	free(all);
	(void)printf("{\"runs\":%llu,", (unsigned long long)load_runs(ld));
	load_free(ld);
	return start_us;
}

/* --- the report --- */

static int
by_size(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static int
by_time(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x < y) - (x > y);	/* they are negative */
}

static void
report(struct gen *g, int64_t took_us)
{
	struct rusage ru;
	double seconds = (double)took_us / 1e6;
	uint64_t i, n = 0;

	(void)getrusage(RUSAGE_SELF, &ru);
	qsort(g->sizes, g->sent, sizeof *g->sizes, by_size);
	for (i = 0; i < g->sent; i++)
		if (g->times[i] < 0)
			g->times[n++] = g->times[i];
	qsort(g->times, n, sizeof *g->times, by_time);
	(void)printf("\"began\":%.6f,\"events\":%llu,\"bytes\":%llu,"
	    "\"seconds\":%.6f,"
	    "\"events_per_second\":%.0f,\"cpu_seconds\":%.3f,"
	    "\"dropped\":%llu,\"acks\":%llu,\"errors\":%llu",
	    (double)g->began_us / 1e6, (unsigned long long)g->sent,
	    (unsigned long long)g->bytes, seconds, (double)g->sent / seconds,
	    (double)ru.ru_utime.tv_sec + (double)ru.ru_stime.tv_sec +
	    (double)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) / 1e6,
	    (unsigned long long)g->dropped, (unsigned long long)g->acks,
	    (unsigned long long)g->errors);
	if (n > 0)
		(void)printf(",\"ack_p50_us\":%lld,\"ack_p99_us\":%lld,"
		    "\"ack_max_us\":%lld", (long long)-g->times[n / 2],
		    (long long)-g->times[n * 99 / 100],
		    (long long)-g->times[n - 1]);
	(void)printf(",\"size_median\":%u,\"size_mean\":%.0f,"
	    "\"size_p99\":%u,\"size_max\":%u}\n", g->sizes[g->sent / 2],
	    (double)g->bytes / (double)g->sent, g->sizes[g->sent * 99 / 100],
	    g->sizes[g->sent - 1]);
}

static void __attribute__((noreturn))
usage(void)
{
	(void)fprintf(stderr, "usage: loadgen --stream PATH | --dgram PATH | "
	    "--udp PORT\n\t[--events N] [--connections N] [--runs N] "
	    "[--rate N] [--seed N]\n\t[--prefix TEXT] [--ack none|end|each] "
	    "[--window N]\n\t[--size BYTES] [--prepare] [--ends FILE]\n");
	exit(2);
}

static const struct option options[] = {
	{ "stream", required_argument, NULL, 's' },
	{ "dgram", required_argument, NULL, 'd' },
	{ "udp", required_argument, NULL, 'u' },
	{ "events", required_argument, NULL, 'n' },
	{ "connections", required_argument, NULL, 'c' },
	{ "runs", required_argument, NULL, 'r' },
	{ "rate", required_argument, NULL, 'R' },
	{ "seed", required_argument, NULL, 'S' },
	{ "prefix", required_argument, NULL, 'p' },
	{ "ack", required_argument, NULL, 'a' },
	{ "window", required_argument, NULL, 'w' },
	{ "size", required_argument, NULL, 'z' },
	{ "prepare", no_argument, NULL, 'P' },
	{ "ends", required_argument, NULL, 'e' },
	{ NULL, 0, NULL, 0 },
};

static void
read_option(struct gen *g, int c)
{
	switch (c) {
	case 's':
		g->stream = optarg;
		break;
	case 'd':
		g->dgram = optarg;
		break;
	case 'u':
		g->udp = optarg;
		break;
	case 'n':
		g->opt.events = strtoull(optarg, NULL, 10);
		break;
	case 'c':
		g->connections = (unsigned)atoi(optarg);
		break;
	case 'r':
		g->opt.runs = (uint32_t)atoi(optarg);
		break;
	case 'R':
		g->rate = strtod(optarg, NULL);
		break;
	case 'S':
		g->opt.seed = strtoull(optarg, NULL, 10);
		break;
	case 'p':
		g->opt.prefix = optarg;
		break;
	case 'a':
		g->opt.ack_each = strcmp(optarg, "each") == 0;
		g->opt.ack_end = strcmp(optarg, "end") == 0;
		break;
	case 'w':
		g->window = strtoull(optarg, NULL, 10);
		break;
	case 'z':
		g->opt.size = (uint32_t)atoi(optarg);
		break;
	case 'P':
		g->prepare = true;
		break;
	case 'e':
		g->ends = fopen(optarg, "we");
		if (g->ends == NULL)
			die(optarg);
		break;
	default:
		usage();
	}
}

int
main(int argc, char **argv)
{
	static struct gen g = { .connections = 4,
		.opt = { .seed = 1, .events = 100000, .runs = 256,
		    .prefix = "load" } };
	unsigned i;
	int c;

	(void)signal(SIGPIPE, SIG_IGN);
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
		read_option(&g, c);
	if (optind != argc || g.opt.events == 0 || g.opt.runs == 0 ||
	    g.connections == 0 || g.connections > CONNECTIONS_MAX ||
	    (g.stream != NULL) + (g.dgram != NULL) + (g.udp != NULL) != 1)
		usage();
	g.times = calloc(g.opt.events, sizeof *g.times);
	g.sizes = calloc(g.opt.events, sizeof *g.sizes);
	if (g.times == NULL || g.sizes == NULL)
		die("memory");
	connect_all(&g);
	report(&g, send_all(&g));
	for (i = 0; i < g.connections; i++) {
		msgpack_unpacker_destroy(&g.answers[i]);
		(void)close(g.fds[i].fd);
	}
	if (g.ends != NULL && fclose(g.ends) != 0)
		die("--ends");
	free(g.times);
	free(g.sizes);
	return 0;
}
