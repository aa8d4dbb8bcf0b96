/* backend/duckdb/blocks.h: large blocks of memory for aggregate states, kept from one query for the next.
 *
 * A query over many series fills some gigabytes with states and gives them back at its end. Out of malloc they stay in
 * the heaps of whichever threads ran it, or are page faults again for the next one, which cost more than its
 * arithmetic. So blocks that are put back wait here, the last one first, until no query has asked for one for a while.
 *
 * Threads: any.
 */
#ifndef PROMSPLIT_BACKEND_DUCKDB_BLOCKS_H
#define PROMSPLIT_BACKEND_DUCKDB_BLOCKS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BLOCK_BYTES    ((size_t)2 << 20)
#define BLOCKS_IDLE_MS INT64_C(25000)

struct blocks {
    pthread_mutex_t lock;
    struct block *kept; /* put back, and not asked for since */
    bool asked;         /* since blocks_rest was last called */
    int64_t asked_ms;   /* when blocks_rest last found that they were asked for */
};

void blocks_init(struct blocks *blocks);
void blocks_release(struct blocks *blocks); /* those that were put back */

/* BLOCK_BYTES, aligned to pages, of any content; NULL: there are none. */
void *blocks_get(struct blocks *blocks);
void blocks_put(struct blocks *blocks, void *memory);

/* To be called now and then, with a clock that does not go back: gives the kernel what is kept once nobody has asked
 * for BLOCKS_IDLE_MS. */
void blocks_rest(struct blocks *blocks, int64_t now_ms);

#endif
