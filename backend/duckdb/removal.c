/* backend/duckdb/removal.c: see removal.h. */
#include "backend/duckdb/removal.h"

#include <stdlib.h>

#include "backend/duckdb/decode.h"
#include "backend/duckdb/functions.h"
#include "backend/duckdb/schema.h"
#include "backend/duckdb/stored_value.h"
#include "base/assert.h"
#include "base/float_text.h"

#define REMAINING "temp.main.remaining"
#define GONE      "temp.main.gone"

struct newest_sample {
    uint32_t id;
    int64_t time_ms;
    uint64_t bits; /* as known_series.newest_bits */
    bool is_histogram;
};

/* What is known before the last step. */
struct outcome {
    uint32_t *gone; /* series that have no sample left, as far as the transaction sees */
    size_t gone_n;
    struct newest_sample *newest; /* of series that keep some */
    size_t newest_n;
    uint32_t *left; /* if cut_ms is set: all series that keep some */
    size_t left_n;
    struct time_span bounds; /* of all samples that are left; INT64_MAX, INT64_MIN: nothing */
    int64_t rolled_ms;       /* the oldest sample that is gone and rollups tell of, or INT64_MAX */
};

static enum status no_memory(struct error *reterr)
{
    return error_set(reterr, E_NOMEM, "no memory to take samples out");
}

static enum status execute(struct removal *r, const char *sql, struct error *reterr)
{
    return engine_change(r->connection, sql, r->cancel, NULL, reterr);
}

enum status removal_begin(struct removal *r, struct duckdb_store *store, struct cancel *cancel, struct error *reterr)
{
    *r = (struct removal){.store = store,
                          .connection = store->compactor.connection,
                          .cancel = cancel,
                          .batch = writer_totals(&store->writer).batch,
                          .cut_ms = INT64_MAX,
                          .old_ms = INT64_MIN,
                          .entered = catalogue_enter(&store->writer.catalogue)};
    enum status status = engine_begin(r->connection, reterr);
    if (status != OK)
        catalogue_leave(&store->writer.catalogue, r->entered);
    return status;
}

enum status removal_change(struct removal *r, struct sql *sql, uint64_t *ret_rows_n, struct error *reterr)
{
    return engine_alter(r->connection, sql, r->cancel, ret_rows_n, reterr);
}

enum status removal_doom(struct removal *r, struct sql *chosen, struct error *reterr)
{
    struct sql sql;
    sql_init(&sql, SQL_BYTES_MAX);
    sql_words(&sql, "CREATE OR REPLACE TEMP TABLE doomed AS ");
    enum status status = sql_status(chosen, reterr);
    if (status == OK)
        sql_words(&sql, strbuf_view(&chosen->text).ptr);
    sql_release(chosen);
    if (status != OK) {
        sql_release(&sql);
        return status;
    }
    status = removal_change(r, &sql, NULL, reterr);
    duckdb_result rows;
    sql_init(&sql, SQL_BYTES_MAX);
    sql_words(&sql, "SELECT coalesce(sum(n), 0)::BIGINT, count(*)::BIGINT FROM " REMOVAL_DOOMED);
    if (status == OK)
        status = engine_ask(r->connection, &sql, r->cancel, &rows, reterr);
    else
        sql_release(&sql);
    if (status != OK)
        return status;
    r->samples_n = (uint64_t)duckdb_value_int64(&rows, 0, 0);
    r->doomed_n = (uint64_t)duckdb_value_int64(&rows, 1, 0);
    duckdb_destroy_result(&rows);
    return OK;
}

enum status removal_delete_histograms(struct removal *r, struct sql *condition, struct error *reterr)
{
    struct sql sql;
    enum status status = sql_status(condition, reterr);
    sql_init(&sql, SQL_BYTES_MAX);
    sql_words(&sql, "DELETE FROM histograms WHERE ");
    if (status == OK)
        sql_words(&sql, strbuf_view(&condition->text).ptr);
    sql_release(condition);
    if (status == OK)
        return removal_change(r, &sql, &r->histograms_n, reterr);
    sql_release(&sql);
    return status;
}

/* --- what is left --- */

