/* backend/duckdb/chunk_writer.c: see chunk_writer.h. */
#include "backend/duckdb/chunk_writer.h"

#include <stdlib.h>

#include "backend/kernels/pace.h"
#include "base/array.h"
#include "base/assert.h"

#define HANDED_OVER_SAMPLES (UINT64_C(1) << 17) /* at once, or little more: they stay in the cache meanwhile */

enum {
    METRIC_KEY,
    METRIC,
    SERIES,
    TMIN,
    TMAX,
    N,
    PACE,
    DRIFT,
    VALUE,
    MOVE,
    COLUMNS
};

static duckdb_data_chunk chunk_of_columns(void)
{
    duckdb_logical_type types[COLUMNS];
    static const duckdb_type SIMPLE[COLUMNS] = {
        [METRIC_KEY] = DUCKDB_TYPE_UBIGINT, [METRIC] = DUCKDB_TYPE_VARCHAR, [SERIES] = DUCKDB_TYPE_UINTEGER,
        [TMIN] = DUCKDB_TYPE_BIGINT,        [TMAX] = DUCKDB_TYPE_BIGINT,    [N] = DUCKDB_TYPE_UINTEGER,
        [PACE] = DUCKDB_TYPE_BIGINT,        [DRIFT] = DUCKDB_TYPE_INTEGER,  [VALUE] = DUCKDB_TYPE_DOUBLE,
        [MOVE] = DUCKDB_TYPE_BIGINT,
    };
    for (int i = 0; i < COLUMNS; i++) {
        types[i] = duckdb_create_logical_type(SIMPLE[i]);
        if (i == DRIFT || i == VALUE) {
            duckdb_logical_type of = types[i];
            types[i] = duckdb_create_list_type(of);
            duckdb_destroy_logical_type(&of);
        }
    }
    duckdb_data_chunk chunk = duckdb_create_data_chunk(types, COLUMNS);
    for (int i = 0; i < COLUMNS; i++)
        duckdb_destroy_logical_type(&types[i]);
    return chunk;
}

static enum status appender_error(const struct chunk_writer *w, struct error *reterr)
{
    return engine_error(duckdb_appender_error(w->appender), NULL, reterr);
}

enum status chunk_writer_open(struct chunk_writer *w, struct connection *connection, const char *catalog,
                              const char *table, const int64_t *move, struct error *reterr)
{
    *w = (struct chunk_writer){.move = move ? *move : 0, .has_move = move};
    if (duckdb_appender_create_ext(connection->handle, catalog, NULL, table, &w->appender) != DuckDBSuccess)
        return appender_error(w, reterr);
    w->chunk = chunk_of_columns();
    ENGINE_TAKES();
    return OK;
}

static enum status hand_over(struct chunk_writer *w, struct error *reterr)
{
    enum status status = OK;
    duckdb_data_chunk_set_size(w->chunk, w->n);
    if (w->n > 0 && (duckdb_append_data_chunk(w->appender, w->chunk) != DuckDBSuccess ||
                     duckdb_appender_flush(w->appender) != DuckDBSuccess))
        status = appender_error(w, reterr);
    ENGINE_GIVES();
    duckdb_data_chunk_reset(w->chunk);
    w->n = w->samples_n = 0;
    return status;
}

/* Where the list's elements of the row at hand go; NULL: no memory. */
static void *list_room(struct chunk_writer *w, idx_t column, size_t n)
{
    duckdb_vector list = duckdb_data_chunk_get_vector(w->chunk, column);
    ENGINE_GIVES(); /* room that is left for a larger one */
    if (duckdb_list_vector_reserve(list, w->samples_n + n) != DuckDBSuccess ||
        duckdb_list_vector_set_size(list, w->samples_n + n) != DuckDBSuccess)
        return NULL;
    ENGINE_TAKES(); /* room that may have been somebody else's */
    ((duckdb_list_entry *)duckdb_vector_get_data(list))[w->n] = (duckdb_list_entry){w->samples_n, n};
    return duckdb_vector_get_data(duckdb_list_vector_get_child(list));
}

static void *cells(struct chunk_writer *w, idx_t column)
{
    return duckdb_vector_get_data(duckdb_data_chunk_get_vector(w->chunk, column));
}

static void put_move(struct chunk_writer *w)
{
    duckdb_vector moves = duckdb_data_chunk_get_vector(w->chunk, MOVE);
    if (w->has_move) {
        ((int64_t *)duckdb_vector_get_data(moves))[w->n] = w->move;
        return;
    }
    duckdb_vector_ensure_validity_writable(moves);
    duckdb_validity_set_row_invalid(duckdb_vector_get_validity(moves), w->n);
}

enum status chunk_writer_put(struct chunk_writer *w, const struct chunk_row *row, struct error *reterr)
{
    PRE(row->n > 0);
    int32_t *drift =
        array_reserve(&w->time_ms, &w->times_capacity, row->n, sizeof *w->time_ms) ? list_room(w, DRIFT, row->n) : NULL;
    double *value = drift ? list_room(w, VALUE, row->n) : NULL;
    if (!value)
        return error_set(reterr, E_NOMEM, "no memory for chunks");
    for (size_t i = 0; i < row->n; i++) {
        w->time_ms[i] = row->samples[i].time_ms;
        value[w->samples_n + i] = row->samples[i].value;
    }
    int64_t pace = pace_of(w->time_ms, row->n);
    pace_drifts(w->time_ms, row->n, pace, drift + w->samples_n);
    ((int64_t *)cells(w, PACE))[w->n] = pace;
    ((uint64_t *)cells(w, METRIC_KEY))[w->n] = row->metric_key;
    duckdb_vector_assign_string_element_len(duckdb_data_chunk_get_vector(w->chunk, METRIC), w->n,
                                            row->metric.len ? row->metric.ptr : "", row->metric.len);
    ((uint32_t *)cells(w, SERIES))[w->n] = row->series;
    ((int64_t *)cells(w, TMIN))[w->n] = row->samples[0].time_ms;
    ((int64_t *)cells(w, TMAX))[w->n] = row->samples[row->n - 1].time_ms;
    ((uint32_t *)cells(w, N))[w->n] = (uint32_t)row->n;
    put_move(w);
    w->n++;
    w->samples_n += row->n;
    return w->n == duckdb_vector_size() || w->samples_n >= HANDED_OVER_SAMPLES ? hand_over(w, reterr) : OK;
}

enum status chunk_writer_close(struct chunk_writer *w, enum status so_far, struct error *reterr)
{
    if (so_far == OK)
        so_far = hand_over(w, reterr);
    if (so_far == OK && duckdb_appender_close(w->appender) != DuckDBSuccess)
        so_far = appender_error(w, reterr);
    duckdb_appender_destroy(&w->appender);
    engine_chunk_free(&w->chunk);
    free(w->time_ms);
    return so_far;
}
