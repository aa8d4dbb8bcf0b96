/* backend/duckdb/run.c: a fragment's statement, its rows decoded from the engine's vectors into grid series. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "backend/duckdb/by_run.h"
#include "backend/duckdb/decode.h"
#include "backend/duckdb/functions.h"
#include "backend/duckdb/schema.h"
#include "backend/duckdb/store.h"
#include "backend/kernels/bits.h"
#include "base/array.h"
#include "base/assert.h"
#include "base/strbuf.h"

/* A result's labels and absent values, beside the values that samples_max counts. */
#define RESULT_BYTES_BASE (UINT64_C(1) << 30)

struct decoding {
    const struct fragment *fragment;
    const struct run_limits *limits;
    struct grid_result *result;
    struct grid_series *series; /* growing; moved into the arena at the end */
    size_t capacity;
    struct text_column *by_column; /* room for label_reader */
};

static struct grid_series *series_new(struct decoding *d)
{
    if (!array_reserve(&d->series, &d->capacity, d->result->series_n + 1, sizeof *d->series))
        return NULL;
    return &d->series[d->result->series_n];
}

static enum status too_large(const struct decoding *d, struct error *reterr)
{
    return error_set(reterr, E_NOMEM, "a fragment's result does not fit in its memory limit of %zu bytes",
                     d->result->arena.cap_bytes);
}

/* The values of one row; a row with none is left out. */
static enum status decode_row(struct decoding *d, const struct label_reader *reader, duckdb_vector lists, uint64_t row,
                              struct error *reterr)
{
    uint32_t steps = d->fragment->grid.steps;
    duckdb_vector child = duckdb_list_vector_get_child(lists);
    const double *values = duckdb_vector_get_data(child);
    duckdb_list_entry list = ((const duckdb_list_entry *)duckdb_vector_get_data(lists))[row];
    if (!is_valid(duckdb_vector_get_validity(lists), row))
        return OK;
    if (list.length != steps)
        return error_set(reterr, E_INTERNAL, "a fragment's row has %" PRIu64 " values for a grid of %" PRIu32 " steps",
                         (uint64_t)list.length, steps);
    struct arena *arena = &d->result->arena;
    uint64_t *present = ARENA_ARRAY(arena, uint64_t, bits_words(steps));
    double *copy = ARENA_ARRAY(arena, double, steps);
    struct grid_series *series = series_new(d);
    if (!present || !copy || !series)
        return too_large(d, reterr);
    size_t present_n = bits_load(present, duckdb_vector_get_validity(child), list.offset, steps);
    if (present_n == 0)
        return OK;
    d->result->values_n += present_n;
    if (d->result->values_n > d->limits->samples_max)
        return error_set(reterr, E_LIMIT, ENGINE_TOO_MANY_SAMPLES ": %" PRIu64 " or more asked, %" PRIu64 " allowed",
                         d->result->values_n, d->limits->samples_max);
    memcpy(copy, values + list.offset, steps * sizeof *copy);
    *series = (struct grid_series){.values = copy, .present = present};
    enum status status = label_reader_get(reader, row, arena, &series->labels, reterr);
    d->result->series_n += status == OK;
    return status;
}

static enum status decode_chunk(struct decoding *d, duckdb_data_chunk chunk, struct error *reterr)
{
    struct label_reader reader;
    label_reader_init(&reader, &d->fragment->columns, d->by_column, chunk, 0);
    duckdb_vector lists = duckdb_data_chunk_get_vector(chunk, LABEL_COLUMNS(&d->fragment->columns));
    enum status status = OK;
    for (idx_t row = 0; status == OK && row < duckdb_data_chunk_get_size(chunk); row++)
        status = decode_row(d, &reader, lists, row, reterr);
    return status;
}

static int compare_series(const void *a, const void *b)
{
    return labels_cmp(((const struct grid_series *)a)->labels, ((const struct grid_series *)b)->labels);
}

/* Puts the series in order; two of the same labels are PromQL's own error. */
static enum status finish(struct decoding *d, struct error *reterr)
{
    struct grid_result *result = d->result;
    size_t n = result->series_n;
    if (n > 1)
        qsort(d->series, n, sizeof *d->series, compare_series);
    for (size_t i = 1; i < n; i++) {
        if (labels_eq(d->series[i - 1].labels, d->series[i].labels))
            return error_set(reterr, E_EXECUTION, "vector cannot contain metrics with the same labelset");
    }
    result->series = ARENA_ARRAY(&result->arena, struct grid_series, n ? n : 1);
    if (!result->series)
        return too_large(d, reterr);
    if (n)
        memcpy(result->series, d->series, n * sizeof *d->series);
    return OK;
}

