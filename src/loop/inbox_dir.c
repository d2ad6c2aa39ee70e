/* inbox_dir: see inbox_dir.h. */
#include "loop/inbox_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

#define INBOX_ENTRIES_PER_TURN	4096

/* --- directories ----------------------------------------------------------- */

void
inbox_dir_init(struct inbox_dir *d, const char *path)
{
	*d = (struct inbox_dir){ .path = path, .fresh = -1, .cur = -1,
	    .bad = -1 };
}

void
inbox_dir_close(struct inbox_dir *d)
{
	int *fds[] = { &d->fresh, &d->cur, &d->bad };

	for (size_t i = 0; i < NELEM(fds); i++) {
		if (*fds[i] >= 0)
			(void)close(*fds[i]);	/* only read from */
		*fds[i] = -1;
	}
}

/* One of the inbox's directories, made with the inbox's own mode. */
static int
inbox_dir_make(int dir, const char *name, mode_t mode)
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

const char *
inbox_dir_open(struct inbox_dir *d)
{
	int dir = open(d->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const char *fault = NULL;
	struct stat st;

	if (dir < 0)
		return strerror(errno);
	if (fstat(dir, &st) < 0) {
		fault = strerror(errno);
	} else if ((st.st_mode & S_IWOTH) != 0) {
		fault = "everybody may write there; chmod o-w";
	} else {
		int tmp = inbox_dir_make(dir, "tmp", st.st_mode);

		if (tmp >= 0)
			(void)close(tmp);	/* it is there */
		d->fresh = inbox_dir_make(dir, "new", st.st_mode);
		d->cur = inbox_dir_make(dir, "cur", 0700);
		d->bad = inbox_dir_make(dir, "bad", 0700);
		if (d->fresh < 0 || d->cur < 0 || d->bad < 0) {
			fault = strerror(errno);
			inbox_dir_close(d);
		}
	}
	(void)close(dir);	/* only read from */
	return fault;
}

static bool
inbox_dir_same(const struct inbox_dir *d, int fd, const char *name)
{
	char path[4096];
	struct stat a, b;

	(void)snprintf(path, sizeof path, "%s/%s", d->path, name);
	return fstat(fd, &a) == 0 && stat(path, &b) == 0 &&
	    a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

bool
inbox_dir_is_there(const struct inbox_dir *d)
{
	return inbox_dir_same(d, d->fresh, "new") &&
	    inbox_dir_same(d, d->cur, "cur") &&
	    inbox_dir_same(d, d->bad, "bad");
}

/* --- lists ----------------------------------------------------------------- */

void
inbox_list_clear(struct inbox_list *l)
{
	if (l->walk != NULL)
		(void)closedir(l->walk);	/* only read from */
	for (size_t i = 0; i < l->n; i++)
		free(l->names[i]);
	l->walk = NULL;
	l->n = l->next = 0;
}

/* Keep it, if it is one of the first. */
static void
inbox_list_add(struct inbox_list *l, const char *name)
{
	size_t lo = 0, hi = l->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (strcmp(l->names[mid], name) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == INBOX_LIST_MAX)
		return;
	if (l->n == INBOX_LIST_MAX)
		free(l->names[--l->n]);
	memmove(&l->names[lo + 1], &l->names[lo],
	    (l->n - lo) * sizeof l->names[0]);
	l->names[lo] = mem_strdup(name);
	l->n++;
}

int
inbox_list_read(struct inbox_list *l, int dir)
{
	const struct dirent *e;

	if (l->walk == NULL) {
		int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		inbox_list_clear(l);
		l->walk = fd < 0 ? NULL : fdopendir(fd);
		if (l->walk == NULL) {
			int r = -errno;
			if (fd >= 0)
				(void)close(fd);	/* only read from */
			return r;
		}
	}
	for (int i = 0; i < INBOX_ENTRIES_PER_TURN; i++) {
		if ((e = readdir(l->walk)) == NULL) {
			(void)closedir(l->walk);	/* only read from */
			l->walk = NULL;
			return 0;
		}
		if (e->d_name[0] != '.' && strlen(e->d_name) <= INBOX_NAME_MAX)
			inbox_list_add(l, e->d_name);
	}
	return 1;
}

const char *
inbox_list_next(struct inbox_list *l)
{
	return l->next < l->n ? l->names[l->next++] : NULL;
}
