/*
 * crash_store: journal and spool under loss of power at every call.
 *
 * A small engine takes events, seals, syncs, delivers and trims as the real
 * one does. The world around it remembers what it was promised: an event is
 * promised when the journal says that its lsn is durable. Whatever happens,
 * after each restart every promised event is open in the journal, or waits in
 * the spool, or was delivered, and never two of these; one id always has one
 * body; order within a run holds; the sums of the books agree; and nothing
 * counts as corrupt, because nothing was.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>

#include <xxhash.h>

#include "base/mem.h"
#include "base/rand.h"
#include "crashfs.h"
#include "fewer.h"
#include "store/dead.h"
#include "store/journal.h"
#include "store/spool.h"
#include "store_help.h"
#include "unit.h"

#define RUNS		4
#define UIDS		40000
#define SENTS		20000

struct event {
	uint64_t	lsn;
	struct journal_place place;
	uint32_t	uid;
};

struct run {
	struct event	*v;
	size_t		n, cap;
	uint32_t	part;
};

/* A batch on its way from the journal to the spool. */
struct sealing {
	struct spool_ref ref;
	unsigned	run;
	uint32_t	part;
	struct event	*v;
	size_t		n;
};

struct marked {
	uint64_t	mark, seq;
	struct journal_place *place;
	size_t		n;
};

/* Dies with the process. */
static struct engine {
	struct journal	*j;
	struct spool	*sp;
	struct run	run[RUNS];
	struct sealing	sealing[64];
	size_t		sealings;
	struct marked	marked[512];
	size_t		marks;
	uint64_t	accepted;
	uint64_t	batch_seq;	/* newest seal mark */
	uint64_t	may_delete;
	uint64_t	known;		/* all marks up to it were durable */
	uint64_t	marks_seen[600];
	size_t		marks_seen_n;
	struct spool_cursor cursor;
} e;

/* Does not. (A message fits the buffer, so what is given up leaves no trace.) */
static struct world {
	struct rng	rng;
	uint32_t	uids;
	uint8_t		run[UIDS];
	uint64_t	lsn[UIDS];	/* in this incarnation; 0: not alive */
	bool		promised[UIDS];
	uint8_t		delivered[UIDS];
	uint8_t		place[UIDS];	/* of the check after a restart */
	struct { uint64_t id, body; } sent[SENTS];
	size_t		sents;
	uint32_t	last[RUNS];	/* uid delivered last, + 1 */
	uint64_t	accepted;	/* was durable */
	bool		rot;		/* damage may have been done */
	char		trail[256];	/* what was being tried, for messages */
} w;

#define must(cond, ...)	do {						\
		if (!(cond)) {						\
			crashfs_dump(stderr);				\
			fprintf(stderr, __VA_ARGS__);			\
			ck_abort_msg("%s: %s", w.trail, #cond);		\
		}							\
	} while (0)

/* What happens, with CRASH_TRACE in the environment. */
static void
trace(const char *fmt, ...)
{
	va_list ap;

	if (getenv("CRASH_TRACE") == NULL)
		return;
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
}

static void
runid_of(unsigned r, char dst[8])
{
	snprintf(dst, 8, "run-%u", r);
}

static void
run_add(struct run *r, struct event ev)
{
	if (r->n == r->cap) {
		r->cap = r->cap == 0 ? 16 : r->cap * 2;
		r->v = mem_grow(r->v, r->cap, sizeof *r->v);
	}
	r->v[r->n++] = ev;
}

/* --- recovery -------------------------------------------------------------- */

static unsigned
run_of(const char *runid, size_t len)
{
	must(len == 5 && runid[4] < '0' + RUNS, "runId %.*s\n", (int)len,
	    runid);
	return (unsigned)(runid[4] - '0');
}

static void
on_state(void *arg, const struct journal_state *st)
{
	trace("  state %" PRIu64 " %" PRIu64 "\n", st->totals[0],
	    st->batch_seq);
	e.accepted = st->totals[0];
	if (st->batch_seq > e.batch_seq)
		e.batch_seq = st->batch_seq;
	if (st->batch_seq > e.known)
		e.known = st->batch_seq;
}

static void
on_event(void *arg, const char *runid, size_t len, uint64_t lsn,
    struct wall at, bool end, struct journal_place place)
{
	struct run *r = &e.run[run_of(runid, len)];

