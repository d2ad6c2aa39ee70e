/* ctl: what the commands of lumnictl share. */
#include "config.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/units.h"
#include "base/why.h"
#include "base/xdg.h"
#include "ctl/ctl.h"
#include "ctl/ctl_term.h"

#define CTL_SOCKET	RUNSTATEDIR "/lumnid/lumnid.sock"
#define CTL_ERROR_MAX	9000	/* bytes: two paths and some words */

/* Names of files, and what lumnid or the upstream said, may be among it. */
static void
ctl_verror(const char *fmt, va_list ap)
{
	char text[CTL_ERROR_MAX], clean[CTL_ERROR_MAX];

	(void)vsnprintf(text, sizeof text, fmt, ap);
	(void)fflush(stdout);	/* in the order in which it happened */
	(void)fprintf(stderr, "lumnictl: %s\n", ctl_clean(text, strlen(text),
	    clean, sizeof clean));
}

void
ctl_error(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	ctl_verror(fmt, ap);
	va_end(ap);
}

static int
ctl_try_help(const struct ctl_command *cmd)
{
	(void)fprintf(stderr, "Try 'lumnictl%s%s --help'.\n",
	    cmd != NULL ? " " : "", cmd != NULL ? cmd->name : "");
	return CTL_USAGE;
}

int
ctl_usage(const struct ctl_command *cmd, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	ctl_verror(fmt, ap);
	va_end(ap);
	return ctl_try_help(cmd);
}

int
ctl_option(struct ctl *ctl, const struct ctl_command *cmd, int opt,
    const char *arg)
{
	struct why why;

	switch (opt) {
	case CTL_OPT_SOCKET:
		ctl->socket = arg;
		return -1;
	case CTL_OPT_TIMEOUT:
		if (units_parse_duration(arg, &ctl->timeout_ms, &why) < 0)
			return ctl_usage(cmd, "--timeout: %s", why.text);
		return -1;
	case CTL_OPT_CONTROL:
		ctl->control = arg;
		return -1;
	case CTL_OPT_JSON:
		ctl->json = true;
		return -1;
	case 'q':
		ctl->quiet = true;
		return -1;
	case 'h':
	case CTL_OPT_HELP:
		(void)fputs(cmd != NULL ? cmd->usage : "", stdout);
		return CTL_OK;
	default:
		/* getopt_long() has said what is wrong. */
		return ctl_try_help(cmd);
	}
}

/* The system's; where there is none, that of a user's own lumnid. */
static const char *
ctl_default_socket(void)
{
	static char path[512];
	char dir[480];

	if (access(CTL_SOCKET, F_OK) < 0 && errno == ENOENT &&
	    xdg_run_dir(dir, sizeof dir, NULL) == 0) {
		(void)snprintf(path, sizeof path, "%s/lumnid.sock", dir);
		if (access(path, F_OK) == 0)
			return path;
	}
	return CTL_SOCKET;
}

const char *
ctl_socket(const struct ctl *ctl)
{
	static const char scheme[] = "unix://";
	const char *address;

	if (ctl->socket != NULL)
		return ctl->socket;
	address = getenv("LUMNID_ADDRESS");
	if (address == NULL || address[0] == '\0')
		return ctl_default_socket();
	if (strncmp(address, scheme, sizeof scheme - 1) == 0 &&
	    address[sizeof scheme - 1] == '/')
		return address + sizeof scheme - 1;
	ctl_error("LUMNID_ADDRESS is \"%s\", which is no unix:///path; name "
	    "lumnid's socket with --socket", address);
	return NULL;
}

const char *
ctl_control_path(const struct ctl *ctl, char *dst, size_t n)
{
	const char *path = ctl->control, *slash;

	if (path == NULL && ctl->socket == NULL)
		path = getenv("LUMNID_CONTROL");
	if (path != NULL && path[0] != '\0') {
		(void)snprintf(dst, n, "%s", path);
		return dst;
	}
	path = ctl_socket(ctl);
	if (path == NULL)
		return NULL;
	slash = strrchr(path, '/');
	(void)snprintf(dst, n, "%.*s%scontrol.sock", slash != NULL ?
	    (int)(slash - path) : 0, path, slash != NULL ? "/" : "");
	return dst;
}

int
ctl_plain_options(struct ctl *ctl, const struct ctl_command *cmd, int argc,
    char **argv, int min, int max)
{
	static const struct option options[] = {
		CTL_LONG,
		{ NULL, 0, NULL, 0 },
	};
	int opt, status, n;

	while ((opt = getopt_long(argc, argv, CTL_OPTIONS, options,
	    NULL)) != -1)
		if ((status = ctl_option(ctl, cmd, opt, optarg)) >= 0)
			return status;
	n = argc - optind;
	if (n < min)
		return ctl_usage(cmd, "an argument is missing");
	if (n > max)
		return ctl_usage(cmd, "\"%s\" is one argument too many",
		    argv[optind + max]);
	return -1;
}

const char *
ctl_clean(const char *text, size_t len, char *dst, size_t n)
{
	struct buf b;

	buf_init(&b, 0);
	(void)ctl_term_text(&b, text, len, SIZE_MAX);
	(void)snprintf(dst, n, "%s", buf_cstr(&b));
	buf_free(&b);
	return dst;
}
