/* journal_int: the inside of a journal, shared by its sources only. */
#ifndef LUMNID_STORE_JOURNAL_INT_H
#define LUMNID_STORE_JOURNAL_INT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "store/journal.h"
#include "store/recent.h"

enum {
	JOURNAL_STATE = 1,
	JOURNAL_EVENT,
	JOURNAL_END,
	JOURNAL_SEALED,
	JOURNAL_COUNT,
};

/* Bytes before the runId, or of the whole record. */
#define JOURNAL_EVENT_META	24
#define JOURNAL_END_META	24
#define JOURNAL_SEALED_META	32
#define JOURNAL_COUNT_LEN	32
#define JOURNAL_COUNT_MIN	16	/* without the events */
#define JOURNAL_F_END		1u

struct journal_seg {
	uint32_t	segno;
	uint32_t	live;		/* events */
	bool		pinned;		/* could not be read: never deleted */
	bool		stated;		/* begins with a sound STATE */
	uint64_t	born;		/* `appended` of its STATE */
};

struct journal {
	struct seglog	*log;
	struct journal_options o;
	struct journal_seg *segs;	/* by segno */
	size_t		 n, cap;
	uint64_t	 lsn;
	uint64_t	 appended;
	uint64_t	 events;	/* appended, over all lives */
	uint64_t	 events_synced;	/* of them, known to be durable */
	uint64_t	 noted;		/* `events` in the newest COUNT */
	uint64_t	 seals;		/* seal marks, over all lives */
	uint64_t	 sealed;	/* all marks up to this batch are there */
	uint64_t	 sealed_synced;	/* ... and are known to be durable */
	uint64_t	 newest;	/* batch in a mark that was replayed */
	struct journal_lost lost;
	struct buf	 parts;		/* scratch of the replay */
	struct recent	 recent;	/* the JSON of the newest events */
};

struct journal_seg *journal_seg(const struct journal *, uint32_t segno);
struct journal_seg *journal_seg_add(struct journal *, uint32_t segno);
/* Events that are known to be durable, over all lives. */
uint64_t journal_events_synced(const struct journal *);
/* What a sync round is to make durable, as it stands now. */
void	journal_stamp(struct journal *);

#endif
