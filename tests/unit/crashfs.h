/*
 * crashfs: a file system in memory behind base/sys, which loses power.
 *
 * It keeps two states of everything: what the process sees, and what is on
 * the disk. A write, a truncation or a change of a directory first goes to a
 * list of what is pending; fdatasync() and fsync() of that file or directory
 * bring it to the disk. When the power goes, every pending thing is decided on
 * by itself, at random but repeatable: each 512-byte sector of a write is
 * kept, lost, torn (over bytes that were on the disk: some new, the rest old)
 * or garbage (where there were none); the growth of a file, each truncation,
 * creation, deletion and renaming is kept or lost. So the order in which
 * things reach the disk is any order. A rename is kept whole or lost whole.
 *
 * A failed fdatasync() does what Linux does: some of what was pending is on
 * the disk, the rest never will be, though the process still reads it, and
 * the next fdatasync() succeeds without it (fsync(2), "Errors").
 *
 * Contract for tests:
 *
 *	crashfs_start(seed);			sys points here from now on
 *	crashfs_mkdir("/d");			durable at once
 *	crashfs_plan(n, CRASHFS_POWER, 1);	the power goes at the n-th call
 *	... run the code under test; once crashfs_dead(), every call fails with
 *	-EIO: leave, and free what you hold (closing is allowed) ...
 *	crashfs_reboot();			what is left is what is seen
 *	... open again, check ...
 *	crashfs_stop();				sys is the kernel's again
 *
 * Paths are absolute within it; there is no "..". Not thread-safe: do the
 * syncs on the test's own thread. Nothing touches the real disk.
 */
#ifndef LUMNID_TESTS_CRASHFS_H
#define LUMNID_TESTS_CRASHFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/sys.h"

enum crashfs_fault {
	CRASHFS_NONE,
	CRASHFS_POWER,	/* during the call: it may have happened, or not */
	CRASHFS_EIO,	/* the call fails; of a write a part may be done */
	CRASHFS_ENOSPC,	/* creations, writes, reservations fail; others work */
	CRASHFS_EINTR,	/* reads and writes are interrupted; others work */
	CRASHFS_SHORT,	/* reads and writes do a part; others work */
};

/* An empty file system with one directory, "/"; sys points to it. */
void	crashfs_start(uint64_t seed);
void	crashfs_stop(void);
/* Create a directory, durable. */
void	crashfs_mkdir(const char *path);

/*
 * From the at-th counted call on (the first is 1), `times` calls meet the
 * fault. Counted are creations, mkdirs, writes, truncations, reservations,
 * syncs, renames and deletions; with crashfs_count_reads(true) also opens of
 * files that are there, and reads. Sets the count to 0.
 */
void	crashfs_plan(uint64_t at, enum crashfs_fault, uint64_t times);
void	crashfs_count_reads(bool);
uint64_t crashfs_calls(void);
bool	crashfs_dead(void);

/* Lose power now, unless it is lost, and come back. Open fds are gone. */
void	crashfs_reboot(void);
/* The process is killed: open fds are gone, nothing is lost. */
void	crashfs_kill(void);
/* fds that are open; 0 when the code under test has closed all. */
size_t	crashfs_fds(void);

/* Bytes of the disk; 0: no limit (the beginning). */
void	crashfs_limit(uint64_t bytes);
uint64_t crashfs_used(void);

/* What the process sees of a file: NULL when there is none. */
uint8_t	*crashfs_file(const char *path, size_t *ret_len);
/* Call fn for each name in a directory. */
void	crashfs_each(const char *dir, void (*fn)(void *, const char *name),
	    void *);
/* Syncs of files (dirs false) or directories do nothing: a lying disk. */
void	crashfs_lie(bool files, bool dirs);
void	crashfs_dump(FILE *);

#endif
