/* bench/backend/bench_index.c: what finding series costs in the embedded engine when there are very many.
 *
 *     bench_index build DIRECTORY [SERIES [SCRAPES [GENERATIONS]]]   makes the data through append; prints samples/s
 *     bench_index open DIRECTORY                                     start-up: time and memory
 *     bench_index run DIRECTORY [RUNS [TEXT]]                        times queries and listings (those whose matchers
 *                                                                    have the text); prints medians
 *
 * The data: 1 000 000 series of 200 metrics by default, as 1 000 instances of 20 jobs expose them: each 20 histograms
 * of 12 buckets and two handlers, 100 counters by code and method, 80 gauges. Scrapes are 15 s apart, each in requests
 * of 10 000 samples. In a further generation, an hour later, the pods have other names: the series of those before have
 * ended.
 *
 * Run each mode in a process of its own: peak memory is the process's.
 */
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "backend/backend.h"
#include "backend/duckdb/duckdb_backend.h"
#include "base/assert.h"
#include "planner/split.h"

#define START_MS        INT64_C(1700000000000)
#define INTERVAL_MS     15000
#define GENERATION_MS   INT64_C(3600000)
#define PER_INSTANCE    1000u
#define REQUEST_SAMPLES 10000u
#define RUNS_MAX        101

static double now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

/* Of all threads: what a busy machine does not blur as much as the clock. */
static double cpu_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static double peak_mib(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_maxrss / 1024;
}

static double resident_mib(void)
{
    unsigned long total = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    int n = file ? fscanf(file, "%lu %lu", &total, &resident) : 0;
    if (file)
        fclose(file);
    return n == 2 ? (double)resident * (double)sysconf(_SC_PAGESIZE) / 1048576 : 0;
}

static void must(enum status status, const struct error *error)
{
    if (status == OK)
        return;
    fprintf(stderr, "bench_index: %s\n", error->message);
    exit(1);
}

static struct backend *open_store(const char *directory)
{
    struct duckdb_options options = {.directory = directory, .future_max_ms = 600000, .connections_max = 4};
    struct backend *backend = NULL;
    struct error error;
    double began = now_ms(), cpu_began = cpu_ms();
    must(duckdb_backend_open(&options, &backend, &error), &error);
    malloc_trim(0);
    printf("open: %.0f ms, CPU %.0f ms, resident %.0f MiB, peak %.0f MiB\n", now_ms() - began, cpu_ms() - cpu_began,
           resident_mib(), peak_mib());
    return backend;
}

/* --- building --- */

/* What an instance exposes: the metric and its own labels of series `k` of PER_INSTANCE. */
struct shape {
    char metric[48];
    struct label own[2];
    char text[2][16];
    size_t own_n;
};

static void shape_label(struct shape *shape, const char *name, const char *prefix, unsigned number)
{
    snprintf(shape->text[shape->own_n], sizeof shape->text[0], "%s%u", prefix, number);
    shape->own[shape->own_n] = (struct label){str_from(name), str_from(shape->text[shape->own_n])};
    shape->own_n++;
}

static void shape_of(unsigned k, struct shape *shape)
{
    shape->own_n = 0;
    if (k < 480) {
        snprintf(shape->metric, sizeof shape->metric, "service_%02u_duration_seconds_bucket", k / 24);
        shape_label(shape, "handler", "/api/v", k % 24 / 12);
        shape_label(shape, "le", "0.", k % 12);
    } else if (k < 880) {
        snprintf(shape->metric, sizeof shape->metric, "service_%02u_requests_total", (k - 480) / 4);
        shape_label(shape, "code", "", 200 + 100 * (k % 2));
        shape_label(shape, "method", "method-", k % 4 / 2);
    } else {
        unsigned gauge = (k - 880) % 80;
        snprintf(shape->metric, sizeof shape->metric, "service_%02u_temperature_celsius", gauge);
        shape_label(shape, "sensor", "sensor-", (k - 880) / 80);
    }
}

