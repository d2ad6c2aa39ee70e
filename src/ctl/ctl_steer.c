/* ctl_steer: "lumnictl pause", "resume", "reload" and "log-level". */
#include "config.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "ctl/ctl.h"
#include "ctl/ctl_http.h"
#include "ctl/ctl_term.h"

static const char pause_usage[] =
    "usage: lumnictl pause\n"
    "\n"
    "Send nothing more to the upstream; events are taken and kept. It stays so\n"
    "over restarts of lumnid, until lumnictl resume. The status, the metrics and\n"
    "/readyz show it.\n"
    "\n"
    CTL_USAGE_TEXT;

static const char resume_usage[] =
    "usage: lumnictl resume\n"
    "\n"
    "Send again what lumnictl pause has held up.\n"
    "\n"
    CTL_USAGE_TEXT;

static const char reload_usage[] =
    "usage: lumnictl reload\n"
    "\n"
    "Have lumnid read its configuration anew, and tell how that went. With a\n"
    "fault in it, the one in force stays.\n"
    "\n"
    CTL_USAGE_TEXT
    "\n"
    "Exit status: 0 it is in force, 1 it has a fault, 2 the command line is at\n"
    "fault, 3 lumnid is not there.\n";

static const char log_level_usage[] =
    "usage: lumnictl log-level [error|warn|info|debug]\n"
    "\n"
    "Print, or change, the least important lines that lumnid logs. A change\n"
    "lasts until the next reload or restart, which obey log.level.\n"
    "\n"
    CTL_USAGE_TEXT;

/* Print the answer as it is, or the sentence. */
static int
steer_tell(const struct ctl *ctl, struct json_object *o, const char *text)
{
	struct buf b;

	buf_init(&b, 0);
	if (ctl->json) {
		ctl_json_put(&b, o, JSON_C_TO_STRING_PLAIN);
	} else if (!ctl->quiet) {
		ctl_term_json(&b, text, strlen(text));
		buf_putc(&b, '\n');
	}
	int r = ctl_term_put(&b) < 0 ? CTL_REFUSED : CTL_OK;
	buf_free(&b);
	json_object_put(o);
	return r;
}

static int
steer_simple(struct ctl *ctl, const struct ctl_command *cmd, int argc,
    char **argv, const char *target, const char *text)
{
	struct json_object *o;
	int r = ctl_plain_options(ctl, cmd, argc, argv, 0, 0);

	if (r >= 0)
		return r;
	if ((r = ctl_ask_control(ctl, true, target, &o)) != CTL_OK)
		return r;
	return steer_tell(ctl, o, text);
}

static int
pause_run(struct ctl *ctl, int argc, char **argv)
{
	return steer_simple(ctl, &ctl_pause, argc, argv, "/pause", "paused: "
	    "events are taken and kept, none is sent");
}

static int
resume_run(struct ctl *ctl, int argc, char **argv)
{
	return steer_simple(ctl, &ctl_resume, argc, argv, "/resume",
	    "resumed");
}

static int
reload_run(struct ctl *ctl, int argc, char **argv)
{
	struct json_object *o;
	char file[512], text[700];
	int r = ctl_plain_options(ctl, &ctl_reload, argc, argv, 0, 0);

	if (r >= 0)
		return r;
	if ((r = ctl_ask_control(ctl, true, "/reload", &o)) != CTL_OK)
		return r;
	const char *name = ctl_json_text(o, "config");
	const char *keys = ctl_json_text(o, "restart_needed");
	(void)snprintf(text, sizeof text, "reloaded %s%s%s",
	    name[0] == '\0' ? "" : ctl_clean(name, strlen(name), file,
	    sizeof file), keys[0] == '\0' ? "" :
	    "; these take effect with the next start: ", keys);
	return steer_tell(ctl, o, text);
}

/* The level in force, out of GET /status. */
static int
log_level_print(const struct ctl *ctl)
{
	struct json_object *st, *o;
	int r = ctl_ask_control(ctl, false, "/status", &st);

	if (r != CTL_OK)
		return r;
	o = json_object_new_object();
	(void)json_object_object_add(o, "level", json_object_new_string(
	    ctl_json_text(st, "log_level")));
	json_object_put(st);
	char level[32];
	const char *text = ctl_json_text(o, "level");
	(void)ctl_clean(text, strlen(text), level, sizeof level);
	struct ctl loud = *ctl;
	loud.quiet = false;
	return steer_tell(&loud, o, level);
}

static int
log_level_run(struct ctl *ctl, int argc, char **argv)
{
	struct json_object *o;
	struct buf target;
	char text[64];
	int r = ctl_plain_options(ctl, &ctl_log_level, argc, argv, 0, 1);

	if (r >= 0)
		return r;
	if (optind == argc)
		return log_level_print(ctl);
	buf_init(&target, 0);
	buf_puts(&target, "/log-level");
	ctl_http_param(&target, "level", argv[optind]);
	r = ctl_ask_control(ctl, true, buf_cstr(&target), &o);
	buf_free(&target);
	if (r != CTL_OK)
		return r;
	(void)snprintf(text, sizeof text, "log level %.20s, until the next "
	    "reload", argv[optind]);
	return steer_tell(ctl, o, text);
}

const struct ctl_command ctl_pause = {
	.name = "pause",
	.summary = "send nothing more until resume",
	.usage = pause_usage,
	.run = pause_run,
};

const struct ctl_command ctl_resume = {
	.name = "resume",
	.summary = "send again",
	.usage = resume_usage,
	.run = resume_run,
};

const struct ctl_command ctl_reload = {
	.name = "reload",
	.summary = "read the configuration anew, and tell how it went",
	.usage = reload_usage,
	.run = reload_run,
};

const struct ctl_command ctl_log_level = {
	.name = "log-level",
	.summary = "print or change what is logged",
	.usage = log_level_usage,
	.run = log_level_run,
};
