/* planner/notes.c: see notes.h. */
#include "planner/notes.h"

#include "base/assert.h"
#include "planner/judge.h"
#include "planner/shape.h"

#define NOTE_BYTES_MAX (64u << 10)

struct notes {
    struct arena *arena;
    struct str query;
    struct str metrics[NOTES_MAX];
    struct str texts[NOTES_MAX];
    size_t n;
    enum status status;
    struct error *reterr;
};

/* The one metric name of a selector below, through whatever keeps it; empty if there is none. */
static struct str metric_name(const struct expr *expr)
{
    if (names_of(expr) != NAMES_ONE)
        return STR("");
    while (expr->kind != EXPR_SELECTOR) {
        switch (expr->kind) {
        case EXPR_MATRIX:
            expr = expr->u.matrix.selector;
            break;
        case EXPR_SUBQUERY:
            expr = expr->u.subquery.operand;
            break;
        case EXPR_PAREN:
            expr = expr->u.paren;
            break;
        case EXPR_UNARY:
            expr = expr->u.unary.operand;
            break;
        case EXPR_BINARY:
            expr = binary_op_is_set(expr->u.binary.op) ? expr->u.binary.left : binary_many_side(&expr->u.binary);
            break;
        case EXPR_AGGREGATE:
            expr = expr->u.aggregate.operand;
            break;
        default:
            INVARIANT(expr->kind == EXPR_CALL);
            expr = call_range(&expr->u.call) ? call_range(&expr->u.call) : expr->u.call.args[0];
            break;
        }
    }
    const struct expr_selector *selector = &expr->u.selector;
    size_t i = 0;
    while (selector->matchers[i].op != MATCH_EQUAL || !str_eq(selector->matchers[i].name, LABEL_METRIC_NAME))
        i++;
    return selector->matchers[i].value;
}

void notes_write_position(struct strbuf *out, struct str query, uint32_t at)
{
    unsigned line = 1, column = 1;
    for (uint32_t i = 0; i < at && i < query.len; i++) {
        column = query.ptr[i] == '\n' ? 1 : column + 1;
        line += query.ptr[i] == '\n';
    }
    strbuf_f(out, "%u:%u", line, column);
}

static void write_note(struct strbuf *text, struct str query, struct str metric, uint32_t at)
{
    strbuf_cstr(text, "PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: ");
    promql_print_string(text, metric);
    strbuf_cstr(text, " (");
    notes_write_position(text, query, at);
    strbuf_char(text, ')');
}

/* Of several notes on one metric Prometheus keeps the last. */
static void add_note(struct notes *notes, struct str metric, uint32_t at)
{
    size_t i = 0;
    while (i < notes->n && !str_eq(notes->metrics[i], metric))
        i++;
    if (i == NOTES_MAX || notes->status != OK)
        return;
    struct strbuf text;
    strbuf_init(&text, NOTE_BYTES_MAX);
    write_note(&text, notes->query, metric, at);
    notes->status = strbuf_status(&text, "a remark", notes->reterr);
    if (notes->status == OK) {
        notes->metrics[i] = metric;
        notes->texts[i] = arena_str(notes->arena, strbuf_view(&text));
        notes->n += i == notes->n;
        if (!notes->texts[i].ptr)
            notes->status = error_set(notes->reterr, E_NOMEM, "no memory for a remark");
    }
    strbuf_release(&text);
}

/* The metric of a call that is remarked on; empty: it is not. */
static struct str remarked_metric(const struct expr_call *call)
{
    if (call->function->id != FN_RATE && call->function->id != FN_INCREASE)
        return STR("");
    struct str metric = metric_name(call_range(call));
    return metric_name_counts(metric) ? STR("") : metric;
}

static void note_call(struct notes *notes, const struct expr_call *call)
{
    struct str metric = remarked_metric(call);
    if (metric.len == 0)
        return;
    const struct expr *range = call_range(call);
    add_note(notes, metric, range->kind == EXPR_SUBQUERY ? 0 : range->range.begin); /* upstream forgets it there */
}

struct names_known {
    const struct plan_options *options;
    bool gauge; /* some name is not a counter's */
};

static bool look_for_gauge(const struct expr *expr, void *arg)
{
    struct names_known *known = arg;
    if (expr->kind != EXPR_SELECTOR || known->gauge)
        return true;
    struct str name = names_of(expr) == NAMES_ONE ? metric_name(expr) : STR("");
    if (name.len)
        known->gauge = !metric_name_counts(name);
    else if (known->options->has_gauges)
        known->gauge = known->options->has_gauges(&expr->u.selector, known->options->has_gauges_arg);
    return true;
}

bool notes_of_some(const struct expr_call *call, const struct plan_options *options)
{
    struct names_known known = {.options = options};
    const struct expr *range = call_range(call);
    if ((call->function->id == FN_RATE || call->function->id == FN_INCREASE) && names_of(range) == NAMES_MANY)
        expr_walk(range, look_for_gauge, &known);
    return known.gauge;
}

static bool look_for_remark(const struct expr *expr, void *arg)
{
    *(bool *)arg |= expr->kind == EXPR_CALL && remarked_metric(&expr->u.call).len > 0;
    return true;
}

bool notes_possible(const struct expr *expr)
{
    bool possible = false;
    expr_walk(expr, look_for_remark, &possible);
    return possible;
}

