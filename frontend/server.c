/* frontend/server.c: the HTTP server on libmicrohttpd: start, stop, routes, and a request's way in.
 *
 * libmicrohttpd calls `on_request` several times for one request: when its headers are there, for each part of the
 * body, when the body is complete, and once more after the answer woke the connection. Everything that takes time
 * happens on pools. Errors found in the headers are answered after a small body was read past, so that the connection
 * stays in step; a body declared too large is refused at once and costs the connection.
 *
 * Elsewhere: server_internal.h has the map of the parts and the rules of references and locks.
 */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "frontend/api.h"
#include "frontend/server_internal.h"

#define CONNECTION_MEMORY_BYTES ((size_t)192 << 10) /* request line and headers: long queries by GET */
#define LISTEN_BACKLOG          1024
#define FILES_BESIDE            256 /* descriptors for everything that is no client connection */

/* --- counting --- */

void server_busy_add(struct http_server *server)
{
    pthread_mutex_lock(&server->lock);
    server->busy++;
    pthread_mutex_unlock(&server->lock);
}

bool server_busy_try(struct http_server *server)
{
    pthread_mutex_lock(&server->lock);
    bool open = !atomic_load(&server->aborting);
    server->busy += open;
    pthread_mutex_unlock(&server->lock);
    return open;
}

void server_busy_done(struct http_server *server)
{
    pthread_mutex_lock(&server->lock);
    INVARIANT(server->busy > 0);
    server->busy--;
    pthread_cond_broadcast(&server->idle);
    pthread_mutex_unlock(&server->lock);
}

void exchange_unref(struct exchange *exchange)
{
    if (atomic_fetch_sub(&exchange->references, 1) != 1)
        return;
    struct http_server *server = exchange->server;
    if (exchange->response)
        MHD_destroy_response(exchange->response);
    strbuf_release(&exchange->body);
    cancel_release(&exchange->request.cancel);
    arena_release(&exchange->request.arena);
    free(exchange);
    pthread_mutex_lock(&server->lock);
    server->exchanges_n--;
    pthread_cond_broadcast(&server->idle);
    pthread_mutex_unlock(&server->lock);
}

/* --- routes --- */

static unsigned method_of(const char *name)
{
    static const struct {
        const char *name;
        enum http_method method;
    } METHODS[] = {{"GET", HTTP_GET}, {"POST", HTTP_POST},     {"HEAD", HTTP_HEAD},
                   {"PUT", HTTP_PUT}, {"DELETE", HTTP_DELETE}, {"OPTIONS", HTTP_OPTIONS}};
    for (size_t i = 0; i < ARRAY_LENGTH(METHODS); i++)
        if (strcmp(METHODS[i].name, name) == 0)
            return METHODS[i].method;
    return 0;
}

/* '*' of the pattern stands for one segment that is not empty. */
static bool path_matches(const char *pattern, struct str path, struct str *ret_wildcard)
{
    const char *star = strchr(pattern, '*');
    if (!star)
        return str_eq(str_from(pattern), path);
    struct str head = {pattern, (size_t)(star - pattern)}, tail = str_from(star + 1);
    if (path.len <= head.len + tail.len || !str_starts_with(path, head) || !str_ends_with(path, tail))
        return false;
    *ret_wildcard = (struct str){path.ptr + head.len, path.len - head.len - tail.len};
    return !memchr(ret_wildcard->ptr, '/', ret_wildcard->len);
}

static const struct http_route *find_route(struct http_server *server, struct str path, unsigned method,
                                           struct str *ret_wildcard, unsigned *ret_methods)
{
    *ret_methods = 0;
    for (const struct http_route *route = server->routes; route->path; route++) {
        struct str wildcard = {0};
        if (!path_matches(route->path, path, &wildcard))
            continue;
        unsigned methods = route->methods | (route->methods & HTTP_GET ? HTTP_HEAD : 0u);
        *ret_methods |= methods;
        if (methods & method) {
            *ret_wildcard = wildcard;
            return route;
        }
    }
    return NULL;
}

