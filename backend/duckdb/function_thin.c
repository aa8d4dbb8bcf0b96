/* backend/duckdb/function_thin.c: prom_thin_edges and prom_thin_sums: a run as rollups have it (kernels/thin.h).
 *
 * Runs come as the table of chunks has them, markers and all, and leave as runs of the same table, without markers. A
 * run that is only markers leaves empty lists.
 */
#include <stdlib.h>

#include "backend/duckdb/decode.h"
#include "backend/duckdb/functions.h"
#include "backend/duckdb/stored_value.h"
#include "backend/kernels/thin.h"
#include "base/assert.h"

#define LISTS 3 /* of a thinned run: times, values, weights */

/* Both runs of one row, before and after. */
struct thin_scratch {
    int64_t *time_ms;
    double *value;
    struct thinned out;
};

static bool scratch_init(struct thin_scratch *s, size_t n)
{
    s->time_ms = malloc((3 * n + 1) * sizeof *s->time_ms);
    s->value = malloc((2 * n + 1) * sizeof *s->value);
    s->out = (struct thinned){s->time_ms + n, s->value + n, s->time_ms + 2 * n};
    return s->time_ms && s->value;
}

static void scratch_release(struct thin_scratch *s)
{
    free(s->time_ms);
    free(s->value);
}

static void refuse(duckdb_function_info info)
{
    duckdb_scalar_function_set_error(info, "no memory to thin a run");
}

/* The longest run of the rows, and how many samples all have. */
static uint64_t longest_run(duckdb_data_chunk input, uint64_t *ret_all)
{
    const duckdb_list_entry *lists = duckdb_vector_get_data(duckdb_data_chunk_get_vector(input, 0));
    uint64_t longest = 0;
    *ret_all = 0;
    for (idx_t row = 0; row < duckdb_data_chunk_get_size(input); row++) {
        if (row_is_null(input, row))
            continue;
        longest = lists[row].length > longest ? lists[row].length : longest;
        *ret_all += lists[row].length;
    }
    return longest;
}

/* Fills the scratch from one row; how many samples are left. */
static size_t thin_row(const enum thin_kind *kind, duckdb_data_chunk input, idx_t row, struct thin_scratch *s)
{
    struct run_column runs =
        run_column_of(duckdb_data_chunk_get_vector(input, 0), duckdb_data_chunk_get_vector(input, 1));
    struct samples run = run_column_get(&runs, row);
    int64_t level_ms = ((int64_t *)duckdb_vector_get_data(duckdb_data_chunk_get_vector(input, 2)))[row];
    for (size_t i = 0; i < run.n; i++) {
        s->time_ms[i] = run.time_ms[i];
        s->value[i] = stored_value(run.value[i]);
    }
    size_t n = window_drop_markers(s->time_ms, s->value, run.n);
    return thin(*kind, &(struct samples){s->time_ms, s->value, n, NULL}, level_ms, &s->out);
}

static void put_row(duckdb_vector lists[LISTS], idx_t row, uint64_t used, const struct thin_scratch *s, size_t n)
{
    int64_t *time_ms = duckdb_vector_get_data(duckdb_list_vector_get_child(lists[0]));
    double *value = duckdb_vector_get_data(duckdb_list_vector_get_child(lists[1]));
    int64_t *weight = duckdb_vector_get_data(duckdb_list_vector_get_child(lists[2]));
    for (size_t i = 0; i < n; i++) {
        time_ms[used + i] = s->out.time_ms[i];
        value[used + i] = stored_value(s->out.value[i]);
        weight[used + i] = s->out.weight[i];
    }
    for (size_t k = 0; k < LISTS; k++)
        ((duckdb_list_entry *)duckdb_vector_get_data(lists[k]))[row] = (duckdb_list_entry){used, n};
}

static void thin_runs(duckdb_function_info info, duckdb_data_chunk input, duckdb_vector output)
{
    const enum thin_kind *kind = duckdb_scalar_function_get_extra_info(info);
    struct thin_scratch scratch;
    duckdb_vector lists[LISTS];
    uint64_t all, used = 0;
    bool room = scratch_init(&scratch, longest_run(input, &all));
    for (idx_t k = 0; k < LISTS; k++) {
        lists[k] = duckdb_struct_vector_get_child(output, k);
        used = duckdb_list_vector_get_size(lists[k]);
        room = room && duckdb_list_vector_reserve(lists[k], used + all) == DuckDBSuccess;
    }
    for (idx_t row = 0; room && row < duckdb_data_chunk_get_size(input); row++) {
        size_t n = row_is_null(input, row) ? 0 : thin_row(kind, input, row, &scratch);
        put_row(lists, row, used, &scratch, n);
        used += n;
    }
    for (idx_t k = 0; room && k < LISTS; k++)
        room = duckdb_list_vector_set_size(lists[k], used) == DuckDBSuccess;
    if (!room)
        refuse(info);
    scratch_release(&scratch);
}

ENGINE_CALLS_SCALAR(thin_runs)

enum status functions_register_thin(struct connection *connection, struct error *reterr)
{
    static const enum thin_kind KINDS[] = {THIN_EDGES, THIN_SUMS};
    static const char *const NAMES[] = {"prom_thin_edges", "prom_thin_sums"};
    enum status status = OK;
    for (size_t i = 0; status == OK && i < ARRAY_LENGTH(KINDS); i++) {
        duckdb_scalar_function scalar = function_scalar_new(NAMES[i], "IDi", "W");
        duckdb_scalar_function_set_extra_info(scalar, (void *)&KINDS[i], NULL);
        duckdb_scalar_function_set_function(scalar, on_thin_runs);
        if (duckdb_register_scalar_function(connection->handle, scalar) != DuckDBSuccess)
            status = error_set(reterr, E_STORE, "the storage engine refuses %s", NAMES[i]);
        duckdb_destroy_scalar_function(&scalar);
    }
    return status;
}
