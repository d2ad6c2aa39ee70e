/* journal: events, marks, replay, deletion. */
#include <errno.h>
#include <inttypes.h>

#include "base/rand.h"
#include "store/journal.h"
#include "store_help.h"
#include "unit.h"

struct told {
	char		text[4096];	/* the replay, in words */
	size_t		n;
	struct journal_place place[512];
	size_t		places;
	struct journal_state state;	/* to begin segments with */
	struct journal_part part[4];
	unsigned	damaged;
};

static void
say(struct told *t, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	t->n += (size_t)vsnprintf(t->text + t->n, sizeof t->text - t->n, fmt,
	    ap);
	va_end(ap);
	ck_assert_uint_lt(t->n, sizeof t->text);
}

static void
on_state(void *arg, const struct journal_state *st)
{
	say(arg, "state(%" PRIu64 ",%" PRIu64 ",%zu) ", st->totals[3],
	    st->batch_seq, st->parts_n);
	for (size_t i = 0; i < st->parts_n; i++)
		say(arg, "part(%" PRIu64 ",%u) ", st->parts[i].run_hash,
		    st->parts[i].part);
}

static void
on_event(void *arg, const char *runid, size_t len, uint64_t lsn,
    struct wall at, bool end, struct journal_place place)
{
	struct told *t = arg;

	ck_assert_int_eq(at.us, HELP_NOW.us);
	say(t, "%.*s:%" PRIu64 "%s ", (int)len, runid, lsn, end ? "." : "");
	if (t->places < NELEM(t->place))
		t->place[t->places++] = place;
}

static void
on_end(void *arg, const char *runid, size_t len, uint64_t lsn)
{
	say(arg, "%.*s:end%" PRIu64 " ", (int)len, runid, lsn);
}

static void
on_sealed(void *arg, const char *runid, size_t len, uint64_t lsn,
    uint32_t part, uint64_t seq)
{
	say(arg, "%.*s:sealed(%" PRIu64 ",%u,%" PRIu64 ") ", (int)len, runid,
	    lsn, part, seq);
}

static void
on_count(void *arg, unsigned total, uint64_t n)
{
	say(arg, "count(%u,%" PRIu64 ") ", total, n);
}

static void
give_state(void *arg, struct journal_state *st)
{
	struct told *t = arg;

	*st = t->state;
	st->parts = t->part;
}

static void
on_damaged(void *arg, const char *file, uint64_t off, uint64_t len,
    const char *reason)
{
	((struct told *)arg)->damaged++;
}

static struct journal *
open_journal(struct help_dir *d, struct told *t, uint64_t segment)
{
	struct journal_options o = { .segment_bytes = segment,
	    .buffer_bytes = 4096, .instance = "instance", .state = give_state,
	    .damaged = on_damaged, .arg = t };
	struct journal_replay rp = { on_state, on_event, on_end, on_sealed,
	    on_count, t };
	struct journal *j;
	struct why why;

	t->n = t->places = 0;
	t->text[0] = '\0';
	t->damaged = 0;
	int r = journal_open(d->log, d->quar, &o, &rp, &j, &why);
	ck_assert_msg(r == 0, "%s", why.text);
	return j;
}

static struct journal_place
put(struct journal *j, const char *run, const char *json, bool end)
{
	struct journal_place p;
	struct why why;
	uint64_t lsn, before = journal_lsn(j);

	int r = journal_reserve(j, 1, strlen(json), strlen(run), HELP_NOW,
	    &why);
	ck_assert_msg(r == 0, "%s", why.text);
	ck_assert_int_eq(journal_event(j, run, strlen(run), json,
	    strlen(json), end, HELP_NOW, &lsn, &p, NULL), 0);
	ck_assert_uint_eq(lsn, before + 1);
	return p;
}

static void
sync_journal(struct journal *j)
{
	struct seglog_sync set = { .n = 0 };

	ck_assert_int_eq(journal_flush(j, NULL), 0);
	journal_sync_begin(j, &set);
	ck_assert_int_eq(help_sync_set(&set), 0);
	journal_sync_end(j, true);
}

static void
must_read(struct journal *j, struct journal_place p, const char *run,
    const char *json)
{
	struct buf buf;
	const char *got;

	buf_init(&buf, 0);
	ck_assert_int_eq(journal_read(j, p, strlen(run), &buf, &got, NULL), 0);
	ck_assert_uint_eq(p.len, strlen(json));
	ck_assert_mem_eq(got, json, p.len);
	buf_free(&buf);
}

