/*
 * conf_yaml: walks libyaml's events. Of YAML it takes one document of maps,
 * scalars, and lists of strings (of small maps, for rules); anchors, aliases,
 * tags and a second document are errors, because each lets a file say
 * something else than it seems to. Lines and columns count from 1, as editors
 * do.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "core/conf_rule.h"
#include "core/conf_table.h"
#include "core/conf_value.h"
#include "core/conf_yaml.h"

#define NAME_MAX_LEN	128	/* bytes of a dotted name */
#define SECTIONS_MAX	32

struct reader {
	yaml_parser_t	 parser;
	yaml_event_t	 ev;		/* the present one, owned */
	struct conf	*conf;
	const char	*text;
	size_t		 len;
	const char	*name;
	struct why	*why;
	const struct conf_section *seen[SECTIONS_MAX];
	size_t		 seen_lines[SECTIONS_MAX];
	size_t		 seen_n;
};

/* Put "name:line:column: " before the reason in why. */
static int
reader_place(const struct reader *rd, const yaml_mark_t *at)
{
	return why_prefix(rd->why, -EINVAL, "%s:%zu:%zu", rd->name,
	    at->line + 1, at->column + 1);
}

#define FAIL(rd, at, ...)						\
	((void)why_set((rd)->why, -EINVAL, __VA_ARGS__),		\
	    reader_place((rd), (at)))

/*
 * libyaml does not count lines when it refuses bytes: what it gives is their
 * offset.
 */
static yaml_mark_t
reader_mark_of(const struct reader *rd, size_t offset)
{
	yaml_mark_t at = { 0, 0, 0 };

	for (size_t i = 0; i < offset && i < rd->len; i++) {
		if (rd->text[i] == '\n') {
			at.line++;
			at.column = 0;
		} else if (((unsigned char)rd->text[i] & 0xc0) != 0x80) {
			at.column++;
		}
	}
	return at;
}

static int
reader_fail_yaml(struct reader *rd)
{
	const yaml_parser_t *p = &rd->parser;
	yaml_mark_t at = p->problem_mark;

	if (p->error == YAML_MEMORY_ERROR)
		return why_set(rd->why, -ENOMEM, "%s: out of memory",
		    rd->name);
	if (p->error == YAML_READER_ERROR) {
		at = reader_mark_of(rd, p->problem_offset);
		return FAIL(rd, &at, "is not UTF-8 text: %s", p->problem);
	}
	/* YAML's classic; libyaml's own words help nobody. */
	if (p->problem != NULL &&
	    strstr(p->problem, "cannot start any token") != NULL &&
	    at.index < rd->len && rd->text[at.index] == '\t')
		return FAIL(rd, &at, "a tab; YAML is indented with spaces");
	if (p->context != NULL)
		return FAIL(rd, &at, "is not YAML: %s, %s", p->context,
		    p->problem);
	return FAIL(rd, &at, "is not YAML: %s",
	    p->problem != NULL ? p->problem : "cannot be read");
}

/* Step to the next event. */
static int
reader_next(struct reader *rd)
{
	yaml_event_delete(&rd->ev);
	if (!yaml_parser_parse(&rd->parser, &rd->ev)) {
		/* A failed parse may have set the type; nothing is owned. */
		memset(&rd->ev, 0, sizeof rd->ev);
		return reader_fail_yaml(rd);
	}
	const yaml_mark_t *at = &rd->ev.start_mark;
	const yaml_char_t *anchor = NULL, *tag = NULL;
	switch (rd->ev.type) {
	case YAML_ALIAS_EVENT:
		return FAIL(rd, at, "aliases (*name) are not supported");
	case YAML_SCALAR_EVENT:
		anchor = rd->ev.data.scalar.anchor;
		tag = rd->ev.data.scalar.tag;
		break;
	case YAML_SEQUENCE_START_EVENT:
		anchor = rd->ev.data.sequence_start.anchor;
		tag = rd->ev.data.sequence_start.tag;
		break;
	case YAML_MAPPING_START_EVENT:
		anchor = rd->ev.data.mapping_start.anchor;
		tag = rd->ev.data.mapping_start.tag;
		break;
	default:
		break;
	}
	if (anchor != NULL)
		return FAIL(rd, at, "anchors (&name) are not supported");
	if (tag != NULL)
		return FAIL(rd, at, "tags (!name) are not supported");
	return 0;
}

