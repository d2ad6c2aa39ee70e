/* Arguments of any shape, and several events in one message. */
#include <lumni.h>

int
main(void)
{
	struct lumni *c = lumni_open(NULL);
	struct lumni_msg *args = lumni_msg_new(), *events = lumni_msg_new();

	lumni_msg_map_begin(args);
	lumni_msg_str(args, "order");
	lumni_msg_str(args, "A-1009");
	lumni_msg_str(args, "items");
	lumni_msg_array_begin(args);
	lumni_msg_int(args, 1);
	lumni_msg_int(args, 2);
	lumni_msg_end(args);
	lumni_msg_end(args);
	LUMNI_EVENT(c, "run_8843", "tool_call",
	    lumni_str("name", "issue_refund"), lumni_value("args", args),
	    lumni_str("status", "ok"));

	for (int i = 0; i < 2; i++) {
		lumni_msg_map_begin(events);
		lumni_msg_str(events, "type");
		lumni_msg_str(events, i == 0 ? "agent_step" : "run_end");
		lumni_msg_str(events, "status");
		lumni_msg_str(events, "ok");
		lumni_msg_at(events);
		lumni_msg_end(events);
	}
	lumni_send(c, "run_8843", events, LUMNI_END);
	lumni_msg_free(events);
	lumni_msg_free(args);
	lumni_close(c);
	return 0;
}
