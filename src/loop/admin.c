/* admin: adapters between the listener and core/metrics.c. */
#include "loop/admin.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "config.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/why.h"
#include "core/metrics.h"
#include "loop/in_http.h"
#include "loop/loop.h"
#include "loop/status.h"

#define ADMIN_SYNC_STUCK_MS	10000	/* then the disk hangs */
#define ADMIN_SENDER_STUCK_MS	60000	/* then lumnid is at fault */

struct admin {
	struct loop	*loop;
	size_t		(*connections)(void *);
	void		*arg;
	double		 start_time;
	double		 config_time;
	uint64_t	 generation;
	struct why	 fault;		/* of the last reload; "": none */
	struct status	*status;
};

static void
admin_memory(struct metrics_process *p)
{
	unsigned long long total, resident;
	FILE *f = fopen("/proc/self/statm", "re");

	if (f == NULL)
		return;
	if (fscanf(f, "%llu %llu", &total, &resident) == 2) {
		uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

		p->virtual_bytes = total * page;
		p->resident_bytes = resident * page;
	}
	(void)fclose(f);	/* only read */
}

static uint64_t
admin_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	uint64_t n = 0;

	if (d == NULL)
		return 0;
	while (readdir(d) != NULL)
		n++;
	(void)closedir(d);	/* only read */
	return n > 3 ? n - 3 : 0;	/* ".", ".." and this one */
}

static void
admin_process(struct admin *a, struct metrics_process *p)
{
	struct loop_turns turns;
	struct rusage ru;
	struct rlimit rl;

	*p = (struct metrics_process){
		.version = PACKAGE_VERSION,
		.start_time = a->start_time,
		.open_fds = admin_fds(),
		.connections = a->connections(a->arg),
		.config_generation = a->generation,
		.config_time = a->config_time,
		.config_fault = a->fault.text[0] != '\0' ? a->fault.text : NULL,
		.no_key = status_no_key(a->status),
		.uids = loop_uids(a->loop),
	};
	loop_turns(a->loop, &turns);
	p->turns = turns.took;
	admin_memory(p);
	if (getrlimit(RLIMIT_NOFILE, &rl) == 0)
		p->max_fds = rl.rlim_cur;
	if (getrusage(RUSAGE_SELF, &ru) == 0)
		p->cpu_seconds = (double)(ru.ru_utime.tv_sec +
		    ru.ru_stime.tv_sec) + (double)(ru.ru_utime.tv_usec +
		    ru.ru_stime.tv_usec) / 1e6;
}

static int
on_metrics(void *arg, struct buf *b, const char **type)
{
	struct admin *a = arg;
	struct metrics_process p;

	admin_process(a, &p);
	metrics_prometheus(loop_engine(a->loop), &p, clock_now(), b);
	*type = "text/plain; version=0.0.4; charset=utf-8";
	return 200;
}

void
admin_put_status(struct admin *a, struct buf *b)
{
	struct metrics_process p;

	admin_process(a, &p);
	metrics_status(loop_engine(a->loop), &p, clock_now(), b);
}

static int
on_status(void *arg, struct buf *b, const char **type)
{
	admin_put_status(arg, b);
	return 200;
}

/*
 * That this answers shows that the loop turns; was it stuck just now, so that
 * the next prober might have got no answer? Is the thread, or the sender?
 */
static int
on_health(void *arg, struct buf *b, const char **type)
{
	struct admin *a = arg;
	struct now now = clock_now();
	int64_t sync_ms = engine_sync_age_ms(loop_engine(a->loop), now);
	int64_t sender_ms = engine_sender_overdue_ms(loop_engine(a->loop),
	    now);
	struct loop_turns turns;

	loop_turns(a->loop, &turns);
	bool ok = sync_ms < ADMIN_SYNC_STUCK_MS &&
	    sender_ms < ADMIN_SENDER_STUCK_MS && turns.stuck_us == 0;
	buf_printf(b, "{\"healthy\":%s,\"sync_under_way_ms\":%" PRId64
	    ",\"sender_overdue_ms\":%" PRId64 ",\"longest_turn_ms\":%" PRId64
	    ",\"stuck_turn_ms\":%" PRId64 "}\n", ok ? "true" : "false",
	    sync_ms, sender_ms, turns.longest_us / 1000,
	    turns.stuck_us / 1000);
	return ok ? 200 : 503;
}

static int
on_ready(void *arg, struct buf *b, const char **type)
{
	struct admin *a = arg;
	struct metrics_process p;

	admin_process(a, &p);
	return metrics_ready(loop_engine(a->loop), &p, clock_now(), b) ? 200 :
	    503;
}

struct admin *
admin_new(struct loop *loop, struct in_http *http, struct status *status,
    size_t (*connections)(void *), void *arg)
{
	struct admin *a = mem_zalloc(sizeof *a);

	a->loop = loop;
	a->status = status;
	a->connections = connections;
	a->arg = arg;
	a->start_time = (double)clock_now().wall.us / 1e6;
	a->config_time = a->start_time;
	a->generation = 1;
	in_http_get(http, "/metrics", on_metrics, a);
	in_http_get(http, "/status", on_status, a);
	in_http_get(http, "/healthz", on_health, a);
	in_http_get(http, "/readyz", on_ready, a);
	return a;
}

void
admin_free(struct admin *a)
{
	free(a);
}

void
admin_note_reload(struct admin *a, const char *fault)
{
	(void)why_set(&a->fault, 0, "%s", fault != NULL ? fault : "");
	if (fault != NULL)
		return;
	a->generation++;
	a->config_time = (double)clock_now().wall.us / 1e6;
}
