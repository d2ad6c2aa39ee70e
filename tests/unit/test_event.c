/*
 * event: which messages are taken and which are refused, what they become;
 * and a differential test against msgpack-c and json-c (tests/support/oracle).
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/rand.h"
#include "codec/event.h"
#include "codec/frame.h"
#include "oracle.h"
#include "unit.h"

static char type_run_end[] = "run_end", type_abort[] = "abort";
static char *end_types[] = { type_run_end, type_abort };
static const struct event_options plain = { .end_types = end_types,
	.end_types_n = 2 };
static const struct event_options stamped = { .stamp_at = true,
	.end_types = end_types, .end_types_n = 2 };
/* 2026-11-23T12:00:00.123Z */
static const struct wall receipt = { INT64_C(1795435200123456) };
#define AT "2026-11-23T12:00:00.123Z"

/* A message as a C string literal, NULs and all. */
#define M(lit)	(const uint8_t *)(lit), sizeof (lit) - 1

#define RUNID	"\xa5runId"
#define R	RUNID "\xa1r"		/* "runId": "r" */
#define EVENTS	"\xa6""events"

struct must {
	const uint8_t	*p;
	size_t		 len;
	const char	*runid;
	const char	*json;		/* all events, one after the other */
	size_t		 events_n;
	enum event_kind	 kind;
	bool		 end;
	size_t		 ack_len;
};

