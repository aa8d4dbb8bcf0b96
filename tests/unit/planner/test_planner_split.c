/* tests/unit/planner/test_planner_split.c: rules of the split that a golden text does not say by itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/assert.h"
#include "planner/explain.h"
#include "planner/split.h"
#include "planner_fixture.h"

struct fixture {
    struct arena arena;
    struct plan_options options;
    struct split split;
    struct error error;
    struct strbuf scratch, residual;
};

static int setup(void **state)
{
    static struct fixture fixture;
    fixture = (struct fixture){.options = fixture_options()};
    arena_init(&fixture.arena, 16u << 20);
    strbuf_init(&fixture.scratch, 64);
    strbuf_init(&fixture.residual, 1u << 20);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    arena_release(&f->arena);
    strbuf_release(&f->scratch);
    strbuf_release(&f->residual);
    return 0;
}

static enum status plan(struct fixture *f, const char *query)
{
    f->error = (struct error){.status = OK};
    return fixture_plan(&f->arena, str_from(query), &f->options, FIXTURE_STEP_MS, &f->split, &f->error);
}

static const char *residual(struct fixture *f, const char *query)
{
    if (plan(f, query) != OK)
        fail_msg("%s: %s", query, f->error.message);
    strbuf_clear(&f->residual);
    split_print_residual(&f->residual, &f->split, fixture_task_id, &f->scratch);
    return f->residual.ptr;
}

/* --- fragments --- */

static void test_equal_fragments_are_one(void **state)
{
    static const struct {
        const char *query;
        uint32_t fragments;
    } cases[] = {
        {"a + a", 1},
        {"a + (a)", 1},
        {"a{x=\"1\"} + a{x='1'}", 1},
        {"a + b", 2},
        {"a + a offset 1m", 2},
        {"a + abs(a)", 1},
        {"timestamp(a) + a", 2},                                      /* raw and grid */
        {"quantile_over_time(0.1, a[6m]) + timestamp(a)", 2},         /* raw, other spans */
        {"quantile_over_time(0.1, a[5m]) + mad_over_time(a[5m])", 1}, /* raw, the same span */
        {"quantile_over_time(0.1, a[5m]) + timestamp(a)", 1},         /* as wide as the lookback */
        {"quantile_over_time(0.1, a[5m:1m]) + mad_over_time(a[5m:1m])", 1},
        {"quantile_over_time(0.1, a[5m:1m]) + mad_over_time(a[5m:30s])", 2},
    };
    struct fixture *f = *state;
    f->options.can = &basic_capabilities;
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        assert_int_equal(plan(f, cases[i].query), OK);
        if (f->split.fragments_n != cases[i].fragments)
            fail_msg("%s: %u", cases[i].query, f->split.fragments_n);
    }
}

static void test_direct(void **state)
{
    struct fixture *f = *state;
    static const char *const direct[] = {"a",
                                         "(a)",
                                         "sum(rate(a[5m]))",
                                         "max_over_time(a[1h:1m])",
                                         "a @ 5",
                                         "abs(a)",
                                         "a + 1",
                                         "a + b",
                                         "+a",
                                         "rate({x=\"y\"}[5m])",
                                         "topk(2, a)",
                                         "absent(a)",
                                         "vector(1)",
                                         "sum(a) or vector(0)",
                                         "timestamp(a)",
                                         "1",
                                         "(1 + 2)",
                                         "time() * pi()",
                                         "scalar(a)",
                                         "a + scalar(b)",
                                         "scalar(rate(g_total[5m]))",
                                         "time() - timestamp(a offset 1m)",
                                         "hour()"};
    static const char *const not_direct[] = {"\"text\"",        "timestamp(a @ 5)",    "sort(a)", "a + scalar(sort(b))",
                                             "sort(vector(1))", "scalar(rate(g[5m]))", "end()"};
    for (size_t i = 0; i < ARRAY_LENGTH(direct); i++) {
        assert_int_equal(plan(f, direct[i]), OK);
        assert_true(f->split.direct);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(not_direct); i++) {
        assert_int_equal(plan(f, not_direct[i]), OK);
        assert_false(f->split.direct);
    }
}

/* --- what a raw task must give --- */

