/* backend/duckdb/function_fold.c: prom_sum and its kin as aggregates over grids. The arithmetic is kernels/fold.c.
 *
 * prom_any and prom_absent are folds of FOLD_GROUP: the latter gives 1 where the fold has nothing. It is told the
 * grid's length, because it has a value also when no row has.
 */
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
    bool complement; /* prom_absent */
    struct budget *budget;
};

static idx_t state_size(duckdb_function_info info)
{
    return sizeof(struct fold_state);
}

static void state_init(duckdb_function_info info, duckdb_aggregate_state raw)
{
    const struct fold_function *function = duckdb_aggregate_function_get_extra_info(info);
    *(struct fold_state *)raw = (struct fold_state){.budget = function->budget};
}

static size_t state_bytes(enum fold_op op, uint32_t steps)
{
    return sizeof(struct fold) + fold_bytes(op, steps);
}

static void state_clear(struct fold_state *state)
{
    budget_free(state->budget, state->fold);
    state->fold = NULL;
}

/* Also called where finalize fails: the engine does not destroy those states. */
static void state_destroy(duckdb_aggregate_state *states, idx_t count)
{
    for (idx_t i = 0; i < count; i++)
        state_clear((struct fold_state *)states[i]);
}

static bool state_begin(duckdb_function_info info, struct fold_state *state, enum fold_op op, uint32_t steps)
{
    size_t bytes = state_bytes(op, steps);
    state->fold = budget_alloc(state->budget, bytes);
    if (!state->fold) {
        function_refuse_size(info, state->budget, bytes);
        return false;
    }
    fold_init(state->fold, op, steps, state->fold + 1);
    return true;
}

static bool check_conflict(duckdb_function_info info, const struct fold *fold)
{
    if (fold->conflict)
        duckdb_aggregate_function_set_error(info,
                                            ENGINE_PROMQL_FAILS "vector cannot contain metrics with the same labelset");
    return !fold->conflict;
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
    return check_conflict(info, state->fold);
}

/* prom_absent's fold is as long as its second argument says. */
static bool state_begin_complement(duckdb_function_info info, struct fold_state *state, enum fold_op op,
                                   duckdb_data_chunk input, idx_t row)
{
    duckdb_vector vector = duckdb_data_chunk_get_vector(input, 1);
    const int64_t *steps = duckdb_vector_get_data(vector);
    if (state->fold)
        return true;
    if (!is_valid(duckdb_vector_get_validity(vector), row) || steps[row] < 0 || steps[row] > FUNCTION_STEPS_MAX) {
        duckdb_aggregate_function_set_error(info, "the number of steps is not valid");
        return false;
    }
    return state_begin(info, state, op, (uint32_t)steps[row]);
}

static void state_update(duckdb_function_info info, duckdb_data_chunk input, duckdb_aggregate_state *states)
{
    const struct fold_function *function = duckdb_aggregate_function_get_extra_info(info);
    duckdb_vector vector = duckdb_data_chunk_get_vector(input, 0), child = duckdb_list_vector_get_child(vector);
    const duckdb_list_entry *lists = duckdb_vector_get_data(vector);
    const uint64_t *validity = duckdb_vector_get_validity(vector);
    const double *values = duckdb_vector_get_data(child);
    const uint64_t *values_validity = duckdb_vector_get_validity(child);
    idx_t n = duckdb_data_chunk_get_size(input);
    uint64_t longest = list_longest(lists, validity, n);
    if (longest > FUNCTION_STEPS_MAX) {
        duckdb_aggregate_function_set_error(info, "a grid is too long to be aggregated");
        return;
    }
    uint64_t *present = malloc((bits_words(longest) + 1) * sizeof *present);
    if (!present) {
        duckdb_aggregate_function_set_error(info, "no memory for the presence bits of a grid");
        return;
    }
    bool well = true;
    for (idx_t row = 0; well && row < n; row++) {
        uint32_t steps = is_valid(validity, row) ? (uint32_t)lists[row].length : 0;
        struct fold_state *state = (struct fold_state *)states[row];
        if (function->complement)
            well = state_begin_complement(info, state, function->op, input, row);
        if (well && bits_load(present, values_validity, lists[row].offset, steps) > 0)
            well = state_add(info, state, function->op, values + lists[row].offset, present, steps);
    }
    free(present);
}

