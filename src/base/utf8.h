/*
 * utf8: steps through text that claims to be UTF-8 (RFC 3629). What is
 * invalid is told in maximal subparts (Unicode 15, 3.9, table 3-8), so that
 * everyone replaces the same bytes by the same number of U+FFFD.
 */
#ifndef LUMNID_BASE_UTF8_H
#define LUMNID_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

#include "base/cdefs.h"

/*
 * Read one character of p[0..n), n > 0. Returns its length 1..4 and the code
 * point; or, where the bytes are invalid, -1..-3: minus the length of the
 * maximal subpart, with *ret_cp U+FFFD.
 */
int	utf8_next(const uint8_t *p, size_t n, uint32_t *ret_cp) MUSTUSE;

#endif
