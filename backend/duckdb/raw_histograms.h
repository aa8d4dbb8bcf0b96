/* backend/duckdb/raw_histograms.h: pieces of the table of native histograms, for a raw cursor (raw.c).
 *
 * A piece is read in one statement, in the order of the cursor's series, which a temporary table numbers: their places.
 * The cursor bounds it by what it knows of the series' bytes.
 *
 * Threads: the cursor's. Memory: the piece owns its rows until the next read.
 */
#ifndef PROMSPLIT_BACKEND_DUCKDB_RAW_HISTOGRAMS_H
#define PROMSPLIT_BACKEND_DUCKDB_RAW_HISTOGRAMS_H

#include "backend/backend.h"
#include "backend/duckdb/engine.h"
#include "planner/fragment.h"

#define RAW_PIECE_BYTES (UINT64_C(16) << 20) /* of native histograms */

struct histogram_piece {
    struct histogram_sample *at; /* by place, then time */
    uint32_t *places;
    size_t n, next; /* those before next are handed out */
    struct arena arena;
};

/* What a piece is to hold. */
struct histogram_range {
    uint32_t first, last; /* places */
    struct time_span span;
    uint64_t batch;
    uint64_t rows_max;
};

void histogram_piece_release(struct histogram_piece *piece); /* a zeroed one is fine */

MUST_USE enum status histogram_piece_read(struct histogram_piece *piece, struct connection *connection,
                                          const struct histogram_range *range, struct cancel *cancel,
                                          struct error *reterr);

#endif
