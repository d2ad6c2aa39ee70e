/*
 * ctl_send: "lumnictl send": events from files, standard input or arguments
 * to lumnid's stream socket, with an acknowledgement for each message. What
 * was acknowledged is on disk; what was not is named.
 */
#include "config.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/units.h"
#include "ctl/ctl.h"
#include "ctl/ctl_conn.h"
#include "ctl/ctl_input.h"
#include "ctl/ctl_json.h"
#include "codec/jsonin.h"
#include "ctl/ctl_message.h"

/* Messages that wait for their acknowledgement, and bytes to be written. */
#define SEND_WINDOW	4096
#define SEND_OUT_MAX	(1u << 20)

static const char send_usage[] =
    "usage: lumnictl send [--run ID] [--end] [FILE...]\n"
    "       lumnictl send --run ID --type TYPE [--end] [key=value...]\n"
    "\n"
    "Send events to lumnid and wait until they are on its disk. A FILE (or\n"
    "standard input, also as \"-\") has one JSON object a line: an event with\n"
    "its runId, or {\"runId\": ..., \"events\": [...]}.\n"
    "\n"
    "  -r, --run ID         the run of lines that have no runId\n"
    "  -t, --type TYPE      send one event, of this type and these fields;\n"
    "                       key:=value for values that must be JSON\n"
    "  -e, --end            then end the runs, so that they go out at once\n"
    "      --no-ack         do not wait for acknowledgements\n"
    "      --strict         stop at the first line that is bad\n"
    CTL_USAGE_TEXT
    "\n"
    "Exit status: 0 all was acknowledged, 1 some was refused or bad, 2 the\n"
    "command line is at fault, 3 lumnid is not there or went away.\n";

struct send_run {
	UT_hash_handle	 hh;
	bool		 counted;	/* some of it was acknowledged */
	char		 id[];
};

/* A message on its way, at its number modulo SEND_WINDOW. */
struct send_slot {
	bool		 waits;
	const char	*file;		/* NULL: no line stands behind it */
	uint64_t	 line;
	size_t		 events;
	struct send_run	*run;		/* NULL: without a name */
};

struct send {
	struct ctl	*ctl;
	struct ctl_conn	 conn;
	struct ctl_input in;
	struct json_tokener *tok;
	struct json_object *event;	/* of --type */
	struct send_run	*runs;		/* by id */
	struct send_run	*end_next;	/* whose end is sent next */
	/* What was asked for: */
	const char	*run;
	const char	*type;
	char *const	*args;		/* files, or key=value */
	size_t		 args_n;
	bool		 end, no_ack, strict;
	/* How far it is: */
	bool		 input_done;
	bool		 ends_begun;
	bool		 shut;		/* nothing more will be written */
	uint64_t	 first;		/* the oldest that waits */
	uint64_t	 next;		/* the number of the next; 1 at first */
	struct send_slot slots[SEND_WINDOW];
	uint64_t	 events_sent, events_acked;
	uint64_t	 runs_sent, runs_acked;
	uint64_t	 refused;	/* messages */
	uint64_t	 bad;		/* lines */
	char		 last_words[600];	/* why lumnid closes */
};

/* --- out ----------------------------------------------------------------------- */

static struct send_run *
send_find_run(struct send *s, const char *id)
{
	struct send_run *run;
	size_t len = strlen(id);

	if (len == 0)
		return NULL;
	HASH_FIND(hh, s->runs, id, len, run);
	if (run == NULL) {
		run = mem_zalloc(sizeof *run + len + 1);
		memcpy(run->id, id, len + 1);
		HASH_ADD_KEYPTR(hh, s->runs, run->id, len, run);
	}
	return run;
}

static bool
send_has_room(const struct send *s)
{
	return s->next - s->first < SEND_WINDOW &&
	    s->conn.out.len < SEND_OUT_MAX;
}

/* A message of these properties has been put in the buffer. */
static void
send_note(struct send *s, struct send_run *run, size_t events, uint64_t line)
{
	struct send_slot *slot = &s->slots[s->next % SEND_WINDOW];

	s->events_sent += events;
	if (s->no_ack) {
		if (run != NULL && !run->counted) {
			run->counted = true;
			s->runs_sent++;
		}
		return;
	}
	*slot = (struct send_slot){ .waits = true, .line = line,
	    .file = line != 0 ? s->in.name : NULL, .events = events,
	    .run = run };
	s->next++;
}

static uint64_t
send_ack_id(const struct send *s)
{
	return s->no_ack ? 0 : s->next;
}

