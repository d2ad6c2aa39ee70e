/*
 * journal: the memory of open runs.
 *
 * Records (store/seg.c draws the head), little-endian:
 *
 *	STATE (1), the first record of each segment
 *	   0	u64	newest lsn
 *	   8	u64	newest batch in a seal mark
 *	  16	u32	number of totals T (64)
 *	  20	u32	number of parts P
 *	  24	T x u64	totals
 *		P x (u64 xxh3 of the runId, u32 next part)
 *
 *	EVENT (2)
 *	   0	u64	lsn
 *	   8	i64	received, microseconds since 1970
 *	  16	u32	length of the JSON
 *	  20	u16	length of the runId
 *	  22	u16	flags; 1: the run is complete with it
 *	  24		runId, JSON
 *
 *	END (3): the run is complete, without an event
 *	   0	u64	lsn
 *	   8	i64	received
 *	  16	u16	length of the runId
 *	  18	6	0
 *	  24		runId
 *
 *	SEALED (4): the run's events up to the lsn are in a batch
 *	   0	u64	lsn
 *	   8	u64	batch
 *	  16	u32	part
 *	  20	u16	length of the runId
 *	  22	u16	0
 *	  24		runId
 *
 *	COUNT (5): a total moved
 *	   0	u64	by how much
 *	   8	u32	which
 *	  12	u32	0
 *
 * Unknown types are passed over. A segment's STATE supersedes all that was
 * said of totals and parts before it, so old segments can go.
 *
 * A segment is deleted when nothing lives in it or before it and a later STATE
 * is durable: without that, a crash could leave none at all.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "store/journal.h"
#include "store/le.h"

enum {
	JOURNAL_STATE = 1,
	JOURNAL_EVENT,
	JOURNAL_END,
	JOURNAL_SEALED,
	JOURNAL_COUNT,
};

#define JOURNAL_META	24	/* bytes before the runId, of every type */
#define JOURNAL_PART	12
#define JOURNAL_F_END	1u

struct journal_seg {
	uint32_t	segno;
	uint32_t	live;		/* events */
	bool		pinned;		/* could not be read: never deleted */
	bool		stated;		/* begins with a sound STATE */
	uint64_t	born;		/* `appended` of its STATE */
};

struct journal {
	struct seglog	*log;
	struct journal_options o;
	struct journal_seg *segs;	/* by segno */
	size_t		 n, cap;
	uint64_t	 lsn;
	uint64_t	 appended;
	struct buf	 parts;		/* scratch of the replay */
};

