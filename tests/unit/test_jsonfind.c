/* test_jsonfind: one member of an object, and no other's. */
#include <string.h>

#include "codec/jsonfind.h"
#include "unit.h"

START_TEST(finds)
{
	static const struct {
		const char	*json, *want;	/* NULL: nothing */
	} must[] = {
		{ "{\"type\":\"a\"}", "\"a\"" },
		{ "{\"x\":1,\"type\":\"a\",\"y\":2}", "\"a\"" },
		{ " { \"type\" : \"a b\" } ", "\"a b\"" },
		{ "{\"type\":12}", "12" },
		{ "{\"type\":null,\"x\":1}", "null" },
		{ "{\"type\":[1,{\"a\":\"]\"}],\"x\":1}",
		    "[1,{\"a\":\"]\"}]" },
		{ "{\"x\":{\"type\":\"in\"},\"type\":\"out\"}", "\"out\"" },
		{ "{\"x\":\"\\\"type\\\":\\\"no\\\"\",\"type\":\"yes\"}",
		    "\"yes\"" },
		{ "{\"type\":\"a\\\"b\"}", "\"a\\\"b\"" },
		{ "{\"type\":\"first\",\"type\":\"second\"}", "\"first\"" },
		/* Must not. */
		{ "{}", NULL },
		{ "", NULL },
		{ "[\"type\",\"a\"]", NULL },
		{ "\"type\"", NULL },
		{ "{\"types\":1,\"typ\":2,\"Type\":3}", NULL },
		{ "{\"a\":\"type\"}", NULL },
		{ "{\"a\":{\"type\":1}}", NULL },
		{ "{\"a\":[\"type\",1]}", NULL },
		/* Cut short. */
		{ "{\"type\"", NULL },
		{ "{\"type\":", NULL },
		{ "{\"ty", NULL },
		{ "{\"a\":\"\\", NULL },
		{ "{", NULL },
	};

	for (size_t i = 0; i < NELEM(must); i++) {
		size_t n = strlen(must[i].json), got = 0;
		const char *at = "";
		char *copy = malloc(n + (n == 0));	/* for ASan */

		memcpy(copy, must[i].json, n);
		bool found = jsonfind(copy, n, "type", &at, &got);
		ck_assert_msg(found == (must[i].want != NULL), "%s",
		    must[i].json);
		ck_assert_msg(!found || (got == strlen(must[i].want) &&
		    memcmp(at, must[i].want, got) == 0), "%s: %.*s",
		    must[i].json, (int)got, at);
		free(copy);
	}
}
END_TEST

START_TEST(compares)
{
	static const char j[] = "{\"n\":1,\"status\":\"failed\"}";

	ck_assert(jsonfind_is(j, sizeof j - 1, "status", "failed"));
	ck_assert(!jsonfind_is(j, sizeof j - 1, "status", "fail"));
	ck_assert(!jsonfind_is(j, sizeof j - 1, "status", "failed2"));
	ck_assert(!jsonfind_is(j, sizeof j - 1, "status", ""));
	ck_assert(!jsonfind_is(j, sizeof j - 1, "n", "1"));
	ck_assert(!jsonfind_is(j, sizeof j - 1, "m", "1"));
}
END_TEST

int
main(void)
{
	return unit_run("jsonfind", (const TTest *const[]){ finds, compares,
	    NULL });
}
