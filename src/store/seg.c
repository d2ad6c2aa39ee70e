/*
 * seg: the bytes of a segment file, and the walk over them.
 *
 * Numbers are little-endian. A file is one header and then records, each
 * beginning on a multiple of 8:
 *
 *	header, 64 bytes
 *	   0	8	"LMNIDSEG"
 *	   8	u32	version, 1
 *	  12	u32	kind: "JRNL", "SPOL" or "RECS"
 *	  16	16	instance: random, one for each installation
 *	  32	u64	segment number, as in the file's name
 *	  40	i64	created, microseconds since 1970
 *	  48	u32	segments from this number on were not known to be
 *			durable when this one was created
 *	  52	u32	0
 *	  56	u64	xxh3 of bytes 0..55
 *
 * These 64 bytes, but for the meaning of 48..55, are the same in every
 * version: an older lumnid knows by them what it must not touch. Whatever an
 * older one would misread, a new type of record included, is a new version.
 *
 *	record
 *	   0	u32	length of the payload, 1..64 MiB
 *	   4	u8	type, 1..255; what it means is the log's
 *	   5	u8	0
 *	   6	u16	tag: the top 16 bits of the key
 *	   8	u64	xxh3 of the payload, seeded with the key
 *	  16		payload, then zero bytes up to a multiple of 8
 *
 * The key is the xxh3 of 40 bytes: instance (16), segment number (u64),
 * offset of the record (u64), bytes 0..5 of the record, two zero bytes. So
 * head and payload are both covered; a record that turns up in another place,
 * segment or installation is not valid; and the tag tells a head from other
 * bytes without reading what it claims to have for payload.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include <xxhash.h>

#include "base/mem.h"
#include "base/sys.h"
#include "store/le.h"
#include "store/seg.h"

#define SCAN_PIECE	(256u << 10)	/* bytes read at a time */
#define SCAN_BLOCK	4096u		/* bytes given up when unreadable */

static const uint8_t seg_magic[8] = "LMNIDSEG";

void
seg_header_pack(uint8_t dst[SEG_HEADER_LEN], const struct seg_header *h)
{
	memset(dst, 0, SEG_HEADER_LEN);
	memcpy(dst, seg_magic, sizeof seg_magic);
	le_put32(dst + 8, h->version);
	le_put32(dst + 12, h->kind);
	memcpy(dst + 16, h->instance, sizeof h->instance);
	le_put64(dst + 32, h->segno);
	le_put64(dst + 40, (uint64_t)h->created.us);
	le_put32(dst + 48, h->unsynced_from);
	le_put64(dst + 56, XXH3_64bits(dst, 56));
}

int
seg_header_unpack(struct seg_header *h, const uint8_t *src, size_t len,
    struct why *why)
{
	uint32_t version;

	if (len < SEG_HEADER_LEN)
		return why_set(why, -EBADMSG, "header cut short at %zu bytes",
		    len);
	if (memcmp(src, seg_magic, sizeof seg_magic) != 0)
		return why_set(why, -EBADMSG, "not a segment file");
	if (le_get64(src + 56) != XXH3_64bits(src, 56))
		return why_set(why, -EBADMSG, "header checksum is wrong");
	version = le_get32(src + 8);
	if (version != SEG_VERSION)
		return why_set(why, -EPROTONOSUPPORT,
		    "format %" PRIu32 ", only %d is known", version,
		    SEG_VERSION);
	h->version = version;
	h->kind = le_get32(src + 12);
	memcpy(h->instance, src + 16, sizeof h->instance);
	h->segno = le_get64(src + 32);
	h->created.us = (int64_t)le_get64(src + 40);
	h->unsynced_from = le_get32(src + 48);
	return 0;
}

