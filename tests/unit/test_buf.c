/* buf: growth, the limit, and the failure that sticks. */
#include <errno.h>
#include <string.h>

#include "base/buf.h"
#include "base/rand.h"
#include "unit.h"

START_TEST(test_grows)
{
	struct buf b;

	buf_init(&b, 0);
	ck_assert_ptr_null(b.data);
	buf_puts(&b, "ab");
	buf_putc(&b, 'c');
	buf_printf(&b, "%d", 42);
	buf_put(&b, NULL, 0);
	ck_assert_str_eq(buf_cstr(&b), "abc42");
	ck_assert_uint_eq(b.len, 5);
	buf_drain(&b, 2);
	ck_assert_str_eq(buf_cstr(&b), "c42");
	buf_drain(&b, 99);
	ck_assert_uint_eq(b.len, 0);
	ck_assert_int_eq(buf_error(&b), 0);
	buf_free(&b);
}
END_TEST

START_TEST(test_limit_is_exact)
{
	char long_text[600];

	memset(long_text, 'x', sizeof long_text);
	for (size_t max = 1; max < 600; max += 7) {
		struct buf b;
		buf_init(&b, max);
		buf_put(&b, long_text, max);
		ck_assert_int_eq(buf_error(&b), 0);
		ck_assert_uint_eq(strlen(buf_cstr(&b)), max);
		buf_putc(&b, 'y');
		ck_assert_int_eq(buf_error(&b), -ENOBUFS);
		ck_assert_uint_eq(b.len, max);
		buf_free(&b);
		buf_printf(&b, "%.*s", (int)max + 1, long_text);
		ck_assert_int_eq(buf_error(&b), -ENOBUFS);
		ck_assert_uint_eq(b.len, 0);
		buf_free(&b);
		buf_printf(&b, "%.*s", (int)max, long_text);
		ck_assert_int_eq(buf_error(&b), 0);
		ck_assert_uint_eq(b.len, max);
		buf_free(&b);
	}
}
END_TEST

START_TEST(test_failure_sticks)
{
	struct buf b;

	buf_init(&b, 4);
	buf_puts(&b, "abc");
	buf_puts(&b, "de");
	buf_putc(&b, 'd');
	ck_assert_ptr_null(buf_room(&b, 1));
	ck_assert_str_eq(buf_cstr(&b), "abc");
	buf_reset(&b, 1000);
	ck_assert_int_eq(buf_error(&b), 0);
	ck_assert_ptr_nonnull(b.data);
	buf_puts(&b, "de");
	ck_assert_str_eq(buf_cstr(&b), "de");
	buf_reset(&b, 0);
	ck_assert_ptr_null(b.data);
	/* A size no machine has; the sum must not wrap. */
	b.max = 0;
	buf_putc(&b, 'x');
	ck_assert_ptr_null(buf_room(&b, SIZE_MAX - 2));
	ck_assert_int_eq(buf_error(&b), -ENOMEM);
	buf_free(&b);
}
END_TEST

/* Random puts and drains against a plain array. */
START_TEST(test_against_model)
{
	static uint8_t model[1 << 16];
	size_t len = 0;
	struct rng rng;
	struct buf b;

	rng_seed(&rng, 7);
	buf_init(&b, sizeof model);
	for (int i = 0; i < 20000; i++) {
		uint8_t chunk[300];
		size_t n = rng_below(&rng, sizeof chunk);
		memset(chunk, (int)rng_below(&rng, 256), n);
		if (rng_below(&rng, 3) != 0 && len + n <= sizeof model) {
			memcpy(model + len, chunk, n);
			len += n;
			buf_put(&b, chunk, n);
		} else {
			n = n < len ? n : len;
			memmove(model, model + n, len - n);
			len -= n;
			buf_drain(&b, n);
		}
		ck_assert_uint_eq(b.len, len);
		if (len > 0)
			ck_assert_mem_eq(b.data, model, len);
	}
	buf_free(&b);
}
END_TEST

START_TEST(test_rng)
{
	struct rng a, b;
	int seen[10] = { 0 };

	rng_seed(&a, 1);
	rng_seed(&b, 1);
	for (int i = 0; i < 1000; i++)
		ck_assert_uint_eq(rng_u64(&a), rng_u64(&b));
	for (int i = 0; i < 10000; i++) {
		uint64_t x = rng_below(&a, 10);
		ck_assert_uint_lt(x, 10);
		seen[x]++;
		double d = rng_unit(&a);
		ck_assert(d >= 0 && d < 1);
	}
	for (int i = 0; i < 10; i++)
		ck_assert(seen[i] > 850 && seen[i] < 1150);
	rng_seed_os(&a);
	rng_seed_os(&b);
	ck_assert_uint_ne(rng_u64(&a), rng_u64(&b));
}
END_TEST

int
main(void)
{
	return unit_run("buf", (const TTest *const[]){ test_grows,
	    test_limit_is_exact, test_failure_sticks, test_against_model,
	    test_rng, NULL });
}
