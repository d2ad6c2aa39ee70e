/*
 * stream_listen: the listeners of the stream input: the Unix socket, and TCP
 * for the forward protocol alone. Admits who may come in.
 */
#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "codec/reply.h"
#include "core/engine.h"
#include "core/uids.h"
#include "loop/loop.h"
#include "loop/stream_conn.h"

#define STREAM_LISTEN_ACCEPTS	64	/* in one turn */

/* --- accept --------------------------------------------------------------- */

/* Tell a client why it is not served, and let it go. */
static void
stream_listen_turn_away(struct in_stream *in, int fd, enum event_code code,
    const char *text, const struct ucred *cred)
{
	const struct event_ack none = { .len = 0 };
	struct buf b;
	uint64_t n;

	buf_init(&b, 4096);
	reply_put_error(&b, code, text, &none);
	if (buf_error(&b) == 0)
		(void)send(fd, b.data, b.len, MSG_NOSIGNAL | MSG_DONTWAIT);
	buf_free(&b);
	(void)close(fd);
	if (log_limit_hit(&in->log_limit, clock_mono().us, &n))
		log_warn("client_turned_away",
		    LS("code", event_code_name(code)), LS("error", text),
		    LI("uid", cred->uid), LI("pid", cred->pid),
		    LU("repeated", n));
}

static bool
stream_listen_is_allowed(const struct in_stream *in, uid_t uid)
{
	if (in->allow_n == 0)
		return true;
	for (size_t i = 0; i < in->allow_n; i++)
		if (in->allow[i] == uid)
			return true;
	return false;
}

/*
 * Who is at the other end. Over TCP nobody knows; all those are one user.
 */
static void
stream_listen_peer(const struct stream_listener *l, int fd,
    struct ucred *ret)
{
	socklen_t len = sizeof *ret;

	*ret = (struct ucred){ .pid = 0, .uid = (uid_t)-1, .gid = (gid_t)-1 };
	if (l->tcp)
		ret->uid = UIDS_TCP;
	else
		(void)getsockopt(fd, SOL_SOCKET, SO_PEERCRED, ret, &len);
}

static void
stream_listen_admit(struct stream_listener *l, int fd)
{
	struct in_stream *in = l->in;
	struct uids *uids = loop_uids(in->loop);
	struct uid_user *user;
	struct stream_conn *c;
	struct ucred cred;

	stream_listen_peer(l, fd, &cred);
	if (!l->tcp && !stream_listen_is_allowed(in, cred.uid)) {
		stream_listen_turn_away(in, fd, EVENT_FORBIDDEN,
		    "this user is not in listen.unix.allow_uids", &cred);
		return;
	}
	if (in->conns >= in->conf->limits.connections) {
		stream_listen_turn_away(in, fd, EVENT_TOO_MANY_CONNECTIONS,
		    "limits.connections is reached", &cred);
		return;
	}
	user = uids_hold(uids, cred.uid);
	if (uids_connections(user) > in->conf->limits.connections_per_uid) {
		uids_release(uids, user, clock_mono());
		stream_listen_turn_away(in, fd, EVENT_TOO_MANY_CONNECTIONS,
		    "limits.connections_per_uid is reached", &cred);
		return;
	}
	c = mem_zalloc(sizeof *c);
	c->in = in;
	c->user = user;
	c->tcp = l->tcp;
	c->uid = cred.uid;
	c->gid = cred.gid;
	c->pid = cred.pid;
	in_stream_place(in, c);
	if (stream_conn_begin(c, fd) < 0)
		return;
	if (l->tcp)
		log_debug("client_connected", LS("input", "forward_tcp"));
	else
		log_debug("client_connected", LI("uid", c->uid),
		    LI("gid", c->gid), LI("pid", c->pid));
	/*
	 * Who came while nobody listened may have said all and gone: hundreds
	 * of them must not use up the connections of their user.
	 */
	loop_wake(in->loop);
	if (stream_conn_read(c) > 0)
		(void)stream_conn_read(c);
	if (c->state == STREAM_ENDED)
		stream_conn_flush(c);
}

