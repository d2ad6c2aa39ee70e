/*
 * redact: what must go and what must stay; what takes its place; limits; and
 * two differential tests, against a model on json-c's trees and of the
 * built-in patterns against regular expressions.
 */
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/rand.h"
#include "codec/json.h"
#include "codec/redact.h"
#include "unit.h"

static struct redact *set;
static struct redact_run *run;

static void
begin(void)
{
	set = redact_new();
}

static void
finish(void)
{
	redact_run_free(run);
	redact_free(set);
	run = NULL;
}

static void
add_key(const char *glob, enum redact_action action)
{
	struct why why;
	ck_assert_int_eq(redact_add_key(set, glob, NULL, action, &why), 0);
}

static void
add_path(const char *path, enum redact_action action)
{
	struct why why;
	ck_assert_int_eq(redact_add_path(set, path, "p", action, &why), 0);
}

static void
add_builtin(const char *name, enum redact_action action)
{
	struct why why;
	ck_assert_int_eq(redact_add_builtin(set, name, NULL, action, &why), 0);
}

static void
add_regex(const char *regex, const char *name, enum redact_action action)
{
	struct why why;
	ck_assert_int_eq(redact_add_regex(set, regex, name, action, &why), 0);
}

/* The event redacted; lasts until the next call. */
static const char *
apply_as(const char *event, size_t len, enum redact_root root)
{
	static struct buf b;

	if (run == NULL)
		run = redact_run_new(set);
	buf_reset(&b, 0);
	b.max = 64u << 20;
	buf_puts(&b, "before");		/* is not looked at */
	buf_put(&b, event, len);
	redact_run_begin(run);
	ck_assert_int_eq(redact_event(run, root, &b, 6), 0);
	return buf_cstr(&b) + 6;
}

static const char *
apply(const char *event)
{
	return apply_as(event, strlen(event), REDACT_EVENTS);
}

/* A text, as the value of a string; its text. */
static const char *
apply_text(const char *text)
{
	static char *last;
	struct buf b;

	buf_init(&b, 0);
	buf_puts(&b, "{\"t\":");
	json_put_string(&b, text, strlen(text));
	buf_putc(&b, '}');
	struct json_object *v, *o = json_tokener_parse(apply(buf_cstr(&b)));
	ck_assert_ptr_nonnull(o);
	ck_assert(json_object_object_get_ex(o, "t", &v));
	free(last);
	last = strdup(json_object_get_string(v));
	json_object_put(o);
	buf_free(&b);
	return last;
}

static uint64_t
hits(const char *name, uint64_t *ret_limits)
{
	struct redact_count c;

	for (size_t i = 0; (c = redact_run_count(run, i)).name != NULL; i++) {
		if (strcmp(c.name, name) == 0) {
			if (ret_limits != NULL)
				*ret_limits = c.limits;
			return c.hits;
		}
	}
	ck_abort_msg("no rule %s", name);
	return 0;
}

/*
 * A command line, a query string, a hash of Ruby: no JSON, and the value of a
 * key that has a rule was written to the disk.
 */
START_TEST(test_pairs)
{
	static const struct { const char *in, *out; } rows[] = {
		{ "secret='XYZ'", "secret='[redacted:secret]'" },
		{ "\"secret\"=>\"XYZ\", \"b\"=>1",
		    "\"secret\"=>\"[redacted:secret]\", \"b\"=>1" },
		{ "{:secret => 'XYZ'}", "{:secret => '[redacted:secret]'}" },
		{ "login --secret=XYZ -v", "login --secret=[redacted:secret] -v" },
		{ "SECRET = XYZ\nb = 1", "SECRET = [redacted:secret]\nb = 1" },
		{ "/a?b=1&secret=XYZ&c=2",
		    "/a?b=1&secret=[redacted:secret]&c=2" },
		{ "f(a, secret=[1, ')', 'XYZ'], b=2)",
		    "f(a, secret=[redacted:secret], b=2)" },
		{ "secret := `XYZ`", "secret := `[redacted:secret]`" },
		{ "secret=Basic WFla==, b", "secret=[redacted:secret], b" },
		{ "cmd=\"login secret=\\\"X\\\\Z\\\" now\"",
		    "cmd=\"login secret=\\\"[redacted:secret]\\\" now\"" },
		{ "\\\"secret\\\"=>\\\"XYZ\\\", 1",
		    "\\\"secret\\\"=>\\\"[redacted:secret]\\\", 1" },
		/* An end was cut off. */
		{ "secret='XY, Z", "secret='[redacted:secret]" },
		{ "secret={'a': 'XYZ", "secret=[redacted:secret]" },
		{ "a gone='XYZ', b gone=XYZ", "a , b " },
		{ "{\"cmd\":\"x secret='XYZ'\"}",
		    "{\"cmd\":\"x secret='[redacted:secret]'\"}" },
		/* The path of the text, and one part more. */
		{ "pin=XYZ pins=1", "pin=[redacted:p] pins=1" },
		/* None of these is a pair of theirs. */
		{ "secrets='a'", "secrets='a'" },
		{ "secret == 'a' secret =~ 'b'", "secret == 'a' secret =~ 'b'" },
		{ "secret != 'a' secret >= 'b'", "secret != 'a' secret >= 'b'" },
		{ "secret=", "secret=" }, { "secret=''", "secret=''" },
		{ "=", "=" }, { "'='", "'='" }, { "secret", "secret" },
		{ "a=b=secret", "a=b=secret" },
	};

	begin();
	add_key("secret", REDACT_REPLACE);
	add_key("gone", REDACT_REMOVE);
	add_path("events.t.pin", REDACT_REPLACE);
	for (size_t i = 0; i < NELEM(rows); i++) {
		ck_assert_str_eq(apply_text(rows[i].in), rows[i].out);
		/* What is redacted stays so. */
		char *once = strdup(rows[i].out);
		ck_assert_str_eq(apply_text(once), once);
		free(once);
	}

	/* And it takes no time. */
	static const char *const pieces[] = { "=", "'=", "secret=", "a=(",
		"\"=>\"", "\\", "secret=['" };
	const size_t n = 1u << 20;
	struct buf text;

	for (size_t i = 0; i < NELEM(pieces); i++) {
		buf_init(&text, 0);
		buf_puts(&text, "{\"a\":");
		char *long_text = malloc(n + 1);
		size_t len = strlen(pieces[i]);
		for (size_t k = 0; k < n; k++)
			long_text[k] = pieces[i][k % len];
		json_put_string(&text, long_text, n);
		buf_putc(&text, '}');
		int64_t cpu = clock_cpu_us();
		(void)apply_as(buf_cstr(&text), text.len, REDACT_EVENTS);
		cpu = clock_cpu_us() - cpu;
		ck_assert_msg(cpu < 3000000, "%s: %lld us", pieces[i],
		    (long long)cpu);
		free(long_text);
		buf_free(&text);
	}
	finish();
}
END_TEST

