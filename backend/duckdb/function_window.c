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

/* Runs are small and of one size, so that the ends of ten thousand series growing side by side lie close together: on
 * unsorted tables every row goes to another series. The first is smaller still, for a series may have one sample. */
#define RUN_FIRST 8u /* samples */
#define RUN_LATER 63u

struct run {
    struct run *next;
    uint32_t n; /* set when the run is closed, see state_close */
    uint32_t capacity;
    struct sample at[];
};

static inline size_t run_bytes(uint32_t capacity)
{
    return sizeof(struct run) + capacity * sizeof(struct sample);
}

struct window_state {
    struct sample *next, *end; /* where the tail's next sample goes, and where the tail ends */
    struct run *head, *tail;
    struct budget *budget;
    struct window_grid grid; /* of the first row */
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
    ENGINE_TAKES();
    struct window_state *state = (struct window_state *)raw;
    const struct window_function *function = duckdb_aggregate_function_get_extra_info(info);
    *state = (struct window_state){.budget = function->budget};
    ENGINE_GIVES();
}

static void state_destroy(duckdb_aggregate_state *states, idx_t count)
{
    ENGINE_TAKES();
    for (idx_t i = 0; i < count; i++) {
        struct window_state *state = (struct window_state *)states[i];
        while (state->head) {
            struct run *run = state->head;
            state->head = run->next;
            budget_give_back(state->budget, run_bytes(run->capacity));
            free(run);
        }
    }
    ENGINE_GIVES();
}

static void refuse_size(duckdb_function_info info, const struct budget *budget, uint64_t bytes)
{
    char message[256];
    snprintf(message, sizeof message,
             ENGINE_TOO_MANY_SAMPLES ": functions need another %llu bytes and may hold %llu in all",
             (unsigned long long)bytes, (unsigned long long)budget->max_bytes);
    duckdb_aggregate_function_set_error(info, message);
}

/* Notes in the tail how full it is. */
static void state_close(struct window_state *state)
{
    if (state->tail)
        state->tail->n = (uint32_t)(state->next - state->tail->at);
}

/* Gives the state a new tail; false after setting an error. */
static bool state_grow(duckdb_function_info info, struct window_state *state)
{
    uint32_t capacity = state->tail ? RUN_LATER : RUN_FIRST;
    size_t bytes = run_bytes(capacity);
    bool granted = budget_take(state->budget, bytes);
    struct run *run = granted ? malloc(bytes) : NULL;
    if (!run) {
        if (granted)
            budget_give_back(state->budget, bytes);
        refuse_size(info, state->budget, bytes);
        return false;
    }
    state_close(state);
    run->next = NULL;
    run->n = 0;
    run->capacity = capacity;
    if (state->tail)
        state->tail->next = run;
    else
        state->head = run;
    state->tail = run;
    state->next = run->at;
    state->end = run->at + capacity;
    return true;
}

static bool state_append(duckdb_function_info info, struct window_state *state, const int64_t *time_ms,
                         const double *value, idx_t count)
{
    for (idx_t i = 0; i < count; i++) {
        if (state->next == state->end && !state_grow(info, state))
            return false;
        *state->next++ = (struct sample){time_ms[i], value[i]};
    }
    return true;
}

/* The rows of one vector: columns as the signature has them. */
struct window_rows {
    const int64_t *time_ms;
    const double *value;
    const int64_t *start_ms, *step_ms, *steps, *window_ms;
    const bool *closed;
    const uint64_t *validity[7]; /* NULL: no nulls */
    bool has_nulls;
};

