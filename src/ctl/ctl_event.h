/* ctl_event: one event as a line for people. */
#ifndef LUMNID_CTL_CTL_EVENT_H
#define LUMNID_CTL_CTL_EVENT_H

#include <json-c/json.h>

#include "base/buf.h"
#include "ctl/ctl_term.h"

/*
 * Append "12:00:01 run_8842 tool_call failed {"name":...}", cut at the width.
 * runid: "" where it goes without saying. event: an object.
 */
void	ctl_event_line(struct buf *, const struct ctl_term *,
	    const char *runid, struct json_object *event);

#endif
