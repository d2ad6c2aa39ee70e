/* conf_yaml: reads a YAML document into a struct conf. */
#ifndef LUMNID_CORE_CONF_YAML_H
#define LUMNID_CORE_CONF_YAML_H

#include <stddef.h>

#include "base/cdefs.h"
#include "base/why.h"
#include "core/conf.h"

/*
 * name: the file's, for messages. Sets the keys that the text names, their
 * origins and lines. Returns 0, or -EINVAL with "name:line:column: text"; some
 * keys have then been set.
 */
int	conf_yaml_read(struct conf *, const char *text, size_t len,
	    const char *name, struct why *) MUSTUSE;

#endif
