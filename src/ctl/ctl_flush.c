/*
 * ctl_flush: "lumnictl flush" and "drain": seal and send now, and wait for what
 * becomes of it.
 */
#include "config.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/units.h"
#include "ctl/ctl.h"
#include "ctl/ctl_frames.h"
#include "ctl/ctl_http.h"
#include "ctl/ctl_term.h"

#define FLUSH_STATUS_TEXT						\
    "Exit status: 0 all of it was delivered; 1 some of it was refused by the\n" \
    "upstream, or dropped, or there is no such run; 2 the command line is at\n" \
    "fault; 3 lumnid is not there or went away; 4 it is not finished in time;\n" \
    "5 the upstream refuses everything, or sending is paused. With 4 and 5 the\n" \
    "rest is kept, and lumnid goes on with it.\n"

static const char flush_usage[] =
    "usage: lumnictl flush [--wait TIME] [RUN]\n"
    "\n"
    "Seal a run, or all that are open, send them now, even if the next try was\n"
    "due later, and wait for the result.\n"
    "\n"
    "  -w, --wait TIME      for so long, at most (1min; 0: not at all)\n"
    CTL_USAGE_TEXT
    "\n"
    FLUSH_STATUS_TEXT;

static const char drain_usage[] =
    "usage: lumnictl drain [--wait TIME]\n"
    "\n"
    "Seal all runs and wait until everything that lumnid has now is delivered,\n"
    "also over an upstream that is away. What comes meanwhile is taken as ever,\n"
    "and not waited for.\n"
    "\n"
    "  -w, --wait TIME      for so long, at most (for ever)\n"
    CTL_USAGE_TEXT
    "\n"
    FLUSH_STATUS_TEXT;

struct flush {
	const struct ctl *ctl;
	struct ctl_term	 term;
	struct ctl_frames frames;
	struct json_object *last;	/* the newest line */
	struct mono	 began;
	int64_t		 wait_ms;	/* INT64_MAX: for ever */
	bool		 bar;		/* a progress bar is on the screen */
	bool		 late;
};

#define FLUSH_BAR	30

/* One line that is written over and over. */
static void
flush_bar(struct flush *f)
{
	int64_t events = ctl_json_int(f->last, "events");
	int64_t pending = ctl_json_int(f->last, "pending");
	const char *state = ctl_json_text(f->last, "upstream.state");
	const char *why = ctl_json_text(f->last, "upstream.why");
	size_t full = events > 0 ? (size_t)((events - pending) * FLUSH_BAR /
	    events) : FLUSH_BAR;
	struct buf b, line;
	char x[32], y[32];

	buf_init(&b, 0);
	buf_init(&line, 0);
	buf_putc(&line, '[');
	for (size_t i = 0; i < FLUSH_BAR; i++)
		buf_putc(&line, i < full ? '#' : ' ');
	buf_printf(&line, "] %s of %s events", ctl_term_count(
	    (uint64_t)(events - pending), x), ctl_term_count((uint64_t)events,
	    y));
	if (strcmp(state, "down") == 0 || strcmp(state, "hold") == 0)
		buf_printf(&line, "; upstream %s: %s", strcmp(state,
		    "down") == 0 ? "away" : "refuses", why);
	const char *text = buf_cstr(&line);
	buf_puts(&b, "\r");
	(void)ctl_term_text(&b, text, strlen(text), f->term.width - 1);
	buf_puts(&b, "\033[K");
	(void)ctl_term_put(&b);
	f->bar = true;
	buf_free(&line);
	buf_free(&b);
}

static void
flush_bar_end(struct flush *f)
{
	if (f->bar)
		(void)fputs("\r\033[K", stdout);
	f->bar = false;
}

static int64_t
flush_line(void *arg, const char *line, size_t len)
{
	struct flush *f = arg;
	struct buf b;
	struct json_tokener *tok = ctl_json_tokener();
	struct json_object *o = json_tokener_parse_ex(tok, line, (int)len);

	json_tokener_free(tok);
	if (o == NULL)
		return 0;
	json_object_put(f->last);
	f->last = o;
	if (f->ctl->json && !f->ctl->quiet) {
		buf_init(&b, 0);
		ctl_term_json(&b, line, len);
		buf_putc(&b, '\n');
		(void)ctl_term_put(&b);
		buf_free(&b);
	} else if (f->term.tty && !f->ctl->quiet && !f->ctl->json) {
		flush_bar(f);
	}
	return 0;
}

static int
flush_data(void *arg, const char *data, size_t n)
{
	struct flush *f = arg;

	return ctl_frames_feed(&f->frames, data, n);
}

static int
flush_idle(void *arg)
{
	struct flush *f = arg;

	f->late = f->last != NULL && f->wait_ms != INT64_MAX &&
	    mono_sub_ms(clock_mono(), f->began) >= f->wait_ms;
	return f->late;
}

