/*
 * forward: the Fluentd forward protocol.
 *
 * Times. EventTime (ext 0 of 8 bytes, or the timestamp of msgpack) is RFC 3339
 * with nanoseconds. An integer is seconds since 1970; fluent-logger for Node
 * can be told to send milliseconds in its place, so what is beyond the year
 * 5138 as seconds is taken as these. A float is seconds. Fluent Bit may send
 * [time, metadata]. Anything else is no time: the receipt's is used.
 */
#include "codec/forward.h"

#include <errno.h>
#include <string.h>

#include "codec/mpjson.h"

#define FORWARD_PIECE		(32u << 10)	/* decoded at a time */
#define FORWARD_MS_FROM		UINT64_C(100000000000)

static enum event_code
forward_refuse(struct why *why, const char *text)
{
	(void)why_set(why, 0, "forward protocol: %s", text);
	return EVENT_NOT_A_MESSAGE;
}

/* --- the head of a message ------------------------------------------------- */

static bool
forward_text_is(const struct mpjson *m, const struct mp_head *h,
    const char *text)
{
	return h->size == strlen(text) && memcmp(m->p, text, h->size) == 0;
}

static bool
forward_is_text(const struct mp_head *h)
{
	return h->type == MP_STR || h->type == MP_BIN;
}

/* `compressed`: a word. Unknown ones would be read as garbage: refused. */
static enum event_code
forward_take_compressed(struct mpjson *m, enum unzip_coding *ret,
    struct why *why)
{
	struct mp_head h;

	if (!mpjson_head(m, &h) || !forward_is_text(&h))
		return forward_refuse(why, "`compressed` is no string");
	if (forward_text_is(m, &h, "gzip"))
		*ret = UNZIP_GZIP;
	else if (forward_text_is(m, &h, "zstd"))
		*ret = UNZIP_ZSTD;
	else if (!forward_text_is(m, &h, "text"))
		return forward_refuse(why, "`compressed` is none of text, "
		    "gzip, zstd");
	m->p += h.size;
	return EVENT_OK;
}

static enum event_code
forward_take_option(struct forward *f, struct mpjson *m,
    enum unzip_coding *ret, struct why *why)
{
	enum event_code code = EVENT_OK, fault = EVENT_OK;
	struct mp_head h;

	if (!mpjson_head(m, &h) || (h.type != MP_MAP && h.type != MP_NIL))
		return forward_refuse(why, "the option is no map");
	for (uint32_t n = h.type == MP_MAP ? h.size : 0; n > 0; n--) {
		const uint8_t *start = m->p;

		if (!mpjson_head(m, &h))
			return forward_refuse(why, "the option is broken");
		if (forward_is_text(&h) && forward_text_is(m, &h, "chunk")) {
			m->p += h.size;
			code = event_read_ack(m, &f->chunk, why);
		} else if (forward_is_text(&h) &&
		    forward_text_is(m, &h, "compressed")) {
			m->p += h.size;
			start = m->p;
			code = forward_take_compressed(m, ret, why);
			m->p = start;
			if (!mpjson_skip(m))
				return forward_refuse(why, "broken");
		} else {
			m->p = start;
			if (!mpjson_skip(m) || !mpjson_skip(m))
				return forward_refuse(why, "broken");
			continue;
		}
		if (code == EVENT_BAD_ACK)
			return code;
		if (code != EVENT_OK)
			fault = code;
	}
	return fault;
}

/* The second element tells the mode; leaves the place behind the entries. */
static enum event_code
forward_take_entries(struct forward *f, struct mpjson *m, const uint8_t *msg,
    struct why *why)
{
	const uint8_t *start = m->p;
	struct mp_head h;

	if (!mpjson_head(m, &h))
		return forward_refuse(why, "the entries are broken");
	if (forward_is_text(&h)) {
		f->mode = FORWARD_PACKED;
		f->pos = (size_t)(m->p - msg);
		m->p += h.size;
		f->end = (size_t)(m->p - msg);
		return EVENT_OK;
	}
	if (h.type == MP_ARRAY) {
		f->mode = FORWARD_FORWARD;
		f->left = h.size;
		f->pos = (size_t)(m->p - msg);
		m->p = start;
		if (!mpjson_skip(m))
			return forward_refuse(why, "the entries are broken");
	} else {
		f->mode = FORWARD_MESSAGE;
		f->left = 1;
		f->pos = (size_t)(start - msg);
		m->p = start;
		if (!mpjson_skip(m) || !mpjson_skip(m))
			return forward_refuse(why, "the record is broken");
	}
	f->end = (size_t)(m->p - msg);
	return EVENT_OK;
}

