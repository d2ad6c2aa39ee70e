/*
 * in_stream with an engine that does what the test says: what is cut into
 * messages and how, what happens when there is no room, who is turned away.
 */
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "core/engine.h"
#include "loop/in_stream.h"
#include "loop/loop.h"
#include "unit.h"

/* --- a fake engine -------------------------------------------------------- */

static struct taken {
	uint64_t	 peer;
	char		*data;
	size_t		 len;
} taken[400000];
static size_t taken_n;
static enum event_code room;
/*
 * What it does with a message: an integer is taken without an ack; a string is
 * taken, and acked under itself when ack_now; nil is refused, and so is an
 * empty map, which has an ack.
 */
static bool ack_now;
/* 0x7e has no room of its own until then; how often it was offered. */
static bool no_room_for_7e;
static unsigned offered_7e;
static struct books books;
static struct loop *loop;
static struct in_stream *in;

struct mono
engine_deadline(const struct engine *e)
{
	return MONO_NEVER;
}

void
engine_turn_taken(struct engine *e, struct now now)
{
	engine_turn(e, now);
}

void
engine_turn(struct engine *e, struct now now)
{
}

struct books *
engine_books(struct engine *e)
{
	return &books;
}

enum event_code
engine_room(const struct engine *e)
{
	return room;
}

enum event_code
engine_take(struct engine *e, enum books_input input, uint64_t peer,
    const uint8_t *p, size_t len, struct now now, struct event_ack *ret_ack,
    struct why *why)
{
	bool is_str = (p[0] & 0xe0) == 0xa0;
	struct taken *t = &taken[taken_n];

	ck_assert_int_eq(input, BOOKS_STREAM);
	ret_ack->len = 0;
	if (is_str) {
		memcpy(ret_ack->raw, p, len);
		ret_ack->len = (uint8_t)len;
	}
	if (p[0] == 0xc0 || p[0] == 0x80) {
		if (p[0] == 0x80)
			*ret_ack = (struct event_ack){ 1, { 0x80 } };
		(void)why_set(why, 0, "I do not like it");
		return EVENT_NOT_A_MESSAGE;
	}
	if (room != EVENT_OK) {
		(void)why_set(why, 0, "no room");
		return room;
	}
	if (p[0] == 0x7e && no_room_for_7e) {
		offered_7e++;
		return EVENT_FULL;
	}
	ck_assert_uint_lt(taken_n, NELEM(taken));
	t->peer = peer;
	t->len = len;
	t->data = malloc(len);
	ck_assert_ptr_nonnull(t->data);
	memcpy(t->data, p, len);
	taken_n++;
	if (is_str && ack_now)
		in_stream_answer(in, peer, EVENT_OK, NULL, ret_ack);
	return EVENT_OK;
}

/* The forward protocol is tests/it/test_forward.py's. */
enum event_code
engine_take_entry(struct engine *e, enum books_input input,
    const struct event_record *rec, struct now now, struct why *why)
{
	return EVENT_NOT_SUPPORTED;
}

void
engine_take_ack(struct engine *e, uint64_t peer, const struct event_ack *ack,
    struct now now)
{
}

bool
engine_is_passing(enum event_code code)
{
	return false;
}

/* --- running -------------------------------------------------------------- */

static bool (*until)(void);

static void
on_turn_end(void *arg)
{
	if (until())
		loop_quit(loop);
}

static void
on_too_late(evutil_socket_t fd, short what, void *arg)
{
	ck_abort_msg("waited too long; %zu messages", taken_n);
}

static void
run(bool (*cond)(void))
{
	const struct timeval limit = { .tv_sec = 30 };
	struct event watchdog;
	struct why why;

	until = cond;
	(void)evtimer_assign(&watchdog, loop_base(loop), on_too_late, NULL);
	(void)evtimer_add(&watchdog, &limit);
	loop_poke(loop);
	ck_assert_int_eq(loop_run(loop, &why), 0);
	(void)event_del(&watchdog);
}

static size_t wanted;

static bool
has_taken(void)
{
	return taken_n >= wanted;
}

static void
run_taken(size_t n)
{
	wanted = n;
	run(has_taken);
	ck_assert_uint_eq(taken_n, n);
}

