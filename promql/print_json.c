/* promql/print_json.c: a tree as JSON, for the parse_query API; see print.h.
 *
 * Keys rise within each object, as Go's encoder writes maps. Durations are milliseconds; a duration expression shows 0
 * until it is resolved. Source: Prometheus web/api/v1/translate_ast.go.
 */
#include <math.h>

#include "base/assert.h"
#include "base/float_text.h"
#include "promql/print.h"

static void json(struct strbuf *out, const struct expr *expr);

static void json_cstr(struct strbuf *out, const char *text)
{
    strbuf_json(out, str_from(text));
}

static void json_key(struct strbuf *out, const char *key)
{
    strbuf_f(out, ",\"%s\":", key);
}

static void json_bool(struct strbuf *out, bool value)
{
    strbuf_cstr(out, value ? "true" : "false");
}

static void json_double_text(struct strbuf *out, double value)
{
    char text[FLOAT_TEXT_MAX];
    float_text_plain(text, value);
    json_cstr(out, text);
}

static void json_names(struct strbuf *out, struct name_list names)
{
    strbuf_char(out, '[');
    for (size_t i = 0; i < names.n; i++) {
        strbuf_cstr(out, i > 0 ? "," : "");
        strbuf_json(out, names.at[i]);
    }
    strbuf_char(out, ']');
}

/* JSON has no NaN and no infinity. */
static void json_number(struct strbuf *out, bool present, double value)
{
    char text[FLOAT_TEXT_MAX];
    if (present && isfinite(value))
        strbuf_bytes(out, text, float_text_json(text, value));
    else
        strbuf_cstr(out, "null");
}

static void json_matcher(struct strbuf *out, const struct matcher *matcher)
{
    strbuf_cstr(out, "{\"name\":");
    strbuf_json(out, matcher->name);
    json_key(out, "type");
    json_cstr(out, match_op_text(matcher->op));
    json_key(out, "value");
    strbuf_json(out, matcher->value);
    strbuf_char(out, '}');
}

/* The matcher made from the name in front comes last, as upstream keeps it. */
static void json_matchers(struct strbuf *out, const struct expr_selector *selector)
{
    size_t first = selector->metric.len > 0;
    strbuf_char(out, '[');
    for (size_t i = first; i < selector->matchers_n; i++) {
        json_matcher(out, &selector->matchers[i]);
        strbuf_cstr(out, i + 1 < selector->matchers_n || first ? "," : "");
    }
    if (first)
        json_matcher(out, &selector->matchers[0]);
    strbuf_char(out, ']');
}

static void json_duration_expr(struct strbuf *out, const struct duration_expr *expr);

static void json_duration_literal(struct strbuf *out, const struct duration_expr *expr)
{
    strbuf_cstr(out, "{\"duration\":");
    json_bool(out, expr->literal_is_duration);
    json_key(out, "type");
    json_cstr(out, "numberLiteral");
    json_key(out, "val");
    json_double_text(out, expr->literal);
    strbuf_char(out, '}');
}

/* A literal in parentheses is, upstream, an addition without a left side around the literal. */
static void json_duration_expr(struct strbuf *out, const struct duration_expr *expr)
{
    static const char *const OPERATORS[] = {
        [DUR_LITERAL] = "+", [DUR_ADD] = "+",       [DUR_SUB] = "-",      [DUR_MUL] = "*",
        [DUR_DIV] = "/",     [DUR_MOD] = "%",       [DUR_POW] = "^",      [DUR_NEG] = "-",
        [DUR_STEP] = "step", [DUR_RANGE] = "range", [DUR_MIN] = "min_of", [DUR_MAX] = "max_of"};
    if (!expr) {
        strbuf_cstr(out, "null");
        return;
    }
    if (expr->op == DUR_POS) { /* upstream has dropped the sign */
        json_duration_expr(out, expr->right);
        return;
    }
    if (expr->op == DUR_LITERAL && !expr->wrapped) {
        json_duration_literal(out, expr);
        return;
    }
    strbuf_cstr(out, "{\"lhs\":");
    json_duration_expr(out, expr->left);
    json_key(out, "op");
    json_cstr(out, OPERATORS[expr->op]);
    json_key(out, "rhs");
    if (expr->op == DUR_LITERAL)
        json_duration_literal(out, expr);
    else
        json_duration_expr(out, expr->right);
    json_key(out, "type");
    json_cstr(out, "durationExpr");
    json_key(out, "wrapped");
    json_bool(out, expr->wrapped);
    strbuf_char(out, '}');
}

