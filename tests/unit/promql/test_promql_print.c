/* Printing: prettified queries, JSON, tasks, resolved texts, strings, durations, matchers, label sets. */
#include "promql_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/assert.h"

static struct arena arena;
static struct strbuf out;

static int setup(void **state)
{
    arena_init(&arena, 64u << 20);
    strbuf_init(&out, 1 << 20);
    return 0;
}

static int teardown(void **state)
{
    arena_release(&arena);
    strbuf_release(&out);
    return 0;
}

static void assert_out(const char *expected)
{
    assert_int_equal(strbuf_status(&out, "the text", NULL), OK);
    assert_string_equal(strbuf_view(&out).ptr, expected);
    strbuf_clear(&out);
}

/* -- prettify --------------------------------------------------------------------------------------------------- */

static void test_prettify(void **state)
{
    struct promql_cases cases = promql_cases_read("prettify.case");
    assert_true(cases.n >= 20);
    for (size_t i = 0; i < cases.n; i++) {
        const struct promql_case *c = &cases.at[i];
        const struct expr *root = parse_ok(&arena, c->input);
        promql_prettify(&out, root);
        strbuf_char(&out, '\0');
        assert_string_equal(strbuf_view(&out).ptr, c->answer);
        if (!expr_eq(root, parse_ok(&arena, strbuf_view(&out).ptr)))
            fail_msg("prettify.case:%u reads back as another tree", c->line);
        strbuf_clear(&out);
    }
    promql_cases_free(&cases);
}

/* The lines of every valid query read back as the same tree. */
static void test_prettify_valid(void **state)
{
    struct promql_cases cases = promql_cases_read("valid.case");
    for (size_t i = 0; i < cases.n; i++) {
        const struct expr *root = parse_ok(&arena, cases.at[i].input);
        promql_prettify(&out, root);
        strbuf_char(&out, '\0');
        assert_true(expr_eq(root, parse_ok(&arena, strbuf_view(&out).ptr)));
        strbuf_clear(&out);
    }
    promql_cases_free(&cases);
}

static void test_limited_output(void **state)
{
    const struct expr *root = parse_ok(&arena, "sum by (a) (rate(b{c=\"d\",e=\"f\"}[5m])) + -(g or h)");
    for (size_t max = 0; max < 48; max++) {
        struct strbuf small;
        struct error error;
        strbuf_init(&small, max);
        promql_print(&small, root, NULL);
        assert_true(small.len <= max);
        assert_int_equal(strbuf_status(&small, "the text", &error), E_LIMIT);
        strbuf_clear(&small);
        promql_prettify(&small, root);
        assert_int_equal(strbuf_status(&small, "the text", &error), E_LIMIT);
        strbuf_release(&small);
    }
}

/* -- JSON ------------------------------------------------------------------------------------------------------- */

