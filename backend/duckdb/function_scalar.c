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
};

static struct grid_rows grid_rows_of(duckdb_data_chunk input)
{
    duckdb_vector list = duckdb_data_chunk_get_vector(input, 0), child = duckdb_list_vector_get_child(list);
    struct grid_rows rows = {
        .inner = duckdb_vector_get_data(list),
        .inner_validity = duckdb_vector_get_validity(child),
        .inner_values = duckdb_vector_get_data(child),
        .closed = duckdb_vector_get_data(duckdb_data_chunk_get_vector(input, 7)),
    };
    for (idx_t i = 0; i < 6; i++)
        rows.number[i] = duckdb_vector_get_data(duckdb_data_chunk_get_vector(input, 1 + i));
    return rows;
}

/* Whether any argument of the row is NULL; then so is the result. */
static bool row_is_null(duckdb_data_chunk input, idx_t columns, idx_t row)
{
    for (idx_t i = 0; i < columns; i++) {
        if (!is_valid(duckdb_vector_get_validity(duckdb_data_chunk_get_vector(input, i)), row))
            return true;
    }
    return false;
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
    return (struct samples){time_ms, value, n};
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
        if (row_is_null(input, 8, row))
            continue;
        if (!row_grid(rows, row, &grid))
            return false;
        *ret_inner = rows->inner[row].length > *ret_inner ? rows->inner[row].length : *ret_inner;
        *ret_outer = grid.steps > *ret_outer ? grid.steps : *ret_outer;
        *ret_elements += grid.steps;
    }
    return true;
}

static void window_over_grid(duckdb_function_info info, duckdb_data_chunk input, duckdb_vector output)
{
    const struct window_kernel *kernel = duckdb_scalar_function_get_extra_info(info);
    struct grid_rows rows = grid_rows_of(input);
    uint64_t inner, outer, elements, used = 0;
    if (!measure(input, &rows, &inner, &outer, &elements)) {
        duckdb_scalar_function_set_error(info, "the grid of a window function is not valid");
        return;
    }
    int64_t *time_ms = malloc((inner + 1) * sizeof *time_ms);
    double *value = malloc((inner + 1) * sizeof *value);
    uint64_t *present = malloc((bits_words(outer) + 1) * sizeof *present);
    struct list_room room;
    if (time_ms && value && present && list_room_make(output, elements, &room)) {
        for (idx_t row = 0; row < duckdb_data_chunk_get_size(input); row++) {
            struct window_grid grid = {.steps = 0};
            uint32_t present_n = 0;
            if (!row_is_null(input, 8, row) && row_grid(&rows, row, &grid)) {
                struct samples samples = inner_samples(&rows, row, kernel->sees_markers, time_ms, value);
                present_n = kernel->run(&grid, &samples, room.values + used, present);
            }
            used += list_room_put(output, &room, used, row, grid.steps, present, present_n);
        }
        duckdb_list_vector_set_size(output, room.first + used);
    } else {
        duckdb_scalar_function_set_error(info, "no memory for a window function over a grid");
    }
    free(time_ms);
    free(value);
    free(present);
}

/* --- prom_repeat --- */

