/* backend/duckdb/functions.h: the SQL functions that fragments call.
 *
 * Aggregates over a series' runs of samples, one per kernel of kernels/window.def:
 *     prom_<name>(tmin BIGINT, pace BIGINT, drift INTEGER[], value DOUBLE[],
 *                 start BIGINT, step BIGINT, steps BIGINT, window BIGINT, closed BOOLEAN)
 * The lists of a row are as long as each other; they hold all samples that the series has from the first to the last of
 * them, in order of time, times as chunks have them (kernels/pace.h). runs() has such rows. Runs that overlap are
 * refused, if it would matter.
 * The same over the points of an inner grid (subqueries), as scalars:
 *     prom_<name>_grid(inner DOUBLE[], inner_start BIGINT, inner_step BIGINT, start …, closed BOOLEAN)
 * Both give DOUBLE[] with one element per step, the window's end being start + k * step; NULL: no value. The whole list
 * is NULL when no step has one.
 *
 * Those without further arguments, but for prom_last and prom_timestamp, have a form that also takes thinned runs
 * (kernels/thin.h), whose weights are in a third list; NULL: a run that has all its samples. Other samples of the
 * series may lie between those of a thinned run, but none between whole_from and whole_until.
 *     prom_<name>_thinned(ts BIGINT[], value DOUBLE[], weight BIGINT[], whole_from BIGINT, whole_until BIGINT, start …)
 * Both aggregates as scalars, of one run by itself: the windows that meet it, as if its series had no other sample.
 *     prom_<name>_of_run(tmin BIGINT, pace BIGINT, drift INTEGER[], value DOUBLE[], start …)
 *     prom_<name>_of_thinned_run(ts BIGINT[], value DOUBLE[], weight BIGINT[], start …)
 *
 * Thinned runs, and plain ones in order, are made by scalars:
 *     prom_thin_edges, prom_thin_sums (ts BIGINT[], value DOUBLE[], level BIGINT)
 *         -> STRUCT(ts BIGINT[], value DOUBLE[], weight BIGINT[])   scalars; lists as the table has them
 * A run out of samples in any order, equal times as they come, as a scalar:
 *     prom_in_order(ts BIGINT[], value DOUBLE[]) -> STRUCT(ts BIGINT[], value DOUBLE[])
 *
 * Times of chunks, as they are stored (kernels/pace.h):
 *     prom_times(tmin BIGINT, pace BIGINT, drift INTEGER[]) -> BIGINT[]
 *     prom_pace(ts BIGINT[]) -> BIGINT, prom_drift(ts BIGINT[], pace BIGINT) -> INTEGER[]   NULL of what is no chunk
 *
 * Some take further arguments behind `closed`, of both forms alike: prom_quantile_over_time(…, phi DOUBLE),
 * prom_predict_linear(…, seconds DOUBLE, shift BIGINT) whose evaluation time is the window's end plus shift,
 * prom_double_exponential_smoothing(…, sf DOUBLE, tf DOUBLE), also called prom_holt_winters.
 *
 * Aggregates over grids, (DOUBLE[]) -> DOUBLE[]; NULL lists and elements are passed over:
 *     prom_sum prom_avg prom_min prom_max prom_count prom_group prom_stddev prom_stdvar
 *     prom_avg_2 prom_stddev_2 prom_stdvar_2   as Prometheus 2 has them: of a single value this itself, -0 included; 0,
 *                                              also if it is NaN or infinite
 *     prom_any     1 where any row has a value (PromQL's group)
 *     prom_one, prom_one_series   the only value; two at one step, or two rows with any value, are an error
 *     prom_absent(DOUBLE[], steps BIGINT)   1 where no row has a value; never NULL unless there are no rows
 *     prom_quantile(DOUBLE[], phi)
 *     prom_topk, prom_bottomk(DOUBLE[], k, rank BIGINT) -> STRUCT(rank BIGINT, value DOUBLE[])[]: the rows that keep
 * any value, with those values; of equal ones the least rank wins prom_count_values(DOUBLE[]) -> STRUCT(text VARCHAR,
 * value DOUBLE[])[] phi and k are DOUBLE or DOUBLE[], the same for all rows of a group.
 *
 * Elementwise scalars give DOUBLE[], NULL where an operand has no value; a NULL list has none at all:
 *     prom_<name>(DOUBLE[])  functions of element.def
 *     prom_<op>(DOUBLE[], DOUBLE[]), with a DOUBLE on either side too  operators of element.def; prom_round,
 *     prom_clamp_min and prom_clamp_max have their list on the left; prom_and, prom_unless take lists only
 *     prom_clamp(DOUBLE[], least, most)  DOUBLE or DOUBLE[] each
 *
 * Scalars: prom_time(start BIGINT, step BIGINT, steps BIGINT) -> DOUBLE[] of seconds; prom_constant(DOUBLE, steps
 * BIGINT)
 * -> DOUBLE[]; prom_repeat(DOUBLE[], steps BIGINT) -> DOUBLE[] repeats the first element; prom_label(MAP, name) ->
 * VARCHAR ('' if missing); prom_without(MAP, names VARCHAR[]) -> MAP, order kept.
 * prom_match(text, pattern) is a macro of the schema (schema.c).
 *
 * Where PromQL fails over the data, so does the statement, with a message that starts "promql: " (engine.h).
 *
 * Threads  the engine calls the aggregates from its own threads, with rows of a group in any order and in any number of
 *          partial states. Combining empties the source, so they are for GROUP BY only, not for OVER.
 */
