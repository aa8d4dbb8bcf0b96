/* tests/unit/remote/test_remote_upstream.c: the upstream client against small scripted HTTP servers in threads. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/strbuf.h"
#include "remote/upstream.h"

/* --- a scripted server: a thread per connection, each request handed to the script --- */

#define CONNECTIONS_MAX 512

struct request_seen {
    const char *line; /* "GET /path HTTP/1.1" */
    const char *head; /* all of it */
    struct str body;
};

struct server;

/* Answers one request; false: close the connection. */
typedef bool script(struct server *server, int fd, const struct request_seen *request);

struct server {
    script *_Atomic answer;
    int listener;
    int port;
    pthread_t thread;
    pthread_t workers[CONNECTIONS_MAX];
    int fds[CONNECTIONS_MAX];
    size_t workers_n;
    pthread_mutex_t lock; /* guards fds, last_head, last_body */
    char last_head[4096], last_body[4096];
    _Atomic int connections, requests, busy, busy_max, hangups;
    _Atomic bool stopping;
    int delay_ms;
};

static void send_text(int fd, const char *text, size_t n)
{
    while (n > 0) {
        ssize_t sent = send(fd, text, n, MSG_NOSIGNAL);
        if (sent <= 0)
            return;
        text += sent;
        n -= (size_t)sent;
    }
}

static void send_answer(int fd, const char *status, const char *headers, const char *body)
{
    char head[512];
    int n = snprintf(head, sizeof head, "HTTP/1.1 %s\r\nContent-Length: %zu\r\n%s\r\n", status, strlen(body), headers);
    send_text(fd, head, (size_t)n);
    send_text(fd, body, strlen(body));
}

static void sleep_ms(int ms)
{
    const struct timespec pause = {ms / 1000, ms % 1000 * 1000000L};
    nanosleep(&pause, NULL);
}

/* Reads one request; false when the peer has closed. */
static bool receive_request(int fd, char *buffer, size_t size, size_t *have, size_t *ret_head, size_t *ret_body)
{
    for (;;) {
        char *end = *have ? memmem(buffer, *have, "\r\n\r\n", 4) : NULL;
        if (end) {
            size_t head = (size_t)(end - buffer) + 4;
            end[2] = '\0';
            const char *length = strcasestr(buffer, "\r\nContent-Length:");
            size_t body = length ? strtoul(length + 17, NULL, 10) : 0;
            end[2] = '\r';
            if (*have >= head + body) {
                *ret_head = head;
                *ret_body = body;
                return true;
            }
        }
        PRE(*have < size);
        ssize_t n = recv(fd, buffer + *have, size - *have, 0);
        if (n <= 0)
            return false;
        *have += (size_t)n;
    }
}

struct connection {
    struct server *server;
    int fd;
};

static void serve_request(struct server *server, int fd, char *buffer, size_t head, size_t body, bool *go_on)
{
    buffer[head - 2] = '\0';
    struct request_seen request = {.head = buffer, .body = {buffer + head, body}};
    char line[512];
    snprintf(line, sizeof line, "%.*s", (int)strcspn(buffer, "\r"), buffer);
    request.line = line;
    pthread_mutex_lock(&server->lock);
    snprintf(server->last_head, sizeof server->last_head, "%s", buffer);
    snprintf(server->last_body, sizeof server->last_body, "%.*s", (int)body, buffer + head);
    pthread_mutex_unlock(&server->lock);
    atomic_fetch_add(&server->requests, 1);
    int busy = atomic_fetch_add(&server->busy, 1) + 1;
    int most = atomic_load(&server->busy_max);
    while (busy > most && !atomic_compare_exchange_weak(&server->busy_max, &most, busy))
        ;
    script *answer = atomic_load(&server->answer);
    *go_on = answer(server, fd, &request);
    atomic_fetch_sub(&server->busy, 1);
}

