/* jsonin: strict JSON, and JSON as msgpack. */
#include <errno.h>
#include <math.h>
#include <msgpack.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "codec/jsonin.h"

#define NUMBER_MAX	512	/* letters; a double has no use for more */

/* --- what json-c does not refuse ----------------------------------------------- */

static size_t
skip_digits(const char *s, size_t len, size_t at)
{
	while (at < len && s[at] >= '0' && s[at] <= '9')
		at++;
	return at;
}

/* Does the text of an integer fit in 64 bits, or of a float in a double? */
static bool
number_fits(const char *s, size_t len, bool is_int)
{
	char text[NUMBER_MAX + 1];

	if (len > NUMBER_MAX)
		return false;
	memcpy(text, s, len);
	text[len] = '\0';
	errno = 0;
	if (!is_int)
		return !isinf(strtod(text, NULL));
	if (text[0] == '-')
		(void)strtoll(text, NULL, 10);	/* for its errno */
	else
		(void)strtoull(text, NULL, 10);
	return errno != ERANGE;
}

/*
 * A number (RFC 8259 6) that begins at s[at]. Returns its end, or 0 with the
 * fault in why.
 */
static size_t
lint_number(const char *s, size_t len, size_t at, struct why *why)
{
	size_t from = at, digits = at + (s[at] == '-');
	bool is_int = true;

	at = skip_digits(s, len, digits);
	if (at == digits || (s[digits] == '0' && at > digits + 1))
		goto bad;
	if (at < len && s[at] == '.') {
		is_int = false;
		digits = at + 1;
		if ((at = skip_digits(s, len, digits)) == digits)
			goto bad;
	}
	if (at < len && (s[at] == 'e' || s[at] == 'E')) {
		is_int = false;
		digits = at + 1;
		if (digits < len && (s[digits] == '+' || s[digits] == '-'))
			digits++;
		if ((at = skip_digits(s, len, digits)) == digits)
			goto bad;
	}
	if (number_fits(s + from, at - from, is_int))
		return at;
	(void)why_set(why, -EINVAL, "a number beyond %s; write it as a string",
	    is_int ? "64 bits" : "a double's range");
	return 0;
bad:
	(void)why_set(why, -EINVAL, "not JSON: a bad number");
	return 0;
}

/* A string whose opening quote is s[at]: the same. An open end is json-c's. */
static size_t
lint_string(const char *s, size_t len, size_t at, struct why *why)
{
	bool has_nul = false;

	for (at++; at < len && s[at] != '"'; at++) {
		if (s[at] == '\\' && len - at > 5 &&
		    memcmp(s + at + 1, "u0000", 5) == 0)
			has_nul = true;
		if (s[at] == '\\' && at + 1 < len)
			at++;
		if ((unsigned char)s[at] < ' ') {
			(void)why_set(why, -EINVAL, "not JSON: a control "
			    "character in a string");
			return 0;
		}
	}
	if (at < len)
		at++;
	size_t next = at;
	while (next < len && (s[next] == ' ' || s[next] == '\t'))
		next++;
	if (has_nul && next < len && s[next] == ':') {
		(void)why_set(why, -EINVAL, "a key with a NUL character");
		return 0;
	}
	return at;
}

static size_t
lint_word(const char *s, size_t len, size_t at, struct why *why)
{
	static const char *const words[] = { "true", "false", "null" };

	for (size_t i = 0; i < NELEM(words); i++) {
		size_t n = strlen(words[i]);
		if (len - at >= n && memcmp(s + at, words[i], n) == 0)
			return at + n;
	}
	(void)why_set(why, -EINVAL, "not JSON: strings and keys stand in "
	    "double quotes");
	return 0;
}

