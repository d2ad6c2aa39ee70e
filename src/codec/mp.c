/* mp: reads the heads of msgpack values that are longer than one byte. */
#include "codec/mp.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

/* From 0xc0 to 0xdf: bytes of the head, the first included; 0: no msgpack. */
static const uint8_t mp_lens[32] = {
	1, 0, 1, 1,		/* nil, -, false, true */
	2, 3, 5,		/* bin 8, 16, 32 */
	3, 4, 6,		/* ext 8, 16, 32 */
	5, 9,			/* float 32, 64 */
	2, 3, 5, 9,		/* uint 8, 16, 32, 64 */
	2, 3, 5, 9,		/* int 8, 16, 32, 64 */
	2, 2, 2, 2, 2,		/* fixext 1, 2, 4, 8, 16 */
	2, 3, 5,		/* str 8, 16, 32 */
	3, 5,			/* array 16, 32 */
	3, 5,			/* map 16, 32 */
};

static uint16_t
mp_be16(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof v);
	return be16toh(v);
}

static uint32_t
mp_be32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof v);
	return be32toh(v);
}

static uint64_t
mp_be64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof v);
	return be64toh(v);
}

int
mp_head_len(uint8_t first)
{
	if (first < 0xc0 || first >= 0xe0 || first == 0xc1)
		return 1;
	return mp_lens[first - 0xc0];
}

/* A signed integer that is not negative is the same number unsigned. */
static void
mp_set_int(struct mp_head *ret, int64_t v)
{
	if (v < 0) {
		ret->type = MP_INT;
		ret->i = v;
	} else {
		ret->type = MP_UINT;
		ret->u = (uint64_t)v;
	}
}

static void
mp_set_sized(struct mp_head *ret, enum mp_type type, uint32_t size)
{
	ret->type = type;
	ret->size = size;
}

/* fixext, whose head ends with the type. */
static void
mp_set_ext(struct mp_head *ret, uint8_t type, uint32_t size)
{
	ret->type = MP_EXT;
	ret->ext = (int8_t)type;
	ret->size = size;
}

static void
mp_set_float(struct mp_head *ret, const uint8_t *p)
{
	float f;
	double d;

	ret->type = MP_FLOAT;
	if (*p == 0xca) {
		uint32_t u = mp_be32(p + 1);
		memcpy(&f, &u, sizeof f);
		ret->d = (double)f;
	} else {
		uint64_t u = mp_be64(p + 1);
		memcpy(&d, &u, sizeof d);
		ret->d = d;
	}
}

static void
mp_set_number(struct mp_head *ret, const uint8_t *p)
{
	ret->type = MP_UINT;
	switch (*p) {
	case 0xcc:
		ret->u = p[1];
		break;
	case 0xcd:
		ret->u = mp_be16(p + 1);
		break;
	case 0xce:
		ret->u = mp_be32(p + 1);
		break;
	case 0xcf:
		ret->u = mp_be64(p + 1);
		break;
	case 0xd0:
		mp_set_int(ret, (int8_t)p[1]);
		break;
	case 0xd1:
		mp_set_int(ret, (int16_t)mp_be16(p + 1));
		break;
	case 0xd2:
		mp_set_int(ret, (int32_t)mp_be32(p + 1));
		break;
	default:
		mp_set_int(ret, (int64_t)mp_be64(p + 1));
		break;
	}
}

int
mp_head_long(const uint8_t *p, size_t len, struct mp_head *ret)
{
	int n = mp_lens[*p - 0xc0];

	if (n == 0)
		return -EBADMSG;
	if (len < (size_t)n)
		return 0;
	switch (*p) {
	case 0xc0:
		ret->type = MP_NIL;
		break;
	case 0xc2:
	case 0xc3:
		ret->type = MP_BOOL;
		ret->u = *p & 1;
		break;
	case 0xc4:
	case 0xd9:
		mp_set_sized(ret, *p == 0xc4 ? MP_BIN : MP_STR, p[1]);
		break;
	case 0xc5:
	case 0xda:
		mp_set_sized(ret, *p == 0xc5 ? MP_BIN : MP_STR, mp_be16(p + 1));
		break;
	case 0xc6:
	case 0xdb:
		mp_set_sized(ret, *p == 0xc6 ? MP_BIN : MP_STR, mp_be32(p + 1));
		break;
	case 0xc7:
		mp_set_ext(ret, p[2], p[1]);
		break;
	case 0xc8:
		mp_set_ext(ret, p[3], mp_be16(p + 1));
		break;
	case 0xc9:
		mp_set_ext(ret, p[5], mp_be32(p + 1));
		break;
	case 0xca:
	case 0xcb:
		mp_set_float(ret, p);
		break;
	case 0xd4:
	case 0xd5:
	case 0xd6:
	case 0xd7:
	case 0xd8:
		mp_set_ext(ret, p[1], 1u << (*p - 0xd4));
		break;
	case 0xdc:
	case 0xde:
		mp_set_sized(ret, *p == 0xdc ? MP_ARRAY : MP_MAP,
		    mp_be16(p + 1));
		break;
	case 0xdd:
	case 0xdf:
		mp_set_sized(ret, *p == 0xdd ? MP_ARRAY : MP_MAP,
		    mp_be32(p + 1));
		break;
	default:
		mp_set_number(ret, p);
		break;
	}
	return n;
}