static void *serve_connection(void *arg)
{
    struct connection connection = *(struct connection *)arg;
    free(arg);
    enum {
        SIZE = 1 << 20
    };
    char *buffer = malloc(SIZE);
    size_t have = 0, head, body;
    bool go_on = true;
    while (go_on && receive_request(connection.fd, buffer, SIZE, &have, &head, &body)) {
        serve_request(connection.server, connection.fd, buffer, head, body, &go_on);
        have -= head + body;
        memmove(buffer, buffer + head + body, have);
    }
    if (go_on)
        atomic_fetch_add(&connection.server->hangups, 1); /* the peer closed */
    shutdown(connection.fd, SHUT_RDWR);
    free(buffer);
    return NULL;
}

static void *serve(void *arg)
{
    struct server *server = arg;
    for (;;) {
        int fd = accept(server->listener, NULL, NULL);
        if (fd < 0)
            return NULL;
        int on = 1; /* head and body are sent one by one */
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        atomic_fetch_add(&server->connections, 1);
        struct connection *connection = malloc(sizeof *connection);
        *connection = (struct connection){server, fd};
        pthread_mutex_lock(&server->lock);
        size_t at = server->workers_n++;
        server->fds[at] = fd;
        pthread_mutex_unlock(&server->lock);
        pthread_create(&server->workers[at], NULL, serve_connection, connection);
    }
}

