/* bury: dead letters' text, and answers that refuse some of the events. */
#include "core/bury.h"

#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <string.h>

#include "base/cdefs.h"
#include "base/mem.h"
#include "codec/json.h"
#include "codec/timefmt.h"

static const char *
bury_kind(enum spool_kind kind)
{
	switch (kind) {
	case SPOOL_RUN:
		return "run";
	case SPOOL_CHANGE:
		return "change";
	case SPOOL_POLICY:
		return "policy";
	}
	return "unknown";
}

void
bury_text(struct buf *b, const struct spool_batch *batch, struct wall at,
    uint32_t attempts, const struct transport_answer *a,
    const struct bury_event *events, size_t n)
{
	char time[TIMEFMT_MAX];
	size_t len = a->body_len < BURY_ANSWER_MAX ? a->body_len :
	    BURY_ANSWER_MAX;

	(void)timefmt_rfc3339_ms(at, time);
	buf_puts(b, "{\"batch\":");
	json_put_string(b, batch->id, strlen(batch->id));
	buf_printf(b, ",\"kind\":\"%s\",\"runId\":", bury_kind(batch->kind));
	json_put_string(b, batch->runid, batch->runid_len);
	buf_printf(b, ",\"part\":%" PRIu32 ",\"reason\":\"%s\",\n\"at\":\"%s\","
	    "\"attempts\":%" PRIu32 ",\"status\":%d,\n\"answer\":",
	    batch->part, spool_reason_name(batch->reason), time, attempts,
	    a->status);
	json_put_string(b, a->body != NULL ? a->body : "",
	    a->body != NULL ? len : 0);
	buf_puts(b, ",\n\"events\":[");
	for (size_t i = 0; i < n; i++) {
		buf_printf(b, "%s\n{\"index\":%" PRIu32 ",\"event\":",
		    i > 0 ? "," : "", events[i].index);
		buf_put(b, events[i].json, events[i].len);
		buf_putc(b, '}');
	}
	buf_puts(b, "]}\n");
}

static uint8_t
bury_fate(int64_t status)
{
	if (status == 408 || status == 425 || status == 429 || status >= 500)
		return BURY_AGAIN;
	return status >= 400 ? BURY_REFUSED : BURY_TAKEN;
}

/* A number at this key, or `other`. */
static int64_t
bury_number(struct json_object *o, const char *key, int64_t other)
{
	struct json_object *v;

	if (!json_object_is_type(o, json_type_object) ||
	    !json_object_object_get_ex(o, key, &v) ||
	    !json_object_is_type(v, json_type_int))
		return other;
	return json_object_get_int64(v);
}

static void
bury_statuses(struct json_object *array, uint8_t *fate, size_t n)
{
	size_t len = json_object_array_length(array);

	for (size_t i = 0; i < len; i++) {
		struct json_object *o = json_object_array_get_idx(array, i);
		int64_t status = json_object_is_type(o, json_type_int) ?
		    json_object_get_int64(o) : bury_number(o, "status", 0);
		int64_t index = bury_number(o, "index", (int64_t)i);

		if (index >= 0 && (uint64_t)index < n)
			fate[index] = bury_fate(status);
	}
}

static void
bury_errors(struct json_object *array, uint8_t *fate, size_t n)
{
	size_t len = json_object_array_length(array);

	for (size_t i = 0; i < len; i++) {
		struct json_object *o = json_object_array_get_idx(array, i);
		int64_t index = bury_number(o, "index", -1);

		if (index < 0 || (uint64_t)index >= n)
			continue;
		/* Listed as an error: refused, unless it says "later". */
		uint8_t f = bury_fate(bury_number(o, "status", 400));
		fate[index] = f == BURY_TAKEN ? BURY_REFUSED : f;
	}
}

bool
bury_partial(const struct transport_answer *a, uint8_t *fate, size_t n)
{
	static const char *const keys[] = {
		"results", "events", "items", "responses",
	};
	struct json_tokener *tok;
	struct json_object *root, *v;
	bool any = false;

	memset(fate, BURY_TAKEN, n);
	/* Most answers are empty or {"ok":true}: do not wake the parser. */
	if (a->body_len < 2 || (a->status != 207 &&
	    memmem(a->body, a->body_len, "\"errors\"", 8) == NULL))
		return false;
	tok = json_tokener_new();
	if (tok == NULL)
		fatal("out of memory");
	errno = 0;
	root = json_tokener_parse_ex(tok, a->body, (int)a->body_len);
	/* Or what was refused would count as delivered. */
	if (errno == ENOMEM)
		fatal("out of memory");
	json_tokener_free(tok);
	if (json_object_is_type(root, json_type_object)) {
		if (json_object_object_get_ex(root, "errors", &v) &&
		    json_object_is_type(v, json_type_array))
			bury_errors(v, fate, n);
		for (size_t i = 0; a->status == 207 && i < NELEM(keys); i++)
			if (json_object_object_get_ex(root, keys[i], &v) &&
			    json_object_is_type(v, json_type_array))
				bury_statuses(v, fate, n);
	} else if (a->status == 207 &&
	    json_object_is_type(root, json_type_array)) {
		bury_statuses(root, fate, n);
	}
	json_object_put(root);
	for (size_t i = 0; i < n; i++)
		any |= fate[i] != BURY_TAKEN;
	return any;
}
