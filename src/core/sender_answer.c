/*
 * sender_answer: what follows from an answer: done, again later, hold, ... The
 * batch is never let go but by a 2xx.
 */
#include <assert.h>
#include <string.h>

#include "core/sender_int.h"
#include "core/verdict.h"

/* After a pause the first request goes alone; each success doubles. */
void
sender_ramp_start(struct sender *s)
{
	s->ramp = 1;
	s->ramp_knee = (double)s->conf->upstream.connections;
}

static void
sender_ramp_up(struct sender *s)
{
	double max = (double)s->conf->upstream.connections;

	s->ramp += s->ramp < s->ramp_knee ? 1 : 1 / s->ramp;
	if (s->ramp > max)
		s->ramp = max;
}

static void
sender_ramp_down(struct sender *s)
{
	s->ramp /= 2;
	if (s->ramp < 1)
		s->ramp = 1;
	s->ramp_knee = s->ramp;
}

/* The upstream answers: it is up, whatever it thinks of this batch. */
static void
sender_up(struct sender *s)
{
	if (!s->down)
		return;
	s->down = false;
	s->why[0] = '\0';
	backoff_reset(&s->backoff);
	if (log_limit_over(&s->down_limit))
		log_info("upstream_up", LU("in_flight", s->in_flight));
}

static void
sender_unhold(struct sender *s, int class)
{
	bool was = false;

	s->key_watch = false;
	for (int c = 0; c < SENDER_CLASSES; c++) {
		struct sender_gate *g = &s->gate[c];

		/* A key that is good for one route is good for all. */
		if (g->held && (c == class || g->all_routes)) {
			was = true;
			g->held = false;
			g->why[0] = '\0';
			backoff_reset(&g->backoff);
		}
		s->key_watch |= g->held;
	}
	if (was && !s->key_watch && log_limit_over(&s->hold_limit))
		log_info("upstream_hold_over", LS("route",
		    class == SENDER_RUNS ? "events" : "records"));
}

static void
sender_done(struct sender *s, int class, struct slot *slot,
    const struct transport_answer *a, struct now now)
{
	s->suspect = 0;
	hist_add(&s->env.books->delivered, now.wall.us - slot->sealed.us);
	s->last_success = now.mono;
	sender_up(s);
	sender_unhold(s, class);
	sender_ramp_up(s);
	sender_split_taken(s, class, slot, a, now);
}

/* The whole upstream fails: one shared wait. */
static void
sender_down(struct sender *s, const struct transport_answer *a,
    const struct verdict_ruling *ru, struct now now)
{
	uint64_t swallowed;
	int64_t wait;

	verdict_explain(a, s->why, sizeof s->why);
	wait = backoff_fail(&s->backoff, &s->env.rng, now.mono, BACKOFF_MIN_MS,
	    BACKOFF_MAX_MS, ru->retry_after_ms);
	s->down = true;
	s->failed_at = s->sent;
	if (ru->slow_down)
		sender_ramp_down(s);
	else
		sender_ramp_start(s);
	if (log_limit_hit(&s->down_limit, now.mono.us, &swallowed))
		log_warn("upstream_down", LS("error", s->why),
		    LI("retry_in_ms", wait), LU("repeated", swallowed));
}

/*
 * A 5xx may be the batch's own fault. Until a second batch has failed too, the
 * one waits alone and the next is tried, one at a time.
 */
static bool
sender_suspects(struct sender *s, const struct slot *slot,
    const struct transport_answer *a, const struct verdict_ruling *ru)
{
	if (s->down || a->result != TRANSPORT_ANSWERED || ru->slow_down)
		return false;
	if (s->suspect != 0 && s->suspect != slot->ref.seq)
		return false;
	s->suspect = slot->ref.seq;
	sender_ramp_start(s);
	return true;
}

static void
sender_retry(struct sender *s, int class, struct slot *slot,
    const struct transport_answer *a, const struct verdict_ruling *ru,
    struct now now)
{
	struct window *w = &s->window[class];
	struct mono later = { 0 };

	slot->attempts++;
	if (sender_suspects(s, slot, a, ru)) {
		struct backoff own = { .failures = slot->attempts - 1 };
		(void)backoff_fail(&own, &s->env.rng, now.mono,
		    BACKOFF_MIN_MS, BACKOFF_MAX_MS, ru->retry_after_ms);
		later = own.until;
		(void)verdict_explain(a, s->why, sizeof s->why);
	} else if (!s->down || slot->sent > s->failed_at) {
		/*
		 * Requests that left before the failure was known tell
		 * nothing new: one outage counts once.
		 */
		sender_down(s, a, ru, now);
	}
	/* To the tail: the next probe is another lane's. */
	window_put_back(w, slot, later, now.mono, true);
}

