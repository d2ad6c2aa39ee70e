/* up_serve: see the header. What it holds back, it frees. */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/http_struct.h>
#include <event2/keyvalq_struct.h>

#include "support/up_serve.h"
#include "support/up_tls.h"

/* A request whose answer is not given yet: delayed, stalled or waiting. */
struct held {
	struct evhttp_request	*req;
	struct upstream		*up;
	struct event		*timer;
	int			 status;	/* 0: of a waiter */
	struct up_fault		 fault;
	char			*answer;	/* owned; NULL: fault.body */
	uint64_t		 want[4];	/* of a /_test/wait */
	LIST_ENTRY(held)	 link;
};

/* What --cheap writes before each raw body. */
struct cheap_head {
	double		received;
	uint32_t	raw_len;
	uint8_t		route, zstd;
	uint32_t	part;
	char		reason[16];
	char		id[200];
};

static void
add_header(struct evhttp_request *req, const char *name, const char *value)
{
	if (value[0] != '\0')
		(void)evhttp_add_header(
		    evhttp_request_get_output_headers(req), name, value);
}

static void
reply(struct evhttp_request *req, int status, const struct up_fault *f,
    const char *body)
{
	struct evbuffer *b = evbuffer_new();

	add_header(req, "Content-Type", "application/json");
	if (f != NULL) {
		add_header(req, "Retry-After", f->retry_after);
		add_header(req, "Location", f->location);
		if (f->close)
			add_header(req, "Connection", "close");
		if (body == NULL && f->body[0] != '\0')
			body = f->body;
	}
	evbuffer_add_printf(b, "%s", body != NULL ? body : "{}");
	evhttp_send_reply(req, status, NULL, b);
	evbuffer_free(b);
}

/* --- requests that are held --- */

static struct held *
hold(struct upstream *up, struct evhttp_request *req)
{
	struct held *h = calloc(1, sizeof *h);

	if (h == NULL)
		abort();
	h->up = up;
	h->req = req;
	LIST_INSERT_HEAD(&up->held, h, link);
	return h;
}

static void
held_free(struct held *h)
{
	LIST_REMOVE(h, link);
	if (h->timer != NULL)
		event_free(h->timer);
	free(h->answer);
	free(h);
}

/*
 * End the connection without an answer; with a reset, where the socket knows
 * one. half: after the first bytes of an answer.
 */
static void
break_connection(struct evhttp_request *req, bool half)
{
	struct evhttp_connection *con = evhttp_request_get_connection(req);
	const struct sockaddr none = { .sa_family = AF_UNSPEC };
	int fd;

	if (con == NULL) {	/* the peer was faster */
		evhttp_request_free(req);
		return;
	}
	fd = bufferevent_getfd(evhttp_connection_get_bufferevent(con));
	if (half)
		(void)!write(fd, "HTTP/1.1 2", 10);
	else
		/* Takes TCP to its end with an RST, at once (connect(2)). */
		(void)connect(fd, &none, sizeof none);
	evhttp_connection_free(con);
}

static void
on_held_due(evutil_socket_t fd, short what, void *arg)
{
	struct held *h = arg;

	(void)fd;
	(void)what;
	if (h->fault.reset != UP_NOT || h->fault.cut != UP_NOT)
		break_connection(h->req, h->fault.cut != UP_NOT);
	else
		reply(h->req, h->status, &h->fault, h->answer);
	held_free(h);
}

/* Do with the request what the fault says, answering with status if at all. */
static void
finish(struct upstream *up, struct evhttp_request *req, int status,
    const struct up_fault *f, char *answer)
{
	struct timeval tv = { f->delay_ms / 1000, f->delay_ms % 1000 * 1000 };
	struct held *h;

	if (f->delay_ms == 0 && f->reset == UP_NOT && f->cut == UP_NOT &&
	    f->stall == UP_NOT) {
		reply(req, status, f, answer);
		free(answer);
		return;
	}
	h = hold(up, req);
	h->status = status;
	h->fault = *f;
	h->answer = answer;
	if (f->stall != UP_NOT)
		return;
	/* A connection cannot be freed from within its own callback. */
	h->timer = event_new(up->base, -1, EV_TIMEOUT, on_held_due, h);
	(void)event_add(h->timer, &tv);
}

