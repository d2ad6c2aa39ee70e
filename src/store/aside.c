/* aside: moves, finds and removes what a newer lumnid has left. */
#include "store/aside.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "store/seglog.h"

#define ASIDE_PATH	4096
#define ASIDE_LEFT_MAX	1000	/* of one number, in quarantine/ */

const char *const aside_logs[ASIDE_LOGS] = { "journal", "spool/records",
    "spool" };

/* What a move takes along; spool/records goes with spool. */
static const char *const aside_dirs[] = { "journal", "spool" };

/* A path that is too long becomes one that is not there. */
static void
aside_path(char dst[ASIDE_PATH], const char *dir, const char *name)
{
	if (snprintf(dst, ASIDE_PATH, "%s/%s", dir, name) >= ASIDE_PATH)
		dst[0] = '\0';
}

int
aside_known(const char *path, struct why *why)
{
	char dir[ASIDE_PATH];
	struct why other;
	int error = 0;

	for (size_t i = 0; i < ASIDE_LOGS; i++) {
		aside_path(dir, path, aside_logs[i]);
		int r = seglog_known(dir, &other);
		if (r < 0 && (error == 0 || r == -EPROTONOSUPPORT)) {
			error = r;
			if (why != NULL)
				*why = other;
		}
		if (r == -EPROTONOSUPPORT)
			break;
	}
	return error;
}

/* --- names ----------------------------------------------------------------- */

struct aside_find {
	const char	*suffix;	/* "", ".part", ".gone"; NULL: any */
	unsigned	after;
	unsigned	lowest;		/* above `after`; 0: none */
	unsigned	highest;
};

static int
aside_on_name(void *arg, const char *name)
{
	struct aside_find *f = arg;
	unsigned long n;
	char *end;

	if (strncmp(name, "newer-", 6) != 0 || name[6] < '1' || name[6] > '9')
		return 0;
	errno = 0;
	n = strtoul(name + 6, &end, 10);
	if (errno != 0 || n > 999999999 ||
	    (f->suffix != NULL && strcmp(end, f->suffix) != 0))
		return 0;
	if (n > f->highest)
		f->highest = (unsigned)n;
	if (n > f->after && (f->lowest == 0 || n < f->lowest))
		f->lowest = (unsigned)n;
	return 0;
}

static int
aside_find(int dirfd, const char *suffix, unsigned after,
    struct aside_find *f, const char *path, struct why *why)
{
	*f = (struct aside_find){ .suffix = suffix, .after = after };
	int r = sys->list(dirfd, aside_on_name, f);

	return r < 0 ? why_errno(why, r, "%s", path) : 0;
}

static void
aside_name(char dst[ASIDE_NAME_LEN], unsigned n, const char *suffix)
{
	(void)snprintf(dst, ASIDE_NAME_LEN, "newer-%u%s", n, suffix);
}

/* --- moving ---------------------------------------------------------------- */

static int
aside_sync(int fd, const char *path, struct why *why)
{
	int r = sys->fsync(fd);

	return r < 0 ? why_errno(why, r, "%s: fsync", path) : 0;
}

/* Rename within the storage directory, durably. */
static int
aside_rename(int dirfd, const char *path, const char *from, const char *to,
    struct why *why)
{
	int r = sys->renameat(dirfd, from, dirfd, to);

	if (r < 0)
		return why_errno(why, r, "%s/%s: cannot rename it to %s",
		    path, from, to);
	return aside_sync(dirfd, path, why);
}

/* Move the logs into newer-<n>.part, those that are not there yet. */
static int
aside_fill(int dirfd, const char *path, unsigned n, struct why *why)
{
	char part[ASIDE_NAME_LEN], name[ASIDE_NAME_LEN], sub[ASIDE_PATH];
	int r = 0;

	aside_name(part, n, ".part");
	aside_name(name, n, "");
	aside_path(sub, path, part);
	int fd = sys->open_dir(sub);
	if (fd < 0)
		return why_errno(why, fd, "%s", sub);
	for (size_t i = 0; r == 0 && i < NELEM(aside_dirs); i++) {
		r = sys->renameat(dirfd, aside_dirs[i], fd, aside_dirs[i]);
		/* Moved before the crash, or never there. */
		if (r == -ENOENT) {
			r = 0;
			continue;
		}
		if (r < 0)
			(void)why_errno(why, r, "%s/%s: cannot move it to %s",
			    path, aside_dirs[i], part);
		if (r == 0)
			r = aside_sync(fd, sub, why);
		if (r == 0)
			r = aside_sync(dirfd, path, why);
	}
	(void)sys->close(fd);	/* synced */
	return r < 0 ? r : aside_rename(dirfd, path, part, name, why);
}

int
aside_move(int dirfd, const char *path, char ret_name[ASIDE_NAME_LEN],
    struct why *why)
{
	char part[ASIDE_NAME_LEN];
	struct aside_find f;
	int r = aside_find(dirfd, NULL, 0, &f, path, why);

	if (r < 0)
		return r;
	aside_name(part, f.highest + 1, ".part");
	r = sys->mkdirat(dirfd, part, 0700);
	if (r < 0)
		return why_errno(why, r, "%s/%s: cannot make the directory",
		    path, part);
	r = aside_sync(dirfd, path, why);
	if (r == 0)
		r = aside_fill(dirfd, path, f.highest + 1, why);
	if (r == 0)
		aside_name(ret_name, f.highest + 1, "");
	return r;
}

