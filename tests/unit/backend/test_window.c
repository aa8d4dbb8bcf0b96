/* tests/unit/backend/test_window.c: window functions.
 *
 * Three kinds of test: tables worked out by hand from the formulas of Prometheus's promql/functions.go; a brute-force
 * reference that selects each window by looking at every sample and computes in long double with textbook formulas;
 * and properties (presence, grids).
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "backend/kernels/bits.h"
#include "backend/kernels/window.h"
#include "base/assert.h"
#include "base/float_text.h"
#include "tests/unit/backend/random.h"

#define SAMPLES_MAX 400
#define STEPS_MAX   200

static double stale(void)
{
    return double_from_bits(STALE_NAN_BITS);
}

struct outcome {
    double values[STEPS_MAX];
    uint64_t present[(STEPS_MAX + 63) / 64];
    uint32_t present_n;
};

/* The arguments that all tests here use. */
static struct window_parameters parameters_of(enum window_kernel_id id)
{
    switch (id) {
    case KERNEL_QUANTILE_OVER_TIME:
        return (struct window_parameters){.number = {0.3}};
    case KERNEL_PREDICT_LINEAR:
        return (struct window_parameters){.number = {30}, .shift_ms = 20000};
    default:
        return (struct window_parameters){.number = {0.25, 0.5}};
    }
}

/* Runs a kernel the way the engine's functions do: markers are taken out unless the kernel sees them. */
static struct outcome run(enum window_kernel_id id, struct window_grid grid, const int64_t *times, const double *values,
                          size_t n)
{
    static int64_t t[SAMPLES_MAX];
    static double v[SAMPLES_MAX];
    static double scratch[SAMPLES_MAX];
    struct window_parameters parameters = parameters_of(id);
    struct outcome out = {.present_n = 0};
    parameters.scratch = scratch;
    memcpy(t, times, n * sizeof *t);
    memcpy(v, values, n * sizeof *v);
    if (!window_kernels[id].sees_markers)
        n = window_drop_markers(t, v, n);
    out.present_n =
        window_kernels[id].run(&grid, &parameters, &(struct samples){t, v, n, NULL}, out.values, out.present);
    return out;
}

static bool near(double a, double b, double tolerance)
{
    if (isnan(a) || isnan(b))
        return isnan(a) && isnan(b);
    if (isinf(a) || isinf(b))
        return a == b;
    return fabs(a - b) <= tolerance * fmax(fabs(a), fabs(b)) || fabs(a - b) < 1e-300;
}

/* --- tables --- */

#define NONE (-12345.5) /* "no value" in the tables below */

struct table_row {
    const char *what;
    enum window_kernel_id id;
    int64_t end_ms, window_ms;
    bool closed;
    size_t n;
    int64_t times[8];
    double values[8];
    double want;
};

