/*
 * stream_forward: messages of the Fluentd forward protocol on a stream.
 *
 * A message is taken entry by entry, as much in a turn as the connection's
 * share; it rests where there is no room and goes on from there, so nothing is
 * taken twice. What an entry is refused for would be the same another time:
 * it is counted, the others are taken, and the chunk is acknowledged, or its
 * client would send it again for ever.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "codec/forward.h"
#include "codec/reply.h"
#include "core/engine.h"
#include "loop/loop.h"
#include "loop/stream_conn.h"

struct stream_forward {
	struct forward	f;
	size_t		len;	/* of the message */
};

void
stream_forward_free(struct stream_conn *c)
{
	if (c->forward == NULL)
		return;
	forward_free(&c->forward->f);
	free(c->forward);
	c->forward = NULL;
}

size_t
stream_forward_bytes(const struct stream_conn *c)
{
	return c->forward != NULL ? c->forward->f.plain.cap : 0;
}

/* Some of a message was refused. No error answer exists for it. */
static void
stream_forward_tell(struct stream_conn *c, enum event_code code,
    const char *text)
{
	uint64_t n;

	if (log_limit_hit(&c->in->log_forward, clock_mono().us, &n))
		log_warn("forward_refused", LS("code", event_code_name(code)),
		    LS("error", text), LI("uid", c->uid), LI("pid", c->pid),
		    LU("repeated", n));
}

/* The same of what the engine has not seen, nor counted. */
static void
stream_forward_refused(struct stream_conn *c, enum event_code code,
    const char *text)
{
	books_refuse(engine_books(loop_engine(c->in->loop)), BOOKS_FORWARD,
	    code);
	stream_forward_tell(c, code, text);
}

/* A client that wants to log in would wait for ever without an answer. */
static void
stream_forward_decline(struct stream_conn *c)
{
	reply_put_pong(&c->out, "lumnid takes no logins: leave shared_key, "
	    "user and password out of the client's configuration");
	stream_conn_fail(c, EVENT_FORBIDDEN, "the forward protocol's logins "
	    "are not taken: leave shared_key, user and password out");
}

/* All that could be taken is. */
static void
stream_forward_end(struct stream_conn *c, struct now now)
{
	const struct event_ack *chunk = &c->forward->f.chunk;

	if (chunk->len > 0) {
		c->acks_due++;
		engine_take_ack(loop_engine(c->in->loop), c->peer, chunk, now);
	}
	stream_forward_free(c);
}

/*
 * The rest of the message cannot be read. Where only memory is short, it is
 * not acknowledged: the client sends it again.
 */
static void
stream_forward_lost(struct stream_conn *c, enum event_code code,
    const char *text, struct now now)
{
	stream_forward_refused(c, code, text);
	if (code != EVENT_NO_MEMORY) {
		stream_forward_end(c, now);
		return;
	}
	stream_forward_free(c);
	stream_conn_fail(c, code, text);
}

/* One entry to the engine. false: the same again when there is room. */
static bool
stream_forward_entry(struct stream_conn *c, const struct event_record *rec,
    struct now now)
{
	struct why why = { "" };
	enum event_code code = engine_take_entry(loop_engine(c->in->loop),
	    BOOKS_FORWARD, rec, now, &why);

	if (engine_is_passing(code))
		return false;
	if (code != EVENT_OK)
		stream_forward_tell(c, code, why.text);
	return true;
}

static bool
stream_forward_open(struct stream_conn *c, const uint8_t *p, size_t len,
    struct now now)
{
	struct why why = { "" };
	enum event_code code;

	c->forward = mem_zalloc(sizeof *c->forward);
	c->forward->len = len;
	code = forward_open(&c->forward->f, p, len,
	    c->in->conf->events.max_message, &why);
	if (code == EVENT_OK && c->forward->f.mode != FORWARD_PING)
		return true;
	if (code != EVENT_OK) {
		stream_forward_lost(c, code, why.text, now);
	} else {
		stream_forward_free(c);
		stream_forward_decline(c);
	}
	return false;
}

enum stream_forward_result
stream_forward_take(struct stream_conn *c, const uint8_t *p, size_t *len,
    struct now now)
{
	size_t share = stream_conn_share(c->in), done = 0;
	struct event_record rec;
	enum event_code code;
	struct why why = { "" };

	if (c->forward == NULL && !stream_forward_open(c, p, *len, now))
		return STREAM_FORWARD_DONE;
	*len = c->forward->len;
	while (done < share) {
		switch (forward_next(&c->forward->f, p, &rec, &code, &why)) {
		case FORWARD_ENTRY:
			/* One share, one time: no turn takes longer. */
			rec.goes_on = done > 0;
			if (!stream_forward_entry(c, &rec, now)) {
				forward_back(&c->forward->f);
				return STREAM_FORWARD_HELD;
			}
			break;
		case FORWARD_SKIP:
			stream_forward_refused(c, code, why.text);
			break;
		case FORWARD_LOST:
			stream_forward_lost(c, code, why.text, now);
			return STREAM_FORWARD_DONE;
		case FORWARD_END:
			stream_forward_end(c, now);
			return STREAM_FORWARD_DONE;
		}
		/* An entry costs more than its bytes. */
		done += rec.len + 64;
	}
	return STREAM_FORWARD_YIELD;
}
