/* test_pace: times come out of pace and drifts as they went in, and regular ones leave no drift. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "backend/kernels/pace.h"
#include "base/assert.h"
#include "tests/unit/backend/random.h"

enum {
    MANY = 700
};

static void expect_back(const int64_t *time_ms, size_t n, int64_t pace_ms)
{
    int32_t drift[MANY];
    int64_t back[MANY];
    pace_drifts(time_ms, n, pace_ms, drift);
    pace_times(time_ms[0], pace_ms, drift, n, back);
    assert_int_equal(drift[0], 0);
    assert_memory_equal(back, time_ms, n * sizeof *back);
}

static void paces(void **state)
{
    static const struct {
        int64_t time_ms[6];
        size_t n;
        int64_t pace_ms;
    } CASES[] = {
        {{7}, 1, 0},
        {{7, 10}, 2, 3},
        {{0, 15000, 30000, 45000}, 4, 15000},
        {{1, 15001, 30002, 45000}, 4, 15000},        /* the first distance */
        {{0, 14000, 30000, 45000, 60000}, 5, 15000}, /* the mean */
        {{0, 15000, 45000, 60000, 75000}, 5, 18750}, /* one lacks */
        {{INT64_MIN, INT64_MIN + 5, INT64_MIN + 10}, 3, 5},
        {{INT64_MAX - 10, INT64_MAX - 5, INT64_MAX}, 3, 5},
        {{0, 1, PACE_SPAN_MAX_MS}, 3, 1},
        {{0, PACE_SPAN_MAX_MS - 1, PACE_SPAN_MAX_MS}, 3, PACE_SPAN_MAX_MS / 2},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(CASES); i++) {
        int64_t pace_ms = pace_of(CASES[i].time_ms, CASES[i].n);
        if (i != 8) /* either way the span is all in one drift */
            assert_int_equal(pace_ms, CASES[i].pace_ms);
        expect_back(CASES[i].time_ms, CASES[i].n, pace_ms);
    }
}

static void regular_times_have_no_drift(void **state)
{
    int64_t time_ms[MANY];
    int32_t drift[MANY], none[MANY] = {0};
    for (int64_t pace_ms = 1; pace_ms <= 1000000; pace_ms *= 10) {
        for (size_t i = 0; i < MANY; i++)
            time_ms[i] = 1700000000123 + (int64_t)i * pace_ms;
        assert_int_equal(pace_of(time_ms, MANY), pace_ms);
        pace_drifts(time_ms, MANY, pace_ms, drift);
        assert_memory_equal(drift, none, sizeof none);
    }
}

static void any_times_come_back(void **state)
{
    struct random r = random_from(11);
    for (int round = 0; round < 3000; round++) {
        int64_t time_ms[MANY];
        size_t n = 1 + random_below(&r, MANY);
        uint64_t most = UINT64_C(1) << (1 + random_below(&r, 19));
        time_ms[0] = (int64_t)random_below(&r, UINT64_C(1) << 42) - (INT64_C(1) << 41);
        for (size_t i = 1; i < n; i++)
            time_ms[i] = time_ms[i - 1] + 1 + (int64_t)random_below(&r, most);
        expect_back(time_ms, n, pace_of(time_ms, n));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paces),
        cmocka_unit_test(regular_times_have_no_drift),
        cmocka_unit_test(any_times_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
