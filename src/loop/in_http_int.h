/* in_http_int: what the files of in_http share; nobody else includes it. */
#ifndef LUMNID_LOOP_IN_HTTP_INT_H
#define LUMNID_LOOP_IN_HTTP_INT_H

#include <event2/event.h>
#include <event2/http.h>
#include <json-c/json.h>

#include "base/log.h"
#include "core/uids.h"
#include "loop/http_conns.h"
#include "loop/in_http.h"

#define IN_HTTP_PATHS		16

/*
 * A request that the engine has, or whose answer is being written, or (req
 * NULL) whose client is gone.
 */
struct http_wait {
	struct http_wait	*next;
	uint64_t		 peer;
	struct evhttp_request	*req;
	struct in_http		*in;
	size_t			 events;
	bool			 answered;
};

/* A listener of before: its queue is emptied, then it is closed. */
struct http_retired {
	struct http_retired	*next;
	struct in_http		*in;
	struct evhttp_bound_socket *bound;
	struct event		*timer;
};

struct in_http {
	struct loop		*loop;
	const struct conf	*conf;
	struct evhttp		*http;
	struct http_conns	*conns;
	struct evhttp_bound_socket *bound;	/* NULL: not listened on */
	struct http_retired	*retired;
	struct event		*rest;		/* listens again */
	struct http_wait	*waits;
	size_t			 waits_n;
	uint64_t		 last;
	size_t			 accepted;
	size_t			 files;		/* open at the start */
	bool			 draining;
	struct json_tokener	*tok;
	struct uid_user		*user;	/* all clients over TCP */
	struct buf		 body, message;
	struct log_limit	 limit;
	struct {
		const char	*path;
		int		(*fn)(void *, struct buf *, const char **);
		void		*arg;
	}			 get[IN_HTTP_PATHS];
	size_t			 get_n;
};

/* --- in_http_listen.c --- */

/* Open files of this process; 0 where /proc is not there. */
size_t	in_http_count_files(void);
/* Accept, or rest. */
void	in_http_enable(struct in_http *, bool on);
/* The timer and the callbacks of in->http, which is new. 0 or -ENOMEM. */
int	in_http_prepare(struct in_http *) MUSTUSE;
/* fd is the server's from now on, or closed. */
int	in_http_listen(struct in_http *, int fd) MUSTUSE;
/* After evhttp_free(). */
void	in_http_finish(struct in_http *);
/* Close the listeners of before at once. */
void	in_http_bury_retired(struct in_http *);

#endif
