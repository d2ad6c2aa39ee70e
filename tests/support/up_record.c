/* up_record: the test upstream's memory; see the header. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <json-c/json.h>

#include "support/up_record.h"

struct up_key *
up_record_key(struct up_record *rc, const struct up_request *rq)
{
	struct up_key *k;
	char name[220] = "";

	(void)snprintf(name, sizeof name, "%s/%s", up_route_name(rq->route),
	    rq->id);
	HASH_FIND_STR(rc->keys, name, k);
	if (k == NULL) {
		k = calloc(1, sizeof *k);
		if (k == NULL)
			abort();
		memcpy(k->name, name, sizeof name);
		k->body_hash = rq->body_hash;
		HASH_ADD_STR(rc->keys, name, k);
	}
	if (k->raw_hash[rq->zstd] == 0)
		k->raw_hash[rq->zstd] = rq->hash;
	return k->body_hash == rq->body_hash &&
	    k->raw_hash[rq->zstd] == rq->hash ? k : NULL;
}

/* --- lines --- */

static void
put_quoted(struct evbuffer *b, const char *s)
{
	struct json_object *o = json_object_new_string(s);

	evbuffer_add_printf(b, "%s", json_object_to_json_string_ext(o,
	    JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(o);
}

static void
put_refused(struct evbuffer *b, const bool *refused, size_t n)
{
	const char *sep = "";
	size_t i;

	evbuffer_add_printf(b, ",\"refused\":[");
	for (i = 0; i < n; i++) {
		if (!refused[i])
			continue;
		evbuffer_add_printf(b, "%s%zu", sep, i);
		sep = ",";
	}
	evbuffer_add_printf(b, "]");
}

static void
write_line(struct up_record *rc, struct evbuffer *b)
{
	while (evbuffer_get_length(b) > 0) {
		if (evbuffer_write(b, rc->out) < 0 && errno != EINTR) {
			perror("upstream: output file");
			exit(1);
		}
	}
}

static void
count(struct up_record *rc, const struct up_request *rq, int status,
    bool taken, bool duplicate, uint64_t refused)
{
	struct up_sums *s = &rc->sums;

	s->requests++;
	s->answers[status / 100]++;
	if (rq->violation[0] != '\0')
		s->violations++;
	if (duplicate)
		s->duplicates++;
	if (!taken || duplicate)
		return;
	if (rq->route == UP_EVENTS) {
		s->batches++;
		s->events += rq->events - refused;
	} else {
		s->records++;
	}
	s->refused += refused;
	s->raw_bytes += rq->raw_len;
	s->body_bytes += rq->body_len;
}

void
up_record_line(struct up_record *rc, const struct up_request *rq, int status,
    bool taken, bool duplicate, const char *fault, const bool *refused)
{
	struct evbuffer *b;
	uint64_t n = 0;
	size_t i;

	for (i = 0; refused != NULL && i < rq->events; i++)
		n += refused[i];
	count(rc, rq, status, taken, duplicate, n);
	if (rc->out < 0)
		return;

	b = evbuffer_new();
	evbuffer_add_printf(b, "{\"seq\":%" PRIu64 ",\"time\":%.6f,"
	    "\"route\":\"%s\",\"id\":", rc->sums.requests, rq->received,
	    up_route_name(rq->route));
	put_quoted(b, rq->id);
	evbuffer_add_printf(b, ",\"part\":%ld,\"reason\":\"%s\","
	    "\"encoding\":\"%s\",\"status\":%d,\"taken\":%s,"
	    "\"duplicate\":%s,\"hash\":\"%016" PRIx64 "\","
	    "\"body_hash\":\"%016" PRIx64 "\",\"bytes\":%zu,"
	    "\"events\":%zu", rq->part, rq->reason,
	    rq->zstd ? "zstd" : "none", status, taken ? "true" : "false",
	    duplicate ? "true" : "false", rq->hash, rq->body_hash,
	    rq->raw_len, rq->events);
	if (fault != NULL)
		evbuffer_add_printf(b, ",\"fault\":\"%s\"", fault);
	if (rq->violation[0] != '\0') {
		evbuffer_add_printf(b, ",\"violation\":");
		put_quoted(b, rq->violation);
	}
	if (refused != NULL)
		put_refused(b, refused, rq->events);
	/* The body goes last, so that a reader can cut it off. */
	if (taken && !duplicate) {
		evbuffer_add_printf(b, ",\"body\":");
		evbuffer_add(b, rq->body, rq->body_len);
	}
	evbuffer_add(b, "}\n", 2);
	write_line(rc, b);
	evbuffer_free(b);
}

void
up_record_stats(const struct up_record *rc, struct evbuffer *b)
{
	const struct up_sums *s = &rc->sums;
	int i;

	evbuffer_add_printf(b, "{\"requests\":%" PRIu64 ",\"batches\":%" PRIu64
	    ",\"duplicates\":%" PRIu64 ",\"violations\":%" PRIu64
	    ",\"records\":%" PRIu64 ",\"events\":%" PRIu64
	    ",\"refused\":%" PRIu64 ",\"raw_bytes\":%" PRIu64
	    ",\"body_bytes\":%" PRIu64 ",\"connections\":%" PRIu64
	    ",\"answers\":[", s->requests, s->batches, s->duplicates,
	    s->violations, s->records, s->events, s->refused, s->raw_bytes,
	    s->body_bytes, s->connections);
	for (i = 0; i < 6; i++)
		evbuffer_add_printf(b, "%s%" PRIu64, i ? "," : "",
		    s->answers[i]);
	evbuffer_add_printf(b, "]}\n");
}

/* --- what an earlier process wrote --- */

static const char *
member(struct json_object *o, const char *name)
{
	struct json_object *v;

	return json_object_object_get_ex(o, name, &v) ?
	    json_object_get_string(v) : "";
}

static void
recall_line(struct up_record *rc, char *line)
{
	char *body = strstr(line, ",\"body\":");
	struct up_request rq = { .route = UP_EVENTS };
	struct json_object *o;
	struct up_key *k;

	if (body == NULL)
		return;		/* it was not taken */
	(void)strcpy(body, "}");
	o = json_tokener_parse(line);
	while (rq.route < UP_NOWHERE && strcmp(up_route_name(rq.route),
	    member(o, "route")) != 0)
		rq.route++;
	(void)snprintf(rq.id, sizeof rq.id, "%s", member(o, "id"));
	rq.zstd = strcmp(member(o, "encoding"), "zstd") == 0;
	rq.hash = strtoull(member(o, "hash"), NULL, 16);
	rq.body_hash = strtoull(member(o, "body_hash"), NULL, 16);
	k = up_record_key(rc, &rq);
	if (k != NULL)
		k->taken = true;
	json_object_put(o);
}

static void
recall(struct up_record *rc, const char *path)
{
	FILE *f = fopen(path, "re");
	char *line = NULL;
	size_t cap = 0;

	if (f == NULL)
		return;
	while (getline(&line, &cap, f) > 0)
		recall_line(rc, line);
	free(line);
	(void)fclose(f);
}

int
up_record_open(struct up_record *rc, const char *path)
{
	recall(rc, path);
	rc->out = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	return rc->out < 0 ? -errno : 0;
}

void
up_record_close(struct up_record *rc)
{
	struct up_key *k, *next;

	HASH_ITER (hh, rc->keys, k, next) {
		HASH_DEL(rc->keys, k);
		free(k);
	}
	if (rc->out >= 0)
		(void)close(rc->out);
}