static const char *
scalar_text(const struct reader *rd)
{
	return (const char *)rd->ev.data.scalar.value;
}

/* Does the scalar hold a NUL, and so more than its text shows? */
static int
scalar_check(struct reader *rd)
{
	if (strlen(scalar_text(rd)) == rd->ev.data.scalar.length)
		return 0;
	return FAIL(rd, &rd->ev.start_mark, "a NUL character");
}

/* Is it YAML's null: nothing, ~ or null, and not in quotes? */
static bool
scalar_is_null(const struct reader *rd)
{
	const char *s = scalar_text(rd);

	return rd->ev.data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
	    (*s == '\0' || strcmp(s, "~") == 0 || strcmp(s, "null") == 0);
}

static const char *
event_text(const struct reader *rd)
{
	switch (rd->ev.type) {
	case YAML_SEQUENCE_START_EVENT:
		return "a list";
	case YAML_MAPPING_START_EVENT:
		return "a map";
	default:
		return "a value";
	}
}

/* A pair of a rule; the present event is its key. */
static int
read_rule_pair(struct reader *rd, const struct conf_key *key,
    struct conf_rule *rule)
{
	yaml_mark_t at = rd->ev.start_mark;
	char field[40];
	int r;

	if (rd->ev.type != YAML_SCALAR_EVENT)
		return FAIL(rd, &at, "%s: %s where a key is wanted", key->name,
		    event_text(rd));
	if ((r = scalar_check(rd)) < 0)
		return r;
	(void)snprintf(field, sizeof field, "%s", scalar_text(rd));
	if ((r = reader_next(rd)) < 0)
		return r;
	if (rd->ev.type == YAML_SCALAR_EVENT && (r = scalar_check(rd)) < 0)
		return r;
	if (rd->ev.type != YAML_SCALAR_EVENT || scalar_is_null(rd))
		return FAIL(rd, &rd->ev.start_mark, "%s: %s: a text is wanted",
		    key->name, field);
	if (strcmp(field, key->item) == 0) {
		rule->line = (unsigned)rd->ev.start_mark.line + 1;
		rule->column = (unsigned)rd->ev.start_mark.column + 1;
	}
	r = conf_rule_set_field(key, rule, field, scalar_text(rd), rd->why);
	if (r < 0) {
		(void)why_prefix(rd->why, r, "%s", key->name);
		return reader_place(rd, &at);
	}
	return 0;
}

/* A rule that is a map; the present event is its start. */
static int
read_rule_map(struct reader *rd, const struct conf_key *key,
    struct conf_rule *rule)
{
	yaml_mark_t at = rd->ev.start_mark;
	int r;

	for (;;) {
		if ((r = reader_next(rd)) < 0)
			return r;
		if (rd->ev.type == YAML_MAPPING_END_EVENT)
			break;
		if ((r = read_rule_pair(rd, key, rule)) < 0)
			return r;
	}
	r = conf_rule_check(key, rule, rd->why);
	if (r < 0) {
		(void)why_prefix(rd->why, r, "%s", key->name);
		return reader_place(rd, &at);
	}
	return 0;
}

/* One rule: a text or a map. */
static int
read_rule(struct reader *rd, const struct conf_key *key)
{
	yaml_mark_t at = rd->ev.start_mark;
	struct conf_rule rule = { .line = (unsigned)at.line + 1,
		.column = (unsigned)at.column + 1 };
	int r;

	if (rd->ev.type == YAML_MAPPING_START_EVENT) {
		r = read_rule_map(rd, key, &rule);
	} else if ((r = scalar_check(rd)) == 0) {
		r = conf_rule_set_text(key, &rule, scalar_text(rd), rd->why);
		if (r < 0) {
			(void)why_prefix(rd->why, r, "%s", key->name);
			r = reader_place(rd, &at);
		}
	}
	if (r < 0) {
		conf_rule_free(&rule);
		return r;
	}
	r = conf_rules_add(conf_value_rules(rd->conf, key), &rule, rd->why);
	if (r < 0) {
		(void)why_prefix(rd->why, r, "%s", key->name);
		return reader_place(rd, &at);
	}
	return 0;
}

