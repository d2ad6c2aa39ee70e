/* http_wire: easy handles, made once and used for many requests. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/un.h>

#include "config.h"
#include "base/mem.h"
#include "core/conf_addr.h"
#include "loop/http_wire.h"

#define HTTP_WIRE_ANSWER_MAX	(256 * 1024)	/* kept of an answer's body */
#define HTTP_WIRE_ANSWER_MIN	1024
#define HTTP_WIRE_BODY_KEEP	(64 * 1024)	/* between requests */
/* Answers are short, and libcurl takes and wipes this for each request. */
#define HTTP_WIRE_READ		4096L
#define HTTP_WIRE_BUFFER	16384L
#define HTTP_WIRE_CONNECT_MS	10000

static const char *const http_wire_paths[HTTP_WIRE_ROUTES] = {
	[TRANSPORT_EVENTS] = "/v1/ingest/events",
	[TRANSPORT_CHANGES] = "/v1/ingest/changes",
	[TRANSPORT_POLICIES] = "/v1/ingest/policies",
};

/* --- callbacks of libcurl ------------------------------------------------- */

/* CURLOPT_HEADERFUNCTION; RFC 9110 10.2.3 is all we need to know. */
static size_t
on_curl_header(char *line, size_t size, size_t n, void *arg)
{
	static const char name[] = "retry-after:";
	struct http_request *rq = arg;
	size_t len = size * n, from = sizeof name - 1;

	if (len < from || strncasecmp(line, name, from) != 0) {
		/* A new answer (after a 100, say): nothing of the old. */
		if (len > 5 && memcmp(line, "HTTP/", 5) == 0)
			rq->answer.retry_after[0] = '\0';
		return len;
	}
	while (from < len && (line[from] == ' ' || line[from] == '\t'))
		from++;
	while (len > from && strchr(" \t\r\n", line[len - 1]) != NULL)
		len--;
	if (len - from < sizeof rq->answer.retry_after) {
		memcpy(rq->answer.retry_after, line + from, len - from);
		rq->answer.retry_after[len - from] = '\0';
	}
	return size * n;
}

/* CURLOPT_WRITEFUNCTION */
static size_t
on_curl_answer(char *p, size_t size, size_t n, void *arg)
{
	struct http_request *rq = arg;
	size_t len = size * n, keep;

	keep = HTTP_WIRE_ANSWER_MAX - rq->answer.body_len;
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
	memcpy(rq->answer_body + rq->answer.body_len, p, keep);
	rq->answer.body_len += keep;
	rq->answer_seen += len;
	/* Who answers without end is cut off; the status counts. */
	return rq->answer_seen > HTTP_WIRE_ANSWER_LIMIT ? CURL_WRITEFUNC_ERROR
	    : len;
}

/* CURLOPT_READFUNCTION */
static size_t
on_curl_read(char *dst, size_t size, size_t n, void *arg)
{
	struct http_request *rq = arg;
	size_t len = size * n;

	if (len > rq->body_len - rq->body_off)
		len = rq->body_len - rq->body_off;
	if (len == 0)
		return 0;
	if (rq->read(rq->read_arg, rq->tag, rq->body_off, dst, len) < 0)
		return CURL_READFUNC_ABORT;
	rq->body_off += len;
	return len;
}

/*
 * CURLOPT_SEEKFUNCTION: libcurl sends the body again when a reused connection
 * turns out to have been closed.
 */
static int
on_curl_seek(void *arg, curl_off_t off, int origin)
{
	struct http_request *rq = arg;

	if (origin != SEEK_SET || off < 0 || (size_t)off > rq->body_len)
		return CURL_SEEKFUNC_FAIL;
	rq->body_off = (size_t)off;
	return CURL_SEEKFUNC_OK;
}

/* --- the pool ------------------------------------------------------------- */

#define SET(option, value)						\
	do {								\
		if (r == CURLE_OK)					\
			r = curl_easy_setopt(easy, (option), (value));	\
	} while (0)

static CURLcode
http_request_set_tls(CURL *easy, const struct conf *conf)
{
	CURLcode r = CURLE_OK;

	SET(CURLOPT_SSL_VERIFYPEER, 1L);
	SET(CURLOPT_SSL_VERIFYHOST, 2L);
	SET(CURLOPT_SSLVERSION, (long)(conf->upstream.tls_min == CONF_TLS_1_3 ?
	    CURL_SSLVERSION_TLSv1_3 : CURL_SSLVERSION_TLSv1_2));
	if (conf->upstream.ca_file[0] != '\0')
		SET(CURLOPT_CAINFO, conf->upstream.ca_file);
	if (conf->upstream.cert_file[0] != '\0')
		SET(CURLOPT_SSLCERT, conf->upstream.cert_file);
	if (conf->upstream.key_file[0] != '\0')
		SET(CURLOPT_SSLKEY, conf->upstream.key_file);
	return r;
}

