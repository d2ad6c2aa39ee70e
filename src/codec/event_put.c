/* event_put: the parts that every form of message is made of. */
#include "codec/event_put.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "codec/json.h"
#include "codec/redact.h"

_Static_assert(EVENT_DEPTH_MAX == MPJSON_DEPTH_MAX, "one depth");

enum event_code
event_refuse(struct event_dec *d, enum event_code code, const char *text)
{
	(void)why_set(d->why, 0, "%s", text); /* returns what we pass */
	return code;
}

enum event_code
event_broken(struct event_dec *d)
{
	if (d->m.error == MPJSON_TOO_DEEP) {
		(void)why_set(d->why, 0,
		    "containers are nested more than %d deep, or keys in keys",
		    EVENT_DEPTH_MAX);
		return EVENT_TOO_DEEP;
	}
	return event_refuse(d, EVENT_NOT_MSGPACK,
	    "the message is not whole msgpack");
}

/* Has the JSON outgrown its limit or the memory? */
static enum event_code
event_check_json(struct event_dec *d)
{
	int e = buf_error(&d->msg->json);

	if (LIKELY(e == 0))
		return EVENT_OK;
	if (e == -ENOBUFS) {
		(void)why_set(d->why, 0, "the message is over %zu bytes as "
		    "JSON", d->msg->json.max);
		return EVENT_TOO_LARGE;
	}
	return event_refuse(d, EVENT_NO_MEMORY, "out of memory");
}

enum event_code
event_take_runid(struct event_dec *d)
{
	struct event_message *msg = d->msg;
	struct mp_head h;
	struct buf text;

	if (!mpjson_head(&d->m, &h))
		return event_broken(d);
	if (h.type == MP_UINT || h.type == MP_INT) {
		buf_init(&text, EVENT_RUNID_MAX);
		if (h.type == MP_UINT)
			json_put_uint(&text, h.u);
		else
			json_put_int(&text, h.i);
		int e = buf_error(&text);
		if (e == 0) {
			memcpy(msg->runid, text.data, text.len);
			msg->runid_len = text.len;
			msg->runid[text.len] = '\0';
		}
		buf_free(&text);
		return e == 0 ? EVENT_OK :
		    event_refuse(d, EVENT_NO_MEMORY, "out of memory");
	}
	if (h.type != MP_STR)
		return event_refuse(d, EVENT_BAD_RUN_ID,
		    "the run id is neither a string nor an integer");
	if (h.size == 0 || h.size > EVENT_RUNID_MAX)
		return event_refuse(d, EVENT_BAD_RUN_ID,
		    "the run id must have 1 to 256 bytes");
	if (!json_is_clean((const char *)d->m.p, h.size))
		return event_refuse(d, EVENT_BAD_RUN_ID,
		    "the run id is not UTF-8, or has control characters");
	memcpy(msg->runid, d->m.p, h.size);
	msg->runid[h.size] = '\0';
	msg->runid_len = h.size;
	d->m.p += h.size;
	return EVENT_OK;
}

/*
 * The long heads of a short string become short ones, so that the id fits
 * where it is kept; all else is echoed as is.
 */
enum event_code
event_read_ack(struct mpjson *m, struct event_ack *ack, struct why *why)
{
	const uint8_t *start = m->p;
	struct mp_head h;

	if (!mpjson_head(m, &h)) {
		(void)why_set(why, 0, "the message is not whole msgpack");
		return EVENT_NOT_MSGPACK;
	}
	size_t head = (size_t)(m->p - start);
	if (h.type == MP_UINT || h.type == MP_INT) {
		memcpy(ack->raw, start, head);
		ack->len = (uint8_t)head;
		return EVENT_OK;
	}
	if (h.type != MP_STR && h.type != MP_BIN) {
		(void)why_set(why, 0, "ack is neither a string, nor bytes, nor "
		    "an integer");
		return EVENT_BAD_ACK;
	}
	if (h.size > EVENT_ACK_MAX) {
		(void)why_set(why, 0, "ack has more than 64 bytes");
		return EVENT_BAD_ACK;
	}
	if (head > 2) {
		ack->raw[0] = h.type == MP_STR ? 0xd9 : 0xc4;
		ack->raw[1] = (uint8_t)h.size;
		head = 2;
	} else {
		memcpy(ack->raw, start, head);
	}
	memcpy(ack->raw + head, m->p, h.size);
	ack->len = (uint8_t)(head + h.size);
	m->p += h.size;
	return EVENT_OK;
}

enum event_code
event_take_ack(struct event_dec *d)
{
	return event_read_ack(&d->m, &d->msg->ack, d->why);
}

