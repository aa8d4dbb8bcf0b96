/* planner/rollup.h: which window functions may read rollups in place of samples, and when.
 *
 * A backend's rollup of a series has, for buckets (k * level, (k + 1) * level], a few samples, or sums, with weights
 * (backend/kernels/thin.h). Over windows that are made of whole buckets the functions below give the same as over all
 * samples; where that does not hold in every case, the function is not in the list. Windows are made of whole buckets
 * if the level divides their length and all their ends, offset and @ included.
 *
 * Threads: pure functions.
 */
#ifndef PROMSPLIT_PLANNER_ROLLUP_H
#define PROMSPLIT_PLANNER_ROLLUP_H

#include "planner/split.h"

struct rollup_use {
    int64_t level_ms; /* 0: none */
    bool sums;        /* the backend's rolled_sums, else its rolled_edges */
};

/* The coarsest level that a function may read, then as prom_<function>_thinned; `ends` are the windows' ends. */
struct rollup_use rollup_choose(const struct plan_options *options, enum function_id function, struct grid ends,
                                int64_t window_ms);

#endif
