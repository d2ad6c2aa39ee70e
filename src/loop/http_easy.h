/*
 * http_easy: what http_wire.c and http_lane.c have libcurl do: a whole request,
 * or the connection of a lane.
 *
 * The options of an easy handle are set once. A request sets only what differs
 * from the one before: the route's URL, the header lines (which lie in the
 * request, without a malloc), the body.
 */
#ifndef LUMNID_LOOP_HTTP_EASY_H
#define LUMNID_LOOP_HTTP_EASY_H

#include <curl/curl.h>
#include <stdbool.h>

#include "base/cdefs.h"
#include "base/why.h"
#include "core/conf.h"
#include "core/transport.h"

struct http_request;

/*
 * Does a request go to the upstream itself (the environment may name a proxy),
 * in the clear, by HTTP/1.1?
 */
bool	http_easy_is_plain(const struct conf *);

/* Make the request's handle; the wire's multi, and its lanes, are there. */
int	http_easy_new(struct http_request *, const struct conf *,
	    struct why *) MUSTUSE;
/* Start the request, whose body and key line are set. */
int	http_easy_start(struct http_request *,
	    const struct transport_request *, struct why *) MUSTUSE;
/* Connect a new lane for the request. */
int	http_easy_connect(struct http_request *, struct why *) MUSTUSE;
/* Of http_multi, arg is the wire: what was started has ended. */
void	http_easy_done(void *arg, CURL *, CURLcode);

#endif
