/* promql/print.c: see print.h.
 *
 * The form is upstream's Expr.String(), with its newest corrections, without which a text would not read back:
 * names that need quotes get them in every list, a group modifier is never lost, times keep their milliseconds.
 *
 * Source: Prometheus promql/parser/printer.go.
 */
#include "promql/print.h"

#include <math.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/float_text.h"
#include "promql/print_parts.h"
#include "promql/token.h"

void promql_print_string(struct strbuf *out, struct str s)
{
    const char *at = s.len ? s.ptr : "", *end = at + s.len, *plain = at;
    strbuf_char(out, '"');
    while (at < end) {
        unsigned char c = (unsigned char)*at;
        if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\') {
            at++;
            continue;
        }
        unsigned length;
        char escaped[RUNE_TEXT_MAX];
        int32_t rune = rune_decode(at, end, &length);
        strbuf_bytes(out, plain, (size_t)(at - plain));
        if (rune == RUNE_ERROR && length == 1)
            strbuf_f(out, "\\x%02x", c);
        else
            strbuf_bytes(out, escaped, rune_escape(escaped, rune, '"'));
        plain = at += length;
    }
    strbuf_bytes(out, plain, (size_t)(end - plain));
    strbuf_char(out, '"');
}

void promql_print_duration(struct strbuf *out, int64_t ms)
{
    static const struct {
        const char *name;
        uint64_t ms;
        bool only_whole; /* years and weeks read well only when nothing is left over */
    } UNITS[] = {{"y", 31536000000, true}, {"w", 604800000, true}, {"d", 86400000, false}, {"h", 3600000, false},
                 {"m", 60000, false},      {"s", 1000, false},     {"ms", 1, false}};
    uint64_t left = ms < 0 ? -(uint64_t)ms : (uint64_t)ms;
    if (ms < 0)
        strbuf_char(out, '-');
    if (ms == 0)
        strbuf_cstr(out, "0s");
    for (size_t i = 0; i < sizeof UNITS / sizeof *UNITS && left > 0; i++) {
        uint64_t count = left / UNITS[i].ms;
        if (count == 0 || (UNITS[i].only_whole && left % UNITS[i].ms != 0))
            continue;
        strbuf_u64(out, count);
        strbuf_cstr(out, UNITS[i].name);
        left %= UNITS[i].ms;
    }
}

static void print_double(struct strbuf *out, double value)
{
    char text[FLOAT_TEXT_MAX];
    strbuf_bytes(out, text, float_text_plain(text, value));
}

static void print_number(struct strbuf *out, double value, bool is_duration)
{
    if (is_duration)
        promql_print_duration(out, (int64_t)round(value * 1000));
    else
        print_double(out, value);
}

/* -- durations and times ---------------------------------------------------------------------------------------- */

static void print_duration_expr(struct strbuf *out, const struct duration_expr *expr);

static void print_duration_binary(struct strbuf *out, const char *op, const struct duration_expr *expr)
{
    print_duration_expr(out, expr->left);
    strbuf_f(out, " %s ", op);
    print_duration_expr(out, expr->right);
}

static void print_duration_pair(struct strbuf *out, const char *name, const struct duration_expr *expr)
{
    strbuf_f(out, "%s(", name);
    print_duration_expr(out, expr->left);
    strbuf_cstr(out, ", ");
    print_duration_expr(out, expr->right);
    strbuf_char(out, ')');
}

static void print_duration_expr(struct strbuf *out, const struct duration_expr *expr)
{
    static const char *const OPERATORS[] = {
        [DUR_ADD] = "+", [DUR_SUB] = "-", [DUR_MUL] = "*", [DUR_DIV] = "/", [DUR_MOD] = "%", [DUR_POW] = "^"};
    if (expr->wrapped)
        strbuf_char(out, '(');
    switch (expr->op) {
    case DUR_LITERAL:
        print_number(out, expr->literal, expr->literal_is_duration);
        break;
    case DUR_NEG:
    case DUR_POS:
        strbuf_char(out, expr->op == DUR_NEG ? '-' : '+');
        print_duration_expr(out, expr->right);
        break;
    case DUR_STEP:
        strbuf_cstr(out, "step()");
        break;
    case DUR_RANGE:
        strbuf_cstr(out, "range()");
        break;
    case DUR_MIN:
        print_duration_pair(out, "min_of", expr);
        break;
    case DUR_MAX:
        print_duration_pair(out, "max_of", expr);
        break;
    default:
        print_duration_binary(out, OPERATORS[expr->op], expr);
    }
    if (expr->wrapped)
        strbuf_char(out, ')');
}

