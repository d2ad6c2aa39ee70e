/*
 * http_lane: see http_lane.h. An idle lane is watched, so that one that the
 * server closes is gone at once; the same event, which stays registered, tells
 * of answers.
 */
#include "loop/http_lane.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/mem.h"
#include "codec/http_answer.h"
#include "loop/http_easy.h"
#include "loop/http_multi.h"
#include "loop/http_wire.h"
#include "loop/loop.h"

#define HTTP_LANE_READ		4096		/* answers are short */
#define HTTP_LANE_PIECE		(16 * 1024)	/* of a body from the disk */
#define HTTP_LANE_PIECES	16		/* in a turn */
/* As libcurl's CURLOPT_MAXAGE_CONN: what is between us may have forgotten it. */
#define HTTP_LANE_IDLE_MS	118000

struct http_lane {
	struct http_lanes	*lanes;
	struct http_lane	*next, **at;	/* in `busy` or `idle` */
	struct http_request	*rq;		/* NULL: idle */
	int			 fd;
	struct event		 ev;
	short			 want;		/* as ev is registered */
	bool			 used;		/* it served a request before */
	bool			 unreadable;	/* the body, of this host */
	int			 broken;	/* errno of sending, or 0 */
	size_t			 sent, total;	/* bytes of head and body */
	struct mono		 idle_since;
	struct http_answer	 answer;
};

struct http_lanes {
	struct http_wire	*wire;
	struct loop		*loop;
	struct http_lane	*busy;
	struct http_lane	*idle;		/* the last one used is first */
	struct http_lane	*dead;		/* freed at the turn's end */
	struct event		 ev_timer;
	struct mono		 armed;		/* never later than a limit */
};

static void	on_lane(evutil_socket_t, short, void *);

/* --- a lane's life -------------------------------------------------------- */

static void
http_lane_link(struct http_lane *lane, struct http_lane **list)
{
	lane->next = *list;
	lane->at = list;
	if (lane->next != NULL)
		lane->next->at = &lane->next;
	*list = lane;
}

static void
http_lane_unlink(struct http_lane *lane)
{
	*lane->at = lane->next;
	if (lane->next != NULL)
		lane->next->at = lane->at;
}

static void
http_lane_want(struct http_lane *lane, short what)
{
	if (lane->want == what)
		return;
	/* Also where it is only active. */
	(void)event_del(&lane->ev);
	lane->want = what;
	(void)event_assign(&lane->ev, loop_base(lane->lanes->loop), lane->fd,
	    (short)(what | EV_PERSIST), on_lane, lane);
	/* On failure the request ends by its time limit. */
	if (event_add(&lane->ev, NULL) < 0)
		lane->want = 0;
}

/* fd is this one's from now on. */
static struct http_lane *
http_lane_new(struct http_lanes *lanes, int fd)
{
	struct http_lane *lane = mem_zalloc(sizeof *lane);

	lane->lanes = lanes;
	lane->fd = fd;
	http_lane_link(lane, &lanes->idle);
	(void)event_assign(&lane->ev, loop_base(lanes->loop), fd, EV_READ,
	    on_lane, lane);
	http_lane_want(lane, EV_READ);
	return lane;
}

static void
http_lane_close(struct http_lane *lane)
{
	http_lane_unlink(lane);
	(void)event_del(&lane->ev);
	(void)close(lane->fd);
	http_lane_link(lane, &lane->lanes->dead);
}

static void
http_lanes_close_idle(struct http_lanes *lanes)
{
	while (lanes->idle != NULL)
		http_lane_close(lanes->idle);
}

/* --- the end of a request ------------------------------------------------- */

/* It is ended; the lane serves another one, or goes. */
static void
http_lane_end(struct http_lane *lane, enum transport_result result, bool keep)
{
	struct http_request *rq = lane->rq;
	struct transport_answer *a = &rq->answer;

	a->result = result;
	if (result == TRANSPORT_ANSWERED) {
		a->status = lane->answer.status;
		(void)snprintf(a->retry_after, sizeof a->retry_after, "%s",
		    lane->answer.retry_after);
	}
	rq->lane = NULL;
	lane->rq = NULL;
	if (!keep) {
		http_lane_close(lane);
	} else {
		lane->used = true;
		lane->idle_since = clock_mono();
		http_lane_unlink(lane);
		http_lane_link(lane, &lane->lanes->idle);
		http_lane_want(lane, EV_READ);
	}
	rq->wire->ended(rq->wire->arg, rq);
}

