/*
 * seglog_open: what a directory holds: which files are segments, which of
 * them is the tail, and what is none of ours.
 *
 * A crash leaves behind: a newest file that is empty, or without a header, or
 * not there at all; a tail with half a record; segments that were deleted but
 * are back. The first three are met here, the last by the owner.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/sys.h"
#include "store/seglog.h"
#include "store/seglog_int.h"

#define OPEN_FOREIGN_MAX	256	/* foreign files looked at */
#define OPEN_PENDS		8	/* when the header does not say */

struct found {
	struct seglog	*l;
	char		*foreign[OPEN_FOREIGN_MAX];
	size_t		 foreigns;
};

/* "0000000001.seg" */
static bool
open_parse_name(const char *name, uint32_t *ret_segno)
{
	uint64_t no = 0;

	for (int i = 0; i < 10; i++) {
		if (name[i] < '0' || name[i] > '9')
			return false;
		no = no * 10 + (uint64_t)(name[i] - '0');
	}
	if (strcmp(name + 10, ".seg") != 0 || no == 0 || no >= UINT32_MAX)
		return false;
	*ret_segno = (uint32_t)no;
	return true;
}

static int
open_on_name(void *arg, const char *name)
{
	struct found *fo = arg;
	struct seglog *l = fo->l;
	uint32_t segno;

	if (!open_parse_name(name, &segno)) {
		if (fo->foreigns < OPEN_FOREIGN_MAX)
			fo->foreign[fo->foreigns++] = mem_strdup(name);
		return 0;
	}
	if (l->n == l->cap) {
		l->cap = l->cap == 0 ? 16 : l->cap * 2;
		l->files = mem_grow(l->files, l->cap, sizeof *l->files);
	}
	l->files[l->n++] = (struct seglog_file){ .segno = segno,
	    .named = segno };
	if (segno >= l->next_segno)
		l->next_segno = segno + 1;
	return 0;
}

static int
open_cmp(const void *a, const void *b)
{
	const struct seglog_file *x = a, *y = b;

	return x->segno < y->segno ? -1 : x->segno > y->segno;
}

/* 1: a regular file, and its size; 0: something else; -errno. */
static int
open_stat(struct seglog *l, const char *name, uint64_t *ret_size)
{
	struct sys_stat st;
	int fd, r;

	fd = sys->openat(l->dirfd, name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW,
	    0);
	if (fd < 0)
		return fd;
	r = sys->fstat(fd, &st);
	(void)sys->close(fd);	/* only looked at */
	if (r < 0)
		return r;
	*ret_size = st.size;
	/* Directories are others' places (spool/records): never moved. */
	return st.is_regular ? 1 : 0;
}

static void
open_foreign(struct seglog *l, const char *name)
{
	uint64_t size;

	if (open_stat(l, name, &size) == 1)
		seglog_set_aside(l, name, 0, size, "not a segment file");
}

static int
open_sizes(struct seglog *l, struct why *why)
{
	char name[SEGLOG_NAME_LEN];
	size_t kept = 0;
	uint64_t size;
	int r;

	for (size_t i = 0; i < l->n; i++) {
		seglog_name(l, name, l->files[i].segno);
		size = 0;
		r = open_stat(l, name, &size);
		if (r == -EMFILE || r == -ENFILE || r == -ENOMEM)
			return why_errno(why, r, "%s/%s", l->dir, name);
		if (r == 0 || r == -ELOOP || r == -ENOENT)
			continue;
		/* Unreadable now is not gone: it stays, its size unknown. */
		l->files[kept] = l->files[i];
		l->files[kept++].size = size;
		l->bytes += size;
	}
	l->n = kept;
	return 0;
}

/* What a file's own header says, for open_misnamed(). */
struct own {
	uint32_t	segno;		/* 0: no sound header of this log */
	uint8_t		instance[16];
};

