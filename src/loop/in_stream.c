/*
 * in_stream: the listener and the table of its connections. What one
 * connection does is in stream_conn.c.
 *
 * A connection is known to the engine by a number that is never used again:
 * its slot in the table and a count of all connections.
 */
#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "codec/reply.h"
#include "core/engine.h"
#include "loop/in_stream.h"
#include "loop/loop.h"
#include "loop/stream_conn.h"

#define IN_STREAM_SHARED	(80 * 1024)	/* a carried part and a read */
#define IN_STREAM_ACCEPTS	64		/* in one turn */
#define IN_STREAM_PARTS_MAX	((size_t)64 << 20)
#define IN_STREAM_RESUME_MS	500
#define IN_STREAM_PEER		((uint64_t)1 << 56)

/* --- the table ------------------------------------------------------------ */

static struct stream_conn *
in_stream_find(struct in_stream *in, uint64_t peer)
{
	uint32_t slot = (uint32_t)(peer & 0xffff);

	if (peer >> 56 != 1 || slot >= in->slots_n || in->slots[slot] == NULL ||
	    in->slots[slot]->peer != peer)
		return NULL;
	return in->slots[slot];
}

/* A free slot; the table grows to the limit of connections. */
static uint32_t
in_stream_slot(struct in_stream *in)
{
	uint32_t n = in->slots_n;

	for (uint32_t i = 0; i < n; i++) {
		uint32_t slot = (in->slot_hint + i) % n;

		if (in->slots[slot] == NULL) {
			in->slot_hint = slot + 1;
			return slot;
		}
	}
	in->slots_n = n == 0 ? 16 : n * 2;
	in->slots = mem_grow(in->slots, in->slots_n, sizeof *in->slots);
	memset(in->slots + n, 0, (in->slots_n - n) * sizeof *in->slots);
	in->slot_hint = n + 1;
	return n;
}

void
in_stream_bury(struct in_stream *in, struct stream_conn *c)
{
	assert(in->slots[c->slot] == c);
	in->slots[c->slot] = NULL;
	in->conns--;
	c->next_dead = in->dead;
	in->dead = c;
}

void
in_stream_shed(struct in_stream *in)
{
	while (in->part_bytes > IN_STREAM_PARTS_MAX) {
		struct stream_conn *worst = NULL;

		for (uint32_t i = 0; i < in->slots_n; i++) {
			struct stream_conn *c = in->slots[i];

			if (c != NULL && c->part != NULL &&
			    c->state == STREAM_OPEN && (worst == NULL ||
			    c->part->counted > worst->part->counted))
				worst = c;
		}
		if (worst == NULL)
			return;
		stream_conn_fail(worst, EVENT_NO_MEMORY, "too many bytes of "
		    "unfinished messages, of which this one has the most");
		if (worst->part != NULL) {
			in->part_bytes -= worst->part->counted;
			worst->part->counted = 0;
			buf_free(&worst->part->buf);
			buf_init(&worst->part->buf, 0);
		}
	}
}

/* --- accept --------------------------------------------------------------- */

/* Tell a client why it is not served, and let it go. */
static void
in_stream_turn_away(struct in_stream *in, int fd, enum event_code code,
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
	if (log_limit_hit(&in->log_limit, clock_now().mono.us, &n))
		log_warn("client_turned_away",
		    LS("code", event_code_name(code)), LS("error", text),
		    LI("uid", cred->uid), LI("pid", cred->pid),
		    LU("repeated", n));
}

static bool
in_stream_is_allowed(const struct in_stream *in, uid_t uid)
{
	if (in->allow_n == 0)
		return true;
	for (size_t i = 0; i < in->allow_n; i++)
		if (in->allow[i] == uid)
			return true;
	return false;
}

static size_t
in_stream_count_uid(const struct in_stream *in, uid_t uid)
{
	size_t n = 0;

	for (uint32_t i = 0; i < in->slots_n; i++)
		if (in->slots[i] != NULL && in->slots[i]->uid == uid)
			n++;
	return n;
}

static void
in_stream_admit(struct in_stream *in, int fd)
{
	struct ucred cred = { .pid = 0, .uid = (uid_t)-1, .gid = (gid_t)-1 };
	socklen_t len = sizeof cred;
	struct stream_conn *c;

	(void)getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len);
	if (!in_stream_is_allowed(in, cred.uid)) {
		in_stream_turn_away(in, fd, EVENT_FORBIDDEN,
		    "this user is not in listen.unix.allow_uids", &cred);
		return;
	}
	if (in->conns >= in->conf->limits.connections) {
		in_stream_turn_away(in, fd, EVENT_TOO_MANY_CONNECTIONS,
		    "limits.connections is reached", &cred);
		return;
	}
	if (in_stream_count_uid(in, cred.uid) >=
	    in->conf->limits.connections_per_uid) {
		in_stream_turn_away(in, fd, EVENT_TOO_MANY_CONNECTIONS,
		    "limits.connections_per_uid is reached", &cred);
		return;
	}
	c = mem_zalloc(sizeof *c);
	c->in = in;
	c->uid = cred.uid;
	c->gid = cred.gid;
	c->pid = cred.pid;
	c->slot = in_stream_slot(in);
	c->peer = IN_STREAM_PEER | (uint64_t)in->generation++ << 16 | c->slot;
	in->slots[c->slot] = c;
	in->conns++;
	if (stream_conn_begin(c, fd) < 0)
		return;
	log_debug("client_connected", LI("uid", c->uid), LI("gid", c->gid),
	    LI("pid", c->pid));
}

