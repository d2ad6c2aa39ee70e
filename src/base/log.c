/*
 * log: one line per happening, to stderr in one write(2), so that lines of
 * two threads never mix. A line has a fixed size: a field that does not fit
 * is left out, a long text is cut.
 */
#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/utf8.h"

#define LOG_LINE_MAX	4096	/* bytes, with the newline */
#define LOG_TAIL	8	/* kept free: `..."}` and the newline */
#define LOG_BODY_MAX	(LOG_LINE_MAX - LOG_TAIL)
#define LOG_EVERY_US	(30 * INT64_C(1000000))

struct log_line {
	size_t	len;
	bool	full;
	char	text[LOG_LINE_MAX];
};

static enum log_level log_level = LOG_LEVEL_INFO;
static enum log_format log_format = LOG_FORMAT_TEXT;
static void (*log_sink)(void *, const char *, size_t);
static void *log_sink_arg;

static const char *const log_names[] = {
	[LOG_LEVEL_ERROR] = "error",
	[LOG_LEVEL_WARN] = "warn",
	[LOG_LEVEL_INFO] = "info",
	[LOG_LEVEL_DEBUG] = "debug",
};

/* syslog(3)'s priorities, as sd-daemon(3) wants them. */
static const char *const log_priorities[] = {
	[LOG_LEVEL_ERROR] = "<3>",
	[LOG_LEVEL_WARN] = "<4>",
	[LOG_LEVEL_INFO] = "<6>",
	[LOG_LEVEL_DEBUG] = "<7>",
};

void
log_set_level(enum log_level level)
{
	log_level = level;
}

void
log_set_format(enum log_format format)
{
	log_format = format;
}

bool
log_enabled(enum log_level level)
{
	return level <= log_level;
}

void
log_set_sink(void (*sink)(void *, const char *, size_t), void *arg)
{
	log_sink = sink;
	log_sink_arg = arg;
}

/* Append whole or not at all, and never into the tail. */
static bool
log_put(struct log_line *ln, const char *s, size_t n)
{
	if (ln->len + n > LOG_BODY_MAX) {
		ln->full = true;
		return false;
	}
	memcpy(ln->text + ln->len, s, n);
	ln->len += n;
	return true;
}

static bool
log_puts(struct log_line *ln, const char *s)
{
	return log_put(ln, s, strlen(s));
}

/* Append what the tail was kept for. */
static void
log_put_tail(struct log_line *ln, const char *s)
{
	size_t n = strlen(s);

	if (n <= LOG_LINE_MAX - ln->len) {
		memcpy(ln->text + ln->len, s, n);
		ln->len += n;
	}
}

/*
 * A character that must not reach a terminal or a reader of lines as it is:
 * controls of both blocks, and those that turn the direction of text or end
 * lines (U+2028-202E, U+2066-2069).
 */
static bool
log_is_unsafe(uint32_t cp)
{
	return cp < 0x20 || (cp >= 0x7f && cp < 0xa0) ||
	    (cp >= 0x2028 && cp <= 0x202e) || (cp >= 0x2066 && cp <= 0x2069);
}

/* One character, n bytes at p, escaped where it is unsafe in quotes. */
static bool
log_put_char(struct log_line *ln, const char *p, int n, uint32_t cp)
{
	char esc[8];

	if (n < 0)
		return log_puts(ln, "\xef\xbf\xbd");
	switch (cp) {
	case '"':
		return log_puts(ln, "\\\"");
	case '\\':
		return log_puts(ln, "\\\\");
	case '\n':
		return log_puts(ln, "\\n");
	case '\r':
		return log_puts(ln, "\\r");
	case '\t':
		return log_puts(ln, "\\t");
	default:
		break;
	}
	if (!log_is_unsafe(cp))
		return log_put(ln, p, (size_t)n);
	(void)snprintf(esc, sizeof esc, "\\u%04x", (unsigned)cp);
	return log_puts(ln, esc);
}

/* A text in quotes, cut where the line is full. */
static void
log_put_quoted(struct log_line *ln, const char *s)
{
	size_t n = strlen(s);
	uint32_t cp;

	if (!log_puts(ln, "\""))
		return;
	while (n > 0) {
		int k = utf8_next((const uint8_t *)s, n, &cp);
		if (!log_put_char(ln, s, k, cp)) {
			log_put_tail(ln, "...");
			break;
		}
		size_t step = (size_t)(k < 0 ? -k : k);
		s += step;
		n -= step;
	}
	log_put_tail(ln, "\"");
}

/* May it stand in a text line without quotes? */
static bool
log_is_bare(const char *s)
{
	if (*s == '\0' || strlen(s) > LOG_LINE_MAX / 2)
		return false;
	for (; *s != '\0'; s++)
		if (*s <= ' ' || *s > '~' || strchr("\"\\=", *s) != NULL)
			return false;
	return true;
}

