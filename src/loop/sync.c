/*
 * sync: the helper thread for fdatasync. The loop hands it a set of fds under
 * a mutex; the result comes back through an eventfd, which the loop watches.
 * The thread shares nothing else with the loop but the table of system calls.
 */
#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/sys.h"
#include "core/engine.h"
#include "loop/loop.h"
#include "loop/sync.h"

#define SYNC_STACK	(128 * 1024)

struct sync {
	struct loop		*loop;
	struct event		 ev;
	int			 eventfd;
	pthread_t		 thread;
	bool			 under_way;	/* of the loop's thread */

	pthread_mutex_t		 mutex;		/* holds what follows */
	pthread_cond_t		 cond;
	bool			 has_job;
	bool			 quit;
	struct seglog_sync	 job;
	int			 err;
	int64_t			 took_us;
};

/* Sync each; the first failure is the round's, but all are tried. */
static int
sync_round(const struct seglog_sync *job)
{
	int err = 0;

	for (size_t i = 0; i < job->n; i++) {
		int r = job->what[i].is_dir ? sys->fsync(job->what[i].fd)
		    : sys->fdatasync(job->what[i].fd);
		if (r < 0 && err == 0)
			err = r;
	}
	return err;
}

static void *
sync_main(void *arg)
{
	struct sync *sy = arg;
	const uint64_t one = 1;

	(void)pthread_mutex_lock(&sy->mutex);
	for (;;) {
		struct seglog_sync job;
		struct mono begin;
		int err;

		while (!sy->has_job && !sy->quit)
			(void)pthread_cond_wait(&sy->cond, &sy->mutex);
		if (!sy->has_job)
			break;
		job = sy->job;
		(void)pthread_mutex_unlock(&sy->mutex);

		begin = clock_now().mono;
		err = sync_round(&job);

		(void)pthread_mutex_lock(&sy->mutex);
		sy->has_job = false;
		sy->err = err;
		sy->took_us = clock_now().mono.us - begin.us;
		/* The counter cannot overflow: one round is under way. */
		if (write(sy->eventfd, &one, sizeof one) != sizeof one)
			fatal("sync: eventfd: errno %d", errno);
	}
	(void)pthread_mutex_unlock(&sy->mutex);
	return NULL;
}

static void
on_round_end(evutil_socket_t fd, short what, void *arg)
{
	struct sync *sy = arg;
	int64_t took_us;
	uint64_t n;
	int err;

	if (read(sy->eventfd, &n, sizeof n) != sizeof n)
		return;
	(void)pthread_mutex_lock(&sy->mutex);
	err = sy->err;
	took_us = sy->took_us;
	(void)pthread_mutex_unlock(&sy->mutex);
	sy->under_way = false;
	loop_wake(sy->loop);
	engine_sync_end(loop_engine(sy->loop), err, took_us, clock_now());
}

/* Signals are the loop's: the thread is born with all of them blocked. */
static int
sync_spawn(struct sync *sy)
{
	pthread_attr_t attr;
	sigset_t all, old;
	int r;

	(void)sigfillset(&all);
	if ((r = pthread_attr_init(&attr)) != 0)
		return -r;
	(void)pthread_attr_setstacksize(&attr, SYNC_STACK);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&sy->thread, &attr, sync_main, sy);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	(void)pthread_attr_destroy(&attr);
	if (r == 0)
		(void)pthread_setname_np(sy->thread, "lumnid-sync");
	return -r;
}

int
sync_new(struct loop *loop, struct sync **ret, struct why *why)
{
	struct sync *sy = mem_zalloc(sizeof *sy);
	int r;

	sy->loop = loop;
	(void)pthread_mutex_init(&sy->mutex, NULL);
	(void)pthread_cond_init(&sy->cond, NULL);
	sy->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (sy->eventfd < 0) {
		r = why_errno(why, -errno, "sync thread: eventfd");
		free(sy);
		return r;
	}
	(void)event_assign(&sy->ev, loop_base(loop), sy->eventfd,
	    EV_READ | EV_PERSIST, on_round_end, sy);
	if (event_add(&sy->ev, NULL) < 0)
		r = why_set(why, -ENOMEM, "sync thread: event");
	else if ((r = sync_spawn(sy)) < 0)
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
	(void)pthread_mutex_lock(&sy->mutex);
	sy->quit = true;
	(void)pthread_cond_signal(&sy->cond);
	(void)pthread_mutex_unlock(&sy->mutex);
	(void)pthread_join(sy->thread, NULL);
	(void)event_del(&sy->ev);
	(void)close(sy->eventfd);
	(void)pthread_cond_destroy(&sy->cond);
	(void)pthread_mutex_destroy(&sy->mutex);
	free(sy);
}

int
sync_start(struct sync *sy, const struct seglog_sync *job)
{
	if (sy->under_way)
		return -EBUSY;
	assert(job->n <= SEGLOG_SYNC_MAX);
	sy->under_way = true;
	(void)pthread_mutex_lock(&sy->mutex);
	sy->job = *job;
	sy->has_job = true;
	(void)pthread_mutex_unlock(&sy->mutex);
	/* Woken now, the thread finds the mutex free. */
	(void)pthread_cond_signal(&sy->cond);
	return 0;
}