/* Columns count letters, not bytes. */
static size_t
send_column(const char *line, size_t offset)
{
	size_t column = 1;

	for (size_t i = 0; i < offset; i++)
		column += ((unsigned char)line[i] & 0xc0) != 0x80;
	return column;
}

static void
send_line(struct send *s, const char *line, size_t len)
{
	struct ctl_message m = { .default_run = s->run,
	    .ack = send_ack_id(s) };
	struct json_object *o = NULL;
	size_t offset = 0;
	struct why why;

	if (s->in.line == 1 && len >= 3 && memcmp(line, "\xef\xbb\xbf", 3) == 0) {
		line += 3;	/* a byte order mark */
		len -= 3;
	}
	if (strspn(line, " \t\r") >= len)
		return;
	int r = jsonin_parse(s->tok, line, len, &o, &offset, &why);
	if (r == 0)
		r = ctl_message_pack(&m, o, &s->conn.out, &why);
	if (r < 0) {
		ctl_error("%s:%" PRIu64 ":%zu: %s", s->in.name, s->in.line,
		    send_column(line, offset), why.text);
		s->bad++;
		s->input_done = s->input_done || s->strict;
	} else {
		send_note(s, send_find_run(s, m.runid), m.events, s->in.line);
	}
	json_object_put(o);
}

/* Take lines while there is room for them; at most one read. */
static void
send_take_input(struct send *s, bool may_read)
{
	const char *line;
	size_t len;

	while (!s->input_done && send_has_room(s)) {
		switch (ctl_input_next(&s->in, may_read, &line, &len)) {
		case CTL_INPUT_LINE:
			send_line(s, line, len);
			break;
		case CTL_INPUT_WAIT:
			return;
		case CTL_INPUT_END:
			s->input_done = true;
			break;
		}
		may_read = false;
	}
}

/* After the last event: the ends of the runs that were met. */
static void
send_take_ends(struct send *s)
{
	if (!s->input_done || !s->end)
		return;
	if (!s->ends_begun) {
		s->ends_begun = true;
		s->end_next = s->runs;
	}
	while (s->end_next != NULL && send_has_room(s)) {
		struct send_run *run = s->end_next;
		ctl_message_pack_end(&s->conn.out, run->id, send_ack_id(s));
		send_note(s, run, 0, 0);
		s->end_next = run->hh.next;
	}
}

/* The one event of --type, from the arguments. Returns 0 or -EINVAL. */
static int
send_make_event(struct send *s, struct why *why)
{
	int r = 0;

	s->event = json_object_new_object();
	if (s->event == NULL || json_object_object_add(s->event, "type",
	    json_object_new_string(s->type)) < 0)
		fatal("out of memory");
	for (size_t i = 0; i < s->args_n && r == 0; i++)
		r = ctl_message_field(s->event, s->tok, s->args[i], why);
	return r;
}

static void
send_take_event(struct send *s)
{
	struct ctl_message m = { .default_run = s->run, .end = s->end,
	    .ack = send_ack_id(s) };
	struct why why;

	if (ctl_message_pack(&m, s->event, &s->conn.out, &why) < 0)
		fatal("%s", why.text);	/* it is an object and has a run */
	send_note(s, send_find_run(s, m.runid), m.events, 0);
	s->input_done = true;
	s->end = false;		/* it is in the message */
}

/* --- in ------------------------------------------------------------------------ */

static void
send_refused(struct send *s, const struct send_slot *slot,
    const struct ctl_answer *a)
{
	s->refused++;
	if (slot->file != NULL)
		ctl_error("%s:%" PRIu64 ": refused: %s (%s)", slot->file,
		    slot->line, a->text, a->code);
	else if (slot->events == 0 && slot->run != NULL)
		ctl_error("the end of run %s: refused: %s (%s)", slot->run->id,
		    a->text, a->code);
	else
		ctl_error("refused: %s (%s)", a->text, a->code);
}

static void
send_answered(struct send *s, const struct ctl_answer *a)
{
	if (!a->has_id) {
		/* Of no message: what lumnid says before it closes. */
		(void)snprintf(s->last_words, sizeof s->last_words,
		    ": %s (%s)", a->text, a->code);
		return;
	}
	struct send_slot *slot = &s->slots[a->id % SEND_WINDOW];
	if (a->id < s->first || a->id >= s->next || !slot->waits)
		return;		/* not ours to count twice */
	slot->waits = false;
	if (a->refused) {
		send_refused(s, slot, a);
	} else {
		s->events_acked += slot->events;
		if (slot->run != NULL && !slot->run->counted) {
			slot->run->counted = true;
			s->runs_acked++;
		}
	}
	while (s->first < s->next && !s->slots[s->first % SEND_WINDOW].waits)
		s->first++;
}

