/* tests/unit/frontend/peer.h: the other ends of the program's connections, scripted: HTTP clients and a Prometheus.
 *
 * The upstream is a server of threads, one per connection, so that it may call back while it answers, as the real one
 * does. It finds the task selectors of the query it is asked, reads each back from the server under test, and answers
 * the sum of all values read; or it fails in the way its mode says. Threads: `mode` and counters may change any time.
 */
#ifndef PROMSPLIT_TESTS_FRONTEND_PEER_H
#define PROMSPLIT_TESTS_FRONTEND_PEER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct reply {
    int code;      /* 0: the connection broke before a whole answer was there */
    char *headers; /* with the status line */
    char *body;    /* without chunk framing; ended by NUL */
    size_t body_len;
    bool broken; /* a body began and did not end properly */
};

/* One request on a connection of its own; headers end each with \r\n, may be NULL. */
struct reply http_call(uint16_t port, const char *method, const char *path, const char *headers, const void *body,
                       size_t body_len);
struct reply http_get(uint16_t port, const char *path);
struct reply http_form(uint16_t port, const char *path, const char *form);
void reply_free(struct reply *reply);

int http_connect(uint16_t port);
void http_send(int fd, const void *bytes, size_t n);
void http_say(int fd, const char *text);
struct reply http_receive(int fd, bool head);

/* A remote read request, compressed; free() it. */
struct read_matcher {
    const char *name, *value;
};
void *read_request(const struct read_matcher *matchers, size_t n, int64_t start_ms, int64_t end_ms, bool streamed,
                   size_t *ret_len);

/* The sum of all samples of a SAMPLES answer that are no staleness markers; -1 if it cannot be decoded. */
double samples_sum(const struct reply *reply, size_t *ret_series, size_t *ret_samples);

enum upstream_mode {
    UPSTREAM_GOOD,
    UPSTREAM_GOOD_STREAMED, /* reads STREAMED_XOR_CHUNKS; answers 1 per whole read */
    UPSTREAM_TWICE,         /* reads every task twice */
    UPSTREAM_NO_CALLBACK,
    UPSTREAM_SOME_CALLBACKS, /* leaves the last task out */
    UPSTREAM_CUT_CALLBACK,   /* leaves in the middle of the answer to its read, and answers */
    UPSTREAM_IMPATIENT,      /* leaves before its read is answered, and answers */
    UPSTREAM_STRAY,          /* adds a matcher, as external_labels do */
    UPSTREAM_HANGS,          /* never answers */
    UPSTREAM_LATE,           /* reads back after late_ms */
    UPSTREAM_BAD_DATA,       /* an error that quotes the query */
    UPSTREAM_GARBAGE,        /* no JSON */
    UPSTREAM_WARNS,          /* a warning of a failed remote read */
    UPSTREAM_INFOS,          /* infos and warnings of its own */
    UPSTREAM_THREE           /* a vector of three series */
};

struct upstream_peer {
    uint16_t port;
    _Atomic uint16_t read_port; /* where it reads back */
    _Atomic int mode, late_ms;
    _Atomic int queries, reads, connections;
    pthread_mutex_t lock;
    char last_form[8192]; /* of the last query; under lock */
    const char *config_yaml, *version;
    int listener;
    pthread_t thread;
    _Atomic bool ending;
};

void upstream_peer_start(struct upstream_peer *peer);
void upstream_peer_stop(struct upstream_peer *peer);

#endif
