/*
 * in_stream: the Unix stream socket, and TCP for the Fluentd forward protocol:
 * accepts clients, cuts what they send into messages for the engine, and
 * writes the answers.
 *
 * Memory: one read buffer serves all connections; a connection has one of its
 * own only while a message of it is incomplete or waits for room, and the sum
 * of those is limited. Answers that a client does not fetch are limited, too.
 */
#ifndef LUMNID_LOOP_IN_STREAM_H
#define LUMNID_LOOP_IN_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cdefs.h"
#include "base/why.h"
#include "codec/event.h"
#include "core/conf.h"
#include "loop/listen.h"

struct in_stream;
struct loop;

/*
 * Listen as conf->listen.unix_stream says (which may be nowhere), or, unless
 * it is -1, on the inherited listener, whose file then is not ours to remove;
 * and on listen.forward_tcp. The loop's engine must be set. conf stays the
 * caller's and must outlive this or the next in_stream_set_conf().
 */
int	in_stream_open(struct loop *, const struct conf *, int inherited,
	    struct in_stream **, struct why *) MUSTUSE;
/* Close everything; what was not read or answered is gone. */
void	in_stream_close(struct in_stream *);

/* The listener in use, which stays this input's; fd -1: none. */
struct listen_unix in_stream_listener(const struct in_stream *);
/*
 * Take over another listener (fd -1: none). Who waits at the old one is
 * accepted, and all clients stay.
 */
void	in_stream_swap(struct in_stream *, const struct listen_unix *);

/* The same of listen.forward_tcp's. */
struct listen_unix in_stream_forward_listener(const struct in_stream *);
void	in_stream_forward_swap(struct in_stream *,
	    const struct listen_unix *);

/* Limits of another configuration; the socket itself stays as it is. */
int	in_stream_set_conf(struct in_stream *, const struct conf *,
	    struct why *) MUSTUSE;

/*
 * The engine's answer to a message (struct engine_env). The client may be gone.
 */
void	in_stream_answer(struct in_stream *, uint64_t peer, enum event_code,
	    const char *text, const struct event_ack *);

/*
 * A stop begins: accept who waits (with an inherited listener they wait for
 * our successor), read what the sockets hold (for budget_ms at most), then
 * listen and read no more. The socket's file is removed.
 */
void	in_stream_drain(struct in_stream *, int64_t budget_ms);
/* Have all answers that were given been written, or their clients gone? */
bool	in_stream_is_flushed(const struct in_stream *);

size_t	in_stream_connections(const struct in_stream *);

#endif
