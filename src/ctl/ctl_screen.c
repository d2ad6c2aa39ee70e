/*
 * ctl_screen: every line is cut at the terminal's width, and text of others
 * (runIds, what an upstream said) goes through ctl_term_text().
 */
#include "ctl/ctl_screen.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "ctl/ctl_http.h"

#define LABEL_WIDTH	10

/* A line: its label, and text that is cut at the width. */
static void
screen_line(struct buf *b, const struct ctl_term *t, const char *label,
    enum ctl_color color, struct buf *text)
{
	size_t width = t->width > LABEL_WIDTH ? t->width - LABEL_WIDTH : 0;
	const char *s = buf_cstr(text);

	ctl_term_switch(b, t, CTL_BOLD);
	ctl_term_cell(b, label, strlen(label), LABEL_WIDTH);
	ctl_term_switch(b, t, CTL_PLAIN);
	if (color != CTL_PLAIN)
		ctl_term_switch(b, t, color);
	(void)ctl_term_text(b, s, strlen(s), width);
	if (color != CTL_PLAIN)
		ctl_term_switch(b, t, CTL_PLAIN);
	buf_putc(b, '\n');
	buf_reset(text, SIZE_MAX);
}

/* "5 runs", with "," between thousands. ending: of the plural, "s" or "es". */
static void
screen_many(struct buf *b, int64_t n, const char *what, const char *ending)
{
	char text[32];

	buf_printf(b, "%s %s%s", ctl_term_count((uint64_t)n, text), what,
	    n == 1 ? "" : ending);
}

static void
screen_count(struct buf *b, int64_t n, const char *what)
{
	screen_many(b, n, what, "s");
}

/* The upstream's state in words; returns how bad it is. */
static enum ctl_color
screen_upstream(struct buf *b, struct json_object *st)
{
	const char *state = ctl_json_text(st, "upstream.state");
	const char *why = ctl_json_text(st, "upstream.why");
	int64_t retry = ctl_json_int(st, "upstream.retry_in_ms");
	int64_t last = ctl_json_int(st, "upstream.last_success_ms");
	int64_t flight = ctl_json_int(st, "upstream.in_flight");
	enum ctl_color color = CTL_PLAIN;
	char text[32];

	if (ctl_json_bool(st, "paused")) {
		buf_puts(b, "paused; lumnictl resume sends again");
		return CTL_YELLOW;
	}
	if (strcmp(state, "hold") == 0) {
		buf_printf(b, "refuses everything, which is kept: %s", why);
		color = CTL_RED;
	} else if (strcmp(state, "down") == 0) {
		buf_printf(b, "away: %s", why);
		color = CTL_RED;
	} else if (strcmp(state, "idle") == 0) {
		buf_puts(b, "not asked for anything yet");
	} else {
		buf_puts(b, "takes what is sent");
	}
	if (color == CTL_RED && retry >= 0)
		buf_printf(b, "; next try in %s", ctl_term_ms(retry, text));
	if (last >= 0)
		buf_printf(b, "; last success %s ago", ctl_term_ms(last,
		    text));
	if (flight > 0) {
		buf_puts(b, "; ");
		screen_count(b, flight, "request");
		buf_puts(b, " under way");
	}
	return color;
}

void
ctl_screen_words(struct buf *b, const struct ctl_term *t,
    struct json_object *st)
{
	const char *state = ctl_json_text(st, "upstream.state");
	const char *storage = ctl_json_text(st, "storage.state");
	const char *url = ctl_json_text(st, "upstream_url");
	enum ctl_color color = CTL_GREEN;
	struct buf text;

	buf_init(&text, 0);
	if (strcmp(storage, "ok") != 0) {
		color = CTL_RED;
		buf_printf(&text, "NOT taking events, storage is %s: %s",
		    storage, ctl_json_text(st, "storage.why"));
	} else if (ctl_json_bool(st, "paused")) {
		color = CTL_YELLOW;
		buf_puts(&text, "PAUSED: events are taken and kept, none is "
		    "sent");
	} else if (strcmp(state, "hold") == 0) {
		color = CTL_RED;
		buf_printf(&text, "NOT forwarding to %s, all is kept", url);
	} else if (strcmp(state, "down") == 0) {
		color = CTL_YELLOW;
		buf_printf(&text, "waiting for %s, all is kept", url);
	} else {
		buf_printf(&text, "forwarding to %s", url);
	}
	screen_line(b, t, "lumnid", color, &text);
	buf_free(&text);
}

