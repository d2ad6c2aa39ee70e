/* sys: what is built on the table: short writes, interruptions, ends. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/rand.h"
#include "base/sys.h"
#include "unit.h"

/* A fake that writes and reads a few bytes at a time, or is interrupted. */
static struct rng fake_rng;
static uint8_t fake_disk[4096];
static ssize_t fake_result;	/* 0: behave */

static ssize_t
fake_pwritev(int fd, const struct iovec *iov, int n, uint64_t off)
{
	size_t most = 1 + rng_below(&fake_rng, 50), done = 0;

	if (fake_result != 0)
		return fake_result;
	if (rng_below(&fake_rng, 4) == 0)
		return -EINTR;
	for (int i = 0; i < n && done < most; i++) {
		size_t k = iov[i].iov_len;
		k = k < most - done ? k : most - done;
		memcpy(fake_disk + off + done, iov[i].iov_base, k);
		done += k;
	}
	return (ssize_t)done;
}

static ssize_t
fake_pread(int fd, void *dst, size_t len, uint64_t off)
{
	size_t most = 1 + rng_below(&fake_rng, 50);

	if (off >= sizeof fake_disk)
		return 0;
	if (rng_below(&fake_rng, 4) == 0)
		return -EINTR;
	len = len < most ? len : most;
	if (len > sizeof fake_disk - off)
		len = sizeof fake_disk - off;
	memcpy(dst, fake_disk + off, len);
	return (ssize_t)len;
}

static const struct sys fake = { .pwritev = fake_pwritev, .pread = fake_pread };

START_TEST(test_short_writes)
{
	uint8_t src[3000], back[3000];

	sys = &fake;
	rng_seed(&fake_rng, 5);
	for (int round = 0; round < 300; round++) {
		struct iovec iov[12];
		size_t len = 0;
		int n = (int)rng_below(&fake_rng, NELEM(iov) + 1);
		for (int i = 0; i < n; i++) {
			iov[i].iov_base = src + len;
			iov[i].iov_len = rng_below(&fake_rng, 250);
			len += iov[i].iov_len;
		}
		for (size_t i = 0; i < len; i++)
			src[i] = (uint8_t)rng_u64(&fake_rng);
		uint64_t off = rng_below(&fake_rng, 1000);
		ck_assert_int_eq(sys_pwritev_all(3, iov, n, off), 0);
		ck_assert_int_eq(sys_pread_all(3, back, len, off), 0);
		ck_assert_mem_eq(back, src, len);
	}
	ck_assert_int_eq(sys_pread_all(3, back, 10, sizeof fake_disk - 9),
	    -ENODATA);
	fake_result = -ENOSPC;
	ck_assert_int_eq(sys_pwrite_all(3, src, 10, 0), -ENOSPC);
	sys = &sys_kernel;
}
END_TEST

static int
count_entry(void *arg, const char *name)
{
	int *n = arg;

	ck_assert_ptr_eq(strchr(name, '.'), NULL);
	return ++*n == 3 ? 42 : 0;
}

/* Each call of the kernel's table, on a directory of its own. */
START_TEST(test_kernel)
{
	const char *tmp = getenv("TMPDIR");
	char path[512], back[8];
	struct sys_space space;
	struct sys_stat st;
	int n = 0;

	(void)snprintf(path, sizeof path, "%s/lumnid-sys-XXXXXX",
	    tmp != NULL ? tmp : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(path));
	int dir = sys->open_dir(path);
	ck_assert_int_ge(dir, 0);
	ck_assert_int_ne(fcntl(dir, F_GETFD) & FD_CLOEXEC, 0);
	ck_assert_int_eq(sys->lock(dir), 0);
	int again = sys->open_dir(path);
	ck_assert_int_eq(sys->lock(again), -EWOULDBLOCK);
	ck_assert_int_eq(sys->close(again), 0);

	ck_assert_int_eq(sys->openat(dir, "no", O_RDWR, 0), -ENOENT);
	int fd = sys->openat(dir, "a", O_RDWR | O_CREAT | O_EXCL, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_ne(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
	ck_assert_int_eq(sys->reserve(fd, 0, 65536), 0);
	ck_assert_int_eq(sys->fstat(fd, &st), 0);
	ck_assert_uint_eq(st.size, 0);
	ck_assert(st.is_regular && !st.is_dir);
	ck_assert_int_eq(sys_pwrite_all(fd, "hello", 5, 3), 0);
	ck_assert_int_eq(sys_pread_all(fd, back, 8, 0), 0);
	ck_assert_mem_eq(back, "\0\0\0hello", 8);
	ck_assert_int_eq(sys_pread_all(fd, back, 8, 1), -ENODATA);
	ck_assert_int_eq(sys->ftruncate(fd, 4), 0);
	ck_assert_int_eq(sys->fstat(fd, &st), 0);
	ck_assert_uint_eq(st.size, 4);
	ck_assert_int_eq(sys->fdatasync(fd), 0);
	ck_assert_int_eq(sys->fsync(dir), 0);
	ck_assert_int_eq(sys->space(fd, &space), 0);
	ck_assert_uint_ge(space.total, space.avail);
	ck_assert_int_eq(sys->close(fd), 0);
	ck_assert_int_eq(sys->close(fd), -EBADF);

	ck_assert_int_eq(sys->mkdirat(dir, "d", 0700), 0);
	ck_assert_int_eq(sys->mkdirat(dir, "d", 0700), -EEXIST);
	ck_assert_int_eq(sys->list(dir, count_entry, &n), 0);
	ck_assert_int_eq(n, 2);
	/* A second walk begins at the start again, and fn can end it. */
	ck_assert_int_eq(sys->list(dir, count_entry, &n), 42);
	ck_assert_int_eq(sys->renameat(dir, "a", dir, "b"), 0);
	ck_assert_int_eq(sys->unlinkat(dir, "b", 0), 0);
	ck_assert_int_eq(sys->unlinkat(dir, "b", 0), -ENOENT);
	ck_assert_int_eq(sys->unlinkat(dir, "d", AT_REMOVEDIR), 0);
	ck_assert_int_eq(sys->close(dir), 0);
	ck_assert_int_eq(rmdir(path), 0);
}
END_TEST

int
main(void)
{
	return unit_run("sys", (const TTest *const[]){ test_short_writes,
	    test_kernel, NULL });
}
