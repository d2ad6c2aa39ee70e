/*
 * in_dgram: the datagram sockets. One set of receive buffers serves both; it
 * is taken with the first datagram, and of each buffer only the pages that
 * datagrams have filled are ever touched.
 */
#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <linux/sock_diag.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "codec/frame.h"
#include "core/engine.h"
#include "loop/in_dgram.h"
#include "loop/listen.h"
#include "loop/loop.h"

#define IN_DGRAM_BATCH		32
#define IN_DGRAM_SIZE		65536	/* no UDP datagram is larger */
#define IN_DGRAM_ROUNDS		4	/* batches of one socket in one turn */
#define IN_DGRAM_RCVBUF		(4 << 20)

/* Room for the one control message we ask for, SO_RXQ_OVFL. */
union in_dgram_control {
	struct cmsghdr	head;
	char		space[CMSG_SPACE(sizeof(uint32_t))];
};

struct in_dgram_buffers {
	uint8_t			*data;	/* IN_DGRAM_BATCH of IN_DGRAM_SIZE */
	struct mmsghdr		 msgs[IN_DGRAM_BATCH];
	struct iovec		 iov[IN_DGRAM_BATCH];
	union in_dgram_control	 control[IN_DGRAM_BATCH];
};

struct in_dgram_socket {
	struct in_dgram		*in;
	struct listen_unix	 sock;	/* fd -1: not listened on */
	enum books_input	 input;
	enum books_total	 drops_total;
	uint32_t		 drops;	/* the kernel's count, as last seen */
	struct event		 ev;
};

struct in_dgram {
	struct loop		*loop;
	struct in_dgram_socket	 sockets[2];	/* UDP; Unix */
	struct in_dgram_buffers	*buffers;	/* NULL: not yet needed */
	struct log_limit	 log_refused;
	struct log_limit	 log_drops;
	struct log_limit	 log_failed;
};

/* --- one datagram --------------------------------------------------------- */

static void
in_dgram_log_refused(struct in_dgram_socket *so, const char *code,
    const char *text)
{
	uint64_t n;

	if (!log_enabled(LOG_LEVEL_DEBUG) ||
	    !log_limit_hit(&so->in->log_refused, clock_mono().us, &n))
		return;
	log_debug("datagram_refused", LS("input", books_input_name(so->input)),
	    LS("code", code), LS("error", text), LU("repeated", n));
}

/* The bytes from here on are no whole message. */
static void
in_dgram_refuse(struct in_dgram_socket *so, enum event_code code,
    const char *text)
{
	struct engine *engine = loop_engine(so->in->loop);

	books_refuse(engine_books(engine), so->input, code);
	in_dgram_log_refused(so, event_code_name(code), text);
}

/* max: bytes of a message, which a datagram cannot exceed anyway. */
static void
in_dgram_take(struct in_dgram_socket *so, const uint8_t *p, size_t n,
    struct now now)
{
	struct engine *engine = loop_engine(so->in->loop);
	struct frame f;
	size_t len = 0;

	frame_init(&f, n);
	for (size_t off = 0; off < n; off += len) {
		struct event_ack ack = { .len = 0 };
		enum event_code code;
		struct why why;

		switch (frame_next(&f, p + off, n - off, &len)) {
		case FRAME_VALUE:
			break;
		case FRAME_TOO_DEEP:
			in_dgram_refuse(so, EVENT_TOO_DEEP,
			    frame_strerror(FRAME_TOO_DEEP));
			return;
		case FRAME_BAD:
			in_dgram_refuse(so, EVENT_NOT_MSGPACK,
			    frame_strerror(FRAME_BAD));
			return;
		case FRAME_MORE:
		case FRAME_TOO_LARGE:
			in_dgram_refuse(so, EVENT_NOT_MSGPACK,
			    "the datagram ends within a message");
			return;
		}
		code = engine_take(engine, so->input, 0, p + off, len, now,
		    &ack, &why);
		if (code != EVENT_OK)
			in_dgram_log_refused(so, event_code_name(code),
			    why.text);
	}
}

/* The kernel's count of what it dropped has moved to this. */
static void
in_dgram_set_drops(struct in_dgram_socket *so, uint32_t drops)
{
	struct engine *engine = loop_engine(so->in->loop);
	uint64_t n;

	if (drops == so->drops)
		return;
	/* It wraps at 2^32; so does the difference. */
	engine_books(engine)->total[so->drops_total] +=
	    (uint32_t)(drops - so->drops);
	so->drops = drops;
	if (log_limit_hit(&so->in->log_drops, clock_mono().us, &n))
		log_warn("kernel_dropped",
		    LS("input", books_input_name(so->input)),
		    LU("datagrams", drops), LU("repeated", n), LS("hint",
		    "the receive buffer was full: send slower, or use the "
		    "stream socket"));
}

