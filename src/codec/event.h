/*
 * event: one client message in msgpack becomes upstream-ready JSON events.
 * This is the border: behind it nobody parses an event again.
 *
 * Conversion: bin -> base64 string; ext -1 (timestamp, msgpack spec) and ext 0
 * of 8 bytes (Fluent EventTime) -> RFC 3339 with nanoseconds; other ext ->
 * {"ext":n,"data":"<base64>"}; NaN and infinities -> null; invalid UTF-8 ->
 * U+FFFD; non-string keys -> their JSON text as a string; integers exact to
 * 64 bits. Containers nest at most 32 deep within an event, which is the
 * first of them.
 */
#ifndef LUMNID_CODEC_EVENT_H
#define LUMNID_CODEC_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/cdefs.h"
#include "base/clock.h"
#include "base/why.h"
#include "codec/timefmt.h"

#define EVENT_RUNID_MAX		256	/* bytes */
#define EVENT_ACK_MAX		64	/* bytes of a str or bin ack id */
#define EVENT_DEPTH_MAX		32
#define EVENT_EVENTS_MAX	100000	/* in one message */
/*
 * What a message may come to as JSON: 16 MiB, or 4 times its length where
 * that is more, and never more than a log's record can hold. Texts and
 * numbers stay far below; arrays of nil and the like could reach 10 times.
 */
#define EVENT_JSON_ALWAYS	(16u << 20)
#define EVENT_JSON_FACTOR	4
#define EVENT_JSON_MAX		(63u << 20)

/* Why a message is refused; event_code_name() is the `code` on the wire. */
enum event_code {
	EVENT_OK,
	EVENT_NOT_MSGPACK,	/* "not_msgpack" */
	EVENT_TOO_LARGE,	/* "too_large" */
	EVENT_TOO_DEEP,		/* "too_deep" */
	EVENT_NOT_A_MESSAGE,	/* "not_a_message": no map */
	EVENT_NO_RUN_ID,	/* "no_run_id" */
	EVENT_BAD_RUN_ID,	/* "bad_run_id" */
	EVENT_BAD_EVENTS,	/* "bad_events": no array of maps */
	EVENT_BAD_END,		/* "bad_end": no boolean */
	EVENT_BAD_ACK,		/* "bad_ack" */
	EVENT_BAD_RECORD,	/* "bad_record": change or policy is no map */
	EVENT_DUPLICATE_KEY,	/* "duplicate_key": of the envelope's own */
	EVENT_UNKNOWN_KEY,	/* "unknown_key": in an envelope */
	EVENT_NO_MEMORY,	/* "no_memory" */
	EVENT_FULL,		/* "full": storage is at its limit */
	EVENT_DEGRADED,		/* "degraded": the disk fails */
	EVENT_TOO_MANY_RUNS,	/* "too_many_runs": runs.max_open */
	EVENT_NOT_SUPPORTED,	/* "not_supported" */
	EVENT_STOPPING,		/* "stopping" */
	EVENT_FORBIDDEN,	/* "forbidden": this user may not send */
	EVENT_TOO_MANY_CONNECTIONS, /* "too_many_connections" */
	EVENT_CODES
};

enum event_kind {
	EVENT_KIND_EVENTS,
	EVENT_KIND_CHANGE,
	EVENT_KIND_POLICY,
};

/* The client's id of a message, kept as the msgpack it came as. */
struct event_ack {
	uint8_t	len;		/* 0: no ack was asked for */
	uint8_t	raw[EVENT_ACK_MAX + 2];	/* its head in the shortest form */
};

struct event_span {
	uint32_t off;		/* in message.json */
	uint32_t len;
	bool	 is_end;	/* its `type` is one of end_types */
};

struct redact_run;

struct event_options {
	bool		 stamp_at;
	/* Each event passes through it; NULL: nothing is redacted. Borrowed. */
	struct redact_run *redact;
	/* Types that end a run, n of them. Borrowed. */
	char *const	*end_types;
	size_t		 end_types_n;
};

/*
 * A decoded message. One struct is used for all messages of the process:
 * event_decode() overwrites it and reuses its memory.
 */
struct event_message {
	enum event_kind	  kind;
	char		  runid[EVENT_RUNID_MAX + 1];	/* NUL-ended */
	size_t		  runid_len;
	bool		  end;
	struct event_ack  ack;	/* also filled, where found, on refusal */
	struct event_span *events;	/* a record is one event */
	size_t		  events_n;
	size_t		  events_cap;
	struct buf	  json;
	struct wall	  at;		/* the receipt time that at_text is */
	size_t		  at_len;
	char		  at_text[TIMEFMT_MAX];
};

void	event_message_init(struct event_message *);
void	event_message_free(struct event_message *);
/* Give back memory that a very large message has taken. */
void	event_message_trim(struct event_message *);

/*
 * Decode one whole value of len bytes (as frame_next() found it).
 * wall: the receipt time, for `at`. Returns EVENT_OK, or why the message is
 * refused with a sentence in why; then only kind and ack are meaningful.
 */
enum event_code event_decode(struct event_message *, const uint8_t *, size_t,
	    const struct event_options *, struct wall, struct why *) MUSTUSE
	    HOT;

/*
 * An event that comes without a message of its own: an entry of the forward
 * protocol (codec/forward.h).
 */
#define EVENT_TAG_MAX		1024	/* bytes */
struct event_record {
	const uint8_t	*map;		/* one whole value of len bytes */
	size_t		 len;
	const uint8_t	*tag;		/* becomes the key `tag` */
	size_t		 tag_len;	/* at most EVENT_TAG_MAX */
	size_t		 at_len;	/* 0: no time came with it */
	char		 at[TIMEFMT_MAX];
	/* The time for its redaction is what its forerunner has left. */
	bool		 goes_on;
};

/*
 * Decode it as a message of one flat event. Its `tag` and its `at` are those
 * of the record where it has them itself.
 */
enum event_code event_decode_record(struct event_message *,
	    const struct event_record *, const struct event_options *,
	    struct wall, struct why *) MUSTUSE;

/* Take the next value as an ack id. Returns EVENT_OK or why it is none. */
struct mpjson;
enum event_code event_read_ack(struct mpjson *, struct event_ack *,
	    struct why *) MUSTUSE;

const char *event_code_name(enum event_code);

#endif
