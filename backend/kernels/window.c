/* backend/kernels/window.c: see window.h.
 *
 * One driver moves the window's bounds along the samples; one function per kernel computes a window's value. The driver
 * is compiled once per kernel, with the function inlined, because a grid has millions of windows.
 */
#include "backend/kernels/window.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "backend/kernels/compensated.h"
#include "backend/kernels/extrapolate.h"
#include "backend/kernels/select.h"
#include "base/assert.h"
#include "base/float_text.h"
#include "base/vectors.h"

/* The samples inside one window; n is at least the kernel's fewest. */
struct window {
    const int64_t *time_ms;
    const double *value;
    const int64_t *weight; /* NULL: 1 each; that of the first counts as 1 */
    size_t n;
    size_t count; /* what they stand for; n without weights */
    int64_t end_ms;
    int64_t length_ms;
    bool closed;
    bool falls; /* some value is lower than the one before it; only kept for kernels that want it */
    const struct window_parameters *with;
};

/* Windows are closed before Prometheus 3.0, and its sums of that time treat infinities otherwise. */
static inline struct compensated add_to(const struct window *w, struct compensated a, double x)
{
    return w->closed ? compensated_add_2(a, x) : compensated_add(a, x);
}

/* --- the instant selector ---
 * Source: promql/engine.go vectorSelectorSingle: the newest sample inside the lookback, none if it is a marker. */
static inline bool evaluate_LAST(const struct window *w, double *ret)
{
    *ret = w->value[w->n - 1];
    return !is_stale_marker(*ret);
}

/* Of that sample, its time. Source: rangeEvalTimestampFunctionOverVectorSelector. */
static inline bool evaluate_TIMESTAMP(const struct window *w, double *ret)
{
    *ret = (double)w->time_ms[w->n - 1] / 1000;
    return !is_stale_marker(w->value[w->n - 1]);
}

/* --- rate, increase, delta: extrapolate.h ---
 * Source: promql/functions.go extrapolatedRate. */
static inline __attribute__((always_inline)) void gather(struct extrapolation *e, const struct window *w, bool counter,
                                                         uint32_t step)
{
    size_t last = w->n - 1, at = e->n++;
    double increase = w->value[last] - w->value[0];
    if (counter && w->falls) {
        for (size_t i = 1; i < w->n; i++) {
            if (w->value[i] < w->value[i - 1])
                increase += w->value[i - 1];
        }
    }
    e->increase[at] = increase;
    e->first[at] = w->value[0];
    e->to_start_ms[at] = (double)(w->time_ms[0] - (w->end_ms - w->length_ms));
    e->to_end_ms[at] = (double)(w->end_ms - w->time_ms[last]);
    e->sampled_ms[at] = (double)(w->time_ms[last] - w->time_ms[0]);
    e->gaps[at] = (double)(w->count - 1);
    e->step[at] = step;
}

/* These have a driver of their own. */
#define evaluate_RATE     NULL
#define evaluate_INCREASE NULL
#define evaluate_DELTA    NULL

/* --- irate, idelta ---
 * Source: promql/functions.go instantValue: the last two samples; a counter that fell started from zero. */
static inline bool evaluate_IDELTA(const struct window *w, double *ret)
{
    *ret = w->value[w->n - 1] - w->value[w->n - 2];
    return true;
}

static inline bool evaluate_IRATE(const struct window *w, double *ret)
{
    double last = w->value[w->n - 1], before = w->value[w->n - 2];
    double difference = last < before ? last : last - before;
    *ret = difference / ((double)(w->time_ms[w->n - 1] - w->time_ms[w->n - 2]) / 1000);
    return true;
}

/* --- changes, resets ---
 * Source: promql/functions.go funcChanges, funcResets: two NaN in a row are no change; NaN never is a reset. */
static inline bool evaluate_CHANGES(const struct window *w, double *ret)
{
    size_t changes = 0;
    for (size_t i = 1; i < w->n; i++) {
        double now = w->value[i], before = w->value[i - 1];
        changes += now != before && !(isnan(now) && isnan(before));
    }
    *ret = (double)changes;
    return true;
}

