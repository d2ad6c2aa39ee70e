/* seg: headers, heads and the walk over damaged files. */
#include <errno.h>

#include "base/rand.h"
#include "base/sys.h"
#include "store/seg.h"
#include "store_help.h"
#include "unit.h"

static const struct seg_header hdr = { .version = SEG_VERSION, .kind = 7,
    .instance = "0123456789abcde", .segno = 42, .created = { 1234567 },
    .unsynced_from = 41 };

START_TEST(test_header)
{
	uint8_t b[SEG_HEADER_LEN];
	struct seg_header h;

	seg_header_pack(b, &hdr);
	ck_assert_int_eq(seg_header_unpack(&h, b, sizeof b, NULL), 0);
	ck_assert_uint_eq(h.segno, 42);
	ck_assert_uint_eq(h.kind, 7);
	ck_assert_int_eq(h.created.us, 1234567);
	ck_assert_uint_eq(h.unsynced_from, 41);
	ck_assert_mem_eq(h.instance, hdr.instance, 16);
	for (size_t n = 0; n < sizeof b; n++)
		ck_assert_int_eq(seg_header_unpack(&h, b, n, NULL), -EBADMSG);
	for (size_t bit = 0; bit < sizeof b * 8; bit++) {
		b[bit / 8] ^= (uint8_t)(1u << bit % 8);
		ck_assert_int_eq(seg_header_unpack(&h, b, sizeof b, NULL),
		    -EBADMSG);
		b[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	h.version = 2;
	seg_header_pack(b, &h);
	ck_assert_int_eq(seg_header_unpack(&h, b, sizeof b, NULL),
	    -EPROTONOSUPPORT);
}
END_TEST

/* Build a record in memory; returns its size with padding. */
static size_t
put_record(uint8_t *dst, uint64_t off, uint8_t type, const void *data,
    size_t len)
{
	struct seg_piece p = { data, len };

	memset(dst, 0, seg_record_size(len));
	seg_head_pack(dst, &hdr, off, type, &p, 1);
	memcpy(dst + SEG_HEAD_LEN, data, len);
	return seg_record_size(len);
}

START_TEST(test_record)
{
	struct seg_piece three[3] = { { "abc", 3 }, { "", 0 }, { "defgh", 5 } };
	uint8_t rec[64], head[SEG_HEAD_LEN], type;
	struct seg_sum sum;
	uint32_t len;

	put_record(rec, 64, 9, "abcdefgh", 8);
	seg_head_pack(head, &hdr, 64, 9, three, 3);
	ck_assert_mem_eq(head, rec, sizeof head);
	ck_assert(seg_head_unpack(&hdr, 64, rec, &type, &len));
	ck_assert_uint_eq(type, 9);
	ck_assert_uint_eq(len, 8);
	ck_assert(seg_record_ok(&hdr, 64, rec, 8));
	/* The same bytes in another place are no record. */
	ck_assert(!seg_record_ok(&hdr, 72, rec, 8));
	ck_assert(!seg_record_ok(&hdr, 64, rec, 7));
	struct seg_header other = hdr;
	other.segno++;
	ck_assert(!seg_record_ok(&other, 64, rec, 8));
	other = hdr;
	other.instance[3] ^= 1;
	ck_assert(!seg_record_ok(&other, 64, rec, 8));
	for (size_t bit = 0; bit < (SEG_HEAD_LEN + 8) * 8; bit++) {
		rec[bit / 8] ^= (uint8_t)(1u << bit % 8);
		ck_assert_msg(!seg_record_ok(&hdr, 64, rec, 8), "bit %zu", bit);
		rec[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	seg_sum_begin(&sum, &hdr, 64, rec);
	seg_sum_add(&sum, rec + 16, 5);
	seg_sum_add(&sum, rec + 21, 3);
	ck_assert(seg_sum_end(&sum));
	seg_sum_begin(&sum, &hdr, 64, rec);
	seg_sum_add(&sum, rec + 16, 7);
	ck_assert(!seg_sum_end(&sum));
}
END_TEST

/* --- walks over a file in memory ------------------------------------------- */

static uint8_t *file;
static size_t file_len;
static uint64_t file_reads;
static uint64_t bad_from, bad_to;	/* unreadable */

static ssize_t
mem_pread(int fd, void *dst, size_t len, uint64_t off)
{
	file_reads++;
	if (off >= file_len)
		return 0;
	if (len > file_len - off)
		len = file_len - off;
	if (off < bad_to && off + len > bad_from) {
		if (off >= bad_from)
			return -EIO;
		len = bad_from - off;
	}
	memcpy(dst, file + off, len);
	return (ssize_t)len;
}

static const struct sys mem_sys = { .pread = mem_pread };

struct seen {
	size_t		n;
	uint64_t	off[512];
	uint64_t	sum;		/* of payload bytes */
	size_t		holes;
	uint64_t	hole_off[64], hole_len[64];
};

static int
on_record(void *arg, uint8_t type, const uint8_t *data, uint32_t len,
    uint64_t off)
{
	struct seen *s = arg;

	if (s->n < NELEM(s->off))
		s->off[s->n] = off;
	s->n++;
	s->sum += len;
	return 0;
}

static void
on_damage(void *arg, uint64_t off, uint64_t len)
{
	struct seen *s = arg;

	s->hole_off[s->holes] = off;
	s->hole_len[s->holes++] = len;
}

static uint64_t
walk(struct seen *s)
{
	struct seg_scan sc = { .record = on_record, .damage = on_damage,
	    .arg = s };
	struct buf buf;
	uint64_t end = 0;

	memset(s, 0, sizeof *s);
	buf_init(&buf, 0);
	ck_assert_int_eq(seg_scan(3, &hdr, SEG_HEADER_LEN, file_len, &sc,
	    &buf, &end, NULL), 0);
	buf_free(&buf);
	return end;
}

#define RECS	12

/* Twelve records of 1 to 40 bytes; offsets of each, and of the end. */
static void
make_file(uint64_t off[RECS + 1])
{
	struct rng rng;
	uint8_t data[64];
	uint64_t pos = SEG_HEADER_LEN;

	sys = &mem_sys;
	bad_from = bad_to = 0;
	rng_seed(&rng, 3);
	file = calloc(1, 4096);
	ck_assert_ptr_nonnull(file);
	seg_header_pack(file, &hdr);
	for (int i = 0; i < RECS; i++) {
		size_t len = 1 + rng_below(&rng, 40);
		for (size_t k = 0; k < len; k++)
			data[k] = (uint8_t)rng_u64(&rng);
		off[i] = pos;
		pos += put_record(file + pos, pos, (uint8_t)(i + 1), data, len);
	}
	off[RECS] = file_len = pos;
}

START_TEST(test_scan_truncated)
{
	uint64_t off[RECS + 1], end;
	struct seen s;

	make_file(off);
	for (size_t len = off[RECS]; len >= SEG_HEADER_LEN; len--) {
		size_t whole = 0;

		file_len = len;
		end = walk(&s);
		/* A record counts without its padding. */
		while (whole < RECS && off[whole] + SEG_HEAD_LEN +
		    file[off[whole]] <= len)
			whole++;
		ck_assert_uint_eq(s.n, whole);
		ck_assert_uint_eq(end, off[whole]);
		ck_assert_uint_eq(s.holes, 0);
	}
	free(file);
}
END_TEST

START_TEST(test_scan_flipped)
{
	uint64_t off[RECS + 1], end;
	struct seen s;

	make_file(off);
	for (size_t at = SEG_HEADER_LEN; at < file_len; at++) {
		size_t hit = 0;

		while (off[hit + 1] <= at)
			hit++;
		file[at] ^= 0x10;
		end = walk(&s);
		file[at] ^= 0x10;
		/* Padding is not covered: nothing is read from it. */
		if (at >= off[hit] + SEG_HEAD_LEN + file[off[hit]]) {
			ck_assert_uint_eq(s.n, RECS);
			continue;
		}
		ck_assert_uint_eq(s.n, RECS - 1);
		if (hit == RECS - 1) {
			ck_assert_uint_eq(end, off[hit]);
			ck_assert_uint_eq(s.holes, 0);
			continue;
		}
		ck_assert_uint_eq(end, off[RECS]);
		ck_assert_uint_eq(s.holes, 1);
		ck_assert_uint_eq(s.hole_off[0], off[hit]);
		ck_assert_uint_eq(s.hole_len[0], off[hit + 1] - off[hit]);
	}
	free(file);
}
END_TEST

START_TEST(test_scan_unreadable)
{
	uint64_t off[RECS + 1];
	struct seg_scan sc = { .record = on_record, .damage = on_damage };
	struct seen s = { 0 };
	struct buf buf;
	uint64_t end, pos = SEG_HEADER_LEN;
	uint8_t data[1000] = { 1, 2, 3 };

	make_file(off);
	file = realloc(file, 64 << 10);
	ck_assert_ptr_nonnull(file);
	for (int i = 0; i < 20; i++)
		pos += put_record(file + pos, pos, 1, data, sizeof data);
	file_len = pos;
	bad_from = 4096;
	bad_to = 8192;
	sc.arg = &s;
	buf_init(&buf, 0);
	ck_assert_int_eq(seg_scan(3, &hdr, SEG_HEADER_LEN, file_len, &sc, &buf,
	    &end, NULL), 0);
	buf_free(&buf);
	ck_assert_int_eq(sc.read_error, -EIO);
	ck_assert_uint_eq(s.holes, 1);
	/* A block in the middle takes with it the records that touch it. */
	ck_assert_uint_ge(s.n, 14);
	ck_assert_uint_eq(end, pos);
	free(file);
}
END_TEST

/*
 * A stretch full of heads that are right but claim megabytes would make a
 * naive search read megabytes for every 8 bytes.
 */
START_TEST(test_scan_lies)
{
	size_t size = 1 << 20;
	struct seen s;

	sys = &mem_sys;
	bad_from = bad_to = 0;
	file = calloc(1, size);
	ck_assert_ptr_nonnull(file);
	seg_header_pack(file, &hdr);
	uint8_t *junk = calloc(1, size);
	ck_assert_ptr_nonnull(junk);
	for (uint64_t pos = SEG_HEADER_LEN; pos + 64 < size; pos += 16) {
		struct seg_piece p = { junk, size - pos - 32 };
		if (pos % 4096 == 64)
			seg_head_pack(file + pos, &hdr, pos, 5, &p, 1);
		else
			memcpy(file + pos, file + SEG_HEADER_LEN, 16);
		file[pos + 8] ^= 1;
	}
	file_len = size;
	file_reads = 0;
	walk(&s);
	ck_assert_uint_eq(s.n, 0);
	ck_assert_uint_lt(file_reads, 2000);
	free(file);
	free(junk);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = { test_header, test_record,
		test_scan_truncated, test_scan_flipped, test_scan_unreadable,
		test_scan_lies, NULL };

	return unit_run("seg", tests);
}
