/*
 * A segment with sound records is damaged at will and scanned: what comes out
 * is what was written there, whole, or is told as damage; or the file's bytes
 * are the input's own.
 * Input: one byte of records (0: the rest is the file), so many lengths, then
 * damages of 4 bytes: 3 of place (from the end where the highest bit is set;
 * 0xffffff cuts the file there), 1 of value.
 */
#include <sys/mman.h>
#include <unistd.h>

#include "base/buf.h"
#include "fuzz.h"
#include "store/seg.h"

#define FILE_MAX	65536

struct written {
	uint64_t	off;
	uint32_t	len;
	uint8_t		type;
};

struct world {
	uint8_t		file[FILE_MAX];
	uint8_t		sound[FILE_MAX];	/* before the damage */
	size_t		size;
	struct written	written[256];
	size_t		n;
	uint64_t	last;			/* where the last one ended */
	bool		foreign;		/* nothing is known of it */
};

static struct world w;

static void
append(const struct seg_header *h, uint32_t len, uint8_t type)
{
	struct written *r = &w.written[w.n];

	if (w.size + seg_record_size(len) > FILE_MAX)
		return;
	*r = (struct written){ w.size, len, type };
	uint8_t *p = w.file + w.size + SEG_HEAD_LEN;
	for (uint32_t i = 0; i < len; i++)
		p[i] = (uint8_t)(w.n * 31 + i);
	seg_head_pack(w.file + w.size, h, w.size, type,
	    &(struct seg_piece){ p, len }, 1);
	w.size += seg_record_size(len);
	w.n++;
}

static void
damage(const uint8_t *data, size_t len)
{
	for (; len >= 4; data += 4, len -= 4) {
		size_t at = ((size_t)data[0] << 16 | (size_t)data[1] << 8 |
		    data[2]) & 0x7fffff;

		if (at == 0x7fffff)
			w.size = w.size * data[3] / 256;
		else if (w.size > 0)
			w.file[at % w.size] = data[3];
	}
}

static int
on_record(void *arg, uint8_t type, const uint8_t *p, uint32_t len,
    uint64_t off)
{
	volatile uint8_t touched = 0;

	FUZZ_CHECK(off >= w.last && off + SEG_HEAD_LEN + len <= w.size,
	    "a record out of place");
	w.last = off + SEG_HEAD_LEN + len;
	for (uint32_t i = 0; i < len; i++)
		touched |= p[i];
	(void)touched;	/* for ASan */
	if (w.foreign)
		return 0;
	for (size_t i = 0; i < w.n; i++)
		if (w.written[i].off == off) {
			FUZZ_CHECK(w.written[i].len == len &&
			    w.written[i].type == type &&
			    memcmp(p, w.sound + off + SEG_HEAD_LEN, len) == 0,
			    "a damaged record at %llu",
			    (unsigned long long)off);
			return 0;
		}
	FUZZ_CHECK(false, "a record that was never written");
	return 0;
}

static void
on_damage(void *arg, uint64_t off, uint64_t len)
{
	FUZZ_CHECK(len > 0 && off + len <= w.size, "damage out of place");
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static int fd = -1;
	const struct seg_header h = { .version = SEG_VERSION, .kind = 1,
	    .instance = "fuzz", .segno = 7 };
	struct seg_scan scan = { on_record, on_damage, NULL, 0 };
	struct seg_header got;
	struct why why = { "" };
	struct buf scratch;
	uint64_t end = 0;

	if (len < 1 || len > FILE_MAX)
		return 0;
	if (fd < 0 && (fd = memfd_create("fuzz", MFD_CLOEXEC)) < 0)
		abort();
	size_t records = data[0] & 63;
	w.n = 0;
	w.last = 0;
	w.foreign = records == 0;
	seg_header_pack(w.file, &h);
	w.size = SEG_HEADER_LEN;
	data++;
	len--;
	if (w.foreign) {
		w.size = len;
		memcpy(w.file, data, len);
	} else {
		for (size_t i = 0; i < records && i < len; i++)
			append(&h, 1 + data[i] * (i % 5 == 4 ? 40u : 1u),
			    (uint8_t)(1 + i % 7));
		memcpy(w.sound, w.file, w.size);
		records = records < len ? records : len;
		damage(data + records, len - records);
	}
	(void)!seg_header_unpack(&got, w.file, w.size, &why);
	if (ftruncate(fd, 0) < 0 ||
	    pwrite(fd, w.file, w.size, 0) != (ssize_t)w.size)
		abort();
	buf_init(&scratch, 0);
	int r = seg_scan(fd, &h, SEG_HEADER_LEN, w.size, &scan, &scratch, &end,
	    &why);
	FUZZ_CHECK(r == 0 && (end <= w.size + SEG_ALIGN ||
	    end == SEG_HEADER_LEN), "%d, the end at %llu", r,
	    (unsigned long long)end);
	buf_free(&scratch);
	return 0;
}
