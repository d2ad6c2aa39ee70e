/* spool: batches, marks, checkpoints, walks, deletion. */
#include <errno.h>
#include <inttypes.h>

#include "base/rand.h"
#include "store/spool.h"
#include "store_help.h"
#include "unit.h"

struct told {
	uint64_t	seq[256];
	size_t		n;
	unsigned	damaged;
};

static void
on_recent(void *arg, const struct spool_batch *b, const struct spool_ref *ref)
{
	struct told *t = arg;

	if (t->n < NELEM(t->seq))
		t->seq[t->n] = b->seq;
	t->n++;
}

static void
on_damaged(void *arg, const char *file, uint64_t off, uint64_t len,
    const char *reason)
{
	if (arg != NULL)
		((struct told *)arg)->damaged++;
}

static struct spool *
open_spool(struct help_dir *d, uint64_t segment, uint64_t above,
    struct told *t)
{
	struct spool_options o = { .kind = SEGLOG_SPOOL,
	    .segment_bytes = segment, .buffer_bytes = 4096,
	    .instance = "\x01\x23instance", .seq_above = above,
	    .damaged = on_damaged, .arg = t };
	struct spool *sp;
	struct why why;

	if (t != NULL)
		*t = (struct told){ 0 };
	int r = spool_open(d->log, d->quar, &o, t != NULL ? on_recent : NULL,
	    t, &sp, &why);
	ck_assert_msg(r == 0, "%s", why.text);
	return sp;
}

/* The body of a batch follows from its number. */
static size_t
make_body(uint64_t n, uint8_t *dst)
{
	struct rng rng;
	size_t len;

	rng_seed(&rng, n + 1);
	len = 100 + rng_below(&rng, 400);
	for (size_t i = 0; i < len; i++)
		dst[i] = (uint8_t)rng_u64(&rng);
	return len;
}

static int
try_put(struct spool *sp, uint64_t n, struct spool_ref *ret)
{
	struct spool_batch b = { .kind = SPOOL_RUN, .reason = SPOOL_IDLE,
	    .part = 3, .events = (uint32_t)(n % 7 + 1), .compressed = true,
	    .raw_len = 5000, .first = { 5 }, .sealed = { 1000 + (int64_t)n },
	    .journal_lsn = n * 10, .runid_len = 5, .runid = "run-x" };
	uint8_t body[512];
	size_t len = make_body(n, body);

	return spool_append(sp, &b, body, len, ret, NULL);
}

static struct spool_ref
put(struct spool *sp, uint64_t n)
{
	struct spool_ref ref;

	ck_assert_int_eq(try_put(sp, n, &ref), 0);
	return ref;
}

static void
must_be(struct spool *sp, const struct spool_ref *ref, uint64_t n)
{
	struct spool_batch b, c;
	uint8_t want[512], piece[50];
	const uint8_t *body;
	struct buf buf;

	buf_init(&buf, 0);
	ck_assert_int_eq(spool_load(sp, ref, &b, &buf, &body, NULL), 0);
	ck_assert_uint_eq(b.body_len, make_body(n, want));
	ck_assert_mem_eq(body, want, b.body_len);
	ck_assert_uint_eq(b.journal_lsn, n * 10);
	ck_assert_uint_eq(b.events, n % 7 + 1);
	ck_assert_int_eq(b.sealed.us, 1000 + (int64_t)n);
	ck_assert_str_eq(b.runid, "run-x");
	ck_assert_int_eq(spool_describe(sp, ref, &c, NULL), 0);
	ck_assert_str_eq(c.id, b.id);
	ck_assert_int_eq(spool_verify(sp, ref, NULL), 0);
	ck_assert_int_eq(spool_body(sp, ref, 33, piece, 50, NULL), 0);
	ck_assert_mem_eq(piece, want + 33, 50);
	buf_free(&buf);
}

