/* batch: bodies small and large come back as they were; memory stays small. */
#include <errno.h>
#include <json.h>
#include <stdio.h>
#include <string.h>
#include <zstd.h>

#include "base/rand.h"
#include "codec/batch.h"
#include "unit.h"

static struct rng rng;

/* An event of about n bytes, with what could mislead batch_walk(). */
static void
make_event(struct buf *b, size_t n)
{
	static const char *const bits[] = { "text ", "\\\"", "}", "]}", "{",
		",", "\\\\", "[" };

	buf_puts(b, "{\"a\":[1,{\"b\":{}}],\"t\":\"");
	for (size_t i = 0; i < n; i += 5)
		buf_puts(b, rng_below(&rng, 3) == 0 ?
		    bits[rng_below(&rng, NELEM(bits))] : bits[0]);
	buf_puts(b, "\"}");
}

struct walk {
	const struct buf *events;	/* expected, one after the other */
	size_t		  off;
	size_t		  n;
};

static int
walk_event(void *arg, size_t i, const char *json, size_t len)
{
	struct walk *w = arg;

	ck_assert_uint_eq(i, w->n);
	ck_assert_uint_le(w->off + len, w->events->len);
	ck_assert_mem_eq(json, w->events->data + w->off, len);
	w->off += len;
	w->n++;
	return 0;
}

/* Build a body of n events and take it apart again. */
static void
round_trip(struct batch *bt, const char *runid, size_t n, size_t size,
    int level)
{
	struct buf events, want, got;
	const uint8_t *body;
	size_t len, raw, lens[2000];
	struct why why;

	buf_init(&events, 0);
	buf_init(&want, 0);
	buf_init(&got, 0);
	for (size_t i = 0; i < n; i++) {
		size_t before = events.len;
		make_event(&events, rng_below(&rng, size * 2));
		lens[i] = events.len - before;
	}
	ck_assert_msg(batch_begin(bt, runid, strlen(runid), n, events.len,
	    level, &why) == 0, "%s", why.text);
	buf_printf(&want, "{\"runId\":\"%s\",\"events\":[", runid);
	size_t off = 0;
	for (size_t i = 0; i < n; i++) {
		if (i > 0)
			buf_putc(&want, ',');
		buf_put(&want, events.data + off, lens[i]);
		ck_assert_int_eq(batch_event_begin(bt), 0);
		/* In up to three pieces. */
		size_t a = rng_below(&rng, lens[i] + 1);
		size_t b = a + rng_below(&rng, lens[i] - a + 1);
		ck_assert_int_eq(batch_event_piece(bt, events.data + off, a,
		    &why), 0);
		ck_assert_int_eq(batch_event_piece(bt, events.data + off + a,
		    b - a, &why), 0);
		ck_assert_int_eq(batch_event_piece(bt, events.data + off + b,
		    lens[i] - b, &why), 0);
		off += lens[i];
	}
	buf_puts(&want, "]}");
	ck_assert_msg(batch_end(bt, &body, &len, &raw, &why) == 0, "%s",
	    why.text);
	ck_assert_uint_eq(raw, want.len);
	ck_assert_uint_eq(ZSTD_getFrameContentSize(body, len), want.len);
	/* Frame_Header_Descriptor: no checksum (RFC 8878 3.1.1.1). */
	ck_assert_int_eq(body[4] & 4, 0);
	got.max = want.len;
	ck_assert_msg(batch_unpack(body, len, &got, &why) == 0, "%s",
	    why.text);
	ck_assert_uint_eq(got.len, want.len);
	ck_assert_mem_eq(got.data, want.data, want.len);
	struct walk w = { .events = &events };
	ck_assert_int_eq(batch_walk((char *)got.data, got.len, walk_event, &w),
	    (int)n);
	ck_assert_uint_eq(w.n, n);
	ck_assert_uint_eq(w.off, events.len);
	struct json_object *o = json_tokener_parse(buf_cstr(&got));
	ck_assert_ptr_nonnull(o);
	ck_assert_uint_eq(json_object_array_length(
	    json_object_object_get(o, "events")), n);
	json_object_put(o);
	buf_free(&events);
	buf_free(&want);
	buf_free(&got);
}

