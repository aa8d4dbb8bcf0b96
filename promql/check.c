/* promql/check.c: whether a well-formed tree means something: types, arity, matching rules.
 *
 * Nodes are visited in upstream's order, so that the first failure is the one upstream shows. The types of nodes come
 * from the builders; here they are compared with what each place takes. Also brought to one form here: a set operator
 * is many-to-many, and matching between anything but two instant vectors is dropped.
 *
 * Source: Prometheus promql/parser/parse.go (checkAST).
 */
#include "promql/builder.h"
#include "promql/print.h"

static bool check(struct builder *b, struct expr *expr);

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* The text between two operands, without the spaces around it. */
static struct text_range operator_range(const struct builder *b, const struct expr_binary *binary)
{
    struct text_range range = {binary->left->range.end, binary->right->range.begin};
    while (range.begin < range.end && is_space(b->text.ptr[range.begin]))
        range.begin++;
    while (range.end > range.begin && is_space(b->text.ptr[range.end - 1]))
        range.end--;
    return range;
}

static bool is_number_like(const struct expr *expr)
{
    return expr->type == VALUE_SCALAR || expr->type == VALUE_VECTOR;
}

/* A label may not be matched on and copied at once. */
static void check_labels(struct builder *b, const struct expr_binary *binary)
{
    if (!binary->on)
        return;
    for (size_t i = 0; i < binary->matching.n; i++) {
        for (size_t j = 0; j < binary->include.n; j++) {
            if (!str_eq(binary->matching.at[i], binary->include.at[j]))
                continue;
            struct strbuf quoted;
            strbuf_init(&quoted, ERROR_MESSAGE_MAX);
            promql_print_string(&quoted, binary->matching.at[i]);
            builder_fail(b, operator_range(b, binary),
                         "label " STR_FORMAT " must not occur in ON and GROUP clause at once",
                         STR_ARG(strbuf_view(&quoted)));
            strbuf_release(&quoted);
            return;
        }
    }
}

static void check_matching(struct builder *b, struct expr *expr)
{
    struct expr_binary *binary = &expr->u.binary;
    bool vectors = binary->left->type == VALUE_VECTOR && binary->right->type == VALUE_VECTOR;
    bool fill = binary->fill_left_present || binary->fill_right_present;
    bool set = binary_op_is_set(binary->op);
    if (!vectors) {
        if (binary->matching.n > 0)
            builder_fail(b, expr->range, "vector matching only allowed between instant vectors");
        if (fill)
            builder_fail(b, expr->range, "filling in missing series only allowed between instant vectors");
        binary->matching_written = false;
        binary->on = false;
        binary->cardinality = CARD_ONE_TO_ONE;
        binary->matching = (struct name_list){0};
        binary->include = (struct name_list){0};
    } else if (set) {
        if (binary->cardinality != CARD_MANY_TO_MANY)
            builder_fail(b, expr->range, "no grouping allowed for \"%s\" operation", binary_op_text(binary->op));
        if (fill)
            builder_fail(b, expr->range, "filling in missing series not allowed for set operators");
    }
    if (set && (binary->left->type == VALUE_SCALAR || binary->right->type == VALUE_SCALAR))
        builder_fail(b, expr->range, "set operator \"%s\" not allowed in binary scalar expression",
                     binary_op_text(binary->op));
}

static bool check_binary(struct builder *b, struct expr *expr)
{
    struct expr_binary *binary = &expr->u.binary;
    if (!check(b, binary->left) || !check(b, binary->right))
        return false;
    bool comparison = binary_op_is_comparison(binary->op);
    if (binary->return_bool && !comparison)
        builder_fail(b, operator_range(b, binary), "bool modifier can only be used on comparison operators");
    if (comparison && !binary->return_bool && expr->type == VALUE_SCALAR)
        builder_fail(b, operator_range(b, binary), "comparisons between scalars must use BOOL modifier");
    if (binary_op_is_set(binary->op) && binary->cardinality == CARD_ONE_TO_ONE)
        binary->cardinality = CARD_MANY_TO_MANY;
    check_labels(b, binary);
    if (!is_number_like(binary->left))
        builder_fail(b, binary->left->range, "binary expression must contain only scalar and instant vector types");
    if (!is_number_like(binary->right))
        builder_fail(b, binary->right->range, "binary expression must contain only scalar and instant vector types");
    check_matching(b, expr);
    return b->status == OK;
}

static bool check_arity(struct builder *b, const struct expr *expr)
{
    const struct expr_call *call = &expr->u.call;
    const struct function *function = call->function;
    size_t least = function->args_n - (function->variadic != 0);
    size_t most = function->variadic < 0 ? SIZE_MAX : least + (size_t)function->variadic;
    if (function->variadic == 0 && call->args_n != function->args_n)
        builder_fail(b, expr->range, "expected %zu argument(s) in call to \"%s\", got %zu", function->args_n,
                     function->name.ptr, call->args_n);
    else if (call->args_n < least)
        builder_fail(b, expr->range, "expected at least %zu argument(s) in call to \"%s\", got %zu", least,
                     function->name.ptr, call->args_n);
    else if (function->variadic > 0 && call->args_n > most)
        builder_fail(b, expr->range, "expected at most %zu argument(s) in call to \"%s\", got %zu", most,
                     function->name.ptr, call->args_n);
    return b->status == OK;
}

