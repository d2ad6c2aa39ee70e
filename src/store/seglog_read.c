/*
 * seglog_read: everything that reads: headers, single records, whole walks;
 * and what happens to what is damaged.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#include "base/sys.h"
#include "store/le.h"
#include "store/seglog.h"
#include "store/seglog_int.h"

#define READ_PIECE	(16u << 10)
#define READ_KEEP	(1u << 20)	/* scratch kept after a walk */

/* --- damage ---------------------------------------------------------------- */

static void
read_tell(struct seglog *l, const char *name, uint64_t off, uint64_t len,
    const char *reason)
{
	l->damage_n++;
	l->damage_bytes += len;
	if (l->o.damaged != NULL)
		l->o.damaged(l->o.arg, name, off, len, reason);
}

void
seglog_damaged(struct seglog *l, int fd, uint32_t segno, uint64_t off,
    uint64_t len, bool zero, const char *reason)
{
	char name[SEGLOG_NAME_LEN];

	if (l->told_segno == segno && l->told_off == off)
		return;
	l->told_segno = segno;
	l->told_off = off;
	seglog_name(l, name, segno);
	/* Copied before: it was told of then. */
	if (!zero && !l->o.read_only && quar_copy(&l->quar, fd, name, off,
	    len, reason) == -EEXIST)
		return;
	read_tell(l, name, off, len, reason);
}

void
seglog_tell(struct seglog *l, uint32_t segno, uint64_t bytes,
    const char *reason)
{
	char name[SEGLOG_NAME_LEN];

	seglog_name(l, name, segno);
	read_tell(l, name, 0, bytes, reason);
}

void
seglog_set_aside(struct seglog *l, const char *name, uint32_t segno,
    uint64_t size, const char *reason)
{
	if (!l->o.read_only && quar_move(&l->quar, l->dirfd, name,
	    reason) == 0)
		l->unlink_gen = ++l->dir_gen;
	read_tell(l, name, 0, size, reason);
	if (segno != 0)
		seglog_forget(l, segno);
}

/* --- headers --------------------------------------------------------------- */

static int
read_first_record(void *arg, uint8_t type, const uint8_t *data, uint32_t len,
    uint64_t off)
{
	return 1;
}

/* Does a record in the file prove that this would be its header? */
static bool
read_proves(struct seglog *l, int fd, uint64_t size,
    const struct seg_header *h)
{
	struct seg_scan s = { .record = read_first_record };
	uint64_t end;

	return seg_scan(fd, h, SEG_HEADER_LEN, size, &s, &l->scratch, &end,
	    NULL) == 1;
}

static void
read_repair(struct seglog *l, int fd, uint32_t segno,
    const struct seg_header *h)
{
	uint8_t head[SEG_HEADER_LEN];
	char name[SEGLOG_NAME_LEN];
	int wfd;

	seglog_damaged(l, fd, segno, 0, SEG_HEADER_LEN, false,
	    "damaged header, repaired");
	if (l->o.read_only)
		return;
	seg_header_pack(head, h);
	seglog_name(l, name, segno);
	wfd = sys->openat(l->dirfd, name, O_RDWR, 0);
	if (wfd < 0)
		return;
	/* If it cannot be written it is repaired again next time. */
	(void)!sys_pwrite_all(wfd, head, sizeof head, 0);
	(void)sys->close(wfd);
}

int
seglog_header(struct seglog *l, int fd, uint32_t segno, uint64_t size,
    struct seg_header *ret, struct why *why)
{
	uint8_t head[SEG_HEADER_LEN] = { 0 };
	char name[SEGLOG_NAME_LEN];
	struct seg_header h = { 0 };
	struct why reason;
	int r, read_error;

