/*
 * Where does a value end? The answer must not depend on how the bytes arrive,
 * and msgpack-c must give the same one.
 * Input: two bytes of cuts and limit, then the value.
 */
#include <msgpack.h>

#include "codec/frame.h"
#include "fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct frame whole, cut;
	size_t got = 0, cut_got = 0, off = 0;
	enum frame_result r;

	if (len < 2)
		return 0;
	size_t step = 1 + data[0] % 17;
	size_t max = data[1] < 128 ? 65536 : (size_t)data[1] - 127;
	data += 2;
	len -= 2;
	if (len > max)
		len = max;
	frame_init(&whole, max);
	enum frame_result want = frame_next(&whole, data, len, &got);
	FUZZ_CHECK(want != FRAME_MORE || len < max, "waits with a full buffer");
	frame_init(&cut, max);
	for (size_t have = 0;; have = have + step < len ? have + step : len) {
		uint8_t *copy = fuzz_copy(data, have);
		r = frame_next(&cut, copy, have, &cut_got);
		free(copy);
		if (r != FRAME_MORE || have == len)
			break;
	}
	FUZZ_CHECK(r == want && cut_got == got, "%s whole, %s in pieces",
	    frame_strerror(want), frame_strerror(r));

	/* What msgpack-c would take memory for is bounded by the limit. */
	if (want == FRAME_TOO_LARGE)
		return 0;
	/* It refuses an ext of 4 GiB - 1 before the head is whole, as we after. */
	if (len >= 5 && memcmp(data + len - 5, "\xc9\xff\xff\xff\xff", 5) == 0)
		return 0;
	msgpack_unpacked un;
	msgpack_unpacked_init(&un);
	msgpack_unpack_return m = msgpack_unpack_next(&un, (const char *)data,
	    len, &off);
	/* Its stack ends at 32. */
	if (m != MSGPACK_UNPACK_NOMEM_ERROR) {
		FUZZ_CHECK(want != FRAME_TOO_DEEP, "not so deep");
		FUZZ_CHECK((want == FRAME_VALUE) ==
		    (m == MSGPACK_UNPACK_SUCCESS), "msgpack-c: %d", (int)m);
		FUZZ_CHECK(want != FRAME_VALUE || off == got, "%zu, not %zu",
		    got, off);
		FUZZ_CHECK((want == FRAME_BAD) ==
		    (m == MSGPACK_UNPACK_PARSE_ERROR), "msgpack-c: %d",
		    (int)m);
	}
	msgpack_unpacked_destroy(&un);
	return 0;
}
