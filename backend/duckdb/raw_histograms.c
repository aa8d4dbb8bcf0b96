/* backend/duckdb/raw_histograms.c: see raw_histograms.h. */
#include "backend/duckdb/raw_histograms.h"

#include "backend/duckdb/decode.h"
#include "backend/duckdb/raw_slice.h"
#include "backend/duckdb/schema.h"

void histogram_piece_release(struct histogram_piece *piece)
{
    arena_release(&piece->arena);
    *piece = (struct histogram_piece){.n = 0};
}

static enum status take_rows(struct histogram_piece *piece, duckdb_data_chunk chunk, struct error *reterr)
{
    const uint32_t *places = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 0));
    const int64_t *times = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 1));
    struct text_column packed = text_column_of(duckdb_data_chunk_get_vector(chunk, 2));
    for (idx_t row = 0; row < duckdb_data_chunk_get_size(chunk); row++, piece->n++) {
        piece->places[piece->n] = places[row];
        piece->at[piece->n] =
            (struct histogram_sample){times[row], arena_str(&piece->arena, text_column_get(&packed, row))};
    }
    return piece->arena.exhausted ? error_set(reterr, E_NOMEM, "no memory for a piece of native histograms") : OK;
}

static void write_query(struct sql *sql, const struct histogram_range *range)
{
    sql_words(sql, "SELECT place, ts, histogram FROM (");
    schema_histograms(sql, "series, ts, histogram", range->span, range->batch);
    sql_words(sql, ") JOIN temp.main." RAW_SLICE_TABLE " USING (series) WHERE place BETWEEN ");
    sql_i64(sql, range->first);
    sql_words(sql, " AND ");
    sql_i64(sql, range->last);
    sql_words(sql, " ORDER BY place, ts LIMIT ");
    sql_i64(sql, (int64_t)range->rows_max);
}

enum status histogram_piece_read(struct histogram_piece *piece, struct connection *connection,
                                 const struct histogram_range *range, struct cancel *cancel, struct error *reterr)
{
    struct sql sql;
    duckdb_result rows;
    sql_init(&sql, SQL_BYTES_MAX);
    write_query(&sql, range);
    enum status status = engine_ask(connection, &sql, cancel, &rows, reterr);
    if (status != OK)
        return status;
    histogram_piece_release(piece);
    arena_init(&piece->arena, SIZE_MAX);
    size_t n = (size_t)duckdb_row_count(&rows);
    piece->at = ARENA_ARRAY(&piece->arena, struct histogram_sample, n + 1);
    piece->places = ARENA_ARRAY(&piece->arena, uint32_t, n + 1);
    if (piece->arena.exhausted)
        status = error_set(reterr, E_NOMEM, "no memory for a piece of native histograms");
    duckdb_data_chunk chunk = NULL;
    while (status == OK && (status = engine_fetch(connection, &rows, cancel, &chunk, reterr)) == OK && chunk) {
        status = take_rows(piece, chunk, reterr);
        engine_chunk_free(&chunk);
    }
    duckdb_destroy_result(&rows);
    return status;
}