static struct labels series_labels(struct arena *arena, size_t i, unsigned generation)
{
    size_t instance = i / PER_INSTANCE;
    struct shape shape;
    shape_of((unsigned)(i % PER_INSTANCE), &shape);
    char host[48], job[16], space[16], pod[48];
    snprintf(host, sizeof host, "10.%zu.%zu.%zu:9100", instance / 65536, instance / 256 % 256, instance % 256);
    snprintf(job, sizeof job, "job-%zu", instance % 20);
    snprintf(space, sizeof space, "namespace-%zu", instance % 50);
    snprintf(pod, sizeof pod, "service-%zu-%08x", instance, (unsigned)(instance * 2654435761u + generation));
    struct label labels[9] = {{LABEL_METRIC_NAME, str_from(shape.metric)}, {STR("cluster"), STR("eu-west-1")},
                              {STR("instance"), str_from(host)},           {STR("job"), str_from(job)},
                              {STR("namespace"), str_from(space)},         {STR("pod"), str_from(pod)}};
    size_t n = 6;
    for (size_t own = 0; own < shape.own_n; own++)
        labels[n++] = shape.own[own];
    struct str twice;
    INVARIANT(labels_normalize(labels, &n, &twice));
    return labels_copy(arena, (struct labels){labels, n});
}

static void build_generation(struct backend *backend, size_t series_n, unsigned scrapes, unsigned generation)
{
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    struct append_series *series = ARENA_ARRAY(&arena, struct append_series, series_n);
    struct sample *samples = ARENA_ARRAY(&arena, struct sample, series_n);
    INVARIANT(series && samples);
    for (size_t i = 0; i < series_n; i++)
        series[i] = (struct append_series){series_labels(&arena, i, generation), &samples[i], 1};
    malloc_trim(0);
    double before_mib = resident_mib();
    for (unsigned k = 0; k < scrapes; k++) {
        int64_t time_ms = START_MS + generation * GENERATION_MS + (int64_t)k * INTERVAL_MS;
        double began = now_ms(), cpu_began = cpu_ms(), longest = 0;
        for (size_t i = 0; i < series_n; i++)
            samples[i] = (struct sample){time_ms + (int64_t)(i % 3000), (double)(k * (i % 7))};
        for (size_t i = 0; i < series_n; i += REQUEST_SAMPLES) {
            size_t n = series_n - i < REQUEST_SAMPLES ? series_n - i : REQUEST_SAMPLES;
            struct append_request request = {.series = series + i, .series_n = n};
            struct error error;
            double asked = now_ms();
            must(backend->ops->append(backend, &request, 1, &error), &error);
            INVARIANT(request.written == n);
            longest = now_ms() - asked > longest ? now_ms() - asked : longest;
        }
        double took = now_ms() - began;
        printf("scrape %u: %.0f ms, CPU %.0f ms, %.2f M samples/s, slowest request %.0f ms, resident %+.0f MiB\n", k,
               took, cpu_ms() - cpu_began, (double)series_n / took / 1e3, longest, resident_mib() - before_mib);
    }
    arena_release(&arena);
}

static void build(const char *directory, size_t series_n, unsigned scrapes, unsigned generations)
{
    struct backend *backend = open_store(directory);
    for (unsigned generation = 0; generation < generations; generation++)
        build_generation(backend, series_n, scrapes, generation);
    double began = now_ms();
    backend->ops->close(backend);
    printf("close: %.0f ms, peak %.0f MiB\n", now_ms() - began, peak_mib());
}

/* --- running --- */

static struct fragment plan(struct arena *arena, struct backend *backend, const char *promql, struct grid grid)
{
    struct query_text query;
    struct split split;
    struct error error;
    struct parse_limits limits = PARSE_LIMITS_DEFAULT;
    struct plan_options options = {.can = backend->ops->capabilities,
                                   .push = PUSH_ALL,
                                   .rule = WINDOW_LEFT_OPEN,
                                   .lookback_ms = 300000,
                                   .subquery_step_ms = 60000,
                                   .fragments_max = 10,
                                   .points_max = 11000};
    must(promql_parse(arena, str_from(promql), &limits, NULL, &query, &error), &error);
    must(promql_resolve(query.root, grid.step_ms, 0, &error), &error);
    must(split_query(arena, &query, grid, &options, &split, &error), &error);
    INVARIANT(split.direct && split.fragments_n == 1);
    return split.fragments[0];
}

enum what {
    WHAT_QUERY,
    WHAT_SERIES,
    WHAT_NAMES,
    WHAT_VALUES
};