static enum event_code
forward_open_unzip(struct forward *f, enum unzip_coding coding,
    struct why *why)
{
	if (coding == UNZIP_IDENTITY)
		return EVENT_OK;
	if (f->mode != FORWARD_PACKED)
		return forward_refuse(why, "`compressed` without packed "
		    "entries");
	f->mode = FORWARD_COMPRESSED;
	if (unzip_new(coding, &f->unzip) < 0) {
		(void)why_set(why, 0, "out of memory");
		return EVENT_NO_MEMORY;
	}
	return EVENT_OK;
}

enum event_code
forward_open(struct forward *f, const uint8_t *msg, size_t len, size_t max,
    struct why *why)
{
	enum unzip_coding coding = UNZIP_IDENTITY;
	enum event_code code, fault;
	struct mpjson m;
	struct mp_head h;

	*f = (struct forward){ .max = max };
	buf_init(&f->plain, max + FORWARD_PIECE);
	frame_init(&f->frame, max);
	mpjson_init(&m, msg, len, NULL);
	if (!mpjson_head(&m, &h) || h.type != MP_ARRAY)
		return forward_refuse(why, "no array");
	uint32_t n = h.size;
	if (n < 2)
		return forward_refuse(why, "an array of fewer than 2");
	if (!mpjson_head(&m, &h) || !forward_is_text(&h))
		return forward_refuse(why, "the tag is no string");
	if (n == 6 && forward_text_is(&m, &h, "PING")) {
		f->mode = FORWARD_PING;
		return EVENT_OK;
	}
	f->tag = (size_t)(m.p - msg);
	f->tag_len = h.size;
	m.p += h.size;
	fault = h.size > EVENT_TAG_MAX ? forward_refuse(why,
	    "the tag has more than 1024 bytes") : EVENT_OK;
	code = forward_take_entries(f, &m, msg, why);
	if (code != EVENT_OK)
		return code;
	uint32_t plain = f->mode == FORWARD_MESSAGE ? 3 : 2;
	if (n != plain && n != plain + 1)
		return forward_refuse(why, "an array of an unknown length");
	if (n == plain + 1)
		code = forward_take_option(f, &m, &coding, why);
	if (code == EVENT_OK)
		code = fault;
	if (code == EVENT_OK)
		code = forward_open_unzip(f, coding, why);
	return code;
}

void
forward_free(struct forward *f)
{
	unzip_free(f->unzip);
	buf_free(&f->plain);
	f->unzip = NULL;
}

/* --- entries --------------------------------------------------------------- */

static size_t
forward_time_int(uint64_t v, char *dst)
{
	uint64_t ms = v < FORWARD_MS_FROM ? v * 1000 : v;

	if (ms > UINT64_C(253402300799999))	/* the year 9999 */
		return 0;
	return timefmt_rfc3339_ms((struct wall){ (int64_t)ms * 1000 }, dst);
}

/* Step over the time; its text, or nothing where it is none. */
static bool
forward_take_time(struct mpjson *m, struct event_record *rec, int level)
{
	const uint8_t *start = m->p;
	struct mp_head h;

	if (!mpjson_head(m, &h))
		return false;
	if (h.type == MP_ARRAY && h.size > 0 && level == 0) {
		if (!forward_take_time(m, rec, level + 1))
			return false;
	} else if (h.type == MP_UINT) {
		rec->at_len = forward_time_int(h.u, rec->at);
	} else if (h.type == MP_FLOAT && h.d >= 0 && h.d < 253402300799.0) {
		int64_t sec = (int64_t)h.d;
		rec->at_len = timefmt_rfc3339_ns(sec,
		    (uint32_t)((h.d - (double)sec) * 1e9), rec->at);
	} else if (h.type == MP_EXT) {
		rec->at_len = mpjson_time(h.ext, m->p, h.size, rec->at);
	}
	m->p = start;
	return mpjson_skip(m);
}

/* Take the two values at the place: a time and a record. */
static enum forward_next
forward_take_pair(struct mpjson *m, struct event_record *rec)
{
	rec->at_len = 0;
	rec->goes_on = false;
	if (!forward_take_time(m, rec, 0))
		return FORWARD_LOST;
	rec->map = m->p;
	if (!mpjson_skip(m))
		return FORWARD_LOST;
	rec->len = (size_t)(m->p - rec->map);
	return FORWARD_ENTRY;
}

/* One [time, record]; steps over it whole, whatever it is. */
static enum forward_next
forward_take_entry(struct mpjson *m, struct event_record *rec)
{
	const uint8_t *start = m->p;
	struct mp_head h;

	if (!mpjson_head(m, &h))
		return FORWARD_LOST;
	if (h.type == MP_ARRAY && h.size == 2)
		return forward_take_pair(m, rec);
	m->p = start;
	return mpjson_skip(m) ? FORWARD_SKIP : FORWARD_LOST;
}