static void
sender_hold(struct sender *s, int class, struct slot *slot,
    const struct transport_answer *a, const struct verdict_ruling *ru,
    struct now now)
{
	char why[256];
	uint64_t swallowed;
	struct transport *t = s->env.transport;

	slot->attempts++;
	window_put_back(&s->window[class], slot, (struct mono){ 0 }, now.mono,
	    false);
	verdict_explain(a, why, sizeof why);
	for (int c = 0; c < SENDER_CLASSES; c++) {
		struct sender_gate *g = &s->gate[c];
		if (c != class && !ru->all_routes)
			continue;
		g->held = true;
		g->all_routes = ru->all_routes;
		memcpy(g->why, why, sizeof why);
		if (c == class || backoff_over(&g->backoff, now.mono))
			(void)backoff_fail(&g->backoff, &s->env.rng, now.mono,
			    SENDER_HOLD_MIN_MS, BACKOFF_MAX_MS, -1);
	}
	if (!s->key_watch) {
		s->key_watch = true;
		s->key_stamp = t->key_stamp != NULL ? t->key_stamp(t) : 0;
		s->key_next = mono_add_ms(now.mono, SENDER_KEY_WATCH_MS);
	}
	/* It answers, so it is not down. */
	if (a->result == TRANSPORT_ANSWERED)
		sender_up(s);
	if (log_limit_hit(&s->hold_limit, now.mono.us, &swallowed))
		log_error("upstream_hold", LS("error", why),
		    LS("kept", "everything is kept and sent once corrected"),
		    LU("repeated", swallowed));
}

/* This batch alone waits; the others go on. */
static void
sender_set_aside(struct sender *s, int class, struct slot *slot,
    const struct transport_answer *a, int64_t retry_after_ms, struct now now)
{
	struct backoff own = { .failures = slot->attempts++ };
	char why[256];
	uint64_t swallowed;

	(void)backoff_fail(&own, &s->env.rng, now.mono, BACKOFF_MIN_MS,
	    BACKOFF_MAX_MS, retry_after_ms);
	window_put_back(&s->window[class], slot, own.until, now.mono, false);
	sender_up(s);
	if (log_limit_hit(&s->refused_limit, now.mono.us, &swallowed))
		log_warn("batch_refused", LU("batch", slot->ref.seq),
		    LS("error", verdict_explain(a, why, sizeof why)),
		    LU("repeated", swallowed));
}

static void
sender_no_coding(struct sender *s, int class, struct slot *slot, bool plain,
    const struct transport_answer *a, struct now now)
{
	if (plain) {
		/* It was not the coding. */
		sender_set_aside(s, class, slot, a, -1, now);
		return;
	}
	if (now.mono.us >= s->no_coding_until.us)
		log_warn("upstream_no_zstd", LS("consequence",
		    "bodies go uncompressed for an hour"));
	s->no_coding_until = mono_add_ms(now.mono, SENDER_NO_CODING_MS);
	/* It was learned of compressed bodies; plain ones are longer. */
	s->too_large = 0;
	window_put_back(&s->window[class], slot, (struct mono){ 0 }, now.mono,
	    false);
	sender_up(s);
}

static void
sender_stale(struct sender *s, int class, struct slot *slot,
    const struct transport_answer *a, const struct verdict_ruling *ru,
    struct now now)
{
	if (++slot->stale > SENDER_STALE_MAX) {
		sender_retry(s, class, slot, a, ru, now);
		return;
	}
	window_put_back(&s->window[class], slot, (struct mono){ 0 }, now.mono,
	    false);
}

/* Not the upstream's doing, but somebody has to know. */
static void
sender_local(struct sender *s, const struct transport_answer *a,
    struct now now)
{
	uint64_t swallowed;

	if (a->result != TRANSPORT_CANCELLED &&
	    log_limit_hit(&s->local_limit, now.mono.us, &swallowed))
		log_warn("send_failed", LS("error", a->detail),
		    LU("repeated", swallowed));
}

static void
sender_refused(struct sender *s, int class, struct slot *slot,
    const struct transport_answer *a, enum verdict v, size_t len,
    struct now now)
{
	char why[256];
	uint64_t swallowed;

