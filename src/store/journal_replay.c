/*
 * journal_replay: the state that each segment begins with, and what the
 * segments tell of the past; journal.c draws the records.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "store/journal.h"
#include "store/journal_int.h"
#include "store/le.h"

#define STATE_FIXED	56	/* bytes of a STATE before its totals */
#define STATE_PART	12

/* --- state ----------------------------------------------------------------- */

uint64_t
journal_events_synced(const struct journal *j)
{
	uint64_t synced = seglog_durable(j->log).v[2];

	return synced > j->events_synced ? synced : j->events_synced;
}

/* Called by the log when a segment begins. */
static void
journal_on_checkpoint(void *arg, uint32_t segno, struct buf *out)
{
	struct journal *j = arg;
	struct journal_state st = { 0 };
	uint64_t sealed = seglog_durable(j->log).v[3];
	uint8_t *p;
	size_t len;

	if (j->o.state != NULL)
		j->o.state(j->o.arg, &st);
	len = STATE_FIXED + JOURNAL_TOTALS * 8 +
	    st.parts_n * STATE_PART;
	p = buf_room(out, len);
	if (p == NULL)
		return;
	out->len += len;
	le_put64(p, j->lsn);
	le_put64(p + 8, sealed > j->sealed_synced ? sealed :
	    j->sealed_synced);
	le_put32(p + 16, JOURNAL_TOTALS);
	le_put32(p + 20, (uint32_t)st.parts_n);
	le_put64(p + 24, j->events);
	le_put64(p + 32, journal_events_synced(j));
	le_put64(p + 40, j->seals);
	le_put64(p + 48, j->sealed);
	p += STATE_FIXED;
	for (size_t i = 0; i < JOURNAL_TOTALS; i++, p += 8)
		le_put64(p, st.totals[i]);
	for (size_t i = 0; i < st.parts_n; i++, p += STATE_PART) {
		le_put64(p, st.parts[i].run_hash);
		le_put32(p + 8, st.parts[i].part);
	}
}

/* Events that are missing before the `end`-th, and may not have been durable. */
struct journal_doubt {
	uint64_t	end;
	uint64_t	n;
};

struct journal_walk {
	struct journal	*j;
	const struct journal_replay *rp;
	bool		stated;		/* a STATE was met */
	bool		hole;		/* a seal mark is missing */
	uint64_t	found;		/* events since the STATE or COUNT */
	uint64_t	state_events;	/* the newest STATE counts so many */
	struct journal_doubt *doubts;
	size_t		doubts_n, doubts_cap;
};

static void
journal_replay_doubt(struct journal_walk *w, uint64_t end, uint64_t n)
{
	if (w->doubts_n == w->doubts_cap) {
		w->doubts_cap = w->doubts_cap == 0 ? 8 : w->doubts_cap * 2;
		w->doubts = mem_grow(w->doubts, w->doubts_cap,
		    sizeof *w->doubts);
	}
	w->doubts[w->doubts_n++] = (struct journal_doubt){ end, n };
	w->j->lost.unsynced += n;
}

/* So many events were durable once: those of them that are missing are lost. */
static void
journal_replay_sure(struct journal_walk *w, uint64_t synced)
{
	struct journal_lost *lost = &w->j->lost;
	size_t kept = 0;

	for (size_t i = 0; i < w->doubts_n; i++) {
		if (w->doubts[i].end > synced) {
			w->doubts[kept++] = w->doubts[i];
			continue;
		}
		lost->unsynced -= w->doubts[i].n;
		lost->durable += w->doubts[i].n;
		if (w->doubts[i].end > w->state_events)
			lost->uncounted += w->doubts[i].n;
	}
	w->doubts_n = kept;
}

/*
 * A STATE says how many events there were before it, and so does a COUNT that
 * is not the first thing that is found. Those that are missing
 * may be the newest ones: the crash took them before they were durable. What
 * was before the first STATE that is found has been deleted, as a rule, so
 * only what was not durable then can be missing.
 */
