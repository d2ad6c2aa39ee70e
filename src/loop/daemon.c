/*
 * daemon: start, reload and stop. Owns every other part of this layer, the
 * engine and the configuration in force.
 */
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "config.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/engine.h"
#include "loop/admin.h"
#include "loop/control.h"
#include "loop/daemon.h"
#include "loop/in_dgram.h"
#include "loop/in_http.h"
#include "loop/in_inbox.h"
#include "loop/in_stream.h"
#include "loop/inherited.h"
#include "loop/listen.h"
#include "loop/listeners.h"
#include "loop/loop.h"
#include "loop/notify.h"
#include "loop/out_http.h"
#include "loop/reap.h"
#include "loop/status.h"
#include "loop/sync.h"
#include "loop/watchdog.h"

#define DAEMON_DRAIN_MS		1000	/* for what the sockets hold */
#define DAEMON_FLIGHT_MS	5000	/* for requests under way */
#define DAEMON_FLUSH_MS		2000	/* for clients to fetch answers */
#define DAEMON_SETTLE_MS	60000	/* for the disk */
#define DAEMON_STOP_TICK_MS	50

struct daemon {
	struct conf		*conf;
	daemon_load_fn		*load;
	void			*load_arg;
	struct loop		*loop;
	struct sync		*sync;
	struct out_http		*out;
	struct engine		*engine;
	struct in_stream	*stream;
	struct in_dgram		*dgram;
	struct in_inbox		*inbox;		/* NULL: none */
	struct in_http		*http;
	struct listeners	 listeners;
	struct listen_inherited	 inherited;
	struct admin		*admin;
	struct control		*control;
	struct status		*status;
	struct watchdog		*watchdog;

	bool			 stopping;
	bool			 hurry;		/* a second signal came */
	bool			 cancelled;
	bool			 settled;
	struct mono		 flight_end;
	struct mono		 settle_end;
	struct mono		 flush_end;
	struct event		 ev_stop;	/* ticks while stopping */
};

/* --- what the engine asks for --------------------------------------------- */

static void
daemon_answer(void *arg, uint64_t peer, enum event_code code,
    const char *text, const struct event_ack *ack)
{
	struct daemon *d = arg;

	if (in_inbox_answer(d->inbox, peer, code) ||
	    in_http_answer(d->http, peer, code, text))
		return;
	in_stream_answer(d->stream, peer, code, text, ack);
}

static HOT void
daemon_watch(void *arg, const char *runid, const char *json, size_t len)
{
	struct daemon *d = arg;

	control_watch(d->control, runid, json, len);
}

static int
daemon_sync(void *arg, const struct seglog_sync *job)
{
	struct daemon *d = arg;

	return sync_start(d->sync, job);
}

/* --- reload --------------------------------------------------------------- */

/*
 * Descriptors for all clients, requests and files at the same time. Those of
 * HTTP are held off by the number of all open files alone (loop/in_http.c): they
 * may have what the others do not use, and then the others must find as much.
 */
static void
daemon_raise_nofile(const struct conf *conf)
{
	const rlim_t need = 2 * conf->limits.connections +
	    4 * conf->upstream.connections + IN_HTTP_CONNECTIONS + 384;
	struct rlimit rl;
	rlim_t had;

	if (getrlimit(RLIMIT_NOFILE, &rl) < 0 || rl.rlim_cur >= need)
		return;
	had = rl.rlim_cur;
	rl.rlim_cur = need;
	if (rl.rlim_max < need) {
		/* Only root may raise the hard limit. */
		struct rlimit higher = { need, need };

		if (setrlimit(RLIMIT_NOFILE, &higher) == 0)
			return;
		rl.rlim_cur = rl.rlim_max;
	}
	if (setrlimit(RLIMIT_NOFILE, &rl) < 0)
		rl.rlim_cur = had;
	if (rl.rlim_cur < need)
		log_warn("few_files", LU("limit", rl.rlim_cur),
		    LU("needed", need), LS("hint", "raise LimitNOFILE= of the "
		    "unit, or lower limits.connections"));
}

/* How many files may be open, in effect. */
static uint64_t
daemon_nofile(void)
{
	struct rlimit rl;

	return getrlimit(RLIMIT_NOFILE, &rl) == 0 ? rl.rlim_cur : 0;
}

static void
daemon_set_log(const struct conf *conf)
{
	log_set_level((enum log_level)conf->log.level);
	log_set_format(conf->log.format == CONF_LOG_JSON ? LOG_FORMAT_JSON
	    : LOG_FORMAT_TEXT);
}

