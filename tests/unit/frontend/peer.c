/* tests/unit/frontend/peer.c: see peer.h. */
#include "peer.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <snappy-c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/float_text.h"
#include "proto/remote.pb-c.h"

#define TASKS_MAX     16
#define TASK_ID_CHARS 26

/* --- a small HTTP client --- */

int http_connect(uint16_t port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        close(fd);
        return -1;
    }
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

void http_send(int fd, const void *bytes, size_t n)
{
    for (size_t sent = 0; sent < n;) {
        ssize_t part = send(fd, (const char *)bytes + sent, n - sent, MSG_NOSIGNAL);
        if (part <= 0)
            return; /* the other end answered and closed; the reply tells */
        sent += (size_t)part;
    }
}

void http_say(int fd, const char *text)
{
    http_send(fd, text, strlen(text));
}

struct input {
    int fd;
    char *bytes;
    size_t len, capacity, at;
};

static bool input_more(struct input *input)
{
    if (input->capacity - input->len < 65536) {
        input->capacity = input->capacity * 2 + 131072;
        input->bytes = realloc(input->bytes, input->capacity);
        INVARIANT(input->bytes);
    }
    ssize_t n = recv(input->fd, input->bytes + input->len, 65536, 0);
    input->len += n > 0 ? (size_t)n : 0;
    return n > 0;
}

static char *find_header(const char *headers, const char *name)
{
    size_t len = strlen(name);
    for (const char *line = strstr(headers, "\r\n"); line; line = strstr(line + 2, "\r\n"))
        if (strncasecmp(line + 2, name, len) == 0 && line[2 + len] == ':')
            return strdup(line + 3 + len + strspn(line + 3 + len, " "));
    return NULL;
}

static long header_number(const char *headers, const char *name)
{
    char *value = find_header(headers, name);
    long number = value ? strtol(value, NULL, 10) : -1;
    free(value);
    return number;
}

static bool take_exactly(struct input *input, size_t n, char **ret_bytes)
{
    while (input->len - input->at < n)
        if (!input_more(input))
            return false;
    *ret_bytes = input->bytes + input->at;
    input->at += n;
    return true;
}

static bool take_headers(struct input *input, char **ret_headers)
{
    char *end;
    while (!(end = input->len > input->at ? memmem(input->bytes + input->at, input->len - input->at, "\r\n\r\n", 4)
                                          : NULL))
        if (!input_more(input))
            return false;
    size_t len = (size_t)(end - (input->bytes + input->at)) + 2;
    *ret_headers = strndup(input->bytes + input->at, len);
    input->at += len + 2;
    return true;
}

static bool take_chunked(struct input *input, struct reply *reply)
{
    for (;;) {
        char *end;
        while (!(end = memmem(input->bytes + input->at, input->len - input->at, "\r\n", 2)))
            if (!input_more(input))
                return false;
        size_t size = strtoul(input->bytes + input->at, NULL, 16);
        input->at = (size_t)(end - input->bytes) + 2;
        char *bytes;
        if (!take_exactly(input, size + 2, &bytes))
            return false;
        if (size == 0)
            return true;
        reply->body = realloc(reply->body, reply->body_len + size + 1);
        INVARIANT(reply->body);
        memcpy(reply->body + reply->body_len, bytes, size);
        reply->body_len += size;
        reply->body[reply->body_len] = '\0';
    }
}

static void take_body(struct input *input, struct reply *reply)
{
    char *chunked = find_header(reply->headers, "Transfer-Encoding");
    long length = header_number(reply->headers, "Content-Length");
    char *bytes;
    if (chunked) {
        reply->broken = !take_chunked(input, reply);
    } else if (length > 0) {
        reply->broken = !take_exactly(input, (size_t)length, &bytes);
        if (!reply->broken) {
            free(reply->body);
            reply->body = malloc((size_t)length + 1);
            INVARIANT(reply->body);
            memcpy(reply->body, bytes, (size_t)length);
            reply->body[length] = '\0';
            reply->body_len = (size_t)length;
        }
    }
    free(chunked);
}

static struct reply receive(struct input *input, bool head)
{
    struct reply reply = {.body = strdup("")};
    if (!take_headers(input, &reply.headers))
        return reply;
    reply.code = atoi(reply.headers + strlen("HTTP/1.1 "));
    if (!head && reply.code != 204)
        take_body(input, &reply);
    return reply;
}

