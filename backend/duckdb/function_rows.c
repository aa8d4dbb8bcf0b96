/* backend/duckdb/function_rows.c: aggregates that must see all rows of a group: quantile, topk, bottomk, count_values.
 *
 * A state keeps the rows that have any value; states merge by joining their rows. topk and bottomk strike out, now and
 * then, what the rows seen so far already rule out, so that they keep no more than the winners of each step.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backend/duckdb/functions.h"
#include "backend/kernels/bits.h"
#include "backend/kernels/select.h"
#include "base/assert.h"
#include "base/float_text.h"

#define PRUNE_FIRST 256 /* rows of a topk before it strikes out for the first time */

enum rows_op {
    ROWS_QUANTILE,
    ROWS_TOPK,
    ROWS_BOTTOMK,
    ROWS_COUNT_VALUES
};

struct rows_function {
    enum rows_op op;
    bool parameter_list; /* the parameter is DOUBLE[] */
    struct budget *budget;
};

struct kept_row {
    struct kept_row *next;
    int64_t rank;
    double values[]; /* steps of them, then the words of presence bits */
};

struct rows_state {
    struct kept_row *head, *tail;
    uint64_t n, prune_at;
    uint32_t steps, parameter_n;
    double *parameter; /* phi or k: one, or one per step */
    struct budget *budget;
};

static inline uint64_t *row_present(struct kept_row *row, uint32_t steps)
{
    return (uint64_t *)(row->values + steps);
}

static size_t row_bytes(uint32_t steps)
{
    return sizeof(struct kept_row) + steps * sizeof(double) + bits_words(steps) * sizeof(uint64_t);
}

static idx_t state_size(duckdb_function_info info)
{
    return sizeof(struct rows_state);
}

static void state_init(duckdb_function_info info, duckdb_aggregate_state raw)
{
    const struct rows_function *function = duckdb_aggregate_function_get_extra_info(info);
    *(struct rows_state *)raw = (struct rows_state){.budget = function->budget, .prune_at = PRUNE_FIRST};
}

/* Also called where finalize fails: the engine does not destroy those states. */
static void state_destroy(duckdb_aggregate_state *states, idx_t count)
{
    for (idx_t i = 0; i < count; i++) {
        struct rows_state *state = (struct rows_state *)states[i];
        while (state->head) {
            struct kept_row *row = state->head;
            state->head = row->next;
            budget_free(state->budget, row);
        }
        state->tail = NULL;
        state->n = 0;
        budget_free(state->budget, state->parameter);
        state->parameter = NULL;
    }
}

static void refuse(duckdb_function_info info, const char *message)
{
    duckdb_aggregate_function_set_error(info, message);
}

/* Memory for working on states, refused like that of the states themselves. Free with give_back. */
static void *borrow(duckdb_function_info info, struct budget *budget, size_t bytes)
{
    void *memory = budget_take(budget, bytes) ? malloc(bytes ? bytes : 1) : NULL;
    if (!memory)
        function_refuse_size(info, budget, bytes);
    return memory;
}

static void give_back(struct budget *budget, void *memory, size_t bytes)
{
    if (memory)
        budget_give_back(budget, bytes);
    free(memory);
}

/* --- striking out: topk and bottomk --- */

static double parameter_of(const struct rows_state *state, uint32_t k)
{
    return state->parameter[state->parameter_n > 1 ? k : 0];
}

/* Leaves the winners of one step. */
static void prune_step(struct rows_state *state, uint32_t k, bool least, struct kept_row **rows,
                       struct select_candidate *candidates)
{
    size_t n = 0, count = 0;
    for (size_t i = 0; i < state->n; i++) {
        if (bits_get(row_present(rows[i], state->steps), k))
            candidates[n++] = (struct select_candidate){rows[i]->values[k], rows[i]->rank, i};
    }
    if (n == 0)
        return;
    bool counts = select_count(parameter_of(state, k), &count);
    INVARIANT(counts); /* check_counts */
    for (size_t i = select_top(candidates, n, count, least); i < n; i++)
        row_present(rows[candidates[i].row], state->steps)[k / 64] &= ~(UINT64_C(1) << (k % 64));
}

