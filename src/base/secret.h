/*
 * secret: a text that must not be found where it has no business: it lies in
 * pages of its own, which are left out of core dumps (madvise(2),
 * MADV_DONTDUMP), not swapped out where the limits allow it (mlock(2)), and
 * wiped before they are given back.
 */
#ifndef LUMNID_BASE_SECRET_H
#define LUMNID_BASE_SECRET_H

#include <stddef.h>

#include "base/cdefs.h"

struct secret;

/*
 * A copy of head (not secret; may be "") and of len bytes of text, one after
 * the other, with a NUL at the end. The caller wipes his own.
 */
struct secret	*secret_new(const char *head, const char *text, size_t len)
		    MUSTUSE;
/* One more owner; the last secret_unref() wipes it. NULL is none. */
struct secret	*secret_ref(struct secret *) MUSTUSE;
void		 secret_unref(struct secret *);
/* The text, as long as somebody owns it. */
char		*secret_text(struct secret *);

/*
 * Take the value of an environment variable, wipe it where /proc/PID/environ
 * reads it, and unset it. NULL when it is not set, or empty.
 */
struct secret	*secret_from_env(const char *name) MUSTUSE;

/*
 * No core dumps, and no tracing by other processes of our user: memory holds
 * events and, while a request is under way, copies of the key in libraries.
 * 0 or -errno.
 */
int		 secret_harden(void) MUSTUSE;

#endif
