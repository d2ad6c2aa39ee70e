/*
 * ctl_top: "lumnictl top": the state and the open runs, drawn anew each second.
 *
 * The terminal is put into its other screen and out of line mode; whatever ends
 * or stops the program, it is put back first. Signals are blocked but while
 * ppoll() waits, so that none is lost between a look and a wait.
 */
#include "config.h"

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/units.h"
#include "codec/json.h"
#include "ctl/ctl.h"
#include "ctl/ctl_http.h"
#include "ctl/ctl_screen.h"

#define TOP_LINES	11	/* above the runs */
#define TOP_RUNS_MAX	200

static const char top_usage[] =
    "usage: lumnictl top [--interval TIME] [--by ORDER] [--count N]\n"
    "\n"
    "Show the state and the open runs, drawn anew each second. Keys: a sorts the\n"
    "runs by age, r the most recently active first, e by events, b by bytes;\n"
    "blank draws at once; q ends it.\n"
    "\n"
    "  -i, --interval TIME  between two looks (1s)\n"
    "  -b, --by ORDER       the order at first: age, recent, events, bytes\n"
    "  -n, --count N        end after so many looks\n"
    CTL_USAGE_TEXT
    "\n"
    "It needs a terminal, except with --json, which prints a line for each look:\n"
    "{\"status\":...,\"runs\":...}, or {\"error\":...} while lumnid is away.\n";

struct top {
	const struct ctl *ctl;
	struct ctl_http	*http;
	struct ctl_term	 term;
	struct termios	 cooked;
	sigset_t	 open_mask;	/* while ppoll() waits */
	const char	*by;
	int64_t		 interval_ms;
	uint64_t	 count;		/* looks left; 0: no end */
	int		 last;		/* the status of the newest look */
	bool		 raw;		/* the terminal is ours */
};

/* What has come while ppoll() waited. */
static volatile sig_atomic_t top_signal;
static volatile sig_atomic_t top_resized;

static void
on_top_signal(int signo)
{
	if (signo == SIGWINCH)
		top_resized = 1;
	else if (signo != SIGCONT)
		top_signal = signo;
}

/* --- the terminal --------------------------------------------------------- */

static void
top_write(const char *text)
{
	(void)fputs(text, stdout);
	(void)fflush(stdout);
}

static void
top_enter(struct top *t)
{
	struct termios raw = t->cooked;

	raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	raw.c_cc[VMIN] = 0;
	raw.c_cc[VTIME] = 0;
	(void)tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
	/* The other screen, without a cursor, without wrapping. */
	top_write("\033[?1049h\033[?25l\033[?7l");
	t->raw = true;
	ctl_term_look(&t->term, STDOUT_FILENO);
}

static void
top_leave(struct top *t)
{
	if (!t->raw)
		return;
	top_write("\033[?7h\033[?25h\033[?1049l");
	(void)tcsetattr(STDIN_FILENO, TCSADRAIN, &t->cooked);
	t->raw = false;
}

static void
top_set_signals(struct top *t)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT,
	    SIGTSTP, SIGCONT, SIGWINCH };
	struct sigaction sa = { .sa_handler = on_top_signal };
	sigset_t block;

	(void)sigemptyset(&block);
	for (size_t i = 0; i < NELEM(signals); i++) {
		(void)sigaddset(&block, signals[i]);
		(void)sigaction(signals[i], &sa, NULL);
	}
	(void)sigprocmask(SIG_BLOCK, &block, &t->open_mask);
	for (size_t i = 0; i < NELEM(signals); i++)
		(void)sigdelset(&t->open_mask, signals[i]);
}

/* Do what the signal does by default, with the terminal put back before. */
static void
top_obey(struct top *t, int signo)
{
	struct sigaction dfl = { .sa_handler = SIG_DFL }, own;
	sigset_t one;

	top_leave(t);
	(void)sigemptyset(&one);
	(void)sigaddset(&one, signo);
	(void)sigaction(signo, &dfl, &own);
	(void)raise(signo);
	(void)sigprocmask(SIG_UNBLOCK, &one, NULL);
	/* Only a stop comes back, with SIGCONT. */
	(void)sigprocmask(SIG_BLOCK, &one, NULL);
	(void)sigaction(signo, &own, NULL);
	(void)tcgetattr(STDIN_FILENO, &t->cooked);
	top_enter(t);
}

