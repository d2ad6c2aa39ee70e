/*
 * lumnid: reads the command line and the configuration, and runs the daemon.
 * Exit status: 0 after a signal to stop, 1 when it could not be started or
 * failed, 2 for a fault in the command line or the configuration. Those of
 * --check-spool are in core/check_spool.h.
 */
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/secret.h"
#include "base/why.h"
#include "core/check_spool.h"
#include "core/conf.h"
#include "loop/daemon.h"

#define LUMNID_CONFIG	SYSCONFDIR "/lumnid/lumnid.yaml"

enum lumnid_action {
	LUMNID_RUN,
	LUMNID_CHECK_CONFIG,
	LUMNID_PRINT_CONFIG,
	LUMNID_CHECK_SPOOL,
};

struct lumnid_options {
	enum lumnid_action	 action;
	const char		*config;	/* NULL: LUMNID_CONFIG if it is there */
	const char		*upstream;
	const char		*key_file;
	const char		*spool;		/* NULL: storage.dir */
	bool			 verbose;
	bool			 core_dumps;
	struct secret		*env_key;	/* LUMNI_API_KEY; NULL: none */
};

static const char lumnid_usage[] =
    "usage: lumnid [-v] [-c FILE] [--upstream URL] [--key-file FILE]\n"
    "              [--core-dumps]\n"
    "       lumnid [-c FILE] --check-config | --print-config\n"
    "       lumnid [-c FILE] --check-spool [DIR]\n"
    "       lumnid --print-example | --version | --help\n"
    "\n"
    "Takes step events of AI agents on this host and forwards each run to\n"
    "Lumni.\n"
    "\n"
    "  -c, --config FILE     configuration (" LUMNID_CONFIG ")\n"
    "      --upstream URL    upstream.url, as in https://host\n"
    "      --key-file FILE   upstream.api_key_file\n"
    "  -v, --verbose         log.level: debug\n"
    "      --core-dumps      allow core dumps and debuggers (lumnid(8))\n"
    "      --check-config    say whether the configuration is good, and exit\n"
    "      --check-spool     read all of DIR (storage.dir), change nothing, and\n"
    "                        say what waits there and what is damaged; exit status\n"
    "                        0: clean, 3: a start mends it, 4: damaged\n"
    "      --print-config    print what is in force and where it came from\n"
    "      --print-example   print a commented configuration file\n"
    "      --version         print the version\n"
    "      --help            print this text\n";

/*
 * The file, the environment, then the flags. Without a file, and without
 * naming one, --upstream is enough.
 */
static int
lumnid_load(void *arg, struct conf **ret, struct why *why)
{
	const struct lumnid_options *o = arg;
	const char *file = o->config;
	struct conf *conf;
	struct stat st;
	int r;

	if (file == NULL) {
		if (stat(LUMNID_CONFIG, &st) == 0 || errno != ENOENT)
			file = LUMNID_CONFIG;
		else if (o->upstream == NULL)
			return why_set(why, -ENOENT, "there is no %s; write "
			    "one (lumnid --print-example shows how), name "
			    "another with -c, or give --upstream URL",
			    LUMNID_CONFIG);
	}
	if ((r = conf_load(file, true, &conf, why)) < 0)
		return r;
	if (o->upstream != NULL)
		r = conf_set(conf, "upstream.url", o->upstream, why);
	/* It was taken out of the environment at the start. */
	if (conf->upstream.api_key == NULL)
		conf->upstream.api_key = secret_ref(o->env_key);
	if (r == 0 && o->key_file != NULL)
		r = conf_set(conf, "upstream.api_key_file", o->key_file, why);
	if (r == 0 && o->verbose)
		r = conf_set(conf, "log.level", "debug", why);
	if (r == 0)
		r = conf_check(conf, why);
	if (r == 0)
		r = conf_compile(conf, why);
	if (r < 0) {
		conf_free(conf);
		return r;
	}
	*ret = conf;
	return 0;
}