static bool row_has_any(struct kept_row *row, uint32_t steps)
{
    for (size_t word = 0; word < bits_words(steps); word++) {
        if (row_present(row, steps)[word])
            return true;
    }
    return false;
}

static void drop_losers(struct rows_state *state, struct kept_row **rows)
{
    size_t n = state->n;
    struct kept_row **link = &state->head;
    state->tail = NULL;
    state->n = 0;
    for (size_t i = 0; i < n; i++) {
        if (!row_has_any(rows[i], state->steps)) {
            budget_free(state->budget, rows[i]);
            continue;
        }
        *link = state->tail = rows[i];
        link = &rows[i]->next;
        state->n++;
    }
    *link = NULL;
}

static bool prune(duckdb_function_info info, struct rows_state *state, bool least)
{
    size_t bytes = state->n * (sizeof(struct kept_row *) + sizeof(struct select_candidate));
    struct select_candidate *candidates = borrow(info, state->budget, bytes);
    if (!candidates)
        return false;
    struct kept_row **rows = (struct kept_row **)(candidates + state->n);
    size_t n = 0;
    for (struct kept_row *row = state->head; row; row = row->next)
        rows[n++] = row;
    for (uint32_t k = 0; k < state->steps; k++)
        prune_step(state, k, least, rows, candidates);
    drop_losers(state, rows);
    give_back(state->budget, candidates, bytes);
    state->prune_at = 2 * state->n > PRUNE_FIRST ? 2 * state->n : PRUNE_FIRST;
    return true;
}

static bool prune_if_many(duckdb_function_info info, struct rows_state *state, enum rows_op op)
{
    return (op != ROWS_TOPK && op != ROWS_BOTTOMK) || state->n < state->prune_at ||
           prune(info, state, op == ROWS_BOTTOMK);
}

/* --- taking rows in --- */

struct rows_input {
    const struct rows_function *function;
    const duckdb_list_entry *lists;
    const uint64_t *validity, *elements; /* of the lists, of their elements */
    const double *values;
    duckdb_vector parameter;
    const int64_t *rank;
    uint64_t *present; /* scratch */
};

/* NULL parameters are NaN. */
static double parameter_at(const double *values, const uint64_t *validity, uint64_t at)
{
    return is_valid(validity, at) ? values[at] : NAN;
}

/* The group's parameter, from its first row. */
static bool take_parameter(duckdb_function_info info, struct rows_state *state, const struct rows_input *in, idx_t row)
{
    bool list = in->function->parameter_list;
    const uint64_t *validity = duckdb_vector_get_validity(in->parameter);
    duckdb_list_entry entry = {row, 1};
    duckdb_vector from = in->parameter;
    if (list && is_valid(validity, row)) {
        entry = ((const duckdb_list_entry *)duckdb_vector_get_data(in->parameter))[row];
        from = duckdb_list_vector_get_child(in->parameter);
    }
    if (list && entry.length != state->steps) {
        refuse(info, "grids of different lengths cannot be aggregated");
        return false;
    }
    size_t bytes = (entry.length + 1) * sizeof *state->parameter;
    state->parameter = budget_alloc(state->budget, bytes);
    if (!state->parameter) {
        function_refuse_size(info, state->budget, bytes);
        return false;
    }
    const double *values = duckdb_vector_get_data(from);
    for (uint64_t i = 0; i < entry.length; i++)
        state->parameter[i] = parameter_at(values, duckdb_vector_get_validity(from), entry.offset + i);
    state->parameter_n = (uint32_t)entry.length;
    return true;
}

static bool state_begin(duckdb_function_info info, struct rows_state *state, const struct rows_input *in, idx_t row)
{
    uint32_t steps = (uint32_t)in->lists[row].length;
    if (state->n > 0 && state->steps != steps) {
        refuse(info, "grids of different lengths cannot be aggregated");
        return false;
    }
    if (state->n > 0)
        return true;
    state->steps = steps;
    return !in->parameter || state->parameter || take_parameter(info, state, in, row);
}