static const struct must musts[] = {
	/* The flat form. */
	{ M("\x81" R), "r", "{}", 1, 0, false, 0 },
	{ M("\x83\xa4type\xa3run" R "\xa1x\x01"), "r",
	    "{\"type\":\"run\",\"x\":1}", 1, 0, false, 0 },
	{ M("\x83" R "\xa3""ack\x07\xa3""end\xc3"), "r",
	    "{\"ack\":7,\"end\":true}", 1, 0, false, 0 },
	{ M("\x82" R "\xa6""change\x80"), "r", "{\"change\":{}}", 1, 0, false,
	    0 },
	{ M("\x82\xa6policy\x01" R), "r", "{\"policy\":1}", 1, 0, false, 0 },
	{ M("\x82\xa7traceId\xa1t\xa1x\x01"), "t",
	    "{\"traceId\":\"t\",\"x\":1}", 1, 0, false, 0 },
	{ M("\x82\xa7traceId\xc0" R), "r", "{\"traceId\":null}", 1, 0, false,
	    0 },
	{ M("\x83\xa7traceId\x01" R "\xa7traceId\x02"), "r",
	    "{\"traceId\":1,\"traceId\":2}", 1, 0, false, 0 },
	{ M("\x83" R "\xa1x\x01\xa1x\x02"), "r", "{\"x\":1,\"x\":2}", 1, 0,
	    false, 0 },
	/* Run ids. */
	{ M("\x81" RUNID "\x2a"), "42", "{}", 1, 0, false, 0 },
	{ M("\x81" RUNID "\xff"), "-1", "{}", 1, 0, false, 0 },
	{ M("\x81" RUNID "\xcf\xff\xff\xff\xff\xff\xff\xff\xff"),
	    "18446744073709551615", "{}", 1, 0, false, 0 },
	{ M("\x81" RUNID "\xd3\x80\0\0\0\0\0\0\0"), "-9223372036854775808",
	    "{}", 1, 0, false, 0 },
	{ M("\x81" RUNID "\xa3\xe2\x82\xac"), "\xe2\x82\xac", "{}", 1, 0,
	    false, 0 },
	/* The envelope; keys in any order. */
	{ M("\x82" R EVENTS "\x92\x81\xa1x\x01\x81\xa1x\x02"), "r",
	    "{\"x\":1}{\"x\":2}", 2, 0, false, 0 },
	{ M("\x84" "\xa3""ack\xa2id" EVENTS "\x91\x80" "\xa3""end\xc3" R), "r",
	    "{}", 1, 0, true, 3 },
	{ M("\x83" R EVENTS "\x90\xa3""end\xc3"), "r", "", 0, 0, true, 0 },
	{ M("\x82" R EVENTS "\x90"), "r", "", 0, 0, false, 0 },
	{ M("\x82" EVENTS "\x91\x80\xa7traceId\x05"), "5", "{}", 1, 0, false,
	    0 },
	{ M("\x83\xa7traceId\xc0" R EVENTS "\x91\x80"), "r", "{}", 1, 0, false,
	    0 },
	{ M("\x83" R EVENTS "\x91\x83\xa5runId\xa1q\xa3""ack\x01\xa6""events"
	    "\x02\xa3""ack\x01"), "r",
	    "{\"runId\":\"q\",\"ack\":1,\"events\":2}", 1, 0, false, 1 },
	/* Records. */
	{ M("\x81\xa6""change\x81\xa4kind\xa4""code"), "",
	    "{\"kind\":\"code\"}", 1, EVENT_KIND_CHANGE, false, 0 },
	{ M("\x82\xa3""ack\xcd\x01\x02\xa6policy\x80"), "", "{}", 1,
	    EVENT_KIND_POLICY, false, 3 },
	{ M("\x81\xa6policy\x81\xa4type\xa7run_end"), "",
	    "{\"type\":\"run_end\"}", 1, EVENT_KIND_POLICY, false, 0 },
	/* Conversions. */
	{ M("\x84" R "\xa1""a\xc0\xa1""b\xc2\xa1""c\xc3"), "r",
	    "{\"a\":null,\"b\":false,\"c\":true}", 1, 0, false, 0 },
	{ M("\x82" R "\xa1""b\xc4\x04\0\xff\x10\x20"), "r",
	    "{\"b\":\"AP8QIA==\"}", 1, 0, false, 0 },
	{ M("\x82" R "\xa1t\xd6\xff\x65\x53\xf1\x00"), "r",
	    "{\"t\":\"2023-11-14T22:13:20.000000000Z\"}", 1, 0, false, 0 },
	{ M("\x82" R "\xa1t\xd7\xff\x77\x35\x93\xfc\x65\x53\xf1\x00"), "r",
	    "{\"t\":\"2023-11-14T22:13:20.499999999Z\"}", 1, 0, false, 0 },
	{ M("\x82" R "\xa1t\xc7\x0c\xff\0\0\0\x01\xff\xff\xff\xff\xff\xff\xff"
	    "\xff"), "r", "{\"t\":\"1969-12-31T23:59:59.000000001Z\"}", 1, 0,
	    false, 0 },
	{ M("\x82" R "\xa1t\xd7\0\x65\x53\xf1\x00\0\0\0\x05"), "r",
	    "{\"t\":\"2023-11-14T22:13:20.000000005Z\"}", 1, 0, false, 0 },
	{ M("\x82" R "\xa1t\xd7\0\x65\x53\xf1\x00\xff\0\0\x05"), "r",
	    "{\"t\":{\"ext\":0,\"data\":\"ZVPxAP8AAAU=\"}}", 1, 0, false, 0 },
	{ M("\x82" R "\xa1t\xd4\x85Z"), "r",
	    "{\"t\":{\"ext\":-123,\"data\":\"Wg==\"}}", 1, 0, false, 0 },
	{ M("\x82" R "\xa1""f\xcb\x7f\xf8\0\0\0\0\0\0"), "r", "{\"f\":null}",
	    1, 0, false, 0 },
	{ M("\x82" R "\xa1""f\xca\xff\x80\0\0"), "r", "{\"f\":null}", 1, 0,
	    false, 0 },
	{ M("\x82" R "\xa1""f\xca\x3e\0\0\0"), "r", "{\"f\":0.125}", 1, 0,
	    false, 0 },
	{ M("\x82" R "\xa1s\xa6""a\xff""b\xe2\x82."), "r",
	    "{\"s\":\"a\xef\xbf\xbd""b\xef\xbf\xbd.\"}", 1, 0, false, 0 },
	{ M("\x82" R "\xa1s\xa9\"\\\n\0\x1f\x7f/\b\t"), "r",
	    "{\"s\":\"\\\"\\\\\\n\\u0000\\u001f\x7f/\\b\\t\"}", 1, 0, false,
	    0 },
	/* Keys that are no strings. */
	{ M("\x85" R "\x01\x02\xc0\x03\xc3\x04\xff\x05"), "r",
	    "{\"1\":2,\"null\":3,\"true\":4,\"-1\":5}", 1, 0, false, 0 },
	{ M("\x82" R "\x92\x01\xa1""a\x02"), "r", "{\"[1,\\\"a\\\"]\":2}", 1,
	    0, false, 0 },
	{ M("\x82" R "\x81\x01\xa1\"\x02"), "r",
	    "{\"{\\\"1\\\":\\\"\\\\\\\"\\\"}\":2}", 1, 0, false, 0 },
	{ M("\x84" R "\xc4\x01""a\x01\xd4\x05""a\x02\xcb\x3f\xf8\0\0\0\0\0\0"
	    "\x03"), "r", "{\"YQ==\":1,\"{\\\"ext\\\":5,\\\"data\\\":"
	    "\\\"YQ==\\\"}\":2,\"1.5\":3}", 1, 0, false, 0 },
	{ M("\x82" R "\xd6\xff\x65\x53\xf1\x00\x01"), "r",
	    "{\"2023-11-14T22:13:20.000000000Z\":1}", 1, 0, false, 0 },
};