/* Reads one reply; bytes of a next one are put back by peeking first, so pipelined replies can be read in turn. */
struct reply http_receive(int fd, bool head)
{
    struct input input = {.fd = fd};
    struct reply reply = {.body = strdup("")};
    char one;
    input.capacity = 1 << 20;
    input.bytes = malloc(input.capacity);
    INVARIANT(input.bytes);
    /* Byte by byte up to the headers' end: what follows belongs to the body, or to the next reply. */
    while (!(input.len >= 4 && memcmp(input.bytes + input.len - 4, "\r\n\r\n", 4) == 0)) {
        if (input.len == input.capacity || recv(fd, &one, 1, 0) != 1) {
            free(input.bytes);
            return reply;
        }
        input.bytes[input.len++] = one;
    }
    reply.headers = strndup(input.bytes, input.len - 2);
    reply.code = atoi(reply.headers + strlen("HTTP/1.1 "));
    long length = header_number(reply.headers, "Content-Length");
    if (!head && reply.code != 204 && length > 0) {
        free(reply.body);
        reply.body = calloc(1, (size_t)length + 1);
        INVARIANT(reply.body);
        reply.body_len = (size_t)length;
        reply.broken = recv(fd, reply.body, (size_t)length, MSG_WAITALL) != length;
    }
    free(input.bytes);
    return reply;
}

struct reply http_call(uint16_t port, const char *method, const char *path, const char *headers, const void *body,
                       size_t body_len)
{
    int fd = http_connect(port);
    if (fd < 0)
        return (struct reply){.body = strdup("")};
    size_t max = strlen(path) + (headers ? strlen(headers) : 0) + 256;
    char *head = malloc(max);
    INVARIANT(head);
    int n = snprintf(head, max, "%s %s HTTP/1.1\r\nHost: test\r\n%s", method, path, headers ? headers : "");
    if (body)
        n += snprintf(head + n, max - (size_t)n, "Content-Length: %zu\r\n", body_len);
    n += snprintf(head + n, max - (size_t)n, "\r\n");
    http_send(fd, head, (size_t)n);
    free(head);
    if (body)
        http_send(fd, body, body_len);
    struct input input = {.fd = fd};
    struct reply reply = receive(&input, strcmp(method, "HEAD") == 0);
    free(input.bytes);
    close(fd);
    return reply;
}

struct reply http_get(uint16_t port, const char *path)
{
    return http_call(port, "GET", path, NULL, NULL, 0);
}

struct reply http_form(uint16_t port, const char *path, const char *form)
{
    return http_call(port, "POST", path, "Content-Type: application/x-www-form-urlencoded\r\n", form, strlen(form));
}

void reply_free(struct reply *reply)
{
    free(reply->headers);
    free(reply->body);
    *reply = (struct reply){0};
}

/* --- remote read --- */

void *read_request(const struct read_matcher *matchers, size_t n, int64_t start_ms, int64_t end_ms, bool streamed,
                   size_t *ret_len)
{
    Prometheus__LabelMatcher at[8], *pointers[8];
    PRE(n <= ARRAY_LENGTH(at));
    for (size_t i = 0; i < n; i++) {
        prometheus__label_matcher__init(&at[i]);
        at[i].name = (ProtobufCBinaryData){strlen(matchers[i].name), (uint8_t *)(uintptr_t)matchers[i].name};
        at[i].value = (ProtobufCBinaryData){strlen(matchers[i].value), (uint8_t *)(uintptr_t)matchers[i].value};
        pointers[i] = &at[i];
    }
    Prometheus__Query query = PROMETHEUS__QUERY__INIT, *queries = &query;
    query.start_timestamp_ms = start_ms;
    query.end_timestamp_ms = end_ms;
    query.n_matchers = n;
    query.matchers = pointers;
    Prometheus__ReadRequest request = PROMETHEUS__READ_REQUEST__INIT;
    Prometheus__ReadRequest__ResponseType types[] = {PROMETHEUS__READ_REQUEST__RESPONSE_TYPE__STREAMED_XOR_CHUNKS,
                                                     PROMETHEUS__READ_REQUEST__RESPONSE_TYPE__SAMPLES};
    request.n_queries = 1;
    request.queries = &queries;
    request.n_accepted_response_types = streamed ? 2 : 0;
    request.accepted_response_types = types;
    size_t len = prometheus__read_request__get_packed_size(&request), out_len = snappy_max_compressed_length(len);
    uint8_t *packed = malloc(len + 1);
    char *out = malloc(out_len);
    INVARIANT(packed && out);
    prometheus__read_request__pack(&request, packed);
    snappy_compress((const char *)packed, len, out, &out_len);
    free(packed);
    *ret_len = out_len;
    return out;
}

