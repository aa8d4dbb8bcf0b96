/* The JSON of the API, byte for byte as Prometheus writes it, and the reader of outlines on any bytes. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/float_text.h"
#include "frontend/json.h"

static void shows(struct strbuf *out, const char *expected)
{
    assert_int_equal(out->status, OK);
    assert_string_equal(out->ptr ? out->ptr : "", expected);
    strbuf_release(out);
}

static struct strbuf builder(void)
{
    struct strbuf out;
    strbuf_init(&out, 64u << 20);
    return out;
}

static void envelopes(void **state)
{
    struct strbuf out = builder();
    struct str warnings[12];
    for (size_t i = 0; i < ARRAY_LENGTH(warnings); i++)
        warnings[i] = i == 3 ? STR("5 more warning annotations omitted") : STR("w");
    struct str info = STR("say \"i\"");
    json_success_begin(&out);
    strbuf_cstr(&out, "1");
    json_success_end(&out, warnings, 12, &info, 1);
    shows(&out, "{\"status\":\"success\",\"data\":1,\"warnings\":[\"w\",\"w\",\"w\",\"w\",\"w\",\"w\",\"w\",\"w\","
                "\"w\",\"w\",\"6 more warning annotations omitted\"],\"infos\":[\"say \\\"i\\\"\"]}");
    out = builder();
    json_success_begin(&out);
    strbuf_cstr(&out, "[]");
    json_success_end(&out, NULL, 0, NULL, 0);
    shows(&out, "{\"status\":\"success\",\"data\":[]}");
    out = builder();
    struct error error;
    error_set(&error, E_BAD_DATA, "1:2: parse error: \"x\"\n");
    json_error(&out, &error);
    shows(&out, "{\"status\":\"error\",\"errorType\":\"bad_data\",\"error\":\"1:2: parse error: \\\"x\\\"\\n\"}");
}

/* Values and texts taken from Prometheus's answers. */
static const struct {
    double value;
    const char *text;
} values[] = {
    {0, "0"},
    {-0.0, "-0"},
    {1, "1"},
    {-17, "-17"},
    {0.1, "0.1"},
    {1.0 / 3, "0.3333333333333333"},
    {123456789012345, "123456789012345"},
    {999999999999999, "999999999999999"},
    {1e15, "1000000000000000"},
    {9007199254740993.0, "9007199254740992"},
    {1e20, "100000000000000000000"},
    {1e21, "1e+21"},
    {-1e21, "-1e+21"},
    {1e-6, "0.000001"},
    {1e-7, "1e-07"},
    {4.9e-324, "5e-324"},
    {1.7976931348623157e308, "1.7976931348623157e+308"},
    {INFINITY, "+Inf"},
    {-INFINITY, "-Inf"},
};

static void vectors(void **state)
{
    for (size_t i = 0; i < ARRAY_LENGTH(values) + 2; i++) {
        bool nan = i >= ARRAY_LENGTH(values);
        double value =
            nan ? double_from_bits(i == ARRAY_LENGTH(values) ? STALE_NAN_BITS : NORMAL_NAN_BITS) : values[i].value;
        uint64_t present = 1;
        struct label label = {STR("__name__"), STR("up")};
        struct grid_series series = {{&label, 1}, &value, &present};
        struct grid_result result = {.grid = grid_instant(1435781430781), .series = &series, .series_n = 1};
        char expected[512];
        snprintf(expected, sizeof expected,
                 "{\"resultType\":\"vector\",\"result\":[{\"metric\":{\"__name__\":\"up\"},\"value\":[1435781430.781,"
                 "\"%s\"]}]}",
                 nan ? "NaN" : values[i].text);
        struct strbuf out = builder();
        json_vector(&out, &result, 0);
        shows(&out, expected);
    }
}

static void scalars(void **state)
{
    for (size_t i = 0; i < ARRAY_LENGTH(values); i++) {
        double value = values[i].value;
        uint64_t present = 1;
        struct grid_series series = {{NULL, 0}, &value, &present};
        struct grid_result result = {.grid = grid_instant(1435781430781), .series = &series, .series_n = 1};
        char expected[256];
        snprintf(expected, sizeof expected, "{\"resultType\":\"scalar\",\"result\":[1435781430.781,\"%s\"]}",
                 values[i].text);
        struct strbuf out = builder();
        json_scalar(&out, &result);
        shows(&out, expected);
    }
}

