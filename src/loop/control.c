/*
 * control: the listener, who may use it, and the short requests. The long
 * answers are in control_tail.c, control_flush.c and control_list.c.
 */
#include "loop/control.h"

#include <assert.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "config.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "codec/json.h"
#include "core/ask_json.h"
#include "loop/control_int.h"
#include "loop/loop.h"

#define CONTROL_TIMEOUT_S	30
#define CONTROL_HEADERS_MAX	(16 * 1024)
#define CONTROL_BODY_MAX	1024
#define CONTROL_TICK_MS		250
#define CONTROL_REST_MS		100	/* after running out of files */

static const char *const control_levels[] = {
	[LOG_LEVEL_ERROR] = "error", [LOG_LEVEL_WARN] = "warn",
	[LOG_LEVEL_INFO] = "info", [LOG_LEVEL_DEBUG] = "debug",
};

static const char *
control_level(void)
{
	size_t i = LOG_LEVEL_ERROR;

	while (i < LOG_LEVEL_DEBUG && log_enabled((enum log_level)(i + 1)))
		i++;
	return control_levels[i];
}

/* --- answers -------------------------------------------------------------- */

static const char *
control_reason(int status)
{
	switch (status) {
	case 200:
		return "OK";
	case 400:
		return "Bad Request";
	case 403:
		return "Forbidden";
	case 404:
		return "Not Found";
	case 405:
		return "Method Not Allowed";
	case 409:
		return "Conflict";
	case 503:
		return "Service Unavailable";
	}
	return "Error";
}

void
control_send(struct evhttp_request *req, int status, struct buf *b)
{
	struct evkeyvalq *head = evhttp_request_get_output_headers(req);
	struct evbuffer *out = evbuffer_new();

	/* Without memory for a header the answer is short of it, no more. */
	(void)evhttp_add_header(head, "Content-Type", "application/json");
	(void)evhttp_add_header(head, "Server", "lumnid/" PACKAGE_VERSION);
	if (out != NULL && buf_error(b) == 0)
		(void)evbuffer_add(out, b->data, b->len);
	else
		status = 503;
	evhttp_send_reply(req, status, control_reason(status), out);
	if (out != NULL)
		evbuffer_free(out);
	buf_free(b);
}

void
control_refuse(struct evhttp_request *req, int status, const char *code,
    const char *message)
{
	struct buf b;

	buf_init(&b, 0);
	buf_printf(&b, "{\"error\":{\"code\":\"%s\",", code);
	ask_json_text(&b, "message", message, strlen(message));
	buf_puts(&b, "}}\n");
	control_send(req, status, &b);
}

bool
control_run_param(struct evhttp_request *req, struct evkeyvalq *query,
    const char **ret, size_t *ret_len)
{
	const char *run = evhttp_find_header(query, "run");

	*ret = run;
	*ret_len = run != NULL ? strlen(run) : 0;
	if (run == NULL || (*ret_len > 0 && *ret_len <= EVENT_RUNID_MAX &&
	    json_is_clean(run, *ret_len)))
		return true;
	control_refuse(req, 400, "bad_run", "that cannot be the id of a run: "
	    "it has 1 to 256 bytes of UTF-8, and no control characters");
	return false;
}

/* --- short requests ------------------------------------------------------- */

static void
control_do_status(struct control *c, struct evhttp_request *req,
    struct evkeyvalq *query)
{
	struct buf b;

	buf_init(&b, 0);
	c->env.status(c->env.arg, &b);
	/* More members go before its closing brace. */
	while (b.len > 0 && b.data[b.len - 1] != '}')
		b.len--;
	if (b.len > 0)
		b.len--;
	buf_puts(&b, ",");
	ask_json_more(&b, loop_engine(c->loop), &c->rates, clock_now());
	buf_printf(&b, ",\"pid\":%ld,\"log_level\":\"%s\",", (long)getpid(),
	    control_level());
	ask_json_text(&b, "config", c->conf->file != NULL ? c->conf->file : "",
	    c->conf->file != NULL ? strlen(c->conf->file) : 0);
	buf_putc(&b, ',');
	ask_json_text(&b, "storage_dir", c->conf->storage.dir,
	    strlen(c->conf->storage.dir));
	buf_putc(&b, ',');
	ask_json_text(&b, "upstream_url", c->conf->upstream.url,
	    strlen(c->conf->upstream.url));
	buf_puts(&b, "}\n");
	control_send(req, 200, &b);
}