static void
in_stream_accept_error(struct in_stream *in, int err)
{
	uint64_t n;

	if (err == EAGAIN || err == EINTR || err == ECONNABORTED)
		return;
	/*
	 * Out of fds or memory: the listener stays readable, so it is left
	 * alone until the next tick, or the loop would spin.
	 */
	(void)event_del(&in->ev_accept);
	in->accept_rests = true;
	in_stream_need_tick(in);
	if (log_limit_hit(&in->log_accept, clock_now().mono.us, &n))
		log_error("accept_failed", LS("error", strerror(err)),
		    LU("repeated", n));
}

/* Returns how many were accepted, at most max. */
static size_t
in_stream_accept(struct in_stream *in, size_t max)
{
	size_t n;

	for (n = 0; n < max; n++) {
		int fd = accept4(in->listen.fd, NULL, NULL,
		    SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0) {
			in_stream_accept_error(in, errno);
			break;
		}
		in_stream_admit(in, fd);
	}
	if (n != 0 && log_limit_over(&in->log_accept))
		log_info("accept_recovered", LS("", NULL));
	return n;
}

static void
on_accept(evutil_socket_t fd, short what, void *arg)
{
	struct in_stream *in = arg;

	(void)in_stream_accept(in, IN_STREAM_ACCEPTS);
}

/* --- time and turns ------------------------------------------------------- */

void
in_stream_need_tick(struct in_stream *in)
{
	const struct timeval second = { .tv_sec = 1 };

	if (!in->ticking && evtimer_add(&in->ev_tick, &second) == 0)
		in->ticking = true;
}

static void
on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct in_stream *in = arg;
	struct mono now = clock_now().mono;
	bool more = false;

	in->ticking = false;
	if (in->accept_rests && !in->stopping) {
		in->accept_rests = false;
		if (in->listen.fd >= 0)
			(void)event_add(&in->ev_accept, NULL);
	}
	for (uint32_t i = 0; i < in->slots_n; i++)
		if (in->slots[i] != NULL && stream_conn_tick(in->slots[i], now))
			more = true;
	if (more)
		in_stream_need_tick(in);
}

/*
 * There may be room in general and none for one run, whose last part waits for
 * the spool: such a message is offered again at each tick, not in each turn.
 */
static void
in_stream_resume(struct in_stream *in)
{
	struct engine *engine = loop_engine(in->loop);
	struct mono now = clock_now().mono;

	if (now.us < in->resume_at.us)
		return;
	for (uint32_t i = 0; i < in->slots_n && in->held != 0; i++) {
		if (engine_room(engine) != EVENT_OK)
			return;
		if (in->slots[i] != NULL && in->slots[i]->held) {
			loop_wake(in->loop);
			stream_conn_resume(in->slots[i]);
		}
	}
	if (in->held != 0)
		in->resume_at = mono_add_ms(now, IN_STREAM_RESUME_MS);
}

/* The end of a turn: answers go out, the dead are freed. */
static void
in_stream_turn(void *arg)
{
	struct in_stream *in = arg;
	struct stream_conn *c;

	if (in->held != 0 && !in->stopping)
		in_stream_resume(in);
	while ((c = in->flush) != NULL) {
		in->flush = c->next_flush;
		c->flushing = false;
		stream_conn_flush(c);
	}
	while ((c = in->dead) != NULL) {
		in->dead = c->next_dead;
		stream_conn_free(c);
	}
}

/* --- open, close ---------------------------------------------------------- */

