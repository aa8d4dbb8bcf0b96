/* tests/unit/frontend/test_ingest.c: remote write: what is answered, and how writes are grouped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "remote/write_request.h"
#include "rig.h"

#define V1 "Content-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\n"

static struct rig rig;

static int start(void **state)
{
    rig = (struct rig){0};
    rig_start(&rig, &(struct rig_options){.write_queue_max_bytes = 100000});
    return 0;
}

static int stop(void **state)
{
    rig_stop(&rig);
    return 0;
}

/* series_n series of samples_n samples; broken: the first has no name. */
static struct strbuf encode(size_t series_n, size_t samples_n, bool broken)
{
    struct label labels[64][2];
    struct append_series series[64];
    struct sample samples[2000];
    char names[64][24];
    struct strbuf out;
    PRE(series_n <= 64 && samples_n <= 2000);
    for (size_t i = 0; i < samples_n; i++)
        samples[i] = (struct sample){(int64_t)i * 1000, 1};
    for (size_t i = 0; i < series_n; i++) {
        snprintf(names[i], sizeof names[i], "%zu", i);
        labels[i][0] = (struct label){broken && i == 0 ? STR("a") : STR("__name__"), STR("up")};
        labels[i][1] = (struct label){STR("n"), str_from(names[i])};
        series[i] = (struct append_series){{labels[i], 2}, samples, samples_n};
    }
    strbuf_init(&out, 1 << 24);
    assert_int_equal(write_request_encode(series, series_n, NULL, 0, &out, NULL), OK);
    return out;
}

static struct reply write_with(const char *headers, size_t series_n, size_t samples_n, bool broken)
{
    struct strbuf body = encode(series_n, samples_n, broken);
    struct reply reply = http_call(rig.port, "POST", "/api/v1/write", headers, body.ptr, body.len);
    strbuf_release(&body);
    return reply;
}

static void expect(struct reply reply, int code, const char *part)
{
    if (reply.code != code || !strstr(reply.body, part))
        fail_msg("wanted %d with \"%s\", got %d: %s", code, part, reply.code, reply.body);
    reply_free(&reply);
}

static void a_write_is_stored(void **state)
{
    expect(write_with(V1, 3, 10, false), 204, "");
    expect(write_with("", 3, 10, false), 204, ""); /* old senders name no type */
    assert_int_equal(rig.backend.appended_requests, 2);
}

static void partly_bad_writes_keep_the_good_and_say_so(void **state)
{
    expect(write_with(V1, 3, 10, true), 400, "series with invalid labels: 1;");
    rig.backend.append_refuses = 4;
    expect(write_with(V1, 3, 10, false), 400,
           "out of order sample (samples: 26 stored, 0 known, 4 out of order, 0 too old");
    assert_int_equal(rig.backend.appended_requests, 2);
}

static void what_is_no_write_is_refused(void **state)
{
    expect(http_call(rig.port, "POST", "/api/v1/write", V1, "nonsense", 8), 400, "snappy");
    expect(http_call(rig.port, "POST", "/api/v1/write", V1, "\x03\x08zzz", 5), 400, "");
    expect(write_with("Content-Type: text/plain\r\n", 1, 1, false), 415, "");
    expect(write_with("Content-Type: application/x-protobuf;proto=io.prometheus.write.v2.Request\r\n", 1, 1, false),
           415, "");
    expect(write_with("Content-Type: application/x-protobuf\r\nContent-Encoding: gzip\r\n", 1, 1, false), 415, "");
    /* snappy's preamble declares 16 MiB */
    expect(http_call(rig.port, "POST", "/api/v1/write", V1, "\x80\x80\x80\x08z", 5), 413, "16777216");
    assert_int_equal(rig.backend.appended_requests, 0);
    expect(write_with(V1, 1, 1, false), 204, "");
}

static void a_store_that_fails_is_5xx_and_the_next_write_works(void **state)
{
    rig.backend.append_fails = true;
    expect(write_with(V1, 1, 1, false), 500, "disk full");
    rig.backend.append_fails = false;
    expect(write_with(V1, 1, 1, false), 204, "");
}