static void test_raw_spans(void **state)
{
    static const struct {
        const char *query;
        enum window_rule rule;
        int64_t min_ms, max_ms; /* of the one raw fragment */
    } cases[] = {
        {"timestamp(a)", WINDOW_LEFT_OPEN, 36000000 - 300000 + 1, 39600000},
        {"timestamp(a)", WINDOW_CLOSED, 36000000 - 300000, 39600000},
        {"timestamp(a offset 1m)", WINDOW_LEFT_OPEN, 36000000 - 360000 + 1, 39600000 - 60000},
        {"timestamp(a offset -1m)", WINDOW_LEFT_OPEN, 36000000 - 240000 + 1, 39600000 + 60000},
        {"timestamp(a @ 100)", WINDOW_LEFT_OPEN, 100000 - 300000 + 1, 100000},
        {"mad_over_time(a[10m])", WINDOW_LEFT_OPEN, 36000000 - 600000 + 1, 39600000},
        {"mad_over_time(a[10m])", WINDOW_CLOSED, 36000000 - 600000, 39600000},
        {"mad_over_time(a[10m] @ end() offset 5m)", WINDOW_LEFT_OPEN, 39600000 - 900000 + 1, 39600000 - 300000},
        {"mad_over_time(timestamp(a)[10m:7m] offset 1m)", WINDOW_LEFT_OPEN, 36000000 - 960000 + 1, 39600000 - 60000},
        {"mad_over_time(mad_over_time(a[1m])[10m:1m] @ 1000)", WINDOW_CLOSED, 1000000 - 660000, 1000000},
    };
    struct fixture *f = *state;
    f->options.can = &basic_capabilities;
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        f->options.rule = cases[i].rule;
        assert_int_equal(plan(f, cases[i].query), OK);
        assert_int_equal(f->split.fragments_n, 1);
        assert_int_equal(f->split.fragments[0].kind, FRAGMENT_RAW);
        assert_int_equal(f->split.fragments[0].span.min_ms, cases[i].min_ms);
        assert_int_equal(f->split.fragments[0].span.max_ms, cases[i].max_ms);
    }
}

static void test_span_of_a_request_that_ends_off_phase(void **state)
{
    struct fixture *f = *state;
    f->options.can = &basic_capabilities;
    f->options.bounds.max_ms = 39630000;
    assert_int_equal(plan(f, "timestamp(a)"), OK);
    assert_int_equal(grid_end(f->split.grid), 39600000);
    assert_int_equal(f->split.fragments[0].span.max_ms, 39630000);
}

static void test_zeroed_bounds_are_the_grid(void **state)
{
    struct fixture *f = *state;
    struct query_text query;
    assert_int_equal(promql_parse(&f->arena, STR("a @ end()"), &PARSE_LIMITS_DEFAULT, &fixture_regex, &query, NULL),
                     OK);
    f->options.bounds = (struct time_span){0, 0};
    assert_int_equal(split_query(&f->arena, &query, grid_range(1000, 5500, 1000), &f->options, &f->split, NULL), OK);
    assert_int_equal(f->split.fragments[0].span.max_ms, 5000);
}

/* --- the residual's text --- */

#define TASK(id) "{__task_id__=\"" id "\",__task_kind__=\"fragment\"}"

static void test_residual_texts(void **state)
{
    static const struct {
        const char *query, *residual;
    } cases[] = {
        {"abs(a)", "abs(" TASK("1") ")"},
        {"abs((a))", "abs(" TASK("1") ")"},
        {"mad_over_time(a[5m] @ end() offset 1m)", "mad_over_time(" TASK("1") "[5m] @ end() offset 1m)"},
        {"mad_over_time(sum(a)[1h:])", "mad_over_time(" TASK("1") "[1h:1m])"},
        {"mad_over_time(sum(a offset 1m)[1h:] @ 7 offset 5m)", "mad_over_time(" TASK("1") "[1h:1m] @ 7.000 offset 5m)"},
        {"absent(a)", "absent(+" TASK("1") ")"},
        {"absent(sum(a))", "absent(+" TASK("1") ")"},
        {"absent(a{x=\"y\"})", "label_replace(absent(+" TASK("1") "), \"x\", \"y\", \"\", \"\")"},
        {"absent_over_time(a[5m])", "label_replace(label_replace(absent_over_time(" TASK(
                                        "1") "[5m]), \"__task_id__\", "
                                             "\"\", \"\", \"\"), \"__task_kind__\", \"\", \"\", \"\")"},
        {"scalar(a)", "scalar(" TASK("1") ")"},
        {"topk(scalar(a), b @ 1)", "topk(scalar(" TASK("1") "), " TASK("2") " @ 1.000)"},
    };
    struct fixture *f = *state;
    f->options.can = &basic_capabilities;
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++)
        assert_string_equal(residual(f, cases[i].query), cases[i].residual);
}

