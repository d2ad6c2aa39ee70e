/*
 * ctl_rules: lumnid's rules of redaction, for what lumnictl itself writes to
 * the disk: nothing lies there that the configuration says must be redacted.
 */
#ifndef LUMNID_CTL_CTL_RULES_H
#define LUMNID_CTL_CTL_RULES_H

#include <json-c/json.h>

#include "base/cdefs.h"
#include "base/why.h"

/*
 * Redact a record, {"change": {...}} or {"policy": {...}}, by the rules of a
 * configuration file: NULL is that of LUMNID_CONFIG in the environment, or
 * else the system's. *record is replaced by what the rules leave of it.
 * Returns 0; or -errno: the rules cannot be known, or would leave no record.
 */
int	ctl_rules_apply(const char *config, struct json_object **record,
	    struct why *) MUSTUSE;

#endif
