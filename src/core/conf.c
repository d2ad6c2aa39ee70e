/*
 * conf: makes a configuration of defaults, a file, the environment and
 * flags, and checks what no single key can tell. Logs nothing.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "codec/redact.h"
#include "core/conf.h"
#include "core/conf_addr.h"
#include "core/conf_table.h"
#include "core/conf_value.h"
#include "core/conf_yaml.h"

#define CONF_FILE_MAX	(1u << 20)	/* bytes of a configuration file */

static struct conf *
conf_new(void)
{
	struct conf *cf = mem_zalloc(sizeof *cf);

	cf->origins = mem_zalloc(conf_keys_n * sizeof *cf->origins);
	cf->lines = mem_zalloc(conf_keys_n * sizeof *cf->lines);
	for (size_t i = 0; i < conf_keys_n; i++) {
		struct why why;
		if (conf_value_set_text(cf, &conf_keys[i], conf_keys[i].def,
		    &why) < 0)
			fatal("%s: default: %s", conf_keys[i].name, why.text);
	}
	return cf;
}

void
conf_free(struct conf *cf)
{
	if (cf == NULL)
		return;
	for (size_t i = 0; i < conf_keys_n; i++)
		conf_value_free(cf, &conf_keys[i]);
	redact_free(cf->redact.set);
	secret_unref(cf->upstream.api_key);
	free(cf->file);
	free(cf->origins);
	free(cf->lines);
	free(cf);
}

/* --- files --------------------------------------------------------------------- */

/* Read to the end, at most max bytes. */
static int
read_all(int fd, struct buf *b, size_t max)
{
	for (;;) {
		uint8_t *room = buf_room(b, 4096);
		if (room == NULL)
			return buf_error(b);
		ssize_t n = read(fd, room, 4096);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return 0;
		b->len += (size_t)n;
		if (b->len > max)
			return -EFBIG;
	}
}

static int
read_file(const char *path, struct buf *b, struct why *why)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	int r;

	if (fd < 0)
		return why_errno(why, -errno, "%s", path);
	if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
		r = -EISDIR;
	else
		r = read_all(fd, b, CONF_FILE_MAX);
	(void)close(fd);	/* nothing was written */
	return r < 0 ? why_errno(why, r, "%s", path) : 0;
}

/* --- the environment --------------------------------------------------------------- */

/*
 * systemd hands a service its credentials as files (systemd.exec(5),
 * LoadCredential=); one named api_key is ours.
 */
static int
take_credential(struct conf *cf, struct why *why)
{
	static const char name[] = "upstream.api_key_file";
	const struct conf_key *key = conf_key_find(name);
	const char *dir = getenv("CREDENTIALS_DIRECTORY");
	struct buf path;
	int r = 0;

	assert(key != NULL);
	size_t i = conf_key_index(key);
	if (dir == NULL || dir[0] != '/' || cf->origins[i] != CONF_DEFAULT)
		return 0;
	buf_init(&path, 0);
	buf_printf(&path, "%s/api_key", dir);
	if (access(buf_cstr(&path), F_OK) == 0) {
		r = conf_value_set_text(cf, key, buf_cstr(&path), why);
		cf->origins[i] = CONF_ENV;
	}
	buf_free(&path);
	return r;
}

static int
take_environment(struct conf *cf, struct why *why)
{
	const char *api_key = getenv("LUMNI_API_KEY");

	if (api_key != NULL && api_key[0] != '\0')
		cf->upstream.api_key = secret_new("", api_key,
		    strlen(api_key));
	return take_credential(cf, why);
}

/* --- load ---------------------------------------------------------------------------- */

int
conf_parse(const char *text, size_t len, const char *name, bool partial,
    struct conf **ret, struct why *why)
{
	struct conf *cf = conf_new();
	int r;

