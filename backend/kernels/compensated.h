/* backend/kernels/compensated.h: sums that carry what rounding lost (Kahan, improved by Neumaier).
 *
 * Source: Prometheus util/kahansum (promql/functions.go kahanSumInc before 3.8): an infinite total forgets the
 * correction, so that it stays infinite instead of turning into NaN. The build must not fuse multiplications and
 * additions (-ffp-contract=off), nor reorder them.
 */
#ifndef PROMSPLIT_BACKEND_KERNELS_COMPENSATED_H
#define PROMSPLIT_BACKEND_KERNELS_COMPENSATED_H

#include <math.h>

struct compensated {
    double sum;
    double lost; /* to be added to sum at the end */
};

static inline struct compensated compensated_add(struct compensated a, double x)
{
    double total = a.sum + x;
    double big = fabs(a.sum) >= fabs(x) ? a.sum : x;
    double small = fabs(a.sum) >= fabs(x) ? x : a.sum;
    double lost = a.lost + ((big - total) + small);
    return (struct compensated){total, isinf(total) ? 0.0 : lost};
}

/* As Prometheus 2.42 has it: what is lost to an infinite total is infinite or NaN, and stays. */
static inline struct compensated compensated_add_2(struct compensated a, double x)
{
    double total = a.sum + x;
    double lost = fabs(a.sum) >= fabs(x) ? (a.sum - total) + x : (x - total) + a.sum;
    return (struct compensated){total, a.lost + lost};
}

#endif
