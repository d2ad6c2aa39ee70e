/*
 * thread: starts a helper thread. Signals are the loop's: it is born with all
 * of them blocked.
 */
#ifndef LUMNID_LOOP_THREAD_H
#define LUMNID_LOOP_THREAD_H

#include <pthread.h>

#include "base/cdefs.h"

/*
 * name: of at most 15 bytes, for ps(1); see pthread_setname_np(3). The stack is
 * a small one. Returns 0 or -errno.
 */
int	thread_spawn(pthread_t *, const char *name, void *(*)(void *),
	    void *arg) MUSTUSE;

#endif
