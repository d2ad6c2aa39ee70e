/*
 * conf_secret: reads the API key, and other secrets in files. They are read
 * when they are needed, so that a changed file is noticed; they are kept by
 * nobody but the caller.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/conf.h"
#include "core/conf_table.h"

#define API_KEY_FILE_MAX	4096	/* bytes */

/*
 * Cut white space at the end and copy what may go into an HTTP header.
 * what: the key's origin, for the error, which never repeats the key; name:
 * which key it is.
 */
static int
take_key(const char *text, size_t len, const char *what, const char *name,
    char *dst, size_t n, struct why *why)
{
	while (len > 0 && strchr(" \t\r\n", text[len - 1]) != NULL &&
	    text[len - 1] != '\0')
		len--;
	if (len == 0)
		return why_set(why, -ENODATA, "%s is empty; it must hold the "
		    "%s", what, name);
	if (memchr(text, '\n', len) != NULL)
		return why_set(why, -EINVAL, "%s has several lines; it must "
		    "hold the %s and nothing else", what, name);
	for (size_t i = 0; i < len; i++) {
		if (text[i] <= ' ' || text[i] > '~')
			return why_set(why, -EINVAL, "%s has a space or a "
			    "letter that cannot be in an %s", what, name);
	}
	if (len >= n)
		return why_set(why, -EINVAL, "%s is too long for an %s",
		    what, name);
	memcpy(dst, text, len);
	dst[len] = '\0';
	return 0;
}

static int
read_key(int fd, const char *path, const char *name, char *dst, size_t n,
    struct why *why)
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
		r = why_set(why, -EINVAL, "%s is too long for an %s",
		    path, name);
	else
		r = take_key(text, len, path, name, dst, n, why);
	explicit_bzero(text, sizeof text);
	return r;
}

static int
environment_key(const struct conf *cf, char *dst, size_t n,
    int64_t *ret_mtime_ns, struct why *why)
{
	const char *key = secret_text(cf->upstream.api_key);
	int r = take_key(key, strlen(key), "LUMNI_API_KEY", "API key", dst,
	    n, why);

	if (r == 0 && ret_mtime_ns != NULL)
		*ret_mtime_ns = 0;
	return r == -ENODATA ? -EINVAL : r;
}

bool
conf_key_is_credential(const struct conf *cf)
{
	const struct conf_key *key = conf_key_find("upstream.api_key_file");

	assert(key != NULL);
	return cf->origins[conf_key_index(key)] == CONF_ENV;
}

/*
 * A unit cannot pass on a file that is not there: a blank credential is its
 * way to say that there is none.
 */
static int
no_credential(struct why *why)
{
	return why_set(why, -ENOENT, "there is no API key: write it into the "
	    "file that the service's LoadCredential= names "
	    "(/etc/lumnid/api_key) and restart lumnid");
}

int
conf_secret_file(const char *path, const char *what, char *dst, size_t n,
    int64_t *ret_mtime_ns, struct why *why)
{
	struct stat st;
	int r;

	/* Non-blocking: a FIFO in its place must not stop the loop. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0 && errno == ENOENT)
		return why_set(why, -ENOENT, "%s does not exist; write the "
		    "%s into it", path, what);
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
		r = read_key(fd, path, what, dst, n, why);
	(void)close(fd);	/* nothing was written */
	if (r == 0 && ret_mtime_ns != NULL)
		*ret_mtime_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 +
		    st.st_mtim.tv_nsec;
	return r;
}

int
conf_api_key(const struct conf *cf, char *dst, size_t n,
    int64_t *ret_mtime_ns, struct why *why)
{
	const char *path = cf->upstream.api_key_file;

	if (path[0] == '\0') {
		if (cf->upstream.api_key == NULL)
			return why_set(why, -ENOENT, "there is no API key; "
			    "name its file in upstream.api_key_file");
		return environment_key(cf, dst, n, ret_mtime_ns, why);
	}
	int r = conf_secret_file(path, "API key", dst, n, ret_mtime_ns, why);
	if (r == -ENODATA && conf_key_is_credential(cf))
		return cf->upstream.api_key == NULL ? no_credential(why) :
		    environment_key(cf, dst, n, ret_mtime_ns, why);
	return r == -ENODATA ? -EINVAL : r;
}