	must(r->n == 0 || r->v[r->n - 1].lsn < lsn, "lsn %" PRIu64 "\n", lsn);
	trace("  event %.*s lsn %" PRIu64 " seg %u\n", (int)len, runid, lsn,
	    place.segno);
	run_add(r, (struct event){ lsn, place, 0 });
	e.accepted++;
}

/* Events of the run up to lsn leave it; how many? */
static uint32_t
cut(unsigned run, uint64_t lsn, uint32_t part)
{
	struct run *r = &e.run[run];
	size_t k = 0;

	while (k < r->n && r->v[k].lsn <= lsn)
		k++;
	if (k > 0)
		memmove(r->v, r->v + k, (r->n - k) * sizeof *r->v);
	r->n -= k;
	if (r->part < part + 1)
		r->part = part + 1;
	return (uint32_t)k;
}

static void
on_sealed(void *arg, const char *runid, size_t len, uint64_t lsn,
    uint32_t part, uint64_t seq)
{
	trace("  sealed %" PRIu64 " lsn %" PRIu64 "\n", seq, lsn);
	(void)cut(run_of(runid, len), lsn, part);
	if (seq > e.batch_seq)
		e.batch_seq = seq;
	must(e.marks_seen_n < NELEM(e.marks_seen), "marks\n");
	e.marks_seen[e.marks_seen_n++] = seq;
}

static void
on_count(void *arg, unsigned total, uint64_t n)
{
	must(total == 0, "total %u\n", total);
	e.accepted += n;
}

static struct spool_batch recent[256];
static size_t recents;

static void
on_recent(void *arg, const struct spool_batch *b, const struct spool_ref *ref)
{
	for (size_t i = 0; i < e.marks_seen_n; i++)
		if (e.marks_seen[i] == b->seq)
			return;
	must(recents < NELEM(recent), "recents\n");
	must(recents == 0 || b->seq > recent[recents - 1].seq, "recent "
	    "%" PRIu64 "\n", b->seq);
	trace("  recent %" PRIu64 " lsn %" PRIu64 "\n", b->seq,
	    b->journal_lsn);
	recent[recents++] = *b;
}

static void
give_state(void *arg, struct journal_state *st)
{
	st->totals[0] = e.accepted;
	st->batch_seq = e.batch_seq;
}

static void
put_marks(void)
{
	for (size_t i = 0; i < recents; i++) {
		const struct spool_batch *b = &recent[i];
		(void)cut(run_of(b->runid, b->runid_len), b->journal_lsn,
		    b->part);
		journal_skip_lsn(e.j, b->journal_lsn);
		(void)!journal_sealed(e.j, b->runid, b->runid_len,
		    b->journal_lsn, b->part, b->seq, HELP_NOW, NULL);
		if (b->seq > e.batch_seq)
			e.batch_seq = b->seq;
	}
	journal_marks_complete(e.j);
}

static void
forget(void)
{
	journal_close(e.j);
	spool_close(e.sp);
	for (size_t i = 0; i < RUNS; i++)
		free(e.run[i].v);
	for (size_t i = 0; i < e.sealings; i++)
		free(e.sealing[i].v);
	for (size_t i = 0; i < e.marks; i++)
		free(e.marked[i].place);
	memset(&e, 0, sizeof e);
}

/*
 * What is there is the truth. Totals in a state count events that no sync
 * round had covered: if the crash took these they were accepted by nobody; and
 * the spool may have kept what the journal has lost.
 */
static void
balance(void)
{
	uint64_t there = spool_totals(e.sp).events, n;

	for (size_t i = 0; i < RUNS; i++)
		there += e.run[i].n;
	n = there - e.accepted;
	if (e.accepted > there &&
	    e.accepted - there > journal_lost(e.j).unsynced)
		n = -journal_lost(e.j).unsynced;
	trace("  accepted %" PRIu64 ", there %" PRIu64 "\n", e.accepted,
	    there);
	if (n != 0 && journal_count(e.j, 0, n, HELP_NOW, NULL) == 0)
		e.accepted += n;
}

