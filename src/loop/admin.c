/* admin: adapters between the listener and core/metrics.c. */
#include "loop/admin.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "config.h"
#include "base/clock.h"
#include "base/mem.h"
#include "core/metrics.h"
#include "loop/in_http.h"
#include "loop/loop.h"

#define ADMIN_SYNC_STUCK_MS	30000	/* then the disk hangs */

struct admin {
	struct loop	*loop;
	size_t		(*connections)(void *);
	void		*arg;
	double		 start_time;
	uint64_t	 generation;
};

static uint64_t
admin_resident(void)
{
	unsigned long long total, resident = 0;
	FILE *f = fopen("/proc/self/statm", "re");

	if (f == NULL)
		return 0;
	if (fscanf(f, "%llu %llu", &total, &resident) != 2)
		resident = 0;
	(void)fclose(f);	/* only read */
	return resident * (uint64_t)sysconf(_SC_PAGESIZE);
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
admin_process(const struct admin *a, struct metrics_process *p)
{
	struct rusage ru;

	*p = (struct metrics_process){
		.version = PACKAGE_VERSION,
		.start_time = a->start_time,
		.resident_bytes = admin_resident(),
		.open_fds = admin_fds(),
		.connections = a->connections(a->arg),
		.config_generation = a->generation,
	};
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

static int
on_status(void *arg, struct buf *b, const char **type)
{
	struct admin *a = arg;
	struct metrics_process p;

	admin_process(a, &p);
	metrics_status(loop_engine(a->loop), &p, clock_now(), b);
	return 200;
}

/* That this answers shows that the loop turns; is the thread stuck? */
static int
on_health(void *arg, struct buf *b, const char **type)
{
	struct admin *a = arg;
	int64_t ms = engine_sync_age_ms(loop_engine(a->loop), clock_now());
	bool ok = ms < ADMIN_SYNC_STUCK_MS;

	buf_printf(b, "{\"healthy\":%s,\"sync_under_way_ms\":%lld}\n",
	    ok ? "true" : "false", (long long)ms);
	return ok ? 200 : 503;
}

static int
on_ready(void *arg, struct buf *b, const char **type)
{
	struct admin *a = arg;

	return metrics_ready(loop_engine(a->loop), clock_now(), b) ? 200 :
	    503;
}

struct admin *
admin_new(struct loop *loop, struct in_http *http,
    size_t (*connections)(void *), void *arg)
{
	struct admin *a = mem_zalloc(sizeof *a);

	a->loop = loop;
	a->connections = connections;
	a->arg = arg;
	a->start_time = (double)clock_now().wall.us / 1e6;
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
admin_count_config(struct admin *a)
{
	a->generation++;
}
