/*
 * mem: allocation for small, bounded things, where failure is fatal; and the
 * allocator's set-up that keeps the process small. Memory whose size a peer
 * chooses goes through struct buf, which reports failure instead.
 */
#ifndef LUMNID_BASE_MEM_H
#define LUMNID_BASE_MEM_H

#include <stddef.h>

#include "base/cdefs.h"

/* Write "lumnid: fatal: ..." to stderr and abort(). */
void	fatal(const char *fmt, ...) NORETURN PRINTF_LIKE(1, 2);

/* As malloc/calloc/realloc/strdup; never return NULL. */
void	*mem_alloc(size_t) MUSTUSE;
void	*mem_zalloc(size_t) MUSTUSE;
void	*mem_grow(void *, size_t nelem, size_t size) MUSTUSE;
char	*mem_strdup(const char *) MUSTUSE;
void	*mem_dup(const void *, size_t) MUSTUSE;

/*
 * Fix malloc's thresholds (mallopt(3)), so that large buffers return to the
 * system when freed and the heap does not grow with the largest message.
 */
void	mem_setup(void);
/* Give free memory back to the system; for quiet moments. */
void	mem_trim(void);
/* The same of memory in use, whose bytes no longer matter. */
void	mem_forget(void *, size_t);

#endif
