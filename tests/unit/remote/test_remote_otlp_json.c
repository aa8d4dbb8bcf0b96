/* tests/unit/remote/test_remote_otlp_json.c: OTLP/JSON: the forms of names, numbers, texts and ids; what is refused,
 * and how it is named. That a request as JSON is the request as protobuf, for all kinds of metrics, is for the service
 * tests.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/float_text.h"
#include "remote/otlp.h"
#include "request_text.h"

static const struct write_limits NO_LIMITS = {0};

/* The rest of a request around one metric. */
#define METRIC(text) "{\"resourceMetrics\":[{\"scopeMetrics\":[{\"metrics\":[" text "]}]}]}"
#define POINT(text)  METRIC("{\"name\":\"m\",\"gauge\":{\"dataPoints\":[" text "]}}")
#define VALUE(text)  POINT("{\"timeUnixNano\":5000000,\"asInt\":1,\"attributes\":[{\"key\":\"a\",\"value\":" text "}]}")

static void print_request(struct strbuf *out, const struct write_request *request)
{
    for (size_t i = 0; i < request->series_n; i++) {
        const struct append_series *series = &request->series[i];
        print_labels(out, series->labels);
        for (size_t k = 0; k < series->samples_n; k++) {
            char text[FLOAT_TEXT_MAX];
            float_text_general(text, series->samples[k].value);
            strbuf_f(out, " %s@%lld", text, (long long)series->samples[k].time_ms);
        }
        print_exemplars(out, request, i);
        strbuf_cstr(out, ";");
    }
    if (request->invalid_exemplars + request->exemplars_skipped)
        strbuf_f(out, "%zu invalid, %zu of gauges", request->invalid_exemplars, request->exemplars_skipped);
}

/* What becomes of a text, or why nothing does. */
static void check(const char *text, const char *want)
{
    struct strbuf message, got;
    struct arena arena;
    struct otlp_request request;
    struct error error = {0};
    strbuf_init(&got, 1u << 20);
    arena_init(&arena, 1u << 20);
    enum status status = otlp_from_json(str_from(text), &message, &error);
    if (status == OK)
        status = otlp_unpack(&arena, strbuf_view(&message), &NO_LIMITS, &request, &error);
    if (status == OK && request.rejected_points)
        strbuf_cstr(&got, request.rejected.message);
    else if (status == OK)
        print_request(&got, &request.request);
    else
        strbuf_cstr(&got, error.message);
    assert_true(status == OK || status == E_BAD_DATA);
    if (!str_eq(strbuf_view(&got), str_from(want)))
        fail_msg("%s\n got  " STR_FORMAT "\n want %s", text, STR_ARG(strbuf_view(&got)), want);
    strbuf_release(&message);
    strbuf_release(&got);
    arena_release(&arena);
}

