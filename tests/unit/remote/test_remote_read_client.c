/* tests/unit/remote/test_remote_read_client.c: the reader's side of remote read. The witness is our own writer's side,
 * which other tests hold to protobuf-c and to Prometheus. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/assert.h"
#include "base/float_text.h"
#include "remote/read_answer.h"
#include "remote/native_histogram.h"
#include "remote/read_client.h"
#include "wire_test.h"

#include "histogram_test.h"

#define SERIES_N  5
#define SAMPLES_N 300

static const struct write_limits NO_LIMITS = {0};
static const struct time_span ALL = {INT64_MIN, INT64_MAX};

static struct sample sample_of(size_t series, size_t i)
{
    double value = i % 7 == 3 ? double_from_bits(STALE_NAN_BITS) : (double)i * 1.1 + (double)series;
    return (struct sample){(int64_t)(i * 15000 + series), value};
}

static struct strbuf answer_of(enum read_answer_type type)
{
    static const struct read_answer_limits LIMITS = {1000000, 1u << 28, 1u << 20};
    struct read_answer *answer;
    assert_int_equal(read_answer_new(type, &LIMITS, &answer, NULL), OK);
    read_answer_query(answer);
    for (size_t s = 0; s < SERIES_N; s++) {
        char name[8] = {(char)('a' + s), '\0'};
        struct label labels[] = {{STR("__name__"), STR("m")}, {STR("n"), str_from(name)}};
        assert_int_equal(read_answer_series(answer, (struct labels){labels, 2}, NULL), OK);
        for (size_t i = 0; i < SAMPLES_N; i++) {
            struct sample sample = sample_of(s, i);
            assert_int_equal(read_answer_samples(answer, &sample, 1, NULL), OK);
        }
    }
    assert_int_equal(read_answer_end(answer, NULL), OK);
    struct strbuf out = new_buffer();
    read_answer_take(answer, &out);
    read_answer_free(answer);
    return out;
}

static enum status read_all(struct arena *arena, struct str bytes, enum read_answer_type type, struct time_span span,
                            struct write_request *request, struct error *error)
{
    struct read_client client;
    struct series_builder builder;
    *request = (struct write_request){0};
    series_builder_init(&builder, arena, &NO_LIMITS, "import", request, error);
    enum status status =
        read_client_begin(&client, bytes, str_from(read_answer_content_type(type)), span, 1u << 28, error);
    for (bool done = false; status == OK && !done;)
        status = read_client_next(&client, &builder, &done, error);
    return status == OK ? series_builder_finish(&builder) : status;
}

static const enum read_answer_type TYPES[] = {READ_SAMPLES, READ_STREAMED_XOR_CHUNKS};

static void answers_are_taken_apart(void **state)
{
    for (size_t t = 0; t < ARRAY_LENGTH(TYPES); t++) {
        struct strbuf bytes = answer_of(TYPES[t]);
        struct arena arena;
        struct write_request request;
        arena_init(&arena, 1u << 26);
        assert_int_equal(read_all(&arena, strbuf_view(&bytes), TYPES[t], ALL, &request, NULL), OK);
        assert_int_equal(request.series_n, SERIES_N);
        for (size_t s = 0; s < SERIES_N; s++) {
            assert_int_equal(request.series[s].labels.n, 2);
            assert_int_equal(request.series[s].labels.at[1].value.ptr[0], 'a' + (int)s);
            assert_int_equal(request.series[s].samples_n, SAMPLES_N);
            for (size_t i = 0; i < SAMPLES_N; i++) {
                struct sample want = sample_of(s, i), got = request.series[s].samples[i];
                assert_int_equal(got.time_ms, want.time_ms);
                assert_int_equal(double_bits(got.value), double_bits(want.value));
            }
        }
        arena_release(&arena);
        strbuf_release(&bytes);
    }
}

/* A series with both kinds comes in runs that ascend, whichever way its answer travelled. */
static void histograms_are_taken_apart(void **state)
{
    static const char *const TEXTS[] = {"ci=1 sum=1 ps=0:1 pd=1", "ci=2 sum=1 ps=0:1 pd=2", "cf=2 sum=1 ps=0:1 pc=2",
                                        "cf=0 sum=stale", "hint=3 ci=2 sum=1 ns=0:1 nd=2"};
    static const struct read_answer_limits LIMITS = {1000000, 1u << 28, 1u << 20};
    struct label labels[] = {{STR("__name__"), STR("h")}};
    for (size_t t = 0; t < ARRAY_LENGTH(TYPES); t++) {
        struct arena arena;
        struct read_answer *answer;
        struct histogram_sample want[ARRAY_LENGTH(TEXTS)];
        arena_init(&arena, 1u << 22);
        assert_int_equal(read_answer_new(TYPES[t], &LIMITS, &answer, NULL), OK);
        read_answer_query(answer);
        assert_int_equal(read_answer_series(answer, (struct labels){labels, 1}, NULL), OK);
        for (size_t i = 0; i < ARRAY_LENGTH(TEXTS); i++) {
            struct strbuf message = histogram_message(TEXTS[i]);
            struct native_histogram histogram;
            struct sample sample = {(int64_t)i * 10 + 5, (double)i};
            assert_int_equal(native_histogram_unpack(&arena, strbuf_view(&message), &histogram, NULL), OK);
            histogram.time_ms = (int64_t)i * 10;
            assert_int_equal(native_histogram_store(&arena, &histogram, &want[i], NULL), OK);
            assert_int_equal(read_answer_histograms(answer, &want[i], 1, NULL), OK);
            if (i % 2)
                assert_int_equal(read_answer_samples(answer, &sample, 1, NULL), OK);
            strbuf_release(&message);
        }
        assert_int_equal(read_answer_end(answer, NULL), OK);
        struct strbuf bytes = new_buffer();
        read_answer_take(answer, &bytes);
        read_answer_free(answer);
        struct write_request request;
        assert_int_equal(read_all(&arena, strbuf_view(&bytes), TYPES[t], ALL, &request, NULL), OK);
        assert_int_equal(request.series_n, 3);
        assert_int_equal(request.histograms_n, ARRAY_LENGTH(TEXTS));
        static const size_t RUN[] = {0, 0, 1, 1, 2};
        for (size_t i = 0; i < request.histograms_n; i++) {
            assert_int_equal(request.histograms[i].is.time_ms, want[i].time_ms);
            assert_true(str_eq(request.histograms[i].is.packed, want[i].packed));
            assert_int_equal(request.histograms[i].series, RUN[i]);
        }
        assert_int_equal(request.series[0].samples_n, 0);
        assert_int_equal(request.series[1].samples_n, 1);
        assert_int_equal(request.series[2].samples[0].time_ms, 35);
        assert_int_equal(read_all(&arena, strbuf_view(&bytes), TYPES[t], (struct time_span){10, 20}, &request, NULL),
                         OK);
        assert_int_equal(request.histograms_n, 2);
        assert_int_equal(request.samples_n, 1);
        arena_release(&arena);
        strbuf_release(&bytes);
    }
}

