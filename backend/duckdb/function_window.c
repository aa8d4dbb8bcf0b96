/* backend/duckdb/function_window.c: prom_rate and its kin as aggregates over runs of samples.
 *
 * A row is a run: two lists, times and values, that hold every sample its series has between the run's first and last.
 * So the windows that lie between those are known as soon as the run is seen: they are evaluated at once, over the
 * engine's own vector, and of the samples only those near the ends are kept, which windows reaching beyond the run will
 * want; not all of those either where the function sees of a window no more than its ends (window_run.h). What a state
 * holds is thus bounded by its results and by a window's samples per run, not by all samples.
 *
 * The windows between runs are evaluated at the end, over the kept samples of all runs: states of any partition merge
 * by joining their lists, and nothing depends on the order in which runs come. A run's promise is checked then: kept
 * samples of others inside it are refused, for the windows evaluated early would have missed them.
 *
 * Times come as they are stored, a pace and drifts (kernels/pace.h), and are made one run at a time.
 *
 * Short runs are only collected. Single samples (of the table recent) lie in pieces that grow; where rows of one series
 * follow each other, in one piece that is filled at once.
 *
 * prom_rate_thinned and so on take thinned runs (kernels/thin.h): lists of times and values, and a third of weights,
 * NULL for plain runs. Others may lie between their samples; the row says in which span there are none.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/duckdb/functions.h"
#include "backend/duckdb/window_rows.h"
#include "backend/duckdb/window_run.h"
#include "backend/kernels/bits.h"
#include "base/vectors.h"

#define RUN_SHORT      32u   /* runs of fewer samples are only collected */
#define SINGLES_MANY   16u   /* so many samples of one series side by side are a run, though not all that it has */
#define PIECE_FIRST    32u   /* samples in a state's first piece of collected ones */
#define PIECE_MAX      4096u /* and in the largest; each is twice as long as the one before */
#define PREFETCH_AHEAD 4u    /* states */
#define PIECE_LINES    6u    /* of a piece, that are prefetched: a short series has no more */
#define CACHE_LINE     64u   /* bytes */

struct window_state {
    struct piece *head, *tail;
    bool tail_grows;  /* the tail is of collected samples */
    bool weighted;    /* as its function is */
    bool has_weights; /* some piece is weighted */
    uint32_t pieces_n;
    uint64_t n; /* samples in all pieces */
    struct budget *budget;
    struct window_grid grid;             /* of the first row; no steps before */
    struct window_parameters parameters; /* likewise; scratch is set when it is evaluated */
};

static idx_t state_size(duckdb_function_info info)
{
    return sizeof(struct window_state);
}

static void state_init(duckdb_function_info info, duckdb_aggregate_state raw)
{
    struct window_state *state = (struct window_state *)raw;
    const struct window_function *function = duckdb_aggregate_function_get_extra_info(info);
    *state = (struct window_state){.weighted = function->form == RUN_THINNED_IN, .budget = function->budget};
}

static void state_clear(struct window_state *state)
{
    while (state->head) {
        struct piece *piece = state->head;
        state->head = piece->next;
        budget_free(state->budget, piece);
    }
    state->tail = NULL;
}

/* Also called where finalize fails: the engine does not destroy those states. */
static void state_destroy(duckdb_aggregate_state *states, idx_t count)
{
    for (idx_t i = 0; i < count; i++)
        state_clear((struct window_state *)states[i]);
}

/* A new tail, or NULL after setting an error. */
static struct piece *piece_new(duckdb_function_info info, struct window_state *state, struct piece_shape shape)
{
    shape.weighted = shape.weighted || state->weighted;
    state->has_weights = state->has_weights || shape.weighted;
    size_t bytes = piece_bytes(&shape);
    struct piece *piece = budget_alloc(state->budget, bytes);
    if (!piece) {
        function_refuse_size(info, state->budget, bytes);
        return NULL;
    }
    piece_init(piece, &shape);
    if (state->tail)
        state->tail->next = piece;
    else
        state->head = piece;
    state->tail = piece;
    state->pieces_n++;
    return piece;
}

/* --- collected runs --- */

