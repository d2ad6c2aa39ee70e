/* reply: answers, read back by msgpack-c. */
#include <msgpack.h>
#include <string.h>

#include "codec/reply.h"
#include "unit.h"

static struct buf b;
static msgpack_unpacked un;

static void
unpack(uint32_t pairs)
{
	size_t off = 0;

	msgpack_unpacked_init(&un);
	ck_assert_int_eq(msgpack_unpack_next(&un, (char *)b.data, b.len, &off),
	    MSGPACK_UNPACK_SUCCESS);
	ck_assert_uint_eq(off, b.len);
	ck_assert_int_eq(un.data.type, MSGPACK_OBJECT_MAP);
	ck_assert_uint_eq(un.data.via.map.size, pairs);
	/* The object points into the bytes: they stay. */
	b.len = 0;
}

static void
is_text(const msgpack_object *o, const char *want)
{
	ck_assert_int_eq(o->type, MSGPACK_OBJECT_STR);
	ck_assert_uint_eq(o->via.str.size, strlen(want));
	ck_assert_mem_eq(o->via.str.ptr, want, strlen(want));
}

START_TEST(test_ack)
{
	struct event_ack ack = { 4, "\xa3" "abc" };

	buf_init(&b, 0);
	reply_put_ack(&b, &ack);
	ck_assert_uint_eq(b.len, 9);
	ck_assert_mem_eq(b.data, "\x81\xa3" "ack\xa3" "abc", 9);
	unpack(1);
	msgpack_unpacked_destroy(&un);
	/* The longest, and bin and int as they came. */
	ack.len = 66;
	memset(ack.raw, 'x', sizeof ack.raw);
	ack.raw[0] = 0xc4;
	ack.raw[1] = 64;
	reply_put_ack(&b, &ack);
	unpack(1);
	ck_assert_uint_eq(un.data.via.map.ptr[0].val.via.bin.size, 64);
	msgpack_unpacked_destroy(&un);
	ack = (struct event_ack){ 9, "\xcf\xff\xff\xff\xff\xff\xff\xff\xff" };
	reply_put_ack(&b, &ack);
	unpack(1);
	ck_assert_uint_eq(un.data.via.map.ptr[0].val.via.u64, UINT64_MAX);
	msgpack_unpacked_destroy(&un);
	buf_free(&b);
}
END_TEST

START_TEST(test_error)
{
	struct event_ack ack = { 1, "\x07" };

	buf_init(&b, 0);
	for (int code = 1; code < EVENT_CODES; code++) {
		for (int with = 0; with < 3; with++) {
			struct event_ack none = { 0 };
			reply_put_error(&b, (enum event_code)code, "no",
			    with == 0 ? NULL : with == 1 ? &none : &ack);
			unpack(with == 2 ? 3 : 2);
			const msgpack_object_kv *kv = un.data.via.map.ptr;
			is_text(&kv[0].key, "error");
			is_text(&kv[0].val, "no");
			is_text(&kv[1].key, "code");
			is_text(&kv[1].val,
			    event_code_name((enum event_code)code));
			if (with == 2) {
				is_text(&kv[2].key, "ack");
				ck_assert_uint_eq(kv[2].val.via.u64, 7);
			}
			msgpack_unpacked_destroy(&un);
		}
	}
	buf_free(&b);
}
END_TEST

/* The sentence may quote what a client sent. */
START_TEST(test_text_is_utf8)
{
	static const char *const t[][2] = {
		{ "a\xff" "b", "a\xef\xbf\xbd" "b" },
		{ "\xe2\x82", "\xef\xbf\xbd" },
		{ "\xc3\xa9", "\xc3\xa9" },
		{ "", "" },
	};
	char long_text[2000];

	buf_init(&b, 0);
	for (size_t i = 0; i < NELEM(t); i++) {
		reply_put_error(&b, EVENT_FULL, t[i][0], NULL);
		unpack(2);
		is_text(&un.data.via.map.ptr[0].val, t[i][1]);
		msgpack_unpacked_destroy(&un);
	}
	for (size_t n = 500; n < 530; n++) {
		memset(long_text, 'x', n);
		strcpy(long_text + n, "\xe2\x82\xac\xe2\x82\xac");
		reply_put_error(&b, EVENT_FULL, long_text, NULL);
		unpack(2);
		const msgpack_object_str *s =
		    &un.data.via.map.ptr[0].val.via.str;
		ck_assert_uint_le(s->size, 512);
		ck_assert_uint_ge(s->size, n < 506 ? n + 6 : 510);
		ck_assert((s->size - n) % 3 == 0 || n > 512);
		msgpack_unpacked_destroy(&un);
	}
	buf_free(&b);
}
END_TEST

int
main(void)
{
	return unit_run("reply", (const TTest *const[]){ test_ack, test_error,
	    test_text_is_utf8, NULL });
}
