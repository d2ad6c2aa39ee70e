/*
 * status: sends STATUS= when the line has changed, at the end of a turn, at
 * most every two seconds. Without a turn nothing changes, and nothing wakes
 * the loop but one timer after a change that came too soon.
 */
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/engine.h"
#include "core/status_line.h"
#include "loop/loop.h"
#include "loop/notify.h"
#include "loop/status.h"

#define STATUS_PERIOD_MS	2000
#define STATUS_LINE_MAX		400

struct status {
	struct loop		*loop;
	const struct conf	*conf;
	bool			 on;		/* somebody listens */
	bool			 timing;
	struct mono		 next;		/* not before then */
	struct why		 no_key;	/* "": there is one */
	char			 line[STATUS_LINE_MAX];	/* as sent */
	struct event		 ev_tick;
};

/* A key that comes later is noticed with the first request, or here. */
static void
status_look_at_key(struct status *st)
{
	char key[4096];

	if (conf_api_key(st->conf, key, sizeof key, NULL, &st->no_key) == 0)
		st->no_key.text[0] = '\0';
	explicit_bzero(key, sizeof key);
}

static void
status_compose(struct status *st, struct now now, char *dst, size_t n)
{
	struct engine_status es;

	if (st->no_key.text[0] != '\0')
		status_look_at_key(st);
	engine_status(loop_engine(st->loop), now, &es);
	status_line(&es, st->no_key.text[0] != '\0' ? st->no_key.text : NULL,
	    dst, n);
}

static HOT void
status_turn(void *arg)
{
	struct status *st = arg;
	const struct timeval tv = { .tv_sec = STATUS_PERIOD_MS / 1000 };
	char line[STATUS_LINE_MAX];
	struct now now;

	if (!st->on || st->timing)
		return;
	now = clock_now();
	if (now.mono.us < st->next.us) {
		st->timing = evtimer_add(&st->ev_tick, &tv) == 0;
		return;
	}
	st->next = mono_add_ms(now.mono, STATUS_PERIOD_MS);
	status_compose(st, now, line, sizeof line);
	if (strcmp(line, st->line) == 0)
		return;
	(void)strcpy(st->line, line);
	(void)notify_send("STATUS=%s", line);
}

/* The turn that this is part of ends with status_turn(). */
static void
on_status_tick(evutil_socket_t fd, short what, void *arg)
{
	struct status *st = arg;

	st->timing = false;
}

struct status *
status_new(struct loop *loop, const struct conf *conf)
{
	struct status *st = mem_zalloc(sizeof *st);

	st->loop = loop;
	st->on = getenv("NOTIFY_SOCKET") != NULL;
	(void)evtimer_assign(&st->ev_tick, loop_base(loop), on_status_tick, st);
	loop_add_hook(loop, status_turn, st);
	status_set_conf(st, conf);
	return st;
}

void
status_free(struct status *st)
{
	if (st == NULL)
		return;
	(void)event_del(&st->ev_tick);
	free(st);
}

void
status_set_conf(struct status *st, const struct conf *conf)
{
	st->conf = conf;
	status_look_at_key(st);
	if (st->no_key.text[0] != '\0')
		log_error("no_api_key", LS("error", st->no_key.text),
		    LS("hint", "events are taken and kept, none is sent"));
}

const char *
status_now(struct status *st)
{
	status_compose(st, clock_now(), st->line, sizeof st->line);
	return st->line;
}

const char *
status_no_key(struct status *st)
{
	if (st->no_key.text[0] != '\0')
		status_look_at_key(st);
	return st->no_key.text[0] != '\0' ? st->no_key.text : NULL;
}

void
status_stop(struct status *st)
{
	st->on = false;
	(void)event_del(&st->ev_tick);
}
