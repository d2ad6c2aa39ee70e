/*
 * Events through redaction. Input: a byte for the rules, a byte for the form
 * (a message of msgpack, or the text of a string), then that.
 *
 * Whatever comes in: what comes out is JSON; where no rule has found anything
 * it is, byte for byte, what comes out without rules; and of a text, a secret
 * that stands in it alone (in place of each byte 0x01) is not there any more,
 * whatever surrounds it.
 */
#include "base/buf.h"
#include "codec/event.h"
#include "codec/jsonin.h"
#include "codec/redact.h"
#include "fuzz.h"

#define SETS	4

static const char *const secrets[] = {
	" bob@secret.example ", " 4111111111111111 ", " 5105-1051-0510-5100 ",
	" sk-ant-api03-abcdefghij ", " AKIAIOSFODNN7EXAMPLE ",
	" ghp_abcdefghijklmnopqrst ", " xoxb-1234567890-abc ",
	" eyJhbGciOi.eyJzdWIi.c2ln ", " https://u:hunter2@h ",
};

static void
must(int r)
{
	if (r != 0)
		abort();
}

static struct redact_run *
make_run(unsigned which)
{
	struct redact *set = redact_new();
	struct why why;

	must(redact_add_builtin(set, "all", NULL, which == 1 ? REDACT_HASH :
	    REDACT_REPLACE, &why));
	must(redact_add_key(set, "password", NULL, REDACT_REPLACE, &why));
	must(redact_add_key(set, "*tok*", NULL, which == 2 ? REDACT_REMOVE :
	    REDACT_HASH, &why));
	must(redact_add_path(set, "events.*.0.x", NULL, REDACT_REMOVE, &why));
	must(redact_add_path(set, "*.a.b", NULL, REDACT_REPLACE, &why));
	if (which >= 2) {
		must(redact_add_regex(set, "(a+)+b|\\bz\\w*", "own",
		    which == 2 ? REDACT_REMOVE : REDACT_HASH, &why));
		must(redact_add_regex(set, "(?<=q).(?=\\d)|\xc3\xa9\\K.", "two",
		    REDACT_REPLACE, &why));
	}
	if (which == 3)
		redact_set_max_string(set, 256);
	redact_set_hash_key(set, "0123456789abcdef", 16);
	return redact_run_new(set);	/* both for ever */
}

static uint64_t
hits(const struct redact_run *run)
{
	struct redact_count c;
	uint64_t n = 0;

	for (size_t i = 0; (c = redact_run_count(run, i)).name != NULL; i++)
		n += c.hits;
	return n;
}

/* {"runId": "r", "t": text}, with secrets in the text; a bit for each. */
static unsigned
make_text(struct buf *b, const uint8_t *p, size_t n)
{
	unsigned planted = 0, k = 0;
	struct buf text;

	buf_init(&text, 0);
	for (size_t i = 0; i < n; i++) {
		if (p[i] != 1 || text.len > 32768) {
			buf_putc(&text, (char)p[i]);
			continue;
		}
		k = (k + 1 + (i + 1 < n ? p[i + 1] : 0)) %
		    (sizeof secrets / sizeof *secrets);
		buf_puts(&text, secrets[k]);
		planted |= 1u << k;
	}
	buf_puts(b, "\x82\xa5runId\xa1r\xa1t\xdb");
	for (int shift = 24; shift >= 0; shift -= 8)
		buf_putc(b, (char)(text.len >> shift));
	buf_put(b, text.data, text.len);
	buf_free(&text);
	return planted;
}

static void
check_json(const struct event_message *msg)
{
	static struct json_tokener *tok;
	struct json_object *o;
	struct why why;
	size_t at;

	if (tok == NULL)
		tok = json_tokener_new_ex(64);
	for (size_t i = 0; i < msg->events_n; i++) {
		const char *p = (const char *)msg->json.data +
		    msg->events[i].off;
		/* Numbers beyond json-c's, keys with NUL, depth: its own. */
		if (jsonin_parse(tok, p, msg->events[i].len, &o, &at,
		    &why) == 0)
			json_object_put(o);
		else
			FUZZ_CHECK(strstr(why.text, "beyond") != NULL ||
			    strstr(why.text, "NUL") != NULL,
			    "%s: %.*s", why.text, (int)msg->events[i].len, p);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct redact_run *runs[SETS];
	static struct event_message msg, plain;
	const struct wall wall = { INT64_C(1795435200123456) };
	struct event_options opt = { 0 };
	unsigned planted = 0;
	struct why why = { "" };
	struct buf b;

	if (len < 2 || len > 65536)
		return 0;
	if (runs[0] == NULL) {
		event_message_init(&msg);
		event_message_init(&plain);
		for (unsigned i = 0; i < SETS; i++)
			runs[i] = make_run(i);
	}
	struct redact_run *run = runs[data[0] % SETS];
	buf_init(&b, 0);
	if (data[1] % 4 != 0)
		planted = make_text(&b, data + 2, len - 2);
	else
		buf_put(&b, data + 2, len - 2);
	uint8_t *copy = fuzz_copy(b.data, b.len);

	uint64_t before = hits(run);
	enum event_code code = event_decode(&plain, copy, b.len, &opt, wall,
	    NULL);
	opt.redact = run;
	enum event_code got = event_decode(&msg, copy, b.len, &opt, wall,
	    &why);
	FUZZ_CHECK(got == code || got == EVENT_TOO_LARGE, "%s became %s: %s",
	    event_code_name(code), event_code_name(got), why.text);
	if (got == EVENT_OK) {
		check_json(&msg);
		if (hits(run) == before)
			FUZZ_CHECK(msg.json.len == plain.json.len &&
			    memcmp(msg.json.data, plain.json.data,
			    plain.json.len) == 0, "changed without a rule");
		for (size_t i = 0; planted >> i != 0; i++) {
			/* With its blanks: elsewhere it may be no secret. */
			const char *s = secrets[i];
			size_t n = strlen(s);
			FUZZ_CHECK((planted & 1u << i) == 0 ||
			    memmem(msg.json.data, msg.json.len, s, n) == NULL,
			    "%.*s is still there: %.*s", (int)n, s,
			    (int)msg.json.len, (const char *)msg.json.data);
		}
	}
	free(copy);
	buf_free(&b);
	return 0;
}
