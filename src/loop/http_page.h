/*
 * http_page: evhttp answers what it refuses by itself (no HTTP, headers or
 * bodies over a limit) with a page in HTML; clients of lumnid get JSON.
 */
#ifndef LUMNID_LOOP_HTTP_PAGE_H
#define LUMNID_LOOP_HTTP_PAGE_H

struct bufferevent;

/* Exchange such pages on this connection, which evhttp is about to use. */
void	http_page_replace(struct bufferevent *);

#endif
