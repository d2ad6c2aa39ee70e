/*
 * http_answer: answers as servers send them, and as they must not; each whole,
 * cut in two at every byte, and byte by byte, with the same outcome.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "codec/http_answer.h"
#include "unit.h"

#define HEAD	"HTTP/1.1 202 Accepted\r\n"

enum outcome { MORE, WHOLE, AT_EOF, BAD };

struct row {
	const char	*text;
	enum outcome	 outcome;
	int		 status;
	bool		 keep;
	const char	*body;
	const char	*retry;		/* NULL: "" */
	size_t		 over;		/* bytes that are not its own */
};

#define NO_ANSWER(text)	{ text, BAD, 0, false, "", NULL, 0 }

static const struct row rows[] = {
	{ HEAD "Content-Length: 2\r\n\r\n{}", WHOLE, 202, true, "{}", NULL, 0 },
	{ HEAD "Content-Length: 2\r\n\r\n{}HTTP", WHOLE, 202, true, "{}", NULL,
	    4 },
	{ HEAD "content-length:0\r\n\r\n", WHOLE, 202, true, "", NULL, 0 },
	{ HEAD "Content-Length : 1\r\n\r\nx", WHOLE, 202, true, "x", NULL, 0 },
	{ HEAD "Content-Length: 1\r\nContent-Length: 1\r\n\r\nx", WHOLE, 202,
	    true, "x", NULL, 0 },
	/* LF alone ends a line, too (RFC 9112 2.2). */
	{ "HTTP/1.1 200 OK\nContent-Length: 1\n\nx", WHOLE, 200, true, "x",
	    NULL, 0 },
	{ "HTTP/1.1 200\r\nContent-Length: 1\r\n\r\nx", WHOLE, 200, true, "x",
	    NULL, 0 },
	{ "HTTP/1.1 503 \r\nRetry-After:  17 \r\nContent-Length: 0\r\n\r\n",
	    WHOLE, 503, true, "", "17", 0 },
	{ "HTTP/1.1 204 None\r\n\r\n", WHOLE, 204, true, "", NULL, 0 },
	{ "HTTP/1.1 304 Same\r\nContent-Length: 5\r\n\r\n", WHOLE, 304, true,
	    "", NULL, 0 },
	/* How long the connection lives. */
	{ HEAD "Connection: close\r\nContent-Length: 1\r\n\r\nx", WHOLE, 202,
	    false, "x", NULL, 0 },
	{ HEAD "Connection: x, Close ,y\r\nContent-Length: 1\r\n\r\nx", WHOLE,
	    202, false, "x", NULL, 0 },
	{ HEAD "Connection: close\r\nConnection: keep-alive\r\n"
	    "Content-Length: 1\r\n\r\nx", WHOLE, 202, false, "x", NULL, 0 },
	{ HEAD "Connection: closed\r\nContent-Length: 1\r\n\r\nx", WHOLE, 202,
	    true, "x", NULL, 0 },
	{ "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", WHOLE, 200, false,
	    "x", NULL, 0 },
	{ "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 1\r\n"
	    "\r\nx", WHOLE, 200, true, "x", NULL, 0 },
	/* The body ends with the connection. */
	{ HEAD "\r\nsome text", AT_EOF, 202, false, "some text", NULL, 0 },
	{ "HTTP/1.0 500 Bad\r\n\r\n", AT_EOF, 500, false, "", NULL, 0 },
	{ HEAD "Transfer-Encoding: gzip\r\nContent-Length: 1\r\n\r\nxyz",
	    AT_EOF, 202, false, "xyz", NULL, 0 },
	/* Chunks. */
	{ HEAD "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0A;n=v\r\n"
	    "0123456789\r\n0\r\n\r\n", WHOLE, 202, true, "abc0123456789", NULL,
	    0 },
	{ HEAD "Transfer-Encoding: x, Chunked\r\nRetry-After: 1\r\n\r\n0\r\n"
	    "Retry-After: 2\r\nX: y\r\n\r\nz", WHOLE, 202, true, "", "1", 1 },
	{ HEAD "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n1\r\nx"
	    "\r\n0\r\n\r\n", WHOLE, 202, false, "x", NULL, 0 },
	{ HEAD "Transfer-Encoding: chunked\r\n\r\n3\r\nab", MORE, 202, false,
	    "ab", NULL, 0 },
	{ HEAD "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n", MORE, 202,
	    false, "abc", NULL, 0 },
	{ HEAD "Transfer-Encoding: chunked, ,\r\nTransfer-Encoding:\r\n\r\n0"
	    "\r\n\r\n", WHOLE, 202, true, "", NULL, 0 },
	{ "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: "
	    "chunked\r\n\r\n0\r\n\r\n", WHOLE, 200, false, "", NULL, 0 },
	/* Answers before the last one. */
	{ "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nRetry-After: 9"
	    "\r\nContent-Length: 7\r\n\r\n" HEAD "Content-Length: 1\r\n\r\nx",
	    WHOLE, 202, true, "x", NULL, 0 },
	{ "HTTP/1.1 100 Continue\r\n\r\n", MORE, 0, false, "", NULL, 0 },
	/* Folded, and lines without a colon. */
	{ HEAD "X: a\r\n b: c\r\nContent-Length: 1\r\n\r\nx", WHOLE, 202, true,
	    "x", NULL, 0 },
	{ HEAD "nonsense\r\nContent-Length: 1\r\n\r\nx", WHOLE, 202, false,
	    "x", NULL, 0 },
	{ "", MORE, 0, false, "", NULL, 0 },
	{ "HTTP/1.1 202 Acc", MORE, 0, false, "", NULL, 0 },
	{ HEAD "Content-Length: 5\r\n\r\nabc", MORE, 202, false, "abc", NULL, 0
	    },
	/* No answers. */
	NO_ANSWER("\r\n"),
	NO_ANSWER("HTTP/2 200 OK\r\n"),
	NO_ANSWER("HTTP/1.1 2O0 OK\r\n"),
	NO_ANSWER("HTTP/1.1 2000 OK\r\n"),
	NO_ANSWER("HTTP/1.1 099 OK\r\n"),
	NO_ANSWER("HTTP/1.1 600 OK\r\n"),
	NO_ANSWER("HTTP/1.1 101 Switch\r\n"),
	NO_ANSWER("SSH-2.0-OpenSSH_9.2\r\n"),
	NO_ANSWER(HEAD "Content-Length: -1\r\n"),
	NO_ANSWER(HEAD "Content-Length: \r\n"),
	NO_ANSWER(HEAD "Content-Length: 1, 1\r\n"),
	NO_ANSWER(HEAD "Content-Length: 1234567890123456789\r\n"),
	NO_ANSWER(HEAD "Content-Length: 1\r\nContent-Length: 2\r\n"),
	NO_ANSWER(HEAD "Transfer-Encoding:\r\n chunked\r\n"),
	NO_ANSWER(HEAD "Transfer-Encoding: chunked\r\n\r\n\r\n"),
	NO_ANSWER(HEAD "Transfer-Encoding: chunked\r\n\r\n-1\r\n"),
	NO_ANSWER(HEAD
	    "Transfer-Encoding: chunked\r\n\r\n1000000000000000\r\n"),
	NO_ANSWER(HEAD "Transfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n"),
};

