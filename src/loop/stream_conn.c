/*
 * stream_conn: one client of the Unix stream socket: bytes in, messages to the
 * engine, answers out. Owns its fd and its buffers. Never waits, never reads
 * more than one buffer in a turn, so that clients share the loop evenly.
 */
#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "codec/forward.h"
#include "codec/reply.h"
#include "core/engine.h"
#include "core/uids.h"
#include "loop/loop.h"
#include "loop/stream_conn.h"

/* A part up to this size is copied in front of what is read next. */
#define STREAM_CARRY_MAX	(16 * 1024)
#define STREAM_READ_MAX		(64 * 1024)
#define STREAM_READ_MIN		(4 * 1024)
#define STREAM_TURN_BYTES	(512 * 1024)	/* of all connections */
/* Read less while the storage is full: what asks for no ack is held. */
#define STREAM_READ_FULL	(8 * 1024)
#define STREAM_OUT_CHOKE	(64 * 1024)
#define STREAM_OUT_MAX		(1024 * 1024)

#define STREAM_WRITE_MS		30000	/* without progress */
#define STREAM_ENDED_MS		60000	/* for acks that are due */
#define STREAM_FAILED_MS	60000
#define STREAM_LINGER_MS	2000

static HOT void
stream_conn_set_reading(struct stream_conn *c)
{
	bool want = false;

	switch (c->state) {
	case STREAM_OPEN:
		want = !c->held && !c->yielding && !c->choked &&
		    !c->throttled && !c->in->stopping;
		break;
	case STREAM_FAILED:
	case STREAM_LINGER:
		want = true;
		break;
	case STREAM_ENDED:
	case STREAM_DEAD:
		break;
	}
	if (want == c->reading)
		return;
	if (!want)
		(void)event_del(&c->ev_read);
	else if (event_add(&c->ev_read, NULL) < 0) {
		stream_conn_close(c);
		return;
	}
	c->reading = want;
}

static void
stream_conn_set_state(struct stream_conn *c, enum stream_state state,
    int64_t ms)
{
	c->state = state;
	c->deadline = mono_add_ms(clock_mono(), ms);
	in_stream_need_tick(c->in);
	stream_conn_set_reading(c);
}

/* To be written at the end of the turn. */
static void
stream_conn_queue_flush(struct stream_conn *c)
{
	if (c->flushing || c->state == STREAM_DEAD)
		return;
	c->flushing = true;
	c->next_flush = c->in->flush;
	c->in->flush = c;
}

static void
stream_conn_hold(struct stream_conn *c, bool held)
{
	if (c->held == held)
		return;
	c->held = held;
	if (held) {
		c->in->held++;
		in_stream_need_tick(c->in);
	} else {
		c->in->held--;
	}
}

static void
stream_conn_yield(struct stream_conn *c, bool yielding)
{
	if (c->yielding == yielding)
		return;
	c->yielding = yielding;
	if (yielding)
		c->in->yielding++;
	else
		c->in->yielding--;
}

size_t
stream_conn_share(const struct in_stream *in)
{
	size_t readers = in->readers > in->reads ? in->readers : in->reads;
	size_t share = STREAM_TURN_BYTES / (readers > 0 ? readers : 1);

	if (share > STREAM_READ_MAX || in->draining)
		return STREAM_READ_MAX;
	return share < STREAM_READ_MIN ? STREAM_READ_MIN : share;
}

/* --- parts ---------------------------------------------------------------- */

static void
stream_conn_count_part(struct stream_conn *c)
{
	size_t n = c->part->buf.cap + stream_forward_bytes(c);

	c->in->part_bytes += n;
	c->in->part_bytes -= c->part->counted;
	c->part->counted = n;
}

static void
stream_conn_drop_part(struct stream_conn *c)
{
	stream_forward_free(c);
	if (c->part == NULL)
		return;
	c->in->part_bytes -= c->part->counted;
	buf_free(&c->part->buf);
	free(c->part);
	c->part = NULL;
}