static bool
has_connections(void)
{
	return in_stream_connections(in) == wanted;
}

static void
run_connections(size_t n)
{
	wanted = n;
	run(has_connections);
}

static unsigned turns;

static bool
has_turned(void)
{
	loop_poke(loop);
	return turns-- == 0;
}

/* So many turns, in which everything that is ready is handled. */
static void
run_turns(unsigned n)
{
	turns = n;
	run(has_turned);
}

/* --- clients -------------------------------------------------------------- */

static char dir[] = "/tmp/lumnid-in-XXXXXX", path[96];
static struct conf *conf;

static void
set(const char *key, const char *value)
{
	struct why why;

	ck_assert_msg(conf_set(conf, key, value, &why) == 0, "%s", why.text);
}

static void
drop_line(void *arg, const char *line, size_t n)
{
}

static void
begin(void)
{
	struct why why;

	log_set_sink(drop_line, NULL);
	ck_assert_ptr_nonnull(mkdtemp(dir));
	(void)snprintf(path, sizeof path, "%s/sock", dir);
	ck_assert_msg(conf_load(NULL, true, &conf, &why) == 0, "%s", why.text);
	set("listen.unix.path", path);
}

static void
open_in(void)
{
	struct why why;

	ck_assert_msg(loop_new(&loop, &why) == 0, "%s", why.text);
	loop_set_engine(loop, (struct engine *)&books);
	ck_assert_msg(in_stream_open(loop, conf, -1, &in, &why) == 0, "%s",
	    why.text);
	loop_add_hook(loop, on_turn_end, NULL);
}

static void
end(void)
{
	in_stream_close(in);
	loop_free(loop);
	conf_free(conf);
	for (size_t i = 0; i < taken_n; i++)
		free(taken[i].data);
	ck_assert_int_eq(access(path, F_OK), -1);
	ck_assert_int_eq(rmdir(dir), 0);
}

static int
client(void)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	ck_assert_int_ge(fd, 0);
	(void)strcpy(sun.sun_path, path);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&sun, sizeof sun), 0);
	return fd;
}

static void
put(int fd, const void *p, size_t n)
{
	ck_assert_int_eq(send(fd, p, n, MSG_NOSIGNAL), (ssize_t)n);
}

/* Read what is there; returns bytes, 0 at the end, -1 for nothing. */
static ssize_t
get(int fd, char *dst, size_t n)
{
	return recv(fd, dst, n, 0);
}

/* The answer that has come: its code, or "ack". */
static void
must_answer(int fd, const char *code)
{
	char b[4096];
	ssize_t n = get(fd, b, sizeof b - 1);

	ck_assert_msg(n > 0, "no answer instead of %s", code);
	ck_assert_msg(memmem(b, (size_t)n, code, strlen(code)) != NULL,
	    "no %s in %.*s", code, (int)n, b);
}

static void
must_end(int fd)
{
	char b[16];

	ck_assert_int_eq(get(fd, b, sizeof b), 0);
}

/* --- messages ------------------------------------------------------------- */

/* A str 32 of n bytes in all. */
static uint8_t *
make_str(size_t n)
{
	uint8_t *p = malloc(n);
	uint32_t len = (uint32_t)(n - 5);

	ck_assert_ptr_nonnull(p);
	memset(p, 'x', n);
	p[0] = 0xdb;
	p[1] = (uint8_t)(len >> 24);
	p[2] = (uint8_t)(len >> 16);
	p[3] = (uint8_t)(len >> 8);
	p[4] = (uint8_t)len;
	return p;
}

START_TEST(split_at_any_byte)
{
	static const uint8_t three[] = { 0x81, 0xa1, 'a', 0xcd, 1, 2, 0x05,
	    0x82, 0xc3, 0xa2, 'h', 'i', 0x01, 0xca, 0, 0, 0, 0 };
	int fd;

	begin();
	open_in();
	fd = client();
	for (size_t i = 1; i < sizeof three; i++) {
		size_t before = taken_n;

		put(fd, three, i);
		run_turns(2);
		ck_assert_uint_lt(taken_n, before + 3);
		put(fd, three + i, sizeof three - i);
		run_taken(before + 3);
		ck_assert_uint_eq(taken[before].len, 6);
		ck_assert_uint_eq(taken[before + 1].len, 1);
		ck_assert_uint_eq(taken[before + 2].len, 11);
		ck_assert_int_eq(memcmp(taken[before + 2].data, three + 7, 11),
		    0);
	}
	ck_assert_int_eq(close(fd), 0);
	run_connections(0);
	end();
}
END_TEST

