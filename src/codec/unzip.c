/* unzip: zlib and libzstd behind one door, piece by piece. */
#include "codec/unzip.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <zlib.h>
#include <zstd.h>

#define UNZIP_PIECE	(32u * 1024)
#define UNZIP_WINDOW_LOG	23	/* 8 MiB; zstd -19 asks for no more */
#define UNZIP_GZIP_ONLY	(15 + 16)	/* inflateInit2(): a gzip header */

enum unzip_coding
unzip_coding(const char *name)
{
	if (name == NULL || name[0] == '\0' ||
	    strcasecmp(name, "identity") == 0)
		return UNZIP_IDENTITY;
	if (strcasecmp(name, "gzip") == 0 || strcasecmp(name, "x-gzip") == 0)
		return UNZIP_GZIP;
	if (strcasecmp(name, "zstd") == 0)
		return UNZIP_ZSTD;
	return UNZIP_UNKNOWN;
}

struct unzip {
	enum unzip_coding	 coding;
	bool			 inside;	/* a member or frame is open */
	z_stream		 z;
	ZSTD_DCtx		*zstd;
};

int
unzip_new(enum unzip_coding coding, struct unzip **ret)
{
	struct unzip *u = calloc(1, sizeof *u);

	if (u == NULL)
		return -ENOMEM;
	u->coding = coding;
	u->inside = true;	/* an empty body is cut short */
	if (coding == UNZIP_GZIP) {
		if (inflateInit2(&u->z, UNZIP_GZIP_ONLY) != Z_OK) {
			free(u);
			return -ENOMEM;
		}
	} else if (coding == UNZIP_ZSTD) {
		u->zstd = ZSTD_createDCtx();
		if (u->zstd == NULL) {
			free(u);
			return -ENOMEM;
		}
		(void)ZSTD_DCtx_setParameter(u->zstd, ZSTD_d_windowLogMax,
		    UNZIP_WINDOW_LOG);
	}
	*ret = u;
	return 0;
}

void
unzip_free(struct unzip *u)
{
	if (u == NULL)
		return;
	if (u->coding == UNZIP_GZIP)
		(void)inflateEnd(&u->z);
	ZSTD_freeDCtx(u->zstd);
	free(u);
}

/* One step. Returns bytes made, or an error; *used moves on. */
static int64_t
unzip_gzip(struct unzip *u, const uint8_t *src, size_t len, size_t *used,
    uint8_t *dst, size_t n, struct why *why)
{
	u->z.next_in = (Bytef *)(uintptr_t)(src + *used);
	u->z.avail_in = (uInt)(len - *used);
	u->z.next_out = dst;
	u->z.avail_out = (uInt)n;
	int r = inflate(&u->z, Z_NO_FLUSH);
	*used = len - u->z.avail_in;
	u->inside = r != Z_STREAM_END;
	if (r == Z_STREAM_END)
		r = inflateReset(&u->z);	/* for the next member */
	if (r == Z_MEM_ERROR)
		return why_set(why, -ENOMEM, "no memory for the body");
	if (r != Z_OK && r != Z_BUF_ERROR)
		return why_set(why, -EBADMSG, "the body is no gzip");
	return (int64_t)(n - u->z.avail_out);
}

static int64_t
unzip_zstd(struct unzip *u, const uint8_t *src, size_t len, size_t *used,
    uint8_t *dst, size_t n, struct why *why)
{
	ZSTD_inBuffer in = { src, len, *used };
	ZSTD_outBuffer out = { dst, n, 0 };
	size_t r = ZSTD_decompressStream(u->zstd, &out, &in);

	if (ZSTD_isError(r))
		return why_set(why, -EBADMSG, "the body is no zstd: %s",
		    ZSTD_getErrorName(r));
	*used = in.pos;
	u->inside = r != 0;
	return (int64_t)out.pos;
}

static int64_t
unzip_plain(struct unzip *u, const uint8_t *src, size_t len, size_t *used,
    uint8_t *dst, size_t n)
{
	size_t k = len - *used < n ? len - *used : n;

	memcpy(dst, src + *used, k);
	*used += k;
	u->inside = false;
	return (int64_t)k;
}

int64_t
unzip_next(struct unzip *u, const uint8_t *src, size_t len, size_t *ret_used,
    uint8_t *dst, size_t n, struct why *why)
{
	static const uint8_t nothing;
	size_t used = 0, before;
	int64_t r;

	if (src == NULL)
		src = &nothing;
	do {
		before = used;
		/* Also without input: the decoder may hold some back. */
		if (used == len && !u->inside)
			r = 0;
		else if (u->coding == UNZIP_GZIP)
			r = unzip_gzip(u, src, len, &used, dst, n, why);
		else if (u->coding == UNZIP_ZSTD)
			r = unzip_zstd(u, src, len, &used, dst, n, why);
		else
			r = unzip_plain(u, src, len, &used, dst, n);
	} while (r == 0 && used > before && used < len);
	*ret_used = used;
	if (r == 0 && (u->inside || used < len))
		return why_set(why, -EBADMSG, "the body is cut short");
	return r;
}

static int
unzip_full(const struct buf *dst, struct why *why)
{
	if (buf_error(dst) == -ENOMEM)
		return why_set(why, -ENOMEM, "no memory for the body");
	return why_set(why, -ENOBUFS, "the body is larger than %zu bytes when "
	    "decoded", dst->max);
}

/* All of it, piece by piece. At the limit one more byte tells of more. */
static int
unzip_all(struct unzip *u, const uint8_t *src, size_t len, struct buf *dst,
    struct why *why)
{
	size_t used;

	for (;;) {
		size_t n = UNZIP_PIECE;
		uint8_t over, *room;

		if (dst->max != 0 && dst->max - dst->len < n)
			n = dst->max - dst->len;
		room = n > 0 ? buf_room(dst, n) : &over;
		if (room == NULL)
			return unzip_full(dst, why);
		int64_t r = unzip_next(u, src, len, &used, room,
		    n > 0 ? n : 1, why);
		if (r <= 0)
			return (int)r;
		if (n == 0)
			return unzip_full(dst, why);
		dst->len += (size_t)r;
		src += used;
		len -= used;
	}
}

int
unzip_body(enum unzip_coding coding, const void *src, size_t len,
    struct buf *dst, struct why *why)
{
	struct unzip *u;
	int r;

	if (coding == UNZIP_UNKNOWN)
		return why_set(why, -EINVAL, "an unknown coding");
	if (coding == UNZIP_IDENTITY) {
		buf_put(dst, src, len);
		return buf_error(dst) == 0 ? 0 : unzip_full(dst, why);
	}
	if (unzip_new(coding, &u) < 0)
		return why_set(why, -ENOMEM, "no memory for the body");
	r = unzip_all(u, src, len, dst, why);
	unzip_free(u);
	return r;
}
