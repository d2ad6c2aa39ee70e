/* dead: one directory of small JSON files. */
#include "store/dead.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "base/sys.h"

struct dead {
	char		*path;
	int		 dir_fd;
	int		 fds[DEAD_WAITING];	/* written, not synced */
	size_t		 fds_n;
	size_t		 syncing;		/* of them, in this round */
	uint64_t	 written, durable, durable_next;
	struct dead_stats stats;
};

/* "<time>-...+<events>.json"; returns false for anything else. */
static bool
dead_name_parse(const char *name, int64_t *ret_sec, uint64_t *ret_events)
{
	struct tm tm = { 0 };
	const char *plus = strrchr(name, '+');
	char *end;

	if (plus == NULL || strptime(name, "%Y%m%dT%H%M%SZ-", &tm) == NULL)
		return false;
	errno = 0;
	unsigned long long n = strtoull(plus + 1, &end, 10);
	if (errno != 0 || end == plus + 1 || strcmp(end, ".json") != 0)
		return false;
	*ret_sec = (int64_t)timegm(&tm);
	*ret_events = n;
	return true;
}

static void
dead_name_make(char dst[DEAD_NAME_MAX], struct wall at, const char *batch_id,
    uint32_t index, uint32_t events)
{
	time_t sec = (time_t)(at.us / 1000000);
	struct tm tm;
	char text[32];

	if (gmtime_r(&sec, &tm) == NULL ||
	    strftime(text, sizeof text, "%Y%m%dT%H%M%SZ", &tm) == 0)
		(void)snprintf(text, sizeof text, "19700101T000000Z");
	(void)snprintf(dst, DEAD_NAME_MAX, "%s-%s-%" PRIu32 "+%" PRIu32
	    ".json", text, batch_id, index, events);
}

struct dead_names {
	char		**v;
	size_t		  n, cap;
	const char	 *tail;	/* only those that end so; NULL: all */
};

static int
dead_collect(void *arg, const char *name)
{
	struct dead_names *l = arg;
	int64_t sec;
	uint64_t events;

	if (!dead_name_parse(name, &sec, &events))
		return 0;
	if (l->tail != NULL && (strchr(name, '-') == NULL ||
	    strcmp(strchr(name, '-'), l->tail) != 0))
		return 0;
	if (l->n == l->cap) {
		l->cap = l->cap == 0 ? 64 : l->cap * 2;
		l->v = mem_grow(l->v, l->cap, sizeof *l->v);
	}
	l->v[l->n++] = mem_strdup(name);
	return 0;
}

static void
dead_names_free(struct dead_names *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->v[i]);
	free(l->v);
}

static int
dead_size(struct dead *d, const char *name, uint64_t *ret)
{
	struct sys_stat st;
	int fd = sys->openat(d->dir_fd, name, O_RDONLY | O_CLOEXEC, 0);

	if (fd < 0)
		return fd;
	int r = sys->fstat(fd, &st);
	(void)sys->close(fd);	/* only read */
	if (r == 0)
		*ret = st.size;
	return r;
}

static int
dead_count_one(void *arg, const char *name)
{
	struct dead *d = arg;
	int64_t sec;
	uint64_t events, bytes;

	if (!dead_name_parse(name, &sec, &events) ||
	    dead_size(d, name, &bytes) < 0)
		return 0;
	d->stats.letters++;
	d->stats.events += events;
	d->stats.bytes += bytes;
	return 0;
}

int
dead_open(const char *dir, struct dead **ret, struct why *why)
{
	int fd = sys->open_dir(dir);

	if (fd < 0)
		return why_errno(why, fd, "%s: cannot open it", dir);
	struct dead *d = mem_zalloc(sizeof *d);
	d->path = mem_strdup(dir);
	d->dir_fd = fd;
	int r = sys->list(fd, dead_count_one, d);
	if (r < 0) {
		dead_close(d);
		return why_errno(why, r, "%s: cannot list it", dir);
	}
	*ret = d;
	return 0;
}

void
dead_close(struct dead *d)
{
	if (d == NULL)
		return;
	for (size_t i = 0; i < d->fds_n; i++)
		(void)sys->close(d->fds[i]);	/* written before */
	(void)sys->close(d->dir_fd);
	free(d->path);
	free(d);
}