START_TEST(test_round_trip)
{
	struct batch *bt = batch_new();

	rng_seed(&rng, 1);
	round_trip(bt, "r", 0, 1, 3);
	round_trip(bt, "r", 1, 1, 3);
	for (int i = 0; i < 60; i++) {
		int level = 1 + (int)rng_below(&rng, i < 50 ? 5 : 19);
		round_trip(bt, "run_8842", rng_below(&rng, 200),
		    1 + rng_below(&rng, i % 3 == 0 ? 4000 : 300), level);
	}
	round_trip(bt, "run \xe2\x82\xac", 1000, 4000, 3);
	batch_free(bt);
}
END_TEST

/* Around the size where bodies begin to be streamed, byte by byte. */
START_TEST(test_border_of_streaming)
{
	static char json[140000];
	struct batch *bt = batch_new();
	const uint8_t *body;
	size_t len, raw;
	struct buf got;

	memset(json, 'x', sizeof json);
	buf_init(&got, 0);
	for (size_t n = 128 * 1024 - 60; n < 128 * 1024; n++) {
		json[0] = '"';
		json[n - 1] = '"';
		ck_assert_int_eq(batch_begin(bt, "r\"", 2, 1, n, 3, NULL), 0);
		ck_assert_int_eq(batch_event_begin(bt), 0);
		ck_assert_int_eq(batch_event_piece(bt, json, n, NULL), 0);
		ck_assert_int_eq(batch_end(bt, &body, &len, &raw, NULL), 0);
		ck_assert_uint_eq(raw, n + 27);
		buf_reset(&got, 1 << 20);
		ck_assert_int_eq(batch_unpack(body, len, &got, NULL), 0);
		ck_assert_uint_eq(got.len, raw);
		ck_assert_int_eq(memcmp(got.data, "{\"runId\":\"r\\\"\",", 15),
		    0);
		json[n - 1] = 'x';
	}
	buf_free(&got);
	batch_free(bt);
}
END_TEST

START_TEST(test_broken_promises)
{
	struct batch *bt = batch_new();
	const uint8_t *body;
	size_t len, raw;
	struct why why;

	for (size_t extra = 0; extra < 300000; extra += 150000) {
		/* More bytes than promised. */
		ck_assert_int_eq(batch_begin(bt, "r", 1, 1, 2 + extra, 1,
		    &why), 0);
		ck_assert_int_eq(batch_event_begin(bt), 0);
		static char zeros[300010];
		ck_assert_int_eq(batch_event_piece(bt, zeros, extra + 9, &why),
		    -EINVAL);
		/* Fewer bytes, then fewer events. */
		ck_assert_int_eq(batch_begin(bt, "r", 1, 1, 3 + extra, 1,
		    &why), 0);
		ck_assert_int_eq(batch_event_begin(bt), 0);
		ck_assert_int_eq(batch_event_piece(bt, "{}", 2, &why), 0);
		ck_assert_int_eq(batch_end(bt, &body, &len, &raw, &why),
		    -EINVAL);
		ck_assert_int_eq(batch_begin(bt, "r", 1, 2, 4 + extra, 1,
		    &why), 0);
		ck_assert_int_eq(batch_event_begin(bt), 0);
		ck_assert_int_eq(batch_end(bt, &body, &len, &raw, &why),
		    -EINVAL);
		/* One event too many. */
		ck_assert_int_eq(batch_begin(bt, "r", 1, 0, 0, 1, &why), 0);
		ck_assert_int_eq(batch_event_begin(bt), -EINVAL);
	}
	/* And a good one after all that. */
	rng_seed(&rng, 3);
	round_trip(bt, "r", 3, 50, 3);
	batch_free(bt);
}
END_TEST

