/* test_window_piece: samples come out of pieces as they went in, whatever their times and weights. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "backend/duckdb/window_piece.h"
#include "base/assert.h"
#include "tests/unit/backend/random.h"

static struct piece *piece_of(struct piece_shape shape)
{
    struct piece *piece = test_malloc(piece_bytes(&shape));
    piece_init(piece, &shape);
    return piece;
}

static void expect_copy(const struct piece *piece, const struct samples *run, size_t first, size_t n)
{
    int64_t time_ms[64], weight[64];
    double value[64];
    assert_int_equal(piece->n, n);
    piece_copy(piece, time_ms, value, weight);
    assert_memory_equal(time_ms, run->time_ms + first, n * sizeof *time_ms);
    assert_memory_equal(value, run->value + first, n * sizeof *value);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(weight[i], run->weight && piece->shape.weighted ? run->weight[first + i] : 1);
    piece_copy(piece, time_ms, value, NULL);
    assert_memory_equal(time_ms, run->time_ms + first, n * sizeof *time_ms);
}

static void runs_of_all_widths(void **state)
{
    static const struct {
        int64_t time_ms[4];
        int64_t weight[4]; /* of the first 0: none */
        bool wide;
    } CASES[] = {
        {{1700000000000, 1700000000001, 1700000060000, 1700000120000}, {0}, false},
        {{-5, 0, 5, UINT32_MAX - 5}, {1, 2, 3, UINT32_MAX}, false},
        {{-5, 0, 5, UINT32_MAX - 4}, {0}, true},
        {{1, 2, 3, 4}, {1, 1, (int64_t)UINT32_MAX + 1, 1}, true},
        {{INT64_MIN, -1, 1, INT64_MAX}, {0}, true},
        {{INT64_MIN, INT64_MIN + 1, INT64_MIN + 2, INT64_MIN + 3}, {0}, false},
        {{9, 3, 7, 1}, {4, 3, 2, 1}, false}, /* in no order */
    };
    const double value[] = {1, -0.0, 3, 4};
    for (size_t i = 0; i < ARRAY_LENGTH(CASES); i++) {
        struct samples run = {CASES[i].time_ms, value, 4, CASES[i].weight[0] ? CASES[i].weight : NULL};
        struct piece_shape shape = piece_shape_of(&run);
        assert_int_equal(shape.wide, CASES[i].wide);
        assert_int_equal(shape.capacity, 4);
        shape.weighted = run.weight;
        shape.steps = 70;
        struct piece *piece = piece_of(shape);
        memset(piece_results(piece), 1, 70 * sizeof(double)); /* beside the samples */
        memset(piece_present(piece), 1, bits_words(70) * sizeof(uint64_t));
        piece_add(piece, &run, 0, 1);
        piece_add(piece, &run, 1, 3);
        expect_copy(piece, &run, 0, 4);
        piece->first_ms = -77;
        piece->promises = true;
        assert_int_equal(piece_begin(piece), -77);
        test_free(piece);
    }
}

static void ends_of_runs(void **state)
{
    static const int64_t TIMES[] = {5, 6, 5000000000, 5000000001, 9000000000};
    static const double VALUES[] = {1, 2, 3, 4, 5};
    static const struct {
        size_t head, tail;
        bool wide;
    } CASES[] = {{0, 5, false}, {2, 5, false}, {0, 2, false}, {2, 4, true}, {1, 1, true}, {0, 4, false}, {3, 5, true}};
    struct samples run = {TIMES, VALUES, 5, NULL};
    for (size_t i = 0; i < ARRAY_LENGTH(CASES); i++) {
        size_t head = CASES[i].head, tail = CASES[i].tail, n = head + 5 - tail;
        struct piece_shape shape = piece_shape_of_ends(&run, head, tail);
        assert_int_equal(shape.wide, CASES[i].wide);
        assert_int_equal(shape.capacity, n);
        struct piece *piece = piece_of(shape);
        int64_t time_ms[5];
        double value[5];
        piece_add(piece, &run, 0, head);
        piece_add(piece, &run, tail, 5 - tail);
        piece_copy(piece, time_ms, value, NULL);
        for (size_t k = 0; k < n; k++) {
            assert_int_equal(time_ms[k], TIMES[k < head ? k : tail + k - head]);
            assert_true(value[k] == VALUES[k < head ? k : tail + k - head]);
        }
        test_free(piece);
    }
}