/*
 * The connection broke, or the server is silent. A refusal may have come
 * before that, and counts; a success must be whole.
 */
static void
http_lane_fail(struct http_lane *lane, const char *what)
{
	struct http_request *rq = lane->rq;

	(void)snprintf(rq->answer.detail, sizeof rq->answer.detail, "%.250s",
	    what);
	http_lane_end(lane, lane->answer.status >= 300 ? TRANSPORT_ANSWERED :
	    TRANSPORT_NO_ANSWER, false);
}

/*
 * The connection broke. One that was idle may have been closed by the server
 * just before the request came: the request is sent again, once, on a new one
 * (RFC 9112 9.3.1; it has an idempotency key). So would all that are as old.
 */
static void
http_lane_break(struct http_lane *lane, const char *what)
{
	struct http_lanes *lanes = lane->lanes;
	struct http_request *rq = lane->rq;
	struct why why;

	if (!lane->used || lane->answer.begun || rq->again) {
		http_lane_fail(lane, what);
		return;
	}
	http_lanes_close_idle(lanes);
	rq->again = true;
	if (http_easy_connect(rq, &why) < 0) {
		http_lane_fail(lane, why.text);
		return;
	}
	rq->lane = NULL;
	http_lane_close(lane);
}

static void
http_lane_break_errno(struct http_lane *lane, int err)
{
	char text[128];

	(void)snprintf(text, sizeof text,
	    "the connection to the upstream broke: %s", strerror(err));
	http_lane_break(lane, text);
}

void
http_lane_drop(struct http_request *rq)
{
	struct http_lane *lane = rq->lane;

	rq->lane = NULL;
	http_lane_close(lane);
}

/* --- sending -------------------------------------------------------------- */

/*
 * What is still to be sent, or the next piece of it, in at most four parts.
 * piece: HTTP_LANE_PIECE bytes. Returns how many parts, or -errno when the body
 * cannot be read.
 */
static int
http_lane_parts(struct http_lane *lane, struct iovec iov[4], uint8_t *piece)
{
	struct http_request *rq = lane->rq;
	const char *first = rq->wire->heads[rq->route];
	const char *key = secret_text(rq->key_line);
	struct iovec all[3] = {
		{ .iov_base = (char *)first, .iov_len = strlen(first) },
		{ .iov_base = (char *)key, .iov_len = strlen(key) },
		{ .iov_base = rq->head, .iov_len = rq->head_len },
	};
	size_t skip = lane->sent, body_off;
	int n = 0, r;

	for (size_t i = 0; i < NELEM(all); i++) {
		size_t past = skip < all[i].iov_len ? skip : all[i].iov_len;

		skip -= past;
		if (past == all[i].iov_len)
			continue;
		iov[n].iov_base = (char *)all[i].iov_base + past;
		iov[n++].iov_len = all[i].iov_len - past;
	}
	body_off = skip;
	if (body_off == rq->body_len)
		return n;
	iov[n].iov_len = rq->body_len - body_off;
	if (rq->from_memory) {
		iov[n].iov_base = rq->body + body_off;
		return n + 1;
	}
	if (iov[n].iov_len > HTTP_LANE_PIECE)
		iov[n].iov_len = HTTP_LANE_PIECE;
	iov[n].iov_base = piece;
	r = rq->read(rq->read_arg, rq->tag, body_off, piece, iov[n].iov_len);
	return r < 0 ? r : n + 1;
}

/* Send what the socket takes. What goes wrong is told by on_lane(). */
static void
http_lane_write(struct http_lane *lane)
{
	uint8_t piece[HTTP_LANE_PIECE];
	struct iovec iov[4];
	struct msghdr m = { .msg_iov = iov };

	for (int i = 0; i < HTTP_LANE_PIECES; i++) {
		int n = http_lane_parts(lane, iov, piece);
		ssize_t sent;

		if (n == 0) {
			http_lane_want(lane, EV_READ);
			return;
		}
		if (n < 0) {
			lane->unreadable = true;
			event_active(&lane->ev, EV_READ, 0);
			return;
		}
		m.msg_iovlen = (size_t)n;
		do
			sent = sendmsg(lane->fd, &m, MSG_NOSIGNAL);
		while (sent < 0 && errno == EINTR);
		if (sent < 0 && errno == EAGAIN)
			break;
		if (sent < 0) {
			/* An answer may lie there: it is read first. */
			lane->broken = errno;
			http_lane_want(lane, EV_READ);
			event_active(&lane->ev, EV_READ, 0);
			return;
		}
		lane->sent += (size_t)sent;
	}
	http_lane_want(lane, EV_READ | EV_WRITE);
}

