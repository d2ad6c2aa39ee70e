/* floor: see the header. Here are the sockets, the runs and the files. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <uthash.h>
#include <zstd.h>

#include "bench/floor.h"

#define READ_MAX	65536
#define CLIENTS_MAX	1024	/* by descriptor */

struct run {
	UT_hash_handle	hh;
	struct text	json;
	size_t		runid_len;
	char		runid[];
};

/* What a client has sent of a value that is not whole yet. */
struct client {
	char	*buf;
	size_t	 len, cap;
};

struct floor {
	int			 ep, listener, signals, raw, packed;
	struct client		 clients[CLIENTS_MAX];
	struct run		*runs;
	struct floor_post	*post;
	ZSTD_CCtx		*zstd;
	msgpack_zone		 zone;
	struct text		 event;
	time_t			 second;
	char			 at[48];
};

static void __attribute__((noreturn))
die(const char *what)
{
	(void)fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void
append(int fd, const char *p, size_t n)
{
	if (write(fd, p, n) != (ssize_t)n)
		die("write");
}

static void
finish_run(struct floor *f, struct run *r)
{
	size_t bound, n;
	char *body;

	memcpy(text_room(&r->json, 2), "]}", 2);
	r->json.len += 2;
	bound = ZSTD_compressBound(r->json.len);
	body = malloc(bound);
	if (body == NULL)
		die("memory");
	n = ZSTD_compress2(f->zstd, body, bound, r->json.p, r->json.len);
	if (ZSTD_isError(n))
		die(ZSTD_getErrorName(n));
	body = realloc(body, n);
	append(f->packed, body, n);
	floor_post_run(f->post, body, n);
	HASH_DEL(f->runs, r);
	free(r->json.p);
	free(r);
}

static struct run *
find_run(struct floor *f, const char *runid, size_t n)
{
	struct run *r;

	HASH_FIND(hh, f->runs, runid, n, r);
	if (r != NULL) {
		*text_room(&r->json, 1) = ',';
		r->json.len++;
		return r;
	}
	r = calloc(1, sizeof *r + n);
	if (r == NULL)
		die("memory");
	memcpy(r->runid, runid, n);
	r->runid_len = n;
	HASH_ADD_KEYPTR(hh, f->runs, r->runid, n, r);
	r->json.len = (size_t)sprintf(text_room(&r->json, n + 64),
	    "{\"runId\":\"%.*s\",\"events\":[", (int)n, runid);
	return r;
}

static void
take(struct floor *f, const msgpack_object *o)
{
	const msgpack_object *runid = NULL;
	struct run *r;
	int end;

	f->event.len = 0;
	floor_json(&f->event, o, f->at, &runid, &end);
	r = find_run(f, runid->via.str.ptr, runid->via.str.size);
	memcpy(text_room(&r->json, f->event.len), f->event.p, f->event.len);
	r->json.len += f->event.len;
	if (end)
		finish_run(f, r);
}

/* Take the whole values among n bytes; returns how many bytes they are. */
static size_t
take_all(struct floor *f, const char *p, size_t n)
{
	size_t off = 0;
	msgpack_object o;

	for (;;) {
		size_t next = off;
		msgpack_unpack_return r;

		msgpack_zone_clear(&f->zone);
		r = msgpack_unpack(p, n, &next, &f->zone, &o);
		if (r != MSGPACK_UNPACK_SUCCESS &&
		    r != MSGPACK_UNPACK_EXTRA_BYTES)
			return off;
		off = next;
		take(f, &o);
		if (r == MSGPACK_UNPACK_SUCCESS)
			return off;
	}
}

static void
stamp(struct floor *f)
{
	struct timespec ts;
	struct tm tm;

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	if (ts.tv_sec != f->second) {
		f->second = ts.tv_sec;
		(void)gmtime_r(&ts.tv_sec, &tm);
		(void)strftime(f->at, sizeof f->at, "%Y-%m-%dT%H:%M:%S.", &tm);
	}
	(void)sprintf(f->at + 20, "%03ldZ", ts.tv_nsec / 1000000);
}

static void
read_client(struct floor *f, int fd)
{
	struct client *c = &f->clients[fd];
	size_t done;
	ssize_t n;

	if (c->cap - c->len < READ_MAX) {
		c->cap = c->len + READ_MAX;
		c->buf = realloc(c->buf, c->cap);
		if (c->buf == NULL)
			die("memory");
	}
	n = recv(fd, c->buf + c->len, READ_MAX, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		(void)close(fd);
		free(c->buf);
		*c = (struct client){ NULL, 0, 0 };
		return;
	}
	append(f->raw, c->buf + c->len, (size_t)n);
	c->len += (size_t)n;
	stamp(f);
	done = take_all(f, c->buf, c->len);
	c->len -= done;
	memmove(c->buf, c->buf + done, c->len);
}

static void
watch(struct floor *f, int fd)
{
	struct epoll_event ev = { .events = EPOLLIN,
		.data.u64 = (uint32_t)fd };

	if (fd < 0 || epoll_ctl(f->ep, EPOLL_CTL_ADD, fd, &ev) < 0)
		die("epoll");
}

static void
accept_client(struct floor *f)
{
	int fd = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC);

	if (fd >= CLIENTS_MAX)
		die("too many clients");
	watch(f, fd);
}

