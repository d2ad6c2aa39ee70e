/*
 * hash: uthash's tables, with our allocator: its own ends the process without
 * a word where there is no memory.
 */
#ifndef LUMNID_BASE_HASH_H
#define LUMNID_BASE_HASH_H

#include "base/mem.h"

#define uthash_malloc(n)	mem_alloc(n)
#define uthash_fatal(msg)	fatal("a hash table: %s", msg)

#include <uthash.h>

#endif
