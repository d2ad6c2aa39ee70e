/*
 * ctl_dead: "lumnictl dead": the letters in <storage.dir>/dead: events that
 * the upstream has refused for good. Works on the files, so it needs no
 * running lumnid, except to send a letter's events again.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "codec/json.h"
#include "codec/jsonin.h"
#include "ctl/ctl.h"
#include "ctl/ctl_ask.h"
#include "ctl/ctl_http.h"
#include "ctl/ctl_term.h"

#define DEAD_DIR	LOCALSTATEDIR "/lib/lumnid/dead"

static const char dead_usage[] =
    "usage: lumnictl dead [--dir DIR] list\n"
    "       lumnictl dead [--dir DIR] show LETTER\n"
    "       lumnictl dead [--dir DIR] retry LETTER... | --all\n"
    "       lumnictl dead [--dir DIR] delete LETTER... | --all\n"
    "\n"
    "Events that the upstream has refused for good lie in letters, one file\n"
    "each. retry hands a letter's events to lumnid again, as a later part of\n"
    "their run, and deletes the letter once they are on lumnid's disk. Several\n"
    "letters go in the order of their events, however they are named; where\n"
    "one fails, the later ones of its run are kept too.\n"
    "\n"
    "  -d, --dir DIR        where the letters are; without it, those of the\n"
    "                       lumnid that runs here, or " DEAD_DIR "\n"
    "  -a, --all            all letters\n"
    CTL_USAGE_TEXT
    "\n"
    "Exit status: 0 done, 1 a letter is unreadable or its events were refused,\n"
    "2 the command line is at fault, 3 lumnid is not there or went away.\n";

struct dead {
	struct ctl	*ctl;
	const char	*dir;
	char		 found[4096];	/* the running lumnid's */
	char		**names;
	size_t		 n;
	char		**behind;	/* runs of which a letter failed */
	size_t		 behind_n;
};

static int
dead_is_letter(const struct dirent *d)
{
	size_t n = strlen(d->d_name);

	return d->d_name[0] != '.' && n > 5 &&
	    strcmp(d->d_name + n - 5, ".json") == 0;
}

/*
 * "<time>-<instance>-<batch>-<first index>+<events>.json": which batch of
 * lumnid's, and where in it? Zeros for any other name.
 */
static void
dead_place(const char *name, uint64_t *ret_batch, uint64_t *ret_index)
{
	const char *at = strchr(name, '-');

	*ret_batch = *ret_index = 0;
	if (at != NULL)
		at = strchr(at + 1, '-');
	if (at == NULL)
		return;
	at += at[1] == 'r' ? 2 : 1;	/* a record's */
	char *end;
	*ret_batch = strtoull(at, &end, 10);
	if (*end == '-')
		*ret_index = strtoull(end + 1, NULL, 10);
}

/* In the order of the events: batches are numbered as they are made. */
static int
dead_compare_events(const void *a, const void *b)
{
	const char *x = *(char *const *)a, *y = *(char *const *)b;
	uint64_t batch[2], index[2];

	dead_place(x, &batch[0], &index[0]);
	dead_place(y, &batch[1], &index[1]);
	if (batch[0] != batch[1])
		return batch[0] < batch[1] ? -1 : 1;
	if (index[0] != index[1])
		return index[0] < index[1] ? -1 : 1;
	return strcmp(x, y);
}

/* By time, with which the names begin; then in the order of the events. */
static int
dead_compare_time(const struct dirent **a, const struct dirent **b)
{
	const char *x = (*a)->d_name, *y = (*b)->d_name;
	size_t n = strcspn(x, "-");
	int r = strncmp(x, y, n + 1);

	return r != 0 ? r : dead_compare_events(&x, &y);
}

