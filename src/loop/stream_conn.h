/*
 * stream_conn: one client of the Unix stream socket. For in_stream.c alone,
 * which owns the table that connections live in.
 *
 *	OPEN     it is read; messages go to the engine
 *	ENDED    the client has ended its side; acks that are due still go out
 *	FAILED   the stream is lost: an error answer is queued, what the client
 *	         still sends is thrown away, acks that are due still go out
 *	LINGER   all is written and our side is shut down; waits for the
 *	         client's end, so that the answer is not lost to a reset
 *	DEAD     closed; freed at the end of the turn
 */
#ifndef LUMNID_LOOP_STREAM_CONN_H
#define LUMNID_LOOP_STREAM_CONN_H

#include <event2/event_struct.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/cdefs.h"
#include "base/clock.h"
#include "base/log.h"
#include "codec/event.h"
#include "codec/frame.h"
#include "core/conf.h"
#include "loop/listen.h"

struct loop;

enum stream_state {
	STREAM_OPEN,
	STREAM_ENDED,
	STREAM_FAILED,
	STREAM_LINGER,
	STREAM_DEAD,
};

/* Bytes of a message that is not whole yet, or waits for room. */
struct stream_part {
	struct frame	frame;
	struct buf	buf;
	size_t		counted;	/* of buf.cap, in in_stream.part_bytes */
};

struct stream_conn {
	struct in_stream	*in;
	struct event		 ev_read;
	struct event		 ev_write;
	int			 fd;
	uint32_t		 slot;
	uint64_t		 peer;		/* its name to the engine */
	struct uid_user		*user;
	uid_t			 uid;		/* SO_PEERCRED */
	gid_t			 gid;
	pid_t			 pid;
	enum stream_state	 state;
	unsigned		 acks_due;
	bool			 tcp;		/* forward protocol only */
	bool			 held;		/* its part waits for room */
	bool			 yielding;	/* its part waits for a turn */
	bool			 throttled;	/* its user is over a limit */
	bool			 choked;	/* answers are not fetched */
	bool			 flushing;	/* is on in_stream.flush */
	bool			 reading;	/* ev_read is added */
	struct stream_part	*part;		/* NULL: none */
	struct stream_forward	*forward;	/* begun with; NULL: none */
	struct buf		 out;
	size_t			 out_off;	/* written of it */
	struct mono		 deadline;	/* of its state, or of writing */
	struct stream_conn	*next_flush;
	struct stream_conn	*next_dead;
};

enum stream_listener_kind { STREAM_UNIX, STREAM_TCP, STREAM_LISTENERS };

struct stream_listener {
	struct in_stream	*in;
	struct listen_unix	 sock;
	bool			 tcp;
	struct event		 ev;
};

struct in_stream {
	struct loop		*loop;
	const struct conf	*conf;
	struct stream_listener	 listeners[STREAM_LISTENERS];
	struct event		 ev_tick;
	struct event		 ev_throttle;
	struct mono		 throttle_at;	/* when it is due */
	bool			 ticking;
	bool			 accept_rests;	/* out of fds */
	bool			 draining;	/* limits of users rest */
	bool			 stopping;

	struct stream_conn	**slots;
	uint32_t		 slots_n;
	uint32_t		 slot_hint;
	uint32_t		 generation;
	size_t			 conns;
	size_t			 held;		/* connections */
	size_t			 yielding;	/* connections */
	size_t			 readers;	/* in the last turn */
	size_t			 reads;		/* in this one */
	uint32_t		 first;		/* slot to be served first */
	struct mono		 resume_at;	/* not before */
	size_t			 part_bytes;

	uid_t			*allow;		/* n of them; none: everybody */
	size_t			 allow_n;

	struct stream_conn	*flush;
	struct stream_conn	*dead;

