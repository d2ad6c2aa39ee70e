/*
 * A stream of messages, cut at will: each value that frame finds is decoded,
 * and the oracle (msgpack-c, json-c) judges what came of it.
 * Input: one byte of options and cuts, then the stream.
 */
#include "codec/event.h"
#include "codec/frame.h"
#include "fuzz.h"
#include "oracle.h"

#define MAX	65536

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static char type_run_end[] = "run_end", type_x[] = "x";
	static char *types[] = { type_run_end, type_x };
	static struct event_message msg;
	struct event_options opt = { .end_types = types, .end_types_n = 2 };
	const struct wall wall = { INT64_C(1795435200123456) };
	struct frame f;
	size_t got = 0;

	if (len == 0)
		return 0;
	opt.stamp_at = data[0] & 1;
	size_t step = 1 + (data[0] >> 1);
	data++;
	len--;
	if (msg.json.max == 0)
		event_message_init(&msg);
	frame_init(&f, MAX);
	for (size_t have = 0; len > 0;) {
		enum frame_result r = frame_next(&f, data, have, &got);
		if (r == FRAME_MORE) {
			FUZZ_CHECK(have < MAX, "waits with a full buffer");
			if (have == len)
				break;
			have = have + step < len ? have + step : len;
			have = have < MAX ? have : MAX;
			continue;
		}
		if (r != FRAME_VALUE)
			break;
		struct why why = { "" };
		uint8_t *copy = fuzz_copy(data, got);
		enum event_code code = event_decode(&msg, copy, got, &opt,
		    wall, &why);
		FUZZ_CHECK(code == EVENT_OK || why.text[0] != '\0',
		    "no reason for %s", event_code_name(code));
		const char *wrong = oracle_judge(copy, got, &opt,
		    "2026-11-23T12:00:00.123Z", code, &msg);
		FUZZ_CHECK(wrong == NULL, "%s: %s (%s)", event_code_name(code),
		    wrong, why.text);
		free(copy);
		data += got;
		len -= got;
		have -= got;
	}
	/* What no frame would pass on must be refused as well. */
	uint8_t *rest = fuzz_copy(data, len < MAX ? len : MAX);
	(void)!event_decode(&msg, rest, len < MAX ? len : MAX, &opt, wall,
	    NULL);
	free(rest);
	return 0;
}
