/*
 * control_list: what there is: open runs, one run's events, batches that wait.
 *
 * GET /spool answers with frames: a line of JSON {"batch":{...}} for each
 * batch; where bodies were asked for, pieces of it follow, each a line
 * {"piece":N} and N bytes, and after the last a line {"piece":0}, or
 * {"gone":true} where the batch has left the spool meanwhile. The last line is
 * {"end":true} or {"error":"..."}.
 */
#include <errno.h>
#include <event2/http.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "codec/event.h"
#include "core/ask_json.h"
#include "core/engine.h"
#include "loop/control_int.h"
#include "loop/loop.h"

#define LIST_RUNS_MAX	1000

/* A number; false: the request was answered. */
static bool
list_number(struct evhttp_request *req, struct evkeyvalq *query,
    const char *name, uint64_t max, uint64_t *ret)
{
	const char *text = evhttp_find_header(query, name);
	char *end;

	if (text == NULL)
		return true;
	errno = 0;
	unsigned long long v = strtoull(text, &end, 10);
	if (errno == 0 && *end == '\0' && text[0] >= '0' && text[0] <= '9' &&
	    v <= max) {
		*ret = v;
		return true;
	}
	control_refuse(req, 400, "bad_number", "a parameter is no number, or "
	    "too large");
	return false;
}

/* --- open runs ------------------------------------------------------------ */

static void
list_put_runs(struct control *c, struct buf *b, const struct engine_run *runs,
    size_t n, bool more)
{
	struct engine_status st;

	engine_status(loop_engine(c->loop), clock_now(), &st);
	buf_printf(b, "{\"open\":%llu,\"runs\":[",
	    (unsigned long long)st.open_runs);
	for (size_t i = 0; i < n; i++) {
		buf_puts(b, i > 0 ? ",\n" : "\n");
		ask_json_run(b, &runs[i]);
	}
	buf_puts(b, "]");
	if (more) {
		buf_printf(b, ",\"next\":{\"mark\":%llu,",
		    (unsigned long long)runs[n - 1].mark);
		ask_json_text(b, "run", runs[n - 1].runid,
		    runs[n - 1].runid_len);
		buf_putc(b, '}');
	}
	buf_puts(b, "}\n");
}

/* The largest: all have to be looked at, some in each turn. */
struct list_top {
	struct control_stream	 s;	/* first */
	struct engine_top	*top;
	size_t			 n;
};

static enum control_fill
top_fill(struct control_stream *s, struct buf *b, struct now now)
{
	struct list_top *l = (struct list_top *)s;
	struct engine *e = loop_engine(s->c->loop);

	if (engine_top_step(e, l->top))
		return CONTROL_MORE;
	struct engine_run *runs = mem_alloc((l->n + 1) * sizeof *runs);
	size_t got = engine_top_get(e, l->top, now, runs);
	list_put_runs(s->c, b, runs, got, false);
	free(runs);
	return CONTROL_END;
}

static void
top_free(struct control_stream *s)
{
	struct list_top *l = (struct list_top *)s;

	engine_top_free(l->top);
	free(l);
}

static void
list_do_top(struct control *c, struct evhttp_request *req,
    enum engine_order order, size_t n)
{
	struct list_top *l = mem_zalloc(sizeof *l);

	l->s.fill = top_fill;
	l->s.free = top_free;
	l->top = engine_top_begin(order, n);
	l->n = n;
	control_stream_begin(c, req, &l->s);
}

void
control_do_runs(struct control *c, struct evhttp_request *req,
    struct evkeyvalq *query)
{
	const char *by = evhttp_find_header(query, "by");
	enum engine_order order = ENGINE_BY_AGE;
	struct engine_page page = { 0 };
	uint64_t n = 100;
	struct buf b;

