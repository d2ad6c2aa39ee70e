/*
 * redact_find: the built-in patterns, by hand: one pass over the text stops at
 * the rare letters that one of them must have (the '@' of an address, the '-'
 * of "sk-"), looks around there, and goes on behind what it found. So they
 * need no JIT and know no input that is slow. Where a shape can be told from
 * other text only by a guess, the guess is that it is a secret.
 */
#include "codec/redact_int.h"

#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define KIND(k)		(1u << REDACT_ ## k)
#define KINDS_KEYS							\
	(KIND(PRIVATE_KEY) | KIND(JWT) | KIND(ANTHROPIC) | KIND(STRIPE) | \
	    KIND(OPENAI) | KIND(AWS) | KIND(GITHUB) | KIND(SLACK) | \
	    KIND(GOOGLE) | KIND(BEARER) | KIND(URL_PASSWORD))

/* The names, kinds first and in their order; then the groups. */
static const struct {
	const char	*name;
	uint32_t	 kinds;
	const char	*help;
} redact_builtins[] = {
	{ "private_key", KIND(PRIVATE_KEY), "PEM and OpenSSH private keys" },
	{ "jwt", KIND(JWT), "JSON Web Tokens" },
	{ "anthropic_key", KIND(ANTHROPIC), "sk-ant-..." },
	{ "stripe_key", KIND(STRIPE), "sk_live_..., rk_test_..." },
	{ "openai_key", KIND(OPENAI), "sk-..." },
	{ "aws_key", KIND(AWS), "AKIA... and what follows "
	    "secret_access_key" },
	{ "github_token", KIND(GITHUB), "ghp_..., github_pat_..." },
	{ "slack_token", KIND(SLACK), "xoxb-..., xapp-..., web hooks" },
	{ "google_key", KIND(GOOGLE), "AIza..., ya29...., GOCSPX-..." },
	{ "bearer", KIND(BEARER), "the token after the word Bearer" },
	{ "url_password", KIND(URL_PASSWORD), "scheme://user:PASSWORD@host" },
	{ "email", KIND(EMAIL), "addresses" },
	{ "card", KIND(CARD), "payment cards of 13 to 19 digits that pass "
	    "Luhn's check, also in groups" },
	{ "api_keys", KINDS_KEYS, "all of the above but email and card" },
	{ "all", KINDS_KEYS | KIND(EMAIL) | KIND(CARD), "all of the above" },
};
_Static_assert(NELEM(redact_builtins) == REDACT_KINDS + 2, "names of kinds");

uint32_t
redact_kinds_of(const char *name)
{
	for (size_t i = 0; i < NELEM(redact_builtins); i++) {
		if (strcmp(redact_builtins[i].name, name) == 0)
			return redact_builtins[i].kinds;
	}
	return 0;
}

const char *
redact_kind_name(enum redact_kind kind)
{
	return redact_builtins[kind].name;
}

const char *
redact_builtin_name(size_t i)
{
	return i < NELEM(redact_builtins) ? redact_builtins[i].name : NULL;
}

const char *
redact_builtin_help(size_t i)
{
	return i < NELEM(redact_builtins) ? redact_builtins[i].help : NULL;
}

bool
redact_builtin_exists(const char *name)
{
	return redact_kinds_of(name) != 0;
}

/* --- letters --------------------------------------------------------------- */

enum {
	L_DIGIT = 1,
	L_UPPER = 2,
	L_LOWER = 4,
	L_ALNUM = L_DIGIT | L_UPPER | L_LOWER,
	L_DASH = 8,		/* - */
	L_UNDER = 16,		/* _ */
	L_URL64 = L_ALNUM | L_DASH | L_UNDER,
	L_SLASH = 32,		/* / */
	L_PLUS = 64,		/* + = */
	L_DOT = 128,		/* . ~ */
};

#define R4(c, v)	[c] = v, [(c) + 1] = v, [(c) + 2] = v, [(c) + 3] = v
#define R8(c, v)	R4(c, v), R4((c) + 4, v)
#define LETTERS(c, v)	R8(c, v), R8((c) + 8, v), R8((c) + 16, v),	\
	[(c) + 24] = v, [(c) + 25] = v

