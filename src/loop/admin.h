/*
 * admin: what lumnid tells of itself on the local HTTP listener: /metrics,
 * /healthz, /readyz and /status.
 */
#ifndef LUMNID_LOOP_ADMIN_H
#define LUMNID_LOOP_ADMIN_H

#include <stddef.h>
#include <stdint.h>

struct admin;
struct in_http;
struct loop;

/* connections: asked for the number of clients; arg is its own. */
struct admin	*admin_new(struct loop *, struct in_http *,
		    size_t (*connections)(void *), void *arg);
void		 admin_free(struct admin *);
/* Another configuration is in force. */
void		 admin_count_config(struct admin *);

#endif
