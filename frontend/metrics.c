/* frontend/metrics.c: see metrics.h. The text format is Prometheus's exposition format 0.0.4. */
#include "frontend/metrics.h"

#include <dirent.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/float_text.h"

#define SLOTS_MAX       16
#define LABEL_MAX_BYTES 24

enum kind {
    COUNTER,
    GAUGE,
    HISTOGRAM_KIND
};

struct definition {
    const char *name, *label, *help;
    enum kind kind;
};

static const struct definition definitions[METRIC_ID_MAX] = {
#define METRIC(id, kind, name, label, help) {name, label, help, kind},
#define HISTOGRAM(id, name, help)           {name, "", help, HISTOGRAM_KIND},
#include "frontend/metrics.def"
#undef METRIC
#undef HISTOGRAM
};

/* Label values known from the start, so that the first increase is seen as one. */
static const struct {
    enum metric_id id;
    const char *values; /* separated by blanks */
} first_values[] = {
    {METRIC_ID_queries, "ok bad_data execution timeout canceled unavailable internal"},
    {METRIC_ID_fragments, "grid rollup raw"},
    {METRIC_ID_task_failures, "engine read unread"},
    {METRIC_ID_write_requests, "204 400 503"},
    {METRIC_ID_import_requests, "200 204 400 503"},
    {METRIC_ID_write_versions, "1.0 2.0"},
    {METRIC_ID_write_samples,
     "written written_late duplicate start_zero other_replica out_of_order too_old conflicting too_far_ahead "
     "beyond_retention invalid_histogram histogram invalid_labels too_many_labels label_name_too_long "
     "label_value_too_long"},
    {METRIC_ID_write_metadata, "taken invalid too_many"},
    {METRIC_ID_write_exemplars,
     "written duplicate out_of_order too_long too_far_ahead unknown_series not_kept other_replica invalid"},
    {METRIC_ID_ha_elections, "first failover"},
    {METRIC_ID_upstream_requests, "ok error timeout canceled"},
    {METRIC_ID_http_requests, "200"},
};

static const double bucket_bounds[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                                       0.5,   1,      2.5,   5,    10,    30,   60,  120};
#define BUCKETS ARRAY_LENGTH(bucket_bounds)

struct slot {
    char label[LABEL_MAX_BYTES]; /* written once, before slots_n says that the slot is there */
    _Atomic int64_t value;
};

struct metric {
    struct slot slots[SLOTS_MAX + 1]; /* the last one is "other" */
    _Atomic unsigned slots_n;
    _Atomic int64_t buckets[BUCKETS + 1]; /* not cumulative; the last one is +Inf */
    _Atomic int64_t sum_ns;
};

struct metrics {
    pthread_mutex_t lock; /* held to add a slot */
    struct metric metrics[METRIC_ID_MAX];
};

static struct slot *find_slot(struct metric *metric, const char *label, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if (strcmp(metric->slots[i].label, label) == 0)
            return &metric->slots[i];
    return NULL;
}

static struct slot *slot_of(struct metrics *metrics, enum metric_id id, const char *label_value)
{
    struct metric *metric = &metrics->metrics[id];
    if (!label_value)
        return &metric->slots[0];
    char label[LABEL_MAX_BYTES];
    snprintf(label, sizeof label, "%s", label_value);
    struct slot *slot = find_slot(metric, label, atomic_load_explicit(&metric->slots_n, memory_order_acquire));
    if (slot)
        return slot;
    pthread_mutex_lock(&metrics->lock);
    unsigned n = atomic_load_explicit(&metric->slots_n, memory_order_relaxed);
    slot = find_slot(metric, label, n);
    if (!slot && n <= SLOTS_MAX) {
        slot = &metric->slots[n];
        snprintf(slot->label, sizeof slot->label, "%s", n < SLOTS_MAX ? label : "other");
        atomic_store_explicit(&metric->slots_n, n + 1, memory_order_release);
    }
    pthread_mutex_unlock(&metrics->lock);
    return slot ? slot : &metric->slots[SLOTS_MAX];
}

