/*
 * out_http: requests to the upstream: from the engine's order to its answer. A
 * reload makes a new wire (http_wire.h); the old one goes when its last request
 * has ended.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/engine.h"
#include "loop/http_key.h"
#include "loop/http_mem.h"
#include "loop/http_wire.h"
#include "loop/loop.h"
#include "loop/out_http.h"

#define OUT_HTTP_ANSWER_KEEP	(16 * 1024)	/* between requests */
#define OUT_HTTP_TLS_CHECK_MS	1000

struct out_http {
	struct transport	 transport;	/* first: we are one */
	struct loop		*loop;
	const struct conf	*conf;
	struct http_key		*key;
	struct http_wire	*wire;		/* in force */
	struct http_wire	*retired;
	struct http_request	*local;		/* end at the turn's end */
	uint64_t		 tls_stamp;	/* of the files, in `wire` */
	struct mono		 tls_checked;
};

/* --- the end of a request ------------------------------------------------- */

static void
on_ended(void *arg, struct http_request *rq)
{
	struct out_http *out = arg;
	struct now now = clock_now();

	rq->busy = false;
	rq->wire->busy--;
	http_request_trim(rq);
	rq->answer.body = rq->answer_body;
	rq->answer.elapsed_ms = mono_sub_ms(now.mono, rq->begin);
	loop_wake(out->loop);
	engine_answer(loop_engine(out->loop), rq->tag, &rq->answer, now);
}

/* End a request that is under way nowhere, at the end of this turn. */
static void
http_request_end_local(struct http_request *rq, enum transport_result result)
{
	struct out_http *out = rq->wire->arg;

	rq->answer.result = result;
	rq->next_local = out->local;
	out->local = rq;
	loop_wake(out->loop);
}

/* Changes when one of the TLS files does; 0 without any. */
static uint64_t
out_http_tls_stamp(const struct conf *conf)
{
	const char *paths[] = { conf->upstream.ca_file,
	    conf->upstream.cert_file, conf->upstream.key_file };
	uint64_t stamp = 0;

	for (size_t i = 0; i < NELEM(paths); i++)
		if (paths[i][0] != '\0')
			stamp = stamp * 31 + http_key_file_stamp(paths[i]);
	return stamp;
}

/*
 * A certificate that was renewed is noticed without a reload: the next
 * request goes over connections that know it.
 */
static void
out_http_watch_tls(struct out_http *out, struct mono now)
{
	struct why why;

	if (mono_sub_ms(now, out->tls_checked) < OUT_HTTP_TLS_CHECK_MS)
		return;
	out->tls_checked = now;
	if (out_http_tls_stamp(out->conf) == out->tls_stamp)
		return;
	if (out_http_set_conf(out, out->conf, &why) == 0)
		log_info("tls_files_changed", LS("consequence",
		    "new connections use them"));
}

static int
out_http_send(struct transport *tp, const struct transport_request *tr,
    struct why *why)
{
	struct out_http *out = (struct out_http *)tp;
	struct http_request *rq;
	struct why key_why;
	struct secret *key_line;
	int r;

	out_http_watch_tls(out, clock_mono());
	rq = http_wire_request(out->wire, out->conf, why);
	if (rq == NULL)
		return -EBUSY;
	rq->tag = tr->tag;
	rq->begin = clock_mono();
	rq->answer = (struct transport_answer){ .status = 0 };
	if (rq->answer_cap > OUT_HTTP_ANSWER_KEEP) {
		free(rq->answer_body);
		rq->answer_body = NULL;
		rq->answer_cap = 0;
	}
	rq->answer_seen = 0;
	rq->error[0] = '\0';
	r = http_key_line(out->key, out->conf, rq->begin, &key_line, &key_why);
	if (r < 0) {
		(void)snprintf(rq->answer.detail, sizeof rq->answer.detail,
		    "%.250s", key_why.text);
		http_request_end_local(rq, TRANSPORT_NO_KEY);
	} else if ((r = http_request_start(rq, tr, key_line, why)) < 0) {
		http_request_trim(rq);
		return r;
	}
	rq->busy = true;
	rq->wire->busy++;
	return 0;
}

