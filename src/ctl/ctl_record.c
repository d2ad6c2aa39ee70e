/*
 * ctl_record: "lumnictl change" and "lumnictl policy", made for deploy
 * scripts: they return once the record is on lumnid's disk, and say so.
 */
#include "config.h"

#include <errno.h>
#include <getopt.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "codec/jsonin.h"
#include "codec/timefmt.h"
#include "ctl/ctl.h"
#include "ctl/ctl_ask.h"
#include "ctl/ctl_drop.h"
#include "ctl/ctl_json.h"
#include "ctl/ctl_rules.h"

#define RECORD_MAX	(8u << 20)	/* bytes of a policy file */

#define SPOOL_USAGE							\
    "      --spool-dir DIR  when lumnid is not there, leave it in its inbox,\n" \
    "                       the directory of listen.inbox, redacted by the rules\n" \
    "                       of lumnid's configuration\n"			\
    "  -c, --config FILE    that configuration (LUMNID_CONFIG in the environment,\n" \
    "                       or " SYSCONFDIR "/lumnid/lumnid.yaml)\n"		\
    "      --unredacted     where its rules cannot be read, leave it as it is\n"

enum { RECORD_OPT_SPOOL = 512, RECORD_OPT_PLAIN };

/* Where a record is left when lumnid is not there. */
struct record_inbox {
	const char	*dir;		/* NULL: nowhere */
	const char	*config;	/* NULL: where it always is */
	bool		 plain;		/* even if the rules are not known */
};

#define RECORD_LONG							\
	{ "config", required_argument, NULL, 'c' },			\
	{ "spool-dir", required_argument, NULL, RECORD_OPT_SPOOL },	\
	{ "unredacted", no_argument, NULL, RECORD_OPT_PLAIN }
#define RECORD_OPTIONS	"c:" CTL_OPTIONS

static const char change_usage[] =
    "usage: lumnictl change --kind KIND --ref REF [--summary TEXT] [--at TIME]\n"
    "           [--spool-dir DIR [-c FILE] [--unredacted]]\n"
    "\n"
    "Record a change, so that a new failure can be lined up with what changed\n"
    "before it. Returns once lumnid has it on its disk.\n"
    "\n"
    "  -k, --kind KIND      code, runtime or policy; others are passed on\n"
    "  -r, --ref REF        what it is now, as in git:9f2c1a\n"
    "  -s, --summary TEXT   one line for people\n"
    "  -a, --at TIME        when it happened, RFC 3339; now if not given\n"
    SPOOL_USAGE
    CTL_USAGE_TEXT
    "\n"
    "Exit status: 0 it is on the disk, 1 it was refused, 2 the command line is\n"
    "at fault, 3 lumnid is not there or went away.\n";

static const char policy_usage[] =
    "usage: lumnictl policy [--spool-dir DIR [-c FILE] [--unredacted]] FILE\n"
    "\n"
    "Record a policy: a JSON object from FILE (\"-\": standard input). Returns\n"
    "once lumnid has it on its disk.\n"
    "\n"
    SPOOL_USAGE
    CTL_USAGE_TEXT
    "\n"
    "Exit status: as of lumnictl change.\n";

static void
record_add(struct json_object *o, const char *key, const char *value)
{
	if (value != NULL && json_object_object_add(o, key,
	    json_object_new_string(value)) < 0)
		fatal("out of memory");
}

/* {key: object}; the object stays the caller's, too. */
static struct json_object *
record_wrap(const char *key, struct json_object *o)
{
	struct json_object *m = json_object_new_object();

	if (m == NULL || json_object_object_add(m, key,
	    json_object_get(o)) < 0)
		fatal("out of memory");
	return m;
}

static void
record_pack(struct buf *b, struct json_object *message)
{
	buf_init(b, 0);
	jsonin_pack(b, message);
	if (buf_error(b) < 0)
		fatal("out of memory");
}

/* Take out what may not lie on the disk. */
static int
record_redact(const struct record_inbox *inbox, struct json_object **m,
    struct why *why)
{
	int r = ctl_rules_apply(inbox->config, m, why);