static void prepare_wrong_method(struct exchange *exchange, const char *method, unsigned methods)
{
    struct error error;
    error_set(&error, E_BAD_DATA, "method %s is not allowed here", method);
    exchange_prepare_error(exchange, &error);
    exchange->code = MHD_HTTP_METHOD_NOT_ALLOWED;
    http_header(&exchange->request, MHD_HTTP_HEADER_ALLOW,
                methods == (HTTP_GET | HTTP_HEAD)               ? "GET, HEAD, OPTIONS"
                : methods == (HTTP_GET | HTTP_HEAD | HTTP_POST) ? "GET, HEAD, POST, OPTIONS"
                : methods == HTTP_POST                          ? "POST, OPTIONS"
                : methods == (HTTP_POST | HTTP_PUT)             ? "POST, PUT, OPTIONS"
                                                                : "GET, HEAD, POST, PUT, DELETE, OPTIONS");
}

/* --- the request's way in --- */

static struct str raw_path(const struct exchange *exchange)
{
    return (struct str){exchange->uri, strcspn(exchange->uri, "?#")};
}

static struct str raw_query(const struct exchange *exchange)
{
    const char *mark = exchange->uri + raw_path(exchange).len;
    return *mark == '?' ? (struct str){mark + 1, strcspn(mark + 1, "#")} : STR("");
}

static struct str header_copy(struct exchange *exchange, const char *name)
{
    const char *value = MHD_lookup_connection_value(exchange->connection, MHD_HEADER_KIND, name);
    return value ? arena_str(&exchange->request.arena, str_from(value)) : (struct str){0};
}

/* Whether Accept-Encoding names gzip without q=0. */
static bool takes_gzip(struct MHD_Connection *connection)
{
    const char *at = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_ACCEPT_ENCODING);
    while (at && *at) {
        at += strspn(at, " ,\t");
        size_t len = strcspn(at, ",");
        if (len >= 4 && strncasecmp(at, "gzip", 4) == 0 && (len == 4 || strchr(" ;\t", at[4]))) {
            const char *quality = memmem(at, len, "q=", 2);
            return !quality || strtod(quality + 2, NULL) > 0;
        }
        at += len;
    }
    return false;
}