static uint64_t
dead_remove(struct dead *d, const char *name, uint64_t events)
{
	uint64_t bytes;

	if (dead_size(d, name, &bytes) < 0 ||
	    sys->unlinkat(d->dir_fd, name, 0) < 0)
		return 0;
	d->stats.letters--;
	d->stats.events -= events < d->stats.events ? events :
	    d->stats.events;
	d->stats.bytes -= bytes < d->stats.bytes ? bytes : d->stats.bytes;
	return events;
}

/* Remove what was written of this refusal before. */
static void
dead_replace(struct dead *d, const char *name)
{
	struct dead_names l = { .tail = strchr(name, '-') };
	int64_t sec;
	uint64_t events;

	/* Where the directory cannot be listed there are two: no loss. */
	(void)sys->list(d->dir_fd, dead_collect, &l);
	for (size_t i = 0; i < l.n; i++)
		if (strcmp(l.v[i], name) != 0 &&
		    dead_name_parse(l.v[i], &sec, &events))
			(void)dead_remove(d, l.v[i], events);
	dead_names_free(&l);
}

int
dead_write(struct dead *d, struct wall at, const char *batch_id,
    uint32_t index, uint32_t events, bool again, const void *text, size_t len,
    struct why *why)
{
	char name[DEAD_NAME_MAX];

	if (d->fds_n == DEAD_WAITING)
		return why_set(why, -EAGAIN, "%s: letters wait for a sync",
		    d->path);
	dead_name_make(name, at, batch_id, index, events);
	int fd = sys->openat(d->dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC |
	    O_CLOEXEC, 0600);
	if (fd < 0)
		return why_errno(why, fd, "%s/%s", d->path, name);
	int r = sys_pwrite_all(fd, text, len, 0);
	if (r < 0) {
		(void)sys->close(fd);	/* the write's error is told */
		(void)sys->unlinkat(d->dir_fd, name, 0);
		return why_errno(why, r, "%s/%s", d->path, name);
	}
	d->fds[d->fds_n++] = fd;
	d->written++;
	d->stats.letters++;
	d->stats.events += events;
	d->stats.bytes += len;
	if (again)
		dead_replace(d, name);
	return 0;
}

bool
dead_unsynced(const struct dead *d)
{
	return d->fds_n > 0;
}

void
dead_sync_begin(struct dead *d, struct seglog_sync *set)
{
	if (d->fds_n == 0)
		return;
	for (size_t i = 0; i < d->fds_n; i++) {
		set->what[set->n].fd = d->fds[i];
		set->what[set->n++].is_dir = false;
	}
	set->what[set->n].fd = d->dir_fd;
	set->what[set->n++].is_dir = true;
	d->syncing = d->fds_n;
	d->durable_next = d->written;
}

void
dead_sync_end(struct dead *d, bool ok)
{
	/*
	 * After a failed fsync the file is not believed (fsync(2)): the
	 * owner writes the letter again.
	 */
	for (size_t i = 0; i < d->syncing; i++)
		(void)sys->close(d->fds[i]);
	d->fds_n -= d->syncing;
	memmove(d->fds, d->fds + d->syncing, d->fds_n * sizeof d->fds[0]);
	if (ok && d->syncing > 0)
		d->durable = d->durable_next;
	d->syncing = 0;
}

uint64_t
dead_written(const struct dead *d)
{
	return d->written;
}

uint64_t
dead_durable(const struct dead *d)
{
	return d->durable;
}

struct dead_stats
dead_stats(const struct dead *d)
{
	return d->stats;
}

static int
dead_compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

uint64_t
dead_prune(struct dead *d, uint64_t max_bytes, struct wall oldest)
{
	struct dead_names l = { .tail = NULL };
	uint64_t gone = 0, events, keep = UINT64_MAX;
	int64_t sec;

	if (d->stats.letters == 0)
		return 0;
	/* A directory that cannot be listed now is pruned another time. */
	if (sys->list(d->dir_fd, dead_collect, &l) < 0) {
		dead_names_free(&l);
		return 0;
	}
	d->stats = (struct dead_stats){ 0 };
	for (size_t i = 0; i < l.n; i++)
		(void)dead_count_one(d, l.v[i]);
	if (d->stats.bytes > max_bytes)
		keep = max_bytes - max_bytes / 16;
	if (l.n > 0)
		qsort(l.v, l.n, sizeof *l.v, dead_compare);
	for (size_t i = 0; i < l.n; i++) {
		if (!dead_name_parse(l.v[i], &sec, &events))
			continue;
		if (sec >= oldest.us / 1000000 && d->stats.bytes <= keep)
			break;
		gone += dead_remove(d, l.v[i], events);
	}
	dead_names_free(&l);
	return gone;
}