static void
serve(struct floor *f)
{
	struct epoll_event ev[64];
	int i, n;

	for (;;) {
		n = epoll_wait(f->ep, ev, 64, floor_post_wait(f->post));
		for (i = 0; i < n; i++) {
			int fd = (int)(uint32_t)ev[i].data.u64;

			if ((ev[i].data.u64 & FLOOR_POST) != 0)
				floor_post_ready(f->post, fd, ev[i].events);
			else if (fd == f->listener)
				accept_client(f);
			else if (fd == f->signals)
				return;
			else
				read_client(f, fd);
		}
		floor_post_turn(f->post);
	}
}

static int
listen_stream(const char *path)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (strlen(path) >= sizeof sun.sun_path)
		die(path);
	(void)strcpy(sun.sun_path, path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&sun, sizeof sun) < 0 ||
	    listen(fd, 64) < 0)
		die(path);
	return fd;
}

static int
create(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0)
		die(path);
	return fd;
}

int
main(int argc, char **argv)
{
	static struct floor f;
	static const char usage[] = "usage: floor SOCKET URL KEY CONNECTIONS "
	    "LEVEL RAW-FILE PACKED-FILE\n";
	sigset_t stop;

	if (argc != 8) {
		(void)fputs(usage, stderr);
		return 2;
	}
	(void)sigemptyset(&stop);
	(void)sigaddset(&stop, SIGTERM);
	(void)sigprocmask(SIG_BLOCK, &stop, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
	f.ep = epoll_create1(EPOLL_CLOEXEC);
	f.listener = listen_stream(argv[1]);
	f.signals = signalfd(-1, &stop, SFD_CLOEXEC);
	f.raw = create(argv[6]);
	f.packed = create(argv[7]);
	watch(&f, f.listener);
	watch(&f, f.signals);
	f.post = floor_post_new(f.ep, argv[2], argv[3],
	    (size_t)atoi(argv[4]));
	f.zstd = ZSTD_createCCtx();
	if (f.zstd == NULL || !msgpack_zone_init(&f.zone, 8192))
		die("memory");
	(void)ZSTD_CCtx_setParameter(f.zstd, ZSTD_c_compressionLevel,
	    atoi(argv[5]));
	(void)printf("listening\n");
	(void)fflush(stdout);
	serve(&f);
	floor_post_free(f.post);
	(void)ZSTD_freeCCtx(f.zstd);
	msgpack_zone_destroy(&f.zone);
	free(f.event.p);
	return 0;
}
