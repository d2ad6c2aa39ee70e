/*
 * conf_redact: makes of the rules of a configuration the set that events pass
 * through. A fault is told with the place of its item.
 */
#include <errno.h>
#include <string.h>

#include "codec/redact.h"
#include "core/conf.h"
#include "core/conf_table.h"

#define HASH_KEY_MAX	4096	/* bytes */

/* "file:line:column: key: text" of the fault in why. */
static int
fail_rule(const struct conf *cf, const char *key, const struct conf_rule *rule,
    int r, struct why *why)
{
	const char *name = rule->name != NULL ? rule->name : rule->what;

	(void)why_prefix(why, r, "%s: \"%.60s\"", key, name);
	if (rule->line == 0)
		return r;
	return why_prefix(why, r, "%s:%u:%u", cf->file, rule->line,
	    rule->column);
}

static int
add_rules(const struct conf *cf, const char *key,
    const struct conf_rules *rules, struct redact *set,
    int (*add)(struct redact *, const char *, const char *,
    enum redact_action, struct why *), struct why *why)
{
	for (size_t i = 0; i < rules->n; i++) {
		const struct conf_rule *rule = &rules->v[i];
		enum redact_action action = (enum redact_action)rule->action;
		int r = rule->what == NULL ?
		    redact_add_builtin(set, rule->name, NULL, action, why) :
		    add(set, rule->what, rule->name, action, why);
		if (r < 0)
			return fail_rule(cf, key, rule, r, why);
	}
	return 0;
}

static int
add_hash_key(const struct conf *cf, struct redact *set, struct why *why)
{
	static const char name[] = "redact.hash_key_file";
	char key[HASH_KEY_MAX];
	int r;

	if (!redact_needs_hash_key(set))
		return 0;
	if (cf->redact.hash_key_file[0] == '\0')
		return why_set(why, -EINVAL, "%s is not set; the action hash "
		    "needs a key, as \"openssl rand -hex 32\" makes one",
		    name);
	r = conf_secret_file(cf->redact.hash_key_file, "HMAC key", key,
	    sizeof key, NULL, why);
	if (r < 0)
		return why_prefix(why, r, "%s", name);
	size_t n = strlen(key);
	if (n >= REDACT_HASH_KEY_MIN)
		redact_set_hash_key(set, key, n);
	explicit_bzero(key, sizeof key);
	if (n < REDACT_HASH_KEY_MIN)
		return why_set(why, -EINVAL, "%s: %s has a key of fewer than "
		    "%d letters", name, cf->redact.hash_key_file,
		    REDACT_HASH_KEY_MIN);
	return 0;
}

int
conf_compile(struct conf *cf, struct why *why)
{
	struct redact *set = redact_new();
	struct why reason = { "" };
	int r;

	r = add_rules(cf, "redact.keys", &cf->redact.keys, set,
	    redact_add_key, &reason);
	if (r == 0)
		r = add_rules(cf, "redact.paths", &cf->redact.paths, set,
		    redact_add_path, &reason);
	if (r == 0)
		r = add_rules(cf, "redact.patterns", &cf->redact.patterns,
		    set, redact_add_regex, &reason);
	if (r == 0)
		r = add_hash_key(cf, set, &reason);
	redact_set_max_string(set, cf->redact.max_string);
	if (r < 0 || redact_is_empty(set)) {
		redact_free(set);
		set = NULL;
	}
	if (r < 0)
		return why_set(why, r, "%s", reason.text);
	redact_free(cf->redact.set);
	cf->redact.set = set;
	return 0;
}
