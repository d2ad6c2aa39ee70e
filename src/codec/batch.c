/*
 * batch: builds the upstream's body and compresses it with zstd.
 *
 * A small body is gathered and compressed in one call, where zstd needs no
 * window of its own. A large one goes through zstd as a stream, so that its
 * JSON is never whole in memory; the window is bounded, since its size, the
 * tables' and the output's together are what a batch costs. Frames carry
 * their content size and no checksum: the spool's records have one.
 */
#include "codec/batch.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/mem.h"
#include "codec/json.h"

#define BATCH_SMALL	(128u * 1024)	/* bytes of JSON gathered at most */
#define BATCH_WINDOW_LOG 19		/* 512 KiB, for streams */
#define BATCH_UNPACK_WINDOW_LOG 23	/* 8 MiB, for bodies of others */
#define BATCH_KEEP	(256u * 1024)	/* bytes of output buffer kept */
#define BATCH_KEEP_SMALL (768u * 1024)	/* of zstd's memory, for the small */
#define BATCH_KEEP_STREAM (2u << 20)	/* and for streams */
#define BATCH_CHUNK	(32u * 1024)	/* output is taken in such steps */

struct batch {
	ZSTD_CCtx	*zc;
	struct buf	 raw;		/* a small body */
	struct buf	 out;
	size_t		 total;		/* bytes of JSON promised */
	size_t		 fed;		/* bytes of JSON so far */
	size_t		 events_left;
	bool		 first;		/* the next event is the first */
	bool		 stream;
};

static const char batch_tail[] = "]}";

struct batch *
batch_new(void)
{
	struct batch *b = mem_zalloc(sizeof *b);

	buf_init(&b->raw, 0);
	buf_init(&b->out, 0);
	return b;
}

void
batch_free(struct batch *b)
{
	if (b == NULL)
		return;
	ZSTD_freeCCtx(b->zc);
	buf_free(&b->raw);
	buf_free(&b->out);
	free(b);
}

void
batch_trim(struct batch *b)
{
	ZSTD_freeCCtx(b->zc);
	b->zc = NULL;
	buf_free(&b->raw);
	buf_free(&b->out);
}

static int
batch_zstd_fail(struct why *why, size_t r, const char *what)
{
	return why_set(why, -EIO, "zstd: %s: %s", what, ZSTD_getErrorName(r));
}

/* Set zstd up for `total` bytes. Returns 0 or -errno. */
static int
batch_setup(struct batch *b, size_t total, int level, struct why *why)
{
	size_t r;

	/*
	 * What one large body, or a high level, has taken is not kept for the
	 * small ones that follow; in a row of large ones it is used again.
	 */
	b->stream = total > BATCH_SMALL;
	if (b->zc != NULL && ZSTD_sizeof_CCtx(b->zc) >
	    (b->stream ? BATCH_KEEP_STREAM : BATCH_KEEP_SMALL)) {
		ZSTD_freeCCtx(b->zc);
		b->zc = NULL;
	}
	if (b->zc == NULL && (b->zc = ZSTD_createCCtx()) == NULL)
		return why_set(why, -ENOMEM, "zstd: out of memory");
	buf_reset(&b->out, BATCH_KEEP);
	buf_reset(&b->raw, BATCH_KEEP);
	b->total = total;
	b->fed = 0;
	ZSTD_CCtx_reset(b->zc, ZSTD_reset_session_and_parameters);
	r = ZSTD_CCtx_setParameter(b->zc, ZSTD_c_compressionLevel, level);
	if (ZSTD_isError(r))
		return batch_zstd_fail(why, r, "level");
	if (!b->stream)
		return 0;
	/* A level's own window may be smaller for a body of this size. */
	ZSTD_bounds log = ZSTD_cParam_getBounds(ZSTD_c_windowLog);
	int window = log.lowerBound;
	while (window < BATCH_WINDOW_LOG && ((size_t)1 << window) < total)
		window++;
	r = ZSTD_CCtx_setParameter(b->zc, ZSTD_c_windowLog, window);
	if (!ZSTD_isError(r))
		r = ZSTD_CCtx_setPledgedSrcSize(b->zc, total);
	return ZSTD_isError(r) ? batch_zstd_fail(why, r, "window") : 0;
}

/* Give zstd n bytes, and all the output room it asks for. */
static int
batch_stream(struct batch *b, const void *src, size_t n, bool end,
    struct why *why)
{
	ZSTD_inBuffer in = { src, n, 0 };