/* A range or step; a literal below a millisecond must stay above zero to be read back. */
static void print_range(struct strbuf *out, const struct duration *duration, const struct print_options *options)
{
    if (duration->expr && !options->resolved)
        print_duration_expr(out, duration->expr);
    else if (duration->ms == 0)
        strbuf_cstr(out, "0.0001");
    else
        promql_print_duration(out, duration->ms);
}

static void print_offset(struct strbuf *out, const struct duration *offset, const struct print_options *options)
{
    if (!offset->present || (offset->ms == 0 && (!offset->expr || options->resolved)))
        return;
    strbuf_cstr(out, " offset ");
    if (offset->expr && !options->resolved)
        print_duration_expr(out, offset->expr);
    else
        promql_print_duration(out, offset->ms);
}

/* Seconds with three decimals that read back to the same millisecond. Beyond 2^53 ms a double has no room for them, so
 * a neighbour may be the one. */
static void print_at(struct strbuf *out, enum at_kind at, int64_t at_ms)
{
    if (at == AT_START)
        strbuf_cstr(out, " @ start()");
    if (at == AT_END)
        strbuf_cstr(out, " @ end()");
    if (at != AT_TIME)
        return;
    double seconds = (double)at_ms / 1000;
    double neighbours[] = {seconds, nextafter(seconds, INFINITY), nextafter(seconds, -INFINITY)};
    for (int i = 0; i < 3; i++) {
        double ms = round(neighbours[i] * 1000);
        if (ms >= -0x1p63 && ms < 0x1p63 && (int64_t)ms == at_ms) {
            seconds = neighbours[i];
            break;
        }
    }
    strbuf_f(out, " @ %.3f", seconds);
}

/* -- names and selectors ---------------------------------------------------------------------------------------- */

static void print_name(struct strbuf *out, struct str name, bool is_plain)
{
    if (is_plain)
        strbuf_str(out, name);
    else
        promql_print_string(out, name);
}

/* Lists of labels take a colon without quotes, as metric names do; label matchers do not. */
static void print_names(struct strbuf *out, struct name_list names)
{
    for (size_t i = 0; i < names.n; i++) {
        if (i > 0)
            strbuf_cstr(out, ", ");
        print_name(out, names.at[i], metric_name_is_plain(names.at[i]));
    }
}

static void print_matcher(struct strbuf *out, const struct matcher *matcher)
{
    print_name(out, matcher->name, label_name_is_plain(matcher->name));
    strbuf_cstr(out, match_op_text(matcher->op));
    promql_print_string(out, matcher->value);
}

static int by_text(const void *a, const void *b, void *texts)
{
    const struct text_range *left = a, *right = b;
    const char *base = texts;
    return str_cmp((struct str){base + left->begin, left->end - left->begin},
                   (struct str){base + right->begin, right->end - right->begin});
}

/* Upstream sorts the texts of the matchers, and leaves out the one that the name in front says. */
static void print_braces(struct strbuf *out, const struct matcher *at, size_t n)
{
    struct strbuf texts, places;
    strbuf_init(&texts, out->max);
    strbuf_init(&places, SIZE_MAX / 2);
    for (size_t i = 0; i < n; i++) {
        struct text_range place = {.begin = (uint32_t)texts.len};
        print_matcher(&texts, &at[i]);
        place.end = (uint32_t)texts.len;
        strbuf_bytes(&places, &place, sizeof place);
    }
    if (texts.status == OK && places.status == OK) {
        struct text_range *sorted = (struct text_range *)places.ptr;
        qsort_r(sorted, n, sizeof *sorted, by_text, texts.ptr);
        for (size_t i = 0; i < n; i++) {
            strbuf_char(out, i == 0 ? '{' : ',');
            strbuf_bytes(out, texts.ptr + sorted[i].begin, sorted[i].end - sorted[i].begin);
        }
        strbuf_char(out, '}');
    } else if (out->status == OK) {
        out->status = texts.status != OK ? texts.status : places.status;
    }
    strbuf_release(&texts);
    strbuf_release(&places);
}

static void print_selector_head(struct strbuf *out, const struct expr_selector *selector)
{
    size_t first = selector->metric.len > 0;
    strbuf_str(out, selector->metric);
    if (selector->matchers_n > first)
        print_braces(out, selector->matchers + first, selector->matchers_n - first);
    else if (first == 0)
        strbuf_cstr(out, "{}");
}

