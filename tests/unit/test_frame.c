/*
 * frame: values are found at every split of the stream, and hostile heads
 * cost nothing.
 */
#include <msgpack.h>
#include <stdio.h>
#include <string.h>

#include "base/rand.h"
#include "codec/frame.h"
#include "codec/mp.h"
#include "unit.h"

#define M(lit)	(const uint8_t *)(lit), sizeof (lit) - 1

/* One value of every kind of head. */
static const struct {
	const uint8_t	*p;
	size_t		 len;
} values[] = {
	{ M("\x00") }, { M("\x7f") }, { M("\xe0") }, { M("\xc0") },
	{ M("\xc2") }, { M("\xc3") }, { M("\xcc\x01") }, { M("\xcd\0\x01") },
	{ M("\xce\0\0\0\x01") }, { M("\xcf\0\0\0\0\0\0\0\x01") },
	{ M("\xd0\x01") }, { M("\xd1\0\x01") }, { M("\xd2\0\0\0\x01") },
	{ M("\xd3\0\0\0\0\0\0\0\x01") }, { M("\xca\0\0\0\0") },
	{ M("\xcb\0\0\0\0\0\0\0\0") }, { M("\xa0") }, { M("\xa3""abc") },
	{ M("\xd9\x03""abc") }, { M("\xda\0\x03""abc") },
	{ M("\xdb\0\0\0\x03""abc") }, { M("\xd9\0") },
	{ M("\xc4\x03\xc1\xc1\xc1") }, { M("\xc5\0\x03""abc") },
	{ M("\xc6\0\0\0\x03""abc") }, { M("\xd4\x05\xc1") },
	{ M("\xd5\x05""ab") }, { M("\xd6\x05""abcd") },
	{ M("\xd7\x05""abcdefgh") }, { M("\xd8\x05""abcdefghabcdefgh") },
	{ M("\xc7\x03\x05""abc") }, { M("\xc8\0\x03\x05""abc") },
	{ M("\xc9\0\0\0\x03\x05""abc") }, { M("\xc7\0\x05") }, { M("\x90") },
	{ M("\x93\x01\x90\x91\x02") }, { M("\xdc\0\x02\x01\x02") },
	{ M("\xdd\0\0\0\x02\x01\x02") }, { M("\x80") },
	{ M("\x82\x01\x02\xa1x\x81\x80\x90") }, { M("\xde\0\x01\x01\x02") },
	{ M("\xdf\0\0\0\x01\x01\x02") }, { M("\xdc\0\0") },
	{ M("\x92\x92\x92\x01\x02\x03\x04") },
};

START_TEST(test_every_kind)
{
	struct mp_head h;

	for (size_t i = 0; i < NELEM(values); i++) {
		const uint8_t *p = values[i].p;
		size_t len = values[i].len, got = 99;
		struct frame f;
		frame_init(&f, len);
		ck_assert_int_eq(frame_next(&f, p, len, &got), FRAME_VALUE);
		ck_assert_uint_eq(got, len);
		int head = mp_head_len(p[0]);
		ck_assert_int_eq(mp_head(p, len, &h), head);
		for (int k = 0; k < head; k++)
			ck_assert_int_eq(mp_head(p, (size_t)k, &h), 0);
		/* One byte less is a limit broken, found at the latest then. */
		frame_init(&f, len - 1);
		ck_assert_int_eq(frame_next(&f, p, len, &got),
		    FRAME_TOO_LARGE);
	}
}
END_TEST

/* All values in a row, each offered byte by byte, and in two pieces. */
START_TEST(test_every_split)
{
	struct frame f;
	size_t got;

	frame_init(&f, 100);
	for (size_t i = 0; i < NELEM(values); i++) {
		const uint8_t *p = values[i].p;
		size_t len = values[i].len;
		for (size_t k = 0; k < len; k++) {
			/* A copy, so that a step too far is seen. */
			uint8_t *cut = malloc(k + 1);
			memcpy(cut, p, k);
			ck_assert_int_eq(frame_next(&f, cut, k, &got),
			    FRAME_MORE);
			free(cut);
		}
		ck_assert_int_eq(frame_next(&f, p, len, &got), FRAME_VALUE);
		ck_assert_uint_eq(got, len);
		for (size_t k = 0; k < len; k++) {
			ck_assert_int_eq(frame_next(&f, p, k, &got),
			    FRAME_MORE);
			ck_assert_int_eq(frame_next(&f, p, k, &got),
			    FRAME_MORE);
			ck_assert_int_eq(frame_next(&f, p, len, &got),
			    FRAME_VALUE);
			ck_assert_uint_eq(got, len);
		}
	}
}
END_TEST

