/*
 * up_check: one request held against the contract. What is wrong is written
 * as a sentence into req->violation; the first fault wins.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include <event2/buffer.h>
#include <event2/http.h>
#include <event2/http_struct.h>
#include <event2/keyvalq_struct.h>
#include <json-c/json.h>
#include <xxhash.h>
#include <zstd.h>

#include "support/up_check.h"

#define BODY_MAX	(256u << 20)
#define DEPTH_MAX	40

static const char *const route_paths[] = {
	"/v1/ingest/events", "/v1/ingest/changes", "/v1/ingest/policies",
};

const char *
up_route_name(enum up_route r)
{
	static const char *const names[] = { "events", "changes", "policies",
		"nowhere" };

	return names[r];
}

static void __attribute__((format(printf, 2, 3)))
violate(struct up_request *rq, const char *fmt, ...)
{
	va_list ap;

	if (rq->violation[0] != '\0')
		return;
	va_start(ap, fmt);
	(void)vsnprintf(rq->violation, sizeof rq->violation, fmt, ap);
	va_end(ap);
}

/* The one value of a header; a second one of its name is a violation. */
static const char *
header_one(struct up_request *rq, struct evhttp_request *ev, const char *name)
{
	struct evkeyvalq *q = evhttp_request_get_input_headers(ev);
	struct evkeyval *kv;
	const char *found = NULL;

	TAILQ_FOREACH (kv, q, next) {
		if (strcasecmp(kv->key, name) != 0)
			continue;
		if (found != NULL)
			violate(rq, "header %s twice", name);
		found = kv->value;
	}
	return found;
}

static void
check_key(struct up_request *rq, struct evhttp_request *ev)
{
	const char *v = header_one(rq, ev, "authorization");

	if (v == NULL || strncmp(v, "Bearer ", 7) != 0 || v[7] == '\0' ||
	    strpbrk(v + 7, " \t") != NULL) {
		violate(rq, "authorization is no bearer token");
		return;
	}
	(void)snprintf(rq->key, sizeof rq->key, "%s", v + 7);
}

static void
check_id(struct up_request *rq, struct evhttp_request *ev)
{
	const char *v = header_one(rq, ev, "idempotency-key");
	size_t n = v == NULL ? 0 : strlen(v);

	if (n < 3 || n > sizeof rq->id || v[0] != '"' || v[n - 1] != '"' ||
	    memchr(v + 1, '"', n - 2) != NULL) {
		violate(rq, "idempotency-key is no quoted string: %.100s",
		    v == NULL ? "(absent)" : v);
		return;
	}
	memcpy(rq->id, v + 1, n - 2);
	rq->id[n - 2] = '\0';
}

static void
check_run_headers(struct up_request *rq, struct evhttp_request *ev)
{
	static const char *const reasons[] = { "end", "idle", "age", "size",
		"pressure", "flush" };
	const char *part = header_one(rq, ev, "lumni-run-part");
	const char *reason = header_one(rq, ev, "lumni-run-reason");
	char *end;
	size_t i;

	if (rq->route != UP_EVENTS) {
		if (part != NULL || reason != NULL)
			violate(rq, "a record with a run's headers");
		return;
	}
	if (part != NULL)
		rq->part = strtol(part, &end, 10);
	if (part == NULL || *part < '1' || *part > '9' || *end != '\0')
		violate(rq, "Lumni-Run-Part is no positive number: %.40s",
		    part == NULL ? "(absent)" : part);
	for (i = 0; reason != NULL && i < 6; i++)
		if (strcmp(reason, reasons[i]) == 0)
			break;
	if (reason == NULL || i == 6)
		violate(rq, "Lumni-Run-Reason is no known one: %.40s",
		    reason == NULL ? "(absent)" : reason);
	else
		(void)snprintf(rq->reason, sizeof rq->reason, "%s", reason);
}

void
up_check_head(struct up_request *rq, struct evhttp_request *ev)
{
	const char *uri = evhttp_request_get_uri(ev);
	const char *v;

	rq->route = UP_EVENTS;
	while (rq->route < UP_NOWHERE &&
	    strcmp(uri, route_paths[rq->route]) != 0)
		rq->route++;
	if (rq->route == UP_NOWHERE)
		violate(rq, "unknown path %.100s", uri);
	if (evhttp_request_get_command(ev) != EVHTTP_REQ_POST)
		violate(rq, "the method is not POST");

	check_key(rq, ev);
	check_id(rq, ev);
	check_run_headers(rq, ev);
	v = header_one(rq, ev, "content-type");
	if (v == NULL || strcmp(v, "application/json") != 0)
		violate(rq, "content-type is %.60s", v == NULL ? "absent" : v);
	v = header_one(rq, ev, "content-encoding");
	if (v != NULL && strcmp(v, "zstd") == 0)
		rq->zstd = true;
	else if (v != NULL && strcmp(v, "identity") != 0)
		violate(rq, "content-encoding is %.60s", v);
	v = header_one(rq, ev, "user-agent");
	if (v == NULL || strncmp(v, "lumnid/", 7) != 0)
		violate(rq, "user-agent is %.60s", v == NULL ? "absent" : v);
	if (header_one(rq, ev, "host") == NULL)
		violate(rq, "no host header");
}

