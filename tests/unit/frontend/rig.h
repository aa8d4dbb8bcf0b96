/* tests/unit/frontend/rig.h: the program's parts put together over a scripted backend and a scripted upstream. */
#ifndef PROMSPLIT_TESTS_FRONTEND_RIG_H
#define PROMSPLIT_TESTS_FRONTEND_RIG_H

#include <stdatomic.h>

#include "frontend/app.h"
#include "frontend/ingest.h"
#include "frontend/probe.h"
#include "frontend/query.h"
#include "frontend/tasks.h"
#include "peer.h"

#define RIG_VALUE 21.0 /* of every series at every step of a fragment */

/* A backend that does what it is told. Every grid has `series` series {n="i"} of RIG_VALUE; raw reads give as many
 * series of raw_samples samples of value 1. */
struct scripted_backend {
    struct backend backend; /* first */
    _Atomic int series, raw_samples;
    _Atomic int run_delay_ms;
    _Atomic bool run_fails, run_hangs; /* hangs: until cancelled */
    _Atomic bool run_forbids;          /* fails as a part does that met what PromQL forbids */
    _Atomic int raw_fails_after;       /* blocks; negative: never */
    _Atomic bool append_fails;         /* every transaction */
    _Atomic bool append_waits;         /* every transaction is refused for the time being */
    _Atomic int append_poison;         /* transactions with a request of that many series fail; 0: none */
    _Atomic int append_delay_ms, append_refuses;
    _Atomic int runs, cancelled_runs, cursors_open, appends, appended_requests;
};

struct rig {
    struct app app;
    struct scripted_backend backend;
    struct upstream_peer upstream;
    uint16_t port;
};

struct rig_options {
    unsigned query_workers; /* 0: 4 */
    unsigned concurrency;   /* 0: 20 */
    unsigned queue_max;     /* 0: 1000 */
    unsigned connections_max;
    bool probe;
    bool no_upstream; /* nothing listens there */
    const char *dispatch;
    int64_t write_queue_max_bytes;
    const char *ha_directory;        /* of replicas one is stored; NULL: all */
    const struct http_route *routes; /* NULL: those of the API */
};

void rig_start(struct rig *rig, const struct rig_options *options /* NULL: standard */);
void rig_stop(struct rig *rig);

/* Waits until no query runs and no task is left; fails the test otherwise. */
void rig_expect_quiet(struct rig *rig);

#endif