/* topk and bottomk fail where there is a value and k is no integer. */
static bool check_counts(duckdb_function_info info, const struct rows_state *state, const struct rows_input *in)
{
    size_t count;
    if (in->function->op != ROWS_TOPK && in->function->op != ROWS_BOTTOMK)
        return true;
    for (uint32_t k = 0; k < state->steps; k++) {
        if (bits_get(in->present, k) && !select_count(parameter_of(state, k), &count)) {
            refuse(info, ENGINE_PROMQL_FAILS "the parameter of topk or bottomk overflows int64");
            return false;
        }
    }
    return true;
}

static bool state_add(duckdb_function_info info, struct rows_state *state, const struct rows_input *in, idx_t row)
{
    if (!state_begin(info, state, in, row) || !check_counts(info, state, in))
        return false;
    struct kept_row *kept = budget_alloc(state->budget, row_bytes(state->steps));
    if (!kept) {
        function_refuse_size(info, state->budget, row_bytes(state->steps));
        return false;
    }
    kept->next = NULL;
    kept->rank = in->rank ? in->rank[row] : 0;
    memcpy(kept->values, in->values + in->lists[row].offset, state->steps * sizeof *kept->values);
    memcpy(row_present(kept, state->steps), in->present, bits_words(state->steps) * sizeof *in->present);
    if (state->tail)
        state->tail->next = kept;
    else
        state->head = kept;
    state->tail = kept;
    state->n++;
    return prune_if_many(info, state, in->function->op);
}

static struct rows_input rows_input_of(const struct rows_function *function, duckdb_data_chunk input)
{
    duckdb_vector list = duckdb_data_chunk_get_vector(input, 0), child = duckdb_list_vector_get_child(list);
    idx_t columns = duckdb_data_chunk_get_column_count(input);
    return (struct rows_input){
        .function = function,
        .lists = duckdb_vector_get_data(list),
        .validity = duckdb_vector_get_validity(list),
        .values = duckdb_vector_get_data(child),
        .elements = duckdb_vector_get_validity(child),
        .parameter = columns > 1 ? duckdb_data_chunk_get_vector(input, 1) : NULL,
        .rank = columns > 2 ? duckdb_vector_get_data(duckdb_data_chunk_get_vector(input, 2)) : NULL,
    };
}

static void state_update(duckdb_function_info info, duckdb_data_chunk input, duckdb_aggregate_state *states)
{
    struct rows_input in = rows_input_of(duckdb_aggregate_function_get_extra_info(info), input);
    idx_t n = duckdb_data_chunk_get_size(input);
    uint64_t longest = list_longest(in.lists, in.validity, n);
    if (longest > FUNCTION_STEPS_MAX) {
        refuse(info, "a grid is too long to be aggregated");
        return;
    }
    in.present = malloc((bits_words(longest) + 1) * sizeof *in.present);
    if (!in.present) {
        refuse(info, "no memory for the presence bits of a grid");
        return;
    }
    bool well = true;
    for (idx_t row = 0; well && row < n; row++) {
        if (is_valid(in.validity, row) &&
            bits_load(in.present, in.elements, in.lists[row].offset, in.lists[row].length) > 0)
            well = state_add(info, (struct rows_state *)states[row], &in, row);
    }
    free(in.present);
}

static void state_combine(duckdb_function_info info, duckdb_aggregate_state *sources, duckdb_aggregate_state *targets,
                          idx_t count)
{
    const struct rows_function *function = duckdb_aggregate_function_get_extra_info(info);
    for (idx_t i = 0; i < count; i++) {
        struct rows_state *from = (struct rows_state *)sources[i], *to = (struct rows_state *)targets[i];
        if (from->n == 0)
            continue;
        if (to->n == 0) {
            struct rows_state empty = *to;
            *to = *from;
            *from = empty;
            continue;
        }
        if (to->steps != from->steps) {
            refuse(info, "grids of different lengths cannot be aggregated");
            return;
        }
        to->tail->next = from->head;
        to->tail = from->tail;
        to->n += from->n;
        from->head = from->tail = NULL;
        from->n = 0;
        if (!prune_if_many(info, to, function->op))
            return;
    }
}

