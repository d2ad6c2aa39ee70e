/*
 * in_http: a request is decoded and handed to the engine as a message with an
 * ack; it waits in a table until the engine's answer, and is then answered.
 */
#include "loop/in_http_int.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/mem.h"
#include "codec/json.h"
#include "codec/jsonin.h"
#include "codec/unzip.h"
#include "core/engine.h"
#include "loop/listen.h"
#include "loop/loop.h"

#define IN_HTTP_PEER		((uint64_t)2 << 56)
#define IN_HTTP_HEADERS_MAX	(16 * 1024)
#define IN_HTTP_TIMEOUT_S	30
#define IN_HTTP_RETRY_AFTER	"1"

/* --- answers --------------------------------------------------------------- */

static const char *
in_http_reason(int status)
{
	switch (status) {
	case 200:
		return "OK";
	case 202:
		return "Accepted";
	case 400:
		return "Bad Request";
	case 401:
		return "Unauthorized";
	case 403:
		return "Forbidden";
	case 404:
		return "Not Found";
	case 405:
		return "Method Not Allowed";
	case 413:
		return "Content Too Large";
	case 415:
		return "Unsupported Media Type";
	case 429:
		return "Too Many Requests";
	case 503:
		return "Service Unavailable";
	}
	return "Error";
}

static void
in_http_send(struct evhttp_request *req, int status, const char *type,
    const void *body, size_t len)
{
	struct evkeyvalq *head = evhttp_request_get_output_headers(req);
	struct evbuffer *b = evbuffer_new();

	/* Without memory for a header the answer is short of it, no more. */
	(void)evhttp_add_header(head, "Content-Type", type);
	if ((status == 429 || status == 503) &&
	    evhttp_find_header(head, "Retry-After") == NULL)
		(void)evhttp_add_header(head, "Retry-After",
		    IN_HTTP_RETRY_AFTER);
	if (evhttp_request_get_command(req) == EVHTTP_REQ_HEAD) {
		/* RFC 9110 9.3.2: the length of what GET gets, and no body. */
		char text[24];

		(void)snprintf(text, sizeof text, "%zu", len);
		(void)evhttp_add_header(head, "Content-Length", text);
	} else if (b != NULL) {
		(void)evbuffer_add(b, body, len);
	}
	evhttp_send_reply(req, status, in_http_reason(status), b);
	if (b != NULL)
		evbuffer_free(b);
}

/* {"error":{"code":"...","message":"..."}} */
static void
in_http_refuse(struct evhttp_request *req, int status, const char *code,
    const char *text)
{
	struct buf b;

	buf_init(&b, 0);
	buf_printf(&b, "{\"error\":{\"code\":\"%s\",\"message\":", code);
	json_put_string(&b, text, strlen(text));
	buf_puts(&b, "}}\n");
	if (buf_error(&b) == 0)
		in_http_send(req, status, "application/json", b.data, b.len);
	else
		evhttp_send_error(req, status, NULL);
	buf_free(&b);
}

static int
in_http_status(enum event_code code)
{
	switch (code) {
	case EVENT_FULL:
	case EVENT_DEGRADED:
	case EVENT_STOPPING:
	case EVENT_NO_MEMORY:
	case EVENT_TOO_MANY_RUNS:
		return 503;
	case EVENT_TOO_LARGE:
		return 413;
	case EVENT_FORBIDDEN:
		return 403;
	default:
		return 400;
	}
}

/* --- requests that wait ---------------------------------------------------- */

static struct evhttp_request *in_http_forget(struct in_http *,
    struct http_wait *);

static void
on_wait_close(struct evhttp_connection *conn, void *arg)
{
	struct http_wait *w = arg;

	w->req = NULL;
	if (w->answered)
		(void)in_http_forget(w->in, w);
}

/* The answer is in the kernel's hands. */
static void
on_wait_written(struct evhttp_request *req, void *arg)
{
	struct http_wait *w = arg;

	(void)in_http_forget(w->in, w);
}

static struct http_wait *
in_http_wait(struct in_http *in, struct evhttp_request *req, size_t events)
{
	struct http_wait *w = mem_zalloc(sizeof *w);

	w->in = in;
	w->req = req;
	w->events = events;
	w->peer = IN_HTTP_PEER | (++in->last & 0xffffffffffffff);
	w->next = in->waits;
	in->waits = w;
	in->waits_n++;
	evhttp_connection_set_closecb(evhttp_request_get_connection(req),
	    on_wait_close, w);
	return w;
}

