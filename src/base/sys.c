/*
 * sys: the system calls of the store, behind one swappable table. Here is the
 * table that calls the kernel, and what is built on whichever is in force.
 */
#include "base/sys.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* The value of a system call that is repeated when a signal ends it. */
#define SYS_RETRY(call)							\
	({								\
		__typeof__(call) r_;					\
		do							\
			r_ = (call);					\
		while (r_ < 0 && errno == EINTR);			\
		r_ < 0 ? -errno : r_;					\
	})

static int
sys_k_open_dir(const char *path)
{
	return SYS_RETRY(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

static int
sys_k_openat(int dirfd, const char *name, int flags, mode_t mode)
{
	return SYS_RETRY(openat(dirfd, name, flags | O_CLOEXEC, mode));
}

static int
sys_k_mkdirat(int dirfd, const char *name, mode_t mode)
{
	return SYS_RETRY(mkdirat(dirfd, name, mode));
}

static int
sys_k_close(int fd)
{
	/* Linux frees the fd even on EINTR: to repeat could hit another's. */
	if (close(fd) < 0 && errno != EINTR)
		return -errno;
	return 0;
}

static HOT ssize_t
sys_k_pwritev(int fd, const struct iovec *iov, int n, uint64_t off)
{
	return SYS_RETRY(pwritev(fd, iov, n, (off_t)off));
}

static ssize_t
sys_k_pread(int fd, void *dst, size_t len, uint64_t off)
{
	return SYS_RETRY(pread(fd, dst, len, (off_t)off));
}

static int
sys_k_ftruncate(int fd, uint64_t len)
{
	return SYS_RETRY(ftruncate(fd, (off_t)len));
}

static int
sys_k_reserve(int fd, uint64_t off, uint64_t len)
{
	int r = SYS_RETRY(fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)off,
	    (off_t)len));

	/* No filesystem's duty: without it a write may meet ENOSPC later. */
	return r == -EOPNOTSUPP || r == -ENOSYS ? 0 : r;
}

static int
sys_k_fdatasync(int fd)
{
	return SYS_RETRY(fdatasync(fd));
}

static int
sys_k_fsync(int fd)
{
	return SYS_RETRY(fsync(fd));
}

static int
sys_k_renameat(int odirfd, const char *old, int ndirfd, const char *new)
{
	return SYS_RETRY(renameat(odirfd, old, ndirfd, new));
}

void (*sys_close_deleted)(int fd);

static int
sys_k_unlinkat(int dirfd, const char *name, int flags)
{
	int fd = -1;

	/* Held open, it is only its name that goes here and now. */
	if (sys_close_deleted != NULL && flags == 0)
		fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW |
		    O_NONBLOCK);
	int r = SYS_RETRY(unlinkat(dirfd, name, flags));
	if (fd >= 0)
		sys_close_deleted(fd);
	return r;
}

static int
sys_k_fstat(int fd, struct sys_stat *ret)
{
	struct stat st;

	int r = SYS_RETRY(fstat(fd, &st));
	if (r < 0)
		return r;
	*ret = (struct sys_stat){
		.size = (uint64_t)st.st_size,
		.blocks = (uint64_t)st.st_blocks * 512,
		.is_dir = S_ISDIR(st.st_mode),
		.is_regular = S_ISREG(st.st_mode),
	};
	return 0;
}

static int
sys_k_space(int fd, struct sys_space *ret)
{
	struct statvfs vfs;

	int r = SYS_RETRY(fstatvfs(fd, &vfs));
	if (r < 0)
		return r;
	*ret = (struct sys_space){
		.total = (uint64_t)vfs.f_blocks * vfs.f_frsize,
		.avail = (uint64_t)vfs.f_bavail * vfs.f_frsize,
	};
	return 0;
}

static int
sys_k_lock(int fd)
{
	return SYS_RETRY(flock(fd, LOCK_EX | LOCK_NB));
}

static int
sys_k_list(int dirfd, int (*fn)(void *, const char *), void *arg)
{
	struct dirent *de;
	int r = 0;

	/* A description of its own: a dup(2) would share the offset. */
	int fd = sys_k_openat(dirfd, ".", O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return fd;
	DIR *dir = fdopendir(fd);
	if (dir == NULL) {
		r = -errno;
		(void)sys_k_close(fd); /* read-only: nothing to lose */
		return r;
	}
	while (r == 0) {
		errno = 0;
		if ((de = readdir(dir)) == NULL) {
			r = -errno;
			break;
		}
		if (strcmp(de->d_name, ".") == 0 ||
		    strcmp(de->d_name, "..") == 0)
			continue;
		r = fn(arg, de->d_name);
	}
	(void)closedir(dir); /* read-only: nothing to lose */
	return r;
}

const struct sys sys_kernel = {
	.open_dir = sys_k_open_dir,
	.openat = sys_k_openat,
	.mkdirat = sys_k_mkdirat,
	.close = sys_k_close,
	.pwritev = sys_k_pwritev,
	.pread = sys_k_pread,
	.ftruncate = sys_k_ftruncate,
	.reserve = sys_k_reserve,
	.fdatasync = sys_k_fdatasync,
	.fsync = sys_k_fsync,
	.renameat = sys_k_renameat,
	.unlinkat = sys_k_unlinkat,
	.fstat = sys_k_fstat,
	.space = sys_k_space,
	.lock = sys_k_lock,
	.list = sys_k_list,
};

const struct sys *sys = &sys_kernel;

int
sys_pwritev_all(int fd, struct iovec *iov, int n, uint64_t off)
{
	while (n > 0) {
		if (iov->iov_len == 0) {
			iov++;
			n--;
			continue;
		}
		ssize_t w = sys->pwritev(fd, iov, n < IOV_MAX ? n : IOV_MAX,
		    off);
		if (w == -EINTR)
			continue;
		if (w < 0)
			return (int)w;
		/* Would repeat for ever; no regular file does this. */
		if (w == 0)
			return -EIO;
		size_t done = (size_t)w;
		off += done;
		while (n > 0 && done >= iov->iov_len) {
			done -= iov->iov_len;
			iov++;
			n--;
		}
		assert(n > 0 || done == 0);
		if (done > 0) {
			iov->iov_base = (char *)iov->iov_base + done;
			iov->iov_len -= done;
		}
	}
	return 0;
}

int
sys_pwrite_all(int fd, const void *src, size_t len, uint64_t off)
{
	/* iovec has no const; pwritev(2) does not write there. */
	struct iovec iov = { (void *)(uintptr_t)src, len };

	return sys_pwritev_all(fd, &iov, 1, off);
}

int
sys_pread_all(int fd, void *dst, size_t len, uint64_t off)
{
	uint8_t *p = dst;

	while (len > 0) {
		ssize_t n = sys->pread(fd, p, len, off);
		if (n == -EINTR)
			continue;
		if (n < 0)
			return (int)n;
		if (n == 0)
			return -ENODATA;
		p += n;
		off += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}
