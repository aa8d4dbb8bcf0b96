/* tests/unit/remote/test_remote_export_text.c: samples as text come back the same; families as OpenMetrics has them. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "backend/metric_type.h"
#include "base/assert.h"
#include "base/float_text.h"
#include "remote/export_text.h"

static const struct write_limits NO_LIMITS = {0};

static const struct label LABELS[] = {{STR_STATIC("__name__"), STR_STATIC("a.b \"c\"")},
                                      {STR_STATIC("le"), STR_STATIC("x\\y\"z\n")},
                                      {STR_STATIC("\xc3\xa9"), STR_STATIC("}{,=")}};

static void fill(struct sample *samples)
{
    const double values[] = {0, -0.0, 1.5, 1e300, 5e-324, INFINITY, -INFINITY, 1e21, 123456789.125};
    const int64_t times[] = {-1500, -1, 0, 1, 999, 1000, 1700000000123, INT64_C(9007199254740993), 1};
    for (size_t i = 0; i < ARRAY_LENGTH(values); i++)
        samples[i] = (struct sample){times[i], values[i]};
    samples[9] = (struct sample){2, double_from_bits(NORMAL_NAN_BITS)};
    samples[10] = (struct sample){3, double_from_bits(UINT64_C(0xfff0000000000abc))};
    samples[11] = (struct sample){4, double_from_bits(STALE_NAN_BITS)};
}

#define N 12

static void every_format_comes_back(void **state)
{
    static const enum import_format FORMATS[] = {IMPORT_JSON, IMPORT_OPENMETRICS, IMPORT_PROMETHEUS};
    struct sample samples[N];
    fill(samples);
    for (size_t f = 0; f < ARRAY_LENGTH(FORMATS); f++) {
        bool json = FORMATS[f] == IMPORT_JSON;
        struct strbuf text;
        uint64_t markers_n = 0;
        strbuf_init(&text, 1 << 20);
        export_metadata(&text, FORMATS[f],
                        &(struct metric_metadata){STR("a.b \"c\""), METRIC_GAUGE, STR("h\\ \"i\"\nj"), STR("bytes")});
        export_samples(&text, FORMATS[f], (struct labels){LABELS, 3}, samples, N, &markers_n);
        export_end(&text, FORMATS[f]);
        assert_int_equal(markers_n, json ? 0 : 1);
        struct arena arena;
        arena_init(&arena, 1 << 20);
        struct import_text reader = {.format = FORMATS[f], .limits = &NO_LIMITS, .time_ms = IMPORT_TIME_NEEDED};
        struct import_part part;
        size_t used;
        assert_int_equal(import_text_read(&reader, &arena, strbuf_view(&text), true, SIZE_MAX, &used, &part, NULL), OK);
        if (part.bad_lines || part.request.invalid_series)
            fail_msg("%s in\n%s", part.bad.message, strbuf_view(&text).ptr);
        assert_int_equal(part.request.series_n, 1);
        assert_int_equal(part.request.series[0].samples_n, json ? N : N - 1);
        assert_true(labels_eq(part.request.series[0].labels, (struct labels){LABELS, 3}));
        for (size_t i = 0; i < part.request.series[0].samples_n; i++) {
            struct sample got = part.request.series[0].samples[i];
            uint64_t want = double_bits(samples[i].value);
            want = !json && isnan(samples[i].value) ? NORMAL_NAN_BITS : want;
            assert_int_equal(got.time_ms, samples[i].time_ms);
            assert_int_equal(double_bits(got.value), want);
        }
        assert_int_equal(part.request.metadata_n, json ? 0 : 1);
        if (!json)
            assert_int_equal(part.request.metadata[0].type, METRIC_GAUGE);
        arena_release(&arena);
        strbuf_release(&text);
    }
}

static void plain_names_need_no_quotes(void **state)
{
    const struct label labels[] = {{STR("__name__"), STR("up")}, {STR("job"), STR("a")}};
    const struct sample sample = {1500, 1};
    struct strbuf text;
    uint64_t markers_n = 0;
    strbuf_init(&text, 1 << 16);
    export_samples(&text, IMPORT_OPENMETRICS, (struct labels){labels, 1}, &sample, 1, &markers_n);
    export_samples(&text, IMPORT_PROMETHEUS, (struct labels){labels, 2}, &sample, 1, &markers_n);
    export_samples(&text, IMPORT_JSON, (struct labels){labels, 2}, &sample, 1, &markers_n);
    export_end(&text, IMPORT_PROMETHEUS);
    export_end(&text, IMPORT_OPENMETRICS);
    assert_string_equal(strbuf_view(&text).ptr, "up 1 1.500\nup{job=\"a\"} 1 1500\n"
                                                "{\"metric\":{\"__name__\":\"up\",\"job\":\"a\"},\"values\":[1],"
                                                "\"timestamps\":[1500]}\n# EOF\n");
    strbuf_release(&text);
}

static void families_fit_their_types(void **state)
{
    static const struct metric_metadata KNOWN[] = {
        {STR_STATIC("a_total"), METRIC_COUNTER, STR_STATIC("old style"), STR_STATIC("")},
        {STR_STATIC("b"), METRIC_COUNTER, STR_STATIC("new style"), STR_STATIC("")},
        {STR_STATIC("c"), METRIC_COUNTER, STR_STATIC(""), STR_STATIC("")},
        {STR_STATIC("g"), METRIC_GAUGE, STR_STATIC(""), STR_STATIC("")},
        {STR_STATIC("h"), METRIC_HISTOGRAM, STR_STATIC(""), STR_STATIC("")},
        {STR_STATIC("s"), METRIC_SUMMARY, STR_STATIC(""), STR_STATIC("")},
        {STR_STATIC("t"), METRIC_INFO, STR_STATIC(""), STR_STATIC("")},
    };
    static const struct {
        const char *name, *family;
        enum metric_type type;
    } ROWS[] = {
        {"a_total", "a", METRIC_COUNTER},
        {"b_total", "b", METRIC_COUNTER},
        {"c", "c", METRIC_UNKNOWN},
        {"g", "g", METRIC_GAUGE},
        {"g_total", "g_total", METRIC_UNKNOWN},
        {"h_bucket", "h", METRIC_HISTOGRAM},
        {"h_sum", "h", METRIC_HISTOGRAM},
        {"h", "h", METRIC_UNKNOWN},
        {"s", "s", METRIC_SUMMARY},
        {"s_count", "s", METRIC_SUMMARY},
        {"s_bucket", "s_bucket", METRIC_UNKNOWN},
        {"t_info", "t", METRIC_INFO},
        {"x", "x", METRIC_UNKNOWN},
        {"_total", "_total", METRIC_UNKNOWN},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(ROWS); i++) {
        struct metric_metadata got = export_family(str_from(ROWS[i].name), KNOWN, ARRAY_LENGTH(KNOWN));
        if (!str_eq(got.family, str_from(ROWS[i].family)) || got.type != ROWS[i].type)
            fail_msg("%s: " STR_FORMAT " %s", ROWS[i].name, STR_ARG(got.family), metric_type_text(got.type));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_format_comes_back),
        cmocka_unit_test(plain_names_need_no_quotes),
        cmocka_unit_test(families_fit_their_types),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
