/* in_inbox: the files under way, one step after another. */
#include "loop/in_inbox.h"

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
#include "loop/dirsync.h"
#include "loop/inbox_dir.h"
#include "loop/loop.h"

#define IN_INBOX_PEER		((uint64_t)3 << 56)
#define IN_INBOX_BATCH		32
#define IN_INBOX_TURN_BYTES	(512u << 10)	/* read in one turn */
#define IN_INBOX_RETRY_MS	1000
#define IN_INBOX_LOOK_MS	60000

struct inbox_name {
	char	s[INBOX_NAME_MAX + 1];
};

/* A file whose record is not durable yet. */
struct inbox_file {
	uint64_t		peer;
	struct inbox_name	name;
};

enum inbox_state {
	INBOX_REST,	/* or files are under way */
	INBOX_LIST,	/* a directory is being read */
	INBOX_SYNC,	/* the directories are being synced */
	INBOX_SEARCH,	/* the names are looked for in the spool */
	INBOX_TAKE,	/* the batch is being read */
};

struct in_inbox {
	struct loop		*loop;
	const struct conf	*conf;
	char			*path;
	struct inbox_dir	 dir;
	struct dirsync		*sync;
	int			 inotify;
	struct event		 ev_inotify;	/* assigned: inotify >= 0 */
	struct event		 ev_timer;
	bool			 stopping;
	uint64_t		 last;
	enum inbox_state	 state;
	struct inbox_list	 list;
	/* Files of cur/ that nobody knows of: of a process before, or a fault. */
	bool			 leftovers;
	bool			 unsynced;	/* files have left cur/ */
	/* Now in cur/, to be taken next; found: it is, already. */
	struct inbox_name	 batch[IN_INBOX_BATCH];
	bool			 found[IN_INBOX_BATCH];
	size_t			 batch_n, batch_at;
	bool			 searching;	/* they are leftovers */
	struct inbox_file	 under_way[IN_INBOX_BATCH];
	size_t			 under_way_n;
	/*
	 * In cur/, and it is not known whether they are on the disk; or they
	 * are, and it is the file that stays.
	 */
	struct inbox_name	 doubtful[IN_INBOX_BATCH];
	size_t			 doubtful_n;
	/* The next start will look for the records of some of them. */
	bool			 owed;
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

	if (log_limit_hit(&in->limit, clock_mono().us, &n))
		log_error("inbox_failed", LS("directory", in->path),
		    LS("what", what), LS("error", error), LU("repeated", n));
}

/* Begin anew a little later. */
static void
in_inbox_again(struct in_inbox *in, const char *what, const char *error)
{
	in_inbox_fault(in, what, error);
	inbox_list_clear(&in->list);
	in->leftovers |= in->batch_n > 0;
	in->batch_n = 0;
	in->state = INBOX_REST;
	in_inbox_later(in, IN_INBOX_RETRY_MS);
}

/* --- opening --------------------------------------------------------------- */

static void
in_inbox_close(struct in_inbox *in)
{
	if (in->inotify >= 0) {
		(void)event_del(&in->ev_inotify);
		(void)close(in->inotify);
		in->inotify = -1;
	}
	inbox_dir_close(&in->dir);
	inbox_list_clear(&in->list);
}

static void on_inotify(evutil_socket_t, short, void *);

/* Without it the timer looks now and then. */
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
	/* The inbox itself, for when it goes and another takes its place. */
	if (inotify_add_watch(in->inotify, path, IN_MOVED_TO | IN_ONLYDIR) < 0 ||
	    inotify_add_watch(in->inotify, in->path, IN_DELETE | IN_MOVED_FROM |
	    IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR) < 0 ||
	    event_add(&in->ev_inotify, NULL) < 0) {
		(void)close(in->inotify);
		in->inotify = -1;
	}
}

static bool
in_inbox_open(struct in_inbox *in)
{
	const char *fault;

	if (in->dir.fresh >= 0 && inbox_dir_is_there(&in->dir))
		return true;
	in_inbox_close(in);
	if ((fault = inbox_dir_open(&in->dir)) != NULL) {
		in_inbox_again(in, "open", fault);
		return false;
	}
	/* Another inbox may have files of a lumnid before. */
	in->leftovers = in->unsynced = true;
	in->doubtful_n = 0;
	in->owed = false;
	engine_hold_drops(loop_engine(in->loop), true);
	in_inbox_watch(in);
	return true;
}

/* --- one file -------------------------------------------------------------- */

/* Do not look at a file of cur/ again, or it could be taken twice. */
static void
in_inbox_leave(struct in_inbox *in, const char *name)
{
	if (in->doubtful_n == IN_INBOX_BATCH) {
		in->stopping = true;
		in_inbox_fault(in, "leave", "too many files of cur/ can "
		    "neither be taken nor go: until the next start no more "
		    "are taken");
		return;
	}
	memmove(in->doubtful[in->doubtful_n++].s, name, strlen(name) + 1);
}

