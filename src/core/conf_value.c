/* conf_value: the types of the configuration. */
#include <assert.h>
#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "base/mem.h"
#include "base/units.h"
#include "base/utf8.h"
#include "core/conf_addr.h"
#include "core/conf_rule.h"
#include "core/conf_value.h"

#define SHOWN_MAX	60	/* letters of a bad value in an error */

/* A value for an error's text: cut, and without control characters. */
static const char *
shown(const char *text, char dst[SHOWN_MAX + 4])
{
	size_t n = 0;

	for (; text[n] != '\0' && n < SHOWN_MAX; n++) {
		unsigned char c = (unsigned char)text[n];
		dst[n] = c < ' ' || c == 0x7f ? '?' : text[n];
	}
	if (text[n] != '\0') {
		/* Not in the middle of a letter of UTF-8. */
		while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80)
			n--;
		memcpy(dst + n, "...", 3);
		n += 3;
	}
	dst[n] = '\0';
	return dst;
}

static void *
value_at(struct conf *cf, const struct conf_key *key)
{
	return (char *)cf + key->offset;
}

static const void *
value_at_const(const struct conf *cf, const struct conf_key *key)
{
	return (const char *)cf + key->offset;
}

bool
conf_value_is_list(const struct conf_key *key)
{
	return key->type == CONF_STRINGS || key->type == CONF_USERS ||
	    key->type == CONF_RULES;
}

static bool
value_is_text(const struct conf_key *key)
{
	return key->type >= CONF_PATH && key->type <= CONF_GROUP;
}

/* Is "off" its word for ""? */
static bool
value_has_off(const struct conf_key *key)
{
	return key->type == CONF_ADDRESS || key->type == CONF_SOCKET;
}

/* --- numbers --------------------------------------------------------------- */

static void
put_number(struct buf *b, const struct conf_key *key, uint64_t v)
{
	char text[32];

	if (v == 0 && key->zero != NULL)
		buf_puts(b, key->zero);
	else if (key->type == CONF_SIZE)
		buf_puts(b, units_format_size(v, text));
	else if (key->type == CONF_DURATION)
		buf_puts(b, units_format_duration((int64_t)v, text));
	else if (key->type == CONF_MODE)
		buf_printf(b, "%04" PRIo64, v);
	else
		buf_printf(b, "%" PRIu64, v);
}

void
conf_value_put_range(struct buf *b, const struct conf_key *key)
{
	if (key->type == CONF_WORD) {
		for (size_t i = 0; key->words[i] != NULL; i++) {
			if (i != 0)
				buf_puts(b, key->words[i + 1] != NULL ? ", " :
				    " or ");
			buf_puts(b, key->words[i]);
		}
		return;
	}
	if (key->max == 0)
		return;
	put_number(b, key, key->min);
	buf_puts(b, " to ");
	put_number(b, key, key->max);
	if (key->zero != NULL)
		buf_printf(b, ", or %s", key->zero);
}

static int
fail_range(const struct conf_key *key, const char *text, struct why *why)
{
	char s[SHOWN_MAX + 4];
	struct buf b;

	buf_init(&b, 0);
	conf_value_put_range(&b, key);
	(void)why_set(why, -EINVAL, "\"%s\": must be %s", shown(text, s),
	    buf_cstr(&b));
	buf_free(&b);
	return -EINVAL;
}

static int
fail_type(const struct conf_key *key, const char *text, struct why *why)
{
	char s[SHOWN_MAX + 4];

	return why_set(why, -EINVAL, "\"%s\" is not %s", shown(text, s),
	    conf_type_text(key));
}

/* Digits of a base, and nothing else. Returns 0, -EINVAL or -ERANGE. */
static int
parse_digits(const char *s, unsigned base, uint64_t *ret)
{
	uint64_t v = 0;

	if (*s == '\0')
		return -EINVAL;
	for (; *s != '\0'; s++) {
		unsigned d = (unsigned)(*s - '0');
		if (*s < '0' || d >= base)
			return -EINVAL;
		if (v > (UINT64_MAX - d) / base)
			return -ERANGE;
		v = v * base + d;
	}
	*ret = v;
	return 0;
}

/*
 * 0660, "0660" and 0o660. 660 is refused: some YAML tools write a mode out as
 * a decimal number, and 0660 has then become 432.
 */
static int
parse_mode(const char *s, uint64_t *ret)
{
	if (s[0] != '0')
		return -EINVAL;
	if (s[1] == 'o')
		s += 2;
	return parse_digits(s, 8, ret);
}

