/* reap: a queue of descriptors, and the thread that closes them. */
#include "loop/reap.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <unistd.h>

#include "base/sys.h"
#include "loop/thread.h"

#define REAP_MAX	32	/* that wait; more are closed by who deletes */

static struct {
	pthread_t	thread;
	bool		running;
	pthread_mutex_t	mutex;		/* holds what follows */
	pthread_cond_t	cond;
	int		fds[REAP_MAX];
	size_t		n;
	bool		quit;
} reap = { .mutex = PTHREAD_MUTEX_INITIALIZER,
	.cond = PTHREAD_COND_INITIALIZER };

static void *
reap_main(void *arg)
{
	(void)pthread_mutex_lock(&reap.mutex);
	for (;;) {
		while (reap.n == 0 && !reap.quit)
			(void)pthread_cond_wait(&reap.cond, &reap.mutex);
		if (reap.n == 0)
			break;
		int fd = reap.fds[--reap.n];
		(void)pthread_mutex_unlock(&reap.mutex);
		(void)close(fd);	/* deleted */
		(void)pthread_mutex_lock(&reap.mutex);
	}
	(void)pthread_mutex_unlock(&reap.mutex);
	return NULL;
}

static void
reap_take(int fd)
{
	(void)pthread_mutex_lock(&reap.mutex);
	bool room = reap.n < REAP_MAX;
	if (room)
		reap.fds[reap.n++] = fd;
	(void)pthread_mutex_unlock(&reap.mutex);
	if (room)
		(void)pthread_cond_signal(&reap.cond);
	else
		(void)close(fd);	/* deleted */
}

int
reap_start(struct why *why)
{
	int r = thread_spawn(&reap.thread, "lumnid-reap", reap_main, NULL);

	if (r < 0)
		return why_errno(why, r, "thread that closes files");
	reap.running = true;
	reap.quit = false;
	sys_close_deleted = reap_take;
	return 0;
}

void
reap_stop(void)
{
	if (!reap.running)
		return;
	sys_close_deleted = NULL;
	(void)pthread_mutex_lock(&reap.mutex);
	reap.quit = true;
	(void)pthread_mutex_unlock(&reap.mutex);
	(void)pthread_cond_signal(&reap.cond);
	(void)pthread_join(reap.thread, NULL);
	reap.running = false;
}
