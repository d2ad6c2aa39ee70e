/*
 * http_page: looks at what evhttp puts in a connection's output. libevent 2.1
 * has no hook for its error pages (2.2 will have evhttp_set_errorcb()); they
 * are told from our answers by their content type and last line. The page is
 * in the buffer whole when its last piece is added, and is written in the
 * loop's next pass at the earliest.
 */
#include "loop/http_page.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HTTP_PAGE_MAX	2048	/* bytes; theirs have about 300 */

/* The status of evhttp's page in text, or 0 when it is none. */
static int
http_page_status(const char *text, size_t len)
{
	static const char end[] = "</HTML>\n";

	if (len < 64 || strncmp(text, "HTTP/1.", 7) != 0 ||
	    (text[9] != '4' && text[9] != '5') ||
	    strcmp(text + len - strlen(end), end) != 0 ||
	    strstr(text, "Content-Type: text/html") == NULL)
		return 0;
	return atoi(text + 9);
}

static void
http_page_words(int status, const char **phrase, const char **code,
    const char **sentence)
{
	switch (status) {
	case 413:
		*phrase = "Content Too Large";
		*code = "too_large";
		*sentence = "the body is larger than events.max_message, or "
		    "the headers than 16 KiB";
		break;
	case 417:
		*phrase = "Expectation Failed";
		*code = "bad_expect";
		*sentence = "the only expectation that is met is 100-continue";
		break;
	case 501:
		*phrase = "Not Implemented";
		*code = "bad_method";
		*sentence = "the method is not known here";
		break;
	case 400:
		*phrase = "Bad Request";
		*code = "bad_request";
		*sentence = "this is no request of HTTP/1.1, or its headers "
		    "are over 16 KiB";
		break;
	default:
		*phrase = status < 500 ? "Bad Request" :
		    "Service Unavailable";
		*code = status < 500 ? "bad_request" : "no_memory";
		*sentence = "the request could not be served";
		break;
	}
}

static void
on_output(struct evbuffer *out, const struct evbuffer_cb_info *info,
    void *arg)
{
	const char *phrase, *code, *sentence;
	size_t len = evbuffer_get_length(out);
	char text[HTTP_PAGE_MAX + 1], body[512];

	if (info->n_added == 0 || len > HTTP_PAGE_MAX ||
	    evbuffer_copyout(out, text, len) != (ev_ssize_t)len)
		return;
	text[len] = '\0';
	int status = http_page_status(text, len);
	if (status == 0)
		return;
	http_page_words(status, &phrase, &code, &sentence);
	int n = snprintf(body, sizeof body, "{\"error\":{\"code\":\"%s\","
	    "\"message\":\"%s\"}}\n", code, sentence);
	/* A bufferevent keeps the front of its output frozen. */
	(void)evbuffer_unfreeze(out, 1);
	(void)evbuffer_drain(out, len);
	(void)evbuffer_add_printf(out, "HTTP/1.1 %d %s\r\nContent-Type: "
	    "application/json\r\nContent-Length: %d\r\nConnection: close"
	    "\r\n\r\n%s", status, phrase, n, body);
	(void)evbuffer_freeze(out, 1);
}

void
http_page_replace(struct bufferevent *bev)
{
	/* Without it the page stays as it is. */
	(void)evbuffer_add_cb(bufferevent_get_output(bev), on_output, NULL);
}
