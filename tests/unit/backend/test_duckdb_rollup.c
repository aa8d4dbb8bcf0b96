/* tests/unit/backend/test_duckdb_rollup.c: rollups change what a query costs and nothing else. A store that keeps them
 * and one that does not are given the same writes, late ones and deletions among them; after each round the first one's
 * rollups are those of its chunks (verify), and queries that may read them answer as those of the other one. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/assert.h"
#include "base/float_text.h"
#include "planner/split.h"
#include "promql/parse.h"
#include "tests/unit/backend/fixture.h"
#include "tests/unit/backend/random.h"

#define MINUTE  INT64_C(60000)
#define HOUR    (60 * MINUTE)
#define BATCH_N 6000

static const struct rollup_settings ALL_LEVELS = {.levels_ms = {HOUR, 5 * MINUTE, MINUTE}, .levels_n = 3};

static void begin(struct fixture *f, const struct rollup_settings *rollups)
{
    fixture_init_on_disk(f);
    fixture_close(f);
    f->rollups = rollups;
    f->out_of_order_window_ms = INT64_MAX;
    fixture_open(f);
}

static void reopen(struct fixture *f)
{
    fixture_close(f);
    fixture_open(f);
}

/* --- queries --- */

static struct grid_result *ask(struct fixture *f, const char *promql, struct grid grid, enum window_rule rule,
                               int64_t *ret_rollup_ms)
{
    struct query_text query;
    struct split split;
    struct error error;
    struct parse_limits limits = PARSE_LIMITS_DEFAULT;
    struct regex_engine regex = f->backend->ops->regex(f->backend);
    struct plan_options options = {.can = f->backend->ops->capabilities,
                                   .push = PUSH_ALL,
                                   .rule = rule,
                                   .lookback_ms = 5 * MINUTE,
                                   .subquery_step_ms = MINUTE,
                                   .fragments_max = 10,
                                   .points_max = 11000};
    if (f->rollups) {
        options.rollups_ms = f->rollups->levels_ms;
        options.rollups_n = f->rollups->levels_n;
    }
    if (promql_parse(&f->arena, str_from(promql), &limits, &regex, &query, &error) != OK ||
        promql_resolve_durations(query.root, grid.step_ms, 0, &error) != OK ||
        split_query(&f->arena, &query, grid, &options, &split, &error) != OK)
        fail_msg("%s: %s", promql, error.message);
    assert_true(split.direct);
    *ret_rollup_ms = split.fragments[0].rollup_ms;
    return run_ok(f, &split.fragments[0]);
}

static void expect_same_result(const char *promql, const struct grid_result *a, const struct grid_result *b, bool exact)
{
    assert_int_equal(a->series_n, b->series_n);
    for (size_t i = 0; i < a->series_n; i++) {
        assert_true(labels_eq(a->series[i].labels, b->series[i].labels));
        for (uint32_t k = 0; k < a->grid.steps; k++) {
            double x = a->series[i].values[k], y = b->series[i].values[k];
            if (!grid_series_has(&a->series[i], k) && !grid_series_has(&b->series[i], k))
                continue;
            bool same = exact ? double_bits(x) == double_bits(y) : fabs(x - y) <= 1e-12 * fabs(x);
            if (grid_series_has(&a->series[i], k) != grid_series_has(&b->series[i], k) || !same)
                fail_msg("%s, series %zu, step %u: %.17g with samples, %.17g with rollups", promql, i, k, x, y);
        }
    }
}

