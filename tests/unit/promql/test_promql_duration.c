/* Durations and times of texts and query parameters; duration expressions. */
#include "promql_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/assert.h"

#define NONE INT64_C(-1234567)

struct time_case {
    const char *text;
    int64_t ms; /* NONE: refused */
};

static void check_cases(const struct time_case *cases, size_t n, bool (*parse)(struct str text, int64_t *ret_ms))
{
    for (size_t i = 0; i < n; i++) {
        int64_t ms = NONE;
        bool taken = parse(str_from(cases[i].text), &ms);
        if (taken != (cases[i].ms != NONE) || ms != cases[i].ms)
            fail_msg("\"%s\": %s %lld", cases[i].text, taken ? "taken as" : "refused,", (long long)ms);
    }
}

static void test_parse_duration(void **state)
{
    static const struct time_case CASES[] = {
        {"0", 0},
        {"0s", 0},
        {"1ms", 1},
        {"500ms", 500},
        {"1s", 1000},
        {"5m", 300000},
        {"1h30m", 5400000},
        {"1d", 86400000},
        {"1w", 604800000},
        {"1y", 31536000000},
        {"1y2w3d4h5m6s7ms", 31536000000 + 1209600000 + 259200000 + 14400000 + 300000 + 6000 + 7},
        {"0y0w1s", 1000},
        {"00005m", 300000},
        {"9223372036854ms", 9223372036854},
        {"292y", 292 * INT64_C(31536000000)},
        {"", NONE},
        {"1", NONE},
        {"s", NONE},
        {"1.5h", NONE},
        {"-5m", NONE},
        {"5m1h", NONE},
        {"5m5m", NONE},
        {"1x", NONE},
        {"1hs", NONE},
        {" 5m", NONE},
        {"5m ", NONE},
        {"5 m", NONE},
        {"1M", NONE},
        {"293y", NONE},
        {"9223372036855ms", NONE},
        {"99999999999999999999ms", NONE},
        {"292y1000w", NONE},
    };
    check_cases(CASES, ARRAY_LENGTH(CASES), promql_parse_duration);
}

static void test_parse_api_duration(void **state)
{
    static const struct time_case CASES[] = {
        {"60", 60000},         {"0.5", 500},   {"1e3", 1000000},   {"-1", -1000},  {"1.0015", 1001},
        {"0.0004", 0},         {"5m", 300000}, {"1h30m", 5400000}, {"+15", 15000}, {"9223372036", 9223372036000},
        {"0x10", NONE},        {"", NONE},     {"NaN", NONE},      {"Inf", NONE},  {"9223372037", NONE},
        {"-9223372037", NONE}, {"1 ", NONE},   {"five", NONE},     {"1_0", 10000}, {"0x1p4", 16000},
    };
    check_cases(CASES, ARRAY_LENGTH(CASES), promql_parse_api_duration);
}

static void test_parse_api_time(void **state)
{
    static const struct time_case CASES[] = {
        {"0", 0},
        {"1.5", 1500},
        {"-1.5", -1500},
        {"1609746000.123", 1609746000123},
        {"1609746000.1234", 1609746000123},
        {"1609746000.1239", 1609746000124},
        {"1e9", 1000000000000},
        {"1.2345678e9", 1234567800000},
        {"2021-01-04T07:40:00Z", 1609746000000},
        {"2021-01-04T07:40:00.123Z", 1609746000123},
        {"2021-01-04T07:40:00.123999999Z", 1609746000123},
        {"2021-01-04T08:40:00+01:00", 1609746000000},
        {"2021-01-04T02:10:00-05:30", 1609746000000},
        {"1970-01-01T00:00:00Z", 0},
        {"1969-12-31T23:59:59.5Z", -500},
        {"2000-02-29T00:00:00Z", 951782400000},
        {"2100-03-01T00:00:00Z", 4107542400000},
        {"0001-01-01T00:00:00Z", -62135596800000},
        {"9999-12-31T23:59:59Z", 253402300799000},
        {"-292273086-05-16T16:47:06Z", -9223309901257974000},
        {"292277025-08-18T07:12:54.999999999Z", 9223309901257974999},
        {"2021-02-29T00:00:00Z", NONE},
        {"1900-02-29T00:00:00Z", NONE},
        {"2021-13-01T00:00:00Z", NONE},
        {"2021-00-01T00:00:00Z", NONE},
        {"2021-04-31T00:00:00Z", NONE},
        {"2021-01-04T24:00:00Z", NONE},
        {"2021-01-04T07:60:00Z", NONE},
        {"2021-01-04T07:40:60Z", NONE},
        {"2021-01-04T07:40:00", NONE},
        {"2021-01-04T07:40:00.Z", NONE},
        {"2021-01-04 07:40:00Z", NONE},
        {"2021-01-04T07:40:00z", NONE},
        {"2021-1-4T07:40:00Z", NONE},
        {"2021-01-04T07:40:00+0100", NONE},
        {"2021-01-04T07:40:00Zx", NONE},
        {"", NONE},
        {"now", NONE},
        {"NaN", NONE},
        {"Inf", NONE},
        {"1e30", NONE},
    };
    check_cases(CASES, ARRAY_LENGTH(CASES), promql_parse_api_time);
}

