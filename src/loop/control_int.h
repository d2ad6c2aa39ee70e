/* control_int: what the control socket's files share. */
#ifndef LUMNID_LOOP_CONTROL_INT_H
#define LUMNID_LOOP_CONTROL_INT_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <event2/keyvalq_struct.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/cdefs.h"
#include "base/log.h"
#include "core/engine_ask.h"
#include "core/rates.h"
#include "loop/control.h"
#include "loop/listen.h"

#define CONTROL_STREAMS_MAX	16
#define CONTROL_PIECE		(64u * 1024)	/* bytes written at a time */

struct control_stream;
struct control_tail;
struct evhttp;
struct evhttp_bound_socket;
struct evhttp_request;

struct control {
	struct loop		*loop;
	const struct conf	*conf;
	struct control_env	 env;
	char			 path[4096];	/* of it; "": none */
	struct listen_unix	 lu;
	struct evhttp		*http;
	struct evhttp_bound_socket *bound;
	struct event		 ev_tick;	/* while something is streamed */
	struct event		 ev_rest;	/* listens again */
	struct log_limit	 limit;
	bool			 ticking;
	bool			 draining;
	struct control_stream	*streams;
	size_t			 streams_n;
	struct control_tail	*tails;		/* that are told of events */
	struct rates		 rates;
};

/* One answer of many pieces. */
struct control_stream {
	struct control_stream	*next;
	struct control		*c;
	struct evhttp_request	*req;
	bool			 busy;		/* a piece is being written */
	bool			 gone;		/* the client is */
	struct mono		 wrote;
	/*
	 * Put what there is, some CONTROL_PIECE bytes at most, into the
	 * buffer. CONTROL_WAIT: nothing more now; CONTROL_MORE: call again as
	 * soon as it is written; CONTROL_END: that was all.
	 */
	enum control_fill {
		CONTROL_WAIT, CONTROL_MORE, CONTROL_END
	}			 (*fill)(struct control_stream *, struct buf *,
				    struct now);
	void			 (*free)(struct control_stream *);
};

/* Begin to stream; s was allocated by the caller, and goes with s->free(). */
void	control_stream_begin(struct control *, struct evhttp_request *,
	    struct control_stream *);
void	control_stream_end_all(struct control *);
/* The hook: write what can be written. */
void	control_stream_turn(void *) HOT;

/* Answer with JSON; the buffer is freed. */
void	control_send(struct evhttp_request *, int status, struct buf *);
/* {"error":{"code":..,"message":..}} */
void	control_refuse(struct evhttp_request *, int status, const char *code,
	    const char *message);

/* A parameter that is a run id; false: the request was answered. */
bool	control_run_param(struct evhttp_request *, struct evkeyvalq *,
	    const char **ret, size_t *ret_len);

/* The handlers of the long answers. */
void	control_do_tail(struct control *, struct evhttp_request *,
	    struct evkeyvalq *);
void	control_do_flush(struct control *, struct evhttp_request *,
	    struct evkeyvalq *);
void	control_do_run(struct control *, struct evhttp_request *,
	    struct evkeyvalq *);
void	control_do_runs(struct control *, struct evhttp_request *,
	    struct evkeyvalq *);
void	control_do_spool(struct control *, struct evhttp_request *,
	    struct evkeyvalq *);

#endif
