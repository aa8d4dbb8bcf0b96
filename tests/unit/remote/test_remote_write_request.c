/* tests/unit/remote/test_remote_write_request.c: remote write requests, ours and others', well-formed and not. The
 * witness of the hand-written codec is protobuf-c with the messages of proto/remote.proto. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/assert.h"
#include "base/float_text.h"
#include "proto/remote.pb-c.h"
#include "remote/write_request.h"
#include "wire_test.h"

#include "histogram_test.h"

static const struct write_limits LIMITS = {.body_max_bytes = 1 << 20,
                                           .decoded_max_bytes = 1 << 22,
                                           .labels_max = 8,
                                           .label_name_max_bytes = 200,
                                           .label_value_max_bytes = 300};

/* --- helpers --- */

static void add_label(struct strbuf *series, struct str name, struct str value)
{
    struct strbuf label = new_buffer();
    pb_bytes(&label, 1, name);
    pb_bytes(&label, 2, value);
    pb_message(series, 1, &label);
}

static void add_sample(struct strbuf *series, int64_t time_ms, double value)
{
    struct strbuf sample = new_buffer();
    pb_fixed64(&sample, 1, double_bits(value));
    pb_number(&sample, 2, (uint64_t)time_ms);
    pb_message(series, 2, &sample);
}

static struct strbuf good_series(const char *name)
{
    struct strbuf series = new_buffer();
    add_label(&series, STR("__name__"), str_from(name));
    add_sample(&series, 1000, 1);
    return series;
}

static enum status unpack(struct arena *arena, struct str message, struct write_request *request, struct error *error)
{
    return write_request_unpack(arena, message, WRITE_1_0, &LIMITS, request, error);
}

/* --- round trips --- */

#define SERIES_N 3

struct example {
    struct label labels[SERIES_N][3];
    struct sample samples[SERIES_N][4];
    struct append_series series[SERIES_N];
    struct metric_metadata metadata[2];
};

static void fill_example(struct example *example)
{
    *example = (struct example){
        .labels = {{{STR("__name__"), STR("up")}, {STR("instance"), STR("a:1")}, {STR("job"), STR("j")}},
                   {{STR("__name__"), STR("with \0 byte")}, {STR("a.b"), STR("\xc3\xa9\"\n")}},
                   {{STR("__name__"), STR("alone")}}},
        .samples = {{{1700000000000, 1}, {1700000015000, -0.0}, {-1, INFINITY}, {INT64_MAX, -INFINITY}},
                    {{0, double_from_bits(STALE_NAN_BITS)},
                     {1, double_from_bits(UINT64_C(0x7ff8000000000abc))},
                     {INT64_MIN, 5e-324}},
                    {{1700000000000, 0}}},
        .metadata = {{STR("up"), METRIC_GAUGE, STR("1 if \"up\"\n"), STR("")},
                     {STR("x"), METRIC_STATESET, STR(""), STR("seconds")}},
    };
    for (size_t i = 0; i < SERIES_N; i++)
        example->series[i] =
            (struct append_series){{example->labels[i], 3 - i}, example->samples[i], i == 0 ? 4 : 5 - 2 * i};
}

static void assert_same_text(struct str got, struct str want)
{
    assert_int_equal(got.len, want.len);
    assert_memory_equal(got.ptr, want.ptr, want.len);
}

static void test_round_trip(void **state)
{
    struct example example;
    fill_example(&example);
    struct strbuf body = new_buffer();
    assert_int_equal(write_request_encode(example.series, SERIES_N, example.metadata, 2, &body, NULL), OK);
    struct arena arena;
    arena_init(&arena, 1 << 20);
    struct write_request got;
    assert_int_equal(write_request_decode(&arena, strbuf_view(&body), WRITE_1_0, &LIMITS, &got, NULL), OK);
    strbuf_release(&body);
    assert_int_equal(got.series_n, SERIES_N);
    assert_int_equal(got.samples_n, 4 + 3 + 1);
    assert_int_equal(got.invalid_series, 0);
    assert_int_equal(got.invalid.status, OK);
    for (size_t i = 0; i < SERIES_N; i++) {
        const struct append_series *want = &example.series[i];
        assert_true(labels_eq(got.series[i].labels, want->labels));
        assert_int_equal(got.series[i].samples_n, want->samples_n);
        assert_memory_equal(got.series[i].samples, want->samples, want->samples_n * sizeof *want->samples);
    }
    assert_int_equal(got.metadata_n, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_same_text(got.metadata[i].family, example.metadata[i].family);
        assert_same_text(got.metadata[i].help, example.metadata[i].help);
        assert_same_text(got.metadata[i].unit, example.metadata[i].unit);
        assert_int_equal(got.metadata[i].type, example.metadata[i].type);
    }
    arena_release(&arena);
}

