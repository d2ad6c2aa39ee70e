/* unit: what the unit tests share: a main() around one suite of check. */
#ifndef LUMNID_TESTS_UNIT_H
#define LUMNID_TESTS_UNIT_H

#include <check.h>
#include <stdlib.h>

/*
 * Run the tests of a NULL-ended list in one suite; the exit status.
 * CK_FORK=no runs them in this process, for debuggers.
 */
static inline int
unit_run(const char *name, const TTest *const *tests)
{
	Suite *suite = suite_create(name);
	TCase *tcase = tcase_create(name);

	tcase_set_timeout(tcase, 120);
	for (; *tests != NULL; tests++)
		tcase_add_test(tcase, *tests);
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