static struct own
open_own(struct seglog *l, uint32_t segno)
{
	uint8_t head[SEG_HEADER_LEN];
	char name[SEGLOG_NAME_LEN];
	struct own own = { 0 };
	struct seg_header h;
	int fd, r;

	seglog_name(l, name, segno);
	fd = sys->openat(l->dirfd, name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW,
	    0);
	if (fd < 0)
		return own;
	r = sys_pread_all(fd, head, sizeof head, 0);
	(void)sys->close(fd);	/* only read */
	if (r == 0 && seg_header_unpack(&h, head, sizeof head, NULL) == 0 &&
	    h.kind == l->o.kind && h.segno < UINT32_MAX) {
		own.segno = (uint32_t)h.segno;
		memcpy(own.instance, h.instance, sizeof own.instance);
	}
	return own;
}

/* May the i-th file go by the number in its header: is that nobody's? */
static bool
open_may_move(const struct seglog *l, const struct own *own, size_t i)
{
	for (size_t k = 0; k < l->n; k++) {
		bool moves = own[k].segno != 0 &&
		    own[k].segno != l->files[k].named;

		if (k != i && (moves ? own[k].segno : l->files[k].named) ==
		    own[i].segno)
			return false;
	}
	return true;
}

/*
 * Segments of this log under the names of others (a restored backup, a slip of
 * the hand) are whole: they go by the number in their header, where their
 * files are.
 */
static void
open_misnamed(struct seglog *l)
{
	struct own *own = mem_zalloc(l->n * sizeof *own);
	const uint8_t *instance = NULL;
	char name[SEGLOG_NAME_LEN], reason[80];
	bool again = true;

	for (size_t i = l->n; i-- > 0;) {
		own[i] = open_own(l, l->files[i].segno);
		if (own[i].segno == l->files[i].segno && instance == NULL)
			instance = own[i].instance;
	}
	for (size_t i = l->n; i-- > 0 && instance == NULL;)
		if (own[i].segno != 0)
			instance = own[i].instance;
	for (size_t i = 0; i < l->n; i++)
		if (own[i].segno != 0 && memcmp(own[i].instance, instance,
		    sizeof own[i].instance) != 0)
			own[i].segno = 0;
	/* One that stays may be in the way of another. */
	while (again) {
		again = false;
		for (size_t i = 0; i < l->n; i++)
			if (own[i].segno != 0 && own[i].segno !=
			    l->files[i].named && !open_may_move(l, own, i)) {
				own[i].segno = 0;
				again = true;
			}
	}
	for (size_t i = 0; i < l->n; i++) {
		if (own[i].segno == 0 || own[i].segno == l->files[i].named)
			continue;
		seglog_name(l, name, l->files[i].segno);
		(void)snprintf(reason, sizeof reason, "this is segment %"
		    PRIu32 " under another name; it is read as that",
		    own[i].segno);
		if (l->o.damaged != NULL)
			l->o.damaged(l->o.arg, name, 0, 0, reason);
	}
	for (size_t i = 0; i < l->n; i++) {
		if (own[i].segno != 0)
			l->files[i].segno = own[i].segno;
		if (l->files[i].segno >= l->next_segno)
			l->next_segno = l->files[i].segno + 1;
	}
	qsort(l->files, l->n, sizeof *l->files, open_cmp);
	free(own);
}

static int
open_list(struct seglog *l, struct why *why)
{
	struct found fo = { .l = l };
	uint32_t max;
	int r;

	l->next_segno = 1;
	r = sys->list(l->dirfd, open_on_name, &fo);
	if (r < 0)
		(void)why_errno(why, r, "%s", l->dir);
	max = quar_max_segno(&l->quar);
	if (max >= l->next_segno)
		l->next_segno = max + 1;
	if (r == 0 && l->n > 0) {
		qsort(l->files, l->n, sizeof *l->files, open_cmp);
		open_misnamed(l);
		r = open_sizes(l, why);
	}
	for (size_t i = 0; i < fo.foreigns; i++) {
		if (r == 0)
			open_foreign(l, fo.foreign[i]);
		free(fo.foreign[i]);
	}
	return r;
}

