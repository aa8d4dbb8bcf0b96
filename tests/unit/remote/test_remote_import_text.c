/* tests/unit/remote/test_remote_import_text.c: OpenMetrics, Prometheus's text format and JSON lines, well-formed and
 * broken in every way. What was read is written down as text and compared. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/float_text.h"
#include "backend/metric_type.h"
#include "remote/import_text.h"
#include "request_text.h"

static const struct write_limits LIMITS = {.labels_max = 4, .label_name_max_bytes = 20, .label_value_max_bytes = 30};

static void print_part(struct strbuf *out, const struct import_part *part)
{
    for (size_t i = 0; i < part->request.series_n; i++) {
        const struct append_series *series = &part->request.series[i];
        print_labels(out, series->labels);
        for (size_t k = 0; k < series->samples_n; k++) {
            char text[FLOAT_TEXT_MAX];
            double value = series->samples[k].value;
            float_text_general(text, value);
            bool bits = value != value && double_bits(value) != NORMAL_NAN_BITS;
            strbuf_f(out, " %s", is_stale_marker(value) ? "stale" : text);
            if (bits && !is_stale_marker(value))
                strbuf_f(out, "(%" PRIx64 ")", double_bits(value));
            strbuf_f(out, "@%" PRId64, series->samples[k].time_ms);
        }
        print_exemplars(out, &part->request, i);
        strbuf_char(out, '\n');
    }
    for (size_t i = 0; i < part->request.metadata_n; i++) {
        const struct metric_metadata *metadata = &part->request.metadata[i];
        strbuf_f(out, "# " STR_FORMAT " %s [" STR_FORMAT "] [" STR_FORMAT "]\n", STR_ARG(metadata->family),
                 metric_type_text(metadata->type), STR_ARG(metadata->help), STR_ARG(metadata->unit));
    }
}

static void expect(enum import_format format, struct str text, const char *want, size_t bad_lines, const char *bad)
{
    struct arena arena;
    arena_init(&arena, 1 << 22);
    struct import_text reader = {.format = format, .limits = &LIMITS, .time_ms = IMPORT_TIME_NEEDED};
    struct import_part part;
    size_t used;
    assert_int_equal(import_text_read(&reader, &arena, text, true, SIZE_MAX, &used, &part, NULL), OK);
    assert_int_equal(used, text.len);
    struct strbuf got;
    strbuf_init(&got, 1 << 20);
    print_part(&got, &part);
    const char *said = part.bad.status ? part.bad.message : part.request.invalid.message;
    if (strcmp(strbuf_view(&got).ptr, want) != 0 || part.bad_lines != bad_lines || !strstr(said, bad))
        fail_msg("%.*s\ngave %zu bad lines (%s) and\n%s", (int)text.len, text.ptr, part.bad_lines, said,
                 strbuf_view(&got).ptr);
    assert_true((part.bad.status == E_BAD_DATA) == (bad_lines > 0));
    strbuf_release(&got);
    arena_release(&arena);
}

struct row {
    const char *text, *want;
    size_t bad_lines;
    const char *bad;
};

static void expect_rows(enum import_format format, const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        /* an allocation of its own, so that a sanitizer sees a byte read too many */
        size_t len = strlen(rows[i].text);
        char *exact = malloc(len + 1);
        memcpy(exact + 1, rows[i].text, len);
        expect(format, (struct str){exact + 1, len}, rows[i].want, rows[i].bad_lines, rows[i].bad ? rows[i].bad : "");
        free(exact);
    }
}