static void
journal_replay_lost(struct journal_walk *w, uint64_t events, uint64_t synced)
{
	struct journal *j = w->j;
	uint64_t want, durable, lost;

	if (!w->stated)
		j->events = synced;
	journal_replay_sure(w, synced);
	if (events > j->events + w->found) {
		want = events - j->events;
		lost = want - w->found;
		durable = synced > j->events ? synced - j->events : 0;
		if (durable > want)
			durable = want;
		/* As many as can be are of those that were not durable. */
		durable = durable > w->found ? durable - w->found : 0;
		j->lost.durable += durable;
		j->lost.uncounted += durable;
		if (lost > durable)
			journal_replay_doubt(w, events, lost - durable);
	}
	w->stated = true;
	w->found = 0;
	j->events = events;
	j->events_synced = synced;
}

/* Seal marks count on without a gap, or one of them is missing. */
static void
journal_replay_seals(struct journal_walk *w, const uint8_t *state)
{
	struct journal *j = w->j;
	uint64_t sealed = le_get64(state + 8), seals = le_get64(state + 40);

	/* Before the first STATE that is found nothing is known but this. */
	if (w->stated ? seals != j->seals : sealed < le_get64(state + 48))
		w->hole = true;
	if (seals > j->seals)
		j->seals = seals;
	if (sealed > j->sealed_synced)
		j->sealed_synced = sealed;
	if (sealed > j->sealed)
		j->sealed = sealed;
	if (sealed > j->newest)
		j->newest = sealed;
}

static bool
journal_replay_state(struct journal_walk *w, const uint8_t *data, size_t len)
{
	struct journal *j = w->j;
	const struct journal_replay *rp = w->rp;
	struct journal_state st = { 0 };
	struct journal_part *part;
	uint64_t totals, parts;
	size_t need;

	if (len < STATE_FIXED)
		return false;
	totals = le_get32(data + 16);
	parts = le_get32(data + 20);
	if (STATE_FIXED + totals * 8 + parts * STATE_PART > len)
		return false;
	journal_replay_seals(w, data);
	journal_replay_lost(w, le_get64(data + 24), le_get64(data + 32));
	w->state_events = le_get64(data + 24);
	j->lost.uncounted = 0;
	if (le_get64(data) > j->lsn)
		j->lsn = le_get64(data);
	st.batch_seq = le_get64(data + 8);
	for (size_t i = 0; i < totals && i < JOURNAL_TOTALS; i++)
		st.totals[i] = le_get64(data + STATE_FIXED + i * 8);
	data += STATE_FIXED + totals * 8;
	buf_reset(&j->parts, SIZE_MAX);
	need = (size_t)parts * sizeof *part;
	part = (struct journal_part *)(void *)buf_room(&j->parts, need + 1);
	if (part == NULL)
		parts = 0;
	for (size_t i = 0; i < parts; i++, data += STATE_PART) {
		part[i].run_hash = le_get64(data);
		part[i].part = le_get32(data + 8);
	}
	st.parts = part;
	st.parts_n = (size_t)parts;
	if (rp->state != NULL)
		rp->state(rp->arg, &st);
	return true;
}

/* --- opening --------------------------------------------------------------- */

static void
journal_replay_event(struct journal *j, const struct journal_replay *rp,
    const uint8_t *data, uint32_t len, struct seglog_pos pos)
{
	uint64_t lsn = le_get64(data);
	uint32_t json = le_get32(data + 16);
	size_t runid = le_get16(data + 20);
	struct journal_place at = { pos.segno, pos.off, json };

	if ((uint64_t)JOURNAL_EVENT_META + runid + json != len)
		return;
	if (lsn > j->lsn)
		j->lsn = lsn;
	if (rp->event != NULL)
		rp->event(rp->arg, (const char *)data + JOURNAL_EVENT_META,
		    runid,
		    lsn, (struct wall){ (int64_t)le_get64(data + 8) },
		    (le_get16(data + 22) & JOURNAL_F_END) != 0, at);
}

static void
journal_replay_end(struct journal *j, const struct journal_replay *rp,
    const uint8_t *data, uint32_t len)
{
	size_t n = le_get16(data + 16);

	if (JOURNAL_END_META + n != len)
		return;
	if (le_get64(data) > j->lsn)
		j->lsn = le_get64(data);
	if (rp->end != NULL)
		rp->end(rp->arg, (const char *)data + JOURNAL_END_META, n,
		    le_get64(data));
}