enum status metrics_new(struct metrics **ret_metrics, struct error *reterr)
{
    struct metrics *metrics = calloc(1, sizeof *metrics);
    if (!metrics)
        return error_set(reterr, E_NOMEM, "no memory for the metrics");
    pthread_mutex_init(&metrics->lock, NULL);
    for (size_t i = 0; i < ARRAY_LENGTH(first_values); i++) {
        char value[LABEL_MAX_BYTES];
        for (const char *at = first_values[i].values; *at; at += strspn(at, " ")) {
            size_t n = strcspn(at, " ");
            snprintf(value, sizeof value, "%.*s", (int)n, at);
            metric_add(metrics, first_values[i].id, value, 0);
            at += n;
        }
    }
    *ret_metrics = metrics;
    return OK;
}

void metrics_free(struct metrics *metrics)
{
    if (!metrics)
        return;
    pthread_mutex_destroy(&metrics->lock);
    free(metrics);
}

void metric_add(struct metrics *metrics, enum metric_id id, const char *label_value, int64_t n)
{
    PRE(id < METRIC_ID_MAX && (definitions[id].label[0] != '\0') == (label_value != NULL));
    atomic_fetch_add_explicit(&slot_of(metrics, id, label_value)->value, n, memory_order_relaxed);
}

void metric_set(struct metrics *metrics, enum metric_id id, int64_t value)
{
    PRE(id < METRIC_ID_MAX && definitions[id].label[0] == '\0');
    PRE(definitions[id].kind == GAUGE || definitions[id].kind == COUNTER);
    atomic_store_explicit(&metrics->metrics[id].slots[0].value, value, memory_order_relaxed);
}

void metric_observe_ms(struct metrics *metrics, enum metric_id id, double milliseconds)
{
    PRE(id < METRIC_ID_MAX && definitions[id].kind == HISTOGRAM_KIND);
    struct metric *metric = &metrics->metrics[id];
    size_t bucket = 0;
    while (bucket < BUCKETS && milliseconds / 1000 > bucket_bounds[bucket])
        bucket++;
    atomic_fetch_add_explicit(&metric->buckets[bucket], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&metric->sum_ns, (int64_t)(milliseconds * 1e6), memory_order_relaxed);
}

/* --- writing --- */

static void write_double(struct strbuf *out, double value)
{
    char text[FLOAT_TEXT_MAX];
    strbuf_bytes(out, text, float_text_json(text, value));
}

/* HELP escapes backslash and line feed only. */
static void write_head(struct strbuf *out, const char *name, const char *help, const char *type)
{
    strbuf_f(out, "# HELP %s ", name);
    for (; *help; help++) {
        if (*help == '\\' || *help == '\n')
            strbuf_cstr(out, *help == '\n' ? "\\n" : "\\\\");
        else
            strbuf_char(out, *help);
    }
    strbuf_f(out, "\n# TYPE %s %s\n", name, type);
}

static void write_label_value(struct strbuf *out, const char *value)
{
    for (; *value; value++) {
        if (*value == '\\' || *value == '"')
            strbuf_char(out, '\\');
        if (*value == '\n')
            strbuf_cstr(out, "\\n");
        else
            strbuf_char(out, *value);
    }
}

static void write_plain(struct strbuf *out, const struct definition *def, const struct metric *metric)
{
    write_head(out, def->name, def->help, def->kind == COUNTER ? "counter" : "gauge");
    if (!def->label[0]) {
        strbuf_f(out, "%s %lld\n", def->name, (long long)atomic_load(&metric->slots[0].value));
        return;
    }
    unsigned n = atomic_load_explicit(&metric->slots_n, memory_order_acquire);
    for (unsigned i = 0; i < n; i++) {
        strbuf_f(out, "%s{%s=\"", def->name, def->label);
        write_label_value(out, metric->slots[i].label);
        strbuf_f(out, "\"} %lld\n", (long long)atomic_load(&metric->slots[i].value));
    }
}

/* The count is the sum of the buckets read, so that the lines agree with each other while others count on. */
static void write_histogram(struct strbuf *out, const struct definition *def, const struct metric *metric)
{
    write_head(out, def->name, def->help, "histogram");
    int64_t total = 0;
    for (size_t i = 0; i <= BUCKETS; i++) {
        total += atomic_load(&metric->buckets[i]);
        strbuf_f(out, "%s_bucket{le=\"", def->name);
        write_double(out, i < BUCKETS ? bucket_bounds[i] : INFINITY);
        strbuf_f(out, "\"} %lld\n", (long long)total);
    }
    strbuf_f(out, "%s_sum ", def->name);
    write_double(out, (double)atomic_load(&metric->sum_ns) / 1e9);
    strbuf_f(out, "\n%s_count %lld\n", def->name, (long long)total);
}

