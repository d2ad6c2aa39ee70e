/*
 * conf_table: every key of the configuration is one row here. The reader, the
 * printers, the man page, the commented example and the tests are made from
 * the rows; a new key is a field in struct conf and a row.
 */
#ifndef LUMNID_CORE_CONF_TABLE_H
#define LUMNID_CORE_CONF_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cdefs.h"

enum conf_type {
	CONF_BOOL,		/* bool */
	CONF_COUNT,		/* uint64_t */
	CONF_SIZE,		/* uint64_t, bytes */
	CONF_DURATION,		/* int64_t, ms */
	CONF_MODE,		/* uint32_t, octal */
	CONF_WORD,		/* int: the index in words */
	CONF_PATH,		/* char *: absolute, or "" */
	CONF_SOCKET,		/* char *: absolute, fits sun_path, or "" */
	CONF_ADDRESS,		/* char *: host:port, or "" */
	CONF_URL,		/* char *: http(s)://host[:port][/base] */
	CONF_PROXY,		/* char *: a URL, "none", or "" */
	CONF_GROUP,		/* char *: one that exists, or "" */
	CONF_STRINGS,		/* struct conf_list */
	CONF_USERS,		/* struct conf_list: uids, or names that exist */
	CONF_RULES,		/* struct conf_rules */
};

struct conf_key {
	const char	*name;		/* "listen.unix.path" */
	enum conf_type	 type;
	size_t		 offset;	/* in struct conf */
	const char	*def;		/* as text; a list's items by commas */
	uint64_t	 min, max;	/* numbers only */
	const char	*zero;		/* the word for 0, or NULL; of a path: kept */
	const char *const *words;	/* CONF_WORD: NULL-ended */
	const char	*item;		/* CONF_RULES: "key", "path", "regex" */
	bool		 live;		/* a reload puts it in force */
	const char	*help;		/* one sentence, for the documents */
	const char	*example;	/* set so in the example, or NULL */
};

struct conf_section {
	const char	*name;		/* "listen.unix" */
	const char	*help;
};

/* In the order of the documents: sections together, one after the other. */
extern const struct conf_key	 conf_keys[];
extern const size_t		 conf_keys_n;
extern const struct conf_section conf_sections[];
extern const size_t		 conf_sections_n;

/* Return the row or NULL. name: whole ("runs.idle"). */
const struct conf_key *conf_key_find(const char *name);
const struct conf_section *conf_section_find(const char *name);
/* Its place in conf_keys[]. */
size_t	conf_key_index(const struct conf_key *);
/* The key's or section's name after its last dot. */
const char *conf_leaf(const char *name);
/*
 * The name nearest to one that does not exist, of keys and sections, or NULL
 * when nothing is like it.
 */
const char *conf_nearest(const char *name);
/* What a value of the key looks like: "a duration such as 30s". */
const char *conf_type_text(const struct conf_key *);

#endif