/*
 * Put another configuration in force, or leave all as it is. On success why
 * tells the keys that take effect with the next start; "" where there are none.
 */
static int
daemon_apply(struct daemon *d, struct conf *conf, struct why *why)
{
	struct conf *old = d->conf;
	char keys[256];
	int r;

	/* What can fail comes first, and is undone. */
	if ((r = listeners_prepare(&d->listeners, old, conf, why)) < 0)
		return r;
	if ((r = in_stream_set_conf(d->stream, conf, why)) < 0) {
		listeners_abort(&d->listeners);
		return r;
	}
	if ((r = out_http_set_conf(d->out, conf, why)) < 0) {
		/* The old one was in force: its users are known. */
		if (in_stream_set_conf(d->stream, old, NULL) < 0)
			fatal("reload: %s", why->text);
		listeners_abort(&d->listeners);
		return r;
	}
	engine_set_conf(d->engine, conf, clock_now());
	in_http_set_conf(d->http, conf);
	in_inbox_set_conf(d->inbox, conf);
	listeners_commit(&d->listeners);
	control_set_conf(d->control, conf);
	daemon_set_log(conf);
	daemon_raise_nofile(conf);
	if (conf_restart_keys(old, conf, keys, sizeof keys)[0] != '\0')
		log_warn("restart_needed", LS("keys", keys), LS("hint",
		    "these keys take effect with the next start"));
	inherited_check(&d->inherited, conf);
	d->conf = conf;
	status_set_conf(d->status, conf);
	conf_free(old);
	return why_set(why, 0, "%s", keys);
}

/*
 * Read the configuration anew and put it in force. Returns 0 and, in why, as
 * daemon_apply(), or -errno with the reason, file, line and column in it, and
 * the old one stays. Whoever asked
 * for it is told; the log and the service manager are told here.
 */
static int
daemon_reload(struct daemon *d, struct why *why)
{
	struct conf *conf = NULL;
	int r;

	if (d->stopping)
		return why_set(why, -ESHUTDOWN, "lumnid is stopping");
	notify_reloading();
	loop_wake(d->loop);
	r = d->load(d->load_arg, &conf, why);
	if (r == 0 && (r = daemon_apply(d, conf, why)) < 0)
		conf_free(conf);
	if (r < 0) {
		log_error("reload_failed", LS("error", why->text), LS("hint",
		    "the configuration in force is kept"));
		admin_note_reload(d->admin, why->text);
		(void)notify_send("READY=1\nSTATUS=reload failed: %.300s",
		    why->text);
		return r;
	}
	admin_note_reload(d->admin, NULL);
	log_info("reloaded", LS("config", d->conf->file));
	(void)notify_send("READY=1\nSTATUS=%s", status_now(d->status));
	return 0;
}

static void
on_reload(void *arg, int signo)
{
	struct why why;

	(void)!daemon_reload(arg, &why);	/* told there */
}

/* --- stop ----------------------------------------------------------------- */

static void
daemon_stop_tick(struct daemon *d)
{
	const struct timeval tv = { .tv_usec = DAEMON_STOP_TICK_MS * 1000 };

	(void)evtimer_add(&d->ev_stop, &tv);
}

static void
on_stop_tick(evutil_socket_t fd, short what, void *arg)
{
	daemon_stop_tick(arg);
}

static void
on_stop(void *arg, int signo)
{
	struct daemon *d = arg;
	struct now now;

	loop_wake(d->loop);
	if (d->stopping) {
		d->hurry = true;
		return;
	}
	d->stopping = true;
	log_info("stopping", LS("signal", strsignal(signo)),
	    LU("in_flight", engine_in_flight(d->engine)));
	status_stop(d->status);
	(void)notify_send("STOPPING=1\nSTATUS=stopping");
	in_stream_drain(d->stream, DAEMON_DRAIN_MS);
	in_dgram_drain(d->dgram, DAEMON_DRAIN_MS);
	in_inbox_drain(d->inbox);
	in_http_drain(d->http);
	control_drain(d->control);
	now = clock_now();
	engine_stop_sending(d->engine, now);
	d->flight_end = mono_add_ms(now.mono, DAEMON_FLIGHT_MS);
	d->settle_end = mono_add_ms(now.mono, DAEMON_SETTLE_MS);
	daemon_stop_tick(d);
}