/* Every function, with windows that a level divides and windows that none does. */
static void expect_same_answers(struct fixture *raw, struct fixture *rolled, struct random *seed, unsigned *of_level)
{
    static const char *const FUNCTIONS[] = {
        "rate",          "increase",        "delta",          "resets",          "min_over_time",
        "max_over_time", "first_over_time", "last_over_time", "count_over_time", "present_over_time",
        "sum_over_time", "avg_over_time",   "changes",        "stddev_over_time"};
    static const char *const SELECTORS[] = {"m0", "m1{s=\"2\"}", "m1{s=~\"1|3\"}", "m0{s!=\"0\"}"};
    static const char *const WINDOWS[] = {"1m", "3m", "5m", "10m", "1h", "2h", "26h", "90s"};
    static const char *const OFFSETS[] = {"", "", " offset 1m", " offset 1h", " offset 7s"};
    static const int64_t STEPS_MS[] = {MINUTE, 5 * MINUTE, HOUR, HOUR, 7 * MINUTE, 61000};
    for (int i = 0; i < 60; i++) {
        const char *function = FUNCTIONS[random_below(seed, ARRAY_LENGTH(FUNCTIONS))];
        char promql[200];
        snprintf(
            promql, sizeof promql, "%s(%s[%s]%s)", function, SELECTORS[random_below(seed, ARRAY_LENGTH(SELECTORS))],
            WINDOWS[random_below(seed, ARRAY_LENGTH(WINDOWS))], OFFSETS[random_below(seed, ARRAY_LENGTH(OFFSETS))]);
        int64_t step_ms = STEPS_MS[random_below(seed, ARRAY_LENGTH(STEPS_MS))];
        int64_t start_ms = ((int64_t)random_below(seed, 40) - 6) * HOUR;
        start_ms += random_below(seed, 2) ? (int64_t)random_below(seed, 12) * 5 * MINUTE : 0;
        start_ms += random_below(seed, 8) == 0 ? 1 : 0;
        struct grid grid = {start_ms, step_ms, 1 + (uint32_t)random_below(seed, 50)};
        enum window_rule rule = random_below(seed, 2) ? WINDOW_CLOSED : WINDOW_LEFT_OPEN;
        int64_t raw_ms, rollup_ms;
        struct grid_result *a = ask(raw, promql, grid, rule, &raw_ms), *b = ask(rolled, promql, grid, rule, &rollup_ms);
        assert_int_equal(raw_ms, 0);
        of_level[rollup_ms == 0 ? 0 : rollup_ms == MINUTE ? 1 : rollup_ms == HOUR ? 3 : 2]++;
        expect_same_result(promql, a, b, strncmp(function, "sum", 3) != 0 && strncmp(function, "avg", 3) != 0);
        grid_result_free(a);
        grid_result_free(b);
    }
}

/* --- writes --- */

static double random_value(struct random *seed, double before)
{
    switch (random_below(seed, 20)) {
    case 0:
        return (double)random_below(seed, 10); /* a reset */
    case 1:
        return -0.0;
    default:
        return before + random_unit(seed);
    }
}

static void append_to_all(struct fixture *stores[], size_t stores_n, struct random *seed, int64_t *now_ms)
{
    static struct sample samples[BATCH_N];
    struct append_series series[24];
    size_t n = 0, used = 0;
    char name[32];
    for (; n < ARRAY_LENGTH(series) && used + 400 < BATCH_N; n++) {
        snprintf(name, sizeof name, "m%d;s=%d", (int)random_below(seed, 2), (int)random_below(seed, 5));
        bool late = random_below(seed, 6) == 0;
        int64_t step_ms = 1 + (int64_t)random_below(seed, random_below(seed, 4) ? 20000 : 200000);
        int64_t at_ms = late ? (int64_t)random_below(seed, (uint64_t)(*now_ms + 10 * HOUR)) - 5 * HOUR : *now_ms;
        size_t run = 1 + random_below(seed, late ? 20 : 400);
        struct sample *first = samples + used;
        double value = 0;
        for (size_t i = 0; i < run; i++, at_ms += step_ms) {
            bool marker = random_below(seed, 60) == 0;
            value = random_value(seed, value);
            samples[used++] = (struct sample){at_ms, marker ? double_from_bits(STALE_NAN_BITS) : value};
        }
        series[n] = (struct append_series){labels_of(&stores[0]->arena, name), first, run};
    }
    *now_ms += (int64_t)random_below(seed, 2 * HOUR);
    for (size_t i = 0; i < stores_n; i++) {
        struct append_request request = {.series = series, .series_n = n};
        assert_int_equal(stores[i]->backend->ops->append(stores[i]->backend, &request, 1, NULL), OK);
    }
}

static void delete_from_all(struct fixture *stores[], size_t stores_n, struct random *seed, int64_t now_ms)
{
    char text[32];
    snprintf(text, sizeof text, "s=%d", (int)random_below(seed, 5));
    struct expr_selector selector = selector_of(&stores[0]->arena, text);
    int64_t from_ms = (int64_t)random_below(seed, (uint64_t)(now_ms + 6 * HOUR)) - 5 * HOUR;
    struct series_query query = {
        .selectors = &selector, .selectors_n = 1, .span = {from_ms, from_ms + (int64_t)random_below(seed, 6 * HOUR)}};
    uint64_t deleted[8] = {0};
    for (size_t i = 0; i < stores_n; i++) {
        assert_int_equal(stores[i]->backend->ops->delete_series(stores[i]->backend, &query, NULL, &deleted[i], NULL),
                         OK);
        assert_int_equal(deleted[i], deleted[0]);
    }
}

