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
#include <unistd.h>

#include "base/assert.h"
#include "remote/write_request.h"
#include "rig.h"

#define V2 "Content-Type: application/x-protobuf;proto=io.prometheus.write.v2.Request\r\nContent-Encoding: snappy\r\n"
#define V1 "Content-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\n"

static struct rig rig;

static int start(void **state)
{
    rig = (struct rig){0};
    rig_start(&rig, &(struct rig_options){.write_queue_max_bytes = 150000});
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
    expect(write_with("Content-Type: application/x-protobuf;proto=io.prometheus.write.v3.Request\r\n", 1, 1, false),
           415, "io.prometheus.write.v3.Request protobuf message is not accepted");
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
            assert_non_null(strstr(writers[i].reply.body, "--remote-write.max-queue-size is 150000"));
        reply_free(&writers[i].reply);
    }
    assert_int_equal(stored + refused, 12);
    assert_true(stored >= 1 && refused >= 1);
    expect(write_with(V1, 1, 1, false), 204, "");
}

/* --- 2.0 --- */

/* As one literal of snappy: two series of one sample each, and with `odd` a third that has a reference too many. */
static struct reply write_2(bool odd, const char *headers)
{
    static const char MESSAGE[] = "\x22\x00\x22\x08__name__\x22\x02up\x22\x01x\x22\x01n"
                                  "\x2a\x13\x0a\x02\x01\x02\x12\x0b\x09\0\0\0\0\0\0\0\0\x10\x01\x2a\0"
                                  "\x2a\x15\x0a\x04\x01\x02\x04\x03\x12\x0b\x09\0\0\0\0\0\0\0\0\x10\x01\x2a\0";
    static const char ODD[] = "\x2a\x14\x0a\x03\x01\x02\x04\x12\x0b\x09\0\0\0\0\0\0\0\0\x10\x01\x2a\0";
    size_t n = sizeof MESSAGE - 1 + (odd ? sizeof ODD - 1 : 0);
    char body[256] = {(char)n, (char)(60 << 2), (char)(n - 1)};
    PRE(n < 128 && n + 3 <= sizeof body);
    memcpy(body + 3, MESSAGE, sizeof MESSAGE - 1);
    if (odd)
        memcpy(body + 3 + sizeof MESSAGE - 1, ODD, sizeof ODD - 1);
    return http_call(rig.port, "POST", "/api/v1/write", headers, body, n + 3);
}

/* What 2.0 asks for in every answer. */
static void expect_written(struct reply reply, int code, const char *samples, const char *part)
{
    char header[80];
    snprintf(header, sizeof header, "X-Prometheus-Remote-Write-Samples-Written: %s\r\n", samples);
    if (!strstr(reply.headers, header) ||
        !strstr(reply.headers, "X-Prometheus-Remote-Write-Histograms-Written: 0\r\n") ||
        !strstr(reply.headers, "X-Prometheus-Remote-Write-Exemplars-Written: 0\r\n"))
        fail_msg("wanted %s, got %s", header, reply.headers);
    expect(reply, code, part);
}

static void a_2_0_write_is_told_what_was_written(void **state)
{
    expect_written(write_2(false, V2), 204, "2", "");
    expect_written(write_2(true, V2), 400, "2", "invalid labelRefs length 3, got {__name__=\"up\"} (samples: 2 stored");
    rig.backend.append_refuses = 1;
    expect_written(write_2(false, V2), 400, "1", "out of order sample (samples: 1 stored, 0 known, 1 out of order");
    rig.backend.append_refuses = 0;
    rig.backend.append_fails = true;
    expect_written(write_2(false, V2), 500, "0", "disk full");
    rig.backend.append_fails = false;
    rig.backend.append_waits = true;
    expect_written(write_2(false, V2), 503, "0", "no space for writes");
    rig.backend.append_waits = false;
    expect_written(http_call(rig.port, "POST", "/api/v1/write", V2, "nonsense", 8), 400, "0", "snappy");
    expect_written(write_2(false, "Content-Type: application/x-protobuf;proto=io.prometheus.write.v2.Request\r\n"
                                  "Content-Encoding: zstd\r\n"),
                   415, "0", "zstd encoding");
    assert_int_equal(rig.backend.appended_requests, 3);
}

