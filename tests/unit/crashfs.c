/* crashfs: a file system in memory that loses power. See crashfs.h. */
#include "crashfs.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rand.h"

#define SECTOR		512u
#define BLOCK		4096u
#define FD_BASE		5000
#define FDS		256

/* One thing that is not on the disk yet. */
struct op {
	enum op_type {
		OP_WRITE, OP_CUT, OP_LINK, OP_UNLINK, OP_RENAME
	}		type;
	uint64_t	off, len;	/* OP_WRITE; OP_CUT: len */
	uint8_t		*data;
	char		name[64], to[64];
	struct node	*node;		/* linked or renamed */
	struct node	*dir2;		/* where it was renamed to */
	bool		done;		/* a rename, by way of the other dir */
	int		refs;
};

struct ops {			/* a list of shared ops */
	struct op	**v;
	size_t		n, cap;
};

struct entry {
	char		name[64];
	struct node	*node;
};

struct names {
	struct entry	*v;
	size_t		n, cap;
};

struct bytes {
	uint8_t		*p;
	uint64_t	len, cap;
};

struct node {
	struct node	*all;		/* every node there is */
	bool		is_dir;
	bool		locked;
	struct names	seen, disk;	/* of a directory */
	struct bytes	now, old;	/* of a file: seen, on disk */
	uint64_t	reserved;
	struct ops	pending;
};

static struct {
	struct rng	rng;
	struct node	*all, *root;
	struct { struct node *node; bool used, locks; } fd[FDS];
	uint64_t	calls, at, times;
	enum crashfs_fault fault;
	bool		dead, reads, lie_files, lie_dirs;
	uint64_t	limit;
} fs;

/* --- bytes and names ------------------------------------------------------- */

static void
bytes_size(struct bytes *b, uint64_t len)
{
	if (len > b->cap) {
		b->cap = len * 2;
		b->p = mem_grow(b->p, b->cap, 1);
	}
	if (len > b->len)
		memset(b->p + b->len, 0, len - b->len);
	b->len = len;
}

static void
bytes_copy(struct bytes *dst, const struct bytes *src)
{
	bytes_size(dst, src->len);
	if (src->len > 0)
		memcpy(dst->p, src->p, src->len);
}

static struct node *
names_get(const struct names *ns, const char *name)
{
	for (size_t i = 0; i < ns->n; i++)
		if (strcmp(ns->v[i].name, name) == 0)
			return ns->v[i].node;
	return NULL;
}

static void
names_drop(struct names *ns, const char *name)
{
	for (size_t i = 0; i < ns->n; i++)
		if (strcmp(ns->v[i].name, name) == 0) {
			ns->v[i] = ns->v[--ns->n];
			return;
		}
}

static void
names_set(struct names *ns, const char *name, struct node *node)
{
	names_drop(ns, name);
	if (ns->n == ns->cap) {
		ns->cap = ns->cap == 0 ? 8 : ns->cap * 2;
		ns->v = mem_grow(ns->v, ns->cap, sizeof *ns->v);
	}
	assert(strlen(name) < sizeof ns->v->name);
	strcpy(ns->v[ns->n].name, name);
	ns->v[ns->n++].node = node;
}

static void
names_copy(struct names *dst, const struct names *src)
{
	dst->n = 0;
	for (size_t i = 0; i < src->n; i++)
		names_set(dst, src->v[i].name, src->v[i].node);
}

static struct node *
node_new(bool is_dir)
{
	struct node *n = mem_zalloc(sizeof *n);

	n->is_dir = is_dir;
	n->all = fs.all;
	fs.all = n;
	return n;
}

static void
op_unref(struct op *op)
{
	if (--op->refs > 0)
		return;
	free(op->data);
	free(op);
}

static void
ops_clear(struct ops *l)
{
	for (size_t i = 0; i < l->n; i++)
		op_unref(l->v[i]);
	l->n = 0;
}

static void
ops_add(struct ops *l, struct op *op)
{
	if (l->n == l->cap) {
		l->cap = l->cap == 0 ? 8 : l->cap * 2;
		l->v = mem_grow(l->v, l->cap, sizeof *l->v);
	}
	l->v[l->n++] = op;
	op->refs++;
}

