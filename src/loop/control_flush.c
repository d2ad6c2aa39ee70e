/*
 * control_flush: POST /flush: a line whenever the state has changed, its own or
 * the upstream's, and once a second; the last line's state is "done", or "held"
 * when nothing moves before somebody acts.
 */
#include <event2/http.h>
#include <stdlib.h>

#include "base/mem.h"
#include "core/ask_json.h"
#include "core/engine.h"
#include "loop/control_int.h"
#include "loop/loop.h"

#define FLUSH_LINE_MS	1000
#define FLUSH_NEWS_MS	50	/* between lines under load */

struct control_flush {
	struct control_stream	 s;	/* first */
	struct engine_flush	*flush;
	struct engine_flush_status st;	/* as told last */
	const char		*upstream;	/* its state, as told last */
	bool			 told;
	bool			 wait;	/* also where it is held */
	struct mono		 at;
};

static bool
flush_is_same(const struct engine_flush_status *a,
    const struct engine_flush_status *b)
{
	return a->state == b->state && a->held == b->held &&
	    a->events == b->events && a->delivered == b->delivered &&
	    a->dead == b->dead && a->dropped == b->dropped;
}

static enum control_fill
flush_fill(struct control_stream *s, struct buf *b, struct now now)
{
	struct control_flush *f = (struct control_flush *)s;
	struct engine *e = loop_engine(s->c->loop);
	struct engine_flush_status st;
	struct engine_status es;

	engine_flush_status(e, f->flush, now, &st);
	bool end = st.state == ENGINE_FLUSH_DONE || (st.held && !f->wait);
	bool rests = f->told && !end;
	int64_t ms = mono_sub_ms(now.mono, f->at);
	if (rests && ms < FLUSH_NEWS_MS)
		return CONTROL_WAIT;
	engine_status(e, now, &es);
	if (rests && ms < FLUSH_LINE_MS && f->upstream == es.upstream &&
	    flush_is_same(&st, &f->st))
		return CONTROL_WAIT;
	f->told = true;
	f->st = st;
	f->upstream = es.upstream;
	f->at = now.mono;
	ask_json_flush(b, &st, &es);
	buf_putc(b, '\n');
	return end ? CONTROL_END : CONTROL_WAIT;
}

static void
flush_free(struct control_stream *s)
{
	struct control_flush *f = (struct control_flush *)s;

	engine_flush_end(loop_engine(f->s.c->loop), f->flush);
	free(f);
}

void
control_do_flush(struct control *c, struct evhttp_request *req,
    struct evkeyvalq *query)
{
	const char *run;
	size_t len;

	if (!control_run_param(req, query, &run, &len))
		return;
	struct engine_flush *flush = engine_flush_begin(loop_engine(c->loop),
	    run, len, clock_now());
	loop_wake(c->loop);
	if (flush == NULL) {
		control_refuse(req, 404, "no_such_run", "no run of that id is "
		    "open; what was sealed of it waits in the spool, or was "
		    "delivered");
		return;
	}
	struct control_flush *f = mem_zalloc(sizeof *f);
	f->s.c = c;
	f->s.fill = flush_fill;
	f->s.free = flush_free;
	f->flush = flush;
	f->wait = evhttp_find_header(query, "wait") != NULL;
	control_stream_begin(c, req, &f->s);
}