	read_error = sys_pread_all(fd, head, sizeof head, 0);
	if (read_error == -ENODATA)
		read_error = 0;
	r = seg_header_unpack(&h, head,
	    size < sizeof head ? (size_t)size : sizeof head, &reason);
	if (r == 0 && h.kind != l->o.kind)
		r = why_set(&reason, -EPROTONOSUPPORT, "a segment of another "
		    "log");
	if (r == 0 && h.segno != segno)
		r = why_set(&reason, -EPROTONOSUPPORT, "this is segment "
		    "%" PRIu64 " under another name", h.segno);
	if (r == -EBADMSG) {
		h = (struct seg_header){ .version = SEG_VERSION,
		    .kind = l->o.kind, .segno = segno };
		memcpy(h.instance, l->instance, sizeof h.instance);
		h.unsynced_from = segno > 8 ? segno - 8 : 1;
		if (read_proves(l, fd, size, &h)) {
			read_repair(l, fd, segno, &h);
			r = 0;
		}
	}
	if (r == 0) {
		*ret = h;
		return 0;
	}
	/* A file that cannot be read today stays where it is. */
	if (read_error < 0)
		return why_errno(why, read_error, "%s: read header of "
		    "%" PRIu32, l->dir, segno);
	seglog_name(l, name, segno);
	seglog_set_aside(l, name, segno, size, reason.text);
	return why_set(why, -EBADMSG, "%s/%s: %s", l->dir, name, reason.text);
}

/* --- open files ------------------------------------------------------------ */

/* Segments that are read in turn follow each other: each has a place. */
static struct seglog_fd *
read_fd_place(struct seglog *l, uint32_t segno)
{
	return &l->fds[segno % SEGLOG_FDS];
}

static void
read_fd_close(struct seglog_fd *f)
{
	if (f->fd >= 0)
		(void)sys->close(f->fd);	/* only read */
	f->fd = -1;
}

void
seglog_fd_drop(struct seglog *l, uint32_t segno)
{
	struct seglog_fd *f = read_fd_place(l, segno);

	if (f->segno == segno)
		read_fd_close(f);
}

void
seglog_fds_close(struct seglog *l)
{
	for (size_t i = 0; i < SEGLOG_FDS; i++)
		read_fd_close(&l->fds[i]);
}

static int
read_fd_open(struct seglog *l, uint32_t segno, struct why *why)
{
	char name[SEGLOG_NAME_LEN];
	struct seglog_info info;
	struct seglog_fd *f = read_fd_place(l, segno);
	int fd, r;

	if (!seglog_find(l, segno, &info))
		return why_set(why, -EBADMSG, "%s: no segment %" PRIu32,
		    l->dir, segno);
	seglog_name(l, name, segno);
	fd = sys->openat(l->dirfd, name, O_RDONLY | O_NOFOLLOW, 0);
	if (fd == -EMFILE || fd == -ENFILE) {
		/* What is kept open is kept for speed alone. */
		seglog_fds_close(l);
		fd = sys->openat(l->dirfd, name, O_RDONLY | O_NOFOLLOW, 0);
	}
	if (fd < 0)
		return why_errno(why, fd, "%s/%s", l->dir, name);
	read_fd_close(f);
	r = seglog_header(l, fd, segno, info.size, &f->h, why);
	if (r < 0) {
		(void)sys->close(fd);	/* only read */
		return r;
	}
	f->fd = fd;
	f->segno = segno;
	return 0;
}

int
seglog_fd(struct seglog *l, uint32_t segno, int *ret_fd,
    const struct seg_header **ret, struct why *why)
{
	struct seglog_fd *f = read_fd_place(l, segno);
	int r;

	if (segno == seglog_tail(l)) {
		*ret_fd = l->t.fd;
		*ret = &l->t.h;
		return 0;
	}
	if (f->fd < 0 || f->segno != segno) {
		r = read_fd_open(l, segno, why);
		if (r < 0)
			return r;
	}
	*ret_fd = f->fd;
	*ret = &f->h;
	return 0;
}

/* --- records --------------------------------------------------------------- */

/*
 * len bytes at off of a segment. Returns 0, -ENODATA (behind its end) or
 * -errno.
 */
