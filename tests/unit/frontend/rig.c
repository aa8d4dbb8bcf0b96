/* tests/unit/frontend/rig.c: see rig.h. */
#include "rig.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/assert.h"
#include "frontend/api.h"

/* --- the scripted backend --- */

static struct scripted_backend *script_of(struct backend *backend)
{
    return (struct scripted_backend *)backend;
}

static void nap(int ms)
{
    poll(NULL, 0, ms);
}

static struct labels number_labels(struct arena *arena, int number)
{
    struct label *label = ARENA_NEW(arena, struct label);
    char text[16];
    int n = snprintf(text, sizeof text, "%06d", number);
    INVARIANT(label);
    *label = (struct label){STR("n"), arena_str(arena, (struct str){text, (size_t)n})};
    return (struct labels){label, 1};
}

static enum status hang(struct scripted_backend *script, struct cancel *cancel, struct error *reterr)
{
    while (cancel_check(cancel, reterr) == OK)
        nap(1);
    script->cancelled_runs++;
    return reterr->status;
}

static enum status run(struct backend *backend, const struct fragment *fragment, const struct run_limits *limits,
                       struct cancel *cancel, struct grid_result **ret_result, struct error *reterr)
{
    struct scripted_backend *script = script_of(backend);
    script->runs++;
    if (script->run_delay_ms)
        nap(script->run_delay_ms);
    if (script->run_fails)
        return error_set(reterr, E_STORE, "the engine broke");
    if (script->run_forbids)
        return error_set(reterr, E_EXECUTION, "promql: same labelset");
    if (script->run_hangs)
        return hang(script, cancel, reterr);
    struct grid_result *result = calloc(1, sizeof *result);
    INVARIANT(result);
    arena_init(&result->arena, (size_t)1 << 30);
    uint32_t steps = fragment->grid.steps;
    int n = script->series;
    double *values = ARENA_ARRAY(&result->arena, double, steps);
    uint64_t *present = ARENA_ARRAY(&result->arena, uint64_t, steps / 64 + 1);
    result->series = ARENA_ARRAY(&result->arena, struct grid_series, (size_t)n + 1);
    INVARIANT(values && present && result->series);
    for (uint32_t k = 0; k < steps; k++) {
        values[k] = RIG_VALUE;
        present[k / 64] |= UINT64_C(1) << k % 64;
    }
    for (int i = 0; i < n; i++)
        result->series[i] = (struct grid_series){number_labels(&result->arena, i), values, present};
    result->grid = fragment->grid;
    result->series_n = (size_t)n;
    result->values_n = (uint64_t)n * steps;
    *ret_result = result;
    return OK;
}

struct raw_cursor {
    struct scripted_backend *script;
    struct cancel *cancel;
    struct arena arena;
    struct sample samples[1000];
    int series, at; /* samples given of this series */
    int blocks;
};

static enum status raw_open(struct backend *backend, enum raw_form form, const struct matcher *at, size_t n,
                            struct time_span span, struct cancel *cancel, struct raw_cursor **ret_cursor,
                            struct error *reterr)
{
    struct raw_cursor *cursor = calloc(1, sizeof *cursor);
    INVARIANT(cursor);
    cursor->script = script_of(backend);
    cursor->cancel = cancel;
    arena_init(&cursor->arena, (size_t)1 << 26);
    cursor->script->cursors_open++;
    *ret_cursor = cursor;
    return OK;
}

static enum status raw_next(struct raw_cursor *cursor, struct raw_block *ret_block, struct error *reterr)
{
    struct scripted_backend *script = cursor->script;
    if (cancel_check(cursor->cancel, reterr) != OK)
        return reterr->status;
    if (script->raw_fails_after >= 0 && cursor->blocks++ >= script->raw_fails_after)
        return error_set(reterr, E_STORE, "the disk broke");
    *ret_block = (struct raw_block){0};
    if (cursor->series >= script->series)
        return OK;
    int left = script->raw_samples - cursor->at, n = left < 1000 ? left : 1000;
    for (int i = 0; i < n; i++)
        cursor->samples[i] = (struct sample){1000 * (int64_t)(cursor->at + i), 1};
    cursor->at += n;
    *ret_block = (struct raw_block){.labels = number_labels(&cursor->arena, cursor->series),
                                    .samples = cursor->samples,
                                    .samples_n = (size_t)n,
                                    .series_ends = cursor->at == script->raw_samples};
    if (ret_block->series_ends) {
        cursor->series++;
        cursor->at = 0;
    }
    return OK;
}