/* --- the process, as the clients of Prometheus report it --- */

struct process {
    double cpu_seconds, start_seconds;
    double virtual_bytes, resident_bytes;
};

static double boot_seconds(void)
{
    FILE *file = fopen("/proc/stat", "r");
    char line[256];
    double boot = 0;
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "btime %lf", &boot) == 1)
            break;
    if (file)
        fclose(file);
    return boot;
}

/* proc(5): fields 14, 15 (utime, stime), 22 (starttime), 23 (vsize), 24 (rss); the name in field 2 may hold anything.
 */
static bool read_process(struct process *ret)
{
    char text[2048];
    FILE *file = fopen("/proc/self/stat", "r");
    if (!file)
        return false;
    size_t n = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[n] = '\0';
    char *at = strrchr(text, ')');
    unsigned long user, system, size;
    unsigned long long start;
    long pages;
    if (!at ||
        sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %*d %*d %*d %*d %*d %*d %llu %lu %ld",
               &user, &system, &start, &size, &pages) != 5)
        return false;
    double tick = (double)sysconf(_SC_CLK_TCK);
    ret->cpu_seconds = (double)(user + system) / tick;
    ret->start_seconds = boot_seconds() + (double)start / tick;
    ret->virtual_bytes = (double)size;
    ret->resident_bytes = (double)pages * (double)sysconf(_SC_PAGESIZE);
    return true;
}

static int64_t open_files(void)
{
    DIR *directory = opendir("/proc/self/fd");
    int64_t n = -3; /* ".", ".." and the directory itself */
    if (!directory)
        return -1;
    while (readdir(directory))
        n++;
    closedir(directory);
    return n;
}

static void write_gauge(struct strbuf *out, const char *name, const char *help, const char *type, double value)
{
    write_head(out, name, help, type);
    strbuf_f(out, "%s ", name);
    write_double(out, value);
    strbuf_char(out, '\n');
}

static void write_process(struct strbuf *out)
{
    struct process process;
    if (read_process(&process)) {
        write_gauge(out, "process_cpu_seconds_total", "User and system CPU time spent, in seconds.", "counter",
                    process.cpu_seconds);
        write_gauge(out, "process_start_time_seconds", "Start of the process, in seconds since the epoch.", "gauge",
                    process.start_seconds);
        write_gauge(out, "process_resident_memory_bytes", "Resident memory, in bytes.", "gauge",
                    process.resident_bytes);
        write_gauge(out, "process_virtual_memory_bytes", "Virtual memory, in bytes.", "gauge", process.virtual_bytes);
    }
    int64_t files = open_files();
    if (files >= 0)
        write_gauge(out, "process_open_fds", "Open file descriptors.", "gauge", (double)files);
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
        write_gauge(out, "process_max_fds", "Most file descriptors that may be open.", "gauge",
                    limit.rlim_cur == RLIM_INFINITY ? INFINITY : (double)limit.rlim_cur);
}

void metrics_write(struct metrics *metrics, struct strbuf *out)
{
    for (size_t i = 0; i < METRIC_ID_MAX; i++) {
        if (definitions[i].kind == HISTOGRAM_KIND)
            write_histogram(out, &definitions[i], &metrics->metrics[i]);
        else
            write_plain(out, &definitions[i], &metrics->metrics[i]);
    }
    write_head(out, "promsplit_build_info", "1, labelled with the version.", "gauge");
    strbuf_cstr(out, "promsplit_build_info{version=\"" PROMSPLIT_VERSION "\"} 1\n");
    write_process(out);
}

void metrics_markdown(struct strbuf *out)
{
    static const char *const kinds[] = {"counter", "gauge", "histogram"};
    strbuf_cstr(out, "| Metric | Kind | Label | Meaning |\n|---|---|---|---|\n");
    for (size_t i = 0; i < METRIC_ID_MAX; i++) {
        const struct definition *def = &definitions[i];
        strbuf_f(out, "| `%s` | %s | ", def->name, kinds[def->kind]);
        if (def->label[0])
            strbuf_f(out, "`%s`", def->label);
        strbuf_f(out, " | %s |\n", def->help);
    }
}
