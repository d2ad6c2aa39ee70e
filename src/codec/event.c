/*
 * event: one client message in msgpack becomes upstream-ready JSON events.
 *
 * A message is a map, and its keys tell which kind it is:
 *
 *   `events` is there        an envelope. Its keys are runId, traceId, events,
 *                            end and ack; any other is refused, for it is a
 *                            flat event gone wrong, or a field we would drop.
 *   else runId or traceId    one flat event. All other keys are the event's
 *                            own, also `ack`, `end`, `change` and `policy`: a
 *                            change that names a run is a step of that run.
 *   else change or policy    a record. Beside it only `ack` may stand.
 *   else                     refused: no_run_id.
 *
 * The run id. runId goes into the batch's envelope and not into the event.
 * Where it is absent traceId serves, and stays in a flat event. A runId that
 * is there but bad is refused, also beside a good traceId: to fall back would
 * tear a run apart. traceId beside runId is not looked at, but that beside
 * `events` it is no container.
 *
 * Twice the same key. In an envelope or record it is refused, and so is a
 * run id that is there twice, since readers differ on which one counts. Within
 * an event duplicates pass as they are.
 *
 * An array is of the Fluentd forward protocol: forward.c takes it apart, and
 * each record comes here as one flat event.
 *
 * The keys come in any order, so a message is read as a flat event, writing
 * its JSON, until `events` shows that it is none; then it is read again from
 * the start as the envelope. Clients send `events` early. On refusal the
 * message is walked once more for the ack id, unless it is a flat event, where
 * `ack` is data.
 */
#include "codec/event.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "codec/event_put.h"
#include "codec/mpjson.h"
#include "codec/redact.h"

#define EVENT_TRIM_JSON		(256 * 1024)	/* bytes */
#define EVENT_TRIM_EVENTS	4096

enum event_form {
	EVENT_FORM_FLAT,
	EVENT_FORM_ENVELOPE,
	EVENT_FORM_RECORD,
};

void
event_message_init(struct event_message *msg)
{
	*msg = (struct event_message){ .at = { INT64_MIN } };
	buf_init(&msg->json, EVENT_JSON_ALWAYS);
}

void
event_message_free(struct event_message *msg)
{
	buf_free(&msg->json);
	free(msg->events);
	event_message_init(msg);
}

void
event_message_trim(struct event_message *msg)
{
	if (msg->json.cap > EVENT_TRIM_JSON)
		buf_free(&msg->json);
	if (msg->events_cap > EVENT_TRIM_EVENTS) {
		free(msg->events);
		msg->events = NULL;
		msg->events_cap = 0;
		msg->events_n = 0;
	}
}

static enum event_code
event_put_array(struct event_dec *d)
{
	struct mp_head h;

	if (!mpjson_head(&d->m, &h))
		return event_broken(d);
	if (h.type != MP_ARRAY)
		return event_refuse(d, EVENT_BAD_EVENTS,
		    "`events` is no array");
	for (uint32_t i = 0; i < h.size; i++) {
		enum event_code code = event_put_map(d, EVENT_BAD_EVENTS);
		if (code != EVENT_OK)
			return code;
	}
	return EVENT_OK;
}

static enum event_code
event_refuse_key(struct event_dec *d, enum event_code code,
    const struct mp_head *key, const char *text)
{
	if (key->type != MP_STR)
		return event_refuse(d, code, "a key that is no string beside "
		    "`events`, `change` or `policy`");
	/* Reasons are logged, and a key may be a secret. */
	if (d->opt->redact != NULL)
		return event_refuse(d, code, text);
	int n = key->size > 64 ? 64 : (int)key->size;
	(void)why_set(d->why, 0, "%s: \"%.*s\"", text, n,
	    (const char *)d->m.p);
	return code;
}