/* Returns the bytes read, or -errno. */
static int64_t
send_read(struct send *s, struct why *why)
{
	struct ctl_answer a;
	int64_t n = ctl_conn_read(&s->conn, why);
	int r;

	if (n < 0)
		return n;
	while ((r = ctl_conn_answer(&s->conn, &a, why)) > 0)
		send_answered(s, &a);
	return r < 0 ? r : n;
}

/* After a failed write: the same, but an end where nothing comes. */
static int64_t
send_read_closing(struct send *s, struct why *why)
{
	int64_t n = send_read(s, why);

	if (n == 0)
		s->conn.closed = true;
	return n;
}

/* --- the loop -------------------------------------------------------------------- */

static bool
send_is_done(struct send *s)
{
	if (!s->input_done || s->end_next != NULL || s->conn.out.len != 0 ||
	    (s->end && !s->ends_begun))
		return false;
	if (!s->no_ack)
		return s->first == s->next;
	/*
	 * Without acknowledgements, that lumnid closes after the end of the
	 * stream tells that it has read all of it.
	 */
	if (!s->shut) {
		(void)shutdown(s->conn.fd, SHUT_WR);
		s->shut = true;
	}
	return s->conn.closed;
}

/* Does something depend on lumnid now, so that time counts? */
static bool
send_waits(const struct send *s)
{
	return s->first != s->next || s->conn.out.len != 0 || s->shut;
}

static int
send_fail_timeout(const struct send *s, struct why *why)
{
	char text[32];

	return why_set(why, -ETIMEDOUT, "lumnid has taken and answered nothing "
	    "for %s; is it stopped, or its storage full?",
	    units_format_duration(s->ctl->timeout_ms, text));
}

/*
 * One turn: wait for what can go on, and do it. Returns 0, -ETIMEDOUT, or
 * another -errno when the connection is lost. *since: the last progress.
 */
static int
send_turn(struct send *s, struct mono *since, struct why *why)
{
	bool want_input = !s->input_done && send_has_room(s);
	struct pollfd fds[2] = {
		{ .fd = s->conn.fd, .events = POLLIN },
		{ .fd = want_input ? s->in.fd : -1, .events = POLLIN },
	};
	int wait_ms = -1;

	if (s->conn.out.len != 0)
		fds[0].events |= POLLOUT;
	if (s->ctl->timeout_ms > 0 && send_waits(s)) {
		int64_t left = s->ctl->timeout_ms -
		    mono_sub_ms(clock_mono(), *since);
		wait_ms = left < 0 ? 0 : left > INT32_MAX ? INT32_MAX :
		    (int)left;
	}
	int ready = poll(fds, 2, wait_ms);
	if (ready < 0)
		return errno == EINTR ? 0 : why_errno(why, -errno, "poll");
	if (ready == 0)
		return send_fail_timeout(s, why);

	int64_t n = 0, m = 0;
	bool waited = send_waits(s);
	if (fds[1].revents != 0)
		send_take_input(s, true);
	if (s->conn.out.len != 0)
		n = ctl_conn_write(&s->conn);
	if (fds[0].revents != 0)
		m = send_read(s, why);
	/* Closed against our will: what it said before counts. */
	while (n < 0 && m >= 0 && !s->conn.closed)
		m = send_read_closing(s, why);
	if (n > 0 || m > 0 || !waited)
		*since = clock_mono();
	if (m < 0)
		return (int)m;
	if (n < 0 || s->conn.closed)
		return why_set(why, -ECONNRESET, "lumnid closed the "
		    "connection%s", s->last_words);
	return 0;
}

static int
send_run_loop(struct send *s, struct why *why)
{
	struct mono since = clock_mono();

	for (;;) {
		/* Lines that have been read, and the file to open next. */
		send_take_input(s, false);
		send_take_ends(s);
		if (send_is_done(s))
			return 0;
		int r = send_turn(s, &since, why);
		/* After its end, a closed connection is what is waited for. */
		if (r == -ECONNRESET && s->shut && s->last_words[0] == '\0')
			return 0;
		if (r < 0)
			return r;
	}
}

/* --- report ------------------------------------------------------------------------ */

/* Messages with neither an acknowledgement nor a refusal. */
static uint64_t
send_open_messages(const struct send *s)
{
	uint64_t n = 0;

	for (uint64_t i = s->first; i < s->next; i++)
		n += s->slots[i % SEND_WINDOW].waits;
	return n;
}