/* Large ones between small ones, in pieces of every odd size. */
START_TEST(large_messages)
{
	static const size_t sizes[] = { 6, 100, 16383, 16384, 16385, 65536,
	    65537, 81920, 200000, 3000000, 8 << 20, 6 };
	size_t total = 0, off = 0, at = 0;
	uint8_t *all;
	int fd;

	begin();
	open_in();
	for (size_t i = 0; i < NELEM(sizes); i++)
		total += sizes[i] + 1;
	all = malloc(total);
	ck_assert_ptr_nonnull(all);
	for (size_t i = 0; i < NELEM(sizes); i++) {
		uint8_t *one = make_str(sizes[i]);

		memcpy(all + at, one, sizes[i]);
		all[at + sizes[i]] = 7;
		at += sizes[i] + 1;
		free(one);
	}
	fd = client();
	for (size_t piece = 1; off < total; piece = piece * 5 % 150001 + 1) {
		size_t n = piece > total - off ? total - off : piece;
		ssize_t r = send(fd, all + off, n, MSG_NOSIGNAL);

		if (r > 0)
			off += (size_t)r;
		run_turns(1);
	}
	run_taken(2 * NELEM(sizes));
	for (size_t i = 0; i < NELEM(sizes); i++) {
		ck_assert_uint_eq(taken[2 * i].len, sizes[i]);
		ck_assert_int_eq(taken[2 * i].data[sizes[i] - 1], 'x');
		ck_assert_int_eq(taken[2 * i + 1].data[0], 7);
	}
	free(all);
	(void)close(fd);
	end();
}
END_TEST

/* What came before the fault is kept, and acked; the answer gets out. */
START_TEST(bad_bytes_end_the_stream)
{
	static const struct {
		const char	*bytes;
		size_t		 n;
		const char	*code;
		int		 total;
	} rows[] = {
		{ "\xc1", 1, "not_msgpack", EVENT_NOT_MSGPACK },
		{ "\xdd\xff\xff\xff\xff", 5, "too_large", EVENT_TOO_LARGE },
		{ "\xc6\x7f\xff\xff\xff", 5, "too_large", EVENT_TOO_LARGE },
	};
	char junk[70000];

	memset(junk, 1, sizeof junk);
	begin();
	open_in();
	for (size_t i = 0; i < NELEM(rows); i++) {
		size_t before = taken_n;
		int fd = client();

		ack_now = false;
		put(fd, "\xa1z\x05", 3);
		put(fd, rows[i].bytes, rows[i].n);
		put(fd, junk, sizeof junk);
		run_taken(before + 2);
		run_turns(5);
		must_answer(fd, rows[i].code);
		/* It stays until the ack that is due has gone out, too. */
		ck_assert_int_eq(get(fd, junk, 1), -1);
		in_stream_answer(in, taken[before].peer, EVENT_OK, NULL,
		    &(struct event_ack){ 2, { 0xa1, 'z' } });
		run_turns(2);
		must_answer(fd, "ack");
		must_end(fd);
		ck_assert_uint_eq(taken_n, before + 2);
		ck_assert_uint_eq(books.total[BOOKS_REFUSED + rows[i].total],
		    i == 2 ? 2 : 1);
		ck_assert_int_eq(close(fd), 0);
		run_connections(0);
	}
	end();
}
END_TEST

START_TEST(nesting_has_a_limit)
{
	char deep[100];
	int fd;

	memset(deep, 0x91, sizeof deep);
	begin();
	open_in();
	fd = client();
	put(fd, deep, sizeof deep);
	run_turns(4);
	must_answer(fd, "too_deep");
	must_end(fd);
	(void)close(fd);
	end();
}
END_TEST

