/*
 * test_crash_aside: an older lumnid meets the files of a newer one, sets them
 * aside, and works; then the newer one is back and takes them over; and the
 * power goes at every call of the one and of the other. In the end every event
 * that was acknowledged by either has come exactly once.
 */
#include <check.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "core/engine_int.h"
#include "store/aside.h"
#include "tests/unit/crashfs.h"
#include "tests/unit/fewer.h"
#include "tests/unit/world.h"

#define DATA	"/d/data"
#define CONF	"runs: {max_events: 6, max_bytes: 64KiB}\n"		\
		"events: {max_message: 16KiB}\n"			\
		"storage: {journal_max: 1MiB, spool_max: 1MiB}\n"

/* The newest segment of a log, and how its header was. */
struct newest {
	char		name[32];
	uint8_t		head[SEG_HEADER_LEN];
};

static int
on_name(void *arg, const char *name)
{
	struct newest *n = arg;

	if (strcmp(name + strlen(name) - 4, ".seg") == 0 &&
	    strcmp(name, n->name) > 0)
		(void)snprintf(n->name, sizeof n->name, "%s", name);
	return 0;
}

/* Write a header, durably. false: the directory is not there. */
static bool
write_head(const char *dir, const char *name, const uint8_t *head)
{
	int dirfd = sys->open_dir(dir), fd;

	if (dirfd < 0)
		return false;
	fd = sys->openat(dirfd, name, O_RDWR, 0);
	(void)sys->close(dirfd);
	if (fd < 0)
		return false;
	ck_assert_int_eq(sys_pwrite_all(fd, head, SEG_HEADER_LEN, 0), 0);
	ck_assert_int_eq(sys->fdatasync(fd), 0);
	(void)sys->close(fd);
	return true;
}

/* The newest segment of that log becomes one of a newer lumnid. */
static void
make_newer(const char *log, struct newest *n)
{
	uint8_t head[SEG_HEADER_LEN];
	struct seg_header h;
	char dir[64];

	(void)snprintf(dir, sizeof dir, DATA "/%s", log);
	*n = (struct newest){ "", { 0 } };
	int dirfd = sys->open_dir(dir);
	ck_assert_int_ge(dirfd, 0);
	ck_assert_int_eq(sys->list(dirfd, on_name, n), 0);
	int fd = sys->openat(dirfd, n->name, O_RDONLY, 0);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(sys_pread_all(fd, n->head, sizeof n->head, 0), 0);
	(void)sys->close(fd);
	(void)sys->close(dirfd);
	ck_assert_int_eq(seg_header_unpack(&h, n->head, sizeof n->head, NULL),
	    0);
	h.version = SEG_VERSION + 1;
	seg_header_pack(head, &h);
	ck_assert(write_head(dir, n->name, head));
	ck_assert_int_eq(aside_known(DATA, NULL), -EPROTONOSUPPORT);
}

/* The newer lumnid is back: it knows the segment, wherever it lies. */
static void
make_known(const char *log, const struct newest *n)
{
	char dir[64];

	(void)snprintf(dir, sizeof dir, DATA "/newer-1/%s", log);
	ck_assert(write_head(dir, n->name, n->head));
}

/* Events of runs from `first` on: some open, some waiting, and a change. */
static void
load(struct world *w, unsigned first)
{
	for (unsigned i = 0; i < 12; i++) {
		(void)world_send(w, first + i % 4, 1 + i % 3, i > 8 && i % 2,
		    i % 3 > 0);
		if (i % 4 == 0)
			(void)world_send_change(w, first + i, false);
		world_turn_once(w);
		if (w->sync_wanted)
			world_sync_end(w, 0);
		if (crashfs_dead())
			return;
	}
}

static struct world *
begin(const char *log, struct newest *n)
{
	crashfs_start(1);
	crashfs_mkdir("/d");
	struct world *w = world_new(3, DATA, CONF);
	w->sync_auto = false;
	w->sync_real = true;
	w->gaps_allowed = true;
	load(w, 0);
	/* Some of it is delivered. */
	world_turn(w);
	size_t at[WORLD_REQUESTS], k = world_requests(w, at);
	for (size_t i = 0; i < k; i += 2)
		world_answer(w, at[i], 202, true, NULL);
	/* The rest is durable. */
	w->sync_auto = true;
	world_sleep(w, 1500);
	w->sync_auto = false;
	world_close(w);
	make_newer(log, n);
	return w;
}

#define CHANGES	3u	/* that begin() sends */