static void json_duration(struct strbuf *out, const char *key, const struct duration *duration)
{
    json_key(out, key);
    strbuf_i64(out, duration->ms);
    strbuf_f(out, ",\"%sExpr\":", key);
    json_duration_expr(out, duration->expr);
}

static void json_start_or_end(struct strbuf *out, enum at_kind at)
{
    json_key(out, "startOrEnd");
    strbuf_cstr(out, at == AT_START ? "\"start\"" : at == AT_END ? "\"end\"" : "null");
}

static void json_timestamp(struct strbuf *out, enum at_kind at, int64_t at_ms)
{
    json_key(out, "timestamp");
    if (at == AT_TIME)
        strbuf_i64(out, at_ms);
    else
        strbuf_cstr(out, "null");
}

static void json_selector(struct strbuf *out, const struct expr_selector *selector, const struct duration *range)
{
    strbuf_cstr(out, "{\"anchored\":");
    json_bool(out, selector->anchored);
    json_key(out, "matchers");
    json_matchers(out, selector);
    json_key(out, "name");
    strbuf_json(out, selector->metric);
    json_duration(out, "offset", &selector->offset);
    if (range)
        json_duration(out, "range", range);
    json_key(out, "smoothed");
    json_bool(out, selector->smoothed);
    json_start_or_end(out, selector->at);
    json_timestamp(out, selector->at, selector->at_ms);
    json_key(out, "type");
    json_cstr(out, range ? "matrixSelector" : "vectorSelector");
    strbuf_char(out, '}');
}

static void json_subquery(struct strbuf *out, const struct expr_subquery *subquery)
{
    strbuf_cstr(out, "{\"expr\":");
    json(out, subquery->operand);
    json_duration(out, "offset", &subquery->offset);
    json_duration(out, "range", &subquery->range);
    json_start_or_end(out, subquery->at);
    json_duration(out, "step", &subquery->step);
    json_timestamp(out, subquery->at, subquery->at_ms);
    json_key(out, "type");
    json_cstr(out, "subquery");
    strbuf_char(out, '}');
}

static void json_aggregate(struct strbuf *out, const struct expr_aggregate *aggregate)
{
    strbuf_cstr(out, "{\"expr\":");
    json(out, aggregate->operand);
    json_key(out, "grouping");
    json_names(out, aggregate->grouping);
    json_key(out, "op");
    json_cstr(out, aggregate_op_text(aggregate->op));
    json_key(out, "param");
    if (aggregate->parameter)
        json(out, aggregate->parameter);
    else
        strbuf_cstr(out, "null");
    json_key(out, "type");
    json_cstr(out, "aggregation");
    json_key(out, "without");
    json_bool(out, aggregate->without);
    strbuf_char(out, '}');
}

static void json_matching(struct strbuf *out, const struct expr_binary *binary)
{
    static const char *const CARDINALITIES[] = {[CARD_ONE_TO_ONE] = "one-to-one",
                                                [CARD_MANY_TO_ONE] = "many-to-one",
                                                [CARD_ONE_TO_MANY] = "one-to-many",
                                                [CARD_MANY_TO_MANY] = "many-to-many"};
    if (binary->left->type != VALUE_VECTOR || binary->right->type != VALUE_VECTOR) {
        strbuf_cstr(out, "null");
        return;
    }
    strbuf_cstr(out, "{\"card\":");
    json_cstr(out, CARDINALITIES[binary->cardinality]);
    json_key(out, "fillValues");
    strbuf_cstr(out, "{\"lhs\":");
    json_number(out, binary->fill_left_present, binary->fill_left);
    json_key(out, "rhs");
    json_number(out, binary->fill_right_present, binary->fill_right);
    strbuf_char(out, '}');
    json_key(out, "include");
    json_names(out, binary->include);
    json_key(out, "labels");
    json_names(out, binary->matching);
    json_key(out, "on");
    json_bool(out, binary->on);
    strbuf_char(out, '}');
}