/* Put n bytes at p, in the shared buffer, into the part. */
static void
stream_conn_keep_shared(struct stream_conn *c, const struct frame *f,
    const uint8_t *p, size_t n)
{
	if (c->part == NULL) {
		c->part = mem_zalloc(sizeof *c->part);
		buf_init(&c->part->buf, 0);
	}
	if (f != &c->part->frame)
		c->part->frame = *f;
	c->part->buf.len = 0;
	buf_put(&c->part->buf, p, n);
}

/* The rest of the part's own buffer, n bytes at p, becomes the part. */
static void
stream_conn_keep_own(struct stream_conn *c, const uint8_t *p, size_t n)
{
	struct buf rest;

	if (p == c->part->buf.data) {
		c->part->buf.len = n;
		return;
	}
	/* A new buffer: the large message's memory goes back now. */
	buf_init(&rest, 0);
	buf_put(&rest, p, n);
	buf_free(&c->part->buf);
	c->part->buf = rest;
}

/* --- in ------------------------------------------------------------------- */

void
stream_conn_log_refused(struct stream_conn *c, enum event_code code,
    const char *text)
{
	uint64_t n;

	if (!log_enabled(LOG_LEVEL_DEBUG) || !log_limit_hit(&c->in->log_refused,
	    clock_mono().us, &n))
		return;
	log_debug("message_refused", LS("code", event_code_name(code)),
	    LS("error", text), LI("uid", c->uid), LI("pid", c->pid),
	    LU("repeated", n));
}

/*
 * Give one whole message to the engine. Returns false when it has to wait for
 * room: it asked for no ack, so a refusal would be silent.
 */
static HOT bool
stream_conn_take(struct stream_conn *c, const uint8_t *p, size_t len,
    struct now now)
{
	struct event_ack ack = { .len = 0 };
	struct why why = { "" };
	enum event_code code;

	code = engine_take(loop_engine(c->in->loop), BOOKS_STREAM, c->peer, p,
	    len, now, &ack, &why);
	if (code == EVENT_OK) {
		if (ack.len != 0)
			c->acks_due++;
		return true;
	}
	/* Who asked with an id that is none is told so, without one. */
	if (ack.len != 0 || code == EVENT_BAD_ACK)
		stream_conn_answer(c, code, why.text, &ack);
	else if (code == EVENT_FULL || code == EVENT_DEGRADED)
		return false;
	stream_conn_log_refused(c, code, why.text);
	return true;
}

/* What the engine has not seen, nor counted. TCP takes forward alone. */
static void
stream_conn_count_refused(struct stream_conn *c, enum event_code code)
{
	books_refuse(engine_books(loop_engine(c->in->loop)), c->tcp ?
	    BOOKS_FORWARD : BOOKS_STREAM, code);
}

static void
stream_conn_frame_error(struct stream_conn *c, enum frame_result r)
{
	enum event_code code = r == FRAME_TOO_LARGE ? EVENT_TOO_LARGE
	    : r == FRAME_TOO_DEEP ? EVENT_TOO_DEEP : EVENT_NOT_MSGPACK;

	stream_conn_count_refused(c, code);
	stream_conn_fail(c, code, frame_strerror(r));
}

/*
 * Take a forward message, or some of it. Returns false when the rest has to
 * wait, for room or for the next turn.
 */
static bool
stream_conn_take_forward(struct stream_conn *c, struct frame *f,
    const uint8_t *p, size_t *len, struct now now)
{
	switch (stream_forward_take(c, p, len, now)) {
	case STREAM_FORWARD_DONE:
		return true;
	case STREAM_FORWARD_YIELD:
		stream_conn_yield(c, true);
		break;
	case STREAM_FORWARD_HELD:
		stream_conn_hold(c, true);
		break;
	}
	frame_init(f, c->in->conf->events.max_message);
	return false;
}