static inline bool evaluate_RESETS(const struct window *w, double *ret)
{
    size_t resets = 0;
    for (size_t i = 1; w->falls && i < w->n; i++)
        resets += w->value[i] < w->value[i - 1];
    *ret = (double)resets;
    return true;
}

/* --- deriv, predict_linear ---
 * Source: promql/functions.go linearRegression, funcDeriv, funcPredictLinear: the least-squares line, by compensated
 * sums. A constant series has slope 0; if the constant is infinite, there is no line. */
struct line {
    double slope, at_origin;
};

static inline struct line regression(const struct window *w, int64_t origin_ms)
{
    struct compensated x_sum = {0, 0}, y_sum = {0, 0}, xy_sum = {0, 0}, xx_sum = {0, 0};
    bool constant = true;
    for (size_t i = 0; i < w->n; i++) {
        double x = (double)(w->time_ms[i] - origin_ms) / 1e3, y = w->value[i];
        if (i > 0 && y != w->value[0])
            constant = false;
        x_sum = add_to(w, x_sum, x);
        y_sum = add_to(w, y_sum, y);
        xy_sum = add_to(w, xy_sum, x * y);
        xx_sum = add_to(w, xx_sum, x * x);
    }
    if (constant)
        return isinf(w->value[0]) ? (struct line){NAN, NAN} : (struct line){0, w->value[0]};
    double n = (double)w->n;
    double sx = x_sum.sum + x_sum.lost, sy = y_sum.sum + y_sum.lost;
    double covariance = (xy_sum.sum + xy_sum.lost) - sx * sy / n;
    double variance = (xx_sum.sum + xx_sum.lost) - sx * sx / n;
    double slope = covariance / variance;
    return (struct line){slope, sy / n - slope * sx / n};
}

/* The first sample's time as origin keeps the sums small. */
static inline bool evaluate_DERIV(const struct window *w, double *ret)
{
    *ret = regression(w, w->time_ms[0]).slope;
    return true;
}

static inline bool evaluate_PREDICT_LINEAR(const struct window *w, double *ret)
{
    struct line line = regression(w, w->end_ms + w->with->shift_ms);
    *ret = line.slope * w->with->number[0] + line.at_origin;
    return true;
}

/* --- double_exponential_smoothing, which was holt_winters ---
 * Source: promql/functions.go funcDoubleExponentialSmoothing, calcTrendValue. */
static inline bool evaluate_DOUBLE_EXPONENTIAL_SMOOTHING(const struct window *w, double *ret)
{
    double smoothing = w->with->number[0], trending = w->with->number[1];
    double before = 0, now = w->value[0], trend = w->value[1] - w->value[0];
    for (size_t i = 1; i < w->n; i++) {
        double taken = smoothing * w->value[i];
        if (i > 1)
            trend = trending * (now - before) + (1 - trending) * trend;
        double kept = (1 - smoothing) * (now + trend);
        before = now;
        now = taken + kept;
    }
    *ret = now;
    return true;
}

static inline bool evaluate_HOLT_WINTERS(const struct window *w, double *ret)
{
    return evaluate_DOUBLE_EXPONENTIAL_SMOOTHING(w, ret);
}

/* --- *_over_time ---
 * Source: promql/functions.go funcSumOverTime, funcAvgOverTime, compareOverTime, varianceOverTime, … */
static inline bool evaluate_SUM_OVER_TIME(const struct window *w, double *ret)
{
    struct compensated sum = {0, 0};
    for (size_t i = 0; i < w->n; i++)
        sum = add_to(w, sum, w->value[i]);
    *ret = isinf(sum.sum) ? sum.sum : sum.sum + sum.lost;
    return true;
}

/* Prometheus 2.42: a running mean all along, which an infinity holds on to until one of the other sign, or NaN, comes.
 */
static inline double average_2(const struct window *w)
{
    struct compensated mean = {0, 0};
    for (size_t i = 0; i < w->n; i++) {
        double x = w->value[i], n = (double)(i + 1);
        bool held = isinf(mean.sum) && (isinf(x) ? (mean.sum > 0) == (x > 0) : !isnan(x));
        if (!held)
            mean = compensated_add_2(mean, x / n - mean.sum / n);
    }
    return isinf(mean.sum) ? mean.sum : mean.sum + mean.lost;
}