static const struct table_row ROWS[] = {
    /* extrapolatedRate, by hand. Samples at 15 s gaps; mean gap 15, threshold 16.5. */
    {"both edges near: stretched to the whole window",
     KERNEL_INCREASE,
     60000,
     60000,
     false,
     4,
     {10000, 25000, 40000, 55000},
     {100, 110, 120, 130},
     30.0 * (45 + 10 + 5) / 45},
    {"rate is increase by the window's seconds",
     KERNEL_RATE,
     60000,
     60000,
     false,
     4,
     {10000, 25000, 40000, 55000},
     {100, 110, 120, 130},
     30.0 * (45 + 10 + 5) / 45 / 60},
    {"far edges: half a gap on either side",
     KERNEL_INCREASE,
     100000,
     100000,
     false,
     4,
     {30000, 45000, 60000, 75000},
     {1000, 1010, 1020, 1030},
     30.0 * (45 + 7.5 + 7.5) / 45},
    {"a counter is not stretched beyond its zero",
     KERNEL_INCREASE,
     60000,
     60000,
     false,
     4,
     {10000, 25000, 40000, 55000},
     {2, 12, 22, 32},
     30.0 * (45 + 45 * (2.0 / 30) + 5) / 45},
    {"a gauge is",
     KERNEL_DELTA,
     60000,
     60000,
     false,
     4,
     {10000, 25000, 40000, 55000},
     {2, 12, 22, 32},
     30.0 * (45 + 10 + 5) / 45},
    {"threshold first, then zero: the far edge gives half a gap although zero is 9 s away",
     KERNEL_INCREASE,
     100000,
     100000,
     false,
     4,
     {50000, 65000, 80000, 95000},
     {6, 16, 26, 36},
     30.0 * (45 + 7.5 + 5) / 45},
    {"before 3.0 zero came first: 9 s is nearer than the threshold",
     KERNEL_INCREASE,
     100000,
     100000,
     true,
     4,
     {50000, 65000, 80000, 95000},
     {6, 16, 26, 36},
     30.0 * (45 + 9 + 5) / 45},
    {"a reset adds what was lost",
     KERNEL_INCREASE,
     60000,
     60000,
     false,
     4,
     {15000, 30000, 45000, 60000},
     {100, 130, 10, 40},
     (40.0 - 100 + 130) * 60 / 45},
    {"delta knows no resets",
     KERNEL_DELTA,
     60000,
     60000,
     false,
     4,
     {15000, 30000, 45000, 60000},
     {100, 130, 10, 40},
     -60.0 * 60 / 45},
    {"one sample is no rate", KERNEL_RATE, 60000, 60000, false, 1, {30000}, {5}, NONE},
    {"a sample on the left edge is outside a left-open window",
     KERNEL_RATE,
     60000,
     60000,
     false,
     2,
     {0, 60000},
     {1, 7},
     NONE},
    {"and inside a closed one", KERNEL_RATE, 60000, 60000, true, 2, {0, 60000}, {100, 106}, 0.1},
    {"a marker is no sample of a rate",
     KERNEL_RATE,
     60000,
     60000,
     false,
     2,
     {30000, 45000},
     {1, 0 /* marker below */},
     NONE},
    {"a negative counter has no zero",
     KERNEL_INCREASE,
     60000,
     60000,
     false,
     2,
     {15000, 60000},
     {-3, 42},
     45.0 * 60 / 45},
    /* instantValue */
    {"irate: the last two", KERNEL_IRATE, 60000, 60000, false, 3, {10000, 30000, 50000}, {0, 100, 140}, 2},
    {"irate after a reset starts from zero",
     KERNEL_IRATE,
     60000,
     60000,
     false,
     3,
     {10000, 30000, 50000},
     {0, 100, 40},
     2},
    {"idelta", KERNEL_IDELTA, 60000, 60000, false, 3, {10000, 30000, 50000}, {0, 100, 40}, -60},
    /* funcChanges, funcResets */
    {"changes: NaN to NaN is none",
     KERNEL_CHANGES,
     60000,
     60000,
     false,
     6,
     {1, 2, 3, 4, 5, 6},
     {1, 1, NAN, NAN, 2, 3},
     3},
    {"resets: NaN is none", KERNEL_RESETS, 60000, 60000, false, 6, {1, 2, 3, 4, 5, 6}, {5, 3, NAN, 1, 4, 0}, 2},
    {"one sample has no changes", KERNEL_CHANGES, 60000, 60000, false, 1, {1}, {9}, 0},
    /* linearRegression */
    {"deriv of a line", KERNEL_DERIV, 60000, 60000, false, 4, {10000, 20000, 30000, 40000}, {3, 8, 13, 18}, 0.5},
    {"deriv of a constant", KERNEL_DERIV, 60000, 60000, false, 3, {10000, 20000, 30000}, {4, 4, 4}, 0},
    {"deriv of a constant infinity",
     KERNEL_DERIV,
     60000,
     60000,
     false,
     3,
     {10000, 20000, 30000},
     {INFINITY, INFINITY, INFINITY},
     NAN},
    {"deriv of NaN", KERNEL_DERIV, 60000, 60000, false, 2, {10000, 20000}, {NAN, NAN}, NAN},
    {"deriv of one sample", KERNEL_DERIV, 60000, 60000, false, 1, {10000}, {4}, NONE},
    /* the _over_time functions */
    {"sum is compensated", KERNEL_SUM_OVER_TIME, 60000, 60000, false, 4, {1, 2, 3, 4}, {1, 1e100, 1, -1e100}, 2},
    {"sum stays infinite", KERNEL_SUM_OVER_TIME, 60000, 60000, false, 3, {1, 2, 3}, {INFINITY, 1, 2}, INFINITY},
    {"sum of both infinities", KERNEL_SUM_OVER_TIME, 60000, 60000, false, 2, {1, 2}, {INFINITY, -INFINITY}, NAN},
    {"sum that overflows", KERNEL_SUM_OVER_TIME, 60000, 60000, false, 2, {1, 2}, {1.7e308, 1.7e308}, INFINITY},
    {"avg whose sum overflows",
     KERNEL_AVG_OVER_TIME,
     60000,
     60000,
     false,
     4,
     {1, 2, 3, 4},
     {1.6e308, 1.6e308, 1.6e308, 1.6e308},
     1.6e308},
    {"avg is compensated", KERNEL_AVG_OVER_TIME, 60000, 60000, false, 4, {1, 2, 3, 4}, {1, 1e100, 1, -1e100}, 0.5},
    {"avg with an infinity", KERNEL_AVG_OVER_TIME, 60000, 60000, false, 3, {1, 2, 3}, {1, INFINITY, 3}, INFINITY},
    {"avg of both infinities", KERNEL_AVG_OVER_TIME, 60000, 60000, false, 3, {1, 2, 3}, {-INFINITY, INFINITY, 3}, NAN},
    {"min passes over NaN", KERNEL_MIN_OVER_TIME, 60000, 60000, false, 3, {1, 2, 3}, {NAN, 4, NAN}, 4},
    {"max passes over NaN", KERNEL_MAX_OVER_TIME, 60000, 60000, false, 3, {1, 2, 3}, {NAN, -4, NAN}, -4},
    {"max of NaN only", KERNEL_MAX_OVER_TIME, 60000, 60000, false, 2, {1, 2}, {NAN, NAN}, NAN},
    {"count counts NaN", KERNEL_COUNT_OVER_TIME, 60000, 60000, false, 3, {1, 2, 3}, {NAN, 4, NAN}, 3},
    {"present", KERNEL_PRESENT_OVER_TIME, 60000, 60000, false, 1, {1}, {NAN}, 1},
    {"nothing is not present", KERNEL_PRESENT_OVER_TIME, 60000, 60000, false, 0, {0}, {0}, NONE},
    {"last is the newest", KERNEL_LAST_OVER_TIME, 60000, 60000, false, 3, {1, 2, 60000}, {1, 2, 3}, 3},
    {"stdvar", KERNEL_STDVAR_OVER_TIME, 60000, 60000, false, 4, {1, 2, 3, 4}, {2, 4, 4, 6}, 2},
    {"stddev", KERNEL_STDDEV_OVER_TIME, 60000, 60000, false, 8, {1, 2, 3, 4, 5, 6, 7, 8}, {2, 4, 4, 4, 5, 5, 7, 9}, 2},
    {"stddev of one", KERNEL_STDDEV_OVER_TIME, 60000, 60000, false, 1, {1}, {1e9}, 0},
    {"stddev of an infinity", KERNEL_STDDEV_OVER_TIME, 60000, 60000, false, 1, {1}, {INFINITY}, NAN},
    /* the same in 2.42, which closed windows are of */
    {"2.42: avg is a running mean", KERNEL_AVG_OVER_TIME, 60000, 60000, true, 3, {1, 2, 3}, {1, 2, 6}, 3},
    {"2.42: avg holds an infinity", KERNEL_AVG_OVER_TIME, 60000, 60000, true, 3, {1, 2, 3}, {1, INFINITY, 3}, INFINITY},
    {"2.42: avg of infinities", KERNEL_AVG_OVER_TIME, 60000, 60000, true, 2, {1, 2}, {INFINITY, INFINITY}, INFINITY},
    {"2.42: avg of both", KERNEL_AVG_OVER_TIME, 60000, 60000, true, 2, {1, 2}, {INFINITY, -INFINITY}, NAN},
    {"2.42: avg of infinity and NaN", KERNEL_AVG_OVER_TIME, 60000, 60000, true, 2, {1, 2}, {INFINITY, NAN}, NAN},
    {"2.42: sum that overflows", KERNEL_SUM_OVER_TIME, 60000, 60000, true, 2, {1, 2}, {1.7e308, 1.7e308}, INFINITY},
    {"2.42: squares that overflow", KERNEL_STDVAR_OVER_TIME, 60000, 60000, true, 2, {1, 2}, {9e307, 1.2e308}, NAN},
    {"squares that overflow", KERNEL_STDVAR_OVER_TIME, 60000, 60000, false, 2, {1, 2}, {9e307, 1.2e308}, INFINITY},
    {"first is the oldest", KERNEL_FIRST_OVER_TIME, 60000, 60000, false, 3, {0, 2, 60000}, {1, 2, 3}, 2},
    {"mad", KERNEL_MAD_OVER_TIME, 60000, 60000, false, 5, {1, 2, 3, 4, 5}, {4, 6, 2, 1, 13}, 2},
    {"mad of an even number", KERNEL_MAD_OVER_TIME, 60000, 60000, false, 4, {1, 2, 3, 4}, {1, 2, 4, 9}, 1.5},
    {"mad with NaN", KERNEL_MAD_OVER_TIME, 60000, 60000, false, 3, {1, 2, 3}, {1, NAN, 3}, 0},
    {"mad of infinities", KERNEL_MAD_OVER_TIME, 60000, 60000, false, 2, {1, 2}, {INFINITY, INFINITY}, NAN},
    {"quantile", KERNEL_QUANTILE_OVER_TIME, 60000, 60000, false, 3, {1, 2, 3}, {30, 10, 20}, 16},
    {"ts of first", KERNEL_TS_OF_FIRST_OVER_TIME, 60000, 60000, false, 3, {0, 250, 60000}, {1, 2, 3}, 0.25},
    {"ts of last", KERNEL_TS_OF_LAST_OVER_TIME, 60000, 60000, false, 3, {0, 250, 1250}, {1, 2, 3}, 1.25},
    {"ts of the newest max", KERNEL_TS_OF_MAX_OVER_TIME, 60000, 60000, false, 4, {1, 2, 500, 4000}, {1, 3, 3, 2}, 0.5},
    {"ts of the newest min", KERNEL_TS_OF_MIN_OVER_TIME, 60000, 60000, false, 4, {1, 2, 500, 4000}, {3, 1, 1, 2}, 0.5},
    {"ts of max passes over NaN",
     KERNEL_TS_OF_MAX_OVER_TIME,
     60000,
     60000,
     false,
     3,
     {1, 2000, 3000},
     {NAN, 1, NAN},
     2},
    {"ts of NaN only", KERNEL_TS_OF_MIN_OVER_TIME, 60000, 60000, false, 2, {1, 2000}, {NAN, NAN}, 2},
    /* 5 a second through (10 s, 3): at 60 s + 20 s it is 38, 30 s later 53 */
    {"predict along a line", KERNEL_PREDICT_LINEAR, 60000, 60000, false, 3, {10000, 20000, 30000}, {3, 8, 13}, 53},
    {"predict a constant", KERNEL_PREDICT_LINEAR, 60000, 60000, false, 2, {10000, 20000}, {4, 4}, 4},
    {"predict infinity", KERNEL_PREDICT_LINEAR, 60000, 60000, false, 2, {1, 2}, {INFINITY, INFINITY}, NAN},
    {"predict from one", KERNEL_PREDICT_LINEAR, 60000, 60000, false, 1, {10000}, {4}, NONE},
    /* sf 1/4, tf 1/2: 1 -> .25*5+.75*(1+4) = 5; trend 4 = .5*(5-1)+.5*4; .25*3+.75*9 = 7.5 */
    {"smoothing", KERNEL_DOUBLE_EXPONENTIAL_SMOOTHING, 60000, 60000, false, 3, {1, 2, 3}, {1, 5, 3}, 7.5},
    {"smoothing's old name", KERNEL_HOLT_WINTERS, 60000, 60000, false, 2, {1, 2}, {1, 5}, 5},
    {"smoothing one", KERNEL_HOLT_WINTERS, 60000, 60000, false, 1, {1}, {1}, NONE},
    /* the instant selector */
    {"newest sample in the lookback", KERNEL_LAST, 60000, 30000, false, 3, {29000, 31000, 61000}, {1, 2, 3}, 2},
    {"lookback's edge is outside", KERNEL_LAST, 60000, 30000, false, 1, {30000}, {1}, NONE},
    {"lookback's edge is inside before 3.0", KERNEL_LAST, 60000, 30000, true, 1, {30000}, {1}, 1},
    {"NaN is a value", KERNEL_LAST, 60000, 30000, false, 1, {60000}, {NAN}, NAN},
    {"its time", KERNEL_TIMESTAMP, 60000, 30000, false, 3, {29000, 31250, 61000}, {1, 2, 3}, 31.25},
    {"its time at the edge", KERNEL_TIMESTAMP, 60000, 30000, false, 1, {30000}, {1}, NONE},
    {"its time at the edge before 3.0", KERNEL_TIMESTAMP, 60000, 30000, true, 1, {30000}, {1}, 30},
    {"the time of NaN", KERNEL_TIMESTAMP, 60000, 30000, false, 1, {60000}, {NAN}, 60},
};

