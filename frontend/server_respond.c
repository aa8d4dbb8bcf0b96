/* frontend/server_respond.c: answers: whole bodies, gzip, streams.
 *
 * A stream has two buffers: one is sent while the pool fills the other. libmicrohttpd's reader never waits: when there
 * is nothing to send it puts the connection to sleep and the end of the pull wakes it. So a stream holds at most two
 * pieces in memory, and a slow reader holds no thread.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

#include "base/assert.h"
#include "frontend/json.h"
#include "frontend/server_internal.h"

#define STREAM_READ_BYTES ((size_t)64 << 10)
#define STREAM_PIECE_MAX  ((size_t)1 << 30) /* a piece is a megabyte, or one whole grid result */

struct MHD_Response *response_of_buffer(struct strbuf *body)
{
    size_t len = 0;
    char *bytes = body ? strbuf_detach(body, &len) : NULL;
    if (!bytes)
        return MHD_create_response_from_buffer(0, (void *)"", MHD_RESPMEM_PERSISTENT);
    struct MHD_Response *response = MHD_create_response_from_buffer(len, bytes, MHD_RESPMEM_MUST_FREE);
    if (!response)
        free(bytes);
    return response;
}

/* Gives the answer to libmicrohttpd. The handler's reference ends here; streams keep being watched. */
static void deliver(struct exchange *exchange, struct MHD_Response *response, int code)
{
    struct http_server *server = exchange->server;
    PRE(exchange->phase == EXCHANGE_HANDLED);
    if (!exchange->stream)
        watch_remove(exchange);
    exchange->response = response; /* NULL, no memory: the connection is closed */
    exchange->code = code;
    exchange->phase = EXCHANGE_RESPONDED;
    struct MHD_Connection *connection = exchange->connection;
    exchange_unref(exchange); /* libmicrohttpd's reference keeps it until it is resumed */
    MHD_resume_connection(connection);
    server_busy_done(server);
}

static struct MHD_Response *response_with_type(struct strbuf *body, const char *content_type, const char *encoding)
{
    struct MHD_Response *response = response_of_buffer(body);
    if (response && content_type)
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
    if (response && encoding)
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_ENCODING, encoding);
    return response;
}

