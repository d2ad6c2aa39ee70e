/*
 * log: one line per happening, `level event key=value ...`, to stderr.
 *
 * Text for people, JSON for machines; under journald (JOURNAL_STREAM names
 * our stderr) each line carries its priority as "<N>" (sd-daemon(3)).
 * Untrusted text is escaped. Payloads and keys are never logged. Event names
 * are words with underscores; lumnid(8) lists them.
 */
#ifndef LUMNID_BASE_LOG_H
#define LUMNID_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cdefs.h"

enum log_level {
	LOG_LEVEL_ERROR,
	LOG_LEVEL_WARN,
	LOG_LEVEL_INFO,
	LOG_LEVEL_DEBUG,
};

enum log_format {
	LOG_FORMAT_TEXT,
	LOG_FORMAT_JSON,
};

struct log_field {
	const char	*key;
	enum { LOG_FIELD_STR, LOG_FIELD_INT, LOG_FIELD_UINT } type;
	union {
		const char	*s;
		int64_t		 i;
		uint64_t	 u;
	};
};

#define LS(k, v)	{ .key = (k), .type = LOG_FIELD_STR, .s = (v) }
#define LI(k, v)	{ .key = (k), .type = LOG_FIELD_INT, .i = (v) }
#define LU(k, v)	{ .key = (k), .type = LOG_FIELD_UINT, .u = (v) }

/*
 * log_error("spool_write_failed", LS("error", why.text), LU("segment", n));
 * A NULL string is left out. At least one field is needed: LS("", NULL) when
 * there is none.
 */
#define log_error(ev, ...)	log_write(LOG_LEVEL_ERROR, ev, LOG_F(__VA_ARGS__))
#define log_warn(ev, ...)	log_write(LOG_LEVEL_WARN, ev, LOG_F(__VA_ARGS__))
#define log_info(ev, ...)	log_write(LOG_LEVEL_INFO, ev, LOG_F(__VA_ARGS__))
#define log_debug(ev, ...)						\
	do {								\
		if (log_enabled(LOG_LEVEL_DEBUG))			\
			log_write(LOG_LEVEL_DEBUG, ev,			\
			    LOG_F(__VA_ARGS__));			\
	} while (0)
#define LOG_F(...)							\
	(const struct log_field[]){ __VA_ARGS__ },			\
	sizeof((const struct log_field[]){ __VA_ARGS__ }) /		\
	sizeof(struct log_field)

void	log_write(enum log_level, const char *event, const struct log_field *,
	    size_t n);
void	log_set_level(enum log_level);
void	log_set_format(enum log_format);
bool	log_enabled(enum log_level);
/* Where lines go instead of stderr; NULL restores it. For tests. */
void	log_set_sink(void (*sink)(void *, const char *line, size_t), void *);

/*
 * A repeating fault: the first is logged at once, then at most one line every
 * 30 s with `repeated=N`, and once when it is over.
 * limit_hit() tells whether to log now, and how many were swallowed since.
 * limit_over() returns true, once, when a fault that was logged has ended.
 */
struct log_limit {
	int64_t		last_us;
	uint64_t	swallowed;
	bool		active;
};

bool	log_limit_hit(struct log_limit *, int64_t mono_us, uint64_t *ret_n);
bool	log_limit_over(struct log_limit *);

#endif
