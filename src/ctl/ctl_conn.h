/*
 * ctl_conn: a connection to lumnid's stream socket: messages out, answers in,
 * neither of them waited for here.
 */
#ifndef LUMNID_CTL_CTL_CONN_H
#define LUMNID_CTL_CTL_CONN_H

#include <msgpack.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/cdefs.h"
#include "base/why.h"

struct ctl_conn {
	int		 fd;
	struct buf	 out;		/* not written yet */
	msgpack_unpacker in;
	msgpack_unpacked value;		/* what the last answer came from */
	bool		 closed;	/* lumnid has closed its side */
};

struct ctl_answer {
	bool		has_id;
	uint64_t	id;		/* as the message's `ack` had it */
	bool		refused;
	char		code[40];	/* clean, for a person */
	char		text[512];
};

/*
 * Connect, and wait at most timeout_ms (0: for ever) for lumnid to have room.
 * Returns 0, or -errno with what to do about it in why.
 */
int	ctl_conn_open(struct ctl_conn *, const char *path, int64_t timeout_ms,
	    struct why *) MUSTUSE;
void	ctl_conn_close(struct ctl_conn *);
/*
 * Write what the socket takes. Returns the bytes written, or -errno when the
 * connection is lost.
 */
int64_t	ctl_conn_write(struct ctl_conn *) MUSTUSE;
/* Read what has come; sets closed. Returns the bytes read or -errno. */
int64_t	ctl_conn_read(struct ctl_conn *, struct why *) MUSTUSE;
/*
 * Take the next answer. Returns 1, 0 when there is no whole one, -EPROTO when
 * the other side speaks something else.
 */
int	ctl_conn_answer(struct ctl_conn *, struct ctl_answer *ret,
	    struct why *) MUSTUSE;

#endif
