/* backend/kernels/select.h: PromQL's choices among values: quantile, topk, bottomk.
 *
 * Source   Prometheus promql/quantile.go quantile, promql/engine.go aggregationK.
 * Order    NaN sorts before every number in a quantile, and is chosen last by topk and bottomk. Of equal values topk
 * and bottomk choose those of the lowest rank, where Prometheus chooses by its order of storage. Threads  pure
 * functions. Memory: the caller's.
 */
#ifndef PROMSPLIT_BACKEND_KERNELS_SELECT_H
#define PROMSPLIT_BACKEND_KERNELS_SELECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The phi-quantile by linear interpolation between the two values next to it; n > 0. NaN for phi NaN, infinite for phi
 * outside [0, 1]. Reorders the values. */
double select_quantile(double phi, double *values, size_t n);

struct select_candidate {
    double value;
    int64_t rank; /* differs between candidates */
    size_t row;   /* the caller's */
};

/* Moves the k candidates that topk (least: bottomk) keeps to the front, in no particular order. Returns how many those
 * are: k, or n when that is less. */
size_t select_top(struct select_candidate *candidates, size_t n, size_t k, bool least);

/* k of topk and bottomk as a count. False: PromQL fails over it, as it is NaN or no 64-bit integer. Below 1 is 0. */
bool select_count(double k, size_t *ret_count);

#endif