/* What we write, read by protobuf-c. */
static void test_encodes_as_protobuf(void **state)
{
    struct example example;
    fill_example(&example);
    struct strbuf body = new_buffer();
    assert_int_equal(write_request_encode(example.series, SERIES_N, example.metadata, 2, &body, NULL), OK);
    struct strbuf plain = uncompressed(strbuf_view(&body));
    Prometheus__WriteRequest *got = prometheus__write_request__unpack(NULL, plain.len, (const uint8_t *)plain.ptr);
    assert_non_null(got);
    assert_int_equal(got->n_timeseries, SERIES_N);
    for (size_t i = 0; i < SERIES_N; i++) {
        const struct append_series *want = &example.series[i];
        const Prometheus__TimeSeries *series = got->timeseries[i];
        assert_int_equal(series->n_labels, want->labels.n);
        for (size_t k = 0; k < want->labels.n; k++) {
            const ProtobufCBinaryData *name = &series->labels[k]->name, *value = &series->labels[k]->value;
            assert_same_text((struct str){(char *)name->data, name->len}, want->labels.at[k].name);
            assert_same_text((struct str){(char *)value->data, value->len}, want->labels.at[k].value);
        }
        assert_int_equal(series->n_samples, want->samples_n);
        for (size_t k = 0; k < want->samples_n; k++) {
            assert_int_equal(series->samples[k]->timestamp, want->samples[k].time_ms);
            assert_int_equal(double_bits(series->samples[k]->value), double_bits(want->samples[k].value));
        }
    }
    assert_int_equal(got->n_metadata, 2);
    assert_int_equal(got->metadata[1]->type, PROMETHEUS__METRIC_METADATA__METRIC_TYPE__STATESET);
    assert_int_equal(got->metadata[1]->unit.len, 7);
    assert_int_equal(got->metadata[0]->help.len, example.metadata[0].help.len);
    prometheus__write_request__free_unpacked(got, NULL);
    strbuf_release(&plain);
    strbuf_release(&body);
}

/* Legal layouts that our own encoder never writes. */
static void test_unusual_layouts(void **state)
{
    struct strbuf label = new_buffer(), sample = new_buffer(), series = new_buffer(), message = new_buffer();
    pb_bytes(&label, 2, STR("second"));
    pb_bytes(&label, 1, STR("zone")); /* value before name */
    pb_message(&series, 1, &label);
    pb_number(&sample, 2, 77); /* time before value; the last of a field counts */
    pb_fixed64(&sample, 1, double_bits(1));
    pb_number(&sample, 9, 5); /* unknown fields of every wire type */
    pb_fixed64(&sample, 10, 5);
    pb_bytes(&sample, 11, STR("x"));
    pb_varint(&sample, 12 * 8 + 5);
    strbuf_cstr(&sample, "4444");
    pb_fixed64(&sample, 1, double_bits(2));
    pb_message(&series, 2, &sample);
    pb_bytes(&series, 2, STR("")); /* all defaults: 0 at time 0 */
    pb_bytes(&label, 1, STR("__name__"));
    pb_bytes(&label, 2, STR("m"));
    pb_number(&label, 3, 1);
    pb_message(&series, 1, &label);
    add_label(&series, STR("empty"), STR("")); /* the same as no label */
    char long_value[300];
    memset(long_value, 'v', sizeof long_value); /* lengths of two bytes */
    add_label(&series, STR("long"), (struct str){long_value, sizeof long_value});
    pb_number(&message, 2, 3); /* reserved: Cortex's source */
    pb_message(&message, 1, &series);

    struct arena arena;
    arena_init(&arena, 1 << 20);
    struct write_request got;
    assert_int_equal(unpack(&arena, strbuf_view(&message), &got, NULL), OK);
    assert_int_equal(got.series_n, 1);
    const struct append_series *only = &got.series[0];
    assert_int_equal(only->labels.n, 3);
    assert_str(only->labels.at[0].name, "__name__"); /* sorted */
    assert_str(only->labels.at[0].value, "m");
    assert_str(only->labels.at[1].name, "long");
    assert_int_equal(only->labels.at[1].value.len, 300);
    assert_str(only->labels.at[2].name, "zone");
    assert_str(only->labels.at[2].value, "second");
    assert_int_equal(only->samples_n, 2);
    assert_int_equal(only->samples[0].time_ms, 77);
    assert_true(only->samples[0].value == 2);
    assert_int_equal(only->samples[1].time_ms, 0);
    assert_int_equal(double_bits(only->samples[1].value), 0);
    arena_release(&arena);
    strbuf_release(&message);
}

/* --- native histograms --- */

static void add_histogram(struct strbuf *series, const char *text)
{
    struct strbuf histogram = histogram_message(text);
    pb_message(series, 4, &histogram);
}

