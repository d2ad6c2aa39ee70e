/*
 * The C client: what it packs, held to tests/vectors, and how it behaves when
 * lumnid is away, full, restarted, or on the other side of a fork. lumnid is
 * played by this program, with msgpack-c as the decoder.
 */
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <json-c/json.h>
#include <msgpack.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lumni.h"

#define WAIT_MS	10000

/* --- vectors --------------------------------------------------------------- */

static size_t
unbase64(const char *s, uint8_t *dst)
{
	static const char abc[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	uint32_t bits = 0;
	int have = 0;
	size_t n = 0;

	for (; *s != '\0' && *s != '='; s++) {
		bits = bits << 6 | (uint32_t)(strchr(abc, *s) - abc);
		have += 6;
		if (have >= 8) {
			have -= 8;
			dst[n++] = (uint8_t)(bits >> have);
		}
	}
	return n;
}

static void	pack_json(struct lumni_msg *, struct json_object *);

/* An object with one key that begins with `$`; see tests/vectors/README. */
static void
pack_special(struct lumni_msg *m, const char *key, struct json_object *v)
{
	uint8_t raw[1024];
	const char *s;

	if (strcmp(key, "$bin") == 0) {
		lumni_msg_bin(m, raw,
		    unbase64(json_object_get_string(v), raw));
	} else if (strcmp(key, "$ext") == 0) {
		size_t n = unbase64(json_object_get_string(
		    json_object_array_get_idx(v, 1)), raw);

		lumni_msg_ext(m, (int8_t)json_object_get_int(
		    json_object_array_get_idx(v, 0)), raw, n);
	} else if (strcmp(key, "$time") == 0) {
		lumni_msg_time(m, json_object_get_int64(
		    json_object_array_get_idx(v, 0)),
		    (uint32_t)json_object_get_int64(
		    json_object_array_get_idx(v, 1)));
	} else if (strcmp(key, "$int") == 0) {
		s = json_object_get_string(v);
		if (s[0] == '-')
			lumni_msg_int(m, strtoll(s, NULL, 10));
		else
			lumni_msg_uint(m, strtoull(s, NULL, 10));
	} else if (strcmp(key, "$float") == 0) {
		lumni_msg_double(m, strtod(json_object_get_string(v), NULL));
	} else if (strcmp(key, "$repeat") == 0) {
		char text[1024] = "";

		s = json_object_get_string(json_object_array_get_idx(v, 0));
		for (int i = json_object_get_int(
		    json_object_array_get_idx(v, 1)); i > 0; i--)
			strcat(text, s);
		lumni_msg_str(m, text);
	} else if (strcmp(key, "$deep") == 0) {
		for (int i = 0; i < json_object_get_int(v); i++)
			lumni_msg_array_begin(m);
		for (int i = 0; i < json_object_get_int(v); i++)
			lumni_msg_end(m);
	} else {
		ck_abort_msg("unknown %s", key);
	}
}

static void
pack_map(struct lumni_msg *m, struct json_object *v)
{
	lumni_msg_map_begin(m);
	json_object_object_foreach(v, key, val) {
		lumni_msg_str(m, key);
		pack_json(m, val);
	}
	lumni_msg_end(m);
}

static void
pack_json(struct lumni_msg *m, struct json_object *v)
{
	switch (json_object_get_type(v)) {
	case json_type_null:
		lumni_msg_nil(m);
		break;
	case json_type_boolean:
		lumni_msg_bool(m, json_object_get_boolean(v));
		break;
	case json_type_int:
		lumni_msg_int(m, json_object_get_int64(v));
		break;
	case json_type_double:
		lumni_msg_double(m, json_object_get_double(v));
		break;
	case json_type_string:
		lumni_msg_strn(m, json_object_get_string(v),
		    (size_t)json_object_get_string_len(v));
		break;
	case json_type_array:
		lumni_msg_array_begin(m);
		for (size_t i = 0; i < json_object_array_length(v); i++)
			pack_json(m, json_object_array_get_idx(v, i));
		lumni_msg_end(m);
		break;
	case json_type_object:
		if (json_object_object_length(v) == 1) {
			json_object_object_foreach(v, key, val) {
				if (key[0] == '$') {
					pack_special(m, key, val);
					return;
				}
			}
		}
		pack_map(m, v);
		break;
	}
}

static struct json_object *
load(const char *name)
{
	char path[1024];
	struct json_object *o;

	snprintf(path, sizeof path, VECTORS "/%s", name);
	o = json_object_from_file(path);
	ck_assert_msg(o != NULL, "%s: %s", path, json_util_get_last_err());
	return o;
}

static bool
is_for_c(struct json_object *c)
{
	struct json_object *not = json_object_object_get(c, "not");

	for (size_t i = 0; not != NULL && i < json_object_array_length(not); i++)
		if (strcmp("c", json_object_get_string(
		    json_object_array_get_idx(not, i))) == 0)
			return false;
	return true;
}

static void
check_hex(struct json_object *c, const struct lumni_msg *m)
{
	const char *want = json_object_get_string(
	    json_object_object_get(c, "msgpack_hex"));
	const char *name = json_object_get_string(
	    json_object_object_get(c, "name"));
	char *got;
	size_t len = 0;
	const uint8_t *p = lumni_msg_data(m, &len);

	ck_assert_msg(p != NULL, "%s: %s", name, strerror(-lumni_msg_error(m)));
	got = calloc(2 * len + 1, 1);
	for (size_t i = 0; i < len; i++)
		snprintf(got + 2 * i, 3, "%02x", p[i]);
	ck_assert_msg(strcmp(got, want) == 0, "%s: %s, not %s", name, got,
	    want);
	free(got);
}

START_TEST(vectors_pack)
{
	struct json_object *all = load("pack.json");
	struct lumni_msg *m = lumni_msg_new();

	for (size_t i = 0; i < json_object_array_length(all); i++) {
		struct json_object *c = json_object_array_get_idx(all, i);

		if (!is_for_c(c))
			continue;
		lumni_msg_reset(m);
		pack_json(m, json_object_object_get(c, "event"));
		check_hex(c, m);
	}
	lumni_msg_free(m);
	json_object_put(all);
}
END_TEST

START_TEST(vectors_messages)
{
	struct json_object *all = load("messages.json");
	struct lumni_msg *ev = lumni_msg_new(), *m = lumni_msg_new();

	for (size_t i = 0; i < json_object_array_length(all); i++) {
		struct json_object *c = json_object_array_get_idx(all, i);
		struct json_object *list = json_object_object_get(c, "events");
		struct json_object *ack = json_object_object_get(c, "ack");
		struct lumni_field f = lumni_nil("ack");
		uint8_t raw[64];

		if (!is_for_c(c))
			continue;
		lumni_msg_reset(ev);
		for (size_t j = 0; j < json_object_array_length(list); j++)
			pack_json(ev, json_object_array_get_idx(list, j));
		if (json_object_is_type(ack, json_type_string))
			f = lumni_str("ack", json_object_get_string(ack));
		else if (json_object_is_type(ack, json_type_int))
			f = lumni_int("ack", json_object_get_int64(ack));
		else if (ack != NULL)
			f = lumni_bin("ack", raw, unbase64(
			    json_object_get_string(json_object_object_get(ack,
			    "$bin")), raw));
		ck_assert_int_eq(lumni_pack(m, json_object_get_string(
		    json_object_object_get(c, "runId")), ev,
		    json_object_get_boolean(json_object_object_get(c, "end")) ?
		    LUMNI_END : 0, ack == NULL ? NULL : &f), 0);
		check_hex(c, m);
	}
	lumni_msg_free(m);
	lumni_msg_free(ev);
	json_object_put(all);
}
END_TEST

START_TEST(msg_faults)
{
	struct lumni_msg *m = lumni_msg_new(), *dst = lumni_msg_new();
	size_t len;

	for (int i = 0; i < LUMNI_DEPTH_MAX + 1; i++)
		lumni_msg_array_begin(m);
	ck_assert_int_eq(lumni_msg_error(m), -ENAMETOOLONG);
	ck_assert_ptr_null(lumni_msg_data(m, &len));

	lumni_msg_reset(m);
	lumni_msg_end(m);
	ck_assert_int_eq(lumni_msg_error(m), -EINVAL);

	lumni_msg_reset(m);	/* a key without a value */
	lumni_msg_map_begin(m);
	lumni_msg_str(m, "k");
	lumni_msg_end(m);
	ck_assert_int_eq(lumni_msg_error(m), -EINVAL);
	ck_assert_int_eq(lumni_pack(dst, "r", m, 0, NULL), -EINVAL);

	lumni_msg_reset(m);	/* an event is a map */
	lumni_msg_int(m, 1);
	ck_assert_int_eq(lumni_pack(dst, "r", m, 0, NULL), -EINVAL);

	lumni_msg_free(m);
	lumni_msg_free(dst);
	lumni_msg_free(NULL);
	lumni_msg_reset(NULL);
	lumni_msg_str(NULL, "x");
	ck_assert_int_eq(lumni_msg_error(NULL), -ENOMEM);
}
END_TEST

START_TEST(run_ids)
{
	static const char *const good[] = {
	    "r", "run_8842", "l\xc3\xa4uft", "\xe6\xbc\xa2", "\xf0\x9f\x98\x80",
	    " ", "a b",
	};
	static const char *const bad[] = {
	    "", "a\nb", "\x7f", "\xc2\x85", "\xff", "\xc3", "\xed\xa0\x80",
	    "\xc0\x80", "\xe0\x80\x80", "\xf4\x90\x80\x80", "\xf0\x80\x80\x80",
	    "a\xe6\xbc", NULL,
	};
	struct lumni_msg *m = lumni_msg_new(), *ev = lumni_msg_new();
	char longest[258];

	lumni_msg_map_begin(ev);
	lumni_msg_end(ev);
	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
		ck_assert_int_eq(lumni_pack(m, good[i], ev, 0, NULL), 0);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		ck_assert_int_eq(lumni_pack(m, bad[i], ev, 0, NULL), -EINVAL);
	memset(longest, 'a', sizeof longest);
	longest[257] = '\0';
	ck_assert_int_eq(lumni_pack(m, longest, ev, 0, NULL), -EINVAL);
	longest[256] = '\0';
	ck_assert_int_eq(lumni_pack(m, longest, ev, 0, NULL), 0);
	lumni_msg_free(m);
	lumni_msg_free(ev);
}
END_TEST

/* --- lumnid, played -------------------------------------------------------- */

struct server {
	char		 dir[256];
	char		 path[280];
	char		 address[300];
	int		 listen_fd;
	int		 fd;		/* the connection, or -1 */
	msgpack_unpacker unpacker;
};

static struct server srv;

static void
server_listen(void)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };

	strcpy(un.sun_path, srv.path);
	srv.listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(srv.listen_fd, (void *)&un, sizeof un), 0);
	ck_assert_int_eq(listen(srv.listen_fd, 16), 0);
}

