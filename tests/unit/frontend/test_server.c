/* tests/unit/frontend/test_server.c: the HTTP server: routes, bodies, answers, streams, leaving clients, stopping. */
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
#include <sys/socket.h>
#include <unistd.h>
#include <zlib.h>

#include "base/assert.h"
#include "rig.h"

#define PIECE_BYTES 300000

/* --- handlers and what they saw --- */

static atomic_int held, cancelled, timed_out, sent_complete, sent_cut, released_complete, released_cut, pulls;
static atomic_int stream_pieces, stream_fails_at;

static void forget(void)
{
    held = cancelled = timed_out = sent_complete = sent_cut = released_complete = released_cut = pulls = 0;
    stream_pieces = 10;
    stream_fails_at = -1;
}

/* name=value lines of everything decoded */
static void echo(struct http_request *request)
{
    struct strbuf out;
    strbuf_init(&out, 1 << 24);
    strbuf_f(&out, "method=%d path=" STR_FORMAT " wildcard=" STR_FORMAT "\n", (int)request->method,
             STR_ARG(request->path), STR_ARG(request->wildcard));
    for (size_t i = 0; i < request->params_n; i++)
        strbuf_f(&out, STR_FORMAT "=" STR_FORMAT "\n", STR_ARG(request->params[i].name),
                 STR_ARG(request->params[i].value));
    strbuf_str(&out, request->body);
    http_respond(request, 200, "text/plain", &out);
}

static void big(struct http_request *request)
{
    struct strbuf out;
    strbuf_init(&out, 1 << 20);
    for (int i = 0; i < 5000; i++)
        strbuf_cstr(&out, "{\"a\":1}");
    http_respond(request, 200, "application/json", &out);
}

static void *hold_until_cancelled(void *arg)
{
    struct http_request *request = arg;
    struct error error;
    while (cancel_check(&request->cancel, &error) == OK)
        poll(NULL, 0, 1);
    if (error.status == E_CANCELED)
        cancelled++;
    else
        timed_out++;
    http_respond_error(request, &error);
    return NULL;
}

static void hold(struct http_request *request)
{
    pthread_t thread;
    const struct str *ms = http_param(request, "ms");
    if (ms)
        http_set_deadline(request, request->received_ms + 50);
    held++;
    assert_int_equal(pthread_create(&thread, NULL, hold_until_cancelled, request), 0);
    pthread_detach(thread);
}

static enum status pull(void *arg, struct strbuf *out, bool *ret_done, struct error *reterr)
{
    int n = pulls++;
    if (n == stream_fails_at)
        return error_set(reterr, E_STORE, "broke");
    char *room = strbuf_reserve(out, PIECE_BYTES);
    memset(room, 'a' + n % 26, PIECE_BYTES);
    strbuf_commit(out, PIECE_BYTES);
    *ret_done = n + 1 == stream_pieces;
    return OK;
}

static void release(void *arg, bool complete)
{
    if (complete)
        released_complete++;
    else
        released_cut++;
}

static void stream(struct http_request *request)
{
    struct http_stream description = {.pull = pull, .release = release};
    http_respond_stream(request, 200, "application/octet-stream", NULL, &description);
}

static void sent(void *arg, bool complete)
{
    if (complete)
        sent_complete++;
    else
        sent_cut++;
}

static void then(struct http_request *request)
{
    struct strbuf out;
    strbuf_init(&out, 1 << 26);
    for (int i = 0; i < 3000000; i++)
        strbuf_cstr(&out, "0123456789");
    http_respond_then(request, 200, "application/x-test", NULL, &out, sent, NULL);
}

static const struct http_route routes[] = {
    {HTTP_GET | HTTP_POST, "/api/v1/echo", POOL_QUERIES, true, echo},
    {HTTP_GET, "/api/v1/label/*/values", POOL_QUERIES, true, echo},
    {HTTP_POST, "/raw", POOL_WRITES, false, echo},
    {HTTP_GET, "/big", POOL_QUERIES, true, big},
    {HTTP_GET, "/hold", POOL_QUERIES, true, hold},
    {HTTP_GET, "/stream", POOL_CALLBACKS, true, stream},
    {HTTP_GET, "/then", POOL_CALLBACKS, true, then},
    {HTTP_GET, "/callback", POOL_CALLBACKS, true, echo},
    {0},
};

