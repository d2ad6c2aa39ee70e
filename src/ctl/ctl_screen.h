/* ctl_screen: the lines that status and top share, made from GET /status. */
#ifndef LUMNID_CTL_CTL_SCREEN_H
#define LUMNID_CTL_CTL_SCREEN_H

#include <json-c/json.h>

#include "base/buf.h"
#include "ctl/ctl_term.h"

/* One line: what lumnid is doing, in words, the worst first. */
void	ctl_screen_words(struct buf *, const struct ctl_term *,
	    struct json_object *status);
/* What comes in, what is open, what waits, the upstream, the storage. */
void	ctl_screen_state(struct buf *, const struct ctl_term *,
	    struct json_object *status);
/* The books: accepted = delivered + pending + dead + dropped. */
void	ctl_screen_books(struct buf *, const struct ctl_term *,
	    struct json_object *status);

/* A table of runs, from the array of GET /runs; at most n lines. */
void	ctl_screen_runs(struct buf *, const struct ctl_term *,
	    struct json_object *runs, size_t n);

#endif
