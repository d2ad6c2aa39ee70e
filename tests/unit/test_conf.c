/* conf: what a configuration file may say, and what its errors say. */
#include <errno.h>
#include <string.h>

#include "base/buf.h"
#include "base/log.h"
#include "core/conf.h"
#include "core/conf_table.h"
#include "core/conf_value.h"
#include "unit.h"

#define URL "upstream: {url: https://lumni.example}\n"

static struct conf *
parse(const char *text)
{
	struct conf *cf;
	struct why why = { "" };

	int r = conf_parse(text, strlen(text), "f", true, &cf, &why);
	ck_assert_msg(r == 0, "%s\n%s", text, why.text);
	return cf;
}

/* The value of one key, as --print-config writes it. */
static const char *
value(const struct conf *cf, const char *name)
{
	static char text[1024];
	const struct conf_key *key = conf_key_find(name);
	struct buf b;

	ck_assert_ptr_nonnull(key);
	buf_init(&b, 0);
	conf_value_put(cf, key, &b);
	snprintf(text, sizeof text, "%s", buf_cstr(&b));
	buf_free(&b);
	return text;
}

START_TEST(test_defaults)
{
	struct conf *cf = parse("");

	ck_assert_str_eq(cf->upstream.url, "");
	ck_assert_int_eq(cf->upstream.timeout_ms, 30000);
	ck_assert_uint_eq(cf->upstream.connections, 4);
	ck_assert_int_eq(cf->upstream.http, CONF_HTTP_AUTO);
	ck_assert_int_eq(cf->upstream.compression, CONF_ZSTD);
	ck_assert_uint_eq(cf->upstream.level, 3);
	ck_assert_int_eq(cf->upstream.tls_min, CONF_TLS_1_2);
	ck_assert_str_eq(cf->listen.unix_stream.path,
	    RUNSTATEDIR "/lumnid/lumnid.sock");
	ck_assert_uint_eq(cf->listen.unix_stream.mode, 0660);
	ck_assert_str_eq(cf->listen.udp, "127.0.0.1:8842");
	ck_assert_str_eq(cf->listen.http, "127.0.0.1:8842");
	ck_assert_str_eq(cf->listen.dgram.path, "");
	ck_assert_str_eq(cf->listen.forward_tcp, "");
	ck_assert(!cf->listen.allow_remote && !cf->listen.http_require_key);
	ck_assert(cf->events.stamp_at);
	ck_assert_uint_eq(cf->events.max_message, 8 << 20);
	ck_assert_int_eq(cf->runs.idle_ms, 30000);
	ck_assert_int_eq(cf->runs.max_age_ms, 300000);
	ck_assert_uint_eq(cf->runs.max_events, 1000);
	ck_assert_uint_eq(cf->runs.max_bytes, 4 << 20);
	ck_assert_uint_eq(cf->runs.max_open, 100000);
	ck_assert_uint_eq(cf->runs.end_types.n, 1);
	ck_assert_str_eq(cf->runs.end_types.v[0], "run_end");
	ck_assert_str_eq(cf->storage.dir, LOCALSTATEDIR "/lib/lumnid");
	ck_assert_int_eq(cf->storage.durability, CONF_DURABILITY_ACK);
	ck_assert_uint_eq(cf->storage.journal_max, 256 << 20);
	ck_assert_uint_eq(cf->storage.spool_max, 1 << 30);
	ck_assert_uint_eq(cf->storage.free_min, 0);
	ck_assert_int_eq(cf->storage.when_full, CONF_REFUSE);
	ck_assert_int_eq(cf->storage.max_age_ms, 0);
	ck_assert_int_eq(cf->log.level, LOG_LEVEL_INFO);
	ck_assert_int_eq(cf->log.format, CONF_LOG_TEXT);
	ck_assert_uint_eq(cf->limits.connections, 1024);
	ck_assert_uint_eq(cf->limits.connections_per_uid, 256);
	conf_free(cf);
	conf_free(NULL);
}
END_TEST