/* How many samples those after the first n stand for. */
static inline size_t count_after(const struct window *w, size_t n)
{
    size_t count = w->n - n;
    for (size_t i = n; w->weight && i < w->n; i++)
        count += (size_t)w->weight[i] - 1;
    return count;
}

/* The sum divided by the count; from the sample on where the sum would overflow, a running mean. */
static inline bool evaluate_AVG_OVER_TIME(const struct window *w, double *ret)
{
    if (w->closed) {
        *ret = average_2(w);
        return true;
    }
    struct compensated sum = {w->value[0], 0};
    size_t i = 1;
    for (; i < w->n; i++) {
        struct compensated next = compensated_add(sum, w->value[i]);
        if (isinf(next.sum))
            break;
        sum = next;
    }
    double n = (double)(w->count - count_after(w, i));
    if (i == w->n) {
        *ret = sum.sum / n + sum.lost / n;
        return true;
    }
    struct compensated mean = {sum.sum / n, sum.lost / n};
    for (; i < w->n; i++) {
        double weight = w->weight ? (double)w->weight[i] : 1, keep = n / (n + weight);
        n += weight;
        mean = compensated_add((struct compensated){keep * mean.sum, keep * mean.lost}, w->value[i] / n);
    }
    *ret = mean.sum + mean.lost;
    return true;
}

/* NaN loses against any number; of NaN only, NaN. */
static inline bool evaluate_MIN_OVER_TIME(const struct window *w, double *ret)
{
    double least = w->value[0];
    for (size_t i = 0; i < w->n; i++) {
        if (w->value[i] < least || isnan(least))
            least = w->value[i];
    }
    *ret = least;
    return true;
}

static inline bool evaluate_MAX_OVER_TIME(const struct window *w, double *ret)
{
    double most = w->value[0];
    for (size_t i = 0; i < w->n; i++) {
        if (w->value[i] > most || isnan(most))
            most = w->value[i];
    }
    *ret = most;
    return true;
}

static inline bool evaluate_COUNT_OVER_TIME(const struct window *w, double *ret)
{
    *ret = (double)w->count;
    return true;
}

static inline bool evaluate_LAST_OVER_TIME(const struct window *w, double *ret)
{
    *ret = w->value[w->n - 1];
    return true;
}

static inline bool evaluate_FIRST_OVER_TIME(const struct window *w, double *ret)
{
    *ret = w->value[0];
    return true;
}

/* Times in seconds. Of several extremes the newest; NaN gives way to whatever follows. */
static inline bool evaluate_TS_OF_FIRST_OVER_TIME(const struct window *w, double *ret)
{
    *ret = (double)w->time_ms[0] / 1000;
    return true;
}

static inline bool evaluate_TS_OF_LAST_OVER_TIME(const struct window *w, double *ret)
{
    *ret = (double)w->time_ms[w->n - 1] / 1000;
    return true;
}

static inline bool evaluate_TS_OF_MAX_OVER_TIME(const struct window *w, double *ret)
{
    size_t at = 0;
    for (size_t i = 0; i < w->n; i++) {
        if (w->value[i] >= w->value[at] || isnan(w->value[at]))
            at = i;
    }
    *ret = (double)w->time_ms[at] / 1000;
    return true;
}

static inline bool evaluate_TS_OF_MIN_OVER_TIME(const struct window *w, double *ret)
{
    size_t at = 0;
    for (size_t i = 0; i < w->n; i++) {
        if (w->value[i] <= w->value[at] || isnan(w->value[at]))
            at = i;
    }
    *ret = (double)w->time_ms[at] / 1000;
    return true;
}

static inline bool evaluate_QUANTILE_OVER_TIME(const struct window *w, double *ret)
{
    memcpy(w->with->scratch, w->value, w->n * sizeof *w->value);
    *ret = select_quantile(w->with->number[0], w->with->scratch, w->n);
    return true;
}

/* The median distance from the median. */
static inline bool evaluate_MAD_OVER_TIME(const struct window *w, double *ret)
{
    double *scratch = w->with->scratch;
    memcpy(scratch, w->value, w->n * sizeof *w->value);
    double median = select_quantile(0.5, scratch, w->n);
    for (size_t i = 0; i < w->n; i++)
        scratch[i] = fabs(w->value[i] - median);
    *ret = select_quantile(0.5, scratch, w->n);
    return true;
}

