/*
 * jsonin: JSON text to json-c's objects, strictly: what json-c would alter
 * on the way (numbers beyond 64 bits, keys with a NUL, words that are no JSON)
 * is refused before it sees it.
 */
#ifndef LUMNID_CODEC_JSONIN_H
#define LUMNID_CODEC_JSONIN_H

#include <json-c/json.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/cdefs.h"
#include "base/why.h"

#define JSONIN_DEPTH	64

/*
 * Parse one value with nothing but white space around it. A null is a valid
 * value and a NULL object, so the result says more: 0 and *ret, to be put with
 * json_object_put(), or -EINVAL and the offset of the fault; or -ENOMEM.
 */
int	jsonin_parse(struct json_tokener *, const char *, size_t len,
	    struct json_object **ret, size_t *ret_offset, struct why *)
	    MUSTUSE;

/* Write it as msgpack (with msgpack-c) at the end of the buffer. */
void	jsonin_pack(struct buf *, struct json_object *);

#endif
