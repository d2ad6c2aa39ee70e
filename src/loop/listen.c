/*
 * listen: sockets that clients find.
 *
 * A Unix socket is bound with no permissions at all, gets its group and mode,
 * and only then listens: until then a connect is refused. Two processes that
 * start at once are kept apart by a lock on the directory, held from the look
 * at the old socket to the end of listen().
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/filter.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/mem.h"
#include "core/conf_addr.h"
#include "loop/listen.h"

#define LISTEN_BACKLOG	4096	/* the kernel cuts it to somaxconn */

/* --- inherited ------------------------------------------------------------ */

#define LISTEN_FDS_START	3	/* SD_LISTEN_FDS_START */

/*
 * Where a socket of this kind goes; NULL: nowhere. name: of LISTEN_FDNAMES.
 * One of ours has to fit the kind; any other, as the unit's, says nothing.
 */
static int *
listen_inherit_place(struct listen_inherited *li, int fd, const char *name)
{
	int domain = 0, type = 0, listening = 0;
	socklen_t len = sizeof domain;

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) < 0)
		return NULL;
	bool stream = domain == AF_UNIX && type == SOCK_STREAM && listening;
	bool dgram = domain == AF_UNIX && type == SOCK_DGRAM;
	bool udp = (domain == AF_INET || domain == AF_INET6) &&
	    type == SOCK_DGRAM;

	if (strcmp(name, "stream") == 0)
		return stream ? &li->stream : NULL;
	if (strcmp(name, "dgram") == 0)
		return dgram ? &li->dgram : NULL;
	if (strcmp(name, "udp") == 0)
		return udp ? &li->udp : NULL;
	return stream ? &li->stream : dgram ? &li->dgram :
	    udp ? &li->udp : NULL;
}

static int
listen_inherit_one(struct listen_inherited *li, int fd, const char *name,
    struct why *why)
{
	int *place = listen_inherit_place(li, fd, name);
	int flags = fcntl(fd, F_GETFL);

	if (place == NULL)
		return why_set(why, -EINVAL, "socket activation: descriptor "
		    "%d%s%.64s is no Unix stream, Unix datagram or UDP "
		    "socket, or not the one of its name", fd,
		    name[0] != '\0' ? " named " : "", name);
	if (*place >= 0)
		return why_set(why, -EINVAL, "socket activation: descriptor %d "
		    "is a second socket of its kind", fd);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
	    fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return why_errno(why, -errno, "socket activation: descriptor "
		    "%d", fd);
	*place = fd;
	return 0;
}

int
listen_inherit(struct listen_inherited *li, struct why *why)
{
	const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
	const char *names = getenv("LISTEN_FDNAMES");
	char name[256];
	long n = 0;
	int r = 0;

	*li = (struct listen_inherited){ -1, -1, -1 };
	if (pid != NULL && fds != NULL && strtol(pid, NULL, 10) == getpid())
		n = strtol(fds, NULL, 10);
	for (int fd = LISTEN_FDS_START; r == 0 && fd < LISTEN_FDS_START + n;
	    fd++) {
		/* Colons part them, sd_listen_fds_with_names(3). */
		size_t len = names == NULL ? 0 : strcspn(names, ":");

		(void)snprintf(name, sizeof name, "%.*s", (int)len,
		    names == NULL ? "" : names);
		if (names != NULL)
			names += len + (names[len] == ':');
		r = listen_inherit_one(li, fd, name, why);
	}
	(void)unsetenv("LISTEN_PID");
	(void)unsetenv("LISTEN_FDS");
	(void)unsetenv("LISTEN_FDNAMES");
	return r;
}

/* --- Unix sockets --------------------------------------------------------- */

/* Is somebody behind the socket file? 1, 0 (stale or absent) or -errno. */
static int
listen_unix_probe(const char *path, const struct sockaddr_un *sun, int type,
    struct why *why)
{
	struct stat st;
	int fd, r;

	if (lstat(path, &st) < 0) {
		if (errno == ENOENT)
			return 0;
		return why_errno(why, -errno, "socket %s", path);
	}
	if (!S_ISSOCK(st.st_mode))
		return why_set(why, -EEXIST, "socket %s: there is a file of "
		    "that name which is no socket; remove it or choose "
		    "another path", path);
	fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return why_errno(why, -errno, "socket %s", path);
	r = connect(fd, (const struct sockaddr *)sun, sizeof *sun) == 0 ? 0
	    : errno;
	(void)close(fd);
	switch (r) {
	case ECONNREFUSED:
		return 0;
	case EACCES:
	case EPERM:
		return why_errno(why, -r, "socket %s is there and cannot be "
		    "looked at", path);
	default:
		/* Connected; or its queue is full, or it has another type. */
		return 1;
	}
}

