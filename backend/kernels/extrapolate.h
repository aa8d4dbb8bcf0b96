/* backend/kernels/extrapolate.h: what rate, increase and delta make of the samples of a window.
 *
 * The difference of last and first, plus what each reset lost, is stretched from the sampled interval to the window: to
 * its edge where the edge is nearer than 1.1 mean gaps, by half a mean gap otherwise. A counter is not stretched back
 * beyond its zero. The order of threshold and zero was the other one up to Prometheus 2.50; closed windows are of that
 * time.
 *
 * Divisions are what it costs, and processors divide several numbers at once: so windows are gathered, as columns, and
 * stretched together. The operations on each are those of Prometheus, in its order.
 *
 * Source: promql/functions.go extrapolatedRate. Threads: pure functions.
 */
#ifndef PROMSPLIT_BACKEND_KERNELS_EXTRAPOLATE_H
#define PROMSPLIT_BACKEND_KERNELS_EXTRAPOLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EXTRAPOLATED_MAX 64u

struct extrapolation {
    bool counter;    /* else a gauge: delta */
    bool per_second; /* rate */
    bool zero_first; /* the older order */
    double length_s; /* of the windows */
    size_t n;
    double increase[EXTRAPOLATED_MAX];                                 /* with what resets lost */
    double first[EXTRAPOLATED_MAX];                                    /* value */
    double to_start_ms[EXTRAPOLATED_MAX], to_end_ms[EXTRAPOLATED_MAX]; /* from the edges to the first and last sample */
    double sampled_ms[EXTRAPOLATED_MAX];                               /* between them */
    double gaps[EXTRAPOLATED_MAX];                                     /* samples less one */
    uint32_t step[EXTRAPOLATED_MAX];                                   /* where its value goes */
};

/* The n values, each at its step. */
void extrapolate(const struct extrapolation *e, double *values);

#endif
