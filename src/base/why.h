/*
 * why: one line of text that tells a person what went wrong and where.
 *
 * Functions that can fail for reasons outside the program take a
 * `struct why *` last. It may be NULL. It is written only on failure.
 */
#ifndef LUMNID_BASE_WHY_H
#define LUMNID_BASE_WHY_H

#include <stdarg.h>

#include "base/cdefs.h"

struct why {
	char text[512];
};

/*
 * Write the text (no newline, truncated to fit) and return `code`, so that a
 * failing function can end in `return why_set(why, -EIO, ...)`. Where code
 * is a negative errno and the text does not already name it, callers add
 * strerror themselves; see why_errno().
 */
int	why_set(struct why *, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* As why_set(), and ": " strerror(-code) is appended. code: -errno. */
int	why_errno(struct why *, int code, const char *fmt, ...)
	    PRINTF_LIKE(3, 4);

/* Put "what: " before the text already there; returns code. */
int	why_prefix(struct why *, int code, const char *fmt, ...)
	    PRINTF_LIKE(3, 4);

#endif
