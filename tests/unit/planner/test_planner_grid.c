/* tests/unit/planner/test_planner_grid.c: evaluation grids, from the formulas and against enumeration. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/assert.h"
#include "planner/grid.h"
#include "planner_fixture.h"

/* --- ranges and instants --- */

static void test_range(void **state)
{
    static const struct {
        int64_t start, end, step;
        uint32_t steps;
        int64_t last;
    } cases[] = {
        {0, 0, 60, 1, 0},        {0, 59, 60, 1, 0},
        {0, 60, 60, 2, 60},      {7, 127, 60, 3, 127}, /* the end is on phase */
        {7, 126, 60, 2, 67},                           /* one millisecond short of it */
        {-100, 100, 50, 5, 100}, {100, 99, 60, 0, 100},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct grid grid = grid_range(cases[i].start, cases[i].end, cases[i].step);
        assert_int_equal(grid.steps, cases[i].steps);
        assert_int_equal(grid_end(grid), cases[i].last);
    }
    assert_int_equal(grid_instant(42).steps, 1);
    assert_int_equal(grid_end(grid_instant(-42)), -42);
}

static void test_huge_times_do_not_overflow(void **state)
{
    struct grid grid = grid_range(INT64_MIN, INT64_MAX, 1);
    assert_int_equal(grid.steps, UINT32_MAX);
    struct duration offset = {.present = true, .ms = INT64_MIN};
    bool pinned;
    struct grid shifted = grid_shift(grid_instant(INT64_MAX), &offset, AT_NONE, 0, (struct time_span){0, 0}, &pinned);
    assert_int_equal(shifted.start_ms, GRID_TIME_MAX);
    struct time_span span = grid_window_span(grid_instant(INT64_MIN), INT64_MAX, WINDOW_LEFT_OPEN);
    assert_int_equal(span.max_ms, -GRID_TIME_MAX);
    assert_int_equal(time_add(INT64_MAX, INT64_MAX), GRID_TIME_MAX);
    assert_int_equal(time_add(INT64_MIN, -1), -GRID_TIME_MAX);
}

static void test_equality_ignores_the_step_of_one_step(void **state)
{
    assert_true(grid_eq(grid_range(5, 5, 10), grid_range(5, 5, 20)));
    assert_false(grid_eq(grid_range(5, 25, 10), grid_range(5, 25, 20)));
    assert_false(grid_eq(grid_range(5, 25, 10), grid_range(6, 26, 10)));
    assert_false(grid_eq(grid_range(5, 25, 10), grid_range(5, 26, 10)));
}

/* --- offset and @ --- */

static void test_shift(void **state)
{
    static const struct {
        int64_t offset;
        enum at_kind at;
        int64_t at_ms;
        int64_t start;
        uint32_t steps;
    } cases[] = {
        {0, AT_NONE, 0, 1000, 5}, {300, AT_NONE, 0, 700, 5},  {-300, AT_NONE, 0, 1300, 5}, {0, AT_TIME, 77, 77, 1},
        {7, AT_TIME, 77, 70, 1},  {-7, AT_TIME, -77, -70, 1}, {0, AT_START, 0, 1000, 1},   {100, AT_START, 0, 900, 1},
        {0, AT_END, 0, 1999, 1},  {-1, AT_END, 0, 2000, 1},
    };
    struct grid grid = grid_range(1000, 1999, 200);
    struct time_span query = {1000, 1999}; /* @ end() is the request's end, not the last step */
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct duration offset = {.present = cases[i].offset != 0, .ms = cases[i].offset};
        bool pinned;
        struct grid shifted = grid_shift(grid, &offset, cases[i].at, cases[i].at_ms, query, &pinned);
        assert_int_equal(shifted.start_ms, cases[i].start);
        assert_int_equal(shifted.steps, cases[i].steps);
        assert_int_equal(shifted.rest_ms, cases[i].at == AT_NONE ? 199 : 0);
        assert_int_equal(pinned, cases[i].at != AT_NONE);
    }
}

/* --- subqueries --- */

static void test_subquery(void **state)
{
    static const struct {
        int64_t start, end, outer_step, range, step;
        enum window_rule rule;
        int64_t inner_start;
        uint32_t inner_steps;
    } cases[] = {
        /* aligned left edge: in the closed window, not in the left-open one */
        {600, 600, 1, 300, 100, WINDOW_CLOSED, 300, 4},
        {600, 600, 1, 300, 100, WINDOW_LEFT_OPEN, 400, 3},
        /* unaligned: the same under both rules */
        {650, 650, 1, 300, 100, WINDOW_CLOSED, 400, 3},
        {650, 650, 1, 300, 100, WINDOW_LEFT_OPEN, 400, 3},
        /* a whole outer grid, gaps between its windows included */
        {600, 2600, 1000, 300, 100, WINDOW_LEFT_OPEN, 400, 23},
        /* across and below zero: truncation toward zero is already right of the edge */
        {50, 50, 1, 200, 100, WINDOW_CLOSED, -100, 2},
        {0, 0, 1, 200, 100, WINDOW_CLOSED, -200, 3},
        {0, 0, 1, 200, 100, WINDOW_LEFT_OPEN, -100, 2},
        {-50, -50, 1, 300, 100, WINDOW_LEFT_OPEN, -300, 3},
        {-650, -650, 1, 300, 100, WINDOW_CLOSED, -900, 3},
        /* no multiple in the range: empty, start still set */
        {650, 650, 1, 20, 100, WINDOW_CLOSED, 700, 0},
        {600, 600, 1, 100, 700, WINDOW_LEFT_OPEN, 700, 0},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct grid outer = grid_range(cases[i].start, cases[i].end, cases[i].outer_step);
        struct grid inner = grid_subquery(outer, cases[i].range, cases[i].step, cases[i].rule);
        assert_int_equal(inner.start_ms, cases[i].inner_start);
        assert_int_equal(inner.steps, cases[i].inner_steps);
        assert_int_equal(inner.step_ms, cases[i].step);
    }
}

