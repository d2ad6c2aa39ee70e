/* timefmt: times as text: RFC 3339, and HTTP's dates (RFC 9110 5.6.7). */
#ifndef LUMNID_CODEC_TIMEFMT_H
#define LUMNID_CODEC_TIMEFMT_H

#include <stddef.h>
#include <stdint.h>

#include "base/cdefs.h"
#include "base/clock.h"

#define TIMEFMT_MAX	40

/* "2026-11-23T12:00:00.123Z"; returns the length. dst: TIMEFMT_MAX bytes. */
size_t	timefmt_rfc3339_ms(struct wall, char *dst) HOT;
/*
 * With nanoseconds: "2026-11-23T12:00:00.123456789Z". Returns the length, or 0
 * where the year is outside 0000..9999 or ns is not below 10^9.
 */
size_t	timefmt_rfc3339_ns(int64_t sec, uint32_t ns, char *dst);
/* Returns 0 or -EINVAL. Any offset; fractions are cut to microseconds. */
int	timefmt_parse_rfc3339(const char *, struct wall *ret) MUSTUSE;
/* IMF-fixdate and the two obsolete forms. Returns 0 or -EINVAL. */
int	timefmt_parse_http_date(const char *, struct wall *ret) MUSTUSE;
/*
 * Retry-After (RFC 9110 10.2.3): delay-seconds or a date. Returns 0 and the
 * wait in ms from now, not negative, clamped to max_ms; -EINVAL.
 */
int	timefmt_parse_retry_after(const char *, struct wall now,
	    int64_t max_ms, int64_t *ret_ms) MUSTUSE;

#endif