/* One whole message. Returns false when it has to be offered again. */
static bool
stream_conn_take_one(struct stream_conn *c, struct frame *f,
    const uint8_t *p, size_t *len, struct now now)
{
	if (forward_is(*p))
		return stream_conn_take_forward(c, f, p, len, now);
	if (c->tcp) {
		/* A browser could post anything but an array there. */
		stream_conn_count_refused(c, EVENT_NOT_A_MESSAGE);
		stream_conn_fail(c, EVENT_NOT_A_MESSAGE,
		    "here the forward protocol is spoken, and nothing else");
		return true;
	}
	if (stream_conn_take(c, p, *len, now))
		return true;
	frame_init(f, c->in->conf->events.max_message);
	stream_conn_hold(c, true);
	return false;
}

/*
 * Take the whole messages among n bytes. Returns how many bytes are done with;
 * the rest is the beginning of a message, or waits for room.
 */
static size_t
stream_conn_take_all(struct stream_conn *c, struct frame *f, const uint8_t *p,
    size_t n)
{
	struct now now = clock_now();
	size_t off = 0, len = 0;

	while (off < n) {
		/* What has begun is whole. */
		enum frame_result r = c->forward != NULL ? FRAME_VALUE :
		    frame_next(f, p + off, n - off, &len);

		if (r == FRAME_MORE)
			break;
		if (r != FRAME_VALUE) {
			stream_conn_frame_error(c, r);
			return n;
		}
		if (!stream_conn_take_one(c, f, p + off, &len, now))
			break;
		off += len;
		if (c->state != STREAM_OPEN)	/* too many answers */
			return n;
	}
	return off;
}

/* Take what lies at p, n bytes; own: in the part's buffer. */
static HOT void
stream_conn_bytes(struct stream_conn *c, struct frame *f, const uint8_t *p,
    size_t n, bool own)
{
	size_t off = stream_conn_take_all(c, f, p, n);

	if (c->state != STREAM_OPEN || off == n) {
		stream_conn_drop_part(c);
	} else {
		if (own)
			stream_conn_keep_own(c, p + off, n - off);
		else
			stream_conn_keep_shared(c, f, p + off, n - off);
		stream_conn_count_part(c);
		if (buf_error(&c->part->buf) != 0)
			stream_conn_fail(c, EVENT_NO_MEMORY,
			    "no memory for the message");
		else
			in_stream_shed(c->in);
	}
	if (c->state == STREAM_OPEN)
		stream_conn_set_reading(c);
}

/* The client has ended its side. */
static void
stream_conn_end(struct stream_conn *c)
{
	if (c->part != NULL) {
		stream_conn_count_refused(c, EVENT_NOT_MSGPACK);
		stream_conn_log_refused(c, EVENT_NOT_MSGPACK,
		    "the connection ended within a message");
		stream_conn_drop_part(c);
	}
	stream_conn_set_state(c, STREAM_ENDED, STREAM_ENDED_MS);
	stream_conn_queue_flush(c);
}

/* Throw away what comes from a client whose stream is lost. */
static int
stream_conn_discard(struct stream_conn *c)
{
	ssize_t n = recv(c->fd, c->in->shared, STREAM_READ_MAX, 0);

	if (n > 0)
		return (int)n;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return -EAGAIN;
	if (n < 0 || c->state == STREAM_LINGER)
		stream_conn_close(c);
	else
		stream_conn_set_state(c, STREAM_ENDED, STREAM_ENDED_MS);
	stream_conn_queue_flush(c);
	return 0;
}

/* What it has taken goes against its user's limits. */
static void
stream_conn_charge(struct stream_conn *c, uint64_t events, size_t bytes)
{
	struct in_stream *in = c->in;
	struct mono now = clock_mono();

	uids_charge(loop_uids(in->loop), c->user, in->conf, events, bytes,
	    now);
}

/* Is its user over a limit? Then it is left alone until that is over. */
static bool
stream_conn_is_throttled(struct stream_conn *c)
{
	int64_t ms;

	if (c->in->draining)
		return false;
	ms = uids_wait_ms(c->user, c->in->conf, clock_mono());
	if (ms == 0)
		return false;
	c->throttled = true;
	stream_conn_set_reading(c);
	in_stream_need_throttle(c->in, ms);
	return true;
}

