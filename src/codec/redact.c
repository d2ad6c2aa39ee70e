/* redact: how a set of rules is made. */
#include "codec/redact_int.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define REDACT_NAMES_MAX	4096

/*
 * A pattern's compiled size is bounded by PCRE2's link size; this bounds the
 * time that compiling takes.
 */
#define REDACT_REGEX_LEN	4096	/* bytes of a regular expression */

/* The place of a name in the table; a new one is put at its end. */
static uint16_t
redact_intern(struct redact *set, const char *name)
{
	for (size_t i = 0; i < set->names_n; i++) {
		if (strcmp(set->names[i], name) == 0)
			return (uint16_t)i;
	}
	set->names = mem_grow(set->names, set->names_n + 1,
	    sizeof *set->names);
	(void)snprintf(set->names[set->names_n], sizeof *set->names, "%s",
	    name);
	return (uint16_t)set->names_n++;
}

struct redact *
redact_new(void)
{
	struct redact *set = mem_zalloc(sizeof *set);

	(void)redact_intern(set, "max_string");	/* REDACT_NAME_CUT */
	(void)redact_intern(set, "too_deep");	/* REDACT_NAME_DEEP */
	return set;
}

static void
redact_free_keys(struct redact_key *keys, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(keys[i].text);
	free(keys);
}

void
redact_free(struct redact *set)
{
	if (set == NULL)
		return;
	redact_free_keys(set->keys, set->keys_n);
	redact_free_keys(set->globs, set->globs_n);
	for (size_t i = 0; i < set->paths_n; i++)
		redact_path_free(&set->paths[i]);
	free(set->paths);
	for (size_t i = 0; i < set->regexes_n; i++)
		pcre2_code_free(set->regexes[i].code);
	free(set->regexes);
	redact_set_hash_key(set, NULL, 0);
	free(set->names);
	free(set);
}

bool
redact_is_empty(const struct redact *set)
{
	return set->keys_n + set->globs_n + set->paths_n + set->regexes_n == 0 &&
	    set->kinds == 0 && set->max_string == 0;
}

bool
redact_name_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	    (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
}

bool
redact_name_is_good(const char *name)
{
	size_t n = 0;

	for (; name[n] != '\0'; n++) {
		if (!redact_name_letter(name[n]))
			return false;
	}
	return n > 0 && n <= REDACT_NAME_MAX;
}

/* The name given, or one made of the rule's text. */
static int
redact_take_act(struct redact *set, const char *text, const char *name,
    enum redact_action action, struct redact_act *ret, struct why *why)
{
	char made[REDACT_NAME_MAX + 1];
	size_t n = 0;

	if (name == NULL) {
		for (; *text != '\0' && n < REDACT_NAME_MAX; text++) {
			/* "a.*.b" is "a.b" */
			if (redact_name_letter(*text) && !(*text == '.' &&
			    (n == 0 || made[n - 1] == '.')))
				made[n++] = *text;
		}
		made[n] = '\0';
		name = n > 0 ? made : "any";
	} else if (!redact_name_is_good(name)) {
		return why_set(why, -EINVAL, "\"%.64s\" is no name: it has 1 "
		    "to %d letters, digits, _, - or .", name, REDACT_NAME_MAX);
	}
	if (set->names_n >= REDACT_NAMES_MAX)
		return why_set(why, -EINVAL, "more than %d rules",
		    REDACT_NAMES_MAX);
	ret->name = redact_intern(set, name);
	ret->action = (uint8_t)action;
	set->hashes |= action == REDACT_HASH;
	return 0;
}

/* --- keys and paths --- */

static void
redact_put_key(struct redact_key **keys, size_t *n, const char *text,
    size_t len, struct redact_act act)
{
	struct redact_key *k;

	*keys = mem_grow(*keys, *n + 1, sizeof **keys);
	k = &(*keys)[(*n)++];
	k->text = mem_strdup(text);
	k->len = len;
	k->act = act;
}

int
redact_add_key(struct redact *set, const char *glob, const char *name,
    enum redact_action action, struct why *why)
{
	char plain[256];
	size_t n = strlen(glob), len = 0;
	struct redact_act act;

