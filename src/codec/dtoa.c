/*
 * dtoa: the decimal digits of a double, by Grisu2 (Florian Loitsch, "Printing
 * Floating-Point Numbers Quickly and Accurately with Integers", PLDI 2010).
 *
 * Numbers are f * 2^e with 64 bits of f. The double is scaled by a power of
 * ten from the table so that its integral part has at most 32 bits; digits are
 * taken off until what is left is less than the distance to the neighbours.
 * The scaling errs by less than one in the last of 64 bits; the interval is
 * narrowed by that, so the digits always read back as the same double, and
 * about once in a thousand times there is one more than needed.
 */
#include "codec/dtoa.h"

#include <assert.h>
#include <string.h>

struct dtoa_fp {
	uint64_t	f;
	int		e;
};

#define DTOA_POWER_MIN	(-348)	/* the table's first power of ten */
#define DTOA_POWER_STEP	8

/* 10^-348, 10^-340, ... 10^340, each rounded to 64 bits. */
static const struct dtoa_fp dtoa_powers[] = {
	{ 0xfa8fd5a0081c0288, -1220 }, { 0xbaaee17fa23ebf76, -1193 },
	{ 0x8b16fb203055ac76, -1166 }, { 0xcf42894a5dce35ea, -1140 },
	{ 0x9a6bb0aa55653b2d, -1113 }, { 0xe61acf033d1a45df, -1087 },
	{ 0xab70fe17c79ac6ca, -1060 }, { 0xff77b1fcbebcdc4f, -1034 },
	{ 0xbe5691ef416bd60c, -1007 }, { 0x8dd01fad907ffc3c, -980 },
	{ 0xd3515c2831559a83, -954 }, { 0x9d71ac8fada6c9b5, -927 },
	{ 0xea9c227723ee8bcb, -901 }, { 0xaecc49914078536d, -874 },
	{ 0x823c12795db6ce57, -847 }, { 0xc21094364dfb5637, -821 },
	{ 0x9096ea6f3848984f, -794 }, { 0xd77485cb25823ac7, -768 },
	{ 0xa086cfcd97bf97f4, -741 }, { 0xef340a98172aace5, -715 },
	{ 0xb23867fb2a35b28e, -688 }, { 0x84c8d4dfd2c63f3b, -661 },
	{ 0xc5dd44271ad3cdba, -635 }, { 0x936b9fcebb25c996, -608 },
	{ 0xdbac6c247d62a584, -582 }, { 0xa3ab66580d5fdaf6, -555 },
	{ 0xf3e2f893dec3f126, -529 }, { 0xb5b5ada8aaff80b8, -502 },
	{ 0x87625f056c7c4a8b, -475 }, { 0xc9bcff6034c13053, -449 },
	{ 0x964e858c91ba2655, -422 }, { 0xdff9772470297ebd, -396 },
	{ 0xa6dfbd9fb8e5b88f, -369 }, { 0xf8a95fcf88747d94, -343 },
	{ 0xb94470938fa89bcf, -316 }, { 0x8a08f0f8bf0f156b, -289 },
	{ 0xcdb02555653131b6, -263 }, { 0x993fe2c6d07b7fac, -236 },
	{ 0xe45c10c42a2b3b06, -210 }, { 0xaa242499697392d3, -183 },
	{ 0xfd87b5f28300ca0e, -157 }, { 0xbce5086492111aeb, -130 },
	{ 0x8cbccc096f5088cc, -103 }, { 0xd1b71758e219652c, -77 },
	{ 0x9c40000000000000, -50 }, { 0xe8d4a51000000000, -24 },
	{ 0xad78ebc5ac620000, 3 }, { 0x813f3978f8940984, 30 },
	{ 0xc097ce7bc90715b3, 56 }, { 0x8f7e32ce7bea5c70, 83 },
	{ 0xd5d238a4abe98068, 109 }, { 0x9f4f2726179a2245, 136 },
	{ 0xed63a231d4c4fb27, 162 }, { 0xb0de65388cc8ada8, 189 },
	{ 0x83c7088e1aab65db, 216 }, { 0xc45d1df942711d9a, 242 },
	{ 0x924d692ca61be758, 269 }, { 0xda01ee641a708dea, 295 },
	{ 0xa26da3999aef774a, 322 }, { 0xf209787bb47d6b85, 348 },
	{ 0xb454e4a179dd1877, 375 }, { 0x865b86925b9bc5c2, 402 },
	{ 0xc83553c5c8965d3d, 428 }, { 0x952ab45cfa97a0b3, 455 },
	{ 0xde469fbd99a05fe3, 481 }, { 0xa59bc234db398c25, 508 },
	{ 0xf6c69a72a3989f5c, 534 }, { 0xb7dcbf5354e9bece, 561 },
	{ 0x88fcf317f22241e2, 588 }, { 0xcc20ce9bd35c78a5, 614 },
	{ 0x98165af37b2153df, 641 }, { 0xe2a0b5dc971f303a, 667 },
	{ 0xa8d9d1535ce3b396, 694 }, { 0xfb9b7cd9a4a7443c, 720 },
	{ 0xbb764c4ca7a44410, 747 }, { 0x8bab8eefb6409c1a, 774 },
	{ 0xd01fef10a657842c, 800 }, { 0x9b10a4e5e9913129, 827 },
	{ 0xe7109bfba19c0c9d, 853 }, { 0xac2820d9623bf429, 880 },
	{ 0x80444b5e7aa7cf85, 907 }, { 0xbf21e44003acdd2d, 933 },
	{ 0x8e679c2f5e44ff8f, 960 }, { 0xd433179d9c8cb841, 986 },
	{ 0x9e19db92b4e31ba9, 1013 }, { 0xeb96bf6ebadf77d9, 1039 },
	{ 0xaf87023b9bf0ee6b, 1066 },
};

