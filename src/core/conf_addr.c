/* conf_addr: addresses and URLs, checked letter by letter. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <string.h>
#include <sys/un.h>

#include "core/conf_addr.h"

#define UNIX_SCHEME	"http+unix://"
#define HOST_MAX	255	/* letters of a host's name */

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool
is_alnum(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* A port, to the end of the text: 0..65535 or -1. */
static long
addr_port(const char *s, size_t len)
{
	long port = 0;

	if (len == 0 || len > 5)
		return -1;
	for (size_t i = 0; i < len; i++) {
		if (!is_digit(s[i]))
			return -1;
		port = port * 10 + (s[i] - '0');
	}
	return port <= 65535 ? port : -1;
}

int
conf_addr_parse(const char *text, struct sockaddr_storage *ret,
    socklen_t *ret_len, struct why *why)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
	char host[INET6_ADDRSTRLEN];
	const char *colon = strrchr(text, ':');

	if (colon == NULL || strchr(colon, ']') != NULL)
		return why_set(why, -EINVAL,
		    "has no port; write host:port, as in 127.0.0.1:8842");
	long port = addr_port(colon + 1, strlen(colon + 1));
	if (port < 0)
		return why_set(why, -EINVAL,
		    "the port after the colon must be 0 to 65535");

	bool bracketed = text[0] == '[' && colon > text + 1 &&
	    colon[-1] == ']';
	const char *from = bracketed ? text + 1 : text;
	size_t len = (size_t)(colon - from) - bracketed;
	if (len == 0)
		return why_set(why, -EINVAL,
		    "has no host; 127.0.0.1 is this host only");
	if (len >= sizeof host)
		goto bad;
	memcpy(host, from, len);
	host[len] = '\0';
	if (strcmp(host, "localhost") == 0 && !bracketed)
		memcpy(host, "127.0.0.1", sizeof "127.0.0.1");

	memset(ret, 0, sizeof *ret);
	if (!bracketed && inet_pton(AF_INET, host, &in.sin_addr) == 1) {
		in.sin_port = htons((uint16_t)port);
		memcpy(ret, &in, sizeof in);
		*ret_len = sizeof in;
		return 0;
	}
	if (inet_pton(AF_INET6, host, &in6.sin6_addr) == 1) {
		if (!bracketed)
			return why_set(why, -EINVAL,
			    "an IPv6 address needs brackets: \"[%s]:%ld\"",
			    host, port);
		in6.sin6_port = htons((uint16_t)port);
		memcpy(ret, &in6, sizeof in6);
		*ret_len = sizeof in6;
		return 0;
	}
bad:
	return why_set(why, -EINVAL, "the host must be an IP address, as in "
	    "127.0.0.1:8842 or \"[::1]:8842\"");
}

bool
conf_addr_is_loopback(const struct sockaddr_storage *ss)
{
	if (ss->ss_family == AF_INET) {
		struct sockaddr_in in;
		memcpy(&in, ss, sizeof in);
		return ntohl(in.sin_addr.s_addr) >> 24 == 127;
	}
	if (ss->ss_family == AF_INET6) {
		struct sockaddr_in6 in6;
		memcpy(&in6, ss, sizeof in6);
		const struct in6_addr *a = &in6.sin6_addr;
		return IN6_IS_ADDR_LOOPBACK(a) ||
		    (IN6_IS_ADDR_V4MAPPED(a) && a->s6_addr[12] == 127);
	}
	return false;
}

/* host[:port] of len letters, as in a URL. */
static int
addr_check_host(const char *s, size_t len, struct why *why)
{
	const char *end = s + len, *p = s;

	if (len != 0 && s[0] == '[') {
		char host[INET6_ADDRSTRLEN];
		struct in6_addr in6;
		const char *close = memchr(s, ']', len);
		size_t n = close != NULL ? (size_t)(close - s - 1) : 0;
		if (n == 0 || n >= sizeof host)
			return why_set(why, -EINVAL,
			    "has a bad IPv6 address in brackets");
		memcpy(host, s + 1, n);
		host[n] = '\0';
		if (inet_pton(AF_INET6, host, &in6) != 1)
			return why_set(why, -EINVAL,
			    "has a bad IPv6 address in brackets");
		p = close + 1;
	} else {
		while (p < end && (is_alnum(*p) || *p == '.' || *p == '-' ||
		    *p == '_'))
			p++;
		if (p == s)
			return why_set(why, -EINVAL, "has no host");
		if (p - s > HOST_MAX)
			return why_set(why, -EINVAL, "has too long a host");
	}
	if (p == end)
		return 0;
	if (*p != ':')
		return why_set(why, -EINVAL, "has a host with a letter that "
		    "cannot be in one");
	if (addr_port(p + 1, (size_t)(end - p - 1)) <= 0)
		return why_set(why, -EINVAL, "has a port that is not 1 to "
		    "65535");
	return 0;
}

