/*
 * survey: a storage directory looked at without changing anything.
 *
 * The journal and the spools are opened read-only by the code that a start
 * uses, so what is counted here is what a start would find. What a start would
 * do to a damaged place is decided here by what lies there: bytes behind the
 * last sound record of the newest segment are a torn tail, which is cut; any
 * other stretch that holds no sound record was one once.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/sys.h"
#include "store/aside.h"
#include "store/journal.h"
#include "store/survey.h"

#define SURVEY_PATH	4096
#define SURVEY_BUFFER	4096	/* of logs that are never written to */

/* An open run: its events that no mark has taken out of the journal. */
struct survey_run {
	UT_hash_handle	 hh;
	uint64_t	*lsn;
	struct wall	*at;
	size_t		 first, n, cap;
	char		 runid[];
};

/* A batch that the journal may have no mark for. */
struct survey_recent {
	struct survey_recent *next;
	struct spool_ref ref;
	uint64_t	 first, last;	/* lsn */
	size_t		 runid_len;
	char		 runid[SPOOL_RUNID_MAX + 1];
};

struct survey_ear {
	struct survey	*s;
	enum survey_log	 log;
};

struct survey {
	struct survey_report report;
	survey_place_fn	*place;
	void		*arg;
	struct survey_ear ear[SURVEY_LOGS];
	struct journal	*journal;
	struct spool	*spool[SURVEY_LOGS];	/* not of the journal */
	uint64_t	 corrupt[SURVEY_LOGS];	/* written off before */
	struct survey_run *runs;
	uint64_t	 known;		/* batches up to here have marks */
	uint64_t	 marked;	/* newest in a mark */
	uint64_t	*marks;		/* batches with a mark that was met */
	size_t		 marks_n, marks_cap;
	uint64_t	 uncounted;	/* see journal_lost() */
	struct survey_recent *recent, **recent_tail;
};

const char *
survey_log_dir(enum survey_log log)
{
	static const char *const names[SURVEY_LOGS] = {
		[SURVEY_JOURNAL] = "journal", [SURVEY_SPOOL] = "spool",
		[SURVEY_RECORDS] = "spool/records",
	};

	return names[log];
}

/* --- places ---------------------------------------------------------------- */

static void
survey_tell(struct survey *s, enum survey_log log, const char *file,
    uint64_t off, uint64_t len, enum survey_fault fault, const char *reason)
{
	if (fault == SURVEY_DAMAGE)
		s->report.damages++;
	else
		s->report.repairs++;
	if (s->place != NULL)
		s->place(s->arg, log, file, off, len, fault, reason);
}

static bool
survey_is_segment(const char *file)
{
	return strspn(file, "0123456789") == 10 &&
	    strcmp(file + 10, ".seg") == 0;
}

/* Told by a log of whole files and headers; survey_check() finds the rest. */
static void
survey_damaged(void *arg, const char *file, uint64_t off, uint64_t len,
    const char *reason)
{
	struct survey_ear *ear = arg;

	if (off != 0)
		return;
	/* With no byte behind its header, a segment held nothing. */
	survey_tell(ear->s, ear->log, file, 0, len,
	    survey_is_segment(file) && len > SEG_HEADER_LEN ? SURVEY_DAMAGE :
	    SURVEY_REPAIR, reason);
}

/* --- open runs ------------------------------------------------------------- */

static struct survey_run *
survey_run_find(struct survey *s, const char *runid, size_t len)
{
	struct survey_run *run;

	HASH_FIND(hh, s->runs, runid, len, run);
	return run;
}

static void
survey_on_event(void *arg, const char *runid, size_t len, uint64_t lsn,
    struct wall at, bool end, struct journal_place place)
{
	struct survey *s = arg;
	struct survey_run *run = survey_run_find(s, runid, len);

	if (run == NULL) {
		run = mem_zalloc(sizeof *run + len + 1);
		memcpy(run->runid, runid, len);
		HASH_ADD_KEYPTR(hh, s->runs, run->runid, len, run);
	}
	if (run->n == run->cap) {
		run->cap = run->cap == 0 ? 8 : run->cap * 2;
		run->lsn = mem_grow(run->lsn, run->cap, sizeof *run->lsn);
		run->at = mem_grow(run->at, run->cap, sizeof *run->at);
	}
	s->report.appended++;
	run->lsn[run->n] = lsn;
	run->at[run->n++] = at;
}

static void
survey_run_free(struct survey *s, struct survey_run *run)
{
	HASH_DEL(s->runs, run);
	free(run->lsn);
	free(run->at);
	free(run);
}

