/*
 * ctl_spool_dir: batches out of the files of a lumnid that is stopped, or of
 * another host's. Nothing is changed there.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/clock.h"
#include "codec/timefmt.h"
#include "ctl/ctl_spool.h"
#include "store/survey.h"

/* The object that GET /spool has for it. */
static struct json_object *
dir_describe(const struct spool_batch *b, const struct spool_ref *ref)
{
	static const char *const kinds[] = { [SPOOL_RUN] = "run",
	    [SPOOL_CHANGE] = "change", [SPOOL_POLICY] = "policy" };
	struct json_object *o = json_object_new_object();
	int64_t age = (clock_now().wall.us - b->sealed.us) / 1000;
	char at[TIMEFMT_MAX];
	size_t n = timefmt_rfc3339_ms(b->sealed, at);
	bool known = b->kind >= SPOOL_RUN && b->kind <= SPOOL_POLICY;

#define ADD(key, v)	(void)json_object_object_add(o, key, v)
#define NUMBER(v)	json_object_new_int64((int64_t)(v))
	ADD("id", json_object_new_string(b->id));
	ADD("kind", json_object_new_string(known ? kinds[b->kind] : "run"));
	if (b->kind == SPOOL_RUN) {
		ADD("runId", json_object_new_string_len(b->runid,
		    (int)b->runid_len));
		ADD("part", NUMBER(b->part));
		ADD("reason", json_object_new_string(
		    spool_reason_name(b->reason)));
	}
	ADD("events", NUMBER(b->events));
	ADD("finished", NUMBER(ref->finished));
	ADD("bytes", NUMBER(b->body_len));
	ADD("json_bytes", NUMBER(b->raw_len));
	ADD("compressed", json_object_new_boolean(b->compressed));
	ADD("sealed", json_object_new_string_len(at, (int)n));
	ADD("age_ms", NUMBER(age < 0 ? 0 : age));
	ADD("attempts", NUMBER(0));	/* only a running lumnid knows */
	ADD("in_flight", json_object_new_boolean(false));
#undef ADD
#undef NUMBER
	return o;
}

/* 0 or -EPIPE. */
static int
dir_put(struct ctl_spool *s, struct spool *sp, const struct spool_ref *ref,
    const struct spool_batch *b)
{
	struct json_object *o = dir_describe(b, ref);
	struct spool_batch whole;
	const uint8_t *body;
	struct why why = { "" };
	struct buf buf;
	int r = 0;

	if (s->verb == CTL_SPOOL_LS) {
		r = ctl_spool_put_ls(s, o);
		json_object_put(o);
		return r;
	}
	buf_init(&buf, 0);
	if (spool_load(sp, ref, &whole, &buf, &body, &why) < 0) {
		ctl_error("batch %s: %s", b->id, why.text);
		s->bad++;
		s->seen++;
	} else {
		r = ctl_spool_put_body(s, o, body, ref->body_len);
	}
	buf_free(&buf);
	json_object_put(o);
	return r;
}

/* All that waits in one spool. 0, -EPIPE, or -errno after a message. */
static int
dir_walk(struct ctl_spool *s, struct spool *sp)
{
	struct spool_cursor c = { 0 };
	struct spool_batch b;
	struct spool_ref ref;
	struct why why = { "" };
	int r = 0, n;

	while (r == 0 && s->seen < s->limit &&
	    (n = spool_next(sp, &c, &ref, &why)) != 0) {
		if (n < 0) {
			ctl_error("%s", why.text);
			s->bad++;
			return n;
		}
		if (spool_describe(sp, &ref, &b, &why) < 0) {
			ctl_error("%s", why.text);
			s->bad++;
		} else if (ctl_spool_wants(s, b.id, b.runid)) {
			r = dir_put(s, sp, &ref, &b);
		}
	}
	return r;
}

/* As lumnid itself keeps a second one off. */
static bool
dir_in_use(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool used;

	if (fd < 0)
		return false;	/* survey_open() says what is wrong */
	used = flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
	(void)close(fd);
	return used;
}

int
ctl_spool_from_dir(struct ctl_spool *s, const char *dir)
{
	struct survey *sv;
	struct why why = { "" };
	int r = 0;

	if (dir_in_use(dir)) {
		ctl_error("%s: a running lumnid is using it; ask that one: "
		    "leave out --dir", dir);
		return CTL_REFUSED;
	}
	if (survey_open(dir, NULL, NULL, &sv, &why) < 0) {
		ctl_error("%s", why.text);
		return CTL_REFUSED;
	}
	for (int log = SURVEY_RECORDS; r == 0 && log >= SURVEY_SPOOL; log--) {
		struct spool *sp = survey_spool(sv, (enum survey_log)log);
		if (sp != NULL)
			r = dir_walk(s, sp);
	}
	survey_close(sv);
	return r < 0 ? CTL_REFUSED : CTL_OK;
}