/* lumnid goes: the listening socket and the connection. */
static void
server_stop(void)
{
	if (srv.fd >= 0)
		close(srv.fd);
	if (srv.listen_fd >= 0)
		close(srv.listen_fd);
	srv.fd = srv.listen_fd = -1;
	unlink(srv.path);
}

static void
setup(void)
{
	const char *tmp = getenv("TMPDIR");

	unsetenv("LUMNID_ADDRESS");
	unsetenv("LUMNID_DISABLED");
	snprintf(srv.dir, sizeof srv.dir, "%.200s/lumni.XXXXXX",
	    tmp != NULL ? tmp : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(srv.dir));
	snprintf(srv.path, sizeof srv.path, "%s/sock", srv.dir);
	snprintf(srv.address, sizeof srv.address, "unix://%s", srv.path);
	srv.fd = srv.listen_fd = -1;
	msgpack_unpacker_init(&srv.unpacker, 1 << 16);
}

static void
teardown(void)
{
	server_stop();
	rmdir(srv.dir);
	msgpack_unpacker_destroy(&srv.unpacker);
}

static void
wait_readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	ck_assert_int_eq(poll(&p, 1, WAIT_MS), 1);
}

static void
server_accept(void)
{
	wait_readable(srv.listen_fd);
	srv.fd = accept(srv.listen_fd, NULL, NULL);
	ck_assert_int_ge(srv.fd, 0);
	msgpack_unpacker_reset(&srv.unpacker);
}

