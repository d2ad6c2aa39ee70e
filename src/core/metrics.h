/*
 * metrics: the engine's state as text: Prometheus' exposition format and JSON.
 * lumnid-metrics(7) lists every name; a test holds page and code together.
 */
#ifndef LUMNID_CORE_METRICS_H
#define LUMNID_CORE_METRICS_H

#include "base/buf.h"
#include "base/clock.h"
#include "core/engine.h"
#include "core/hist.h"
#include "core/uids.h"

/* What only the loop knows. */
struct metrics_process {
	const char	*version;
	double		 start_time;	/* seconds since 1970 */
	double		 cpu_seconds;
	uint64_t	 resident_bytes;
	uint64_t	 open_fds;
	uint64_t	 connections;	/* of the stream socket */
	uint64_t	 config_generation;
	double		 config_time;	/* of it, seconds since 1970 */
	const char	*config_fault;	/* of the last reload; NULL: it took */
	const char	*no_key;	/* why there is none; NULL: there is */
	uint64_t	 virtual_bytes;
	uint64_t	 max_fds;
	const struct uids *uids;	/* or NULL */
	struct hist	turns;		/* of the loop */
};

/* Text for GET /metrics. */
void	metrics_prometheus(struct engine *, const struct metrics_process *,
	    struct now, struct buf *);
/*
 * One JSON object for GET /status and lumnictl status: the books, what waits,
 * the upstream's and the disk's state.
 */
void	metrics_status(struct engine *, const struct metrics_process *,
	    struct now, struct buf *);
/*
 * Does it take events, and can it deliver them? Writes
 * {"ready":bool,"reasons":[{"what":..,"why":..}, ...]} and returns whether.
 * what: paused, hold, full, degraded, config (the last reload met a fault).
 */
bool	metrics_ready(struct engine *, const struct metrics_process *,
	    struct now, struct buf *);

#endif