#ifndef PROMSPLIT_BACKEND_DUCKDB_FUNCTIONS_H
#define PROMSPLIT_BACKEND_DUCKDB_FUNCTIONS_H

#include "backend/duckdb/engine.h"
#include "backend/kernels/window.h"

/* Longest grid a function takes; planner limits are far below. */
#define FUNCTION_STEPS_MAX 1000000

MUST_USE enum status functions_register(struct engine *engine, struct connection *connection, struct error *reterr);

MUST_USE enum status functions_register_window(struct engine *engine, struct connection *connection,
                                               struct error *reterr);
MUST_USE enum status functions_register_run(struct engine *engine, struct connection *connection, struct error *reterr);
MUST_USE enum status functions_register_fold(struct engine *engine, struct connection *connection,
                                             struct error *reterr);
MUST_USE enum status functions_register_rows(struct engine *engine, struct connection *connection,
                                             struct error *reterr);
MUST_USE enum status functions_register_element(struct connection *connection, struct error *reterr);
MUST_USE enum status functions_register_scalar(struct connection *connection, struct error *reterr);

MUST_USE enum status functions_register_thin(struct connection *connection, struct error *reterr);
MUST_USE enum status functions_register_times(struct connection *connection, struct error *reterr);
MUST_USE enum status functions_register_order(struct connection *connection, struct error *reterr);
MUST_USE enum status functions_register_chunks(struct connection *connection, struct error *reterr);

/* Functions over the catalogue's index, which must live as long as the database. They are run by who has entered it. */
struct catalogue;
struct regex_cache;
struct series_functions {
    struct catalogue *catalogue;
    struct regex_cache *regex;
};
MUST_USE enum status functions_register_series(const struct series_functions *functions, struct connection *connection,
                                               struct error *reterr);

/* What the engine calls on its own threads, with a thread sanitizer told of the hand-over (engine.h): on_init,
 * on_update, on_combine and on_destroy around state_init and so on of the same file, and on_X around a finalize
 * function X or a scalar one. */
#define HANDED_OVER(call)                                                                                              \
    do {                                                                                                               \
        ENGINE_TAKES();                                                                                                \
        call;                                                                                                          \
        ENGINE_GIVES();                                                                                                \
    } while (0)

#define ENGINE_CALLS_STATE()                                                                                           \
    static void on_init(duckdb_function_info info, duckdb_aggregate_state state)                                       \
    {                                                                                                                  \
        HANDED_OVER(state_init(info, state));                                                                          \
    }                                                                                                                  \
    static void on_update(duckdb_function_info info, duckdb_data_chunk input, duckdb_aggregate_state *states)          \
    {                                                                                                                  \
        HANDED_OVER(state_update(info, input, states));                                                                \
    }                                                                                                                  \
    static void on_combine(duckdb_function_info info, duckdb_aggregate_state *sources,                                 \
                           duckdb_aggregate_state *targets, idx_t count)                                               \
    {                                                                                                                  \
        HANDED_OVER(state_combine(info, sources, targets, count));                                                     \
    }                                                                                                                  \
    static void on_destroy(duckdb_aggregate_state *states, idx_t count)                                                \
    {                                                                                                                  \
        HANDED_OVER(state_destroy(states, count));                                                                     \
    }