/* Replaces the body by its gzip form; false if that failed or does not pay, then the body is as it was. */
static bool compress_body(struct strbuf *body)
{
    z_stream z = {0};
    /* Level 1: an answer waits for this; most of the gain is in the first level. 15 + 16: the gzip wrapper. */
    if (deflateInit2(&z, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return false;
    struct strbuf out;
    strbuf_init(&out, body->len);
    char *room = body->len <= UINT32_MAX ? strbuf_reserve(&out, body->len) : NULL;
    bool good = false;
    if (room) {
        z.next_in = (Bytef *)body->ptr;
        z.avail_in = (uInt)body->len;
        z.next_out = (Bytef *)room;
        z.avail_out = (uInt)body->len; /* no room for more: it would not pay */
        good = deflate(&z, Z_FINISH) == Z_STREAM_END;
        strbuf_commit(&out, good ? z.total_out : 0);
    }
    deflateEnd(&z);
    if (good) {
        strbuf_release(body);
        *body = out;
    } else {
        strbuf_release(&out);
    }
    return good;
}

static bool compressible(const struct exchange *exchange, const char *content_type, const struct strbuf *body)
{
    if (!exchange->gzip || !body || !content_type || body->len < HTTP_GZIP_MIN)
        return false;
    struct str type = str_from(content_type);
    return str_starts_with(type, STR("application/json")) || str_starts_with(type, STR("text/"));
}

void http_respond_then(struct http_request *request, int code, const char *content_type, const char *content_encoding,
                       struct strbuf *body, void (*sent)(void *arg, bool complete), void *arg)
{
    struct exchange *exchange = exchange_of(request);
    exchange->sent = sent;
    exchange->sent_arg = arg;
    deliver(exchange, response_with_type(body, content_type, content_encoding), code);
}

void http_respond(struct http_request *request, int code, const char *content_type, struct strbuf *body)
{
    const char *encoding = NULL;
    if (compressible(exchange_of(request), content_type, body) && compress_body(body))
        encoding = "gzip";
    http_respond_then(request, code, content_type, encoding, body, NULL, NULL);
}

void http_respond_text(struct http_request *request, int code, const char *format, ...)
{
    char text[2 * ERROR_MESSAGE_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    struct strbuf body;
    strbuf_init(&body, sizeof text);
    strbuf_cstr(&body, text);
    http_respond(request, code, text[0] ? "text/plain; charset=utf-8" : NULL, &body);
}

static bool wants_json(const struct exchange *exchange)
{
    return str_starts_with(exchange->request.path, STR("/api/"));
}

static void error_body(const struct exchange *exchange, const struct error *error, struct strbuf *out)
{
    strbuf_init(out, 16 * ERROR_MESSAGE_MAX);
    if (wants_json(exchange)) {
        json_error(out, error);
    } else {
        strbuf_cstr(out, error->message);
        strbuf_char(out, '\n');
    }
}

void exchange_prepare_error(struct exchange *exchange, const struct error *error)
{
    struct strbuf body;
    error_body(exchange, error, &body);
    exchange->response =
        response_with_type(&body, wants_json(exchange) ? "application/json" : "text/plain; charset=utf-8", NULL);
    exchange->code = status_http_code(error->status);
}

void http_respond_error(struct http_request *request, const struct error *error)
{
    const struct exchange *exchange = exchange_of(request);
    struct strbuf body;
    error_body(exchange, error, &body);
    http_respond(request, status_http_code(error->status),
                 wants_json(exchange) ? "application/json" : "text/plain; charset=utf-8", &body);
}

void http_header(struct http_request *request, const char *name, const char *value)
{
    struct exchange *exchange = exchange_of(request);
    PRE(exchange->headers_n < HTTP_HEADERS_MAX);
    exchange->headers[exchange->headers_n].name = name;
    exchange->headers[exchange->headers_n++].value = value;
}

void http_set_deadline(struct http_request *request, int64_t deadline_ms)
{
    request->cancel.deadline_ms = deadline_ms;
    watch_deadline(exchange_of(request), deadline_ms);
}

/* --- streams --- */

static void stream_free(struct stream_state *stream)
{
    strbuf_release(&stream->ready);
    strbuf_release(&stream->next);
    pthread_mutex_destroy(&stream->lock);
    free(stream);
}

/* The last act of a stream, on the route's pool: no pull runs and libmicrohttpd is through. Holds a reference. */
static void stream_release(void *arg)
{
    struct exchange *exchange = arg;
    struct http_server *server = exchange->server;
    struct stream_state *stream = exchange->stream;
    stream->stream.release(stream->stream.arg, stream->complete);
    exchange->stream = NULL;
    stream_free(stream);
    exchange_unref(exchange);
    server_busy_done(server);
}

/* Makes what was pulled the next thing to send, if the last piece is through. Under the stream's lock. */
static void swap_buffers(struct stream_state *stream)
{
    if (stream->sent_bytes < stream->ready.len) {
        stream->next_full = true;
        return;
    }
    struct strbuf used = stream->ready;
    stream->ready = stream->next;
    stream->next = used;
    strbuf_clear(&stream->next);
    stream->sent_bytes = 0;
    stream->next_full = false;
}

static void stream_pull(void *arg)
{
    struct exchange *exchange = arg;
    struct http_server *server = exchange->server;
    struct stream_state *stream = exchange->stream;
    bool done = false;
    enum status status = OK;
    while (status == OK && !done && stream->next.len == 0)
        status = stream->stream.pull(stream->stream.arg, &stream->next, &done, NULL);
    if (status == OK)
        status = strbuf_status(&stream->next, "a piece of the answer", NULL);

    pthread_mutex_lock(&stream->lock);
    stream->pulling = false;
    stream->done = done;
    stream->failed = status != OK;
    if (stream->next.len)
        swap_buffers(stream);
    bool ended = stream->ended;
    if (stream->asleep) {
        stream->asleep = false;
        MHD_resume_connection(exchange->connection);
    }
    pthread_mutex_unlock(&stream->lock);
    if (ended) {
        stream_release(exchange);
        return;
    }
    exchange_unref(exchange);
    server_busy_done(server);
}

/* Under the stream's lock. False when the server is stopping. */
static bool pull_start(struct exchange *exchange)
{
    if (!server_busy_try(exchange->server))
        return false;
    exchange->stream->pulling = true;
    atomic_fetch_add(&exchange->references, 1);
    pool_continue(exchange->server->app->pools[exchange->route->pool], stream_pull, exchange);
    return true;
}

static ssize_t stream_read(void *arg, uint64_t position, char *out, size_t room)
{
    struct exchange *exchange = arg;
    struct stream_state *stream = exchange->stream;
    ssize_t result = MHD_CONTENT_READER_END_WITH_ERROR;
    pthread_mutex_lock(&stream->lock);
    if (stream->next_full && stream->sent_bytes == stream->ready.len)
        swap_buffers(stream);
    size_t left = stream->ready.len - stream->sent_bytes;
    bool want_more = !stream->failed && !stream->done && !stream->pulling && !stream->next_full;
    if (stream->failed || (want_more && !pull_start(exchange))) {
        left = 0;
    } else if (left) {
        size_t n = left < room ? left : room;
        memcpy(out, stream->ready.ptr + stream->sent_bytes, n);
        stream->sent_bytes += n;
        result = (ssize_t)n;
    } else if (stream->done && !stream->pulling) {
        stream->end_reported = true;
        result = MHD_CONTENT_READER_END_OF_STREAM;
    } else {
        stream->asleep = true;
        MHD_suspend_connection(exchange->connection);
        result = 0;
    }
    pthread_mutex_unlock(&stream->lock);
    return result;
}

void http_respond_stream(struct http_request *request, int code, const char *content_type, const char *content_encoding,
                         const struct http_stream *description)
{
    struct exchange *exchange = exchange_of(request);
    struct stream_state *stream = calloc(1, sizeof *stream);
    struct MHD_Response *response =
        stream ? MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_READ_BYTES, stream_read, exchange, NULL)
               : NULL;
    if (!response) {
        free(stream);
        description->release(description->arg, false);
        http_respond_error(request, &(struct error){.status = E_NOMEM, .message = "no memory for the answer"});
        return;
    }
    stream->stream = *description;
    pthread_mutex_init(&stream->lock, NULL);
    strbuf_init(&stream->ready, STREAM_PIECE_MAX);
    strbuf_init(&stream->next, STREAM_PIECE_MAX);
    exchange->stream = stream;
    if (content_type)
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
    if (content_encoding)
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_ENCODING, content_encoding);
    deliver(exchange, response, code);
}

static void stream_completed(struct exchange *exchange, bool complete)
{
    struct stream_state *stream = exchange->stream;
    pthread_mutex_lock(&stream->lock);
    stream->ended = true;
    stream->complete = complete && stream->end_reported;
    bool release = !stream->pulling;
    pthread_mutex_unlock(&stream->lock);
    if (!release)
        return; /* the pull that runs does it, with its own reference */
    server_busy_add(exchange->server);
    atomic_fetch_add(&exchange->references, 1);
    pool_continue(exchange->server->app->pools[exchange->route->pool], stream_release, exchange);
}

void exchange_completed(struct exchange *exchange, bool complete)
{
    if (exchange->stream)
        stream_completed(exchange, complete);
    if (exchange->sent)
        exchange->sent(exchange->sent_arg, complete);
}