static void
sync_spool(struct spool *sp)
{
	for (int i = 0; i < 40; i++) {
		struct seglog_sync set = { .n = 0 };

		ck_assert_int_eq(spool_flush(sp, NULL), 0);
		if (!spool_unsynced(sp))
			return;
		spool_sync_begin(sp, &set);
		ck_assert_int_eq(help_sync_set(&set), 0);
		spool_sync_end(sp, true);
	}
	ck_abort_msg("never synced");
}

/* What a whole walk finds; the sums must fit. */
static size_t
walk(struct spool *sp, struct spool_ref *refs, size_t max)
{
	struct spool_cursor c = { 0 };
	struct spool_ref ref;
	uint64_t events = 0, last = 0;
	size_t n = 0;

	while (spool_next(sp, &c, &ref, NULL) == 1) {
		ck_assert_uint_gt(ref.seq, last);
		last = ref.seq;
		events += ref.events;
		if (n < max)
			refs[n] = ref;
		n++;
	}
	ck_assert(spool_at_end(sp, &c));
	struct spool_waiting w = spool_waiting(sp);
	ck_assert_uint_eq(w.batches, n);
	ck_assert_uint_eq(w.events, events);
	struct spool_totals t = spool_totals(sp);
	uint64_t out = t.delivered + t.dead + w.events;
	for (size_t i = 0; i < NELEM(t.dropped); i++)
		out += t.dropped[i];
	ck_assert_uint_eq(t.events, out);
	ck_assert_uint_eq(t.batches, t.done_batches + w.batches);
	return n;
}

START_TEST(test_basic)
{
	struct help_dir d;
	struct spool_ref r[3], got[8];
	struct spool_batch b;
	struct wall at;

	help_dir_make(&d);
	struct spool *sp = open_spool(&d, 1 << 20, 0, NULL);
	ck_assert(!spool_oldest(sp, &at));
	for (uint64_t i = 0; i < 3; i++)
		r[i] = put(sp, i + 1);
	ck_assert_uint_eq(spool_seq(sp), 3);
	ck_assert_uint_eq(spool_durable(sp), 0);
	must_be(sp, &r[1], 2);	/* from the buffer */
	sync_spool(sp);
	ck_assert_uint_eq(spool_durable(sp), 3);
	must_be(sp, &r[1], 2);
	ck_assert_int_eq(spool_describe(sp, &r[2], &b, NULL), 0);
	ck_assert_str_eq(b.id, "0123696e7374616e-3");
	ck_assert_uint_eq(walk(sp, got, 8), 3);
	ck_assert(spool_oldest(sp, &at));
	ck_assert_int_eq(at.us, 1001);
	ck_assert_int_eq(spool_done(sp, &r[0], 2, 0, 0, 0, NULL), 0);
	ck_assert_int_eq(spool_done(sp, &r[0], 2, 0, 0, 0, NULL), 0);
	ck_assert(spool_oldest(sp, &at));
	ck_assert_int_eq(at.us, 1002);
	ck_assert_uint_eq(walk(sp, got, 8), 2);
	ck_assert_uint_eq(got[0].seq, 2);
	sync_spool(sp);
	spool_close(sp);

	sp = open_spool(&d, 1 << 20, 0, NULL);
	ck_assert_uint_eq(spool_totals(sp).delivered, 2);
	ck_assert_uint_eq(walk(sp, got, 8), 2);
	must_be(sp, &got[0], 2);
	must_be(sp, &got[1], 3);
	r[0] = put(sp, 4);
	ck_assert_uint_eq(r[0].seq, 4);
	/* Only what has been flushed is seen. */
	struct spool_cursor c = { 0 };
	struct spool_ref ref;
	ck_assert_int_eq(spool_next(sp, &c, &ref, NULL), 1);
	ck_assert_int_eq(spool_next(sp, &c, &ref, NULL), 1);
	ck_assert_int_eq(spool_next(sp, &c, &ref, NULL), 0);
	ck_assert(!spool_at_end(sp, &c));
	ck_assert_int_eq(spool_flush(sp, NULL), 0);
	ck_assert_int_eq(spool_next(sp, &c, &ref, NULL), 1);
	ck_assert_uint_eq(ref.seq, 4);
	ck_assert(spool_at_end(sp, &c));
	spool_to_end(sp, &c);
	ck_assert_int_eq(spool_next(sp, &c, &ref, NULL), 0);
	put(sp, 5);
	ck_assert_int_eq(spool_flush(sp, NULL), 0);
	ck_assert_int_eq(spool_next(sp, &c, &ref, NULL), 1);
	ck_assert_uint_eq(ref.seq, 5);
	spool_close(sp);
	help_dir_drop(&d);
}
END_TEST