/* The list after the key; the present event is its start. */
static int
read_list(struct reader *rd, const struct conf_key *key)
{
	conf_value_clear(rd->conf, key);
	for (;;) {
		int r = reader_next(rd);
		if (r < 0)
			return r;
		if (rd->ev.type == YAML_SEQUENCE_END_EVENT)
			return 0;
		yaml_mark_t at = rd->ev.start_mark;
		if (key->type == CONF_RULES &&
		    (rd->ev.type == YAML_SCALAR_EVENT ||
		    rd->ev.type == YAML_MAPPING_START_EVENT)) {
			if ((r = read_rule(rd, key)) < 0)
				return r;
			continue;
		}
		if (rd->ev.type != YAML_SCALAR_EVENT)
			return FAIL(rd, &at, "%s: %s in the list, where a "
			    "plain item is wanted", key->name, event_text(rd));
		r = scalar_check(rd);
		if (r < 0)
			return r;
		r = conf_value_add(rd->conf, key, scalar_text(rd), rd->why);
		if (r < 0) {
			(void)why_prefix(rd->why, r, "%s", key->name);
			return reader_place(rd, &at);
		}
	}
}

static int
read_scalar(struct reader *rd, const struct conf_key *key)
{
	yaml_mark_t at = rd->ev.start_mark;
	int r = scalar_check(rd);

	if (r < 0)
		return r;
	if (scalar_is_null(rd))
		return FAIL(rd, &at, "%s has no value; it takes %s", key->name,
		    conf_type_text(key));
	if (conf_value_is_list(key))
		return FAIL(rd, &at, "%s: a value where %s is wanted",
		    key->name, conf_type_text(key));
	bool quoted = rd->ev.data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
	r = conf_value_set(rd->conf, key, scalar_text(rd), quoted, rd->why);
	if (r < 0) {
		(void)why_prefix(rd->why, r, "%s", key->name);
		return reader_place(rd, &at);
	}
	return 0;
}

/* A key of the table, which stands at `at`; its value is next. */
static int
read_key(struct reader *rd, const struct conf_key *key, const yaml_mark_t *at)
{
	size_t i = conf_key_index(key);

	if (rd->conf->lines[i] != 0)
		return FAIL(rd, at, "%s is set twice; first in line %u",
		    key->name, rd->conf->lines[i]);
	rd->conf->lines[i] = (unsigned)at->line + 1;
	rd->conf->origins[i] = CONF_FILE;

	int r = reader_next(rd);
	if (r < 0)
		return r;
	if (rd->ev.type == YAML_SCALAR_EVENT)
		return read_scalar(rd, key);
	if (rd->ev.type == YAML_SEQUENCE_START_EVENT &&
	    conf_value_is_list(key))
		return read_list(rd, key);
	/* [::1]:8842 is a list to YAML. */
	if (rd->ev.type == YAML_SEQUENCE_START_EVENT &&
	    key->type == CONF_ADDRESS)
		return FAIL(rd, &rd->ev.start_mark, "%s: an IPv6 address needs "
		    "quotes: \"[::1]:8842\"", key->name);
	return FAIL(rd, &rd->ev.start_mark, "%s: %s where %s is wanted",
	    key->name, event_text(rd), conf_type_text(key));
}

static int	read_map(struct reader *, const char *section);

static int
read_section(struct reader *rd, const struct conf_section *section,
    const yaml_mark_t *at)
{
	for (size_t i = 0; i < rd->seen_n; i++) {
		if (rd->seen[i] == section)
			return FAIL(rd, at, "the section %s is there twice; "
			    "first in line %zu", section->name,
			    rd->seen_lines[i]);
	}
	/* Each section at most once, so the table's size bounds it. */
	assert(rd->seen_n < SECTIONS_MAX);
	rd->seen[rd->seen_n] = section;
	rd->seen_lines[rd->seen_n++] = at->line + 1;

	int r = reader_next(rd);
	if (r < 0)
		return r;
	if (rd->ev.type == YAML_MAPPING_START_EVENT)
		return read_map(rd, section->name);
	/* All of the section's keys may be commented out. */
	if (rd->ev.type == YAML_SCALAR_EVENT && scalar_is_null(rd))
		return 0;
	return FAIL(rd, &rd->ev.start_mark, "%s is a section: its keys go "
	    "below it, indented", section->name);
}

