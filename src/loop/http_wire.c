/* http_wire: requests, made once and used many times; see http_wire.h. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "base/mem.h"
#include "core/conf_addr.h"
#include "loop/http_easy.h"
#include "loop/http_lane.h"
#include "loop/http_wire.h"

#define HTTP_WIRE_ANSWER_MAX	(256 * 1024)	/* kept of an answer's body */
#define HTTP_WIRE_ANSWER_MIN	1024
#define HTTP_WIRE_BODY_KEEP	(64 * 1024)	/* between requests */

static const char *const http_wire_paths[HTTP_WIRE_ROUTES] = {
	[TRANSPORT_EVENTS] = "/v1/ingest/events",
	[TRANSPORT_CHANGES] = "/v1/ingest/changes",
	[TRANSPORT_POLICIES] = "/v1/ingest/policies",
};

/* --- the pool ------------------------------------------------------------- */

static void
http_request_free(struct http_request *rq)
{
	http_request_stop(rq);
	if (rq->easy != NULL)
		curl_easy_cleanup(rq->easy);
	secret_unref(rq->key_line);
	free(rq->body);
	free(rq->answer_body);
	free(rq);
}

static struct http_request *
http_request_new(struct http_wire *wire, const struct conf *conf,
    struct why *why)
{
	struct http_request *rq = mem_zalloc(sizeof *rq);

	rq->wire = wire;
	if (http_easy_new(rq, conf, why) == 0)
		return rq;
	http_request_free(rq);
	return NULL;
}

struct http_request *
http_wire_request(struct http_wire *wire, const struct conf *conf,
    struct why *why)
{
	struct http_request *rq;

	for (size_t i = 0; i < wire->requests_n; i++)
		if (!wire->requests[i]->busy)
			return wire->requests[i];
	if (wire->requests_n == wire->requests_max) {
		(void)why_set(why, -EBUSY, "%zu requests are under way",
		    wire->busy);
		return NULL;
	}
	if ((rq = http_request_new(wire, conf, why)) != NULL)
		wire->requests[wire->requests_n++] = rq;
	return rq;
}

struct http_request *
http_wire_find(struct http_wire *wire, uint64_t tag)
{
	for (size_t i = 0; i < wire->requests_n; i++)
		if (wire->requests[i]->busy && wire->requests[i]->tag == tag)
			return wire->requests[i];
	return NULL;
}

void
http_wire_free(struct http_wire *wire)
{
	if (wire == NULL)
		return;
	for (size_t i = 0; i < wire->requests_n; i++)
		http_request_free(wire->requests[i]);
	http_lanes_free(wire->lanes);
	http_multi_free(wire->hm);
	for (size_t i = 0; i < HTTP_WIRE_ROUTES; i++) {
		curl_url_cleanup(wire->urls[i]);
		free(wire->heads[i]);
	}
	free(wire->requests);
	free(wire);
}

/* The URL of a route, parsed once for all its requests. */
static CURLU *
http_wire_url(const struct conf *conf, const char *path, struct why *why)
{
	const char *base = conf_addr_url_socket(conf->upstream.url, NULL, 0) ?
	    "http://localhost" : conf->upstream.url;
	size_t len = strlen(base), n;
	CURLU *url = curl_url();
	CURLUcode r;
	char *text;

	while (len > 0 && base[len - 1] == '/')
		len--;
	n = len + strlen(path) + 1;
	text = mem_alloc(n);
	(void)snprintf(text, n, "%.*s%s", (int)len, base, path);
	r = url == NULL ? CURLUE_OUT_OF_MEMORY :
	    curl_url_set(url, CURLUPART_URL, text, 0);
	if (r != CURLUE_OK) {
		(void)why_set(why, -EINVAL, "upstream.url: libcurl cannot use "
		    "%s (CURLUcode %d)", text, (int)r);
		curl_url_cleanup(url);
		url = NULL;
	}
	free(text);
	return url;
}

/* "POST /path HTTP/1.1" and the lines that are the same in all requests. */
static char *
http_wire_head(CURLU *url)
{
	static const char form[] = "POST %s HTTP/1.1\r\nHost: %s%s%s\r\n"
	    "User-Agent: lumnid/" PACKAGE_VERSION "\r\nAccept: */*\r\n";
	char *path = NULL, *host = NULL, *port = NULL, *head = NULL;
	int n;

	if (curl_url_get(url, CURLUPART_PATH, &path, 0) == CURLUE_OK &&
	    curl_url_get(url, CURLUPART_HOST, &host, 0) == CURLUE_OK) {
		if (curl_url_get(url, CURLUPART_PORT, &port,
		    CURLU_NO_DEFAULT_PORT) != CURLUE_OK)
			port = NULL;
		n = snprintf(NULL, 0, form, path, host,
		    port != NULL ? ":" : "", port != NULL ? port : "");
		head = mem_alloc((size_t)n + 1);
		(void)sprintf(head, form, path, host, port != NULL ? ":" : "",
		    port != NULL ? port : "");
	}
	curl_free(path);
	curl_free(host);
	curl_free(port);
	return head;
}

