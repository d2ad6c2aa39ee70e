/*
 * http_multi: sockets and the timer of a libcurl multi handle. Owns the CURLM
 * and a table of the sockets; knows nothing of requests.
 */
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "loop/http_multi.h"
#include "loop/loop.h"

struct http_socket {
	struct http_multi	*hm;
	curl_socket_t		 fd;
	bool			 connection;	/* we see its close */
	bool			 taken;		/* ..., and do not close it */
	short			 want;		/* of libcurl; EV_READ, ... */
	short			 have;		/* registered */
	struct event		 ev;
	struct http_socket	*next;
};

struct http_multi {
	CURLM			*multi;
	struct loop		*loop;
	struct http_socket	*sockets;	/* a handful */
	struct event		 ev_timer;
	struct mono		 due;		/* libcurl's timer */
	struct mono		 armed;		/* ours; never later than due */
	bool			 kicked;	/* libcurl's timer is at 0 */
	void			(*done)(void *, CURL *, CURLcode);
	void			*arg;
};

/* --- sockets -------------------------------------------------------------- */

static struct http_socket *
http_socket_find(struct http_multi *hm, curl_socket_t fd)
{
	struct http_socket *hs;

	for (hs = hm->sockets; hs != NULL; hs = hs->next)
		if (hs->fd == fd)
			return hs;
	return NULL;
}

static void	on_socket(evutil_socket_t, short, void *);

static struct http_socket *
http_socket_add(struct http_multi *hm, curl_socket_t fd, bool connection)
{
	struct http_socket *hs = mem_zalloc(sizeof *hs);

	hs->hm = hm;
	hs->fd = fd;
	hs->connection = connection;
	hs->next = hm->sockets;
	hm->sockets = hs;
	return hs;
}

static void
http_socket_set(struct http_socket *hs, short what)
{
	if (hs->have == what)
		return;
	if (hs->have != 0)
		(void)event_del(&hs->ev);
	hs->have = what;
	if (what == 0)
		return;
	(void)event_assign(&hs->ev, loop_base(hs->hm->loop), hs->fd,
	    (short)(what | EV_PERSIST), on_socket, hs);
	/* On failure the request ends by its time limit. */
	if (event_add(&hs->ev, NULL) < 0)
		hs->have = 0;
}

static void
http_socket_remove(struct http_multi *hm, struct http_socket *hs)
{
	struct http_socket **p = &hm->sockets;

	http_socket_set(hs, 0);
	while (*p != hs)
		p = &(*p)->next;
	*p = hs->next;
	free(hs);
}

/* CURLOPT_OPENSOCKETFUNCTION */
static curl_socket_t
on_curl_open(void *arg, curlsocktype purpose, struct curl_sockaddr *addr)
{
	struct http_multi *hm = arg;
	int fd;

	if (purpose != CURLSOCKTYPE_IPCXN)
		return CURL_SOCKET_BAD;
	fd = socket(addr->family, addr->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK,
	    addr->protocol);
	if (fd < 0)
		return CURL_SOCKET_BAD;
	(void)http_socket_add(hm, fd, true);
	return fd;
}

/* CURLOPT_CLOSESOCKETFUNCTION */
static int
on_curl_close(void *arg, curl_socket_t fd)
{
	struct http_multi *hm = arg;
	struct http_socket *hs = http_socket_find(hm, fd);
	bool taken = hs != NULL && hs->taken;

	if (hs != NULL)
		http_socket_remove(hm, hs);
	return taken ? 0 : close(fd);
}

/* CURLMOPT_SOCKETFUNCTION */
static int
on_curl_watch(CURL *easy, curl_socket_t fd, int what, void *arg, void *unused)
{
	struct http_multi *hm = arg;
	struct http_socket *hs = http_socket_find(hm, fd);

	if (what == CURL_POLL_REMOVE) {
		if (hs == NULL)
			return 0;
		hs->want = 0;
		if (!hs->connection)
			http_socket_remove(hm, hs);
		else if (hs->have != EV_READ)
			http_socket_set(hs, 0);
		return 0;
	}
	if (hs == NULL)
		hs = http_socket_add(hm, fd, false);
	hs->want = (short)(((what & CURL_POLL_IN) != 0 ? EV_READ : 0) |
	    ((what & CURL_POLL_OUT) != 0 ? EV_WRITE : 0));
	http_socket_set(hs, hs->want);
	return 0;
}

/* --- running -------------------------------------------------------------- */

static void
http_multi_act(struct http_multi *hm, curl_socket_t fd, int bits)
{
	CURLMsg *msg;
	int n;

	/* The engine has a turn when a request ends, not for each step. */
	(void)curl_multi_socket_action(hm->multi, fd, bits, &n);
	while ((msg = curl_multi_info_read(hm->multi, &n)) != NULL)
		if (msg->msg == CURLMSG_DONE)
			hm->done(hm->arg, msg->easy_handle, msg->data.result);
}

