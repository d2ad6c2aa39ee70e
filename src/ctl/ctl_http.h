/*
 * ctl_http: requests to lumnid's control socket, on libcurl; the only file of
 * lumnictl that knows it. What goes wrong is told in words that say what to do.
 */
#ifndef LUMNID_CTL_CTL_HTTP_H
#define LUMNID_CTL_CTL_HTTP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/cdefs.h"
#include "base/why.h"
#include "ctl/ctl.h"
#include "ctl/ctl_json.h"

struct ctl_http;

/* A connection that is made with the first request, and kept. Never NULL. */
struct ctl_http	*ctl_http_new(const struct ctl *);
void		 ctl_http_free(struct ctl_http *);

/* Append "?name=value" (or "&..."), percent-encoded (RFC 3986 2.1). */
void	ctl_http_param(struct buf *target, const char *name, const char *value);

/*
 * Ask; target: "/status". Returns CTL_OK and the answer, to be put with
 * json_object_put(); or the exit status, with the reason in why.
 */
int	ctl_http_ask(struct ctl_http *, bool post, const char *target,
	    struct json_object **ret, struct why *) MUSTUSE;
/*
 * The same for an answer of many pieces, each given to fn, which returns 0 to
 * go on, or ends it with CTL_OK. While nothing comes for the timeout, lumnid
 * counts as away. idle, unless NULL, is called about once a second and ends it
 * in the same way.
 */
int	ctl_http_stream(struct ctl_http *, bool post, const char *target,
	    int (*fn)(void *, const char *, size_t), int (*idle)(void *),
	    void *, struct why *) MUSTUSE;

/* ctl_http_ask() for commands that ask once: the reason is printed. */
int	ctl_ask_control(const struct ctl *, bool post, const char *target,
	    struct json_object **ret) MUSTUSE;

#endif
