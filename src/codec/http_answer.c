/* http_answer: see http_answer.h. */
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "codec/http_answer.h"

/* Up to LINE_LAST a line is read, behind it bytes. */
enum {
	LINE_STATUS, LINE_FIELD, LINE_CHUNK, LINE_CHUNK_END, LINE_TRAILER,
	LINE_LAST = LINE_TRAILER,
	BODY_LENGTH, BODY_CHUNK, BODY_CLOSE,
};

struct text {			/* a piece of a line */
	const char	*p;
	size_t		 n;
};

void
http_answer_init(struct http_answer *a,
    bool (*body)(void *, const char *, size_t), void *arg)
{
	/* Not the line, which is long. */
	memset(a, 0, offsetof(struct http_answer, line));
	a->body = body;
	a->arg = arg;
}

/* --- lines ---------------------------------------------------------------- */

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static struct text
text_trim(struct text t)
{
	while (t.n > 0 && is_blank(t.p[0])) {
		t.p++;
		t.n--;
	}
	while (t.n > 0 && is_blank(t.p[t.n - 1]))
		t.n--;
	return t;
}

static bool
text_is(struct text t, const char *word)
{
	return t.n == strlen(word) && strncasecmp(t.p, word, t.n) == 0;
}

/* What stands before the first c, or all; *t is what stands behind it. */
static struct text
text_cut(struct text *t, char c)
{
	const char *at = t->n > 0 ? memchr(t->p, c, t->n) : NULL;
	struct text head = { t->p, at == NULL ? t->n : (size_t)(at - t->p) };
	size_t used = at == NULL ? t->n : head.n + 1;

	t->p += used;
	t->n -= used;
	return text_trim(head);
}

static int
answer_bad(struct why *why, const char *what)
{
	return why_set(why, -EBADMSG, "this is no answer of HTTP/1.1: %s",
	    what);
}

/* RFC 9112 4; the reason may be absent, with its blank. */
static int
answer_status_line(struct http_answer *a, struct text t, struct why *why)
{
	if (t.n < 12 || memcmp(t.p, "HTTP/1.", 7) != 0 || !is_digit(t.p[7]) ||
	    t.p[8] != ' ' || t.p[9] < '1' || t.p[9] > '5' ||
	    !is_digit(t.p[10]) || !is_digit(t.p[11]) ||
	    (t.n > 12 && t.p[12] != ' '))
		return answer_bad(why, "its first line has no status");
	a->coming = (t.p[9] - '0') * 100 + (t.p[10] - '0') * 10 + t.p[11] -
	    '0';
	if (a->coming == 101)
		return answer_bad(why, "it changes the protocol unasked");
	/* RFC 9112 9.3: 1.0 ends the connection where nothing else is said. */
	a->old = a->ends = t.p[7] == '0';
	a->keep = true;
	a->chunked = a->coded = a->has_length = a->framing = false;
	a->left = 0;
	a->retry_after[0] = '\0';
	a->state = LINE_FIELD;
	return 0;
}

/* RFC 9112 6.2: all of several must say the same. */
static int
answer_length(struct http_answer *a, struct text t, struct why *why)
{
	uint64_t n = 0;

	if (t.n == 0 || t.n > 18)
		return answer_bad(why, "Content-Length is no number");
	for (size_t i = 0; i < t.n; i++) {
		if (!is_digit(t.p[i]))
			return answer_bad(why, "Content-Length is no number");
		n = n * 10 + (uint64_t)(t.p[i] - '0');
	}
	if (a->has_length && a->left != n)
		return answer_bad(why, "it has two different lengths");
	a->has_length = true;
	a->left = n;
	return 0;
}

/* RFC 9112 6.1: the last coding says how it is framed. */
static void
answer_coding(struct http_answer *a, struct text t)
{
	a->coded = true;
	while (t.n > 0) {
		struct text one = text_cut(&t, ',');
		if (one.n > 0)	/* RFC 9110 5.6.1.2 */
			a->chunked = text_is(text_cut(&one, ';'), "chunked");
	}
}

static void
answer_connection(struct http_answer *a, struct text t)
{
	while (t.n > 0) {
		struct text one = text_cut(&t, ',');
		if (text_is(one, "close"))
			a->keep = false;
		else if (text_is(one, "keep-alive"))
			a->ends = false;
	}
}

static void
answer_retry_after(char dst[HTTP_ANSWER_RETRY], struct text t)
{
	if (t.n < HTTP_ANSWER_RETRY) {
		memcpy(dst, t.p, t.n);
		dst[t.n] = '\0';
	}
}

void
http_answer_field(const char *line, size_t n, char ret[HTTP_ANSWER_RETRY])
{
	struct text t = { line, n };

	while (t.n > 0 && (t.p[t.n - 1] == '\r' || t.p[t.n - 1] == '\n'))
		t.n--;
	if (text_is(text_cut(&t, ':'), "retry-after"))
		answer_retry_after(ret, text_trim(t));
}

static int
answer_field(struct http_answer *a, struct text t, bool cut, struct why *why)
{
	bool folded = is_blank(t.p[0]);
	struct text name;
	int r = 0;

	/* RFC 9112 5.2; what we read is in one line. */
	if (folded && a->framing)
		return answer_bad(why, "a field that frames it is folded");
	if (folded)
		return 0;
	a->framing = false;
	if (memchr(t.p, ':', t.n) == NULL) {
		a->keep = false;
		return 0;
	}
	name = text_cut(&t, ':');
	t = text_trim(t);
	if (text_is(name, "retry-after")) {
		if (!cut)
			answer_retry_after(a->retry_after, t);
		return 0;
	}
	a->framing = true;
	if (text_is(name, "content-length"))
		r = answer_length(a, t, why);
	else if (text_is(name, "transfer-encoding"))
		answer_coding(a, t);
	else if (text_is(name, "connection"))
		answer_connection(a, t);
	else
		a->framing = false;
	if (r == 0 && a->framing && cut)
		return answer_bad(why, "a field that frames it is too long");
	return r;
}

