/*
 * redact_match: all patterns on one text.
 *
 * The built-in ones take time in proportion to the text (redact_find.c). A
 * regular expression may not: PCRE2's match limit ends what backtracks for
 * ever, and is not met by one that reads to the end of the text from each of
 * its letters ("[a-z]+[0-9]"). So a long text is searched in stretches of
 * starting points, and where the steps that this could have taken are many,
 * the clock is looked at: after REDACT_CPU_US of one message, regular
 * expressions take each further string that is offered to them, whole.
 */
#include "codec/redact_int.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"

#define REDACT_MATCH_LIMIT	100000	/* PCRE2's, of one call */
#define REDACT_DEPTH_LIMIT	10000
#define REDACT_HEAP_KIB		4096
#define REDACT_STEPS		(UINT64_C(16) << 20)	/* of one stretch */
#define REDACT_STEPS_LOOK	(UINT64_C(64) << 20)	/* then: the clock */
#define REDACT_CALL_STEPS	1000	/* what a call costs in any case */
#define REDACT_CPU_US		250000
#define REDACT_SPANS_MAX	65536	/* in one text */

void
redact_push(struct redact_run *run, size_t from, size_t to,
    struct redact_act act, uint32_t order)
{
	/* So many in one text: all of it will go. */
	if (run->spans_n == REDACT_SPANS_MAX) {
		run->spans[0].act = act;
		run->overflow = true;
		return;
	}
	if (run->spans_n == run->spans_cap) {
		run->spans_cap = run->spans_cap == 0 ? 16 :
		    run->spans_cap * 2;
		run->spans = mem_grow(run->spans, run->spans_cap,
		    sizeof *run->spans);
	}
	run->spans[run->spans_n++] = (struct redact_span){ from, to, act,
		order };
}

/* A limit: all of the text goes. */
static void
redact_push_whole(struct redact_run *run, size_t n, struct redact_act act)
{
	run->counts[act.name].limits++;
	run->spans_n = 0;
	redact_push(run, 0, n, act, 0);
}

/* --- regular expressions --- */

/* Is there time for so many more steps? */
static bool
redact_has_time(struct redact_run *run, uint64_t steps)
{
	run->steps += steps + REDACT_CALL_STEPS;
	if (run->steps < REDACT_STEPS_LOOK)
		return true;
	run->steps = 0;
	int64_t now = run->cpu_us();
	if (run->cpu_begin < 0)
		run->cpu_begin = now;
	if (now - run->cpu_begin > REDACT_CPU_US)
		run->spent = true;
	return !run->spent;
}

/* How many letters may a match begin at, in one call? */
static size_t
redact_stretch(size_t left)
{
	size_t n = (size_t)(REDACT_STEPS / (left + 1));

	return n < 64 ? 64 : n;
}

/* All matches of one. Returns false when a limit was met. */
static bool
redact_regex(struct redact_run *run, const struct redact_regex *re,
    const uint8_t *s, size_t n, uint32_t order)
{
	const size_t *at = pcre2_get_ovector_pointer(run->match);
	size_t from = 0;

	if (run->spent)
		return false;
	while (from < n) {
		size_t left = n - from, step = redact_stretch(left);
		if (step > left)
			step = left;
		if (!redact_has_time(run, (uint64_t)step * left))
			return false;
		(void)pcre2_set_offset_limit(run->context, from + step);
		int r = pcre2_match(re->code, s, n, from,
		    PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, run->match,
		    run->context);
		if (r == PCRE2_ERROR_NOMATCH) {
			from += step + 1;
			while (from < n && (s[from] & 0xc0) == 0x80)
				from++;
			continue;
		}
		/* \K can put the start behind the end. */
		if (r < 0 || at[0] >= at[1] || at[1] > n)
			return false;
		redact_push(run, at[0], at[1], re->act, order);
		from = at[1];
	}
	return true;
}

/* --- all --- */

static int
redact_span_compare(const void *a, const void *b)
{
	const struct redact_span *x = a, *y = b;

	if (x->from != y->from)
		return x->from < y->from ? -1 : 1;
	return x->order < y->order ? -1 : x->order > y->order;
}

