/*
 * jsonfind: one member of an object, in JSON text that is known to be valid on
 * one line, as the journal's is. Nothing is copied, nothing is allocated. On
 * text that is not valid it may find nothing, or the wrong thing, but never
 * reads beyond it.
 */
#ifndef LUMNID_CODEC_JSONFIND_H
#define LUMNID_CODEC_JSONFIND_H

#include <stdbool.h>
#include <stddef.h>

#include "base/cdefs.h"

/*
 * Find the value of a key of the outermost object: its text, a string's with
 * the quotes. key: plain letters, which JSON does not escape; the first member
 * of that name counts. false: there is none.
 */
bool	jsonfind(const char *json, size_t len, const char *key,
	    const char **ret, size_t *ret_len) MUSTUSE;
/* Is the value at that key the string `want`? Escapes are not undone. */
bool	jsonfind_is(const char *json, size_t len, const char *key,
	    const char *want) MUSTUSE;

#endif
