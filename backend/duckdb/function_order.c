/* backend/duckdb/function_order.c: prom_in_order: samples as a run, in the order of time.
 *
 * Two lists gathered from rows have the order of whichever thread of the engine read these; a chunk and late samples
 * are one list behind the other. The engine could sort one list by the other, value by value: ten times the work.
 */
#include <stdlib.h>
#include <string.h>

#include "backend/duckdb/functions.h"
#include "backend/duckdb/sample_order.h"
#include "base/assert.h"

/* Rows without both lists, or with lists of different lengths, get empty ones. */
static uint64_t samples_of(duckdb_data_chunk input, idx_t row, const struct list_column *times,
                           const struct list_column *values)
{
    uint64_t n = row_is_null(input, row) ? 0 : times->entries[row].length;
    return n > 0 && values->entries[row].length == n ? n : 0;
}

static void order_row(const int64_t *time_ms, const double *value, uint64_t n, int64_t *time_out, double *value_out,
                      struct sample *scratch)
{
    bool ordered = true;
    for (uint64_t i = 1; ordered && i < n; i++)
        ordered = time_ms[i - 1] <= time_ms[i];
    if (ordered) {
        memcpy(time_out, time_ms, n * sizeof *time_out);
        memcpy(value_out, value, n * sizeof *value_out);
        return;
    }
    for (uint64_t i = 0; i < n; i++)
        scratch[i] = (struct sample){time_ms[i], value[i]};
    samples_sort(scratch, n, scratch + n);
    for (uint64_t i = 0; i < n; i++) {
        time_out[i] = scratch[i].time_ms;
        value_out[i] = scratch[i].value;
    }
}

static void put_in_order(duckdb_function_info info, duckdb_data_chunk input, duckdb_vector output)
{
    struct list_column times = list_column_of(duckdb_data_chunk_get_vector(input, 0));
    struct list_column values = list_column_of(duckdb_data_chunk_get_vector(input, 1));
    struct list_column times_out = list_column_of(duckdb_struct_vector_get_child(output, 0));
    struct list_column values_out = list_column_of(duckdb_struct_vector_get_child(output, 1));
    idx_t rows_n = duckdb_data_chunk_get_size(input);
    uint64_t longest = 0, all = 0;
    for (idx_t row = 0; row < rows_n; row++) {
        uint64_t n = samples_of(input, row, &times, &values);
        longest = n > longest ? n : longest;
        all += n;
    }
    struct sample *scratch = malloc((2 * longest + 1) * sizeof *scratch);
    bool room = scratch && list_column_reserve(&times_out, all) && list_column_reserve(&values_out, all);
    for (idx_t row = 0; room && row < rows_n; row++) {
        uint64_t n = samples_of(input, row, &times, &values);
        order_row((int64_t *)times.elements + times.entries[row].offset,
                  (double *)values.elements + values.entries[row].offset, n,
                  (int64_t *)times_out.elements + times_out.used, (double *)values_out.elements + values_out.used,
                  scratch);
        list_column_put(&times_out, row, n);
        list_column_put(&values_out, row, n);
    }
    if (!room || !list_column_end(&times_out) || !list_column_end(&values_out))
        duckdb_scalar_function_set_error(info, "no memory to put samples in order");
    free(scratch);
}

ENGINE_CALLS_SCALAR(put_in_order)

enum status functions_register_order(struct connection *connection, struct error *reterr)
{
    duckdb_scalar_function scalar = function_scalar_new("prom_in_order", "ID", "O");
    duckdb_scalar_function_set_function(scalar, on_put_in_order);
    duckdb_state registered = duckdb_register_scalar_function(connection->handle, scalar);
    duckdb_destroy_scalar_function(&scalar);
    return registered == DuckDBSuccess ? OK : error_set(reterr, E_STORE, "the storage engine refuses prom_in_order");
}
