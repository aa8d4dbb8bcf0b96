/* backend/kernels/fold.h: PromQL's aggregations over series, step by step along a grid, in states that merge.
 *
 * A fold takes one grid of values per series and keeps, per step, what its operator needs. Folds of the same series set
 * cut into any parts, taken in any order and merged in any order, give the same values to 1e-12 relative: sums are
 * compensated, variances merge by Chan's formula with compensated mean and squares.
 *
 * Source   Prometheus promql/engine.go aggregation: sum compensated; avg the compensated sum by the count, a running
 *          mean once the sum overflows; min and max prefer any number to NaN; stddev and stdvar by Welford. A sum whose
 *          partial sums overflow depends on the order, there as here.
 * Memory   one block of fold_bytes given by the caller; no further allocation.
 * Threads  a fold belongs to one thread at a time.
 */
#ifndef PROMSPLIT_BACKEND_KERNELS_FOLD_H
#define PROMSPLIT_BACKEND_KERNELS_FOLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum fold_op {
    FOLD_SUM,
    FOLD_AVG,
    FOLD_MIN,
    FOLD_MAX,
    FOLD_COUNT,
    FOLD_GROUP,
    FOLD_STDDEV,
    FOLD_STDVAR,
    FOLD_AVG_2,    /* as Prometheus 2 has them: of a single value this itself, -0 included; */
    FOLD_STDDEV_2, /* 0, also if it is NaN or infinite */
    FOLD_STDVAR_2,
    FOLD_ONE,        /* the value of the one series that has any at that step */
    FOLD_ONE_SERIES, /* the values of the one series that has any */
    FOLD_OP_MAX
};

extern const char *const fold_names[FOLD_OP_MAX]; /* "sum" … */

#define FOLD_PLANES_MAX 5

struct fold {
    enum fold_op op;
    uint32_t steps;
    bool conflict;                  /* FOLD_ONE, FOLD_ONE_SERIES: there were two */
    uint64_t *present;              /* steps that have seen a value */
    double *plane[FOLD_PLANES_MAX]; /* per operator; see fold.c */
};

size_t fold_bytes(enum fold_op op, uint32_t steps);
void fold_init(struct fold *fold, enum fold_op op, uint32_t steps, void *memory); /* aligned to 8 bytes */

/* Takes in one series: values[k] counts where bit k of present is set. */
void fold_add(struct fold *fold, const double *values, const uint64_t *present);

/* Takes in what another fold of the same operator and grid has seen. */
void fold_merge(struct fold *into, const struct fold *from);

/* values: steps doubles; 0 where absent. Presence is fold->present. */
void fold_finish(const struct fold *fold, double *values);

#endif
