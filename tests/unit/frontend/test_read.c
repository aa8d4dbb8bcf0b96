/* tests/unit/frontend/test_read.c: remote reads that are no callbacks, and those that are refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rig.h"

#define SNAPPY "Content-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\n"

static struct rig rig;

static int start(void **state)
{
    rig = (struct rig){0};
    rig_start(&rig, NULL);
    return 0;
}

static int stop(void **state)
{
    rig_stop(&rig);
    return 0;
}

static struct reply read_with(const struct read_matcher *matchers, size_t n, bool streamed)
{
    size_t len;
    void *body = read_request(matchers, n, 0, 100000000, streamed, &len);
    struct reply reply = http_call(rig.port, "POST", "/api/v1/read", SNAPPY, body, len);
    free(body);
    return reply;
}

static void expect(struct reply reply, int code, const char *part)
{
    if (reply.code != code || !strstr(reply.body, part))
        fail_msg("wanted %d with \"%s\", got %d: %s", code, part, reply.code, reply.body);
    reply_free(&reply);
}

static const struct read_matcher plain[] = {{"__name__", "up"}};

static void a_plain_read_gives_samples(void **state)
{
    size_t series, samples;
    rig.backend.raw_samples = 2500;
    struct reply reply = read_with(plain, 1, false);
    assert_int_equal(reply.code, 200);
    assert_non_null(strstr(reply.headers, "Content-Encoding: snappy"));
    assert_non_null(strstr(reply.headers, "Content-Type: application/x-protobuf"));
    assert_true(samples_sum(&reply, &series, &samples) == 5000);
    assert_int_equal(series, 2);
    assert_int_equal(samples, 5000);
    reply_free(&reply);
    rig_expect_quiet(&rig);
}

static void a_plain_read_streams_chunks(void **state)
{
    rig.backend.raw_samples = 50000;
    rig.backend.series = 100;
    struct reply reply = read_with(plain, 1, true);
    assert_int_equal(reply.code, 200);
    assert_false(reply.broken);
    assert_non_null(strstr(reply.headers, "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse"));
    assert_null(strstr(reply.headers, "Content-Encoding"));
    assert_true(reply.body_len > 100 * 50000 / 120);
    reply_free(&reply);
    rig_expect_quiet(&rig);
}

static void a_failing_store_is_told_or_breaks_the_stream(void **state)
{
    rig.backend.raw_samples = 100000;
    rig.backend.series = 50;
    rig.backend.raw_fails_after = 2;
    expect(read_with(plain, 1, false), 500, "the disk broke\n");
    rig.backend.raw_fails_after = 3000;
    struct reply reply = read_with(plain, 1, true);
    assert_int_equal(reply.code, 200);
    assert_true(reply.broken);
    reply_free(&reply);
    rig_expect_quiet(&rig);
}

static void the_sample_limit_is_kept(void **state)
{
    rig.app.config.query_samples_max = 100;
    rig.backend.raw_samples = 51;
    expect(read_with(plain, 1, false), 400, "exceeded sample limit (100)");
    rig.backend.raw_samples = 50;
    struct reply reply = read_with(plain, 1, false);
    assert_int_equal(reply.code, 200);
    reply_free(&reply);
    rig_expect_quiet(&rig);
}

static void an_unknown_task_is_404(void **state)
{
    const struct read_matcher task[] = {{"__task_id__", "01234567890123456789012345"}, {"__task_kind__", "fragment"}};
    expect(read_with(task, 2, false), 404, "no such task: its query has ended, or this read reached another replica");
    expect(read_with(task, 2, true), 404, "no such task");
    const struct read_matcher kind[] = {{"__task_kind__", "fragment"}};
    expect(read_with(kind, 1, false), 404, "no such task");
}

static void what_is_no_read_is_refused(void **state)
{
    expect(http_call(rig.port, "POST", "/api/v1/read", SNAPPY, "nonsense", 8), 400, "");
    expect(http_call(rig.port, "POST", "/api/v1/read", "Content-Encoding: gzip\r\n", "x", 1), 415, "only snappy");
    expect(http_call(rig.port, "POST", "/api/v1/read", SNAPPY, "\xff\xff\xff\xff\x0fz", 6), 413, "");
    expect(http_get(rig.port, "/api/v1/read"), 405, "not allowed");
}

static void a_reader_who_leaves_closes_the_cursor(void **state)
{
    size_t len;
    rig.backend.raw_samples = 1000000;
    rig.backend.series = 1000;
    void *body = read_request(plain, 1, 0, INT64_C(1) << 50, true, &len);
    int fd = http_connect(rig.port);
    char head[128], some[1000];
    int n = snprintf(head, sizeof head,
                     "POST /api/v1/read HTTP/1.1\r\nHost: t\r\n" SNAPPY "Content-Length: %zu\r\n\r\n", len);
    http_send(fd, head, (size_t)n);
    http_send(fd, body, len);
    free(body);
    assert_true(read(fd, some, sizeof some) > 0);
    for (int i = 0; i < 2000 && rig.backend.cursors_open == 0; i++)
        poll(NULL, 0, 1);
    assert_int_equal(rig.backend.cursors_open, 1);
    close(fd);
    rig_expect_quiet(&rig);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_plain_read_gives_samples),
        CASE(a_plain_read_streams_chunks),
        CASE(a_failing_store_is_told_or_breaks_the_stream),
        CASE(the_sample_limit_is_kept),
        CASE(an_unknown_task_is_404),
        CASE(what_is_no_read_is_refused),
        CASE(a_reader_who_leaves_closes_the_cursor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