static int
start(void)
{
	struct journal_options jo = { .segment_bytes = 1500,
	    .buffer_bytes = 2100, .instance = "an instance....",
	    .state = give_state };
	struct journal_replay rp = { .state = on_state, .event = on_event,
	    .sealed = on_sealed, .count = on_count };
	struct spool_options so = { .kind = SEGLOG_SPOOL,
	    .segment_bytes = 1500, .buffer_bytes = 700 };
	int r;

	memset(&e, 0, sizeof e);
	recents = 0;
	r = journal_open("/d/journal", "/d/quarantine", &jo, &rp, &e.j, NULL);
	if (r < 0)
		return r;
	must(crashfs_dead() || e.accepted >= w.accepted, "accepted %" PRIu64 ", was %" PRIu64
	    "\n", e.accepted, w.accepted);
	memcpy(so.instance, journal_instance(e.j), 16);
	so.seq_above = e.known;
	so.promised = e.batch_seq;
	r = spool_open("/d/spool", "/d/quarantine", &so, on_recent, NULL,
	    &e.sp, NULL);
	if (r < 0)
		return r;
	put_marks();
	balance();
	for (size_t i = 0; i < RUNS; i++)
		for (size_t k = 0; k < e.run[i].n; k++)
			journal_adopt(e.j, e.run[i].v[k].place);
	return 0;
}

/* --- the check after a restart --------------------------------------------- */

/* The number behind the next "u": before end, or NULL. */
static const char *
next_uid(const char *p, const char *end, uint32_t *ret)
{
	p = memmem(p, (size_t)(end - p), "\"u\":", 4);
	if (p == NULL)
		return NULL;
	/* Something that is no digit follows. */
	*ret = (uint32_t)strtoul(p + 4, NULL, 10);
	return p + 4;
}

static void
found(uint32_t uid, uint8_t place, unsigned run)
{
	must(uid < w.uids, "uid %u\n", uid);
	must(w.run[uid] == run, "uid %u in run %u\n", uid, run);
	must(w.place[uid] == 0, "uid %u is in %u and %u\n", uid, w.place[uid],
	    place);
	w.place[uid] = place;
}

static void
check_open(void)
{
	struct buf buf;

	buf_init(&buf, 0);
	for (unsigned i = 0; i < RUNS; i++)
		for (size_t k = 0; k < e.run[i].n; k++) {
			struct event *ev = &e.run[i].v[k];
			const char *json;
			int r = journal_read(e.j, ev->place, 5, &buf, &json,
			    NULL);

			must(r == 0, "read: %d\n", r);
			must(next_uid(json, json + ev->place.len, &ev->uid) !=
			    NULL, "no uid\n");
			must(k == 0 || ev->uid > ev[-1].uid, "order\n");
			found(ev->uid, 1, i);
			w.lsn[ev->uid] = ev->lsn;
		}
	buf_free(&buf);
}

static uint64_t
hash_id(const char *id)
{
	return XXH3_64bits(id, strlen(id));
}

static long
sent_before(uint64_t id)
{
	for (size_t i = 0; i < w.sents; i++)
		if (w.sent[i].id == id)
			return (long)i;
	return -1;
}

static void
check_waiting(void)
{
	struct spool_cursor c = { 0 };
	struct spool_ref ref;
	struct spool_batch b;
	struct buf buf;
	const uint8_t *body;
	uint64_t events = 0;
	uint32_t uid, n;
	int r;

	buf_init(&buf, 0);
	while ((r = spool_next(e.sp, &c, &ref, NULL)) == 1) {
		r = spool_load(e.sp, &ref, &b, &buf, &body, NULL);
		must(r == 0, "load: %d\n", r);
		n = 0;
		long at = sent_before(hash_id(b.id));
		must(at < 0 || w.sent[at].body == XXH3_64bits(body,
		    b.body_len), "body of %s\n", b.id);
		for (const char *p = (const char *)body, *end = p + b.body_len;
		    (p = next_uid(p, end, &uid)) != NULL; n++) {
			must(at < 0 || w.delivered[uid] > 0, "%u\n", uid);
			must(at >= 0 || w.delivered[uid] == 0, "%u was "
			    "delivered and is in %s\n", uid, b.id);
			found(uid, 2, run_of(b.runid, b.runid_len));
		}
		must(n == b.events, "events of %s\n", b.id);
		events += b.events;
	}
	must(r == 0, "next: %d\n", r);
	must(spool_waiting(e.sp).events == events, "waiting %" PRIu64
	    ", %" PRIu64 " found\n", spool_waiting(e.sp).events, events);
	buf_free(&buf);
}