static void samples_outside_the_span_are_left_out(void **state)
{
    for (size_t t = 0; t < ARRAY_LENGTH(TYPES); t++) {
        struct strbuf bytes = answer_of(TYPES[t]);
        struct arena arena;
        struct write_request request;
        arena_init(&arena, 1u << 26);
        struct time_span span = {10 * 15000 + 1, 20 * 15000};
        assert_int_equal(read_all(&arena, strbuf_view(&bytes), TYPES[t], span, &request, NULL), OK);
        assert_int_equal(request.series_n, SERIES_N);
        assert_int_equal(request.series[0].samples_n, 10); /* 11 … 20: series 0 has no offset */
        assert_int_equal(request.series[1].samples_n, 10); /* 10 … 19 */
        span = (struct time_span){-5, -1};
        assert_int_equal(read_all(&arena, strbuf_view(&bytes), TYPES[t], span, &request, NULL), OK);
        assert_int_equal(request.series_n, 0);
        arena_release(&arena);
        strbuf_release(&bytes);
    }
}

static void whatever_is_broken_is_noticed(void **state)
{
    struct strbuf bytes = answer_of(READ_STREAMED_XOR_CHUNKS);
    struct arena arena;
    struct write_request request;
    struct error error;
    for (size_t cut = 1; cut < bytes.len; cut += 7) {
        char *exact = malloc(bytes.len - cut);
        memcpy(exact, bytes.ptr, bytes.len - cut);
        arena_init(&arena, 1u << 26);
        enum status status =
            read_all(&arena, (struct str){exact, bytes.len - cut}, READ_STREAMED_XOR_CHUNKS, ALL, &request, &error);
        /* cut exactly between two frames it is a shorter answer */
        assert_true(status == E_BAD_DATA || (status == OK && request.series_n < SERIES_N));
        arena_release(&arena);
        free(exact);
    }
    for (size_t at = 0; at < bytes.len; at += 11) {
        bytes.ptr[at] ^= 0x10;
        arena_init(&arena, 1u << 26);
        assert_int_equal(read_all(&arena, strbuf_view(&bytes), READ_STREAMED_XOR_CHUNKS, ALL, &request, &error),
                         E_BAD_DATA);
        assert_non_null(strstr(error.message, "remote read answer: "));
        arena_release(&arena);
        bytes.ptr[at] ^= 0x10;
    }
    strbuf_release(&bytes);
}