/* What was redacted is redacted again, as from the inbox: nothing changes. */
START_TEST(test_twice)
{
	static const char in[] = "{\"secret\":\"XYZ\",\"pin\":[1],"
	    "\"mail\":\"jane@example.org\",\"cmd\":\"secret=XYZ\"}";

	for (int hash = 0; hash < 2; hash++) {
		enum redact_action action = hash ? REDACT_HASH :
		    REDACT_REPLACE;

		begin();
		redact_set_hash_key(set, "0123456789abcdef", 16);
		add_key("secret", action);
		add_path("events.pin", action);
		add_builtin("all", action);
		char *once = strdup(apply(in));
		ck_assert_ptr_null(strstr(once, "XYZ"));
		ck_assert_str_eq(apply(once), once);
		free(once);
		/* What only begins as one is none. */
		ck_assert_str_ne(apply("{\"secret\":\"[redacted:secret] XYZ]\"}"),
		    "{\"secret\":\"[redacted:secret] XYZ]\"}");
		ck_assert_ptr_null(strstr(apply("{\"secret\":"
		    "\"[redacted:secret:XYZ]\"}"), "XYZ"));
		finish();
	}
}
END_TEST

/* --- built-in patterns ----------------------------------------------------- */

#define X40 "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"

static const struct { const char *in, *out; } goes[] = {
	{ "bob@example.com", "[redacted:email]" },
	{ "<Bob.O'Neil+x@mail.example.co.uk>.", "<[redacted:email]>." },
	{ "to='bob@example.com'", "to='[redacted:email]'" },
	{ "a@b.cc@d.ee", "[redacted:email]" },
	{ "\"a b\"@example.org", "[redacted:email]" },
	{ "m\xc3\xbcller@example.de", "[redacted:email]" },
	{ "\xe8\x81\x94\xe7\xb3\xbb""bob@example.com\xe3\x80\x82",
	    "\xe8\x81\x94\xe7\xb3\xbb[redacted:email]\xe3\x80\x82" },
	{ "\xe4\xbe\x8b@\xe4\xbe\x8b.jp", "[redacted:email]" },
	{ "bob@example.com.", "[redacted:email]." },
	{ "bob@example.com.7", "[redacted:email].7" },
	{ "4111111111111111", "[redacted:card]" },
	{ "4111 1111 1111 1111 12/28 737", "[redacted:card] 12/28 737" },
	{ "pay 4111-1111-1111-1111 737", "pay [redacted:card] 737" },
	{ "2026 4111111111111111", "2026 [redacted:card]" },
	{ "4111\xc2\xa0""1111\xe2\x80\x91""1111 1111", "[redacted:card]" },
	{ "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1", "[redacted:card]" },
	{ "378282246310005, 3782 822463 10005",
	    "[redacted:card], [redacted:card]" },
	{ "5555555555554444;6011111111111117;3530111333300000",
	    "[redacted:card];[redacted:card];[redacted:card]" },
	{ "2223003122003222 30569309025904 4222222222222",
	    "[redacted:card] [redacted:card] [redacted:card]" },
	{ "Authorization: Bearer mF_9.B5f-4.1JqM", "Authorization: Bearer "
	    "[redacted:bearer]" },
	{ "BEARER  abcdefgh1", "BEARER  [redacted:bearer]" },
	{ "Bearer%20abcdefgh1", "Bearer%20[redacted:bearer]" },
	{ "sk-proj-abcdefghijklmnopqrst", "[redacted:openai_key]" },
	{ "key=sk-ABCDEFGHIJKLMNOPQRST.", "key=[redacted:openai_key]." },
	{ "sk-ant-api03-abcdefghij_-", "[redacted:anthropic_key]" },
	{ "AKIAIOSFODNN7EXAMPLE", "[redacted:aws_key]" },
	{ "aws_secret_access_key = " X40, "aws_secret_access_key = "
	    "[redacted:aws_key]" },
	{ "\"SecretAccessKey\":\"" X40 "\"", "\"SecretAccessKey\":\""
	    "[redacted:aws_key]\"" },
	{ "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
	    "[redacted:github_token]" },
	{ "github_pat_11ABCDEFG0abcdefghijkl_mnop", "[redacted:github_token]" },
	{ "xoxb-123456789012-abcdefABCDEF", "[redacted:slack_token]" },
	{ "xapp-1-A0123456789-abc", "[redacted:slack_token]" },
	{ "https://hooks.slack.com/services/T0/B0/abcdefgh",
	    "https://hooks.slack.com/services/[redacted:slack_token]" },
	{ "AIzaSyA1234567890abcdefghijklmnopqrstuv", "[redacted:google_key]" },
	{ "ya29.a0AfH6SMBabcdefghijklmn", "[redacted:google_key]" },
	{ "GOCSPX-abcdefghijklmnopqrst", "[redacted:google_key]" },
	{ "sk_live_abcdefghij rk_test_abcdefghij",
	    "[redacted:stripe_key] [redacted:stripe_key]" },
	{ "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln-_x, eyJhbGciOiJub25lIn0"
	    ".eyJzdWIiOiIxIn0.", "[redacted:jwt], [redacted:jwt]" },
	{ "a\n-----BEGIN RSA PRIVATE KEY-----\nMIIE\n"
	    "-----END RSA PRIVATE KEY-----\nb", "a\n[redacted:private_key]\nb" },
	{ "-----BEGIN PRIVATE KEY-----\nMIIE and no end",
	    "[redacted:private_key]" },
	{ "postgres://app:s3cr:et@db/x redis://:pw@h", "postgres://app:"
	    "[redacted:url_password]@db/x redis://:[redacted:url_password]"
	    "@h" },
	{ "https://bob:pw@example.com/", "https://bob:"
	    "[redacted:url_password]/" },
};

