/*
 * floor_post: one request a run, with libcurl's multi interface on epoll, as
 * its documentation shows it. Easy handles and connections are used again.
 */
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

#include <curl/curl.h>

#include "bench/floor.h"

struct body {
	struct body	*next;
	char		*data;
	size_t		 len;
};

struct request {
	CURL			*easy;
	struct curl_slist	*lines;
	char			*id_line;	/* the last of them */
	char			*body;
	int			 busy;
};

struct floor_post {
	CURLM		*multi;
	int		 ep;
	int64_t		 due_ms;	/* -1: none */
	struct request	*requests;
	size_t		 requests_n, busy;
	struct body	*first, **last;	/* that wait */
	uint64_t	 sent, done;
};

static int64_t
now_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int
on_watch(CURL *easy, curl_socket_t fd, int what, void *arg, void *known)
{
	struct floor_post *fp = arg;
	struct epoll_event ev = { .data.u64 = FLOOR_POST | (uint32_t)fd };

	if (what == CURL_POLL_REMOVE) {
		(void)epoll_ctl(fp->ep, EPOLL_CTL_DEL, fd, NULL);
		return 0;
	}
	ev.events = ((what & CURL_POLL_IN) ? EPOLLIN : 0u) |
	    ((what & CURL_POLL_OUT) ? EPOLLOUT : 0u);
	(void)epoll_ctl(fp->ep, known == NULL ? EPOLL_CTL_ADD : EPOLL_CTL_MOD,
	    fd, &ev);
	if (known == NULL)
		(void)curl_multi_assign(fp->multi, fd, fp);
	return 0;
}

static int
on_timer(CURLM *multi, long ms, void *arg)
{
	struct floor_post *fp = arg;

	fp->due_ms = ms < 0 ? -1 : now_ms() + ms;
	return 0;
}

static size_t
on_answer(char *p, size_t size, size_t n, void *arg)
{
	return size * n;
}

static void
start(struct floor_post *fp, struct request *rq)
{
	struct body *b = fp->first;

	fp->first = b->next;
	if (fp->first == NULL)
		fp->last = &fp->first;
	rq->body = b->data;
	(void)sprintf(rq->id_line, "idempotency-key: \"floor-%llu\"",
	    (unsigned long long)++fp->sent);
	(void)curl_easy_setopt(rq->easy, CURLOPT_POSTFIELDS, b->data);
	(void)curl_easy_setopt(rq->easy, CURLOPT_POSTFIELDSIZE, (long)b->len);
	(void)curl_easy_setopt(rq->easy, CURLOPT_HTTPHEADER, rq->lines);
	(void)curl_multi_add_handle(fp->multi, rq->easy);
	rq->busy = 1;
	fp->busy++;
	free(b);
}

static void
start_all(struct floor_post *fp)
{
	size_t i;

	for (i = 0; i < fp->requests_n && fp->first != NULL; i++)
		if (!fp->requests[i].busy)
			start(fp, &fp->requests[i]);
}

static void
act(struct floor_post *fp, curl_socket_t fd, int bits)
{
	struct request *rq;
	CURLMsg *msg;
	int n;

	(void)curl_multi_socket_action(fp->multi, fd, bits, &n);
	while ((msg = curl_multi_info_read(fp->multi, &n)) != NULL) {
		long status = 0;

		(void)curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE,
		    (char **)&rq);
		(void)curl_easy_getinfo(rq->easy, CURLINFO_RESPONSE_CODE,
		    &status);
		if (status != 202) {
			(void)fprintf(stderr, "floor: status %ld, %s\n", status,
			    curl_easy_strerror(msg->data.result));
			exit(1);
		}
		(void)curl_multi_remove_handle(fp->multi, rq->easy);
		free(rq->body);
		rq->busy = 0;
		fp->busy--;
		fp->done++;
	}
}

void
floor_post_run(struct floor_post *fp, char *data, size_t len)
{
	struct body *b = calloc(1, sizeof *b);

	if (b == NULL)
		abort();
	b->data = data;
	b->len = len;
	*fp->last = b;
	fp->last = &b->next;
	if (fp->busy < fp->requests_n)
		start_all(fp);
}

uint64_t
floor_post_done(const struct floor_post *fp)
{
	return fp->done;
}

int
floor_post_wait(struct floor_post *fp)
{
	int64_t left;

	if (fp->due_ms < 0)
		return -1;
	left = fp->due_ms - now_ms();
	return left < 0 ? 0 : (int)left;
}