#define ENGINE_CALLS_FINALIZE(finalize)                                                                                \
    static void on_##finalize(duckdb_function_info info, duckdb_aggregate_state *states, duckdb_vector result,         \
                              idx_t count, idx_t offset)                                                               \
    {                                                                                                                  \
        HANDED_OVER(finalize(info, states, result, count, offset));                                                    \
    }

#define ENGINE_CALLS_SCALAR(function)                                                                                  \
    static void on_##function(duckdb_function_info info, duckdb_data_chunk input, duckdb_vector output)                \
    {                                                                                                                  \
        HANDED_OVER(function(info, input, output));                                                                    \
    }

/* SQL types by letter: i BIGINT, u UINTEGER, d DOUBLE, b BOOLEAN, s VARCHAR, I BIGINT[], H INTEGER[], D DOUBLE[], S
 * VARCHAR[], M MAP(VARCHAR, VARCHAR); a result also B, BLOB, R, STRUCT(rank BIGINT, value DOUBLE[])[], T, STRUCT(text
 * VARCHAR, value DOUBLE[])[], O, STRUCT(ts BIGINT[], value DOUBLE[]), and W, the same with weight BIGINT[]. The
 * functions take NULL as it is; what they do, and register, is the caller's part. */
duckdb_scalar_function function_scalar_new(const char *name, const char *parameters, const char *result);
duckdb_aggregate_function function_aggregate_new(const char *name, const char *parameters, const char *result);

/* The further arguments of a window kernel, in the columns from `first` on. */
#define FUNCTION_PARAMETERS_MAX 2
struct parameter_rows {
    const char *letters; /* as in window.def */
    const void *at[FUNCTION_PARAMETERS_MAX];
};
struct parameter_rows parameter_rows_of(const struct window_kernel *kernel, duckdb_data_chunk input, idx_t first);
struct window_parameters parameter_rows_get(const struct parameter_rows *rows, idx_t row); /* scratch NULL */

/* Whether PromQL fails over these; then with the message to set. */
#define FUNCTION_REFUSAL_MAX (WINDOW_REFUSAL_MAX + 16)
bool function_parameters_refused(const struct window_kernel *kernel, const struct window_parameters *parameters,
                                 char message[FUNCTION_REFUSAL_MAX]);

/* Sets the error of an aggregate whose states or result do not fit. */
void function_refuse_size(duckdb_function_info info, const struct budget *budget, uint64_t bytes);

bool row_is_null(duckdb_data_chunk input, idx_t row); /* any argument */
uint64_t list_longest(const duckdb_list_entry *lists, const uint64_t *validity, idx_t n);

/* A list vector as it is read, or made: the rows' entries, and the `used` elements of all of them. */
struct list_column {
    duckdb_vector vector;
    duckdb_list_entry *entries;
    void *elements;
    uint64_t used;
};
struct list_column list_column_of(duckdb_vector vector);
/* Room for `more` elements behind those that are used; elements may move. */
MUST_USE bool list_column_reserve(struct list_column *column, uint64_t more);
/* The next n elements, which are there, become the row's. */
void list_column_put(struct list_column *column, idx_t row, uint64_t n);
/* When all rows have theirs: tells the engine how many elements there are. */
MUST_USE bool list_column_end(const struct list_column *column);

/* A list vector under construction, whose elements may be NULL: room for `elements` more behind those it has. values
 * and validity point to the children from `first` on; validity is of the whole child vector. */
struct list_room {
    double *values;
    uint64_t *validity;
    uint64_t first;
};
MUST_USE bool list_room_make(duckdb_vector list, uint64_t elements, struct list_room *ret_room);

/* Row `row` becomes the `steps` values at room->values + used, or NULL when present_n is 0. Returns elements used. */
uint64_t list_room_put(duckdb_vector list, const struct list_room *room, uint64_t used, uint64_t row, uint32_t steps,
                       const uint64_t *present, uint32_t present_n);

/* Fills the grid from values as SQL gives them; false if it is no valid one. */
bool function_grid(int64_t start_ms, int64_t step_ms, int64_t steps, int64_t window_ms, bool closed,
                   struct window_grid *ret_grid);

static inline bool is_valid(const uint64_t *validity, uint64_t row)
{
    return !validity || (validity[row / 64] >> (row % 64) & 1);
}

#endif
