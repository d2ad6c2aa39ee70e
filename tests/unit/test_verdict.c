/* test_verdict: the table of answers, row by row. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cdefs.h"
#include "core/verdict.h"

static const struct {
	int		status;
	enum verdict	verdict;
	bool		slow_down, all_routes;
} rows[] = {
	{ 200, VERDICT_DONE, false, false },
	{ 202, VERDICT_DONE, false, false },
	{ 204, VERDICT_DONE, false, false },
	{ 207, VERDICT_DONE, false, false },
	{ 301, VERDICT_HOLD, false, false },
	{ 302, VERDICT_HOLD, false, false },
	{ 308, VERDICT_HOLD, false, false },
	{ 400, VERDICT_REFUSED, false, false },
	{ 401, VERDICT_HOLD, false, true },
	{ 403, VERDICT_HOLD, false, true },
	{ 404, VERDICT_HOLD, false, false },
	{ 405, VERDICT_HOLD, false, false },
	{ 407, VERDICT_HOLD, false, true },
	{ 408, VERDICT_RETRY, false, false },
	{ 409, VERDICT_REFUSED, false, false },
	{ 410, VERDICT_REFUSED, false, false },
	{ 413, VERDICT_TOO_LARGE, false, false },
	{ 415, VERDICT_NO_CODING, false, false },
	{ 422, VERDICT_REFUSED, false, false },
	{ 425, VERDICT_RETRY, false, false },
	{ 429, VERDICT_RETRY, true, false },
	{ 451, VERDICT_REFUSED, false, false },
	{ 500, VERDICT_RETRY, false, false },
	{ 502, VERDICT_RETRY, false, false },
	{ 503, VERDICT_RETRY, true, false },
	{ 504, VERDICT_RETRY, false, false },
	{ 599, VERDICT_RETRY, false, false },
	{ 100, VERDICT_RETRY, false, false },
};

START_TEST(statuses)
{
	struct transport_answer a = { .result = TRANSPORT_ANSWERED };
	struct verdict_ruling ru;

	a.status = rows[_i].status;
	verdict_rule(&a, (struct wall){ 0 }, &ru);
	ck_assert_msg(ru.verdict == rows[_i].verdict, "%d: %s", a.status,
	    verdict_name(ru.verdict));
	ck_assert_int_eq(ru.slow_down, rows[_i].slow_down);
	ck_assert_int_eq(ru.all_routes, rows[_i].all_routes);
	ck_assert_int_eq(ru.retry_after_ms, -1);
}
END_TEST

/* What the proxy answers to CONNECT, in place of the upstream. */
START_TEST(proxies)
{
	static const struct {
		int		status;
		enum verdict	verdict;
	} answers[] = {
		{ 0, VERDICT_RETRY },
		{ 401, VERDICT_HOLD },
		{ 403, VERDICT_HOLD },
		{ 405, VERDICT_HOLD },
		{ 407, VERDICT_HOLD },
		{ 429, VERDICT_RETRY },
		{ 502, VERDICT_RETRY },
		{ 504, VERDICT_RETRY },
	};
	char text[256];

	for (size_t i = 0; i < NELEM(answers); i++) {
		struct transport_answer a = {
			.result = TRANSPORT_PROXY,
			.status = answers[i].status,
			.detail = "proxy: no way",
		};
		struct verdict_ruling ru;

		verdict_rule(&a, (struct wall){ 0 }, &ru);
		ck_assert_msg(ru.verdict == answers[i].verdict, "%d: %s",
		    a.status, verdict_name(ru.verdict));
		(void)verdict_explain(&a, text, sizeof text);
		ck_assert_str_eq(text, ru.verdict == VERDICT_HOLD ?
		    "proxy: no way: correct upstream.proxy" : "proxy: no way");
	}
}
END_TEST

START_TEST(failures)
{
	static const struct {
		enum transport_result	result;
		enum verdict		verdict;
	} t[] = {
		{ TRANSPORT_NO_ANSWER, VERDICT_RETRY },
		{ TRANSPORT_DNS, VERDICT_RETRY },
		{ TRANSPORT_TLS, VERDICT_RETRY },
		{ TRANSPORT_PROXY, VERDICT_RETRY },
		{ TRANSPORT_TLS_VERIFY, VERDICT_HOLD },
		{ TRANSPORT_TLS_FILE, VERDICT_HOLD },
		{ TRANSPORT_NO_KEY, VERDICT_HOLD },
		{ TRANSPORT_STALE, VERDICT_AT_ONCE },
		{ TRANSPORT_LOCAL, VERDICT_LOCAL },
		{ TRANSPORT_CANCELLED, VERDICT_LOCAL },
	};
	struct verdict_ruling ru;

	for (size_t i = 0; i < NELEM(t); i++) {
		struct transport_answer a = { .result = t[i].result };
		verdict_rule(&a, (struct wall){ 0 }, &ru);
		ck_assert_int_eq(ru.verdict, t[i].verdict);
	}
}
END_TEST

START_TEST(retry_after_forms)
{
	/* 2026-11-23T12:00:00Z */
	struct wall wall = { 1795435200000000 };
	static const struct {
		const char	*text;
		int64_t		 ms;
	} t[] = {
		{ "", -1 }, { "0", 0 }, { "7", 7000 },
		{ "3600", 3600000 }, { "99999999", 3600000 },
		{ "soon", -1 }, { "-5", -1 },
		{ "Mon, 23 Nov 2026 12:00:30 GMT", 30000 },
		{ "Mon, 23 Nov 2026 11:00:00 GMT", 0 },
		{ "Tue, 24 Nov 2026 12:00:00 GMT", 3600000 },
	};
	struct verdict_ruling ru;

	for (size_t i = 0; i < NELEM(t); i++) {
		struct transport_answer a = {
			.result = TRANSPORT_ANSWERED, .status = 503,
		};
		(void)snprintf(a.retry_after, sizeof a.retry_after, "%s",
		    t[i].text);
		verdict_rule(&a, wall, &ru);
		ck_assert_msg(ru.retry_after_ms == t[i].ms, "%s: %lld",
		    t[i].text, (long long)ru.retry_after_ms);
	}
}
END_TEST

START_TEST(explains)
{
	struct transport_answer a = {
		.result = TRANSPORT_ANSWERED, .status = 401,
	};
	char text[256];

	ck_assert_ptr_nonnull(strstr(verdict_explain(&a, text, sizeof text),
	    "key file"));
	a.status = 404;
	ck_assert_ptr_nonnull(strstr(verdict_explain(&a, text, sizeof text),
	    "upstream.url"));
	a.status = 302;
	ck_assert_ptr_nonnull(strstr(verdict_explain(&a, text, sizeof text),
	    "redirect"));
	a.result = TRANSPORT_TLS_VERIFY;
	(void)snprintf(a.detail, sizeof a.detail, "the certificate expired");
	ck_assert_str_eq(verdict_explain(&a, text, sizeof text),
	    "the certificate expired");
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("verdict");
	TCase *tc = tcase_create("core");

	tcase_add_loop_test(tc, statuses, 0, (int)NELEM(rows));
	tcase_add_test(tc, proxies);
	tcase_add_test(tc, failures);
	tcase_add_test(tc, retry_after_forms);
	tcase_add_test(tc, explains);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
