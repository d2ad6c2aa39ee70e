/* redact_int: what the files of redact share; nobody else includes it. */
#ifndef LUMNID_CODEC_REDACT_INT_H
#define LUMNID_CODEC_REDACT_INT_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "codec/redact.h"

#define REDACT_PATH_WORDS	(REDACT_PATHS_MAX / 64)
#define REDACT_HEX		32	/* letters of a hash */
#define REDACT_TOKEN_MAX	(REDACT_NAME_MAX + REDACT_HEX + 16)

/* Names that are no rule's; the first two of every set. */
enum { REDACT_NAME_CUT, REDACT_NAME_DEEP };

/* Built-in patterns, in the order in which the first of a place wins. */
enum redact_kind {
	REDACT_PRIVATE_KEY,
	REDACT_JWT,
	REDACT_ANTHROPIC,
	REDACT_STRIPE,
	REDACT_OPENAI,
	REDACT_AWS,
	REDACT_GITHUB,
	REDACT_SLACK,
	REDACT_GOOGLE,
	REDACT_BEARER,
	REDACT_URL_PASSWORD,
	REDACT_EMAIL,
	REDACT_CARD,
	REDACT_KINDS
};

/* An action of pairs in text: key and value go, the text around them stays. */
#define REDACT_CUT	(REDACT_REMOVE + 1)

/* What becomes of what a rule has found. */
struct redact_act {
	uint16_t		 name;		/* in names[] */
	uint8_t			 action;
};

struct redact_key {
	char			*text;
	size_t			 len;
	struct redact_act	 act;
};

struct redact_seg {
	char			*text;
	size_t			 len;
};

struct redact_path {
	struct redact_seg	*segs;
	size_t			 n;
	struct redact_act	 act;
};

struct redact_regex {
	pcre2_code		*code;
	uint32_t		 min_len;
	struct redact_act	 act;
};

struct redact {
	char			(*names)[REDACT_NAME_MAX + 1];
	size_t			 names_n;
	struct redact_key	*keys;		/* exact */
	size_t			 keys_n;
	/* Which first letters (& 31) have the keys of each length? */
	uint32_t		 key_first[REDACT_NAME_MAX + 1];
	struct redact_key	*globs;
	size_t			 globs_n;
	struct redact_path	*paths;
	size_t			 paths_n;
	uint32_t		 kinds;		/* bits of enum redact_kind */
	struct redact_act	 kind_act[REDACT_KINDS];
	struct redact_regex	*regexes;
	size_t			 regexes_n;
	size_t			 max_string;
	bool			 hashes;
	uint8_t			*hash_key;
	size_t			 hash_key_len;
};

/* What a pattern has found in a text. */
struct redact_span {
	size_t			 from, to;
	struct redact_act	 act;
	uint32_t		 order;		/* of the rule */
};

/* Paths of which a value's own path is a beginning, a bit for each. */
struct redact_live {
	uint64_t		 w[REDACT_PATH_WORDS];
};

/* The memory of one level of strings in strings. */
struct redact_level {
	struct buf		 plain;		/* a string without escapes */
	struct buf		 edited;	/* a text, JSON in it redacted */
	struct buf		 text;		/* and its matches gone */
};

struct redact_run {
	const struct redact	*set;
	struct redact_count	*counts;
	struct redact_level	 level[REDACT_LEVELS + 2];
	struct redact_span	*spans;
	size_t			 spans_n, spans_cap;
	bool			 overflow;	/* there were more */
	struct buf		 cut;
	int			 depth;		/* of containers, now */
	int			 error;		/* sticky, of this event */
	pcre2_match_data	*match;
	pcre2_match_context	*context;
	pcre2_jit_stack		*stack;
	int64_t			(*cpu_us)(void);
	int64_t			 cpu_begin;	/* -1: not looked at yet */
	uint64_t		 steps;		/* since the last look */
	bool			 spent;		/* no time is left */
};

/* --- redact.c --- */

/* May a rule's name have this letter? */
bool	redact_name_letter(char);

/* --- redact_name.c: keys and paths --- */

/* Does the glob match, letters of ASCII in either case? */
bool	redact_glob(const char *glob, size_t glob_len, const uint8_t *,
	    size_t);
/* Cut a path in parts. 0 or -EINVAL. */
int	redact_path_parse(const char *, struct redact_path *, struct why *);
void	redact_path_free(struct redact_path *);
/* The rule of this key, or NULL. */
const struct redact_act *redact_key_rule(const struct redact *,
	    const uint8_t *key, size_t len);
/* The paths that live at the root. */
void	redact_live_root(const struct redact *, enum redact_root,
	    struct redact_live *);