	cf->file = mem_strdup(name);
	r = conf_yaml_read(cf, text, len, name, why);
	if (r == 0)
		r = take_environment(cf, why);
	if (r == 0 && !partial)
		r = conf_check(cf, why);
	if (r == 0 && !partial)
		r = conf_compile(cf, why);
	if (r < 0) {
		conf_free(cf);
		return r;
	}
	*ret = cf;
	return 0;
}

int
conf_load(const char *file, bool partial, struct conf **ret, struct why *why)
{
	struct buf b;
	int r = 0;

	buf_init(&b, 0);
	if (file != NULL)
		r = read_file(file, &b, why);
	if (r == 0)
		r = conf_parse(buf_cstr(&b), b.len,
		    file != NULL ? file : "defaults", partial, ret, why);
	buf_free(&b);
	return r;
}

/* A path from the command line is relative to where the command was given. */
static int
set_relative(struct conf *cf, const struct conf_key *key, const char *value,
    struct why *why)
{
	char *cwd = getcwd(NULL, 0);
	struct buf path;
	int r;

	if (cwd == NULL)
		return why_errno(why, -errno, "the working directory");
	buf_init(&path, 0);
	buf_printf(&path, "%s/%s", strcmp(cwd, "/") == 0 ? "" : cwd, value);
	r = conf_value_set_text(cf, key, buf_cstr(&path), why);
	buf_free(&path);
	free(cwd);
	return r;
}

int
conf_set(struct conf *cf, const char *name, const char *value,
    struct why *why)
{
	const struct conf_key *key = conf_key_find(name);
	struct why reason;
	int r;

	if (key == NULL) {
		const char *near = conf_nearest(name);
		if (near == NULL)
			return why_set(why, -EINVAL, "unknown key \"%.80s\"",
			    name);
		return why_set(why, -EINVAL,
		    "unknown key \"%.80s\"; did you mean \"%s\"?", name, near);
	}
	bool relative = (key->type == CONF_PATH || key->type == CONF_SOCKET) &&
	    value[0] != '\0' && value[0] != '/' && strcmp(value, "off") != 0 &&
	    (key->zero == NULL || strcmp(value, key->zero) != 0);
	if (relative)
		r = set_relative(cf, key, value, &reason);
	else
		r = conf_value_set_text(cf, key, value, &reason);
	if (r < 0)
		return why_set(why, r, "%s: %.400s", name, reason.text);
	cf->origins[conf_key_index(key)] = CONF_FLAG;
	cf->lines[conf_key_index(key)] = 0;
	return 0;
}

/* --- checks across keys ------------------------------------------------------------------ */

static int	fail_key(const struct conf *, const char *name, struct why *,
		    const char *fmt, ...) PRINTF_LIKE(4, 5);

/* A fault of a key's value, with its place where it came from a file. */
static int
fail_key(const struct conf *cf, const char *name, struct why *why,
    const char *fmt, ...)
{
	const struct conf_key *key = conf_key_find(name);
	char text[256];
	va_list ap;

	assert(key != NULL);
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof text, fmt, ap);	/* may be cut */
	va_end(ap);
	unsigned line = cf->lines[conf_key_index(key)];
	if (line != 0)
		return why_set(why, -EINVAL, "%s:%u: %s %s", cf->file, line,
		    name, text);
	return why_set(why, -EINVAL, "%s %s", name, text);
}

int
conf_why_at(const struct conf *cf, const char *name, int code,
    struct why *why)
{
	const struct conf_key *key = conf_key_find(name);

	assert(key != NULL);
	unsigned line = cf->lines[conf_key_index(key)];
	if (line == 0)
		return code;
	return why_prefix(why, code, "%s:%u", cf->file, line);
}

static int
check_address(const struct conf *cf, const char *name, const char *text,
    struct why *why)
{
	struct sockaddr_storage ss;
	socklen_t len;

	if (text[0] == '\0' || cf->listen.allow_remote)
		return 0;
	if (conf_addr_parse(text, &ss, &len, NULL) < 0)
		return fail_key(cf, name, why, "is no address");
	if (conf_addr_is_loopback(&ss))
		return 0;
	return fail_key(cf, name, why, "is %s, which other hosts can reach; "
	    "if that is meant, set listen.allow_remote: true", text);
}