static void json_lines(void **state)
{
    static const struct row ROWS[] = {
        {"", "", 0, NULL},
        {"\n \r\n", "", 0, NULL},
        {"{\"metric\":{\"__name__\":\"up\",\"job\":\"a\"},\"values\":[1,0.5],\"timestamps\":[1000,2000]}\n",
         "__name__=up,job=a 1@1000 0.5@2000\n", 0, NULL},
        {" { \"timestamps\" : [ 1 , -2 ] , \"x\":{\"y\":[\"]\",{}]}, \"values\" : [ 1e3 , -0 ] , \"metric\" : { "
         "\"z\" : \"1\" , \"__name__\" : \"m\" } } "
         "\r\n{\"metric\":{\"__name__\":\"n\"},\"values\":[],\"timestamps\":[]}",
         "__name__=m,z=1 1000@1 -0@-2\n", 0, NULL},
        {"{\"metric\":{\"__name__\":\"m\"},\"values\":[null,\"Infinity\",\"-Infinity\",\"NaN\",\"stale\","
         "\"NaN(0xfff8000000000abc)\",\"1.5\"],\"timestamps\":[1,2,3,4,5,6,7]}",
         "__name__=m NaN@1 +Inf@2 -Inf@3 NaN@4 stale@5 NaN(fff8000000000abc)@6 1.5@7\n", 0, NULL},
        {"{\"metric\":{\"__name__\":\"m\",\"a\":\"q\\\"\\u00e9\\n\",\"e\":\"\"},\"values\":[1],\"timestamps\":[1]}",
         "__name__=m,a=q\"\xc3\xa9\n 1@1\n", 0, NULL},
        /* bad lines among good ones */
        {"{\"metric\":{\"__name__\":\"a\"},\"values\":[1],\"timestamps\":[1]}\nnonsense\n"
         "{\"metric\":{\"__name__\":\"b\"},\"values\":[1],\"timestamps\":[1]}\n{",
         "__name__=a 1@1\n__name__=b 1@1\n", 2, "line 2: no JSON object"},
        {"\n\n[1]", "", 1, "line 3: no JSON object"},
        {"{}", "", 1, "line 1: no member \"metric\""},
        {"{\"metric\":{}}", "", 1, "no member \"values\""},
        {"{\"metric\":{},\"values\":[]}", "", 1, "no member \"timestamps\""},
        {"{\"metric\":{\"__name__\":\"a\"},\"values\":[1],\"timestamps\":[1]", "", 1, "broken JSON"},
        {"{\"metric\":{\"__name__\":\"a\"},\"values\":[1],\"timestamps\":[1]} x", "", 1, "broken JSON"},
        {"{\"metric\":{\"__name__\":\"a\"},\"values\":[1],\"timestamps\":[1],}", "", 1, "broken JSON"},
        {"{\"metric\":{\"__name__\":\"a\"},\"values\":[1],\"values\":[1],\"timestamps\":[1]}", "", 1, "twice"},
        {"{\"metric\":{\"__name__\":\"a\"},\"values\":[1,2],\"timestamps\":[1]}", "", 1, "different lengths"},
        {"{\"metric\":{\"__name__\":\"a\"},\"values\":1,\"timestamps\":[1]}", "", 1, "\"values\" is no array"},
        {"{\"metric\":{\"__name__\":\"a\"},\"values\":[1],\"timestamps\":{}}", "", 1, "\"timestamps\" is no array"},
        {"{\"metric\":{\"__name__\":\"a\"},\"values\":[true],\"timestamps\":[1]}", "", 1, "no number"},
        {"{\"metric\":{\"__name__\":\"a\"},\"values\":[1 2],\"timestamps\":[1]}", "", 1, "no number"},
        {"{\"metric\":{\"__name__\":\"a\"},\"values\":[1,],\"timestamps\":[1]}", "", 1, "no number"},
        {"{\"metric\":{\"__name__\":\"a\"},\"values\":[NaN],\"timestamps\":[1]}", "", 1, "no number"},
        {"{\"metric\":{\"__name__\":\"a\"},\"values\":[\"NaN(0x0000000000000001)\"],\"timestamps\":[1]}", "", 1,
         "no number"},
        {"{\"metric\":{\"__name__\":\"a\"},\"values\":[\"\"],\"timestamps\":[1]}", "", 1, "no number"},
        {"{\"metric\":{\"__name__\":\"a\"},\"values\":[1],\"timestamps\":[1.5]}", "", 1, "no whole number of ms"},
        {"{\"metric\":{\"__name__\":\"a\"},\"values\":[1],\"timestamps\":[9223372036854775808]}", "", 1,
         "no whole number of ms"},
        {"{\"metric\":[],\"values\":[1],\"timestamps\":[1]}", "", 1, "\"metric\" is no object"},
        {"{\"metric\":{\"__name__\":1},\"values\":[1],\"timestamps\":[1]}", "", 1, "no string"},
        {"{\"metric\":{\"__name__\":\"\\x\"},\"values\":[1],\"timestamps\":[1]}", "", 1, "broken escape"},
        /* labels that are not stored */
        {"{\"metric\":{\"job\":\"a\"},\"values\":[1],\"timestamps\":[1]}", "", 0,
         "line 1: invalid metric name or labels"},
        {"{\"metric\":{},\"values\":[1],\"timestamps\":[1]}", "", 0, "line 1: invalid metric name or labels"},
        {"\n{\"metric\":{\"__name__\":\"m\",\"__task_id__\":\"1\"},\"values\":[1],\"timestamps\":[1]}", "", 0,
         "line 2: invalid labels for series, reserved label __task_id__"},
        {"{\"metric\":{\"__name__\":\"m\",\"a\":\"1\",\"a\":\"2\"},\"values\":[1],\"timestamps\":[1]}", "", 0,
         "duplicated label a"},
        {"{\"metric\":{\"__name__\":\"m\",\"a\":\"\xff\"},\"values\":[1],\"timestamps\":[1]}", "", 0,
         "invalid metric name"},
        {"{\"metric\":{\"__name__\":\"m\",\"a\":\"1\",\"b\":\"1\",\"c\":\"1\",\"d\":\"1\"},\"values\":[1],"
         "\"timestamps\":"
         "[1]}",
         "", 0, "labels of a series: 5 exceeds limit 4"},
    };
    expect_rows(IMPORT_JSON, ROWS, ARRAY_LENGTH(ROWS));
}