/* --- the body's coding --- */

static int
decode_zstd(struct up_request *rq)
{
	ZSTD_DCtx *dx = ZSTD_createDCtx();
	ZSTD_inBuffer in = { rq->raw, rq->raw_len, 0 };
	size_t cap = rq->raw_len * 8 + 1024, r = 1;
	ZSTD_outBuffer out = { malloc(cap), cap - 1, 0 };

	while (out.dst != NULL && r != 0 && out.size < BODY_MAX) {
		size_t before = out.pos;

		r = ZSTD_decompressStream(dx, &out, &in);
		if (ZSTD_isError(r)) {
			violate(rq, "zstd: %s", ZSTD_getErrorName(r));
			break;
		}
		if (out.pos == out.size) {
			cap *= 2;
			out.dst = realloc(out.dst, cap);
			out.size = cap - 1;
		} else if (r != 0 && in.pos == in.size && out.pos == before) {
			violate(rq, "the zstd frame is cut off");
			break;
		}
	}
	if (r == 0 && in.pos != in.size)
		violate(rq, "%zu bytes after the zstd frame",
		    in.size - in.pos);
	ZSTD_freeDCtx(dx);
	if (out.dst == NULL || r != 0) {
		free(out.dst);
		violate(rq, "the zstd body is too large");
		return -1;
	}
	rq->body = out.dst;
	rq->body_len = out.pos;
	rq->body[out.pos] = '\0';
	return 0;
}

static int
decode(struct up_request *rq)
{
	if (rq->zstd)
		return decode_zstd(rq);
	rq->body = malloc(rq->raw_len + 1);
	if (rq->body == NULL)
		return -1;
	if (rq->raw_len > 0)
		memcpy(rq->body, rq->raw, rq->raw_len);
	rq->body[rq->raw_len] = '\0';
	rq->body_len = rq->raw_len;
	return 0;
}

/* --- a scanner of JSON without white space between its tokens --- */

struct scan {
	const unsigned char	*p, *end;
};

/* Length of the valid UTF-8 sequence at p (Unicode 15, table 3-7), or 0. */
static size_t
scan_utf8(const unsigned char *p, const unsigned char *end)
{
	size_t n = *p < 0x80 ? 1 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : 4;
	unsigned char lo = 0x80, hi = 0xbf;
	size_t i;

	if (n == 1)
		return 1;
	if (*p < 0xc2 || *p > 0xf4 || (size_t)(end - p) < n)
		return 0;
	if (*p == 0xe0)
		lo = 0xa0;
	if (*p == 0xed)
		hi = 0x9f;
	if (*p == 0xf0)
		lo = 0x90;
	if (*p == 0xf4)
		hi = 0x8f;
	for (i = 1; i < n; i++, lo = 0x80, hi = 0xbf)
		if (p[i] < lo || p[i] > hi)
			return 0;
	return n;
}

static bool
scan_escape(struct scan *s)
{
	int i;

	if (++s->p == s->end)
		return false;
	if (*s->p != 'u')
		return strchr("\"\\/bfnrt", *s->p++) != NULL;
	for (i = 0, s->p++; i < 4; i++, s->p++)
		if (s->p == s->end || strchr("0123456789abcdefABCDEF",
		    *s->p) == NULL || *s->p == '\0')
			return false;
	return true;
}

static bool
scan_string(struct scan *s)
{
	size_t n;

	if (s->p == s->end || *s->p++ != '"')
		return false;
	while (s->p < s->end && *s->p != '"') {
		if (*s->p == '\\') {
			if (!scan_escape(s))
				return false;
			continue;
		}
		n = *s->p < 0x20 ? 0 : scan_utf8(s->p, s->end);
		if (n == 0)
			return false;
		s->p += n;
	}
	return s->p++ < s->end;
}

static bool
scan_digits(struct scan *s)
{
	const unsigned char *from = s->p;

	while (s->p < s->end && *s->p >= '0' && *s->p <= '9')
		s->p++;
	return s->p > from;
}

/* RFC 8259, section 6. */
static bool
scan_number(struct scan *s)
{
	if (s->p < s->end && *s->p == '-')
		s->p++;
	if (s->p < s->end && *s->p == '0')
		s->p++;
	else if (!scan_digits(s))
		return false;
	if (s->p < s->end && *s->p == '.') {
		s->p++;
		if (!scan_digits(s))
			return false;
	}
	if (s->p < s->end && (*s->p == 'e' || *s->p == 'E')) {
		s->p++;
		if (s->p < s->end && (*s->p == '+' || *s->p == '-'))
			s->p++;
		return scan_digits(s);
	}
	return true;
}

