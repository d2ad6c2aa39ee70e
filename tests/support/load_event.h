/*
 * load_event: a repeatable stream of agents' steps: runs of 12 to 20 events,
 * many of them open at once, each event numbered within its run ("n": 0, 1,
 * ...), so that whoever receives them can tell what is missing. The last event
 * of a run has the type run_end.
 *
 * Sizes follow what was measured of such events: median 265, mean 445, 99th
 * percentile 4,300 bytes of msgpack.
 */
#ifndef LUMNID_TESTS_LOAD_EVENT_H
#define LUMNID_TESTS_LOAD_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct load;

struct load_options {
	uint64_t	seed;
	uint64_t	events;		/* in all */
	uint32_t	runs;		/* open at once */
	uint32_t	size;		/* of each event; 0: as measured */
	uint32_t	pool;		/* bytes of text to cut from; 0: 8 MiB */
	const char	*prefix;	/* of the runIds */
	bool		ack_each;	/* every message asks for an ack */
	bool		ack_end;	/* the last of each run does */
};

struct load_message {
	const char	*data;		/* the load's, until the next call */
	size_t		 len;
	uint32_t	 slot;		/* one run's messages share a slot */
	bool		 wants_ack;	/* its id is the number of the message */
	bool		 ends;		/* it is the last of its run */
	char		 runid[80];
};

struct load	*load_new(const struct load_options *);
void		 load_free(struct load *);
/* The next message; false when all have been made. number: its ack id. */
bool		 load_next(struct load *, uint64_t number,
		    struct load_message *);
uint64_t	 load_runs(const struct load *);	/* begun so far */

#endif
