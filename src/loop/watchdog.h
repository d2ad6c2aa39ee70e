/*
 * watchdog: tells the service manager that lumnid makes progress (WATCHDOG=1,
 * sd_watchdog_enabled(3)), which restarts it when it does not.
 *
 * It is told at the end of a whole turn of the loop, and only while the sync
 * thread and the sender make progress too: no sync round has been under way,
 * and nothing that the sender could do has been left undone, for longer than
 * twice the manager's time. An upstream that is away is no fault of ours: then
 * the next try lies ahead, and that is progress.
 */
#ifndef LUMNID_LOOP_WATCHDOG_H
#define LUMNID_LOOP_WATCHDOG_H

struct loop;
struct watchdog;

/*
 * The loop's engine must be set. Adds a hook to the loop, so it lives as long
 * as the loop runs. Without WATCHDOG_USEC in the environment it does nothing.
 */
struct watchdog *watchdog_new(struct loop *);
void	watchdog_free(struct watchdog *);

#endif
