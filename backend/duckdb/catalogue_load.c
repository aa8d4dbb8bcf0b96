/* backend/duckdb/catalogue_load.c: the catalogue out of the tables, when the database is opened. */
#include "backend/duckdb/catalogue.h"
#include "backend/duckdb/decode.h"
#include "backend/duckdb/rollup.h"
#include "backend/duckdb/stored_value.h"
#include "base/assert.h"
#include "base/float_text.h"

static enum status load_series(struct catalogue *c, struct connection *connection, struct totals *totals,
                               struct error *reterr)
{
    duckdb_result result;
    enum status status =
        engine_query(connection, "SELECT series, metric, labels FROM series", true, NULL, &result, reterr);
    if (status != OK)
        return status;
    const struct fragment_columns columns = {.metric = true, .map = true};
    duckdb_data_chunk chunk = NULL;
    struct arena arena; /* of one chunk's labels */
    arena_init(&arena, SIZE_MAX);
    while ((status = engine_fetch(connection, &result, NULL, &chunk, reterr)) == OK && chunk) {
        const uint32_t *ids = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 0));
        struct label_reader reader;
        label_reader_init(&reader, &columns, NULL, chunk, 1);
        for (idx_t row = 0; status == OK && row < duckdb_data_chunk_get_size(chunk); row++) {
            struct labels labels;
            status = label_reader_get(&reader, row, &arena, &labels, reterr);
            struct known_series *series =
                status == OK ? catalogue_add_as(c, labels, labels_hash(labels), ids[row]) : NULL;
            if (series)
                series->stored = true;
            else if (status == OK)
                status = error_set(reterr, E_NOMEM, "no memory for the catalogue of series");
            totals->series_n += series != NULL;
        }
        arena_reset(&arena);
        engine_chunk_free(&chunk);
        if (status != OK)
            break;
    }
    duckdb_destroy_result(&result);
    arena_release(&arena);
    return status;
}

static void note_samples(struct catalogue *c, duckdb_data_chunk chunk, struct totals *totals)
{
    const void *column[8]; /* as load_newest asks */
    for (idx_t i = 0; i < ARRAY_LENGTH(column); i++)
        column[i] = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, i));
    const uint32_t *ids = column[0];
    const int64_t *oldest = column[1], *newest = column[2], *counts = column[5];
    const int64_t *min = column[6], *max = column[7];
    const bool *is_read = column[3];
    const double *values = column[4];
    for (idx_t row = 0; row < duckdb_data_chunk_get_size(chunk); row++) {
        totals->samples_n += (uint64_t)counts[row];
        totals->min_ms = counts[row] && min[row] < totals->min_ms ? min[row] : totals->min_ms;
        totals->max_ms = counts[row] && max[row] > totals->max_ms ? max[row] : totals->max_ms;
        struct known_series *series = catalogue_at(c, ids[row]);
        if (!series)
            continue;
        series->has_samples = true;
        series->newest_ms = newest[row];
        series->newest_unread = !is_read[row];
        series->newest_bits = is_read[row] ? double_bits(stored_value(values[row])) : 0;
        catalogue_publish(c, series, oldest[row], newest[row]);
    }
}

/* What rollups alone tell of are no samples, but the series is there for it. Values of chunks are not read: of a large
 * store that would be most of its bytes. */
static enum status load_newest(struct catalogue *c, struct connection *connection, struct totals *totals,
                               struct error *reterr)
{
    duckdb_result result;
    struct sql sql;
    sql_init(&sql, SQL_BYTES_MAX);
    sql_words(&sql, "SELECT series, min(tmin), max(tmax), coalesce(max(tmax) FILTER (newest IS NOT NULL) = "
                    "max(tmax), false), coalesce(arg_max(newest, tmax), 0), sum(n)::BIGINT, "
                    "coalesce(min(tmin) FILTER (n > 0), 0), coalesce(max(tmax) FILTER (n > 0), 0) FROM ("
                    "SELECT series, tmin, tmax, NULL::DOUBLE AS newest, n FROM chunks() UNION ALL "
                    "SELECT series, ts, ts, value, 1 FROM recent UNION ALL ");
    enum status status = rollup_write_outliving(&sql, connection, "series, tmin, tmax, value[-1], 0", reterr);
    sql_words(&sql, ") GROUP BY series");
    if (status == OK)
        status = sql_status(&sql, reterr);
    if (status == OK)
        status = engine_query(connection, strbuf_view(&sql.text).ptr, true, NULL, &result, reterr);
    sql_release(&sql);
    if (status != OK)
        return status;
    duckdb_data_chunk chunk = NULL;
    while ((status = engine_fetch(connection, &result, NULL, &chunk, reterr)) == OK && chunk) {
        catalogue_publish_begin(c);
        note_samples(c, chunk, totals);
        catalogue_publish_end(c);
        engine_chunk_free(&chunk);
    }
    duckdb_destroy_result(&result);
    return status;
}