START_TEST(test_pack)
{
	struct batch *bt = batch_new();
	static char src[600000];
	const uint8_t *body, *again;
	size_t len, again_len;
	struct buf got;

	rng_seed(&rng, 9);
	buf_init(&got, 0);
	for (int i = 0; i < 40; i++) {
		size_t n = i == 0 ? 0 : rng_below(&rng, i < 20 ? 5000 :
		    sizeof src);
		for (size_t k = 0; k < n; k++)
			src[k] = (char)('a' + rng_below(&rng, 6));
		ck_assert_int_eq(batch_pack(bt, src, n, 3, &body, &len, NULL),
		    0);
		ck_assert_uint_eq(ZSTD_getFrameContentSize(body, len), n);
		buf_reset(&got, 0);
		ck_assert_int_eq(batch_unpack(body, len, &got, NULL), 0);
		ck_assert_uint_eq(got.len, n);
		if (n > 0)
			ck_assert_mem_eq(got.data, src, n);
		/* Identical input, identical bytes. */
		uint8_t *copy = malloc(len);
		memcpy(copy, body, len);
		ck_assert_int_eq(batch_pack(bt, src, n, 3, &again, &again_len,
		    NULL), 0);
		ck_assert_uint_eq(again_len, len);
		ck_assert_mem_eq(again, copy, len);
		free(copy);
	}
	buf_free(&got);
	batch_free(bt);
}
END_TEST

/* A body of zeros that comes from elsewhere, without its content size. */
static size_t
pack_unknown(uint8_t *dst, size_t cap, size_t n)
{
	static const char zeros[4096];
	ZSTD_CCtx *zc = ZSTD_createCCtx();
	ZSTD_outBuffer out = { dst, cap, 0 };

	for (size_t left = n; left > 0;) {
		ZSTD_inBuffer in = { zeros, left < 4096 ? left : 4096, 0 };
		left -= in.size;
		while (in.pos < in.size)
			ck_assert(!ZSTD_isError(ZSTD_compressStream2(zc, &out,
			    &in, ZSTD_e_continue)));
	}
	ZSTD_inBuffer end = { NULL, 0, 0 };
	ck_assert_uint_eq(ZSTD_compressStream2(zc, &out, &end, ZSTD_e_end), 0);
	ZSTD_freeCCtx(zc);
	return out.pos;
}

START_TEST(test_unpack_limits)
{
	static uint8_t packed[1 << 20];
	struct buf dst;
	struct why why;

	size_t n = pack_unknown(packed, sizeof packed, 100000);
	for (size_t max = 99990; max < 100010; max++) {
		buf_init(&dst, max);
		int r = batch_unpack(packed, n, &dst, &why);
		ck_assert_int_eq(r, max < 100000 ? -ENOBUFS : 0);
		if (r == 0)
			ck_assert_uint_eq(dst.len, 100000);
		buf_free(&dst);
	}
	/* A bomb of 1 GiB: the limit holds, and no more is taken. */
	n = pack_unknown(packed, sizeof packed, 1u << 30);
	buf_init(&dst, 8 << 20);
	ck_assert_int_eq(batch_unpack(packed, n, &dst, &why), -ENOBUFS);
	ck_assert_uint_le(dst.cap, (8 << 20) + 1);
	buf_free(&dst);
	/* A head that lies: 2^60 bytes of content in a few. */
	buf_init(&dst, 0);
	ck_assert_int_eq(batch_unpack("\x28\xb5\x2f\xfd\xe0\0\0\0\0\0\0\0\x10"
	    "\x01\0\0", 16, &dst, &why), -EBADMSG);
	ck_assert_uint_le(dst.cap, 1 << 20);
	buf_free(&dst);
}
END_TEST

