/* le: little-endian numbers in unaligned memory, as the files hold them. */
#ifndef LUMNID_STORE_LE_H
#define LUMNID_STORE_LE_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

static inline void
le_put16(uint8_t *dst, uint16_t v)
{
	v = htole16(v);
	memcpy(dst, &v, sizeof v);
}

static inline void
le_put32(uint8_t *dst, uint32_t v)
{
	v = htole32(v);
	memcpy(dst, &v, sizeof v);
}

static inline void
le_put64(uint8_t *dst, uint64_t v)
{
	v = htole64(v);
	memcpy(dst, &v, sizeof v);
}

static inline uint16_t
le_get16(const uint8_t *src)
{
	uint16_t v;

	memcpy(&v, src, sizeof v);
	return le16toh(v);
}

static inline uint32_t
le_get32(const uint8_t *src)
{
	uint32_t v;

	memcpy(&v, src, sizeof v);
	return le32toh(v);
}

static inline uint64_t
le_get64(const uint8_t *src)
{
	uint64_t v;

	memcpy(&v, src, sizeof v);
	return le64toh(v);
}

#endif
