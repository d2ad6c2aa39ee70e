/* xdg: variables that are no absolute path are ignored, as it is specified. */
#include "base/xdg.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int
xdg_join(char *dst, size_t n, const char *dir, const char *more)
{
	int r = snprintf(dst, n, "%s%s/lumnid", dir, more);

	return r < 0 || (size_t)r >= n ? -ENAMETOOLONG : 0;
}

int
xdg_state_dir(char *dst, size_t n)
{
	const char *dir = getenv("XDG_STATE_HOME");

	if (dir != NULL && dir[0] == '/')
		return xdg_join(dst, n, dir, "");
	dir = getenv("HOME");
	if (dir == NULL || dir[0] != '/')
		return -ENOENT;
	return xdg_join(dst, n, dir, "/.local/state");
}

int
xdg_run_dir(char *dst, size_t n, bool *ret_fallback)
{
	const char *dir = getenv("XDG_RUNTIME_DIR");
	bool fallback = dir == NULL || dir[0] != '/';

	if (ret_fallback != NULL)
		*ret_fallback = fallback;
	if (!fallback)
		return xdg_join(dst, n, dir, "");
	/* A directory of its own: both are locked. */
	int r = xdg_state_dir(dst, n);
	if (r < 0)
		return r;
	size_t len = strlen(dst);
	r = snprintf(dst + len, n - len, "/run");
	return r < 0 || (size_t)r >= n - len ? -ENAMETOOLONG : 0;
}

int
xdg_make_dir(const char *path)
{
	char dir[PATH_MAX];
	size_t len = strlen(path);

	if (len >= sizeof dir)
		return -ENAMETOOLONG;
	for (size_t i = 1; i <= len; i++) {
		if (path[i] != '/' && path[i] != '\0')
			continue;
		memcpy(dir, path, i);
		dir[i] = '\0';
		if (mkdir(dir, 0700) < 0 && errno != EEXIST)
			return -errno;
	}
	return 0;
}
