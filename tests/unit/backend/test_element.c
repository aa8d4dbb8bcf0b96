/* tests/unit/backend/test_element.c: operators and functions of single values: against Go's own answers (go_math.def),
 * tables from Prometheus's promql/engine.go and promql/functions.go, and presence bits against a slow reference. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "backend/kernels/bits.h"
#include "backend/kernels/element.h"
#include "base/assert.h"
#include "tests/unit/backend/random.h"

/* NaN by kind, zeros by sign, the rest to `tolerance` relative. */
static bool same(double a, double b, double tolerance)
{
    if (isnan(a) || isnan(b))
        return isnan(a) && isnan(b);
    if (a == b)
        return a != 0 || signbit(a) == signbit(b);
    return isfinite(a) && isfinite(b) && fabs(a - b) <= tolerance * fmax(fabs(a), fabs(b));
}

static double apply(enum element_function function, double x)
{
    double result;
    element_apply(function, &x, 1, &result);
    return result;
}

static const double ABSENT = -98765.25;

static double combine(enum element_op op, double x, double y)
{
    uint64_t one = 1, present = 0;
    double result;
    element_combine(op, &(struct element_side){&x, &one, false}, &(struct element_side){&y, &one, false}, 1, &result,
                    &present);
    return present ? result : ABSENT;
}

static const struct {
    enum element_function function;
    double x, want;
} GO_ONE[] = {
#define MATH1(id, x, want) {ELEMENT_##id, x, want},
#define MATH2(id, x, y, want)
#include "tests/unit/backend/go_math.def"
#undef MATH1
#undef MATH2
};

static const struct {
    enum element_op op;
    double x, y, want;
} GO_TWO[] = {
#define MATH1(id, x, want)
#define MATH2(id, x, y, want) {ELEMENT_##id, x, y, want},
#include "tests/unit/backend/go_math.def"
#undef MATH1
#undef MATH2
};

/* Numbers that no double holds exactly make the last bits differ; sin(1e22) shows that arguments are reduced. Acos near
 * 1 is a difference of nearly equal numbers. */
static void test_as_go(void **state)
{
    for (size_t i = 0; i < ARRAY_LENGTH(GO_ONE); i++) {
        double got = apply(GO_ONE[i].function, GO_ONE[i].x);
        double tolerance = GO_ONE[i].function == ELEMENT_ACOS ? 1e-10 : 1e-13;
        if (!same(got, GO_ONE[i].want, tolerance))
            fail_msg("%s(%a): got %.17g, want %.17g", element_function_names[GO_ONE[i].function], GO_ONE[i].x, got,
                     GO_ONE[i].want);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(GO_TWO); i++) {
        double got = combine(GO_TWO[i].op, GO_TWO[i].x, GO_TWO[i].y);
        if (!same(got, GO_TWO[i].want, 1e-12))
            fail_msg("%s(%a, %a): got %.17g, want %.17g", element_op_names[GO_TWO[i].op], GO_TWO[i].x, GO_TWO[i].y, got,
                     GO_TWO[i].want);
    }
}

static void test_functions_of_prometheus(void **state)
{
    static const struct {
        enum element_function function;
        double x, want;
    } ROWS[] = {
        {ELEMENT_NEG, 0, -0.0},         {ELEMENT_NEG, -3, 3},     {ELEMENT_ABS, -0.0, 0},
        {ELEMENT_ABS, -2.5, 2.5},       {ELEMENT_SGN, -7, -1},    {ELEMENT_SGN, 7, 1},
        {ELEMENT_SGN, -0.0, -0.0},      {ELEMENT_SGN, NAN, NAN},  {ELEMENT_SGN, -INFINITY, -1},
        {ELEMENT_DEG, M_PI, 180},       {ELEMENT_RAD, 180, M_PI}, {ELEMENT_DEG, 1e308, INFINITY},
        {ELEMENT_RAD, 1e308, INFINITY}, {ELEMENT_DEG, NAN, NAN},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(ROWS); i++) {
        double got = apply(ROWS[i].function, ROWS[i].x);
        if (!same(got, ROWS[i].want, 0))
            fail_msg("%s(%g): got %.17g", element_function_names[ROWS[i].function], ROWS[i].x, got);
    }
}

static void test_operators_of_prometheus(void **state)
{
    static const struct {
        enum element_op op;
        double x, y, want;
    } ROWS[] = {
        {ELEMENT_ADD, 1, 2, 3},
        {ELEMENT_SUB, INFINITY, INFINITY, NAN},
        {ELEMENT_MUL, INFINITY, 0, NAN},
        {ELEMENT_DIV, 1, -0.0, -INFINITY},
        {ELEMENT_DIV, 0, 0, NAN},
        {ELEMENT_ROUND, 2.5, 1, 3},
        {ELEMENT_ROUND, -2.5, 1, -2},
        {ELEMENT_ROUND, -0.4, 1, 0},
        {ELEMENT_ROUND, 12.3, 5, 10},
        {ELEMENT_ROUND, 12.34, 0.1, 12.3},
        {ELEMENT_ROUND, 7, 0, NAN},
        {ELEMENT_ROUND, 7, -2, 6},
        {ELEMENT_ROUND, INFINITY, 1, INFINITY},
        {ELEMENT_EQL, 3, 3, 3},
        {ELEMENT_EQL, NAN, NAN, ABSENT},
        {ELEMENT_NEQ, NAN, NAN, NAN},
        {ELEMENT_NEQ, 3, 3, ABSENT},
        {ELEMENT_GTR, 3, 2, 3},
        {ELEMENT_GTR, NAN, 2, ABSENT},
        {ELEMENT_LSS, 3, 2, ABSENT},
        {ELEMENT_GTE, 3, 3, 3},
        {ELEMENT_LTE, -0.0, 0, -0.0},
        {ELEMENT_GTR_BOOL, 3, 2, 1},
        {ELEMENT_GTR_BOOL, NAN, 2, 0},
        {ELEMENT_NEQ_BOOL, NAN, NAN, 1},
        {ELEMENT_EQL_BOOL, 0, -0.0, 1},
        {ELEMENT_LTE_BOOL, 4, 2, 0},
        {ELEMENT_AND, 5, 9, 5},
        {ELEMENT_UNLESS, 5, 9, ABSENT},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(ROWS); i++) {
        double got = combine(ROWS[i].op, ROWS[i].x, ROWS[i].y);
        if (!same(got, ROWS[i].want, 1e-15))
            fail_msg("%s(%g, %g): got %.17g", element_op_names[ROWS[i].op], ROWS[i].x, ROWS[i].y, got);
    }
}