static void
answer_waiters(struct upstream *up)
{
	const struct up_sums *s = &up->record.sums;
	const uint64_t have[4] = { s->events, s->requests, s->batches,
		s->records };
	struct held *h, *next;
	struct evbuffer *b;

	for (h = LIST_FIRST(&up->held); h != NULL; h = next) {
		int i;

		next = LIST_NEXT(h, link);
		if (h->status != 0)
			continue;	/* no waiter */
		for (i = 0; i < 4 && have[i] >= h->want[i]; i++)
			;
		if (i < 4)
			continue;
		b = evbuffer_new();
		up_record_stats(&up->record, b);
		evhttp_send_reply(h->req, 200, NULL, b);
		evbuffer_free(b);
		held_free(h);
	}
}

/* --- the API --- */

/* Which events hold the marker, and the body that says so. */
static bool *
refuse_some(const struct up_request *rq, const struct up_fault *f,
    char **ret_answer)
{
	bool *refused = calloc(rq->events + 1, sizeof *refused);
	struct evbuffer *b = evbuffer_new();
	const char *sep = "";
	size_t i;

	evbuffer_add_printf(b, "{\"errors\":[");
	for (i = 0; rq->spans != NULL && i < rq->events; i++) {
		refused[i] = memmem(rq->body + rq->spans[i].off,
		    rq->spans[i].len, f->marker, strlen(f->marker)) != NULL;
		if (!refused[i])
			continue;
		evbuffer_add_printf(b, "%s{\"index\":%zu,\"status\":%d,"
		    "\"error\":\"refused\"}", sep, i, f->partial);
		sep = ",";
	}
	evbuffer_add(b, "]}", 3);
	*ret_answer = strdup((char *)evbuffer_pullup(b, -1));
	evbuffer_free(b);
	return refused;
}

static const char *
fault_name(const struct up_fault *f)
{
	return f->reset == UP_BEFORE ? "reset_before" :
	    f->reset == UP_AFTER ? "reset_after" :
	    f->stall == UP_BEFORE ? "stall_before" :
	    f->stall == UP_AFTER ? "stall_after" :
	    f->cut == UP_BEFORE ? "cut_before" :
	    f->cut == UP_AFTER ? "cut_after" :
	    f->partial != 0 ? "partial" :
	    f->status != 0 ? "status" : NULL;
}

static void
take(struct upstream *up, struct evhttp_request *req, struct up_request *rq,
    struct up_key *key, const struct up_fault *f)
{
	bool silent = f->reset != UP_NOT || f->stall != UP_NOT ||
	    f->cut != UP_NOT;
	bool before = f->reset == UP_BEFORE || f->stall == UP_BEFORE ||
	    f->cut == UP_BEFORE;
	int status = f->status != 0 ? f->status : 202;
	bool taken = !before && status / 100 == 2;
	bool duplicate;
	bool *refused = NULL;
	char *answer = NULL;

	if (taken && f->partial != 0)
		refused = refuse_some(rq, f, &answer);
	duplicate = taken && up->dedupe && key->taken;
	if (taken)
		key->taken = true;
	up_record_line(&up->record, rq, silent ? 0 : status, taken, duplicate,
	    fault_name(f), refused);
	free(refused);
	finish(up, req, status, f, answer);
}

static void
take_cheaply(struct upstream *up, struct evhttp_request *req,
    struct up_request *rq)
{
	struct cheap_head head;