START_TEST(test_unpack_damage)
{
	struct batch *bt = batch_new();
	char src[3000];
	const uint8_t *body;
	struct buf dst;
	size_t len;

	rng_seed(&rng, 10);
	for (size_t i = 0; i < sizeof src; i++)
		src[i] = (char)('a' + rng_below(&rng, 20));
	ck_assert_int_eq(batch_pack(bt, src, sizeof src, 3, &body, &len, NULL),
	    0);
	buf_init(&dst, 1 << 20);
	for (size_t n = 0; n < len; n++) {
		buf_reset(&dst, 1 << 20);
		ck_assert_int_eq(batch_unpack(body, n, &dst, NULL), -EBADMSG);
	}
	uint8_t *copy = malloc(len + 1);
	memcpy(copy, body, len);
	copy[len] = 0;
	ck_assert_int_eq(batch_unpack(copy, len + 1, &dst, NULL), -EBADMSG);
	for (int i = 0; i < 20000; i++) {
		memcpy(copy, body, len);
		copy[rng_below(&rng, len)] ^= (uint8_t)(1 + rng_below(&rng,
		    255));
		buf_reset(&dst, 1 << 20);
		int r = batch_unpack(copy, len, &dst, NULL);
		ck_assert(r == 0 || r == -EBADMSG || r == -ENOBUFS);
	}
	free(copy);
	buf_free(&dst);
	batch_free(bt);
}
END_TEST

static int
walk_stop(void *arg, size_t i, const char *json, size_t len)
{
	return i == 1 ? -42 : 0;
}

static int
walk_any(void *arg, size_t i, const char *json, size_t len)
{
	ck_assert_uint_ge(len, 2);
	ck_assert(json[0] == '{' && json[len - 1] != ',');
	return 0;
}

START_TEST(test_walk)
{
#define HEAD	"{\"runId\":\"r\",\"events\":["
	static const struct {
		const char *body;
		int want;
	} t[] = {
		{ HEAD "]}", 0 },
		{ HEAD "{}]}", 1 },
		{ HEAD "{},{\"a\":\"]}\"},{\"b\":[{}]}]}", 3 },
		{ "{\"runId\":\"r\\\"\\\\\",\"events\":[{}]}", 1 },
		{ "", -EBADMSG }, { "{", -EBADMSG }, { HEAD, -EBADMSG },
		{ HEAD "]", -EBADMSG }, { HEAD "]}x", -EBADMSG },
		{ HEAD "{}{}]}", -EBADMSG }, { HEAD "{},]}", -EBADMSG },
		{ HEAD ",{}]}", -EBADMSG }, { HEAD "1]}", -EBADMSG },
		{ HEAD "{]}", -EBADMSG }, { HEAD "{\"a]}", -EBADMSG },
		{ HEAD "{\"a\\", -EBADMSG }, { HEAD "{} ]}", -EBADMSG },
		{ "{\"runId\":\"r", -EBADMSG },
		{ "{\"runId\":\"r\\", -EBADMSG },
		{ "{ \"runId\":\"r\",\"events\":[]}", -EBADMSG },
		{ "{\"runId\":\"r\",\"events\":[{}],\"x\":1}", -EBADMSG },
	};

	for (size_t i = 0; i < NELEM(t); i++) {
		size_t n = strlen(t[i].body);
		char *copy = malloc(n + 1);
		memcpy(copy, t[i].body, n);
		ck_assert_msg(batch_walk(copy, n, walk_any, NULL) ==
		    t[i].want, "%s", t[i].body);
		free(copy);
	}
	const char *three = HEAD "{},{},{}]}";
	ck_assert_int_eq(batch_walk(three, strlen(three), walk_stop, NULL),
	    -42);
}
END_TEST

int
main(void)
{
	return unit_run("batch", (const TTest *const[]){ test_round_trip,
	    test_border_of_streaming, test_broken_promises, test_pack,
	    test_unpack_limits, test_unpack_damage, test_walk, NULL });
}