/* The next whole message; false at the end of the connection. */
static bool
server_next(msgpack_unpacked *ret)
{
	for (;;) {
		msgpack_unpack_return r =
		    msgpack_unpacker_next(&srv.unpacker, ret);
		ssize_t n;

		if (r == MSGPACK_UNPACK_SUCCESS)
			return true;
		ck_assert_int_eq(r, MSGPACK_UNPACK_CONTINUE);
		msgpack_unpacker_reserve_buffer(&srv.unpacker, 1 << 16);
		wait_readable(srv.fd);
		n = read(srv.fd, msgpack_unpacker_buffer(&srv.unpacker),
		    1 << 16);
		if (n <= 0)
			return false;
		msgpack_unpacker_buffer_consumed(&srv.unpacker, (size_t)n);
	}
}

static const msgpack_object *
get(const msgpack_object *map, const char *key)
{
	ck_assert_int_eq(map->type, MSGPACK_OBJECT_MAP);
	for (uint32_t i = 0; i < map->via.map.size; i++) {
		const msgpack_object_kv *kv = &map->via.map.ptr[i];

		if (kv->key.type == MSGPACK_OBJECT_STR &&
		    kv->key.via.str.size == strlen(key) &&
		    memcmp(kv->key.via.str.ptr, key, strlen(key)) == 0)
			return &kv->val;
	}
	return NULL;
}

