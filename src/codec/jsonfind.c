/* jsonfind: see jsonfind.h. */
#include "codec/jsonfind.h"

#include <string.h>

/* The place behind the string that begins at i, or len. */
static size_t
find_string_end(const char *s, size_t len, size_t i)
{
	for (i++; i < len; i++) {
		if (s[i] == '\\')
			i++;
		else if (s[i] == '"')
			return i + 1;
	}
	return len;
}

static bool
find_is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static size_t
find_skip(const char *s, size_t len, size_t i)
{
	while (i < len && find_is_space(s[i]))
		i++;
	return i;
}

/* The place behind the value that begins at i. */
static size_t
find_value_end(const char *s, size_t len, size_t i)
{
	size_t depth = 0;

	while (i < len) {
		char c = s[i];

		if (c == '"') {
			i = find_string_end(s, len, i);
			if (depth == 0)
				return i;
			continue;
		}
		if (c == '{' || c == '[') {
			depth++;
		} else if (c == '}' || c == ']') {
			if (depth == 0)
				return i;	/* the object's own end */
			if (--depth == 0)
				return i + 1;
		} else if (depth == 0 && (c == ',' || find_is_space(c))) {
			return i;
		}
		i++;
	}
	return len;
}

bool
jsonfind(const char *s, size_t len, const char *key, const char **ret,
    size_t *ret_len)
{
	size_t n = strlen(key), i = find_skip(s, len, 0);

	if (i >= len || s[i] != '{')
		return false;
	for (;;) {
		i = find_skip(s, len, i + 1);
		if (i >= len || s[i] != '"')
			return false;
		size_t name = i + 1;
		i = find_string_end(s, len, i);
		bool found = i - name == n + 1 && memcmp(s + name, key, n) == 0;
		i = find_skip(s, len, i);
		if (i >= len || s[i] != ':')
			return false;
		size_t value = find_skip(s, len, i + 1);
		i = find_value_end(s, len, value);
		if (found) {
			*ret = s + value;
			*ret_len = i - value;
			return i > value;
		}
		i = find_skip(s, len, i);
		if (i >= len || s[i] != ',')
			return false;
	}
}

bool
jsonfind_is(const char *s, size_t len, const char *key, const char *want)
{
	size_t n = strlen(want), got;
	const char *at;

	return jsonfind(s, len, key, &at, &got) && got == n + 2 &&
	    at[0] == '"' && memcmp(at + 1, want, n) == 0;
}
