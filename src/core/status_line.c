/* status_line: picks the worst of what there is to say, then the numbers. */
#include "core/status_line.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/units.h"

/* What is the matter with the upstream, or that nothing is. */
static void
put_upstream(const struct engine_status *st, const char *no_key, char *dst,
    size_t n)
{
	char age[32];

	if (st->paused)
		(void)snprintf(dst, n, "PAUSED by lumnictl, all is kept");
	else if (strcmp(st->upstream, "hold") == 0)
		(void)snprintf(dst, n, "NOT forwarding, all is kept: %s",
		    st->upstream_why);
	else if (strcmp(st->upstream, "down") == 0)
		(void)snprintf(dst, n, "upstream away, next try in %s: %s",
		    units_format_duration((st->retry_in_ms + 999) / 1000 * 1000,
		    age), st->upstream_why);
	else if (no_key != NULL)
		(void)snprintf(dst, n, "NOT forwarding, all is kept: %s",
		    no_key);
	else
		(void)snprintf(dst, n, "forwarding");
}

const char *
status_line(const struct engine_status *st, const char *no_key, char *dst,
    size_t n)
{
	char upstream[320], storage[320] = "";

	put_upstream(st, no_key, upstream, sizeof upstream);
	if (strcmp(st->storage, "ok") != 0)
		(void)snprintf(storage, sizeof storage, "storage %s: %s; ",
		    st->storage, st->storage_why);
	(void)snprintf(dst, n, "%s%s, %" PRIu64 " run%s open, %" PRIu64
	    " event%s waiting%s", storage, upstream, st->open_runs,
	    st->open_runs == 1 ? "" : "s", st->waiting_events,
	    st->waiting_events == 1 ? "" : "s", st->newer_dirs == 0 ? "" :
	    "; files of a newer lumnid are set aside");
	return dst;
}