static bool is_crowded(const struct exchange *exchange)
{
    const struct http_server *server = exchange->server;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(exchange->connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info && info->socket_context &&
           (unsigned)atomic_load(&server->connections) > server->options.connections_max;
}

/* Errors that the headers already show; the answer is prepared. */
static void check_headers(struct exchange *exchange, const char *method_name)
{
    struct http_server *server = exchange->server;
    struct http_request *request = &exchange->request;
    struct error error;
    struct str wildcard = {0};
    unsigned methods = 0, method = method_of(method_name);
    request->method = (enum http_method)method;
    request->path = raw_path(exchange); /* until it is decoded, for the error's form */
    const struct http_route *route = find_route(server, raw_path(exchange), method, &wildcard, &methods);
    exchange->route = route;
    exchange->body_max = server->options.form_max_bytes;
    if (method == HTTP_OPTIONS) {
        exchange->response = response_of_buffer(NULL);
        exchange->code = MHD_HTTP_NO_CONTENT;
    } else if (!route && methods) {
        prepare_wrong_method(exchange, method_name, methods);
    } else if (!route) {
        error_set(&error, E_NOT_FOUND, "no such path: " STR_FORMAT, STR_ARG(request->path));
        exchange_prepare_error(exchange, &error);
    } else if (route->pool != POOL_CALLBACKS && atomic_load(&server->stopping)) {
        error_set(&error, E_UNAVAILABLE, "this server is stopping");
        exchange_prepare_error(exchange, &error);
    } else if (route->pool != POOL_CALLBACKS && exchange->crowded) {
        error_set(&error, E_UNAVAILABLE, "too many connections: %d, at most %u are served",
                  atomic_load(&server->connections), server->options.connections_max);
        exchange_prepare_error(exchange, &error);
    } else if (params_decode_text(&request->arena, raw_path(exchange), false, &request->path, &error) != OK ||
               params_decode_text(&request->arena, wildcard, false, &request->wildcard, &error) != OK) {
        exchange_prepare_error(exchange, &error);
    } else if (!route->form) {
        exchange->body_max = server->options.body_max_bytes;
    }
}

static void prepare_too_large(struct exchange *exchange)
{
    struct error error;
    error_set(&error, E_TOO_LARGE, "request body of %s%zu bytes, at most %zu are taken",
              exchange->phase == EXCHANGE_BODY ? "at least " : "", exchange->body_asked, exchange->body_max);
    if (exchange->response)
        MHD_destroy_response(exchange->response);
    exchange_prepare_error(exchange, &error);
}

static enum MHD_Result begin(struct exchange *exchange, const char *method)
{
    struct MHD_Connection *connection = exchange->connection;
    exchange->crowded = is_crowded(exchange);
    exchange->gzip = takes_gzip(connection);
    exchange->request.content_type = header_copy(exchange, MHD_HTTP_HEADER_CONTENT_TYPE);
    exchange->request.content_encoding = header_copy(exchange, MHD_HTTP_HEADER_CONTENT_ENCODING);
    exchange->request.user_agent = header_copy(exchange, MHD_HTTP_HEADER_USER_AGENT);
    check_headers(exchange, method);
    strbuf_init(&exchange->body, exchange->body_max);
    const char *declared = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
    unsigned long long length = declared ? strtoull(declared, NULL, 10) : 0;
    if (length > exchange->body_max) {
        exchange->body_asked = (size_t)length;
        prepare_too_large(exchange);
        return exchange_queue(exchange);
    }
    exchange->phase = EXCHANGE_BODY;
    return MHD_YES;
}

/* One part of the body. What is over the limit is read past, up to as much again, so that the client sees the answer.
 */
static enum MHD_Result take_body(struct exchange *exchange, const char *bytes, size_t n)
{
    exchange->body_asked += n;
    if (exchange->body_asked > exchange->body_max) {
        exchange->body_too_large = true;
        strbuf_release(&exchange->body);
        return exchange->body_asked / 2 > exchange->body_max ? MHD_NO : MHD_YES;
    }
    if (!exchange->response)
        strbuf_bytes(&exchange->body, bytes, n);
    return MHD_YES;
}

static bool is_form(struct str content_type)
{
    static const char FORM[] = "application/x-www-form-urlencoded";
    return content_type.len == 0 ||
           (content_type.len >= sizeof FORM - 1 && strncasecmp(content_type.ptr, FORM, sizeof FORM - 1) == 0);
}

/* On the route's pool: what needs the whole request, then the handler. */
static void run_handler(void *arg)
{
    struct exchange *exchange = arg;
    struct http_request *request = &exchange->request;
    struct error error;
    struct str body = strbuf_view(&exchange->body), form = {0};
    if (exchange->route->form && body.len && is_form(request->content_type))
        form = body;
    else
        request->body = body;
    enum status status = strbuf_status(&exchange->body, "the request's body", &error);
    if (status == OK && exchange->route->form && request->body.len)
        status = error_set(&error, E_UNSUPPORTED_MEDIA,
                           "content type \"" STR_FORMAT "\" is not taken here, only application/x-www-form-urlencoded",
                           STR_ARG(request->content_type));
    if (status == OK)
        status =
            params_decode(&request->arena, raw_query(exchange), form, &request->params, &request->params_n, &error);
    if (status == OK)
        exchange->route->handle(request);
    else
        http_respond_error(request, &error);
}

static enum MHD_Result dispatch(struct exchange *exchange)
{
    struct error error;
    if (!server_busy_try(exchange->server)) {
        error_set(&error, E_UNAVAILABLE, "this server is stopping");
        exchange_prepare_error(exchange, &error);
        return exchange_queue(exchange);
    }
    struct pool *pool = exchange->server->app->pools[exchange->route->pool];
    exchange->phase = EXCHANGE_HANDLED;
    exchange->request.received_ms = monotonic_ms();
    atomic_fetch_add(&exchange->references, 1);
    MHD_suspend_connection(exchange->connection);
    watch_add(exchange);
    /* Callbacks are bounded by the connections; refusing one would fail a query that was admitted. */
    if (exchange->route->pool == POOL_CALLBACKS)
        pool_continue(pool, run_handler, exchange);
    else if (pool_submit(pool, run_handler, exchange, &error) != OK)
        http_respond_error(&exchange->request, &error);
    return MHD_YES;
}

static const char *code_text(int code)
{
    static const struct {
        int code;
        const char *text;
    } CODES[] = {{200, "200"}, {204, "204"}, {400, "400"}, {404, "404"}, {405, "405"}, {413, "413"},
                 {415, "415"}, {422, "422"}, {499, "499"}, {500, "500"}, {502, "502"}, {503, "503"}};
    for (size_t i = 0; i < ARRAY_LENGTH(CODES); i++)
        if (CODES[i].code == code)
            return CODES[i].text;
    return "other";
}

/* The headers of Prometheus's util/httputil/cors.go, which let a browser's page ask us directly. */
static void add_cors(struct exchange *exchange)
{
    struct MHD_Response *response = exchange->response;
    MHD_add_response_header(response, MHD_HTTP_HEADER_VARY, "Origin, Accept-Encoding");
    if (!MHD_lookup_connection_value(exchange->connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_ORIGIN))
        return;
    MHD_add_response_header(response, "Access-Control-Allow-Headers", "Accept, Authorization, Content-Type, Origin");
    MHD_add_response_header(response, "Access-Control-Allow-Methods", "GET, POST, OPTIONS");
    MHD_add_response_header(response, "Access-Control-Expose-Headers", "Date");
    MHD_add_response_header(response, "Access-Control-Allow-Origin", "*");
}

/* Hands the prepared answer to libmicrohttpd; on its thread only. */
enum MHD_Result exchange_queue(struct exchange *exchange)
{
    struct http_server *server = exchange->server;
    exchange->phase = EXCHANGE_RESPONDED;
    if (!exchange->response)
        return MHD_NO; /* no memory: close */
    add_cors(exchange);
    for (size_t i = 0; i < exchange->headers_n; i++)
        MHD_add_response_header(exchange->response, exchange->headers[i].name, exchange->headers[i].value);
    if (exchange->crowded || atomic_load(&server->stopping))
        MHD_add_response_header(exchange->response, MHD_HTTP_HEADER_CONNECTION, "close");
    if (server->app->metrics)
        metric_add(server->app->metrics, METRIC_ID_http_requests, code_text(exchange->code), 1);
    return MHD_queue_response(exchange->connection, (unsigned)exchange->code, exchange->response);
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
                                  const char *version, const char *upload, size_t *upload_bytes, void **context)
{
    struct exchange *exchange = *context;
    if (!exchange || !exchange->uri)
        return MHD_NO; /* no memory */
    if (exchange->phase == EXCHANGE_NEW) {
        exchange->connection = connection;
        return begin(exchange, method);
    }
    if (exchange->phase == EXCHANGE_RESPONDED)
        return exchange_queue(exchange);
    INVARIANT(exchange->phase == EXCHANGE_BODY);
    if (*upload_bytes) {
        size_t n = *upload_bytes;
        *upload_bytes = 0;
        return take_body(exchange, upload, n);
    }
    if (exchange->body_too_large)
        prepare_too_large(exchange);
    return exchange->response ? exchange_queue(exchange) : dispatch(exchange);
}

/* The first that is known of a request: its request line. What it returns is the request's context. */
static void *on_uri(void *cls, const char *uri, struct MHD_Connection *connection)
{
    struct http_server *server = cls;
    struct exchange *exchange = calloc(1, sizeof *exchange);
    if (!exchange)
        return NULL;
    exchange->server = server;
    exchange->request.app = server->app;
    atomic_init(&exchange->references, 1);
    arena_init(&exchange->request.arena, REQUEST_ARENA_MAX);
    cancel_init(&exchange->request.cancel, INT64_MAX);
    exchange->uri = (char *)arena_str(&exchange->request.arena, str_from(uri)).ptr;
    pthread_mutex_lock(&server->lock);
    server->exchanges_n++;
    pthread_mutex_unlock(&server->lock);
    return exchange;
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **context,
                         enum MHD_RequestTerminationCode how)
{
    struct exchange *exchange = *context;
    *context = NULL;
    if (!exchange)
        return;
    watch_remove(exchange);
    exchange_completed(exchange, how == MHD_REQUEST_TERMINATED_COMPLETED_OK);
    exchange_unref(exchange);
}

static void on_connection(void *cls, struct MHD_Connection *connection, void **socket_context,
                          enum MHD_ConnectionNotificationCode what)
{
    struct http_server *server = cls;
    if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
        atomic_fetch_sub(&server->connections, 1);
        return;
    }
    int open = atomic_fetch_add(&server->connections, 1) + 1;
    *socket_context = (unsigned)open > server->options.connections_max ? server : NULL;
}

