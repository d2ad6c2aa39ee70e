/*
 * What the control socket makes to be taken apart: the lines and bytes of its
 * answers come out the same however they are cut, and a member that is found
 * in a line lies within it and is what json-c finds where the line is JSON.
 * Input: one byte of cuts, then the answer.
 */
#include <json-c/json.h>

#include "base/buf.h"
#include "codec/jsonfind.h"
#include "ctl/ctl_frames.h"
#include "fuzz.h"

/* json-c takes what JSON is not, unless it is told to be strict. */
static struct json_object *
control_parse(const char *line, size_t n)
{
	struct json_tokener *tok = json_tokener_new();
	struct json_object *o;

	json_tokener_set_flags(tok, JSON_TOKENER_STRICT);
	o = json_tokener_parse_ex(tok, line, (int)n);
	if (json_tokener_get_error(tok) != json_tokener_success ||
	    json_tokener_get_parse_end(tok) != n) {
		json_object_put(o);
		o = NULL;
	}
	json_tokener_free(tok);
	return o;
}

static void
control_check_find(const char *line, size_t n)
{
	struct json_object *o, *v = NULL;
	const char *at = line;
	size_t got = 0;
	bool found = jsonfind(line, n, "type", &at, &got);

	FUZZ_CHECK(!found || (at >= line && got > 0 &&
	    got <= (size_t)(line + n - at)), "found outside of the line");
	/* Keys with escapes and keys that come twice are read otherwise. */
	if (memchr(line, '\\', n) != NULL || memchr(line, '\0', n) != NULL ||
	    (o = control_parse(line, n)) == NULL)
		return;
	bool has = json_object_is_type(o, json_type_object) &&
	    json_object_object_get_ex(o, "type", &v);
	FUZZ_CHECK(found == has, "jsonfind %d, json-c %d: %.*s", found, has,
	    (int)n, line);
	json_object_put(o);
}

static int64_t
control_line(void *arg, const char *line, size_t n)
{
	struct buf *b = arg;
	FUZZ_CHECK(n > 0, "an empty line");
	uint8_t *copy = fuzz_copy((const uint8_t *)line, n);
	control_check_find((const char *)copy, n);
	free(copy);
	buf_putc(b, '<');
	buf_put(b, line, n);
	return (unsigned char)line[0] < 'A' ? (int64_t)n * 3 : 0;
}

static int
control_bytes(void *arg, const void *data, size_t n)
{
	buf_put(arg, data, n);
	return 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct ctl_frames whole, cut;
	struct buf a, b;

	if (len < 1)
		return 0;
	size_t step = 1 + data[0] % 29;
	data++;
	len--;
	buf_init(&a, 0);
	buf_init(&b, 0);
	ctl_frames_init(&whole, control_line, control_bytes, &a);
	ctl_frames_init(&cut, control_line, control_bytes, &b);
	FUZZ_CHECK(ctl_frames_feed(&whole, (const char *)data, len) == 0,
	    "it ended");
	for (size_t at = 0; at < len; at += step) {
		size_t n = step < len - at ? step : len - at;
		uint8_t *copy = fuzz_copy(data + at, n);
		FUZZ_CHECK(ctl_frames_feed(&cut, (char *)copy, n) == 0,
		    "it ended");
		free(copy);
	}
	FUZZ_CHECK(a.len == b.len && (a.len == 0 ||
	    memcmp(a.data, b.data, a.len) == 0), "cut, it is another");
	ctl_frames_free(&whole);
	ctl_frames_free(&cut);
	buf_free(&a);
	buf_free(&b);
	return 0;
}