static int
parse_number(const struct conf_key *key, const char *text, bool quoted,
    uint64_t *ret, struct why *why)
{
	int64_t ms;
	int r;

	if (key->zero != NULL && strcmp(text, key->zero) == 0) {
		*ret = 0;
		return 0;
	}
	switch (key->type) {
	case CONF_SIZE:
		return units_parse_size(text, ret, why);
	case CONF_DURATION:
		r = units_parse_duration(text, &ms, why);
		if (r == 0)
			*ret = (uint64_t)ms;
		return r;
	case CONF_MODE:
		return parse_mode(text, ret);
	default:
		return quoted ? -EINVAL : parse_digits(text, 10, ret);
	}
}

static int
set_number(struct conf *cf, const struct conf_key *key, const char *text,
    bool quoted, struct why *why)
{
	void *at = value_at(cf, key);
	uint64_t v;
	int r = parse_number(key, text, quoted, &v, why);

	if (r == -EINVAL && (key->type == CONF_SIZE ||
	    key->type == CONF_DURATION))
		return r;	/* base/units has said it */
	if (r == -EINVAL)
		return fail_type(key, text, why);
	if (r < 0)
		return fail_range(key, text, why);
	if (!(v == 0 && key->zero != NULL) && (v < key->min || v > key->max))
		return fail_range(key, text, why);
	if (key->type == CONF_MODE)
		*(uint32_t *)at = (uint32_t)v;
	else if (key->type == CONF_DURATION)
		*(int64_t *)at = (int64_t)v;
	else
		*(uint64_t *)at = v;
	return 0;
}

static uint64_t
get_number(const struct conf *cf, const struct conf_key *key)
{
	const void *at = value_at_const(cf, key);

	if (key->type == CONF_MODE)
		return *(const uint32_t *)at;
	if (key->type == CONF_DURATION)
		return (uint64_t)*(const int64_t *)at;
	return *(const uint64_t *)at;
}

/* --- words ------------------------------------------------------------------ */

static int
set_bool(struct conf *cf, const struct conf_key *key, const char *text,
    bool quoted, struct why *why)
{
	bool v = strcmp(text, "true") == 0;

	if (quoted || (!v && strcmp(text, "false") != 0))
		return fail_type(key, text, why);
	*(bool *)value_at(cf, key) = v;
	return 0;
}

static int
set_word(struct conf *cf, const struct conf_key *key, const char *text,
    struct why *why)
{
	for (int i = 0; key->words[i] != NULL; i++) {
		if (strcmp(text, key->words[i]) == 0) {
			*(int *)value_at(cf, key) = i;
			return 0;
		}
	}
	return fail_range(key, text, why);
}

/* --- text ------------------------------------------------------------------- */

static bool
is_number(const char *s)
{
	uint64_t v;

	return parse_digits(s, 10, &v) == 0 && v < UINT32_MAX;
}

static int
check_path(const struct conf_key *key, const char *text, struct why *why)
{
	struct sockaddr_un un;
	char s[SHOWN_MAX + 4];

	if (text[0] != '/')
		return fail_type(key, text, why);
	if (key->type == CONF_SOCKET && strlen(text) >= sizeof un.sun_path)
		return why_set(why, -EINVAL, "\"%s\" is longer than the %zu "
		    "bytes that a socket's path may have", shown(text, s),
		    sizeof un.sun_path - 1);
	return 0;
}

static int
check_group(const char *text, struct why *why)
{
	char s[SHOWN_MAX + 4];

	if (is_number(text) || getgrnam(text) != NULL)
		return 0;
	return why_set(why, -EINVAL, "there is no group \"%s\"; make it with "
	    "groupadd, or name another", shown(text, s));
}

static int
check_user(const char *text, struct why *why)
{
	char s[SHOWN_MAX + 4];

	if (is_number(text) || getpwnam(text) != NULL)
		return 0;
	return why_set(why, -EINVAL, "there is no user \"%s\"", shown(text, s));
}

/* Put `"value" ` before the reason. */
static int
blame(const char *text, int r, struct why *why)
{
	char s[SHOWN_MAX + 4];
	struct why reason;

	if (r == 0 || why == NULL)
		return r;
	reason = *why;
	return why_set(why, r, "\"%s\" %.400s", shown(text, s), reason.text);
}

static int
check_text(const struct conf_key *key, const char *text, struct why *why)
{
	struct sockaddr_storage ss;
	socklen_t len;

	switch (key->type) {
	case CONF_PATH:
	case CONF_SOCKET:
		return check_path(key, text, why);
	case CONF_ADDRESS:
		return blame(text, conf_addr_parse(text, &ss, &len, why), why);
	case CONF_URL:
		/* What stands before an @ may be a password. */
		if (strchr(text, '@') != NULL)
			return conf_addr_check_url(text, why);
		return blame(text, conf_addr_check_url(text, why), why);
	case CONF_PROXY:
		return conf_addr_check_proxy(text, why);
	case CONF_GROUP:
		return check_group(text, why);
	default:
		return 0;
	}
}

