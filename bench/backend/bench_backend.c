/* bench/backend/bench_backend.c: how long a fragment takes in the embedded engine, against the engine's own floor.
 *
 *     bench_backend build DIRECTORY [SERIES [HOURS]]   makes the data through append, as ingest does; prints samples/s
 *     bench_backend compact DIRECTORY                  moves what is still recent into chunks
 *     bench_backend rows DIRECTORY                     copies the samples into a table of plain rows: floor and run
 * need it bench_backend floor DIRECTORY [RUNS]             times the engine's own grouped sum of those rows
 *     bench_backend run DIRECTORY [RUNS]               times the statements; prints median, best, and peak memory
 *     bench_backend raw DIRECTORY                      streams all raw samples
 *
 * The data (D1 by default): 10 000 series of one counter `m` with labels le and instance, 6 hours of samples every 15
 * s, jittered by up to 4 s, random increments, a reset now and then: 14.4 M samples. Times begin at a fixed moment, so
 * that runs can be compared. The statement timed is the planner's own for sum by (le) (rate(m[5m])), step 60 s; the
 * floor is the engine's sum of the same rows, grouped by series.
 *
 * Run each mode in a process of its own: peak memory is the process's.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "backend/backend.h"
#include "backend/duckdb/duckdb_backend.h"
#include "base/assert.h"
#include "planner/split.h"

#define START_MS    INT64_C(1700000000000)
#define INTERVAL_MS 15000
#define RUNS_MAX    101

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

static void must(enum status status, const struct error *error)
{
    if (status == OK)
        return;
    fprintf(stderr, "bench_backend: %s\n", error->message);
    exit(1);
}

static struct backend *open_store(const char *directory)
{
    struct duckdb_options options = {.directory = directory, .future_max_ms = 600000, .connections_max = 4};
    struct backend *backend = NULL;
    struct error error;
    must(duckdb_backend_open(&options, &backend, &error), &error);
    return backend;
}

/* --- building --- */

struct source {
    struct append_series *series;
    struct sample *samples; /* one per series */
    double *values;
    size_t n;
    uint64_t random;
};

static uint64_t next_random(struct source *source)
{
    source->random ^= source->random << 13;
    source->random ^= source->random >> 7;
    source->random ^= source->random << 17;
    return source->random;
}

static struct labels series_labels(struct arena *arena, size_t i)
{
    char instance[32], le[16];
    snprintf(instance, sizeof instance, "host-%zu:9100", i / 10);
    snprintf(le, sizeof le, "%zu", i % 10);
    struct label labels[] = {{LABEL_METRIC_NAME, STR("m")},
                             {STR("instance"), str_from(instance)},
                             {STR("job"), STR("bench")},
                             {STR("le"), str_from(le)}};
    return labels_copy(arena, (struct labels){labels, ARRAY_LENGTH(labels)});
}

static struct source source_new(struct arena *arena, size_t n)
{
    struct source source = {.n = n, .random = 88172645463325252};
    source.series = ARENA_ARRAY(arena, struct append_series, n);
    source.samples = ARENA_ARRAY(arena, struct sample, n);
    source.values = ARENA_ARRAY(arena, double, n);
    INVARIANT(source.series && source.samples && source.values);
    for (size_t i = 0; i < n; i++)
        source.series[i] = (struct append_series){series_labels(arena, i), &source.samples[i], 1};
    return source;
}

/* One scrape of everything. */
static void source_scrape(struct source *source, int64_t time_ms)
{
    for (size_t i = 0; i < source->n; i++) {
        uint64_t r = next_random(source);
        source->values[i] = r % 997 == 0 ? 0 : source->values[i] + (double)(r >> 40) / 1e6;
        source->samples[i] = (struct sample){time_ms + (int64_t)(r >> 20) % 4000, source->values[i]};
    }
}

