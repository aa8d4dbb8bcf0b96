/* backend/duckdb/function_scalar.c: functions of one row: windows over an inner grid, repetition, label maps. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/duckdb/functions.h"
#include "backend/kernels/bits.h"
#include "base/assert.h"
#include "base/float_text.h"

/* A column of strings. */
struct strings {
    duckdb_string_t *at;
};

static struct strings strings_of(duckdb_vector vector)
{
    return (struct strings){duckdb_vector_get_data(vector)};
}

static struct str strings_get(struct strings strings, uint64_t row)
{
    duckdb_string_t *s = &strings.at[row];
    return (struct str){duckdb_string_t_data(s), duckdb_string_t_length(*s)};
}

/* --- prom_<name>_grid --- */

struct grid_rows {
    const duckdb_list_entry *inner;
    const uint64_t *inner_validity; /* of the list's elements */
    const double *inner_values;
    const int64_t *number[6]; /* inner_start, inner_step, start, step, steps, window */
    const bool *closed;
    struct parameter_rows parameters;
};

static struct grid_rows grid_rows_of(duckdb_data_chunk input, const struct window_kernel *kernel)
{
    duckdb_vector list = duckdb_data_chunk_get_vector(input, 0), child = duckdb_list_vector_get_child(list);
    struct grid_rows rows = {
        .inner = duckdb_vector_get_data(list),
        .inner_validity = duckdb_vector_get_validity(child),
        .inner_values = duckdb_vector_get_data(child),
        .closed = duckdb_vector_get_data(duckdb_data_chunk_get_vector(input, 7)),
        .parameters = parameter_rows_of(kernel, input, 8),
    };
    for (idx_t i = 0; i < 6; i++)
        rows.number[i] = duckdb_vector_get_data(duckdb_data_chunk_get_vector(input, 1 + i));
    return rows;
}

/* The inner points that are present, as samples. */
static struct samples inner_samples(const struct grid_rows *rows, idx_t row, bool sees_markers, int64_t *time_ms,
                                    double *value)
{
    duckdb_list_entry list = rows->inner[row];
    size_t n = 0;
    for (uint64_t k = 0; k < list.length; k++) {
        double v = rows->inner_values[list.offset + k];
        if (!is_valid(rows->inner_validity, list.offset + k) || (!sees_markers && is_stale_marker(v)))
            continue;
        time_ms[n] = rows->number[0][row] + (int64_t)k * rows->number[1][row];
        value[n++] = v;
    }
    return (struct samples){time_ms, value, n, NULL};
}

static bool row_grid(const struct grid_rows *rows, idx_t row, struct window_grid *ret_grid)
{
    struct window_grid inner;
    int64_t points = (int64_t)rows->inner[row].length;
    return function_grid(rows->number[2][row], rows->number[3][row], rows->number[4][row], rows->number[5][row],
                         rows->closed[row], ret_grid) &&
           (points == 0 || function_grid(rows->number[0][row], rows->number[1][row], points, 0, false, &inner));
}

/* Sizes of a chunk: the longest inner list and outer grid, and all outer elements. False if a grid is not valid. */
static bool measure(duckdb_data_chunk input, const struct grid_rows *rows, uint64_t *ret_inner, uint64_t *ret_outer,
                    uint64_t *ret_elements)
{
    *ret_inner = *ret_outer = *ret_elements = 0;
    for (idx_t row = 0; row < duckdb_data_chunk_get_size(input); row++) {
        struct window_grid grid;
        if (row_is_null(input, row))
            continue;
        if (!row_grid(rows, row, &grid))
            return false;
        *ret_inner = rows->inner[row].length > *ret_inner ? rows->inner[row].length : *ret_inner;
        *ret_outer = grid.steps > *ret_outer ? grid.steps : *ret_outer;
        *ret_elements += grid.steps;
    }
    return true;
}

struct grid_scratch {
    int64_t *time_ms;
    double *value, *choice;
    uint64_t *present;
};

