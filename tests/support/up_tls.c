/* up_tls: see the header. Without HAVE_SSL it can only refuse. */
#include <stdio.h>
#include <stdlib.h>

#include "support/up_tls.h"

#ifdef HAVE_SSL
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

struct up_tls {
	SSL_CTX	*ctx;
};

struct up_tls *
up_tls_new(const char *cert, const char *key, const char *client_ca)
{
	struct up_tls *t = calloc(1, sizeof *t);

	if (t == NULL)
		abort();
	t->ctx = SSL_CTX_new(TLS_server_method());
	if (SSL_CTX_use_certificate_chain_file(t->ctx, cert) != 1 ||
	    SSL_CTX_use_PrivateKey_file(t->ctx, key, SSL_FILETYPE_PEM) != 1 ||
	    (client_ca != NULL &&
	    SSL_CTX_load_verify_locations(t->ctx, client_ca, NULL) != 1)) {
		ERR_print_errors_fp(stderr);
		up_tls_free(t);
		return NULL;
	}
	if (client_ca != NULL)
		SSL_CTX_set_verify(t->ctx, SSL_VERIFY_PEER |
		    SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	return t;
}

void
up_tls_free(struct up_tls *t)
{
	if (t == NULL)
		return;
	SSL_CTX_free(t->ctx);
	free(t);
}

struct bufferevent *
up_tls_accept(struct up_tls *t, struct event_base *base)
{
	return bufferevent_openssl_socket_new(base, -1, SSL_new(t->ctx),
	    BUFFEREVENT_SSL_ACCEPTING, BEV_OPT_CLOSE_ON_FREE);
}

#else

struct up_tls *
up_tls_new(const char *cert, const char *key, const char *client_ca)
{
	(void)cert;
	(void)key;
	(void)client_ca;
	(void)fprintf(stderr, "upstream: built without TLS\n");
	return NULL;
}

void
up_tls_free(struct up_tls *t)
{
	(void)t;
}

struct bufferevent *
up_tls_accept(struct up_tls *t, struct event_base *base)
{
	(void)t;
	(void)base;
	return NULL;
}

#endif
