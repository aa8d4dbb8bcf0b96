/* planner/shape.c: see shape.h. */
#include "planner/shape.h"

#include <math.h>

#include "base/assert.h"

bool name_list_has(struct name_list list, struct str name)
{
    for (size_t i = 0; i < list.n; i++)
        if (str_eq(list.at[i], name))
            return true;
    return false;
}

static bool note_selector(const struct expr *expr, void *arg)
{
    *(bool *)arg |= expr->kind == EXPR_SELECTOR;
    return true;
}

bool has_selector(const struct expr *expr)
{
    bool found = false;
    expr_walk(expr, note_selector, &found);
    return found;
}

/* --- names --- */

static enum names selector_names(const struct expr_selector *selector)
{
    for (size_t i = 0; i < selector->matchers_n; i++)
        if (selector->matchers[i].op == MATCH_EQUAL && str_eq(selector->matchers[i].name, LABEL_METRIC_NAME))
            return NAMES_ONE;
    return NAMES_MANY;
}

bool call_keeps_name(const struct expr_call *call)
{
    return call->function->keeps_name;
}

static enum names call_names(const struct expr_call *call)
{
    if (!call_keeps_name(call))
        return NAMES_NONE;
    for (size_t i = 0; i < call->args_n; i++)
        if (call->args[i]->type == VALUE_VECTOR || call->args[i]->type == VALUE_MATRIX)
            return names_of(call->args[i]);
    return NAMES_NONE;
}

static enum names aggregate_names(const struct expr_aggregate *aggregate)
{
    bool selects = aggregate->op == AGG_TOPK || aggregate->op == AGG_BOTTOMK || aggregate->op == AGG_LIMITK ||
                   aggregate->op == AGG_LIMIT_RATIO;
    bool grouped = !aggregate->without && name_list_has(aggregate->grouping, LABEL_METRIC_NAME);
    return selects || grouped ? names_of(aggregate->operand) : NAMES_NONE;
}

const struct expr *binary_many_side(const struct expr_binary *binary)
{
    bool right = binary->cardinality == CARD_ONE_TO_MANY || binary->left->type == VALUE_SCALAR;
    return right ? binary->right : binary->left;
}

const struct expr *binary_one_side(const struct expr_binary *binary)
{
    return binary_many_side(binary) == binary->left ? binary->right : binary->left;
}

bool binary_keeps_name(const struct expr_binary *binary)
{
    if (!binary_op_is_comparison(binary->op) || binary->return_bool)
        return false;
    bool vectors = binary->left->type == VALUE_VECTOR && binary->right->type == VALUE_VECTOR;
    if (!vectors || binary->cardinality != CARD_ONE_TO_ONE)
        return true;
    return name_list_has(binary->matching, LABEL_METRIC_NAME) == binary->on;
}

static enum names binary_names(const struct expr_binary *binary)
{
    if (binary->op == OP_AND || binary->op == OP_UNLESS)
        return names_of(binary->left);
    if (binary->op == OP_OR) {
        bool none = names_of(binary->left) == NAMES_NONE && names_of(binary->right) == NAMES_NONE;
        return none ? NAMES_NONE : NAMES_MANY;
    }
    return binary_keeps_name(binary) ? names_of(binary_many_side(binary)) : NAMES_NONE;
}

enum names names_of(const struct expr *expr)
{
    switch (expr->kind) {
    case EXPR_SELECTOR:
        return selector_names(&expr->u.selector);
    case EXPR_MATRIX:
        return names_of(expr->u.matrix.selector);
    case EXPR_SUBQUERY:
        return names_of(expr->u.subquery.operand);
    case EXPR_AGGREGATE:
        return aggregate_names(&expr->u.aggregate);
    case EXPR_CALL:
        return call_names(&expr->u.call);
    case EXPR_BINARY:
        return binary_names(&expr->u.binary);
    case EXPR_UNARY:
        return expr->u.unary.negative ? NAMES_NONE : names_of(expr->u.unary.operand);
    case EXPR_PAREN:
        return names_of(expr->u.paren);
    default:
        return NAMES_NONE;
    }
}

/* --- labels that go with the name --- */

static const struct str metadata_labels[] = {STR_STATIC("__type__"), STR_STATIC("__unit__")};
const struct name_list METADATA_LABELS = {metadata_labels, ARRAY_LENGTH(metadata_labels)};

