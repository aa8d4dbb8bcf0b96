/* backend/duckdb/window_run.h: a run of a series' samples, and a grid: which windows can be evaluated when the run
 * comes, and which of its samples the others will want.
 *
 * Threads: pure functions. Memory: the caller's; a struct taken points into the run.
 */
#ifndef PROMSPLIT_BACKEND_DUCKDB_WINDOW_RUN_H
#define PROMSPLIT_BACKEND_DUCKDB_WINDOW_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend/duckdb/window_piece.h"
#include "backend/kernels/window.h"
#include "planner/grid.h"

#define RUN_KEPT_MAX 8192u /* samples at a run's end that may be thinned; a multiple of 64 */

/* Which windows of the grid meet a run, and which of them it holds whole. All are half-open ranges of steps. */
struct reach {
    int64_t meets, meets_end;
    int64_t whole, whole_end; /* empty: both are meets_end */
};

/* Of a run from first_ms to last_ms: meets and meets_end. */
void windows_met(const struct window_grid *grid, int64_t first_ms, int64_t last_ms, int64_t *ret_meets,
                 int64_t *ret_meets_end);

/* A run, and what is kept of it: windows of `reach` are evaluated at once, the samples [0, head) and [tail, n) are for
 * those of the grid that are not. */
struct taken {
    struct samples run;
    struct reach reach;
    size_t head, tail;
    struct time_span whole_in;
    /* Of a thinned run only these are kept, for functions that see no others. */
    bool thinned;
    size_t head_n, tail_n;
    uint64_t head_kept[RUN_KEPT_MAX / 64], tail_kept[RUN_KEPT_MAX / 64];
};

/* Of a run in ascending order that has all samples of its series in a span of time, without markers if the kernel sees
 * none. False: no window meets it, and nothing else is set. */
bool run_take(const struct window_kernel *kernel, const struct window_grid *grid, struct samples run,
              struct time_span whole_in, struct taken *ret_taken);

/* A piece's shape, and the piece filled, but for the results of its windows. */
struct piece_shape taken_shape(const struct taken *taken);
void taken_fill(const struct taken *taken, struct piece *piece);

/* --- times --- */

/* The first of n ascending times that is not before at_ms, or n. */
static inline size_t first_at_or_after(const int64_t *time_ms, size_t n, int64_t at_ms)
{
    size_t low = 0, high = n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (time_ms[middle] < at_ms)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static inline int64_t window_end(const struct window_grid *grid, int64_t step)
{
    return grid->start_ms + step * grid->step_ms;
}

#endif