/* --- refusals --- */

static void test_refusals(void **state)
{
    static const struct {
        const char *query;
        enum status status;
        const char *part;
    } cases[] = {
        {"a + up{__task_id__=\"1\"}", E_BAD_DATA, "__task_id__"},
        {"rate(up{__task_kind__=~\".*\"}[5m])", E_BAD_DATA, "__task_kind__"},
        {"{\"__task_id__\"=\"1\"}", E_BAD_DATA, "__task_id__"},
        {"info(a)", E_EXECUTION, "info()"},
        {"a+b+c+d+e", E_LIMIT, "4"},
        {"max_over_time(a[1w:1s])", E_LIMIT, "11000"},
        {"mad_over_time(a[1w:1s])", E_LIMIT, "11000"},
        {"{__name__=\"a\\x00\"}", E_BAD_DATA, "NUL"},
    };
    struct fixture *f = *state;
    f->options.can = &basic_capabilities;
    f->options.fragments_max = 4;
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct split before = f->split;
        enum status status = plan(f, cases[i].query);
        if (status != cases[i].status || !strstr(f->error.message, cases[i].part))
            fail_msg("%s: %s: %s", cases[i].query, status_text(status), f->error.message);
        assert_memory_equal(&before, &f->split, sizeof before);
    }
}

static void test_many_matchers_in_absent(void **state)
{
    struct fixture *f = *state;
    struct strbuf query;
    strbuf_init(&query, 10000);
    strbuf_cstr(&query, "absent(a{");
    for (int i = 0; i < 70; i++)
        strbuf_f(&query, "%sl%d=\"x\"", i ? "," : "", i);
    strbuf_cstr(&query, "})");
    assert_int_equal(plan(f, query.ptr), E_LIMIT);
    strbuf_release(&query);
}

static void test_many_grouping_labels_stay(void **state)
{
    struct fixture *f = *state;
    struct strbuf query;
    strbuf_init(&query, 10000);
    strbuf_cstr(&query, "sum by (");
    for (int i = 0; i < 101; i++)
        strbuf_f(&query, "%sl%d", i ? "," : "", i);
    strbuf_cstr(&query, ") (a)");
    assert_int_equal(plan(f, query.ptr), OK);
    assert_false(f->split.direct);
    strbuf_release(&query);
}

/* --- push classes --- */

static void test_push_set_parse(void **state)
{
    push_set set = 0;
    assert_int_equal(push_set_parse(STR("all"), &set, NULL), OK);
    assert_int_equal(set, PUSH_ALL);
    assert_int_equal(push_set_parse(STR("none"), &set, NULL), OK);
    assert_int_equal(set, PUSH_NONE);
    assert_int_equal(push_set_parse(STR("aggregate,window"), &set, NULL), OK);
    assert_int_equal(set, 1u << PUSH_AGGREGATE | 1u << PUSH_WINDOW);
    static const char *const wrong[] = {"", "window,", ",window", "windows", "all,none", "window;selector", " window"};
    for (size_t i = 0; i < ARRAY_LENGTH(wrong); i++) {
        struct error error;
        assert_int_equal(push_set_parse(str_from(wrong[i]), &set, &error), E_BAD_DATA);
        assert_non_null(strstr(error.message, "selector, window, subquery, aggregate"));
    }
}

static void test_an_empty_table_pushes_nothing(void **state)
{
    static const struct capabilities nothing = {.backend = "none"};
    struct fixture *f = *state;
    f->options.can = &nothing;
    assert_int_equal(plan(f, "sum(rate(a[5m])) + b + max_over_time(c[5m:1m])"), OK);
    assert_int_equal(f->split.fragments_n, 3);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(f->split.fragments[i].kind, FRAGMENT_RAW);
}