/* Letters that may stand in a path (RFC 3986 3.3) and need no escape. */
static bool
addr_is_path(const char *s)
{
	for (; *s != '\0'; s++) {
		if (!is_alnum(*s) && strchr("/-._~!$&'()*+,;=:@%", *s) == NULL)
			return false;
	}
	return true;
}

static int
addr_hex(char c)
{
	if (is_digit(c))
		return c - '0';
	c |= 'a' - 'A';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Undo the escapes (RFC 3986 2.1); the length, or -1 for a bad one. */
static int
addr_unescape(const char *s, char *dst, size_t n)
{
	size_t len = 0;

	for (; *s != '\0'; s++) {
		char c = *s;
		if (c == '%') {
			int high = addr_hex(s[1]);
			int low = high < 0 ? -1 : addr_hex(s[2]);
			if (low < 0 || high * 16 + low == 0)
				return -1;
			c = (char)(high * 16 + low);
			s += 2;
		}
		if (len + 1 < n)
			dst[len] = c;
		len++;
	}
	if (n > 0)
		dst[len < n ? len : n - 1] = '\0';
	return (int)len;
}

bool
conf_addr_url_socket(const char *url, char *dst, size_t n)
{
	const size_t len = strlen(UNIX_SCHEME);

	if (strncmp(url, UNIX_SCHEME, len) != 0)
		return false;
	(void)addr_unescape(url + len, dst, n);	/* checked before */
	return true;
}

/* What stands behind http+unix:// */
static int
addr_check_socket(const char *path, struct why *why)
{
	struct sockaddr_un un;

	if (path[0] != '/')
		return why_set(why, -EINVAL, "must have three slashes before "
		    "the socket's path, as in http+unix:///run/lumni.sock");
	if (!addr_is_path(path))
		return why_set(why, -EINVAL,
		    "has a letter in its path that must be escaped");
	int len = addr_unescape(path, un.sun_path, sizeof un.sun_path);
	if (len < 0)
		return why_set(why, -EINVAL,
		    "has a %% that no two hexadecimal digits follow");
	if ((size_t)len >= sizeof un.sun_path)
		return why_set(why, -EINVAL, "has a longer path than the %zu "
		    "bytes that a socket's may have",
		    sizeof un.sun_path - 1);
	if (path[len - 1] == '/')
		return why_set(why, -EINVAL, "must name a socket, not a "
		    "directory");
	return 0;
}

/* The documented address of the API, pasted whole. */
static int
addr_check_base(const char *base, struct why *why)
{
	const char *ours = strstr(base, "/v1/ingest");

	if (ours == NULL)
		return 0;
	return why_set(why, -EINVAL, "must end before \"%s\", which "
	    "lumnid adds", ours);
}

int
conf_addr_check_url(const char *url, struct why *why)
{
	const char *host;

	if (strncmp(url, UNIX_SCHEME, strlen(UNIX_SCHEME)) == 0) {
		int r = addr_check_base(url, why);
		return r < 0 ? r :
		    addr_check_socket(url + strlen(UNIX_SCHEME), why);
	}
	if (strncmp(url, "https://", 8) == 0)
		host = url + 8;
	else if (strncmp(url, "http://", 7) == 0)
		host = url + 7;
	else
		return why_set(why, -EINVAL,
		    "must begin with https://, http:// or http+unix://");
	if (strchr(host, '?') != NULL || strchr(host, '#') != NULL)
		return why_set(why, -EINVAL,
		    "must have no query and no fragment");
	size_t len = strcspn(host, "/");
	if (memchr(host, '@', len) != NULL)
		return why_set(why, -EINVAL, "must have no user and password; "
		    "the key belongs in upstream.api_key_file");
	int r = addr_check_host(host, len, why);
	if (r < 0)
		return r;
	const char *base = host + len;
	if (!addr_is_path(base))
		return why_set(why, -EINVAL,
		    "has a letter in its path that must be escaped");
	return addr_check_base(base, why);
}

int
conf_addr_check_proxy(const char *url, struct why *why)
{
	static const char *const schemes[] = { "http://", "https://",
	    "socks5://", "socks5h://" };
	const char *rest = NULL;

	if (strcmp(url, "none") == 0)
		return 0;
	for (size_t i = 0; i < NELEM(schemes); i++) {
		size_t n = strlen(schemes[i]);
		if (strncmp(url, schemes[i], n) == 0)
			rest = url + n;
	}
	/* The text may hold a password, so no error repeats it. */
	if (rest == NULL)
		return why_set(why, -EINVAL, "must be none, or begin with "
		    "http://, https://, socks5:// or socks5h://");
	for (const char *p = rest; *p != '\0'; p++) {
		if ((unsigned char)*p <= ' ' || (unsigned char)*p >= 0x7f)
			return why_set(why, -EINVAL,
			    "has a letter that must be escaped");
	}
	const char *at = strrchr(rest, '@');
	const char *host = at != NULL ? at + 1 : rest;
	size_t len = strcspn(host, "/?#");
	if (host[len] != '\0' && strcmp(host + len, "/") != 0)
		return why_set(why, -EINVAL, "must have no path");
	return addr_check_host(host, len, why);
}