/* --- quantile --- */

static uint32_t finish_quantile(const struct rows_state *state, double *column, double *values, uint64_t *present)
{
    uint32_t present_n = 0;
    memset(present, 0, bits_words(state->steps) * sizeof *present);
    for (uint32_t k = 0; k < state->steps; k++) {
        size_t n = 0;
        for (struct kept_row *row = state->head; row; row = row->next) {
            if (bits_get(row_present(row, state->steps), k))
                column[n++] = row->values[k];
        }
        values[k] = n ? select_quantile(parameter_of(state, k), column, n) : 0;
        if (n) {
            bits_set(present, k);
            present_n++;
        }
    }
    return present_n;
}

static void quantile_finalize(duckdb_function_info info, duckdb_aggregate_state *states, duckdb_vector result,
                              idx_t count, idx_t offset)
{
    const struct rows_function *function = duckdb_aggregate_function_get_extra_info(info);
    uint64_t elements = 0, used = 0, most = 0, longest = 0;
    for (idx_t i = 0; i < count; i++) {
        const struct rows_state *state = (const struct rows_state *)states[i];
        elements += state->steps;
        most = state->n > most ? state->n : most;
        longest = state->steps > longest ? state->steps : longest;
    }
    size_t bytes = most * sizeof(double) + bits_words(longest) * sizeof(uint64_t);
    double *column = borrow(info, function->budget, bytes);
    struct list_room room;
    if (column && list_room_make(result, elements, &room)) {
        uint64_t *present = (uint64_t *)(column + most);
        for (idx_t i = 0; i < count; i++) {
            const struct rows_state *state = (const struct rows_state *)states[i];
            uint32_t present_n = state->n ? finish_quantile(state, column, room.values + used, present) : 0;
            used += list_room_put(result, &room, used, offset + i, state->steps, present, present_n);
        }
        duckdb_list_vector_set_size(result, room.first + used);
    } else {
        if (column)
            function_refuse_size(info, function->budget, elements * sizeof(double));
        state_destroy(states, count);
    }
    give_back(function->budget, column, bytes);
}

/* --- lists of structs, of topk, bottomk and count_values --- */

struct rows_out {
    duckdb_vector result, first; /* first: the struct's first member */
    duckdb_vector lists;         /* its second */
    uint64_t rows;               /* of the result's child vector, so far */
    uint64_t used;               /* elements of lists */
    struct list_room room;
};

static bool rows_out_begin(struct rows_out *out, duckdb_vector result, uint64_t rows, uint64_t elements)
{
    *out = (struct rows_out){.result = result, .rows = duckdb_list_vector_get_size(result)};
    if (duckdb_list_vector_reserve(result, out->rows + rows) != DuckDBSuccess)
        return false;
    duckdb_vector child = duckdb_list_vector_get_child(result);
    duckdb_vector_ensure_validity_writable(result);
    out->first = duckdb_struct_vector_get_child(child, 0);
    out->lists = duckdb_struct_vector_get_child(child, 1);
    return list_room_make(out->lists, elements, &out->room);
}

/* The lists from `from` on are those of row `row`; none: NULL. */
static void rows_out_close(struct rows_out *out, uint64_t from, idx_t row)
{
    ((duckdb_list_entry *)duckdb_vector_get_data(out->result))[row] = (duckdb_list_entry){from, out->rows - from};
    if (out->rows == from)
        duckdb_validity_set_row_invalid(duckdb_vector_get_validity(out->result), row);
}

static void rows_out_end(struct rows_out *out)
{
    duckdb_list_vector_set_size(out->lists, out->room.first + out->used);
    duckdb_list_vector_set_size(out->result, out->rows);
}

