/*
 * fuzz: what the fuzz targets share. A target is one file that defines
 * LLVMFuzzerTestOneInput(); it is linked twice: with libFuzzer where
 * configure has --enable-fuzzers, and with replay.c for "make check".
 */
#ifndef LUMNID_TESTS_FUZZ_H
#define LUMNID_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int	LLVMFuzzerTestOneInput(const uint8_t *, size_t);

/* Stop with a sentence: the fuzzer keeps the input. */
#define FUZZ_CHECK(cond, ...)						\
	do {								\
		if (!(cond)) {						\
			fprintf(stderr, "fuzz: " __VA_ARGS__);		\
			fputc('\n', stderr);				\
			abort();					\
		}							\
	} while (0)

/* A copy of exactly n bytes, so that ASan sees a step past the end. */
static inline uint8_t *
fuzz_copy(const uint8_t *p, size_t n)
{
	uint8_t *copy = malloc(n != 0 ? n : 1);

	if (copy == NULL)
		abort();
	if (n != 0)
		memcpy(copy, p, n);
	return copy;
}

#endif
