/* backend/kernels/extrapolate.c: see extrapolate.h.
 *
 * Compiled without regard for which operation sets a flag of the processor (CMakeLists.txt): what a number is chosen
 * from may be computed in vain, and the loop has no branches, which would keep it from being vectorised.
 */
#include "backend/kernels/extrapolate.h"

#include <math.h>

#include "base/vectors.h"

static inline __attribute__((always_inline)) void stretch(const struct extrapolation *e, bool counter, bool per_second,
                                                          bool zero_first, double *values)
{
    double stretched[EXTRAPOLATED_MAX];
    for (size_t i = 0; i < e->n; i++) {
        double sampled = e->sampled_ms[i] / 1000, to_start = e->to_start_ms[i] / 1000, to_end = e->to_end_ms[i] / 1000;
        double mean_gap = sampled / e->gaps[i], threshold = mean_gap * 1.1, half_gap = mean_gap / 2;
        double back = sampled * (e->first[i] / e->increase[i]);
        double to_zero = e->increase[i] > 0 ? back : INFINITY;
        to_zero = e->first[i] >= 0 ? to_zero : INFINITY;
        to_zero = counter ? to_zero : INFINITY;
        if (zero_first)
            to_start = to_zero < to_start ? to_zero : to_start;
        to_start = to_start >= threshold ? half_gap : to_start;
        if (!zero_first)
            to_start = to_zero < to_start ? to_zero : to_start;
        to_end = to_end >= threshold ? half_gap : to_end;
        double factor = (sampled + to_start + to_end) / sampled;
        stretched[i] = e->increase[i] * (per_second ? factor / e->length_s : factor);
    }
    for (size_t i = 0; i < e->n; i++)
        values[e->step[i]] = stretched[i];
}

WIDE_VECTORS void extrapolate(const struct extrapolation *e, double *values)
{
    if (!e->counter)
        stretch(e, false, e->per_second, e->zero_first, values);
    else if (e->per_second)
        stretch(e, true, true, e->zero_first, values);
    else
        stretch(e, true, false, e->zero_first, values);
}