static enum forward_next
forward_lost(enum event_code code, enum event_code *ret_code)
{
	*ret_code = code;
	return FORWARD_LOST;
}

/* Decode until there is a whole entry of *ret_len bytes. */
static enum forward_next
forward_fill(struct forward *f, const uint8_t *msg, size_t *ret_len,
    enum event_code *ret_code, struct why *why)
{
	for (;;) {
		size_t have = f->plain.len - f->plain_off, used;
		enum frame_result r = have == 0 ? FRAME_MORE :
		    frame_next(&f->frame, f->plain.data + f->plain_off, have,
		    ret_len);

		if (r == FRAME_VALUE)
			return FORWARD_ENTRY;
		if (r != FRAME_MORE) {
			(void)why_set(why, 0, "an entry: %s",
			    frame_strerror(r));
			return forward_lost(r == FRAME_TOO_LARGE ?
			    EVENT_TOO_LARGE : r == FRAME_TOO_DEEP ?
			    EVENT_TOO_DEEP : EVENT_NOT_MSGPACK, ret_code);
		}
		if (f->plain_end && have == 0)
			return FORWARD_END;
		if (f->plain_end) {
			(void)why_set(why, 0, "the entries end within one");
			return forward_lost(EVENT_NOT_MSGPACK, ret_code);
		}
		if (f->plain_total >= FORWARD_PLAIN_MAX) {
			(void)why_set(why, 0, "the entries are over 64 MiB "
			    "when decoded");
			return forward_lost(EVENT_TOO_LARGE, ret_code);
		}
		buf_drain(&f->plain, f->plain_off);
		f->plain_off = 0;
		uint8_t *room = buf_room(&f->plain, FORWARD_PIECE);
		if (room == NULL) {
			(void)why_set(why, 0, "out of memory");
			return forward_lost(EVENT_NO_MEMORY, ret_code);
		}
		int64_t n = unzip_next(f->unzip, msg + f->pos,
		    f->end - f->pos, &used, room, FORWARD_PIECE, why);
		if (n < 0)
			return forward_lost(n == -ENOMEM ? EVENT_NO_MEMORY :
			    EVENT_NOT_A_MESSAGE, ret_code);
		f->pos += used;
		f->plain.len += (size_t)n;
		f->plain_total += (uint64_t)n;
		f->plain_end = n == 0;
	}
}

static enum forward_next
forward_next_plain(struct forward *f, const uint8_t *msg,
    struct event_record *rec, enum event_code *ret_code, struct why *why)
{
	struct mpjson m;
	size_t len;
	enum forward_next r = forward_fill(f, msg, &len, ret_code, why);

	if (r != FORWARD_ENTRY)
		return r;
	mpjson_init(&m, f->plain.data + f->plain_off, len, NULL);
	f->entry = f->plain_off;
	f->plain_off += len;
	return forward_take_entry(&m, rec);
}

static enum forward_next
forward_next_here(struct forward *f, const uint8_t *msg,
    struct event_record *rec)
{
	enum forward_next r;
	struct mpjson m;

	if (f->mode == FORWARD_PACKED ? f->pos == f->end : f->left == 0)
		return FORWARD_END;
	mpjson_init(&m, msg + f->pos, f->end - f->pos, NULL);
	r = f->mode == FORWARD_MESSAGE ? forward_take_pair(&m, rec) :
	    forward_take_entry(&m, rec);
	f->entry = f->pos;
	f->pos = (size_t)(m.p - msg);
	f->left--;
	return r;
}

enum forward_next
forward_next(struct forward *f, const uint8_t *msg, struct event_record *rec,
    enum event_code *ret_code, struct why *why)
{
	enum forward_next r;

	*ret_code = EVENT_OK;
	rec->len = 0;	/* of what is no entry */
	rec->tag = msg + f->tag;
	rec->tag_len = f->tag_len;
	r = f->mode == FORWARD_COMPRESSED ?
	    forward_next_plain(f, msg, rec, ret_code, why) :
	    forward_next_here(f, msg, rec);
	if (r == FORWARD_SKIP) {
		*ret_code = EVENT_BAD_EVENTS;
		(void)why_set(why, 0, "an entry is no [time, record]");
	} else if (r == FORWARD_LOST && *ret_code == EVENT_OK) {
		*ret_code = EVENT_NOT_MSGPACK;
		(void)why_set(why, 0, "the entries are no msgpack");
	}
	return r;
}

void
forward_back(struct forward *f)
{
	if (f->mode == FORWARD_COMPRESSED) {
		f->plain_off = f->entry;
		return;
	}
	f->pos = f->entry;
	f->left++;
}
