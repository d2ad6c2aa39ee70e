/*
 * redact_walk: goes through JSON text and puts tokens in the place of what a
 * rule has found. It copies: all that no rule has found keeps its bytes, and
 * nothing is written before the first finding.
 *
 * It is meant for text that may be no JSON at all: a string of an event in
 * which a brace or a bracket stands. So it follows JSON as long as it is some,
 * takes single quotes for quotes and bare words for keys and values (as Python
 * and JavaScript print their objects), and where it can go on no longer, what
 * was found stays found and the search for the next brace goes on from there,
 * and for keys that have a rule: of paths that could lead there, the last part.
 * What ends too early ends with the text: a secret in JSON that was cut off is
 * still under its key.
 */
#include "codec/redact_int.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/json.h"

enum walk_result {
	WALK_OK,
	WALK_BAD,	/* no JSON from here on */
	WALK_GONE,	/* the value is to be removed by who holds it */
};

struct place;

struct walk {
	struct redact_run	*run;
	const uint8_t		*s;
	size_t			 n;
	size_t			 at;
	size_t			 copied;	/* of s, to out */
	struct buf		*out;
	bool			 changed;
	int			 level;
	/* Where all of the text stands, once places in it are lost. */
	const struct place	*lost;
};

/* Where the output stood, to take back what was written since. */
struct walk_mark {
	size_t			 len, copied;
	bool			 changed;
};

/* A value's place: paths that live there, and how deep that is. */
struct place {
	struct redact_live	 live;
	int			 depth;
};

static enum walk_result walk_value(struct walk *, const struct place *);

/* --- output ---------------------------------------------------------------- */

static struct walk_mark
walk_mark(const struct walk *w)
{
	return (struct walk_mark){ w->out->len, w->copied, w->changed };
}

static void
walk_back(struct walk *w, const struct walk_mark *m)
{
	w->out->len = m->len;
	w->copied = m->copied;
	w->changed = m->changed;
}

/* Leave out s[from..to); what is put now stands there. */
static void
walk_cut(struct walk *w, size_t from, size_t to)
{
	buf_put(w->out, w->s + w->copied, from - w->copied);
	w->copied = to;
	w->changed = true;
}

/* A token, which needs no escapes, as a string in place of s[from..to). */
static void
walk_token(struct walk *w, struct redact_act act, size_t from, size_t to,
    const uint8_t *p, size_t n)
{
	walk_cut(w, from, to);
	buf_putc(w->out, '"');
	redact_put_token(w->run, act, w->out, p, n);
	buf_putc(w->out, '"');
}

static void
walk_put_string(struct walk *w, size_t from, size_t to, const struct buf *text)
{
	walk_cut(w, from, to);
	json_put_string(w->out, (const char *)text->data, text->len);
}

/* --- input ----------------------------------------------------------------- */

/* The string whose quote is at `at`; its text is valid until the next. */
static struct redact_quoted
walk_quoted(struct walk *w, size_t at)
{
	struct buf *plain = &w->run->level[w->level].plain;

	struct redact_quoted q = redact_scan_quoted(w->s, w->n, at, plain);
	if (q.escaped && buf_error(plain) != 0)
		w->run->error = buf_error(plain);
	return q;
}

/* --- values ---------------------------------------------------------------- */

/* A rule of keys or paths takes the value at `at`, behind blanks. */
static enum walk_result
walk_take(struct walk *w, size_t at, const struct redact_act *act)
{
	size_t end = redact_scan_skip(w->s, w->n, at);

	w->at = end;
	if (act->action == REDACT_REMOVE) {
		w->run->counts[act->name].hits++;
		return WALK_GONE;
	}
	if (at < w->n && redact_scan_is_quote(w->s[at])) {
		struct redact_quoted q = walk_quoted(w, at);
		if (redact_is_token(w->run, *act, q.p, q.n))
			w->run->counts[act->name].hits++;
		else
			walk_token(w, *act, at, end, q.p, q.n);
		return WALK_OK;
	}
	while (end > at && redact_scan_blank(w->s, w->n, end - 1) >= end)
		end--;		/* blanks belong to nobody */
	walk_token(w, *act, at, end, w->s + at, end - at);
	return WALK_OK;
}

