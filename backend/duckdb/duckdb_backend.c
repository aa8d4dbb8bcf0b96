/* backend/duckdb/duckdb_backend.c: opening and closing the store, its table of operations, statistics. */
#include "backend/duckdb/duckdb_backend.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "backend/duckdb/schema.h"
#include "backend/duckdb/store.h"
#include "base/strbuf.h"

const char *duckdb_backend_version(void)
{
    return duckdb_library_version();
}

static enum status store_metadata(struct backend *backend, struct str family, size_t limit,
                                  struct metadata_list **ret_list, struct error *reterr)
{
    return metadata_to_list(&store_of(backend)->metadata, family, limit, ret_list, reterr);
}

static enum status match_all(void *arg, struct str pattern, const struct str *texts, size_t n, bool *ret_matches,
                             struct error *reterr)
{
    return regex_match_all(arg, pattern, texts, n, ret_matches, reterr);
}

static enum status store_exemplars(struct backend *backend, const struct series_query *query,
                                   struct exemplar_list **ret_list, struct error *reterr)
{
    struct duckdb_store *store = store_of(backend);
    const struct pattern_engine patterns = {match_all, &store->regex};
    return exemplar_ring_query(store->writer.exemplars.ring, query, &patterns, ret_list, reterr);
}

static uint64_t file_bytes(const char *directory, const char *name)
{
    struct strbuf path;
    struct stat file;
    strbuf_init(&path, 8192);
    strbuf_cstr(&path, directory);
    strbuf_cstr(&path, name);
    bool there = path.status == OK && stat(strbuf_view(&path).ptr, &file) == 0;
    strbuf_release(&path);
    return there ? (uint64_t)file.st_size : 0;
}

uint64_t store_file_bytes(const struct duckdb_store *store)
{
    return store->directory ? file_bytes(store->directory, "/" ENGINE_FILE) : 0;
}

uint64_t store_log_bytes(const struct duckdb_store *store)
{
    return store->directory ? file_bytes(store->directory, "/" ENGINE_FILE ".wal") : 0;
}

/* What the engine knows of its memory and its file. */
static enum status engine_figures(struct duckdb_store *store, struct backend_stats *stats, struct error *reterr)
{
    struct connection *connection = NULL;
    enum status status = engine_acquire(&store->engine, NULL, &connection, reterr);
    duckdb_result rows;
    if (status == OK)
        status = engine_query(connection, "SELECT sum(memory_usage_bytes)::BIGINT FROM duckdb_memory()", false, NULL,
                              &rows, reterr);
    if (status == OK) {
        stats->memory_bytes = (uint64_t)duckdb_value_int64(&rows, 0, 0);
        duckdb_destroy_result(&rows);
        status = engine_used_bytes(connection, &stats->used_bytes, reterr);
    }
    if (status == OK)
        status = engine_table_rows(connection, "rollups", &stats->rollup_rows_n, reterr);
    engine_release(&store->engine, connection);
    return status;
}

static enum status store_stats(struct backend *backend, struct backend_stats *ret_stats, struct error *reterr)
{
    struct duckdb_store *store = store_of(backend);
    struct totals totals = writer_totals(&store->writer);
    struct backend_stats stats = {
        .series_n = totals.series_n,
        .samples_n = totals.samples_n,
        .min_time_ms = totals.min_ms,
        .max_time_ms = totals.max_ms,
        .exemplars_n = exemplar_ring_n(store->writer.exemplars.ring),
        .histograms_n = totals.histograms_n,
    };
    enum status status = engine_figures(store, &stats, reterr);
    if (status != OK)
        return status;
    stats.recent_n = atomic_load_explicit(&store->compactor.recent_n, memory_order_relaxed);
    stats.moves_n = atomic_load_explicit(&store->compactor.moves_n, memory_order_relaxed);
    stats.move_failures_n = atomic_load_explicit(&store->compactor.failures_n, memory_order_relaxed);
    stats.reopens_n = atomic_load_explicit(&store->reopens_n, memory_order_relaxed);
    stats.dropped_partitions_n = atomic_load_explicit(&store->retention.partitions_n, memory_order_relaxed);
    stats.dropped_samples_n = atomic_load_explicit(&store->retention.samples_n, memory_order_relaxed);
    stats.dropped_series_n = atomic_load_explicit(&store->retention.series_n, memory_order_relaxed);
    stats.retention_failures_n = atomic_load_explicit(&store->retention.failures_n, memory_order_relaxed);
    stats.rollup_rounds_n = atomic_load_explicit(&store->rollups.rounds_n, memory_order_relaxed);
    stats.rollup_failures_n = atomic_load_explicit(&store->rollups.failures_n, memory_order_relaxed);
    stats.rollup_min_time_ms = atomic_load(&store->rollups.oldest_ms);
    stats.rollup_spent_us = atomic_load_explicit(&store->rollups.spent_us, memory_order_relaxed);
    pthread_rwlock_rdlock(&store->writer.catalogue.lock);
    stats.memory_bytes += catalogue_bytes(&store->writer.catalogue);
    pthread_rwlock_unlock(&store->writer.catalogue.lock);
    stats.memory_bytes += atomic_load_explicit(&store->engine.budget.used_bytes, memory_order_relaxed);
    stats.disk_bytes = store_file_bytes(store) + store_log_bytes(store);
    *ret_stats = stats;
    return OK;
}

