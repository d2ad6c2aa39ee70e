/*
 * units: sizes and durations as people write them.
 *   size      4096, 64KiB, 4MiB, 1GiB, also 64KB/MB/GB (powers of 1000)
 *   duration  500ms, 30s, 5min (or 5m), 1h, 7d; compound "1h30m"
 */
#ifndef LUMNID_BASE_UNITS_H
#define LUMNID_BASE_UNITS_H

#include <stddef.h>
#include <stdint.h>

#include "base/cdefs.h"
#include "base/why.h"

/* Return 0 or -EINVAL, -ERANGE with the reason in why. */
int	units_parse_size(const char *, uint64_t *ret_bytes, struct why *)
	    MUSTUSE;
int	units_parse_duration(const char *, int64_t *ret_ms, struct why *)
	    MUSTUSE;
/* Write the shortest exact form ("4MiB", "30s"); dst holds 32 bytes. */
const char *units_format_size(uint64_t bytes, char dst[32]);
const char *units_format_duration(int64_t ms, char dst[32]);

#endif