static void
decode_ok(struct event_message *msg, const uint8_t *p, size_t len,
    const struct event_options *opt)
{
	struct why why = { "" };

	enum event_code code = event_decode(msg, p, len, opt, receipt, &why);
	ck_assert_msg(code == EVENT_OK, "%s: %s", event_code_name(code),
	    why.text);
	const char *wrong = oracle_judge(p, len, opt, AT, code, msg);
	ck_assert_msg(wrong == NULL, "%s", wrong);
}

START_TEST(test_must)
{
	struct event_message msg;

	event_message_init(&msg);
	for (size_t i = 0; i < NELEM(musts); i++) {
		const struct must *t = &musts[i];
		decode_ok(&msg, t->p, t->len, &plain);
		ck_assert_str_eq(buf_cstr(&msg.json), t->json);
		ck_assert_str_eq(msg.runid, t->runid);
		ck_assert_uint_eq(msg.runid_len, strlen(t->runid));
		ck_assert_uint_eq(msg.events_n, t->events_n);
		ck_assert_int_eq(msg.kind, t->kind);
		ck_assert_int_eq(msg.end, t->end);
		ck_assert_uint_eq(msg.ack.len, t->ack_len);
		decode_ok(&msg, t->p, t->len, &stamped);
	}
	event_message_free(&msg);
}
END_TEST