/* Many segments, done in no order; reopened now and then. */
START_TEST(test_random)
{
	static bool done[4000];
	static struct spool_ref refs[4000];
	struct help_dir d;
	struct rng rng;

	help_dir_make(&d);
	rng_seed(&rng, 11);
	struct spool *sp = open_spool(&d, 8192, 0, NULL);
	uint64_t seq = 0, delivered = 0;
	for (int i = 0; i < 3000; i++) {
		switch (rng_below(&rng, 12)) {
		case 0:
			sync_spool(sp);
			break;
		case 1:
			if (rng_below(&rng, 8) != 0)
				break;
			ck_assert_int_eq(spool_flush(sp, NULL), 0);
			spool_close(sp);
			sp = open_spool(&d, 8192, 0, NULL);
			ck_assert_uint_eq(spool_seq(sp), seq);
			ck_assert_uint_eq(spool_totals(sp).delivered,
			    delivered);
			break;
		case 2:
			ck_assert_int_ge(spool_trim(sp, seq, NULL), 0);
			break;
		case 3: case 4: case 5: case 6:
			refs[seq] = put(sp, seq + 1);
			ck_assert_uint_eq(refs[seq].seq, seq + 1);
			seq++;
			break;
		default:
			if (seq == 0)
				break;
			/* Old ones first, as a rule. */
			uint64_t k = rng_below(&rng, seq);
			for (uint64_t m = k > 40 ? k - 40 : 0; m <= k; m++)
				if (!done[m]) {
					k = m;
					break;
				}
			if (done[k])
				break;
			ck_assert_int_eq(spool_done(sp, &refs[k],
			    refs[k].events, 0, 0, 0, NULL), 0);
			done[k] = true;
			delivered += refs[k].events;
		}
		if (i % 100 != 99)
			continue;
		static struct spool_ref got[4000];
		ck_assert_int_eq(spool_flush(sp, NULL), 0);
		size_t n = walk(sp, got, 4000), at = 0;
		for (uint64_t k = 0; k < seq; k++) {
			if (done[k])
				continue;
			ck_assert_uint_eq(got[at].seq, k + 1);
			must_be(sp, &got[at++], k + 1);
		}
		ck_assert_uint_eq(at, n);
	}
	ck_assert_uint_gt(seq, 500);
	for (uint64_t k = 0; k < seq; k++)
		if (!done[k])
			ck_assert_int_eq(spool_done(sp, &refs[k],
			    refs[k].events, 0, 0, 0, NULL), 0);
	sync_spool(sp);
	ck_assert_int_gt(spool_trim(sp, seq, NULL), 0);
	ck_assert_uint_eq(seglog_count(spool_log(sp)), 1);
	spool_close(sp);
	sp = open_spool(&d, 8192, 0, NULL);
	ck_assert_uint_eq(spool_seq(sp), seq);
	ck_assert_uint_eq(walk(sp, NULL, 0), 0);
	spool_close(sp);
	help_dir_drop(&d);
}
END_TEST

