/*
 * up_record: what the test upstream has seen: one JSON line a request in the
 * output file, written before the request is answered; the keys seen; and the
 * sums.
 */
#ifndef LUMNID_TESTS_UP_RECORD_H
#define LUMNID_TESTS_UP_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include <uthash.h>

#include "support/up_check.h"

struct evbuffer;

struct up_key {
	char		name[220];	/* route/id */
	uint64_t	raw_hash[2];	/* by coding; 0: not seen */
	uint64_t	body_hash;
	bool		taken;
	UT_hash_handle	hh;
};

struct up_sums {
	uint64_t	requests, batches, duplicates, violations;
	uint64_t	records;	/* changes and policies taken */
	uint64_t	events;		/* taken, without duplicates */
	uint64_t	refused;	/* events refused within a 2xx */
	uint64_t	raw_bytes, body_bytes;	/* of what was taken */
	uint64_t	connections;
	uint64_t	answers[6];	/* by status / 100; 0: none given */
};

struct up_record {
	int		 out;		/* fd; -1: nothing is written */
	struct up_key	*keys;
	struct up_sums	 sums;
};

/*
 * Append to the file. What an earlier upstream wrote there is read first, so
 * that it counts as seen. Returns 0 or -errno.
 */
int	up_record_open(struct up_record *, const char *path);
void	up_record_close(struct up_record *);
/*
 * The memory of the request's key, made if it is new; NULL if the key came
 * before with other bytes. One coding of a body is one string of bytes.
 */
struct up_key *up_record_key(struct up_record *, const struct up_request *);
/*
 * Write the line. status: 0 when no answer is given. fault: NULL or the name
 * of what was played. refused: NULL or as many flags as there are events.
 */
void	up_record_line(struct up_record *, const struct up_request *,
	    int status, bool taken, bool duplicate, const char *fault,
	    const bool *refused);
void	up_record_stats(const struct up_record *, struct evbuffer *);

#endif