static void openmetrics(void **state)
{
    static const struct row ROWS[] = {
        {"# EOF\n", "", 0, NULL},
        {"# EOF", "", 0, NULL},
        {"", "", 1, "line 0: the text does not end with # EOF"},
        {"# TYPE http counter\n# HELP http all \\\"of\\\" it\\n\\\\\n# UNIT http seconds\n"
         "http_total{a=\"b\"} 5 1.5\nhttp_total{a=\"b\"} 6 2.5\nhttp_total{a=\"c\"} 7 2.5\nhttp_total 1 3\n"
         "http_total 2 4\n# TYPE g gauge\ng -Inf 1\n# EOF\n",
         "__name__=http_total,a=b 5@1500 6@2500\n__name__=http_total,a=c 7@2500\n__name__=http_total 1@3000 2@4000\n"
         "__name__=g -Inf@1000\n# http counter [all \"of\" it\n\\] [seconds]\n# g gauge [] []\n",
         0, NULL},
        {"a 1 1700000000.123\na 1 1700000000.1239\na 1 -0.5\na 1 -1.25\na 1 1e3\na 1 1.5e3\na 1 .5\n# EOF\n",
         "__name__=a 1@1700000000123 1@1700000000123 1@-500 1@-1250 1@1000000 1@1500000 1@500\n", 0, NULL},
        {"a{b=\"\\\\\\\"\\n}\",} NaN 1 # {trace_id=\"x\"} 0.5 1.1\na 1 1 # {} 1\n# a remark\n# EOF\n",
         "__name__=a,b=\\\"\n} NaN@1000 {trace_id=x}0.5@1100\n__name__=a 1@1000 {}1@1000\n", 0, NULL},
        {"a{b=\"1\"} 1 1 # {z=\"\",y=\"2\",\"x.w\"=\"\\\\\"} NaN\na{b=\"1\"} 2 2 # {} -Inf 1.5\na{b=\"1\"} 3 3\n"
         "a{b=\"2\"} 4 4 # {t=\"3\"} 1e3 -0.001\n# EOF\n",
         "__name__=a,b=1 1@1000 2@2000 3@3000 {x.w=\\,y=2}nan@1000 {}-inf@1500\n"
         "__name__=a,b=2 4@4000 {t=3}1000@-1\n",
         0, NULL},
        /* exemplars of series and with labels that are not stored */
        {"a{b=\"1\",b=\"2\"} 1 1 # {} 1\na{b=\"1\",b=\"2\"} 2 2 # {} 2\nc 1 1 # {d=\"1\",d=\"2\"} 3\nc 2 2 # {} 4\n# "
         "EOF\n",
         "__name__=c 1@1000 2@2000 {}4@2000\n", 0, "line 1: invalid labels for series, duplicated"},
        {"{\"a.b\",\"c.d\"=\"x\"} 1 1\n{\"a.b\"} 2 2\n{__name__=\"x\"} 3 3\n# EOF\n",
         "__name__=a.b,c.d=x 1@1000\n__name__=a.b 2@2000\n__name__=x 3@3000\n", 0, NULL},
        {"a {b=\"c\"} 1 1\na 2 2\na {b=\"d\"} 3 3\n# EOF\n",
         "__name__=a,b=c 1@1000\n__name__=a 2@2000\n__name__=a,b=d 3@3000\n", 0, NULL},
        /* bad lines */
        {"a 1 1\na{ 1 1\na{b} 1 1\na{b=c} 1 1\na{b=\"c} 1 1\na{b=\"c\" d=\"e\"} 1 1\na{b=\"c\"\na 1 1x\n# EOF\n",
         "__name__=a 1@1000\n", 7, "line 2: a label's name is expected"},
        {"a{b} 1 1\n# EOF\n", "", 1, "= is expected behind a label's name"},
        {"1a 1 1\n# EOF\n", "", 1, "a metric's name is expected"},
        {"{} 1 1\n# EOF\n", "", 0, "invalid metric name"},
        {"\"a\" 1 1\n# EOF\n", "", 1, "a metric's name is expected"},
        {"a\n# EOF\n", "", 1, "its value is no number"},
        {"a one 1\n# EOF\n", "", 1, "its value is no number"},
        {"a 1x 1\n# EOF\n", "", 1, "its value is no number"},
        {"a{b=\"c\"}1 1\n# EOF\n", "", 1, "a blank is expected"},
        {"a 1\n# EOF\n", "", 1, "it has no time"},
        {"a 1 x\n# EOF\n", "", 1, "its time is no number of seconds"},
        {"a 1 NaN\n# EOF\n", "", 1, "its time is no number of seconds"},
        {"a 1 1e300\n# EOF\n", "", 1, "its time is no number of seconds"},
        {"a 1 9223372036854775807\n# EOF\n", "", 1, "its time is no number of seconds"},
        {"a 1 1.\n# EOF\n", "__name__=a 1@1000\n", 0, NULL},
        {"a 1 1 2\n# EOF\n", "", 1, "something stands behind its time"},
        {"a 1 1 # x\n# EOF\n", "", 1, "an exemplar without labels"},
        {"a 1 1 # {a=\"b\"}\n# EOF\n", "", 1, "an exemplar's value"},
        {"a 1 1 # {a=\"b\"} 1 x\n# EOF\n", "", 1, "an exemplar's time"},
        {"a 1 1 # {a=\"b\"} 1 1 1\na 2 2 # {a=\"c\"} 2\n# EOF\n", "__name__=a 2@2000 {a=c}2@2000\n", 1,
         "line 1: an exemplar's time"},
        {"a 1 1 # {a=\"b} 1\n# EOF\n", "", 1, "a label's value does not end"},
        {"# TYPE a nonsense\n# EOF\n", "", 1, "a type that is unknown"},
        {"# TYPE\n# EOF\n", "", 1, "a metric's name is expected"},
        {"# HELP a \xff\n# EOF\n", "# a unknown [] []\n", 1, "a text that is not UTF-8"},
        {"# EOF\na 1 1\n", "", 1, "line 2: something stands behind # EOF"},
        {"a 1 1\n", "__name__=a 1@1000\n", 1, "line 1: the text does not end with # EOF"},
        {"a{b=\"c\",b=\"d\"} 1 1\na{b=\"c\",b=\"d\"} 2 2\n# EOF\n", "", 0,
         "line 1: invalid labels for series, duplicated"},
    };
    expect_rows(IMPORT_OPENMETRICS, ROWS, ARRAY_LENGTH(ROWS));
}