START_TEST(test_recent)
{
	struct help_dir d;
	struct told t;
	struct spool_ref r[40];

	help_dir_make(&d);
	struct spool *sp = open_spool(&d, 4096, 0, NULL);
	for (uint64_t i = 0; i < 40; i++)
		r[i] = put(sp, i + 1);
	ck_assert_uint_gt(seglog_count(spool_log(sp)), 3);
	/* Delivered ones are told of, too; one that was taken back is not. */
	ck_assert_int_eq(spool_done(sp, &r[24], r[24].events, 0, 0, 0, NULL),
	    0);
	ck_assert_int_eq(spool_take_back(sp, &r[30], NULL), 0);
	ck_assert_int_eq(spool_flush(sp, NULL), 0);
	walk(sp, NULL, 0);
	spool_close(sp);
	for (int round = 0; round < 2; round++) {
		sp = open_spool(&d, 4096, 20, &t);
		ck_assert_uint_eq(t.n, 19);
		for (size_t i = 0; i < t.n; i++)
			ck_assert_uint_eq(t.seq[i], 21 + i + (i >= 10));
		ck_assert_uint_eq(walk(sp, NULL, 0), 38);
		/* The second time it is known from a checkpoint. */
		ck_assert_int_eq(spool_roll(sp, HELP_NOW, NULL), 0);
		spool_close(sp);
	}
	sp = open_spool(&d, 4096, 90, &t);
	ck_assert_uint_eq(t.n, 0);
	ck_assert_uint_eq(put(sp, 1).seq, 91);
	spool_close(sp);
	help_dir_drop(&d);
}
END_TEST

/* A batch that the upstream takes in pieces. */
/*
 * A crash took the padding of the last record. Reading ahead over a short one
 * met the end of the file, the walk looked for the next record, found this one
 * again, and so for ever.
 */
START_TEST(test_no_padding)
{
	struct help_dir d;
	uint8_t *file;
	size_t len;

	help_dir_make(&d);
	for (size_t lost = 0; lost < 8; lost++) {
		struct spool *sp = open_spool(&d, 1 << 20, 0, NULL);
		struct spool_ref refs[2];
		struct spool_batch b = { .kind = SPOOL_RUN, .part = 1,
		    .reason = SPOOL_IDLE, .events = 1, .raw_len = 9,
		    .runid_len = 1, .runid = "r" };

		b.sealed.us = 5;
		ck_assert_int_eq(spool_append(sp, &b, "123456789", 9, &refs[0],
		    NULL), 0);
		sync_spool(sp);
		uint64_t end = refs[0].pos.off + 16u + refs[0].meta_len + 9u;
		spool_close(sp);
		file = help_slurp(d.log, "0000000001.seg", &len);
		ck_assert_uint_le(end, len);
		if (len - lost >= end)
			help_spit(d.log, "0000000001.seg", file, len - lost);
		free(file);
		sp = open_spool(&d, 1 << 20, 0, NULL);
		ck_assert_uint_eq(walk(sp, refs, 2), 1);
		ck_assert_int_eq(spool_verify(sp, &refs[0], NULL), 0);
		spool_close(sp);
		help_dir_clear(&d);
	}
	help_dir_drop(&d);
}
END_TEST

static void
on_each(void *arg, const struct spool_batch *b)
{
	struct told *t = arg;

	t->seq[t->n++] = b->seq;
}

