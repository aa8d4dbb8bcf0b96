/* test_window_run: a series in runs, each taken for a grid: the windows that runs hold whole, and the others over what
 * was kept of all of them, are those of the series in one piece. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "backend/duckdb/window_run.h"
#include "base/float_text.h"
#include "tests/unit/backend/fixture.h"
#include "tests/unit/backend/random.h"

#define SAMPLES_MAX 400
#define STEPS_MAX   200
#define MINUTE_MS   60000

struct series {
    int64_t time_ms[SAMPLES_MAX];
    double value[SAMPLES_MAX];
    int64_t weight[SAMPLES_MAX];
    size_t n;
};

struct outcome {
    double values[STEPS_MAX];
    uint64_t present[(STEPS_MAX + 63) / 64];
};

static void random_series(struct random *r, struct series *series)
{
    int64_t at_ms = (int64_t)random_below(r, 10 * MINUTE_MS);
    bool often_nan = random_below(r, 4) == 0;
    double value = 0;
    series->n = 1 + random_below(r, SAMPLES_MAX);
    for (size_t i = 0; i < series->n; i++) {
        at_ms += 1 + (int64_t)random_below(r, random_below(r, 30) ? MINUTE_MS / 2 : 20 * MINUTE_MS);
        value = random_below(r, 20) ? value + random_unit(r) : random_unit(r);
        series->time_ms[i] = at_ms;
        series->value[i] = often_nan && random_below(r, 10) == 0 ? NAN : value;
    }
}

static struct window_grid random_grid(struct random *r)
{
    static const uint64_t LENGTHS_MS[] = {1000, MINUTE_MS, 10 * MINUTE_MS, 100 * MINUTE_MS};
    return (struct window_grid){.start_ms = (int64_t)random_below(r, 60 * MINUTE_MS),
                                .step_ms = 1 + (int64_t)random_below(r, LENGTHS_MS[random_below(r, 3)]),
                                .steps = 1 + (uint32_t)random_below(r, STEPS_MAX),
                                .window_ms = (int64_t)random_below(r, LENGTHS_MS[random_below(r, 4)]),
                                .closed = random_below(r, 2)};
}

static struct outcome evaluate(const struct window_kernel *kernel, const struct window_grid *grid,
                               const struct samples *samples)
{
    static double room[SAMPLES_MAX];
    struct window_parameters parameters = kernel_parameters(room);
    struct outcome outcome;
    kernel->run(grid, &parameters, samples, outcome.values, outcome.present);
    return outcome;
}

static void expect_equal(const struct outcome *want, uint32_t at, const struct outcome *got, uint32_t k,
                         const struct window_kernel *kernel, uint64_t round)
{
    double a = want->values[at], b = got->values[k];
    if (bits_get(want->present, at) != bits_get(got->present, k) ||
        !(isnan(a) ? isnan(b) : double_bits(a) == double_bits(b)))
        fail_msg("round %llu, %s, window %u: %.17g and %.17g", (unsigned long long)round, kernel->name, at, a, b);
}

/* What is kept of a run, behind what was kept of those before; its whole windows are compared with `want` and marked.
 */
static void keep(const struct taken *taken, const struct window_kernel *kernel, const struct window_grid *grid,
                 const struct outcome *want, bool *done, struct series *kept, uint64_t round)
{
    struct piece_shape shape = taken_shape(taken);
    struct piece *piece = test_malloc(piece_bytes(&shape));
    piece_init(piece, &shape);
    taken_fill(taken, piece);
    assert_int_equal(piece->n, shape.capacity);
    assert_true(piece->promises || piece->n == taken->run.n);
    piece_copy(piece, kept->time_ms + kept->n, kept->value + kept->n, kept->weight + kept->n);
    kept->n += piece->n;
    if (shape.steps > 0) {
        struct window_grid whole = *grid;
        whole.start_ms = window_end(grid, piece->step);
        whole.steps = shape.steps;
        struct outcome got = evaluate(kernel, &whole, &taken->run);
        for (uint32_t k = 0; k < shape.steps; k++) {
            assert_false(done[piece->step + k]);
            done[piece->step + k] = true;
            expect_equal(want, piece->step + k, &got, k, kernel, round);
        }
    }
    test_free(piece);
}

static void check(struct random *r, const struct window_kernel *kernel, const struct window_grid *grid,
                  const struct series *series, uint64_t round)
{
    static struct taken taken;
    static struct series kept;
    bool done[STEPS_MAX] = {false};
    struct outcome want = evaluate(kernel, grid, &(struct samples){series->time_ms, series->value, series->n, NULL});
    kept.n = 0;
    for (size_t from = 0, n; from < series->n; from += n) {
        n = 1 + random_below(r, series->n - from);
        struct samples run = {series->time_ms + from, series->value + from, n, NULL};
        if (run_take(kernel, grid, run, (struct time_span){run.time_ms[0], run.time_ms[n - 1]}, &taken))
            keep(&taken, kernel, grid, &want, done, &kept, round);
    }
    struct samples rest = {kept.time_ms, kept.value, kept.n, kernel->weighs ? kept.weight : NULL};
    struct outcome got = evaluate(kernel, grid, &rest);
    for (uint32_t k = 0; k < grid->steps; k++) {
        if (!done[k])
            expect_equal(&want, k, &got, k, kernel, round);
    }
}

static void runs_and_what_is_kept_are_the_series(void **state)
{
    static struct series series;
    for (uint64_t round = 0; round < 3000; round++) {
        struct random r = random_from(round);
        random_series(&r, &series);
        struct window_grid grid = random_grid(&r);
        for (int id = 0; id < KERNEL_MAX; id++)
            check(&r, &window_kernels[id], &grid, &series, round);
    }
}

/* Two hours at 15 s, for windows of an hour every five minutes: rate keeps the ends of those that reach beyond, the
 * maximum all of the first and the last hour. */
static void an_hour_and_an_hour(void **state)
{
    static int64_t time_ms[480];
    static double value[480];
    static struct taken taken;
    for (size_t i = 0; i < 480; i++) {
        time_ms[i] = 7200000 + (int64_t)i * 15000;
        value[i] = (double)i;
    }
    struct samples run = {time_ms, value, 480, NULL};
    struct time_span whole_in = {time_ms[0], time_ms[479]};
    struct window_grid grid = {.start_ms = 3600000, .step_ms = 300000, .steps = 100, .window_ms = 3600000};
    assert_true(run_take(&window_kernels[KERNEL_RATE], &grid, run, whole_in, &taken));
    assert_int_equal(taken_shape(&taken).steps, 12); /* (2:00, 3:00] … (2:55, 3:55] */
    assert_in_range(taken_shape(&taken).capacity, 24, 28);
    assert_true(run_take(&window_kernels[KERNEL_MAX_OVER_TIME], &grid, run, whole_in, &taken));
    assert_int_equal(taken_shape(&taken).steps, 12);
    assert_int_equal(taken_shape(&taken).capacity, 461); /* to 2:55, and from 3:00 on */
    grid.start_ms = 0;
    grid.steps = 24; /* the last window ends before it begins */
    assert_false(run_take(&window_kernels[KERNEL_RATE], &grid, run, whole_in, &taken));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_and_what_is_kept_are_the_series),
        cmocka_unit_test(an_hour_and_an_hour),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
