/* remote/upstream.h: the client of the upstream Prometheus: many requests at once, no thread per request.
 *
 * One thread of its own runs libcurl's multi interface with kept-alive connections. upstream_send returns at once;
 * `done` is called exactly once, on that thread, with the answer or the failure; it must be quick (hand the answer to a
 * pool). A request ends at its deadline (or its cancel's, if that is earlier) with E_TIMEOUT and when its cancel fires
 * with the reason of that, whatever the peer does; closing the connection also cancels the query in Prometheus.
 * Requests beyond connections_max wait in order; waiting counts towards their deadline.
 *
 * HTTP/1.1 (or TLS over it). Redirects are not followed: the 3xx is the answer, so credentials never reach another
 * host. Proxy settings of the environment are ignored, as Prometheus ignores them.
 *
 * Memory   the answer's body is handed over in `done` (free() it). Limits: answer_max_bytes, E_LIMIT.
 * Threads  upstream_send from any thread, `done` included. upstream_free: no requests may be sent any more; ends all
 *          open ones with E_CANCELED first. No call may hold a cancel's lock (a hook must not send).
 * Errors   E_UPSTREAM: cannot connect, connection broken, named with the URL without credentials.
 */
#ifndef PROMSPLIT_REMOTE_UPSTREAM_H
#define PROMSPLIT_REMOTE_UPSTREAM_H

#include "base/cancel.h"
#include "base/error.h"
#include "base/str.h"
#include "base/strbuf.h"

struct upstream_options {
    const char *url;          /* http(s)://[user:password@]host:port[/prefix]; copied */
    const char *peer;         /* what messages call the other side: "upstream", "server"; static */
    unsigned connections_max; /* kept alive and open at once; further requests queue */
    int64_t connect_timeout_ms;
    size_t answer_max_bytes;
    const char *user_agent;     /* copied */
    const char *const *headers; /* of every request, "Name: value", ended by NULL; copied; NULL: none */
};

struct upstream_answer {
    enum status status; /* OK: http_code and body are set (any HTTP code) */
    struct error error; /* otherwise */
    int http_code;
    char *body; /* owned by the receiver; NULL if empty */
    size_t body_len;
    char content_type[128];
};

struct upstream_request {
    const char *method;    /* "GET", "POST" */
    const char *path;      /* "/api/v1/query_range", with query string if any; copied */
    struct str body;       /* application/x-www-form-urlencoded; copied */
    int64_t deadline_ms;   /* monotonic */
    struct cancel *cancel; /* may be NULL; must outlive `done` */
    void (*done)(void *arg, struct upstream_answer *answer);
    void *arg;
};

struct upstream;

MUST_USE enum status upstream_new(const struct upstream_options *options, struct upstream **ret_upstream,
                                  struct error *reterr);
void upstream_free(struct upstream *upstream);

/* On failure `done` is not called. */
MUST_USE enum status upstream_send(struct upstream *upstream, const struct upstream_request *request,
                                   struct error *reterr);

/* What goes on, for metrics. */
struct upstream_stats {
    uint64_t open;        /* requests on a connection now */
    uint64_t queued;      /* requests waiting for a connection now */
    uint64_t sent;        /* requests ever accepted by upstream_send */
    uint64_t connections; /* connections ever opened: stays small while keep-alive works */
};

struct upstream_stats upstream_stats(const struct upstream *upstream);

/* The URL without credentials, for messages and logs; lives as long as the client. */
const char *upstream_url(const struct upstream *upstream);

/* upstream_send, waiting; never from a pool that answers callbacks (start-up, the CLI). */
void upstream_call(struct upstream *upstream, const struct upstream_request *request,
                   struct upstream_answer *ret_answer);

/* Appends name=value to a form body, percent-encoded. */
void form_add(struct strbuf *form, const char *name, struct str value);

#endif
