/*
 * http_answer: reads what an HTTP/1.x server answers to a POST, in pieces of
 * any size (RFC 9112). It keeps what the sender asks for: the status,
 * Retry-After, the body's bytes as they come, and whether the connection may
 * serve another request.
 *
 * Answers before the last one (RFC 9110 15.2) are passed over.
 */
#ifndef LUMNID_CODEC_HTTP_ANSWER_H
#define LUMNID_CODEC_HTTP_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cdefs.h"
#include "base/why.h"

#define HTTP_ANSWER_HEAD_MAX	(64u * 1024)	/* bytes, of each head */
#define HTTP_ANSWER_LINE	512		/* looked at of a line */
#define HTTP_ANSWER_RETRY	64		/* a longer Retry-After is none */

struct http_answer {
	int		status;		/* 200..599; 0: no head is whole yet */
	bool		whole;		/* nothing more will come */
	bool		keep;		/* whole: the connection may go on */
	bool		begun;		/* a byte of it came */
	char		retry_after[HTTP_ANSWER_RETRY];	/* "": absent */

	/* Takes a piece of the body; false to end it. */
	bool		(*body)(void *arg, const char *, size_t);
	void		*arg;

	/* The rest is http_answer.c's. */
	int		state;
	int		coming;		/* the status of the head under way */
	bool		chunked, coded;	/* Transfer-Encoding; is there any? */
	bool		has_length;
	bool		old;		/* HTTP/1.0 */
	bool		ends;		/* ..., without keep-alive */
	bool		framing;	/* the last field says where it ends */
	uint64_t	left;		/* of the body, or of a chunk */
	size_t		head_len;
	size_t		line_len;
	char		line[HTTP_ANSWER_LINE];	/* that is not whole yet */
};

void	http_answer_init(struct http_answer *,
	    bool (*body)(void *, const char *, size_t), void *arg);
/*
 * Take n bytes. Returns 1 when the answer is whole, and in *ret_used how many
 * of them were its own; 0 when more must come; -EBADMSG for what is no answer
 * of HTTP/1.x; -ECANCELED when body() has ended it.
 */
int	http_answer_take(struct http_answer *, const char *, size_t n,
	    size_t *ret_used, struct why *) MUSTUSE;
/*
 * The connection has ended. Returns 1 when that makes the answer whole, or
 * -EPIPE.
 */
int	http_answer_eof(struct http_answer *, struct why *) MUSTUSE;
/*
 * For who has the head's lines apart: *ret_retry_after is set where the line is
 * that field (RFC 9110 10.2.3).
 */
void	http_answer_field(const char *line, size_t n,
	    char ret_retry_after[HTTP_ANSWER_RETRY]);

#endif