static const uint8_t redact_letters[256] = {
	R8('0', L_DIGIT), ['8'] = L_DIGIT, ['9'] = L_DIGIT,
	LETTERS('A', L_UPPER), LETTERS('a', L_LOWER),
	['-'] = L_DASH, ['_'] = L_UNDER, ['/'] = L_SLASH,
	['+'] = L_PLUS, ['='] = L_PLUS, ['.'] = L_DOT, ['~'] = L_DOT,
};

/* A text, and a place in it that was stopped at. */
struct find {
	struct redact_run	*run;
	uint32_t		 kinds;
	const uint8_t		*s;
	size_t			 n;
	size_t			 no_jwt;	/* none begins before it */
};

static inline bool
find_is(const struct find *f, size_t at, unsigned classes)
{
	return at < f->n && (redact_letters[f->s[at]] & classes) != 0;
}

/* The end of the letters of these classes from here. */
static size_t
find_end(const struct find *f, size_t at, unsigned classes)
{
	while (find_is(f, at, classes))
		at++;
	return at;
}

/* Does this text stand here? */
static bool
find_has(const struct find *f, size_t at, const char *text)
{
	size_t n = strlen(text);

	return at <= f->n && n <= f->n - at && memcmp(f->s + at, text, n) == 0;
}

/* The same for a text that ends here, at the beginning of a word. */
static bool
find_ends(const struct find *f, size_t at, const char *text)
{
	size_t n = strlen(text);

	return at >= n && memcmp(f->s + at - n, text, n) == 0 &&
	    (at == n || !find_is(f, at - n - 1, L_ALNUM));
}

static bool
find_has_nocase(const struct find *f, size_t at, const char *lower)
{
	for (; *lower != '\0'; lower++, at++) {
		if (at >= f->n || (f->s[at] | 0x20) != *lower)
			return false;
	}
	return true;
}

/*
 * A token that begins at `from`, of whose letters `least` must follow `at`.
 * Returns its end, or 0.
 */
static size_t
find_token(const struct find *f, enum redact_kind kind, size_t from,
    size_t at, unsigned classes, size_t least)
{
	/* First of all: nobody steps over what is found and not wanted. */
	if ((f->kinds & 1u << kind) == 0)
		return 0;
	size_t end = find_end(f, at, classes);
	if (end - at < least)
		return 0;
	redact_push(f->run, from, end, f->run->set->kind_act[kind], kind);
	return end;
}

/* --- at '-' ---------------------------------------------------------------- */

/* From "-----BEGIN x PRIVATE KEY-----" to the end of its END, or of all. */
static size_t
find_pem(const struct find *f, size_t at)
{
	static const char begin[] = "-----BEGIN", end[] = "-----END";
	size_t label = at + sizeof begin - 1, to = f->n;

	if ((f->kinds & KIND(PRIVATE_KEY)) == 0 || !find_has(f, at, begin))
		return 0;
	size_t stop = label;
	while (stop < f->n && stop - label < 64 && f->s[stop] != '-')
		stop++;
	if (memmem(f->s + label, stop - label, "PRIVATE", 7) == NULL)
		return 0;
	const uint8_t *p = memmem(f->s + stop, f->n - stop, end,
	    sizeof end - 1);
	if (p != NULL) {
		to = (size_t)(p - f->s) + sizeof end - 1;
		while (to < f->n && f->s[to] != '-' && f->s[to] != '\n')
			to++;
		while (to < f->n && f->s[to] == '-')
			to++;
	}
	redact_push(f->run, at, to, f->run->set->kind_act[REDACT_PRIVATE_KEY],
	    REDACT_PRIVATE_KEY);
	return to;
}

static size_t
find_at_dash(const struct find *f, size_t at)
{
	size_t end = 0;

	if (find_ends(f, at, "sk")) {
		if (find_has(f, at + 1, "ant-"))
			end = find_token(f, REDACT_ANTHROPIC, at - 2, at + 5,
			    L_URL64, 10);
		return end != 0 ? end : find_token(f, REDACT_OPENAI, at - 2,
		    at + 1, L_URL64, 20);
	}
	if (at >= 4 && (find_ends(f, at - 1, "xox") || find_ends(f, at,
	    "xapp")))
		return find_token(f, REDACT_SLACK, at - 4, at + 1,
		    L_ALNUM | L_DASH, 10);
	if (find_ends(f, at, "GOCSPX"))
		return find_token(f, REDACT_GOOGLE, at - 6, at + 1, L_URL64,
		    20);
	return find_pem(f, at);
}

