/* conf_rule: lists of redaction rules. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "codec/redact.h"
#include "core/conf_rule.h"
#include "core/conf_value.h"

static const char *const actions[] = {
	[REDACT_REPLACE] = "replace",
	[REDACT_HASH] = "hash",
	[REDACT_REMOVE] = "remove",
};

/* Are the items patterns, whose text alone is the name of a built-in one? */
static bool
is_patterns(const struct conf_key *key)
{
	return strcmp(key->item, "regex") == 0;
}

void
conf_rule_free(struct conf_rule *rule)
{
	free(rule->what);
	free(rule->name);
	*rule = (struct conf_rule){ 0 };
}

static int
check_builtin(const char *name, struct why *why)
{
	struct buf b;

	if (redact_builtin_exists(name))
		return 0;
	buf_init(&b, 0);
	for (size_t i = 0; redact_builtin_name(i) != NULL; i++)
		buf_printf(&b, "%s%s", i > 0 ? ", " : "",
		    redact_builtin_name(i));
	(void)why_set(why, -EINVAL, "there is no built-in pattern \"%.64s\" "
	    "(%s); one of your own is written {name: NAME, regex: 'REGEX'}",
	    name, buf_cstr(&b));
	buf_free(&b);
	return -EINVAL;
}

int
conf_rule_set_text(const struct conf_key *key, struct conf_rule *rule,
    const char *text, struct why *why)
{
	if (text[0] == '\0')
		return why_set(why, -EINVAL, "an item of the list is empty");
	if (!is_patterns(key)) {
		free(rule->what);
		rule->what = mem_strdup(text);
		return 0;
	}
	int r = check_builtin(text, why);
	if (r == 0) {
		free(rule->name);
		rule->name = mem_strdup(text);
	}
	return r;
}

static int
set_once(char **at, const char *field, const char *text, struct why *why)
{
	if (*at != NULL)
		return why_set(why, -EINVAL, "%s is set twice", field);
	if (text[0] == '\0')
		return why_set(why, -EINVAL, "%s is empty", field);
	*at = mem_strdup(text);
	return 0;
}

int
conf_rule_set_field(const struct conf_key *key, struct conf_rule *rule,
    const char *field, const char *text, struct why *why)
{
	if (strcmp(field, key->item) == 0)
		return set_once(&rule->what, field, text, why);
	if (strcmp(field, "name") == 0) {
		if (!redact_name_is_good(text))
			return why_set(why, -EINVAL, "name: \"%.64s\" is none: "
			    "it has 1 to %d letters, digits, _, - or .", text,
			    REDACT_NAME_MAX);
		return set_once(&rule->name, field, text, why);
	}
	if (strcmp(field, "action") == 0) {
		for (size_t i = 0; i < NELEM(actions); i++) {
			if (strcmp(text, actions[i]) == 0) {
				rule->action = (int)i;
				return 0;
			}
		}
		return why_set(why, -EINVAL, "action: \"%.40s\": must be "
		    "replace, hash or remove", text);
	}
	return why_set(why, -EINVAL, "an item has no \"%.40s\"; it has %s, "
	    "name and action", field, key->item);
}

int
conf_rule_check(const struct conf_key *key, const struct conf_rule *rule,
    struct why *why)
{
	if (!is_patterns(key))
		return rule->what != NULL ? 0 : why_set(why, -EINVAL, "an "
		    "item without \"%s\"", key->item);
	if (rule->name == NULL)
		return why_set(why, -EINVAL, "a pattern without \"name\"");
	return rule->what != NULL ? 0 : check_builtin(rule->name, why);
}

void
conf_rules_clear(struct conf_rules *rules)
{
	for (size_t i = 0; i < rules->n; i++)
		conf_rule_free(&rules->v[i]);
	free(rules->v);
	rules->v = NULL;
	rules->n = 0;
}

int
conf_rules_add(struct conf_rules *rules, struct conf_rule *rule,
    struct why *why)
{
	if (rules->n == CONF_LIST_MAX) {
		conf_rule_free(rule);
		return why_set(why, -EINVAL, "has more than %d items",
		    CONF_LIST_MAX);
	}
	rules->v = mem_grow(rules->v, rules->n + 1, sizeof *rules->v);
	rules->v[rules->n++] = *rule;
	*rule = (struct conf_rule){ 0 };
	return 0;
}

static void
put_rule(const struct conf_key *key, const struct conf_rule *rule,
    struct buf *b)
{
	bool pattern = is_patterns(key);

	if (rule->action == REDACT_REPLACE && (rule->name == NULL ||
	    (pattern && rule->what == NULL))) {
		conf_value_put_string(b, pattern ? rule->name : rule->what);
		return;
	}
	buf_putc(b, '{');
	if (rule->what != NULL) {
		buf_printf(b, "%s: ", key->item);
		conf_value_put_string(b, rule->what);
	}
	if (rule->name != NULL) {
		buf_puts(b, rule->what != NULL ? ", name: " : "name: ");
		conf_value_put_string(b, rule->name);
	}
	if (rule->action != REDACT_REPLACE)
		buf_printf(b, ", action: %s", actions[rule->action]);
	buf_putc(b, '}');
}

void
conf_rules_put(const struct conf_key *key, const struct conf_rules *rules,
    struct buf *b)
{
	buf_putc(b, '[');
	for (size_t i = 0; i < rules->n; i++) {
		if (i != 0)
			buf_puts(b, ", ");
		put_rule(key, &rules->v[i], b);
	}
	buf_putc(b, ']');
}

static bool
same_text(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

bool
conf_rules_equal(const struct conf_rules *a, const struct conf_rules *b)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++) {
		const struct conf_rule *x = &a->v[i], *y = &b->v[i];
		if (!same_text(x->what, y->what) ||
		    !same_text(x->name, y->name) || x->action != y->action)
			return false;
	}
	return true;
}
