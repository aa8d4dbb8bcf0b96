/* promql/ast.c: see ast.h. */
#include "promql/ast.h"

#include "base/assert.h"
#include "base/float_text.h"

const char *binary_op_text(enum binary_op op)
{
    static const char *const TEXTS[OP_MAX] = {
        [OP_ADD] = "+",         [OP_SUB] = "-",         [OP_MUL] = "*",         [OP_DIV] = "/",   [OP_MOD] = "%",
        [OP_POW] = "^",         [OP_ATAN2] = "atan2",   [OP_EQL] = "==",        [OP_NEQ] = "!=",  [OP_GTR] = ">",
        [OP_LSS] = "<",         [OP_GTE] = ">=",        [OP_LTE] = "<=",        [OP_AND] = "and", [OP_OR] = "or",
        [OP_UNLESS] = "unless", [OP_TRIM_UPPER] = "</", [OP_TRIM_LOWER] = ">/",
    };
    PRE((unsigned)op < OP_MAX);
    return TEXTS[op];
}

const char *aggregate_op_text(enum aggregate_op op)
{
    static const char *const TEXTS[AGG_OP_MAX] = {
        [AGG_SUM] = "sum",           [AGG_AVG] = "avg",
        [AGG_COUNT] = "count",       [AGG_MIN] = "min",
        [AGG_MAX] = "max",           [AGG_GROUP] = "group",
        [AGG_STDDEV] = "stddev",     [AGG_STDVAR] = "stdvar",
        [AGG_TOPK] = "topk",         [AGG_BOTTOMK] = "bottomk",
        [AGG_QUANTILE] = "quantile", [AGG_COUNT_VALUES] = "count_values",
        [AGG_LIMITK] = "limitk",     [AGG_LIMIT_RATIO] = "limit_ratio",
    };
    PRE((unsigned)op < AGG_OP_MAX);
    return TEXTS[op];
}

const char *value_type_text(enum value_type type)
{
    static const char *const TEXTS[] = {
        [VALUE_NONE] = "none",           [VALUE_SCALAR] = "scalar",
        [VALUE_STRING] = "string",       [VALUE_VECTOR] = "instant vector",
        [VALUE_MATRIX] = "range vector",
    };
    PRE((unsigned)type < ARRAY_LENGTH(TEXTS));
    return TEXTS[type];
}

bool binary_op_is_comparison(enum binary_op op)
{
    return op >= OP_EQL && op <= OP_LTE;
}
bool binary_op_is_set(enum binary_op op)
{
    return op >= OP_AND && op <= OP_UNLESS;
}

const struct expr *expr_unparen(const struct expr *expr)
{
    while (expr->kind == EXPR_PAREN)
        expr = expr->u.paren;
    return expr;
}

void expr_walk(const struct expr *expr, bool (*visit)(const struct expr *expr, void *arg), void *arg)
{
    if (!visit(expr, arg))
        return;
    switch (expr->kind) {
    case EXPR_MATRIX:
        expr_walk(expr->u.matrix.selector, visit, arg);
        break;
    case EXPR_SUBQUERY:
        expr_walk(expr->u.subquery.operand, visit, arg);
        break;
    case EXPR_AGGREGATE:
        if (expr->u.aggregate.parameter)
            expr_walk(expr->u.aggregate.parameter, visit, arg);
        expr_walk(expr->u.aggregate.operand, visit, arg);
        break;
    case EXPR_CALL:
        for (size_t i = 0; i < expr->u.call.args_n; i++)
            expr_walk(expr->u.call.args[i], visit, arg);
        break;
    case EXPR_BINARY:
        expr_walk(expr->u.binary.left, visit, arg);
        expr_walk(expr->u.binary.right, visit, arg);
        break;
    case EXPR_UNARY:
        expr_walk(expr->u.unary.operand, visit, arg);
        break;
    case EXPR_PAREN:
        expr_walk(expr->u.paren, visit, arg);
        break;
    default:
        break;
    }
}

/* -- equality --------------------------------------------------------------------------------------------------- */

/* The same number: all NaN alike, zeros by sign. */
static bool double_eq(double a, double b)
{
    return double_bits(a) == double_bits(b) || (a != a && b != b);
}

static bool names_eq(struct name_list a, struct name_list b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++)
        if (!str_eq(a.at[i], b.at[i]))
            return false;
    return true;
}

static bool matcher_eq(const struct matcher *a, const struct matcher *b)
{
    return a->op == b->op && str_eq(a->name, b->name) && str_eq(a->value, b->value);
}

static size_t times_among(const struct matcher *wanted, const struct matcher *at, size_t n)
{
    size_t times = 0;
    for (size_t i = 0; i < n; i++)
        times += matcher_eq(wanted, &at[i]);
    return times;
}

/* The same matchers in any order. In the same order, the common case, this is one pass. */
static bool matchers_eq(const struct matcher *a, const struct matcher *b, size_t n)
{
    size_t same = 0;
    while (same < n && matcher_eq(&a[same], &b[same]))
        same++;
    for (size_t i = same; i < n; i++)
        if (times_among(&a[i], a + same, n - same) != times_among(&a[i], b + same, n - same))
            return false;
    return true;
}

