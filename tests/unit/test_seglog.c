/* seglog: segments on disk, damaged in every way that came to mind. */
#include <errno.h>
#include <inttypes.h>

#include "base/rand.h"
#include "base/sys.h"
#include "store/seglog.h"
#include "store/seglog_int.h"
#include "store_help.h"
#include "unit.h"

static unsigned damaged;		/* calls */
static char last_reason[256];
static bool keep_written;

static void
on_damaged(void *arg, const char *file, uint64_t off, uint64_t len,
    const char *reason)
{
	damaged++;
	snprintf(last_reason, sizeof last_reason, "%s", reason);
}

static void
put_checkpoint(void *arg, uint32_t segno, struct buf *out)
{
	buf_printf(out, "checkpoint of %" PRIu32, segno);
}

static struct seglog *
open_log(struct help_dir *d, uint64_t segment, uint32_t buffer)
{
	struct seglog_options o = { .kind = SEGLOG_SPOOL,
	    .instance = "an instance", .segment_bytes = segment,
	    .buffer_bytes = buffer, .checkpoint = put_checkpoint,
	    .checkpoint_type = 1, .damaged = on_damaged,
	    .keep_written = keep_written };
	struct seglog *l;
	struct why why;

	damaged = 0;
	last_reason[0] = '\0';
	int r = seglog_open(d->log, d->quar, &o, &l, &why);
	ck_assert_msg(r == 0, "%s", why.text);
	return l;
}

static int
try_put(struct seglog *l, const void *data, size_t len,
    struct seglog_pos *ret)
{
	struct seg_piece p = { data, len };

	int r = seglog_reserve(l, seg_record_size(len), HELP_NOW, NULL);
	return r < 0 ? r : seglog_append(l, 2, &p, 1, ret, NULL);
}

static struct seglog_pos
put(struct seglog *l, const void *data, size_t len)
{
	struct seglog_pos pos;

	ck_assert_int_eq(try_put(l, data, len, &pos), 0);
	return pos;
}

static void
sync_log(struct seglog *l)
{
	struct seglog_sync set = { .n = 0 };

	ck_assert_int_eq(seglog_flush(l, NULL), 0);
	seglog_sync_begin(l, &set);
	ck_assert_int_eq(help_sync_set(&set), 0);
	seglog_sync_end(l, true);
}

/* The records of type 2, as one text. */
struct text {
	char	s[8192];
	size_t	n;
	size_t	records;
};

static int
on_record(void *arg, uint8_t type, const uint8_t *data, uint32_t len,
    struct seglog_pos pos)
{
	struct text *t = arg;

	if (type != 2)
		return 0;
	t->records++;
	if (t->n + len + 2 < sizeof t->s)
		t->n += (size_t)snprintf(t->s + t->n, sizeof t->s - t->n,
		    "%.*s ", (int)len, (const char *)data);
	return 0;
}

/* Scan all; segments may leave the list on the way. */
static const char *
scan(struct seglog *l, struct text *t)
{
	t->n = t->records = 0;
	t->s[0] = '\0';
	for (size_t i = 0; i < seglog_count(l);) {
		uint32_t segno = seglog_at(l, i).segno;
		int r = seglog_scan(l, segno, 0, on_record, t, NULL);

		if (r == -EBADMSG)
			continue;
		ck_assert_int_eq(r, 0);
		i++;
	}
	return t->s;
}

START_TEST(test_basic)
{
	struct help_dir d;
	struct seglog_pos a, b;
	struct text t;
	struct buf buf;
	const uint8_t *data;
	uint32_t len;
	uint8_t type, raw[64];
	static char big[9000];

	help_dir_make(&d);
	memset(big, 'b', sizeof big);
	struct seglog *l = open_log(&d, 1 << 16, 4096);
	ck_assert_uint_eq(seglog_count(l), 0);
	ck_assert_uint_eq(seglog_tail(l), 0);
	a = put(l, "one", 3);
	ck_assert_uint_eq(a.segno, 1);
	ck_assert(seglog_dirty(l));
	b = put(l, big, sizeof big);	/* larger than the buffer */
	buf_init(&buf, 0);
	ck_assert_int_eq(seglog_get(l, a, &type, &buf, &data, &len, NULL), 0);
	ck_assert_uint_eq(type, 2);
	ck_assert_mem_eq(data, "one", 3);
	ck_assert_int_eq(seglog_get(l, b, &type, &buf, &data, &len, NULL), 0);
	ck_assert_uint_eq(len, sizeof big);
	ck_assert_mem_eq(data, big, sizeof big);
	a = put(l, "three", 5);		/* in the buffer */
	ck_assert_int_eq(seglog_get_known(l, a, 5, raw, NULL), 0);
	ck_assert_mem_eq(raw + SEG_HEAD_LEN, "three", 5);
	ck_assert_int_eq(seglog_verify(l, a, NULL), 0);
	ck_assert_int_eq(seglog_verify(l, b, NULL), 0);
	ck_assert_int_eq(seglog_read(l, a, 2, raw, 3, NULL), 0);
	ck_assert_mem_eq(raw, "ree", 3);
	ck_assert(seglog_unsynced(l));
	sync_log(l);
	ck_assert(!seglog_unsynced(l));
	ck_assert_int_eq(seglog_verify(l, a, NULL), 0);
	seglog_close(l);
	l = open_log(&d, 1 << 16, 4096);
	scan(l, &t);
	ck_assert_uint_eq(t.records, 3);
	ck_assert_uint_eq(damaged, 0);
	ck_assert_mem_eq(seglog_instance(l), "an instance", 11);
	/* What a process before has written counts as unsynced. */
	ck_assert(seglog_unsynced(l));
	buf_free(&buf);
	seglog_close(l);
	help_dir_drop(&d);
}
END_TEST