static enum walk_result
walk_string(struct walk *w, const struct place *pl)
{
	struct redact_quoted q = walk_quoted(w, w->at);
	const struct buf *text;
	size_t from = w->at;

	w->at = q.end;
	switch (redact_text(w->run, w->level + 1, q.p, q.n, &pl->live,
	    pl->depth, &text)) {
	case REDACT_SAME:
		break;
	case REDACT_CHANGED:
		walk_put_string(w, from, q.end, text);
		break;
	case REDACT_GONE:
		return WALK_GONE;
	}
	return WALK_OK;
}

/* A number is a text to patterns; written with an exponent, as what it is. */
static enum walk_result
walk_number(struct walk *w, size_t from, size_t end)
{
	struct redact_run *run = w->run;
	const uint8_t *p = w->s + from;
	size_t n = end - from;
	char text[64];

	if (n < sizeof text &&
	    (memchr(p, 'e', n) != NULL || memchr(p, 'E', n) != NULL)) {
		memcpy(text, p, n);
		text[n] = '\0';
		double d = strtod(text, NULL);
		if (isfinite(d) && fabs(d) < 1e20) {
			p = (const uint8_t *)text;
			n = (size_t)snprintf(text, sizeof text, "%.0f", d);
		}
	}
	redact_match(run, p, n, NULL, 0);
	if (run->spans_n == 0)
		return WALK_OK;
	for (size_t i = 0; i < run->spans_n; i++) {
		if (run->spans[i].act.action != REDACT_REMOVE)
			continue;
		run->counts[run->spans[i].act.name].hits++;
		return WALK_GONE;
	}
	walk_token(w, run->spans[0].act, from, end, p, n);
	return WALK_OK;
}

static enum walk_result
walk_scalar(struct walk *w)
{
	const struct redact *set = w->run->set;
	size_t from = w->at, end = redact_scan_bare(w->s, w->n, from);

	if (end == from)
		return WALK_BAD;
	w->at = end;
	uint8_t c = w->s[from];
	if ((c != '-' && (c < '0' || c > '9')) ||
	    (set->kinds == 0 && set->regexes_n == 0))
		return WALK_OK;
	return walk_number(w, from, end);
}

static enum walk_result
walk_array(struct walk *w, const struct place *pl)
{
	const struct redact *set = w->run->set;
	struct place child = { .depth = pl->depth + 1 };
	char index[24];

	w->at++;
	for (size_t i = 0;; i++) {
		w->at = redact_scan_blank(w->s, w->n, w->at);
		if (w->at == w->n)
			return WALK_BAD;
		if (w->s[w->at] == ']') {
			w->at++;
			return WALK_OK;
		}
		if (i > 0) {
			if (w->s[w->at] != ',')
				return WALK_BAD;
			w->at = redact_scan_blank(w->s, w->n, w->at + 1);
			if (w->at == w->n)
				return WALK_BAD;
		}
		struct walk_mark mark = walk_mark(w);
		const struct redact_act *act = NULL;
		size_t from = w->at;
		if (set->paths_n > 0) {
			int n = snprintf(index, sizeof index, "%zu", i);
			act = redact_live_child(set, &pl->live, pl->depth,
			    (const uint8_t *)index, (size_t)n, &child.live);
		}
		enum walk_result r = act != NULL ? walk_take(w, from, act) :
		    walk_value(w, &child);
		if (r == WALK_GONE) {
			walk_back(w, &mark);
			walk_cut(w, from, w->at);
			buf_puts(w->out, "null");
		} else if (r == WALK_BAD) {
			return r;
		}
	}
}

static bool
walk_is_key_letter(uint8_t c)
{
	return c == '_' || c == '$' || c == '-' || (c >= '0' && c <= '9') ||
	    ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
}

