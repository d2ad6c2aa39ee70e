/*
 * conf_print: the configuration for people: what is in force and why, the
 * commented example, and the manual's list of keys. All from conf_table.c.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "core/conf.h"
#include "core/conf_table.h"
#include "core/conf_value.h"

#define ORIGIN_COLUMN	48	/* where --print-config's origins stand */
#define WRAP_COLUMN	78

static int
name_depth(const char *name)
{
	int depth = 0;

	for (; *name != '\0'; name++)
		depth += *name == '.';
	return depth;
}

static bool
is_in_section(const char *name, const char *section)
{
	size_t len = strlen(section);

	return strncmp(name, section, len) == 0 && name[len] == '.';
}

/*
 * Call fn before the first key of each section, and key_fn for each key.
 * Sections are entered one within the other.
 */
static void
walk(const struct conf *cf, FILE *f,
    void (*section_fn)(FILE *, const struct conf_section *),
    void (*key_fn)(FILE *, const struct conf *, const struct conf_key *))
{
	const char *before = "";

	for (size_t i = 0; i < conf_keys_n; i++) {
		const char *name = conf_keys[i].name;
		for (size_t s = 0; s < conf_sections_n; s++) {
			const struct conf_section *sn = &conf_sections[s];
			if (is_in_section(name, sn->name) &&
			    !is_in_section(before, sn->name))
				section_fn(f, sn);
		}
		key_fn(f, cf, &conf_keys[i]);
		before = name;
	}
}

/* --- effective values -------------------------------------------------------- */

static void
put_origin(FILE *f, const struct conf *cf, enum conf_origin origin,
    unsigned line)
{
	switch (origin) {
	case CONF_DEFAULT:
		fputs("default\n", f);
		break;
	case CONF_FILE:
		fprintf(f, "%s:%u\n", cf->file, line);
		break;
	case CONF_ENV:
		fputs("environment\n", f);
		break;
	case CONF_FLAG:
		fputs("command line\n", f);
		break;
	}
}

static void
print_section(FILE *f, const struct conf_section *section)
{
	fprintf(f, "%*s%s:\n", 2 * name_depth(section->name), "",
	    conf_leaf(section->name));
}

static void
print_key(FILE *f, const struct conf *cf, const struct conf_key *key)
{
	size_t i = conf_key_index(key);
	struct buf b;

	buf_init(&b, 0);
	buf_printf(&b, "%*s%s: ", 2 * name_depth(key->name), "",
	    conf_leaf(key->name));
	conf_value_put(cf, key, &b);
	fprintf(f, "%-*s # ", ORIGIN_COLUMN, buf_cstr(&b));
	put_origin(f, cf, cf->origins[i], cf->lines[i]);
	buf_free(&b);

	/* The key itself is no row of the table: it cannot be in the file. */
	if (strcmp(key->name, "upstream.api_key_file") == 0 &&
	    cf->upstream.api_key != NULL)
		fprintf(f, "%-*s # environment\n", ORIGIN_COLUMN,
		    "  # LUMNI_API_KEY: ********");
}

void
conf_print(const struct conf *cf, FILE *f)
{
	walk(cf, f, print_section, print_key);
}

/* --- the example --------------------------------------------------------------- */

/* Text as comment lines, broken between words. */
static void
put_comment(FILE *f, int indent, const char *text)
{
	int column = 0;

	while (*text != '\0') {
		int len = (int)strcspn(text, " ");
		if (column != 0 && column + 1 + len > WRAP_COLUMN) {
			fputc('\n', f);
			column = 0;
		}
		if (column == 0)
			column = fprintf(f, "%*s#", indent, "");
		column += fprintf(f, " %.*s", len, text);
		text += len;
		text += strspn(text, " ");
	}
	fputc('\n', f);
}

static void
example_section(FILE *f, const struct conf_section *section)
{
	fputc('\n', f);
	put_comment(f, 2 * name_depth(section->name), section->help);
	print_section(f, section);
}