void
stream_conn_unthrottle(struct stream_conn *c)
{
	c->throttled = false;
	stream_conn_set_reading(c);
}

static uint64_t
stream_conn_accepted(const struct stream_conn *c)
{
	return engine_books(loop_engine(c->in->loop))->total[BOOKS_ACCEPTED];
}

int
stream_conn_read(struct stream_conn *c)
{
	struct in_stream *in = c->in;
	struct frame *f = &in->frame;
	uint8_t *p = in->shared;
	size_t have = 0, room;
	bool own = false;
	ssize_t n;

	if (c->state == STREAM_FAILED || c->state == STREAM_LINGER)
		return stream_conn_discard(c);
	if (c->state != STREAM_OPEN || c->held || c->yielding || c->choked ||
	    stream_conn_is_throttled(c))
		return 0;
	in->reads++;
	room = stream_conn_share(in);
	if (room > STREAM_READ_FULL &&
	    engine_room(loop_engine(in->loop)) != EVENT_OK)
		room = STREAM_READ_FULL;
	if (c->part == NULL) {
		frame_init(f, in->conf->events.max_message);
	} else {
		f = &c->part->frame;
		have = c->part->buf.len;
		own = have > STREAM_CARRY_MAX;
		if (!own) {
			memcpy(p, c->part->buf.data, have);
		} else if (buf_room(&c->part->buf, room) != NULL) {
			p = c->part->buf.data;
		} else {
			stream_conn_fail(c, EVENT_NO_MEMORY,
			    "no memory for the message");
			return 0;
		}
	}
	n = recv(c->fd, p + have, room, 0);
	if (n > 0) {
		uint64_t before = stream_conn_accepted(c);

		stream_conn_bytes(c, f, p, have + (size_t)n, own);
		if (c->user != NULL)
			stream_conn_charge(c, stream_conn_accepted(c) -
			    before, (size_t)n);
		return (int)n;
	}
	if (n == 0)
		stream_conn_end(c);
	else if (errno == EAGAIN || errno == EINTR)
		return -EAGAIN;
	else
		stream_conn_close(c);
	return 0;
}

void
stream_conn_resume(struct stream_conn *c)
{
	uint64_t before = stream_conn_accepted(c);

	assert((c->held || c->yielding) && c->part != NULL);
	stream_conn_hold(c, false);
	stream_conn_yield(c, false);
	stream_conn_bytes(c, &c->part->frame, c->part->buf.data,
	    c->part->buf.len, true);
	if (c->user != NULL)
		stream_conn_charge(c, stream_conn_accepted(c) - before, 0);
}

/* --- out ------------------------------------------------------------------ */

void
stream_conn_answer(struct stream_conn *c, enum event_code code,
    const char *text, const struct event_ack *ack)
{
	if (c->state == STREAM_DEAD || c->state == STREAM_LINGER)
		return;
	if (code == EVENT_OK)
		reply_put_ack(&c->out, ack);
	else
		reply_put_error(&c->out, code, text, ack);
	if (buf_error(&c->out) != 0) {
		/* It sends and sends, and fetches no answer. */
		stream_conn_close(c);
		return;
	}
	if (c->out.len - c->out_off > STREAM_OUT_CHOKE && !c->choked) {
		c->choked = true;
		stream_conn_set_reading(c);
	}
	stream_conn_queue_flush(c);
}

void
stream_conn_fail(struct stream_conn *c, enum event_code code, const char *text)
{
	const struct event_ack none = { .len = 0 };
	uint64_t n;

	if (c->state != STREAM_OPEN)
		return;
	if (log_limit_hit(&c->in->log_limit, clock_mono().us, &n))
		log_warn("client_failed", LS("code", event_code_name(code)),
		    LS("error", text), LI("uid", c->uid), LI("pid", c->pid),
		    LU("repeated", n));
	stream_conn_hold(c, false);
	stream_conn_yield(c, false);
	stream_conn_answer(c, code, text, &none);
	if (c->state == STREAM_OPEN)
		stream_conn_set_state(c, STREAM_FAILED, STREAM_FAILED_MS);
}

