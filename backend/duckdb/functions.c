/* backend/duckdb/functions.c: what the SQL functions share: types, result lists, arguments. See functions.h. */
#include "backend/duckdb/functions.h"

#include <stdio.h>

#include "backend/kernels/bits.h"
#include "base/assert.h"

/* --- types --- */

static duckdb_logical_type plain_type(char letter)
{
    static const struct {
        char letter;
        duckdb_type type;
    } PLAIN[] = {{'i', DUCKDB_TYPE_BIGINT},  {'u', DUCKDB_TYPE_UINTEGER}, {'d', DUCKDB_TYPE_DOUBLE},
                 {'b', DUCKDB_TYPE_BOOLEAN}, {'s', DUCKDB_TYPE_VARCHAR},  {'B', DUCKDB_TYPE_BLOB},
                 {'h', DUCKDB_TYPE_INTEGER}};
    for (size_t i = 0; i < ARRAY_LENGTH(PLAIN); i++) {
        if (PLAIN[i].letter == letter)
            return duckdb_create_logical_type(PLAIN[i].type);
    }
    return NULL;
}

static duckdb_logical_type list_type(char element)
{
    duckdb_logical_type plain = plain_type(element), list = duckdb_create_list_type(plain);
    duckdb_destroy_logical_type(&plain);
    return list;
}

/* STRUCT(name first, value DOUBLE[])[] */
static duckdb_logical_type rows_type(const char *name, char first)
{
    duckdb_logical_type members[] = {plain_type(first), list_type('d')};
    const char *names[] = {name, "value"};
    duckdb_logical_type row = duckdb_create_struct_type(members, names, ARRAY_LENGTH(members));
    duckdb_logical_type list = duckdb_create_list_type(row);
    duckdb_destroy_logical_type(&members[0]);
    duckdb_destroy_logical_type(&members[1]);
    duckdb_destroy_logical_type(&row);
    return list;
}

/* STRUCT(ts BIGINT[], value DOUBLE[], weight BIGINT[]), or of the first two. */
static duckdb_logical_type run_type(size_t lists)
{
    duckdb_logical_type members[] = {list_type('i'), list_type('d'), list_type('i')};
    const char *names[] = {"ts", "value", "weight"};
    duckdb_logical_type run = duckdb_create_struct_type(members, names, lists);
    for (size_t i = 0; i < ARRAY_LENGTH(members); i++)
        duckdb_destroy_logical_type(&members[i]);
    return run;
}

static duckdb_logical_type map_type(void)
{
    duckdb_logical_type text = plain_type('s'), map = duckdb_create_map_type(text, text);
    duckdb_destroy_logical_type(&text);
    return map;
}

static duckdb_logical_type type_of(char letter)
{
    switch (letter) {
    case 'D':
        return list_type('d');
    case 'I':
        return list_type('i');
    case 'H':
        return list_type('h');
    case 'S':
        return list_type('s');
    case 'M':
        return map_type();
    case 'R':
        return rows_type("rank", 'i');
    case 'T':
        return rows_type("text", 's');
    case 'O':
        return run_type(2);
    case 'W':
        return run_type(3);
    default:
        return plain_type(letter);
    }
}

duckdb_scalar_function function_scalar_new(const char *name, const char *parameters, const char *result)
{
    duckdb_scalar_function scalar = duckdb_create_scalar_function();
    duckdb_scalar_function_set_name(scalar, name);
    for (const char *letter = parameters; *letter; letter++) {
        duckdb_logical_type type = type_of(*letter);
        duckdb_scalar_function_add_parameter(scalar, type);
        duckdb_destroy_logical_type(&type);
    }
    duckdb_logical_type type = type_of(*result);
    duckdb_scalar_function_set_return_type(scalar, type);
    duckdb_destroy_logical_type(&type);
    duckdb_scalar_function_set_special_handling(scalar);
    return scalar;
}

duckdb_aggregate_function function_aggregate_new(const char *name, const char *parameters, const char *result)
{
    duckdb_aggregate_function aggregate = duckdb_create_aggregate_function();
    duckdb_aggregate_function_set_name(aggregate, name);
    for (const char *letter = parameters; *letter; letter++) {
        duckdb_logical_type type = type_of(*letter);
        duckdb_aggregate_function_add_parameter(aggregate, type);
        duckdb_destroy_logical_type(&type);
    }
    duckdb_logical_type type = type_of(*result);
    duckdb_aggregate_function_set_return_type(aggregate, type);
    duckdb_destroy_logical_type(&type);
    duckdb_aggregate_function_set_special_handling(aggregate);
    return aggregate;
}

/* --- arguments --- */

bool row_is_null(duckdb_data_chunk input, idx_t row)
{
    for (idx_t i = 0; i < duckdb_data_chunk_get_column_count(input); i++) {
        if (!is_valid(duckdb_vector_get_validity(duckdb_data_chunk_get_vector(input, i)), row))
            return true;
    }
    return false;
}

uint64_t list_longest(const duckdb_list_entry *lists, const uint64_t *validity, idx_t n)
{
    uint64_t longest = 0;
    for (idx_t row = 0; row < n; row++) {
        if (is_valid(validity, row) && lists[row].length > longest)
            longest = lists[row].length;
    }
    return longest;
}