static struct rig rig;

static int start(void **state)
{
    static const struct rig_options options = {.routes = routes, .connections_max = 20};
    forget();
    rig = (struct rig){0};
    rig_start(&rig, &options);
    return 0;
}

static int stop(void **state)
{
    rig_stop(&rig);
    return 0;
}

static void wait_for(atomic_int *number, int wanted)
{
    for (int i = 0; i < 5000 && *number < wanted; i++)
        poll(NULL, 0, 1);
    assert_int_equal(*number, wanted);
}

static void expect(struct reply reply, int code, const char *part)
{
    assert_int_equal(reply.code, code);
    assert_false(reply.broken);
    if (!strstr(reply.body, part))
        fail_msg("\"%s\" is not in: %s", part, reply.body);
    reply_free(&reply);
}

/* --- routes and parameters --- */

static void parameters_are_decoded(void **state)
{
    expect(http_get(rig.port, "/api/v1/echo?a=1&b=x%20y+z&c"), 200, "a=1\nb=x y z\nc=\n");
    expect(http_form(rig.port, "/api/v1/echo?a=1", "b=%7B%22%7D&d=2"), 200, "a=1\nb={\"}\nd=2\n");
    expect(http_get(rig.port, "/api/v1/label/a%2Fb/values"), 200, "wildcard=a/b\n");
    expect(http_call(rig.port, "POST", "/raw", NULL, "by\0tes", 6), 200, "by");
}

static void malformed_escapes_are_refused(void **state)
{
    expect(http_get(rig.port, "/api/v1/echo?a=%zz"), 400, "invalid URL escape \\\"%zz\\\"");
    expect(http_get(rig.port, "/api/v1/echo?a=%4"), 400, "\"errorType\":\"bad_data\"");
    expect(http_form(rig.port, "/api/v1/echo", "a=%"), 400, "invalid URL escape");
    expect(http_get(rig.port, "/api/v1/echo?a=1;b=2"), 400, "semicolon");
    expect(http_get(rig.port, "/api/v1/label/%q/values"), 400, "invalid URL escape");
}

static void unknown_paths_and_methods(void **state)
{
    expect(http_get(rig.port, "/api/v1/nothing"), 404, "\"errorType\":\"not_found\"");
    expect(http_get(rig.port, "/nothing"), 404, "no such path: /nothing\n");
    expect(http_get(rig.port, "/api/v1/label//values"), 404, "no such path");
    expect(http_get(rig.port, "/api/v1/label/a/b/values"), 404, "no such path");
    struct reply reply = http_call(rig.port, "DELETE", "/raw", NULL, NULL, 0);
    assert_non_null(strstr(reply.headers, "Allow: POST, OPTIONS"));
    expect(reply, 405, "method DELETE is not allowed");
    expect(http_form(rig.port, "/api/v1/nothing", "a=1"), 404, "no such path");
}

static void head_options_and_cors(void **state)
{
    struct reply reply = http_call(rig.port, "HEAD", "/big", NULL, NULL, 0);
    assert_int_equal(reply.code, 200);
    assert_int_equal(reply.body_len, 0);
    reply_free(&reply);
    reply = http_call(rig.port, "OPTIONS", "/api/v1/echo", "Origin: http://grafana\r\n", NULL, 0);
    assert_int_equal(reply.code, 204);
    assert_non_null(strstr(reply.headers, "Access-Control-Allow-Origin: *"));
    assert_non_null(strstr(reply.headers, "Access-Control-Allow-Methods: GET, POST, OPTIONS"));
    reply_free(&reply);
    reply = http_get(rig.port, "/big");
    assert_null(strstr(reply.headers, "Access-Control"));
    assert_non_null(strstr(reply.headers, "Vary: Origin"));
    reply_free(&reply);
}