/* Why it is held, and what to do. */
static void
flush_tell_held(const struct flush *f)
{
	const char *why = ctl_json_text(f->last, "upstream.why");
	char text[300];

	if (ctl_json_bool(f->last, "paused"))
		ctl_error("sending is paused, and all is kept: lumnictl "
		    "resume sends it");
	else
		ctl_error("the upstream refuses everything, and all is kept: "
		    "%s", ctl_clean(why, strlen(why), text, sizeof text));
}

/* The last line in words; returns the exit status. */
static int
flush_tell(const struct flush *f)
{
	int64_t delivered = ctl_json_int(f->last, "delivered");
	int64_t dead = ctl_json_int(f->last, "dead");
	int64_t dropped = ctl_json_int(f->last, "dropped");
	int64_t pending = ctl_json_int(f->last, "pending");
	const char *state = ctl_json_text(f->last, "state");
	const char *why = ctl_json_text(f->last, "upstream.why");
	char x[32], text[300];

	if (!f->ctl->quiet && !f->ctl->json)
		(void)printf("delivered %s event%s\n", ctl_term_count(
		    (uint64_t)delivered, x), delivered == 1 ? "" : "s");
	if (dead > 0)
		ctl_error("%s event%s refused by the upstream: see lumnictl "
		    "dead", ctl_term_count((uint64_t)dead, x),
		    dead == 1 ? " was" : "s were");
	if (dropped > 0)
		ctl_error("%s event%s dropped: see lumnictl status",
		    ctl_term_count((uint64_t)dropped, x),
		    dropped == 1 ? " was" : "s were");
	if (strcmp(state, "held") == 0) {
		flush_tell_held(f);
		return CTL_HELD;
	}
	if (strcmp(state, "done") != 0) {
		ctl_error("%s event%s still on the way%s%s; lumnid goes on",
		    ctl_term_count((uint64_t)pending, x),
		    pending == 1 ? " is" : "s are", why[0] != '\0' ? ": " : "",
		    ctl_clean(why, strlen(why), text, sizeof text));
		return CTL_LATE;
	}
	return dead + dropped > 0 ? CTL_REFUSED : CTL_OK;
}

static int
flush_do(const struct ctl *ctl, const char *run, int64_t wait_ms)
{
	struct flush f = { .ctl = ctl, .wait_ms = wait_ms,
	    .began = clock_mono() };
	struct ctl_http *h = ctl_http_new(ctl);
	struct why why = { "" };
	struct buf target;

	ctl_term_look(&f.term, STDOUT_FILENO);
	buf_init(&target, 0);
	buf_puts(&target, "/flush");
	if (run != NULL)
		ctl_http_param(&target, "run", run);
	ctl_frames_init(&f.frames, flush_line, NULL, &f);
	int r = ctl_http_stream(h, true, buf_cstr(&target), flush_data,
	    flush_idle, &f, &why);
	flush_bar_end(&f);
	bool over = f.last != NULL && (f.late ||
	    strcmp(ctl_json_text(f.last, "state"), "done") == 0 ||
	    strcmp(ctl_json_text(f.last, "state"), "held") == 0);
	if (r == CTL_OK && !over) {
		r = CTL_UNREACHABLE;
		(void)why_set(&why, 0, "lumnid has stopped; what it has is "
		    "kept, and sent after its next start");
	}
	if (r != CTL_OK)
		ctl_error("%s", why.text);
	else
		r = flush_tell(&f);
	json_object_put(f.last);
	ctl_frames_free(&f.frames);
	buf_free(&target);
	ctl_http_free(h);
	return r;
}

static int
flush_main(struct ctl *ctl, const struct ctl_command *cmd, int argc,
    char **argv, int64_t wait_ms)
{
	static const struct option options[] = {
		{ "wait", required_argument, NULL, 'w' },
		CTL_LONG,
		{ NULL, 0, NULL, 0 },
	};
	int max = cmd == &ctl_flush ? 1 : 0;
	int opt, status;
	struct why why;

	while ((opt = getopt_long(argc, argv, "w:" CTL_OPTIONS, options,
	    NULL)) != -1) {
		if (opt == 'w') {
			if (units_parse_duration(optarg, &wait_ms, &why) < 0)
				return ctl_usage(cmd, "--wait: %s", why.text);
		} else if ((status = ctl_option(ctl, cmd, opt, optarg)) >= 0) {
			return status;
		}
	}
	if (argc - optind > max)
		return ctl_usage(cmd, "\"%s\" is one argument too many",
		    argv[optind + max]);
	return flush_do(ctl, optind < argc ? argv[optind] : NULL, wait_ms);
}

static int
flush_run(struct ctl *ctl, int argc, char **argv)
{
	return flush_main(ctl, &ctl_flush, argc, argv, 60000);
}

static int
drain_run(struct ctl *ctl, int argc, char **argv)
{
	return flush_main(ctl, &ctl_drain, argc, argv, INT64_MAX);
}

const struct ctl_command ctl_flush = {
	.name = "flush",
	.summary = "seal and send a run, or all, and wait for the result",
	.usage = flush_usage,
	.run = flush_run,
};

const struct ctl_command ctl_drain = {
	.name = "drain",
	.summary = "seal all, deliver all",
	.usage = drain_usage,
	.run = drain_run,
};