/* Wrong ones are left out and counted; so are those of a series that is left out. */
static void test_histograms(void **state)
{
    struct strbuf message = new_buffer(), series = good_series("a");
    add_histogram(&series, "t=5 ci=2 sum=1 ps=0:1 pd=2");
    add_histogram(&series, "t=6 ci=3 sum=1 ps=0:1 pd=2");
    add_histogram(&series, "t=7 cf=2 sum=1 ps=0:1 pc=2");
    pb_message(&message, 1, &series);
    add_label(&series, STR("__name__"), STR("histograms_only"));
    add_histogram(&series, "t=8 schema=99");
    add_histogram(&series, "t=9 sum=stale");
    pb_message(&message, 1, &series);
    add_label(&series, STR("__name__"), STR("wrong_only"));
    add_histogram(&series, "t=8 schema=99");
    pb_message(&message, 1, &series);
    add_label(&series, STR("no_name"), STR("x"));
    add_histogram(&series, "t=9 sum=stale");
    pb_message(&message, 1, &series);
    struct arena arena;
    arena_init(&arena, 1 << 20);
    struct write_request got;
    assert_int_equal(unpack(&arena, strbuf_view(&message), &got, NULL), OK);
    assert_int_equal(got.series_n, 2);
    assert_int_equal(got.samples_n, 1);
    assert_int_equal(got.histograms_n, 3);
    static const struct {
        size_t series;
        int64_t time_ms;
    } WANT[] = {{0, 5}, {0, 7}, {1, 9}};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(got.histograms[i].series, WANT[i].series);
        assert_int_equal(got.histograms[i].is.time_ms, WANT[i].time_ms);
        assert_true(got.histograms[i].is.packed.len > 0);
    }
    assert_int_equal(got.invalid_histograms, 3);
    assert_string_equal(got.invalid_histogram.message,
                        "2 observations found in buckets, but the Count field is 3: histogram's observation count "
                        "should equal the number of observations found in the buckets (in absence of NaN) for series "
                        "{__name__=\"a\"}");
    assert_int_equal(got.invalid_series, 1);
    assert_int_equal(got.invalid_samples[WRITE_INVALID_LABELS], 1);
    arena_release(&arena);
    strbuf_release(&message);
}

/* --- exemplars --- */

/* Labels: pairs of texts, then NULL. */
static void add_exemplar(struct strbuf *series, const char *const *labels, double value, int64_t time_ms)
{
    struct strbuf exemplar = new_buffer();
    for (; *labels; labels += 2)
        add_label(&exemplar, str_from(labels[0]), str_from(labels[1]));
    pb_fixed64(&exemplar, 2, double_bits(value));
    pb_number(&exemplar, 3, (uint64_t)time_ms);
    pb_message(series, 3, &exemplar);
}

#define LABELS(...)                                                                                                    \
    (const char *const[])                                                                                              \
    {                                                                                                                  \
        __VA_ARGS__, NULL                                                                                              \
    }

static void test_exemplars(void **state)
{
    struct strbuf message = new_buffer(), series = good_series("a");
    add_exemplar(&series, LABELS("trace", "1", "span", "2", "empty", ""), -0.0, 1000);
    add_exemplar(&series, LABELS("twice", "1", "twice", "2"), 1, 1000);
    add_exemplar(&series, LABELS("", "no name"), 1, 1000);
    add_exemplar(&series, LABELS("broken", "\xff"), 1, 1000);
    pb_bytes(&series, 3, STR(""));
    pb_message(&message, 1, &series);
    add_label(&series, STR("job"), STR("without a name"));
    add_exemplar(&series, LABELS("trace", "3"), 1, 1000);
    pb_message(&message, 1, &series);
    add_label(&series, STR("__name__"), STR("nothing"));
    pb_message(&message, 1, &series);
    add_label(&series, STR("__name__"), STR("alone"));
    add_exemplar(&series, LABELS("trace", "4"), 1, -1);
    pb_message(&message, 1, &series);
    struct arena arena;
    arena_init(&arena, 1 << 20);
    struct write_request got;
    assert_int_equal(unpack(&arena, strbuf_view(&message), &got, NULL), OK);
    assert_int_equal(got.series_n, 2);
    assert_int_equal(got.series[1].samples_n, 0);
    assert_int_equal(got.exemplars_n, 3);
    assert_int_equal(got.invalid_exemplars, 4);
    assert_int_equal(got.invalid_exemplar.status, OK);
    const struct exemplar *first = &got.exemplars[0].is;
    assert_int_equal(first->labels.n, 2);
    assert_str(first->labels.at[0].name, "span");
    assert_str(first->labels.at[1].value, "1");
    assert_int_equal(double_bits(first->value), double_bits(-0.0));
    assert_int_equal(first->time_ms, 1000);
    assert_int_equal(got.exemplars[1].series, 0);
    assert_int_equal(got.exemplars[1].is.labels.n, 0);
    assert_int_equal(got.exemplars[2].series, 1);
    assert_int_equal(got.exemplars[2].is.time_ms, -1);
    arena_release(&arena);
    strbuf_release(&message);
}