/* How many changes, of whichever lumnid, has the upstream taken? */
static unsigned
changes_taken(const struct world *w)
{
	unsigned n = 0;

	for (size_t i = 0; i < w->taken_n; i++)
		n += strstr(w->taken[i].id, "-r") != NULL;
	return n;
}

/*
 * Nothing of a newer lumnid's is left, and all has come; and so many changes
 * besides those of begin().
 */
static void
end(struct world *w, unsigned sure)
{
	w->sync_auto = true;
	for (int i = 0; world_status(w).newer_dirs > 0; i++) {
		ck_assert_int_lt(i, 1000);
		world_sleep(w, 100);
	}
	world_drain(w);
	world_check(w);
	ck_assert_uint_ge(changes_taken(w), CHANGES + sure);
	/* No request was without its answer, so none comes again. */
	ck_assert_uint_eq(w->duplicates, 0);
	world_close(w);
	world_open(w);
	world_check_books(w);
	ck_assert_uint_eq(world_status(w).open_events, 0);
	ck_assert_uint_eq(world_status(w).waiting_events, 0);
	world_free(w);
	ck_assert_uint_eq(crashfs_fds(), 0);
	crashfs_stop();
}

static void
reopen(struct world *w)
{
	crashfs_reboot();
	crashfs_plan(0, CRASHFS_NONE, 0);
	world_open(w);
}

static const char *const logs[] = { "journal", "spool", "spool/records" };

START_TEST(power_while_set_aside)
{
	bool lost = true;
	uint64_t n = 1;

	for (; lost; n++) {
		struct newest seg;
		struct world *w = begin(logs[_i], &seg);

		crashfs_plan(n, CRASHFS_POWER, 1);
		if (world_try_open(w, NULL) == 0) {
			load(w, 20);
			lost = crashfs_dead();
			world_kill(w);
		}
		reopen(w);
		ck_assert_uint_eq(world_status(w).newer_dirs, 1);
		load(w, 40);
		world_close(w);
		make_known(logs[_i], &seg);
		world_open(w);
		end(w, CHANGES);
	}
	ck_assert_uint_gt(n, 10);
}
END_TEST

START_TEST(power_while_taken_over)
{
	bool lost = true;
	uint64_t n = 1;

	for (; lost; n++) {
		struct newest seg;
		struct world *w = begin(logs[_i], &seg);

		world_open(w);
		load(w, 20);
		world_close(w);
		make_known(logs[_i], &seg);
		crashfs_plan(n, CRASHFS_POWER, 1);
		if (world_try_open(w, NULL) == 0) {
			for (int i = 0; i < 200 && !crashfs_dead() &&
			    world_status(w).newer_dirs > 0; i++) {
				world_turn(w);
				if (w->sync_wanted)
					world_sync_end(w, 0);
				w->now.mono.us += 50000;
			}
			lost = crashfs_dead();
			ck_assert(lost || world_status(w).newer_dirs == 0);
			world_kill(w);
		}
		reopen(w);
		end(w, 0);
	}
	ck_assert_uint_gt(n, 20);
}
END_TEST

/* Each call of the taking over fails once; nothing is lost, and it ends. */
START_TEST(faults_while_taken_over)
{
	uint64_t calls = 0;

	/* The first time counts the calls. */
	for (uint64_t n = 0; n <= calls; n++) {
		struct newest seg;
		struct world *w = begin("journal", &seg);

		world_open(w);
		load(w, 20);
		world_close(w);
		make_known("journal", &seg);
		crashfs_plan(n, n == 0 ? CRASHFS_NONE : _i == 0 ? CRASHFS_EIO :
		    CRASHFS_ENOSPC, 1);
		int r = world_try_open(w, NULL);
		for (int i = 0; r == 0 && i < 40; i++) {
			world_turn(w);
			if (w->sync_wanted)
				world_sync_end(w, 0);
			w->now.mono.us += 500000;
		}
		if (n == 0)
			calls = crashfs_calls();
		crashfs_plan(0, CRASHFS_NONE, 0);
		/* What it could not remove or open, the next start does. */
		if (r == 0)
			world_close(w);
		world_open(w);
		end(w, CHANGES);
	}
	ck_assert_uint_gt(calls, 20);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("crash_aside");
	TCase *tc = tcase_create("aside");

	log_set_sink(world_no_log, NULL);
	tcase_set_timeout(tc, 300);
	tcase_add_loop_test(tc, power_while_set_aside, 0, FEWER(3, 1));
	tcase_add_loop_test(tc, power_while_taken_over, 0, FEWER(3, 1));
	tcase_add_loop_test(tc, faults_while_taken_over, 0, FEWER(2, 1));
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