static void json_binary(struct strbuf *out, const struct expr_binary *binary)
{
    strbuf_cstr(out, "{\"bool\":");
    json_bool(out, binary->return_bool);
    json_key(out, "lhs");
    json(out, binary->left);
    json_key(out, "matching");
    json_matching(out, binary);
    json_key(out, "op");
    json_cstr(out, binary_op_text(binary->op));
    json_key(out, "rhs");
    json(out, binary->right);
    json_key(out, "type");
    json_cstr(out, "binaryExpr");
    strbuf_char(out, '}');
}

static void json_call(struct strbuf *out, const struct expr_call *call)
{
    static const char *const TYPES[] = {"none", "scalar", "string", "vector", "matrix"};
    const struct function *function = call->function;
    strbuf_cstr(out, "{\"args\":[");
    for (size_t i = 0; i < call->args_n; i++) {
        strbuf_cstr(out, i > 0 ? "," : "");
        json(out, call->args[i]);
    }
    strbuf_cstr(out, "],\"func\":{\"argTypes\":[");
    for (size_t i = 0; i < function->args_n; i++) {
        strbuf_cstr(out, i > 0 ? "," : "");
        json_cstr(out, TYPES[function->args[i]]);
    }
    strbuf_cstr(out, "],\"name\":");
    strbuf_json(out, function->name);
    json_key(out, "returnType");
    json_cstr(out, TYPES[function->result]);
    json_key(out, "variadic");
    strbuf_i64(out, function->variadic);
    strbuf_cstr(out, "},\"type\":\"call\"}");
}

static void json(struct strbuf *out, const struct expr *expr)
{
    switch (expr->kind) {
    case EXPR_NUMBER:
        strbuf_cstr(out, "{\"type\":\"numberLiteral\",\"val\":");
        json_double_text(out, expr->u.number.value);
        strbuf_char(out, '}');
        break;
    case EXPR_STRING:
        strbuf_cstr(out, "{\"type\":\"stringLiteral\",\"val\":");
        strbuf_json(out, expr->u.string);
        strbuf_char(out, '}');
        break;
    case EXPR_SELECTOR:
        json_selector(out, &expr->u.selector, NULL);
        break;
    case EXPR_MATRIX:
        json_selector(out, &expr->u.matrix.selector->u.selector, &expr->u.matrix.range);
        break;
    case EXPR_SUBQUERY:
        json_subquery(out, &expr->u.subquery);
        break;
    case EXPR_AGGREGATE:
        json_aggregate(out, &expr->u.aggregate);
        break;
    case EXPR_CALL:
        json_call(out, &expr->u.call);
        break;
    case EXPR_BINARY:
        json_binary(out, &expr->u.binary);
        break;
    case EXPR_UNARY:
        strbuf_cstr(out, "{\"expr\":");
        json(out, expr->u.unary.operand);
        strbuf_f(out, ",\"op\":\"%c\",\"type\":\"unaryExpr\"}", expr->u.unary.negative ? '-' : '+');
        break;
    case EXPR_PAREN:
        strbuf_cstr(out, "{\"expr\":");
        json(out, expr->u.paren);
        strbuf_cstr(out, ",\"type\":\"parenExpr\"}");
        break;
    case EXPR_TASK:
    case EXPR_KIND_MAX:
        INVARIANT(false); /* a user's tree has no tasks */
    }
}

void promql_print_json(struct strbuf *out, const struct expr *expr)
{
    json(out, expr);
}
