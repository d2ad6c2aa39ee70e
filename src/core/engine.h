/*
 * engine: the road of an event, from the decoded message to the sealed batch
 * and on to the sender. It owns the journal, both spools, the run table, the
 * books and the sender; it knows neither sockets nor threads. What it needs of
 * the outside comes through struct engine_env, so the whole of it runs in a
 * unit test with a fake clock, network and disk.
 *
 * All calls come from one thread. Callbacks in the env may not call back into
 * the engine.
 */
#ifndef LUMNID_CORE_ENGINE_H
#define LUMNID_CORE_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cdefs.h"
#include "base/clock.h"
#include "base/rand.h"
#include "base/why.h"
#include "codec/event.h"
#include "codec/redact.h"
#include "core/books.h"
#include "core/conf.h"
#include "core/transport.h"
#include "store/seglog.h"

struct engine;

struct engine_env {
	struct transport *transport;
	/*
	 * A message that asked for an ack is durable (code EVENT_OK) or could
	 * not be made so. peer: as given to engine_take(); it may be gone.
	 */
	void		(*answer)(void *, uint64_t peer, enum event_code,
			    const char *text, const struct event_ack *);
	/*
	 * Sync these fds off this thread, then call engine_sync_end(), not
	 * from within. One round is under way at a time. On a failure to
	 * begin (-errno) the engine tries again later. Where set.first is not
	 * 0 and so many are good, engine_sync_part() may be called before.
	 */
	int		(*sync)(void *, const struct seglog_sync *);
	void		*arg;
	struct rng	rng;
	bool		inner;	/* another engine's: it does not log its books */
	/* NULL, or told of every event as it is journaled (lumnictl tail). */
	void		(*watch)(void *, const char *runid, const char *json,
			    size_t len);
};

/*
 * Open the storage directory (made if absent, mode 0700; locked against a
 * second lumnid) and recover what it holds. conf stays the caller's and must
 * outlive the engine or the next engine_set_conf(). Never fails on content.
 */
int	engine_open(const struct conf *, const struct engine_env *,
	    struct now, struct engine **, struct why *) MUSTUSE;
/* Flush what can be flushed and close. What is open stays in the journal. */
void	engine_close(struct engine *, struct now);

/*
 * Take one whole message (one value, as frame_next() found it).
 * peer: names the client for a later env.answer(); 0: it has no way back, and
 * an ack id is ignored.
 * Returns EVENT_OK: its events are journaled, and an ack, if asked for, comes
 * through env.answer(). Otherwise nothing of it was kept, it is counted as
 * refused by this code, why has a sentence, and *ret_ack the id that the
 * refusal should name (len 0: none was asked for, no answer is due).
 * *ret_ack is also set on EVENT_OK: with a length when env.answer() will come.
 * A stream holds EVENT_FULL and EVENT_DEGRADED without an ack back and offers
 * the message again, so those (BOOKS_STREAM, ret_ack->len 0) are not counted.
 */
enum event_code engine_take(struct engine *, enum books_input, uint64_t peer,
	    const uint8_t *, size_t, struct now, struct event_ack *ret_ack,
	    struct why *) MUSTUSE HOT;

/*
 * Take one entry of the forward protocol, which is an event without a message
 * of its own. No answer is due. What may pass (engine_is_passing()) is not
 * counted as a refusal: the entry is to be offered again.
 */
enum event_code engine_take_entry(struct engine *, enum books_input,
	    const struct event_record *, struct now, struct why *) MUSTUSE;
bool	engine_is_passing(enum event_code);
/* env.answer() comes for this id once all that was taken before is durable. */
void	engine_take_ack(struct engine *, uint64_t peer,
	    const struct event_ack *, struct now);

/*
 * Take a record from a file of this name in the inbox; env.answer() comes when
 * it is durable, and then the file is to be removed. What may pass is not
 * counted as refused. name: unique for ever, at most 256 characters.
 */
enum event_code engine_take_drop(struct engine *, uint64_t peer,
	    const char *name, const uint8_t *, size_t, struct now,
	    struct why *) MUSTUSE;
/*
 * Tell fn the name of each record from the inbox that the records' spool still
 * has, delivered or not. begin: from the start; else on from where the last
 * call ended. Some ms of work at the most.
 * Returns 1: call again; 0: that was all; -errno of a read: try again later.
 */
int	engine_each_drop(struct engine *, bool begin, void (*fn)(void *,
	    const char *name), void *, struct why *) MUSTUSE;