static struct buf body;
static size_t body_limit;

static bool
on_body(void *arg, const char *p, size_t n)
{
	ck_assert_ptr_eq(arg, &body);
	ck_assert_uint_gt(n, 0);
	buf_put(&body, p, n);
	return body.len <= body_limit;
}

/* Feed text, cut after a and after b bytes; then the end, if more is due. */
static void
check_row(const struct row *row, size_t a, size_t b)
{
	size_t len = strlen(row->text), at = 0, used;
	size_t cuts[] = { a, b, len };
	struct http_answer ans;
	struct why why;
	int r = 0;

	buf_init(&body, 0);
	body_limit = 1000;
	http_answer_init(&ans, on_body, &body);
	for (size_t i = 0; i < 3 && r == 0; i++) {
		r = http_answer_take(&ans, row->text + at, cuts[i] - at, &used,
		    &why);
		at += used;
		if (r == 0)
			ck_assert_uint_eq(at, cuts[i]);
	}
	if (row->outcome == BAD) {
		ck_assert_msg(r == -EBADMSG, "%s: %d", row->text, r);
		ck_assert_ptr_nonnull(strstr(why.text, "no answer of HTTP"));
		buf_free(&body);
		return;
	}
	ck_assert_msg(r == (row->outcome == WHOLE), "%s: %d", row->text, r);
	ck_assert_int_eq(ans.status, row->status);
	if (row->outcome == WHOLE) {
		ck_assert_uint_eq(len - at, row->over);
	} else {
		r = http_answer_eof(&ans, &why);
		ck_assert_int_eq(r, row->outcome == AT_EOF ? 1 : -EPIPE);
	}
	ck_assert(ans.begun == (len > 0));
	ck_assert(ans.whole == (row->outcome != MORE));
	if (ans.whole)
		ck_assert_msg(ans.keep == row->keep, "%s", row->text);
	ck_assert_str_eq(ans.retry_after, row->retry == NULL ? "" :
	    row->retry);
	ck_assert_str_eq(buf_cstr(&body), row->body);
	buf_free(&body);
}