/* Segments that the last process may not have synced. */
static void
open_pends(struct seglog *l, uint32_t from)
{
	struct seglog_pend *p;
	char name[SEGLOG_NAME_LEN];
	size_t i = l->n - 1;
	int fd;

	if (l->o.read_only)
		return;
	while (i > 0 && l->files[i - 1].segno >= from &&
	    l->n - i < SEGLOG_PENDS / 2)
		i--;
	for (; i + 1 < l->n; i++) {
		seglog_name(l, name, l->files[i].segno);
		fd = sys->openat(l->dirfd, name, O_RDWR, 0);
		if (fd < 0)
			continue;
		p = &l->pend[l->pends++];
		*p = (struct seglog_pend){ .segno = l->files[i].segno,
		    .fd = fd, .written = l->files[i].size };
	}
}

/* An empty newest file is what a crash leaves of a creation. */
static bool
open_drop_empty(struct seglog *l, const char *name, uint32_t segno,
    uint64_t size)
{
	if (size > 0 || l->o.read_only)
		return false;
	if (sys->unlinkat(l->dirfd, name, 0) < 0)
		return false;
	l->unlink_gen = ++l->dir_gen;
	seglog_forget(l, segno);
	return true;
}

/* Make the newest usable file the tail. */
static int
open_tail(struct seglog *l, struct why *why)
{
	char name[SEGLOG_NAME_LEN];
	struct seglog_file f;
	struct seg_header h;
	int fd, r;

	while (l->n > 0) {
		f = l->files[l->n - 1];
		seglog_name(l, name, f.segno);
		if (open_drop_empty(l, name, f.segno, f.size))
			continue;
		fd = sys->openat(l->dirfd, name,
		    l->o.read_only ? O_RDONLY : O_RDWR, 0);
		/* Unreadable: it is kept, and the next append starts anew. */
		if (fd == -EIO)
			return 0;
		if (fd < 0)
			return why_errno(why, fd, "%s/%s", l->dir, name);
		r = seglog_header(l, fd, f.segno, f.size, &h, why);
		if (r < 0)
			(void)sys->close(fd);	/* only read */
		if (r == -EBADMSG)
			continue;
		if (r < 0)
			return 0;
		l->bytes -= f.size;
		l->t = (struct seglog_tail){ .fd = fd, .h = h,
		    .start = SEG_HEADER_LEN, .written = f.size,
		    .reserved = f.size };
		memcpy(l->instance, h.instance, sizeof l->instance);
		open_pends(l, h.unsynced_from);
		return 0;
	}
	return 0;
}

/*
 * The instance is that of the newest segment with a sound header: it is
 * needed before a damaged one can be repaired.
 */
static void
open_instance(struct seglog *l)
{
	uint8_t head[SEG_HEADER_LEN];
	char name[SEGLOG_NAME_LEN];
	struct seg_header h;
	int fd, r;

	for (size_t i = l->n; i-- > 0;) {
		seglog_name(l, name, l->files[i].segno);
		fd = sys->openat(l->dirfd, name, O_RDONLY, 0);
		if (fd < 0)
			continue;
		r = sys_pread_all(fd, head, sizeof head, 0);
		(void)sys->close(fd);	/* only read */
		if (r < 0 || seg_header_unpack(&h, head, sizeof head,
		    NULL) < 0 || h.kind != l->o.kind ||
		    h.segno != l->files[i].segno)
			continue;
		memcpy(l->instance, h.instance, sizeof l->instance);
		return;
	}
}

struct known {
	int		 dirfd;
	const char	*dir;
	struct why	*why;
	int		 error;	/* of one that could not be read */
};

