/*
 * lumnictl: the command line client of lumnid. A command is a row of the
 * table below and a file in src/ctl/.
 */
#include "config.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "ctl/ctl.h"

static const struct ctl_command *const commands[] = {
	&ctl_status,
	&ctl_top,
	&ctl_tail,
	&ctl_runs,
	&ctl_run,
	&ctl_flush,
	&ctl_drain,
	&ctl_pause,
	&ctl_resume,
	&ctl_spool,
	&ctl_dead,
	&ctl_reload,
	&ctl_log_level,
	&ctl_send,
	&ctl_change,
	&ctl_policy,
	&ctl_redact_test,
};

static void
print_help(void)
{
	(void)fputs("usage: lumnictl [options] COMMAND [arguments]\n\n"
	    "Commands:\n", stdout);
	for (size_t i = 0; i < NELEM(commands); i++)
		(void)printf("  %-12s %s\n", commands[i]->name,
		    commands[i]->summary);
	(void)fputs("\nOptions of all commands:\n" CTL_USAGE_TEXT
	    "  -V, --version        print the version\n"
	    "\n'lumnictl COMMAND --help' tells more.\n", stdout);
}

static const struct ctl_command *
find_command(const char *name)
{
	for (size_t i = 0; i < NELEM(commands); i++) {
		if (strcmp(commands[i]->name, name) == 0)
			return commands[i];
	}
	return NULL;
}

int
main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "version", no_argument, NULL, 'V' },
		CTL_LONG,
		{ NULL, 0, NULL, 0 },
	};
	struct ctl ctl = { .timeout_ms = 10000 };
	char name[64] = "lumnictl";
	int opt;

	/* getopt_long() begins its messages with it. */
	if (argc > 0)
		argv[0] = name;

	while ((opt = getopt_long(argc, argv, "+V" CTL_OPTIONS, options,
	    NULL)) != -1) {
		if (opt == 'V') {
			(void)puts(PACKAGE_STRING);
			return CTL_OK;
		}
		if (opt == 'h' || opt == CTL_OPT_HELP) {
			print_help();
			return CTL_OK;
		}
		int status = ctl_option(&ctl, NULL, opt, optarg);
		if (status >= 0)
			return status;
	}
	if (optind == argc)
		return ctl_usage(NULL, "no command is given");
	if (strcmp(argv[optind], "help") == 0) {
		print_help();
		return CTL_OK;
	}
	const struct ctl_command *cmd = find_command(argv[optind]);
	if (cmd == NULL)
		return ctl_usage(NULL, "there is no command \"%s\"",
		    argv[optind]);
	argc -= optind;
	argv += optind;
	(void)snprintf(name, sizeof name, "lumnictl %s", cmd->name);
	argv[0] = name;
	optind = 0;	/* glibc: begin anew, with other options */
	return cmd->run(&ctl, argc, argv);
}
