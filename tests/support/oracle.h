/*
 * oracle: a second opinion on decoded messages, for unit tests and fuzzers.
 *
 * It shares no code with src/: msgpack-c reads the message into a tree, the
 * rules of messages are applied to that tree, and json-c reads each text and
 * number of the JSON that is judged.
 */
#ifndef LUMNID_TESTS_ORACLE_H
#define LUMNID_TESTS_ORACLE_H

#include <msgpack.h>
#include <stdbool.h>
#include <stddef.h>

#include "codec/event.h"

/*
 * Is this JSON text exactly the value `o`, by the conversions of event.h?
 * Returns NULL, or what is wrong.
 */
const char *oracle_compare(const char *json, size_t len,
	    const msgpack_object *o);

/*
 * Was it right to answer `code` and `msg` to the message p[0..len)?
 * Returns NULL, or what is wrong. len must be what frame_next() found, or
 * any bytes for which msgpack-c's memory is bounded.
 */
const char *oracle_judge(const uint8_t *p, size_t len,
	    const struct event_options *, const char *at, enum event_code code,
	    const struct event_message *msg);

#endif
