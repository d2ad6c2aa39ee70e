/*
 * ctl: what the commands of lumnictl share. A command is one file with one
 * struct ctl_command, and a row in lumnictl.c's table.
 */
#ifndef LUMNID_CTL_CTL_H
#define LUMNID_CTL_CTL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cdefs.h"

/* Exit statuses, the same for all commands; a table in lumnictl(1). */
enum ctl_status {
	CTL_OK,
	CTL_REFUSED,		/* some of it was refused, or bad */
	CTL_USAGE,		/* the command line is at fault */
	CTL_UNREACHABLE,	/* lumnid is not there, or went away */
	CTL_LATE,		/* not finished in time; lumnid goes on */
	CTL_HELD,		/* the upstream takes nothing, or it is paused */
};

struct ctl {
	const char	*socket;	/* --socket, NULL if not given */
	const char	*control;	/* --control, the same */
	bool		 json;
	int64_t		 timeout_ms;	/* without any progress; 0: for ever */
	bool		 quiet;
};

struct ctl_command {
	const char	*name;
	const char	*summary;	/* one line, for --help */
	const char	*usage;		/* the whole text of its --help */
	/* argv[0] is the command's name. Returns the exit status. */
	int		(*run)(struct ctl *, int argc, char **argv);
};

extern const struct ctl_command ctl_change, ctl_dead, ctl_drain, ctl_flush,
    ctl_log_level, ctl_pause, ctl_policy, ctl_redact_test, ctl_reload,
    ctl_resume, ctl_run, ctl_runs, ctl_send, ctl_spool, ctl_status, ctl_tail,
    ctl_top;

/* One line on standard error, "lumnictl: " before it. */
void	ctl_error(const char *fmt, ...) PRINTF_LIKE(1, 2);
/*
 * The same, and where to find help; returns CTL_USAGE. cmd: NULL for lumnictl's
 * own command line, here and below.
 */
int	ctl_usage(const struct ctl_command *, const char *fmt, ...)
	    PRINTF_LIKE(2, 3);
/*
 * An option that all commands have (those of CTL_OPTIONS and CTL_LONG).
 * Returns -1 to go on, or the exit status.
 */
int	ctl_option(struct ctl *, const struct ctl_command *, int opt,
	    const char *arg);
/*
 * The stream socket's path: --socket, else LUMNID_ADDRESS if it is
 * unix://PATH, else the default. Returns NULL, after a message, for an address
 * of another kind.
 */
const char *ctl_socket(const struct ctl *);
/*
 * The control socket's path: --control, else LUMNID_CONTROL, else control.sock
 * beside the stream socket, as lumnid itself derives it. dst: n bytes; returned,
 * or NULL after a message.
 */
const char *ctl_control_path(const struct ctl *, char *dst, size_t n);
/*
 * Read the options of a command that has none but those of all; returns -1, or
 * the exit status. min, max: how many arguments may follow.
 */
int	ctl_plain_options(struct ctl *, const struct ctl_command *, int argc,
	    char **argv, int min, int max);
/*
 * Text of others for a terminal, cut to fit: control characters (which could
 * steer it) become '?'. Returns dst.
 */
const char *ctl_clean(const char *, size_t len, char *dst, size_t n);

enum { CTL_OPT_SOCKET = 256, CTL_OPT_TIMEOUT, CTL_OPT_HELP, CTL_OPT_CONTROL,
    CTL_OPT_JSON, CTL_OPT_OWN };
#define CTL_LONG							\
	{ "control", required_argument, NULL, CTL_OPT_CONTROL },	\
	{ "help", no_argument, NULL, CTL_OPT_HELP },			\
	{ "json", no_argument, NULL, CTL_OPT_JSON },			\
	{ "quiet", no_argument, NULL, 'q' },				\
	{ "socket", required_argument, NULL, CTL_OPT_SOCKET },		\
	{ "timeout", required_argument, NULL, CTL_OPT_TIMEOUT }
#define CTL_OPTIONS "hq"
#define CTL_USAGE_TEXT							\
	"      --json           JSON, for programs\n"			\
	"      --socket PATH    lumnid's socket for events\n"		\
	"      --control PATH   lumnid's control socket (control.sock beside "	\
	"it)\n"								\
	"      --timeout TIME   give up after so long without progress "	\
	"(10s; 0: never)\n"						\
	"  -q, --quiet          print errors only\n"			\
	"  -h, --help           print this text\n"

#endif
