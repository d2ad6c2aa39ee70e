/*
 * guard: the four stages of an event's road, each in a function of its own,
 * for callgrind to count: decode, journal append, seal (read back, JSON, zstd,
 * spool append), and the POST with its loop and libcurl. tests/it/test_guard.py
 * holds the counts to their bounds.
 *
 * Of the engine it has a stand-in only: what is counted is the stages.
 */
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <curl/curl.h>
#include <zstd.h>

#include "base/mem.h"
#include "codec/batch.h"
#include "codec/event.h"
#include "codec/frame.h"
#include "core/engine.h"
#include "loop/loop.h"
#include "loop/out_http.h"
#include "store/journal.h"
#include "store/spool.h"
#include "support/load_event.h"

#define EVENTS		1600
#define RUN		16	/* events */
#define POSTS		100
#define NOW		((struct wall){ 1750000000000000 })
#ifdef __clang__
#define STAGE		__attribute__((noinline))
#else
#define STAGE		__attribute__((noinline, noclone))
#endif

struct guard {
	struct event_message	 msg;
	struct journal		*journal;
	struct spool		*spool;
	struct batch		*batch;
	struct buf		 scratch;
	struct {
		char	*data;
		size_t	 len;
	}			 in[EVENTS], json[EVENTS];
	struct journal_place	 places[EVENTS];
	uint8_t			*body;		/* of a run, for the POSTs */
	size_t			 body_len;
};

static struct loop *loop;
static unsigned answers;

static void __attribute__((noreturn))
die(const char *what)
{
	(void)fprintf(stderr, "guard: %s\n", what);
	exit(1);
}

/* --- the stand-in --- */

struct mono
engine_deadline(const struct engine *e)
{
	return MONO_NEVER;
}

void
engine_turn_taken(struct engine *e, struct now now)
{
	engine_turn(e, now);
}

void
engine_turn(struct engine *e, struct now now)
{
}

void
engine_answer(struct engine *e, uint64_t tag, const struct transport_answer *a,
    struct now now)
{
	if (a->result != TRANSPORT_ANSWERED || a->status != 202)
		die("a POST failed");
	answers++;
	loop_quit(loop);
}

/* --- the stages --- */

void	guard_decode(struct guard *, size_t i);
void	guard_journal(struct guard *, size_t i);
void	guard_seal(struct guard *, size_t first);
void	guard_post(struct guard *, struct transport *, uint64_t tag);

STAGE void
guard_decode(struct guard *g, size_t i)
{
	static char end_type[] = "run_end";
	char *end_types[] = { end_type };
	const struct event_options opt = { .stamp_at = true,
		.end_types = end_types, .end_types_n = 1 };
	const uint8_t *p = (const uint8_t *)g->in[i].data;
	struct frame f;
	struct why why;
	size_t len;

	frame_init(&f, 8u << 20);
	if (frame_next(&f, p, g->in[i].len, &len) != FRAME_VALUE ||
	    event_decode(&g->msg, p, len, &opt, NOW, &why) != EVENT_OK)
		die("decode");
}

STAGE void
guard_journal(struct guard *g, size_t i)
{
	uint64_t lsn;

	if (journal_reserve(g->journal, 1, g->json[i].len, 8, NOW, NULL) < 0 ||
	    journal_event(g->journal, "run-8842", 8, g->json[i].data,
	    g->json[i].len, false, NOW, &lsn, &g->places[i], NULL) < 0)
		die("journal");
	if (i % RUN == RUN - 1 && journal_flush(g->journal, NULL) < 0)
		die("journal flush");
}

