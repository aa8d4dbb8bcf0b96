/* tests/unit/backend/test_duckdb_run.c: fragments run in DuckDB: the functions of functions.h, decoding, limits, the
 * planner's own statements, and that neither threads, row order nor partial states change an answer. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "backend/kernels/bits.h"
#include "backend/kernels/fold.h"
#include "backend/kernels/window.h"
#include "base/assert.h"
#include "base/float_text.h"
#include "planner/split.h"
#include "tests/unit/backend/fixture.h"
#include "tests/unit/backend/random.h"

static int setup(void **state)
{
    static struct fixture fixture;
    fixture_init(&fixture);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    fixture_release(*state);
    return 0;
}

/* Runs a statement for its effect; it gives no grid. */
static void execute(struct fixture *f, const char *sql)
{
    struct fragment fragment = fragment_of(&f->arena, sql, grid_instant(0), false, false, "");
    struct run_limits limits = {.samples_max = 1};
    struct grid_result *result = NULL;
    assert_int_equal(f->backend->ops->run(f->backend, &fragment, &limits, NULL, &result, NULL), E_INTERNAL);
}

static const char *run_text(struct fixture *f, const char *sql, uint32_t steps, bool metric, bool map, const char *by)
{
    struct fragment fragment =
        fragment_of(&f->arena, sql, (struct grid){.start_ms = 0, .step_ms = 1000, .steps = steps}, metric, map, by);
    struct grid_result *result = run_ok(f, &fragment);
    const char *text = result_text(&f->arena, result);
    grid_result_free(result);
    return text;
}

static enum status run_error(struct fixture *f, const char *sql, uint32_t steps, const char *by, uint64_t samples_max,
                             struct error *reterr)
{
    struct fragment fragment =
        fragment_of(&f->arena, sql, (struct grid){.start_ms = 0, .step_ms = 1000, .steps = steps}, false, false, by);
    struct run_limits limits = {.samples_max = samples_max};
    struct grid_result *result = NULL;
    enum status status = f->backend->ops->run(f->backend, &fragment, &limits, NULL, &result, reterr);
    assert_true(status != OK && !result);
    return status;
}

/* --- decoding --- */

static void test_labels_of_rows(void **state)
{
    struct fixture *f = *state;
    assert_string_equal(run_text(f,
                                 "SELECT * FROM (VALUES ('b', '', [1e0, NULL]), ('a', NULL, [NULL, 2e0]), "
                                 "('a', 'x', [3e0, 4e0]), (NULL, NULL, [5e0, 6e0]), ('c', 'c', NULL), "
                                 "('d', 'd', [NULL, NULL]))",
                                 2, false, false, "z a"),
                        ": 5 6\na=x;z=a: 3 4\nz=a: - 2\nz=b: 1 -\n");
    assert_string_equal(run_text(f,
                                 "SELECT 'up', MAP {'a': 'x', 'b': ''}, [1e0] UNION ALL "
                                 "SELECT '', MAP {'b': 'y'}, [2e0] UNION ALL "
                                 "SELECT NULL, MAP {}, ['NaN'::DOUBLE]",
                                 1, true, true, ""),
                        ": nan\nup;a=x: 1\nb=y: 2\n");
}

