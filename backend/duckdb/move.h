/* backend/duckdb/move.h: a move: the rows of recent of some partitions become chunks of these, in one transaction.
 *
 * It makes new chunks of the rows and of the chunks that the same series have in the same partitions, and deletes
 * exactly those rows and chunks. What it takes are the rows of batches that were committed before it began, whatever
 * else it may see (schema.h); that its chunks are there is told by the table moved, in the same transaction.
 *
 * All but scans, counts and deletions is done by the calling thread, which is one that steps behind (base/priority.h)
 * and, from one piece of its work to the next, aside (compactor_step_aside): the engine's own threads do neither, and a
 * query that comes meanwhile needs them.
 *
 * Memory: MOVE_SLICE_SAMPLES of 16 bytes, or the samples of a series in a partition if these are more, some 50 bytes a
 * row of that, and what the engine needs to count rows by series.
 * Threads: the caller holds compactor.running.
 */
#ifndef PROMSPLIT_BACKEND_DUCKDB_MOVE_H
#define PROMSPLIT_BACKEND_DUCKDB_MOVE_H

#include "backend/duckdb/store.h"

#define MOVE_SLICE_SAMPLES (UINT64_C(1) << 21)

/* Whole partitions. */
struct partitions {
    int64_t first, last;
    uint64_t batch;  /* rows of it and of batches before */
    uint64_t rows_n; /* in recent; 0: nothing to move */
};

/* In a transaction of the compactor's connection, which is to be rolled back unless this returns OK. */
MUST_USE enum status move_rows(struct duckdb_store *store, const struct partitions *taken, struct error *reterr);

#endif
