/*
 * uids: users in a uthash table. One who has a line in the metrics stays for
 * ever (there are UIDS_NAMED of them); another stays while it has connections
 * or debts.
 */
#include "core/uids.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/mem.h"

struct uid_bucket {
	double		tokens;
	struct mono	at;		/* when they were as many */
};

struct uid_user {
	uid_t			 uid;
	bool			 named;
	bool			 in_debt;
	bool			 kept;
	struct uid_bucket	 events, bytes;
	struct uid_counts	 counts;
	UT_hash_handle		 hh;
};

struct uids {
	struct uid_user	*users;
	struct uid_user	*named[UIDS_NAMED];
	size_t		 named_n;
	struct uid_counts other;
	bool		 has_other;
};

struct uids *
uids_new(void)
{
	return mem_zalloc(sizeof(struct uids));
}

void
uids_free(struct uids *us)
{
	struct uid_user *u, *next;

	if (us == NULL)
		return;
	HASH_ITER(hh, us->users, u, next) {
		HASH_DEL(us->users, u);
		free(u);
	}
	free(us);
}

/* --- buckets --------------------------------------------------------------- */

/* Let it fill up; rate: tokens a second, 0 for no limit. */
static void
uid_bucket_fill(struct uid_bucket *b, uint64_t rate, struct mono now)
{
	double more = (double)(now.us - b->at.us) / 1e6 * (double)rate;

	/* A limit that was just set, or is new to this user, is untouched. */
	if (rate == 0 || b->at.us == 0 || b->tokens + more > (double)rate)
		b->tokens = (double)rate;
	else
		b->tokens += more;
	b->at = now;
}

static int64_t
uid_bucket_wait_ms(const struct uid_bucket *b, uint64_t rate)
{
	if (rate == 0 || b->tokens >= 0)
		return 0;
	return 1 + (int64_t)(-b->tokens * 1e3 / (double)rate);
}

int64_t
uids_wait_ms(struct uid_user *u, const struct conf *conf, struct mono now)
{
	uint64_t per_s = conf->limits.uid_events_per_s;
	uint64_t bytes_per_s = conf->limits.uid_bytes_per_s;

	if (per_s == 0 && bytes_per_s == 0)
		return 0;
	uid_bucket_fill(&u->events, per_s, now);
	uid_bucket_fill(&u->bytes, bytes_per_s, now);
	int64_t a = uid_bucket_wait_ms(&u->events, per_s);
	int64_t b = uid_bucket_wait_ms(&u->bytes, bytes_per_s);
	u->in_debt = a > 0 || b > 0;
	return a > b ? a : b;
}

void
uids_charge(struct uids *us, struct uid_user *u, const struct conf *conf,
    uint64_t events, uint64_t bytes, struct mono now)
{
	struct uid_counts *c = u->named ? &u->counts : &us->other;
	bool was = u->in_debt;

	c->events += events;
	c->bytes += bytes;
	if (conf->limits.uid_events_per_s == 0 &&
	    conf->limits.uid_bytes_per_s == 0)
		return;
	uid_bucket_fill(&u->events, conf->limits.uid_events_per_s, now);
	uid_bucket_fill(&u->bytes, conf->limits.uid_bytes_per_s, now);
	u->events.tokens -= (double)events;
	u->bytes.tokens -= (double)bytes;
	if (uids_wait_ms(u, conf, now) > 0 && !was)
		c->throttled++;
}

/* --- the table ------------------------------------------------------------- */

/* A user that nobody holds and that owes nothing may go. */
static void
uids_sweep(struct uids *us, struct mono now)
{
	struct uid_user *u, *next;

	HASH_ITER(hh, us->users, u, next) {
		bool owes = u->in_debt && now.us - u->events.at.us < 60000000;

		if (u->named || u->kept || u->counts.connections > 0 || owes)
			continue;
		HASH_DEL(us->users, u);
		free(u);
	}
}

struct uid_user *
uids_hold(struct uids *us, uid_t uid)
{
	struct uid_user *u;

	HASH_FIND(hh, us->users, &uid, sizeof uid, u);
	if (u == NULL) {
		u = mem_zalloc(sizeof *u);
		u->uid = uid;
		u->named = us->named_n < UIDS_NAMED;
		if (u->named)
			us->named[us->named_n++] = u;
		else
			us->has_other = true;
		HASH_ADD(hh, us->users, uid, sizeof u->uid, u);
	}
	u->counts.connections++;
	if (!u->named)
		us->other.connections++;
	return u;
}

struct uid_user *
uids_keep(struct uids *us, uid_t uid)
{
	struct uid_user *u = uids_hold(us, uid);

	u->kept = true;
	u->counts.connections--;
	if (!u->named)
		us->other.connections--;
	return u;
}

void
uids_release(struct uids *us, struct uid_user *u, struct mono now)
{
	u->counts.connections--;
	if (u->named)
		return;
	us->other.connections--;
	uids_sweep(us, now);
}

size_t
uids_connections(const struct uid_user *u)
{
	return u->counts.connections;
}

bool
uids_counts(const struct uids *us, size_t i, char *name, size_t n,
    struct uid_counts *ret)
{
	if (i > us->named_n || (i == us->named_n && !us->has_other))
		return false;
	if (i == us->named_n) {
		(void)snprintf(name, n, "other");
		*ret = us->other;
		return true;
	}
	if (us->named[i]->uid == UIDS_TCP)
		(void)snprintf(name, n, "tcp");
	else
		(void)snprintf(name, n, "%" PRIuMAX,
		    (uintmax_t)us->named[i]->uid);
	*ret = us->named[i]->counts;
	return true;
}
