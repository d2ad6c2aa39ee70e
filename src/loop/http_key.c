/* http_key: keeps the key in one place in memory (base/secret.h). */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "loop/http_key.h"

#define HTTP_KEY_MAX		4096
#define HTTP_KEY_CHECK_MS	1000
#define HTTP_KEY_HEAD		"authorization: Bearer "

struct http_key {
	bool		 read;		/* it was tried */
	int		 error;		/* of the last try */
	struct why	 why;
	struct mono	 checked;
	struct timespec	 mtime;		/* of the file, when it was read */
	struct timespec	 ctime;
	ino_t		 ino;
	struct secret	*line;		/* NULL before the first */
};

struct http_key *
http_key_new(void)
{
	return mem_zalloc(sizeof(struct http_key));
}

void
http_key_free(struct http_key *k)
{
	if (k == NULL)
		return;
	secret_unref(k->line);
	free(k);
}

void
http_key_reset(struct http_key *k)
{
	k->read = false;
}

static bool
http_key_same_time(struct timespec a, struct timespec b)
{
	return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

/* Has the file changed since it was read well? Remembers what it saw. */
static bool
http_key_is_stale(struct http_key *k, const struct conf *conf)
{
	const char *path = conf->upstream.api_key_file;
	struct stat st;
	bool stale;

	if (path[0] == '\0')
		return false;
	if (stat(path, &st) < 0)
		memset(&st, 0, sizeof st);
	stale = st.st_ino != k->ino || !http_key_same_time(st.st_mtim,
	    k->mtime) || !http_key_same_time(st.st_ctim, k->ctime);
	k->ino = st.st_ino;
	k->mtime = st.st_mtim;
	k->ctime = st.st_ctim;
	return stale;
}

int
http_key_line(struct http_key *k, const struct conf *conf, struct mono now,
    struct secret **ret_line, struct why *why)
{
	if (!k->read || mono_sub_ms(now, k->checked) >= HTTP_KEY_CHECK_MS) {
		/* First the look, then the read: no change goes unseen. */
		bool stale = http_key_is_stale(k, conf);
		char key[HTTP_KEY_MAX];

		if (stale || !k->read || k->error != 0) {
			k->error = conf_api_key(conf, key, sizeof key, NULL,
			    &k->why);
			if (k->error == 0) {
				secret_unref(k->line);
				k->line = secret_new(HTTP_KEY_HEAD, key,
				    strlen(key));
			}
			explicit_bzero(key, sizeof key);
		}
		k->read = true;
		k->checked = now;
	}
	if (k->error != 0)
		return why_set(why, k->error, "%s", k->why.text);
	*ret_line = k->line;
	return 0;
}

uint64_t
http_key_file_stamp(const char *path)
{
	struct stat st;

	if (path[0] == '\0' || stat(path, &st) < 0)
		return 0;
	return (uint64_t)st.st_ino * 0x9e3779b97f4a7c15u ^
	    (uint64_t)st.st_mtim.tv_sec << 32 ^
	    (uint64_t)st.st_mtim.tv_nsec << 1 ^
	    (uint64_t)st.st_ctim.tv_sec << 17 ^
	    (uint64_t)st.st_ctim.tv_nsec;
}

uint64_t
http_key_stamp(struct http_key *k, const struct conf *conf)
{
	/*
	 * Who asks will send as soon as it has changed, and then the file is
	 * read, not believed to be what it was within the last second.
	 */
	k->checked.us = 0;
	return http_key_file_stamp(conf->upstream.api_key_file);
}