static void matrices(void **state)
{
    double first[] = {1, 0, 2.5}, second[] = {0, -1, 0};
    uint64_t first_present = 5, second_present = 2;
    struct label labels[] = {{STR("__name__"), STR("m")}, {STR("job"), STR("a\\b\xff")}};
    struct grid_series series[] = {{{labels, 2}, first, &first_present}, {{NULL, 0}, second, &second_present}};
    struct grid_result result = {
        .grid = {.start_ms = -500, .step_ms = 500, .steps = 3}, .series = series, .series_n = 2};
    struct strbuf out = builder();
    json_matrix(&out, &result, 0);
    shows(&out, "{\"resultType\":\"matrix\",\"result\":[{\"metric\":{\"__name__\":\"m\",\"job\":\"a\\\\b\xef\xbf\xbd\"}"
                ",\"values\":[[-0.500,\"1\"],[0.500,\"2.5\"]]},{\"metric\":{},\"values\":[[0,\"-1\"]]}]}");
    out = builder();
    json_matrix(&out, &result, 1);
    assert_null(strstr(out.ptr, "\"metric\":{}"));
    strbuf_release(&out);
    out = builder();
    result.series_n = 0;
    json_matrix(&out, &result, 0);
    shows(&out, "{\"resultType\":\"matrix\",\"result\":[]}");
}

/* Long rows with the widest values: what is reserved must suffice, and the text must be what single steps give. */
static void wide_matrices(void **state)
{
    enum {
        STEPS = 3000
    };
    static double points[STEPS];
    static uint64_t present[STEPS / 64 + 1];
    struct strbuf expected = builder();
    strbuf_cstr(&expected, "{\"resultType\":\"matrix\",\"result\":[{\"metric\":{},\"values\":[");
    for (uint32_t k = 0; k < STEPS; k++) {
        char text[FLOAT_TEXT_MAX], time[32];
        points[k] = k % 3 == 0 ? -1.2345678901234567e20 : k % 3 == 1 ? 1.0 / (k + 3) : (double)k * 1e9;
        present[k / 64] |= UINT64_C(1) << (k % 64);
        float_text_json(text, points[k]);
        time_text_json(time, 1700000000123 + (int64_t)k * 1001);
        strbuf_f(&expected, "%s[%s,\"%s\"]", k ? "," : "", time, text);
    }
    strbuf_cstr(&expected, "]}]}");
    struct grid_series series = {{NULL, 0}, points, present};
    struct grid_result result = {
        .grid = {.start_ms = 1700000000123, .step_ms = 1001, .steps = STEPS}, .series = &series, .series_n = 1};
    struct strbuf out = builder();
    json_matrix(&out, &result, 0);
    shows(&out, expected.ptr);
    struct strbuf small;
    strbuf_init(&small, 5000);
    json_matrix(&small, &result, 0);
    assert_int_equal(small.status, E_LIMIT);
    assert_true(small.len <= 5000);
    strbuf_release(&small);
    strbuf_release(&expected);
}

/* --- reading --- */

static void members_are_found(void **state)
{
    static const struct {
        const char *text;
        bool good;
        const char *a, *b; /* NULL: not there */
    } rows[] = {
        {"{}", true, NULL, NULL},
        {" { } ", true, NULL, NULL},
        {"{\"a\":1}", true, "1", NULL},
        {"{\"a\":1,\"a\":2}", true, "1", NULL},
        {"{ \"b\" : [1,{\"a\":\"]}\"}] , \"a\" : \"x\\\\\" }\n", true, "\"x\\\\\"", "[1,{\"a\":\"]}\"}]"},
        {"{\"a\":\"q\\\"}\",\"b\":null}", true, "\"q\\\"}\"", "null"},
        {"{\"x\":{\"a\":1}}", true, NULL, NULL},
        {"{\"a\":-1.5e+3}", true, "-1.5e+3", NULL},
        {"{\"a\":\"\"}", true, "\"\"", NULL},
        {"", false, NULL, NULL},
        {"[]", false, NULL, NULL},
        {"{", false, NULL, NULL},
        {"{\"a\":1", false, NULL, NULL},
        {"{\"a\":1,}", false, NULL, NULL},
        {"{\"a\" 1}", false, NULL, NULL},
        {"{\"a\":}", false, NULL, NULL},
        {"{\"a\":1 2}", false, NULL, NULL},
        {"{\"a\":[1}", false, NULL, NULL},
        {"{\"a\":[1}]", false, NULL, NULL},
        {"{\"a\":\"x}", false, NULL, NULL},
        {"{\"a\":\"x\\\"}", false, NULL, NULL},
        {"{\"a\":1}x", false, NULL, NULL},
        {"{a:1}", false, NULL, NULL},
        {"{\"a\":1}{\"b\":2}", false, NULL, NULL},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        struct json_member members[] = {{.name = STR("a")}, {.name = STR("b")}};
        if (json_members(str_from(rows[i].text), members, 2) != rows[i].good)
            fail_msg("%s", rows[i].text);
        const char *expected[] = {rows[i].a, rows[i].b};
        for (size_t m = 0; m < 2; m++) {
            assert_int_equal(members[m].value.ptr != NULL, expected[m] != NULL);
            if (expected[m])
                assert_true(str_eq(members[m].value, str_from(expected[m])));
        }
    }
}

static void nesting_has_a_limit(void **state)
{
    for (int depth = 255; depth <= 257; depth++) {
        struct strbuf out = builder();
        strbuf_cstr(&out, "{\"a\":");
        for (int i = 0; i < depth; i++)
            strbuf_char(&out, '[');
        for (int i = 0; i < depth; i++)
            strbuf_char(&out, ']');
        strbuf_char(&out, '}');
        struct json_member member = {.name = STR("a")};
        assert_int_equal(json_members(strbuf_view(&out), &member, 1), depth <= 256);
        strbuf_release(&out);
    }
}

