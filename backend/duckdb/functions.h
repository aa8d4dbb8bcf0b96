/* backend/duckdb/functions.h: the SQL functions that fragments call.
 *
 * Aggregates over a series' samples, one per kernel of kernels/window.def:
 *     prom_<name>(ts BIGINT, value DOUBLE, start BIGINT, step BIGINT, steps BIGINT, window BIGINT, closed BOOLEAN)
 * and the same over the points of an inner grid (subqueries), as scalars:
 *     prom_<name>_grid(inner DOUBLE[], inner_start BIGINT, inner_step BIGINT, start …, closed BOOLEAN)
 * Both give DOUBLE[] with one element per step, the window's end being start + k * step; NULL: no value. The whole list
 * is NULL when no step has one.
 *
 * Aggregates over grids: prom_sum prom_avg prom_min prom_max prom_count prom_group prom_stddev prom_stdvar
 * (DOUBLE[]) -> DOUBLE[]; NULL lists and elements are passed over.
 *
 * Scalars: prom_repeat(DOUBLE[], steps BIGINT) -> DOUBLE[] repeats the first element; prom_label(MAP, name) -> VARCHAR
 * ('' if missing); prom_without(MAP, names VARCHAR[]) -> MAP, order kept.
 * prom_match(text, pattern) is a macro of the schema (schema.c).
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
MUST_USE enum status functions_register_fold(struct engine *engine, struct connection *connection,
                                             struct error *reterr);
MUST_USE enum status functions_register_scalar(struct connection *connection, struct error *reterr);

/* A list vector under construction: room for `elements` more behind those it has. values and validity point to the
 * children from `first` on; validity is of the whole child vector. */
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
