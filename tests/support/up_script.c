/* up_script: parses fault rules and decides by them; see the header. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/up_script.h"

enum up_when { WHEN_ALWAYS, WHEN_FROM, WHEN_EVERY, WHEN_RANDOM };

struct rule {
	enum up_when	 when;
	uint64_t	 from, to;	/* WHEN_FROM; from: also WHEN_EVERY */
	double		 p;
	uint64_t	 seen;		/* requests that matched the rest */
	int		 route;		/* -1: any */
	int		 zstd;		/* -1: any */
	long		 part;		/* 0: any */
	int		 taken;		/* -1: any */
	size_t		 over, decoded_over, events_over;
	char		 marker[64];
	struct up_fault	 fault;
};

struct up_script {
	struct rule	*rules;
	size_t		 n;
	uint64_t	 rng;
};

/* splitmix64 */
static uint64_t
next_random(uint64_t *s)
{
	uint64_t z = *s += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static bool
parse_when(struct rule *r, const char *v)
{
	char *end;

	if (strcmp(v, "always") == 0)
		return true;
	if (strncmp(v, "next:", 5) == 0) {
		r->when = WHEN_FROM;
		r->from = 1;
		r->to = strtoull(v + 5, &end, 10);
		return *end == '\0' && r->to > 0;
	}
	if (strncmp(v, "from:", 5) == 0) {
		r->when = WHEN_FROM;
		r->from = strtoull(v + 5, &end, 10);
		r->to = UINT64_MAX;
		if (*end == '-' && end[1] != '\0')
			r->to = strtoull(end + 1, &end, 10);
		else if (*end == '-')
			end++;
		return *end == '\0' && r->from > 0 && r->to >= r->from;
	}
	if (strncmp(v, "every:", 6) == 0) {
		r->when = WHEN_EVERY;
		r->from = strtoull(v + 6, &end, 10);
		return *end == '\0' && r->from > 0;
	}
	if (strncmp(v, "random:", 7) == 0) {
		r->when = WHEN_RANDOM;
		r->p = strtod(v + 7, &end);
		return *end == '\0' && r->p >= 0 && r->p <= 1;
	}
	return false;
}

static bool
parse_break(enum up_break *b, const char *v)
{
	*b = strcmp(v, "before") == 0 ? UP_BEFORE :
	    strcmp(v, "after") == 0 ? UP_AFTER : UP_NOT;
	return *b != UP_NOT;
}

static bool
parse_text(char *dst, size_t n, const char *v)
{
	return (size_t)snprintf(dst, n, "%s", v) < n;
}

static bool
parse_condition(struct rule *r, const char *k, const char *v, bool *ret_known)
{
	char none[1] = "", *end = none;

	*ret_known = true;
	if (strcmp(k, "when") == 0)
		return parse_when(r, v);
	if (strcmp(k, "route") == 0) {
		for (r->route = 0; r->route < UP_NOWHERE; r->route++)
			if (strcmp(v, up_route_name(
			    (enum up_route)r->route)) == 0)
				return true;
		return false;
	}
	if (strcmp(k, "encoding") == 0) {
		r->zstd = strcmp(v, "zstd") == 0;
		return r->zstd || strcmp(v, "none") == 0;
	}
	if (strcmp(k, "taken") == 0) {
		r->taken = strcmp(v, "1") == 0;
		return r->taken || strcmp(v, "0") == 0;
	}
	if (strcmp(k, "marker") == 0)
		return parse_text(r->marker, sizeof r->marker, v) &&
		    parse_text(r->fault.marker, sizeof r->fault.marker, v);
	if (strcmp(k, "over") == 0)
		r->over = strtoull(v, &end, 10);
	else if (strcmp(k, "decoded_over") == 0)
		r->decoded_over = strtoull(v, &end, 10);
	else if (strcmp(k, "events_over") == 0)
		r->events_over = strtoull(v, &end, 10);
	else if (strcmp(k, "part") == 0)
		r->part = strtol(v, &end, 10);
	else
		*ret_known = false;
	return *end == '\0';
}

static bool
parse_action(struct up_fault *f, const char *k, const char *v)
{
	char none[1] = "", *end = none;

	if (strcmp(k, "reset") == 0)
		return parse_break(&f->reset, v);
	if (strcmp(k, "stall") == 0)
		return parse_break(&f->stall, v);
	if (strcmp(k, "cut") == 0)
		return parse_break(&f->cut, v);
	if (strcmp(k, "retry_after") == 0) {
		bool ok = parse_text(f->retry_after, sizeof f->retry_after, v);
		char *p = f->retry_after;

		while ((p = strchr(p, '_')) != NULL)
			*p++ = ' ';
		return ok;
	}
	if (strcmp(k, "location") == 0)
		return parse_text(f->location, sizeof f->location, v);
	if (strcmp(k, "body") == 0)
		return parse_text(f->body, sizeof f->body, v);
	if (strcmp(k, "status") == 0)
		f->status = (int)strtol(v, &end, 10);
	else if (strcmp(k, "partial") == 0)
		f->partial = (int)strtol(v, &end, 10);
	else if (strcmp(k, "delay") == 0)
		f->delay_ms = (int)strtol(v, &end, 10);
	else if (strcmp(k, "close") == 0)
		f->close = strtol(v, &end, 10) != 0;
	else
		return false;
	return *end == '\0' && *v != '\0';
}

static bool
parse_line(struct up_script *s, char *line, char *key, char err[200])
{
	struct rule r = { .route = -1, .zstd = -1, .taken = -1 };
	bool settings = true, known;
	char *word, *v;

	while (line += strspn(line, " \t"), *line != '\0' && *line != '#') {
		bool rest = strncmp(line, "body=", 5) == 0;

		word = line;
		line += rest ? strlen(line) : strcspn(line, " \t");
		if (*line != '\0')
			*line++ = '\0';
		v = strchr(word, '=');
		if (v != NULL)
			*v++ = '\0';
		if (v != NULL && strcmp(word, "seed") == 0) {
			s->rng = strtoull(v, NULL, 10);
			continue;
		}
		if (v != NULL && strcmp(word, "key") == 0) {
			(void)snprintf(key, 200, "%s", v);
			continue;
		}
		settings = false;
		if (v == NULL || !(parse_condition(&r, word, v, &known) &&
		    (known || parse_action(&r.fault, word, v)))) {
			(void)snprintf(err, 200, "bad word: %.80s=%.80s", word,
			    v == NULL ? "" : v);
			return false;
		}
	}
	if (settings)
		return true;
	s->rules = realloc(s->rules, (s->n + 1) * sizeof r);
	if (s->rules == NULL)
		abort();
	s->rules[s->n++] = r;
	return true;
}

struct up_script *
up_script_parse(const char *text, char *key, char err[200])
{
	struct up_script *s = calloc(1, sizeof *s);
	char *copy = strdup(text), *at = copy, *line;

	if (s == NULL || copy == NULL)
		abort();
	s->rng = 1;
	while ((line = strsep(&at, "\n")) != NULL) {
		if (!parse_line(s, line, key, err)) {
			up_script_free(s);
			s = NULL;
			break;
		}
	}
	free(copy);
	return s;
}

void
up_script_free(struct up_script *s)
{
	if (s == NULL)
		return;
	free(s->rules);
	free(s);
}

static bool
rule_matches(struct rule *r, const struct up_request *rq, uint64_t *rng)
{
	if ((r->route >= 0 && r->route != (int)rq->route) ||
	    (r->zstd >= 0 && r->zstd != (int)rq->zstd) ||
	    (r->part != 0 && r->part != rq->part) ||
	    (r->taken >= 0 && r->taken != (int)rq->taken) ||
	    (r->over != 0 && rq->raw_len <= r->over) ||
	    (r->decoded_over != 0 && rq->body_len <= r->decoded_over) ||
	    (r->events_over != 0 && rq->events <= r->events_over) ||
	    (r->marker[0] != '\0' && strstr(rq->body, r->marker) == NULL))
		return false;
	r->seen++;
	switch (r->when) {
	case WHEN_FROM:
		return r->seen >= r->from && r->seen <= r->to;
	case WHEN_EVERY:
		return r->seen % r->from == 0;
	case WHEN_RANDOM:
		return (double)(next_random(rng) >> 11) * 0x1p-53 < r->p;
	case WHEN_ALWAYS:
		break;
	}
	return true;
}

void
up_script_decide(struct up_script *s, const struct up_request *rq,
    struct up_fault *ret)
{
	int delay_ms = 0;
	size_t i;

	memset(ret, 0, sizeof *ret);
	for (i = 0; s != NULL && i < s->n; i++) {
		const struct up_fault *f = &s->rules[i].fault;

		if (!rule_matches(&s->rules[i], rq, &s->rng))
			continue;
		delay_ms += f->delay_ms;
		if (f->status == 0 && f->partial == 0 && !f->close &&
		    f->reset == UP_NOT && f->stall == UP_NOT &&
		    f->cut == UP_NOT)
			continue;
		*ret = *f;
		break;
	}
	ret->delay_ms = delay_ms;
}