START_TEST(test_replay)
{
	struct told t = { .state = { .batch_seq = 5, .parts_n = 1 },
	    .part = { { 77, 3 } } };
	struct help_dir d;
	uint64_t lsn;

	help_dir_make(&d);
	t.state.totals[3] = 9;
	struct journal *j = open_journal(&d, &t, 1 << 20);
	ck_assert_str_eq(t.text, "");
	struct journal_place a = put(j, "run-a", "{\"x\":1}", false);
	struct journal_place b = put(j, "b", "{\"y\":2}", true);
	/* From the buffer first, from the file then. */
	must_read(j, a, "run-a", "{\"x\":1}");
	ck_assert_int_eq(journal_end(j, "run-a", 5, HELP_NOW, &lsn, NULL), 0);
	ck_assert_int_eq(journal_sealed(j, "b", 1, 2, 1, 6, HELP_NOW, NULL),
	    0);
	ck_assert_int_eq(journal_count(j, 4, 11, HELP_NOW, NULL), 0);
	ck_assert_uint_eq(journal_synced_lsn(j), 0);
	sync_journal(j);
	ck_assert_uint_eq(journal_synced_lsn(j), 3);
	ck_assert_uint_eq(journal_durable(j), journal_appended(j));
	ck_assert(!journal_unsynced(j));
	must_read(j, a, "run-a", "{\"x\":1}");
	must_read(j, b, "b", "{\"y\":2}");
	journal_close(j);

	j = open_journal(&d, &t, 1 << 20);
	ck_assert_str_eq(t.text, "state(9,0,1) part(77,3) run-a:1 b:2. "
	    "run-a:end3 b:sealed(2,1,6) count(4,11) ");
	ck_assert_uint_eq(journal_lsn(j), 3);
	must_read(j, t.place[0], "run-a", "{\"x\":1}");
	put(j, "c", "{}", false);
	ck_assert_uint_eq(journal_lsn(j), 4);
	ck_assert(journal_unsynced(j));
	journal_close(j);
	help_dir_drop(&d);
}
END_TEST

START_TEST(test_rollback)
{
	struct told t = { 0 };
	struct help_dir d;
	struct journal_mark mark;
	static char big[3000];

	help_dir_make(&d);
	memset(big, 'x', sizeof big - 1);
	struct journal *j = open_journal(&d, &t, 1 << 20);
	put(j, "a", "{}", false);
	ck_assert_int_eq(journal_reserve(j, 9, 27000, 1, HELP_NOW, NULL), 0);
	mark = journal_mark(j);
	/* More than the buffer holds: some of it is in the file already. */
	for (int i = 0; i < 9; i++)
		put(j, "b", big, false);
	journal_rollback(j, mark);
	ck_assert_uint_eq(journal_lsn(j), 1);
	put(j, "c", "{}", false);
	sync_journal(j);
	journal_close(j);
	j = open_journal(&d, &t, 1 << 20);
	ck_assert_str_eq(t.text, "state(0,0,0) a:1 c:2 ");
	ck_assert_uint_eq(t.damaged, 0);
	journal_close(j);
	help_dir_drop(&d);
}
END_TEST

/* Oldest first, one for each sync round, and nothing before it is durable. */
START_TEST(test_trim)
{
	struct told t = { 0 };
	struct help_dir d;
	struct journal_place p[60];
	static char json[900];

	help_dir_make(&d);
	memset(json, 'j', sizeof json - 1);
	struct journal *j = open_journal(&d, &t, 4096);
	for (int i = 0; i < 60; i++)
		p[i] = put(j, "run", json, false);
	ck_assert_uint_gt(seglog_count(journal_log(j)), 10);
	ck_assert_uint_eq(journal_oldest_live(j), 1);
	for (int i = 0; i < 30; i++)
		journal_release(j, p[i]);
	ck_assert_int_eq(journal_trim(j, NULL), 0);
	for (int i = 0; i < 9; i++)
		sync_journal(j);
	size_t n = seglog_count(journal_log(j));
	ck_assert_int_eq(journal_trim(j, NULL), 1);
	ck_assert_int_eq(journal_trim(j, NULL), 0);
	sync_journal(j);
	ck_assert_int_eq(journal_trim(j, NULL), 1);
	for (int i = 0; i < 30; i++) {
		sync_journal(j);
		ck_assert_int_ge(journal_trim(j, NULL), 0);
	}
	ck_assert_uint_lt(seglog_count(journal_log(j)), n - 5);
	ck_assert_uint_eq(journal_oldest_live(j), p[30].segno);
	ck_assert_uint_eq(seglog_at(journal_log(j), 0).segno, p[30].segno);
	for (int i = 30; i < 60; i++) {
		must_read(j, p[i], "run", json);
		journal_release(j, p[i]);
	}
	for (int i = 0; i < 30; i++) {
		sync_journal(j);
		ck_assert_int_ge(journal_trim(j, NULL), 0);
	}
	ck_assert_uint_eq(seglog_count(journal_log(j)), 1);
	ck_assert_uint_eq(journal_oldest_live(j), 0);
	journal_close(j);
	j = open_journal(&d, &t, 4096);
	ck_assert_uint_eq(journal_lsn(j), 60);
	journal_close(j);
	help_dir_drop(&d);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = { test_replay, test_rollback, test_trim,
		NULL };

	help_no_sync();
	return unit_run("journal", tests);
}