static bool duration_expr_eq(const struct duration_expr *a, const struct duration_expr *b)
{
    if (!a || !b)
        return a == b;
    return a->op == b->op && a->wrapped == b->wrapped && double_eq(a->literal, b->literal) &&
           a->literal_is_duration == b->literal_is_duration && duration_expr_eq(a->left, b->left) &&
           duration_expr_eq(a->right, b->right);
}

static bool duration_eq(const struct duration *a, const struct duration *b)
{
    if (a->present != b->present || !a->expr != !b->expr)
        return false;
    return a->expr ? duration_expr_eq(a->expr, b->expr) : a->ms == b->ms;
}

static bool at_eq(enum at_kind a, int64_t a_ms, enum at_kind b, int64_t b_ms)
{
    return a == b && (a != AT_TIME || a_ms == b_ms);
}

static bool selector_eq(const struct expr_selector *a, const struct expr_selector *b)
{
    return str_eq(a->metric, b->metric) && a->matchers_n == b->matchers_n && duration_eq(&a->offset, &b->offset) &&
           at_eq(a->at, a->at_ms, b->at, b->at_ms) && a->anchored == b->anchored && a->smoothed == b->smoothed &&
           matchers_eq(a->matchers, b->matchers, a->matchers_n);
}

static bool subquery_eq(const struct expr_subquery *a, const struct expr_subquery *b)
{
    return duration_eq(&a->range, &b->range) && duration_eq(&a->step, &b->step) &&
           duration_eq(&a->offset, &b->offset) && at_eq(a->at, a->at_ms, b->at, b->at_ms) &&
           expr_eq(a->operand, b->operand);
}

static bool aggregate_eq(const struct expr_aggregate *a, const struct expr_aggregate *b)
{
    if (a->op != b->op || a->without != b->without || !names_eq(a->grouping, b->grouping) ||
        !a->parameter != !b->parameter || (a->parameter && !expr_eq(a->parameter, b->parameter)))
        return false;
    return expr_eq(a->operand, b->operand);
}

static bool call_eq(const struct expr_call *a, const struct expr_call *b)
{
    if (a->function != b->function || a->args_n != b->args_n)
        return false;
    for (size_t i = 0; i < a->args_n; i++)
        if (!expr_eq(a->args[i], b->args[i]))
            return false;
    return true;
}

static bool fill_eq(bool a_present, double a, bool b_present, double b)
{
    return a_present == b_present && (!a_present || double_eq(a, b));
}

static bool binary_eq(const struct expr_binary *a, const struct expr_binary *b)
{
    return a->op == b->op && a->return_bool == b->return_bool && a->matching_written == b->matching_written &&
           a->on == b->on && a->cardinality == b->cardinality && names_eq(a->matching, b->matching) &&
           names_eq(a->include, b->include) &&
           fill_eq(a->fill_left_present, a->fill_left, b->fill_left_present, b->fill_left) &&
           fill_eq(a->fill_right_present, a->fill_right, b->fill_right_present, b->fill_right) &&
           expr_eq(a->left, b->left) && expr_eq(a->right, b->right);
}

static bool task_eq(const struct expr_task *a, const struct expr_task *b)
{
    return a->index == b->index && a->raw == b->raw && duration_eq(&a->offset, &b->offset) &&
           at_eq(a->at, a->at_ms, b->at, b->at_ms);
}

bool expr_eq(const struct expr *a, const struct expr *b)
{
    if (a->kind != b->kind)
        return false;
    switch (a->kind) {
    case EXPR_NUMBER:
        return double_eq(a->u.number.value, b->u.number.value) && a->u.number.is_duration == b->u.number.is_duration;
    case EXPR_STRING:
        return str_eq(a->u.string, b->u.string);
    case EXPR_SELECTOR:
        return selector_eq(&a->u.selector, &b->u.selector);
    case EXPR_MATRIX:
        return duration_eq(&a->u.matrix.range, &b->u.matrix.range) &&
               expr_eq(a->u.matrix.selector, b->u.matrix.selector);
    case EXPR_SUBQUERY:
        return subquery_eq(&a->u.subquery, &b->u.subquery);
    case EXPR_AGGREGATE:
        return aggregate_eq(&a->u.aggregate, &b->u.aggregate);
    case EXPR_CALL:
        return call_eq(&a->u.call, &b->u.call);
    case EXPR_BINARY:
        return binary_eq(&a->u.binary, &b->u.binary);
    case EXPR_UNARY:
        return a->u.unary.negative == b->u.unary.negative && expr_eq(a->u.unary.operand, b->u.unary.operand);
    case EXPR_PAREN:
        return expr_eq(a->u.paren, b->u.paren);
    case EXPR_TASK:
        return task_eq(&a->u.task, &b->u.task);
    case EXPR_KIND_MAX:
        break;
    }
    INVARIANT(!"a kind of expression");
    return false;
}