/* n pairs of a message that has `events`. */
static enum event_code
event_read_envelope(struct event_dec *d, uint32_t n)
{
	const uint8_t *trace = NULL;
	enum event_code code = EVENT_OK;
	enum event_key which;
	struct mp_head h;
	unsigned seen = 0;

	for (uint32_t i = 0; i < n && code == EVENT_OK; i++) {
		if (!event_read_key(d, &h, &which))
			return event_broken(d);
		if ((seen & 1u << which) != 0 && which != EVENT_KEY_OTHER)
			return event_refuse_key(d, EVENT_DUPLICATE_KEY, &h,
			    "a key is there twice");
		seen |= 1u << which;
		const uint8_t *key = d->m.p;
		if (h.type == MP_STR)
			d->m.p += h.size;
		switch (which) {
		case EVENT_KEY_RUN_ID:
			code = event_take_runid(d);
			break;
		case EVENT_KEY_TRACE_ID:
			trace = d->m.p;
			if (!mpjson_head(&d->m, &h))
				return event_broken(d);
			if (h.type == MP_MAP || h.type == MP_ARRAY)
				return event_refuse(d, EVENT_BAD_RUN_ID,
				    "traceId is a map or an array");
			d->m.p = trace;
			if (!mpjson_skip(&d->m))
				return event_broken(d);
			break;
		case EVENT_KEY_EVENTS:
			code = event_put_array(d);
			break;
		case EVENT_KEY_END:
			if (!mpjson_head(&d->m, &h))
				return event_broken(d);
			if (h.type != MP_BOOL)
				return event_refuse(d, EVENT_BAD_END,
				    "`end` is no boolean");
			d->msg->end = h.u != 0;
			break;
		case EVENT_KEY_ACK:
			code = event_take_ack(d);
			break;
		default:
			d->m.p = key;
			return event_refuse_key(d, EVENT_UNKNOWN_KEY, &h,
			    "this key cannot stand beside `events`");
		}
	}
	if (code != EVENT_OK || (seen & 1u << EVENT_KEY_RUN_ID) != 0)
		return code;
	if (trace == NULL)
		return event_refuse(d, EVENT_NO_RUN_ID,
		    "`events` without runId or traceId");
	const uint8_t *end = d->m.p;
	d->m.p = trace;
	code = event_take_runid(d);
	d->m.p = end;
	return code;
}

/* n pairs of a message that has `change` or `policy`, and no run id. */
static enum event_code
event_read_record(struct event_dec *d, uint32_t n)
{
	enum event_code code = EVENT_OK;
	enum event_key which;
	struct mp_head h;
	unsigned seen = 0;

	for (uint32_t i = 0; i < n && code == EVENT_OK; i++) {
		if (!event_read_key(d, &h, &which))
			return event_broken(d);
		if ((seen & 1u << which) != 0 && which != EVENT_KEY_OTHER)
			return event_refuse_key(d, EVENT_DUPLICATE_KEY, &h,
			    "a key is there twice");
		seen |= 1u << which;
		switch (which) {
		case EVENT_KEY_CHANGE:
		case EVENT_KEY_POLICY:
			if (d->msg->events_n > 0)
				return event_refuse(d, EVENT_BAD_RECORD,
				    "both change and policy in one message");
			d->m.p += h.size;
			d->msg->kind = which == EVENT_KEY_CHANGE ?
			    EVENT_KIND_CHANGE : EVENT_KIND_POLICY;
			code = event_put_map(d, EVENT_BAD_RECORD);
			break;
		case EVENT_KEY_ACK:
			d->m.p += h.size;
			code = event_take_ack(d);
			break;
		default:
			return event_refuse_key(d, EVENT_UNKNOWN_KEY, &h,
			    "this key cannot stand beside change or policy");
		}
	}
	if (code == EVENT_OK)
		d->msg->events[0].is_end = false; /* it is in no run */
	return code;
}

