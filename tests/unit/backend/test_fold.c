/* tests/unit/backend/test_fold.c: aggregations over series.
 *
 * Tables from Prometheus's promql/engine.go (aggregation); a two-pass long double reference; and the merge law: however
 * the series are cut, ordered and merged, the values agree to 1e-12 relative.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "backend/kernels/bits.h"
#include "backend/kernels/fold.h"
#include "base/assert.h"
#include "tests/unit/backend/random.h"

#define NONE (-12345.5)

static struct fold *fold_new(enum fold_op op, uint32_t steps)
{
    struct fold *fold = test_malloc(sizeof *fold + fold_bytes(op, steps));
    fold_init(fold, op, steps, fold + 1);
    return fold;
}

static bool near(double a, double b, double tolerance)
{
    if (isnan(a) || isnan(b))
        return isnan(a) && isnan(b);
    if (isinf(a) || isinf(b))
        return a == b;
    return fabs(a - b) <= tolerance * fmax(fabs(a), fabs(b));
}

/* --- tables --- */

struct table_row {
    enum fold_op op;
    size_t n;
    double values[6];
    double want;
};

static const struct table_row ROWS[] = {
    {FOLD_SUM, 0, {0}, NONE},
    {FOLD_SUM, 4, {1, 1e100, 1, -1e100}, 2},
    {FOLD_SUM, 3, {INFINITY, 1, 2}, INFINITY},
    {FOLD_SUM, 2, {INFINITY, -INFINITY}, NAN},
    {FOLD_SUM, 2, {1, NAN}, NAN},
    {FOLD_AVG, 4, {1, 2, 3, 6}, 3},
    {FOLD_AVG, 4, {1.6e308, 1.6e308, 1.6e308, 1.6e308}, 1.6e308},
    {FOLD_AVG, 4, {1, 1e100, 1, -1e100}, 0.5},
    {FOLD_AVG, 3, {2, INFINITY, 1}, INFINITY},
    {FOLD_AVG, 1, {INFINITY}, INFINITY},
    {FOLD_AVG, 3, {-INFINITY, 1, INFINITY}, NAN},
    {FOLD_MIN, 4, {NAN, 3, 1, NAN}, 1},
    {FOLD_MAX, 4, {NAN, 3, 1, NAN}, 3},
    {FOLD_MIN, 2, {NAN, NAN}, NAN},
    {FOLD_MAX, 3, {-INFINITY, -5, NAN}, -5},
    {FOLD_COUNT, 3, {NAN, 1, 2}, 3},
    {FOLD_COUNT, 0, {0}, NONE},
    {FOLD_GROUP, 2, {7, 8}, 1},
    {FOLD_GROUP, 0, {0}, NONE},
    {FOLD_STDVAR, 4, {2, 4, 4, 6}, 2},
    {FOLD_STDDEV, 4, {2, 4, 4, 6}, M_SQRT2},
    {FOLD_STDVAR, 1, {1e300}, 0},
    {FOLD_STDVAR, 1, {INFINITY}, NAN},
    {FOLD_STDDEV, 2, {1, NAN}, NAN},
    {FOLD_STDVAR, 3, {0.1, 0.1, 0.1}, 0},
    {FOLD_AVG_2, 2, {1, 2}, 1.5},
    {FOLD_AVG_2, 1, {INFINITY}, INFINITY},
    {FOLD_STDVAR_2, 4, {2, 4, 4, 6}, 2},
    {FOLD_STDDEV_2, 1, {INFINITY}, 0},
    {FOLD_STDVAR_2, 1, {NAN}, 0},
    {FOLD_STDDEV_2, 2, {INFINITY, 1}, NAN},
    {FOLD_ONE, 1, {NAN}, NAN},
    {FOLD_ONE, 1, {-7}, -7},
    {FOLD_ONE_SERIES, 1, {3}, 3},
    {FOLD_ONE_SERIES, 0, {0}, NONE},
};

static void test_tables(void **state)
{
    for (size_t i = 0; i < ARRAY_LENGTH(ROWS); i++) {
        const struct table_row *row = &ROWS[i];
        struct fold *fold = fold_new(row->op, 1);
        for (size_t j = 0; j < row->n; j++)
            fold_add(fold, &row->values[j], &(uint64_t){1});
        double value;
        fold_finish(fold, &value);
        bool has = bits_get(fold->present, 0);
        if (has != (row->want != NONE) || (has && !near(value, row->want, 1e-15)))
            fail_msg("row %zu, %s: got %.17g (%d), want %.17g", i, fold_names[row->op], value, has, row->want);
        test_free(fold);
    }
}