static int
check_listen(const struct conf *cf, struct why *why)
{
	char path[4096];
	const char *un = cf->listen.unix_stream.path;
	int r;

	r = check_address(cf, "listen.udp", cf->listen.udp, why);
	if (r == 0)
		r = check_address(cf, "listen.http", cf->listen.http, why);
	if (r == 0)
		r = check_address(cf, "listen.forward_tcp",
		    cf->listen.forward_tcp, why);
	if (r < 0)
		return r;
	if (un[0] != '\0' && strcmp(un, cf->listen.dgram.path) == 0)
		return fail_key(cf, "listen.dgram.path", why,
		    "is the same as listen.unix.path");
	const char *control = conf_control_path(cf, path, sizeof path);
	if (control[0] != '\0' && (strcmp(control, un) == 0 ||
	    strcmp(control, cf->listen.dgram.path) == 0))
		return fail_key(cf, "listen.control", why,
		    "the control socket would be at the same path as another "
		    "socket, %s", control);
	size_t len = strlen(cf->listen.http);
	if (len != 0 && strcmp(cf->listen.http, cf->listen.forward_tcp) == 0 &&
	    strcmp(cf->listen.http + len - 2, ":0") != 0)
		return fail_key(cf, "listen.forward_tcp", why,
		    "is the same as listen.http");
	return 0;
}

int
conf_check(const struct conf *cf, struct why *why)
{
	if (cf->upstream.url[0] == '\0')
		return why_set(why, -EINVAL, "%s%supstream.url is not set; it "
		    "says where runs are delivered, as in https://host",
		    cf->file, cf->file[0] != '\0' ? ": " : "");
	if (cf->upstream.unix_socket[0] != '\0' &&
	    conf_addr_url_socket(cf->upstream.url, NULL, 0))
		return fail_key(cf, "upstream.unix_socket", why, "is set "
		    "beside an upstream.url that names a socket itself; take "
		    "one of them out");
	if (cf->upstream.key_file[0] != '\0' &&
	    cf->upstream.cert_file[0] == '\0')
		return fail_key(cf, "upstream.key_file", why,
		    "needs upstream.cert_file beside it");
	if (cf->events.max_message > cf->storage.journal_max)
		return fail_key(cf, "events.max_message", why,
		    "is larger than storage.journal_max");
	if (cf->runs.max_bytes > cf->storage.journal_max)
		return fail_key(cf, "runs.max_bytes", why,
		    "is larger than storage.journal_max");
	if (cf->runs.max_bytes > cf->storage.spool_max)
		return fail_key(cf, "runs.max_bytes", why,
		    "is larger than storage.spool_max");
	return check_listen(cf, why);
}

const char *
conf_restart_keys(const struct conf *a, const struct conf *b, char *dst,
    size_t n)
{
	size_t len = 0;

	assert(n > 0);
	dst[0] = '\0';
	for (size_t i = 0; i < conf_keys_n; i++) {
		const struct conf_key *key = &conf_keys[i];
		if (key->live || conf_value_equal(a, b, key))
			continue;
		int r = snprintf(dst + len, n - len, "%s%s",
		    len != 0 ? ", " : "", key->name);
		if (r < 0 || (size_t)r >= n - len)
			break;	/* cut short */
		len += (size_t)r;
	}
	return dst;
}

const char *
conf_control_path(const struct conf *cf, char *dst, size_t n)
{
	const char *un = cf->listen.unix_stream.path;
	const char *slash = strrchr(un, '/');

	if (strcmp(cf->listen.control, "auto") != 0)
		(void)snprintf(dst, n, "%s", cf->listen.control);
	else if (slash == NULL)
		(void)snprintf(dst, n, "%s", RUNSTATEDIR
		    "/lumnid/control.sock");
	else
		(void)snprintf(dst, n, "%.*s/control.sock",
		    (int)(slash - un), un);
	return dst;
}