static struct window_rows rows_of(duckdb_data_chunk input)
{
    struct window_rows rows = {.has_nulls = false};
    void *data[7];
    for (idx_t i = 0; i < 7; i++) {
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
    return rows;
}

static bool row_counts(const struct window_rows *rows, idx_t row, bool sees_markers)
{
    for (int i = 0; rows->has_nulls && i < 7; i++) {
        if (!is_valid(rows->validity[i], row))
            return false;
    }
    return sees_markers || !is_stale_marker(rows->value[row]);
}

bool function_grid(int64_t start_ms, int64_t step_ms, int64_t steps, int64_t window_ms, bool closed,
                   struct window_grid *ret_grid)
{
    if (steps < 1 || steps > FUNCTION_STEPS_MAX)
        return false;
    *ret_grid = (struct window_grid){start_ms, step_ms, (uint32_t)steps, window_ms, closed};
    return window_grid_is_valid(ret_grid);
}

/* Sets the state's grid at its first row. The grid is the same for all rows: it is constant in the SQL. */
static bool state_begin(duckdb_function_info info, struct window_state *state, const struct window_rows *rows,
                        idx_t row)
{
    if (state->head || function_grid(rows->start_ms[row], rows->step_ms[row], rows->steps[row], rows->window_ms[row],
                                     rows->closed[row], &state->grid))
        return true;
    duckdb_aggregate_function_set_error(info, "the grid of a window function is not valid");
    return false;
}

/* In sorted tables rows of one group follow each other: they are taken as slices, cut at markers and nulls. In tables
 * as ingested each row is of another group, and what takes time is fetching where its sample goes: hence the prefetch.
 */
#define AHEAD 12

static void state_update(duckdb_function_info info, duckdb_data_chunk input, duckdb_aggregate_state *states)
{
    ENGINE_TAKES();
    const struct window_function *function = duckdb_aggregate_function_get_extra_info(info);
    bool sees_markers = function->kernel->sees_markers;
    struct window_rows rows = rows_of(input);
    idx_t n = duckdb_data_chunk_get_size(input);
    for (idx_t row = 0; row < n;) {
        if (row + AHEAD < n)
            __builtin_prefetch(((const struct window_state *)states[row + AHEAD])->next, 1);
        if (!row_counts(&rows, row, sees_markers)) {
            row++;
            continue;
        }
        idx_t end = row + 1;
        while (end < n && states[end] == states[row] && row_counts(&rows, end, sees_markers))
            end++;
        struct window_state *state = (struct window_state *)states[row];
        if (!state_begin(info, state, &rows, row) ||
            !state_append(info, state, rows.time_ms + row, rows.value + row, end - row))
            break;
        row = end;
    }
    ENGINE_GIVES();
}

static void state_combine(duckdb_function_info info, duckdb_aggregate_state *sources, duckdb_aggregate_state *targets,
                          idx_t count)
{
    ENGINE_TAKES();
    for (idx_t i = 0; i < count; i++) {
        struct window_state *from = (struct window_state *)sources[i], *to = (struct window_state *)targets[i];
        if (!from->head)
            continue;
        if (to->head) {
            state_close(to);
            to->tail->next = from->head;
            to->tail = from->tail;
            to->next = from->next;
            to->end = from->end;
        } else {
            *to = *from;
        }
        *from = (struct window_state){.budget = from->budget};
    }
    ENGINE_GIVES();
}

/* --- the end: gather, sort if need be, evaluate --- */

struct scratch {
    int64_t *time_ms; /* room for two states' worth: the second half is for merging */
    double *value;
    size_t capacity;
    uint64_t *present;
};

/* Closes all states; how many samples the longest has. */
static size_t close_all(duckdb_aggregate_state *states, idx_t count)
{
    size_t most = 0;
    for (idx_t i = 0; i < count; i++) {
        struct window_state *state = (struct window_state *)states[i];
        size_t n = 0;
        state_close(state);
        for (const struct run *run = state->head; run; run = run->next)
            n += run->n;
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
    for (const struct run *run = state->head; run; run = run->next) {
        if (run->next)
            __builtin_prefetch(run->next->at);
        for (uint32_t i = 0; i < run->n; i++, n++) {
            s->time_ms[n] = run->at[i].time_ms;
            s->value[n] = run->at[i].value;
        }
    }
    sort_samples(s, n);
    return (struct samples){s->time_ms, s->value, n};
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
        uint32_t steps = state->head ? state->grid.steps : 0;
        sum += steps;
        *ret_longest = steps > *ret_longest ? steps : *ret_longest;
    }
    return sum;
}

static void state_finalize(duckdb_function_info info, duckdb_aggregate_state *states, duckdb_vector result, idx_t count,
                           idx_t offset)
{
    ENGINE_TAKES();
    const struct window_function *function = duckdb_aggregate_function_get_extra_info(info);
    uint32_t longest;
    uint64_t elements = steps_of_all(states, count, &longest);
    struct list_room room;
    struct scratch scratch;
    if (!scratch_init(&scratch, close_all(states, count), longest) || !list_room_make(result, elements, &room)) {
        scratch_release(&scratch);
        refuse_size(info, function->budget, elements * sizeof(double));
        ENGINE_GIVES();
        return;
    }
    uint64_t used = 0;
    for (idx_t i = 0; i < count; i++) {
        const struct window_state *state = (const struct window_state *)states[i];
        uint32_t present_n = 0;
        if (state->head) {
            struct samples samples = gather(&scratch, state);
            present_n = function->kernel->run(&state->grid, &samples, room.values + used, scratch.present);
        }
        used += list_room_put(result, &room, used, offset + i, state->grid.steps, scratch.present, present_n);
    }
    if (duckdb_list_vector_set_size(result, room.first + used) != DuckDBSuccess)
        duckdb_aggregate_function_set_error(info, "cannot set the size of a result list");
    scratch_release(&scratch);
    ENGINE_GIVES();
}

/* --- registering --- */

static enum status register_one(const struct window_function *function, struct connection *connection,
                                struct error *reterr)
{
    char name[64];
    snprintf(name, sizeof name, "prom_%s", function->kernel->name);
    struct window_function *copy = malloc(sizeof *copy);
    if (!copy)
        return error_set(reterr, E_NOMEM, "no memory to register %s", name);
    *copy = *function;
    duckdb_logical_type number = duckdb_create_logical_type(DUCKDB_TYPE_DOUBLE);
    duckdb_logical_type time = duckdb_create_logical_type(DUCKDB_TYPE_BIGINT);
    duckdb_logical_type flag = duckdb_create_logical_type(DUCKDB_TYPE_BOOLEAN);
    duckdb_logical_type list = duckdb_create_list_type(number);
    const duckdb_logical_type parameters[7] = {time, number, time, time, time, time, flag};

    duckdb_aggregate_function aggregate = duckdb_create_aggregate_function();
    duckdb_aggregate_function_set_name(aggregate, name);
    for (size_t i = 0; i < ARRAY_LENGTH(parameters); i++)
        duckdb_aggregate_function_add_parameter(aggregate, parameters[i]);
    duckdb_aggregate_function_set_return_type(aggregate, list);
    duckdb_aggregate_function_set_functions(aggregate, state_size, state_init, state_update, state_combine,
                                            state_finalize);
    duckdb_aggregate_function_set_destructor(aggregate, state_destroy);
    duckdb_aggregate_function_set_special_handling(aggregate);
    duckdb_aggregate_function_set_extra_info(aggregate, copy, free);
    duckdb_state registered = duckdb_register_aggregate_function(connection->handle, aggregate);
    duckdb_destroy_aggregate_function(&aggregate);
    duckdb_destroy_logical_type(&number);
    duckdb_destroy_logical_type(&time);
    duckdb_destroy_logical_type(&flag);
    duckdb_destroy_logical_type(&list);
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
