/*
 * test_crash_alloc: every allocation in turn fails, over the whole road.
 *
 * Small things end the process (fatal(), base/mem.h): here the engine is left
 * as it stands, as a process that has aborted leaves it, and then the disk
 * has what was written, or, every other time, loses its power as well. What
 * peers size (struct buf) fails with an answer, and the process goes on.
 * Either way every event that was acknowledged arrives exactly once, in
 * order, and the books balance.
 *
 * The program has a buf.c of its own, whose realloc() is alloc_realloc(), and
 * is linked so that calls of mem_*() from the code under test come here
 * (ld --wrap); those of the test itself go to the real ones. What zstd and
 * xxHash allocate fails in turn, too: malloc() and calloc() are the program's
 * own, and look at who calls. (Sanitizers have theirs, so not with them.)
 */
#undef mem_alloc
#undef mem_zalloc
#undef mem_grow
#undef mem_strdup
#undef mem_dup
#undef realloc
#undef batch_unpack

#include <check.h>
#include <link.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "core/engine_int.h"
#include "tests/unit/crashfs.h"
#include "tests/unit/fewer.h"
#include "tests/unit/world.h"

#define CONF	"runs: {max_events: 6, max_bytes: 64KiB}\n"		\
		"events: {max_message: 16KiB}\n"			\
		"storage: {journal_max: 1MiB, spool_max: 1MiB}\n"
#define STEPS	90

static uint64_t		allocs;		/* made so far */
static uint64_t		fail_at;	/* 0: none fails */
static sigjmp_buf	died;

void	*__real_mem_alloc(size_t);
void	*__real_mem_zalloc(size_t);
void	*__real_mem_grow(void *, size_t, size_t);
char	*__real_mem_strdup(const char *);
void	*__real_mem_dup(const void *, size_t);
void	*__wrap_mem_alloc(size_t);
void	*__wrap_mem_zalloc(size_t);
void	*__wrap_mem_grow(void *, size_t, size_t);
char	*__wrap_mem_strdup(const char *);
void	*__wrap_mem_dup(const void *, size_t);
void	__wrap_fatal(const char *, ...) __attribute__((noreturn));
void	*alloc_realloc(void *, size_t);
int	world_batch_unpack(const void *, size_t, struct buf *, struct why *);
const char *__asan_default_options(void);

/* What a process that has died held is not freed. */
const char *
__asan_default_options(void)
{
	return "detect_leaks=0";
}

static void
alloc_count(void)
{
	if (++allocs == fail_at)
		siglongjmp(died, 1);
}

void *
__wrap_mem_alloc(size_t n)
{
	alloc_count();
	return __real_mem_alloc(n);
}

void *
__wrap_mem_zalloc(size_t n)
{
	alloc_count();
	return __real_mem_zalloc(n);
}

void *
__wrap_mem_grow(void *p, size_t n, size_t size)
{
	alloc_count();
	return __real_mem_grow(p, n, size);
}

char *
__wrap_mem_strdup(const char *s)
{
	alloc_count();
	return __real_mem_strdup(s);
}

void *
__wrap_mem_dup(const void *p, size_t n)
{
	alloc_count();
	return __real_mem_dup(p, n);
}

void *
alloc_realloc(void *p, size_t n)
{
	if (++allocs == fail_at)
		return NULL;
	return realloc(p, n);
}

/* fatal() is the end of the process. */
void
__wrap_fatal(const char *fmt, ...)
{
	if (fail_at == 0)
		abort();
	siglongjmp(died, 1);
}

static struct lib {
	uintptr_t	from, to;
}			libs[2];
static size_t		libs_n;
static uint64_t		lib_allocs;	/* made by libraries in all */

static int
lib_find(struct dl_phdr_info *info, size_t size, void *arg)
{
	if (strstr(info->dlpi_name, "libzstd.so") == NULL &&
	    strstr(info->dlpi_name, "libxxhash.so") == NULL)
		return 0;
	for (int i = 0; i < info->dlpi_phnum && libs_n < NELEM(libs); i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];

		if (p->p_type == PT_LOAD && (p->p_flags & PF_X) != 0) {
			uintptr_t at = info->dlpi_addr + p->p_vaddr;
			libs[libs_n++] = (struct lib){ at, at + p->p_memsz };
		}
	}
	return 0;
}

#if FEWER(1, 0)
void	*__libc_malloc(size_t);
void	*__libc_calloc(size_t, size_t);

