/*
 * redact_name: rules that go by names: keys at any depth, and paths.
 *
 * Both ignore the case of ASCII letters: an agent that writes Authorization
 * where the configuration says authorization means the same secret.
 */
#include "codec/redact_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static inline uint8_t
redact_fold(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? c | 0x20 : c;
}

/* One letter of a glob at g[i]; a backslash takes its own away. */
static inline size_t
redact_glob_letter(const char *g, size_t n, size_t i, uint8_t *ret)
{
	size_t k = g[i] == '\\' && i + 1 < n ? 1 : 0;

	*ret = redact_fold((uint8_t)g[i + k]);
	return k + 1;
}

/*
 * The last star is the only one to go back to: what stands before it has
 * matched as early as it could. So the time is at most glob times text.
 */
bool
redact_glob(const char *g, size_t gn, const uint8_t *s, size_t n)
{
	size_t i = 0, j = 0, star = SIZE_MAX, again = 0;
	uint8_t c;

	while (j < n) {
		if (i < gn && g[i] == '*') {
			star = ++i;
			again = j;
			continue;
		}
		if (i < gn && g[i] == '?') {
			/* Any letter, of however many bytes. */
			i++;
			for (j++; j < n && (s[j] & 0xc0) == 0x80;)
				j++;
			continue;
		}
		size_t k = i < gn ? redact_glob_letter(g, gn, i, &c) : 0;
		if (k > 0 && c == redact_fold(s[j])) {
			i += k;
			j++;
			continue;
		}
		if (star == SIZE_MAX)
			return false;
		i = star;
		j = ++again;
	}
	while (i < gn && g[i] == '*')
		i++;
	return i == gn;
}

/* --- keys --- */

static bool
redact_same(const char *text, const uint8_t *s, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if ((uint8_t)text[i] != redact_fold(s[i]))
			return false;
	}
	return true;
}

const struct redact_act *
redact_key_rule(const struct redact *set, const uint8_t *key, size_t len)
{
	size_t row = len < REDACT_NAME_MAX ? len : REDACT_NAME_MAX;

	/* Most keys are no rule's, and are told by length and first letter. */
	if (len > 0 && (set->key_first[row] & 1u << (key[0] & 31)) != 0) {
		for (size_t i = 0; i < set->keys_n; i++) {
			const struct redact_key *k = &set->keys[i];
			if (k->len == len && redact_same(k->text, key, len))
				return &k->act;
		}
	}
	for (size_t i = 0; i < set->globs_n; i++) {
		const struct redact_key *k = &set->globs[i];
		if (redact_glob(k->text, k->len, key, len))
			return &k->act;
	}
	return NULL;
}

/* --- paths --- */

static bool
redact_seg_is(const struct redact_seg *seg, const uint8_t *name, size_t len)
{
	if (seg->len == 1 && seg->text[0] == '*')
		return true;
	return redact_glob(seg->text, seg->len, name, len);
}

/* The next part: up to a dot that no backslash stands before. */
static size_t
redact_path_part(const char *p)
{
	size_t n = 0;

	while (p[n] != '\0' && p[n] != '.')
		n += p[n] == '\\' && p[n + 1] != '\0' ? 2 : 1;
	return n;
}

static const char *const redact_roots[] = {
	[REDACT_EVENTS] = "events",
	[REDACT_CHANGE] = "change",
	[REDACT_POLICY] = "policy",
};

static bool
redact_root_is(const struct redact_seg *seg, size_t root)
{
	return redact_seg_is(seg, (const uint8_t *)redact_roots[root],
	    strlen(redact_roots[root]));
}

int
redact_path_parse(const char *text, struct redact_path *path, struct why *why)
{
	struct redact_path p = { 0 };
	bool rooted = false;

	for (const char *at = text;; at++) {
		size_t n = redact_path_part(at);
		if (n == 0) {
			redact_path_free(&p);
			return why_set(why, -EINVAL, "a part of the path is "
			    "empty; it is written as events.args.password");
		}
		p.segs = mem_grow(p.segs, p.n + 1, sizeof *p.segs);
		char *copy = mem_zalloc(n + 1);
		memcpy(copy, at, n);
		p.segs[p.n].text = copy;
		p.segs[p.n++].len = n;
		if (n == 2 && strcmp(copy, "**") == 0) {
			redact_path_free(&p);
			return why_set(why, -EINVAL, "** is no part of a "
			    "path; redact.keys finds a key at any depth");
		}
		at += n;
		if (*at == '\0')
			break;
	}
	for (size_t i = 0; i < NELEM(redact_roots); i++)
		rooted |= redact_root_is(&p.segs[0], i);
	if (!rooted || p.n < 2) {
		redact_path_free(&p);
		return why_set(why, -EINVAL, "a path begins with events, "
		    "change, policy or *, and goes on to a key: "
		    "events.args.password");
	}
	*path = p;
	return 0;
}

void
redact_path_free(struct redact_path *p)
{
	for (size_t i = 0; i < p->n; i++)
		free(p->segs[i].text);
	free(p->segs);
	p->segs = NULL;
	p->n = 0;
}

void
redact_live_root(const struct redact *set, enum redact_root root,
    struct redact_live *ret)
{
	memset(ret, 0, sizeof *ret);
	for (size_t i = 0; i < set->paths_n; i++) {
		if (redact_root_is(&set->paths[i].segs[0], root))
			ret->w[i / 64] |= UINT64_C(1) << i % 64;
	}
}

const struct redact_act *
redact_live_child(const struct redact *set, const struct redact_live *live,
    int depth, const uint8_t *name, size_t len, struct redact_live *ret)
{
	const struct redact_act *act = NULL;
	size_t next = (size_t)depth + 1;

	memset(ret, 0, sizeof *ret);
	for (size_t w = 0; w < REDACT_PATH_WORDS; w++) {
		for (uint64_t bits = live->w[w]; bits != 0; bits &= bits - 1) {
			size_t i = w * 64 + (size_t)__builtin_ctzll(bits);
			const struct redact_path *p = &set->paths[i];
			/* Those that ended further up do not live here. */
			if (next >= p->n ||
			    !redact_seg_is(&p->segs[next], name, len))
				continue;
			ret->w[w] |= UINT64_C(1) << i % 64;
			if (next + 1 == p->n && act == NULL)
				act = &p->act;
		}
	}
	return act;
}

const struct redact_act *
redact_stray_rule(const struct redact *set, const struct redact_live *live,
    int depth, const uint8_t *key, size_t len)
{
	const struct redact_act *act = redact_key_rule(set, key, len);

	for (size_t w = 0; act == NULL && w < REDACT_PATH_WORDS; w++) {
		for (uint64_t bits = live->w[w]; bits != 0; bits &= bits - 1) {
			const struct redact_path *p =
			    &set->paths[w * 64 + (size_t)__builtin_ctzll(bits)];

			if (p->n > (size_t)depth + 1 &&
			    redact_seg_is(&p->segs[p->n - 1], key, len))
				return &p->act;
		}
	}
	return act;
}