static struct op *
op_new(struct node *on, enum op_type type)
{
	struct op *op = mem_zalloc(sizeof *op);

	op->type = type;
	ops_add(&on->pending, op);
	return op;
}

/* --- reaching the disk ----------------------------------------------------- */

static bool
coin(void)
{
	return (rng_u64(&fs.rng) & 1) != 0;
}

/* One sector of a write, when the power goes. */
static void
lose_sector(struct bytes *disk, uint64_t off, const uint8_t *data, size_t n,
    bool over)
{
	switch (rng_below(&fs.rng, 5)) {
	case 0: case 1:
		memcpy(disk->p + off, data, n);
		break;
	case 2:
		/* A sector is written in one go: over old bytes it is torn. */
		if (over) {
			memcpy(disk->p + off, data, rng_below(&fs.rng, n));
			break;
		}
		for (size_t i = 0; i < n; i++)
			disk->p[off + i] = (uint8_t)rng_u64(&fs.rng);
		break;
	default:
		break;		/* what was there before, or zero bytes */
	}
}

static void
op_write(struct bytes *disk, const struct op *op, bool all)
{
	uint64_t end = op->off + op->len, had = disk->len;

	/* The new length and the new bytes go separate ways. */
	if (all || coin()) {
		if (end > disk->len)
			bytes_size(disk, end);
	}
	for (uint64_t at = op->off; at < end;) {
		uint64_t stop = (at / SECTOR + 1) * SECTOR;

		if (stop > end)
			stop = end;
		if (stop > disk->len)
			break;
		if (all)
			memcpy(disk->p + at, op->data + (at - op->off),
			    stop - at);
		else
			lose_sector(disk, at, op->data + (at - op->off),
			    stop - at, stop <= had);
		at = stop;
	}
}

/* Bring one thing to the disk. all: whole, else as the loss of power has it. */
static void
op_apply(struct node *on, struct op *op, bool all)
{
	switch (op->type) {
	case OP_WRITE:
		op_write(&on->old, op, all);
		break;
	case OP_CUT:
		if (all || coin())
			bytes_size(&on->old, op->len);
		break;
	case OP_LINK:
		if (all || coin())
			names_set(&on->disk, op->name, op->node);
		break;
	case OP_UNLINK:
		if (all || coin())
			names_drop(&on->disk, op->name);
		break;
	case OP_RENAME:
		break;		/* rename_apply() */
	}
}

static void
rename_apply(struct node *from, struct op *op, bool all)
{
	if (op->done)
		return;
	op->done = true;
	if (!all && coin())
		return;
	names_drop(&from->disk, op->name);
	names_set(&op->dir2->disk, op->to, op->node);
}

/* The directory a rename began in. */
static struct node *
rename_from(const struct op *op)
{
	for (struct node *n = fs.all; n != NULL; n = n->all)
		for (size_t i = 0; n->is_dir && i < n->pending.n; i++)
			if (n->pending.v[i] == op && n != op->dir2)
				return n;
	return op->dir2;
}

static void
node_settle(struct node *n, bool all)
{
	for (size_t i = 0; i < n->pending.n; i++) {
		struct op *op = n->pending.v[i];

		if (op->type == OP_RENAME)
			rename_apply(rename_from(op), op, all);
		else
			op_apply(n, op, all);
	}
	ops_clear(&n->pending);
}

/* --- calls ----------------------------------------------------------------- */

static struct node *
fd_node(int fd)
{
	assert(fd >= FD_BASE && fd < FD_BASE + FDS);
	assert(fs.fd[fd - FD_BASE].used);
	return fs.fd[fd - FD_BASE].node;
}

static int
fd_new(struct node *n)
{
	for (int i = 0; i < FDS; i++)
		if (!fs.fd[i].used) {
			fs.fd[i].used = true;
			fs.fd[i].locks = false;
			fs.fd[i].node = n;
			return FD_BASE + i;
		}
	return -EMFILE;
}

/* Count a call; which fault meets it? */
static enum crashfs_fault
call(void)
{
	fs.calls++;
	if (fs.fault == CRASHFS_NONE || fs.calls < fs.at ||
	    fs.calls - fs.at >= fs.times)
		return CRASHFS_NONE;
	return fs.fault;
}

