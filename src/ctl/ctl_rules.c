/* ctl_rules: see ctl_rules.h. */
#include "config.h"

#include "ctl/ctl_rules.h"

#include <errno.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/clock.h"
#include "codec/event.h"
#include "codec/jsonin.h"
#include "codec/redact.h"
#include "core/conf.h"

#define RULES_FILE	SYSCONFDIR "/lumnid/lumnid.yaml"

/* The message in b through the rules; its JSON is then in m. */
static int
rules_decode(struct event_message *m, struct redact_run *run,
    struct json_object *record, struct why *why)
{
	const struct event_options options = { .redact = run };
	struct buf b;
	int r;

	buf_init(&b, 0);
	jsonin_pack(&b, record);
	r = buf_error(&b);
	if (r == 0 && event_decode(m, b.data, b.len, &options,
	    (struct wall){ 0 }, why) != EVENT_OK)
		r = -EINVAL;
	buf_free(&b);
	return r;
}

/* {key: the JSON in m} */
static int
rules_parse(const struct event_message *m, const char *key,
    struct json_object **ret, struct why *why)
{
	struct json_tokener *tok = json_tokener_new_ex(JSONIN_DEPTH);
	struct json_object *o, *whole;
	size_t at;
	int r;

	if (tok == NULL)
		return -ENOMEM;
	r = jsonin_parse(tok, (const char *)m->json.data + m->events[0].off,
	    m->events[0].len, &o, &at, why);
	json_tokener_free(tok);
	if (r < 0)
		return r;
	whole = json_object_new_object();
	if (whole == NULL || json_object_object_add(whole, key, o) < 0) {
		json_object_put(o);
		json_object_put(whole);
		return -ENOMEM;
	}
	*ret = whole;
	return 0;
}

static int
rules_run(struct redact_run *run, struct json_object **record,
    struct why *why)
{
	const char *key = json_object_object_get_ex(*record, "change", NULL) ?
	    "change" : "policy";
	struct json_object *redacted = NULL;
	struct event_message m;
	int r;

	event_message_init(&m);
	r = rules_decode(&m, run, *record, why);
	if (r == 0)
		r = rules_parse(&m, key, &redacted, why);
	/* lumnid will take it as a record, and not set it aside. */
	if (r == 0 && (r = rules_decode(&m, run, redacted, why)) < 0)
		(void)why_prefix(why, r, "what redaction leaves of it");
	event_message_free(&m);
	if (r < 0) {
		json_object_put(redacted);
		return r;
	}
	json_object_put(*record);
	*record = redacted;
	return 0;
}

int
ctl_rules_apply(const char *config, struct json_object **record,
    struct why *why)
{
	struct redact_run *run;
	struct conf *conf;
	int r;

	if (config == NULL)
		config = getenv("LUMNID_CONFIG");
	if (config == NULL || config[0] == '\0')
		config = RULES_FILE;
	if ((r = conf_load(config, true, &conf, why)) < 0)
		return r;
	r = conf_compile(conf, why);
	if (r == 0 && conf->redact.set != NULL) {
		run = redact_run_new(conf->redact.set);
		r = rules_run(run, record, why);
		redact_run_free(run);
	}
	conf_free(conf);
	return r;
}