static uint64_t
get_uint(const msgpack_object *map, const char *key)
{
	const msgpack_object *o = get(map, key);

	ck_assert_msg(o != NULL, "no %s", key);
	ck_assert_int_eq(o->type, MSGPACK_OBJECT_POSITIVE_INTEGER);
	return o->via.u64;
}

static bool
has_str(const msgpack_object *map, const char *key, const char *want)
{
	const msgpack_object *o = get(map, key);

	return o != NULL && o->type == MSGPACK_OBJECT_STR &&
	    o->via.str.size == strlen(want) &&
	    memcmp(o->via.str.ptr, want, strlen(want)) == 0;
}

/* --- behaviour ------------------------------------------------------------- */

static struct lumni *
client(size_t queue_bytes, unsigned int flags)
{
	struct lumni_options o = { .address = srv.address,
	    .queue_bytes = queue_bytes, .flags = flags,
	    .message_bytes = queue_bytes != 0 ? 16384 : 0 };
	struct lumni *c = lumni_open(&o);

	ck_assert_ptr_nonnull(c);
	return c;
}

static int
send_n(struct lumni *c, const char *run, uint64_t n, size_t pad)
{
	static char text[8192];

	memset(text, 'x', sizeof text);
	return LUMNI_EVENT(c, run, "agent_step", lumni_uint("n", n),
	    lumni_strn("text", text, pad));
}

static void
check_stats(struct lumni *c, struct lumni_stats *st)
{
	lumni_get_stats(c, st);
	ck_assert_uint_eq(st->events, st->sent + st->dropped + st->queued);
}

/*
 * Read until event number last has come, or so many whole messages; count the
 * drops that were reported. Events come in order, whatever was lost.
 */
static void
expect_until(uint64_t last, uint64_t *ret_got, uint64_t *ret_dropped)
{
	msgpack_unpacked u;
	uint64_t prev = 0;

	msgpack_unpacked_init(&u);
	while (server_next(&u)) {
		if (has_str(&u.data, "type", "lumni_client")) {
			*ret_dropped += get_uint(&u.data, "dropped");
			continue;
		}
		ck_assert_uint_gt(get_uint(&u.data, "n"), prev);
		prev = get_uint(&u.data, "n");
		(*ret_got)++;
		if (prev == last)
			break;
	}
	ck_assert_uint_eq(prev, last);
	msgpack_unpacked_destroy(&u);
}

START_TEST(event_arrives)
{
	struct lumni *c;
	msgpack_unpacked u;
	const msgpack_object *ev;

	server_listen();
	c = client(0, 0);
	ck_assert_int_eq(LUMNI_EVENT(c, "run_8842", "tool_call",
	    lumni_str("name", "issue_refund"), lumni_str("error", NULL),
	    lumni_bool("origin", 1), lumni_double("durationMs", 0.5)), 0);
	ck_assert_int_eq(LUMNI_EVENT(c, "run_8842", "run_end",
	    lumni_str("status", "ok"), lumni_str("at", "2026-11-23T12:00:00Z")),
	    0);
	server_accept();
	msgpack_unpacked_init(&u);
	ck_assert(server_next(&u));
	ck_assert(has_str(&u.data, "runId", "run_8842"));
	ck_assert(has_str(&u.data, "name", "issue_refund"));
	ck_assert_ptr_null(get(&u.data, "error"));
	ck_assert_int_eq(get(&u.data, "at")->type, MSGPACK_OBJECT_EXT);
	ck_assert_int_eq(get(&u.data, "at")->via.ext.type, -1);
	/* The root's end closes the run. */
	ck_assert(server_next(&u));
	ck_assert(get(&u.data, "end")->via.boolean);
	ev = get(&u.data, "events")->via.array.ptr;
	ck_assert(has_str(ev, "type", "run_end"));
	ck_assert(has_str(ev, "at", "2026-11-23T12:00:00Z"));
	lumni_close(c);
	ck_assert(!server_next(&u));
	msgpack_unpacked_destroy(&u);
}
END_TEST

