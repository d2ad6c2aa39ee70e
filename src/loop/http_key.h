/*
 * http_key: the API key as the header line that carries it. The key file is
 * looked at when a request is sent, at most once a second, so that a corrected
 * file is noticed without a reload.
 */
#ifndef LUMNID_LOOP_HTTP_KEY_H
#define LUMNID_LOOP_HTTP_KEY_H

#include <stdint.h>

#include "base/cdefs.h"
#include "base/clock.h"
#include "base/secret.h"
#include "base/why.h"
#include "core/conf.h"

struct http_key;

struct http_key	*http_key_new(void);
void		 http_key_free(struct http_key *);
/* Forget what was read, as for another configuration. */
void		 http_key_reset(struct http_key *);
/*
 * Find the key in force. Returns 0, and "authorization: Bearer ..." in
 * *ret_line, which is ours until the next call; or -errno as conf_api_key(),
 * with a sentence in why.
 */
int		 http_key_line(struct http_key *, const struct conf *,
		    struct mono, struct secret **ret_line, struct why *)
		    MUSTUSE;
/* A number that changes when this file does; 0: there is none. */
uint64_t	 http_key_file_stamp(const char *path);
/* As struct transport's key_stamp: of the file as it is now; 0 for none. */
uint64_t	 http_key_stamp(struct http_key *, const struct conf *);

#endif
