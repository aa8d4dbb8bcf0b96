/* tests/unit/backend/test_duckdb_by_run.c: a fragment is computed run by run exactly where no window sees samples of
 * two runs, and its answer is then the one of the statement that brings the runs of a series together. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "backend/duckdb/duckdb_backend.h"
#include "base/assert.h"
#include "base/float_text.h"
#include "tests/unit/backend/fixture.h"
#include "tests/unit/backend/random.h"

#define MINUTE INT64_C(60000)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)

static const struct rollup_settings ALL_LEVELS = {.levels_ms = {HOUR, 5 * MINUTE, MINUTE}, .levels_n = 3};

static struct grid every(int64_t start_ms, int64_t end_ms, int64_t step_ms)
{
    return grid_range(start_ms, end_ms, step_ms);
}

/* Whether a query is computed run by run; either way it answers as it does when it is not. */
static bool by_run(struct fixture *f, const char *promql, struct grid grid, enum window_rule rule, bool exact)
{
    struct fragment fragment = planned(f, promql, grid, rule), other = fragment;
    other.sql_by_run = (struct str){NULL, 0};
    struct grid_result *a = run_ok(f, &other), *b = run_ok(f, &fragment);
    bool taken = b->by_run;
    assert_false(a->by_run);
    expect_same_result(promql, a, b, exact);
    grid_result_free(a);
    grid_result_free(b);
    return taken;
}

static void expect(struct fixture *f, bool taken, const char *promql, struct grid grid)
{
    if (by_run(f, promql, grid, WINDOW_LEFT_OPEN, false) != taken)
        fail_msg("%s is%s computed run by run", promql, taken ? " not" : "");
}

/* Samples of [from, to), one each `step`, `late` behind the step. */
static void fill(struct fixture *f, const char *series, int64_t from_ms, int64_t to_ms, int64_t step_ms,
                 int64_t late_ms)
{
    static struct sample samples[4000];
    size_t n = 0;
    for (int64_t at_ms = from_ms; at_ms < to_ms && n < ARRAY_LENGTH(samples); at_ms += step_ms, n++)
        samples[n] = (struct sample){at_ms + late_ms, (double)(at_ms / step_ms % 1000)};
    append(f, series, samples, n);
}

/* --- samples --- */

static void chunks_of_one_partition(void **state)
{
    static const char *const QUERIES[] = {
        "rate(a[5m])",
        "sum by (s) (rate(a[5m]))",
        "sum(a)",
        "a",
        "a{s=\"2\"}",
        "a{s=~\"1|3\"} * 2",
        "max_over_time(rate(a[1m])[10m:1m])",
        "rate(a[5m]) / on (s) b",
        "topk(1, a)",
        "absent(a{s=~\"9|8\"})",
        "quantile_over_time(0.3, a[7m])",
        "predict_linear(a[7m], 60)",
        "timestamp(a)",
        "sum(rate(a[5m])) / scalar(sum(b))",
        "count_values(\"v\", a)",
        "rate(a[5m] offset 3m)",
        "sum_over_time(a[5m] @ 3000)",
    };
    struct fixture f;
    fixture_init(&f);
    for (int s = 1; s <= 3; s++) {
        char name[16];
        snprintf(name, sizeof name, "a;s=%d", s);
        fill(&f, name, 2 * HOUR, 4 * HOUR, MINUTE, s);
        name[0] = 'b';
        fill(&f, name, 2 * HOUR, 4 * HOUR, MINUTE, s);
    }
    struct grid inside = every(150 * MINUTE, 3 * HOUR, MINUTE);
    expect(&f, false, "rate(a[5m])", inside); /* recent samples */
    compact(&f);
    for (size_t i = 0; i < ARRAY_LENGTH(QUERIES); i++)
        expect(&f, true, QUERIES[i], inside);
    expect(&f, false, "{__name__=~\"a|b\"}", inside); /* of several metrics */
    expect(&f, false, "{s=\"1\"}", inside);
    expect(&f, true, "rate(a[5m])", every(2 * HOUR, 4 * HOUR - MINUTE, MINUTE));
    expect(&f, false, "rate(nothing[5m])", inside);                  /* of no series */
    expect(&f, false, "rate(a[5m])", every(HOUR, 7 * HOUR, MINUTE)); /* too long a span to be asked for */
    APPEND(&f, "c", {5 * HOUR, 1});
    expect(&f, true, "rate(a[5m])", inside); /* recent samples elsewhere */
    APPEND(&f, "a;s=1", {4 * HOUR + MINUTE, 1});
    expect(&f, true, "rate(a[5m])", inside);
    expect(&f, false, "rate(a[5m])", every(3 * HOUR, 4 * HOUR + MINUTE, MINUTE));
    compact(&f);
    expect(&f, false, "rate(a[5m])", every(3 * HOUR, 4 * HOUR + MINUTE, MINUTE)); /* two partitions */
    expect(&f, true, "rate(a[5m])", inside);
    expect(&f, true, "rate(b[5m])", every(3 * HOUR, 4 * HOUR + MINUTE, MINUTE));
    expect(&f, false, "rate(b[5m]) / on (s) a", every(3 * HOUR, 4 * HOUR + MINUTE, MINUTE));
    fixture_release(&f);
}

