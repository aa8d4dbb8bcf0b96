/* planner/grid.h: evaluation grids: the moments at which an expression is computed.
 *
 * A grid has `steps` evaluation timestamps start_ms + k * step_ms, k = 0 … steps-1. An instant query has one step. A
 * subquery's inner grid is aligned to absolute multiples of its own step, not to the outer start; it may be empty.
 *
 * A grid seldom ends where it was asked to: rest_ms is what lies between its last step and there. A subquery inside is
 * evaluated up to the end asked for, at a step that no window of the last one sees, and may fail there.
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
    int64_t rest_ms; /* from the last step to the end asked for, >= 0 */
};

/* Times beyond this (73 million years) hold no samples; grids are cut there, so that sums of a time, an offset and a
 * range never overflow. */
#define GRID_TIME_MAX (INT64_MAX / 4)

/* A span of sample times, both ends included; empty when max_ms < min_ms. */
struct time_span {
    int64_t min_ms, max_ms;
};

#define EVER ((struct time_span){INT64_MIN, INT64_MAX})

struct grid grid_instant(int64_t time_ms);

/* End included only if on phase; no step when end < start. step_ms > 0. More than UINT32_MAX steps count as that many:
 * whoever takes a grid from outside has a limit far below. */
struct grid grid_range(int64_t start_ms, int64_t end_ms, int64_t step_ms);

static inline int64_t grid_time(struct grid grid, uint32_t k)
{
    return grid.start_ms + (int64_t)k * grid.step_ms;
}
static inline int64_t grid_end(struct grid grid)
{
    return grid_time(grid, grid.steps ? grid.steps - 1 : 0);
}
/* rest_ms included. */
bool grid_eq(struct grid a, struct grid b);

/* Where a selector or subquery with this offset and @ looks, seen from the grid of its consumer: the grid shifted by
 * the offset, or, with @, one step at the pinned time less the offset (*ret_pinned: repeat the answer along the grid);
 * no step of none.
 * query is the whole query's grid: @ start() and @ end() mean its bounds. */
struct grid grid_shift(struct grid grid, const struct duration *offset, enum at_kind at, int64_t at_ms,
                       struct time_span query, bool *ret_pinned);

/* The inner grid of a subquery whose consumer looks at `outer` (already shifted): every multiple of step_ms from the
 * first window of range_ms to the end asked of outer, gaps between windows included. start_ms is set also when the
 * grid is empty. */
struct grid grid_subquery(struct grid outer, int64_t range_ms, int64_t step_ms, enum window_rule rule);

/* The samples that windows of window_ms ending at grid's steps may read; empty for an empty grid. */
struct time_span grid_window_span(struct grid grid, int64_t window_ms, enum window_rule rule);

struct time_span time_span_union(struct time_span a, struct time_span b); /* the smallest that covers both */

/* a + b, held within ±GRID_TIME_MAX. */
int64_t time_add(int64_t a_ms, int64_t b_ms);

/* Whether Prometheus evaluates expr once, at the start, and repeats the answer along the grid: every selector or
 * subquery on the way to it is pinned by @ and no function on the way depends on the evaluation timestamp. As upstream,
 * the parameter of an aggregation has no say. Source: preprocessExprHelper. */
bool grid_step_invariant(const struct expr *expr);

#endif
