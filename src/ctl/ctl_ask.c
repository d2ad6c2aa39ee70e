/* ctl_ask: see ctl_ask.h. */
#include "ctl/ctl_ask.h"

#include <errno.h>
#include <poll.h>

#include "base/clock.h"
#include "base/units.h"
#include "ctl/ctl_conn.h"

/* Wait until something can go on. Returns 0 or -errno. */
static int
ctl_ask_wait(const struct ctl *ctl, struct ctl_conn *c, struct mono since,
    struct why *why)
{
	struct pollfd fd = { .fd = c->fd, .events = POLLIN };
	int64_t left = -1;
	char text[32];

	if (c->out.len != 0)
		fd.events |= POLLOUT;
	if (ctl->timeout_ms > 0) {
		left = ctl->timeout_ms - mono_sub_ms(clock_mono(), since);
		if (left < 0)
			left = 0;
	}
	int n = poll(&fd, 1, left > INT32_MAX ? INT32_MAX : (int)left);
	if (n < 0 && errno != EINTR)
		return why_errno(why, -errno, "poll");
	if (n == 0)
		return why_set(why, -ETIMEDOUT, "lumnid has answered nothing "
		    "for %s; is it stopped, or its storage full?",
		    units_format_duration(ctl->timeout_ms, text));
	return 0;
}

static int
ctl_ask_talk(const struct ctl *ctl, struct ctl_conn *c, uint64_t id,
    struct why *why)
{
	struct mono since = clock_mono();
	struct ctl_answer a;
	int r;

	for (;;) {
		while ((r = ctl_conn_answer(c, &a, why)) > 0) {
			if (a.has_id && a.id != id)
				continue;
			if (!a.refused)
				return CTL_OK;
			(void)why_set(why, 0, "%s (%s)", a.text, a.code);
			return CTL_REFUSED;
		}
		if (r < 0)
			return CTL_UNREACHABLE;
		if (c->closed) {
			(void)why_set(why, 0, "lumnid has closed the "
			    "connection");
			return CTL_UNREACHABLE;
		}
		if (ctl_ask_wait(ctl, c, since, why) < 0)
			return CTL_UNREACHABLE;
		/* What a failed write means, the read tells. */
		if (c->out.len != 0)
			(void)!ctl_conn_write(c);
		if (ctl_conn_read(c, why) < 0)
			return CTL_UNREACHABLE;
	}
}

int
ctl_ask(const struct ctl *ctl, const struct buf *message, uint64_t id,
    struct why *why)
{
	const char *path = ctl_socket(ctl);
	struct ctl_conn c;

	if (path == NULL) {
		(void)why_set(why, -EINVAL, "no socket to ask");
		return CTL_UNREACHABLE;
	}
	if (ctl_conn_open(&c, path, ctl->timeout_ms, why) < 0)
		return CTL_UNREACHABLE;
	buf_put(&c.out, message->data, message->len);
	int status = ctl_ask_talk(ctl, &c, id, why);
	ctl_conn_close(&c);
	return status;
}