/* --- native histograms --- */

struct histograms {
    struct time_span span; /* when series named h have some */
    unsigned asked;
};

static bool has_histograms(const struct expr_selector *selector, struct time_span span, void *arg)
{
    struct histograms *known = arg;
    known->asked++;
    return str_eq(selector->matchers[0].value, STR("h")) && span.min_ms <= known->span.max_ms &&
           span.max_ms >= known->span.min_ms;
}

static void test_histograms_go_raw(void **state)
{
    static const struct {
        const char *query, *residual;
    } CASES[] = {
        {"h", "TASK1"},
        {"up", NULL},
        {"rate(h[5m])", "rate(TASK1[5m])"},
        {"sum(rate(h[5m]))", "sum(rate(TASK1[5m]))"},
        {"histogram_quantile(0.9, sum(rate(h[5m])))", "histogram_quantile(0.9, sum(rate(TASK1[5m])))"},
        {"sum(up) + sum(h)", "TASK1 + sum(TASK2)"},
        {"max_over_time(rate(h[5m])[10m:1m])", "max_over_time(rate(TASK1[5m])[10m:1m])"},
        {"absent(h)", "absent(+TASK1)"},
        {"timestamp(h)", "timestamp(TASK1)"},
        {"h offset 1d", NULL}, /* there were none yet */
        {"h @ 0", NULL},
        {"count(h or up)", "count(TASK1 or TASK2)"},
    };
    struct fixture *f = *state;
    struct histograms known = {.span = {FIXTURE_END_MS, FIXTURE_END_MS}};
    f->options.has_histograms = has_histograms;
    f->options.has_histograms_arg = &known;
    for (size_t i = 0; i < ARRAY_LENGTH(CASES); i++) {
        assert_int_equal(plan(f, CASES[i].query), OK);
        if (f->split.direct != !CASES[i].residual)
            fail_msg("%s: direct is %d", CASES[i].query, f->split.direct);
        bool said = false;
        for (uint32_t k = 0; k < f->split.nodes_n; k++)
            said |= f->split.nodes[k].reason == RESIDUE_HISTOGRAMS && f->split.nodes[k].expr->kind == EXPR_SELECTOR;
        assert_int_equal(said, CASES[i].residual != NULL);
    }
    assert_int_equal(plan(f, "info(h)"), E_EXECUTION);
    assert_non_null(strstr(f->error.message, "its operand cannot be computed where the samples are"));
    assert_int_equal(plan(f, "info(up, {__name__=\"h\"})"), E_EXECUTION);
    assert_non_null(strstr(f->error.message, "its info series cannot be read where the samples are"));
    assert_true(known.asked > 0);
    known.asked = 0;
    f->options.push = 0;
    assert_int_equal(plan(f, "h + up"), OK);
    assert_int_equal(known.asked, 0);
    f->options.version = 2043;
    assert_int_equal(plan(f, "up"), OK);
    assert_int_equal(plan(f, "sum(up) + rate(h[5m])"), E_EXECUTION);
    assert_string_equal(f->error.message,
                        "native histograms are among the samples of this selector, and the upstream Prometheus, 2.43, "
                        "cannot read them: that takes 2.44 or later");
    f->options.version = 2044;
    assert_int_equal(plan(f, "h"), OK);
}

/* --- explain --- */

static void test_every_reason_has_a_text(void **state)
{
    for (unsigned reason = 0; reason < RESIDUE_MAX; reason++)
        assert_true(strlen(residue_reason_text((enum residue_reason)reason)) > 3);
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_equal_fragments_are_one),
        CASE(test_direct),
        CASE(test_raw_spans),
        CASE(test_span_of_a_request_that_ends_off_phase),
        CASE(test_zeroed_bounds_are_the_grid),
        CASE(test_residual_texts),
        CASE(test_refusals),
        CASE(test_many_matchers_in_absent),
        CASE(test_many_grouping_labels_stay),
        CASE(test_push_set_parse),
        CASE(test_an_empty_table_pushes_nothing),
        CASE(test_histograms_go_raw),
        CASE(test_every_reason_has_a_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