/* Every cut of a right text, in memory of exactly its size, so that the sanitizer sees a byte read too much. */
static void cut_texts_are_refused(void **state)
{
    static const char text[] = "{\"status\":\"success\",\"data\":{\"result\":[[1,\"2\\u00e9\"]]},\"warnings\":[\"x\"]}";
    for (size_t n = 0; n < sizeof text - 1; n++) {
        char *exact = malloc(n ? n : 1);
        memcpy(exact, text, n);
        struct json_member member = {.name = STR("data")};
        assert_false(json_members((struct str){exact, n}, &member, 1));
        assert_null(member.value.ptr);
        free(exact);
    }
    struct json_member member = {.name = STR("data")};
    assert_true(json_members((struct str){text, sizeof text - 1}, &member, 1));
}

static void elements_come_one_by_one(void **state)
{
    struct str rest = STR(" [ 1 , \"a,b\" , [2,3] , {\"x\":[]} ] "), element;
    const char *expected[] = {"1", "\"a,b\"", "[2,3]", "{\"x\":[]}"};
    for (size_t i = 0; i < ARRAY_LENGTH(expected); i++) {
        assert_true(json_next(&rest, &element));
        assert_true(str_eq(element, str_from(expected[i])));
    }
    assert_false(json_next(&rest, &element));
    static const char *const none[] = {"", "[]", " [ ] ", "{}", "[", "[\"x", "null", "[}"};
    for (size_t i = 0; i < ARRAY_LENGTH(none); i++) {
        rest = str_from(none[i]);
        assert_false(json_next(&rest, &element));
    }
    struct str name, value;
    rest = STR("{\"a\":\"b\" , \"c\":1}");
    assert_true(json_next_member(&rest, &name, &value));
    assert_true(str_eq(name, STR("\"a\"")) && str_eq(value, STR("\"b\"")));
    assert_true(json_next_member(&rest, &name, &value));
    assert_true(str_eq(name, STR("\"c\"")) && str_eq(value, STR("1")));
    assert_false(json_next_member(&rest, &name, &value));
    static const char *const broken[] = {"{", "{\"a\"", "{\"a\":", "{1:2}", "[1]", "{\"a\" \"b\"}"};
    for (size_t i = 0; i < ARRAY_LENGTH(broken); i++) {
        rest = str_from(broken[i]);
        assert_false(json_next_member(&rest, &name, &value));
    }
}

static void strings_are_unescaped(void **state)
{
    static const struct {
        const char *raw, *text; /* NULL: refused */
    } rows[] = {
        {"\"\"", ""},
        {"\"plain \xc3\xa9\"", "plain \xc3\xa9"},
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t"},
        {"\"\\u0041\\u00e9\\u20AC\"", "A\xc3\xa9\xe2\x82\xac"},
        {"\"\\ud83d\\ude00\"", "\xf0\x9f\x98\x80"},
        {"\"\\ud83dx\"", "\xef\xbf\xbdx"},
        {"\"\\ud83d\\u0041\"", "\xef\xbf\xbd"
                               "A"},
        {"\"\\ude00\"", "\xef\xbf\xbd"},
        {"\"\\u12\"", NULL},
        {"\"\\u12g4\"", NULL},
        {"\"\\x\"", NULL},
        {"\"\\\"", NULL},
        {"\"", NULL},
        {"1", NULL},
        {"\"a", NULL},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        struct strbuf out = builder();
        assert_int_equal(json_text(&out, str_from(rows[i].raw)), rows[i].text != NULL);
        if (rows[i].text)
            assert_string_equal(out.ptr ? out.ptr : "", rows[i].text);
        strbuf_release(&out);
    }
}

/* What the writer quotes, the reader takes back: every byte that is valid UTF-8. */
static void strings_survive_writing_and_reading(void **state)
{
    char text[256];
    for (int i = 0; i < 128; i++)
        text[i] = (char)i;
    struct strbuf raw = builder(), back = builder();
    strbuf_json(&raw, (struct str){text, 128});
    assert_true(json_text(&back, strbuf_view(&raw)));
    assert_true(str_eq(strbuf_view(&back), (struct str){text, 128}));
    strbuf_release(&raw);
    strbuf_release(&back);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(envelopes),
        cmocka_unit_test(vectors),
        cmocka_unit_test(scalars),
        cmocka_unit_test(matrices),
        cmocka_unit_test(wide_matrices),
        cmocka_unit_test(members_are_found),
        cmocka_unit_test(nesting_has_a_limit),
        cmocka_unit_test(cut_texts_are_refused),
        cmocka_unit_test(elements_come_one_by_one),
        cmocka_unit_test(strings_are_unescaped),
        cmocka_unit_test(strings_survive_writing_and_reading),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
