/*
 * uids: what each user on this host sends: connections, events, bytes, and the
 * token buckets of limits.uid_events_per_s and limits.uid_bytes_per_s.
 *
 * A bucket holds what its limit gives in one second. It is charged after the
 * fact and may go into debt, so that a message larger than the bucket passes;
 * while it is in debt its user is not read from.
 *
 * The names that metrics show are bounded: the first UIDS_NAMED users have
 * lines of their own, all later ones share one.
 */
#ifndef LUMNID_CORE_UIDS_H
#define LUMNID_CORE_UIDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cdefs.h"
#include "base/clock.h"
#include "core/conf.h"

#define UIDS_NAMED	64
/* Clients over TCP have no uid; together they are this one, named "tcp". */
#define UIDS_TCP	((uid_t)-2)

struct uid_counts {
	uint64_t	events;		/* accepted */
	uint64_t	bytes;
	uint64_t	throttled;	/* times it went into debt */
	uint64_t	connections;	/* now */
};

struct uids;
struct uid_user;

struct uids *uids_new(void);
void	uids_free(struct uids *);

/* The user, made if unknown; kept until uids_release(). */
struct uid_user *uids_hold(struct uids *, uid_t);
/* The same for ever, and without a connection: of an input that has none. */
struct uid_user *uids_keep(struct uids *, uid_t);
/* now: for how long a debt has to be remembered. */
void	uids_release(struct uids *, struct uid_user *, struct mono now);
/* Connections that hold it, this one included. */
size_t	uids_connections(const struct uid_user *);
/* It has sent so much. */
void	uids_charge(struct uids *, struct uid_user *, const struct conf *,
	    uint64_t events, uint64_t bytes, struct mono now) HOT;
/* How long until it may go on, in ms; 0: it may now. */
int64_t	uids_wait_ms(struct uid_user *, const struct conf *, struct mono now)
	    HOT;

/*
 * The counts for metrics: of the i-th name (*name, n bytes of room), false
 * when there are no more. The last one is "other", where there is one.
 */
bool	uids_counts(const struct uids *, size_t i, char *name, size_t n,
	    struct uid_counts *);

#endif
