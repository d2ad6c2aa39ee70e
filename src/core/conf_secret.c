/*
 * conf_secret: reads the API key. It is read when it is needed, so that a
 * changed file is noticed; it is kept by nobody but the caller.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/conf.h"

#define API_KEY_FILE_MAX	4096	/* bytes */

/*
 * Cut white space at the end and copy what may go into an HTTP header.
 * what: the key's origin, for the error, which never repeats the key.
 */
static int
take_key(const char *text, size_t len, const char *what, char *dst, size_t n,
    struct why *why)
{
	while (len > 0 && strchr(" \t\r\n", text[len - 1]) != NULL &&
	    text[len - 1] != '\0')
		len--;
	if (len == 0)
		return why_set(why, -EINVAL, "%s is empty; it must hold the "
		    "API key", what);
	if (memchr(text, '\n', len) != NULL)
		return why_set(why, -EINVAL, "%s has several lines; it must "
		    "hold the API key and nothing else", what);
	for (size_t i = 0; i < len; i++) {
		if (text[i] <= ' ' || text[i] > '~')
			return why_set(why, -EINVAL, "%s has a space or a "
			    "letter that cannot be in an API key", what);
	}
	if (len >= n)
		return why_set(why, -EINVAL, "%s is too long for an API key",
		    what);
	memcpy(dst, text, len);
	dst[len] = '\0';
	return 0;
}

static int
read_key(int fd, const char *path, char *dst, size_t n, struct why *why)
{
	char text[API_KEY_FILE_MAX + 1];
	size_t len = 0;
	int r;

	while (len < sizeof text) {
		ssize_t got = read(fd, text + len, sizeof text - len);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return why_errno(why, -errno, "%s", path);
		if (got == 0)
			break;
		len += (size_t)got;
	}
	if (len > API_KEY_FILE_MAX)
		r = why_set(why, -EINVAL, "%s is too long for an API key",
		    path);
	else
		r = take_key(text, len, path, dst, n, why);
	explicit_bzero(text, sizeof text);
	return r;
}

int
conf_api_key(const struct conf *cf, char *dst, size_t n,
    int64_t *ret_mtime_ns, struct why *why)
{
	const char *path = cf->upstream.api_key_file;
	struct stat st;
	int r;

	if (path[0] == '\0') {
		const char *key = cf->upstream.api_key;
		if (key == NULL)
			return why_set(why, -ENOENT, "there is no API key; "
			    "name its file in upstream.api_key_file");
		r = take_key(key, strlen(key), "LUMNI_API_KEY", dst, n, why);
		if (r == 0 && ret_mtime_ns != NULL)
			*ret_mtime_ns = 0;
		return r;
	}
	/* Non-blocking: a FIFO in its place must not stop the loop. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0 && errno == ENOENT)
		return why_set(why, -ENOENT, "%s does not exist; write the "
		    "API key into it", path);
	if (fd < 0)
		return why_errno(why, -errno, "%s", path);
	if (fstat(fd, &st) < 0)
		r = why_errno(why, -errno, "%s", path);
	else if (!S_ISREG(st.st_mode))
		r = why_set(why, -EINVAL, "%s is no regular file", path);
	else if ((st.st_mode & S_IROTH) != 0)
		r = why_set(why, -EPERM, "%s can be read by everyone; "
		    "chmod o-rwx %s", path, path);
	else
		r = read_key(fd, path, dst, n, why);
	(void)close(fd);	/* nothing was written */
	if (r == 0 && ret_mtime_ns != NULL)
		*ret_mtime_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 +
		    st.st_mtim.tv_nsec;
	return r;
}