/* A message that is refused is answered alone, if it asked for it. */
START_TEST(refusals)
{
	char b[64];
	int fd;

	begin();
	open_in();
	fd = client();
	put(fd, "\xc0\x05", 2);
	run_taken(1);
	run_turns(1);
	ck_assert_int_eq(get(fd, b, sizeof b), -1);
	put(fd, "\x80\x05", 2);
	run_taken(2);
	run_turns(1);
	must_answer(fd, "not_a_message");
	(void)close(fd);
	end();
}
END_TEST

/* "send and shutdown": the acks still come, and then the end. */
START_TEST(half_closed_client_gets_its_acks)
{
	int fd;

	begin();
	open_in();
	fd = client();
	put(fd, "\xa1q", 2);
	ck_assert_int_eq(shutdown(fd, SHUT_WR), 0);
	run_taken(1);
	run_turns(3);
	ck_assert_uint_eq(in_stream_connections(in), 1);
	in_stream_answer(in, taken[0].peer, EVENT_OK, NULL,
	    &(struct event_ack){ 2, { 0xa1, 'q' } });
	run_connections(0);
	must_answer(fd, "ack");
	must_end(fd);
	(void)close(fd);
	end();
}
END_TEST

START_TEST(answer_to_nobody)
{
	struct event_ack ack = { 2, { 0xa1, 'q' } };
	uint64_t gone;
	int fd;

	begin();
	open_in();
	fd = client();
	put(fd, "\x05", 1);
	run_taken(1);
	gone = taken[0].peer;
	(void)close(fd);
	run_connections(0);
	in_stream_answer(in, gone, EVENT_OK, NULL, &ack);
	/* The slot's next owner is somebody else. */
	fd = client();
	put(fd, "\x05", 1);
	run_taken(2);
	ck_assert_uint_ne(taken[1].peer, gone);
	in_stream_answer(in, gone, EVENT_OK, NULL, &ack);
	in_stream_answer(in, 0, EVENT_OK, NULL, &ack);
	in_stream_answer(in, UINT64_MAX, EVENT_OK, NULL, &ack);
	run_turns(1);
	ck_assert_int_eq(get(fd, (char[8]){ 0 }, 8), -1);
	(void)close(fd);
	end();
}
END_TEST

/*
 * While there is no room, who asks for acks gets the error at once; who does
 * not is held, and not read further; nothing of it is lost.
 */
START_TEST(no_room)
{
	char many[5000];
	int asks, silent;
	size_t sent = 0;
	ssize_t r;

	memset(many, 5, sizeof many);
	begin();
	open_in();
	asks = client();
	silent = client();
	run_connections(2);
	room = EVENT_FULL;
	put(asks, "\xa1q\xa1r", 4);
	run_turns(2);
	must_answer(asks, "full");
	while ((r = send(silent, many, sizeof many, MSG_NOSIGNAL)) > 0) {
		sent += (size_t)r;
		run_turns(1);
	}
	/* The client is stopped by its own socket's buffer. */
	ck_assert_uint_lt(sent, 1 << 20);
	ck_assert_uint_eq(taken_n, 0);
	put(asks, "\xa1s", 2);
	run_turns(2);
	must_answer(asks, "full");
	room = EVENT_DEGRADED;
	put(asks, "\xa1s", 2);
	run_turns(2);
	must_answer(asks, "degraded");
	room = EVENT_OK;
	run_taken(sent);
	(void)close(asks);
	(void)close(silent);
	run_connections(0);
	end();
}
END_TEST

/* A client that was held, and went, has its messages taken all the same. */
START_TEST(held_and_gone)
{
	int fd;

	begin();
	open_in();
	room = EVENT_FULL;
	fd = client();
	put(fd, "\x05\x06\x07\x93", 4);
	run_turns(3);
	(void)close(fd);
	run_turns(3);
	ck_assert_uint_eq(taken_n, 0);
	room = EVENT_OK;
	run_taken(3);
	run_connections(0);
	end();
}
END_TEST

/*
 * With a full spool there is room in general, but none for a run that had
 * ended. Its message was offered again in every turn, and each offer woke the
 * loop: a core was busy for as long as the upstream was away.
 */
