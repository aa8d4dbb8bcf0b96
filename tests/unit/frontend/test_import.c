/* tests/unit/frontend/test_import.c: POST /api/v1/import: formats, packing, limits, what is answered. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/assert.h"
#include "rig.h"

#define JSON        "Content-Type: application/json\r\n"
#define OPENMETRICS "Content-Type: application/openmetrics-text; version=1.0.0\r\n"
#define LINE        "{\"metric\":{\"__name__\":\"a\"},\"values\":[1,2],\"timestamps\":[1,2]}\n"

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

static void expect_bytes(const char *path, const char *headers, const void *body, size_t n, int code, const char *part)
{
    struct reply reply = http_call(rig.port, "POST", path, headers, body, n);
    if (reply.code != code || !strstr(reply.body, part))
        fail_msg("wanted %d with \"%s\", got %d: %s", code, part, reply.code, reply.body);
    if (code == 503)
        assert_non_null(strstr(reply.headers, "Retry-After: 1"));
    reply_free(&reply);
}

static void expect(const char *path, const char *headers, const char *body, int code, const char *part)
{
    expect_bytes(path, headers, body, strlen(body), code, part);
}

static void each_format_is_stored(void **state)
{
    expect("/api/v1/import", JSON, LINE LINE, 204, "");
    expect("/api/v1/import", OPENMETRICS, "a 1 1\n# EOF\n", 204, "");
    expect("/api/v1/import", "Content-Type: text/plain\r\n", "a 1\n", 204, ""); /* now */
    expect("/api/v1/import?format=json", "", LINE, 204, "");
    expect("/api/v1/import?format=prometheus&timestamp=5000", JSON, "a 1\n", 204, "");
    assert_int_equal(rig.backend.appended_requests, 5);
}

static void what_is_bad_is_named_and_the_rest_is_stored(void **state)
{
    expect("/api/v1/import", JSON, LINE "{}\n" LINE "nonsense\n", 400,
           "line 2: no member \"metric\" (samples: 4 stored, 0 known");
    expect("/api/v1/import", OPENMETRICS, "a 1 1\n", 400, "line 1: the text does not end with # EOF");
    expect("/api/v1/import", JSON, "\n{\"metric\":{\"x\":\"y\"},\"values\":[1],\"timestamps\":[1]}", 400,
           "line 2: invalid metric name or labels");
    rig.backend.append_refuses = 1;
    expect("/api/v1/import", JSON, LINE, 400, "out of order sample (samples: 1 stored, 0 known, 1 out of order");
}

static void what_is_no_import_is_refused(void **state)
{
    expect("/api/v1/import", "Content-Type: text/html\r\n", LINE, 415, "content type \"text/html\" is none of");
    expect("/api/v1/import?format=csv", JSON, LINE, 400, "invalid parameter \"format\": \"csv\"");
    expect("/api/v1/import?format=prometheus&timestamp=x", "", "a 1\n", 400, "invalid parameter \"timestamp\": \"x\"");
    expect("/api/v1/import", JSON "Content-Encoding: br\r\n", LINE, 415, "br encoding");
    assert_int_equal(rig.backend.appended_requests, 0);
}

static void *packed(size_t bytes, size_t *ret_n)
{
    char *plain = malloc(bytes + 1);
    for (size_t i = 0; i < bytes; i++)
        plain[i] = LINE[i % (sizeof LINE - 1)];
    z_stream stream = {.next_in = (Bytef *)plain, .avail_in = (uInt)bytes};
    assert_int_equal(deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    size_t room = deflateBound(&stream, bytes);
    void *out = malloc(room);
    stream.next_out = out;
    stream.avail_out = (uInt)room;
    assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
    *ret_n = room - stream.avail_out;
    deflateEnd(&stream);
    free(plain);
    return out;
}

static void a_packed_body_is_unpacked_within_bounds(void **state)
{
    static const char HEADERS[] = JSON "Content-Encoding: gzip\r\n";
    size_t n, line = sizeof LINE - 1;
    void *body = packed(1000 * line, &n);
    expect_bytes("/api/v1/import", HEADERS, body, n, 204, "");
    expect_bytes("/api/v1/import", HEADERS, body, n - 4, 400, "gzip: unexpected end");
    memset((char *)body + n / 2, 0xff, n / 4);
    expect_bytes("/api/v1/import", HEADERS, body, n, 400, "gzip: ");
    free(body);
    expect("/api/v1/import", HEADERS, LINE, 400, "gzip: corrupt input");
    expect("/api/v1/import", HEADERS, "", 400, "gzip: unexpected end");
    body = packed((1 << 20) / line * line, &n); /* just within the limit of 1 MiB */
    expect_bytes("/api/v1/import", HEADERS, body, n, 204, "");
    free(body);
    body = packed((1 << 20) + 1, &n);
    expect_bytes("/api/v1/import", HEADERS, body, n, 413, "gzip: more than the 1048576 bytes allowed");
    free(body);
}

static void a_body_over_the_limit_is_413(void **state)
{
    size_t n = (1 << 20) + 1;
    char *body = calloc(1, n);
    expect_bytes("/api/v1/import", JSON, body, n, 413, "1048576");
    free(body);
}

static void a_store_that_fails_is_5xx(void **state)
{
    rig.backend.append_fails = true;
    expect("/api/v1/import", JSON, LINE, 500, "disk full");
    rig.backend.append_fails = false;
    rig.backend.append_waits = true;
    expect("/api/v1/import", JSON, LINE, 503, "no space for writes");
    rig.backend.append_waits = false;
    expect("/api/v1/import", JSON, LINE, 204, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_format_is_stored, start, stop),
        cmocka_unit_test_setup_teardown(what_is_bad_is_named_and_the_rest_is_stored, start, stop),
        cmocka_unit_test_setup_teardown(what_is_no_import_is_refused, start, stop),
        cmocka_unit_test_setup_teardown(a_packed_body_is_unpacked_within_bounds, start, stop),
        cmocka_unit_test_setup_teardown(a_body_over_the_limit_is_413, start, stop),
        cmocka_unit_test_setup_teardown(a_store_that_fails_is_5xx, start, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
