/* tests/unit/backend/test_duckdb_rollup.c: rollups change what a query costs and nothing else. A store that keeps them
 * and one that does not are given the same writes, late ones and deletions among them; after each round the first one's
 * rollups are those of its chunks (verify), and queries that may read them answer as those of the other one. The same
 * holds where samples were dropped and their rollups kept, for queries that read rollups; others find what a store
 * finds that has dropped both. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "backend/duckdb/store.h"
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

static void reopen(struct fixture *f)
{
    fixture_close(f);
    fixture_open(f);
}

/* --- queries --- */

static void retain(struct fixture *f)
{
    struct error error;
    if (duckdb_backend_retain(f->backend, &error) != OK)
        fail_msg("%s", error.message);
}

static struct grid_result *ask(struct fixture *f, const char *promql, struct grid grid, enum window_rule rule,
                               int64_t *ret_rollup_ms)
{
    struct fragment fragment = planned(f, promql, grid, rule);
    *ret_rollup_ms = fragment.rollup_ms;
    return run_ok(f, &fragment);
}

struct question {
    char promql[200];
    struct grid grid;
    enum window_rule rule;
    bool exact;
};

/* What stands around a function: aggregations that are one with it, and others. */
static const char *random_aggregation(struct random *seed)
{
    static const char *const AGGREGATIONS[] = {
        "sum(",   "avg by (s) (",    "min(",    "max by (absent, s) (", "count by (s) (",
        "group(", "stddev by (s) (", "stdvar(", "sum without (s) (",    "quantile by (s) (0.5, "};
    return random_below(seed, 2) ? AGGREGATIONS[random_below(seed, ARRAY_LENGTH(AGGREGATIONS))] : "";
}

/* Every function, with windows that a level divides and windows that none does; of the hours from first_h on. */
static struct question random_question(struct random *seed, int64_t first_h, uint64_t hours)
{
    static const char *const FUNCTIONS[] = {
        "rate",          "increase",        "delta",          "resets",          "min_over_time",
        "max_over_time", "first_over_time", "last_over_time", "count_over_time", "present_over_time",
        "sum_over_time", "avg_over_time",   "changes",        "stddev_over_time"};
    static const char *const SELECTORS[] = {"m0", "m1{s=\"2\"}", "m1{s=~\"1|3\"}", "m0{s!=\"0\"}"};
    static const char *const WINDOWS[] = {"1m", "3m", "5m", "10m", "1h", "2h", "26h", "90s"};
    static const char *const OFFSETS[] = {"", "", " offset 1m", " offset 1h", " offset 7s"};
    static const int64_t STEPS_MS[] = {MINUTE, 5 * MINUTE, HOUR, HOUR, 7 * MINUTE, 61000};
    const char *function = FUNCTIONS[random_below(seed, ARRAY_LENGTH(FUNCTIONS))];
    const char *aggregation = random_aggregation(seed);
    struct question q = {.exact =
                             !*aggregation && strncmp(function, "sum", 3) != 0 && strncmp(function, "avg", 3) != 0};
    snprintf(q.promql, sizeof q.promql, "%s%s(%s[%s]%s)%s", aggregation, function,
             SELECTORS[random_below(seed, ARRAY_LENGTH(SELECTORS))], WINDOWS[random_below(seed, ARRAY_LENGTH(WINDOWS))],
             OFFSETS[random_below(seed, ARRAY_LENGTH(OFFSETS))], *aggregation ? ")" : "");
    int64_t step_ms = STEPS_MS[random_below(seed, ARRAY_LENGTH(STEPS_MS))];
    int64_t start_ms = ((int64_t)random_below(seed, hours) + first_h) * HOUR;
    start_ms += random_below(seed, 2) ? (int64_t)random_below(seed, 12) * 5 * MINUTE : 0;
    start_ms += random_below(seed, 8) == 0 ? 1 : 0;
    q.grid = (struct grid){.start_ms = start_ms, .step_ms = step_ms, .steps = 1 + (uint32_t)random_below(seed, 50)};
    q.rule = random_below(seed, 2) ? WINDOW_CLOSED : WINDOW_LEFT_OPEN;
    return q;
}

/* Which level a store with all of them reads, as an index of of_level. */
static size_t level_index(int64_t rollup_ms)
{
    return rollup_ms == 0 ? 0 : rollup_ms == MINUTE ? 1 : rollup_ms == HOUR ? 3 : 2;
}