/* What a flat event's pairs have shown so far. */
struct event_flat {
	bool		 has_runid;
	bool		 has_record;	/* change or policy */
	unsigned	 traces;
	const uint8_t	*trace;		/* traceId's value */
};

/* All pairs are read: whose are they? */
static HOT enum event_code
event_end_flat(struct event_dec *d, const struct event_flat *fl,
    enum event_form *ret_form)
{
	if (!fl->has_runid && fl->traces == 0) {
		if (fl->has_record) {
			*ret_form = EVENT_FORM_RECORD;
			return EVENT_OK;
		}
		return event_refuse(d, EVENT_NO_RUN_ID,
		    "neither runId nor traceId, change or policy");
	}
	if (!fl->has_runid) {
		if (fl->traces > 1)
			return event_refuse(d, EVENT_DUPLICATE_KEY,
			    "traceId is there twice");
		const uint8_t *end = d->m.p;
		d->m.p = fl->trace;
		enum event_code code = event_take_runid(d);
		if (code != EVENT_OK)
			return code;
		d->m.p = end;
	}
	return event_close(d);
}

/*
 * n pairs as a flat event. *ret_form says what they turned out to be: if no
 * flat event, nothing of what was written counts.
 */
static enum event_code
event_read_flat(struct event_dec *d, uint32_t n, enum event_form *ret_form)
{
	struct event_flat fl = { 0 };
	enum event_key which;
	struct mp_head h;

	enum event_code code = event_open(d);
	for (uint32_t i = 0; i < n && code == EVENT_OK; i++) {
		const uint8_t *start = d->m.p;
		if (!event_read_key(d, &h, &which))
			return event_broken(d);
		switch (which) {
		case EVENT_KEY_EVENTS:
			*ret_form = EVENT_FORM_ENVELOPE;
			return EVENT_OK;
		case EVENT_KEY_RUN_ID:
			if (fl.has_runid)
				return event_refuse(d, EVENT_DUPLICATE_KEY,
				    "runId is there twice");
			fl.has_runid = true;
			d->m.p += h.size;
			code = event_take_runid(d);
			continue;
		case EVENT_KEY_TRACE_ID:
			fl.traces++;
			fl.trace = d->m.p + h.size;
			break;
		case EVENT_KEY_CHANGE:
		case EVENT_KEY_POLICY:
			fl.has_record = true;
			break;
		default:
			break;
		}
		if (!event_put_pair(d, &h, start, which))
			return event_broken(d);
	}
	if (code != EVENT_OK)
		return code;
	return event_end_flat(d, &fl, ret_form);
}

/* Forget what was decoded, but not the ack. */
static void
event_message_clear(struct event_message *msg)
{
	msg->kind = EVENT_KIND_EVENTS;
	msg->runid[0] = '\0';
	msg->runid_len = 0;
	msg->end = false;
	msg->events_n = 0;
	msg->json.len = 0;
	msg->json.error = 0;
}

/*
 * The ack id of a message that is refused, wherever it stands and whatever is
 * wrong beside it; none where `ack` is a key of a flat event.
 */
static void
event_find_ack(struct event_dec *d, const uint8_t *p, size_t len)
{
	const uint8_t *ack = NULL;
	bool is_run = false, is_envelope = false;
	enum event_key which;
	struct mp_head h, key;

	d->why = NULL;
	mpjson_init(&d->m, p, len, &d->msg->json);
	if (!mpjson_head(&d->m, &h) || h.type != MP_MAP)
		return;
	for (uint32_t i = 0; i < h.size; i++) {
		const uint8_t *start = d->m.p;
		if (!event_read_key(d, &key, &which))
			break;
		if (which == EVENT_KEY_ACK && ack == NULL)
			ack = d->m.p + key.size;
		is_run |= which == EVENT_KEY_RUN_ID ||
		    which == EVENT_KEY_TRACE_ID;
		is_envelope |= which == EVENT_KEY_EVENTS;
		d->m.p = start;
		if (!mpjson_skip(&d->m) || !mpjson_skip(&d->m))
			break;
	}
	if (ack == NULL || (is_run && !is_envelope))
		return;
	d->m.p = ack;
	if (event_take_ack(d) != EVENT_OK)
		d->msg->ack.len = 0;
}

