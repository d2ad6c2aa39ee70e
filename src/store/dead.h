/*
 * dead: the dead letters: events that the upstream has refused for good, each
 * refusal one JSON file that a person can read (core/bury.c writes the text).
 *
 * The file's name is "<time>-<batch id>-<first index>+<events>.json", with the
 * time as YYYYMMDDThhmmssZ, so names sort by age. A letter is safe after a
 * sync round that began after dead_write(); only then may the spool forget
 * its events.
 */
#ifndef LUMNID_STORE_DEAD_H
#define LUMNID_STORE_DEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cdefs.h"
#include "base/clock.h"
#include "base/why.h"
#include "store/seglog.h"

#define DEAD_NAME_MAX	192
#define DEAD_WAITING	8	/* letters that one sync round may cover */

struct dead;

/* dir: an existing directory. Returns 0 or -errno. */
int	dead_open(const char *dir, struct dead **, struct why *) MUSTUSE;
void	dead_close(struct dead *);

/*
 * Write a letter about `events` events of the batch, the first of which has
 * this index. Returns 0; -EAGAIN when DEAD_WAITING letters wait for a sync
 * round; -errno, and no file is left. again: it may have been written before,
 * at another time; it replaces that one.
 */
int	dead_write(struct dead *, struct wall at, const char *batch_id,
	    uint32_t index, uint32_t events, bool again, const void *text,
	    size_t len, struct why *) MUSTUSE;

bool	dead_unsynced(const struct dead *);
/*
 * As seglog_sync_begin() and _end(). After a round that failed, the letters it
 * covered are not safe and have to be written again.
 */
void	dead_sync_begin(struct dead *, struct seglog_sync *);
void	dead_sync_end(struct dead *, bool ok);
/* Letters written, and those durable, counted from open. */
uint64_t dead_written(const struct dead *);
uint64_t dead_durable(const struct dead *);

struct dead_stats {
	uint64_t	letters;
	uint64_t	events;
	uint64_t	bytes;
};
struct dead_stats dead_stats(const struct dead *);

/*
 * Delete letters from before `oldest` and, where more than max_bytes are left,
 * the oldest until a sixteenth of max_bytes is free. Counts anew what is there:
 * an operator may have deleted some. Returns how many events were deleted.
 */
uint64_t dead_prune(struct dead *, uint64_t max_bytes, struct wall oldest);

#endif
