/*
 * transport: what the sender asks of the network. loop/out_http.c implements
 * it; unit tests fake it.
 */
#ifndef LUMNID_CORE_TRANSPORT_H
#define LUMNID_CORE_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cdefs.h"
#include "base/why.h"

struct spool_batch;

enum transport_route {
	TRANSPORT_EVENTS,	/* /v1/ingest/events */
	TRANSPORT_CHANGES,	/* /v1/ingest/changes */
	TRANSPORT_POLICIES,	/* /v1/ingest/policies */
};

struct transport_request {
	uint64_t		 tag;	/* the sender's, names the request */
	enum transport_route	 route;
	const char		*id;	/* idempotency key, without quotes */
	bool			 compressed;	/* content-encoding: zstd */
	uint32_t		 part;	/* 0: no Lumni-Run-Part header */
	const char		*reason; /* NULL: no Lumni-Run-Reason header */
	/* The batch that it is, or is a piece of; valid during send(). */
	const struct spool_batch *batch;
	uint32_t		 events;	/* in the body */
	size_t			 raw_len;	/* of its JSON, bytes */
	/*
	 * The body: in memory when body is not NULL (the transport copies it
	 * or is done with it when send returns), else read piece by piece
	 * with read(arg, off, dst, n), 0 or -errno, any piece any number of
	 * times until the answer is given.
	 */
	const uint8_t		*body;
	size_t			 body_len;
	int			(*read)(void *arg, uint64_t tag, size_t off,
				    void *dst, size_t n);
	void			*arg;
};

enum transport_result {
	TRANSPORT_ANSWERED,	/* status is set */
	TRANSPORT_NO_ANSWER,	/* reset, time-out, refused, no route, ... */
	TRANSPORT_DNS,		/* the name does not resolve */
	TRANSPORT_TLS,		/* handshake failed */
	TRANSPORT_TLS_VERIFY,	/* certificate: expired, wrong name, no CA */
	TRANSPORT_TLS_FILE,	/* ca_file, cert_file, key_file; detail */
	TRANSPORT_PROXY,	/* the proxy refused or failed */
	TRANSPORT_STALE,	/* a reused idle connection was closed */
	TRANSPORT_NO_KEY,	/* no API key, or its file is refused; detail */
	TRANSPORT_LOCAL,	/* body unreadable, no memory, bad option */
	TRANSPORT_CANCELLED,
};

struct transport_answer {
	enum transport_result	 result;
	/* HTTP, 100..599; TRANSPORT_PROXY: the proxy's, or 0 */
	int			 status;
	char			 retry_after[64];	/* raw, "" when absent */
	char			 detail[256];	/* for a person */
	const char		*body;		/* at most 256 KiB, may be cut */
	size_t			 body_len;
	int64_t			 elapsed_ms;
};

struct transport {
	/*
	 * Start a request. Returns 0, after which exactly one answer comes,
	 * never from within send(); or -errno, and no answer comes.
	 */
	int	(*send)(struct transport *, const struct transport_request *,
		    struct why *);
	/* Its answer comes soon, as TRANSPORT_CANCELLED. */
	void	(*cancel)(struct transport *, uint64_t tag);
	/* Read key file and TLS material anew; 0 or -errno. */
	int	(*reload)(struct transport *, struct why *);
	/*
	 * A number that changes when the API key's file, or one of TLS,
	 * changes (from its times and inode); asked every 2 s while the
	 * upstream refuses us.
	 * May be NULL.
	 */
	uint64_t (*key_stamp)(struct transport *);
};

#endif
