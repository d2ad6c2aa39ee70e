/* ctl_spool_out: how batches are printed; see ctl_spool.h. */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "codec/batch.h"
#include "ctl/ctl_http.h"
#include "ctl/ctl_spool.h"

#define SPOOL_BODY_MAX	(256u << 20)	/* bytes of JSON */

bool
ctl_spool_wants(const struct ctl_spool *s, const char *id, const char *runid)
{
	bool any = s->ids_n == 0;

	for (size_t i = 0; !any && i < s->ids_n; i++)
		any = strcmp(s->ids[i], id) == 0;
	return any && (s->run == NULL || strcmp(s->run, runid) == 0);
}

static void
spool_head(struct ctl_spool *s)
{
	char line[160];

	(void)snprintf(line, sizeof line, "%-24s %-6s %5s %8s %10s %9s %5s  "
	    "%s", "BATCH", "WHY", "PART", "EVENTS", "BYTES", "AGE", "TRIES",
	    "RUN");
	ctl_term_paint(&s->out, &s->term, CTL_BOLD, line);
	buf_putc(&s->out, '\n');
}

static void
spool_row(struct ctl_spool *s, struct json_object *o)
{
	const char *id = ctl_json_text(o, "id");
	const char *kind = ctl_json_text(o, "kind");
	const char *run = ctl_json_text(o, "runId");
	const char *reason = ctl_json_text(o, "reason");
	bool is_run = strcmp(kind, "run") == 0;
	size_t used = 76;	/* columns before the run */
	char x[32], y[32], z[32];

	ctl_term_cell(&s->out, id, strlen(id), 24);
	buf_putc(&s->out, ' ');
	ctl_term_cell(&s->out, reason, strlen(reason), 6);
	if (is_run)
		buf_printf(&s->out, " %5" PRId64, ctl_json_int(o, "part"));
	else
		buf_printf(&s->out, " %5s", "-");
	buf_printf(&s->out, " %8s %10s %9s %5" PRId64 "%s ",
	    ctl_term_count((uint64_t)ctl_json_int(o, "events"), x),
	    ctl_term_bytes((uint64_t)ctl_json_int(o, "bytes"), y),
	    ctl_term_ms(ctl_json_int(o, "age_ms"), z),
	    ctl_json_int(o, "attempts"),
	    ctl_json_bool(o, "in_flight") ? "*" : " ");
	run = is_run ? run : kind;
	/* Cut on a terminal only, and never to nothing. */
	size_t width = s->term.width == SIZE_MAX ? SIZE_MAX :
	    s->term.width > used + 12 ? s->term.width - used : 12;
	(void)ctl_term_text(&s->out, run, strlen(run), width);
	buf_putc(&s->out, '\n');
}

int
ctl_spool_put_ls(struct ctl_spool *s, struct json_object *o)
{
	if (s->seen++ == 0 && !s->ctl->json)
		spool_head(s);
	if (s->ctl->json)
		ctl_json_put(&s->out, o, JSON_C_TO_STRING_PLAIN);
	else
		spool_row(s, o);
	return s->out.len > 65536 && ctl_term_put(&s->out) < 0 ? -EPIPE : 0;
}

/* For people: what it is, then the body, indented. */
static void
spool_show(struct ctl_spool *s, struct json_object *o, const char *body,
    size_t len)
{
	struct json_tokener *tok = ctl_json_tokener();
	struct json_object *v = json_tokener_parse_ex(tok, body, (int)len);

	ctl_term_switch(&s->out, &s->term, CTL_DIM);
	buf_puts(&s->out, "// ");
	const char *what = ctl_json_print(o, JSON_C_TO_STRING_PLAIN);
	(void)ctl_term_text(&s->out, what, strlen(what), SIZE_MAX);
	ctl_term_switch(&s->out, &s->term, CTL_PLAIN);
	buf_putc(&s->out, '\n');
	ctl_json_put(&s->out, v, JSON_C_TO_STRING_PRETTY);
	json_object_put(v);
	json_tokener_free(tok);
}

/* A line that says what it is: a run's body; {"change":...}, {"policy":...}. */
static void
spool_line(struct ctl_spool *s, struct json_object *o, const char *body,
    size_t len)
{
	const char *kind = ctl_json_text(o, "kind");
	bool is_run = strcmp(kind, "run") == 0;

	if (!is_run)
		buf_printf(&s->out, "{\"%s\":", kind);
	ctl_term_json(&s->out, body, len);
	buf_puts(&s->out, is_run ? "\n" : "}\n");
}

int
ctl_spool_put_body(struct ctl_spool *s, struct json_object *o,
    const void *body, size_t len)
{
	struct why why = { "" };
	struct buf raw;
	int r = 0;

	s->seen++;
	buf_init(&raw, SPOOL_BODY_MAX);
	if (ctl_json_bool(o, "compressed"))
		r = batch_unpack(body, len, &raw, &why);
	else
		buf_put(&raw, body, len);
	if (r < 0 || buf_error(&raw) < 0) {
		ctl_error("batch %s: %s", ctl_json_text(o, "id"),
		    why.text[0] != '\0' ? why.text : "too long");
		s->bad++;
	} else if (s->verb == CTL_SPOOL_SHOW && !s->ctl->json) {
		spool_show(s, o, buf_cstr(&raw), raw.len);
	} else {
		spool_line(s, o, (const char *)raw.data, raw.len);
	}
	buf_free(&raw);
	return ctl_term_put(&s->out) < 0 ? -EPIPE : 0;
}
