/* backend/duckdb/window_rows.c: see window_rows.h. */
#include "backend/duckdb/window_rows.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/duckdb/stored_value.h"
#include "backend/kernels/bits.h"
#include "backend/kernels/pace.h"
#include "base/assert.h"
#include "base/float_text.h"
#include "base/vectors.h"

/* --- columns --- */

static const struct {
    const char *letters;
    idx_t times, values; /* columns */
    bool weighted, within;
} FORMS[RUN_FORM_MAX] = {
    [RUN_PACED] = {"iiHD", 2, 3, false, false},
    [RUN_THINNED] = {"IDI", 0, 1, true, false},
    [RUN_THINNED_IN] = {"IDIii", 0, 1, true, true},
};

void window_letters(const struct window_function *function, char letters[WINDOW_LETTERS_MAX])
{
    snprintf(letters, WINDOW_LETTERS_MAX, "%siiiib%s", FORMS[function->form].letters, function->kernel->parameters);
}

static void take_lists(struct window_rows *rows, duckdb_data_chunk input, enum run_form form, void *const *data)
{
    idx_t times_at = FORMS[form].times, values_at = FORMS[form].values;
    duckdb_vector times = duckdb_list_vector_get_child(duckdb_data_chunk_get_vector(input, times_at));
    duckdb_vector values = duckdb_list_vector_get_child(duckdb_data_chunk_get_vector(input, values_at));
    rows->times = data[times_at];
    rows->values = data[values_at];
    if (form == RUN_PACED) {
        rows->first_ms = data[0];
        rows->pace_ms = data[1];
        rows->drift_ms = duckdb_vector_get_data(times);
    } else {
        rows->time_ms = duckdb_vector_get_data(times);
    }
    rows->value = duckdb_vector_get_data(values);
    rows->time_validity = duckdb_vector_get_validity(times);
    rows->value_validity = duckdb_vector_get_validity(values);
    if (FORMS[form].weighted) {
        rows->weights = data[2];
        rows->weight = duckdb_vector_get_data(duckdb_list_vector_get_child(duckdb_data_chunk_get_vector(input, 2)));
    }
    if (FORMS[form].within) {
        rows->whole_from = data[3];
        rows->whole_until = data[4];
    }
}

static void take_grid(struct window_rows *rows, duckdb_data_chunk input, void *const *data, idx_t first)
{
    rows->start_ms = data[first];
    rows->step_ms = data[first + 1];
    rows->steps = data[first + 2];
    rows->window_ms = data[first + 3];
    rows->closed = data[first + 4];
    rows->parameters = parameter_rows_of(rows->kernel, input, first + 5);
}

bool window_rows_init(struct window_rows *rows, duckdb_data_chunk input, const struct window_function *function)
{
    enum run_form form = function->form;
    void *data[WINDOW_COLUMNS_MAX];
    *rows = (struct window_rows){.kernel = function->kernel,
                                 .columns = duckdb_data_chunk_get_column_count(input),
                                 .n = duckdb_data_chunk_get_size(input)};
    INVARIANT(rows->columns <= WINDOW_COLUMNS_MAX);
    for (idx_t i = 0; i < rows->columns; i++) {
        duckdb_vector vector = duckdb_data_chunk_get_vector(input, i);
        data[i] = duckdb_vector_get_data(vector);
        rows->validity[i] = duckdb_vector_get_validity(vector);
        if (FORMS[form].weighted && i == 2) {
            rows->weights_validity = rows->validity[i];
            rows->validity[i] = NULL;
        }
        rows->has_nulls = rows->has_nulls || rows->validity[i];
    }
    take_lists(rows, input, form, data);
    take_grid(rows, input, data, strlen(FORMS[form].letters));
    rows->longest = list_longest(rows->times, rows->validity[FORMS[form].times], rows->n);
    if (form == RUN_PACED)
        rows->run_ms = malloc((rows->longest + 1) * sizeof *rows->run_ms);
    return rows->run_ms || form != RUN_PACED;
}

void window_rows_release(struct window_rows *rows)
{
    free(rows->run_ms);
    rows->run_ms = NULL;
}

bool window_rows_count(const struct window_rows *rows, idx_t row)
{
    for (idx_t i = 0; rows->has_nulls && i < rows->columns; i++) {
        if (!is_valid(rows->validity[i], row))
            return false;
    }
    return rows->times[row].length > 0;
}

