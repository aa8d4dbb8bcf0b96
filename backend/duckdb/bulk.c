/* backend/duckdb/bulk.c: samples of an import that become chunks at once, without lying in recent first.
 *
 * A partition later than that of its series' newest sample holds nothing of the series yet. So the rows of a
 * transaction that lie in such a partition can be a chunk of their own, which is what a move would make of them; what
 * comes later finds the chunk as it finds any other. A move would read and write the chunks of all series of that
 * partition again for every million rows that come series by series, as files have them.
 *
 * The compactor's `running` is held, as for late samples, because a chunk takes the number of a move. Transactions with
 * late samples do not come here: those are asked of the tables, which do not have these rows yet.
 */
#include <stdlib.h>
#include <string.h>

#include "backend/duckdb/partition.h"
#include "backend/duckdb/store.h"
#include "backend/duckdb/stored_value.h"

#define BULK_ROWS_MIN   32                  /* of one series and partition; fewer go to recent */
#define FILLING_SAMPLES (UINT64_C(1) << 17) /* handed to the engine at once, or little more */

static int compare_rows(const void *a, const void *b)
{
    const struct staged_row *x = a, *y = b;
    if (x->series->id != y->series->id)
        return x->series->id < y->series->id ? -1 : 1;
    return (x->sample.time_ms > y->sample.time_ms) - (x->sample.time_ms < y->sample.time_ms);
}

static int compare_undo(const void *a, const void *b)
{
    const struct undo *x = a, *y = b;
    return (x->series->id > y->series->id) - (x->series->id < y->series->id);
}

static bool are_sorted(const struct staged_row *rows, size_t n)
{
    for (size_t i = 1; i < n; i++)
        if (compare_rows(&rows[i - 1], &rows[i]) > 0)
            return false;
    return true;
}

/* Whether the partition is later than all the series had before this transaction. */
static bool is_free(const struct undo *before, int64_t partition)
{
    return !before->has_samples || partition > partition_of(before->newest_ms);
}

enum status bulk_choose(struct writer *w, struct error *reterr)
{
    struct staged_row *chosen = w->rows_n ? malloc(w->rows_n * sizeof *chosen) : NULL;
    w->bulk_n = 0;
    if (!chosen)
        return w->rows_n ? error_set(reterr, E_NOMEM, "no memory to stage a write") : OK;
    if (!are_sorted(w->rows, w->rows_n))
        qsort(w->rows, w->rows_n, sizeof *w->rows, compare_rows);
    qsort(w->undo, w->undo_n, sizeof *w->undo, compare_undo);
    size_t kept = 0, undo = 0;
    for (size_t i = 0, end; i < w->rows_n; i = end) {
        const struct known_series *series = w->rows[i].series;
        int64_t partition = partition_of(w->rows[i].sample.time_ms);
        for (end = i + 1; end < w->rows_n && w->rows[end].series == series &&
                          partition_of(w->rows[end].sample.time_ms) == partition;)
            end++;
        while (w->undo[undo].series != series) /* every staged series has an entry */
            undo++;
        bool bulk = end - i >= BULK_ROWS_MIN && is_free(&w->undo[undo], partition);
        memcpy(bulk ? chosen + w->bulk_n : w->rows + kept, w->rows + i, (end - i) * sizeof *chosen);
        *(bulk ? &w->bulk_n : &kept) += end - i;
    }
    memcpy(w->rows + kept, chosen, w->bulk_n * sizeof *chosen);
    free(chosen);
    return OK;
}

/* --- writing them --- */

enum {
    METRIC,
    SERIES,
    TMIN,
    TMAX,
    N,
    TS,
    VALUE,
    REPLACES,
    COLUMNS
};

/* A chunk of rows for FRESH_CHUNKS, being filled. */
struct filling {
    const struct catalogue *catalogue;
    duckdb_appender appender;
    duckdb_data_chunk chunk;
    idx_t n;
    uint64_t samples_n;
};

