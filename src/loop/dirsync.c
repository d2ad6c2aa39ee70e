/* dirsync: one thread at a time; its end is an event of an eventfd. */
#include "loop/dirsync.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/sys.h"
#include "loop/loop.h"
#include "loop/thread.h"


struct dirsync {
	void		(*fn)(void *, int err);
	void		*arg;
	struct event	 ev;
	int		 eventfd;	/* -1: there is none */
	bool		 under_way;
	pthread_t	 thread;	/* of the round under way */
	int		 fds[DIRSYNC_MAX];
	size_t		 n;
	int		 err;		/* the thread's, until it is joined */
};

static void *
dirsync_main(void *arg)
{
	struct dirsync *ds = arg;
	const uint64_t one = 1;

	for (size_t i = 0; i < ds->n; i++) {
		int r = sys->fsync(ds->fds[i]);

		/* A file system that knows no such thing (fsync(2)). */
		if (r < 0 && r != -EINVAL && ds->err == 0)
			ds->err = r;
	}
	if (write(ds->eventfd, &one, sizeof one) != sizeof one)
		fatal("dirsync: eventfd: errno %d", errno);
	return NULL;
}

static void
dirsync_close(struct dirsync *ds)
{
	while (ds->n > 0)
		(void)close(ds->fds[--ds->n]);	/* only read from */
}

static int
dirsync_join(struct dirsync *ds)
{
	(void)pthread_join(ds->thread, NULL);
	ds->under_way = false;
	dirsync_close(ds);
	return ds->err;
}

static void
on_end(evutil_socket_t fd, short what, void *arg)
{
	struct dirsync *ds = arg;
	uint64_t n;

	if (read(fd, &n, sizeof n) != sizeof n)
		return;
	ds->fn(ds->arg, dirsync_join(ds));
}

struct dirsync *
dirsync_new(struct loop *loop, void (*fn)(void *, int err), void *arg)
{
	struct dirsync *ds = mem_zalloc(sizeof *ds);

	ds->fn = fn;
	ds->arg = arg;
	ds->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (ds->eventfd < 0)
		return ds;	/* dirsync_start() tells */
	(void)event_assign(&ds->ev, loop_base(loop), ds->eventfd,
	    EV_READ | EV_PERSIST, on_end, ds);
	if (event_add(&ds->ev, NULL) < 0) {
		(void)close(ds->eventfd);
		ds->eventfd = -1;
	}
	return ds;
}

void
dirsync_free(struct dirsync *ds)
{
	if (ds == NULL)
		return;
	if (ds->under_way)
		(void)dirsync_join(ds);
	if (ds->eventfd >= 0) {
		(void)event_del(&ds->ev);
		(void)close(ds->eventfd);
	}
	free(ds);
}

int
dirsync_start(struct dirsync *ds, const int *fds, size_t n)
{
	int r;

	assert(n <= DIRSYNC_MAX);
	if (ds->under_way)
		return -EBUSY;
	if (ds->eventfd < 0)
		return -EMFILE;
	for (size_t i = 0; i < n; i++) {
		int fd = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);

		if (fd < 0) {
			r = -errno;
			dirsync_close(ds);
			return r;
		}
		ds->fds[ds->n++] = fd;
	}
	ds->err = 0;
	if ((r = thread_spawn(&ds->thread, "lumnid-dirsync", dirsync_main,
	    ds)) < 0)
		dirsync_close(ds);
	else
		ds->under_way = true;
	return r;
}