static const struct {
	const uint8_t	*p;
	size_t		 len;
	enum event_code	 code;
	size_t		 ack_len;
} must_nots[] = {
	{ M(""), EVENT_NOT_MSGPACK, 0 },
	{ M("\xc1"), EVENT_NOT_MSGPACK, 0 },
	{ M("\x81"), EVENT_NOT_MSGPACK, 0 },
	{ M("\x81\xa5run"), EVENT_NOT_MSGPACK, 0 },
	{ M("\x81" R "\xc0"), EVENT_NOT_MSGPACK, 0 },
	{ M("\xdf\xff\xff\xff\xff" R), EVENT_NOT_MSGPACK, 0 },
	{ M("\xc0"), EVENT_NOT_A_MESSAGE, 0 },
	{ M("\xa1r"), EVENT_NOT_A_MESSAGE, 0 },
	{ M("\x90"), EVENT_NOT_SUPPORTED, 0 },
	{ M("\x80"), EVENT_NO_RUN_ID, 0 },
	{ M("\x81\xa5runid\xa1r"), EVENT_NO_RUN_ID, 0 },
	{ M("\x82\xa1x\x01\xa3""ack\x09"), EVENT_NO_RUN_ID, 1 },
	{ M("\x82" EVENTS "\x90\xa3""ack\x09"), EVENT_NO_RUN_ID, 1 },
	/* Run ids. */
	{ M("\x81" RUNID "\xa0"), EVENT_BAD_RUN_ID, 0 },
	{ M("\x81" RUNID "\xc0"), EVENT_BAD_RUN_ID, 0 },
	{ M("\x81" RUNID "\xc3"), EVENT_BAD_RUN_ID, 0 },
	{ M("\x81" RUNID "\xca\0\0\0\0"), EVENT_BAD_RUN_ID, 0 },
	{ M("\x81" RUNID "\xc4\x01r"), EVENT_BAD_RUN_ID, 0 },
	{ M("\x81" RUNID "\xa2r\n"), EVENT_BAD_RUN_ID, 0 },
	{ M("\x81" RUNID "\xa2r\0"), EVENT_BAD_RUN_ID, 0 },
	{ M("\x81" RUNID "\xa2r\x7f"), EVENT_BAD_RUN_ID, 0 },
	{ M("\x81" RUNID "\xa3r\xc2\x85"), EVENT_BAD_RUN_ID, 0 },
	{ M("\x81" RUNID "\xa2r\xff"), EVENT_BAD_RUN_ID, 0 },
	{ M("\x82\xa7traceId\xa1t" RUNID "\xc0"), EVENT_BAD_RUN_ID, 0 },
	{ M("\x83\xa3""ack\x01" RUNID "\xc0" EVENTS "\x90"), EVENT_BAD_RUN_ID,
	    1 },
	/* A flat event's `ack` is data: no answer is due. */
	{ M("\x82\xa3""ack\x01" RUNID "\xc0"), EVENT_BAD_RUN_ID, 0 },
	/* The envelope. */
	{ M("\x83" R EVENTS "\x80\xa3""ack\x01"), EVENT_BAD_EVENTS, 1 },
	{ M("\x82" R EVENTS "\xc0"), EVENT_BAD_EVENTS, 0 },
	{ M("\x83\xa7traceId\x90" R EVENTS "\x91\x80"), EVENT_BAD_RUN_ID, 0 },
	{ M("\x82" R EVENTS "\x92\x80\x01"), EVENT_BAD_EVENTS, 0 },
	{ M("\x83" R EVENTS "\x90\xa3""end\x01"), EVENT_BAD_END, 0 },
	{ M("\x83" R EVENTS "\x90\xa3""ack\xc0"), EVENT_BAD_ACK, 0 },
	{ M("\x83" R EVENTS "\x90\xa3""ack\xcb\0\0\0\0\0\0\0\0"),
	    EVENT_BAD_ACK, 0 },
	{ M("\x84" R EVENTS "\x90\xa4type\xa1x\xa3""ack\x01"),
	    EVENT_UNKNOWN_KEY, 1 },
	{ M("\x83" R EVENTS "\x90\x01\x02"), EVENT_UNKNOWN_KEY, 0 },
	{ M("\x83" R EVENTS "\x90\xa6""change\x80"), EVENT_UNKNOWN_KEY, 0 },
	{ M("\x83" R EVENTS "\x90" R), EVENT_DUPLICATE_KEY, 0 },
	{ M("\x83" R EVENTS "\x90" EVENTS "\x90"), EVENT_DUPLICATE_KEY, 0 },
	{ M("\x84" R EVENTS "\x90\xa3""end\xc3\xa3""end\xc3"),
	    EVENT_DUPLICATE_KEY, 0 },
	{ M("\x82" R R), EVENT_DUPLICATE_KEY, 0 },
	{ M("\x82\xa7traceId\x01\xa7traceId\x01"), EVENT_DUPLICATE_KEY, 0 },
	/* Records. */
	{ M("\x82\xa6""change\x01\xa3""ack\x01"), EVENT_BAD_RECORD, 1 },
	{ M("\x81\xa6policy\x90"), EVENT_BAD_RECORD, 0 },
	{ M("\x82\xa6policy\x80\xa6""change\x80"), EVENT_BAD_RECORD, 0 },
	{ M("\x82\xa6policy\x80\xa6policy\x80"), EVENT_DUPLICATE_KEY, 0 },
	{ M("\x82\xa6policy\x80\xa3""end\xc3"), EVENT_UNKNOWN_KEY, 0 },
	/* Keys within keys. */
	{ M("\x82" R "\x81\x90\x01\x02"), EVENT_TOO_DEEP, 0 },
};

START_TEST(test_must_not)
{
	struct event_message msg;

	event_message_init(&msg);
	for (size_t i = 0; i < NELEM(must_nots); i++) {
		struct why why = { "" };
		enum event_code code = event_decode(&msg, must_nots[i].p,
		    must_nots[i].len, &plain, receipt, &why);
		ck_assert_msg(code == must_nots[i].code, "%zu: %s, not %s", i,
		    event_code_name(code), event_code_name(must_nots[i].code));
		ck_assert_uint_eq(msg.ack.len, must_nots[i].ack_len);
		ck_assert_str_ne(why.text, "");
		ck_assert_uint_eq(msg.events_n, 0);
		const char *wrong = oracle_judge(must_nots[i].p,
		    i == 5 ? 0 : must_nots[i].len, &plain, AT, code, &msg);
		ck_assert_msg(wrong == NULL, "%zu: %s", i, wrong);
	}
	event_message_free(&msg);
}
END_TEST

START_TEST(test_names_the_key)
{
	struct event_message msg;
	struct why why;

	event_message_init(&msg);
	ck_assert_int_eq(event_decode(&msg, M("\x83" R EVENTS "\x90\xa4typo"
	    "\x01"), &plain, receipt, &why), EVENT_UNKNOWN_KEY);
	ck_assert_ptr_nonnull(strstr(why.text, "\"typo\""));
	ck_assert_int_eq(event_decode(&msg, M("\x83" R EVENTS "\x90" R),
	    &plain, receipt, NULL), EVENT_DUPLICATE_KEY);
	event_message_free(&msg);
}
END_TEST