/* Whether the node has a value wherever its operand has one. */
static bool keeps_values(const struct expr *expr)
{
    switch (expr->kind) {
    case EXPR_PAREN:
    case EXPR_UNARY:
    case EXPR_SUBQUERY: /* the call around it is asked */
        return true;
    case EXPR_AGGREGATE:
        return !expr->u.aggregate.parameter;
    case EXPR_BINARY:
        return (expr->u.binary.left->type == VALUE_SCALAR || expr->u.binary.right->type == VALUE_SCALAR) &&
               (!binary_op_is_comparison(expr->u.binary.op) || expr->u.binary.return_bool);
    case EXPR_CALL:
        return call_shape(&expr->u.call) == CALL_ELEMENTWISE && expr->u.call.function->id != FN_CLAMP;
    default:
        return false;
    }
}

bool notes_hidden_by(const struct expr *expr)
{
    bool hidden = false;
    const struct expr *child;
    for (size_t i = 0; (child = judge_child(expr, i)) != NULL && !hidden && !keeps_values(expr); i++)
        hidden = notes_possible(child);
    return hidden;
}

/* Whether the expression may be without values while Prometheus remarks on something inside. Depth is bounded by the
 * parser. */
static bool notes_hidden(const struct expr *expr)
{
    bool hidden = notes_hidden_by(expr);
    const struct expr *child;
    for (size_t i = 0; (child = judge_child(expr, i)) != NULL && !hidden; i++)
        hidden = notes_hidden(child);
    return hidden;
}

/* Depth is bounded by the parser. */
static void note_tree(struct notes *notes, const struct expr *expr)
{
    switch (expr->kind) {
    case EXPR_PAREN:
        note_tree(notes, expr->u.paren);
        return;
    case EXPR_UNARY:
        note_tree(notes, expr->u.unary.operand);
        return;
    case EXPR_AGGREGATE:
        note_tree(notes, expr->u.aggregate.operand);
        return;
    case EXPR_SUBQUERY:
        note_tree(notes, expr->u.subquery.operand);
        return;
    case EXPR_BINARY:
        note_tree(notes, expr->u.binary.left);
        note_tree(notes, expr->u.binary.right);
        return;
    case EXPR_CALL:
        for (size_t i = 0; i < expr->u.call.args_n; i++)
            note_tree(notes, expr->u.call.args[i]);
        note_call(notes, &expr->u.call);
        return;
    default:
        return;
    }
}

enum status notes_make(struct arena *arena, struct str query, struct fragment *fragment, struct error *reterr)
{
    struct notes notes = {.arena = arena, .query = query, .reterr = reterr};
    note_tree(&notes, fragment->root);
    if (notes.status != OK || notes.n == 0)
        return notes.status;
    struct str *texts = ARENA_ARRAY(arena, struct str, notes.n);
    if (!texts)
        return error_set(reterr, E_NOMEM, "no memory for %zu remarks", notes.n);
    memcpy(texts, notes.texts, notes.n * sizeof *texts);
    fragment->notes = texts;
    fragment->notes_n = notes.n;
    fragment->notes_hidden = notes_hidden(fragment->root);
    return OK;
}

/* --- upstream's remarks --- */

/* Where the node that begins at `at` of the residual's text begins in the query: `own` is the residual, whose nodes are
 * placed in the query, `read` the same tree as read from its text. */
static bool find_origin(const struct expr *own, const struct expr *read, uint32_t at, uint32_t *ret_at)
{
    if (read->range.begin == at) {
        *ret_at = own->range.begin;
        return true;
    }
    const struct expr *own_child, *read_child;
    for (size_t i = 0; (own_child = judge_child(own, i)) && (read_child = judge_child(read, i)); i++)
        if (find_origin(own_child, read_child, at, ret_at))
            return true;
    return false;
}

/* The column of "… (1:86)", less one; the residual has one line. */
static bool read_position(struct str remark, size_t *ret_begin, uint32_t *ret_at)
{
    static const char before[] = " (1:";
    size_t i = remark.len;
    if (i == 0 || remark.ptr[--i] != ')')
        return false;
    uint64_t column = 0, scale = 1;
    while (i > 0 && remark.ptr[i - 1] >= '0' && remark.ptr[i - 1] <= '9' && scale <= 1000000000) {
        column += (uint64_t)(remark.ptr[--i] - '0') * scale;
        scale *= 10;
    }
    if (i < sizeof before - 1 || memcmp(remark.ptr + i - (sizeof before - 1), before, sizeof before - 1) != 0 ||
        column == 0 || column > UINT32_MAX)
        return false;
    *ret_begin = i - 2; /* "1:" */
    *ret_at = (uint32_t)column - 1;
    return true;
}

void notes_translate(struct strbuf *out, struct arena *arena, const struct split *split, struct str residual,
                     struct str remark)
{
    struct query_text read;
    struct error error;
    size_t begin;
    uint32_t at;
    if (!read_position(remark, &begin, &at) ||
        promql_parse(arena, residual, &PARSE_LIMITS_DEFAULT, NULL, &read, &error) != OK ||
        !find_origin(split->residual, read.root, at, &at)) {
        strbuf_str(out, remark);
        return;
    }
    strbuf_str(out, (struct str){remark.ptr, begin});
    notes_write_position(out, split->query.text, at);
    strbuf_char(out, ')');
}
