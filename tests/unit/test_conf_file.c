/*
 * conf: the key table as a whole, flags, files, the environment, the API key,
 * and the printers, whose output reads back.
 */
#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/units.h"
#include "core/conf.h"
#include "core/conf_table.h"
#include "core/conf_value.h"
#include "unit.h"

#define URL "upstream: {url: https://lumni.example}\n"

static struct conf *
parse(const char *text)
{
	struct conf *cf;
	struct why why = { "" };

	int r = conf_parse(text, strlen(text), "f", true, &cf, &why);
	ck_assert_msg(r == 0, "%s\n%s", text, why.text);
	return cf;
}

/* What a printer writes, as a string to be freed. */
static char *
printed(const struct conf *cf, void (*example)(FILE *))
{
	char *text;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	ck_assert_ptr_nonnull(f);
	if (cf != NULL)
		conf_print(cf, f);
	else
		example(f);
	ck_assert_int_eq(fclose(f), 0);
	return text;
}

START_TEST(test_set)
{
	static const struct {
		const char *key, *value, *error;
	} t[] = {
		{ "runs.idle", "10s", NULL },
		{ "runs.end_types", "a, b ,c", NULL },
		{ "listen.udp", "off", NULL },
		{ "upstream.url", "https://h/", NULL },
		{ "storage.dir", "var/lib", NULL },
		{ "runs.idel", "10s", "unknown key \"runs.idel\"; did you mean "
		    "\"runs.idle\"?" },
		{ "zzzzzzzz", "10s", "unknown key \"zzzzzzzz\"" },
		{ "runs", "10s", "unknown key \"runs\"; did you mean "
		    "\"runs\"?" },
		{ "runs.idle", "1ms", "runs.idle: \"1ms\": must be 10ms to "
		    "7d" },
		{ "runs.end_types", "a,,b", "runs.end_types: an item of the "
		    "list is empty" },
	};
	struct conf *cf = parse("runs:\n  idle: 1s\n");
	char cwd[4096], want[4200];

	ck_assert_int_eq(cf->origins[conf_key_index(
	    conf_key_find("runs.idle"))], CONF_FILE);
	for (size_t i = 0; i < NELEM(t); i++) {
		struct why why = { "" };
		int r = conf_set(cf, t[i].key, t[i].value, &why);
		if (t[i].error == NULL) {
			ck_assert_msg(r == 0, "%s", why.text);
		} else {
			ck_assert_int_eq(r, -EINVAL);
			ck_assert_str_eq(why.text, t[i].error);
		}
	}
	ck_assert_int_eq(cf->runs.idle_ms, 10000);
	ck_assert_int_eq(cf->origins[conf_key_index(
	    conf_key_find("runs.idle"))], CONF_FLAG);
	ck_assert_str_eq(cf->upstream.url, "https://h");
	ck_assert_ptr_nonnull(getcwd(cwd, sizeof cwd));
	snprintf(want, sizeof want, "%s/var/lib", cwd);
	ck_assert_str_eq(cf->storage.dir, want);
	conf_free(cf);
}
END_TEST

/* Another value than the default, valid for the key's type, as YAML. */
static const char *
other_value(const struct conf_key *key, char dst[64])
{
	switch (key->type) {
	case CONF_BOOL:
		return strcmp(key->def, "true") == 0 ? "false" : "true";
	case CONF_COUNT:
		snprintf(dst, 64, "%" PRIu64, key->min + 1);
		return dst;
	case CONF_SIZE:
		return units_format_size(key->min, dst);
	case CONF_DURATION:
		return units_format_duration((int64_t)key->min, dst);
	case CONF_MODE:
		return "0644";
	case CONF_WORD:
		return strcmp(key->words[0], key->def) == 0 ? key->words[1] :
		    key->words[0];
	case CONF_PATH:
	case CONF_SOCKET:
		return "/some/where";
	case CONF_ADDRESS:
		return "\"[::1]:99\"";
	case CONF_URL:
		return "https://other.example/base";
	case CONF_PROXY:
		return "http://proxy.example:3128";
	case CONF_GROUP:
		return "root";
	case CONF_STRINGS:
		return "[one, \"t, w: #o\", \"\\x1b\\\"\\\\\"]";
	case CONF_USERS:
		return "[root, 17]";
	case CONF_RULES:
		snprintf(dst, 64, "[%s, {%s: \"a.b\", name: n, action: hash}]",
		    key->item[0] == 'r' ? "email" : "events.x", key->item);
		return dst;
	}
	return NULL;
}

