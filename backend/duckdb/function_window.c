/* backend/duckdb/function_window.c: prom_rate and its kin as aggregates over samples.
 *
 * A state collects its group's samples in runs, in the order they come, and evaluates the kernel once at the end:
 * states of any partition merge by joining their runs. Runs are sorted only if they turn out not to be.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/duckdb/functions.h"
#include "backend/kernels/bits.h"
#include "base/assert.h"
#include "base/float_text.h"

#define RUN_FIRST 32u   /* samples in a state's first run */
#define RUN_MAX   4096u /* and in the largest; each is twice as long as the one before */

struct run {
    struct run *next;
    uint32_t n, capacity;
    int64_t time_ms[]; /* capacity of them, then capacity values */
};

static inline double *run_values(struct run *run)
{
    return (double *)(run->time_ms + run->capacity);
}

static inline size_t run_bytes(uint32_t capacity)
{
    return sizeof(struct run) + capacity * (sizeof(int64_t) + sizeof(double));
}

struct window_state {
    struct run *head, *tail;
    uint64_t n;
    struct budget *budget;
    struct window_grid grid;             /* of the first row */
    struct window_parameters parameters; /* likewise; scratch is set when it is evaluated */
};

/* What a registered function carries. */
struct window_function {
    const struct window_kernel *kernel;
    struct budget *budget;
};

static idx_t state_size(duckdb_function_info info)
{
    return sizeof(struct window_state);
}

static void state_init(duckdb_function_info info, duckdb_aggregate_state raw)
{
    struct window_state *state = (struct window_state *)raw;
    const struct window_function *function = duckdb_aggregate_function_get_extra_info(info);
    *state = (struct window_state){.budget = function->budget};
}

/* Also called where finalize fails: the engine does not destroy those states. */
static void state_destroy(duckdb_aggregate_state *states, idx_t count)
{
    for (idx_t i = 0; i < count; i++) {
        struct window_state *state = (struct window_state *)states[i];
        while (state->head) {
            struct run *run = state->head;
            state->head = run->next;
            budget_give_back(state->budget, run_bytes(run->capacity));
            free(run);
        }
    }
}

/* A run with room behind the state's samples, or NULL after setting an error. */
static struct run *run_with_room(duckdb_function_info info, struct window_state *state, uint32_t wanted)
{
    if (state->tail && state->tail->n < state->tail->capacity)
        return state->tail;
    uint32_t capacity = state->tail ? state->tail->capacity * 2 : wanted;
    capacity = capacity < RUN_FIRST ? RUN_FIRST : capacity > RUN_MAX ? RUN_MAX : capacity;
    size_t bytes = run_bytes(capacity);
    struct run *run = NULL;
    if (!budget_take(state->budget, bytes)) {
        function_refuse_size(info, state->budget, bytes);
        return NULL;
    }
    run = malloc(bytes);
    if (!run) {
        budget_give_back(state->budget, bytes);
        function_refuse_size(info, state->budget, bytes);
        return NULL;
    }
    run->next = NULL;
    run->n = 0;
    run->capacity = capacity;
    if (state->tail)
        state->tail->next = run;
    else
        state->head = run;
    state->tail = run;
    return run;
}

static bool state_append(duckdb_function_info info, struct window_state *state, const int64_t *time_ms,
                         const double *value, idx_t count)
{
    while (count > 0) {
        struct run *run = run_with_room(info, state, (uint32_t)count);
        if (!run)
            return false;
        uint32_t room = run->capacity - run->n, take = count < room ? (uint32_t)count : room;
        memcpy(run->time_ms + run->n, time_ms, take * sizeof *time_ms);
        memcpy(run_values(run) + run->n, value, take * sizeof *value);
        run->n += take;
        state->n += take;
        time_ms += take;
        value += take;
        count -= take;
    }
    return true;
}

#define COLUMNS_MAX (7 + FUNCTION_PARAMETERS_MAX)

/* The rows of one vector: columns as the signature has them. */
struct window_rows {
    const int64_t *time_ms;
    const double *value;
    const int64_t *start_ms, *step_ms, *steps, *window_ms;
    const bool *closed;
    struct parameter_rows parameters;
    idx_t columns;
    const uint64_t *validity[COLUMNS_MAX]; /* NULL: no nulls */
    bool has_nulls;
};

static struct window_rows rows_of(duckdb_data_chunk input, const struct window_kernel *kernel)
{
    struct window_rows rows = {.columns = duckdb_data_chunk_get_column_count(input)};
    void *data[COLUMNS_MAX];
    INVARIANT(rows.columns <= COLUMNS_MAX);
    for (idx_t i = 0; i < rows.columns; i++) {
        duckdb_vector vector = duckdb_data_chunk_get_vector(input, i);
        data[i] = duckdb_vector_get_data(vector);
        rows.validity[i] = duckdb_vector_get_validity(vector);
        rows.has_nulls = rows.has_nulls || rows.validity[i];
    }
    rows.time_ms = data[0];
    rows.value = data[1];
    rows.start_ms = data[2];
    rows.step_ms = data[3];
    rows.steps = data[4];
    rows.window_ms = data[5];
    rows.closed = data[6];
    rows.parameters = parameter_rows_of(kernel, input, 7);
    return rows;
}

