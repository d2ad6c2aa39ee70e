/* ctl_drop: see ctl_drop.h. */
#include "ctl/ctl_drop.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"

/* Open a directory of the inbox; made if absent, with the inbox's own mode. */
static int
drop_open_dir(int dir, const char *path, const char *name, struct why *why)
{
	struct stat st;
	int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC |
	    O_NOFOLLOW);

	if (fd >= 0)
		return fd;
	if (errno == ENOENT && fstat(dir, &st) == 0 &&
	    (mkdirat(dir, name, 0700) == 0 || errno == EEXIST)) {
		fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC |
		    O_NOFOLLOW);
		/* root makes it for lumnid, others for their group. */
		if (fd >= 0 && (fchown(fd, st.st_uid, st.st_gid) < 0 &&
		    errno != EPERM))
			goto fail;
		if (fd >= 0 && fchmod(fd, st.st_mode & 07777) == 0)
			return fd;
	}
fail:
	return why_errno(why, -errno, "%s/%s", path, name);
}

static int
drop_write(int fd, const struct buf *message)
{
	size_t done = 0;

	while (done < message->len) {
		ssize_t n = write(fd, message->data + done,
		    message->len - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		done += (size_t)n;
	}
	return fsync(fd) < 0 ? -errno : 0;
}

/* The file, whole and on the disk, in tmp. */
static int
drop_make(int dir, int tmp, const char *name, const struct buf *message)
{
	struct stat st;
	int fd = openat(tmp, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC |
	    O_NOFOLLOW, 0600);
	int r;

	if (fd < 0)
		return -errno;
	/* For lumnid to read: through its group, or as its owner. */
	if (fstat(dir, &st) < 0 || (fchown(fd, (uid_t)-1, st.st_gid) < 0 &&
	    errno != EPERM) || fchmod(fd, 0640) < 0)
		r = -errno;
	else
		r = drop_write(fd, message);
	if (close(fd) < 0 && r == 0)
		r = -errno;
	if (r < 0)
		(void)unlinkat(tmp, name, 0);	/* a leftover does no harm */
	return r;
}

static int
drop_into(int dir, const char *path, const char *name,
    const struct buf *message, struct why *why)
{
	int fresh = -1, r;
	int tmp = drop_open_dir(dir, path, "tmp", why);

	if (tmp < 0)
		return tmp;
	if ((fresh = drop_open_dir(dir, path, "new", why)) < 0) {
		(void)close(tmp);	/* nothing was written */
		return fresh;
	}
	r = drop_make(dir, tmp, name, message);
	if (r == 0 && renameat(tmp, name, fresh, name) < 0) {
		r = -errno;
		(void)unlinkat(tmp, name, 0);	/* a leftover does no harm */
	}
	if (r == 0 && (fsync(fresh) < 0 || fsync(dir) < 0))
		r = -errno;
	(void)close(tmp);	/* synced */
	(void)close(fresh);	/* synced */
	return r < 0 ? why_errno(why, r, "%s", path) : 0;
}

int
ctl_drop(const char *path, const struct buf *message, struct why *why)
{
	char name[80];
	uint64_t random;
	int r, dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (dir < 0)
		return why_errno(why, -errno, "%s", path);
	if (getrandom(&random, sizeof random, 0) != sizeof random)
		random = (uint64_t)clock_mono().us;
	(void)snprintf(name, sizeof name, "%020" PRId64 ".%ld.%016" PRIx64
	    ".msgpack", clock_now().wall.us, (long)getpid(), random);
	r = drop_into(dir, path, name, message, why);
	(void)close(dir);	/* synced */
	return r;
}