/* The words are in the order of the enums that the code compares with. */
START_TEST(test_words)
{
	struct conf *cf = parse("upstream: {http: 1.1, compression: none, "
	    "tls_min: 1.3}\nstorage: {durability: never, "
	    "when_full: drop_oldest}\nlog: {level: debug, format: json}\n");

	ck_assert_int_eq(cf->upstream.http, CONF_HTTP_1_1);
	ck_assert_int_eq(cf->upstream.compression, CONF_NONE);
	ck_assert_int_eq(cf->upstream.tls_min, CONF_TLS_1_3);
	ck_assert_int_eq(cf->storage.durability, CONF_DURABILITY_NEVER);
	ck_assert_int_eq(cf->storage.when_full, CONF_DROP_OLDEST);
	ck_assert_int_eq(cf->log.level, LOG_LEVEL_DEBUG);
	ck_assert_int_eq(cf->log.format, CONF_LOG_JSON);
	conf_free(cf);
	cf = parse("upstream: {http: 2}\nstorage: {durability: always}\n"
	    "log: {level: error}\n");
	ck_assert_int_eq(cf->upstream.http, CONF_HTTP_2);
	ck_assert_int_eq(cf->storage.durability, CONF_DURABILITY_ALWAYS);
	ck_assert_int_eq(cf->log.level, LOG_LEVEL_ERROR);
	conf_free(cf);
}
END_TEST

