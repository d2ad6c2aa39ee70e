/*
 * sender: the pump. What an answer means is decided in verdict.c; what
 * follows from it, in sender_answer.c.
 */
#include "core/sender.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "codec/batch.h"
#include "core/sender_int.h"

struct sender *
sender_new(const struct sender_env *env)
{
	struct sender *s = mem_zalloc(sizeof *s);

	s->env = *env;
	s->conf = env->conf;
	window_init(&s->window[SENDER_RECORDS], env->records,
	    SENDER_RECORD_SLOTS);
	window_init(&s->window[SENDER_RUNS], env->runs,
	    env->run_slots != 0 ? env->run_slots : SENDER_RUN_SLOTS);
	buf_init(&s->scratch, 0);
	buf_init(&s->parent, 0);
	sender_ramp_start(s);
	return s;
}

void
sender_free(struct sender *s)
{
	if (s == NULL)
		return;
	for (int c = 0; c < SENDER_CLASSES; c++)
		window_free(&s->window[c]);
	buf_free(&s->scratch);
	buf_free(&s->parent);
	batch_free(s->packer);
	free(s);
}

void
sender_set_conf(struct sender *s, const struct conf *conf, struct now now)
{
	s->conf = conf;
	/* What was wrong may be right now: try at once. */
	for (int c = 0; c < SENDER_CLASSES; c++) {
		s->gate[c].backoff.until = now.mono;
		window_hurry(&s->window[c]);
	}
	s->backoff.until = now.mono;
	s->no_coding_until = (struct mono){ 0 };
	s->too_large = s->max_raw = 0;
}

static uint64_t
sender_tag(int class, const struct slot *slot)
{
	return (uint64_t)slot->generation << 32 | (uint64_t)class << 31 |
	    slot->index;
}

struct slot *
sender_slot(struct sender *s, uint64_t tag, int *ret_class)
{
	int class = (int)(tag >> 31 & 1);
	uint32_t index = (uint32_t)tag & 0x7fffffff;

	if (index >= s->window[class].slots_n)
		return NULL;
	struct slot *slot = &s->window[class].slots[index];
	if (slot->state != SLOT_FLIGHT ||
	    slot->generation != (uint32_t)(tag >> 32))
		return NULL;
	*ret_class = class;
	return slot;
}

static int
sender_read_body(void *arg, uint64_t tag, size_t off, void *dst, size_t n)
{
	struct sender *s = arg;
	int class;
	struct slot *slot = sender_slot(s, tag, &class);

	if (slot == NULL)
		return -ECANCELED;
	if (slot->raw.data != NULL) {
		if (off > slot->raw.len || n > slot->raw.len - off)
			return -EINVAL;
		memcpy(dst, slot->raw.data + off, n);
		return 0;
	}
	return spool_body(slot->spool, &slot->ref, (uint32_t)off, dst, n,
	    NULL);
}

/* Unpack the body into the slot, for an upstream that takes no zstd. */
static int
sender_unpack(struct sender *s, struct slot *slot, const uint8_t *body,
    struct why *why)
{
	if (body == NULL) {
		buf_reset(&s->scratch, SENDER_SCRATCH_KEEP);
		uint8_t *dst = buf_room(&s->scratch, slot->ref.body_len);
		if (dst == NULL)
			return why_set(why, -ENOMEM, "no memory for a body of "
			    "%u bytes", slot->ref.body_len);
		int r = spool_body(slot->spool, &slot->ref, 0, dst,
		    slot->ref.body_len, why);
		if (r < 0)
			return r;
		body = dst;
	}
	buf_init(&slot->raw, 0);
	int r = batch_unpack(body, slot->ref.body_len, &slot->raw, why);
	if (r < 0)
		buf_free(&slot->raw);
	return r;
}

/*
 * Read and check the batch. Small bodies come into memory with the
 * description; of large ones only the checksum is looked at now.
 */
static int
sender_load(struct sender *s, struct slot *slot, struct spool_batch *batch,
    const uint8_t **ret_body, struct why *why)
{
	*ret_body = NULL;
	if (slot->ref.body_len <= SENDER_BODY_SMALL) {
		buf_reset(&s->scratch, SENDER_SCRATCH_KEEP);
		return spool_load(slot->spool, &slot->ref, batch, &s->scratch,
		    ret_body, why);
	}
	int r = spool_verify(slot->spool, &slot->ref, why);
	if (r == 0)
		r = spool_describe(slot->spool, &slot->ref, batch, why);
	return r;
}