/* The key of a record whose head begins with these 6 bytes. */
static uint64_t
seg_key(const struct seg_header *h, uint64_t off, const uint8_t head[6])
{
	uint8_t block[40] = { 0 };

	memcpy(block, h->instance, 16);
	le_put64(block + 16, h->segno);
	le_put64(block + 24, off);
	memcpy(block + 32, head, 6);
	return XXH3_64bits(block, sizeof block);
}

static XXH3_state_t *
seg_xxh_new(uint64_t key)
{
	XXH3_state_t *st = XXH3_createState();

	if (st == NULL || XXH3_64bits_reset_withSeed(st, key) != XXH_OK)
		fatal("out of memory");
	return st;
}

void
seg_head_pack(uint8_t dst[SEG_HEAD_LEN], const struct seg_header *h,
    uint64_t off, uint8_t type, const struct seg_piece *piece, size_t n)
{
	XXH3_state_t *st;
	uint64_t key;
	size_t len = 0;

	for (size_t i = 0; i < n; i++)
		len += piece[i].len;
	assert(type != 0 && len != 0 && len <= SEG_RECORD_MAX);
	assert(off % SEG_ALIGN == 0);
	le_put32(dst, (uint32_t)len);
	dst[4] = type;
	dst[5] = 0;
	key = seg_key(h, off, dst);
	le_put16(dst + 6, (uint16_t)(key >> 48));
	if (n == 1) {
		le_put64(dst + 8, XXH3_64bits_withSeed(piece->data, len, key));
		return;
	}
	st = seg_xxh_new(key);
	for (size_t i = 0; i < n; i++)
		(void)XXH3_64bits_update(st, piece[i].data, piece[i].len);
	le_put64(dst + 8, XXH3_64bits_digest(st));
	(void)XXH3_freeState(st);
}

/* As seg_head_unpack(), and the key. */
static bool
seg_head_key(const struct seg_header *h, uint64_t off, const uint8_t *src,
    uint64_t *ret_key)
{
	uint32_t len = le_get32(src);

	/* Cheap tests first: a search runs through here for every 8 bytes. */
	if (src[4] == 0 || src[5] != 0 || len == 0 || len > SEG_RECORD_MAX)
		return false;
	*ret_key = seg_key(h, off, src);
	return le_get16(src + 6) == (uint16_t)(*ret_key >> 48);
}

bool
seg_head_unpack(const struct seg_header *h, uint64_t off,
    const uint8_t src[SEG_HEAD_LEN], uint8_t *ret_type, uint32_t *ret_len)
{
	uint64_t key;

	if (!seg_head_key(h, off, src, &key))
		return false;
	*ret_type = src[4];
	*ret_len = le_get32(src);
	return true;
}

bool
seg_record_ok(const struct seg_header *h, uint64_t off, const uint8_t *rec,
    size_t payload_len)
{
	uint64_t key;

	if (!seg_head_key(h, off, rec, &key) || le_get32(rec) != payload_len)
		return false;
	return le_get64(rec + 8) ==
	    XXH3_64bits_withSeed(rec + SEG_HEAD_LEN, payload_len, key);
}

void
seg_sum_begin(struct seg_sum *sum, const struct seg_header *h, uint64_t off,
    const uint8_t head[SEG_HEAD_LEN])
{
	sum->state = seg_xxh_new(seg_key(h, off, head));
	sum->want = le_get64(head + 8);
}

void
seg_sum_add(struct seg_sum *sum, const void *data, size_t len)
{
	(void)XXH3_64bits_update(sum->state, data, len);
}

bool
seg_sum_end(struct seg_sum *sum)
{
	bool ok = XXH3_64bits_digest(sum->state) == sum->want;

	(void)XXH3_freeState(sum->state);
	sum->state = NULL;
	return ok;
}

/* A walk under way: [at, at + buf->len) of the file lies in buf. */
struct scan {
	int			 fd;
	const struct seg_header	*h;
	uint64_t		 size;
	uint64_t		 at;
	struct buf		*buf;
	struct seg_scan		*s;
	uint64_t		 budget;	/* bytes of wrong checksums */
};