/* Is it a library that asks, and does this one fail? */
static bool
lib_fails(const void *caller)
{
	for (size_t i = 0; i < libs_n; i++)
		if ((uintptr_t)caller >= libs[i].from &&
		    (uintptr_t)caller < libs[i].to) {
			lib_allocs++;
			return ++allocs == fail_at;
		}
	return false;
}

void *
malloc(size_t n)
{
	return lib_fails(__builtin_return_address(0)) ? NULL :
	    __libc_malloc(n);
}

void *
calloc(size_t n, size_t size)
{
	return lib_fails(__builtin_return_address(0)) ? NULL :
	    __libc_calloc(n, size);
}
#endif

/* What the test itself unpacks finds memory. */
int
world_batch_unpack(const void *data, size_t len, struct buf *out,
    struct why *why)
{
	uint64_t before = allocs, at = fail_at;
	int r;

	fail_at = 0;
	r = batch_unpack(data, len, out, why);
	allocs = before;
	fail_at = at;
	return r;
}

static void
answer_some(struct world *w)
{
	static const int answers[] = { 202, 202, 202, 503, 0, 400 };
	size_t at[WORLD_REQUESTS], n = world_requests(w, at);

	for (size_t k = 0; k < n; k++) {
		int a = answers[rng_below(&w->rng, 5)];
		bool take = a == 202 || (a == 0 && rng_below(&w->rng, 2) == 0);

		world_answer(w, at[k], a, take, a == 503 ? "0" : NULL);
	}
}

static void
load_step(struct world *w)
{
	uint64_t dice = rng_below(&w->rng, 100);
	unsigned r = (unsigned)rng_below(&w->rng, 8);

	if (dice < 60)
		(void)world_send(w, r, 1 + (unsigned)rng_below(&w->rng, 4),
		    rng_below(&w->rng, 4) == 0, rng_below(&w->rng, 3) > 0);
	else if (dice < 85)
		world_turn_once(w);
	else if (dice < 90)
		w->now.mono.us += 400000, w->now.wall.us += 400000;
	else
		answer_some(w);
	if (w->sync_wanted && rng_below(&w->rng, 2) == 0)
		world_sync_end(w, 0);
}

/* The process is gone: its engine is not to be touched any more. */
static void
leave(struct world *w, bool power)
{
	w->engine = NULL;
	w->sync_wanted = false;
	for (size_t i = 0; i < WORLD_REQUESTS; i++) {
		if (w->request[i].used)
			free(w->request[i].body);
		w->request[i].used = false;
	}
	w->in_flight = 0;
	if (power)
		crashfs_reboot();
	else
		crashfs_kill();
}

/* Run the load with the n-th allocation failing; was there an n-th? */
static bool
run_one(uint64_t seed, uint64_t n)
{
	struct world *volatile kept;
	struct world *w;
	volatile bool dead = false;
	struct why why;

	crashfs_start(seed);
	crashfs_mkdir("/d");
	w = world_new(seed, "/d/data", CONF);
	w->sync_auto = false;
	w->sync_real = true;
	w->gaps_allowed = true;
	kept = w;
	allocs = 0;
	fail_at = n;
	if (sigsetjmp(died, 0) == 0) {
		for (int i = 0; i < STEPS; i++)
			load_step(w);
		/* And a start over what is there. */
		world_kill(w);
		crashfs_kill();
		/* Without memory it does not start, and is started again. */
		dead = world_try_open(w, &why) < 0;
	} else {
		dead = true;
	}
	w = kept;
	fail_at = 0;
	if (dead) {
		leave(w, n % 2 == 0);
		world_open(w);
	}
	w->sync_auto = true;
	world_check_books(w);
	world_drain(w);
	world_check(w);
	world_free(w);
	crashfs_stop();
	return allocs >= n;
}

START_TEST(test_every_allocation)
{
	uint64_t n = 1;

	log_set_sink(world_no_log, NULL);
	while (run_one((uint64_t)_i + 1, n))
		n++;
	ck_assert_uint_gt(n, 100);
	ck_assert(lib_allocs > 0 || FEWER(0, 1));
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("crash_alloc");
	TCase *tc = tcase_create("all");

	(void)dl_iterate_phdr(lib_find, NULL);
	tcase_set_timeout(tc, 600);
	tcase_add_loop_test(tc, test_every_allocation, 0, 2);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
