/* oracle: a second opinion on decoded messages. */
#include "oracle.h"

#include <inttypes.h>
#include <json.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A text that is built; tests may abort on want of memory. */
struct text {
	char	*p;
	size_t	 len;
};

static void
text_put(struct text *t, const void *src, size_t n)
{
	t->p = realloc(t->p, t->len + n + 1);
	if (t->p == NULL)
		abort();
	if (n > 0)
		memcpy(t->p + t->len, src, n);
	t->len += n;
	t->p[t->len] = '\0';
}

static bool
text_is(const struct text *t, const char *s, size_t n)
{
	return t->len == n && (n == 0 || memcmp(t->p, s, n) == 0);
}

/* --- UTF-8, the slow way ---------------------------------------------------*/

/* The length of the valid character at p, or 0. */
static size_t
utf8_valid(const unsigned char *p, size_t n)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t len;
	uint32_t cp;

	if (p[0] < 0x80)
		return 1;
	if ((p[0] & 0xe0) == 0xc0)
		len = 2, cp = p[0] & 0x1f;
	else if ((p[0] & 0xf0) == 0xe0)
		len = 3, cp = p[0] & 0x0f;
	else if ((p[0] & 0xf8) == 0xf0)
		len = 4, cp = p[0] & 0x07;
	else
		return 0;
	if (n < len)
		return 0;
	for (size_t i = 1; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		cp = cp << 6 | (p[i] & 0x3f);
	}
	if (cp < least[len] || cp > 0x10ffff || (cp >= 0xd800 && cp < 0xe000))
		return 0;
	return len;
}

/* Can p[0..n) begin some valid character? Tries what could follow. */
static bool
utf8_begins(const unsigned char *p, size_t n)
{
	static const unsigned char tries[] = { 0x80, 0x8f, 0x90, 0x9f, 0xa0,
		0xbf };
	unsigned char c[4] = { 0 };

	memcpy(c, p, n);
	for (size_t i = 0; i < 6 * 6 * 6; i++) {
		size_t k = i;
		for (size_t j = n; j < 4; j++, k /= 6)
			c[j] = tries[k % 6];
		if (utf8_valid(c, 4) > n)
			return true;
	}
	return false;
}

static struct text
utf8_replaced(const char *s, size_t len)
{
	const unsigned char *p = (const unsigned char *)s;
	struct text t = { 0 };

	text_put(&t, "", 0);
	while (len > 0) {
		size_t k = utf8_valid(p, len);
		if (k > 0) {
			text_put(&t, p, k);
		} else {
			text_put(&t, "\xef\xbf\xbd", 3);
			for (k = 1; k < 3 && k < len && utf8_begins(p, k + 1);)
				k++;
		}
		p += k;
		len -= k;
	}
	return t;
}

/* --- other conversions -----------------------------------------------------*/

