/* backend/duckdb/raw_slice.c: see raw_slice.h. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "backend/duckdb/decode.h"
#include "backend/duckdb/raw_slice.h"
#include "backend/duckdb/sample_order.h"
#include "backend/duckdb/schema.h"
#include "backend/duckdb/stored_value.h"
#include "base/assert.h"
#include "planner/sql.h"

static enum status no_memory(struct error *reterr)
{
    return error_set(reterr, E_NOMEM, "no memory for a slice of raw samples");
}

/* --- which series are in which slice --- */

static void number_slices(struct slices *slices, struct raw_series *series, size_t n)
{
    uint64_t held = 0;
    uint32_t slice = 0;
    for (size_t i = 0; i < n; i++) {
        if (i > 0 && held + series[i].samples_n > slices->slice_max) {
            slice++;
            held = 0;
        }
        held += series[i].samples_n;
        series[i].slice = slice;
        slices->places_n = series[i].id >= slices->places_n ? series[i].id + 1 : slices->places_n;
    }
}

static bool append_series(duckdb_appender appender, const struct raw_series *series, uint32_t place)
{
    return duckdb_append_uint32(appender, series->id) == DuckDBSuccess &&
           duckdb_append_uint32(appender, series->slice) == DuckDBSuccess &&
           duckdb_append_uint32(appender, place) == DuckDBSuccess && duckdb_appender_end_row(appender) == DuckDBSuccess;
}

enum status slices_begin(struct slices *slices, struct raw_series *series, size_t n, bool *ret_has_table,
                         struct error *reterr)
{
    slices->series = series;
    slices->series_n = n;
    number_slices(slices, series, n);
    enum status status = engine_execute(
        slices->connection, "CREATE TEMP TABLE " RAW_SLICE_TABLE " (series UINTEGER, slice UINTEGER, place UINTEGER)",
        reterr);
    if (status != OK)
        return status;
    *ret_has_table = true;
    duckdb_appender appender = NULL;
    bool well = duckdb_appender_create_ext(slices->connection->handle, "temp", "main", RAW_SLICE_TABLE, &appender) ==
                DuckDBSuccess;
    for (size_t i = 0; well && i < n; i++)
        well = append_series(appender, &series[i], (uint32_t)i);
    if (!well || duckdb_appender_close(appender) != DuckDBSuccess)
        status = engine_error(duckdb_appender_error(appender), NULL, reterr);
    duckdb_appender_destroy(&appender);
    return status;
}

/* --- reading one --- */

/* Copies the part of a run that is in the span to its place. */
static enum status take_run(struct slices *slices, struct raw_slice *slice, uint32_t id, struct samples run,
                            struct error *reterr)
{
    uint32_t place = id < slices->places_n ? slices->places[id] : 0;
    uint64_t begin = 0, n = run.n;
    while (begin < n && run.time_ms[begin] < slices->span.min_ms)
        begin++;
    while (n > begin && run.time_ms[n - 1] > slices->span.max_ms)
        n--;
    if (begin == n)
        return OK;
    uint64_t counted = place ? slices->series[slice->first + place - 1].samples_n : 0;
    uint64_t held = place ? slice->filled[place - 1] : 0;
    if (counted - held < n - begin)
        return error_set(reterr, E_INTERNAL,
                         "a slice of raw samples has rows it should not have: of series %" PRIu32 " %" PRIu64
                         " samples were counted, %" PRIu64 " and %" PRIu64 " more were read",
                         id, counted, held, n - begin);
    struct sample *to = slice->buffer + slice->begins[place - 1] + slice->filled[place - 1];
    slice->filled[place - 1] += n - begin;
    for (uint64_t i = begin; i < n; i++)
        *to++ = (struct sample){run.time_ms[i], stored_value(run.value[i])};
    return OK;
}

static enum status take_rows(struct slices *slices, struct raw_slice *slice, duckdb_data_chunk chunk,
                             struct error *reterr)
{
    const uint32_t *ids = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 0));
    struct run_column runs =
        run_column_of(duckdb_data_chunk_get_vector(chunk, 1), duckdb_data_chunk_get_vector(chunk, 2));
    enum status status = OK;
    for (idx_t row = 0; status == OK && row < duckdb_data_chunk_get_size(chunk); row++)
        status = take_run(slices, slice, ids[row], run_column_get(&runs, row), reterr);
    return status;
}

static void write_slice_query(struct sql *sql, const struct slices *slices, uint32_t number)
{
    sql_words(sql, "SELECT series, ts, value FROM (SELECT series, ts, value FROM chunks() WHERE ");
    sql_meets(sql, slices->span);
    sql_words(sql, " UNION ALL SELECT series, [ts] AS ts, [value] AS value FROM recent WHERE ");
    sql_between(sql, "ts", slices->span);
    sql_words(sql, " AND ");
    schema_within(sql, slices->batch);
    sql_words(sql, ") WHERE series IN (SELECT series FROM temp.main." RAW_SLICE_TABLE " WHERE slice = ");
    sql_i64(sql, number);
    sql_words(sql, ")");
}

