/* frontend/api_status.c: what this server is and holds: /api/v1/status/… and /metrics. */
#include <dirent.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "frontend/api.h"
#include "frontend/app.h"
#include "frontend/config_table.h"
#include "frontend/json.h"
#include "frontend/probe.h"

/* The Prometheus whose API this is, when upstream has not told its version yet. */
#define API_VERSION "3.5.0"

/* `"name":"value"` behind a comma or a brace. */
static void write_member(struct strbuf *out, const char *name, struct str value)
{
    strbuf_f(out, "%c\"%s\":", out->len > 0 && out->ptr[out->len - 1] == ':' ? '{' : ',', name);
    strbuf_json(out, value);
}

/* Clients read the version to learn what the API can do, so it is that of the Prometheus behind us. No `features`:
 * Grafana would take us for another product. */
void api_status_buildinfo(struct http_request *request)
{
    struct upstream_facts facts = probe_facts(request->app->probe);
    struct strbuf out;
    api_answer_begin(&out);
    write_member(&out, "version", str_from(facts.known ? facts.version : API_VERSION));
    write_member(&out, "revision", STR("promsplit-" PROMSPLIT_VERSION));
    write_member(&out, "branch", STR(""));
    write_member(&out, "buildUser", STR(""));
    write_member(&out, "buildDate", STR(""));
    write_member(&out, "goVersion", STR(""));
    strbuf_char(&out, '}');
    api_answer_end(request, &out, false);
}

static void write_time(struct strbuf *out, const char *name, int64_t time_ms)
{
    time_t seconds = (time_t)(time_ms / 1000);
    struct tm utc;
    char date[32];
    gmtime_r(&seconds, &utc);
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", &utc);
    write_member(out, name, str_from(date));
}

static int64_t threads_running(void)
{
    DIR *directory = opendir("/proc/self/task");
    int64_t n = -2; /* "." and ".." */
    if (!directory)
        return 0;
    while (readdir(directory))
        n++;
    closedir(directory);
    return n;
}

/* "15d or 10GB"; empty when all is kept. */
static void write_retention(struct strbuf *out, const struct config *config)
{
    struct strbuf text;
    strbuf_init(&text, 256);
    if (config->storage_retention_time_ms)
        param_print(&text, config, &params[PARAM_INDEX_storage_retention_time_ms]);
    if (config->storage_retention_time_ms && config->storage_retention_size_bytes)
        strbuf_cstr(&text, " or ");
    if (config->storage_retention_size_bytes)
        param_print(&text, config, &params[PARAM_INDEX_storage_retention_size_bytes]);
    write_member(out, "storageRetention", strbuf_view(&text));
    strbuf_release(&text);
}

/* Prometheus's members; what only Go has is empty, threads stand for goroutines. */
void api_status_runtimeinfo(struct http_request *request)
{
    char directory[PATH_MAX], host[256] = "";
    struct strbuf out;
    api_answer_begin(&out);
    write_time(&out, "startTime", request->app->started_ms);
    write_member(&out, "CWD", str_from(getcwd(directory, sizeof directory) ? directory : ""));
    gethostname(host, sizeof host - 1);
    write_member(&out, "hostname", str_from(host));
    write_time(&out, "serverTime", wall_clock_ms());
    strbuf_cstr(&out, ",\"reloadConfigSuccess\":true");
    write_time(&out, "lastConfigTime", request->app->started_ms);
    strbuf_f(&out, ",\"corruptionCount\":0,\"goroutineCount\":%lld,\"GOMAXPROCS\":%ld,\"GOMEMLIMIT\":%lld",
             (long long)threads_running(), sysconf(_SC_NPROCESSORS_ONLN),
             (long long)request->app->config.storage_memory_bytes);
    write_member(&out, "GOGC", STR(""));
    write_member(&out, "GODEBUG", STR(""));
    write_retention(&out, &request->app->config);
    strbuf_char(&out, '}');
    api_answer_end(request, &out, false);
}

void api_status_flags(struct http_request *request)
{
    struct strbuf out;
    api_answer_begin(&out);
    config_flags_json(&out, &request->app->config);
    api_answer_end(request, &out, false);
}

void api_status_config(struct http_request *request)
{
    struct strbuf out, yaml;
    strbuf_init(&yaml, 1u << 20);
    config_yaml(&yaml, &request->app->config);
    api_answer_begin(&out);
    write_member(&out, "yaml", strbuf_view(&yaml));
    strbuf_char(&out, '}');
    strbuf_release(&yaml);
    api_answer_end(request, &out, false);
}

#define STATUS_LIMIT_MAX 10000 /* as Prometheus */

/* --- status/tsdb: how many series each name, label and pair has --- */

/* `"list":[{"name":…,"value":…}]` */
static void write_figures(struct strbuf *out, const char *list, const struct cardinality_figure *at, size_t n)
{
    struct strbuf name;
    strbuf_init(&name, 1u << 20);
    strbuf_f(out, ",\"%s\":[", list);
    for (size_t i = 0; i < n; i++) {
        strbuf_clear(&name);
        strbuf_str(&name, at[i].name);
        if (at[i].value.len > 0) {
            strbuf_char(&name, '=');
            strbuf_str(&name, at[i].value);
        }
        strbuf_cstr(out, i > 0 ? ",{\"name\":" : "{\"name\":");
        strbuf_json(out, strbuf_view(&name));
        strbuf_f(out, ",\"value\":%llu}", (unsigned long long)at[i].count);
    }
    strbuf_char(out, ']');
    strbuf_release(&name);
}