/* All letters, oldest first. */
static int
dead_list_names(struct dead *d)
{
	struct dirent **list;
	int n = scandir(d->dir, &list, dead_is_letter, dead_compare_time);

	if (n < 0) {
		ctl_error("%s: %s%s", d->dir, strerror(errno),
		    errno == EACCES ? "; it belongs to the user that runs "
		    "lumnid: try as root" : errno == ENOENT ? "; is lumnid "
		    "running? Another directory is named with --dir" : "");
		return CTL_REFUSED;
	}
	d->names = mem_zalloc(((size_t)n + 1) * sizeof *d->names);
	for (int i = 0; i < n; i++) {
		d->names[d->n++] = mem_strdup(list[i]->d_name);
		free(list[i]);
	}
	free(list);
	return CTL_OK;
}

/* The path of a letter, or NULL after a message. */
static const char *
dead_path(const struct dead *d, const char *name, char *dst, size_t n)
{
	if (strchr(name, '/') != NULL || name[0] == '.') {
		ctl_error("\"%s\" is no letter's name; lumnictl dead list "
		    "tells them", name);
		return NULL;
	}
	(void)snprintf(dst, n, "%s/%s", d->dir, name);
	return dst;
}

/* Parse a letter; NULL after a message. */
static struct json_object *
dead_read(const struct dead *d, const char *name)
{
	char path[4096];
	struct json_object *o;

	if (dead_path(d, name, path, sizeof path) == NULL)
		return NULL;
	if (access(path, R_OK) < 0) {
		ctl_error("%s: %s", path, strerror(errno));
		return NULL;
	}
	o = json_object_from_file(path);
	if (o == NULL || !json_object_is_type(o, json_type_object)) {
		json_object_put(o);
		ctl_error("%s: no letter of lumnid's", path);
		return NULL;
	}
	return o;
}

static const char *
dead_string(struct json_object *o, const char *key)
{
	struct json_object *v;

	/* null, too, is there without a text. */
	if (!json_object_object_get_ex(o, key, &v) || v == NULL)
		return "";
	return json_object_get_string(v);
}

/* The same, as it may go to a terminal. */
static const char *
dead_clean(const char *text, char *dst, size_t n)
{
	return ctl_clean(text, strlen(text), dst, n);
}

static size_t
dead_count(struct json_object *o)
{
	struct json_object *v;

	return json_object_object_get_ex(o, "events", &v) &&
	    json_object_is_type(v, json_type_array) ?
	    json_object_array_length(v) : 0;
}

/* A letter in a line of JSON, without its events. */
static void
dead_list_json(const char *name, struct json_object *letter)
{
	struct json_object *o = json_object_new_object(), *v;
	static const char *const keys[] = { "batch", "kind", "runId", "part",
	    "at", "status" };
	struct buf b;

	(void)json_object_object_add(o, "letter",
	    json_object_new_string(name));
	for (size_t i = 0; i < NELEM(keys); i++)
		if (json_object_object_get_ex(letter, keys[i], &v))
			(void)json_object_object_add(o, keys[i],
			    json_object_get(v));
	(void)json_object_object_add(o, "events", json_object_new_int64(
	    (int64_t)dead_count(letter)));
	buf_init(&b, 0);
	ctl_json_put(&b, o, JSON_C_TO_STRING_PLAIN);
	(void)ctl_term_put(&b);
	buf_free(&b);
	json_object_put(o);
}

static int
dead_do_list(struct dead *d)
{
	int status = CTL_OK;
	char letter[300], answer[40], kind[40], run[300];

	for (size_t i = 0; i < d->n; i++) {
		struct json_object *o = dead_read(d, d->names[i]);
		if (o == NULL) {
			status = CTL_REFUSED;
			continue;
		}
		if (d->ctl->json) {
			dead_list_json(d->names[i], o);
			json_object_put(o);
			continue;
		}
		(void)printf("%s  status %s  %zu event%s  %s %s\n",
		    dead_clean(d->names[i], letter, sizeof letter),
		    dead_clean(dead_string(o, "status"), answer,
		    sizeof answer), dead_count(o),
		    dead_count(o) == 1 ? "" : "s",
		    dead_clean(dead_string(o, "kind"), kind, sizeof kind),
		    dead_clean(dead_string(o, "runId"), run, sizeof run));
		json_object_put(o);
	}
	if (d->n == 0 && !d->ctl->quiet && !d->ctl->json)
		(void)puts("no letters");
	return status;
}