START_TEST(test_good)
{
	static const struct {
		const char *text, *key, *value;
	} must[] = {
		{ "", "runs.idle", "30s" },
		{ "# nothing\n", "runs.idle", "30s" },
		{ "---\n", "runs.idle", "30s" },
		{ "---\nruns:\n  idle: 2h\n...\n", "runs.idle", "2h" },
		{ "\xef\xbb\xbfruns: {idle: 1s}", "runs.idle", "1s" },
		{ "runs:\r\n  idle: 1s\r\n", "runs.idle", "1s" },
		{ "runs:\n", "runs.idle", "30s" },
		{ "runs: ~\n", "runs.idle", "30s" },
		{ "runs: {}\n", "runs.idle", "30s" },
		{ "runs: {idle: 90s}", "runs.idle", "90s" },
		{ "runs: {idle: 1m30s}", "runs.idle", "90s" },
		{ "runs: {idle: \"2min\"}", "runs.idle", "2min" },
		{ "runs: {max_bytes: 2048}", "runs.max_bytes", "2KiB" },
		{ "runs: {max_events: 7}", "runs.max_events", "7" },
		{ "runs: {end_types: []}", "runs.end_types", "[]" },
		{ "runs:\n  end_types:\n    - a\n    - 'b c'\n    - 1\n",
		    "runs.end_types", "[a, \"b c\", 1]" },
		{ "storage: {free_min: auto}", "storage.free_min", "auto" },
		{ "storage: {free_min: 0}", "storage.free_min", "auto" },
		{ "storage: {max_age: 0}", "storage.max_age", "never" },
		{ "storage: {max_age: 7d}", "storage.max_age", "7d" },
		{ "storage: {dir: /a b}", "storage.dir", "\"/a b\"" },
		{ "events: {stamp_at: false}", "events.stamp_at", "false" },
		{ "listen: {unix: {mode: 0600}}", "listen.unix.mode", "0600" },
		{ "listen: {unix: {mode: 0o622}}", "listen.unix.mode", "0622" },
		{ "listen: {unix: {mode: \"0666\"}}", "listen.unix.mode",
		    "0666" },
		{ "listen: {unix: {path: off}}", "listen.unix.path", "off" },
		{ "listen: {unix: {path: \"\"}}", "listen.unix.path", "off" },
		{ "listen: {unix: {group: 0}}", "listen.unix.group", "0" },
		{ "listen: {unix: {group: root}}", "listen.unix.group",
		    "root" },
		{ "listen: {unix: {allow_uids: [root, 1000]}}",
		    "listen.unix.allow_uids", "[root, 1000]" },
		{ "listen: {udp: off}", "listen.udp", "off" },
		{ "listen: {udp: \"\"}", "listen.udp", "off" },
		{ "listen: {udp: 127.0.0.1:0}", "listen.udp", "127.0.0.1:0" },
		{ "listen: {udp: localhost:9}", "listen.udp", "localhost:9" },
		{ "listen: {http: \"[::1]:8842\"}", "listen.http",
		    "\"[::1]:8842\"" },
		{ "upstream: {url: https://a.b-c_d:8443/x/y%20z/}",
		    "upstream.url", "https://a.b-c_d:8443/x/y%20z" },
		{ "upstream: {url: http://localhost/}", "upstream.url",
		    "http://localhost" },
		{ "upstream: {url: \"http://[::1]:80//\"}", "upstream.url",
		    "\"http://[::1]:80\"" },
		{ "upstream: {proxy: none}", "upstream.proxy", "none" },
		{ "upstream: {proxy: http://u:secret@p:3128}",
		    "upstream.proxy", "\"http://********@p:3128\"" },
		{ "upstream: {proxy: socks5h://p}", "upstream.proxy",
		    "socks5h://p" },
		{ "upstream: {unix_socket: /run/x}", "upstream.unix_socket",
		    "/run/x" },
		{ "upstream: {ca_file: /etc/ca.pem}", "upstream.ca_file",
		    "/etc/ca.pem" },
		{ "redact: {paths: [events.args.password, '*.k']}",
		    "redact.paths", "[events.args.password, \"*.k\"]" },
		{ "runs: {end_types: [\"a\\\"b\\\\c\"]}", "runs.end_types",
		    "[\"a\\\"b\\\\c\"]" },
		{ "runs: {end_types: [\"a\\u2028\\x85\\ufeff\\U0001f600\"]}",
		    "runs.end_types",
		    "[\"a\\u2028\\x85\\ufeff\xf0\x9f\x98\x80\"]" },
		{ "redact: {keys: [password, 'x-*']}", "redact.keys",
		    "[password, \"x-*\"]" },
		{ "redact:\n  keys:\n  - key: ssn\n    action: hash\n"
		    "  - {name: n, key: b}", "redact.keys",
		    "[{key: ssn, action: hash}, {key: b, name: \"n\"}]" },
		{ "redact: {keys: [{key: a, action: replace}]}", "redact.keys",
		    "[a]" },
		{ "redact: {patterns: [all, {name: card, action: remove}, "
		    "{name: x, regex: '\\d+: \"'}]}", "redact.patterns",
		    "[all, {name: card, action: remove}, "
		    "{regex: \"\\\\d+: \\\"\", name: x}]" },
		{ "redact: {patterns: []}", "redact.patterns", "[]" },
		{ "redact: {max_string: 1KiB, hash_key_file: /k}",
		    "redact.hash_key_file", "/k" },
		{ "limits: {uid_bytes_per_s: unlimited}",
		    "limits.uid_bytes_per_s", "unlimited" },
		{ "limits: {uid_bytes_per_s: 1MB}", "limits.uid_bytes_per_s",
		    "1000000" },
	};

	for (size_t i = 0; i < NELEM(must); i++) {
		struct conf *cf = parse(must[i].text);
		ck_assert_str_eq(value(cf, must[i].key), must[i].value);
		conf_free(cf);
	}
}
END_TEST