/* --- at '_' ---------------------------------------------------------------- */

static size_t
find_at_under(const struct find *f, size_t at)
{
	size_t end = 0;

	if (at >= 3 && find_ends(f, at - 1, "gh") &&
	    strchr("pousr", f->s[at - 1]) != NULL)
		return find_token(f, REDACT_GITHUB, at - 3, at + 1,
		    L_ALNUM | L_UNDER, 20);
	if (find_ends(f, at, "github") && find_has(f, at + 1, "pat_"))
		return find_token(f, REDACT_GITHUB, at - 6, at + 5,
		    L_ALNUM | L_UNDER, 20);
	if ((find_ends(f, at, "sk") || find_ends(f, at, "rk")) &&
	    (find_has(f, at + 1, "live_") || find_has(f, at + 1, "test_")))
		end = find_token(f, REDACT_STRIPE, at - 2, at + 6,
		    L_ALNUM | L_UNDER, 10);
	return end;
}

/* --- at letters ------------------------------------------------------------ */

static size_t
find_at_A(const struct find *f, size_t at)
{
	static const char ids[] =
	    "AKIA ASIA ABIA ACCA AGPA AIDA AIPA ANPA ANVA APKA AROA A3TX";

	if (at > 0 && find_is(f, at - 1, L_ALNUM))
		return 0;
	if (find_has(f, at, "AIza"))
		return find_token(f, REDACT_GOOGLE, at, at + 4, L_URL64, 30);
	if (f->n - at < 20)
		return 0;
	for (const char *id = ids; *id != '\0'; id += 4 + (id[4] == ' ')) {
		size_t n = id[3] == 'X' ? 3 : 4;
		if (memcmp(f->s + at, id, n) == 0)
			return find_token(f, REDACT_AWS, at, at,
			    L_UPPER | L_DIGIT, 20);
	}
	return 0;
}

/*
 * eyJ, "{" and a quote in base64: two or more parts follow after dots. Where
 * none do, another eyJ in the same part has no more: it is not looked at, or
 * "-eyJ-eyJ-eyJ..." would be read to its end from each of them.
 */
static size_t
find_at_J(struct find *f, size_t at)
{
	size_t end, dots = 0;

	if ((f->kinds & KIND(JWT)) == 0 || at < f->no_jwt ||
	    !find_ends(f, at, "ey"))
		return 0;
	end = find_end(f, at, L_URL64);
	f->no_jwt = end;
	if (end - at < 8)
		return 0;
	while (dots < 4 && end < f->n && f->s[end] == '.') {
		size_t part = find_end(f, end + 1, L_URL64);
		/* Of a signed one only the last may be empty. */
		if (dots == 0 && part - end < 5)
			break;
		end = part;
		dots++;
	}
	if (dots < 2)
		return 0;
	redact_push(f->run, at - 2, end, f->run->set->kind_act[REDACT_JWT],
	    REDACT_JWT);
	return end;
}

static size_t
find_at_2(const struct find *f, size_t at)
{
	if (!find_ends(f, at, "ya") || !find_has(f, at + 1, "9."))
		return 0;
	return find_token(f, REDACT_GOOGLE, at - 2, at + 3,
	    L_URL64 | L_DOT, 20);
}

/*
 * "Bearer" and a token (RFC 6750 2.1). A short word of small letters alone is
 * taken for prose: "bearer certificates".
 */
