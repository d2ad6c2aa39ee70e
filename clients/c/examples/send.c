#include <lumni.h>

int
main(void)
{
	struct lumni *c = lumni_open(NULL);

	LUMNI_EVENT(c, "run_8842", "tool_call", lumni_str("status", "failed"),
	    lumni_str("name", "issue_refund"),
	    lumni_str("error", "502 Bad Gateway"));
	LUMNI_EVENT(c, "run_8842", "run_end", lumni_str("status", "ok"));
	lumni_close(c);
	return 0;
}