static bool aggregate_has_metadata(const struct expr_aggregate *aggregate)
{
    bool selects = aggregate->op == AGG_TOPK || aggregate->op == AGG_BOTTOMK;
    size_t listed = 0;
    for (size_t i = 0; i < METADATA_LABELS.n; i++)
        listed += name_list_has(aggregate->grouping, METADATA_LABELS.at[i]);
    if (!selects && (aggregate->without ? listed == METADATA_LABELS.n : listed == 0))
        return false;
    return has_metadata(aggregate->operand);
}

/* absent() and info() may bring such labels of their own. */
static bool call_has_metadata(const struct expr_call *call)
{
    return call_keeps_name(call) || call_shape(call) == CALL_ABSENT || call->function->id == FN_INFO;
}

bool drops_name(const struct expr *expr)
{
    if (expr->kind == EXPR_CALL)
        return !call_keeps_name(&expr->u.call);
    if (expr->kind == EXPR_BINARY)
        return !binary_op_is_comparison(expr->u.binary.op) || expr->u.binary.return_bool;
    return expr->kind == EXPR_UNARY && expr->u.unary.negative;
}

bool has_metadata(const struct expr *expr)
{
    switch (expr->kind) {
    case EXPR_SELECTOR:
    case EXPR_MATRIX:
        return true;
    case EXPR_SUBQUERY:
        return has_metadata(expr->u.subquery.operand);
    case EXPR_AGGREGATE:
        return aggregate_has_metadata(&expr->u.aggregate);
    case EXPR_CALL:
        return call_has_metadata(&expr->u.call);
    case EXPR_BINARY:
        if (!binary_op_is_set(expr->u.binary.op) && drops_name(expr))
            return false; /* judge.c leaves what would keep them */
        return has_metadata(expr->u.binary.left) || has_metadata(expr->u.binary.right);
    case EXPR_UNARY:
        return !expr->u.unary.negative && has_metadata(expr->u.unary.operand);
    case EXPR_PAREN:
        return has_metadata(expr->u.paren);
    default:
        return false;
    }
}

/* --- scalars --- */

static double fold(enum binary_op op, double left, double right)
{
    switch (op) {
    case OP_ADD:
        return left + right;
    case OP_SUB:
        return left - right;
    case OP_MUL:
        return left * right;
    case OP_DIV:
        return left / right;
    case OP_MOD:
        return fmod(left, right);
    case OP_POW:
        return pow(left, right);
    case OP_ATAN2:
        return atan2(left, right);
    case OP_EQL:
        return left == right;
    case OP_NEQ:
        return left != right;
    case OP_GTR:
        return left > right;
    case OP_LSS:
        return left < right;
    case OP_GTE:
        return left >= right;
    case OP_LTE:
        return left <= right;
    default:
        INVARIANT(!"an operator between scalars");
        return NAN;
    }
}

static struct scalar binary_scalar(const struct expr_binary *binary)
{
    struct scalar left = scalar_of(binary->left), right = scalar_of(binary->right);
    bool trims = binary->op == OP_TRIM_UPPER || binary->op == OP_TRIM_LOWER; /* of histograms */
    if (trims || left.kind == SCALAR_NONE || right.kind == SCALAR_NONE)
        return (struct scalar){SCALAR_NONE, 0};
    if (left.kind == SCALAR_CONSTANT && right.kind == SCALAR_CONSTANT)
        return (struct scalar){SCALAR_CONSTANT, fold(binary->op, left.value, right.value)};
    return (struct scalar){SCALAR_GRID, 0};
}

struct scalar scalar_of(const struct expr *expr)
{
    PRE(expr->type == VALUE_SCALAR);
    struct scalar inner;
    switch (expr->kind) {
    case EXPR_NUMBER:
        return (struct scalar){SCALAR_CONSTANT, expr->u.number.value};
    case EXPR_PAREN:
        return scalar_of(expr->u.paren);
    case EXPR_UNARY:
        inner = scalar_of(expr->u.unary.operand);
        inner.value = expr->u.unary.negative ? -inner.value : inner.value;
        return inner;
    case EXPR_BINARY:
        return binary_scalar(&expr->u.binary);
    case EXPR_CALL:
        if (expr->u.call.function->id == FN_PI)
            return (struct scalar){SCALAR_CONSTANT, M_PI};
        if (expr->u.call.function->id == FN_TIME || expr->u.call.function->id == FN_SCALAR)
            return (struct scalar){SCALAR_GRID, 0};
        return (struct scalar){SCALAR_NONE, 0};
    default:
        return (struct scalar){SCALAR_NONE, 0};
    }
}

