/* backend/duckdb/late.c: samples that come late: older than their series' newest, but within the window.
 *
 * Two things must hold whatever comes when. A run has all samples of its series from its first to its last, so a late
 * sample whose time lies in a chunk must be in that chunk. And what lies in recent is later than the chunk of its
 * series in its partition, so that a move can put it behind (compact.c). Hence a late sample before the end of the
 * chunk of its partition is joined to the chunk, by the transaction that stores it: the chunk is replaced, as a move
 * does. Every other late sample goes to recent like any sample; runs of one never overlap. Native histograms are in no
 * chunk: they go to their table, if there is no sample of their time.
 *
 * Which samples are there already is asked of the tables, in one statement for all late samples of the transaction.
 * Nobody else may change chunks, or move rows of recent, between that statement and the commit: the compactor's
 * `running` is held. Appends without late samples never ask for it.
 */
#include <stdlib.h>

#include "backend/duckdb/decode.h"
#include "backend/duckdb/functions.h"
#include "backend/duckdb/partition.h"
#include "backend/duckdb/schema.h"
#include "backend/duckdb/store.h"
#include "backend/duckdb/stored_value.h"
#include "base/array.h"
#include "base/assert.h"
#include "planner/sql.h"

#define LATE_TABLE "late_samples" /* temporary; of the writer's connection only */

bool late_within(const struct known_series *known, int64_t time_ms, int64_t window_ms)
{
    return (uint64_t)known->newest_ms - (uint64_t)time_ms <= (uint64_t)window_ms && window_ms > 0;
}

bool late_stage(struct writer *w, struct known_series *known, struct labels labels, const struct offered *offered,
                struct append_request *request)
{
    if (!array_reserve(&w->late, &w->late_capacity, w->late_n + 1, sizeof *w->late))
        return false;
    double value = offered->packed.ptr ? 0 : double_from_bits(offered->bits);
    w->late[w->late_n] = (struct late_sample){.row = {known, {offered->time_ms, value}},
                                              .packed = offered->packed,
                                              .labels = labels,
                                              .request = request,
                                              .order = w->late_n};
    w->late_n++;
    return true;
}

/* --- order --- */

static int compare_places(const struct staged_row *a, uint32_t id, int64_t time_ms)
{
    if (a->series->id != id)
        return a->series->id < id ? -1 : 1;
    return (a->sample.time_ms > time_ms) - (a->sample.time_ms < time_ms);
}

static int compare_late(const void *a, const void *b)
{
    const struct late_sample *x = a, *y = b;
    int order = compare_places(&x->row, y->row.series->id, y->row.sample.time_ms);
    return order ? order : (x->order > y->order) - (x->order < y->order);
}

/* The first late sample of that place, or NULL. */
static struct late_sample *find_place(struct writer *w, uint32_t id, int64_t time_ms)
{
    size_t low = 0, high = w->late_n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare_places(&w->late[middle].row, id, time_ms) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < w->late_n && compare_places(&w->late[low].row, id, time_ms) == 0 ? &w->late[low] : NULL;
}

static void take_place(struct late_sample *late, uint64_t bits, bool is_histogram)
{
    late->taken = true;
    late->taken_is_histogram = is_histogram;
    late->taken_bits = bits;
}

static struct offered offered_of(const struct late_sample *late)
{
    const struct sample *sample = &late->row.sample;
    return (struct offered){sample->time_ms,
                            late->packed.ptr ? catalogue_histogram_bits(late->packed) : double_bits(sample->value),
                            late->packed};
}

/* --- what is there --- */

/* The late samples, or those of them that join chunks, as a table. */
static enum status put_table(struct writer *w, bool joining, struct error *reterr)
{
    struct staged_row *rows = malloc(w->late_n * sizeof *rows);
    size_t n = 0;
    if (!rows)
        return error_set(reterr, E_NOMEM, "no memory to stage a write");
    for (size_t i = 0; i < w->late_n; i++) {
        if (!joining || (w->late[i].accepted && w->late[i].joins))
            rows[n++] = w->late[i].row;
    }
    enum status status = engine_execute(
        w->connection,
        "CREATE OR REPLACE TEMP TABLE " LATE_TABLE " (series UINTEGER, ts BIGINT, value DOUBLE, batch BIGINT)", reterr);
    if (status == OK)
        status = writer_put_rows(w, "temp", LATE_TABLE, rows, n, reterr);
    free(rows);
    return status;
}

