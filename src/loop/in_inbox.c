/* in_inbox: the directory, the files under way, inotify and a timer. */
#include "loop/in_inbox.h"

#include <dirent.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "codec/frame.h"
#include "core/engine.h"
#include "loop/loop.h"

#define IN_INBOX_PEER		((uint64_t)3 << 56)
#define IN_INBOX_BATCH		32
#define IN_INBOX_SCAN_MAX	65536	/* directory entries looked at */
#define IN_INBOX_NAME_MAX	200
#define IN_INBOX_RETRY_MS	1000
#define IN_INBOX_LOOK_MS	60000

struct inbox_name {
	char	s[IN_INBOX_NAME_MAX + 1];
};

/* A file whose record is not durable yet. */
struct inbox_file {
	uint64_t		peer;
	struct inbox_name	name;
};

struct in_inbox {
	struct loop		*loop;
	const struct conf	*conf;
	char			*path;
	int			 fresh, cur, bad;	/* -1: not open */
	int			 inotify;
	struct event		 ev_inotify;	/* assigned: inotify >= 0 */
	struct event		 ev_timer;
	bool			 stopping;
	uint64_t		 last;
	struct inbox_file	 under_way[IN_INBOX_BATCH];
	size_t			 under_way_n;
	/*
	 * In cur/, and it is not known whether they are on the disk; or they
	 * are, and it is the file that stays.
	 */
	struct inbox_name	 doubtful[IN_INBOX_BATCH];
	size_t			 doubtful_n;
	struct log_limit	 limit;
};

static void
in_inbox_later(struct in_inbox *in, int ms)
{
	const struct timeval tv = { ms / 1000, ms % 1000 * 1000 };

	if (!in->stopping)
		(void)evtimer_add(&in->ev_timer, &tv);
}

static void
in_inbox_fault(struct in_inbox *in, const char *what, const char *error)
{
	uint64_t n;

	if (log_limit_hit(&in->limit, clock_now().mono.us, &n))
		log_error("inbox_failed", LS("directory", in->path),
		    LS("what", what), LS("error", error), LU("repeated", n));
}

/* --- opening --------------------------------------------------------------- */

static void
in_inbox_close_dirs(struct in_inbox *in)
{
	int *fds[] = { &in->fresh, &in->cur, &in->bad };

	if (in->inotify >= 0) {
		(void)event_del(&in->ev_inotify);
		(void)close(in->inotify);
		in->inotify = -1;
	}
	for (size_t i = 0; i < NELEM(fds); i++) {
		if (*fds[i] >= 0)
			(void)close(*fds[i]);	/* only read from */
		*fds[i] = -1;
	}
}

/* One of the inbox's directories, made with the inbox's own mode. */
static int
in_inbox_open_dir(int dir, const char *name, mode_t mode)
{
	/*
	 * Not chmod(2): under RestrictSUIDSGID= it may not set the group bit,
	 * which the new directory has from the inbox.
	 */
	mode_t mask = umask(0);

	(void)mkdirat(dir, name, mode & 01777);	/* or it is there */
	(void)umask(mask);
	return openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC |
	    O_NOFOLLOW);
}

static void on_inotify(evutil_socket_t, short, void *);

static void
in_inbox_watch(struct in_inbox *in)
{
	char path[4096];

	in->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (in->inotify < 0)
		return;
	(void)snprintf(path, sizeof path, "%s/new", in->path);
	(void)event_assign(&in->ev_inotify, loop_base(in->loop), in->inotify,
	    EV_READ | EV_PERSIST, on_inotify, in);
	if (inotify_add_watch(in->inotify, path, IN_MOVED_TO | IN_ONLYDIR) < 0 ||
	    event_add(&in->ev_inotify, NULL) < 0) {
		/* The timer looks now and then. */
		(void)close(in->inotify);
		in->inotify = -1;
	}
}

static bool
in_inbox_open(struct in_inbox *in)
{
	struct stat st;
	int dir, tmp;

	if (in->fresh >= 0)
		return true;
	dir = open(in->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0 || fstat(dir, &st) < 0) {
		in_inbox_fault(in, "open", strerror(errno));
		if (dir >= 0)
			(void)close(dir);	/* only read from */
		return false;
	}
	if ((st.st_mode & S_IWOTH) != 0) {
		(void)close(dir);	/* only read from */
		in_inbox_fault(in, "open", "everybody may write there; "
		    "chmod o-w");
		return false;
	}
	tmp = in_inbox_open_dir(dir, "tmp", st.st_mode);
	if (tmp >= 0)
		(void)close(tmp);	/* it is there */
	in->fresh = in_inbox_open_dir(dir, "new", st.st_mode);
	in->cur = in_inbox_open_dir(dir, "cur", 0700);
	in->bad = in_inbox_open_dir(dir, "bad", 0700);
	int err = errno;
	(void)close(dir);	/* only read from */
	if (in->fresh < 0 || in->cur < 0 || in->bad < 0) {
		in_inbox_close_dirs(in);
		in_inbox_fault(in, "open", strerror(err));
		return false;
	}
	in_inbox_watch(in);
	return true;
}

