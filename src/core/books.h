/*
 * books: every event and record is accounted for:
 *
 *	accepted = delivered + pending + dead + dropped{reason}
 *
 * accepted counts what was journaled (records: spooled); the other side is
 * counted where the state moves, never derived. Totals live over restarts:
 * those of the journal in its state records, those of the spool in its
 * checkpoints. What never was accepted (refusals, kernel drops) has lines of
 * its own.
 */
#ifndef LUMNID_CORE_BOOKS_H
#define LUMNID_CORE_BOOKS_H

#include <stdbool.h>
#include <stdint.h>

#include "codec/event.h"
#include "core/hist.h"

enum books_input {
	BOOKS_STREAM,
	BOOKS_UDP,
	BOOKS_DGRAM,
	BOOKS_HTTP,
	BOOKS_FORWARD,
	BOOKS_INBOX,
	BOOKS_INPUTS
};
const char *books_input_name(enum books_input);

/* Totals kept in the journal's state, in this order for ever. */
enum books_total {
	BOOKS_ACCEPTED = 0,		/* events */
	/* 1: not in use; accepted records are the records spool's own */
	/* 2: not in use; sealed events are the spool's own */
	BOOKS_DROPPED_CORRUPT = 3,	/* events unreadable in the journal */
	BOOKS_DROPPED_FULL = 4,		/* journaled, then given up: full */
	BOOKS_KERNEL_UDP = 5,		/* datagrams the kernel dropped */
	BOOKS_KERNEL_DGRAM = 6,
	BOOKS_TRUNCATED = 7,		/* datagrams cut by the kernel */
	BOOKS_REFUSED = 8,		/* + enum event_code; messages */
	BOOKS_ACCEPTED_BY = 8 + 32,	/* + enum books_input; events */
	BOOKS_DEAD_DELETED = 48,	/* events of letters past their limits */
	BOOKS_PAUSES = 49,		/* pauses and resumes: odd means paused */
	BOOKS_REFUSED_BY = 50,		/* + enum books_input; messages */
	BOOKS_RECORDS_BY = 56,		/* + enum books_input; accepted */
	BOOKS_TOTALS = 64
};

struct books {
	uint64_t	total[BOOKS_TOTALS];
	/* Since the start of this process only. */
	uint64_t	messages, bytes;
	uint64_t	acks;
	uint64_t	seals[16];		/* by enum spool_reason */
	uint64_t	raw_bytes, body_bytes;	/* sealed, before and after */
	uint64_t	answers[600];		/* by status; 0: none */
	uint64_t	syncs;
	uint64_t	sync_us;
	uint64_t	sync_errors;
	struct hist	durable;		/* message taken to its ack */
	struct hist	delivered;		/* batch sealed to its 2xx */
	struct hist	synced;			/* sync rounds */
};

/* A message of this input was refused, for this reason (not EVENT_OK). */
void	books_refuse(struct books *, enum books_input, enum event_code);

/* One side of the books: of events, or of records. */
struct books_ledger {
	uint64_t	accepted;
	uint64_t	delivered;
	uint64_t	pending;
	uint64_t	dead;
	struct {
		const char	*reason;
		uint64_t	 n;
	}		dropped[8];
	unsigned	dropped_n;
};

#endif
