/*
 * post: what a POST costs where nobody cares for anything: COUNT requests of
 * BYTES over CONNECTIONS kept connections, and the CPU time of one, in
 * microseconds, on stdout.
 *
 *	post curl ...	with libcurl, as floor.c does it
 *	post kernel ...	the same bytes through bare sockets: what the kernel
 *			asks for it, and no client can go below
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/floor.h"

struct order {
	const char	*url, *key;
	size_t		 connections, bytes;
	unsigned long	 count;
};

static void __attribute__((noreturn))
die(const char *what)
{
	(void)fprintf(stderr, "post: %s: %s\n", what, strerror(errno));
	exit(1);
}

static char *
make_body(size_t n)
{
	char *p = malloc(n);

	if (p == NULL)
		abort();
	memset(p, 'x', n);
	return p;
}

static void
with_curl(const struct order *o)
{
	int ep = epoll_create1(EPOLL_CLOEXEC);
	struct floor_post *fp = floor_post_new(ep, o->url, o->key,
	    o->connections);
	unsigned long begun = 0;
	struct epoll_event ev[64];

	while (floor_post_done(fp) < o->count) {
		while (begun < o->count &&
		    begun - floor_post_done(fp) < o->connections) {
			floor_post_run(fp, make_body(o->bytes), o->bytes);
			begun++;
		}
		int n = epoll_wait(ep, ev, 64, floor_post_wait(fp));
		for (int i = 0; i < n; i++)
			floor_post_ready(fp, (int)(uint32_t)ev[i].data.u64,
			    ev[i].events);
		floor_post_turn(fp);
	}
	floor_post_free(fp);
	(void)close(ep);
}

static int
connect_to(const char *url)
{
	struct sockaddr_in sin = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const char *port = strrchr(url, ':');

	sin.sin_port = htons((uint16_t)atoi(port == NULL ? "" : port + 1));
	if (fd < 0 || connect(fd, (struct sockaddr *)&sin, sizeof sin) < 0 ||
	    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) < 0)
		die(url);
	return fd;
}

static void
with_sockets(const struct order *o)
{
	int ep = epoll_create1(EPOLL_CLOEXEC);
	char *request = malloc(o->bytes + 1024), answer[4096];
	unsigned long begun = 0, done = 0;
	struct epoll_event ev[64];
	size_t len;

	if (request == NULL)
		abort();
	len = (size_t)sprintf(request, "POST /v1/ingest/events HTTP/1.1\r\n"
	    "Host: 127.0.0.1\r\nUser-Agent: lumnid/floor\r\nAccept: */*\r\n"
	    "authorization: Bearer %.200s\r\n"
	    "content-type: application/json\r\ncontent-encoding: zstd\r\n"
	    "lumni-run-part: 1\r\nlumni-run-reason: end\r\n"
	    "idempotency-key: \"floor-000000000000000001\"\r\n"
	    "Content-Length: %zu\r\n\r\n", o->key, o->bytes);
	memset(request + len, 'x', o->bytes);
	len += o->bytes;
	for (size_t i = 0; i < o->connections; i++) {
		struct epoll_event add = { .events = EPOLLIN,
			.data.fd = connect_to(o->url) };

		if (epoll_ctl(ep, EPOLL_CTL_ADD, add.data.fd, &add) < 0 ||
		    send(add.data.fd, request, len, 0) != (ssize_t)len)
			die("send");
		begun++;
	}
	while (done < begun) {
		int n = epoll_wait(ep, ev, 64, -1);

		for (int i = 0; i < n; i++) {
			int fd = ev[i].data.fd;

			/* An answer is short: it comes whole. */
			if (recv(fd, answer, sizeof answer, 0) < 12 ||
			    memcmp(answer + 9, "202", 3) != 0)
				die("the answer");
			done++;
			if (begun == o->count)
				continue;
			if (send(fd, request, len, 0) != (ssize_t)len)
				die("send");
			begun++;
		}
	}
	free(request);
	(void)close(ep);
}

int
main(int argc, char **argv)
{
	struct rusage ru;
	struct order o;
	double us;

	if (argc != 7) {
		(void)fputs("usage: post curl|kernel URL KEY CONNECTIONS "
		    "BYTES COUNT\n", stderr);
		return 2;
	}
	o = (struct order){ .url = argv[2], .key = argv[3],
		.connections = (size_t)atol(argv[4]),
		.bytes = (size_t)atol(argv[5]),
		.count = strtoul(argv[6], NULL, 10) };
	if (strcmp(argv[1], "curl") == 0)
		with_curl(&o);
	else
		with_sockets(&o);
	(void)getrusage(RUSAGE_SELF, &ru);
	us = (double)(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) * 1e6 +
	    (double)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec);
	(void)printf("%.3f\n", us / (double)o.count);
	return 0;
}