/* --- one file -------------------------------------------------------------- */

/* Set a file in cur/ aside, with the reason beside it. */
static void
in_inbox_set_aside(struct in_inbox *in, const char *name, const char *reason)
{
	char note[IN_INBOX_NAME_MAX + 16];
	int fd;

	log_warn("inbox_file_refused", LS("file", name), LS("error", reason),
	    LS("hint", "it was moved to bad/"));
	(void)snprintf(note, sizeof note, "%s.reason", name);
	fd = openat(in->bad, note, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC |
	    O_NOFOLLOW, 0600);
	if (fd >= 0) {
		/* The log has it, too. */
		(void)!dprintf(fd, "%s\n", reason);
		(void)close(fd);
	}
	if (renameat(in->cur, name, in->bad, name) < 0)
		in_inbox_fault(in, "rename", strerror(errno));
}

/* Read a file of cur/ whole. Returns NULL, or why not. */
static const char *
in_inbox_read(struct in_inbox *in, const char *name, struct buf *b)
{
	int fd = openat(in->cur, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK |
	    O_CLOEXEC | O_NOCTTY);
	const char *fault = NULL;
	struct stat st;
	ssize_t n = 1;

	if (fd < 0)
		return errno == ELOOP ? "a symbolic link" : strerror(errno);
	if (fstat(fd, &st) < 0)
		fault = strerror(errno);
	else if (!S_ISREG(st.st_mode))
		fault = "no regular file";
	else if ((uint64_t)st.st_size > in->conf->events.max_message)
		fault = "larger than events.max_message";
	while (fault == NULL && n > 0) {
		uint8_t *room = buf_room(b, (size_t)st.st_size + 1);

		n = room == NULL ? -1 : read(fd, room, (size_t)st.st_size + 1);
		if (n < 0)
			fault = room == NULL ? "out of memory" :
			    strerror(errno);
		else if (b->len + (size_t)n > (size_t)st.st_size)
			fault = "it grows while it is read";
		else
			b->len += (size_t)n;
	}
	(void)close(fd);	/* only read from */
	return fault;
}

/* Do not look at a file of cur/ again, or it could be taken twice. */
static void
in_inbox_leave(struct in_inbox *in, const struct inbox_name *name)
{
	if (in->doubtful_n < IN_INBOX_BATCH)
		in->doubtful[in->doubtful_n++] = *name;
	else
		in->stopping = true;
}

static void
in_inbox_remove(struct in_inbox *in, const struct inbox_name *name)
{
	if (unlinkat(in->cur, name->s, 0) == 0 || errno == ENOENT)
		return;
	in_inbox_fault(in, "unlink", strerror(errno));
	in_inbox_leave(in, name);
}

/* Give a message to the engine. false: the same again later. */
static bool
in_inbox_offer(struct in_inbox *in, const char *name, const struct buf *b)
{
	struct engine *engine = loop_engine(in->loop);
	struct inbox_file *f = &in->under_way[in->under_way_n];
	uint64_t peer = IN_INBOX_PEER | ++in->last;
	struct why why = { "" };
	struct frame frame;
	size_t len = 0;

	frame_init(&frame, in->conf->events.max_message);
	if (frame_next(&frame, b->data, b->len, &len) != FRAME_VALUE ||
	    len != b->len) {
		books_refuse(engine_books(engine), BOOKS_INBOX,
		    EVENT_NOT_MSGPACK);
		in_inbox_set_aside(in, name, "not one whole message");
		return true;
	}
	loop_wake(in->loop);
	enum event_code code = engine_take_drop(engine, peer, name, b->data,
	    b->len, clock_now(), &why);
	if (engine_is_passing(code))
		return false;
	if (code != EVENT_OK) {
		in_inbox_set_aside(in, name, why.text);
		return true;
	}
	f->peer = peer;
	(void)snprintf(f->name.s, sizeof f->name.s, "%s", name);
	in->under_way_n++;
	return true;
}

/* A file of cur/. false: stop here, and try again later. */
static bool
in_inbox_take(struct in_inbox *in, const char *name)
{
	const char *fault;
	struct buf b;
	bool ok = true;

	buf_init(&b, 0);
	fault = in_inbox_read(in, name, &b);
	if (fault == NULL && b.len == 0)
		fault = "empty";
	if (fault != NULL)
		in_inbox_set_aside(in, name, fault);
	else
		ok = in_inbox_offer(in, name, &b);
	buf_free(&b);
	return ok;
}

/* --- scans ----------------------------------------------------------------- */

static bool
in_inbox_is_doubtful(const struct in_inbox *in, const char *name)
{
	for (size_t i = 0; i < in->doubtful_n; i++)
		if (strcmp(in->doubtful[i].s, name) == 0)
			return true;
	return false;
}

static int
in_inbox_compare(const void *a, const void *b)
{
	return strcmp(((const struct inbox_name *)a)->s,
	    ((const struct inbox_name *)b)->s);
}

