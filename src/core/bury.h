/*
 * bury: the text of a dead letter: what was refused, and what the upstream
 * said of it. One JSON object on lines that a person can read:
 *
 *	{"batch":"<id>","kind":"run","runId":"...","part":1,"reason":"end",
 *	 "at":"<RFC 3339>","attempts":2,"status":422,
 *	 "answer":"<first 4 KiB of the body>",
 *	 "events":[
 *	{"index":7,"event":{...}},
 *	...]}
 */
#ifndef LUMNID_CORE_BURY_H
#define LUMNID_CORE_BURY_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/clock.h"
#include "core/transport.h"
#include "store/spool.h"

#define BURY_ANSWER_MAX	4096	/* bytes of the answer's body that are kept */

struct bury_event {
	uint32_t	 index;		/* in its batch */
	const char	*json;
	size_t		 len;
};

void	bury_text(struct buf *, const struct spool_batch *, struct wall at,
	    uint32_t attempts, const struct transport_answer *,
	    const struct bury_event *, size_t n);

/*
 * Which events does a 2xx answer refuse? Understands
 *	{"errors":[{"index":n,...},...]}
 * and, from a 207, a status for each event: an array (at the top, or under
 * "results", "events", "items" or "responses") of numbers or of objects with
 * "status" and optionally "index".
 * fate: one byte for each of n events, set to 0 taken, 1 refused, 2 to be
 * tried again (408, 425, 429, 5xx). Returns true when any is not taken; a
 * body that is none of these leaves all as taken.
 */
#define BURY_TAKEN	0
#define BURY_REFUSED	1
#define BURY_AGAIN	2
bool	bury_partial(const struct transport_answer *, uint8_t *fate, size_t n);

#endif
