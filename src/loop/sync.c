/*
 * sync: the helper thread for fdatasync. The loop hands it a set of fds with a
 * semaphore; the result comes back through an eventfd, which the loop watches.
 * The thread shares nothing else with the loop but the table of system calls.
 *
 * At a low rate each run is a round of its own, so a round is kept cheap: a
 * mutex with a condition would cost two calls more, and the eventfd is watched
 * for its edges, so that it need not be read.
 */
#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/sys.h"
#include "core/engine.h"
#include "loop/loop.h"
#include "loop/sync.h"
#include "loop/thread.h"


struct sync {
	struct loop		*loop;
	struct event		 ev;
	int			 eventfd;
	pthread_t		 thread;
	bool			 under_way;	/* of the loop's thread */

	/*
	 * The thread's from sem_post() until `ended`, then the loop's again;
	 * quit is looked at when there is no job.
	 */
	sem_t			 wake;
	bool			 has_job;
	bool			 quit;
	struct seglog_sync	 job;
	int			 err;
	int64_t			 took_us;
	atomic_bool		 ended;		/* a round that is not told yet */
	atomic_bool		 part;		/* ..., or its job.first */
};

static void
sync_tell(struct sync *sy, atomic_bool *what)
{
	const uint64_t one = 1;

	atomic_store(what, true);
	/* Never read, it has room for 500,000 years of rounds. */
	if (write(sy->eventfd, &one, sizeof one) != sizeof one)
		fatal("sync: eventfd: errno %d", errno);
}

/* Sync each; the first failure is the round's, but all are tried. */
static int
sync_round(struct sync *sy)
{
	const struct seglog_sync *job = &sy->job;
	int err = 0;

	for (size_t i = 0; i < job->n; i++) {
		int r = job->what[i].is_dir ? sys->fsync(job->what[i].fd)
		    : sys->fdatasync(job->what[i].fd);
		if (r < 0 && err == 0)
			err = r;
		if (err == 0 && i + 1 == job->first)
			sync_tell(sy, &sy->part);
	}
	return err;
}

static void *
sync_main(void *arg)
{
	struct sync *sy = arg;

	for (;;) {
		struct mono begin;

		while (sem_wait(&sy->wake) < 0)
			;	/* a debugger; its signals are blocked */
		if (!sy->has_job && sy->quit)
			break;
		sy->has_job = false;
		begin = clock_mono();
		sy->err = sync_round(sy);
		sy->took_us = clock_mono().us - begin.us;
		sync_tell(sy, &sy->ended);
	}
	return NULL;
}

/* What has been told since the last look? */
static void
sync_take(struct sync *sy, bool *ret_ended, bool *ret_part)
{
	/* In this order: a round that has ended has told its part before. */
	*ret_ended = atomic_exchange(&sy->ended, false);
	*ret_part = atomic_exchange(&sy->part, false);
}

static void
on_round_end(evutil_socket_t fd, short what, void *arg)
{
	struct sync *sy = arg;
	bool ended, part;
	uint64_t n;

	sync_take(sy, &ended, &part);
	if (!ended && !part) {
		/*
		 * One look has met two edges; or libevent without epoll knows
		 * no edges, and would come again. A round that ended since the
		 * look may have its edge read away here, and nothing else
		 * would ever tell of it: so look once more.
		 */
		(void)!read(sy->eventfd, &n, sizeof n);
		sync_take(sy, &ended, &part);
		if (!ended && !part)
			return;
	}
	loop_wake(sy->loop);
	if (part)
		engine_sync_part(loop_engine(sy->loop), clock_now());
	if (!ended)
		return;
	sy->under_way = false;
	engine_sync_end(loop_engine(sy->loop), sy->err, sy->took_us,
	    clock_now());
}

int
sync_new(struct loop *loop, struct sync **ret, struct why *why)
{
	struct sync *sy = mem_zalloc(sizeof *sy);
	int r;

	sy->loop = loop;
	(void)sem_init(&sy->wake, 0, 0);
	sy->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (sy->eventfd < 0) {
		r = why_errno(why, -errno, "sync thread: eventfd");
		free(sy);
		return r;
	}
	(void)event_assign(&sy->ev, loop_base(loop), sy->eventfd,
	    EV_READ | EV_ET | EV_PERSIST, on_round_end, sy);
	if (event_add(&sy->ev, NULL) < 0)
		r = why_set(why, -ENOMEM, "sync thread: event");
	else if ((r = thread_spawn(&sy->thread, "lumnid-sync", sync_main,
	    sy)) < 0)
		r = why_errno(why, r, "sync thread");
	if (r < 0) {
		(void)event_del(&sy->ev);
		(void)close(sy->eventfd);
		free(sy);
		return r;
	}
	*ret = sy;
	return 0;
}

void
sync_free(struct sync *sy)
{
	if (sy == NULL)
		return;
	sy->quit = true;
	(void)sem_post(&sy->wake);
	(void)pthread_join(sy->thread, NULL);
	(void)event_del(&sy->ev);
	(void)close(sy->eventfd);
	(void)sem_destroy(&sy->wake);
	free(sy);
}

int
sync_start(struct sync *sy, const struct seglog_sync *job)
{
	if (sy->under_way)
		return -EBUSY;
	assert(job->n <= SEGLOG_SYNC_MAX);
	sy->under_way = true;
	sy->job = *job;
	sy->has_job = true;
	(void)sem_post(&sy->wake);
	return 0;
}
