/*
 * seglog: an append-only log in a directory of numbered segment files: here
 * are the tail, appending, rolling and removal. seglog_open.c finds what is
 * there, seglog_read.c reads, seglog_sync.c makes durable.
 *
 * A segment is created by writing header and checkpoint at once; nothing in
 * it counts before a sync round has covered both the file and the directory.
 * Whole records only go to the file, in order, through one write buffer.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/sys.h"
#include "store/seglog.h"
#include "store/seglog_int.h"

#define SEGLOG_STEP	(1u << 20)	/* bytes reserved at a time */

long
seglog_index(const struct seglog *l, uint32_t segno)
{
	size_t lo = 0, hi = l->n, mid;

	while (lo < hi) {
		mid = lo + (hi - lo) / 2;
		if (l->files[mid].segno < segno)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < l->n && l->files[lo].segno == segno ? (long)lo : -1;
}

void
seglog_name(const struct seglog *l, char dst[SEGLOG_NAME_LEN], uint32_t segno)
{
	long i = seglog_index(l, segno);

	if (i >= 0 && l->files[i].named != 0)
		segno = l->files[i].named;
	(void)snprintf(dst, SEGLOG_NAME_LEN, "%010" PRIu32 ".seg", segno);
}

const uint8_t *
seglog_instance(const struct seglog *l)
{
	return l->instance;
}

size_t
seglog_count(const struct seglog *l)
{
	return l->n;
}

struct seglog_info
seglog_at(const struct seglog *l, size_t i)
{
	assert(i < l->n);
	if (i + 1 == l->n && l->t.fd >= 0)
		return (struct seglog_info){ .segno = l->files[i].segno,
		    .size = seglog_end(l), .written = l->t.written };
	return (struct seglog_info){ .segno = l->files[i].segno,
	    .size = l->files[i].size, .written = l->files[i].size };
}

bool
seglog_find(const struct seglog *l, uint32_t segno, struct seglog_info *ret)
{
	long i = seglog_index(l, segno);

	if (i < 0)
		return false;
	*ret = seglog_at(l, (size_t)i);
	return true;
}

uint32_t
seglog_tail(const struct seglog *l)
{
	return l->t.fd >= 0 ? (uint32_t)l->t.h.segno : 0;
}

uint64_t
seglog_bytes(const struct seglog *l)
{
	return l->bytes + (l->t.fd >= 0 ? seglog_end(l) : 0);
}

void
seglog_damage(const struct seglog *l, uint64_t *ret_n, uint64_t *ret_bytes)
{
	*ret_n = l->damage_n;
	*ret_bytes = l->damage_bytes;
}

int
seglog_space(struct seglog *l, uint64_t *ret_avail, uint64_t *ret_total,
    struct why *why)
{
	struct sys_space sp;
	int r = sys->space(l->dirfd, &sp);

	if (r < 0)
		return why_errno(why, r, "%s: free space", l->dir);
	*ret_avail = sp.avail;
	*ret_total = sp.total;
	return 0;
}

/* --- rolling --------------------------------------------------------------- */

/* Header and checkpoint of a new segment. */
static int
seglog_first_bytes(struct seglog *l, const struct seg_header *h,
    struct buf *out)
{
	static const uint8_t pad[SEG_ALIGN];
	uint8_t head[SEG_HEADER_LEN];
	struct seg_piece piece;
	struct buf payload;

	seg_header_pack(head, h);
	buf_put(out, head, sizeof head);
	if (l->o.checkpoint == NULL)
		return buf_error(out);
	buf_init(&payload, SEG_RECORD_MAX);
	l->o.checkpoint(l->o.owner, (uint32_t)h->segno, &payload);
	if (buf_error(&payload) == 0 && payload.len > 0) {
		piece = (struct seg_piece){ payload.data, payload.len };
		seg_head_pack(head, h, out->len, l->o.checkpoint_type,
		    &piece, 1);
		buf_put(out, head, SEG_HEAD_LEN);
		buf_put(out, payload.data, payload.len);
		buf_put(out, pad, (size_t)(seg_record_size(payload.len) -
		    SEG_HEAD_LEN - payload.len));
	}
	if (buf_error(&payload) != 0)
		out->error = buf_error(&payload);
	buf_free(&payload);
	return buf_error(out);
}

static int
seglog_create(struct seglog *l, char name[SEGLOG_NAME_LEN],
    uint32_t *ret_segno)
{
	int fd;

	for (int i = 0; i < 8; i++) {
		if (l->next_segno == UINT32_MAX)
			return -EOVERFLOW;
		*ret_segno = l->next_segno++;
		seglog_name(l, name, *ret_segno);
		fd = sys->openat(l->dirfd, name, O_RDWR | O_CREAT | O_EXCL,
		    0600);
		/* Another's file under our next name: leave it alone. */
		if (fd != -EEXIST)
			return fd;
	}
	return -EEXIST;
}

/* The old tail becomes a segment like any other. */
static void
seglog_retire_tail(struct seglog *l)
{
	struct seglog_file *f;

	if (l->t.fd < 0)
		return;
	f = &l->files[l->n - 1];
	f->size = l->t.written;
	l->bytes += f->size;
	/* Gives back what was reserved behind the end; no harm if it fails. */
	if (l->t.reserved > l->t.written && !l->t.closed)
		(void)sys->ftruncate(l->t.fd, l->t.written);
	seglog_pend_tail(l);
	l->t.fd = -1;
}

static void
seglog_new_tail(struct seglog *l, int fd, const struct seg_header *h,
    uint64_t end, uint64_t reserved)
{
	seglog_retire_tail(l);
	if (l->n == l->cap) {
		l->cap = l->cap == 0 ? 16 : l->cap * 2;
		l->files = mem_grow(l->files, l->cap, sizeof *l->files);
	}
	l->files[l->n++] = (struct seglog_file){ .segno = (uint32_t)h->segno,
	    .size = end };
	l->t = (struct seglog_tail){ .fd = fd, .h = *h, .start = end,
	    .written = end, .reserved = reserved, .scanned = true,
	    .stamp = l->stamp };
	l->wkept = 0;
	l->dir_gen++;
}

static int
seglog_fill_new(struct seglog *l, int fd, const struct seg_header *h,
    uint64_t more, uint64_t *ret_end, uint64_t *ret_reserved)
{
	struct buf first;
	uint64_t want;
	int r;

	buf_init(&first, SEG_RECORD_MAX + 4096);
	r = seglog_first_bytes(l, h, &first);
	if (r < 0)
		goto out;
	want = first.len + more;
	r = sys->reserve(fd, 0, want);
	if (r < 0)
		goto out;
	r = sys_pwrite_all(fd, first.data, first.len, 0);
	if (r < 0)
		goto out;
	*ret_end = first.len;
	*ret_reserved = want;
out:
	buf_free(&first);
	return r;
}

/* Start a new segment with room for `more` bytes behind its checkpoint. */
static int
seglog_roll_for(struct seglog *l, uint64_t more, struct wall now,
    struct why *why)
{
	struct seg_header h = { .version = SEG_VERSION, .kind = l->o.kind,
	    .created = now };
	char name[SEGLOG_NAME_LEN];
	uint64_t end = 0, reserved = 0;
	uint32_t segno;
	int fd, r;

	r = seglog_flush(l, why);
	if (r < 0)
		return r;
	if (l->pends == SEGLOG_PENDS)
		return why_errno(why, -EBUSY, "%s: %d segments wait to be "
		    "synced", l->dir, SEGLOG_PENDS);
	fd = seglog_create(l, name, &segno);
	if (fd < 0)
		return why_errno(why, fd, "%s: create segment", l->dir);
	memcpy(h.instance, l->instance, sizeof h.instance);
	h.segno = segno;
	h.unsynced_from = l->pends > 0 ? l->pend[0].segno :
	    l->t.fd >= 0 && l->t.synced < l->t.written ? seglog_tail(l) :
	    segno;
	r = seglog_fill_new(l, fd, &h, more, &end, &reserved);
	if (r < 0) {
		(void)sys->close(fd);	/* and thrown away */
		(void)sys->unlinkat(l->dirfd, name, 0);
		l->dir_gen++;
		return why_errno(why, r, "%s/%s: begin segment", l->dir, name);
	}
	seglog_new_tail(l, fd, &h, end, reserved);
	return 0;
}

int
seglog_roll(struct seglog *l, struct wall now, struct why *why)
{
	if (l->t.fd >= 0 && l->t.scanned && !l->t.closed &&
	    seglog_end(l) == l->t.start)
		return 0;
	return seglog_roll_for(l, SEGLOG_SLACK, now, why);
}

void
seglog_finish(struct seglog *l)
{
	l->t.closed = true;
}

/* --- appending ------------------------------------------------------------- */

/* A tail that nobody has scanned may end in half a record. */
static int
seglog_no_record(void *arg, uint8_t type, const uint8_t *data, uint32_t len,
    struct seglog_pos pos)
{
	return 0;
}

/* Take disk space up to `need`, in steps while there is plenty. */
static int
seglog_reserve_space(struct seglog *l, uint64_t need, struct why *why)
{
	uint64_t want = (need + SEGLOG_STEP - 1) / SEGLOG_STEP * SEGLOG_STEP;
	int r;

	if (need <= l->t.reserved)
		return 0;
	if (want > l->o.segment_bytes + SEGLOG_SLACK)
		want = l->o.segment_bytes + SEGLOG_SLACK;
	if (want < need)
		want = need;
	r = sys->reserve(l->t.fd, l->t.written, want - l->t.written);
	if (r < 0 && want > need) {
		want = need;
		r = sys->reserve(l->t.fd, l->t.written, want - l->t.written);
	}
	if (r < 0)
		return why_errno(why, r, "%s: reserve %" PRIu64 " bytes",
		    l->dir, want - l->t.written);
	l->t.reserved = want;
	return 0;
}

/* mark: it may have the slack, behind the segment's end too. */
static HOT int
seglog_reserve_for(struct seglog *l, uint64_t bytes, bool mark,
    struct wall now, struct why *why)
{
	uint64_t limit = l->o.segment_bytes + (mark ? SEGLOG_SLACK : 0);
	int r;

	assert(bytes <= UINT32_MAX / 4);
	if (l->o.read_only)
		return why_errno(why, -EROFS, "%s: only looked at", l->dir);
	if (l->t.fd >= 0 && !l->t.scanned) {
		r = seglog_scan(l, seglog_tail(l), 0, seglog_no_record, NULL,
		    why);
		if (r < 0)
			return r;
	}
	if (l->t.fd < 0 || l->t.closed || (seglog_end(l) > l->t.start &&
	    seglog_end(l) + bytes > limit))
		return seglog_roll_for(l, bytes + SEGLOG_SLACK, now, why);
	r = seglog_reserve_space(l,
	    seglog_end(l) + bytes + (mark ? 0 : SEGLOG_SLACK), why);
	/*
	 * What was reserved together goes to the file together, if it can: a
	 * rollback is then no matter of the disk.
	 */
	if (r == 0 && bytes <= l->o.buffer_bytes &&
	    bytes > l->o.buffer_bytes - l->wlen)
		r = seglog_flush(l, why);
	return r;
}

int
seglog_reserve(struct seglog *l, uint64_t bytes, struct wall now,
    struct why *why)
{
	return seglog_reserve_for(l, bytes, false, now, why);
}

int
seglog_reserve_mark(struct seglog *l, uint64_t bytes, struct wall now,
    struct why *why)
{
	return seglog_reserve_for(l, bytes, true, now, why);
}

/* Write a record that is larger than the buffer. */
static int
seglog_append_large(struct seglog *l, uint8_t type,
    const struct seg_piece *piece, size_t n, uint64_t size, struct why *why)
{
	static const uint8_t pad[SEG_ALIGN];
	uint8_t head[SEG_HEAD_LEN];
	struct iovec iov[10];
	size_t len = 0;
	int r;

	assert(n + 2 <= NELEM(iov));
	seg_head_pack(head, &l->t.h, l->t.written, type, piece, n);
	iov[0] = (struct iovec){ head, sizeof head };
	for (size_t i = 0; i < n; i++) {
		iov[i + 1] = (struct iovec){
		    (void *)(uintptr_t)piece[i].data, piece[i].len };
		len += piece[i].len;
	}
	iov[n + 1] = (struct iovec){ (void *)(uintptr_t)pad,
	    (size_t)(size - SEG_HEAD_LEN - len) };
	/* Half a record behind the end is written over by the next. */
	r = sys_pwritev_all(l->t.fd, iov, (int)n + 2, l->t.written);
	if (r < 0)
		return why_errno(why, r, "%s: append at %" PRIu32 ":%" PRIu64,
		    l->dir, seglog_tail(l), l->t.written);
	l->t.written += size;
	l->wkept = 0;
	return 0;
}

static void
seglog_append_small(struct seglog *l, uint8_t type,
    const struct seg_piece *piece, size_t n, uint64_t size)
{
	struct seg_piece whole;
	uint8_t *rec, *p;

	if (size > l->o.buffer_bytes - l->wkept - l->wlen) {
		memmove(l->wbuf, l->wbuf + l->wkept, l->wlen);
		l->wkept = 0;
	}
	rec = l->wbuf + l->wkept + l->wlen;
	p = rec + SEG_HEAD_LEN;
	for (size_t i = 0; i < n; i++) {
		memcpy(p, piece[i].data, piece[i].len);
		p += piece[i].len;
	}
	whole = (struct seg_piece){ rec + SEG_HEAD_LEN,
	    (size_t)(p - rec) - SEG_HEAD_LEN };
	seg_head_pack(rec, &l->t.h, seglog_end(l), type, &whole, 1);
	memset(p, 0, (size_t)(size - (uint64_t)(p - rec)));
	l->wlen += (size_t)size;
}

int
seglog_append(struct seglog *l, uint8_t type, const struct seg_piece *piece,
    size_t n, struct seglog_pos *ret, struct why *why)
{
	struct seglog_pos pos;
	uint64_t size, len = 0;
	int r;

	for (size_t i = 0; i < n; i++)
		len += piece[i].len;
	if (len > SEG_RECORD_MAX)
		return why_set(why, -EMSGSIZE, "%s: record of %" PRIu64
		    " bytes", l->dir, len);
	assert(l->t.fd >= 0 && l->t.scanned && !l->t.closed);
	size = seg_record_size(len);
	if (size > l->o.buffer_bytes - l->wlen) {
		r = seglog_flush(l, why);
		if (r < 0)
			return r;
	}
	pos = (struct seglog_pos){ seglog_tail(l), (uint32_t)seglog_end(l) };
	if (size > l->o.buffer_bytes) {
		r = seglog_append_large(l, type, piece, n, size, why);
		if (r < 0)
			return r;
	} else {
		seglog_append_small(l, type, piece, n, size);
	}
	*ret = pos;
	return 0;
}

void
seglog_stamp(struct seglog *l, struct seglog_stamp stamp)
{
	l->stamp = stamp;
	/* After a rollback the file holds less than it was stamped with. */
	for (int i = 0; i < SEGLOG_STAMPS; i++)
		if (l->t.stamp.v[i] > stamp.v[i])
			l->t.stamp.v[i] = stamp.v[i];
}

struct seglog_stamp
seglog_durable(const struct seglog *l)
{
	return l->durable;
}

struct seglog_pos
seglog_mark(const struct seglog *l)
{
	return (struct seglog_pos){ seglog_tail(l), (uint32_t)seglog_end(l) };
}

void
seglog_rollback(struct seglog *l, struct seglog_pos mark)
{
	assert(mark.segno == seglog_tail(l) && mark.off <= seglog_end(l));
	assert(!l->round.active || !l->round.tail ||
	    l->round.tail_written <= mark.off);
	if (mark.off >= l->t.written) {
		l->wlen = mark.off - l->t.written;
		return;
	}
	/*
	 * Whole records behind the end would come to life when the tail is
	 * scanned: they are cut off before anything else is written.
	 */
	l->wlen = l->wkept = 0;
	l->t.written = mark.off;
	l->t.reserved = mark.off;
	l->t.cut = true;
	if (l->t.synced > mark.off)
		l->t.synced = mark.off;
	(void)!seglog_flush(l, NULL);	/* else with the next flush */
}

int
seglog_flush(struct seglog *l, struct why *why)
{
	int r;

	if (l->t.fd < 0)
		return 0;
	if (l->t.cut) {
		r = sys->ftruncate(l->t.fd, l->t.written);
		if (r < 0)
			return why_errno(why, r, "%s: cut segment %" PRIu32,
			    l->dir, seglog_tail(l));
		l->t.cut = false;
	}
	if (l->wlen > 0) {
		r = sys_pwrite_all(l->t.fd, l->wbuf + l->wkept, l->wlen,
		    l->t.written);
		if (r < 0)
			return why_errno(why, r, "%s: write segment %" PRIu32
			    " at %" PRIu64, l->dir, seglog_tail(l),
			    l->t.written);
		l->t.written += l->wlen;
		if (l->o.keep_written)
			l->wkept += l->wlen;
		l->wlen = 0;
	}
	l->t.stamp = l->stamp;
	return 0;
}

void
seglog_relax(struct seglog *l)
{
	if (l->wlen == 0) {
		l->wkept = 0;
		mem_forget(l->wbuf, l->o.buffer_bytes);
	}
	buf_free(&l->scratch);
}

bool
seglog_dirty(const struct seglog *l)
{
	return l->wlen > 0 || l->t.cut;
}

/* --- removal --------------------------------------------------------------- */

void
seglog_forget(struct seglog *l, uint32_t segno)
{
	long i = seglog_index(l, segno);

	if (i < 0)
		return;
	l->bytes -= l->files[i].size;
	memmove(&l->files[i], &l->files[i + 1],
	    (l->n - (size_t)i - 1) * sizeof *l->files);
	l->n--;
	seglog_fd_drop(l, segno);
}

int
seglog_remove(struct seglog *l, uint32_t segno, struct why *why)
{
	char name[SEGLOG_NAME_LEN];
	int r;

	assert(segno != seglog_tail(l));
	if (l->o.read_only)
		return why_errno(why, -EROFS, "%s: only looked at", l->dir);
	seglog_name(l, name, segno);
	/* Before, so that the last descriptor is sys_close_deleted's. */
	seglog_fd_drop(l, segno);
	r = sys->unlinkat(l->dirfd, name, 0);
	if (r < 0 && r != -ENOENT)
		return why_errno(why, r, "%s/%s: delete", l->dir, name);
	seglog_forget(l, segno);
	seglog_pend_remove(l, segno);
	l->unlink_gen = ++l->dir_gen;
	return 0;
}

bool
seglog_removals_pending(const struct seglog *l)
{
	return l->unlink_gen > l->dir_synced;
}