/* What follows the value is not looked at. */
START_TEST(test_stops_at_the_end)
{
	struct frame f;
	size_t got;

	frame_init(&f, 8);
	ck_assert_int_eq(frame_next(&f, M("\x91\x01\xc1\xc1"), &got),
	    FRAME_VALUE);
	ck_assert_uint_eq(got, 2);
	ck_assert_int_eq(frame_next(&f, M("\xc1"), &got), FRAME_BAD);
	frame_init(&f, 8);
	ck_assert_int_eq(frame_next(&f, M("\x92\x01\xc1"), &got), FRAME_BAD);
}
END_TEST

START_TEST(test_hostile_heads)
{
	static const struct {
		const uint8_t *p;
		size_t len;
		enum frame_result want;
	} t[] = {
		/* Four billion elements, refused at the head. */
		{ M("\xdd\xff\xff\xff\xff"), FRAME_TOO_LARGE },
		{ M("\xdf\xff\xff\xff\xff"), FRAME_TOO_LARGE },
		{ M("\xdb\xff\xff\xff\xff"), FRAME_TOO_LARGE },
		{ M("\xc6\xff\xff\xff\xff"), FRAME_TOO_LARGE },
		{ M("\xc9\xff\xff\xff\xff\x01"), FRAME_TOO_LARGE },
		/* Not before the head is whole. */
		{ M("\xdd\xff\xff\xff"), FRAME_MORE },
		/* 500 pairs are 1000 values; with the head too many. */
		{ M("\xde\x01\xf4"), FRAME_TOO_LARGE },
		{ M("\xde\x01\xf2"), FRAME_MORE },
		/* What the outer ones still owe counts. */
		{ M("\xdc\x03\xdc"), FRAME_MORE },
		{ M("\xdc\x03\xdc\xdc\0\x10"), FRAME_TOO_LARGE },
		{ M("\xdc\x03\xdc\xa8"), FRAME_MORE },
		{ M("\xdc\x03\xdc\xa9"), FRAME_MORE },
		{ M("\xdc\x03\xdc\xaa"), FRAME_TOO_LARGE },
		/* A head that cannot become whole within the limit. */
		{ M("\xdc\x03\xdc\xcb"), FRAME_MORE },
		{ M("\xdc\x03\xdc\xa5""abcde\xcb"), FRAME_TOO_LARGE },
	};

	for (size_t i = 0; i < NELEM(t); i++) {
		struct frame f;
		size_t got = 77;
		frame_init(&f, 1000);
		enum frame_result r = frame_next(&f, t[i].p, t[i].len, &got);
		ck_assert_msg(r == t[i].want, "%zu: %s", i, frame_strerror(r));
		ck_assert_uint_eq(got, 77);
	}
}
END_TEST

START_TEST(test_nested_bombs)
{
	static uint8_t p[1 << 20];
	static const uint8_t kinds[] = { 0x91, 0x81, 0x9f, 0x8f };
	struct frame f;
	size_t got;

	for (size_t i = 0; i < NELEM(kinds); i++) {
		memset(p, kinds[i], sizeof p);
		frame_init(&f, 8 << 20);
		ck_assert_int_eq(frame_next(&f, p, sizeof p, &got),
		    FRAME_TOO_DEEP);
		ck_assert_uint_le(f.pos, FRAME_DEPTH_MAX + 1);
	}
	/* Exactly as deep as allowed, also with an empty one innermost. */
	for (size_t depth = 1; depth < 40; depth++) {
		memset(p, 0x91, depth);
		p[depth - 1] = 0x90;
		frame_init(&f, 100);
		ck_assert_int_eq(frame_next(&f, p, depth, &got),
		    depth <= FRAME_DEPTH_MAX ? FRAME_VALUE : FRAME_TOO_DEEP);
	}
	/* Wide is not deep. */
	memset(p, 0x90, sizeof p);
	memcpy(p, "\xdc\xff\xff", 3);
	frame_init(&f, sizeof p);
	ck_assert_int_eq(frame_next(&f, p, sizeof p, &got), FRAME_VALUE);
	ck_assert_uint_eq(got, 3 + 65535);
}
END_TEST