/* Every batch that the files have, the done ones too, a few at a time. */
START_TEST(test_each)
{
	struct help_dir d;
	struct spool *sp;
	struct told t = { .n = 0 };
	struct spool_cursor c = { 0 };
	struct spool_ref ref;
	uint8_t *file;
	size_t len;
	int r;

	help_dir_make(&d);
	sp = open_spool(&d, 1 << 20, 0, NULL);
	for (uint64_t n = 0; n < 20; n++) {
		ref = put(sp, n);
		if (n % 3 == 0)
			(void)spool_done(sp, &ref, ref.events, 0, 0,
			    SPOOL_DROP_AGE, NULL);
	}
	sync_spool(sp);
	for (int i = 0; (r = spool_each(sp, &c, 3, on_each, &t, NULL)) == 1;
	    i++)
		ck_assert_int_lt(i, 20);
	ck_assert_int_eq(r, 0);
	ck_assert_uint_eq(t.n, 20);
	for (size_t i = 0; i < t.n; i++)
		ck_assert_uint_eq(t.seq[i], i + 1);
	spool_close(sp);
	/* What is damaged is passed over. */
	file = help_slurp(d.log, "0000000001.seg", &len);
	file[ref.pos.off] ^= 1;
	help_spit(d.log, "0000000001.seg", file, len);
	free(file);
	sp = open_spool(&d, 1 << 20, 0, NULL);
	t.n = 0;
	c = (struct spool_cursor){ 0 };
	ck_assert_int_eq(spool_each(sp, &c, 100000, on_each, &t, NULL), 0);
	ck_assert_uint_eq(t.n, 19);
	spool_close(sp);
	help_dir_drop(&d);
}
END_TEST

START_TEST(test_progress)
{
	struct help_dir d;
	struct spool_ref a, b, got[4];

	help_dir_make(&d);
	struct spool *sp = open_spool(&d, 1 << 20, 0, NULL);
	a = put(sp, 6);		/* 7 events */
	b = put(sp, 5);		/* 6 events */
	ck_assert_int_eq(spool_progress(sp, &a, 3, 2, 1, NULL), 0);
	ck_assert_uint_eq(a.finished, 3);
	/* Two of them go on in a batch of their own. */
	put(sp, 1);
	ck_assert_int_eq(spool_progress(sp, &b, 3, 1, 0, NULL), 0);
	for (int round = 0; round < 3; round++) {
		ck_assert_int_eq(spool_flush(sp, NULL), 0);
		ck_assert_uint_eq(spool_waiting(sp).events, 4 + 3 + 2);
		ck_assert_uint_eq(spool_totals(sp).delivered, 3);
		ck_assert_uint_eq(spool_totals(sp).dead, 1);
		ck_assert_uint_eq(spool_totals(sp).events, 7 + 6 + 2 - 2);
		spool_close(sp);
		sp = open_spool(&d, 1 << 20, 0, NULL);
		struct spool_cursor c = { 0 };
		for (int i = 0; i < 3; i++)
			ck_assert_int_eq(spool_next(sp, &c, &got[i], NULL), 1);
		ck_assert_uint_eq(got[0].finished, 3);
		ck_assert_uint_eq(got[1].finished, 3);
		ck_assert_uint_eq(got[2].finished, 0);
		/* The second time it is known from a checkpoint. */
		ck_assert_int_eq(spool_roll(sp, HELP_NOW, NULL), 0);
	}
	ck_assert_int_eq(spool_done(sp, &got[0], 4, 0, 0, 0, NULL), 0);
	ck_assert_int_eq(spool_done(sp, &got[1], 0, 3, 0, 0, NULL), 0);
	ck_assert_int_eq(spool_done(sp, &got[2], 0, 0, 2, SPOOL_DROP_AGE,
	    NULL), 0);
	for (int round = 0; round < 2; round++) {
		ck_assert_uint_eq(walk(sp, NULL, 0), 0);
		ck_assert_uint_eq(spool_totals(sp).delivered, 7);
		ck_assert_uint_eq(spool_totals(sp).dead, 4);
		ck_assert_uint_eq(spool_totals(sp).dropped[SPOOL_DROP_AGE], 2);
		ck_assert_uint_eq(spool_totals(sp).events, 13);
		ck_assert_int_eq(spool_flush(sp, NULL), 0);
		spool_close(sp);
		sp = open_spool(&d, 1 << 20, 0, NULL);
	}
	spool_close(sp);
	help_dir_drop(&d);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = { test_basic, test_random, test_recent,
		test_progress, test_no_padding, test_each, NULL };

	help_no_sync();
	return unit_run("spool", tests);
}
