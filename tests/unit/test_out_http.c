/*
 * out_http against a server in the same loop that says exactly what a test
 * wants it to say, byte for byte, and breaks the connection where it wants. All
 * of it twice: over lanes (http_lane.h), and by libcurl alone, which is to do
 * the same.
 */
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/engine.h"
#include "loop/http_easy.h"
#include "loop/http_key.h"
#include "loop/loop.h"
#include "loop/out_http.h"
#include "unit.h"

/* --- a fake engine -------------------------------------------------------- */

static struct answer {
	uint64_t		tag;
	struct transport_answer	a;
	char		body[256 * 1024 + 1];
} answers[64];
static size_t answers_n, answers_wanted;
static struct loop *loop;

struct mono
engine_deadline(const struct engine *e)
{
	return MONO_NEVER;
}

void
engine_turn_taken(struct engine *e, struct now now)
{
	engine_turn(e, now);
}

void
engine_turn(struct engine *e, struct now now)
{
}

void
engine_answer(struct engine *e, uint64_t tag, const struct transport_answer *a,
    struct now now)
{
	struct answer *to = &answers[answers_n++];

	to->tag = tag;
	to->a = *a;
	ck_assert_uint_lt(a->body_len, sizeof to->body);
	if (a->body_len != 0)
		memcpy(to->body, a->body, a->body_len);
	to->body[a->body_len] = '\0';
	if (answers_n >= answers_wanted)
		loop_quit(loop);
}

/* --- a scripted server ---------------------------------------------------- */

enum after { KEEP, CLOSE, RESET, SAY_NOTHING };

static struct {
	const char	*reply;		/* NULL: none */
	enum after	 after;
	size_t		 at;		/* act at so many body bytes; 0: all */
} script[16];
static size_t script_n;

static struct seen {
	char		head[4096];
	char		*body;
	size_t		body_len;
} seen[64];
static size_t seen_n;
static unsigned accepted;
static struct evconnlistener *listener;
static struct bufferevent *clients[64];
static size_t clients_n;

static void
server_act(struct bufferevent *bev, size_t step)
{
	struct linger linger = { 1, 0 };
	evutil_socket_t fd = bufferevent_getfd(bev);

	ck_assert_uint_lt(step, script_n);
	if (script[step].reply != NULL && script[step].after == KEEP)
		ck_assert_int_eq(bufferevent_write(bev, script[step].reply,
		    strlen(script[step].reply)), 0);
	else if (script[step].reply != NULL)
		/* At once: what follows may close it. */
		ck_assert_int_gt(send(fd, script[step].reply,
		    strlen(script[step].reply), MSG_NOSIGNAL), 0);
	if (script[step].after == RESET)
		(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger,
		    sizeof linger);
	if (script[step].after == RESET || script[step].after == CLOSE) {
		for (size_t i = 0; i < clients_n; i++)
			if (clients[i] == bev)
				clients[i] = NULL;
		bufferevent_free(bev);
	}
}

static void
on_server_read(struct bufferevent *bev, void *arg)
{
	struct evbuffer *in = bufferevent_get_input(bev);
	struct evbuffer_ptr end = evbuffer_search(in, "\r\n\r\n", 4, NULL);
	struct seen *s = &seen[seen_n];
	const char *length;
	size_t want, have;

	if (end.pos < 0)
		return;
	(void)evbuffer_copyout(in, s->head, (size_t)end.pos + 4);
	s->head[end.pos + 4] = '\0';
	length = strcasestr(s->head, "content-length:");
	ck_assert_ptr_nonnull(length);
	s->body_len = (size_t)atol(length + 15);
	have = evbuffer_get_length(in) - (size_t)end.pos - 4;
	want = script[seen_n].at != 0 ? script[seen_n].at : s->body_len;
	if (have < want)
		return;
	(void)evbuffer_drain(in, (size_t)end.pos + 4);
	s->body = malloc(s->body_len + 1);
	ck_assert_ptr_nonnull(s->body);
	(void)evbuffer_remove(in, s->body, s->body_len);
	seen_n++;
	server_act(bev, seen_n - 1);
}

static void
on_server_event(struct bufferevent *bev, short what, void *arg)
{
	for (size_t i = 0; i < clients_n; i++)
		if (clients[i] == bev)
			clients[i] = NULL;
	bufferevent_free(bev);
}

