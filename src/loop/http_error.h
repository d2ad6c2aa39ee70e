/* http_error: what a failed transfer means, in words for a person. */
#ifndef LUMNID_LOOP_HTTP_ERROR_H
#define LUMNID_LOOP_HTTP_ERROR_H

#include <curl/curl.h>
#include <stddef.h>

#include "core/transport.h"

/*
 * Class of a transfer that ended with code, not CURLE_OK and without an
 * answer. text: libcurl's own words, "" when none. ret_status: a proxy's answer
 * to CONNECT, or 0. detail: n bytes.
 */
enum transport_result http_error_classify(CURL *, CURLcode, const char *text,
	    int *ret_status, char *detail, size_t n);

#endif