static void raw_close(struct raw_cursor *cursor)
{
    cursor->script->cursors_open--;
    arena_release(&cursor->arena);
    free(cursor);
}

static enum status series(struct backend *backend, const struct series_query *query, struct cancel *cancel,
                          struct series_list **ret_list, struct error *reterr)
{
    struct series_list *list = calloc(1, sizeof *list);
    INVARIANT(list);
    arena_init(&list->arena, 1 << 20);
    list->n = (size_t)script_of(backend)->series;
    list->at = ARENA_ARRAY(&list->arena, struct labels, list->n + 1);
    for (size_t i = 0; i < list->n; i++)
        list->at[i] = number_labels(&list->arena, (int)i);
    *ret_list = list;
    return OK;
}

static enum status append(struct backend *backend, struct append_request *requests, size_t n, struct error *reterr)
{
    struct scripted_backend *script = script_of(backend);
    script->appends++;
    if (script->append_delay_ms)
        nap(script->append_delay_ms);
    if (script->append_fails)
        return error_set(reterr, E_STORE, "disk full");
    if (script->append_waits)
        return error_set(reterr, E_UNAVAILABLE, "no space for writes");
    for (size_t i = 0; i < n; i++)
        if (script->append_poison && requests[i].series_n == (size_t)script->append_poison)
            return error_set(reterr, E_NOMEM, "poison");
    for (size_t i = 0; i < n; i++) {
        size_t samples = 0;
        for (size_t s = 0; s < requests[i].series_n; s++)
            samples += requests[i].series[s].samples_n;
        requests[i].out_of_order = (size_t)script->append_refuses < samples ? (size_t)script->append_refuses : samples;
        requests[i].written = samples - requests[i].out_of_order;
        if (requests[i].out_of_order)
            error_set(&requests[i].refused, E_BAD_DATA, "out of order sample");
        script->appended_requests++;
    }
    return OK;
}

static enum status regex_check(void *arg, struct str pattern, struct error *reterr)
{
    return OK;
}

static bool regex_matches(void *arg, struct str pattern, struct str text)
{
    return str_eq(pattern, text);
}

static struct regex_engine regex(struct backend *backend)
{
    return (struct regex_engine){.check = regex_check, .matches = regex_matches};
}

static bool has_histograms(struct backend *backend, const struct expr_selector *selector, struct time_span span)
{
    return false;
}

static const struct capabilities capabilities = {.backend = "scripted",
                                                 .selector = true,
                                                 .subquery = true,
                                                 .function = {[FN_RATE] = true, [FN_MAX_OVER_TIME] = true},
                                                 .aggregate = {[AGG_SUM] = true, [AGG_MAX] = true}};

static const struct backend_ops scripted_ops = {.name = "scripted",
                                                .capabilities = &capabilities,
                                                .append = append,
                                                .run = run,
                                                .has_histograms = has_histograms,
                                                .raw_open = raw_open,
                                                .raw_next = raw_next,
                                                .raw_close = raw_close,
                                                .series = series,
                                                .regex = regex};

/* --- the program --- */

static const struct http_route api_routes[] = {
    {HTTP_GET | HTTP_POST, "/api/v1/query", POOL_QUERIES, true, api_query},
    {HTTP_GET | HTTP_POST, "/api/v1/query_range", POOL_QUERIES, true, api_query_range},
    {HTTP_POST, "/api/v1/read", POOL_CALLBACKS, false, api_read},
    {HTTP_POST, "/api/v1/write", POOL_WRITES, false, api_write},
    {HTTP_POST, "/api/v1/import", POOL_WRITES, false, api_import},
    {HTTP_POST, "/api/v1/otlp/v1/metrics", POOL_WRITES, false, api_otlp},
    {HTTP_GET, "/-/ready", POOL_WRITES, true, api_ready},
    {HTTP_GET, "/-/healthy", POOL_WRITES, true, api_healthy},
    {0},
};