static void
on_server_accept(struct evconnlistener *l, evutil_socket_t fd,
    struct sockaddr *sa, int len, void *arg)
{
	struct bufferevent *bev = bufferevent_socket_new(loop_base(loop), fd,
	    BEV_OPT_CLOSE_ON_FREE);

	accepted++;
	clients[clients_n++] = bev;
	bufferevent_setcb(bev, on_server_read, NULL, on_server_event, NULL);
	(void)bufferevent_enable(bev, EV_READ);
}

/* --- what the tests share ------------------------------------------------- */

#define OK_REPLY "HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}"

static struct conf *conf;
static struct out_http *out;
static struct transport *tp;
static char url[64];
static bool by_libcurl;

static void
set(struct conf *cf, const char *key, const char *value)
{
	struct why why;

	ck_assert_msg(conf_set(cf, key, value, &why) == 0, "%s", why.text);
}

static struct conf *
conf_make(void)
{
	struct conf *cf;
	struct why why;

	ck_assert_msg(conf_load(NULL, true, &cf, &why) == 0, "%s", why.text);
	set(cf, "upstream.url", url);
	/* A proxy that nothing goes through: lanes do not know that. */
	set(cf, "upstream.proxy", by_libcurl ? "" : "none");
	(void)setenv("http_proxy", "http://127.0.0.1:1", 1);
	(void)setenv("no_proxy", "*", 1);
	ck_assert(http_easy_is_plain(cf) != by_libcurl);
	set(cf, "upstream.timeout", "5s");
	return cf;
}

static void
begin(void)
{
	struct sockaddr_in sin = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t len = sizeof sin;
	struct why why;

	answers_n = script_n = seen_n = clients_n = 0;
	accepted = 0;
	memset(script, 0, sizeof script);
	ck_assert_int_eq(setenv("LUMNI_API_KEY", "secret-1", 1), 0);
	ck_assert_msg(loop_new(&loop, &why) == 0, "%s", why.text);
	listener = evconnlistener_new_bind(loop_base(loop), on_server_accept,
	    NULL, LEV_OPT_CLOSE_ON_FREE, 16, (struct sockaddr *)&sin,
	    sizeof sin);
	ck_assert_ptr_nonnull(listener);
	ck_assert_int_eq(getsockname(evconnlistener_get_fd(listener),
	    (struct sockaddr *)&sin, &len), 0);
	(void)snprintf(url, sizeof url, "http://127.0.0.1:%d/base",
	    ntohs(sin.sin_port));
	conf = conf_make();
}

static void
open_out(void)
{
	struct why why;

	ck_assert_msg(out_http_new(loop, conf, &out, &why) == 0, "%s",
	    why.text);
	tp = out_http_transport(out);
	loop_set_engine(loop, (struct engine *)&answers);
}

static void
end(void)
{
	out_http_free(out);
	if (listener != NULL)
		evconnlistener_free(listener);
	for (size_t i = 0; i < clients_n; i++)
		if (clients[i] != NULL)
			bufferevent_free(clients[i]);
	for (size_t i = 0; i < seen_n; i++)
		free(seen[i].body);
	loop_free(loop);
	conf_free(conf);
}

static void
step(const char *reply, enum after after)
{
	script[script_n].reply = reply;
	script[script_n++].after = after;
}

static void
on_too_late(evutil_socket_t fd, short what, void *arg)
{
	ck_abort_msg("%zu answers instead of %zu", answers_n, answers_wanted);
}

/* Run until so many answers have come, in all. */
static void
run(size_t wanted)
{
	const struct timeval limit = { .tv_sec = 30 };
	struct event watchdog;
	struct why why;

	answers_wanted = wanted;
	(void)evtimer_assign(&watchdog, loop_base(loop), on_too_late, NULL);
	(void)evtimer_add(&watchdog, &limit);
	if (answers_n < wanted)
		ck_assert_int_eq(loop_run(loop, &why), 0);
	(void)event_del(&watchdog);
	ck_assert_uint_eq(answers_n, wanted);
}

static char big[1 << 20];