static void build(const char *directory, size_t series_n, unsigned hours)
{
    struct backend *backend = open_store(directory);
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    struct source source = source_new(&arena, series_n);
    unsigned scrapes = hours * 3600u * 1000u / INTERVAL_MS;
    double began = now_ms(), longest = 0;
    for (unsigned k = 0; k < scrapes; k++) {
        source_scrape(&source, START_MS + (int64_t)k * INTERVAL_MS);
        struct append_request request = {.series = source.series, .series_n = series_n};
        struct error error;
        double before = now_ms();
        must(backend->ops->append(backend, &request, 1, &error), &error);
        INVARIANT(request.written == series_n);
        longest = now_ms() - before > longest ? now_ms() - before : longest;
    }
    double took = now_ms() - began, samples = (double)series_n * scrapes;
    printf("append: %.0f samples in %u requests, %.0f ms, %.2f M samples/s, slowest request %.0f ms\n", samples,
           scrapes, took, samples / took / 1e3, longest);
    began = now_ms();
    backend->ops->close(backend);
    struct backend_stats stats;
    backend = open_store(directory);
    printf("close and open: %.0f ms\n", now_ms() - began);
    must(backend->ops->stats(backend, &stats, NULL), NULL);
    printf("on disk: %.1f MiB, %.2f bytes a sample\n", (double)stats.disk_bytes / 1048576,
           (double)stats.disk_bytes / samples);
    backend->ops->close(backend);
    arena_release(&arena);
}

/* --- running --- */

/* Runs a statement that gives no grid for its effect. */
static void execute(struct backend *backend, const char *sql)
{
    struct fragment fragment = {.kind = FRAGMENT_GRID, .sql = str_from(sql), .grid = grid_instant(0)};
    struct grid_result *result = NULL;
    struct error error;
    enum status status = backend->ops->run(backend, &fragment, &(struct run_limits){1}, NULL, &result, &error);
    if (status != E_INTERNAL) /* the answer is no grid, and that is all */
        must(status, &error);
}

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

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Runs a fragment many times; prints and returns the median. */
static double measure(struct backend *backend, const char *what, const struct fragment *fragment, unsigned runs)
{
    double took[RUNS_MAX], cpu[RUNS_MAX];
    uint64_t values_n = 0;
    for (unsigned i = 0; i < runs; i++) {
        struct grid_result *result = NULL;
        struct error error;
        double began = now_ms(), cpu_began = cpu_ms();
        must(backend->ops->run(backend, fragment, &(struct run_limits){UINT64_C(100000000)}, NULL, &result, &error),
             &error);
        took[i] = now_ms() - began;
        cpu[i] = cpu_ms() - cpu_began;
        values_n = result->values_n;
        grid_result_free(result);
    }
    qsort(took, runs, sizeof *took, compare_doubles);
    qsort(cpu, runs, sizeof *cpu, compare_doubles);
    printf("%-50s median %7.1f ms  best %7.1f ms  CPU %7.1f ms  %8" PRIu64 " values  peak %5.0f MiB\n", what,
           took[runs / 2], took[0], cpu[runs / 2], values_n, peak_mib());
    return took[runs / 2];
}

static double measure_floor(struct backend *backend, unsigned runs)
{
    struct fragment floor = {
        .kind = FRAGMENT_GRID,
        .grid = grid_instant(0),
        .sql =
            STR("SELECT list_value(sum(total)) FROM (SELECT series, sum(value) AS total FROM plain GROUP BY series)"),
    };
    return measure(backend, "floor: sum of all rows by series", &floor, runs);
}

static void floor_only(const char *directory, unsigned runs)
{
    struct backend *backend = open_store(directory);
    measure_floor(backend, runs);
    backend->ops->close(backend);
}

static void run(const char *directory, unsigned runs)
{
    struct backend *backend = open_store(directory);
    struct backend_stats stats;
    struct error error;
    must(backend->ops->stats(backend, &stats, &error), &error);
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    struct grid grid = grid_range(START_MS, stats.max_time_ms, 60000);
    printf("%" PRIu64 " samples of %" PRIu64 " series, %" PRIu32 " steps, %s, idle %.0f MiB\n", stats.samples_n,
           stats.series_n, grid.steps, duckdb_backend_version(), peak_mib());
    double floor_ms = measure_floor(backend, runs);
    const char *const queries[] = {
        "sum by (le) (rate(m[5m]))",
        "sum by (le) (m)",
        "avg by (le) (max_over_time(m[5m]))",
        "max by (instance) (increase(m[5m]))",
        "max_over_time(sum by (le) (rate(m[5m]))[30m:1m])",
    };
    for (size_t i = 0; i < ARRAY_LENGTH(queries); i++) {
        struct fragment fragment = plan(&arena, backend, queries[i], grid);
        double median_ms = measure(backend, queries[i], &fragment, runs);
        if (i == 0)
            printf("%-46s %.2f times the floor\n", "", median_ms / floor_ms);
    }
    arena_release(&arena);
    backend->ops->close(backend);
}