#define MUST(call)                                                                                                     \
    do {                                                                                                               \
        struct error error_ = {.message = ""};                                                                         \
        struct error *reterr = &error_;                                                                                \
        if ((call) != OK)                                                                                              \
            fail_msg("%s: %s", #call, error_.message);                                                                 \
    } while (0)

static void configure(struct rig *rig, const struct rig_options *options)
{
    struct config *config = &rig->app.config;
    config_init(config);
    config->query_concurrency_max = options->concurrency ? options->concurrency : 20;
    config->query_queue_max = options->queue_max ? options->queue_max : 1000;
    config->query_timeout_ms = 20000;
    config->upstream_probe_interval_ms = 100;
    config->write_body_max_bytes = 1 << 20;
    config->ha_enabled = options->ha_directory != NULL;
    if (options->ha_directory)
        config->storage_path = options->ha_directory;
    config->task_dispatch = options->dispatch ? options->dispatch : "eager";
    if (!options->probe)
        config->upstream_version = "3";
    if (options->write_queue_max_bytes)
        config->write_queue_max_bytes = options->write_queue_max_bytes;
}

static void start_parts(struct rig *rig, const struct rig_options *options)
{
    struct app *app = &rig->app;
    unsigned workers[POOL_MAX] = {[POOL_QUERIES] = options->query_workers ? options->query_workers : 4,
                                  [POOL_CALLBACKS] = 2,
                                  [POOL_WRITES] = 2,
                                  [POOL_ENGINE] = 4};
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%u", rig->upstream.port);
    struct upstream_options upstream = {.url = url,
                                        .peer = "upstream",
                                        .connections_max = 20,
                                        .connect_timeout_ms = 2000,
                                        .answer_max_bytes = 1 << 20,
                                        .user_agent = "test"};
    struct http_options http = {.listen_address = "127.0.0.1:0",
                                .threads = 2,
                                .connections_max = options->connections_max ? options->connections_max : 200,
                                .form_max_bytes = 65536,
                                .body_max_bytes = 1 << 20,
                                .idle_timeout_ms = 30000};
    MUST(log_new("error", "logfmt", &app->log, reterr));
    MUST(metrics_new(&app->metrics, reterr));
    for (int i = 0; i < POOL_MAX; i++)
        MUST(pool_new(&(struct pool_plan){"test", workers[i], 10000, false}, &app->pools[i], reterr));
    MUST(upstream_new(&upstream, &app->upstream, reterr));
    MUST(tasks_new(app, (size_t)app->config.query_tasks_max, &app->tasks, reterr));
    MUST(queries_new(app, &app->queries, reterr));
    MUST(ingest_new(app, (size_t)app->config.write_queue_max_bytes, &app->ingest, reterr));
    if (options->probe)
        MUST(probe_new(app, &app->probe, reterr));
    MUST(http_server_start(app, &http, options->routes ? options->routes : api_routes, &app->server, reterr));
}

void rig_start(struct rig *rig, const struct rig_options *options)
{
    static const struct rig_options standard = {0};
    options = options ? options : &standard;
    rig->backend.backend.ops = &scripted_ops;
    rig->backend.raw_fails_after = -1;
    rig->backend.series = rig->backend.series ? (int)rig->backend.series : 2;
    rig->backend.raw_samples = 10;
    rig->app.backend = &rig->backend.backend;
    upstream_peer_start(&rig->upstream);
    configure(rig, options);
    if (options->no_upstream) {
        upstream_peer_stop(&rig->upstream);
        rig->upstream.listener = -1;
    }
    start_parts(rig, options);
    rig->port = http_server_port(rig->app.server);
    rig->upstream.read_port = rig->port;
}

void rig_stop(struct rig *rig)
{
    struct app *app = &rig->app;
    http_server_stop(app->server, 1000);
    probe_free(app->probe);
    upstream_free(app->upstream);
    for (int i = 0; i < POOL_MAX; i++)
        pool_free(app->pools[i]);
    ingest_free(app->ingest);
    queries_free(app->queries);
    tasks_free(app->tasks);
    metrics_free(app->metrics);
    log_free(app->log);
    config_release(&app->config);
    if (rig->upstream.listener >= 0)
        upstream_peer_stop(&rig->upstream);
    assert_int_equal(rig->backend.cursors_open, 0);
}

void rig_expect_quiet(struct rig *rig)
{
    for (int i = 0; i < 2000 && (tasks_count(rig->app.tasks) || rig->backend.cursors_open); i++)
        nap(1);
    assert_int_equal(tasks_count(rig->app.tasks), 0);
    assert_int_equal(rig->backend.cursors_open, 0);
}
