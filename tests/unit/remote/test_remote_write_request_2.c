/* tests/unit/remote/test_remote_write_request_2.c: remote write 2.0 requests, from bytes made by hand. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/assert.h"
#include "base/float_text.h"
#include "remote/write_request.h"
#include "wire_test.h"

#include "histogram_test.h"

static const struct write_limits LIMITS = {.body_max_bytes = 1 << 20,
                                           .decoded_max_bytes = 1 << 20,
                                           .labels_max = 8,
                                           .label_name_max_bytes = 200,
                                           .label_value_max_bytes = 300,
                                           .wants_starts = true};

/* --- messages --- */

static void add_symbols(struct strbuf *message, const char *const *at, size_t n)
{
    for (size_t i = 0; i < n; i++)
        pb_bytes(message, 4, str_from(at[i]));
}

/* Of the requests below. */
static const char *const SYMBOLS[] = {
    "",         "__name__",        "up", "job", "web", "took_seconds_bucket", "seconds", "How long",
    "\xff\xfe", "__metric_unit__", "a"};
enum {
    S_EMPTY,
    S_NAME,
    S_UP,
    S_JOB,
    S_WEB,
    S_BUCKET,
    S_SECONDS,
    S_HELP,
    S_BROKEN,
    S_UNIT_LABEL,
    S_A
};

static void add_refs(struct strbuf *series, const uint64_t *refs, size_t n)
{
    struct strbuf packed = new_buffer();
    for (size_t i = 0; i < n; i++)
        pb_varint(&packed, refs[i]);
    pb_message(series, 1, &packed);
}

static void add_sample(struct strbuf *series, int64_t time_ms, double value)
{
    struct strbuf sample = new_buffer();
    pb_fixed64(&sample, 1, double_bits(value));
    pb_number(&sample, 2, (uint64_t)time_ms);
    pb_message(series, 2, &sample);
}

static void add_started_sample(struct strbuf *series, int64_t time_ms, int64_t start_ms)
{
    struct strbuf sample = new_buffer();
    pb_number(&sample, 3, (uint64_t)start_ms);
    pb_number(&sample, 2, (uint64_t)time_ms);
    pb_message(series, 2, &sample);
}

static void add_metadata(struct strbuf *series, uint64_t type, uint64_t help, uint64_t unit)
{
    struct strbuf metadata = new_buffer();
    pb_number(&metadata, 1, type);
    pb_number(&metadata, 3, help);
    pb_number(&metadata, 4, unit);
    pb_message(series, 5, &metadata);
}

static const uint64_t UP[] = {S_NAME, S_UP, S_JOB, S_WEB};

static struct strbuf up_series(void)
{
    struct strbuf series = new_buffer();
    add_refs(&series, UP, ARRAY_LENGTH(UP));
    add_sample(&series, 1000, 1);
    return series;
}

/* What a decoder made of a message; release it. */
struct outcome {
    struct arena arena;
    struct write_request got;
    enum status status;
    struct error error;
    char *copy;
};

static void unpack(struct outcome *outcome, struct str message)
{
    *outcome = (struct outcome){.copy = exact_copy(message)};
    arena_init(&outcome->arena, 1 << 24);
    outcome->status = write_request_unpack(&outcome->arena, (struct str){outcome->copy, message.len}, WRITE_2_0,
                                           &LIMITS, &outcome->got, &outcome->error);
}

static void outcome_release(struct outcome *outcome)
{
    arena_release(&outcome->arena);
    free(outcome->copy);
}

/* The message: the symbols above, then these series. */
static struct strbuf message_of(struct strbuf *series, size_t n)
{
    struct strbuf message = new_buffer();
    add_symbols(&message, SYMBOLS, ARRAY_LENGTH(SYMBOLS));
    for (size_t i = 0; i < n; i++)
        pb_message(&message, 5, &series[i]);
    return message;
}

/* --- what is well --- */