static void test_tables(void **state)
{
    for (size_t i = 0; i < ARRAY_LENGTH(ROWS); i++) {
        const struct table_row *row = &ROWS[i];
        double values[8];
        memcpy(values, row->values, sizeof values);
        if (strstr(row->what, "a marker is no sample"))
            values[1] = stale();
        struct window_grid grid = {row->end_ms, 1000, 1, row->window_ms, row->closed};
        struct outcome out = run(row->id, grid, row->times, values, row->n);
        bool has = out.present_n == 1;
        if (has != (row->want != NONE) || (has && !near(out.values[0], row->want, 1e-14)))
            fail_msg("%s: %s: got %.17g (%s), want %.17g", window_kernels[row->id].name, row->what, out.values[0],
                     has ? "present" : "absent", row->want);
    }
}

static void test_marker_ends_lookback(void **state)
{
    int64_t times[] = {10000, 20000, 50000};
    double values[] = {1, stale(), 2};
    struct window_grid grid = {10000, 5000, 10, 300000, false};
    struct outcome out = run(KERNEL_LAST, grid, times, values, 3);
    assert_int_equal(out.present[0], 0x303); /* steps 10 s, 15 s, then from 50 s */
    assert_true(out.values[0] == 1 && out.values[8] == 2);
    out = run(KERNEL_TIMESTAMP, grid, times, values, 3);
    assert_int_equal(out.present[0], 0x303);
    assert_true(out.values[1] == 10 && out.values[9] == 50);
    out = run(KERNEL_LAST_OVER_TIME, grid, times, values, 3);
    assert_int_equal(out.present[0], 0x3ff);
    assert_true(out.values[7] == 1);
}