/* Three small segments "a0 a1 ..", "b0 ..", "c0 .." on disk. */
#define SEGS	3
#define NAMES	((const char *const[]){ "0000000001.seg", "0000000002.seg", \
    "0000000003.seg" })

static void
make_three(struct help_dir *d)
{
	struct seglog *l = open_log(d, 200, 4096);
	char text[16];

	for (int i = 0; i < SEGS; i++) {
		ck_assert_int_eq(seglog_roll(l, HELP_NOW, NULL), 0);
		for (int k = 0; k < 3; k++) {
			snprintf(text, sizeof text, "%c%d", 'a' + i, k);
			put(l, text, strlen(text));
		}
		ck_assert_uint_eq(seglog_tail(l), (unsigned)i + 1);
	}
	ck_assert_int_eq(seglog_flush(l, NULL), 0);
	seglog_close(l);
}

/* After any damage: it opens, appends, and opens again with the same. */
static void
must_go_on(struct help_dir *d, struct text *t)
{
	struct text again;

	struct seglog *l = open_log(d, 200, 4096);
	scan(l, t);
	put(l, "new", 3);
	ck_assert_int_eq(seglog_flush(l, NULL), 0);
	seglog_close(l);
	l = open_log(d, 200, 4096);
	scan(l, &again);
	ck_assert_uint_eq(again.n, t->n + 4);
	ck_assert_mem_eq(again.s, t->s, t->n);
	ck_assert_str_eq(again.s + t->n, "new ");
	seglog_close(l);
}

#define ALL	"a0 a1 a2 b0 b1 b2 c0 c1 c2 "

/* Every byte of every file flipped in turn: at most one record is lost. */
START_TEST(test_flips)
{
	struct help_dir d;
	struct text t;

	help_dir_make(&d);
	make_three(&d);
	must_go_on(&d, &t);
	ck_assert_str_eq(t.s, ALL);
	for (int f = 0; f < SEGS; f++) {
		help_dir_clear(&d);
		make_three(&d);
		size_t len;
		uint8_t *p = help_slurp(d.log, NAMES[f], &len);
		for (size_t at = 0; at < len; at++) {
			help_dir_clear(&d);
			make_three(&d);
			p[at] ^= 0x81;
			help_spit(d.log, NAMES[f], p, len);
			p[at] ^= 0x81;
			must_go_on(&d, &t);
			ck_assert_msg(t.records >= 8, "%s at %zu: %s",
			    NAMES[f], at, t.s);
			if (t.records == 8)
				ck_assert(help_exists(d.quar, ""));
			/* The header is repaired, nothing is lost. */
			if (at < SEG_HEADER_LEN && at != 8)
				ck_assert_msg(t.records == 9, "%s at %zu: %s",
				    NAMES[f], at, t.s);
		}
		free(p);
	}
	help_dir_drop(&d);
}
END_TEST

/* Every length of every file: the records before the cut are there. */
START_TEST(test_cuts)
{
	struct help_dir d;
	struct text t;

	help_dir_make(&d);
	for (int f = 0; f < SEGS; f++) {
		help_dir_clear(&d);
		make_three(&d);
		size_t len;
		uint8_t *p = help_slurp(d.log, NAMES[f], &len);
		for (size_t cut = 0; cut < len; cut++) {
			help_dir_clear(&d);
			make_three(&d);
			help_spit(d.log, NAMES[f], p, cut);
			must_go_on(&d, &t);
			/* 24 bytes a record, of which 18 count. */
			size_t whole = cut + 6 < len ?
			    (cut + 6 + 3 * 24 < len ? 0 :
			    3 - (len - cut - 6 + 23) / 24) : 3;
			ck_assert_msg(t.records == 6 + whole,
			    "%s cut at %zu of %zu: %s", NAMES[f], cut, len,
			    t.s);
		}
		free(p);
	}
	help_dir_drop(&d);
}
END_TEST

