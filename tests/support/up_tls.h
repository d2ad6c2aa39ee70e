/* up_tls: TLS for the test upstream, where libevent's OpenSSL part is there. */
#ifndef LUMNID_TESTS_UP_TLS_H
#define LUMNID_TESTS_UP_TLS_H

struct bufferevent;
struct event_base;
struct up_tls;

/*
 * Files in PEM. client_ca: NULL, or whose certificates clients must show.
 * NULL on failure, which is told on stderr.
 */
struct up_tls	*up_tls_new(const char *cert, const char *key,
		    const char *client_ca);
void		 up_tls_free(struct up_tls *);
/* A connection that is to be accepted. */
struct bufferevent *up_tls_accept(struct up_tls *, struct event_base *);

#endif