/* A key without quotes, as JavaScript prints its objects. */
static bool
walk_bare_key(const struct walk *w, size_t at, struct redact_quoted *ret)
{
	size_t end = at;

	while (end < w->n && walk_is_key_letter(w->s[end]))
		end++;
	*ret = (struct redact_quoted){ .p = w->s + at, .n = end - at,
	    .end = end };
	end = redact_scan_blank(w->s, w->n, end);
	return ret->n > 0 && end < w->n && w->s[end] == ':';
}

/* The key at w->at: its rule, and its own text redacted. */
static enum walk_result
walk_key(struct walk *w, const struct place *pl, struct place *child,
    const struct redact_act **ret)
{
	const struct redact *set = w->run->set;
	const struct redact_act *act = NULL;
	const struct buf *text;
	size_t from = w->at;
	struct redact_quoted q;

	if (redact_scan_is_quote(w->s[from]))
		q = walk_quoted(w, from);
	else if (!walk_bare_key(w, from, &q))
		return WALK_BAD;
	w->at = q.end;
	if (set->keys_n + set->globs_n > 0)
		act = redact_key_rule(set, q.p, q.n);
	if (set->paths_n > 0) {
		const struct redact_act *by_path = redact_live_child(set,
		    &pl->live, pl->depth, q.p, q.n, &child->live);
		if (act == NULL)
			act = by_path;
		if (act == NULL && w->lost != NULL)
			act = redact_stray_rule(set, &w->lost->live,
			    w->lost->depth, q.p, q.n);
	}
	*ret = act;
	switch (redact_text(w->run, w->level + 1, q.p, q.n, &child->live,
	    child->depth, &text)) {
	case REDACT_SAME:
		break;
	case REDACT_CHANGED:
		walk_put_string(w, from, q.end, text);
		break;
	case REDACT_GONE:
		return WALK_GONE;
	}
	return WALK_OK;
}

/* One pair. WALK_GONE: it is to be left out, up to w->at. */
static enum walk_result
walk_pair(struct walk *w, const struct place *pl)
{
	struct place child = { .depth = pl->depth + 1 };
	const struct redact_act *act;

	enum walk_result key = walk_key(w, pl, &child, &act);
	if (key == WALK_BAD)
		return key;
	w->at = redact_scan_blank(w->s, w->n, w->at);
	if (w->at == w->n || w->s[w->at] != ':')
		return WALK_BAD;
	w->at = redact_scan_blank(w->s, w->n, w->at + 1);
	if (key == WALK_GONE) {
		w->at = redact_scan_skip(w->s, w->n, w->at);
		return key;
	}
	if (w->at == w->n)
		return WALK_BAD;
	return act != NULL ? walk_take(w, w->at, act) :
	    walk_value(w, &child);
}

/*
 * A pair that is left out takes the comma before it with it; where no pair
 * was kept so far, the one behind it.
 */
static enum walk_result
walk_object(struct walk *w, const struct place *pl)
{
	size_t kept = 0;

	w->at++;
	for (size_t i = 0;; i++) {
		w->at = redact_scan_blank(w->s, w->n, w->at);
		if (w->at == w->n)
			return WALK_BAD;
		if (w->s[w->at] == '}') {
			w->at++;
			return WALK_OK;
		}
		size_t comma = w->at;
		if (i > 0) {
			if (w->s[comma] != ',')
				return WALK_BAD;
			if (kept == 0)
				walk_cut(w, comma, comma + 1);
			w->at = redact_scan_blank(w->s, w->n, comma + 1);
			if (w->at == w->n)
				return WALK_BAD;
		}
		struct walk_mark mark = walk_mark(w);
		size_t from = w->at;
		enum walk_result r = walk_pair(w, pl);
		if (r == WALK_GONE) {
			walk_back(w, &mark);
			walk_cut(w, kept > 0 ? comma : from, w->at);
		} else if (r == WALK_OK) {
			kept++;
		} else {
			return r;
		}
	}
}

