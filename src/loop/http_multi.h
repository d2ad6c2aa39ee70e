/*
 * http_multi: libcurl's multi interface on the event loop.
 *
 * libcurl stops watching a connection's socket at the end of each request and
 * starts again with the next. The event stays registered in between, which
 * saves two system calls for each request; the socket's own open and close
 * callbacks tell how long it lives.
 */
#ifndef LUMNID_LOOP_HTTP_MULTI_H
#define LUMNID_LOOP_HTTP_MULTI_H

#include <curl/curl.h>

#include "base/cdefs.h"

struct http_multi;
struct loop;

/*
 * done: a transfer has ended; the handle is still in the multi. It may call
 * http_multi_add() and http_multi_remove(). NULL when out of memory.
 */
struct http_multi *http_multi_new(struct loop *, long connections,
	    void (*done)(void *arg, CURL *, CURLcode), void *arg);
/* All handles must have been removed. Closes the idle connections. */
void	http_multi_free(struct http_multi *);

/* Make a handle's sockets known here; once for each new handle. */
CURLcode http_multi_prepare(struct http_multi *, CURL *);
CURLMcode http_multi_add(struct http_multi *, CURL *);
void	http_multi_remove(struct http_multi *, CURL *);
/*
 * A handle with CURLOPT_CONNECT_ONLY is done: remove it, and return its socket,
 * which is the caller's from now on; -1 when there is none.
 */
int	http_multi_take(struct http_multi *, CURL *);
/* Start what was added in this turn, without waiting for another. */
void	http_multi_turn(struct http_multi *) HOT;

#endif