	memset(&head, 0, sizeof head);
	head.received = rq->received;
	head.raw_len = (uint32_t)rq->raw_len;
	head.route = (uint8_t)rq->route;
	head.zstd = rq->zstd;
	head.part = (uint32_t)rq->part;
	memcpy(head.reason, rq->reason, sizeof head.reason);
	memcpy(head.id, rq->id, sizeof head.id);
	if (fwrite(&head, sizeof head, 1, up->cheap) != 1 ||
	    fwrite(rq->raw, 1, rq->raw_len, up->cheap) != rq->raw_len) {
		perror("upstream: cheap file");
		exit(1);
	}
	up->record.sums.requests++;
	reply(req, 202, NULL, NULL);
}

/* The request for a person to read, one event a line. */
static void
show(struct evhttp_request *req, const struct up_request *rq)
{
	struct evkeyvalq *q = evhttp_request_get_input_headers(req);
	struct evkeyval *kv;
	size_t i, at = 0;

	(void)printf("POST %s\n", evhttp_request_get_uri(req));
	TAILQ_FOREACH (kv, q, next) {
		if (strcasecmp(kv->key, "authorization") == 0)
			(void)printf("%s: Bearer ***\n", kv->key);
		else
			(void)printf("%s: %s\n", kv->key, kv->value);
	}
	(void)printf("\n");
	for (i = 0; rq->spans != NULL && i < rq->events; i++) {
		(void)printf("%.*s\n    ", (int)(rq->spans[i].off - at),
		    rq->body + at);
		at = rq->spans[i].off;
	}
	(void)printf("%s\n\n", rq->body + at);
	(void)fflush(stdout);
}