	for (;;) {
		uint8_t *dst = buf_room(&b->out, BATCH_CHUNK);
		if (dst == NULL)
			return why_set(why, -ENOMEM, "out of memory");
		ZSTD_outBuffer out = { dst, BATCH_CHUNK, 0 };
		size_t r = ZSTD_compressStream2(b->zc, &out, &in,
		    end ? ZSTD_e_end : ZSTD_e_continue);
		if (ZSTD_isError(r))
			return batch_zstd_fail(why, r, "compress");
		b->out.len += out.pos;
		if (end ? r == 0 : in.pos == in.size)
			return 0;
	}
}

static int
batch_put(struct batch *b, const void *src, size_t n, struct why *why)
{
	b->fed += n;
	if (b->fed > b->total)
		return why_set(why, -EINVAL, "batch: more than was promised");
	if (b->stream)
		return n == 0 ? 0 : batch_stream(b, src, n, false, why);
	buf_put(&b->raw, src, n);
	return buf_error(&b->raw) == 0 ? 0 :
	    why_set(why, buf_error(&b->raw), "out of memory");
}

/* Compress one piece whole, which stays the caller's. */
static int
batch_compress(struct batch *b, const void *src, size_t n, struct why *why)
{
	size_t bound = ZSTD_compressBound(n);

	uint8_t *dst = buf_room(&b->out, bound);
	if (dst == NULL)
		return why_set(why, -ENOMEM, "out of memory");
	size_t r = ZSTD_compress2(b->zc, dst, bound, src, n);
	if (ZSTD_isError(r))
		return batch_zstd_fail(why, r, "compress");
	b->out.len = r;
	return 0;
}

int
batch_begin(struct batch *b, const char *runid, size_t runid_len,
    size_t events_n, size_t json_bytes, int level, struct why *why)
{
	static const char head[] = "{\"runId\":", mid[] = ",\"events\":[";
	struct buf text;

	size_t total = sizeof head - 1 + json_string_len(runid, runid_len) +
	    sizeof mid - 1 + json_bytes + (events_n > 0 ? events_n - 1 : 0) +
	    sizeof batch_tail - 1;
	int r = batch_setup(b, total, level, why);
	if (r < 0)
		return r;
	b->events_left = events_n;
	b->first = true;
	buf_init(&text, 0);
	buf_puts(&text, head);
	json_put_string(&text, runid, runid_len);
	buf_puts(&text, mid);
	r = buf_error(&text) != 0 ?
	    why_set(why, buf_error(&text), "out of memory") :
	    batch_put(b, text.data, text.len, why);
	buf_free(&text);
	return r;
}

int
batch_event_begin(struct batch *b)
{
	if (b->events_left == 0)
		return -EINVAL;
	b->events_left--;
	if (b->first) {
		b->first = false;
		return 0;
	}
	return batch_put(b, ",", 1, NULL);
}

int
batch_event_piece(struct batch *b, const void *p, size_t n, struct why *why)
{
	return batch_put(b, p, n, why);
}

int
batch_end(struct batch *b, const uint8_t **ret_body, size_t *ret_len,
    size_t *ret_raw, struct why *why)
{
	int r = batch_put(b, batch_tail, sizeof batch_tail - 1, why);

	if (r < 0)
		return r;
	if (b->fed != b->total || b->events_left != 0)
		return why_set(why, -EINVAL, "batch: less than was promised");
	r = b->stream ? batch_stream(b, NULL, 0, true, why) :
	    batch_compress(b, b->raw.data, b->raw.len, why);
	if (r < 0)
		return r;
	*ret_body = b->out.data;
	*ret_len = b->out.len;
	*ret_raw = b->total;
	return 0;
}

int
batch_pack(struct batch *b, const void *src, size_t n, int level,
    const uint8_t **ret_body, size_t *ret_len, struct why *why)
{
	int r = batch_setup(b, n, level, why);

	if (r < 0)
		return r;
	r = b->stream ? batch_stream(b, src, n, true, why) :
	    batch_compress(b, src, n, why);
	if (r < 0)
		return r;
	*ret_body = b->out.data;
	*ret_len = b->out.len;
	return 0;
}

/* A frame that does not say how long its content is. */
static int
batch_unpack_stream(ZSTD_DCtx *zd, const void *p, size_t n, struct buf *dst,
    struct why *why)
{
	ZSTD_inBuffer in = { p, n, 0 };
	size_t r = 1;

