/*
 * in_http_listen: the listeners of the local HTTP server: accepting, resting
 * when there are too many connections or no files, and moving to another
 * address.
 */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <event2/bufferevent.h>
#include <event2/listener.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "loop/http_page.h"
#include "loop/in_http_int.h"
#include "loop/listen.h"
#include "loop/loop.h"

#define IN_HTTP_COUNT_EACH	32
#define IN_HTTP_REST_MS		100	/* after running out of files */
#define IN_HTTP_RETIRE_MS	100	/* for the queue of an old listener */

size_t
in_http_count_files(void)
{
	DIR *d = opendir("/proc/self/fd");
	size_t n = 0;

	if (d == NULL)
		return 0;
	while (readdir(d) != NULL)
		n++;
	(void)closedir(d);	/* only read */
	return n;
}

void
in_http_enable(struct in_http *in, bool on)
{
	struct evconnlistener *lev;

	if (in->bound == NULL)
		return;
	lev = evhttp_bound_socket_get_listener(in->bound);
	if (on)
		(void)evconnlistener_enable(lev);
	else
		(void)evconnlistener_disable(lev);
}

static void
in_http_rest(struct in_http *in)
{
	const struct timeval tv = { .tv_usec = IN_HTTP_REST_MS * 1000 };

	in_http_enable(in, false);
	(void)evtimer_add(in->rest, &tv);
}

/*
 * evhttp neither limits nor counts its connections, and those that never send
 * a request are seen by nobody until they time out. So count files now and
 * then, and accept no more while there are too many beyond those that were
 * open at the start and those that the other inputs may have.
 */
static struct bufferevent *
on_connection(struct event_base *base, void *arg)
{
	struct in_http *in = arg;
	size_t others = in->files + in->conf->limits.connections +
	    2 * in->conf->upstream.connections;

	if (in->accepted++ % IN_HTTP_COUNT_EACH == 0 &&
	    in_http_count_files() > others + IN_HTTP_CONNECTIONS)
		in_http_rest(in);
	struct bufferevent *bev = http_conns_make(in->conns);
	if (bev != NULL)
		http_page_replace(bev);
	return bev;
}

static void
on_rest_over(evutil_socket_t fd, short what, void *arg)
{
	struct in_http *in = arg;

	in->accepted = 0;	/* the next one is counted again */
	if (!in->draining)
		in_http_enable(in, true);
}

/*
 * The server of this process: evhttp has its listeners' callbacks called with
 * itself, and can not be asked whose it is.
 */
static struct in_http *in_http_served;

/* Out of files: rest, instead of being woken for the same client for ever. */
static void
on_accept_error(struct evconnlistener *listener, void *evhttp)
{
	struct in_http *in = in_http_served;
	int err = errno;
	uint64_t n;

	assert(in != NULL && in->http == evhttp);
	in_http_rest(in);
	if (log_limit_hit(&in->limit, clock_mono().us, &n))
		log_error("accept_failed", LS("input", "http"),
		    LS("error", strerror(err)), LU("repeated", n));
}

static void
on_retired(evutil_socket_t fd, short what, void *arg)
{
	struct http_retired *rt = arg, **at = &rt->in->retired;

	while (*at != rt)
		at = &(*at)->next;
	*at = rt->next;
	evhttp_del_accept_socket(rt->in->http, rt->bound);
	event_free(rt->timer);
	free(rt);
}

static void
in_http_retire(struct in_http *in)
{
	const struct timeval tv = { .tv_usec = IN_HTTP_RETIRE_MS * 1000 };
	struct http_retired *rt;

	if (in->bound == NULL)
		return;
	in_http_enable(in, true);
	listen_tcp_shut(evhttp_bound_socket_get_fd(in->bound));
	rt = mem_zalloc(sizeof *rt);
	rt->in = in;
	rt->bound = in->bound;
	rt->next = in->retired;
	in->retired = rt;
	in->bound = NULL;
	rt->timer = evtimer_new(loop_base(in->loop), on_retired, rt);
	if (rt->timer == NULL)
		fatal("in_http: no memory for a timer");
	(void)evtimer_add(rt->timer, &tv);
}

int
in_http_listen(struct in_http *in, int fd)
{
	char name[128];

	in->bound = evhttp_accept_socket_with_handle(in->http, fd);
	if (in->bound == NULL) {
		(void)close(fd);
		return -ENOMEM;
	}
	evconnlistener_set_error_cb(evhttp_bound_socket_get_listener(
	    in->bound), on_accept_error);
	log_info("listening", LS("input", "http"),
	    LS("address", listen_name(fd, name, sizeof name)));
	return 0;
}

struct listen_unix
in_http_listener(const struct in_http *in)
{
	return (struct listen_unix){ .fd = in->bound == NULL ? -1 :
	    evhttp_bound_socket_get_fd(in->bound) };
}

void
in_http_swap(struct in_http *in, const struct listen_unix *sock)
{
	in_http_retire(in);
	if (sock->fd >= 0 && in_http_listen(in, sock->fd) < 0)
		log_error("listen_failed", LS("input", "http"),
		    LS("error", "no memory for the listener"));
}

void
in_http_bury_retired(struct in_http *in)
{
	while (in->retired != NULL)
		on_retired(-1, 0, in->retired);
}

int
in_http_prepare(struct in_http *in)
{
	in->rest = evtimer_new(loop_base(in->loop), on_rest_over, in);
	if (in->rest == NULL)
		return -ENOMEM;
	in_http_served = in;
	evhttp_set_bevcb(in->http, on_connection, in);
	return 0;
}

void
in_http_finish(struct in_http *in)
{
	in_http_served = NULL;
	if (in->rest != NULL)
		event_free(in->rest);
}