/* As Prometheus's sender lays it out, byte by byte. */
static void test_bytes_of_a_sender(void **state)
{
    struct strbuf message = from_hex("2200"                 /* "" */
                                     "22085f5f6e616d655f5f" /* __name__ */
                                     "22027570"             /* up */
                                     "22036a6f62"           /* job */
                                     "220178"               /* x */
                                     "2a1a"
                                     "0a0401020304"       /* refs 1 2 3 4 */
                                     "1210"               /* a sample */
                                     "09000000000000f83f" /* 1.5 */
                                     "108098c59fe231"     /* 1710000000000 */
                                     "2a00");             /* no metadata */
    struct outcome outcome;
    unpack(&outcome, strbuf_view(&message));
    assert_int_equal(outcome.status, OK);
    const struct write_request *got = &outcome.got;
    assert_int_equal(got->series_n, 1);
    assert_int_equal(got->metadata_n + got->invalid_metadata + got->invalid_series, 0);
    assert_int_equal(got->series[0].labels.n, 2);
    assert_str(labels_get(got->series[0].labels, LABEL_METRIC_NAME), "up");
    assert_str(labels_get(got->series[0].labels, STR("job")), "x");
    assert_int_equal(got->series[0].samples_n, 1);
    assert_true(got->series[0].samples[0].value == 1.5);
    assert_int_equal(got->series[0].samples[0].time_ms, INT64_C(1710000000000));
    outcome_release(&outcome);
    strbuf_release(&message);
}

static void test_unusual_layouts(void **state)
{
    struct strbuf message = new_buffer(), series = new_buffer();
    pb_number(&series, 1, 3); /* not packed, values before the name, the table behind */
    pb_number(&series, 1, 4);
    pb_number(&series, 16, 99); /* unknown */
    pb_bytes(&series, 7, STR("x"));
    add_sample(&series, 5, -0.0);
    const uint64_t rest[] = {1};
    add_refs(&series, rest, 1); /* a pair in two fields */
    pb_number(&series, 1, 2);
    pb_bytes(&series, 2, STR("")); /* 0 at time 0 */
    pb_message(&message, 5, &series);
    pb_bytes(&message, 1, STR("1.0's")); /* reserved */
    pb_number(&message, 3, 1);
    add_symbols(&message, SYMBOLS, 5);
    struct outcome outcome;
    unpack(&outcome, strbuf_view(&message));
    assert_int_equal(outcome.status, OK);
    assert_int_equal(outcome.got.series_n, 1);
    const struct append_series *only = &outcome.got.series[0];
    assert_int_equal(only->labels.n, 2);
    assert_str(only->labels.at[0].name, "__name__"); /* sorted */
    assert_str(only->labels.at[1].value, "web");
    assert_int_equal(only->samples_n, 2);
    assert_true(signbit(only->samples[0].value) && only->samples[0].time_ms == 5);
    outcome_release(&outcome);
    strbuf_release(&message);
}

static void test_nothing(void **state)
{
    struct strbuf messages[] = {from_hex(""), from_hex("2200"), from_hex("0a0408011002")}; /* the last is 1.0's */
    for (size_t i = 0; i < ARRAY_LENGTH(messages); i++) {
        struct outcome outcome;
        unpack(&outcome, strbuf_view(&messages[i]));
        assert_int_equal(outcome.status, OK);
        assert_int_equal(outcome.got.series_n + outcome.got.invalid_series + outcome.got.metadata_n, 0);
        outcome_release(&outcome);
        strbuf_release(&messages[i]);
    }
}

static void add_histogram(struct strbuf *series, const char *text)
{
    struct strbuf histogram = histogram_message(text);
    pb_message(series, 3, &histogram);
}