static void test_series_by_number(void **state)
{
    struct fixture *f = *state;
    APPEND(f, "m;i=0", {1000, 1}, {2000, 2});
    APPEND(f, "other;i=1", {1000, 1});
    APPEND(f, "m;i=2", {1000, 1}, {3000, 1}, {4000, 1});
    assert_string_equal(run_text(f,
                                 "SELECT label_of(series, 'i') AS i, [1e0 * count(*)] FROM recent "
                                 "WHERE is_series_named(series, 'm') GROUP BY i",
                                 1, false, false, "i"),
                        "i=0: 2\ni=2: 3\n");
    assert_string_equal(run_text(f,
                                 "SELECT label_of(series, 'i') AS i, [1e0 * count(*)] FROM runs_of('other') GROUP BY i",
                                 1, false, false, "i"),
                        "i=1: 1\n");
    /* Numbers and labels that change from row to row, that nothing has, and none. */
    assert_string_equal(run_text(f,
                                 "SELECT n, [is_series_named(s, 'o' || 'ther')::DOUBLE, len(label_of(s, l))] FROM "
                                 "(SELECT n, s::UINTEGER AS s, l FROM (VALUES ('a', 9, 'i'), ('b', 0, 'i'), "
                                 "('c', 1, '__name__'), ('d', 1, '__name__'), ('e', 1, 'a label nobody has'), "
                                 "('f', 2, 'i'), ('g', NULL, 'i'), ('h', 2, NULL), ('i', 1, 'i'), "
                                 "('j', 4294967295, 'i')) t(n, s, l))",
                                 2, false, false, "n"),
                        "n=a: 0 0\nn=b: 0 1\nn=c: 1 5\nn=d: 1 5\nn=e: 1 0\nn=f: 0 1\nn=g: 0 0\nn=h: 0 0\nn=i: 1 "
                        "1\nn=j: 0 0\n");
    assert_string_equal(
        run_text(f, "SELECT [1e0 * count(*)] FROM recent WHERE is_series_named(series, 'nobody')", 1, false, false, ""),
        ": 0\n");
    struct error error;
    assert_int_equal(run_error(f,
                               "SELECT [1e0 * count(*)] FROM recent WHERE is_series_named(series, metric_of(series))",
                               1, "", 1000, &error),
                     E_STORE);
    assert_non_null(strstr(error.message, "constant"));
}

static void test_equal_label_sets_are_promql_s_error(void **state)
{
    struct fixture *f = *state;
    struct error error;
    assert_int_equal(
        run_error(f, "SELECT * FROM (VALUES ('a', [1e0]), ('b', [1e0]), ('a', [2e0]))", 1, "l", 99, &error),
        E_EXECUTION);
    assert_string_equal(error.message, "vector cannot contain metrics with the same labelset");
    assert_string_equal(run_text(f, "SELECT * FROM (VALUES ('a', [1e0]), ('a', NULL))", 1, false, false, "l"),
                        "l=a: 1\n");
}

static void test_limits(void **state)
{
    struct fixture *f = *state;
    struct error error;
    assert_int_equal(run_error(f, "SELECT x::VARCHAR, [1e0, NULL] FROM range(10) t(x)", 2, "l", 9, &error), E_LIMIT);
    assert_string_equal(error.message, "query processing would load too many samples into memory in query execution: "
                                       "10 or more asked, 9 allowed");
    struct fragment fragment = fragment_of(&f->arena, "SELECT x::VARCHAR, [1e0, NULL] FROM range(10) t(x)",
                                           (struct grid){.start_ms = 0, .step_ms = 1, .steps = 2}, false, false, "l");
    struct grid_result *result = NULL;
    assert_int_equal(f->backend->ops->run(f->backend, &fragment, &(struct run_limits){10}, NULL, &result, NULL), OK);
    assert_int_equal(result->values_n, 10);
    assert_int_equal(result->series_n, 10);
    grid_result_free(result);
}

static void test_wrong_statements(void **state)
{
    struct fixture *f = *state;
    struct error error;
    assert_int_equal(run_error(f, "SELECT nonsense FROM", 1, "", 1, &error), E_STORE);
    assert_memory_equal(error.message, "storage engine: Parser Error", 28);
    assert_int_equal(run_error(f, "SELECT 1", 1, "", 1, &error), E_INTERNAL);
    assert_int_equal(run_error(f, "SELECT [1]", 1, "", 1, &error), E_INTERNAL);
    assert_int_equal(run_error(f, "SELECT 'a', [1e0]", 1, "", 1, &error), E_INTERNAL);
    assert_int_equal(run_error(f, "SELECT [1e0, 2e0]", 1, "", 9, &error), E_INTERNAL);
    assert_int_equal(run_error(f, "SELECT * FROM read_csv('/etc/passwd')", 1, "", 1, &error), E_STORE);
    assert_int_equal(run_error(f, "SELECT error('boom')", 1, "", 1, &error), E_STORE);
    assert_string_equal(run_text(f, "SELECT [1e0]", 1, false, false, ""), ": 1\n");
}