static void messages_of_all_kinds(void **state)
{
    struct arena arena;
    struct write_request request;
    struct error error;
    struct strbuf series = new_buffer(), label = new_buffer(), result = new_buffer(), message = new_buffer();
    struct strbuf wrong = histogram_message("ci=1");
    pb_bytes(&label, 1, STR("__name__"));
    pb_bytes(&label, 2, STR("h"));
    pb_message(&series, 1, &label);
    pb_bytes(&series, 4, STR("")); /* of nothing */
    pb_message(&series, 4, &wrong);
    pb_message(&result, 1, &series);
    pb_message(&message, 1, &result);
    struct strbuf body = compressed(strbuf_view(&message));
    arena_init(&arena, 1u << 20);
    assert_int_equal(read_all(&arena, strbuf_view(&body), READ_SAMPLES, ALL, &request, NULL), OK);
    assert_int_equal(request.series_n, 1);
    assert_int_equal(request.histograms_n, 1);
    assert_int_equal(request.invalid_histograms, 1);
    assert_int_equal(read_all(&arena, STR(""), READ_STREAMED_XOR_CHUNKS, ALL, &request, NULL), OK);
    assert_int_equal(read_all(&arena, STR("nonsense"), READ_SAMPLES, ALL, &request, &error), E_BAD_DATA);
    struct read_client client;
    assert_int_equal(read_client_begin(&client, STR("x"), STR("text/html"), ALL, 1, &error), E_BAD_DATA);
    assert_non_null(strstr(error.message, "text/html"));
    arena_release(&arena);
    strbuf_release(&message);
    strbuf_release(&body);
}

static void requests_say_what_was_asked(void **state)
{
    static const struct read_limits LIMITS = {1u << 20, 1u << 20, 10, 10};
    struct matcher matchers[] = {{STR("__name__"), MATCH_EQUAL, STR("up")},
                                 {STR("a"), MATCH_NOT_EQUAL, STR("b")},
                                 {STR("c"), MATCH_REGEX, STR("d.*")},
                                 {STR("e"), MATCH_NOT_REGEX, STR("")}};
    for (size_t n = 0; n <= ARRAY_LENGTH(matchers); n++) {
        struct strbuf body = new_buffer();
        struct arena arena;
        struct read_request request;
        arena_init(&arena, 1u << 20);
        assert_int_equal(read_client_encode(matchers, n, (struct time_span){-1000, 5}, &body, NULL), OK);
        assert_int_equal(read_request_decode(&arena, strbuf_view(&body), &LIMITS, &request, NULL), OK);
        assert_int_equal(request.queries_n, 1);
        assert_int_equal(request.answer, READ_STREAMED_XOR_CHUNKS);
        assert_int_equal(request.queries[0].span.min_ms, -1000);
        assert_int_equal(request.queries[0].span.max_ms, 5);
        assert_int_equal(request.queries[0].matchers_n, n ? n : 1);
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(request.queries[0].matchers[i].op, matchers[i].op);
            assert_true(str_eq(request.queries[0].matchers[i].name, matchers[i].name));
            assert_true(str_eq(request.queries[0].matchers[i].value, matchers[i].value));
        }
        arena_release(&arena);
        strbuf_release(&body);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_taken_apart),
        cmocka_unit_test(histograms_are_taken_apart),
        cmocka_unit_test(samples_outside_the_span_are_left_out),
        cmocka_unit_test(whatever_is_broken_is_noticed),
        cmocka_unit_test(messages_of_all_kinds),
        cmocka_unit_test(requests_say_what_was_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