	if (by != NULL && !engine_order_parse(by, &order)) {
		control_refuse(req, 400, "bad_order", "runs are listed by age, "
		    "recent, events or bytes");
		return;
	}
	if (!list_number(req, query, "limit", LIST_RUNS_MAX, &n) ||
	    !list_number(req, query, "mark", UINT64_MAX, &page.mark) ||
	    !control_run_param(req, query, &page.runid, &page.runid_len))
		return;
	if (order == ENGINE_BY_EVENTS || order == ENGINE_BY_BYTES) {
		list_do_top(c, req, order, (size_t)n);
		return;
	}
	if (page.runid == NULL)
		page.runid = "";
	struct engine_run *runs = mem_alloc((n + 1) * sizeof *runs);
	size_t got = engine_runs(loop_engine(c->loop), order, &page,
	    clock_now(), runs, n + 1);
	bool more = got > n && n > 0 && order == ENGINE_BY_AGE;
	buf_init(&b, 0);
	list_put_runs(c, &b, runs, got > n ? n : got, more);
	free(runs);
	control_send(req, 200, &b);
}

/* --- one run -------------------------------------------------------------- */

struct list_run {
	struct control_stream	 s;	/* first */
	uint64_t		 lsn;	/* of the event told last */
	size_t			 len;
	char			 runid[EVENT_RUNID_MAX + 1];
};

static enum control_fill
run_fill(struct control_stream *s, struct buf *b, struct now now)
{
	struct list_run *l = (struct list_run *)s;
	struct why why = { "" };
	int r = engine_run_events(loop_engine(s->c->loop), l->runid, l->len,
	    &l->lsn, b, CONTROL_PIECE, &why);

	if (r > 0)
		return CONTROL_MORE;
	if (r == 0) {
		buf_puts(b, "{\"end\":true}\n");
	} else if (r == -ENOENT) {
		buf_puts(b, "{\"sealed\":true}\n");
	} else {
		buf_putc(b, '{');
		ask_json_text(b, "error", why.text, strlen(why.text));
		buf_puts(b, "}\n");
	}
	return CONTROL_END;
}

static void
run_free(struct control_stream *s)
{
	free(s);
}

/* The head of the answer. */
static enum control_fill
run_fill_first(struct control_stream *s, struct buf *b, struct now now)
{
	struct list_run *l = (struct list_run *)s;
	struct engine_run run;

	s->fill = run_fill;
	if (!engine_run_find(loop_engine(s->c->loop), l->runid, l->len, now,
	    &run))
		return run_fill(s, b, now);
	buf_puts(b, "{\"run\":");
	ask_json_run(b, &run);
	buf_puts(b, "}\n");
	return CONTROL_MORE;
}

void
control_do_run(struct control *c, struct evhttp_request *req,
    struct evkeyvalq *query)
{
	struct engine_run run;
	const char *id;
	size_t len;

	if (!control_run_param(req, query, &id, &len))
		return;
	if (id == NULL || !engine_run_find(loop_engine(c->loop), id, len,
	    clock_now(), &run)) {
		control_refuse(req, 404, "no_such_run", "no run of that id is "
		    "open; what was sealed of it waits in the spool, or was "
		    "delivered");
		return;
	}
	struct list_run *l = mem_zalloc(sizeof *l);
	l->s.fill = run_fill_first;
	l->s.free = run_free;
	l->len = len;
	memcpy(l->runid, id, len);
	control_stream_begin(c, req, &l->s);
}

/* --- batches that wait ---------------------------------------------------- */

struct list_spool {
	struct control_stream	 s;	/* first */
	struct engine_walk	 walk;
	struct engine_batch	 batch;	/* whose body is being told */
	bool			 bodies;
	bool			 in_body;
	uint32_t		 off;
	uint64_t		 limit;	/* batches left; 0: it is over */
	uint64_t		 seq;	/* of `id`; 0: any */
	bool			 has_run;
	size_t			 run_len;
	char			 run[EVENT_RUNID_MAX + 1];
	char			 id[SPOOL_ID_MAX];
};