static const uint64_t dtoa_tens[] = {
	1u, 10u, 100u, 1000u, 10000u, 100000u, 1000000u, 10000000u, 100000000u,
	1000000000u, 10000000000u, 100000000000u, 1000000000000u,
	10000000000000u, 100000000000000u, 1000000000000000u,
	10000000000000000u, 100000000000000000u, 1000000000000000000u,
	10000000000000000000u,
};
#define DTOA_TENS	(int)NELEM(dtoa_tens)

/* The upper 64 bits of the product, rounded. */
static struct dtoa_fp
dtoa_multiply(struct dtoa_fp a, struct dtoa_fp b)
{
	__extension__ unsigned __int128 p = (unsigned __int128)a.f * b.f;

	return (struct dtoa_fp){
		(uint64_t)(p >> 64) + ((uint64_t)p >> 63), a.e + b.e + 64 };
}

static struct dtoa_fp
dtoa_normalize(struct dtoa_fp a)
{
	int shift = __builtin_clzll(a.f);

	return (struct dtoa_fp){ a.f << shift, a.e - shift };
}

/* A power c of ten, with -60 <= e + c.e + 64 <= -32; it is 10^-*ret_k. */
static struct dtoa_fp
dtoa_power(int e, int *ret_k)
{
	double least = (-61 - e) * 0.30102999566398114;	/* log10(2) */
	int k = (int)least;

	k += least - k > 0;
	int i = (k - DTOA_POWER_MIN - 1) / DTOA_POWER_STEP + 1;
	*ret_k = -(DTOA_POWER_MIN + i * DTOA_POWER_STEP);
	return dtoa_powers[i];
}

/* What the digits so far leave of the upper bound, and the targets. */
struct dtoa_rest {
	uint64_t	rest;	/* upper bound minus digits so far */
	uint64_t	delta;	/* width of the interval */
	uint64_t	unit;	/* one in the last digit */
	uint64_t	want;	/* upper bound minus the number itself */
};

/* Lower the last digit while that leads nearer to the number. */
static void
dtoa_round(char *last, struct dtoa_rest r)
{
	while (r.rest < r.want && r.delta - r.rest >= r.unit &&
	    (r.rest + r.unit < r.want ||
	    r.want - r.rest > r.rest + r.unit - r.want)) {
		--*last;
		r.rest += r.unit;
	}
}

/*
 * The digits of a number just below `high`, within delta of it; w is the
 * number. *k grows by the digits before the point that were not needed.
 */
static int
dtoa_generate(struct dtoa_fp w, struct dtoa_fp high, uint64_t delta, char *dst,
    int *k)
{
	uint64_t want = high.f - w.f, one = (uint64_t)1 << -high.e;
	uint32_t whole = (uint32_t)(high.f >> -high.e);
	uint64_t part = high.f & (one - 1);
	int n = 0, kappa = 1;

	while (kappa < 10 && whole >= dtoa_tens[kappa])
		kappa++;
	while (kappa > 0) {
		uint32_t ten = (uint32_t)dtoa_tens[--kappa];
		uint32_t digit = whole / ten;
		whole %= ten;
		if (digit != 0 || n > 0)
			dst[n++] = (char)('0' + digit);
		uint64_t rest = ((uint64_t)whole << -high.e) + part;
		if (rest <= delta) {
			*k += kappa;
			dtoa_round(dst + n - 1, (struct dtoa_rest){ rest,
			    delta, dtoa_tens[kappa] << -high.e, want });
			return n;
		}
	}
	for (;;) {
		part *= 10;
		delta *= 10;
		char digit = (char)(part >> -high.e);
		part &= one - 1;
		if (digit != 0 || n > 0)
			dst[n++] = (char)('0' + digit);
		kappa--;
		if (part < delta) {
			*k += kappa;
			want = -kappa < DTOA_TENS ? want * dtoa_tens[-kappa] :
			    0;
			dtoa_round(dst + n - 1, (struct dtoa_rest){ part,
			    delta, one, want });
			return n;
		}
	}
}

int
dtoa_digits(double d, char dst[DTOA_DIGITS_MAX], int *ret_exp)
{
	const uint64_t hidden = (uint64_t)1 << 52;
	uint64_t bits;
	int k;

	memcpy(&bits, &d, sizeof bits);
	int biased = (int)(bits >> 52 & 0x7ff);
	assert(d > 0 && biased != 0x7ff);
	struct dtoa_fp v = { bits & (hidden - 1), -1074 };
	if (biased != 0)
		v = (struct dtoa_fp){ v.f | hidden, biased - 1075 };

	/* Half way to the neighbours; the lower one is nearer at 2^n. */
	struct dtoa_fp high = dtoa_normalize((struct dtoa_fp){ v.f * 2 + 1,
	    v.e - 1 });
	struct dtoa_fp low = { v.f * 2 - 1, v.e - 1 };
	if (v.f == hidden && biased > 1)
		low = (struct dtoa_fp){ v.f * 4 - 1, v.e - 2 };
	low.f <<= low.e - high.e;
	low.e = high.e;

	struct dtoa_fp c = dtoa_power(high.e, &k);
	struct dtoa_fp w = dtoa_multiply(dtoa_normalize(v), c);
	high = dtoa_multiply(high, c);
	low = dtoa_multiply(low, c);
	high.f--;
	low.f++;
	int n = dtoa_generate(w, high, high.f - low.f, dst, &k);
	*ret_exp = k;
	return n;
}