STAGE void
guard_seal(struct guard *g, size_t first)
{
	struct spool_batch b = { .kind = SPOOL_RUN, .reason = SPOOL_END,
		.part = 1, .events = RUN, .compressed = true, .first = NOW,
		.sealed = NOW, .runid_len = 8, .runid = "run-8842" };
	struct spool_ref ref;
	const uint8_t *body;
	size_t json = 0, len, raw, i;
	const char *text;

	for (i = 0; i < RUN; i++)
		json += g->places[first + i].len;
	if (batch_begin(g->batch, "run-8842", 8, RUN, json, 3, NULL) < 0)
		die("batch");
	for (i = 0; i < RUN; i++)
		if (journal_read(g->journal, g->places[first + i], 8,
		    &g->scratch, &text, NULL) < 0 ||
		    batch_event_begin(g->batch) < 0 ||
		    batch_event_piece(g->batch, text,
		    g->places[first + i].len, NULL) < 0)
			die("seal");
	if (batch_end(g->batch, &body, &len, &raw, NULL) < 0)
		die("batch end");
	b.raw_len = (uint32_t)raw;
	if (spool_append(g->spool, &b, body, len, &ref, NULL) < 0 ||
	    spool_flush(g->spool, NULL) < 0)
		die("spool");
	if (g->body == NULL) {
		g->body = mem_dup(body, len);
		g->body_len = len;
	}
}

STAGE void
guard_post(struct guard *g, struct transport *tp, uint64_t tag)
{
	char id[40];
	const struct transport_request rq = { .tag = tag,
		.route = TRANSPORT_EVENTS, .id = id, .compressed = true,
		.part = 1, .reason = "end", .body = g->body,
		.body_len = g->body_len };

	(void)snprintf(id, sizeof id, "0123456789abcdef-%u", (unsigned)tag);
	if (tp->send(tp, &rq, NULL) < 0 || loop_run(loop, NULL) < 0)
		die("post");
}

/* --- around them --- */

static void
give_state(void *arg, struct journal_state *st)
{
}

static void
open_store(struct guard *g, const char *dir)
{
	struct journal_options jo = { .segment_bytes = 8u << 20,
		.buffer_bytes = 256u << 10, .recent_bytes = 2u << 20,
		.instance = "instance", .state = give_state };
	struct spool_options so = { .kind = SEGLOG_SPOOL,
		.segment_bytes = 8u << 20, .buffer_bytes = 256u << 10,
		.instance = "instance" };
	struct journal_replay none = { .arg = NULL };
	char log[300], spool[300], quar[300];
	struct why why = { "" };

	(void)snprintf(log, sizeof log, "%s/journal", dir);
	(void)snprintf(spool, sizeof spool, "%s/spool", dir);
	(void)snprintf(quar, sizeof quar, "%s/quarantine", dir);
	(void)mkdir(log, 0700);
	(void)mkdir(spool, 0700);
	if (journal_open(log, quar, &jo, &none, &g->journal, &why) < 0 ||
	    spool_open(spool, quar, &so, NULL, NULL, &g->spool, &why) < 0)
		die(why.text);
}

static void
make_events(struct guard *g)
{
	const struct load_options opt = { .seed = 8, .events = EVENTS,
		.runs = 64, .prefix = "guard", .pool = 1u << 20 };
	struct load *ld = load_new(&opt);
	struct load_message m;

	for (size_t i = 0; load_next(ld, i, &m); i++) {
		g->in[i].data = mem_dup(m.data, m.len);
		g->in[i].len = m.len;
	}
	load_free(ld);
}

/* A server that says 202 to all: a process of its own, ended by the pipe. */
static void __attribute__((noreturn))
serve(int listener)
{
	static char buf[1 << 20];
	static const char reply[] = "HTTP/1.1 202 Accepted\r\n"
	    "Content-Length: 2\r\n\r\n{}";
	int fd = accept(listener, NULL, NULL);
	size_t have = 0;

	for (;;) {
		ssize_t n = read(fd, buf + have, sizeof buf - 1 - have);
		const char *end, *length;

		if (n <= 0)
			_exit(0);
		have += (size_t)n;
		buf[have] = '\0';
		end = strstr(buf, "\r\n\r\n");
		length = strcasestr(buf, "content-length:");
		if (end == NULL || length == NULL ||
		    have < (size_t)(end + 4 - buf) + (size_t)atol(length + 15))
			continue;
		have = 0;
		/*
		 * As a server far away: what comes at once saves the client a
		 * turn of its loop, and the count would vary.
		 */
		(void)usleep(5000);
		if (write(fd, reply, sizeof reply - 1) < 0)
			_exit(1);
	}
}

