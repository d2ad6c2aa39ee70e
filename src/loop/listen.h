/*
 * listen: makes the sockets that clients find: Unix ones with their mode and
 * group, in place of a stale one but never of a live one; and UDP ones.
 */
#ifndef LUMNID_LOOP_LISTEN_H
#define LUMNID_LOOP_LISTEN_H

#include <stdbool.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/cdefs.h"
#include "base/why.h"
#include "core/conf.h"

/* Sockets that the service manager has opened for us; -1: none. */
struct listen_inherited {
	int	 stream;	/* Unix stream, listening */
	int	 dgram;		/* Unix datagram */
	int	 udp;
};

/*
 * Take the sockets that LISTEN_FDS tells of (sd_listen_fds(3)), and the
 * variables out of the environment. They go by their kind; the names stream,
 * dgram and udp (LISTEN_FDNAMES) must be those of that kind. Returns 0, or
 * -EINVAL for one that is of no use here, or of a kind that came before.
 */
int	listen_inherit(struct listen_inherited *, struct why *) MUSTUSE;

/* A Unix socket and the file it is; the file is removed with it. */
struct listen_unix {
	int	 fd;		/* -1: none */
	char	*path;		/* NULL: the file is not ours to remove */
	dev_t	 dev;
	ino_t	 ino;
};

/*
 * Bind a socket of this type (SOCK_STREAM, which then listens, or SOCK_DGRAM)
 * at conf->path. Nobody can reach it before its mode and group are right.
 * Returns 0; -EADDRINUSE when another process answers there; -errno; why tells
 * what to do about it.
 */
int	listen_unix_open(const struct conf_socket *, int type,
	    struct listen_unix *ret, struct why *) MUSTUSE;
/* Close, and remove the file if it is still this socket's. */
void	listen_unix_close(struct listen_unix *);
/* Is the file still there, and this socket's? */
bool	listen_unix_is_there(const struct listen_unix *);
/*
 * Give the socket at this path the mode and group of `now`. On its way from
 * those of `was` nobody may connect who may neither before nor after. On
 * failure it is as it was.
 */
int	listen_unix_permit(const struct conf_socket *was,
	    const struct conf_socket *now, struct why *) MUSTUSE;

/*
 * Bind a UDP socket to an address as core/conf_addr.h knows it; port 0 takes a
 * free one. Returns the fd; -EPERM when other hosts could reach it and
 * allow_remote is false; -errno. *ret_remote: they can.
 */
int	listen_udp_open(const char *addr, bool allow_remote, bool *ret_remote,
	    struct why *) MUSTUSE;

/* The same for TCP; `what` names the input and its key, as in "http". */
int	listen_tcp_open(const char *what, const char *addr, bool allow_remote,
	    bool *ret_remote, struct why *) MUSTUSE;

/*
 * The same for a type of socket. beside: another socket of ours, on which
 * listen_set_reuseport() is on, may have an address that overlaps.
 */
int	listen_inet_open(const char *what, const char *addr, int type,
	    bool allow_remote, bool beside, bool *ret_remote, struct why *)
	    MUSTUSE;
/* SO_REUSEPORT, for as long as one socket takes over from another. */
void	listen_set_reuseport(int fd, bool on);
/*
 * Accept no more connections on a TCP listener, while those that the kernel
 * has made are still there to be accepted.
 */
void	listen_tcp_shut(int fd);

/*
 * Ask for a receive buffer of so many bytes, over the system's limit where
 * that is permitted; a larger one stays. Returns the size in effect, as the kernel counts it.
 */
int	listen_set_rcvbuf(int fd, int bytes);

/* "127.0.0.1:8842" or the path the fd is bound to; dst: n bytes. */
const char *listen_name(int fd, char *dst, size_t n);

#endif
