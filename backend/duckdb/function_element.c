/* backend/duckdb/function_element.c: operators and functions of single values, over lists. The arithmetic is
 * kernels/element.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/duckdb/functions.h"
#include "backend/kernels/bits.h"
#include "backend/kernels/element.h"
#include "base/assert.h"

#define SIDES_MAX 3

/* What a registered function carries. */
struct element_call {
    enum {
        CALL_APPLY,
        CALL_COMBINE,
        CALL_CLAMP
    } kind;
    int op;               /* enum element_function or enum element_op */
    const char *operands; /* "D", "Dd" …: functions.h */
};

/* One column. */
struct operand {
    bool list;
    const duckdb_list_entry *lists;
    const double *values;     /* of the list's elements, or of the rows */
    const uint64_t *validity; /* of the rows */
    const uint64_t *elements; /* of the list's elements */
    uint64_t *present;        /* scratch for one row */
};

struct element_rows {
    const struct element_call *call;
    struct operand operands[SIDES_MAX];
    size_t operands_n;
    double *zeros;     /* stands for the values of a NULL list */
    uint64_t *present; /* of the result */
};

static void operands_of(struct element_rows *rows, duckdb_data_chunk input)
{
    rows->operands_n = strlen(rows->call->operands);
    for (size_t i = 0; i < rows->operands_n; i++) {
        duckdb_vector vector = duckdb_data_chunk_get_vector(input, i);
        struct operand *o = &rows->operands[i];
        *o = (struct operand){.list = rows->call->operands[i] == 'D', .validity = duckdb_vector_get_validity(vector)};
        duckdb_vector child = o->list ? duckdb_list_vector_get_child(vector) : vector;
        o->values = duckdb_vector_get_data(child);
        if (o->list) {
            o->lists = duckdb_vector_get_data(vector);
            o->elements = duckdb_vector_get_validity(child);
        }
    }
}

/* The length of a row's lists, 0 if all are NULL; false if they differ. */
static bool row_steps(const struct element_rows *rows, idx_t row, uint64_t *ret_steps)
{
    *ret_steps = 0;
    for (size_t i = 0; i < rows->operands_n; i++) {
        const struct operand *o = &rows->operands[i];
        if (!o->list || !is_valid(o->validity, row))
            continue;
        if (*ret_steps > 0 && o->lists[row].length != *ret_steps)
            return false;
        *ret_steps = o->lists[row].length;
    }
    return true;
}

static struct element_side side_of(const struct element_rows *rows, size_t i, idx_t row, uint64_t steps)
{
    const struct operand *o = &rows->operands[i];
    if (!is_valid(o->validity, row)) {
        memset(o->present, 0, bits_words(steps) * sizeof *o->present);
        return (struct element_side){rows->zeros, o->present, false};
    }
    if (!o->list)
        return (struct element_side){o->values + row, NULL, true};
    bits_load(o->present, o->elements, o->lists[row].offset, steps);
    return (struct element_side){o->values + o->lists[row].offset, o->present, false};
}

static uint32_t compute_row(const struct element_rows *rows, idx_t row, uint64_t steps, double *values)
{
    const struct element_call *call = rows->call;
    struct element_side sides[SIDES_MAX];
    for (size_t i = 0; i < rows->operands_n; i++)
        sides[i] = side_of(rows, i, row, steps);
    switch (call->kind) {
    case CALL_APPLY:
        element_apply((enum element_function)call->op, sides[0].values, steps, values);
        memcpy(rows->present, sides[0].present, bits_words(steps) * sizeof *rows->present);
        break;
    case CALL_COMBINE:
        element_combine((enum element_op)call->op, &sides[0], &sides[1], steps, values, rows->present);
        break;
    case CALL_CLAMP:
        element_clamp(&sides[0], &sides[1], &sides[2], steps, values, rows->present);
        break;
    }
    return (uint32_t)bits_count(rows->present, steps);
}

/* One block for all scratch: zeros, the result's bits, each operand's. */
static void *scratch_new(struct element_rows *rows, uint64_t longest)
{
    size_t words = bits_words(longest) + 1;
    double *block = calloc(longest + 1 + (1 + rows->operands_n) * words, sizeof *block);
    rows->zeros = block;
    if (block) {
        rows->present = (uint64_t *)(block + longest + 1);
        for (size_t i = 0; i < rows->operands_n; i++)
            rows->operands[i].present = rows->present + (i + 1) * words;
    }
    return block;
}