/* Files, and the error that each gets, whole. */
static const struct {
	const char *text, *error;
} bad_files[] = {
	/* keys */
	{ "idle: 3s", "f:1:1: unknown key \"idle\"; "
	    "did you mean \"runs.idle\"?" },
	{ "runs:\n  idel: 3s", "f:2:3: unknown key \"runs.idel\"; "
	    "did you mean \"runs.idle\"?" },
	{ "upstream:\n  api_key: x", "f:2:3: unknown key "
	    "\"upstream.api_key\"; "
	    "did you mean \"upstream.api_key_file\"?" },
	{ "listen:\n  unix:\n    pth: /x", "f:3:5: unknown key "
	    "\"listen.unix.pth\"; did you mean "
	    "\"listen.unix.path\"?" },
	{ "storge: {dir: /x}", "f:1:1: unknown key \"storge\"; "
	    "did you mean \"storage\"?" },
	{ "frobnicate: 1", "f:1:1: unknown key \"frobnicate\"; "
	    "lumnid.yaml(5) lists all keys" },
	{ "runs.idle: 3s", "f:1:1: \"runs.idle\" is written as "
	    "sections: \"runs:\", and below it, indented, "
	    "\"idle:\"" },
	{ "listen: {unix.path: /x}", "f:1:10: \"listen.unix.path\" is "
	    "written as sections: \"listen.unix:\", and below it, "
	    "indented, \"path:\"" },
	{ "runs: {idle: 1s, idle: 2s}",
	    "f:1:18: runs.idle is set twice; first in line 1" },
	{ "runs:\n  idle: 1s\nlog:\nruns:\n  max_age: 1s",
	    "f:4:1: the section runs is there twice; "
	    "first in line 1" },
	{ "[a]: 1", "f:1:1: a list where a key is wanted" },
	{ "runs: {? {a: b} : 1}", "f:1:10: a map where a key is "
	    "wanted" },
	{ "\"ru\\0ns\": 1", "f:1:1: a NUL character" },
	/* shape */
	{ "hello", "f:1:1: a value where the sections (upstream:, "
	    "listen: ...) are wanted" },
	{ "- a", "f:1:1: a list where the sections (upstream:, "
	    "listen: ...) are wanted" },
	{ "runs: 3", "f:1:7: runs is a section: its keys go below it, "
	    "indented" },
	{ "runs: [a]", "f:1:7: runs is a section: its keys go below "
	    "it, indented" },
	{ "runs:\n  idle:\n    a: b", "f:3:5: runs.idle: a map where a "
	    "duration such as 30s is wanted" },
	{ "runs:\n  idle: [1s]", "f:2:9: runs.idle: a list where a "
	    "duration such as 30s is wanted" },
	{ "runs:\n  idle:\n", "f:2:8: runs.idle has no value; it takes "
	    "a duration such as 30s" },
	{ "runs: {idle: ~}", "f:1:14: runs.idle has no value; it takes "
	    "a duration such as 30s" },
	{ "runs: {end_types: a}", "f:1:19: runs.end_types: a value "
	    "where a list such as [one, two] is wanted" },
	{ "runs: {end_types: [[a]]}", "f:1:20: runs.end_types: a list "
	    "in the list, where a plain item is wanted" },
	{ "runs: {end_types: [a, \"\"]}", "f:1:23: runs.end_types: an "
	    "item of the list is empty" },
	{ URL "---\n" URL, "f:2:1: a second document; the file holds "
	    "one" },
	/* YAML's traps */
	{ "runs: &x {idle: 1s}", "f:1:7: anchors (&name) are not "
	    "supported" },
	{ "runs:\n  idle: *x", "f:2:9: aliases (*name) are not "
	    "supported" },
	{ "runs:\n  <<: *x", "f:2:3: unknown key \"runs.<<\"; "
	    "lumnid.yaml(5) lists all keys" },
	{ "runs: {idle: !!str 1s}", "f:1:14: tags (!name) are not "
	    "supported" },
	{ "runs:\n\tidle: 1s", "f:2:1: a tab; YAML is indented with "
	    "spaces" },
	{ "listen: {http: [::1]:8842}", "f:1:16: listen.http: an IPv6 "
	    "address needs quotes: \"[::1]:8842\"" },
	{ "runs:\n  idle: 3s\xff", "f:2:11: is not UTF-8 text: invalid "
	    "leading UTF-8 octet" },
	{ "# \xc3\xa4\xc3\xb6\n  \x01", "f:2:3: is not UTF-8 text: "
	    "control characters are not allowed" },
	/* values */
	{ "runs: {idle: 30}", "f:1:14: runs.idle: \"30\": a duration's "
	    "units are d, h, min (or m), s, ms, in that order" },
	{ "runs: {idle: soon}", "f:1:14: runs.idle: \"soon\" is no "
	    "duration, such as 500ms, 30s or 1h30m" },
	{ "runs: {idle: 1ms}", "f:1:14: runs.idle: \"1ms\": must be "
	    "10ms to 7d" },
	{ "runs: {idle: 0}", "f:1:14: runs.idle: \"0\": must be 10ms "
	    "to 7d" },
	{ "runs: {idle: 8d}", "f:1:14: runs.idle: \"8d\": must be 10ms "
	    "to 7d" },
	{ "runs: {idle: 99999999999999999999d}", "f:1:14: runs.idle: "
	    "\"99999999999999999999d\": must be 10ms to 7d" },
	{ "storage: {max_age: 1ms}", "f:1:20: storage.max_age: "
	    "\"1ms\": must be 1s to 3650d, or never" },
	{ "runs: {max_events: many}", "f:1:20: runs.max_events: "
	    "\"many\" is not a number" },
	{ "runs: {max_events: -1}", "f:1:20: runs.max_events: \"-1\" "
	    "is not a number" },
	{ "runs: {max_events: \"10\"}", "f:1:20: runs.max_events: "
	    "\"10\" is not a number" },
	{ "runs: {max_events: 1.5}", "f:1:20: runs.max_events: \"1.5\" "
	    "is not a number" },
	{ "runs: {max_events: 0}", "f:1:20: runs.max_events: \"0\": "
	    "must be 1 to 100000" },
	{ "runs: {max_events: 18446744073709551616}",
	    "f:1:20: runs.max_events: \"18446744073709551616\": must "
	    "be 1 to 100000" },
	{ "events: {max_message: 8M}", "f:1:23: events.max_message: "
	    "\"8M\": the units of a size are B, KiB, MiB, GiB, TiB, "
	    "KB, MB, GB, TB" },
	{ "events: {max_message: 1GiB}", "f:1:23: events.max_message: "
	    "\"1GiB\": must be 1KiB to 32MiB" },
	{ "events: {stamp_at: yes}", "f:1:20: events.stamp_at: \"yes\" "
	    "is not true or false" },
	{ "events: {stamp_at: \"true\"}", "f:1:20: events.stamp_at: "
	    "\"true\" is not true or false" },
	{ "log: {level: loud}", "f:1:14: log.level: \"loud\": must be "
	    "error, warn, info or debug" },
	{ "upstream: {http: 3}", "f:1:18: upstream.http: \"3\": must "
	    "be auto, 1.1 or 2" },
	{ "upstream: {level: 20}", "f:1:19: upstream.level: \"20\": "
	    "must be 1 to 19" },
	{ "listen: {unix: {mode: 660}}", "f:1:23: listen.unix.mode: "
	    "\"660\" is not a mode such as 0660" },
	{ "listen: {unix: {mode: 0689}}", "f:1:23: listen.unix.mode: "
	    "\"0689\" is not a mode such as 0660" },
	{ "listen: {unix: {mode: 01777}}", "f:1:23: listen.unix.mode: "
	    "\"01777\": must be 0000 to 0777" },
	{ "listen: {unix: {group: no such}}", "f:1:24: "
	    "listen.unix.group: there is no group \"no such\"; make it "
	    "with groupadd, or name another" },
	{ "listen: {unix: {allow_uids: [nobody-here]}}", "f:1:30: "
	    "listen.unix.allow_uids: there is no user "
	    "\"nobody-here\"" },
	{ "listen: {unix: {path: a.sock}}", "f:1:23: listen.unix.path: "
	    "\"a.sock\" is not a socket's absolute path" },
	{ "storage: {dir: var}", "f:1:16: storage.dir: \"var\" is not "
	    "an absolute path" },
	{ "storage: {dir: \"\"}", "f:1:16: storage.dir: \"\" is not an "
	    "absolute path" },
	/* rules */
	{ "redact: {keys: password}", "f:1:16: redact.keys: a value where a "
	    "list such as [password, {key: ssn, action: hash}] is wanted" },
	{ "redact: {keys: [\"\"]}", "f:1:17: redact.keys: an item of the "
	    "list is empty" },
	{ "redact: {keys: [[a]]}", "f:1:17: redact.keys: a list in the list, "
	    "where a plain item is wanted" },
	{ "redact: {keys: [{path: a}]}", "f:1:18: redact.keys: an item has no "
	    "\"path\"; it has key, name and action" },
	{ "redact: {keys: [{name: a}]}", "f:1:17: redact.keys: an item "
	    "without \"key\"" },
	{ "redact: {keys: [{key: a, key: b}]}", "f:1:26: redact.keys: key is "
	    "set twice" },
	{ "redact: {keys: [{key: a, action: burn}]}", "f:1:26: redact.keys: "
	    "action: \"burn\": must be replace, hash or remove" },
	{ "redact: {keys: [{key: a, name: 'a b'}]}", "f:1:26: redact.keys: "
	    "name: \"a b\" is none: it has 1 to 64 letters, digits, _, - or "
	    "." },
	{ "redact: {keys: [{key: [a]}]}", "f:1:23: redact.keys: key: a text "
	    "is wanted" },
	{ "redact: {keys: [{key: }]}", "f:1:23: redact.keys: key: a text is "
	    "wanted" },
	{ "redact: {patterns: [{regex: a}]}", "f:1:21: redact.patterns: a "
	    "pattern without \"name\"" },
	{ "redact: {patterns: [emial]}", "f:1:21: redact.patterns: there is "
	    "no built-in pattern \"emial\" (private_key, jwt, anthropic_key, "
	    "stripe_key, openai_key, aws_key, github_token, slack_token, "
	    "google_key, bearer, url_password, email, card, api_keys, all); "
	    "one of your own is written {name: NAME, regex: 'REGEX'}" },
	{ "redact: {max_string: 64}", "f:1:22: redact.max_string: \"64\": "
	    "must be 256 to 32MiB, or unlimited" },
	{ "listen: {udp: 8842}", "f:1:15: listen.udp: \"8842\" has no "
	    "port; write host:port, as in 127.0.0.1:8842" },
	{ "listen: {udp: ':8842'}", "f:1:15: listen.udp: \":8842\" has "
	    "no host; 127.0.0.1 is this host only" },
	{ "listen: {udp: 127.0.0.1:65536}", "f:1:15: listen.udp: "
	    "\"127.0.0.1:65536\" the port after the colon must be 0 "
	    "to 65535" },
	{ "listen: {udp: host:1}", "f:1:15: listen.udp: \"host:1\" the "
	    "host must be an IP address, as in 127.0.0.1:8842 or "
	    "\"[::1]:8842\"" },
	{ "listen: {udp: '::1:8842'}", "f:1:15: listen.udp: "
	    "\"::1:8842\" an IPv6 address needs brackets: "
	    "\"[::1]:8842\"" },
	{ "upstream: {url: lumni.example}", "f:1:17: upstream.url: "
	    "\"lumni.example\" must begin with https://, http:// or http+unix://" },
	{ "upstream: {url: https://}", "f:1:17: upstream.url: "
	    "\"https://\" has no host" },
	{ "upstream: {url: https://u:p@h}", "f:1:17: upstream.url: "
	    "must have no user and password; the key belongs in "
	    "upstream.api_key_file" },
	{ "upstream: {url: https://h/?a}", "f:1:17: upstream.url: "
	    "\"https://h/?a\" must have no query and no fragment" },
	{ "upstream: {url: https://h/#a}", "f:1:17: upstream.url: "
	    "\"https://h/#a\" must have no query and no fragment" },
	{ "upstream: {url: https://h:0}", "f:1:17: upstream.url: "
	    "\"https://h:0\" has a port that is not 1 to 65535" },
	{ "upstream: {url: 'https://h/a b'}", "f:1:17: upstream.url: "
	    "\"https://h/a b\" has a letter in its path that must be "
	    "escaped" },
	{ "upstream: {url: https://h!}", "f:1:17: upstream.url: "
	    "\"https://h!\" has a host with a letter that cannot be "
	    "in one" },
	{ "upstream: {url: 'https://[::g]'}", "f:1:17: upstream.url: "
	    "\"https://[::g]\" has a bad IPv6 address in brackets" },
	{ "upstream: {url: https://h/v1/ingest/events}", "f:1:17: "
	    "upstream.url: \"https://h/v1/ingest/events\" must end "
	    "before \"/v1/ingest/events\", which lumnid adds" },
	{ "upstream: {proxy: 'ftp://u:pw@h'}", "f:1:19: "
	    "upstream.proxy: must be none, or begin with http://, "
	    "https://, socks5:// or socks5h://" },
	{ "upstream: {proxy: http://h/x}", "f:1:19: upstream.proxy: "
	    "must have no path" },
};

