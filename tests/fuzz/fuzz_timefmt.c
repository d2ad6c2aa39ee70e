/* Times that others wrote: headers of answers, fields of events. */
#include "codec/timefmt.h"
#include "fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char back[TIMEFMT_MAX];
	struct wall t, again;
	int64_t ms;

	char *s = malloc(len + 1);
	if (s == NULL)
		abort();
	if (len > 0)
		memcpy(s, data, len);
	s[len] = '\0';
	if (timefmt_parse_rfc3339(s, &t) == 0 &&
	    timefmt_rfc3339_ms(t, back) > 0) {
		/* Offsets can lead out of the years that can be written. */
		FUZZ_CHECK(timefmt_parse_rfc3339(back, &again) == 0,
		    "%s", back);
		FUZZ_CHECK(t.us - again.us < 1000 || s[0] == '9' ||
		    s[0] == '0', "%s", back);
	}
	if (timefmt_parse_http_date(s, &t) == 0) {
		timefmt_rfc3339_ms(t, back);
		FUZZ_CHECK(timefmt_parse_rfc3339(back, &again) == 0 &&
		    again.us == t.us, "%s", back);
	}
	if (timefmt_parse_retry_after(s, (struct wall){ 0 }, 3600000, &ms) ==
	    0)
		FUZZ_CHECK(ms >= 0 && ms <= 3600000, "%s", s);
	free(s);
	return 0;
}