START_TEST(no_room_for_one_run)
{
	int fd;

	begin();
	open_in();
	no_room_for_7e = true;
	fd = client();
	put(fd, "\x05\x7e\x06", 3);
	run_turns(200);
	ck_assert_uint_eq(taken_n, 1);
	ck_assert_uint_ge(offered_7e, 1);
	ck_assert_uint_le(offered_7e, 10);
	no_room_for_7e = false;
	run_taken(3);
	(void)close(fd);
	run_connections(0);
	end();
}
END_TEST

/* A client that fetches no answers is not read further. */
START_TEST(choked_client)
{
	char many[4000], b[65536];
	size_t sent = 0, limit = 10 << 20;
	unsigned idle = 0;
	ssize_t r;
	int fd;

	for (size_t i = 0; i < sizeof many; i += 2)
		memcpy(many + i, "\xa1q", 2);
	begin();
	open_in();
	ack_now = true;
	fd = client();
	while (sent < limit && idle < 50) {
		r = send(fd, many, sizeof many, MSG_NOSIGNAL);
		sent += r > 0 ? (size_t)r : 0;
		idle = r > 0 ? 0 : idle + 1;
		for (size_t i = 0; i < taken_n; i++)
			free(taken[i].data);
		taken_n = 0;
		run_turns(1);
	}
	ck_assert_uint_lt(sent, limit);
	ck_assert_uint_eq(in_stream_connections(in), 1);
	/* It fetches them after all: it is served again. */
	for (idle = 0; idle < 50; idle++) {
		while (get(fd, b, sizeof b) > 0)
			idle = 0;
		for (size_t i = 0; i < taken_n; i++)
			free(taken[i].data);
		taken_n = 0;
		run_turns(1);
	}
	put(fd, "\x05", 1);
	run_taken(1);
	(void)close(fd);
	end();
}
END_TEST

/* --- limits --------------------------------------------------------------- */

START_TEST(too_many_connections)
{
	int fds[5];

	begin();
	set("limits.connections", "3");
	open_in();
	for (size_t i = 0; i < 5; i++)
		fds[i] = client();
	run_turns(3);
	for (size_t i = 3; i < 5; i++) {
		must_answer(fds[i], "too_many_connections");
		must_end(fds[i]);
	}
	ck_assert_uint_eq(in_stream_connections(in), 3);
	(void)close(fds[0]);
	run_connections(2);
	fds[0] = client();
	put(fds[0], "\x05", 1);
	run_taken(1);
	for (size_t i = 0; i < 5; i++)
		(void)close(fds[i]);
	end();
}
END_TEST

START_TEST(too_many_of_one_user)
{
	int a, b;

	begin();
	set("limits.connections_per_uid", "1");
	open_in();
	a = client();
	b = client();
	run_turns(3);
	must_answer(b, "too_many_connections");
	must_end(b);
	(void)close(a);
	(void)close(b);
	end();
}
END_TEST

/*
 * After a restart hundreds of clients that had said all and gone waited in the
 * queue; as they were accepted before any was read, their user's connections
 * were used up, and the rest was turned away with what it had written.
 */
START_TEST(who_has_gone_uses_up_nothing)
{
	enum { MANY = 60 };

	begin();
	set("limits.connections_per_uid", "1");
	set("limits.connections", "2");
	open_in();
	for (int i = 0; i < MANY; i++) {
		int fd = client();

		put(fd, "\x05", 1);
		(void)close(fd);
	}
	run_taken(MANY);
	end();
}
END_TEST

START_TEST(only_allowed_users)
{
	char other[16];
	struct why why;
	int fd;

	begin();
	(void)snprintf(other, sizeof other, "%u", (unsigned)getuid() + 1);
	set("listen.unix.allow_uids", other);
	open_in();
	fd = client();
	run_turns(3);
	must_answer(fd, "forbidden");
	must_end(fd);
	(void)close(fd);
	(void)snprintf(other, sizeof other, "%u", (unsigned)getuid());
	set("listen.unix.allow_uids", other);
	ck_assert_int_eq(in_stream_set_conf(in, conf, &why), 0);
	fd = client();
	put(fd, "\x05", 1);
	run_taken(1);
	(void)close(fd);
	end();
}
END_TEST