/* Forget it; returns the request unless its client is gone. */
static struct evhttp_request *
in_http_forget(struct in_http *in, struct http_wait *w)
{
	struct evhttp_request *req = w->req;
	struct http_wait **at = &in->waits;

	while (*at != w)
		at = &(*at)->next;
	*at = w->next;
	in->waits_n--;
	free(w);
	if (req == NULL)
		return NULL;
	evhttp_request_set_on_complete_cb(req, NULL, NULL);
	evhttp_connection_set_closecb(evhttp_request_get_connection(req), NULL,
	    NULL);
	return req;
}

bool
in_http_answer(struct in_http *in, uint64_t peer, enum event_code code,
    const char *text)
{
	struct http_wait *w;
	char body[64];

	if (peer >> 56 != IN_HTTP_PEER >> 56)
		return false;
	for (w = in->waits; w != NULL && w->peer != peer; w = w->next)
		continue;
	if (w == NULL || w->answered)
		return true;
	size_t events = w->events;
	struct evhttp_request *req = w->req;
	if (req == NULL) {
		(void)in_http_forget(in, w);
		return true;
	}
	w->answered = true;
	evhttp_request_set_on_complete_cb(req, on_wait_written, w);
	if (code != EVENT_OK) {
		in_http_refuse(req, in_http_status(code),
		    event_code_name(code), text != NULL ? text : "");
		return true;
	}
	int n = snprintf(body, sizeof body, "{\"accepted\":%zu}\n", events);
	in_http_send(req, 202, "application/json", body, (size_t)n);
	return true;
}

/* --- guards ---------------------------------------------------------------- */

/* Is the host part of "host", "host:port" or "[v6]:port" a loopback name? */
static bool
in_http_is_loopback(const char *host)
{
	size_t n = strcspn(host, ":");

	if (host[0] == '[')
		return strncmp(host, "[::1]", 5) == 0 &&
		    (host[5] == '\0' || host[5] == ':');
	if (n == 9 && strncasecmp(host, "localhost", 9) == 0)
		return true;
	if (strncmp(host, "127.", 4) != 0)
		return false;
	/* A dotted quad and nothing else: 127.0.0.1.example is a name. */
	return strspn(host, "0123456789.") == n;
}

static bool
in_http_host_ok(const struct in_http *in, struct evhttp_request *req)
{
	struct evkeyvalq *head = evhttp_request_get_input_headers(req);
	const char *host = evhttp_find_header(head, "Host");

	if (in->conf->listen.allow_remote)
		return true;
	/* HTTP/1.0 has no Host; browsers always send one. */
	return host == NULL || in_http_is_loopback(host);
}

static bool
in_http_is_json(struct evkeyvalq *head)
{
	const char *type = evhttp_find_header(head, "Content-Type");
	static const char json[] = "application/json";

	if (type == NULL || strncasecmp(type, json, sizeof json - 1) != 0)
		return false;
	return strchr("; \t", type[sizeof json - 1]) != NULL;
}

/* Compare without telling by time how much was right. */
static bool
in_http_same(const char *a, size_t n, const char *b, size_t m)
{
	volatile unsigned char diff = (unsigned char)(n != m);

	for (size_t i = 0; i < n; i++)
		diff |= (unsigned char)(a[i] ^ b[m > 0 ? i % m : 0]);
	return m > 0 && diff == 0;
}

static bool
in_http_key_ok(const struct in_http *in, struct evkeyvalq *head)
{
	static const char scheme[] = "Bearer ";
	const char *auth = evhttp_find_header(head, "Authorization");
	char key[4096];

	if (!in->conf->listen.http_require_key)
		return true;
	if (auth == NULL || strncasecmp(auth, scheme, sizeof scheme - 1) != 0)
		return false;
	if (conf_api_key(in->conf, key, sizeof key, NULL, NULL) < 0)
		return false;
	auth += sizeof scheme - 1;
	bool ok = in_http_same(auth, strlen(auth), key, strlen(key));
	explicit_bzero(key, sizeof key);
	return ok;
}

/* --- ingest ---------------------------------------------------------------- */

