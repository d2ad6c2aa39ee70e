/*
 * up_serve: answers requests: those of the API, and those of the tests that
 * drive the upstream.
 */
#ifndef LUMNID_TESTS_UP_SERVE_H
#define LUMNID_TESTS_UP_SERVE_H

#include <stdbool.h>
#include <stdio.h>
#include <sys/queue.h>

#include "support/up_record.h"
#include "support/up_script.h"

struct event_base;
struct evhttp;
struct held;
struct up_tls;

struct upstream {
	struct event_base	*base;
	struct evhttp		*http;
	struct up_tls		*tls;	/* NULL: plain HTTP */
	struct up_script	*script;
	struct up_record	 record;
	LIST_HEAD(, held)	 held;
	FILE			*cheap;
	char			 key[200];	/* "": any will do */
	const char		*script_path;
	const char		*out_path;
	bool			 dedupe;
	bool			 show;	/* requests, on stdout */
};

/* Set the callbacks on up->http. */
void	up_serve_begin(struct upstream *);
/* Free what is held back; after the loop has ended. */
void	up_serve_end(struct upstream *);
/* Read up->script_path; false and a line on stderr when it is faulty. */
bool	up_serve_read_script(struct upstream *);
/* Read back what was taken cheaply, checking and writing all of it now. */
void	up_serve_unfold(struct upstream *);

#endif