/* All that is queued is written: is this the end? */
static void
stream_conn_finish(struct stream_conn *c)
{
	if (c->acks_due != 0)
		return;
	if (c->state == STREAM_ENDED) {
		stream_conn_close(c);
	} else if (c->state == STREAM_FAILED) {
		(void)shutdown(c->fd, SHUT_WR);
		stream_conn_set_state(c, STREAM_LINGER, STREAM_LINGER_MS);
	}
}

static void
stream_conn_written(struct stream_conn *c)
{
	buf_reset(&c->out, 0);
	c->out_off = 0;
	(void)event_del(&c->ev_write);
	if (c->state == STREAM_OPEN)
		c->deadline = MONO_NEVER;
	if (c->choked) {
		c->choked = false;
		stream_conn_set_reading(c);
	}
	stream_conn_finish(c);
}

void
stream_conn_flush(struct stream_conn *c)
{
	bool progress = false;

	while (c->state != STREAM_DEAD && c->out_off < c->out.len) {
		ssize_t n = send(c->fd, c->out.data + c->out_off,
		    c->out.len - c->out_off, MSG_NOSIGNAL);

		if (n >= 0) {
			c->out_off += (size_t)n;
			progress = true;
			continue;
		}
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN || event_add(&c->ev_write, NULL) < 0) {
			stream_conn_close(c);
			return;
		}
		if (c->state == STREAM_OPEN &&
		    (progress || c->deadline.us == MONO_NEVER.us))
			c->deadline = mono_add_ms(clock_mono(),
			    STREAM_WRITE_MS);
		in_stream_need_tick(c->in);
		return;
	}
	if (c->state == STREAM_DEAD)
		return;
	if (c->out.cap != 0)
		stream_conn_written(c);
	else
		stream_conn_finish(c);
}

/* --- life ----------------------------------------------------------------- */

static HOT void
on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct stream_conn *c = arg;

	loop_wake_taken(c->in->loop);
	(void)stream_conn_read(c);
}

static void
on_writable(evutil_socket_t fd, short what, void *arg)
{
	stream_conn_flush(arg);
}

int
stream_conn_begin(struct stream_conn *c, int fd)
{
	struct event_base *base = loop_base(c->in->loop);

	c->fd = fd;
	c->state = STREAM_OPEN;
	c->deadline = MONO_NEVER;
	buf_init(&c->out, STREAM_OUT_MAX);
	(void)event_assign(&c->ev_read, base, fd, EV_READ | EV_PERSIST,
	    on_readable, c);
	(void)event_assign(&c->ev_write, base, fd, EV_WRITE | EV_PERSIST,
	    on_writable, c);
	stream_conn_set_reading(c);
	return c->state == STREAM_OPEN ? 0 : -ENOMEM;
}

void
stream_conn_close(struct stream_conn *c)
{
	if (c->state == STREAM_DEAD)
		return;
	stream_conn_hold(c, false);
	stream_conn_yield(c, false);
	c->state = STREAM_DEAD;
	(void)event_del(&c->ev_read);
	(void)event_del(&c->ev_write);
	(void)close(c->fd);
	c->fd = -1;
	in_stream_bury(c->in, c);
}

void
stream_conn_free(struct stream_conn *c)
{
	stream_conn_drop_part(c);
	buf_free(&c->out);
	free(c);
}

bool
stream_conn_tick(struct stream_conn *c, struct mono now)
{
	if (c->state == STREAM_DEAD)
		return false;
	if (now.us >= c->deadline.us) {
		stream_conn_close(c);
		return false;
	}
	return c->held || c->deadline.us != MONO_NEVER.us;
}