static size_t
find_at_b(const struct find *f, size_t at)
{
	const unsigned token = L_URL64 | L_SLASH | L_PLUS | L_DOT;
	size_t from = at + 6;

	if ((f->kinds & KIND(BEARER)) == 0 ||
	    !find_has_nocase(f, at, "bearer") ||
	    (at > 0 && find_is(f, at - 1, L_ALNUM)))
		return 0;
	for (size_t i = 0; i < 8 && from < f->n; i++) {
		if (strchr(" \t\r\n:=\"'", f->s[from]) == NULL ||
		    f->s[from] == '\0')
			break;
		from++;
	}
	while (find_has(f, from, "%20"))
		from += 3;
	size_t end = find_end(f, from, token);
	if (from == at + 6 || end - from < 8)
		return 0;
	bool word = end - from < 20;
	for (size_t i = from; i < end && word; i++)
		word = find_is(f, i, L_LOWER) ||
		    (i + 1 == end && f->s[i] == '.');
	if (word)
		return 0;
	redact_push(f->run, from, end, f->run->set->kind_act[REDACT_BEARER],
	    REDACT_BEARER);
	return end;
}

/* The secret after AWS' "secret_access_key", however it is written. */
static size_t
find_at_k(const struct find *f, size_t at)
{
	size_t i = at, from = at + 3;

	if ((f->kinds & KIND(AWS)) == 0 || at < 12 ||
	    !find_has_nocase(f, at, "key"))
		return 0;
	i -= strchr("_- ", f->s[i - 1]) != NULL;
	if (!find_has_nocase(f, i - 6, "access"))
		return 0;
	i -= 6;
	i -= strchr("_- ", f->s[i - 1]) != NULL;
	if (i < 6 || !find_has_nocase(f, i - 6, "secret"))
		return 0;
	for (i = 0; i < 8 && from < f->n; i++, from++) {
		if (strchr(" \t\r\n:=\"'`\\>", f->s[from]) == NULL ||
		    f->s[from] == '\0')
			break;
	}
	if (i == 0)
		return 0;
	return find_token(f, REDACT_AWS, from, from,
	    L_ALNUM | L_SLASH | L_PLUS, 40);
}

/* --- at '/' ---------------------------------------------------------------- */

/* user:PASSWORD@host after "://" (RFC 3986 3.2.1); `at` is behind it. */
static size_t
find_url_password(const struct find *f, size_t at)
{
	size_t colon = 0, sign = 0;

	for (size_t i = at; i < f->n; i++) {
		uint8_t c = f->s[i];
		if (c <= ' ' || c == '/' || c == '?' || c == '#' || c == '"' ||
		    c == '\'' || c == '<' || c == '>' || c == '\\')
			break;
		if (c == ':' && colon == 0)
			colon = i;
		if (c == '@')
			sign = i;
	}
	if (colon == 0 || sign <= colon + 1)
		return 0;
	redact_push(f->run, colon + 1, sign,
	    f->run->set->kind_act[REDACT_URL_PASSWORD], REDACT_URL_PASSWORD);
	return sign;
}

static size_t
find_at_slash(const struct find *f, size_t at)
{
	if (at > 0 && f->s[at - 1] == ':' && find_has(f, at, "//"))
		return (f->kinds & KIND(URL_PASSWORD)) == 0 ? 0 :
		    find_url_password(f, at + 2);
	if (find_ends(f, at, "hooks.slack.com") &&
	    find_has(f, at + 1, "services/"))
		return find_token(f, REDACT_SLACK, at + 10, at + 10,
		    L_URL64 | L_SLASH, 8);
	return 0;
}

/* --- at '@' ---------------------------------------------------------------- */

/*
 * The letter before `at`, as a part of an address: its length, or 0. Letters
 * of alphabets whose words are parted by blanks are taken, too: to the left of
 * an address in Chinese prose there may be no blank.
 */
static size_t
find_local(const struct find *f, size_t at)
{
	uint8_t c = at > 0 ? f->s[at - 1] : 0;

	if (find_is(f, at - 1, L_URL64) || c == '.' || c == '+' || c == '%')
		return at > 0;
	if (c != 0 && c < 0x80 && strchr("'!#$*~^&", c) != NULL)
		return at > 1 && find_is(f, at - 2, L_ALNUM);
	if (at > 1 && (c & 0xc0) == 0x80 && f->s[at - 2] >= 0xc3 &&
	    f->s[at - 2] < 0xe0)
		return 2;
	return 0;
}

/* One that has none of these, but other letters: all of them. */
static size_t
find_local_wide(const struct find *f, size_t at)
{
	while (at > 0 && f->s[at - 1] >= 0x80)
		at--;
	return at;
}