/* Decode; on failure the caller looks for the ack. */
static enum event_code
event_read(struct event_dec *d, const uint8_t *p, size_t len)
{
	enum event_form form = EVENT_FORM_FLAT;
	struct mp_head h;

	if (!mpjson_head(&d->m, &h))
		return event_broken(d);
	if (h.type == MP_ARRAY)
		return event_refuse(d, EVENT_NOT_SUPPORTED, "arrays (the "
		    "forward protocol) are taken on streams only");
	if (h.type != MP_MAP)
		return event_refuse(d, EVENT_NOT_A_MESSAGE,
		    "a message is a map");
	const uint8_t *body = d->m.p;
	enum event_code code = event_read_flat(d, h.size, &form);
	if (code == EVENT_OK && form != EVENT_FORM_FLAT) {
		event_message_clear(d->msg);
		d->m.p = body;
		code = form == EVENT_FORM_RECORD ?
		    event_read_record(d, h.size) :
		    event_read_envelope(d, h.size);
	}
	if (code == EVENT_OK && d->m.p != p + len)
		return event_refuse(d, EVENT_NOT_MSGPACK,
		    "bytes follow the message");
	return code;
}

/* Make ready for a message of len bytes. */
static HOT void
event_begin(struct event_dec *d, const uint8_t *p, size_t len,
    struct wall wall)
{
	struct event_message *msg = d->msg;

	event_message_clear(msg);
	msg->ack.len = 0;
	msg->json.max = EVENT_JSON_ALWAYS;
	if (len > EVENT_JSON_ALWAYS / EVENT_JSON_FACTOR)
		msg->json.max = len > EVENT_JSON_MAX / EVENT_JSON_FACTOR ?
		    EVENT_JSON_MAX : len * EVENT_JSON_FACTOR;
	if (d->opt->stamp_at) {
		if (wall.us / 1000 != msg->at.us / 1000) {
			msg->at = wall;
			msg->at_len = timefmt_rfc3339_ms(wall, msg->at_text);
		}
		d->at = msg->at_text;
		d->at_len = msg->at_len;
	}
	mpjson_init(&d->m, p, len, &msg->json);
}

enum event_code
event_decode(struct event_message *msg, const uint8_t *p, size_t len,
    const struct event_options *opt, struct wall wall, struct why *why)
{
	struct event_dec d = { .msg = msg, .opt = opt, .why = why };

	event_begin(&d, p, len, wall);
	if (opt->redact != NULL)
		redact_run_begin(opt->redact);
	enum event_code code = event_read(&d, p, len);
	if (UNLIKELY(code != EVENT_OK)) {
		msg->events_n = 0;
		if (msg->ack.len == 0)
			event_find_ack(&d, p, len);
	}
	return code;
}

/* --- records of the forward protocol --------------------------------------- */

/* The tag goes the way of all pairs, so that redaction sees it. */
static bool
event_put_tag(struct event_dec *d, const struct event_record *rec)
{
	uint8_t raw[4 + 3 + EVENT_TAG_MAX] = { 0xa3, 't', 'a', 'g', 0xda,
	    (uint8_t)(rec->tag_len >> 8), (uint8_t)rec->tag_len };
	const struct mpjson saved = d->m;
	enum event_key which;
	struct mp_head h;

	memcpy(raw + 7, rec->tag, rec->tag_len);
	d->m.p = raw;
	d->m.end = raw + 7 + rec->tag_len;
	bool ok = event_read_key(d, &h, &which) &&
	    event_put_pair(d, &h, raw, which);
	d->m = saved;
	return ok;
}