/* A sender of 1.0 would take zeros for samples that were lost. */
static void a_1_0_write_has_no_such_headers(void **state)
{
    struct reply reply = write_with(V1, 1, 1, false);
    assert_null(strstr(reply.headers, "X-Prometheus-Remote-Write"));
    expect(reply, 204, "");
    reply = write_with("Content-Type: application/x-protobuf;proto=a.b\r\n", 1, 1, false);
    assert_null(strstr(reply.headers, "X-Prometheus-Remote-Write"));
    expect(reply, 415, "a.b");
}

/* --- replicas --- */

static char directory[64];

static int start_ha(void **state)
{
    snprintf(directory, sizeof directory, "/tmp/promsplit-ingest-XXXXXX");
    assert_non_null(mkdtemp(directory));
    rig = (struct rig){0};
    rig_start(&rig, &(struct rig_options){.ha_directory = directory});
    return 0;
}

static int stop_ha(void **state)
{
    char path[96];
    rig_stop(&rig);
    snprintf(path, sizeof path, "%s/replicas.json", directory);
    unlink(path);
    return rmdir(directory);
}

static struct reply write_replica(const char *replica, bool with_metadata, bool with_another)
{
    struct label labels[] = {
        {STR("__name__"), STR("up")}, {STR("__replica__"), str_from(replica)}, {STR("cluster"), STR("c")}};
    struct sample samples[] = {{1, 1}, {2, 2}};
    struct append_series series[] = {{{labels, 3}, samples, 2}, {{labels, 1}, samples, 1}};
    struct metric_metadata metadata = {STR("up"), METRIC_GAUGE, STR("help"), STR("")};
    struct strbuf out;
    strbuf_init(&out, 1 << 16);
    assert_int_equal(write_request_encode(series, with_another ? 2 : 1, &metadata, with_metadata, &out, NULL), OK);
    struct reply reply = http_call(rig.port, "POST", "/api/v1/write", V1, out.ptr, out.len);
    strbuf_release(&out);
    return reply;
}

static void expect_metric(const char *line)
{
    struct strbuf text;
    strbuf_init(&text, 1 << 20);
    metrics_write(rig.app.metrics, &text);
    strbuf_char(&text, '\0');
    if (!strstr(text.ptr, line))
        fail_msg("no %s", line);
    strbuf_release(&text);
}

static void what_another_replica_sends_is_dropped_and_counted(void **state)
{
    expect(write_replica("a", false, false), 204, "");
    expect(write_replica("b", false, false), 202, "");
    assert_int_equal(rig.backend.appended_requests, 1);
    expect(write_replica("b", true, false), 204, ""); /* its metadata is everyone's */
    expect(write_replica("b", false, true), 204, ""); /* and so is a series of no pair */
    assert_int_equal(rig.backend.appended_requests, 3);
    expect(write_replica("a", false, false), 204, "");
    expect_metric("promsplit_write_samples_total{result=\"other_replica\"} 6\n");
    expect_metric("promsplit_write_samples_total{result=\"written\"} 5\n");
    expect_metric("promsplit_write_metadata_total{result=\"taken\"} 1\n");
    expect_metric("promsplit_write_requests_total{code=\"202\"} 1\n");
    expect_metric("promsplit_ha_elections_total{event=\"first\"} 1\n");
    expect_metric("promsplit_ha_elections_total{event=\"failover\"} 0\n");
    expect_metric("promsplit_ha_clusters 1\n");
}

static void after_a_restart_other_replicas_have_to_wait(void **state)
{
    expect(write_replica("a", false, false), 204, "");
    rig_stop(&rig);
    rig = (struct rig){0};
    rig_start(&rig, &(struct rig_options){.ha_directory = directory});
    struct reply reply = write_replica("b", false, true);
    assert_non_null(strstr(reply.headers, "Retry-After: 1"));
    expect(reply, 503, "replica \"b\" of cluster \"c\" has to wait");
    assert_int_equal(rig.backend.appended_requests, 0);
    expect(write_replica("a", false, false), 204, "");
    expect(write_replica("b", false, false), 202, "");
}

static void replicas_are_two_series_without_ha(void **state)
{
    expect(write_replica("a", false, false), 204, "");
    expect(write_replica("b", false, false), 204, "");
    assert_int_equal(rig.backend.appended_requests, 2);
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
        CASE(a_2_0_write_is_told_what_was_written),
        CASE(a_1_0_write_has_no_such_headers),
        cmocka_unit_test_setup_teardown(what_another_replica_sends_is_dropped_and_counted, start_ha, stop_ha),
        cmocka_unit_test_setup_teardown(after_a_restart_other_replicas_have_to_wait, start_ha, stop_ha),
        CASE(replicas_are_two_series_without_ha),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