static struct piece *piece_with_room(duckdb_function_info info, struct window_state *state, const struct samples *run)
{
    bool grows = state->tail_grows;
    if (grows && piece_takes(state->tail, run))
        return state->tail;
    uint32_t capacity = grows ? state->tail->shape.capacity * 2 : PIECE_FIRST;
    state->tail_grows = true;
    return piece_new(info, state, piece_shape_near(run, capacity < PIECE_MAX ? capacity : PIECE_MAX));
}

static bool state_collect_single(duckdb_function_info info, struct window_state *state, const struct samples *single)
{
    struct piece *piece = piece_with_room(info, state, single);
    if (!piece)
        return false;
    piece_add(piece, single, 0, 1);
    state->n++;
    return true;
}

/* Several samples have a piece of their own, which is put in its place by its beginning and needs no merging if it is
 * in order; but not a few single ones, for pieces are larger than those. */
static bool state_collect(duckdb_function_info info, struct window_state *state, const struct samples *run,
                          bool singles)
{
    if (run->n == 0)
        return true;
    if (run->n == 1 || (singles && run->n < SINGLES_MANY)) {
        bool well = true;
        for (size_t i = 0; well && i < run->n; i++) {
            struct samples single = {run->time_ms + i, run->value + i, 1, run->weight};
            well = state_collect_single(info, state, &single);
        }
        return well;
    }
    struct piece *piece = piece_new(info, state, piece_shape_of(run));
    if (!piece)
        return false;
    state->tail_grows = false;
    piece_add(piece, run, 0, run->n);
    state->n += run->n;
    return true;
}

/* --- runs whose windows are evaluated at once --- */

/* The windows that a run holds whole, into its piece. */
static bool taken_evaluate(duckdb_function_info info, const struct window_kernel *kernel,
                           const struct window_state *state, const struct taken *taken, struct piece *piece)
{
    struct window_grid whole = state->grid;
    struct window_parameters parameters = state->parameters;
    size_t n = taken->run.n;
    whole.start_ms = window_end(&state->grid, taken->reach.whole);
    whole.steps = piece->shape.steps;
    parameters.scratch = kernel->ranks ? malloc(n * sizeof *parameters.scratch) : NULL;
    if (kernel->ranks && !parameters.scratch) {
        function_refuse_size(info, state->budget, n * sizeof *parameters.scratch);
        return false;
    }
    kernel->run(&whole, &parameters, &taken->run, piece_results(piece), piece_present(piece));
    free(parameters.scratch);
    return true;
}

/* Takes a run as run_take wants it. */
static bool state_take(duckdb_function_info info, const struct window_kernel *kernel, struct window_state *state,
                       struct samples run, struct time_span whole_in)
{
    struct taken taken;
    if (!run_take(kernel, &state->grid, run, whole_in, &taken))
        return true;
    struct piece *piece = piece_new(info, state, taken_shape(&taken));
    if (!piece)
        return false;
    state->tail_grows = false;
    taken_fill(&taken, piece);
    state->n += piece->n;
    return piece->shape.steps == 0 || taken_evaluate(info, kernel, state, &taken, piece);
}

/* --- rows --- */

WIDE_VECTORS static bool times_ascend(const int64_t *time_ms, size_t n)
{
    uint64_t falls =
        0; /* the sign of each step less 1; steps of half the range count as falls, and cost no more than that */
    for (size_t i = 1; i < n; i++)
        falls |= (uint64_t)time_ms[i] - (uint64_t)time_ms[i - 1] - 1;
    return falls >> 63 == 0;
}

static void refuse_run(duckdb_function_info info, const struct window_state *state, enum row_fault fault, uint64_t n)
{
    if (fault == ROW_UNEVEN)
        duckdb_aggregate_function_set_error(info, ROW_UNEVEN_TEXT);
    else
        function_refuse_size(info, state->budget, n * (sizeof(int64_t) + sizeof(double)));
}

/* A run that is short or not in order is only collected, and so are the single samples of several rows `together`:
 * their series may have others between them. */