/* Beside what note_samples said. */
static void note_histograms(struct catalogue *c, duckdb_data_chunk chunk, struct totals *totals)
{
    const void *column[4]; /* series, oldest, newest, how many; then the newest one */
    for (idx_t i = 0; i < ARRAY_LENGTH(column); i++)
        column[i] = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, i));
    const uint32_t *ids = column[0];
    const int64_t *oldest = column[1], *newest = column[2], *counts = column[3];
    struct text_column packed = text_column_of(duckdb_data_chunk_get_vector(chunk, 4));
    for (idx_t row = 0; row < duckdb_data_chunk_get_size(chunk); row++) {
        struct known_series *series = catalogue_at(c, ids[row]);
        totals->samples_n += (uint64_t)counts[row];
        totals->histograms_n += (uint64_t)counts[row];
        totals->min_ms = oldest[row] < totals->min_ms ? oldest[row] : totals->min_ms;
        totals->max_ms = newest[row] > totals->max_ms ? newest[row] : totals->max_ms;
        if (!series)
            continue;
        if (!series->has_samples || newest[row] > series->newest_ms) {
            series->newest_ms = newest[row];
            series->newest_bits = catalogue_histogram_bits(text_column_get(&packed, row));
            series->newest_is_histogram = true;
            series->newest_unread = false;
        }
        series->has_samples = true;
        catalogue_mark_histograms(c, series);
        catalogue_publish_begin(c);
        catalogue_publish(c, series, oldest[row], newest[row]);
        catalogue_publish_end(c);
    }
}

static enum status load_histograms(struct catalogue *c, struct connection *connection, struct totals *totals,
                                   struct error *reterr)
{
    duckdb_result result;
    enum status status = engine_query(
        connection,
        "SELECT series, min(ts), max(ts), count(*)::BIGINT, arg_max(histogram, ts) FROM histograms GROUP BY series",
        true, NULL, &result, reterr);
    if (status != OK)
        return status;
    duckdb_data_chunk chunk = NULL;
    while ((status = engine_fetch(connection, &result, NULL, &chunk, reterr)) == OK && chunk) {
        note_histograms(c, chunk, totals);
        engine_chunk_free(&chunk);
    }
    duckdb_destroy_result(&result);
    return status;
}

static enum status load_batch(struct connection *connection, struct totals *totals, struct error *reterr)
{
    duckdb_result result;
    enum status status =
        engine_query(connection,
                     "SELECT coalesce(max(batch), 0) FROM (SELECT batch FROM recent UNION ALL SELECT batch FROM "
                     "histograms)",
                     false, NULL, &result, reterr);
    if (status != OK)
        return status;
    totals->batch = (uint64_t)duckdb_value_int64(&result, 0, 0);
    duckdb_destroy_result(&result);
    return OK;
}

enum status catalogue_load(struct catalogue *c, struct connection *connection, struct totals *ret_totals,
                           struct error *reterr)
{
    *ret_totals = (struct totals){.min_ms = INT64_MAX, .max_ms = INT64_MIN};
    enum status status = load_series(c, connection, ret_totals, reterr);
    if (status == OK)
        status = load_newest(c, connection, ret_totals, reterr);
    if (status == OK)
        status = load_histograms(c, connection, ret_totals, reterr);
    if (status == OK)
        status = load_batch(connection, ret_totals, reterr);
    return status;
}