START_TEST(test_bad)
{
	for (size_t i = 0; i < NELEM(bad_files); i++) {
		struct conf *cf = NULL;
		struct why why = { "" };
		int r = conf_parse(bad_files[i].text, strlen(bad_files[i].text),
		    "f", true, &cf, &why);
		ck_assert_int_eq(r, -EINVAL);
		ck_assert_ptr_null(cf);
		ck_assert_str_eq(why.text, bad_files[i].error);
		/* The same without anybody who asks why. */
		r = conf_parse(bad_files[i].text, strlen(bad_files[i].text),
		    "f", true, &cf, NULL);
		ck_assert_int_eq(r, -EINVAL);
	}
}
END_TEST

/* libyaml's words may change; the place may not. */
START_TEST(test_bad_yaml)
{
	static const struct {
		const char *text, *error;
	} must_not[] = {
		{ "runs: {idle: 1s,\n", "f:2:" },
		{ "runs:\n  idle: \"1s\n", "f:3:" },
		{ "runs:\n    idle: 1s\n  max_age: 1s\n", "f:3:3: " },
		{ "a: b: c\n", "f:1:" },
		{ "%", "f:1:" },
		{ "%YAML 3.0\n---\n", "f:1:" },
	};

	for (size_t i = 0; i < NELEM(must_not); i++) {
		struct conf *cf;
		struct why why = { "" };
		ck_assert_int_eq(conf_parse(must_not[i].text,
		    strlen(must_not[i].text), "f", true, &cf, &why), -EINVAL);
		ck_assert_msg(strncmp(why.text, must_not[i].error,
		    strlen(must_not[i].error)) == 0, "%s: %s",
		    must_not[i].text, why.text);
	}
}
END_TEST

