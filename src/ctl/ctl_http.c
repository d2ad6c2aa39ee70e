/* ctl_http: see ctl_http.h. */
#include "config.h"

#include "ctl/ctl_http.h"

#include <curl/curl.h>
#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/mem.h"

#define HTTP_ANSWER_MAX	(16u << 20)	/* bytes of an answer that is kept */

struct ctl_http {
	const struct ctl *ctl;
	CURL		*curl;
	struct buf	 answer;	/* whole, or of a refusal */
	char		 version[64];	/* of lumnid, "" if it did not tell */
	/* Of the stream under way: */
	int		(*fn)(void *, const char *, size_t);
	int		(*idle)(void *);
	void		*arg;
	bool		 ended;		/* by fn or idle */
};

static size_t
on_body(char *data, size_t size, size_t n, void *arg)
{
	struct ctl_http *h = arg;
	long status = 0;

	(void)curl_easy_getinfo(h->curl, CURLINFO_RESPONSE_CODE, &status);
	if (h->fn == NULL || status != 200) {
		buf_put(&h->answer, data, size * n);
		return buf_error(&h->answer) == 0 ? size * n : 0;
	}
	if (h->fn(h->arg, data, size * n) == 0)
		return size * n;
	h->ended = true;
	return 0;	/* curl ends the transfer */
}

static size_t
on_header(char *data, size_t size, size_t n, void *arg)
{
	static const char name[] = "Server: lumnid/";
	struct ctl_http *h = arg;
	size_t len = size * n, at = sizeof name - 1;

	if (len > at && strncasecmp(data, name, at) == 0) {
		len -= at;
		while (len > 0 && (data[at + len - 1] == '\r' ||
		    data[at + len - 1] == '\n'))
			len--;
		(void)ctl_clean(data + at, len, h->version,
		    sizeof h->version);
	}
	return size * n;
}

static int
on_progress(void *arg, curl_off_t dltotal, curl_off_t dlnow,
    curl_off_t ultotal, curl_off_t ulnow)
{
	struct ctl_http *h = arg;

	if (h->idle != NULL && h->idle(h->arg) != 0)
		h->ended = true;
	return h->ended;
}

struct ctl_http *
ctl_http_new(const struct ctl *ctl)
{
	struct ctl_http *h = mem_zalloc(sizeof *h);
	CURL *c;

	h->ctl = ctl;
	buf_init(&h->answer, HTTP_ANSWER_MAX);
	if (curl_global_init(CURL_GLOBAL_NOTHING) != 0 ||
	    (c = curl_easy_init()) == NULL)
		fatal("libcurl cannot be used");
	h->curl = c;
	(void)curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
	(void)curl_easy_setopt(c, CURLOPT_NOPROXY, "*");
	(void)curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
	(void)curl_easy_setopt(c, CURLOPT_WRITEDATA, h);
	(void)curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
	(void)curl_easy_setopt(c, CURLOPT_HEADERDATA, h);
	(void)curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress);
	(void)curl_easy_setopt(c, CURLOPT_XFERINFODATA, h);
	(void)curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
	if (ctl->timeout_ms > 0)
		(void)curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS,
		    (long)ctl->timeout_ms);
	return h;
}

void
ctl_http_free(struct ctl_http *h)
{
	if (h == NULL)
		return;
	curl_easy_cleanup(h->curl);
	curl_global_cleanup();
	buf_free(&h->answer);
	free(h);
}

void
ctl_http_param(struct buf *b, const char *name, const char *value)
{
	char *text = curl_easy_escape(NULL, value, 0);
	bool first = memchr(b->data, '?', b->len) == NULL;

	if (text == NULL)
		fatal("out of memory");
	buf_printf(b, "%c%s=%s", first ? '?' : '&', name, text);
	curl_free(text);
}

/* --- what went wrong ------------------------------------------------------ */

static int
http_no_access(const char *path, struct why *why)
{
	struct stat st;
	const struct passwd *pw = NULL;

	if (stat(path, &st) == 0)
		pw = getpwuid(st.st_uid);
	if (pw == NULL)
		return why_set(why, CTL_UNREACHABLE, "%s: permission denied; "
		    "only root and the user that runs lumnid may use it: try "
		    "with sudo", path);
	return why_set(why, CTL_UNREACHABLE, "%s: permission denied; it "
	    "belongs to the user %s: run this as root or as %s (sudo -u %s "
	    "lumnictl ...); no group can use it", path, pw->pw_name,
	    pw->pw_name, pw->pw_name);
}

static int
http_no_connect(const struct ctl_http *h, const char *path, struct why *why)
{
	struct stat st;
	long err = 0;

	(void)curl_easy_getinfo(h->curl, CURLINFO_OS_ERRNO, &err);
	if (err == 0 && stat(path, &st) < 0)
		err = errno;
	switch (err) {
	case ENOENT:
		return why_set(why, CTL_UNREACHABLE, "there is no control "
		    "socket at %s: is lumnid running (systemctl status "
		    "lumnid)? Another place is named with --control", path);
	case ECONNREFUSED:
		return why_set(why, CTL_UNREACHABLE, "nobody listens at %s: "
		    "lumnid has ended without removing it; start it (systemctl "
		    "start lumnid)", path);
	case EACCES:
	case EPERM:
		return http_no_access(path, why);
	}
	return why_set(why, CTL_UNREACHABLE, "%s: cannot connect%s%s", path,
	    err != 0 ? ": " : "", err != 0 ? strerror((int)err) : "");
}