static void
on_socket(evutil_socket_t fd, short what, void *arg)
{
	struct http_socket *hs = arg;

	if (hs->want == 0) {
		/*
		 * An idle connection was closed, or its server speaks out of
		 * turn. libcurl looks at it when it next wants to use it.
		 */
		http_socket_set(hs, 0);
		return;
	}
	http_multi_act(hs->hm, (curl_socket_t)fd,
	    ((what & EV_READ) != 0 ? CURL_CSELECT_IN : 0) |
	    ((what & EV_WRITE) != 0 ? CURL_CSELECT_OUT : 0));
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct http_multi *hm = arg;
	struct mono now = clock_mono();

	hm->armed = MONO_NEVER;
	if (now.us < hm->due.us) {
		loop_arm(&hm->ev_timer, &hm->armed, hm->due, now);
		return;
	}
	hm->due = MONO_NEVER;
	http_multi_act(hm, CURL_SOCKET_TIMEOUT, 0);
}

/* CURLMOPT_TIMERFUNCTION */
static int
on_curl_timer(CURLM *multi, long timeout_ms, void *arg)
{
	struct http_multi *hm = arg;
	struct mono now;

	hm->kicked = timeout_ms == 0;
	if (hm->kicked)
		loop_poke(hm->loop);
	if (timeout_ms <= 0) {
		hm->due = MONO_NEVER;
		return 0;
	}
	now = clock_mono();
	hm->due = mono_add_ms(now, timeout_ms);
	loop_arm(&hm->ev_timer, &hm->armed, hm->due, now);
	return 0;
}

void
http_multi_turn(struct http_multi *hm)
{
	/* Bounded: what a request's end starts may wait for the next turn. */
	for (int i = 0; i < 4 && hm->kicked; i++) {
		hm->kicked = false;
		http_multi_act(hm, CURL_SOCKET_TIMEOUT, 0);
	}
	if (hm->kicked)
		loop_poke(hm->loop);
}

/* --- life ----------------------------------------------------------------- */

struct http_multi *
http_multi_new(struct loop *loop, long connections,
    void (*done)(void *, CURL *, CURLcode), void *arg)
{
	struct http_multi *hm = mem_zalloc(sizeof *hm);
	CURLM *multi = curl_multi_init();

	if (multi == NULL) {
		free(hm);
		return NULL;
	}
	hm->multi = multi;
	hm->loop = loop;
	hm->due = hm->armed = MONO_NEVER;
	hm->done = done;
	hm->arg = arg;
	(void)evtimer_assign(&hm->ev_timer, loop_base(loop), on_timer, hm);
	(void)curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_curl_watch);
	(void)curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, hm);
	(void)curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
	(void)curl_multi_setopt(multi, CURLMOPT_TIMERDATA, hm);
	(void)curl_multi_setopt(multi, CURLMOPT_MAX_TOTAL_CONNECTIONS,
	    connections);
	(void)curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, connections);
	return hm;
}

void
http_multi_free(struct http_multi *hm)
{
	if (hm == NULL)
		return;
	(void)curl_multi_cleanup(hm->multi);
	while (hm->sockets != NULL)
		http_socket_remove(hm, hm->sockets);
	(void)event_del(&hm->ev_timer);
	free(hm);
}

CURLcode
http_multi_prepare(struct http_multi *hm, CURL *easy)
{
	CURLcode r;

	r = curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_curl_open);
	if (r == CURLE_OK)
		r = curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, hm);
	if (r == CURLE_OK)
		r = curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION,
		    on_curl_close);
	if (r == CURLE_OK)
		r = curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, hm);
	return r;
}

CURLMcode
http_multi_add(struct http_multi *hm, CURL *easy)
{
	return curl_multi_add_handle(hm->multi, easy);
}

void
http_multi_remove(struct http_multi *hm, CURL *easy)
{
	(void)curl_multi_remove_handle(hm->multi, easy);
}

int
http_multi_take(struct http_multi *hm, CURL *easy)
{
	curl_socket_t fd = CURL_SOCKET_BAD;
	struct http_socket *hs = NULL;

	if (curl_easy_getinfo(easy, CURLINFO_ACTIVESOCKET, &fd) == CURLE_OK &&
	    fd != CURL_SOCKET_BAD)
		hs = http_socket_find(hm, fd);
	if (hs != NULL) {
		http_socket_set(hs, 0);
		hs->taken = true;
	}
	/* libcurl keeps no such connection, but closes it with the handle. */
	http_multi_remove(hm, easy);
	return hs != NULL ? (int)fd : -1;
}
