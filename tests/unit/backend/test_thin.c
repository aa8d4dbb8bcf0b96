/* tests/unit/backend/test_thin.c: over windows of whole buckets, functions give the same of a run and of its thinned
 * run: equal bits of edges, sums to 1e-13 of what was added. Runs are thinned in parts, cut anywhere, with plain
 * samples behind, as the store has them. Over any windows, functions that see their ends give equal bits of the samples
 * marked for those windows. */
#include <float.h>
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
#include "backend/kernels/thin.h"
#include "base/assert.h"
#include "base/float_text.h"
#include "tests/unit/backend/random.h"

#define SAMPLES_MAX 600
#define STEPS_MAX   64
#define LEVEL_MS    60000

struct run {
    int64_t time_ms[SAMPLES_MAX];
    double value[SAMPLES_MAX];
    int64_t weight[SAMPLES_MAX];
    size_t n;
};

static const enum window_kernel_id OF_EDGES[] = {
    KERNEL_RATE,
    KERNEL_INCREASE,
    KERNEL_DELTA,
    KERNEL_RESETS,
    KERNEL_MIN_OVER_TIME,
    KERNEL_MAX_OVER_TIME,
    KERNEL_LAST_OVER_TIME,
    KERNEL_FIRST_OVER_TIME,
    KERNEL_COUNT_OVER_TIME,
    KERNEL_PRESENT_OVER_TIME,
    KERNEL_TS_OF_FIRST_OVER_TIME,
    KERNEL_TS_OF_LAST_OVER_TIME,
    KERNEL_TS_OF_MIN_OVER_TIME,
    KERNEL_TS_OF_MAX_OVER_TIME,
};
static const enum window_kernel_id OF_SUMS[] = {KERNEL_SUM_OVER_TIME, KERNEL_AVG_OVER_TIME};

static double random_value(struct random *seed, unsigned kind, double before)
{
    static const double ODD[] = {NAN, INFINITY, -INFINITY, -0.0, 0.0, 1e308, -1e308, 5e-324};
    switch (kind) {
    case 0: /* a counter */
        return random_below(seed, 15) == 0 ? random_unit(seed) * 10 : before + (double)random_below(seed, 3) * 0.1;
    case 1: /* a gauge of few values */
        return (double)random_below(seed, 4) - 1.5;
    case 2:
        return random_below(seed, 5) == 0 ? ODD[random_below(seed, ARRAY_LENGTH(ODD))] : random_unit(seed) * 1e6 - 5e5;
    default:
        return ODD[random_below(seed, ARRAY_LENGTH(ODD))];
    }
}

static void random_run(struct random *seed, struct run *run)
{
    unsigned kind = (unsigned)random_below(seed, 4);
    int64_t at_ms = (int64_t)random_below(seed, 4 * LEVEL_MS) - 3 * LEVEL_MS;
    double value = 1;
    run->n = random_below(seed, SAMPLES_MAX);
    for (size_t i = 0; i < run->n; i++) {
        bool aligned = random_below(seed, 4) == 0, far = random_below(seed, 40) == 0;
        at_ms += 1 + (int64_t)random_below(seed, far ? 5 * LEVEL_MS : LEVEL_MS / 3);
        if (aligned && at_ms % LEVEL_MS != 0)
            at_ms += LEVEL_MS / 2 - at_ms % (LEVEL_MS / 2); /* edges of buckets, often */
        value = random_value(seed, kind, isfinite(value) ? value : 0);
        run->time_ms[i] = at_ms;
        run->value[i] = value;
    }
}

/* The run thinned in parts; of the last part all samples. */
static void thin_parts(struct random *seed, enum thin_kind kind, const struct run *run, struct run *ret)
{
    ret->n = 0;
    for (size_t from = 0, n; from < run->n; from += n) {
        n = 1 + random_below(seed, run->n - from);
        struct samples part = {run->time_ms + from, run->value + from, n, NULL};
        struct thinned out = {ret->time_ms + ret->n, ret->value + ret->n, ret->weight + ret->n};
        if (from + n == run->n && random_below(seed, 2)) {
            memcpy(out.time_ms, part.time_ms, n * sizeof *out.time_ms);
            memcpy(out.value, part.value, n * sizeof *out.value);
            for (size_t i = 0; i < n; i++)
                out.weight[i] = 1;
            ret->n += n;
        } else {
            ret->n += thin(kind, &part, LEVEL_MS, &out);
        }
    }
    int64_t weights = 0;
    for (size_t i = 0; i < ret->n; i++)
        weights += ret->weight[i];
    assert_int_equal(weights, run->n);
}