static const char *const stays[] = {
	"", "@", "a@", "@b.c", "user@localhost", "root@10.0.0.1", "a @ b.c",
	"x@y.z", "4111111111111112", "411111111111111", "1111111111111117",
	"2026-11-25 22:38:06", "2026-11-25T22:38:06.123456789Z",
	"1764110286123456789", "1764110286123", "3.141592653589793",
	"550e8400-e29b-41d4-a716-446655440000", "+49 30 1234567",
	"23 45 67 89 12 34 56 78", "41111111111111111111111111",
	"task-management-and-many-other-words", "risk-of-something-or-other-x",
	"the bearer of bad news", "bearer certificates.", "Bearer short",
	"sk-short", "AKIA", "AKIASHORT", "akiaiosfodnn7example", "ghp_short",
	"xoxb-", "eyJhbGci.x", "eyJ", "ya29", "GOCSPX-", "----BEGIN x",
	"-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----",
	"http://host:80/a?b=c", "https://user@host/", "a://b:c",
	"secret access key", "{not json", "[1] a reference", "f(x) { y }",
	"it's {'", "\\", "{\"a\":\"b\\", "[[[", "\xf0\x9f\x98\x80 {}",
};

START_TEST(test_builtins)
{
	begin();
	add_builtin("all", REDACT_REPLACE);
	add_key("password", REDACT_REPLACE);
	for (size_t i = 0; i < NELEM(goes); i++) {
		ck_assert_str_eq(apply_text(goes[i].in), goes[i].out);
		/* A text of its own, and one within letters that matter. */
		char text[512];
		snprintf(text, sizeof text, "%.*s \"%s\"", (int)(i % 17),
		    "a sentence before", goes[i].in);
		ck_assert_ptr_nonnull(strstr(apply_text(text), "[redacted:"));
	}
	for (size_t i = 0; i < NELEM(stays); i++)
		ck_assert_str_eq(apply_text(stays[i]), stays[i]);
	finish();
}
END_TEST

/* What is named alone finds its own and nothing else. */
START_TEST(test_each_builtin)
{
	for (size_t k = 0; redact_builtin_name(k) != NULL; k++) {
		const char *name = redact_builtin_name(k);
		size_t found = 0;
		char token[80];
		if (strcmp(name, "all") == 0 || strcmp(name, "api_keys") == 0)
			continue;
		snprintf(token, sizeof token, "[redacted:%s]", name);
		begin();
		add_builtin(name, REDACT_REPLACE);
		for (size_t i = 0; i < NELEM(goes); i++) {
			const char *got = apply_text(goes[i].in);
			found += strstr(got, token) != NULL;
			ck_assert(strcmp(got, goes[i].in) == 0 ||
			    strstr(got, token) != NULL);
		}
		ck_assert_msg(found > 0, "%s", name);
		finish();
	}
}
END_TEST

/* --- keys, paths, actions -------------------------------------------------- */

