/* frontend/cmd_serve.c: promsplit serve: builds the parts of struct app in order, waits for a signal, takes them down.
 *
 * What stops first is what feeds the others: the server (its requests end or are cancelled), then the probe, the client
 * of upstream, the pools (they drain), and last what their jobs used.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "backend/duckdb/duckdb_backend.h"
#include "frontend/api.h"
#include "frontend/app.h"
#include "frontend/cli.h"
#include "frontend/ingest.h"
#include "frontend/probe.h"
#include "frontend/query.h"
#include "frontend/tasks.h"

#define STOP_GRACE_MS       5000   /* for open requests, after a signal */
#define CONNECT_TIMEOUT_MS  5000   /* to upstream */
#define CALLBACKS_QUEUE_MAX 100000 /* callbacks are bounded by the connections of the server */
#define WRITES_QUEUE_MAX    10000

#define GET_POST (HTTP_GET | HTTP_POST)
#define POST_PUT (HTTP_POST | HTTP_PUT)

static const struct http_route routes[] = {
    {GET_POST, "/api/v1/query", POOL_QUERIES, true, api_query},
    {GET_POST, "/api/v1/query_range", POOL_QUERIES, true, api_query_range},
    {GET_POST, "/api/v1/query_exemplars", POOL_QUERIES, true, api_query_exemplars},
    {GET_POST, "/api/v1/explain", POOL_QUERIES, true, api_explain},
    {GET_POST, "/api/v1/format_query", POOL_QUERIES, true, api_format_query},
    {GET_POST, "/api/v1/parse_query", POOL_QUERIES, true, api_parse_query},
    {GET_POST, "/api/v1/labels", POOL_QUERIES, true, api_labels},
    {HTTP_GET, "/api/v1/label/*/values", POOL_QUERIES, true, api_label_values},
    {GET_POST, "/api/v1/series", POOL_QUERIES, true, api_series},
    {HTTP_GET, "/api/v1/metadata", POOL_QUERIES, true, api_metadata},
    {HTTP_GET, "/api/v1/status/buildinfo", POOL_WRITES, true, api_status_buildinfo},
    {HTTP_GET, "/api/v1/status/runtimeinfo", POOL_WRITES, true, api_status_runtimeinfo},
    {HTTP_GET, "/api/v1/status/flags", POOL_WRITES, true, api_status_flags},
    {HTTP_GET, "/api/v1/status/config", POOL_WRITES, true, api_status_config},
    {HTTP_GET, "/api/v1/status/tsdb", POOL_QUERIES, true, api_status_tsdb},
    {HTTP_GET, "/api/v1/rules", POOL_QUERIES, true, api_proxied},
    {HTTP_GET, "/api/v1/alerts", POOL_QUERIES, true, api_proxied},
    {HTTP_GET, "/api/v1/alertmanagers", POOL_QUERIES, true, api_proxied},
    {HTTP_GET, "/api/v1/targets", POOL_QUERIES, true, api_proxied},
    {HTTP_GET, "/api/v1/targets/metadata", POOL_QUERIES, true, api_proxied},
    {POST_PUT, "/api/v1/admin/tsdb/delete_series", POOL_QUERIES, true, api_delete_series},
    {POST_PUT, "/api/v1/admin/tsdb/clean_tombstones", POOL_QUERIES, true, api_clean_tombstones},
    {POST_PUT, "/api/v1/admin/tsdb/snapshot", POOL_QUERIES, true, api_snapshot},
    {HTTP_POST, "/api/v1/read", POOL_CALLBACKS, false, api_read},
    {HTTP_POST, "/api/v1/write", POOL_WRITES, false, api_write},
    {HTTP_POST, "/api/v1/import", POOL_WRITES, false, api_import},
    {HTTP_POST, "/api/v1/otlp/v1/metrics", POOL_WRITES, false, api_otlp},
    /* On the writers' pool, which never waits for the engine: these must answer when queries are stuck. */
    {HTTP_GET | HTTP_HEAD, "/-/healthy", POOL_WRITES, true, api_healthy},
    {HTTP_GET | HTTP_HEAD, "/-/ready", POOL_WRITES, true, api_ready},
    {HTTP_GET, "/metrics", POOL_WRITES, true, api_metrics},
    {HTTP_GET | HTTP_HEAD, "/", POOL_WRITES, true, api_page},
    {0},
};