/* A file that sets one key, in its sections. */
static void
put_file(struct buf *b, const struct conf_key *key, const char *text)
{
	const char *name = key->name, *dot;
	int depth = 0;

	while ((dot = strchr(name, '.')) != NULL) {
		buf_printf(b, "%*s%.*s:\n", 2 * depth++, "",
		    (int)(dot - name), name);
		name = dot + 1;
	}
	buf_printf(b, "%*s%s: %s\n", 2 * depth, "", name, text);
}

START_TEST(test_every_key)
{
	for (size_t i = 0; i < conf_keys_n; i++) {
		const struct conf_key *key = &conf_keys[i];
		char text[64];
		struct buf b;

		buf_init(&b, 0);
		put_file(&b, key, other_value(key, text));
		struct conf *was = parse(""), *cf = parse(buf_cstr(&b));
		ck_assert_msg(!conf_value_equal(was, cf, key), "%s",
		    key->name);
		for (size_t k = 0; k < conf_keys_n; k++) {
			ck_assert_msg(k == i ||
			    conf_value_equal(was, cf, &conf_keys[k]),
			    "%s changed %s", key->name, conf_keys[k].name);
			ck_assert_int_eq(cf->origins[k],
			    k == i ? CONF_FILE : CONF_DEFAULT);
		}

		/* What is printed reads back as the same. */
		char *yaml = printed(cf, NULL);
		struct conf *again = parse(yaml);
		for (size_t k = 0; k < conf_keys_n; k++)
			ck_assert_msg(conf_value_equal(cf, again,
			    &conf_keys[k]), "%s", conf_keys[k].name);

		char names[256];
		conf_restart_keys(was, cf, names, sizeof names);
		ck_assert_str_eq(names, key->live ? "" : key->name);
		free(yaml);
		conf_free(again);
		conf_free(cf);
		conf_free(was);
		buf_free(&b);
	}
}
END_TEST

START_TEST(test_table)
{
	for (size_t i = 0; i < conf_keys_n; i++) {
		const struct conf_key *key = &conf_keys[i];
		size_t len = strlen(key->help);

		ck_assert_ptr_eq(conf_key_find(key->name), key);
		ck_assert_str_ne(conf_type_text(key), "");
		ck_assert_msg(key->help[len - 1] == '.', "%s", key->name);
		/* Each key stands in a section that has a row. */
		char section[64];
		snprintf(section, sizeof section, "%.*s",
		    (int)(conf_leaf(key->name) - key->name - 1), key->name);
		ck_assert_ptr_nonnull(conf_section_find(section));
	}
	ck_assert_str_eq(conf_nearest("runs.idel"), "runs.idle");
	ck_assert_str_eq(conf_nearest("listen.udpp"), "listen.udp");
	ck_assert_ptr_null(conf_nearest("quite.different"));
	ck_assert_ptr_null(conf_nearest("a-word-that-is-longer-than-any-slip-"
	    "of-the-fingers-could-ever-make-it-be"));
}
END_TEST

START_TEST(test_restart_keys)
{
	struct conf *a = parse("");
	struct conf *b = parse("storage: {dir: /x}\nlisten: {udp: off, http: "
	    "off}\nruns: {idle: 1s}\n");	/* all but the first are live */
	char text[64];

	ck_assert_str_eq(conf_restart_keys(a, b, text, sizeof text),
	    "storage.dir");
	ck_assert_str_eq(conf_restart_keys(a, a, text, sizeof text), "");
	/* Too little room: it still ends with a NUL. */
	conf_restart_keys(a, b, text, 5);
	ck_assert_uint_lt(strlen(text), 5);
	conf_free(a);
	conf_free(b);
}
END_TEST

/* Put the example's settings in force. */
static void
uncomment(char *text)
{
	for (char *p = text; *p != '\0'; p++) {
		if (*p == '#' && p[1] != ' ')
			memmove(p, p + 1, strlen(p));
	}
}