static bool row_counts(const struct window_rows *rows, idx_t row, bool sees_markers)
{
    for (idx_t i = 0; rows->has_nulls && i < rows->columns; i++) {
        if (!is_valid(rows->validity[i], row))
            return false;
    }
    return sees_markers || !is_stale_marker(rows->value[row]);
}

/* Sets the state's grid and parameters at its first row. They are the same for all rows: constant in the SQL. */
static bool state_begin(duckdb_function_info info, struct window_state *state, const struct window_rows *rows,
                        const struct window_kernel *kernel, idx_t row)
{
    char message[FUNCTION_REFUSAL_MAX] = "the grid of a window function is not valid";
    if (state->n > 0)
        return true;
    state->parameters = parameter_rows_get(&rows->parameters, row);
    if (function_grid(rows->start_ms[row], rows->step_ms[row], rows->steps[row], rows->window_ms[row],
                      rows->closed[row], &state->grid) &&
        !function_parameters_refused(kernel, &state->parameters, message))
        return true;
    duckdb_aggregate_function_set_error(info, message);
    return false;
}

/* Tables are sorted by series and time for the most part, so rows of one group follow each other: they are taken as
 * slices, cut at markers and nulls. */
static void state_update(duckdb_function_info info, duckdb_data_chunk input, duckdb_aggregate_state *states)
{
    const struct window_function *function = duckdb_aggregate_function_get_extra_info(info);
    bool sees_markers = function->kernel->sees_markers;
    struct window_rows rows = rows_of(input, function->kernel);
    idx_t n = duckdb_data_chunk_get_size(input);
    for (idx_t row = 0; row < n;) {
        if (!row_counts(&rows, row, sees_markers)) {
            row++;
            continue;
        }
        idx_t end = row + 1;
        while (end < n && states[end] == states[row] && row_counts(&rows, end, sees_markers))
            end++;
        struct window_state *state = (struct window_state *)states[row];
        if (!state_begin(info, state, &rows, function->kernel, row) ||
            !state_append(info, state, rows.time_ms + row, rows.value + row, end - row))
            return;
        row = end;
    }
}

static void state_combine(duckdb_function_info info, duckdb_aggregate_state *sources, duckdb_aggregate_state *targets,
                          idx_t count)
{
    for (idx_t i = 0; i < count; i++) {
        struct window_state *from = (struct window_state *)sources[i], *to = (struct window_state *)targets[i];
        if (from->n == 0)
            continue;
        if (to->n == 0) {
            struct window_state empty = *to;
            *to = *from;
            *from = empty;
            continue;
        }
        to->tail->next = from->head;
        to->tail = from->tail;
        to->n += from->n;
        from->head = from->tail = NULL;
        from->n = 0;
    }
}

/* --- the end: gather, sort if need be, evaluate --- */

struct scratch {
    int64_t *time_ms; /* room for two states' worth: the second half is for merging */
    double *value;
    size_t capacity;
    uint64_t *present;
};

static size_t longest_state(duckdb_aggregate_state *states, idx_t count)
{
    size_t most = 0;
    for (idx_t i = 0; i < count; i++) {
        size_t n = ((const struct window_state *)states[i])->n;
        most = n > most ? n : most;
    }
    return most;
}

/* Merges [from, middle) and [middle, to) of the samples into the scratch's second half and copies them back. */
static void merge_neighbours(struct scratch *s, size_t from, size_t middle, size_t to)
{
    int64_t *time_out = s->time_ms + s->capacity;
    double *value_out = s->value + s->capacity;
    size_t a = from, b = middle, n = 0;
    while (a < middle || b < to) {
        size_t *at = b == to || (a < middle && s->time_ms[a] <= s->time_ms[b]) ? &a : &b;
        time_out[n] = s->time_ms[*at];
        value_out[n++] = s->value[*at];
        ++*at;
    }
    memcpy(s->time_ms + from, time_out, n * sizeof *time_out);
    memcpy(s->value + from, value_out, n * sizeof *value_out);
}

static size_t ascent_end(const struct scratch *s, size_t from, size_t n)
{
    size_t end = from + 1;
    while (end < n && s->time_ms[end - 1] <= s->time_ms[end])
        end++;
    return end;
}

/* Natural merge sort: one pass when all is in order, as it nearly always is. */
static void sort_samples(struct scratch *s, size_t n)
{
    for (size_t first_end = n ? ascent_end(s, 0, n) : 0; first_end < n; first_end = ascent_end(s, 0, n)) {
        size_t from = 0, middle = first_end;
        while (middle < n) {
            size_t to = ascent_end(s, middle, n);
            merge_neighbours(s, from, middle, to);
            from = to;
            middle = from < n ? ascent_end(s, from, n) : n;
        }
    }
}