/* Unfinished messages of all clients together have a limit: 64 MiB. */
START_TEST(unfinished_messages)
{
	enum { CLIENTS = 12, SIZE = 8 << 20 };
	uint8_t *one = make_str(SIZE);
	size_t off[CLIENTS] = { 0 };
	unsigned refused = 0;
	int fds[CLIENTS];

	begin();
	open_in();
	for (size_t i = 0; i < CLIENTS; i++)
		fds[i] = client();
	for (size_t round = 0; round < 400; round++) {
		for (size_t i = 0; i < CLIENTS; i++) {
			size_t n = SIZE - 1000 - off[i];
			ssize_t r = send(fds[i], one + off[i],
			    n > 65536 ? 65536 : n, MSG_NOSIGNAL);
			if (r > 0 && n > 0)
				off[i] += (size_t)r;
		}
		run_turns(1);
	}
	for (size_t i = 0; i < CLIENTS; i++) {
		char b[256];
		ssize_t n = get(fds[i], b, sizeof b);

		if (n > 0) {
			ck_assert_ptr_nonnull(memmem(b, (size_t)n, "no_memory",
			    9));
			refused++;
		}
	}
	ck_assert_uint_gt(refused, 2);
	ck_assert_uint_lt(refused, CLIENTS);
	for (size_t i = 0; i < CLIENTS; i++)
		(void)close(fds[i]);
	free(one);
	end();
}
END_TEST

/* --- the socket ----------------------------------------------------------- */

START_TEST(mode_and_stale_and_live)
{
	struct in_stream *second;
	struct stat st;
	struct why why;

	begin();
	set("listen.unix.mode", "0622");
	open_in();
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0622);
	ck_assert_int_eq(in_stream_open(loop, conf, -1, &second, &why),
	    -EADDRINUSE);
	ck_assert_ptr_nonnull(strstr(why.text, "running lumnid"));
	/* The live one was left alone. */
	ck_assert_int_eq(close(client()), 0);
	end();
}
END_TEST

START_TEST(stale_socket_is_replaced)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	begin();
	(void)strcpy(sun.sun_path, path);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&sun, sizeof sun), 0);
	(void)close(fd);
	open_in();
	(void)close(client());
	end();
}
END_TEST

START_TEST(file_in_the_way)
{
	struct why why;
	int fd;

	begin();
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(loop_new(&loop, &why), 0);
	ck_assert_int_eq(in_stream_open(loop, conf, -1, &in, &why), -EEXIST);
	ck_assert_ptr_nonnull(strstr(why.text, path));
	ck_assert_int_eq(unlink(path), 0);
	(void)close(fd);
	set("listen.unix.group", "12345678");
	if (getuid() != 0)
		ck_assert_int_eq(in_stream_open(loop, conf, -1, &in, &why), -EPERM);
	ck_assert_int_eq(access(path, F_OK), -1);
	loop_free(loop);
	conf_free(conf);
	(void)rmdir(dir);
}
END_TEST

/* A stop reads what clients have sent, also those not yet accepted. */
START_TEST(drain)
{
	int a, b;

	begin();
	open_in();
	a = client();
	run_connections(1);
	put(a, "\x05\xa1q", 3);
	b = client();
	put(b, "\x06", 1);
	in_stream_drain(in, 1000);
	ck_assert_uint_eq(taken_n, 3);
	ck_assert_int_eq(access(path, F_OK), -1);
	/* What comes too late is not lost in a socket that nobody reads. */
	ck_assert_int_eq(send(a, "\x07", 1, MSG_NOSIGNAL), -1);
	ck_assert_int_eq(errno, EPIPE);
	run_turns(3);
	ck_assert_uint_eq(taken_n, 3);
	ck_assert(in_stream_is_flushed(in));
	(void)close(a);
	(void)close(b);
	end();
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		split_at_any_byte,
		large_messages,
		bad_bytes_end_the_stream,
		nesting_has_a_limit,
		refusals,
		half_closed_client_gets_its_acks,
		answer_to_nobody,
		no_room,
		held_and_gone,
		no_room_for_one_run,
		choked_client,
		too_many_connections,
		too_many_of_one_user, who_has_gone_uses_up_nothing,
		who_has_gone_uses_up_nothing,
		only_allowed_users,
		unfinished_messages,
		mode_and_stale_and_live,
		stale_socket_is_replaced,
		file_in_the_way,
		drain,
		NULL
	};

	return unit_run("in_stream", tests);
}
