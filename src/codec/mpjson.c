/*
 * mpjson: writes msgpack values as JSON, as they stream by.
 *
 * Keys that are no strings become the JSON text of the key, as a string: 1 is
 * "1", nil is "null", [1,"a"] is "[1,\"a\"]"; bin and times, whose JSON is a
 * string already, are that string. A container in a key may have no container
 * in a key of its own: each such level would double the backslashes, and
 * thirty levels of one byte would come to gigabytes.
 */
#include "codec/mpjson.h"

#include <string.h>

#include "codec/json.h"
#include "codec/timefmt.h"

void
mpjson_init(struct mpjson *m, const uint8_t *p, size_t len, struct buf *out)
{
	*m = (struct mpjson){ .p = p, .end = p + len, .out = out };
}

static bool
mpjson_fail(struct mpjson *m, enum mpjson_error error)
{
	m->error = error;
	return false;
}

bool
mpjson_skip(struct mpjson *m)
{
	struct mp_head h;

	/* Values due; how they nest does not matter here. */
	for (uint64_t due = 1; due > 0; due--) {
		if (!mpjson_head(m, &h))
			return false;
		if (mp_has_payload(h.type))
			m->p += h.size;
		else if (h.type == MP_ARRAY)
			due += h.size;
		else if (h.type == MP_MAP)
			due += (uint64_t)h.size * 2;
	}
	return true;
}

/* What is left of a string after its first k bytes, and the end of it. */
static void
mpjson_put_rest(struct buf *b, const uint8_t *p, size_t n, size_t tail)
{
	json_put_escaped(b, (const char *)p, n);
	buf_put(b, "\":", tail);
}

/* A string with its quotes, and with a colon where tail is 2. */
static HOT inline void
mpjson_put_string(struct buf *b, const uint8_t *p, size_t n, size_t tail)
{
	uint8_t *w = buf_room(b, n + 3);

	if (UNLIKELY(w == NULL))
		return;
	*w++ = '"';
	size_t k = json_copy_plain(w, p, n);
	w += k;
	if (UNLIKELY(k < n)) {
		b->len += k + 1;
		mpjson_put_rest(b, p + k, n - k, tail);
		return;
	}
	w[0] = '"';
	w[1] = ':';
	b->len += k + 1 + tail;
}

void
mpjson_put_key(struct mpjson *m, const uint8_t *p, size_t n)
{
	mpjson_put_string(m->out, p, n, 2);
}

static uint32_t
mpjson_be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 |
	    (uint32_t)p[2] << 8 | p[3];
}

size_t
mpjson_time(int8_t type, const uint8_t *p, uint32_t size, char *dst)
{
	uint64_t v;

	if (type == 0 && size == 8)
		return timefmt_rfc3339_ns(mpjson_be32(p), mpjson_be32(p + 4),
		    dst);
	if (type != -1)
		return 0;
	switch (size) {
	case 4:
		return timefmt_rfc3339_ns(mpjson_be32(p), 0, dst);
	case 8:
		v = (uint64_t)mpjson_be32(p) << 32 | mpjson_be32(p + 4);
		return timefmt_rfc3339_ns((int64_t)(v & 0x3ffffffffu),
		    (uint32_t)(v >> 34), dst);
	case 12:
		v = (uint64_t)mpjson_be32(p + 4) << 32 | mpjson_be32(p + 8);
		return timefmt_rfc3339_ns((int64_t)v, mpjson_be32(p), dst);
	default:
		return 0;
	}
}

/* A time that has no RFC 3339 text is shown as the ext it is. */
static void
mpjson_put_ext(struct buf *b, int8_t type, const uint8_t *p, uint32_t size,
    bool as_key)
{
	char text[TIMEFMT_MAX];
	const char *quote = as_key ? "\\\"" : "\"";

	size_t n = mpjson_time(type, p, size, text);
	if (n > 0) {
		json_put_string(b, text, n);
		return;
	}
	if (as_key)
		buf_putc(b, '"');
	buf_printf(b, "{%sext%s:%d,%sdata%s:", quote, quote, type, quote,
	    quote);
	if (as_key)
		buf_putc(b, '\\');
	json_put_base64(b, p, size);
	if (as_key && b->error == 0) {
		/* The quote that json_put_base64() ended with, escaped. */
		b->len--;
		buf_puts(b, "\\\"");
	}
	buf_puts(b, as_key ? "}\"" : "}");
}