START_TEST(test_at)
{
	struct event_message msg;

	event_message_init(&msg);
	decode_ok(&msg, M("\x83" R EVENTS "\x94\x80\x81\xa1x\x01\x81\xa2""at"
	    "\x01\x81\xa1y\x81\xa2""at\x01\xa3""end\xc2"), &stamped);
	ck_assert_str_eq(buf_cstr(&msg.json), "{\"at\":\"" AT "\"}"
	    "{\"x\":1,\"at\":\"" AT "\"}{\"at\":1}"
	    "{\"y\":{\"at\":1},\"at\":\"" AT "\"}");
	decode_ok(&msg, M("\x81" R), &stamped);
	ck_assert_str_eq(buf_cstr(&msg.json), "{\"at\":\"" AT "\"}");
	decode_ok(&msg, M("\x81\xa6""change\x80"), &stamped);
	ck_assert_str_eq(buf_cstr(&msg.json), "{\"at\":\"" AT "\"}");
	/* Another receipt time, another text. */
	ck_assert_int_eq(event_decode(&msg, M("\x81" R), &stamped,
	    (struct wall){ 0 }, NULL), EVENT_OK);
	ck_assert_str_eq(buf_cstr(&msg.json),
	    "{\"at\":\"1970-01-01T00:00:00.000Z\"}");
	event_message_free(&msg);
}
END_TEST

START_TEST(test_end_types)
{
	struct event_message msg;

	event_message_init(&msg);
	decode_ok(&msg, M("\x82" R EVENTS "\x97\x81\xa4type\xa7run_end"
	    "\x81\xa4type\xa5""abort\x81\xa4type\xa6run_en"
	    "\x81\xa4type\xa8run_end\0\x81\xa4type\x01"
	    "\x81\xa1x\x81\xa4type\xa7run_end"
	    "\x82\xa4type\xa7run_end\xa4type\xa1x"), &plain);
	static const bool want[] = { true, true, false, false, false, false,
		false };
	for (size_t i = 0; i < NELEM(want); i++)
		ck_assert_int_eq(msg.events[i].is_end, want[i]);
	decode_ok(&msg, M("\x82\xa4type\xa7run_end" R), &plain);
	ck_assert(msg.events[0].is_end);
	event_message_free(&msg);
}
END_TEST

/* The id is echoed byte for byte, but for heads longer than it needs. */
START_TEST(test_ack)
{
	struct event_message msg;
	static const char head[] = "\x83" R EVENTS "\x90\xa3""ack";
	const size_t at = sizeof head - 1;
	uint8_t p[200];

	memcpy(p, head, at);

	event_message_init(&msg);
	for (size_t n = 0; n <= 66; n++) {
		static const struct {
			uint8_t first;
			size_t head;
		} heads[] = { { 0xd9, 2 }, { 0xda, 3 }, { 0xdb, 5 },
			{ 0xc4, 2 }, { 0xc5, 3 }, { 0xc6, 5 } };
		for (size_t i = 0; i < NELEM(heads); i++) {
			size_t len = heads[i].head + n;
			memset(p + at, 0, heads[i].head);
			p[at] = heads[i].first;
			p[at + heads[i].head - 1] = (uint8_t)n;
			memset(p + at + heads[i].head, 'i', n);
			enum event_code code = event_decode(&msg, p, at + len,
			    &plain, receipt, NULL);
			ck_assert_int_eq(code,
			    n <= 64 ? EVENT_OK : EVENT_BAD_ACK);
			ck_assert_uint_eq(msg.ack.len, n <= 64 ? n + 2 : 0);
			if (n > 64)
				continue;
			if (heads[i].head == 2)
				ck_assert_mem_eq(msg.ack.raw, p + at, len);
			const char *wrong = oracle_judge(p, at + len, &plain,
			    AT, code, &msg);
			ck_assert_msg(wrong == NULL, "%s", wrong);
		}
	}
	event_message_free(&msg);
}
END_TEST

START_TEST(test_runid_length)
{
	struct event_message msg;
	uint8_t p[300] = "\x81" RUNID "\xda";

	event_message_init(&msg);
	for (size_t n = 0; n < 280; n++) {
		p[8] = (uint8_t)(n >> 8);
		p[9] = (uint8_t)n;
		memset(p + 10, 'r', n);
		enum event_code code = event_decode(&msg, p, 10 + n, &plain,
		    receipt, NULL);
		ck_assert_int_eq(code, n >= 1 && n <= 256 ? EVENT_OK :
		    EVENT_BAD_RUN_ID);
		if (code == EVENT_OK)
			ck_assert_uint_eq(strlen(msg.runid), n);
	}
	event_message_free(&msg);
}
END_TEST