static void compact(const char *directory)
{
    struct backend *backend = open_store(directory);
    struct backend_stats stats;
    struct error error;
    double began = now_ms(), cpu_began = cpu_ms();
    must(duckdb_backend_compact(backend, &error), &error);
    must(duckdb_backend_shrink(backend, &error), &error);
    printf("compacted in %.0f ms, CPU %.0f ms, peak %.0f MiB\n", now_ms() - began, cpu_ms() - cpu_began, peak_mib());
    must(backend->ops->stats(backend, &stats, &error), &error);
    printf("on disk: %.1f MiB, %.2f bytes a sample\n", (double)stats.disk_bytes / 1048576,
           (double)stats.disk_bytes / (double)stats.samples_n);
    backend->ops->close(backend);
}

/* The plain rows that the floor is measured on, in the order they came. Closing the store writes them to its file. */
static void rows(const char *directory)
{
    struct backend *backend = open_store(directory);
    execute(backend, "SET preserve_insertion_order = true");
    execute(backend,
            "CREATE OR REPLACE TABLE plain AS SELECT series, ts, value FROM samples ORDER BY ts // 15000, series");
    backend->ops->close(backend);
}

static void raw(const char *directory)
{
    struct backend *backend = open_store(directory);
    printf("idle %.0f MiB\n", peak_mib());
    struct raw_cursor *cursor = NULL;
    struct raw_block block;
    struct error error;
    uint64_t samples_n = 0, series_n = 0;
    double began = now_ms();
    must(backend->ops->raw_open(backend, RAW_SAMPLES, NULL, 0, (struct time_span){INT64_MIN, INT64_MAX}, NULL, &cursor,
                                &error),
         &error);
    for (;;) {
        must(backend->ops->raw_next(cursor, &block, &error), &error);
        if (block.samples_n == 0)
            break;
        samples_n += block.samples_n;
        series_n += block.series_ends;
    }
    backend->ops->raw_close(cursor);
    double took = now_ms() - began;
    printf("raw: %" PRIu64 " samples of %" PRIu64 " series in %.0f ms, %.1f M samples/s, peak %.0f MiB\n", samples_n,
           series_n, took, (double)samples_n / took / 1e3, peak_mib());
    backend->ops->close(backend);
}

int main(int argc, char **argv)
{
    const char *mode = argc > 2 ? argv[1] : "";
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (strcmp(mode, "build") == 0) {
        build(argv[2], argc > 3 ? (size_t)atol(argv[3]) : 10000, argc > 4 ? (unsigned)atoi(argv[4]) : 6);
    } else if (strcmp(mode, "floor") == 0 || strcmp(mode, "run") == 0) {
        unsigned runs = argc > 3 ? (unsigned)atoi(argv[3]) : 7;
        runs = runs < 1 ? 1 : runs > RUNS_MAX ? RUNS_MAX : runs;
        (strcmp(mode, "run") == 0 ? run : floor_only)(argv[2], runs);
    } else if (strcmp(mode, "compact") == 0) {
        compact(argv[2]);
    } else if (strcmp(mode, "rows") == 0) {
        rows(argv[2]);
    } else if (strcmp(mode, "raw") == 0) {
        raw(argv[2]);
    } else {
        fprintf(stderr, "usage: bench_backend build DIRECTORY [SERIES [HOURS]] | compact DIRECTORY | rows DIRECTORY | "
                        "floor DIRECTORY [RUNS] | run DIRECTORY [RUNS] | raw DIRECTORY\n");
        return 2;
    }
    return 0;
}
