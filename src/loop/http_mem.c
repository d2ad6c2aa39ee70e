/* http_mem: see http_mem.h. */
#include "loop/http_mem.h"

#include <curl/curl.h>
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define HTTP_MEM_SMALL	(32u << 10)	/* bytes */

static void
http_mem_free(void *p)
{
	if (p == NULL)
		return;
	explicit_bzero(p, malloc_usable_size(p));
	free(p);
}

/* As with libevent (loop.c): what is small is there, or it is the end. */
static void *
http_mem_malloc(size_t n)
{
	return n > HTTP_MEM_SMALL ? malloc(n) : mem_alloc(n);
}

static void *
http_mem_calloc(size_t n, size_t size)
{
	return n > HTTP_MEM_SMALL || size > HTTP_MEM_SMALL ?
	    calloc(n, size) : mem_zalloc(n * size);
}

static void *
http_mem_realloc(void *old, size_t n)
{
	void *p = http_mem_malloc(n);
	size_t had;

	if (p == NULL || old == NULL)
		return p;
	had = malloc_usable_size(old);
	memcpy(p, old, had < n ? had : n);
	http_mem_free(old);
	return p;
}

int
http_mem_init(void)
{
	return curl_global_init_mem(CURL_GLOBAL_DEFAULT, http_mem_malloc,
	    http_mem_free, http_mem_realloc, mem_strdup,
	    http_mem_calloc) == CURLE_OK ? 0 : -ENOMEM;
}