	if (r == 0)
		return 0;
	if (inbox->plain) {
		ctl_error("%s; it is left unredacted, as --unredacted says",
		    why->text);
		return 0;
	}
	return why_prefix(why, r, "what must be redacted is not known (name "
	    "lumnid's configuration with --config, or say --unredacted)");
}

/* lumnid is not there: leave the record in its inbox. */
static int
record_drop(const struct ctl *ctl, const struct record_inbox *inbox,
    const char *key, struct json_object *o, const struct why *reason)
{
	char at[TIMEFMT_MAX];
	struct why why = { "" };
	struct json_object *m;
	struct buf b;

	/* When it happened, not when it will be found. */
	if (!json_object_object_get_ex(o, "at", NULL)) {
		(void)timefmt_rfc3339_ms(clock_now().wall, at);
		record_add(o, "at", at);
	}
	m = record_wrap(key, o);
	int r = record_redact(inbox, &m, &why);
	if (r == 0) {
		record_pack(&b, m);
		r = ctl_drop(inbox->dir, &b, &why);
		buf_free(&b);
	}
	json_object_put(m);
	if (r < 0) {
		ctl_error("the %s was not recorded: %s; nor left in the "
		    "inbox: %s", key, reason->text, why.text);
		return CTL_UNREACHABLE;
	}
	if (ctl->json)
		(void)printf("{\"left\":\"%s\"}\n", key);
	else if (!ctl->quiet)
		(void)printf("left the %s in %s, as lumnid is not there\n",
		    key, inbox->dir);
	return CTL_OK;
}

/* Send the object, or leave it in the inbox; it is used up. */
static int
record_send(const struct ctl *ctl, const struct record_inbox *inbox,
    const char *key, struct json_object *o)
{
	struct json_object *m = record_wrap(key, o);
	struct why why = { "" };
	struct buf b;

	if (json_object_object_add(m, "ack", json_object_new_int(1)) < 0)
		fatal("out of memory");
	record_pack(&b, m);
	json_object_put(m);
	int status = ctl_ask(ctl, &b, 1, &why);
	buf_free(&b);
	if (status == CTL_UNREACHABLE && inbox->dir != NULL)
		status = record_drop(ctl, inbox, key, o, &why);
	else if (status != CTL_OK)
		ctl_error("the %s was %s: %s", key, status == CTL_REFUSED ?
		    "refused" : "not recorded", why.text);
	else if (!ctl->quiet)
		(void)printf(ctl->json ? "{\"recorded\":\"%s\"}\n" :
		    "recorded the %s\n", key);
	json_object_put(o);
	return status;
}

/* An option of both commands: -1 to go on, or the exit status. */
static int
record_option(struct ctl *ctl, struct record_inbox *inbox,
    const struct ctl_command *cmd, int opt)
{
	switch (opt) {
	case RECORD_OPT_SPOOL:
		inbox->dir = optarg;
		return -1;
	case 'c':
		inbox->config = optarg;
		return -1;
	case RECORD_OPT_PLAIN:
		inbox->plain = true;
		return -1;
	default:
		return ctl_option(ctl, cmd, opt, optarg);
	}
}