/* What came by which input, unless it is nothing. */
static void
screen_inputs(struct buf *b, struct json_object *st, const char *key,
    const char *before)
{
	struct json_object *inputs;
	bool first = true;
	char x[32];

	if (!json_object_object_get_ex(st, key, &inputs) ||
	    !json_object_is_type(inputs, json_type_object))
		return;
	json_object_object_foreach(inputs, input, v) {
		int64_t n = json_object_get_int64(v);

		if (n == 0)
			continue;
		buf_printf(b, "%s%s %s", first ? before : ", ", input,
		    ctl_term_count((uint64_t)n, x));
		first = false;
	}
	if (!first)
		buf_putc(b, ')');
}

static void
screen_in(struct buf *b, struct json_object *st)
{
	char x[32], y[32];

	buf_printf(b, "%s events/s, %s/s", ctl_term_rate(ctl_json_double(st,
	    "rates.events_per_s"), x), ctl_term_bytes((uint64_t)
	    ctl_json_double(st, "rates.bytes_per_s"), y));
	screen_inputs(b, st, "inputs", " (so far: ");
}

static void
screen_waiting(struct buf *b, struct json_object *st)
{
	int64_t batches = ctl_json_int(st, "waiting.batches");
	int64_t records = ctl_json_int(st, "waiting.records");
	int64_t oldest = ctl_json_int(st, "waiting.oldest_ms");
	char text[32];

	if (batches + records == 0) {
		buf_puts(b, "nothing");
		return;
	}
	screen_count(b, ctl_json_int(st, "waiting.events"), "event");
	buf_puts(b, " in ");
	screen_many(b, batches, "batch", "es");
	if (records > 0) {
		buf_puts(b, ", ");
		screen_count(b, records, "record");
	}
	buf_printf(b, ", %s", ctl_term_bytes((uint64_t)ctl_json_int(st,
	    "waiting.bytes"), text));
	if (oldest >= 0)
		buf_printf(b, "; the oldest for %s", ctl_term_ms(oldest,
		    text));
}

static void
screen_storage(struct buf *b, struct json_object *st)
{
	int64_t dead = ctl_json_int(st, "storage.dead_letters");
	int64_t damaged = ctl_json_int(st, "storage.quarantined");
	int64_t newer = ctl_json_int(st, "storage.newer.bytes");
	char x[32], y[32];

	buf_printf(b, "%s; journal %s, spool %s",
	    ctl_json_text(st, "storage.state"), ctl_term_bytes((uint64_t)
	    ctl_json_int(st, "storage.journal_bytes"), x),
	    ctl_term_bytes((uint64_t)ctl_json_int(st, "storage.spool_bytes"),
	    y));
	if (dead > 0) {
		buf_puts(b, "; ");
		screen_count(b, dead, "dead letter");
		buf_puts(b, " (lumnictl dead)");
	}
	if (damaged > 0)
		buf_printf(b, "; %s damaged places set aside",
		    ctl_term_count((uint64_t)damaged, x));
	if (newer > 0)
		buf_printf(b, "; %s of a newer lumnid set aside",
		    ctl_term_bytes((uint64_t)newer, x));
}

void
ctl_screen_state(struct buf *b, const struct ctl_term *t,
    struct json_object *st)
{
	struct buf text;
	char x[32];

	buf_init(&text, 0);
	screen_in(&text, st);
	screen_line(b, t, "in", CTL_PLAIN, &text);
	buf_printf(&text, "%s events/s", ctl_term_rate(ctl_json_double(st,
	    "rates.delivered_per_s"), x));
	screen_line(b, t, "out", CTL_PLAIN, &text);
	screen_count(&text, ctl_json_int(st, "open.runs"), "run");
	buf_puts(&text, ", ");
	screen_count(&text, ctl_json_int(st, "open.events"), "event");
	buf_printf(&text, ", %s", ctl_term_bytes((uint64_t)ctl_json_int(st,
	    "open.bytes"), x));
	screen_line(b, t, "open", CTL_PLAIN, &text);
	screen_waiting(&text, st);
	screen_line(b, t, "waiting", CTL_PLAIN, &text);
	enum ctl_color color = screen_upstream(&text, st);
	screen_line(b, t, "upstream", color, &text);
	screen_storage(&text, st);
	screen_line(b, t, "storage", strcmp(ctl_json_text(st,
	    "storage.state"), "ok") == 0 ? CTL_PLAIN : CTL_RED, &text);
	buf_free(&text);
}