/* The same series again is another entry: for the store to join. */
static void test_counts(void **state)
{
    struct strbuf series[3] = {up_series(), up_series(), new_buffer()};
    add_histogram(&series[0], "t=5 ci=2 sum=1 ps=0:1 pd=2");
    add_refs(&series[2], UP, ARRAY_LENGTH(UP));
    add_histogram(&series[2], "t=5 ci=1 sum=1 ps=0:1 pd=2");
    add_histogram(&series[2], "t=6 cf=2 sum=1 ps=0:1 pc=2");
    struct strbuf message = message_of(series, 3);
    struct outcome outcome;
    unpack(&outcome, strbuf_view(&message));
    assert_int_equal(outcome.status, OK);
    assert_int_equal(outcome.got.series_n, 3);
    assert_int_equal(outcome.got.samples_n, 2);
    assert_int_equal(outcome.got.histograms_n, 2);
    assert_int_equal(outcome.got.histograms[0].series, 0);
    assert_int_equal(outcome.got.histograms[1].series, 2);
    assert_int_equal(outcome.got.histograms[1].is.time_ms, 6);
    assert_int_equal(outcome.got.invalid_histograms, 1);
    assert_int_equal(outcome.got.invalid_histogram.status, E_BAD_DATA);
    assert_int_equal(outcome.got.invalid_series, 0);
    assert_true(labels_eq(outcome.got.series[0].labels, outcome.got.series[1].labels));
    outcome_release(&outcome);
    strbuf_release(&message);
}

static void add_exemplar(struct strbuf *series, const uint64_t *refs, size_t n, int64_t time_ms)
{
    struct strbuf exemplar = new_buffer();
    add_refs(&exemplar, refs, n);
    pb_fixed64(&exemplar, 2, double_bits(2.5));
    pb_number(&exemplar, 3, (uint64_t)time_ms);
    pb_message(series, 4, &exemplar);
}

static void test_exemplars(void **state)
{
    struct strbuf series[3] = {up_series(), new_buffer(), new_buffer()}, loose = new_buffer();
    add_exemplar(&series[0], (const uint64_t[]){S_JOB, S_WEB, S_A, S_UP}, 4, 7);
    add_exemplar(&series[0], (const uint64_t[]){S_JOB, S_WEB, S_A}, 3, 8);
    add_exemplar(&series[0], (const uint64_t[]){S_JOB, 99}, 2, 9);
    add_exemplar(&series[0], (const uint64_t[]){S_JOB, S_BROKEN}, 2, 10);
    pb_number(&loose, 1, S_JOB); /* numbers one by one are as good as packed ones */
    pb_number(&loose, 1, S_WEB);
    pb_message(&series[0], 4, &loose);
    add_refs(&series[1], UP, ARRAY_LENGTH(UP)); /* as Prometheus sends them: apart from their samples */
    add_exemplar(&series[1], NULL, 0, 11);
    add_refs(&series[2], UP, 1);
    add_exemplar(&series[2], (const uint64_t[]){S_JOB, S_WEB}, 2, 12);
    struct strbuf message = message_of(series, 3);
    struct outcome outcome;
    unpack(&outcome, strbuf_view(&message));
    assert_int_equal(outcome.status, OK);
    const struct write_request *got = &outcome.got;
    assert_int_equal(got->series_n, 2);
    assert_int_equal(got->exemplars_n, 3);
    assert_int_equal(got->invalid_exemplars, 4);
    assert_string_equal(got->invalid_exemplar.message, "parsing exemplar for series: invalid labelRefs length 3");
    assert_int_equal(got->invalid_series, 1);
    assert_int_equal(got->exemplars[0].is.labels.n, 2);
    assert_str(got->exemplars[0].is.labels.at[0].name, "a");
    assert_str(got->exemplars[0].is.labels.at[1].value, "web");
    assert_true(got->exemplars[0].is.value == 2.5);
    assert_int_equal(got->exemplars[0].is.time_ms, 7);
    assert_str(got->exemplars[1].is.labels.at[0].value, "web");
    assert_int_equal(got->exemplars[1].series, 0);
    assert_int_equal(got->exemplars[2].series, 1);
    outcome_release(&outcome);
    strbuf_release(&message);
}