double samples_sum(const struct reply *reply, size_t *ret_series, size_t *ret_samples)
{
    size_t len;
    *ret_series = *ret_samples = 0;
    if (snappy_uncompressed_length(reply->body, reply->body_len, &len) != SNAPPY_OK)
        return -1;
    char *bytes = malloc(len + 1);
    INVARIANT(bytes);
    bool good = snappy_uncompress(reply->body, reply->body_len, bytes, &len) == SNAPPY_OK;
    Prometheus__ReadResponse *answer =
        good ? prometheus__read_response__unpack(NULL, len, (const uint8_t *)bytes) : NULL;
    free(bytes);
    if (!answer)
        return -1;
    double sum = 0;
    for (size_t q = 0; q < answer->n_results; q++)
        for (size_t s = 0; s < answer->results[q]->n_timeseries; s++, (*ret_series)++)
            for (size_t i = 0; i < answer->results[q]->timeseries[s]->n_samples; i++) {
                double value = answer->results[q]->timeseries[s]->samples[i]->value;
                sum += is_stale_marker(value) ? 0 : value;
                *ret_samples += !is_stale_marker(value);
            }
    prometheus__read_response__free_unpacked(answer, NULL);
    return sum;
}

/* --- the upstream --- */

struct asked {
    char ids[TASKS_MAX][TASK_ID_CHARS + 1];
    size_t ids_n;
    char query[8192]; /* decoded */
};

static void decode_form(const char *form, const char *name, char *out, size_t max)
{
    size_t len = strlen(name), n = 0;
    const char *at = form;
    while (at && !(strncmp(at, name, len) == 0 && at[len] == '='))
        at = strchr(at, '&') ? strchr(at, '&') + 1 : NULL;
    for (at = at ? at + len + 1 : ""; *at && *at != '&' && n + 1 < max; at++) {
        unsigned byte = (unsigned char)*at;
        if (*at == '%' && sscanf(at + 1, "%2x", &byte) == 1)
            at += 2;
        out[n++] = *at == '+' ? ' ' : (char)byte;
    }
    out[n] = '\0';
}

static void find_tasks(struct asked *asked)
{
    static const char NAME[] = "__task_id__=\"";
    for (const char *at = strstr(asked->query, NAME); at && asked->ids_n < TASKS_MAX; at = strstr(at + 1, NAME))
        memcpy(asked->ids[asked->ids_n++], at + sizeof NAME - 1, TASK_ID_CHARS);
}

static struct reply read_task(struct upstream_peer *peer, const char *id, bool streamed, bool stray)
{
    struct read_matcher matchers[] = {{"__task_id__", id}, {"__task_kind__", "fragment"}, {"cluster", "a"}};
    size_t len;
    void *request =
        read_request(matchers, stray ? 3 : 2, INT64_C(-1000000000000), INT64_C(4000000000000), streamed, &len);
    peer->reads++;
    struct reply reply =
        http_call(peer->read_port, "POST", "/api/v1/read",
                  "Content-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\n", request, len);
    free(request);
    return reply;
}

/* Begins a read and leaves: at once, or after the first bytes of the answer, with the rest never taken. */
static void read_and_leave(struct upstream_peer *peer, const char *id, bool streamed, bool at_once)
{
    struct read_matcher matchers[] = {{"__task_id__", id}, {"__task_kind__", "fragment"}};
    size_t len;
    void *request = read_request(matchers, 2, INT64_C(-1000000000000), INT64_C(4000000000000), streamed, &len);
    int fd = http_connect(peer->read_port), small = 4096;
    char head[256], some[512];
    peer->reads++;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    int n = snprintf(head, sizeof head,
                     "POST /api/v1/read HTTP/1.1\r\nHost: t\r\nContent-Encoding: snappy\r\nContent-Length: %zu\r\n\r\n",
                     len);
    http_send(fd, head, (size_t)n);
    http_send(fd, request, len);
    if (!at_once)
        n = (int)recv(fd, some, sizeof some, 0);
    else
        poll(NULL, 0, 50);
    close(fd);
    free(request);
}