static int
change_run(struct ctl *ctl, int argc, char **argv)
{
	static const struct option options[] = {
		{ "kind", required_argument, NULL, 'k' },
		{ "ref", required_argument, NULL, 'r' },
		{ "summary", required_argument, NULL, 's' },
		{ "at", required_argument, NULL, 'a' },
		RECORD_LONG,
		CTL_LONG,
		{ NULL, 0, NULL, 0 },
	};
	const char *kind = NULL, *ref = NULL, *summary = NULL, *at = NULL;
	struct record_inbox inbox = { NULL, NULL, false };
	struct wall wall;
	int opt;

	while ((opt = getopt_long(argc, argv, "k:r:s:a:" RECORD_OPTIONS, options,
	    NULL)) != -1) {
		int status;

		switch (opt) {
		case 'k':
			kind = optarg;
			break;
		case 'r':
			ref = optarg;
			break;
		case 's':
			summary = optarg;
			break;
		case 'a':
			at = optarg;
			break;
		default:
			status = record_option(ctl, &inbox, &ctl_change, opt);
			if (status >= 0)
				return status;
		}
	}
	if (optind < argc)
		return ctl_usage(&ctl_change, "\"%s\" is one too many",
		    argv[optind]);
	if (kind == NULL || kind[0] == '\0' || ref == NULL || ref[0] == '\0')
		return ctl_usage(&ctl_change, "--kind and --ref are needed");
	if (at != NULL && timefmt_parse_rfc3339(at, &wall) < 0)
		return ctl_usage(&ctl_change, "--at %s is no time as in "
		    "2026-11-23T12:00:00Z", at);
	if (strcmp(kind, "code") != 0 && strcmp(kind, "runtime") != 0 &&
	    strcmp(kind, "policy") != 0)
		ctl_error("kind \"%s\" is none of code, runtime, policy; it is "
		    "passed on as it is", kind);
	struct json_object *o = json_object_new_object();
	if (o == NULL)
		fatal("out of memory");
	record_add(o, "kind", kind);
	record_add(o, "ref", ref);
	record_add(o, "summary", summary);
	record_add(o, "at", at);
	return record_send(ctl, &inbox, "change", o);
}

/* The whole file, or a message and false. */
static bool
policy_read(const char *path, struct buf *b)
{
	FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
	uint8_t *room;
	size_t n;

	if (f == NULL) {
		ctl_error("%s: %s", path, strerror(errno));
		return false;
	}
	while ((room = buf_room(b, 4096)) != NULL &&
	    (n = fread(room, 1, 4096, f)) > 0)
		b->len += n;
	bool ok = room != NULL && ferror(f) == 0;
	if (!ok)
		ctl_error("%s: %s", path, room == NULL ?
		    "larger than 8 MiB" : strerror(errno));
	if (f != stdin)
		(void)fclose(f);	/* only read */
	return ok;
}

static int
policy_send(const struct ctl *ctl, const struct record_inbox *inbox,
    const char *path, const struct buf *b)
{
	struct json_tokener *tok = ctl_json_tokener();
	struct json_object *o = NULL;
	struct why why = { "" };
	size_t at = 0;
	int r = jsonin_parse(tok, (const char *)b->data, b->len, &o, &at,
	    &why);
	json_tokener_free(tok);
	if (r < 0) {
		ctl_error("%s: byte %zu: %s", path, at, why.text);
		return CTL_REFUSED;
	}
	if (!json_object_is_type(o, json_type_object)) {
		json_object_put(o);
		ctl_error("%s: a policy is a JSON object", path);
		return CTL_REFUSED;
	}
	return record_send(ctl, inbox, "policy", o);
}

static int
policy_run(struct ctl *ctl, int argc, char **argv)
{
	static const struct option options[] = {
		RECORD_LONG,
		CTL_LONG,
		{ NULL, 0, NULL, 0 },
	};
	struct record_inbox inbox = { NULL, NULL, false };
	struct buf b;
	int opt;

	while ((opt = getopt_long(argc, argv, RECORD_OPTIONS, options,
	    NULL)) != -1) {
		int status = record_option(ctl, &inbox, &ctl_policy, opt);

		if (status >= 0)
			return status;
	}
	if (argc - optind != 1)
		return ctl_usage(&ctl_policy, "one FILE is needed");
	buf_init(&b, RECORD_MAX);
	int status = policy_read(argv[optind], &b) ?
	    policy_send(ctl, &inbox, argv[optind], &b) : CTL_REFUSED;
	buf_free(&b);
	return status;
}

const struct ctl_command ctl_change = {
	.name = "change",
	.summary = "record a change: a deploy, a config edit",
	.usage = change_usage,
	.run = change_run,
};

const struct ctl_command ctl_policy = {
	.name = "policy",
	.summary = "record a policy",
	.usage = policy_usage,
	.run = policy_run,
};
