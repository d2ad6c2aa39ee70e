/* floor_json: msgpack-c's objects as JSON, straight on. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "bench/floor.h"

static void
put(struct text *t, const char *p, size_t n)
{
	memcpy(text_room(t, n), p, n);
	t->len += n;
}

static void
put_string(struct text *t, const char *s, size_t n)
{
	char *p = text_room(t, n * 6 + 2), *from = p;
	size_t i;

	*p++ = '"';
	for (i = 0; i < n; i++) {
		unsigned char c = (unsigned char)s[i];

		if (c >= ' ' && c != '"' && c != '\\')
			*p++ = s[i];
		else if (c == '"' || c == '\\')
			*p++ = '\\', *p++ = s[i];
		else if (c == '\n')
			*p++ = '\\', *p++ = 'n';
		else
			p += sprintf(p, "\\u%04x", c);
	}
	*p++ = '"';
	t->len += (size_t)(p - from);
}

static void
put_object(struct text *t, const msgpack_object *o)
{
	uint32_t i;

	switch (o->type) {
	case MSGPACK_OBJECT_BOOLEAN:
		put(t, o->via.boolean ? "true" : "false",
		    o->via.boolean ? 4 : 5);
		break;
	case MSGPACK_OBJECT_POSITIVE_INTEGER:
		t->len += (size_t)sprintf(text_room(t, 24), "%" PRIu64,
		    o->via.u64);
		break;
	case MSGPACK_OBJECT_NEGATIVE_INTEGER:
		t->len += (size_t)sprintf(text_room(t, 24), "%" PRId64,
		    o->via.i64);
		break;
	case MSGPACK_OBJECT_FLOAT32:
	case MSGPACK_OBJECT_FLOAT64:
		t->len += (size_t)sprintf(text_room(t, 32), "%.17g",
		    o->via.f64);
		break;
	case MSGPACK_OBJECT_STR:
		put_string(t, o->via.str.ptr, o->via.str.size);
		break;
	case MSGPACK_OBJECT_ARRAY:
		put(t, "[", 1);
		for (i = 0; i < o->via.array.size; i++) {
			if (i > 0)
				put(t, ",", 1);
			put_object(t, &o->via.array.ptr[i]);
		}
		put(t, "]", 1);
		break;
	case MSGPACK_OBJECT_MAP:
		put(t, "{", 1);
		for (i = 0; i < o->via.map.size; i++) {
			if (i > 0)
				put(t, ",", 1);
			put_object(t, &o->via.map.ptr[i].key);
			put(t, ":", 1);
			put_object(t, &o->via.map.ptr[i].val);
		}
		put(t, "}", 1);
		break;
	default:
		put(t, "null", 4);
	}
}

static int
is_str(const msgpack_object *o, const char *s, size_t n)
{
	return o->type == MSGPACK_OBJECT_STR && o->via.str.size == n &&
	    memcmp(o->via.str.ptr, s, n) == 0;
}

void
floor_json(struct text *t, const msgpack_object *event, const char *at,
    const msgpack_object **ret_runid, int *ret_end)
{
	uint32_t i;

	*ret_end = 0;
	put(t, "{", 1);
	for (i = 0; i < event->via.map.size; i++) {
		const msgpack_object_kv *kv = &event->via.map.ptr[i];

		if (is_str(&kv->key, "runId", 5)) {
			*ret_runid = &kv->val;
			continue;
		}
		if (is_str(&kv->key, "type", 4) &&
		    is_str(&kv->val, "run_end", 7))
			*ret_end = 1;
		put_object(t, &kv->key);
		put(t, ":", 1);
		put_object(t, &kv->val);
		put(t, ",", 1);
	}
	put(t, "\"at\":\"", 6);
	put(t, at, strlen(at));
	put(t, "\"}", 2);
}