/* --- bodies --- */

static void bodies_too_large_are_refused(void **state)
{
    char *body = calloc(1, 3 << 20);
    memset(body, 'a', 3 << 20);
    /* declared: refused without reading it */
    int fd = http_connect(rig.port);
    static const char head[] = "POST /raw HTTP/1.1\r\nHost: t\r\nContent-Length: 1048577\r\n\r\n";
    http_send(fd, head, sizeof head - 1);
    struct reply reply = http_receive(fd, false);
    expect(reply, 413, "request body of 1048577 bytes, at most 1048576 are taken");
    close(fd);
    /* real: chunked, nothing declared */
    fd = http_connect(rig.port);
    static const char chunked[] = "POST /raw HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n120000\r\n";
    http_send(fd, chunked, sizeof chunked - 1);
    http_send(fd, body, 0x120000);
    http_say(fd, "\r\n0\r\n\r\n");
    expect(http_receive(fd, false), 413, "at least 1179648 bytes, at most 1048576");
    close(fd);
    /* endless: cut off */
    fd = http_connect(rig.port);
    http_say(fd, "POST /raw HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n300000\r\n");
    http_send(fd, body, 0x300000);
    reply = http_receive(fd, false);
    assert_int_equal(reply.code, 0);
    reply_free(&reply);
    close(fd);
    expect(http_call(rig.port, "POST", "/raw", NULL, body, 1 << 20), 200, "aaaa");
    free(body);
}

static void a_form_of_another_type_is_refused(void **state)
{
    expect(http_call(rig.port, "POST", "/api/v1/echo", "Content-Type: application/json\r\n", "{}", 2), 415,
           "content type \\\"application/json\\\" is not taken");
}

static void gzip_when_asked_and_worth_it(void **state)
{
    struct reply plain = http_get(rig.port, "/big");
    struct reply reply = http_call(rig.port, "GET", "/big", "Accept-Encoding: deflate, gzip;q=0.5\r\n", NULL, 0);
    assert_non_null(strstr(reply.headers, "Content-Encoding: gzip"));
    assert_true(reply.body_len < plain.body_len / 4);
    char *out = calloc(1, plain.body_len + 1);
    z_stream z = {.next_in = (Bytef *)reply.body,
                  .avail_in = (uInt)reply.body_len,
                  .next_out = (Bytef *)out,
                  .avail_out = (uInt)plain.body_len};
    assert_int_equal(inflateInit2(&z, 15 + 16), Z_OK);
    assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
    inflateEnd(&z);
    assert_string_equal(out, plain.body);
    free(out);
    reply_free(&reply);
    reply_free(&plain);
    reply = http_call(rig.port, "GET", "/big", "Accept-Encoding: gzip;q=0\r\n", NULL, 0);
    assert_null(strstr(reply.headers, "Content-Encoding"));
    reply_free(&reply);
    reply = http_call(rig.port, "GET", "/api/v1/echo?a=1", "Accept-Encoding: gzip\r\n", NULL, 0);
    assert_null(strstr(reply.headers, "Content-Encoding"));
    reply_free(&reply);
}

static void connections_are_kept_and_requests_may_be_pipelined(void **state)
{
    int fd = http_connect(rig.port);
    char requests[1024];
    int n = 0;
    for (int i = 0; i < 10; i++)
        n +=
            snprintf(requests + n, sizeof requests - (size_t)n, "GET /api/v1/echo?i=%d HTTP/1.1\r\nHost: t\r\n\r\n", i);
    http_send(fd, requests, (size_t)n);
    for (int i = 0; i < 10; i++) {
        char wanted[16];
        snprintf(wanted, sizeof wanted, "i=%d\n", i);
        expect(http_receive(fd, false), 200, wanted);
    }
    http_say(fd, "GET /nothing HTTP/1.1\r\nHost: t\r\n\r\nGET /api/v1/echo?z HTTP/1.1\r\nHost: t\r\n\r\n");
    expect(http_receive(fd, false), 404, "no such path");
    expect(http_receive(fd, false), 200, "z=\n");
    close(fd);
}

