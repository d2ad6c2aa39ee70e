/*
 * Bodies: unpacking what is no frame, walking what is no body, and a round
 * trip. Input: one byte that says which, then the bytes.
 */
#include <errno.h>
#include <json.h>

#include "codec/batch.h"
#include "fuzz.h"

#define MAX	(1 << 20)

struct walk {
	const char	*p, *end;
	struct batch	*batch;
};

static int
walk_event(void *arg, size_t i, const char *json, size_t len)
{
	struct walk *w = arg;

	FUZZ_CHECK(json >= w->p && json + len <= w->end && len >= 2 &&
	    json[0] == '{', "event %zu lies outside", i);
	w->p = json + len;
	return 0;
}

static void
walk_body(const uint8_t *p, size_t len)
{
	struct walk w = { .p = (const char *)p, .end = (const char *)p + len };

	int n = batch_walk((const char *)p, len, walk_event, &w);
	FUZZ_CHECK(n >= 0 || n == -EBADMSG, "walk: %d", n);
	/* A good JSON text that is a body of ours has as many events. */
	struct json_tokener *tok = json_tokener_new_ex(100);
	struct json_object *o = json_tokener_parse_ex(tok, (const char *)p,
	    (int)len), *events;
	if (n >= 0 && o != NULL && json_tokener_get_parse_end(tok) == len &&
	    json_object_object_get_ex(o, "events", &events))
		FUZZ_CHECK(json_object_array_length(events) == (size_t)n,
		    "%d events", n);
	json_object_put(o);
	json_tokener_free(tok);
}

/* Pieces of an event, cut where the bytes say. */
static void
round_trip(const uint8_t *p, size_t len)
{
	static struct batch *bt;
	const uint8_t *body;
	size_t body_len, raw;
	struct buf got;

	if (len < 4)
		return;
	if (bt == NULL)
		bt = batch_new();
	size_t runid_len = p[0] < len - 4 ? p[0] : len - 4;
	size_t repeat = 1 + p[1] * 7u, cut = p[2];
	int level = 1 + p[3] % 3;
	const char *runid = (const char *)p + 4;
	p += 4 + runid_len;
	len -= 4 + runid_len;
	cut = cut < len ? cut : len;
	FUZZ_CHECK(batch_begin(bt, runid, runid_len, repeat, repeat * len,
	    level, NULL) == 0, "begin");
	for (size_t i = 0; i < repeat; i++)
		FUZZ_CHECK(batch_event_begin(bt) == 0 &&
		    batch_event_piece(bt, p, cut, NULL) == 0 &&
		    batch_event_piece(bt, p + cut, len - cut, NULL) == 0,
		    "event %zu", i);
	FUZZ_CHECK(batch_end(bt, &body, &body_len, &raw, NULL) == 0, "end");
	buf_init(&got, raw);
	FUZZ_CHECK(batch_unpack(body, body_len, &got, NULL) == 0 &&
	    got.len == raw, "unpack");
	FUZZ_CHECK(memcmp(got.data + raw - 2, "]}", 2) == 0 && (len == 0 ||
	    memcmp(got.data + raw - 2 - len, p, len) == 0), "another body");
	buf_free(&got);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct buf dst;

	if (len == 0)
		return 0;
	switch (data[0] % 3) {
	case 0:
		buf_init(&dst, MAX);
		if (batch_unpack(data + 1, len - 1, &dst, NULL) == 0)
			walk_body(dst.data, dst.len);
		FUZZ_CHECK(dst.len <= MAX, "over the limit");
		buf_free(&dst);
		break;
	case 1:
		walk_body(data + 1, len - 1);
		break;
	default:
		round_trip(data + 1, len - 1);
		break;
	}
	return 0;
}