/* Returns 0, or -EINVAL and the place. */
static int
lint(const char *s, size_t len, size_t *ret_offset, struct why *why)
{
	for (size_t at = 0, next; at < len; at = next) {
		if (strchr(" \t\r\n{}[],:", s[at]) != NULL && s[at] != '\0')
			next = at + 1;
		else if (s[at] == '"')
			next = lint_string(s, len, at, why);
		else if (s[at] == '-' || (s[at] >= '0' && s[at] <= '9'))
			next = lint_number(s, len, at, why);
		else
			next = lint_word(s, len, at, why);
		if (next == 0) {
			*ret_offset = at;
			return -EINVAL;
		}
	}
	return 0;
}

int
jsonin_parse(struct json_tokener *tok, const char *s, size_t len,
    struct json_object **ret, size_t *ret_offset, struct why *why)
{
	size_t end = len;

	*ret_offset = 0;
	if (lint(s, len, ret_offset, why) < 0)
		return -EINVAL;
	while (end > 0 && strchr(" \t\r\n", s[end - 1]) != NULL)
		end--;
	json_tokener_reset(tok);
	errno = 0;
	struct json_object *o = json_tokener_parse_ex(tok, s, (int)end);
	enum json_tokener_error err = json_tokener_get_error(tok);
	size_t used = json_tokener_get_parse_end(tok);
	bool open_end = err == json_tokener_continue;
	if (open_end) {
		/* The end of a bare number is seen by what comes after it. */
		o = json_tokener_parse_ex(tok, "", 1);
		err = json_tokener_get_error(tok);
		used = end;
	}
	/* json-c has no error of its own for it, and may take it for null. */
	if (errno == ENOMEM) {
		json_object_put(o);
		return why_set(why, -ENOMEM, "out of memory");
	}
	if (err == json_tokener_success && used == end) {
		*ret = o;
		return 0;
	}
	json_object_put(o);
	*ret_offset = used;
	if (err == json_tokener_success)
		return why_set(why, -EINVAL, "not JSON: text after the value");
	if (open_end)
		return why_set(why, -EINVAL, "not JSON: it ends too early");
	return why_set(why, -EINVAL, "not JSON: %s",
	    json_tokener_error_desc(err));
}

/* --- msgpack ---------------------------------------------------------------------- */

static int
pack_write(void *arg, const char *data, size_t len)
{
	struct buf *b = arg;

	buf_put(b, data, len);
	return buf_error(b) == 0 ? 0 : -1;
}

static void
pack_string(msgpack_packer *pk, const char *s, size_t len)
{
	(void)msgpack_pack_str(pk, len);	/* the buffer's error stays */
	(void)msgpack_pack_str_body(pk, s, len);
}

/* As deep as the parser allowed. */
static void
pack_value(msgpack_packer *pk, struct json_object *o)
{
	int64_t i;

	switch (json_object_get_type(o)) {
	case json_type_null:
		(void)msgpack_pack_nil(pk);
		break;
	case json_type_boolean:
		if (json_object_get_boolean(o))
			(void)msgpack_pack_true(pk);
		else
			(void)msgpack_pack_false(pk);
		break;
	case json_type_double:
		(void)msgpack_pack_double(pk, json_object_get_double(o));
		break;
	case json_type_int:
		i = json_object_get_int64(o);
		if (i < 0)
			(void)msgpack_pack_int64(pk, i);
		else
			(void)msgpack_pack_uint64(pk,
			    json_object_get_uint64(o));
		break;
	case json_type_string:
		pack_string(pk, json_object_get_string(o),
		    (size_t)json_object_get_string_len(o));
		break;
	case json_type_array: {
		size_t n = json_object_array_length(o);
		(void)msgpack_pack_array(pk, n);
		for (size_t k = 0; k < n; k++)
			pack_value(pk, json_object_array_get_idx(o, k));
		break;
	}
	case json_type_object: {
		(void)msgpack_pack_map(pk,
		    (size_t)json_object_object_length(o));
		json_object_object_foreach(o, key, value) {
			pack_string(pk, key, strlen(key));
			pack_value(pk, value);
		}
		break;
	}
	}
}

void
jsonin_pack(struct buf *b, struct json_object *o)
{
	msgpack_packer pk;

	msgpack_packer_init(&pk, b, pack_write);
	pack_value(&pk, o);
}