START_TEST(each_row_however_it_is_cut)
{
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		size_t len = strlen(rows[i].text);

		for (size_t a = 0; a <= len; a++)
			for (size_t b = a; b <= len; b++)
				check_row(&rows[i], a, b);
	}
}
END_TEST

static int
take(struct http_answer *a, const char *text, struct why *why)
{
	size_t used;

	return http_answer_take(a, text, strlen(text), &used, why);
}

/* What is long is passed over, or refused; it is never kept. */
START_TEST(long_lines)
{
	static char line[100000];
	struct http_answer a;
	struct why why;

	buf_init(&body, 0);
	for (int framing = 0; framing < 2; framing++) {
		for (size_t n = 400; n < 700; n++) {
			int r;

			memset(line, 'x', n);
			(void)strcpy(line + n, "\r\n");
			http_answer_init(&a, on_body, &body);
			ck_assert_int_eq(take(&a, HEAD, &why), 0);
			ck_assert_int_eq(take(&a, framing ? "connection: " :
			    "retry-after: ", &why), 0);
			r = take(&a, line, &why);
			if (framing && n + 12 + 2 > HTTP_ANSWER_LINE) {
				ck_assert_int_eq(r, -EBADMSG);
				continue;
			}
			ck_assert_int_eq(r, 0);
			ck_assert_int_eq(take(&a, "Content-Length: 0\r\n\r\n",
			    &why), 1);
			ck_assert_str_eq(a.retry_after, "");
		}
	}
	memset(line, 'x', sizeof line - 1);
	http_answer_init(&a, on_body, &body);
	ck_assert_int_eq(take(&a, HEAD, &why), 0);
	ck_assert_int_eq(take(&a, line, &why), -EBADMSG);
	ck_assert_ptr_nonnull(strstr(why.text, "64 KiB"));
	http_answer_init(&a, on_body, &body);
	for (int i = 0; i < 3; i++)	/* one alone is short enough */
		ck_assert_int_eq(take(&a, "HTTP/1.1 100 Continue\r\n\r\n",
		    &why), 0);
	buf_free(&body);
}
END_TEST

START_TEST(enough_of_a_body)
{
	struct http_answer a;
	struct why why;

	buf_init(&body, 0);
	body_limit = 3;
	http_answer_init(&a, on_body, &body);
	ck_assert_int_eq(take(&a, HEAD "Content-Length: 9\r\n\r\nabc", &why),
	    0);
	ck_assert_int_eq(take(&a, "d", &why), -ECANCELED);
	ck_assert_int_eq(a.status, 202);
	buf_free(&body);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		each_row_however_it_is_cut,
		long_lines,
		enough_of_a_body,
		NULL
	};

	return unit_run("http_answer", tests);
}