static double random_value(struct random *seed, double before)
{
    switch (random_below(seed, 24)) {
    case 0:
        return (double)random_below(seed, 10);
    case 1:
        return -0.0;
    case 2:
        return double_from_bits(STALE_NAN_BITS);
    case 3:
        return random_below(seed, 2) ? double_from_bits(UINT64_C(0x7FF8000000000001)) : 1e308;
    default:
        return before + random_unit(seed);
    }
}

static void fill_randomly(struct fixture *f, struct random *seed, int64_t from_ms)
{
    static struct sample samples[400];
    for (int s = 0; s < 12; s++) {
        char name[16];
        int64_t at_ms = from_ms + (int64_t)random_below(seed, 2 * HOUR);
        int64_t step_ms = 1 + (int64_t)random_below(seed, random_below(seed, 3) ? 15000 : 200000);
        size_t n = 0, wanted = 1 + random_below(seed, ARRAY_LENGTH(samples));
        double value = 0;
        for (; n < wanted && at_ms < from_ms + 2 * HOUR; n++, at_ms += 1 + (int64_t)random_below(seed, 2 * step_ms)) {
            value = random_value(seed, value);
            samples[n] = (struct sample){at_ms, value};
        }
        snprintf(name, sizeof name, "a;s=%d", s);
        append(f, name, samples, n);
    }
    compact(f);
}

static void print_call(char *promql, size_t size, const struct window_kernel *kernel, uint64_t window_s)
{
    static const char *const FIRST[] = {"", "0.4, "};
    bool first = strcmp(kernel->name, "quantile_over_time") == 0;
    const char *rest = first || !kernel->parameters[0]    ? ""
                       : strcmp(kernel->parameters, "dd") ? ", 0.5"
                                                          : ", 0.5, 0.25";
    if (kernel->sees_markers)
        snprintf(promql, size, "%s", strcmp(kernel->name, "last") ? "timestamp(a)" : "a");
    else
        snprintf(promql, size, "%s(%sa[%us]%s)", kernel->name, FIRST[first], (unsigned)window_s, rest);
}

/* Prometheus 2 lacks some functions. */
static enum window_rule rule_of(const struct window_kernel *kernel, struct random *seed)
{
    static const char *const ONLY_3[] = {"double_exponential", "mad_", "ts_of_", "first_"};
    for (size_t i = 0; i < ARRAY_LENGTH(ONLY_3); i++) {
        if (strncmp(kernel->name, ONLY_3[i], strlen(ONLY_3[i])) == 0)
            return WINDOW_LEFT_OPEN;
    }
    return random_below(seed, 2) ? WINDOW_CLOSED : WINDOW_LEFT_OPEN;
}

