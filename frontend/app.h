/* frontend/app.h: what the running program consists of: built once by cmd_serve.c, torn down in reverse.
 *
 * Threads: pointers never change between start and stop; each part says itself who may call it.
 */
#ifndef PROMSPLIT_FRONTEND_APP_H
#define PROMSPLIT_FRONTEND_APP_H

#include "backend/backend.h"
#include "frontend/config.h"
#include "frontend/http.h"
#include "frontend/log.h"
#include "frontend/metrics.h"
#include "frontend/pool.h"
#include "remote/upstream.h"

struct tasks;
struct queries;
struct ingest;
struct probe;

struct app {
    struct config config;
    struct log *log;
    struct metrics *metrics;
    struct backend *backend;
    struct upstream *upstream;
    struct pool *pools[POOL_MAX];
    struct tasks *tasks;     /* frontend/tasks.h */
    struct queries *queries; /* frontend/query.h: the queries admitted, and those waiting for a place */
    struct ingest *ingest;   /* frontend/ingest.h: the one thread that commits writes */
    struct probe *probe;     /* frontend/probe.h: what is known of the upstream, and whether it reads back */
    struct http_server *server;
    int64_t started_ms; /* wall clock */
};

#endif
