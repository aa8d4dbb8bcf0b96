/* tests/unit/backend/test_duckdb_functions.c: the SQL functions of operators, elementwise functions and selections as
 * statements call them (backend/duckdb/functions.h): overloads, NULL, errors, and that neither threads nor row order
 * nor partial states change an answer. What they compute is tested at the kernels. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "backend/duckdb/functions.h"
#include "base/assert.h"
#include "tests/unit/backend/fixture.h"

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

static enum status run(struct fixture *f, const char *sql, uint32_t steps, const char *by, const char **ret_text,
                       struct error *reterr)
{
    struct fragment fragment =
        fragment_of(&f->arena, sql, (struct grid){.start_ms = 0, .step_ms = 1000, .steps = steps}, false, false, by);
    struct run_limits limits = {.samples_max = 50000000};
    struct grid_result *result = NULL;
    enum status status = f->backend->ops->run(f->backend, &fragment, &limits, NULL, &result, reterr);
    if (status == OK)
        *ret_text = result_text(&f->arena, result);
    grid_result_free(result);
    return status;
}

static void check(struct fixture *f, const char *sql, uint32_t steps, const char *by, const char *want)
{
    struct error error;
    const char *got = "";
    if (run(f, sql, steps, by, &got, &error) != OK)
        fail_msg("%s: %s", sql, error.message);
    if (want && strcmp(got, want) != 0)
        fail_msg("%s: got %s, want %s", sql, got, want);
}

/* One expression of a list of three. */
static void check_list(struct fixture *f, const char *expression, const char *want)
{
    char sql[512], line[128];
    snprintf(sql, sizeof sql, "SELECT %s", expression);
    snprintf(line, sizeof line, *want ? ": %s\n" : "%s", want);
    check(f, sql, 3, "", line);
}

