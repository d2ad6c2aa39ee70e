/*
 * up_script: the faults that the test upstream plays.
 *
 * One rule a line; words are key=value; '#' begins a comment. For a request,
 * the first rule all of whose conditions hold decides; a rule that only
 * delays lets the search go on.
 *
 * Conditions
 *	when=always		the default
 *	when=next:N		the next N requests that match the rest
 *	when=from:N-M		the N-th to M-th such request (M may be absent)
 *	when=every:N		each N-th such request
 *	when=random:P		with probability P, 0..1
 *	route=events|changes|policies
 *	over=N			more than N bytes as sent
 *	decoded_over=N		more than N bytes of JSON
 *	events_over=N		more than N events
 *	encoding=zstd|none
 *	marker=TEXT		the JSON contains TEXT
 *	part=N
 *	taken=0|1		whether this key was taken before
 * Actions
 *	status=N		answer so; 2xx: the request is taken
 *	retry_after=TEXT	with this Retry-After; '_' stands for a space
 *	location=TEXT		with this Location
 *	body=TEXT		with this body: the rest of the line
 *	partial=N		2xx, and events that hold the marker refused
 *				one by one in the body, each with status N
 *	delay=MS		answer so much later
 *	reset=before|after	RST instead of an answer: before or after the
 *				request is taken
 *	stall=before|after	no answer ever
 *	cut=before|after	half of an answer's head, then the end
 *	close=1			close the connection after the answer
 * Settings
 *	seed=N			of the random choices
 *	key=TEXT		the API key that is right from now on
 */
#ifndef LUMNID_TESTS_UP_SCRIPT_H
#define LUMNID_TESTS_UP_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "support/up_check.h"

enum up_break { UP_NOT, UP_BEFORE, UP_AFTER };

struct up_fault {		/* what to do with one request */
	int		status;		/* 0: as usual */
	int		partial;	/* status of the refused events */
	int		delay_ms;
	bool		close;
	enum up_break	reset, stall, cut;
	char		marker[64];
	char		retry_after[80];
	char		location[200];
	char		body[600];
};

struct up_script;

/*
 * Parse. Returns NULL on a fault, with a sentence in err. key: 200 bytes, set
 * where the script sets it.
 */
struct up_script *up_script_parse(const char *text, char *key, char err[200]);
void	up_script_free(struct up_script *);
/* Decide on a request; counts it against the rules. NULL script: nothing. */
void	up_script_decide(struct up_script *, const struct up_request *,
	    struct up_fault *ret);

#endif