START_TEST(test_zeroed)
{
	struct help_dir d;
	struct text t;

	help_dir_make(&d);
	for (int f = 0; f < SEGS; f++)
		for (size_t from = 0; from < 200; from += 8)
			for (size_t n = 8; n < 200; n += 40) {
				help_dir_clear(&d);
				make_three(&d);
				size_t len;
				uint8_t *p = help_slurp(d.log, NAMES[f], &len);
				for (size_t i = from; i < from + n && i < len;
				    i++)
					p[i] = 0;
				help_spit(d.log, NAMES[f], p, len);
				free(p);
				must_go_on(&d, &t);
				ck_assert_uint_ge(t.records, 6);
			}
	help_dir_drop(&d);
}
END_TEST

/* Whole segments under each other's names go by what their headers say. */
START_TEST(test_swapped)
{
	struct help_dir d;
	struct text t;
	char from[400], to[400], tmp[400];

	help_dir_make(&d);
	make_three(&d);
	snprintf(from, sizeof from, "%s/%s", d.log, NAMES[0]);
	snprintf(to, sizeof to, "%s/%s", d.log, NAMES[1]);
	snprintf(tmp, sizeof tmp, "%s/x", d.root);
	ck_assert_int_eq(rename(from, tmp), 0);
	ck_assert_int_eq(rename(to, from), 0);
	ck_assert_int_eq(rename(tmp, to), 0);
	for (int i = 0; i < 2; i++) {
		struct seglog *l = open_log(&d, 200, 4096);
		ck_assert_str_eq(scan(l, &t), ALL);
		ck_assert_uint_eq(damaged, 2);
		ck_assert_str_eq(last_reason, "this is segment 1 under another "
		    "name; it is read as that");
		seglog_close(l);
	}
	ck_assert(!help_exists(d.root, "quarantine/spool-0000000001.seg"));
	must_go_on(&d, &t);
	/* It is the file of that segment that goes with it. */
	struct seglog *l = open_log(&d, 200, 4096);
	(void)scan(l, &t);
	ck_assert_int_eq(seglog_remove(l, 1, NULL), 0);
	seglog_close(l);
	ck_assert(help_exists(d.log, NAMES[0]));
	ck_assert(!help_exists(d.log, NAMES[1]));
	help_dir_drop(&d);
}
END_TEST

/*
 * A second file of the same segment, and one of another installation, are
 * nobody's: the first is read once, the other not at all.
 */
START_TEST(test_copied)
{
	struct help_dir d, other;
	struct seg_header h;
	struct text t;
	size_t len;
	uint8_t *p;

	help_dir_make(&d);
	make_three(&d);
	p = help_slurp(d.log, NAMES[0], &len);
	help_spit(d.log, "0000000008.seg", p, len);
	free(p);
	help_dir_make(&other);
	make_three(&other);
	p = help_slurp(other.log, NAMES[1], &len);
	ck_assert_int_eq(seg_header_unpack(&h, p, len, NULL), 0);
	h.instance[3] ^= 1;
	seg_header_pack(p, &h);
	help_spit(d.log, "0000000009.seg", p, len);
	free(p);
	struct seglog *l = open_log(&d, 200, 4096);
	ck_assert_str_eq(scan(l, &t), ALL);
	ck_assert_uint_eq(damaged, 2);
	seglog_close(l);
	ck_assert(help_exists(d.quar, "spool-0000000008.seg"));
	ck_assert(help_exists(d.quar, "spool-0000000009.seg"));
	must_go_on(&d, &t);
	help_dir_drop(&d);
	help_dir_drop(&other);
}
END_TEST

/* Files that are none of ours; the number of a quarantined one is not reused. */
START_TEST(test_foreign)
{
	struct help_dir d;
	struct text t;
	char path[400];

	help_dir_make(&d);
	make_three(&d);
	help_spit(d.log, "0000000009.seg", "this is no segment of ours", 26);
	help_spit(d.log, "notes.txt", "hello", 5);
	help_spit(d.log, "0000000007.seg", "", 0);
	snprintf(path, sizeof path, "%s/records", d.log);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	struct seglog *l = open_log(&d, 200, 4096);
	ck_assert_str_eq(scan(l, &t), ALL);
	ck_assert_uint_eq(damaged, 2);
	ck_assert(help_exists(d.quar, "spool-notes.txt"));
	ck_assert(help_exists(d.quar, "spool-0000000009.seg"));
	ck_assert(help_exists(d.log, "records"));
	ck_assert(!help_exists(d.log, "0000000007.seg"));
	seglog_close(l);
	l = open_log(&d, 200, 4096);
	ck_assert_uint_eq(damaged, 0);
	scan(l, &t);
	ck_assert_int_eq(seglog_roll(l, HELP_NOW, NULL), 0);
	ck_assert_uint_eq(seglog_tail(l), 10);
	seglog_close(l);
	help_dir_drop(&d);
}
END_TEST