void
floor_post_ready(struct floor_post *fp, int fd, uint32_t events)
{
	act(fp, fd, ((events & EPOLLIN) ? CURL_CSELECT_IN : 0) |
	    ((events & EPOLLOUT) ? CURL_CSELECT_OUT : 0) |
	    ((events & (EPOLLERR | EPOLLHUP)) ? CURL_CSELECT_ERR : 0));
}

void
floor_post_turn(struct floor_post *fp)
{
	if (fp->due_ms >= 0 && now_ms() >= fp->due_ms) {
		fp->due_ms = -1;
		act(fp, CURL_SOCKET_TIMEOUT, 0);
	}
	/* Behind it: it may end a request, and nothing else would wake us. */
	if (fp->first != NULL && fp->busy < fp->requests_n)
		start_all(fp);
}

static void
request_init(struct request *rq, const char *url, const char *key)
{
	static const char *const lines[] = { "content-type: application/json",
		"content-encoding: zstd", "expect:", "lumni-run-part: 1",
		"lumni-run-reason: end" };
	char line[256];
	size_t i;

	(void)snprintf(line, sizeof line, "authorization: Bearer %s", key);
	rq->lines = curl_slist_append(NULL, line);
	for (i = 0; i < sizeof lines / sizeof lines[0]; i++)
		rq->lines = curl_slist_append(rq->lines, lines[i]);
	(void)memset(line, ' ', 64);
	line[64] = '\0';
	rq->lines = curl_slist_append(rq->lines, line);
	for (struct curl_slist *l = rq->lines; l != NULL; l = l->next)
		rq->id_line = l->data;
	rq->easy = curl_easy_init();
	(void)snprintf(line, sizeof line, "%s/v1/ingest/events", url);
	(void)curl_easy_setopt(rq->easy, CURLOPT_URL, line);
	(void)curl_easy_setopt(rq->easy, CURLOPT_PRIVATE, rq);
	(void)curl_easy_setopt(rq->easy, CURLOPT_POST, 1L);
	(void)curl_easy_setopt(rq->easy, CURLOPT_USERAGENT, "lumnid/floor");
	(void)curl_easy_setopt(rq->easy, CURLOPT_WRITEFUNCTION, on_answer);
	(void)curl_easy_setopt(rq->easy, CURLOPT_HTTP_VERSION,
	    (long)CURL_HTTP_VERSION_1_1);
	(void)curl_easy_setopt(rq->easy, CURLOPT_PROXY, "");
	(void)curl_easy_setopt(rq->easy, CURLOPT_NOSIGNAL, 1L);
}

struct floor_post *
floor_post_new(int ep, const char *url, const char *key, size_t connections)
{
	struct floor_post *fp = calloc(1, sizeof *fp);

	if (fp == NULL || curl_global_init(CURL_GLOBAL_DEFAULT) != 0)
		abort();
	fp->ep = ep;
	fp->due_ms = -1;
	fp->last = &fp->first;
	fp->multi = curl_multi_init();
	fp->requests_n = connections;
	fp->requests = calloc(connections, sizeof *fp->requests);
	if (fp->multi == NULL || fp->requests == NULL)
		abort();
	(void)curl_multi_setopt(fp->multi, CURLMOPT_SOCKETFUNCTION, on_watch);
	(void)curl_multi_setopt(fp->multi, CURLMOPT_SOCKETDATA, fp);
	(void)curl_multi_setopt(fp->multi, CURLMOPT_TIMERFUNCTION, on_timer);
	(void)curl_multi_setopt(fp->multi, CURLMOPT_TIMERDATA, fp);
	(void)curl_multi_setopt(fp->multi, CURLMOPT_MAXCONNECTS,
	    (long)connections);
	for (size_t i = 0; i < connections; i++)
		request_init(&fp->requests[i], url, key);
	return fp;
}

void
floor_post_free(struct floor_post *fp)
{
	for (size_t i = 0; i < fp->requests_n; i++) {
		(void)curl_multi_remove_handle(fp->multi,
		    fp->requests[i].easy);
		curl_easy_cleanup(fp->requests[i].easy);
		curl_slist_free_all(fp->requests[i].lines);
	}
	(void)curl_multi_cleanup(fp->multi);
	free(fp->requests);
	free(fp);
}
