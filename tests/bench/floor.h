/*
 * floor: what lumnid's work costs where nobody cares for anything: the
 * yardstick of the bench. One process, one thread. It reads the socket,
 * unpacks with msgpack-c, writes JSON, compresses each run with zstd, appends
 * the raw bytes to one file and the compressed ones to another, and posts each
 * run with libcurl. No limit, no check, no answer, no sync, no retry; runs and
 * what waits for a connection lie in memory.
 *
 * It links none of lumnid's code.
 */
#ifndef LUMNID_BENCH_FLOOR_H
#define LUMNID_BENCH_FLOOR_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <msgpack.h>

struct text {
	char	*p;
	size_t	 len, cap;
};

/* Room for n more bytes. */
static inline char *
text_room(struct text *t, size_t n)
{
	if (t->cap - t->len < n) {
		t->cap = (t->len + n) * 2;
		t->p = realloc(t->p, t->cap);
		if (t->p == NULL)
			abort();
	}
	return t->p + t->len;
}

/* floor_json.c */
/* One flat event; its runId is left out, and *ret_end says if it is the last.
 * at: the time of receipt. */
void	floor_json(struct text *, const msgpack_object *event, const char *at,
	    const msgpack_object **ret_runid, int *ret_end);

/* floor_post.c */
struct floor_post;

/* Waits with epoll on `ep`, where its descriptors have FLOOR_POST set. */
#define FLOOR_POST	((uint64_t)1 << 32)
struct floor_post *floor_post_new(int ep, const char *url, const char *key,
	    size_t connections);
/* Post a body, which is freed once it is answered. */
void	floor_post_run(struct floor_post *, char *body, size_t len);
/* How long epoll may wait, in ms; -1 for ever. */
int	floor_post_wait(struct floor_post *);
/* How many were answered. */
uint64_t floor_post_done(const struct floor_post *);
void	floor_post_ready(struct floor_post *, int fd, uint32_t events);
/* What is due by time, and the end of a turn. */
void	floor_post_turn(struct floor_post *);
void	floor_post_free(struct floor_post *);

#endif