/* Sort, and make one of those that overlap: no end of a secret may stay. */
static void
redact_merge(struct redact_run *run)
{
	struct redact_span *v = run->spans;
	size_t n = 0;

	if (run->spans_n < 2)
		return;
	qsort(v, run->spans_n, sizeof *v, redact_span_compare);
	for (size_t i = 1; i < run->spans_n; i++) {
		if (v[i].from >= v[n].to) {
			v[++n] = v[i];
			continue;
		}
		if (v[i].to > v[n].to)
			v[n].to = v[i].to;
		if (v[i].act.action == REDACT_REMOVE)
			v[n].act = v[i].act;
	}
	run->spans_n = n + 1;
}

void
redact_match(struct redact_run *run, const uint8_t *s, size_t n,
    const struct redact_live *live, int depth)
{
	const struct redact *set = run->set;

	run->spans_n = 0;
	run->overflow = false;
	if (live != NULL)
		redact_pairs(run, s, n, live, depth);
	if (set->kinds != 0)
		redact_find(run, set->kinds, s, n);
	for (size_t i = 0; i < set->regexes_n; i++) {
		const struct redact_regex *re = &set->regexes[i];
		if (n < re->min_len || n == 0)
			continue;
		if (!redact_regex(run, re, s, n,
		    REDACT_KINDS + (uint32_t)i)) {
			redact_push_whole(run, n, re->act);
			return;
		}
	}
	if (run->overflow)
		redact_push_whole(run, n, run->spans[0].act);
	redact_merge(run);
}

/* --- the run --- */

struct redact_run *
redact_run_new(const struct redact *set)
{
	struct redact_run *run = mem_zalloc(sizeof *run);

	run->set = set;
	run->cpu_us = clock_cpu_us;
	run->cpu_begin = -1;
	run->counts = mem_zalloc(set->names_n * sizeof *run->counts);
	for (size_t i = 0; i < set->names_n; i++)
		run->counts[i].name = set->names[i];
	for (size_t i = 0; i < NELEM(run->level); i++) {
		buf_init(&run->level[i].plain, 0);
		buf_init(&run->level[i].edited, 0);
		buf_init(&run->level[i].text, 0);
	}
	buf_init(&run->cut, 0);
	if (set->regexes_n == 0)
		return run;
	run->match = pcre2_match_data_create(1, NULL);
	run->context = pcre2_match_context_create(NULL);
	/* Without one of its own, JIT has 32 KiB of the machine's stack. */
	run->stack = pcre2_jit_stack_create(16 * 1024, 256 * 1024, NULL);
	if (run->match == NULL || run->context == NULL)
		fatal("out of memory");
	(void)pcre2_set_match_limit(run->context, REDACT_MATCH_LIMIT);
	(void)pcre2_set_depth_limit(run->context, REDACT_DEPTH_LIMIT);
	(void)pcre2_set_heap_limit(run->context, REDACT_HEAP_KIB);
	pcre2_jit_stack_assign(run->context, NULL, run->stack);
	return run;
}

void
redact_run_free(struct redact_run *run)
{
	if (run == NULL)
		return;
	for (size_t i = 0; i < NELEM(run->level); i++) {
		buf_free(&run->level[i].plain);
		buf_free(&run->level[i].edited);
		buf_free(&run->level[i].text);
	}
	buf_free(&run->cut);
	pcre2_match_data_free(run->match);
	pcre2_match_context_free(run->context);
	pcre2_jit_stack_free(run->stack);
	free(run->spans);
	free(run->counts);
	free(run);
}

void
redact_run_begin(struct redact_run *run)
{
	run->cpu_begin = -1;
	run->steps = 0;
	run->spent = false;
}

struct redact_count
redact_run_count(const struct redact_run *run, size_t i)
{
	if (i >= run->set->names_n)
		return (struct redact_count){ 0 };
	return run->counts[i];
}

void
redact_run_set_clock(struct redact_run *run, int64_t (*fn)(void))
{
	run->cpu_us = fn;
}