static const struct { const char *in, *out; } events[] = {
	/* Keys: any depth, any case, any value. */
	{ "{\"password\":\"x\"}", "{\"password\":\"[redacted:password]\"}" },
	{ "{\"a\":[{\"PassWord\":{\"b\":[1,\"}\"]}}],\"z\":1}",
	    "{\"a\":[{\"PassWord\":\"[redacted:password]\"}],\"z\":1}" },
	{ "{\"password\":null,\"password\":5}", "{\"password\":"
	    "\"[redacted:password]\",\"password\":\"[redacted:password]\"}" },
	{ "{\"passwords\":\"x\",\"\":1}", "{\"passwords\":\"x\",\"\":1}" },
	{ "{\"x-secret-y\":1,\"secret\":2,\"secre\":3}", "{\"x-secret-y\":"
	    "\"[redacted:Secret]\",\"secret\":\"[redacted:Secret]\","
	    "\"secre\":3}" },
	/* Removed: first, last, only, all. */
	{ "{\"gone\":1}", "{}" },
	{ "{\"gone\":1,\"a\":2}", "{\"a\":2}" },
	{ "{\"a\":2,\"gone\":{\"b\":1}}", "{\"a\":2}" },
	{ "{\"gone\":1,\"gone\":[],\"a\":{\"gone\":\"x\"},\"gone\":2,\"b\":3,"
	    "\"gone\":4}", "{\"a\":{},\"b\":3}" },
	{ "{\"gone\":1,\"gone\":2}", "{}" },
	{ "{\"t\":\"see ORD-12\",\"a\":1,\"ORD-13\":2,\"k\":[\"ORD-1\",2]}",
	    "{\"a\":1,\"k\":[null,2]}" },
	/* Paths. */
	{ "{\"args\":{\"token\":5,\"x\":6},\"token\":7}",
	    "{\"args\":{\"token\":\"[redacted:p]\",\"x\":6},\"token\":7}" },
	{ "{\"m\":[{\"c\":1,\"d\":2},{\"c\":[]}],\"c\":3}", "{\"m\":[{\"c\":"
	    "\"[redacted:p]\",\"d\":2},{\"c\":\"[redacted:p]\"}],\"c\":3}" },
	{ "{\"l\":[1,2,3]}", "{\"l\":[1,null,3]}" },
	{ "{\"a.b\":1,\"a\":{\"b\":2}}", "{\"a.b\":\"[redacted:p]\","
	    "\"a\":{\"b\":2}}" },
	/* Text in strings: JSON, in JSON, cut off, of Python, JavaScript. */
	{ "{\"args\":\"{\\\"password\\\": \\\"x\\\", \\\"k\\\":[1]}\"}",
	    "{\"args\":\"{\\\"password\\\": \\\"[redacted:password]\\\", "
	    "\\\"k\\\":[1]}\"}" },
	{ "{\"args\":\"{\\\"token\\\":\\\"t\\\"}\"}",
	    "{\"args\":\"{\\\"token\\\":\\\"[redacted:p]\\\"}\"}" },
	{ "{\"t\":\"\\\"{\\\\\\\"password\\\\\\\":1}\\\"\"}", "{\"t\":\"\\\"{"
	    "\\\\\\\"password\\\\\\\":\\\\\\\"[redacted:password]\\\\\\\"}"
	    "\\\"\"}" },
	{ "{\"t\":\"{\\\"p\\\\u0061ssword\\\":\\\"x\\\"}\"}", "{\"t\":\"{"
	    "\\\"p\\\\u0061ssword\\\":\\\"[redacted:password]\\\"}\"}" },
	{ "{\"t\":\"{\\\"e\\\":\\\"b\\\\u0040c.de\\\\nf\\\"}\"}", "{\"t\":\"{"
	    "\\\"e\\\":\\\"[redacted:email]\\\\nf\\\"}\"}" },
	{ "{\"t\":\"x ```{\\\"password\\\":\\\"hun\"}", "{\"t\":\"x ```{"
	    "\\\"password\\\":\\\"[redacted:password]\\\"\"}" },
	{ "{\"t\":\"{'password': 'it\\\\'s', 'n': None}\"}", "{\"t\":\"{"
	    "'password': \\\"[redacted:password]\\\", 'n': None}\"}" },
	{ "{\"t\":\"{ password: x, a: 1 }\"}", "{\"t\":\"{ password: "
	    "\\\"[redacted:password]\\\", a: 1 }\"}" },
	{ "{\"t\":\"{\\\"gone\\\":1,\\\"a\\\":2} {\\\"gone\\\":3}\"}",
	    "{\"t\":\"{\\\"a\\\":2} {}\"}" },
	{ "{\"t\":\"[null, \\\"{\\\\\\\"gone\\\\\\\":1}\\\"]\"}",
	    "{\"t\":\"[null, \\\"{}\\\"]\"}" },
	{ "{\"t\":\"args={\\\\\\\"password\\\\\\\":\\\\\\\"x\\\\\\\"}\"}",
	    "{\"t\":\"args={\\\\\\\"password\\\\\\\":\\\\\\\""
	    "[redacted:password]\\\\\\\"}\"}" },
	/* Numbers and keys as text. */
	{ "{\"n\":4111111111111111,\"f\":4111111111111111.0,\"m\":-1}",
	    "{\"n\":\"[redacted:card]\",\"f\":\"[redacted:card]\","
	    "\"m\":-1}" },
	{ "{\"t\":\"{\\\"n\\\":4.111111111111111e15}\"}",
	    "{\"t\":\"{\\\"n\\\":\\\"[redacted:card]\\\"}\"}" },
	{ "{\"a@b.cd\":{\"x\":1}}", "{\"[redacted:email]\":{\"x\":1}}" },
	{ "{\"{\\\"password\\\":1}\":2}", "{\"{\\\"password\\\":"
	    "\\\"[redacted:password]\\\"}\":2}" },
	/* Nothing found: nothing changed. */
	{ "{\"t\":\"{ \\\"a\\\" : \\\"\\\\u0041\\\\/\\\" }\",\"n\":1.50}",
	    "{\"t\":\"{ \\\"a\\\" : \\\"\\\\u0041\\\\/\\\" }\",\"n\":1.50}" },
};