/* There is a line of this setting, in its column, and this origin. */
static void
must_print(const char *text, const char *setting, const char *origin)
{
	char line[200];

	snprintf(line, sizeof line, "\n  %-46s # %s\n", setting, origin);
	ck_assert_msg(strstr(text, line) != NULL, "%s in %s", line, text);
}

START_TEST(test_print)
{
	setenv("LUMNI_API_KEY", "sk-very-secret", 1);
	struct conf *cf = parse("upstream:\n  url: https://h\n"
	    "  proxy: http://user:hunter2@p:1\n");
	unsetenv("LUMNI_API_KEY");
	struct why why;
	ck_assert_int_eq(conf_set(cf, "runs.idle", "9s", &why), 0);
	char *text = printed(cf, NULL);

	ck_assert_ptr_null(strstr(text, "very-secret"));
	ck_assert_ptr_null(strstr(text, "hunter2"));
	ck_assert_ptr_null(strstr(text, "user:"));
	must_print(text, "url: https://h", "f:2");
	must_print(text, "# LUMNI_API_KEY: ********", "environment");
	must_print(text, "idle: 9s", "command line");
	must_print(text, "max_age: 5min", "default");
	free(text);
	conf_free(cf);

	/* The example holds every key, and nothing but defaults. */
	text = printed(NULL, conf_print_example);
	struct conf *was = parse("");
	cf = parse(text);
	for (size_t i = 0; i < conf_keys_n; i++)
		ck_assert(conf_keys[i].example != NULL ||
		    conf_value_equal(was, cf, &conf_keys[i]));
	conf_free(cf);
	/* ... also when all of it is put in force. */
	uncomment(text);
	cf = parse(text);
	for (size_t i = 0; i < conf_keys_n; i++) {
		ck_assert_int_eq(cf->origins[i], CONF_FILE);
		ck_assert(conf_keys[i].example != NULL ||
		    conf_value_equal(was, cf, &conf_keys[i]));
	}
	conf_free(cf);
	conf_free(was);
	free(text);

	text = printed(NULL, conf_print_mdoc);
	for (size_t i = 0; i < conf_keys_n; i++)
		ck_assert_ptr_nonnull(strstr(text, conf_keys[i].name));
	free(text);
}
END_TEST