/* The first names of a directory, in order. Returns how many, or -errno. */
static int
in_inbox_list(struct in_inbox *in, int dir,
    struct inbox_name names[IN_INBOX_BATCH + 1])
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *e;
	size_t n = 0;

	if (d == NULL) {
		int r = -errno;
		if (fd >= 0)
			(void)close(fd);	/* only read from */
		return r;
	}
	for (int i = 0; i < IN_INBOX_SCAN_MAX && (e = readdir(d)) != NULL;
	    i++) {
		if (e->d_name[0] == '.' || in_inbox_is_doubtful(in, e->d_name))
			continue;
		if (strlen(e->d_name) > IN_INBOX_NAME_MAX ||
		    (n == IN_INBOX_BATCH &&
		    strcmp(e->d_name, names[n - 1].s) > 0))
			continue;
		(void)snprintf(names[n].s, sizeof names[n].s, "%.*s",
		    IN_INBOX_NAME_MAX, e->d_name);
		n++;
		qsort(names, n, sizeof names[0], in_inbox_compare);
		if (n > IN_INBOX_BATCH)
			n = IN_INBOX_BATCH;
	}
	(void)closedir(d);	/* only read from */
	return (int)n;
}

/* What was begun with before: taken, or not? */
static bool
in_inbox_scan_cur(struct in_inbox *in)
{
	struct inbox_name names[IN_INBOX_BATCH + 1];
	int n = in_inbox_list(in, in->cur, names);

	for (int i = 0; i < n; i++) {
		if (engine_has_drop(loop_engine(in->loop), names[i].s))
			in_inbox_remove(in, &names[i]);
		else if (!in_inbox_take(in, names[i].s))
			return false;
	}
	return n >= 0;
}

static bool
in_inbox_scan_new(struct in_inbox *in)
{
	struct inbox_name names[IN_INBOX_BATCH + 1];
	int n = in_inbox_list(in, in->fresh, names);

	for (int i = 0; i < n; i++) {
		if (renameat(in->fresh, names[i].s, in->cur, names[i].s) < 0) {
			in_inbox_fault(in, "rename", strerror(errno));
			return false;
		}
		if (!in_inbox_take(in, names[i].s))
			return false;
	}
	if (n == IN_INBOX_BATCH && in->under_way_n == 0)
		in_inbox_later(in, 0);	/* all were set aside */
	return n >= 0;
}

static void
in_inbox_scan(struct in_inbox *in)
{
	if (in->stopping || in->under_way_n > 0)
		return;
	in_inbox_later(in, IN_INBOX_LOOK_MS);
	if (!in_inbox_open(in))
		return;
	if (!in_inbox_scan_cur(in))
		in_inbox_later(in, IN_INBOX_RETRY_MS);
	else if (in->under_way_n == 0 && !in_inbox_scan_new(in))
		in_inbox_later(in, IN_INBOX_RETRY_MS);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	in_inbox_scan(arg);
}

static void
on_inotify(evutil_socket_t fd, short what, void *arg)
{
	char junk[4096];

	while (read(fd, junk, sizeof junk) > 0)
		continue;
	in_inbox_scan(arg);
}

bool
in_inbox_answer(struct in_inbox *in, uint64_t peer, enum event_code code)
{
	if (peer >> 56 != IN_INBOX_PEER >> 56)
		return false;
	for (size_t i = 0; in != NULL && i < in->under_way_n; i++) {
		struct inbox_file *f = &in->under_way[i];

		if (f->peer != peer)
			continue;
		if (code == EVENT_OK) {
			in_inbox_remove(in, &f->name);
		} else {
			in_inbox_fault(in, "sync", "it is not known whether a "
			    "record is on the disk: its file stays in cur/ "
			    "until the next start");
			in_inbox_leave(in, &f->name);
		}
		*f = in->under_way[--in->under_way_n];
		if (in->under_way_n == 0)
			in_inbox_later(in, 0);
		break;
	}
	return true;
}

/* --- life ------------------------------------------------------------------ */

struct in_inbox *
in_inbox_new(struct loop *loop, const struct conf *conf)
{
	struct in_inbox *in;

	if (conf->listen.inbox[0] == '\0')
		return NULL;
	in = mem_zalloc(sizeof *in);
	in->loop = loop;
	in->conf = conf;
	in->path = mem_strdup(conf->listen.inbox);
	in->fresh = in->cur = in->bad = in->inotify = -1;
	(void)evtimer_assign(&in->ev_timer, loop_base(loop), on_timer, in);
	in_inbox_scan(in);
	return in;
}

void
in_inbox_free(struct in_inbox *in)
{
	if (in == NULL)
		return;
	in_inbox_close_dirs(in);
	(void)event_del(&in->ev_timer);
	free(in->path);
	free(in);
}

void
in_inbox_set_conf(struct in_inbox *in, const struct conf *conf)
{
	if (in != NULL)
		in->conf = conf;
}

void
in_inbox_drain(struct in_inbox *in)
{
	if (in != NULL)
		in->stopping = true;
}
