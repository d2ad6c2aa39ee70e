/* ctl_tail: "lumnictl tail": events as they pass. */
#include "config.h"

#include <errno.h>
#include <getopt.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "ctl/ctl.h"
#include "ctl/ctl_event.h"
#include "ctl/ctl_frames.h"
#include "ctl/ctl_http.h"

static const char tail_usage[] =
    "usage: lumnictl tail [--run ID] [--type TYPE] [--status STATUS] "
    "[--count N]\n"
    "\n"
    "Print events as lumnid takes them, after redaction, until ^C. Where more\n"
    "pass than can be shown, lumnid does not wait: it says how many it skipped.\n"
    "\n"
    "  -r, --run ID         of this run\n"
    "  -t, --type TYPE      of this type\n"
    "  -s, --status STATUS  whose \"status\" is this\n"
    "  -n, --count N        end after so many\n"
    CTL_USAGE_TEXT;

struct tail {
	const struct ctl *ctl;
	struct ctl_term	 term;
	struct ctl_frames frames;
	struct json_tokener *tok;
	struct buf	 out;
	uint64_t	 left;		/* events to show */
};

static void
tail_skipped(struct tail *t, struct json_object *o)
{
	char n[32], text[96];

	(void)snprintf(text, sizeof text, "... %s more passed, too many to "
	    "show", ctl_term_count((uint64_t)ctl_json_int(o, "skipped"), n));
	ctl_term_paint(&t->out, &t->term, CTL_DIM, text);
	buf_putc(&t->out, '\n');
}

static int64_t
tail_line(void *arg, const char *line, size_t len)
{
	struct tail *t = arg;
	struct json_object *o, *event;

	json_tokener_reset(t->tok);
	o = json_tokener_parse_ex(t->tok, line, (int)len);
	bool is_event = json_object_object_get_ex(o, "event", &event);
	if (t->ctl->json) {
		ctl_term_json(&t->out, line, len);
		buf_putc(&t->out, '\n');
	} else if (is_event && json_object_is_type(event, json_type_object)) {
		ctl_event_line(&t->out, &t->term, ctl_json_text(o, "runId"),
		    event);
	} else if (json_object_object_get_ex(o, "skipped", &event)) {
		tail_skipped(t, o);
	}
	json_object_put(o);
	if (is_event && --t->left == 0)
		return -1;
	return t->out.len > 65536 && ctl_term_put(&t->out) < 0 ? -EPIPE : 0;
}

static int
tail_data(void *arg, const char *data, size_t n)
{
	struct tail *t = arg;
	int r = ctl_frames_feed(&t->frames, data, n);

	if (ctl_term_put(&t->out) < 0)
		return -EPIPE;
	return r;
}

static int
tail_follow(struct tail *t, const char *target)
{
	struct ctl_http *h = ctl_http_new(t->ctl);
	struct why why = { "" };

	ctl_term_look(&t->term, STDOUT_FILENO);
	buf_init(&t->out, 0);
	ctl_frames_init(&t->frames, tail_line, NULL, t);
	t->tok = ctl_json_tokener();
	int r = ctl_http_stream(h, false, target, tail_data, NULL, t, &why);
	/* Of itself it never ends well: lumnid has stopped. */
	if (r == CTL_OK && t->left != 0) {
		(void)why_set(&why, 0, ferror(stdout) ? "standard output is "
		    "closed" : "lumnid has ended the tail: it is stopping");
		r = ferror(stdout) ? CTL_REFUSED : CTL_UNREACHABLE;
	}
	if (r != CTL_OK)
		ctl_error("%s", why.text);
	json_tokener_free(t->tok);
	ctl_frames_free(&t->frames);
	buf_free(&t->out);
	ctl_http_free(h);
	return r;
}

/* A number above zero; false after a message. */
static bool
tail_count(const char *text, uint64_t *ret)
{
	char *end;

	errno = 0;
	*ret = strtoull(text, &end, 10);
	return errno == 0 && *end == '\0' && text[0] >= '0' &&
	    text[0] <= '9' && *ret > 0;
}

static int
tail_run(struct ctl *ctl, int argc, char **argv)
{
	static const struct option options[] = {
		{ "run", required_argument, NULL, 'r' },
		{ "type", required_argument, NULL, 't' },
		{ "status", required_argument, NULL, 's' },
		{ "count", required_argument, NULL, 'n' },
		CTL_LONG,
		{ NULL, 0, NULL, 0 },
	};
	struct tail t = { .ctl = ctl };
	struct buf target;
	int opt, status = -1;

	buf_init(&target, 0);
	buf_puts(&target, "/tail");
	while (status < 0 && (opt = getopt_long(argc, argv, "r:t:s:n:"
	    CTL_OPTIONS, options, NULL)) != -1) {
		if (opt == 'r' || opt == 't' || opt == 's')
			ctl_http_param(&target, opt == 'r' ? "run" :
			    opt == 't' ? "type" : "status", optarg);
		else if (opt != 'n')
			status = ctl_option(ctl, &ctl_tail, opt, optarg);
		else if (!tail_count(optarg, &t.left))
			status = ctl_usage(&ctl_tail, "--count: \"%s\" is no "
			    "number above 0", optarg);
	}
	if (status < 0 && optind < argc)
		status = ctl_usage(&ctl_tail, "\"%s\" is one argument too "
		    "many", argv[optind]);
	if (status < 0)
		status = tail_follow(&t, buf_cstr(&target));
	buf_free(&target);
	return status;
}

const struct ctl_command ctl_tail = {
	.name = "tail",
	.summary = "events as they pass",
	.usage = tail_usage,
	.run = tail_run,
};
