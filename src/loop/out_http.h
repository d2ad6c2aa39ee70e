/*
 * out_http: the transport to the upstream, on libcurl. Implements
 * core/transport.h for one engine.
 */
#ifndef LUMNID_LOOP_OUT_HTTP_H
#define LUMNID_LOOP_OUT_HTTP_H

#include "base/cdefs.h"
#include "base/why.h"
#include "core/conf.h"
#include "core/transport.h"

struct loop;
struct out_http;

/*
 * conf stays the caller's and must outlive this or the next
 * out_http_set_conf(). Answers go to the loop's engine.
 */
int	out_http_new(struct loop *, const struct conf *, struct out_http **,
	    struct why *) MUSTUSE;
/* Requests under way end without an answer. */
void	out_http_free(struct out_http *);

struct transport *out_http_transport(struct out_http *);

/*
 * Use another configuration from the next request on. Requests under way go on
 * as they began. On failure the old one stays in force.
 */
int	out_http_set_conf(struct out_http *, const struct conf *,
	    struct why *) MUSTUSE;

#endif
