/*
 * rand: a small seeded generator (xoshiro256**), passed as an argument, so
 * that a test can repeat what it saw. Not for secrets.
 */
#ifndef LUMNID_BASE_RAND_H
#define LUMNID_BASE_RAND_H

#include <stdint.h>

struct rng {
	uint64_t s[4];
};

void		rng_seed(struct rng *, uint64_t seed);
/* Seed from getrandom(2). */
void		rng_seed_os(struct rng *);
uint64_t	rng_u64(struct rng *);
/* Uniform in [0, n); n > 0. */
uint64_t	rng_below(struct rng *, uint64_t n);
/* Uniform in [0, 1). */
double		rng_unit(struct rng *);

#endif
