/*
 * A body of HTTP: decoded, parsed, packed as a message, and that decoded as
 * an event; the oracle judges what came of it.
 * Input: one byte, the coding (0 identity, 1 gzip, 2 zstd), then the body.
 */
#include "codec/event.h"
#include "codec/jsonin.h"
#include "codec/unzip.h"
#include "fuzz.h"
#include "oracle.h"

#define MAX	65536

static void
fuzz_message(struct json_object *o)
{
	static struct event_message msg;
	const struct event_options opt = { .stamp_at = true };
	const struct wall wall = { INT64_C(1795435200123456) };
	struct why why = { "" };
	struct buf b;

	if (msg.json.max == 0)
		event_message_init(&msg);
	buf_init(&b, 0);
	jsonin_pack(&b, o);
	enum event_code code = event_decode(&msg, b.data, b.len, &opt, wall,
	    &why);
	const char *wrong = oracle_judge(b.data, b.len, &opt,
	    "2026-11-23T12:00:00.123Z", code, &msg);
	FUZZ_CHECK(wrong == NULL, "%s: %s (%s)", event_code_name(code), wrong,
	    why.text);
	FUZZ_CHECK(code != EVENT_NOT_MSGPACK, "what we packed is no msgpack");
	buf_free(&b);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct json_tokener *tok;
	struct json_object *o = NULL;
	struct why why = { "" };
	struct buf body;
	size_t at = 0;

	if (len == 0)
		return 0;
	if (tok == NULL && (tok = json_tokener_new_ex(JSONIN_DEPTH)) == NULL)
		abort();
	buf_init(&body, MAX);
	uint8_t *copy = fuzz_copy(data + 1, len - 1);
	int r = unzip_body((enum unzip_coding)(data[0] % 3), copy, len - 1,
	    &body, &why);
	FUZZ_CHECK(body.len <= MAX, "over the limit");
	FUZZ_CHECK(r == 0 || why.text[0] != '\0', "no reason");
	free(copy);
	if (r == 0) {
		copy = fuzz_copy(body.data, body.len);
		if (jsonin_parse(tok, (const char *)copy, body.len, &o, &at,
		    &why) == 0) {
			if (json_object_is_type(o, json_type_object))
				fuzz_message(o);
			json_object_put(o);
		} else {
			FUZZ_CHECK(at <= body.len, "a place beyond the end");
		}
		free(copy);
	}
	buf_free(&body);
	return 0;
}