static bool in_window(int64_t t, int64_t end, int64_t range, enum window_rule rule)
{
    return t <= end && (rule == WINDOW_CLOSED ? t >= end - range : t > end - range);
}

static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

/* Millisecond by millisecond: which are multiples between the first window's edge and the end asked for, and which
 * any window may read. */
static void test_against_enumeration(void **state)
{
    uint32_t seed = 20261;
    for (int round = 0; round < 4000; round++) {
        struct grid outer = {.start_ms = (int64_t)(next_random(&seed) % 400) - 200,
                             .step_ms = 1 + next_random(&seed) % 40,
                             .steps = 1 + next_random(&seed) % 6,
                             .rest_ms = next_random(&seed) % 50};
        int64_t range = 1 + next_random(&seed) % 80;
        int64_t step = 1 + next_random(&seed) % 50;
        enum window_rule rule = next_random(&seed) % 2 ? WINDOW_CLOSED : WINDOW_LEFT_OPEN;
        struct grid inner = grid_subquery(outer, range, step, rule);
        struct time_span span = grid_window_span(outer, range, rule);
        uint32_t met = 0;
        int64_t min = INT64_MAX, max = INT64_MIN;
        for (int64_t t = -600; t <= 800; t++) {
            bool from_first = rule == WINDOW_CLOSED ? t >= outer.start_ms - range : t > outer.start_ms - range;
            if (t % step == 0 && from_first && t <= grid_end(outer) + outer.rest_ms) {
                assert_int_equal(grid_time(inner, met), t);
                met++;
            }
            for (uint32_t k = 0; k < outer.steps; k++)
                if (in_window(t, grid_time(outer, k), range, rule)) {
                    min = t < min ? t : min;
                    max = t;
                }
        }
        assert_int_equal(inner.steps, met);
        if (met)
            assert_int_equal(grid_end(inner) + inner.rest_ms, grid_end(outer) + outer.rest_ms);
        assert_int_equal(span.min_ms, min);
        assert_int_equal(span.max_ms, max);
    }
}

static void test_span_union(void **state)
{
    struct time_span none = {0, -1};
    struct time_span joined = time_span_union((struct time_span){10, 20}, (struct time_span){30, 40});
    assert_int_equal(joined.min_ms, 10);
    assert_int_equal(joined.max_ms, 40);
    assert_int_equal(time_span_union(none, joined).min_ms, 10);
    assert_int_equal(time_span_union(joined, none).max_ms, 40);
    struct grid empty = {.start_ms = 5, .step_ms = 1, .steps = 0};
    assert_true(grid_window_span(empty, 100, WINDOW_CLOSED).max_ms <
                grid_window_span(empty, 100, WINDOW_CLOSED).min_ms);
}

/* --- step invariance --- */

static void test_step_invariance(void **state)
{
    static const struct {
        const char *query;
        bool invariant;
    } cases[] = {
        {"x", false},
        {"x @ 10", true},
        {"1 + 2", true},
        {"time()", false},
        {"rate(x[5m] @ end())", true},
        {"sum(x @ 1) + y", false},
        {"sum(x @ 1) + y @ 2", true},
        {"max_over_time((x @ 1)[5m:1m])", false},
        {"max_over_time(x[5m:1m] @ 1)", true},
        {"timestamp(x @ 1)", false},
        {"predict_linear(x[5m] @ 1, 60)", false},
        {"topk(scalar(x), y @ 1)", true}, /* as upstream: the parameter has no say */
        {"-(x @ 1)", true},
        {"quantile_over_time(scalar(x), y[5m] @ 1)", false},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct arena arena;
        arena_init(&arena, 1u << 20);
        struct query_text query;
        struct error error;
        enum status status =
            promql_parse(&arena, str_from(cases[i].query), &PARSE_LIMITS_DEFAULT, &fixture_regex, &query, &error);
        if (status != OK)
            fail_msg("%s: %s", cases[i].query, error.message);
        if (grid_step_invariant(query.root) != cases[i].invariant)
            fail_msg("%s", cases[i].query);
        arena_release(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_range),
        cmocka_unit_test(test_huge_times_do_not_overflow),
        cmocka_unit_test(test_equality_ignores_the_step_of_one_step),
        cmocka_unit_test(test_shift),
        cmocka_unit_test(test_subquery),
        cmocka_unit_test(test_against_enumeration),
        cmocka_unit_test(test_span_union),
        cmocka_unit_test(test_step_invariance),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
