/* verdict: the table of answers. */
#include "core/verdict.h"

#include <stdio.h>

#include "base/cdefs.h"
#include "codec/timefmt.h"

static const struct verdict_row {
	int		status;
	enum verdict	verdict;
	const char	*advice;
} verdict_rows[] = {
	{ 400, VERDICT_REFUSED, "the upstream finds the batch invalid" },
	{ 401, VERDICT_HOLD, "the API key is wrong: correct the key file" },
	{ 403, VERDICT_HOLD, "the API key may not ingest here: "
	    "correct the key file" },
	{ 404, VERDICT_HOLD, "no ingest API at this URL: "
	    "correct upstream.url" },
	{ 405, VERDICT_HOLD, "no ingest API at this URL: "
	    "correct upstream.url" },
	{ 407, VERDICT_HOLD, "the proxy wants credentials: "
	    "correct upstream.proxy" },
	{ 408, VERDICT_RETRY, "the upstream timed out" },
	{ 409, VERDICT_REFUSED, "the upstream finds the batch in conflict" },
	{ 413, VERDICT_TOO_LARGE, "the batch is too large for the upstream" },
	{ 415, VERDICT_NO_CODING, "the upstream does not take zstd" },
	{ 425, VERDICT_RETRY, "the upstream wants it later" },
	{ 429, VERDICT_RETRY, "the upstream limits the rate" },
};

static const struct verdict_row *
verdict_find(int status)
{
	for (size_t i = 0; i < NELEM(verdict_rows); i++)
		if (verdict_rows[i].status == status)
			return &verdict_rows[i];
	return NULL;
}

static enum verdict
verdict_status(int status)
{
	const struct verdict_row *row = verdict_find(status);

	if (row != NULL)
		return row->verdict;
	if (status >= 200 && status < 300)
		return VERDICT_DONE;
	if (status >= 300 && status < 400)
		return VERDICT_HOLD;
	if (status >= 400 && status < 500)
		return VERDICT_REFUSED;
	return VERDICT_RETRY;
}

/* A proxy that wants other credentials, or does not let us through. */
static bool
verdict_proxy_refuses(const struct transport_answer *a)
{
	return a->result == TRANSPORT_PROXY && (a->status == 401 ||
	    a->status == 403 || a->status == 405 || a->status == 407);
}

void
verdict_rule(const struct transport_answer *a, struct wall wall,
    struct verdict_ruling *ret)
{
	*ret = (struct verdict_ruling){ .retry_after_ms = -1 };
	switch (a->result) {
	case TRANSPORT_ANSWERED:
		ret->verdict = verdict_status(a->status);
		ret->slow_down = a->status == 429 || a->status == 503;
		ret->all_routes = a->status == 401 || a->status == 403 ||
		    a->status == 407;
		if ((ret->verdict == VERDICT_RETRY || a->status == 409) &&
		    a->retry_after[0] != '\0' &&
		    timefmt_parse_retry_after(a->retry_after, wall,
		    VERDICT_RETRY_AFTER_MAX_MS, &ret->retry_after_ms) < 0)
			ret->retry_after_ms = -1;
		return;
	case TRANSPORT_TLS_VERIFY:
	case TRANSPORT_TLS_FILE:
	case TRANSPORT_NO_KEY:
		ret->verdict = VERDICT_HOLD;
		ret->all_routes = true;
		return;
	case TRANSPORT_STALE:
		ret->verdict = VERDICT_AT_ONCE;
		return;
	case TRANSPORT_LOCAL:
	case TRANSPORT_CANCELLED:
		ret->verdict = VERDICT_LOCAL;
		return;
	case TRANSPORT_PROXY:
		if (verdict_proxy_refuses(a)) {
			ret->verdict = VERDICT_HOLD;
			ret->all_routes = true;
			return;
		}
		break;
	case TRANSPORT_NO_ANSWER:
	case TRANSPORT_DNS:
	case TRANSPORT_TLS:
		break;
	}
	ret->verdict = VERDICT_RETRY;
}

const char *
verdict_name(enum verdict v)
{
	switch (v) {
	case VERDICT_DONE:
		return "done";
	case VERDICT_RETRY:
		return "retry";
	case VERDICT_HOLD:
		return "hold";
	case VERDICT_TOO_LARGE:
		return "too_large";
	case VERDICT_NO_CODING:
		return "no_coding";
	case VERDICT_REFUSED:
		return "refused";
	case VERDICT_AT_ONCE:
		return "at_once";
	case VERDICT_LOCAL:
		return "local";
	}
	return "unknown";
}

const char *
verdict_explain(const struct transport_answer *a, char *dst, size_t n)
{
	if (a->result != TRANSPORT_ANSWERED) {
		(void)snprintf(dst, n, "%s%s", a->detail[0] != '\0' ?
		    a->detail : "no answer", verdict_proxy_refuses(a) ?
		    ": correct upstream.proxy" : "");
		return dst;
	}
	const struct verdict_row *row = verdict_find(a->status);
	const char *advice = "";
	if (row != NULL)
		advice = row->advice;
	else if (a->status >= 300 && a->status < 400)
		advice = "redirects are not followed: correct upstream.url";
	else if (a->status >= 500)
		advice = "the upstream fails";
	else if (a->status >= 400)
		advice = "the upstream refuses the batch";
	(void)snprintf(dst, n, "HTTP %d%s%s", a->status,
	    advice[0] != '\0' ? ": " : "", advice);
	return dst;
}