static void prometheus_text(void **state)
{
    static const struct row ROWS[] = {
        {"# HELP a what it \\\\ is\n# TYPE a untyped\n\n# remark\n a{b=\"c\" , d=\"e\"}\t+Inf  1700000000123 \n a 1 -5",
         "__name__=a,b=c,d=e +Inf@1700000000123\n__name__=a 1@-5\n# a unknown [what it \\ is] []\n", 0, NULL},
        {"a 1 1.5\na 2 1 # {} 1\n# EOF\na 3 3\n", "__name__=a 3@3\n", 2, "line 1: its time is no whole number of ms"},
    };
    expect_rows(IMPORT_PROMETHEUS, ROWS, ARRAY_LENGTH(ROWS));
}

static void samples_without_a_time_get_the_one_given(void **state)
{
    struct arena arena;
    arena_init(&arena, 1 << 20);
    struct import_text reader = {.format = IMPORT_PROMETHEUS, .limits = &LIMITS, .time_ms = 77};
    struct import_part part;
    size_t used;
    assert_int_equal(import_text_read(&reader, &arena, STR("a 1\na 2 5\n"), true, SIZE_MAX, &used, &part, NULL), OK);
    assert_int_equal(part.request.series[0].samples[0].time_ms, 77);
    assert_int_equal(part.request.series[0].samples[1].time_ms, 5);
    arena_release(&arena);
}