static bool make_room(struct slices *slices, struct raw_slice *slice)
{
    if (!slices->places)
        slices->places = malloc(((size_t)slices->places_n + 1) * sizeof *slices->places);
    if (!slice->buffer)
        slice->buffer = malloc(slices->slice_max * sizeof *slice->buffer);
    if (!slice->begins)
        slice->begins = malloc(slices->series_n * sizeof *slice->begins);
    if (!slice->filled)
        slice->filled = malloc(slices->series_n * sizeof *slice->filled);
    return slices->places && slice->buffer && slice->begins && slice->filled;
}

/* Gives each series of the slice its place in the buffer. */
static void place_series(struct slices *slices, struct raw_slice *slice, size_t first)
{
    const struct raw_series *series = slices->series;
    uint64_t begin = 0;
    memset(slices->places, 0, ((size_t)slices->places_n + 1) * sizeof *slices->places);
    slice->first = first;
    for (slice->end = first; slice->end < slices->series_n && series[slice->end].slice == series[first].slice;
         slice->end++) {
        uint32_t place = (uint32_t)(slice->end - first);
        slices->places[series[slice->end].id] = place + 1;
        slice->begins[place] = begin;
        slice->filled[place] = 0;
        begin += series[slice->end].samples_n;
    }
    INVARIANT(begin <= slices->slice_max);
}

static enum status sort_series(struct slices *slices, struct raw_slice *slice, struct error *reterr)
{
    enum status status = OK;
    for (size_t place = 0; status == OK && place < slice->end - slice->first; place++) {
        uint64_t n = slices->series[slice->first + place].samples_n;
        if (slice->filled[place] != n)
            return error_set(reterr, E_INTERNAL, "a slice of raw samples lacks rows it should have");
        if (!samples_put_in_order(slice->buffer + slice->begins[place], n, &slices->scratch))
            status = no_memory(reterr);
    }
    return status;
}

static enum status load_slice(struct slices *slices, struct raw_slice *slice, size_t first, struct error *reterr)
{
    if (!make_room(slices, slice))
        return no_memory(reterr);
    place_series(slices, slice, first);
    struct sql sql;
    sql_init(&sql, SQL_BYTES_MAX);
    write_slice_query(&sql, slices, slices->series[first].slice);
    duckdb_result rows;
    enum status status = sql_status(&sql, reterr);
    if (status == OK)
        status = engine_query(slices->connection, strbuf_view(&sql.text).ptr, true, slices->cancel, &rows, reterr);
    sql_release(&sql);
    if (status != OK)
        return status;
    duckdb_data_chunk chunk = NULL;
    while (status == OK && !slices->stop &&
           (status = engine_fetch(slices->connection, &rows, slices->cancel, &chunk, reterr)) == OK && chunk) {
        status = take_rows(slices, slice, chunk, reterr);
        engine_chunk_free(&chunk);
    }
    duckdb_destroy_result(&rows);
    if (status == OK && slices->stop)
        return error_set(reterr, E_CANCELED, "the cursor on raw samples was closed");
    return status == OK ? sort_series(slices, slice, reterr) : status;
}

/* --- one ahead --- */

static struct raw_slice *other_slice(struct slices *slices)
{
    return slices->current == &slices->slice[0] ? &slices->slice[1] : &slices->slice[0];
}

static void *load_ahead(void *arg)
{
    struct slices *slices = arg;
    slices->ahead_status = load_slice(slices, other_slice(slices), slices->current->end, &slices->ahead_error);
    return NULL;
}

/* Has the slice after the current one read, if it is one to be read. Without a thread it is read when it is needed. */
static void begin_ahead(struct slices *slices)
{
    size_t next = slices->current->end;
    if (next == slices->series_n || slices->series[next].samples_n > slices->slice_max)
        return;
    slices->is_ahead = pthread_create(&slices->thread, NULL, load_ahead, slices) == 0;
    slices->is_settled = false;
}

void slices_settle(struct slices *slices)
{
    if (!slices->is_ahead || slices->is_settled)
        return;
    pthread_join(slices->thread, NULL);
    slices->is_settled = true;
}

static enum status need_slice(struct slices *slices, size_t series, struct error *reterr)
{
    if (slices->current && series < slices->current->end)
        return OK;
    struct raw_slice *slice = other_slice(slices);
    enum status status;
    if (slices->is_ahead) {
        slices_settle(slices);
        slices->is_ahead = false;
        status = slices->ahead_status;
        if (status != OK && reterr)
            *reterr = slices->ahead_error;
    } else {
        status = load_slice(slices, slice, series, reterr);
    }
    if (status != OK)
        return status;
    INVARIANT(slice->first <= series && series < slice->end);
    slices->current = slice;
    begin_ahead(slices);
    return OK;
}

enum status slices_samples(struct slices *slices, size_t series, const struct sample **ret_samples,
                           struct error *reterr)
{
    PRE(slices->series[series].samples_n <= slices->slice_max);
    enum status status = need_slice(slices, series, reterr);
    if (status == OK)
        *ret_samples = slices->current->buffer + slices->current->begins[series - slices->current->first];
    return status;
}

void slices_release(struct slices *slices)
{
    slices->stop = true;
    slices_settle(slices);
    for (int i = 0; i < 2; i++) {
        free(slices->slice[i].buffer);
        free(slices->slice[i].begins);
        free(slices->slice[i].filled);
    }
    free(slices->places);
    free(slices->scratch.at);
    *slices = (struct slices){.series_n = 0};
}
