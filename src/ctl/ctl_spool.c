/* ctl_spool: "lumnictl spool": batches that wait to be delivered. */
#include "config.h"

#include "ctl/ctl_spool.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl/ctl_frames.h"
#include "ctl/ctl_http.h"

static const char spool_usage[] =
    "usage: lumnictl spool ls [--run ID] [--limit N] [--dir DIR]\n"
    "       lumnictl spool show [--dir DIR] BATCH...\n"
    "       lumnictl spool export [--run ID] [--limit N] [--dir DIR] "
    "[BATCH...]\n"
    "\n"
    "Batches that wait to be delivered. show prints what is in them; export\n"
    "prints a line of JSON for each, {\"runId\": ..., \"events\": [...]}, as\n"
    "lumnictl send takes it, or {\"change\": ...}, {\"policy\": ...}. Nothing is\n"
    "taken out of the spool.\n"
    "\n"
    "  -r, --run ID         only of this run\n"
    "  -l, --limit N        at most so many\n"
    "  -d, --dir DIR        of a lumnid that is stopped, its storage.dir\n"
    CTL_USAGE_TEXT
    "\n"
    "Exit status: 0 done, 1 no such batch waits, or one is damaged or left while\n"
    "it was read, 2 the command line is at fault, 3 lumnid is not there or went\n"
    "away.\n";

/* --- from lumnid ---------------------------------------------------------- */

struct spool_ask {
	struct ctl_spool *s;
	struct ctl_frames frames;
	struct json_object *batch;	/* whose body comes */
	struct buf	 body;
	bool		 whole;		/* the answer has ended as it should */
	struct why	 why;
};

/* The body is there, or it never will be. */
static int
ask_body_end(struct spool_ask *a, bool gone)
{
	int r = 0;

	if (gone) {
		ctl_error("batch %s has left the spool meanwhile",
		    ctl_json_text(a->batch, "id"));
		a->s->gone++;
	} else {
		r = ctl_spool_put_body(a->s, a->batch, a->body.data,
		    a->body.len);
	}
	json_object_put(a->batch);
	a->batch = NULL;
	buf_reset(&a->body, 0);
	return r;
}

static int64_t
ask_frame(struct spool_ask *a, struct json_object *o)
{
	struct json_object *v;

	if (json_object_object_get_ex(o, "batch", &v)) {
		if (a->s->verb == CTL_SPOOL_LS)
			return ctl_spool_put_ls(a->s, v);
		json_object_put(a->batch);
		a->batch = json_object_get(v);
		return 0;
	}
	if (json_object_object_get_ex(o, "piece", &v)) {
		int64_t n = json_object_get_int64(v);
		return n > 0 ? n : a->batch != NULL ? ask_body_end(a, false) :
		    0;
	}
	if (ctl_json_bool(o, "gone") && a->batch != NULL)
		return ask_body_end(a, true);
	if (ctl_json_bool(o, "end"))
		a->whole = true;
	else if (ctl_json_text(o, "error")[0] != '\0')
		(void)why_set(&a->why, 0, "%s", ctl_json_text(o, "error"));
	return 0;
}

static int64_t
ask_line(void *arg, const char *line, size_t len)
{
	struct json_tokener *tok = ctl_json_tokener();
	struct json_object *o = json_tokener_parse_ex(tok, line, (int)len);
	int64_t r = ask_frame(arg, o);

	json_tokener_free(tok);
	json_object_put(o);
	return r;
}

static int
ask_bytes(void *arg, const void *data, size_t n)
{
	struct spool_ask *a = arg;

	buf_put(&a->body, data, n);
	return buf_error(&a->body);
}

static int
ask_data(void *arg, const char *data, size_t n)
{
	struct spool_ask *a = arg;

	return ctl_frames_feed(&a->frames, data, n);
}

/* One request: all, or one batch. */
static int
spool_ask(struct ctl_spool *s, struct ctl_http *h, const char *id)
{
	struct spool_ask a = { .s = s };
	struct buf target;
	char limit[24];

	buf_init(&target, 0);
	buf_init(&a.body, 256u << 20);
	buf_puts(&target, "/spool");
	if (id != NULL)
		ctl_http_param(&target, "id", id);
	if (s->run != NULL)
		ctl_http_param(&target, "run", s->run);
	(void)snprintf(limit, sizeof limit, "%" PRIu64, s->limit);
	ctl_http_param(&target, "limit", limit);
	if (s->verb != CTL_SPOOL_LS)
		ctl_http_param(&target, "bodies", "1");
	ctl_frames_init(&a.frames, ask_line, ask_bytes, &a);
	int r = ctl_http_stream(h, false, buf_cstr(&target), ask_data, NULL,
	    &a, &a.why);
	if (r == CTL_OK && !a.whole) {
		r = a.why.text[0] != '\0' || ferror(stdout) ? CTL_REFUSED :
		    CTL_UNREACHABLE;
		if (a.why.text[0] == '\0')
			(void)why_set(&a.why, 0, ferror(stdout) ? "standard "
			    "output is closed" : "lumnid has ended the "
			    "answer: it is stopping");
	}
	if (r != CTL_OK)
		ctl_error("%s", a.why.text);
	json_object_put(a.batch);
	ctl_frames_free(&a.frames);
	buf_free(&a.body);
	buf_free(&target);
	return r;
}