/* --- receiving ------------------------------------------------------------ */

static bool
on_lane_body(void *arg, const char *p, size_t n)
{
	return http_request_take(arg, p, n);
}

/*
 * The answer is whole. A success that comes before the server has the whole
 * request counts once it has. Returns whether it is over.
 */
static bool
http_lane_whole(struct http_lane *lane, bool clean)
{
	bool sent = lane->sent == lane->total;

	lane->answer.keep = lane->answer.keep && clean;
	if (!sent && lane->answer.status < 300)
		return false;
	http_lane_end(lane, TRANSPORT_ANSWERED, lane->answer.keep && sent);
	return true;
}

/* n bytes came; 0: no more will. Returns whether the request is over. */
static bool
http_lane_take(struct http_lane *lane, const char *p, size_t n)
{
	struct why why;
	size_t used = 0;
	int r;

	if (lane->answer.whole && n > 0) {
		lane->answer.keep = false;
		return false;
	}
	if (lane->answer.whole) {
		http_lane_fail(lane, "the upstream answered and closed the "
		    "connection before it had the whole request");
		return true;
	}
	r = n == 0 ? http_answer_eof(&lane->answer, &why) :
	    http_answer_take(&lane->answer, p, n, &used, &why);
	switch (r) {
	case 0:
		return false;
	case 1:
		return http_lane_whole(lane, n > 0 && used == n);
	case -ECANCELED:
		/* Who answers without end is cut off; the status counts. */
		if (lane->sent == lane->total)
			http_lane_end(lane, TRANSPORT_ANSWERED, false);
		else
			http_lane_fail(lane, "the upstream answered without "
			    "end before it had the whole request");
		return true;
	case -EPIPE:
		http_lane_break(lane, why.text);
		return true;
	default:
		http_lane_fail(lane, why.text);
		return true;
	}
}

static void
http_lane_read(struct http_lane *lane)
{
	char buf[HTTP_LANE_READ];

	for (int i = 0; i < HTTP_LANE_PIECES; i++) {
		ssize_t n = recv(lane->fd, buf, sizeof buf, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			if (lane->broken != 0)
				http_lane_break_errno(lane, lane->broken);
			return;
		}
		if (n < 0) {
			http_lane_break_errno(lane, errno);
			return;
		}
		if (http_lane_take(lane, buf, (size_t)n))
			return;
		/* The event comes again where there is more. */
		if ((size_t)n < sizeof buf && lane->broken == 0)
			return;
	}
}

static void
on_lane(evutil_socket_t fd, short what, void *arg)
{
	struct http_lane *lane = arg;

	if (lane->rq == NULL) {
		/* The server closes it, or speaks out of turn. */
		http_lane_close(lane);
		return;
	}
	if ((what & EV_WRITE) != 0 && lane->broken == 0 && !lane->unreadable) {
		http_lane_write(lane);
		if (lane->answer.whole && lane->sent == lane->total) {
			http_lane_end(lane, TRANSPORT_ANSWERED,
			    lane->answer.keep);
			return;
		}
	}
	if (lane->unreadable) {
		(void)snprintf(lane->rq->answer.detail,
		    sizeof lane->rq->answer.detail,
		    "the batch cannot be read back");
		http_lane_end(lane, TRANSPORT_LOCAL, false);
		return;
	}
	if ((what & EV_READ) != 0)
		http_lane_read(lane);
}

/* --- time limits ---------------------------------------------------------- */

static struct mono
http_lane_limit(const struct http_lane *lane)
{
	return mono_add_ms(lane->rq->begin, lane->lanes->wire->timeout_ms);
}

/* One that is over its limit, or NULL. */
static struct http_lane *
http_lanes_late(struct http_lanes *lanes, struct mono now)
{
	struct http_lane *lane = lanes->busy;

	while (lane != NULL && http_lane_limit(lane).us > now.us)
		lane = lane->next;
	return lane;
}

