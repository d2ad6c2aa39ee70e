/* http_error: libcurl's codes, in our classes. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/cdefs.h"
#include "loop/http_error.h"

/* OpenSSL's X509_V_ERR_* (x509_vfy.h), which libcurl passes on as numbers. */
static const struct {
	long		 code;
	const char	*words;
} http_error_verify[] = {
	{ 9, "the upstream's certificate is not valid yet (or this host's "
	    "clock is wrong)" },
	{ 10, "the upstream's certificate has expired" },
	{ 18, "the upstream's certificate is self-signed; name it, or its CA, "
	    "in upstream.ca_file" },
	{ 19, "the upstream's certificate comes from an unknown CA; name that "
	    "CA's certificate in upstream.ca_file" },
	{ 20, "the upstream's certificate comes from an unknown CA; name that "
	    "CA's certificate in upstream.ca_file" },
	{ 23, "the upstream's certificate has been revoked" },
	{ 62, "the upstream's certificate is for another host name" },
	{ 64, "the upstream's certificate is for another IP address" },
};

static const char *
http_error_verify_words(CURL *easy)
{
	long result = 0;

	(void)curl_easy_getinfo(easy, CURLINFO_SSL_VERIFYRESULT, &result);
	/* No fault of OpenSSL (0, or still 1): libcurl compares the names. */
	if (result <= 1)
		return "the upstream's certificate is for another host name";
	for (size_t i = 0; i < NELEM(http_error_verify); i++)
		if (http_error_verify[i].code == result)
			return http_error_verify[i].words;
	return "the upstream's certificate is not accepted";
}

/* The connection was an old one, and not one byte of an answer came. */
static bool
http_error_is_stale(CURL *easy)
{
	long connects = 1, header = 1;

	(void)curl_easy_getinfo(easy, CURLINFO_NUM_CONNECTS, &connects);
	(void)curl_easy_getinfo(easy, CURLINFO_HEADER_SIZE, &header);
	return connects == 0 && header == 0;
}

/* The answer of a proxy to CONNECT; 0: there was none. */
static long
http_error_proxy_status(CURL *easy)
{
	long status = 0;

	(void)curl_easy_getinfo(easy, CURLINFO_HTTP_CONNECTCODE, &status);
	return status;
}

/*
 * A handshake of TLS 1.3 is over for the client before the server has looked
 * at the client's certificate: that there is none shows as a broken connection.
 */
static bool
http_error_is_after_handshake(CURL *easy, CURLcode code)
{
	curl_off_t shaken = 0;
	const char *url = NULL;
	long header = 1;

	if (code != CURLE_SEND_ERROR && code != CURLE_RECV_ERROR &&
	    code != CURLE_HTTP2)
		return false;
	(void)curl_easy_getinfo(easy, CURLINFO_APPCONNECT_TIME_T, &shaken);
	(void)curl_easy_getinfo(easy, CURLINFO_HEADER_SIZE, &header);
	/* Its first frame counts as a part of the handshake. */
	if (code == CURLE_HTTP2 && curl_easy_getinfo(easy,
	    CURLINFO_EFFECTIVE_URL, &url) == CURLE_OK && url != NULL &&
	    strncmp(url, "https:", 6) == 0)
		shaken = 1;
	return shaken > 0 && header == 0;
}

static bool
http_error_is_connected(CURL *easy)
{
	curl_off_t us = 0;

	(void)curl_easy_getinfo(easy, CURLINFO_PRETRANSFER_TIME_T, &us);
	return us > 0;
}

static enum transport_result
http_error_class(CURL *easy, CURLcode code)
{
	switch (code) {
	case CURLE_COULDNT_RESOLVE_HOST:
		return TRANSPORT_DNS;
	case CURLE_COULDNT_RESOLVE_PROXY:
	case CURLE_PROXY:
		return TRANSPORT_PROXY;
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_ISSUER_ERROR:
	case CURLE_SSL_INVALIDCERTSTATUS:
		return TRANSPORT_TLS_VERIFY;
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_SSL_CIPHER:
	case CURLE_USE_SSL_FAILED:
	case CURLE_SSL_CLIENTCERT:
		return TRANSPORT_TLS;
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_CRL_BADFILE:
		return TRANSPORT_TLS_FILE;
	case CURLE_SSL_ENGINE_NOTFOUND:
	case CURLE_OUT_OF_MEMORY:
	case CURLE_READ_ERROR:
	case CURLE_ABORTED_BY_CALLBACK:
	case CURLE_SEND_FAIL_REWIND:
	case CURLE_URL_MALFORMAT:
	case CURLE_NOT_BUILT_IN:
	case CURLE_UNKNOWN_OPTION:
	case CURLE_BAD_FUNCTION_ARGUMENT:
		return TRANSPORT_LOCAL;
	case CURLE_UNSUPPORTED_PROTOCOL:
		/* libcurl has no TLS, or the server does not speak HTTP. */
		return http_error_is_connected(easy) ? TRANSPORT_NO_ANSWER :
		    TRANSPORT_LOCAL;
	case CURLE_SEND_ERROR:
	case CURLE_RECV_ERROR:
	case CURLE_GOT_NOTHING:
	case CURLE_HTTP2:
	case CURLE_HTTP2_STREAM:
		if (http_error_is_stale(easy))
			return TRANSPORT_STALE;
		break;
	default:
		break;
	}
	if (http_error_proxy_status(easy) >= 300)
		return TRANSPORT_PROXY;
	return TRANSPORT_NO_ANSWER;
}

enum transport_result
http_error_classify(CURL *easy, CURLcode code, const char *text,
    int *ret_status, char *detail, size_t n)
{
	enum transport_result result = http_error_class(easy, code);

	if (text[0] == '\0')
		text = curl_easy_strerror(code);
	*ret_status = 0;
	if (result == TRANSPORT_TLS_VERIFY) {
		(void)snprintf(detail, n, "%s (%s)",
		    http_error_verify_words(easy), text);
	} else if (result == TRANSPORT_TLS_FILE) {
		(void)snprintf(detail, n, "upstream.ca_file, cert_file or "
		    "key_file cannot be used: %s", text);
	} else if (result == TRANSPORT_PROXY) {
		*ret_status = (int)http_error_proxy_status(easy);
		(void)snprintf(detail, n, "proxy: %s", text);
	} else if (http_error_is_after_handshake(easy, code)) {
		(void)snprintf(detail, n, "%s, right after the TLS handshake: "
		    "does the server want a client certificate "
		    "(upstream.cert_file)?", text);
	} else {
		(void)snprintf(detail, n, "%s", text);
	}
	return result;
}