/* The end of a turn: is the stop complete? */
static HOT void
daemon_turn(void *arg)
{
	struct daemon *d = arg;
	struct mono now;

	if (!d->stopping)
		return;
	now = clock_mono();
	if (!d->cancelled && engine_in_flight(d->engine) != 0 &&
	    (d->hurry || now.us >= d->flight_end.us)) {
		d->cancelled = true;
		log_warn("requests_abandoned",
		    LU("in_flight", engine_in_flight(d->engine)), LS("hint",
		    "they are sent again after the next start"));
		engine_cancel_in_flight(d->engine);
	}
	if (engine_in_flight(d->engine) != 0 || !engine_settled(d->engine)) {
		if (now.us < d->settle_end.us)
			return;
		log_error("stop_unsettled", LS("error", "the disk takes too "
		    "long; what was not acknowledged may be lost"));
	} else if (!d->settled) {
		d->settled = true;
		d->flush_end = mono_add_ms(now, DAEMON_FLUSH_MS);
	}
	if (d->settled && !d->hurry && now.us < d->flush_end.us &&
	    (!in_stream_is_flushed(d->stream) ||
	    in_http_pending(d->http) != 0))
		return;
	loop_quit(d->loop);
}

/* --- start ---------------------------------------------------------------- */

/* What loop/listeners.h wants to know of the inputs, and to tell them. */
#define DAEMON_INPUT(name, now, swap)					\
static struct listen_unix						\
daemon_##name##_now(void *arg)						\
{									\
	const struct daemon *d = arg;					\
									\
	return now;							\
}									\
									\
static void								\
daemon_##name##_swap(void *arg, const struct listen_unix *sock)		\
{									\
	struct daemon *d = arg;						\
									\
	swap;								\
}
DAEMON_INPUT(stream, in_stream_listener(d->stream),
    in_stream_swap(d->stream, sock))
DAEMON_INPUT(dgram, in_dgram_socket(d->dgram, BOOKS_DGRAM),
    in_dgram_swap(d->dgram, BOOKS_DGRAM, sock))
DAEMON_INPUT(udp, in_dgram_socket(d->dgram, BOOKS_UDP),
    in_dgram_swap(d->dgram, BOOKS_UDP, sock))
DAEMON_INPUT(forward, in_stream_forward_listener(d->stream),
    in_stream_forward_swap(d->stream, sock))
DAEMON_INPUT(http, in_http_listener(d->http), in_http_swap(d->http, sock))

static int
daemon_set_signals(struct daemon *d, struct why *why)
{
	struct sigaction ignore = { .sa_handler = SIG_IGN };
	int r;

	(void)sigaction(SIGPIPE, &ignore, NULL);
	if ((r = loop_add_signal(d->loop, SIGTERM, on_stop, d, why)) == 0 &&
	    (r = loop_add_signal(d->loop, SIGINT, on_stop, d, why)) == 0)
		r = loop_add_signal(d->loop, SIGHUP, on_reload, d, why);
	return r;
}

static int
daemon_open_engine(struct daemon *d, struct why *why)
{
	struct engine_env env = {
		.transport = out_http_transport(d->out),
		.answer = daemon_answer,
		.sync = daemon_sync,
		.watch = daemon_watch,
		.arg = d,
	};
	int r;

	rng_seed_os(&env.rng);
	r = engine_open(d->conf, &env, clock_now(), &d->engine, why);
	if (r == 0)
		loop_set_engine(d->loop, d->engine);
	return r;
}

static size_t
daemon_connections(void *arg)
{
	const struct daemon *d = arg;

	return in_stream_connections(d->stream);
}

static int
daemon_listen(struct daemon *d, struct why *why)
{
	struct listeners_user *u = d->listeners.user;
	struct listen_inherited li;
	int r;

	if ((r = listen_inherit(&li, why)) < 0)
		return r;
	d->inherited = li;
	inherited_check(&li, d->conf);
	if ((r = in_stream_open(d->loop, d->conf, li.stream, &d->stream,
	    why)) < 0 ||
	    (r = in_dgram_open(d->loop, d->conf, &li, &d->dgram, why)) < 0 ||
	    (r = in_http_open(d->loop, d->conf, &d->http, why)) < 0)
		return r;
	u[LISTENERS_STREAM] = (struct listeners_user){ daemon_stream_now,
	    daemon_stream_swap, d, li.stream >= 0 };
	u[LISTENERS_DGRAM] = (struct listeners_user){ daemon_dgram_now,
	    daemon_dgram_swap, d, li.dgram >= 0 };
	u[LISTENERS_UDP] = (struct listeners_user){ daemon_udp_now,
	    daemon_udp_swap, d, li.udp >= 0 };
	u[LISTENERS_HTTP] = (struct listeners_user){ daemon_http_now,
	    daemon_http_swap, d, false };
	u[LISTENERS_FORWARD] = (struct listeners_user){ daemon_forward_now,
	    daemon_forward_swap, d, false };
	return 0;
}