static void test_malformed_exemplars(void **state)
{
    const struct {
        struct str bytes;
        const char *words;
    } cases[] = {{STR("\x0a\x05"), "Exemplar"},
                 {STR("\x08\x01"), "wrong wireType = 0 for field 1 of Exemplar"},
                 {STR("\x10\x01"), "wrong wireType = 0 for field 2 of Exemplar"},
                 {STR("\x1a\x00"), "wrong wireType = 2 for field 3 of Exemplar"},
                 {STR("\x0a\x02\x0a\x05"), "Label"}};
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct strbuf message = new_buffer(), series = good_series("a");
        pb_bytes(&series, 3, cases[i].bytes);
        pb_message(&message, 1, &series);
        struct arena arena;
        arena_init(&arena, 1 << 20);
        struct write_request got;
        struct error error = {0};
        assert_int_equal(unpack(&arena, strbuf_view(&message), &got, &error), E_BAD_DATA);
        assert_non_null(strstr(error.message, cases[i].words));
        arena_release(&arena);
        strbuf_release(&message);
    }
}

/* --- invalid series --- */

static void test_invalid_series_are_left_out(void **state)
{
    char long_text[301];
    memset(long_text, 'n', sizeof long_text);
    const struct {
        const char *name;
        struct label labels[9];
        size_t n;
        const char *words;
    } cases[] = {
        {"no labels", {{STR(""), STR("")}}, 0, "invalid metric name or labels, got {}"},
        {"no metric name", {{STR("job"), STR("j")}}, 1, "invalid metric name or labels, got {job=\"j\"}"},
        {"empty metric name", {{STR("__name__"), STR("")}}, 1, "invalid metric name or labels, got {}"},
        {"empty label name", {{STR("__name__"), STR("m")}, {STR(""), STR("x")}}, 2, "invalid metric name or labels"},
        {"name twice",
         {{STR("b"), STR("1")}, {STR("__name__"), STR("m")}, {STR("b"), STR("2")}},
         3,
         "duplicated label b, got {"},
        {"name not UTF-8", {{STR("__name__"), STR("m")}, {STR("\xff"), STR("x")}}, 2, "invalid metric name or labels"},
        {"value not UTF-8", {{STR("__name__"), STR("\xed\xa0\x80")}}, 1, "invalid metric name or labels"},
        {"task id", {{STR("__name__"), STR("m")}, {STR("__task_id__"), STR("x")}}, 2, "reserved label __task_id__"},
        {"task kind",
         {{STR("__name__"), STR("m")}, {STR("__task_kind__"), STR("")}},
         2,
         "reserved label __task_kind__"},
        {"too many labels",
         {{STR("__name__"), STR("m")},
          {STR("a"), STR("1")},
          {STR("b"), STR("1")},
          {STR("c"), STR("1")},
          {STR("d"), STR("1")},
          {STR("e"), STR("1")},
          {STR("f"), STR("1")},
          {STR("g"), STR("1")},
          {STR("h"), STR("1")}},
         9,
         "labels of a series: 9 exceeds limit 8, series {__name__=\"m\", a=\"1\", b="},
        {"long name",
         {{STR("__name__"), STR("m")}, {{long_text, 201}, STR("x")}},
         2,
         ": 201 exceeds limit 200, series {__name__=\"m\", nnn"},
        {"long value",
         {{STR("__name__"), STR("m")}, {STR("v"), {long_text, 301}}},
         2,
         "bytes of the value of label v: 301 exceeds limit 300, series {__name__=\"m\", v="},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        size_t limits_at = ARRAY_LENGTH(cases) - 3; /* the last are over limits, in the order of enum write_invalid */
        size_t why = i < limits_at ? WRITE_INVALID_LABELS : WRITE_LABELS_TOO_MANY + (i - limits_at);
        struct strbuf message = new_buffer(), series = good_series("first");
        pb_message(&message, 1, &series);
        for (size_t k = 0; k < cases[i].n; k++)
            add_label(&series, cases[i].labels[k].name, cases[i].labels[k].value);
        add_sample(&series, 1, 1);
        add_sample(&series, 2, 2);
        pb_message(&message, 1, &series);
        series = good_series("last");
        pb_message(&message, 1, &series);
        struct arena arena;
        arena_init(&arena, 1 << 20);
        struct write_request got;
        assert_int_equal(unpack(&arena, strbuf_view(&message), &got, NULL), OK);
        if (got.invalid_series != 1 || !strstr(got.invalid.message, cases[i].words))
            print_error("%s: %s\n", cases[i].name, got.invalid.message);
        assert_int_equal(got.invalid_series, 1);
        assert_int_equal(got.invalid_samples[why], 2);
        assert_int_equal(write_request_invalid_samples(&got), 2);
        assert_int_equal(got.invalid.status, E_BAD_DATA);
        assert_non_null(strstr(got.invalid.message, cases[i].words));
        assert_int_equal(got.series_n, 2);
        assert_int_equal(got.samples_n, 2);
        assert_str(labels_get(got.series[0].labels, LABEL_METRIC_NAME), "first");
        assert_str(labels_get(got.series[1].labels, LABEL_METRIC_NAME), "last");
        arena_release(&arena);
        strbuf_release(&message);
    }
}