static void test_only_the_marker_is_a_marker(void **state)
{
    int64_t times[] = {1, 2, 3, 4};
    double values[] = {double_from_bits(NORMAL_NAN_BITS), stale(), double_from_bits(STALE_NAN_BITS | 1), 7};
    assert_int_equal(window_drop_markers(times, values, 4), 3);
    assert_int_equal(times[1], 3);
    assert_int_equal(double_bits(values[1]), STALE_NAN_BITS | 1);
}

/* --- brute force --- */

struct chosen {
    size_t n;
    long double t[SAMPLES_MAX]; /* seconds */
    long double v[SAMPLES_MAX];
    bool newest_is_marker; /* decided on the double: conversions quiet a signalling NaN */
};

static struct chosen choose(struct window_grid g, uint32_t k, const int64_t *times, const double *values, size_t n,
                            bool markers)
{
    static struct chosen c;
    c.n = 0;
    int64_t end = g.start_ms + (int64_t)k * g.step_ms;
    for (size_t i = 0; i < n; i++) {
        bool after = g.closed ? times[i] >= end - g.window_ms : times[i] > end - g.window_ms;
        if (!after || times[i] > end || (!markers && double_bits(values[i]) == STALE_NAN_BITS))
            continue;
        c.t[c.n] = (long double)times[i] / 1000;
        c.v[c.n++] = values[i];
        c.newest_is_marker = double_bits(values[i]) == STALE_NAN_BITS;
    }
    return c;
}

