/*
 * in_dgram with a fake engine: what is taken out of a datagram, and whether
 * what the kernel dropped is counted to the last one.
 */
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "core/engine.h"
#include "loop/in_dgram.h"
#include "loop/listen.h"
#include "loop/loop.h"
#include "unit.h"

/* --- a fake engine, which takes everything but nil ------------------------ */

static size_t taken_n, taken_bytes;
static enum books_input taken_input;
static char last[65536];
static struct books books;

struct mono
engine_deadline(const struct engine *e)
{
	return MONO_NEVER;
}

static unsigned engine_turn_us;		/* that it takes */
static unsigned engine_turns;

void
engine_turn_taken(struct engine *e, struct now now)
{
	engine_turn(e, now);
}

void
engine_turn(struct engine *e, struct now now)
{
	engine_turns++;
	if (engine_turn_us > 0)
		(void)usleep(engine_turn_us);
}

struct books *
engine_books(struct engine *e)
{
	return &books;
}

enum event_code
engine_take(struct engine *e, enum books_input input, uint64_t peer,
    const uint8_t *p, size_t len, struct now now, struct event_ack *ret_ack,
    struct why *why)
{
	ck_assert_uint_eq(peer, 0);
	if (p[0] == 0xc0) {
		(void)why_set(why, 0, "I do not like it");
		return EVENT_NOT_A_MESSAGE;
	}
	taken_input = input;
	taken_n++;
	taken_bytes += len;
	memcpy(last, p, len);
	return EVENT_OK;
}

/* --- what the tests share ------------------------------------------------- */

static struct loop *loop;
static struct in_dgram *in;
static struct conf *conf;
static char dir[] = "/tmp/lumnid-dg-XXXXXX", path[96];
static unsigned turns;
static bool may_wait;		/* the loop, for events */
static int udp = -1, dgram = -1;

static void
on_turn_end(void *arg)
{
	if (may_wait)
		return;
	if (turns-- == 0)
		loop_quit(loop);
	loop_poke(loop);
}

static void
run_turns(unsigned n)
{
	struct why why;

	turns = n;
	loop_poke(loop);
	ck_assert_int_eq(loop_run(loop, &why), 0);
}

static void
drop_line(void *arg, const char *line, size_t n)
{
}

static void
set(const char *key, const char *value)
{
	struct why why;

	ck_assert_msg(conf_set(conf, key, value, &why) == 0, "%s", why.text);
}

/* Both kinds, the UDP one inherited, as its port is known then. */
static void
begin(void)
{
	struct sockaddr_in sin = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	struct listen_inherited li = { -1, -1, -1 };
	socklen_t len = sizeof sin;
	struct why why;

	log_set_sink(drop_line, NULL);
	ck_assert_ptr_nonnull(mkdtemp(dir));
	(void)snprintf(path, sizeof path, "%s/sock", dir);
	ck_assert_int_eq(conf_load(NULL, true, &conf, &why), 0);
	set("listen.dgram.path", path);
	ck_assert_int_eq(loop_new(&loop, &why), 0);
	loop_set_engine(loop, (struct engine *)&books);
	li.udp = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	ck_assert_int_eq(bind(li.udp, (struct sockaddr *)&sin, sizeof sin), 0);
	ck_assert_int_eq(getsockname(li.udp, (struct sockaddr *)&sin, &len), 0);
	ck_assert_msg(in_dgram_open(loop, conf, &li, &in, &why) == 0, "%s",
	    why.text);
	loop_add_hook(loop, on_turn_end, NULL);
	udp = socket(AF_INET, SOCK_DGRAM, 0);
	ck_assert_int_eq(connect(udp, (struct sockaddr *)&sin, sizeof sin), 0);
	dgram = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	(void)strcpy(sun.sun_path, path);
	ck_assert_int_eq(connect(dgram, (struct sockaddr *)&sun, sizeof sun),
	    0);
}

static void
end(void)
{
	in_dgram_close(in);
	loop_free(loop);
	conf_free(conf);
	(void)close(udp);
	(void)close(dgram);
	ck_assert_int_eq(access(path, F_OK), -1);
	ck_assert_int_eq(rmdir(dir), 0);
}

/* --- tests ---------------------------------------------------------------- */

START_TEST(what_a_datagram_holds)
{
	static const struct {
		const char	*bytes;
		size_t		 n;
		size_t		 taken;
		int		 refused;	/* enum event_code; 0: none */
	} rows[] = {
		{ "\x05", 1, 1, 0 },
		{ "\x05\x91\x06\xa2hi", 6, 3, 0 },
		{ "", 0, 0, 0 },
		{ "\xc0\x05", 2, 1, 0 },	/* the engine's refusal */
		{ "\x05\xc1\x06", 3, 1, EVENT_NOT_MSGPACK },
		{ "\x05\x92\x01", 3, 1, EVENT_NOT_MSGPACK },
		{ "\xdb\xff\xff\xff\xff", 5, 0, EVENT_NOT_MSGPACK },
	};

	begin();
	for (int which = 0; which < 2; which++)
		for (size_t i = 0; i < NELEM(rows); i++) {
			uint64_t *refused = &books.total[BOOKS_REFUSED +
			    rows[i].refused];
			uint64_t before = *refused;

			taken_n = 0;
			ck_assert_int_eq(send(which ? dgram : udp,
			    rows[i].bytes, rows[i].n, 0), (ssize_t)rows[i].n);
			run_turns(3);
			ck_assert_uint_eq(taken_n, rows[i].taken);
			ck_assert_uint_eq(*refused - before,
			    rows[i].refused != 0);
			if (taken_n != 0)
				ck_assert_int_eq(taken_input,
				    which ? BOOKS_DGRAM : BOOKS_UDP);
		}
	end();
}
END_TEST