/* The columns must be those the fragment announces, or the vectors would be read as what they are not. */
static bool columns_fit(duckdb_result *result, const struct fragment_columns *columns)
{
    idx_t labels_n = LABEL_COLUMNS(columns);
    if (duckdb_column_count(result) != labels_n + 1)
        return false;
    for (idx_t i = 0; i < labels_n; i++) {
        bool map = columns->map && i == columns->metric;
        if (duckdb_column_type(result, i) != (map ? DUCKDB_TYPE_MAP : DUCKDB_TYPE_VARCHAR))
            return false;
    }
    duckdb_logical_type list = duckdb_column_logical_type(result, labels_n), element = NULL;
    bool fits = duckdb_get_type_id(list) == DUCKDB_TYPE_LIST;
    if (fits) {
        element = duckdb_list_type_child_type(list);
        fits = duckdb_get_type_id(element) == DUCKDB_TYPE_DOUBLE;
        duckdb_destroy_logical_type(&element);
    }
    duckdb_destroy_logical_type(&list);
    return fits;
}

/* One statement, of the two that a fragment may have, over one snapshot. */
static enum status query(struct decoding *d, struct duckdb_store *store, struct connection *connection,
                         struct cancel *cancel, duckdb_result *ret_rows, struct error *reterr)
{
    const struct fragment *fragment = d->fragment;
    enum status status = schema_begin_reading(connection, fragment->rollup_ms > 0, reterr);
    if (status != OK)
        return status;
    status = by_run_ask(store, connection, fragment, cancel, &d->result->by_run, reterr);
    struct strbuf sql; /* NUL-terminated, as the engine wants it */
    struct str text = d->result->by_run ? fragment->sql_by_run : fragment->sql;
    strbuf_init(&sql, text.len + 1);
    strbuf_str(&sql, text);
    if (status == OK)
        status = strbuf_status(&sql, "a fragment's SQL", reterr);
    if (status == OK)
        status = engine_query(connection, strbuf_view(&sql).ptr, false, cancel, ret_rows, reterr);
    strbuf_release(&sql);
    bool has_rows = status == OK;
    status = engine_end_reading(connection, status, reterr);
    if (status != OK && has_rows)
        duckdb_destroy_result(ret_rows);
    return status;
}

static enum status query_and_decode(struct decoding *d, struct duckdb_store *store, struct connection *connection,
                                    struct cancel *cancel, struct error *reterr)
{
    duckdb_result rows;
    int64_t began_us = engine_clock_us();
    enum status status = query(d, store, connection, cancel, &rows, reterr);
    if (status != OK)
        return status;
    d->result->engine_us = engine_clock_us() - began_us;
    duckdb_data_chunk chunk = NULL;
    if (!columns_fit(&rows, &d->fragment->columns))
        status = error_set(reterr, E_INTERNAL, "a fragment's statement does not have the columns it announces");
    while (status == OK && (status = engine_fetch(connection, &rows, cancel, &chunk, reterr)) == OK && chunk) {
        status = decode_chunk(d, chunk, reterr);
        engine_chunk_free(&chunk);
    }
    duckdb_destroy_result(&rows);
    return status == OK ? finish(d, reterr) : status;
}

static struct grid_result *result_new(const struct fragment *fragment, const struct run_limits *limits)
{
    struct grid_result *result = calloc(1, sizeof *result);
    if (!result)
        return NULL;
    uint64_t cap;
    if (__builtin_mul_overflow(limits->samples_max, 2 * sizeof(double), &cap) ||
        __builtin_add_overflow(cap, RESULT_BYTES_BASE, &cap))
        cap = SIZE_MAX;
    arena_init(&result->arena, cap);
    result->grid = fragment->grid;
    return result;
}

enum status store_run(struct backend *backend, const struct fragment *fragment, const struct run_limits *limits,
                      struct cancel *cancel, struct grid_result **ret_result, struct error *reterr)
{
    PRE(fragment->kind == FRAGMENT_GRID);
    struct duckdb_store *store = store_of(backend);
    struct decoding d = {.fragment = fragment, .limits = limits, .result = result_new(fragment, limits)};
    size_t by_n = fragment->columns.by.n;
    d.by_column = malloc((by_n + 1) * sizeof *d.by_column);
    struct connection *connection = NULL;
    enum status status = OK;
    if (!d.result || !d.by_column)
        status = error_set(reterr, E_NOMEM, "no memory for a fragment's result");
    if (status == OK)
        status = engine_acquire(&store->engine, cancel, &connection, reterr);
    unsigned entered = catalogue_enter(&store->writer.catalogue);
    if (status == OK)
        status = query_and_decode(&d, store, connection, cancel, reterr);
    catalogue_leave(&store->writer.catalogue, entered);
    engine_release(&store->engine, connection);
    free(d.by_column);
    free(d.series);
    if (status == OK)
        *ret_result = d.result;
    else
        grid_result_free(d.result);
    return status;
}