/* Returns -1 to go on, or the exit status. */
static int
lumnid_parse(int argc, char **argv, struct lumnid_options *o)
{
	enum { UPSTREAM = 256, KEY_FILE, CORE_DUMPS, CHECK, PRINT, SPOOL,
	    EXAMPLE, VERSION_, HELP };
	static const struct option longs[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "verbose", no_argument, NULL, 'v' },
		{ "upstream", required_argument, NULL, UPSTREAM },
		{ "key-file", required_argument, NULL, KEY_FILE },
		{ "core-dumps", no_argument, NULL, CORE_DUMPS },
		{ "check-config", no_argument, NULL, CHECK },
		{ "print-config", no_argument, NULL, PRINT },
		{ "check-spool", no_argument, NULL, SPOOL },
		{ "print-example", no_argument, NULL, EXAMPLE },
		{ "version", no_argument, NULL, VERSION_ },
		{ "help", no_argument, NULL, HELP },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "c:vh", longs, NULL)) != -1) {
		switch (c) {
		case 'c':
			o->config = optarg;
			break;
		case 'v':
			o->verbose = true;
			break;
		case UPSTREAM:
			o->upstream = optarg;
			break;
		case KEY_FILE:
			o->key_file = optarg;
			break;
		case CORE_DUMPS:
			o->core_dumps = true;
			break;
		case CHECK:
			o->action = LUMNID_CHECK_CONFIG;
			break;
		case PRINT:
			o->action = LUMNID_PRINT_CONFIG;
			break;
		case SPOOL:
			o->action = LUMNID_CHECK_SPOOL;
			break;
		case EXAMPLE:
			conf_print_example(stdout);
			return 0;
		case VERSION_:
			(void)puts("lumnid " PACKAGE_VERSION);
			return 0;
		case HELP:
		case 'h':
			(void)fputs(lumnid_usage, stdout);
			return 0;
		default:
			(void)fputs(lumnid_usage, stderr);
			return 2;
		}
	}
	if (o->action == LUMNID_CHECK_SPOOL && optind < argc)
		o->spool = argv[optind++];
	if (optind < argc) {
		(void)fprintf(stderr, "lumnid: unexpected argument \"%s\"\n%s",
		    argv[optind], lumnid_usage);
		return 2;
	}
	return -1;
}

/* The status of a command whose text goes to stdout. */
static int
lumnid_flush(int status)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	(void)fprintf(stderr, "lumnid: standard output: %s\n", strerror(errno));
	return 1;
}

/* No configuration is needed where the directory is named. */
static int
lumnid_check_spool(const struct lumnid_options *o)
{
	struct conf *conf = NULL;
	struct why why;
	int r;

	if (o->spool == NULL && lumnid_load((void *)(uintptr_t)o, &conf,
	    &why) < 0) {
		(void)fprintf(stderr, "lumnid: %s\n", why.text);
		return 2;
	}
	r = check_spool(conf != NULL ? conf->storage.dir : o->spool,
	    clock_now().wall, stdout, &why);
	if (conf != NULL)
		conf_free(conf);
	if (r < 0) {
		(void)fprintf(stderr, "lumnid: %s\n", why.text);
		r = 1;
	}
	return lumnid_flush(r);
}

int
main(int argc, char **argv)
{
	struct lumnid_options o = { .action = LUMNID_RUN };
	struct conf *conf;
	struct why why;
	int status;

	mem_setup();
	(void)umask(0077);
	if ((status = lumnid_parse(argc, argv, &o)) >= 0)
		return lumnid_flush(status);
	if (o.action == LUMNID_CHECK_SPOOL)
		return lumnid_check_spool(&o);
	o.env_key = secret_from_env("LUMNI_API_KEY");
	if (!o.core_dumps && o.action == LUMNID_RUN && secret_harden() < 0) {
		(void)fprintf(stderr, "lumnid: prctl: %s\n", strerror(errno));
		return 1;
	}
	if (lumnid_load(&o, &conf, &why) < 0) {
		(void)fprintf(stderr, "lumnid: %s\n", why.text);
		return 2;
	}
	switch (o.action) {
	case LUMNID_RUN:
	case LUMNID_CHECK_SPOOL:
		break;
	case LUMNID_CHECK_CONFIG:
		(void)printf("%s: ok\n", conf->file);
		conf_free(conf);
		return lumnid_flush(0);
	case LUMNID_PRINT_CONFIG:
		conf_print(conf, stdout);
		conf_free(conf);
		return lumnid_flush(0);
	}
	status = daemon_run(conf, lumnid_load, &o, &why) < 0 ? 1 : 0;
	if (status != 0)
		(void)fprintf(stderr, "lumnid: %s\n", why.text);
	secret_unref(o.env_key);
	return status;
}
