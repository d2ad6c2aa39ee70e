/* conf_table: the rows, and how they are found. */
#include <stdio.h>
#include <string.h>

#include "codec/redact.h"
#include "core/conf.h"
#include "core/conf_table.h"

/* The field's offset; it does not compile when the field is no `type`. */
#define FIELD(field, type)						\
	(offsetof(struct conf, field) + 0 * sizeof(char[		\
	    __builtin_types_compatible_p(				\
	    __typeof__(((struct conf *)0)->field), type) ? 1 : -1]))

#define BOOL(f)		.type = CONF_BOOL, .offset = FIELD(f, bool)
#define COUNT(f)	.type = CONF_COUNT, .offset = FIELD(f, uint64_t)
#define SIZE(f)		.type = CONF_SIZE, .offset = FIELD(f, uint64_t)
#define DURATION(f)	.type = CONF_DURATION, .offset = FIELD(f, int64_t)
#define MODE(f)		.type = CONF_MODE, .offset = FIELD(f, uint32_t)
#define WORD(f, w)	.type = CONF_WORD, .offset = FIELD(f, int), .words = (w)
#define TEXT(f, t)	.type = (t), .offset = FIELD(f, char *)
#define LIST(f, t)	.type = (t), .offset = FIELD(f, struct conf_list)
#define RULES(f, i)	.type = CONF_RULES, .item = (i),		\
	.offset = FIELD(f, struct conf_rules)
#define RANGE(a, b)	.min = (a), .max = (b)
#define LIVE		.live = true

#define KIB		((uint64_t)1 << 10)
#define MIB		((uint64_t)1 << 20)
#define TIB		((uint64_t)1 << 40)
#define SECOND		((uint64_t)1000)
#define DAY		(86400 * SECOND)

/* In the order of the enums in conf.h and of enum log_level. */
static const char *const words_http[] = { "auto", "1.1", "2", NULL };
static const char *const words_compression[] = { "zstd", "none", NULL };
static const char *const words_tls[] = { "1.2", "1.3", NULL };
static const char *const words_durability[] = { "ack", "always", "never",
    NULL };
static const char *const words_full[] = { "refuse", "drop_oldest", NULL };
static const char *const words_level[] = { "error", "warn", "info", "debug",
    NULL };
static const char *const words_format[] = { "text", "json", NULL };

const struct conf_section conf_sections[] = {
	{ "upstream", "Where runs, changes and policies are delivered." },
	{ "listen", "Where agents hand in their events." },
	{ "listen.unix", "The Unix stream socket." },
	{ "listen.dgram", "The Unix datagram socket." },
	{ "events", "How single events are taken in." },
	{ "runs", "When a run is complete and goes out." },
	{ "storage", "The files that keep what was accepted." },
	{ "redact", "What is redacted in events before they touch the disk." },
	{ "log", "What lumnid says, on standard error." },
	{ "limits", "What one client, and all of them, may take." },
};
const size_t conf_sections_n = NELEM(conf_sections);