static enum status make_pools(struct app *app, struct error *reterr)
{
    const struct config *config = &app->config;
    unsigned queries_n = (unsigned)config->query_concurrency_max;
    const struct pool_plan plans[POOL_MAX] = {
        [POOL_QUERIES] = {"queries", queries_n, (size_t)config->query_queue_max, false},
        [POOL_CALLBACKS] = {"callbacks", (unsigned)config->read_threads, CALLBACKS_QUEUE_MAX, false},
        [POOL_WRITES] = {"writes", (unsigned)config->write_threads, WRITES_QUEUE_MAX, true},
        [POOL_ENGINE] = {"engine", queries_n, (size_t)config->query_tasks_max, false},
    };
    for (int i = 0; i < POOL_MAX; i++) {
        enum status status = pool_new(&plans[i], &app->pools[i], reterr);
        if (status != OK)
            return status;
    }
    return OK;
}

/* What is kept; the rules live as long as the configuration, whose texts they are made of. */
static enum status retention_of(struct config *config, struct retention *ret, struct error *reterr)
{
    struct retention_rule *rules = ARENA_ARRAY(&config->arena, struct retention_rule, config->retention_rules_n + 1);
    if (!rules)
        return error_set(reterr, E_NOMEM, "no memory for the rules of retention");
    for (size_t i = 0; i < config->retention_rules_n; i++)
        rules[i] = (struct retention_rule){config->retention_rules[i].selector, config->retention_rules[i].time_ms};
    *ret = (struct retention){.rules = rules,
                              .rules_n = config->retention_rules_n,
                              .time_ms = config->storage_retention_time_ms,
                              .rollups_ms = config->storage_rollups_retention_ms,
                              .size_bytes = (uint64_t)config->storage_retention_size_bytes};
    return OK;
}

static void log_failure(void *arg, const char *what, const struct error *error)
{
    struct app *app = arg;
    struct log_line line = log_begin(app->log, LOG_WARN, what);
    log_error(&line, error);
    log_end(&line);
}

static uint64_t preload_bytes(const struct config *config)
{
    int64_t most = config->storage_memory_bytes ? config->storage_memory_bytes / 8 : INT64_MAX;
    return (uint64_t)(config->storage_preload_bytes < most ? config->storage_preload_bytes : most);
}

/* One connection for whoever may be in the engine at once: fragments, listings, callbacks, and the cursors that a
 * callback keeps open while its reader is slow. */
static enum status open_backend(struct app *app, struct error *reterr)
{
    const struct config *config = &app->config;
    struct retention retention;
    enum status status = retention_of(&app->config, &retention, reterr);
    if (status != OK)
        return status;
    struct rollup_settings rollups = {.levels_n = config->rollups_n,
                                      .selectors = &config->rollups_selector,
                                      .selectors_n = config->storage_rollups_match[0] ? 1 : 0};
    memcpy(rollups.levels_ms, config->rollups_ms, sizeof rollups.levels_ms);
    int64_t connections = 2 * config->query_concurrency_max + config->read_threads +
                          2 * config->upstream_connections_max + config->write_threads + 8;
    struct duckdb_options options = {.directory = config->storage_path,
                                     .threads = (unsigned)config->storage_threads,
                                     .memory_max_bytes = (uint64_t)config->storage_memory_bytes,
                                     .preload_bytes = preload_bytes(config),
                                     .future_max_ms = config->storage_future_ms,
                                     .out_of_order_window_ms = config->storage_window_ms,
                                     .min_free_bytes = (uint64_t)config->storage_min_free_bytes,
                                     .compact_rows = (uint64_t)config->storage_compact_rows,
                                     .connections_max = (unsigned)connections,
                                     .exemplars_max = (uint64_t)config->storage_exemplars_max,
                                     .retention = retention,
                                     .rollups = &rollups,
                                     .on_failure = log_failure,
                                     .on_failure_arg = app};
    return duckdb_backend_open(&options, &app->backend, reterr);
}

static enum status open_upstream(struct app *app, struct error *reterr)
{
    struct upstream_options options = {.url = app->config.upstream_url,
                                       .peer = "upstream",
                                       .connections_max = (unsigned)app->config.upstream_connections_max,
                                       .connect_timeout_ms = CONNECT_TIMEOUT_MS,
                                       .answer_max_bytes = (size_t)app->config.upstream_answer_max_bytes,
                                       .user_agent = "promsplit/" PROMSPLIT_VERSION};
    return upstream_new(&options, &app->upstream, reterr);
}