/* --- drawing -------------------------------------------------------------- */

static int
top_ask(struct top *t, struct json_object **ret_status,
    struct json_object **ret_runs, struct why *why)
{
	size_t lines = t->term.height > TOP_LINES ?
	    t->term.height - TOP_LINES : 1;
	struct buf target;
	char limit[24];

	int r = ctl_http_ask(t->http, false, "/status", ret_status, why);
	if (r != CTL_OK)
		return r;
	(void)snprintf(limit, sizeof limit, "%zu", lines < TOP_RUNS_MAX ?
	    lines : TOP_RUNS_MAX);
	buf_init(&target, 0);
	buf_puts(&target, "/runs");
	ctl_http_param(&target, "by", t->by);
	ctl_http_param(&target, "limit", limit);
	r = ctl_http_ask(t->http, false, buf_cstr(&target), ret_runs, why);
	buf_free(&target);
	if (r != CTL_OK) {
		json_object_put(*ret_status);
		*ret_status = NULL;
	}
	return r;
}

static void
top_draw_state(struct top *t, struct buf *b, struct json_object *st,
    struct json_object *page)
{
	struct json_object *runs = NULL;
	char line[120];

	ctl_screen_words(b, &t->term, st);
	ctl_screen_state(b, &t->term, st);
	(void)snprintf(line, sizeof line, "by %s; sort: a age, r recent, e "
	    "events, b bytes; q quit", t->by);
	buf_putc(b, '\n');
	ctl_term_switch(b, &t->term, CTL_DIM);
	(void)ctl_term_text(b, line, strlen(line), t->term.width);
	ctl_term_switch(b, &t->term, CTL_PLAIN);
	buf_putc(b, '\n');
	(void)json_object_object_get_ex(page, "runs", &runs);
	ctl_screen_runs(b, &t->term, runs, t->term.height > TOP_LINES ?
	    t->term.height - TOP_LINES : 1);
}

/* Put the text on the screen: each line is cleared behind its end. */
static int
top_show(struct buf *text)
{
	struct buf b;

	buf_init(&b, 0);
	buf_puts(&b, "\033[H");
	for (size_t i = 0; i < text->len; i++) {
		if (text->data[i] == '\n')
			buf_puts(&b, "\033[K\n");
		else
			buf_putc(&b, (char)text->data[i]);
	}
	buf_puts(&b, "\033[J");
	int r = ctl_term_put(&b);
	buf_free(&b);
	return r;
}

static void
top_print_json(struct buf *b, struct json_object *st, struct json_object *page)
{
	struct json_object *o = json_object_new_object();

	(void)json_object_object_add(o, "status", json_object_get(st));
	(void)json_object_object_add(o, "runs", json_object_get(page));
	ctl_json_put(b, o, JSON_C_TO_STRING_PLAIN);
	json_object_put(o);
}

static void
top_print_error(struct buf *b, const char *text)
{
	struct buf json;

	buf_init(&json, 0);
	buf_puts(&json, "{\"error\":");
	json_put_string(&json, text, strlen(text));
	buf_puts(&json, "}\n");
	ctl_term_json(b, buf_cstr(&json), json.len);
	buf_free(&json);
}

/* Ask and draw. A lumnid that is away is shown, and waited for. */
static int
top_look(struct top *t, bool first)
{
	struct json_object *st = NULL, *page = NULL;
	struct why why = { "" };
	struct buf b;
	int r = top_ask(t, &st, &page, &why);

	/* Nothing to wait for: it was never there. */
	if (r != CTL_OK && first) {
		top_leave(t);
		ctl_error("%s", why.text);
		return r;
	}
	t->last = r;
	buf_init(&b, 0);
	if (r != CTL_OK && t->ctl->json) {
		top_print_error(&b, why.text);
	} else if (r != CTL_OK) {
		(void)ctl_term_text(&b, why.text, strlen(why.text),
		    t->term.width);
		buf_putc(&b, '\n');
	} else if (t->ctl->json) {
		top_print_json(&b, st, page);
	} else {
		top_draw_state(t, &b, st, page);
	}
	/* The last line end would scroll a full screen. */
	if (!t->ctl->json && b.len > 0)
		b.len--;
	r = (t->ctl->json ? ctl_term_put(&b) : top_show(&b)) < 0 ?
	    CTL_REFUSED : CTL_OK;
	buf_free(&b);
	json_object_put(st);
	json_object_put(page);
	return r;
}