static void window_rows_over_grid(duckdb_function_info info, duckdb_data_chunk input, duckdb_vector output,
                                  const struct window_kernel *kernel, const struct grid_rows *rows,
                                  const struct grid_scratch *scratch, const struct list_room *room)
{
    uint64_t used = 0;
    for (idx_t row = 0; row < duckdb_data_chunk_get_size(input); row++) {
        struct window_grid grid = {.steps = 0};
        uint32_t present_n = 0;
        if (!row_is_null(input, row) && row_grid(rows, row, &grid)) {
            struct samples samples = inner_samples(rows, row, kernel->sees_markers, scratch->time_ms, scratch->value);
            struct window_parameters parameters = parameter_rows_get(&rows->parameters, row);
            char message[FUNCTION_REFUSAL_MAX];
            parameters.scratch = scratch->choice;
            if (samples.n > 0 && function_parameters_refused(kernel, &parameters, message)) {
                duckdb_scalar_function_set_error(info, message);
                return;
            }
            present_n = kernel->run(&grid, &parameters, &samples, room->values + used, scratch->present);
        }
        used += list_room_put(output, room, used, row, grid.steps, scratch->present, present_n);
    }
    duckdb_list_vector_set_size(output, room->first + used);
}

static void window_over_grid(duckdb_function_info info, duckdb_data_chunk input, duckdb_vector output)
{
    const struct window_kernel *kernel = duckdb_scalar_function_get_extra_info(info);
    struct grid_rows rows = grid_rows_of(input, kernel);
    uint64_t inner, outer, elements;
    if (!measure(input, &rows, &inner, &outer, &elements)) {
        duckdb_scalar_function_set_error(info, "the grid of a window function is not valid");
        return;
    }
    struct grid_scratch scratch = {
        .time_ms = malloc((inner + 1) * sizeof(int64_t)),
        .value = malloc((inner + 1) * sizeof(double)),
        .choice = malloc((inner + 1) * sizeof(double)),
        .present = malloc((bits_words(outer) + 1) * sizeof(uint64_t)),
    };
    struct list_room room;
    if (scratch.time_ms && scratch.value && scratch.choice && scratch.present &&
        list_room_make(output, elements, &room))
        window_rows_over_grid(info, input, output, kernel, &rows, &scratch, &room);
    else
        duckdb_scalar_function_set_error(info, "no memory for a window function over a grid");
    free(scratch.time_ms);
    free(scratch.value);
    free(scratch.choice);
    free(scratch.present);
}

/* --- prom_repeat, prom_constant, prom_time: lists as long as an argument says --- */

struct generator {
    idx_t steps_column;
    /* Fills the values of a row; false: it has none. */
    bool (*fill)(duckdb_data_chunk input, idx_t row, uint32_t steps, double *values);
};

static bool fill_constant(duckdb_data_chunk input, idx_t row, uint32_t steps, double *values)
{
    const double *value = duckdb_vector_get_data(duckdb_data_chunk_get_vector(input, 0));
    for (uint32_t k = 0; k < steps; k++)
        values[k] = value[row];
    return true;
}

static bool fill_repeated(duckdb_data_chunk input, idx_t row, uint32_t steps, double *values)
{
    duckdb_vector list = duckdb_data_chunk_get_vector(input, 0), child = duckdb_list_vector_get_child(list);
    duckdb_list_entry entry = ((const duckdb_list_entry *)duckdb_vector_get_data(list))[row];
    if (entry.length == 0 || !is_valid(duckdb_vector_get_validity(child), entry.offset))
        return false;
    double value = ((const double *)duckdb_vector_get_data(child))[entry.offset];
    for (uint32_t k = 0; k < steps; k++)
        values[k] = value;
    return true;
}

static bool fill_time(duckdb_data_chunk input, idx_t row, uint32_t steps, double *values)
{
    int64_t start_ms = ((const int64_t *)duckdb_vector_get_data(duckdb_data_chunk_get_vector(input, 0)))[row];
    int64_t step_ms = ((const int64_t *)duckdb_vector_get_data(duckdb_data_chunk_get_vector(input, 1)))[row];
    struct window_grid grid;
    if (!function_grid(start_ms, step_ms, steps, 0, false, &grid))
        return false;
    for (uint32_t k = 0; k < steps; k++)
        values[k] = (double)(start_ms + (int64_t)k * step_ms) / 1000;
    return true;
}

