/* http_mem: see http_mem.h. */
#include "loop/http_mem.h"

#include <curl/curl.h>
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

static void
http_mem_free(void *p)
{
	if (p == NULL)
		return;
	explicit_bzero(p, malloc_usable_size(p));
	free(p);
}

static void *
http_mem_realloc(void *old, size_t n)
{
	void *p = malloc(n);
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
	return curl_global_init_mem(CURL_GLOBAL_DEFAULT, malloc,
	    http_mem_free, http_mem_realloc, strdup, calloc) == CURLE_OK ?
	    0 : -ENOMEM;
}