START_TEST(test_checks)
{
	static const struct {
		const char *text, *error;
	} t[] = {
		{ "", "f: upstream.url is not set; it says where runs are "
		    "delivered, as in https://host" },
		{ URL, NULL },
		{ URL "listen: {udp: 127.9.9.9:1, http: \"[::1]:1\"}", NULL },
		{ URL "listen: {udp: \"[::ffff:127.0.0.1]:1\"}", NULL },
		{ URL "listen:\n  udp: 0.0.0.0:8842", "f:3: listen.udp is "
		    "0.0.0.0:8842, which other hosts can reach; if that is "
		    "meant, set listen.allow_remote: true" },
		{ URL "listen: {http: \"[::]:1\"}", "f:2: listen.http is "
		    "[::]:1, which other hosts can reach; if that is meant, "
		    "set listen.allow_remote: true" },
		{ URL "listen: {forward_tcp: 10.0.0.1:24224}", "f:2: "
		    "listen.forward_tcp is 10.0.0.1:24224, which other hosts "
		    "can reach; if that is meant, set listen.allow_remote: "
		    "true" },
		{ URL "listen: {udp: 0.0.0.0:1, allow_remote: true}", NULL },
		{ URL "listen: {unix: {path: /x}, dgram: {path: /x}}", "f:2: "
		    "listen.dgram.path is the same as listen.unix.path" },
		{ URL "listen: {http: 127.0.0.1:1, forward_tcp: 127.0.0.1:1}",
		    "f:2: listen.forward_tcp is the same as listen.http" },
		{ URL "listen: {http: 127.0.0.1:0, forward_tcp: 127.0.0.1:0}",
		    NULL },
		{ "upstream: {url: https://h, key_file: /k}", "f:1: "
		    "upstream.key_file needs upstream.cert_file beside it" },
		{ "upstream: {url: https://h, key_file: /k, cert_file: /c}",
		    NULL },
		{ URL "storage: {journal_max: 1MiB}", "events.max_message is "
		    "larger than storage.journal_max" },
		{ URL "storage: {journal_max: 1MiB}\nevents: {max_message: "
		    "1MiB}\nruns: {max_bytes: 2MiB}", "f:4: runs.max_bytes is "
		    "larger than storage.journal_max" },
		{ URL "storage: {spool_max: 1MiB}", "runs.max_bytes is larger "
		    "than storage.spool_max" },
	};

	for (size_t i = 0; i < NELEM(t); i++) {
		struct conf *cf;
		struct why why = { "" };
		int r = conf_parse(t[i].text, strlen(t[i].text), "f", false,
		    &cf, &why);
		if (t[i].error == NULL) {
			ck_assert_msg(r == 0, "%s", why.text);
			conf_free(cf);
		} else {
			ck_assert_int_eq(r, -EINVAL);
			ck_assert_str_eq(why.text, t[i].error);
		}
	}
}
END_TEST

