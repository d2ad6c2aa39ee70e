/* load_event: see the header. One seed, one stream of bytes. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <msgpack.h>

#include "support/load_event.h"

#define POOL_BYTES	(8u << 20)	/* text to cut pieces from */
#define WORDS		3000
#define EVENT_MAX	60000		/* fits a datagram */

struct run {
	uint64_t	number;
	uint32_t	done, length;	/* events; done == length: free */
};

struct load {
	struct load_options	 opt;
	uint64_t		 rng;
	uint64_t		 made;	/* events */
	uint64_t		 begun;	/* runs */
	uint32_t		 open;
	struct run		*runs;
	char			*pool;
	msgpack_sbuffer		 out;
	msgpack_packer		 pk;
};

/* splitmix64 */
static uint64_t
draw(struct load *ld)
{
	uint64_t z = ld->rng += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static uint32_t
below(struct load *ld, uint32_t n)
{
	return (uint32_t)((draw(ld) >> 32) * n >> 32);
}

static double
unit(struct load *ld)
{
	return (double)(draw(ld) >> 11) * 0x1p-53;
}

/* --- text --- */

/* Words of one to four syllables, the k-th of them about 1/k as frequent. */
static size_t
make_words(struct load *ld, char words[WORDS][16])
{
	static const char on[] = "bcdfghklmnprstvwz";
	static const char vow[] = "aeiou";
	size_t i, j, n;

	for (i = 0; i < WORDS; i++) {
		n = 1 + below(ld, i < 100 ? 2 : 4);
		for (j = 0; j < n; j++) {
			words[i][j * 3] = on[below(ld, sizeof on - 1)];
			words[i][j * 3 + 1] = vow[below(ld, sizeof vow - 1)];
			words[i][j * 3 + 2] = on[below(ld, sizeof on - 1)];
		}
		words[i][n * 3 - below(ld, 2)] = '\0';
	}
	return WORDS;
}

/*
 * Prose with now and then a number, an identifier, a quoted word or a new
 * line: it compresses by about a factor of three, as model output does.
 */
static void
make_pool(struct load *ld)
{
	static char words[WORDS][16];
	size_t n = make_words(ld, words), at = 0;

	ld->pool = malloc(ld->opt.pool + 64);
	if (ld->pool == NULL)
		abort();
	while (at < ld->opt.pool) {
		uint32_t kind = below(ld, 100);
		size_t w = (size_t)(pow((double)n, unit(ld))) % n;
		int r;

		if (kind < 88)
			r = snprintf(ld->pool + at, 64, "%s ", words[w]);
		else if (kind < 92)
			r = snprintf(ld->pool + at, 64, "%s. ", words[w]);
		else if (kind < 95)
			r = snprintf(ld->pool + at, 64, "%u ",
			    below(ld, 100000));
		else if (kind < 97)
			r = snprintf(ld->pool + at, 64, "\"%s\": ", words[w]);
		else if (kind < 98)
			r = snprintf(ld->pool + at, 64, "%016llx ",
			    (unsigned long long)draw(ld));
		else
			r = snprintf(ld->pool + at, 64, "%s,\n", words[w]);
		at += (size_t)r;
	}
}

/* --- events --- */

/* How many bytes the next event should have; a mixture of two log-normals. */
static uint32_t
draw_size(struct load *ld)
{
	double u1 = unit(ld) + 0x1p-54, u2 = unit(ld);
	double z = sqrt(-2 * log(u1)) * cos(2 * M_PI * u2);
	bool big = below(ld, 1000) < 41;
	double n = big ? 3040 * exp(0.49 * z) : 256 * exp(0.655 * z);

	if (ld->opt.size != 0)
		n = ld->opt.size;
	return n > EVENT_MAX ? EVENT_MAX : (uint32_t)n;
}

static void
put_str(msgpack_packer *pk, const char *s, size_t n)
{
	(void)msgpack_pack_str(pk, n);
	(void)msgpack_pack_str_body(pk, s, n);
}

static void
put_word(msgpack_packer *pk, const char *s)
{
	put_str(pk, s, strlen(s));
}

/* runid: NULL where the envelope around the event has it. */
static void
put_event(struct load *ld, const struct run *r, const char *runid)
{
	static const char *const types[] = { "model_call", "model_output",
		"tool_call", "retrieval", "agent_step" };
	static const char *const tools[] = { "search_orders", "issue_refund",
		"read_file", "run_query", "send_mail", "lookup_customer" };
	bool last = r->done + 1 == r->length;
	uint32_t want = draw_size(ld), have, text;
	msgpack_packer *pk = &ld->pk;

	(void)msgpack_pack_map(pk, runid != NULL ? 7 : 6);
	if (runid != NULL) {
		put_word(pk, "runId");
		put_word(pk, runid);
	}
	put_word(pk, "n");
	(void)msgpack_pack_uint32(pk, r->done);
	put_word(pk, "type");
	put_word(pk, last ? "run_end" : types[below(ld, 5)]);
	put_word(pk, "name");
	put_word(pk, tools[below(ld, 6)]);
	put_word(pk, "durationMs");
	(void)msgpack_pack_double(pk, (double)below(ld, 4000000) / 1000);
	put_word(pk, "status");
	put_word(pk, below(ld, 20) == 0 ? "failed" : "ok");
	put_word(pk, "text");
	have = (uint32_t)ld->out.size + 3;
	text = want > have ? want - have : 1;
	put_str(pk, ld->pool + below(ld, ld->opt.pool - EVENT_MAX), text);
}

/* The run that steps next, in its slot; begun anew where that is free. */
static uint32_t
pick_run(struct load *ld)
{
	uint64_t left = ld->opt.events - ld->made;
	uint32_t slot = below(ld, ld->opt.runs);
	struct run *r;

	/* Towards the end no run begins, and each open one gets its last. */
	if (left <= ld->open)
		while (ld->runs[slot].done == ld->runs[slot].length)
			slot = (slot + 1) % ld->opt.runs;
	r = &ld->runs[slot];
	if (r->done == r->length) {
		r->number = ld->begun++;
		r->done = 0;
		r->length = 12 + below(ld, 9);
		ld->open++;
	}
	if (left <= ld->open)
		r->length = r->done + 1;
	return slot;
}

bool
load_next(struct load *ld, uint64_t number, struct load_message *ret)
{
	msgpack_packer *pk = &ld->pk;
	char *runid = ret->runid;
	struct run *r;
	bool last;

	if (ld->made == ld->opt.events)
		return false;
	ret->slot = pick_run(ld);
	r = &ld->runs[ret->slot];
	last = r->done + 1 == r->length;
	(void)snprintf(runid, sizeof ret->runid, "%s-%llu", ld->opt.prefix,
	    (unsigned long long)r->number);

	msgpack_sbuffer_clear(&ld->out);
	ret->wants_ack = ld->opt.ack_each || (ld->opt.ack_end && last);
	if (ret->wants_ack) {
		(void)msgpack_pack_map(pk, last ? 4 : 3);
		put_word(pk, "runId");
		put_word(pk, runid);
		put_word(pk, "ack");
		(void)msgpack_pack_uint64(pk, number);
		if (last) {
			put_word(pk, "end");
			(void)msgpack_pack_true(pk);
		}
		put_word(pk, "events");
		(void)msgpack_pack_array(pk, 1);
		put_event(ld, r, NULL);
	} else {
		put_event(ld, r, runid);
	}
	if (++r->done == r->length)
		ld->open--;
	ld->made++;
	ret->ends = last;
	ret->data = ld->out.data;
	ret->len = ld->out.size;
	return true;
}

struct load *
load_new(const struct load_options *opt)
{
	struct load *ld = calloc(1, sizeof *ld);

	if (ld == NULL)
		abort();
	ld->opt = *opt;
	if (ld->opt.pool == 0)
		ld->opt.pool = POOL_BYTES;
	ld->rng = opt->seed;
	ld->runs = calloc(opt->runs, sizeof *ld->runs);
	if (ld->runs == NULL)
		abort();
	make_pool(ld);
	msgpack_sbuffer_init(&ld->out);
	msgpack_packer_init(&ld->pk, &ld->out, msgpack_sbuffer_write);
	return ld;
}

void
load_free(struct load *ld)
{
	msgpack_sbuffer_destroy(&ld->out);
	free(ld->pool);
	free(ld->runs);
	free(ld);
}

uint64_t
load_runs(const struct load *ld)
{
	return ld->begun;
}
