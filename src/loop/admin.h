/*
 * admin: what lumnid tells of itself on the local HTTP listener: /metrics,
 * /healthz, /readyz and /status.
 */
#ifndef LUMNID_LOOP_ADMIN_H
#define LUMNID_LOOP_ADMIN_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

struct admin;
struct in_http;
struct loop;
struct status;

/* connections: asked for the number of clients; arg is its own. */
struct admin	*admin_new(struct loop *, struct in_http *, struct status *,
		    size_t (*connections)(void *), void *arg);
void		 admin_free(struct admin *);
/* A reload has ended; fault: what was wrong, or NULL: it is in force. */
void		 admin_note_reload(struct admin *, const char *fault);
/* The object of GET /status and a newline. */
void		 admin_put_status(struct admin *, struct buf *);


#endif
