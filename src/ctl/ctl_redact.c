/*
 * ctl_redact: lumnictl redact-test: what the rules of a configuration make of
 * sample events, by the code that lumnid runs, without a lumnid.
 */
#include <getopt.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/why.h"
#include "codec/event.h"
#include "codec/json.h"
#include "codec/jsonin.h"
#include "codec/redact.h"
#include "core/conf.h"
#include "ctl/ctl.h"
#include "ctl/ctl_input.h"
#include "ctl/ctl_json.h"

#define CONFIG_FILE	SYSCONFDIR "/lumnid/lumnid.yaml"

static const char usage[] =
    "usage: lumnictl redact-test [-c FILE] [FILE...]\n\n"
    "Show what the redaction rules of a configuration make of sample events.\n"
    "Reads JSON, one event or message to a line (as lumnictl send takes them;\n"
    "also {\"change\": {...}} and {\"policy\": {...}}), from the files or standard\n"
    "input. Prints each event as lumnid would write it down, and on standard\n"
    "error which rules have found something, and how often. Nothing is sent.\n\n"
    "  -c, --config FILE    configuration (" CONFIG_FILE ")\n"
    "\nWith --json, prints one object a line: {\"line\", \"events\", \"hits\"}.\n\n"
    CTL_USAGE_TEXT
    "\nExit status: 0 all was read, 1 a line was no event, 2 the command line or\n"
    "the configuration is at fault.\n";

struct redact_test {
	const struct ctl	*ctl;
	const char		*config;
	struct redact_run	*run;		/* NULL: no rules */
	struct event_message	 msg;
	struct json_tokener	*tok;
	struct buf		 packed;
	uint64_t		*before;	/* hits up to the last line */
	unsigned		 faults;
};

/* --- output ---------------------------------------------------------------- */

/*
 * JSON for a terminal: what could steer it and need not be escaped in JSON,
 * DEL and the C1 controls (U+007F to U+009F), is.
 */
static void
put_json(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (p[i] == 0x7f)
			(void)fputs("\\u007f", stdout);
		else if (p[i] == 0xc2 && i + 1 < n && p[i + 1] < 0xa0)
			(void)printf("\\u%04x", p[++i]);
		else
			(void)putchar(p[i]);
	}
}

static struct redact_count
count(const struct redact_test *t, size_t i)
{
	return t->run != NULL ? redact_run_count(t->run, i) :
	    (struct redact_count){ 0 };
}

/* {"email":2,...}: what the last line added. */
static void
put_hits(struct redact_test *t)
{
	const char *comma = "";
	struct redact_count c;

	(void)putchar('{');
	for (size_t i = 0; (c = count(t, i)).name != NULL; i++) {
		if (c.hits == t->before[i])
			continue;
		(void)printf("%s\"%s\":%llu", comma, c.name,
		    (unsigned long long)(c.hits - t->before[i]));
		t->before[i] = c.hits;
		comma = ",";
	}
	(void)putchar('}');
}

static void
put_message(struct redact_test *t, uint64_t line)
{
	const struct event_message *m = &t->msg;

	if (t->ctl->json)
		(void)printf("{\"line\":%llu,\"events\":[",
		    (unsigned long long)line);
	for (size_t i = 0; i < m->events_n; i++) {
		if (t->ctl->json && i > 0)
			(void)putchar(',');
		put_json(m->json.data + m->events[i].off, m->events[i].len);
		if (!t->ctl->json)
			(void)putchar('\n');
	}
	if (t->ctl->json) {
		(void)fputs("],\"hits\":", stdout);
		put_hits(t);
		(void)fputs("}\n", stdout);
	}
}

static void
put_totals(const struct redact_test *t)
{
	struct redact_count c;
	bool any = false;

	if (t->ctl->json || t->ctl->quiet)
		return;
	(void)fflush(stdout);
	for (size_t i = 0; (c = count(t, i)).name != NULL; i++) {
		if (c.hits == 0)
			continue;
		any = true;
		(void)fprintf(stderr, "%8llu  %s%s\n",
		    (unsigned long long)c.hits, c.name,
		    c.limits > 0 ? "  (met a limit)" : "");
	}
	if (!any)
		(void)fputs(t->run == NULL ? "There are no rules.\n" :
		    "No rule has found anything.\n", stderr);
}