static void send_json(int fd, int code, const char *body)
{
    char head[256];
    int n =
        snprintf(head, sizeof head, "HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
                 code, strlen(body));
    http_send(fd, head, (size_t)n);
    http_send(fd, body, strlen(body));
}

/* Reads what the mode wants read; the sum of the values, or of the whole reads when streamed. */
static double read_tasks(struct upstream_peer *peer, const struct asked *asked, int mode)
{
    double sum = 0;
    size_t n = mode == UPSTREAM_NO_CALLBACK || mode == UPSTREAM_BAD_DATA ? 0
               : mode == UPSTREAM_SOME_CALLBACKS && asked->ids_n         ? asked->ids_n - 1
                                                                         : asked->ids_n;
    if (mode == UPSTREAM_LATE)
        poll(NULL, 0, peer->late_ms);
    for (size_t i = 0; i < n; i++) {
        if (mode == UPSTREAM_CUT_CALLBACK || mode == UPSTREAM_IMPATIENT) {
            read_and_leave(peer, asked->ids[i], mode == UPSTREAM_CUT_CALLBACK, mode == UPSTREAM_IMPATIENT);
            continue;
        }
        for (int again = 0; again < (mode == UPSTREAM_TWICE ? 2 : 1); again++) {
            bool streamed = mode == UPSTREAM_GOOD_STREAMED;
            struct reply reply = read_task(peer, asked->ids[i], streamed, mode == UPSTREAM_STRAY);
            size_t series, samples;
            if (reply.code == 200 && !reply.broken)
                sum += streamed ? 1 : samples_sum(&reply, &series, &samples);
            reply_free(&reply);
        }
    }
    return sum;
}

static void answer_query(struct upstream_peer *peer, int fd, const char *form)
{
    struct asked asked = {0};
    char body[16384], quoted[8192];
    int mode = peer->mode;
    decode_form(form, "query", asked.query, sizeof asked.query);
    find_tasks(&asked);
    peer->queries++;
    pthread_mutex_lock(&peer->lock);
    snprintf(peer->last_form, sizeof peer->last_form, "%s", form);
    pthread_mutex_unlock(&peer->lock);
    while (mode == UPSTREAM_HANGS && !peer->ending) {
        char byte;
        if (recv(fd, &byte, 1, MSG_DONTWAIT) == 0)
            return; /* the client gave up */
        poll(NULL, 0, 5);
    }
    double sum = read_tasks(peer, &asked, mode);
    const char *extra =
        mode == UPSTREAM_WARNS ? ",\"warnings\":[\"remote_read: remote server returned HTTP status 500\"]"
        : mode == UPSTREAM_INFOS
            ? ",\"warnings\":[\"a \\\"w\\u00e4rning\\\"\"],\"infos\":[\"metric might not be a counter\"]"
            : "";
    size_t n = 0;
    for (const char *at = asked.query; *at && n + 3 < sizeof quoted; at++) {
        if (*at == '"' || *at == '\\')
            quoted[n++] = '\\';
        quoted[n++] = *at;
    }
    quoted[n] = '\0';
    if (mode == UPSTREAM_BAD_DATA)
        snprintf(body, sizeof body, "{\"status\":\"error\",\"errorType\":\"execution\",\"error\":\"cannot: %s\"}",
                 quoted);
    else if (mode == UPSTREAM_GARBAGE)
        snprintf(body, sizeof body, "<html>proxy</html>");
    else if (mode == UPSTREAM_THREE)
        snprintf(body, sizeof body,
                 "{\"status\":\"success\",\"data\":{\"resultType\":\"vector\",\"result\":[{\"metric\":{\"a\":\"1\"},"
                 "\"value\":[1,\"1\"]},{\"metric\":{\"a\":\"2\"},\"value\":[1,\"2\"]},{\"metric\":{\"a\":\"]\"},"
                 "\"value\":[1,\"3\"]}]}}");
    else
        snprintf(body, sizeof body,
                 "{\"status\":\"success\",\"data\":{\"resultType\":\"vector\",\"result\":[{\"metric\":{},\"value\":[1,"
                 "\"%.0f\"]}]}%s}",
                 sum, extra);
    send_json(fd, mode == UPSTREAM_BAD_DATA ? 422 : mode == UPSTREAM_GARBAGE ? 502 : 200, body);
}

