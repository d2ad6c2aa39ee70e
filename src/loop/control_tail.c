/*
 * control_tail: GET /tail: events as they pass, each a line
 * {"runId":"...","event":{...}}.
 *
 * A tail is a window, not a tap: it never holds up the intake. Its buffer has
 * an end, and so has what it may cost in a second; what passes while either is
 * used up is counted, not looked at, and told as {"skipped":N}.
 */
#include <event2/http.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "codec/json.h"
#include "codec/jsonfind.h"
#include "core/engine.h"
#include "loop/control_int.h"

#define TAIL_BUFFER	(512u * 1024)	/* bytes */
#define TAIL_PER_S	(4u * 1024 * 1024)	/* bytes looked at */
#define TAIL_BURST	(1u * 1024 * 1024)
#define TAIL_WORD_MAX	128

struct control_tail {
	struct control_stream	 s;	/* first */
	struct control_tail	*next;
	struct buf		 out;
	uint64_t		 skipped;
	uint64_t		 budget;
	struct mono		 paid;	/* when the budget was filled up */
	size_t			 run_len;
	char			 run[EVENT_RUNID_MAX + 1];	/* "": all */
	char			 type[TAIL_WORD_MAX];
	char			 status[TAIL_WORD_MAX];
};

static bool
tail_wants(const struct control_tail *t, const char *json, size_t len)
{
	return (t->type[0] == '\0' ||
	    jsonfind_is(json, len, "type", t->type)) &&
	    (t->status[0] == '\0' ||
	    jsonfind_is(json, len, "status", t->status));
}

static void
tail_put(struct control_tail *t, const char *runid, const char *json,
    size_t len)
{
	buf_puts(&t->out, "{\"runId\":");
	json_put_string(&t->out, runid, strlen(runid));
	buf_puts(&t->out, ",\"event\":");
	buf_put(&t->out, json, len);
	buf_puts(&t->out, "}\n");
}

void
control_watch(struct control *c, const char *runid, const char *json,
    size_t len)
{
	if (c == NULL)
		return;
	for (struct control_tail *t = c->tails; t != NULL; t = t->next) {
		if (t->run[0] != '\0' && strcmp(t->run, runid) != 0)
			continue;
		/* In order: behind a gap nothing goes before it is told. */
		if (t->skipped > 0 || len > t->budget ||
		    (t->out.len > 0 && t->out.len + len > TAIL_BUFFER)) {
			t->skipped++;
			continue;
		}
		t->budget -= len;
		if (tail_wants(t, json, len))
			tail_put(t, runid, json, len);
	}
}

static enum control_fill
tail_fill(struct control_stream *s, struct buf *b, struct now now)
{
	struct control_tail *t = (struct control_tail *)s;
	int64_t us = now.mono.us - t->paid.us;

	if (us > 0) {
		t->paid = now.mono;
		t->budget += (uint64_t)us * TAIL_PER_S / 1000000;
		if (us >= 1000000 || t->budget > TAIL_BURST)
			t->budget = TAIL_BURST;
	}
	/* The buffer changes hands, so its memory is there once. */
	*b = t->out;
	buf_init(&t->out, 0);
	/* While there is no budget the gap only grows. */
	if (t->skipped > 0 && t->budget >= TAIL_BURST / 2) {
		buf_printf(b, "{\"skipped\":%llu}\n",
		    (unsigned long long)t->skipped);
		t->skipped = 0;
	}
	return CONTROL_WAIT;
}

static void
tail_free(struct control_stream *s)
{
	struct control_tail *t = (struct control_tail *)s;
	struct control_tail **at = &s->c->tails;

	while (*at != NULL && *at != t)
		at = &(*at)->next;
	if (*at != NULL)
		*at = t->next;
	buf_free(&t->out);
	free(t);
}

/* Copy a filter; false: the request was answered. */
static bool
tail_word(struct evhttp_request *req, struct evkeyvalq *query,
    const char *name, char dst[TAIL_WORD_MAX])
{
	const char *word = evhttp_find_header(query, name);

	if (word == NULL)
		return true;
	if (strlen(word) < TAIL_WORD_MAX) {
		(void)strcpy(dst, word);
		return true;
	}
	control_refuse(req, 400, "bad_filter", "a type or status to look for "
	    "has at most 127 bytes");
	return false;
}

void
control_do_tail(struct control *c, struct evhttp_request *req,
    struct evkeyvalq *query)
{
	const char *run;
	size_t len;

	if (!control_run_param(req, query, &run, &len))
		return;
	struct control_tail *t = mem_zalloc(sizeof *t);
	if (!tail_word(req, query, "type", t->type) ||
	    !tail_word(req, query, "status", t->status)) {
		free(t);
		return;
	}
	t->s.c = c;
	t->s.fill = tail_fill;
	t->s.free = tail_free;
	t->budget = TAIL_BURST;
	t->paid = clock_mono();
	buf_init(&t->out, 0);
	if (run != NULL)
		memcpy(t->run, run, len);
	t->next = c->tails;
	c->tails = t;
	control_stream_begin(c, req, &t->s);
}