/* Resolve listen.unix.allow_uids: numbers, or names of users. */
static int
in_stream_set_allow(struct in_stream *in, const struct conf_list *list,
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
in_stream_listen(struct in_stream *in)
{
	char name[128];

	if (in->listen.fd < 0)
		return 0;
	(void)event_assign(&in->ev_accept, loop_base(in->loop), in->listen.fd,
	    EV_READ | EV_PERSIST, on_accept, in);
	if (event_add(&in->ev_accept, NULL) < 0)
		return -ENOMEM;
	log_info("listening", LS("input", books_input_name(BOOKS_STREAM)),
	    LS("address", listen_name(in->listen.fd, name, sizeof name)));
	return 0;
}

int
in_stream_open(struct loop *loop, const struct conf *conf, int inherited,
    struct in_stream **ret, struct why *why)
{
	struct in_stream *in = mem_zalloc(sizeof *in);
	int r;

	in->loop = loop;
	in->conf = conf;
	in->listen.fd = inherited;
	r = in_stream_set_allow(in, &conf->listen.unix_stream.allow_uids, why);
	if (r == 0 && inherited < 0 &&
	    conf->listen.unix_stream.path[0] != '\0')
		r = listen_unix_open(&conf->listen.unix_stream, SOCK_STREAM,
		    &in->listen, why);
	if (r < 0) {
		free(in->allow);
		free(in);
		return r;
	}
	in->shared = mem_alloc(IN_STREAM_SHARED);
	(void)evtimer_assign(&in->ev_tick, loop_base(loop), on_tick, in);
	if (in_stream_listen(in) < 0) {
		in_stream_close(in);
		return why_set(why, -ENOMEM, "socket %s: event",
		    conf->listen.unix_stream.path);
	}
	loop_add_hook(loop, in_stream_turn, in);
	*ret = in;
	return 0;
}

int
in_stream_set_conf(struct in_stream *in, const struct conf *conf,
    struct why *why)
{
	int r = in_stream_set_allow(in, &conf->listen.unix_stream.allow_uids,
	    why);

	if (r == 0)
		in->conf = conf;
	return r;
}

static void
in_stream_unlisten(struct in_stream *in)
{
	if (in->listen.fd < 0)
		return;
	(void)event_del(&in->ev_accept);
	listen_unix_close(&in->listen);
}

struct listen_unix
in_stream_listener(const struct in_stream *in)
{
	return in->listen;
}

void
in_stream_swap(struct in_stream *in, const struct listen_unix *sock)
{
	if (in->listen.fd >= 0) {
		/* From here on a connect is refused; who waits is not. */
		(void)shutdown(in->listen.fd, SHUT_RD);
		while (in_stream_accept(in, IN_STREAM_ACCEPTS) != 0)
			continue;
		in_stream_unlisten(in);
	}
	in->listen = *sock;
	if (in_stream_listen(in) < 0)
		log_error("listen_failed", LS("input", "stream"),
		    LS("error", "no memory for the event"));
}

void
in_stream_close(struct in_stream *in)
{
	struct stream_conn *c;

	if (in == NULL)
		return;
	in_stream_unlisten(in);
	(void)event_del(&in->ev_tick);
	for (uint32_t i = 0; i < in->slots_n; i++)
		if (in->slots[i] != NULL)
			stream_conn_close(in->slots[i]);
	while ((c = in->dead) != NULL) {
		in->dead = c->next_dead;
		stream_conn_free(c);
	}
	free(in->slots);
	free(in->allow);
	free(in->shared);
	free(in);
}

/* --- answers and the stop ------------------------------------------------- */

void
in_stream_answer(struct in_stream *in, uint64_t peer, enum event_code code,
    const char *text, const struct event_ack *ack)
{
	struct stream_conn *c = in_stream_find(in, peer);

	if (c == NULL)
		return;
	if (c->acks_due > 0)
		c->acks_due--;
	stream_conn_answer(c, code, text, ack);
}

/*
 * Nothing more can be sent to us: a client's next write fails, so it knows
 * what the next lumnid must hear, and what was written can be read to its end.
 * A socket of the service manager's is not ours to shut; who connects there
 * waits for the next lumnid.
 */
static void
in_stream_shut(struct in_stream *in)
{
	if (in->listen.path != NULL)
		(void)shutdown(in->listen.fd, SHUT_RD);
	for (uint32_t i = 0; i < in->slots_n; i++)
		if (in->slots[i] != NULL && in->slots[i]->state == STREAM_OPEN)
			(void)shutdown(in->slots[i]->fd, SHUT_RD);
}

void
in_stream_drain(struct in_stream *in, int64_t budget_ms)
{
	struct mono end = mono_add_ms(clock_now().mono, budget_ms);
	bool more = true;

	loop_wake(in->loop);
	in_stream_shut(in);
	while (in->listen.path != NULL &&
	    in_stream_accept(in, IN_STREAM_ACCEPTS) == IN_STREAM_ACCEPTS &&
	    clock_now().mono.us < end.us)
		;
	in_stream_unlisten(in);
	in_stream_shut(in);	/* those just accepted */
	/* Round after round, so that no client uses up the time alone. */
	while (more && clock_now().mono.us < end.us) {
		more = false;
		for (uint32_t i = 0; i < in->slots_n; i++)
			if (in->slots[i] != NULL &&
			    in->slots[i]->state == STREAM_OPEN &&
			    stream_conn_read(in->slots[i]) > 0)
				more = true;
	}
	in->stopping = true;
	for (uint32_t i = 0; i < in->slots_n; i++) {
		struct stream_conn *c = in->slots[i];

		if (c == NULL || c->state != STREAM_OPEN || !c->reading)
			continue;
		c->reading = false;
		(void)event_del(&c->ev_read);
	}
	if (in->held != 0)
		log_warn("messages_left", LU("connections", in->held),
		    LS("error", "storage is full: messages that asked for no "
		    "ack were read, and are lost with the stop"));
}

bool
in_stream_is_flushed(const struct in_stream *in)
{
	for (uint32_t i = 0; i < in->slots_n; i++) {
		const struct stream_conn *c = in->slots[i];

		if (c != NULL && c->out_off < c->out.len)
			return false;
	}
	return true;
}

size_t
in_stream_connections(const struct in_stream *in)
{
	return in->conns;
}