static long double reference_increase(const struct chosen *c, long double begin, long double end, bool counter,
                                      bool old_order)
{
    long double delta = c->v[c->n - 1] - c->v[0];
    for (size_t i = 1; counter && i < c->n; i++)
        delta += c->v[i] < c->v[i - 1] ? c->v[i - 1] : 0;
    long double span = c->t[c->n - 1] - c->t[0], gap = span / (long double)(c->n - 1);
    long double left = c->t[0] - begin, right = end - c->t[c->n - 1];
    /* Edges exactly at the threshold are decided in double, as the formula is. */
    double limit = (double)gap * 1.1;
    bool zero = counter && delta > 0 && c->v[0] >= 0;
    long double to_zero = zero ? span * (c->v[0] / delta) : 0;
    if (old_order && zero && to_zero < left)
        left = to_zero;
    left = (double)left >= limit ? gap / 2 : left;
    if (!old_order && zero && to_zero < left)
        left = to_zero;
    right = (double)right >= limit ? gap / 2 : right;
    return delta * ((span + left + right) / span);
}

static long double reference_moment(const struct chosen *c)
{
    long double mean = 0, squares = 0;
    for (size_t i = 0; i < c->n; i++)
        mean += c->v[i] / (long double)c->n;
    for (size_t i = 0; i < c->n; i++)
        squares += (c->v[i] - mean) * (c->v[i] - mean);
    return squares / (long double)c->n;
}

static long double reference_slope(const struct chosen *c)
{
    long double mt = 0, mv = 0, tv = 0, tt = 0;
    bool same = true;
    for (size_t i = 0; i < c->n; i++) {
        mt += c->t[i] / (long double)c->n;
        mv += c->v[i] / (long double)c->n;
        same = same && c->v[i] == c->v[0];
    }
    for (size_t i = 0; i < c->n; i++) {
        tv += (c->t[i] - mt) * (c->v[i] - mv);
        tt += (c->t[i] - mt) * (c->t[i] - mt);
    }
    return same && !isinf(c->v[0]) ? 0 : tv / tt;
}

/* The line at 30 s after the evaluation, which is 20 s after the window's end. */
static long double reference_prediction(const struct chosen *c, long double end)
{
    long double mt = 0, mv = 0;
    for (size_t i = 0; i < c->n; i++) {
        mt += c->t[i] / (long double)c->n;
        mv += c->v[i] / (long double)c->n;
    }
    return mv + reference_slope(c) * (end + 50 - mt);
}

/* By recursion from the definition: level and trend after sample i. */
static void reference_smooth(const struct chosen *c, size_t i, long double *level, long double *trend)
{
    long double before, old_trend;
    if (i == 0) {
        *level = c->v[0];
        *trend = c->v[1] - c->v[0];
        return;
    }
    reference_smooth(c, i - 1, &before, &old_trend);
    *level = 0.25L * c->v[i] + 0.75L * (before + old_trend);
    *trend = 0.5L * (*level - before) + 0.5L * old_trend;
}

static long double reference_smoothed(const struct chosen *c)
{
    long double level, trend;
    reference_smooth(c, c->n - 1, &level, &trend);
    return level;
}

/* The value that `rank` others are below, NaN the least, by counting. */
static long double reference_ranked(const long double *v, size_t n, size_t rank)
{
    for (size_t i = 0; i < n; i++) {
        size_t below = 0, equal = 0;
        for (size_t j = 0; j < n; j++) {
            below += isnan(v[i]) ? 0 : isnan(v[j]) || v[j] < v[i];
            equal += v[j] == v[i] || (isnan(v[i]) && isnan(v[j]));
        }
        if (below <= rank && rank < below + equal)
            return v[i];
    }
    return NAN;
}

static long double reference_quantile(double phi, const long double *v, size_t n)
{
    double rank = phi * (double)(n - 1), weight = rank - floor(rank);
    size_t low = (size_t)rank, high = low + 1 < n ? low + 1 : n - 1;
    return reference_ranked(v, n, low) * (1 - weight) + reference_ranked(v, n, high) * weight;
}