/* --- start and stop --- */

/* "host:port", ":port", "[::1]:port" */
static enum status split_address(const char *address, char *host, size_t host_max, char *port, size_t port_max,
                                 struct error *reterr)
{
    const char *colon = strrchr(address, ':');
    size_t host_len = colon ? (size_t)(colon - address) : 0;
    bool bracketed = host_len >= 2 && address[0] == '[' && address[host_len - 1] == ']';
    host_len -= bracketed ? 2 : 0;
    if (!colon || host_len >= host_max || strlen(colon + 1) >= port_max || !colon[1])
        return error_set(reterr, E_BAD_DATA, "listen address \"%s\" is not host:port or :port", address);
    int64_t number;
    if (!api_whole(str_from(colon + 1), &number) || number < 0 || number > UINT16_MAX)
        return error_set(reterr, E_BAD_DATA, "listen address \"%s\": the port is a number of 0 to %d, not \"%s\"",
                         address, UINT16_MAX, colon + 1);
    memcpy(host, address + bracketed, host_len);
    host[host_len] = '\0';
    snprintf(port, port_max, "%s", colon + 1);
    return OK;
}

static int listen_on(const struct addrinfo *at)
{
    int fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int on = 1, off = 0;
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (at->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (bind(fd, at->ai_addr, at->ai_addrlen) == 0 && listen(fd, LISTEN_BACKLOG) == 0)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

static uint16_t bound_port(int fd)
{
    struct sockaddr_storage address;
    socklen_t len = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &len) != 0)
        return 0;
    return ntohs(address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&address)->sin6_port
                                               : ((struct sockaddr_in *)&address)->sin_port);
}