static void generate(duckdb_function_info info, duckdb_data_chunk input, duckdb_vector output)
{
    const struct generator *generator = duckdb_scalar_function_get_extra_info(info);
    const int64_t *steps = duckdb_vector_get_data(duckdb_data_chunk_get_vector(input, generator->steps_column));
    idx_t n = duckdb_data_chunk_get_size(input);
    uint64_t elements = 0, used = 0, longest = 0;
    for (idx_t row = 0; row < n; row++) {
        if (row_is_null(input, row))
            continue;
        if (steps[row] < 0 || steps[row] > FUNCTION_STEPS_MAX) {
            duckdb_scalar_function_set_error(info, "the number of steps is not valid");
            return;
        }
        elements += (uint64_t)steps[row];
        longest = (uint64_t)steps[row] > longest ? (uint64_t)steps[row] : longest;
    }
    struct list_room room;
    uint64_t *ones = malloc((bits_words(longest) + 1) * sizeof *ones);
    if (!ones || !list_room_make(output, elements, &room)) {
        free(ones);
        duckdb_scalar_function_set_error(info, "no memory for a value along a grid");
        return;
    }
    memset(ones, 0xff, (bits_words(longest) + 1) * sizeof *ones);
    for (idx_t row = 0; row < n; row++) {
        uint32_t count = row_is_null(input, row) ? 0 : (uint32_t)steps[row];
        if (count > 0 && !generator->fill(input, row, count, room.values + used))
            count = 0;
        used += list_room_put(output, &room, used, row, count, ones, count);
    }
    duckdb_list_vector_set_size(output, room.first + used);
    free(ones);
}

/* --- label maps --- */

struct map_rows {
    const duckdb_list_entry *entries;
    struct strings names, values;
};

static struct map_rows map_rows_of(duckdb_vector map)
{
    duckdb_vector pair = duckdb_list_vector_get_child(map);
    return (struct map_rows){
        .entries = duckdb_vector_get_data(map),
        .names = strings_of(duckdb_struct_vector_get_child(pair, 0)),
        .values = strings_of(duckdb_struct_vector_get_child(pair, 1)),
    };
}

static void put_string(duckdb_vector vector, uint64_t row, struct str s)
{
    duckdb_vector_assign_string_element_len(vector, row, s.len ? s.ptr : "", s.len);
}

static void label_value(duckdb_function_info info, duckdb_data_chunk input, duckdb_vector output)
{
    struct map_rows map = map_rows_of(duckdb_data_chunk_get_vector(input, 0));
    struct strings names = strings_of(duckdb_data_chunk_get_vector(input, 1));
    for (idx_t row = 0; row < duckdb_data_chunk_get_size(input); row++) {
        struct str found = {NULL, 0};
        if (!row_is_null(input, row)) {
            struct str wanted = strings_get(names, row);
            duckdb_list_entry entry = map.entries[row];
            for (uint64_t i = entry.offset; !found.ptr && i < entry.offset + entry.length; i++) {
                if (str_eq(strings_get(map.names, i), wanted))
                    found = strings_get(map.values, i);
            }
        }
        put_string(output, row, found);
    }
}

/* The names to leave out, of one row. */
struct name_rows {
    const duckdb_list_entry *entries;
    struct strings names;
};

static bool is_named(const struct name_rows *without, idx_t row, struct str name)
{
    duckdb_list_entry entry = without->entries[row];
    for (uint64_t i = entry.offset; i < entry.offset + entry.length; i++) {
        if (str_eq(strings_get(without->names, i), name))
            return true;
    }
    return false;
}

