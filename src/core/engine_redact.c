/*
 * engine_redact: the rules of redaction in force, and what all rules have
 * counted since the start, also those that are no more: a counter never goes
 * back, nor away.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "core/engine_int.h"

/* The counts of the rule of this name; made where it is new. */
static struct engine_redacted *
engine_redacted(struct engine *e, const char *name)
{
	struct engine_redacted *c;

	for (size_t i = 0; i < e->redacted_n; i++)
		if (strcmp(e->redacted[i].name, name) == 0)
			return &e->redacted[i];
	e->redacted = mem_grow(e->redacted, e->redacted_n + 1,
	    sizeof *e->redacted);
	c = &e->redacted[e->redacted_n++];
	*c = (struct engine_redacted){ .hits = 0 };
	(void)snprintf(c->name, sizeof c->name, "%s", name);
	return c;
}

void
engine_set_redact(struct engine *e, const struct redact *set)
{
	struct redact_run *old = e->redact;
	struct redact_count c;

	for (size_t i = 0; old != NULL && (c = redact_run_count(old, i)).name !=
	    NULL; i++) {
		struct engine_redacted *sum = engine_redacted(e, c.name);

		sum->hits += c.hits;
		sum->limits += c.limits;
	}
	e->redact = set != NULL ? redact_run_new(set) : NULL;
	for (size_t i = 0; e->redact != NULL &&
	    (c = redact_run_count(e->redact, i)).name != NULL; i++)
		(void)engine_redacted(e, c.name);
	redact_run_free(old);
}

struct redact_count
engine_redact_count(const struct engine *e, size_t i)
{
	struct redact_count sum = { 0 }, c;

	if (i >= e->redacted_n)
		return sum;
	sum = (struct redact_count){ e->redacted[i].name,
	    e->redacted[i].hits, e->redacted[i].limits };
	for (size_t k = 0; e->redact != NULL &&
	    (c = redact_run_count(e->redact, k)).name != NULL; k++)
		if (strcmp(c.name, sum.name) == 0) {
			sum.hits += c.hits;
			sum.limits += c.limits;
		}
	return sum;
}

void
engine_free_redact(struct engine *e)
{
	redact_run_free(e->redact);
	free(e->redacted);
}