static enum status find_remaining(struct removal *r, struct error *reterr)
{
    struct sql sql;
    sql_init(&sql, SQL_BYTES_MAX);
    sql_words(&sql, "CREATE OR REPLACE TEMP TABLE remaining AS SELECT series, max(tmax) AS newest FROM "
                    "(SELECT series, tmax FROM chunks() UNION ALL SELECT series, ts AS tmax FROM recent WHERE ");
    schema_within(&sql, r->batch);
    sql_words(&sql, " UNION ALL ");
    schema_histograms(&sql, "series, ts AS tmax", EVER, r->batch);
    sql_words(&sql, " UNION ALL ");
    enum status status = rollup_write_outliving(&sql, r->connection, "series, tmax", reterr);
    if (status != OK) {
        sql_release(&sql);
        return status;
    }
    sql_words(&sql, ") WHERE series IN (SELECT series FROM " REMOVAL_DOOMED ") GROUP BY series");
    return removal_change(r, &sql, NULL, reterr);
}

/* The numbers that a statement gives. */
static enum status read_numbers(struct removal *r, const char *sql, uint32_t **ret_at, size_t *ret_n,
                                struct error *reterr)
{
    duckdb_result rows;
    enum status status = engine_query(r->connection, sql, false, r->cancel, &rows, reterr);
    if (status != OK)
        return status;
    uint32_t *at = malloc(((size_t)duckdb_row_count(&rows) + 1) * sizeof *at);
    *ret_at = at;
    duckdb_data_chunk chunk = NULL;
    while (at && (status = engine_fetch(r->connection, &rows, r->cancel, &chunk, reterr)) == OK && chunk) {
        const uint32_t *ids = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 0));
        for (idx_t i = 0; i < duckdb_data_chunk_get_size(chunk); i++)
            at[(*ret_n)++] = ids[i];
        engine_chunk_free(&chunk);
    }
    duckdb_destroy_result(&rows);
    return at ? status : no_memory(reterr);
}

/* The newest samples of series whose own newest may have gone; the others' are as they were. */
static enum status find_newest(struct removal *r, struct outcome *o, struct error *reterr)
{
    struct sql sql;
    duckdb_result rows;
    sql_init(&sql, SQL_BYTES_MAX);
    sql_words(&sql, "SELECT series, newest, value, histogram FROM " REMAINING " JOIN (SELECT series, tmax AS newest, "
                    "value[n] AS value, NULL::BLOB AS histogram FROM chunks() UNION ALL SELECT series, ts, value, NULL "
                    "FROM recent WHERE ");
    schema_within(&sql, r->batch);
    sql_words(&sql, " UNION ALL ");
    schema_histograms(&sql, "series, ts, NULL, histogram", EVER, r->batch);
    sql_words(&sql, " UNION ALL ");
    enum status status = rollup_write_outliving(&sql, r->connection, "series, tmax, value[-1], NULL", reterr);
    if (status != OK) {
        sql_release(&sql);
        return status;
    }
    sql_words(&sql, ") USING (series, newest) WHERE newest < ");
    sql_i64(&sql, r->cut_ms);
    status = engine_ask(r->connection, &sql, r->cancel, &rows, reterr);
    if (status != OK)
        return status;
    o->newest = malloc(((size_t)duckdb_row_count(&rows) + 1) * sizeof *o->newest);
    duckdb_data_chunk chunk = NULL;
    while (o->newest && (status = engine_fetch(r->connection, &rows, r->cancel, &chunk, reterr)) == OK && chunk) {
        const uint32_t *ids = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 0));
        const int64_t *times = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 1));
        const double *values = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 2));
        struct text_column histograms = text_column_of(duckdb_data_chunk_get_vector(chunk, 3));
        for (idx_t i = 0; i < duckdb_data_chunk_get_size(chunk); i++) {
            bool is_histogram = is_valid(histograms.validity, i);
            uint64_t bits = is_histogram ? catalogue_histogram_bits(text_column_get(&histograms, i))
                                         : double_bits(stored_value(values[i]));
            o->newest[o->newest_n++] = (struct newest_sample){ids[i], times[i], bits, is_histogram};
        }
        engine_chunk_free(&chunk);
    }
    duckdb_destroy_result(&rows);
    return o->newest ? status : no_memory(reterr);
}

