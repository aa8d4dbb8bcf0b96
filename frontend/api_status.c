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

struct pair {
    struct label label;
    uint64_t series_n;
};

/* Distinct pairs, found by hash; the table doubles when it is two thirds full. */
struct pair_table {
    struct pair *at; /* label.name.ptr NULL: free */
    size_t size, used;
};

static size_t pair_place(const struct pair_table *table, const struct label *label)
{
    size_t at = (size_t)labels_hash((struct labels){label, 1}) & (table->size - 1);
    while (table->at[at].label.name.ptr &&
           !(str_eq(table->at[at].label.name, label->name) && str_eq(table->at[at].label.value, label->value)))
        at = (at + 1) & (table->size - 1);
    return at;
}

static bool pair_table_grow(struct pair_table *table)
{
    struct pair_table grown = {.size = table->size ? 2 * table->size : 1024, .used = table->used};
    grown.at = calloc(grown.size, sizeof *grown.at);
    if (!grown.at)
        return false;
    for (size_t i = 0; i < table->size; i++)
        if (table->at[i].label.name.ptr)
            grown.at[pair_place(&grown, &table->at[i].label)] = table->at[i];
    free(table->at);
    *table = grown;
    return true;
}

static bool pair_count(struct pair_table *table, const struct label *label)
{
    if (3 * (table->used + 1) > 2 * table->size && !pair_table_grow(table))
        return false;
    struct pair *pair = &table->at[pair_place(table, label)];
    if (!pair->label.name.ptr) {
        pair->label = *label;
        table->used++;
    }
    pair->series_n++;
    return true;
}

struct figure {
    struct str name, value; /* value.ptr NULL: the name alone */
    uint64_t count;
};

static int by_count(const void *a, const void *b)
{
    const struct figure *x = a, *y = b;
    if (x->count != y->count)
        return x->count > y->count ? -1 : 1;
    int order = str_cmp(x->name, y->name);
    return order ? order : str_cmp(x->value, y->value);
}

/* `"list":[{"name":…,"value":…}]`, the `limit` largest. */
static void write_figures(struct strbuf *out, const char *list, struct figure *at, size_t n, size_t limit)
{
    struct strbuf name;
    strbuf_init(&name, 1u << 20);
    qsort(at, n, sizeof *at, by_count);
    strbuf_f(out, ",\"%s\":[", list);
    for (size_t i = 0; i < n && i < limit; i++) {
        strbuf_clear(&name);
        strbuf_str(&name, at[i].name);
        if (at[i].value.ptr) {
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

static int by_label(const void *a, const void *b)
{
    const struct pair *x = a, *y = b;
    int order = str_cmp(x->label.name, y->label.name);
    return order ? order : str_cmp(x->label.value, y->label.value);
}

/* Makes the four lists from the distinct pairs, which it sorts in place. `figures` has room for one per pair. */
static void write_lists(struct strbuf *out, struct pair *pairs, size_t n, struct figure *figures, size_t limit)
{
    qsort(pairs, n, sizeof *pairs, by_label);
    size_t metrics_n = 0;
    for (size_t i = 0; i < n; i++)
        if (str_eq(pairs[i].label.name, LABEL_METRIC_NAME))
            figures[metrics_n++] = (struct figure){.name = pairs[i].label.value, .count = pairs[i].series_n};
    write_figures(out, "seriesCountByMetricName", figures, metrics_n, limit);
    for (int bytes = 0; bytes <= 1; bytes++) { /* first the number of values of each label, then their bytes */
        size_t names_n = 0;
        for (size_t i = 0; i < n; i++) {
            if (i == 0 || !str_eq(pairs[i].label.name, pairs[i - 1].label.name))
                figures[names_n++] = (struct figure){.name = pairs[i].label.name};
            figures[names_n - 1].count += bytes ? pairs[i].label.value.len * pairs[i].series_n : 1;
        }
        write_figures(out, bytes ? "memoryInBytesByLabelName" : "labelValueCountByLabelName", figures, names_n, limit);
    }
    for (size_t i = 0; i < n; i++)
        figures[i] = (struct figure){pairs[i].label.name, pairs[i].label.value, pairs[i].series_n};
    write_figures(out, "seriesCountByLabelValuePair", figures, n, limit);
}

static enum status write_cardinality(struct strbuf *out, const struct series_list *list, size_t limit,
                                     const struct backend_stats *stats, struct error *reterr)
{
    struct pair_table table = {0};
    bool room = pair_table_grow(&table);
    for (size_t i = 0; i < list->n && room; i++)
        for (size_t k = 0; k < list->at[i].n && room; k++)
            room = pair_count(&table, &list->at[i].at[k]);
    struct figure *figures = room ? calloc(table.used + 1, sizeof *figures) : NULL;
    if (figures) {
        size_t n = 0;
        for (size_t i = 0; i < table.size; i++)
            if (table.at[i].label.name.ptr)
                table.at[n++] = table.at[i];
        strbuf_f(out,
                 "{\"headStats\":{\"numSeries\":%llu,\"numLabelPairs\":%zu,\"chunkCount\":0,\"minTime\":%lld,"
                 "\"maxTime\":%lld}",
                 (unsigned long long)stats->series_n, n, (long long)stats->min_time_ms, (long long)stats->max_time_ms);
        write_lists(out, table.at, n, figures, limit);
        strbuf_char(out, '}');
    }
    free(figures);
    free(table.at);
    return figures ? OK : error_set(reterr, E_NOMEM, "no memory to count the labels of %zu series", list->n);
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
    struct series_query all = {.span = {API_TIME_MIN_MS, API_TIME_MAX_MS}};
    struct series_list *list = NULL;
    struct backend_stats stats;
    struct error error = {0};
    size_t limit = 0;
    struct strbuf out;
    http_set_deadline(request, request->received_ms + request->app->config.query_timeout_ms);
    enum status status = read_list_limit(request, &limit, &error);
    if (status == OK)
        status = backend->ops->stats(backend, &stats, &error);
    if (status == OK)
        status = backend->ops->series(backend, &all, &request->cancel, &list, &error);
    if (status != OK) {
        http_respond_error(request, &error);
        return;
    }
    api_answer_begin(&out);
    status = write_cardinality(&out, list, limit, &stats, &error);
    series_list_free(list);
    if (status == OK) {
        api_answer_end(request, &out, false);
        return;
    }
    strbuf_release(&out);
    http_respond_error(request, &error);
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

void api_metrics(struct http_request *request)
{
    struct app *app = request->app;
    struct backend_stats stats;
    struct error error = {0};
    if (app->backend->ops->stats(app->backend, &stats, &error) == OK) {
        metric_set(app->metrics, METRIC_ID_store_series, (int64_t)stats.series_n);
        metric_set(app->metrics, METRIC_ID_store_samples, (int64_t)stats.samples_n);
        metric_set(app->metrics, METRIC_ID_store_recent, (int64_t)stats.recent_n);
        metric_set(app->metrics, METRIC_ID_store_moves, (int64_t)stats.moves_n);
        metric_set(app->metrics, METRIC_ID_store_move_failures, (int64_t)stats.move_failures_n);
        metric_set(app->metrics, METRIC_ID_store_reopens, (int64_t)stats.reopens_n);
        metric_set(app->metrics, METRIC_ID_store_bytes, (int64_t)stats.disk_bytes);
        set_retention_metrics(app->metrics, &stats);
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
