/* units: sizes and durations as people write them. */
#include "base/units.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

struct units_unit {
	const char	*name;
	uint64_t	 factor;
};

/* In the order in which they are tried for writing: largest first. */
static const struct units_unit units_sizes[] = {
	{ "TiB", 1ull << 40 },
	{ "GiB", 1ull << 30 },
	{ "MiB", 1ull << 20 },
	{ "KiB", 1ull << 10 },
	{ "TB", 1000000000000ull },
	{ "GB", 1000000000ull },
	{ "MB", 1000000ull },
	{ "KB", 1000ull },
	{ "kB", 1000ull },
	{ "B", 1 },
};

static const struct units_unit units_durations[] = {
	{ "d", 86400000 },
	{ "h", 3600000 },
	{ "min", 60000 },
	{ "s", 1000 },
	{ "ms", 1 },
	{ "m", 60000 },
};

static const char *
units_skip_space(const char *p)
{
	while (*p == ' ')
		p++;
	return p;
}

/* Read decimal digits. Returns their end, p itself if none, NULL if too many. */
static const char *
units_number(const char *p, uint64_t *ret)
{
	uint64_t v = 0;

	for (; *p >= '0' && *p <= '9'; p++)
		if (__builtin_mul_overflow(v, 10u, &v) ||
		    __builtin_add_overflow(v, (unsigned)(*p - '0'), &v))
			return NULL;
	*ret = v;
	return p;
}

/* Find the unit whose name is exactly the letters at p, NULL if none. */
static const struct units_unit *
units_find(const struct units_unit *units, size_t n, const char *p,
    const char **ret_end)
{
	size_t len = 0;

	while (isalpha((unsigned char)p[len]))
		len++;
	*ret_end = p + len;
	for (size_t i = 0; i < n; i++)
		if (strlen(units[i].name) == len &&
		    memcmp(units[i].name, p, len) == 0)
			return &units[i];
	return NULL;
}

int
units_parse_size(const char *s, uint64_t *ret_bytes, struct why *why)
{
	uint64_t v = 0;

	const char *p = units_skip_space(s);
	const char *end = units_number(p, &v);
	if (end == NULL)
		return why_set(why, -ERANGE, "\"%.40s\" is too large", s);
	if (end == p)
		return why_set(why, -EINVAL,
		    "\"%.40s\" is no size, such as 4096, 64KiB or 4MiB", s);
	end = units_skip_space(end);
	if (*end != '\0') {
		const struct units_unit *u = units_find(units_sizes,
		    NELEM(units_sizes), end, &end);
		if (u == NULL || *units_skip_space(end) != '\0')
			return why_set(why, -EINVAL, "\"%.40s\": the units of "
			    "a size are B, KiB, MiB, GiB, TiB, KB, MB, GB, TB",
			    s);
		if (__builtin_mul_overflow(v, u->factor, &v))
			return why_set(why, -ERANGE, "\"%.40s\" is too large",
			    s);
	}
	*ret_bytes = v;
	return 0;
}

int
units_parse_duration(const char *s, int64_t *ret_ms, struct why *why)
{
	int64_t total = 0;
	uint64_t last = UINT64_MAX;

	const char *p = units_skip_space(s);
	do {
		uint64_t v = 0;
		const char *end = units_number(p, &v);
		if (end == NULL)
			return why_set(why, -ERANGE, "\"%.40s\" is too long",
			    s);
		if (end == p)
			return why_set(why, -EINVAL, "\"%.40s\" is no "
			    "duration, such as 500ms, 30s or 1h30m", s);
		end = units_skip_space(end);
		/* Nothing has no unit. */
		if (v == 0 && *end == '\0' && last == UINT64_MAX)
			break;
		const struct units_unit *u = units_find(units_durations,
		    NELEM(units_durations), end, &p);
		/* "1m2h" is more likely a slip than a wish. */
		if (u == NULL || u->factor >= last)
			return why_set(why, -EINVAL, "\"%.40s\": a duration's "
			    "units are d, h, min (or m), s, ms, in that order",
			    s);
		last = u->factor;
		int64_t part;
		if (__builtin_mul_overflow(v, u->factor, &part) ||
		    __builtin_add_overflow(total, part, &total) ||
		    total > INT64_MAX / 1000)
			return why_set(why, -ERANGE, "\"%.40s\" is too long",
			    s);
		p = units_skip_space(p);
	} while (*p != '\0');
	*ret_ms = total;
	return 0;
}

/* Write v in the largest unit that divides it, if any does. */
static bool
units_format(const struct units_unit *units, size_t n, uint64_t v,
    char dst[32])
{
	for (size_t i = 0; i < n; i++) {
		if (v == 0 || v % units[i].factor != 0)
			continue;
		(void)snprintf(dst, 32, "%" PRIu64 "%s", v / units[i].factor,
		    units[i].name);
		return true;
	}
	return false;
}

const char *
units_format_size(uint64_t bytes, char dst[32])
{
	/* Bytes alone have no unit; powers of 1000 are not written. */
	if (!units_format(units_sizes, 4, bytes, dst))
		(void)snprintf(dst, 32, "%" PRIu64, bytes);
	return dst;
}

const char *
units_format_duration(int64_t ms, char dst[32])
{
	if (ms <= 0)
		(void)snprintf(dst, 32, "%" PRId64 "%s", ms,
		    ms < 0 ? "ms" : "s");
	else
		/* The unit ms divides everything. */
		(void)units_format(units_durations, NELEM(units_durations),
		    (uint64_t)ms, dst);
	return dst;
}