/* The end of a host name with a dot in it; or `at`. */
static size_t
find_domain(const struct find *f, size_t at)
{
	bool wide = at < f->n && f->s[at] >= 0xe0;
	size_t end = at;

	while (end < f->n) {
		uint8_t c = f->s[end];
		if (find_is(f, end, L_ALNUM | L_DASH) || c == '.')
			end++;
		else if (c >= 0xc3 && c < 0xe0 && end + 1 < f->n)
			end += 2;
		else if (c >= 0x80 && wide)
			end++;
		else
			break;
	}
	/* The last label has a letter and is no single one. */
	for (;;) {
		size_t dot = end;
		bool letter = false;
		while (dot > at && f->s[dot - 1] != '.') {
			dot--;
			letter |= find_is(f, dot, L_UPPER | L_LOWER) ||
			    f->s[dot] >= 0x80;
		}
		if (dot <= at + 1)
			return at;
		if (letter && end - dot >= 2) {
			while (f->s[end - 1] == '-')
				end--;
			return end;
		}
		end = dot - 1;
	}
}

static size_t
find_at_sign(const struct find *f, size_t at)
{
	size_t from = at, n;

	if ((f->kinds & KIND(EMAIL)) == 0)
		return 0;
	while ((n = find_local(f, from)) > 0)
		from -= n;
	if (from == at)
		from = find_local_wide(f, at);
	if (from == at && at > 1 && f->s[at - 1] == '"') {
		/* "a b"@example.org (RFC 5321 4.1.2) */
		size_t low = at > 68 ? at - 68 : 0;
		for (size_t i = at - 1; i-- > low;) {
			if (f->s[i] == '"') {
				from = i;
				break;
			}
		}
	}
	if (from == at)
		return 0;
	size_t end = find_domain(f, at + 1);
	if (end <= at + 1)
		return 0;
	redact_push(f->run, from, end, f->run->set->kind_act[REDACT_EMAIL],
	    REDACT_EMAIL);
	return end;
}

/* --- at digits ------------------------------------------------------------- */

bool
redact_is_card(const uint8_t *d, size_t n)
{
	unsigned two, sum = 0;

	if (n < 13 || n > 19)
		return false;
	two = (unsigned)(d[0] - '0') * 10 + (unsigned)(d[1] - '0');
	switch (d[0]) {
	case '2':	/* Mastercard 2221 to 2720 */
		if (n != 16 || two < 22 || two > 27)
			return false;
		break;
	case '3':	/* American Express, Diners, JCB */
		if (n < 14 || (two != 30 && two < 34))
			return false;
		break;
	case '4':	/* Visa */
		if (n != 13 && n != 16 && n != 19)
			return false;
		break;
	case '5':	/* Mastercard, Maestro */
	case '6':	/* Discover, UnionPay, Maestro */
		break;
	default:
		return false;
	}
	for (size_t i = 0; i < n; i++) {
		unsigned v = (unsigned)(d[n - 1 - i] - '0');
		if (i % 2 == 1)
			v = v < 5 ? v * 2 : v * 2 - 9;
		sum += v;
	}
	return sum % 10 == 0;
}

/* One blank or hyphen of the many that there are: its length, or 0. */
static size_t
find_separator(const struct find *f, size_t at)
{
	const uint8_t *p = f->s + at;

	if (at < f->n && (*p == ' ' || *p == '-'))
		return 1;
	if (f->n - at >= 2 && p[0] == 0xc2 && p[1] == 0xa0)
		return 2;
	if (f->n - at >= 3 && p[0] == 0xe2 && p[1] == 0x80 &&
	    ((p[2] >= 0x80 && p[2] <= 0x95) || p[2] == 0xaf))
		return 3;
	return 0;
}

/*
 * A card's number begins with a group of digits and ends with one; other
 * groups (a date, a check code) may come behind it. All groups but the last
 * have three digits or more, or all have one: most tables of small numbers
 * would hold some "card" else. Returns its end; or the end of the first group,
 * behind which another may begin.
 */
