/* backend/duckdb/chunk_writer.h: chunks that are made in memory, written to a table in vectors.
 *
 * The table has the columns of stored_chunks, in their order; the last one, move, may be another BIGINT. Rows are the
 * table's when chunk_writer_close has returned OK.
 *
 * Memory: the vectors of one hand-over, of some 130 000 samples or one row. Threads: one caller, who holds the
 * connection and reads no stream from it at a put or at the end: a hand-over would cut it off.
 */
#ifndef PROMSPLIT_BACKEND_DUCKDB_CHUNK_WRITER_H
#define PROMSPLIT_BACKEND_DUCKDB_CHUNK_WRITER_H

#include "backend/duckdb/engine.h"
#include "base/sample.h"

/* The samples of one series in a partition, ascending in time; values are stored ones (stored_value.h). */
struct chunk_row {
    uint64_t metric_key;
    struct str metric;
    uint32_t series;
    const struct sample *samples;
    size_t n; /* at least 1 */
};

struct chunk_writer {
    duckdb_appender appender;
    duckdb_data_chunk chunk;
    idx_t n; /* rows in it, and their samples */
    uint64_t samples_n;
    int64_t *time_ms; /* of the row at hand */
    size_t times_capacity;
    int64_t move;
    bool has_move;
};

/* NULL for `move`: the last column is NULL. The writer is to be closed whatever this returns. */
MUST_USE enum status chunk_writer_open(struct chunk_writer *writer, struct connection *connection, const char *catalog,
                                       const char *table, const int64_t *move, struct error *reterr);
MUST_USE enum status chunk_writer_put(struct chunk_writer *writer, const struct chunk_row *row, struct error *reterr);
/* Hands over what is left if all went well so far; returns the first failure. */
MUST_USE enum status chunk_writer_close(struct chunk_writer *writer, enum status so_far, struct error *reterr);

#endif
