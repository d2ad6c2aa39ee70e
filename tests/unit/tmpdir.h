/* tmpdir: a directory for one test, removed with all that is in it. */
#ifndef LUMNID_TESTS_TMPDIR_H
#define LUMNID_TESTS_TMPDIR_H

#include <check.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static inline void
tmpdir_make(char *dst, size_t n)
{
	const char *base = getenv("TMPDIR");

	(void)snprintf(dst, n, "%s/lumnid-test-XXXXXX",
	    base != NULL && base[0] != '\0' ? base : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(dst));
}

static inline int
tmpdir_remove_one(const char *path, const struct stat *st, int type,
    struct FTW *ftw)
{
	return remove(path);
}

static inline void
tmpdir_remove(const char *dir)
{
	(void)nftw(dir, tmpdir_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

#endif