/* The dropped of one side, all reasons together. */
static int64_t
screen_dropped(struct json_object *st, const char *side)
{
	struct json_object *o, *dropped;
	int64_t n = 0;

	if (!json_object_object_get_ex(st, side, &o) ||
	    !json_object_object_get_ex(o, "dropped", &dropped) ||
	    !json_object_is_type(dropped, json_type_object))
		return 0;
	json_object_object_foreach(dropped, key, v) {
		(void)key;
		n += json_object_get_int64(v);
	}
	return n;
}

static void
screen_book(struct buf *b, struct json_object *st, const char *side)
{
	static const char *const columns[] = { "accepted", "delivered",
	    "pending", "dead" };
	char path[48], x[32];

	for (size_t i = 0; i < NELEM(columns); i++) {
		(void)snprintf(path, sizeof path, "%s.%s", side, columns[i]);
		buf_printf(b, "%14s", ctl_term_count((uint64_t)ctl_json_int(
		    st, path), x));
	}
	buf_printf(b, "%14s", ctl_term_count((uint64_t)screen_dropped(st,
	    side), x));
}

void
ctl_screen_books(struct buf *b, const struct ctl_term *t,
    struct json_object *st)
{
	int64_t refused = ctl_json_int(st, "refused_messages");
	int64_t kernel = ctl_json_int(st, "kernel_dropped.udp") +
	    ctl_json_int(st, "kernel_dropped.dgram") +
	    ctl_json_int(st, "kernel_dropped.truncated");
	struct buf text;

	buf_init(&text, 0);
	buf_puts(&text, "      accepted     delivered       pending"
	    "          dead       dropped");
	screen_line(b, t, "books", CTL_DIM, &text);
	screen_book(&text, st, "events");
	screen_line(b, t, "  events", CTL_PLAIN, &text);
	screen_book(&text, st, "records");
	screen_line(b, t, "  records", CTL_PLAIN, &text);
	if (refused + kernel > 0) {
		buf_puts(&text, "never accepted: ");
		screen_count(&text, refused, "message");
		buf_puts(&text, " refused");
		screen_inputs(&text, st, "inputs_refused", " (");
		buf_puts(&text, ", ");
		screen_count(&text, kernel, "datagram");
		buf_puts(&text, " lost by the kernel");
		screen_line(b, t, "", CTL_PLAIN, &text);
	}
	buf_free(&text);
}

void
ctl_screen_runs(struct buf *b, const struct ctl_term *t,
    struct json_object *runs, size_t n)
{
	size_t len = json_object_is_type(runs, json_type_array) ?
	    json_object_array_length(runs) : 0;
	size_t width = t->width > 60 ? t->width - 46 : 14;
	char x[32], y[32], z[32];
	struct buf text;

	if (width > 64)
		width = 64;
	buf_init(&text, 0);
	ctl_term_cell(&text, "RUN", 3, width);
	buf_printf(&text, " %5s %8s %10s %9s %9s", "PART", "EVENTS", "BYTES",
	    "AGE", "IDLE");
	ctl_term_paint(b, t, CTL_BOLD, buf_cstr(&text));
	buf_putc(b, '\n');
	buf_free(&text);
	for (size_t i = 0; i < len && i < n; i++) {
		struct json_object *r = json_object_array_get_idx(runs, i);
		const char *id = ctl_json_text(r, "runId");

		ctl_term_cell(b, id, strlen(id), width);
		buf_printf(b, " %5" PRId64 " %8s %10s %9s %9s\n",
		    ctl_json_int(r, "part"),
		    ctl_term_count((uint64_t)ctl_json_int(r, "events"), x),
		    ctl_term_bytes((uint64_t)ctl_json_int(r, "bytes"), y),
		    ctl_term_ms(ctl_json_int(r, "age_ms"), z),
		    ctl_term_ms(ctl_json_int(r, "idle_ms"), (char[32]){ 0 }));
	}
}
