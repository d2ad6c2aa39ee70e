/* listeners: compares two configurations slot by slot. Owns what is opened
 * until the inputs take it. */
#include "loop/listeners.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/log.h"
#include "core/conf_addr.h"

/* A slot's keys. */
static const struct {
	const char	*name;		/* of the input, in messages */
	const char	*key;		/* the one that has the address */
	bool		 is_unix;
	int		 type;
} listeners_kinds[LISTENERS_SLOTS] = {
	[LISTENERS_STREAM] = { "stream", "listen.unix.path", true,
	    SOCK_STREAM },
	[LISTENERS_DGRAM] = { "dgram", "listen.dgram.path", true, SOCK_DGRAM },
	[LISTENERS_UDP] = { "udp", "listen.udp", false, SOCK_DGRAM },
	[LISTENERS_HTTP] = { "http", "listen.http", false, SOCK_STREAM },
	[LISTENERS_FORWARD] = { "forward_tcp", "listen.forward_tcp", false,
	    SOCK_STREAM },
};

static const struct conf_socket *
listeners_unix(const struct conf *conf, enum listeners_slot i)
{
	return i == LISTENERS_STREAM ? &conf->listen.unix_stream :
	    &conf->listen.dgram;
}

static const char *
listeners_address(const struct conf *conf, enum listeners_slot i)
{
	switch (i) {
	case LISTENERS_STREAM:
	case LISTENERS_DGRAM:
		return listeners_unix(conf, i)->path;
	case LISTENERS_UDP:
		return conf->listen.udp;
	case LISTENERS_HTTP:
		return conf->listen.http;
	case LISTENERS_FORWARD:
		return conf->listen.forward_tcp;
	case LISTENERS_SLOTS:
		break;
	}
	return "";
}

/* The same address, however it is written. */
static bool
listeners_same_address(const char *a, const char *b)
{
	struct sockaddr_storage sa, sb;
	socklen_t na, nb;

	if (strcmp(a, b) == 0)
		return true;
	if (a[0] == '\0' || b[0] == '\0')
		return false;
	return conf_addr_parse(a, &sa, &na, NULL) == 0 &&
	    conf_addr_parse(b, &sb, &nb, NULL) == 0 && na == nb &&
	    memcmp(&sa, &sb, na) == 0;
}

static int
listeners_open_inet(struct listeners *ls, enum listeners_slot i,
    const struct conf *conf, struct why *why)
{
	const char *name = listeners_kinds[i].name;
	const char *addr = listeners_address(conf, i);
	struct listen_unix old = ls->user[i].current(ls->user[i].arg);
	bool remote = false;
	int fd;

	/* One of both may be the wildcard with the other's port. */
	if (old.fd >= 0)
		listen_set_reuseport(old.fd, true);
	fd = listen_inet_open(name, addr, listeners_kinds[i].type,
	    conf->listen.allow_remote, old.fd >= 0, &remote, why);
	if (old.fd >= 0)
		listen_set_reuseport(old.fd, false);
	if (fd < 0)
		return fd;
	if (remote)
		log_warn("listening_to_the_network", LS("input", name),
		    LS("address", addr), LS("hint", "everybody who can reach "
		    "this address can write events"));
	ls->next[i].sock = (struct listen_unix){ .fd = fd };
	return 0;
}

/* One socket; r < 0: nothing was changed for this slot. */
static int
listeners_prepare_one(struct listeners *ls, enum listeners_slot i,
    const struct conf *old, const struct conf *conf, struct why *why)
{
	const struct conf_socket *a = listeners_unix(old, i);
	const struct conf_socket *b = listeners_unix(conf, i);
	struct listen_unix cur = ls->user[i].current(ls->user[i].arg);
	int r = 0;

	ls->next[i].what = LISTENERS_KEEP;
	ls->next[i].sock = (struct listen_unix){ .fd = -1 };
	if (ls->user[i].inherited)
		return 0;
	if (!listeners_kinds[i].is_unix) {
		if (listeners_same_address(listeners_address(old, i),
		    listeners_address(conf, i)))
			return 0;
		if (listeners_address(conf, i)[0] != '\0')
			r = listeners_open_inet(ls, i, conf, why);
		ls->next[i].what = LISTENERS_SWAP;
		return r;
	}
	/* A file that somebody has removed is made anew. */
	if (b->path[0] != '\0' && strcmp(a->path, b->path) == 0 &&
	    listen_unix_is_there(&cur)) {
		if (a->mode == b->mode && strcmp(a->group, b->group) == 0)
			return 0;
		ls->next[i].what = LISTENERS_PERMIT;
		ls->next[i].was = a;
		ls->next[i].now = b;
		return listen_unix_permit(a, b, why);
	}
	if (a->path[0] == '\0' && b->path[0] == '\0')
		return 0;
	if (b->path[0] != '\0')
		r = listen_unix_open(b, listeners_kinds[i].type,
		    &ls->next[i].sock, why);
	ls->next[i].what = LISTENERS_SWAP;
	return r;
}

static void
listeners_undo(struct listeners *ls, unsigned n)
{
	struct why why;

	while (n-- > 0) {
		if (ls->next[n].what == LISTENERS_SWAP)
			listen_unix_close(&ls->next[n].sock);
		else if (ls->next[n].what == LISTENERS_PERMIT &&
		    listen_unix_permit(ls->next[n].now, ls->next[n].was,
		    &why) < 0)
			log_error("listen_failed", LS("error", why.text));
		ls->next[n].what = LISTENERS_KEEP;
	}
}

int
listeners_prepare(struct listeners *ls, const struct conf *old,
    const struct conf *conf, struct why *why)
{
	for (unsigned i = 0; i < LISTENERS_SLOTS; i++) {
		struct why reason;
		int r = listeners_prepare_one(ls, i, old, conf, &reason);

		if (r < 0) {
			listeners_undo(ls, i);
			(void)why_set(why, r, "%s", reason.text);
			return conf_why_at(conf, listeners_kinds[i].key, r,
			    why);
		}
	}
	return 0;
}

void
listeners_commit(struct listeners *ls)
{
	for (unsigned i = 0; i < LISTENERS_SLOTS; i++)
		if (ls->next[i].what == LISTENERS_SWAP)
			ls->user[i].swap(ls->user[i].arg, &ls->next[i].sock);
}

void
listeners_abort(struct listeners *ls)
{
	listeners_undo(ls, LISTENERS_SLOTS);
}
