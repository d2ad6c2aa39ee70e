/*
 * lumni: the client for C and C++; lumni.h has the contract.
 *
 * The first half packs msgpack and knows nothing of sockets; the second owns
 * the socket, the queue and the helper thread. A message is packed on the
 * caller's stack and sent from there. The queue comes into being when the
 * socket does not take one.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "lumni.h"

/* --- packing: github.com/msgpack/msgpack/blob/master/spec.md -------------- */

#define MSG_SMALL	1536	/* a message up to this takes no malloc */

struct open_value {
	size_t	 start;		/* where its head is; one byte is reserved */
	uint32_t n;		/* values so far; in a map also keys */
	bool	 map;
};

struct lumni_msg {
	uint8_t		*data;	/* small, or malloc()ed */
	size_t		 len;
	size_t		 cap;
	int		 error;
	int		 depth;
	uint32_t	 tops;	/* values outside of any container */
	bool		 only_maps;	/* they are maps */
	bool		 envelope;	/* one has a key of the envelope */
	struct open_value open[LUMNI_DEPTH_MAX];
	uint8_t		 small[MSG_SMALL];
};

static void
msg_init(struct lumni_msg *m)
{
	m->data = m->small;
	m->cap = sizeof m->small;
	m->len = 0;
	m->error = 0;
	m->depth = 0;
	m->tops = 0;
	m->only_maps = true;
	m->envelope = false;
}

static void
msg_fini(struct lumni_msg *m)
{
	if (m->data != m->small)
		free(m->data);
}

struct lumni_msg *
lumni_msg_new(void)
{
	struct lumni_msg *m = malloc(sizeof *m);

	if (m != NULL)
		msg_init(m);
	return m;
}

void
lumni_msg_free(struct lumni_msg *m)
{
	if (m != NULL) {
		msg_fini(m);
		free(m);
	}
}

void
lumni_msg_reset(struct lumni_msg *m)
{
	if (m != NULL) {
		msg_fini(m);
		msg_init(m);
	}
}

int
lumni_msg_error(const struct lumni_msg *m)
{
	return m == NULL ? -ENOMEM : m->error;
}

const void *
lumni_msg_data(const struct lumni_msg *m, size_t *ret_len)
{
	if (m == NULL || m->error != 0 || m->depth != 0)
		return NULL;
	*ret_len = m->len;
	return m->data;
}

/* Room for n more bytes, or NULL with the error set. */
static uint8_t *
msg_room(struct lumni_msg *m, size_t n)
{
	size_t cap;
	uint8_t *p;

	if (m == NULL || m->error != 0)
		return NULL;
	if (n > m->cap - m->len) {
		for (cap = m->cap; cap - m->len < n; cap *= 2)
			if (cap > SIZE_MAX / 2) {
				m->error = -ENOMEM;
				return NULL;
			}
		p = realloc(m->data == m->small ? NULL : m->data, cap);
		if (p == NULL) {
			m->error = -ENOMEM;
			return NULL;
		}
		if (m->data == m->small)
			memcpy(p, m->small, m->len);
		m->data = p;
		m->cap = cap;
	}
	p = m->data + m->len;
	m->len += n;
	return p;
}

/* A value begins: the container that it is in has one more. */
static void
msg_count(struct lumni_msg *m, bool is_map)
{
	if (m == NULL || m->error != 0)
		return;
	if (m->depth > 0) {
		m->open[m->depth - 1].n++;
		return;
	}
	m->tops++;
	m->only_maps = m->only_maps && is_map;
}

static void
put_be(uint8_t *p, uint64_t v, size_t n)
{
	while (n-- > 0) {
		p[n] = (uint8_t)v;
		v >>= 8;
	}
}

/* One byte and a big-endian number of n bytes. */
static void
msg_head(struct lumni_msg *m, uint8_t byte, uint64_t v, size_t n)
{
	uint8_t *p = msg_room(m, 1 + n);

	if (p != NULL) {
		p[0] = byte;
		put_be(p + 1, v, n);
	}
}

static void
msg_bytes(struct lumni_msg *m, const void *data, size_t len)
{
	uint8_t *p = msg_room(m, len);

	if (p != NULL && len != 0)
		memcpy(p, data, len);
}

void
lumni_msg_nil(struct lumni_msg *m)
{
	msg_count(m, false);
	msg_head(m, 0xc0, 0, 0);
}

void
lumni_msg_bool(struct lumni_msg *m, int b)
{
	msg_count(m, false);
	msg_head(m, b ? 0xc3 : 0xc2, 0, 0);
}

void
lumni_msg_uint(struct lumni_msg *m, uint64_t v)
{
	msg_count(m, false);
	if (v < 0x80)
		msg_head(m, (uint8_t)v, 0, 0);
	else if (v <= UINT8_MAX)
		msg_head(m, 0xcc, v, 1);
	else if (v <= UINT16_MAX)
		msg_head(m, 0xcd, v, 2);
	else if (v <= UINT32_MAX)
		msg_head(m, 0xce, v, 4);
	else
		msg_head(m, 0xcf, v, 8);
}

