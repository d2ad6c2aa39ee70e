/*
 * rand: xoshiro256** (Blackman and Vigna, 2018; prng.di.unimi.it), seeded by
 * splitmix64 as its authors advise.
 */
#include "base/rand.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "base/mem.h"

static uint64_t
rng_splitmix(uint64_t *x)
{
	uint64_t z = *x += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static uint64_t
rng_rotl(uint64_t x, int k)
{
	return x << k | x >> (64 - k);
}

void
rng_seed(struct rng *r, uint64_t seed)
{
	for (int i = 0; i < 4; i++)
		r->s[i] = rng_splitmix(&seed);
}

void
rng_seed_os(struct rng *r)
{
	ssize_t n;

	do
		n = getrandom(r->s, sizeof r->s, 0);
	while (n < 0 && errno == EINTR);
	if (n != (ssize_t)sizeof r->s)
		fatal("getrandom: %s", strerror(errno));
	/* All zero is the one state that xoshiro never leaves. */
	r->s[0] |= 1;
}

uint64_t
rng_u64(struct rng *r)
{
	uint64_t *s = r->s;
	uint64_t result = rng_rotl(s[1] * 5, 7) * 9;
	uint64_t t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rng_rotl(s[3], 45);
	return result;
}

uint64_t
rng_below(struct rng *r, uint64_t n)
{
	uint64_t x;

	assert(n > 0);
	/* Numbers below 2^64 mod n would favour small results. */
	uint64_t skip = -n % n;
	do
		x = rng_u64(r);
	while (x < skip);
	return x % n;
}

double
rng_unit(struct rng *r)
{
	return (double)(rng_u64(r) >> 11) * 0x1p-53;
}