/* A message put together piece by piece. */
static uint8_t made[8 << 20];
static size_t made_len;

static void
start(const char *lit, size_t n)
{
	memcpy(made, lit, n);
	made_len = n;
}

static void
put_byte(uint8_t c, size_t n)
{
	memset(made + made_len, c, n);
	made_len += n;
}

/* n containers in one another. */
static void
put_levels(size_t n, bool map)
{
	for (; n > 1; n--) {
		put_byte(map ? 0x81 : 0x91, 1);
		if (map)
			put_byte(0xa0, 1);
	}
	put_byte(map ? 0x80 : 0x90, 1);
}

/* Containers to the 32nd level, of all kinds, and not to the 33rd. */
START_TEST(test_depth)
{
	struct event_message msg;

	event_message_init(&msg);
	for (int map = 0; map < 2; map++) {
		for (size_t depth = 2; depth < 40; depth++) {
			struct frame f;
			size_t len;
			/* The event itself is the first level. */
			start("\x82" R "\xa1x", 11);
			put_levels(depth - 1, map != 0);
			enum event_code want = depth <= 32 ? EVENT_OK :
			    EVENT_TOO_DEEP;
			ck_assert_int_eq(event_decode(&msg, made, made_len,
			    &plain, receipt, NULL), want);
			/* In an envelope that is as far as a frame goes. */
			start("\x82" R EVENTS "\x91\x81\xa1x", 20);
			put_levels(depth - 1, map != 0);
			frame_init(&f, sizeof made);
			ck_assert_int_eq(frame_next(&f, made, made_len, &len),
			    depth <= 32 ? FRAME_VALUE : FRAME_TOO_DEEP);
			ck_assert_int_eq(event_decode(&msg, made, made_len,
			    &plain, receipt, NULL), want);
		}
	}
	event_message_free(&msg);
}
END_TEST

/*
 * What grows most as JSON: a message of keys in keys would come to gigabytes
 * if each level could be escaped again; one of nils grows twelvefold.
 */
START_TEST(test_json_bombs)
{
	struct event_message msg;
	struct why why;

	event_message_init(&msg);
	start("\x82" R, 9);
	put_byte(0x81, 30);
	put_byte(0xa0, 31);
	put_byte(0xc0, 1);
	ck_assert_int_eq(event_decode(&msg, made, made_len, &plain, receipt,
	    &why), EVENT_TOO_DEEP);

	/* Four million pairs of nil: 12 bytes for 2. */
	start("\x82" R "\xa1x\xdf\0\x3f\xff\0", 16);
	put_byte(0xc0, 0x3fff00 * 2);
	ck_assert_int_eq(event_decode(&msg, made, made_len, &plain, receipt,
	    &why), EVENT_TOO_LARGE);
	ck_assert_uint_le(msg.json.cap, (32 << 20) + 1);
	event_message_trim(&msg);
	ck_assert_ptr_null(msg.json.data);

	/* A million empty events. */
	start("\x82" R EVENTS "\xdd\0\x0f\x42\x40", 21);
	put_byte(0x80, 1000000);
	ck_assert_int_eq(event_decode(&msg, made, made_len, &plain, receipt,
	    &why), EVENT_TOO_LARGE);
	event_message_trim(&msg);
	ck_assert_uint_eq(msg.events_cap, 0);
	event_message_free(&msg);
}
END_TEST

/* --- random messages -------------------------------------------------------*/

static struct rng rng;
static msgpack_sbuffer sb;
static msgpack_packer pk;

static size_t
below(size_t n)
{
	return (size_t)rng_below(&rng, n);
}

static uint64_t
some_u64(void)
{
	static const uint64_t edges[] = { 0, 127, 128, 255, 256, 65535, 65536,
		UINT32_MAX, 1ull << 32, INT64_MAX, 1ull << 63, UINT64_MAX,
		9007199254740993ull };

	return below(3) == 0 ? edges[below(NELEM(edges))] :
	    rng_u64(&rng) >> below(64);
}

static double
some_double(void)
{
	uint64_t bits = rng_u64(&rng);
	double d;

	switch (below(5)) {
	case 0:
		return (double)below(100000) / 1000;
	case 1:
		return (double)below(1000);
	case 2:
		return below(2) ? 0.1 + 0.2 : -0.0;
	case 3:
		return (double)(bits >> 11) * 0x1p-53;
	default:
		memcpy(&d, &bits, sizeof d);
		return d;
	}
}