void
lumni_msg_int(struct lumni_msg *m, int64_t v)
{
	if (v >= 0) {
		lumni_msg_uint(m, (uint64_t)v);
		return;
	}
	msg_count(m, false);
	if (v >= -32)
		msg_head(m, (uint8_t)v, 0, 0);
	else if (v >= INT8_MIN)
		msg_head(m, 0xd0, (uint64_t)v, 1);
	else if (v >= INT16_MIN)
		msg_head(m, 0xd1, (uint64_t)v, 2);
	else if (v >= INT32_MIN)
		msg_head(m, 0xd2, (uint64_t)v, 4);
	else
		msg_head(m, 0xd3, (uint64_t)v, 8);
}

void
lumni_msg_double(struct lumni_msg *m, double d)
{
	uint64_t bits;

	memcpy(&bits, &d, sizeof bits);
	msg_count(m, false);
	msg_head(m, 0xcb, bits, 8);
}

/* The keys that mean something beside `runId` in a message. */
static bool
is_envelope_key(const char *s, size_t len)
{
	static const char keys[][8] = {
	    "runId", "traceId", "events", "end", "ack", "change", "policy"
	};

	if (len < 3 || len > 7 || memchr("rteacp", s[0], 6) == NULL)
		return false;
	for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
		if (strlen(keys[i]) == len && memcmp(keys[i], s, len) == 0)
			return true;
	return false;
}

/* A size over 32 bits has no head. */
static bool
msg_size_fits(struct lumni_msg *m, size_t len)
{
	if (len <= UINT32_MAX)
		return true;
	if (m != NULL && m->error == 0)
		m->error = -ENAMETOOLONG;
	return false;
}

void
lumni_msg_strn(struct lumni_msg *m, const char *s, size_t len)
{
	if (!msg_size_fits(m, len))
		return;
	if (m != NULL && m->depth == 1 && m->open[0].map &&
	    m->open[0].n % 2 == 0 && is_envelope_key(s, len))
		m->envelope = true;
	msg_count(m, false);
	if (len < 32)
		msg_head(m, (uint8_t)(0xa0 | len), 0, 0);
	else if (len <= UINT8_MAX)
		msg_head(m, 0xd9, len, 1);
	else if (len <= UINT16_MAX)
		msg_head(m, 0xda, len, 2);
	else
		msg_head(m, 0xdb, len, 4);
	msg_bytes(m, s, len);
}

void
lumni_msg_str(struct lumni_msg *m, const char *s)
{
	if (s == NULL)
		lumni_msg_nil(m);
	else
		lumni_msg_strn(m, s, strlen(s));
}

void
lumni_msg_bin(struct lumni_msg *m, const void *data, size_t len)
{
	if (!msg_size_fits(m, len))
		return;
	msg_count(m, false);
	if (len <= UINT8_MAX)
		msg_head(m, 0xc4, len, 1);
	else if (len <= UINT16_MAX)
		msg_head(m, 0xc5, len, 2);
	else
		msg_head(m, 0xc6, len, 4);
	msg_bytes(m, data, len);
}

void
lumni_msg_ext(struct lumni_msg *m, int8_t type, const void *data, size_t len)
{
	uint8_t *p;

	if (!msg_size_fits(m, len))
		return;
	msg_count(m, false);
	if (len == 1 || len == 2 || len == 4 || len == 8 || len == 16)
		msg_head(m, (uint8_t)(0xd4 + __builtin_ctzl(len)), 0, 0);
	else if (len <= UINT8_MAX)
		msg_head(m, 0xc7, len, 1);
	else if (len <= UINT16_MAX)
		msg_head(m, 0xc8, len, 2);
	else
		msg_head(m, 0xc9, len, 4);
	p = msg_room(m, 1);
	if (p != NULL)
		*p = (uint8_t)type;
	msg_bytes(m, data, len);
}

void
lumni_msg_time(struct lumni_msg *m, int64_t sec, uint32_t nsec)
{
	uint8_t b[12];

	if (sec >= 0 && sec < (int64_t)1 << 34) {
		if (nsec == 0 && sec <= UINT32_MAX) {
			put_be(b, (uint64_t)sec, 4);
			lumni_msg_ext(m, -1, b, 4);
			return;
		}
		put_be(b, (uint64_t)nsec << 34 | (uint64_t)sec, 8);
		lumni_msg_ext(m, -1, b, 8);
		return;
	}
	put_be(b, nsec, 4);
	put_be(b + 4, (uint64_t)sec, 8);
	lumni_msg_ext(m, -1, b, 12);
}

void
lumni_msg_packed(struct lumni_msg *m, const void *data, size_t len)
{
	const uint8_t *p = data;

	if (len == 0) {
		if (m != NULL && m->error == 0)
			m->error = -EINVAL;
		return;
	}
	if (m != NULL && m->depth == 0)
		m->envelope = true;	/* its keys are not looked at */
	msg_count(m, (p[0] & 0xf0) == 0x80 || p[0] == 0xde || p[0] == 0xdf);
	msg_bytes(m, data, len);
}

static void
msg_begin(struct lumni_msg *m, bool map)
{
	if (m == NULL || m->error != 0)
		return;
	if (m->depth == LUMNI_DEPTH_MAX) {
		m->error = -ENAMETOOLONG;
		return;
	}
	msg_count(m, map);
	m->open[m->depth++] = (struct open_value){ .start = m->len, .map = map };
	(void)msg_room(m, 1);	/* a failure is kept in m */
}

void
lumni_msg_map_begin(struct lumni_msg *m)
{
	msg_begin(m, true);
}

void
lumni_msg_array_begin(struct lumni_msg *m)
{
	msg_begin(m, false);
}

