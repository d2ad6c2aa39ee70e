/* utf8: steps through text that claims to be UTF-8 (RFC 3629). */
#include "base/utf8.h"

#include <assert.h>

int
utf8_next(const uint8_t *p, size_t n, uint32_t *ret_cp)
{
	uint8_t lo = 0x80, hi = 0xbf;	/* what the second byte may be */
	uint8_t c = p[0];
	uint32_t cp;
	int len;

	assert(n > 0);
	*ret_cp = 0xfffd;
	if (c < 0x80) {
		*ret_cp = c;
		return 1;
	}
	if (c < 0xc2) {
		return -1;
	} else if (c < 0xe0) {
		len = 2;
		cp = c & 0x1fu;
	} else if (c < 0xf0) {
		len = 3;
		cp = c & 0x0fu;
		if (c == 0xe0)
			lo = 0xa0;	/* shorter forms exist */
		else if (c == 0xed)
			hi = 0x9f;	/* surrogates */
	} else if (c < 0xf5) {
		len = 4;
		cp = c & 0x07u;
		if (c == 0xf0)
			lo = 0x90;
		else if (c == 0xf4)
			hi = 0x8f;	/* above U+10FFFF */
	} else {
		return -1;
	}
	for (int i = 1; i < len; i++) {
		if ((size_t)i >= n || p[i] < lo || p[i] > hi)
			return -i;
		cp = cp << 6 | (p[i] & 0x3fu);
		lo = 0x80;
		hi = 0xbf;
	}
	*ret_cp = cp;
	return len;
}
