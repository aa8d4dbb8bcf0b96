/* frontend/http.h: the HTTP server, seen by the handlers.
 *
 * A handler is called on a worker of its route's pool, once the whole request is there, and answers by calling exactly
 * one of the http_respond functions, now or later, from any thread; until then the connection sleeps (libmicrohttpd's
 * suspend), holding no thread. After responding the request is gone. When the client leaves before the answer,
 * request->cancel fires (a watcher sees the hang-up of sleeping connections); the handler must still respond.
 *
 * Connections  connections_max are for everybody; a reserve beyond it (twice --upstream.max-connections and 64) serves
 * callbacks only: any other request that comes in over the limit is answered 503 and its connection closed. Prometheus
 * reads the selectors of one query one after another, so at most --upstream.max-connections callbacks are open at once,
 * and with as many again just closing they always find room, however many clients sleep on their connections.
 *
 * Errors   of the protocol (too large a body, declared or real; too many parameters; unknown path or method) are
 * answered by the server itself, in the JSON of the Prometheus API below /api/v1, as text elsewhere. Memory
 * request->arena lives until the answer was sent; parameters and body are views into it or into the server's buffers.
 */
#ifndef PROMSPLIT_FRONTEND_HTTP_H
#define PROMSPLIT_FRONTEND_HTTP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/cancel.h"
#include "base/error.h"
#include "base/strbuf.h"
#include "frontend/pool.h"

struct app;

enum http_method {
    HTTP_GET = 1,
    HTTP_POST = 2,
    HTTP_HEAD = 4,
    HTTP_PUT = 8,
    HTTP_DELETE = 16,
    HTTP_OPTIONS = 32
};

struct http_param {
    struct str name, value; /* decoded */
};

struct http_request {
    struct app *app;
    enum http_method method;
    struct str path;                 /* "/api/v1/label/job/values" */
    struct str wildcard;             /* what stood for the route's '*', decoded: "job" */
    const struct http_param *params; /* of the query string, then of the form body */
    size_t params_n;
    struct str body;                                       /* as sent, for routes that are no forms */
    struct str content_type, content_encoding, user_agent; /* empty if not sent */
    int64_t received_ms;                                   /* monotonic */
    struct cancel cancel;                                  /* fires with E_CANCELED when the client leaves */
    struct arena arena;
};

/* request->cancel fires with E_TIMEOUT at that time (monotonic). Before the request is handed to another thread. */
void http_set_deadline(struct http_request *request, int64_t deadline_ms);

/* A further header of the answer, before responding. Both texts are static or in request->arena. */
void http_header(struct http_request *request, const char *name, const char *value);

/* The first parameter of that name, or NULL. */
const struct str *http_param(const struct http_request *request, const char *name);

/* The body is moved out of `body`. JSON and text bodies are gzipped when the client takes it and it pays. */
void http_respond(struct http_request *request, int code, const char *content_type, struct strbuf *body);
void http_respond_text(struct http_request *request, int code, const char *format, ...) PRINTF_LIKE(3, 4);
/* {"status":"error","errorType":…,"error":…}, with the status's HTTP code. */
void http_respond_error(struct http_request *request, const struct error *error);

/* A body produced piece by piece, without waiting for the reader: `pull` is called on the route's pool whenever the
 * outgoing buffer has room; it appends up to about a megabyte to `out` and sets *ret_done after the last piece. On
 * failure the connection is broken off, so that a cut answer never looks complete. `release` is called once, at the
 * end, in any case. The request's memory (arena, parameters) stays until release. */
struct http_stream {
    enum status (*pull)(void *arg, struct strbuf *out, bool *ret_done, struct error *reterr);
    void (*release)(void *arg, bool complete); /* complete: every byte was handed to the socket */
    void *arg;
};
void http_respond_stream(struct http_request *request, int code, const char *content_type, const char *content_encoding,
                         const struct http_stream *description);

/* Like http_respond, and tells when the answer has left (or failed to): remote read needs to know. */
void http_respond_then(struct http_request *request, int code, const char *content_type, const char *content_encoding,
                       struct strbuf *body, void (*sent)(void *arg, bool complete), void *arg);

enum pool_id {
    POOL_QUERIES,
    POOL_CALLBACKS,
    POOL_WRITES,
    POOL_ENGINE,
    POOL_MAX
};

struct http_route {
    unsigned methods;  /* or of enum http_method */
    const char *path;  /* at most one '*', which stands for one non-empty segment */
    enum pool_id pool; /* whose workers run the handler */
    bool form;         /* POST bodies are forms: params; else the body goes to the handler as it is */
    void (*handle)(struct http_request *request);
};

struct http_options {
    const char *listen_address; /* "0.0.0.0:9095", ":9095", "[::1]:9095" */
    unsigned threads;           /* of libmicrohttpd */
    unsigned connections_max;
    size_t form_max_bytes; /* body of form routes */
    size_t body_max_bytes; /* body of the others */
    int64_t idle_timeout_ms;
};

struct http_server;

/* routes: static array ended by a zeroed row. Pools are those of `app`. */
MUST_USE enum status http_server_start(struct app *app, const struct http_options *options,
                                       const struct http_route *routes, struct http_server **ret_server,
                                       struct error *reterr);
uint16_t http_server_port(const struct http_server *server); /* the real one when 0 was asked for */
/* From now on only callbacks are taken, other requests get 503; waits up to grace_ms for open requests, cancels the
 * rest and returns when every handler has responded and every stream was released. Frees the server; NULL is fine. */
void http_server_stop(struct http_server *server, int64_t grace_ms);

#endif