/* --- keys ----------------------------------------------------------------- */

/* false: quit. *ret_draw: something is to be shown. */
static bool
top_keys(struct top *t, bool *ret_draw)
{
	char keys[32];
	ssize_t n = read(STDIN_FILENO, keys, sizeof keys);

	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		return false;	/* the terminal is gone */
	for (ssize_t i = 0; i < n; i++) {
		*ret_draw = true;
		switch (keys[i]) {
		case 'q':
		case 'Q':
		case 4:		/* ^D */
			return false;
		case 'a':
			t->by = "age";
			break;
		case 'r':
			t->by = "recent";
			break;
		case 'e':
			t->by = "events";
			break;
		case 'b':
			t->by = "bytes";
			break;
		}
	}
	return true;
}

/* Wait for the next look. false: quit. */
static bool
top_wait(struct top *t)
{
	struct mono until = mono_add_ms(clock_mono(), t->interval_ms);
	struct pollfd fd = { .fd = t->raw ? STDIN_FILENO : -1,
	    .events = POLLIN };
	bool draw = false;

	while (!draw) {
		int64_t us = until.us - clock_mono().us;
		if (us <= 0)
			return true;
		struct timespec ts = { us / 1000000, us % 1000000 * 1000 };
		int n = ppoll(&fd, 1, &ts, &t->open_mask);
		if (top_signal != 0) {
			int signo = (int)top_signal;
			top_signal = 0;
			top_obey(t, signo);
			return true;
		}
		if (top_resized) {
			top_resized = 0;
			ctl_term_look(&t->term, STDOUT_FILENO);
			return true;
		}
		if (n > 0 && !top_keys(t, &draw))
			return false;
	}
	return true;
}

static int
top_watch(struct top *t)
{
	int r = CTL_OK;

	t->http = ctl_http_new(t->ctl);
	ctl_term_look(&t->term, STDOUT_FILENO);
	top_set_signals(t);
	if (!t->ctl->json) {
		(void)tcgetattr(STDIN_FILENO, &t->cooked);
		top_enter(t);
	}
	for (bool first = true; r == CTL_OK; first = false) {
		r = top_look(t, first);
		if (r != CTL_OK || (t->count > 0 && --t->count == 0) ||
		    !top_wait(t))
			break;
	}
	top_leave(t);
	ctl_http_free(t->http);
	return r == CTL_OK && t->ctl->json ? t->last : r;
}

static int
top_run(struct ctl *ctl, int argc, char **argv)
{
	static const struct option options[] = {
		{ "interval", required_argument, NULL, 'i' },
		{ "by", required_argument, NULL, 'b' },
		{ "count", required_argument, NULL, 'n' },
		CTL_LONG,
		{ NULL, 0, NULL, 0 },
	};
	struct top t = { .ctl = ctl, .by = "recent", .interval_ms = 1000 };
	char *end;
	struct why why;
	int opt, status;

	while ((opt = getopt_long(argc, argv, "i:b:n:" CTL_OPTIONS, options,
	    NULL)) != -1) {
		if (opt == 'i') {
			if (units_parse_duration(optarg, &t.interval_ms,
			    &why) < 0 || t.interval_ms < 100)
				return ctl_usage(&ctl_top, "--interval: "
				    "\"%s\" is no time of 100ms or more",
				    optarg);
		} else if (opt == 'b') {
			t.by = optarg;
		} else if (opt == 'n') {
			t.count = strtoull(optarg, &end, 10);
			if (*end != '\0' || t.count == 0)
				return ctl_usage(&ctl_top, "--count: \"%s\" "
				    "is no number above 0", optarg);
		} else if ((status = ctl_option(ctl, &ctl_top, opt,
		    optarg)) >= 0) {
			return status;
		}
	}
	if (optind < argc)
		return ctl_usage(&ctl_top, "\"%s\" is one argument too many",
		    argv[optind]);
	if (!ctl->json && (isatty(STDIN_FILENO) != 1 ||
	    isatty(STDOUT_FILENO) != 1))
		return ctl_usage(&ctl_top, "top needs a terminal; with --json "
		    "it prints lines for a program");
	return top_watch(&t);
}

const struct ctl_command ctl_top = {
	.name = "top",
	.summary = "the state and the open runs, live",
	.usage = top_usage,
	.run = top_run,
};