/* Widens *bounds by one row of a least and a greatest time, or NULLs. */
static enum status widen(struct removal *r, struct sql *sql, struct time_span *bounds, struct error *reterr)
{
    duckdb_result rows;
    enum status status = engine_ask(r->connection, sql, r->cancel, &rows, reterr);
    if (status != OK)
        return status;
    if (!duckdb_value_is_null(&rows, 0, 0)) {
        int64_t min_ms = duckdb_value_int64(&rows, 0, 0), max_ms = duckdb_value_int64(&rows, 1, 0);
        bounds->min_ms = min_ms < bounds->min_ms ? min_ms : bounds->min_ms;
        bounds->max_ms = max_ms > bounds->max_ms ? max_ms : bounds->max_ms;
    }
    duckdb_destroy_result(&rows);
    return OK;
}

static enum status find_bounds(struct removal *r, struct outcome *o, struct error *reterr)
{
    struct sql chunks, recent, histograms;
    o->bounds = (struct time_span){INT64_MAX, INT64_MIN};
    sql_init(&chunks, SQL_BYTES_MAX);
    sql_words(&chunks, "SELECT min(tmin), max(tmax) FROM chunks()");
    enum status status = widen(r, &chunks, &o->bounds, reterr);
    if (status != OK)
        return status;
    sql_init(&recent, SQL_BYTES_MAX);
    sql_words(&recent, "SELECT min(ts), max(ts) FROM recent WHERE ");
    schema_within(&recent, r->batch);
    status = widen(r, &recent, &o->bounds, reterr);
    if (status != OK)
        return status;
    sql_init(&histograms, SQL_BYTES_MAX);
    schema_histograms(&histograms, "min(ts), max(ts)", EVER, r->batch);
    status = widen(r, &histograms, &o->bounds, reterr);
    if (status != OK)
        return status;
    struct sql outliving;
    struct time_span rolled = {INT64_MAX, INT64_MIN};
    sql_init(&outliving, SQL_BYTES_MAX);
    status = rollup_write_outliving(&outliving, r->connection, "min(tmin), max(tmax)", reterr);
    if (status == OK)
        status = widen(r, &outliving, &rolled, reterr);
    else
        sql_release(&outliving);
    o->rolled_ms = rolled.min_ms;
    return status;
}

static enum status look(struct removal *r, struct outcome *o, struct error *reterr)
{
    enum status status = find_remaining(r, reterr);
    if (status == OK)
        status = read_numbers(
            r, "SELECT series FROM " REMOVAL_DOOMED " WHERE series NOT IN (SELECT series FROM " REMAINING ")", &o->gone,
            &o->gone_n, reterr);
    if (status == OK && r->cut_ms != INT64_MAX)
        status = read_numbers(r, "SELECT series FROM " REMAINING, &o->left, &o->left_n, reterr);
    if (status == OK && r->cut_ms != INT64_MAX)
        status = find_newest(r, o, reterr);
    return status == OK ? find_bounds(r, o, reterr) : status;
}

/* --- the last step, under the writer's lock --- */

/* The series as append left it, unless a later transaction wrote to it. */
static struct known_series *untouched(struct removal *r, uint32_t id)
{
    struct catalogue *catalogue = &r->store->writer.catalogue;
    struct known_series *series = catalogue_at(catalogue, id);
    return series && !series->gone && series->transaction <= r->batch ? series : NULL;
}

static enum status write_gone(struct removal *r, struct outcome *o, struct error *reterr)
{
    duckdb_appender appender = NULL;
    enum status status = execute(r, "CREATE OR REPLACE TEMP TABLE gone (series UINTEGER)", reterr);
    if (status != OK)
        return status;
    bool well = duckdb_appender_create_ext(r->connection->handle, "temp", "main", "gone", &appender) == DuckDBSuccess;
    size_t kept = 0;
    for (size_t i = 0; well && i < o->gone_n; i++) {
        if (!untouched(r, o->gone[i]))
            continue;
        o->gone[kept++] = o->gone[i];
        well = duckdb_append_uint32(appender, o->gone[i]) == DuckDBSuccess &&
               duckdb_appender_end_row(appender) == DuckDBSuccess;
    }
    if (!well || duckdb_appender_close(appender) != DuckDBSuccess)
        status = engine_error(duckdb_appender_error(appender), NULL, reterr);
    duckdb_appender_destroy(&appender);
    o->gone_n = kept;
    return status;
}