static void test_a_single_zero_keeps_no_sign_it_never_had(void **state)
{
    struct fold *fold = fold_new(FOLD_SUM, 1);
    fold_add(fold, &(double){0.0}, &(uint64_t){1});
    double value;
    fold_finish(fold, &value);
    assert_true(value == 0 && !signbit(value));
    test_free(fold);
}

/* --- the merge law --- */

#define SERIES_MAX 120
#define STEPS      70

struct data {
    size_t n;
    double values[SERIES_MAX][STEPS];
    uint64_t present[SERIES_MAX][2];
};

static void make_data(struct random *r, struct data *data)
{
    data->n = 1 + random_below(r, SERIES_MAX);
    double base = random_below(r, 3) == 0 ? 1e9 : 0, spread = random_below(r, 2) ? 1 : 1e6;
    unsigned odd = (unsigned)random_below(r, 3);
    for (size_t i = 0; i < data->n; i++) {
        memset(data->present[i], 0, sizeof data->present[i]);
        for (uint32_t k = 0; k < STEPS; k++) {
            data->values[i][k] = base + spread * (random_unit(r) - 0.3);
            if (odd == 0 && random_below(r, 200) == 0)
                data->values[i][k] = (double[]){NAN, INFINITY, -INFINITY, 0}[random_below(r, 4)];
            if (random_below(r, 10) != 0)
                bits_set(data->present[i], k);
        }
    }
}

/* Adds the series in a random order to random parts, then merges the parts pairwise in a random order. */
static struct fold *fold_in_parts(struct random *r, const struct data *data, enum fold_op op)
{
    size_t parts_n = 1 + random_below(r, 12), order[SERIES_MAX];
    struct fold *parts[12];
    for (size_t i = 0; i < parts_n; i++)
        parts[i] = fold_new(op, STEPS);
    for (size_t i = 0; i < data->n; i++)
        order[i] = i;
    for (size_t i = data->n; i > 1; i--) {
        size_t j = random_below(r, i), keep = order[i - 1];
        order[i - 1] = order[j];
        order[j] = keep;
    }
    for (size_t i = 0; i < data->n; i++)
        fold_add(parts[random_below(r, parts_n)], data->values[order[i]], data->present[order[i]]);
    while (parts_n > 1) {
        size_t at = random_below(r, parts_n - 1);
        if (random_below(r, 2)) {
            struct fold *keep = parts[at];
            parts[at] = parts[parts_n - 1];
            parts[parts_n - 1] = keep;
        }
        fold_merge(parts[at], parts[parts_n - 1]);
        test_free(parts[--parts_n]);
    }
    return parts[0];
}

static void test_merging_changes_nothing(void **state)
{
    static struct data data;
    for (uint64_t seed = 1; seed <= 150; seed++) {
        struct random r = random_from(seed);
        make_data(&r, &data);
        for (int op = 0; op < FOLD_ONE; op++) {
            struct fold *whole = fold_new((enum fold_op)op, STEPS);
            double want[STEPS], got[STEPS];
            for (size_t i = 0; i < data.n; i++)
                fold_add(whole, data.values[i], data.present[i]);
            fold_finish(whole, want);
            for (int round = 0; round < 3; round++) {
                struct fold *parts = fold_in_parts(&r, &data, (enum fold_op)op);
                fold_finish(parts, got);
                assert_memory_equal(parts->present, whole->present, 2 * sizeof(uint64_t));
                for (uint32_t k = 0; k < STEPS; k++) {
                    if (!near(got[k], want[k], 1e-12))
                        fail_msg("seed %d, %s, step %u: %.17g in parts, %.17g whole", (int)seed, fold_names[op], k,
                                 got[k], want[k]);
                }
                test_free(parts);
            }
            test_free(whole);
        }
    }
}

static long double reference(const struct data *data, enum fold_op op, uint32_t k)
{
    long double sum = 0, mean, squares = 0, least = NAN, most = NAN;
    size_t n = 0;
    for (size_t i = 0; i < data->n; i++) {
        if (!bits_get(data->present[i], k))
            continue;
        long double x = data->values[i][k];
        sum += x;
        n++;
        least = isnan(least) || x < least ? x : least;
        most = isnan(most) || x > most ? x : most;
    }
    mean = sum / (long double)n;
    for (size_t i = 0; i < data->n; i++) {
        if (bits_get(data->present[i], k))
            squares += (data->values[i][k] - mean) * (data->values[i][k] - mean);
    }
    const long double all[FOLD_OP_MAX] = {
        [FOLD_SUM] = sum,
        [FOLD_AVG] = mean,
        [FOLD_MIN] = least,
        [FOLD_MAX] = most,
        [FOLD_COUNT] = n,
        [FOLD_GROUP] = 1,
        [FOLD_STDDEV] = sqrtl(squares / (long double)n),
        [FOLD_STDVAR] = squares / (long double)n,
        [FOLD_AVG_2] = mean,
        [FOLD_STDDEV_2] = n == 1 ? 0 : sqrtl(squares / (long double)n),
        [FOLD_STDVAR_2] = n == 1 ? 0 : squares / (long double)n,
    };
    return all[op];
}