static const struct http_route {
	const char	*path;
	enum event_kind	 kind;
	const char	*key;		/* of the record in the message */
} in_http_routes[] = {
	{ "/v1/ingest/events", EVENT_KIND_EVENTS, NULL },
	{ "/v1/ingest/changes", EVENT_KIND_CHANGE, "change" },
	{ "/v1/ingest/policies", EVENT_KIND_POLICY, "policy" },
};

/* What was to be a message is refused; `as`: how it is counted. */
static void
in_http_reject(struct in_http *in, struct evhttp_request *req, int status,
    enum event_code as, const char *code, const char *text)
{
	books_refuse(engine_books(loop_engine(in->loop)), BOOKS_HTTP, as);
	in_http_refuse(req, status, code, text);
}

/* Decode the body into in->body. False: the request is answered. */
static bool
in_http_decode(struct in_http *in, struct evhttp_request *req)
{
	struct evkeyvalq *head = evhttp_request_get_input_headers(req);
	struct evbuffer *input = evhttp_request_get_input_buffer(req);
	enum unzip_coding coding = unzip_coding(evhttp_find_header(head,
	    "Content-Encoding"));
	size_t len = evbuffer_get_length(input);
	struct why why = { "" };

	if (coding == UNZIP_UNKNOWN) {
		in_http_reject(in, req, 415, EVENT_NOT_SUPPORTED,
		    "bad_coding", "the content coding is none of identity, "
		    "gzip, zstd");
		return false;
	}
	buf_reset(&in->body, 64 * 1024);
	in->body.max = in->conf->events.max_message;
	int r = unzip_body(coding, len > 0 ? evbuffer_pullup(input, -1) : NULL,
	    len, &in->body, &why);
	if (r == 0)
		return true;
	if (r == -ENOBUFS)
		in_http_reject(in, req, 413, EVENT_TOO_LARGE, "too_large",
		    why.text);
	else if (r == -ENOMEM)
		in_http_reject(in, req, 503, EVENT_NO_MEMORY, "no_memory",
		    why.text);
	else
		in_http_reject(in, req, 400, EVENT_NOT_A_MESSAGE,
		    "bad_coding", why.text);
	return false;
}

static void
in_http_pack_key(struct buf *b, const char *key)
{
	buf_putc(b, (char)(0xa0 | strlen(key)));	/* fixstr, below 32 */
	buf_puts(b, key);
}

/* Always false: it is answered. */
static bool
in_http_no_memory(struct in_http *in, struct evhttp_request *req)
{
	in_http_reject(in, req, 503, EVENT_NO_MEMORY, "no_memory",
	    "no memory for the body");
	return false;
}

/*
 * The JSON body as a message of the local protocol, in in->message: one road
 * for all inputs. False: the request is answered.
 */
static bool
in_http_message(struct in_http *in, struct evhttp_request *req,
    const struct http_route *rt, size_t *ret_events)
{
	struct json_object *o, *events;
	struct why why = { "" };
	size_t at;
	char text[600];
	struct buf *b = &in->message;
	int r = jsonin_parse(in->tok, (const char *)in->body.data,
	    in->body.len, &o, &at, &why);

	if (r == -ENOMEM)
		return in_http_no_memory(in, req);
	if (r < 0) {
		(void)snprintf(text, sizeof text, "byte %zu: %s", at,
		    why.text);
		in_http_reject(in, req, 400, EVENT_NOT_A_MESSAGE, "bad_json",
		    text);
		return false;
	}
	if (!json_object_is_type(o, json_type_object)) {
		json_object_put(o);
		in_http_reject(in, req, 400, EVENT_NOT_A_MESSAGE, "bad_json",
		    "the body is no object");
		return false;
	}
	*ret_events = 1;
	buf_reset(b, 64 * 1024);
	if (rt->kind == EVENT_KIND_EVENTS) {
		if (!json_object_object_get_ex(o, "events", &events) ||
		    !json_object_is_type(events, json_type_array)) {
			json_object_put(o);
			in_http_reject(in, req, 400, EVENT_BAD_EVENTS,
			    "bad_events", "events is no array");
			return false;
		}
		*ret_events = json_object_array_length(events);
		/* The ack makes the engine answer; its id means nothing. */
		struct json_object *ack = json_object_new_int(0);
		if (ack == NULL ||
		    json_object_object_add(o, "ack", ack) < 0) {
			json_object_put(ack);
			json_object_put(o);
			return in_http_no_memory(in, req);
		}
		jsonin_pack(b, o);
	} else {
		buf_putc(b, (char)0x82);	/* a map of two */
		in_http_pack_key(b, rt->key);
		jsonin_pack(b, o);
		in_http_pack_key(b, "ack");
		buf_putc(b, 0);
	}
	json_object_put(o);
	if (buf_error(b) == 0)
		return true;
	return in_http_no_memory(in, req);
}

