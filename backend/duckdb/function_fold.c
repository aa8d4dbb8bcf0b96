/* backend/duckdb/function_fold.c: prom_sum and its kin as aggregates over grids. The arithmetic is kernels/fold.c. */
#include <stdio.h>
#include <stdlib.h>

#include "backend/duckdb/functions.h"
#include "backend/kernels/bits.h"
#include "backend/kernels/fold.h"
#include "base/assert.h"

struct fold_state {
    struct fold *fold; /* NULL until the first list; its planes follow it in the same allocation */
    struct budget *budget;
};

struct fold_function {
    enum fold_op op;
    struct budget *budget;
};

static idx_t state_size(duckdb_function_info info)
{
    return sizeof(struct fold_state);
}

static void state_init(duckdb_function_info info, duckdb_aggregate_state raw)
{
    ENGINE_TAKES();
    const struct fold_function *function = duckdb_aggregate_function_get_extra_info(info);
    *(struct fold_state *)raw = (struct fold_state){.budget = function->budget};
    ENGINE_GIVES();
}

static size_t state_bytes(enum fold_op op, uint32_t steps)
{
    return sizeof(struct fold) + fold_bytes(op, steps);
}

static void state_clear(struct fold_state *state)
{
    if (state->fold)
        budget_give_back(state->budget, state_bytes(state->fold->op, state->fold->steps));
    free(state->fold);
    state->fold = NULL;
}

static void state_destroy(duckdb_aggregate_state *states, idx_t count)
{
    ENGINE_TAKES();
    for (idx_t i = 0; i < count; i++)
        state_clear((struct fold_state *)states[i]);
    ENGINE_GIVES();
}

static bool state_begin(duckdb_function_info info, struct fold_state *state, enum fold_op op, uint32_t steps)
{
    size_t bytes = state_bytes(op, steps);
    bool granted = budget_take(state->budget, bytes);
    state->fold = granted ? malloc(bytes) : NULL;
    if (state->fold) {
        fold_init(state->fold, op, steps, state->fold + 1);
        return true;
    }
    if (granted)
        budget_give_back(state->budget, bytes);
    char message[256];
    snprintf(message, sizeof message,
             ENGINE_TOO_MANY_SAMPLES ": functions need another %zu bytes and may hold %llu in all", bytes,
             (unsigned long long)state->budget->max_bytes);
    duckdb_aggregate_function_set_error(info, message);
    return false;
}

/* Folds one list in; false after setting an error. */
static bool state_add(duckdb_function_info info, struct fold_state *state, enum fold_op op, const double *values,
                      const uint64_t *present, uint32_t steps)
{
    if (!state->fold && !state_begin(info, state, op, steps))
        return false;
    if (state->fold->steps != steps) {
        duckdb_aggregate_function_set_error(info, "grids of different lengths cannot be aggregated");
        return false;
    }
    fold_add(state->fold, values, present);
    return true;
}

static uint64_t longest_list(const duckdb_list_entry *lists, const uint64_t *validity, idx_t n)
{
    uint64_t longest = 0;
    for (idx_t row = 0; row < n; row++) {
        if (is_valid(validity, row) && lists[row].length > longest)
            longest = lists[row].length;
    }
    return longest;
}

static void state_update(duckdb_function_info info, duckdb_data_chunk input, duckdb_aggregate_state *states)
{
    ENGINE_TAKES();
    const struct fold_function *function = duckdb_aggregate_function_get_extra_info(info);
    duckdb_vector vector = duckdb_data_chunk_get_vector(input, 0), child = duckdb_list_vector_get_child(vector);
    const duckdb_list_entry *lists = duckdb_vector_get_data(vector);
    const uint64_t *validity = duckdb_vector_get_validity(vector);
    const double *values = duckdb_vector_get_data(child);
    const uint64_t *values_validity = duckdb_vector_get_validity(child);
    idx_t n = duckdb_data_chunk_get_size(input);
    uint64_t longest = longest_list(lists, validity, n);
    if (longest > FUNCTION_STEPS_MAX) {
        duckdb_aggregate_function_set_error(info, "a grid is too long to be aggregated");
        ENGINE_GIVES();
        return;
    }
    uint64_t *present = malloc((bits_words(longest) + 1) * sizeof *present);
    if (!present) {
        duckdb_aggregate_function_set_error(info, "no memory for the presence bits of a grid");
        ENGINE_GIVES();
        return;
    }
    bool well = true;
    for (idx_t row = 0; well && row < n; row++) {
        uint32_t steps = is_valid(validity, row) ? (uint32_t)lists[row].length : 0;
        if (bits_load(present, values_validity, lists[row].offset, steps) > 0)
            well = state_add(info, (struct fold_state *)states[row], function->op, values + lists[row].offset, present,
                             steps);
    }
    free(present);
    ENGINE_GIVES();
}