static void test_reference(void **state)
{
    static struct data data;
    for (uint64_t seed = 1000; seed < 1100; seed++) {
        struct random r = random_from(seed);
        make_data(&r, &data);
        for (int op = 0; op < FOLD_ONE; op++) {
            struct fold *fold = fold_in_parts(&r, &data, (enum fold_op)op);
            double got[STEPS];
            fold_finish(fold, got);
            for (uint32_t k = 0; k < STEPS; k++) {
                double want = (double)reference(&data, (enum fold_op)op, k);
                if (bits_get(fold->present, k) && !near(got[k], want, 1e-8))
                    fail_msg("seed %d, %s, step %u: got %.17g, want %.17g", (int)seed, fold_names[op], k, got[k], want);
            }
            test_free(fold);
        }
    }
}

/* Prometheus 3 adds a compensation of 0 to it, Prometheus 2 has none. */
static void test_average_of_a_negative_zero(void **state)
{
    const double zero = -0.0;
    double value;
    for (int is_2 = 0; is_2 < 2; is_2++) {
        struct fold *fold = fold_new(is_2 ? FOLD_AVG_2 : FOLD_AVG, 1);
        fold_add(fold, &zero, &(uint64_t){1});
        fold_finish(fold, &value);
        assert_true(value == 0 && !signbit(value) == !is_2);
        fold_add(fold, &zero, &(uint64_t){1});
        fold_finish(fold, &value);
        assert_true(value == 0 && !signbit(value));
        test_free(fold);
    }
}

/* Averages that overflow in some parts and not in others. */
static void test_overflowing_parts_merge(void **state)
{
    double big = 1.5e308;
    struct fold *a = fold_new(FOLD_AVG, 1), *b = fold_new(FOLD_AVG, 1);
    for (int i = 0; i < 5; i++)
        fold_add(a, &big, &(uint64_t){1});
    fold_add(b, &big, &(uint64_t){1});
    fold_merge(b, a);
    double value;
    fold_finish(b, &value);
    assert_true(near(value, big, 1e-12));
    test_free(a);
    test_free(b);
}

/* --- only one --- */

/* Whether folding these presences, each of its own series, in parts, meets two where only one may be. */
static bool conflicts(enum fold_op op, size_t n, const uint64_t *present, bool in_parts)
{
    double values[3] = {10, 20, 30};
    struct fold *fold = fold_new(op, 3), *part = fold_new(op, 3);
    for (size_t i = 0; i < n; i++)
        fold_add(in_parts && i % 2 ? part : fold, values, &present[i]);
    fold_merge(fold, part);
    bool conflict = fold->conflict;
    if (!conflict) {
        double got[3];
        fold_finish(fold, got);
        for (size_t k = 0; k < 3; k++)
            assert_true(got[k] == (bits_get(fold->present, k) ? values[k] : 0));
    }
    test_free(fold);
    test_free(part);
    return conflict;
}

static void test_only_one(void **state)
{
    for (int in_parts = 0; in_parts < 2; in_parts++) {
        assert_false(conflicts(FOLD_ONE, 3, (uint64_t[]){1, 2, 4}, in_parts));
        assert_false(conflicts(FOLD_ONE, 3, (uint64_t[]){5, 0, 2}, in_parts));
        assert_true(conflicts(FOLD_ONE, 3, (uint64_t[]){1, 6, 4}, in_parts));
        assert_true(conflicts(FOLD_ONE, 2, (uint64_t[]){7, 7}, in_parts));
        assert_true(conflicts(FOLD_ONE_SERIES, 3, (uint64_t[]){1, 2, 4}, in_parts));
        assert_false(conflicts(FOLD_ONE_SERIES, 3, (uint64_t[]){0, 5, 0}, in_parts));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_a_single_zero_keeps_no_sign_it_never_had),
        cmocka_unit_test(test_merging_changes_nothing),
        cmocka_unit_test(test_reference),
        cmocka_unit_test(test_average_of_a_negative_zero),
        cmocka_unit_test(test_overflowing_parts_merge),
        cmocka_unit_test(test_only_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
