/*
 * A whole journal or spool of the input's making is opened, in a file system
 * in memory, as lumnid does it: headers and checksums are right, so that what
 * the records say is taken at its word, but for what is damaged after that.
 * Opening never fails on content; what it tells of can be read, or is told as
 * damaged; what is appended then is there at the next opening.
 * Input: one byte (0 journal, 1 spool, 2 records), then steps, by the lowest
 * 3 bits of a byte:
 *	0	the next segment begins
 *	1..6	a record of this type: 2 bytes of length, so many of payload;
 *		bit 3: the checksum of a batch's description is left alone
 *	7	damage to the segment: 2 bytes of place (0xffff: it is cut),
 *		1 of value
 */
#include <errno.h>
#include <fcntl.h>

#include <xxhash.h>

#include "../unit/crashfs.h"
#include "fuzz.h"
#include "store/journal.h"
#include "store/le.h"
#include "store/seg.h"
#include "store/spool.h"
#include "store/spool_int.h"

#define SEGMENTS	4
#define SEGMENT_MAX	(96u << 10)
#define INDEX_MAX	1000
#define PLACES		2048
#define ROUNDS		8	/* of syncing, until all is durable */
#define TEXT		"{\"a\":1}"
#define NOW		((struct wall){ 1750000000000000 })

struct input {
	const uint8_t	*p;
	size_t		 n;
};

static uint8_t
input_byte(struct input *in)
{
	if (in->n == 0)
		return 0;
	in->n--;
	return *in->p++;
}

/* --- the files ------------------------------------------------------------- */

static struct {
	uint8_t		bytes[SEGMENT_MAX];
	size_t		len;
	bool		cut;
	struct seg_header h;
} file;

static void
file_begin(uint32_t kind, uint64_t segno)
{
	file.h = (struct seg_header){ .version = SEG_VERSION, .kind = kind,
	    .instance = "fuzz", .segno = segno };
	seg_header_pack(file.bytes, &file.h);
	file.len = SEG_HEADER_LEN;
	file.cut = false;
}

static void
file_end(int dir)
{
	char name[32];

	snprintf(name, sizeof name, "%010u.seg", (unsigned)file.h.segno);
	int fd = sys->openat(dir, name, O_RDWR | O_CREAT | O_EXCL, 0600);
	FUZZ_CHECK(fd >= 0 && sys_pwrite_all(fd, file.bytes, file.len, 0) == 0,
	    "%s", name);
	(void)sys->close(fd);
}

/* Its sum is over itself: right, or no fuzzer would ever get past it. */
static void
file_sum_batch(uint8_t *p, size_t n)
{
	if (n < SPOOL_META)
		return;
	/* It counts those before it, of which each would have to be marked. */
	if (le_get32(p + 92) > INDEX_MAX)
		le_put32(p + 92, le_get32(p + 92) % INDEX_MAX);
	size_t meta = SPOOL_META + (size_t)le_get16(p + 96) + p[98];
	if (meta <= n)
		le_put64(p, XXH3_64bits_withSeed(p + 8, meta - 8,
		    file.h.segno << 32 | file.len));
}

static void
file_record(struct input *in, uint8_t step)
{
	size_t n = input_byte(in);

	n |= (size_t)input_byte(in) << 8;
	if (n > in->n)
		n = in->n;
	uint8_t *p = file.bytes + file.len + SEG_HEAD_LEN;
	/* Behind a cut nothing is written. */
	if (n == 0 || file.len + seg_record_size(n) > sizeof file.bytes ||
	    file.cut)
		return;
	memset(file.bytes + file.len, 0, seg_record_size(n));
	memcpy(p, in->p, n);
	in->p += n;
	in->n -= n;
	if (file.h.kind != SEGLOG_JOURNAL && (step & 15) == SPOOL_REC_BATCH)
		file_sum_batch(p, n);
	seg_head_pack(file.bytes + file.len, &file.h, file.len, step & 7,
	    &(struct seg_piece){ p, n }, 1);
	file.len += seg_record_size(n);
}

static void
file_damage(struct input *in)
{
	size_t at = input_byte(in);

	at |= (size_t)input_byte(in) << 8;
	uint8_t value = input_byte(in);
	if (at == 0xffff) {
		file.len = file.len * value / 256;
		file.cut = true;
	} else if (file.len > 0) {
		file.bytes[at % file.len] = value;
	}
}

static void
make_files(struct input *in, uint32_t kind)
{
	int dir = sys->open_dir("/log");
	uint64_t segno = 1;

	FUZZ_CHECK(dir >= 0, "no directory");
	file_begin(kind, segno);
	while (in->n > 0) {
		uint8_t step = input_byte(in);

		if ((step & 7) == 7) {
			file_damage(in);
		} else if ((step & 7) != 0) {
			file_record(in, step);
		} else if (segno < SEGMENTS) {
			file_end(dir);
			file_begin(kind, ++segno);
		}
	}
	file_end(dir);
	(void)sys->close(dir);
}