static int
listen_unix_group(const char *path, const char *group, struct why *why)
{
	const struct group *gr;
	gid_t gid;

	if (group == NULL || group[0] == '\0')
		return 0;
	errno = 0;
	if ((gr = getgrnam(group)) != NULL) {
		gid = gr->gr_gid;
	} else {
		char *end;
		unsigned long n = strtoul(group, &end, 10);

		if (group[0] < '0' || group[0] > '9' || *end != '\0')
			return why_set(why, -EINVAL, "socket %s: there is no "
			    "group \"%s\"; create it (groupadd --system %s) or "
			    "change the group in the configuration", path,
			    group, group);
		gid = (gid_t)n;
	}
	if (lchown(path, (uid_t)-1, gid) < 0)
		return why_errno(why, -errno, "socket %s: the group cannot be "
		    "set to \"%s\"; run as a member of it", path, group);
	return 0;
}

/* Bind, set group and mode, listen; the directory is locked. */
static int
listen_unix_make(const struct conf_socket *conf, int type,
    const struct sockaddr_un *sun, int *ret_fd, struct why *why)
{
	const char *path = conf->path;
	int fd, r;
	mode_t mask;

	r = listen_unix_probe(path, sun, type, why);
	if (r > 0)
		return why_set(why, -EADDRINUSE, "socket %s is in use by a "
		    "running lumnid; stop that one or choose another path",
		    path);
	if (r < 0)
		return r;
	if (unlink(path) < 0 && errno != ENOENT)
		return why_errno(why, -errno, "socket %s: the old one cannot "
		    "be removed", path);
	fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return why_errno(why, -errno, "socket %s", path);
	mask = umask(0777);
	r = bind(fd, (const struct sockaddr *)sun, sizeof *sun) < 0 ? -errno
	    : 0;
	(void)umask(mask);
	if (r < 0) {
		(void)close(fd);
		return why_errno(why, r, "socket %s cannot be made", path);
	}
	if ((r = listen_unix_group(path, conf->group, why)) < 0)
		goto out;
	if (chmod(path, (mode_t)conf->mode) < 0)
		r = why_errno(why, -errno, "socket %s: mode", path);
	else if (type == SOCK_STREAM && listen(fd, LISTEN_BACKLOG) < 0)
		r = why_errno(why, -errno, "socket %s: listen", path);
out:
	if (r < 0) {
		(void)unlink(path);
		(void)close(fd);
		return r;
	}
	*ret_fd = fd;
	return 0;
}

/* Open and lock the directory of a path. Returns an fd or -errno. */
static int
listen_lock_dir(const char *path, struct why *why)
{
	const char *slash = strrchr(path, '/');
	char dir[PATH_MAX];
	int fd, r;

	(void)snprintf(dir, sizeof dir, "%.*s",
	    slash == NULL ? 1 : slash == path ? 1 : (int)(slash - path),
	    slash == NULL ? "." : path);
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return why_set(why, -ENOENT, "socket %s: there is no directory "
		    "%s; create it, owned by the user that runs lumnid", path,
		    dir);
	if (fd < 0)
		return why_errno(why, -errno, "socket %s: directory %s", path,
		    dir);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		r = -errno;
		(void)close(fd);
		if (r == -EWOULDBLOCK)
			return why_set(why, -EADDRINUSE, "socket %s: another "
			    "process is making sockets in %s; try again", path,
			    dir);
		return why_errno(why, r, "socket %s: lock on %s", path, dir);
	}
	return fd;
}

int
listen_unix_open(const struct conf_socket *conf, int type,
    struct listen_unix *ret, struct why *why)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	struct stat st;
	int dir, fd = -1, r;

	if (strlen(conf->path) >= sizeof sun.sun_path)
		return why_set(why, -ENAMETOOLONG, "socket %s: a socket's path "
		    "has at most %zu bytes", conf->path,
		    sizeof sun.sun_path - 1);
	memcpy(sun.sun_path, conf->path, strlen(conf->path));
	if ((dir = listen_lock_dir(conf->path, why)) < 0)
		return dir;
	r = listen_unix_make(conf, type, &sun, &fd, why);
	if (r == 0 && lstat(conf->path, &st) < 0) {
		r = why_errno(why, -errno, "socket %s", conf->path);
		(void)close(fd);
	}
	(void)close(dir);
	if (r < 0)
		return r;
	*ret = (struct listen_unix){
		.fd = fd,
		.path = mem_strdup(conf->path),
		.dev = st.st_dev,
		.ino = st.st_ino,
	};
	return 0;
}

void
listen_unix_close(struct listen_unix *lu)
{
	struct stat st;

	if (lu->fd < 0)
		return;
	if (lu->path != NULL && lstat(lu->path, &st) == 0 &&
	    st.st_dev == lu->dev && st.st_ino == lu->ino)
		(void)unlink(lu->path);
	(void)close(lu->fd);
	free(lu->path);
	*lu = (struct listen_unix){ .fd = -1 };
}

bool
listen_unix_is_there(const struct listen_unix *lu)
{
	struct stat st;

	return lu->fd >= 0 && lu->path != NULL && lstat(lu->path, &st) == 0 &&
	    st.st_dev == lu->dev && st.st_ino == lu->ino;
}