static void top_finalize(duckdb_function_info info, duckdb_aggregate_state *states, duckdb_vector result, idx_t count,
                         idx_t offset)
{
    const struct rows_function *function = duckdb_aggregate_function_get_extra_info(info);
    uint64_t rows = 0, elements = 0;
    for (idx_t i = 0; i < count; i++) {
        struct rows_state *state = (struct rows_state *)states[i];
        if (state->n > 0 && !prune(info, state, function->op == ROWS_BOTTOMK)) {
            state_destroy(states, count);
            return;
        }
        rows += state->n;
        elements += state->n * state->steps;
    }
    struct rows_out out;
    if (!rows_out_begin(&out, result, rows, elements)) {
        function_refuse_size(info, function->budget, elements * sizeof(double));
        state_destroy(states, count);
        return;
    }
    for (idx_t i = 0; i < count; i++) {
        const struct rows_state *state = (const struct rows_state *)states[i];
        uint64_t from = out.rows;
        for (struct kept_row *row = state->head; row; row = row->next) {
            memcpy(out.room.values + out.used, row->values, state->steps * sizeof *row->values);
            ((int64_t *)duckdb_vector_get_data(out.first))[out.rows] = row->rank;
            out.used += list_room_put(out.lists, &out.room, out.used, out.rows, state->steps,
                                      row_present(row, state->steps), state->steps);
            out.rows++;
        }
        rows_out_close(&out, from, offset + i);
    }
    rows_out_end(&out);
}

/* --- count_values --- */

/* A value that occurs at a step. The bits tell -0 from 0, whose texts differ; all NaN are one. */
struct occurrence {
    uint64_t bits;
    uint32_t step;
};

static int compare_occurrences(const void *a, const void *b)
{
    uint64_t x = ((const struct occurrence *)a)->bits, y = ((const struct occurrence *)b)->bits;
    return (x > y) - (x < y);
}

static size_t occurrences_of(const struct rows_state *state, struct occurrence *all)
{
    size_t n = 0;
    for (struct kept_row *row = state->head; row; row = row->next) {
        const uint64_t *present = row_present(row, state->steps);
        for (uint32_t k = 0; k < state->steps; k++) {
            double value = row->values[k];
            if (bits_get(present, k))
                all[n++] = (struct occurrence){isnan(value) ? NORMAL_NAN_BITS : double_bits(value), k};
        }
    }
    qsort(all, n, sizeof *all, compare_occurrences);
    return n;
}

static size_t distinct_values(const struct occurrence *all, size_t n)
{
    size_t distinct = 0;
    for (size_t i = 0; i < n; i++)
        distinct += i == 0 || all[i].bits != all[i - 1].bits;
    return distinct;
}

/* Writes one row per value. */
static void put_counts(struct rows_out *out, const struct occurrence *all, size_t n, uint32_t steps, uint64_t *present)
{
    for (size_t i = 0; i < n;) {
        uint64_t bits = all[i].bits;
        double *counts = out->room.values + out->used;
        memset(counts, 0, steps * sizeof *counts);
        memset(present, 0, bits_words(steps) * sizeof *present);
        for (; i < n && all[i].bits == bits; i++) {
            counts[all[i].step] += 1;
            bits_set(present, all[i].step);
        }
        char text[FLOAT_TEXT_MAX];
        size_t length = float_text_plain(text, double_from_bits(bits));
        duckdb_vector_assign_string_element_len(out->first, out->rows, text, length);
        out->used += list_room_put(out->lists, &out->room, out->used, out->rows, steps, present, steps);
        out->rows++;
    }
}

/* The occurrences of one state; the lists they become are counted against the budget too, for their number is not
 * bounded by what came in. */