static enum transport_route
sender_route(const struct spool_batch *batch)
{
	switch (batch->kind) {
	case SPOOL_CHANGE:
		return TRANSPORT_CHANGES;
	case SPOOL_POLICY:
		return TRANSPORT_POLICIES;
	case SPOOL_RUN:
		break;
	}
	return TRANSPORT_EVENTS;
}

static bool
sender_plain(const struct sender *s, struct mono now)
{
	return s->conf->upstream.compression == CONF_NONE ||
	    now.us < s->no_coding_until.us;
}

/* The batch cannot be read: it is not what was written. */
static void
sender_bury_damaged(struct sender *s, int class, struct slot *slot)
{
	(void)spool_done(slot->spool, &slot->ref, 0, 0, slot->ref.events -
	    slot->ref.finished, SPOOL_DROP_CORRUPT, NULL); /* kept and written later on failure */
	window_finish(&s->window[class], slot);
}

/* A body of its own is made where the one in the spool will not do. */
static int
sender_body(struct sender *s, struct slot *slot, const uint8_t **body,
    struct now now, struct why *why)
{
	struct spool_batch *batch = &s->batch;
	int r = sender_load(s, slot, batch, body, why);

	if (r < 0)
		return r;
	bool plain = batch->compressed && sender_plain(s, now.mono);
	slot->raw_packed = batch->compressed && !plain;
	slot->json_len = batch->raw_len;
	if (slot->split)
		return sender_split_build(s, slot, batch, plain, why);
	if (plain)
		return sender_unpack(s, slot, *body, why);
	return 0;
}

/* Returns false when no further request can be started now. */
static bool
sender_start(struct sender *s, int class, struct slot *slot, struct now now)
{
	struct window *w = &s->window[class];
	struct spool_batch *batch = &s->batch;
	const uint8_t *body = NULL;
	char id[SPOOL_ID_MAX + 24];
	struct why why = { "" };
	int r = sender_body(s, slot, &body, now, &why);

	if (r == -EBADMSG) {
		sender_bury_damaged(s, class, slot);
		return true;
	}
	if (r < 0) {
		log_warn("batch_unreadable", LU("batch", slot->ref.seq),
		    LS("error", why.text));
		window_put_back(w, slot, mono_add_ms(now.mono,
		    SENDER_LOCAL_RETRY_MS), now.mono, false);
		return true;
	}
	bool made = slot->raw.data != NULL;
	size_t len = made ? slot->raw.len : slot->ref.body_len;
	/*
	 * Nothing is cut beforehand: after a restart the limit is not known,
	 * and a piece in doubt must be met again on the same way, which the
	 * upstream's refusals alone decide.
	 */
	sender_split_id(slot, batch, id);
	struct transport_request rq = {
		.tag = sender_tag(class, slot),
		.route = sender_route(batch),
		.id = id,
		.compressed = made ? slot->raw_packed : batch->compressed,
		.part = batch->kind == SPOOL_RUN ? batch->part : 0,
		.reason = batch->kind == SPOOL_RUN ?
		    spool_reason_name(batch->reason) : NULL,
		.batch = batch,
		.events = slot->split ? slot->hi - slot->lo :
		    slot->ref.events,
		.raw_len = slot->json_len,
		.body = made ? NULL : body,
		.body_len = len,
		.read = sender_read_body,
		.arg = s,
	};
	window_take(w, slot);
	slot->sent = ++s->sent;
	slot->sealed = batch->sealed;
	r = s->env.transport->send(s->env.transport, &rq, &why);
	if (r < 0) {
		/* What is made anew may have another coding. */
		buf_free(&slot->raw);
		buf_init(&slot->raw, 0);
		log_warn("send_failed", LS("error", why.text));
		window_put_back(w, slot, mono_add_ms(now.mono,
		    SENDER_LOCAL_RETRY_MS), now.mono, false);
		return false;
	}
	s->in_flight++;
	s->last_move = now.mono;
	s->gate[class].in_flight++;
	return true;
}

/* How many requests may be under way to an upstream that is up? */
static size_t
sender_width(const struct sender *s)
{
	size_t n = (size_t)s->ramp;

	return n < s->conf->upstream.connections ? n :
	    (size_t)s->conf->upstream.connections;
}

/* How many requests may be under way in all? */
static size_t
sender_allowed(struct sender *s, struct mono now)
{
	if (s->stopped || s->paused)
		return 0;
	if (s->down)
		return backoff_over(&s->backoff, now) ? 1 : 0;
	return sender_width(s);
}