static int
daemon_control_reload(void *arg, struct why *why)
{
	return daemon_reload(arg, why);
}

static void
daemon_control_status(void *arg, struct buf *b)
{
	const struct daemon *d = arg;

	admin_put_status(d->admin, b);
}

static int
daemon_open_control(struct daemon *d, struct why *why)
{
	const struct control_env env = { daemon_control_reload,
	    daemon_control_status, d };

	return control_open(d->loop, d->conf, &env, &d->control, why);
}

/* Who tries it out on a terminal is told how to go on. */
static void
daemon_hint(const struct conf *conf)
{
	const char *path = conf->listen.unix_stream.path;
	char text[256];

	if (!isatty(STDERR_FILENO) || path[0] == '\0')
		return;
	(void)snprintf(text, sizeof text, "lumnictl --socket %.180s send "
	    "--run demo --type note text=hello", path);
	log_info("hint", LS("try", text));
}

static int
daemon_open(struct daemon *d, struct why *why)
{
	const struct conf *conf = d->conf;
	int r;

	daemon_set_log(conf);
	daemon_raise_nofile(conf);
	if ((r = loop_new(&d->loop, why)) < 0)
		return r;
	(void)evtimer_assign(&d->ev_stop, loop_base(d->loop), on_stop_tick, d);
	if ((r = daemon_set_signals(d, why)) < 0 ||
	    (r = sync_new(d->loop, &d->sync, why)) < 0 ||
	    (r = reap_start(why)) < 0 ||
	    (r = out_http_new(d->loop, conf, &d->out, why)) < 0 ||
	    (r = daemon_open_engine(d, why)) < 0)
		return r;
	if ((r = daemon_listen(d, why)) < 0)
		return r;
	d->inbox = in_inbox_new(d->loop, conf);
	loop_add_hook(d->loop, daemon_turn, d);
	log_info("started", LS("version", PACKAGE_VERSION),
	    LS("config", conf->file), LS("upstream", conf->upstream.url),
	    LS("storage", conf->storage.dir),
	    LU("connections", conf->limits.connections),
	    LU("max_message", conf->events.max_message),
	    LU("max_open_runs", conf->runs.max_open),
	    LU("journal_max", conf->storage.journal_max),
	    LU("spool_max", conf->storage.spool_max),
	    LS("when_full", conf->storage.when_full == CONF_REFUSE ?
	    "refuse" : "drop_oldest"), LU("files", daemon_nofile()));
	d->status = status_new(d->loop, conf);
	d->admin = admin_new(d->loop, d->http, d->status, daemon_connections,
	    d);
	if ((r = daemon_open_control(d, why)) < 0)
		return r;
	d->watchdog = watchdog_new(d->loop);
	daemon_hint(conf);
	(void)notify_send("READY=1\nSTATUS=%s", status_now(d->status));
	return 0;
}

/*
 * The clients first; then the thread, which may be using the engine's files;
 * then the engine, which knows the transport.
 */
static void
daemon_close(struct daemon *d)
{
	sigset_t stop;

	/* With its handler gone, a second SIGTERM would end us by signal. */
	(void)sigemptyset(&stop);
	(void)sigaddset(&stop, SIGTERM);
	(void)sigaddset(&stop, SIGINT);
	(void)sigaddset(&stop, SIGHUP);
	(void)sigprocmask(SIG_BLOCK, &stop, NULL);
	control_close(d->control);
	d->control = NULL;
	in_stream_close(d->stream);
	in_dgram_close(d->dgram);
	in_inbox_free(d->inbox);
	d->inbox = NULL;
	in_http_close(d->http);
	d->http = NULL;
	admin_free(d->admin);
	d->admin = NULL;
	d->stream = NULL;
	d->dgram = NULL;
	sync_free(d->sync);
	if (d->engine != NULL)
		engine_close(d->engine, clock_now());
	reap_stop();
	out_http_free(d->out);
	if (d->loop != NULL)
		(void)event_del(&d->ev_stop);
	status_free(d->status);
	watchdog_free(d->watchdog);
	loop_free(d->loop);
	conf_free(d->conf);
}

int
daemon_run(struct conf *conf, daemon_load_fn *load, void *arg,
    struct why *why)
{
	struct daemon d = { .conf = conf, .load = load, .load_arg = arg };
	int r;

	if ((r = daemon_open(&d, why)) == 0 &&
	    (r = loop_run(d.loop, why)) == 0)
		log_info("stopped", LS("", NULL));
	daemon_close(&d);
	return r;
}