struct http_wire *
http_wire_new(struct loop *loop, const struct conf *conf,
    void (*ended)(void *, struct http_request *), void *arg, struct why *why)
{
	struct http_wire *wire = mem_zalloc(sizeof *wire);

	wire->ended = ended;
	wire->arg = arg;
	wire->timeout_ms = conf->upstream.timeout_ms;
	wire->requests_max = conf->upstream.connections;
	wire->requests = mem_grow(NULL, wire->requests_max,
	    sizeof *wire->requests);
	for (size_t i = 0; i < HTTP_WIRE_ROUTES; i++) {
		wire->urls[i] = http_wire_url(conf, http_wire_paths[i], why);
		if (wire->urls[i] == NULL) {
			http_wire_free(wire);
			return NULL;
		}
		wire->heads[i] = http_wire_head(wire->urls[i]);
		if (wire->heads[i] == NULL) {
			(void)why_set(why, -ENOMEM, "libcurl: no memory");
			http_wire_free(wire);
			return NULL;
		}
	}
	wire->hm = http_multi_new(loop, (long)conf->upstream.connections,
	    http_easy_done, wire);
	if (http_easy_is_plain(conf))
		wire->lanes = http_lanes_new(wire, loop);
	if (wire->hm == NULL) {
		(void)why_set(why, -ENOMEM, "libcurl: no memory");
		http_wire_free(wire);
		return NULL;
	}
	return wire;
}

void
http_wire_turn(struct http_wire *wire)
{
	http_multi_turn(wire->hm);
	http_lanes_turn(wire->lanes);
}

/* --- sending -------------------------------------------------------------- */

static void
http_request_copy_body(struct http_request *rq, const uint8_t *body, size_t len)
{
	if (len > rq->body_cap) {
		free(rq->body);
		rq->body = mem_alloc(len);
		rq->body_cap = len;
	}
	memcpy(rq->body, body, len);
}

static void
http_request_set_body(struct http_request *rq,
    const struct transport_request *tr)
{
	rq->body_len = tr->body_len;
	rq->body_off = 0;
	rq->read = tr->read;
	rq->read_arg = tr->arg;
	rq->from_memory = tr->body != NULL;
	if (rq->from_memory)
		http_request_copy_body(rq, tr->body, tr->body_len);
}

static void
http_request_add_line(struct http_request *rq, char *line)
{
	struct curl_slist *node = &rq->lines[rq->lines_n++];

	*node = (struct curl_slist){ .data = line };
	if (rq->lines_n > 1)
		node[-1].next = node;
}

/* Chain the header's lines; all text lies in the request or is constant. */
static void
http_request_set_lines(struct http_request *rq,
    const struct transport_request *tr)
{
	static char type[] = "content-type: application/json";
	static char coding[] = "content-encoding: zstd";

	rq->lines_n = 0;
	http_request_add_line(rq, secret_text(rq->key_line));
	http_request_add_line(rq, type);
	if (tr->compressed)
		http_request_add_line(rq, coding);
	(void)snprintf(rq->id_line, sizeof rq->id_line,
	    "idempotency-key: \"%s\"", tr->id);
	http_request_add_line(rq, rq->id_line);
	if (tr->part != 0) {
		(void)snprintf(rq->part_line, sizeof rq->part_line,
		    "lumni-run-part: %" PRIu32, tr->part);
		http_request_add_line(rq, rq->part_line);
	}
	if (tr->reason != NULL) {
		(void)snprintf(rq->reason_line, sizeof rq->reason_line,
		    "lumni-run-reason: %s", tr->reason);
		http_request_add_line(rq, rq->reason_line);
	}
}

/* What a lane sends behind the key: the other lines, and the head's end. */
static void
http_request_set_head(struct http_request *rq)
{
	char *p = rq->head;

	for (size_t i = 1; i < rq->lines_n; i++) {
		p = stpcpy(p, "\r\n");
		p = stpcpy(p, rq->lines[i].data);
	}
	p += sprintf(p, "\r\nContent-Length: %zu\r\n\r\n", rq->body_len);
	rq->head_len = (size_t)(p - rq->head);
}

int
http_request_start(struct http_request *rq, const struct transport_request *tr,
    struct secret *key_line, struct why *why)
{
	struct http_lanes *lanes = rq->wire->lanes;

	http_request_set_body(rq, tr);
	secret_unref(rq->key_line);
	rq->key_line = secret_ref(key_line);
	rq->route = (int)tr->route;
	http_request_set_lines(rq, tr);
	if (lanes == NULL)
		return http_easy_start(rq, tr, why);
	http_request_set_head(rq);
	rq->again = false;
	if (http_lanes_begin(lanes, rq))
		return 0;
	return http_easy_connect(rq, why);
}

void
http_request_stop(struct http_request *rq)
{
	if (rq->lane != NULL)
		http_lane_drop(rq);
	if (!rq->running)
		return;
	http_multi_remove(rq->wire->hm, rq->easy);
	rq->running = false;
}

void
http_request_trim(struct http_request *rq)
{
	secret_unref(rq->key_line);
	rq->key_line = NULL;
	if (rq->body_cap <= HTTP_WIRE_BODY_KEEP)
		return;
	free(rq->body);
	rq->body = NULL;
	rq->body_cap = 0;
}

/* --- the answer ---------------------------------------------------------- */

bool
http_request_take(struct http_request *rq, const char *p, size_t len)
{
	size_t keep = HTTP_WIRE_ANSWER_MAX - rq->answer.body_len;

	if (keep > len)
		keep = len;
	/*
	 * An answer may list every event of a batch; most are a few bytes.
	 */
	while (rq->answer.body_len + keep > rq->answer_cap) {
		rq->answer_cap = rq->answer_cap == 0 ? HTTP_WIRE_ANSWER_MIN :
		    rq->answer_cap * 2;
		rq->answer_body = mem_grow(rq->answer_body, rq->answer_cap, 1);
	}
	if (keep > 0)
		memcpy(rq->answer_body + rq->answer.body_len, p, keep);
	rq->answer.body_len += keep;
	rq->answer_seen += len;
	return rq->answer_seen <= HTTP_WIRE_ANSWER_LIMIT;
}