static void
out_http_cancel(struct transport *tp, uint64_t tag)
{
	struct out_http *out = (struct out_http *)tp;
	struct http_request *rq = http_wire_find(out->wire, tag);

	for (struct http_wire *w = out->retired; rq == NULL && w != NULL;
	    w = w->next)
		rq = http_wire_find(w, tag);
	if (rq == NULL || (!rq->running && rq->lane == NULL))
		return;
	http_request_stop(rq);
	http_request_end_local(rq, TRANSPORT_CANCELLED);
}

/* --- turns, reload, life -------------------------------------------------- */

/* Free the retired wires whose last request has ended. */
static void
out_http_reap(struct out_http *out)
{
	struct http_wire **p = &out->retired, *wire;

	while ((wire = *p) != NULL) {
		if (wire->busy != 0) {
			p = &wire->next;
			continue;
		}
		*p = wire->next;
		http_wire_free(wire);
	}
}

/* The end of a turn: what was asked for in it begins. */
static HOT void
out_http_turn(void *arg)
{
	struct out_http *out = arg;
	struct http_request *rq, *next = out->local;

	out->local = NULL;
	while ((rq = next) != NULL) {
		next = rq->next_local;
		on_ended(out, rq);
	}
	/* An answer may lead to a reload: that only adds at the front. */
	for (struct http_wire *w = out->retired; w != NULL; w = w->next)
		http_wire_turn(w);
	http_wire_turn(out->wire);
	out_http_reap(out);
}

int
out_http_set_conf(struct out_http *out, const struct conf *conf,
    struct why *why)
{
	struct http_wire *wire = http_wire_new(out->loop, conf, on_ended,
	    out, why);

	if (wire == NULL)
		return -EINVAL;
	if (out->wire != NULL) {
		out->wire->next = out->retired;
		out->retired = out->wire;
	}
	out->wire = wire;
	out->conf = conf;
	out->tls_stamp = out_http_tls_stamp(conf);
	http_key_reset(out->key);
	loop_wake(out->loop);
	return 0;
}

static int
out_http_reload(struct transport *tp, struct why *why)
{
	struct out_http *out = (struct out_http *)tp;

	return out_http_set_conf(out, out->conf, why);
}

static uint64_t
out_http_key_stamp(struct transport *tp)
{
	struct out_http *out = (struct out_http *)tp;

	/* Who asks will send as soon as it has changed. */
	out->tls_checked.us = INT64_MIN / 2;
	return http_key_stamp(out->key, out->conf) +
	    31 * out_http_tls_stamp(out->conf);
}

int
out_http_new(struct loop *loop, const struct conf *conf,
    struct out_http **ret, struct why *why)
{
	struct out_http *out;
	int r;

	if (http_mem_init() < 0)
		return why_set(why, -ENOMEM, "libcurl cannot be initialised");
	out = mem_zalloc(sizeof *out);
	out->transport = (struct transport){
		.send = out_http_send,
		.cancel = out_http_cancel,
		.reload = out_http_reload,
		.key_stamp = out_http_key_stamp,
	};
	out->loop = loop;
	out->key = http_key_new();
	if ((r = out_http_set_conf(out, conf, why)) < 0) {
		out_http_free(out);
		return r;
	}
	loop_add_hook(loop, out_http_turn, out);
	*ret = out;
	return 0;
}

void
out_http_free(struct out_http *out)
{
	struct http_wire *wire;

	if (out == NULL)
		return;
	http_wire_free(out->wire);
	while ((wire = out->retired) != NULL) {
		out->retired = wire->next;
		http_wire_free(wire);
	}
	http_key_free(out->key);
	curl_global_cleanup();
	free(out);
}

struct transport *
out_http_transport(struct out_http *out)
{
	return &out->transport;
}