static long
http_request_version(const struct conf *conf)
{
	bool tls = strncmp(conf->upstream.url, "https:", 6) == 0;

	switch ((enum conf_http)conf->upstream.http) {
	case CONF_HTTP_1_1:
		break;
	case CONF_HTTP_2:
		return tls ? CURL_HTTP_VERSION_2TLS :
		    CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE;
	case CONF_HTTP_AUTO:
		if (tls)
			return CURL_HTTP_VERSION_2TLS;
		break;
	}
	return CURL_HTTP_VERSION_1_1;
}

/*
 * libcurl 7.87 to 7.88 break the second request of a connection that speaks
 * HTTP/2 from its first byte (curl's issue 10634).
 */
static bool
http_request_must_not_reuse(long version)
{
	unsigned v = curl_version_info(CURLVERSION_NOW)->version_num;

	return version == CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE &&
	    v >= 0x075700 && v < 0x080000;
}

static CURLcode
http_request_set_route(CURL *easy, const struct conf *conf)
{
	const char *proxy = conf->upstream.proxy;
	const char *socket_path = conf->upstream.unix_socket;
	char from_url[sizeof ((struct sockaddr_un *)0)->sun_path];
	int64_t connect_ms = conf->upstream.timeout_ms;
	long version = http_request_version(conf);
	CURLcode r = CURLE_OK;

	if (connect_ms > HTTP_WIRE_CONNECT_MS)
		connect_ms = HTTP_WIRE_CONNECT_MS;
#if LIBCURL_VERSION_NUM >= 0x075500
	SET(CURLOPT_PROTOCOLS_STR, "http,https");
#else
	SET(CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_HTTP_VERSION, version);
	if (http_request_must_not_reuse(version)) {
		SET(CURLOPT_FRESH_CONNECT, 1L);
		SET(CURLOPT_FORBID_REUSE, 1L);
	}
	/* Where HTTP/2 may come, wait to learn it, and share a connection. */
	SET(CURLOPT_PIPEWAIT, 1L);
	SET(CURLOPT_TCP_KEEPALIVE, 1L);
	SET(CURLOPT_TIMEOUT_MS, (long)conf->upstream.timeout_ms);
	SET(CURLOPT_CONNECTTIMEOUT_MS, (long)connect_ms);
	if (conf_addr_url_socket(conf->upstream.url, from_url,
	    sizeof from_url))
		socket_path = from_url;
	/* Without it the environment decides; "" is no proxy at all. */
	if (strcmp(proxy, "none") == 0 || socket_path[0] != '\0')
		SET(CURLOPT_PROXY, "");
	else if (proxy[0] != '\0')
		SET(CURLOPT_PROXY, proxy);
	SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	if (socket_path[0] != '\0')
		SET(CURLOPT_UNIX_SOCKET_PATH, socket_path);
	return r;
}

static CURLcode
http_request_set_callbacks(CURL *easy, struct http_request *rq)
{
	CURLcode r = CURLE_OK;

	SET(CURLOPT_PRIVATE, (void *)rq);
	SET(CURLOPT_NOSIGNAL, 1L);
#if LIBCURL_VERSION_NUM >= 0x075700
	/*
	 * The end of a request must not wait for the thread that resolves its
	 * name: where a name server is silent, that is tens of seconds.
	 */
	SET(CURLOPT_QUICK_EXIT, 1L);
#endif
	SET(CURLOPT_ERRORBUFFER, rq->error);
	SET(CURLOPT_HEADERFUNCTION, on_curl_header);
	SET(CURLOPT_HEADERDATA, (void *)rq);
	SET(CURLOPT_WRITEFUNCTION, on_curl_answer);
	SET(CURLOPT_WRITEDATA, (void *)rq);
	SET(CURLOPT_READFUNCTION, on_curl_read);
	SET(CURLOPT_READDATA, (void *)rq);
	SET(CURLOPT_SEEKFUNCTION, on_curl_seek);
	SET(CURLOPT_SEEKDATA, (void *)rq);
	SET(CURLOPT_BUFFERSIZE, HTTP_WIRE_READ);
	SET(CURLOPT_UPLOAD_BUFFERSIZE, HTTP_WIRE_BUFFER);
	SET(CURLOPT_POST, 1L);
	SET(CURLOPT_USERAGENT, "lumnid/" PACKAGE_VERSION);
	return r;
}

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
	CURLcode r = CURLE_OUT_OF_MEMORY;

	rq->wire = wire;
	rq->route = -1;
	rq->easy = curl_easy_init();
	if (rq->easy != NULL)
		r = http_request_set_callbacks(rq->easy, rq);
	if (r == CURLE_OK)
		r = http_request_set_route(rq->easy, conf);
	if (r == CURLE_OK)
		r = http_request_set_tls(rq->easy, conf);
	if (r == CURLE_OK)
		r = http_multi_prepare(wire->hm, rq->easy);
	if (r == CURLE_OK)
		return rq;
	(void)why_set(why, -EINVAL, "libcurl: %s", curl_easy_strerror(r));
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
	http_multi_free(wire->hm);
	for (size_t i = 0; i < HTTP_WIRE_ROUTES; i++)
		curl_url_cleanup(wire->urls[i]);
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