static bool
scan_word(struct scan *s, const char *word)
{
	size_t n = strlen(word);

	if ((size_t)(s->end - s->p) < n || memcmp(s->p, word, n) != 0)
		return false;
	s->p += n;
	return true;
}

static bool
scan_value(struct scan *s, int depth)
{
	bool object;

	if (s->p == s->end || depth > DEPTH_MAX)
		return false;
	if (*s->p == '"')
		return scan_string(s);
	if (*s->p != '{' && *s->p != '[')
		return scan_word(s, "true") || scan_word(s, "false") ||
		    scan_word(s, "null") || scan_number(s);
	object = *s->p++ == '{';
	if (s->p < s->end && *s->p == (object ? '}' : ']')) {
		s->p++;
		return true;
	}
	for (;;) {
		if (object && (!scan_string(s) || s->p == s->end ||
		    *s->p++ != ':'))
			return false;
		if (!scan_value(s, depth + 1) || s->p == s->end)
			return false;
		if (*s->p == ',') {
			s->p++;
			continue;
		}
		return *s->p++ == (object ? '}' : ']');
	}
}

static bool
add_span(struct up_request *rq, struct up_span span)
{
	if ((rq->events & (rq->events + 1)) == 0) {
		struct up_span *v = realloc(rq->spans,
		    (rq->events + 1) * 2 * sizeof *v);
		if (v == NULL)
			return false;
		rq->spans = v;
	}
	rq->spans[rq->events++] = span;
	return true;
}

/* {"runId":"...","events":[{...},{...}]} and not a byte else. */
static bool
scan_run(struct up_request *rq)
{
	const unsigned char *start = (const unsigned char *)rq->body;
	struct scan s = { start, start + rq->body_len };

	if (!scan_word(&s, "{\"runId\":") || !scan_string(&s) ||
	    !scan_word(&s, ",\"events\":["))
		return false;
	do {
		const unsigned char *at = s.p;

		if (at == s.end || *at != '{' || !scan_value(&s, 0))
			return false;
		if (!add_span(rq, (struct up_span){ (size_t)(at - start),
		    (size_t)(s.p - at) }))
			return false;
	} while (scan_word(&s, ","));
	return scan_word(&s, "]}") && s.p == s.end;
}

static bool
scan_record(struct up_request *rq)
{
	const unsigned char *start = (const unsigned char *)rq->body;
	struct scan s = { start, start + rq->body_len };

	rq->events = 1;
	return s.p < s.end && *s.p == '{' && scan_value(&s, 0) &&
	    s.p == s.end;
}

/* --- the same once more, as json-c reads it --- */

static void
check_tree(struct up_request *rq, struct json_object *top)
{
	struct json_object *id, *ev;
	size_t i, n;

	if (!json_object_is_type(top, json_type_object)) {
		violate(rq, "the body is no object");
		return;
	}
	if (rq->route != UP_EVENTS)
		return;
	if (json_object_object_length(top) != 2 ||
	    !json_object_object_get_ex(top, "runId", &id) ||
	    !json_object_is_type(id, json_type_string) ||
	    !json_object_object_get_ex(top, "events", &ev) ||
	    !json_object_is_type(ev, json_type_array)) {
		violate(rq, "the body is not runId and events");
		return;
	}
	n = (size_t)json_object_get_string_len(id);
	if (n < 1 || n > 256)
		violate(rq, "a runId of %zu bytes", n);
	n = json_object_array_length(ev);
	if (n != rq->events)
		violate(rq, "%zu events scanned, %zu parsed", rq->events, n);
	for (i = 0; i < n; i++)
		if (!json_object_is_type(json_object_array_get_idx(ev, i),
		    json_type_object))
			violate(rq, "event %zu is no object", i);
}

void
up_check_body(struct up_request *rq)
{
	struct json_tokener *tok;
	struct json_object *top;

	rq->hash = XXH3_64bits(rq->raw, rq->raw_len);
	if (decode(rq) < 0)
		return;
	rq->body_hash = XXH3_64bits(rq->body, rq->body_len);
	if (!(rq->route == UP_EVENTS ? scan_run(rq) : scan_record(rq)))
		violate(rq, "the body is not of the exact form: %.120s",
		    rq->body);
	if (rq->body_len > INT32_MAX - 1u)
		return;
	tok = json_tokener_new_ex(DEPTH_MAX + 8);
	json_tokener_set_flags(tok,
	    JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	top = json_tokener_parse_ex(tok, rq->body, (int)rq->body_len);
	if (json_tokener_get_error(tok) != json_tokener_success ||
	    json_tokener_get_parse_end(tok) != rq->body_len)
		violate(rq, "JSON: %s", json_tokener_error_desc(
		    json_tokener_get_error(tok)));
	else
		check_tree(rq, top);
	json_object_put(top);
	json_tokener_free(tok);
}

void
up_request_clear(struct up_request *rq)
{
	free(rq->body);
	free(rq->spans);
	rq->body = NULL;
	rq->spans = NULL;
}
