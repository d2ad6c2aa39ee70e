/*
 * unzip: content codings of HTTP bodies (RFC 9110 8.4.1): gzip, zstd and
 * identity, decoded with a limit, so that a small body cannot become a large
 * one.
 */
#ifndef LUMNID_CODEC_UNZIP_H
#define LUMNID_CODEC_UNZIP_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/cdefs.h"
#include "base/why.h"

enum unzip_coding {
	UNZIP_IDENTITY,
	UNZIP_GZIP,
	UNZIP_ZSTD,
	UNZIP_UNKNOWN,
};

/* NULL or "" is identity; x-gzip is gzip. */
enum unzip_coding unzip_coding(const char *name);

/*
 * Append what the whole body decodes to; dst->max is the limit. Several gzip
 * members, or zstd frames, in a row are one body. Returns 0, -EBADMSG (not of
 * this coding, or cut short), -ENOBUFS (larger than dst->max), -ENOMEM.
 */
int	unzip_body(enum unzip_coding, const void *, size_t, struct buf *dst,
	    struct why *) MUSTUSE;

/*
 * The same piece by piece. unzip_next() decodes at most n bytes to dst, from
 * what is left of the body: src, len, of which *ret_used are done with then.
 * Returns how many, 0 at the body's end, or -EBADMSG or -ENOMEM.
 */
struct unzip;
int	unzip_new(enum unzip_coding, struct unzip **) MUSTUSE;	/* -ENOMEM */
void	unzip_free(struct unzip *);
int64_t	unzip_next(struct unzip *, const uint8_t *src, size_t len,
	    size_t *ret_used, uint8_t *dst, size_t n, struct why *) MUSTUSE;

#endif