static int
read_bytes(struct seglog *l, int fd, struct seglog_pos at, uint64_t off,
    void *dst, size_t len, struct why *why)
{
	uint64_t from_file = len, kept = l->t.written - l->wkept;
	int r;

	if (at.segno == seglog_tail(l) && off + len > kept) {
		if (off + len > seglog_end(l))
			return why_set(why, -ENODATA, "%s: %" PRIu32 " ends "
			    "before %" PRIu64, l->dir, at.segno, off + len);
		from_file = off < kept ? kept - off : 0;
		memcpy((uint8_t *)dst + from_file, l->wbuf +
		    (off + from_file - kept), (size_t)(len - from_file));
	}
	if (from_file == 0)
		return 0;
	r = sys_pread_all(fd, dst, (size_t)from_file, off);
	if (r < 0)
		return why_errno(why, r, "%s: read %" PRIu32 " at %" PRIu64,
		    l->dir, at.segno, off);
	return 0;
}

int
seglog_read(struct seglog *l, struct seglog_pos at, uint32_t skip, void *dst,
    size_t len, struct why *why)
{
	const struct seg_header *h;
	int fd, r;

	r = seglog_fd(l, at.segno, &fd, &h, why);
	if (r < 0)
		return r;
	return read_bytes(l, fd, at, (uint64_t)at.off + SEG_HEAD_LEN + skip,
	    dst, len, why);
}

int
seglog_head(struct seglog *l, struct seglog_pos at, uint8_t *ret_type,
    uint32_t *ret_len, void *dst, size_t max, size_t *ret_n, struct why *why)
{
	uint8_t rec[SEG_HEAD_LEN + SEGLOG_PEEK_MAX];
	const struct seg_header *h;
	struct seglog_info info;
	size_t n;
	int fd, r;

	assert(max <= SEGLOG_PEEK_MAX);
	r = seglog_fd(l, at.segno, &fd, &h, why);
	if (r < 0)
		return r;
	if (!seglog_find(l, at.segno, &info) ||
	    at.off + SEG_HEAD_LEN > info.size)
		return why_set(why, -ENODATA, "%s: %" PRIu32 " ends before "
		    "%" PRIu32, l->dir, at.segno, at.off);
	n = SEG_HEAD_LEN + max;
	if (n > info.size - at.off)
		n = (size_t)(info.size - at.off);
	r = read_bytes(l, fd, at, at.off, rec, n, why);
	/* A crash may have taken the padding of the last record. */
	for (int i = 1; i < SEG_ALIGN && r == -ENODATA && n > SEG_HEAD_LEN; i++)
		r = read_bytes(l, fd, at, at.off, rec, --n, why);
	if (r < 0)
		return r;
	if (!seg_head_unpack(h, at.off, rec, ret_type, ret_len) ||
	    at.off + SEG_HEAD_LEN + (uint64_t)*ret_len > info.size)
		return why_set(why, -EBADMSG, "%s: %" PRIu32 " at %" PRIu32
		    ": damaged head", l->dir, at.segno, at.off);
	n -= SEG_HEAD_LEN;
	if (n > *ret_len)
		n = *ret_len;
	memcpy(dst, rec + SEG_HEAD_LEN, n);
	*ret_n = n;
	return 0;
}

/* A record did not prove right. */
static int
read_bad(struct seglog *l, int fd, struct seglog_pos at, uint64_t len,
    struct why *why)
{
	struct seglog_info info;
	uint64_t size = seg_record_size(len);

	if (seglog_find(l, at.segno, &info)) {
		if (at.off >= info.size)
			size = 0;
		else if (size > info.size - at.off)
			size = info.size - at.off;
	}
	seglog_damaged(l, fd, at.segno, at.off, size, size == 0,
	    "checksum of a record is wrong");
	return why_set(why, -EBADMSG, "%s: %" PRIu32 " at %" PRIu32
	    ": damaged record", l->dir, at.segno, at.off);
}