	if (n == 0 || n >= sizeof plain)
		return why_set(why, -EINVAL, "a key has 1 to %zu bytes",
		    sizeof plain - 1);
	int r = redact_take_act(set, glob, name, action, &act, why);
	if (r < 0)
		return r;
	if (strpbrk(glob, "*?") != NULL) {
		redact_put_key(&set->globs, &set->globs_n, glob, n, act);
		return 0;
	}
	for (size_t i = 0; i < n; i++) {
		if (glob[i] == '\\' && i + 1 < n)
			i++;
		char c = glob[i];
		plain[len++] = c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
	}
	plain[len] = '\0';
	redact_put_key(&set->keys, &set->keys_n, plain, len, act);
	size_t row = len < REDACT_NAME_MAX ? len : REDACT_NAME_MAX;
	/* Upper and lower case have the same lowest five bits. */
	set->key_first[row] |= 1u << (plain[0] & 31);
	return 0;
}

int
redact_add_path(struct redact *set, const char *text, const char *name,
    enum redact_action action, struct why *why)
{
	struct redact_path path;
	int r;

	if (set->paths_n == REDACT_PATHS_MAX)
		return why_set(why, -EINVAL, "more than %d paths",
		    REDACT_PATHS_MAX);
	if ((r = redact_path_parse(text, &path, why)) < 0)
		return r;
	r = redact_take_act(set, text, name, action, &path.act, why);
	if (r < 0) {
		redact_path_free(&path);
		return r;
	}
	set->paths = mem_grow(set->paths, set->paths_n + 1,
	    sizeof *set->paths);
	set->paths[set->paths_n++] = path;
	return 0;
}

/* --- patterns --- */

int
redact_add_builtin(struct redact *set, const char *which, const char *name,
    enum redact_action action, struct why *why)
{
	uint32_t kinds = redact_kinds_of(which);

	if (kinds == 0)
		return why_set(why, -ENOENT, "there is no built-in pattern "
		    "\"%.64s\"", which);
	for (unsigned i = 0; i < REDACT_KINDS; i++) {
		struct redact_act act;
		/* Named by itself and by a group, the first one counts. */
		if ((kinds & ~set->kinds & 1u << i) == 0)
			continue;
		int r = redact_take_act(set, which, name != NULL ? name :
		    redact_kind_name((enum redact_kind)i), action, &act, why);
		if (r < 0)
			return r;
		set->kind_act[i] = act;
		set->kinds |= 1u << i;
	}
	return 0;
}

static int
redact_bad_regex(int code, size_t offset, struct why *why)
{
	PCRE2_UCHAR text[256];

	/* Cut to fit, at the worst. */
	(void)pcre2_get_error_message(code, text, sizeof text);
	return why_set(why, -EINVAL, "%s, at letter %zu", (const char *)text,
	    offset + 1);
}

int
redact_add_regex(struct redact *set, const char *regex, const char *name,
    enum redact_action action, struct why *why)
{
	const uint32_t options = PCRE2_UTF | PCRE2_NEVER_BACKSLASH_C |
	    PCRE2_USE_OFFSET_LIMIT;
	struct redact_regex re = { 0 };
	size_t len = strlen(regex), offset;
	int code;

	if (set->regexes_n == REDACT_REGEX_MAX)
		return why_set(why, -EINVAL, "more than %d regular "
		    "expressions", REDACT_REGEX_MAX);
	if (len == 0 || len > REDACT_REGEX_LEN)
		return why_set(why, -EINVAL, "a regular expression has 1 to "
		    "%d bytes", REDACT_REGEX_LEN);
	re.code = pcre2_compile((PCRE2_SPTR)regex, len, options, &code,
	    &offset, NULL);
	if (re.code == NULL)
		return redact_bad_regex(code, offset, why);
	int r = redact_take_act(set, regex, name, action, &re.act, why);
	if (r < 0) {
		pcre2_code_free(re.code);
		return r;
	}
	/*
	 * Where memory may not be made executable, as systemd's
	 * MemoryDenyWriteExecute= has it, PCRE2 interprets.
	 */
	(void)pcre2_jit_compile(re.code, PCRE2_JIT_COMPLETE);
	if (pcre2_pattern_info(re.code, PCRE2_INFO_MINLENGTH,
	    &re.min_len) != 0)
		re.min_len = 0;
	set->regexes = mem_grow(set->regexes, set->regexes_n + 1,
	    sizeof *set->regexes);
	set->regexes[set->regexes_n++] = re;
	return 0;
}

/* --- the rest --- */

void
redact_set_hash_key(struct redact *set, const void *key, size_t len)
{
	if (set->hash_key != NULL)
		explicit_bzero(set->hash_key, set->hash_key_len);
	free(set->hash_key);
	set->hash_key = len > 0 ? mem_dup(key, len) : NULL;
	set->hash_key_len = len;
}

bool
redact_needs_hash_key(const struct redact *set)
{
	return set->hashes;
}

void
redact_set_max_string(struct redact *set, size_t n)
{
	set->max_string = n;
}