/* The wildest of the cases above is taken when no limit is set. */
static void test_no_limits(void **state)
{
    static char long_text[100001];
    memset(long_text, 'n', sizeof long_text);
    struct strbuf message = new_buffer(), series = good_series("m");
    add_label(&series, (struct str){long_text, sizeof long_text}, (struct str){long_text, sizeof long_text});
    for (int i = 0; i < 500; i++) {
        char name[16];
        snprintf(name, sizeof name, "l%d", i);
        add_label(&series, str_from(name), STR("x"));
    }
    pb_message(&message, 1, &series);
    const struct write_limits limits = {.body_max_bytes = 1 << 20, .decoded_max_bytes = 1 << 20};
    struct arena arena;
    arena_init(&arena, 1 << 20);
    struct write_request got;
    assert_int_equal(write_request_unpack(&arena, strbuf_view(&message), WRITE_1_0, &limits, &got, NULL), OK);
    assert_int_equal(got.invalid_series, 0);
    assert_int_equal(got.series_n, 1);
    assert_true(got.series[0].labels.n > 500);
    arena_release(&arena);
    strbuf_release(&message);
}

static void test_the_first_reason_stays(void **state)
{
    struct strbuf message = new_buffer(), series = new_buffer();
    add_label(&series, STR("job"), STR("one"));
    pb_message(&message, 1, &series);
    add_label(&series, STR("job"), STR("two"));
    pb_message(&message, 1, &series);
    struct arena arena;
    arena_init(&arena, 1 << 20);
    struct write_request got;
    assert_int_equal(unpack(&arena, strbuf_view(&message), &got, NULL), OK);
    assert_int_equal(got.invalid_series, 2);
    assert_non_null(strstr(got.invalid.message, "{job=\"one\"}"));
    arena_release(&arena);
    strbuf_release(&message);
}

static void test_metadata(void **state)
{
    static const struct {
        const char *hex;
        size_t want;
        enum metric_type type;
    } CASES[] = {
        {"08011201782201682a0175", 1, METRIC_COUNTER}, /* type 1, family x, help h, unit u */
        {"1201780807", 1, METRIC_STATESET},
        {"1201780808", 1, METRIC_UNKNOWN}, /* a type of the future */
        {"12017808ffffffffffffffffff01", 1, METRIC_UNKNOWN},
        {"0801", 0, METRIC_UNKNOWN},         /* no family */
        {"1201ff", 0, METRIC_UNKNOWN},       /* family not UTF-8 */
        {"1201782201ff", 0, METRIC_UNKNOWN}, /* help not UTF-8 */
        {"1201781a0178", 1, METRIC_UNKNOWN}, /* field 3 is nobody's */
    };
    for (size_t i = 0; i < ARRAY_LENGTH(CASES); i++) {
        struct strbuf metadata = from_hex(CASES[i].hex), message = new_buffer();
        pb_message(&message, 3, &metadata);
        struct arena arena;
        arena_init(&arena, 1 << 20);
        struct write_request got;
        assert_int_equal(unpack(&arena, strbuf_view(&message), &got, NULL), OK);
        assert_int_equal(got.metadata_n, CASES[i].want);
        assert_int_equal(got.invalid_metadata, 1 - CASES[i].want);
        if (CASES[i].want) {
            assert_str(got.metadata[0].family, "x");
            assert_int_equal(got.metadata[0].type, CASES[i].type);
        }
        arena_release(&arena);
        strbuf_release(&message);
    }
}

/* More entries than there was room for at first, each family twice: the later entries are handed on. */
static void test_the_last_metadata_of_a_family_counts(void **state)
{
    struct strbuf message = new_buffer();
    for (size_t i = 0; i < 400; i++) {
        struct strbuf metadata = new_buffer();
        char family[16];
        snprintf(family, sizeof family, "family_%zu", i % 200);
        pb_bytes(&metadata, 2, str_from(family));
        pb_bytes(&metadata, 4, i < 200 ? STR("old") : STR("new"));
        pb_message(&message, 3, &metadata);
    }
    struct arena arena;
    arena_init(&arena, 1 << 20);
    struct write_request got;
    assert_int_equal(unpack(&arena, strbuf_view(&message), &got, NULL), OK);
    assert_int_equal(got.metadata_n, 200);
    for (size_t i = 0; i < 200; i++) {
        char family[16];
        snprintf(family, sizeof family, "family_%zu", i);
        assert_str(got.metadata[i].family, family);
        assert_str(got.metadata[i].help, "new");
    }
    arena_release(&arena);
    strbuf_release(&message);
}

static void test_metadata_that_is_too_long(void **state)
{
    for (size_t over = 0; over < 2; over++) {
        struct strbuf metadata = new_buffer(), message = new_buffer();
        char *help = malloc(WRITE_METADATA_TEXT_MAX_BYTES + over);
        memset(help, 'h', WRITE_METADATA_TEXT_MAX_BYTES + over);
        pb_bytes(&metadata, 2, STR("up"));
        pb_bytes(&metadata, 4, (struct str){help, WRITE_METADATA_TEXT_MAX_BYTES + over});
        pb_message(&message, 3, &metadata);
        struct arena arena;
        arena_init(&arena, 1 << 20);
        struct write_request got;
        assert_int_equal(unpack(&arena, strbuf_view(&message), &got, NULL), OK);
        assert_int_equal(got.metadata_n, 1 - over);
        assert_int_equal(got.invalid_metadata, over);
        arena_release(&arena);
        strbuf_release(&message);
        free(help);
    }
}