/* Counts of 32 bits where each value comes out with its own bits, else doubles. */
static void values_of_both_widths(void **state)
{
    static const struct {
        double value[4];
        bool counts;
    } CASES[] = {
        {{5, 5, 6, 4294967300.0}, true},
        {{5, 5, 6, 4294967301.0}, false},
        {{5, 6, 4, 7}, false}, /* a reset */
        {{-3, -2, 0, 7}, true},
        {{0.5, 1.5, 2.5, 1000.5}, true},
        {{0.1, 1.1, 2.1, 3.1}, true}, /* bits decide */
        {{1, 2, 3, 3.25}, false},
        {{0, 0, 0, 0}, true},
        {{0, -0.0, 0, 0}, false},
        {{-0.0, -0.0, -0.0, -0.0}, false},
        {{1e300, 1e300, 1e300, 1e300}, true},
        {{9007199254740992.0, 9007199254740994.0, 9007199254740996.0, 9007199254740996.0}, true},
        {{1, 2, NAN, 4}, false},
        {{NAN, NAN, NAN, NAN}, false},
        {{INFINITY, INFINITY, INFINITY, INFINITY}, false},
        {{1, 2, 3, INFINITY}, false},
        {{1, 2, 3, -INFINITY}, false},
        {{5e-324, 5e-324, 5e-324, 5e-324}, true},
    };
    static const int64_t TIMES[] = {1, 2, 3, 4};
    for (size_t i = 0; i < ARRAY_LENGTH(CASES); i++) {
        struct samples run = {TIMES, CASES[i].value, 4, NULL};
        struct piece_shape shape = piece_shape_of(&run);
        assert_int_equal(shape.counts, CASES[i].counts);
        assert_int_equal(piece_shape_of_ends(&run, 2, 2).counts, CASES[i].counts);
        assert_int_equal(piece_shape_of_ends(&run, 4, 4).counts, CASES[i].counts);
        struct piece *piece = piece_of(shape);
        piece_add(piece, &run, 0, 3);
        piece_add(piece, &run, 3, 1);
        expect_copy(piece, &run, 0, 4);
        test_free(piece);
    }
}

/* Marks make weights of as many bits as the run is long. */
static void weights_of_marks(void **state)
{
    enum {
        MANY = 600
    };
    int64_t time_ms[MANY];
    double value[MANY];
    for (int i = 0; i < MANY; i++) {
        time_ms[i] = 1700000000000 + 15000 * i;
        value[i] = i;
    }
    for (size_t n = 254; n <= 257; n++) {
        struct samples run = {time_ms, value, n, NULL};
        uint64_t kept[MANY / 64 + 1] = {1};
        bits_set(kept, n - 1);
        for (int tail = 0; tail < 2; tail++) {
            struct piece_shape shape =
                tail ? piece_shape_of_kept(&run, 0, 0, 0, 2) : piece_shape_of_kept(&run, n, n, 2, 0);
            assert_int_equal(shape.short_weights, n <= 255);
            struct piece *piece = piece_of(shape);
            assert_int_equal(piece_add_kept(piece, &run, 0, n, kept), 2);
            int64_t times[2], weights[2];
            double values[2];
            piece_copy(piece, times, values, weights);
            assert_int_equal(weights[0], 1);
            assert_int_equal(weights[1], n - 1);
            assert_int_equal(times[1], time_ms[n - 1]);
            assert_true(values[1] == value[n - 1]);
            test_free(piece);
        }
    }
}