static int
fail_unknown(struct reader *rd, const char *name, const yaml_mark_t *at)
{
	const char *near = conf_nearest(name);

	if (near == NULL)
		return FAIL(rd, at, "unknown key \"%s\"; lumnid.yaml(5) lists "
		    "all keys", name);
	if (strcmp(near, name) == 0)
		return FAIL(rd, at, "\"%s\" is written as sections: \"%.*s:\", "
		    "and below it, indented, \"%s:\"", name,
		    (int)(conf_leaf(name) - name - 1), name, conf_leaf(name));
	return FAIL(rd, at, "unknown key \"%s\"; did you mean \"%s\"?", name,
	    near);
}

/* The keys of one section ("" for the file's own), up to the map's end. */
static int
read_map(struct reader *rd, const char *section)
{
	char name[NAME_MAX_LEN];

	for (;;) {
		int r = reader_next(rd);
		if (r < 0)
			return r;
		if (rd->ev.type == YAML_MAPPING_END_EVENT)
			return 0;
		yaml_mark_t at = rd->ev.start_mark;
		if (rd->ev.type != YAML_SCALAR_EVENT)
			return FAIL(rd, &at, "%s where a key is wanted",
			    event_text(rd));
		r = scalar_check(rd);
		if (r < 0)
			return r;
		bool dotted = strchr(scalar_text(rd), '.') != NULL;
		(void)snprintf(name, sizeof name, "%s%s%.80s", section,
		    *section != '\0' ? "." : "", scalar_text(rd));

		const struct conf_key *key = conf_key_find(name);
		const struct conf_section *sub = conf_section_find(name);
		if (key != NULL && !dotted)
			r = read_key(rd, key, &at);
		else if (sub != NULL && !dotted)
			r = read_section(rd, sub, &at);
		else
			r = fail_unknown(rd, name, &at);
		if (r < 0)
			return r;
	}
}

/* The one document; the present event is its start. */
static int
read_document(struct reader *rd)
{
	int r = reader_next(rd);

	if (r < 0)
		return r;
	if (rd->ev.type == YAML_MAPPING_START_EVENT)
		r = read_map(rd, "");
	else if (rd->ev.type != YAML_SCALAR_EVENT || !scalar_is_null(rd))
		r = FAIL(rd, &rd->ev.start_mark, "%s where the sections "
		    "(upstream:, listen: ...) are wanted", event_text(rd));
	if (r < 0)
		return r;
	r = reader_next(rd);	/* the document's end */
	if (r < 0)
		return r;
	r = reader_next(rd);
	if (r < 0)
		return r;
	if (rd->ev.type != YAML_STREAM_END_EVENT)
		return FAIL(rd, &rd->ev.start_mark, "a second document; the "
		    "file holds one");
	return 0;
}

int
conf_yaml_read(struct conf *cf, const char *text, size_t len,
    const char *name, struct why *why)
{
	struct reader rd = { .conf = cf, .text = text, .len = len,
	    .name = name, .why = why };
	struct why sink;
	int r;

	/* conf_value's reasons are put together in it. */
	if (why == NULL)
		rd.why = &sink;
	if (!yaml_parser_initialize(&rd.parser))
		return why_set(why, -ENOMEM, "%s: out of memory", name);
	yaml_parser_set_input_string(&rd.parser, (const unsigned char *)text,
	    len);
	yaml_parser_set_encoding(&rd.parser, YAML_UTF8_ENCODING);

	r = reader_next(&rd);	/* the stream's start */
	if (r == 0)
		r = reader_next(&rd);
	if (r == 0 && rd.ev.type == YAML_DOCUMENT_START_EVENT)
		r = read_document(&rd);
	yaml_event_delete(&rd.ev);
	yaml_parser_delete(&rd.parser);
	return r;
}
