/* engine: opening, and what can be asked of it. */
#include "core/engine.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/sys.h"
#include "core/engine_ask.h"
#include "core/engine_int.h"
#include "store/aside.h"

/* Make a directory in another, unless it is there. */
static int
engine_mkdir(int dirfd, const char *path, const char *name, struct why *why)
{
	int r = sys->mkdirat(dirfd, name, 0700);

	if (r < 0 && r != -EEXIST)
		return why_errno(why, r, "%s/%s: cannot make the directory; "
		    "make %s writable for the user that runs lumnid, or set "
		    "storage.dir", path, name, path);
	return 0;
}

/* What was made in it survives a loss of power. */
static int
engine_sync_dir(int fd, const char *path, struct why *why)
{
	int r = sys->fsync(fd);

	return r < 0 ? why_errno(why, r, "%s: fsync", path) : 0;
}

/* Make storage.dir itself, and its name durable in the directory above. */
static int
engine_make_dir(const char *path, struct why *why)
{
	const char *slash = strrchr(path, '/');
	char parent[4096];
	int r = sys->mkdirat(AT_FDCWD, path, 0700);

	if (r < 0 && r != -EEXIST)
		return why_errno(why, r, "storage.dir %s: cannot make the "
		    "directory; make it, or set storage.dir to another", path);
	(void)snprintf(parent, sizeof parent, "%.*s",
	    slash == NULL || slash == path ? 1 : (int)(slash - path),
	    slash == NULL ? "." : path);
	int fd = sys->open_dir(parent);
	if (fd < 0)
		return why_errno(why, fd, "%s", parent);
	r = engine_sync_dir(fd, parent, why);
	(void)sys->close(fd);	/* synced */
	return r;
}

static int
engine_make_tree(int fd, const char *path, struct why *why)
{
	static const char *const names[] = { "journal", "spool", "dead" };
	char spool[4096];
	int r = 0;

	for (size_t i = 0; r == 0 && i < NELEM(names); i++)
		r = engine_mkdir(fd, path, names[i], why);
	if (r == 0)
		r = engine_sync_dir(fd, path, why);
	if (r < 0)
		return r;
	(void)snprintf(spool, sizeof spool, "%s/spool", path);
	int sub = sys->open_dir(spool);
	if (sub < 0)
		return why_errno(why, sub, "%s", spool);
	r = engine_mkdir(sub, spool, "records", why);
	if (r == 0)
		r = engine_sync_dir(sub, spool, why);
	(void)sys->close(sub);	/* synced */
	return r;
}

/* Before the first file is changed: none may be of a newer lumnid's. */
static int
engine_set_newer_aside(struct engine *e, const char *path, struct why *why)
{
	struct why newer;

	/* What cannot be read is told, and kept, as the logs are opened. */
	if (aside_known(path, &newer) != -EPROTONOSUPPORT)
		return 0;
	return engine_aside_move(e, &newer, why);
}

/* Open, make and lock the storage directory. */
static int
engine_open_dir(struct engine *e, const char *path, struct why *why)
{
	int fd = sys->open_dir(path);
	int r;

	if (fd == -ENOENT) {
		r = engine_make_dir(path, why);
		if (r < 0)
			return r;
		fd = sys->open_dir(path);
	}
	if (fd < 0)
		return why_errno(why, fd, "storage.dir %s: cannot open it; "
		    "give it to the user that runs lumnid, or set storage.dir "
		    "to another", path);
	e->dir_fd = fd;
	r = sys->lock(fd);
	if (r == -EWOULDBLOCK)
		return why_set(why, r, "storage.dir %s: another lumnid is "
		    "using it; stop that one or set storage.dir to another",
		    path);
	if (r < 0)
		return why_errno(why, r, "storage.dir %s: cannot lock it",
		    path);
	r = aside_finish(fd, path, why);
	if (r == 0)
		r = engine_set_newer_aside(e, path, why);
	return r == 0 ? engine_make_tree(fd, path, why) : r;
}

int
engine_open(const struct conf *conf, const struct engine_env *env,
    struct now now, struct engine **ret, struct why *why)
{
	struct engine *e = mem_zalloc(sizeof *e);

	e->conf = conf;
	e->env = *env;
	e->dir_fd = -1;
	e->sealing_tail = &e->sealing;
	e->runs = runs_new();
	e->batch = batch_new();
	event_message_init(&e->message);
	engine_set_redact(e, conf->redact.set);
	buf_init(&e->scratch, 0);

	int r = engine_open_dir(e, conf->storage.dir, why);
	if (r == 0)
		r = engine_recover(e, now, why);
	if (r < 0) {
		engine_close(e, now);
		return r;
	}
	struct sender_env se = {
		.transport = e->env.transport, .runs = e->spool,
		.records = e->records, .dead = e->dead, .books = &e->books,
		.conf = conf,
	};
	rng_seed(&se.rng, rng_u64(&e->env.rng));
	e->sender = sender_new(&se);
	if (e->books.total[BOOKS_PAUSES] % 2 != 0) {
		sender_pause(e->sender, true);
		log_warn("sending_paused", LS("since", "before the start"),
		    LS("hint", "lumnictl resume ends it"));
	}
	engine_aside_open(e, now);
	*ret = e;
	return 0;
}