START_TEST(large_map_arrives)
{
	struct lumni *c;
	struct lumni_field f[40];
	char keys[40][16];
	msgpack_unpacked u;

	server_listen();
	c = client(0, 0);
	for (int i = 0; i < 40; i++) {
		snprintf(keys[i], sizeof keys[i], "k%d", i);
		f[i] = lumni_int(keys[i], i - 20);
	}
	/* One has a key of the envelope, so it goes in the events form. */
	ck_assert_int_eq(lumni_event(c, "r", NULL, f, 40), 0);
	f[39] = lumni_str("end", "mine");
	ck_assert_int_eq(lumni_event(c, "r", NULL, f, 40), 0);
	server_accept();
	msgpack_unpacked_init(&u);
	ck_assert(server_next(&u));
	ck_assert_uint_eq(u.data.via.map.size, 42);
	ck_assert_int_eq(get(&u.data, "k1")->via.i64, -19);
	ck_assert(server_next(&u));
	ck_assert(has_str(get(&u.data, "events")->via.array.ptr, "end",
	    "mine"));
	msgpack_unpacked_destroy(&u);
	lumni_close(c);
}
END_TEST

/*
 * Nobody listens: the queue fills, the rest is dropped. When lumnid comes, what
 * waited arrives in order, and then the exact number of those that did not.
 */
START_TEST(absent_then_there)
{
	struct lumni *c = client(64 << 10, _i == 0 ? 0 : LUMNI_NO_THREAD);
	struct lumni_stats st;
	uint64_t got = 0, dropped = 0, lost = 0;

	for (uint64_t n = 1; n <= 2000; n++)
		lost += send_n(c, "r", n, 100) == -ENOBUFS;
	check_stats(c, &st);
	ck_assert_uint_eq(st.dropped, lost);
	ck_assert_uint_gt(lost, 0);
	ck_assert_uint_eq(st.sent, 0);
	ck_assert_uint_eq(st.reported, 0);

	server_listen();
	ck_assert_int_eq(lumni_flush(c, WAIT_MS), 0);
	ck_assert_int_eq(send_n(c, "r", 2001, 100), 0);
	server_accept();
	expect_until(2001, &got, &dropped);
	ck_assert_uint_eq(dropped, lost);
	ck_assert_uint_eq(got, 2001 - lost);
	check_stats(c, &st);
	ck_assert_uint_eq(st.reported, lost);
	lumni_close(c);
}
END_TEST

/*
 * lumnid does not read: the socket's buffer fills in the middle of a message,
 * whose rest is kept, so that what follows is not torn.
 */
