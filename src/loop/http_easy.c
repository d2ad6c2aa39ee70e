/*
 * http_easy: an easy handle of libcurl: its options, which are set once; what
 * libcurl asks of us while it runs; and what became of it. See http_easy.h.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "config.h"
#include "codec/http_answer.h"
#include "core/conf_addr.h"
#include "loop/http_easy.h"
#include "loop/http_error.h"
#include "loop/http_lane.h"
#include "loop/http_wire.h"

/* Answers are short, and libcurl takes and wipes this for each request. */
#define HTTP_EASY_READ		4096L
#define HTTP_EASY_BUFFER	16384L
#define HTTP_EASY_CONNECT_MS	10000

/* --- callbacks of libcurl ------------------------------------------------- */

/* CURLOPT_HEADERFUNCTION */
static size_t
on_curl_header(char *line, size_t size, size_t n, void *arg)
{
	struct http_request *rq = arg;
	size_t len = size * n;

	/* A new answer (after a 100, say): nothing of the old. */
	if (len > 5 && memcmp(line, "HTTP/", 5) == 0)
		rq->answer.retry_after[0] = '\0';
	else
		http_answer_field(line, len, rq->answer.retry_after);
	return len;
}

/* CURLOPT_WRITEFUNCTION */
static size_t
on_curl_answer(char *p, size_t size, size_t n, void *arg)
{
	/* Who answers without end is cut off; the status counts. */
	return http_request_take(arg, p, size * n) ? size * n :
	    CURL_WRITEFUNC_ERROR;
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

/* --- options that stay ---------------------------------------------------- */

#define SET(option, value)						\
	do {								\
		if (r == CURLE_OK)					\
			r = curl_easy_setopt(easy, (option), (value));	\
	} while (0)

static CURLcode
http_easy_set_tls(CURL *easy, const struct conf *conf)
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
http_easy_version(const struct conf *conf)
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
http_easy_must_not_reuse(long version)
{
	unsigned v = curl_version_info(CURLVERSION_NOW)->version_num;

	return version == CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE &&
	    v >= 0x075700 && v < 0x080000;
}

/* Is the upstream a Unix socket? */
static bool
http_easy_is_socket(const struct conf *conf)
{
	return conf->upstream.unix_socket[0] != '\0' ||
	    conf_addr_url_socket(conf->upstream.url, NULL, 0);
}

/* Does libcurl find a proxy for http:// in the environment (curl(1))? */
static bool
http_easy_env_proxy(void)
{
	static const char *const names[] = { "http_proxy", "all_proxy",
	    "ALL_PROXY" };

	for (size_t i = 0; i < NELEM(names); i++) {
		const char *v = getenv(names[i]);

		if (v != NULL && v[0] != '\0')
			return true;
	}
	return false;
}

bool
http_easy_is_plain(const struct conf *conf)
{
	const char *proxy = conf->upstream.proxy;

	if (strncmp(conf->upstream.url, "https:", 6) == 0 ||
	    conf->upstream.http == CONF_HTTP_2)
		return false;
	if (http_easy_is_socket(conf) || strcmp(proxy, "none") == 0)
		return true;
	return proxy[0] == '\0' && !http_easy_env_proxy();
}

static CURLcode
http_easy_set_route(CURL *easy, const struct conf *conf)
{
	const char *proxy = conf->upstream.proxy;
	const char *socket_path = conf->upstream.unix_socket;
	char from_url[sizeof ((struct sockaddr_un *)0)->sun_path];
	int64_t connect_ms = conf->upstream.timeout_ms;
	long version = http_easy_version(conf);
	CURLcode r = CURLE_OK;

	if (connect_ms > HTTP_EASY_CONNECT_MS)
		connect_ms = HTTP_EASY_CONNECT_MS;
#if LIBCURL_VERSION_NUM >= 0x075500
	SET(CURLOPT_PROTOCOLS_STR, "http,https");
#else
	SET(CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_HTTP_VERSION, version);
	if (http_easy_must_not_reuse(version)) {
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
http_easy_set_callbacks(CURL *easy, struct http_request *rq)
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
	SET(CURLOPT_BUFFERSIZE, HTTP_EASY_READ);
	SET(CURLOPT_UPLOAD_BUFFERSIZE, HTTP_EASY_BUFFER);
	SET(CURLOPT_POST, 1L);
	SET(CURLOPT_USERAGENT, "lumnid/" PACKAGE_VERSION);
	return r;
}

int
http_easy_new(struct http_request *rq, const struct conf *conf,
    struct why *why)
{
	struct http_wire *wire = rq->wire;
	CURLcode r = CURLE_OUT_OF_MEMORY;

	rq->url_route = -1;
	rq->easy = curl_easy_init();
	if (rq->easy != NULL)
		r = http_easy_set_callbacks(rq->easy, rq);
	if (r == CURLE_OK)
		r = http_easy_set_route(rq->easy, conf);
	if (r == CURLE_OK)
		r = http_easy_set_tls(rq->easy, conf);
	if (r == CURLE_OK)
		r = http_multi_prepare(wire->hm, rq->easy);
	if (r == CURLE_OK && wire->lanes != NULL)
		r = curl_easy_setopt(rq->easy, CURLOPT_CONNECT_ONLY, 1L);
	if (r != CURLE_OK)
		return why_set(why, -EINVAL, "libcurl: %s",
		    curl_easy_strerror(r));
	return 0;
}

/* --- a request ------------------------------------------------------------ */

static CURLcode
http_easy_set_url(struct http_request *rq, enum transport_route route)
{
	CURL *easy = rq->easy;
	CURLcode r = CURLE_OK;

	if (rq->url_route != (int)route)
		SET(CURLOPT_CURLU, rq->wire->urls[route]);
	rq->url_route = r == CURLE_OK ? (int)route : -1;
	return r;
}

/* Give it to libcurl; r: of its options. */
static int
http_easy_run(struct http_request *rq, CURLcode r, struct why *why)
{
	CURLMcode m;

	if (r != CURLE_OK)
		return why_set(why, -ENOMEM, "libcurl: %s",
		    curl_easy_strerror(r));
	if ((m = http_multi_add(rq->wire->hm, rq->easy)) != CURLM_OK)
		return why_set(why, -ENOMEM, "libcurl: %s",
		    curl_multi_strerror(m));
	rq->running = true;
	return 0;
}

int
http_easy_connect(struct http_request *rq, struct why *why)
{
	struct http_wire *wire = rq->wire;
	CURL *easy = rq->easy;
	CURLcode r = http_easy_set_url(rq, (enum transport_route)rq->route);
	int64_t left_ms = mono_sub_ms(mono_add_ms(rq->begin, wire->timeout_ms),
	    clock_mono());

	/* It may be the second connection for this request. */
	SET(CURLOPT_TIMEOUT_MS, (long)(left_ms > 0 ? left_ms : 1));
	return http_easy_run(rq, r, why);
}

int
http_easy_start(struct http_request *rq,
    const struct transport_request *tr, struct why *why)
{
	static char no_expect[] = "expect:";
	CURL *easy = rq->easy;
	CURLcode r = http_easy_set_url(rq, tr->route);

	rq->lines[rq->lines_n - 1].next = &rq->no_expect;
	rq->no_expect.data = no_expect;
	SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)tr->body_len);
	/* NULL: it is read. */
	SET(CURLOPT_POSTFIELDS, rq->from_memory ? rq->body : NULL);
	SET(CURLOPT_HTTPHEADER, rq->lines);
	return http_easy_run(rq, r, why);
}

