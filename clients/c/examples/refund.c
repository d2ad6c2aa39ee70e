/* A run with a tool that failed.
 * cc refund.c $(pkg-config --cflags --libs lumni) */
#include <lumni.h>

int
main(void)
{
	struct lumni *c = lumni_open(NULL);	/* or $LUMNID_ADDRESS */

	LUMNI_EVENT(c, "run_8842", "tool_call",
	    lumni_str("name", "issue_refund"), lumni_str("status", "failed"),
	    lumni_str("error", "502 Bad Gateway"),
	    lumni_double("durationMs", 812.4));
	LUMNI_EVENT(c, "run_8842", "model_output",
	    lumni_str("text", "Your refund has been processed."));
	LUMNI_EVENT(c, "run_8842", "run_end", lumni_str("status", "ok"));
	lumni_close(c);
	return 0;
}