static enum status start_server(struct app *app, struct error *reterr)
{
    const struct config *config = &app->config;
    int64_t body_max = config->read_body_max_bytes > config->write_body_max_bytes ? config->read_body_max_bytes
                                                                                  : config->write_body_max_bytes;
    struct http_options options = {.listen_address = config->listen_address,
                                   .threads = (unsigned)config->web_threads,
                                   .connections_max = (unsigned)config->web_connections_max,
                                   .form_max_bytes = (size_t)config->web_form_max_bytes,
                                   .body_max_bytes = (size_t)body_max,
                                   .idle_timeout_ms = config->web_idle_timeout_ms};
    return http_server_start(app, &options, routes, &app->server, reterr);
}

static enum status check_ha(const struct config *config, struct error *reterr)
{
    struct str cluster = str_from(config->ha_cluster_label), replica = str_from(config->ha_replica_label);
    if (cluster.len && replica.len && !str_eq(cluster, replica) && !str_eq(cluster, LABEL_METRIC_NAME) &&
        !str_eq(replica, LABEL_METRIC_NAME))
        return OK;
    return error_set(reterr, E_BAD_DATA,
                     "--ha.cluster-label and --ha.replica-label must be two labels, neither of them __name__");
}

/* What only later parts would find wrong is found before anything is opened. */
static enum status check_config(const struct config *config, struct error *reterr)
{
    push_set push;
    if (push_set_parse(str_from(config->planner_push), &push, reterr) != OK)
        return error_prefix(reterr, "--planner.push: ");
    return check_ha(config, reterr);
}

static enum status start(struct app *app, struct error *reterr)
{
    enum status status = check_config(&app->config, reterr);
    if (status == OK)
        status = log_new(app->config.log_level, app->config.log_format, &app->log, reterr);
    if (status == OK)
        status = metrics_new(&app->metrics, reterr);
    if (status == OK)
        status = open_backend(app, reterr);
    if (status == OK)
        status = make_pools(app, reterr);
    if (status == OK)
        status = open_upstream(app, reterr);
    if (status == OK)
        status = tasks_new(app, (size_t)app->config.query_tasks_max, &app->tasks, reterr);
    if (status == OK)
        status = queries_new(app, &app->queries, reterr);
    if (status == OK)
        status = ingest_new(app, (size_t)app->config.write_queue_max_bytes, &app->ingest, reterr);
    if (status == OK)
        status = probe_new(app, &app->probe, reterr);
    if (status == OK)
        status = start_server(app, reterr);
    return status;
}

static void stop(struct app *app)
{
    http_server_stop(app->server, STOP_GRACE_MS);
    probe_free(app->probe);
    upstream_free(app->upstream);
    for (int i = 0; i < POOL_MAX; i++)
        pool_free(app->pools[i]);
    ingest_free(app->ingest);
    queries_free(app->queries);
    tasks_free(app->tasks);
    if (app->backend)
        app->backend->ops->close(app->backend);
    metrics_free(app->metrics);
    log_free(app->log);
}

static void log_listening(struct app *app)
{
    struct log_line line = log_begin(app->log, LOG_INFO, "listening");
    log_str(&line, "version", STR(PROMSPLIT_VERSION));
    log_str(&line, "address", str_from(app->config.listen_address));
    log_i64(&line, "port", http_server_port(app->server));
    log_str(&line, "upstream", str_from(upstream_url(app->upstream)));
    log_str(&line, "storage", str_from(app->config.storage_path));
    log_end(&line);
}

/* Returns the signal that ends the program. It was blocked before any thread began, so it waits here for us; a second
 * one, during the teardown, ends the program at once. */
static int wait_for_signal(const sigset_t *signals)
{
    int signal_number = 0;
    while (sigwait(signals, &signal_number) != 0)
        ;
    pthread_sigmask(SIG_UNBLOCK, signals, NULL);
    return signal_number;
}

static int serve(struct app *app)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file at its limit is a write that fails */
    app->started_ms = wall_clock_ms();
    struct error error = {.begin = ERROR_NO_POSITION};
    int code = CLI_OK;
    if (start(app, &error) == OK) {
        log_listening(app);
        probe_now(app->probe);
        int signal_number = wait_for_signal(&signals);
        struct log_line line = log_begin(app->log, LOG_INFO, "stopping");
        log_str(&line, "signal", str_from(signal_number == SIGINT ? "interrupt" : "terminate"));
        log_end(&line);
    } else {
        code = cli_fail(CLI_FAILED, &error, NULL);
    }
    stop(app);
    return code;
}

int cmd_serve(int argc, char *const argv[])
{
    struct app app = {0};
    int code = cli_config(&app.config, COMMAND_SERVE, argc, argv) == OK ? serve(&app) : CLI_USAGE;
    config_release(&app.config);
    return code;
}
