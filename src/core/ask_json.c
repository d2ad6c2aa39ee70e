/* ask_json: the fields, in the order in which a person reads them. */
#include "core/ask_json.h"

#include <inttypes.h>
#include <string.h>

#include "codec/json.h"
#include "codec/timefmt.h"
#include "core/books.h"

void
ask_json_text(struct buf *b, const char *key, const char *text, size_t len)
{
	buf_printf(b, "\"%s\":", key);
	json_put_string(b, text, len);
}

void
ask_json_run(struct buf *b, const struct engine_run *r)
{
	buf_putc(b, '{');
	ask_json_text(b, "runId", r->runid, r->runid_len);
	buf_printf(b, ",\"part\":%" PRIu32 ",\"events\":%" PRIu32
	    ",\"bytes\":%" PRIu64 ",\"age_ms\":%" PRId64 ",\"idle_ms\":%"
	    PRId64 "}", r->part, r->events, r->bytes, r->age_ms, r->idle_ms);
}

static const char *
ask_kind(enum spool_kind kind)
{
	return kind == SPOOL_CHANGE ? "change" : kind == SPOOL_POLICY ?
	    "policy" : "run";
}

void
ask_json_batch(struct buf *b, const struct engine_batch *eb, struct now now)
{
	const struct spool_batch *sb = &eb->b;
	int64_t age = (now.wall.us - sb->sealed.us) / 1000;
	char at[TIMEFMT_MAX];

	buf_putc(b, '{');
	ask_json_text(b, "id", sb->id, strlen(sb->id));
	buf_printf(b, ",\"kind\":\"%s\",", ask_kind(sb->kind));
	if (!eb->record) {
		ask_json_text(b, "runId", sb->runid, sb->runid_len);
		buf_printf(b, ",\"part\":%" PRIu32 ",\"reason\":\"%s\",",
		    sb->part, spool_reason_name(sb->reason));
	}
	size_t n = timefmt_rfc3339_ms(sb->sealed, at);
	buf_printf(b, "\"events\":%" PRIu32 ",\"finished\":%" PRIu32
	    ",\"bytes\":%" PRIu32 ",\"json_bytes\":%" PRIu32
	    ",\"compressed\":%s,\"sealed\":\"%.*s\",\"age_ms\":%" PRId64
	    ",\"attempts\":%" PRIu32 ",\"in_flight\":%s}", sb->events,
	    eb->ref.finished, sb->body_len, sb->raw_len,
	    sb->compressed ? "true" : "false", (int)n, at, age < 0 ? 0 : age,
	    eb->attempts, eb->in_flight ? "true" : "false");
}

void
ask_json_flush(struct buf *b, const struct engine_flush_status *f,
    const struct engine_status *st)
{
	static const char *const states[] = {
		[ENGINE_FLUSH_SEALING] = "sealing",
		[ENGINE_FLUSH_SENDING] = "sending",
		[ENGINE_FLUSH_DONE] = "done",
	};
	uint64_t sum = f->delivered + f->dead + f->dropped;

	buf_printf(b, "{\"state\":\"%s\",\"runs\":%" PRIu64 ",\"events\":%"
	    PRIu64 ",\"delivered\":%" PRIu64 ",\"dead\":%" PRIu64
	    ",\"dropped\":%" PRIu64 ",\"pending\":%" PRIu64 ",\"held\":%s,"
	    "\"paused\":%s,\"upstream\":{", f->held ? "held" :
	    states[f->state], f->runs, f->events, f->delivered, f->dead,
	    f->dropped, f->events - sum, f->held ? "true" : "false",
	    st->paused ? "true" : "false");
	ask_json_text(b, "state", st->upstream, strlen(st->upstream));
	buf_putc(b, ',');
	ask_json_text(b, "why", st->upstream_why, strlen(st->upstream_why));
	buf_printf(b, ",\"retry_in_ms\":%" PRId64 "}}", st->retry_in_ms);
}

static void
ask_json_rates(struct buf *b, const struct rates *rates, struct engine *e,
    const struct books_ledger *events, struct now now)
{
	const struct books *bk = engine_books(e);
	uint64_t v[RATES_N] = {
		[RATES_EVENTS] = events->accepted,
		[RATES_BYTES] = bk->bytes,
		[RATES_DELIVERED] = events->delivered,
	};
	double per_s[RATES_N];
	int64_t ms = rates_get(rates, now.mono, v, RATES_WINDOW_MS, per_s);

	buf_printf(b, "\"rates\":{\"over_ms\":%" PRId64 ",\"events_per_s\":"
	    "%.1f,\"bytes_per_s\":%.0f,\"delivered_per_s\":%.1f}", ms,
	    per_s[RATES_EVENTS], per_s[RATES_BYTES], per_s[RATES_DELIVERED]);
}

void
ask_json_more(struct buf *b, struct engine *e, const struct rates *rates,
    struct now now)
{
	const struct books *bk = engine_books(e);
	struct books_ledger events, records;

	engine_ledger(e, &events, &records);
	ask_json_rates(b, rates, e, &events, now);
	buf_puts(b, ",\"inputs\":{");
	for (int i = 0; i < BOOKS_INPUTS; i++)
		buf_printf(b, "%s\"%s\":%" PRIu64, i > 0 ? "," : "",
		    books_input_name((enum books_input)i),
		    bk->total[BOOKS_ACCEPTED_BY + i]);
	buf_puts(b, "},\"inputs_refused\":{");
	for (int i = 0; i < BOOKS_INPUTS; i++)
		buf_printf(b, "%s\"%s\":%" PRIu64, i > 0 ? "," : "",
		    books_input_name((enum books_input)i),
		    bk->total[BOOKS_REFUSED_BY + i]);
	buf_puts(b, "},\"answers\":{");
	for (unsigned i = 1; i < 6; i++) {
		uint64_t n = 0;

		for (unsigned k = i * 100; k < i * 100 + 100; k++)
			n += bk->answers[k];
		buf_printf(b, "\"%uxx\":%" PRIu64 ",", i, n);
	}
	buf_printf(b, "\"none\":%" PRIu64, bk->answers[0]);
	buf_puts(b, "}");
}
