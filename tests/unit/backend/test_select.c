/* tests/unit/backend/test_select.c: quantile, topk and bottomk: tables from Prometheus's promql/quantile.go and
 * promql/engine.go aggregationK, and references that sort. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "backend/kernels/select.h"
#include "base/assert.h"
#include "tests/unit/backend/random.h"

#define N_MAX 300

static void test_quantile_tables(void **state)
{
    static const struct {
        double phi;
        size_t n;
        double values[5];
        double want;
    } ROWS[] = {
        {0.5, 1, {7}, 7},
        {0.5, 2, {1, 4}, 2.5},
        {0.25, 5, {50, 10, 40, 20, 30}, 20},
        {0.9, 2, {0, 10}, 9},
        {0, 3, {3, 1, 2}, 1},
        {1, 3, {3, 1, 2}, 3},
        {-0.0, 2, {3, 1}, 1},
        {-0.1, 2, {1, 2}, -INFINITY},
        {1.1, 2, {1, 2}, INFINITY},
        {INFINITY, 1, {1}, INFINITY},
        {NAN, 2, {1, 2}, NAN},
        {0, 3, {3, NAN, 2}, NAN}, /* NaN is the least */
        {0.25, 3, {3, NAN, 2}, NAN},
        {0.5, 3, {3, NAN, 2}, 2},
        {0.5, 3, {NAN, NAN, 2}, NAN},
        {1, 3, {NAN, NAN, 2}, 2},
        {0.5, 2, {INFINITY, -INFINITY}, NAN},
        {0, 2, {1, INFINITY}, NAN}, /* infinity times a weight of zero */
        {1, 2, {1, INFINITY}, NAN},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(ROWS); i++) {
        double values[5];
        memcpy(values, ROWS[i].values, sizeof values);
        double got = select_quantile(ROWS[i].phi, values, ROWS[i].n);
        if (!(got == ROWS[i].want || (isnan(got) && isnan(ROWS[i].want))))
            fail_msg("row %zu: got %.17g, want %.17g", i, got, ROWS[i].want);
    }
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    if (isnan(x) || isnan(y))
        return isnan(y) - isnan(x);
    return (x > y) - (x < y);
}

/* Values in every order that troubles a quickselect: few different ones, sorted, falling, organ pipes. */
static size_t make_values(struct random *r, double *values)
{
    size_t n = 1 + random_below(r, N_MAX - 1), shape = random_below(r, 5), kinds = 1 + random_below(r, 6);
    for (size_t i = 0; i < n; i++) {
        double orders[] = {random_unit(r), (double)i, (double)(n - i), (double)(i < n / 2 ? i : n - i),
                           (double)random_below(r, kinds)};
        values[i] = orders[shape];
        if (random_below(r, 30) == 0)
            values[i] = (double[]){NAN, INFINITY, -INFINITY, -0.0}[random_below(r, 4)];
    }
    return n;
}

static void test_quantile_of_sorted(void **state)
{
    for (uint64_t seed = 1; seed <= 3000; seed++) {
        struct random r = random_from(seed);
        double values[N_MAX], sorted[N_MAX];
        size_t n = make_values(&r, values);
        memcpy(sorted, values, n * sizeof *values);
        qsort(sorted, n, sizeof *sorted, by_value);
        double phi = random_below(&r, 5) == 0 ? (double)random_below(&r, 2) : random_unit(&r);
        double rank = phi * ((double)n - 1), weight = rank - floor(rank);
        size_t low = (size_t)rank, high = low + 1 < n ? low + 1 : low;
        double want = sorted[low] * (1 - weight) + sorted[high] * weight;
        double got = select_quantile(phi, values, n);
        if (!(got == want || (isnan(got) && isnan(want))))
            fail_msg("seed %d: got %.17g, want %.17g", (int)seed, got, want);
    }
}

/* --- topk --- */

static bool ranks_least;

static int by_choice(const void *a, const void *b)
{
    const struct select_candidate *x = a, *y = b;
    if (isnan(x->value) != isnan(y->value))
        return isnan(x->value) ? 1 : -1;
    if (x->value != y->value && !isnan(x->value))
        return (x->value < y->value) == ranks_least ? -1 : 1;
    return x->rank < y->rank ? -1 : 1;
}

static int by_rank(const void *a, const void *b)
{
    int64_t x = ((const struct select_candidate *)a)->rank, y = ((const struct select_candidate *)b)->rank;
    return (x > y) - (x < y);
}

static void test_top_of_sorted(void **state)
{
    for (uint64_t seed = 1; seed <= 3000; seed++) {
        struct random r = random_from(seed);
        double values[N_MAX];
        struct select_candidate candidates[N_MAX], sorted[N_MAX];
        size_t n = make_values(&r, values), k = random_below(&r, random_below(&r, 2) ? 5 : N_MAX + 5);
        for (size_t i = 0; i < n; i++)
            candidates[i] = (struct select_candidate){values[i], (int64_t)((i * 7919) % 1000003), i};
        memcpy(sorted, candidates, n * sizeof *sorted);
        ranks_least = random_below(&r, 2);
        qsort(sorted, n, sizeof *sorted, by_choice);
        size_t kept = select_top(candidates, n, k, ranks_least);
        assert_int_equal(kept, k < n ? k : n);
        qsort(candidates, kept, sizeof *candidates, by_rank);
        qsort(sorted, kept, sizeof *sorted, by_rank);
        for (size_t i = 0; i < kept; i++)
            assert_int_equal(candidates[i].row, sorted[i].row);
        qsort(candidates, n, sizeof *candidates, by_rank);
        for (size_t i = 1; i < n; i++) /* none is lost */
            assert_true(candidates[i].rank > candidates[i - 1].rank);
    }
}

static void test_counts(void **state)
{
    size_t k;
    assert_true(select_count(3.9, &k) && k == 3);
    assert_true(select_count(0.9, &k) && k == 0);
    assert_true(select_count(-5, &k) && k == 0);
    assert_true(select_count(9223372036854774784.0, &k) && k == 9223372036854774784u);
    assert_false(select_count(NAN, &k));
    assert_false(select_count(INFINITY, &k));
    assert_false(select_count(0x1p63, &k));
    assert_true(select_count(-0x1p63, &k) && k == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quantile_tables),
        cmocka_unit_test(test_quantile_of_sorted),
        cmocka_unit_test(test_top_of_sorted),
        cmocka_unit_test(test_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