/* nil, a boolean or a number. */
static HOT void
mpjson_put_scalar(struct buf *b, const struct mp_head *h)
{
	switch (h->type) {
	case MP_BOOL:
		buf_puts(b, h->u != 0 ? "true" : "false");
		break;
	case MP_UINT:
		json_put_uint(b, h->u);
		break;
	case MP_INT:
		json_put_int(b, h->i);
		break;
	case MP_FLOAT:
		json_put_double(b, h->d);
		break;
	default:
		buf_put(b, "null", 4);
		break;
	}
}

static bool
mpjson_array(struct mpjson *m, uint32_t n, int level)
{
	if (level > MPJSON_DEPTH_MAX)
		return mpjson_fail(m, MPJSON_TOO_DEEP);
	buf_putc(m->out, '[');
	for (uint32_t i = 0; i < n; i++) {
		if (i > 0)
			buf_putc(m->out, ',');
		if (!mpjson_value(m, level + 1))
			return false;
	}
	buf_putc(m->out, ']');
	return true;
}

static bool
mpjson_map(struct mpjson *m, uint32_t n, int level)
{
	if (level > MPJSON_DEPTH_MAX)
		return mpjson_fail(m, MPJSON_TOO_DEEP);
	buf_putc(m->out, '{');
	for (uint32_t i = 0; i < n; i++) {
		if (i > 0)
			buf_putc(m->out, ',');
		if (!mpjson_key(m, level + 1) || !mpjson_value(m, level + 1))
			return false;
	}
	buf_putc(m->out, '}');
	return true;
}

/* The value whose head has just been read. */
static inline bool
mpjson_body(struct mpjson *m, const struct mp_head *h, int level)
{
	switch (h->type) {
	case MP_STR:
		mpjson_put_string(m->out, m->p, h->size, 1);
		m->p += h->size;
		return true;
	case MP_MAP:
		return mpjson_map(m, h->size, level);
	case MP_ARRAY:
		return mpjson_array(m, h->size, level);
	case MP_BIN:
		json_put_base64(m->out, m->p, h->size);
		m->p += h->size;
		return true;
	case MP_EXT:
		mpjson_put_ext(m->out, h->ext, m->p, h->size, false);
		m->p += h->size;
		return true;
	default:
		mpjson_put_scalar(m->out, h);
		return true;
	}
}

bool
mpjson_value(struct mpjson *m, int level)
{
	struct mp_head h;

	return mpjson_head(m, &h) && mpjson_body(m, &h, level);
}

/* A container as a key: its JSON is written aside, then as a string. */
static bool
mpjson_container_key(struct mpjson *m, const struct mp_head *h, int level)
{
	struct buf *out = m->out, text;

	if (m->in_key)
		return mpjson_fail(m, MPJSON_TOO_DEEP);
	buf_init(&text, out->max);
	m->in_key = true;
	m->out = &text;
	bool ok = mpjson_body(m, h, level);
	m->out = out;
	m->in_key = false;
	if (ok && buf_error(&text) == 0)
		json_put_string(out, (const char *)text.data, text.len);
	else if (ok)
		out->error = buf_error(&text);
	buf_free(&text);
	return ok;
}

bool
mpjson_key(struct mpjson *m, int level)
{
	struct mp_head h;

	if (!mpjson_head(m, &h))
		return false;
	switch (h.type) {
	case MP_STR:
		mpjson_put_key(m, m->p, h.size);
		m->p += h.size;
		return true;
	case MP_MAP:
	case MP_ARRAY:
		if (!mpjson_container_key(m, &h, level))
			return false;
		break;
	case MP_BIN:
		json_put_base64(m->out, m->p, h.size);
		m->p += h.size;
		break;
	case MP_EXT:
		mpjson_put_ext(m->out, h.ext, m->p, h.size, true);
		m->p += h.size;
		break;
	default:
		buf_putc(m->out, '"');
		mpjson_put_scalar(m->out, &h);
		buf_putc(m->out, '"');
		break;
	}
	buf_putc(m->out, ':');
	return true;
}