static void
add_rules(void)
{
	add_key("password", REDACT_REPLACE);
	add_key("*Secret*", REDACT_REPLACE);
	add_key("gone", REDACT_REMOVE);
	add_path("events.args.token", REDACT_REPLACE);
	add_path("*.m.*.c", REDACT_REPLACE);
	add_path("events.l.1", REDACT_REMOVE);
	add_path("events.a\\.b", REDACT_REPLACE);
	add_builtin("email", REDACT_REPLACE);
	add_builtin("card", REDACT_REPLACE);
	add_regex("ORD-\\d+", "order", REDACT_REMOVE);
}

START_TEST(test_events)
{
	begin();
	add_rules();
	for (size_t i = 0; i < NELEM(events); i++)
		ck_assert_str_eq(apply(events[i].in), events[i].out);
	/* A path of events is none of a change; one of * is. */
	const char *change = "{\"args\":{\"token\":1},\"m\":[{\"c\":1}]}";
	ck_assert_str_eq(apply_as(change, strlen(change), REDACT_CHANGE),
	    "{\"args\":{\"token\":1},\"m\":[{\"c\":\"[redacted:p]\"}]}");
	finish();
}
END_TEST

START_TEST(test_overlaps)
{
	begin();
	add_regex("abc", "one", REDACT_REPLACE);
	add_regex("cde", "two", REDACT_REPLACE);
	add_regex("x+", "x", REDACT_REPLACE);
	add_regex("=\\K\\w+", "kept", REDACT_REPLACE);
	add_regex("y*", "y", REDACT_REPLACE);
	ck_assert_str_eq(apply_text("-abcde-"), "-[redacted:one]-");
	ck_assert_str_eq(apply_text("abcabc"), "[redacted:one][redacted:one]");
	ck_assert_str_eq(apply_text("axxb"), "a[redacted:x]b");
	ck_assert_str_eq(apply_text("k=v"), "k=[redacted:kept]");
	ck_assert_str_eq(apply_text("ay\xc3\xa9"), "a[redacted:y]\xc3\xa9");
	ck_assert_uint_eq(hits("one", NULL), 3);
	ck_assert_uint_eq(hits("two", NULL), 0);
	finish();
}
END_TEST

START_TEST(test_hash)
{
	begin();
	add_key("k", REDACT_HASH);
	add_builtin("card", REDACT_HASH);
	redact_set_hash_key(set, "Jefe", 4);
	/* RFC 4231, test case 2. */
	ck_assert_str_eq(apply("{\"k\":\"what do ya want for nothing?\"}"),
	    "{\"k\":\"[redacted:k:5bdcc146bf60754e6a042426089575c7]\"}");
	/* Equal values have equal hashes, whatever they are written as. */
	char a[200];
	snprintf(a, sizeof a, "%s", apply("{\"a\":4111111111111111}"));
	ck_assert_str_eq(apply("{\"a\":\"4111111111111111\"}"), a);
	finish();
}
END_TEST

START_TEST(test_max_string)
{
	char text[1201], want[700];

	begin();
	add_key("password", REDACT_REPLACE);
	add_builtin("email", REDACT_REPLACE);
	redact_set_max_string(set, 300);
	memset(text, 'a', 1000);
	text[1000] = '\0';
	const char *got = apply_text(text);
	ck_assert_uint_le(strlen(got), 300);
	ck_assert_uint_ge(strlen(got), 280);
	ck_assert_ptr_nonnull(strstr(got, "a[cut:1000:sha256:"
	    "41edece42d63e8d9bf515a9ba6932e1c20cbc9f5a5d134645adb5db1b9737ea3"
	    "]a"));
	/* Not in the middle of a letter. */
	for (size_t i = 0; i < 4; i++) {
		memset(text, 'b', i);
		for (size_t k = i; k + 4 <= 1200; k += 4)
			memcpy(text + k, "\xf0\x9f\x98\x80", 4);
		text[i + (1200 - i) / 4 * 4] = '\0';
		got = apply_text(text);
		ck_assert_uint_le(strlen(got), 300);
		ck_assert_ptr_null(strstr(got, "\xef\xbf\xbd"));
		ck_assert(json_is_clean(got, strlen(got)));
	}
	/* First redacted, then cut: no half of a secret is seen. */
	memset(text, 'a', 300);
	memcpy(text + 90, " bob@example.com ", 17);
	text[300] = '\0';
	ck_assert_ptr_null(strstr(apply_text(text), "bob"));
	memset(text, 'a', 300);
	ck_assert_str_eq(apply_text(text), text);
	snprintf(want, sizeof want, "{\"password\":\"%.600s\"}", text);
	ck_assert_str_eq(apply(want), "{\"password\":\"[redacted:password]\"}");
	finish();
}
END_TEST

/* --- limits ---------------------------------------------------------------- */

static int64_t fake_us;

static int64_t
fake_clock(void)
{
	return fake_us += 200000;
}

/*
 * One thing in an object that is no JSON, such as a tuple or a date of Python,
 * and of all keys behind it the values were written to the disk.
 */