/* -- duration expressions --------------------------------------------------------------------------------------- */

static struct arena arena;

static int setup(void **state)
{
    arena_init(&arena, 1 << 20);
    return 0;
}

static int teardown(void **state)
{
    arena_release(&arena);
    return 0;
}

static void test_resolve(void **state)
{
    static const struct {
        const char *range;
        int64_t ms;
    } CASES[] = {
        {"5m*2", 600000},
        {"(5m)", 300000},
        {"1h-30m", 1800000},
        {"2^3^2", 512000},
        {"-2^2+10", 6000},
        {"7m%4m", 180000},
        {"-7m%4m+10m", 420000},
        {"1/3", 333},
        {"step()", 15000},
        {"range()", 3600000},
        {"range()/step()", 240000},
        {"min_of(5m,step())", 15000},
        {"max_of(5m,step())", 300000},
        {"max(1m,min(2m,3m))", 120000},
        {"-(-5m)", 300000},
        {"0.001*1", 1},
        {"1m+2m*3", 420000},
        {"(1m+2m)*3", 540000},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(CASES); i++) {
        char text[128];
        snprintf(text, sizeof text, "a[%s]", CASES[i].range);
        struct expr *root = parse_ok(&arena, text);
        assert_int_equal(promql_resolve(root, 15000, 3600000, NULL), OK);
        if (root->u.matrix.range.ms != CASES[i].ms)
            fail_msg("%s is %lld ms", text, (long long)root->u.matrix.range.ms);
    }
}

/* Each place of a tree where a duration may stand. */
static void test_resolve_everywhere(void **state)
{
    struct expr *root =
        parse_ok(&arena, "-(topk(scalar(a offset (1m*2)), sum_over_time(rate(b[1m*3] offset (1m*4))[1h*1:1m*6] "
                         "offset (1m*-7)))) + 1");
    assert_int_equal(promql_resolve(root, 0, 0, NULL), OK);
    const struct expr *topk = root->u.binary.left->u.unary.operand->u.paren;
    const struct expr *a = topk->u.aggregate.parameter->u.call.args[0];
    const struct expr_subquery *subquery = &topk->u.aggregate.operand->u.call.args[0]->u.subquery;
    const struct expr_matrix *b = &subquery->operand->u.call.args[0]->u.matrix;
    assert_int_equal(a->u.selector.offset.ms, 120000);
    assert_int_equal(b->range.ms, 180000);
    assert_int_equal(b->selector->u.selector.offset.ms, 240000);
    assert_int_equal(subquery->range.ms, 3600000);
    assert_int_equal(subquery->step.ms, 360000);
    assert_int_equal(subquery->offset.ms, -420000);
}

static void test_resolve_errors(void **state)
{
    static const struct {
        const char *query, *message;
        uint32_t begin, end;
    } CASES[] = {
        {"a[step()]", "2:8: duration must be greater than 0", 2, 8},
        {"a[1m-1m]", "2:7: duration must be greater than 0", 2, 7},
        {"a[-(5m)]", "2:7: duration must be greater than 0", 2, 7},
        {"a[1h:1m-2m]", "5:10: duration must be greater than 0", 5, 10},
        {"a[1m/(1s-1s)]", "2:11: division by zero", 2, 11},
        {"a[1m%step()]", "2:11: modulo by zero", 2, 11},
        {"a[10^300*10^300]", "2:15: duration is NaN or infinite", 2, 15},
        {"a[(-1)^0.5]", "2:10: duration is NaN or infinite", 2, 10},
        {"a[1y*1000]", "2:9: duration is out of range", 2, 9},
        {"a offset (1y*-1000)", "10:18: duration is out of range", 10, 18},
        {"sum(rate(b[5m])) + rate(a[1m-1m])", "26:31: duration must be greater than 0", 26, 31},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(CASES); i++) {
        struct error error;
        struct expr *root = parse_ok(&arena, CASES[i].query);
        assert_int_equal(promql_resolve(root, 0, 0, &error), E_BAD_DATA);
        assert_string_equal(error.message, CASES[i].message);
        assert_int_equal(error.begin, CASES[i].begin);
        assert_int_equal(error.end, CASES[i].end);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse_duration),
        cmocka_unit_test(test_parse_api_duration),
        cmocka_unit_test(test_parse_api_time),
        cmocka_unit_test_setup_teardown(test_resolve, setup, teardown),
        cmocka_unit_test_setup_teardown(test_resolve_everywhere, setup, teardown),
        cmocka_unit_test_setup_teardown(test_resolve_errors, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