bool window_rows_grid(const struct window_rows *rows, idx_t row, struct window_grid *ret_grid,
                      struct window_parameters *ret_parameters, char refusal[FUNCTION_REFUSAL_MAX])
{
    *ret_parameters = parameter_rows_get(&rows->parameters, row);
    if (function_grid(rows->start_ms[row], rows->step_ms[row], rows->steps[row], rows->window_ms[row],
                      rows->closed[row], ret_grid))
        return !function_parameters_refused(rows->kernel, ret_parameters, refusal);
    snprintf(refusal, FUNCTION_REFUSAL_MAX, "the grid of a window function is not valid");
    return false;
}

/* --- runs --- */

/* Whether no value is NaN, 0 or next to 0: only of these all bits must be looked at. The sign of what is gathered tells
 * whether any magnitude lay below the least or above the largest; without comparisons the loop is vectorised. */
WIDE_VECTORS static bool all_are_plain(const double *value, size_t n)
{
    const uint64_t least = double_bits(DBL_MIN), most = double_bits(INFINITY);
    uint64_t odd = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t magnitude = double_bits(value[i]) & INT64_MAX;
        odd |= (magnitude - least) | (most - magnitude);
    }
    return odd >> 63 == 0;
}

/* Whether the kernel may see a run as it lies: nothing is to be left out, and every value is stored as it is. */
static bool run_is_whole(const struct window_rows *rows, idx_t row, const struct samples *run)
{
    if (rows->time_validity || rows->value_validity) {
        for (size_t i = 0; i < run->n; i++) {
            if (!is_valid(rows->time_validity, rows->times[row].offset + i) ||
                !is_valid(rows->value_validity, rows->values[row].offset + i))
                return false;
        }
    }
    if (all_are_plain(run->value, run->n))
        return true;
    unsigned otherwise = 0;
    for (size_t i = 0; i < run->n; i++)
        otherwise |= (unsigned)is_stored_otherwise(run->value[i]);
    for (size_t i = 0; !rows->kernel->sees_markers && i < run->n; i++)
        otherwise |= (unsigned)is_stale_marker(run->value[i]);
    return !otherwise;
}

/* Copies what the kernel is to see; NULL when memory is short. */
static int64_t *run_copy(const struct window_rows *rows, idx_t row, struct samples *run)
{
    int64_t *time_ms = malloc(run->n * (sizeof(int64_t) + sizeof(double)));
    if (!time_ms)
        return NULL;
    double *value = (double *)(time_ms + run->n);
    const int64_t *weight = run->weight;
    size_t n = 0;
    for (size_t i = 0; i < run->n; i++) {
        if (!is_valid(rows->time_validity, rows->times[row].offset + i) ||
            !is_valid(rows->value_validity, rows->values[row].offset + i))
            continue;
        time_ms[n] = run->time_ms[i];
        value[n++] = stored_value(run->value[i]);
    }
    n = rows->kernel->sees_markers ? n : window_drop_markers(time_ms, value, n);
    INVARIANT(!weight || n == run->n); /* a thinned run has no markers, nor holes */
    *run = (struct samples){time_ms, value, n, weight};
    return time_ms;
}

/* The times of a row's run, until the next one's; or of the single samples of several rows. */
static const int64_t *row_times(const struct window_rows *rows, idx_t row, bool singles)
{
    uint64_t offset = rows->times[row].offset;
    if (!rows->run_ms)
        return rows->time_ms + offset;
    if (singles)
        return rows->first_ms + row;
    pace_times(rows->first_ms[row], rows->pace_ms[row], rows->drift_ms + offset, rows->times[row].length, rows->run_ms);
    return rows->run_ms;
}

enum row_fault window_rows_take(const struct window_rows *rows, idx_t row, idx_t together, struct row_run *ret_run)
{
    bool singles = together > 1;
    struct samples run = {.n = rows->times[row].length, .weight = window_rows_weight(rows, row)};
    *ret_run = (struct row_run){.copy = NULL};
    if (rows->values[row].length != run.n || (run.weight && rows->weights[row].length != run.n))
        return ROW_UNEVEN;
    if (run.n > UINT32_MAX)
        return ROW_NO_MEMORY;
    run.time_ms = row_times(rows, row, singles);
    run.value = rows->value + rows->values[row].offset;
    run.n = singles ? together : run.n;
    if (!run_is_whole(rows, row, &run)) {
        ret_run->copy = run_copy(rows, row, &run);
        if (!ret_run->copy)
            return ROW_NO_MEMORY;
    }
    ret_run->samples = run;
    return ROW_WELL;
}

void row_run_release(struct row_run *run)
{
    free(run->copy);
    run->copy = NULL;
}

struct time_span window_rows_whole_in(const struct window_rows *rows, idx_t row, const struct samples *run)
{
    if (rows->whole_from)
        return (struct time_span){rows->whole_from[row], rows->whole_until[row]};
    return (struct time_span){run->time_ms[0], run->time_ms[run->n - 1]};
}