/* Every function of a window, at any place in the partition; equal bits. */
static void functions_answer_alike(void **state)
{
    struct random seed = random_from(11);
    struct fixture f;
    fixture_init(&f);
    fill_randomly(&f, &seed, 4 * HOUR);
    for (int i = 0; i < 600; i++) {
        const struct window_kernel *kernel = &window_kernels[random_below(&seed, KERNEL_MAX)];
        char promql[100];
        if (kernel == &window_kernels[KERNEL_HOLT_WINTERS])
            continue; /* the older name of another one */
        uint64_t window_s = 1 + random_below(&seed, random_below(&seed, 4) ? 600 : 9000);
        print_call(promql, sizeof promql, kernel, window_s);
        enum window_rule rule = rule_of(kernel, &seed);
        struct grid grid = {.start_ms = 4 * HOUR + (int64_t)random_below(&seed, 150 * MINUTE),
                            .step_ms = 1 + (int64_t)random_below(&seed, 2 * MINUTE),
                            .steps = 1 + (uint32_t)random_below(&seed, 70)};
        if (grid_end(grid) >= 6 * HOUR || grid.start_ms - (int64_t)window_s * 1000 < 2 * HOUR)
            continue;
        assert_true(by_run(&f, promql, grid, rule, true));
    }
    fixture_release(&f);
}

/* --- rollups --- */

static void windows_in_spans_of_rollups(void **state)
{
    struct fixture f;
    fixture_init_rolled(&f, &ALL_LEVELS);
    for (int s = 1; s <= 3; s++) {
        char name[16];
        snprintf(name, sizeof name, "a;s=%d", s);
        fill(&f, name, 0, 50 * HOUR, MINUTE, s);
    }
    fill(&f, "even", 0, 50 * HOUR, MINUTE, 0);
    compact(&f);
    expect_rules(&f);
    struct grid hours = every(2 * HOUR, 49 * HOUR, HOUR);
    expect(&f, true, "sum(rate(a[1h]))", hours);
    expect(&f, true, "avg by (s) (sum_over_time(a[1h]) / 2)", hours);
    expect(&f, true, "max(max_over_time(a[4h]))", every(4 * HOUR, 48 * HOUR, 4 * HOUR));
    expect(&f, true, "quantile(0.5, increase(a{s=~\"1|2\"}[1h] offset 1h))", hours);
    expect(&f, true, "sum(rate(a[5m]))", every(130 * MINUTE, 200 * MINUTE, 5 * MINUTE));
    expect(&f, false, "rate(a[1h])", hours);                                 /* a series is several rows */
    expect(&f, false, "topk(1, rate(a[1h]))", hours);                        /* likewise */
    expect(&f, false, "sum(max_over_time(rate(a[1h])[3h:1h]))", hours);      /* over more than a row */
    expect(&f, false, "sum(rate(a[2h]))", every(2 * HOUR, 49 * HOUR, HOUR)); /* windows across midnight */
    expect(&f, true, "sum(rate(a[2h]))", every(2 * HOUR, 48 * HOUR, 2 * HOUR));
    expect(&f, false, "sum(rate(even[1h]))", hours); /* a sample at midnight */
    expect(&f, true, "sum(rate(even[1h]))", every(2 * HOUR, 23 * HOUR, HOUR));
    expect(&f, false, "sum(rate(even[1h]))", every(2 * HOUR, 24 * HOUR, HOUR));
    expect(&f, true, "sum(rate(a[1h]))", every(2 * HOUR, 95 * HOUR, HOUR));
    expect(&f, false, "sum(rate(a[1h]))", every(2 * HOUR, 97 * HOUR, HOUR)); /* lists too long for their rows */
    APPEND(&f, "b", {51 * HOUR, 1});
    expect(&f, false, "sum(rate(a[1h]))", every(2 * HOUR, 60 * HOUR, HOUR)); /* another metric's: not told apart */
    APPEND(&f, "a;s=2", {51 * HOUR, 1});
    expect(&f, false, "sum(rate(a[1h]))", every(2 * HOUR, 60 * HOUR, HOUR));
    expect(&f, true, "sum(rate(a[1h]))", hours);
    APPEND(&f, "a;s=2", {10 * HOUR + 17, 1}); /* late: joined to its chunk, and to its rollups */
    expect(&f, true, "sum(rate(a[1h]))", hours);
    fixture_release(&f);
}

