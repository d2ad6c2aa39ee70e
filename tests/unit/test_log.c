/* log: the form of lines, and what an attacker's text may not do to them. */
#include <errno.h>
#include <fcntl.h>
#include <json.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/rand.h"
#include "unit.h"

static char got[8192];
static size_t got_len;
static int got_lines;

static void
sink(void *arg, const char *line, size_t len)
{
	ck_assert_ptr_eq(arg, got);
	ck_assert_uint_lt(len, sizeof got);
	memcpy(got, line, len);
	got[len] = '\0';
	got_len = len;
	got_lines++;
}

static void
setup(enum log_format format)
{
	log_set_sink(sink, got);
	log_set_format(format);
	log_set_level(LOG_LEVEL_INFO);
	got_lines = 0;
}

START_TEST(test_text)
{
	static const struct {
		const char *value, *want;
	} t[] = {
		{ "plain", "info ev k=plain n=-5 u=18446744073709551615\n" },
		{ "a b", "info ev k=\"a b\" n=-5 u=18446744073709551615\n" },
		{ "", "info ev k=\"\" n=-5 u=18446744073709551615\n" },
		{ NULL, "info ev n=-5 u=18446744073709551615\n" },
		{ "x\nerror forged a=b",
		  "info ev k=\"x\\nerror forged a=b\" n=-5 u=18446744073709551615\n" },
		{ "a=b", "info ev k=\"a=b\" n=-5 u=18446744073709551615\n" },
		{ "q\"\\", "info ev k=\"q\\\"\\\\\" n=-5 u=18446744073709551615\n" },
		{ "\x1b[31m", "info ev k=\"\\u001b[31m\" n=-5 u=18446744073709551615\n" },
		{ "\xc2\x9b""2J", "info ev k=\"\\u009b2J\" n=-5 u=18446744073709551615\n" },
		{ "\xe2\x80\xae", "info ev k=\"\\u202e\" n=-5 u=18446744073709551615\n" },
		{ "\xc3\xa9", "info ev k=\"\xc3\xa9\" n=-5 u=18446744073709551615\n" },
		{ "\xff", "info ev k=\"\xef\xbf\xbd\" n=-5 u=18446744073709551615\n" },
	};

	setup(LOG_FORMAT_TEXT);
	for (size_t i = 0; i < NELEM(t); i++) {
		errno = 99;
		log_info("ev", LS("k", t[i].value), LI("n", -5),
		    LU("u", UINT64_MAX));
		ck_assert_int_eq(errno, 99);
		ck_assert_str_eq(got, t[i].want);
	}
	log_error("bad", LS("", NULL));
	ck_assert_str_eq(got, "error bad\n");
}
END_TEST

START_TEST(test_levels)
{
	setup(LOG_FORMAT_TEXT);
	log_set_level(LOG_LEVEL_WARN);
	log_info("a", LI("x", 1));
	log_debug("b", LI("x", 1));
	ck_assert_int_eq(got_lines, 0);
	log_warn("c", LI("x", 1));
	log_error("d", LI("x", 1));
	ck_assert_int_eq(got_lines, 2);
	log_set_level(LOG_LEVEL_DEBUG);
	log_debug("e", LI("x", 1));
	ck_assert_str_eq(got, "debug e x=1\n");
}
END_TEST

/* Whatever the text, one line of JSON comes out and holds what fits. */
START_TEST(test_json)
{
	static char long_text[9000];
	struct rng rng;

	setup(LOG_FORMAT_JSON);
	rng_seed(&rng, 11);
	for (int i = 0; i < 3000; i++) {
		size_t n = rng_below(&rng, i % 3 == 0 ? sizeof long_text : 30);
		bool ascii = i % 2 == 0;
		for (size_t j = 0; j < n; j++)
			long_text[j] = (char)(1 + rng_below(&rng,
			    ascii ? 126 : 255));
		long_text[n] = '\0';
		log_warn("ev", LS("first", long_text), LI("i", i),
		    LS("second", long_text), LU("u", 5));
		ck_assert_uint_le(got_len, 4096);
		ck_assert_int_eq(got[got_len - 1], '\n');
		ck_assert_ptr_eq(strchr(got, '\n'), got + got_len - 1);
		got[got_len - 1] = '\0';
		struct json_object *o = json_tokener_parse(got), *v;
		ck_assert_msg(o != NULL, "no JSON: %s", got);
		ck_assert_str_eq(json_object_get_string(
		    json_object_object_get(o, "level")), "warn");
		if (ascii && n < 400) {
			ck_assert(json_object_object_get_ex(o, "second", &v));
			ck_assert_str_eq(json_object_get_string(v), long_text);
			ck_assert_int_eq(json_object_get_int(
			    json_object_object_get(o, "i")), i);
		}
		json_object_put(o);
	}
}
END_TEST

