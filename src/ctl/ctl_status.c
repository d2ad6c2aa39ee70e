/* ctl_status: "lumnictl status": the whole state on one screen. */
#include "config.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ctl/ctl.h"
#include "ctl/ctl_http.h"
#include "ctl/ctl_screen.h"

static const char status_usage[] =
    "usage: lumnictl status [--json]\n"
    "\n"
    "Print what comes in, what waits and for how long, the upstream's state,\n"
    "and the books.\n"
    "\n"
    CTL_USAGE_TEXT;

static int
status_run(struct ctl *ctl, int argc, char **argv)
{
	struct json_object *st;
	struct ctl_term term;
	struct buf b;
	int r = ctl_plain_options(ctl, &ctl_status, argc, argv, 0, 0);

	if (r >= 0)
		return r;
	if ((r = ctl_ask_control(ctl, false, "/status", &st)) != CTL_OK)
		return r;
	buf_init(&b, 0);
	if (ctl->json) {
		ctl_json_put(&b, st, JSON_C_TO_STRING_PLAIN);
	} else {
		const char *version = ctl_json_text(st, "version");
		const char *file = ctl_json_text(st, "config");

		ctl_term_look(&term, STDOUT_FILENO);
		ctl_screen_words(&b, &term, st);
		buf_printf(&b, "          version ");
		(void)ctl_term_text(&b, version, strlen(version), 30);
		buf_printf(&b, ", pid %lld, ", (long long)ctl_json_int(st,
		    "pid"));
		(void)ctl_term_text(&b, file, strlen(file), SIZE_MAX);
		buf_puts(&b, "\n\n");
		ctl_screen_state(&b, &term, st);
		buf_putc(&b, '\n');
		ctl_screen_books(&b, &term, st);
	}
	json_object_put(st);
	r = ctl_term_put(&b) < 0 ? CTL_REFUSED : CTL_OK;
	buf_free(&b);
	return r;
}

const struct ctl_command ctl_status = {
	.name = "status",
	.summary = "what comes in, what waits, the upstream, the books",
	.usage = status_usage,
	.run = status_run,
};
