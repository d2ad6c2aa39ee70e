/*
 * mem: allocation for small, bounded things, and the allocator's set-up.
 */
#include "base/mem.h"

#include <malloc.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* End the process: no memory, or an invariant is broken. */
void
fatal(const char *fmt, ...)
{
	va_list ap;

	fputs("lumnid: fatal: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	abort();
}

void *
mem_alloc(size_t n)
{
	void *p = malloc(n != 0 ? n : 1);

	if (p == NULL)
		fatal("out of memory: %zu bytes", n);
	return p;
}

void *
mem_zalloc(size_t n)
{
	void *p = calloc(1, n != 0 ? n : 1);

	if (p == NULL)
		fatal("out of memory: %zu bytes", n);
	return p;
}

void *
mem_grow(void *old, size_t nelem, size_t size)
{
	size_t n;

	if (__builtin_mul_overflow(nelem, size, &n))
		fatal("out of memory: %zu times %zu bytes", nelem, size);
	void *p = realloc(old, n != 0 ? n : 1);
	if (p == NULL)
		fatal("out of memory: %zu bytes", n);
	return p;
}

char *
mem_strdup(const char *s)
{
	return mem_dup(s, strlen(s) + 1);
}

void *
mem_dup(const void *src, size_t n)
{
	void *p = mem_alloc(n);

	if (n != 0)
		memcpy(p, src, n);
	return p;
}

#if defined __has_feature
#if __has_feature(address_sanitizer)
#define MEM_OWN_STRDUP 0	/* it has one already */
#endif
#elif defined __SANITIZE_ADDRESS__
#define MEM_OWN_STRDUP 0
#endif
#ifndef MEM_OWN_STRDUP
#define MEM_OWN_STRDUP 1
#endif

#if MEM_OWN_STRDUP
/*
 * The C library's, for the libraries, too: json-c 0.16 goes on with the NULL
 * of a key that could not be copied, and would end in a SIGSEGV.
 */
char *
strdup(const char *s)
{
	return mem_strdup(s);
}
#endif

void
mem_setup(void)
{
	/*
	 * Setting any of these also ends glibc's habit of raising the mmap
	 * threshold to the largest block freed, after which one large message
	 * would stay in the heap for ever. What zstd takes anew when bodies
	 * change their size, some 500 KiB, has to come out of the heap: as a
	 * mapping of its own it costs more in page faults than compression.
	 */
	(void)mallopt(M_MMAP_THRESHOLD, 1024 * 1024); /* advice: may fail */
	(void)mallopt(M_TRIM_THRESHOLD, 1024 * 1024);
	(void)mallopt(M_TOP_PAD, 64 * 1024);
	(void)mallopt(M_ARENA_MAX, 1);
}

void
mem_trim(void)
{
	(void)malloc_trim(0);	/* there may be nothing to give back */
}

void
mem_forget(void *p, size_t n)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	uintptr_t from = ((uintptr_t)p + page - 1) & ~(page - 1);
	uintptr_t to = ((uintptr_t)p + n) & ~(page - 1);

	/* Whole pages only; where it fails, they stay. */
	if (from < to)
		(void)madvise((void *)from, to - from, MADV_DONTNEED);
}