static duckdb_data_chunk chunk_of_columns(void)
{
    duckdb_logical_type types[COLUMNS];
    static const duckdb_type SIMPLE[COLUMNS] = {
        [METRIC] = DUCKDB_TYPE_VARCHAR, [SERIES] = DUCKDB_TYPE_UINTEGER, [TMIN] = DUCKDB_TYPE_BIGINT,
        [TMAX] = DUCKDB_TYPE_BIGINT,    [N] = DUCKDB_TYPE_BIGINT,        [TS] = DUCKDB_TYPE_BIGINT,
        [VALUE] = DUCKDB_TYPE_DOUBLE,   [REPLACES] = DUCKDB_TYPE_BIGINT,
    };
    for (int i = 0; i < COLUMNS; i++) {
        types[i] = duckdb_create_logical_type(SIMPLE[i]);
        if (i == TS || i == VALUE) {
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

static struct str metric_name(const struct catalogue *c, const struct known_series *series)
{
    for (unsigned i = 0; i < series->values_n; i++) {
        struct label label = catalogue_label(c, series, i);
        if (str_eq(label.name, LABEL_METRIC_NAME))
            return label.value;
    }
    return STR("");
}

static bool make_list_room(duckdb_vector list, idx_t row, uint64_t first, uint64_t n)
{
    if (duckdb_list_vector_reserve(list, first + n) != DuckDBSuccess)
        return false;
    ((duckdb_list_entry *)duckdb_vector_get_data(list))[row] = (duckdb_list_entry){first, n};
    return duckdb_list_vector_set_size(list, first + n) == DuckDBSuccess;
}

static void put_i64(duckdb_data_chunk chunk, idx_t column, idx_t row, int64_t number)
{
    ((int64_t *)duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, column)))[row] = number;
}

/* A run of one series and partition, in ascending order. */
static enum status put_run(struct filling *f, const struct staged_row *rows, size_t n, struct error *reterr)
{
    duckdb_vector times = duckdb_data_chunk_get_vector(f->chunk, TS);
    duckdb_vector values = duckdb_data_chunk_get_vector(f->chunk, VALUE);
    duckdb_vector replaces = duckdb_data_chunk_get_vector(f->chunk, REPLACES);
    if (!make_list_room(times, f->n, f->samples_n, n) || !make_list_room(values, f->n, f->samples_n, n))
        return error_set(reterr, E_NOMEM, "no memory for chunks");
    int64_t *time_ms = (int64_t *)duckdb_vector_get_data(duckdb_list_vector_get_child(times)) + f->samples_n;
    double *value = (double *)duckdb_vector_get_data(duckdb_list_vector_get_child(values)) + f->samples_n;
    for (size_t i = 0; i < n; i++) {
        time_ms[i] = rows[i].sample.time_ms;
        value[i] = stored_value(rows[i].sample.value);
    }
    struct str metric = metric_name(f->catalogue, rows[0].series);
    duckdb_vector_assign_string_element_len(duckdb_data_chunk_get_vector(f->chunk, METRIC), f->n, metric.ptr,
                                            metric.len);
    ((uint32_t *)duckdb_vector_get_data(duckdb_data_chunk_get_vector(f->chunk, SERIES)))[f->n] = rows[0].series->id;
    put_i64(f->chunk, TMIN, f->n, rows[0].sample.time_ms);
    put_i64(f->chunk, TMAX, f->n, rows[n - 1].sample.time_ms);
    put_i64(f->chunk, N, f->n, (int64_t)n);
    duckdb_vector_ensure_validity_writable(replaces);
    duckdb_validity_set_row_invalid(duckdb_vector_get_validity(replaces), f->n);
    f->n++;
    f->samples_n += n;
    return OK;
}

static enum status flush(struct filling *f, struct error *reterr)
{
    enum status status = OK;
    duckdb_data_chunk_set_size(f->chunk, f->n);
    if (f->n > 0 && duckdb_append_data_chunk(f->appender, f->chunk) != DuckDBSuccess)
        status = engine_error(duckdb_appender_error(f->appender), NULL, reterr);
    duckdb_data_chunk_reset(f->chunk);
    f->n = f->samples_n = 0;
    return status;
}

static enum status put_runs(struct filling *f, const struct staged_row *rows, size_t rows_n, struct error *reterr)
{
    enum status status = OK;
    for (size_t i = 0, end; status == OK && i < rows_n; i = end) {
        int64_t partition = partition_of(rows[i].sample.time_ms);
        for (end = i + 1;
             end < rows_n && rows[end].series == rows[i].series && partition_of(rows[end].sample.time_ms) == partition;)
            end++;
        status = put_run(f, rows + i, end - i, reterr);
        if (status == OK && (f->n == duckdb_vector_size() || f->samples_n >= FILLING_SAMPLES))
            status = flush(f, reterr);
    }
    return status == OK ? flush(f, reterr) : status;
}

static enum status put_chunks(struct writer *w, const struct staged_row *rows, size_t n, struct error *reterr)
{
    enum status status = engine_execute(w->connection,
                                        "CREATE OR REPLACE TEMP TABLE " FRESH_CHUNKS
                                        " (metric VARCHAR, series UINTEGER, tmin BIGINT, tmax BIGINT, n BIGINT, "
                                        "ts BIGINT[], value DOUBLE[], replaces BIGINT)",
                                        reterr);
    if (status != OK)
        return status;
    struct filling f = {.catalogue = &w->catalogue, .chunk = chunk_of_columns()};
    if (duckdb_appender_create_ext(w->connection->handle, "temp", NULL, FRESH_CHUNKS, &f.appender) == DuckDBSuccess)
        status = put_runs(&f, rows, n, reterr);
    else
        status = engine_error(duckdb_appender_error(f.appender), NULL, reterr);
    if (status == OK && duckdb_appender_close(f.appender) != DuckDBSuccess)
        status = engine_error(duckdb_appender_error(f.appender), NULL, reterr);
    duckdb_appender_destroy(&f.appender);
    duckdb_destroy_data_chunk(&f.chunk);
    return status;
}

enum status bulk_write(struct writer *w, struct error *reterr)
{
    const struct staged_row *rows = w->rows + (w->rows_n - w->bulk_n);
    int64_t first = INT64_MAX, last = INT64_MIN;
    if (w->bulk_n == 0)
        return OK;
    for (size_t i = 0; i < w->bulk_n; i++) {
        int64_t partition = partition_of(rows[i].sample.time_ms);
        first = partition < first ? partition : first;
        last = partition > last ? partition : last;
    }
    struct time_span partitions = partitions_span(first, last);
    enum status status = put_chunks(w, rows, w->bulk_n, reterr);
    if (status == OK)
        status = rollup_retreat(w->connection, partitions.min_ms, reterr);
    return status == OK ? chunks_replace(w->connection, partitions, NULL, reterr) : status;
}