START_TEST(deep_and_large)
{
	static char b[70000];

	begin();
	memset(b, 0x91, 1000);
	ck_assert_int_eq(send(udp, b, 1000, 0), 1000);
	run_turns(2);
	ck_assert_uint_eq(books.total[BOOKS_REFUSED + EVENT_TOO_DEEP], 1);
	memset(b, 7, sizeof b);
	b[0] = (char)0xc5;
	b[1] = (char)0xff;
	b[2] = (char)0xe0;
	ck_assert_int_eq(send(udp, b, 65507, 0), 65507);
	run_turns(2);
	ck_assert_uint_eq(taken_n, 1 + 65507 - 3 - 0xffe0);
	ck_assert_uint_eq(taken_bytes, 65507);
	/* What the kernel cut is not looked at. */
	taken_n = 0;
	ck_assert_int_eq(send(dgram, b, sizeof b, 0), sizeof b);
	run_turns(2);
	ck_assert_uint_eq(taken_n, 0);
	ck_assert_uint_eq(books.total[BOOKS_TRUNCATED], 1);
	end();
}
END_TEST

/* Far more than the buffer holds, while nobody reads. */
START_TEST(drops_are_counted)
{
	static const size_t bursts[] = { 40000, 10, 30000 };
	size_t sent = 0;

	begin();
	for (size_t i = 0; i < NELEM(bursts); i++) {
		for (size_t j = 0; j < bursts[i]; j++, sent++)
			ck_assert_int_eq(send(udp, "\x05", 1, 0), 1);
		run_turns(1000);
	}
	ck_assert_uint_gt(books.total[BOOKS_KERNEL_UDP], 0);
	ck_assert_uint_gt(taken_n, 0);
	ck_assert_uint_eq(taken_n + books.total[BOOKS_KERNEL_UDP], sent);
	ck_assert_uint_eq(books.total[BOOKS_KERNEL_DGRAM], 0);
	end();
}
END_TEST

START_TEST(drain_reads_all)
{
	begin();
	for (size_t j = 0; j < 40000; j++)
		ck_assert_int_eq(send(udp, "\x05", 1, 0), 1);
	ck_assert_int_eq(send(dgram, "\x05", 1, 0), 1);
	in_dgram_drain(in, 5000);
	ck_assert_uint_eq(taken_n + books.total[BOOKS_KERNEL_UDP], 40001);
	ck_assert_int_eq(access(path, F_OK), -1);
	end();
}
END_TEST

START_TEST(remote_addresses_need_a_word)
{
	bool remote = false;
	struct why why;
	int fd;

	ck_assert_int_eq(listen_udp_open("0.0.0.0:0", false, &remote, &why),
	    -EPERM);
	fd = listen_udp_open("0.0.0.0:0", true, &remote, &why);
	ck_assert_int_ge(fd, 0);
	ck_assert(remote);
	(void)close(fd);
	fd = listen_udp_open("127.0.0.1:0", false, &remote, &why);
	ck_assert_int_ge(fd, 0);
	ck_assert(!remote);
	(void)close(fd);
}
END_TEST

static void
on_time(evutil_socket_t fd, short what, void *arg)
{
	loop_quit(loop);
}

/* What a turn takes is counted, the wait for events is not. */
START_TEST(turns_are_measured)
{
	const struct timeval wait = { .tv_usec = 400000 };
	struct loop_turns before, after;
	struct why why;
	struct event ev;

	begin();
	loop_turns(loop, &before);
	ck_assert_int_lt(before.longest_us, 200000);
	engine_turn_us = 250000;
	engine_turns = 0;
	loop_wake(loop);
	run_turns(1);
	ck_assert_uint_ge(engine_turns, 1);
	loop_turns(loop, &after);
	ck_assert_int_ge(after.longest_us, 250000);
	ck_assert_uint_ge(after.took.sum_us - before.took.sum_us, 250000);
	ck_assert_int_eq(after.stuck_us, 0);

	engine_turn_us = 0;
	before = after;
	may_wait = true;
	(void)evtimer_assign(&ev, loop_base(loop), on_time, NULL);
	(void)evtimer_add(&ev, &wait);
	ck_assert_int_eq(loop_run(loop, &why), 0);
	may_wait = false;
	loop_turns(loop, &after);
	ck_assert_uint_lt(after.took.sum_us - before.took.sum_us, 250000);
	end();
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		what_a_datagram_holds,
		deep_and_large,
		drops_are_counted,
		drain_reads_all,
		remote_addresses_need_a_word,
		turns_are_measured,
		NULL
	};

	return unit_run("in_dgram", tests);
}
