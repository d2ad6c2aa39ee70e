/*
 * up_check: holds one request of lumnid to the upstream's contract: method,
 * path, headers, coding, and the body down to its last byte. It stands on
 * json-c and a scanner of its own, and on nothing of lumnid.
 */
#ifndef LUMNID_TESTS_UP_CHECK_H
#define LUMNID_TESTS_UP_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct evhttp_request;

enum up_route { UP_EVENTS, UP_CHANGES, UP_POLICIES, UP_NOWHERE };

struct up_span {		/* an event's place in the decoded body */
	size_t	off, len;
};

struct up_request {
	double		 received;	/* seconds since 1970 */
	enum up_route	 route;
	char		 id[200];	/* idempotency key, without quotes */
	char		 key[200];	/* the bearer's */
	long		 part;		/* 0: no header */
	char		 reason[16];
	bool		 zstd;
	const uint8_t	*raw;		/* the body as it came; borrowed */
	size_t		 raw_len;
	uint64_t	 hash;		/* xxh3 of it */
	char		*body;		/* decoded; NUL-ended; owned */
	size_t		 body_len;
	uint64_t	 body_hash;
	struct up_span	*spans;		/* owned; a record has none */
	size_t		 events;
	bool		 taken;		/* before, under this id */
	char		 violation[256]; /* "" when it is as it should be */
};

const char *up_route_name(enum up_route);
/* Read the head; the body is looked at by up_check_body(). */
void	up_check_head(struct up_request *, struct evhttp_request *);
/* Decode and check raw. The first violation found stays. */
void	up_check_body(struct up_request *);
void	up_request_clear(struct up_request *);

#endif
