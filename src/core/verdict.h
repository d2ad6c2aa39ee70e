/*
 * verdict: what an upstream's answer means. The table is documented in
 * lumnid(8); everything that is not in it is kept and tried again.
 */
#ifndef LUMNID_CORE_VERDICT_H
#define LUMNID_CORE_VERDICT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "core/transport.h"

enum verdict {
	VERDICT_DONE,		/* 2xx */
	VERDICT_RETRY,		/* 408 425 429 5xx, no answer */
	VERDICT_HOLD,		/* 401 403 404 405 3xx, bad certificate, no key */
	VERDICT_TOO_LARGE,	/* 413 */
	VERDICT_NO_CODING,	/* 415 */
	VERDICT_REFUSED,	/* 400 409 410 422, other 4xx */
	VERDICT_AT_ONCE,	/* a stale connection: again, no attempt */
	VERDICT_LOCAL,		/* our own fault: try again later */
};

struct verdict_ruling {
	enum verdict	verdict;
	int64_t		retry_after_ms;	/* -1: none; clamped to 1 h */
	bool		slow_down;	/* 429, 503: fewer at a time */
	bool		all_routes;	/* hold: the key or the host is wrong */
};

#define VERDICT_RETRY_AFTER_MAX_MS	(60 * 60 * 1000)

/* wall: for a Retry-After that is a date. */
void	verdict_rule(const struct transport_answer *, struct wall,
	    struct verdict_ruling *);
const char *verdict_name(enum verdict);
/*
 * One sentence for the operator: what came and what to do about it. dst: n
 * bytes. Contains no payload and no key.
 */
const char *verdict_explain(const struct transport_answer *, char *dst,
	    size_t n);

#endif