static struct samples gather(struct scratch *s, const struct window_state *state)
{
    size_t n = 0;
    for (struct run *run = state->head; run; run = run->next) {
        memcpy(s->time_ms + n, run->time_ms, run->n * sizeof *s->time_ms);
        memcpy(s->value + n, run_values(run), run->n * sizeof *s->value);
        n += run->n;
    }
    sort_samples(s, n);
    return (struct samples){s->time_ms, s->value, n};
}

static bool scratch_init(struct scratch *s, size_t samples, size_t steps)
{
    s->capacity = samples;
    s->time_ms = malloc((2 * samples + 1) * sizeof *s->time_ms);
    s->value = malloc((2 * samples + 1) * sizeof *s->value);
    s->present = malloc((bits_words(steps) + 1) * sizeof *s->present);
    return s->time_ms && s->value && s->present;
}

static void scratch_release(struct scratch *s)
{
    free(s->time_ms);
    free(s->value);
    free(s->present);
}

static uint64_t steps_of_all(duckdb_aggregate_state *states, idx_t count, uint32_t *ret_longest)
{
    uint64_t sum = 0;
    *ret_longest = 0;
    for (idx_t i = 0; i < count; i++) {
        const struct window_state *state = (const struct window_state *)states[i];
        uint32_t steps = state->n ? state->grid.steps : 0;
        sum += steps;
        *ret_longest = steps > *ret_longest ? steps : *ret_longest;
    }
    return sum;
}

static void state_finalize(duckdb_function_info info, duckdb_aggregate_state *states, duckdb_vector result, idx_t count,
                           idx_t offset)
{
    const struct window_function *function = duckdb_aggregate_function_get_extra_info(info);
    uint32_t longest;
    uint64_t elements = steps_of_all(states, count, &longest);
    struct list_room room;
    struct scratch scratch;
    if (!scratch_init(&scratch, longest_state(states, count), longest) || !list_room_make(result, elements, &room)) {
        scratch_release(&scratch);
        function_refuse_size(info, function->budget, elements * sizeof(double));
        state_destroy(states, count);
        return;
    }
    uint64_t used = 0;
    for (idx_t i = 0; i < count; i++) {
        const struct window_state *state = (const struct window_state *)states[i];
        uint32_t present_n = 0;
        if (state->n > 0) {
            struct samples samples = gather(&scratch, state);
            struct window_parameters parameters = state->parameters;
            parameters.scratch = scratch.value + scratch.capacity; /* no more needed once sorted */
            present_n = function->kernel->run(&state->grid, &parameters, &samples, room.values + used, scratch.present);
        }
        used += list_room_put(result, &room, used, offset + i, state->grid.steps, scratch.present, present_n);
    }
    if (duckdb_list_vector_set_size(result, room.first + used) != DuckDBSuccess)
        duckdb_aggregate_function_set_error(info, "cannot set the size of a result list");
    scratch_release(&scratch);
}

/* --- registering --- */

/* The engine's calls (functions.h: HANDED_OVER). */
static void on_init(duckdb_function_info info, duckdb_aggregate_state state)
{
    HANDED_OVER(state_init(info, state));
}

static void on_update(duckdb_function_info info, duckdb_data_chunk input, duckdb_aggregate_state *states)
{
    HANDED_OVER(state_update(info, input, states));
}

static void on_combine(duckdb_function_info info, duckdb_aggregate_state *sources, duckdb_aggregate_state *targets,
                       idx_t count)
{
    HANDED_OVER(state_combine(info, sources, targets, count));
}

static void on_finalize(duckdb_function_info info, duckdb_aggregate_state *states, duckdb_vector result, idx_t count,
                        idx_t offset)
{
    HANDED_OVER(state_finalize(info, states, result, count, offset));
}

static void on_destroy(duckdb_aggregate_state *states, idx_t count)
{
    HANDED_OVER(state_destroy(states, count));
}

static enum status register_one(const struct window_function *function, struct connection *connection,
                                struct error *reterr)
{
    char name[64], parameters[16];
    snprintf(name, sizeof name, "prom_%s", function->kernel->name);
    snprintf(parameters, sizeof parameters, "idiiiib%s", function->kernel->parameters);
    struct window_function *copy = malloc(sizeof *copy);
    if (!copy)
        return error_set(reterr, E_NOMEM, "no memory to register %s", name);
    *copy = *function;
    duckdb_aggregate_function aggregate = function_aggregate_new(name, parameters, "D");
    duckdb_aggregate_function_set_functions(aggregate, state_size, on_init, on_update, on_combine, on_finalize);
    duckdb_aggregate_function_set_destructor(aggregate, on_destroy);
    duckdb_aggregate_function_set_extra_info(aggregate, copy, free);
    duckdb_state registered = duckdb_register_aggregate_function(connection->handle, aggregate);
    duckdb_destroy_aggregate_function(&aggregate);
    return registered == DuckDBSuccess ? OK : error_set(reterr, E_STORE, "the storage engine refuses %s", name);
}

enum status functions_register_window(struct engine *engine, struct connection *connection, struct error *reterr)
{
    enum status status = OK;
    for (int i = 0; status == OK && i < KERNEL_MAX; i++) {
        struct window_function function = {&window_kernels[i], &engine->budget};
        status = register_one(&function, connection, reterr);
    }
    return status;
}