static void
check_books(void)
{
	struct spool_totals t = spool_totals(e.sp);
	uint64_t open = 0;

	for (size_t i = 0; i < RUNS; i++)
		open += e.run[i].n;
	must(t.events == t.delivered + spool_waiting(e.sp).events +
	    t.dropped[SPOOL_DROP_CORRUPT], "spool: %" PRIu64 " = %" PRIu64
	    " + %" PRIu64 " + %" PRIu64 "\n", t.events, t.delivered,
	    spool_waiting(e.sp).events, t.dropped[SPOOL_DROP_CORRUPT]);
	must(w.rot || t.dropped[SPOOL_DROP_CORRUPT] == 0, "corrupt: %" PRIu64
	    "\n", t.dropped[SPOOL_DROP_CORRUPT]);
	must(e.accepted == open + t.events, "accepted %" PRIu64 ", open "
	    "%" PRIu64 ", spooled %" PRIu64 ", lost unsynced %" PRIu64 ", durable "
	    "%" PRIu64 "\n", e.accepted, open, t.events,
	    journal_lost(e.j).unsynced, journal_lost(e.j).durable);
}

static void
check_file(void *arg, const char *name)
{
	struct seglog *l = arg;
	struct seglog_info info;

	must(strlen(name) == 14 && seglog_find(l, (uint32_t)strtoul(name,
	    NULL, 10), &info), "unaccounted file %s\n", name);
}

static void
check_all(void)
{
	memset(w.place, 0, sizeof w.place);
	memset(w.lsn, 0, sizeof w.lsn);
	check_open();
	check_waiting();
	crashfs_each("/d/journal", check_file, journal_log(e.j));
	crashfs_each("/d/spool", check_file, spool_log(e.sp));
	for (uint32_t u = 0; u < w.uids; u++) {
		must(w.place[u] != 1 || w.delivered[u] == 0, "uid %u was "
		    "delivered and is open\n", u);
		must(!w.promised[u] || w.place[u] != 0 || w.delivered[u] == 1,
		    "uid %u of run %u was promised and is lost\n", u,
		    w.run[u]);
	}
	check_books();
}

/* --- what the engine does -------------------------------------------------- */

static void
take(unsigned run, unsigned n, bool give_up)
{
	struct journal_mark mark;
	struct event ev[8];
	char runid[8], json[200];
	unsigned i;
	int r;

	runid_of(run, runid);
	must(w.uids + n < UIDS, "uids\n");
	if (journal_reserve(e.j, n, n * 200, 5, HELP_NOW, NULL) < 0)
		return;
	mark = journal_mark(e.j);
	for (i = 0; i < n; i++) {
		size_t len = (size_t)snprintf(json, sizeof json,
		    "{\"u\":%u,\"pad\":\"%.*s\"}", w.uids + i,
		    (int)rng_below(&w.rng, 90), "0123456789012345678901234567"
		    "8901234567890123456789012345678901234567890123456789012");
		r = journal_event(e.j, runid, 5, json, len, false, HELP_NOW,
		    &ev[i].lsn, &ev[i].place, NULL);
		if (r < 0)
			break;
		ev[i].uid = w.uids + i;
	}
	if (i < n || give_up) {
		journal_rollback(e.j, mark);
		/* Never to be seen. */
		for (i = 0; i < n; i++)
			w.run[w.uids++] = RUNS;
		return;
	}
	for (i = 0; i < n; i++) {
		run_add(&e.run[run], ev[i]);
		w.run[w.uids] = (uint8_t)run;
		trace("take %u: run %u lsn %" PRIu64 " seg %u\n", w.uids, run,
		    ev[i].lsn, ev[i].place.segno);
		w.lsn[w.uids++] = ev[i].lsn;
	}
	e.accepted += n;
}