static void answer_config(struct upstream_peer *peer, int fd)
{
    char body[8192];
    size_t n = (size_t)snprintf(body, sizeof body, "{\"status\":\"success\",\"data\":{\"yaml\":\"");
    for (const char *at = peer->config_yaml; *at && n + 8 < sizeof body; at++) {
        if (*at == '\n' || *at == '"')
            body[n++] = '\\';
        body[n++] = *at == '\n' ? 'n' : *at;
    }
    snprintf(body + n, sizeof body - n, "\"}}");
    send_json(fd, 200, body);
}

static void answer(struct upstream_peer *peer, int fd, const char *head, const char *form)
{
    char body[512];
    if (strstr(head, "/api/v1/query"))
        answer_query(peer, fd, form);
    else if (strstr(head, "/status/config"))
        answer_config(peer, fd);
    else if (strstr(head, "/status/flags"))
        send_json(fd, 200, "{\"status\":\"success\",\"data\":{\"query.lookback-delta\":\"4m\"}}");
    else if (strstr(head, "/status/buildinfo")) {
        snprintf(body, sizeof body, "{\"status\":\"success\",\"data\":{\"version\":\"%s\"}}", peer->version);
        send_json(fd, 200, body);
    } else
        send_json(fd, 404, "{}");
}

struct visit {
    struct upstream_peer *peer;
    int fd;
};

static void *serve_connection(void *arg)
{
    struct visit visit = *(struct visit *)arg;
    struct input input = {.fd = visit.fd};
    char *head, *bytes;
    free(arg);
    while (!visit.peer->ending && take_headers(&input, &head)) {
        long length = header_number(head, "Content-Length");
        char *form = calloc(1, length > 0 ? (size_t)length + 1 : 1);
        INVARIANT(form);
        bool whole = length <= 0 || take_exactly(&input, (size_t)length, &bytes);
        if (whole && length > 0)
            memcpy(form, bytes, (size_t)length);
        if (whole)
            answer(visit.peer, visit.fd, head, form);
        free(form);
        free(head);
    }
    free(input.bytes);
    close(visit.fd);
    visit.peer->connections--;
    return NULL;
}

static void *accept_connections(void *arg)
{
    struct upstream_peer *peer = arg;
    while (!peer->ending) {
        struct pollfd poller = {.fd = peer->listener, .events = POLLIN};
        if (poll(&poller, 1, 20) != 1)
            continue;
        int fd = accept4(peer->listener, NULL, NULL, SOCK_CLOEXEC);
        struct timeval patience = {.tv_sec = 30};
        struct visit *visit = malloc(sizeof *visit);
        pthread_t thread;
        INVARIANT(fd >= 0 && visit);
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        *visit = (struct visit){peer, fd};
        peer->connections++;
        INVARIANT(pthread_create(&thread, NULL, serve_connection, visit) == 0);
        pthread_detach(thread);
    }
    return NULL;
}

void upstream_peer_start(struct upstream_peer *peer)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    peer->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    INVARIANT(bind(peer->listener, (struct sockaddr *)&address, sizeof address) == 0);
    INVARIANT(listen(peer->listener, 256) == 0);
    INVARIANT(getsockname(peer->listener, (struct sockaddr *)&address, &len) == 0);
    peer->port = ntohs(address.sin_port);
    pthread_mutex_init(&peer->lock, NULL);
    if (!peer->version)
        peer->version = "3.5.0";
    if (!peer->config_yaml)
        peer->config_yaml = "global:\n  evaluation_interval: 30s\nremote_read:\n- url: http://x/api/v1/read\n"
                            "  read_recent: true\n";
    INVARIANT(pthread_create(&peer->thread, NULL, accept_connections, peer) == 0);
}

void upstream_peer_stop(struct upstream_peer *peer)
{
    peer->ending = true;
    pthread_join(peer->thread, NULL);
    close(peer->listener);
    while (peer->connections)
        poll(NULL, 0, 2);
    pthread_mutex_destroy(&peer->lock);
}