static int
sync_set(const struct seglog_sync *set)
{
	for (size_t i = 0; i < set->n; i++)
		if ((set->what[i].is_dir ? sys->fsync : sys->fdatasync)
		    (set->what[i].fd) != 0)
			return -EIO;
	return 0;
}

static void
on_damaged(void *arg, const char *name, uint64_t off, uint64_t len,
    const char *reason)
{
	FUZZ_CHECK(name[0] != '\0' && reason[0] != '\0', "damage unnamed");
}

/* --- the journal ----------------------------------------------------------- */

static struct {
	struct journal_place place[PLACES];
	uint16_t	runid_len[PLACES];
	uint64_t	lsn[PLACES];
	size_t		n;
} told;

static void
on_state(void *arg, const struct journal_state *st)
{
	volatile uint64_t sum = 0;

	for (size_t i = 0; i < st->parts_n; i++)
		sum += st->parts[i].part;	/* for ASan */
	(void)sum;
}

static void
on_event(void *arg, const char *runid, size_t len, uint64_t lsn,
    struct wall at, bool end, struct journal_place place)
{
	FUZZ_CHECK(len <= 256, "a runId of %zu bytes", len);
	free(fuzz_copy((const uint8_t *)runid, len));
	if (told.n == PLACES)
		return;
	told.place[told.n] = place;
	told.lsn[told.n] = lsn;
	told.runid_len[told.n++] = (uint16_t)len;
}

static void
on_end(void *arg, const char *runid, size_t len, uint64_t lsn)
{
	free(fuzz_copy((const uint8_t *)runid, len));
}

static void
on_sealed(void *arg, const char *runid, size_t len, uint64_t lsn,
    uint32_t part, uint64_t seq)
{
	free(fuzz_copy((const uint8_t *)runid, len));
}

static void
on_count(void *arg, unsigned total, uint64_t n)
{
	/* Of which total is for the owner to check. */
}

static void
give_state(void *arg, struct journal_state *st)
{
	memset(st, 0, sizeof *st);
}

static struct journal *
journal_begin(void)
{
	const struct journal_options o = { .segment_bytes = 64u << 10,
	    .buffer_bytes = 4096, .instance = "fuzz", .state = give_state,
	    .damaged = on_damaged };
	const struct journal_replay rp = { on_state, on_event, on_end,
	    on_sealed, on_count, NULL };
	struct journal *j;
	struct why why = { "" };

	told.n = 0;
	int r = journal_open("/log", "/quarantine", &o, &rp, &j, &why);
	FUZZ_CHECK(r == 0, "journal_open: %s", why.text);
	for (size_t i = 0; i < told.n; i++)
		journal_adopt(j, told.place[i]);
	return j;
}

static void
journal_read_all(struct journal *j)
{
	struct why why = { "" };
	struct buf b;

	buf_init(&b, 0);
	for (size_t i = 0; i < told.n; i++) {
		const char *text;
		int r = journal_read(j, told.place[i], told.runid_len[i], &b,
		    &text, &why);

		FUZZ_CHECK(r == 0 || r == -EBADMSG, "journal_read: %s",
		    why.text);
		if (r == 0)
			free(fuzz_copy((const uint8_t *)text,
			    told.place[i].len));
	}
	buf_free(&b);
}

static void
fuzz_journal(void)
{
	struct journal *j = journal_begin();
	struct journal_place place;
	struct seglog_sync set = { .n = 0 };
	struct why why = { "" };
	uint64_t lsn;

	journal_read_all(j);
	int r = journal_reserve(j, 1, sizeof TEXT - 1, 1, NOW, &why);
	if (r == 0)
		r = journal_event(j, "r", 1, TEXT, sizeof TEXT - 1, false, NOW,
		    &lsn, &place, &why);
	if (r == 0)
		r = journal_flush(j, &why);
	FUZZ_CHECK(r == 0, "append: %s", why.text);
	for (int i = 0; i < ROUNDS && journal_unsynced(j); i++) {
		set.n = 0;
		journal_sync_begin(j, &set);
		journal_sync_end(j, sync_set(&set) == 0);
	}
	FUZZ_CHECK(journal_durable(j) == journal_appended(j),
	    "%llu of %llu are durable", (unsigned long long)journal_durable(j),
	    (unsigned long long)journal_appended(j));
	(void)!journal_trim(j, &why);
	journal_close(j);

	crashfs_reboot();
	j = journal_begin();
	journal_read_all(j);
	bool found = told.n == PLACES;
	for (size_t i = 0; i < told.n; i++)
		found |= told.lsn[i] == lsn &&
		    told.place[i].segno == place.segno &&
		    told.place[i].off == place.off;
	FUZZ_CHECK(found, "the event %llu is gone", (unsigned long long)lsn);
	journal_close(j);
}

