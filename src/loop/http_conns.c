/*
 * http_conns: a reference is kept on each bufferevent. evhttp takes its
 * callbacks off when it gives one up; that is seen at the end of the turn, and
 * the last reference goes, which closes the socket. A callback on its input
 * counts what comes in.
 *
 * A connection that is thrown out is answered past evhttp, which would answer
 * whole requests only. Its socket lingers for a little, or the answer would
 * be lost to what the client is still sending.
 */
#include "loop/http_conns.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "loop/loop.h"

#define HTTP_CONNS_TICK_MS	1000
#define HTTP_CONNS_LINGER_S	2
#define HTTP_CONNS_LINGERS	32	/* more are closed at once */

struct http_conn {
	struct http_conn	*next;
	struct http_conns	*hc;
	struct bufferevent	*bev;
	size_t			 held;	/* of a request that is not whole */
	struct mono		 since;	/* ..., its first byte */
	/*
	 * The one before is whole, and may not be answered yet: evhttp reads
	 * no more until it is. Who is thrown out now would take the goodbye
	 * for its answer, and evhttp would leave the request to nobody.
	 */
	bool			 serving;
};

/* A socket whose client was told to go. */
struct http_linger {
	struct http_linger	*next;
	struct http_conns	*hc;
	int			 fd;
	struct event		 ev;
	struct mono		 end;
};

struct http_conns {
	struct loop		*loop;
	struct http_conn	*conns;
	struct http_linger	*lingers;
	size_t			 lingers_n;
	size_t			 held;	/* of all */
	struct event		 ev_tick;
	bool			 ticking;
	struct log_limit	 limit;
};

/* --- lingering ------------------------------------------------------------- */

static void
http_linger_free(struct http_linger *li)
{
	struct http_linger **at = &li->hc->lingers;

	while (*at != li)
		at = &(*at)->next;
	*at = li->next;
	li->hc->lingers_n--;
	(void)event_del(&li->ev);
	(void)close(li->fd);
	free(li);
}

static void
on_linger(evutil_socket_t fd, short what, void *arg)
{
	struct http_linger *li = arg;
	char junk[16 * 1024];

	if ((what & EV_READ) == 0 || recv(fd, junk, sizeof junk, 0) <= 0 ||
	    clock_mono().us >= li->end.us)
		http_linger_free(li);
}

/* fd is this one's from now on. */
static void
http_linger_new(struct http_conns *hc, int fd)
{
	const struct timeval tv = { .tv_sec = HTTP_CONNS_LINGER_S };
	struct http_linger *li = mem_zalloc(sizeof *li);

	li->hc = hc;
	li->fd = fd;
	li->end = mono_add_ms(clock_mono(), HTTP_CONNS_LINGER_S * 1000);
	li->next = hc->lingers;
	hc->lingers = li;
	hc->lingers_n++;
	(void)event_assign(&li->ev, loop_base(hc->loop), fd,
	    EV_READ | EV_PERSIST, on_linger, li);
	if (event_add(&li->ev, &tv) < 0)
		http_linger_free(li);
}

/* --- throwing out ---------------------------------------------------------- */

static const struct http_goodbye {
	const char	*status, *header, *code, *sentence;
} http_goodbyes[] = {
	{ "503 Service Unavailable", "Retry-After: 1\r\n", "no_memory",
	    "too many bytes of unfinished requests, of which this one has the "
	    "most" },
	{ "408 Request Timeout", "", "too_slow",
	    "the request was not whole within 30 s and its bytes at 16 KiB a "
	    "second" },
};

enum { HTTP_GOODBYE_FULL, HTTP_GOODBYE_SLOW };

static void
http_conn_forget(struct http_conn *c)
{
	c->hc->held -= c->held;
	c->held = 0;
}

static void
http_conn_throw_out(struct http_conn *c, int which)
{
	const struct http_goodbye *g = &http_goodbyes[which];
	struct http_conns *hc = c->hc;
	int fd = fcntl(bufferevent_getfd(c->bev), F_DUPFD_CLOEXEC, 0);
	char body[256], text[512];
	uint64_t times;
	int n;

	if (log_limit_hit(&hc->limit, clock_mono().us, &times))
		log_warn("http_client_cut", LS("code", g->code),
		    LS("error", g->sentence), LU("bytes", c->held),
		    LU("repeated", times));
	if (fd >= 0) {
		n = snprintf(body, sizeof body, "{\"error\":{\"code\":\"%s\","
		    "\"message\":\"%s\"}}\n", g->code, g->sentence);
		n = snprintf(text, sizeof text, "HTTP/1.1 %s\r\nContent-Type: "
		    "application/json\r\nContent-Length: %d\r\n%s"
		    "Connection: close\r\n\r\n%s", g->status, n, g->header,
		    body);
		/* An answer that finds no room is not worth waiting for. */
		(void)!send(fd, text, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT);
		(void)shutdown(fd, SHUT_WR);
		if (hc->lingers_n < HTTP_CONNS_LINGERS)
			http_linger_new(hc, fd);
		else
			(void)close(fd);
	}
	http_conn_forget(c);
	/* As if the client had gone: evhttp frees what it has of it. */
	bufferevent_trigger_event(c->bev, BEV_EVENT_READING | BEV_EVENT_EOF,
	    0);
}

