/*
 * conf_rule: lists of redaction rules (CONF_RULES): each item is a text or a
 * small map, as {name: order, regex: "ORD-[0-9]+", action: hash}.
 */
#ifndef LUMNID_CORE_CONF_RULE_H
#define LUMNID_CORE_CONF_RULE_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/cdefs.h"
#include "base/why.h"
#include "core/conf.h"
#include "core/conf_table.h"

void	conf_rule_free(struct conf_rule *);
/* The item is a text alone: -EINVAL for one that cannot stand so. */
int	conf_rule_set_text(const struct conf_key *, struct conf_rule *,
	    const char *, struct why *) MUSTUSE;
/* One pair of an item that is a map. */
int	conf_rule_set_field(const struct conf_key *, struct conf_rule *,
	    const char *field, const char *text, struct why *) MUSTUSE;
/* The map's end: is all there that it needs? */
int	conf_rule_check(const struct conf_key *, const struct conf_rule *,
	    struct why *) MUSTUSE;

void	conf_rules_clear(struct conf_rules *);
/* Append; the rule's memory is taken over, also on failure. */
int	conf_rules_add(struct conf_rules *, struct conf_rule *, struct why *)
	    MUSTUSE;
/* On one line, as YAML. */
void	conf_rules_put(const struct conf_key *, const struct conf_rules *,
	    struct buf *);
bool	conf_rules_equal(const struct conf_rules *, const struct conf_rules *);

#endif
