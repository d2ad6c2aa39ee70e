/*
 * ctl_message: what lumnictl sends: a message in the events form,
 * {"runId": .., "events": [..], "end": true, "ack": n}, made from JSON objects.
 */
#ifndef LUMNID_CTL_CTL_MESSAGE_H
#define LUMNID_CTL_CTL_MESSAGE_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/cdefs.h"
#include "base/why.h"

#define CTL_RUNID_MAX	256	/* bytes, as lumnid has it */

struct ctl_message {
	/* Given: */
	const char	*default_run;	/* where there is no runId; or NULL */
	bool		 end;		/* the run is complete after it */
	uint64_t	 ack;		/* the id; 0: none is asked for */
	/* Found: "" where it is no string or number, or too long. */
	char		 runid[CTL_RUNID_MAX + 1];
	size_t		 events;
};

/*
 * Append the message that the object stands for: one flat event, or runId and
 * events. The object is used up: keys are taken out of it. Returns 0, or
 * -EINVAL and nothing is appended.
 */
int	ctl_message_pack(struct ctl_message *, struct json_object *,
	    struct buf *, struct why *) MUSTUSE;
/* Append one that ends the run and brings no event. */
void	ctl_message_pack_end(struct buf *, const char *runid, uint64_t ack);

/*
 * Put "key=value" in the object: a number, true, false, null, an array or an
 * object of JSON as that, all else as a string. "key:=value" is JSON always.
 * Returns 0 or -EINVAL.
 */
int	ctl_message_field(struct json_object *, struct json_tokener *,
	    const char *arg, struct why *) MUSTUSE;

#endif
