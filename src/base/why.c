/* why: one line of text that tells a person what went wrong and where. */
#include "base/why.h"

#include <stdio.h>
#include <string.h>

/* One line: a newline from a parser's message would forge a second one. */
static void
why_flatten(struct why *why)
{
	for (char *p = why->text; *p != '\0'; p++)
		if (*p == '\n' || *p == '\r')
			*p = ' ';
}

int
why_set(struct why *why, int code, const char *fmt, ...)
{
	va_list ap;

	if (why == NULL)
		return code;
	va_start(ap, fmt);
	/* Truncation is the contract. */
	(void)vsnprintf(why->text, sizeof why->text, fmt, ap);
	va_end(ap);
	why_flatten(why);
	return code;
}

int
why_errno(struct why *why, int code, const char *fmt, ...)
{
	va_list ap;
	char num[32];

	if (why == NULL)
		return code;
	va_start(ap, fmt);
	(void)vsnprintf(why->text, sizeof why->text, fmt, ap);
	va_end(ap);
	/* Unlike strerror(3) this is thread-safe and has no locale. */
	const char *text = strerrordesc_np(-code);
	if (text == NULL) {
		(void)snprintf(num, sizeof num, "error %d", -code);
		text = num;
	}
	size_t n = strlen(why->text);
	(void)snprintf(why->text + n, sizeof why->text - n, ": %s", text);
	why_flatten(why);
	return code;
}

int
why_prefix(struct why *why, int code, const char *fmt, ...)
{
	va_list ap;
	char old[sizeof why->text];

	if (why == NULL)
		return code;
	memcpy(old, why->text, sizeof old);
	va_start(ap, fmt);
	(void)vsnprintf(why->text, sizeof why->text, fmt, ap);
	va_end(ap);
	size_t n = strlen(why->text);
	(void)snprintf(why->text + n, sizeof why->text - n, ": %.*s",
	    (int)sizeof old - 1, old);
	why_flatten(why);
	return code;
}
