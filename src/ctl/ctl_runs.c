/* ctl_runs: "lumnictl runs" and "run": open runs, and what one holds. */
#include "config.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl/ctl.h"
#include "ctl/ctl_event.h"
#include "ctl/ctl_frames.h"
#include "ctl/ctl_http.h"
#include "ctl/ctl_screen.h"

#define RUNS_PAGE	500
#define RUNS_DEFAULT	20

static const char runs_usage[] =
    "usage: lumnictl runs [--by ORDER] [--limit N | --all]\n"
    "\n"
    "List open runs: those whose events wait for more before they go out.\n"
    "\n"
    "  -b, --by ORDER       age (the oldest first), recent, events, bytes\n"
    "  -l, --limit N        at most so many (20; at most 1000)\n"
    "  -a, --all            all of them, by age\n"
    CTL_USAGE_TEXT;

static const char run_usage[] =
    "usage: lumnictl run ID\n"
    "\n"
    "Print the events of an open run so far, as they lie in the journal. With\n"
    "--json, one event a line.\n"
    "\n"
    CTL_USAGE_TEXT
    "\n"
    "Exit status: 0 done, 1 no such run is open, or it went out meanwhile, 2 the\n"
    "command line is at fault, 3 lumnid is not there or went away.\n";

/* --- runs ----------------------------------------------------------------- */

static void
runs_json(struct buf *b, struct json_object *runs)
{
	size_t n = json_object_is_type(runs, json_type_array) ?
	    json_object_array_length(runs) : 0;

	for (size_t i = 0; i < n; i++)
		ctl_json_put(b, json_object_array_get_idx(runs, i),
		    JSON_C_TO_STRING_PLAIN);
}

/* Print a page; the number of runs on it. */
static size_t
runs_print(const struct ctl *ctl, struct json_object *page, bool first,
    bool last)
{
	struct json_object *runs = NULL;
	struct ctl_term term;
	struct buf b;
	char x[32];

	size_t n = json_object_object_get_ex(page, "runs", &runs) &&
	    json_object_is_type(runs, json_type_array) ?
	    json_object_array_length(runs) : 0;
	buf_init(&b, 0);
	ctl_term_look(&term, STDOUT_FILENO);
	if (ctl->json) {
		runs_json(&b, runs);
	} else if (first || n > 0) {
		ctl_screen_runs(&b, &term, runs, SIZE_MAX);
	}
	if (!ctl->json && last && !ctl->quiet)
		buf_printf(&b, "%s open\n", ctl_term_count(
		    (uint64_t)ctl_json_int(page, "open"), x));
	if (ctl_term_put(&b) < 0)
		n = 0;
	buf_free(&b);
	return n;
}

static int
runs_list(const struct ctl *ctl, const char *by, uint64_t limit, bool all)
{
	struct ctl_http *h = ctl_http_new(ctl);
	struct json_object *page = NULL, *next = NULL;
	struct why why = { "" };
	bool first = true, more;
	struct buf target;
	char text[32];
	int r;

	buf_init(&target, 0);
	do {
		buf_reset(&target, SIZE_MAX);
		buf_puts(&target, "/runs");
		(void)snprintf(text, sizeof text, "%" PRIu64, limit);
		ctl_http_param(&target, "by", by);
		ctl_http_param(&target, "limit", text);
		if (next != NULL) {
			(void)snprintf(text, sizeof text, "%" PRId64,
			    ctl_json_int(next, "mark"));
			ctl_http_param(&target, "mark", text);
			ctl_http_param(&target, "run", ctl_json_text(next,
			    "run"));
		}
		json_object_put(page);
		page = NULL;
		r = ctl_http_ask(h, false, buf_cstr(&target), &page, &why);
		if (r != CTL_OK)
			break;
		more = all && json_object_object_get_ex(page, "next", &next);
		if (runs_print(ctl, page, first, !more) == 0)
			more = false;
		first = false;
	} while (more);
	if (r != CTL_OK)
		ctl_error("%s", why.text);
	json_object_put(page);
	buf_free(&target);
	ctl_http_free(h);
	return r;
}