static bool state_add(duckdb_function_info info, const struct window_kernel *kernel, struct window_state *state,
                      const struct window_rows *rows, idx_t row, idx_t together)
{
    struct row_run taken;
    enum row_fault fault = window_rows_take(rows, row, together, &taken);
    if (fault != ROW_WELL) {
        refuse_run(info, state, fault, rows->times[row].length);
        return false;
    }
    struct samples run = taken.samples;
    bool singles = together > 1;
    struct time_span whole_in = run.n > 0 ? window_rows_whole_in(rows, row, &run) : (struct time_span){0, -1};
    bool well = !singles && run.n >= RUN_SHORT && whole_in.min_ms <= whole_in.max_ms && times_ascend(run.time_ms, run.n)
                    ? state_take(info, kernel, state, run, whole_in)
                    : state_collect(info, state, &run, singles);
    row_run_release(&taken);
    return well;
}

/* Sets the state's grid and parameters at its first row. */
static bool state_begin(duckdb_function_info info, struct window_state *state, const struct window_rows *rows,
                        idx_t row)
{
    char refusal[FUNCTION_REFUSAL_MAX];
    if (state->grid.steps > 0 || window_rows_grid(rows, row, &state->grid, &state->parameters, refusal))
        return true;
    duckdb_aggregate_function_set_error(info, refusal);
    return false;
}

/* How many rows from this one on may be taken together: single samples of one series, side by side, as senders that
 * send several samples of each series leave them in recent. At least 1. */
static idx_t rows_together(const struct window_rows *rows, const duckdb_aggregate_state *states, idx_t row)
{
    idx_t together = 1;
    if (rows->has_nulls || !window_rows_single(rows, row, row, 0))
        return 1;
    while (row + together < rows->n && states[row + together] == states[row] &&
           window_rows_single(rows, row + together, row, together))
        together++;
    return together;
}

static void state_update(duckdb_function_info info, duckdb_data_chunk input, duckdb_aggregate_state *states)
{
    const struct window_function *function = duckdb_aggregate_function_get_extra_info(info);
    struct window_rows rows;
    if (!window_rows_init(&rows, input, function)) {
        function_refuse_size(info, function->budget, rows.longest * sizeof *rows.run_ms);
        return;
    }
    for (idx_t row = 0, together; row < rows.n; row += together) {
        struct window_state *state = (struct window_state *)states[row];
        together = rows_together(&rows, states, row);
        if (window_rows_count(&rows, row) &&
            (!state_begin(info, state, &rows, row) || !state_add(info, function->kernel, state, &rows, row, together)))
            break;
    }
    window_rows_release(&rows);
}

static void state_combine(duckdb_function_info info, duckdb_aggregate_state *sources, duckdb_aggregate_state *targets,
                          idx_t count)
{
    for (idx_t i = 0; i < count; i++) {
        struct window_state *from = (struct window_state *)sources[i], *to = (struct window_state *)targets[i];
        if (to->grid.steps == 0) {
            to->grid = from->grid;
            to->parameters = from->parameters;
        }
        if (!from->head)
            continue;
        if (to->tail)
            to->tail->next = from->head;
        else
            to->head = from->head;
        to->tail = from->tail;
        to->tail_grows = from->tail_grows;
        to->pieces_n += from->pieces_n;
        to->n += from->n;
        to->has_weights = to->has_weights || from->has_weights;
        from->head = from->tail = NULL;
        from->tail_grows = false;
        from->pieces_n = 0;
        from->n = 0;
    }
}

/* --- the end: gather, sort if need be, evaluate what is left --- */

struct scratch {
    int64_t *time_ms; /* room for two states' worth: the second half is for merging */
    double *value;
    int64_t *weight; /* NULL: no state has any */
    size_t capacity;
    uint64_t *present, *part_present; /* of the whole grid, of a part of it */
    struct piece **pieces;            /* those that promise something, in order of time */
    size_t pieces_n;
};