static void
engine_log_ledger(const char *kind, const struct books_ledger *l)
{
	uint64_t dropped = 0;

	for (unsigned i = 0; i < l->dropped_n; i++)
		dropped += l->dropped[i].n;
	log_info("books", LS("kind", kind), LU("accepted", l->accepted),
	    LU("delivered", l->delivered), LU("pending", l->pending),
	    LU("dead", l->dead), LU("dropped", dropped));
}

void
engine_close(struct engine *e, struct now now)
{
	struct books_ledger events, records;

	if (e == NULL)
		return;
	engine_aside_close(e, now);
	if (e->sender != NULL) {
		engine_save_totals(e, now);
		(void)!journal_note(e->journal, now.wall, NULL);	/* a help */
		engine_flush(e, now);
		engine_ledger(e, &events, &records);
		if (!e->env.inner) {
			engine_log_ledger("events", &events);
			engine_log_ledger("records", &records);
		}
	}
	sender_free(e->sender);
	while (e->flushes != NULL)
		engine_flush_end(e, e->flushes);
	while (e->sealing != NULL) {
		struct engine_sealing *s = e->sealing;
		e->sealing = s->next;
		free(s->events);
		free(s);
	}
	if (e->journal != NULL)
		journal_close(e->journal);
	if (e->spool != NULL)
		spool_close(e->spool);
	if (e->records != NULL)
		spool_close(e->records);
	dead_close(e->dead);
	if (e->dir_fd >= 0)
		(void)sys->close(e->dir_fd);	/* gives the lock back */
	runs_free(e->runs);
	batch_free(e->batch);
	event_message_free(&e->message);
	engine_free_redact(e);
	buf_free(&e->scratch);
	free(e->marks.v);
	free(e->acks.v);
	free(e->record_acks.v);
	free(e);
}

void
engine_set_conf(struct engine *e, const struct conf *conf, struct now now)
{
	e->conf = conf;
	engine_set_redact(e, conf->redact.set);
	e->space_next = now.mono;
	sender_set_conf(e->sender, conf, now);
	engine_aside_set_conf(e, now);
}

int64_t
engine_sender_overdue_ms(const struct engine *e, struct now now)
{
	return sender_overdue_ms(e->sender, now.mono);
}

void
engine_answer(struct engine *e, uint64_t tag, const struct transport_answer *a,
    struct now now)
{
	sender_answer(e->sender, tag, a, now);
}

void
engine_stop_sending(struct engine *e, struct now now)
{
	e->stopping = true;
	engine_save_totals(e, now);
	sender_stop(e->sender);
	engine_aside_stop(e, now);
}

void
engine_pause(struct engine *e, bool pause, struct now now)
{
	if (sender_is_paused(e->sender) == pause)
		return;
	sender_pause(e->sender, pause);
	e->books.total[BOOKS_PAUSES]++;
	engine_save_totals(e, now);
	if (pause) {
		log_warn("sending_paused", LS("since", "now"), LS("hint",
		    "lumnictl resume ends it"));
	} else {
		sender_hurry(e->sender, now);
		log_info("sending_resumed", LU("waiting_batches",
		    spool_waiting(e->spool).batches));
	}
}

size_t
engine_in_flight(const struct engine *e)
{
	return sender_in_flight(e->sender);
}

void
engine_cancel_in_flight(struct engine *e)
{
	sender_cancel(e->sender);
}

bool
engine_settled(const struct engine *e)
{
	if (e->syncing || !engine_aside_settled(e) || e->acks.n > 0 || e->record_acks.n > 0 ||
	    e->sealing != NULL || dead_unsynced(e->dead))
		return false;
	if (e->conf->storage.durability == CONF_DURABILITY_NEVER)
		return true;
	return !journal_unsynced(e->journal) && !spool_unsynced(e->spool) &&
	    !spool_unsynced(e->records);
}

size_t
engine_flush_runs(struct engine *e, const char *runid, size_t len,
    struct now now)
{
	size_t n = 0;

	if (runid != NULL) {
		struct run *r = runs_find(e->runs, runid, len);
		if (r == NULL)
			return 0;
		runs_set_due(e->runs, r, SPOOL_FLUSH);
		return 1;
	}
	for (struct run *r = runs_idle_first(e->runs); r != NULL;
	    r = runs_idle_next(r)) {
		runs_set_due(e->runs, r, SPOOL_FLUSH);
		n++;
	}
	return n;
}