static void
stream_listen_error(struct in_stream *in, int err)
{
	uint64_t n;

	if (err == EAGAIN || err == EINTR || err == ECONNABORTED)
		return;
	/*
	 * Out of fds or memory: the listeners stay readable, so they are left
	 * alone until the next tick, or the loop would spin.
	 */
	for (size_t i = 0; i < STREAM_LISTENERS; i++)
		if (in->listeners[i].sock.fd >= 0)
			(void)event_del(&in->listeners[i].ev);
	in->accept_rests = true;
	in_stream_need_tick(in);
	if (log_limit_hit(&in->log_accept, clock_mono().us, &n))
		log_error("accept_failed", LS("error", strerror(err)),
		    LU("repeated", n));
}

/* Returns how many were accepted, at most max. */
static size_t
stream_listen_accept_some(struct stream_listener *l, size_t max)
{
	size_t n;

	for (n = 0; n < max; n++) {
		int fd = accept4(l->sock.fd, NULL, NULL,
		    SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0) {
			stream_listen_error(l->in, errno);
			break;
		}
		stream_listen_admit(l, fd);
	}
	if (n != 0 && log_limit_over(&l->in->log_accept))
		log_info("accept_recovered", LS("", NULL));
	return n;
}

static void
on_accept(evutil_socket_t fd, short what, void *arg)
{
	(void)stream_listen_accept_some(arg, STREAM_LISTEN_ACCEPTS);
}

bool
stream_listen_accept(struct in_stream *in)
{
	bool more = false;

	for (size_t i = 0; i < STREAM_LISTENERS; i++) {
		struct stream_listener *l = &in->listeners[i];

		if (l->sock.fd < 0)
			continue;
		/* Who waits at an inherited one waits for our successor. */
		if ((l->tcp || l->sock.path != NULL) &&
		    stream_listen_accept_some(l, STREAM_LISTEN_ACCEPTS) ==
		    STREAM_LISTEN_ACCEPTS)
			more = true;
	}
	return more;
}

void
stream_listen_resume(struct in_stream *in)
{
	if (!in->accept_rests)
		return;
	in->accept_rests = false;
	for (size_t i = 0; i < STREAM_LISTENERS; i++)
		if (in->listeners[i].sock.fd >= 0)
			(void)event_add(&in->listeners[i].ev, NULL);
}

/*
 * From here on a connect is refused; who waits is not. A service manager's is
 * not ours to shut.
 */
static void
stream_listen_shut_one(struct stream_listener *l)
{
	if (l->tcp)
		listen_tcp_shut(l->sock.fd);
	else if (l->sock.path != NULL)
		(void)shutdown(l->sock.fd, SHUT_RD);
}

void
stream_listen_shut(struct in_stream *in)
{
	for (size_t i = 0; i < STREAM_LISTENERS; i++)
		if (in->listeners[i].sock.fd >= 0)
			stream_listen_shut_one(&in->listeners[i]);
}

static void
stream_listen_close_one(struct stream_listener *l)
{
	if (l->sock.fd < 0)
		return;
	(void)event_del(&l->ev);
	listen_unix_close(&l->sock);
}

void
stream_listen_close(struct in_stream *in)
{
	for (size_t i = 0; i < STREAM_LISTENERS; i++)
		stream_listen_close_one(&in->listeners[i]);
}

/* --- open ----------------------------------------------------------------- */

/* Resolve listen.unix.allow_uids: numbers, or names of users. */
int
stream_listen_set_allow(struct in_stream *in, const struct conf_list *list,
    struct why *why)
{
	uid_t *allow = list->n == 0 ? NULL : mem_grow(NULL, list->n,
	    sizeof *allow);