/* n pairs of a record. */
static enum event_code
event_read_record_map(struct event_dec *d, uint32_t n,
    const struct event_record *rec)
{
	struct event_flat fl = { 0 };
	enum event_form form = EVENT_FORM_FLAT;
	bool has_tag = false;
	enum event_key which;
	struct mp_head h;

	enum event_code code = event_open(d);
	for (uint32_t i = 0; i < n && code == EVENT_OK; i++) {
		const uint8_t *start = d->m.p;
		if (!event_read_key(d, &h, &which))
			return event_broken(d);
		if (which == EVENT_KEY_RUN_ID) {
			if (fl.has_runid)
				return event_refuse(d, EVENT_DUPLICATE_KEY,
				    "runId is there twice");
			fl.has_runid = true;
			d->m.p += h.size;
			code = event_take_runid(d);
			continue;
		}
		if (which == EVENT_KEY_TRACE_ID) {
			fl.traces++;
			fl.trace = d->m.p + h.size;
		}
		has_tag |= h.type == MP_STR && h.size == 3 &&
		    memcmp(d->m.p, "tag", 3) == 0;
		if (!event_put_pair(d, &h, start, which))
			return event_broken(d);
	}
	if (code != EVENT_OK)
		return code;
	if (!fl.has_runid && fl.traces == 0)
		return event_refuse(d, EVENT_NO_RUN_ID,
		    "a record without runId or traceId");
	if (!has_tag && !event_put_tag(d, rec))
		return event_broken(d);
	return event_end_flat(d, &fl, &form);
}

enum event_code
event_decode_record(struct event_message *msg, const struct event_record *rec,
    const struct event_options *opt, struct wall wall, struct why *why)
{
	struct event_dec d = { .msg = msg, .opt = opt, .why = why };
	enum event_code code;
	struct mp_head h;

	event_begin(&d, rec->map, rec->len, wall);
	if (opt->redact != NULL && !rec->goes_on)
		redact_run_begin(opt->redact);
	if (rec->at_len > 0) {
		d.at = rec->at;
		d.at_len = rec->at_len;
	}
	if (!mpjson_head(&d.m, &h))
		code = event_broken(&d);
	else if (h.type != MP_MAP)
		code = event_refuse(&d, EVENT_BAD_EVENTS,
		    "the record is no map");
	else
		code = event_read_record_map(&d, h.size, rec);
	if (code != EVENT_OK)
		msg->events_n = 0;
	return code;
}

const char *
event_code_name(enum event_code code)
{
	static const char *const names[EVENT_CODES] = {
		[EVENT_OK] = "ok",
		[EVENT_NOT_MSGPACK] = "not_msgpack",
		[EVENT_TOO_LARGE] = "too_large",
		[EVENT_TOO_DEEP] = "too_deep",
		[EVENT_NOT_A_MESSAGE] = "not_a_message",
		[EVENT_NO_RUN_ID] = "no_run_id",
		[EVENT_BAD_RUN_ID] = "bad_run_id",
		[EVENT_BAD_EVENTS] = "bad_events",
		[EVENT_BAD_END] = "bad_end",
		[EVENT_BAD_ACK] = "bad_ack",
		[EVENT_BAD_RECORD] = "bad_record",
		[EVENT_DUPLICATE_KEY] = "duplicate_key",
		[EVENT_UNKNOWN_KEY] = "unknown_key",
		[EVENT_NO_MEMORY] = "no_memory",
		[EVENT_FULL] = "full",
		[EVENT_DEGRADED] = "degraded",
		[EVENT_TOO_MANY_RUNS] = "too_many_runs",
		[EVENT_NOT_SUPPORTED] = "not_supported",
		[EVENT_STOPPING] = "stopping",
		[EVENT_FORBIDDEN] = "forbidden",
		[EVENT_TOO_MANY_CONNECTIONS] = "too_many_connections",
	};

	assert((unsigned)code < EVENT_CODES);
	return names[code];
}
