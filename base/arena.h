/* base/arena.h: memory with one lifetime: allocate as you go, free all at once.
 *
 * A query's AST, plan, SQL and labels live in its arena; nothing in it is freed singly. The arena has a cap, because
 * a user can make it grow. When the cap or the system's memory is reached arena_alloc returns NULL and `exhausted`
 * stays set, so a long construction may check once at its end. An address-sanitizer build makes one malloc per
 * allocation, so that overruns inside an arena are seen.
 *
 * Threads: one thread at a time. Alignment: 16 bytes. A zeroed struct is not valid; call arena_init.
 */
#ifndef PROMSPLIT_BASE_ARENA_H
#define PROMSPLIT_BASE_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

struct arena_block;

struct arena {
    struct arena_block *blocks; /* newest first */
    size_t used_bytes;          /* handed out, with alignment */
    size_t cap_bytes;           /* used_bytes never exceeds it */
    int64_t fail_after;         /* tests: this many more allocations succeed, then all fail; negative: off */
    bool exhausted;             /* an allocation failed since init or reset */
};

void arena_init(struct arena *arena, size_t cap_bytes);
void arena_release(struct arena *arena); /* frees all; NULL and a released arena are fine */
void arena_reset(struct arena *arena);   /* frees all, usable again with the same cap */

void *arena_alloc(struct arena *arena, size_t bytes);                /* zeroed, or NULL */
void *arena_alloc_array(struct arena *arena, size_t n, size_t each); /* zeroed; checks the product; NULL on failure */
#define ARENA_NEW(arena, type)      ((type *)arena_alloc((arena), sizeof(type)))
#define ARENA_ARRAY(arena, type, n) ((type *)arena_alloc_array((arena), (n), sizeof(type)))

/* A copy of s in the arena, NUL-terminated behind its length; ptr is NULL on failure. */
struct str arena_str(struct arena *arena, struct str s);

#endif