/* What drafts said once for a series is said of its first sample, unless samples speak for themselves. */
static void test_starts_of_drafts(void **state)
{
    struct strbuf series[3] = {up_series(), up_series(), up_series()};
    add_started_sample(&series[0], 2000, 0);
    pb_number(&series[0], 6, 500);
    add_started_sample(&series[1], 2000, 700);
    pb_number(&series[1], 6, 600);
    pb_bytes(&series[2], 6, STR("no number"));
    struct strbuf message = message_of(series, 3);
    struct outcome outcome;
    unpack(&outcome, strbuf_view(&message));
    assert_int_equal(outcome.status, OK);
    const struct write_request *got = &outcome.got;
    assert_int_equal(got->starts_n, 2);
    assert_ptr_equal(got->starts[0].sample, &got->series[0].samples[0]);
    assert_int_equal(got->starts[0].time_ms, 500);
    assert_ptr_equal(got->starts[1].sample, &got->series[1].samples[1]);
    assert_int_equal(got->starts[1].time_ms, 700);
    outcome_release(&outcome);
    strbuf_release(&message);
}

/* Those of series that are left out are, too. */
static void test_starts(void **state)
{
    struct strbuf series[4] = {up_series(), up_series(), up_series(), up_series()};
    add_started_sample(&series[0], 2000, 1500);
    pb_number(&series[1], 1, S_A); /* a reference too many */
    add_started_sample(&series[1], 2000, 1600);
    add_started_sample(&series[2], 2000, 0); /* unset */
    add_started_sample(&series[3], 2000, 1700);
    add_started_sample(&series[3], 3000, -5);
    struct strbuf message = message_of(series, 4);
    struct outcome outcome;
    unpack(&outcome, strbuf_view(&message));
    assert_int_equal(outcome.status, OK);
    const struct write_request *got = &outcome.got;
    assert_int_equal(got->series_n, 3);
    assert_int_equal(got->starts_n, 3);
    assert_ptr_equal(got->starts[0].sample, &got->series[0].samples[1]);
    assert_int_equal(got->starts[0].time_ms, 1500);
    assert_ptr_equal(got->starts[1].sample, &got->series[2].samples[1]);
    assert_int_equal(got->starts[1].time_ms, 1700);
    assert_ptr_equal(got->starts[2].sample, &got->series[2].samples[2]);
    assert_int_equal(got->starts[2].time_ms, -5);
    outcome_release(&outcome);
    const struct write_limits unwanted = {.decoded_max_bytes = 1 << 20};
    struct write_request none;
    arena_init(&outcome.arena, 1 << 20);
    assert_int_equal(write_request_unpack(&outcome.arena, strbuf_view(&message), WRITE_2_0, &unwanted, &none, NULL),
                     OK);
    assert_int_equal(none.samples_n, 3 + 4);
    assert_int_equal(none.starts_n, 0);
    arena_release(&outcome.arena);
    strbuf_release(&message);
}

/* --- metadata --- */

static void test_metadata_of_series(void **state)
{
    static const uint64_t BUCKET[] = {S_NAME, S_BUCKET};
    struct strbuf series[4] = {up_series(), new_buffer(), up_series(), up_series()};
    add_metadata(&series[0], METRIC_COUNTER, S_EMPTY, S_EMPTY); /* the later one counts */
    add_refs(&series[1], BUCKET, 2);
    add_sample(&series[1], 1, 1);
    add_metadata(&series[1], METRIC_HISTOGRAM, S_HELP, S_SECONDS);
    add_metadata(&series[2], METRIC_GAUGE, S_HELP, S_EMPTY);
    add_metadata(&series[3], 0, S_EMPTY, S_EMPTY); /* says nothing */
    struct strbuf message = message_of(series, 4);
    struct outcome outcome;
    unpack(&outcome, strbuf_view(&message));
    assert_int_equal(outcome.status, OK);
    const struct metric_metadata *metadata = outcome.got.metadata;
    assert_int_equal(outcome.got.metadata_n, 2);
    assert_str(metadata[0].family, "up");
    assert_int_equal(metadata[0].type, METRIC_GAUGE);
    assert_str(metadata[0].help, "How long");
    assert_str(metadata[1].family, "took_seconds");
    assert_int_equal(metadata[1].type, METRIC_HISTOGRAM);
    assert_str(metadata[1].help, "How long");
    assert_str(metadata[1].unit, "seconds");
    outcome_release(&outcome);
    strbuf_release(&message);
}