static void marked_samples_of_runs(void **state)
{
    static const int64_t NARROW[] = {100, 200, 300, 400, 500, 600},
                         WIDE[] = {-5, 0, 5, INT64_C(1) << 40, INT64_C(1) << 41, INT64_MAX};
    static const double VALUES[] = {1, 2, 3, 4, 5, 6};
    for (int wide = 0; wide < 2; wide++) {
        struct samples run = {wide ? WIDE : NARROW, VALUES, 6, NULL};
        struct piece_shape shape = piece_shape_of_ends(&run, 3, 3);
        assert_int_equal(shape.wide, wide);
        shape.weighted = true;
        shape.capacity = 4;
        struct piece *piece = piece_of(shape);
        assert_int_equal(piece_add_kept(piece, &run, 0, 3, (const uint64_t[]){5}), 2); /* the first and the third */
        assert_int_equal(piece_add_kept(piece, &run, 3, 0, (const uint64_t[]){0}), 0);
        assert_int_equal(piece_add_kept(piece, &run, 3, 3, (const uint64_t[]){6}), 2);
        int64_t time_ms[4], weight[4];
        double value[4];
        piece_copy(piece, time_ms, value, weight);
        static const size_t KEPT[] = {0, 2, 4, 5};
        static const int64_t WEIGHTS[] = {1, 2, 1, 1};
        for (size_t i = 0; i < 4; i++) {
            assert_int_equal(time_ms[i], run.time_ms[KEPT[i]]);
            assert_true(value[i] == VALUES[KEPT[i]]);
            assert_int_equal(weight[i], WEIGHTS[i]);
        }
        test_free(piece);
    }
}

static void single_samples_as_long_as_they_fit(void **state)
{
    static const int64_t FIRST[] = {0, 1700000000000, INT64_MIN, INT64_MAX, INT64_MIN + 5};
    struct random r = random_from(7);
    for (size_t i = 0; i < ARRAY_LENGTH(FIRST); i++) {
        int64_t time_ms[40];
        double value[40];
        struct samples run = {time_ms, value, 0, NULL};
        time_ms[0] = FIRST[i];
        value[0] = 1;
        struct piece_shape shape = piece_shape_near(&run, 32);
        assert_false(shape.wide);
        shape.weighted = i % 2;
        struct piece *piece = piece_of(shape);
        assert_true(piece_takes(piece, &run));
        for (;; run.n++) {
            struct samples one = {time_ms + run.n, value + run.n, 1, NULL};
            if (!piece_takes(piece, &one))
                break;
            piece_add(piece, &one, 0, 1);
            time_ms[run.n + 1] = (int64_t)((uint64_t)FIRST[i] + random_below(&r, UINT64_C(1) << 26));
            value[run.n + 1] = (double)run.n;
            if (FIRST[i] > 0 && time_ms[run.n + 1] < 0) /* beyond the end of time */
                time_ms[run.n + 1] = FIRST[i];
        }
        assert_int_equal(run.n, 32);
        assert_int_equal(piece_begin(piece), FIRST[i]);
        expect_copy(piece, &run, 0, 32);
        test_free(piece);
    }
}

static void what_does_not_fit_is_refused(void **state)
{
    static const int64_t BEGIN_MS = INT64_C(1700000000000), HALF_MS = INT64_C(1) << 31;
    const int64_t few = 3, many = (int64_t)UINT32_MAX + 1;
    const double value = 1;
    struct piece *piece = piece_of(piece_shape_near(&(struct samples){&BEGIN_MS, &value, 1, NULL}, 2));
    const struct {
        int64_t time_ms;
        const int64_t *weight;
        bool fits;
    } CASES[] = {
        {BEGIN_MS, NULL, true},
        {BEGIN_MS - HALF_MS, NULL, true},
        {BEGIN_MS - HALF_MS - 1, NULL, false},
        {BEGIN_MS + HALF_MS - 1, NULL, true},
        {BEGIN_MS + HALF_MS, NULL, false},
        {INT64_MIN, NULL, false},
        {INT64_MAX, NULL, false},
        {BEGIN_MS, &few, true},
        {BEGIN_MS, &many, false},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(CASES); i++) {
        struct samples one = {&CASES[i].time_ms, &value, 1, CASES[i].weight};
        assert_int_equal(piece_takes(piece, &one), CASES[i].fits);
    }
    assert_true(piece_shape_near(&(struct samples){&BEGIN_MS, &value, 1, &many}, 2).wide);
    test_free(piece);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_of_all_widths),           cmocka_unit_test(ends_of_runs),
        cmocka_unit_test(values_of_both_widths),        cmocka_unit_test(weights_of_marks),
        cmocka_unit_test(marked_samples_of_runs),       cmocka_unit_test(single_samples_as_long_as_they_fit),
        cmocka_unit_test(what_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