/*
 * Of the paths that live at the depth (the root's is 0), those that live at
 * the child of this name. Returns the first that ends there, or NULL.
 */
const struct redact_act *redact_live_child(const struct redact *,
	    const struct redact_live *, int depth, const uint8_t *name,
	    size_t len, struct redact_live *ret);
/*
 * The rule of a key somewhere below the depth, nobody knows where: one of
 * keys, or the first path that lives there and ends with it; or NULL.
 */
const struct redact_act *redact_stray_rule(const struct redact *,
	    const struct redact_live *, int depth, const uint8_t *key,
	    size_t len);

/* --- redact_find.c: built-in patterns --- */

/* Append what these kinds (bits) find in the text to run->spans. */
void	redact_find(struct redact_run *, uint32_t kinds, const uint8_t *,
	    size_t);
/* The groups of built-in names: the bits, or 0. */
uint32_t redact_kinds_of(const char *name);
const char *redact_kind_name(enum redact_kind);
/* A card number of 13 to 19 digits, by its first digits and Luhn's sum? */
bool	redact_is_card(const uint8_t *digits, size_t n);

/* --- redact_pairs.c: password='x' --- */

/* Append the values of pairs in the text to run->spans. */
void	redact_pairs(struct redact_run *, const uint8_t *, size_t,
	    const struct redact_live *, int depth);

/* --- redact_match.c: all patterns on one text --- */

void	redact_push(struct redact_run *, size_t from, size_t to,
	    struct redact_act, uint32_t order);
/*
 * Find all matches in the text; run->spans is then sorted and without
 * overlaps. Where a limit was met, one span has all of the text. live, depth:
 * where the text stands, for pairs in it; NULL: look for none.
 */
void	redact_match(struct redact_run *, const uint8_t *, size_t,
	    const struct redact_live *, int depth);

/* --- redact_text.c: what takes its place --- */

/* Write what stands for these bytes; at most REDACT_TOKEN_MAX. */
void	redact_put_token(struct redact_run *, struct redact_act, struct buf *,
	    const uint8_t *, size_t);
/* The length of such a token, of whatever rule, that begins here; or 0. */
size_t	redact_token_at(const uint8_t *, size_t);
/*
 * Is this text what redact_put_token() writes for this rule? Then it stays: to
 * redact what is redacted changes nothing, and a hash is not hashed again.
 */
bool	redact_is_token(const struct redact_run *, struct redact_act,
	    const uint8_t *, size_t);

enum redact_result {
	REDACT_SAME,
	REDACT_CHANGED,		/* *ret is the new text, the run's */
	REDACT_GONE,		/* the value is to be removed */
};

/*
 * Redact the decoded text of a string. level: of strings in strings, 1 for
 * those of the event itself. live, depth: of the place where it stands.
 */
enum redact_result redact_text(struct redact_run *, int level,
	    const uint8_t *, size_t, const struct redact_live *, int depth,
	    const struct buf **ret);

/* --- redact_scan.c: the words of JSON, in s[0..n), from `at` on --- */

struct redact_quoted {
	const uint8_t	*p;		/* its text */
	size_t		 n;
	size_t		 end;		/* in s, behind its quote */
	bool		 escaped;	/* in s it has escapes */
};

bool	redact_scan_is_quote(uint8_t);
/* The first that is no blank. */
size_t	redact_scan_blank(const uint8_t *s, size_t n, size_t at);
/*
 * Read the string whose quote is at `at`. One that has no end ends with the
 * text. Its text is in place, or, where it has escapes, all of `plain`, whose
 * error is to be looked at then.
 */
struct redact_quoted redact_scan_quoted(const uint8_t *s, size_t n, size_t at,
	    struct buf *plain);
/* The text of p[0..n) without its escapes, at the end of the buffer. */
void	redact_scan_unescape(struct buf *, const uint8_t *p, size_t n);
/* The end of a bare word or number. */
size_t	redact_scan_bare(const uint8_t *s, size_t n, size_t at);
/* The end of the string whose quote is at `at`. */
size_t	redact_scan_skip_string(const uint8_t *s, size_t n, size_t at);
/*
 * The end of any value, however deep; for a rule that takes it whole. What
 * has no end, or is nothing that JSON knows, ends before the next comma or
 * bracket that is not its own, or with the text.
 */
size_t	redact_scan_skip(const uint8_t *s, size_t n, size_t at);

/* --- redact_walk.c: JSON --- */

/*
 * Redact the JSON in a text: all of it (is_event), or what of the text looks
 * like JSON. Returns CHANGED with the new text in `out`.
 */
enum redact_result redact_walk(struct redact_run *, int level,
	    const uint8_t *, size_t, const struct redact_live *, int depth,
	    bool is_event, struct buf *out);

#endif