int
seglog_get_known(struct seglog *l, struct seglog_pos at, uint32_t len,
    uint8_t *rec, struct why *why)
{
	const struct seg_header *h;
	int fd, r;

	r = seglog_fd(l, at.segno, &fd, &h, why);
	if (r < 0)
		return r;
	r = read_bytes(l, fd, at, at.off, rec, SEG_HEAD_LEN + (size_t)len,
	    why);
	if (r < 0 && r != -ENODATA)
		return r;
	if (r == 0 && seg_record_ok(h, at.off, rec, len))
		return 0;
	return read_bad(l, fd, at, len, why);
}

int
seglog_get(struct seglog *l, struct seglog_pos at, uint8_t *ret_type,
    struct buf *buf, const uint8_t **ret_data, uint32_t *ret_len,
    struct why *why)
{
	uint8_t type, none, *rec;
	uint32_t len;
	size_t n;
	int r;

	r = seglog_head(l, at, &type, &len, &none, 0, &n, why);
	if (r < 0)
		return r == -ENODATA ? -EBADMSG : r;
	buf_reset(buf, SIZE_MAX);
	rec = buf_room(buf, SEG_HEAD_LEN + (size_t)len);
	if (rec == NULL)
		return why_errno(why, buf_error(buf), "%s: record of %" PRIu32
		    " bytes", l->dir, len);
	r = seglog_get_known(l, at, len, rec, why);
	if (r < 0)
		return r;
	buf->len = SEG_HEAD_LEN + (size_t)len;
	*ret_type = type;
	*ret_data = rec + SEG_HEAD_LEN;
	*ret_len = len;
	return 0;
}

int
seglog_verify(struct seglog *l, struct seglog_pos at, struct why *why)
{
	uint8_t piece[READ_PIECE];
	const struct seg_header *h;
	struct seg_sum sum;
	uint64_t done = 0;
	uint32_t len;
	uint8_t type;
	size_t n;
	int fd, r;

	r = seglog_head(l, at, &type, &len, piece, 0, &n, why);
	if (r == 0)
		r = seglog_fd(l, at.segno, &fd, &h, why);
	if (r < 0)
		return r == -ENODATA ? -EBADMSG : r;
	r = read_bytes(l, fd, at, at.off, piece, SEG_HEAD_LEN, why);
	if (r < 0)
		return r;
	seg_sum_begin(&sum, h, at.off, piece);
	while (done < len && r == 0) {
		n = len - done < sizeof piece ? (size_t)(len - done) :
		    sizeof piece;
		r = read_bytes(l, fd, at, at.off + SEG_HEAD_LEN + done, piece,
		    n, why);
		if (r == 0)
			seg_sum_add(&sum, piece, n);
		done += n;
	}
	if (!seg_sum_end(&sum) && (r == 0 || r == -ENODATA))
		return read_bad(l, fd, at, len, why);
	return r;
}

/* --- walks ----------------------------------------------------------------- */

struct walk {
	struct seglog	*l;
	int		 fd;
	uint32_t	 segno;
	bool		 check;		/* tell only the caller of damage */
	seglog_record_fn *fn;
	void		(*damage)(void *, uint64_t off, uint64_t len);
	void		*arg;
	uint64_t	 first_end;	/* of a first record of checkpoints */
};

static int
walk_record(void *arg, uint8_t type, const uint8_t *data, uint32_t len,
    uint64_t off)
{
	struct walk *w = arg;

	if (off == SEG_HEADER_LEN && type == w->l->o.checkpoint_type)
		w->first_end = off + seg_record_size(len);
	return w->fn(w->arg, type, data, len,
	    (struct seglog_pos){ w->segno, (uint32_t)off });
}

static void
walk_damage(void *arg, uint64_t off, uint64_t len)
{
	struct walk *w = arg;

	if (w->damage != NULL)
		w->damage(w->arg, off, len);
	if (!w->check)
		seglog_damaged(w->l, w->fd, w->segno, off, len, false,
		    "no valid record");
}

