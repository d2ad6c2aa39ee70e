/* ctl_input: lines from files, one after the other, without waiting. */
#ifndef LUMNID_CTL_CTL_INPUT_H
#define LUMNID_CTL_CTL_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/cdefs.h"

#define CTL_LINE_MAX	(64u << 20)	/* bytes */

struct ctl_input {
	char *const	*files;		/* "-" is standard input; borrowed */
	size_t		 files_n;
	size_t		 next;		/* the file to open next */
	int		 fd;		/* of the present one, or -1 */
	const char	*name;		/* of the present one, for messages */
	uint64_t	 line;		/* number of the line last returned */
	struct buf	 buf;
	size_t		 taken;		/* bytes of buf that were returned */
	size_t		 seen;		/* of buf, without a newline in them */
	bool		 eof;
	bool		 skipping;	/* the rest of a line that was too long */
	unsigned	 faults;	/* files and lines that were not read */
};

enum ctl_input_result {
	CTL_INPUT_LINE,
	CTL_INPUT_WAIT,		/* poll(2) input->fd for reading */
	CTL_INPUT_END,
};

/* files_n 0: standard input. */
void	ctl_input_init(struct ctl_input *, char *const *files, size_t n);
void	ctl_input_free(struct ctl_input *);
/*
 * The next line, without its newline; it belongs to the input until the next
 * call. A file that cannot be read is named on standard error, and the next
 * one goes on. may_read: whether a read may be made, which can block unless
 * poll() said otherwise; false is answered with CTL_INPUT_WAIT.
 */
enum ctl_input_result ctl_input_next(struct ctl_input *, bool may_read,
	    const char **ret, size_t *ret_len) MUSTUSE;

#endif