static int
set_text(struct conf *cf, const struct conf_key *key, const char *text,
    struct why *why)
{
	char **at = value_at(cf, key);

	if (value_has_off(key) && strcmp(text, "off") == 0)
		text = "";
	if (text[0] == '\0' && key->def[0] != '\0' && key->type == CONF_PATH)
		return fail_type(key, text, why);
	if (text[0] != '\0' &&
	    (key->zero == NULL || strcmp(text, key->zero) != 0)) {
		int r = check_text(key, text, why);
		if (r < 0)
			return r;
	}
	char *copy = mem_strdup(text);
	size_t len = strlen(copy);
	while (key->type == CONF_URL && len > 0 && copy[len - 1] == '/')
		copy[--len] = '\0';
	free(*at);
	*at = copy;
	return 0;
}

/* --- lists ------------------------------------------------------------------ */

struct conf_rules *
conf_value_rules(struct conf *cf, const struct conf_key *key)
{
	assert(key->type == CONF_RULES);
	return value_at(cf, key);
}

void
conf_value_clear(struct conf *cf, const struct conf_key *key)
{
	struct conf_list *list = value_at(cf, key);

	if (key->type == CONF_RULES) {
		conf_rules_clear(value_at(cf, key));
		return;
	}
	for (size_t i = 0; i < list->n; i++)
		free(list->v[i]);
	free(list->v);
	list->v = NULL;
	list->n = 0;
}

static int
add_rule(struct conf *cf, const struct conf_key *key, const char *text,
    struct why *why)
{
	struct conf_rule rule = { 0 };
	int r = conf_rule_set_text(key, &rule, text, why);

	return r < 0 ? r : conf_rules_add(value_at(cf, key), &rule, why);
}

int
conf_value_add(struct conf *cf, const struct conf_key *key, const char *text,
    struct why *why)
{
	struct conf_list *list = value_at(cf, key);

	if (key->type == CONF_RULES)
		return add_rule(cf, key, text, why);
	if (text[0] == '\0')
		return why_set(why, -EINVAL, "an item of the list is empty");
	if (list->n == CONF_LIST_MAX)
		return why_set(why, -EINVAL, "has more than %d items",
		    CONF_LIST_MAX);
	if (key->type == CONF_USERS) {
		int r = check_user(text, why);
		if (r < 0)
			return r;
	}
	list->v = mem_grow(list->v, list->n + 1, sizeof *list->v);
	list->v[list->n++] = mem_strdup(text);
	return 0;
}

static int
set_list(struct conf *cf, const struct conf_key *key, const char *text,
    struct why *why)
{
	conf_value_clear(cf, key);
	while (*text != '\0') {
		size_t len = strcspn(text, ",");
		char *item = mem_strdup(text);
		item[len] = '\0';
		char *from = item + strspn(item, " ");
		for (size_t n = strlen(from); n > 0 && from[n - 1] == ' ';)
			from[--n] = '\0';
		int r = conf_value_add(cf, key, from, why);
		free(item);
		if (r < 0)
			return r;
		text += len + (text[len] == ',');
	}
	return 0;
}

/* --- all -------------------------------------------------------------------- */

int
conf_value_set(struct conf *cf, const struct conf_key *key, const char *text,
    bool quoted, struct why *why)
{
	assert(!conf_value_is_list(key));
	if (key->type == CONF_BOOL)
		return set_bool(cf, key, text, quoted, why);
	if (key->type == CONF_WORD)
		return set_word(cf, key, text, why);
	if (value_is_text(key))
		return set_text(cf, key, text, why);
	return set_number(cf, key, text, quoted, why);
}

int
conf_value_set_text(struct conf *cf, const struct conf_key *key,
    const char *text, struct why *why)
{
	if (conf_value_is_list(key))
		return set_list(cf, key, text, why);
	return conf_value_set(cf, key, text, false, why);
}

void
conf_value_free(struct conf *cf, const struct conf_key *key)
{
	if (conf_value_is_list(key)) {
		conf_value_clear(cf, key);
	} else if (value_is_text(key)) {
		char **at = value_at(cf, key);
		free(*at);
		*at = NULL;
	}
}