/* Labels win over the message's own; a help that is not UTF-8 costs no sample; a type of the future is none. */
static void test_metadata_beside_labels(void **state)
{
    static const uint64_t LABELS[] = {S_NAME, S_A, S_UNIT_LABEL, S_SECONDS};
    struct strbuf series[2] = {new_buffer(), up_series()};
    add_refs(&series[0], LABELS, 4);
    add_sample(&series[0], 1, 1);
    add_metadata(&series[0], 8, S_HELP, S_WEB);
    add_metadata(&series[1], METRIC_GAUGE, S_BROKEN, S_EMPTY);
    struct strbuf message = message_of(series, 2);
    struct outcome outcome;
    unpack(&outcome, strbuf_view(&message));
    assert_int_equal(outcome.status, OK);
    assert_int_equal(outcome.got.series_n, 2);
    assert_int_equal(outcome.got.series[0].labels.n, 1);
    assert_int_equal(outcome.got.metadata_n, 1);
    assert_int_equal(outcome.got.invalid_metadata, 1);
    assert_int_equal(outcome.got.metadata[0].type, METRIC_UNKNOWN);
    assert_str(outcome.got.metadata[0].unit, "seconds");
    outcome_release(&outcome);
    strbuf_release(&message);
}

/* --- series that are left out --- */

