/* store_help: what the tests of the store share: places, syncs, bytes. */
#ifndef LUMNID_TESTS_STORE_HELP_H
#define LUMNID_TESTS_STORE_HELP_H

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <check.h>

#include "base/sys.h"
#include "store/seglog.h"

#define HELP_NOW	((struct wall){ 1750000000000000 })

/* A temporary place: root/log for a log, root/q for its quarantine. */
struct help_dir {
	char	root[256];
	char	log[300];
	char	quar[300];
};

static inline void
help_dir_make(struct help_dir *d)
{
	const char *tmp = getenv("TMPDIR");

	/* Thousands of small files: in memory unless told otherwise. */
	if (tmp == NULL)
		tmp = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
	snprintf(d->root, sizeof d->root, "%s/lumnid-unit-XXXXXX", tmp);
	ck_assert_ptr_nonnull(mkdtemp(d->root));
	snprintf(d->log, sizeof d->log, "%s/log", d->root);
	snprintf(d->quar, sizeof d->quar, "%s/q", d->root);
	ck_assert_int_eq(mkdir(d->log, 0700), 0);
}

static inline int
help_dir_rm_one(const char *path, const struct stat *st, int type,
    struct FTW *ftw)
{
	return remove(path);
}

static inline void
help_dir_empty(const char *path)
{
	(void)nftw(path, help_dir_rm_one, 8, FTW_DEPTH | FTW_PHYS);
}

static inline void
help_dir_drop(struct help_dir *d)
{
	help_dir_empty(d->root);
}

static inline int
help_sync_nothing(int fd)
{
	return 0;
}

/* The kernel's files, but syncs cost nothing: power is not lost here. */
static inline void
help_no_sync(void)
{
	static struct sys table;

	table = sys_kernel;
	table.fdatasync = table.fsync = help_sync_nothing;
	sys = &table;
}

/* Make the log's directory anew, empty, and the quarantine go. */
static inline void
help_dir_clear(struct help_dir *d)
{
	help_dir_empty(d->log);
	help_dir_empty(d->quar);
	ck_assert_int_eq(mkdir(d->log, 0700), 0);
}

/* A whole file; the caller frees. */
static inline uint8_t *
help_slurp(const char *dir, const char *name, size_t *ret_len)
{
	char path[600];
	struct stat st;
	uint8_t *p;
	int fd;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	fd = open(path, O_RDONLY);
	ck_assert_msg(fd >= 0, "%s", path);
	ck_assert_int_eq(fstat(fd, &st), 0);
	p = malloc((size_t)st.st_size + 1);
	ck_assert_ptr_nonnull(p);
	ck_assert_int_eq(read(fd, p, (size_t)st.st_size), st.st_size);
	close(fd);
	*ret_len = (size_t)st.st_size;
	return p;
}

static inline void
help_spit(const char *dir, const char *name, const void *p, size_t len)
{
	char path[600];
	int fd;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	/* ext4 writes a file out that was truncated and filled anew. */
	(void)unlink(path);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	ck_assert_msg(fd >= 0, "%s", path);
	ck_assert_int_eq(write(fd, p, len), (ssize_t)len);
	close(fd);
}

static inline bool
help_exists(const char *dir, const char *name)
{
	char path[600];

	snprintf(path, sizeof path, "%s/%s", dir, name);
	return access(path, F_OK) == 0;
}

/* Do what a sync round asks for; 0 or the first -errno. */
static inline int
help_sync_set(const struct seglog_sync *set)
{
	int r, first = 0;

	for (size_t i = 0; i < set->n; i++) {
		r = set->what[i].is_dir ? sys->fsync(set->what[i].fd) :
		    sys->fdatasync(set->what[i].fd);
		if (r < 0 && first == 0)
			first = r;
	}
	return first;
}

#endif