/* Would a YAML reader take it, unquoted, for the string that it is? */
static bool
is_plain(const char *s)
{
	static const char *const others[] = { "true", "false", "yes", "no",
	    "on", "off", "null", "y", "n", "~" };

	if (*s == '\0' || strchr("/._abcdefghijklmnopqrstuvwxyz"
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", *s) == NULL)
		return false;
	for (size_t i = 0; i < NELEM(others); i++) {
		if (strcasecmp(s, others[i]) == 0)
			return false;
	}
	for (const char *p = s; *p != '\0'; p++) {
		bool word = (*p >= 'a' && *p <= 'z') ||
		    (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9');
		bool colon = *p == ':' && p[1] != '\0';
		if (!word && !colon && strchr("/._-+@%=~", *p) == NULL)
			return false;
	}
	return true;
}

/* Does YAML take the letter as it is, within double quotes? */
static bool
is_printable(uint32_t cp)
{
	/* Line separators are folded; controls and marks are refused. */
	return (cp >= ' ' && cp < 0x7f) || (cp >= 0xa0 && cp != 0x2028 &&
	    cp != 0x2029 && cp != 0xfeff && cp != 0xfffe && cp != 0xffff);
}

void
conf_value_put_string(struct buf *b, const char *s)
{
	const uint8_t *p = (const uint8_t *)s;
	size_t left = strlen(s);

	if (is_plain(s)) {
		buf_puts(b, s);
		return;
	}
	buf_putc(b, '"');
	while (left > 0) {
		uint32_t cp;
		int n = utf8_next(p, left, &cp);
		size_t len = (size_t)(n < 0 ? -n : n);
		if (cp == '"' || cp == '\\')
			buf_printf(b, "\\%c", (char)cp);
		else if (n < 0)
			buf_puts(b, "\xef\xbf\xbd");	/* U+FFFD */
		else if (is_printable(cp))
			buf_put(b, p, len);
		else if (cp < 0x100)
			buf_printf(b, "\\x%02x", cp);
		else
			buf_printf(b, "\\u%04x", cp);
		p += len;
		left -= len;
	}
	buf_putc(b, '"');
}

/* scheme://user:password@host: what stands before the @ is nobody's. */
static void
put_proxy(struct buf *b, const char *url)
{
	const char *at = strrchr(url, '@');
	const char *rest = strstr(url, "://");

	if (at == NULL || rest == NULL) {
		conf_value_put_string(b, url);
		return;
	}
	buf_putc(b, '"');
	buf_put(b, url, (size_t)(rest + 3 - url));
	buf_puts(b, "********");
	buf_puts(b, at);
	buf_putc(b, '"');
}

void
conf_value_put(const struct conf *cf, const struct conf_key *key,
    struct buf *b)
{
	const void *at = value_at_const(cf, key);

	if (key->type == CONF_RULES) {
		conf_rules_put(key, at, b);
	} else if (conf_value_is_list(key)) {
		const struct conf_list *list = at;
		buf_putc(b, '[');
		for (size_t i = 0; i < list->n; i++) {
			if (i != 0)
				buf_puts(b, ", ");
			conf_value_put_string(b, list->v[i]);
		}
		buf_putc(b, ']');
	} else if (key->type == CONF_PROXY) {
		put_proxy(b, *(char *const *)at);
	} else if (value_is_text(key)) {
		const char *text = *(char *const *)at;
		if (text[0] == '\0' && value_has_off(key))
			buf_puts(b, "off");
		else
			conf_value_put_string(b, text);
	} else if (key->type == CONF_BOOL) {
		buf_puts(b, *(const bool *)at ? "true" : "false");
	} else if (key->type == CONF_WORD) {
		buf_puts(b, key->words[*(const int *)at]);
	} else {
		put_number(b, key, get_number(cf, key));
	}
}

bool
conf_value_equal(const struct conf *a, const struct conf *b,
    const struct conf_key *key)
{
	const void *at = value_at_const(a, key), *bt = value_at_const(b, key);

	if (key->type == CONF_RULES)
		return conf_rules_equal(at, bt);
	if (conf_value_is_list(key)) {
		const struct conf_list *al = at, *bl = bt;
		if (al->n != bl->n)
			return false;
		for (size_t i = 0; i < al->n; i++) {
			if (strcmp(al->v[i], bl->v[i]) != 0)
				return false;
		}
		return true;
	}
	if (value_is_text(key))
		return strcmp(*(char *const *)at, *(char *const *)bt) == 0;
	if (key->type == CONF_BOOL)
		return *(const bool *)at == *(const bool *)bt;
	if (key->type == CONF_WORD)
		return *(const int *)at == *(const int *)bt;
	return get_number(a, key) == get_number(b, key);
}
