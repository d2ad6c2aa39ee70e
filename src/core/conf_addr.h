/* conf_addr: addresses and URLs in the configuration. Resolves no names. */
#ifndef LUMNID_CORE_CONF_ADDR_H
#define LUMNID_CORE_CONF_ADDR_H

#include <stdbool.h>
#include <sys/socket.h>

#include "base/cdefs.h"
#include "base/why.h"

/*
 * "127.0.0.1:8842", "[::1]:8842" or "localhost:8842" (which is 127.0.0.1).
 * Port 0 lets the kernel choose. Returns 0 or -EINVAL.
 */
int	conf_addr_parse(const char *, struct sockaddr_storage *ret,
	    socklen_t *ret_len, struct why *) MUSTUSE;
/* Can only this host reach it? */
bool	conf_addr_is_loopback(const struct sockaddr_storage *);

/*
 * http(s)://host[:port][/base], or http+unix:///path/of/a/socket (its letters
 * may be escaped as %20), nothing else. Returns 0 or -EINVAL.
 */
int	conf_addr_check_url(const char *, struct why *) MUSTUSE;
/*
 * Is this URL, which conf_addr_check_url() found good, of a Unix socket? dst:
 * n bytes for its path, or NULL with 0.
 */
bool	conf_addr_url_socket(const char *, char *dst, size_t n);
/* "none", or http, https, socks5 or socks5h://[user:password@]host[:port]. */
int	conf_addr_check_proxy(const char *, struct why *) MUSTUSE;

#endif