static void a_store_that_takes_no_writes_for_now_is_503(void **state)
{
    rig.backend.append_waits = true;
    for (int i = 0; i < 3; i++) {
        struct reply reply = write_with(V1, 1, 1, false);
        assert_non_null(strstr(reply.headers, "Retry-After: 1"));
        expect(reply, 503, "no space for writes");
    }
    rig.backend.append_waits = false;
    expect(write_with(V1, 1, 1, false), 204, "");
    assert_int_equal(rig.backend.appended_requests, 1);
}

struct writer {
    size_t series_n, samples_n;
    struct reply reply;
};

static void *write_once(void *arg)
{
    struct writer *writer = arg;
    writer->reply = write_with(V1, writer->series_n, writer->samples_n ? writer->samples_n : 1, false);
    return NULL;
}

static void write_at_once(struct writer *writers, size_t n)
{
    pthread_t threads[64];
    for (size_t i = 0; i < n; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_once, &writers[i]), 0);
    for (size_t i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
}

/* Who waits behind such a transaction is told the same, without one of its own. */
static void what_is_unavailable_is_so_for_the_whole_group(void **state)
{
    struct writer writers[20] = {0};
    rig.backend.append_delay_ms = 100;
    rig.backend.append_waits = true;
    for (size_t i = 0; i < 20; i++)
        writers[i].series_n = 1;
    write_at_once(writers, 20);
    for (size_t i = 0; i < 20; i++)
        expect(writers[i].reply, 503, "no space for writes");
    assert_in_range(rig.backend.appends, 1, 10);
}

static void what_queues_behind_a_transaction_becomes_one(void **state)
{
    struct writer writers[20] = {0};
    rig.backend.append_delay_ms = 100;
    for (size_t i = 0; i < 20; i++)
        writers[i].series_n = 1;
    write_at_once(writers, 20);
    for (size_t i = 0; i < 20; i++)
        expect(writers[i].reply, 204, "");
    assert_int_equal(rig.backend.appended_requests, 20);
    assert_in_range(rig.backend.appends, 1, 10);
}

static void one_that_cannot_be_stored_spares_its_neighbours(void **state)
{
    struct writer writers[6] = {0};
    rig.backend.append_delay_ms = 100;
    rig.backend.append_poison = 7;
    for (size_t i = 0; i < 6; i++)
        writers[i].series_n = i == 3 ? 7 : 1;
    write_at_once(writers, 6);
    for (size_t i = 0; i < 6; i++)
        expect(writers[i].reply, i == 3 ? 500 : 204, i == 3 ? "poison" : "");
    assert_int_equal(rig.backend.appended_requests, 5);
}

static void a_full_queue_is_503_with_retry_after(void **state)
{
    struct writer writers[12] = {0};
    size_t stored = 0, refused = 0;
    rig.backend.append_delay_ms = 200;
    for (size_t i = 0; i < 12; i++)
        writers[i] = (struct writer){.series_n = 30, .samples_n = 100};
    write_at_once(writers, 12);
    for (size_t i = 0; i < 12; i++) {
        if (writers[i].reply.code == 503)
            assert_non_null(strstr(writers[i].reply.headers, "Retry-After: 1"));
        stored += writers[i].reply.code == 204;
        refused += writers[i].reply.code == 503;
        if (writers[i].reply.code == 503)
            assert_non_null(strstr(writers[i].reply.body, "--remote-write.max-queue-size is 100000"));
        reply_free(&writers[i].reply);
    }
    assert_int_equal(stored + refused, 12);
    assert_true(stored >= 1 && refused >= 1);
    expect(write_with(V1, 1, 1, false), 204, "");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_write_is_stored),
        CASE(partly_bad_writes_keep_the_good_and_say_so),
        CASE(what_is_no_write_is_refused),
        CASE(a_store_that_fails_is_5xx_and_the_next_write_works),
        CASE(a_store_that_takes_no_writes_for_now_is_503),
        CASE(what_is_unavailable_is_so_for_the_whole_group),
        CASE(what_queues_behind_a_transaction_becomes_one),
        CASE(one_that_cannot_be_stored_spares_its_neighbours),
        CASE(a_full_queue_is_503_with_retry_after),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