/* The value at w->at, which is no blank. */
static enum walk_result
walk_value(struct walk *w, const struct place *pl)
{
	static const struct redact_act deep = { REDACT_NAME_DEEP,
		REDACT_REPLACE };
	struct redact_run *run = w->run;
	enum walk_result r;
	uint8_t c = w->s[w->at];

	if (redact_scan_is_quote(c))
		return walk_string(w, pl);
	if (c != '{' && c != '[')
		return walk_scalar(w);
	if (run->depth == REDACT_DEPTH)
		return walk_take(w, w->at, &deep);
	run->depth++;
	r = c == '{' ? walk_object(w, pl) : walk_array(w, pl);
	run->depth--;
	return r;
}

/* --- texts ----------------------------------------------------------------- */

/* Does what stands here look as if JSON began? */
static bool
walk_looks(const struct walk *w, size_t at)
{
	size_t next = redact_scan_blank(w->s, w->n, at + 1);
	struct redact_quoted q;

	if (next == w->n)
		return false;
	uint8_t c = w->s[next];
	if (redact_scan_is_quote(c))
		return true;
	if (w->s[at] == '{')
		return walk_bare_key(w, next, &q);
	return c == '{' || c == '[' || c == '-' || (c >= '0' && c <= '9') ||
	    ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
}

/*
 * JSON that stands in the text with the escapes of a string, as in
 * args="{\"a\":1}": from its bracket on, up to a quote without a backslash.
 */
static enum walk_result
walk_escaped(struct walk *w, const struct place *pl)
{
	struct buf *plain = &w->run->level[w->level].plain;
	size_t from = w->at, end = from;
	const struct buf *text;

	while (end < w->n && w->s[end] != '"')
		end += w->s[end] == '\\' ? 2 : 1;
	end = end < w->n ? end : w->n;
	w->at = end;
	buf_reset(plain, SIZE_MAX);
	redact_scan_unescape(plain, w->s + from, end - from);
	if (buf_error(plain) != 0) {
		w->run->error = buf_error(plain);
		return WALK_OK;
	}
	switch (redact_text(w->run, w->level + 1, plain->data, plain->len,
	    &pl->live, pl->depth, &text)) {
	case REDACT_SAME:
		break;
	case REDACT_CHANGED:
		walk_cut(w, from, end);
		json_put_escaped(w->out, (const char *)text->data, text->len);
		break;
	case REDACT_GONE:
		return WALK_GONE;
	}
	return WALK_OK;
}

/*
 * Behind what was no JSON, as the (1, 2) of Python or a comment: is here a key
 * that has a rule? Then its value goes, and w->at is behind it.
 */
static bool
walk_stray(struct walk *w, size_t at)
{
	const struct redact *set = w->run->set;
	const struct redact_act *act;
	uint8_t before = at > 0 ? w->s[at - 1] : 0;
	struct redact_quoted q;

	if (set->keys_n + set->globs_n + set->paths_n == 0)
		return false;
	if (redact_scan_is_quote(w->s[at])) {
		if (before == '\\')
			return false;
		q = walk_quoted(w, at);
	} else if (!walk_is_key_letter(w->s[at]) ||
	    walk_is_key_letter(before) || !walk_bare_key(w, at, &q)) {
		return false;
	}
	size_t colon = redact_scan_blank(w->s, w->n, q.end);
	if (colon == w->n || w->s[colon] != ':' ||
	    (act = redact_stray_rule(set, &w->lost->live, w->lost->depth,
	    q.p, q.n)) == NULL)
		return false;
	size_t value = redact_scan_blank(w->s, w->n, colon + 1);
	if (value == w->n)
		return false;
	if (walk_take(w, value, act) == WALK_GONE)
		walk_cut(w, at, w->at);
	return w->at > at;
}