static long double reference_mad(const struct chosen *c)
{
    static long double distance[SAMPLES_MAX];
    long double median = reference_quantile(0.5, c->v, c->n);
    for (size_t i = 0; i < c->n; i++)
        distance[i] = fabsl(c->v[i] - median);
    return reference_quantile(0.5, distance, c->n);
}

static long double reference_extreme(const struct chosen *c, bool most);

/* The newest time of that extreme; of NaN only, the newest. */
static long double reference_extreme_time(const struct chosen *c, bool most)
{
    long double best = reference_extreme(c, most), at = c->t[c->n - 1];
    for (size_t i = 0; i < c->n && !isnan(best); i++)
        at = c->v[i] == best ? c->t[i] : at;
    return at;
}

static long double reference_extreme(const struct chosen *c, bool most)
{
    long double best = NAN;
    for (size_t i = 0; i < c->n; i++) {
        if (!isnan(c->v[i]) && (isnan(best) || (most ? c->v[i] > best : c->v[i] < best)))
            best = c->v[i];
    }
    return best;
}

static long double reference_count(const struct chosen *c, bool falls)
{
    long double n = 0;
    for (size_t i = 1; i < c->n; i++) {
        bool both_nan = isnan(c->v[i]) && isnan(c->v[i - 1]);
        n += falls ? c->v[i] < c->v[i - 1] : !both_nan && !(c->v[i] == c->v[i - 1]);
    }
    return n;
}

static long double reference_sum(const struct chosen *c)
{
    long double sum = 0;
    for (size_t i = 0; i < c->n; i++)
        sum += c->v[i];
    return sum;
}

/* False: no value. */
static bool reference(enum window_kernel_id id, struct window_grid g, uint32_t k, const int64_t *times,
                      const double *values, size_t n, long double *ret)
{
    struct chosen c = choose(g, k, times, values, n, id == KERNEL_LAST || id == KERNEL_TIMESTAMP);
    int64_t end_ms = g.start_ms + (int64_t)k * g.step_ms;
    long double end = (long double)end_ms / 1000, begin = (long double)(end_ms - g.window_ms) / 1000;
    bool pair = id == KERNEL_RATE || id == KERNEL_INCREASE || id == KERNEL_DELTA || id == KERNEL_IRATE ||
                id == KERNEL_IDELTA || id == KERNEL_DERIV || id == KERNEL_PREDICT_LINEAR ||
                id == KERNEL_DOUBLE_EXPONENTIAL_SMOOTHING || id == KERNEL_HOLT_WINTERS;
    if (c.n < (pair ? 2 : 1))
        return false;
    long double last = c.v[c.n - 1], before = pair ? c.v[c.n - 2] : 0;
    switch (id) {
    case KERNEL_LAST:
        *ret = last;
        return !c.newest_is_marker;
    case KERNEL_TIMESTAMP:
        *ret = c.t[c.n - 1];
        return !c.newest_is_marker;
    case KERNEL_RATE:
        *ret = reference_increase(&c, begin, end, true, g.closed) / ((long double)g.window_ms / 1000);
        return true;
    case KERNEL_INCREASE:
    case KERNEL_DELTA:
        *ret = reference_increase(&c, begin, end, id == KERNEL_INCREASE, g.closed);
        return true;
    case KERNEL_IRATE:
        *ret = (last < before ? last : last - before) / (c.t[c.n - 1] - c.t[c.n - 2]);
        return true;
    case KERNEL_IDELTA:
        *ret = last - before;
        return true;
    case KERNEL_CHANGES:
    case KERNEL_RESETS:
        *ret = reference_count(&c, id == KERNEL_RESETS);
        return true;
    case KERNEL_DERIV:
        *ret = reference_slope(&c);
        return true;
    case KERNEL_SUM_OVER_TIME:
        *ret = reference_sum(&c);
        return true;
    case KERNEL_AVG_OVER_TIME:
        *ret = reference_sum(&c) / (long double)c.n;
        return true;
    case KERNEL_MIN_OVER_TIME:
    case KERNEL_MAX_OVER_TIME:
        *ret = reference_extreme(&c, id == KERNEL_MAX_OVER_TIME);
        return true;
    case KERNEL_COUNT_OVER_TIME:
        *ret = (long double)c.n;
        return true;
    case KERNEL_LAST_OVER_TIME:
        *ret = last;
        return true;
    case KERNEL_PRESENT_OVER_TIME:
        *ret = 1;
        return true;
    case KERNEL_STDVAR_OVER_TIME:
        *ret = reference_moment(&c);
        return true;
    case KERNEL_STDDEV_OVER_TIME:
        *ret = sqrtl(reference_moment(&c));
        return true;
    case KERNEL_FIRST_OVER_TIME:
        *ret = c.v[0];
        return true;
    case KERNEL_MAD_OVER_TIME:
        *ret = reference_mad(&c);
        return true;
    case KERNEL_TS_OF_FIRST_OVER_TIME:
        *ret = c.t[0];
        return true;
    case KERNEL_TS_OF_LAST_OVER_TIME:
        *ret = c.t[c.n - 1];
        return true;
    case KERNEL_TS_OF_MAX_OVER_TIME:
    case KERNEL_TS_OF_MIN_OVER_TIME:
        *ret = reference_extreme_time(&c, id == KERNEL_TS_OF_MAX_OVER_TIME);
        return true;
    case KERNEL_QUANTILE_OVER_TIME:
        *ret = reference_quantile(0.3, c.v, c.n);
        return true;
    case KERNEL_PREDICT_LINEAR:
        *ret = reference_prediction(&c, end);
        return true;
    case KERNEL_DOUBLE_EXPONENTIAL_SMOOTHING:
    case KERNEL_HOLT_WINTERS:
        *ret = reference_smoothed(&c);
        return true;
    case KERNEL_MAX:
        break;
    }
    return false;
}

