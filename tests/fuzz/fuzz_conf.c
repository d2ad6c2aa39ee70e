/*
 * fuzz_conf: any bytes as a configuration file. They are refused with a
 * place, or what is printed of them reads back as the same configuration, and
 * an event passes through their rules of redaction.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "codec/redact.h"
#include "core/conf.h"
#include "core/conf_table.h"
#include "core/conf_value.h"

int	LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
check_reads_back(const struct conf *cf)
{
	struct conf *again;
	struct why why;
	char *text;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	if (f == NULL)
		abort();
	conf_print(cf, f);
	if (fclose(f) != 0)
		abort();
	if (conf_parse(text, len, "again", true, &again, &why) < 0) {
		fprintf(stderr, "%s\n%s\n", why.text, text);
		abort();
	}
	for (size_t i = 0; i < conf_keys_n; i++) {
		/* A proxy's password is masked. */
		if (conf_keys[i].type != CONF_PROXY &&
		    !conf_value_equal(cf, again, &conf_keys[i])) {
			fprintf(stderr, "%s\n%s\n", conf_keys[i].name, text);
			abort();
		}
	}
	conf_free(again);
	free(text);
}

/* Its rules of redaction are refused with a reason, or made ready. */
static void
check_compiles(struct conf *cf)
{
	static const char sample[] = "{\"text\":\"to jane@example.org, by "
	    "4111111111111111\",\"args\":{\"password\":\"x\",\"n\":[1,{}]}}";
	struct why why = { "" };

	if (conf_compile(cf, &why) < 0) {
		if (why.text[0] == '\0')
			abort();
	} else if (cf->redact.set != NULL) {
		struct redact_run *run = redact_run_new(cf->redact.set);
		struct buf b;

		buf_init(&b, 0);
		buf_puts(&b, sample);
		redact_run_begin(run);
		if (redact_event(run, REDACT_EVENTS, &b, 0) != 0)
			abort();
		redact_run_free(run);
		buf_free(&b);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct conf *cf;
	struct why why = { "" };

	if (conf_parse((const char *)data, len, "f", true, &cf, &why) == 0) {
		if (conf_check(cf, &why) == 0) {
			check_reads_back(cf);
			check_compiles(cf);
		} else if (why.text[0] == '\0') {
			abort();
		}
		conf_free(cf);
	} else if (strncmp(why.text, "f:", 2) != 0) {
		fprintf(stderr, "%s\n", why.text);
		abort();
	}
	return 0;
}