/* transport_request.read: a body that is a function of the offset. */
static int
read_big(void *arg, uint64_t tag, size_t off, void *dst, size_t n)
{
	memcpy(dst, big + off, n);
	return 0;
}

static int
send_body(uint64_t tag, const char *body)
{
	const struct transport_request tr = {
		.tag = tag,
		.route = TRANSPORT_EVENTS,
		.id = "0123456789abcdef-7",
		.body = (const uint8_t *)body,
		.body_len = strlen(body),
	};
	struct why why;

	return tp->send(tp, &tr, &why);
}

static int
send_read(uint64_t tag, size_t len,
    int (*read)(void *, uint64_t, size_t, void *, size_t))
{
	const struct transport_request tr = {
		.tag = tag,
		.route = TRANSPORT_CHANGES,
		.id = "0123456789abcdef-8",
		.compressed = true,
		.part = 3,
		.reason = "idle",
		.body_len = len,
		.read = read,
	};
	struct why why;

	for (size_t i = 0; i < sizeof big; i++)
		big[i] = (char)('a' + i * 7 % 26 + i / 4096 % 3);
	return tp->send(tp, &tr, &why);
}

/* The first request, which is answered so. */
static void
ask(const char *reply, enum after after)
{
	begin();
	open_out();
	step(reply, after);
	ck_assert_int_eq(send_body(1, "{}"), 0);
	run(1);
}

/* ..., when most of it is still on this side. */
static void
ask_long(const char *reply, enum after after)
{
	begin();
	open_out();
	step(reply, after);
	script[0].at = 1000;
	ck_assert_int_eq(send_read(1, sizeof big, read_big), 0);
	run(1);
}

static void
has_line(const char *head, const char *line, bool wanted)
{
	ck_assert_msg((strcasestr(head, line) != NULL) == wanted,
	    "%s \"%s\" in:\n%s", wanted ? "no" : "unwanted", line, head);
}

/* --- tests ---------------------------------------------------------------- */

START_TEST(headers_are_as_documented)
{
	begin();
	open_out();
	step("HTTP/1.1 503 Busy\r\nretry-after:  17 \r\nContent-Length: 5\r\n"
	    "\r\nhello", KEEP);
	step(OK_REPLY, KEEP);
	ck_assert_int_eq(send_body(1, "{\"runId\":\"r\",\"events\":[]}"), 0);
	run(1);
	ck_assert_int_eq(answers[0].a.result, TRANSPORT_ANSWERED);
	ck_assert_int_eq(answers[0].a.status, 503);
	ck_assert_str_eq(answers[0].a.retry_after, "17");
	ck_assert_str_eq(answers[0].body, "hello");
	ck_assert_int_eq(strncmp(seen[0].head,
	    "POST /base/v1/ingest/events HTTP/1.1\r\n", 38), 0);
	has_line(seen[0].head, "\r\nauthorization: Bearer secret-1\r\n", true);
	has_line(seen[0].head, "\r\ncontent-type: application/json\r\n", true);
	has_line(seen[0].head, "\r\nidempotency-key: \"0123456789abcdef-7\"\r\n",
	    true);
	has_line(seen[0].head, "\r\nuser-agent: lumnid/", true);
	has_line(seen[0].head, "\r\ncontent-encoding:", false);
	has_line(seen[0].head, "\r\nlumni-run-", false);
	has_line(seen[0].head, "\r\nexpect:", false);
	ck_assert_uint_eq(seen[0].body_len, 25);
	ck_assert_int_eq(memcmp(seen[0].body, "{\"runId\"", 8), 0);

	/* Another route, on the same connection. */
	ck_assert_int_eq(send_read(2, 100000, read_big), 0);
	run(2);
	ck_assert_int_eq(answers[1].a.status, 202);
	ck_assert_str_eq(answers[1].a.retry_after, "");
	ck_assert_int_eq(strncmp(seen[1].head,
	    "POST /base/v1/ingest/changes HTTP/1.1\r\n", 39), 0);
	has_line(seen[1].head, "\r\ncontent-encoding: zstd\r\n", true);
	has_line(seen[1].head, "\r\nlumni-run-part: 3\r\n", true);
	has_line(seen[1].head, "\r\nlumni-run-reason: idle\r\n", true);
	has_line(seen[1].head, "\r\nexpect:", false);
	has_line(seen[1].head, "\r\ntransfer-encoding:", false);
	ck_assert_uint_eq(seen[1].body_len, 100000);
	ck_assert_int_eq(memcmp(seen[1].body, big, 100000), 0);
	ck_assert_uint_eq(accepted, 1);
	end();
}
END_TEST

