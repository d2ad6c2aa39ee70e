/* thread: see thread.h. */
#include "loop/thread.h"

#include <signal.h>
#include <stddef.h>

#define THREAD_STACK	(64 * 1024)

int
thread_spawn(pthread_t *thread, const char *name, void *(*fn)(void *),
    void *arg)
{
	pthread_attr_t attr;
	sigset_t all, old;
	int r;

	(void)sigfillset(&all);
	if ((r = pthread_attr_init(&attr)) != 0)
		return -r;
	(void)pthread_attr_setstacksize(&attr, THREAD_STACK);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(thread, &attr, fn, arg);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	(void)pthread_attr_destroy(&attr);
	if (r == 0)
		(void)pthread_setname_np(*thread, name);
	return -r;
}