static bool
sender_gate_open(struct sender *s, int class, struct mono now)
{
	struct sender_gate *g = &s->gate[class];

	return !g->held || (g->in_flight == 0 &&
	    backoff_over(&g->backoff, now));
}

/* A corrected key file ends a hold within seconds. */
static void
sender_watch_key(struct sender *s, struct mono now)
{
	struct transport *t = s->env.transport;

	if (!s->key_watch || t->key_stamp == NULL ||
	    now.us < s->key_next.us)
		return;
	s->key_next = mono_add_ms(now, SENDER_KEY_WATCH_MS);
	uint64_t stamp = t->key_stamp(t);
	if (stamp == s->key_stamp)
		return;
	s->key_stamp = stamp;
	for (int c = 0; c < SENDER_CLASSES; c++)
		s->gate[c].backoff.until = now;
}

void
sender_pump(struct sender *s, struct now now)
{
	struct why why = { "" };
	int budget = SENDER_PER_TURN;

	sender_watch_key(s, now.mono);
	s->more = false;
	for (int c = 0; c < SENDER_CLASSES; c++) {
		uint64_t n;
		int r;

		if (now.mono.us < s->read_retry[c].us)
			continue;
		r = window_fill(&s->window[c], &why);
		s->read_retry[c] = r < 0 ? mono_add_ms(now.mono,
		    SENDER_LOCAL_RETRY_MS) : (struct mono){ 0 };
		if (r < 0 && log_limit_hit(&s->read_limit, now.mono.us, &n))
			log_error("spool_read_failed", LS("error", why.text),
			    LU("repeated", n));
	}
	for (int c = 0; c < SENDER_CLASSES; c++) {
		struct slot *slot;

		while (s->in_flight < sender_allowed(s, now.mono) &&
		    sender_gate_open(s, c, now.mono) &&
		    (slot = window_pick(&s->window[c], now.mono)) != NULL) {
			if (budget-- == 0) {
				s->more = true;
				return;
			}
			if (!sender_start(s, c, slot, now))
				break;
		}
	}
	if (sender_deadline(s).us > now.mono.us)
		s->last_idle = now.mono;
}

int64_t
sender_overdue_ms(const struct sender *s, struct mono now)
{
	struct mono due = sender_deadline(s);
	int64_t ms = 0, due_ms = 0;

	/* The transport ends each request in this time, by a time-out. */
	if (s->in_flight > 0)
		ms = mono_sub_ms(now, s->last_move) -
		    s->conf->upstream.timeout_ms;
	/* Many starts in a row leave something due for many turns. */
	if (due.us <= now.us && s->last_idle.us != 0) {
		if (due.us < s->last_move.us)
			due = s->last_move;
		if (due.us < s->last_idle.us)
			due = s->last_idle;
		due_ms = mono_sub_ms(now, due);
	}
	ms = due_ms > ms ? due_ms : ms;
	return ms > 0 ? ms : 0;
}

struct mono
sender_deadline(const struct sender *s)
{
	struct mono t = MONO_NEVER;

	if (s->stopped || s->paused)
		return t;
	if (s->more)
		return (struct mono){ 0 };
	if (s->key_watch)
		t = mono_min(t, s->key_next);
	for (int c = 0; c < SENDER_CLASSES; c++) {
		const struct window *w = &s->window[c];
		const struct sender_gate *g = &s->gate[c];
		struct mono at = window_next(w);

		if (s->read_retry[c].us != 0)
			t = mono_min(t, s->read_retry[c]);
		if (w->ready.head != NULL)
			at = (struct mono){ 0 };
		if (at.us == INT64_MAX)
			continue;
		/* An answer wakes us; a time that passes starts nothing. */
		if (s->in_flight >= (s->down ? 1 : sender_width(s)))
			continue;
		if (g->held && g->in_flight > 0)
			continue;
		if (s->down && at.us < s->backoff.until.us)
			at = s->backoff.until;
		if (g->held && at.us < g->backoff.until.us)
			at = g->backoff.until;
		/* Ready, but all connections are busy: an answer wakes us. */
		if (!s->down && !g->held && s->in_flight > 0 && at.us == 0)
			continue;
		t = mono_min(t, at);
	}
	return t;
}

void
sender_pause(struct sender *s, bool pause)
{
	s->paused = pause;
}

bool
sender_is_paused(const struct sender *s)
{
	return s->paused;
}

