/* ctl_conn: a connection to lumnid's stream socket. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "ctl/ctl.h"
#include "ctl/ctl_conn.h"

#define READ_SIZE	65536
/* An answer is small; whoever sends more than this is not lumnid. */
#define ANSWER_MAX	(1u << 20)

/* Who may connect to it, for a person who may not. */
static int
fail_permission(const char *path, struct why *why)
{
	struct stat st;
	const struct group *gr = NULL;

	if (stat(path, &st) < 0)
		return why_set(why, -EACCES, "%s: its directory is closed to "
		    "you", path);
	if ((st.st_mode & S_IWGRP) != 0)
		gr = getgrgid(st.st_gid);
	if (gr == NULL)
		return why_set(why, -EACCES, "%s: you may not connect; see "
		    "listen.unix.group and listen.unix.mode in "
		    "lumnid.yaml(5)", path);
	return why_set(why, -EACCES, "%s: only the group \"%s\" may connect; "
	    "join it with \"usermod -aG %s USER\" and log in anew", path,
	    gr->gr_name, gr->gr_name);
}

static int
fail_connect(const char *path, int code, struct why *why)
{
	switch (code) {
	case -ENOENT:
		return why_set(why, code, "%s does not exist; is lumnid "
		    "running?", path);
	case -ECONNREFUSED:
		return why_set(why, code, "nobody listens on %s; is lumnid "
		    "running?", path);
	case -EACCES:
		return fail_permission(path, why);
	case -EPROTOTYPE:
		return why_set(why, code, "%s is a datagram socket; name the "
		    "one of listen.unix.path", path);
	case -EAGAIN:
		return why_set(why, code, "%s: lumnid takes no connection; "
		    "is it stopped or overloaded?", path);
	default:
		return why_errno(why, code, "%s", path);
	}
}

int
ctl_conn_open(struct ctl_conn *conn, const char *path, int64_t timeout_ms,
    struct why *why)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct timeval tv = { .tv_sec = (time_t)(timeout_ms / 1000),
	    .tv_usec = (suseconds_t)(timeout_ms % 1000 * 1000) };
	size_t len = strlen(path);
	int r = 0;

	if (len == 0 || len >= sizeof un.sun_path)
		return why_set(why, -EINVAL, "\"%s\" is no path for a socket",
		    path);
	memcpy(un.sun_path, path, len + 1);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return why_errno(why, -errno, "socket");
	/*
	 * It blocks until there is room in the queue of connections; a
	 * non-blocking one would be told to come again, without a sign when.
	 */
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);
	if (connect(fd, (struct sockaddr *)&un, sizeof un) < 0)
		r = fail_connect(path, -errno, why);
	else if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
		r = why_errno(why, -errno, "fcntl");
	if (r < 0) {
		(void)close(fd);	/* nothing was written */
		return r;
	}
	conn->fd = fd;
	conn->closed = false;
	buf_init(&conn->out, 0);
	if (!msgpack_unpacker_init(&conn->in, READ_SIZE)) {
		(void)close(fd);
		return why_set(why, -ENOMEM, "out of memory");
	}
	msgpack_unpacked_init(&conn->value);
	return 0;
}

void
ctl_conn_close(struct ctl_conn *conn)
{
	(void)close(conn->fd);	/* what counts was acknowledged */
	buf_free(&conn->out);
	msgpack_unpacker_destroy(&conn->in);
	msgpack_unpacked_destroy(&conn->value);
}

int64_t
ctl_conn_write(struct ctl_conn *conn)
{
	size_t done = 0;

	while (done < conn->out.len) {
		ssize_t n = send(conn->fd, conn->out.data + done,
		    conn->out.len - done, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0)
			return -errno;
		done += (size_t)n;
	}
	buf_drain(&conn->out, done);
	return (int64_t)done;
}

int64_t
ctl_conn_read(struct ctl_conn *conn, struct why *why)
{
	if (!msgpack_unpacker_reserve_buffer(&conn->in, READ_SIZE))
		return why_set(why, -ENOMEM, "out of memory");
	for (;;) {
		ssize_t n = recv(conn->fd, msgpack_unpacker_buffer(&conn->in),
		    READ_SIZE, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n < 0 && errno != ECONNRESET)
			return why_errno(why, -errno, "read");
		if (n <= 0) {
			conn->closed = true;
			return 0;
		}
		msgpack_unpacker_buffer_consumed(&conn->in, (size_t)n);
		return n;
	}
}

static bool
is_key(const msgpack_object *o, const char *key)
{
	return o->type == MSGPACK_OBJECT_STR && o->via.str.size == strlen(key) &&
	    memcmp(o->via.str.ptr, key, o->via.str.size) == 0;
}

static void
take_field(const msgpack_object_kv *kv, struct ctl_answer *a)
{
	const msgpack_object *v = &kv->val;

	if (is_key(&kv->key, "ack") &&
	    v->type == MSGPACK_OBJECT_POSITIVE_INTEGER) {
		a->has_id = true;
		a->id = v->via.u64;
	} else if (is_key(&kv->key, "error")) {
		a->refused = true;
		if (v->type == MSGPACK_OBJECT_STR)
			ctl_clean(v->via.str.ptr, v->via.str.size, a->text,
			    sizeof a->text);
	} else if (is_key(&kv->key, "code") && v->type == MSGPACK_OBJECT_STR) {
		ctl_clean(v->via.str.ptr, v->via.str.size, a->code,
		    sizeof a->code);
	}
}

int
ctl_conn_answer(struct ctl_conn *conn, struct ctl_answer *ret,
    struct why *why)
{
	struct ctl_answer a = { .has_id = false };

	switch (msgpack_unpacker_next(&conn->in, &conn->value)) {
	case MSGPACK_UNPACK_SUCCESS:
		break;
	case MSGPACK_UNPACK_CONTINUE:
		if (msgpack_unpacker_message_size(&conn->in) > ANSWER_MAX)
			return why_set(why, -EPROTO, "an answer without end");
		return 0;
	case MSGPACK_UNPACK_NOMEM_ERROR:
		return why_set(why, -ENOMEM, "out of memory");
	default:
		return why_set(why, -EPROTO, "an answer that is no msgpack");
	}
	const msgpack_object *o = &conn->value.data;
	if (o->type != MSGPACK_OBJECT_MAP)
		return why_set(why, -EPROTO, "an answer that is no map");
	for (uint32_t i = 0; i < o->via.map.size; i++)
		take_field(&o->via.map.ptr[i], &a);
	if (!a.refused && !a.has_id)
		return why_set(why, -EPROTO, "an answer that says nothing");
	*ret = a;
	return 1;
}
