/*
 * http_lane: kept connections that speak HTTP/1.1 in the clear, for
 * http_wire.c alone. libcurl opens them (names, addresses, time limits, Unix
 * sockets), and hands them over; a request is then one sendmsg(2) and one
 * recv(2). libcurl itself takes twice the CPU time of the kernel for that.
 *
 * What goes through TLS, a proxy or HTTP/2 stays with libcurl.
 */
#ifndef LUMNID_LOOP_HTTP_LANE_H
#define LUMNID_LOOP_HTTP_LANE_H

#include <curl/curl.h>
#include <stdbool.h>

#include "base/cdefs.h"
#include "core/transport.h"

struct http_lanes;
struct http_request;
struct http_wire;
struct loop;

/* For a configuration that http_easy_is_plain(). */
struct http_lanes *http_lanes_new(struct http_wire *, struct loop *);
/* No request is under way in one. */
void	http_lanes_free(struct http_lanes *);
/* The end of a turn: what was closed in it is freed. May be NULL. */
void	http_lanes_turn(struct http_lanes *) HOT;

/*
 * Send the request over an idle lane. false: there is none, so libcurl is to
 * connect one.
 */
bool	http_lanes_begin(struct http_lanes *, struct http_request *);
/* libcurl has connected the request's easy handle, which is done with. */
void	http_lanes_connected(struct http_lanes *, struct http_request *);
/* The request ends without an answer: its lane is closed. */
void	http_lane_drop(struct http_request *);

#endif