/*
 * A call that is done whole or not at all: -EIO or -ENOSPC, or 0 to do it. On
 * a loss of power it is done or not, and *ret_dead tells to fail afterwards.
 */
static int
call_whole(bool takes_space, bool *ret_dead)
{
	enum crashfs_fault f;

	*ret_dead = false;
	if (fs.dead)
		return -EIO;
	f = call();
	if (f == CRASHFS_POWER) {
		fs.dead = *ret_dead = true;
		return coin() ? 0 : -EIO;
	}
	if (f == CRASHFS_EIO)
		return -EIO;
	if (f == CRASHFS_ENOSPC && takes_space)
		return -ENOSPC;
	return 0;
}

static struct node *
walk(const char *path, struct node **ret_dir, const char **ret_last)
{
	struct node *n = fs.root, *dir = fs.root;
	static char part[64];

	part[0] = '\0';
	while (*path == '/')
		path++;
	while (*path != '\0' && n != NULL) {
		size_t len = strcspn(path, "/");

		assert(len < sizeof part);
		memcpy(part, path, len);
		part[len] = '\0';
		dir = n;
		n = n->is_dir ? names_get(&n->seen, part) : NULL;
		path += len;
		while (*path == '/')
			path++;
	}
	if (ret_dir != NULL)
		*ret_dir = dir;
	if (ret_last != NULL)
		*ret_last = part;
	return *path == '\0' ? n : NULL;
}

static int
cf_open_dir(const char *path)
{
	struct node *n = walk(path, NULL, NULL);

	if (fs.dead)
		return -EIO;
	if (n == NULL)
		return -ENOENT;
	return n->is_dir ? fd_new(n) : -ENOTDIR;
}

static struct node *
link_new(struct node *dir, const char *name, bool is_dir)
{
	struct node *n = node_new(is_dir);
	struct op *op = op_new(dir, OP_LINK);

	names_set(&dir->seen, name, n);
	strcpy(op->name, name);
	op->node = n;
	return n;
}

static int
cf_openat(int dirfd, const char *name, int flags, mode_t mode)
{
	struct node *dir = fd_node(dirfd), *n;
	bool dead;
	int r;

	if (fs.dead)
		return -EIO;
	n = names_get(&dir->seen, name);
	if (n != NULL && (flags & O_CREAT) != 0 && (flags & O_EXCL) != 0)
		return -EEXIST;
	if (n == NULL && (flags & O_CREAT) == 0)
		return -ENOENT;
	if (n != NULL && n->is_dir && (flags & O_ACCMODE) != O_RDONLY)
		return -EISDIR;
	if (n == NULL) {
		r = call_whole(true, &dead);
		if (r < 0)
			return r;
		n = link_new(dir, name, false);
		if (dead)
			return -EIO;
	} else if (fs.reads) {
		r = call_whole(false, &dead);
		if (r < 0 || dead)
			return -EIO;
	}
	if ((flags & O_TRUNC) != 0 && n->now.len > 0) {
		op_new(n, OP_CUT)->len = 0;
		bytes_size(&n->now, 0);
	}
	return fd_new(n);
}

static int
cf_mkdirat(int dirfd, const char *name, mode_t mode)
{
	struct node *dir, *n;
	const char *last = name;
	bool dead;
	int r;

	if (dirfd == AT_FDCWD)
		n = walk(name, &dir, &last);
	else
		n = names_get(&(dir = fd_node(dirfd))->seen, name);
	if (n != NULL)
		return -EEXIST;
	r = call_whole(true, &dead);
	if (r < 0)
		return r;
	(void)link_new(dir, last, true);
	return dead ? -EIO : 0;
}

static int
cf_close(int fd)
{
	struct node *n = fd_node(fd);

	if (fs.fd[fd - FD_BASE].locks)
		n->locked = false;
	fs.fd[fd - FD_BASE].used = false;
	return 0;
}

static uint64_t
node_blocks(const struct node *n)
{
	uint64_t len = n->now.len > n->reserved ? n->now.len : n->reserved;

	return (len + BLOCK - 1) / BLOCK * BLOCK;
}

