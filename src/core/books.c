/* books: the words for the counters. */
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