/* --- the spool ------------------------------------------------------------- */

static void
on_recent(void *arg, const struct spool_batch *b, const struct spool_ref *ref)
{
	FUZZ_CHECK(b->runid_len <= SPOOL_RUNID_MAX &&
	    strlen(b->id) < SPOOL_ID_MAX, "a batch out of bounds");
}

static struct spool *
spool_begin(uint32_t kind, uint64_t promised)
{
	const struct spool_options o = { .kind = kind,
	    .segment_bytes = 64u << 10, .buffer_bytes = 4096,
	    .instance = "fuzz", .damaged = on_damaged,
	    .promised = promised };
	struct spool *sp;
	struct why why = { "" };
	int r = spool_open("/log", "/quarantine", &o, on_recent, NULL, &sp,
	    &why);

	FUZZ_CHECK(r == 0, "spool_open: %s", why.text);
	return sp;
}

/* Read all that waits; is the batch of this seq there, sound? */
static bool
spool_read_all(struct spool *sp, uint64_t seq)
{
	struct spool_cursor c = { 0 };
	struct spool_batch b;
	struct spool_ref ref;
	struct why why = { "" };
	struct buf buf;
	bool found = false;
	int n;

	buf_init(&buf, 0);
	while ((n = spool_next(sp, &c, &ref, &why)) > 0) {
		const uint8_t *body;
		int r = spool_load(sp, &ref, &b, &buf, &body, &why);

		FUZZ_CHECK(r == 0 || r == -EBADMSG, "spool_load: %s",
		    why.text);
		if (r < 0) {
			(void)spool_done(sp, &ref, 0, 0, ref.events,
			    SPOOL_DROP_CORRUPT, NULL);
			continue;
		}
		free(fuzz_copy(body, ref.body_len));
		FUZZ_CHECK(spool_verify(sp, &ref, &why) == 0, "%s", why.text);
		found |= ref.seq == seq && ref.body_len == sizeof TEXT - 1 &&
		    memcmp(body, TEXT, sizeof TEXT - 1) == 0;
	}
	FUZZ_CHECK(n == 0, "spool_next: %s", why.text);
	buf_free(&buf);
	return found;
}

static void
fuzz_spool(uint32_t kind)
{
	struct spool *sp = spool_begin(kind, 0);
	struct spool_batch b = { .kind = kind == SEGLOG_SPOOL ? SPOOL_RUN :
	    SPOOL_CHANGE, .reason = SPOOL_END, .part = 1, .events = 1,
	    .raw_len = sizeof TEXT - 1, .sealed = NOW, .runid_len = 1,
	    .runid = "r" };
	struct spool_ref ref;
	struct seglog_sync set = { .n = 0 };
	struct why why = { "" };

	(void)spool_read_all(sp, 0);
	int r = spool_append(sp, &b, TEXT, sizeof TEXT - 1, &ref, &why);
	if (r == -ENOBUFS) {
		/* Who says that there are millions of batches: no checkpoint. */
		spool_close(sp);
		return;
	}
	if (r == 0)
		r = spool_flush(sp, &why);
	FUZZ_CHECK(r == 0, "append: %s", why.text);
	for (int i = 0; i < ROUNDS && spool_unsynced(sp); i++) {
		set.n = 0;
		spool_sync_begin(sp, &set);
		spool_sync_end(sp, sync_set(&set) == 0);
	}
	FUZZ_CHECK(spool_durable(sp) >= ref.seq, "not durable");
	(void)!spool_trim(sp, UINT64_MAX, &why);
	(void)spool_totals(sp);
	spool_close(sp);

	crashfs_reboot();
	sp = spool_begin(kind, ref.seq);
	FUZZ_CHECK(spool_read_all(sp, ref.seq), "batch %llu is gone",
	    (unsigned long long)ref.seq);
	spool_close(sp);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const uint32_t kinds[] = { SEGLOG_JOURNAL, SEGLOG_SPOOL,
	    SEGLOG_RECORDS };
	struct input in = { data, len };

	if (len < 2 || len > 65536)
		return 0;
	uint32_t kind = kinds[input_byte(&in) % NELEM(kinds)];
	crashfs_start(1);
	crashfs_mkdir("/log");
	make_files(&in, kind);
	if (kind == SEGLOG_JOURNAL)
		fuzz_journal();
	else
		fuzz_spool(kind);
	FUZZ_CHECK(crashfs_fds() == 0, "%zu files are left open",
	    crashfs_fds());
	crashfs_stop();
	return 0;
}