static size_t
find_at_digit(const struct find *f, size_t at)
{
	uint8_t digits[20];
	size_t n = 0, end = 0, first = find_end(f, at, L_DIGIT);
	size_t group = at, shortest = SIZE_MAX, longest = 0;

	if ((f->kinds & KIND(CARD)) == 0 || f->s[at] < '2' || f->s[at] > '6')
		return first;
	for (;;) {
		size_t to = find_end(f, group, L_DIGIT), len = to - group;
		if (len == 0 || len > 19 - n)
			break;
		memcpy(digits + n, f->s + group, len);
		n += len;
		bool even = shortest == SIZE_MAX || shortest >= 3 ||
		    (longest == 1 && len == 1);
		if (!even)
			break;
		if (redact_is_card(digits, n))
			end = to;
		shortest = len < shortest ? len : shortest;
		longest = len > longest ? len : longest;
		group = to + find_separator(f, to);
		if (group == to)
			break;
	}
	if (end == 0)
		return first;
	redact_push(f->run, at, end, f->run->set->kind_act[REDACT_CARD],
	    REDACT_CARD);
	return end;
}

/* --- the pass -------------------------------------------------------------- */

/* Look around a letter; returns from where on to go on, or 0. */
static size_t
find_at(struct find *f, size_t at)
{
	size_t end;

	switch (f->s[at]) {
	case '-':
		return find_at_dash(f, at);
	case '_':
		return find_at_under(f, at);
	case '/':
		return find_at_slash(f, at);
	case '@':
		return find_at_sign(f, at);
	case 'A':
		return find_at_A(f, at);
	case 'J':
		return find_at_J(f, at);
	case 'b':
	case 'B':
		return find_at_b(f, at);
	case 'k':
	case 'K':
		return find_at_k(f, at);
	case '2':
		end = find_at_2(f, at);
		return end != 0 ? end : find_at_digit(f, at);
	case '0': case '1': case '3': case '4': case '5':
	case '6': case '7': case '8': case '9':
		return find_at_digit(f, at);
	default:
		return 0;
	}
}

#ifdef __SSE2__
#define FIND_STEP	16

/* One bit for each of 16 letters: may a pattern be told by it? */
static inline unsigned
find_mask(const uint8_t *p)
{
	__m128i x = _mm_loadu_si128((const __m128i *)(const void *)p);
	__m128i low = _mm_or_si128(x, _mm_set1_epi8(0x20));
	/* '-', '.', '/', '0' to '9' stand side by side. */
	__m128i m = _mm_and_si128(_mm_cmpgt_epi8(x, _mm_set1_epi8(0x2c)),
	    _mm_cmplt_epi8(x, _mm_set1_epi8(0x3a)));

	m = _mm_or_si128(m, _mm_cmpeq_epi8(x, _mm_set1_epi8('_')));
	m = _mm_or_si128(m, _mm_cmpeq_epi8(x, _mm_set1_epi8('@')));
	m = _mm_or_si128(m, _mm_cmpeq_epi8(x, _mm_set1_epi8('A')));
	m = _mm_or_si128(m, _mm_cmpeq_epi8(x, _mm_set1_epi8('J')));
	m = _mm_or_si128(m, _mm_cmpeq_epi8(low, _mm_set1_epi8('b')));
	m = _mm_or_si128(m, _mm_cmpeq_epi8(low, _mm_set1_epi8('k')));
	return (unsigned)_mm_movemask_epi8(m);
}
#else
#define FIND_STEP	1

static inline unsigned
find_mask(const uint8_t *p)
{
	(void)p;
	return 1;	/* find_at() tells */
}
#endif

void
redact_find(struct redact_run *run, uint32_t kinds, const uint8_t *s, size_t n)
{
	struct find f = { run, kinds, s, n, 0 };
	uint8_t last[FIND_STEP] = { 0 };
	size_t next = 0, end;

	for (size_t i = 0; i < n; i += FIND_STEP) {
		const uint8_t *p = s + i;
		if (n - i < FIND_STEP) {
			memcpy(last, p, n - i);
			p = last;
		}
		if (next >= i + FIND_STEP)
			continue;
		for (unsigned m = find_mask(p); m != 0; m &= m - 1) {
			size_t at = i + (size_t)__builtin_ctz(m);
			if (at >= next && (end = find_at(&f, at)) > at)
				next = end;
		}
	}
}