static void rollups_change_no_answer(void **state)
{
    struct fixture raw, rolled;
    struct fixture *stores[] = {&raw, &rolled};
    struct random seed = random_from(5);
    int64_t now_ms = -4 * HOUR;
    unsigned of_level[4] = {0};
    begin(&raw, NULL);
    begin(&rolled, &ALL_LEVELS);
    for (int round = 0; round < 14; round++) {
        append_to_all(stores, 2, &seed, &now_ms);
        if (random_below(&seed, 3) == 0)
            compact(&rolled);
        if (random_below(&seed, 5) == 0)
            delete_from_all(stores, 2, &seed, now_ms);
        if (random_below(&seed, 8) == 0)
            reopen(&rolled);
        expect_rules(&rolled);
        expect_same_answers(&raw, &rolled, &seed, of_level);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(of_level); i++)
        if (of_level[i] < 15)
            fail_msg("%u queries read level %zu", of_level[i], i);
    fixture_release(&raw);
    fixture_release(&rolled);
}

static uint64_t count(struct fixture *f, const char *sql)
{
    char *text = ARENA_ARRAY(&f->arena, char, 400);
    snprintf(text, 400, "SELECT [count(*)::DOUBLE] AS value FROM %s", sql);
    struct fragment fragment = fragment_of(&f->arena, text, (struct grid){0, 1, 1}, false, false, "");
    struct grid_result *result = run_ok(f, &fragment);
    uint64_t n = (uint64_t)result->series[0].values[0];
    grid_result_free(result);
    return n;
}

/* Ten hours of a counter, a sample each minute. */
static void fill(struct fixture *f, const char *series)
{
    struct sample samples[600];
    for (size_t i = 0; i < ARRAY_LENGTH(samples); i++)
        samples[i] = (struct sample){(int64_t)i * MINUTE, (double)i};
    append(f, series, samples, ARRAY_LENGTH(samples));
    compact(f);
}

static void settings_take_effect(void **state)
{
    struct fixture f;
    struct expr_selector of_a = {.matchers = NULL};
    begin(&f, NULL);
    fill(&f, "a");
    fill(&f, "b");
    assert_int_equal(count(&f, "rollups"), 0);
    f.rollups = &ALL_LEVELS;
    reopen(&f);
    compact(&f);
    expect_rules(&f);
    uint64_t all = count(&f, "rollups");
    assert_int_equal(count(&f, "rollups WHERE level = 3600000"), 2); /* of the whole day */
    assert_true(all > 20);
    f.rollups = NULL; /* a command that minds something else */
    reopen(&f);
    fill(&f, "c");
    expect_rules(&f);
    assert_true(count(&f, "rollups") > all);
    of_a = selector_of(&f.arena, "__name__=a");
    const struct rollup_settings chosen = {.levels_ms = {HOUR}, .levels_n = 1, .selectors = &of_a, .selectors_n = 1};
    f.rollups = &chosen;
    reopen(&f);
    compact(&f);
    expect_rules(&f);
    assert_int_equal(count(&f, "rollups"), 1);
    int64_t level_ms;
    static const char *const QUERIES[] = {"rate(a[1h])", "rate(b[1h])"};
    for (size_t i = 0; i < ARRAY_LENGTH(QUERIES); i++) {
        struct grid_result *result = ask(&f, QUERIES[i], (struct grid){2 * HOUR, HOUR, 3}, WINDOW_LEFT_OPEN, &level_ms);
        assert_int_equal(level_ms, HOUR);
        assert_string_equal(result_text(&f.arena, result), ": 0.0166667 0.0166667 0.0166667\n");
        grid_result_free(result);
    }
    const struct rollup_settings none = {.levels_n = 0};
    f.rollups = &none;
    reopen(&f);
    assert_int_equal(count(&f, "rollups"), 0);
    assert_int_equal(count(&f, "rolled"), 0);
    fixture_release(&f);
}

static void retention_takes_rollups(void **state)
{
    struct fixture f;
    begin(&f, &ALL_LEVELS);
    fill(&f, "a");
    fixture_close(&f);
    f.retention.time_ms = 5 * HOUR;
    fixture_open(&f);
    assert_int_equal(duckdb_backend_retain(f.backend, NULL), OK);
    expect_rules(&f);
    assert_int_equal(count(&f, "samples"), 360); /* from 4 h on: a partition goes when all of it is too old */
    assert_int_equal(count(&f, "rollups WHERE tmin < 14400000"), 0);
    assert_true(count(&f, "rollups") > 0);
    fixture_release(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rollups_change_no_answer),
        cmocka_unit_test(settings_take_effect),
        cmocka_unit_test(retention_takes_rollups),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
