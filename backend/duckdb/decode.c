/* backend/duckdb/decode.c: see decode.h. */
#include "backend/duckdb/decode.h"

#include "backend/duckdb/functions.h"

struct text_column text_column_of(duckdb_vector vector)
{
    return (struct text_column){duckdb_vector_get_data(vector), duckdb_vector_get_validity(vector)};
}

struct str text_column_get(const struct text_column *column, uint64_t row)
{
    if (!is_valid(column->validity, row))
        return (struct str){NULL, 0};
    duckdb_string_t *s = &column->at[row];
    return (struct str){duckdb_string_t_data(s), duckdb_string_t_length(*s)};
}

struct run_column run_column_of(duckdb_vector times, duckdb_vector values)
{
    return (struct run_column){.times = duckdb_vector_get_data(times),
                               .values = duckdb_vector_get_data(values),
                               .time_ms = duckdb_vector_get_data(duckdb_list_vector_get_child(times)),
                               .value = duckdb_vector_get_data(duckdb_list_vector_get_child(values))};
}

struct samples run_column_get(const struct run_column *column, uint64_t row)
{
    uint64_t n = column->times[row].length;
    return (struct samples){.time_ms = column->time_ms + column->times[row].offset,
                            .value = column->value + column->values[row].offset,
                            .n = column->values[row].length == n ? n : 0};
}

void label_reader_init(struct label_reader *reader, const struct fragment_columns *columns,
                       struct text_column *by_column, duckdb_data_chunk chunk, idx_t first_column)
{
    *reader = (struct label_reader){
        .has_metric = columns->metric, .has_map = columns->map, .by = columns->by, .by_column = by_column};
    idx_t at = first_column;
    if (columns->metric)
        reader->metric = text_column_of(duckdb_data_chunk_get_vector(chunk, at++));
    if (columns->map) {
        duckdb_vector map = duckdb_data_chunk_get_vector(chunk, at++), pair = duckdb_list_vector_get_child(map);
        reader->map = duckdb_vector_get_data(map);
        reader->map_validity = duckdb_vector_get_validity(map);
        reader->map_name = text_column_of(duckdb_struct_vector_get_child(pair, 0));
        reader->map_value = text_column_of(duckdb_struct_vector_get_child(pair, 1));
    }
    for (size_t i = 0; i < columns->by.n; i++)
        by_column[i] = text_column_of(duckdb_data_chunk_get_vector(chunk, at++));
}

static void put(struct label *at, size_t *n, struct arena *arena, struct str name, struct str value)
{
    if (value.len > 0)
        at[(*n)++] = (struct label){arena_str(arena, name), arena_str(arena, value)};
}

enum status label_reader_get(const struct label_reader *reader, uint64_t row, struct arena *arena,
                             struct labels *ret_labels, struct error *reterr)
{
    bool has_map = reader->has_map && is_valid(reader->map_validity, row);
    duckdb_list_entry map = has_map ? reader->map[row] : (duckdb_list_entry){0, 0};
    size_t n = 0, most = 1 + map.length + reader->by.n;
    struct label *at = ARENA_ARRAY(arena, struct label, most);
    if (at) {
        if (reader->has_metric)
            put(at, &n, arena, LABEL_METRIC_NAME, text_column_get(&reader->metric, row));
        for (uint64_t i = map.offset; i < map.offset + map.length; i++)
            put(at, &n, arena, text_column_get(&reader->map_name, i), text_column_get(&reader->map_value, i));
        for (size_t i = 0; i < reader->by.n; i++)
            put(at, &n, arena, reader->by.at[i], text_column_get(&reader->by_column[i], row));
    }
    if (arena->exhausted)
        return error_set(reterr, E_NOMEM, "the labels of a result do not fit in its memory limit of %zu bytes",
                         arena->cap_bytes);
    struct str twice;
    if (!labels_normalize(at, &n, &twice))
        return error_set(reterr, E_INTERNAL, "a result names the label " STR_FORMAT " twice", STR_ARG(twice));
    *ret_labels = (struct labels){at, n};
    return OK;
}
