/* backend/duckdb/blocks.c: see blocks.h. */
#include "backend/duckdb/blocks.h"

#include <sys/mman.h>

/* While it is kept. */
struct block {
    struct block *next;
};

void blocks_init(struct blocks *blocks)
{
    *blocks = (struct blocks){.kept = NULL};
    pthread_mutex_init(&blocks->lock, NULL);
}

static void unmap_all(struct block *block)
{
    while (block) {
        struct block *next = block->next;
        munmap(block, BLOCK_BYTES);
        block = next;
    }
}

void blocks_release(struct blocks *blocks)
{
    unmap_all(blocks->kept);
    pthread_mutex_destroy(&blocks->lock);
}

void *blocks_get(struct blocks *blocks)
{
    pthread_mutex_lock(&blocks->lock);
    struct block *block = blocks->kept;
    if (block)
        blocks->kept = block->next;
    blocks->asked = true;
    pthread_mutex_unlock(&blocks->lock);
    if (block)
        return block;
    /* Not out of malloc, which would keep it in the heap of this thread. */
    void *mapped = mmap(NULL, BLOCK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return mapped == MAP_FAILED ? NULL : mapped;
}

void blocks_put(struct blocks *blocks, void *memory)
{
    struct block *block = memory;
    pthread_mutex_lock(&blocks->lock);
    block->next = blocks->kept;
    blocks->kept = block;
    pthread_mutex_unlock(&blocks->lock);
}

void blocks_rest(struct blocks *blocks, int64_t now_ms)
{
    struct block *idle = NULL;
    pthread_mutex_lock(&blocks->lock);
    if (blocks->asked) {
        blocks->asked = false;
        blocks->asked_ms = now_ms;
    } else if (now_ms - blocks->asked_ms >= BLOCKS_IDLE_MS) {
        idle = blocks->kept;
        blocks->kept = NULL;
    }
    pthread_mutex_unlock(&blocks->lock);
    unmap_all(idle);
}