static void map_without(duckdb_function_info info, duckdb_data_chunk input, duckdb_vector output)
{
    struct map_rows map = map_rows_of(duckdb_data_chunk_get_vector(input, 0));
    duckdb_vector list = duckdb_data_chunk_get_vector(input, 1);
    struct name_rows without = {duckdb_vector_get_data(list), strings_of(duckdb_list_vector_get_child(list))};
    idx_t n = duckdb_data_chunk_get_size(input);
    uint64_t most = 0, used = duckdb_list_vector_get_size(output);
    for (idx_t row = 0; row < n; row++)
        most += row_is_null(input, row) ? 0 : map.entries[row].length;
    if (duckdb_list_vector_reserve(output, used + most) != DuckDBSuccess) {
        duckdb_scalar_function_set_error(info, "no memory for a label map");
        return;
    }
    duckdb_vector pair = duckdb_list_vector_get_child(output);
    duckdb_vector name_out = duckdb_struct_vector_get_child(pair, 0);
    duckdb_vector value_out = duckdb_struct_vector_get_child(pair, 1);
    duckdb_list_entry *out = duckdb_vector_get_data(output);
    duckdb_vector_ensure_validity_writable(output);
    for (idx_t row = 0; row < n; row++) {
        out[row] = (duckdb_list_entry){used, 0};
        if (row_is_null(input, row)) {
            duckdb_validity_set_row_invalid(duckdb_vector_get_validity(output), row);
            continue;
        }
        duckdb_list_entry entry = map.entries[row];
        for (uint64_t i = entry.offset; i < entry.offset + entry.length; i++) {
            if (is_named(&without, row, strings_get(map.names, i)))
                continue;
            put_string(name_out, used, strings_get(map.names, i));
            put_string(value_out, used++, strings_get(map.values, i));
        }
        out[row].length = used - out[row].offset;
    }
    duckdb_list_vector_set_size(output, used);
}

/* --- registering --- */

ENGINE_CALLS_SCALAR(window_over_grid)
ENGINE_CALLS_SCALAR(generate)
ENGINE_CALLS_SCALAR(label_value)
ENGINE_CALLS_SCALAR(map_without)

static enum status register_one(struct connection *connection, const char *name, const char *parameters,
                                const char *result, duckdb_scalar_function_t function, const void *extra,
                                struct error *reterr)
{
    duckdb_scalar_function scalar = function_scalar_new(name, parameters, result);
    duckdb_scalar_function_set_extra_info(scalar, (void *)extra, NULL);
    duckdb_scalar_function_set_function(scalar, function);
    duckdb_state registered = duckdb_register_scalar_function(connection->handle, scalar);
    duckdb_destroy_scalar_function(&scalar);
    return registered == DuckDBSuccess ? OK : error_set(reterr, E_STORE, "the storage engine refuses %s", name);
}

enum status functions_register_scalar(struct connection *connection, struct error *reterr)
{
    static const struct generator REPEAT = {1, fill_repeated}, CONSTANT = {1, fill_constant}, TIME = {2, fill_time};
    static const struct {
        const char *name, *parameters, *result;
        duckdb_scalar_function_t function;
        const void *extra;
    } FUNCTIONS[] = {
        {"prom_repeat", "Di", "D", on_generate, &REPEAT},  {"prom_constant", "di", "D", on_generate, &CONSTANT},
        {"prom_time", "iii", "D", on_generate, &TIME},     {"prom_label", "Ms", "s", on_label_value, NULL},
        {"prom_without", "MS", "M", on_map_without, NULL},
    };
    enum status status = OK;
    for (int i = 0; status == OK && i < KERNEL_MAX; i++) {
        char name[64], parameters[16];
        snprintf(name, sizeof name, "prom_%s_grid", window_kernels[i].name);
        snprintf(parameters, sizeof parameters, "Diiiiiib%s", window_kernels[i].parameters);
        status = register_one(connection, name, parameters, "D", on_window_over_grid, &window_kernels[i], reterr);
    }
    for (size_t i = 0; status == OK && i < ARRAY_LENGTH(FUNCTIONS); i++)
        status = register_one(connection, FUNCTIONS[i].name, FUNCTIONS[i].parameters, FUNCTIONS[i].result,
                              FUNCTIONS[i].function, FUNCTIONS[i].extra, reterr);
    return status;
}
