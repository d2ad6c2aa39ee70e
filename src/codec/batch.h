/*
 * batch: builds the upstream's body {"runId":"...","events":[...]} from JSON
 * events and compresses it with zstd, in one go when it is small and as a
 * stream when it is large, so that memory does not grow with the batch's JSON.
 */
#ifndef LUMNID_CODEC_BATCH_H
#define LUMNID_CODEC_BATCH_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/cdefs.h"
#include "base/why.h"

struct batch;		/* owns a zstd context and buffers, reused */

struct batch	*batch_new(void);
void		 batch_free(struct batch *);
/* Give back what memory it can; the last body goes with it. */
void		 batch_trim(struct batch *);

/*
 * Begin a body. level: zstd's, 1..19. events_n and json_bytes: how many
 * events will come and the sum of their lengths, exactly; the frame then
 * carries its content size and zstd picks its tables to fit.
 */
int	batch_begin(struct batch *, const char *runid, size_t runid_len,
	    size_t events_n, size_t json_bytes, int level, struct why *)
	    MUSTUSE;
/* Begin the next event; its JSON follows in one or more pieces. */
int	batch_event_begin(struct batch *) MUSTUSE;
int	batch_event_piece(struct batch *, const void *, size_t, struct why *)
	    MUSTUSE;
/*
 * Finish. *ret_body belongs to the batch until the next batch_begin().
 * ret_raw: length of the body before compression.
 */
int	batch_end(struct batch *, const uint8_t **ret_body, size_t *ret_len,
	    size_t *ret_raw, struct why *) MUSTUSE;

/* Compress one whole body, for records. Same ownership. */
int	batch_pack(struct batch *, const void *, size_t, int level,
	    const uint8_t **ret_body, size_t *ret_len, struct why *) MUSTUSE;

/*
 * Decompress a body whole into dst (which has the limit); for sending without
 * compression, for bisecting and for the tools.
 */
int	batch_unpack(const void *, size_t, struct buf *dst, struct why *)
	    MUSTUSE;

/*
 * Find the events in an unpacked body of ours: calls fn for each with its
 * place. Knows the exact form batch_end() writes; returns the number of
 * events or -EBADMSG. fn returns 0 to go on; anything else ends the walk and
 * is returned.
 */
int	batch_walk(const char *body, size_t len,
	    int (*fn)(void *, size_t i, const char *json, size_t len), void *)
	    MUSTUSE;

#endif