static void test_a_comparison_keeps_the_vector_s_side(void **state)
{
    double scalar = 5, list[] = {4, 5, 6}, result[3];
    uint64_t all = 7, present;
    struct element_side vector = {list, &all, false}, constant = {&scalar, NULL, true};
    element_combine(ELEMENT_GTR, &vector, &constant, 3, result, &present);
    assert_int_equal(present, 4);
    assert_true(result[2] == 6);
    element_combine(ELEMENT_GTR, &constant, &vector, 3, result, &present);
    assert_int_equal(present, 1);
    assert_true(result[0] == 4);
    element_combine(ELEMENT_LTE_BOOL, &constant, &vector, 3, result, &present);
    assert_int_equal(present, 7);
    assert_true(result[0] == 0 && result[1] == 1 && result[2] == 1);
}

static void test_clamp(void **state)
{
    static const struct {
        double x, least, most, want;
    } ROWS[] = {
        {5, 1, 3, 3},           {-5, 1, 3, 1},
        {2, 1, 3, 2},           {2, 3, 1, ABSENT},
        {NAN, 1, 3, NAN},       {2, NAN, 3, NAN},
        {2, 1, NAN, NAN},       {INFINITY, 1, NAN, NAN},
        {-INFINITY, 1, NAN, 1}, {2, INFINITY, NAN, INFINITY},
        {2, NAN, NAN, NAN},     {-0.0, 0, 3, 0},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(ROWS); i++) {
        uint64_t one = 1, present;
        double got;
        element_clamp(&(struct element_side){&ROWS[i].x, &one, false},
                      &(struct element_side){&ROWS[i].least, NULL, true},
                      &(struct element_side){&ROWS[i].most, &one, false}, 1, &got, &present);
        if (!same(present ? got : ABSENT, ROWS[i].want, 0))
            fail_msg("clamp(%g, %g, %g): got %g (%d)", ROWS[i].x, ROWS[i].least, ROWS[i].most, got, (int)present);
    }
}

/* A civil calendar by counting days one after the other. */
static void test_days_one_by_one(void **state)
{
    static const int LENGTHS[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int year = 1200, month = 1, day = 1, of_year = 1;
    for (int64_t n = -281237 /* 1200-01-01 */; n < 250000; n++) {
        bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        int length = LENGTHS[month - 1] + (month == 2 && leap);
        double noon = (double)(n * 86400 + 43200);
        assert_int_equal(apply(ELEMENT_YEAR, noon), year);
        assert_int_equal(apply(ELEMENT_MONTH, noon), month);
        assert_int_equal(apply(ELEMENT_DAY_OF_MONTH, noon), day);
        assert_int_equal(apply(ELEMENT_DAY_OF_YEAR, noon), of_year);
        assert_int_equal(apply(ELEMENT_DAYS_IN_MONTH, noon), length);
        of_year++;
        if (++day > length) {
            day = 1;
            if (++month > 12) {
                month = 1;
                of_year = 1;
                year++;
            }
        }
    }
}

/* --- presence --- */

#define N 150

static void test_presence(void **state)
{
    for (uint64_t seed = 1; seed <= 300; seed++) {
        struct random r = random_from(seed);
        double left[N], right[N], got[N];
        uint64_t a[3] = {0}, b[3] = {0}, present[3];
        size_t n = 1 + random_below(&r, N);
        for (size_t i = 0; i < n; i++) {
            left[i] = (double)random_below(&r, 5);
            right[i] = (double)random_below(&r, 5);
            if (random_below(&r, 3))
                bits_set(a, i);
            if (random_below(&r, 3))
                bits_set(b, i);
        }
        for (int op = 0; op < ELEMENT_OP_MAX; op++) {
            element_combine((enum element_op)op, &(struct element_side){left, a, false},
                            &(struct element_side){right, b, false}, n, got, present);
            for (size_t i = 0; i < n; i++) {
                bool both = bits_get(a, i) && bits_get(b, i);
                double want = combine((enum element_op)op, left[i], right[i]);
                bool has = op == ELEMENT_UNLESS ? bits_get(a, i) && !bits_get(b, i) : both && want != ABSENT;
                assert_int_equal(bits_get(present, i), has);
                if (has)
                    assert_true(same(got[i], op == ELEMENT_UNLESS ? left[i] : want, 0));
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_go),
        cmocka_unit_test(test_functions_of_prometheus),
        cmocka_unit_test(test_operators_of_prometheus),
        cmocka_unit_test(test_a_comparison_keeps_the_vector_s_side),
        cmocka_unit_test(test_clamp),
        cmocka_unit_test(test_days_one_by_one),
        cmocka_unit_test(test_presence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