struct outcome {
    double values[STEPS_MAX];
    uint64_t present[(STEPS_MAX + 63) / 64];
    uint32_t present_n;
};

static struct outcome evaluate(enum window_kernel_id id, const struct window_grid *grid, const struct run *run,
                               bool weighted)
{
    struct outcome out = {.present_n = 0};
    struct window_parameters none = {.shift_ms = 0};
    struct samples samples = {run->time_ms, run->value, run->n,
                              weighted && window_kernels[id].weighs ? run->weight : NULL};
    out.present_n = window_kernels[id].run(grid, &none, &samples, out.values, out.present);
    return out;
}

static struct window_grid random_grid(struct random *seed, bool closed)
{
    return (struct window_grid){.start_ms = ((int64_t)random_below(seed, 20) - 5) * LEVEL_MS,
                                .step_ms = (1 + (int64_t)random_below(seed, 4)) * LEVEL_MS,
                                .steps = 1 + (uint32_t)random_below(seed, STEPS_MAX),
                                .window_ms = (1 + (int64_t)random_below(seed, 10)) * LEVEL_MS,
                                .closed = closed};
}

/* What the window's samples add up to in absolute value: the measure of a sum's rounding. */
static double total_of(const struct run *run, const struct window_grid *grid, uint32_t k)
{
    int64_t end_ms = grid->start_ms + (int64_t)k * grid->step_ms;
    double total = 0;
    for (size_t i = 0; i < run->n; i++)
        total += run->time_ms[i] > end_ms - grid->window_ms && run->time_ms[i] <= end_ms ? fabs(run->value[i]) : 0;
    return total;
}

static void expect_equal_bits(enum window_kernel_id id, const struct window_grid *grid, const struct run *run,
                              const struct run *thinned, uint64_t round)
{
    struct outcome want = evaluate(id, grid, run, false), got = evaluate(id, grid, thinned, true);
    assert_int_equal(want.present_n, got.present_n);
    for (uint32_t k = 0; k < grid->steps; k++) {
        bool same =
            isnan(want.values[k]) ? isnan(got.values[k]) : double_bits(want.values[k]) == double_bits(got.values[k]);
        if (!same || bits_get(want.present, k) != bits_get(got.present, k))
            fail_msg("round %llu, %s, step %u: %.17g and %.17g", (unsigned long long)round, window_kernels[id].name, k,
                     want.values[k], got.values[k]);
    }
}

static void edges_give_equal_bits(void **state)
{
    static struct run run, thinned;
    for (uint64_t round = 0; round < 20000; round++) {
        struct random seed = random_from(round);
        random_run(&seed, &run);
        struct window_grid grid = random_grid(&seed, round % 2);
        thin_parts(&seed, THIN_EDGES, &run, &thinned);
        for (size_t i = 0; i < ARRAY_LENGTH(OF_EDGES); i++)
            expect_equal_bits(OF_EDGES[i], &grid, &run, &thinned, round);
    }
}

/* Any windows, of any length and at any distance; a part may have none. */
static struct window_grid any_grid(struct random *seed, bool closed)
{
    int64_t longest_ms = random_below(seed, 2) ? LEVEL_MS : 30 * LEVEL_MS;
    return (struct window_grid){.start_ms = (int64_t)random_below(seed, 20 * LEVEL_MS) - 5 * LEVEL_MS,
                                .step_ms = 1 + (int64_t)random_below(seed, (uint64_t)longest_ms),
                                .steps = 1 + (uint32_t)random_below(seed, STEPS_MAX),
                                .window_ms = (int64_t)random_below(seed, 30 * LEVEL_MS),
                                .closed = closed};
}

/* The run in parts, of each what the windows need of it; how many samples are marked in all. */
static size_t keep_parts(struct random *seed, enum window_kernel_id id, const struct window_grid *grid,
                         const struct run *run, struct run *ret)
{
    uint64_t kept[(SAMPLES_MAX + 63) / 64];
    size_t marked = 0;
    ret->n = 0;
    for (size_t from = 0, n; from < run->n; from += n) {
        n = 1 + random_below(seed, run->n - from);
        struct samples part = {run->time_ms + from, run->value + from, n, NULL};
        marked += thin_to_windows(&window_kernels[id], grid, &part, kept);
        for (size_t i = 0, before = 0, in_part = 0; i < n; i++) {
            if (!bits_get(kept, i))
                continue;
            ret->time_ms[ret->n] = part.time_ms[i];
            ret->value[ret->n] = part.value[i];
            ret->weight[ret->n++] = in_part++ ? (int64_t)(i - before) : 1;
            before = i;
        }
    }
    return marked;
}

