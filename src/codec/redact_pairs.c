/*
 * redact_pairs: values in text that stand behind the name of a key that has a
 * rule and an equals sign: password='x', "password" => "x", --password=x, as
 * command lines, query strings, INI files, Perl, Ruby and PHP write them.
 *
 * It looks at equals signs only, and from there back to the name; so it costs
 * a memchr() where there are none. What a value is, is a guess that is rather
 * too long than too short: one without an end ends with the text.
 */
#include "codec/redact_int.h"

#include <string.h>
#include <strings.h>

#define PAIRS_KEY_MAX	256	/* bytes looked back over */

/* Before all patterns, where both begin at the same letter. */
#define PAIRS_ORDER	0

struct pairs {
	const uint8_t	*s;
	size_t		 n;
};

static bool
pairs_is_blank(uint8_t c)
{
	return c == ' ' || c == '\t';
}

static bool
pairs_is_key_letter(uint8_t c)
{
	return c == '_' || c == '-' || c >= 0x80 || (c >= '0' && c <= '9') ||
	    ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
}

static bool
pairs_is_quote(uint8_t c)
{
	return c == '"' || c == '\'' || c == '`';
}

/* The name that ends before s[at], quoted or bare. false: there is none. */
static bool
pairs_key(const struct pairs *p, size_t at, size_t *ret_from, size_t *ret_to)
{
	const uint8_t *s = p->s;
	size_t from, to, low;

	while (at > 0 && pairs_is_blank(s[at - 1]))
		at--;
	low = at > PAIRS_KEY_MAX ? at - PAIRS_KEY_MAX : 0;
	if (at > low && pairs_is_quote(s[at - 1])) {
		uint8_t quote = s[at - 1];

		to = at - 1;
		for (from = to; from > low && s[from - 1] != quote; from--)
			continue;
		if (from == low)
			return false;
		/* In a string of a string, a backslash is before it. */
		if (to > from && s[to - 1] == '\\')
			to--;
	} else {
		for (from = to = at; from > low &&
		    pairs_is_key_letter(s[from - 1]); from--)
			continue;
		/* --password=x */
		while (from < to && s[from] == '-')
			from++;
	}
	*ret_from = from;
	*ret_to = to;
	return to > from;
}

/* The text in quotes from here: up to its quote, or all there is. */
static size_t
pairs_quoted_end(const struct pairs *p, size_t at, uint8_t quote, bool escaped)
{
	for (; at < p->n; at++) {
		if (p->s[at] == quote)
			return at;
		if (p->s[at] != '\\')
			continue;
		if (escaped && at + 1 < p->n && p->s[at + 1] == quote)
			return at;
		at++;
	}
	return p->n;
}

/* A list or an object: behind its last bracket. */
static size_t
pairs_group_end(const struct pairs *p, size_t at)
{
	size_t open = 0;

	for (; at < p->n; at++) {
		uint8_t c = p->s[at];

		if (pairs_is_quote(c)) {
			at = pairs_quoted_end(p, at + 1, c, false);
		} else if (c == '{' || c == '[' || c == '(') {
			open++;
		} else if ((c == '}' || c == ']' || c == ')') && --open == 0) {
			return at + 1;
		}
	}
	return p->n;
}

static size_t
pairs_word_end(const struct pairs *p, size_t at)
{
	while (at < p->n && p->s[at] > ' ' &&
	    strchr(",;&|)]}\"'`<>\\", p->s[at]) == NULL)
		at++;
	return at;
}

/* "Basic dXNlcg==": the scheme is no secret, what follows is (RFC 9110 11.4). */
static size_t
pairs_bare_end(const struct pairs *p, size_t at)
{
	static const char *const schemes[] = { "basic", "bearer", "digest",
		"token" };
	size_t end = pairs_word_end(p, at);

	for (size_t i = 0; i < NELEM(schemes); i++) {
		size_t len = strlen(schemes[i]);

		if (end - at == len && end < p->n && p->s[end] == ' ' &&
		    strncasecmp((const char *)p->s + at, schemes[i], len) == 0)
			return pairs_word_end(p, end + 1);
	}
	return end;
}

/*
 * The value at s[at], without its quotes: [*ret_from, *ret_to); *ret_end is
 * behind them.
 */
static void
pairs_value(const struct pairs *p, size_t at, size_t *ret_from, size_t *ret_to,
    size_t *ret_end)
{
	const uint8_t *s = p->s;
	bool escaped = at + 1 < p->n && s[at] == '\\' &&
	    pairs_is_quote(s[at + 1]);

	if (escaped)
		at++;
	*ret_from = at;
	if (pairs_is_quote(s[at])) {
		*ret_from = at + 1;
		*ret_to = pairs_quoted_end(p, at + 1, s[at], escaped);
		*ret_end = *ret_to + (escaped ? 2 : 1);
		if (*ret_end > p->n)
			*ret_end = p->n;
		return;
	}
	*ret_to = s[at] == '{' || s[at] == '[' || s[at] == '(' ?
	    pairs_group_end(p, at) : pairs_bare_end(p, at);
	*ret_end = *ret_to;
}

/* The rule of a name that stands in a value at this place. */
static const struct redact_act *
pairs_rule(const struct redact *set, const struct redact_live *live, int depth,
    const uint8_t *key, size_t len)
{
	const struct redact_act *act = redact_key_rule(set, key, len);
	struct redact_live child;

	if (act == NULL && set->paths_n > 0)
		act = redact_live_child(set, live, depth, key, len, &child);
	return act;
}

/* At an equals sign; returns from where on to go on. */
static size_t
pairs_at(struct redact_run *run, const struct pairs *p, size_t at,
    const struct redact_live *live, int depth)
{
	size_t key, key_end, from, to, end, value = at + 1;
	const struct redact_act *act;

	/* What compares is no pair: == and =~; => and := are. */
	if (value < p->n && (p->s[value] == '=' || p->s[value] == '~'))
		return value + 1;
	if (value < p->n && p->s[value] == '>')
		value++;
	if (!pairs_key(p, at > 0 && p->s[at - 1] == ':' ? at - 1 : at, &key,
	    &key_end))
		return value;
	act = pairs_rule(run->set, live, depth, p->s + key, key_end - key);
	while (value < p->n && pairs_is_blank(p->s[value]))
		value++;
	if (act == NULL || value == p->n)
		return value;
	pairs_value(p, value, &from, &to, &end);
	if (to == from || redact_is_token(run, *act, p->s + from, to - from))
		return end > value ? end : value;
	if (act->action == REDACT_REMOVE)
		redact_push(run, key, end, (struct redact_act){ act->name,
		    REDACT_CUT }, PAIRS_ORDER);
	else
		redact_push(run, from, to, *act, PAIRS_ORDER);
	return end;
}

void
redact_pairs(struct redact_run *run, const uint8_t *s, size_t n,
    const struct redact_live *live, int depth)
{
	const struct redact *set = run->set;
	const struct pairs p = { s, n };

	if (set->keys_n + set->globs_n + set->paths_n == 0)
		return;
	for (size_t at = 0; at < n;) {
		const uint8_t *sign = memchr(s + at, '=', n - at);

		if (sign == NULL)
			return;
		at = pairs_at(run, &p, (size_t)(sign - s), live, depth);
	}
}
