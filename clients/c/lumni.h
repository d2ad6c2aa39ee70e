/*
 * lumni: hands an agent's step events to lumnid.
 *
 *	struct lumni *c = lumni_open(NULL);
 *
 *	LUMNI_EVENT(c, "run_8842", "tool_call",
 *	    lumni_str("name", "issue_refund"), lumni_str("status", "failed"));
 *	LUMNI_EVENT(c, "run_8842", "run_end", lumni_str("status", "ok"));
 *	lumni_close(c);
 *
 * No call blocks, prints, exits or raises SIGPIPE. What cannot be sent at once
 * waits in a queue of bounded size and is sent by a helper thread, which is
 * made when it is first needed; what finds no room is dropped, counted, and
 * reported in-band, as lumni-events(7) says. Without a lumnid nothing happens.
 *
 * A client may be used by any number of threads, and on both sides of a
 * fork(): the child begins with an empty queue and a connection of its own.
 * Every function takes NULL for a client and then does nothing.
 *
 * The environment: LUMNID_ADDRESS is the address where the program names none,
 * LUMNID_DISABLED=1 makes lumni_open() return NULL.
 */
#ifndef LUMNI_H
#define LUMNI_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LUMNI_VERSION		"0.1.0"
#define LUMNI_DEFAULT_ADDRESS	"unix:///run/lumnid/lumnid.sock"

struct lumni;		/* a client */
struct lumni_msg;	/* values being packed; of one thread at a time */

/* No helper thread: what waits is sent by the next call or lumni_flush(). */
#define LUMNI_NO_THREAD		0x1u

struct lumni_options {
	/*
	 * unix:///path, unixgram:///path, udp://127.0.0.1:8842 or
	 * udp://[::1]:8842. NULL: $LUMNID_ADDRESS, else the default.
	 */
	const char	*address;
	size_t		 queue_bytes;	/* 0: 4 MiB */
	size_t		 message_bytes;	/* the largest message; 0: 1 MiB */
	int		 exit_ms;	/* for lumni_close() and exit; 0: 250;
					 * below 0: none */
	unsigned int	 flags;
	void		*reserved[4];	/* NULL */
};

struct lumni_stats {
	uint64_t	events;		/* given to the client */
	uint64_t	sent;		/* handed to the socket */
	uint64_t	dropped;	/* events = sent + queued + dropped */
	uint64_t	queued;
	uint64_t	reported;	/* of dropped: told to lumnid */
	uint64_t	connects;
};

/* Returns NULL where disabled, for a bad address (errno is EINVAL), or without
 * memory. options may be NULL. */
struct lumni	*lumni_open(const struct lumni_options *options);
/* Sends what waits, for at most exit_ms, and frees. At exit() that is done for
 * every client that is still open, but for the freeing. */
void		 lumni_close(struct lumni *);
/* Waits until the queue is empty. Returns 0, or -ETIMEDOUT. */
int		 lumni_flush(struct lumni *, int timeout_ms);
void		 lumni_get_stats(struct lumni *, struct lumni_stats *ret_stats);
const char	*lumni_version(void);

/* --- one event ---------------------------------------------------------- */

enum lumni_kind {
	LUMNI_NIL, LUMNI_BOOL, LUMNI_INT, LUMNI_UINT, LUMNI_DOUBLE, LUMNI_STR,
	LUMNI_BIN, LUMNI_PACKED
};

struct lumni_field {
	const char	*key;
	enum lumni_kind	 kind;
	size_t		 len;
	union {
		int64_t		 i;
		uint64_t	 u;
		double		 d;
		const void	*p;
	} v;
};

/*
 * Hand over one event of a run. run_id: 1..256 bytes of UTF-8 without control
 * characters. type may be NULL. `at` is added unless a field has that key. The
 * type "run_end" closes the run, so that lumnid sends it at once.
 * Returns 0 when it was sent or queued, or why it was dropped: -ENOBUFS (the
 * queue is full), -EMSGSIZE, -EINVAL (run_id), -ENOMEM. All of them are
 * counted, so the result may be ignored.
 */
int	lumni_event(struct lumni *, const char *run_id, const char *type,
	    const struct lumni_field *fields, size_t n);

static inline struct lumni_field
lumni_field_make(const char *key, enum lumni_kind kind)
{
	struct lumni_field f;

	memset(&f, 0, sizeof f);
	f.key = key;
	f.kind = kind;
	return f;
}

/* A string; NULL leaves the field out. */
static inline struct lumni_field
lumni_str(const char *key, const char *s)
{
	struct lumni_field f = lumni_field_make(s == NULL ? NULL : key,
	    LUMNI_STR);

	f.v.p = s;
	f.len = s == NULL ? 0 : strlen(s);
	return f;
}

static inline struct lumni_field
lumni_strn(const char *key, const char *s, size_t len)
{
	struct lumni_field f = lumni_field_make(key, LUMNI_STR);

	f.v.p = s;
	f.len = len;
	return f;
}