static int
dead_do_show(struct dead *d, const char *name)
{
	struct json_object *o = dead_read(d, name);

	if (o == NULL)
		return CTL_REFUSED;
	struct buf b;

	buf_init(&b, 0);
	ctl_json_put(&b, o, d->ctl->json ? JSON_C_TO_STRING_PLAIN :
	    JSON_C_TO_STRING_PRETTY);
	(void)ctl_term_put(&b);
	buf_free(&b);
	json_object_put(o);
	return CTL_OK;
}

static void
dead_tell_deleted(const struct dead *d, const char *name)
{
	struct buf b, json;
	char clean[300];

	buf_init(&b, 0);
	if (d->ctl->json) {
		buf_init(&json, 0);
		buf_puts(&json, "{\"deleted\":");
		json_put_string(&json, name, strlen(name));
		buf_puts(&json, "}");
		ctl_term_json(&b, buf_cstr(&json), json.len);
		buf_free(&json);
	} else {
		buf_printf(&b, "deleted %s", dead_clean(name, clean,
		    sizeof clean));
	}
	buf_putc(&b, '\n');
	(void)ctl_term_put(&b);
	buf_free(&b);
}

static int
dead_delete(struct dead *d, const char *name)
{
	char path[4096];

	if (dead_path(d, name, path, sizeof path) == NULL)
		return CTL_REFUSED;
	if (unlink(path) < 0) {
		ctl_error("%s: %s", path, strerror(errno));
		return CTL_REFUSED;
	}
	if (!d->ctl->quiet)
		dead_tell_deleted(d, name);
	return CTL_OK;
}

/* The message that brings a letter's events back; NULL: there are none. */
static struct json_object *
dead_message(struct json_object *letter)
{
	struct json_object *in, *v, *m = json_object_new_object();
	struct json_object *events = json_object_new_array();
	const char *kind = dead_string(letter, "kind");
	size_t n = dead_count(letter);

	(void)json_object_object_get_ex(letter, "events", &in);
	for (size_t i = 0; i < n; i++)
		if (json_object_object_get_ex(json_object_array_get_idx(in, i),
		    "event", &v))
			(void)json_object_array_add(events,
			    json_object_get(v));
	if (json_object_array_length(events) == 0) {
		json_object_put(events);
		json_object_put(m);
		return NULL;
	}
	if (strcmp(kind, "run") == 0) {
		(void)json_object_object_add(m, "runId",
		    json_object_new_string(dead_string(letter, "runId")));
		(void)json_object_object_add(m, "events", events);
		(void)json_object_object_add(m, "end",
		    json_object_new_boolean(true));
	} else {
		(void)json_object_object_add(m, kind, json_object_get(
		    json_object_array_get_idx(events, 0)));
		json_object_put(events);
	}
	(void)json_object_object_add(m, "ack", json_object_new_int(1));
	return m;
}

/* Hand the events over; 0 once they are on lumnid's disk. */
static int
dead_send(struct dead *d, const char *name, struct json_object *letter)
{
	struct json_object *m = dead_message(letter);
	struct why why = { "" };
	struct buf b;

	if (m == NULL) {
		ctl_error("%s: there are no events in it", name);
		return CTL_REFUSED;
	}
	buf_init(&b, 0);
	jsonin_pack(&b, m);
	json_object_put(m);
	if (buf_error(&b) < 0)
		fatal("out of memory");
	int status = ctl_ask(d->ctl, &b, 1, &why);
	buf_free(&b);
	if (status != CTL_OK)
		ctl_error("%s: %s; the letter is kept", name, why.text);
	return status;
}

static bool
dead_is_behind(const struct dead *d, const char *run)
{
	for (size_t i = 0; i < d->behind_n; i++)
		if (strcmp(d->behind[i], run) == 0)
			return true;
	return false;
}