	struct log_limit	 log_accept;
	struct log_limit	 log_limit;
	struct log_limit	 log_refused;
	struct log_limit	 log_forward;
	struct frame		 frame;		/* of who has no part */
	uint8_t			*shared;	/* the read buffer */
};

/* Take over fd. The caller has put the connection into its slot. */
int	stream_conn_begin(struct stream_conn *, int fd) MUSTUSE;
/* Stop at once; the struct lives to the end of the turn. */
void	stream_conn_close(struct stream_conn *);
void	stream_conn_free(struct stream_conn *);
/* Queue an error answer that ends the stream. */
void	stream_conn_fail(struct stream_conn *, enum event_code,
	    const char *text);
/* Queue an answer to one message. */
void	stream_conn_answer(struct stream_conn *, enum event_code,
	    const char *text, const struct event_ack *);
/* Write what is queued; at the end of a turn. */
void	stream_conn_flush(struct stream_conn *);
/* There may be room, or it is the turn again, for what it holds. */
void	stream_conn_resume(struct stream_conn *);
/* Its user may be read from again. */
void	stream_conn_unthrottle(struct stream_conn *);
/*
 * Bytes that a connection may take in this turn: a share of what one turn may
 * take in all, so that no one's acks wait for others' floods.
 */
size_t	stream_conn_share(const struct in_stream *);
void	stream_conn_log_refused(struct stream_conn *, enum event_code,
	    const char *text);
/*
 * Read once. Returns bytes read, 0 when there is nothing more to come or the
 * connection must not be read, -EAGAIN when nothing is there now.
 */
int	stream_conn_read(struct stream_conn *) HOT;
/* Once a second while something waits; true: there is still a reason to. */
bool	stream_conn_tick(struct stream_conn *, struct mono now);

/* Of in_stream.c: start the tick that ends connections whose time is up. */
void	in_stream_need_tick(struct in_stream *);
/* Give it a slot in the table, and a name to the engine. */
void	in_stream_place(struct in_stream *, struct stream_conn *);
/* The connection's slot is free; it is freed at the end of the turn. */
void	in_stream_bury(struct in_stream *, struct stream_conn *);
/* Look at connections whose users were over a limit, after so long. */
void	in_stream_need_throttle(struct in_stream *, int64_t ms);
/* Parts have grown: refuse the largest while they are over their limit. */
void	in_stream_shed(struct in_stream *);

/* Of stream_listen.c. */
/* Resolve listen.unix.allow_uids: numbers, or names of users. */
int	stream_listen_set_allow(struct in_stream *, const struct conf_list *,
	    struct why *) MUSTUSE;
/* Open what the configuration has; inherited: a Unix listener, or -1. */
int	stream_listen_open(struct in_stream *, int inherited, struct why *)
	    MUSTUSE;
/* Accept from all listeners that are ours; true: there may be more. */
bool	stream_listen_accept(struct in_stream *);
/* Accept again, after a rest. */
void	stream_listen_resume(struct in_stream *);
/* Refuse new connections; those in the queue can still be accepted. */
void	stream_listen_shut(struct in_stream *);
void	stream_listen_close(struct in_stream *);
/* Take over another listener (fd -1: none); who waits at the old is served. */
void	stream_listen_swap(struct in_stream *, enum stream_listener_kind,
	    const struct listen_unix *);

/* Of stream_forward.c. */
enum stream_forward_result {
	STREAM_FORWARD_DONE,
	STREAM_FORWARD_YIELD,	/* go on in the next turn */
	STREAM_FORWARD_HELD,	/* go on when there is room */
};
/*
 * Begin or go on with the forward message at p. Its length is *len, where it
 * has begun (c->forward), and is otherwise given.
 */
enum stream_forward_result stream_forward_take(struct stream_conn *,
	    const uint8_t *p, size_t *len, struct now);
/* Memory that it takes beside the part. */
size_t	stream_forward_bytes(const struct stream_conn *);
void	stream_forward_free(struct stream_conn *);

#endif
