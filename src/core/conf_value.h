/*
 * conf_value: one value of the configuration: read from text, written as
 * text, compared. It knows the types, not the keys.
 */
#ifndef LUMNID_CORE_CONF_VALUE_H
#define LUMNID_CORE_CONF_VALUE_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/cdefs.h"
#include "base/why.h"
#include "core/conf.h"
#include "core/conf_table.h"

#define CONF_LIST_MAX	1024	/* items */

bool	conf_value_is_list(const struct conf_key *);
/*
 * Put the value in the key's field. quoted: YAML says it is a string, so it
 * is neither a number nor true or false. Returns 0, or -EINVAL with the reason
 * but neither place nor key. The field is then as it was.
 */
int	conf_value_set(struct conf *, const struct conf_key *,
	    const char *text, bool quoted, struct why *) MUSTUSE;
/* Lists: remove all items; append one, a text. */
struct conf_rules *conf_value_rules(struct conf *, const struct conf_key *);
void	conf_value_clear(struct conf *, const struct conf_key *);
int	conf_value_add(struct conf *, const struct conf_key *, const char *,
	    struct why *) MUSTUSE;
/* Either; a list's items stand between commas. */
int	conf_value_set_text(struct conf *, const struct conf_key *,
	    const char *, struct why *) MUSTUSE;
/* Give back the memory of the field. */
void	conf_value_free(struct conf *, const struct conf_key *);

/* Write it as YAML, on one line; a proxy's password is masked. */
void	conf_value_put(const struct conf *, const struct conf_key *,
	    struct buf *);
bool	conf_value_equal(const struct conf *, const struct conf *,
	    const struct conf_key *);
/* Write a string as YAML, quoted where it has to be. */
void	conf_value_put_string(struct buf *, const char *);
/* "1 to 256", "100ms to 1h, or never", "auto, 1.1 or 2"; "" for the rest. */
void	conf_value_put_range(struct buf *, const struct conf_key *);

#endif
