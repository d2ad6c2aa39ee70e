/*
 * inherited: what the configuration says of sockets that are not ours to make.
 *
 * Under the packages' lumnid.socket a path, a mode, a group or an address in
 * lumnid.yaml has no effect, "off" included, unless it is changed there, too.
 * Who sets one is told; the defaults are nobody's wish, and may differ.
 */
#include "loop/inherited.h"

#include <errno.h>
#include <grp.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "core/conf_addr.h"
#include "core/conf_table.h"

static bool
inherited_is_set(const struct conf *conf, const char *key)
{
	const struct conf_key *k = conf_key_find(key);

	return k != NULL && conf->origins[conf_key_index(k)] != CONF_DEFAULT;
}

static void
inherited_differs(const char *key, const char *configured, const char *open)
{
	log_warn("socket_differs", LS("key", key),
	    LS("configured", configured[0] == '\0' ? "off" : configured),
	    LS("open", open), LS("hint", "the service manager has opened this "
	    "socket; change it there, too (systemctl edit lumnid.socket)"));
}

/* Is it the group of this name or number? An unknown name is no group. */
static bool
inherited_is_group(const char *group, gid_t gid)
{
	const struct group *gr = getgrnam(group);
	char number[16];

	if (gr != NULL)
		return gr->gr_gid == gid;
	(void)snprintf(number, sizeof number, "%u", (unsigned)gid);
	return strcmp(number, group) == 0;
}

static void
inherited_check_unix(const struct conf *conf, int fd, const char *section,
    const struct conf_socket *cs)
{
	char path[128], key[64], want[16], have[16];
	struct stat st;

	(void)listen_name(fd, path, sizeof path);
	(void)snprintf(key, sizeof key, "%s.path", section);
	if (inherited_is_set(conf, key) && strcmp(cs->path, path) != 0)
		inherited_differs(key, cs->path, path);
	/* Gone, or in another's directory: there is nothing to compare. */
	if (stat(path, &st) < 0)
		return;
	(void)snprintf(key, sizeof key, "%s.mode", section);
	if (inherited_is_set(conf, key) && (st.st_mode & 07777) != cs->mode) {
		(void)snprintf(want, sizeof want, "%04o", (unsigned)cs->mode);
		(void)snprintf(have, sizeof have, "%04o",
		    (unsigned)(st.st_mode & 07777));
		inherited_differs(key, want, have);
	}
	(void)snprintf(key, sizeof key, "%s.group", section);
	if (inherited_is_set(conf, key) && cs->group[0] != '\0' &&
	    !inherited_is_group(cs->group, st.st_gid)) {
		(void)snprintf(have, sizeof have, "%u", (unsigned)st.st_gid);
		inherited_differs(key, cs->group, have);
	}
}

static bool
inherited_same_address(const struct sockaddr_storage *a,
    const struct sockaddr_storage *b)
{
	const struct sockaddr_in *a4 = (const void *)a, *b4 = (const void *)b;
	const struct sockaddr_in6 *a6 = (const void *)a, *b6 = (const void *)b;

	if (a->ss_family != b->ss_family)
		return false;
	if (a->ss_family == AF_INET)
		return a4->sin_port == b4->sin_port &&
		    a4->sin_addr.s_addr == b4->sin_addr.s_addr;
	return a6->sin6_port == b6->sin6_port && memcmp(&a6->sin6_addr,
	    &b6->sin6_addr, sizeof a6->sin6_addr) == 0;
}

static void
inherited_check_udp(const struct conf *conf, int fd)
{
	struct sockaddr_storage want = { 0 }, have = { 0 };
	socklen_t len = sizeof have;
	char name[128];

	if (!inherited_is_set(conf, "listen.udp") ||
	    getsockname(fd, (struct sockaddr *)&have, &len) < 0)
		return;
	if (conf->listen.udp[0] == '\0' ||
	    conf_addr_parse(conf->listen.udp, &want, &len, NULL) < 0 ||
	    !inherited_same_address(&want, &have))
		inherited_differs("listen.udp", conf->listen.udp,
		    listen_name(fd, name, sizeof name));
}

void
inherited_check(const struct listen_inherited *li, const struct conf *conf)
{
	if (li->stream >= 0)
		inherited_check_unix(conf, li->stream, "listen.unix",
		    &conf->listen.unix_stream);
	if (li->dgram >= 0)
		inherited_check_unix(conf, li->dgram, "listen.dgram",
		    &conf->listen.dgram);
	if (li->udp >= 0)
		inherited_check_udp(conf, li->udp);
}