static struct regex_engine store_regex(struct backend *backend)
{
    return regex_of(&store_of(backend)->regex);
}

static void store_close(struct backend *backend)
{
    struct duckdb_store *store = store_of(backend);
    compactor_stop(store);
    regex_release(&store->regex);
    metadata_release(&store->metadata);
    writer_release(&store->writer);
    engine_close(&store->engine);
    free(store->directory);
    free(store);
}

static const struct backend_ops OPS = {
    .name = "duckdb",
    .capabilities = &duckdb_capabilities,
    .append = store_append,
    .delete_series = store_delete_series,
    .run = store_run,
    .scan = store_scan,
    .has_histograms = store_has_histograms,
    .raw_open = store_raw_open,
    .raw_next = store_raw_next,
    .raw_close = store_raw_close,
    .series = store_series,
    .label_names = store_label_names,
    .label_values = store_label_values,
    .metadata = store_metadata,
    .exemplars = store_exemplars,
    .stats = store_stats,
    .cardinality = store_cardinality,
    .regex = store_regex,
    .close = store_close,
};

/* What needs a connection before anybody else may have one. */
static enum status prepare(struct duckdb_store *store, struct error *reterr)
{
    struct connection *connection = NULL;
    enum status status = engine_connect(&store->engine, &connection, reterr);
    if (status == OK)
        status = functions_register(&store->engine, connection, reterr);
    store->functions = (struct series_functions){&store->writer.catalogue, &store->regex};
    if (status == OK)
        status = functions_register_series(&store->functions, connection, reterr);
    if (status == OK)
        status = schema_prepare(connection, reterr);
    if (status == OK)
        status = metadata_load(&store->metadata, connection, reterr);
    engine_disconnect(connection);
    if (status == OK)
        status = writer_init(&store->writer, &store->engine, store->options.exemplars_max, reterr);
    store->writer.rollups = &store->rollups;
    atomic_init(&store->backend.metadata_labels, store->writer.catalogue.metadata_labels);
    if (status == OK)
        status = regex_init(&store->regex, &store->engine, reterr);
    return status;
}

enum status duckdb_backend_open(const struct duckdb_options *options, struct backend **ret_backend,
                                struct error *reterr)
{
    struct duckdb_store *store = calloc(1, sizeof *store);
    if (!store)
        return error_set(reterr, E_NOMEM, "no memory for the storage engine");
    store->backend.ops = &OPS;
    store->options = *options;
    metadata_init(&store->metadata);
    enum status status = OK;
    if (options->directory) {
        store->directory = strdup(options->directory);
        if (!store->directory)
            status = error_set(reterr, E_NOMEM, "no memory for the storage engine");
        store->options.directory = store->directory;
    }
    if (status == OK)
        status = engine_open(&store->engine, options, reterr);
    if (status == OK)
        status = prepare(store, reterr);
    if (status == OK)
        status = retention_init(store, &options->retention, reterr);
    if (status == OK)
        status = compactor_start(store, options, reterr);
    if (status == OK)
        *ret_backend = &store->backend;
    else
        store_close(&store->backend);
    return status;
}

enum status duckdb_backend_compact(struct backend *backend, struct error *reterr)
{
    return compactor_run(store_of(backend), reterr);
}

enum status duckdb_backend_shrink(struct backend *backend, struct error *reterr)
{
    return shrink_run(store_of(backend), true, reterr);
}

enum status duckdb_backend_forget_rollups(struct backend *backend, struct error *reterr)
{
    return retention_forget_rollups(store_of(backend), reterr);
}

enum status duckdb_backend_retain(struct backend *backend, struct error *reterr)
{
    return retention_run(store_of(backend), reterr);
}
