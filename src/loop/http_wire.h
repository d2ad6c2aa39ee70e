/*
 * http_wire: all that stands on one state of the configuration and of the TLS
 * files: a multi handle with its connections, lanes (http_lane.h) where they
 * suit, and a pool of requests. For out_http.c, http_easy.c
 * and http_lane.c.
 */
#ifndef LUMNID_LOOP_HTTP_WIRE_H
#define LUMNID_LOOP_HTTP_WIRE_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cdefs.h"
#include "base/clock.h"
#include "base/secret.h"
#include "base/why.h"
#include "core/conf.h"
#include "core/transport.h"
#include "loop/http_multi.h"

#define HTTP_WIRE_ROUTES	3	/* enum transport_route */
#define HTTP_WIRE_LINES		8
/* Read of an answer's body, at most. */
#define HTTP_WIRE_ANSWER_LIMIT	(1024 * 1024)

struct loop;

struct http_request {
	struct http_wire	*wire;
	CURL			*easy;
	bool			 busy;
	bool			 running;	/* in the multi */
	struct http_lane	*lane;		/* or NULL */
	bool			 again;		/* a lane broke under it */
	uint64_t		 tag;
	struct mono		 begin;
	int			 route;
	int			 url_route;	/* as set in easy; -1: none */
	struct http_request	*next_local;

	/* The header lines that are ours; the key is the first. */
	struct curl_slist	 lines[HTTP_WIRE_LINES];
	size_t			 lines_n;
	struct curl_slist	 no_expect;	/* libcurl's own is not wanted */
	struct secret		*key_line;	/* while it is under way */
	char			 id_line[160];
	char			 part_line[48];
	char			 reason_line[64];
	char			 head[512];	/* of a lane: from the second on */
	size_t			 head_len;

	/* The body: body_len bytes, in memory or read piece by piece. */
	bool			 from_memory;
	uint8_t			*body;
	size_t			 body_cap;
	size_t			 body_len;
	size_t			 body_off;
	int			(*read)(void *, uint64_t, size_t, void *,
				    size_t);
	void			*read_arg;

	/* The answer. */
	struct transport_answer	 answer;
	char			*answer_body;	/* NULL: nothing came yet */
	size_t			 answer_cap;
	size_t			 answer_seen;
	char			 error[CURL_ERROR_SIZE];
};

struct http_wire {
	void			(*ended)(void *, struct http_request *);
	void			*arg;		/* of http_wire_new() */
	int64_t			 timeout_ms;	/* of a request */
	struct http_multi	*hm;
	struct http_lanes	*lanes;		/* NULL: libcurl does it all */
	CURLU			*urls[HTTP_WIRE_ROUTES];	/* parsed once */
	char			*heads[HTTP_WIRE_ROUTES];	/* first lines */
	struct http_request	**requests;	/* the pool */
	size_t			 requests_n;
	size_t			 requests_max;
	size_t			 busy;
	struct http_wire	*next;		/* older, not yet empty */
};

/*
 * ended: the request has its answer; never called from http_request_start().
 * NULL, and why, when the URL cannot be used or memory is out. conf is used by
 * http_wire_request(), too.
 */
struct http_wire *http_wire_new(struct loop *, const struct conf *,
	    void (*ended)(void *, struct http_request *), void *arg,
	    struct why *);
void	http_wire_free(struct http_wire *);

/* The end of a turn: what was asked for in it begins. */
void	http_wire_turn(struct http_wire *) HOT;

/* A request that is not busy, or a new one; NULL with the reason in why. */
struct http_request *http_wire_request(struct http_wire *,
	    const struct conf *, struct why *);
/* The busy one of this tag, or NULL. */
struct http_request *http_wire_find(struct http_wire *, uint64_t tag);

/*
 * Start it; key_line: as http_key_line(), kept for as long as it takes.
 * Returns 0, or -errno and it is as before.
 */
int	http_request_start(struct http_request *,
	    const struct transport_request *, struct secret *key_line,
	    struct why *) MUSTUSE;
/* Take it from libcurl, or from its lane, ended or not. */
void	http_request_stop(struct http_request *);
/* It is not busy any more: memory above the usual is given back, and the key. */
void	http_request_trim(struct http_request *);

/*
 * A piece of its answer's body came. false: enough of it (the first 256 KiB are
 * kept), as who answers without end is cut off; the status counts.
 */
bool	http_request_take(struct http_request *, const char *, size_t);

#endif
