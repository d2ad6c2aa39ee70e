/*
 * metrics: one function for each family's shape; the families in the order in
 * which an event travels. Names and units follow Prometheus' conventions
 * (prometheus.io/docs/practices/naming).
 */
#include "core/metrics.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "codec/json.h"
#include "store/spool.h"

static void
metrics_head(struct buf *b, const char *name, const char *type,
    const char *help)
{
	buf_printf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void
metrics_counter(struct buf *b, const char *name, const char *help, uint64_t v)
{
	metrics_head(b, name, "counter", help);
	buf_printf(b, "%s %" PRIu64 "\n", name, v);
}

static void
metrics_gauge(struct buf *b, const char *name, const char *help, double v)
{
	metrics_head(b, name, "gauge", help);
	buf_printf(b, "%s %.15g\n", name, v);
}

static void
metrics_label(struct buf *b, const char *name, const char *label,
    const char *value, uint64_t v)
{
	buf_printf(b, "%s{%s=\"%s\"} %" PRIu64 "\n", name, label, value, v);
}

static void
metrics_hist(struct buf *b, const char *name, const char *help,
    const struct hist *h)
{
	uint64_t n = 0;

	metrics_head(b, name, "histogram", help);
	for (size_t i = 0; i < HIST_BOUNDS; i++) {
		n += h->bucket[i];
		buf_printf(b, "%s_bucket{le=\"%.15g\"} %" PRIu64 "\n", name,
		    (double)hist_bounds[i] / 1e6, n);
	}
	n += h->bucket[HIST_BOUNDS];
	buf_printf(b, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", name, n);
	buf_printf(b, "%s_sum %.15g\n%s_count %" PRIu64 "\n", name,
	    (double)h->sum_us / 1e6, name, n);
}

/* The names of both ledgers' families: metrics_ledgers[which][field]. */
static const struct metrics_ledger_names {
	const char	*accepted, *delivered, *pending, *dead, *dropped;
} metrics_ledgers[] = {
	{ "lumnid_events_accepted_total", "lumnid_events_delivered_total",
	    "lumnid_events_pending", "lumnid_events_dead_total",
	    "lumnid_events_dropped_total" },
	{ "lumnid_records_accepted_total", "lumnid_records_delivered_total",
	    "lumnid_records_pending", "lumnid_records_dead_total",
	    "lumnid_records_dropped_total" },
};

static void
metrics_ledger(struct buf *b, const struct metrics_ledger_names *n,
    const struct books_ledger *l)
{
	metrics_counter(b, n->accepted, "Journaled.", l->accepted);
	metrics_counter(b, n->delivered, "Taken by the upstream.",
	    l->delivered);
	metrics_gauge(b, n->pending, "Waiting on this host.",
	    (double)l->pending);
	metrics_counter(b, n->dead, "Refused by the upstream for good.",
	    l->dead);
	metrics_head(b, n->dropped, "counter", "Accepted, then given up.");
	for (unsigned i = 0; i < l->dropped_n; i++)
		metrics_label(b, n->dropped, "reason", l->dropped[i].reason,
		    l->dropped[i].n);
}

static void
metrics_inputs(struct buf *b, const struct books *bk)
{
	const char *name = "lumnid_input_events_accepted_total";

	metrics_head(b, name, "counter", "Events journaled, by input.");
	for (int i = 0; i < BOOKS_INPUTS; i++)
		metrics_label(b, name, "input", books_input_name(
		    (enum books_input)i), bk->total[BOOKS_ACCEPTED_BY + i]);
	name = "lumnid_input_records_accepted_total";
	metrics_head(b, name, "counter", "Records spooled, by input.");
	for (int i = 0; i < BOOKS_INPUTS; i++)
		metrics_label(b, name, "input", books_input_name(
		    (enum books_input)i), bk->total[BOOKS_RECORDS_BY + i]);
	name = "lumnid_messages_refused_total";
	metrics_head(b, name, "counter", "Messages refused, by code.");
	for (int i = 1; i < EVENT_CODES; i++)
		metrics_label(b, name, "code", event_code_name(
		    (enum event_code)i), bk->total[BOOKS_REFUSED + i]);
	name = "lumnid_input_messages_refused_total";
	metrics_head(b, name, "counter", "Messages refused, by input.");
	for (int i = 0; i < BOOKS_INPUTS; i++)
		metrics_label(b, name, "input", books_input_name(
		    (enum books_input)i), bk->total[BOOKS_REFUSED_BY + i]);
	name = "lumnid_kernel_dropped_datagrams_total";
	metrics_head(b, name, "counter", "Datagrams that the kernel dropped "
	    "before lumnid saw them (SO_RXQ_OVFL).");
	metrics_label(b, name, "input", "udp", bk->total[BOOKS_KERNEL_UDP]);
	metrics_label(b, name, "input", "dgram",
	    bk->total[BOOKS_KERNEL_DGRAM]);
	metrics_counter(b, "lumnid_truncated_datagrams_total",
	    "Datagrams larger than the buffer.", bk->total[BOOKS_TRUNCATED]);
}

/* By rule; what was found is told nowhere. */
static void
metrics_redact(struct buf *b, const struct engine *e)
{
	const char *name = "lumnid_redactions_total";
	struct redact_count c;

	metrics_head(b, name, "counter", "What was redacted, by rule.");
	for (size_t i = 0; (c = engine_redact_count(e, i)).name != NULL; i++)
		metrics_label(b, name, "rule", c.name, c.hits);
	name = "lumnid_redaction_limits_total";
	metrics_head(b, name, "counter", "Strings that went whole because a "
	    "pattern met a limit in them, by rule.");
	for (size_t i = 0; (c = engine_redact_count(e, i)).name != NULL; i++)
		metrics_label(b, name, "rule", c.name, c.limits);
}

static void
metrics_runs(struct buf *b, const struct books *bk,
    const struct engine_status *st, int64_t sync_ms)
{
	const char *name = "lumnid_seals_total";

	metrics_gauge(b, "lumnid_open_runs", "Runs that are open.",
	    (double)st->open_runs);
	metrics_gauge(b, "lumnid_open_events", "Events of open runs.",
	    (double)st->open_events);
	metrics_gauge(b, "lumnid_journal_bytes", "Size of the journal.",
	    (double)st->journal_bytes);
	metrics_gauge(b, "lumnid_journal_limit_bytes", "storage.journal_max.",
	    (double)st->journal_max);
	metrics_head(b, name, "counter", "Batches sealed, by reason.");
	for (unsigned i = 1; i < SPOOL_REASONS; i++)
		metrics_label(b, name, "reason", spool_reason_name(i),
		    bk->seals[i]);
	metrics_counter(b, "lumnid_sealed_json_bytes_total",
	    "JSON of sealed batches before compression.", bk->raw_bytes);
	metrics_counter(b, "lumnid_sealed_body_bytes_total",
	    "Bodies of sealed batches, compressed.", bk->body_bytes);
	metrics_gauge(b, "lumnid_compression_ratio", "Compressed size of "
	    "sealed batches, as a fraction of their JSON; 1 before the first.",
	    bk->raw_bytes == 0 ? 1 :
	    (double)bk->body_bytes / (double)bk->raw_bytes);
	metrics_hist(b, "lumnid_accept_to_durable_seconds", "From taking a "
	    "message to its ack.", &bk->durable);
	metrics_hist(b, "lumnid_sync_seconds", "Duration of sync rounds.",
	    &bk->synced);
	metrics_gauge(b, "lumnid_sync_under_way_seconds", "How long the sync "
	    "round under way has taken; 0 when there is none.",
	    (double)sync_ms / 1e3);
	metrics_counter(b, "lumnid_sync_errors_total",
	    "Sync rounds that failed.", bk->sync_errors);
	metrics_gauge(b, "lumnid_storage_ok", "1 while messages are taken; 0 "
	    "when the disk is full or fails.",
	    strcmp(st->storage, "ok") == 0);
	metrics_counter(b, "lumnid_quarantined_total",
	    "Damaged stretches and files set aside since the start.",
	    st->damaged);
	metrics_gauge(b, "lumnid_newer_bytes", "What a newer lumnid has left "
	    "and this one cannot deliver, or has not yet; 0 when there is "
	    "nothing.", (double)st->newer_bytes);
}

/*
 * For how long has work waited without a success? Where none waited before,
 * that begins with the work, not with the last success.
 */
static int64_t
metrics_stalled_ms(const struct engine_status *st)
{
	int64_t ms = st->oldest_waiting_ms < 0 ? 0 : st->oldest_waiting_ms;

	if (st->last_success_ms >= 0 && st->last_success_ms < ms)
		ms = st->last_success_ms;
	return ms;
}

static void
metrics_upstream(struct buf *b, const struct books *bk,
    const struct engine_status *st)
{
	const char *name = "lumnid_upstream_answers_total";

	metrics_gauge(b, "lumnid_spool_batches", "Batches that wait.",
	    (double)st->waiting_batches);
	metrics_gauge(b, "lumnid_spool_bytes", "Size of the spool's files.",
	    (double)st->spool_bytes);
	metrics_gauge(b, "lumnid_spool_limit_bytes", "storage.spool_max.",
	    (double)st->spool_max);
	metrics_gauge(b, "lumnid_oldest_undelivered_seconds", "Age of the "
	    "oldest batch that waits; 0 when none does.",
	    st->oldest_waiting_ms < 0 ? 0 :
	    (double)st->oldest_waiting_ms / 1e3);
	metrics_gauge(b, "lumnid_stalled_seconds", "Time since the last "
	    "success while work waits; 0 when none does.",
	    (double)metrics_stalled_ms(st) / 1e3);
	metrics_gauge(b, "lumnid_requests_in_flight", "Requests under way.",
	    (double)st->in_flight);
	metrics_head(b, name, "counter", "Answers of the upstream, by status; "
	    "none: there was no answer.");
	metrics_label(b, name, "code", "none", bk->answers[0]);
	for (unsigned i = 1; i < NELEM(bk->answers); i++) {
		char code[8];

		/* A rate needs its zero; of the others there is none yet. */
		if (bk->answers[i] == 0 && i != 202)
			continue;
		(void)snprintf(code, sizeof code, "%u", i);
		metrics_label(b, name, "code", code, bk->answers[i]);
	}
	metrics_gauge(b, "lumnid_sending_paused", "1 while lumnictl pause is in "
	    "force.", st->paused);
	metrics_gauge(b, "lumnid_upstream_up", "1 unless the upstream is down "
	    "or held.", strcmp(st->upstream, "down") != 0 &&
	    strcmp(st->upstream, "hold") != 0);
	metrics_hist(b, "lumnid_seal_to_delivered_seconds", "From sealing a "
	    "batch to its delivery.", &bk->delivered);
	metrics_gauge(b, "lumnid_dead_letters", "Files in dead/.",
	    (double)st->dead_letters);
	metrics_counter(b, "lumnid_dead_events_deleted_total", "Events of "
	    "dead letters deleted by their limits.",
	    bk->total[BOOKS_DEAD_DELETED]);
}

static void
metrics_process(struct buf *b, const struct metrics_process *p)
{
	metrics_head(b, "lumnid_build_info", "gauge", "The version.");
	metrics_label(b, "lumnid_build_info", "version", p->version, 1);
	metrics_gauge(b, "lumnid_config_generation", "Counts configurations "
	    "put in force since the start.", (double)p->config_generation);
	metrics_gauge(b, "lumnid_config_last_reload_successful", "1 unless "
	    "the last reload met a fault.", p->config_fault == NULL);
	metrics_gauge(b, "lumnid_config_last_reload_success_timestamp_seconds",
	    "When the configuration in force was taken, seconds since 1970.",
	    p->config_time);
	metrics_hist(b, "lumnid_loop_turn_seconds", "Turns of the event loop, "
	    "without the wait for events.", &p->turns);
	metrics_gauge(b, "lumnid_connections", "Clients of the stream "
	    "socket.", (double)p->connections);
	metrics_head(b, "process_cpu_seconds_total", "counter",
	    "CPU time, user and system.");
	buf_printf(b, "process_cpu_seconds_total %.15g\n", p->cpu_seconds);
	metrics_gauge(b, "process_resident_memory_bytes",
	    "Resident memory.", (double)p->resident_bytes);
	metrics_gauge(b, "process_virtual_memory_bytes",
	    "Virtual memory.", (double)p->virtual_bytes);
	metrics_gauge(b, "process_open_fds", "Open files.",
	    (double)p->open_fds);
	metrics_gauge(b, "process_max_fds", "Files that may be open.",
	    (double)p->max_fds);
	metrics_gauge(b, "process_start_time_seconds",
	    "Start, seconds since 1970.", p->start_time);
}

/* One family of what users have sent; offset: in struct uid_counts. */
static void
metrics_users_family(struct buf *b, const struct uids *us, const char *name,
    const char *type, const char *help, size_t offset)
{
	struct uid_counts c;
	char uid[24];

	metrics_head(b, name, type, help);
	for (size_t i = 0; uids_counts(us, i, uid, sizeof uid, &c); i++) {
		uint64_t v;

		memcpy(&v, (const char *)&c + offset, sizeof v);
		metrics_label(b, name, "uid", uid, v);
	}
}

static void
metrics_users(struct buf *b, const struct uids *us)
{
	if (us == NULL)
		return;
	metrics_users_family(b, us, "lumnid_uid_events_accepted_total",
	    "counter", "Events journaled, by user.",
	    offsetof(struct uid_counts, events));
	metrics_users_family(b, us, "lumnid_uid_bytes_total", "counter",
	    "Bytes received, by user.", offsetof(struct uid_counts, bytes));
	metrics_users_family(b, us, "lumnid_uid_throttled_total", "counter",
	    "Times that a user reached limits.uid_events_per_s or "
	    "limits.uid_bytes_per_s.",
	    offsetof(struct uid_counts, throttled));
	metrics_users_family(b, us, "lumnid_uid_connections", "gauge",
	    "Connections, by user.",
	    offsetof(struct uid_counts, connections));
}

void
metrics_prometheus(struct engine *e, const struct metrics_process *p,
    struct now now, struct buf *b)
{
	const struct books *bk = engine_books(e);
	struct books_ledger events, records;
	struct engine_status st;

	engine_status(e, now, &st);
	engine_ledger(e, &events, &records);
	metrics_ledger(b, &metrics_ledgers[0], &events);
	metrics_ledger(b, &metrics_ledgers[1], &records);
	metrics_inputs(b, bk);
	metrics_users(b, p->uids);
	metrics_redact(b, e);
	metrics_runs(b, bk, &st, engine_sync_age_ms(e, now));
	metrics_upstream(b, bk, &st);
	metrics_process(b, p);
}

/* --- JSON ------------------------------------------------------------------ */

static void
metrics_json_ledger(struct buf *b, const char *name,
    const struct books_ledger *l)
{
	buf_printf(b, "\"%s\":{\"accepted\":%" PRIu64 ",\"delivered\":%" PRIu64
	    ",\"pending\":%" PRIu64 ",\"dead\":%" PRIu64 ",\"dropped\":{",
	    name, l->accepted, l->delivered, l->pending, l->dead);
	for (unsigned i = 0; i < l->dropped_n; i++)
		buf_printf(b, "%s\"%s\":%" PRIu64, i > 0 ? "," : "",
		    l->dropped[i].reason, l->dropped[i].n);
	buf_puts(b, "}}");
}

static void
metrics_json_string(struct buf *b, const char *key, const char *v)
{
	buf_printf(b, "\"%s\":", key);
	json_put_string(b, v, strlen(v));
}

void
metrics_status(struct engine *e, const struct metrics_process *p,
    struct now now, struct buf *b)
{
	const struct books *bk = engine_books(e);
	struct books_ledger events, records;
	struct engine_status st;
	uint64_t refused = 0;

	engine_status(e, now, &st);
	engine_ledger(e, &events, &records);
	for (int i = 1; i < EVENT_CODES; i++)
		refused += bk->total[BOOKS_REFUSED + i];
	buf_printf(b, "{\"version\":\"%s\",", p->version);
	metrics_json_ledger(b, "events", &events);
	buf_puts(b, ",");
	metrics_json_ledger(b, "records", &records);
	buf_printf(b, ",\"refused_messages\":%" PRIu64
	    ",\"kernel_dropped\":{\"udp\":%" PRIu64 ",\"dgram\":%" PRIu64
	    ",\"truncated\":%" PRIu64 "}", refused,
	    bk->total[BOOKS_KERNEL_UDP], bk->total[BOOKS_KERNEL_DGRAM],
	    bk->total[BOOKS_TRUNCATED]);
	buf_printf(b, ",\"open\":{\"runs\":%" PRIu64 ",\"events\":%" PRIu64
	    ",\"bytes\":%" PRIu64 "},\"waiting\":{\"batches\":%" PRIu64
	    ",\"events\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"records\":%"
	    PRIu64 ",\"oldest_ms\":%" PRId64 "},", st.open_runs,
	    st.open_events, st.open_bytes, st.waiting_batches,
	    st.waiting_events, st.waiting_bytes, st.waiting_records,
	    st.oldest_waiting_ms);
	buf_printf(b, "\"paused\":%s,\"upstream\":{",
	    st.paused ? "true" : "false");
	metrics_json_string(b, "state", st.upstream);
	buf_puts(b, ",");
	metrics_json_string(b, "why", st.upstream_why);
	buf_printf(b, ",\"in_flight\":%" PRIu64 ",\"last_success_ms\":%" PRId64
	    ",\"retry_in_ms\":%" PRId64 "},\"storage\":{", st.in_flight,
	    st.last_success_ms, st.retry_in_ms);
	metrics_json_string(b, "state", st.storage);
	buf_puts(b, ",");
	metrics_json_string(b, "why", st.storage_why);
	buf_printf(b, ",\"journal_bytes\":%" PRIu64 ",\"spool_bytes\":%" PRIu64
	    ",\"dead_letters\":%" PRIu64 ",\"quarantined\":%" PRIu64
	    ",\"newer\":{\"directories\":%" PRIu64 ",\"bytes\":%" PRIu64
	    "}},\"connections\":%" PRIu64 ",\"config_generation\":%" PRIu64
	    "}\n", st.journal_bytes, st.spool_bytes, st.dead_letters,
	    st.damaged, st.newer_dirs, st.newer_bytes, p->connections, p->config_generation);
}

static void
metrics_reason(struct buf *b, bool *first, const char *what, const char *why)
{
	buf_printf(b, "%s{\"what\":\"%s\",", *first ? "" : ",", what);
	metrics_json_string(b, "why", why);
	buf_puts(b, "}");
	*first = false;
}

bool
metrics_ready(struct engine *e, const struct metrics_process *p,
    struct now now, struct buf *b)
{
	struct engine_status st;
	bool first = true;

	engine_status(e, now, &st);
	bool held = strcmp(st.upstream, "hold") == 0;
	bool bad = strcmp(st.storage, "ok") != 0;
	bool ready = !held && !bad && p->config_fault == NULL &&
	    p->no_key == NULL && !st.paused;
	buf_printf(b, "{\"ready\":%s,\"reasons\":[", ready ? "true" : "false");
	if (st.paused)
		metrics_reason(b, &first, "paused", "sending is paused; "
		    "lumnictl resume ends it");
	if (held || p->no_key != NULL)
		metrics_reason(b, &first, "hold",
		    held ? st.upstream_why : p->no_key);
	if (bad)
		metrics_reason(b, &first, st.storage, st.storage_why);
	if (p->config_fault != NULL)
		metrics_reason(b, &first, "config", p->config_fault);
	/* To be known, but no hindrance. */
	if (st.newer_dirs > 0)
		metrics_reason(b, &first, "newer", "what a newer lumnid has "
		    "left waits in storage.dir, in newer-*");
	buf_puts(b, "]}\n");
	return ready;
}