static inline struct lumni_field
lumni_bin(const char *key, const void *p, size_t len)
{
	struct lumni_field f = lumni_field_make(key, LUMNI_BIN);

	f.v.p = p;
	f.len = len;
	return f;
}

static inline struct lumni_field
lumni_int(const char *key, int64_t i)
{
	struct lumni_field f = lumni_field_make(key, LUMNI_INT);

	f.v.i = i;
	return f;
}

static inline struct lumni_field
lumni_uint(const char *key, uint64_t u)
{
	struct lumni_field f = lumni_field_make(key, LUMNI_UINT);

	f.v.u = u;
	return f;
}

static inline struct lumni_field
lumni_double(const char *key, double d)
{
	struct lumni_field f = lumni_field_make(key, LUMNI_DOUBLE);

	f.v.d = d;
	return f;
}

static inline struct lumni_field
lumni_bool(const char *key, int b)
{
	struct lumni_field f = lumni_field_make(key, LUMNI_BOOL);

	f.v.i = b != 0;
	return f;
}

static inline struct lumni_field
lumni_nil(const char *key)
{
	return lumni_field_make(key, LUMNI_NIL);
}

/* --- values of any shape ------------------------------------------------ */

/*
 * Values are packed one after the other; a map is begun, filled with key,
 * value, key, value, and ended. The first fault (no memory, nesting over
 * LUMNI_DEPTH_MAX, an end without a begin) stays, and lumni_msg_error() and
 * whoever takes the message tell it.
 */
#define LUMNI_DEPTH_MAX	32

struct lumni_msg *lumni_msg_new(void);
void	lumni_msg_free(struct lumni_msg *);
void	lumni_msg_reset(struct lumni_msg *);
/* 0, -ENOMEM, -ENAMETOOLONG (too deep, or a string over 4 GiB), -EINVAL. */
int	lumni_msg_error(const struct lumni_msg *);
/* What is packed; NULL on error or while a container is open. It lives until
 * the next call on the message. */
const void *lumni_msg_data(const struct lumni_msg *, size_t *ret_len);

void	lumni_msg_nil(struct lumni_msg *);
void	lumni_msg_bool(struct lumni_msg *, int);
void	lumni_msg_int(struct lumni_msg *, int64_t);
void	lumni_msg_uint(struct lumni_msg *, uint64_t);
void	lumni_msg_double(struct lumni_msg *, double);
void	lumni_msg_str(struct lumni_msg *, const char *);
void	lumni_msg_strn(struct lumni_msg *, const char *, size_t);
void	lumni_msg_bin(struct lumni_msg *, const void *, size_t);
void	lumni_msg_ext(struct lumni_msg *, int8_t type, const void *, size_t);
void	lumni_msg_time(struct lumni_msg *, int64_t sec, uint32_t nsec);
/* One value, already packed; it is not looked at. */
void	lumni_msg_packed(struct lumni_msg *, const void *, size_t);
void	lumni_msg_field(struct lumni_msg *, const struct lumni_field *);
/* The key `at` and the time now. */
void	lumni_msg_at(struct lumni_msg *);
void	lumni_msg_map_begin(struct lumni_msg *);
void	lumni_msg_array_begin(struct lumni_msg *);
void	lumni_msg_end(struct lumni_msg *);

/* The run is complete after these events. */
#define LUMNI_END	0x1u

/*
 * Pack a whole message for lumnid: events has one map for each event. ack may
 * be NULL; its key is not used. Returns 0, or the errors of lumni_event().
 */
int	lumni_pack(struct lumni_msg *dst, const char *run_id,
	    const struct lumni_msg *events, unsigned int flags,
	    const struct lumni_field *ack);
/* Hand over events of a run; as lumni_event(). The message stays yours. */
int	lumni_send(struct lumni *, const char *run_id,
	    const struct lumni_msg *events, unsigned int flags);

/* A field whose value is the one value packed in m. */
static inline struct lumni_field
lumni_value(const char *key, const struct lumni_msg *m)
{
	struct lumni_field f = lumni_field_make(key, LUMNI_PACKED);

	f.v.p = lumni_msg_data(m, &f.len);
	if (f.v.p == NULL || f.len == 0)
		f.key = NULL;
	return f;
}

#ifdef __cplusplus
}

#include <initializer_list>

inline int
lumni_event(struct lumni *c, const char *run_id, const char *type,
    std::initializer_list<lumni_field> fields)
{
	return lumni_event(c, run_id, type, fields.begin(), fields.size());
}

#define LUMNI_EVENT(c, run_id, type, ...)				\
	lumni_event((c), (run_id), (type), { __VA_ARGS__ })
#else
/* An event with one field or more. */
#define LUMNI_EVENT(c, run_id, type, ...)				\
	lumni_event((c), (run_id), (type),				\
	    (const struct lumni_field []){ __VA_ARGS__ },		\
	    sizeof((const struct lumni_field []){ __VA_ARGS__ }) /	\
	    sizeof(struct lumni_field))
#endif

#endif