static void test_invalid_series_are_left_out(void **state)
{
    static const struct {
        uint64_t refs[4];
        size_t n;
        bool is_bare; /* no samples */
        uint64_t unit;
        const char *words;
    } CASES[] = {
        {{S_NAME, S_UP, S_JOB}, 3, false, 0, "invalid labelRefs length 3, got {__name__=\"up\"}"},
        {{S_NAME}, 1, false, 0, "invalid labelRefs length 1, got {}"},
        {{S_NAME, 11}, 2, false, 0, "labelRefs 11 outside of symbols table (size 11)"},
        {{S_NAME, S_UP, UINT32_MAX, S_WEB}, 4, false, 0, "labelRefs 4294967295 outside of symbols table (size 11)"},
        {{S_NAME, UINT64_MAX}, 2, false, 0, "labelRefs 18446744073709551615 outside"},
        {{S_NAME, S_UP}, 2, false, 11, "parsing metadata for series: reference outside of symbols table (size 11)"},
        {{S_NAME, S_UP}, 2, true, 0, "TimeSeries must contain at least one sample or histogram for series, got {__na"},
        {{0}, 0, false, 0, "invalid metric name or labels, got {}"},
        {{S_JOB, S_WEB}, 2, false, 0, "invalid metric name or labels, got {job=\"web\"}"},
        {{S_NAME, S_EMPTY}, 2, false, 0, "invalid metric name or labels"},
        {{S_NAME, S_UP, S_EMPTY, S_WEB}, 4, false, 0, "invalid metric name or labels"},
        {{S_NAME, S_BROKEN}, 2, false, 0, "invalid metric name or labels"},
        {{S_NAME, S_UP, S_NAME, S_A}, 4, false, 0, "duplicated label __name__"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(CASES); i++) {
        struct strbuf series[3] = {up_series(), new_buffer(), up_series()};
        add_refs(&series[1], CASES[i].refs, CASES[i].n);
        for (int k = 0; k < 2 && !CASES[i].is_bare; k++)
            add_sample(&series[1], k, 1);
        add_metadata(&series[1], METRIC_GAUGE, 0, CASES[i].unit);
        struct strbuf message = message_of(series, 3);
        struct outcome outcome;
        unpack(&outcome, strbuf_view(&message));
        assert_int_equal(outcome.status, OK);
        if (!strstr(outcome.got.invalid.message, CASES[i].words))
            print_error("%zu: %s\n", i, outcome.got.invalid.message);
        assert_int_equal(outcome.got.invalid_series, 1);
        assert_int_equal(outcome.got.invalid_samples[WRITE_INVALID_LABELS], CASES[i].is_bare ? 0 : 2);
        assert_non_null(strstr(outcome.got.invalid.message, CASES[i].words));
        assert_int_equal(outcome.got.series_n, 2);
        assert_int_equal(outcome.got.metadata_n, 0);
        assert_str(labels_get(outcome.got.series[1].labels, STR("job")), "web");
        outcome_release(&outcome);
        strbuf_release(&message);
    }
}

static void test_a_label_is_dropped(void **state)
{
    struct strbuf series[2] = {up_series(), up_series()};
    struct strbuf message = message_of(series, 2);
    struct outcome outcome;
    unpack(&outcome, strbuf_view(&message));
    write_request_drop_label(&outcome.got, &outcome.got.series[0], STR("__name__"));
    assert_int_equal(outcome.got.series[0].labels.n, 1);
    assert_str(outcome.got.series[0].labels.at[0].name, "job");
    assert_int_equal(outcome.got.series[1].labels.n, 2);
    outcome_release(&outcome);
    strbuf_release(&message);
}

/* --- requests that are refused --- */

static void test_malformed_messages(void **state)
{
    static const char *const CASES[] = {
        "2000",                           /* symbols as a number */
        "2205",                           /* a symbol longer than the message */
        "2800",                           /* timeseries as a number */
        "2a05",                           /* series longer than the message */
        "2b",                             /* a group */
        "2a0309",                         /* labels as a fixed number, cut short */
        "2a090900000000000000",           /* likewise */
        "2a021005",                       /* samples as a number */
        "2a022805",                       /* metadata as a number */
        "2a030a0180",                     /* a reference that does not end */
        "2a0d0a0b8080808080808080808001", /* one of eleven bytes */
        "2a0412020801",                   /* a value as a varint */
        "2a0512031a0161",                 /* a start as text */
        "2a042a020a00",                   /* metadata's type as text */
        "2a042a021a00",                   /* its help as text */
        "2a032a0118",                     /* its help cut short */
    };
    for (size_t i = 0; i < ARRAY_LENGTH(CASES); i++) {
        struct strbuf message = from_hex(CASES[i]);
        struct outcome outcome;
        unpack(&outcome, strbuf_view(&message));
        if (outcome.status != E_BAD_DATA)
            print_error("%s\n", CASES[i]);
        assert_int_equal(outcome.status, E_BAD_DATA);
        assert_non_null(strstr(outcome.error.message, "remote write request is not valid protobuf"));
        outcome_release(&outcome);
        strbuf_release(&message);
    }
}

static void test_symbols_begin_with_the_empty_text(void **state)
{
    struct strbuf message = new_buffer(), series = up_series();
    add_symbols(&message, SYMBOLS + 1, 4);
    pb_message(&message, 5, &series);
    struct outcome outcome;
    unpack(&outcome, strbuf_view(&message));
    assert_int_equal(outcome.status, E_BAD_DATA);
    assert_string_equal(outcome.error.message, "remote write request: the first symbol is not the empty text");
    outcome_release(&outcome);
    strbuf_release(&message);
}

/* References are short, the text they stand for need not be. */
static void test_what_is_written_out_has_a_limit(void **state)
{
    char *help = malloc(1 << 19);
    memset(help, 'h', 1 << 19);
    for (size_t more = 0; more < 2; more++) {
        struct strbuf message = new_buffer(), series;
        add_symbols(&message, SYMBOLS, 5);
        pb_bytes(&message, 4, (struct str){help, (1 << 19) - 16 + more}); /* and 16 of the labels, twice */
        for (size_t i = 0; i < 2; i++) {
            series = up_series();
            add_metadata(&series, METRIC_GAUGE, 5, S_EMPTY);
            pb_message(&message, 5, &series);
        }
        struct outcome outcome;
        unpack(&outcome, strbuf_view(&message));
        if (outcome.status != (more ? E_TOO_LARGE : OK))
            print_error("%s\n", outcome.error.message);
        assert_int_equal(outcome.status, more ? E_TOO_LARGE : OK);
        if (more)
            assert_string_equal(
                outcome.error.message,
                "remote write request: labels and metadata of 1048578 bytes, written out, exceed limit 1048576");
        outcome_release(&outcome);
        strbuf_release(&message);
    }
    free(help);
}

static void test_limits_and_memory(void **state)
{
    struct arena arena;
    struct write_request got;
    struct error error;
    struct strbuf message = new_buffer();
    for (int i = 0; i < 100000; i++)
        pb_bytes(&message, 4, STR("")); /* two bytes each become sixteen */
    arena_init(&arena, 1 << 20);
    assert_int_equal(write_request_unpack(&arena, strbuf_view(&message), WRITE_2_0, &LIMITS, &got, &error),
                     E_TOO_LARGE);
    assert_non_null(strstr(error.message, "needs more than the allowed 1048576 bytes of memory"));
    arena_release(&arena);
    strbuf_release(&message);

    struct strbuf series[1] = {up_series()};
    add_metadata(&series[0], METRIC_GAUGE, S_HELP, S_EMPTY);
    add_started_sample(&series[0], 2000, 1000);
    message = message_of(series, 1);
    struct strbuf body = compressed(strbuf_view(&message));
    enum status status = E_NOMEM;
    int failures = 0;
    for (int64_t after = 0; status != OK; after++) {
        arena_init(&arena, 1 << 20);
        arena.fail_after = after;
        status = write_request_decode(&arena, strbuf_view(&body), WRITE_2_0, &LIMITS, &got, NULL);
        assert_true(status == OK || status == E_NOMEM);
        failures += status != OK;
        arena_release(&arena);
    }
    assert_int_equal(failures, 8); /* the message, series, labels, samples, symbols, starts, metadata and its table */
    strbuf_release(&body);
    strbuf_release(&message);
}

/* Cut anywhere and damaged anywhere: accepted or refused, never read beyond its end (the sanitizers look). */
static void test_damage(void **state)
{
    struct strbuf series[2] = {up_series(), up_series()};
    add_metadata(&series[1], METRIC_GAUGE, S_HELP, S_SECONDS);
    struct strbuf message = message_of(series, 2);
    size_t accepted = 0;
    for (size_t len = 0; len < message.len; len++) {
        struct outcome outcome;
        unpack(&outcome, (struct str){message.ptr, len});
        assert_true(outcome.status == OK || outcome.status == E_BAD_DATA);
        accepted += outcome.status == OK;
        outcome_release(&outcome);
    }
    assert_int_equal(accepted, ARRAY_LENGTH(SYMBOLS) + 2); /* between the outer fields */
    uint32_t random = 1;
    accepted = 0;
    for (int round = 0; round < 20000; round++) {
        char *copy = exact_copy(strbuf_view(&message));
        for (int hits = 0; hits < 1 + round % 3; hits++) {
            random = random * 1664525 + 1013904223;
            copy[(random >> 8) % message.len] = (char)(random >> 3);
        }
        struct outcome outcome;
        unpack(&outcome, (struct str){copy, message.len});
        accepted += outcome.status == OK;
        outcome_release(&outcome);
        free(copy);
    }
    assert_true(accepted > 2000);
    strbuf_release(&message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_of_a_sender),
        cmocka_unit_test(test_unusual_layouts),
        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_exemplars),
        cmocka_unit_test(test_starts),
        cmocka_unit_test(test_starts_of_drafts),
        cmocka_unit_test(test_metadata_of_series),
        cmocka_unit_test(test_metadata_beside_labels),
        cmocka_unit_test(test_invalid_series_are_left_out),
        cmocka_unit_test(test_a_label_is_dropped),
        cmocka_unit_test(test_malformed_messages),
        cmocka_unit_test(test_symbols_begin_with_the_empty_text),
        cmocka_unit_test(test_what_is_written_out_has_a_limit),
        cmocka_unit_test(test_limits_and_memory),
        cmocka_unit_test(test_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
