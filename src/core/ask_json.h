/*
 * ask_json: what engine_ask.h tells, as JSON objects without a newline; see
 * CONTROL SOCKET in lumnid-protocol(7).
 */
#ifndef LUMNID_CORE_ASK_JSON_H
#define LUMNID_CORE_ASK_JSON_H

#include "base/buf.h"
#include "base/clock.h"
#include "core/engine_ask.h"
#include "core/rates.h"

void	ask_json_run(struct buf *, const struct engine_run *);
void	ask_json_batch(struct buf *, const struct engine_batch *, struct now);
/* The flush, and what there is to say of the upstream. */
void	ask_json_flush(struct buf *, const struct engine_flush_status *,
	    const struct engine_status *);
/* "key":"value", escaped. */
void	ask_json_text(struct buf *, const char *key, const char *, size_t);
/* The members (no braces) that the control socket adds to /status. */
void	ask_json_more(struct buf *, struct engine *, const struct rates *,
	    struct now);

#endif