static pid_t
start_server(char *url, size_t n)
{
	struct sockaddr_in sin = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof sin;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	pid_t pid;

	if (fd < 0 || bind(fd, (struct sockaddr *)&sin, sizeof sin) < 0 ||
	    listen(fd, 1) < 0 ||
	    getsockname(fd, (struct sockaddr *)&sin, &len) < 0)
		die("listen");
	(void)snprintf(url, n, "http://127.0.0.1:%d", ntohs(sin.sin_port));
	pid = fork();
	if (pid == 0)
		serve(fd);
	(void)close(fd);
	return pid;
}

static void
post_all(struct guard *g)
{
	struct out_http *out;
	struct conf *conf;
	struct why why = { "" };
	char url[64];
	pid_t pid = start_server(url, sizeof url);

	(void)setenv("LUMNI_API_KEY", "guard", 1);
	if (conf_load(NULL, true, &conf, &why) < 0 ||
	    conf_set(conf, "upstream.url", url, &why) < 0 ||
	    conf_set(conf, "upstream.proxy", "none", &why) < 0 ||
	    loop_new(&loop, &why) < 0 ||
	    out_http_new(loop, conf, &out, &why) < 0)
		die(why.text);
	loop_set_engine(loop, (struct engine *)&answers);
	for (uint64_t i = 1; i <= POSTS; i++)
		guard_post(g, out_http_transport(out), i);
	if (answers != POSTS)
		die("answers are missing");
	out_http_free(out);
	loop_free(loop);
	conf_free(conf);
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
}

/* What the counts depend on beside our sources. */
static void
say_built(void)
{
#if defined(__SANITIZE_ADDRESS__)
	const char *how = "sanitized ";
#else
	const char *how = "";
#endif
#if defined(__clang__)
	const char *cc = "clang " __clang_version__;
#else
	const char *cc = "gcc";
#endif
#if defined(__x86_64__)
	const char *cpu = "x86_64";
#else
	const char *cpu = "another processor";
#endif

	(void)printf("built %s%s %d %s %s, zstd %s, libcurl %s\n", how, cc,
	    __GNUC__, cpu, GUARD_CFLAGS, ZSTD_versionString(),
	    curl_version_info(CURLVERSION_NOW)->version);
	(void)fflush(stdout);
}

int
main(int argc, char **argv)
{
	static struct guard g;
	size_t i;

	if (argc != 2)
		die("usage: guard DIRECTORY | --built");
	say_built();
	if (strcmp(argv[1], "--built") == 0)
		return 0;
	mem_setup();
	event_message_init(&g.msg);
	buf_init(&g.scratch, 0);
	g.batch = batch_new();
	open_store(&g, argv[1]);
	make_events(&g);
	for (i = 0; i < EVENTS; i++) {
		guard_decode(&g, i);
		g.json[i].len = g.msg.events[0].len;
		g.json[i].data = mem_dup(g.msg.json.data +
		    g.msg.events[0].off, g.json[i].len);
	}
	for (i = 0; i < EVENTS; i++)
		guard_journal(&g, i);
	for (i = 0; i < EVENTS; i += RUN)
		guard_seal(&g, i);
	post_all(&g);
	/* What the test divides by. */
	(void)printf("decode %d\njournal %d\nseal %d\npost %d\n", EVENTS,
	    EVENTS, EVENTS, POSTS);
	journal_close(g.journal);
	spool_close(g.spool);
	batch_free(g.batch);
	event_message_free(&g.msg);
	buf_free(&g.scratch);
	free(g.body);
	for (i = 0; i < EVENTS; i++) {
		free(g.in[i].data);
		free(g.json[i].data);
	}
	return 0;
}