/* Events of the run up to lsn are open no more; how many were? */
static uint32_t
survey_cut(struct survey *s, const char *runid, size_t len, uint64_t lsn)
{
	struct survey_run *run = survey_run_find(s, runid, len);
	uint32_t n = 0;

	if (run == NULL)
		return 0;
	for (; run->first < run->n && run->lsn[run->first] <= lsn; n++)
		run->first++;
	if (run->first == run->n)
		survey_run_free(s, run);
	return n;
}

static void
survey_on_sealed(void *arg, const char *runid, size_t len, uint64_t lsn,
    uint32_t part, uint64_t seq)
{
	struct survey *s = arg;

	(void)survey_cut(s, runid, len, lsn);
	if (s->marks_n == s->marks_cap) {
		s->marks_cap = s->marks_cap == 0 ? 64 : s->marks_cap * 2;
		s->marks = mem_grow(s->marks, s->marks_cap,
		    sizeof *s->marks);
	}
	s->marks[s->marks_n++] = seq;
	if (s->marked < seq)
		s->marked = seq;
}

static void
survey_on_state(void *arg, const struct journal_state *st)
{
	struct survey *s = arg;

	if (s->known < st->batch_seq)
		s->known = st->batch_seq;
	if (s->marked < s->known)
		s->marked = s->known;
	memcpy(s->report.totals, st->totals, sizeof s->report.totals);
	s->report.appended = 0;
}

static void
survey_on_count(void *arg, unsigned total, uint64_t n)
{
	struct survey *s = arg;

	if (total < JOURNAL_TOTALS)
		s->report.totals[total] += n;
}

static void
survey_on_recent(void *arg, const struct spool_batch *b,
    const struct spool_ref *ref)
{
	struct survey *s = arg;
	struct survey_recent *r;

	/* Marks and batches come in nearly the same order. */
	for (size_t i = s->marks_n; i-- > 0;)
		if (s->marks[i] == b->seq)
			return;
	r = mem_zalloc(sizeof *r);
	r->ref = *ref;
	r->first = b->journal_first;
	r->last = b->journal_lsn;
	r->runid_len = b->runid_len;
	memcpy(r->runid, b->runid, b->runid_len);
	*s->recent_tail = r;
	s->recent_tail = &r->next;
}

/* What the journal has lost of it counts all the same. */
static void
survey_recent_counts(struct survey *s, const struct survey_recent *r)
{
	uint32_t k = survey_cut(s, r->runid, r->runid_len, r->last);
	uint32_t missing = k < r->ref.events ? r->ref.events - k : 0;

	s->report.appended += missing;
	s->uncounted -= missing < s->uncounted ? missing : s->uncounted;
}

/*
 * Batches that are in the spool: their events are open no more. One whose run
 * has an older open event was never durable: core/engine_recover.c tells why.
 */
static void
survey_recents(struct survey *s)
{
	struct survey_recent *r, *next;
	const struct survey_run *run;

	for (r = s->recent; r != NULL; r = next) {
		next = r->next;
		run = survey_run_find(s, r->runid, r->runid_len);
		if (run != NULL && run->lsn[run->first] < r->first &&
		    r->ref.seq > s->marked)
			(void)spool_take_back(s->spool[SURVEY_SPOOL],
			    &r->ref, NULL);	/* in memory only */
		else
			survey_recent_counts(s, r);
		free(r);
	}
	s->report.appended += s->uncounted;
	s->recent = NULL;
	s->recent_tail = &s->recent;
}

static void
survey_count_open(struct survey *s)
{
	struct survey_report *rp = &s->report;
	struct survey_run *run, *next;

	HASH_ITER(hh, s->runs, run, next) {
		rp->open_runs++;
		rp->open_events += run->n - run->first;
		if (rp->oldest_event.us == 0 ||
		    run->at[run->first].us < rp->oldest_event.us)
			rp->oldest_event = run->at[run->first];
		survey_run_free(s, run);
	}
}

/* --- opening --------------------------------------------------------------- */

static void
survey_files(struct survey *s, enum survey_log log, struct seglog *l)
{
	struct survey_files *f = &s->report.log[log];

	f->present = true;
	f->files = seglog_count(l);
	f->bytes = seglog_bytes(l);
}

static int
survey_open_journal(struct survey *s, const char *dir, const char *quarantine,
    struct why *why)
{
	const struct journal_options o = { .segment_bytes = 1u << 20,
	    .buffer_bytes = SURVEY_BUFFER, .read_only = true,
	    .damaged = survey_damaged, .arg = &s->ear[SURVEY_JOURNAL] };
	const struct journal_replay replay = { .event = survey_on_event,
	    .sealed = survey_on_sealed, .state = survey_on_state,
	    .count = survey_on_count, .arg = s };
	int r = journal_open(dir, quarantine, &o, &replay, &s->journal, why);