static void
engine_ledger_spool(struct spool *sp, struct books_ledger *l)
{
	static const char *const reasons[SPOOL_DROPS] = {
		[SPOOL_DROP_OLDEST] = "oldest", [SPOOL_DROP_AGE] = "age",
		[SPOOL_DROP_CORRUPT] = "damaged",
		[SPOOL_DROP_OPERATOR] = "operator",
	};
	struct spool_totals t = spool_totals(sp);

	memset(l, 0, sizeof *l);
	l->accepted = t.events;
	l->delivered = t.delivered;
	l->dead = t.dead;
	l->pending = spool_waiting(sp).events;
	for (unsigned i = 0; i < SPOOL_DROPS; i++) {
		l->dropped[i].reason = reasons[i];
		l->dropped[i].n = t.dropped[i];
	}
	l->dropped_n = SPOOL_DROPS;
}

void
engine_ledger(struct engine *e, struct books_ledger *events,
    struct books_ledger *records)
{
	engine_ledger_spool(e->records, records);
	engine_ledger_spool(e->spool, events);
	events->accepted = e->books.total[BOOKS_ACCEPTED];
	events->pending += runs_events(e->runs);
	events->dropped[SPOOL_DROP_CORRUPT].n +=
	    e->books.total[BOOKS_DROPPED_CORRUPT];
	events->dropped[events->dropped_n].reason = "full";
	events->dropped[events->dropped_n++].n =
	    e->books.total[BOOKS_DROPPED_FULL];
}

struct engine_flow
engine_flow(const struct engine *e)
{
	return (struct engine_flow){
		.accepted = e->books.total[BOOKS_ACCEPTED],
		.delivered = spool_totals(e->spool).delivered,
		.bytes = e->books.bytes,
	};
}

struct books *
engine_books(struct engine *e)
{
	return &e->books;
}

static void
engine_status_upstream(struct engine *e, struct now now,
    struct engine_status *st)
{
	struct sender_status ss;

	sender_status(e->sender, &ss);
	st->upstream = ss.state == SENDER_HOLD ? "hold" :
	    ss.state == SENDER_DOWN ? "down" :
	    ss.last_success.us == 0 ? "idle" : "ok";
	(void)snprintf(st->upstream_why, sizeof st->upstream_why, "%s",
	    ss.why);
	st->last_success_ms = ss.last_success.us == 0 ? -1 :
	    mono_sub_ms(now.mono, ss.last_success);
	st->retry_in_ms = -1;
	if (ss.state != SENDER_OK) {
		int64_t ms = mono_sub_ms(ss.next_try, now.mono);
		st->retry_in_ms = ms < 0 ? 0 : ms;
	}
}

void
engine_status(struct engine *e, struct now now, struct engine_status *st)
{
	struct spool_waiting runs = spool_waiting(e->spool);
	struct spool_waiting records = spool_waiting(e->records);
	uint64_t n, bytes;
	struct wall oldest = { 0 }, record;

	memset(st, 0, sizeof *st);
	st->open_runs = runs_count(e->runs);
	st->open_events = runs_events(e->runs);
	st->open_bytes = runs_bytes(e->runs);
	st->journal_bytes = journal_bytes(e->journal);
	st->journal_max = e->conf->storage.journal_max;
	st->spool_max = e->conf->storage.spool_max;
	st->spool_bytes = spool_bytes(e->spool) + spool_bytes(e->records);
	st->waiting_batches = runs.batches;
	st->waiting_events = runs.events;
	st->waiting_bytes = runs.bytes + records.bytes;
	st->waiting_records = records.events;
	st->oldest_waiting_ms = -1;
	bool runs_wait = spool_oldest(e->spool, &oldest);
	if (spool_oldest(e->records, &record) &&
	    (!runs_wait || record.us < oldest.us))
		oldest = record;
	if (runs_wait || st->waiting_records > 0) {
		int64_t ms = (now.wall.us - oldest.us) / 1000;
		st->oldest_waiting_ms = ms < 0 ? 0 : ms;
	}
	st->in_flight = sender_in_flight(e->sender);
	st->paused = sender_is_paused(e->sender);
	engine_status_upstream(e, now, st);
	st->storage = e->storage == ENGINE_OK ? "ok" :
	    e->storage == ENGINE_FULL ? "full" : "degraded";
	(void)snprintf(st->storage_why, sizeof st->storage_why, "%s",
	    e->storage_why);
	seglog_damage(journal_log(e->journal), &n, &bytes);
	st->damaged = n;
	seglog_damage(spool_log(e->spool), &n, &bytes);
	st->damaged += n;
	seglog_damage(spool_log(e->records), &n, &bytes);
	st->damaged += n;
	st->newer_dirs = e->newer_dirs;
	st->newer_bytes = e->newer_bytes;
	st->dead_letters = dead_stats(e->dead).letters;
	st->dead_bytes = dead_stats(e->dead).bytes;
}