static bool
node_linked(const struct node *n)
{
	for (const struct node *d = fs.all; d != NULL; d = d->all)
		for (size_t i = 0; d->is_dir && i < d->seen.n; i++)
			if (d->seen.v[i].node == n)
				return true;
	return false;
}

uint64_t
crashfs_used(void)
{
	uint64_t sum = 0;

	for (const struct node *n = fs.all; n != NULL; n = n->all)
		if (!n->is_dir && node_linked(n))
			sum += node_blocks(n);
	return sum;
}

/* May the file grow to `end`? How far may it? */
static uint64_t
room(const struct node *n, uint64_t end)
{
	uint64_t has = node_blocks(n), used, more;

	if (fs.limit == 0 || end <= has)
		return end;
	used = crashfs_used();
	more = used < fs.limit ? (fs.limit - used) / BLOCK * BLOCK : 0;
	return end <= has + more ? end : has + more;
}

static void
write_some(struct node *n, const struct iovec *iov, int cnt, uint64_t off,
    uint64_t len)
{
	struct op *op = op_new(n, OP_WRITE);
	uint64_t done = 0;

	op->off = off;
	op->len = len;
	op->data = mem_alloc(len);
	for (int i = 0; i < cnt && done < len; i++) {
		uint64_t k = iov[i].iov_len < len - done ? iov[i].iov_len :
		    len - done;

		memcpy(op->data + done, iov[i].iov_base, k);
		done += k;
	}
	if (off + len > n->now.len)
		bytes_size(&n->now, off + len);
	memcpy(n->now.p + off, op->data, len);
}

static ssize_t
cf_pwritev(int fd, const struct iovec *iov, int cnt, uint64_t off)
{
	struct node *n = fd_node(fd);
	uint64_t len = 0, fits;
	enum crashfs_fault f;

	if (fs.dead)
		return -EIO;
	for (int i = 0; i < cnt; i++)
		len += iov[i].iov_len;
	if (len == 0)
		return 0;
	f = call();
	if (f == CRASHFS_EINTR)
		return -EINTR;
	if (f == CRASHFS_ENOSPC)
		return -ENOSPC;
	fits = room(n, off + len);
	if (fits <= off)
		return -ENOSPC;
	len = fits - off;
	if (f == CRASHFS_SHORT || f == CRASHFS_EIO || f == CRASHFS_POWER)
		len = rng_below(&fs.rng, len + 1);
	if (f == CRASHFS_SHORT && len == 0)
		len = 1;
	if (len > 0)
		write_some(n, iov, cnt, off, len);
	fs.dead |= f == CRASHFS_POWER;
	return f == CRASHFS_POWER || f == CRASHFS_EIO ? -EIO : (ssize_t)len;
}

static ssize_t
cf_pread(int fd, void *dst, size_t len, uint64_t off)
{
	struct node *n = fd_node(fd);
	enum crashfs_fault f = CRASHFS_NONE;

	if (fs.dead)
		return -EIO;
	if (fs.reads)
		f = call();
	if (f == CRASHFS_POWER)
		fs.dead = true;
	if (f == CRASHFS_POWER || f == CRASHFS_EIO)
		return -EIO;
	if (f == CRASHFS_EINTR)
		return -EINTR;
	if (off >= n->now.len)
		return 0;
	if (len > n->now.len - off)
		len = n->now.len - off;
	if (f == CRASHFS_SHORT)
		len = 1 + rng_below(&fs.rng, len);
	memcpy(dst, n->now.p + off, len);
	return (ssize_t)len;
}

static int
cf_ftruncate(int fd, uint64_t len)
{
	struct node *n = fd_node(fd);
	bool dead;
	int r = call_whole(false, &dead);

	if (r < 0)
		return r;
	/* Blocks behind the end go even when the length stays. */
	n->reserved = 0;
	if (len != n->now.len) {
		op_new(n, OP_CUT)->len = len;
		bytes_size(&n->now, len);
	}
	return dead ? -EIO : 0;
}

static int
cf_reserve(int fd, uint64_t off, uint64_t len)
{
	struct node *n = fd_node(fd);
	bool dead;
	int r = call_whole(true, &dead);

	if (r < 0)
		return r;
	if (room(n, off + len) < off + len)
		return -ENOSPC;
	if (off + len > n->reserved)
		n->reserved = off + len;
	return dead ? -EIO : 0;
}