/* All clients over TCP are one user: is it over a limit? Then it is told. */
static bool
in_http_throttle(struct in_http *in, struct evhttp_request *req)
{
	int64_t ms = uids_wait_ms(in->user, in->conf, clock_mono());
	char seconds[24];

	if (ms == 0)
		return false;
	(void)snprintf(seconds, sizeof seconds, "%lld",
	    (long long)((ms + 999) / 1000));
	(void)evhttp_add_header(evhttp_request_get_output_headers(req),
	    "Retry-After", seconds);
	in_http_refuse(req, 429, "too_fast", "limits.uid_events_per_s or "
	    "limits.uid_bytes_per_s is reached");
	return true;
}

static void
in_http_ingest(struct in_http *in, struct evhttp_request *req,
    const struct http_route *rt)
{
	struct evkeyvalq *head = evhttp_request_get_input_headers(req);
	struct engine *engine = loop_engine(in->loop);
	struct event_ack ack;
	struct why why = { "" };
	size_t events;

	if (evhttp_request_get_command(req) != EVHTTP_REQ_POST) {
		in_http_refuse(req, 405, "bad_method", "use POST");
		return;
	}
	if (!in_http_is_json(head)) {
		in_http_reject(in, req, 415, EVENT_NOT_SUPPORTED, "bad_type",
		    "the content type is not application/json");
		return;
	}
	if (!in_http_key_ok(in, head)) {
		in_http_reject(in, req, 401, EVENT_FORBIDDEN, "bad_key",
		    "the API key is not the one of this lumnid");
		return;
	}
	if (in_http_throttle(in, req) || !in_http_decode(in, req) ||
	    !in_http_message(in, req, rt, &events))
		return;
	struct http_wait *w = in_http_wait(in, req, events);
	enum event_code code = engine_take(engine, BOOKS_HTTP, w->peer,
	    in->message.data, in->message.len, clock_now(), &ack, &why);
	loop_wake(in->loop);
	uids_charge(loop_uids(in->loop), in->user, in->conf,
	    code == EVENT_OK ? events : 0, in->body.len, clock_mono());
	if (code == EVENT_OK)
		return;
	(void)in_http_forget(in, w);
	in_http_refuse(req, in_http_status(code), event_code_name(code),
	    why.text);
}

/* --- the server ------------------------------------------------------------ */

static void
in_http_serve(struct in_http *in, struct evhttp_request *req, size_t i)
{
	const char *type = "application/json";
	enum evhttp_cmd_type cmd = evhttp_request_get_command(req);
	struct buf b;

	if (cmd != EVHTTP_REQ_GET && cmd != EVHTTP_REQ_HEAD) {
		in_http_refuse(req, 405, "bad_method", "use GET");
		return;
	}
	buf_init(&b, 0);
	int status = in->get[i].fn(in->get[i].arg, &b, &type);
	if (buf_error(&b) == 0)
		in_http_send(req, status, type, b.data, b.len);
	else
		evhttp_send_error(req, 503, NULL);
	buf_free(&b);
}

static void
on_request(struct evhttp_request *req, void *arg)
{
	struct in_http *in = arg;
	const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(req);
	const char *path = uri != NULL ? evhttp_uri_get_path(uri) : NULL;

	loop_poke(in->loop);
	http_conns_whole(in->conns, evhttp_connection_get_bufferevent(
	    evhttp_request_get_connection(req)));
	/* HTTP was switched off: connections of before come to an end. */
	if (in->bound == NULL)
		(void)evhttp_add_header(evhttp_request_get_output_headers(req),
		    "Connection", "close");
	if (path == NULL) {
		in_http_refuse(req, 400, "bad_path", "no path");
		return;
	}
	if (!in_http_host_ok(in, req)) {
		in_http_refuse(req, 403, "bad_host", "Host is no name of this "
		    "host; use 127.0.0.1 or localhost");
		return;
	}
	for (size_t i = 0; i < NELEM(in_http_routes); i++)
		if (strcmp(path, in_http_routes[i].path) == 0) {
			in_http_ingest(in, req, &in_http_routes[i]);
			return;
		}
	for (size_t i = 0; i < in->get_n; i++)
		if (strcmp(path, in->get[i].path) == 0) {
			in_http_serve(in, req, i);
			return;
		}
	in_http_refuse(req, 404, "bad_path", "there is nothing here; events "
	    "go to /v1/ingest/events");
}

