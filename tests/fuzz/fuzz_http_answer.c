/*
 * What a server may send as its answer: byte by byte and at once with the same
 * outcome, and what is passed on was in it. The first byte says after how many
 * bytes of a body it is enough.
 */
#include <errno.h>

#include "codec/http_answer.h"
#include "fuzz.h"

struct got {
	struct http_answer	a;
	size_t			len, limit;
	uint32_t		sum;	/* of the body's bytes */
	int			r;
	size_t			used;
};

static bool
on_body(void *arg, const char *p, size_t n)
{
	struct got *g = arg;

	FUZZ_CHECK(n > 0, "an empty piece");
	for (size_t i = 0; i < n; i++) {
		if (g->len == g->limit)
			return false;
		g->len++;
		g->sum = g->sum * 31 + (uint8_t)p[i];
	}
	return true;
}

static void
feed(struct got *g, const uint8_t *data, size_t len, size_t step, size_t limit)
{
	struct why why;

	memset(g, 0, sizeof *g);
	g->limit = limit;
	http_answer_init(&g->a, on_body, g);
	while (g->r == 0 && g->used < len) {
		size_t n = len - g->used < step ? len - g->used : step, used;
		uint8_t *copy = fuzz_copy(data + g->used, n);

		g->r = http_answer_take(&g->a, (const char *)copy, n, &used,
		    &why);
		free(copy);
		FUZZ_CHECK(used <= n, "%zu of %zu", used, n);
		FUZZ_CHECK(g->r != 0 || used == n, "some are left");
		g->used += used;
	}
	if (g->r == 0)
		g->r = http_answer_eof(&g->a, &why);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct got one, all;

	if (len < 1)
		return 0;
	size_t limit = data[0] * 16u;
	feed(&all, data + 1, len - 1, len, limit);
	feed(&one, data + 1, len - 1, 1, limit);
	FUZZ_CHECK(one.r == all.r, "%d and %d", one.r, all.r);
	FUZZ_CHECK(one.a.status == all.a.status && one.a.whole == all.a.whole,
	    "status %d and %d", one.a.status, all.a.status);
	FUZZ_CHECK(one.len == all.len && one.sum == all.sum, "bodies");
	FUZZ_CHECK(strcmp(one.a.retry_after, all.a.retry_after) == 0,
	    "%s and %s", one.a.retry_after, all.a.retry_after);
	if (one.r == 1)
		FUZZ_CHECK(one.used == all.used && one.a.keep == all.a.keep &&
		    one.a.status >= 200 && one.a.status < 600,
		    "the end of %d", one.a.status);
	FUZZ_CHECK(one.len <= len, "more than came");
	return 0;
}
