/* ctl_input: lines from files. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "ctl/ctl.h"
#include "ctl/ctl_input.h"

#define READ_SIZE	65536

void
ctl_input_init(struct ctl_input *in, char *const *files, size_t n)
{
	static char dash[] = "-";
	static char *const standard[] = { dash };

	*in = (struct ctl_input){ .files = files, .files_n = n, .fd = -1 };
	if (n == 0) {
		in->files = standard;
		in->files_n = 1;
	}
	buf_init(&in->buf, CTL_LINE_MAX + READ_SIZE);
}

static void
input_close(struct ctl_input *in)
{
	if (in->fd > STDIN_FILENO)
		(void)close(in->fd);	/* only read from */
	in->fd = -1;
}

void
ctl_input_free(struct ctl_input *in)
{
	input_close(in);
	buf_free(&in->buf);
}

static void
input_fault(struct ctl_input *in, int err)
{
	in->faults++;
	ctl_error("%s: %s", in->name, strerror(err));
}

/* Open the next file that can be opened; false when there is none. */
static bool
input_open(struct ctl_input *in)
{
	while (in->next < in->files_n) {
		const char *file = in->files[in->next++];
		if (strcmp(file, "-") == 0) {
			in->name = "standard input";
			in->fd = STDIN_FILENO;
		} else {
			in->name = file;
			in->fd = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY);
		}
		if (in->fd < 0) {
			input_fault(in, errno);
			continue;
		}
		buf_reset(&in->buf, READ_SIZE);
		in->taken = in->seen = 0;
		in->line = 0;
		in->eof = in->skipping = false;
		return true;
	}
	return false;
}

static void
input_read(struct ctl_input *in)
{
	buf_drain(&in->buf, in->taken);
	in->seen -= in->taken;
	in->taken = 0;
	uint8_t *room = buf_room(&in->buf, READ_SIZE);
	if (room == NULL) {
		input_fault(in, ENOMEM);
		in->eof = true;
		return;
	}
	ssize_t n = read(in->fd, room, READ_SIZE);
	if (n > 0) {
		in->buf.len += (size_t)n;
	} else if (n == 0) {
		in->eof = true;
	} else if (errno != EINTR && errno != EAGAIN) {
		input_fault(in, errno);
		in->eof = true;
	}
}

/* Take a line off the buffer, if there is a whole one. */
static bool
input_line(struct ctl_input *in, const char **ret, size_t *ret_len)
{
	size_t len = in->buf.len - in->taken;
	const char *nl = NULL;

	if (len == 0)
		return false;
	const char *from = (const char *)in->buf.data + in->taken;
	if (in->buf.len > in->seen)
		nl = memchr(in->buf.data + in->seen, '\n',
		    in->buf.len - in->seen);
	in->seen = in->buf.len;
	if (nl == NULL && !in->eof)
		return false;
	if (nl != NULL)
		len = (size_t)(nl - from);
	in->taken += len + (nl != NULL);
	in->seen = in->taken;
	in->line++;
	*ret = from;
	*ret_len = len;
	return true;
}

/* A line that would not end: drop what is there of it, and the rest. */
static void
input_skip(struct ctl_input *in)
{
	if (!in->skipping) {
		in->faults++;
		ctl_error("%s:%llu: a line of more than %u bytes", in->name,
		    (unsigned long long)in->line + 1, CTL_LINE_MAX);
	}
	in->skipping = true;
	in->taken = in->seen = in->buf.len;
}

enum ctl_input_result
ctl_input_next(struct ctl_input *in, bool may_read, const char **ret,
    size_t *ret_len)
{
	for (;;) {
		if (in->fd < 0 && !input_open(in))
			return CTL_INPUT_END;
		if (input_line(in, ret, ret_len)) {
			if (!in->skipping)
				return CTL_INPUT_LINE;
			in->skipping = false;
			continue;
		}
		if (in->eof) {
			input_close(in);
			continue;
		}
		if (in->buf.len - in->taken > CTL_LINE_MAX)
			input_skip(in);
		if (!may_read)
			return CTL_INPUT_WAIT;
		input_read(in);
		/* One read for each poll: a pipe may have no more. */
		may_read = false;
	}
}