static void
log_put_value(struct log_line *ln, const struct log_field *f)
{
	char num[24];

	switch (f->type) {
	case LOG_FIELD_STR:
		if (log_format == LOG_FORMAT_TEXT && log_is_bare(f->s))
			(void)log_puts(ln, f->s); /* full: nothing follows */
		else
			log_put_quoted(ln, f->s);
		return;
	case LOG_FIELD_INT:
		(void)snprintf(num, sizeof num, "%" PRId64, f->i);
		break;
	case LOG_FIELD_UINT:
		(void)snprintf(num, sizeof num, "%" PRIu64, f->u);
		break;
	}
	(void)log_puts(ln, num); /* log_put_field() checked for room */
}

/* `key=value` or `"key":value`; left out when there is no room for it. */
static void
log_put_field(struct log_line *ln, const struct log_field *f)
{
	if (f->type == LOG_FIELD_STR && f->s == NULL)
		return;
	if (ln->full || ln->len + strlen(f->key) + 40 > LOG_BODY_MAX)
		return;
	if (log_format == LOG_FORMAT_JSON) {
		(void)log_puts(ln, ","); /* room is there */
		log_put_quoted(ln, f->key);
		(void)log_puts(ln, ":");
	} else {
		(void)log_puts(ln, " ");
		(void)log_puts(ln, f->key);
		(void)log_puts(ln, "=");
	}
	log_put_value(ln, f);
}

/* Is stderr the journal's, as JOURNAL_STREAM=device:inode claims? */
static bool
log_is_journal(void)
{
	static int is = -1;	/* the environment is read once */
	struct stat st;
	uintmax_t dev, ino;

	if (is >= 0)
		return is;
	const char *env = getenv("JOURNAL_STREAM");
	is = env != NULL &&
	    sscanf(env, "%" SCNuMAX ":%" SCNuMAX, &dev, &ino) == 2 &&
	    fstat(STDERR_FILENO, &st) == 0 && (uintmax_t)st.st_dev == dev &&
	    (uintmax_t)st.st_ino == ino;
	return is;
}

/*
 * A text line's time, where nobody else puts one: the local one on a terminal,
 * RFC 3339 in a file. Journals, and who reads a pipe, have their own.
 */
static void
log_put_time(struct log_line *ln)
{
	static int kind = -1;	/* 0: none; stderr stays what it is */
	struct stat st;
	char text[40];
	struct tm tm;

	if (log_sink != NULL)
		return;
	if (kind < 0)
		kind = log_is_journal() ? 0 : isatty(STDERR_FILENO) ? 1 :
		    fstat(STDERR_FILENO, &st) == 0 && S_ISREG(st.st_mode) ? 2 :
		    0;
	if (kind == 0)
		return;
	int64_t us = clock_now().wall.us;
	time_t t = (time_t)(us / 1000000);
	if (kind == 1 && localtime_r(&t, &tm) != NULL) {
		(void)strftime(text, sizeof text, "%H:%M:%S ", &tm);
	} else if (gmtime_r(&t, &tm) != NULL) {
		size_t n = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S",
		    &tm);
		(void)snprintf(text + n, sizeof text - n, ".%03dZ ",
		    (int)(us / 1000 % 1000));
	} else {
		return;
	}
	(void)log_puts(ln, text); /* the first: room is there */
}

static void
log_put_head(struct log_line *ln, enum log_level level, const char *event)
{
	char head[64];

	if (log_format == LOG_FORMAT_JSON) {
		int64_t us = clock_now().wall.us;
		(void)snprintf(head, sizeof head, "{\"time\":%" PRId64
		    ".%03d,\"level\":\"%s\",\"event\":", us / 1000000,
		    (int)(us / 1000 % 1000), log_names[level]);
		(void)log_puts(ln, head); /* the first: room is there */
		log_put_quoted(ln, event);
		return;
	}
	log_put_time(ln);
	(void)log_puts(ln, log_names[level]);
	(void)log_puts(ln, " ");
	(void)log_puts(ln, event);
}

static void
log_emit(const char *p, size_t n)
{
	if (log_sink != NULL) {
		log_sink(log_sink_arg, p, n);
		return;
	}
	ssize_t w;
	do
		w = write(STDERR_FILENO, p, n);
	while (w < 0 && errno == EINTR);
	/* There is nowhere to tell that telling failed. */
}

void
log_write(enum log_level level, const char *event,
    const struct log_field *fields, size_t n)
{
	struct log_line ln;
	int saved = errno;

	if (!log_enabled(level))
		return;
	ln.len = 0;
	ln.full = false;
	if (log_sink == NULL && log_is_journal())
		(void)log_puts(&ln, log_priorities[level]);
	log_put_head(&ln, level, event);
	for (size_t i = 0; i < n; i++)
		log_put_field(&ln, &fields[i]);
	if (log_format == LOG_FORMAT_JSON)
		log_put_tail(&ln, "}");
	log_put_tail(&ln, "\n");
	log_emit(ln.text, ln.len);
	errno = saved;
}

bool
log_limit_hit(struct log_limit *l, int64_t mono_us, uint64_t *ret_n)
{
	if (l->active && mono_us - l->last_us < LOG_EVERY_US) {
		l->swallowed++;
		return false;
	}
	l->active = true;
	l->last_us = mono_us;
	*ret_n = l->swallowed;
	l->swallowed = 0;
	return true;
}

bool
log_limit_over(struct log_limit *l)
{
	bool was = l->active;

	*l = (struct log_limit){ 0 };
	return was;
}