static void print_selector(struct strbuf *out, const struct expr_selector *selector,
                           const struct print_options *options)
{
    print_selector_head(out, selector);
    print_at(out, selector->at, selector->at_ms);
    strbuf_cstr(out, selector->anchored ? " anchored" : selector->smoothed ? " smoothed" : "");
    print_offset(out, &selector->offset, options);
}

static void print_task_head(struct strbuf *out, const struct expr_task *task, const struct print_options *options)
{
    strbuf_cstr(out, "{");
    strbuf_str(out, LABEL_TASK_ID);
    strbuf_char(out, '=');
    promql_print_string(out, options->task_id(task->index, options->arg));
    strbuf_char(out, ',');
    strbuf_str(out, LABEL_TASK_KIND);
    strbuf_char(out, '=');
    promql_print_string(out, TASK_KIND_VALUE);
    strbuf_char(out, '}');
}

static void print_task(struct strbuf *out, const struct expr_task *task, const struct print_options *options)
{
    print_task_head(out, task, options);
    print_at(out, task->at, task->at_ms);
    strbuf_cstr(out, task->anchored ? " anchored" : task->smoothed ? " smoothed" : "");
    print_offset(out, &task->offset, options);
}

/* In a residual the selector is a raw task, which carries the selector's modifiers. */
static void print_matrix(struct strbuf *out, const struct expr_matrix *matrix, const struct print_options *options)
{
    const struct expr_selector *selector = &matrix->selector->u.selector;
    struct expr_selector modifiers;
    if (matrix->selector->kind == EXPR_TASK) {
        const struct expr_task *task = &matrix->selector->u.task;
        print_task_head(out, task, options);
        modifiers = (struct expr_selector){.offset = task->offset,
                                           .at = task->at,
                                           .at_ms = task->at_ms,
                                           .anchored = task->anchored,
                                           .smoothed = task->smoothed};
        selector = &modifiers;
    } else {
        print_selector_head(out, selector);
    }
    strbuf_char(out, '[');
    print_range(out, &matrix->range, options);
    strbuf_char(out, ']');
    strbuf_cstr(out, selector->anchored ? " anchored" : selector->smoothed ? " smoothed" : "");
    print_at(out, selector->at, selector->at_ms);
    print_offset(out, &selector->offset, options);
}

void print_subquery_suffix(struct strbuf *out, const struct expr_subquery *subquery,
                           const struct print_options *options)
{
    strbuf_char(out, '[');
    print_range(out, &subquery->range, options);
    strbuf_char(out, ':');
    if (subquery->step.present)
        print_range(out, &subquery->step, options);
    strbuf_char(out, ']');
    print_at(out, subquery->at, subquery->at_ms);
    print_offset(out, &subquery->offset, options);
}

/* -- operators -------------------------------------------------------------------------------------------------- */

void print_aggregate_head(struct strbuf *out, const struct expr_aggregate *aggregate)
{
    strbuf_cstr(out, aggregate_op_text(aggregate->op));
    if (!aggregate->without && aggregate->grouping.n == 0)
        return;
    strbuf_cstr(out, aggregate->without ? " without (" : " by (");
    print_names(out, aggregate->grouping);
    strbuf_cstr(out, ") ");
}

void print_operator(struct strbuf *out, const struct expr_binary *binary)
{
    strbuf_cstr(out, binary_op_text(binary->op));
    if (binary->return_bool)
        strbuf_cstr(out, " bool");
    if (binary->matching_written) {
        strbuf_cstr(out, binary->on ? " on (" : " ignoring (");
        print_names(out, binary->matching);
        strbuf_char(out, ')');
    }
    if (binary->cardinality == CARD_MANY_TO_ONE || binary->cardinality == CARD_ONE_TO_MANY) {
        strbuf_cstr(out, binary->cardinality == CARD_MANY_TO_ONE ? " group_left (" : " group_right (");
        print_names(out, binary->include);
        strbuf_char(out, ')');
    }
    char text[FLOAT_TEXT_MAX]; /* of fill values, which upstream writes with %v */
    bool both = binary->fill_left_present && binary->fill_right_present &&
                double_bits(binary->fill_left) == double_bits(binary->fill_right);
    if (binary->fill_left_present) {
        strbuf_cstr(out, both ? " fill (" : " fill_left (");
        strbuf_bytes(out, text, float_text_general(text, binary->fill_left));
        strbuf_char(out, ')');
    }
    if (binary->fill_right_present && !both) {
        strbuf_cstr(out, " fill_right (");
        strbuf_bytes(out, text, float_text_general(text, binary->fill_right));
        strbuf_char(out, ')');
    }
}