/* Set a file in cur/ aside, with the reason beside it. */
static void
in_inbox_set_aside(struct in_inbox *in, const char *name, const char *reason)
{
	char note[INBOX_NAME_MAX + 16];
	int fd;

	log_warn("inbox_file_refused", LS("file", name), LS("error", reason),
	    LS("hint", "it was moved to bad/"));
	(void)snprintf(note, sizeof note, "%s.reason", name);
	fd = openat(in->dir.bad, note, O_WRONLY | O_CREAT | O_TRUNC |
	    O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd >= 0) {
		/* The log has it, too. */
		(void)!dprintf(fd, "%s\n", reason);
		(void)close(fd);
	}
	in->unsynced = true;
	if (renameat(in->dir.cur, name, in->dir.bad, name) == 0 ||
	    errno == ENOENT)
		return;
	in_inbox_fault(in, "rename", strerror(errno));
	/* Or it would be found in cur/, and refused, again and again. */
	in_inbox_leave(in, name);
}

/* Read a file of cur/ whole. Returns NULL, or why not. */
static const char *
in_inbox_read(struct in_inbox *in, const char *name, struct buf *b)
{
	int fd = openat(in->dir.cur, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK |
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

static void
in_inbox_remove(struct in_inbox *in, const char *name)
{
	in->unsynced = true;
	if (unlinkat(in->dir.cur, name, 0) == 0 || errno == ENOENT)
		return;
	in_inbox_fault(in, "unlink", strerror(errno));
	in->owed = true;
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

/* A file of cur/, of *bytes. false: stop here, and try again later. */
static bool
in_inbox_take(struct in_inbox *in, const char *name, size_t *bytes)
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
	*bytes = b.len;
	buf_free(&b);
	return ok;
}

/* --- steps ----------------------------------------------------------------- */

static bool
in_inbox_is_doubtful(const struct in_inbox *in, const char *name)
{
	for (size_t i = 0; i < in->doubtful_n; i++)
		if (strcmp(in->doubtful[i].s, name) == 0)
			return true;
	return false;
}

/* No more can be taken now: the rest of the batch waits. */
static void
in_inbox_put_back(struct in_inbox *in)
{
	for (size_t i = in->batch_at; i < in->batch_n; i++) {
		const char *name = in->batch[i].s;

		if (in->found[i])
			in_inbox_remove(in, name);
		/* For who lists new/ again: in cur/ it would be looked for. */
		else if (renameat(in->dir.cur, name, in->dir.fresh, name) < 0)
			in->leftovers = true;
	}
	in->batch_n = 0;
	inbox_list_clear(&in->list);
	in_inbox_later(in, IN_INBOX_RETRY_MS);
}

/* The files of the batch that no record was found of, some in each turn. */
static void
in_inbox_take_batch(struct in_inbox *in)
{
	size_t bytes, sum = 0;

	in->state = INBOX_TAKE;
	for (; in->batch_at < in->batch_n; in->batch_at++) {
		const char *name = in->batch[in->batch_at].s;

		if (in->found[in->batch_at]) {
			in_inbox_remove(in, name);
			continue;
		}
		if (sum >= IN_INBOX_TURN_BYTES) {
			in_inbox_later(in, 0);
			return;
		}
		engine_hold_drops(loop_engine(in->loop), true);
		if (!in_inbox_take(in, name, &bytes)) {
			in->state = INBOX_REST;
			in_inbox_put_back(in);
			return;
		}
		sum += bytes;
	}
	in->state = INBOX_REST;
	in->batch_n = 0;
	if (in->under_way_n == 0)
		in_inbox_later(in, 0);
}

static void
on_drop_name(void *arg, const char *name)
{
	struct in_inbox *in = arg;

	for (size_t i = 0; i < in->batch_n; i++)
		if (strcmp(in->batch[i].s, name) == 0)
			in->found[i] = true;
}

/* Leftovers: which of them were taken, and only not removed? */
static void
in_inbox_search(struct in_inbox *in, bool begin)
{
	struct why why = { "" };
	int r = engine_each_drop(loop_engine(in->loop), begin, on_drop_name,
	    in, &why);

	in->state = INBOX_SEARCH;
	if (r > 0)
		in_inbox_later(in, 0);
	else if (r < 0)
		in_inbox_again(in, "search", why.text);
	else
		in_inbox_take_batch(in);
}

static void
on_synced(void *arg, int err)
{
	struct in_inbox *in = arg;

	if (in->stopping || in->state != INBOX_SYNC)
		return;
	if (err < 0) {
		in_inbox_again(in, "sync", strerror(-err));
		return;
	}
	in->unsynced = false;
	if (in->batch_n == 0 && !in->leftovers && !in->owed)
		engine_hold_drops(loop_engine(in->loop), false);
	if (in->searching)
		in_inbox_search(in, true);
	else
		in_inbox_take_batch(in);
}

/*
 * What was renamed to cur/ stays there, whatever happens, and what was removed
 * does not come back: or after a loss of power a file could be taken again.
 */
static void
in_inbox_sync(struct in_inbox *in)
{
	const int fds[] = { in->dir.fresh, in->dir.cur };
	int r = dirsync_start(in->sync, fds, NELEM(fds));

	if (r < 0)
		in_inbox_again(in, "sync", strerror(-r));
	else
		in->state = INBOX_SYNC;
}

/*
 * Is it this file that cannot be moved, as a directory of another user, or a
 * place where something is mounted? Those behind it do not wait for it.
 */
static bool
in_inbox_is_its_own(int err)
{
	return err == EACCES || err == EPERM || err == EXDEV ||
	    err == EBUSY || err == EISDIR || err == ENOTDIR ||
	    err == ENOTEMPTY || err == EEXIST || err == EINVAL;
}

/* The next files of the list become the batch. */
static void
in_inbox_begin(struct in_inbox *in)
{
	const char *name;

	in->searching = in->leftovers;
	in->batch_at = 0;
	memset(in->found, 0, sizeof in->found);
	while (in->batch_n < IN_INBOX_BATCH &&
	    (name = inbox_list_next(&in->list)) != NULL) {
		if (in->leftovers && in_inbox_is_doubtful(in, name))
			continue;
		if (!in->leftovers && renameat(in->dir.fresh, name,
		    in->dir.cur, name) < 0) {
			if (errno == ENOENT)
				continue;
			if (in_inbox_is_its_own(errno)) {
				in_inbox_fault(in, "rename", strerror(errno));
				continue;
			}
			in_inbox_again(in, "rename", strerror(errno));
			return;
		}
		(void)snprintf(in->batch[in->batch_n++].s, INBOX_NAME_MAX + 1,
		    "%s", name);
	}
	if (in->batch_n > 0) {
		in_inbox_sync(in);
	} else if (in->leftovers) {
		in->leftovers = false;
		inbox_list_clear(&in->list);
		in_inbox_later(in, 0);
	} else if (in->unsynced) {
		in_inbox_sync(in);
	}
}

static void
in_inbox_list(struct in_inbox *in)
{
	int r = inbox_list_read(&in->list, in->leftovers ? in->dir.cur :
	    in->dir.fresh);

	in->state = r > 0 ? INBOX_LIST : INBOX_REST;
	if (r > 0)
		in_inbox_later(in, 0);
	else if (r < 0)
		in_inbox_again(in, "list", strerror(-r));
	else
		in_inbox_begin(in);
}

static void
in_inbox_step(struct in_inbox *in)
{
	if (in->stopping || in->state == INBOX_SYNC)
		return;
	if (in->state == INBOX_TAKE) {
		in_inbox_take_batch(in);
		return;
	}
	if (in->under_way_n > 0)
		return;
	if (in->state == INBOX_SEARCH) {
		in_inbox_search(in, false);
		return;
	}
	in_inbox_later(in, IN_INBOX_LOOK_MS);
	if (in->state == INBOX_LIST) {
		in_inbox_list(in);
	} else if (in_inbox_open(in)) {
		if (in->list.next < in->list.n)
			in_inbox_begin(in);
		else
			in_inbox_list(in);
	}
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	in_inbox_step(arg);
}

static void
on_inotify(evutil_socket_t fd, short what, void *arg)
{
	char junk[4096];

	while (read(fd, junk, sizeof junk) > 0)
		continue;
	in_inbox_step(arg);
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
			in_inbox_remove(in, f->name.s);
		} else {
			in_inbox_fault(in, "sync", "it is not known whether a "
			    "record is on the disk: its file stays in cur/ "
			    "until the next start");
			in->owed = true;
			in_inbox_leave(in, f->name.s);
		}
		*f = in->under_way[--in->under_way_n];
		if (in->under_way_n == 0 && in->state != INBOX_TAKE)
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
	inbox_dir_init(&in->dir, in->path);
	in->sync = dirsync_new(loop, on_synced, in);
	in->inotify = -1;
	(void)evtimer_assign(&in->ev_timer, loop_base(loop), on_timer, in);
	in_inbox_step(in);
	return in;
}

void
in_inbox_free(struct in_inbox *in)
{
	if (in == NULL)
		return;
	dirsync_free(in->sync);
	in_inbox_close(in);
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