const struct conf_key conf_keys[] = {
	{ "upstream.url", TEXT(upstream.url, CONF_URL), .def = "", LIVE,
	    .example = "https://lumni.example",
	    .help = "The ingest API's address; lumnid adds /v1/ingest/events "
	    "and its like." },
	{ "upstream.unix_socket", TEXT(upstream.unix_socket, CONF_SOCKET),
	    .def = "", LIVE,
	    .help = "Connect to this Unix socket instead of the URL's host." },
	{ "upstream.api_key_file", TEXT(upstream.api_key_file, CONF_PATH),
	    .def = "", LIVE,
	    .help = "The file that holds the API key, not readable by others. "
	    "Without it, systemd's credential api_key or the environment's "
	    "LUMNI_API_KEY is used." },
	{ "upstream.timeout", DURATION(upstream.timeout_ms), .def = "30s",
	    RANGE(100, 3600 * SECOND), LIVE,
	    .help = "How long one request may take, answer included." },
	{ "upstream.connections", COUNT(upstream.connections), .def = "4",
	    RANGE(1, 256), LIVE,
	    .help = "Requests under way at the same time, at most." },
	{ "upstream.http", WORD(upstream.http, words_http), .def = "auto", LIVE,
	    .help = "The version of HTTP; auto takes 2 where the upstream "
	    "offers it." },
	{ "upstream.compression", WORD(upstream.compression,
	    words_compression), .def = "zstd", LIVE,
	    .help = "The content coding of requests." },
	{ "upstream.level", COUNT(upstream.level), .def = "3", RANGE(1, 19),
	    LIVE, .help = "The level of zstd: higher is smaller and slower." },
	{ "upstream.proxy", TEXT(upstream.proxy, CONF_PROXY), .def = "", LIVE,
	    .help = "The proxy's URL; none for no proxy at all. Without it, "
	    "the environment's HTTPS_PROXY and NO_PROXY are obeyed." },
	{ "upstream.ca_file", TEXT(upstream.ca_file, CONF_PATH), .def = "",
	    LIVE, .help = "Certificates, in PEM, that the upstream's is "
	    "checked against instead of the system's." },
	{ "upstream.cert_file", TEXT(upstream.cert_file, CONF_PATH),
	    .def = "", LIVE,
	    .help = "The client certificate, in PEM, for mutual TLS." },
	{ "upstream.key_file", TEXT(upstream.key_file, CONF_PATH), .def = "",
	    LIVE, .help = "The client certificate's private key, in PEM." },
	{ "upstream.tls_min", WORD(upstream.tls_min, words_tls),
	    .def = "1.2", LIVE, .help = "The oldest version of TLS to accept." },

	{ "listen.unix.path", TEXT(listen.unix_stream.path, CONF_SOCKET),
	    .def = RUNSTATEDIR "/lumnid/lumnid.sock",
	    LIVE, .help = "The socket's path; off for none." },
	{ "listen.unix.mode", MODE(listen.unix_stream.mode), .def = "0660",
	    RANGE(0, 0777),
	    LIVE, .help = "The socket's permission bits, in octal." },
	{ "listen.unix.group", TEXT(listen.unix_stream.group, CONF_GROUP),
	    .def = "",
	    LIVE, .help = "The socket's group, whose members may send. Without it, "
	    "lumnid's own." },
	{ "listen.unix.allow_uids", LIST(listen.unix_stream.allow_uids,
	    CONF_USERS), .def = "", LIVE,
	    .help = "Only these users may send, by name or number. Without "
	    "it, all who may connect." },
	{ "listen.udp", TEXT(listen.udp, CONF_ADDRESS),
	    .def = "127.0.0.1:8842",
	    LIVE, .help = "The address for UDP; off for none." },
	{ "listen.dgram.path", TEXT(listen.dgram.path, CONF_SOCKET),
	    .def = "", LIVE, .help = "The socket's path; off for none." },
	{ "listen.dgram.mode", MODE(listen.dgram.mode), .def = "0660",
	    RANGE(0, 0777),
	    LIVE, .help = "The socket's permission bits, in octal." },
	{ "listen.dgram.group", TEXT(listen.dgram.group, CONF_GROUP),
	    .def = "",
	    LIVE, .help = "The socket's group, whose members may send. Without it, "
	    "lumnid's own." },
	{ "listen.http", TEXT(listen.http, CONF_ADDRESS),
	    .def = "127.0.0.1:8842",
	    LIVE, .help = "The address for HTTP; off for none." },
	{ "listen.http_require_key", BOOL(listen.http_require_key),
	    .def = "false",
	    LIVE, .help = "Whether HTTP requests must carry the API key." },
	{ "listen.control", TEXT(listen.control, CONF_SOCKET), .def = "auto",
	    .zero = "auto", LIVE,
	    .help = "The socket that lumnictl steers lumnid by; only root and "
	    "lumnid's own user can use it. auto is control.sock beside the "
	    "Unix stream socket; off is none." },
	{ "listen.forward_tcp", TEXT(listen.forward_tcp, CONF_ADDRESS),
	    .def = "",
	    LIVE, .help = "The TCP address for the Fluentd forward protocol; off "
	    "for none." },
	{ "listen.inbox", TEXT(listen.inbox, CONF_PATH), .def = "",
	    .help = "The directory that lumnictl change and policy leave "
	    "their records in while lumnid is down (--spool-dir)." },
	{ "listen.allow_remote", BOOL(listen.allow_remote), .def = "false",
	    LIVE, .help = "Whether addresses that other hosts can reach may be "
	    "listened on." },

	{ "events.stamp_at", BOOL(events.stamp_at), .def = "true", LIVE,
	    .help = "Whether an event without \"at\" gets the time of its "
	    "receipt." },
	{ "events.max_message", SIZE(events.max_message), .def = "8MiB",
	    RANGE(KIB, 32 * MIB), LIVE,
	    .help = "The largest message from a client." },

	{ "runs.idle", DURATION(runs.idle_ms), .def = "30s",
	    RANGE(10, 7 * DAY), LIVE,
	    .help = "A run goes out when nothing came for so long." },
	{ "runs.max_age", DURATION(runs.max_age_ms), .def = "5min",
	    RANGE(10, 7 * DAY), LIVE,
	    .help = "A run goes out so long after the first event that "
	    "waits." },
	{ "runs.max_events", COUNT(runs.max_events), .def = "1000",
	    RANGE(1, 100000), LIVE,
	    .help = "A run goes out when so many events wait." },
	{ "runs.max_bytes", SIZE(runs.max_bytes), .def = "4MiB",
	    RANGE(KIB, 32 * MIB), LIVE,
	    .help = "A run goes out when its waiting events are so large, "
	    "as JSON." },
	{ "runs.max_open", COUNT(runs.max_open), .def = "100000",
	    RANGE(1, 10000000), LIVE,
	    .help = "Open runs, at most; further ones are refused." },
	{ "runs.end_types", LIST(runs.end_types, CONF_STRINGS),
	    .def = "run_end", LIVE,
	    .help = "An event of one of these types ends its run, which then "
	    "goes out at once." },

	{ "storage.dir", TEXT(storage.dir, CONF_PATH),
	    .def = LOCALSTATEDIR "/lib/lumnid",
	    .help = "The directory; it is made, with mode 0700, if absent." },
	{ "storage.durability", WORD(storage.durability, words_durability),
	    .def = "ack", LIVE,
	    .help = "When files are synced: before an acknowledgement (ack), "
	    "for each event (always), or as the kernel likes (never)." },
	{ "storage.journal_max", SIZE(storage.journal_max), .def = "256MiB",
	    RANGE(MIB, TIB), LIVE,
	    .help = "Room for the events of open runs." },
	{ "storage.spool_max", SIZE(storage.spool_max), .def = "1GiB",
	    RANGE(MIB, 64 * TIB), LIVE,
	    .help = "Room for what waits to be delivered: so much for runs, and "
	    "so much for changes and policies." },
	{ "storage.free_min", SIZE(storage.free_min), .def = "auto",
	    RANGE(MIB, TIB), .zero = "auto", LIVE,
	    .help = "Free space to leave on the file system; auto is 5 % of "
	    "it or 256MiB, whichever is smaller." },
	{ "storage.when_full", WORD(storage.when_full, words_full),
	    .def = "refuse", LIVE,
	    .help = "At a limit: refuse new events, or drop the oldest and "
	    "count them." },
	{ "storage.max_age", DURATION(storage.max_age_ms), .def = "never",
	    RANGE(SECOND, 3650 * DAY), .zero = "never", LIVE,
	    .help = "Batches that could not be delivered for so long are "
	    "dropped and counted." },
	{ "storage.dead_max_age", DURATION(storage.dead_max_age_ms),
	    .def = "30d", RANGE(SECOND, 3650 * DAY), .zero = "never", LIVE,
	    .help = "How long events that the upstream refused are kept for "
	    "inspection." },
	{ "storage.dead_max", SIZE(storage.dead_max), .def = "256MiB",
	    RANGE(64 * KIB, TIB), LIVE,
	    .help = "Room for events that the upstream refused." },

	{ "redact.keys", RULES(redact.keys, "key"), .def = "", LIVE,
	    .help = "Values of these keys are redacted, at any depth and in "
	    "JSON within strings, whatever they are; upper and lower case are "
	    "the same, and * and ? match as in file names." },
	{ "redact.paths", RULES(redact.paths, "path"), .def = "", LIVE,
	    .help = "Values at these places are redacted. A path begins with "
	    "events, change, policy or *; elements of arrays are numbers; "
	    "parts may be globs." },
	{ "redact.patterns", RULES(redact.patterns, "regex"), .def = "", LIVE,
	    .help = "Text that matches is redacted, in strings, keys and "
	    "numbers: names of built-in patterns, such as all, or regular "
	    "expressions with a name." },
	{ "redact.max_string", SIZE(redact.max_string), .def = "unlimited",
	    RANGE(REDACT_STRING_MIN, 32 * MIB), .zero = "unlimited", LIVE,
	    .help = "Longer strings are cut to their head and tail, with their "
	    "length and SHA-256 between." },
	{ "redact.hash_key_file", TEXT(redact.hash_key_file, CONF_PATH),
	    .def = "", LIVE,
	    .help = "The file that holds the secret key of the action hash, "
	    "not readable by others; read at the start and on a reload. With "
	    "the same key equal values have equal hashes on all hosts." },

	{ "log.level", WORD(log.level, words_level), .def = "info", LIVE,
	    .help = "The least important lines that are written." },
	{ "log.format", WORD(log.format, words_format), .def = "text", LIVE,
	    .help = "Lines for people, or JSON for machines." },

	{ "limits.connections", COUNT(limits.connections), .def = "1024",
	    RANGE(1, 65536), LIVE,
	    .help = "Connections from clients at the same time, at most." },
	{ "limits.connections_per_uid", COUNT(limits.connections_per_uid),
	    .def = "256", RANGE(1, 65536), LIVE,
	    .help = "Of these, from one user." },
	{ "limits.uid_events_per_s", COUNT(limits.uid_events_per_s),
	    .def = "unlimited", RANGE(1, 1000000000), .zero = "unlimited",
	    LIVE, .help = "Events a second from one user." },
	{ "limits.uid_bytes_per_s", SIZE(limits.uid_bytes_per_s),
	    .def = "unlimited", RANGE(KIB, TIB), .zero = "unlimited", LIVE,
	    .help = "Bytes a second from one user." },
};
const size_t conf_keys_n = NELEM(conf_keys);