/* The sequence number that a batch's id ends in; 0: it is none. */
static uint64_t
spool_id_seq(const char *id, bool *ret_record)
{
	const char *dash = strrchr(id, '-');

	if (dash == NULL || strlen(id) >= SPOOL_ID_MAX)
		return 0;
	*ret_record = dash[1] == 'r';
	return strtoull(dash + 1 + *ret_record, NULL, 10);
}

/* The next piece of the body. */
static void
spool_fill_body(struct list_spool *l, struct buf *b)
{
	uint32_t left = l->batch.ref.body_len - l->off;
	uint32_t n = left < CONTROL_PIECE ? left : CONTROL_PIECE;
	struct why why;
	uint8_t *dst;

	if (n == 0) {
		buf_puts(b, "{\"piece\":0}\n");
		l->in_body = false;
		return;
	}
	size_t before = b->len;
	buf_printf(b, "{\"piece\":%u}\n", n);
	dst = buf_room(b, n);
	if (dst == NULL)
		return;
	if (engine_batch_body(loop_engine(l->s.c->loop), &l->batch, l->off,
	    dst, n, &why) < 0) {
		b->len = before;
		buf_puts(b, "{\"gone\":true}\n");
		l->in_body = false;
		return;
	}
	b->len += n;
	l->off += n;
}

static void
spool_put_batch(struct list_spool *l, struct buf *b, struct now now)
{
	buf_puts(b, "{\"batch\":");
	ask_json_batch(b, &l->batch, now);
	buf_puts(b, "}\n");
	l->limit--;
	l->in_body = l->bodies;
	l->off = 0;
}

static enum control_fill
spool_fill(struct control_stream *s, struct buf *b, struct now now)
{
	struct list_spool *l = (struct list_spool *)s;
	struct engine *e = loop_engine(s->c->loop);
	struct why why = { "" };
	int r = 1;

	while (r == 1 && b->len < CONTROL_PIECE && b->error == 0) {
		if (l->in_body) {
			spool_fill_body(l, b);
			continue;
		}
		r = l->limit == 0 ? 0 : engine_walk_next(e, &l->walk, l->seq,
		    l->has_run ? l->run : NULL, l->run_len, &l->batch, &why);
		if (r == 1 && (l->id[0] == '\0' ||
		    strcmp(l->id, l->batch.b.id) == 0))
			spool_put_batch(l, b, now);
	}
	if (r == 1 || r == -EAGAIN)
		return CONTROL_MORE;
	if (r == 0) {
		buf_puts(b, "{\"end\":true}\n");
	} else {
		buf_putc(b, '{');
		ask_json_text(b, "error", why.text, strlen(why.text));
		buf_puts(b, "}\n");
	}
	return CONTROL_END;
}

void
control_do_spool(struct control *c, struct evhttp_request *req,
    struct evkeyvalq *query)
{
	const char *id = evhttp_find_header(query, "id"), *run;
	uint64_t limit = UINT64_MAX, seq = 0;
	bool record = false;
	size_t len;

	if (!list_number(req, query, "limit", UINT64_MAX, &limit) ||
	    !control_run_param(req, query, &run, &len))
		return;
	if (id != NULL && (seq = spool_id_seq(id, &record)) == 0) {
		control_refuse(req, 400, "bad_id", "that cannot be the id of a "
		    "batch; spool ls tells them");
		return;
	}
	struct list_spool *l = mem_zalloc(sizeof *l);
	l->s.fill = spool_fill;
	l->s.free = run_free;
	l->bodies = evhttp_find_header(query, "bodies") != NULL;
	l->limit = id != NULL ? 1 : limit;
	l->seq = seq;
	l->walk.runs = (id != NULL && !record) || run != NULL;
	if (id != NULL)
		(void)strcpy(l->id, id);
	l->has_run = run != NULL;
	l->run_len = len;
	if (run != NULL)
		memcpy(l->run, run, len);
	control_stream_begin(c, req, &l->s);
}