/* The server closed the idle connection: found before a byte is sent. */
START_TEST(closed_idle_connection_costs_nothing)
{
	begin();
	open_out();
	step(OK_REPLY, CLOSE);
	step(OK_REPLY, KEEP);
	ck_assert_int_eq(send_body(1, "{}"), 0);
	run(1);
	ck_assert_int_eq(send_body(2, "{}"), 0);
	run(2);
	ck_assert_int_eq(answers[1].a.status, 202);
	ck_assert_uint_eq(accepted, 2);
	end();
}
END_TEST

/*
 * The server takes the request on the reused connection and closes it: the
 * body is sent again, from its beginning, on a fresh one.
 */
static void
reused_connection_dies(enum after how)
{
	begin();
	open_out();
	step(OK_REPLY, KEEP);
	step(NULL, how);
	step(OK_REPLY, KEEP);
	ck_assert_int_eq(send_body(1, "{}"), 0);
	run(1);
	ck_assert_int_eq(send_read(2, 300000, read_big), 0);
	run(2);
	ck_assert_int_eq(answers[1].a.result, TRANSPORT_ANSWERED);
	ck_assert_int_eq(answers[1].a.status, 202);
	ck_assert_uint_eq(accepted, 2);
	ck_assert_uint_eq(seen[2].body_len, 300000);
	ck_assert_int_eq(memcmp(seen[2].body, big, 300000), 0);
	end();
}

START_TEST(reused_connection_that_closes_is_no_failure)
{
	reused_connection_dies(CLOSE);
}
END_TEST

START_TEST(reused_connection_that_resets_is_no_failure)
{
	reused_connection_dies(RESET);
}
END_TEST

START_TEST(fresh_connection_that_dies_is_one)
{
	ask(NULL, CLOSE);
	ck_assert_int_eq(answers[0].a.result, TRANSPORT_NO_ANSWER);
	ck_assert_str_ne(answers[0].a.detail, "");
	ck_assert_uint_eq(accepted, 1);
	end();
}
END_TEST

/* "413" and a close, while most of the body is still on this side. */
START_TEST(early_refusal_counts)
{
	ask_long("HTTP/1.1 413 Too Large\r\nConnection: close\r\n"
	    "Content-Length: 3\r\n\r\nbig", CLOSE);
	ck_assert_int_eq(answers[0].a.result, TRANSPORT_ANSWERED);
	ck_assert_int_eq(answers[0].a.status, 413);
	end();
}
END_TEST

