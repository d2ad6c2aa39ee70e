/*
 * ctl_frames: takes the answers of the control socket apart: lines, and bytes
 * that a line has announced. Empty lines, which only show that lumnid is there,
 * are passed over.
 */
#ifndef LUMNID_CTL_CTL_FRAMES_H
#define LUMNID_CTL_CTL_FRAMES_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/cdefs.h"

#define CTL_FRAMES_LINE_MAX	(64u << 20)	/* bytes */

struct ctl_frames {
	/*
	 * A line, without its newline. Returns how many bytes follow that are
	 * none of a line, or a negative number to end.
	 */
	int64_t		(*line)(void *, const char *, size_t);
	/* Some of those bytes; 0 to go on. May be NULL where there are none. */
	int		(*bytes)(void *, const void *, size_t);
	void		*arg;
	struct buf	 part;		/* of a line that is not whole yet */
	uint64_t	 left;		/* bytes to come that are no line */
};

void	ctl_frames_init(struct ctl_frames *,
	    int64_t (*line)(void *, const char *, size_t),
	    int (*bytes)(void *, const void *, size_t), void *arg);
void	ctl_frames_free(struct ctl_frames *);
/*
 * Take more of the answer, in pieces of any size. Returns 0, what a callback
 * has ended it with, or -EMSGSIZE for a line without an end.
 */
int	ctl_frames_feed(struct ctl_frames *, const char *, size_t) MUSTUSE;

#endif