static void
http_conns_shed(struct http_conns *hc)
{
	while (hc->held > HTTP_CONNS_BYTES) {
		struct http_conn *worst = NULL;

		for (struct http_conn *c = hc->conns; c != NULL; c = c->next)
			if (c->held > 0 && !c->serving &&
			    (worst == NULL || c->held > worst->held))
				worst = c;
		/* What is read ahead of an answer is one read each. */
		if (worst == NULL)
			return;
		http_conn_throw_out(worst, HTTP_GOODBYE_FULL);
	}
}

/* --- turns and time -------------------------------------------------------- */

/* Has evhttp given it up? */
static bool
http_conn_is_gone(const struct http_conn *c)
{
	bufferevent_data_cb on_read, on_write;
	bufferevent_event_cb on_event;

	bufferevent_getcb(c->bev, &on_read, &on_write, &on_event, NULL);
	return on_read == NULL && on_write == NULL && on_event == NULL;
}

static HOT void
on_turn(void *arg)
{
	struct http_conns *hc = arg;
	struct http_conn **at = &hc->conns, *c;

	http_conns_shed(hc);
	while ((c = *at) != NULL) {
		if (!http_conn_is_gone(c)) {
			at = &c->next;
			continue;
		}
		*at = c->next;
		http_conn_forget(c);
		(void)bufferevent_decref(c->bev);
		free(c);
	}
}

static void
http_conns_need_tick(struct http_conns *hc)
{
	const struct timeval tv = { .tv_sec = HTTP_CONNS_TICK_MS / 1000 };

	if (!hc->ticking && evtimer_add(&hc->ev_tick, &tv) == 0)
		hc->ticking = true;
}

static void
on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct http_conns *hc = arg;
	struct mono now = clock_mono();

	hc->ticking = false;
	for (struct http_conn *c = hc->conns; c != NULL; c = c->next) {
		int64_t ms = HTTP_CONNS_MS +
		    (int64_t)(c->held * 1000 / HTTP_CONNS_RATE);

		if (c->held > 0 && !c->serving &&
		    mono_sub_ms(now, c->since) > ms)
			http_conn_throw_out(c, HTTP_GOODBYE_SLOW);
	}
	if (hc->held > 0)
		http_conns_need_tick(hc);
}

static void
http_conn_count(struct http_conn *c, size_t n)
{
	if (n == 0)
		return;
	if (c->held == 0)
		c->since = clock_mono();
	c->held += n;
	c->hc->held += n;
	http_conns_need_tick(c->hc);
}

static void
on_input(struct evbuffer *b, const struct evbuffer_cb_info *info, void *arg)
{
	struct http_conn *c = arg;

	/* It is read again, so the answer is given, if not all of it written. */
	if (c->serving && info->n_added > 0) {
		c->serving = false;
		c->since = clock_mono();
	}
	http_conn_count(c, info->n_added);
}

/* --- life ------------------------------------------------------------------ */

struct http_conns *
http_conns_new(struct loop *loop)
{
	struct http_conns *hc = mem_zalloc(sizeof *hc);

	hc->loop = loop;
	(void)evtimer_assign(&hc->ev_tick, loop_base(loop), on_tick, hc);
	loop_add_hook(loop, on_turn, hc);
	return hc;
}

void
http_conns_free(struct http_conns *hc)
{
	struct http_conn *c;

	if (hc == NULL)
		return;
	while ((c = hc->conns) != NULL) {
		hc->conns = c->next;
		(void)bufferevent_decref(c->bev);
		free(c);
	}
	while (hc->lingers != NULL)
		http_linger_free(hc->lingers);
	(void)event_del(&hc->ev_tick);
	free(hc);
}

struct bufferevent *
http_conns_make(struct http_conns *hc)
{
	struct bufferevent *bev = bufferevent_socket_new(loop_base(hc->loop),
	    -1, BEV_OPT_CLOSE_ON_FREE);
	struct http_conn *c;

	if (bev == NULL)
		return NULL;
	c = mem_zalloc(sizeof *c);
	c->hc = hc;
	c->bev = bev;
	if (evbuffer_add_cb(bufferevent_get_input(bev), on_input, c) == NULL) {
		bufferevent_free(bev);
		free(c);
		return NULL;
	}
	bufferevent_incref(bev);
	c->next = hc->conns;
	hc->conns = c;
	return bev;
}

void
http_conns_whole(struct http_conns *hc, struct bufferevent *bev)
{
	for (struct http_conn *c = hc->conns; c != NULL; c = c->next) {
		if (c->bev != bev)
			continue;
		http_conn_forget(c);
		c->serving = true;
		/* The next request may have begun already. */
		http_conn_count(c,
		    evbuffer_get_length(bufferevent_get_input(bev)));
		return;
	}
}