static void
on_lanes_timer(evutil_socket_t fd, short what, void *arg)
{
	struct http_lanes *lanes = arg;
	struct mono now = clock_mono();
	struct http_lane *lane;
	char text[128];

	(void)snprintf(text, sizeof text, "timed out: no whole answer within "
	    "%" PRId64 " ms (upstream.timeout)", lanes->wire->timeout_ms);
	lanes->armed = MONO_NEVER;
	/* What ends one request may begin or end others. */
	while ((lane = http_lanes_late(lanes, now)) != NULL)
		http_lane_fail(lane, text);
	for (lane = lanes->busy; lane != NULL; lane = lane->next)
		loop_arm(&lanes->ev_timer, &lanes->armed,
		    http_lane_limit(lane), now);
}

/* --- beginning ------------------------------------------------------------ */

/* The lane is idle, and the request in none. */
static void
http_lane_begin(struct http_lane *lane, struct http_request *rq,
    struct mono now)
{
	struct http_lanes *lanes = lane->lanes;

	http_lane_unlink(lane);
	http_lane_link(lane, &lanes->busy);
	lane->rq = rq;
	rq->lane = lane;
	lane->sent = 0;
	lane->total = strlen(rq->wire->heads[rq->route]) +
	    strlen(secret_text(rq->key_line)) + rq->head_len + rq->body_len;
	lane->unreadable = false;
	lane->broken = 0;
	http_answer_init(&lane->answer, on_lane_body, rq);
	loop_arm(&lanes->ev_timer, &lanes->armed, http_lane_limit(lane), now);
	http_lane_write(lane);
}

/* Close the idle ones, if the first, which was used last, is too old. */
static void
http_lanes_age(struct http_lanes *lanes, struct mono now)
{
	if (lanes->idle != NULL && mono_sub_ms(now, lanes->idle->idle_since) >=
	    HTTP_LANE_IDLE_MS)
		http_lanes_close_idle(lanes);
}

/* Did the server close it, or speak out of turn, and on_lane() not run yet? */
static bool
http_lane_is_quiet(const struct http_lane *lane)
{
	char c;

	return recv(lane->fd, &c, 1, MSG_PEEK) < 0 && errno == EAGAIN;
}

bool
http_lanes_begin(struct http_lanes *lanes, struct http_request *rq)
{
	http_lanes_age(lanes, rq->begin);
	/* What lies there would be taken for the answer (RFC 9112 9.2). */
	while (lanes->idle != NULL && !http_lane_is_quiet(lanes->idle))
		http_lane_close(lanes->idle);
	if (lanes->idle == NULL)
		return false;
	http_lane_begin(lanes->idle, rq, rq->begin);
	/* Those that a burst has left behind. */
	http_lanes_age(lanes, rq->begin);
	return true;
}

void
http_lanes_connected(struct http_lanes *lanes, struct http_request *rq)
{
	int fd = http_multi_take(rq->wire->hm, rq->easy);

	if (fd < 0) {
		(void)snprintf(rq->answer.detail, sizeof rq->answer.detail,
		    "the connection was gone as soon as it was made");
		rq->answer.result = TRANSPORT_NO_ANSWER;
		rq->wire->ended(rq->wire->arg, rq);
		return;
	}
	http_lane_begin(http_lane_new(lanes, fd), rq, clock_mono());
}

/* --- all ------------------------------------------------------------------ */

struct http_lanes *
http_lanes_new(struct http_wire *wire, struct loop *loop)
{
	struct http_lanes *lanes = mem_zalloc(sizeof *lanes);

	lanes->wire = wire;
	lanes->loop = loop;
	lanes->armed = MONO_NEVER;
	(void)evtimer_assign(&lanes->ev_timer, loop_base(loop),
	    on_lanes_timer, lanes);
	return lanes;
}

void
http_lanes_turn(struct http_lanes *lanes)
{
	struct http_lane *lane;

	while (lanes != NULL && (lane = lanes->dead) != NULL) {
		http_lane_unlink(lane);
		free(lane);
	}
}

void
http_lanes_free(struct http_lanes *lanes)
{
	if (lanes == NULL)
		return;
	http_lanes_close_idle(lanes);
	http_lanes_turn(lanes);
	(void)event_del(&lanes->ev_timer);
	free(lanes);
}
