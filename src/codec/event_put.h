/*
 * event_put: the parts that every form of message is made of: its run id, its
 * ack id, and the events themselves. Which part may stand where is event.c's.
 */
#ifndef LUMNID_CODEC_EVENT_PUT_H
#define LUMNID_CODEC_EVENT_PUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/cdefs.h"
#include "base/why.h"
#include "codec/event.h"
#include "codec/mpjson.h"

/* The keys that mean something at the top of a message or event. */
enum event_key {
	EVENT_KEY_OTHER,
	EVENT_KEY_ACK,
	EVENT_KEY_AT,
	EVENT_KEY_CHANGE,
	EVENT_KEY_END,
	EVENT_KEY_EVENTS,
	EVENT_KEY_POLICY,
	EVENT_KEY_RUN_ID,
	EVENT_KEY_TRACE_ID,
	EVENT_KEY_TYPE,
};

/* One decode under way. */
struct event_dec {
	struct mpjson			 m;
	struct event_message		*msg;
	const struct event_options	*opt;
	struct why			*why;
	const char			*at;	/* for events without one */
	size_t				 at_len;	/* 0: they get none */
	bool				 has_at;	/* of this event */
	bool				 is_end;
};

/* Set the sentence, return the code. */
enum event_code	event_refuse(struct event_dec *, enum event_code,
		    const char *text);
/* The code for what mpjson met when it returned false. */
enum event_code	event_broken(struct event_dec *);

/* Take the next value as the run id, or as the ack id, of the message. */
enum event_code	event_take_runid(struct event_dec *) MUSTUSE HOT;
enum event_code	event_take_ack(struct event_dec *) MUSTUSE;

/*
 * Step over a key's head; *ret tells which key it is, and a string's bytes
 * come next. Returns false when it is no msgpack.
 */
static inline bool event_read_key(struct event_dec *, struct mp_head *,
		    enum event_key *ret) MUSTUSE;

/* Begin an event: a place in the message's table, and the brace. */
enum event_code	event_open(struct event_dec *) MUSTUSE HOT;
/*
 * Write one pair of the open event, after event_read_key().
 * start: where the key's head is. Returns false when it is broken.
 */
bool		event_put_pair(struct event_dec *, const struct mp_head *key,
		    const uint8_t *start, enum event_key) MUSTUSE HOT;
/* End the event: `at` where it is missing, the brace, its length. */
enum event_code	event_close(struct event_dec *) MUSTUSE HOT;
/* The next value as one event; the code to refuse with when it is no map. */
enum event_code	event_put_map(struct event_dec *, enum event_code not_a_map)
		    MUSTUSE;

static inline bool
event_key_is(const uint8_t *p, const char *name, size_t n)
{
	return memcmp(p, name, n) == 0;
}

static inline enum event_key
event_key_of(const uint8_t *p, uint32_t n)
{
	switch (n) {
	case 2:
		return event_key_is(p, "at", 2) ? EVENT_KEY_AT :
		    EVENT_KEY_OTHER;
	case 3:
		return event_key_is(p, "ack", 3) ? EVENT_KEY_ACK :
		    event_key_is(p, "end", 3) ? EVENT_KEY_END : EVENT_KEY_OTHER;
	case 4:
		return event_key_is(p, "type", 4) ? EVENT_KEY_TYPE :
		    EVENT_KEY_OTHER;
	case 5:
		return event_key_is(p, "runId", 5) ? EVENT_KEY_RUN_ID :
		    EVENT_KEY_OTHER;
	case 6:
		return event_key_is(p, "events", 6) ? EVENT_KEY_EVENTS :
		    event_key_is(p, "change", 6) ? EVENT_KEY_CHANGE :
		    event_key_is(p, "policy", 6) ? EVENT_KEY_POLICY :
		    EVENT_KEY_OTHER;
	case 7:
		return event_key_is(p, "traceId", 7) ? EVENT_KEY_TRACE_ID :
		    EVENT_KEY_OTHER;
	default:
		return EVENT_KEY_OTHER;
	}
}

static inline bool
event_read_key(struct event_dec *d, struct mp_head *h, enum event_key *ret)
{
	if (!mpjson_head(&d->m, h))
		return false;
	*ret = h->type == MP_STR ? event_key_of(d->m.p, h->size) :
	    EVENT_KEY_OTHER;
	return true;
}

#endif
