/*
 * seglog_sync: what a round of fdatasync makes durable.
 *
 * The log becomes durable from its beginning on: a round covers the segments
 * that were rolled before they were synced, oldest first, and the tail only
 * after all of those. So a stamp of counters says how far it is.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/sys.h"
#include "store/seglog.h"
#include "store/seglog_int.h"

#define SYNC_PIECE	(16u << 10)

void
seglog_pend_tail(struct seglog *l)
{
	struct seglog_pend *p;

	if (l->t.synced >= l->t.written && !l->round.active) {
		(void)sys->close(l->t.fd);	/* all of it is durable */
		return;
	}
	assert(l->pends < SEGLOG_PENDS);
	p = &l->pend[l->pends++];
	*p = (struct seglog_pend){ .segno = seglog_tail(l), .fd = l->t.fd,
	    .h = l->t.h, .synced = l->t.synced, .written = l->t.written,
	    .suspect = l->t.suspect,
	    .in_round = l->round.active && l->round.tail &&
		l->round.tail_segno == seglog_tail(l),
	    .stamp = l->t.stamp };
}

void
seglog_pend_remove(struct seglog *l, uint32_t segno)
{
	for (size_t i = 0; i < l->pends; i++) {
		if (l->pend[i].segno != segno)
			continue;
		l->pend[i].removed = true;
		/* In a round the helper thread may be at work on the fd. */
		if (l->round.active)
			return;
		(void)sys->close(l->pend[i].fd);	/* deleted */
		memmove(&l->pend[i], &l->pend[i + 1],
		    (l->pends - i - 1) * sizeof *l->pend);
		l->pends--;
		return;
	}
}

bool
seglog_unsynced(const struct seglog *l)
{
	return l->dir_gen > l->dir_synced || l->pends > 0 ||
	    (l->t.fd >= 0 && l->t.synced < l->t.written);
}

/*
 * Write [from, to) of a file anew with the bytes it has, so that the kernel
 * holds them dirty again after a failed fdatasync.
 */
static int
sync_rewrite(int fd, uint64_t from, uint64_t to)
{
	uint8_t piece[SYNC_PIECE];
	size_t n;
	int r;

	while (from < to) {
		n = to - from < sizeof piece ? (size_t)(to - from) :
		    sizeof piece;
		r = sys_pread_all(fd, piece, n, from);
		if (r == 0)
			r = sys_pwrite_all(fd, piece, n, from);
		if (r < 0)
			return r;
		from += n;
	}
	return 0;
}

static void
sync_add(struct seglog_sync *set, int fd, bool is_dir)
{
	set->what[set->n].fd = fd;
	set->what[set->n].is_dir = is_dir;
	set->n++;
}

/* Add the rolled segments; true when none is left out. */
static bool
sync_add_pends(struct seglog *l, struct seglog_sync *set, size_t *room)
{
	for (size_t i = 0; i < l->pends; i++) {
		struct seglog_pend *p = &l->pend[i];

		if (p->removed)
			continue;
		if (*room == 0)
			return false;
		/* What cannot be written now keeps the rest waiting, too. */
		if (p->suspect && sync_rewrite(p->fd, p->synced,
		    p->written) < 0)
			return false;
		p->suspect = false;
		p->in_round = true;
		sync_add(set, p->fd, false);
		(*room)--;
		l->round.stamp = p->stamp;
	}
	return true;
}

void
seglog_sync_begin(struct seglog *l, struct seglog_sync *set)
{
	size_t room = SEGLOG_SYNC_MAX - set->n;

	assert(!l->round.active);
	if (l->wlen == 0 && !l->t.cut)
		l->t.stamp = l->stamp;
	l->round = (struct seglog_round){ .active = true,
	    .dir_gen = l->dir_synced,
	    .stamp = l->durable };
	if (room > SEGLOG_SYNC_EACH)
		room = SEGLOG_SYNC_EACH;
	if (room == 0)
		return;
	if (l->dir_gen > l->dir_synced) {
		sync_add(set, l->dirfd, true);
		room--;
		l->round.dir_gen = l->dir_gen;
	}
	if (!sync_add_pends(l, set, &room))
		return;
	if (l->t.fd < 0) {
		/* No tail, so what was stamped holds no more than this. */
		l->round.stamp = l->t.stamp;
		return;
	}
	if (l->t.synced < l->t.written) {
		if (room == 0 || (l->t.suspect && sync_rewrite(l->t.fd,
		    l->t.synced, l->t.written) < 0))
			return;
		l->t.suspect = false;
		sync_add(set, l->t.fd, false);
	}
	l->round.tail = true;
	l->round.tail_segno = seglog_tail(l);
	l->round.tail_written = l->t.written;
	l->round.stamp = l->t.stamp;
}

/* The round is over for a rolled segment: true when it waits no more. */
static bool
sync_end_pend(struct seglog *l, struct seglog_pend *p, bool ok)
{
	bool was_tail = l->round.tail && l->round.tail_segno == p->segno;

	if (p->removed)
		return true;
	if (!p->in_round)
		return p->synced >= p->written;
	p->in_round = false;
	if (ok)
		p->synced = was_tail ? l->round.tail_written : p->written;
	else
		p->suspect = true;
	return p->synced >= p->written;
}

void
seglog_sync_end(struct seglog *l, bool ok)
{
	size_t kept = 0;

	assert(l->round.active);
	for (size_t i = 0; i < l->pends; i++) {
		struct seglog_pend p = l->pend[i];

		if (sync_end_pend(l, &p, ok))
			(void)sys->close(p.fd);	/* durable, or deleted */
		else
			l->pend[kept++] = p;
	}
	l->pends = kept;
	if (l->round.tail && l->round.tail_segno == seglog_tail(l)) {
		if (!ok)
			l->t.suspect = true;
		else if (l->t.synced < l->round.tail_written)
			l->t.synced = l->round.tail_written;
	}
	if (ok) {
		l->dir_synced = l->round.dir_gen;
		l->durable = l->round.stamp;
	}
	l->round.active = false;
}

int
seglog_sync_now(struct seglog *l)
{
	struct seglog_sync set;
	int r = 0, one;

	if (l->o.read_only)
		return 0;
	while (seglog_unsynced(l) && r == 0) {
		set.n = 0;
		seglog_sync_begin(l, &set);
		/* What was suspect and could not be written anew. */
		if (set.n == 0)
			r = -EIO;
		for (size_t i = 0; i < set.n; i++) {
			one = set.what[i].is_dir ? sys->fsync(set.what[i].fd) :
			    sys->fdatasync(set.what[i].fd);
			if (one < 0)
				r = one;
		}
		seglog_sync_end(l, r == 0);
	}
	return r;
}