static inline bool evaluate_PRESENT_OVER_TIME(const struct window *w, double *ret)
{
    *ret = 1;
    return w->n > 0;
}

/* Welford's recurrence, mean and squares both compensated. */
static inline bool evaluate_STDVAR_OVER_TIME(const struct window *w, double *ret)
{
    struct compensated mean = {0, 0}, squares = {0, 0};
    for (size_t i = 0; i < w->n; i++) {
        double x = w->value[i], delta = x - (mean.sum + mean.lost);
        mean = add_to(w, mean, delta / (double)(i + 1));
        squares = add_to(w, squares, delta * (x - (mean.sum + mean.lost)));
    }
    *ret = (squares.sum + squares.lost) / (double)w->n;
    return true;
}

static inline bool evaluate_STDDEV_OVER_TIME(const struct window *w, double *ret)
{
    evaluate_STDVAR_OVER_TIME(w, ret);
    *ret = sqrt(*ret);
    return true;
}

/* --- the driver --- */

bool window_grid_is_valid(const struct window_grid *grid)
{
    int64_t length_ms;
    if (grid->step_ms <= 0 || grid->window_ms < 0 || grid->window_ms > WINDOW_TIME_MAX_MS ||
        grid->start_ms < -WINDOW_TIME_MAX_MS || grid->start_ms > WINDOW_TIME_MAX_MS)
        return false;
    return grid->steps == 0 || (!__builtin_mul_overflow(grid->step_ms, (int64_t)grid->steps - 1, &length_ms) &&
                                length_ms <= WINDOW_TIME_MAX_MS);
}

/* The bounds of the windows: both only ever move forward, so a grid costs one pass over the samples plus what the
 * windows themselves cost. `fall` is the newest sample lower than its predecessor: the window has one iff it lies
 * behind the window's first. */
struct bounds {
    size_t from, to, fall, weight;
};

static inline __attribute__((always_inline)) void next_window(struct bounds *b, const struct window_grid *grid,
                                                              uint32_t k, const struct samples *s, bool wants_falls,
                                                              bool weighted, struct window *w)
{
    const int64_t *time_ms = s->time_ms;
    w->end_ms = grid->start_ms + (int64_t)k * grid->step_ms;
    int64_t begin_ms = w->end_ms - grid->window_ms;
    for (; b->to < s->n && time_ms[b->to] <= w->end_ms; b->to++) {
        if (wants_falls && b->to > 0 && s->value[b->to] < s->value[b->to - 1])
            b->fall = b->to;
        b->weight += weighted ? (size_t)s->weight[b->to] : 0;
    }
    for (; b->from < b->to && (grid->closed ? time_ms[b->from] < begin_ms : time_ms[b->from] <= begin_ms); b->from++)
        b->weight -= weighted ? (size_t)s->weight[b->from] : 0;
    w->time_ms = time_ms + b->from;
    w->value = s->value + b->from;
    w->weight = weighted ? s->weight + b->from : NULL;
    w->n = b->to - b->from;
    w->count = weighted && w->n > 0 ? b->weight - (size_t)w->weight[0] + 1 : w->n;
    w->falls = b->fall > b->from;
}

/* rate, increase and delta: 64 windows at once. */
static inline __attribute__((always_inline)) uint32_t drive_extrapolated(const struct window_grid *grid,
                                                                         const struct samples *s, double *values,
                                                                         uint64_t *present, bool counter,
                                                                         bool per_second, bool weighted)
{
    struct window w = {.length_ms = grid->window_ms, .closed = grid->closed};
    struct bounds bounds = {0};
    struct extrapolation e; /* not zeroed: much of it stays unused */
    uint32_t present_n = 0;
    e.counter = counter;
    e.per_second = per_second;
    e.zero_first = grid->closed;
    e.length_s = (double)grid->window_ms / 1000;
    for (uint32_t k = 0; k < grid->steps; k += EXTRAPOLATED_MAX) {
        uint32_t end = grid->steps - k < EXTRAPOLATED_MAX ? grid->steps : k + EXTRAPOLATED_MAX;
        uint64_t bits = 0; /* not `present`, after a write to which the grid and all times would be read again */
        e.n = 0;
        for (uint32_t i = k; i < end; i++) {
            next_window(&bounds, grid, i, s, counter, weighted, &w);
            values[i] = 0;
            if (w.n < 2)
                continue;
            gather(&e, &w, counter, i);
            bits |= UINT64_C(1) << (i % 64);
        }
        present[k / 64] = bits;
        extrapolate(&e, values);
        present_n += (uint32_t)e.n;
    }
    return present_n;
}