void
in_http_get(struct in_http *in, const char *path, int (*fn)(void *,
    struct buf *, const char **), void *arg)
{
	if (in->get_n == IN_HTTP_PATHS)
		fatal("in_http: too many paths");
	in->get[in->get_n].path = path;
	in->get[in->get_n].fn = fn;
	in->get[in->get_n++].arg = arg;
}

static int
in_http_start(struct in_http *in)
{
	struct event_base *base = loop_base(in->loop);

	in->http = evhttp_new(base);
	in->tok = json_tokener_new_ex(JSONIN_DEPTH);
	if (in->http == NULL || in->tok == NULL || in_http_prepare(in) < 0)
		return -ENOMEM;
	evhttp_set_gencb(in->http, on_request, in);
	evhttp_set_timeout(in->http, IN_HTTP_TIMEOUT_S);
	evhttp_set_max_headers_size(in->http, IN_HTTP_HEADERS_MAX);
	evhttp_set_allowed_methods(in->http, EVHTTP_REQ_GET |
	    EVHTTP_REQ_HEAD | EVHTTP_REQ_POST | EVHTTP_REQ_PUT |
	    EVHTTP_REQ_DELETE | EVHTTP_REQ_OPTIONS);
	return 0;
}

int
in_http_open(struct loop *loop, const struct conf *conf, struct in_http **ret,
    struct why *why)
{
	const char *addr = conf->listen.http;
	bool remote = false;
	int fd = -1;

	if (addr[0] != '\0' && (fd = listen_tcp_open("http", addr,
	    conf->listen.allow_remote, &remote, why)) < 0)
		return fd;
	struct in_http *in = mem_zalloc(sizeof *in);
	in->loop = loop;
	in->files = in_http_count_files();
	in->conns = http_conns_new(loop);
	in->user = uids_keep(loop_uids(loop), UIDS_TCP);
	buf_init(&in->body, 0);
	buf_init(&in->message, 0);
	int r = in_http_start(in);
	if (r < 0 && fd >= 0)
		(void)close(fd);
	else if (r == 0 && fd >= 0)
		r = in_http_listen(in, fd);
	if (r < 0) {
		in_http_close(in);
		return why_set(why, r, "http: the server cannot be made");
	}
	in_http_set_conf(in, conf);
	if (remote)
		log_warn("listening_to_the_network", LS("input", "http"),
		    LS("address", addr), LS("hint", "everybody who can reach "
		    "this address can write events"));
	*ret = in;
	return 0;
}

void
in_http_set_conf(struct in_http *in, const struct conf *conf)
{
	in->conf = conf;
	/* One byte over, so that the refusal is ours, in JSON. */
	evhttp_set_max_body_size(in->http,
	    (ev_ssize_t)conf->events.max_message + 1);
}

void
in_http_drain(struct in_http *in)
{
	in->draining = true;
	in_http_enable(in, false);
	in_http_bury_retired(in);
}

size_t
in_http_pending(const struct in_http *in)
{
	return in->waits_n;
}

void
in_http_close(struct in_http *in)
{
	if (in == NULL)
		return;
	in->draining = true;
	in_http_bury_retired(in);
	while (in->waits != NULL) {
		bool answered = in->waits->answered;
		struct evhttp_request *req = in_http_forget(in, in->waits);
		if (req != NULL && !answered)
			in_http_refuse(req, 503, "stopping",
			    "lumnid is stopping");
	}
	if (in->http != NULL)
		evhttp_free(in->http);
	http_conns_free(in->conns);
	in_http_finish(in);
	if (in->tok != NULL)
		json_tokener_free(in->tok);
	buf_free(&in->body);
	buf_free(&in->message);
	free(in);
}