static int
dead_retry(struct dead *d, const char *name)
{
	struct json_object *letter = dead_read(d, name);
	int status;

	if (letter == NULL)
		return CTL_REFUSED;
	const char *run = dead_string(letter, "runId");
	if (dead_is_behind(d, run)) {
		ctl_error("%s: kept, as an earlier letter of its run is",
		    name);
		status = CTL_REFUSED;
	} else if ((status = dead_send(d, name, letter)) != CTL_OK) {
		d->behind = mem_grow(d->behind, d->behind_n + 1,
		    sizeof *d->behind);
		d->behind[d->behind_n++] = mem_strdup(run);
	}
	json_object_put(letter);
	return status == CTL_OK ? dead_delete(d, name) : status;
}

static int
dead_each(struct dead *d, int (*fn)(struct dead *, const char *), bool all,
    int argc, char **argv)
{
	int status = CTL_OK;
	size_t n = all ? d->n : (size_t)argc;
	char **names = all ? d->names : argv;

	if (!all && argc == 0)
		return ctl_usage(&ctl_dead, "name a LETTER, or --all");
	if (n > 0)
		qsort(names, n, sizeof *names, dead_compare_events);
	for (size_t i = 0; i < n; i++) {
		int r = fn(d, names[i]);
		if (r == CTL_UNREACHABLE)
			return r;	/* so it is for all others */
		if (r != CTL_OK)
			status = r;
	}
	return status;
}

/* No --dir: the running lumnid knows where its letters are. */
static void
dead_find_dir(struct dead *d)
{
	struct ctl_http *h = ctl_http_new(d->ctl);
	struct json_object *st;
	struct why why;

	d->dir = DEAD_DIR;
	if (ctl_http_ask(h, false, "/status", &st, &why) == CTL_OK) {
		const char *dir = ctl_json_text(st, "storage_dir");
		(void)snprintf(d->found, sizeof d->found, "%s/dead", dir);
		if (dir[0] == '/')
			d->dir = d->found;
		json_object_put(st);
	}
	ctl_http_free(h);
}

static int
dead_dispatch(struct dead *d, bool all, int argc, char **argv)
{
	const char *what = argc > 0 ? argv[0] : "list";

	if (strcmp(what, "show") == 0) {
		if (argc != 2)
			return ctl_usage(&ctl_dead, "name one LETTER");
		return dead_do_show(d, argv[1]);
	}
	if (strcmp(what, "list") == 0 || all) {
		int status = dead_list_names(d);
		if (status != CTL_OK)
			return status;
	}
	if (strcmp(what, "list") == 0)
		return dead_do_list(d);
	if (strcmp(what, "retry") == 0)
		return dead_each(d, dead_retry, all, argc - 1, argv + 1);
	if (strcmp(what, "delete") == 0)
		return dead_each(d, dead_delete, all, argc - 1, argv + 1);
	return ctl_usage(&ctl_dead, "\"%s\" is none of list, show, retry, "
	    "delete", what);
}

static int
dead_run(struct ctl *ctl, int argc, char **argv)
{
	static const struct option options[] = {
		{ "dir", required_argument, NULL, 'd' },
		{ "all", no_argument, NULL, 'a' },
		CTL_LONG,
		{ NULL, 0, NULL, 0 },
	};
	struct dead d = { .ctl = ctl };
	bool all = false;
	int opt, status;

	while ((opt = getopt_long(argc, argv, "d:a" CTL_OPTIONS, options,
	    NULL)) != -1) {
		if (opt == 'd') {
			d.dir = optarg;
		} else if (opt == 'a') {
			all = true;
		} else {
			status = ctl_option(ctl, &ctl_dead, opt, optarg);
			if (status >= 0)
				return status;
		}
	}
	if (d.dir == NULL)
		dead_find_dir(&d);
	status = dead_dispatch(&d, all, argc - optind, argv + optind);
	for (size_t i = 0; i < d.n; i++)
		free(d.names[i]);
	free(d.names);
	for (size_t i = 0; i < d.behind_n; i++)
		free(d.behind[i]);
	free(d.behind);
	return status;
}

const struct ctl_command ctl_dead = {
	.name = "dead",
	.summary = "list, show, retry, delete what the upstream has refused",
	.usage = dead_usage,
	.run = dead_run,
};
