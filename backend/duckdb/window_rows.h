/* backend/duckdb/window_rows.h: the rows that window functions take (functions.h), and the runs of samples in them, as
 * the kernels want them: times made of a pace and drifts, values as they were before they were stored, markers left out
 * where a function sees none.
 *
 * Memory   rows point into the engine's vectors, and have room for the times of one run. A run is good until the next
 *          one is taken, and is let go of by row_run_release.
 * Threads  plain values.
 */
#ifndef PROMSPLIT_BACKEND_DUCKDB_WINDOW_ROWS_H
#define PROMSPLIT_BACKEND_DUCKDB_WINDOW_ROWS_H

#include "backend/duckdb/functions.h"
#include "planner/grid.h"

/* The arguments before those of the grid. */
enum run_form {
    RUN_PACED,      /* tmin, pace, drift, value */
    RUN_THINNED,    /* ts, value, weight */
    RUN_THINNED_IN, /* ts, value, weight, whole_from, whole_until */
    RUN_FORM_MAX
};

/* What a registered function carries. */
struct window_function {
    const struct window_kernel *kernel;
    enum run_form form;
    struct budget *budget;
};

/* The letters (functions.h) of all arguments. */
#define WINDOW_LETTERS_MAX 24
void window_letters(const struct window_function *function, char letters[WINDOW_LETTERS_MAX]);

#define WINDOW_COLUMNS_MAX (10 + FUNCTION_PARAMETERS_MAX)

/* The rows of one vector: columns as the signature has them. */
struct window_rows {
    const struct window_kernel *kernel;
    const duckdb_list_entry *times, *values; /* times: or drifts */
    const int64_t *time_ms;                  /* the children of all rows; NULL if paced */
    const double *value;
    const int64_t *first_ms, *pace_ms; /* paced */
    const int32_t *drift_ms;
    int64_t *run_ms; /* paced: room for the times of one run; else NULL */
    const uint64_t *time_validity, *value_validity;
    const duckdb_list_entry *weights; /* NULL: the function takes none */
    const int64_t *weight;
    const uint64_t *weights_validity;        /* of the lists: runs of plain samples have none */
    const int64_t *whole_from, *whole_until; /* NULL: the function takes none */
    const int64_t *start_ms, *step_ms, *steps, *window_ms;
    const bool *closed;
    struct parameter_rows parameters;
    idx_t columns, n;
    uint64_t longest;                             /* samples in a run */
    const uint64_t *validity[WINDOW_COLUMNS_MAX]; /* NULL: no nulls */
    bool has_nulls;
};

/* False: no memory. */
MUST_USE bool window_rows_init(struct window_rows *rows, duckdb_data_chunk input,
                               const struct window_function *function);
void window_rows_release(struct window_rows *rows);

/* Whether a row has samples, and no argument is NULL. */
bool window_rows_count(const struct window_rows *rows, idx_t row);

/* The grid and the parameters of a row, which are those of all rows: constants in the SQL. False, with a text to set as
 * the error: they are not valid, or PromQL fails over them. */
MUST_USE bool window_rows_grid(const struct window_rows *rows, idx_t row, struct window_grid *ret_grid,
                               struct window_parameters *ret_parameters, char refusal[FUNCTION_REFUSAL_MAX]);

struct row_run {
    struct samples samples;
    int64_t *copy; /* where they are, if not where the engine and the rows have them */
};

enum row_fault {
    ROW_WELL,
    ROW_UNEVEN,   /* lists of different lengths */
    ROW_NO_MEMORY /* for as many samples as the list has */
};
#define ROW_UNEVEN_TEXT "a run has not as many values as times"

/* The run of a row; or, if several rows are taken `together`, their single samples, which are side by side. */
MUST_USE enum row_fault window_rows_take(const struct window_rows *rows, idx_t row, idx_t together,
                                         struct row_run *ret_run);
void row_run_release(struct row_run *run);

/* Where a run has all samples of its series. It has some samples. */
struct time_span window_rows_whole_in(const struct window_rows *rows, idx_t row, const struct samples *run);

static inline const int64_t *window_rows_weight(const struct window_rows *rows, idx_t row)
{
    return rows->weights && is_valid(rows->weights_validity, row) ? rows->weight + rows->weights[row].offset : NULL;
}

/* Whether a row is one sample, that lies `ahead` behind another row's. */
static inline bool window_rows_single(const struct window_rows *rows, idx_t row, idx_t of, idx_t ahead)
{
    return rows->times[row].length == 1 && rows->values[row].length == 1 && !window_rows_weight(rows, row) &&
           (rows->run_ms || rows->times[row].offset == rows->times[of].offset + ahead) &&
           rows->values[row].offset == rows->values[of].offset + ahead;
}

#endif