/* --- calls --- */

const struct expr *call_range(const struct expr_call *call)
{
    for (size_t i = 0; i < call->args_n; i++)
        if (call->args[i]->type == VALUE_MATRIX)
            return expr_unparen(call->args[i]);
    return NULL;
}

const struct expr *call_sampled(const struct expr_call *call)
{
    const struct expr *operand = call->function->id == FN_TIMESTAMP ? expr_unparen(call->args[0]) : NULL;
    return operand && operand->kind == EXPR_SELECTOR ? operand : NULL;
}

enum call_shape call_shape(const struct expr_call *call)
{
    const struct function *function = call->function;
    switch (function->id) {
    case FN_VECTOR:
        return CALL_VECTOR;
    case FN_ABSENT:
    case FN_ABSENT_OVER_TIME:
        return CALL_ABSENT;
    case FN_TIMESTAMP:
        return CALL_TIMESTAMP;
    case FN_INFO:
        return CALL_INFO;
    default:
        break;
    }
    if (function->result != VALUE_VECTOR)
        return CALL_OTHER;
    if (call_range(call))
        return CALL_WINDOW;
    if (call->args_n == 0)
        return CALL_OF_TIME;
    for (size_t i = 0; i < call->args_n; i++)
        if (call->args[i]->type != (i == 0 ? VALUE_VECTOR : VALUE_SCALAR))
            return CALL_OTHER;
    return CALL_ELEMENTWISE;
}

const struct matcher *selector_metric(const struct expr_selector *selector)
{
    for (size_t i = 0; i < selector->matchers_n; i++)
        if (selector->matchers[i].op == MATCH_EQUAL && str_eq(selector->matchers[i].name, LABEL_METRIC_NAME))
            return &selector->matchers[i];
    return NULL;
}

const struct matcher *info_metric(const struct expr_selector *asked)
{
    for (size_t i = 0; i < asked->matchers_n; i++)
        if (str_eq(asked->matchers[i].name, LABEL_METRIC_NAME))
            return &asked->matchers[i];
    return NULL;
}

/* --- absent --- */

const struct expr *absent_selector(const struct expr *operand)
{
    const struct expr *asked = expr_unparen(operand);
    if (asked->kind == EXPR_MATRIX)
        asked = asked->u.matrix.selector;
    return asked->kind == EXPR_SELECTOR ? asked : NULL;
}

size_t absent_labels(const struct expr *operand, struct label labels[ABSENT_LABELS_MAX])
{
    const struct expr *at = absent_selector(operand);
    if (!at)
        return 0;
    const struct expr_selector *selector = &at->u.selector;
    PRE(selector->matchers_n <= ABSENT_LABELS_MAX);
    size_t n = 0;
    for (size_t i = 0; i < selector->matchers_n; i++) {
        const struct matcher *matcher = &selector->matchers[i];
        if (str_eq(matcher->name, LABEL_METRIC_NAME))
            continue;
        bool set_before = false; /* by an equality matcher, kept or dropped since */
        for (size_t k = 0; k < i; k++)
            set_before |= selector->matchers[k].op == MATCH_EQUAL && str_eq(selector->matchers[k].name, matcher->name);
        size_t kept = 0;
        while (kept < n && !str_eq(labels[kept].name, matcher->name))
            kept++;
        if (matcher->op == MATCH_EQUAL && !set_before)
            labels[n++] = (struct label){matcher->name, matcher->value};
        else if (kept < n)
            labels[kept].value = (struct str){NULL, 0};
    }
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (labels[i].value.len)
            labels[kept++] = labels[i];
    return kept;
}

/* --- annotations --- */

bool metric_name_counts(struct str name)
{
    static const struct str endings[] = {STR_STATIC("_total"), STR_STATIC("_sum"), STR_STATIC("_count"),
                                         STR_STATIC("_bucket")};
    for (size_t i = 0; i < ARRAY_LENGTH(endings); i++)
        if (name.len >= endings[i].len &&
            memcmp(name.ptr + name.len - endings[i].len, endings[i].ptr, endings[i].len) == 0)
            return true;
    return false;
}