static struct journal_seg *
journal_seg(const struct journal *j, uint32_t segno)
{
	size_t lo = 0, hi = j->n, mid;

	while (lo < hi) {
		mid = lo + (hi - lo) / 2;
		if (j->segs[mid].segno < segno)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < j->n && j->segs[lo].segno == segno ? &j->segs[lo] : NULL;
}

static struct journal_seg *
journal_seg_add(struct journal *j, uint32_t segno)
{
	if (j->n == j->cap) {
		j->cap = j->cap == 0 ? 16 : j->cap * 2;
		j->segs = mem_grow(j->segs, j->cap, sizeof *j->segs);
	}
	j->segs[j->n] = (struct journal_seg){ .segno = segno,
	    .born = j->appended };
	return &j->segs[j->n++];
}

/* --- state ----------------------------------------------------------------- */

/* Called by the log when a segment begins. */
static void
journal_on_checkpoint(void *arg, uint32_t segno, struct buf *out)
{
	struct journal *j = arg;
	struct journal_state st = { 0 };
	uint8_t *p;
	size_t len;

	if (j->o.state != NULL)
		j->o.state(j->o.arg, &st);
	len = JOURNAL_META + JOURNAL_TOTALS * 8 + st.parts_n * JOURNAL_PART;
	p = buf_room(out, len);
	if (p == NULL)
		return;
	out->len += len;
	le_put64(p, j->lsn);
	le_put64(p + 8, st.batch_seq);
	le_put32(p + 16, JOURNAL_TOTALS);
	le_put32(p + 20, (uint32_t)st.parts_n);
	p += JOURNAL_META;
	for (size_t i = 0; i < JOURNAL_TOTALS; i++, p += 8)
		le_put64(p, st.totals[i]);
	for (size_t i = 0; i < st.parts_n; i++, p += JOURNAL_PART) {
		le_put64(p, st.parts[i].run_hash);
		le_put32(p + 8, st.parts[i].part);
	}
}

static bool
journal_replay_state(struct journal *j, const struct journal_replay *rp,
    const uint8_t *data, size_t len)
{
	struct journal_state st = { 0 };
	struct journal_part *part;
	uint64_t totals, parts;
	size_t need;

	if (len < JOURNAL_META)
		return false;
	totals = le_get32(data + 16);
	parts = le_get32(data + 20);
	if (JOURNAL_META + totals * 8 + parts * JOURNAL_PART > len)
		return false;
	if (le_get64(data) > j->lsn)
		j->lsn = le_get64(data);
	st.batch_seq = le_get64(data + 8);
	for (size_t i = 0; i < totals && i < JOURNAL_TOTALS; i++)
		st.totals[i] = le_get64(data + JOURNAL_META + i * 8);
	data += JOURNAL_META + totals * 8;
	buf_reset(&j->parts, SIZE_MAX);
	need = (size_t)parts * sizeof *part;
	part = (struct journal_part *)(void *)buf_room(&j->parts, need + 1);
	if (part == NULL)
		parts = 0;
	for (size_t i = 0; i < parts; i++, data += JOURNAL_PART) {
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

struct journal_walk {
	struct journal	*j;
	const struct journal_replay *rp;
};

static void
journal_replay_event(struct journal *j, const struct journal_replay *rp,
    const uint8_t *data, uint32_t len, struct seglog_pos pos)
{
	uint64_t lsn = le_get64(data);
	uint32_t json = le_get32(data + 16);
	size_t runid = le_get16(data + 20);
	struct journal_place at = { pos.segno, pos.off, json };

	if ((uint64_t)JOURNAL_META + runid + json != len)
		return;
	if (lsn > j->lsn)
		j->lsn = lsn;
	if (rp->event != NULL)
		rp->event(rp->arg, (const char *)data + JOURNAL_META, runid,
		    lsn, (struct wall){ (int64_t)le_get64(data + 8) },
		    (le_get16(data + 22) & JOURNAL_F_END) != 0, at);
}

static int
journal_on_record(void *arg, uint8_t type, const uint8_t *data, uint32_t len,
    struct seglog_pos pos)
{
	struct journal_walk *w = arg;
	const struct journal_replay *rp = w->rp;
	const char *runid = (const char *)data + JOURNAL_META;
	size_t n;

	if (type == JOURNAL_STATE) {
		if (journal_replay_state(w->j, rp, data, len))
			w->j->segs[w->j->n - 1].stated = true;
		return 0;
	}
	if (type == JOURNAL_COUNT && len >= 16 && rp->count != NULL)
		rp->count(rp->arg, le_get32(data + 8), le_get64(data));
	if (len < JOURNAL_META)
		return 0;
	switch (type) {
	case JOURNAL_EVENT:
		journal_replay_event(w->j, rp, data, len, pos);
		break;
	case JOURNAL_END:
		n = le_get16(data + 16);
		if (le_get64(data) > w->j->lsn)
			w->j->lsn = le_get64(data);
		if (JOURNAL_META + n == len && rp->end != NULL)
			rp->end(rp->arg, runid, n, le_get64(data));
		break;
	case JOURNAL_SEALED:
		n = le_get16(data + 20);
		if (JOURNAL_META + n == len && rp->sealed != NULL)
			rp->sealed(rp->arg, runid, n, le_get64(data),
			    le_get32(data + 16), le_get64(data + 8));
		break;
	}
	return 0;
}

static int
journal_replay_all(struct journal *j, const struct journal_replay *rp,
    struct why *why)
{
	struct journal_walk w = { j, rp };
	struct seglog_info info;
	struct why text;
	int r;

	for (size_t i = 0; i < seglog_count(j->log);) {
		info = seglog_at(j->log, i);
		(void)journal_seg_add(j, info.segno);
		r = seglog_scan(j->log, info.segno, 0, journal_on_record, &w,
		    &text);
		if (r == -ENOMEM)
			return why_set(why, r, "%s", text.text);
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
	/* The log goes on in a segment that begins soundly. */
	if (j->n > 0 && !j->segs[j->n - 1].stated)
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
	    .damaged = o->damaged, .arg = o->arg };
	int r;

	j->o = *o;
	buf_init(&j->parts, 0);
	memcpy(so.instance, o->instance, sizeof so.instance);
	r = seglog_open(dir, quarantine, &so, &j->log, why);
	if (r < 0)
		goto out;
	/* What is found is not durable before a sync round: it counts as one. */
	j->appended = 1;
	r = journal_replay_all(j, rp, why);
	seglog_stamp(j->log, j->lsn, j->appended);
out:
	buf_free(&j->parts);
	if (r < 0)
		journal_close(j);
	else
		*ret = j;
	return r;
}

void
journal_close(struct journal *j)
{
	if (j == NULL)
		return;
	seglog_close(j->log);
	free(j->segs);
	free(j);
}

const uint8_t *
journal_instance(const struct journal *j)
{
	return seglog_instance(j->log);
}

void
journal_skip_lsn(struct journal *j, uint64_t lsn)
{
	if (lsn > j->lsn)
		j->lsn = lsn;
}

uint64_t
journal_lsn(const struct journal *j)
{
	return j->lsn;
}

/* --- appending ------------------------------------------------------------- */

/* A roll is noticed here: the new segment's STATE counts as appended. */
static void
journal_note_tail(struct journal *j)
{
	uint32_t tail = seglog_tail(j->log);

	if (tail == 0 || (j->n > 0 && j->segs[j->n - 1].segno >= tail))
		return;
	j->appended++;
	journal_seg_add(j, tail)->stated = true;
	seglog_stamp(j->log, j->lsn, j->appended);
}

int
journal_reserve(struct journal *j, size_t n, uint64_t json_bytes,
    size_t runid_len, struct wall now, struct why *why)
{
	uint64_t bytes = json_bytes + (uint64_t)n * (SEG_HEAD_LEN +
	    JOURNAL_META + runid_len + SEG_ALIGN);
	int r;

	if (bytes > UINT32_MAX / 4)
		return why_set(why, -EMSGSIZE, "message of %llu bytes",
		    (unsigned long long)bytes);
	r = seglog_reserve(j->log, bytes, now, why);
	journal_note_tail(j);
	return r;
}

/* Append a mark: a record that needs no reservation by the caller. */
static int
journal_append_mark(struct journal *j, uint8_t type,
    const uint8_t meta[JOURNAL_META], const char *runid, size_t runid_len,
    struct wall now, struct why *why)
{
	struct seg_piece piece[2] = {
	    { meta, type == JOURNAL_COUNT ? 16 : JOURNAL_META },
	    { runid, runid_len } };
	struct seglog_pos pos;
	int r;

	r = seglog_reserve_mark(j->log, seg_record_size(JOURNAL_META +
	    runid_len), now, why);
	journal_note_tail(j);
	if (r < 0)
		return r;
	return seglog_append(j->log, type, piece, runid_len > 0 ? 2 : 1, &pos,
	    why);
}

struct journal_mark
journal_mark(const struct journal *j)
{
	return (struct journal_mark){ .pos = seglog_mark(j->log),
	    .lsn = j->lsn, .appended = j->appended,
	    .live = j->n > 0 ? j->segs[j->n - 1].live : 0 };
}

void
journal_rollback(struct journal *j, struct journal_mark mark)
{
	if (mark.pos.segno == 0)
		return;
	seglog_rollback(j->log, mark.pos);
	j->lsn = mark.lsn;
	j->appended = mark.appended;
	j->segs[j->n - 1].live = mark.live;
	seglog_stamp(j->log, j->lsn, j->appended);
}

int
journal_event(struct journal *j, const char *runid, size_t runid_len,
    const void *json, size_t len, bool end, struct wall at,
    uint64_t *ret_lsn, struct journal_place *ret, struct why *why)
{
	uint8_t meta[JOURNAL_META];
	struct seg_piece piece[3] = { { meta, sizeof meta },
	    { runid, runid_len }, { json, len } };
	struct seglog_pos pos;
	int r;

	assert(runid_len <= UINT16_MAX && len <= SEG_RECORD_MAX);
	le_put64(meta, j->lsn + 1);
	le_put64(meta + 8, (uint64_t)at.us);
	le_put32(meta + 16, (uint32_t)len);
	le_put16(meta + 20, (uint16_t)runid_len);
	le_put16(meta + 22, end ? JOURNAL_F_END : 0);
	r = seglog_append(j->log, JOURNAL_EVENT, piece, 3, &pos, why);
	if (r < 0)
		return r;
	j->appended++;
	j->segs[j->n - 1].live++;
	*ret_lsn = ++j->lsn;
	*ret = (struct journal_place){ pos.segno, pos.off, (uint32_t)len };
	seglog_stamp(j->log, j->lsn, j->appended);
	return 0;
}

int
journal_end(struct journal *j, const char *runid, size_t runid_len,
    struct wall at, uint64_t *ret_lsn, struct why *why)
{
	uint8_t meta[JOURNAL_META] = { 0 };
	int r;

	assert(runid_len <= UINT16_MAX);
	le_put64(meta, j->lsn + 1);
	le_put64(meta + 8, (uint64_t)at.us);
	le_put16(meta + 16, (uint16_t)runid_len);
	r = journal_append_mark(j, JOURNAL_END, meta, runid, runid_len, at,
	    why);
	if (r < 0)
		return r;
	j->appended++;
	*ret_lsn = ++j->lsn;
	seglog_stamp(j->log, j->lsn, j->appended);
	return 0;
}

int
journal_sealed(struct journal *j, const char *runid, size_t runid_len,
    uint64_t lsn, uint32_t part, uint64_t batch_seq, struct wall now,
    struct why *why)
{
	uint8_t meta[JOURNAL_META] = { 0 };
	int r;

	assert(runid_len <= UINT16_MAX);
	le_put64(meta, lsn);
	le_put64(meta + 8, batch_seq);
	le_put32(meta + 16, part);
	le_put16(meta + 20, (uint16_t)runid_len);
	r = journal_append_mark(j, JOURNAL_SEALED, meta, runid, runid_len,
	    now, why);
	if (r < 0)
		return r;
	j->appended++;
	seglog_stamp(j->log, j->lsn, j->appended);
	return 0;
}

int
journal_count(struct journal *j, unsigned total, uint64_t n, struct wall now,
    struct why *why)
{
	uint8_t meta[JOURNAL_META] = { 0 };
	int r;

	assert(total < JOURNAL_TOTALS);
	le_put64(meta, n);
	le_put32(meta + 8, total);
	r = journal_append_mark(j, JOURNAL_COUNT, meta, NULL, 0, now, why);
	if (r < 0)
		return r;
	j->appended++;
	seglog_stamp(j->log, j->lsn, j->appended);
	return 0;
}

/* --- reading and releasing ------------------------------------------------- */

int
journal_read(struct journal *j, struct journal_place at, size_t runid_len,
    struct buf *buf, const char **ret, struct why *why)
{
	uint32_t len = JOURNAL_META + (uint32_t)runid_len + at.len;
	uint8_t *rec;
	int r;

	buf_reset(buf, SIZE_MAX);
	rec = buf_room(buf, SEG_HEAD_LEN + (size_t)len);
	if (rec == NULL)
		return why_errno(why, buf_error(buf), "event of %" PRIu32
		    " bytes", at.len);
	r = seglog_get_known(j->log, (struct seglog_pos){ at.segno, at.off },
	    len, rec, why);
	if (r < 0)
		return r;
	buf->len = SEG_HEAD_LEN + (size_t)len;
	*ret = (const char *)rec + SEG_HEAD_LEN + JOURNAL_META + runid_len;
	return 0;
}

void
journal_adopt(struct journal *j, struct journal_place at)
{
	struct journal_seg *sg = journal_seg(j, at.segno);

	assert(sg != NULL);
	sg->live++;
}

void
journal_release(struct journal *j, struct journal_place at)
{
	struct journal_seg *sg = journal_seg(j, at.segno);

	/* Quarantined since: there is nothing to keep. */
	if (sg == NULL)
		return;
	assert(sg->live > 0);
	sg->live--;
}

uint32_t
journal_oldest_live(const struct journal *j)
{
	for (size_t i = 0; i < j->n; i++)
		if (j->segs[i].live > 0)
			return j->segs[i].segno;
	return 0;
}

/* Is the STATE of a segment behind the oldest durable? */
static bool
journal_state_durable(const struct journal *j, uint64_t durable)
{
	for (size_t i = 1; i < j->n; i++)
		if (j->segs[i].stated && j->segs[i].born <= durable)
			return true;
	return false;
}

int
journal_trim(struct journal *j, struct why *why)
{
	struct journal_seg *sg = j->segs;
	uint64_t lsn, durable;
	int r;

	if (j->n < 2 || seglog_removals_pending(j->log))
		return 0;
	seglog_durable(j->log, &lsn, &durable);
	if (sg->live > 0 || sg->pinned || !journal_state_durable(j, durable))
		return 0;
	r = seglog_remove(j->log, sg->segno, why);
	if (r < 0)
		return r;
	j->n--;
	memmove(sg, sg + 1, j->n * sizeof *sg);
	return 1;
}

/* --- durability ------------------------------------------------------------ */

int
journal_flush(struct journal *j, struct why *why)
{
	return seglog_flush(j->log, why);
}

bool
journal_unsynced(const struct journal *j)
{
	return seglog_unsynced(j->log);
}

void
journal_sync_begin(struct journal *j, struct seglog_sync *set)
{
	seglog_sync_begin(j->log, set);
}

void
journal_sync_end(struct journal *j, bool ok)
{
	seglog_sync_end(j->log, ok);
}

uint64_t
journal_synced_lsn(const struct journal *j)
{
	uint64_t lsn, appended;

	seglog_durable(j->log, &lsn, &appended);
	return lsn;
}

uint64_t
journal_appended(const struct journal *j)
{
	return j->appended;
}

uint64_t
journal_durable(const struct journal *j)
{
	uint64_t lsn, appended;

	seglog_durable(j->log, &lsn, &appended);
	return appended;
}

int
journal_roll(struct journal *j, struct wall now, struct why *why)
{
	int r = seglog_roll(j->log, now, why);

	journal_note_tail(j);
	return r;
}

uint64_t
journal_bytes(const struct journal *j)
{
	return seglog_bytes(j->log);
}

struct seglog *
journal_log(struct journal *j)
{
	return j->log;
}