static bool finish_counts(duckdb_function_info info, const struct rows_state *state, duckdb_vector result, idx_t row)
{
    size_t capacity = state->n * state->steps, words = bits_words(state->steps);
    size_t bytes = capacity * sizeof(struct occurrence) + words * sizeof(uint64_t);
    struct occurrence *all = borrow(info, state->budget, bytes);
    if (!all)
        return false;
    size_t n = occurrences_of(state, all), distinct = distinct_values(all, n);
    uint64_t elements = distinct * state->steps, out_bytes = elements * (sizeof(double) + 1);
    struct rows_out out;
    bool well = budget_take(state->budget, out_bytes);
    if (well) {
        budget_give_back(state->budget, out_bytes);
        well = rows_out_begin(&out, result, distinct, elements);
    }
    if (well) {
        uint64_t from = out.rows;
        put_counts(&out, all, n, state->steps, (uint64_t *)(all + capacity));
        rows_out_close(&out, from, row);
        rows_out_end(&out);
    } else {
        function_refuse_size(info, state->budget, out_bytes);
    }
    give_back(state->budget, all, bytes);
    return well;
}

static void counts_finalize(duckdb_function_info info, duckdb_aggregate_state *states, duckdb_vector result,
                            idx_t count, idx_t offset)
{
    bool well = true;
    for (idx_t i = 0; well && i < count; i++)
        well = finish_counts(info, (const struct rows_state *)states[i], result, offset + i);
    if (!well)
        state_destroy(states, count);
}

/* --- registering --- */

ENGINE_CALLS_STATE()
ENGINE_CALLS_FINALIZE(quantile_finalize)
ENGINE_CALLS_FINALIZE(top_finalize)
ENGINE_CALLS_FINALIZE(counts_finalize)

struct rows_row {
    const char *name, *parameters, *result;
    enum rows_op op;
    duckdb_aggregate_finalize_t finalize;
};

static bool add_to_set(duckdb_aggregate_function_set set, const struct rows_row *row, struct budget *budget)
{
    struct rows_function *function = malloc(sizeof *function);
    if (!function)
        return false;
    *function = (struct rows_function){row->op, row->parameters[1] == 'D', budget};
    duckdb_aggregate_function aggregate = function_aggregate_new(row->name, row->parameters, row->result);
    duckdb_aggregate_function_set_functions(aggregate, state_size, on_init, on_update, on_combine, row->finalize);
    duckdb_aggregate_function_set_destructor(aggregate, on_destroy);
    duckdb_aggregate_function_set_extra_info(aggregate, function, free);
    duckdb_state added = duckdb_add_aggregate_function_to_set(set, aggregate);
    duckdb_destroy_aggregate_function(&aggregate);
    return added == DuckDBSuccess;
}

enum status functions_register_rows(struct engine *engine, struct connection *connection, struct error *reterr)
{
    static const struct rows_row ROWS[] = {
        {"prom_quantile", "Dd", "D", ROWS_QUANTILE, on_quantile_finalize},
        {"prom_quantile", "DD", "D", ROWS_QUANTILE, on_quantile_finalize},
        {"prom_topk", "Ddi", "R", ROWS_TOPK, on_top_finalize},
        {"prom_topk", "DDi", "R", ROWS_TOPK, on_top_finalize},
        {"prom_bottomk", "Ddi", "R", ROWS_BOTTOMK, on_top_finalize},
        {"prom_bottomk", "DDi", "R", ROWS_BOTTOMK, on_top_finalize},
        {"prom_count_values", "D", "T", ROWS_COUNT_VALUES, on_counts_finalize},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(ROWS);) {
        const char *name = ROWS[i].name;
        duckdb_aggregate_function_set set = duckdb_create_aggregate_function_set(name);
        bool well = true;
        for (; i < ARRAY_LENGTH(ROWS) && strcmp(ROWS[i].name, name) == 0; i++)
            well = well && add_to_set(set, &ROWS[i], &engine->budget);
        well = well && duckdb_register_aggregate_function_set(connection->handle, set) == DuckDBSuccess;
        duckdb_destroy_aggregate_function_set(&set);
        if (!well)
            return error_set(reterr, E_STORE, "the storage engine refuses %s", name);
    }
    return OK;
}