int
ctl_spool_from_lumnid(struct ctl_spool *s)
{
	struct ctl_http *h = ctl_http_new(s->ctl);
	int r = CTL_OK;

	if (s->ids_n == 0)
		r = spool_ask(s, h, NULL);
	for (size_t i = 0; r == CTL_OK && i < s->ids_n; i++)
		r = spool_ask(s, h, s->ids[i]);
	ctl_http_free(h);
	return r;
}

/* --- the command ---------------------------------------------------------- */

static int
spool_do(struct ctl_spool *s, const char *dir)
{
	ctl_term_look(&s->term, STDOUT_FILENO);
	buf_init(&s->out, 0);
	int r = dir != NULL ? ctl_spool_from_dir(s, dir) :
	    ctl_spool_from_lumnid(s);
	if (r == CTL_OK && s->seen == 0 && s->verb == CTL_SPOOL_LS &&
	    !s->ctl->quiet && !s->ctl->json)
		buf_puts(&s->out, "nothing waits\n");
	if (ctl_term_put(&s->out) < 0 && r == CTL_OK)
		r = CTL_REFUSED;
	if (r == CTL_OK && s->seen + s->gone < s->ids_n) {
		ctl_error("%s", s->ids_n == 1 ? "no such batch waits; "
		    "lumnictl spool ls tells them" : "some of these batches "
		    "do not wait (any more)");
		r = CTL_REFUSED;
	}
	if (r == CTL_OK && s->gone + s->bad > 0)
		r = CTL_REFUSED;
	buf_free(&s->out);
	return r;
}

static int
spool_dispatch(struct ctl_spool *s, const char *dir, int argc, char **argv)
{
	const char *verb = argc > 0 ? argv[0] : "ls";

	s->ids = argv + 1;
	s->ids_n = argc > 1 ? (size_t)argc - 1 : 0;
	if (strcmp(verb, "ls") == 0)
		s->verb = CTL_SPOOL_LS;
	else if (strcmp(verb, "show") == 0)
		s->verb = CTL_SPOOL_SHOW;
	else if (strcmp(verb, "export") == 0)
		s->verb = CTL_SPOOL_EXPORT;
	else
		return ctl_usage(&ctl_spool, "\"%s\" is none of ls, show, "
		    "export", verb);
	if (s->verb == CTL_SPOOL_SHOW && s->ids_n == 0)
		return ctl_usage(&ctl_spool, "name a BATCH; lumnictl spool ls "
		    "tells them");
	if (s->verb == CTL_SPOOL_LS && s->ids_n > 0)
		return ctl_usage(&ctl_spool, "\"%s\" is one argument too many",
		    s->ids[0]);
	return spool_do(s, dir);
}

static int
spool_run(struct ctl *ctl, int argc, char **argv)
{
	static const struct option options[] = {
		{ "dir", required_argument, NULL, 'd' },
		{ "limit", required_argument, NULL, 'l' },
		{ "run", required_argument, NULL, 'r' },
		CTL_LONG,
		{ NULL, 0, NULL, 0 },
	};
	struct ctl_spool s = { .ctl = ctl, .limit = UINT64_MAX };
	const char *dir = NULL;
	char *end;
	int opt, status;

	while ((opt = getopt_long(argc, argv, "d:l:r:" CTL_OPTIONS, options,
	    NULL)) != -1) {
		if (opt == 'd') {
			dir = optarg;
		} else if (opt == 'r') {
			s.run = optarg;
		} else if (opt == 'l') {
			errno = 0;
			s.limit = strtoull(optarg, &end, 10);
			if (*end != '\0' || errno != 0 || s.limit == 0)
				return ctl_usage(&ctl_spool, "--limit: \"%s\" "
				    "is no number above 0", optarg);
		} else if ((status = ctl_option(ctl, &ctl_spool, opt,
		    optarg)) >= 0) {
			return status;
		}
	}
	return spool_dispatch(&s, dir, argc - optind, argv + optind);
}

const struct ctl_command ctl_spool = {
	.name = "spool",
	.summary = "list, show, export what waits to be delivered",
	.usage = spool_usage,
	.run = spool_run,
};
