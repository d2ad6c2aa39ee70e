/*
 * http_conns: the connections of the local HTTP listener, and what is held of
 * requests that are not whole yet. evhttp gathers a request in memory, limits
 * each, and lets a client have 30 s between two bytes. So here they are counted
 * together: over HTTP_CONNS_BYTES the largest goes, with 503 and Retry-After;
 * and a request that takes longer than HTTP_CONNS_MS and its bytes at
 * HTTP_CONNS_RATE goes with 408 (RFC 9110 15.5.9).
 */
#ifndef LUMNID_LOOP_HTTP_CONNS_H
#define LUMNID_LOOP_HTTP_CONNS_H

#include <stddef.h>

#include "base/cdefs.h"

#define HTTP_CONNS_BYTES	((size_t)64 << 20)
#define HTTP_CONNS_MS		30000
#define HTTP_CONNS_RATE		(16 * 1024)	/* bytes a second, at least */

struct bufferevent;
struct http_conns;
struct loop;

struct http_conns *http_conns_new(struct loop *);
/* After evhttp_free(). */
void	http_conns_free(struct http_conns *);
/* The bufferevent of a new connection, which is evhttp's; NULL: no memory. */
struct bufferevent *http_conns_make(struct http_conns *);
/* The request that came on this one is whole. */
void	http_conns_whole(struct http_conns *, struct bufferevent *);

#endif
