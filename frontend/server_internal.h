/* frontend/server_internal.h: what the parts of the HTTP server share; nobody else includes it.
 *
 *   server.c          start, stop, routes, reading a request, its way through libmicrohttpd
 *   server_params.c   percent-decoding, query strings and form bodies
 *   server_respond.c  answers: buffers, gzip, streams
 *   server_watch.c    the thread that notices clients who left and deadlines that passed
 *
 * An exchange is one request with its answer. It is counted by reference: libmicrohttpd's own until the request is
 * completed, the handler's until it responded, one per pull of a stream that runs, one of the watcher while it fires.
 * server->lock guards the list, `watched`, `deadline_ms`, `busy`; an exchange's stream has its own lock. No lock is
 * held while a handler, a callback or cancel_fire runs. Order: a stream's lock, then libmicrohttpd's own.
 *
 * The connection of an exchange sleeps (MHD_suspend_connection) from dispatch to the answer, and during a stream while
 * the next piece is not there. Whoever resumes it must not touch the exchange afterwards without a reference.
 */
#ifndef PROMSPLIT_FRONTEND_SERVER_INTERNAL_H
#define PROMSPLIT_FRONTEND_SERVER_INTERNAL_H

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>

#include "frontend/app.h"

#define HTTP_HEADERS_MAX  4
#define HTTP_PARAMS_MAX   10000
#define HTTP_GZIP_MIN     1024 /* bytes; below, compressing costs more than it saves */
#define REQUEST_ARENA_MAX ((size_t)64 << 20)

enum exchange_phase {
    EXCHANGE_NEW,       /* its headers were not looked at */
    EXCHANGE_BODY,      /* the body is coming in */
    EXCHANGE_HANDLED,   /* the handler has it */
    EXCHANGE_RESPONDED, /* the answer is with libmicrohttpd */
};

struct stream_state {
    struct http_stream stream;
    pthread_mutex_t lock;
    struct strbuf ready; /* being sent, from `sent_bytes` on */
    size_t sent_bytes;
    struct strbuf next; /* written by pull, without the lock */
    bool next_full;     /* next waits for ready to be used up */
    bool pulling;       /* a pull is queued or runs */
    bool asleep;        /* the connection is suspended until the pull is through */
    bool done;          /* pull said so */
    bool failed;
    bool ended;        /* libmicrohttpd is through with the request */
    bool end_reported; /* the reader came to the end of a good stream */
    bool complete;
};

struct exchange {
    struct http_request request; /* first: handlers get a pointer to it */
    struct http_server *server;
    struct MHD_Connection *connection;
    const struct http_route *route;
    atomic_int references;
    enum exchange_phase phase;
    char *uri; /* as sent, in the arena; NULL: no memory */
    struct strbuf body;
    size_t body_max;
    bool body_too_large;
    size_t body_asked; /* what the refused body had, as far as known */
    bool gzip;         /* the client takes it */
    bool crowded;      /* came in on the reserve of connections */
    struct {
        const char *name, *value;
    } headers[HTTP_HEADERS_MAX];
    size_t headers_n;
    struct MHD_Response *response;
    int code;
    void (*sent)(void *arg, bool complete);
    void *sent_arg;
    struct stream_state *stream; /* NULL: a whole body */

    /* under server->lock */
    struct exchange *next, *previous; /* handled, not completed or still streaming */
    bool watched;
    uint64_t watch_id;
    int64_t deadline_ms;
};

struct http_server {
    struct app *app;
    struct http_options options;
    const struct http_route *routes;
    struct MHD_Daemon *daemon;
    int listen_fd; /* -1 once the daemon owns it */
    uint16_t port;
    unsigned connections_hard_max; /* with the reserve */
    atomic_int connections;
    atomic_bool stopping; /* only callbacks are taken */
    atomic_bool aborting; /* streams end at once */

    pthread_mutex_t lock;
    pthread_cond_t idle;        /* busy or exchanges went down */
    struct exchange *exchanges; /* watched ones */
    size_t busy;                /* handlers that did not respond, pulls that run */
    size_t exchanges_n;         /* not freed */
    uint64_t watch_id_last;

    int epoll_fd, wake_fd;
    int64_t next_deadline_ms; /* under lock: when the watcher wakes by itself */
    bool watcher_ends;
    pthread_t watcher;
};

static inline struct exchange *exchange_of(struct http_request *request)
{
    return (struct exchange *)request;
}

/* server.c */
void exchange_unref(struct exchange *exchange);
bool server_busy_try(struct http_server *server); /* false: stopping, nothing may go to sleep any more */
void server_busy_add(struct http_server *server);
void server_busy_done(struct http_server *server); /* after the last touch of the exchange */
enum MHD_Result exchange_queue(struct exchange *exchange);
void exchange_prepare_error(struct exchange *exchange, const struct error *error); /* sets response and code */

/* server_params.c */
MUST_USE enum status params_decode_text(struct arena *arena, struct str text, bool plus_is_space, struct str *ret_text,
                                        struct error *reterr);
MUST_USE enum status params_decode(struct arena *arena, struct str query, struct str form,
                                   const struct http_param **ret_params, size_t *ret_n, struct error *reterr);

/* server_respond.c */
struct MHD_Response *response_of_buffer(struct strbuf *body);
void exchange_completed(struct exchange *exchange, bool complete); /* libmicrohttpd is through with it */

/* server_watch.c */
MUST_USE enum status watch_start(struct http_server *server, struct error *reterr);
void watch_stop(struct http_server *server);
void watch_add(struct exchange *exchange);
void watch_remove(struct exchange *exchange); /* not watched: nothing */
void watch_deadline(struct exchange *exchange, int64_t deadline_ms);
void watch_cancel_all(struct http_server *server);

#endif