/* --- leaving and deadlines --- */

static void a_client_who_leaves_cancels(void **state)
{
    int fd = http_connect(rig.port);
    http_say(fd, "GET /hold HTTP/1.1\r\nHost: t\r\n\r\n");
    wait_for(&held, 1);
    assert_int_equal(cancelled, 0);
    close(fd);
    wait_for(&cancelled, 1);
    expect(http_get(rig.port, "/api/v1/echo?a=1"), 200, "a=1");
}

static void a_deadline_fires(void **state)
{
    int64_t begun_ms = monotonic_ms();
    expect(http_get(rig.port, "/hold?ms=50"), 503, "query timed out in expression evaluation");
    assert_in_range(monotonic_ms() - begun_ms, 45, 2000);
    assert_int_equal(timed_out, 1);
}

static void sent_tells_what_became_of_an_answer(void **state)
{
    struct reply reply = http_get(rig.port, "/then");
    assert_int_equal(reply.body_len, 30000000);
    reply_free(&reply);
    wait_for(&sent_complete, 1);
    int fd = http_connect(rig.port);
    http_say(fd, "GET /then HTTP/1.1\r\nHost: t\r\n\r\n");
    char some[100];
    assert_true(recv(fd, some, sizeof some, 0) > 0);
    close(fd);
    wait_for(&sent_cut, 1);
    assert_int_equal(sent_complete, 1);
}

/* --- streams --- */

static void a_stream_arrives_whole(void **state)
{
    struct reply reply = http_get(rig.port, "/stream");
    assert_int_equal(reply.code, 200);
    assert_false(reply.broken);
    assert_int_equal(reply.body_len, 10 * PIECE_BYTES);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(reply.body[i * PIECE_BYTES], 'a' + i);
        assert_int_equal(reply.body[(i + 1) * PIECE_BYTES - 1], 'a' + i);
    }
    reply_free(&reply);
    wait_for(&released_complete, 1);
}

static void a_slow_reader_stops_the_pulling(void **state)
{
    stream_pieces = 1000000;
    int fd = http_connect(rig.port), small = 4096;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    http_say(fd, "GET /stream HTTP/1.1\r\nHost: t\r\n\r\n");
    poll(NULL, 0, 300);
    int before = pulls;
    poll(NULL, 0, 300);
    assert_int_equal(pulls, before); /* stands still: two buffers and the sockets are full */
    assert_in_range(before, 2, 60);
    close(fd);
    wait_for(&released_cut, 1);
}

static void a_failing_stream_is_broken_off(void **state)
{
    stream_fails_at = 3;
    struct reply reply = http_get(rig.port, "/stream");
    assert_int_equal(reply.code, 200);
    assert_true(reply.broken);
    reply_free(&reply);
    wait_for(&released_cut, 1);
    assert_int_equal(released_complete, 0);
}

static void *get_stream(void *arg)
{
    struct reply reply = http_get(rig.port, "/stream");
    reply_free(&reply);
    return NULL;
}

static void streams_run_side_by_side(void **state)
{
    pthread_t threads[8];
    stream_pieces = -1; /* pulls are counted over all; end by failing, at many different moments */
    stream_fails_at = 40;
    for (int i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, get_stream, NULL), 0);
    wait_for(&released_cut, 1);
    http_server_stop(rig.app.server, 50); /* the others are cut off */
    rig.app.server = NULL;
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(released_cut, 8);
}

/* --- limits and stopping --- */