static void series_without_rollups(void **state)
{
    struct fixture f;
    struct expr_selector selector;
    struct rollup_settings chosen = {.levels_ms = {HOUR}, .levels_n = 1, .selectors = &selector, .selectors_n = 1};
    fixture_init_rolled(&f, NULL);
    selector = selector_of(&f.arena, "s=~1|2");
    fixture_close(&f);
    f.rollups = &chosen;
    fixture_open(&f);
    fill(&f, "a;s=1", 0, 50 * HOUR, MINUTE, 1);
    fill(&f, "b;s=2", 0, 50 * HOUR, MINUTE, 1);
    fill(&f, "b;s=3", 0, 50 * HOUR, MINUTE, 1);
    compact(&f);
    expect(&f, true, "sum(rate(a[1h]))", every(2 * HOUR, 49 * HOUR, HOUR));
    expect(&f, false, "sum(rate(b[1h]))", every(2 * HOUR, 49 * HOUR, HOUR));
    fixture_release(&f);
}

/* Random windows over random samples, some of which lie on borders of spans. */
static void rollups_answer_alike(void **state)
{
    static const char *const FUNCTIONS[] = {"rate",          "increase",        "delta",           "resets",
                                            "min_over_time", "max_over_time",   "first_over_time", "last_over_time",
                                            "sum_over_time", "count_over_time", "avg_over_time"};
    static const char *const AGGREGATIONS[] = {"sum(", "avg by (s) (", "stddev(", "count by (s) (", "min by (s) ("};
    static const char *const WINDOWS[] = {"1m", "5m", "20m", "1h", "2h", "6h"};
    static const int64_t STEPS_MS[] = {MINUTE, 5 * MINUTE, 20 * MINUTE, HOUR, 2 * HOUR, 6 * HOUR};
    struct random seed = random_from(12);
    struct fixture f;
    unsigned taken_n = 0, n = 0;
    fixture_init_rolled(&f, &ALL_LEVELS);
    for (int64_t from_ms = 0; from_ms < 2 * DAY; from_ms += 2 * HOUR) {
        fill_randomly(&f, &seed, from_ms);
        if (from_ms > DAY && random_below(&seed, 6) == 0)
            APPEND(&f, "a;s=1", {from_ms + 2 * HOUR, 5});
    }
    compact(&f);
    expect_rules(&f);
    for (; n < 500; n++) {
        char promql[100];
        size_t w = random_below(&seed, ARRAY_LENGTH(WINDOWS));
        size_t s = random_below(&seed, 3) ? w : random_below(&seed, ARRAY_LENGTH(STEPS_MS));
        snprintf(promql, sizeof promql, "%s%s(a[%s]))", AGGREGATIONS[random_below(&seed, ARRAY_LENGTH(AGGREGATIONS))],
                 FUNCTIONS[random_below(&seed, ARRAY_LENGTH(FUNCTIONS))], WINDOWS[w]);
        struct grid grid = {.start_ms = DAY / 2 + (int64_t)random_below(&seed, 30) * STEPS_MS[w],
                            .step_ms = STEPS_MS[s],
                            .steps = 1 + (uint32_t)random_below(&seed, 30)};
        taken_n += by_run(&f, promql, grid, random_below(&seed, 3) ? WINDOW_LEFT_OPEN : WINDOW_CLOSED, false);
    }
    if (taken_n < 100 || taken_n > 450)
        fail_msg("%u of %u queries were computed run by run", taken_n, n);
    fixture_release(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunks_of_one_partition),     cmocka_unit_test(functions_answer_alike),
        cmocka_unit_test(windows_in_spans_of_rollups), cmocka_unit_test(series_without_rollups),
        cmocka_unit_test(rollups_answer_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
