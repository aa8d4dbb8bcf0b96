/* planner/grid.h: evaluation grids: the moments at which an expression is computed.
 *
 * A grid has `steps` evaluation timestamps start_ms + k * step_ms, k = 0 … steps-1. An instant query has one step. A
 * subquery's inner grid is aligned to absolute multiples of its own step, not to the outer start; it may be empty.
 *
 * Units    milliseconds (since the epoch for start_ms).
 * Threads  plain values.
 * Source   Prometheus promql/engine.go: exec, eval (SubqueryExpr), subqueryTimes; durationMilliseconds.
 */
#ifndef PROMSPLIT_PLANNER_GRID_H
#define PROMSPLIT_PLANNER_GRID_H

#include <stdbool.h>
#include <stdint.h>

#include "promql/ast.h"

/* How windows treat a sample exactly on their left edge. */
enum window_rule {
    WINDOW_CLOSED,   /* [t - range, t]: Prometheus before 3.0 */
    WINDOW_LEFT_OPEN /* (t - range, t]: Prometheus 3.0 and later */
};

struct grid {
    int64_t start_ms;
    int64_t step_ms; /* > 0, also for one step */
    uint32_t steps;
};

/* A span of sample times, both ends included; empty when max_ms < min_ms. */
struct time_span {
    int64_t min_ms, max_ms;
};

struct grid grid_instant(int64_t time_ms);
struct grid grid_range(int64_t start_ms, int64_t end_ms, int64_t step_ms); /* end included only if on phase */

static inline int64_t grid_time(struct grid grid, uint32_t k)
{
    return grid.start_ms + (int64_t)k * grid.step_ms;
}
static inline int64_t grid_end(struct grid grid)
{
    return grid_time(grid, grid.steps ? grid.steps - 1 : 0);
}
bool grid_eq(struct grid a, struct grid b);

/* Where a selector or subquery with this offset and @ looks, seen from the grid of its consumer: the grid shifted by
 * the offset, or, with @, one step at the pinned time less the offset (*ret_pinned: repeat the answer along the grid).
 * query is the whole query's grid: @ start() and @ end() mean its bounds. */
struct grid grid_shift(struct grid grid, const struct duration *offset, enum at_kind at, int64_t at_ms,
                       struct time_span query, bool *ret_pinned);

/* The inner grid of a subquery whose consumer looks at `outer` (already shifted): every multiple of step_ms inside the
 * windows of range_ms that end at outer's steps. */
struct grid grid_subquery(struct grid outer, int64_t range_ms, int64_t step_ms, enum window_rule rule);

/* The samples that windows of window_ms ending at grid's steps may read. */
struct time_span grid_window_span(struct grid grid, int64_t window_ms, enum window_rule rule);

#endif