static void test_operators(void **state)
{
    static const char *const ROWS[][2] = {
        {"prom_add([1e0, NULL, 3], [10e0, 20, NULL])", "11 - -"},
        {"prom_sub([1e0, NULL, 3], 10)", "-9 - -7"},
        {"prom_sub(10, [1e0, NULL, 3])", "9 - 7"},
        {"prom_mul([2e0, 3, 4], 0.5)", "1 1.5 2"},
        {"prom_div([1e0, 0, -1], 0)", "inf -nan -inf"},
        {"prom_mod([5.5e0, -5.5, NULL], [2e0, 2, 2])", "1.5 -1.5 -"},
        {"prom_pow(2, [3e0, 0.5, NULL])", "8 1.41421 -"},
        {"prom_atan2([0e0, 1, NULL], -1)", "3.14159 2.35619 -"},
        {"prom_add(NULL::DOUBLE[], [1e0, 2, 3])", ""},
        {"prom_add([1e0, 2, 3], NULL::DOUBLE[])", ""},
        {"prom_add([1e0, 2, 3], NULL::DOUBLE)", ""},
        {"prom_gtr([1e0, 5, 3], 2)", "- 5 3"},
        {"prom_gtr(2, [1e0, 5, 3])", "1 - -"},
        {"prom_neq([1e0, 5, NULL], [1e0, 6, 7])", "- 5 -"},
        {"prom_gtr_bool([1e0, 5, NULL], 2)", "0 1 -"},
        {"prom_lte_bool([1e0, 5, 3], [2e0, 2, 3])", "1 0 1"},
        {"prom_and([1e0, 2, NULL], [9e0, NULL, 9])", "1 - -"},
        {"prom_and([1e0, 2, 3], NULL::DOUBLE[])", ""},
        {"prom_unless([1e0, 2, NULL], [9e0, NULL, 9])", "- 2 -"},
        {"prom_unless([1e0, 2, 3], NULL::DOUBLE[])", "1 2 3"},
        {"prom_unless(NULL::DOUBLE[], [1e0, 2, 3])", ""},
        {"prom_round([1.26e0, NULL, -2.5], 1)", "1 - -2"},
        {"prom_round([1.26e0, 1.26, 8], [0.1e0, 0.5, 5])", "1.3 1.5 10"},
        {"prom_clamp_min([1e0, NULL, 3], 2)", "2 - 3"},
        {"prom_clamp_max([1e0, NULL, 3], [0e0, 0, 9])", "0 - 3"},
        {"prom_clamp([1e0, 2, 9], 2, 5)", "2 2 5"},
        {"prom_clamp([1e0, 2, 9], [2e0, 6, 2], 5)", "2 - 5"},
        {"prom_clamp([1e0, 2, 9], 2, [3e0, 1, 3])", "2 - 3"},
        {"prom_clamp([1e0, 2, 9], [2e0, 2, 2], [3e0, 1, NULL])", "2 - -"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(ROWS); i++)
        check_list(*state, ROWS[i][0], ROWS[i][1]);
}

static void test_runs_in_order(void **state)
{
    static const char *const ROWS[][2] = {
        {"prom_in_order([1, 2, 3], [10e0, 20, 30]).value", "10 20 30"},
        {"prom_in_order([3, 1, 2], [30e0, 10, 20]).value", "10 20 30"},
        {"prom_in_order([3, 2, 1], [30e0, 20, 10]).value", "10 20 30"},
        {"prom_in_order([2, 1, 2], [20e0, 10, 21]).value", "10 20 21"}, /* equal ones as they come */
        {"[1e0 * x for x in prom_in_order([7, -9223372036854775807, 0], [7e0, 8, 9]).ts]", "-9.22337e+18 0 7"},
        {"[1e0 * len(prom_in_order(NULL, [1e0]).ts), len(prom_in_order([1, 2], [1e0]).value), 0]", "0 0 0"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(ROWS); i++)
        check_list(*state, ROWS[i][0], ROWS[i][1]);
    /* Many rows in a vector, of many lengths, each of some ascents: whoever is out of order counts. */
    check(*state,
          "SELECT [1e0 * count(*), count(*) FILTER (run.ts != list_sort(ts)), "
          "count(*) FILTER (len(run.ts) != len(ts) OR run.ts != [y::BIGINT for y in run.value])] "
          "FROM (SELECT ts, prom_in_order(ts, [y::DOUBLE for y in ts]) AS run FROM "
          "(SELECT [(y * 37 + x) % (x + 1) for y in range(x % 97)] AS ts FROM range(5000) t(x)))",
          3, "", ": 5000 0 0\n");
}

static void test_elementwise(void **state)
{
    static const char *const ROWS[][2] = {
        {"prom_neg([1e0, NULL, -3])", "-1 - 3"},
        {"prom_abs([1e0, NULL, -3])", "1 - 3"},
        {"prom_sqrt([4e0, NULL, -1])", "2 - -nan"},
        {"prom_log2([8e0, NULL, 0])", "3 - -inf"},
        {"prom_day_of_week([0e0, NULL, 86400])", "4 - 5"},
        {"prom_year([0e0, 1.7e9, -1])", "1970 2023 1969"},
        {"prom_exp(NULL::DOUBLE[])", ""},
        {"prom_exp(prom_gtr([1e0, 2, 3], 2))", "- - 20.0855"},
        {"prom_time(1500, 1000, 3)", "1.5 2.5 3.5"},
        {"prom_time(-500, 250, 3)", "-0.5 -0.25 0"},
        {"prom_constant(7.5, 3)", "7.5 7.5 7.5"},
        {"prom_constant(NULL, 3)", ""},
        {"prom_constant(1, 0)", ""}, /* a grid without a step */
        {"prom_repeat([4e0], 3)", "4 4 4"},
        {"prom_repeat([NULL]::DOUBLE[], 3)", ""},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(ROWS); i++)
        check_list(*state, ROWS[i][0], ROWS[i][1]);
}

/* Every name of the tables can be called. */
static void test_every_name(void **state)
{
    struct fixture *f = *state;
    static const char *const FUNCTIONS[] = {
        "neg",    "abs",  "ceil",  "floor", "exp",         "ln",           "log2",        "log10",
        "sqrt",   "sgn",  "sin",   "cos",   "tan",         "asin",         "acos",        "atan",
        "sinh",   "cosh", "tanh",  "asinh", "acosh",       "atanh",        "deg",         "rad",
        "minute", "hour", "month", "year",  "day_of_week", "day_of_month", "day_of_year", "days_in_month"};
    char sql[256];
    const char *text;
    for (size_t i = 0; i < ARRAY_LENGTH(FUNCTIONS); i++) {
        snprintf(sql, sizeof sql, "SELECT prom_%s([0.5e0])", FUNCTIONS[i]);
        assert_int_equal(run(f, sql, 1, "", &text, NULL), OK);
        assert_string_not_equal(text, "");
    }
}

#define ROWS_OF(rows) "FROM (VALUES " rows ") t(g, rank, v)"

static void test_aggregates(void **state)
{
    struct fixture *f = *state;
    check(f,
          "SELECT g, prom_quantile(v, 0.5) " ROWS_OF("('a', 1, [1e0, NULL, 3]), ('a', 2, [5e0, NULL, 4]), "
                                                     "('b', 3, NULL), ('a', 4, [9e0, NULL, NULL])") " GROUP BY g",
          3, "g", "g=a: 5 - 3.5\n");
    check(f,
          "SELECT g, prom_quantile(v, [0e0, 1, 2]) " ROWS_OF(
              "('a', 1, [1e0, 2, 3]), ('a', 2, [4e0, 5, 6])") " GROUP BY g",
          3, "g", "g=a: 1 5 inf\n");
    check(f, "SELECT g, prom_any(v) " ROWS_OF("('a', 1, [7e0, NULL, NULL]), ('a', 2, [NULL, NULL, 6e0])") " GROUP BY g",
          3, "g", "g=a: 1 - 1\n");
    check(f, "SELECT g, prom_one(v) " ROWS_OF("('a', 1, [7e0, NULL, NULL]), ('a', 2, [NULL, NULL, 6e0])") " GROUP BY g",
          3, "g", "g=a: 7 - 6\n");
    check(
        f,
        "SELECT g, prom_one_series(v) " ROWS_OF("('a', 1, [7e0, NULL, 6]), ('a', 2, [NULL, NULL, NULL])") " GROUP BY g",
        3, "g", "g=a: 7 - 6\n");
}

static void test_absent(void **state)
{
    struct fixture *f = *state;
    check(f, "SELECT prom_absent(v, 3) FROM (VALUES ([7e0, NULL, NULL]), ([NULL, NULL, 6e0]), (NULL)) t(v)", 3, "",
          ": - 1 -\n");
    check(f, "SELECT prom_absent(v, 3) FROM (VALUES (NULL::DOUBLE[])) t(v)", 3, "", ": 1 1 1\n");
    /* What is nowhere absent is an empty list, not NULL, which says that there were no rows. */
    check(f, "SELECT coalesce(prom_absent(v, 3), prom_constant(2, 3)) FROM (VALUES ([1e0, 2, 3])) t(v)", 3, "", "");
    check(f, "SELECT coalesce(prom_absent(v, 3), prom_constant(2, 3)) FROM (VALUES ([1e0, 2, 3])) t(v) WHERE v IS NULL",
          3, "", ": 2 2 2\n");
}

static void test_topk(void **state)
{
    struct fixture *f = *state;
    check(f,
          "SELECT w.rank::VARCHAR, w.value FROM (SELECT unnest(prom_topk(v, 2, rank)) AS w "
          "FROM (VALUES (1, [1e0, 5, NULL]), (2, [2e0, 5, NULL]), (3, ['NaN'::DOUBLE, 5, NULL]), (4, [0e0, 7, 8])) "
          "t(rank, v))",
          3, "r", "r=1: 1 5 -\nr=2: 2 - -\nr=4: - 7 8\n");
    check(f,
          "SELECT w.rank::VARCHAR, w.value FROM (SELECT unnest(prom_bottomk(v, [1e0, 0, 9], rank)) AS w "
          "FROM (VALUES (1, [1e0, 5, NULL]), (2, [2e0, 5, NULL]), (3, ['NaN'::DOUBLE, 5, 6]), (4, [0e0, 7, 8])) "
          "t(rank, v))",
          3, "r", "r=3: - - 6\nr=4: 0 - 8\n");
    check(f,
          "SELECT w.rank::VARCHAR, w.value FROM (SELECT unnest(prom_topk(v, 1, rank)) AS w "
          "FROM (VALUES (1, NULL::DOUBLE[])) t(rank, v))",
          3, "r", "");
}

static void test_count_values(void **state)
{
    check(*state,
          "SELECT w.text, w.value FROM (SELECT unnest(prom_count_values(v)) AS w "
          "FROM (VALUES ([1e0, 0.25, NULL]), ([1e0, 'NaN'::DOUBLE, '-0.0'::DOUBLE]), ([1e21, 0.25, 0]), (NULL)) t(v))",
          3, "v",
          "v=-0: - - 1\nv=0: - - 1\nv=0.25: - 2 -\nv=1: 2 - -\nv=1000000000000000000000: 1 - -\nv=NaN: - 1 -\n");
}

static void test_windows_with_parameters(void **state)
{
    struct fixture *f = *state;
    check(f,
          "SELECT prom_quantile_over_time(" SINGLE_TIME(
              "t") ", [v], 30000, 10000, 2, 20000, false, 0.5) FROM "
                   "(VALUES (11000, 5e0), (20000, 1e0), (30000, 3e0), (31000, 9e0)) s(t, v)",
          2, "", ": 3 6\n");
    check(f,
          "SELECT prom_predict_linear(" SINGLE_TIME(
              "t") ", [v], 30000, 10000, 2, 20000, false, 10, 5000) FROM "
                   "(VALUES (11000, 11e0), (20000, 20e0), (30000, 30e0), (31000, 31e0)) s(t, v)",
          2, "", ": 45 55\n");
    check(f, "SELECT prom_holt_winters_grid([1e0, 5, 3], 0, 1000, 2000, 1000, 1, 5000, false, 0.25, 0.5)", 1, "",
          ": 7.5\n");
    check(f, "SELECT prom_predict_linear_grid([1e0, 2, 3], 0, 1000, 2000, 1000, 1, 5000, false, 10, 5000)", 1, "",
          ": 18\n");
    check(f, "SELECT prom_mad_over_time_grid([4e0, 6, 2, 1, 13], 0, 1000, 4000, 1000, 1, 50000, false)", 1, "",
          ": 2\n");
}

static void test_promql_fails(void **state)
{
    static const char *const ROWS[][2] = {
        {"SELECT prom_one(v) FROM (VALUES ([1e0, NULL]), ([2e0, 5e0])) t(v)",
         "promql: vector cannot contain metrics with the same labelset"},
        {"SELECT prom_one_series(v) FROM (VALUES ([1e0, NULL]), ([NULL, 5e0])) t(v)",
         "promql: vector cannot contain metrics with the same labelset"},
        {"SELECT unnest(prom_topk(v, 'NaN'::DOUBLE, 1)).value FROM (VALUES ([1e0, NULL])) t(v)",
         "promql: the parameter of topk or bottomk overflows int64"},
        {"SELECT prom_double_exponential_smoothing(" SINGLE_TIME("1") ", [1e0], 1, 1, 1, 1, false, 1, 0.5)",
         "promql: invalid smoothing factor. Expected: 0 < sf < 1, got: 1.000000"},
        {"SELECT prom_holt_winters_grid([1e0, 5], 0, 1000, 2000, 1000, 1, 5000, false, 0.25, 0)",
         "promql: invalid trend factor. Expected: 0 < tf < 1, got: 0.000000"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(ROWS); i++) {
        struct error error = {.status = OK};
        const char *text;
        assert_int_equal(run(*state, ROWS[i][0], 2, "", &text, &error), E_EXECUTION);
        assert_string_equal(error.message, ROWS[i][1]);
    }
}

static void test_wrong_lengths(void **state)
{
    static const char *const ROWS[] = {
        "SELECT prom_add([1e0, 2], [1e0])",
        "SELECT prom_quantile(v, 0.5) FROM (VALUES ([1e0]), ([1e0, 2])) t(v)",
        "SELECT prom_quantile(v, [0.5e0]) FROM (VALUES ([1e0, 2])) t(v)",
        "SELECT prom_one(v) FROM (VALUES ([1e0]), ([1e0, 2])) t(v)",
        "SELECT prom_constant(1, -1)",
        "SELECT prom_absent([1e0], -1)",
    };
    for (size_t i = 0; i < ARRAY_LENGTH(ROWS); i++) {
        const char *text;
        assert_int_equal(run(*state, ROWS[i], 2, "", &text, NULL), E_STORE);
    }
}

/* --- threads, order, partial states --- */

#define MANY 130000 /* rows: several row groups, so that several threads take part */

static const char *const LAWS[] = {
    "SELECT g::VARCHAR, prom_quantile(v, 0.37) FROM %s GROUP BY g",
    "SELECT g::VARCHAR || '/' || w.rank, w.value FROM (SELECT g, unnest(prom_topk(v, 5, rank)) AS w FROM %s GROUP BY "
    "g)",
    "SELECT g::VARCHAR || '/' || w.rank, w.value FROM (SELECT g, unnest(prom_bottomk(v, [3e0, 0, 7], rank)) AS w FROM "
    "%s "
    "GROUP BY g)",
    "SELECT g::VARCHAR || '/' || w.text, w.value FROM (SELECT g, unnest(prom_count_values(prom_round(v, 50))) AS w "
    "FROM %s GROUP BY g)",
    "SELECT g::VARCHAR, prom_any(v) FROM %s GROUP BY g",
    "SELECT g::VARCHAR, prom_absent(prom_gtr(v, 999.9), 3) FROM %s GROUP BY g",
};

static void many_rows(struct fixture *f)
{
    struct error error;
    const char *text;
    char sql[512];
    snprintf(sql, sizeof sql,
             "CREATE OR REPLACE TABLE many AS SELECT x %% 3 AS g, x AS rank, "
             "[hash(x) %% 1000 / 1e0, CASE WHEN x %% 7 > 0 THEN hash(x + 1) %% 99991 / 1e0 END, "
             "CASE WHEN x %% 1000 = 1 THEN 'NaN'::DOUBLE ELSE x %% 5 / 1e0 END] AS v FROM range(%d) r(x)",
             MANY);
    /* It gives no grid, which is an error, but does its work. */
    assert_int_equal(run(f, sql, 1, "", &text, &error), E_INTERNAL);
    assert_int_equal(run(f, "CREATE OR REPLACE TABLE backward AS SELECT * FROM many ORDER BY rank % 11, rank DESC", 1,
                         "", &text, &error),
                     E_INTERNAL);
}

static void test_neither_threads_nor_order_matter(void **state)
{
    static const unsigned THREADS[] = {1, 4};
    static const char *const TABLES[] = {"many", "backward"};
    const char *first[ARRAY_LENGTH(LAWS)] = {NULL};
    for (size_t t = 0; t < ARRAY_LENGTH(THREADS); t++) {
        struct fixture f = {.threads = THREADS[t], .connections = 1};
        arena_init(&f.arena, SIZE_MAX);
        fixture_open(&f);
        many_rows(&f);
        for (size_t i = 0; i < 2 * ARRAY_LENGTH(LAWS); i++) {
            char sql[512];
            size_t law = i / 2;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
            snprintf(sql, sizeof sql, LAWS[law], TABLES[i % 2]);
#pragma GCC diagnostic pop
            struct error error = {.status = OK};
            const char *text = "";
            if (run(&f, sql, 3, "k", &text, &error) != OK)
                fail_msg("%s: %s", sql, error.message);
            assert_true(*text);
            if (!first[law])
                first[law] = strdup(text);
            if (strcmp(first[law], text) != 0)
                fail_msg("%u threads, %s: got %.300s, first %.300s", THREADS[t], sql, text, first[law]);
        }
        fixture_close(&f);
        arena_release(&f.arena);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(LAWS); i++)
        free((char *)first[i]);
}

/* What topk strikes out it also gives up: the rows that pass through would need three times the memory allowed. */
static void test_topk_gives_up_losers(void **state)
{
    struct fixture f = {.threads = 1, .connections = 1, .memory_max_bytes = 64 << 20};
    arena_init(&f.arena, SIZE_MAX);
    fixture_open(&f);
    check(&f,
          "SELECT w.rank::VARCHAR, w.value FROM (SELECT unnest(prom_topk(prom_constant(x, 400), 2, x)) AS w "
          "FROM range(60000) r(x))",
          400, "r", NULL);
    fixture_close(&f);
    arena_release(&f.arena);
}

/* What does not fit is refused, and nothing of it stays: each of these would fail the next. */
static void test_refusals_for_size(void **state)
{
    static const char *const ROWS[] = {
        "SELECT w.text, w.value FROM (SELECT unnest(prom_count_values(prom_time(x, 1, 2000))) AS w FROM range(20) "
        "r(x))",
        "SELECT w.text, w.value FROM (SELECT x % 2 AS g, unnest(prom_count_values(prom_time(x, 1, 2000))) AS w "
        "FROM range(20) r(x) GROUP BY g)",
        "SELECT prom_quantile(prom_constant(x, 400), 0.5)::VARCHAR, [1e0] FROM range(60000) r(x)",
        "SELECT prom_quantile(prom_constant(x, 400), 0.5)::VARCHAR, [1e0] FROM range(60000) r(x) GROUP BY x % 7",
    };
    struct fixture f = {.threads = 2, .connections = 1, .memory_max_bytes = 32 << 20};
    arena_init(&f.arena, SIZE_MAX);
    fixture_open(&f);
    for (size_t i = 0; i < 3 * ARRAY_LENGTH(ROWS); i++) {
        struct error error = {.status = OK};
        const char *text;
        assert_int_equal(run(&f, ROWS[i % ARRAY_LENGTH(ROWS)], 1, "t", &text, &error), E_LIMIT);
        assert_non_null(strstr(error.message, ENGINE_TOO_MANY_SAMPLES));
    }
    check(&f, "SELECT prom_quantile(prom_constant(x, 400), 0.5) FROM range(9000) r(x)", 400, "", NULL);
    fixture_close(&f);
    arena_release(&f.arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_operators, setup, teardown),
        cmocka_unit_test_setup_teardown(test_runs_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_elementwise, setup, teardown),
        cmocka_unit_test_setup_teardown(test_every_name, setup, teardown),
        cmocka_unit_test_setup_teardown(test_aggregates, setup, teardown),
        cmocka_unit_test_setup_teardown(test_absent, setup, teardown),
        cmocka_unit_test_setup_teardown(test_topk, setup, teardown),
        cmocka_unit_test_setup_teardown(test_count_values, setup, teardown),
        cmocka_unit_test_setup_teardown(test_windows_with_parameters, setup, teardown),
        cmocka_unit_test_setup_teardown(test_promql_fails, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wrong_lengths, setup, teardown),
        cmocka_unit_test(test_neither_threads_nor_order_matter),
        cmocka_unit_test(test_topk_gives_up_losers),
        cmocka_unit_test(test_refusals_for_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
