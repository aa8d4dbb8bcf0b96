/* backend/duckdb/function_times.c: the times of chunks, as they are stored (kernels/pace.h) and as all else reads them.
 */
#include "backend/duckdb/functions.h"
#include "backend/kernels/pace.h"
#include "base/assert.h"

/* Room for one element for each of the lists of an input column. */
static bool make_room(duckdb_data_chunk input, const struct list_column *like, struct list_column *made)
{
    uint64_t all = 0;
    for (idx_t row = 0; row < duckdb_data_chunk_get_size(input); row++)
        all += row_is_null(input, row) ? 0 : like->entries[row].length;
    return list_column_reserve(made, all);
}

static void set_null(duckdb_vector output, idx_t row)
{
    duckdb_vector_ensure_validity_writable(output);
    duckdb_validity_set_row_invalid(duckdb_vector_get_validity(output), row);
}

static const int64_t *numbers_of(duckdb_data_chunk input, idx_t column)
{
    return duckdb_vector_get_data(duckdb_data_chunk_get_vector(input, column));
}

static void times(duckdb_function_info info, duckdb_data_chunk input, duckdb_vector output)
{
    const int64_t *first_ms = numbers_of(input, 0), *pace_ms = numbers_of(input, 1);
    struct list_column drifts = list_column_of(duckdb_data_chunk_get_vector(input, 2));
    struct list_column made = list_column_of(output);
    bool room = make_room(input, &drifts, &made);
    for (idx_t row = 0; room && row < duckdb_data_chunk_get_size(input); row++) {
        uint64_t n = row_is_null(input, row) ? 0 : drifts.entries[row].length;
        if (n > 0)
            pace_times(first_ms[row], pace_ms[row], (int32_t *)drifts.elements + drifts.entries[row].offset, n,
                       (int64_t *)made.elements + made.used);
        else if (row_is_null(input, row))
            set_null(output, row);
        list_column_put(&made, row, n);
    }
    if (!room || !list_column_end(&made))
        duckdb_scalar_function_set_error(info, "no memory for the times of chunks");
}

/* Whether a row's times have a pace; else the answer is NULL, which no chunk may have. */
static bool has_pace(duckdb_data_chunk input, idx_t row, const struct list_column *runs)
{
    const duckdb_list_entry *run = &runs->entries[row];
    const int64_t *time_ms = (int64_t *)runs->elements + (row_is_null(input, row) ? 0 : run->offset);
    int64_t span_ms;
    return !row_is_null(input, row) && run->length > 0 &&
           !__builtin_sub_overflow(time_ms[run->length - 1], time_ms[0], &span_ms) && span_ms >= 0 &&
           span_ms <= PACE_SPAN_MAX_MS;
}

static void pace(duckdb_function_info info, duckdb_data_chunk input, duckdb_vector output)
{
    struct list_column runs = list_column_of(duckdb_data_chunk_get_vector(input, 0));
    int64_t *pace_ms = duckdb_vector_get_data(output);
    for (idx_t row = 0; row < duckdb_data_chunk_get_size(input); row++) {
        if (has_pace(input, row, &runs))
            pace_ms[row] = pace_of((int64_t *)runs.elements + runs.entries[row].offset, runs.entries[row].length);
        else
            set_null(output, row);
    }
}

static void drift(duckdb_function_info info, duckdb_data_chunk input, duckdb_vector output)
{
    struct list_column runs = list_column_of(duckdb_data_chunk_get_vector(input, 0));
    struct list_column made = list_column_of(output);
    const int64_t *pace_ms = numbers_of(input, 1);
    bool room = make_room(input, &runs, &made);
    for (idx_t row = 0; room && row < duckdb_data_chunk_get_size(input); row++) {
        uint64_t n = has_pace(input, row, &runs) ? runs.entries[row].length : 0;
        if (n > 0)
            pace_drifts((int64_t *)runs.elements + runs.entries[row].offset, n, pace_ms[row],
                        (int32_t *)made.elements + made.used);
        else
            set_null(output, row);
        list_column_put(&made, row, n);
    }
    if (!room || !list_column_end(&made))
        duckdb_scalar_function_set_error(info, "no memory for the drifts of chunks");
}

ENGINE_CALLS_SCALAR(times)
ENGINE_CALLS_SCALAR(pace)
ENGINE_CALLS_SCALAR(drift)

enum status functions_register_times(struct connection *connection, struct error *reterr)
{
    static const struct {
        const char *name, *parameters, *result;
        duckdb_scalar_function_t call;
    } FUNCTIONS[] = {
        {"prom_times", "iiH", "I", on_times}, {"prom_pace", "I", "i", on_pace}, {"prom_drift", "Ii", "H", on_drift}};
    enum status status = OK;
    for (size_t i = 0; status == OK && i < ARRAY_LENGTH(FUNCTIONS); i++) {
        duckdb_scalar_function scalar =
            function_scalar_new(FUNCTIONS[i].name, FUNCTIONS[i].parameters, FUNCTIONS[i].result);
        duckdb_scalar_function_set_function(scalar, FUNCTIONS[i].call);
        if (duckdb_register_scalar_function(connection->handle, scalar) != DuckDBSuccess)
            status = error_set(reterr, E_STORE, "the storage engine refuses %s", FUNCTIONS[i].name);
        duckdb_destroy_scalar_function(&scalar);
    }
    return status;
}
