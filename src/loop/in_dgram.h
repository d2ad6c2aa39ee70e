/*
 * in_dgram: datagrams: UDP and the optional Unix datagram socket. A datagram
 * holds one or more whole messages; there is no way back to its sender, so
 * what is refused is counted, and so is what the kernel dropped or cut.
 */
#ifndef LUMNID_LOOP_IN_DGRAM_H
#define LUMNID_LOOP_IN_DGRAM_H

#include <stdint.h>

#include "base/cdefs.h"
#include "base/why.h"
#include "core/books.h"
#include "core/conf.h"
#include "loop/listen.h"

struct in_dgram;
struct loop;

/*
 * Open what listen.udp and listen.dgram name, unless one of the kind is
 * inherited; neither is fine. The loop's engine must be set.
 */
int	in_dgram_open(struct loop *, const struct conf *,
	    const struct listen_inherited *, struct in_dgram **, struct why *)
	    MUSTUSE;
void	in_dgram_close(struct in_dgram *);

/* The socket of BOOKS_UDP or BOOKS_DGRAM in use; fd -1: none. */
struct listen_unix in_dgram_socket(const struct in_dgram *, enum books_input);
/* Take over another (fd -1: none); what the old one holds is read first. */
void	in_dgram_swap(struct in_dgram *, enum books_input,
	    const struct listen_unix *);

/* A stop begins: read what the sockets hold, for budget_ms at most; close. */
void	in_dgram_drain(struct in_dgram *, int64_t budget_ms);

#endif