struct measured {
    enum what what;
    const char *match; /* PromQL of the query, match[] of a listing; NULL: none */
    const char *label; /* WHAT_VALUES */
    size_t limit;
    enum {
        LAST,  /* the span ends with the newest sample, and is ten minutes long */
        EARLY, /* it ends before the newest */
        ALWAYS
    } span;
};

static const struct measured MEASURED[] = {
    {WHAT_QUERY, "service_07_requests_total", NULL, 0, LAST},
    {WHAT_QUERY, "sum(service_07_requests_total)", NULL, 0, LAST},
    {WHAT_QUERY, "sum by (job) (rate(service_07_requests_total[5m]))", NULL, 0, LAST},
    {WHAT_QUERY, "service_07_requests_total{instance=\"10.0.1.17:9100\"}", NULL, 0, LAST},
    {WHAT_QUERY, "{instance=\"10.0.1.17:9100\"}", NULL, 0, LAST},
    {WHAT_QUERY, "service_07_requests_total{instance=~\"10\\\\.0\\\\.1\\\\..*\"}", NULL, 0, LAST},
    {WHAT_QUERY, "count({__name__=~\"service_0[0-4]_requests_total\"})", NULL, 0, LAST},
    {WHAT_QUERY, "count({__name__=~\"service_0.*\",instance=\"10.0.1.17:9100\",code!=\"200\",le=\"\"})", NULL, 0, LAST},
    {WHAT_QUERY, "count({instance=~\".+\",handler!~\"/api/.*\",code=\"\"})", NULL, 0, LAST},
    {WHAT_QUERY, "count({job=\"job-7\",le=\"\"})", NULL, 0, LAST},
    {WHAT_QUERY, "count by (job) ({__name__=~\".+\"})", NULL, 0, LAST},
    {WHAT_QUERY, "count({__name__=~\".+\"})", NULL, 0, LAST},
    {WHAT_NAMES, NULL, NULL, 0, ALWAYS},
    {WHAT_NAMES, NULL, NULL, 0, LAST},
    {WHAT_NAMES, NULL, NULL, 0, EARLY},
    {WHAT_NAMES, "service_07_requests_total", NULL, 0, LAST},
    {WHAT_VALUES, NULL, "__name__", 0, ALWAYS},
    {WHAT_VALUES, NULL, "__name__", 0, LAST},
    {WHAT_VALUES, NULL, "__name__", 0, EARLY},
    {WHAT_VALUES, NULL, "pod", 0, LAST},
    {WHAT_VALUES, NULL, "pod", 10, ALWAYS},
    {WHAT_VALUES, "{job=\"job-7\"}", "pod", 0, LAST},
    {WHAT_VALUES, "service_07_requests_total", "instance", 0, LAST},
    {WHAT_SERIES, "service_07_requests_total{job=\"job-7\"}", NULL, 0, LAST},
    {WHAT_SERIES, "service_07_requests_total", NULL, 0, LAST},
    {WHAT_SERIES, "service_07_requests_total", NULL, 0, EARLY},
    {WHAT_SERIES, "{job=\"job-7\"}", NULL, 100, LAST},
    {WHAT_SERIES, "{__name__=~\".+\"}", NULL, 100, ALWAYS},
};

static size_t list(struct backend *backend, const struct measured *m, const struct series_query *query)
{
    struct error error;
    size_t n;
    if (m->what == WHAT_SERIES) {
        struct series_list *list = NULL;
        must(backend->ops->series(backend, query, NULL, &list, &error), &error);
        n = list->n;
        series_list_free(list);
        return n;
    }
    struct string_list *list = NULL;
    if (m->what == WHAT_NAMES)
        must(backend->ops->label_names(backend, query, NULL, &list, &error), &error);
    else
        must(backend->ops->label_values(backend, str_from(m->label), query, NULL, &list, &error), &error);
    n = list->n;
    string_list_free(list);
    return n;
}

static struct time_span span_of(const struct measured *m, int64_t newest_ms)
{
    switch (m->span) {
    case LAST:
        return (struct time_span){newest_ms - 600000, newest_ms};
    case EARLY:
        return (struct time_span){newest_ms - 600000, newest_ms - INTERVAL_MS};
    case ALWAYS:
        break;
    }
    return (struct time_span){INT64_MIN, INT64_MAX};
}