	for (size_t i = 0; i < list->n; i++) {
		const struct passwd *pw;
		unsigned long uid;
		char *end;

		errno = 0;
		uid = strtoul(list->v[i], &end, 10);
		if (list->v[i][0] >= '0' && list->v[i][0] <= '9' &&
		    *end == '\0' && errno == 0 && uid < UINT32_MAX) {
			allow[i] = (uid_t)uid;
		} else if ((pw = getpwnam(list->v[i])) != NULL) {
			allow[i] = pw->pw_uid;
		} else {
			int r = why_set(why, -EINVAL, "listen.unix.allow_uids: "
			    "there is no user \"%s\"", list->v[i]);
			free(allow);
			return r;
		}
	}
	free(in->allow);
	in->allow = allow;
	in->allow_n = list->n;
	return 0;
}

static int
stream_listen_add(struct in_stream *in, enum stream_listener_kind kind,
    const struct listen_unix *sock)
{
	struct stream_listener *l = &in->listeners[kind];
	char name[128];

	l->sock = *sock;
	if (sock->fd < 0)
		return 0;
	(void)event_assign(&l->ev, loop_base(in->loop), sock->fd,
	    EV_READ | EV_PERSIST, on_accept, l);
	if (event_add(&l->ev, NULL) < 0)
		return -ENOMEM;
	log_info("listening", LS("input", l->tcp ? "forward_tcp" :
	    books_input_name(BOOKS_STREAM)),
	    LS("address", listen_name(sock->fd, name, sizeof name)));
	return 0;
}

void
stream_listen_swap(struct in_stream *in, enum stream_listener_kind kind,
    const struct listen_unix *sock)
{
	struct stream_listener *l = &in->listeners[kind];

	if (l->sock.fd >= 0) {
		if (l->tcp)
			listen_tcp_shut(l->sock.fd);
		else
			(void)shutdown(l->sock.fd, SHUT_RD);
		while (stream_listen_accept_some(l, STREAM_LISTEN_ACCEPTS) !=
		    0)
			continue;
		stream_listen_close_one(l);
	}
	if (stream_listen_add(in, kind, sock) < 0)
		log_error("listen_failed", LS("input", "stream"),
		    LS("error", "no memory for the event"));
}

static int
stream_listen_open_tcp(struct in_stream *in, struct why *why)
{
	const struct conf *conf = in->conf;
	struct listen_unix sock = { .fd = -1 };
	bool remote;

	sock.fd = listen_tcp_open("forward_tcp", conf->listen.forward_tcp,
	    conf->listen.allow_remote, &remote, why);
	if (sock.fd < 0)
		return sock.fd;
	if (remote)
		log_warn("listening_to_the_network",
		    LS("input", "forward_tcp"),
		    LS("address", conf->listen.forward_tcp), LS("hint",
		    "everybody who can reach this address can write events"));
	return stream_listen_add(in, STREAM_TCP, &sock);
}

int
stream_listen_open(struct in_stream *in, int inherited, struct why *why)
{
	const struct conf *conf = in->conf;
	struct listen_unix sock = { .fd = inherited };

	for (size_t i = 0; i < STREAM_LISTENERS; i++) {
		in->listeners[i].in = in;
		in->listeners[i].tcp = i == STREAM_TCP;
		in->listeners[i].sock.fd = -1;
	}
	int r = stream_listen_set_allow(in,
	    &conf->listen.unix_stream.allow_uids, why);
	if (r == 0 && inherited < 0 && conf->listen.unix_stream.path[0] != '\0')
		r = listen_unix_open(&conf->listen.unix_stream, SOCK_STREAM,
		    &sock, why);
	if (r < 0)
		return r;
	if ((r = stream_listen_add(in, STREAM_UNIX, &sock)) < 0)
		return why_set(why, r, "socket %s: event",
		    conf->listen.unix_stream.path);
	return conf->listen.forward_tcp[0] != '\0' ?
	    stream_listen_open_tcp(in, why) : 0;
}
