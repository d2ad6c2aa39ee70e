/* reply: the answers on the local stream socket, packed by msgpack-c. */
#include "codec/reply.h"

#include <msgpack.h>
#include <string.h>

#include "base/utf8.h"

#define REPLY_TEXT_MAX	512	/* bytes */

/* msgpack-c's writer; a failure of the buffer sticks, its owner sees it. */
static int
reply_write(void *arg, const char *data, size_t len)
{
	buf_put(arg, data, len);
	return 0;
}

/* The packing never fails: reply_write() does not. */
static void
reply_put_text(msgpack_packer *pk, const char *s, size_t n)
{
	(void)msgpack_pack_str(pk, n);
	(void)msgpack_pack_str_body(pk, s, n);
}

static void
reply_put_word(msgpack_packer *pk, const char *s)
{
	reply_put_text(pk, s, strlen(s));
}

void
reply_put_ack(struct buf *b, const struct event_ack *ack)
{
	msgpack_packer pk;

	msgpack_packer_init(&pk, b, reply_write);
	(void)msgpack_pack_map(&pk, 1);
	reply_put_word(&pk, "ack");
	buf_put(b, ack->raw, ack->len);
}

/* Copy as valid UTF-8, cut between characters. Returns the length. */
static size_t
reply_clean(char dst[REPLY_TEXT_MAX], const char *s)
{
	size_t left = strlen(s), n = 0;
	uint32_t cp;

	while (left > 0) {
		int k = utf8_next((const uint8_t *)s, left, &cp);
		size_t step = (size_t)(k < 0 ? -k : k);
		size_t put = k < 0 ? 3 : step;
		if (n + put > REPLY_TEXT_MAX)
			break;
		memcpy(dst + n, k < 0 ? "\xef\xbf\xbd" : s, put);
		n += put;
		s += step;
		left -= step;
	}
	return n;
}

void
reply_put_error(struct buf *b, enum event_code code, const char *text,
    const struct event_ack *ack)
{
	char clean[REPLY_TEXT_MAX];
	msgpack_packer pk;
	bool has_ack = ack != NULL && ack->len > 0;

	msgpack_packer_init(&pk, b, reply_write);
	(void)msgpack_pack_map(&pk, has_ack ? 3 : 2);
	reply_put_word(&pk, "error");
	reply_put_text(&pk, clean, reply_clean(clean, text));
	reply_put_word(&pk, "code");
	reply_put_word(&pk, event_code_name(code));
	if (has_ack) {
		reply_put_word(&pk, "ack");
		buf_put(b, ack->raw, ack->len);
	}
}

void
reply_put_pong(struct buf *b, const char *text)
{
	msgpack_packer pk;

	msgpack_packer_init(&pk, b, reply_write);
	(void)msgpack_pack_array(&pk, 5);
	reply_put_word(&pk, "PONG");
	(void)msgpack_pack_false(&pk);
	reply_put_word(&pk, text);
	reply_put_word(&pk, "");	/* our host */
	reply_put_word(&pk, "");	/* our digest */
}