static void state_combine(duckdb_function_info info, duckdb_aggregate_state *sources, duckdb_aggregate_state *targets,
                          idx_t count)
{
    for (idx_t i = 0; i < count; i++) {
        struct fold_state *from = (struct fold_state *)sources[i], *to = (struct fold_state *)targets[i];
        if (!from->fold)
            continue;
        if (!to->fold) {
            to->fold = from->fold;
            from->fold = NULL;
        } else if (to->fold->steps != from->fold->steps) {
            duckdb_aggregate_function_set_error(info, "grids of different lengths cannot be aggregated");
            return;
        } else {
            fold_merge(to->fold, from->fold);
            state_clear(from);
            if (!check_conflict(info, to->fold))
                return;
        }
    }
}

static void complement(const struct fold *fold, double *values)
{
    for (size_t word = 0; word < bits_words(fold->steps); word++)
        fold->present[word] = ~fold->present[word];
    for (uint32_t k = 0; k < fold->steps; k++)
        values[k] = 1;
}

static void state_finalize(duckdb_function_info info, duckdb_aggregate_state *states, duckdb_vector result, idx_t count,
                           idx_t offset)
{
    const struct fold_function *function = duckdb_aggregate_function_get_extra_info(info);
    uint64_t elements = 0, used = 0;
    for (idx_t i = 0; i < count; i++) {
        const struct fold *fold = ((const struct fold_state *)states[i])->fold;
        elements += fold ? fold->steps : 0;
    }
    struct list_room room;
    if (!list_room_make(result, elements, &room)) {
        duckdb_aggregate_function_set_error(info, "no memory for a result list");
        state_destroy(states, count);
        return;
    }
    for (idx_t i = 0; i < count; i++) {
        const struct fold *fold = ((const struct fold_state *)states[i])->fold;
        if (fold && function->complement)
            complement(fold, room.values + used);
        else if (fold)
            fold_finish(fold, room.values + used);
        used += list_room_put(result, &room, used, offset + i, fold ? fold->steps : 0, fold ? fold->present : NULL,
                              fold != NULL);
    }
    if (duckdb_list_vector_set_size(result, room.first + used) != DuckDBSuccess)
        duckdb_aggregate_function_set_error(info, "cannot set the size of a result list");
}

ENGINE_CALLS_STATE()
ENGINE_CALLS_FINALIZE(state_finalize)

static enum status register_one(const char *kind, struct fold_function function, struct connection *connection,
                                struct error *reterr)
{
    char name[64];
    snprintf(name, sizeof name, "prom_%s", kind);
    struct fold_function *copy = malloc(sizeof *copy);
    if (!copy)
        return error_set(reterr, E_NOMEM, "no memory to register %s", name);
    *copy = function;
    duckdb_aggregate_function aggregate = function_aggregate_new(name, function.complement ? "Di" : "D", "D");
    duckdb_aggregate_function_set_functions(aggregate, state_size, on_init, on_update, on_combine, on_state_finalize);
    duckdb_aggregate_function_set_destructor(aggregate, on_destroy);
    duckdb_aggregate_function_set_extra_info(aggregate, copy, free);
    duckdb_state registered = duckdb_register_aggregate_function(connection->handle, aggregate);
    duckdb_destroy_aggregate_function(&aggregate);
    return registered == DuckDBSuccess ? OK : error_set(reterr, E_STORE, "the storage engine refuses %s", name);
}

enum status functions_register_fold(struct engine *engine, struct connection *connection, struct error *reterr)
{
    enum status status = OK;
    for (int op = 0; status == OK && op < FOLD_OP_MAX; op++)
        status = register_one(fold_names[op], (struct fold_function){(enum fold_op)op, false, &engine->budget},
                              connection, reterr);
    if (status == OK)
        status = register_one("any", (struct fold_function){FOLD_GROUP, false, &engine->budget}, connection, reterr);
    if (status == OK)
        status = register_one("absent", (struct fold_function){FOLD_GROUP, true, &engine->budget}, connection, reterr);
    return status;
}