static void test_metadata_labels_are_taken_off(void **state)
{
    static const struct {
        const char *name, *type, *family;
        enum metric_type want;
    } CASES[] = {
        {"hits_total", "counter", "hits_total", METRIC_COUNTER},
        {"took_seconds_bucket", "histogram", "took_seconds", METRIC_HISTOGRAM},
        {"took_seconds_count", "histogram", "took_seconds", METRIC_HISTOGRAM},
        {"took_seconds_sum", "summary", "took_seconds", METRIC_SUMMARY},
        {"took_seconds", "summary", "took_seconds", METRIC_SUMMARY},
        {"took_seconds_bucket", "summary", "took_seconds_bucket", METRIC_SUMMARY},
        {"size_gcount", "gaugehistogram", "size", METRIC_GAUGE_HISTOGRAM},
        {"a_count", "gauge", "a_count", METRIC_GAUGE},
        {"_sum", "summary", "_sum", METRIC_SUMMARY},
        {"build_info", "info", "build_info", METRIC_INFO},
        {"x", "nonsense", "x", METRIC_UNKNOWN},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(CASES); i++) {
        struct strbuf message = new_buffer(), series = good_series(CASES[i].name);
        add_label(&series, STR("__metric_type__"), str_from(CASES[i].type));
        add_label(&series, STR("__metric_other__"), STR("stays"));
        char help[1000]; /* longer than a label may be */
        memset(help, 'h', sizeof help);
        add_label(&series, STR("__metric_help__"), (struct str){help, sizeof help});
        add_label(&series, STR("__metric_unit__"), STR("things"));
        pb_message(&message, 1, &series);
        struct arena arena;
        arena_init(&arena, 1 << 20);
        struct write_request got;
        assert_int_equal(unpack(&arena, strbuf_view(&message), &got, NULL), OK);
        assert_int_equal(got.series_n, 1);
        assert_int_equal(got.series[0].labels.n, 2);
        assert_str(labels_get(got.series[0].labels, STR("__metric_other__")), "stays");
        assert_int_equal(got.metadata_n, 1);
        assert_str(got.metadata[0].family, CASES[i].family);
        assert_int_equal(got.metadata[0].type, CASES[i].want);
        assert_int_equal(got.metadata[0].help.len, sizeof help);
        assert_str(got.metadata[0].unit, "things");
        arena_release(&arena);
        strbuf_release(&message);
    }
}

/* --- media types --- */

static void test_media(void **state)
{
    static const struct {
        const char *type, *encoding;
        enum status want;
        enum write_version version;
    } CASES[] = {
        {"", "", OK, WRITE_1_0},
        {"application/x-protobuf", "snappy", OK, WRITE_1_0},
        {"application/x-protobuf", "", OK, WRITE_1_0},
        {"", "snappy", OK, WRITE_1_0},
        {" Application/X-Protobuf ", " SNAPPY ", OK, WRITE_1_0},
        {"application/x-protobuf;proto=prometheus.WriteRequest", "snappy", OK, WRITE_1_0},
        {"application/x-protobuf; proto=prometheus.WriteRequest ; charset=x", "snappy", OK, WRITE_1_0},
        {"application/x-protobuf;charset=utf-8", "snappy", OK, WRITE_1_0},
        {"application/x-protobuf;proto=io.prometheus.write.v2.Request", "snappy", OK, WRITE_2_0},
        {"application/x-protobuf; Proto = io.prometheus.write.v2.Request ;charset=x", "", OK, WRITE_2_0},
        {"application/x-protobuf;proto=io.prometheus.write.v2.Request", "zstd", E_UNSUPPORTED_MEDIA, WRITE_2_0},
        {"application/x-protobuf;proto=io.prometheus.write.v2.request", "snappy", E_UNSUPPORTED_MEDIA, WRITE_1_0},
        {"application/x-protobuf;proto=io.prometheus.write.v3.Request", "snappy", E_UNSUPPORTED_MEDIA, WRITE_1_0},
        {"application/x-protobuf;proto=", "snappy", E_UNSUPPORTED_MEDIA, WRITE_1_0},
        {"application/x-protobuf;proto", "snappy", E_UNSUPPORTED_MEDIA, WRITE_1_0},
        {"application/json", "snappy", E_UNSUPPORTED_MEDIA, WRITE_1_0},
        {"application/x-protobuff", "snappy", E_UNSUPPORTED_MEDIA, WRITE_1_0},
        {";", "snappy", E_UNSUPPORTED_MEDIA, WRITE_1_0},
        {"application/x-protobuf", "gzip", E_UNSUPPORTED_MEDIA, WRITE_1_0},
        {"application/x-protobuf", "snappy, gzip", E_UNSUPPORTED_MEDIA, WRITE_1_0},
        {"application/x-protobuf", "zstd", E_UNSUPPORTED_MEDIA, WRITE_1_0},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(CASES); i++) {
        struct error error = {0};
        enum write_version version;
        enum status got = write_request_media(str_from(CASES[i].type), str_from(CASES[i].encoding), &version, &error);
        if (got != CASES[i].want)
            print_error("%s | %s\n", CASES[i].type, CASES[i].encoding);
        assert_int_equal(got, CASES[i].want);
        assert_int_equal(error.status, CASES[i].want);
        assert_int_equal(version, CASES[i].version);
    }
    struct error error;
    enum write_version version;
    assert_int_equal(write_request_media(STR("application/x-protobuf;proto=a.b"), STR(""), &version, &error),
                     E_UNSUPPORTED_MEDIA);
    assert_string_equal(error.message, "a.b protobuf message is not accepted by this server; accepted "
                                       "[prometheus.WriteRequest, io.prometheus.write.v2.Request]");
    assert_int_equal(write_request_media(STR(""), STR("gzip"), &version, &error), E_UNSUPPORTED_MEDIA);
    assert_string_equal(error.message,
                        "gzip encoding (compression) is not accepted by this server; only snappy is acceptable");
}

