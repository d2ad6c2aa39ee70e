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
#include "base/log.h"
#include "base/mem.h"
#include "base/secret.h"
#include "base/why.h"
#include "base/xdg.h"
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

#define LUMNID_SETS	64

struct lumnid_options {
	enum lumnid_action	 action;
	const char		*config;	/* NULL: LUMNID_CONFIG if it is there */
	const char		*upstream;
	const char		*key_file;
	const char		*spool;		/* NULL: storage.dir */
	const char		*set[LUMNID_SETS];	/* KEY=VALUE */
	size_t			 set_n;
	bool			 verbose;
	bool			 core_dumps;
	struct secret		*env_key;	/* LUMNI_API_KEY; NULL: none */
	bool			 own;	/* no file: paths of the user's own */
	char			 run_dir[256], state_dir[256];
};

static const char lumnid_usage[] =
    "usage: lumnid [-v] [-c FILE] [--upstream URL] [--key-file FILE]\n"
    "              [--core-dumps]\n"
    "              [--set KEY=VALUE]...\n"
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
    "      --set KEY=VALUE   any other key, as in listen.http=off\n"
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
 * Without a file, where the system's directory for sockets is not ours to
 * write: sockets and state are the user's own.
 */
static int
lumnid_own_paths(struct lumnid_options *o, struct why *why)
{
	bool fallback;
	int r;

	if (access(RUNSTATEDIR "/lumnid", W_OK) == 0)
		return 0;
	if ((r = xdg_state_dir(o->state_dir, sizeof o->state_dir)) < 0 ||
	    (r = xdg_run_dir(o->run_dir, sizeof o->run_dir, &fallback)) < 0)
		return why_set(why, r, "there is no configuration file, and "
		    "neither HOME nor XDG_STATE_HOME says where else to keep "
		    "events; set one, or name a file with -c");
	o->own = true;
	if (fallback && o->action == LUMNID_RUN)
		log_warn("no_runtime_dir", LS("sockets", o->run_dir),
		    LS("hint", "XDG_RUNTIME_DIR is not set, so the sockets "
		    "are beside the state"));
	return 0;
}

/* What --set and the other flags say goes over the user's own paths. */
static int
lumnid_set_own(const struct lumnid_options *o, struct conf *conf,
    struct why *why)
{
	char path[sizeof o->run_dir + 16];
	int r;

	if (!o->own)
		return 0;
	(void)snprintf(path, sizeof path, "%s/lumnid.sock", o->run_dir);
	r = conf_set(conf, "listen.unix.path", path, why);
	if (r == 0)
		r = conf_set(conf, "storage.dir", o->state_dir, why);
	return r;
}

static int
lumnid_set(struct conf *conf, const char *text, struct why *why)
{
	const char *eq = strchr(text, '=');
	char key[128];

	if (eq == NULL || (size_t)(eq - text) >= sizeof key)
		return why_set(why, -EINVAL, "--set %s: it is KEY=VALUE, as "
		    "in listen.http=off", text);
	(void)snprintf(key, sizeof key, "%.*s", (int)(eq - text), text);
	return conf_set(conf, key, eq + 1, why);
}

static int
lumnid_set_flags(const struct lumnid_options *o, struct conf *conf,
    struct why *why)
{
	int r = 0;

	if (o->upstream != NULL)
		r = conf_set(conf, "upstream.url", o->upstream, why);
	if (r == 0 && o->key_file != NULL)
		r = conf_set(conf, "upstream.api_key_file", o->key_file, why);
	if (r == 0 && o->verbose)
		r = conf_set(conf, "log.level", "debug", why);
	for (size_t i = 0; r == 0 && i < o->set_n; i++)
		r = lumnid_set(conf, o->set[i], why);
	return r;
}

/* Their directories, so that a new user needs to make none. */
static int
lumnid_make_own(const struct lumnid_options *o, const struct conf *conf,
    struct why *why)
{
	int r;

	if (!o->own)
		return 0;
	if (strcmp(conf->storage.dir, o->state_dir) == 0 &&
	    (r = xdg_make_dir(o->state_dir)) < 0)
		return why_errno(why, r, "%s cannot be made", o->state_dir);
	if (strncmp(conf->listen.unix_stream.path, o->run_dir,
	    strlen(o->run_dir)) == 0 && (r = xdg_make_dir(o->run_dir)) < 0)
		return why_errno(why, r, "%s cannot be made", o->run_dir);
	return 0;
}

/*
 * The file, the environment, then the flags. Without a file, and without
 * naming one, --upstream is enough.
 */
static int
lumnid_load(void *arg, struct conf **ret, struct why *why)
{
	struct lumnid_options *o = arg;
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
		else if (!o->own && (r = lumnid_own_paths(o, why)) < 0)
			return r;
	}
	if ((r = conf_load(file, true, &conf, why)) < 0)
		return r;
	/* It was taken out of the environment at the start. */
	if (conf->upstream.api_key == NULL)
		conf->upstream.api_key = secret_ref(o->env_key);
	r = lumnid_set_own(o, conf, why);
	if (r == 0)
		r = lumnid_set_flags(o, conf, why);
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

/*
 * A key that is missing at the start is a mistake in the configuration. Only a
 * freshly installed service may wait for its key: it keeps what it gets.
 */
static int
lumnid_check_key(const struct conf *conf, struct why *why)
{
	char key[4096];
	int r = conf_api_key(conf, key, sizeof key, NULL, why);

	explicit_bzero(key, sizeof key);
	return r < 0 && conf_key_is_credential(conf) ? 0 : r;
}

/* Run until a signal; the exit status. */
static int
lumnid_run(struct lumnid_options *o, struct conf *conf)
{
	struct why why;
	int status = 0;

	if (lumnid_check_key(conf, &why) < 0) {
		conf_free(conf);
		status = 2;
	} else if (lumnid_make_own(o, conf, &why) < 0 ||
	    daemon_run(conf, lumnid_load, o, &why) < 0) {
		status = 1;
	}
	if (status != 0)
		(void)fprintf(stderr, "lumnid: %s\n", why.text);
	return status;
}

/* Returns -1 to go on, or the exit status. */
static int
lumnid_parse(int argc, char **argv, struct lumnid_options *o)
{
	enum { UPSTREAM = 256, KEY_FILE, SET, CORE_DUMPS, CHECK, PRINT, SPOOL,
	    EXAMPLE, VERSION_, HELP };
	static const struct option longs[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "verbose", no_argument, NULL, 'v' },
		{ "upstream", required_argument, NULL, UPSTREAM },
		{ "key-file", required_argument, NULL, KEY_FILE },
		{ "core-dumps", no_argument, NULL, CORE_DUMPS },
		{ "set", required_argument, NULL, SET },
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
		case SET:
			if (o->set_n == LUMNID_SETS) {
				(void)fputs("lumnid: too many --set\n", stderr);
				return 2;
			}
			o->set[o->set_n++] = optarg;
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
	status = lumnid_run(&o, conf);
	secret_unref(o.env_key);
	return status;
}