int
listen_unix_permit(const struct conf_socket *was,
    const struct conf_socket *now, struct why *why)
{
	const char *path = now->path;
	struct why ignored;
	int r = 0;

	if (chmod(path, (mode_t)(was->mode & now->mode)) < 0)
		return why_errno(why, -errno, "socket %s: mode", path);
	if (strcmp(was->group, now->group) != 0) {
		if (now->group[0] != '\0')
			r = listen_unix_group(path, now->group, why);
		else if (lchown(path, (uid_t)-1, getegid()) < 0)
			r = why_errno(why, -errno, "socket %s: group", path);
	}
	if (r == 0 && chmod(path, (mode_t)now->mode) < 0) {
		r = why_errno(why, -errno, "socket %s: mode", path);
		if (was->group[0] != '\0')
			(void)listen_unix_group(path, was->group, &ignored);
	}
	if (r < 0)
		(void)chmod(path, (mode_t)was->mode);	/* as it was */
	return r;
}

/* --- UDP and TCP ---------------------------------------------------------- */

void
listen_set_reuseport(int fd, bool on)
{
	int value = on;

	/* Without it, addresses that overlap are refused: so it is told. */
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &value, sizeof value);
}

void
listen_tcp_shut(int fd)
{
	/* shutdown(2) would reset who waits. The filter sees TCP's header. */
	struct sock_filter no_syn[] = {
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 13),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x02, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, 0),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
	};
	const struct sock_fprog prog = { NELEM(no_syn), no_syn };

	(void)setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof prog);
}

int
listen_inet_open(const char *what, const char *addr, int type,
    bool allow_remote, bool beside, bool *ret_remote, struct why *why)
{
	struct sockaddr_storage ss;
	struct why reason;
	socklen_t len;
	int fd, r, on = 1;

	if ((r = conf_addr_parse(addr, &ss, &len, &reason)) < 0)
		return why_set(why, r, "%s %s: %s", what, addr, reason.text);
	*ret_remote = !conf_addr_is_loopback(&ss);
	if (*ret_remote && !allow_remote)
		return why_set(why, -EPERM, "%s %s: everybody on the network "
		    "could write there; set listen.allow_remote: true if that "
		    "is meant", what, addr);
	fd = socket(ss.ss_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return why_errno(why, -errno, "%s %s", what, addr);
	/* A restart need not wait for connections of the past. */
	if (type == SOCK_STREAM)
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (beside)
		listen_set_reuseport(fd, true);
	if (bind(fd, (const struct sockaddr *)&ss, len) == 0 &&
	    (type != SOCK_STREAM || listen(fd, SOMAXCONN) == 0)) {
		if (beside)
			listen_set_reuseport(fd, false);
		return fd;
	}
	r = -errno;
	(void)close(fd);
	if (r == -EADDRINUSE)
		return why_set(why, r, "%s %s: the port is in use; stop the "
		    "other process (ss -%snp tells which) or set listen.%s to "
		    "another port, or to off", what, addr,
		    type == SOCK_STREAM ? "tl" : "ul", what);
	return why_errno(why, r, "%s %s", what, addr);
}

int
listen_udp_open(const char *addr, bool allow_remote, bool *ret_remote,
    struct why *why)
{
	return listen_inet_open("udp", addr, SOCK_DGRAM, allow_remote, false,
	    ret_remote, why);
}

int
listen_tcp_open(const char *what, const char *addr, bool allow_remote,
    bool *ret_remote, struct why *why)
{
	return listen_inet_open(what, addr, SOCK_STREAM, allow_remote, false,
	    ret_remote, why);
}

int
listen_set_rcvbuf(int fd, int bytes)
{
	int size = 0;
	socklen_t len = sizeof size;

	/*
	 * The service manager's may be larger than what we are allowed. What
	 * the kernel tells is twice what was asked for; see socket(7).
	 */
	if (getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, &len) == 0 &&
	    size / 2 >= bytes)
		return size;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes,
	    sizeof bytes) < 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes,
		    sizeof bytes);
	(void)getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, &len);
	return size;
}

const char *
listen_name(int fd, char *dst, size_t n)
{
	struct sockaddr_storage ss;
	const struct sockaddr_un *sun = (const void *)&ss;
	socklen_t len = sizeof ss;
	char host[NI_MAXHOST], port[NI_MAXSERV];

	memset(&ss, 0, sizeof ss);
	(void)snprintf(dst, n, "?");
	if (getsockname(fd, (struct sockaddr *)&ss, &len) < 0)
		return dst;
	if (ss.ss_family == AF_UNIX)	/* the rest of ss is zero */
		(void)snprintf(dst, n, "%.*s", (int)sizeof sun->sun_path,
		    sun->sun_path);
	else if (getnameinfo((const struct sockaddr *)&ss, len, host,
	    sizeof host, port, sizeof port,
	    NI_NUMERICHOST | NI_NUMERICSERV) == 0)
		(void)snprintf(dst, n, ss.ss_family == AF_INET6 ? "[%s]:%s"
		    : "%s:%s", host, port);
	return dst;
}
