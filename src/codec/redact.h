/*
 * redact: takes out of events what the configuration says may neither touch
 * the disk nor leave the host. JSON text in, JSON text out: it stands at the
 * end of event-writing, so that every input passes through it.
 *
 * A rule set (struct redact) is made once and then never changed; what is
 * needed to apply it (struct redact_run) belongs to one decoder.
 *
 * Rules name keys, at any depth (exact or with * and ?, letters of ASCII in
 * either case); paths from the event's root ("events.args.password", where a
 * part may be a glob and elements of arrays are numbers); or patterns, which
 * match the text of strings, of keys and of numbers. What a rule of keys or
 * paths finds goes whole, whatever it is. Of a string, what a pattern matches
 * goes; of a number, all of it. Where patterns overlap, all that either of
 * them matched goes.
 *
 * In place of it: "[redacted:NAME]"; or "[redacted:NAME:HEX]", HEX being the
 * first 128 bits of HMAC-SHA-256 (RFC 2104) of what went; or, with
 * REDACT_REMOVE, nothing: the whole pair leaves its object, an element of an
 * array becomes null.
 *
 * JSON in strings is looked into, wherever in the text it begins and however
 * it ends, and what Python and JavaScript print as well: keys and paths hold
 * there, and patterns see its strings without their escapes. A string in which
 * nothing is found keeps its bytes. Strings in strings beyond REDACT_LEVELS, and containers beyond
 * REDACT_DEPTH, go whole as [redacted:too_deep].
 *
 * What cannot be decided goes: a regular expression that meets a limit takes
 * the whole string with it, and is counted.
 */
#ifndef LUMNID_CODEC_REDACT_H
#define LUMNID_CODEC_REDACT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/cdefs.h"
#include "base/why.h"

#define REDACT_NAME_MAX		64	/* letters of a rule's name */
#define REDACT_LEVELS		8	/* strings in strings */
#define REDACT_DEPTH		96	/* containers, over all levels */
#define REDACT_PATHS_MAX	256
#define REDACT_REGEX_MAX	64
#define REDACT_HASH_KEY_MIN	16	/* bytes */
#define REDACT_STRING_MIN	256	/* of max_string: the mark needs room */

enum redact_action {
	REDACT_REPLACE,
	REDACT_HASH,
	REDACT_REMOVE,
};

/* What an event is, and so the first part of its paths. */
enum redact_root {
	REDACT_EVENTS,		/* "events" */
	REDACT_CHANGE,		/* "change" */
	REDACT_POLICY,		/* "policy" */
};

struct redact;
struct redact_run;

struct redact *redact_new(void);
void	redact_free(struct redact *);

/*
 * Rules; the first that matches a value names what becomes of it.
 * name: letters, digits, '_', '-' and '.'; NULL: made of the rule. Rules may
 * share a name, and are then counted as one. Each returns 0 or -EINVAL (a bad
 * name, path, regular expression; too many of them).
 */
int	redact_add_key(struct redact *, const char *glob, const char *name,
	    enum redact_action, struct why *) MUSTUSE;
int	redact_add_path(struct redact *, const char *path, const char *name,
	    enum redact_action, struct why *) MUSTUSE;
/*
 * A built-in pattern, or a group of them; each keeps its own name, unless
 * another is given. -ENOENT: there is none of this name.
 */
int	redact_add_builtin(struct redact *, const char *which,
	    const char *name, enum redact_action, struct why *) MUSTUSE;
/* A regular expression of PCRE2, on UTF-8. */
int	redact_add_regex(struct redact *, const char *regex, const char *name,
	    enum redact_action, struct why *) MUSTUSE;
/* The secret of REDACT_HASH; copied. */
void	redact_set_hash_key(struct redact *, const void *, size_t);
/* Is there a rule that needs it? */
bool	redact_needs_hash_key(const struct redact *);
/*
 * Strings of more bytes (REDACT_STRING_MIN or more; 0: none) are cut, after
 * all rules: HEAD[cut:LENGTH:sha256:HEX]TAIL, of as many bytes at the most.
 * LENGTH and the hash are of the string before it was cut.
 */
void	redact_set_max_string(struct redact *, size_t);
/* Has it no rule and no limit? */
bool	redact_is_empty(const struct redact *);

bool	redact_name_is_good(const char *);
/* The i-th name of a built-in pattern or group, or NULL; what it is. */
const char *redact_builtin_name(size_t i);
const char *redact_builtin_help(size_t i);
/* The built-in name nearest to one that does not exist, or NULL. */
bool	redact_builtin_exists(const char *name);

/* The set is borrowed and must outlive the run. */
struct redact_run *redact_run_new(const struct redact *);
void	redact_run_free(struct redact_run *);
/* A message begins: the time for regular expressions is counted anew. */
void	redact_run_begin(struct redact_run *);
/*
 * Redact the event whose JSON (valid UTF-8, valid JSON) is json from `from` to
 * its end, in place. Returns 0, or -ENOBUFS (it outgrew json's limit), -ENOMEM
 * or -EBADMSG (it is no JSON): then it must not be used.
 */
int	redact_event(struct redact_run *, enum redact_root, struct buf *json,
	    size_t from) MUSTUSE;

/*
 * Counters: n names, of each how often it took something, and how often a
 * limit made it take a whole string. name NULL: no such i.
 */
struct redact_count {
	const char	*name;
	uint64_t	 hits;
	uint64_t	 limits;
};
struct redact_count redact_run_count(const struct redact_run *, size_t i);
/* For tests: another clock (microseconds of CPU). */
void	redact_run_set_clock(struct redact_run *, int64_t (*)(void));

#endif