void
lumni_msg_end(struct lumni_msg *m)
{
	struct open_value *o;
	size_t more;
	uint32_t n;

	if (m == NULL || m->error != 0)
		return;
	if (m->depth == 0 || (m->open[m->depth - 1].map &&
	    m->open[m->depth - 1].n % 2 != 0)) {
		m->error = -EINVAL;
		return;
	}
	o = &m->open[m->depth - 1];
	n = o->map ? o->n / 2 : o->n;
	if (n < 16) {
		m->data[o->start] = (uint8_t)((o->map ? 0x80 : 0x90) | n);
		m->depth--;
		return;
	}
	more = n <= UINT16_MAX ? 2 : 4;
	if (msg_room(m, more) == NULL)
		return;
	memmove(m->data + o->start + 1 + more, m->data + o->start + 1,
	    m->len - more - o->start - 1);
	m->data[o->start] = (uint8_t)((o->map ? 0xde : 0xdc) + (more == 4));
	put_be(m->data + o->start + 1, n, more);
	m->depth--;
}

void
lumni_msg_field(struct lumni_msg *m, const struct lumni_field *f)
{
	if (f->key == NULL)
		return;
	lumni_msg_str(m, f->key);
	switch (f->kind) {
	case LUMNI_BOOL:	lumni_msg_bool(m, f->v.i != 0); break;
	case LUMNI_INT:		lumni_msg_int(m, f->v.i); break;
	case LUMNI_UINT:	lumni_msg_uint(m, f->v.u); break;
	case LUMNI_DOUBLE:	lumni_msg_double(m, f->v.d); break;
	case LUMNI_STR:		lumni_msg_strn(m, f->v.p, f->len); break;
	case LUMNI_BIN:		lumni_msg_bin(m, f->v.p, f->len); break;
	case LUMNI_PACKED:	lumni_msg_packed(m, f->v.p, f->len); break;
	case LUMNI_NIL:
	default:		lumni_msg_nil(m); break;
	}
}

void
lumni_msg_at(struct lumni_msg *m)
{
	struct timespec ts = { 0, 0 };

	(void)clock_gettime(CLOCK_REALTIME, &ts);	/* cannot fail */
	lumni_msg_strn(m, "at", 2);
	lumni_msg_time(m, ts.tv_sec, (uint32_t)ts.tv_nsec);
}

/* Length of the UTF-8 character at p (Unicode 15, table 3-7), 0: none, or a
 * control character. */