void
sender_hurry(struct sender *s, struct now now)
{
	for (int c = 0; c < SENDER_CLASSES; c++) {
		struct slot *slot = s->window[c].later.head;

		backoff_hurry(&s->gate[c].backoff, now.mono);
		for (; slot != NULL; slot = slot->next)
			slot->not_before = now.mono;
	}
	backoff_hurry(&s->backoff, now.mono);
}

void
sender_attempts(const struct sender *s, bool record, uint64_t seq,
    uint32_t *ret_attempts, bool *ret_in_flight)
{
	const struct window *w = &s->window[record ? SENDER_RECORDS :
	    SENDER_RUNS];
	const struct slot *slot = w->oldest;

	while (slot != NULL && slot->ref.seq < seq)
		slot = slot->newer;
	bool found = slot != NULL && slot->ref.seq == seq;
	*ret_attempts = found ? slot->attempts : 0;
	*ret_in_flight = found && slot->state == SLOT_FLIGHT;
}

bool
sender_find_run(const struct sender *s, uint64_t run_hash,
    struct spool_ref *ret)
{
	const struct slot *slot = s->window[SENDER_RUNS].newest;

	while (slot != NULL && slot->lane != run_hash)
		slot = slot->older;
	if (slot == NULL)
		return false;
	*ret = slot->ref;
	return true;
}

void
sender_stop(struct sender *s)
{
	s->stopped = true;
}

void
sender_cancel(struct sender *s)
{
	struct transport *t = s->env.transport;

	for (int c = 0; c < SENDER_CLASSES; c++) {
		struct window *w = &s->window[c];
		for (size_t i = 0; i < w->touched; i++)
			if (w->slots[i].state == SLOT_FLIGHT)
				t->cancel(t, sender_tag(c, &w->slots[i]));
	}
}

uint64_t
sender_max_raw(const struct sender *s)
{
	return s->max_raw;
}

void
sender_relax(struct sender *s)
{
	buf_free(&s->scratch);
	buf_free(&s->parent);
	batch_free(s->packer);
	s->packer = NULL;
	for (int c = 0; c < SENDER_CLASSES; c++)
		window_relax(&s->window[c]);
}

size_t
sender_in_flight(const struct sender *s)
{
	return s->in_flight;
}

/* Give this batch up; what of it is finished stays so. */
static uint32_t
sender_drop(struct window *w, struct slot *slot, enum spool_drop why)
{
	uint32_t n = slot->ref.events - slot->ref.finished;

	(void)spool_done(slot->spool, &slot->ref, 0, 0, n, why, NULL);
	window_finish(w, slot);
	return n;
}

/* Neither under way nor behind one of its lane that is. */
static bool
sender_may_drop(const struct slot *slot)
{
	return slot->state == SLOT_READY || slot->state == SLOT_LATER;
}

uint32_t
sender_drop_oldest(struct sender *s, bool records, enum spool_drop why,
    struct now now)
{
	struct window *w = &s->window[records ? SENDER_RECORDS : SENDER_RUNS];
	struct why text;

	if (window_fill(w, &text) < 0)
		return 0;
	for (struct slot *slot = w->oldest; slot != NULL; slot = slot->newer)
		if (sender_may_drop(slot))
			return sender_drop(w, slot, why);
	return 0;
}

uint64_t
sender_drop_aged(struct sender *s, struct wall limit, unsigned max)
{
	struct window *w = &s->window[SENDER_RUNS];
	struct slot *newer;
	struct why text;
	uint64_t n = 0;

	if (window_fill(w, &text) < 0)
		return 0;
	for (struct slot *slot = w->oldest; slot != NULL && max > 0;
	    slot = newer) {
		newer = slot->newer;
		if (!sender_may_drop(slot))
			continue;
		/* In the order of sealing: behind a young one all are. */
		if (spool_describe(slot->spool, &slot->ref, &s->batch,
		    &text) < 0 || s->batch.sealed.us >= limit.us)
			break;
		n += sender_drop(w, slot, SPOOL_DROP_AGE);
		max--;
	}
	return n;
}

void
sender_status(const struct sender *s, struct sender_status *ret)
{
	*ret = (struct sender_status){
		.state = SENDER_OK, .why = "",
		.last_success = s->last_success,
		.next_try = MONO_NEVER,
	};
	for (int c = 0; c < SENDER_CLASSES; c++)
		if (s->gate[c].held) {
			ret->state = SENDER_HOLD;
			ret->why = s->gate[c].why;
			ret->next_try = s->gate[c].backoff.until;
		}
	if (s->down) {
		ret->state = SENDER_DOWN;
		ret->why = s->why;
		ret->next_try = s->backoff.until;
	}
}