struct http_wire *
http_wire_new(struct loop *loop, const struct conf *conf,
    void (*done)(void *, CURL *, CURLcode), void *arg, struct why *why)
{
	struct http_wire *wire = mem_zalloc(sizeof *wire);

	wire->arg = arg;
	wire->requests_max = conf->upstream.connections;
	wire->requests = mem_grow(NULL, wire->requests_max,
	    sizeof *wire->requests);
	for (size_t i = 0; i < HTTP_WIRE_ROUTES; i++) {
		wire->urls[i] = http_wire_url(conf, http_wire_paths[i], why);
		if (wire->urls[i] == NULL) {
			http_wire_free(wire);
			return NULL;
		}
	}
	wire->hm = http_multi_new(loop, (long)conf->upstream.connections, done,
	    arg);
	if (wire->hm == NULL) {
		(void)why_set(why, -ENOMEM, "libcurl: no memory");
		http_wire_free(wire);
		return NULL;
	}
	return wire;
}

/* --- sending -------------------------------------------------------------- */

/* Chain the header's lines; all text lies in the request or is constant. */
static void
http_request_set_lines(struct http_request *rq,
    const struct transport_request *tr)
{
	static char type[] = "content-type: application/json";
	static char coding[] = "content-encoding: zstd";
	static char no_expect[] = "expect:";
	char *lines[HTTP_WIRE_LINES];
	size_t n = 0;

	lines[n++] = secret_text(rq->key_line);
	lines[n++] = type;
	if (tr->compressed)
		lines[n++] = coding;
	(void)snprintf(rq->id_line, sizeof rq->id_line,
	    "idempotency-key: \"%s\"", tr->id);
	lines[n++] = rq->id_line;
	if (tr->part != 0) {
		(void)snprintf(rq->part_line, sizeof rq->part_line,
		    "lumni-run-part: %" PRIu32, tr->part);
		lines[n++] = rq->part_line;
	}
	if (tr->reason != NULL) {
		(void)snprintf(rq->reason_line, sizeof rq->reason_line,
		    "lumni-run-reason: %s", tr->reason);
		lines[n++] = rq->reason_line;
	}
	lines[n++] = no_expect;
	for (size_t i = 0; i < n; i++)
		rq->lines[i] = (struct curl_slist){
			.data = lines[i],
			.next = i + 1 < n ? &rq->lines[i + 1] : NULL,
		};
}

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

static CURLcode
http_request_set_body(struct http_request *rq,
    const struct transport_request *tr)
{
	bool from_memory = tr->body != NULL;
	CURL *easy = rq->easy;
	CURLcode r = CURLE_OK;

	rq->body_len = tr->body_len;
	rq->body_off = 0;
	rq->read = tr->read;
	rq->read_arg = tr->arg;
	SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)tr->body_len);
	if (from_memory) {
		http_request_copy_body(rq, tr->body, tr->body_len);
		SET(CURLOPT_POSTFIELDS, rq->body);
	} else if (rq->from_memory) {
		SET(CURLOPT_POSTFIELDS, NULL);
	}
	rq->from_memory = from_memory;
	return r;
}

int
http_request_start(struct http_request *rq, const struct transport_request *tr,
    struct secret *key_line, struct why *why)
{
	CURL *easy = rq->easy;
	CURLcode r;
	CURLMcode m;

	r = http_request_set_body(rq, tr);
	secret_unref(rq->key_line);
	rq->key_line = secret_ref(key_line);
	http_request_set_lines(rq, tr);
	SET(CURLOPT_HTTPHEADER, rq->lines);
	if (rq->route != (int)tr->route)
		SET(CURLOPT_CURLU, rq->wire->urls[tr->route]);
	rq->route = (int)tr->route;
	if (r != CURLE_OK)
		return why_set(why, -ENOMEM, "libcurl: %s",
		    curl_easy_strerror(r));
	if ((m = http_multi_add(rq->wire->hm, easy)) != CURLM_OK)
		return why_set(why, -ENOMEM, "libcurl: %s",
		    curl_multi_strerror(m));
	rq->running = true;
	return 0;
}

void
http_request_stop(struct http_request *rq)
{
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
