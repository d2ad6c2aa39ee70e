/*
 * control_stream: answers of many pieces. A piece is made when the one before
 * is in the kernel's hands, so an answer takes one piece's memory, however long
 * it is and however slowly it is read.
 *
 * While an answer is written, libevent does not read the connection: that the
 * client has gone shows in a failing write only. So where there is nothing to
 * say an empty line is sent now and then, which clients pass over.
 */
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/http.h>
#include <stdlib.h>

#include "config.h"
#include "base/clock.h"
#include "loop/control_int.h"
#include "loop/loop.h"

#define STREAM_BEAT_MS	1000
#define STREAM_END_S	30

static void
on_stream_close(struct evhttp_connection *conn, void *arg)
{
	struct control_stream *s = arg;

	s->gone = true;
}

static void
on_stream_written(struct evhttp_connection *conn, void *arg)
{
	struct control_stream *s = arg;

	s->busy = false;
	loop_poke(s->c->loop);
}

void
control_stream_begin(struct control *c, struct evhttp_request *req,
    struct control_stream *s)
{
	struct evkeyvalq *head = evhttp_request_get_output_headers(req);
	struct evhttp_connection *conn = evhttp_request_get_connection(req);

	if (c->streams_n >= CONTROL_STREAMS_MAX || c->draining) {
		control_refuse(req, 503, "too_many", c->draining ? "lumnid is "
		    "stopping" : "too many lumnictl are at it already");
		s->free(s);
		return;
	}
	s->c = c;
	s->req = req;
	s->next = c->streams;
	c->streams = s;
	c->streams_n++;
	/* It may be silent, and it may be read as slowly as one likes. */
	bufferevent_set_timeouts(evhttp_connection_get_bufferevent(conn),
	    NULL, NULL);
	evhttp_connection_set_closecb(conn, on_stream_close, s);
	(void)evhttp_add_header(head, "Content-Type", "application/x-ndjson");
	(void)evhttp_add_header(head, "Server", "lumnid/" PACKAGE_VERSION);
	/* The next request comes on a connection with its timeouts. */
	(void)evhttp_add_header(head, "Connection", "close");
	evhttp_send_reply_start(req, 200, "OK");
	loop_poke(c->loop);
}

/* Take it out of the list and let it go. */
static void
stream_end(struct control_stream *s)
{
	const struct timeval end = { .tv_sec = STREAM_END_S };
	struct control_stream **at = &s->c->streams;
	struct evhttp_connection *conn = evhttp_request_get_connection(s->req);

	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
	s->c->streams_n--;
	if (conn != NULL) {
		/* Who does not read the rest in time does not get it. */
		bufferevent_set_timeouts(evhttp_connection_get_bufferevent(
		    conn), NULL, &end);
		evhttp_connection_set_closecb(conn, NULL, NULL);
	}
	/* Without its connection this only frees the request. */
	evhttp_send_reply_end(s->req);
	s->free(s);
}

void
control_stream_end_all(struct control *c)
{
	while (c->streams != NULL)
		stream_end(c->streams);
}

/* false: it has ended. */
static bool
stream_write(struct control_stream *s, struct now now)
{
	struct buf b;

	buf_init(&b, 0);
	enum control_fill r = s->fill(s, &b, now);
	if (b.len == 0 && r == CONTROL_WAIT &&
	    mono_sub_ms(now.mono, s->wrote) >= STREAM_BEAT_MS)
		buf_putc(&b, '\n');
	struct evbuffer *out = b.len > 0 ? evbuffer_new() : NULL;
	if (out != NULL && evbuffer_add(out, b.data, b.len) == 0) {
		s->busy = true;
		s->wrote = now.mono;
		evhttp_send_reply_chunk_with_cb(s->req, out,
		    on_stream_written, s);
	}
	bool lost = b.error != 0 || (b.len > 0 && out == NULL);
	if (out != NULL)
		evbuffer_free(out);
	buf_free(&b);
	if (r == CONTROL_END || lost) {
		stream_end(s);
		return false;
	}
	if (r == CONTROL_MORE && !s->busy)
		loop_poke(s->c->loop);
	return true;
}

void
control_stream_turn(void *arg)
{
	struct control *c = arg;
	struct control_stream *s, *next;
	struct now now;

	if (c->streams == NULL)
		return;
	now = clock_now();
	for (s = c->streams; s != NULL; s = next) {
		next = s->next;
		if (s->gone || c->draining)
			stream_end(s);
		else if (!s->busy)
			(void)stream_write(s, now);
	}
}