static void
seal(unsigned run)
{
	struct run *r = &e.run[run];
	struct spool_batch b = { .kind = SPOOL_RUN, .reason = SPOOL_IDLE };
	struct sealing *s = &e.sealing[e.sealings];
	struct buf body, buf;
	const char *json;
	size_t k = r->n < 12 ? r->n : 12;
	int err = 0;

	if (k == 0 || e.sealings == NELEM(e.sealing))
		return;
	buf_init(&body, 0);
	buf_init(&buf, 0);
	for (size_t i = 0; i < k && err == 0; i++) {
		err = journal_read(e.j, r->v[i].place, 5, &buf, &json, NULL);
		if (err == 0)
			buf_put(&body, json, r->v[i].place.len);
	}
	b.part = s->part = r->part;
	b.events = (uint32_t)k;
	b.raw_len = (uint32_t)body.len;
	b.sealed = HELP_NOW;
	b.journal_lsn = r->v[k - 1].lsn;
	b.runid_len = 5;
	runid_of(run, b.runid);
	if (err == 0)
		err = spool_append(e.sp, &b, body.data, body.len, &s->ref,
		    NULL);
	buf_free(&body);
	buf_free(&buf);
	if (err < 0)
		return;
	s->run = run;
	s->n = k;
	s->v = mem_dup(r->v, k * sizeof *s->v);
	trace("seal %" PRIu64 ": run %u part %u uids %u to %u lsn %" PRIu64
	    " at %u:%u\n", b.seq, run, b.part, s->v[0].uid, s->v[k - 1].uid,
	    b.journal_lsn, s->ref.pos.segno, s->ref.pos.off);
	(void)cut(run, b.journal_lsn, b.part);
	e.sealings++;
}

/* Batches that are not durable go back to their runs, the newest first. */
static void
take_back(void)
{
	while (e.sealings > 0) {
		struct sealing *s = &e.sealing[--e.sealings];
		struct run *r = &e.run[s->run];
		struct run whole = { .part = s->part };

		for (size_t i = 0; i < s->n; i++)
			run_add(&whole, s->v[i]);
		for (size_t i = 0; i < r->n; i++)
			run_add(&whole, r->v[i]);
		free(r->v);
		free(s->v);
		*r = whole;
		trace("back %" PRIu64 "\n", s->ref.seq);
		(void)spool_take_back(e.sp, &s->ref, NULL);
	}
}

static void
seal_durable(void)
{
	uint64_t seq = spool_durable(e.sp);
	size_t i = 0;

	for (; i < e.sealings && e.sealing[i].ref.seq <= seq; i++) {
		struct sealing *s = &e.sealing[i];
		struct marked *m = &e.marked[e.marks];
		char runid[8];

		runid_of(s->run, runid);
		if (e.marks == NELEM(e.marked) || journal_sealed(e.j, runid,
		    5, s->v[s->n - 1].lsn, s->part, s->ref.seq, HELP_NOW,
		    NULL) < 0)
			break;
		m->mark = journal_appended(e.j);
		m->seq = s->ref.seq;
		m->n = s->n;
		m->place = mem_alloc(s->n * sizeof *m->place);
		for (size_t k = 0; k < s->n; k++)
			m->place[k] = s->v[k].place;
		e.marks++;
		e.batch_seq = s->ref.seq;
		trace("mark %" PRIu64 "\n", s->ref.seq);
		free(s->v);
	}
	e.sealings -= i;
	memmove(e.sealing, e.sealing + i, e.sealings * sizeof *e.sealing);
}

static void
release(void)
{
	size_t i = 0;

	for (; i < e.marks && e.marked[i].mark <= journal_durable(e.j); i++) {
		for (size_t k = 0; k < e.marked[i].n; k++)
			journal_release(e.j, e.marked[i].place[k]);
		trace("release %" PRIu64 "\n", e.marked[i].seq);
		free(e.marked[i].place);
	}
	e.marks -= i;
	memmove(e.marked, e.marked + i, e.marks * sizeof *e.marked);
}

static void
promise(void)
{
	uint64_t lsn = journal_synced_lsn(e.j);

	for (uint32_t u = 0; u < w.uids; u++)
		if (w.lsn[u] != 0 && w.lsn[u] <= lsn)
			w.promised[u] = true;
}

static void
sync_round(void)
{
	struct seglog_sync set = { .n = 0 };
	int r;

	journal_sync_begin(e.j, &set);
	spool_sync_begin(e.sp, &set);
	r = help_sync_set(&set);
	journal_sync_end(e.j, r == 0);
	spool_sync_end(e.sp, r == 0);
	if (r < 0) {
		trace("sync failed: %d\n", r);
		if (rng_below(&w.rng, 2) == 0)
			take_back();
		(void)!journal_roll(e.j, HELP_NOW, NULL);
		(void)!spool_roll(e.sp, HELP_NOW, NULL);
		return;
	}
	trace("synced lsn %" PRIu64 " batch %" PRIu64 "\n",
	    journal_synced_lsn(e.j), spool_durable(e.sp));
	promise();
	e.may_delete = journal_sealed_durable(e.j);
	if (journal_durable(e.j) == journal_appended(e.j)) {
		w.accepted = e.accepted;
		trace("accepted %" PRIu64 "\n", w.accepted);
	}
	seal_durable();
	release();
}