/*
 * Whatever the bytes and however they are cut: FRAME_MORE is only said while
 * there is room for more, and the result does not depend on the cuts.
 */
START_TEST(test_never_waits_with_a_full_buffer)
{
	uint8_t p[64];
	struct rng rng;

	rng_seed(&rng, 99);
	for (int i = 0; i < 200000; i++) {
		size_t max = 1 + rng_below(&rng, sizeof p), got = 0;
		static const uint8_t heads[] = { 0x81, 0x92, 0xdc, 0xde, 0xa3,
			0xd9, 0xcb, 0xcd, 0xc7, 0, 0, 1, 2, 0xdd, 0xdf };
		for (size_t k = 0; k < sizeof p; k++)
			p[k] = rng_below(&rng, 4) == 0 ?
			    (uint8_t)rng_u64(&rng) :
			    heads[rng_below(&rng, sizeof heads)];
		struct frame whole, cut;
		frame_init(&whole, max);
		enum frame_result want = frame_next(&whole, p, max, &got), r;
		ck_assert_int_ne(want, FRAME_MORE);
		frame_init(&cut, max);
		size_t cut_got = 0;
		for (size_t k = rng_below(&rng, max + 1);; k++) {
			k = k < max ? k : max;
			r = frame_next(&cut, p, k, &cut_got);
			if (r != FRAME_MORE)
				break;
			ck_assert_uint_lt(k, max);
			k += rng_below(&rng, 4);
		}
		ck_assert_int_eq(r, want);
		ck_assert_uint_eq(cut_got, got);
	}
}
END_TEST

/* Random streams of packed values, in random pieces, against msgpack-c. */
START_TEST(test_streams)
{
	msgpack_sbuffer sb;
	msgpack_packer pk;
	struct rng rng;

	rng_seed(&rng, 12);
	msgpack_sbuffer_init(&sb);
	msgpack_packer_init(&pk, &sb, msgpack_sbuffer_write);
	for (int round = 0; round < 300; round++) {
		msgpack_sbuffer_clear(&sb);
		for (int i = 0; i < 40; i++) {
			size_t n = rng_below(&rng, 40);
			msgpack_pack_map(&pk, n);
			for (size_t k = 0; k < n; k++) {
				msgpack_pack_uint64(&pk, rng_u64(&rng) >>
				    rng_below(&rng, 64));
				msgpack_pack_array(&pk, 2);
				msgpack_pack_double(&pk, 1.5);
				msgpack_pack_str(&pk, k * 10);
				for (size_t j = 0; j < k; j++)
					msgpack_pack_str_body(&pk,
					    "\xc1\xdd\xff\xff\xff\xff\xc1\0\0\0",
					    10);
			}
		}
		struct frame f;
		size_t from = 0, have = 0, off = 0;
		frame_init(&f, 1 << 20);
		while (from < sb.size) {
			size_t got;
			have += rng_below(&rng, 300);
			have = have < sb.size - from ? have : sb.size - from;
			enum frame_result r = frame_next(&f,
			    (uint8_t *)sb.data + from, have, &got);
			if (r == FRAME_MORE)
				continue;
			ck_assert_int_eq(r, FRAME_VALUE);
			msgpack_unpacked un;
			msgpack_unpacked_init(&un);
			off = from;
			ck_assert_int_eq(msgpack_unpack_next(&un, sb.data,
			    sb.size, &off), MSGPACK_UNPACK_SUCCESS);
			msgpack_unpacked_destroy(&un);
			from += got;
			have -= got;
			ck_assert_uint_eq(off, from);
		}
	}
	msgpack_sbuffer_destroy(&sb);
}
END_TEST

int
main(void)
{
	return unit_run("frame", (const TTest *const[]){ test_every_kind,
	    test_every_split, test_stops_at_the_end, test_hostile_heads,
	    test_nested_bombs, test_never_waits_with_a_full_buffer,
	    test_streams, NULL });
}
