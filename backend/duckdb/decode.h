/* backend/duckdb/decode.h: label sets and runs out of columns, straight from the engine's vectors. */
#ifndef PROMSPLIT_BACKEND_DUCKDB_DECODE_H
#define PROMSPLIT_BACKEND_DUCKDB_DECODE_H

#include <duckdb.h>

#include "backend/kernels/window.h"
#include "base/arena.h"
#include "base/error.h"
#include "planner/fragment.h"
#include "promql/labels.h"

struct text_column {
    duckdb_string_t *at;
    uint64_t *validity; /* NULL: no nulls */
};

struct text_column text_column_of(duckdb_vector vector);
struct str text_column_get(const struct text_column *column, uint64_t row); /* NULL is the empty text */

/* Runs: a column of lists of times, and one of lists of values. */
struct run_column {
    const duckdb_list_entry *times, *values;
    const int64_t *time_ms;
    const double *value;
};

struct run_column run_column_of(duckdb_vector times, duckdb_vector values);
/* A view of a row's samples; none if its lists differ in length. Not for rows without lists. */
struct samples run_column_get(const struct run_column *column, uint64_t row);

/* The label columns of one chunk: metric, labels, then one per name of `by`, as planner/fragment.h has them. */
struct label_reader {
    bool has_metric, has_map;
    struct text_column metric;
    const duckdb_list_entry *map;
    uint64_t *map_validity;
    struct text_column map_name, map_value;
    struct name_list by;
    struct text_column *by_column; /* by.n of them; the caller's */
};

#define LABEL_COLUMNS(columns) ((idx_t)(columns)->metric + (idx_t)(columns)->map + (columns)->by.n)

void label_reader_init(struct label_reader *reader, const struct fragment_columns *columns,
                       struct text_column *by_column, duckdb_data_chunk chunk, idx_t first_column);

/* The label set of a row, copied into the arena: sorted, empty values left out. E_NOMEM; E_INTERNAL when a name occurs
 * twice with different values. */
MUST_USE enum status label_reader_get(const struct label_reader *reader, uint64_t row, struct arena *arena,
                                      struct labels *ret_labels, struct error *reterr);

#endif