/* The partitions that late samples lie in. */
static struct time_span partitions_of(const struct writer *w)
{
    int64_t min_ms = INT64_MAX, max_ms = INT64_MIN;
    for (size_t i = 0; i < w->late_n; i++) {
        int64_t time_ms = w->late[i].row.sample.time_ms;
        min_ms = time_ms < min_ms ? time_ms : min_ms;
        max_ms = time_ms > max_ms ? time_ms : max_ms;
    }
    return partitions_span(min_ms / PARTITION_MS, max_ms / PARTITION_MS);
}

/* One row for each late sample that recent or histograms have its time of, or that lies before the end of a chunk: then
 * `value` is NULL if the chunk has not its time. */
static void write_places(struct sql *sql, const struct writer *w)
{
    struct time_span span = partitions_of(w);
    sql_words(sql, "SELECT series, ts, recent.value, false AS joins, NULL::BLOB AS histogram FROM recent JOIN "
                   "temp.main." LATE_TABLE " USING (series, ts) WHERE ");
    sql_between(sql, "ts", span);
    sql_words(sql, " UNION ALL SELECT series, ts, NULL, false, histogram FROM histograms JOIN temp.main." LATE_TABLE
                   " USING (series, ts) WHERE ");
    sql_between(sql, "ts", span);
    sql_words(sql, " UNION ALL SELECT old.series, late.ts, old.value[list_position(old.ts, late.ts)], true, NULL FROM "
                   "(SELECT * FROM chunks() WHERE ");
    sql_between(sql, "tmin", span);
    sql_words(sql, ") AS old JOIN temp.main." LATE_TABLE " AS late ON late.series = old.series AND ");
    partition_write(sql, "old.tmin");
    sql_words(sql, " = ");
    partition_write(sql, "late.ts");
    sql_words(sql, " AND late.ts <= old.tmax");
}

static enum status take_places(struct writer *w, duckdb_data_chunk chunk, struct error *reterr)
{
    const uint32_t *id = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 0));
    const int64_t *time_ms = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 1));
    duckdb_vector values = duckdb_data_chunk_get_vector(chunk, 2);
    const double *value = duckdb_vector_get_data(values);
    const bool *joins = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 3));
    struct text_column histograms = text_column_of(duckdb_data_chunk_get_vector(chunk, 4));
    for (idx_t row = 0; row < duckdb_data_chunk_get_size(chunk); row++) {
        struct late_sample *late = find_place(w, id[row], time_ms[row]);
        if (!late)
            return error_set(reterr, E_INTERNAL, "the engine has a place for a late sample that did not come");
        late->joins = late->joins || joins[row]; /* a place may have a row by a chunk, and one by a histogram */
        if (is_valid(duckdb_vector_get_validity(values), row))
            take_place(late, double_bits(stored_value(value[row])), false);
        else if (is_valid(histograms.validity, row))
            take_place(late, catalogue_histogram_bits(text_column_get(&histograms, row)), true);
    }
    return OK;
}

static enum status ask_places(struct writer *w, struct error *reterr)
{
    struct sql sql;
    duckdb_result rows;
    duckdb_data_chunk chunk = NULL;
    sql_init(&sql, SQL_BYTES_MAX);
    write_places(&sql, w);
    enum status status = engine_ask(w->connection, &sql, NULL, &rows, reterr);
    if (status != OK)
        return status;
    while (status == OK && (status = engine_fetch(w->connection, &rows, NULL, &chunk, reterr)) == OK && chunk) {
        status = take_places(w, chunk, reterr);
        engine_chunk_free(&chunk);
    }
    duckdb_destroy_result(&rows);
    return status;
}

/* --- judging --- */