/* --- malformed --- */

static void test_malformed_messages(void **state)
{
    static const char *const CASES[] = {
        "0a05",                     /* series longer than the message */
        "0800",                     /* timeseries as a number */
        "0b0c",                     /* a group */
        "0200",                     /* field number 0 */
        "0f",                       /* wire type 7 */
        "808080808080808080808001", /* tag of twelve bytes */
        "8080808080018000",         /* field number over 32 bits */
        "0affffffffffffffffff01",   /* length 2^64 - 1 */
        "0a02"
        "0800", /* labels as a number */
        "0a02"
        "1005", /* samples as a number */
        "0a02"
        "2005", /* histograms as a number */
        "0a02"
        "0a05", /* label longer than its series */
        "0a04"
        "0a02"
        "0a05", /* name longer than its label */
        "0a04"
        "0a02"
        "0801", /* name as a number */
        "0a04"
        "1202"
        "0805", /* value as a varint */
        "0a05"
        "1203"
        "090000", /* value cut short */
        "0a04"
        "1202"
        "1080", /* time cut short */
        "0a05"
        "1203"
        "120161", /* time as text */
        "1a02"
        "0a00", /* metadata type as text */
        "1a02"
        "1005", /* family as a number */
        "1a02"
        "2205", /* help longer than its message */
        "1801", /* metadata as a number */
    };
    for (size_t i = 0; i < ARRAY_LENGTH(CASES); i++) {
        struct strbuf message = from_hex(CASES[i]);
        char *copy = exact_copy(strbuf_view(&message));
        struct arena arena;
        arena_init(&arena, 1 << 20);
        struct write_request got;
        struct error error;
        enum status status = unpack(&arena, (struct str){copy, message.len}, &got, &error);
        if (status != E_BAD_DATA)
            print_error("%s\n", CASES[i]);
        assert_int_equal(status, E_BAD_DATA);
        assert_non_null(strstr(error.message, "remote write request is not valid protobuf"));
        arena_release(&arena);
        free(copy);
        strbuf_release(&message);
    }
}

static void test_every_cut(void **state)
{
    struct example example;
    fill_example(&example);
    struct strbuf body = new_buffer();
    assert_int_equal(write_request_encode(example.series, SERIES_N, example.metadata, 2, &body, NULL), OK);
    struct strbuf plain = uncompressed(strbuf_view(&body));
    size_t accepted = 0;
    for (size_t len = 0; len < plain.len; len++) {
        char *copy = exact_copy((struct str){plain.ptr, len});
        struct arena arena;
        arena_init(&arena, 1 << 20);
        struct write_request got;
        enum status status = unpack(&arena, (struct str){copy, len}, &got, NULL);
        assert_true(status == OK || status == E_BAD_DATA);
        accepted += status == OK;
        arena_release(&arena);
        free(copy);
    }
    assert_int_equal(accepted, SERIES_N + 2); /* nothing, or cut between the five outer fields */
    for (size_t len = 0; len < body.len; len++) {
        char *copy = exact_copy((struct str){body.ptr, len});
        struct arena arena;
        arena_init(&arena, 1 << 20);
        struct write_request got;
        assert_int_equal(write_request_decode(&arena, (struct str){copy, len}, WRITE_1_0, &LIMITS, &got, NULL),
                         E_BAD_DATA);
        arena_release(&arena);
        free(copy);
    }
    strbuf_release(&plain);
    strbuf_release(&body);
}