static void
put_text(const char *s)
{
	msgpack_pack_str(&pk, strlen(s));
	msgpack_pack_str_body(&pk, s, strlen(s));
}

/* Bytes that are text as a rule: ASCII runs, accents, escapes, rubbish. */
static size_t
some_bytes(char *dst, size_t max)
{
	static const char *const bits[] = { "plain text of words ", "\"", "\\",
		"\n", "\t", "\x01", "\xc3\xa9", "\xe2\x82\xac",
		"\xf0\x9f\x98\x80", "\xff", "\xe2\x82", "\xed\xa0\x80", "\x7f",
		"\xf4\x90\x80\x80", "\xc0\xaf" };
	size_t n = 0, want = below(max), mild = below(2);

	while (n < want) {
		const char *s = bits[below(10) < 7 + 3 * mild ? 0 :
		    below(NELEM(bits))];
		size_t k = 1 + below(strlen(s));
		if (strlen(s) < 10 && below(4) != 0)
			k = strlen(s);
		if (k > want - n)
			break;
		memcpy(dst + n, s, k);
		n += k;
	}
	return n;
}

static void
put_string(bool bin)
{
	char s[400];
	size_t n = some_bytes(s, below(8) == 0 ? sizeof s : 40);

	if (bin) {
		msgpack_pack_bin(&pk, n);
		msgpack_pack_bin_body(&pk, s, n);
	} else {
		msgpack_pack_str(&pk, n);
		msgpack_pack_str_body(&pk, s, n);
	}
}

static void
put_ext(void)
{
	static const size_t sizes[] = { 0, 1, 2, 4, 8, 12, 16, 20, 300 };
	char s[300];
	size_t n = sizes[below(NELEM(sizes))];
	int8_t type = (int8_t)(below(3) == 0 ? below(256) :
	    below(2) ? 0 : 0xff);

	for (size_t i = 0; i < n; i++)
		s[i] = (char)rng_u64(&rng);
	/* Times within the calendar, as a rule. */
	if (n == 12 && below(4) != 0)
		memset(s, 0, 7);
	else if (n == 8 && below(2))
		s[0] = s[4] = 0;
	msgpack_pack_ext(&pk, n, type);
	msgpack_pack_ext_body(&pk, s, n);
}

static void put_value(int depth);

static void
put_key(int depth)
{
	static const char *const keys[] = { "type", "at", "text", "runId",
		"ack", "events", "end", "change", "x", "" };

	if (below(40) == 0)
		put_value(depth);
	else if (below(20) == 0)
		put_string(false);
	else
		put_text(keys[below(NELEM(keys))]);
}

static void
put_map(int depth)
{
	size_t n = below(8) == 0 ? below(30) : below(5);

	msgpack_pack_map(&pk, n);
	for (size_t i = 0; i < n; i++) {
		put_key(depth - 1);
		put_value(depth - 1);
	}
}

static void
put_value(int depth)
{
	size_t n;

	switch (below(depth > 0 ? 14 : 11)) {
	case 0:
		msgpack_pack_nil(&pk);
		return;
	case 1:
		below(2) ? msgpack_pack_true(&pk) : msgpack_pack_false(&pk);
		return;
	case 2:
		msgpack_pack_uint64(&pk, some_u64());
		return;
	case 3:
		msgpack_pack_int64(&pk, (int64_t)some_u64());
		return;
	case 4:
		msgpack_pack_double(&pk, some_double());
		return;
	case 5:
		msgpack_pack_float(&pk, (float)some_double());
		return;
	case 6:
		put_string(true);
		return;
	case 7:
		put_ext();
		return;
	case 8:
		put_text(below(2) ? "run_end" : "abort");
		return;
	default:
		put_string(false);
		return;
	case 11:
		n = below(20) == 0 ? below(40) : below(4);
		msgpack_pack_array(&pk, n);
		while (n-- > 0)
			put_value(depth - 1);
		return;
	case 12:
	case 13:
		put_map(depth);
		return;
	}
}