START_TEST(full_then_reading)
{
	struct lumni *c;
	struct lumni_stats st;
	uint64_t got = 0, dropped = 0, lost = 0, n;

	server_listen();
	c = client(256 << 10, _i == 0 ? 0 : LUMNI_NO_THREAD);
	for (n = 1; lost < 100; n++)
		lost += send_n(c, "r", n, 100 + (n * 7919) % 8000) == -ENOBUFS;
	server_accept();
	check_stats(c, &st);
	ck_assert_uint_gt(st.queued, 0);
	/* The reader must run beside the flush: this end is one thread. */
	if (_i == 0) {
		pid_t pid = fork();

		ck_assert_int_ge(pid, 0);
		if (pid == 0) {
			/* The child's client is empty; the socket is read
			 * by the parent. */
			check_stats(c, &st);
			_exit(st.events == 0 ? 0 : 1);
		}
		int status;

		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert_int_eq(status, 0);
	}
	for (;;) {
		msgpack_unpacked u;

		msgpack_unpacked_init(&u);
		lumni_get_stats(c, &st);
		if (st.queued == 0)
			break;
		ck_assert(server_next(&u));
		got += !has_str(&u.data, "type", "lumni_client");
		if (!has_str(&u.data, "type", "lumni_client"))
			ck_assert_uint_gt(get_uint(&u.data, "n"), 0);
		else
			dropped += get_uint(&u.data, "dropped");
		msgpack_unpacked_destroy(&u);
		if (_i != 0)
			(void)lumni_flush(c, 0);
	}
	ck_assert_int_eq(send_n(c, "r", n, 100), 0);
	while (got + lost < n) {
		msgpack_unpacked u;

		msgpack_unpacked_init(&u);
		ck_assert(server_next(&u));
		if (has_str(&u.data, "type", "lumni_client"))
			dropped += get_uint(&u.data, "dropped");
		else
			got++;
		msgpack_unpacked_destroy(&u);
	}
	ck_assert_uint_eq(dropped, lost);
	check_stats(c, &st);
	ck_assert_uint_eq(st.sent, got);
	lumni_close(c);
}
END_TEST

/* A message cut off by lumnid's end is sent again, whole, to the next one. */
START_TEST(restart_in_mid_message)
{
	struct lumni *c;
	struct lumni_stats st;
	uint64_t n, got = 0, dropped = 0;
	msgpack_unpacked u;

	server_listen();
	c = client(0, 0);
	for (n = 1; n <= 200; n++)
		ck_assert_int_eq(send_n(c, "r", n, 8000), 0);
	check_stats(c, &st);
	ck_assert_uint_gt(st.queued, 0);
	uint64_t in_socket = st.sent;

	server_stop();		/* with unread bytes: they are lost */
	server_listen();
	server_accept();
	msgpack_unpacked_init(&u);
	ck_assert(server_next(&u));
	ck_assert_uint_eq(get_uint(&u.data, "n"), in_socket + 1);
	msgpack_unpacked_destroy(&u);
	expect_until(200, &got, &dropped);
	ck_assert_uint_eq(got, 200 - in_socket - 1);
	lumni_close(c);
}
END_TEST

START_TEST(reconnects_after_epipe)
{
	struct lumni *c;
	uint64_t got = 0, dropped = 0;

	server_listen();
	c = client(0, 0);
	for (uint64_t n = 1; n <= 5; n++) {
		ck_assert_int_eq(send_n(c, "r", n, 10), 0);
		server_accept();
		expect_until(n, &got, &dropped);
		server_stop();
		server_listen();
	}
	ck_assert_uint_eq(got, 5);
	ck_assert_uint_eq(dropped, 0);
	lumni_close(c);
}
END_TEST

START_TEST(fork_child_has_its_own)
{
	struct lumni *c;
	struct lumni_stats st;
	msgpack_unpacked u;
	int status, parent_fd;
	pid_t pid;

	/* Something waits, and the helper thread runs. */
	c = client(0, 0);
	ck_assert_int_eq(send_n(c, "parent", 1, 10), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		lumni_get_stats(c, &st);
		if (st.queued != 0)
			_exit(1);
		send_n(c, "child", 7, 10);
		_exit(lumni_flush(c, WAIT_MS) == 0 ? 0 : 1);
	}
	server_listen();
	msgpack_unpacked_init(&u);
	for (int i = 0; i < 2; i++) {
		server_accept();
		parent_fd = srv.fd;
		ck_assert(server_next(&u));
		if (has_str(&u.data, "runId", "child")) {
			ck_assert_uint_eq(get_uint(&u.data, "n"), 7);
			/* Nothing of the parent's. */
			ck_assert(!server_next(&u));
			close(parent_fd);
		} else {
			ck_assert_uint_eq(get_uint(&u.data, "n"), 1);
		}
	}
	msgpack_unpacked_destroy(&u);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	lumni_close(c);
}
END_TEST

/* exit() alone sends what waits, as long as somebody reads. */
START_TEST(exit_flushes)
{
	struct lumni_options o = { .address = srv.address, .exit_ms = WAIT_MS };
	uint64_t got = 0, dropped = 0;
	int status;
	pid_t pid;

	server_listen();
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		struct lumni *c = lumni_open(&o);

		for (uint64_t n = 1; n <= 200; n++)
			send_n(c, "r", n, 8000);
		exit(0);
	}
	server_accept();
	expect_until(200, &got, &dropped);
	ck_assert_uint_eq(got, 200);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}
