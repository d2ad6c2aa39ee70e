/* books: what is said of the counters in more than one place. */
#include "core/books.h"

const char *
books_input_name(enum books_input in)
{
	switch (in) {
	case BOOKS_STREAM:
		return "stream";
	case BOOKS_UDP:
		return "udp";
	case BOOKS_DGRAM:
		return "dgram";
	case BOOKS_HTTP:
		return "http";
	case BOOKS_FORWARD:
		return "forward";
	case BOOKS_INBOX:
		return "inbox";
	case BOOKS_INPUTS:
		break;
	}
	return "unknown";
}

void
books_refuse(struct books *bk, enum books_input in, enum event_code code)
{
	bk->total[BOOKS_REFUSED + (unsigned)code]++;
	bk->total[BOOKS_REFUSED_BY + (unsigned)in]++;
}
