/* backend/duckdb/exemplars.c: see exemplars.h. */
#include "backend/duckdb/exemplars.h"

#include <stdlib.h>

#include "backend/duckdb/decode.h"
#include "backend/duckdb/stored_value.h"
#include "base/assert.h"

/* Rows that may lie there beside those kept: a quarter of them, and some. */
#define ROOM_PART 4
#define ROOM_N    1000

/* --- loading --- */

/* Columns: number, series, ts, value, labels. */
static enum status load_chunk(struct exemplar_table *table, duckdb_data_chunk chunk, struct error *reterr)
{
    const struct fragment_columns map = {.map = true};
    const int64_t *number = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 0));
    const int64_t *time_ms = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 2));
    const double *value = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 3));
    struct label_reader series, labels;
    label_reader_init(&series, &map, NULL, chunk, 1);
    label_reader_init(&labels, &map, NULL, chunk, 4);
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    enum status status = OK;
    for (idx_t row = 0; status == OK && row < duckdb_data_chunk_get_size(chunk); row++) {
        struct exemplar is = {.value = stored_value(value[row]), .time_ms = time_ms[row]};
        struct staged_exemplar exemplar = {.number = (uint64_t)number[row], .is = &is};
        status = label_reader_get(&series, row, &arena, &exemplar.series, reterr);
        if (status == OK)
            status = label_reader_get(&labels, row, &arena, &is.labels, reterr);
        if (status == OK)
            status = exemplar_ring_restore(table->ring, &exemplar, reterr);
    }
    arena_release(&arena);
    return status;
}

static enum status load_rows(struct exemplar_table *table, struct connection *connection, struct error *reterr)
{
    duckdb_result rows;
    enum status status =
        engine_query(connection, "SELECT number, series, ts, value, labels FROM exemplars ORDER BY number", false, NULL,
                     &rows, reterr);
    if (status != OK)
        return status;
    duckdb_data_chunk chunk = NULL;
    while (status == OK && (status = engine_fetch(connection, &rows, NULL, &chunk, reterr)) == OK && chunk) {
        status = load_chunk(table, chunk, reterr);
        engine_chunk_free(&chunk);
    }
    duckdb_destroy_result(&rows);
    return status;
}

enum status exemplars_load(struct exemplar_table *table, struct connection *connection, size_t max,
                           struct error *reterr)
{
    enum status status = exemplar_ring_new(max, &table->ring, reterr);
    if (status != OK || max == 0)
        return status;
    struct sql sql;
    sql_init(&sql, SQL_BYTES_MAX);
    sql_words(&sql, "DELETE FROM exemplars WHERE number <= (SELECT max(number) FROM exemplars) - ");
    sql_i64(&sql, (int64_t)max);
    status = engine_alter(connection, &sql, NULL, NULL, reterr);
    if (status == OK)
        status = load_rows(table, connection, reterr);
    if (status != OK)
        return status;
    uint64_t next = exemplar_ring_next(table->ring);
    table->oldest = next > max ? next - max : 0;
    return OK;
}

void exemplars_release(struct exemplar_table *table)
{
    exemplar_ring_free(table->ring);
    table->ring = NULL;
}

/* --- writing --- */

static bool append_labels(duckdb_appender appender, duckdb_logical_type map, struct labels labels)
{
    duckdb_value *texts = calloc(2 * labels.n + 1, sizeof(duckdb_value));
    if (!texts)
        return false;
    for (size_t i = 0; i < labels.n; i++) {
        const struct label *label = &labels.at[i];
        texts[i] = duckdb_create_varchar_length(label->name.ptr, label->name.len);
        texts[labels.n + i] = duckdb_create_varchar_length(label->value.ptr, label->value.len);
    }
    duckdb_value value = duckdb_create_map_value(map, texts, texts + labels.n, labels.n);
    bool done = value && duckdb_append_value(appender, value) == DuckDBSuccess;
    duckdb_destroy_value(&value);
    for (size_t i = 0; i < 2 * labels.n; i++)
        duckdb_destroy_value(&texts[i]);
    free(texts);
    return done;
}