/* Of http_multi: the transfer, or the connecting of a lane, has ended. */
void
http_easy_done(void *arg, CURL *easy, CURLcode code)
{
	struct http_wire *wire = arg;
	struct http_request *rq = NULL;
	struct transport_answer *a;
	curl_off_t sent = 0;
	long status = 0;

	(void)curl_easy_getinfo(easy, CURLINFO_PRIVATE, &rq);
	(void)curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
	(void)curl_easy_getinfo(easy, CURLINFO_SIZE_UPLOAD_T, &sent);
	a = &rq->answer;
	if (wire->lanes != NULL && code == CURLE_OK) {
		rq->running = false;
		http_lanes_connected(wire->lanes, rq);
		return;
	}
	/*
	 * A refusal may come before the whole body is sent, and the connection
	 * may then break: the status counts. A success must be whole.
	 */
	if (status >= 200 && (code == CURLE_OK || status >= 300 ||
	    (rq->answer_seen > HTTP_WIRE_ANSWER_LIMIT &&
	    sent == (curl_off_t)rq->body_len))) {
		a->result = TRANSPORT_ANSWERED;
		a->status = (int)status;
	} else if (code == CURLE_OK) {
		a->result = TRANSPORT_NO_ANSWER;
		(void)snprintf(a->detail, sizeof a->detail,
		    "the answer has no status");
	} else {
		a->result = http_error_classify(easy, code, rq->error,
		    &a->status, a->detail, sizeof a->detail);
	}
	http_request_stop(rq);
	wire->ended(wire->arg, rq);
}