/* Fill n bytes at off; what cannot be read becomes zero bytes. */
static void
scan_fill(struct scan *sc, uint8_t *dst, size_t n, uint64_t off)
{
	size_t done = 0, skip;
	ssize_t r;

	while (done < n) {
		r = sys->pread(sc->fd, dst + done, n - done, off + done);
		if (r == 0) {
			memset(dst + done, 0, n - done);
			return;
		}
		if (r > 0) {
			done += (size_t)r;
			continue;
		}
		if (r == -EINTR)
			continue;
		if (sc->s->read_error == 0)
			sc->s->read_error = (int)r;
		/* Retry behind this block, whole blocks at a time. */
		skip = SCAN_BLOCK - (size_t)((off + done) % SCAN_BLOCK);
		if (skip > n - done)
			skip = n - done;
		memset(dst + done, 0, skip);
		done += skip;
	}
}

/* n bytes of the file at off, or NULL without memory. */
static const uint8_t *
scan_bytes(struct scan *sc, uint64_t off, size_t n)
{
	size_t want = n < SCAN_PIECE ? SCAN_PIECE : n;
	uint8_t *dst;

	if (off >= sc->at && off + n <= sc->at + sc->buf->len)
		return sc->buf->data + (off - sc->at);
	if (want > sc->size - off)
		want = (size_t)(sc->size - off);
	assert(n <= want);
	buf_reset(sc->buf, SIZE_MAX);
	dst = buf_room(sc->buf, want);
	if (dst == NULL)
		return NULL;
	scan_fill(sc, dst, want, off);
	sc->buf->len = want;
	sc->at = off;
	return dst;
}

/* Is there a valid record at off? 1 and its place in memory, 0, -ENOMEM. */
static int
scan_try(struct scan *sc, uint64_t off, const uint8_t **ret_rec)
{
	const uint8_t *rec = scan_bytes(sc, off, SEG_HEAD_LEN);
	uint32_t len;
	uint8_t type;

	if (rec == NULL)
		return -ENOMEM;
	if (!seg_head_unpack(sc->h, off, rec, &type, &len))
		return 0;
	if (len > sc->size - off - SEG_HEAD_LEN)
		return 0;
	rec = scan_bytes(sc, off, SEG_HEAD_LEN + (size_t)len);
	if (rec == NULL)
		return -ENOMEM;
	*ret_rec = rec;
	if (seg_record_ok(sc->h, off, rec, len))
		return 1;
	/* Lengths that lie must not make the search quadratic. */
	sc->budget = sc->budget > len ? sc->budget - len : 0;
	return 0;
}

int
seg_scan(int fd, const struct seg_header *h, uint64_t from, uint64_t size,
    struct seg_scan *s, struct buf *buf, uint64_t *ret_end, struct why *why)
{
	struct scan sc = { .fd = fd, .h = h, .size = size, .buf = buf, .s = s,
	    .budget = 16 * size + SEG_RECORD_MAX };
	uint64_t pos = from, end = from;
	const uint8_t *rec = NULL;
	uint32_t len;
	int r;

	assert(from % SEG_ALIGN == 0);
	s->read_error = 0;
	buf_reset(buf, SIZE_MAX);
	while (pos + SEG_HEAD_LEN < size && sc.budget > 0) {
		r = scan_try(&sc, pos, &rec);
		if (r < 0)
			return why_errno(why, r, "scan at %" PRIu64, pos);
		if (r == 0) {
			pos += SEG_ALIGN;
			continue;
		}
		if (pos > end && s->damage != NULL)
			s->damage(s->arg, end, pos - end);
		len = le_get32(rec);
		end = pos + seg_record_size(len);
		*ret_end = end;
		r = s->record(s->arg, rec[4], rec + SEG_HEAD_LEN, len, pos);
		if (r != 0)
			return r;
		pos = end;
	}
	*ret_end = end;
	return 0;
}