static struct text
base64(const char *s, size_t n)
{
	static const char abc[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	    "abcdefghijklmnopqrstuvwxyz0123456789+/";
	const unsigned char *p = (const unsigned char *)s;
	struct text t = { 0 };

	text_put(&t, "", 0);
	for (size_t bit = 0; bit < n * 8; bit += 6) {
		unsigned v = 0;
		for (size_t i = bit; i < bit + 6; i++)
			v = v * 2 + (i < n * 8 && (p[i / 8] & 0x80 >> i % 8));
		text_put(&t, &abc[v], 1);
	}
	while (t.len % 4 != 0)
		text_put(&t, "=", 1);
	return t;
}

static uint64_t
big_endian(const char *p, size_t n)
{
	uint64_t v = 0;

	while (n-- > 0)
		v = v << 8 | (unsigned char)*p++;
	return v;
}

/* The RFC 3339 text of a time ext; empty when it is none. */
static struct text
time_text(const msgpack_object_ext *e)
{
	struct text t = { 0 };
	int64_t sec;
	uint64_t ns;
	char s[80];
	struct tm tm;

	text_put(&t, "", 0);
	if (e->type == 0 && e->size == 8) {
		sec = (int64_t)big_endian(e->ptr, 4);
		ns = big_endian(e->ptr + 4, 4);
	} else if (e->type == -1 && e->size == 4) {
		sec = (int64_t)big_endian(e->ptr, 4);
		ns = 0;
	} else if (e->type == -1 && e->size == 8) {
		sec = (int64_t)(big_endian(e->ptr, 8) % (1ull << 34));
		ns = big_endian(e->ptr, 8) >> 34;
	} else if (e->type == -1 && e->size == 12) {
		ns = big_endian(e->ptr, 4);
		sec = (int64_t)big_endian(e->ptr + 4, 8);
	} else {
		return t;
	}
	time_t tt = (time_t)sec;
	if (ns > 999999999 || gmtime_r(&tt, &tm) == NULL ||
	    tm.tm_year + 1900L < 0 || tm.tm_year + 1900L > 9999)
		return t;
	int n = snprintf(s, sizeof s, "%04d-%02d-%02dT%02d:%02d:%02d.%09dZ",
	    tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour,
	    tm.tm_min, tm.tm_sec, (int)ns);
	text_put(&t, s, (size_t)n);
	return t;
}

/* --- reading the JSON ------------------------------------------------------*/

/* The end of the JSON value at p: brackets and strings are matched. */
static const char *
json_end(const char *p, const char *end)
{
	int depth = 0;

	do {
		if (p >= end)
			return NULL;
		if (*p == '"') {
			for (p++; p < end && *p != '"'; p++)
				if (*p == '\\')
					p++;
			if (p >= end)
				return NULL;
			p++;
		} else if (*p == '{' || *p == '[') {
			depth++;
			p++;
		} else if (*p == '}' || *p == ']') {
			depth--;
			p++;
		} else if (*p == ',' || *p == ':') {
			p++;
		} else {
			while (p < end && strchr(",:]}", *p) == NULL)
				p++;
		}
	} while (depth > 0);
	return p;
}

/* What json-c makes of one whole text; NULL for null and for no JSON. */
static struct json_object *
json_read(const char *p, size_t n, bool *ret_ok)
{
	struct json_tokener *tok = json_tokener_new_ex(80);

	json_tokener_set_flags(tok,
	    JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	struct json_object *o = json_tokener_parse_ex(tok, p, (int)n);
	enum json_tokener_error e = json_tokener_get_error(tok);
	/* A bare number is only known to be over at an end. */
	if (e == json_tokener_continue) {
		o = json_tokener_parse_ex(tok, "", -1);
		e = json_tokener_get_error(tok);
		*ret_ok = e == json_tokener_success;
	} else {
		*ret_ok = e == json_tokener_success &&
		    json_tokener_get_parse_end(tok) == n;
	}
	json_tokener_free(tok);
	return o;
}

static bool
json_is_string(const char *p, size_t n, const char *want, size_t want_len)
{
	bool ok;

	if (n < 2 || *p != '"')
		return false;
	struct json_object *o = json_read(p, n, &ok);
	ok = ok && json_object_is_type(o, json_type_string) &&
	    (size_t)json_object_get_string_len(o) == want_len &&
	    memcmp(json_object_get_string(o), want, want_len) == 0;
	json_object_put(o);
	return ok;
}

static bool
json_is_text(const char *p, size_t n, struct text t)
{
	bool ok = json_is_string(p, n, t.p, t.len);

	free(t.p);
	return ok;
}

static bool
json_is_number(const char *p, size_t n, const msgpack_object *o)
{
	bool ok;

	struct json_object *v = json_read(p, n, &ok);
	if (o->type == MSGPACK_OBJECT_FLOAT32 ||
	    o->type == MSGPACK_OBJECT_FLOAT64) {
		double d = json_object_get_double(v);
		ok = ok && json_object_is_type(v, json_type_double) &&
		    d == o->via.f64 && signbit(d) == signbit(o->via.f64);
	} else {
		char s[32];
		int len = o->type == MSGPACK_OBJECT_NEGATIVE_INTEGER ?
		    snprintf(s, sizeof s, "%" PRId64, o->via.i64) :
		    snprintf(s, sizeof s, "%" PRIu64, o->via.u64);
		ok = ok && json_object_is_type(v, json_type_int) &&
		    (o->type == MSGPACK_OBJECT_NEGATIVE_INTEGER ?
		    json_object_get_int64(v) == o->via.i64 :
		    json_object_get_uint64(v) == o->via.u64) &&
		    n == (size_t)len && memcmp(p, s, n) == 0;
	}
	json_object_put(v);
	return ok;
}

/* --- comparing -------------------------------------------------------------*/

static bool same(const char *, size_t, const msgpack_object *);

/* An ext that is no time: {"ext":n,"data":"..."} to the letter. */
static bool
same_ext(const char *p, size_t n, const msgpack_object_ext *e)
{
	struct text t = { 0 }, data = base64(e->ptr, e->size);
	char s[40];

	text_put(&t, s, (size_t)snprintf(s, sizeof s, "{\"ext\":%d,\"data\":\"",
	    e->type));
	text_put(&t, data.p, data.len);
	text_put(&t, "\"}", 2);
	bool ok = text_is(&t, p, n);
	free(t.p);
	free(data.p);
	return ok;
}

/* A key p[0..n), with its quotes, against the object it was made from. */
static bool
same_key(const char *p, size_t n, const msgpack_object *o)
{
	bool ok;

	if (o->type == MSGPACK_OBJECT_STR || o->type == MSGPACK_OBJECT_BIN)
		return same(p, n, o);
	if (o->type == MSGPACK_OBJECT_EXT) {
		struct text t = time_text(&o->via.ext);
		bool is_time = t.len > 0;
		free(t.p);
		if (is_time)
			return same(p, n, o);
	}
	if (n < 2 || *p != '"')
		return false;
	struct json_object *v = json_read(p, n, &ok);
	ok = ok && json_object_is_type(v, json_type_string) &&
	    same(json_object_get_string(v),
	    (size_t)json_object_get_string_len(v), o);
	json_object_put(v);
	return ok;
}

/* The pairs between braces. An `at` of ours may come last. */
static bool
same_pairs(const char *p, const char *end, const msgpack_object_map *m,
    const char *leave_out, const char *at)
{
	bool first = true;

	if (p >= end || *p++ != '{')
		return false;
	for (uint32_t i = 0; i < m->size; i++) {
		const msgpack_object *k = &m->ptr[i].key;
		if (leave_out != NULL && k->type == MSGPACK_OBJECT_STR &&
		    k->via.str.size == strlen(leave_out) &&
		    memcmp(k->via.str.ptr, leave_out, k->via.str.size) == 0)
			continue;
		if (!first && (p >= end || *p++ != ','))
			return false;
		first = false;
		const char *q = json_end(p, end);
		if (q == NULL || !same_key(p, (size_t)(q - p), k) ||
		    q >= end || *q != ':')
			return false;
		p = q + 1;
		q = json_end(p, end);
		if (q == NULL || !same(p, (size_t)(q - p), &m->ptr[i].val))
			return false;
		p = q;
	}
	if (at != NULL) {
		char s[80];
		size_t n = (size_t)snprintf(s, sizeof s, "%s\"at\":\"%s\"",
		    first ? "" : ",", at);
		if ((size_t)(end - p) < n || memcmp(p, s, n) != 0)
			return false;
		p += n;
	}
	return p + 1 == end && *p == '}';
}

static bool
same_array(const char *p, const char *end, const msgpack_object_array *a)
{
	if (p >= end || *p++ != '[')
		return false;
	for (uint32_t i = 0; i < a->size; i++) {
		if (i > 0 && (p >= end || *p++ != ','))
			return false;
		const char *q = json_end(p, end);
		if (q == NULL || !same(p, (size_t)(q - p), &a->ptr[i]))
			return false;
		p = q;
	}
	return p + 1 == end && *p == ']';
}

static bool
same_word(const char *p, size_t n, const char *word)
{
	return n == strlen(word) && memcmp(p, word, n) == 0;
}

static bool
same(const char *p, size_t n, const msgpack_object *o)
{
	struct text t;

	switch (o->type) {
	case MSGPACK_OBJECT_NIL:
		return same_word(p, n, "null");
	case MSGPACK_OBJECT_BOOLEAN:
		return same_word(p, n, o->via.boolean ? "true" : "false");
	case MSGPACK_OBJECT_FLOAT32:
	case MSGPACK_OBJECT_FLOAT64:
		if (!isfinite(o->via.f64))
			return same_word(p, n, "null");
		/* fallthrough */
	case MSGPACK_OBJECT_POSITIVE_INTEGER:
	case MSGPACK_OBJECT_NEGATIVE_INTEGER:
		return json_is_number(p, n, o);
	case MSGPACK_OBJECT_STR:
		return json_is_text(p, n, utf8_replaced(o->via.str.ptr,
		    o->via.str.size));
	case MSGPACK_OBJECT_BIN:
		return json_is_text(p, n, base64(o->via.bin.ptr,
		    o->via.bin.size));
	case MSGPACK_OBJECT_EXT:
		t = time_text(&o->via.ext);
		if (t.len > 0)
			return json_is_text(p, n, t);
		free(t.p);
		return same_ext(p, n, &o->via.ext);
	case MSGPACK_OBJECT_ARRAY:
		return same_array(p, p + n, &o->via.array);
	case MSGPACK_OBJECT_MAP:
		return same_pairs(p, p + n, &o->via.map, NULL, NULL);
	}
	return false;
}

/* Does json-c take it whole, and is it one line without NUL? */
static bool
json_is_clean_line(const char *p, size_t n)
{
	bool ok;

	for (size_t i = 0; i < n; i++)
		if ((unsigned char)p[i] < 0x20)
			return false;
	struct json_object *o = json_read(p, n, &ok);
	json_object_put(o);
	return ok;
}

const char *
oracle_compare(const char *json, size_t len, const msgpack_object *o)
{
	if (!json_is_clean_line(json, len))
		return "json-c refuses the JSON";
	return same(json, len, o) ? NULL : "the JSON is another value";
}

/* --- the rules of messages -------------------------------------------------*/

static bool
is_key(const msgpack_object *k, const char *name)
{
	return k->type == MSGPACK_OBJECT_STR &&
	    k->via.str.size == strlen(name) &&
	    memcmp(k->via.str.ptr, name, k->via.str.size) == 0;
}

/* How often the key is there; its last value. */
static unsigned
find(const msgpack_object_map *m, const char *name, const msgpack_object **ret)
{
	unsigned n = 0;

	for (uint32_t i = 0; i < m->size; i++) {
		if (is_key(&m->ptr[i].key, name)) {
			*ret = &m->ptr[i].val;
			n++;
		}
	}
	return n;
}

static bool
is_container(const msgpack_object *o)
{
	return o->type == MSGPACK_OBJECT_MAP || o->type == MSGPACK_OBJECT_ARRAY;
}

/* Is it no deeper than 32, and no container a key within a key? */
static bool
is_shallow(const msgpack_object *o, int level, bool in_key)
{
	if (is_container(o) && level > 32)
		return false;
	if (o->type == MSGPACK_OBJECT_ARRAY) {
		for (uint32_t i = 0; i < o->via.array.size; i++)
			if (!is_shallow(&o->via.array.ptr[i], level + 1,
			    in_key))
				return false;
	} else if (o->type == MSGPACK_OBJECT_MAP) {
		for (uint32_t i = 0; i < o->via.map.size; i++) {
			const msgpack_object_kv *kv = &o->via.map.ptr[i];
			if (is_container(&kv->key) && (in_key ||
			    !is_shallow(&kv->key, level + 1, true)))
				return false;
			if (!is_shallow(&kv->val, level + 1, in_key))
				return false;
		}
	}
	return true;
}

/* The run id as text; false when it is none. */
static bool
runid_of(const msgpack_object *o, char dst[300])
{
	if (o->type == MSGPACK_OBJECT_POSITIVE_INTEGER) {
		(void)snprintf(dst, 300, "%" PRIu64, o->via.u64);
		return true;
	}
	if (o->type == MSGPACK_OBJECT_NEGATIVE_INTEGER) {
		(void)snprintf(dst, 300, "%" PRId64, o->via.i64);
		return true;
	}
	if (o->type != MSGPACK_OBJECT_STR || o->via.str.size == 0 ||
	    o->via.str.size > 256)
		return false;
	const unsigned char *p = (const unsigned char *)o->via.str.ptr;
	for (size_t i = 0, n = o->via.str.size; i < n;) {
		size_t k = utf8_valid(p + i, n - i);
		if (k == 0 || p[i] < 0x20 || p[i] == 0x7f ||
		    (p[i] == 0xc2 && p[i + 1] < 0xa0))
			return false;
		i += k;
	}
	memcpy(dst, p, o->via.str.size);
	dst[o->via.str.size] = '\0';
	return true;
}

static bool
ack_is_good(const msgpack_object *o)
{
	return o->type == MSGPACK_OBJECT_POSITIVE_INTEGER ||
	    o->type == MSGPACK_OBJECT_NEGATIVE_INTEGER ||
	    (o->type == MSGPACK_OBJECT_STR && o->via.str.size <= 64) ||
	    (o->type == MSGPACK_OBJECT_BIN && o->via.bin.size <= 64);
}

/* Is the kept ack this object? msgpack-c reads it back. */
static bool
ack_is(const struct event_ack *ack, const msgpack_object *o)
{
	msgpack_unpacked un;
	size_t off = 0;

	msgpack_unpacked_init(&un);
	bool ok = msgpack_unpack_next(&un, (const char *)ack->raw, ack->len,
	    &off) == MSGPACK_UNPACK_SUCCESS && off == ack->len &&
	    msgpack_object_equal(un.data, *o);
	msgpack_unpacked_destroy(&un);
	return ok;
}

static bool
keys_are_among(const msgpack_object_map *m, const char *const *names)
{
	for (uint32_t i = 0; i < m->size; i++) {
		const char *const *n = names;
		while (*n != NULL && !is_key(&m->ptr[i].key, *n))
			n++;
		if (*n == NULL)
			return false;
	}
	return true;
}

struct verdict {
	bool			 accept;
	enum event_kind		 kind;
	const msgpack_object	*ack;	/* that an answer must name */
	char			 runid[300];
	bool			 end;
	const msgpack_object	*events;	/* the first one */
	uint32_t		 events_n;
	const char		*leave_out;
};

static void
judge_envelope(const msgpack_object_map *m, struct verdict *v)
{
	static const char *const names[] = { "runId", "traceId", "events",
		"end", "ack", NULL };
	const msgpack_object *o, *run = NULL, *events = NULL;

	for (int i = 0; names[i] != NULL; i++)
		if (find(m, names[i], &o) > 1)
			return;
	if (!keys_are_among(m, names))
		return;
	if (find(m, "runId", &run) == 0 && find(m, "traceId", &run) == 0)
		return;
	if (!runid_of(run, v->runid))
		return;
	if (find(m, "traceId", &o) > 0 && is_container(o))
		return;
	if (find(m, "end", &o) > 0) {
		if (o->type != MSGPACK_OBJECT_BOOLEAN)
			return;
		v->end = o->via.boolean;
	}
	(void)find(m, "events", &events); /* it is there, or we were not */
	if (events->type != MSGPACK_OBJECT_ARRAY)
		return;
	v->events = events->via.array.ptr;
	v->events_n = events->via.array.size;
	for (uint32_t i = 0; i < v->events_n; i++)
		if (v->events[i].type != MSGPACK_OBJECT_MAP ||
		    !is_shallow(&v->events[i], 1, false))
			return;
	v->accept = find(m, "ack", &o) == 0 || ack_is_good(o);
}

static void
judge_record(const msgpack_object_map *m, struct verdict *v)
{
	static const char *const names[] = { "change", "policy", "ack", NULL };
	const msgpack_object *o = NULL, *rec = NULL;

	unsigned changes = find(m, "change", &rec);
	unsigned policies = find(m, "policy", &rec);
	if (changes + policies != 1 || find(m, "ack", &o) > 1 ||
	    !keys_are_among(m, names) || (o != NULL && !ack_is_good(o)))
		return;
	v->kind = changes > 0 ? EVENT_KIND_CHANGE : EVENT_KIND_POLICY;
	v->events = rec;
	v->events_n = 1;
	v->accept = rec->type == MSGPACK_OBJECT_MAP &&
	    is_shallow(rec, 1, false);
}

static void
judge_flat(const msgpack_object *root, struct verdict *v)
{
	const msgpack_object_map *m = &root->via.map;
	const msgpack_object *run = NULL;

	unsigned n = find(m, "runId", &run);
	if (n == 0)
		n = find(m, "traceId", &run);
	if (n > 1 || !runid_of(run, v->runid))
		return;
	v->leave_out = "runId";
	v->events = root;
	v->events_n = 1;
	/* The run id's own value is not part of the event. */
	v->accept = is_shallow(root, 1, false);
}

static void
judge(const msgpack_object *root, struct verdict *v)
{
	const msgpack_object *o, *ack = NULL;

	*v = (struct verdict){ .kind = EVENT_KIND_EVENTS };
	if (root->type != MSGPACK_OBJECT_MAP)
		return;
	const msgpack_object_map *m = &root->via.map;
	bool envelope = find(m, "events", &o) > 0;
	bool run = find(m, "runId", &o) + find(m, "traceId", &o) > 0;
	bool record = find(m, "change", &o) + find(m, "policy", &o) > 0;
	if (find(m, "ack", &ack) == 1 && ack_is_good(ack) &&
	    (envelope || !run))
		v->ack = ack;
	if (envelope)
		judge_envelope(m, v);
	else if (run)
		judge_flat(root, v);
	else if (record)
		judge_record(m, v);
}

static bool
is_end(const msgpack_object_map *m, const struct event_options *opt)
{
	const msgpack_object *o = NULL;

	if (find(m, "type", &o) == 0)
		return false;
	for (size_t i = 0; i < opt->end_types_n; i++)
		if (is_key(o, opt->end_types[i]))
			return true;
	return false;
}

static const char *
judge_events(const struct verdict *v, const struct event_options *opt,
    const char *at, const struct event_message *msg)
{
	const msgpack_object *o;
	size_t off = 0;

	if (msg->kind != v->kind)
		return "another kind";
	if (v->kind == EVENT_KIND_EVENTS &&
	    (strcmp(msg->runid, v->runid) != 0 ||
	    msg->runid_len != strlen(v->runid)))
		return "another run id";
	if (msg->end != v->end)
		return "another end";
	if (msg->events_n != v->events_n)
		return "another number of events";
	for (uint32_t i = 0; i < v->events_n; i++) {
		const struct event_span *ev = &msg->events[i];
		const msgpack_object_map *m = &v->events[i].via.map;
		const char *p = (const char *)msg->json.data + ev->off;
		bool stamp = opt->stamp_at && find(m, "at", &o) == 0;
		if (ev->off != off || ev->len > msg->json.len - off)
			return "an event lies elsewhere";
		off += ev->len;
		if (!json_is_clean_line(p, ev->len))
			return "json-c refuses an event";
		if (!same_pairs(p, p + ev->len, m, v->leave_out,
		    stamp ? at : NULL))
			return "an event is another value";
		if (ev->is_end !=
		    (v->kind == EVENT_KIND_EVENTS && is_end(m, opt)))
			return "another is_end";
	}
	return off == msg->json.len ? NULL : "bytes after the events";
}

const char *
oracle_judge(const uint8_t *p, size_t len, const struct event_options *opt,
    const char *at, enum event_code code, const struct event_message *msg)
{
	const char *wrong = NULL;
	msgpack_unpacked un;
	struct verdict v;
	size_t off = 0;

	msgpack_unpacked_init(&un);
	msgpack_unpack_return r = msgpack_unpack_next(&un, (const char *)p,
	    len, &off);
	if (r != MSGPACK_UNPACK_SUCCESS || off != len) {
		/* msgpack-c's stack ends at 32, ours is for envelopes of 34. */
		if (code == EVENT_OK && r != MSGPACK_UNPACK_NOMEM_ERROR)
			wrong = "accepted what msgpack-c refuses";
		msgpack_unpacked_destroy(&un);
		return wrong;
	}
	judge(&un.data, &v);
	if (v.accept != (code == EVENT_OK))
		wrong = v.accept ? "refused a good message" :
		    "accepted a bad message";
	else if (v.accept)
		wrong = judge_events(&v, opt, at, msg);
	if (wrong == NULL && v.ack != NULL && !ack_is(&msg->ack, v.ack))
		wrong = "another ack";
	if (wrong == NULL && v.accept && v.ack == NULL && msg->ack.len != 0)
		wrong = "an ack from nowhere";
	msgpack_unpacked_destroy(&un);
	return wrong;
}