	if (r < 0)
		return r;
	s->report.unsynced = journal_lost(s->journal).unsynced;
	s->uncounted = journal_lost(s->journal).uncounted;
	survey_files(s, SURVEY_JOURNAL, journal_log(s->journal));
	return 0;
}

static uint64_t
survey_corrupt(const struct spool *sp)
{
	return spool_totals(sp).dropped[SPOOL_DROP_CORRUPT];
}

static int
survey_open_spool(struct survey *s, enum survey_log log, const char *dir,
    const char *quarantine, struct why *why)
{
	const struct spool_options o = {
	    .kind = log == SURVEY_SPOOL ? SEGLOG_SPOOL : SEGLOG_RECORDS,
	    .segment_bytes = 1u << 20, .buffer_bytes = SURVEY_BUFFER,
	    .read_only = true, .seq_above = s->known, .promised = s->marked,
	    .damaged = survey_damaged, .arg = &s->ear[log] };
	struct survey_report *rp = &s->report;
	int r = spool_open(dir, quarantine, &o,
	    log == SURVEY_SPOOL && s->journal != NULL ? survey_on_recent :
	    NULL, s, &s->spool[log], why);

	if (r < 0)
		return r;
	s->corrupt[log] = survey_corrupt(s->spool[log]) -
	    spool_lost(s->spool[log]);
	if (log == SURVEY_SPOOL)
		survey_recents(s);
	survey_files(s, log, spool_log(s->spool[log]));
	rp->waiting[log] = spool_waiting(s->spool[log]);
	if (!spool_oldest(s->spool[log], &rp->oldest_batch[log]))
		rp->oldest_batch[log] = (struct wall){ 0 };
	return 0;
}

static int
survey_open_log(struct survey *s, enum survey_log log, const char *top,
    const char *quarantine, struct why *why)
{
	char dir[SURVEY_PATH];
	int r;

	(void)snprintf(dir, sizeof dir, "%s/%s", top, survey_log_dir(log));
	r = log == SURVEY_JOURNAL ?
	    survey_open_journal(s, dir, quarantine, why) :
	    survey_open_spool(s, log, dir, quarantine, why);
	return r == -ENOENT ? 0 : r;
}

struct survey_aside {
	struct survey	*s;
	int		 fd;
};

static int
survey_on_aside(void *arg, const char *name)
{
	struct survey_aside *a = arg;
	size_t n = strlen(name);
	struct sys_stat st;
	int fd;

	if (n > 4 && strcmp(name + n - 4, ".why") == 0)
		return 0;
	fd = sys->openat(a->fd, name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW, 0);
	if (fd < 0)
		return 0;
	if (sys->fstat(fd, &st) == 0 && st.is_regular) {
		a->s->report.quarantined++;
		a->s->report.quarantined_bytes += st.size;
	}
	(void)sys->close(fd);	/* only read */
	return 0;
}

/* Dead letters and the quarantine: what can be read of them is counted. */
static bool
survey_rest(struct survey *s, const char *top, const char *quarantine)
{
	struct survey_aside a = { .s = s };
	char dir[SURVEY_PATH];
	struct dead *dead;
	bool any = false;

	(void)snprintf(dir, sizeof dir, "%s/dead", top);
	if (dead_open(dir, &dead, NULL) == 0) {
		s->report.dead = dead_stats(dead);
		dead_close(dead);
		any = true;
	}
	a.fd = sys->open_dir(quarantine);
	if (a.fd < 0)
		return any;
	(void)sys->list(a.fd, survey_on_aside, &a);
	(void)sys->close(a.fd);	/* only read */
	return true;
}

static int
survey_open_all(struct survey *s, const char *top, struct why *why)
{
	static const enum survey_log order[] = { SURVEY_JOURNAL,
	    SURVEY_RECORDS, SURVEY_SPOOL };
	char quarantine[SURVEY_PATH];
	bool any = false;
	int r;

	if (snprintf(quarantine, sizeof quarantine, "%s/quarantine", top) >=
	    (int)sizeof quarantine - 16)
		return why_errno(why, -ENAMETOOLONG, "%s", top);
	r = sys->open_dir(top);
	if (r < 0)
		return why_errno(why, r, "%s", top);
	(void)sys->close(r);	/* only looked at */
	if ((r = aside_known(top, why)) == -EPROTONOSUPPORT)
		return r;
	for (size_t i = 0; i < NELEM(order); i++) {
		r = survey_open_log(s, order[i], top, quarantine, why);
		if (r < 0)
			return r;
		any |= s->report.log[order[i]].present;
	}
	survey_count_open(s);
	if (!survey_rest(s, top, quarantine) && !any)
		return why_set(why, -ENOENT, "%s: no storage directory: "
		    "neither journal nor spool is in it", top);
	return 0;
}