static void
journal_replay_sealed(struct journal_walk *w, const uint8_t *data,
    uint32_t len)
{
	struct journal *j = w->j;
	uint64_t seq = le_get64(data + 8), nth = le_get64(data + 24);
	size_t n = le_get16(data + 20);

	if (JOURNAL_SEALED_META + n != len)
		return;
	if (nth != j->seals + 1)
		w->hole = true;
	if (nth > j->seals)
		j->seals = nth;
	if (seq > j->newest)
		j->newest = seq;
	if (!w->hole && seq > j->sealed)
		j->sealed = seq;
	if (w->rp->sealed != NULL)
		w->rp->sealed(w->rp->arg, (const char *)data +
		    JOURNAL_SEALED_META, n, le_get64(data),
		    le_get32(data + 16), seq);
}

static void
journal_replay_count(struct journal_walk *w, const uint8_t *data, uint32_t len)
{
	if (w->rp->count != NULL && le_get64(data) != 0)
		w->rp->count(w->rp->arg, le_get32(data + 8), le_get64(data));
	if (w->stated && len >= JOURNAL_COUNT_LEN)
		journal_replay_lost(w, le_get64(data + 16),
		    le_get64(data + 24));
}

static int
journal_on_record(void *arg, uint8_t type, const uint8_t *data, uint32_t len,
    struct seglog_pos pos)
{
	struct journal_walk *w = arg;
	const struct journal_replay *rp = w->rp;

	if (type == JOURNAL_STATE) {
		if (journal_replay_state(w, data, len))
			w->j->segs[w->j->n - 1].stated = true;
	} else if (type == JOURNAL_EVENT && len >= JOURNAL_EVENT_META) {
		w->found++;
		journal_replay_event(w->j, rp, data, len, pos);
	} else if (type == JOURNAL_END && len >= JOURNAL_END_META) {
		journal_replay_end(w->j, rp, data, len);
	} else if (type == JOURNAL_SEALED && len >= JOURNAL_SEALED_META) {
		journal_replay_sealed(w, data, len);
	} else if (type == JOURNAL_COUNT && len >= JOURNAL_COUNT_MIN) {
		journal_replay_count(w, data, len);
	}
	return 0;
}

static int
journal_replay_all(struct journal *j, const struct journal_replay *rp,
    struct why *why)
{
	struct journal_walk w = { .j = j, .rp = rp };
	struct seglog_info info;
	struct why text;
	int r;

	for (size_t i = 0; i < seglog_count(j->log);) {
		info = seglog_at(j->log, i);
		(void)journal_seg_add(j, info.segno);
		r = seglog_scan(j->log, info.segno, 0, journal_on_record, &w,
		    &text);
		if (r == -ENOMEM) {
			free(w.doubts);
			return why_set(why, r, "%s", text.text);
		}
		/* Set aside: it has left the log's list, too. */
		if (r == -EBADMSG) {
			j->n--;
			continue;
		}
		if (r < 0) {
			j->segs[j->n - 1].pinned = true;
			seglog_tell(j->log, info.segno, info.size, text.text);
		}
		i++;
	}
	free(w.doubts);
	j->events += w.found;
	j->noted = j->events;
	/*
	 * The log goes on in a segment that begins soundly, and whose STATE
	 * counts what is lost.
	 */
	if ((j->n > 0 && !j->segs[j->n - 1].stated) || j->lost.uncounted > 0)
		seglog_finish(j->log);
	return 0;
}

int
journal_open(const char *dir, const char *quarantine,
    const struct journal_options *o, const struct journal_replay *rp,
    struct journal **ret, struct why *why)
{
	struct journal *j = mem_zalloc(sizeof *j);
	struct seglog_options so = { .kind = SEGLOG_JOURNAL,
	    .segment_bytes = o->segment_bytes,
	    .buffer_bytes = o->buffer_bytes,
	    .checkpoint = journal_on_checkpoint,
	    .checkpoint_type = JOURNAL_STATE, .owner = j,
	    .damaged = o->damaged, .read_only = o->read_only,
	    .arg = o->arg };
	int r;

	j->o = *o;
	recent_init(&j->recent, o->recent_bytes);
	buf_init(&j->parts, 0);
	memcpy(so.instance, o->instance, sizeof so.instance);
	r = seglog_open(dir, quarantine, &so, &j->log, why);
	if (r < 0)
		goto out;
	/* What is found is not durable before a sync round: it counts as one. */
	j->appended = 1;
	r = journal_replay_all(j, rp, why);
	journal_stamp(j);
out:
	buf_free(&j->parts);
	if (r < 0)
		journal_close(j);
	else
		*ret = j;
	return r;
}
