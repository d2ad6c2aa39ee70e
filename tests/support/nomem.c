/*
 * nomem: an allocation fails, whoever makes it: lumnid, libevent, libcurl,
 * json-c, zstd, the C library. For LD_PRELOAD. From the environment:
 *
 *	LUMNID_NOMEM_AT=n	the n-th allocation (the first is 1) fails
 *	LUMNID_NOMEM_TIMES=k	and those behind it, k in all; 1
 *	LUMNID_NOMEM_LOG=path	"count N" is appended at the process's end,
 *				"failed N" when the last one has failed
 *
 * Counted are malloc(), calloc(), realloc() to more, posix_memalign() and
 * aligned_alloc(), of all threads.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static atomic_ulong count;
static unsigned long at, times;
static const char *log_path;

/* Until our constructor runs, which is late, none fails. */
static bool ready;

static void *(*real_malloc)(size_t);
static void *(*real_calloc)(size_t, size_t);
static void *(*real_realloc)(void *, size_t);
static int (*real_memalign)(void **, size_t, size_t);
static void *(*real_aligned)(size_t, size_t);

/* dlsym() itself may want a little before calloc() is known. */
static _Alignas(16) unsigned char early[8192];
static size_t early_used;

static void *
early_alloc(size_t n)
{
	size_t from = early_used;

	n = (n + 15) / 16 * 16;
	if (n > sizeof early - from)
		return NULL;
	early_used += n;
	return early + from;
}

static bool
is_early(const void *p)
{
	return (const unsigned char *)p >= early &&
	    (const unsigned char *)p < early + sizeof early;
}

static void
look_up(const char *name, void *ret)
{
	void *sym = dlsym(RTLD_NEXT, name);

	memcpy(ret, &sym, sizeof sym);
}

static void
note(const char *what, unsigned long n)
{
	char line[64];
	int len = snprintf(line, sizeof line, "%s %lu\n", what, n);
	int fd = log_path == NULL ? -1 : open(log_path, O_WRONLY | O_APPEND |
	    O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0)
		return;
	(void)!write(fd, line, (size_t)len);
	(void)close(fd);
}

/* false: it is at it, and wants memory for that. One thread, before main(). */
static bool
find_real(void)
{
	static bool busy;

	if (real_calloc != NULL)
		return true;
	if (busy)
		return false;
	busy = true;
	look_up("malloc", &real_malloc);
	look_up("realloc", &real_realloc);
	look_up("posix_memalign", &real_memalign);
	look_up("aligned_alloc", &real_aligned);
	look_up("calloc", &real_calloc);
	busy = false;
	return true;
}

__attribute__((constructor)) static void
begin(void)
{
	const char *s;

	(void)find_real();
	if ((s = getenv("LUMNID_NOMEM_AT")) != NULL)
		at = strtoul(s, NULL, 10);
	s = getenv("LUMNID_NOMEM_TIMES");
	times = s != NULL ? strtoul(s, NULL, 10) : 1;
	log_path = getenv("LUMNID_NOMEM_LOG");
	ready = true;
}

__attribute__((destructor)) static void
end(void)
{
	note("count", atomic_load(&count));
}

static bool
fails(void)
{
	unsigned long n;

	if (!ready)
		return false;
	n = atomic_fetch_add(&count, 1) + 1;
	if (at == 0 || n < at || n - at >= times)
		return false;
	if (n - at + 1 == times)
		note("failed", n);
	errno = ENOMEM;
	return true;
}

void *
malloc(size_t n)
{
	if (!find_real())
		return early_alloc(n);
	return fails() ? NULL : real_malloc(n);
}

void *
calloc(size_t n, size_t size)
{
	if (!find_real())
		return early_alloc(n * size);	/* it is zero */
	return fails() ? NULL : real_calloc(n, size);
}

void *
realloc(void *p, size_t n)
{
	void *q;

	if (is_early(p) || !find_real()) {
		if ((q = malloc(n)) != NULL && p != NULL) {
			size_t most = (size_t)(early + sizeof early -
			    (unsigned char *)p);
			memcpy(q, p, n < most ? n : most);
		}
		return q;
	}
	return n > 0 && fails() ? NULL : real_realloc(p, n);
}

int
posix_memalign(void **ret, size_t align, size_t n)
{
	(void)find_real();
	return fails() ? ENOMEM : real_memalign(ret, align, n);
}

void *
aligned_alloc(size_t align, size_t n)
{
	(void)find_real();
	return fails() ? NULL : real_aligned(align, n);
}

void
free(void *p)
{
	static void (*real)(void *);

	if (p == NULL || is_early(p))
		return;
	if (real == NULL)
		look_up("free", &real);
	real(p);
}
