/* redact_text: the text of a string, and what takes the place of its parts. */
#include "codec/redact_int.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

/* "[cut:" 20 digits ":sha256:" 64 letters "]" */
#define REDACT_CUT_MAX	(5 + 20 + 8 + 64 + 1)

_Static_assert(REDACT_STRING_MIN > 2 * REDACT_CUT_MAX, "room for the mark");

static void
redact_put_hex(struct buf *b, const uint8_t *p, size_t n)
{
	static const char hex[] = "0123456789abcdef";

	for (size_t i = 0; i < n; i++) {
		buf_putc(b, hex[p[i] >> 4]);
		buf_putc(b, hex[p[i] & 15]);
	}
}

void
redact_put_token(struct redact_run *run, struct redact_act act, struct buf *b,
    const uint8_t *p, size_t n)
{
	const struct redact *set = run->set;
	uint8_t digest[EVP_MAX_MD_SIZE];
	unsigned len;

	run->counts[act.name].hits++;
	buf_puts(b, "[redacted:");
	buf_puts(b, set->names[act.name]);
	/* Without its key no value is hashed: it is gone either way. */
	if (act.action == REDACT_HASH && set->hash_key != NULL) {
		if (HMAC(EVP_sha256(), set->hash_key, (int)set->hash_key_len,
		    p, n, digest, &len) == NULL)
			fatal("HMAC-SHA-256 is not to be had");
		buf_putc(b, ':');
		redact_put_hex(b, digest, REDACT_HEX / 2);
	}
	buf_putc(b, ']');
}

size_t
redact_token_at(const uint8_t *p, size_t n)
{
	static const char begin[] = "[redacted:";
	size_t at = sizeof begin - 1, name = at, hex;

	if (n < at || memcmp(p, begin, at) != 0)
		return 0;
	while (at < n && redact_name_letter((char)p[at]))
		at++;
	if (at == name || at - name > REDACT_NAME_MAX)
		return 0;
	if (at < n && p[at] == ':') {
		for (hex = ++at; at < n && ((p[at] >= '0' && p[at] <= '9') ||
		    (p[at] >= 'a' && p[at] <= 'f')); at++)
			continue;
		if (at - hex != REDACT_HEX)
			return 0;
	}
	return at < n && p[at] == ']' ? at + 1 : 0;
}

bool
redact_is_token(const struct redact_run *run, struct redact_act act,
    const uint8_t *p, size_t n)
{
	const char *name = run->set->names[act.name];
	size_t at = sizeof "[redacted:" - 1, len = strlen(name);
	uint8_t behind = act.action == REDACT_HASH ? ':' : ']';

	return n > at + len && redact_token_at(p, n) == n &&
	    memcmp(p + at, name, len) == 0 && p[at + len] == behind;
}

/* Is p[at] within a letter of several bytes? */
static bool
redact_in_letter(const uint8_t *p, size_t at, size_t n)
{
	return at < n && (p[at] & 0xc0) == 0x80;
}

/* Head, mark and tail. */
static void
redact_cut(struct redact_run *run, const uint8_t *p, size_t n)
{
	size_t max = run->set->max_string;
	uint8_t digest[EVP_MAX_MD_SIZE];
	unsigned len;

	if (EVP_Digest(p, n, digest, &len, EVP_sha256(), NULL) != 1)
		fatal("SHA-256 is not to be had");
	size_t head = (max - REDACT_CUT_MAX) / 2;
	size_t tail = n - (max - REDACT_CUT_MAX - head);
	while (head > 0 && redact_in_letter(p, head, n))
		head--;
	while (redact_in_letter(p, tail, n))
		tail++;
	buf_reset(&run->cut, SIZE_MAX);
	buf_put(&run->cut, p, head);
	buf_printf(&run->cut, "[cut:%zu:sha256:", n);
	redact_put_hex(&run->cut, digest, 32);
	buf_putc(&run->cut, ']');
	buf_put(&run->cut, p + tail, n - tail);
	if (buf_error(&run->cut) != 0)
		run->error = buf_error(&run->cut);
	run->counts[REDACT_NAME_CUT].hits++;
}

/* Put the text in `out`, with tokens where the spans are. */
static enum redact_result
redact_splice(struct redact_run *run, const uint8_t *s, size_t n,
    struct buf *out)
{
	size_t at = 0;

	for (size_t i = 0; i < run->spans_n; i++) {
		const struct redact_span *sp = &run->spans[i];
		if (sp->act.action == REDACT_REMOVE) {
			run->counts[sp->act.name].hits++;
			return REDACT_GONE;
		}
	}
	buf_reset(out, SIZE_MAX);
	for (size_t i = 0; i < run->spans_n; i++) {
		const struct redact_span *sp = &run->spans[i];
		buf_put(out, s + at, sp->from - at);
		if (sp->act.action == REDACT_CUT)
			run->counts[sp->act.name].hits++;
		else
			redact_put_token(run, sp->act, out, s + sp->from,
			    sp->to - sp->from);
		at = sp->to;
	}
	buf_put(out, s + at, n - at);
	if (buf_error(out) != 0)
		run->error = buf_error(out);
	return REDACT_CHANGED;
}

/* A string too deep in strings: nobody looks into it, so it goes. */
static enum redact_result
redact_too_deep(struct redact_run *run, const uint8_t *s, size_t n,
    struct buf *out)
{
	buf_reset(out, SIZE_MAX);
	redact_put_token(run, (struct redact_act){ REDACT_NAME_DEEP,
	    REDACT_REPLACE }, out, s, n);
	return REDACT_CHANGED;
}

/* May there be JSON in it? */
static bool
redact_may_nest(const uint8_t *s, size_t n)
{
	if (n < 2)
		return false;
	if (memchr(s, '{', n) != NULL || memchr(s, '[', n) != NULL)
		return true;
	size_t i = 0;
	while (i < n && (s[i] == ' ' || s[i] == '\n' || s[i] == '\r' ||
	    s[i] == '\t'))
		i++;
	return i < n && s[i] == '"';
}

enum redact_result
redact_text(struct redact_run *run, int level, const uint8_t *s, size_t n,
    const struct redact_live *live, int depth, const struct buf **ret)
{
	const struct redact *set = run->set;
	struct redact_level *lv = &run->level[level];
	bool rules = set->kinds != 0 || set->keys_n + set->globs_n +
	    set->paths_n + set->regexes_n > 0;
	enum redact_result r = REDACT_SAME;

	if (rules) {
		if (redact_may_nest(s, n)) {
			if (level > REDACT_LEVELS) {
				*ret = &lv->text;
				return redact_too_deep(run, s, n, &lv->text);
			}
			r = redact_walk(run, level, s, n, live, depth, false,
			    &lv->edited);
			if (r == REDACT_GONE)
				return r;
			if (r == REDACT_CHANGED) {
				*ret = &lv->edited;
				s = lv->edited.data;
				n = lv->edited.len;
			}
		}
	}
	if (rules && n > 0) {
		redact_match(run, s, n, live, depth);
		if (run->spans_n > 0) {
			r = redact_splice(run, s, n, &lv->text);
			if (r == REDACT_GONE)
				return r;
			*ret = &lv->text;
			s = lv->text.data;
			n = lv->text.len;
		}
	}
	if (level == 1 && set->max_string != 0 && n > set->max_string) {
		redact_cut(run, s, n);
		*ret = &run->cut;
		r = REDACT_CHANGED;
	}
	return r;
}
