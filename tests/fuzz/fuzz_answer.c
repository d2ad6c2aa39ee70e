/*
 * What an upstream may answer: status, Retry-After, body. The verdict and its
 * sentence, which events a 2xx refuses, and the dead letter made of it.
 * Input: two bytes of status, one of events, the header up to a newline, the
 * body.
 */
#include <json-c/json.h>

#include "core/bury.h"
#include "core/verdict.h"
#include "fuzz.h"

static void
fuzz_letter(const struct transport_answer *a, size_t n)
{
	static const char event[] = "{\"type\":\"x\"}";
	const struct bury_event ev = { 0, event, sizeof event - 1 };
	struct spool_batch batch = { .kind = SPOOL_RUN, .reason = SPOOL_END,
	    .part = 1, .events = (uint32_t)n, .id = "id", .runid = "run",
	    .runid_len = 3 };
	struct buf b;

	buf_init(&b, 0);
	bury_text(&b, &batch, (struct wall){ INT64_C(1795435200000000) }, 1,
	    a, &ev, 1);
	struct json_object *o = json_tokener_parse(buf_cstr(&b));
	FUZZ_CHECK(o != NULL, "a letter that is no JSON: %s", buf_cstr(&b));
	json_object_put(o);
	buf_free(&b);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct transport_answer a = { .result = TRANSPORT_ANSWERED };
	struct verdict_ruling ruling;
	char text[256], *body;
	uint8_t fate[256];

	if (len < 3)
		return 0;
	a.status = 100 + (data[0] << 8 | data[1]) % 500;
	size_t n = data[2];
	data += 3;
	len -= 3;
	const uint8_t *nl = memchr(data, '\n', len);
	size_t head = nl != NULL ? (size_t)(nl - data) : 0;
	if (head < sizeof a.retry_after) {
		memcpy(a.retry_after, data, head);
		a.retry_after[head] = '\0';
	}
	if (nl != NULL)
		head++;
	body = (char *)fuzz_copy(data + head, len - head);
	a.body = body;
	a.body_len = len - head;
	verdict_rule(&a, (struct wall){ INT64_C(1795435200000000) }, &ruling);
	FUZZ_CHECK(ruling.retry_after_ms >= -1 &&
	    ruling.retry_after_ms <= VERDICT_RETRY_AFTER_MAX_MS, "a wait");
	FUZZ_CHECK((ruling.verdict == VERDICT_DONE) == (a.status / 100 == 2),
	    "%d is %s", a.status, verdict_name(ruling.verdict));
	FUZZ_CHECK(verdict_explain(&a, text, sizeof text)[0] != '\0' &&
	    memchr(text, '\0', sizeof text) != NULL, "no sentence");
	bool any = bury_partial(&a, fate, n), found = false;
	for (size_t i = 0; i < n; i++) {
		FUZZ_CHECK(fate[i] <= BURY_AGAIN, "a fate");
		found |= fate[i] != BURY_TAKEN;
	}
	FUZZ_CHECK(any == found, "a refusal of none");
	fuzz_letter(&a, n);
	free(body);
	return 0;
}
