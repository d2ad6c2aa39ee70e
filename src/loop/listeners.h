/*
 * listeners: which sockets are listened on, changed as a whole when the
 * configuration is: what is new is opened first, then the inputs take it over
 * and let the old ones go. A fault leaves all as it was.
 *
 * A Unix socket whose mode or group changes keeps its file and its clients. A
 * socket that the service manager has opened is never exchanged.
 */
#ifndef LUMNID_LOOP_LISTENERS_H
#define LUMNID_LOOP_LISTENERS_H

#include "base/cdefs.h"
#include "base/why.h"
#include "core/conf.h"
#include "loop/listen.h"

enum listeners_slot {
	LISTENERS_STREAM,	/* listen.unix */
	LISTENERS_DGRAM,	/* listen.dgram */
	LISTENERS_UDP,		/* listen.udp */
	LISTENERS_HTTP,		/* listen.http */
	LISTENERS_FORWARD,	/* listen.forward_tcp */
	LISTENERS_SLOTS
};

/* The input behind a slot; it owns the socket in use. */
struct listeners_user {
	/* The socket in use; fd -1: none. */
	struct listen_unix (*current)(void *arg);
	/*
	 * Take this one (fd -1: none), which is bound and listens, in place of
	 * the one in use, whose queue is emptied before it is closed.
	 */
	void	(*swap)(void *arg, const struct listen_unix *);
	void	*arg;
	bool	inherited;	/* it stays as it is */
};

struct listeners {
	struct listeners_user	user[LISTENERS_SLOTS];
	/* Between prepare and commit or abort. */
	struct {
		enum { LISTENERS_KEEP, LISTENERS_SWAP, LISTENERS_PERMIT } what;
		struct listen_unix	 sock;
		const struct conf_socket *was;	/* PERMIT: to undo it */
		const struct conf_socket *now;
	}			next[LISTENERS_SLOTS];
};

/*
 * Open what conf names and old does not. Returns 0, and then commit or abort
 * must follow while both live; or -errno, all being as before, with the place
 * in the file in why.
 */
int	listeners_prepare(struct listeners *, const struct conf *old,
	    const struct conf *conf, struct why *) MUSTUSE;
void	listeners_commit(struct listeners *);
void	listeners_abort(struct listeners *);

#endif