static void print(struct strbuf *out, const struct expr *expr, const struct print_options *options);

/* The sign of +Inf would be read back as one in front of the whole power. */
static void print_left(struct strbuf *out, const struct expr_binary *binary, const struct print_options *options)
{
    const struct expr *left = binary->left;
    if (binary->op == OP_POW && left->kind == EXPR_NUMBER && isinf(left->u.number.value))
        strbuf_cstr(out, "Inf");
    else
        print(out, left, options);
}

static void print(struct strbuf *out, const struct expr *expr, const struct print_options *options)
{
    if (out->status != OK)
        return;
    switch (expr->kind) {
    case EXPR_NUMBER:
        print_number(out, expr->u.number.value, expr->u.number.is_duration && !options->resolved);
        break;
    case EXPR_STRING:
        promql_print_string(out, expr->u.string);
        break;
    case EXPR_SELECTOR:
        print_selector(out, &expr->u.selector, options);
        break;
    case EXPR_MATRIX:
        print_matrix(out, &expr->u.matrix, options);
        break;
    case EXPR_SUBQUERY:
        print(out, expr->u.subquery.operand, options);
        print_subquery_suffix(out, &expr->u.subquery, options);
        break;
    case EXPR_AGGREGATE:
        print_aggregate_head(out, &expr->u.aggregate);
        strbuf_char(out, '(');
        if (expr->u.aggregate.parameter) {
            print(out, expr->u.aggregate.parameter, options);
            strbuf_cstr(out, ", ");
        }
        print(out, expr->u.aggregate.operand, options);
        strbuf_char(out, ')');
        break;
    case EXPR_CALL:
        strbuf_str(out, expr->u.call.function->name);
        strbuf_char(out, '(');
        for (size_t i = 0; i < expr->u.call.args_n; i++) {
            strbuf_cstr(out, i > 0 ? ", " : "");
            print(out, expr->u.call.args[i], options);
        }
        strbuf_char(out, ')');
        break;
    case EXPR_BINARY:
        print_left(out, &expr->u.binary, options);
        strbuf_char(out, ' ');
        print_operator(out, &expr->u.binary);
        strbuf_char(out, ' ');
        print(out, expr->u.binary.right, options);
        break;
    case EXPR_UNARY:
        strbuf_char(out, expr->u.unary.negative ? '-' : '+');
        print(out, expr->u.unary.operand, options);
        break;
    case EXPR_PAREN:
        strbuf_char(out, '(');
        print(out, expr->u.paren, options);
        strbuf_char(out, ')');
        break;
    case EXPR_TASK:
        PRE(options->task_id);
        print_task(out, &expr->u.task, options);
        break;
    case EXPR_KIND_MAX:
        INVARIANT(false);
    }
}

void promql_print(struct strbuf *out, const struct expr *expr, const struct print_options *options)
{
    static const struct print_options PLAIN = {0};
    print(out, expr, options ? options : &PLAIN);
}

void promql_print_matchers(struct strbuf *out, const struct matcher *at, size_t n)
{
    strbuf_char(out, '{');
    for (size_t i = 0; i < n; i++) {
        strbuf_cstr(out, i > 0 ? "," : "");
        print_matcher(out, &at[i]);
    }
    strbuf_char(out, '}');
}

void promql_print_labels(struct strbuf *out, struct labels labels)
{
    struct str name = labels_get(labels, LABEL_METRIC_NAME);
    bool in_front = metric_name_is_plain(name);
    size_t written = 0;
    if (in_front)
        strbuf_str(out, name);
    if (in_front && labels.n == 1)
        return;
    strbuf_char(out, '{');
    if (!in_front && name.len > 0) {
        promql_print_string(out, name);
        written++;
    }
    for (size_t i = 0; i < labels.n; i++) {
        if (str_eq(labels.at[i].name, LABEL_METRIC_NAME))
            continue;
        strbuf_cstr(out, written++ > 0 ? ", " : "");
        print_name(out, labels.at[i].name, label_name_is_plain(labels.at[i].name));
        strbuf_char(out, '=');
        promql_print_string(out, labels.at[i].value);
    }
    strbuf_char(out, '}');
}