/* Random damage: where both decoders accept, they have read the same. */
static void test_agrees_with_protobuf_c_on_damaged_messages(void **state)
{
    struct example example;
    fill_example(&example);
    struct strbuf body = new_buffer();
    assert_int_equal(write_request_encode(example.series, SERIES_N, example.metadata, 2, &body, NULL), OK);
    struct strbuf plain = uncompressed(strbuf_view(&body));
    uint32_t random = 1;
    size_t both = 0;
    for (int round = 0; round < 20000; round++) {
        char *copy = exact_copy(strbuf_view(&plain));
        for (int hits = 0; hits < 1 + round % 3; hits++) {
            random = random * 1664525 + 1013904223;
            copy[(random >> 8) % plain.len] = (char)(random >> 3);
        }
        Prometheus__WriteRequest *theirs = prometheus__write_request__unpack(NULL, plain.len, (const uint8_t *)copy);
        struct arena arena;
        arena_init(&arena, 1 << 20);
        struct write_request ours;
        enum status status = unpack(&arena, (struct str){copy, plain.len}, &ours, NULL);
        if (theirs && status == OK) {
            size_t samples = 0, histograms = 0, exemplars = 0;
            for (size_t i = 0; i < theirs->n_timeseries; i++) {
                samples += theirs->timeseries[i]->n_samples;
                histograms += theirs->timeseries[i]->n_histograms;
                exemplars += theirs->timeseries[i]->n_exemplars;
            }
            assert_int_equal(ours.samples_n + write_request_invalid_samples(&ours) + ours.histograms_n +
                                 ours.invalid_histograms,
                             samples + histograms);
            assert_int_equal(ours.exemplars_n + ours.invalid_exemplars, exemplars);
            assert_true(ours.metadata_n + ours.invalid_metadata <= theirs->n_metadata);
            both++;
        }
        if (theirs)
            prometheus__write_request__free_unpacked(theirs, NULL);
        arena_release(&arena);
        free(copy);
    }
    assert_true(both > 2000); /* the comparison has been made */
    strbuf_release(&plain);
    strbuf_release(&body);
}

/* --- limits and memory --- */

static void test_limits(void **state)
{
    struct arena arena;
    arena_init(&arena, 1 << 24);
    struct write_request got;
    struct error error;
    char *body = calloc(1, LIMITS.body_max_bytes + 1);
    assert_int_equal(
        write_request_decode(&arena, (struct str){body, LIMITS.body_max_bytes + 1}, WRITE_1_0, &LIMITS, &got, &error),
        E_TOO_LARGE);
    assert_string_equal(error.message, "remote write request of 1048577 bytes exceeds limit 1048576");
    free(body);
    struct strbuf bomb = from_hex("ffffffff0f00");
    assert_int_equal(write_request_decode(&arena, strbuf_view(&bomb), WRITE_1_0, &LIMITS, &got, &error), E_TOO_LARGE);
    assert_string_equal(error.message, "remote write request: snappy: decoded length 4294967295 exceeds limit 4194304");
    strbuf_release(&bomb);
    assert_int_equal(arena.used_bytes, 0);
    arena_release(&arena);

    /* A small message can ask for much: the arena's cap stops it. */
    struct strbuf series = new_buffer(), message = new_buffer();
    for (int i = 0; i < 50000; i++)
        pb_bytes(&series, 1, STR(""));
    pb_message(&message, 1, &series);
    arena_init(&arena, 1 << 20);
    assert_int_equal(unpack(&arena, strbuf_view(&message), &got, &error), E_TOO_LARGE);
    assert_non_null(strstr(error.message, "needs more than the allowed 1048576 bytes of memory"));
    arena_release(&arena);
    strbuf_release(&message);
}

static void test_memory_failures(void **state)
{
    struct example example;
    fill_example(&example);
    struct strbuf body = new_buffer();
    assert_int_equal(write_request_encode(example.series, SERIES_N, example.metadata, 2, &body, NULL), OK);
    enum status status = E_NOMEM;
    int failures = 0;
    for (int64_t after = 0; status != OK; after++) {
        struct arena arena;
        arena_init(&arena, 1 << 20);
        arena.fail_after = after;
        struct write_request got;
        status = write_request_decode(&arena, strbuf_view(&body), WRITE_1_0, &LIMITS, &got, NULL);
        assert_true(status == OK || status == E_NOMEM);
        failures += status != OK;
        arena_release(&arena);
    }
    assert_int_equal(failures, 6); /* the message, series, labels, samples, metadata and its table */
    struct strbuf small;
    strbuf_init(&small, 10);
    assert_int_equal(write_request_encode(example.series, SERIES_N, example.metadata, 2, &small, NULL), E_LIMIT);
    strbuf_release(&small);
    strbuf_release(&body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_encodes_as_protobuf),
        cmocka_unit_test(test_unusual_layouts),
        cmocka_unit_test(test_histograms),
        cmocka_unit_test(test_exemplars),
        cmocka_unit_test(test_malformed_exemplars),
        cmocka_unit_test(test_invalid_series_are_left_out),
        cmocka_unit_test(test_no_limits),
        cmocka_unit_test(test_the_first_reason_stays),
        cmocka_unit_test(test_metadata),
        cmocka_unit_test(test_the_last_metadata_of_a_family_counts),
        cmocka_unit_test(test_metadata_that_is_too_long),
        cmocka_unit_test(test_metadata_labels_are_taken_off),
        cmocka_unit_test(test_media),
        cmocka_unit_test(test_malformed_messages),
        cmocka_unit_test(test_every_cut),
        cmocka_unit_test(test_agrees_with_protobuf_c_on_damaged_messages),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_memory_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
