/*
 * ctl_event: first what an eye looks for: when, which run, what it is, how it
 * went; then all the rest, as JSON.
 */
#include "ctl/ctl_event.h"

#include <string.h>

#include "ctl/ctl_http.h"

#define EVENT_RUN_WIDTH		24
#define EVENT_TYPE_WIDTH	16

/* "12:00:01" of an RFC 3339 time, or as much as there is. */
static void
event_time(struct buf *b, struct json_object *event, size_t *width)
{
	const char *at = ctl_json_text(event, "at");
	const char *t = strchr(at, 'T');
	size_t n = t != NULL ? strnlen(t + 1, 8) : 0;

	if (*width < 10)
		return;
	ctl_term_cell(b, t != NULL ? t + 1 : "", n, 8);
	buf_putc(b, ' ');
	*width -= 9;
}

/* Words that say that something went wrong. */
static enum ctl_color
event_color(const char *status)
{
	static const char *const bad[] = { "failed", "error", "timeout",
	    "denied", "blocked", "refused" };

	for (size_t i = 0; i < NELEM(bad); i++)
		if (strcmp(status, bad[i]) == 0)
			return CTL_RED;
	return CTL_GREEN;
}

/* A word and a blank behind it; the width shrinks. */
static void
event_word(struct buf *b, const struct ctl_term *t, enum ctl_color color,
    const char *word, size_t most, size_t *width)
{
	if (word[0] == '\0' || *width < 2)
		return;
	if (most > *width - 1)
		most = *width - 1;
	ctl_term_switch(b, t, color);
	size_t used = ctl_term_text(b, word, strlen(word), most);
	ctl_term_switch(b, t, CTL_PLAIN);
	buf_putc(b, ' ');
	*width -= used + 1;
}

void
ctl_event_line(struct buf *b, const struct ctl_term *t, const char *runid,
    struct json_object *event)
{
	size_t width = t->width;
	size_t most = t->tty ? EVENT_RUN_WIDTH : SIZE_MAX;
	struct json_object *rest = NULL;

	event_time(b, event, &width);
	event_word(b, t, CTL_CYAN, runid, most, &width);
	event_word(b, t, CTL_BOLD, ctl_json_text(event, "type"),
	    t->tty ? EVENT_TYPE_WIDTH : SIZE_MAX, &width);
	const char *status = ctl_json_text(event, "status");
	event_word(b, t, event_color(status), status, EVENT_TYPE_WIDTH,
	    &width);
	rest = json_object_new_object();
	json_object_object_foreach(event, key, v) {
		if (strcmp(key, "at") == 0 || strcmp(key, "type") == 0 ||
		    strcmp(key, "runId") == 0 ||
		    (strcmp(key, "status") == 0 && status[0] != '\0'))
			continue;
		(void)json_object_object_add(rest, key, json_object_get(v));
	}
	const char *text = ctl_json_print(rest, JSON_C_TO_STRING_PLAIN);
	(void)ctl_term_text(b, text, strlen(text), width);
	json_object_put(rest);
	buf_putc(b, '\n');
}