/* A directory of our own, to be freed with remove_dir(). */
static char *
make_dir(void)
{
	const char *base = getenv("TMPDIR");
	char path[300];

	snprintf(path, sizeof path, "%s/lumnid-test.XXXXXX",
	    base != NULL ? base : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(path));
	return mem_strdup(path);
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static void
remove_dir(char *dir)
{
	ck_assert_int_eq(nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
	free(dir);
}

static void
write_file(const char *path, const char *text, mode_t mode)
{
	FILE *f = fopen(path, "w");

	ck_assert_ptr_nonnull(f);
	ck_assert_int_ge(fputs(text, f), 0);
	ck_assert_int_eq(fclose(f), 0);
	ck_assert_int_eq(chmod(path, mode), 0);
}

START_TEST(test_load)
{
	char *dir = make_dir();
	char path[300], want[500];
	struct conf *cf;
	struct why why;

	snprintf(path, sizeof path, "%s/lumnid.yaml", dir);
	snprintf(want, sizeof want, "%s: No such file or directory", path);
	ck_assert_int_eq(conf_load(path, false, &cf, &why), -ENOENT);
	ck_assert_str_eq(why.text, want);

	write_file(path, URL "runs: {idle: 1s}\n", 0644);
	ck_assert_int_eq(conf_load(path, false, &cf, &why), 0);
	ck_assert_int_eq(cf->runs.idle_ms, 1000);
	ck_assert_str_eq(cf->file, path);
	conf_free(cf);

	write_file(path, "runs: {idel: 1s}\n", 0644);
	snprintf(want, sizeof want, "%s:1:8: unknown key \"runs.idel\"; did "
	    "you mean \"runs.idle\"?", path);
	ck_assert_int_eq(conf_load(path, false, &cf, &why), -EINVAL);
	ck_assert_str_eq(why.text, want);

	snprintf(want, sizeof want, "%s: Is a directory", dir);
	ck_assert_int_eq(conf_load(dir, false, &cf, &why), -EISDIR);
	ck_assert_str_eq(why.text, want);
	snprintf(want, sizeof want, "/dev/zero: File too large");
	ck_assert_int_eq(conf_load("/dev/zero", false, &cf, &why), -EFBIG);
	ck_assert_str_eq(why.text, want);

	ck_assert_int_eq(conf_load(NULL, true, &cf, &why), 0);
	conf_free(cf);
	ck_assert_int_eq(conf_load(NULL, false, &cf, &why), -EINVAL);
	remove_dir(dir);
}
END_TEST

START_TEST(test_api_key)
{
	static const struct {
		const char *text;
		int code;
		const char *want;	/* the key, or the error after the path */
	} t[] = {
		{ "sk_live_1", 0, "sk_live_1" },
		{ "sk_live_1\n", 0, "sk_live_1" },
		{ "sk_live_1 \t\r\n\n", 0, "sk_live_1" },
		{ "", -EINVAL, " is empty; it must hold the API key" },
		{ "\n\n", -EINVAL, " is empty; it must hold the API key" },
		{ "a\nb\n", -EINVAL, " has several lines; it must hold the "
		    "API key and nothing else" },
		{ "a b", -EINVAL, " has a space or a letter that cannot be in "
		    "an API key" },
		{ "a\xc3\xa4", -EINVAL, " has a space or a letter that cannot "
		    "be in an API key" },
		{ "0123456789012345678901234567890123456789012345678901234567"
		    "89", -EINVAL, " is too long for an API key" },
	};
	char *dir = make_dir();
	char path[300], want[800], got[32];
	struct conf *cf = parse("");
	struct why why;
	int64_t mtime = -1;

	ck_assert_int_eq(conf_api_key(cf, got, sizeof got, &mtime, &why),
	    -ENOENT);
	ck_assert_str_eq(why.text, "there is no API key; name its file in "
	    "upstream.api_key_file");

	snprintf(path, sizeof path, "%s/api_key", dir);
	ck_assert_int_eq(conf_set(cf, "upstream.api_key_file", path, &why), 0);
	ck_assert_int_eq(conf_api_key(cf, got, sizeof got, &mtime, &why),
	    -ENOENT);
	snprintf(want, sizeof want, "%s does not exist; write the API key "
	    "into it", path);
	ck_assert_str_eq(why.text, want);
	ck_assert_int_eq(mtime, -1);

	for (size_t i = 0; i < NELEM(t); i++) {
		write_file(path, t[i].text, 0640);
		ck_assert_int_eq(conf_api_key(cf, got, sizeof got, &mtime,
		    &why), t[i].code);
		if (t[i].code == 0) {
			ck_assert_str_eq(got, t[i].want);
			continue;
		}
		snprintf(want, sizeof want, "%s%s", path, t[i].want);
		ck_assert_str_eq(why.text, want);
	}
	ck_assert_int_gt(mtime, 0);

	write_file(path, "sk", 0644);
	ck_assert_int_eq(conf_api_key(cf, got, sizeof got, NULL, &why),
	    -EPERM);
	snprintf(want, sizeof want, "%s can be read by everyone; chmod o-rwx "
	    "%s", path, path);
	ck_assert_str_eq(why.text, want);

	/* A FIFO in its place must not hang the daemon. */
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	ck_assert_int_eq(conf_api_key(cf, got, sizeof got, NULL, &why),
	    -EINVAL);
	conf_free(cf);
	remove_dir(dir);
}
END_TEST

START_TEST(test_environment)
{
	char *dir = make_dir();
	char path[300], got[32];
	struct why why;
	struct conf *cf;
	int64_t mtime = -1;

	setenv("LUMNI_API_KEY", "sk_env", 1);
	cf = parse("");
	ck_assert_int_eq(conf_api_key(cf, got, sizeof got, &mtime, &why), 0);
	ck_assert_str_eq(got, "sk_env");
	ck_assert_int_eq(mtime, 0);
	conf_free(cf);

	/* systemd's credential, which a file that is named goes before. */
	snprintf(path, sizeof path, "%s/api_key", dir);
	setenv("CREDENTIALS_DIRECTORY", dir, 1);
	cf = parse("");
	ck_assert_str_eq(cf->upstream.api_key_file, "");
	conf_free(cf);
	write_file(path, "sk_cred\n", 0400);
	cf = parse("");
	ck_assert_str_eq(cf->upstream.api_key_file, path);
	ck_assert_int_eq(conf_api_key(cf, got, sizeof got, &mtime, &why), 0);
	ck_assert_str_eq(got, "sk_cred");
	conf_free(cf);

	/* Blank, it says that there is none: the unit has no other way. */
	ck_assert_int_eq(unlink(path), 0);
	write_file(path, "\n", 0400);
	unsetenv("LUMNI_API_KEY");
	cf = parse("");
	ck_assert_int_eq(conf_api_key(cf, got, sizeof got, &mtime, &why),
	    -ENOENT);
	ck_assert_ptr_nonnull(strstr(why.text, "LoadCredential="));
	conf_free(cf);
	setenv("LUMNI_API_KEY", "sk_env", 1);
	cf = parse("");
	ck_assert_int_eq(conf_api_key(cf, got, sizeof got, &mtime, &why), 0);
	ck_assert_str_eq(got, "sk_env");
	conf_free(cf);
	unsetenv("LUMNI_API_KEY");
	cf = parse("upstream: {api_key_file: /x}\n");
	ck_assert_str_eq(cf->upstream.api_key_file, "/x");
	conf_free(cf);

	unsetenv("CREDENTIALS_DIRECTORY");
	setenv("LUMNI_API_KEY", "bad key", 1);
	cf = parse("");
	ck_assert_int_eq(conf_api_key(cf, got, sizeof got, &mtime, &why),
	    -EINVAL);
	ck_assert_str_eq(why.text, "LUMNI_API_KEY has a space or a letter that "
	    "cannot be in an API key");
	conf_free(cf);
	unsetenv("LUMNI_API_KEY");
	remove_dir(dir);
}
END_TEST

/* Whatever the bytes: an answer with a place, or a whole configuration. */
START_TEST(test_mutations)
{
	static const char special[] = "[]{}:,&*!#|>'\"%@`-?\n\t \\~0";
	char *example = printed(NULL, conf_print_example);
	struct rng rng;
	unsigned good = 0, bad = 0;

	uncomment(example);
	size_t len = strlen(example);
	rng_seed(&rng, 8842);
	for (int round = 0; round < 3000; round++) {
		char *text = mem_dup(example, len);
		size_t n = len;
		for (uint64_t k = rng_below(&rng, 3) + 1; k > 0; k--) {
			size_t at = rng_below(&rng, n);
			size_t cut = rng_below(&rng, 40);
			switch (rng_below(&rng, 4)) {
			case 0:
				text[at] = (char)rng_u64(&rng);
				break;
			case 1:
				text[at] = special[rng_below(&rng,
				    sizeof special - 1)];
				break;
			case 2:
				if (cut > n - at)
					cut = n - at;
				memmove(text + at, text + at + cut,
				    n - at - cut);
				n -= cut;
				break;
			default:
				if (cut > n - at)
					cut = n - at;
				memcpy(text + at, example + rng_below(&rng,
				    len - 40), cut);
				break;
			}
		}
		struct conf *cf;
		struct why why = { "" };
		int r = conf_parse(text, n, "f", false, &cf, &why);
		if (r == 0) {
			good++;
			conf_free(cf);
		} else {
			bad++;
			ck_assert_int_eq(r, -EINVAL);
			ck_assert_msg(strncmp(why.text, "f:", 2) == 0 ||
			    strstr(why.text, " is larger than ") != NULL,
			    "%s", why.text);
		}
		free(text);
	}
	ck_assert_uint_gt(good, 100);
	ck_assert_uint_gt(bad, 100);
	free(example);
}
END_TEST

int
main(void)
{
	unsetenv("LUMNI_API_KEY");
	unsetenv("CREDENTIALS_DIRECTORY");
	return unit_run("conf_file", (const TTest *const[]){ test_set,
	    test_every_key, test_table, test_restart_keys, test_print,
	    test_load, test_api_key, test_environment, test_mutations,
	    NULL });
}
