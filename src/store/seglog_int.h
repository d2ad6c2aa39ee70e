/* seglog_int: the inside of a seglog, shared by its sources only. */
#ifndef LUMNID_STORE_SEGLOG_INT_H
#define LUMNID_STORE_SEGLOG_INT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/cdefs.h"
#include "base/why.h"
#include "store/quar.h"
#include "store/seg.h"
#include "store/seglog.h"

#define SEGLOG_NAME_LEN	16	/* "0000000001.seg" and its NUL */
#define SEGLOG_FDS	64	/* files open for reading */
#define SEGLOG_PENDS	32	/* rolled segments that wait to be synced */

struct seglog_file {
	uint32_t	segno;
	uint32_t	named;		/* that in its name; 0: segno */
	uint64_t	size;		/* not kept up for the tail */
};

/* A file open for reading. */
struct seglog_fd {
	int		fd;		/* -1: free */
	uint32_t	segno;
	struct seg_header h;
};

/* A segment that was rolled before all of it was durable. */
struct seglog_pend {
	uint32_t	segno;
	int		fd;
	struct seg_header h;
	uint64_t	synced;		/* durable up to here */
	uint64_t	written;
	bool		suspect;	/* to be written anew: see sync_end */
	bool		in_round;
	bool		removed;
	struct seglog_stamp stamp;
};

struct seglog_tail {
	int		fd;		/* -1: there is no tail */
	struct seg_header h;
	uint64_t	start;		/* where the checkpoint ends */
	uint64_t	written;	/* where the file ends, buffer excluded */
	uint64_t	reserved;	/* disk space taken up to here */
	uint64_t	synced;		/* durable up to here */
	bool		scanned;
	bool		closed;		/* not to be appended to */
	bool		cut;		/* to be cut at `written` */
	bool		suspect;
	struct seglog_stamp stamp;	/* as of `written` */
};

struct seglog_round {
	bool		active;
	bool		tail;		/* the tail is in it, ... */
	uint32_t	tail_segno;
	uint64_t	tail_written;	/* up to here */
	uint64_t	dir_gen;
	struct seglog_stamp stamp;	/* durable if it ends well */
};

struct seglog {
	char		*dir;
	int		 dirfd;
	struct seglog_options o;
	uint8_t		 instance[16];
	struct quar	 quar;
	struct seglog_file *files;	/* by segno; the last is the tail */
	size_t		 n, cap;
	uint64_t	 bytes;		/* of all files but the tail */
	uint32_t	 next_segno;
	struct seglog_fd fds[SEGLOG_FDS];	/* by segno % SEGLOG_FDS */
	struct seglog_tail t;
	/*
	 * o.buffer_bytes; in it the newest bytes of the tail: first such as
	 * are in the file already and kept for reading, then those that wait.
	 */
	uint8_t		*wbuf;
	size_t		 wkept;
	size_t		 wlen;		/* that wait */
	struct seglog_stamp stamp;	/* as of the newest append */
	struct seglog_stamp durable;
	struct seglog_pend pend[SEGLOG_PENDS];	/* oldest first */
	size_t		 pends;
	uint64_t	 dir_gen;	/* changes of the directory so far */
	uint64_t	 dir_synced;	/* of which are durable */
	uint64_t	 unlink_gen;	/* dir_gen of the newest unlink */
	struct seglog_round round;
	uint64_t	 damage_n, damage_bytes;
	uint32_t	 told_segno;	/* the stretch told last */
	uint64_t	 told_off;
	struct buf	 scratch;	/* of scans */
};

/* The name of a segment's file. */
void	seglog_name(const struct seglog *, char dst[SEGLOG_NAME_LEN],
	    uint32_t segno);
/* Index in files, or -1. */
long	seglog_index(const struct seglog *, uint32_t segno);
/* Forget a segment; its file is gone, or elsewhere. */
void	seglog_forget(struct seglog *, uint32_t segno);
/* Quarantine and tell of a stretch of a segment; zero: all zero bytes. */
void	seglog_damaged(struct seglog *, int fd, uint32_t segno, uint64_t off,
	    uint64_t len, bool zero, const char *reason);
/* Move a file to quarantine, tell, and forget it if it is a segment. */
void	seglog_set_aside(struct seglog *, const char *name, uint32_t segno,
	    uint64_t size, const char *reason);
/*
 * Read and check a segment's header. A damaged one is repaired if a record
 * proves the segment. 0, -EBADMSG (set aside and forgotten), -errno.
 */
int	seglog_header(struct seglog *, int fd, uint32_t segno, uint64_t size,
	    struct seg_header *, struct why *) MUSTUSE;
/* An fd to read a segment with; valid until the next call. */
int	seglog_fd(struct seglog *, uint32_t segno, int *ret_fd,
	    const struct seg_header **ret, struct why *) MUSTUSE;
/* Close what is open of a segment for reading. */
void	seglog_fd_drop(struct seglog *, uint32_t segno);
void	seglog_fds_close(struct seglog *);
/* Add the tail, as it ends, to the segments that wait for a sync. */
void	seglog_pend_tail(struct seglog *);
/* A segment was deleted: it waits for no sync. */
void	seglog_pend_remove(struct seglog *, uint32_t segno);

static inline uint64_t
seglog_end(const struct seglog *l)
{
	return l->t.written + l->wlen;
}

#endif