const struct conf_key *
conf_key_find(const char *name)
{
	for (size_t i = 0; i < conf_keys_n; i++) {
		if (strcmp(conf_keys[i].name, name) == 0)
			return &conf_keys[i];
	}
	return NULL;
}

const struct conf_section *
conf_section_find(const char *name)
{
	for (size_t i = 0; i < conf_sections_n; i++) {
		if (strcmp(conf_sections[i].name, name) == 0)
			return &conf_sections[i];
	}
	return NULL;
}

size_t
conf_key_index(const struct conf_key *key)
{
	return (size_t)(key - conf_keys);
}

const char *
conf_leaf(const char *name)
{
	const char *dot = strrchr(name, '.');

	return dot != NULL ? dot + 1 : name;
}

#define NEAR_MAX 64

/* Levenshtein's distance; NEAR_MAX for words too long to be a slip. */
static size_t
conf_distance(const char *a, const char *b)
{
	size_t row[NEAR_MAX + 1];
	size_t an = strlen(a), bn = strlen(b);

	if (an > NEAR_MAX || bn > NEAR_MAX)
		return NEAR_MAX;
	for (size_t j = 0; j <= bn; j++)
		row[j] = j;
	for (size_t i = 1; i <= an; i++) {
		size_t diag = row[0];
		row[0] = i;
		for (size_t j = 1; j <= bn; j++) {
			size_t swap = diag + (a[i - 1] != b[j - 1]);
			diag = row[j];
			if (row[j - 1] + 1 < swap)
				swap = row[j - 1] + 1;
			if (diag + 1 < swap)
				swap = diag + 1;
			row[j] = swap;
		}
	}
	return row[bn];
}