static int
send_report(const struct send *s, int r, const struct why *why)
{
	uint64_t events = s->no_ack ? s->events_sent : s->events_acked;
	uint64_t runs = s->no_ack ? s->runs_sent : s->runs_acked;
	FILE *to = r < 0 ? stderr : stdout;

	if (r < 0)
		ctl_error("%s", why->text);
	if (s->ctl->json)
		(void)printf("{\"%s\":%" PRIu64 ",\"runs\":%" PRIu64
		    ",\"refused\":%" PRIu64 ",\"bad\":%" PRIu64
		    ",\"open\":%" PRIu64 "}\n", s->no_ack ? "sent" :
		    "acknowledged", events, runs, s->refused,
		    s->bad + s->in.faults, send_open_messages(s));
	else if (r < 0 || !s->ctl->quiet)
		(void)fprintf(to, "%s %" PRIu64 " event%s of %" PRIu64
		    " run%s%s\n", s->no_ack ? "sent" : "acknowledged", events,
		    events == 1 ? "" : "s", runs, runs == 1 ? "" : "s",
		    s->no_ack ? "; nothing was acknowledged" : "");
	uint64_t open = send_open_messages(s);
	if (open == 1)
		ctl_error("1 message was not acknowledged; lumnid may have "
		    "taken it");
	else if (open > 1)
		ctl_error("%" PRIu64 " messages were not acknowledged; lumnid "
		    "may have taken some of them", open);
	if (r < 0)
		return CTL_UNREACHABLE;
	return s->refused + s->bad + s->in.faults > 0 ? CTL_REFUSED : CTL_OK;
}

static void
send_free(struct send *s)
{
	struct send_run *run, *tmp;

	HASH_ITER(hh, s->runs, run, tmp) {
		HASH_DEL(s->runs, run);
		free(run);
	}
	json_object_put(s->event);
	if (s->tok != NULL)
		json_tokener_free(s->tok);
	free(s);
}

static int
send_connected(struct send *s)
{
	struct why why;

	s->first = s->next = 1;
	ctl_input_init(&s->in, s->args, s->type == NULL ? s->args_n : 0);
	if (s->event != NULL)
		send_take_event(s);
	else if (s->run != NULL && s->end)
		(void)send_find_run(s, s->run);	/* also without a line */
	int r = send_run_loop(s, &why);
	int status = send_report(s, r, &why);
	ctl_input_free(&s->in);
	return status;
}

static int
send_start(struct send *s)
{
	const char *path = ctl_socket(s->ctl);
	struct why why;

	if (path == NULL)
		return CTL_USAGE;
	s->tok = ctl_json_tokener();
	json_tokener_set_flags(s->tok, JSON_TOKENER_STRICT |
	    JSON_TOKENER_ALLOW_TRAILING_CHARS);
	if (s->type != NULL && send_make_event(s, &why) < 0)
		return ctl_usage(&ctl_send, "%s", why.text);
	if (ctl_conn_open(&s->conn, path, s->ctl->timeout_ms, &why) < 0) {
		ctl_error("%s", why.text);
		return CTL_UNREACHABLE;
	}
	int status = send_connected(s);
	ctl_conn_close(&s->conn);
	return status;
}

static int
send_main(struct ctl *ctl, int argc, char **argv)
{
	enum { NO_ACK = 1, STRICT };
	static const struct option options[] = {
		{ "run", required_argument, NULL, 'r' },
		{ "type", required_argument, NULL, 't' },
		{ "end", no_argument, NULL, 'e' },
		{ "no-ack", no_argument, NULL, NO_ACK },
		{ "strict", no_argument, NULL, STRICT },
		CTL_LONG,
		{ NULL, 0, NULL, 0 },
	};
	struct send *s = mem_zalloc(sizeof *s);
	int opt, status = -1;

	s->ctl = ctl;
	while (status < 0 && (opt = getopt_long(argc, argv,
	    CTL_OPTIONS "r:t:e", options, NULL)) != -1) {
		switch (opt) {
		case 'r':
			s->run = optarg;
			break;
		case 't':
			s->type = optarg;
			break;
		case 'e':
			s->end = true;
			break;
		case NO_ACK:
			s->no_ack = true;
			break;
		case STRICT:
			s->strict = true;
			break;
		default:
			status = ctl_option(ctl, &ctl_send, opt, optarg);
			break;
		}
	}
	s->args = argv + optind;
	s->args_n = (size_t)(argc - optind);
	if (status < 0 && s->type != NULL && s->run == NULL)
		status = ctl_usage(&ctl_send, "--type needs --run ID");
	if (status < 0)
		status = send_start(s);
	send_free(s);
	return status;
}

const struct ctl_command ctl_send = {
	.name = "send",
	.summary = "send events from files, standard input or arguments",
	.usage = send_usage,
	.run = send_main,
};
