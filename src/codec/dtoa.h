/* dtoa: the decimal digits of a double. */
#ifndef LUMNID_CODEC_DTOA_H
#define LUMNID_CODEC_DTOA_H

#include <stdint.h>

#include "base/cdefs.h"

#define DTOA_DIGITS_MAX	20

/*
 * Digits that read back as d, as few as a rule suffice, never more than 17.
 * d: finite and above 0. dst: no NUL is written. They are a whole number, to
 * be multiplied by 10^*ret_exp. Returns how many there are.
 */
int	dtoa_digits(double d, char dst[DTOA_DIGITS_MAX], int *ret_exp) MUSTUSE;

#endif
