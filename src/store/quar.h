/*
 * quar: the quarantine: a directory beside the logs, to which damaged
 * stretches are copied and unusable files are moved, each with a text file
 * that tells why. Nothing is read from it again. What lies there is bounded
 * (QUAR_BYTES_MAX, QUAR_FILES_MAX); above it stretches are not copied.
 *
 * Names: "<log>-<file>.<offset>" for a copied stretch, "<log>-<file>" for a
 * moved file, and ".why" after either for the text.
 */
#ifndef LUMNID_STORE_QUAR_H
#define LUMNID_STORE_QUAR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/cdefs.h"
#include "base/why.h"

#define QUAR_BYTES_MAX	(64u << 20)
#define QUAR_FILES_MAX	2000u

struct quar {
	char		*path;
	const char	*log;		/* "journal", ... */
	int		 fd;		/* of the directory; -1: not open */
	bool		 measured;
	uint64_t	 bytes;		/* in the directory, of every log */
	uint64_t	 files;
};

/* Takes no disk; the directory is made when it is first needed. */
void	quar_init(struct quar *, const char *path, const char *log);
void	quar_free(struct quar *);
/* The highest segment number in a name of this log's; 0 when none. */
uint32_t quar_max_segno(struct quar *);

/*
 * Copy [off, off + len) of a file, which is named `name`. Returns 0, -EEXIST
 * (it was copied before), -ENOSPC (the quarantine is full) or -errno; nothing
 * that follows depends on it. What cannot be read is copied as zero bytes.
 */
int	quar_copy(struct quar *, int fd, const char *name, uint64_t off,
	    uint64_t len, const char *reason) MUSTUSE;
/* Move a whole file. 0 or -errno; then it is where it was. */
int	quar_move(struct quar *, int dirfd, const char *name,
	    const char *reason) MUSTUSE;

#endif