static void
control_pause(struct control *c, struct evhttp_request *req, bool pause)
{
	struct buf b;

	engine_pause(loop_engine(c->loop), pause, clock_now());
	loop_wake(c->loop);
	buf_init(&b, 0);
	buf_printf(&b, "{\"paused\":%s}\n", pause ? "true" : "false");
	control_send(req, 200, &b);
}

static void
control_do_pause(struct control *c, struct evhttp_request *req,
    struct evkeyvalq *query)
{
	control_pause(c, req, true);
}

static void
control_do_resume(struct control *c, struct evhttp_request *req,
    struct evkeyvalq *query)
{
	control_pause(c, req, false);
}

static void
control_do_reload(struct control *c, struct evhttp_request *req,
    struct evkeyvalq *query)
{
	struct why why = { "" };
	struct buf b;

	if (c->env.reload(c->env.arg, &why) < 0) {
		control_refuse(req, 409, "reload_failed", why.text);
		return;
	}
	buf_init(&b, 0);
	buf_putc(&b, '{');
	ask_json_text(&b, "config", c->conf->file != NULL ? c->conf->file : "",
	    c->conf->file != NULL ? strlen(c->conf->file) : 0);
	buf_putc(&b, ',');
	/* What took effect, and what will with the next start. */
	ask_json_text(&b, "restart_needed", why.text, strlen(why.text));
	buf_puts(&b, "}\n");
	control_send(req, 200, &b);
}

static void
control_do_log_level(struct control *c, struct evhttp_request *req,
    struct evkeyvalq *query)
{
	const char *want = evhttp_find_header(query, "level");
	size_t i = 0;
	struct buf b;

	while (i < NELEM(control_levels) &&
	    (want == NULL || strcmp(want, control_levels[i]) != 0))
		i++;
	if (i == NELEM(control_levels)) {
		control_refuse(req, 400, "bad_level", "the level is error, "
		    "warn, info or debug");
		return;
	}
	log_set_level((enum log_level)i);
	log_info("log_level", LS("level", control_levels[i]));
	buf_init(&b, 0);
	buf_printf(&b, "{\"level\":\"%s\"}\n", control_level());
	control_send(req, 200, &b);
}

/* --- the server ----------------------------------------------------------- */

static const struct control_route {
	const char	*path;
	bool		 post;	/* it changes something */
	void		(*fn)(struct control *, struct evhttp_request *,
			    struct evkeyvalq *);
} control_routes[] = {
	{ "/status", false, control_do_status },
	{ "/runs", false, control_do_runs },
	{ "/run", false, control_do_run },
	{ "/tail", false, control_do_tail },
	{ "/spool", false, control_do_spool },
	{ "/flush", true, control_do_flush },
	{ "/pause", true, control_do_pause },
	{ "/resume", true, control_do_resume },
	{ "/reload", true, control_do_reload },
	{ "/log-level", true, control_do_log_level },
};

/* The file's mode keeps others out already; a mode can be changed. */
static bool
control_is_allowed(struct evhttp_request *req)
{
	struct evhttp_connection *conn = evhttp_request_get_connection(req);
	struct ucred cred;
	socklen_t len = sizeof cred;
	int fd = bufferevent_getfd(evhttp_connection_get_bufferevent(conn));

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 &&
	    (cred.uid == 0 || cred.uid == geteuid());
}