/* The second argument of info() is a bare selector of labels, which need not select anything in particular. */
static bool check_info(struct builder *b, const struct expr *expr)
{
    const struct expr *labels = expr->u.call.args[1];
    if (labels->type != VALUE_VECTOR)
        builder_fail(b, expr->range, "expected type instant vector in call to function \"info\", got %s",
                     value_type_text(labels->type));
    else if (labels->kind != EXPR_SELECTOR)
        builder_fail(b, labels->range, "expected label selectors only");
    else if (labels->u.selector.metric.len > 0)
        builder_fail(b, labels->range, "expected label selectors only, got vector selector instead");
    return b->status == OK;
}

static bool check_call(struct builder *b, struct expr *expr)
{
    const struct expr_call *call = &expr->u.call;
    const struct function *function = call->function;
    if (!check_arity(b, expr))
        return false;
    bool info = function->id == FN_INFO && call->args_n > 1;
    if (info && !check_info(b, expr))
        return false;
    for (size_t i = 0; i < call->args_n; i++) {
        enum value_type wanted = function->args[i < function->args_n ? i : function->args_n - 1];
        if (!(info && i == 1) && !check(b, call->args[i]))
            return false;
        if (call->args[i]->type != wanted)
            builder_fail(b, call->args[i]->range, "expected type %s in call to function \"%s\", got %s",
                         value_type_text(wanted), function->name.ptr, value_type_text(call->args[i]->type));
    }
    return b->status == OK;
}

static bool check_operand(struct builder *b, struct expr *expr, enum value_type wanted, const char *place)
{
    if (!check(b, expr))
        return false;
    if (expr->type != wanted)
        builder_fail(b, expr->range, "expected type %s in %s, got %s", value_type_text(wanted), place,
                     value_type_text(expr->type));
    return b->status == OK;
}

static bool check_aggregate(struct builder *b, struct expr *expr)
{
    const struct expr_aggregate *aggregate = &expr->u.aggregate;
    if (!check_operand(b, aggregate->operand, VALUE_VECTOR, "aggregation expression"))
        return false;
    if (!aggregate->parameter)
        return true;
    enum value_type wanted = aggregate->op == AGG_COUNT_VALUES ? VALUE_STRING : VALUE_SCALAR;
    return check_operand(b, aggregate->parameter, wanted, "aggregation parameter");
}

static bool check_unary(struct builder *b, struct expr *expr)
{
    struct expr *operand = expr->u.unary.operand;
    if (!check(b, operand))
        return false;
    if (!is_number_like(operand))
        builder_fail(b, expr->range,
                     "unary expression only allowed on expressions of type scalar or instant vector, got \"%s\"",
                     value_type_text(operand->type));
    return b->status == OK;
}

static bool check_subquery(struct builder *b, struct expr *expr)
{
    static const char *const SHORT[] = {"none", "scalar", "string", "vector", "matrix"};
    struct expr *operand = expr->u.subquery.operand;
    if (!check(b, operand))
        return false;
    if (operand->type != VALUE_VECTOR)
        builder_fail(b, expr->range, "subquery is only allowed on instant vector, got %s instead",
                     SHORT[operand->type]);
    return b->status == OK;
}

static bool check_selector(struct builder *b, const struct expr *expr)
{
    const struct expr_selector *selector = &expr->u.selector;
    if (selector->metric.len == 0) {
        if (!matchers_need_something(b->regex, selector->matchers, selector->matchers_n))
            builder_fail(b, expr->range, "vector selector must contain at least one non-empty matcher");
        return b->status == OK;
    }
    for (size_t i = 1; i < selector->matchers_n; i++) {
        if (!str_eq(selector->matchers[i].name, LABEL_METRIC_NAME))
            continue;
        struct strbuf names;
        strbuf_init(&names, ERROR_MESSAGE_MAX);
        promql_print_string(&names, selector->metric);
        strbuf_cstr(&names, " or ");
        promql_print_string(&names, selector->matchers[i].value);
        builder_fail(b, expr->range, "metric name must not be set twice: " STR_FORMAT, STR_ARG(strbuf_view(&names)));
        strbuf_release(&names);
        return false;
    }
    return true;
}

static bool check(struct builder *b, struct expr *expr)
{
    switch (expr->kind) {
    case EXPR_SELECTOR:
        return check_selector(b, expr);
    case EXPR_MATRIX:
        return check(b, expr->u.matrix.selector);
    case EXPR_SUBQUERY:
        return check_subquery(b, expr);
    case EXPR_AGGREGATE:
        return check_aggregate(b, expr);
    case EXPR_CALL:
        return check_call(b, expr);
    case EXPR_BINARY:
        return check_binary(b, expr);
    case EXPR_UNARY:
        return check_unary(b, expr);
    case EXPR_PAREN:
        return check(b, expr->u.paren);
    default:
        return true;
    }
}

bool check_tree(struct builder *b, struct expr *root)
{
    return check(b, root);
}