int
survey_open(const char *dir, survey_place_fn *place, void *arg,
    struct survey **ret, struct why *why)
{
	struct survey *s = mem_zalloc(sizeof *s);
	int r;

	s->place = place;
	s->arg = arg;
	s->recent_tail = &s->recent;
	for (size_t i = 0; i < SURVEY_LOGS; i++)
		s->ear[i] = (struct survey_ear){ s, (enum survey_log)i };
	r = survey_open_all(s, dir, why);
	if (r < 0)
		survey_close(s);
	else
		*ret = s;
	return r;
}

void
survey_close(struct survey *s)
{
	struct survey_run *run, *next;

	if (s == NULL)
		return;
	HASH_ITER(hh, s->runs, run, next)
		survey_run_free(s, run);
	for (struct survey_recent *r = s->recent, *after; r != NULL;
	    r = after) {
		after = r->next;
		free(r);
	}
	journal_close(s->journal);
	for (size_t i = 0; i < SURVEY_LOGS; i++)
		spool_close(s->spool[i]);
	free(s->marks);
	free(s);
}

struct spool *
survey_spool(const struct survey *s, enum survey_log log)
{
	return s->spool[log];
}

struct survey_report
survey_report(const struct survey *s)
{
	return s->report;
}

/* --- reading everything ---------------------------------------------------- */

struct survey_walk {
	struct survey	*s;
	enum survey_log	 log;
	struct seglog_info info;
	bool		 tail;
	uint64_t	 end;		/* of the last sound record */
};

static int
survey_on_record(void *arg, uint8_t type, const uint8_t *data, uint32_t len,
    struct seglog_pos pos)
{
	struct survey_walk *w = arg;

	w->s->report.log[w->log].records++;
	w->end = pos.off + seg_record_size(len);
	return 0;
}

static void
survey_on_damage(void *arg, uint64_t off, uint64_t len)
{
	struct survey_walk *w = arg;
	char name[24];
	bool torn = w->tail && off + len >= w->info.written;

	(void)snprintf(name, sizeof name, "%010" PRIu32 ".seg",
	    w->info.segno);
	survey_tell(w->s, w->log, name, off, len, torn ? SURVEY_REPAIR :
	    SURVEY_DAMAGE, torn ? "torn tail" : "no valid record");
}

static int
survey_check_log(struct survey *s, enum survey_log log, struct seglog *l,
    struct why *why)
{
	struct survey_walk w = { .s = s, .log = log };
	struct why text;
	uint32_t tail = seglog_tail(l);
	int r;

	s->report.log[log].records = 0;
	for (size_t i = 0; i < seglog_count(l);) {
		w.info = seglog_at(l, i);
		w.tail = w.info.segno == tail;
		r = seglog_check(l, w.info.segno, survey_on_record,
		    survey_on_damage, &w, &text);
		if (r == -ENOMEM)
			return why_set(why, r, "%s", text.text);
		/* Told of, and gone from the list. */
		if (r == -EBADMSG)
			continue;
		/* Deleted meanwhile by the lumnid that it belongs to. */
		if (r < 0 && r != -ENOENT)
			seglog_tell(l, w.info.segno, w.info.size, text.text);
		i++;
	}
	return 0;
}

/* Batches that wait but cannot be sent: what they hold is lost. */
static void
survey_check_waiting(struct survey *s, size_t log)
{
	struct spool *sp = s->spool[log];
	struct spool_cursor c = { 0 };
	struct spool_ref ref;

	while (spool_next(sp, &c, &ref, NULL) == 1)
		if (spool_verify(sp, &ref, NULL) == -EBADMSG)
			(void)spool_done(sp, &ref, 0, 0,
			    ref.events - ref.finished, SPOOL_DROP_CORRUPT,
			    NULL);	/* in memory only */
	s->report.lost += survey_corrupt(sp) - s->corrupt[log];
}

int
survey_check(struct survey *s, struct why *why)
{
	int r = 0;

	if (s->journal != NULL)
		r = survey_check_log(s, SURVEY_JOURNAL,
		    journal_log(s->journal), why);
	for (size_t i = 0; i < SURVEY_LOGS && r == 0; i++) {
		if (s->spool[i] == NULL)
			continue;
		r = survey_check_log(s, (enum survey_log)i,
		    spool_log(s->spool[i]), why);
		if (r == 0)
			survey_check_waiting(s, i);
	}
	return r;
}