static int
cf_sync(int fd, bool lie)
{
	struct node *n = fd_node(fd);
	enum crashfs_fault f;

	if (fs.dead)
		return -EIO;
	f = call();
	if (f == CRASHFS_POWER) {
		fs.dead = true;
		return -EIO;
	}
	if (f == CRASHFS_EIO) {
		/* Some of it is written; the rest counts as clean. */
		if (!n->is_dir)
			node_settle(n, false);
		return -EIO;
	}
	if (!lie)
		node_settle(n, true);
	return 0;
}

static int
cf_fdatasync(int fd)
{
	assert(!fd_node(fd)->is_dir);
	return cf_sync(fd, fs.lie_files);
}

static int
cf_fsync(int fd)
{
	return cf_sync(fd, fd_node(fd)->is_dir ? fs.lie_dirs : fs.lie_files);
}

static int
cf_renameat(int odirfd, const char *old, int ndirfd, const char *new)
{
	struct node *from = fd_node(odirfd), *to = fd_node(ndirfd);
	struct node *n = names_get(&from->seen, old);
	struct op *op;
	bool dead;
	int r;

	if (n == NULL)
		return -ENOENT;
	r = call_whole(true, &dead);
	if (r < 0)
		return r;
	op = op_new(from, OP_RENAME);
	if (to != from)
		ops_add(&to->pending, op);
	strcpy(op->name, old);
	strcpy(op->to, new);
	op->node = n;
	op->dir2 = to;
	names_drop(&from->seen, old);
	names_set(&to->seen, new, n);
	return dead ? -EIO : 0;
}

static int
cf_unlinkat(int dirfd, const char *name, int flags)
{
	struct node *dir = fd_node(dirfd);
	struct node *n = names_get(&dir->seen, name);
	bool dead;
	int r;

	if (n == NULL)
		return -ENOENT;
	if (n->is_dir != ((flags & AT_REMOVEDIR) != 0))
		return n->is_dir ? -EISDIR : -ENOTDIR;
	if (n->is_dir && n->seen.n > 0)
		return -ENOTEMPTY;
	r = call_whole(false, &dead);
	if (r < 0)
		return r;
	strcpy(op_new(dir, OP_UNLINK)->name, name);
	names_drop(&dir->seen, name);
	return dead ? -EIO : 0;
}

static int
cf_fstat(int fd, struct sys_stat *st)
{
	struct node *n = fd_node(fd);

	if (fs.dead)
		return -EIO;
	*st = (struct sys_stat){ .size = n->now.len,
	    .blocks = node_blocks(n), .is_dir = n->is_dir,
	    .is_regular = !n->is_dir };
	return 0;
}

static int
cf_space(int fd, struct sys_space *sp)
{
	uint64_t used = crashfs_used();

	if (fs.dead)
		return -EIO;
	sp->total = fs.limit != 0 ? fs.limit : (uint64_t)1 << 40;
	sp->avail = used < sp->total ? sp->total - used : 0;
	return 0;
}

static int
cf_lock(int fd)
{
	struct node *n = fd_node(fd);

	if (n->locked && !fs.fd[fd - FD_BASE].locks)
		return -EWOULDBLOCK;
	n->locked = fs.fd[fd - FD_BASE].locks = true;
	return 0;
}

static int
cf_list(int dirfd, int (*fn)(void *, const char *), void *arg)
{
	struct node *dir = fd_node(dirfd);
	struct names copy = { 0 };
	int r = 0;

	if (fs.dead)
		return -EIO;
	/* fn may change the directory. */
	names_copy(&copy, &dir->seen);
	for (size_t i = 0; i < copy.n && r == 0; i++)
		r = fn(arg, copy.v[i].name);
	free(copy.v);
	return r;
}

static const struct sys crashfs_sys = {
	.open_dir = cf_open_dir, .openat = cf_openat, .mkdirat = cf_mkdirat,
	.close = cf_close, .pwritev = cf_pwritev, .pread = cf_pread,
	.ftruncate = cf_ftruncate, .reserve = cf_reserve,
	.fdatasync = cf_fdatasync, .fsync = cf_fsync,
	.renameat = cf_renameat, .unlinkat = cf_unlinkat, .fstat = cf_fstat,
	.space = cf_space, .lock = cf_lock, .list = cf_list,
};

