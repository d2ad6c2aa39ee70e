// The same from C++11.
#include <lumni.h>

#include <memory>

int
main()
{
	std::unique_ptr<lumni, decltype(&lumni_close)> c(lumni_open(nullptr),
	    lumni_close);

	LUMNI_EVENT(c.get(), "run_8844", "tool_call",
	    lumni_str("name", "issue_refund"), lumni_str("status", "failed"),
	    lumni_str("error", "502 Bad Gateway"));
	lumni_event(c.get(), "run_8844", "run_end",
	    { lumni_str("status", "ok") });
}
