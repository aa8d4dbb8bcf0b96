/* planner/grid.c: see grid.h. */
#include "planner/grid.h"

#include "base/assert.h"

static int64_t clamp(int64_t time_ms)
{
    return time_ms > GRID_TIME_MAX ? GRID_TIME_MAX : time_ms < -GRID_TIME_MAX ? -GRID_TIME_MAX : time_ms;
}

int64_t time_add(int64_t a_ms, int64_t b_ms)
{
    return clamp(clamp(a_ms) + clamp(b_ms));
}

struct time_span time_span_union(struct time_span a, struct time_span b)
{
    if (a.max_ms < a.min_ms)
        return b;
    if (b.max_ms < b.min_ms)
        return a;
    return (struct time_span){a.min_ms < b.min_ms ? a.min_ms : b.min_ms, a.max_ms > b.max_ms ? a.max_ms : b.max_ms};
}

/* The steps from start to end, both clamped. */
static uint32_t count_steps(int64_t start_ms, int64_t end_ms, int64_t step_ms)
{
    if (end_ms < start_ms)
        return 0;
    int64_t intervals = (end_ms - start_ms) / step_ms;
    return intervals >= UINT32_MAX ? UINT32_MAX : (uint32_t)intervals + 1;
}

/* Both ends clamped. */
static struct grid grid_up_to(int64_t start_ms, int64_t end_ms, int64_t step_ms)
{
    struct grid grid = {.start_ms = start_ms, .step_ms = step_ms, .steps = count_steps(start_ms, end_ms, step_ms)};
    grid.rest_ms = grid.steps ? end_ms - grid_end(grid) : 0;
    return grid;
}

static int64_t asked_end(struct grid grid)
{
    return time_add(grid_end(grid), grid.rest_ms);
}

struct grid grid_instant(int64_t time_ms)
{
    return (struct grid){.start_ms = clamp(time_ms), .step_ms = 1, .steps = 1};
}

struct grid grid_range(int64_t start_ms, int64_t end_ms, int64_t step_ms)
{
    PRE(step_ms > 0);
    int64_t start = clamp(start_ms);
    return grid_up_to(start, clamp(end_ms), step_ms);
}

bool grid_eq(struct grid a, struct grid b)
{
    return a.start_ms == b.start_ms && a.steps == b.steps && a.rest_ms == b.rest_ms &&
           (a.step_ms == b.step_ms || a.steps <= 1);
}

struct grid grid_shift(struct grid grid, const struct duration *offset, enum at_kind at, int64_t at_ms,
                       struct time_span query, bool *ret_pinned)
{
    int64_t offset_ms = offset->present ? offset->ms : 0;
    *ret_pinned = at != AT_NONE;
    if (at == AT_NONE) {
        grid.start_ms = time_add(grid.start_ms, -clamp(offset_ms));
        return grid;
    }
    int64_t pin_ms = at == AT_START ? query.min_ms : at == AT_END ? query.max_ms : at_ms;
    return (struct grid){
        .start_ms = time_add(pin_ms, -clamp(offset_ms)), .step_ms = grid.step_ms, .steps = grid.steps > 0};
}

struct grid grid_subquery(struct grid outer, int64_t range_ms, int64_t step_ms, enum window_rule rule)
{
    PRE(step_ms > 0);
    /* C's division truncates toward zero as Go's does: below zero it already lands right of the edge. */
    int64_t edge = time_add(outer.start_ms, -clamp(range_ms));
    int64_t start = edge / step_ms * step_ms;
    if (start < edge || (start == edge && rule == WINDOW_LEFT_OPEN))
        start += step_ms;
    return outer.steps ? grid_up_to(start, asked_end(outer), step_ms)
                       : (struct grid){.start_ms = start, .step_ms = step_ms};
}

struct time_span grid_window_span(struct grid grid, int64_t window_ms, enum window_rule rule)
{
    if (grid.steps == 0)
        return (struct time_span){.min_ms = 0, .max_ms = -1};
    int64_t edge = time_add(grid.start_ms, -clamp(window_ms));
    return (struct time_span){.min_ms = rule == WINDOW_LEFT_OPEN ? edge + 1 : edge, .max_ms = clamp(grid_end(grid))};
}

static bool call_invariant(const struct expr_call *call)
{
    for (size_t i = 0; i < call->args_n; i++)
        if (!grid_step_invariant(call->args[i]))
            return false;
    return !call->function->at_unsafe;
}

bool grid_step_invariant(const struct expr *expr)
{
    switch (expr->kind) {
    case EXPR_NUMBER:
    case EXPR_STRING:
        return true;
    case EXPR_SELECTOR:
        return expr->u.selector.at != AT_NONE;
    case EXPR_MATRIX:
        return grid_step_invariant(expr->u.matrix.selector);
    case EXPR_SUBQUERY:
        return expr->u.subquery.at != AT_NONE;
    case EXPR_AGGREGATE:
        return grid_step_invariant(expr->u.aggregate.operand);
    case EXPR_CALL:
        return call_invariant(&expr->u.call);
    case EXPR_BINARY:
        return grid_step_invariant(expr->u.binary.left) && grid_step_invariant(expr->u.binary.right);
    case EXPR_UNARY:
        return grid_step_invariant(expr->u.unary.operand);
    case EXPR_PAREN:
        return grid_step_invariant(expr->u.paren);
    case EXPR_TASK:
        return expr->u.task.at != AT_NONE;
    case EXPR_KIND_MAX:
        break;
    }
    INVARIANT(!"an expression of a known kind");
    return false;
}