START_TEST(test_stray_keys)
{
	static const struct { const char *in, *out; } rows[] = {
		{ "{'a': (1, 2), 'secret': 'XYZ', 'b': 1}",
		    "{'a': (1, 2), 'secret': \"[redacted:secret]\", 'b': 1}" },
		{ "{'at': date(2020, 1, 1), 'secret': 'XYZ'}",
		    "{'at': date(2020, 1, 1), 'secret': \"[redacted:secret]\"}" },
		{ "{'secret': ('XYZ', 'XYZ'), 'b': 1}",
		    "{'secret': \"[redacted:secret]\", 'b': 1}" },
		{ "{'a': <b at 0x1>, 'secret': XYZ}",
		    "{'a': <b at 0x1>, 'secret': \"[redacted:secret]\"}" },
		{ "{a: b c, secret: 'XYZ'}",
		    "{a: b c, secret: \"[redacted:secret]\"}" },
		{ "{u'b': 1, u'secret': u'XYZ'}",
		    "{u'b': 1, u'secret': \"[redacted:secret]\"}" },
		{ "{\"a\":1, // c\n\"secret\":\"XYZ\"}",
		    "{\"a\":1, // c\n\"secret\":\"[redacted:secret]\"}" },
		{ "{\"a\":1,,\"secret\":{\"b\":\"XYZ\"}}",
		    "{\"a\":1,,\"secret\":\"[redacted:secret]\"}" },
		{ "{\"a\":\"b\" \"secret\":\"XYZ\"}",
		    "{\"a\":\"b\" \"secret\":\"[redacted:secret]\"}" },
		{ "{'a': (1, 2), 'gone': 'XYZ', 'b': 1}",
		    "{'a': (1, 2), , 'b': 1}" },
		/* No object, no keys. */
		{ "the secret: none (1, 2)", "the secret: none (1, 2)" },
	};

	begin();
	add_key("secret", REDACT_REPLACE);
	add_key("gone", REDACT_REMOVE);
	for (size_t i = 0; i < NELEM(rows); i++)
		ck_assert_str_eq(apply_text(rows[i].in), rows[i].out);
	finish();

	/* Of paths, those that may lead there by their last part. */
	begin();
	add_path("events.t.b.*.pin", REDACT_REPLACE);
	add_path("events.other.pass", REDACT_REPLACE);
	ck_assert_str_eq(apply_text("{'a': (1, 2), 'b': [{'pin': 'XYZ'}], "
	    "'pass': 1}"), "{'a': (1, 2), 'b': [{'pin': "
	    "\"[redacted:p]\"}], 'pass': 1}");
	ck_assert_str_eq(apply_text("{'b': [{'a': (1, 2), 'pin': 'XYZ'}]}"),
	    "{'b': [{'a': (1, 2), 'pin': \"[redacted:p]\"}]}");
	ck_assert_str_eq(apply_text("{'a': (1, 2), 'pins': 'XYZ'}"),
	    "{'a': (1, 2), 'pins': 'XYZ'}");
	finish();

	/* And it takes no time. */
	begin();
	add_key("secret", REDACT_REPLACE);
	add_key("gone", REDACT_REMOVE);
	static const char *const pieces[] = { ",\"\\\"", "'\"", "{a ", "a,'",
		"{\"", "secret", "\",\\" };
	const size_t n = 2u << 20;
	char *text = malloc(n + 1);
	ck_assert_ptr_nonnull(text);
	for (size_t i = 0; i < NELEM(pieces); i++) {
		size_t len = strlen(pieces[i]);

		text[0] = '{';
		for (size_t k = 1; k < n; k++)
			text[k] = pieces[i][k % len];
		text[n] = '\0';
		int64_t from = clock_cpu_us();
		(void)apply_text(text);
		ck_assert_msg(clock_cpu_us() - from < 5000000, "%s", pieces[i]);
	}
	free(text);
	finish();
}
END_TEST

/*
 * The built-in patterns are in time whatever the text is. From each of these
 * beginnings the rest of the text was read, where no token came of it: one
 * message of a few MiB stopped the loop for hours.
 */
START_TEST(test_no_slow_text)
{
	static const struct { const char *builtin, *piece; } rows[] = {
		{ "jwt", "-eyJ" }, { "api_keys", "_eyJ" },
		{ "jwt", "-eyJabcdefgh.-eyJ-eyJ" }, { "email", "-sk-sk" },
		{ "card", "-sk-ant-" }, { "anthropic_key", "-sk-" },
		{ "email", "-AIza" }, { "email", "_ghp_" },
		{ "email", "-xoxb-" }, { "email", "_sk_live_" },
		{ "email", "-GOCSPX-" }, { "email", "ya29." },
		{ "all", "-----BEGIN " }, { "all", "a://" }, { "all", "b@" },
	};
	const size_t n = 2u << 20;
	char *text = malloc(n + 1);

	ck_assert_ptr_nonnull(text);
	for (size_t i = 0; i < NELEM(rows); i++) {
		size_t len = strlen(rows[i].piece);

		for (size_t k = 0; k < n; k++)
			text[k] = rows[i].piece[k % len];
		text[n] = '\0';
		begin();
		add_builtin(rows[i].builtin, REDACT_REPLACE);
		int64_t from = clock_cpu_us();
		(void)apply_text(text);
		ck_assert_msg(clock_cpu_us() - from < 5000000, "%s: %s",
		    rows[i].builtin, rows[i].piece);
		finish();
	}
	free(text);
}
END_TEST

