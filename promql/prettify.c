/* promql/prettify.c: a query on several lines; see print.h.
 *
 * A node whose one-line text is longer than 100 bytes is split: its children go on lines of their own, indented by two
 * spaces per level. Source: Prometheus promql/parser/prettier.go.
 */
#include "promql/print_parts.h"

#define LINE_BYTES_MAX 100

static bool needs_split(const struct expr *expr)
{
    struct strbuf line;
    strbuf_init(&line, LINE_BYTES_MAX); /* stops the printing as soon as the line is full */
    promql_print(&line, expr, NULL);
    bool long_line = line.status == E_LIMIT;
    strbuf_release(&line);
    return long_line;
}

static void indent(struct strbuf *out, unsigned level)
{
    for (unsigned i = 0; i < level; i++)
        strbuf_cstr(out, "  ");
}

static void pretty(struct strbuf *out, const struct expr *expr, unsigned level);

static void pretty_call(struct strbuf *out, const struct expr_call *call, unsigned level)
{
    strbuf_str(out, call->function->name);
    strbuf_cstr(out, "(\n");
    for (size_t i = 0; i < call->args_n; i++) {
        strbuf_cstr(out, i > 0 ? ",\n" : "");
        pretty(out, call->args[i], level + 1);
    }
    strbuf_char(out, '\n');
    indent(out, level);
    strbuf_char(out, ')');
}

static void pretty_aggregate(struct strbuf *out, const struct expr_aggregate *aggregate, unsigned level)
{
    print_aggregate_head(out, aggregate);
    strbuf_cstr(out, "(\n");
    if (aggregate->parameter) {
        pretty(out, aggregate->parameter, level + 1);
        strbuf_cstr(out, ",\n");
    }
    pretty(out, aggregate->operand, level + 1);
    strbuf_char(out, '\n');
    indent(out, level);
    strbuf_char(out, ')');
}

static void pretty_binary(struct strbuf *out, const struct expr_binary *binary, unsigned level)
{
    pretty(out, binary->left, level + 1);
    strbuf_char(out, '\n');
    indent(out, level);
    print_operator(out, binary);
    strbuf_char(out, '\n');
    pretty(out, binary->right, level + 1);
}

/* The operand's own indentation gives way to the sign. */
static void pretty_unary(struct strbuf *out, const struct expr_unary *unary, unsigned level)
{
    struct strbuf operand;
    strbuf_init(&operand, out->max);
    pretty(&operand, unary->operand, level);
    struct str text = strbuf_view(&operand);
    while (text.len > 0 && (text.ptr[0] == ' ' || text.ptr[0] == '\n')) {
        text.ptr++;
        text.len--;
    }
    indent(out, level);
    strbuf_char(out, unary->negative ? '-' : '+');
    strbuf_str(out, text);
    if (operand.status != OK && out->status == OK)
        out->status = operand.status;
    strbuf_release(&operand);
}

static void pretty(struct strbuf *out, const struct expr *expr, unsigned level)
{
    if (out->status != OK)
        return;
    if (expr->kind == EXPR_UNARY) {
        pretty_unary(out, &expr->u.unary, level);
        return;
    }
    if (expr->kind == EXPR_SUBQUERY && needs_split(expr)) {
        pretty(out, expr->u.subquery.operand, level);
        print_subquery_suffix(out, &expr->u.subquery, &(struct print_options){0});
        return;
    }
    bool is_branch = expr->kind == EXPR_AGGREGATE || expr->kind == EXPR_CALL || expr->kind == EXPR_BINARY ||
                     expr->kind == EXPR_PAREN;
    bool split = is_branch && needs_split(expr);
    /* Upstream indents neither a subquery that fits its line nor, before its left operand, a split operator. */
    if (expr->kind != EXPR_SUBQUERY && !(split && expr->kind == EXPR_BINARY))
        indent(out, level);
    if (!split) {
        promql_print(out, expr, NULL);
    } else if (expr->kind == EXPR_AGGREGATE) {
        pretty_aggregate(out, &expr->u.aggregate, level);
    } else if (expr->kind == EXPR_CALL) {
        pretty_call(out, &expr->u.call, level);
    } else if (expr->kind == EXPR_BINARY) {
        pretty_binary(out, &expr->u.binary, level);
    } else {
        strbuf_cstr(out, "(\n");
        pretty(out, expr->u.paren, level + 1);
        strbuf_char(out, '\n');
        indent(out, level);
        strbuf_char(out, ')');
    }
}

void promql_prettify(struct strbuf *out, const struct expr *expr)
{
    pretty(out, expr, 0);
}
