/* backend/kernels/window.h: PromQL's functions over the samples of one series, evaluated along a grid of windows.
 *
 * The only place that knows rate's formula. A kernel takes sorted samples and a grid of windows and fills one value and
 * one presence bit per step; presence is separate from NaN, which is a value like any other.
 *
 * Windows   end at start_ms + k * step_ms and reach back window_ms: closed [end - window, end] as Prometheus before 3.0
 *           has them, or left-open (end - window, end].
 * Markers   the instant selector (KERNEL_LAST, and KERNEL_TIMESTAMP, the time of its sample) has no value where the
 * newest sample of the window is a staleness marker. All others never see markers: window_drop_markers takes them out
 * beforehand. Exact     the same floating-point operations in the same order as Prometheus 3.5, or 2.42 where windows
 * are closed (each kernel names its source), so equal bits for equal samples. Shortcuts (bounds that move with two
 * pointers, reset loops skipped where no value falls) are taken only where they give the same bits. Threads   pure
 * functions. Memory: the caller's. Elsewhere: sums over series are fold.h.
 */
#ifndef PROMSPLIT_BACKEND_KERNELS_WINDOW_H
#define PROMSPLIT_BACKEND_KERNELS_WINDOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct window_grid {
    int64_t start_ms; /* end of the first window */
    int64_t step_ms;  /* > 0 */
    uint32_t steps;
    int64_t window_ms; /* >= 0 */
    bool closed;       /* left edge included: Prometheus before 3.0 */
};

/* Times and lengths stay below this, so that their sums and differences cannot overflow. run demands a valid grid. */
#define WINDOW_TIME_MAX_MS (INT64_MAX / 8)
bool window_grid_is_valid(const struct window_grid *grid);

/* The samples of one series, ascending in time. Arrays, as columns are. */
struct samples {
    const int64_t *time_ms;
    const double *value;
    size_t n;
    const int64_t *weight; /* of a thinned run (thin.h); NULL: 1 each */
};

/* A kernel's further arguments, constant along the grid.
 *   quantile_over_time             number[0] the quantile
 *   predict_linear                 number[0] seconds ahead; shift_ms: from a window's end to the evaluation's time
 *   double_exponential_smoothing   number[0] smoothing factor, number[1] trend factor
 * scratch: room for one number per sample, if the kernel ranks. */
struct window_parameters {
    double number[2];
    int64_t shift_ms;
    double *scratch;
};

enum window_kernel_id {
#define KERNEL(id, ...) KERNEL_##id,
#include "backend/kernels/window.def"
#undef KERNEL
    KERNEL_MAX
};

struct window_kernel {
    const char *name;  /* "rate"; "last" is the instant selector */
    bool sees_markers; /* false: call window_drop_markers first */
    bool wants_falls;  /* where a value is lower than the one before it matters */
    bool sees_ends; /* of a window it sees the first and last sample, how many there are, and falls if it wants them */
    bool weighs;    /* over a thinned run it needs the weights */
    bool ranks;     /* it needs scratch */
    const char *parameters; /* as in window.def */
    /* Fills values[0 … steps-1] and (steps + 63) / 64 words of presence bits; returns how many are present. Values of
     * absent steps are 0. */
    uint32_t (*run)(const struct window_grid *grid, const struct window_parameters *parameters,
                    const struct samples *samples, double *values, uint64_t *present);
};

extern const struct window_kernel window_kernels[KERNEL_MAX];

#define WINDOW_REFUSAL_MAX 128 /* bytes, with the final NUL */

/* False if PromQL fails over these arguments; then text says so in Prometheus's words. */
bool window_parameters_check(const struct window_kernel *kernel, const struct window_parameters *parameters,
                             char text[WINDOW_REFUSAL_MAX]);

/* Removes staleness markers in place; returns how many samples stay. */
size_t window_drop_markers(int64_t *time_ms, double *value, size_t n);

#endif