START_TEST(test_limits)
{
	uint64_t limits;

	/* What backtracks for ever takes the string with it. */
	begin();
	add_regex("(a+)+$", "slow", REDACT_REPLACE);
	ck_assert_str_eq(apply_text("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!"),
	    "[redacted:slow]");
	ck_assert_uint_eq(hits("slow", &limits), 1);
	ck_assert_uint_eq(limits, 1);
	finish();

	/* And what reads to the end from each letter, when its time is over. */
	size_t n = 2u << 20;
	char *text = malloc(n + 1);
	ck_assert_ptr_nonnull(text);
	memset(text, 'a', n);
	text[n] = '\0';
	begin();
	add_regex("[a-z]+[0-9]", "square", REDACT_REPLACE);
	run = redact_run_new(set);
	redact_run_set_clock(run, fake_clock);
	ck_assert_str_eq(apply_text(text), "[redacted:square]");
	/* The next message has its own time. */
	ck_assert_str_eq(apply_text("ab1"), "[redacted:square]");
	ck_assert_uint_eq(hits("square", &limits), 2);
	ck_assert_uint_eq(limits, 1);
	finish();

	/* The same with the real clock: it ends. */
	begin();
	add_regex("[a-z]+[0-9]", "square", REDACT_REPLACE);
	ck_assert_str_eq(apply_text(text), "[redacted:square]");
	finish();

	/* Too many matches to remember; built-in ones, too. */
	begin();
	add_builtin("email", REDACT_REPLACE);
	for (size_t i = 0; i + 8 <= n; i += 8)
		memcpy(text + i, "a@bb.cc ", 8);
	ck_assert_str_eq(apply_text(text), "[redacted:email]");
	ck_assert_uint_eq(hits("email", &limits), 1);
	ck_assert_uint_eq(limits, 1);
	finish();
	free(text);
}
END_TEST

/* Containers, and strings in strings, beyond which nobody looks. */
START_TEST(test_depth)
{
	struct buf a, b;

	begin();
	add_key("password", REDACT_REPLACE);
	char text[400];
	memset(text, '[', 300);
	strcpy(text + 300, "{\"password\":\"hunter2\"}");
	ck_assert_ptr_null(strstr(apply_text(text), "hunter2"));
	ck_assert_uint_eq(hits("too_deep", NULL), 1);

	buf_init(&a, 0);
	buf_init(&b, 0);
	buf_puts(&a, "{\"password\":\"hunter2\"}");
	for (int i = 1; i < 14; i++) {
		buf_reset(&b, SIZE_MAX);
		buf_puts(&b, "{\"a\":");
		json_put_string(&b, (const char *)a.data, a.len);
		buf_putc(&b, '}');
		struct buf t = a;
		a = b;
		b = t;
		const char *got = apply(buf_cstr(&a));
		ck_assert_ptr_null(strstr(got, "hunter2"));
		ck_assert_ptr_nonnull(strstr(got, i <= REDACT_LEVELS ?
		    "[redacted:password]" : "[redacted:too_deep]"));
	}
	buf_free(&a);
	buf_free(&b);
	finish();
}
END_TEST

START_TEST(test_refused)
{
	struct why why;

	begin();
	ck_assert_int_lt(redact_add_key(set, "", NULL, 0, &why), 0);
	ck_assert_int_lt(redact_add_key(set, "a", "a b", 0, &why), 0);
	ck_assert_int_lt(redact_add_regex(set, "(", "x", 0, &why), 0);
	ck_assert_str_eq(why.text, "missing closing parenthesis, at letter 2");
	ck_assert_int_lt(redact_add_builtin(set, "nothing", NULL, 0, &why), 0);
	for (int i = 0; i < REDACT_PATHS_MAX; i++)
		ck_assert_int_eq(redact_add_path(set, "*.a", NULL, 0, &why),
		    0);
	ck_assert_int_lt(redact_add_path(set, "*.a", NULL, 0, &why), 0);
	struct buf b;
	buf_init(&b, 0);
	run = redact_run_new(set);
	/* No event is no JSON; and what outgrows its limit is told. */
	buf_puts(&b, "{\"a\":1");
	ck_assert_int_lt(redact_event(run, REDACT_EVENTS, &b, 0), 0);
	buf_reset(&b, 0);
	b.max = 14;
	buf_puts(&b, "{\"a\":1}");
	ck_assert_int_eq(redact_event(run, REDACT_EVENTS, &b, 0), -ENOBUFS);
	buf_free(&b);
	finish();
}
END_TEST

/* --- models ---------------------------------------------------------------- */

static struct rng rng;

static uint32_t
below(uint32_t n)
{
	return (uint32_t)rng_below(&rng, n);
}

/* A tree; strings of it may be JSON again. */
static struct json_object *
grow(int depth)
{
	static const char *const keys[] = { "a", "Password", "b", "tok_x",
		"gone", "password", "c\"d", "\xc3\xa9" };
	struct json_object *o, *sub;

	switch (depth > 4 ? below(3) : below(7)) {
	case 0:
		return json_object_new_int((int)below(1000));
	case 1:
		return json_object_new_string("x\"\\\n\xf0\x9f\x98\x80");
	case 2:
		return NULL;
	case 3:
		o = json_object_new_array();
		for (uint32_t n = below(4); n > 0; n--)
			json_object_array_add(o, grow(depth + 1));
		return o;
	case 4:
		sub = grow(depth + 1);
		o = json_object_new_string(json_object_to_json_string_ext(sub,
		    below(2) ? JSON_C_TO_STRING_PLAIN :
		    JSON_C_TO_STRING_SPACED));
		json_object_put(sub);
		return o;
	default:
		o = json_object_new_object();
		for (uint32_t n = below(5); n > 0; n--)
			json_object_object_add(o, keys[below(NELEM(keys))],
			    grow(depth + 1));
		return o;
	}
}

