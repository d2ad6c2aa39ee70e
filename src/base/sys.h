/*
 * sys: the system calls of the store, behind one swappable table, so that
 * tests can fail any call, tear any write and lose power at any moment.
 *
 * Every function returns a value >= 0, or -errno; EINTR is retried here, and
 * sys_pwritev() also completes short writes. Production uses the table that
 * calls the kernel. The table is process-wide: the helper thread of
 * loop/sync.c uses it too.
 */
#ifndef LUMNID_BASE_SYS_H
#define LUMNID_BASE_SYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/cdefs.h"

struct sys_stat {
	uint64_t size;		/* bytes */
	uint64_t blocks;	/* bytes allocated */
	bool	 is_dir;
	bool	 is_regular;
};

struct sys_space {
	uint64_t total;		/* bytes of the filesystem */
	uint64_t avail;		/* bytes an unprivileged user may take */
};

struct sys {
	/* Directory handles and files are plain fds, O_CLOEXEC. */
	int	(*open_dir)(const char *path);
	int	(*openat)(int dirfd, const char *name, int flags, mode_t mode);
	int	(*mkdirat)(int dirfd, const char *name, mode_t mode);
	int	(*close)(int fd);
	ssize_t	(*pwritev)(int fd, const struct iovec *, int n, uint64_t off);
	ssize_t	(*pread)(int fd, void *, size_t, uint64_t off);
	int	(*ftruncate)(int fd, uint64_t len);
	/* fallocate(2) with FALLOC_FL_KEEP_SIZE. */
	int	(*reserve)(int fd, uint64_t off, uint64_t len);
	int	(*fdatasync)(int fd);
	int	(*fsync)(int fd);
	int	(*renameat)(int odirfd, const char *, int ndirfd, const char *);
	int	(*unlinkat)(int dirfd, const char *name, int flags);
	int	(*fstat)(int fd, struct sys_stat *);
	int	(*space)(int fd, struct sys_space *);
	/* flock(2) LOCK_EX | LOCK_NB: -EWOULDBLOCK when taken. */
	int	(*lock)(int fd);
	/*
	 * Call fn for each entry but "." and "..", in no order; fn returns 0
	 * to go on, anything else ends the walk and is returned.
	 */
	int	(*list)(int dirfd, int (*fn)(void *, const char *name), void *);
};

/* The table in force. Tests point it elsewhere before any store is open. */
extern const struct sys	*sys;
extern const struct sys	 sys_kernel;
/*
 * Who closes the last descriptor of a file that sys_kernel deletes, with which
 * its blocks go: some milliseconds. The descriptor is his. NULL: unlinkat().
 */
extern void		(*sys_close_deleted)(int fd);

/* Write all of iov (which is modified) at off. Returns 0 or -errno. */
int	sys_pwritev_all(int fd, struct iovec *, int n, uint64_t off) MUSTUSE
	    HOT;
int	sys_pwrite_all(int fd, const void *, size_t, uint64_t off) MUSTUSE;
/* Read exactly len bytes. Returns 0, -ENODATA at the end of file, -errno. */
int	sys_pread_all(int fd, void *, size_t len, uint64_t off) MUSTUSE;

#endif