static void
example_key(FILE *f, const struct conf *cf, const struct conf_key *key)
{
	int indent = 2 * name_depth(key->name);
	struct buf b;

	buf_init(&b, 0);
	buf_puts(&b, key->help);
	if (key->max != 0 && key->type != CONF_MODE) {
		buf_puts(&b, " (");
		conf_value_put_range(&b, key);
		buf_puts(&b, ")");
	} else if (key->type == CONF_WORD) {
		buf_puts(&b, " (");
		conf_value_put_range(&b, key);
		buf_puts(&b, ")");
	}
	put_comment(f, indent, buf_cstr(&b));

	buf_reset(&b, 0);
	if (key->example != NULL) {
		fprintf(f, "%*s%s: %s\n", indent, "", conf_leaf(key->name),
		    key->example);
	} else {
		conf_value_put(cf, key, &b);
		fprintf(f, "%*s#%s: %s\n", indent, "", conf_leaf(key->name),
		    buf_cstr(&b));
	}
	buf_free(&b);
}

void
conf_print_example(FILE *f)
{
	struct conf *cf;

	if (conf_parse("", 0, "", true, &cf, NULL) < 0)
		abort();	/* the table's defaults are at fault */
	fputs("# The configuration of lumnid(8); lumnid.yaml(5) explains it.\n"
	    "# What is commented out shows the default. Check a change with\n"
	    "# \"lumnid --check-config\", put it in force with "
	    "\"systemctl reload lumnid\".\n", f);
	walk(cf, f, example_section, example_key);
	conf_free(cf);
}

/* --- the manual ------------------------------------------------------------------ */

/* Text in which no letter is markup. */
static void
put_roff(FILE *f, const char *s)
{
	if (*s == '.' || *s == '\'')
		fputs("\\&", f);
	for (; *s != '\0'; s++) {
		if (*s == '\\')
			fputs("\\e", f);
		else if (*s == '-')
			fputs("\\-", f);
		else
			fputc(*s, f);
	}
}

/* A sentence begins a line, as mdoc(7) wants it; long ones are broken. */
static void
put_roff_sentences(FILE *f, const char *s)
{
	size_t column = 0;

	while (*s != '\0') {
		size_t len = strcspn(s, " ");
		char *word = strndup(s, len);
		if (word == NULL)
			fatal("out of memory");
		if (column != 0 && column + 1 + len > WRAP_COLUMN) {
			fputc('\n', f);
			column = 0;
		}
		if (column != 0)
			fputc(' ', f);
		put_roff(f, word);
		free(word);
		column += len + (column != 0);
		if (s[len - 1] == '.' && s[len] == ' ') {
			fputc('\n', f);
			column = 0;
		}
		s += len;
		s += strspn(s, " ");
	}
	fputc('\n', f);
}

static void
mdoc_section(FILE *f, const struct conf_section *section)
{
	(void)f;
	(void)section;	/* items carry their whole names */
}

static void
mdoc_key(FILE *f, const struct conf *cf, const struct conf_key *key)
{
	struct buf b;

	fprintf(f, ".It Ic %s\n", key->name);
	put_roff_sentences(f, key->help);

	buf_init(&b, 0);
	conf_value_put_range(&b, key);
	fputs("Takes ", f);
	put_roff(f, key->type == CONF_WORD ? "one of" : conf_type_text(key));
	if (b.len != 0 && key->type != CONF_MODE) {
		fputs(key->type == CONF_WORD ? " " : ": ", f);
		put_roff(f, buf_cstr(&b));
	}
	fputs(".\n", f);

	buf_reset(&b, 0);
	conf_value_put(cf, key, &b);
	if (key->def[0] == '\0') {
		fputs("Not set by default.\n", f);
	} else {
		fputs("Default: ", f);
		put_roff(f, buf_cstr(&b));
		fputs(".\n", f);
	}
	if (!key->live)
		fputs("A change needs a restart.\n", f);
	buf_free(&b);
}

void
conf_print_mdoc(FILE *f)
{
	struct conf *cf;

	if (conf_parse("", 0, "", true, &cf, NULL) < 0)
		abort();
	fputs(".Bl -tag -width Ds\n", f);
	walk(cf, f, mdoc_section, mdoc_key);
	fputs(".El\n", f);
	conf_free(cf);
}