/* --- input ----------------------------------------------------------------- */

static bool
has(struct json_object *o, const char *key)
{
	return json_object_object_get_ex(o, key, NULL);
}

/* A sample needs no run. */
static void
add_run(struct json_object *o)
{
	if (has(o, "runId") || has(o, "traceId") ||
	    (!has(o, "events") && (has(o, "change") || has(o, "policy"))))
		return;
	if (json_object_object_add(o, "runId",
	    json_object_new_string("sample")) < 0)
		fatal("out of memory");
}

static void
fault(struct redact_test *t, const struct ctl_input *in, const char *text)
{
	t->faults++;
	ctl_error("%s:%llu: %s", in->name, (unsigned long long)in->line, text);
}

static void
take_line(struct redact_test *t, const struct ctl_input *in, const char *line,
    size_t len)
{
	const struct event_options options = { .redact = t->run };
	struct json_object *o;
	struct why why = { "" };
	size_t at;

	if (len == 0 || strspn(line, " \t\r") >= len)
		return;
	if (jsonin_parse(t->tok, line, len, &o, &at, &why) < 0) {
		fault(t, in, why.text);
		return;
	}
	if (!json_object_is_type(o, json_type_object)) {
		json_object_put(o);
		fault(t, in, "no JSON object");
		return;
	}
	add_run(o);
	buf_reset(&t->packed, 1u << 20);
	jsonin_pack(&t->packed, o);
	json_object_put(o);
	if (buf_error(&t->packed) != 0)
		fatal("out of memory");
	if (event_decode(&t->msg, t->packed.data, t->packed.len, &options,
	    (struct wall){ 0 }, &why) != EVENT_OK)
		fault(t, in, why.text);
	else
		put_message(t, in->line);
}

static int
run_test(struct redact_test *t, char **files, size_t n)
{
	struct ctl_input in;
	const char *line = NULL;
	size_t len = 0;

	event_message_init(&t->msg);
	buf_init(&t->packed, 0);
	t->tok = ctl_json_tokener();
	ctl_input_init(&in, files, n);
	while (ctl_input_next(&in, true, &line, &len) != CTL_INPUT_END) {
		if (line == NULL)
			continue;
		take_line(t, &in, line, len);
		line = NULL;
	}
	put_totals(t);
	unsigned faults = t->faults + in.faults;
	ctl_input_free(&in);
	json_tokener_free(t->tok);
	buf_free(&t->packed);
	event_message_free(&t->msg);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		ctl_error("standard output cannot be written");
		return CTL_REFUSED;
	}
	return faults > 0 ? CTL_REFUSED : CTL_OK;
}

static int
run(struct ctl *ctl, int argc, char **argv)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' },
		CTL_LONG,
		{ NULL, 0, NULL, 0 },
	};
	struct redact_test t = { .ctl = ctl, .config = CONFIG_FILE };
	struct conf *conf;
	struct why why;
	int opt, status;

	while ((opt = getopt_long(argc, argv, "c:" CTL_OPTIONS, options,
	    NULL)) != -1) {
		if (opt == 'c')
			t.config = optarg;
		else if ((status = ctl_option(ctl, &ctl_redact_test, opt,
		    optarg)) >= 0)
			return status;
	}
	if (conf_load(t.config, true, &conf, &why) < 0) {
		ctl_error("%s", why.text);
		return CTL_USAGE;
	}
	if (conf_compile(conf, &why) < 0) {
		ctl_error("%s", why.text);
		conf_free(conf);
		return CTL_USAGE;
	}
	size_t names = 0;
	if (conf->redact.set != NULL) {
		t.run = redact_run_new(conf->redact.set);
		while (count(&t, names).name != NULL)
			names++;
	}
	t.before = mem_zalloc((names + 1) * sizeof *t.before);
	status = run_test(&t, argv + optind, (size_t)(argc - optind));
	free(t.before);
	redact_run_free(t.run);
	conf_free(conf);
	return status;
}

const struct ctl_command ctl_redact_test = {
	.name = "redact-test",
	.summary = "show what redaction makes of sample events",
	.usage = usage,
	.run = run,
};