static bool append_row(duckdb_appender appender, duckdb_logical_type map, const struct staged_exemplar *exemplar)
{
    return duckdb_append_int64(appender, (int64_t)exemplar->number) == DuckDBSuccess &&
           append_labels(appender, map, exemplar->series) &&
           duckdb_append_int64(appender, exemplar->is->time_ms) == DuckDBSuccess &&
           duckdb_append_double(appender, stored_value(exemplar->is->value)) == DuckDBSuccess &&
           append_labels(appender, map, exemplar->is->labels) && duckdb_appender_end_row(appender) == DuckDBSuccess;
}

static enum status append_rows(const struct exemplar_ring *ring, struct connection *connection, struct error *reterr)
{
    duckdb_appender appender = NULL;
    duckdb_logical_type text = duckdb_create_logical_type(DUCKDB_TYPE_VARCHAR);
    duckdb_logical_type map = duckdb_create_map_type(text, text);
    bool done =
        duckdb_appender_create_ext(connection->handle, ENGINE_CATALOG, NULL, "exemplars", &appender) == DuckDBSuccess;
    for (size_t i = 0; done && i < exemplar_ring_staged_n(ring); i++) {
        struct staged_exemplar exemplar = exemplar_ring_staged(ring, i);
        done = append_row(appender, map, &exemplar);
    }
    done = done && duckdb_appender_close(appender) == DuckDBSuccess;
    enum status status = done ? OK : engine_error(duckdb_appender_error(appender), NULL, reterr);
    duckdb_appender_destroy(&appender);
    duckdb_destroy_logical_type(&map);
    duckdb_destroy_logical_type(&text);
    return status;
}

/* The number from which on rows are kept once what is staged is; 0: it is not worth deleting any. */
static uint64_t cut_of(const struct exemplar_table *table)
{
    uint64_t next = exemplar_ring_next(table->ring) + exemplar_ring_staged_n(table->ring);
    uint64_t max = exemplar_ring_max(table->ring), oldest = table->oldest;
    return next - oldest > max + max / ROOM_PART + ROOM_N ? next - max : 0;
}

enum status exemplars_write(const struct exemplar_table *table, struct connection *connection, struct error *reterr)
{
    if (exemplar_ring_staged_n(table->ring) == 0)
        return OK;
    enum status status = append_rows(table->ring, connection, reterr);
    uint64_t cut = cut_of(table);
    if (status != OK || cut == 0)
        return status;
    struct sql sql;
    sql_init(&sql, SQL_BYTES_MAX);
    sql_words(&sql, "DELETE FROM exemplars WHERE number < ");
    sql_i64(&sql, (int64_t)cut);
    return engine_alter(connection, &sql, NULL, NULL, reterr);
}

void exemplars_keep(struct exemplar_table *table)
{
    uint64_t cut = exemplar_ring_staged_n(table->ring) > 0 ? cut_of(table) : 0;
    if (cut > 0)
        table->oldest = cut;
    exemplar_ring_keep(table->ring);
}

enum status exemplars_are_stored(const struct exemplar_table *table, struct connection *connection, bool *ret_are,
                                 struct error *reterr)
{
    *ret_are = false;
    if (exemplar_ring_staged_n(table->ring) == 0)
        return OK;
    struct sql sql;
    duckdb_result rows;
    sql_init(&sql, SQL_BYTES_MAX);
    sql_words(&sql, "SELECT count(*) FROM exemplars WHERE number = ");
    sql_i64(&sql, (int64_t)exemplar_ring_staged(table->ring, 0).number);
    enum status status = engine_ask(connection, &sql, NULL, &rows, reterr);
    if (status != OK)
        return status;
    *ret_are = duckdb_value_int64(&rows, 0, 0) > 0;
    duckdb_destroy_result(&rows);
    return OK;
}