static void test_functions_may_not_take_all_memory(void **state)
{
    struct fixture *f = *state;
    fixture_close(f);
    f->memory_max_bytes = 64 << 20;
    fixture_open(f);
    struct error error;
    assert_int_equal(run_error(f,
                               "SELECT prom_sum_over_time(" SINGLE_TIME(
                                   "ts") ", [1e0], 0, 1000, 2, 5, false) FROM range(10000000) t(ts) "
                                         "GROUP BY ts % 7",
                               2, "", 99, &error),
                     E_LIMIT);
    assert_non_null(strstr(error.message, "query processing would load too many samples into memory"));
    assert_non_null(strstr(error.message, "may hold 67108864 in all"));
    assert_int_equal(run_error(f, "SELECT prom_avg(list_resize([1e0], 10000)) FROM range(1000000) t(x) GROUP BY x",
                               10000, "", 99, &error),
                     E_LIMIT);
    struct backend_stats stats;
    assert_int_equal(f->backend->ops->stats(f->backend, &stats, NULL), OK);
    assert_true(stats.memory_bytes < 60 << 20); /* the states were freed */
    assert_string_equal(run_text(f, "SELECT [1e0]", 1, false, false, ""), ": 1\n");
}

/* --- functions of one row --- */

static void test_scalar_functions(void **state)
{
    struct fixture *f = *state;
    const struct {
        const char *sql, *want;
    } cases[] = {
        {"SELECT [prom_label(MAP {'a': 'x', 'b': 'a long enough value'}, 'b') = 'a long enough value']::DOUBLE[]", "1"},
        {"SELECT [prom_label(MAP {'a': 'x'}, 'q') = '']::DOUBLE[]", "1"},
        {"SELECT [prom_label(NULL, 'q') = '']::DOUBLE[]", "1"},
        {"SELECT [prom_without(MAP {'a': 'x', 'b': 'y', 'c': 'z'}, ['b', 'q']) = MAP {'a': 'x', 'c': 'z'}]::DOUBLE[]",
         "1"},
        {"SELECT [prom_without(MAP {'a': 'x'}, []) = MAP {'a': 'x'}]::DOUBLE[]", "1"},
        {"SELECT [cardinality(prom_without(MAP {'a': 'x'}, ['a']))]::DOUBLE[]", "0"},
        {"SELECT [prom_match('a' || chr(10) || 'b', 'a.b')]::DOUBLE[]", "1"},
        {"SELECT [prom_match('abc', 'b')]::DOUBLE[]", "0"},
        {"SELECT [prom_match('', 'x*')]::DOUBLE[]", "1"},
        {"SELECT prom_repeat([7e0], 1)", "7"},
        {"SELECT list_value(len(prom_repeat([7e0], 130))::DOUBLE)", "130"},
        {"SELECT list_value(list_sum(prom_repeat([2e0], 130)))", "260"},
        {"SELECT [coalesce(prom_repeat([NULL]::DOUBLE[], 3)[1], -1e0)]", "-1"},
        {"SELECT [coalesce(prom_repeat(NULL, 3)[1], -1e0)]", "-1"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        char want[64];
        snprintf(want, sizeof want, ": %s\n", cases[i].want);
        const char *got = run_text(f, cases[i].sql, 1, false, false, "");
        if (strcmp(got, want) != 0)
            fail_msg("%s: got %s", cases[i].sql, got);
    }
    struct error error;
    assert_int_equal(run_error(f, "SELECT prom_repeat([1e0], -1)", 1, "", 9, &error), E_STORE);
}

/* Over many rows, so that vectors are not constant and lists do not begin at 0. */
static void test_scalar_functions_over_vectors(void **state)
{
    struct fixture *f = *state;
    execute(f, "CREATE TABLE t AS SELECT x, MAP {'a': x::VARCHAR, 'b': 'value number ' || x, 'c': 'z'} AS m "
               "FROM range(10000) r(x)");
    assert_string_equal(run_text(f,
                                 "SELECT list_value(count(*)::DOUBLE) FROM t WHERE "
                                 "prom_label(m, 'b') = 'value number ' || x AND prom_label(m, 'a') = x::VARCHAR AND "
                                 "prom_without(m, ['b']) = MAP {'a': x::VARCHAR, 'c': 'z'} AND "
                                 "prom_without(m, CASE WHEN x % 2 = 0 THEN ['a'] ELSE ['c', 'b'] END) = "
                                 "CASE WHEN x % 2 = 0 THEN MAP {'b': 'value number ' || x, 'c': 'z'} "
                                 "ELSE MAP {'a': x::VARCHAR} END",
                                 1, false, false, ""),
                        ": 10000\n");
    assert_string_equal(run_text(f, "SELECT prom_without(m, ['a', 'b']), prom_count([x::DOUBLE]) FROM t GROUP BY 1", 1,
                                 false, true, ""),
                        "c=z: 10000\n");
}

static void test_windows_over_a_grid(void **state)
{
    struct fixture *f = *state;
    /* inner points 0, 10, 20 … 50 s: 1 - 3 4 - 6 */
#define INNER "[1e0, NULL, 3e0, 4e0, NULL, 6e0], 0, 10000"
    assert_string_equal(
        run_text(f, "SELECT prom_sum_over_time_grid(" INNER ", 0, 10000, 6, 20000, false)", 6, false, false, ""),
        ": 1 1 3 7 4 6\n");
    assert_string_equal(
        run_text(f, "SELECT prom_sum_over_time_grid(" INNER ", 0, 10000, 6, 20000, true)", 6, false, false, ""),
        ": 1 1 4 7 7 10\n");
    assert_string_equal(
        run_text(f, "SELECT prom_delta_grid(" INNER ", 30000, 10000, 1, 20000, false)", 1, false, false, ""),
        ": 2\n"); /* 3 and 4 ten seconds apart; the left edge is 10 s away, less than 1.1 gaps */
    assert_string_equal(
        run_text(f, "SELECT prom_sum_over_time_grid(NULL, 0, 10, 0, 10000, 6, 20000, true)", 6, false, false, ""), "");
    assert_string_equal(run_text(f, "SELECT prom_sum_over_time_grid([]::DOUBLE[], 0, 10, 0, 10000, 6, 20000, true)", 6,
                                 false, false, ""),
                        "");
    assert_string_equal(run_text(f,
                                 "SELECT x::VARCHAR, prom_max_over_time_grid([x, x + 1e0], 0, 1000, 1000, 1000, 2, "
                                 "1000, false) FROM range(3) t(x)",
                                 2, false, false, "x"),
                        "x=0: 1 -\nx=1: 2 -\nx=2: 3 -\n");
    struct error error;
    assert_int_equal(run_error(f, "SELECT prom_rate_grid([1e0], 0, 0, 0, 0, 1, 1, true)", 1, "", 9, &error), E_STORE);
}

static void test_bad_grids_are_refused(void **state)
{
    struct fixture *f = *state;
    struct error error;
    const char *const grids[] = {"0, 0, 1, 5",  "0, 1, 0, 5",       "0, 1, -1, 5",
                                 "0, 1, 1, -5", "0, 1, 1000001, 5", "9223372036854775807, 1, 2, 5"};
    for (size_t i = 0; i < ARRAY_LENGTH(grids); i++) {
        char sql[256];
        snprintf(sql, sizeof sql, "SELECT prom_rate(" SINGLE_TIME("1") ", [1e0], %s, false)", grids[i]);
        assert_int_equal(run_error(f, sql, 1, "", 9, &error), E_STORE);
        assert_non_null(strstr(error.message, "grid"));
    }
    assert_int_equal(run_error(f, "SELECT prom_sum(v) FROM (VALUES ([1e0]), ([1e0, 2e0])) t(v)", 1, "", 9, &error),
                     E_STORE);
}

/* A thinned run of 40 samples, with another sample between two of them, which its row may know of or not. */
static void test_thinned_runs_keep_their_promise(void **state)
{
    struct fixture *f = *state;
    struct error error;
    static const struct {
        const char *whole; /* from, until */
        const char *want;  /* "": refused */
    } CASES[] = {
        {"0, 20499", ": 10 10 11 10\n"},                 /* up to the other one */
        {"20501, 40000", ": 10 10 11 10\n"},             /* behind it */
        {"0, -1", ": 10 10 11 10\n"},                    /* nothing is promised */
        {"-9000000000000000, 20000", ": 10 10 11 10\n"}, /* more than it has samples */
        {"NULL, 40000", ": - - 1 -\n"},                  /* no row */
        {"0, 40000", ""},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(CASES); i++) {
        char sql[512];
        snprintf(sql, sizeof sql,
                 "SELECT prom_count_over_time_thinned(ts, v, w, a::BIGINT, b::BIGINT, 10000, 10000, 4, 10000, false) "
                 "FROM (SELECT range(1000, 41000, 1000) AS ts, [1e0 for x in range(40)] AS v, "
                 "[1::BIGINT for x in range(40)] AS w, %s UNION ALL SELECT [20500], [1e0], NULL, 20500, 20500) "
                 "t(ts, v, w, a, b)",
                 CASES[i].whole);
        if (*CASES[i].want) {
            assert_string_equal(run_text(f, sql, 4, false, false, ""), CASES[i].want);
        } else {
            assert_int_equal(run_error(f, sql, 4, "", 9, &error), E_STORE);
            assert_non_null(strstr(error.message, "overlap"));
        }
    }
}

static void test_nulls_are_no_samples(void **state)
{
    struct fixture *f = *state;
    assert_string_equal(run_text(f,
                                 "SELECT prom_count_over_time(" SINGLE_TIME(
                                     "ts") ", [v], 0, 1000, 3, 5000, false) FROM (VALUES (0, 1e0), "
                                           "(500, NULL), (1000, 2e0), (NULL, 3e0), (1500, 4e0)) t(ts, v)",
                                 3, false, false, ""),
                        ": 1 2 3\n");
    assert_string_equal(
        run_text(f,
                 "SELECT prom_count_over_time(" LISTED_TIMES(
                     "ts") ", v, 0, 1000, 3, 5000, false) FROM (VALUES ([0], [1e0]), "
                           "(NULL, [1e0]), ([500], NULL), ([], []), ([1000, 1200, 1500], [2e0, NULL, 4e0])) "
                           "t(ts, v)",
                 3, false, false, ""),
        ": 1 2 3\n");
    assert_string_equal(run_text(f,
                                 "SELECT prom_count_over_time(1000::BIGINT, 0::BIGINT, [0::INTEGER, NULL, 900, 1000], "
                                 "[2e0, 3, NULL, 4], 0, 1000, 3, 5000, false)",
                                 3, false, false, ""),
                        ": - 1 2\n");
    assert_string_equal(
        run_text(f, "SELECT prom_rate(" SINGLE_TIME("ts") ", [1e0], 0, 1000, 3, 5000, false) FROM range(0) t(ts)", 3,
                 false, false, ""),
        "");
    assert_string_equal(
        run_text(f, "SELECT prom_sum(v) FROM (VALUES (NULL), ([NULL, 1e0]), ([NULL, 2e0])) t(v)", 2, false, false, ""),
        ": - 3\n");
    assert_string_equal(
        run_text(f, "SELECT prom_count(v) FROM (VALUES (NULL), ([NULL, NULL])) t(v)", 2, false, false, ""), "");
}

/* --- aggregates: equal to the kernels, whatever threads, order and partition --- */

#define SERIES  24
#define SAMPLES 9000 /* of each series: several row groups in all */

struct world {
    int64_t time_ms[SERIES][SAMPLES];
    double value[SERIES][SAMPLES];
};

/* Time-major, as it is ingested: every row group has rows of every series, so every thread has a state of each. */
static struct world *world_make(struct fixture *f)
{
    struct world *w = test_malloc(sizeof *w);
    struct random r = random_from(42);
    static struct append_series series[SERIES];
    static struct sample batch[SERIES][500];
    for (int i = 0; i < SERIES; i++) {
        char text[64];
        if (i % 5)
            snprintf(text, sizeof text, "m;le=%d;i=%d", i % 5, i);
        else
            snprintf(text, sizeof text, "m;i=%d", i);
        series[i] = (struct append_series){labels_of(&f->arena, text), batch[i], 500};
        double value = 0;
        for (int k = 0; k < SAMPLES; k++) {
            value = random_below(&r, 200) == 0 ? 0 : value + random_unit(&r) * 20;
            w->time_ms[i][k] = k * 15000 + (int64_t)random_below(&r, 9000);
            w->value[i][k] = random_below(&r, 100) == 0 ? double_from_bits(STALE_NAN_BITS) : value;
        }
    }
    for (int k = 0; k < SAMPLES; k += 500) {
        for (int i = 0; i < SERIES; i++) {
            for (int j = 0; j < 500; j++)
                batch[i][j] = (struct sample){w->time_ms[i][k + j], w->value[i][k + j]};
        }
        struct append_request request = {.series = series, .series_n = SERIES};
        assert_int_equal(f->backend->ops->append(f->backend, &request, 1, NULL), OK);
        assert_int_equal(request.written, SERIES * 500);
    }
    return w;
}

#define STEPS 1100

static const struct window_grid GRID = {1000000, 120000, STEPS, 300000, false};
static const struct window_grid WIDE_GRID = {1000000, 700000, 190, 3000000, true};

/* What the kernel says of one series. */
static void expect(const struct world *w, int series, const struct window_kernel *kernel,
                   const struct window_grid *grid, double *values, uint64_t *present)
{
    static int64_t t[SAMPLES];
    static double v[SAMPLES], room[SAMPLES];
    struct window_parameters parameters = kernel_parameters(room);
    memcpy(t, w->time_ms[series], sizeof t);
    memcpy(v, w->value[series], sizeof v);
    size_t n = kernel->sees_markers ? SAMPLES : window_drop_markers(t, v, SAMPLES);
    kernel->run(grid, &parameters, &(struct samples){t, v, n, NULL}, values, present);
}

static void compare_with_kernel(const struct world *w, const struct grid_result *result,
                                const struct window_kernel *kernel, const struct window_grid *grid)
{
    static double values[STEPS];
    static uint64_t present[(STEPS + 63) / 64];
    assert_int_equal(result->series_n, SERIES);
    for (size_t i = 0; i < result->series_n; i++) {
        struct str number = labels_get(result->series[i].labels, STR("i"));
        int series = atoi(number.ptr);
        expect(w, series, kernel, grid, values, present);
        for (uint32_t k = 0; k < grid->steps; k++) {
            bool has = bits_get(present, k);
            if (has != grid_series_has(&result->series[i], k) ||
                (has && double_bits(values[k]) != double_bits(result->series[i].values[k])))
                fail_msg("%s, series %d, step %u: got %.17g, want %.17g", kernel->name, series, k,
                         result->series[i].values[k], values[k]);
        }
    }
}

static void expect_kernels(struct fixture *f, const struct world *w, const struct window_grid *grid, const char *runs,
                           int first, int every)
{
    for (int id = first; id < KERNEL_MAX; id += every) {
        char sql[512];
        snprintf(
            sql, sizeof sql,
            "SELECT metric, labels, v FROM (SELECT series, prom_%s(" STORED_RUN ", %lld, %lld, %u, %lld, %s%s) AS v "
            "FROM %s GROUP BY series) JOIN series USING (series)",
            window_kernels[id].name, (long long)grid->start_ms, (long long)grid->step_ms, grid->steps,
            (long long)grid->window_ms, grid->closed ? "true" : "false", kernel_arguments(&window_kernels[id]), runs);
        struct fragment fragment = fragment_of(
            &f->arena, sql, (struct grid){.start_ms = grid->start_ms, .step_ms = grid->step_ms, .steps = grid->steps},
            true, true, "");
        struct grid_result *result = run_ok(f, &fragment);
        compare_with_kernel(w, result, &window_kernels[id], grid);
        grid_result_free(result);
    }
}

static void test_window_aggregates_are_the_kernels(void **state)
{
    struct fixture *f = *state;
    struct world *w = world_make(f);
    /* Many samples of a series side by side; each by itself; a few side by side, then others, in no order. */
    static const char *const ORDERS[] = {"runs()", "(SELECT * FROM runs() ORDER BY hash(tmin, series))",
                                         "(SELECT * FROM runs() ORDER BY hash(tmin // 700000), series, tmin)"};
    static const char *const THREADS[] = {"SET threads = 1", "SET threads = 2", "SET threads = 4"};
    for (int t = 0; t < 3; t++) {
        execute(f, THREADS[t]);
        for (int order = 0; order < 3; order++)
            expect_kernels(f, w, &GRID, ORDERS[order], (t + order) % 3, 3);
    }
    compact(f); /* into runs of partitions */
    for (int t = 0; t < 2; t++) {
        execute(f, THREADS[t]);
        expect_kernels(f, w, t ? &WIDE_GRID : &GRID, "runs()", 0, 1);
        expect_kernels(f, w, t ? &GRID : &WIDE_GRID, "(SELECT * FROM runs() ORDER BY hash(tmin, series))", 0, 1);
    }
    test_free(w);
}

static struct grid_result *folded(struct fixture *f, enum fold_op op, unsigned round)
{
    char sql[768];
    static const char *const orders[] = {"", "ORDER BY hash(series)", "ORDER BY series DESC"};
    execute(f, round == 0 ? "SET threads = 1" : round == 1 ? "SET threads = 2" : "SET threads = 4");
    snprintf(sql, sizeof sql,
             "SELECT prom_label(labels, 'le') AS le, prom_%s(v) AS value FROM (SELECT * FROM (SELECT series, "
             "prom_rate(" STORED_RUN ", 1000000, 120000, %d, 300000, false) AS v FROM runs() GROUP BY series) %s) JOIN "
             "(SELECT series, labels FROM series WHERE metric = 'm') USING (series) GROUP BY le ORDER BY le",
             fold_names[op], STEPS, orders[round]);
    struct fragment fragment =
        fragment_of(&f->arena, sql, (struct grid){.start_ms = GRID.start_ms, .step_ms = GRID.step_ms, .steps = STEPS},
                    false, false, "le");
    return run_ok(f, &fragment);
}

static void test_fold_aggregates_do_not_depend_on_threads(void **state)
{
    struct fixture *f = *state;
    struct world *w = world_make(f);
    for (int op = 0; op < FOLD_ONE; op++) {
        struct grid_result *one = folded(f, (enum fold_op)op, 0);
        assert_int_equal(one->series_n, 5);
        assert_string_equal(labels_text(&f->arena, one->series[0].labels), "");
        for (unsigned round = 1; round < 3; round++) {
            struct grid_result *other = folded(f, (enum fold_op)op, round);
            assert_int_equal(other->series_n, 5);
            for (size_t i = 0; i < 5; i++) {
                for (uint32_t k = 0; k < STEPS; k++) {
                    double a = one->series[i].values[k], b = other->series[i].values[k];
                    assert_int_equal(grid_series_has(&one->series[i], k), grid_series_has(&other->series[i], k));
                    if (!(fabs(a - b) <= 1e-12 * fabs(a)))
                        fail_msg("%s, step %u: %.17g and %.17g", fold_names[op], k, a, b);
                }
            }
            grid_result_free(other);
        }
        grid_result_free(one);
    }
    test_free(w);
}

/* --- the planner's statements --- */

static const char *plan_and_run(struct fixture *f, const char *promql, struct grid grid, enum window_rule rule)
{
    struct fragment fragment = planned(f, promql, grid, rule);
    struct grid_result *result = run_ok(f, &fragment);
    const char *text = result_text(&f->arena, result);
    grid_result_free(result);
    return text;
}

static void test_planned_queries(void **state)
{
    struct fixture *f = *state;
    for (int k = 0; k < 20; k++) {
        int64_t t = 60000 * (k + 1);
        append(f, "c_total;job=a;le=1", &(struct sample){t, 60 * k}, 1);
        append(f, "c_total;job=a;le=2", &(struct sample){t, 120 * k}, 1);
        append(f, "c_total;job=b;le=1", &(struct sample){t, k % 10 * 60}, 1);
        append(f, "c_total;le=1", &(struct sample){t, k < 10 ? 1 : double_from_bits(STALE_NAN_BITS)}, 1);
    }
    const struct {
        const char *promql, *want;
    } cases[] = {
        {"sum by (le) (rate(c_total[5m]))", "le=1: 2 1.75 1.75\nle=2: 2 2 2\n"},
        {"sum without (le) (rate(c_total{job=\"a\"}[5m]))", "job=a: 3 3 3\n"},
        {"c_total{le=\"1\"}", "c_total;job=a;le=1: 540 600 660\nc_total;job=b;le=1: 540 0 60\nc_total;le=1: 1 - -\n"},
        {"count(c_total)", ": 4 3 3\n"},
        {"max by (job) (c_total offset 1m)", ": 1 1 -\njob=a: 960 1080 1200\njob=b: 480 540 0\n"},
        {"sum(c_total @ 600)", ": 2161 2161 2161\n"},
        {"max_over_time(sum(c_total)[3m:1m])", ": 2161 2161 2161\n"},
        {"avg by (nolabel) (c_total{job=~\"a|b\"})", ": 720 600 680\n"},
        {"last_over_time(c_total{job!=\"\",le=\"2\"}[2m])", "c_total;job=a;le=2: 1080 1200 1320\n"},
        {"max(sum by (le) (increase(c_total{job=\"a\"}[2m])))", ": 240 240 240\n"},
    };
    struct grid grid = {.start_ms = 600000, .step_ms = 60000, .steps = 3};
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        const char *got = plan_and_run(f, cases[i].promql, grid, WINDOW_LEFT_OPEN);
        if (strcmp(got, cases[i].want) != 0)
            fail_msg("%s: got\n%s", cases[i].promql, got);
    }
    assert_string_equal(plan_and_run(f, "count_over_time(c_total{le=\"2\"}[2m])", grid, WINDOW_CLOSED),
                        "job=a;le=2: 3 3 3\n");
    assert_string_equal(plan_and_run(f, "count_over_time(c_total{le=\"2\"}[2m])", grid, WINDOW_LEFT_OPEN),
                        "job=a;le=2: 2 2 2\n");
}

int main(void)
{
#define IN_MEMORY(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        IN_MEMORY(test_labels_of_rows),
        IN_MEMORY(test_series_by_number),
        IN_MEMORY(test_equal_label_sets_are_promql_s_error),
        IN_MEMORY(test_limits),
        IN_MEMORY(test_wrong_statements),
        IN_MEMORY(test_functions_may_not_take_all_memory),
        IN_MEMORY(test_scalar_functions),
        IN_MEMORY(test_scalar_functions_over_vectors),
        IN_MEMORY(test_windows_over_a_grid),
        IN_MEMORY(test_bad_grids_are_refused),
        IN_MEMORY(test_thinned_runs_keep_their_promise),
        IN_MEMORY(test_nulls_are_no_samples),
        IN_MEMORY(test_window_aggregates_are_the_kernels),
        IN_MEMORY(test_fold_aggregates_do_not_depend_on_threads),
        IN_MEMORY(test_planned_queries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