static void state_combine(duckdb_function_info info, duckdb_aggregate_state *sources, duckdb_aggregate_state *targets,
                          idx_t count)
{
    ENGINE_TAKES();
    for (idx_t i = 0; i < count; i++) {
        struct fold_state *from = (struct fold_state *)sources[i], *to = (struct fold_state *)targets[i];
        if (!from->fold)
            continue;
        if (!to->fold) {
            to->fold = from->fold;
            from->fold = NULL;
        } else if (to->fold->steps != from->fold->steps) {
            duckdb_aggregate_function_set_error(info, "grids of different lengths cannot be aggregated");
            ENGINE_GIVES();
            return;
        } else {
            fold_merge(to->fold, from->fold);
            state_clear(from);
        }
    }
    ENGINE_GIVES();
}

static void state_finalize(duckdb_function_info info, duckdb_aggregate_state *states, duckdb_vector result, idx_t count,
                           idx_t offset)
{
    ENGINE_TAKES();
    uint64_t elements = 0, used = 0;
    for (idx_t i = 0; i < count; i++) {
        const struct fold *fold = ((const struct fold_state *)states[i])->fold;
        elements += fold ? fold->steps : 0;
    }
    struct list_room room;
    if (!list_room_make(result, elements, &room)) {
        duckdb_aggregate_function_set_error(info, "no memory for a result list");
        ENGINE_GIVES();
        return;
    }
    for (idx_t i = 0; i < count; i++) {
        const struct fold *fold = ((const struct fold_state *)states[i])->fold;
        if (fold)
            fold_finish(fold, room.values + used);
        used += list_room_put(result, &room, used, offset + i, fold ? fold->steps : 0, fold ? fold->present : NULL,
                              fold != NULL);
    }
    if (duckdb_list_vector_set_size(result, room.first + used) != DuckDBSuccess)
        duckdb_aggregate_function_set_error(info, "cannot set the size of a result list");
    ENGINE_GIVES();
}

static enum status register_one(enum fold_op op, struct budget *budget, struct connection *connection,
                                struct error *reterr)
{
    char name[64];
    snprintf(name, sizeof name, "prom_%s", fold_names[op]);
    struct fold_function *function = malloc(sizeof *function);
    if (!function)
        return error_set(reterr, E_NOMEM, "no memory to register %s", name);
    *function = (struct fold_function){op, budget};
    duckdb_logical_type number = duckdb_create_logical_type(DUCKDB_TYPE_DOUBLE);
    duckdb_logical_type list = duckdb_create_list_type(number);
    duckdb_aggregate_function aggregate = duckdb_create_aggregate_function();
    duckdb_aggregate_function_set_name(aggregate, name);
    duckdb_aggregate_function_add_parameter(aggregate, list);
    duckdb_aggregate_function_set_return_type(aggregate, list);
    duckdb_aggregate_function_set_functions(aggregate, state_size, state_init, state_update, state_combine,
                                            state_finalize);
    duckdb_aggregate_function_set_destructor(aggregate, state_destroy);
    duckdb_aggregate_function_set_special_handling(aggregate);
    duckdb_aggregate_function_set_extra_info(aggregate, function, free);
    duckdb_state registered = duckdb_register_aggregate_function(connection->handle, aggregate);
    duckdb_destroy_aggregate_function(&aggregate);
    duckdb_destroy_logical_type(&number);
    duckdb_destroy_logical_type(&list);
    return registered == DuckDBSuccess ? OK : error_set(reterr, E_STORE, "the storage engine refuses %s", name);
}

enum status functions_register_fold(struct engine *engine, struct connection *connection, struct error *reterr)
{
    enum status status = OK;
    for (int op = 0; status == OK && op < FOLD_OP_MAX; op++)
        status = register_one((enum fold_op)op, &engine->budget, connection, reterr);
    return status;
}