static void server_start(struct server *server, script *answer)
{
    *server = (struct server){.answer = answer};
    pthread_mutex_init(&server->lock, NULL);
    server->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof address;
    assert_int_equal(bind(server->listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(server->listener, 512), 0);
    assert_int_equal(getsockname(server->listener, (struct sockaddr *)&address, &size), 0);
    server->port = ntohs(address.sin_port);
    pthread_create(&server->thread, NULL, serve, server);
}

static void server_stop(struct server *server)
{
    atomic_store(&server->stopping, true);
    shutdown(server->listener, SHUT_RDWR);
    pthread_join(server->thread, NULL);
    close(server->listener);
    for (size_t i = 0; i < server->workers_n; i++)
        shutdown(server->fds[i], SHUT_RDWR);
    for (size_t i = 0; i < server->workers_n; i++) {
        pthread_join(server->workers[i], NULL);
        close(server->fds[i]);
    }
    pthread_mutex_destroy(&server->lock);
}

/* --- scripts --- */

static bool answer_ok(struct server *server, int fd, const struct request_seen *request)
{
    if (server->delay_ms)
        sleep_ms(server->delay_ms);
    send_answer(fd, "200 OK", "Content-Type: application/json\r\n", "{\"status\":\"success\"}");
    return true;
}

static bool answer_503(struct server *server, int fd, const struct request_seen *request)
{
    send_answer(fd, "503 Service Unavailable", "", "too busy");
    return true;
}

static bool answer_empty(struct server *server, int fd, const struct request_seen *request)
{
    send_answer(fd, "204 No Content", "", "");
    return true;
}

static bool answer_redirect(struct server *server, int fd, const struct request_seen *request)
{
    send_answer(fd, "302 Found", "Location: http://127.0.0.1:1/elsewhere\r\n", "moved");
    return true;
}

static bool answer_half(struct server *server, int fd, const struct request_seen *request)
{
    const char *text = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly a part";
    send_text(fd, text, strlen(text));
    return false;
}

static bool answer_by_hanging_up(struct server *server, int fd, const struct request_seen *request)
{
    return false;
}

static bool answer_garbage(struct server *server, int fd, const struct request_seen *request)
{
    send_text(fd, "this is no HTTP\r\n\r\n", 19);
    return false;
}

static bool answer_huge_declared(struct server *server, int fd, const struct request_seen *request)
{
    const char *text = "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\nx";
    send_text(fd, text, strlen(text));
    while (!atomic_load(&server->stopping) && send(fd, "x", 1, MSG_NOSIGNAL) == 1)
        sleep_ms(1);
    return false;
}

static bool answer_huge_chunked(struct server *server, int fd, const struct request_seen *request)
{
    const char *head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    send_text(fd, head, strlen(head));
    char chunk[4 + 2 + 4096 + 2];
    memset(chunk, 'x', sizeof chunk);
    memcpy(chunk, "1000\r\n", 6);
    memcpy(chunk + 6 + 4096, "\r\n", 2);
    while (!atomic_load(&server->stopping) && send(fd, chunk, sizeof chunk, MSG_NOSIGNAL) == (ssize_t)sizeof chunk)
        ;
    return false;
}

/* Waits until the client hangs up or the server stops. */
static bool answer_never(struct server *server, int fd, const struct request_seen *request)
{
    char c;
    if (recv(fd, &c, 1, 0) == 0 && !atomic_load(&server->stopping))
        atomic_fetch_add(&server->hangups, 1);
    return false;
}

/* Never answers paths that begin with /never. */
static bool answer_some(struct server *server, int fd, const struct request_seen *request)
{
    return strstr(request->line, " /never") ? answer_never(server, fd, request) : answer_ok(server, fd, request);
}

/* Answers, then closes a kept-alive connection without saying so. */
static bool answer_once(struct server *server, int fd, const struct request_seen *request)
{
    answer_ok(server, fd, request);
    return false;
}

/* --- helpers --- */

static struct upstream *client(const struct server *server, const char *credentials, unsigned connections_max)
{
    char url[128];
    snprintf(url, sizeof url, "http://%s127.0.0.1:%d/", credentials, server->port);
    const struct upstream_options options = {.peer = "upstream",
                                             .url = url,
                                             .connections_max = connections_max,
                                             .connect_timeout_ms = 2000,
                                             .answer_max_bytes = 100000,
                                             .user_agent = "test/1"};
    struct upstream *upstream;
    struct error error;
    assert_int_equal(upstream_new(&options, &upstream, &error), OK);
    return upstream;
}

static struct upstream_answer call(struct upstream *upstream, const char *path, int64_t timeout_ms)
{
    const struct upstream_request request = {.method = "GET", .path = path, .deadline_ms = monotonic_ms() + timeout_ms};
    struct upstream_answer answer;
    upstream_call(upstream, &request, &answer);
    return answer;
}

static void assert_works(struct upstream *upstream)
{
    struct upstream_answer answer = call(upstream, "/again", 5000);
    assert_int_equal(answer.status, OK);
    assert_int_equal(answer.http_code, 200);
    free(answer.body);
}

/* Answers of requests sent without waiting. */
struct collector {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int done;
    int by_status[STATUS_MAX];
    struct error last;
    struct upstream *chain; /* send one more from `done` */
};

static void collect(void *arg, struct upstream_answer *answer)
{
    struct collector *collector = arg;
    free(answer->body);
    pthread_mutex_lock(&collector->lock);
    collector->done++;
    collector->by_status[answer->status]++;
    collector->last = answer->error;
    struct upstream *chain = collector->chain;
    collector->chain = NULL;
    pthread_cond_broadcast(&collector->changed);
    pthread_mutex_unlock(&collector->lock);
    if (chain) {
        const struct upstream_request next = {
            .method = "GET", .path = "/next", .deadline_ms = monotonic_ms() + 5000, .done = collect, .arg = arg};
        assert_int_equal(upstream_send(chain, &next, NULL), OK);
    }
}

static void collector_init(struct collector *collector)
{
    *collector = (struct collector){.done = 0};
    pthread_mutex_init(&collector->lock, NULL);
    pthread_cond_init(&collector->changed, NULL);
}

static void wait_for(struct collector *collector, int n)
{
    pthread_mutex_lock(&collector->lock);
    while (collector->done < n)
        pthread_cond_wait(&collector->changed, &collector->lock);
    pthread_mutex_unlock(&collector->lock);
}

static void collector_release(struct collector *collector)
{
    pthread_mutex_destroy(&collector->lock);
    pthread_cond_destroy(&collector->changed);
}

static void send_async(struct upstream *upstream, const char *path, int64_t timeout_ms, struct cancel *cancel,
                       struct collector *collector)
{
    const struct upstream_request request = {.method = "GET",
                                             .path = path,
                                             .deadline_ms = monotonic_ms() + timeout_ms,
                                             .cancel = cancel,
                                             .done = collect,
                                             .arg = collector};
    assert_int_equal(upstream_send(upstream, &request, NULL), OK);
}

static void wait_until_equal(_Atomic int *number, int want)
{
    for (int i = 0; i < 5000 && atomic_load(number) != want; i++)
        sleep_ms(1);
    assert_int_equal(atomic_load(number), want);
}

/* --- cases --- */

static void test_get_and_post(void **state)
{
    struct server server;
    server_start(&server, answer_ok);
    struct upstream *upstream = client(&server, "", 2);
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%d", server.port);
    assert_string_equal(upstream_url(upstream), url);

    struct upstream_answer answer = call(upstream, "/api/v1/query?query=up", 5000);
    assert_int_equal(answer.status, OK);
    assert_int_equal(answer.http_code, 200);
    assert_string_equal(answer.content_type, "application/json");
    assert_int_equal(answer.body_len, 20);
    assert_memory_equal(answer.body, "{\"status\":\"success\"}", 20);
    free(answer.body);
    assert_non_null(strstr(server.last_head, "GET /api/v1/query?query=up HTTP/1.1\r\n"));
    assert_non_null(strstr(server.last_head, "\r\nUser-Agent: test/1\r\n"));
    assert_null(strcasestr(server.last_head, "\r\nAuthorization:"));

    struct strbuf form;
    strbuf_init(&form, 1000);
    form_add(&form, "query", STR("sum(up{a=\"b c\"})"));
    form_add(&form, "step", STR("15"));
    const struct upstream_request post = {.method = "POST",
                                          .path = "/api/v1/query_range",
                                          .body = strbuf_view(&form),
                                          .deadline_ms = monotonic_ms() + 5000};
    upstream_call(upstream, &post, &answer);
    strbuf_release(&form);
    assert_int_equal(answer.status, OK);
    free(answer.body);
    assert_non_null(strstr(server.last_head, "POST /api/v1/query_range HTTP/1.1\r\n"));
    assert_non_null(strstr(server.last_head, "\r\nContent-Type: application/x-www-form-urlencoded\r\n"));
    assert_string_equal(server.last_body, "query=sum%28up%7Ba%3D%22b%20c%22%7D%29&step=15");
    upstream_free(upstream);
    upstream_free(NULL);
    server_stop(&server);
}

static void test_every_http_code_is_an_answer(void **state)
{
    static const struct {
        script *answer;
        int code;
        const char *body;
    } CASES[] = {{answer_503, 503, "too busy"}, {answer_empty, 204, ""}, {answer_redirect, 302, "moved"}};
    for (size_t i = 0; i < ARRAY_LENGTH(CASES); i++) {
        struct server server;
        server_start(&server, CASES[i].answer);
        struct upstream *upstream = client(&server, "", 1);
        struct upstream_answer answer = call(upstream, "/", 5000);
        assert_int_equal(answer.status, OK);
        assert_int_equal(answer.http_code, CASES[i].code);
        assert_int_equal(answer.body_len, strlen(CASES[i].body));
        if (answer.body_len)
            assert_memory_equal(answer.body, CASES[i].body, answer.body_len);
        assert_int_equal(atomic_load(&server.requests), 1); /* a redirect is not followed */
        free(answer.body);
        upstream_free(upstream);
        server_stop(&server);
    }
}

static void test_keeps_connections_alive(void **state)
{
    struct server server;
    server_start(&server, answer_ok);
    struct upstream *upstream = client(&server, "", 4);
    for (int i = 0; i < 50; i++)
        assert_works(upstream);
    assert_int_equal(atomic_load(&server.connections), 1);
    assert_int_equal(atomic_load(&server.requests), 50);
    struct upstream_stats stats = upstream_stats(upstream);
    assert_int_equal(stats.connections, 1);
    assert_int_equal(stats.sent, 50);
    assert_int_equal(stats.open, 0);
    assert_int_equal(stats.queued, 0);
    upstream_free(upstream);
    server_stop(&server);
}

/* A kept connection that the server has closed meanwhile is no error. */
static void test_survives_closed_connections(void **state)
{
    struct server server;
    server_start(&server, answer_once);
    struct upstream *upstream = client(&server, "", 4);
    for (int i = 0; i < 20; i++)
        assert_works(upstream);
    assert_int_equal(atomic_load(&server.requests), 20);
    upstream_free(upstream);
    server_stop(&server);
}

static void test_many_at_once(void **state)
{
    struct server server;
    server_start(&server, answer_ok);
    server.delay_ms = 2;
    struct upstream *upstream = client(&server, "", 8);
    struct collector collector;
    collector_init(&collector);
    for (int i = 0; i < 200; i++)
        send_async(upstream, "/parallel", 20000, NULL, &collector);
    wait_for(&collector, 200);
    assert_int_equal(collector.by_status[OK], 200);
    assert_int_equal(atomic_load(&server.requests), 200);
    assert_true(atomic_load(&server.busy_max) <= 8);
    assert_true(atomic_load(&server.busy_max) >= 4); /* they do run side by side */
    assert_true(atomic_load(&server.connections) <= 8);
    upstream_free(upstream);
    collector_release(&collector);
    server_stop(&server);
}

static void test_broken_peers(void **state)
{
    static script *const CASES[] = {answer_half, answer_by_hanging_up, answer_garbage};
    for (size_t i = 0; i < ARRAY_LENGTH(CASES); i++) {
        struct server server;
        server_start(&server, CASES[i]);
        struct upstream *upstream = client(&server, "user:secret@", 1);
        struct upstream_answer answer = call(upstream, "/api/v1/query?query=private", 5000);
        assert_int_equal(answer.status, E_UPSTREAM);
        assert_int_equal(answer.error.status, E_UPSTREAM);
        assert_null(answer.body);
        char url[64];
        snprintf(url, sizeof url, "upstream http://127.0.0.1:%d/api/v1/query: ", server.port);
        assert_non_null(strstr(answer.error.message, url));
        assert_null(strstr(answer.error.message, "secret"));
        assert_null(strstr(answer.error.message, "private"));
        atomic_store(&server.answer, answer_ok);
        assert_works(upstream);
        upstream_free(upstream);
        server_stop(&server);
    }
}

static void test_nobody_there(void **state)
{
    struct server server;
    server_start(&server, answer_ok);
    server_stop(&server); /* its port is closed now */
    struct upstream *upstream = client(&server, "user:secret@", 1);
    struct upstream_answer answer = call(upstream, "/", 5000);
    assert_int_equal(answer.status, E_UPSTREAM);
    assert_non_null(strstr(answer.error.message, "upstream http://127.0.0.1:"));
    assert_null(strstr(answer.error.message, "secret"));
    upstream_free(upstream);
}

static void test_huge_answers(void **state)
{
    static script *const CASES[] = {answer_huge_declared, answer_huge_chunked};
    for (size_t i = 0; i < ARRAY_LENGTH(CASES); i++) {
        struct server server;
        server_start(&server, CASES[i]);
        struct upstream *upstream = client(&server, "", 1);
        struct upstream_answer answer = call(upstream, "/", 5000);
        assert_int_equal(answer.status, E_LIMIT);
        assert_non_null(strstr(answer.error.message, "is longer than the allowed 100000 bytes"));
        assert_null(answer.body);
        upstream_free(upstream);
        server_stop(&server);
    }
}

static void test_deadlines(void **state)
{
    struct server server;
    server_start(&server, answer_some);
    struct upstream *upstream = client(&server, "", 1);
    int64_t begin = monotonic_ms();
    struct upstream_answer answer = call(upstream, "/never", 100);
    int64_t took = monotonic_ms() - begin;
    assert_int_equal(answer.status, E_TIMEOUT);
    assert_non_null(strstr(answer.error.message, "did not answer before the deadline"));
    assert_in_range(took, 100, 2000);
    wait_until_equal(&server.hangups, 1); /* Prometheus would cancel the query now */

    /* While one request holds the only connection, the next one's time runs out in the queue. */
    struct collector first, second;
    collector_init(&first);
    collector_init(&second);
    send_async(upstream, "/never", 60000, NULL, &first);
    send_async(upstream, "/queued", 100, NULL, &second);
    wait_for(&second, 1);
    assert_int_equal(second.by_status[E_TIMEOUT], 1);
    assert_int_equal(first.done, 0);

    /* A deadline that has passed already, and one that comes from the cancel. */
    send_async(upstream, "/late", -1, NULL, &second);
    wait_for(&second, 2);
    assert_int_equal(second.by_status[E_TIMEOUT], 2);
    struct cancel cancel;
    cancel_init(&cancel, monotonic_ms() + 50);
    send_async(upstream, "/never", 60000, &cancel, &second);
    wait_for(&second, 3);
    assert_int_equal(second.by_status[E_TIMEOUT], 3);
    cancel_release(&cancel);
    upstream_free(upstream);
    assert_int_equal(first.by_status[E_CANCELED], 1);
    collector_release(&first);
    collector_release(&second);
    server_stop(&server);
}

static void test_cancel(void **state)
{
    struct server server;
    server_start(&server, answer_some);
    struct upstream *upstream = client(&server, "", 1);
    struct cancel open, queued, fired, timed_out;
    cancel_init(&open, INT64_MAX);
    cancel_init(&queued, INT64_MAX);
    cancel_init(&fired, INT64_MAX);
    cancel_init(&timed_out, INT64_MAX);
    struct collector collector;
    collector_init(&collector);
    send_async(upstream, "/never", 60000, &open, &collector);
    wait_until_equal(&server.busy, 1);
    send_async(upstream, "/behind", 60000, &queued, &collector);
    send_async(upstream, "/behind", 60000, &timed_out, &collector);
    cancel_fire(&fired, E_CANCELED);
    send_async(upstream, "/behind", 60000, &fired, &collector); /* fired before it was sent */
    wait_for(&collector, 1);
    assert_int_equal(collector.by_status[E_CANCELED], 1);
    assert_string_equal(collector.last.message, "query was canceled in expression evaluation");
    cancel_fire(&queued, E_CANCELED);
    wait_for(&collector, 2);
    cancel_fire(&timed_out, E_TIMEOUT); /* the reason is the cancel's */
    wait_for(&collector, 3);
    assert_int_equal(collector.by_status[E_TIMEOUT], 1);
    int64_t begin = monotonic_ms();
    cancel_fire(&open, E_CANCELED);
    wait_for(&collector, 4);
    assert_true(monotonic_ms() - begin < 2000);
    assert_int_equal(collector.by_status[E_CANCELED], 3);
    wait_until_equal(&server.hangups, 1);
    assert_works(upstream);
    cancel_release(&open);
    cancel_release(&queued);
    cancel_release(&fired);
    cancel_release(&timed_out);
    upstream_free(upstream);
    collector_release(&collector);
    server_stop(&server);
}

/* A cancel that fires while its request is on the way to the client's thread is not lost. */
static void test_cancel_before_the_thread_sees_the_request(void **state)
{
    struct server server;
    server_start(&server, answer_never);
    struct upstream *upstream = client(&server, "", 1);
    struct collector collector;
    collector_init(&collector);
    for (int i = 1; i <= 300; i++) {
        struct cancel cancel;
        cancel_init(&cancel, INT64_MAX);
        if (i % 2)
            cancel_fire(&cancel, E_CANCELED);
        send_async(upstream, "/never", 5000, &cancel, &collector);
        cancel_fire(&cancel, E_CANCELED);
        wait_for(&collector, i);
        assert_int_equal(collector.by_status[E_CANCELED], i);
        cancel_release(&cancel);
    }
    upstream_free(upstream);
    collector_release(&collector);
    server_stop(&server);
}

/* Cancels fire from another thread while answers come in: every request ends exactly once. */
struct racer {
    struct cancel *cancels;
    int n;
};

static void *fire_all(void *arg)
{
    struct racer *racer = arg;
    for (int i = 0; i < racer->n; i++) {
        cancel_fire(&racer->cancels[i], E_CANCELED);
        if (i % 8 == 0)
            sleep_ms(1);
    }
    return NULL;
}

static void test_cancel_races_with_answers(void **state)
{
    enum {
        N = 150
    };
    struct server server;
    server_start(&server, answer_ok);
    struct upstream *upstream = client(&server, "", 4);
    struct cancel cancels[N];
    for (int i = 0; i < N; i++)
        cancel_init(&cancels[i], INT64_MAX);
    struct collector collector;
    collector_init(&collector);
    struct racer racer = {cancels, N};
    pthread_t thread;
    pthread_create(&thread, NULL, fire_all, &racer);
    for (int i = 0; i < N; i++)
        send_async(upstream, "/race", 20000, &cancels[i], &collector);
    wait_for(&collector, N);
    pthread_join(thread, NULL);
    assert_works(upstream);
    assert_int_equal(collector.done, N);
    assert_int_equal(collector.by_status[OK] + collector.by_status[E_CANCELED], N);
    for (int i = 0; i < N; i++)
        cancel_release(&cancels[i]);
    upstream_free(upstream);
    collector_release(&collector);
    server_stop(&server);
}

static void test_shutdown_ends_open_requests(void **state)
{
    struct server server;
    server_start(&server, answer_never);
    struct upstream *upstream = client(&server, "", 3);
    struct collector collector;
    collector_init(&collector);
    struct cancel cancel;
    cancel_init(&cancel, INT64_MAX);
    for (int i = 0; i < 10; i++)
        send_async(upstream, "/never", 60000, i % 2 ? &cancel : NULL, &collector);
    wait_until_equal(&server.busy, 3);
    struct upstream_stats stats = upstream_stats(upstream);
    assert_int_equal(stats.open, 3);
    assert_int_equal(stats.queued, 7);
    int64_t begin = monotonic_ms();
    upstream_free(upstream);
    assert_true(monotonic_ms() - begin < 2000);
    assert_int_equal(collector.by_status[E_CANCELED], 10);
    assert_non_null(strstr(collector.last.message, "shutting down"));
    cancel_release(&cancel); /* asserts that no hook is left */
    collector_release(&collector);
    server_stop(&server);
}

/* What `done` sends while the client shuts down is refused, not forgotten. */
struct retry {
    struct upstream *upstream;
    enum status ended, sent;
};

static void send_again(void *arg, struct upstream_answer *answer)
{
    struct retry *retry = arg;
    struct cancel cancel;
    cancel_init(&cancel, INT64_MAX);
    const struct upstream_request next = {
        .method = "GET", .path = "/", .deadline_ms = INT64_MAX, .cancel = &cancel, .done = send_again, .arg = arg};
    retry->ended = answer->status;
    retry->sent = upstream_send(retry->upstream, &next, NULL);
    cancel_release(&cancel); /* asserts that no hook is left */
}

static void test_refuses_requests_while_shutting_down(void **state)
{
    struct server server;
    server_start(&server, answer_never);
    struct retry retry = {.upstream = client(&server, "", 1)};
    const struct upstream_request request = {
        .method = "GET", .path = "/never", .deadline_ms = INT64_MAX, .done = send_again, .arg = &retry};
    assert_int_equal(upstream_send(retry.upstream, &request, NULL), OK);
    wait_until_equal(&server.busy, 1);
    upstream_free(retry.upstream);
    assert_int_equal(retry.ended, E_CANCELED);
    assert_int_equal(retry.sent, E_CANCELED);
    server_stop(&server);
}

static void test_sends_from_done(void **state)
{
    struct server server;
    server_start(&server, answer_ok);
    struct upstream *upstream = client(&server, "", 1);
    struct collector collector;
    collector_init(&collector);
    collector.chain = upstream;
    send_async(upstream, "/first", 5000, NULL, &collector);
    wait_for(&collector, 2);
    assert_int_equal(collector.by_status[OK], 2);
    upstream_free(upstream);
    collector_release(&collector);
    server_stop(&server);
}

static void test_credentials(void **state)
{
    struct server server;
    server_start(&server, answer_ok);
    struct upstream *upstream = client(&server, "me:p%40ss@", 1);
    assert_null(strstr(upstream_url(upstream), "p%40ss"));
    assert_works(upstream);
    assert_non_null(strstr(server.last_head, "\r\nAuthorization: Basic bWU6cEBzcw==\r\n")); /* me:p@ss */
    upstream_free(upstream);
    server_stop(&server);
}

static void test_path_prefix(void **state)
{
    struct server server;
    server_start(&server, answer_ok);
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%d/prom/one//", server.port);
    const struct upstream_options options = {.peer = "upstream",
                                             .url = url,
                                             .connections_max = 1,
                                             .connect_timeout_ms = 1000,
                                             .answer_max_bytes = 1000,
                                             .user_agent = "t"};
    struct upstream *upstream;
    assert_int_equal(upstream_new(&options, &upstream, NULL), OK);
    assert_works(upstream);
    assert_non_null(strstr(server.last_head, "GET /prom/one/again HTTP/1.1\r\n"));
    upstream_free(upstream);
    server_stop(&server);
}

static void test_bad_urls(void **state)
{
    static const char *const CASES[] = {
        "",          "localhost:9090",          "ftp://me:secret@host/", "http://",
        "file:///x", "http://me:secret@h/?a=b", "http://me:secret@h/#f", "http://me:secret@host:port/",
    };
    for (size_t i = 0; i < ARRAY_LENGTH(CASES); i++) {
        const struct upstream_options options = {.peer = "upstream",
                                                 .url = CASES[i],
                                                 .connections_max = 1,
                                                 .connect_timeout_ms = 1000,
                                                 .answer_max_bytes = 1,
                                                 .user_agent = "t"};
        struct upstream *upstream = NULL;
        struct error error;
        if (upstream_new(&options, &upstream, &error) != E_BAD_DATA)
            print_error("%s\n", CASES[i]);
        assert_null(upstream);
        assert_int_equal(error.status, E_BAD_DATA);
        assert_non_null(strstr(error.message, "upstream URL: "));
        assert_true(strchr(CASES[i], '?') || strchr(CASES[i], '#') ||
                    strstr(error.message, "one like http://host:9090"));
        assert_null(strstr(error.message, "secret"));
    }
}

static void test_form_encoding(void **state)
{
    struct strbuf form;
    strbuf_init(&form, 1000);
    form_add(&form, "a", STR(""));
    form_add(&form, "b", STR("az AZ09-._~+&=%/\n\0\xff"));
    assert_string_equal(form.ptr, "a=&b=az%20AZ09-._~%2B%26%3D%25%2F%0A%00%FF");
    strbuf_release(&form);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_get_and_post),
        cmocka_unit_test(test_every_http_code_is_an_answer),
        cmocka_unit_test(test_keeps_connections_alive),
        cmocka_unit_test(test_survives_closed_connections),
        cmocka_unit_test(test_many_at_once),
        cmocka_unit_test(test_broken_peers),
        cmocka_unit_test(test_nobody_there),
        cmocka_unit_test(test_huge_answers),
        cmocka_unit_test(test_deadlines),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_cancel_before_the_thread_sees_the_request),
        cmocka_unit_test(test_cancel_races_with_answers),
        cmocka_unit_test(test_shutdown_ends_open_requests),
        cmocka_unit_test(test_refuses_requests_while_shutting_down),
        cmocka_unit_test(test_sends_from_done),
        cmocka_unit_test(test_credentials),
        cmocka_unit_test(test_path_prefix),
        cmocka_unit_test(test_bad_urls),
        cmocka_unit_test(test_form_encoding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