/* --- the test's side ------------------------------------------------------- */

void
crashfs_start(uint64_t seed)
{
	memset(&fs, 0, sizeof fs);
	rng_seed(&fs.rng, seed);
	fs.root = node_new(true);
	sys = &crashfs_sys;
}

static void
node_free(struct node *n)
{
	ops_clear(&n->pending);
	free(n->pending.v);
	free(n->seen.v);
	free(n->disk.v);
	free(n->now.p);
	free(n->old.p);
	free(n);
}

void
crashfs_stop(void)
{
	struct node *next;

	for (struct node *n = fs.all; n != NULL; n = next) {
		next = n->all;
		node_free(n);
	}
	fs.all = NULL;
	sys = &sys_kernel;
}

void
crashfs_mkdir(const char *path)
{
	const char *last;
	struct node *dir;

	assert(walk(path, &dir, &last) == NULL);
	(void)link_new(dir, last, true);
	node_settle(dir, true);
}

void
crashfs_plan(uint64_t at, enum crashfs_fault fault, uint64_t times)
{
	fs.calls = 0;
	fs.at = at;
	fs.fault = fault;
	fs.times = times;
}

void
crashfs_count_reads(bool yes)
{
	fs.reads = yes;
}

uint64_t
crashfs_calls(void)
{
	return fs.calls;
}

bool
crashfs_dead(void)
{
	return fs.dead;
}

void
crashfs_kill(void)
{
	for (int i = 0; i < FDS; i++)
		fs.fd[i].used = false;
	for (struct node *n = fs.all; n != NULL; n = n->all)
		n->locked = false;
	fs.dead = false;
	fs.fault = CRASHFS_NONE;
}

/* Drop what no directory on the disk leads to. */
static void
sweep(struct node *n)
{
	n->locked = true;	/* reached */
	for (size_t i = 0; i < n->seen.n; i++)
		sweep(n->seen.v[i].node);
}

void
crashfs_reboot(void)
{
	struct node **at, *n;

	for (n = fs.all; n != NULL; n = n->all)
		node_settle(n, false);
	crashfs_kill();
	for (n = fs.all; n != NULL; n = n->all) {
		n->reserved = 0;
		if (n->is_dir)
			names_copy(&n->seen, &n->disk);
		else
			bytes_copy(&n->now, &n->old);
	}
	sweep(fs.root);
	for (at = &fs.all; (n = *at) != NULL;) {
		if (n->locked) {
			n->locked = false;
			at = &n->all;
			continue;
		}
		*at = n->all;
		node_free(n);
	}
}

size_t
crashfs_fds(void)
{
	size_t n = 0;

	for (int i = 0; i < FDS; i++)
		n += fs.fd[i].used;
	return n;
}

void
crashfs_limit(uint64_t bytes)
{
	fs.limit = bytes;
}

void
crashfs_lie(bool files, bool dirs)
{
	fs.lie_files = files;
	fs.lie_dirs = dirs;
}

uint8_t *
crashfs_file(const char *path, size_t *ret_len)
{
	struct node *n = walk(path, NULL, NULL);

	if (n == NULL || n->is_dir)
		return NULL;
	*ret_len = n->now.len;
	return n->now.p;
}

void
crashfs_each(const char *dir, void (*fn)(void *, const char *name), void *arg)
{
	struct node *n = walk(dir, NULL, NULL);

	for (size_t i = 0; n != NULL && i < n->seen.n; i++)
		fn(arg, n->seen.v[i].name);
}

static void
dump(FILE *f, const struct node *n, int depth)
{
	for (size_t i = 0; i < n->seen.n; i++) {
		const struct entry *e = &n->seen.v[i];

		fprintf(f, "%*s%s %llu (disk %llu) pending %zu\n", depth * 2,
		    "", e->name, (unsigned long long)e->node->now.len,
		    (unsigned long long)e->node->old.len,
		    e->node->pending.n);
		dump(f, e->node, depth + 1);
	}
}

void
crashfs_dump(FILE *f)
{
	dump(f, fs.root, 0);
}