static enum status open_listener(struct http_server *server, struct error *reterr)
{
    char host[256], port[16];
    const char *address = server->options.listen_address;
    enum status status = split_address(address, host, sizeof host, port, sizeof port, reterr);
    if (status != OK)
        return status;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *list = NULL;
    /* No host means every address: "::" takes IPv4 too, where the system has IPv6 at all. */
    int failed = host[0] ? getaddrinfo(host, port, &hints, &list) : getaddrinfo("::", port, &hints, &list);
    if (failed)
        return error_set(reterr, E_BAD_DATA, "listen address \"%s\": %s", address, gai_strerror(failed));
    errno = 0;
    for (struct addrinfo *at = list; at && server->listen_fd < 0; at = at->ai_next)
        server->listen_fd = listen_on(at);
    freeaddrinfo(list);
    if (server->listen_fd < 0 && !host[0] && getaddrinfo("0.0.0.0", port, &hints, &list) == 0) {
        server->listen_fd = listen_on(list);
        freeaddrinfo(list);
    }
    if (server->listen_fd < 0)
        return error_set(reterr, E_UNAVAILABLE, "cannot listen on \"%s\": %s", address, strerror(errno));
    server->port = bound_port(server->listen_fd);
    return OK;
}

/* Every connection is a file: the soft limit of a plain shell (1024) is too low for the standard settings. */
static enum status raise_file_limit(unsigned connections, struct error *reterr)
{
    struct rlimit limit;
    rlim_t need = (rlim_t)connections + FILES_BESIDE;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= need)
        return OK;
    if (limit.rlim_max < need)
        return error_set(reterr, E_LIMIT, "%u connections need %llu open files, the system allows %llu", connections,
                         (unsigned long long)need, (unsigned long long)limit.rlim_max);
    limit.rlim_cur = need;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        return error_set(reterr, E_LIMIT, "cannot raise the limit of open files to %llu: %s", (unsigned long long)need,
                         strerror(errno));
    return OK;
}