/* A 200 whose body is cut may hide which events were refused. */
START_TEST(cut_success_does_not_count)
{
	ask("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"err", CLOSE);
	ck_assert_int_eq(answers[0].a.result, TRANSPORT_NO_ANSWER);
	end();
}
END_TEST

START_TEST(large_answer_is_cut)
{
	static char reply[3 << 20];
	int n = snprintf(reply, sizeof reply,
	    "HTTP/1.1 %d X\r\nContent-Length: 300000\r\n\r\n", 422);

	memset(reply + n, 'e', 300000);
	ask(reply, KEEP);
	ck_assert_int_eq(answers[0].a.status, 422);
	ck_assert_uint_eq(answers[0].a.body_len, 256 * 1024);
	ck_assert_uint_eq(strspn(answers[0].body, "e"), 256 * 1024);
	end();
}
END_TEST

/* All ways of saying where an answer ends; the connection serves on. */
START_TEST(answers_of_all_shapes)
{
	static const char *const texts[] = {
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\n"
		    "Link: x\r\n\r\nHTTP/1.1 201 Made\r\nContent-Length: 3"
		    "\r\n\r\nabc",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
		    "1\r\na\r\n2;x=y\r\nbc\r\n0\r\nT: t\r\n\r\n",
		"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n"
		    "Content-Length: 3\r\n\r\nabc",
		"HTTP/1.1 204 None\r\n\r\n",
		"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc",
	};
	static const int status[] = { 201, 200, 200, 204, 200 };

	begin();
	open_out();
	for (size_t i = 0; i < 5; i++)
		step(texts[i], i < 4 ? KEEP : CLOSE);
	for (size_t i = 0; i < 5; i++) {
		ck_assert_int_eq(send_body(i, "{}"), 0);
		run(i + 1);
		ck_assert_int_eq(answers[i].a.result, TRANSPORT_ANSWERED);
		ck_assert_int_eq(answers[i].a.status, status[i]);
		ck_assert_str_eq(answers[i].body, i == 3 ? "" : "abc");
	}
	ck_assert_uint_eq(accepted, 1);
	end();
}
END_TEST

/* It counts once the server has the whole request. */
START_TEST(early_success_waits_for_the_rest)
{
	ask_long(OK_REPLY, KEEP);
	ck_assert_int_eq(answers[0].a.result, TRANSPORT_ANSWERED);
	ck_assert_int_eq(answers[0].a.status, 202);
	end();
}
END_TEST

START_TEST(early_success_and_a_close_is_none)
{
	ask_long(OK_REPLY, CLOSE);
	ck_assert_int_eq(answers[0].a.result, TRANSPORT_NO_ANSWER);
	ck_assert_str_ne(answers[0].a.detail, "");
	end();
}
END_TEST

/* Another program listens there: said so, and tried again. */
START_TEST(no_answer_of_http)
{
	ask("SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", KEEP);
	ck_assert_int_eq(answers[0].a.result, TRANSPORT_NO_ANSWER);
	ck_assert_ptr_nonnull(strstr(answers[0].a.detail, "HTTP"));
	end();
}
END_TEST

/* More than the answer: that connection is not used again. */
START_TEST(server_that_speaks_out_of_turn)
{
	begin();
	open_out();
	step(OK_REPLY OK_REPLY, KEEP);
	step(OK_REPLY, KEEP);
	for (size_t i = 0; i < 2; i++) {
		ck_assert_int_eq(send_body(i, "{}"), 0);
		run(i + 1);
		ck_assert_int_eq(answers[i].a.status, 202);
	}
	ck_assert_uint_eq(accepted, 2);
	end();
}
END_TEST

/*
 * ..., as a proxy does that gives an idle connection up, when the next request
 * is about to go: that was no answer to it. A stray 202 was taken for one.
 */
START_TEST(server_that_speaks_just_before)
{
	static const char stray[] = OK_REPLY;

	/* libcurl looks at an idle connection once a second only. */
	if (by_libcurl)
		return;
	begin();
	open_out();
	step(OK_REPLY, KEEP);
	step("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", KEEP);
	ck_assert_int_eq(send_body(1, "{}"), 0);
	run(1);
	ck_assert_int_eq(send(bufferevent_getfd(clients[0]), stray,
	    sizeof stray - 1, 0), sizeof stray - 1);
	ck_assert_int_eq(send_body(2, "{}"), 0);
	run(2);
	ck_assert_int_eq(answers[1].a.status, 503);
	ck_assert_uint_eq(seen_n, 2);
	ck_assert_uint_eq(accepted, 2);
	end();
}
END_TEST

/* Who answers without end is cut off, and the status counts. */
START_TEST(endless_answer)
{
	static char reply[3 << 20];
	int n = snprintf(reply, sizeof reply, "HTTP/1.1 200 OK\r\n\r\n");

	memset(reply + n, 'e', 2 << 20);
	ask(reply, KEEP);
	ck_assert_int_eq(answers[0].a.result, TRANSPORT_ANSWERED);
	ck_assert_int_eq(answers[0].a.status, 200);
	ck_assert_uint_eq(answers[0].a.body_len, 256 * 1024);
	end();
}
END_TEST

START_TEST(redirects_are_answers)
{
	ask("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/x\r\n"
	    "Content-Length: 0\r\n\r\n", KEEP);
	ck_assert_int_eq(answers[0].a.status, 302);
	ck_assert_uint_eq(seen_n, 1);
	end();
}
END_TEST

START_TEST(silence_ends_at_the_time_limit)
{
	begin();
	set(conf, "upstream.timeout", "200ms");
	open_out();
	step(NULL, SAY_NOTHING);
	ck_assert_int_eq(send_body(1, "{}"), 0);
	run(1);
	ck_assert_int_eq(answers[0].a.result, TRANSPORT_NO_ANSWER);
	ck_assert_int_ge(answers[0].a.elapsed_ms, 190);
	ck_assert_ptr_nonnull(strstr(answers[0].a.detail, "timed out"));
	end();
}
END_TEST

START_TEST(nobody_there)
{
	begin();
	evconnlistener_free(listener);
	listener = NULL;
	open_out();
	ck_assert_int_eq(send_body(1, "{}"), 0);
	run(1);
	ck_assert_int_eq(answers[0].a.result, TRANSPORT_NO_ANSWER);
	ck_assert_ptr_nonnull(strstr(answers[0].a.detail, "connect"));
	end();
}
END_TEST

START_TEST(cancelled_ones_end_once)
{
	begin();
	open_out();
	step(NULL, SAY_NOTHING);
	step(OK_REPLY, KEEP);
	ck_assert_int_eq(send_body(7, "{}"), 0);
	tp->cancel(tp, 7);
	tp->cancel(tp, 7);
	tp->cancel(tp, 8);
	run(1);
	ck_assert_uint_eq(answers[0].tag, 7);
	ck_assert_int_eq(answers[0].a.result, TRANSPORT_CANCELLED);
	/* The handle serves the next one. */
	step(OK_REPLY, KEEP);
	script[0].after = KEEP;
	script[0].reply = OK_REPLY;
	ck_assert_int_eq(send_body(9, "{}"), 0);
	run(2);
	ck_assert_int_eq(answers[1].a.status, 202);
	end();
}
END_TEST

static int
read_fails(void *arg, uint64_t tag, size_t off, void *dst, size_t n)
{
	return -EIO;
}

START_TEST(unreadable_body_is_our_fault)
{
	begin();
	open_out();
	step(OK_REPLY, KEEP);
	ck_assert_int_eq(send_read(1, 200000, read_fails), 0);
	run(1);
	ck_assert_int_eq(answers[0].a.result, TRANSPORT_LOCAL);
	end();
}
END_TEST

START_TEST(pool_has_a_limit)
{
	begin();
	set(conf, "upstream.connections", "3");
	open_out();
	for (size_t i = 0; i < 3; i++) {
		step(OK_REPLY, KEEP);
		ck_assert_int_eq(send_body(i, "{}"), 0);
	}
	ck_assert_int_eq(send_body(3, "{}"), -EBUSY);
	run(3);
	ck_assert_uint_eq(accepted, 3);
	end();
}
END_TEST

/* A request goes on over a reload; the next one has the new settings. */
START_TEST(reload_waits_for_nobody)
{
	struct conf *old, *next;
	struct why why;
	char longer[80];

	begin();
	open_out();
	step(OK_REPLY, KEEP);
	step(OK_REPLY, KEEP);
	ck_assert_int_eq(send_body(1, "{}"), 0);
	(void)snprintf(longer, sizeof longer, "%s/v2/", url);
	old = conf;
	ck_assert_int_eq(setenv("LUMNI_API_KEY", "secret-2", 1), 0);
	next = conf_make();
	set(next, "upstream.url", longer);
	ck_assert_int_eq(out_http_set_conf(out, next, &why), 0);
	conf_free(old);
	conf = next;
	ck_assert_int_eq(send_body(2, "{}"), 0);
	run(2);
	ck_assert_int_eq(answers[0].a.status, 202);
	ck_assert_int_eq(answers[1].a.status, 202);
	ck_assert_uint_eq(accepted, 2);
	for (size_t i = 0; i < 2; i++)
		if (strncmp(seen[i].head, "POST /base/v2/v1/ingest/events ",
		    31) == 0)
			has_line(seen[i].head, "Bearer secret-2\r\n", true);
		else
			has_line(seen[i].head, "Bearer secret-1\r\n", true);
	ck_assert_int_eq(tp->reload(tp, &why), 0);
	end();
}
END_TEST

START_TEST(missing_key_is_told)
{
	begin();
	secret_unref(conf->upstream.api_key);
	conf->upstream.api_key = NULL;
	open_out();
	ck_assert_int_eq(send_body(5, "{}"), 0);
	ck_assert_uint_eq(answers_n, 0);
	run(1);
	ck_assert_uint_eq(answers[0].tag, 5);
	ck_assert_int_eq(answers[0].a.result, TRANSPORT_NO_KEY);
	ck_assert_str_ne(answers[0].a.detail, "");
	ck_assert_uint_eq(accepted, 0);
	end();
}
END_TEST

static void
write_key(const char *path, const char *key)
{
	char tmp[160];
	FILE *f;

	(void)snprintf(tmp, sizeof tmp, "%s.new", path);
	f = fopen(tmp, "w");
	ck_assert_ptr_nonnull(f);
	(void)fprintf(f, "%s\n", key);
	(void)fclose(f);
	ck_assert_int_eq(rename(tmp, path), 0);
}

START_TEST(key_file_is_noticed)
{
	char dir[] = "/tmp/lumnid-key-XXXXXX", path[96];
	struct mono t = { 1000000 };
	struct http_key *k = http_key_new();
	struct why why;
	struct secret *line;

	(void)umask(0077);
	ck_assert_ptr_nonnull(mkdtemp(dir));
	(void)snprintf(path, sizeof path, "%s/key", dir);
	begin();
	set(conf, "upstream.api_key_file", path);
	ck_assert_int_eq(http_key_line(k, conf, t, &line, &why), -ENOENT);
	ck_assert_ptr_nonnull(strstr(why.text, path));
	write_key(path, "first");
	/* Not looked at twice within a second. */
	t = mono_add_ms(t, 999);
	ck_assert_int_eq(http_key_line(k, conf, t, &line, &why), -ENOENT);
	t = mono_add_ms(t, 1);
	ck_assert_int_eq(http_key_line(k, conf, t, &line, &why), 0);
	ck_assert_str_eq(secret_text(line), "authorization: Bearer first");
	write_key(path, "second");
	t = mono_add_ms(t, 1000);
	ck_assert_int_eq(http_key_line(k, conf, t, &line, &why), 0);
	ck_assert_str_eq(secret_text(line), "authorization: Bearer second");
	/* Readable by everybody: refused, and taken again once corrected. */
	ck_assert_int_eq(chmod(path, 0644), 0);
	t = mono_add_ms(t, 1000);
	ck_assert_int_eq(http_key_line(k, conf, t, &line, &why), -EPERM);
	ck_assert_ptr_null(strstr(why.text, "second"));
	ck_assert_int_eq(chmod(path, 0600), 0);
	t = mono_add_ms(t, 1000);
	ck_assert_int_eq(http_key_line(k, conf, t, &line, &why), 0);
	http_key_free(k);
	(void)unlink(path);
	(void)rmdir(dir);
	end();
}
END_TEST

START_TEST(many_requests_one_after_another)
{
	begin();
	open_out();
	script_n = 1;
	for (size_t i = 0; i < 50; i++) {
		script[0].reply = OK_REPLY;
		seen_n = 0;
		free(seen[0].body);
		seen[0].body = NULL;
		ck_assert_int_eq(send_body(i, "{}"), 0);
		run(i + 1);
		ck_assert_int_eq(answers[i].a.status, 202);
	}
	ck_assert_uint_eq(accepted, 1);
	end();
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		headers_are_as_documented,
		closed_idle_connection_costs_nothing,
		reused_connection_that_closes_is_no_failure,
		reused_connection_that_resets_is_no_failure,
		fresh_connection_that_dies_is_one,
		early_refusal_counts,
		cut_success_does_not_count,
		large_answer_is_cut,
		answers_of_all_shapes,
		early_success_waits_for_the_rest,
		early_success_and_a_close_is_none,
		no_answer_of_http,
		server_that_speaks_out_of_turn,
		server_that_speaks_just_before,
		endless_answer,
		redirects_are_answers,
		silence_ends_at_the_time_limit,
		nobody_there,
		cancelled_ones_end_once,
		unreadable_body_is_our_fault,
		pool_has_a_limit,
		reload_waits_for_nobody,
		missing_key_is_told,
		key_file_is_noticed,
		many_requests_one_after_another,
		NULL
	};

	int r = unit_run("out_http", tests);

	by_libcurl = true;
	return unit_run("out_http by libcurl alone", tests) | r;
}