/*
 * Twice the distance of the last words, and one more when the sections
 * differ: a slip in the right section is likelier than a key elsewhere.
 */
static size_t
conf_unlikeness(const char *name, const char *known)
{
	const char *leaf = conf_leaf(name), *known_leaf = conf_leaf(known);
	size_t dist = conf_distance(leaf, known_leaf);
	size_t len = strlen(leaf);

	/* "api_key" for "api_key_file". */
	if (len >= 4 && strncmp(leaf, known_leaf, len) == 0 && dist > 1)
		dist = 1;

	/* A third of the letters may be wrong; beyond, it is another word. */
	if (dist > 1 && dist > (len + 2) / 3)
		return NEAR_MAX;
	bool same = leaf - name == known_leaf - known &&
	    strncmp(name, known, (size_t)(leaf - name)) == 0;
	return dist * 2 + !same;
}

const char *
conf_nearest(const char *name)
{
	const char *best = NULL;
	size_t least = NEAR_MAX;

	for (size_t i = 0; i < conf_keys_n; i++) {
		size_t d = conf_unlikeness(name, conf_keys[i].name);
		if (d < least) {
			least = d;
			best = conf_keys[i].name;
		}
	}
	for (size_t i = 0; i < conf_sections_n; i++) {
		size_t d = conf_unlikeness(name, conf_sections[i].name);
		if (d < least) {
			least = d;
			best = conf_sections[i].name;
		}
	}
	return best;
}

const char *
conf_type_text(const struct conf_key *key)
{
	switch (key->type) {
	case CONF_BOOL:
		return "true or false";
	case CONF_COUNT:
		return "a number";
	case CONF_SIZE:
		return "a size such as 4MiB";
	case CONF_DURATION:
		return "a duration such as 30s";
	case CONF_MODE:
		return "a mode such as 0660";
	case CONF_WORD:
		return "a word";
	case CONF_PATH:
		return "an absolute path";
	case CONF_SOCKET:
		return "a socket's absolute path";
	case CONF_ADDRESS:
		return "an address such as 127.0.0.1:8842";
	case CONF_URL:
		return "a URL such as https://host/base or "
		    "http+unix:///run/lumni.sock";
	case CONF_PROXY:
		return "a proxy's URL such as http://host:3128";
	case CONF_GROUP:
		return "a group";
	case CONF_STRINGS:
		return "a list such as [one, two]";
	case CONF_USERS:
		return "a list of users such as [alice, 1000]";
	case CONF_RULES:
		switch (key->item[0]) {
		case 'k':
			return "a list such as [password, {key: ssn, action: "
			    "hash}]";
		case 'p':
			return "a list such as [events.args.password, "
			    "events.messages.*.content]";
		default:
			return "a list such as [email, {name: order, regex: "
			    "'ORD-[0-9]+'}]";
		}
	}
	return "";
}