static enum status start_daemon(struct http_server *server, struct error *reterr)
{
    const struct http_options *options = &server->options;
    unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME;
    unsigned seconds = (unsigned)((options->idle_timeout_ms + 999) / 1000);
    /* A pool of one thread is asked for by leaving the option out. */
    struct MHD_OptionItem threads[] = {
        {options->threads > 1 ? MHD_OPTION_THREAD_POOL_SIZE : MHD_OPTION_END, (intptr_t)options->threads, NULL},
        {MHD_OPTION_END, 0, NULL}};
    server->daemon = MHD_start_daemon(flags, 0, NULL, NULL, on_request, server, MHD_OPTION_LISTEN_SOCKET,
                                      server->listen_fd, MHD_OPTION_CONNECTION_LIMIT, server->connections_hard_max,
                                      MHD_OPTION_CONNECTION_TIMEOUT, seconds, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                                      CONNECTION_MEMORY_BYTES, MHD_OPTION_URI_LOG_CALLBACK, on_uri, server,
                                      MHD_OPTION_NOTIFY_COMPLETED, on_completed, server, MHD_OPTION_NOTIFY_CONNECTION,
                                      on_connection, server, MHD_OPTION_ARRAY, threads, MHD_OPTION_END);
    if (!server->daemon)
        return error_set(reterr, E_INTERNAL, "cannot start the HTTP server: %s", strerror(errno));
    server->listen_fd = -1;
    return OK;
}

static void server_free(struct http_server *server)
{
    if (server->listen_fd >= 0)
        close(server->listen_fd);
    pthread_cond_destroy(&server->idle);
    pthread_mutex_destroy(&server->lock);
    free(server);
}

static struct http_server *server_alloc(struct app *app, const struct http_options *options,
                                        const struct http_route *routes)
{
    struct http_server *server = calloc(1, sizeof *server);
    if (!server)
        return NULL;
    server->app = app;
    server->options = *options;
    server->routes = routes;
    server->listen_fd = -1;
    server->connections_hard_max = options->connections_max + 2 * (unsigned)app->config.upstream_connections_max + 64;
    pthread_mutex_init(&server->lock, NULL);
    pthread_condattr_t clock;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&server->idle, &clock);
    pthread_condattr_destroy(&clock);
    return server;
}

enum status http_server_start(struct app *app, const struct http_options *options, const struct http_route *routes,
                              struct http_server **ret_server, struct error *reterr)
{
    struct http_server *server = server_alloc(app, options, routes);
    if (!server)
        return error_set(reterr, E_NOMEM, "no memory for the HTTP server");
    enum status status = raise_file_limit(server->connections_hard_max, reterr);
    if (status == OK)
        status = open_listener(server, reterr);
    if (status == OK)
        status = watch_start(server, reterr);
    if (status != OK) {
        server_free(server);
        return status;
    }
    status = start_daemon(server, reterr);
    if (status != OK) {
        watch_stop(server);
        server_free(server);
        return status;
    }
    *ret_server = server;
    return OK;
}

uint16_t http_server_port(const struct http_server *server)
{
    return server->port;
}

/* Waits until a count (busy, exchanges_n) is 0, at most wait_ms; whether it is so. */
static bool wait_none(struct http_server *server, const size_t *count, int64_t wait_ms)
{
    int64_t until_ms = monotonic_ms() + wait_ms;
    struct timespec until = {.tv_sec = until_ms / 1000, .tv_nsec = until_ms % 1000 * 1000000};
    pthread_mutex_lock(&server->lock);
    while (*count && monotonic_ms() < until_ms)
        pthread_cond_timedwait(&server->idle, &server->lock, &until);
    bool none = *count == 0;
    pthread_mutex_unlock(&server->lock);
    return none;
}

/* Connections are accepted until the end, and answered with "this server is stopping": MHD_quiesce_daemon takes the
 * listener out of the threads' epoll sets while they may do so themselves, and aborts if both did (0.9.75). */
void http_server_stop(struct http_server *server, int64_t grace_ms)
{
    if (!server)
        return;
    atomic_store(&server->stopping, true);
    wait_none(server, &server->busy, grace_ms);
    pthread_mutex_lock(&server->lock);
    atomic_store(&server->aborting, true); /* under the lock: nothing goes to sleep after `busy` was seen to be 0 */
    pthread_mutex_unlock(&server->lock);
    do
        watch_cancel_all(server);
    while (!wait_none(server, &server->busy, 100));
    wait_none(server, &server->exchanges_n, grace_ms); /* answers on their way out */
    MHD_stop_daemon(server->daemon);
    pthread_mutex_lock(&server->lock);
    while (server->exchanges_n || server->busy)
        pthread_cond_wait(&server->idle, &server->lock);
    pthread_mutex_unlock(&server->lock);
    watch_stop(server);
    server_free(server);
}
