/* status_line: what `systemctl status` shows. */
#include "core/status_line.h"
#include "unit.h"

static struct engine_status
fresh(void)
{
	return (struct engine_status){
		.upstream = "idle",
		.storage = "ok",
		.oldest_waiting_ms = -1,
		.last_success_ms = -1,
		.retry_in_ms = -1,
	};
}

START_TEST(test_good)
{
	struct engine_status st = fresh();
	char line[400];

	ck_assert_str_eq(status_line(&st, NULL, line, sizeof line),
	    "forwarding, 0 runs open, 0 events waiting");
	st.upstream = "ok";
	st.open_runs = 1;
	st.waiting_events = 1;
	ck_assert_str_eq(status_line(&st, NULL, line, sizeof line),
	    "forwarding, 1 run open, 1 event waiting");
}
END_TEST

START_TEST(test_wrong)
{
	struct engine_status st = fresh();
	char line[400];

	st.waiting_events = 7;
	ck_assert_str_eq(status_line(&st, "there is no API key", line,
	    sizeof line), "NOT forwarding, all is kept: there is no API key, "
	    "0 runs open, 7 events waiting");
	st.upstream = "down";
	st.retry_in_ms = 4001;
	(void)strcpy(st.upstream_why, "connection refused");
	ck_assert_str_eq(status_line(&st, NULL, line, sizeof line),
	    "upstream away, next try in 5s: connection refused, "
	    "0 runs open, 7 events waiting");
	st.upstream = "hold";
	(void)strcpy(st.upstream_why, "401: the API key is wrong");
	st.storage = "full";
	(void)strcpy(st.storage_why, "spool_max is reached");
	ck_assert_str_eq(status_line(&st, "not said twice", line, sizeof line),
	    "storage full: spool_max is reached; NOT forwarding, all is kept: "
	    "401: the API key is wrong, 0 runs open, 7 events waiting");
}
END_TEST

/* However long the reasons are, it stays within its room. */
START_TEST(test_long)
{
	struct engine_status st = fresh();
	char line[64];

	st.upstream = "hold";
	memset(st.upstream_why, 'x', sizeof st.upstream_why - 1);
	ck_assert_uint_eq(strlen(status_line(&st, NULL, line, sizeof line)),
	    sizeof line - 1);
}
END_TEST

int
main(void)
{
	return unit_run("status_line", (const TTest *const[]){ test_good,
	    test_wrong, test_long, NULL });
}