static void
flush(void)
{
	(void)!journal_flush(e.j, NULL);
	(void)!spool_flush(e.sp, NULL);
}

static void
deliver_one(const struct spool_ref *ref, const struct spool_batch *b,
    const uint8_t *body)
{
	uint64_t id = hash_id(b->id), sum = XXH3_64bits(body, b->body_len);
	unsigned run = run_of(b->runid, b->runid_len);
	long at = sent_before(id);
	uint32_t uid;

	if (at >= 0) {
		must(w.sent[at].body == sum, "other bytes under %s\n", b->id);
	} else {
		must(w.sents < SENTS, "sents\n");
		w.sent[w.sents].id = id;
		w.sent[w.sents++].body = sum;
		for (const char *p = (const char *)body, *end = p + b->body_len;
		    (p = next_uid(p, end, &uid)) != NULL;) {
			must(w.delivered[uid] == 0, "uid %u twice\n", uid);
			must(uid >= w.last[run], "uid %u out of order\n", uid);
			w.last[run] = uid + 1;
			w.delivered[uid] = 1;
		}
	}
	trace("deliver %" PRIu64 "\n", b->seq);
	(void)spool_done(e.sp, ref, ref->events, 0, 0, 0, NULL);
}

static void
deliver(unsigned most)
{
	struct spool_ref ref;
	struct spool_batch b;
	struct buf buf;
	const uint8_t *body;

	buf_init(&buf, 0);
	while (most-- > 0) {
		struct spool_cursor c = e.cursor;

		if (spool_next(e.sp, &c, &ref, NULL) != 1)
			break;
		/* Durable, and its seal mark is in the journal. */
		if (ref.seq > spool_durable(e.sp) || ref.seq > e.batch_seq)
			break;
		if (spool_load(e.sp, &ref, &b, &buf, &body, NULL) < 0)
			break;
		deliver_one(&ref, &b, body);
		e.cursor = c;
	}
	buf_free(&buf);
}

static void
step(void)
{
	uint64_t dice = rng_below(&w.rng, 40);

	if (dice < 14)
		take((unsigned)rng_below(&w.rng, RUNS), dice < 2 ? 8 :
		    1 + (unsigned)rng_below(&w.rng, 4), dice < 2);
	else if (dice < 20)
		flush();
	else if (dice < 26) {
		flush();
		sync_round();
	} else if (dice < 31)
		seal((unsigned)rng_below(&w.rng, RUNS));
	else if (dice < 35)
		deliver(4);
	else if (dice < 39) {
		(void)!journal_trim(e.j, NULL);
		(void)!spool_trim(e.sp, e.may_delete, NULL);
	} else
		(void)!(rng_below(&w.rng, 2) == 0 ?
		    journal_roll(e.j, HELP_NOW, NULL) :
		    spool_roll(e.sp, HELP_NOW, NULL));
}

/* Without faults all that is promised gets delivered, and all is deleted. */
static void
drain(void)
{
	for (int i = 0; i < 60 || (i < 400 && seglog_count(
	    journal_log(e.j)) > 1); i++) {
		for (unsigned r = 0; r < RUNS; r++)
			seal(r);
		flush();
		sync_round();
		deliver(100);
		(void)!journal_trim(e.j, NULL);
		(void)!spool_trim(e.sp, e.may_delete, NULL);
	}
	must(spool_waiting(e.sp).batches == 0, "left in the spool\n");
	for (uint32_t u = 0; u < w.uids; u++)
		must(!w.promised[u] || w.delivered[u] == 1, "uid %u is not "
		    "delivered\n", u);
	must(seglog_count(spool_log(e.sp)) == 1, "%zu spool segments, may "
	    "delete %" PRIu64 "\n", seglog_count(spool_log(e.sp)),
	    e.may_delete);
	must(seglog_count(journal_log(e.j)) <= 2, "journal segments: %zu\n",
	    seglog_count(journal_log(e.j)));
	check_books();
}

/* --- the tests ------------------------------------------------------------- */

static void
world_new(uint64_t seed)
{
	memset(&w, 0, sizeof w);
	rng_seed(&w.rng, seed);
	crashfs_start(seed * 7 + 1);
	crashfs_mkdir("/d");
	crashfs_mkdir("/d/journal");
	crashfs_mkdir("/d/spool");
}