/* Who asks first learns which file, and finds it where it was. */
static void
must_be_refused(const struct help_dir *d, const char *name)
{
	struct why why;
	size_t len;

	ck_assert_int_eq(seglog_known(d->log, &why), -EPROTONOSUPPORT);
	ck_assert_ptr_nonnull(strstr(why.text, name));
	ck_assert_ptr_nonnull(strstr(why.text, "format 2"));
	free(help_slurp(d->log, name, &len));
	ck_assert_uint_gt(len, 0);
}

static int
no_open(int dirfd, const char *name, int flags, mode_t mode)
{
	return strcmp(name, NAMES[1]) == 0 ? -EMFILE :
	    sys_kernel.openat(dirfd, name, flags, mode);
}

static ssize_t
no_read(int fd, void *dst, size_t len, uint64_t off)
{
	return -EIO;
}

/* What cannot be read may be a newer lumnid's: that is not taken for known. */
START_TEST(test_version_not_read)
{
	struct help_dir d;
	struct seg_header h;
	struct sys other = sys_kernel;
	struct why why;
	size_t len;

	help_dir_make(&d);
	make_three(&d);
	sys = &other;
	other.openat = no_open;
	ck_assert_int_eq(seglog_known(d.log, &why), -EMFILE);
	ck_assert_ptr_nonnull(strstr(why.text, NAMES[1]));
	/* Another that is read, and is newer, says more. */
	uint8_t *p = help_slurp(d.log, NAMES[2], &len);
	ck_assert_int_eq(seg_header_unpack(&h, p, len, NULL), 0);
	h.version = 2;
	seg_header_pack(p, &h);
	help_spit(d.log, NAMES[2], p, len);
	free(p);
	ck_assert_int_eq(seglog_known(d.log, &why), -EPROTONOSUPPORT);
	other.openat = sys_kernel.openat;
	other.pread = no_read;
	ck_assert_int_eq(seglog_known(d.log, &why), -EIO);
	sys = &sys_kernel;
	help_dir_drop(&d);
}
END_TEST

START_TEST(test_newer_version)
{
	struct help_dir d;
	struct text t;
	struct seg_header h;
	size_t len;

	help_dir_make(&d);
	for (int f = 0; f < SEGS; f++) {
		help_dir_clear(&d);
		make_three(&d);
		uint8_t *p = help_slurp(d.log, NAMES[f], &len);
		ck_assert_int_eq(seg_header_unpack(&h, p, len, NULL), 0);
		ck_assert_int_eq(seglog_known(d.log, NULL), 0);
		h.version = 2;
		seg_header_pack(p, &h);
		help_spit(d.log, NAMES[f], p, len);
		free(p);
		must_be_refused(&d, NAMES[f]);
		struct seglog *l = open_log(&d, 200, 4096);
		scan(l, &t);
		ck_assert_uint_eq(t.records, 6);
		ck_assert_uint_eq(damaged, 1);
		seglog_close(l);
		must_go_on(&d, &t);
	}
	help_dir_drop(&d);
}
END_TEST

/* Damage is copied and told of once, however often it is met. */
START_TEST(test_told_once)
{
	struct help_dir d;
	struct text t;
	size_t len;

	help_dir_make(&d);
	make_three(&d);
	uint8_t *p = help_slurp(d.log, NAMES[1], &len);
	p[len - 40] ^= 1;
	help_spit(d.log, NAMES[1], p, len);
	free(p);
	for (int round = 0; round < 3; round++) {
		struct seglog *l = open_log(&d, 200, 4096);
		scan(l, &t);
		scan(l, &t);
		ck_assert_str_eq(t.s, "a0 a1 a2 b0 b2 c0 c1 c2 ");
		ck_assert_uint_eq(damaged, round == 0);
		seglog_close(l);
	}
	help_dir_drop(&d);
}
END_TEST

/*
 * What is behind the end is gone for good, and not only written over: or it
 * would be met again, shorter, at each start.
 */
START_TEST(test_torn_once)
{
	struct help_dir d;
	struct text t;
	size_t len;

	help_dir_make(&d);
	make_three(&d);
	uint8_t *p = help_slurp(d.log, NAMES[SEGS - 1], &len);
	p = realloc(p, len + 80);
	ck_assert_ptr_nonnull(p);
	memset(p + len, 0x5a, 80);
	help_spit(d.log, NAMES[SEGS - 1], p, len + 80);
	free(p);
	for (int round = 0; round < 3; round++) {
		struct seglog *l = open_log(&d, 4096, 4096);
		scan(l, &t);
		ck_assert_uint_eq(t.records, 9 + (size_t)round);
		ck_assert_uint_eq(damaged, round == 0);
		(void)put(l, "d", 1);
		sync_log(l);
		seglog_close(l);
	}
	help_dir_drop(&d);
}
END_TEST

