/*
 * in_inbox: takes the records that lumnictl has left in a directory while
 * lumnid was not there (listen.inbox), at the start and when more appear.
 *
 *	new/NAME	a whole message, a change or a policy, renamed to here
 *	cur/NAME	it is being taken; it is removed when it is durable
 *	bad/NAME	it is none, bad/NAME.reason says why
 *	tmp/		of those who write
 *
 * Never twice. A file is taken when it is on the disk that it lies in cur/, and
 * removed after its record is durable in the spool, which keeps the file's name
 * with it, also of a delivered one, until it is on the disk that the file is
 * gone. What a crash or a loss of power has left in cur/ is looked for in the
 * spool: where the record is there, the file is removed, and it is taken where
 * it is not. While that cannot be told, it waits. (A file that cannot be
 * removed, for a fault of its file system, is left alone until the next start,
 * and the spool keeps its record for that. What cannot be moved out of new/ is
 * passed over.)
 *
 * In order of names, which begin with the time; at most IN_INBOX_BATCH at once.
 * An inbox that is removed and made anew is noticed.
 * The directory's mode says who may write there. One that everybody may write
 * to is refused.
 */
#ifndef LUMNID_LOOP_IN_INBOX_H
#define LUMNID_LOOP_IN_INBOX_H

#include <stdbool.h>
#include <stdint.h>

#include "base/cdefs.h"
#include "codec/event.h"
#include "core/conf.h"

struct in_inbox;
struct loop;

/*
 * Watch conf->listen.inbox; NULL where there is none. A directory that cannot
 * be used is told in the log, and looked at again later. The loop's engine
 * must be set. conf: as of in_inbox_set_conf().
 */
struct in_inbox *in_inbox_new(struct loop *, const struct conf *);
void	in_inbox_free(struct in_inbox *);
/* Limits of another configuration; the directory stays the same. */
void	in_inbox_set_conf(struct in_inbox *, const struct conf *);
/* The engine's answer to a message of this input; false: not of this one. */
bool	in_inbox_answer(struct in_inbox *, uint64_t peer, enum event_code);
/* A stop begins: begin with no more files. */
void	in_inbox_drain(struct in_inbox *);

#endif
