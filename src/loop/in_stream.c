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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "core/engine.h"
#include "core/uids.h"
#include "loop/in_stream.h"
#include "loop/loop.h"
#include "loop/stream_conn.h"

#define IN_STREAM_SHARED	(80 * 1024)	/* a carried part and a read */
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
in_stream_place(struct in_stream *in, struct stream_conn *c)
{
	c->slot = in_stream_slot(in);
	c->peer = IN_STREAM_PEER | (uint64_t)in->generation++ << 16 | c->slot;
	in->slots[c->slot] = c;
	in->conns++;
}

void
in_stream_bury(struct in_stream *in, struct stream_conn *c)
{
	assert(in->slots[c->slot] == c);
	in->slots[c->slot] = NULL;
	in->conns--;
	uids_release(loop_uids(in->loop), c->user, clock_mono());
	c->user = NULL;
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
	struct mono now = clock_mono();
	bool more = false;

	in->ticking = false;
	if (!in->stopping)
		stream_listen_resume(in);
	for (uint32_t i = 0; i < in->slots_n; i++)
		if (in->slots[i] != NULL && stream_conn_tick(in->slots[i], now))
			more = true;
	if (more)
		in_stream_need_tick(in);
}

void
in_stream_need_throttle(struct in_stream *in, int64_t ms)
{
	const struct timeval tv = { .tv_sec = ms / 1000,
	    .tv_usec = ms % 1000 * 1000 };
	struct mono at = mono_add_ms(clock_mono(), ms);

	if (at.us < in->throttle_at.us &&
	    evtimer_add(&in->ev_throttle, &tv) == 0)
		in->throttle_at = at;
}

/* The first one to be served moves on, or one would have all there is. */
static void
on_throttle(evutil_socket_t fd, short what, void *arg)
{
	struct in_stream *in = arg;
	struct mono now = clock_mono();
	int64_t least = INT64_MAX;

	in->throttle_at = MONO_NEVER;
	in->first++;
	for (uint32_t i = 0; i < in->slots_n; i++) {
		struct stream_conn *c =
		    in->slots[(in->first + i) % in->slots_n];

		if (c == NULL || !c->throttled)
			continue;
		int64_t ms = uids_wait_ms(c->user, in->conf, now);
		if (ms == 0)
			stream_conn_unthrottle(c);
		else if (ms < least)
			least = ms;
	}
	if (least != INT64_MAX)
		in_stream_need_throttle(in, least);
}

/* Those whose message was too much for one turn go on. */
static void
in_stream_go_on(struct in_stream *in)
{
	in->first++;
	for (uint32_t i = 0; i < in->slots_n && in->yielding != 0; i++) {
		struct stream_conn *c =
		    in->slots[(in->first + i) % in->slots_n];

		if (c != NULL && c->yielding)
			stream_conn_resume(c);
	}
	loop_wake(in->loop);
}

/*
 * There may be room in general and none for one run, whose last part waits for
 * the spool: such a message is offered again at each tick, not in each turn.
 */
static void
in_stream_resume(struct in_stream *in)
{
	struct engine *engine = loop_engine(in->loop);
	struct mono now = clock_mono();

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
static HOT void
in_stream_turn(void *arg)
{
	struct in_stream *in = arg;
	struct stream_conn *c;

	in->readers = in->reads;
	in->reads = 0;
	if (in->yielding != 0 && !in->stopping)
		in_stream_go_on(in);
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

int
in_stream_open(struct loop *loop, const struct conf *conf, int inherited,
    struct in_stream **ret, struct why *why)
{
	struct in_stream *in = mem_zalloc(sizeof *in);
	struct event_base *base = loop_base(loop);

	in->loop = loop;
	in->conf = conf;
	in->throttle_at = MONO_NEVER;
	in->shared = mem_alloc(IN_STREAM_SHARED);
	(void)evtimer_assign(&in->ev_tick, base, on_tick, in);
	(void)evtimer_assign(&in->ev_throttle, base, on_throttle, in);
	int r = stream_listen_open(in, inherited, why);
	if (r < 0) {
		in_stream_close(in);
		return r;
	}
	loop_add_hook(loop, in_stream_turn, in);
	*ret = in;
	return 0;
}

struct listen_unix
in_stream_listener(const struct in_stream *in)
{
	return in->listeners[STREAM_UNIX].sock;
}

void
in_stream_swap(struct in_stream *in, const struct listen_unix *sock)
{
	stream_listen_swap(in, STREAM_UNIX, sock);
}

struct listen_unix
in_stream_forward_listener(const struct in_stream *in)
{
	return in->listeners[STREAM_TCP].sock;
}

void
in_stream_forward_swap(struct in_stream *in, const struct listen_unix *sock)
{
	stream_listen_swap(in, STREAM_TCP, sock);
}

int
in_stream_set_conf(struct in_stream *in, const struct conf *conf,
    struct why *why)
{
	int r = stream_listen_set_allow(in, &conf->listen.unix_stream.allow_uids,
	    why);

	if (r == 0)
		in->conf = conf;
	return r;
}

void
in_stream_close(struct in_stream *in)
{
	struct stream_conn *c;

	if (in == NULL)
		return;
	stream_listen_close(in);
	(void)event_del(&in->ev_tick);
	(void)event_del(&in->ev_throttle);
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
	stream_listen_shut(in);
	for (uint32_t i = 0; i < in->slots_n; i++)
		if (in->slots[i] != NULL && in->slots[i]->state == STREAM_OPEN)
			(void)shutdown(in->slots[i]->fd, SHUT_RD);
}

void
in_stream_drain(struct in_stream *in, int64_t budget_ms)
{
	struct mono end = mono_add_ms(clock_mono(), budget_ms);
	bool more = true;

	loop_wake(in->loop);
	in->draining = true;
	in_stream_shut(in);
	while (stream_listen_accept(in) && clock_mono().us < end.us)
		;
	stream_listen_close(in);
	in_stream_shut(in);	/* those just accepted */
	/* Round after round, so that no client uses up the time alone. */
	while (more && clock_mono().us < end.us) {
		more = false;
		for (uint32_t i = 0; i < in->slots_n; i++) {
			struct stream_conn *c = in->slots[i];

			if (c != NULL && c->yielding) {
				stream_conn_resume(c);
				more = true;
			} else if (c != NULL && c->state == STREAM_OPEN &&
			    stream_conn_read(c) > 0) {
				more = true;
			}
		}
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