/* A message of some form, most of them good ones. */
static void
put_message(void)
{
	static const char *const flat[] = { "runId", "type", "text", "x", "y",
		"at", "traceId", "ack", "change", "end", "events" };
	static const char *const env[] = { "runId", "events", "ack", "end",
		"traceId", "x", "change" };
	static const char *const rec[] = { "change", "ack", "policy", "x",
		"runId" };
	size_t form = below(5), n = below(12);
	const char *const *keys = form < 2 ? flat : form < 4 ? env : rec;
	size_t most = form < 2 ? NELEM(flat) : form < 4 ? 5 : 2;

	if (below(10) == 0)
		most = form < 2 ? NELEM(flat) : form < 4 ? NELEM(env) :
		    NELEM(rec);
	else if (form >= 2)
		n = most;
	msgpack_pack_map(&pk, n);
	size_t first = below(n + 1);
	for (size_t i = 0; i < n; i++) {
		const char *key = keys[form < 2 && i > 0 ? below(6) :
		    (first + i) % most];
		put_text(key);
		if (below(30) == 0) {
			put_value(3);
		} else if (strcmp(key, "runId") == 0) {
			below(4) == 0 ? (void)msgpack_pack_uint64(&pk,
			    some_u64()) : put_text("run-1");
		} else if (strcmp(key, "end") == 0) {
			msgpack_pack_true(&pk);
		} else if (strcmp(key, "ack") == 0) {
			put_text("ack id");
		} else if (strcmp(key, "events") == 0) {
			size_t k = below(5);
			msgpack_pack_array(&pk, k);
			while (k-- > 0)
				put_map(5);
		} else if (strcmp(key, "change") == 0 ||
		    strcmp(key, "policy") == 0) {
			put_map(5);
		} else {
			put_value(5);
		}
	}
}

START_TEST(test_differential)
{
	struct event_message msg;
	unsigned taken = 0;

	rng_seed(&rng, 20261123 + (uint64_t)_i);
	msgpack_sbuffer_init(&sb);
	msgpack_packer_init(&pk, &sb, msgpack_sbuffer_write);
	event_message_init(&msg);
	for (int i = 0; i < 20000; i++) {
		const struct event_options *opt = below(2) ? &plain : &stamped;
		msgpack_sbuffer_clear(&sb);
		if (below(50) == 0)
			put_value(40);
		else
			put_message();
		uint8_t *p = (uint8_t *)sb.data;
		/* Sometimes some bytes fall over. */
		if (below(3) == 0)
			for (size_t k = 1 + below(3); k > 0; k--)
				p[below(sb.size)] = (uint8_t)rng_u64(&rng);
		struct frame f;
		size_t len;
		frame_init(&f, 1 << 20);
		if (frame_next(&f, p, sb.size, &len) != FRAME_VALUE)
			continue;
		/* An exact copy, so that a sanitizer sees a step too far. */
		uint8_t *copy = malloc(len);
		memcpy(copy, p, len);
		enum event_code code = event_decode(&msg, copy, len, opt,
		    receipt, NULL);
		const char *wrong = oracle_judge(copy, len, opt, AT, code,
		    &msg);
		ck_assert_msg(wrong == NULL, "message %d (%s): %s", i,
		    event_code_name(code), wrong);
		taken += code == EVENT_OK;
		/* No prefix is a message, and none is read past its end. */
		if (i % 50 == 0) {
			for (size_t k = 0; k < len && k < 300; k++) {
				uint8_t *cut = malloc(k + 1);
				memcpy(cut, copy, k);
				ck_assert_int_ne(event_decode(&msg, cut, k,
				    opt, receipt, NULL), EVENT_OK);
				free(cut);
			}
		}
		free(copy);
	}
	/* Good ones must have been among them, or nothing was tested. */
	ck_assert_uint_gt(taken, 5000);
	event_message_free(&msg);
	msgpack_sbuffer_destroy(&sb);
}
END_TEST

START_TEST(test_code_names)
{
	for (int i = 0; i < EVENT_CODES; i++)
		ck_assert_ptr_nonnull(event_code_name((enum event_code)i));
	ck_assert_str_eq(event_code_name(EVENT_NOT_MSGPACK), "not_msgpack");
	ck_assert_str_eq(event_code_name(EVENT_STOPPING), "stopping");
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("event");
	TCase *tcase = tcase_create("event");

	tcase_set_timeout(tcase, 300);
	tcase_add_test(tcase, test_must);
	tcase_add_test(tcase, test_must_not);
	tcase_add_test(tcase, test_names_the_key);
	tcase_add_test(tcase, test_at);
	tcase_add_test(tcase, test_end_types);
	tcase_add_test(tcase, test_ack);
	tcase_add_test(tcase, test_runid_length);
	tcase_add_test(tcase, test_depth);
	tcase_add_test(tcase, test_json_bombs);
	tcase_add_loop_test(tcase, test_differential, 0, 4);
	tcase_add_test(tcase, test_code_names);
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