enum flavour {
    FLAVOUR_COUNTER,
    FLAVOUR_GAUGE,
    FLAVOUR_SPECIAL, /* NaN, infinities, zeros of both signs */
    FLAVOUR_MAX
};

static double next_value(struct random *r, enum flavour flavour, double before)
{
    if (flavour == FLAVOUR_COUNTER)
        return random_below(r, 12) == 0 ? (double)random_below(r, 5) : before + (double)random_below(r, 40);
    if (flavour == FLAVOUR_SPECIAL && random_below(r, 5) == 0) {
        const double odd[] = {NAN, INFINITY, -INFINITY, 0.0, -0.0, 1e300};
        return odd[random_below(r, ARRAY_LENGTH(odd))];
    }
    return random_below(r, 4) == 0 ? before : random_unit(r) * 200 - 100;
}

/* Times near multiples of 5 s, half of them exactly on one, so that windows' edges are hit; gaps of all lengths. */
static size_t make_samples(struct random *r, int64_t *times, double *values)
{
    size_t n = random_below(r, SAMPLES_MAX);
    enum flavour flavour = (enum flavour)random_below(r, FLAVOUR_MAX);
    int64_t slot = 0;
    double value = 0;
    for (size_t i = 0; i < n; i++) {
        slot += random_below(r, 15) == 0 ? (int64_t)random_below(r, 80) : 1;
        times[i] = slot * 5000 + (random_below(r, 2) ? 0 : (int64_t)random_below(r, 4000) - 2000);
        slot++;
        value = next_value(r, flavour, isfinite(value) ? value : 0);
        values[i] = random_below(r, 25) == 0 ? stale() : value;
    }
    return n;
}

static struct window_grid make_grid(struct random *r)
{
    const int64_t windows[] = {5000, 10000, 30000, 60000, 300000, 12345, 1};
    const int64_t steps[] = {5000, 15000, 1000, 60000, 7777};
    return (struct window_grid){
        .start_ms = (int64_t)random_below(r, 100) * 5000 - 100000,
        .step_ms = steps[random_below(r, ARRAY_LENGTH(steps))],
        .steps = 1 + (uint32_t)random_below(r, STEPS_MAX),
        .window_ms = windows[random_below(r, ARRAY_LENGTH(windows))],
        .closed = random_below(r, 2),
    };
}

/* deriv, stddev and differences lose digits to cancellation: what counts is the error against the size of the data. */
static double tolerance_of(enum window_kernel_id id)
{
    switch (id) {
    case KERNEL_DERIV:
    case KERNEL_PREDICT_LINEAR:
    case KERNEL_STDDEV_OVER_TIME:
        return 1e-6;
    case KERNEL_STDVAR_OVER_TIME:
    case KERNEL_SUM_OVER_TIME:
    case KERNEL_AVG_OVER_TIME:
        return 1e-9;
    default:
        return 1e-11;
    }
}

static bool agrees(enum window_kernel_id id, double got, long double want)
{
    /* 1e300 squared is beyond double, not beyond long double. */
    bool beyond = fabsl(want) > 1e290L && !isinf(want) &&
                  (id == KERNEL_STDDEV_OVER_TIME || id == KERNEL_STDVAR_OVER_TIME || id == KERNEL_DERIV ||
                   id == KERNEL_PREDICT_LINEAR);
    double tolerance = tolerance_of(id);
    return beyond || near(got, (double)want, tolerance) || fabs(got - (double)want) < tolerance;
}

