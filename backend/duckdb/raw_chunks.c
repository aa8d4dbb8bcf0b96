/* backend/duckdb/raw_chunks.c: see raw_chunks.h. */
#include "backend/duckdb/raw_chunks.h"

#include <stdlib.h>
#include <string.h>

#include "backend/duckdb/raw_slice.h"
#include "backend/duckdb/schema.h"
#include "base/array.h"
#include "base/assert.h"
#include "planner/sql.h"

/* --- reading --- */

static void write_query(struct sql *sql, uint32_t number, struct time_span span, uint64_t batch)
{
    sql_words(sql, "SELECT place, tmin, prom_xor_chunks(ts, value, ");
    sql_i64(sql, span.min_ms);
    sql_words(sql, ", ");
    sql_i64(sql, span.max_ms);
    sql_words(sql, ") FROM (SELECT series, tmin, ts, value FROM chunks() WHERE ");
    sql_meets(sql, span);
    sql_words(sql, " UNION ALL SELECT series, tmin, ts, value FROM (");
    schema_recent_runs(sql, span, batch);
    sql_words(sql, ")) JOIN temp.main." RAW_SLICE_TABLE " USING (series) WHERE slice = ");
    sql_i64(sql, number);
}

static enum status no_memory(struct error *reterr)
{
    return error_set(reterr, E_NOMEM, "no memory for a slice of raw chunks");
}

/* Keeps the vectors, and lists their runs. */
static enum status keep(struct encoded_slice *s, duckdb_data_chunk vectors, struct error *reterr)
{
    idx_t n = duckdb_data_chunk_get_size(vectors);
    if (!array_reserve(&s->vectors, &s->vectors_capacity, s->vectors_n + 1, sizeof(duckdb_data_chunk))) {
        engine_chunk_free(&vectors);
        return no_memory(reterr);
    }
    s->vectors[s->vectors_n++] = vectors;
    if (!array_reserve(&s->runs, &s->runs_capacity, s->runs_n + n, sizeof *s->runs))
        return no_memory(reterr);
    const uint32_t *places = duckdb_vector_get_data(duckdb_data_chunk_get_vector(vectors, 0));
    const int64_t *begins = duckdb_vector_get_data(duckdb_data_chunk_get_vector(vectors, 1));
    duckdb_string_t *texts = duckdb_vector_get_data(duckdb_data_chunk_get_vector(vectors, 2));
    for (idx_t row = 0; row < n; row++) {
        struct str bytes = {duckdb_string_t_data(&texts[row]), duckdb_string_t_length(texts[row])};
        if (bytes.len > 0)
            s->runs[s->runs_n++] = (struct encoded_run){places[row], begins[row], bytes};
    }
    return OK;
}

static int compare_runs(const void *a, const void *b)
{
    const struct encoded_run *x = a, *y = b;
    if (x->place != y->place)
        return x->place < y->place ? -1 : 1;
    return (x->min_ms > y->min_ms) - (x->min_ms < y->min_ms);
}

enum status encoded_slice_read(struct encoded_slice *s, struct connection *connection, uint32_t number,
                               struct time_span span, uint64_t batch, struct cancel *cancel, struct error *reterr)
{
    struct sql sql;
    encoded_slice_release(s);
    sql_init(&sql, SQL_BYTES_MAX);
    write_query(&sql, number, span, batch);
    enum status status = engine_ask(connection, &sql, cancel, &s->result, reterr);
    if (status != OK)
        return status;
    s->has_result = true;
    duckdb_data_chunk vectors = NULL;
    while (status == OK && (status = engine_fetch(connection, &s->result, cancel, &vectors, reterr)) == OK && vectors)
        status = keep(s, vectors, reterr);
    if (status == OK && s->runs_n > 1)
        qsort(s->runs, s->runs_n, sizeof *s->runs, compare_runs);
    return status;
}

void encoded_slice_release(struct encoded_slice *s)
{
    for (size_t i = 0; i < s->vectors_n; i++)
        engine_chunk_free(&s->vectors[i]);
    if (s->has_result)
        duckdb_destroy_result(&s->result);
    free(s->vectors);
    free(s->runs);
    *s = (struct encoded_slice){.has_result = false};
}

/* --- handing out --- */

size_t encoded_slice_next(struct encoded_slice *s, uint32_t place, uint64_t *ret_samples_n)
{
    size_t n = 0;
    *ret_samples_n = 0;
    while (n < RAW_CHUNKS_AT_ONCE && s->at < s->runs_n && s->runs[s->at].place == place) {
        struct str bytes = s->runs[s->at].bytes;
        struct chunk_head head;
        INVARIANT(bytes.len - s->taken_bytes > sizeof head);
        memcpy(&head, bytes.ptr + s->taken_bytes, sizeof head);
        s->taken_bytes += sizeof head;
        s->chunks[n++] =
            (struct raw_chunk){head.min_ms, head.max_ms, head.samples_n, {bytes.ptr + s->taken_bytes, head.bytes_n}};
        s->taken_bytes += head.bytes_n;
        *ret_samples_n += head.samples_n;
        if (s->taken_bytes == bytes.len) {
            s->at++;
            s->taken_bytes = 0;
        }
    }
    return n;
}