END_TEST

#define THREADS	8
#define EACH	2000

static void *
thread_main(void *arg)
{
	struct lumni *c = arg;
	char run[32];

	snprintf(run, sizeof run, "t%lu", (unsigned long)pthread_self());
	for (uint64_t n = 1; n <= EACH; n++)
		send_n(c, run, n, n % 300);
	return NULL;
}

START_TEST(threads_share_one)
{
	pthread_t t[THREADS];
	struct lumni *c;
	msgpack_unpacked u;
	struct { char run[32]; uint64_t n; } seen[THREADS];
	struct lumni_stats st;
	size_t runs = 0;

	server_listen();
	c = client(16 << 20, 0);
	for (int i = 0; i < THREADS; i++)
		pthread_create(&t[i], NULL, thread_main, c);
	server_accept();
	msgpack_unpacked_init(&u);
	for (int i = 0; i < THREADS * EACH; i++) {
		const msgpack_object *id;
		size_t k;

		ck_assert(server_next(&u));
		id = get(&u.data, "runId");
		for (k = 0; k < runs; k++)
			if (has_str(&u.data, "runId", seen[k].run))
				break;
		if (k == runs) {
			ck_assert_uint_lt(runs, THREADS);
			memcpy(seen[k].run, id->via.str.ptr, id->via.str.size);
			seen[k].run[id->via.str.size] = '\0';
			seen[k].n = 0;
			runs++;
		}
		ck_assert_uint_eq(get_uint(&u.data, "n"), ++seen[k].n);
	}
	msgpack_unpacked_destroy(&u);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	check_stats(c, &st);
	ck_assert_uint_eq(st.sent, THREADS * EACH);
	lumni_close(c);
}
END_TEST

START_TEST(invalid_is_counted)
{
	struct lumni *c;
	struct lumni_stats st;
	static char big[20000];
	msgpack_unpacked u;
	const msgpack_object *why;

	server_listen();
	c = client(64 << 10, 0);	/* messages up to 16 KiB */
	memset(big, 'x', sizeof big - 1);
	ck_assert_int_eq(LUMNI_EVENT(c, "a\nb", "x", lumni_nil("k")), -EINVAL);
	ck_assert_int_eq(LUMNI_EVENT(c, NULL, "x", lumni_nil("k")), -EINVAL);
	ck_assert_int_eq(LUMNI_EVENT(c, "r", "x", lumni_str("k", big)),
	    -EMSGSIZE);
	check_stats(c, &st);
	ck_assert_uint_eq(st.dropped, 3);
	ck_assert_int_eq(send_n(c, "later", 1, 1), 0);
	server_accept();
	msgpack_unpacked_init(&u);
	ck_assert(server_next(&u));
	ck_assert(has_str(&u.data, "type", "lumni_client"));
	ck_assert(has_str(&u.data, "runId", "later"));
	ck_assert(has_str(&u.data, "droppedRunId", "r"));
	ck_assert_uint_eq(get_uint(&u.data, "dropped"), 3);
	why = get(&u.data, "reasons");
	ck_assert_uint_eq(get_uint(why, "invalid"), 2);
	ck_assert_uint_eq(get_uint(why, "too_large"), 1);
	ck_assert(server_next(&u));
	ck_assert_uint_eq(get_uint(&u.data, "n"), 1);
	msgpack_unpacked_destroy(&u);
	lumni_close(c);
}
END_TEST

/* What follows a report is behind it. */
START_TEST(report_goes_ahead)
{
	struct lumni *c;
	msgpack_unpacked u;

	server_listen();
	c = client(0, 0);
	ck_assert_int_eq(LUMNI_EVENT(c, "", "x", lumni_nil("k")), -EINVAL);
	ck_assert_int_eq(send_n(c, "r", 1, 1), 0);
	server_accept();
	msgpack_unpacked_init(&u);
	ck_assert(server_next(&u));
	ck_assert_uint_eq(get_uint(&u.data, "dropped"), 1);
	ck_assert(server_next(&u));
	msgpack_unpacked_destroy(&u);
	lumni_close(c);
}
END_TEST

