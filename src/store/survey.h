/*
 * survey: a storage directory looked at without changing anything: what waits
 * in it, how old it is, which places are damaged, and what an opening would do
 * about them. For `lumnid --check-spool`, and for whoever reads a spool that is
 * not his own: the logs are opened with the code that a start uses, but read
 * only, and can be walked with spool_next(), spool_describe(), spool_load()...
 *
 * The directory may belong to another host, lie on a read-only file system, or
 * be in use by a running lumnid; then the answer is a snapshot, in which what
 * is being written may look like a torn tail.
 *
 *	survey_open()	reads the journal whole, of the spools what a start reads
 *	survey_spool()	the spool of runs or of records, to walk
 *	survey_check()	reads every byte of every segment
 *	survey_close()
 */
#ifndef LUMNID_STORE_SURVEY_H
#define LUMNID_STORE_SURVEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cdefs.h"
#include "base/clock.h"
#include "base/why.h"
#include "store/dead.h"
#include "store/journal.h"
#include "store/spool.h"

struct survey;

enum survey_log {
	SURVEY_JOURNAL,
	SURVEY_SPOOL,		/* runs */
	SURVEY_RECORDS,		/* changes and policies */
	SURVEY_LOGS
};
const char *survey_log_dir(enum survey_log);	/* "journal", ... */

/* What is wrong at a place, and what an opening will do about it. */
enum survey_fault {
	/*
	 * Mended on open, and nothing that was acknowledged is gone: a torn
	 * tail is cut off, a header is made anew, an empty newest file is
	 * removed, a foreign file moves to quarantine.
	 */
	SURVEY_REPAIR,
	/*
	 * Bytes that were good once are not: the stretch, or the file, moves
	 * to quarantine and the rest goes on; what it held may be lost.
	 */
	SURVEY_DAMAGE,
};

/* file: its name in the log's directory; reason: one line for a person. */
typedef void survey_place_fn(void *arg, enum survey_log, const char *file,
	    uint64_t off, uint64_t len, enum survey_fault, const char *reason);

/* Of one log. */
struct survey_files {
	bool		present;	/* its directory is there */
	uint64_t	files;
	uint64_t	bytes;
	uint64_t	records;	/* sound ones; 0 before survey_check() */
};

struct survey_report {
	struct survey_files log[SURVEY_LOGS];
	uint64_t	open_runs;
	uint64_t	open_events;	/* that no batch holds yet */
	struct wall	oldest_event;	/* of these; 0: none */
	struct spool_waiting waiting[SURVEY_LOGS];	/* not of the journal */
	struct wall	oldest_batch[SURVEY_LOGS];	/* sealed; 0: none */
	/* Events in damaged batches that wait. */
	uint64_t	lost;
	/*
	 * The journal's totals, and what has been appended since they were
	 * written (with what damage has taken of it); unsynced: so many may
	 * have been lost before they were durable. core/books.h gives them
	 * their meaning.
	 */
	uint64_t	totals[JOURNAL_TOTALS];
	uint64_t	appended;
	uint64_t	unsynced;
	struct dead_stats dead;
	uint64_t	quarantined;	/* files, without their .why */
	uint64_t	quarantined_bytes;
	/* Places told of so far, by fault. */
	uint64_t	repairs;
	uint64_t	damages;
};

/*
 * Look at the storage directory `dir`. place, which may be NULL, is told of
 * what is met, here and in survey_check(). A log whose directory is absent is
 * taken as empty. Memory grows with the number of open events and of segments.
 * Returns 0; -ENOENT, -ENOTDIR (no storage directory: none of its parts is
 * there), -EPROTONOSUPPORT (files of a newer lumnid), or -errno.
 */
int	survey_open(const char *dir, survey_place_fn *place, void *arg,
	    struct survey **, struct why *) MUSTUSE;
void	survey_close(struct survey *);

/* SURVEY_SPOOL or SURVEY_RECORDS; NULL when its directory is absent. */
struct spool *survey_spool(const struct survey *, enum survey_log);
/* Read everything: heads, bodies, check sums. 0 or -errno (-ENOMEM). */
int	survey_check(struct survey *, struct why *) MUSTUSE;
struct survey_report survey_report(const struct survey *);

#endif