/* It may be of any version. */
static int
known_unread(struct known *k, int err, const char *name)
{
	if (k->error == 0)
		k->error = why_errno(k->why, err, "%s/%s", k->dir, name);
	return 0;
}

static int
known_on_name(void *arg, const char *name)
{
	struct known *k = arg;
	uint8_t head[SEG_HEADER_LEN];
	struct seg_header h;
	struct why reason;
	uint32_t segno;
	int fd, r;

	if (!open_parse_name(name, &segno))
		return 0;
	fd = sys->openat(k->dirfd, name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW,
	    0);
	/* A link, or a socket, is nobody's segment. */
	if (fd == -ELOOP || fd == -ENXIO)
		return 0;
	if (fd < 0)
		return known_unread(k, fd, name);
	r = sys_pread_all(fd, head, sizeof head, 0);
	(void)sys->close(fd);	/* only read */
	if (r < 0 && r != -ENODATA && r != -EISDIR)
		return known_unread(k, r, name);
	if (r < 0 || seg_header_unpack(&h, head, sizeof head, &reason) !=
	    -EPROTONOSUPPORT)
		return 0;
	return why_set(k->why, -EPROTONOSUPPORT, "%s/%s was written by a newer "
	    "lumnid: %s",
	    k->dir, name, reason.text);
}

int
seglog_known(const char *dir, struct why *why)
{
	struct known k = { .dirfd = sys->open_dir(dir), .dir = dir,
	    .why = why };
	int r;

	if (k.dirfd == -ENOENT)
		return 0;
	if (k.dirfd < 0)
		return why_errno(why, k.dirfd, "%s", dir);
	r = sys->list(k.dirfd, known_on_name, &k);
	(void)sys->close(k.dirfd);	/* only read */
	if (r < 0 && r != -EPROTONOSUPPORT)
		return why_errno(why, r, "%s", dir);
	return r < 0 ? r : k.error;
}

static const char *
open_log_name(uint32_t kind)
{
	switch (kind) {
	case SEGLOG_JOURNAL:
		return "journal";
	case SEGLOG_SPOOL:
		return "spool";
	default:
		return "records";
	}
}

int
seglog_open(const char *dir, const char *quarantine,
    const struct seglog_options *o, struct seglog **ret, struct why *why)
{
	struct seglog *l = mem_zalloc(sizeof *l);
	int r;

	l->o = *o;
	l->dir = mem_strdup(dir);
	l->dirfd = -1;
	l->t.fd = -1;
	for (size_t i = 0; i < SEGLOG_FDS; i++)
		l->fds[i].fd = -1;
	memcpy(l->instance, o->instance, sizeof l->instance);
	buf_init(&l->scratch, SEG_RECORD_MAX + 4096);
	quar_init(&l->quar, quarantine, open_log_name(o->kind));
	l->wbuf = mem_alloc(o->buffer_bytes);
	/* The process before may have left the directory unsynced. */
	l->dir_gen = 1;
	r = sys->open_dir(dir);
	if (r < 0) {
		(void)why_errno(why, r, "%s", dir);
		goto out;
	}
	l->dirfd = r;
	r = open_list(l, why);
	if (r < 0)
		goto out;
	open_instance(l);
	r = open_tail(l, why);
out:
	if (r < 0) {
		seglog_close(l);
		return r;
	}
	*ret = l;
	return 0;
}

void
seglog_close(struct seglog *l)
{
	if (l == NULL)
		return;
	/* Nothing is promised of what no round has synced. */
	for (size_t i = 0; i < l->pends; i++)
		(void)sys->close(l->pend[i].fd);
	seglog_fds_close(l);
	if (l->t.fd >= 0)
		(void)sys->close(l->t.fd);
	if (l->dirfd >= 0)
		(void)sys->close(l->dirfd);
	quar_free(&l->quar);
	buf_free(&l->scratch);
	free(l->files);
	free(l->wbuf);
	free(l->dir);
	free(l);
}
