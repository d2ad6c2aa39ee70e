/*
 * http_mem: libcurl's memory. It copies header lines, and with them the API
 * key, into buffers of its own; what it gives back is wiped.
 */
#ifndef LUMNID_LOOP_HTTP_MEM_H
#define LUMNID_LOOP_HTTP_MEM_H

#include "base/cdefs.h"

/* curl_global_init() with that memory; 0 or -ENOMEM. */
int	http_mem_init(void) MUSTUSE;

#endif