static size_t
utf8_clean_len(const uint8_t *p, size_t left)
{
	uint8_t lo = 0x80, hi = 0xbf;
	size_t n;

	if (p[0] < 0x80)
		return p[0] >= 0x20 && p[0] != 0x7f;
	if (p[0] < 0xc2 || p[0] > 0xf4)
		return 0;
	n = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
	if (n > left)
		return 0;
	if (p[0] == 0xc2 || p[0] == 0xe0)
		lo = 0xa0;		/* C1 controls, overlong */
	else if (p[0] == 0xed)
		hi = 0x9f;		/* surrogates */
	else if (p[0] == 0xf0)
		lo = 0x90;
	else if (p[0] == 0xf4)
		hi = 0x8f;
	if (p[1] < lo || p[1] > hi)
		return 0;
	for (size_t i = 2; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	return n;
}

static bool
run_id_is_valid(const char *id)
{
	size_t len = id == NULL ? 0 : strnlen(id, 257), n;

	if (len == 0 || len > 256)
		return false;
	for (size_t i = 0; i < len; i += n) {
		n = utf8_clean_len((const uint8_t *)id + i, len - i);
		if (n == 0)
			return false;
	}
	return true;
}

/* The flat form: the event's map with one key more. */
static void
pack_flat(struct lumni_msg *dst, const char *run_id,
    const struct lumni_msg *ev)
{
	const uint8_t *p = ev->data;
	size_t skip = 1;
	uint32_t n = p[0] & 0x0f;

	if (p[0] == 0xde || p[0] == 0xdf) {
		skip = p[0] == 0xde ? 3 : 5;
		n = 0;
		for (size_t i = 1; i < skip; i++)
			n = n << 8 | p[i];
	}
	n++;
	dst->tops = 1;
	if (n < 16)
		msg_head(dst, (uint8_t)(0x80 | n), 0, 0);
	else if (n <= UINT16_MAX)
		msg_head(dst, 0xde, n, 2);
	else
		msg_head(dst, 0xdf, n, 4);
	dst->depth = 1;		/* the strings are inside */
	dst->open[0] = (struct open_value){ .map = true };
	lumni_msg_strn(dst, "runId", 5);
	lumni_msg_str(dst, run_id);
	dst->depth = 0;
	msg_bytes(dst, p + skip, ev->len - skip);
}

int
lumni_pack(struct lumni_msg *dst, const char *run_id,
    const struct lumni_msg *ev, unsigned int flags,
    const struct lumni_field *ack)
{
	if (dst == NULL || ev == NULL)
		return -ENOMEM;
	if (ev->error != 0)
		return ev->error;
	if (ev->depth != 0 || !ev->only_maps || !run_id_is_valid(run_id))
		return -EINVAL;
	lumni_msg_reset(dst);
	if (ev->tops == 1 && !ev->envelope && ack == NULL &&
	    !(flags & LUMNI_END)) {
		pack_flat(dst, run_id, ev);
		return dst->error;
	}
	lumni_msg_map_begin(dst);
	lumni_msg_strn(dst, "runId", 5);
	lumni_msg_str(dst, run_id);
	lumni_msg_strn(dst, "events", 6);
	lumni_msg_array_begin(dst);
	if (dst->error == 0)
		dst->open[1].n = ev->tops;
	msg_bytes(dst, ev->data, ev->len);
	lumni_msg_end(dst);
	if (flags & LUMNI_END) {
		lumni_msg_strn(dst, "end", 3);
		lumni_msg_bool(dst, true);
	}
	if (ack != NULL) {
		struct lumni_field f = *ack;

		f.key = "ack";
		lumni_msg_field(dst, &f);
	}
	lumni_msg_end(dst);
	return dst->error;
}

/* --- the client ----------------------------------------------------------- */

#define QUEUE_BYTES	(4u << 20)
#define MESSAGE_BYTES	(1u << 20)
#define DGRAM_MAX	65507u	/* UDP over IPv4 */
#define EXIT_MS		250
#define BACKOFF_MIN_MS	10
#define BACKOFF_MAX_MS	1000
#define SEND_RECORDS	64	/* of the queue, in one sendmsg() */
#define HEAD_TRIES	3	/* connections that one message may cost */

enum reason {
	DROP_QUEUE_FULL, DROP_TOO_LARGE, DROP_INVALID, DROP_SOCKET,
	DROP_REFUSED, DROP_REASONS
};

static const char *const reason_names[DROP_REASONS] = {
	"queue_full", "too_large", "invalid", "socket", "refused"
};

/* Before each message in the queue. A length of WRAP: go on at offset 0. */
struct record {
	uint32_t len;
	uint32_t events;
};
#define WRAP	UINT32_MAX

/*
 * A ring of whole messages. Its memory is taken once, in full, when the first
 * message has to wait; the pages cost nothing until they are used, and an empty
 * queue begins at offset 0 again.
 */
struct queue {
	uint8_t	*data;
	size_t	 cap;
	size_t	 head;
	size_t	 tail;
	size_t	 used;
	size_t	 sent;		/* bytes of the first message already sent */
	int	 tries;		/* connections lost while it was being sent */
};

struct lumni {
	struct lumni	*next;		/* of all clients */
	pthread_mutex_t	 lock;		/* for everything below */
	pthread_cond_t	 wake;
	pthread_t	 thread;
	bool		 has_thread;
	bool		 no_thread;
	bool		 stop;
	int		 fd;		/* -1: not connected */
	int		 socktype;
	int		 backoff_ms;
	int64_t		 next_try;	/* monotonic, ms */
	int64_t		 connected;
	socklen_t	 addr_len;
	union {
		struct sockaddr		sa;
		struct sockaddr_un	un;
		struct sockaddr_in	in;
		struct sockaddr_in6	in6;
	} addr;
	struct queue	 queue;
	size_t		 message_max;
	int		 exit_ms;
	uint64_t	 events;
	uint64_t	 sent;
	uint64_t	 queued;
	uint64_t	 dropped;
	uint64_t	 reported;
	uint64_t	 connects;
	uint64_t	 unreported[DROP_REASONS];
	uint64_t	 unreported_sum;
	char		 drop_run[257];	/* of the last event dropped */
};

static pthread_mutex_t all_lock = PTHREAD_MUTEX_INITIALIZER;
static struct lumni *all_clients;
static pthread_once_t all_once = PTHREAD_ONCE_INIT;

static int64_t
now_ms(void)
{
	struct timespec ts = { 0, 0 };

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);	/* cannot fail */
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Returns false when there is no room. len is at most message_max. */
static bool
queue_put(struct lumni *c, const void *data, size_t len, uint32_t events)
{
	struct queue *q = &c->queue;
	struct record r = { .len = (uint32_t)len, .events = events };
	size_t need = sizeof r + len, skip = 0;

	if (q->data == NULL && (q->data = malloc(q->cap)) == NULL)
		return false;
	if (q->used == 0)
		q->head = q->tail = 0;
	if (q->used != 0 && q->tail <= q->head) {
		if (q->head - q->tail < need)
			return false;
	} else if (q->cap - q->tail < need) {
		if (q->head < need)
			return false;
		skip = q->cap - q->tail;
		if (skip >= sizeof r) {
			struct record w = { .len = WRAP };

			memcpy(q->data + q->tail, &w, sizeof w);
		}
		q->tail = 0;
	}
	memcpy(q->data + q->tail, &r, sizeof r);
	memcpy(q->data + q->tail + sizeof r, data, len);
	q->tail += need;
	q->used += need + skip;
	c->queued += events;
	return true;
}

/* The record at offset *pos, or at 0 when the ring wraps there. */
static struct record
queue_at(const struct queue *q, size_t *pos)
{
	struct record r = { .len = WRAP };

	if (q->cap - *pos >= sizeof r)
		memcpy(&r, q->data + *pos, sizeof r);
	if (r.len == WRAP) {
		*pos = 0;
		memcpy(&r, q->data, sizeof r);
	}
	return r;
}

/* Take the first message away; returns how many events it had. */
static uint32_t
queue_pop(struct lumni *c)
{
	struct queue *q = &c->queue;
	size_t pos = q->head;
	struct record r = queue_at(q, &pos);

	if (pos != q->head)
		q->used -= q->cap - q->head;
	q->head = pos + sizeof r + r.len;
	q->used -= sizeof r + r.len;
	q->sent = 0;
	q->tries = 0;
	c->queued -= r.events;
	return r.events;
}

static void
count_drop(struct lumni *c, enum reason why, uint32_t events, const char *run)
{
	c->dropped += events;
	c->unreported[why] += events;
	c->unreported_sum += events;
	if (run != NULL && run_id_is_valid(run))
		memcpy(c->drop_run, run, strlen(run) + 1);
}

static void
disconnect(struct lumni *c)
{
	int64_t now = now_ms();

	(void)close(c->fd);	/* nothing to do about a failure */
	c->fd = -1;
	c->queue.sent = 0;	/* what was cut off is sent again, whole */
	/* A connection that lasted is replaced at once. */
	if (now - c->connected >= BACKOFF_MAX_MS) {
		c->backoff_ms = BACKOFF_MIN_MS;
		c->next_try = now;
	} else {
		c->next_try = now + c->backoff_ms;
	}
}

/* Returns whether there is a connection; tries at most once in a back-off. */
static bool
ensure_connected(struct lumni *c)
{
	int64_t now;
	int fd;

	if (c->fd >= 0)
		return true;
	now = now_ms();
	if (now < c->next_try)
		return false;
	c->next_try = now + c->backoff_ms;
	c->backoff_ms = c->backoff_ms * 2 < BACKOFF_MAX_MS ?
	    c->backoff_ms * 2 : BACKOFF_MAX_MS;
	fd = socket(c->addr.sa.sa_family,
	    c->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return false;
	if (connect(fd, &c->addr.sa, c->addr_len) < 0) {
		(void)close(fd);
		return false;
	}
	c->fd = fd;
	c->connected = now;
	c->connects++;
	return true;
}

/*
 * Say what an error of the socket means: 0: try again; -EAGAIN: wait;
 * -EMSGSIZE: the message cannot be sent at all; -ENOTCONN: disconnected.
 */
static int
socket_error(struct lumni *c, int error)
{
	if (error == EINTR)
		return 0;
	if (error == EAGAIN || error == EWOULDBLOCK || error == ENOBUFS ||
	    error == ENOMEM)
		return -EAGAIN;
	if (error == EMSGSIZE)
		return -EMSGSIZE;
	if (error == ECONNREFUSED && c->addr.sa.sa_family != AF_UNIX) {
		/* An earlier datagram found nobody; this one was not sent. */
		if (c->sent > 0) {
			c->sent--;
			count_drop(c, DROP_SOCKET, 1, NULL);
		}
		return 0;
	}
	disconnect(c);
	return -ENOTCONN;
}

/* Send what the queue holds until it is empty or the socket full. */
static void
drain_stream(struct lumni *c)
{
	struct queue *q = &c->queue;

	while (q->used != 0 && ensure_connected(c)) {
		struct iovec iov[SEND_RECORDS];
		struct msghdr mh = { .msg_iov = iov };
		size_t pos = q->head, seen = 0;
		ssize_t n;

		for (size_t i = 0; i < SEND_RECORDS && seen < q->used; i++) {
			size_t at = pos;
			struct record r = queue_at(q, &at);

			if (at != pos)
				seen += q->cap - pos;
			iov[i].iov_base = q->data + at + sizeof r;
			iov[i].iov_len = r.len;
			pos = at + sizeof r + r.len;
			seen += sizeof r + r.len;
			mh.msg_iovlen = i + 1;
		}
		iov[0].iov_base = (uint8_t *)iov[0].iov_base + q->sent;
		iov[0].iov_len -= q->sent;
		n = sendmsg(c->fd, &mh, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0) {
			bool begun = q->sent != 0;
			int r = socket_error(c, errno);

			if (r == -EAGAIN)
				return;
			/* Does lumnid hang up because of this very message? */
			if (r == -ENOTCONN && begun && ++q->tries >= HEAD_TRIES)
				count_drop(c, DROP_REFUSED, queue_pop(c), NULL);
			continue;
		}
		for (size_t i = 0; i < mh.msg_iovlen; i++) {
			if ((size_t)n < iov[i].iov_len) {
				q->sent = (i == 0 ? q->sent : 0) + (size_t)n;
				break;
			}
			n -= (ssize_t)iov[i].iov_len;
			c->sent += queue_pop(c);
		}
	}
}

static void
drain_dgram(struct lumni *c)
{
	struct queue *q = &c->queue;

	while (q->used != 0 && ensure_connected(c)) {
		size_t pos = q->head;
		struct record r = queue_at(q, &pos);
		ssize_t n = send(c->fd, q->data + pos + sizeof r, r.len,
		    MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n >= 0) {
			c->sent += queue_pop(c);
			continue;
		}
		switch (socket_error(c, errno)) {
		case -EAGAIN:
			return;
		case -EMSGSIZE:
			count_drop(c, DROP_TOO_LARGE, queue_pop(c), NULL);
			break;
		}
	}
}

static void
drain(struct lumni *c)
{
	if (c->socktype == SOCK_STREAM)
		drain_stream(c);
	else
		drain_dgram(c);
}

/* Wait, without the lock, until the socket has room or a connection may be
 * tried again, or for max_ms. */
static void
wait_for_room(struct lumni *c, int max_ms)
{
	struct pollfd pfd = { .fd = c->fd, .events = POLLOUT };
	int64_t ms = max_ms;

	if (c->fd < 0 && c->next_try - now_ms() < ms)
		ms = c->next_try - now_ms();
	if (ms < 1)
		ms = 1;
	(void)pthread_mutex_unlock(&c->lock);
	/* fd may be closed meanwhile, even another file's: then the time is
	 * misjudged, nothing else. */
	(void)poll(&pfd, 1, (int)ms);
	(void)pthread_mutex_lock(&c->lock);
}

static void *
helper(void *arg)
{
	struct lumni *c = arg;

	(void)pthread_mutex_lock(&c->lock);
	while (!c->stop) {
		if (c->queue.used == 0) {
			(void)pthread_cond_wait(&c->wake, &c->lock);
			continue;
		}
		drain(c);
		if (c->queue.used != 0 && !c->stop)
			wait_for_room(c, 50);
	}
	(void)pthread_mutex_unlock(&c->lock);
	return NULL;
}

/* Something waits: see to it that somebody sends it. */
static void
wake_helper(struct lumni *c)
{
	sigset_t all, old;

	if (c->has_thread) {
		(void)pthread_cond_signal(&c->wake);
		return;
	}
	if (c->no_thread || c->stop)
		return;
	(void)sigfillset(&all);
	/* The program's signals are for its own threads. */
	if (pthread_sigmask(SIG_SETMASK, &all, &old) != 0)
		return;
	c->has_thread = pthread_create(&c->thread, NULL, helper, c) == 0;
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
}

/* Send one message, or queue it. Returns 0 or why it was not taken. */
static int
submit(struct lumni *c, const void *data, size_t len, uint32_t events)
{
	if (c->queue.used == 0 && ensure_connected(c)) {
		size_t done = 0;
		ssize_t n;

		do {
			n = send(c->fd, data, len,
			    MSG_NOSIGNAL | MSG_DONTWAIT);
		} while (n < 0 && socket_error(c, errno) == 0);
		if (n < 0 && errno == EMSGSIZE)
			return -EMSGSIZE;
		if (n >= 0)
			done = (size_t)n;
		if (done == len) {
			c->sent += events;
			return 0;
		}
		if (!queue_put(c, data, len, events)) {
			/* No memory; half a message must not stay. */
			if (done != 0)
				disconnect(c);
			return -ENOBUFS;
		}
		c->queue.sent = done;
		c->queue.tries = 0;
		if (c->fd < 0)
			drain(c);
	} else {
		bool first = c->queue.used == 0;

		if (!queue_put(c, data, len, events))
			return -ENOBUFS;
		if (c->no_thread)
			drain(c);
		else if (!first && c->has_thread)
			return 0;	/* the helper knows already */
	}
	if (c->queue.used != 0)
		wake_helper(c);
	return 0;
}

/* Tell lumnid what was dropped, in this run. */
static void
report_drops(struct lumni *c, const char *run)
{
	struct lumni_msg ev, m;

	if (c->unreported_sum == 0 || run == NULL ||
	    c->queue.used > c->queue.cap / 2)
		return;
	msg_init(&ev);
	msg_init(&m);
	lumni_msg_map_begin(&ev);
	lumni_msg_str(&ev, "type");
	lumni_msg_str(&ev, "lumni_client");
	lumni_msg_at(&ev);
	lumni_msg_str(&ev, "client");
	lumni_msg_str(&ev, "lumni-c/" LUMNI_VERSION);
	lumni_msg_str(&ev, "pid");
	lumni_msg_int(&ev, getpid());
	lumni_msg_str(&ev, "dropped");
	lumni_msg_uint(&ev, c->unreported_sum);
	lumni_msg_str(&ev, "droppedTotal");
	lumni_msg_uint(&ev, c->dropped);
	lumni_msg_str(&ev, "reasons");
	lumni_msg_map_begin(&ev);
	for (int i = 0; i < DROP_REASONS; i++) {
		if (c->unreported[i] == 0)
			continue;
		lumni_msg_str(&ev, reason_names[i]);
		lumni_msg_uint(&ev, c->unreported[i]);
	}
	lumni_msg_end(&ev);
	if (c->drop_run[0] != '\0') {
		lumni_msg_str(&ev, "droppedRunId");
		lumni_msg_str(&ev, c->drop_run);
	}
	lumni_msg_end(&ev);
	if (lumni_pack(&m, run, &ev, 0, NULL) == 0 &&
	    submit(c, m.data, m.len, 0) == 0) {
		c->reported += c->unreported_sum;
		c->unreported_sum = 0;
		memset(c->unreported, 0, sizeof c->unreported);
	}
	msg_fini(&m);
	msg_fini(&ev);
}

/* The one road of a packed message. r: what packing it gave. */
static int
deliver(struct lumni *c, const char *run, const struct lumni_msg *m, int r,
    uint32_t events)
{
	enum reason why = DROP_INVALID;

	(void)pthread_mutex_lock(&c->lock);
	c->events += events;
	if (r == 0 && m->len > c->message_max) {
		r = -EMSGSIZE;
	} else if (r == 0) {
		if (c->unreported_sum != 0)
			report_drops(c, run);
		r = submit(c, m->data, m->len, events);
	}
	if (r != 0) {
		if (r == -EMSGSIZE)
			why = DROP_TOO_LARGE;
		else if (r == -ENOBUFS || r == -ENOMEM)
			why = DROP_QUEUE_FULL;
		count_drop(c, why, events, run);
	}
	(void)pthread_mutex_unlock(&c->lock);
	return r;
}

int
lumni_send(struct lumni *c, const char *run_id, const struct lumni_msg *ev,
    unsigned int flags)
{
	struct lumni_msg m;
	int r;

	if (c == NULL || ev == NULL)
		return 0;
	msg_init(&m);
	r = lumni_pack(&m, run_id, ev, flags, NULL);
	r = deliver(c, run_id, &m, r, ev->tops);
	msg_fini(&m);
	return r;
}

int
lumni_event(struct lumni *c, const char *run_id, const char *type,
    const struct lumni_field *fields, size_t n)
{
	struct lumni_msg ev;
	bool stamp = true, end = type != NULL && strcmp(type, "run_end") == 0;
	int r;

	if (c == NULL)
		return 0;
	msg_init(&ev);
	lumni_msg_map_begin(&ev);
	if (type != NULL) {
		lumni_msg_strn(&ev, "type", 4);
		lumni_msg_str(&ev, type);
	}
	for (size_t i = 0; i < n; i++) {
		const char *key = fields[i].key;

		if (key != NULL && key[0] == 'a' && strcmp(key, "at") == 0)
			stamp = false;
		lumni_msg_field(&ev, &fields[i]);
	}
	if (stamp)
		lumni_msg_at(&ev);
	lumni_msg_end(&ev);
	ev.tops = 1;	/* counts also where packing failed */
	r = lumni_send(c, run_id, &ev, end ? LUMNI_END : 0);
	msg_fini(&ev);
	return r;
}

/* Send until nothing waits or time is up. give_up: when nobody listens. */
static int
flush_until(struct lumni *c, int64_t deadline, bool give_up)
{
	int64_t left;
	int r = 0;

	(void)pthread_mutex_lock(&c->lock);
	if (give_up && c->fd < 0)
		c->next_try = 0;
	for (;;) {
		drain(c);
		if (c->queue.used == 0 && c->unreported_sum != 0 && give_up)
			report_drops(c, c->drop_run[0] != '\0' ? c->drop_run :
			    NULL);
		if (c->queue.used == 0)
			break;
		left = deadline - now_ms();
		if (left <= 0 || (give_up && c->fd < 0)) {
			r = -ETIMEDOUT;
			break;
		}
		wait_for_room(c, left < 50 ? (int)left : 50);
	}
	(void)pthread_mutex_unlock(&c->lock);
	return r;
}

int
lumni_flush(struct lumni *c, int timeout_ms)
{
	return c == NULL ? 0 : flush_until(c, now_ms() + timeout_ms, false);
}

/* --- fork, exit ----------------------------------------------------------- */

static void
fork_prepare(void)
{
	(void)pthread_mutex_lock(&all_lock);
	for (struct lumni *c = all_clients; c != NULL; c = c->next)
		(void)pthread_mutex_lock(&c->lock);
}

static void
fork_parent(void)
{
	for (struct lumni *c = all_clients; c != NULL; c = c->next)
		(void)pthread_mutex_unlock(&c->lock);
	(void)pthread_mutex_unlock(&all_lock);
}

/* What waits, and what was dropped, is the parent's to send and to tell. */
static void
fork_child(void)
{
	for (struct lumni *c = all_clients; c != NULL; c = c->next) {
		if (c->fd >= 0)
			(void)close(c->fd);
		c->fd = -1;
		c->has_thread = false;
		c->next_try = 0;
		c->backoff_ms = BACKOFF_MIN_MS;
		c->queue.head = c->queue.tail = c->queue.used = 0;
		c->queue.sent = 0;
		c->events = c->sent = c->queued = c->dropped = 0;
		c->reported = c->connects = c->unreported_sum = 0;
		memset(c->unreported, 0, sizeof c->unreported);
		c->drop_run[0] = '\0';
		/* Nobody waits in a process of one thread. */
		(void)pthread_cond_init(&c->wake, NULL);
		(void)pthread_mutex_unlock(&c->lock);
	}
	(void)pthread_mutex_unlock(&all_lock);
}

static void
all_init(void)
{
	(void)pthread_atfork(fork_prepare, fork_parent, fork_child);
}

static void
stop_helper(struct lumni *c)
{
	bool join;

	(void)pthread_mutex_lock(&c->lock);
	c->stop = true;
	join = c->has_thread;
	c->has_thread = false;
	(void)pthread_cond_signal(&c->wake);
	(void)pthread_mutex_unlock(&c->lock);
	if (join)
		(void)pthread_join(c->thread, NULL);
}

/* At exit() and dlclose(): no thread may be left in code that goes away. */
__attribute__((destructor)) static void
all_flush(void)
{
	struct lumni *c;

	(void)pthread_mutex_lock(&all_lock);
	c = all_clients;
	all_clients = NULL;
	(void)pthread_mutex_unlock(&all_lock);
	for (; c != NULL; c = c->next) {
		if (c->exit_ms > 0)
			(void)flush_until(c, now_ms() + c->exit_ms, true);
		stop_helper(c);
	}
}

static bool
parse_path(struct lumni *c, const char *path, int socktype)
{
	size_t len = strlen(path);

	if (len == 0 || len >= sizeof c->addr.un.sun_path)
		return false;
	c->addr.un.sun_family = AF_UNIX;
	memcpy(c->addr.un.sun_path, path, len + 1);
	c->addr_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
	if (path[0] == '@')	/* the abstract name space */
		c->addr.un.sun_path[0] = '\0';
	else
		c->addr_len++;
	c->socktype = socktype;
	return true;
}

/* "127.0.0.1:8842", "localhost:8842" or "[::1]:8842". */
static bool
parse_udp(struct lumni *c, const char *s)
{
	const char *colon = strrchr(s, ':');
	char host[64], *end;
	size_t len;
	long port;

	if (colon == NULL || (len = (size_t)(colon - s)) >= sizeof host)
		return false;
	memcpy(host, s, len);
	host[len] = '\0';
	port = strtol(colon + 1, &end, 10);
	if (*end != '\0' || end == colon + 1 || port < 1 || port > 65535)
		return false;
	c->socktype = SOCK_DGRAM;
	if (len > 2 && host[0] == '[' && host[len - 1] == ']') {
		host[len - 1] = '\0';
		c->addr.in6.sin6_family = AF_INET6;
		c->addr.in6.sin6_port = htons((uint16_t)port);
		c->addr_len = sizeof c->addr.in6;
		return inet_pton(AF_INET6, host + 1,
		    &c->addr.in6.sin6_addr) == 1;
	}
	c->addr.in.sin_family = AF_INET;
	c->addr.in.sin_port = htons((uint16_t)port);
	c->addr_len = sizeof c->addr.in;
	/* No name is looked up: that can block. */
	return inet_pton(AF_INET, strcmp(host, "localhost") == 0 ?
	    "127.0.0.1" : host, &c->addr.in.sin_addr) == 1;
}

static bool
parse_address(struct lumni *c, const char *s)
{
	if (strncmp(s, "unix://", 7) == 0)
		return parse_path(c, s + 7, SOCK_STREAM);
	if (strncmp(s, "unixgram://", 11) == 0)
		return parse_path(c, s + 11, SOCK_DGRAM);
	if (strncmp(s, "udp://", 6) == 0)
		return parse_udp(c, s + 6);
	return s[0] == '/' && parse_path(c, s, SOCK_STREAM);
}

static void
apply_options(struct lumni *c, const struct lumni_options *o)
{
	c->message_max = o->message_bytes != 0 ? o->message_bytes :
	    MESSAGE_BYTES;
	if (c->addr.sa.sa_family != AF_UNIX && c->message_max > DGRAM_MAX)
		c->message_max = DGRAM_MAX;
	if (c->message_max > UINT32_MAX / 2)
		c->message_max = UINT32_MAX / 2;
	c->queue.cap = o->queue_bytes != 0 ? o->queue_bytes : QUEUE_BYTES;
	/* What is half sent must find room. */
	if (c->queue.cap < c->message_max + sizeof(struct record))
		c->queue.cap = c->message_max + sizeof(struct record);
	c->exit_ms = o->exit_ms != 0 ? o->exit_ms : EXIT_MS;
	c->no_thread = (o->flags & LUMNI_NO_THREAD) != 0;
}

struct lumni *
lumni_open(const struct lumni_options *options)
{
	static const struct lumni_options none;
	const struct lumni_options *o = options != NULL ? options : &none;
	const char *disabled = getenv("LUMNID_DISABLED");
	const char *address = o->address;
	struct lumni *c;

	if (disabled != NULL && strcmp(disabled, "1") == 0)
		return NULL;
	if (address == NULL)
		address = getenv("LUMNID_ADDRESS");
	if (address == NULL || address[0] == '\0')
		address = LUMNI_DEFAULT_ADDRESS;
	c = calloc(1, sizeof *c);
	if (c == NULL)
		return NULL;
	if (!parse_address(c, address)) {
		free(c);
		errno = EINVAL;
		return NULL;
	}
	apply_options(c, o);
	c->fd = -1;
	c->backoff_ms = BACKOFF_MIN_MS;
	(void)pthread_mutex_init(&c->lock, NULL);	/* cannot fail */
	(void)pthread_cond_init(&c->wake, NULL);
	(void)pthread_once(&all_once, all_init);
	(void)pthread_mutex_lock(&all_lock);
	c->next = all_clients;
	all_clients = c;
	(void)pthread_mutex_unlock(&all_lock);
	return c;
}

void
lumni_close(struct lumni *c)
{
	if (c == NULL)
		return;
	(void)pthread_mutex_lock(&all_lock);
	for (struct lumni **p = &all_clients; *p != NULL; p = &(*p)->next)
		if (*p == c) {
			*p = c->next;
			break;
		}
	(void)pthread_mutex_unlock(&all_lock);
	if (c->exit_ms > 0)
		(void)flush_until(c, now_ms() + c->exit_ms, true);
	stop_helper(c);
	if (c->fd >= 0)
		(void)close(c->fd);
	(void)pthread_mutex_destroy(&c->lock);
	(void)pthread_cond_destroy(&c->wake);
	free(c->queue.data);
	free(c);
}

void
lumni_get_stats(struct lumni *c, struct lumni_stats *ret_stats)
{
	memset(ret_stats, 0, sizeof *ret_stats);
	if (c == NULL)
		return;
	(void)pthread_mutex_lock(&c->lock);
	ret_stats->events = c->events;
	ret_stats->sent = c->sent;
	ret_stats->dropped = c->dropped;
	ret_stats->queued = c->queued;
	ret_stats->reported = c->reported;
	ret_stats->connects = c->connects;
	(void)pthread_mutex_unlock(&c->lock);
}

const char *
lumni_version(void)
{
	return LUMNI_VERSION;
}
