/*
 * A message of the forward protocol, read entry by entry, each decoded as an
 * event; and once more with every entry given back and taken again, from a copy
 * that has moved: both must agree.
 * Input: one byte (1: gzip the entries that follow, as one member), then the
 * message; or with 1, the entries.
 */
#include <zlib.h>

#include "base/buf.h"
#include "codec/forward.h"
#include "codec/frame.h"
#include "fuzz.h"
#include "oracle.h"

#define MAX	65536
#define STEPS	20000

struct sum {
	uint64_t	entries, skipped, events, hash;
	enum forward_next last;
};

static void
sum_bytes(struct sum *s, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		s->hash = (s->hash ^ p[i]) * UINT64_C(0x100000001b3);
}

static void
sum_event(struct sum *s, struct event_message *msg,
    const struct event_record *rec)
{
	const struct event_options opt = { .stamp_at = true };
	struct why why = { "" };

	uint8_t *copy = fuzz_copy(rec->map, rec->len);
	struct event_record mine = *rec;
	mine.map = copy;
	enum event_code code = event_decode_record(msg, &mine, &opt,
	    (struct wall){ INT64_C(1795435200123456) }, &why);
	FUZZ_CHECK(code == EVENT_OK || why.text[0] != '\0', "no reason");
	if (code == EVENT_OK) {
		FUZZ_CHECK(msg->events_n == 1 && msg->runid_len > 0,
		    "no event");
		s->events++;
		sum_bytes(s, msg->json.data, msg->json.len);
	}
	free(copy);
}

static struct sum
read_all(const uint8_t *msg, size_t len, bool twice)
{
	static struct event_message message;
	struct sum s = { .last = FORWARD_END };
	struct event_record rec;
	struct forward f;
	enum event_code code;
	struct why why = { "" };

	if (message.json.max == 0)
		event_message_init(&message);
	code = forward_open(&f, msg, len, MAX, &why);
	FUZZ_CHECK(code == EVENT_OK || why.text[0] != '\0', "no reason");
	while (code == EVENT_OK && f.mode != FORWARD_PING &&
	    s.entries + s.skipped < STEPS) {
		uint8_t *copy = fuzz_copy(msg, len);

		s.last = forward_next(&f, copy, &rec, &code, &why);
		if (s.last == FORWARD_ENTRY && twice) {
			forward_back(&f);
			s.last = forward_next(&f, copy, &rec, &code, &why);
			FUZZ_CHECK(s.last == FORWARD_ENTRY, "not again");
		}
		if (s.last == FORWARD_ENTRY) {
			s.entries++;
			sum_event(&s, &message, &rec);
		} else if (s.last == FORWARD_SKIP) {
			s.skipped++;
		}
		free(copy);
		FUZZ_CHECK((s.last == FORWARD_SKIP ||
		    s.last == FORWARD_LOST) == (code != EVENT_OK), "code");
		if (s.last == FORWARD_LOST || s.last == FORWARD_END)
			break;
		code = EVENT_OK;
	}
	forward_free(&f);
	return s;
}

/* ["t", gzip(p), {"compressed": "gzip"}] */
static void
pack_gzip(struct buf *b, const uint8_t *p, size_t n)
{
	z_stream z = { .next_in = (Bytef *)(uintptr_t)p,
	    .avail_in = (uInt)n };
	uint8_t out[2 * MAX];

	if (deflateInit2(&z, 1, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY) != Z_OK)
		abort();
	z.next_out = out;
	z.avail_out = sizeof out;
	if (deflate(&z, Z_FINISH) != Z_STREAM_END)
		abort();
	(void)deflateEnd(&z);
	size_t len = sizeof out - z.avail_out;
	buf_put(b, "\x93\xa1t\xc6", 4);
	buf_putc(b, (char)(len >> 24));
	buf_putc(b, (char)(len >> 16));
	buf_putc(b, (char)(len >> 8));
	buf_putc(b, (char)len);
	buf_put(b, out, len);
	buf_puts(b, "\x81\xaa" "compressed\xa4" "gzip");
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct frame frame;
	struct buf b;
	size_t got = 0;

	if (len < 2 || len > MAX)
		return 0;
	buf_init(&b, 0);
	if ((data[0] & 1) != 0)
		pack_gzip(&b, data + 1, len - 1);
	else
		buf_put(&b, data + 1, len - 1);
	frame_init(&frame, 4 * MAX);
	if (forward_is(b.data[0]) && frame_next(&frame, b.data, b.len,
	    &got) == FRAME_VALUE) {
		struct sum one = read_all(b.data, got, false);
		struct sum two = read_all(b.data, got, true);
		FUZZ_CHECK(memcmp(&one, &two, sizeof one) == 0, "they differ");
	}
	buf_free(&b);
	return 0;
}