/* A string's JSON, where it is a container or a string; or NULL. */
static struct json_object *
within(struct json_object *o)
{
	struct json_object *sub;

	if (!json_object_is_type(o, json_type_string))
		return NULL;
	sub = json_tokener_parse(json_object_get_string(o));
	if (sub != NULL && !json_object_is_type(sub, json_type_int))
		return sub;
	json_object_put(sub);
	return NULL;
}

/* The tree as the rules would have it, and all JSON in strings opened. */
static struct json_object *
model(struct json_object *o, bool redact)
{
	struct json_object *r, *sub = within(o);

	if (sub != NULL) {
		r = json_object_new_object();
		json_object_object_add(r, "in a string", model(sub, redact));
		json_object_put(sub);
		return r;
	}
	if (json_object_is_type(o, json_type_array)) {
		r = json_object_new_array();
		for (size_t i = 0; i < json_object_array_length(o); i++)
			json_object_array_add(r, model(
			    json_object_array_get_idx(o, i), redact));
		return r;
	}
	if (!json_object_is_type(o, json_type_object))
		return json_object_get(o);
	r = json_object_new_object();
	json_object_object_foreach(o, key, value) {
		if (redact && strcmp(key, "gone") == 0)
			continue;
		if (redact && strcasecmp(key, "password") == 0)
			json_object_object_add(r, key,
			    json_object_new_string("[redacted:password]"));
		else if (redact && strncmp(key, "tok", 3) == 0)
			json_object_object_add(r, key,
			    json_object_new_string("[redacted:tok]"));
		else
			json_object_object_add(r, key, model(value, redact));
	}
	return r;
}

START_TEST(test_model)
{
	rng_seed(&rng, 20261125);
	begin();
	add_key("password", REDACT_REPLACE);
	add_key("tok*", REDACT_REPLACE);
	add_key("gone", REDACT_REMOVE);
	for (int i = 0; i < 20000; i++) {
		struct json_object *o = json_object_new_object();
		json_object_object_add(o, "e", grow(0));
		json_object_object_add(o, "f", grow(0));
		const char *text = json_object_to_json_string_ext(o,
		    JSON_C_TO_STRING_PLAIN);
		const char *got = apply(text);
		struct json_object *out = json_tokener_parse(got);
		ck_assert_msg(out != NULL, "%s\n%s", text, got);
		struct json_object *want = model(o, true);
		struct json_object *have = model(out, false);
		ck_assert_msg(json_object_equal(want, have), "%s\n%s\n%s",
		    text, got, json_object_to_json_string(want));
		json_object_put(o);
		json_object_put(out);
		json_object_put(want);
		json_object_put(have);
	}
	finish();
}
END_TEST

#define WORD "(?<![A-Za-z0-9])"

/* The patterns that can be written as one, on text made of their pieces. */
START_TEST(test_regexes)
{
	static const struct { const char *name, *regex; } pairs[] = {
		{ "openai_key", WORD "sk-[A-Za-z0-9_-]{20,}" },
		{ "github_token", WORD "(?:gh[pousr]_|github_pat_)"
		    "[A-Za-z0-9_]{20,}" },
		{ "slack_token", WORD "(?:xox.-|xapp-)[A-Za-z0-9-]{10,}" },
		{ "aws_key", WORD "(?:AKIA|ASIA|A3T.)[A-Z0-9]{16,}" },
		{ "stripe_key", WORD "[sr]k_(?:live|test)_[A-Za-z0-9_]{10,}" },
	};
	static const char *const pieces[] = { "sk-", "ghp_", "github_pat_",
		"xoxb-", "xapp-", "AKIA", "A3TZ", "ASIA", "sk_live_",
		"rk_test_", "abcdefghij", "ABCDEFGH12", "0123456789", "-", "_",
		" ", "a", "Z", "9", "\xc3\xa9", "/", "." };

	rng_seed(&rng, 7);
	for (size_t k = 0; k < NELEM(pairs); k++) {
		for (int i = 0; i < 4000; i++) {
			char text[400] = "", *ours;
			for (uint32_t n = 1 + below(14); n > 0; n--)
				strcat(text, pieces[below(NELEM(pieces))]);
			begin();
			add_builtin(pairs[k].name, REDACT_REPLACE);
			ours = strdup(apply_text(text));
			finish();
			begin();
			add_regex(pairs[k].regex, pairs[k].name,
			    REDACT_REPLACE);
			ck_assert_msg(strcmp(apply_text(text), ours) == 0,
			    "%s\n%s\n%s", text, ours, apply_text(text));
			finish();
			free(ours);
		}
	}
}
END_TEST

int
main(void)
{
	return unit_run("redact", (const TTest *const[]){ test_builtins,
	    test_each_builtin, test_events, test_overlaps, test_hash,
	    test_max_string, test_stray_keys, test_pairs,
	    test_twice, test_no_slow_text, test_limits,
	    test_depth, test_refused, test_model, test_regexes, NULL });
}