static enum status drop_series(struct removal *r, struct outcome *o, struct error *reterr)
{
    static const char *const STATEMENTS[] = {
        "DELETE FROM series WHERE series IN (SELECT series FROM " GONE ")",
        "DROP TABLE " GONE,
        "DROP TABLE " REMAINING,
        "DROP TABLE " REMOVAL_DOOMED,
    };
    enum status status = write_gone(r, o, reterr);
    for (size_t i = 0; status == OK && i < ARRAY_LENGTH(STATEMENTS); i++)
        status = execute(r, STATEMENTS[i], reterr);
    return status;
}

/* What appends of meanwhile wrote is left, too. If it cannot be read the bounds stay as they were: too wide is right.
 */
static void settle_totals(struct removal *r, const struct outcome *o)
{
    struct writer *w = &r->store->writer;
    struct time_span bounds = o->bounds;
    struct sql sql;
    sql_init(&sql, SQL_BYTES_MAX);
    sql_words(&sql, "SELECT min(ts), max(ts) FROM (SELECT ts FROM recent WHERE NOT ");
    schema_within(&sql, r->batch);
    sql_words(&sql, " UNION ALL SELECT ts FROM histograms WHERE NOT ");
    schema_within(&sql, r->batch);
    sql_words(&sql, ")");
    if (w->totals.batch == r->batch)
        sql_release(&sql);
    else if (widen(r, &sql, &bounds, NULL) != OK)
        bounds = (struct time_span){w->totals.min_ms, w->totals.max_ms};
    pthread_mutex_lock(&w->totals_lock);
    w->totals.samples_n -= r->samples_n;
    w->totals.histograms_n -= r->histograms_n;
    w->totals.series_n -= o->gone_n;
    w->totals.min_ms = bounds.min_ms;
    w->totals.max_ms = bounds.max_ms;
    pthread_mutex_unlock(&w->totals_lock);
}

static void settle(struct removal *r, const struct outcome *o)
{
    struct catalogue *catalogue = &r->store->writer.catalogue;
    for (size_t i = 0; i < o->newest_n; i++) {
        struct known_series *series = untouched(r, o->newest[i].id);
        if (!series)
            continue;
        series->newest_ms = o->newest[i].time_ms;
        series->newest_bits = o->newest[i].bits;
        series->newest_is_histogram = o->newest[i].is_histogram;
        series->newest_unread = false;
    }
    for (size_t i = 0; i < o->left_n; i++)
        catalogue_loosen(catalogue, o->left[i]);
    catalogue_remove(catalogue, o->gone, o->gone_n);
    r->series_n = o->gone_n;
    settle_totals(r, o);
    int64_t oldest_ms = r->store->writer.totals.min_ms;
    if (r->old_ms != INT64_MIN)
        catalogue_forget_before(catalogue, r->old_ms, o->rolled_ms < oldest_ms ? o->rolled_ms : oldest_ms);
    atomic_fetch_sub_explicit(&r->store->compactor.recent_n, r->recent_n, memory_order_relaxed);
}

/* A write in doubt holds on to series of the catalogue until append has decided it. */
static enum status drop_series_if_decided(struct removal *r, struct outcome *o, struct error *reterr)
{
    if (r->store->writer.in_doubt)
        return error_set(reterr, E_UNAVAILABLE, "whether the last write is stored is not known yet");
    return drop_series(r, o, reterr);
}

static enum status finish(struct removal *r, struct outcome *outcome, struct error *reterr)
{
    pthread_mutex_lock(&r->store->writer.lock);
    enum status status = engine_end(r->connection, drop_series_if_decided(r, outcome, reterr), reterr);
    catalogue_leave(&r->store->writer.catalogue, r->entered); /* before settle, which frees what nobody sees */
    if (status == OK)
        settle(r, outcome);
    pthread_mutex_unlock(&r->store->writer.lock);
    return status;
}

enum status removal_end(struct removal *r, enum status so_far, struct error *reterr)
{
    struct outcome outcome = {.gone = NULL};
    bool any = so_far != OK || r->doomed_n > 0;
    if (so_far == OK && any)
        so_far = look(r, &outcome, reterr);
    if (so_far == OK && any) {
        so_far = finish(r, &outcome, reterr);
    } else {
        so_far = so_far == OK ? engine_execute(r->connection, "ROLLBACK", reterr)
                              : engine_end(r->connection, so_far, reterr);
        catalogue_leave(&r->store->writer.catalogue, r->entered);
    }
    free(outcome.gone);
    free(outcome.left);
    free(outcome.newest);
    return so_far;
}