/* In pieces cut anywhere, with few samples a part: the same as at once. */
static void pieces_give_what_the_whole_gives(void **state)
{
    static const char TEXT[] = "# TYPE a counter\n# HELP a h\na_total 1 1\na_total 2 2\nbad\na_total 3 3\n"
                               "# TYPE b gauge\n# HELP b i\nb{c=\"d\"} 4 4 # {e=\"f\"} 5\n# EOF\n";
    for (size_t piece = 1; piece < sizeof TEXT; piece++) {
        struct import_text reader = {.format = IMPORT_OPENMETRICS, .limits = &LIMITS, .time_ms = IMPORT_TIME_NEEDED};
        struct strbuf got;
        strbuf_init(&got, 1 << 16);
        size_t at = 0, bad_lines = 0;
        for (size_t end = piece; at < sizeof TEXT - 1; end += piece) {
            end = end < sizeof TEXT - 1 ? end : sizeof TEXT - 1;
            struct arena arena;
            arena_init(&arena, 1 << 20);
            struct import_part part;
            size_t used;
            assert_int_equal(import_text_read(&reader, &arena, (struct str){TEXT + at, end - at},
                                              end == sizeof TEXT - 1, 1, &used, &part, NULL),
                             OK);
            print_part(&got, &part);
            bad_lines += part.bad_lines;
            at += used;
            arena_release(&arena);
        }
        assert_int_equal(bad_lines, 1);
        assert_int_equal(reader.line, 10);
        assert_string_equal(strbuf_view(&got).ptr,
                            "__name__=a_total 1@1000\n# a counter [h] []\n__name__=a_total 2@2000\n"
                            "__name__=a_total 3@3000\n__name__=b,c=d 4@4000 {e=f}5@4000\n# b gauge [i] []\n");
        strbuf_release(&got);
    }
}

static void expect_an_end(enum import_format format, struct str text, size_t cap_max)
{
    bool refused = false;
    for (size_t cap = 0; cap < cap_max; cap += 512) {
        struct arena arena;
        arena_init(&arena, cap);
        struct import_text reader = {.format = format, .limits = &LIMITS, .time_ms = IMPORT_TIME_NEEDED};
        struct import_part part;
        struct error error = {0};
        size_t used;
        enum status status = import_text_read(&reader, &arena, text, true, SIZE_MAX, &used, &part, &error);
        assert_true(status == OK ||
                    (status == E_TOO_LARGE && strstr(error.message, "import needs more than the allowed")));
        refused = refused || status != OK;
        assert_true(status != OK || part.bad_lines == 1 || part.request.samples_n == 2);
        arena_release(&arena);
    }
    assert_true(refused);
}

static void memory_has_an_end(void **state)
{
    expect_an_end(IMPORT_JSON,
                  STR("{\"metric\":{\"__name__\":\"a\",\"b\":\"\\n\"},\"values\":[1,2],\"timestamps\":[1,2]}\n"),
                  40000);
    expect_an_end(IMPORT_OPENMETRICS, STR("a 1 1 # {b=\"c\"} 1\na 2 2 # {b=\"d\"} 2\n# EOF\n"), 60000);
}

static void formats_have_names_and_media_types(void **state)
{
    enum import_format format = IMPORT_JSON;
    assert_true(import_format_named(STR("openmetrics"), &format) && format == IMPORT_OPENMETRICS);
    assert_true(import_format_named(STR("prometheus"), &format) && format == IMPORT_PROMETHEUS);
    assert_true(import_format_named(STR("json"), &format) && format == IMPORT_JSON);
    assert_false(import_format_named(STR("jso"), &format));
    assert_true(import_format_of_media(STR("Application/OpenMetrics-Text ; version=1.0.0"), &format));
    assert_int_equal(format, IMPORT_OPENMETRICS);
    assert_true(import_format_of_media(STR("text/plain"), &format) && format == IMPORT_PROMETHEUS);
    assert_false(import_format_of_media(STR("text/html"), &format));
    assert_false(import_format_of_media(STR(""), &format));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_lines),
        cmocka_unit_test(openmetrics),
        cmocka_unit_test(prometheus_text),
        cmocka_unit_test(samples_without_a_time_get_the_one_given),
        cmocka_unit_test(pieces_give_what_the_whole_gives),
        cmocka_unit_test(memory_has_an_end),
        cmocka_unit_test(formats_have_names_and_media_types),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