static double
wall_seconds(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void
on_ingest(struct evhttp_request *req, void *arg)
{
	struct upstream *up = arg;
	struct evbuffer *in = evhttp_request_get_input_buffer(req);
	struct up_request rq;
	struct up_key *key;
	struct up_fault fault;

	memset(&rq, 0, sizeof rq);
	rq.received = wall_seconds();
	rq.raw_len = evbuffer_get_length(in);
	rq.raw = evbuffer_pullup(in, -1);
	up_check_head(&rq, req);
	if (up->cheap != NULL && rq.violation[0] == '\0') {
		take_cheaply(up, req, &rq);
		answer_waiters(up);
		return;
	}
	up_check_body(&rq);
	if (rq.violation[0] != '\0') {
		up_record_line(&up->record, &rq, 400, false, false, NULL,
		    NULL);
		(void)fprintf(stderr, "upstream: violation: %s\n",
		    rq.violation);
		reply(req, 400, NULL, "{\"error\":\"violation\"}");
	} else if (up->key[0] != '\0' && strcmp(rq.key, up->key) != 0) {
		up_record_line(&up->record, &rq, 401, false, false, "key",
		    NULL);
		reply(req, 401, NULL, "{\"error\":\"unknown key\"}");
	} else if ((key = up_record_key(&up->record, &rq)) == NULL) {
		(void)snprintf(rq.violation, sizeof rq.violation,
		    "other bytes under the key %s", rq.id);
		up_record_line(&up->record, &rq, 400, false, false, NULL,
		    NULL);
		reply(req, 400, NULL, "{\"error\":\"key reused\"}");
	} else {
		if (up->show)
			show(req, &rq);
		rq.taken = key->taken;
		up_script_decide(up->script, &rq, &fault);
		take(up, req, &rq, key, &fault);
	}
	up_request_clear(&rq);
	answer_waiters(up);
}

/* --- the tests' side --- */

static void
on_stats(struct evhttp_request *req, void *arg)
{
	struct upstream *up = arg;
	struct evbuffer *b = evbuffer_new();

	up_record_stats(&up->record, b);
	evhttp_send_reply(req, 200, NULL, b);
	evbuffer_free(b);
}

static void
on_wait(struct evhttp_request *req, void *arg)
{
	static const char *const names[4] = { "events", "requests", "batches",
		"records" };
	struct upstream *up = arg;
	struct evkeyvalq q;
	struct held *h = hold(up, req);
	const char *v;
	int i;

	(void)evhttp_parse_query_str(evhttp_uri_get_query(
	    evhttp_request_get_evhttp_uri(req)), &q);
	for (i = 0; i < 4; i++) {
		v = evhttp_find_header(&q, names[i]);
		if (v != NULL)
			h->want[i] = strtoull(v, NULL, 10);
	}
	evhttp_clear_headers(&q);
	answer_waiters(up);
}

static bool
set_script(struct upstream *up, const char *text, char err[200])
{
	struct up_script *s = up_script_parse(text, up->key, err);

	if (s == NULL)
		return false;
	up_script_free(up->script);
	up->script = s;
	return true;
}

static void
on_script(struct evhttp_request *req, void *arg)
{
	struct upstream *up = arg;
	struct evbuffer *in = evhttp_request_get_input_buffer(req);
	char err[200] = "";

	evbuffer_add(in, "", 1);
	if (set_script(up, (char *)evbuffer_pullup(in, -1), err))
		reply(req, 200, NULL, NULL);
	else
		reply(req, 400, NULL, err);
}

bool
up_serve_read_script(struct upstream *up)
{
	struct evbuffer *b = evbuffer_new();
	FILE *f = fopen(up->script_path, "re");
	char line[4096], err[200] = "not readable";
	bool ok = false;

	while (f != NULL && fgets(line, sizeof line, f) != NULL)
		evbuffer_add(b, line, strlen(line));
	evbuffer_add(b, "", 1);
	if (f != NULL) {
		(void)fclose(f);
		ok = set_script(up, (char *)evbuffer_pullup(b, -1), err);
	}
	if (!ok)
		(void)fprintf(stderr, "upstream: %s: %s\n", up->script_path,
		    err);
	evbuffer_free(b);
	return ok;
}

void
up_serve_unfold(struct upstream *up)
{
	struct cheap_head head;
	uint8_t *raw;

	rewind(up->cheap);
	memset(&up->record.sums, 0, sizeof up->record.sums);
	while (fread(&head, sizeof head, 1, up->cheap) == 1) {
		struct up_request rq;

		memset(&rq, 0, sizeof rq);
		raw = malloc(head.raw_len + 1);
		if (raw == NULL ||
		    fread(raw, 1, head.raw_len, up->cheap) != head.raw_len)
			break;
		rq.received = head.received;
		rq.raw = raw;
		rq.raw_len = head.raw_len;
		rq.route = (enum up_route)head.route;
		rq.zstd = head.zstd != 0;
		rq.part = (long)head.part;
		memcpy(rq.reason, head.reason, sizeof rq.reason);
		memcpy(rq.id, head.id, sizeof rq.id);
		up_check_body(&rq);
		up_record_line(&up->record, &rq, 202,
		    rq.violation[0] == '\0', false, NULL, NULL);
		up_request_clear(&rq);
		free(raw);
	}
	(void)fclose(up->cheap);
}

static struct bufferevent *
on_connection(struct event_base *base, void *arg)
{
	struct upstream *up = arg;

	up->record.sums.connections++;
	if (up->tls != NULL)
		return up_tls_accept(up->tls, base);
	return bufferevent_socket_new(base, -1, 0);
}

void
up_serve_begin(struct upstream *up)
{
	evhttp_set_allowed_methods(up->http, EVHTTP_REQ_GET | EVHTTP_REQ_POST |
	    EVHTTP_REQ_PUT | EVHTTP_REQ_DELETE | EVHTTP_REQ_PATCH);
	(void)evhttp_set_cb(up->http, "/_test/stats", on_stats, up);
	(void)evhttp_set_cb(up->http, "/_test/wait", on_wait, up);
	(void)evhttp_set_cb(up->http, "/_test/script", on_script, up);
	evhttp_set_gencb(up->http, on_ingest, up);
	evhttp_set_bevcb(up->http, on_connection, up);
	LIST_INIT(&up->held);
}

void
up_serve_end(struct upstream *up)
{
	while (!LIST_EMPTY(&up->held))
		held_free(LIST_FIRST(&up->held));
}