START_TEST(test_read_only)
{
	struct seglog_options o = { .kind = SEGLOG_SPOOL,
	    .segment_bytes = 200, .buffer_bytes = 4096, .read_only = true,
	    .damaged = on_damaged };
	struct help_dir d;
	struct seglog *l;
	struct text t;
	size_t len, len2;

	help_dir_make(&d);
	make_three(&d);
	help_spit(d.log, "notes.txt", "hello", 5);
	uint8_t *p = help_slurp(d.log, NAMES[2], &len);
	p[10] ^= 1;
	help_spit(d.log, NAMES[2], p, len - 20);
	ck_assert_int_eq(seglog_open(d.log, d.quar, &o, &l, NULL), 0);
	scan(l, &t);
	ck_assert_uint_eq(t.records, 8);
	seglog_close(l);
	ck_assert(!help_exists(d.root, "q"));
	ck_assert(help_exists(d.log, "notes.txt"));
	uint8_t *q = help_slurp(d.log, NAMES[2], &len2);
	ck_assert_uint_eq(len2, len - 20);
	ck_assert_mem_eq(p, q, len2);
	free(p);
	free(q);
	help_dir_drop(&d);
}
END_TEST

/* --- what was written is kept for reading ---------------------------------- */

static struct sys counting;
static unsigned preads;

static ssize_t
counting_pread(int fd, void *dst, size_t n, uint64_t off)
{
	preads++;
	return sys_kernel.pread(fd, dst, n, off);
}

/* How many reads of a file does it cost to get this record? */
static unsigned
cost(struct seglog *l, struct seglog_pos pos, const char *want)
{
	const uint8_t *data;
	struct buf buf;
	uint32_t len;
	uint8_t type;

	buf_init(&buf, 0);
	preads = 0;
	ck_assert_int_eq(seglog_get(l, pos, &type, &buf, &data, &len, NULL),
	    0);
	ck_assert_uint_eq(len, strlen(want));
	ck_assert_mem_eq(data, want, len);
	buf_free(&buf);
	return preads;
}