static void forms_of_json_are_understood(void **state)
{
    static const char *const ROWS[][2] = {
        {"{}", ""},
        {" { } ", ""},
        {POINT("{\"timeUnixNano\":\"5000000\",\"asDouble\":1.5}"), "__name__=m 1.5@5;"},
        {POINT("{\"time_unix_nano\":5000000,\"as_double\":\"-Infinity\"}"), "__name__=m -Inf@5;"},
        {POINT("{\"timeUnixNano\":5000000,\"asDouble\":\"NaN\"}"), "__name__=m NaN@5;"},
        {POINT("{\"timeUnixNano\":5000000,\"asDouble\":-2}"), "__name__=m -2@5;"},
        {POINT("{\"timeUnixNano\":5000000,\"asInt\":\"-9223372036854775808\"}"),
         "__name__=m -9.223372036854776e+18@5;"},
        {POINT("{\"timeUnixNano\":18446744073709000000,\"asInt\":7}"), "__name__=m 7@18446744073709;"},
        {POINT("{\"timeUnixNano\":5000000,\"asInt\":7,\"flags\":\"0\",\"attributes\":null}"), "__name__=m 7@5;"},
        {POINT("null , {\"asInt\":7,\"unknown\":{\"x\":[1,{\"y\":\"]\"}]},\"Attributes\":5}"),
         "__name__=m 0@0;__name__=m 7@0;"},
        {METRIC("{\"name\":\"m\",\"sum\":{\"aggregationTemporality\":\"AGGREGATION_TEMPORALITY_CUMULATIVE\","
                "\"isMonotonic\":true,\"dataPoints\":[{\"asInt\":1}]}}"),
         "__name__=m_total 1@0;"},
        {METRIC("{\"name\":\"m\",\"sum\":{\"aggregation_temporality\":2,\"data_points\":[{\"asInt\":1}]}}"),
         "__name__=m 1@0;"},
        {METRIC("{\"name\":\"m\",\"sum\":{\"aggregationTemporality\":1,\"dataPoints\":[{\"asInt\":1}]}}"),
         "invalid temporality and type combination (delta; only cumulative is stored) for metric \"m\""},
        {METRIC("{\"name\":\"m\",\"histogram\":{\"aggregationTemporality\":2,\"dataPoints\":[{\"count\":3,"
                "\"bucketCounts\":[\"1\",2],\"explicitBounds\":[0.5]}]}}"),
         "__name__=m_count 3@0;__name__=m_bucket,le=0.5 1@0;__name__=m_bucket,le=+Inf 3@0;"},
        {METRIC("{\"name\":\"m\",\"summary\":{\"dataPoints\":[{\"count\":3,\"sum\":1,"
                "\"quantileValues\":[{\"quantile\":0.5,\"value\":4}]}]}}"),
         "__name__=m_sum 1@0;__name__=m_count 3@0;__name__=m,quantile=0.5 4@0;"},
        {VALUE("{\"stringValue\":\"a\\u00e9\\n\\\"b\"}"), "__name__=m,a=a\xc3\xa9\n\"b 1@5;"},
        {VALUE("{\"stringValue\":\"\"}"), "__name__=m 1@5;"},
        {VALUE("{\"boolValue\":false}"), "__name__=m,a=false 1@5;"},
        {VALUE("{\"intValue\":\"-3\"}"), "__name__=m,a=-3 1@5;"},
        {VALUE("{\"doubleValue\":0.25}"), "__name__=m,a=0.25 1@5;"},
        {VALUE("{\"bytesValue\":\"AP8B/w==\"}"), "__name__=m,a=AP8B/w== 1@5;"},
        {VALUE("{\"bytesValue\":\"AP8B\"}"), "__name__=m,a=AP8B 1@5;"},
        {VALUE("{\"bytesValue\":\"\"}"), "__name__=m 1@5;"},
        {VALUE("{\"arrayValue\":{\"values\":[{\"intValue\":1},{\"stringValue\":\"x\"}]}}"),
         "__name__=m,a=[1,\"x\"] 1@5;"},
        {VALUE("{\"kvlistValue\":{\"values\":[{\"key\":\"k\",\"value\":{\"boolValue\":true}}]}}"),
         "__name__=m,a={\"k\":true} 1@5;"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(ROWS); i++)
        check(ROWS[i][0], ROWS[i][1]);
}

#define SUM(exemplars)                                                                                                 \
    METRIC(                                                                                                            \
        "{\"name\":\"m\",\"sum\":{\"aggregationTemporality\":2,\"dataPoints\":[{\"asInt\":1,\"exemplars\":[" exemplars \
        "]}]}}")
#define HISTOGRAM(bounds, exemplars)                                                                                   \
    METRIC("{\"name\":\"m\",\"histogram\":{\"aggregationTemporality\":2,\"dataPoints\":[{\"bucketCounts\":[1,1,1],"    \
           "\"explicitBounds\":" bounds ",\"exemplars\":[" exemplars "]}]}}")
#define TRACE       "\"traceId\":\"0123456789abcdefFEDCBA9876543210\""
#define SPAN        "\"spanId\":\"0123456789abcdef\""
#define FILTERED(n) "\"filteredAttributes\":[{\"key\":\"a.b\",\"value\":{\"stringValue\":\"" n "\"}}]"
#define SIXTY       "012345678901234567890123456789012345678901234567890123456789"
#define LABEL_TRACE "trace_id=0123456789abcdeffedcba9876543210"
#define LABEL_SPAN  "span_id=0123456789abcdef"

static void exemplars_stay_with_their_series(void **state)
{
    static const char *const ROWS[][2] = {
        {SUM("{\"timeUnixNano\":7999999,\"asDouble\":1.5," TRACE "," SPAN "," FILTERED("x") "}"),
         "__name__=m 1@0 {a.b=x," LABEL_SPAN "," LABEL_TRACE "}1.5@7;"},
        {SUM("{\"asInt\":-2},{\"asInt\":3,\"traceId\":\"\",\"spanId\":\"0000000000000000\"}"),
         "__name__=m 1@0 {}-2@0 {}3@0;"},
        /* 40 and 23 characters of ids, 3 of the attribute's name: 62 are left */
        {SUM("{\"asInt\":1," TRACE "," SPAN "," FILTERED(SIXTY "\\u00e9\\u00e9") "}"),
         "__name__=m 1@0 {a.b=" SIXTY "\xc3\xa9\xc3\xa9," LABEL_SPAN "," LABEL_TRACE "}1@0;"},
        {SUM("{\"asInt\":1," TRACE "," SPAN "," FILTERED(SIXTY "012") "}"),
         "__name__=m 1@0 {" LABEL_SPAN "," LABEL_TRACE "}1@0;"},
        /* no value, a name twice */
        {SUM("{" TRACE "},{\"asInt\":5},{\"asInt\":6," TRACE
             ",\"filteredAttributes\":[{\"key\":\"trace_id\",\"value\":{\"intValue\":1}}]}"),
         "__name__=m 1@0 {}5@0;2 invalid, 0 of gauges"},
        {POINT("{\"asInt\":1,\"exemplars\":[{\"asInt\":1},{}]}"), "__name__=m 1@0;0 invalid, 2 of gauges"},
        {HISTOGRAM("[1,2]", "{\"asInt\":2},{\"asInt\":3},{\"asDouble\":0.5},{\"asDouble\":1.5},{\"asInt\":1},"
                            "{\"asDouble\":\"NaN\"},{\"asDouble\":\"Infinity\"}"),
         "__name__=m_count 0@0;__name__=m_bucket,le=1 1@0 {}0.5@0 {}1@0;__name__=m_bucket,le=2 2@0 {}2@0 {}1.5@0;"
         "__name__=m_bucket,le=+Inf 0@0 {}3@0 {}inf@0;1 invalid, 0 of gauges"},
        {HISTOGRAM("[2,1]", "{\"asDouble\":1.5},{\"asDouble\":0.5}"),
         "__name__=m_count 0@0;__name__=m_bucket,le=2 1@0 {}1.5@0;__name__=m_bucket,le=1 2@0 {}0.5@0;"
         "__name__=m_bucket,le=+Inf 0@0;"},
        {HISTOGRAM("[]", "{\"asInt\":1}"), "__name__=m_count 0@0;__name__=m_bucket,le=+Inf 0@0 {}1@0;"},
        {METRIC("{\"name\":\"m\",\"exponentialHistogram\":{\"aggregationTemporality\":2,\"dataPoints\":["
                "{\"exemplars\":[{\"asInt\":1}]},{\"count\":1,\"exemplars\":[{\"asInt\":2}]}]}}"),
         "__name__=m {}1@0;1 invalid, 0 of gauges"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(ROWS); i++)
        check(ROWS[i][0], ROWS[i][1]);
}

#define WRONG    "OTLP request is not valid JSON: "
#define TO_POINT "resourceMetrics.scopeMetrics.metrics.gauge.dataPoints"
#define TO_VALUE TO_POINT ".attributes.value."

static void what_is_wrong_is_named_with_its_field(void **state)
{
    static const char *const ROWS[][2] = {
        {"", WRONG "an object is expected at byte 0 of 0"},
        {"null", WRONG "an object is expected at byte 0 of 4"},
        {"[]", WRONG "an object is expected at byte 0 of 2"},
        {"{} {", WRONG "something stands behind its end at byte 3 of 4"},
        {"{\"a\"}", WRONG "an object is expected at byte 1 of 5"},
        {"{\"a\":}", WRONG "a value is expected at byte 5 of 6"},
        {"{\"a\":1,}", WRONG "an object is expected at byte 6 of 8"},
        {"{,}", WRONG "an object is expected at byte 1 of 3"},
        {"{\"resourceMetrics\":{}}", WRONG "resourceMetrics: an array is expected at byte 19 of 22"},
        {"{\"resourceMetrics\":[{}", WRONG "resourceMetrics: an array is expected at byte 22 of 22"},
        {"{\"resourceMetrics\":[{},]}", WRONG "resourceMetrics: an object is expected at byte 23 of 25"},
        {"{\"resourceMetrics\":[1]}", WRONG "resourceMetrics: an object is expected at byte 20 of 23"},
        {METRIC("{\"name\":1}"),
         WRONG "resourceMetrics.scopeMetrics.metrics.name: a text is expected at byte 57 of 65"},
        {METRIC("{\"sum\":{\"isMonotonic\":1}}"),
         WRONG "resourceMetrics.scopeMetrics.metrics.sum.isMonotonic: true or false is expected at byte 71 of 80"},
        {METRIC("{\"sum\":{\"aggregationTemporality\":\"DELTA\"}}"), WRONG
         "resourceMetrics.scopeMetrics.metrics.sum.aggregationTemporality: a temporality's name or number is expected "
         "at byte 82 of 97"},
        {POINT("{\"timeUnixNano\":-1}"),
         WRONG TO_POINT ".timeUnixNano: a whole number of 64 bits without a sign is expected at byte 100 of 112"},
        {POINT("{\"timeUnixNano\":1.5}"),
         WRONG TO_POINT ".timeUnixNano: a whole number of 64 bits without a sign is expected at byte 100 of 113"},
        {POINT("{\"timeUnixNano\":\"18446744073709551616\"}"),
         WRONG TO_POINT ".timeUnixNano: a whole number of 64 bits without a sign is expected at byte 100 of 132"},
        {POINT("{\"asInt\":\"9223372036854775808\"}"),
         WRONG TO_POINT ".asInt: a whole number of 64 bits is expected at byte 93 of 124"},
        {POINT("{\"asInt\":\"\"}"), WRONG TO_POINT ".asInt: a whole number of 64 bits is expected at byte 93 of 105"},
        {POINT("{\"flags\":4294967296}"),
         WRONG TO_POINT ".flags: a whole number of 32 bits without a sign is expected at byte 93 of 113"},
        {POINT("{\"asDouble\":NaN}"), WRONG TO_POINT ".asDouble: a number is expected at byte 96 of 109"},
        {POINT("{\"asDouble\":\"1x\"}"), WRONG TO_POINT ".asDouble: a number is expected at byte 96 of 110"},
        {POINT("{\"exemplars\":[{\"traceId\":\"00\"}]}"),
         WRONG TO_POINT ".exemplars.traceId: 32 hexadecimal digits are expected at byte 109 of 125"},
        {POINT("{\"exemplars\":[{\"spanId\":\"000000000000000g\"}]}"),
         WRONG TO_POINT ".exemplars.spanId: 16 hexadecimal digits are expected at byte 108 of 138"},
        {VALUE("{\"bytesValue\":\"AP8\"}"), WRONG TO_VALUE "bytesValue: base64 is expected at byte 165 of 183"},
        {VALUE("{\"bytesValue\":\"A=8B\"}"), WRONG TO_VALUE "bytesValue: base64 is expected at byte 165 of 184"},
        {VALUE("{\"stringValue\":\"\\x\"}"), WRONG TO_VALUE "stringValue: a broken escape at byte 166 of 183"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(ROWS); i++)
        check(ROWS[i][0], ROWS[i][1]);
}

static void lists_may_lie_in_lists_so_often(void **state)
{
    for (unsigned lists_n = 15; lists_n <= 300; lists_n += lists_n < 18 ? 1 : 141) {
        struct strbuf text, message;
        struct error error = {0};
        struct arena arena;
        struct otlp_request got;
        strbuf_init(&text, 1u << 20);
        strbuf_cstr(&text, "{\"resourceMetrics\":[{\"resource\":{\"attributes\":[{\"value\":");
        for (unsigned i = 0; i < lists_n; i++)
            strbuf_cstr(&text, "{\"arrayValue\":{\"values\":[");
        strbuf_cstr(&text, "{}");
        for (unsigned i = 0; i < lists_n; i++)
            strbuf_cstr(&text, "]}}");
        strbuf_cstr(&text, "}]}}]}");
        enum status status = otlp_from_json(strbuf_view(&text), &message, &error);
        assert_int_equal(status, lists_n <= 16 ? OK : E_BAD_DATA);
        assert_true(status == OK || strstr(error.message, "nested too deeply"));
        arena_init(&arena, 1u << 20);
        if (status == OK)
            assert_int_equal(otlp_unpack(&arena, strbuf_view(&message), &NO_LIMITS, &got, &error), OK);
        arena_release(&arena);
        strbuf_release(&message);
        strbuf_release(&text);
    }
}

static void texts_that_are_cut_off_are_refused(void **state)
{
    static const char TEXT[] =
        VALUE("{\"kvlistValue\":{\"values\":[{\"key\":\"\\u00e9\",\"value\":{\"bytesValue\":\"AA==\"}}]}}");
    for (size_t n = 0; n < sizeof TEXT; n++) {
        char *exact = malloc(n ? n : 1);
        struct strbuf message;
        memcpy(exact, TEXT, n);
        assert_int_equal(otlp_from_json((struct str){exact, n}, &message, NULL), n < sizeof TEXT - 1 ? E_BAD_DATA : OK);
        strbuf_release(&message);
        free(exact);
    }
}

static void answers_say_what_was_not_stored(void **state)
{
    struct strbuf out;
    strbuf_init(&out, 1000);
    otlp_response_json(&out, 0, STR(""));
    assert_string_equal(out.ptr, "{}");
    strbuf_clear(&out);
    otlp_response_json(&out, 300, STR("why \"m\""));
    assert_string_equal(out.ptr,
                        "{\"partialSuccess\":{\"rejectedDataPoints\":\"300\",\"errorMessage\":\"why \\\"m\\\"\"}}");
    strbuf_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forms_of_json_are_understood),          cmocka_unit_test(exemplars_stay_with_their_series),
        cmocka_unit_test(what_is_wrong_is_named_with_its_field), cmocka_unit_test(lists_may_lie_in_lists_so_often),
        cmocka_unit_test(texts_that_are_cut_off_are_refused),    cmocka_unit_test(answers_say_what_was_not_stored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
