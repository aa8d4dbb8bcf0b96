/* base/arena.c: see arena.h. */
#include "base/arena.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

#ifndef PROMSPLIT_ARENA_MALLOC
#    define PROMSPLIT_ARENA_MALLOC 0
#endif

#define ALIGNMENT       16u
#define BLOCK_BYTES_MIN 4096u
#define BLOCK_BYTES_MAX (1u << 20)

struct arena_block {
    struct arena_block *next;
    size_t size; /* payload bytes */
    size_t used; /* payload bytes handed out */
    size_t pad_; /* keeps the payload aligned */
};

_Static_assert(sizeof(struct arena_block) % ALIGNMENT == 0, "the payload follows the header and must be aligned");

void arena_init(struct arena *arena, size_t cap_bytes)
{
    *arena = (struct arena){.cap_bytes = cap_bytes, .fail_after = -1};
}

void arena_release(struct arena *arena)
{
    if (!arena)
        return;
    struct arena_block *next;
    for (struct arena_block *block = arena->blocks; block; block = next) {
        next = block->next;
        free(block);
    }
    arena->blocks = NULL;
    arena->used_bytes = 0;
}

void arena_reset(struct arena *arena)
{
    arena_release(arena);
    arena->exhausted = false;
}

static void *fail(struct arena *arena)
{
    arena->exhausted = true;
    return NULL;
}

/* Blocks double in size as the arena grows, so that small queries stay small. */
static struct arena_block *add_block(struct arena *arena, size_t need)
{
    size_t size = need;
    if (!PROMSPLIT_ARENA_MALLOC) {
        size_t wanted = arena->used_bytes < BLOCK_BYTES_MIN ? BLOCK_BYTES_MIN : arena->used_bytes;
        if (wanted > BLOCK_BYTES_MAX)
            wanted = BLOCK_BYTES_MAX;
        if (size < wanted)
            size = wanted;
    }
    struct arena_block *block = malloc(sizeof *block + size);
    if (!block)
        return NULL;
    block->size = size;
    block->used = 0;
    block->next = arena->blocks;
    arena->blocks = block;
    return block;
}

void *arena_alloc(struct arena *arena, size_t bytes)
{
    if (arena->fail_after == 0 || bytes > SIZE_MAX - ALIGNMENT)
        return fail(arena);
    size_t need = PROMSPLIT_ARENA_MALLOC ? bytes : (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (need > arena->cap_bytes - arena->used_bytes)
        return fail(arena);
    struct arena_block *block = arena->blocks;
    if (!block || PROMSPLIT_ARENA_MALLOC || block->size - block->used < need) {
        block = add_block(arena, need);
        if (!block)
            return fail(arena);
    }
    char *payload = (char *)(block + 1) + block->used;
    block->used += need;
    arena->used_bytes += need;
    if (arena->fail_after > 0)
        arena->fail_after--;
    memset(payload, 0, bytes);
    return payload;
}

void *arena_alloc_array(struct arena *arena, size_t n, size_t each)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, each, &bytes))
        return fail(arena);
    return arena_alloc(arena, bytes);
}

struct str arena_str(struct arena *arena, struct str s)
{
    char *copy = arena_alloc(arena, s.len + 1);
    if (!copy)
        return (struct str){NULL, 0};
    if (s.len)
        memcpy(copy, s.ptr, s.len);
    return (struct str){copy, s.len};
}