START_TEST(udp)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
	    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof in;
	static char big[70000], buf[65536];
	struct lumni_options o = { 0 };
	struct lumni *c;
	char address[64];
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ssize_t n;

	ck_assert_int_eq(bind(fd, (void *)&in, sizeof in), 0);
	ck_assert_int_eq(getsockname(fd, (void *)&in, &len), 0);
	snprintf(address, sizeof address, "udp://127.0.0.1:%d",
	    ntohs(in.sin_port));
	setenv("LUMNID_ADDRESS", address, 1);
	c = lumni_open(&o);
	unsetenv("LUMNID_ADDRESS");
	ck_assert_ptr_nonnull(c);
	memset(big, 'x', sizeof big - 1);
	ck_assert_int_eq(LUMNI_EVENT(c, "r", "x", lumni_str("k", big)),
	    -EMSGSIZE);
	ck_assert_int_eq(send_n(c, "r", 1, 10), 0);
	for (int i = 0; i < 2; i++) {
		msgpack_unpacked u;

		wait_readable(fd);
		n = read(fd, buf, sizeof buf);
		ck_assert_int_gt(n, 0);
		msgpack_unpacked_init(&u);
		ck_assert_int_eq(msgpack_unpack_next(&u, buf, (size_t)n, NULL),
		    MSGPACK_UNPACK_SUCCESS);
		ck_assert(i == 0 ? has_str(&u.data, "type", "lumni_client") :
		    get_uint(&u.data, "n") == 1);
		msgpack_unpacked_destroy(&u);
	}
	close(fd);
	/* Nobody there any more: no call fails or hangs. */
	for (uint64_t i = 0; i < 100; i++)
		(void)send_n(c, "r", i, 10);
	lumni_close(c);
}
END_TEST

START_TEST(addresses)
{
	static const char *const bad[] = {
	    "tcp://127.0.0.1:1", "unix://", "udp://127.0.0.1",
	    "udp://127.0.0.1:0", "udp://127.0.0.1:x", "udp://example.org:1",
	    "udp://[::1:1", "nonsense",
	};
	static const char *const good[] = {
	    "unix:///nowhere/sock", "/nowhere/sock", "unix://@abstract",
	    "unixgram:///nowhere/sock", "udp://localhost:9", "udp://[::1]:9",
	};
	struct lumni_options o = { 0 };
	struct lumni_stats st;
	struct lumni *c;

	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		o.address = bad[i];
		errno = 0;
		ck_assert_ptr_null(lumni_open(&o));
		ck_assert_int_eq(errno, EINVAL);
	}
	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
		o.address = good[i];
		c = lumni_open(&o);
		ck_assert_ptr_nonnull(c);
		ck_assert_int_eq(send_n(c, "r", 1, 1), 0);
		lumni_close(c);
	}
	/* Disabled: everything takes NULL. */
	setenv("LUMNID_DISABLED", "1", 1);
	c = lumni_open(NULL);
	ck_assert_ptr_null(c);
	ck_assert_int_eq(send_n(c, "r", 1, 1), 0);
	ck_assert_int_eq(lumni_send(c, "r", NULL, 0), 0);
	ck_assert_int_eq(lumni_flush(c, 1000), 0);
	lumni_get_stats(c, &st);
	lumni_close(c);
	ck_assert_str_eq(lumni_version(), LUMNI_VERSION);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("lumni_c");
	TCase *t = tcase_create("packing");
	SRunner *sr;
	int failed;

	tcase_add_test(t, vectors_pack);
	tcase_add_test(t, vectors_messages);
	tcase_add_test(t, msg_faults);
	tcase_add_test(t, run_ids);
	suite_add_tcase(s, t);
	t = tcase_create("client");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, event_arrives);
	tcase_add_test(t, large_map_arrives);
	tcase_add_loop_test(t, absent_then_there, 0, 2);
	tcase_add_loop_test(t, full_then_reading, 0, 2);
	tcase_add_test(t, restart_in_mid_message);
	tcase_add_test(t, reconnects_after_epipe);
	tcase_add_test(t, fork_child_has_its_own);
	tcase_add_test(t, exit_flushes);
	tcase_add_test(t, threads_share_one);
	tcase_add_test(t, invalid_is_counted);
	tcase_add_test(t, report_goes_ahead);
	tcase_add_test(t, udp);
	tcase_add_test(t, addresses);
	suite_add_tcase(s, t);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed == 0 ? 0 : 1;
}
