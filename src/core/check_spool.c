/* check_spool: what `lumnid --check-spool` prints. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/sys.h"
#include "base/units.h"
#include "core/books.h"
#include "core/check_spool.h"
#include "store/aside.h"
#include "store/survey.h"

/*
 * Is the directory locked, as a running lumnid does? Asked of /proc/locks: to
 * try the lock could turn away a lumnid that is about to start.
 */
static bool
check_spool_in_use(const char *dir)
{
	struct stat st;
	FILE *f;
	char line[256], want[64];
	bool found = false;

	if (stat(dir, &st) < 0 || (f = fopen("/proc/locks", "re")) == NULL)
		return false;
	(void)snprintf(want, sizeof want, " %02x:%02x:%ju ",
	    major(st.st_dev), minor(st.st_dev), (uintmax_t)st.st_ino);
	while (!found && fgets(line, sizeof line, f) != NULL)
		found = strstr(line, "FLOCK") != NULL &&
		    strstr(line, want) != NULL;
	(void)fclose(f);
	return found;
}

static void
check_spool_place(void *arg, enum survey_log log, const char *file,
    uint64_t off, uint64_t len, enum survey_fault fault, const char *reason)
{
	FILE *out = arg;

	(void)fprintf(out, "%-11s %s/%s, bytes %" PRIu64 " to %" PRIu64
	    ": %s\n", fault == SURVEY_DAMAGE ? "damaged" : "to mend",
	    survey_log_dir(log), file, off, off + len, reason);
}

/* ", oldest 3 min 20 s", where there is one. */
static void
check_spool_age(FILE *out, struct wall at, struct wall now)
{
	char text[32];
	int64_t ms = (now.us - at.us) / 1000;

	if (at.us != 0)
		(void)fprintf(out, ", oldest %s ago",
		    units_format_duration(ms > 0 ? ms / 1000 * 1000 : 0,
		    text));
	(void)fputc('\n', out);
}

static void
check_spool_log(FILE *out, const struct survey_report *r, enum survey_log log,
    struct wall now)
{
	const struct survey_files *f = &r->log[log];
	const struct spool_waiting *w = &r->waiting[log];
	const char *name = log == SURVEY_RECORDS ? "records" :
	    survey_log_dir(log);

	(void)fprintf(out, "%-11s %" PRIu64 " files, %" PRIu64 " bytes, %"
	    PRIu64 " sound records\n", name, f->files, f->bytes, f->records);
	if (log == SURVEY_JOURNAL) {
		(void)fprintf(out, "  open      %" PRIu64 " runs, %" PRIu64
		    " events", r->open_runs, r->open_events);
		check_spool_age(out, r->oldest_event, now);
		return;
	}
	(void)fprintf(out, "  waiting   %" PRIu64 " batches, %" PRIu64
	    " events, %" PRIu64 " bytes", w->batches, w->events, w->bytes);
	check_spool_age(out, r->oldest_batch[log], now);
}

/* Events that were accepted and are nowhere: what a start writes off. */
static uint64_t
check_spool_missing(const struct survey *s, const struct survey_report *r)
{
	const uint64_t *t = r->totals;
	uint64_t accepted = t[BOOKS_ACCEPTED] + r->appended;
	uint64_t there = r->open_events + t[BOOKS_DROPPED_CORRUPT] +
	    t[BOOKS_DROPPED_FULL] + r->unsynced;

	if (survey_spool(s, SURVEY_SPOOL) != NULL) {
		struct spool *sp = survey_spool(s, SURVEY_SPOOL);
		struct spool_totals st = spool_totals(sp);

		there += spool_waiting(sp).events + st.delivered + st.dead;
		for (size_t i = 0; i < SPOOL_DROPS; i++)
			there += st.dropped[i];
	}
	return accepted > there ? accepted - there : 0;
}

static int
check_spool_result(FILE *out, const struct survey_report *r)
{
	if (r->damages > 0) {
		(void)fprintf(out, "result      damaged: a start sets what is "
		    "damaged aside in quarantine and goes on; %s%" PRIu64
		    " events are lost by it\n",
		    r->lost > 0 ? "at least " : "", r->lost);
		return CHECK_SPOOL_DAMAGED;
	}
	if (r->repairs > 0) {
		(void)fputs("result      to mend: a start does so; nothing "
		    "that was acknowledged is lost by it\n", out);
		return CHECK_SPOOL_REPAIR;
	}
	(void)fputs("result      clean\n", out);
	return CHECK_SPOOL_CLEAN;
}

/* The logs are of a newer lumnid: nothing in them can be told. */
static int
check_spool_newer(FILE *out, const struct why *newer)
{
	(void)fprintf(out, "newer       %s\n"
	    "result      newer: a start of this lumnid moves journal and spool "
	    "aside, unchanged, and begins anew; the newer one takes them up "
	    "again\n", newer->text);
	return CHECK_SPOOL_REPAIR;
}

/* What was set aside so, and waits. */
static void
check_spool_asides(FILE *out, const char *dir)
{
	struct aside a = { .n = 0 };
	int fd = sys->open_dir(dir);

	if (fd < 0)
		return;
	while (aside_next(fd, dir, a.n, &a))
		(void)fprintf(out, "newer       %s: %" PRIu64 " files, %" PRIu64
		    " bytes of a newer lumnid; %s\n", a.name, a.files, a.bytes,
		    a.known ? "the next start delivers them" :
		    "they wait until it is installed again");
	(void)sys->close(fd);	/* only read */
}

int
check_spool(const char *dir, struct wall now, FILE *out, struct why *why)
{
	struct survey_report report;
	struct survey *s;
	int r;

	(void)fprintf(out, "%-11s %s\n", "directory", dir);
	if (check_spool_in_use(dir))
		(void)fputs("in use      by a running lumnid: this is a "
		    "snapshot, and what it is writing may look torn\n", out);
	check_spool_asides(out, dir);
	r = survey_open(dir, check_spool_place, out, &s, why);
	if (r == -EPROTONOSUPPORT)
		return check_spool_newer(out, why);
	if (r < 0)
		return r;
	r = survey_check(s, why);
	report = survey_report(s);
	uint64_t missing = check_spool_missing(s, &report);
	if (missing > 0) {
		(void)fprintf(out, "missing     %" PRIu64 " events that were "
		    "accepted are in no file%s\n", missing,
		    report.damages == 0 ? ": a segment is gone" : "");
		report.lost += missing;
	}
	/* A segment that is empty, or absent, is no damaged place itself. */
	if (report.lost > 0 && report.damages == 0)
		report.damages = 1;
	survey_close(s);
	if (r < 0)
		return r;
	for (size_t i = 0; i < SURVEY_LOGS; i++)
		check_spool_log(out, &report, (enum survey_log)i, now);
	(void)fprintf(out, "dead        %" PRIu64 " letters, %" PRIu64
	    " events, %" PRIu64 " bytes\n", report.dead.letters,
	    report.dead.events, report.dead.bytes);
	(void)fprintf(out, "quarantine  %" PRIu64 " files, %" PRIu64
	    " bytes\n", report.quarantined, report.quarantined_bytes);
	return check_spool_result(out, &report);
}