static void windows_see_their_ends(void **state)
{
    static struct run run, thinned;
    size_t all_n = 0, kept_n = 0;
    for (uint64_t round = 0; round < 20000; round++) {
        struct random seed = random_from(round);
        random_run(&seed, &run);
        struct window_grid grid = any_grid(&seed, round % 2);
        for (int id = 0; id < KERNEL_MAX; id++) {
            if (!window_kernels[id].sees_ends)
                continue;
            size_t marked = keep_parts(&seed, (enum window_kernel_id)id, &grid, &run, &thinned);
            assert_int_equal(marked, thinned.n);
            expect_equal_bits((enum window_kernel_id)id, &grid, &run, &thinned, round);
            all_n += run.n;
            kept_n += thinned.n;
        }
    }
    assert_in_range(kept_n, 1, all_n / 2); /* which is the point */
}

static void sums_are_close(void **state)
{
    static struct run run, thinned;
    for (uint64_t round = 0; round < 20000; round++) {
        struct random seed = random_from(round);
        random_run(&seed, &run);
        struct window_grid grid = random_grid(&seed, false);
        thin_parts(&seed, THIN_SUMS, &run, &thinned);
        for (size_t i = 0; i < ARRAY_LENGTH(OF_SUMS); i++) {
            struct outcome want = evaluate(OF_SUMS[i], &grid, &run, false),
                           got = evaluate(OF_SUMS[i], &grid, &thinned, true);
            assert_int_equal(want.present_n, got.present_n);
            for (uint32_t k = 0; k < grid.steps; k++) {
                double a = want.values[k], b = got.values[k], total = total_of(&run, &grid, k);
                bool same = isfinite(a) ? fabs(a - b) <= 1e-13 * fmin(total, DBL_MAX) : isnan(a) ? isnan(b) : a == b;
                if (!same)
                    fail_msg("round %llu, %s, step %u: %.17g and %.17g", (unsigned long long)round,
                             window_kernels[OF_SUMS[i]].name, k, a, b);
            }
        }
    }
}

/* What they are for: an hour at 15 s. */
static void counters_get_short(void **state)
{
    static struct run run, thinned;
    struct random seed = random_from(1);
    double value = 0;
    for (run.n = 0; run.n < 480; run.n++) {
        run.time_ms[run.n] = 3600000 + ((int64_t)run.n + 1) * 15000;
        run.value[run.n] = value += random_unit(&seed);
    }
    struct samples samples = {run.time_ms, run.value, run.n, NULL};
    struct thinned out = {thinned.time_ms, thinned.value, thinned.weight};
    for (int kind = THIN_EDGES; kind <= THIN_SUMS; kind++) {
        assert_int_equal(thin(kind, &samples, 3600000, &out), 4); /* two buckets */
        assert_int_equal(out.time_ms[0], run.time_ms[0]);
        assert_int_equal(out.time_ms[1], 7200000);
        assert_int_equal(out.weight[1], 239);
        assert_int_equal(out.weight[2], 1);
        assert_int_equal(out.time_ms[3], run.time_ms[479]);
    }
}

/* Two hours at 60 s; windows of an hour, every five minutes, that reach beyond them. */
static void hourly_windows_need_little(void **state)
{
    static struct run run;
    uint64_t kept[2];
    for (run.n = 0; run.n < 60; run.n++) {
        run.time_ms[run.n] = (int64_t)run.n * 60000 + 500;
        run.value[run.n] = run.n == 33 ? 1 : 2 + (double)run.n;
    }
    struct samples samples = {run.time_ms, run.value, run.n, NULL};
    struct window_grid grid = {.start_ms = 300000, .step_ms = 300000, .steps = 12, .window_ms = 3600000};
    assert_int_equal(thin_to_windows(&window_kernels[KERNEL_DELTA], &grid, &samples, kept), 13); /* ends, the first */
    assert_int_equal(thin_to_windows(&window_kernels[KERNEL_RATE], &grid, &samples, kept), 15);  /* and the fall */
    assert_true(bits_get(kept, 0) && bits_get(kept, 4) && bits_get(kept, 32) && bits_get(kept, 33));
    run.value[20] = NAN; /* 19 to 21 would look like a fall, if it was one */
    assert_int_equal(thin_to_windows(&window_kernels[KERNEL_RATE], &grid, &samples, kept), 60);
    assert_int_equal(thin_to_windows(&window_kernels[KERNEL_DELTA], &grid, &samples, kept), 13);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(edges_give_equal_bits),  cmocka_unit_test(sums_are_close),
        cmocka_unit_test(windows_see_their_ends), cmocka_unit_test(hourly_windows_need_little),
        cmocka_unit_test(counters_get_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