/* RFC 9112 6.3: how the body ends. */
static void
answer_head_end(struct http_answer *a)
{
	a->head_len = 0;
	if (a->coming < 200) {
		a->state = LINE_STATUS;
		return;
	}
	a->status = a->coming;
	if (a->ends || (a->coded && (a->has_length || a->old)))
		a->keep = false;
	if (a->status == 204 || a->status == 304) {
		a->whole = true;
	} else if (a->coded && a->chunked) {
		a->state = LINE_CHUNK;
	} else if (a->coded || !a->has_length) {
		a->keep = false;
		a->state = BODY_CLOSE;
	} else if (a->left == 0) {
		a->whole = true;
	} else {
		a->state = BODY_LENGTH;
	}
}

/* RFC 9112 7.1 */
static int
answer_chunk(struct http_answer *a, struct text t, struct why *why)
{
	struct text digits = text_cut(&t, ';');
	uint64_t n = 0;

	if (digits.n == 0 || digits.n > 15)
		return answer_bad(why, "a chunk's size is no number");
	for (size_t i = 0; i < digits.n; i++) {
		char c = digits.p[i];
		if (is_digit(c))
			n = n * 16 + (uint64_t)(c - '0');
		else if ((c | 32) >= 'a' && (c | 32) <= 'f')
			n = n * 16 + (uint64_t)((c | 32) - 'a' + 10);
		else
			return answer_bad(why, "a chunk's size is no number");
	}
	a->head_len = 0;
	a->left = n;
	a->state = n == 0 ? LINE_TRAILER : BODY_CHUNK;
	return 0;
}

/* cut: it is longer than what of it is here. */
static int
answer_line(struct http_answer *a, struct text t, bool cut, struct why *why)
{
	switch (a->state) {
	case LINE_STATUS:
		return answer_status_line(a, t, why);
	case LINE_FIELD:
		if (t.n != 0)
			return answer_field(a, t, cut, why);
		answer_head_end(a);
		return 0;
	case LINE_CHUNK:
		return answer_chunk(a, t, why);
	case LINE_CHUNK_END:
		if (t.n != 0)
			return answer_bad(why, "a chunk is longer than it "
			    "says");
		a->head_len = 0;
		a->state = LINE_CHUNK;
		return 0;
	case LINE_TRAILER:
		if (t.n == 0)
			a->whole = true;
		return 0;
	}
	return 0;
}

/* --- bytes ---------------------------------------------------------------- */

/* The bytes from *at on, of a line; it ends with LF, or CR LF. */
static int
answer_take_line(struct http_answer *a, const char **at, const char *end,
    struct why *why)
{
	const char *p = *at;
	const char *nl = memchr(p, '\n', (size_t)(end - p));
	size_t n = (size_t)((nl == NULL ? end : nl + 1) - p);
	struct text t = { p, n };

	*at += n;
	a->head_len += n;
	if (a->head_len > HTTP_ANSWER_HEAD_MAX)
		return answer_bad(why, "its head is longer than 64 KiB");
	if (nl == NULL || a->line_len > 0) {
		size_t have = a->line_len, room = sizeof a->line - have;

		if (have < sizeof a->line)
			memcpy(a->line + have, p, n < room ? n : room);
		a->line_len += n;
		if (nl == NULL)
			return 0;
		t = (struct text){ a->line, a->line_len };
		a->line_len = 0;
	}
	if (t.n > sizeof a->line)
		return answer_line(a, (struct text){ t.p, sizeof a->line },
		    true, why);
	t.n--;
	if (t.n > 0 && t.p[t.n - 1] == '\r')
		t.n--;
	return answer_line(a, t, false, why);
}

static int
answer_take_body(struct http_answer *a, const char **at, const char *end)
{
	size_t n = (size_t)(end - *at);

	if (a->state != BODY_CLOSE && n > a->left)
		n = (size_t)a->left;
	if (!a->body(a->arg, *at, n))
		return -ECANCELED;
	*at += n;
	if (a->state == BODY_CLOSE)
		return 0;
	a->left -= n;
	if (a->left > 0)
		return 0;
	if (a->state == BODY_CHUNK)
		a->state = LINE_CHUNK_END;
	else
		a->whole = true;
	return 0;
}

int
http_answer_take(struct http_answer *a, const char *p, size_t n,
    size_t *ret_used, struct why *why)
{
	const char *at = p, *end = p + n;
	int r = 0;

	if (n > 0)
		a->begun = true;
	while (r == 0 && at < end && !a->whole)
		r = a->state <= LINE_LAST ?
		    answer_take_line(a, &at, end, why) :
		    answer_take_body(a, &at, end);
	*ret_used = (size_t)(at - p);
	return r == 0 && a->whole ? 1 : r;
}

int
http_answer_eof(struct http_answer *a, struct why *why)
{
	if (a->state == BODY_CLOSE)
		a->whole = true;
	if (a->whole)
		return 1;
	return why_set(why, -EPIPE, "the upstream closed the connection %s",
	    a->begun ? "in the middle of its answer" : "without an answer");
}