/* SO_RXQ_OVFL: drops up to the moment this datagram was queued. */
static void
in_dgram_note_drops(struct in_dgram_socket *so, struct msghdr *mh)
{
	struct cmsghdr *cm;
	uint32_t drops;

	for (cm = CMSG_FIRSTHDR(mh); cm != NULL; cm = CMSG_NXTHDR(mh, cm)) {
		if (cm->cmsg_level != SOL_SOCKET ||
		    cm->cmsg_type != SO_RXQ_OVFL)
			continue;
		memcpy(&drops, CMSG_DATA(cm), sizeof drops);
		in_dgram_set_drops(so, drops);
		return;
	}
}

/* The same as of now: the last drops of a burst have no datagram behind. */
static void
in_dgram_ask_drops(struct in_dgram_socket *so)
{
	uint32_t info[SK_MEMINFO_VARS];
	socklen_t len = sizeof info;

	if (getsockopt(so->sock.fd, SOL_SOCKET, SO_MEMINFO, info, &len) == 0 &&
	    len > SK_MEMINFO_DROPS * sizeof info[0])
		in_dgram_set_drops(so, info[SK_MEMINFO_DROPS]);
}

/* --- reading -------------------------------------------------------------- */

static int
in_dgram_buffers_new(struct in_dgram *in)
{
	struct in_dgram_buffers *b;
	void *data = mmap(NULL, IN_DGRAM_BATCH * IN_DGRAM_SIZE,
	    PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (data == MAP_FAILED)
		return -errno;
	b = mem_zalloc(sizeof *b);
	b->data = data;
	for (size_t i = 0; i < IN_DGRAM_BATCH; i++) {
		b->iov[i].iov_base = b->data + i * IN_DGRAM_SIZE;
		b->iov[i].iov_len = IN_DGRAM_SIZE;
		b->msgs[i].msg_hdr.msg_iov = &b->iov[i];
		b->msgs[i].msg_hdr.msg_iovlen = 1;
		b->msgs[i].msg_hdr.msg_control = &b->control[i];
	}
	in->buffers = b;
	return 0;
}

static void
in_dgram_failed(struct in_dgram_socket *so, int err)
{
	uint64_t n;

	if (log_limit_hit(&so->in->log_failed, clock_mono().us, &n))
		log_error("datagram_receive_failed",
		    LS("input", books_input_name(so->input)),
		    LS("error", strerror(err)), LU("repeated", n));
}

/* Receive and take one batch. Returns how many datagrams there were. */
static int
in_dgram_batch(struct in_dgram_socket *so)
{
	struct in_dgram *in = so->in;
	struct in_dgram_buffers *b = in->buffers;
	struct now now;
	int n;

	for (size_t i = 0; i < IN_DGRAM_BATCH; i++)
		b->msgs[i].msg_hdr.msg_controllen = sizeof b->control[i];
	n = recvmmsg(so->sock.fd, b->msgs, IN_DGRAM_BATCH, MSG_DONTWAIT, NULL);
	if (n < 0) {
		if (errno != EAGAIN && errno != EINTR)
			in_dgram_failed(so, errno);
		return 0;
	}
	now = clock_now();
	for (int i = 0; i < n; i++) {
		struct msghdr *mh = &b->msgs[i].msg_hdr;

		if (mh->msg_controllen != 0)
			in_dgram_note_drops(so, mh);
		if ((mh->msg_flags & MSG_TRUNC) != 0) {
			engine_books(loop_engine(in->loop))->
			    total[BOOKS_TRUNCATED]++;
			in_dgram_log_refused(so, "truncated",
			    "the datagram is larger than 65536 bytes");
			continue;
		}
		in_dgram_take(so, b->iov[i].iov_base, b->msgs[i].msg_len, now);
	}
	return n;
}

static void
on_datagrams(evutil_socket_t fd, short what, void *arg)
{
	struct in_dgram_socket *so = arg;
	int r;

	loop_wake_taken(so->in->loop);
	if (so->in->buffers == NULL && (r = in_dgram_buffers_new(so->in)) < 0) {
		in_dgram_failed(so, -r);
		return;
	}
	for (int i = 0; i < IN_DGRAM_ROUNDS; i++) {
		if (in_dgram_batch(so) == IN_DGRAM_BATCH)
			continue;
		if (i != 0)
			in_dgram_ask_drops(so);
		break;
	}
}

/* --- open, close ---------------------------------------------------------- */

static struct in_dgram_socket *
in_dgram_of(struct in_dgram *in, enum books_input input)
{
	return &in->sockets[input == BOOKS_UDP ? 0 : 1];
}

/* Begin to read it; it is this input's from now on, whatever comes. */
static int
in_dgram_add(struct in_dgram *in, const struct listen_unix *sock,
    enum books_input input, struct why *why)
{
	struct in_dgram_socket *so = in_dgram_of(in, input);
	const int one = 1;
	char name[128];
	int rcvbuf;

	so->sock = *sock;
	so->drops = 0;
	if (sock->fd < 0)
		return 0;
	rcvbuf = listen_set_rcvbuf(sock->fd, IN_DGRAM_RCVBUF);
	(void)setsockopt(sock->fd, SOL_SOCKET, SO_RXQ_OVFL, &one, sizeof one);
	(void)event_assign(&so->ev, loop_base(in->loop), sock->fd,
	    EV_READ | EV_PERSIST, on_datagrams, so);
	if (event_add(&so->ev, NULL) < 0)
		return why_set(why, -ENOMEM, "datagram socket: event");
	log_info("listening", LS("input", books_input_name(input)),
	    LS("address", listen_name(sock->fd, name, sizeof name)),
	    LI("receive_buffer", rcvbuf));
	return 0;
}

static int
in_dgram_open_udp(struct in_dgram *in, const struct conf *conf, int inherited,
    struct why *why)
{
	struct listen_unix sock = { .fd = inherited };
	bool remote = false;

	if (inherited < 0)
		sock.fd = listen_udp_open(conf->listen.udp,
		    conf->listen.allow_remote, &remote, why);
	if (sock.fd < 0)
		return sock.fd;
	if (remote)
		log_warn("listening_to_the_network", LS("input", "udp"),
		    LS("address", conf->listen.udp), LS("hint", "everybody who "
		    "can reach this address can write events"));
	return in_dgram_add(in, &sock, BOOKS_UDP, why);
}

static int
in_dgram_open_unix(struct in_dgram *in, const struct conf *conf, int inherited,
    struct why *why)
{
	struct listen_unix sock = { .fd = inherited };
	int r = 0;

	if (inherited < 0)
		r = listen_unix_open(&conf->listen.dgram, SOCK_DGRAM, &sock,
		    why);
	return r < 0 ? r : in_dgram_add(in, &sock, BOOKS_DGRAM, why);
}

int
in_dgram_open(struct loop *loop, const struct conf *conf,
    const struct listen_inherited *li, struct in_dgram **ret, struct why *why)
{
	struct in_dgram *in = mem_zalloc(sizeof *in);
	int r = 0;

	in->loop = loop;
	in->sockets[0] = (struct in_dgram_socket){ .in = in, .sock.fd = -1,
	    .input = BOOKS_UDP, .drops_total = BOOKS_KERNEL_UDP };
	in->sockets[1] = (struct in_dgram_socket){ .in = in, .sock.fd = -1,
	    .input = BOOKS_DGRAM, .drops_total = BOOKS_KERNEL_DGRAM };
	if (li->udp >= 0 || conf->listen.udp[0] != '\0')
		r = in_dgram_open_udp(in, conf, li->udp, why);
	if (r == 0 && (li->dgram >= 0 || conf->listen.dgram.path[0] != '\0'))
		r = in_dgram_open_unix(in, conf, li->dgram, why);
	if (r < 0) {
		in_dgram_close(in);
		return r;
	}
	*ret = in;
	return 0;
}

static void
in_dgram_close_socket(struct in_dgram_socket *so)
{
	if (so->sock.fd < 0)
		return;
	if (event_initialized(&so->ev))
		(void)event_del(&so->ev);
	listen_unix_close(&so->sock);
}

void
in_dgram_close(struct in_dgram *in)
{
	if (in == NULL)
		return;
	for (size_t i = 0; i < NELEM(in->sockets); i++)
		in_dgram_close_socket(&in->sockets[i]);
	if (in->buffers != NULL) {
		(void)munmap(in->buffers->data, IN_DGRAM_BATCH * IN_DGRAM_SIZE);
		free(in->buffers);
	}
	free(in);
}

/* Read what it holds, until then; close it. */
static void
in_dgram_drain_socket(struct in_dgram_socket *so, struct mono end)
{
	if (so->sock.fd >= 0 && (so->in->buffers != NULL ||
	    in_dgram_buffers_new(so->in) == 0)) {
		while (in_dgram_batch(so) > 0 && clock_mono().us < end.us)
			continue;
		in_dgram_ask_drops(so);
	}
	in_dgram_close_socket(so);
}

void
in_dgram_drain(struct in_dgram *in, int64_t budget_ms)
{
	struct mono end = mono_add_ms(clock_mono(), budget_ms);

	loop_wake(in->loop);
	for (size_t i = 0; i < NELEM(in->sockets); i++)
		in_dgram_drain_socket(&in->sockets[i], end);
}

struct listen_unix
in_dgram_socket(const struct in_dgram *in, enum books_input input)
{
	return in->sockets[input == BOOKS_UDP ? 0 : 1].sock;
}

/* Senders are told from now on; what is queued can be read still. */
static void
in_dgram_shut(struct in_dgram_socket *so)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof ss;

	if (so->input == BOOKS_DGRAM)
		(void)shutdown(so->sock.fd, SHUT_RD);
	/* A UDP socket that is connected, to itself, takes of nobody else. */
	else if (getsockname(so->sock.fd, (struct sockaddr *)&ss, &len) == 0)
		(void)connect(so->sock.fd, (struct sockaddr *)&ss, len);
}

void
in_dgram_swap(struct in_dgram *in, enum books_input input,
    const struct listen_unix *sock)
{
	struct in_dgram_socket *so = in_dgram_of(in, input);
	struct why why;

	loop_wake(in->loop);
	if (so->sock.fd >= 0)
		in_dgram_shut(so);
	in_dgram_drain_socket(so, MONO_NEVER);
	if (in_dgram_add(in, sock, input, &why) < 0)
		log_error("listen_failed", LS("input",
		    books_input_name(input)), LS("error", why.text));
}
