/* ctl_frames: see ctl_frames.h. */
#include "ctl/ctl_frames.h"

#include <errno.h>
#include <string.h>

void
ctl_frames_init(struct ctl_frames *f,
    int64_t (*line)(void *, const char *, size_t),
    int (*bytes)(void *, const void *, size_t), void *arg)
{
	*f = (struct ctl_frames){ .line = line, .bytes = bytes, .arg = arg };
	buf_init(&f->part, CTL_FRAMES_LINE_MAX);
}

void
ctl_frames_free(struct ctl_frames *f)
{
	buf_free(&f->part);
}

static int
frames_line(struct ctl_frames *f, const char *p, size_t n)
{
	int64_t r;

	if (n == 0)
		return 0;
	r = f->line(f->arg, p, n);
	if (r < 0)
		return (int)r;
	f->left = (uint64_t)r;
	return 0;
}

/* The bytes up to a newline, or all of them; how many were taken in *ret. */
static int
frames_text(struct ctl_frames *f, const char *p, size_t n, size_t *ret)
{
	const char *nl = memchr(p, '\n', n);
	int r;

	if (nl == NULL) {
		*ret = n;
		buf_put(&f->part, p, n);
		return buf_error(&f->part) != 0 ? -EMSGSIZE : 0;
	}
	*ret = (size_t)(nl - p) + 1;
	if (f->part.len == 0)
		return frames_line(f, p, *ret - 1);
	buf_put(&f->part, p, *ret - 1);
	if (buf_error(&f->part) != 0)
		return -EMSGSIZE;
	r = frames_line(f, (const char *)f->part.data, f->part.len);
	buf_reset(&f->part, 64u << 10);
	return r;
}

int
ctl_frames_feed(struct ctl_frames *f, const char *p, size_t n)
{
	size_t took;
	int r = 0;

	for (; r == 0 && n > 0; p += took, n -= took) {
		if (f->left == 0) {
			r = frames_text(f, p, n, &took);
			continue;
		}
		took = f->left < n ? (size_t)f->left : n;
		f->left -= took;
		if (f->bytes != NULL)
			r = f->bytes(f->arg, p, took);
	}
	return r;
}
