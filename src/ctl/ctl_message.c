/* ctl_message: what lumnictl sends. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "codec/jsonin.h"
#include "ctl/ctl_message.h"

/* The run's id as lumnid will write it, for counting and ending the run. */
static void
message_name_run(struct ctl_message *m, struct json_object *id)
{
	m->runid[0] = '\0';
	if (!json_object_is_type(id, json_type_string) &&
	    !json_object_is_type(id, json_type_int))
		return;
	/* Of a number, its decimal text. */
	const char *text = json_object_get_string(id);
	size_t len = strlen(text);
	if (json_object_is_type(id, json_type_string) &&
	    len != (size_t)json_object_get_string_len(id))
		return;	/* a NUL, which lumnid refuses */
	if (len <= CTL_RUNID_MAX)
		memcpy(m->runid, text, len + 1);
}

/* Make, from what is left of a flat event, {"runId": id, "events": [event]}. */
static struct json_object *
message_wrap(struct json_object *event, struct json_object *id)
{
	struct json_object *whole = json_object_new_object();
	struct json_object *events = json_object_new_array();

	if (whole == NULL || events == NULL ||
	    json_object_array_add(events, json_object_get(event)) < 0 ||
	    json_object_object_add(whole, "runId", json_object_get(id)) < 0 ||
	    json_object_object_add(whole, "events", events) < 0)
		fatal("out of memory");
	return whole;
}

int
ctl_message_pack(struct ctl_message *m, struct json_object *o,
    struct buf *out, struct why *why)
{
	struct json_object *id = NULL, *events = NULL, *whole;

	if (!json_object_is_type(o, json_type_object))
		return why_set(why, -EINVAL, "no JSON object; an event is "
		    "written {\"runId\": \"...\", \"type\": \"...\", ...}");
	bool own = json_object_object_get_ex(o, "runId", &id);
	if (own)
		json_object_get(id);
	else if (m->default_run != NULL)
		id = json_object_new_string(m->default_run);
	else if (json_object_object_get_ex(o, "traceId", &id))
		json_object_get(id);
	else
		return why_set(why, -EINVAL, "no \"runId\" in it; add one, or "
		    "give --run ID");
	message_name_run(m, id);

	if (json_object_object_get_ex(o, "events", &events)) {
		whole = json_object_get(o);
		if (!own) {
			if (json_object_object_add(whole, "runId",
			    json_object_get(id)) < 0)
				fatal("out of memory");
			json_object_object_del(whole, "traceId");
		}
		m->events = json_object_is_type(events, json_type_array) ?
		    json_object_array_length(events) : 0;
	} else {
		if (own)
			json_object_object_del(o, "runId");
		whole = message_wrap(o, id);
		m->events = 1;
	}
	json_object_put(id);
	if (m->end && json_object_object_add(whole, "end",
	    json_object_new_boolean(true)) < 0)
		fatal("out of memory");
	json_object_object_del(whole, "ack");
	if (m->ack != 0 && json_object_object_add(whole, "ack",
	    json_object_new_uint64(m->ack)) < 0)
		fatal("out of memory");
	jsonin_pack(out, whole);
	json_object_put(whole);
	return 0;
}

void
ctl_message_pack_end(struct buf *out, const char *runid, uint64_t ack)
{
	struct ctl_message m = { .default_run = runid, .end = true,
	    .ack = ack };
	struct json_object *o = json_object_new_object();
	struct why why;

	if (o == NULL || json_object_object_add(o, "events",
	    json_object_new_array()) < 0)
		fatal("out of memory");
	if (ctl_message_pack(&m, o, out, &why) < 0)
		fatal("%s", why.text);
	json_object_put(o);
}

int
ctl_message_field(struct json_object *o, struct json_tokener *tok,
    const char *arg, struct why *why)
{
	const char *eq = strchr(arg, '=');
	struct json_object *value = NULL;
	size_t offset;
	struct why reason;

	if (eq == NULL || eq == arg || (eq == arg + 1 && *arg == ':'))
		return why_set(why, -EINVAL, "\"%.80s\" is no key=value", arg);
	bool json = eq[-1] == ':';
	const char *text = eq + 1;
	int r = jsonin_parse(tok, text, strlen(text), &value, &offset,
	    &reason);
	if (json && r < 0)
		return why_set(why, r, "\"%.80s\": %s, at letter %zu", arg,
		    reason.text, offset + 1);
	if (!json && (r < 0 || json_object_is_type(value, json_type_string))) {
		json_object_put(value);
		value = json_object_new_string(text);
	}
	char *key = mem_strdup(arg);
	key[eq - arg - json] = '\0';
	if (json_object_object_add(o, key, value) < 0)
		fatal("out of memory");
	free(key);
	return 0;
}
