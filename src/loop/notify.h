/*
 * notify: tells the service manager our state, as sd_notify(3) describes the
 * protocol, so that libsystemd is no dependency. Without NOTIFY_SOCKET in the
 * environment every call does nothing.
 */
#ifndef LUMNID_LOOP_NOTIFY_H
#define LUMNID_LOOP_NOTIFY_H

#include "base/cdefs.h"

/*
 * Send variable assignments, one a line ("READY=1\nSTATUS=..."). A failure is
 * nobody's business: returns 0 or -errno for tests.
 */
int	notify_send(const char *fmt, ...) PRINTF_LIKE(1, 2);
/* RELOADING=1 with the MONOTONIC_USEC that it needs. */
void	notify_reloading(void);

#endif