static void expect_same_answers(struct fixture *raw, struct fixture *rolled, struct random *seed, unsigned *of_level)
{
    for (int i = 0; i < 60; i++) {
        struct question q = random_question(seed, -6, 40);
        int64_t raw_ms, rollup_ms;
        struct grid_result *a = ask(raw, q.promql, q.grid, q.rule, &raw_ms);
        struct grid_result *b = ask(rolled, q.promql, q.grid, q.rule, &rollup_ms);
        assert_int_equal(raw_ms, 0);
        of_level[level_index(rollup_ms)]++;
        expect_same_result(q.promql, a, b, q.exact);
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

/* Nothing before oldest_ms. */
static void append_to_all(struct fixture *stores[], size_t stores_n, struct random *seed, int64_t *now_ms,
                          int64_t oldest_ms)
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
        at_ms = at_ms < oldest_ms ? oldest_ms : at_ms;
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
    fixture_init_rolled(&raw, NULL);
    fixture_init_rolled(&rolled, &ALL_LEVELS);
    for (int round = 0; round < 14; round++) {
        append_to_all(stores, 2, &seed, &now_ms, INT64_MIN);
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
    struct fragment fragment =
        fragment_of(&f->arena, text, (struct grid){.start_ms = 0, .step_ms = 1, .steps = 1}, false, false, "");
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

/* As a store that was made before there were these. */
static void forget_readers(struct fixture *f)
{
    struct connection *connection = store_of(f->backend)->compactor.connection;
    assert_int_equal(engine_execute(connection, "DROP MACRO TABLE rolled_edges", NULL), OK);
    assert_int_equal(engine_execute(connection, "DROP MACRO TABLE rolled_sums", NULL), OK);
}

static void settings_take_effect(void **state)
{
    struct fixture f;
    struct expr_selector of_a = {.matchers = NULL};
    fixture_init_rolled(&f, NULL);
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
    forget_readers(&f);
    reopen(&f);
    int64_t level_ms;
    static const char *const QUERIES[] = {"rate(a[1h])", "rate(b[1h])"};
    for (size_t i = 0; i < ARRAY_LENGTH(QUERIES); i++) {
        struct grid_result *result =
            ask(&f, QUERIES[i], (struct grid){.start_ms = 2 * HOUR, .step_ms = HOUR, .steps = 3}, WINDOW_LEFT_OPEN,
                &level_ms);
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

#define MANY 3000 /* series of each of two metrics: more than one slice of the level of a minute takes */

/* Samples of two metrics' series, one each hour of [from_h, to_h). */
static void append_hours(struct fixture *f, int64_t from_h, int64_t to_h)
{
    static struct append_series series[2 * MANY];
    struct sample samples[24];
    char name[32];
    for (int64_t h = from_h; h < to_h; h++)
        samples[h - from_h] = (struct sample){h * HOUR + MINUTE, (double)h};
    for (int i = 0; i < 2 * MANY; i++) {
        snprintf(name, sizeof name, "%s;i=%d", i % 2 ? "m" : "n", i);
        series[i] = (struct append_series){labels_of(&f->arena, name), samples, (size_t)(to_h - from_h)};
    }
    struct append_request request = {.series = series, .series_n = ARRAY_LENGTH(series)};
    assert_int_equal(f->backend->ops->append(f->backend, &request, 1, NULL), OK);
    compact(f);
}

/* Rollups of many series are made slice by slice, and rows that are there already are continued. */
static void many_series_have_rollups(void **state)
{
    static const char *const QUERIES[] = {"sum(sum_over_time(m[1h]))", "sum(count_over_time(n[4h]))"};
    static const char *const ANSWERS[] = {": 3000 6000 9000 12000\n", ": 3000 6000 9000 12000\n"};
    struct fixture f;
    int64_t level_ms;
    fixture_init_rolled(&f, &ALL_LEVELS);
    append_hours(&f, 0, 3);
    append_hours(&f, 3, 5);
    expect_rules(&f);
    assert_int_equal(count(&f, "rollups WHERE level = 3600000"), 2 * MANY);
    assert_int_equal(count(&f, "rollups WHERE level = 60000"), 2 * MANY * 3); /* of two hours each */
    for (size_t i = 0; i < ARRAY_LENGTH(QUERIES); i++) {
        struct grid grid = {.start_ms = i == 0 ? 2 * HOUR : HOUR, .step_ms = HOUR, .steps = 4};
        struct grid_result *result = ask(&f, QUERIES[i], grid, WINDOW_LEFT_OPEN, &level_ms);
        assert_int_equal(level_ms, HOUR);
        assert_string_equal(result_text(&f.arena, result), ANSWERS[i]);
        grid_result_free(result);
    }
    fixture_release(&f);
}

static void retention_takes_rollups(void **state)
{
    struct fixture f;
    fixture_init_rolled(&f, &ALL_LEVELS);
    fill(&f, "a");
    fixture_close(&f);
    f.retention.time_ms = 5 * HOUR;
    fixture_open(&f);
    retain(&f);
    expect_rules(&f);
    assert_int_equal(count(&f, "samples"), 360); /* from 4 h on: a partition goes when all of it is too old */
    assert_int_equal(count(&f, "rollups WHERE tmin < 14400000"), 0);
    assert_true(count(&f, "rollups") > 0);
    fixture_release(&f);
}

/* --- rollups that outlive their samples --- */

static int64_t floor_to(int64_t time_ms, int64_t length_ms)
{
    int64_t over = time_ms % length_ms;
    return time_ms - (over < 0 ? over + length_ms : over);
}

/* What is deleted from `rolled` behind its horizon takes whole buckets with it, which are samples of `raw`. */
static void delete_alike(struct fixture *raw, struct fixture *rolled, struct fixture *dropped, struct random *seed,
                         int64_t now_ms)
{
    struct expr_selector selector = selector_of(&raw->arena, random_below(seed, 2) ? "s=1" : "__name__=m0 s=2");
    int64_t from_ms = (int64_t)random_below(seed, (uint64_t)(now_ms + 6 * HOUR)) - 5 * HOUR;
    struct time_span span = {from_ms, from_ms + (int64_t)random_below(seed, 6 * HOUR)}, touched = span;
    compact(rolled);
    retain(rolled); /* now, and not between this look and the deletion */
    int64_t raw_from_ms = atomic_load(&rolled->backend->raw_from_ms);
    if (raw_from_ms && span.min_ms < raw_from_ms)
        touched.min_ms = floor_to(span.min_ms - 1, HOUR) + 1;
    if (raw_from_ms && span.max_ms < raw_from_ms) {
        touched.max_ms = floor_to(span.max_ms - 1, HOUR) + HOUR;
        touched.max_ms = touched.max_ms < raw_from_ms ? touched.max_ms : raw_from_ms - 1;
    }
    struct series_query query = {.selectors = &selector, .selectors_n = 1, .span = span};
    uint64_t deleted;
    assert_int_equal(rolled->backend->ops->delete_series(rolled->backend, &query, NULL, &deleted, NULL), OK);
    assert_int_equal(dropped->backend->ops->delete_series(dropped->backend, &query, NULL, &deleted, NULL), OK);
    query.span = touched;
    assert_int_equal(raw->backend->ops->delete_series(raw->backend, &query, NULL, &deleted, NULL), OK);
}

static void outliving_rollups_answer_as_samples_did(void **state)
{
    struct fixture raw, rolled, dropped;
    struct fixture *stores[] = {&raw, &rolled, &dropped};
    struct random seed = random_from(11);
    int64_t now_ms = -6 * HOUR, horizon_ms = 0;
    unsigned of_level[4] = {0}, moved_on = 0;
    fixture_init_rolled(&raw, NULL);
    fixture_init_rolled(&rolled, &ALL_LEVELS);
    fixture_init_rolled(&dropped, NULL);
    rolled.retention = (struct retention){.time_ms = 9 * HOUR, .rollups_ms = 1000 * HOUR};
    dropped.retention = (struct retention){.time_ms = 9 * HOUR};
    reopen(&rolled);
    reopen(&dropped);
    for (int round = 0; round < 18; round++) {
        int64_t newest_ms = stats_of(&rolled).samples_n ? stats_of(&rolled).max_time_ms : INT64_MIN + 9 * HOUR;
        int64_t taken_ms = newest_ms - 9 * HOUR; /* a deletion may have brought that behind the horizon */
        taken_ms = horizon_ms && horizon_ms > taken_ms ? horizon_ms : taken_ms;
        append_to_all(stores, 3, &seed, &now_ms, taken_ms);
        if (random_below(&seed, 4) == 0)
            delete_alike(&raw, &rolled, &dropped, &seed, now_ms);
        compact(&rolled);
        retain(&rolled);
        compact(&dropped);
        retain(&dropped);
        if (random_below(&seed, 6) == 0)
            reopen(&rolled);
        expect_rules(&rolled);
        int64_t raw_from_ms = atomic_load(&rolled.backend->raw_from_ms);
        moved_on += raw_from_ms > horizon_ms;
        horizon_ms = raw_from_ms;
        assert_int_equal(stats_of(&rolled).samples_n, stats_of(&dropped).samples_n);
        assert_int_equal(stats_of(&rolled).min_time_ms, stats_of(&dropped).min_time_ms);
        assert_int_equal(stats_of(&rolled).max_time_ms, stats_of(&dropped).max_time_ms);
        assert_int_equal(stats_of(&rolled).series_n, stats_of(&raw).series_n);
        for (int i = 0; i < 60; i++) {
            struct question q = random_question(&seed, -6, 40);
            int64_t rollup_ms, none_ms;
            struct grid_result *b = ask(&rolled, q.promql, q.grid, q.rule, &rollup_ms);
            struct grid_result *a = ask(rollup_ms ? &raw : &dropped, q.promql, q.grid, q.rule, &none_ms);
            of_level[level_index(rollup_ms)]++;
            expect_same_result(q.promql, a, b, q.exact);
            grid_result_free(a);
            grid_result_free(b);
        }
    }
    for (size_t i = 0; i < ARRAY_LENGTH(of_level); i++)
        if (of_level[i] < 15)
            fail_msg("%u queries read level %zu", of_level[i], i);
    assert_true(moved_on > 5);
    fixture_release(&raw);
    fixture_release(&rolled);
    fixture_release(&dropped);
}

static const struct retention SHORT = {.time_ms = 5 * HOUR, .rollups_ms = 30 * HOUR};

/* Ten hours of series a, of which rollups are left: b came 10 h later. */
static void begin_behind(struct fixture *f)
{
    fixture_init_rolled(f, &ALL_LEVELS);
    f->retention = SHORT;
    reopen(f);
    fill(f, "a");
    APPEND(f, "b", {20 * HOUR, 1});
    compact(f);
    retain(f);
    expect_rules(f);
    assert_int_equal(atomic_load(&f->backend->raw_from_ms), 10 * HOUR); /* to the end of what was dropped */
}

/* For something else than serving: settings and retention are not told. Its fragments are still planned with rollups.
 */
static void reopen_for_command(struct fixture *f)
{
    fixture_close(f);
    f->retention = (struct retention){.time_ms = 0};
    f->rollups = NULL;
    fixture_open(f);
    f->rollups = &ALL_LEVELS;
}

static size_t listed(struct fixture *f, struct time_span span)
{
    struct expr_selector selector = selector_of(&f->arena, "__name__=a");
    struct series_query query = {.selectors = &selector, .selectors_n = 1, .span = span};
    struct series_list *list;
    struct string_list *names;
    assert_int_equal(f->backend->ops->series(f->backend, &query, NULL, &list, NULL), OK);
    assert_int_equal(f->backend->ops->label_values(f->backend, LABEL_METRIC_NAME, &query, NULL, &names, NULL), OK);
    size_t n = list->n;
    assert_int_equal(names->n, n);
    series_list_free(list);
    string_list_free(names);
    return n;
}

static const char *counted(struct fixture *f, const char *promql, struct grid grid)
{
    int64_t level_ms;
    struct grid_result *result = ask(f, promql, grid, WINDOW_LEFT_OPEN, &level_ms);
    const char *text = result_text(&f->arena, result);
    grid_result_free(result);
    return text;
}

static void expect_only_rollups_of_a(struct fixture *f)
{
    assert_int_equal(count(f, "samples"), 1);
    assert_int_equal(stats_of(f).series_n, 2);
    assert_int_equal(stats_of(f).samples_n, 1);
    assert_int_equal(stats_of(f).min_time_ms, 20 * HOUR);
    assert_int_equal(stats_of(f).rollup_min_time_ms, 0);
    assert_int_equal(listed(f, (struct time_span){INT64_MIN, INT64_MAX}), 1);
    assert_int_equal(listed(f, (struct time_span){2 * HOUR + 1, 2 * HOUR + 2}), 1); /* its minute has one */
    assert_int_equal(listed(f, (struct time_span){11 * HOUR, 30 * HOUR}), 0);
    assert_string_equal(
        counted(f, "count_over_time(a[1h])", (struct grid){.start_ms = HOUR, .step_ms = HOUR, .steps = 12}),
        ": 60 60 60 60 60 60 60 60 60 59 - -\n");
    assert_string_equal(counted(f, "count_over_time(a[5m])",
                                (struct grid){.start_ms = 590 * MINUTE, .step_ms = 5 * MINUTE, .steps = 4}),
                        ": 5 5 4 -\n");
    assert_string_equal(
        counted(f, "count_over_time(a[90s])", (struct grid){.start_ms = HOUR, .step_ms = HOUR, .steps = 12}), "");
    assert_string_equal(counted(f, "changes(a[1h])", (struct grid){.start_ms = HOUR, .step_ms = HOUR, .steps = 12}),
                        "");
}

static void series_of_rollups_alone_stay(void **state)
{
    struct fixture f;
    begin_behind(&f);
    expect_only_rollups_of_a(&f);
    reopen(&f);
    expect_only_rollups_of_a(&f);
    reopen_for_command(&f);
    retain(&f);
    expect_only_rollups_of_a(&f);
    f.retention = SHORT;
    reopen(&f);
    expect_only_rollups_of_a(&f);
    APPEND(&f, "b", {37 * HOUR + 59 * MINUTE, 1}); /* rollups of before 6 h are too old */
    compact(&f);
    retain(&f);
    expect_rules(&f);
    assert_int_equal(stats_of(&f).rollup_min_time_ms, 6 * HOUR);
    assert_string_equal(
        counted(&f, "count_over_time(a[1h])", (struct grid){.start_ms = 5 * HOUR, .step_ms = HOUR, .steps = 3}),
        ": - 1 60\n");
    assert_int_equal(listed(&f, (struct time_span){INT64_MIN, 6 * HOUR - 1}), 0);
    APPEND(&f, "b", {40 * HOUR, 1});
    compact(&f);
    retain(&f);
    expect_rules(&f);
    assert_int_equal(stats_of(&f).series_n, 1);
    assert_int_equal(listed(&f, (struct time_span){INT64_MIN, INT64_MAX}), 0);
    fixture_release(&f);
}

static void nothing_is_written_behind(void **state)
{
    struct fixture f;
    begin_behind(&f);
    for (int round = 0; round < 3; round++) {
        struct append_request late = APPEND(&f, "a", {3 * HOUR + 1, 9}, {10 * HOUR - 1, 9});
        struct append_request new = APPEND(&f, "c", {-5 * HOUR, 9}, {3 * HOUR + 1, 9}, {10 * HOUR - 1, 9});
        assert_int_equal(late.beyond_retention, 2);
        assert_int_equal(new.beyond_retention, 3);
        assert_int_equal(late.written + new.written, 0);
        assert_non_null(strstr(new.refused.message, "out of bounds"));
        compact(&f);
        expect_rules(&f);
        expect_only_rollups_of_a(&f);
        f.bulk = round == 0; /* as an import does */
        reopen_for_command(&f);
    }
    struct append_request ahead = APPEND(&f, "a", {10 * HOUR, 5});
    assert_int_equal(ahead.written, 1);
    fill(&f, "d");
    assert_int_equal(stats_of(&f).series_n, 2);
    compact(&f);
    expect_rules(&f);
    assert_string_equal(
        counted(&f, "count_over_time(a[2h])", (struct grid){.start_ms = 9 * HOUR, .step_ms = HOUR, .steps = 7}),
        ": 120 120 60 - - - -\n");
    fixture_release(&f);
}

static void deletions_take_whole_buckets(void **state)
{
    struct fixture f;
    begin_behind(&f);
    struct expr_selector selector = selector_of(&f.arena, "__name__=a");
    struct series_query query = {
        .selectors = &selector, .selectors_n = 1, .span = {2 * HOUR + 10 * MINUTE, 3 * HOUR + 1}};
    uint64_t deleted;
    assert_int_equal(f.backend->ops->delete_series(f.backend, &query, NULL, &deleted, NULL), OK);
    assert_int_equal(deleted, 0); /* no sample is left to count */
    expect_rules(&f);
    for (int round = 0; round < 2; round++) {
        assert_string_equal(
            counted(&f, "count_over_time(a[1h])", (struct grid){.start_ms = 2 * HOUR, .step_ms = HOUR, .steps = 4}),
            ": 60 - - 60\n");
        assert_string_equal(counted(&f, "count_over_time(a[1h])",
                                    (struct grid){.start_ms = 2 * HOUR, .step_ms = 30 * MINUTE, .steps = 7}),
                            ": 60 30 - - - 30 60\n"); /* of another level */
        assert_int_equal(listed(&f, (struct time_span){2 * HOUR + 1, 4 * HOUR}), 0);
        assert_int_equal(listed(&f, (struct time_span){2 * HOUR, 4 * HOUR}), 1);
        reopen(&f);
    }
    query.span = (struct time_span){INT64_MIN, INT64_MAX};
    assert_int_equal(f.backend->ops->delete_series(f.backend, &query, NULL, &deleted, NULL), OK);
    expect_rules(&f);
    assert_int_equal(stats_of(&f).series_n, 1);
    assert_int_equal(stats_of(&f).rollup_min_time_ms, 20 * HOUR);
    fixture_release(&f);
}

static void expect_no_start(struct fixture *f, const char *words)
{
    struct duckdb_options options = {
        .directory = f->directory, .connections_max = 2, .retention = f->retention, .rollups = f->rollups};
    struct error error;
    struct backend *backend;
    assert_int_equal(duckdb_backend_open(&options, &backend, &error), E_BAD_DATA);
    if (!strstr(error.message, words))
        fail_msg("%s", error.message);
}

static void what_cannot_be_made_again_stays(void **state)
{
    struct fixture f;
    begin_behind(&f);
    fixture_close(&f);
    struct expr_selector of_a = selector_of(&f.arena, "__name__=a job!=it's");
    const struct rollup_settings fewer = {.levels_ms = {HOUR}, .levels_n = 1}, none = {.levels_n = 0};
    const struct rollup_settings chosen = {.levels_ms = {HOUR}, .levels_n = 1, .selectors = &of_a, .selectors_n = 1};
    f.rollups = &fewer;
    expect_no_start(&f, "tell of samples before 36000; they are 1h and 5m and 1m of all series, while "
                        "--storage.rollups.levels and --storage.rollups.match ask for 1h of all series, which");
    f.rollups = &chosen;
    expect_no_start(&f, "ask for 1h of series that match {__name__=\"a\",job!=\"it's\"}, which");
    f.retention = (struct retention){.time_ms = 5 * HOUR};
    f.rollups = &none;
    expect_no_start(&f, "ask for none, which");
    f.rollups = &ALL_LEVELS;
    expect_no_start(&f, "would be dropped without --storage.rollups.retention");
    f.rollups = NULL;
    fixture_open(&f);
    reopen_for_command(&f);
    expect_only_rollups_of_a(&f);
    assert_int_equal(duckdb_backend_forget_rollups(f.backend, NULL), OK);
    assert_int_equal(stats_of(&f).series_n, 1);
    assert_int_equal(stats_of(&f).rollup_min_time_ms, 20 * HOUR);
    expect_rules(&f);
    f.rollups = &chosen;
    reopen(&f);
    compact(&f);
    expect_rules(&f);
    assert_int_equal(APPEND(&f, "a", {3 * HOUR, 1}).written, 1); /* nothing is there that it could harm */
    fixture_release(&f);
}

struct moving_on {
    struct fixture *f;
    atomic_bool done;
    size_t drops_n;
};

static void *move_on(void *arg)
{
    struct moving_on *m = arg;
    struct append_series series = {labels_of(&m->f->arena, "b"), NULL, 1};
    for (int64_t h = 11; h <= 26; h++) {
        struct sample sample = {h * HOUR, 1};
        series.samples = &sample;
        struct append_request request = {.series = &series, .series_n = 1};
        int64_t before_ms = atomic_load(&m->f->backend->raw_from_ms);
        if (m->f->backend->ops->append(m->f->backend, &request, 1, NULL) != OK ||
            duckdb_backend_compact(m->f->backend, NULL) != OK || duckdb_backend_retain(m->f->backend, NULL) != OK)
            break;
        m->drops_n += atomic_load(&m->f->backend->raw_from_ms) > before_ms;
    }
    atomic_store(&m->done, true);
    return NULL;
}

static void readers_see_no_drop(void **state)
{
    static const char *const QUERIES[] = {"count_over_time(a[1h])", "increase(a[1h])", "sum_over_time(a[5m])"};
    struct fixture f;
    fixture_init_rolled(&f, &ALL_LEVELS);
    f.retention = (struct retention){.time_ms = 5 * HOUR, .rollups_ms = 1000 * HOUR};
    reopen(&f);
    fill(&f, "a");
    const char *before[ARRAY_LENGTH(QUERIES)];
    for (size_t i = 0; i < ARRAY_LENGTH(QUERIES); i++)
        before[i] = counted(&f, QUERIES[i], (struct grid){.start_ms = HOUR, .step_ms = HOUR, .steps = 11});
    struct moving_on m = {.f = &f};
    pthread_t thread;
    struct fixture reader = f; /* the store is one, the texts are each thread's own */
    arena_init(&reader.arena, SIZE_MAX);
    assert_int_equal(pthread_create(&thread, NULL, move_on, &m), 0);
    do {
        for (size_t i = 0; i < ARRAY_LENGTH(QUERIES); i++)
            assert_string_equal(
                counted(&reader, QUERIES[i], (struct grid){.start_ms = HOUR, .step_ms = HOUR, .steps = 11}), before[i]);
    } while (!atomic_load(&m.done));
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(m.drops_n > 3);
    assert_int_equal(listed(&f, (struct time_span){0, HOUR}), 1);
    expect_rules(&f);
    arena_release(&reader.arena);
    fixture_release(&f);
}

/* Samples wait for their rollups, and series that have none do not outlive theirs. */
static void samples_wait_for_rollups(void **state)
{
    struct fixture f;
    struct expr_selector of_a = {.matchers = NULL};
    fixture_init_rolled(&f, NULL);
    of_a = selector_of(&f.arena, "__name__=a");
    const struct rollup_settings chosen = {.levels_ms = {HOUR}, .levels_n = 1, .selectors = &of_a, .selectors_n = 1};
    f.rollups = &chosen;
    f.retention = SHORT;
    struct sample samples[600];
    for (size_t i = 0; i < ARRAY_LENGTH(samples); i++)
        samples[i] = (struct sample){(int64_t)i * MINUTE, (double)i};
    append(&f, "a", samples, ARRAY_LENGTH(samples));
    append(&f, "z", samples, ARRAY_LENGTH(samples));
    compact(&f);
    append(&f, "b", samples, 1); /* recent, of the oldest partition */
    APPEND(&f, "a", {20 * HOUR, 1});
    reopen(&f);
    retain(&f);
    uint64_t dropped_n = stats_of(&f).dropped_samples_n;
    if (stats_of(&f).recent_n == 2) /* else the store's own thread was quicker, and moved the older one */
        assert_int_equal(dropped_n, 0);
    compact(&f);
    retain(&f);
    assert_int_equal(stats_of(&f).dropped_samples_n, 1201);
    assert_int_equal(stats_of(&f).dropped_series_n, 2);
    expect_rules(&f);
    assert_string_equal(
        counted(&f, "count_over_time(a[1h])", (struct grid){.start_ms = HOUR, .step_ms = HOUR, .steps = 11}),
        ": 60 60 60 60 60 60 60 60 60 59 -\n");
    assert_string_equal(
        counted(&f, "count_over_time(z[1h])", (struct grid){.start_ms = HOUR, .step_ms = HOUR, .steps = 11}), "");
    fixture_release(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rollups_change_no_answer),
        cmocka_unit_test(settings_take_effect),
        cmocka_unit_test(many_series_have_rollups),
        cmocka_unit_test(retention_takes_rollups),
        cmocka_unit_test(outliving_rollups_answer_as_samples_did),
        cmocka_unit_test(series_of_rollups_alone_stay),
        cmocka_unit_test(nothing_is_written_behind),
        cmocka_unit_test(deletions_take_whole_buckets),
        cmocka_unit_test(what_cannot_be_made_again_stays),
        cmocka_unit_test(readers_see_no_drop),
        cmocka_unit_test(samples_wait_for_rollups),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