/* Merges [from, middle) and [middle, to) of the samples into the scratch's second half and copies them back. */
static void merge_neighbours(struct scratch *s, size_t from, size_t middle, size_t to)
{
    int64_t *time_out = s->time_ms + s->capacity;
    double *value_out = s->value + s->capacity;
    int64_t *weight_out = s->weight ? s->weight + s->capacity : NULL;
    size_t a = from, b = middle, n = 0;
    while (a < middle || b < to) {
        size_t *at = b == to || (a < middle && s->time_ms[a] <= s->time_ms[b]) ? &a : &b;
        if (weight_out)
            weight_out[n] = s->weight[*at];
        time_out[n] = s->time_ms[*at];
        value_out[n++] = s->value[*at];
        ++*at;
    }
    memcpy(s->time_ms + from, time_out, n * sizeof *time_out);
    memcpy(s->value + from, value_out, n * sizeof *value_out);
    if (weight_out)
        memcpy(s->weight + from, weight_out, n * sizeof *weight_out);
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
    if (times_ascend(s->time_ms, n))
        return;
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

static int compare_pieces(const void *a, const void *b)
{
    int64_t x = piece_begin(*(struct piece *const *)a), y = piece_begin(*(struct piece *const *)b);
    return (x > y) - (x < y);
}

/* Pieces in order of time: those of runs then need no merging, whichever thread took which. */
static size_t order_pieces(struct piece **pieces, struct piece *head)
{
    size_t n = 0;
    bool ordered = true;
    for (struct piece *piece = head; piece; piece = piece->next) {
        if (piece->n == 0 && !piece->promises)
            continue;
        ordered = ordered && (n == 0 || piece_begin(pieces[n - 1]) <= piece_begin(piece));
        pieces[n++] = piece;
    }
    if (!ordered)
        qsort(pieces, n, sizeof(struct piece *), compare_pieces);
    return n;
}

/* Puts all kept samples in order, and lists the pieces that promise something. */
static struct samples gather(struct scratch *s, const struct window_state *state)
{
    size_t n = 0, all_n = order_pieces(s->pieces, state->head);
    s->pieces_n = 0;
    for (size_t i = 0; i < all_n; i++) {
        struct piece *piece = s->pieces[i];
        piece_copy(piece, s->time_ms + n, s->value + n, s->weight ? s->weight + n : NULL);
        n += piece->n;
        if (piece->promises)
            s->pieces[s->pieces_n++] = piece;
    }
    sort_samples(s, n);
    return (struct samples){s->time_ms, s->value, n, state->has_weights ? s->weight : NULL};
}

/* Whether no sample that was kept elsewhere lies inside a run that was evaluated, or thinned, without it. */
static bool promises_hold(const struct scratch *s, const struct samples *samples)
{
    uint32_t step = 0;
    for (size_t i = 0; i < s->pieces_n; i++) {
        const struct piece *piece = s->pieces[i];
        size_t from = first_at_or_after(samples->time_ms, samples->n, piece->first_ms);
        size_t inside = 0;
        while (inside <= piece->inside_n && from + inside < samples->n &&
               samples->time_ms[from + inside] <= piece->last_ms)
            inside++;
        if (inside != piece->inside_n || piece->step < step)
            return false;
        step = piece->step + piece->shape.steps;
    }
    return true;
}

/* The state's, with room that is no more needed once the samples are sorted. */
static struct window_parameters scratch_parameters(const struct scratch *s, const struct window_state *state)
{
    struct window_parameters parameters = state->parameters;
    parameters.scratch = s->value + s->capacity;
    return parameters;
}

/* Evaluates the windows [from, to) over the gathered samples. */
static uint32_t evaluate_part(struct scratch *s, const struct window_kernel *kernel, const struct window_state *state,
                              const struct samples *samples, uint32_t from, uint32_t to, double *values)
{
    if (from == to)
        return 0;
    const struct window_grid *grid = &state->grid;
    struct window_grid part = *grid;
    struct window_parameters parameters = scratch_parameters(s, state);
    part.start_ms = window_end(grid, from);
    part.steps = to - from;
    size_t begin = first_at_or_after(samples->time_ms, samples->n, part.start_ms - part.window_ms);
    struct samples rest = {samples->time_ms + begin, samples->value + begin, samples->n - begin,
                           samples->weight ? samples->weight + begin : NULL};
    uint32_t present_n = kernel->run(&part, &parameters, &rest, values + from, s->part_present);
    bits_store(s->present, from, s->part_present, part.steps);
    return present_n;
}

/* Fills values and s->present for the state's whole grid; returns how many are present. */
static uint32_t evaluate(struct scratch *s, const struct window_kernel *kernel, const struct window_state *state,
                         const struct samples *samples, double *values)
{
    struct window_parameters parameters = scratch_parameters(s, state);
    if (s->pieces_n == 0)
        return kernel->run(&state->grid, &parameters, samples, values, s->present);
    uint32_t present_n = 0, step = 0;
    for (size_t i = 0; i < s->pieces_n; i++) {
        struct piece *piece = s->pieces[i];
        uint32_t steps = piece->shape.steps;
        if (steps == 0)
            continue;
        present_n += evaluate_part(s, kernel, state, samples, step, piece->step, values);
        memcpy(values + piece->step, piece_results(piece), steps * sizeof *values);
        bits_store(s->present, piece->step, piece_present(piece), steps);
        present_n += (uint32_t)bits_count(piece_present(piece), steps);
        step = piece->step + steps;
    }
    return present_n + evaluate_part(s, kernel, state, samples, step, state->grid.steps, values);
}

/* What the states of one call want at most, and in sum. */
struct wanted {
    uint64_t steps_sum, samples;
    uint32_t steps, pieces;
    bool weights;
};

static struct wanted wanted_of(duckdb_aggregate_state *states, idx_t count)
{
    struct wanted wanted = {0};
    for (idx_t i = 0; i < count; i++) {
        const struct window_state *state = (const struct window_state *)states[i];
        uint32_t steps = state->head ? state->grid.steps : 0;
        wanted.steps_sum += steps;
        wanted.steps = steps > wanted.steps ? steps : wanted.steps;
        wanted.samples = state->n > wanted.samples ? state->n : wanted.samples;
        wanted.pieces = state->pieces_n > wanted.pieces ? state->pieces_n : wanted.pieces;
        wanted.weights = wanted.weights || state->has_weights;
    }
    return wanted;
}

static bool scratch_init(struct scratch *s, const struct wanted *wanted)
{
    size_t samples = wanted->samples, words = bits_words(wanted->steps);
    *s = (struct scratch){.capacity = samples};
    s->time_ms = malloc((2 * samples + 1) * sizeof *s->time_ms);
    s->value = malloc((2 * samples + 1) * sizeof *s->value);
    s->weight = wanted->weights ? malloc((2 * samples + 1) * sizeof *s->weight) : NULL;
    s->present = calloc(2 * words + 1, sizeof *s->present);
    s->pieces = malloc((wanted->pieces + 1) * sizeof(struct piece *));
    s->part_present = s->present ? s->present + words : NULL;
    return s->time_ms && s->value && (s->weight || !wanted->weights) && s->present && s->pieces;
}

static void scratch_release(struct scratch *s)
{
    free(s->time_ms);
    free(s->value);
    free(s->weight);
    free(s->present);
    free(s->pieces);
}

/* GCC takes a function that does nothing else for one without effects and leaves its calls out, if they are calls. */
#define PREFETCHES static inline __attribute__((always_inline)) void

PREFETCHES prefetch(const void *at, size_t lines)
{
    for (size_t i = 0; i < lines; i++)
        __builtin_prefetch((const char *)at + i * CACHE_LINE);
}

/* States come in the order of groups, and their pieces lie in that of rows: most are not in the cache. A tenth of a
 * query over many short series. */
PREFETCHES prefetch_ahead(duckdb_aggregate_state *states, idx_t i, idx_t count)
{
    if (i + 2 * PREFETCH_AHEAD < count)
        prefetch(states[i + 2 * PREFETCH_AHEAD], sizeof(struct window_state) / CACHE_LINE);
    if (i + PREFETCH_AHEAD >= count)
        return;
    const struct window_state *state = (const struct window_state *)states[i + PREFETCH_AHEAD];
    if (state->head)
        prefetch(state->head, PIECE_LINES);
    if (state->tail != state->head)
        __builtin_prefetch(state->tail->results);
}

/* Evaluates a state and lets go of its pieces while they are in the cache; returns the steps of its list, or -1 after
 * setting an error. */
static int64_t state_put(duckdb_function_info info, const struct window_kernel *kernel, struct window_state *state,
                         struct scratch *scratch, duckdb_vector result, const struct list_room *room, uint64_t used,
                         idx_t row)
{
    uint32_t present_n = 0;
    if (state->head) {
        struct samples samples = gather(scratch, state);
        if (!promises_hold(scratch, &samples)) {
            duckdb_aggregate_function_set_error(info, "runs of one series overlap in time");
            return -1;
        }
        present_n = evaluate(scratch, kernel, state, &samples, room->values + used);
        state_clear(state);
    }
    return (int64_t)list_room_put(result, room, used, row, state->grid.steps, scratch->present, present_n);
}

static void state_finalize(duckdb_function_info info, duckdb_aggregate_state *states, duckdb_vector result, idx_t count,
                           idx_t offset)
{
    const struct window_function *function = duckdb_aggregate_function_get_extra_info(info);
    struct wanted wanted = wanted_of(states, count);
    struct list_room room;
    struct scratch scratch;
    if (!scratch_init(&scratch, &wanted) || !list_room_make(result, wanted.steps_sum, &room)) {
        scratch_release(&scratch);
        function_refuse_size(info, function->budget, wanted.steps_sum * sizeof(double));
        state_destroy(states, count);
        return;
    }
    uint64_t used = 0;
    for (idx_t i = 0; i < count; i++) {
        prefetch_ahead(states, i, count);
        int64_t steps = state_put(info, function->kernel, (struct window_state *)states[i], &scratch, result, &room,
                                  used, offset + i);
        if (steps < 0) {
            state_destroy(states, count); /* the engine does not, after an error here */
            break;
        }
        used += (uint64_t)steps;
    }
    if (duckdb_list_vector_set_size(result, room.first + used) != DuckDBSuccess)
        duckdb_aggregate_function_set_error(info, "cannot set the size of a result list");
    scratch_release(&scratch);
}

/* --- registering --- */

ENGINE_CALLS_STATE()
ENGINE_CALLS_FINALIZE(state_finalize)

static duckdb_aggregate_function aggregate_of(const char *name, struct window_function function)
{
    char letters[WINDOW_LETTERS_MAX];
    struct window_function *copy = malloc(sizeof *copy);
    if (!copy)
        return NULL;
    *copy = function;
    window_letters(&function, letters);
    duckdb_aggregate_function aggregate = function_aggregate_new(name, letters, "D");
    duckdb_aggregate_function_set_functions(aggregate, state_size, on_init, on_update, on_combine, on_state_finalize);
    duckdb_aggregate_function_set_destructor(aggregate, on_destroy);
    duckdb_aggregate_function_set_extra_info(aggregate, copy, free);
    return aggregate;
}

static enum status register_one(struct engine *engine, const struct window_kernel *kernel, enum run_form form,
                                struct connection *connection, struct error *reterr)
{
    char name[64];
    snprintf(name, sizeof name, "prom_%s%s", kernel->name, form == RUN_PACED ? "" : "_thinned");
    duckdb_aggregate_function aggregate = aggregate_of(name, (struct window_function){kernel, form, &engine->budget});
    bool well = aggregate && duckdb_register_aggregate_function(connection->handle, aggregate) == DuckDBSuccess;
    duckdb_destroy_aggregate_function(&aggregate);
    return well ? OK : error_set(reterr, E_STORE, "the storage engine refuses %s", name);
}

enum status functions_register_window(struct engine *engine, struct connection *connection, struct error *reterr)
{
    enum status status = OK;
    for (int i = 0; status == OK && i < KERNEL_MAX; i++) {
        const struct window_kernel *kernel = &window_kernels[i];
        status = register_one(engine, kernel, RUN_PACED, connection, reterr);
        if (status == OK && !kernel->sees_markers && !kernel->parameters[0])
            status = register_one(engine, kernel, RUN_THINNED_IN, connection, reterr);
    }
    return status;
}