static void element(duckdb_function_info info, duckdb_data_chunk input, duckdb_vector output)
{
    struct element_rows rows = {.call = duckdb_scalar_function_get_extra_info(info)};
    idx_t n = duckdb_data_chunk_get_size(input);
    uint64_t elements = 0, used = 0, longest = 0, steps;
    operands_of(&rows, input);
    for (idx_t row = 0; row < n; row++) {
        if (!row_steps(&rows, row, &steps) || steps > FUNCTION_STEPS_MAX) {
            duckdb_scalar_function_set_error(info, "grids of different lengths cannot be combined");
            return;
        }
        elements += steps;
        longest = steps > longest ? steps : longest;
    }
    struct list_room room;
    void *scratch = scratch_new(&rows, longest);
    if (scratch && list_room_make(output, elements, &room)) {
        for (idx_t row = 0; row < n; row++) {
            row_steps(&rows, row, &steps);
            uint32_t present_n = steps > 0 ? compute_row(&rows, row, steps, room.values + used) : 0;
            used += list_room_put(output, &room, used, row, (uint32_t)steps, rows.present, present_n);
        }
        duckdb_list_vector_set_size(output, room.first + used);
    } else {
        duckdb_scalar_function_set_error(info, "no memory for an operator over grids");
    }
    free(scratch);
}

/* --- registering --- */

ENGINE_CALLS_SCALAR(element)

static bool add_to_set(duckdb_scalar_function_set set, const char *name, struct element_call call)
{
    struct element_call *copy = malloc(sizeof *copy);
    if (!copy)
        return false;
    *copy = call;
    duckdb_scalar_function scalar = function_scalar_new(name, call.operands, "D");
    duckdb_scalar_function_set_extra_info(scalar, copy, free);
    duckdb_scalar_function_set_function(scalar, on_element);
    duckdb_state added = duckdb_add_scalar_function_to_set(set, scalar);
    duckdb_destroy_scalar_function(&scalar);
    return added == DuckDBSuccess;
}

/* One function of that name per text of operands. */
static enum status register_one(struct connection *connection, const char *kind, struct element_call call,
                                const char *const *operands, size_t operands_n, struct error *reterr)
{
    char name[64];
    snprintf(name, sizeof name, "prom_%s", kind);
    duckdb_scalar_function_set set = duckdb_create_scalar_function_set(name);
    bool well = true;
    for (size_t i = 0; well && i < operands_n; i++) {
        call.operands = operands[i];
        well = add_to_set(set, name, call);
    }
    well = well && duckdb_register_scalar_function_set(connection->handle, set) == DuckDBSuccess;
    duckdb_destroy_scalar_function_set(&set);
    return well ? OK : error_set(reterr, E_STORE, "the storage engine refuses %s", name);
}

enum status functions_register_element(struct connection *connection, struct error *reterr)
{
    static const char *const ONE[] = {"D"}, *const TWO[] = {"DD", "Dd", "dD"},
                             *const CLAMP[] = {"Ddd", "DDd", "DdD", "DDD"};
    enum status status = OK;
    for (int i = 0; status == OK && i < ELEMENT_FUNCTION_MAX; i++)
        status = register_one(connection, element_function_names[i], (struct element_call){CALL_APPLY, i, NULL}, ONE,
                              ARRAY_LENGTH(ONE), reterr);
    for (int i = 0; status == OK && i < ELEMENT_OP_MAX; i++) {
        bool lists_only = i == ELEMENT_AND || i == ELEMENT_UNLESS;
        bool list_first = i == ELEMENT_ROUND || i == ELEMENT_CLAMP_MIN || i == ELEMENT_CLAMP_MAX;
        status = register_one(connection, element_op_names[i], (struct element_call){CALL_COMBINE, i, NULL}, TWO,
                              lists_only   ? 1
                              : list_first ? 2
                                           : 3,
                              reterr);
    }
    if (status == OK)
        status = register_one(connection, "clamp", (struct element_call){CALL_CLAMP, 0, NULL}, CLAMP,
                              ARRAY_LENGTH(CLAMP), reterr);
    return status;
}