static void
work(int steps)
{
	for (int i = 0; i < steps && !crashfs_dead(); i++)
		step();
}

/* The power goes, comes back; a second loss may come while it recovers. */
static void
power_cycle(uint64_t again_at)
{
	int r;

	trace("power cycle\n");
	forget();
	crashfs_reboot();
	if (again_at != 0) {
		crashfs_plan(again_at, CRASHFS_POWER, 1);
		(void)!start();
		if (!crashfs_dead())
			sync_round();
		forget();
		crashfs_reboot();
	}
	r = start();
	must(r == 0, "start: %d\n", r);
	check_all();
}

/* CRASH_AT in the environment: only this seed, or this call. */
static void
first_at(uint64_t *from, uint64_t *to)
{
	if (getenv("CRASH_AT") != NULL)
		*from = *to = strtoull(getenv("CRASH_AT"), NULL, 10);
}

/* The same script over and over, the power lost at one call later each time. */
START_TEST(test_every_call)
{
	uint64_t n = 1;
	bool dead = true;

	if (getenv("CRASH_AT") != NULL)
		n = strtoull(getenv("CRASH_AT"), NULL, 10);
	for (; dead; n++) {
		world_new(4242 + (uint64_t)_i);
		snprintf(w.trail, sizeof w.trail, "script %d, call %" PRIu64,
		    _i, n);
		must(start() == 0, "first start\n");
		crashfs_plan(n, CRASHFS_POWER, 1);
		work(180);
		dead = crashfs_dead();
		power_cycle(0);
		work(40);
		drain();
		forget();
		must(crashfs_fds() == 0, "fds leak\n");
		crashfs_stop();
	}
	ck_assert_uint_gt(n, 100);
}
END_TEST

/* Seeded random: many losses in one life, also while recovering. */
START_TEST(test_random)
{
	uint64_t s = 1000 * (uint64_t)_i, last = s + FEWER(39, 4);

	for (first_at(&s, &last); s <= last; s++) {
		world_new(s);
		snprintf(w.trail, sizeof w.trail, "seed %" PRIu64, s);
		must(start() == 0, "first start\n");
		for (int life = 0; life < 12; life++) {
			crashfs_plan(1 + rng_below(&w.rng, 200),
			    rng_below(&w.rng, 4) == 0 ? CRASHFS_NONE :
			    CRASHFS_POWER, 1);
			work((int)rng_below(&w.rng, 300));
			/* All is done: the last but one segment goes. */
			if (!crashfs_dead() && rng_below(&w.rng, 4) == 0) {
				crashfs_plan(0, CRASHFS_NONE, 0);
				drain();
				(void)!journal_roll(e.j, HELP_NOW, NULL);
				(void)!journal_trim(e.j, NULL);
			}
			/* Killed, not cut off, now and then. */
			if (!crashfs_dead() && rng_below(&w.rng, 2) == 0) {
				forget();
				crashfs_kill();
				must(start() == 0, "start\n");
				check_all();
				work(20);
			}
			power_cycle(rng_below(&w.rng, 3) == 0 ?
			    1 + rng_below(&w.rng, 12) : 0);
		}
		drain();
		forget();
		crashfs_stop();
	}
}
END_TEST

/* Every call fails in turn, once or for a while; then the power goes. */
START_TEST(test_faults)
{
	static const enum crashfs_fault faults[] = { CRASHFS_EIO,
	    CRASHFS_ENOSPC, CRASHFS_EINTR, CRASHFS_SHORT };
	uint64_t n = 1, calls = UINT64_MAX;

	n += (uint64_t)_i % FEWER(1, 4);
	first_at(&n, &calls);
	for (; n <= calls; n += FEWER(1, 4)) {
		world_new(77);
		snprintf(w.trail, sizeof w.trail, "fault %d at %" PRIu64, _i,
		    n);
		must(start() == 0, "first start\n");
		crashfs_plan(n, faults[_i / 2], _i % 2 == 0 ? 1 : 15);
		work(150);
		calls = crashfs_calls();
		crashfs_plan(0, CRASHFS_NONE, 0);
		work(20);
		if (n % 2 == 0)
			power_cycle(0);
		drain();
		forget();
		must(crashfs_fds() == 0, "fds leak\n");
		crashfs_stop();
	}
}
END_TEST