static void repeat(duckdb_function_info info, duckdb_data_chunk input, duckdb_vector output)
{
    duckdb_vector list = duckdb_data_chunk_get_vector(input, 0), child = duckdb_list_vector_get_child(list);
    const duckdb_list_entry *lists = duckdb_vector_get_data(list);
    const double *values = duckdb_vector_get_data(child);
    const uint64_t *validity = duckdb_vector_get_validity(child);
    const int64_t *steps = duckdb_vector_get_data(duckdb_data_chunk_get_vector(input, 1));
    idx_t n = duckdb_data_chunk_get_size(input);
    uint64_t elements = 0, used = 0, longest = 0;
    for (idx_t row = 0; row < n; row++) {
        if (row_is_null(input, 2, row))
            continue;
        if (steps[row] < 1 || steps[row] > FUNCTION_STEPS_MAX) {
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
        duckdb_scalar_function_set_error(info, "no memory to repeat a value along a grid");
        return;
    }
    memset(ones, 0xff, (bits_words(longest) + 1) * sizeof *ones);
    for (idx_t row = 0; row < n; row++) {
        bool has = !row_is_null(input, 2, row) && lists[row].length > 0 && is_valid(validity, lists[row].offset);
        uint32_t count = has ? (uint32_t)steps[row] : 0;
        for (uint32_t k = 0; k < count; k++)
            room.values[used + k] = values[lists[row].offset];
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
        if (!row_is_null(input, 2, row)) {
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
        most += row_is_null(input, 2, row) ? 0 : map.entries[row].length;
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
        if (row_is_null(input, 2, row)) {
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

/* Types by letter: i BIGINT, b BOOLEAN, s VARCHAR, D DOUBLE[], S VARCHAR[], M MAP(VARCHAR, VARCHAR). */
static duckdb_logical_type type_of(char letter)
{
    static const struct {
        char letter;
        duckdb_type type;
    } PLAIN[] = {{'i', DUCKDB_TYPE_BIGINT}, {'b', DUCKDB_TYPE_BOOLEAN}, {'s', DUCKDB_TYPE_VARCHAR}};
    for (size_t i = 0; i < ARRAY_LENGTH(PLAIN); i++) {
        if (PLAIN[i].letter == letter)
            return duckdb_create_logical_type(PLAIN[i].type);
    }
    duckdb_logical_type element = duckdb_create_logical_type(letter == 'D' ? DUCKDB_TYPE_DOUBLE : DUCKDB_TYPE_VARCHAR);
    duckdb_logical_type type =
        letter == 'M' ? duckdb_create_map_type(element, element) : duckdb_create_list_type(element);
    duckdb_destroy_logical_type(&element);
    return type;
}

static enum status register_one(struct connection *connection, const char *name, const char *parameters, char result,
                                duckdb_scalar_function_t function, const struct window_kernel *kernel,
                                struct error *reterr)
{
    duckdb_scalar_function scalar = duckdb_create_scalar_function();
    duckdb_scalar_function_set_name(scalar, name);
    for (const char *letter = parameters; *letter; letter++) {
        duckdb_logical_type type = type_of(*letter);
        duckdb_scalar_function_add_parameter(scalar, type);
        duckdb_destroy_logical_type(&type);
    }
    duckdb_logical_type type = type_of(result);
    duckdb_scalar_function_set_return_type(scalar, type);
    duckdb_destroy_logical_type(&type);
    duckdb_scalar_function_set_special_handling(scalar);
    duckdb_scalar_function_set_extra_info(scalar, (void *)kernel, NULL);
    duckdb_scalar_function_set_function(scalar, function);
    duckdb_state registered = duckdb_register_scalar_function(connection->handle, scalar);
    duckdb_destroy_scalar_function(&scalar);
    return registered == DuckDBSuccess ? OK : error_set(reterr, E_STORE, "the storage engine refuses %s", name);
}

enum status functions_register_scalar(struct connection *connection, struct error *reterr)
{
    enum status status = OK;
    for (int i = 0; status == OK && i < KERNEL_MAX; i++) {
        char name[64];
        snprintf(name, sizeof name, "prom_%s_grid", window_kernels[i].name);
        status = register_one(connection, name, "Diiiiiib", 'D', window_over_grid, &window_kernels[i], reterr);
    }
    if (status == OK)
        status = register_one(connection, "prom_repeat", "Di", 'D', repeat, NULL, reterr);
    if (status == OK)
        status = register_one(connection, "prom_label", "Ms", 's', label_value, NULL, reterr);
    if (status == OK)
        status = register_one(connection, "prom_without", "MS", 'M', map_without, NULL, reterr);
    return status;
}

enum status functions_register(struct engine *engine, struct connection *connection, struct error *reterr)
{
    enum status status = functions_register_window(engine, connection, reterr);
    if (status == OK)
        status = functions_register_fold(engine, connection, reterr);
    if (status == OK)
        status = functions_register_scalar(connection, reterr);
    return status;
}
