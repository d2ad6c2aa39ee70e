/* reply: the answers on the local stream socket, msgpack maps. */
#ifndef LUMNID_CODEC_REPLY_H
#define LUMNID_CODEC_REPLY_H

#include "base/buf.h"
#include "codec/event.h"

/* {"ack": id} */
void	reply_put_ack(struct buf *, const struct event_ack *);
/*
 * {"error": text, "code": name} and, where the message had one, "ack": id.
 * text is made valid UTF-8.
 */
void	reply_put_error(struct buf *, enum event_code, const char *text,
	    const struct event_ack *);

/* The forward protocol's refusal of a login. */
void	reply_put_pong(struct buf *, const char *text);

#endif
