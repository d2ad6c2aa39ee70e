/* recent: what is found is what was put, against a model that forgets. */
#include <string.h>

#include "base/rand.h"
#include "store/recent.h"
#include "unit.h"

#define SIZE	4096u

static void
put(struct recent *rc, uint32_t segno, uint32_t off, const char *text)
{
	recent_put(rc, segno, off, text, strlen(text));
}

static bool
has(struct recent *rc, uint32_t segno, uint32_t off, const char *text)
{
	struct buf buf;

	buf_init(&buf, 0);
	const char *got = recent_get(rc, segno, off, strlen(text), &buf);
	bool same = got != NULL && memcmp(got, text, strlen(text)) == 0;
	buf_free(&buf);
	return same;
}

static bool
lacks(struct recent *rc, uint32_t segno, uint32_t off, size_t len)
{
	struct buf buf;

	buf_init(&buf, 0);
	const char *got = recent_get(rc, segno, off, len, &buf);
	buf_free(&buf);
	return got == NULL;
}

START_TEST(test_off)
{
	struct recent rc;

	recent_init(&rc, 0);
	put(&rc, 1, 64, "text");
	ck_assert(lacks(&rc, 1, 64, 4));
	ck_assert_uint_eq(recent_used(&rc), 0);
	recent_drop(&rc);
}
END_TEST

START_TEST(test_put_get_cut)
{
	struct recent rc;

	recent_init(&rc, SIZE);
	ck_assert(lacks(&rc, 1, 64, 1));
	put(&rc, 1, 1000, "first");
	put(&rc, 1, 1100, "second");
	put(&rc, 2, 64, "third");
	ck_assert(has(&rc, 1, 1000, "first"));
	ck_assert(has(&rc, 1, 1100, "second"));
	ck_assert(has(&rc, 2, 64, "third"));
	/* Before what was kept first, behind what was kept last. */
	ck_assert(lacks(&rc, 1, 64, 4));
	ck_assert(lacks(&rc, 2, 64, 6));
	ck_assert(lacks(&rc, 3, 64, 1));
	/* A rollback: other texts come in its place. */
	put(&rc, 2, 200, "undone");
	recent_cut(&rc, 2, 200);
	ck_assert(lacks(&rc, 2, 200, 6));
	ck_assert(has(&rc, 2, 64, "third"));
	put(&rc, 2, 200, "done");
	ck_assert(has(&rc, 2, 200, "done"));
	recent_drop(&rc);
	ck_assert(lacks(&rc, 2, 200, 4));
	put(&rc, 2, 300, "again");
	ck_assert(has(&rc, 2, 300, "again"));
	/* Not kept since the drop, and in the ring's stead never below 0. */
	ck_assert(lacks(&rc, 2, 200, 4));
	recent_drop(&rc);
}
END_TEST

START_TEST(test_large_is_not_kept)
{
	static char large[SIZE];
	struct recent rc;

	memset(large, 'x', sizeof large);
	recent_init(&rc, SIZE);
	put(&rc, 1, 64, "small");
	recent_put(&rc, 1, 128, large, SIZE / 4 + 1);
	put(&rc, 1, 1500, "behind");
	ck_assert(has(&rc, 1, 64, "small"));
	ck_assert(lacks(&rc, 1, 128, SIZE / 4 + 1));
	ck_assert(has(&rc, 1, 1500, "behind"));
	recent_drop(&rc);
}
END_TEST

/*
 * A message begins a segment with an event that is too large to be kept, goes
 * on with a small one, and is rolled back as the disk is full. What came in its
 * place was written over the newest events of the segment before, which were
 * then found again: one run's event was sealed into another's batch.
 */
START_TEST(test_cut_below_first)
{
	static char large[SIZE];
	struct recent rc;

	memset(large, 'x', sizeof large);
	recent_init(&rc, SIZE);
	put(&rc, 1, 1000, "older");
	recent_put(&rc, 2, 64, large, SIZE / 4 + 1);
	put(&rc, 2, 1500, "undone");
	recent_cut(&rc, 2, 64);
	ck_assert(lacks(&rc, 2, 1500, 6));
	ck_assert(has(&rc, 1, 1000, "older"));
	recent_put(&rc, 2, 64, large, 1000);
	recent_put(&rc, 2, 1100, large, 1000);
	ck_assert(has(&rc, 1, 1000, "older"));
	recent_cut(&rc, 2, 64);
	put(&rc, 2, 64, "done");
	ck_assert(has(&rc, 2, 64, "done"));
	ck_assert(lacks(&rc, 2, 1100, 1000));
	ck_assert(has(&rc, 1, 1000, "older"));
	recent_drop(&rc);
}
END_TEST

struct text {
	uint32_t	segno, off;
	size_t		len;
	char		fill;
};

/* What is found must be what was put there last; the newest must be found. */
START_TEST(test_model)
{
	static struct text all[4000];
	static char text[SIZE];
	struct recent rc;
	struct rng rng;
	struct buf buf;
	uint32_t segno = 1, off = 64;
	size_t n = 0, found = 0;

	rng_seed(&rng, 8);
	recent_init(&rc, SIZE);
	buf_init(&buf, 0);
	while (n < NELEM(all)) {
		struct text *t = &all[n];

		if (rng_u64(&rng) % 40 == 0) {
			segno += 1 + (uint32_t)(rng_u64(&rng) % 2);
			off = 64;
		}
		*t = (struct text){ segno, off, 1 + rng_u64(&rng) % 1100,
		    (char)('a' + n % 26) };
		memset(text, t->fill, t->len);
		recent_put(&rc, segno, off, text, t->len);
		off += (uint32_t)t->len + 16 + (uint32_t)(rng_u64(&rng) % 30);
		n++;
		if (rng_u64(&rng) % 10 == 0) {
			/* The newest is rolled back. */
			recent_cut(&rc, t->segno, t->off);
			off = t->off;
			n--;
		}
		for (size_t i = n > 12 ? n - 12 : 0; i < n; i++) {
			const char *got = recent_get(&rc, all[i].segno,
			    all[i].off, all[i].len, &buf);

			if (got == NULL) {
				ck_assert(i + 1 < n || all[i].len > SIZE / 4);
				continue;
			}
			found++;
			memset(text, all[i].fill, all[i].len);
			ck_assert(memcmp(got, text, all[i].len) == 0);
		}
	}
	ck_assert_uint_gt(found, n * 3);
	buf_free(&buf);
	recent_drop(&rc);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = { test_off, test_put_get_cut,
		test_large_is_not_kept, test_cut_below_first, test_model,
		NULL };

	return unit_run("recent", tests);
}