/* --- looking --------------------------------------------------------------- */

struct aside_count {
	int		 fd;
	struct aside	*a;
};

static int
aside_on_file(void *arg, const char *name)
{
	struct aside_count *c = arg;
	struct sys_stat st;
	int fd;

	fd = sys->openat(c->fd, name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW, 0);
	if (fd < 0)
		return 0;
	if (sys->fstat(fd, &st) == 0 && st.is_regular) {
		c->a->files++;
		c->a->bytes += st.size;
	}
	(void)sys->close(fd);	/* only looked at */
	return 0;
}

bool
aside_next(int dirfd, const char *path, unsigned after, struct aside *ret)
{
	struct aside_count c = { .a = ret };
	char top[ASIDE_PATH], dir[ASIDE_PATH];
	struct aside_find f;

	if (aside_find(dirfd, "", after, &f, path, NULL) < 0 || f.lowest == 0)
		return false;
	*ret = (struct aside){ .n = f.lowest };
	aside_name(ret->name, f.lowest, "");
	aside_path(top, path, ret->name);
	for (size_t i = 0; i < ASIDE_LOGS; i++) {
		aside_path(dir, top, aside_logs[i]);
		c.fd = sys->open_dir(dir);
		if (c.fd < 0)
			continue;
		(void)sys->list(c.fd, aside_on_file, &c);
		(void)sys->close(c.fd);	/* only read */
	}
	ret->known = aside_known(top, NULL) == 0;
	return true;
}

/* --- removing -------------------------------------------------------------- */

struct aside_empty {
	int		 fd;
	size_t		 n;
};

static int
aside_on_segment(void *arg, const char *name)
{
	struct aside_empty *em = arg;
	size_t len = strlen(name);

	if (len == 14 && strcmp(name + 10, ".seg") == 0 &&
	    sys->unlinkat(em->fd, name, 0) == 0)
		em->n++;
	return 0;
}

/*
 * Delete the segments in a directory, and it, where nothing else is there.
 * What does not go now stays, and is moved as a whole.
 */
static void
aside_empty(const char *parent, const char *name)
{
	char dir[ASIDE_PATH];
	struct aside_empty em;

	aside_path(dir, parent, name);
	em.fd = sys->open_dir(dir);
	if (em.fd < 0)
		return;
	/* A walk may miss what moves as others are deleted. */
	do {
		em.n = 0;
		(void)sys->list(em.fd, aside_on_segment, &em);
	} while (em.n > 0);
	(void)sys->close(em.fd);	/* needs no sync: see aside_finish() */
	int fd = sys->open_dir(parent);
	if (fd < 0)
		return;
	(void)sys->unlinkat(fd, name, AT_REMOVEDIR);
	(void)sys->close(fd);
}

/* The directory is out of use; get rid of it. */
static int
aside_clear(int dirfd, const char *path, unsigned n, struct why *why)
{
	char gone[ASIDE_NAME_LEN], name[ASIDE_NAME_LEN];
	char dir[ASIDE_PATH], sub[ASIDE_PATH];
	int quar, r;

	aside_name(gone, n, ".gone");
	aside_name(name, n, "");
	aside_path(dir, path, gone);
	aside_path(sub, dir, "spool");
	aside_empty(dir, "journal");
	aside_empty(sub, "records");
	aside_empty(dir, "spool");
	aside_empty(dir, "dead");
	r = sys->unlinkat(dirfd, gone, AT_REMOVEDIR);
	if (r == 0)
		return aside_sync(dirfd, path, why);
	(void)sys->mkdirat(dirfd, "quarantine", 0700);	/* or it is there */
	aside_path(dir, path, "quarantine");
	quar = sys->open_dir(dir);
	if (quar < 0)
		return why_errno(why, quar, "%s", dir);
	r = sys->renameat(dirfd, gone, quar, name);
	/* What was left of an earlier one of this number may be there. */
	for (unsigned i = 2; i < ASIDE_LEFT_MAX && (r == -ENOTEMPTY ||
	    r == -EEXIST); i++) {
		(void)snprintf(name, sizeof name, "newer-%u.%u", n, i);
		r = sys->renameat(dirfd, gone, quar, name);
	}
	(void)sys->close(quar);
	if (r < 0)
		return why_errno(why, r, "%s/%s", path, gone);
	return aside_sync(dirfd, path, why);
}

int
aside_remove(int dirfd, const char *path, const struct aside *a,
    struct why *why)
{
	char gone[ASIDE_NAME_LEN];
	int r;

	/* Half of it must not be met by a start, as if it waited still. */
	aside_name(gone, a->n, ".gone");
	r = aside_rename(dirfd, path, a->name, gone, why);
	return r < 0 ? r : aside_clear(dirfd, path, a->n, why);
}

int
aside_finish(int dirfd, const char *path, struct why *why)
{
	struct aside_find f;
	int r = aside_find(dirfd, ".part", 0, &f, path, why);

	if (r == 0 && f.lowest != 0)
		r = aside_fill(dirfd, path, f.lowest, why);
	if (r == 0)
		r = aside_find(dirfd, ".gone", 0, &f, path, why);
	/* What cannot be removed does no harm: the next start tries again. */
	if (r == 0 && f.lowest != 0)
		(void)!aside_clear(dirfd, path, f.lowest, NULL);
	return r;
}