/* Is the value that comes next a type that ends a run? */
static bool
event_type_ends(const struct event_dec *d)
{
	struct mp_head h;

	size_t left = (size_t)(d->m.end - d->m.p);
	int n = mp_head(d->m.p, left, &h);
	if (n <= 0 || h.type != MP_STR || h.size > left - (size_t)n)
		return false;
	for (size_t i = 0; i < d->opt->end_types_n; i++) {
		const char *type = d->opt->end_types[i];
		if (strlen(type) == h.size &&
		    memcmp(type, d->m.p + n, h.size) == 0)
			return true;
	}
	return false;
}

enum event_code
event_open(struct event_dec *d)
{
	struct event_message *msg = d->msg;

	if (msg->events_n == msg->events_cap) {
		if (msg->events_n >= EVENT_EVENTS_MAX)
			return event_refuse(d, EVENT_TOO_LARGE,
			    "more than 100000 events in one message");
		size_t cap = msg->events_cap == 0 ? 16 : msg->events_cap * 2;
		if (cap > EVENT_EVENTS_MAX)
			cap = EVENT_EVENTS_MAX;
		void *p = realloc(msg->events, cap * sizeof *msg->events);
		if (p == NULL)
			return event_refuse(d, EVENT_NO_MEMORY,
			    "out of memory");
		msg->events = p;
		msg->events_cap = cap;
	}
	d->has_at = false;
	d->is_end = false;
	msg->events[msg->events_n].off = (uint32_t)msg->json.len;
	buf_putc(&msg->json, '{');
	return EVENT_OK;
}

/* Nothing that must be redacted is seen behind this. */
static enum event_code
event_redact(struct event_dec *d, size_t off)
{
	static const enum redact_root roots[] = {
		[EVENT_KIND_EVENTS] = REDACT_EVENTS,
		[EVENT_KIND_CHANGE] = REDACT_CHANGE,
		[EVENT_KIND_POLICY] = REDACT_POLICY,
	};
	struct event_message *msg = d->msg;
	int r = redact_event(d->opt->redact, roots[msg->kind], &msg->json,
	    off);

	if (r == 0)
		return EVENT_OK;
	msg->json.len = off;
	if (r == -ENOBUFS)
		return event_refuse(d, EVENT_TOO_LARGE,
		    "redacted, the message is too large");
	if (r == -ENOMEM)
		return event_refuse(d, EVENT_NO_MEMORY, "out of memory");
	return event_refuse(d, EVENT_NOT_SUPPORTED,
	    "the event cannot be redacted");
}

enum event_code
event_close(struct event_dec *d)
{
	struct event_message *msg = d->msg;
	struct event_span *ev = &msg->events[msg->events_n];

	if (d->at_len > 0 && !d->has_at) {
		buf_puts(&msg->json, msg->json.len == ev->off + 1 ?
		    "\"at\":\"" : ",\"at\":\"");
		buf_put(&msg->json, d->at, d->at_len);
		buf_putc(&msg->json, '"');
	}
	buf_putc(&msg->json, '}');
	enum event_code code = event_check_json(d);
	if (code == EVENT_OK && d->opt->redact != NULL)
		code = event_redact(d, ev->off);
	if (code != EVENT_OK)
		return code;
	ev->len = (uint32_t)msg->json.len - ev->off;
	ev->is_end = d->is_end;
	msg->events_n++;
	return EVENT_OK;
}

/* A pair that is not the first is told by what was written before it. */
bool
event_put_pair(struct event_dec *d, const struct mp_head *key,
    const uint8_t *start, enum event_key which)
{
	struct buf *json = &d->msg->json;

	if (json->len > d->msg->events[d->msg->events_n].off + 1)
		buf_putc(json, ',');
	if (LIKELY(key->type == MP_STR)) {
		mpjson_put_key(&d->m, d->m.p, key->size);
		d->m.p += key->size;
	} else {
		d->m.p = start;
		if (!mpjson_key(&d->m, 2))
			return false;
	}
	if (which == EVENT_KEY_TYPE)
		d->is_end = event_type_ends(d);
	else if (which == EVENT_KEY_AT)
		d->has_at = true;
	return mpjson_value(&d->m, 2);
}

enum event_code
event_put_map(struct event_dec *d, enum event_code not_a_map)
{
	enum event_key which;
	struct mp_head h;

	if (!mpjson_head(&d->m, &h))
		return event_broken(d);
	if (h.type != MP_MAP)
		return event_refuse(d, not_a_map, not_a_map == EVENT_BAD_EVENTS ?
		    "an element of `events` is no map" :
		    "change and policy must be maps");
	enum event_code code = event_open(d);
	if (code != EVENT_OK)
		return code;
	for (uint32_t i = 0; i < h.size; i++) {
		const uint8_t *start = d->m.p;
		struct mp_head key;
		if (!event_read_key(d, &key, &which) ||
		    !event_put_pair(d, &key, start, which))
			return event_broken(d);
	}
	return event_close(d);
}