/* The first sample of a place stays, in the order they came; `first` knows whether the tables have an earlier one. */
static enum status judge(struct writer *w, struct late_sample *first, struct late_sample *late, struct error *reterr)
{
    struct offered offered = offered_of(late);
    bool is_histogram = late->packed.ptr;
    if (first->taken) {
        if (offered.bits != first->taken_bits || is_histogram != first->taken_is_histogram) {
            writer_refuse_conflict(late->request, late->labels, &offered, first->taken_bits, first->taken_is_histogram);
            return OK;
        }
        late->request->duplicates++;
        late->request->histograms_known += is_histogram;
        return OK;
    }
    take_place(first, offered.bits, is_histogram);
    late->accepted = true;
    late->request->written++;
    late->request->late++;
    late->request->histograms_written += is_histogram;
    if (is_histogram) {
        late->joins = false;
        return writer_stage_histogram(w, late->row.series, offered.time_ms, late->packed)
                   ? OK
                   : error_set(reterr, E_NOMEM, "no memory to stage a write");
    }
    if (late->joins)
        return OK;
    if (!array_reserve(&w->rows, &w->rows_capacity, w->rows_n + 1, sizeof *w->rows))
        return error_set(reterr, E_NOMEM, "no memory to stage a write");
    w->rows[w->rows_n++] = late->row;
    return OK;
}

enum status late_judge(struct writer *w, struct error *reterr)
{
    PRE(w->late_n > 0);
    qsort(w->late, w->late_n, sizeof *w->late, compare_late);
    enum status status = put_table(w, false, reterr);
    if (status == OK)
        status = ask_places(w, reterr);
    /* Samples of this transaction that were not late when they came. */
    for (size_t i = 0; status == OK && i < w->rows_n; i++) {
        struct late_sample *late = find_place(w, w->rows[i].series->id, w->rows[i].sample.time_ms);
        if (late)
            take_place(late, double_bits(w->rows[i].sample.value), false);
    }
    for (size_t i = 0; status == OK && i < w->histograms_n; i++) {
        const struct histogram_sample *sample = &w->histograms[i].sample;
        struct late_sample *late = find_place(w, w->histograms[i].series->id, sample->time_ms);
        if (late)
            take_place(late, catalogue_histogram_bits(sample->packed), true);
    }
    struct late_sample *first = w->late;
    for (size_t i = 0; status == OK && i < w->late_n; i++) {
        if (compare_places(&first->row, w->late[i].row.series->id, w->late[i].row.sample.time_ms) != 0)
            first = &w->late[i];
        status = judge(w, first, &w->late[i], reterr);
    }
    return status;
}

/* --- joining --- */

/* Both lists of a chunk and of a group have the same order. */
static void write_joined_chunks(struct sql *sql, struct time_span span)
{
    sql_words(sql,
              "CREATE OR REPLACE TEMP TABLE " FRESH_CHUNKS " AS SELECT metric, series, run.ts[1] AS tmin, run.ts[-1] "
              "AS tmax, len(run.ts) AS n, prom_pace(run.ts) AS pace, "
              "prom_drift(run.ts, pace) AS drift, run.value AS value, replaces FROM (SELECT metric, series, "
              "prom_in_order(list_concat(old.ts, late.ts), list_concat(old.value, late.value)) AS run, "
              "old.tmin AS replaces FROM (SELECT *, ");
    partition_write(sql, "tmin");
    sql_words(sql, " AS part FROM chunks() WHERE ");
    sql_between(sql, "tmin", span);
    sql_words(sql, ") AS old JOIN (SELECT series, ");
    partition_write(sql, "ts");
    sql_words(sql, " AS part, list(ts) AS ts, list(value) AS value FROM temp.main." LATE_TABLE
                   " GROUP BY series, part) AS late USING (series, part))");
}

enum status late_join(struct writer *w, struct error *reterr)
{
    bool any = false;
    for (size_t i = 0; i < w->late_n; i++)
        any = any || (w->late[i].accepted && w->late[i].joins);
    if (!any)
        return OK;
    struct time_span span = partitions_of(w);
    struct sql sql;
    sql_init(&sql, SQL_BYTES_MAX);
    write_joined_chunks(&sql, span);
    enum status status = sql_status(&sql, reterr);
    if (status == OK)
        status = put_table(w, true, reterr);
    if (status == OK)
        status = engine_execute(w->connection, strbuf_view(&sql.text).ptr, reterr);
    sql_release(&sql);
    if (status == OK)
        status = rollup_follow(w->rollups, w->connection, FRESH_RUNS, span, NULL, reterr);
    return status == OK ? chunks_replace(w->connection, span, NULL, reterr) : status;
}
