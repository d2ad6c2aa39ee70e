/*
 * in_http: the local HTTP listener, on libevent's evhttp. Takes what Lumni's
 * ingest API takes, on the same paths, and answers 202 when it is durable, so
 * that a program which posts to Lumni needs only another base URL. Also serves
 * what other parts register: metrics, health, status.
 *
 * Guards: Host must be a loopback name (no DNS rebinding) and the content type
 * JSON (no cross-site form posts), unless listen.allow_remote is set; headers,
 * bodies, connections and time are limited.
 */
#ifndef LUMNID_LOOP_IN_HTTP_H
#define LUMNID_LOOP_IN_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/cdefs.h"
#include "base/why.h"
#include "codec/event.h"
#include "core/conf.h"
#include "loop/listen.h"

#define IN_HTTP_CONNECTIONS	256	/* at the same time, in about */

struct evhttp_request;
struct in_http;
struct loop;

/*
 * Listen on conf->listen.http, which may be nowhere. The loop's engine must be set. conf stays the
 * caller's and must outlive this or the next in_http_set_conf().
 */
int	in_http_open(struct loop *, const struct conf *, struct in_http **,
	    struct why *) MUSTUSE;
void	in_http_close(struct in_http *);
void	in_http_set_conf(struct in_http *, const struct conf *);

/* The listener in use; fd -1: none. */
struct listen_unix in_http_listener(const struct in_http *);
/*
 * Take over another listener (fd -1: none). Who waits at the old one is
 * served.
 */
void	in_http_swap(struct in_http *, const struct listen_unix *);

/*
 * Serve GET path: fn fills a body and returns the status; *type is the content
 * type, JSON if it is left alone. path is borrowed for ever.
 */
void	in_http_get(struct in_http *, const char *path, int (*fn)(void *,
	    struct buf *body, const char **type), void *);

/* The engine's answer to a message of this input; false: not of this one. */
bool	in_http_answer(struct in_http *, uint64_t peer, enum event_code,
	    const char *text);

/* A stop begins: accept no more; what is under way is answered. */
void	in_http_drain(struct in_http *);
/* Requests that wait for the engine's answer, or for its writing. */
size_t	in_http_pending(const struct in_http *);

#endif
