/*
 * seg: one segment file: a header, then records. The format is drawn at the
 * top of seg.c. Pure bytes and one walk over an fd; files, buffering, rolling
 * and removal are seglog's.
 */
#ifndef LUMNID_STORE_SEG_H
#define LUMNID_STORE_SEG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/cdefs.h"
#include "base/clock.h"
#include "base/why.h"

#define SEG_HEADER_LEN	64	/* bytes */
#define SEG_HEAD_LEN	16	/* bytes before each record's payload */
#define SEG_ALIGN	8	/* records begin on multiples of this */
#define SEG_RECORD_MAX	(64u << 20)	/* bytes of payload */
#define SEG_VERSION	1

struct seg_header {
	uint32_t	version;
	uint32_t	kind;		/* the log's: SEGLOG_JOURNAL, ... */
	uint8_t		instance[16];	/* random, one for each installation */
	uint64_t	segno;
	struct wall	created;
	/*
	 * Segments from this number on were not known to be durable when this
	 * one was created.
	 */
	uint32_t	unsynced_from;
};

/* Bytes that a record with this payload takes in the file. */
static inline uint64_t
seg_record_size(uint64_t payload)
{
	return (SEG_HEAD_LEN + payload + SEG_ALIGN - 1) &
	    ~(uint64_t)(SEG_ALIGN - 1);
}

void	seg_header_pack(uint8_t dst[SEG_HEADER_LEN], const struct seg_header *);
/*
 * Returns 0, -EBADMSG (no segment of ours, or its checksum is wrong) or
 * -EPROTONOSUPPORT (a newer version).
 */
int	seg_header_unpack(struct seg_header *, const uint8_t *, size_t,
	    struct why *) MUSTUSE;

/*
 * The record's head. Its tag and the checksum are keyed by instance, segment
 * number and offset, so that a record is valid only where it was written.
 * payload comes as n pieces.
 */
struct seg_piece {
	const void	*data;
	size_t		 len;
};

void	seg_head_pack(uint8_t dst[SEG_HEAD_LEN], const struct seg_header *,
	    uint64_t off, uint8_t type, const struct seg_piece *, size_t n) HOT;
/* Read type and length; false when this is no head of ours at this place. */
bool	seg_head_unpack(const struct seg_header *, uint64_t off,
	    const uint8_t src[SEG_HEAD_LEN], uint8_t *ret_type,
	    uint32_t *ret_len);
/* Head and payload lie together at rec; is the checksum right? */
bool	seg_record_ok(const struct seg_header *, uint64_t off,
	    const uint8_t *rec, size_t payload_len);

/* Check a record whose payload comes piece by piece. */
struct seg_sum {
	void		*state;
	uint64_t	 want;
};

void	seg_sum_begin(struct seg_sum *, const struct seg_header *,
	    uint64_t off, const uint8_t head[SEG_HEAD_LEN]);
void	seg_sum_add(struct seg_sum *, const void *, size_t);
/* Is it right? Frees what the sum holds. */
bool	seg_sum_end(struct seg_sum *) MUSTUSE;

/*
 * Walk the records of a file from offset `from` (SEG_HEADER_LEN for all).
 * record: called for each valid one; data is valid during the call only.
 *	Returning nonzero ends the walk, and seg_scan() returns it.
 * damage: called for each stretch [off, off+len) that holds no valid record
 *	but is followed by one. May be NULL.
 * *ret_end: where the last valid record ends; what follows, up to the size of
 * the file, is a torn tail (or nothing). The padding of the last record may be
 * missing from the file.
 * Blocks that cannot be read (-EIO) are taken as damaged; read_error tells.
 * buf: scratch, grows to the largest record. Reads with sys->pread in large
 * pieces. Work is bounded: after 16 times the file's size of checksums that
 * were wrong, the walk gives up, and the rest counts as torn.
 * Returns 0, -ENOMEM, or what record returned.
 */
struct seg_scan {
	int	(*record)(void *, uint8_t type, const uint8_t *data,
		    uint32_t len, uint64_t off);
	void	(*damage)(void *, uint64_t off, uint64_t len);
	void	*arg;
	int	read_error;	/* out: 0 or the first -errno passed over */
};

int	seg_scan(int fd, const struct seg_header *, uint64_t from,
	    uint64_t size, struct seg_scan *, struct buf *,
	    uint64_t *ret_end, struct why *) MUSTUSE;

#endif