/* One call; gives how many series or strings came. */
static size_t once(struct backend *backend, const struct measured *m, int64_t newest_ms)
{
    struct arena arena;
    struct error error;
    size_t n;
    arena_init(&arena, SIZE_MAX);
    if (m->what == WHAT_QUERY) {
        struct fragment fragment = plan(&arena, backend, m->match, grid_instant(newest_ms));
        struct grid_result *result = NULL;
        must(backend->ops->run(backend, &fragment, &(struct run_limits){UINT64_C(100000000)}, NULL, &result, &error),
             &error);
        n = result->series_n;
        grid_result_free(result);
    } else {
        struct expr_selector selector;
        struct parse_limits limits = PARSE_LIMITS_DEFAULT;
        struct series_query query = {.span = span_of(m, newest_ms), .limit = m->limit};
        if (m->match) {
            must(promql_parse_selector(&arena, str_from(m->match), &limits, NULL, &selector, &error), &error);
            query.selectors = &selector;
            query.selectors_n = 1;
        }
        n = list(backend, m, &query);
    }
    arena_release(&arena);
    return n;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void measure(struct backend *backend, const struct measured *m, int64_t newest_ms, unsigned runs)
{
    static const char *const LISTINGS[] = {"query", "series", "names", "values"};
    static const char *const SPANS[] = {"last 10 m", "earlier 10 m", "always"};
    double took[RUNS_MAX], cpu[RUNS_MAX], before_mib = resident_mib();
    size_t n = 0;
    for (unsigned i = 0; i < runs; i++) {
        double began = now_ms(), cpu_began = cpu_ms();
        n = once(backend, m, newest_ms);
        took[i] = now_ms() - began;
        cpu[i] = cpu_ms() - cpu_began;
    }
    qsort(took, runs, sizeof *took, compare_doubles);
    qsort(cpu, runs, sizeof *cpu, compare_doubles);
    printf("%-6s %-9s %-80s limit %3zu %-12s %8.1f ms CPU %8.1f ms  %7zu  %+5.0f MiB\n", LISTINGS[m->what],
           m->label ? m->label : "", m->match ? m->match : "", m->limit, SPANS[m->span], took[runs / 2], cpu[runs / 2],
           n, resident_mib() - before_mib);
}

static void run(const char *directory, unsigned runs, const char *text)
{
    struct backend *backend = open_store(directory);
    struct backend_stats stats;
    struct error error;
    must(backend->ops->stats(backend, &stats, &error), &error);
    printf("%" PRIu64 " samples of %" PRIu64 " series, %" PRIu64 " recent, %s\n", stats.samples_n, stats.series_n,
           stats.recent_n, duckdb_backend_version());
    for (size_t i = 0; i < ARRAY_LENGTH(MEASURED); i++)
        if (!text || (MEASURED[i].match && strstr(MEASURED[i].match, text)))
            measure(backend, &MEASURED[i], stats.max_time_ms, runs);
    printf("peak %.0f MiB\n", peak_mib());
    backend->ops->close(backend);
}

int main(int argc, char **argv)
{
    const char *mode = argc > 2 ? argv[1] : "";
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (strcmp(mode, "build") == 0) {
        build(argv[2], argc > 3 ? (size_t)atol(argv[3]) : 1000000, argc > 4 ? (unsigned)atoi(argv[4]) : 8,
              argc > 5 ? (unsigned)atoi(argv[5]) : 1);
    } else if (strcmp(mode, "open") == 0) {
        struct backend *backend = open_store(argv[2]);
        backend->ops->close(backend);
    } else if (strcmp(mode, "run") == 0) {
        unsigned runs = argc > 3 ? (unsigned)atoi(argv[3]) : 5;
        run(argv[2], runs < 1 ? 1 : runs > RUNS_MAX ? RUNS_MAX : runs, argc > 4 ? argv[4] : NULL);
    } else {
        fprintf(stderr, "usage: bench_index build DIRECTORY [SERIES [SCRAPES [GENERATIONS]]] | open DIRECTORY | "
                        "run DIRECTORY [RUNS [TEXT]]\n");
        return 2;
    }
    return 0;
}