static void test_brute_force(void **state)
{
    static int64_t times[SAMPLES_MAX];
    static double values[SAMPLES_MAX];
    size_t compared = 0;
    for (uint64_t seed = 1; seed <= 400; seed++) {
        struct random r = random_from(seed);
        size_t n = make_samples(&r, times, values);
        struct window_grid grid = make_grid(&r);
        for (int id = 0; id < KERNEL_MAX; id++) {
            struct outcome out = run((enum window_kernel_id)id, grid, times, values, n);
            uint32_t present_n = 0;
            for (uint32_t k = 0; k < grid.steps; k++) {
                long double want = 0;
                bool has = bits_get(out.present, k);
                bool expected = reference((enum window_kernel_id)id, grid, k, times, values, n, &want);
                present_n += has;
                if (has != expected || (has && !agrees((enum window_kernel_id)id, out.values[k], want)))
                    fail_msg("seed %d, %s, step %u: got %.17g (%d), want %.17Lg (%d)", (int)seed,
                             window_kernels[id].name, k, out.values[k], has, want, expected);
                compared += has;
            }
            assert_int_equal(present_n, out.present_n);
        }
    }
    assert_true(compared > 100000);
}

/* Source: promql/functions.go funcDoubleExponentialSmoothing. */
static void test_refused_parameters(void **state)
{
    char text[WINDOW_REFUSAL_MAX];
    const struct window_kernel *smoothing = &window_kernels[KERNEL_DOUBLE_EXPONENTIAL_SMOOTHING];
    assert_true(window_parameters_check(smoothing, &(struct window_parameters){.number = {0.5, 0.1}}, text));
    assert_true(window_parameters_check(smoothing, &(struct window_parameters){.number = {NAN, 0.1}}, text));
    assert_false(window_parameters_check(smoothing, &(struct window_parameters){.number = {1, 0.1}}, text));
    assert_string_equal(text, "invalid smoothing factor. Expected: 0 < sf < 1, got: 1.000000");
    assert_false(window_parameters_check(smoothing, &(struct window_parameters){.number = {0.5, -2}}, text));
    assert_string_equal(text, "invalid trend factor. Expected: 0 < tf < 1, got: -2.000000");
    assert_true(window_parameters_check(&window_kernels[KERNEL_QUANTILE_OVER_TIME],
                                        &(struct window_parameters){.number = {7}}, text));
}

/* --- grids --- */

static void test_a_grid_is_its_steps(void **state)
{
    static int64_t times[SAMPLES_MAX];
    static double values[SAMPLES_MAX];
    struct random r = random_from(77);
    for (int round = 0; round < 50; round++) {
        size_t n = make_samples(&r, times, values);
        struct window_grid grid = make_grid(&r);
        for (int id = 0; id < KERNEL_MAX; id++) {
            struct outcome all = run((enum window_kernel_id)id, grid, times, values, n);
            for (uint32_t k = 0; k < grid.steps; k += 7) {
                struct window_grid one = grid;
                one.start_ms += (int64_t)k * grid.step_ms;
                one.steps = 1;
                struct outcome single = run((enum window_kernel_id)id, one, times, values, n);
                assert_int_equal(bits_get(all.present, k), bits_get(single.present, 0));
                assert_true(double_bits(all.values[k]) == double_bits(single.values[0]));
            }
        }
    }
}

static void test_valid_grids(void **state)
{
    assert_true(window_grid_is_valid(&(struct window_grid){0, 1, 11000, 0, false}));
    assert_true(window_grid_is_valid(&(struct window_grid){-1000, 1, 0, 5, false}));
    assert_false(window_grid_is_valid(&(struct window_grid){0, 0, 1, 0, false}));
    assert_false(window_grid_is_valid(&(struct window_grid){0, 1, 1, -1, false}));
    assert_false(window_grid_is_valid(&(struct window_grid){INT64_MAX, 1, 1, 1, false}));
    assert_false(window_grid_is_valid(&(struct window_grid){INT64_MIN, 1, 1, 1, false}));
    assert_false(window_grid_is_valid(&(struct window_grid){0, INT64_MAX, 3, 1, false}));
    assert_false(window_grid_is_valid(&(struct window_grid){0, 1, 3, INT64_MAX, false}));
}

static void test_bits(void **state)
{
    struct random r = random_from(5);
    for (int round = 0; round < 2000; round++) {
        uint64_t source[6], loaded[6] = {0}, target[6], before[6];
        for (int i = 0; i < 6; i++) {
            source[i] = random_next(&r);
            target[i] = before[i] = random_next(&r);
        }
        size_t n = random_below(&r, 200), from = random_below(&r, 150), to = random_below(&r, 150), set = 0;
        size_t counted = bits_load(loaded, source, from, n);
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(bits_get(loaded, i), bits_get(source, from + i));
            set += bits_get(source, from + i);
        }
        assert_int_equal(counted, set);
        bits_store(target, to, loaded, n);
        for (size_t i = 0; i < 6 * 64; i++) {
            bool inside = i >= to && i < to + n;
            assert_int_equal(bits_get(target, i), inside ? bits_get(loaded, i - to) : bits_get(before, i));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_marker_ends_lookback),
        cmocka_unit_test(test_only_the_marker_is_a_marker),
        cmocka_unit_test(test_brute_force),
        cmocka_unit_test(test_refused_parameters),
        cmocka_unit_test(test_a_grid_is_its_steps),
        cmocka_unit_test(test_valid_grids),
        cmocka_unit_test(test_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