/* What only shows when the rules are compiled, and where it is. */
START_TEST(test_compile)
{
	static const struct {
		const char *text, *error;
	} bad[] = {
		{ "redact:\n  patterns:\n  - email\n  - name: order\n"
		    "    regex: 'ORD-([0-9]+'", "f:5:12: redact.patterns: "
		    "\"order\": missing closing parenthesis, at letter 12" },
		{ "redact: {patterns: [{name: x, regex: 'a\\Cb'}]}",
		    "f:1:38: redact.patterns: \"x\": using \\C is disabled by "
		    "the application, at letter 4" },
		{ "redact: {paths: [args.password]}", "f:1:18: redact.paths: "
		    "\"args.password\": a path begins with events, change, "
		    "policy or *, and goes on to a key: events.args.password" },
		{ "redact: {paths: [events]}", "f:1:18: redact.paths: "
		    "\"events\": a path begins with events, change, policy or "
		    "*, and goes on to a key: events.args.password" },
		{ "redact: {paths: [events..a]}", "f:1:18: redact.paths: "
		    "\"events..a\": a part of the path is empty; it is written "
		    "as events.args.password" },
		{ "redact: {paths: ['events.**.a']}", "f:1:18: redact.paths: "
		    "\"events.**.a\": ** is no part of a path; redact.keys "
		    "finds a key at any depth" },
		{ "redact: {keys: [{key: a, action: hash}]}",
		    "redact.hash_key_file is not set; the action hash needs a "
		    "key, as \"openssl rand -hex 32\" makes one" },
		{ "redact: {keys: [{key: a, action: hash}], "
		    "hash_key_file: /nowhere/key}", "redact.hash_key_file: "
		    "/nowhere/key does not exist; write the HMAC key "
		    "into it" },
	};
	struct why why;

	for (size_t i = 0; i < NELEM(bad); i++) {
		struct conf *cf = parse(bad[i].text);
		ck_assert_int_lt(conf_compile(cf, &why), 0);
		ck_assert_str_eq(why.text, bad[i].error);
		ck_assert_ptr_null(cf->redact.set);
		conf_free(cf);
	}
	struct conf *cf = parse("redact: {keys: [a, {key: b, name: c}], "
	    "paths: ['*.a.0'], patterns: [all, {name: d, regex: x}]}");
	ck_assert_int_eq(conf_compile(cf, &why), 0);
	ck_assert_ptr_nonnull(cf->redact.set);
	conf_free(cf);
	cf = parse("redact: {keys: []}");
	ck_assert_int_eq(conf_compile(cf, &why), 0);
	ck_assert_ptr_null(cf->redact.set);
	conf_free(cf);
}
END_TEST

int
main(void)
{
	unsetenv("LUMNI_API_KEY");
	unsetenv("CREDENTIALS_DIRECTORY");
	return unit_run("conf", (const TTest *const[]){ test_defaults,
	    test_words, test_good, test_bad, test_bad_yaml, test_checks,
	    test_compile, NULL });
}