	size_t e = ZSTD_DCtx_setParameter(zd, ZSTD_d_windowLogMax,
	    BATCH_UNPACK_WINDOW_LOG);
	if (ZSTD_isError(e))
		return batch_zstd_fail(why, e, "window");
	while (r != 0) {
		uint8_t over, *w = &over;
		size_t left = BATCH_CHUNK;
		if (dst->max != 0 && dst->max - dst->len < left)
			left = dst->max - dst->len;
		if (left > 0 && (w = buf_room(dst, left)) == NULL)
			return why_set(why, buf_error(dst), "out of memory");
		/* At the limit, one byte more shows that there is more. */
		ZSTD_outBuffer out = { w, left > 0 ? left : 1, 0 };
		size_t before = in.pos;
		r = ZSTD_decompressStream(zd, &out, &in);
		if (ZSTD_isError(r))
			return why_set(why, -EBADMSG, "zstd: %s",
			    ZSTD_getErrorName(r));
		if (left == 0 && out.pos > 0)
			return why_set(why, -ENOBUFS,
			    "the body is too large unpacked");
		dst->len += out.pos;
		if (r != 0 && out.pos == 0 && in.pos == before)
			return why_set(why, -EBADMSG, "zstd: cut short");
	}
	if (in.pos != n)
		return why_set(why, -EBADMSG, "zstd: bytes after the frame");
	return 0;
}

/* Unpack in one call into the room that the frame asks for. */
static int
batch_unpack_whole(ZSTD_DCtx *zd, const void *p, size_t n, uint64_t size,
    struct buf *dst, struct why *why)
{
	uint8_t *w = size > SIZE_MAX / 8 ? NULL :
	    buf_room(dst, size != 0 ? (size_t)size : 1);

	if (w == NULL)
		return why_set(why, buf_error(dst) != 0 ? buf_error(dst) :
		    -ENOBUFS, "the body is too large unpacked");
	size_t r = ZSTD_decompressDCtx(zd, w, (size_t)size, p, n);
	if (ZSTD_isError(r))
		return why_set(why, -EBADMSG, "zstd: %s", ZSTD_getErrorName(r));
	if (r != size)
		return why_set(why, -EBADMSG, "zstd: %zu bytes, not %llu", r,
		    (unsigned long long)size);
	dst->len += r;
	return 0;
}

int
batch_unpack(const void *p, size_t n, struct buf *dst, struct why *why)
{
	ZSTD_DCtx *zd;
	int r;

	unsigned long long size = ZSTD_getFrameContentSize(p, n);
	if (size == ZSTD_CONTENTSIZE_ERROR)
		return why_set(why, -EBADMSG, "zstd: not a frame");
	if ((zd = ZSTD_createDCtx()) == NULL)
		return why_set(why, -ENOMEM, "zstd: out of memory");
	/*
	 * Room is taken at a frame's word only where it could be true: no
	 * frame of zstd shrinks anything to less than 1 in 2^15 or so.
	 */
	if (size == ZSTD_CONTENTSIZE_UNKNOWN || size >> 16 > n)
		r = batch_unpack_stream(zd, p, n, dst, why);
	else
		r = batch_unpack_whole(zd, p, n, size, dst, why);
	ZSTD_freeDCtx(zd);
	return r;
}

/* Step over the text `s` at *p. */
static bool
batch_skip(const char **p, const char *end, const char *s)
{
	size_t n = strlen(s);

	if ((size_t)(end - *p) < n || memcmp(*p, s, n) != 0)
		return false;
	*p += n;
	return true;
}

/* The end of a string, from after its opening quote; NULL if there is none. */
static const char *
batch_string_end(const char *p, const char *end)
{
	while (p < end) {
		if (*p == '"')
			return p + 1;
		p += *p == '\\' ? 2 : 1;
	}
	return NULL;
}

/* The end of the object that begins at p; NULL if there is none. */
static const char *
batch_object_end(const char *p, const char *end)
{
	int depth = 0;

	if (p >= end || *p != '{')
		return NULL;
	while (p != NULL && p < end) {
		switch (*p++) {
		case '"':
			p = batch_string_end(p, end);
			break;
		case '{':
		case '[':
			depth++;
			break;
		case '}':
		case ']':
			if (--depth == 0)
				return p;
			break;
		default:
			break;
		}
	}
	return NULL;
}

int
batch_walk(const char *body, size_t len,
    int (*fn)(void *, size_t i, const char *json, size_t len), void *arg)
{
	const char *p = body, *end = body + len;
	size_t n = 0;

	if (!batch_skip(&p, end, "{\"runId\":\""))
		return -EBADMSG;
	p = batch_string_end(p, end);
	if (p == NULL || !batch_skip(&p, end, ",\"events\":["))
		return -EBADMSG;
	while (!batch_skip(&p, end, batch_tail)) {
		if (n >= INT_MAX || (n > 0 && !batch_skip(&p, end, ",")))
			return -EBADMSG;
		const char *stop = batch_object_end(p, end);
		if (stop == NULL)
			return -EBADMSG;
		int r = fn(arg, n, p, (size_t)(stop - p));
		if (r != 0)
			return r;
		n++;
		p = stop;
	}
	return p == end ? (int)n : -EBADMSG;
}