START_TEST(test_long_lines)
{
	static char text[6000];

	setup(LOG_FORMAT_TEXT);
	for (size_t n = 3000; n < sizeof text - 1; n++) {
		memset(text, 'x', n);
		text[n] = '\0';
		log_info("ev", LS("a", text), LS("b", text), LI("c", 1));
		ck_assert_uint_le(got_len, 4096);
		ck_assert_ptr_eq(strchr(got, '\n'), got + got_len - 1);
	}
	ck_assert_ptr_nonnull(strstr(got, "...\""));
}
END_TEST

/* Under journald each line begins with its priority; only on its stream. */
START_TEST(test_journal)
{
	char path[] = "/tmp/lumnid-log-XXXXXX", env[64], line[128];
	struct stat st;

	int fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(fstat(fd, &st), 0);
	(void)snprintf(env, sizeof env, "%ju:%ju", (uintmax_t)st.st_dev,
	    (uintmax_t)st.st_ino + (_i == 0 ? 0 : 1));
	ck_assert_int_eq(setenv("JOURNAL_STREAM", env, 1), 0);
	int saved = dup(STDERR_FILENO);
	ck_assert_int_ge(dup2(fd, STDERR_FILENO), 0);
	log_set_sink(NULL, NULL);
	log_error("one", LI("x", 1));
	log_info("two", LI("x", 2));
	ck_assert_int_ge(dup2(saved, STDERR_FILENO), 0);
	ssize_t n = pread(fd, line, sizeof line - 1, 0);
	ck_assert_int_gt(n, 0);
	line[n] = '\0';
	if (_i == 0) {
		ck_assert_str_eq(line,
		    "<3>error one x=1\n<6>info two x=2\n");
	} else {
		/* In a file a line has its time before it. */
		ck_assert_ptr_null(strchr(line, '<'));
		ck_assert_ptr_nonnull(strstr(line, "Z error one x=1\n"));
		ck_assert_ptr_nonnull(strstr(line, "Z info two x=2\n"));
	}
	close(fd);
}
END_TEST

START_TEST(test_limit)
{
	struct log_limit l = { 0 };
	const int64_t s = 1000000;
	uint64_t n = 99;

	ck_assert(!log_limit_over(&l));
	ck_assert(log_limit_hit(&l, 100 * s, &n));
	ck_assert_uint_eq(n, 0);
	ck_assert(!log_limit_hit(&l, 101 * s, &n));
	ck_assert(!log_limit_hit(&l, 129 * s, &n));
	ck_assert(log_limit_hit(&l, 130 * s, &n));
	ck_assert_uint_eq(n, 2);
	ck_assert(log_limit_over(&l));
	ck_assert(!log_limit_over(&l));
	ck_assert(log_limit_hit(&l, 131 * s, &n));
	ck_assert_uint_eq(n, 0);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("log");
	TCase *tcase = tcase_create("log");

	tcase_add_test(tcase, test_text);
	tcase_add_test(tcase, test_levels);
	tcase_add_test(tcase, test_json);
	tcase_add_test(tcase, test_long_lines);
	/* The environment is read once: each in its own process. */
	if (getenv("CK_FORK") == NULL)
		tcase_add_loop_test(tcase, test_journal, 0, 2);
	tcase_add_test(tcase, test_limit);
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