static void test_json(void **state)
{
    static const struct {
        const char *query;
        const char *json;
    } CASES[] = {
        {"1.50", "{\"type\":\"numberLiteral\",\"val\":\"1.5\"}"},
        {"5m", "{\"type\":\"numberLiteral\",\"val\":\"300\"}"},
        {"-Inf", "{\"type\":\"numberLiteral\",\"val\":\"-Inf\"}"},
        {"'a\"b\\n'", "{\"type\":\"stringLiteral\",\"val\":\"a\\\"b\\n\"}"},
        {"(1)", "{\"expr\":{\"type\":\"numberLiteral\",\"val\":\"1\"},\"type\":\"parenExpr\"}"},
        {"up{job=\"a\",env!~\"b\"} offset 5m @ 1.5",
         "{\"anchored\":false,\"matchers\":[{\"name\":\"job\",\"type\":\"=\",\"value\":\"a\"},{\"name\":\"env\","
         "\"type\":\"!~\",\"value\":\"b\"},{\"name\":\"__name__\",\"type\":\"=\",\"value\":\"up\"}],\"name\":\"up\","
         "\"offset\":300000,\"offsetExpr\":null,\"smoothed\":false,\"startOrEnd\":null,\"timestamp\":1500,"
         "\"type\":\"vectorSelector\"}"},
        {"{\"up\"}[5m] @ start()",
         "{\"anchored\":false,\"matchers\":[{\"name\":\"__name__\",\"type\":\"=\",\"value\":\"up\"}],\"name\":\"\","
         "\"offset\":0,\"offsetExpr\":null,\"range\":300000,\"rangeExpr\":null,\"smoothed\":false,"
         "\"startOrEnd\":\"start\",\"timestamp\":null,\"type\":\"matrixSelector\"}"},
        {"a[1h:(5m)] offset (1m * -step())",
         "{\"expr\":{\"anchored\":false,\"matchers\":[{\"name\":\"__name__\",\"type\":\"=\",\"value\":"
         "\"a\"}],\"name\":\"a\",\"offset\":0,\"offsetExpr\":null,\"smoothed\":false,\"startOrEnd\":null,"
         "\"timestamp\":null,\"type\":\"vectorSelector\"},\"offset\":0,\"offsetExpr\":{\"lhs\":{\"duration\":true,"
         "\"type\":\"numberLiteral\",\"val\":\"60\"},\"op\":\"*\",\"rhs\":{\"lhs\":null,\"op\":\"-\",\"rhs\":{"
         "\"lhs\":null,\"op\":\"step\",\"rhs\":null,\"type\":\"durationExpr\",\"wrapped\":false},\"type\":"
         "\"durationExpr\",\"wrapped\":false},\"type\":\"durationExpr\",\"wrapped\":true},\"range\":3600000,"
         "\"rangeExpr\":null,\"startOrEnd\":null,\"step\":0,\"stepExpr\":{\"lhs\":null,\"op\":\"+\",\"rhs\":{"
         "\"duration\":true,\"type\":\"numberLiteral\",\"val\":\"300\"},\"type\":\"durationExpr\",\"wrapped\":true},"
         "\"timestamp\":null,\"type\":\"subquery\"}"},
        {"-vector(1)",
         "{\"expr\":{\"args\":[{\"type\":\"numberLiteral\",\"val\":\"1\"}],\"func\":{\"argTypes\":[\"scalar\"],"
         "\"name\":\"vector\",\"returnType\":\"vector\",\"variadic\":0},\"type\":\"call\"},\"op\":\"-\","
         "\"type\":\"unaryExpr\"}"},
        {"count_values without (a) (\"v\", vector(1))",
         "{\"expr\":{\"args\":[{\"type\":\"numberLiteral\",\"val\":\"1\"}],\"func\":{\"argTypes\":[\"scalar\"],"
         "\"name\":\"vector\",\"returnType\":\"vector\",\"variadic\":0},\"type\":\"call\"},\"grouping\":[\"a\"],"
         "\"op\":\"count_values\",\"param\":{\"type\":\"stringLiteral\",\"val\":\"v\"},\"type\":\"aggregation\","
         "\"without\":true}"},
        {"1 > bool 2",
         "{\"bool\":true,\"lhs\":{\"type\":\"numberLiteral\",\"val\":\"1\"},\"matching\":null,\"op\":\">\","
         "\"rhs\":{\"type\":\"numberLiteral\",\"val\":\"2\"},\"type\":\"binaryExpr\"}"},
        {"vector(1) * on (a) group_left (b) fill_left (2.5) vector(2)",
         "{\"bool\":false,\"lhs\":{\"args\":[{\"type\":\"numberLiteral\",\"val\":\"1\"}],\"func\":{\"argTypes\":["
         "\"scalar\"],\"name\":\"vector\",\"returnType\":\"vector\",\"variadic\":0},\"type\":\"call\"},\"matching\":{"
         "\"card\":\"many-to-one\",\"fillValues\":{\"lhs\":2.5,\"rhs\":null},\"include\":[\"b\"],\"labels\":[\"a\"],"
         "\"on\":true},\"op\":\"*\",\"rhs\":{\"args\":[{\"type\":\"numberLiteral\",\"val\":\"2\"}],\"func\":{"
         "\"argTypes\":[\"scalar\"],\"name\":\"vector\",\"returnType\":\"vector\",\"variadic\":0},\"type\":\"call\"},"
         "\"type\":\"binaryExpr\"}"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(CASES); i++) {
        promql_print_json(&out, parse_ok(&arena, CASES[i].query));
        assert_out(CASES[i].json);
    }
}

/* -- tasks and resolved texts ----------------------------------------------------------------------------------- */

static struct str task_id(uint32_t index, void *arg)
{
    static char id[16];
    assert_ptr_equal(arg, &arena);
    return (struct str){id, (size_t)snprintf(id, sizeof id, "T\"%u", index)};
}

static void test_task(void **state)
{
    struct print_options options = {.task_id = task_id, .arg = &arena};
    struct expr task = {.kind = EXPR_TASK, .type = VALUE_VECTOR, .depth = 1, .u.task = {.index = 7}};
    promql_print(&out, &task, &options);
    assert_out("{__task_id__=\"T\\\"7\",__task_kind__=\"fragment\"}");

    task.u.task.offset = (struct duration){.present = true, .ms = -90000};
    task.u.task.at = AT_TIME;
    task.u.task.at_ms = -1500;
    struct expr *root = parse_ok(&arena, "histogram_quantile(0.9, x)");
    ((struct expr **)root->u.call.args)[1] = &task;
    promql_print(&out, root, &options);
    assert_out("histogram_quantile(0.9, {__task_id__=\"T\\\"7\",__task_kind__=\"fragment\"} @ -1.500 offset -1m30s)");
}

static void test_resolved(void **state)
{
    static const struct {
        const char *query, *text;
    } CASES[] = {
        {"a[5m * 2] offset -(1m + step())", "a[10m] offset -2m"},
        {"a[range():step() / 2] offset (1m - 60)", "a[1h:30s]"},
        {"vector(5m) + 1h30m", "vector(300) + 5400"},
        {"a[300] offset 90", "a[5m] offset 1m30s"},
        {"a[max_of(1m, 2m)]", "a[2m]"},
        {"a[5m]", "a[5m]"},
    };
    struct print_options options = {.resolved = true};
    for (size_t i = 0; i < ARRAY_LENGTH(CASES); i++) {
        struct expr *root = parse_ok(&arena, CASES[i].query);
        assert_int_equal(promql_resolve(root, 60000, 3600000, NULL), OK);
        promql_print(&out, root, &options);
        assert_out(CASES[i].text);
    }
}

/* -- parts ------------------------------------------------------------------------------------------------------ */

static void test_string(void **state)
{
    static const struct {
        struct str text;
        const char *quoted;
    } CASES[] = {
        {{NULL, 0}, "\"\""},
        {STR_STATIC(""), "\"\""},
        {STR_STATIC("plain"), "\"plain\""},
        {STR_STATIC("a\"b\\c'd`"), "\"a\\\"b\\\\c'd`\""},
        {STR_STATIC("\a\b\f\n\r\t\v"), "\"\\a\\b\\f\\n\\r\\t\\v\""},
        {STR_STATIC("\0\x01\x1f\x7f"), "\"\\x00\\x01\\x1f\\x7f\""},
        {STR_STATIC("\xc3\xa9\xe6\xbc\xa2\xf0\x9f\x98\x80"), "\"\xc3\xa9\xe6\xbc\xa2\xf0\x9f\x98\x80\""},
        {STR_STATIC("\xc2\xa0\xe2\x80\x8b\xef\xbb\xbf"), "\"\\u00a0\\u200b\\ufeff\""},
        {STR_STATIC("\xf3\xa0\x80\x81"), "\"\\U000e0001\""},
        {STR_STATIC("\xff\xc3(\xed\xa0\x80"), "\"\\xff\\xc3(\\xed\\xa0\\x80\""},
        {STR_STATIC("\xef\xbf\xbd"), "\"\xef\xbf\xbd\""},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(CASES); i++) {
        promql_print_string(&out, CASES[i].text);
        assert_out(CASES[i].quoted);
    }
}

static void test_duration(void **state)
{
    static const struct {
        int64_t ms;
        const char *text;
    } CASES[] = {
        {0, "0s"},
        {1, "1ms"},
        {999, "999ms"},
        {1001, "1s1ms"},
        {5400000, "1h30m"},
        {86400000, "1d"},
        {604800000, "1w"},
        {604800001, "7d1ms"},
        {1209600000, "2w"},
        {31536000000, "1y"},
        {31622400000, "366d"},
        {63072000000, "2y"},
        {-300000, "-5m"},
        {INT64_MIN, "-106751991167d7h12m55s808ms"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(CASES); i++) {
        promql_print_duration(&out, CASES[i].ms);
        assert_out(CASES[i].text);
    }
}

/* Times beyond 2^53 ms still read back to the same millisecond, and so does a literal below one. */
static void test_far_times(void **state)
{
    static const char *const QUERIES[] = {"a @ 9007199254741.993",
                                          "a @ -9007199254740.993",
                                          "a @ 9e15",
                                          "a @ 123456789012345.678",
                                          "a @ 8.9e18",
                                          "a @ -9.2e18",
                                          "a[0.0004]",
                                          "a[1h:0.0004]",
                                          "a offset 0.0004"};
    for (size_t i = 0; i < ARRAY_LENGTH(QUERIES); i++) {
        struct expr *root = parse_ok(&arena, QUERIES[i]);
        char *text = printed(root, NULL);
        if (!expr_eq(root, parse_ok(&arena, text)))
            fail_msg("%s is printed as %s", QUERIES[i], text);
        free(text);
    }
}

static void test_matchers(void **state)
{
    static const struct matcher MATCHERS[] = {
        {STR_STATIC("b"), MATCH_EQUAL, STR_STATIC("x\"y")},
        {STR_STATIC("a"), MATCH_NOT_REGEX, STR_STATIC("c.*")},
        {STR_STATIC("d.e"), MATCH_NOT_EQUAL, STR_STATIC("")},
    };
    promql_print_matchers(&out, MATCHERS, 3);
    assert_out("{b=\"x\\\"y\",a!~\"c.*\",\"d.e\"!=\"\"}");
    promql_print_matchers(&out, NULL, 0);
    assert_out("{}");
}

static void test_labels(void **state)
{
    static const struct label LABELS[] = {{STR_STATIC("__name__"), STR_STATIC("up")},
                                          {STR_STATIC("a.b"), STR_STATIC("1")},
                                          {STR_STATIC("job"), STR_STATIC("x y")}};
    static const struct label NAMED[] = {{STR_STATIC("__name__"), STR_STATIC("my.metric")},
                                         {STR_STATIC("job"), STR_STATIC("a")}};
    promql_print_labels(&out, (struct labels){LABELS, 3});
    assert_out("up{\"a.b\"=\"1\", job=\"x y\"}");
    promql_print_labels(&out, (struct labels){LABELS, 1});
    assert_out("up");
    promql_print_labels(&out, (struct labels){LABELS + 2, 1});
    assert_out("{job=\"x y\"}");
    promql_print_labels(&out, (struct labels){NAMED, 2});
    assert_out("{\"my.metric\", job=\"a\"}");
    promql_print_labels(&out, (struct labels){NULL, 0});
    assert_out("{}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_prettify, setup, teardown),
        cmocka_unit_test_setup_teardown(test_prettify_valid, setup, teardown),
        cmocka_unit_test_setup_teardown(test_limited_output, setup, teardown),
        cmocka_unit_test_setup_teardown(test_json, setup, teardown),
        cmocka_unit_test_setup_teardown(test_task, setup, teardown),
        cmocka_unit_test_setup_teardown(test_resolved, setup, teardown),
        cmocka_unit_test_setup_teardown(test_string, setup, teardown),
        cmocka_unit_test_setup_teardown(test_duration, setup, teardown),
        cmocka_unit_test_setup_teardown(test_far_times, setup, teardown),
        cmocka_unit_test_setup_teardown(test_matchers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_labels, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
