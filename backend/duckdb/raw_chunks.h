/* backend/duckdb/raw_chunks.h: the slices of a raw cursor (raw.c) that gives chunks as remote read sends them.
 *
 * A slice is read in one statement, which decodes and encodes each run on the engine's threads (function_chunks.c). Its
 * rows come in any order, are put in that of series and time, and are handed out where they lie. A series' rows do not
 * overlap: it has one row of chunks for a partition, and what it has in recent of that partition is later.
 *
 * Memory: the engine's result, of a slice's samples at twelve bytes each at most. Threads: one caller.
 */
#ifndef PROMSPLIT_BACKEND_DUCKDB_RAW_CHUNKS_H
#define PROMSPLIT_BACKEND_DUCKDB_RAW_CHUNKS_H

#include "backend/backend.h"
#include "backend/duckdb/engine.h"
#include "planner/fragment.h"

#define RAW_CHUNKS_AT_ONCE 64

/* Before each chunk's bytes in what prom_xor_chunks gives. */
struct chunk_head {
    int64_t min_ms, max_ms;
    uint32_t samples_n, bytes_n;
};

struct encoded_run {
    uint32_t place; /* of the series, among the cursor's */
    int64_t min_ms; /* orders the series' runs */
    struct str bytes;
};

struct encoded_slice {
    duckdb_result result;
    bool has_result;
    duckdb_data_chunk *vectors; /* whose texts the runs are views of */
    size_t vectors_n, vectors_capacity;
    struct encoded_run *runs; /* by place, then time */
    size_t runs_n, runs_capacity;
    size_t at;          /* the run being handed out */
    size_t taken_bytes; /* of it */
    struct raw_chunk chunks[RAW_CHUNKS_AT_ONCE];
};

/* Reads slice `number` of those that slices_begin numbered (raw_slice.h). */
MUST_USE enum status encoded_slice_read(struct encoded_slice *slice, struct connection *connection, uint32_t number,
                                        struct time_span span, uint64_t batch, struct cancel *cancel,
                                        struct error *reterr);

/* The next chunks of the series; none: it has no more. *ret_samples_n: in them. Series are asked for in order. */
size_t encoded_slice_next(struct encoded_slice *slice, uint32_t place, uint64_t *ret_samples_n);

void encoded_slice_release(struct encoded_slice *slice); /* a zeroed one is fine */

#endif