static void write_cardinality(struct strbuf *out, const struct cardinality_report *cardinality,
                              const struct backend_stats *stats)
{
    static const char *const LISTS[CARDINALITY_MAX] = {
        [CARDINALITY_METRIC] = "seriesCountByMetricName",
        [CARDINALITY_VALUES] = "labelValueCountByLabelName",
        [CARDINALITY_VALUE_BYTES] = "memoryInBytesByLabelName",
        [CARDINALITY_PAIR] = "seriesCountByLabelValuePair",
    };
    strbuf_f(out,
             "{\"headStats\":{\"numSeries\":%llu,\"numLabelPairs\":%llu,\"chunkCount\":0,\"minTime\":%lld,"
             "\"maxTime\":%lld}",
             (unsigned long long)cardinality->series_n, (unsigned long long)cardinality->pairs_n,
             (long long)stats->min_time_ms, (long long)stats->max_time_ms);
    for (int i = 0; i < CARDINALITY_MAX; i++)
        write_figures(out, LISTS[i], cardinality->at[i], cardinality->n[i]);
    strbuf_char(out, '}');
}

static enum status read_list_limit(const struct http_request *request, size_t *ret_limit, struct error *reterr)
{
    const struct str *text = http_param(request, "limit");
    int64_t limit = 10;
    if (text && text->len > 0 && (!api_whole(*text, &limit) || limit < 1))
        return error_set(reterr, E_BAD_DATA, "limit must be a positive number");
    if (limit > STATUS_LIMIT_MAX)
        return error_set(reterr, E_BAD_DATA, "limit must not exceed %d", STATUS_LIMIT_MAX);
    *ret_limit = (size_t)limit;
    return OK;
}

/* Prometheus's shape. There are no chunks here: chunkCount is 0. */
void api_status_tsdb(struct http_request *request)
{
    struct backend *backend = request->app->backend;
    struct cardinality_report *cardinality = NULL;
    struct backend_stats stats;
    struct error error = {0};
    size_t limit = 0;
    enum status status = read_list_limit(request, &limit, &error);
    if (status == OK)
        status = backend->ops->stats(backend, &stats, &error);
    if (status == OK)
        status = backend->ops->cardinality(backend, limit, &cardinality, &error);
    if (status != OK) {
        http_respond_error(request, &error);
        return;
    }
    struct strbuf out;
    api_answer_begin(&out);
    write_cardinality(&out, cardinality, &stats);
    cardinality_free(cardinality);
    api_answer_end(request, &out, false);
}

/* --- /metrics --- */

#define METRICS_MAX_BYTES (4u << 20)

static void set_retention_metrics(struct metrics *metrics, const struct backend_stats *stats)
{
    int64_t oldest_ms = stats->samples_n ? stats->min_time_ms : 0;
    metric_set(metrics, METRIC_ID_store_used_bytes, (int64_t)stats->used_bytes);
    metric_set(metrics, METRIC_ID_store_oldest, oldest_ms / 1000);
    metric_set(metrics, METRIC_ID_store_dropped_partitions, (int64_t)stats->dropped_partitions_n);
    metric_set(metrics, METRIC_ID_store_dropped_samples, (int64_t)stats->dropped_samples_n);
    metric_set(metrics, METRIC_ID_store_dropped_series, (int64_t)stats->dropped_series_n);
    metric_set(metrics, METRIC_ID_store_retention_failures, (int64_t)stats->retention_failures_n);
}

static void set_rollup_metrics(struct metrics *metrics, const struct backend_stats *stats)
{
    metric_set(metrics, METRIC_ID_store_rollup_rows, (int64_t)stats->rollup_rows_n);
    metric_set(metrics, METRIC_ID_store_rollup_oldest,
               stats->rollup_min_time_ms == INT64_MAX ? 0 : stats->rollup_min_time_ms / 1000);
    metric_set(metrics, METRIC_ID_store_rollup_rounds, (int64_t)stats->rollup_rounds_n);
    metric_set(metrics, METRIC_ID_store_rollup_failures, (int64_t)stats->rollup_failures_n);
    metric_set(metrics, METRIC_ID_store_rollup_seconds, (int64_t)(stats->rollup_spent_us / 1000000));
}

void api_metrics(struct http_request *request)
{
    struct app *app = request->app;
    struct backend_stats stats;
    struct error error = {0};
    if (app->backend->ops->stats(app->backend, &stats, &error) == OK) {
        metric_set(app->metrics, METRIC_ID_store_series, (int64_t)stats.series_n);
        metric_set(app->metrics, METRIC_ID_store_samples, (int64_t)stats.samples_n);
        metric_set(app->metrics, METRIC_ID_store_exemplars, (int64_t)stats.exemplars_n);
        metric_set(app->metrics, METRIC_ID_store_histograms, (int64_t)stats.histograms_n);
        metric_set(app->metrics, METRIC_ID_store_recent, (int64_t)stats.recent_n);
        metric_set(app->metrics, METRIC_ID_store_moves, (int64_t)stats.moves_n);
        metric_set(app->metrics, METRIC_ID_store_move_failures, (int64_t)stats.move_failures_n);
        metric_set(app->metrics, METRIC_ID_store_reopens, (int64_t)stats.reopens_n);
        metric_set(app->metrics, METRIC_ID_store_bytes, (int64_t)stats.disk_bytes);
        set_retention_metrics(app->metrics, &stats);
        set_rollup_metrics(app->metrics, &stats);
    }
    metric_set(app->metrics, METRIC_ID_upstream_ready, probe_facts(app->probe).ready);
    struct strbuf out;
    strbuf_init(&out, METRICS_MAX_BYTES);
    metrics_write(app->metrics, &out);
    if (strbuf_status(&out, "metrics", &error) == OK)
        http_respond(request, 200, "text/plain; version=0.0.4; charset=utf-8", &out);
    else
        http_respond_error(request, &error);
    strbuf_release(&out);
}