START_TEST(test_kept)
{
	struct seglog_pos one, two, big, mark, next;
	struct help_dir d;
	char text[300];

	counting = *sys;
	counting.pread = counting_pread;
	sys = &counting;
	help_dir_make(&d);
	keep_written = true;
	struct seglog *l = open_log(&d, 1 << 20, 512);
	one = put(l, "one", 3);
	ck_assert_int_eq(seglog_flush(l, NULL), 0);
	ck_assert_uint_eq(cost(l, one, "one"), 0);
	/* Half in the file and half in the buffer is one piece. */
	two = put(l, "two", 3);
	ck_assert_uint_eq(cost(l, one, "one"), 0);
	ck_assert_uint_eq(cost(l, two, "two"), 0);
	/* What comes needs the room: then the file is read. */
	memset(text, 'x', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	ck_assert_int_eq(seglog_flush(l, NULL), 0);
	(void)put(l, text, sizeof text - 1);
	big = put(l, text, 150);
	text[150] = '\0';
	ck_assert_uint_eq(cost(l, big, text), 0);
	ck_assert_uint_gt(cost(l, one, "one"), 0);
	ck_assert_int_eq(seglog_flush(l, NULL), 0);
	ck_assert_uint_eq(cost(l, big, text), 0);
	/* Cut off behind the file's end, or below it, and written over. */
	mark = seglog_mark(l);
	(void)put(l, "gone", 4);
	seglog_rollback(l, mark);
	next = put(l, "here", 4);
	ck_assert_uint_eq(next.off, mark.off);
	ck_assert_uint_eq(cost(l, next, "here"), 0);
	ck_assert_int_eq(seglog_flush(l, NULL), 0);
	seglog_rollback(l, mark);
	next = put(l, "anew", 4);
	ck_assert_uint_eq(cost(l, next, "anew"), 0);
	ck_assert_uint_gt(cost(l, big, text), 0);
	/* Of another segment, at the same place. */
	ck_assert_int_eq(seglog_roll(l, HELP_NOW, NULL), 0);
	next = put(l, "uno", 3);
	ck_assert_int_eq(seglog_flush(l, NULL), 0);
	ck_assert_uint_eq(next.off, one.off);
	ck_assert_uint_eq(cost(l, next, "uno"), 0);
	ck_assert_uint_gt(cost(l, one, "one"), 0);
	/* Given back, it is read from the file. */
	seglog_relax(l);
	ck_assert_uint_gt(cost(l, next, "uno"), 0);
	next = put(l, "dos", 3);
	ck_assert_int_eq(seglog_flush(l, NULL), 0);
	ck_assert_uint_eq(cost(l, next, "dos"), 0);
	seglog_close(l);
	help_dir_drop(&d);
}
END_TEST

/* --- descriptors ------------------------------------------------------------ */

static struct sys few;
static unsigned opens;
static int open_left, open_files;

static int
few_openat(int dirfd, const char *name, int flags, mode_t mode)
{
	if (open_files >= open_left)
		return -EMFILE;
	opens++;
	int fd = sys_kernel.openat(dirfd, name, flags, mode);
	open_files += fd >= 0;
	return fd;
}

static int
few_close(int fd)
{
	open_files--;
	return sys_kernel.close(fd);
}

/* Read the first n records, over and over. */
static void
read_all(struct seglog *l, const struct seglog_pos *pos, int n, int rounds)
{
	char text[16];

	for (int i = 0; i < n * rounds; i++) {
		(void)snprintf(text, sizeof text, "record %d", i % n);
		(void)cost(l, pos[i % n], text);
	}
}

/* Files that are read stay open; where there are too many, none fails. */
START_TEST(test_descriptors)
{
	enum { N = SEGLOG_FDS + 6 };
	struct seglog_pos pos[N];
	struct help_dir d;
	char text[16];

	help_dir_make(&d);
	struct seglog *l = open_log(&d, 1 << 20, 512);
	for (int i = 0; i < N; i++) {
		(void)snprintf(text, sizeof text, "record %d", i);
		pos[i] = put(l, text, strlen(text));
		sync_log(l);
		ck_assert_int_eq(seglog_roll(l, HELP_NOW, NULL), 0);
		sync_log(l);
	}
	few = *sys;
	few.openat = few_openat;
	few.close = few_close;
	sys = &few;
	open_left = 1 << 20;
	opens = 0;
	read_all(l, pos, SEGLOG_FDS, 3);
	ck_assert_uint_eq(opens, SEGLOG_FDS);
	ck_assert_int_eq(open_files, SEGLOG_FDS);
	/* Two in the same place take turns, and none is left open. */
	read_all(l, pos, N, 3);
	ck_assert_int_eq(open_files, SEGLOG_FDS);
	/* No more is to be had: what is only kept is given back. */
	open_left = 20;
	read_all(l, pos, N, 1);
	ck_assert_int_le(open_files, 20);
	ck_assert_uint_eq(damaged, 0);
	sys = &sys_kernel;
	seglog_close(l);
	help_dir_drop(&d);
}
END_TEST

/* --- a disk that fills and fails ------------------------------------------- */

static struct sys faulty;
static int fail_write, fail_reserve;	/* 0 or -errno */
static size_t short_write;

static ssize_t
faulty_pwritev(int fd, const struct iovec *iov, int n, uint64_t off)
{
	if (fail_write != 0 && short_write > 0 && n > 0) {
		struct iovec one = iov[0];

		if (one.iov_len > short_write)
			one.iov_len = short_write;
		short_write = 0;
		return sys_kernel.pwritev(fd, &one, 1, off);
	}
	return fail_write != 0 ? fail_write :
	    sys_kernel.pwritev(fd, iov, n, off);
}

static int
faulty_reserve(int fd, uint64_t off, uint64_t len)
{
	return fail_reserve != 0 ? fail_reserve :
	    sys_kernel.reserve(fd, off, len);
}

static void
use_faulty(void)
{
	faulty = *sys;
	faulty.pwritev = faulty_pwritev;
	faulty.reserve = faulty_reserve;
	fail_write = fail_reserve = 0;
	short_write = 0;
	sys = &faulty;
}

START_TEST(test_full)
{
	struct help_dir d;
	struct seglog_pos pos;
	struct text t;
	char big[3000];

	use_faulty();
	help_dir_make(&d);
	memset(big, 'x', sizeof big);
	struct seglog *l = open_log(&d, 1 << 20, 4096);
	put(l, "one", 3);
	/* A write that fails half-way is made good by the next. */
	fail_write = -ENOSPC;
	short_write = 11;
	ck_assert_int_eq(seglog_flush(l, NULL), -ENOSPC);
	ck_assert(seglog_dirty(l));
	put(l, "two", 3);
	short_write = 5;
	ck_assert_int_eq(seglog_flush(l, NULL), -ENOSPC);
	/* The buffer holds one more of these, not two. */
	int n = 0;
	while (try_put(l, big, sizeof big, &pos) == 0)
		n++;
	ck_assert_int_eq(n, 1);
	ck_assert_int_eq(seglog_roll(l, HELP_NOW, NULL), -ENOSPC);
	fail_write = 0;
	put(l, "three", 5);
	ck_assert_int_eq(seglog_flush(l, NULL), 0);
	/* No space is left: seen when it is reserved, nothing has changed. */
	fail_reserve = -ENOSPC;
	n = 0;
	while (try_put(l, big, sizeof big, &pos) == 0)
		n++;
	ck_assert_int_gt(n, 300);
	uint64_t bytes = seglog_bytes(l);
	ck_assert_int_eq(try_put(l, big, sizeof big, &pos), -ENOSPC);
	ck_assert_uint_eq(seglog_bytes(l), bytes);
	ck_assert_uint_eq(seglog_count(l), 1);
	/* But marks still find room. */
	struct seg_piece mark = { "mark", 4 };
	n = 0;
	while (seglog_reserve_mark(l, seg_record_size(4), HELP_NOW,
	    NULL) == 0) {
		ck_assert_int_eq(seglog_append(l, 2, &mark, 1, &pos, NULL), 0);
		n++;
	}
	ck_assert_int_gt(n, (int)(SEGLOG_SLACK / 32));
	/* A segment that cannot be begun leaves nothing behind. */
	ck_assert_int_eq(seglog_roll(l, HELP_NOW, NULL), -ENOSPC);
	ck_assert(!help_exists(d.log, "0000000002.seg"));
	fail_reserve = 0;
	ck_assert_int_eq(seglog_roll(l, HELP_NOW, NULL), 0);
	put(l, "four", 4);
	sync_log(l);
	seglog_close(l);
	l = open_log(&d, 1 << 20, 4096);
	scan(l, &t);
	ck_assert_uint_eq(damaged, 0);
	ck_assert_uint_gt(t.records, 300);
	seglog_close(l);
	help_dir_drop(&d);
	help_no_sync();
}
END_TEST

/* --- what a sync round covers ---------------------------------------------- */

START_TEST(test_rounds)
{
	struct help_dir d;
	struct seglog_sync set = { .n = 0 };

	help_dir_make(&d);
	struct seglog *l = open_log(&d, 4096, 4096);
	for (uint64_t i = 1; i <= 12; i++) {
		put(l, "x", 1);
		seglog_stamp(l, (struct seglog_stamp){ { i, i * 10 } });
		ck_assert_int_eq(seglog_roll(l, HELP_NOW, NULL), 0);
	}
	put(l, "y", 1);
	seglog_stamp(l, (struct seglog_stamp){ { 13, 130 } });
	/* Not flushed: not covered. */
	seglog_sync_begin(l, &set);
	ck_assert_uint_eq(set.n, SEGLOG_SYNC_EACH);
	ck_assert(set.what[0].is_dir);
	ck_assert_uint_eq(seglog_durable(l).v[0], 0);
	seglog_sync_end(l, true);
	ck_assert_uint_eq(seglog_durable(l).v[0], 4);
	ck_assert_uint_eq(seglog_durable(l).v[1], 40);
	/* What failed is done again, and nothing behind it counts. */
	set.n = 0;
	seglog_sync_begin(l, &set);
	ck_assert_uint_eq(set.n, SEGLOG_SYNC_EACH);
	seglog_sync_end(l, false);
	ck_assert_uint_eq(seglog_durable(l).v[0], 4);
	set.n = 0;
	seglog_sync_begin(l, &set);
	/* Deleted during the round: its fd stays until the end. */
	ck_assert_int_eq(seglog_remove(l, 5, NULL), 0);
	ck_assert(fcntl(set.what[0].fd, F_GETFD) >= 0);
	seglog_sync_end(l, true);
	ck_assert(seglog_removals_pending(l));
	ck_assert_uint_eq(seglog_durable(l).v[0], 9);
	sync_log(l);
	ck_assert(!seglog_removals_pending(l));
	sync_log(l);
	ck_assert_uint_eq(seglog_durable(l).v[0], 13);
	ck_assert(!seglog_unsynced(l));
	seglog_close(l);
	help_dir_drop(&d);
}
END_TEST

/* Random appends, rollbacks, rolls, removals, reopenings against a list. */
struct model {
	struct {
		uint32_t	segno, off;
		uint32_t	tag;
		size_t		len;
	} v[8000];
	size_t	n;
	size_t	at;	/* of a comparison */
};

static int
on_model(void *arg, uint8_t type, const uint8_t *data, uint32_t len,
    struct seglog_pos pos)
{
	struct model *m = arg;
	uint32_t tag;

	if (type != 2)
		return 0;
	ck_assert_uint_lt(m->at, m->n);
	memcpy(&tag, data, sizeof tag);
	ck_assert_uint_eq(tag, m->v[m->at].tag);
	ck_assert_uint_eq(len, m->v[m->at].len);
	ck_assert_uint_eq(pos.segno, m->v[m->at].segno);
	/* check(3) writes a line for each assertion: one for all bytes. */
	bool same = true;
	for (uint32_t i = sizeof tag; i < len; i++)
		same &= data[i] == (uint8_t)tag;
	ck_assert(same);
	m->at++;
	return 0;
}

static void
model_put(struct model *m, struct seglog *l, struct rng *rng)
{
	static uint32_t tag;
	uint8_t data[400];
	struct seglog_pos pos;
	size_t len = 5 + rng_below(rng, 300);
	struct seg_piece p = { data, len };

	tag++;
	memset(data, (uint8_t)tag, len);
	memcpy(data, &tag, sizeof tag);
	ck_assert_int_eq(seglog_append(l, 2, &p, 1, &pos, NULL), 0);
	m->v[m->n].segno = pos.segno;
	m->v[m->n].off = pos.off;
	m->v[m->n].tag = tag;
	m->v[m->n++].len = len;
}

/* A message of some records; now and then it is given up. */
static void
model_message(struct model *m, struct seglog *l, struct rng *rng)
{
	int k = 1 + (int)rng_below(rng, 4);
	size_t before = m->n;

	ck_assert_int_eq(seglog_reserve(l, (uint64_t)k * 440, HELP_NOW, NULL),
	    0);
	struct seglog_pos mark = seglog_mark(l);
	for (int i = 0; i < k; i++)
		model_put(m, l, rng);
	if (rng_below(rng, 4) == 0) {
		seglog_rollback(l, mark);
		m->n = before;
	}
}

static void
model_remove(struct model *m, struct seglog *l, size_t i)
{
	uint32_t segno = seglog_at(l, i).segno;
	size_t kept = 0;

	ck_assert_int_eq(seglog_remove(l, segno, NULL), 0);
	for (size_t k = 0; k < m->n; k++)
		if (m->v[k].segno != segno)
			m->v[kept++] = m->v[k];
	m->n = kept;
}

/* The newest records, one by one, from wherever they are now. */
static void
model_get(const struct model *m, struct seglog *l)
{
	const uint8_t *data;
	struct buf buf;
	uint32_t len;
	uint8_t type;

	buf_init(&buf, 0);
	for (size_t i = m->n < 6 ? 0 : m->n - 6; i < m->n; i++) {
		struct seglog_pos pos = { m->v[i].segno, m->v[i].off };

		ck_assert_int_eq(seglog_get(l, pos, &type, &buf, &data, &len,
		    NULL), 0);
		ck_assert_uint_eq(len, m->v[i].len);
		ck_assert_mem_eq(data, &m->v[i].tag, sizeof m->v[i].tag);
	}
	buf_free(&buf);
}

START_TEST(test_random)
{
	static struct model m;
	struct help_dir d;
	struct rng rng;

	help_dir_make(&d);
	rng_seed(&rng, (uint64_t)_i);
	keep_written = _i % 2 != 0;
	struct seglog *l = open_log(&d, keep_written ? 1400 : 700,
	    keep_written ? 1024 : 256);
	for (int i = 0; i < 1500; i++) {
		uint64_t dice = rng_below(&rng, 20);

		if (dice < 12)
			model_message(&m, l, &rng);
		else if (dice < 16)
			ck_assert_int_eq(seglog_flush(l, NULL), 0);
		else if (dice == 16)
			ck_assert_int_eq(seglog_roll(l, HELP_NOW, NULL), 0);
		else if (dice == 17)
			sync_log(l);
		else if (dice == 18 && seglog_count(l) > 10)
			model_remove(&m, l, rng_below(&rng, 9));
		if (dice == 19) {
			ck_assert_int_eq(seglog_flush(l, NULL), 0);
			seglog_close(l);
			l = open_log(&d, 700, keep_written ? 1024 : 256);
			m.at = 0;
			for (size_t k = 0; k < seglog_count(l); k++)
				ck_assert_int_eq(seglog_scan(l,
				    seglog_at(l, k).segno, 0, on_model, &m,
				    NULL), 0);
			ck_assert_uint_eq(m.at, m.n);
			ck_assert_uint_eq(damaged, 0);
		}
		model_get(&m, l);
		uint64_t sum = 0;
		for (size_t k = 0; k < seglog_count(l); k++)
			sum += seglog_at(l, k).size;
		ck_assert_uint_eq(sum, seglog_bytes(l));
		/* More than this may not wait for a sync. */
		if (i % 10 == 9)
			for (int k = 0; k < 9; k++)
				sync_log(l);
	}
	seglog_close(l);
	help_dir_drop(&d);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("seglog");

	help_no_sync();
	TCase *tc = tcase_create("seglog");

	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, test_basic);
	tcase_add_test(tc, test_flips);
	tcase_add_test(tc, test_cuts);
	tcase_add_test(tc, test_zeroed);
	tcase_add_test(tc, test_swapped);
	tcase_add_test(tc, test_copied);
	tcase_add_test(tc, test_foreign);
	tcase_add_test(tc, test_newer_version);
	tcase_add_test(tc, test_version_not_read);
	tcase_add_test(tc, test_told_once);
	tcase_add_test(tc, test_torn_once);
	tcase_add_test(tc, test_read_only);
	tcase_add_test(tc, test_kept);
	tcase_add_test(tc, test_descriptors);
	tcase_add_test(tc, test_full);
	tcase_add_test(tc, test_rounds);
	tcase_add_loop_test(tc, test_random, 0, 4);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
