/*
 * journal: the memory of open runs.
 *
 * Records (store/seg.c draws the head), little-endian:
 *
 *	STATE (1), the first record of each segment
 *	   0	u64	newest lsn
 *	   8	u64	all seal marks up to this batch are durable
 *	  16	u32	number of totals T (64)
 *	  20	u32	number of parts P
 *	  24	u64	events appended over the life of the installation
 *	  32	u64	so many of them were durable
 *	  40	u64	seal marks over the life of the installation
 *	  48	u64	batch of the newest of them
 *	  56	T x u64	totals
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
 *	  24	u64	which seal mark it is, over the life of the installation
 *	  32		runId
 *
 *	COUNT (5): a total moved
 *	   0	u64	by how much
 *	   8	u32	which
 *	  12	u32	0
 *	  16	u64	events appended over the life of the installation
 *	  24	u64	so many of them were durable
 *	(the last two may be absent)
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
#include "store/journal_int.h"
#include "store/le.h"

void
journal_stamp(struct journal *j)
{
	seglog_stamp(j->log, (struct seglog_stamp){ { j->lsn, j->appended,
	    j->events, j->sealed } });
}

struct journal_seg *
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

struct journal_seg *
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

void
journal_close(struct journal *j)
{
	if (j == NULL)
		return;
	seglog_close(j->log);
	recent_drop(&j->recent);
	free(j->segs);
	free(j);
}

const uint8_t *
journal_instance(const struct journal *j)
{
	return seglog_instance(j->log);
}

struct journal_lost
journal_lost(const struct journal *j)
{
	return j->lost;
}

void
journal_marks_complete(struct journal *j)
{
	if (j->sealed < j->newest)
		j->sealed = j->newest;
	journal_stamp(j);
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
static HOT void
journal_note_tail(struct journal *j)
{
	uint32_t tail = seglog_tail(j->log);

	if (tail == 0 || (j->n > 0 && j->segs[j->n - 1].segno >= tail))
		return;
	j->appended++;
	journal_seg_add(j, tail)->stated = true;
	journal_stamp(j);
}

uint64_t
journal_room(size_t n, uint64_t json_bytes, size_t runid_len)
{
	return json_bytes + (uint64_t)n * (SEG_HEAD_LEN + JOURNAL_EVENT_META +
	    runid_len + SEG_ALIGN);
}

int
journal_reserve(struct journal *j, size_t n, uint64_t json_bytes,
    size_t runid_len, struct wall now, struct why *why)
{
	uint64_t bytes = journal_room(n, json_bytes, runid_len);
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
    const void *meta, size_t meta_len, const char *runid, size_t runid_len,
    struct wall now, struct why *why)
{
	struct seg_piece piece[2] = {
	    { meta, meta_len },
	    { runid, runid_len } };
	struct seglog_pos pos;
	int r;

	r = seglog_reserve_mark(j->log, seg_record_size(meta_len +
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
	    .lsn = j->lsn, .appended = j->appended, .events = j->events,
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
	j->events = mark.events;
	j->segs[j->n - 1].live = mark.live;
	recent_cut(&j->recent, mark.pos.segno, mark.pos.off);
	journal_stamp(j);
}

int
journal_event(struct journal *j, const char *runid, size_t runid_len,
    const void *json, size_t len, bool end, struct wall at,
    uint64_t *ret_lsn, struct journal_place *ret, struct why *why)
{
	uint8_t meta[JOURNAL_EVENT_META];
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
	j->events++;
	j->segs[j->n - 1].live++;
	*ret_lsn = ++j->lsn;
	*ret = (struct journal_place){ pos.segno, pos.off, (uint32_t)len };
	recent_put(&j->recent, pos.segno, pos.off, json, len);
	journal_stamp(j);
	return 0;
}

int
journal_end(struct journal *j, const char *runid, size_t runid_len,
    struct wall at, uint64_t *ret_lsn, struct why *why)
{
	uint8_t meta[JOURNAL_END_META] = { 0 };
	int r;

	assert(runid_len <= UINT16_MAX);
	le_put64(meta, j->lsn + 1);
	le_put64(meta + 8, (uint64_t)at.us);
	le_put16(meta + 16, (uint16_t)runid_len);
	r = journal_append_mark(j, JOURNAL_END, meta, sizeof meta, runid,
	    runid_len, at, why);
	if (r < 0)
		return r;
	j->appended++;
	*ret_lsn = ++j->lsn;
	journal_stamp(j);
	return 0;
}

int
journal_sealed(struct journal *j, const char *runid, size_t runid_len,
    uint64_t lsn, uint32_t part, uint64_t batch_seq, struct wall now,
    struct why *why)
{
	uint8_t meta[JOURNAL_SEALED_META] = { 0 };
	int r;

	assert(runid_len <= UINT16_MAX);
	le_put64(meta, lsn);
	le_put64(meta + 8, batch_seq);
	le_put32(meta + 16, part);
	le_put16(meta + 20, (uint16_t)runid_len);
	le_put64(meta + 24, j->seals + 1);
	r = journal_append_mark(j, JOURNAL_SEALED, meta, sizeof meta, runid,
	    runid_len, now, why);
	if (r < 0)
		return r;
	j->appended++;
	j->seals++;
	if (batch_seq > j->sealed)
		j->sealed = batch_seq;
	journal_stamp(j);
	return 0;
}

int
journal_count(struct journal *j, unsigned total, uint64_t n, struct wall now,
    struct why *why)
{
	uint8_t meta[JOURNAL_COUNT_LEN] = { 0 };
	int r;

	assert(total < JOURNAL_TOTALS);
	le_put64(meta, n);
	le_put32(meta + 8, total);
	le_put64(meta + 16, j->events);
	le_put64(meta + 24, journal_events_synced(j));
	r = journal_append_mark(j, JOURNAL_COUNT, meta, sizeof meta, NULL, 0,
	    now, why);
	if (r < 0)
		return r;
	j->appended++;
	j->noted = j->events;
	journal_stamp(j);
	return 0;
}

int
journal_note(struct journal *j, struct wall now, struct why *why)
{
	return j->noted == j->events ? 0 : journal_count(j, 0, 0, now, why);
}

/* --- reading and releasing ------------------------------------------------- */

int
journal_read(struct journal *j, struct journal_place at, size_t runid_len,
    struct buf *buf, const char **ret, struct why *why)
{
	uint32_t len = JOURNAL_EVENT_META + (uint32_t)runid_len + at.len;
	uint8_t *rec;
	int r;

	*ret = recent_get(&j->recent, at.segno, at.off, at.len, buf);
	if (*ret != NULL)
		return 0;
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
	*ret = (const char *)rec + SEG_HEAD_LEN + JOURNAL_EVENT_META + runid_len;
	return 0;
}

size_t
journal_recent_used(const struct journal *j)
{
	return recent_used(&j->recent);
}

void
journal_recent_drop(struct journal *j)
{
	recent_drop(&j->recent);
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
	uint64_t durable = seglog_durable(j->log).v[1];
	int r;

	if (j->n < 2 || seglog_removals_pending(j->log))
		return 0;
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
	return seglog_durable(j->log).v[0];
}

uint64_t
journal_sealed_durable(const struct journal *j)
{
	return seglog_durable(j->log).v[3];
}

uint64_t
journal_appended(const struct journal *j)
{
	return j->appended;
}

uint64_t
journal_durable(const struct journal *j)
{
	return seglog_durable(j->log).v[1];
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