/* Are the bytes all zero? Unreadable ones are not. */
static bool
walk_zero(int fd, uint64_t from, uint64_t to)
{
	uint8_t piece[READ_PIECE];
	size_t n;

	while (from < to) {
		n = to - from < sizeof piece ? (size_t)(to - from) :
		    sizeof piece;
		if (sys_pread_all(fd, piece, n, from) < 0)
			return false;
		for (size_t i = 0; i < n; i++)
			if (piece[i] != 0)
				return false;
		from += n;
	}
	return true;
}

/* The walk of the tail is over: cut off what is no record. */
static void
walk_cut(struct walk *w, uint64_t end, const struct seg_scan *s)
{
	struct seglog *l = w->l;

	l->t.scanned = true;
	if (w->first_end != 0)
		l->t.start = w->first_end;
	if (s->read_error != 0 || l->o.read_only) {
		/* What cannot be read today is not thrown away. */
		l->t.closed = true;
		return;
	}
	if (end >= l->t.written) {
		/* The padding of the last record may be missing. */
		l->t.written = end;
		l->wkept = 0;
		return;
	}
	if (!walk_zero(w->fd, end, l->t.written))
		seglog_damaged(l, w->fd, w->segno, end, l->t.written - end,
		    false, "torn tail, cut off");
	l->t.written = l->t.reserved = end;
	l->wkept = 0;
	if (l->t.synced > end)
		l->t.synced = end;
	l->t.cut = true;
	(void)!seglog_flush(l, NULL);	/* else with the next flush */
}

/* The walk of a rolled segment is over: the rest should be empty. */
static void
walk_rest(struct walk *w, uint64_t end, uint64_t size)
{
	if (end >= size)
		return;
	if (w->damage != NULL)
		w->damage(w->arg, end, size - end);
	if (!w->check)
		seglog_damaged(w->l, w->fd, w->segno, end, size - end,
		    walk_zero(w->fd, end, size), "no valid record");
}

static int
walk_segment(struct walk *w, uint32_t from, struct why *why)
{
	struct seg_scan s = { .record = walk_record, .damage = walk_damage,
	    .arg = w };
	const struct seg_header *h;
	struct seg_header copy;
	struct seglog_info info;
	struct seglog *l = w->l;
	struct buf buf;
	uint64_t end = 0;
	int r;

	r = seglog_fd(l, w->segno, &w->fd, &h, why);
	if (r < 0)
		return r;
	copy = *h;	/* callbacks may read other segments */
	if (!seglog_find(l, w->segno, &info))
		return why_set(why, -EBADMSG, "%s: no segment %" PRIu32,
		    l->dir, w->segno);
	/* Walks may nest: each takes the scratch, or memory of its own. */
	buf = l->scratch;
	buf_init(&l->scratch, buf.max);
	r = seg_scan(w->fd, &copy, from == 0 ? SEG_HEADER_LEN : from,
	    info.written, &s, &buf, &end, why);
	buf_reset(&buf, READ_KEEP);
	buf_free(&l->scratch);
	l->scratch = buf;
	if (r != 0)
		return r;
	if (w->segno != seglog_tail(l) || w->check)
		walk_rest(w, end, info.written);
	else if (!l->t.scanned)
		walk_cut(w, end, &s);
	return 0;
}

int
seglog_scan(struct seglog *l, uint32_t segno, uint32_t from,
    seglog_record_fn *fn, void *arg, struct why *why)
{
	struct walk w = { .l = l, .segno = segno, .fn = fn, .arg = arg };

	return walk_segment(&w, from, why);
}

int
seglog_check(struct seglog *l, uint32_t segno, seglog_record_fn *fn,
    void (*damage)(void *, uint64_t off, uint64_t len), void *arg,
    struct why *why)
{
	struct walk w = { .l = l, .segno = segno, .fn = fn, .arg = arg,
	    .damage = damage, .check = true };

	return walk_segment(&w, 0, why);
}