static void callbacks_find_room_when_clients_fill_the_connections(void **state)
{
    int idle[20];
    for (int i = 0; i < 20; i++) {
        idle[i] = http_connect(rig.port);
        http_say(idle[i], "GET /api/v1/echo?a=1 HTTP/1.1\r\nHost: t\r\n\r\n");
        expect(http_receive(idle[i], false), 200, "a=1");
    }
    struct reply reply = http_get(rig.port, "/api/v1/echo?a=2");
    assert_non_null(strstr(reply.headers, "Connection: close"));
    expect(reply, 503, "too many connections: 21, at most 20 are served");
    expect(http_get(rig.port, "/callback"), 200, "path=/callback");
    for (int i = 0; i < 20; i++)
        close(idle[i]);
    for (int i = 0; i < 1000; i++) {
        reply = http_get(rig.port, "/api/v1/echo?a=3");
        bool served = reply.code == 200;
        reply_free(&reply);
        if (served)
            return;
        poll(NULL, 0, 1);
    }
    fail_msg("no room after the others left");
}

static void stopping_cancels_what_does_not_end(void **state)
{
    int fd = http_connect(rig.port);
    http_say(fd, "GET /hold HTTP/1.1\r\nHost: t\r\n\r\n");
    wait_for(&held, 1);
    int64_t begun_ms = monotonic_ms();
    http_server_stop(rig.app.server, 100);
    rig.app.server = NULL;
    assert_in_range(monotonic_ms() - begun_ms, 90, 3000);
    assert_int_equal(cancelled, 1);
    close(fd);
}

static void a_wrong_address_is_named(void **state)
{
    struct http_server *server;
    struct error error;
    struct http_options options = {.listen_address = "nonsense", .threads = 1, .connections_max = 10};
    assert_int_equal(http_server_start(&rig.app, &options, routes, &server, &error), E_BAD_DATA);
    assert_non_null(strstr(error.message, "\"nonsense\" is not host:port"));
    static const char *const PORTS[] = {":80800", "[::1]:65536", ":-1", "localhost:http"};
    for (size_t i = 0; i < ARRAY_LENGTH(PORTS); i++) {
        options.listen_address = PORTS[i];
        assert_int_equal(http_server_start(&rig.app, &options, routes, &server, &error), E_BAD_DATA);
        assert_non_null(strstr(error.message, PORTS[i]));
        assert_non_null(strstr(error.message, "the port is a number of 0 to 65535"));
    }
    char taken[32];
    snprintf(taken, sizeof taken, "127.0.0.1:%u", rig.port);
    options.listen_address = taken;
    assert_int_equal(http_server_start(&rig.app, &options, routes, &server, &error), E_UNAVAILABLE);
    assert_non_null(strstr(error.message, "in use"));
}

static void ipv6_and_any_address(void **state)
{
    static const char *const ADDRESSES[] = {":0", "0.0.0.0:0", "localhost:0"};
    for (size_t i = 0; i < ARRAY_LENGTH(ADDRESSES); i++) {
        struct http_server *server;
        struct error error = {.message = ""};
        struct http_options options = {
            .listen_address = ADDRESSES[i], .threads = 1, .connections_max = 10, .idle_timeout_ms = 1000};
        if (http_server_start(&rig.app, &options, routes, &server, &error) != OK)
            fail_msg("%s: %s", ADDRESSES[i], error.message);
        if (i < 2)
            expect(http_get(http_server_port(server), "/callback"), 200, "path=/callback");
        http_server_stop(server, 0);
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(parameters_are_decoded),
        CASE(malformed_escapes_are_refused),
        CASE(unknown_paths_and_methods),
        CASE(head_options_and_cors),
        CASE(bodies_too_large_are_refused),
        CASE(a_form_of_another_type_is_refused),
        CASE(gzip_when_asked_and_worth_it),
        CASE(connections_are_kept_and_requests_may_be_pipelined),
        CASE(a_client_who_leaves_cancels),
        CASE(a_deadline_fires),
        CASE(sent_tells_what_became_of_an_answer),
        CASE(a_stream_arrives_whole),
        CASE(a_slow_reader_stops_the_pulling),
        CASE(a_failing_stream_is_broken_off),
        CASE(streams_run_side_by_side),
        CASE(callbacks_find_room_when_clients_fill_the_connections),
        CASE(stopping_cancels_what_does_not_end),
        CASE(a_wrong_address_is_named),
        CASE(ipv6_and_any_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
