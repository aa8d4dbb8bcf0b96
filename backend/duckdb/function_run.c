/* backend/duckdb/function_run.c: prom_rate_of_run and its kin: the windows of one run of samples, as a scalar.
 *
 * Where no window of a grid sees samples of two runs, a statement need not bring the runs of a series together first:
 * nothing is kept of one while others come, and no table of series grows. by_run.h says when that is so.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/duckdb/window_rows.h"
#include "backend/duckdb/window_run.h"
#include "backend/kernels/bits.h"

/* What all rows of a vector have in common. */
struct evaluation {
    const struct window_kernel *kernel;
    struct window_grid grid;
    struct window_parameters parameters;
    uint64_t *present, *met_present; /* of the whole grid, of the windows that a run meets */
};

static bool evaluation_init(struct evaluation *e, uint64_t longest)
{
    size_t words = bits_words(e->grid.steps) + 1;
    e->present = malloc(2 * words * sizeof *e->present);
    e->met_present = e->present ? e->present + words : NULL;
    e->parameters.scratch = e->kernel->ranks ? malloc((longest + 1) * sizeof *e->parameters.scratch) : NULL;
    return e->present && (e->parameters.scratch || !e->kernel->ranks);
}

static void evaluation_release(struct evaluation *e)
{
    free(e->present);
    free(e->parameters.scratch);
}

/* Fills values and e->present for the whole grid; returns how many are present. */
static uint32_t evaluate(struct evaluation *e, const struct samples *run, double *values)
{
    const struct window_grid *grid = &e->grid;
    if (run->n == 0)
        return 0;
    int64_t from, end;
    windows_met(grid, run->time_ms[0], run->time_ms[run->n - 1], &from, &end);
    if (from >= end)
        return 0;
    struct window_grid met = *grid;
    met.start_ms = window_end(grid, from);
    met.steps = (uint32_t)(end - from);
    if (met.steps == grid->steps)
        return e->kernel->run(grid, &e->parameters, run, values, e->present);
    memset(values, 0, (size_t)from * sizeof *values);
    memset(values + end, 0, (size_t)(grid->steps - end) * sizeof *values);
    memset(e->present, 0, bits_words(grid->steps) * sizeof *e->present);
    uint32_t present_n = e->kernel->run(&met, &e->parameters, run, values + from, e->met_present);
    bits_store(e->present, (size_t)from, e->met_present, met.steps);
    return present_n;
}

static void refuse(duckdb_function_info info, const char *what, uint64_t n)
{
    char text[128];
    snprintf(text, sizeof text, "no memory for %s of %llu rows or samples", what, (unsigned long long)n);
    duckdb_scalar_function_set_error(info, text);
}

/* False after setting an error. */
static bool put_rows(duckdb_function_info info, const struct window_rows *rows, struct evaluation *e,
                     duckdb_vector output)
{
    struct list_room room;
    uint64_t used = 0;
    if (!list_room_make(output, rows->n * e->grid.steps, &room)) {
        refuse(info, "a list", rows->n * e->grid.steps);
        return false;
    }
    for (idx_t row = 0; row < rows->n; row++) {
        struct row_run run = {.samples = {.n = 0}};
        enum row_fault fault = window_rows_count(rows, row) ? window_rows_take(rows, row, 1, &run) : ROW_WELL;
        if (fault == ROW_UNEVEN)
            duckdb_scalar_function_set_error(info, ROW_UNEVEN_TEXT);
        else if (fault != ROW_WELL)
            refuse(info, "a run", rows->times[row].length);
        if (fault != ROW_WELL)
            return false;
        uint32_t present_n = evaluate(e, &run.samples, room.values + used);
        used += list_room_put(output, &room, used, row, e->grid.steps, e->present, present_n);
        row_run_release(&run);
    }
    if (duckdb_list_vector_set_size(output, room.first + used) == DuckDBSuccess)
        return true;
    refuse(info, "a list", used);
    return false;
}

static void windows_of_runs(duckdb_function_info info, duckdb_data_chunk input, duckdb_vector output)
{
    const struct window_function *function = duckdb_scalar_function_get_extra_info(info);
    struct evaluation e = {.kernel = function->kernel};
    char refusal[FUNCTION_REFUSAL_MAX];
    struct window_rows rows;
    if (!window_rows_init(&rows, input, function)) {
        refuse(info, "times", rows.longest);
    } else if (rows.n > 0 && !window_rows_grid(&rows, 0, &e.grid, &e.parameters, refusal)) {
        duckdb_scalar_function_set_error(info, refusal);
    } else {
        if (evaluation_init(&e, rows.longest))
            put_rows(info, &rows, &e, output);
        else
            refuse(info, "windows", e.grid.steps);
        evaluation_release(&e);
    }
    window_rows_release(&rows);
}

ENGINE_CALLS_SCALAR(windows_of_runs)

static enum status register_one(struct engine *engine, const struct window_kernel *kernel, enum run_form form,
                                struct connection *connection, struct error *reterr)
{
    char name[64], letters[WINDOW_LETTERS_MAX];
    snprintf(name, sizeof name, "prom_%s%s", kernel->name, form == RUN_PACED ? "_of_run" : "_of_thinned_run");
    struct window_function *function = malloc(sizeof *function);
    if (!function)
        return error_set(reterr, E_NOMEM, "no memory to register %s", name);
    *function = (struct window_function){kernel, form, &engine->budget};
    window_letters(function, letters);
    duckdb_scalar_function scalar = function_scalar_new(name, letters, "D");
    duckdb_scalar_function_set_extra_info(scalar, function, free);
    duckdb_scalar_function_set_function(scalar, on_windows_of_runs);
    duckdb_state registered = duckdb_register_scalar_function(connection->handle, scalar);
    duckdb_destroy_scalar_function(&scalar);
    return registered == DuckDBSuccess ? OK : error_set(reterr, E_STORE, "the storage engine refuses %s", name);
}

enum status functions_register_run(struct engine *engine, struct connection *connection, struct error *reterr)
{
    enum status status = OK;
    for (int i = 0; status == OK && i < KERNEL_MAX; i++) {
        const struct window_kernel *kernel = &window_kernels[i];
        status = register_one(engine, kernel, RUN_PACED, connection, reterr);
        if (status == OK && !kernel->sees_markers && !kernel->parameters[0])
            status = register_one(engine, kernel, RUN_THINNED, connection, reterr);
    }
    return status;
}