static inline __attribute__((always_inline)) uint32_t drive(enum window_kernel_id id, const struct window_grid *grid,
                                                            const struct window_parameters *with,
                                                            const struct samples *s, double *values, uint64_t *present,
                                                            bool (*evaluate)(const struct window *, double *),
                                                            size_t fewest, bool wants_falls, bool weighted)
{
    PRE(window_grid_is_valid(grid));
    if (id == KERNEL_RATE || id == KERNEL_INCREASE || id == KERNEL_DELTA)
        return drive_extrapolated(grid, s, values, present, id != KERNEL_DELTA, id == KERNEL_RATE, weighted);
    struct window w = {.length_ms = grid->window_ms, .closed = grid->closed, .with = with};
    struct bounds bounds = {0};
    uint32_t present_n = 0;
    uint64_t bits = 0;
    for (uint32_t k = 0; k < grid->steps; k++) {
        next_window(&bounds, grid, k, s, wants_falls, weighted, &w);
        values[k] = 0;
        if (w.n >= fewest && evaluate(&w, &values[k])) {
            bits |= UINT64_C(1) << (k % 64);
            present_n++;
        } else {
            values[k] = 0;
        }
        if (k % 64 == 63 || k + 1 == grid->steps) {
            present[k / 64] = bits;
            bits = 0;
        }
    }
    return present_n;
}

#define KERNEL(id, name, fewest, markers, falls, ends, weighs, ranks, parameters)                                      \
    WIDE_VECTORS static uint32_t run_##id(const struct window_grid *grid, const struct window_parameters *with,        \
                                          const struct samples *samples, double *values, uint64_t *present)            \
    {                                                                                                                  \
        return (weighs) && samples->weight                                                                             \
                   ? drive(KERNEL_##id, grid, with, samples, values, present, evaluate_##id, fewest, falls, true)      \
                   : drive(KERNEL_##id, grid, with, samples, values, present, evaluate_##id, fewest, falls, false);    \
    }
#include "backend/kernels/window.def"
#undef KERNEL

const struct window_kernel window_kernels[KERNEL_MAX] = {
#define KERNEL(id, name, fewest, markers, falls, ends, weighs, ranks, parameters)                                      \
    [KERNEL_##id] = {name, markers, falls, ends, weighs, ranks, parameters, run_##id},
#include "backend/kernels/window.def"
#undef KERNEL
};

/* Source: promql/functions.go funcDoubleExponentialSmoothing. NaN passes. */
bool window_parameters_check(const struct window_kernel *kernel, const struct window_parameters *parameters,
                             char text[WINDOW_REFUSAL_MAX])
{
    static const char *const NAMES[2][2] = {{"smoothing", "sf"}, {"trend", "tf"}};
    if (kernel != &window_kernels[KERNEL_DOUBLE_EXPONENTIAL_SMOOTHING] &&
        kernel != &window_kernels[KERNEL_HOLT_WINTERS])
        return true;
    for (size_t i = 0; i < 2; i++) {
        double factor = parameters->number[i];
        if (!(factor <= 0 || factor >= 1))
            continue;
        snprintf(text, WINDOW_REFUSAL_MAX, "invalid %s factor. Expected: 0 < %s < 1, got: %f", NAMES[i][0], NAMES[i][1],
                 factor);
        return false;
    }
    return true;
}

size_t window_drop_markers(int64_t *time_ms, double *value, size_t n)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (is_stale_marker(value[i]))
            continue;
        time_ms[kept] = time_ms[i];
        value[kept] = value[i];
        kept++;
    }
    return kept;
}