/* All that looks like JSON in the text. */
static enum walk_result
walk_through(struct walk *w, const struct place *pl)
{
	size_t at = redact_scan_blank(w->s, w->n, 0);
	enum walk_result r;

	/* All of it may be a string of JSON, with JSON in it. */
	if (at < w->n && w->s[at] == '"') {
		w->at = at;
		if (walk_value(w, pl) == WALK_GONE)
			return WALK_GONE;
		at = w->at;
	}
	while (at < w->n) {
		/* What was redacted before is no JSON, but for its bracket. */
		size_t token = w->s[at] == '[' ?
		    redact_token_at(w->s + at, w->n - at) : 0;
		if (token > 0) {
			at += token;
			continue;
		}
		if (w->lost != NULL && walk_stray(w, at)) {
			at = w->at;
			continue;
		}
		if (w->s[at] != '{' && w->s[at] != '[') {
			at++;
			continue;
		}
		size_t next = redact_scan_blank(w->s, w->n, at + 1);
		w->at = at;
		if (next < w->n && w->s[next] == '\\')
			r = walk_escaped(w, pl);
		else
			r = walk_looks(w, at) ? walk_value(w, pl) : WALK_BAD;
		if (r == WALK_GONE)
			return r;
		if (r == WALK_BAD && (w->s[at] == '{' || w->at > at))
			w->lost = pl;
		at = w->at > at ? w->at : at + 1;
	}
	return WALK_OK;
}

enum redact_result
redact_walk(struct redact_run *run, int level, const uint8_t *s, size_t n,
    const struct redact_live *live, int depth, bool is_event, struct buf *out)
{
	struct walk w = { .run = run, .s = s, .n = n, .out = out,
		.level = level };
	const struct place pl = { *live, depth };
	enum walk_result r;

	buf_reset(out, SIZE_MAX);
	r = is_event ? walk_value(&w, &pl) : walk_through(&w, &pl);
	/* An event is JSON of our own writing; else it goes no further. */
	if (is_event && (r != WALK_OK || w.at != n))
		run->error = -EBADMSG;
	if (buf_error(out) != 0)
		run->error = buf_error(out);
	if (r == WALK_GONE)
		return REDACT_GONE;
	if (!w.changed)
		return REDACT_SAME;
	buf_put(out, s + w.copied, n - w.copied);
	if (buf_error(out) != 0)
		run->error = buf_error(out);
	return REDACT_CHANGED;
}

#define REDACT_KEEP	(64 * 1024)	/* bytes of each buffer */
#define REDACT_KEEP_SPANS 1024

/* Give back what a large event has taken. */
static void
redact_trim(struct redact_run *run)
{
	for (size_t i = 0; i < NELEM(run->level); i++) {
		buf_reset(&run->level[i].plain, REDACT_KEEP);
		buf_reset(&run->level[i].edited, REDACT_KEEP);
		buf_reset(&run->level[i].text, REDACT_KEEP);
	}
	buf_reset(&run->cut, REDACT_KEEP);
	if (run->spans_cap > REDACT_KEEP_SPANS) {
		free(run->spans);
		run->spans = NULL;
		run->spans_cap = 0;
	}
}

int
redact_event(struct redact_run *run, enum redact_root root, struct buf *json,
    size_t from)
{
	struct redact_live live;
	struct buf *out = &run->level[0].edited;

	if (buf_error(json) != 0)
		return buf_error(json);
	run->depth = 0;
	run->error = 0;
	for (size_t i = 0; i < NELEM(run->level); i++) {
		run->level[i].plain.max = json->max;
		run->level[i].edited.max = json->max;
		run->level[i].text.max = json->max;
	}
	redact_live_root(run->set, root, &live);
	enum redact_result r = redact_walk(run, 0, json->data + from,
	    json->len - from, &live, 0, true, out);
	int e = run->error;
	if (e == 0 && r == REDACT_CHANGED) {
		json->len = from;
		buf_put(json, out->data, out->len);
		e = buf_error(json);
	}
	redact_trim(run);
	return e;
}