	if (v == VERDICT_TOO_LARGE && slot->hi - slot->lo > 1) {
		if (s->too_large == 0 || len < s->too_large) {
			s->too_large = len;
			log_warn("upstream_limit_learned", LU("bytes", len));
		}
	} else if (log_limit_hit(&s->refused_limit, now.mono.us, &swallowed)) {
		log_warn("batch_refused", LU("batch", slot->ref.seq),
		    LU("events", slot->hi - slot->lo),
		    LS("error", verdict_explain(a, why, sizeof why)),
		    LU("repeated", swallowed));
	}
	sender_split_refused(s, class, slot, a, now);
}

/* May the upstream have taken a request that ended so? */
static bool
sender_in_doubt(const struct transport_answer *a)
{
	switch (a->result) {
	case TRANSPORT_ANSWERED:
		return a->status == 408 || a->status >= 500;
	case TRANSPORT_NO_ANSWER:
	case TRANSPORT_TLS:
	case TRANSPORT_PROXY:
	case TRANSPORT_STALE:
	case TRANSPORT_LOCAL:
	case TRANSPORT_CANCELLED:
		return true;
	case TRANSPORT_DNS:
	case TRANSPORT_TLS_VERIFY:
	case TRANSPORT_TLS_FILE:
	case TRANSPORT_NO_KEY:
		break;
	}
	return false;
}

/*
 * An upstream that is still at work on an earlier request of this key, whose
 * answer we did not wait for, says 409 (draft-ietf-httpapi-idempotency-key-
 * header, 2.7). Cutting the batch would then send its events once more, under
 * other keys. So the batch waits, alone; only when the conflict lasts is it a
 * refusal like any other.
 */
static bool
sender_conflict(struct sender *s, int class, struct slot *slot,
    const struct transport_answer *a, const struct verdict_ruling *ru,
    struct now now)
{
	if (a->status != 409 || !slot->doubt)
		return false;
	if (slot->conflict.us == 0)
		slot->conflict = now.mono;
	else if (mono_sub_ms(now.mono, slot->conflict) >= SENDER_CONFLICT_MS)
		return false;
	sender_set_aside(s, class, slot, a, ru->retry_after_ms, now);
	return true;
}

void
sender_answer(struct sender *s, uint64_t tag,
    const struct transport_answer *a, struct now now)
{
	struct verdict_ruling ru;
	int class;
	struct slot *slot = sender_slot(s, tag, &class);

	if (slot == NULL)
		return;
	assert(s->in_flight > 0 && s->gate[class].in_flight > 0);
	s->in_flight--;
	s->last_move = now.mono;
	s->gate[class].in_flight--;
	bool made = slot->raw.data != NULL;
	bool plain = made && !slot->raw_packed;
	size_t len = made ? slot->raw.len : slot->ref.body_len;
	buf_free(&slot->raw);
	buf_init(&slot->raw, 0);

	bool answered = a->result == TRANSPORT_ANSWERED && a->status >= 100 &&
	    a->status < (int)NELEM(s->env.books->answers);
	s->env.books->answers[answered ? a->status : 0]++;
	verdict_rule(a, now.wall, &ru);
	if (ru.verdict != VERDICT_AT_ONCE)
		slot->stale = 0;
	if (sender_in_doubt(a))
		slot->doubt = true;
	switch (ru.verdict) {
	case VERDICT_DONE:
		sender_done(s, class, slot, a, now);
		return;
	case VERDICT_RETRY:
		sender_retry(s, class, slot, a, &ru, now);
		return;
	case VERDICT_HOLD:
		sender_hold(s, class, slot, a, &ru, now);
		return;
	case VERDICT_TOO_LARGE:
	case VERDICT_REFUSED:
		sender_up(s);
		sender_unhold(s, class);
		if (!sender_conflict(s, class, slot, a, &ru, now))
			sender_refused(s, class, slot, a, ru.verdict, len,
			    now);
		return;
	case VERDICT_NO_CODING:
		sender_no_coding(s, class, slot, plain, a, now);
		return;
	case VERDICT_AT_ONCE:
		sender_stale(s, class, slot, a, &ru, now);
		return;
	case VERDICT_LOCAL:
		sender_local(s, a, now);
		window_put_back(&s->window[class], slot,
		    mono_add_ms(now.mono, SENDER_LOCAL_RETRY_MS), now.mono,
		    false);
		return;
	}
}