bool function_grid(int64_t start_ms, int64_t step_ms, int64_t steps, int64_t window_ms, bool closed,
                   struct window_grid *ret_grid)
{
    if (steps < 1 || steps > FUNCTION_STEPS_MAX)
        return false;
    *ret_grid = (struct window_grid){start_ms, step_ms, (uint32_t)steps, window_ms, closed};
    return window_grid_is_valid(ret_grid);
}

struct parameter_rows parameter_rows_of(const struct window_kernel *kernel, duckdb_data_chunk input, idx_t first)
{
    struct parameter_rows rows = {.letters = kernel->parameters};
    for (idx_t i = 0; rows.letters[i]; i++)
        rows.at[i] = duckdb_vector_get_data(duckdb_data_chunk_get_vector(input, first + i));
    return rows;
}

struct window_parameters parameter_rows_get(const struct parameter_rows *rows, idx_t row)
{
    struct window_parameters parameters = {.shift_ms = 0};
    size_t numbers = 0;
    for (size_t i = 0; rows->letters[i]; i++) {
        if (rows->letters[i] == 'd')
            parameters.number[numbers++] = ((const double *)rows->at[i])[row];
        else
            parameters.shift_ms = ((const int64_t *)rows->at[i])[row];
    }
    return parameters;
}

bool function_parameters_refused(const struct window_kernel *kernel, const struct window_parameters *parameters,
                                 char message[FUNCTION_REFUSAL_MAX])
{
    char text[WINDOW_REFUSAL_MAX];
    if (window_parameters_check(kernel, parameters, text))
        return false;
    snprintf(message, FUNCTION_REFUSAL_MAX, ENGINE_PROMQL_FAILS "%s", text);
    return true;
}

/* --- results --- */

void function_refuse_size(duckdb_function_info info, const struct budget *budget, uint64_t bytes)
{
    char message[256];
    snprintf(message, sizeof message,
             ENGINE_TOO_MANY_SAMPLES ": functions need another %llu bytes and may hold %llu in all",
             (unsigned long long)bytes, (unsigned long long)budget->max_bytes);
    duckdb_aggregate_function_set_error(info, message);
}

struct list_column list_column_of(duckdb_vector vector)
{
    return (struct list_column){vector, duckdb_vector_get_data(vector),
                                duckdb_vector_get_data(duckdb_list_vector_get_child(vector)),
                                duckdb_list_vector_get_size(vector)};
}

bool list_column_reserve(struct list_column *column, uint64_t more)
{
    if (duckdb_list_vector_reserve(column->vector, column->used + more) != DuckDBSuccess)
        return false;
    column->elements = duckdb_vector_get_data(duckdb_list_vector_get_child(column->vector));
    return true;
}

void list_column_put(struct list_column *column, idx_t row, uint64_t n)
{
    column->entries[row] = (duckdb_list_entry){column->used, n};
    column->used += n;
}

bool list_column_end(const struct list_column *column)
{
    return duckdb_list_vector_set_size(column->vector, column->used) == DuckDBSuccess;
}

bool list_room_make(duckdb_vector list, uint64_t elements, struct list_room *ret_room)
{
    uint64_t first = duckdb_list_vector_get_size(list);
    if (duckdb_list_vector_reserve(list, first + elements) != DuckDBSuccess)
        return false;
    duckdb_vector child = duckdb_list_vector_get_child(list);
    duckdb_vector_ensure_validity_writable(child);
    duckdb_vector_ensure_validity_writable(list);
    ret_room->values = (double *)duckdb_vector_get_data(child) + first;
    ret_room->validity = duckdb_vector_get_validity(child);
    ret_room->first = first;
    return true;
}

uint64_t list_room_put(duckdb_vector list, const struct list_room *room, uint64_t used, uint64_t row, uint32_t steps,
                       const uint64_t *present, uint32_t present_n)
{
    duckdb_list_entry *entries = duckdb_vector_get_data(list);
    if (present_n == 0) {
        entries[row] = (duckdb_list_entry){room->first + used, 0};
        duckdb_validity_set_row_invalid(duckdb_vector_get_validity(list), row);
        return 0;
    }
    entries[row] = (duckdb_list_entry){room->first + used, steps};
    bits_store(room->validity, room->first + used, present, steps);
    return steps;
}

/* --- all of them --- */

enum status functions_register(struct engine *engine, struct connection *connection, struct error *reterr)
{
    enum status status = functions_register_window(engine, connection, reterr);
    if (status == OK)
        status = functions_register_run(engine, connection, reterr);
    if (status == OK)
        status = functions_register_fold(engine, connection, reterr);
    if (status == OK)
        status = functions_register_rows(engine, connection, reterr);
    if (status == OK)
        status = functions_register_element(connection, reterr);
    if (status == OK)
        status = functions_register_scalar(connection, reterr);
    if (status == OK)
        status = functions_register_thin(connection, reterr);
    if (status == OK)
        status = functions_register_order(connection, reterr);
    if (status == OK)
        status = functions_register_times(connection, reterr);
    if (status == OK)
        status = functions_register_chunks(connection, reterr);
    return status;
}