static int
http_failed(const struct ctl_http *h, CURLcode code, const char *path,
    struct why *why)
{
	if (code == CURLE_COULDNT_CONNECT)
		return http_no_connect(h, path, why);
	if (code == CURLE_OPERATION_TIMEDOUT)
		return why_set(why, CTL_UNREACHABLE, "lumnid does not answer "
		    "at %s: it is stopped, or stuck (see its log)", path);
	if (code == CURLE_WRITE_ERROR && buf_error(&h->answer) != 0)
		return why_set(why, CTL_REFUSED, "the answer is too long");
	if (code == CURLE_GOT_NOTHING || code == CURLE_RECV_ERROR ||
	    code == CURLE_PARTIAL_FILE || code == CURLE_SEND_ERROR)
		return why_set(why, CTL_UNREACHABLE, "lumnid has closed the "
		    "connection: it was stopped or restarted");
	return why_set(why, CTL_UNREACHABLE, "%s: %s; is it lumnid's control "
	    "socket?", path, curl_easy_strerror(code));
}

/* lumnid refused; its own words, clean for a terminal. */
static int
http_refused(struct ctl_http *h, long status, struct why *why)
{
	struct json_object *o = json_tokener_parse(buf_cstr(&h->answer));
	const char *code = ctl_json_text(o, "error.code");
	const char *text = ctl_json_text(o, "error.message");
	char clean[400];
	int r = CTL_REFUSED;

	if (h->version[0] == '\0') {
		(void)why_set(why, 0, "status %ld: that is no control socket "
		    "of lumnid's", status);
		r = CTL_UNREACHABLE;
	} else if (strcmp(code, "bad_path") == 0 ||
	    strcmp(code, "bad_method") == 0) {
		(void)why_set(why, 0, "lumnid %s does not know this request "
		    "of lumnictl %s: restart lumnid if it was upgraded, or "
		    "use the lumnictl of its version", h->version,
		    PACKAGE_VERSION);
		r = CTL_UNREACHABLE;
	} else if (text[0] == '\0') {
		(void)why_set(why, 0, "lumnid answered with status %ld",
		    status);
	} else {
		(void)why_set(why, 0, "%s", ctl_clean(text, strlen(text),
		    clean, sizeof clean));
	}
	json_object_put(o);
	return r;
}

/* --- requests ------------------------------------------------------------- */

static int
http_perform(struct ctl_http *h, bool post, const char *target,
    struct why *why)
{
	char path[sizeof ((struct sockaddr_un *)0)->sun_path + 64];
	struct buf url;
	long status = 0;

	if (ctl_control_path(h->ctl, path, sizeof path) == NULL)
		return why_set(why, CTL_USAGE, "no control socket to ask");
	buf_init(&url, 0);
	buf_printf(&url, "http://lumnid%s", target);
	h->ended = false;
	buf_reset(&h->answer, 0);
	(void)curl_easy_setopt(h->curl, CURLOPT_UNIX_SOCKET_PATH, path);
	(void)curl_easy_setopt(h->curl, CURLOPT_URL, buf_cstr(&url));
	if (post) {
		(void)curl_easy_setopt(h->curl, CURLOPT_POST, 1L);
		(void)curl_easy_setopt(h->curl, CURLOPT_POSTFIELDSIZE, 0L);
		(void)curl_easy_setopt(h->curl, CURLOPT_POSTFIELDS, "");
	} else {
		(void)curl_easy_setopt(h->curl, CURLOPT_HTTPGET, 1L);
	}
	CURLcode code = curl_easy_perform(h->curl);
	buf_free(&url);
	if (h->ended)
		return CTL_OK;
	if (code != CURLE_OK)
		return http_failed(h, code, path, why);
	(void)curl_easy_getinfo(h->curl, CURLINFO_RESPONSE_CODE, &status);
	return status == 200 ? CTL_OK : http_refused(h, status, why);
}

int
ctl_http_ask(struct ctl_http *h, bool post, const char *target,
    struct json_object **ret, struct why *why)
{
	h->fn = NULL;
	h->idle = NULL;
	(void)curl_easy_setopt(h->curl, CURLOPT_TIMEOUT_MS,
	    (long)h->ctl->timeout_ms);
	(void)curl_easy_setopt(h->curl, CURLOPT_LOW_SPEED_TIME, 0L);
	int r = http_perform(h, post, target, why);
	if (r != CTL_OK)
		return r;
	if (h->answer.len == 0)
		return why_set(why, CTL_UNREACHABLE, "lumnid has stopped "
		    "before it had answered");
	*ret = json_tokener_parse(buf_cstr(&h->answer));
	if (*ret == NULL)
		return why_set(why, CTL_UNREACHABLE, "an answer that is no "
		    "JSON: is it lumnid's control socket?");
	return CTL_OK;
}

int
ctl_http_stream(struct ctl_http *h, bool post, const char *target,
    int (*fn)(void *, const char *, size_t), int (*idle)(void *), void *arg,
    struct why *why)
{
	h->fn = fn;
	h->idle = idle;
	h->arg = arg;
	(void)curl_easy_setopt(h->curl, CURLOPT_TIMEOUT_MS, 0L);
	/* lumnid sends an empty line each second where it has none to tell. */
	(void)curl_easy_setopt(h->curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
	(void)curl_easy_setopt(h->curl, CURLOPT_LOW_SPEED_TIME,
	    h->ctl->timeout_ms > 0 ? (long)(h->ctl->timeout_ms / 1000 + 2) :
	    0L);
	return http_perform(h, post, target, why);
}

int
ctl_ask_control(const struct ctl *ctl, bool post, const char *target,
    struct json_object **ret)
{
	struct ctl_http *h = ctl_http_new(ctl);
	struct why why = { "" };
	int r = ctl_http_ask(h, post, target, ret, &why);

	if (r != CTL_OK)
		ctl_error("%s", why.text);
	ctl_http_free(h);
	return r;
}
