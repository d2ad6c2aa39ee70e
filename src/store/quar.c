/* quar: damaged stretches and unusable files, set aside with the reason. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/sys.h"
#include "store/quar.h"

#define QUAR_NAME_MAX	256
#define QUAR_PIECE	(32u << 10)

void
quar_init(struct quar *q, const char *path, const char *log)
{
	*q = (struct quar){ .path = mem_strdup(path), .log = log, .fd = -1 };
}

void
quar_free(struct quar *q)
{
	if (q->fd >= 0)
		(void)sys->close(q->fd);	/* only read */
	free(q->path);
	*q = (struct quar){ .fd = -1 };
}

/* Open the directory; make: and create it if it is absent. */
static int
quar_open(struct quar *q, bool make)
{
	int r;

	if (q->fd >= 0)
		return 0;
	r = sys->open_dir(q->path);
	if (r == -ENOENT && make) {
		r = sys->mkdirat(AT_FDCWD, q->path, 0700);
		if (r < 0 && r != -EEXIST)
			return r;
		r = sys->open_dir(q->path);
	}
	if (r < 0)
		return r;
	q->fd = r;
	return 0;
}

struct quar_names {
	struct quar	*q;
	uint32_t	 max;
};

static int
quar_on_segno(void *arg, const char *name)
{
	struct quar_names *n = arg;
	size_t len = strlen(n->q->log);
	unsigned long no;
	char *end;

	if (strncmp(name, n->q->log, len) != 0 || name[len] != '-')
		return 0;
	errno = 0;
	no = strtoul(name + len + 1, &end, 10);
	if (errno == 0 && end == name + len + 11 && no < UINT32_MAX &&
	    no > n->max)
		n->max = (uint32_t)no;
	return 0;
}

uint32_t
quar_max_segno(struct quar *q)
{
	struct quar_names n = { .q = q };

	if (quar_open(q, false) < 0)
		return 0;
	/* A number that is not seen here costs a clash of names later. */
	(void)sys->list(q->fd, quar_on_segno, &n);
	return n.max;
}

static int
quar_on_size(void *arg, const char *name)
{
	struct quar *q = arg;
	struct sys_stat st;
	int fd;

	q->files++;
	fd = sys->openat(q->fd, name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW, 0);
	if (fd < 0)
		return 0;
	if (sys->fstat(fd, &st) == 0 && st.is_regular)
		q->bytes += st.size;
	(void)sys->close(fd);	/* only read */
	return 0;
}

/* Is there room for one more thing of len bytes? */
static bool
quar_room(struct quar *q, uint64_t len)
{
	if (!q->measured) {
		q->bytes = q->files = 0;
		(void)sys->list(q->fd, quar_on_size, q);
		q->measured = true;
	}
	return q->files + 2 <= QUAR_FILES_MAX &&
	    q->bytes + len <= QUAR_BYTES_MAX;
}

static void
quar_tell(struct quar *q, const char *name, const char *text)
{
	char file[QUAR_NAME_MAX];
	int fd;

	(void)snprintf(file, sizeof file, "%s.why", name);
	fd = sys->openat(q->fd, file, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (fd < 0)
		return;
	/* The text is a help for a person; without it the bytes remain. */
	if (sys_pwrite_all(fd, text, strlen(text), 0) == 0) {
		q->files++;
		q->bytes += strlen(text);
	}
	(void)sys->close(fd);
}

static int
quar_copy_bytes(int from, uint64_t off, uint64_t len, int to)
{
	uint8_t piece[QUAR_PIECE];
	uint64_t done = 0;
	size_t n;
	int r;

	while (done < len) {
		n = len - done < sizeof piece ? (size_t)(len - done) :
		    sizeof piece;
		memset(piece, 0, n);
		/* Unreadable bytes are set aside as zero bytes. */
		(void)!sys_pread_all(from, piece, n, off + done);
		r = sys_pwrite_all(to, piece, n, done);
		if (r < 0)
			return r;
		done += n;
	}
	return 0;
}

int
quar_copy(struct quar *q, int fd, const char *name, uint64_t off,
    uint64_t len, const char *reason)
{
	char file[QUAR_NAME_MAX - 8], text[1024];
	int to, r;

	r = quar_open(q, true);
	if (r < 0)
		return r;
	(void)snprintf(file, sizeof file, "%s-%s.%" PRIu64, q->log, name, off);
	if (!quar_room(q, len))
		return -ENOSPC;
	to = sys->openat(q->fd, file, O_WRONLY | O_CREAT | O_EXCL, 0600);
	if (to < 0)
		return to;
	r = quar_copy_bytes(fd, off, len, to);
	(void)sys->close(to);	/* a copy, not relied upon */
	if (r < 0) {
		(void)sys->unlinkat(q->fd, file, 0);
		return r;
	}
	q->files++;
	q->bytes += len;
	(void)snprintf(text, sizeof text, "%s/%s, bytes %" PRIu64 " to %" PRIu64
	    ": %s\n", q->log, name, off, off + len, reason);
	quar_tell(q, file, text);
	return 0;
}

int
quar_move(struct quar *q, int dirfd, const char *name, const char *reason)
{
	char file[QUAR_NAME_MAX - 8], text[1024];
	int r, fd, n;

	r = quar_open(q, true);
	if (r < 0)
		return r;
	n = snprintf(file, sizeof file, "%s-%s", q->log, name);
	/* What was set aside before is not to be written over. */
	for (int i = 1; i < 1000; i++) {
		if (n < 0 || (size_t)n >= sizeof file)
			return -ENAMETOOLONG;
		fd = sys->openat(q->fd, file, O_RDONLY | O_NONBLOCK |
		    O_NOFOLLOW, 0);
		if (fd == -ENOENT)
			break;
		if (fd >= 0)
			(void)sys->close(fd);	/* only looked at */
		n = snprintf(file, sizeof file, "%s-%s~%d", q->log, name, i);
	}
	r = sys->renameat(dirfd, name, q->fd, file);
	if (r < 0)
		return r;
	q->measured = false;
	(void)snprintf(text, sizeof text, "%s/%s: %s\n", q->log, name, reason);
	quar_tell(q, file, text);
	return 0;
}