static void
control_dispatch(struct control *c, struct evhttp_request *req,
    const struct control_route *rt)
{
	const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(req);
	const char *text = evhttp_uri_get_query(uri);
	bool post = evhttp_request_get_command(req) == EVHTTP_REQ_POST;
	struct evkeyvalq query;

	if (post != rt->post) {
		control_refuse(req, 405, "bad_method", rt->post ? "use POST" :
		    "use GET");
		return;
	}
	if (evhttp_parse_query_str(text != NULL ? text : "", &query) < 0) {
		control_refuse(req, 400, "bad_query", "the query is none");
		return;
	}
	rt->fn(c, req, &query);
	evhttp_clear_headers(&query);
}

static void
on_control_request(struct evhttp_request *req, void *arg)
{
	struct control *c = arg;
	const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(req);
	const char *path = uri != NULL ? evhttp_uri_get_path(uri) : NULL;

	loop_poke(c->loop);
	if (!control_is_allowed(req)) {
		control_refuse(req, 403, "forbidden", "only root and the user "
		    "that runs lumnid may use the control socket");
		return;
	}
	for (size_t i = 0; path != NULL && i < NELEM(control_routes); i++)
		if (strcmp(path, control_routes[i].path) == 0) {
			control_dispatch(c, req, &control_routes[i]);
			return;
		}
	control_refuse(req, 404, "bad_path", "lumnid " PACKAGE_VERSION
	    " knows no such request");
}

/* What /status tells of the last seconds. */
static HOT void
control_note_rates(struct control *c)
{
	struct engine_flow flow = engine_flow(loop_engine(c->loop));

	rates_note(&c->rates, clock_mono(), (const uint64_t[RATES_N]){
	    [RATES_EVENTS] = flow.accepted,
	    [RATES_BYTES] = flow.bytes,
	    [RATES_DELIVERED] = flow.delivered });
}

/* The turn that this is part of ends with control_turn(). */
static void
on_control_tick(evutil_socket_t fd, short what, void *arg)
{
	struct control *c = arg;

	c->ticking = false;
}

static HOT void
control_turn(void *arg)
{
	struct control *c = arg;
	const struct timeval tv = { .tv_usec = CONTROL_TICK_MS * 1000 };

	if (c->http == NULL)
		return;
	control_note_rates(c);
	control_stream_turn(c);
	if (c->streams != NULL && !c->ticking)
		c->ticking = evtimer_add(&c->ev_tick, &tv) == 0;
}

/*
 * The server of this process: evhttp has its listeners' callbacks called with
 * itself, and can not be asked whose it is.
 */
static struct control *control_served;

/* Out of files: rest, instead of being woken for the same client for ever. */
static void
on_control_accept_error(struct evconnlistener *listener, void *evhttp)
{
	struct control *c = control_served;
	const struct timeval tv = { .tv_usec = CONTROL_REST_MS * 1000 };
	int err = errno;
	uint64_t n;

	assert(c != NULL && c->http == evhttp);
	(void)evconnlistener_disable(listener);
	(void)evtimer_add(&c->ev_rest, &tv);
	if (log_limit_hit(&c->limit, clock_mono().us, &n))
		log_error("accept_failed", LS("input", "control"),
		    LS("error", strerror(err)), LU("repeated", n));
}

static void
on_control_rest_over(evutil_socket_t fd, short what, void *arg)
{
	struct control *c = arg;

	if (!c->draining && c->bound != NULL)
		(void)evconnlistener_enable(
		    evhttp_bound_socket_get_listener(c->bound));
}

/* The listener lets go of its clients; those that are served stay. */
static void
control_unlisten(struct control *c)
{
	if (c->bound != NULL)
		evhttp_del_accept_socket(c->http, c->bound);
	c->bound = NULL;
	listen_unix_close(&c->lu);
}

