/*
 * control: the socket that lumnictl steers lumnid by: HTTP with JSON on a Unix
 * listener, on libevent's evhttp. Only the user that lumnid runs as, and root,
 * may use it: by the file's mode, and by SO_PEERCRED.
 *
 * What is long (a tail, a flush that is followed, a listing) is streamed, a
 * bounded buffer at a time; a client that does not read holds up nobody.
 */
#ifndef LUMNID_LOOP_CONTROL_H
#define LUMNID_LOOP_CONTROL_H

#include <stddef.h>

#include "base/buf.h"
#include "base/cdefs.h"
#include "base/why.h"
#include "core/conf.h"

struct control;
struct loop;

struct control_env {
	/*
	 * Read the configuration anew; 0 and the keys that need a restart in
	 * why, or -errno with the reason.
	 */
	int	(*reload)(void *, struct why *);
	/* Write the object of GET /status. */
	void	(*status)(void *, struct buf *);
	void	*arg;
};

/*
 * Listen on conf_control_path(), unless it is "". The loop's engine must be
 * set. conf: as for in_http_open(). That it cannot be listened on is an error
 * where the path was set, and a warning in the log where it was derived: events
 * matter more than steering.
 */
int	control_open(struct loop *, const struct conf *,
	    const struct control_env *, struct control **, struct why *)
	    MUSTUSE;
/* NULL is allowed. */
void	control_close(struct control *);
/* Listen elsewhere, if need be; where that fails it is logged, and it stays. */
void	control_set_conf(struct control *, const struct conf *);

/* struct engine_env's watch: an event passes. NULL is allowed. */
void	control_watch(struct control *, const char *runid, const char *json,
	    size_t len) HOT;

/* A stop begins: listen no more, end what is streamed. NULL is allowed. */
void	control_drain(struct control *);

#endif