/* A failed fdatasync, and the power goes soon after. */
START_TEST(test_fault_then_power)
{
	uint64_t seed = 0, last = FEWER(299, 40);

	for (first_at(&seed, &last); seed <= last; seed++) {
		world_new(seed + 5000);
		snprintf(w.trail, sizeof w.trail, "sync seed %" PRIu64, seed);
		must(start() == 0, "first start\n");
		for (int life = 0; life < 4; life++) {
			crashfs_plan(0, CRASHFS_NONE, 0);
			work((int)rng_below(&w.rng, 80));
			crashfs_plan(1, CRASHFS_EIO,
			    1 + rng_below(&w.rng, 4));
			work((int)rng_below(&w.rng, 40));
			crashfs_plan(1 + rng_below(&w.rng, 60), CRASHFS_POWER,
			    1);
			work(80);
			power_cycle(0);
		}
		drain();
		forget();
		crashfs_stop();
	}
}
END_TEST

/* A disk that is full: nothing promised is lost, delivering goes on. */
START_TEST(test_full)
{
	for (uint64_t seed = 0; seed < FEWER(60, 10); seed++) {
		world_new(seed + 9000);
		snprintf(w.trail, sizeof w.trail, "full seed %" PRIu64, seed);
		must(start() == 0, "first start\n");
		work(40);
		crashfs_limit(crashfs_used() + rng_below(&w.rng, 40000));
		work(300);
		if (rng_below(&w.rng, 2) == 0)
			power_cycle(0);
		/* No room at all: what waits can still go. */
		for (int i = 0; i < 20; i++) {
			flush();
			sync_round();
			deliver(100);
			(void)!spool_trim(e.sp, e.may_delete, NULL);
			(void)!journal_trim(e.j, NULL);
		}
		must(spool_waiting(e.sp).batches <= e.sealings, "%" PRIu64
		    " batches wait\n", spool_waiting(e.sp).batches);
		crashfs_limit(0);
		work(60);
		drain();
		forget();
		crashfs_stop();
	}
}
END_TEST

struct letters {
	char	text[4096];
	int	whole;
};

static void
letter(void *arg, const char *name)
{
	struct letters *l = arg;
	char path[300];
	size_t n;

	(void)snprintf(path, sizeof path, "/d/%s", name);
	uint8_t *p = crashfs_file(path, &n);
	l->whole += p != NULL && n == sizeof l->text &&
	    memcmp(p, l->text, n) == 0;
}

/*
 * The spool forgets the events of a letter that a round has made safe. Nothing
 * else has them then.
 */
START_TEST(test_letters)
{
	struct letters l;
	struct dead *d;
	struct why why;

	for (uint64_t seed = 1; seed <= 40; seed++) {
		memset(l.text, 'a' + (int)(seed % 26), sizeof l.text);
		l.whole = 0;
		crashfs_start(seed);
		crashfs_mkdir("/d");
		ck_assert_int_eq(dead_open("/d", &d, &why), 0);
		for (uint32_t i = 0; i < 3; i++) {
			struct seglog_sync set = { .n = 0 };
			ck_assert_int_eq(dead_write(d, HELP_NOW, "b", i, 1,
			    false, l.text, sizeof l.text, &why), 0);
			if (i == 2)
				break;	/* the last one may get lost */
			dead_sync_begin(d, &set);
			ck_assert_int_eq(help_sync_set(&set), 0);
			dead_sync_end(d, true);
			ck_assert_uint_eq(dead_durable(d), i + 1);
		}
		dead_close(d);
		crashfs_reboot();
		crashfs_each("/d", letter, &l);
		ck_assert_int_ge(l.whole, 2);
		crashfs_stop();
	}
}
END_TEST

int
main(void)
{
	const struct {
		const char	*name;	/* for CK_RUN_CASE */
		const TTest	*test;
		int		rounds;
	} cases[] = {
		{ "every_call", test_every_call, FEWER(3, 1) },
		{ "random", test_random, 4 },
		{ "faults", test_faults, 8 },
		{ "fault_then_power", test_fault_then_power, 1 },
		{ "full", test_full, 1 },
		{ "letters", test_letters, 1 },
	};
	Suite *s = suite_create("crash_store");

	for (size_t i = 0; i < NELEM(cases); i++) {
		TCase *tc = tcase_create(cases[i].name);

		tcase_set_timeout(tc, 300);
		tcase_add_loop_test(tc, cases[i].test, 0, cases[i].rounds);
		suite_add_tcase(s, tc);
	}
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