/* Listen at this path, "" for none, in place of the one in use. */
static int
control_listen(struct control *c, const char *path, struct why *why)
{
	char want[sizeof c->path];
	const struct conf_socket sock = { .path = want, .mode = 0600 };
	struct listen_unix lu = { .fd = -1 };
	struct evhttp_bound_socket *bound = NULL;
	int fd, r;

	(void)snprintf(want, sizeof want, "%s", path);
	if (path[0] == '\0') {
		control_unlisten(c);
		c->path[0] = '\0';
		return 0;
	}
	if ((r = listen_unix_open(&sock, SOCK_STREAM, &lu, why)) < 0)
		return r;
	/* evhttp closes its own; the file is removed with the other. */
	fd = fcntl(lu.fd, F_DUPFD_CLOEXEC, 0);
	if (fd >= 0)
		bound = evhttp_accept_socket_with_handle(c->http, fd);
	if (bound == NULL) {
		if (fd >= 0)
			(void)close(fd);
		listen_unix_close(&lu);
		return why_set(why, -ENOMEM, "socket %s: the server cannot be "
		    "made", path);
	}
	evconnlistener_set_error_cb(evhttp_bound_socket_get_listener(bound),
	    on_control_accept_error);
	control_unlisten(c);
	c->bound = bound;
	c->lu = lu;
	memcpy(c->path, want, sizeof want);
	log_info("listening", LS("input", "control"), LS("address", path));
	return 0;
}

static int
control_start(struct control *c)
{
	c->http = evhttp_new(loop_base(c->loop));
	if (c->http == NULL)
		return -ENOMEM;
	control_served = c;
	evhttp_set_gencb(c->http, on_control_request, c);
	evhttp_set_timeout(c->http, CONTROL_TIMEOUT_S);
	evhttp_set_max_headers_size(c->http, CONTROL_HEADERS_MAX);
	evhttp_set_max_body_size(c->http, CONTROL_BODY_MAX);
	evhttp_set_allowed_methods(c->http, EVHTTP_REQ_GET | EVHTTP_REQ_POST);
	return 0;
}

static void
control_absent(const struct control *c, const struct why *why)
{
	log_warn("no_control_socket", LS("error", why->text), LS("consequence",
	    c->bound != NULL ? "the one before stays" :
	    "lumnictl cannot ask or steer"));
}

int
control_open(struct loop *loop, const struct conf *conf,
    const struct control_env *env, struct control **ret, struct why *why)
{
	struct control *c = mem_zalloc(sizeof *c);
	char path[sizeof c->path];
	int r;

	c->loop = loop;
	c->conf = conf;
	c->env = *env;
	c->lu.fd = -1;
	(void)evtimer_assign(&c->ev_tick, loop_base(loop), on_control_tick, c);
	(void)evtimer_assign(&c->ev_rest, loop_base(loop),
	    on_control_rest_over, c);
	if ((r = control_start(c)) < 0)
		(void)why_set(why, r, "control socket: no memory");
	else
		r = control_listen(c, conf_control_path(conf, path,
		    sizeof path), why);
	if (r < 0 && c->http != NULL &&
	    strcmp(conf->listen.control, "auto") == 0) {
		control_absent(c, why);
		r = 0;
	}
	if (r < 0) {
		control_close(c);
		return r;
	}
	control_note_rates(c);
	loop_add_hook(loop, control_turn, c);
	*ret = c;
	return 0;
}

void
control_set_conf(struct control *c, const struct conf *conf)
{
	char path[sizeof c->path];
	struct why why;

	c->conf = conf;
	(void)conf_control_path(conf, path, sizeof path);
	/* A file that somebody has removed is made anew. */
	bool there = path[0] == '\0' || listen_unix_is_there(&c->lu);
	if (!c->draining && (strcmp(path, c->path) != 0 || !there) &&
	    control_listen(c, path, &why) < 0)
		control_absent(c, &why);
}

void
control_drain(struct control *c)
{
	if (c == NULL)
		return;
	c->draining = true;
	if (c->bound != NULL)
		(void)evconnlistener_disable(
		    evhttp_bound_socket_get_listener(c->bound));
}

void
control_close(struct control *c)
{
	if (c == NULL)
		return;
	control_stream_end_all(c);
	(void)event_del(&c->ev_tick);
	(void)event_del(&c->ev_rest);
	control_unlisten(c);
	if (c->http != NULL)
		evhttp_free(c->http);
	control_served = NULL;
	free(c);
}
