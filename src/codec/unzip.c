/* unzip: zlib and libzstd behind one door, piece by piece. */
#include "codec/unzip.h"

#include <errno.h>
#include <stdbool.h>
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

/* Room for the next piece, at most up to the limit and one byte over. */
static uint8_t *
unzip_room(struct buf *dst, size_t *ret_n)
{
	size_t n = UNZIP_PIECE;

	if (dst->max != 0 && dst->max - dst->len < n)
		n = dst->max - dst->len;
	*ret_n = n;
	return n > 0 ? buf_room(dst, n) : NULL;
}

static int
unzip_full(const struct buf *dst, struct why *why)
{
	if (buf_error(dst) == -ENOMEM)
		return why_set(why, -ENOMEM, "no memory for the body");
	return why_set(why, -ENOBUFS, "the body is larger than %zu bytes when "
	    "decoded", dst->max);
}

static int
unzip_gzip(const void *src, size_t len, struct buf *dst, struct why *why)
{
	z_stream z = { .next_in = (Bytef *)(uintptr_t)src,
	    .avail_in = (uInt)len };
	int r = inflateInit2(&z, UNZIP_GZIP_ONLY), ret = 0;

	if (r != Z_OK)
		return why_set(why, -ENOMEM, "no memory for the body");
	while (ret == 0) {
		size_t n;
		uint8_t *out = unzip_room(dst, &n);
		uint8_t over;

		/* At the limit one more byte tells whether more would come. */
		z.next_out = out != NULL ? out : &over;
		z.avail_out = out != NULL ? (uInt)n : 1;
		r = inflate(&z, Z_NO_FLUSH);
		if (out != NULL)
			dst->len += n - z.avail_out;
		else if (z.avail_out == 0)
			ret = unzip_full(dst, why);
		if (ret == 0 && r == Z_STREAM_END) {
			if (z.avail_in == 0)
				break;
			r = inflateReset(&z);	/* the next member */
		}
		if (ret == 0 && (r != Z_OK || (z.avail_in == 0 &&
		    z.avail_out != 0)))
			ret = why_set(why, -EBADMSG, "the body is no gzip, or "
			    "is cut short");
	}
	(void)inflateEnd(&z);
	return ret;
}

static int
unzip_zstd(const void *src, size_t len, struct buf *dst, struct why *why)
{
	ZSTD_DCtx *d = ZSTD_createDCtx();
	ZSTD_inBuffer in = { src, len, 0 };
	size_t r = 1;
	int ret = 0;

	if (d == NULL)
		return why_set(why, -ENOMEM, "no memory for the body");
	(void)ZSTD_DCtx_setParameter(d, ZSTD_d_windowLogMax,
	    UNZIP_WINDOW_LOG);
	while (ret == 0) {
		size_t n;
		uint8_t *room = unzip_room(dst, &n);
		uint8_t over;
		ZSTD_outBuffer out = { room != NULL ? (void *)room : &over,
		    room != NULL ? n : 1, 0 };

		r = ZSTD_decompressStream(d, &out, &in);
		if (room != NULL)
			dst->len += out.pos;
		else if (out.pos > 0)
			ret = unzip_full(dst, why);
		if (ret == 0 && ZSTD_isError(r))
			ret = why_set(why, -EBADMSG, "the body is no zstd: %s",
			    ZSTD_getErrorName(r));
		if (ret != 0 || (in.pos == in.size && out.pos < out.size))
			break;
	}
	ZSTD_freeDCtx(d);
	if (ret == 0 && r != 0)
		return why_set(why, -EBADMSG, "the zstd body is cut short");
	return ret;
}

int
unzip_body(enum unzip_coding coding, const void *src, size_t len,
    struct buf *dst, struct why *why)
{
	switch (coding) {
	case UNZIP_IDENTITY:
		buf_put(dst, src, len);
		return buf_error(dst) == 0 ? 0 : unzip_full(dst, why);
	case UNZIP_GZIP:
		return unzip_gzip(src, len, dst, why);
	case UNZIP_ZSTD:
		return unzip_zstd(src, len, dst, why);
	case UNZIP_UNKNOWN:
		break;
	}
	return why_set(why, -EINVAL, "an unknown coding");
}