/*
 * hold: the files of records that are taken from now on may come back with the
 * power. So what engine_each_drop() tells of stays until they cannot.
 */
void	engine_hold_drops(struct engine *, bool hold);

/*
 * Would a message be refused for want of room (EVENT_FULL, EVENT_DEGRADED)?
 * Stream inputs stop reading then. EVENT_OK when not.
 */
enum event_code engine_room(const struct engine *) MUSTUSE HOT;

/*
 * The end of a turn of the loop: write out what the turn has journaled, seal
 * what is due, start sync rounds and requests. Bounded work; when more is
 * left, engine_deadline() is now.
 */
void	engine_turn(struct engine *, struct now);
/*
 * A turn before which events were taken, and nothing else has happened to the
 * engine: where they need not be sealed or synced now, and nothing else has
 * its time, they are only written, and the rest waits for the next whole turn,
 * at most a second. A host's events come one by one, and what looks after
 * everything else is cold code each time.
 */
void	engine_turn_taken(struct engine *, struct now) HOT;
/* When engine_turn() has to run even if nothing happens. */
struct mono engine_deadline(const struct engine *) HOT;

/* The first fds of the round under way are synced: set.first of them. */
void	engine_sync_part(struct engine *, struct now);
/* The sync round has ended; err: 0 or the first -errno. */
void	engine_sync_end(struct engine *, int err, int64_t took_us,
	    struct now);
/* How long the round under way has taken so far; 0 when there is none. */
int64_t	engine_sync_age_ms(const struct engine *, struct now);
/* How long the sender has left undone what is due; see sender_overdue_ms(). */
int64_t	engine_sender_overdue_ms(const struct engine *, struct now);
/* A request has ended. */
void	engine_answer(struct engine *, uint64_t tag,
	    const struct transport_answer *, struct now);

/* Start no more requests (a stop begins). */
void	engine_stop_sending(struct engine *, struct now);
size_t	engine_in_flight(const struct engine *);
void	engine_cancel_in_flight(struct engine *);
/* Have all flushed bytes been synced and all acks been given? */
bool	engine_settled(const struct engine *);

/*
 * Send nothing, or send again; intake and sealing go on. It outlives a restart,
 * since the journal is told within a second. Already so: nothing happens.
 */
void	engine_pause(struct engine *, bool pause, struct now);

/*
 * Put another configuration in force; storage.dir etc. are not looked at. The
 * old one must still be whole.
 */
void	engine_set_conf(struct engine *, const struct conf *, struct now);

/* Seal one run (or all, runid NULL) as `flush`. Returns how many. */
size_t	engine_flush_runs(struct engine *, const char *runid, size_t len,
	    struct now);

struct books *engine_books(struct engine *);
/* What went in and out so far: of the books, cheap enough for each turn. */
struct engine_flow {
	uint64_t	accepted, delivered;	/* events */
	uint64_t	bytes;			/* of messages */
};
struct engine_flow engine_flow(const struct engine *) HOT;
/* How often each rule of redaction took something; name NULL: no such i. */
struct redact_count engine_redact_count(const struct engine *, size_t i);
/* accepted = delivered + pending + dead + dropped, on both. */
void	engine_ledger(struct engine *, struct books_ledger *events,
	    struct books_ledger *records);

/* A picture of the present, for status, metrics and tests. */
struct engine_status {
	uint64_t	open_runs;
	uint64_t	open_events;
	uint64_t	open_bytes;	/* of JSON */
	uint64_t	journal_bytes;
	uint64_t	journal_max;	/* storage.journal_max, spool_max */
	uint64_t	spool_bytes;
	uint64_t	spool_max;
	uint64_t	waiting_batches, waiting_events, waiting_bytes;
	uint64_t	waiting_records;
	int64_t		oldest_waiting_ms;	/* age; -1: nothing waits */
	uint64_t	in_flight;
	bool		paused;		/* by an operator */
	const char	*upstream;	/* "ok", "down", "hold", "idle" */
	char		upstream_why[256];
	int64_t		last_success_ms;	/* ago; -1: never */
	int64_t		retry_in_ms;		/* -1: no back-off */
	const char	*storage;	/* "ok", "full", "degraded" */
	char		storage_why[256];
	uint64_t	damaged;
	/* What a newer lumnid has left: store/aside.h. */
	uint64_t	newer_dirs;
	uint64_t	newer_bytes;
	uint64_t	dead_letters;	/* files in dead/ */
	uint64_t	dead_bytes;
};
void	engine_status(struct engine *, struct now, struct engine_status *);

#endif