static int
runs_run(struct ctl *ctl, int argc, char **argv)
{
	static const struct option options[] = {
		{ "by", required_argument, NULL, 'b' },
		{ "limit", required_argument, NULL, 'l' },
		{ "all", no_argument, NULL, 'a' },
		CTL_LONG,
		{ NULL, 0, NULL, 0 },
	};
	const char *by = "age";
	unsigned long limit = RUNS_DEFAULT;
	bool all = false;
	char *end;
	int opt, status;

	while ((opt = getopt_long(argc, argv, "b:l:a" CTL_OPTIONS, options,
	    NULL)) != -1) {
		if (opt == 'b') {
			by = optarg;
		} else if (opt == 'a') {
			all = true;
			limit = RUNS_PAGE;
		} else if (opt == 'l') {
			limit = strtoul(optarg, &end, 10);
			if (*end != '\0' || limit < 1 || limit > 1000)
				return ctl_usage(&ctl_runs, "--limit: \"%s\" "
				    "is no number from 1 to 1000", optarg);
		} else if ((status = ctl_option(ctl, &ctl_runs, opt,
		    optarg)) >= 0) {
			return status;
		}
	}
	if (optind < argc)
		return ctl_usage(&ctl_runs, "\"%s\" is one argument too many; "
		    "lumnictl run shows one", argv[optind]);
	if (strcmp(by, "age") != 0 && strcmp(by, "recent") != 0 &&
	    strcmp(by, "events") != 0 && strcmp(by, "bytes") != 0)
		return ctl_usage(&ctl_runs, "--by: \"%s\" is none of age, "
		    "recent, events, bytes", by);
	if (all && strcmp(by, "age") != 0)
		return ctl_usage(&ctl_runs, "--all goes with --by age only");
	return runs_list(ctl, by, limit, all);
}

/* --- run ------------------------------------------------------------------ */

struct run_show {
	const struct ctl *ctl;
	struct ctl_term	 term;
	struct ctl_frames frames;
	struct buf	 out;
	bool		 whole;
	struct why	 why;	/* "": nothing went wrong */
};

/* {"run":...}, {"event":...}, and how it ends. */
static int64_t
run_line(void *arg, const char *line, size_t len)
{
	static const char head[] = "{\"event\":";
	struct run_show *s = arg;
	struct json_object *o, *event = NULL;
	bool is_event = len > sizeof head &&
	    memcmp(line, head, sizeof head - 1) == 0;
	struct json_tokener *tok;

	/* As it lies in the journal: without that frame. */
	if (is_event && s->ctl->json) {
		ctl_term_json(&s->out, line + sizeof head - 1,
		    len - (sizeof head - 1) - 1);
		buf_putc(&s->out, '\n');
		return s->out.len > 65536 ? ctl_term_put(&s->out) : 0;
	}
	tok = ctl_json_tokener();
	o = json_tokener_parse_ex(tok, line, (int)len);
	json_tokener_free(tok);
	if (is_event && json_object_object_get_ex(o, "event", &event) &&
	    json_object_is_type(event, json_type_object))
		ctl_event_line(&s->out, &s->term, "", event);
	else if (ctl_json_bool(o, "end"))
		s->whole = true;
	else if (ctl_json_bool(o, "sealed"))
		(void)why_set(&s->why, 0, "the run went out meanwhile; this "
		    "is not the whole of it");
	else if (ctl_json_text(o, "error")[0] != '\0')
		(void)why_set(&s->why, 0, "%s", ctl_json_text(o, "error"));
	json_object_put(o);
	return s->out.len > 65536 ? ctl_term_put(&s->out) : 0;
}

static int
run_data(void *arg, const char *data, size_t n)
{
	struct run_show *s = arg;

	return ctl_frames_feed(&s->frames, data, n);
}

static int
run_run(struct ctl *ctl, int argc, char **argv)
{
	struct run_show s = { .ctl = ctl };
	struct ctl_http *h;
	struct buf target;
	int r = ctl_plain_options(ctl, &ctl_run, argc, argv, 1, 1);

	if (r >= 0)
		return r;
	h = ctl_http_new(ctl);
	buf_init(&target, 0);
	buf_init(&s.out, 0);
	buf_puts(&target, "/run");
	ctl_http_param(&target, "run", argv[optind]);
	ctl_term_look(&s.term, STDOUT_FILENO);
	ctl_frames_init(&s.frames, run_line, NULL, &s);
	r = ctl_http_stream(h, false, buf_cstr(&target), run_data, NULL, &s,
	    &s.why);
	if (ctl_term_put(&s.out) < 0 && r == CTL_OK)
		r = CTL_REFUSED;
	if (r == CTL_OK && !s.whole) {
		r = CTL_REFUSED;
		if (s.why.text[0] == '\0')
			(void)why_set(&s.why, 0, "the answer is not whole");
	}
	if (s.why.text[0] != '\0')
		ctl_error("%s", s.why.text);
	ctl_frames_free(&s.frames);
	buf_free(&s.out);
	buf_free(&target);
	ctl_http_free(h);
	return r;
}

const struct ctl_command ctl_runs = {
	.name = "runs",
	.summary = "open runs",
	.usage = runs_usage,
	.run = runs_run,
};

const struct ctl_command ctl_run = {
	.name = "run",
	.summary = "the events of an open run so far",
	.usage = run_usage,
	.run = run_run,
};
