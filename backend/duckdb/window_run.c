/* backend/duckdb/window_run.c: see window_run.h. */
#include "backend/duckdb/window_run.h"

#include "backend/kernels/bits.h"
#include "backend/kernels/thin.h"

/* --- which windows --- */

static int64_t divide_down(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

static int64_t clamp(int64_t x, int64_t low, int64_t high)
{
    return x < low ? low : x > high ? high : x;
}

/* A time, seen from the first window's end. Beyond these the answer stays the same; between them no sum overflows. */
static int64_t from_start(const struct window_grid *grid, int64_t time_ms)
{
    int64_t end_ms = grid->start_ms + grid->step_ms * ((int64_t)grid->steps - 1);
    return clamp(time_ms, grid->start_ms - grid->window_ms - 1, end_ms + 1) - grid->start_ms;
}

void windows_met(const struct window_grid *grid, int64_t first_ms, int64_t last_ms, int64_t *ret_meets,
                 int64_t *ret_meets_end)
{
    int64_t first = from_start(grid, first_ms), last = from_start(grid, last_ms);
    *ret_meets = clamp(-divide_down(-first, grid->step_ms), 0, grid->steps);
    *ret_meets_end = clamp(divide_down(last + grid->window_ms, grid->step_ms) + 1, 0, grid->steps);
}

static struct reach reach_of(const struct window_grid *grid, int64_t first_ms, int64_t last_ms)
{
    int64_t open = grid->closed ? 0 : 1, first = from_start(grid, first_ms), last = from_start(grid, last_ms);
    struct reach reach = {
        .whole = clamp(-divide_down(-(first + grid->window_ms - open), grid->step_ms), 0, grid->steps),
        .whole_end = clamp(divide_down(last, grid->step_ms) + 1, 0, grid->steps),
    };
    windows_met(grid, first_ms, last_ms, &reach.meets, &reach.meets_end);
    if (reach.whole >= reach.whole_end)
        reach.whole = reach.whole_end = reach.meets_end;
    return reach;
}

/* Holds whole are those windows that lie in the span of `whole`, as far as the run meets them. */
static void reach_narrow(struct reach *reach, struct reach whole)
{
    reach->whole = clamp(whole.whole, reach->meets, reach->meets_end);
    reach->whole_end = clamp(whole.whole_end, reach->meets, reach->meets_end);
    if (reach->whole >= reach->whole_end)
        reach->whole = reach->whole_end = reach->meets_end;
}

/* --- which samples --- */

/* Cuts away what no window meets. False: nothing is left. Windows are evaluated now if their results take less room
 * than the samples that then need not be kept. */
static bool taken_cut(struct taken *t, const struct window_grid *grid)
{
    struct samples run = t->run;
    struct reach *reach = &t->reach;
    size_t begin = first_at_or_after(run.time_ms, run.n, window_end(grid, reach->meets) - grid->window_ms);
    size_t end = first_at_or_after(run.time_ms, run.n, window_end(grid, reach->meets_end - 1) + 1);
    run = (struct samples){run.time_ms + begin, run.value + begin, end - begin, run.weight ? run.weight + begin : NULL};
    size_t head = 0, tail = run.n, steps = (size_t)(reach->whole_end - reach->whole);
    if (reach->whole > reach->meets)
        head = first_at_or_after(run.time_ms, run.n, window_end(grid, reach->whole - 1) + 1);
    if (reach->whole_end < reach->meets_end)
        tail = first_at_or_after(run.time_ms, run.n, window_end(grid, reach->whole_end) - grid->window_ms);
    if (tail <= head || (tail - head) * 2 < steps + bits_words(steps)) {
        reach->whole = reach->whole_end = reach->meets_end;
        head = tail = run.n;
    }
    t->run = run;
    t->head = head;
    t->tail = tail;
    return run.n > 0 || reach->whole < reach->whole_end;
}

/* What the windows [from, to) of the grid see of the samples [first, first + n), into `kept`. */
static size_t thin_part(const struct window_kernel *kernel, const struct window_grid *grid, const struct samples *run,
                        size_t first, size_t n, int64_t from, int64_t to, uint64_t *kept)
{
    struct window_grid part = *grid;
    part.start_ms = window_end(grid, from);
    part.steps = (uint32_t)(to - from);
    return thin_to_windows(kernel, &part, &(struct samples){run->time_ms + first, run->value + first, n, NULL}, kept);
}

/* Keeps fewer samples where that takes less room: with weights, each takes a third more. */
static void taken_thin(struct taken *t, const struct window_kernel *kernel, const struct window_grid *grid)
{
    size_t tail_n = t->run.n - t->tail;
    if (!kernel->sees_ends || t->run.weight || t->head > RUN_KEPT_MAX || tail_n > RUN_KEPT_MAX)
        return;
    const struct reach *reach = &t->reach;
    t->head_n = thin_part(kernel, grid, &t->run, 0, t->head, reach->meets, reach->whole, t->head_kept);
    t->tail_n = thin_part(kernel, grid, &t->run, t->tail, tail_n, reach->whole_end, reach->meets_end, t->tail_kept);
    t->thinned = (t->head_n + t->tail_n) * 4 < (t->head + tail_n) * 3;
}

bool run_take(const struct window_kernel *kernel, const struct window_grid *grid, struct samples run,
              struct time_span whole_in, struct taken *ret_taken)
{
    struct taken *t = ret_taken; /* not zeroed: the marks are many */
    t->reach = reach_of(grid, run.time_ms[0], run.time_ms[run.n - 1]);
    if (t->reach.meets >= t->reach.meets_end)
        return false;
    if (whole_in.min_ms != run.time_ms[0] || whole_in.max_ms != run.time_ms[run.n - 1])
        reach_narrow(&t->reach, reach_of(grid, whole_in.min_ms, whole_in.max_ms));
    t->run = run;
    t->whole_in = whole_in;
    t->thinned = false;
    if (!taken_cut(t, grid))
        return false;
    taken_thin(t, kernel, grid);
    return true;
}

/* --- pieces --- */

struct piece_shape taken_shape(const struct taken *t)
{
    struct piece_shape shape = t->thinned ? piece_shape_of_kept(&t->run, t->head, t->tail, t->head_n, t->tail_n)
                                          : piece_shape_of_ends(&t->run, t->head, t->tail);
    shape.steps = (uint32_t)(t->reach.whole_end - t->reach.whole);
    return shape;
}

static size_t first_after(const int64_t *time_ms, size_t n, int64_t at_ms)
{
    return at_ms == INT64_MAX ? n : first_at_or_after(time_ms, n, at_ms + 1);
}

/* Of the samples [from, to), those whose time lies in the span. */
static uint32_t count_inside(const struct samples *run, size_t from, size_t to, struct time_span span)
{
    size_t first = first_at_or_after(run->time_ms + from, to - from, span.min_ms);
    return (uint32_t)(first_after(run->time_ms + from, to - from, span.max_ms) - first);
}

void taken_fill(const struct taken *t, struct piece *piece)
{
    const struct samples *run = &t->run;
    if (t->thinned) {
        piece->inside_n = (uint32_t)piece_add_kept(piece, run, 0, t->head, t->head_kept);
        piece->inside_n += (uint32_t)piece_add_kept(piece, run, t->tail, run->n - t->tail, t->tail_kept);
    } else {
        piece_add(piece, run, 0, t->head);
        piece_add(piece, run, t->tail, run->n - t->tail);
        piece->inside_n = count_inside(run, 0, t->head, t->whole_in) + count_inside(run, t->tail, run->n, t->whole_in);
    }
    piece->promises = t->thinned || piece->shape.steps > 0;
    piece->first_ms = t->whole_in.min_ms;
    piece->last_ms = t->whole_in.max_ms;
    piece->step = (uint32_t)(piece->shape.steps > 0 ? t->reach.whole : t->reach.meets);
}
