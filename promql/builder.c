/* promql/builder.c: failures, lists and the nodes of expressions; see builder.h. Durations are build_duration.c. */
#include "promql/builder.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/utf8.h"
#include "promql/grammar.h"
#include "promql/literal.h"
#include "promql/print.h"

/* -- failures --------------------------------------------------------------------------------------------------- */

/* "line:column" of a byte of the query, both from 1; columns count bytes, as upstream's do. */
static void position_text(const struct builder *b, uint32_t at, char *out, size_t max)
{
    if (b->text.len == 0) {
        snprintf(out, max, "unknown position");
        return;
    }
    unsigned line = 1;
    int64_t line_break = -1;
    for (uint32_t i = 0; i < at; i++) {
        if (b->text.ptr[i] == '\n') {
            line++;
            line_break = i;
        }
    }
    snprintf(out, max, "%u:%lld", line, (long long)(at - line_break));
}

void builder_fail(struct builder *b, struct text_range range, const char *format, ...)
{
    if (b->status != OK)
        return;
    char position[48], message[ERROR_MESSAGE_MAX];
    position_text(b, range.begin, position, sizeof position);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    b->status = error_set_at(&b->error, E_BAD_DATA, range.begin, range.end, "%s: parse error: %s", position, message);
}

void builder_fail_nomem(struct builder *b)
{
    if (b->status == OK)
        b->status = error_set(&b->error, E_NOMEM, "no memory for the query's tree beyond %zu bytes of the allowed %zu",
                              b->arena->used_bytes, b->arena->cap_bytes);
}

void builder_stack_overflow(struct builder *b)
{
    builder_fail(b, b->token.range, "expression is nested too deeply: the parser's stack of %d entries is full",
                 BUILDER_STACK_ENTRIES);
}

static struct str token_text(const struct builder *b, struct token token)
{
    return (struct str){b->text.ptr + token.range.begin, token.range.end - token.range.begin};
}

/* Fails with format, which holds one %s for the quoted text. */
static void fail_quoting(struct builder *b, struct text_range range, const char *before, struct str text,
                         const char *after)
{
    struct strbuf quoted;
    strbuf_init(&quoted, ERROR_MESSAGE_MAX);
    promql_print_string(&quoted, text);
    builder_fail(b, range, "%s" STR_FORMAT "%s", before, STR_ARG(strbuf_view(&quoted)), after);
    strbuf_release(&quoted);
}

/* The first ten runes in quotes, with dots when there were more bytes than ten. */
static void describe_text(struct strbuf *out, struct str text)
{
    const char *at = text.ptr, *end = text.ptr + text.len;
    for (int runes = 0; runes < 10 && at < end; runes++) {
        unsigned length;
        rune_decode(at, end, &length);
        at += length;
    }
    promql_print_string(out, (struct str){text.ptr, (size_t)(at - text.ptr)});
    if (text.len > 10)
        strbuf_cstr(out, "...");
}

/* How upstream names a token in "unexpected …". */
static void describe_token(struct strbuf *out, const struct builder *b)
{
    struct str text = token_text(b, b->token);
    switch (b->token.code) {
    case TK_EOF:
        strbuf_cstr(out, "end of input");
        return;
    case TK_IDENTIFIER:
        strbuf_cstr(out, "identifier ");
        promql_print_string(out, text);
        return;
    case TK_METRIC_IDENTIFIER:
        strbuf_cstr(out, "metric identifier ");
        promql_print_string(out, text);
        return;
    case TK_STRING:
        strbuf_cstr(out, "string ");
        describe_text(out, text);
        return;
    case TK_NUMBER:
        strbuf_cstr(out, "number ");
        describe_text(out, text);
        return;
    case TK_DURATION:
        strbuf_cstr(out, "duration ");
        describe_text(out, text);
        return;
    case TK_BOOL:
    case TK_BY:
    case TK_GROUP_LEFT:
    case TK_GROUP_RIGHT:
    case TK_FILL:
    case TK_FILL_LEFT:
    case TK_FILL_RIGHT:
    case TK_IGNORING:
    case TK_OFFSET:
    case TK_SMOOTHED:
    case TK_ANCHORED:
    case TK_ON:
    case TK_WITHOUT:
        strbuf_f(out, "<" STR_FORMAT ">", STR_ARG(text));
        return;
    case TK_ADD:
    case TK_DIV:
    case TK_EQLC:
    case TK_EQL_REGEX:
    case TK_GTE:
    case TK_GTR:
    case TK_TRIM_UPPER:
    case TK_TRIM_LOWER:
    case TK_LAND:
    case TK_LOR:
    case TK_LSS:
    case TK_LTE:
    case TK_LUNLESS:
    case TK_MOD:
    case TK_MUL:
    case TK_NEQ:
    case TK_NEQ_REGEX:
    case TK_POW:
    case TK_SUB:
    case TK_AT:
    case TK_ATAN2:
        strbuf_f(out, "<op:" STR_FORMAT ">", STR_ARG(text));
        return;
    case TK_AVG:
    case TK_BOTTOMK:
    case TK_COUNT:
    case TK_COUNT_VALUES:
    case TK_GROUP:
    case TK_MAX:
    case TK_MIN:
    case TK_QUANTILE:
    case TK_STDDEV:
    case TK_STDVAR:
    case TK_SUM:
    case TK_TOPK:
    case TK_LIMITK:
    case TK_LIMIT_RATIO:
        strbuf_f(out, "<aggr:" STR_FORMAT ">", STR_ARG(text));
        return;
    default:
        describe_text(out, text);
    }
}

bool builder_lexer_failed(struct builder *b)
{
    if (b->token.code != TK_LEX_ERROR)
        return false;
    builder_fail(b, b->token.range, "%s", b->lexer.error.message);
    return true;
}

struct expr *builder_unexpected(struct builder *b, const char *context, const char *expected)
{
    if (b->status != OK || builder_lexer_failed(b))
        return &b->spare;
    struct strbuf what;
    strbuf_init(&what, ERROR_MESSAGE_MAX);
    describe_token(&what, b);
    builder_fail(b, b->token.range, "unexpected " STR_FORMAT "%s%s%s%s", STR_ARG(strbuf_view(&what)),
                 *context ? " in " : "", context, *expected ? ", expected " : "", expected);
    strbuf_release(&what);
    return &b->spare;
}

struct name_list_builder builder_unexpected_names(struct builder *b, const char *expected)
{
    builder_unexpected(b, "grouping opts", expected);
    return (struct name_list_builder){0};
}

struct matcher_item builder_unexpected_matcher(struct builder *b, struct token name, const char *expected)
{
    builder_unexpected(b, "label matching", expected);
    return (struct matcher_item){name, name, name};
}

void builder_finish(struct builder *b, struct expr *root)
{
    b->root = root;
}

void builder_empty(struct builder *b)
{
    builder_fail(b, (struct text_range){0, 0}, "no expression found in input");
}

void builder_trailing_comma(struct builder *b, struct token comma)
{
    if (!builder_lexer_failed(b))
        builder_fail(b, comma.range, "trailing commas not allowed in function call args");
}

/* Behind group_left without a list an operand must follow; upstream complains of the missing list otherwise. */
struct name_list_builder builder_no_group_labels(struct builder *b)
{
    switch (b->token.code) {
    case TK_EOF:
    case TK_COMMA:
    case TK_COLON:
    case TK_EQL:
    case TK_RIGHT_PAREN:
    case TK_RIGHT_BRACE:
    case TK_RIGHT_BRACKET:
    case TK_LEFT_BRACKET:
    case TK_BOOL:
    case TK_ON:
    case TK_IGNORING:
    case TK_GROUP_LEFT:
    case TK_GROUP_RIGHT:
    case TK_MUL:
    case TK_DIV:
    case TK_MOD:
    case TK_POW:
    case TK_ATAN2:
    case TK_EQLC:
    case TK_NEQ:
    case TK_GTR:
    case TK_LSS:
    case TK_GTE:
    case TK_LTE:
    case TK_TRIM_UPPER:
    case TK_TRIM_LOWER:
    case TK_AT:
        return builder_unexpected_names(b, "\"(\"");
    default:
        return (struct name_list_builder){0};
    }
}

/* -- lists ------------------------------------------------------------------------------------------------------ */

/* A larger copy of an array in the arena, or NULL after builder_fail_nomem. */
static void *grow(struct builder *b, const void *old, uint32_t n, uint32_t *capacity, size_t each)
{
    uint32_t wanted = *capacity ? *capacity * 2 : 4;
    void *grown = arena_alloc_array(b->arena, wanted, each);
    if (!grown) {
        builder_fail_nomem(b);
        return NULL;
    }
    if (n)
        memcpy(grown, old, n * each);
    *capacity = wanted;
    return grown;
}

struct expr_list expr_list_add(struct builder *b, struct expr_list list, struct expr *expr)
{
    if (list.n == list.capacity) {
        void *grown = grow(b, list.at, list.n, &list.capacity, sizeof(struct expr *));
        if (!grown)
            return list;
        list.at = grown;
    }
    list.at[list.n++] = expr;
    return list;
}

/* The name a label token stands for; labels in quotes must be UTF-8 and not empty. */
static struct str label_name(struct builder *b, struct token token)
{
    struct str text = token_text(b, token);
    if (token.code != TK_STRING)
        return text;
    struct str name = literal_unquote(b->arena, text);
    if (!name.ptr) {
        builder_fail_nomem(b);
        return text;
    }
    if (name.len == 0 || !utf8_valid(name))
        fail_quoting(b, token.range, "invalid label name for grouping: ", name, "");
    return name;
}

struct name_list_builder name_list_add(struct builder *b, struct name_list_builder list, struct token name)
{
    if (list.names.n == list.capacity) {
        void *grown = grow(b, list.names.at, (uint32_t)list.names.n, &list.capacity, sizeof *list.names.at);
        if (!grown)
            return list;
        list.names.at = grown;
    }
    struct str *place = (struct str *)&list.names.at[list.names.n];
    *place = label_name(b, name);
    list.names.n++;
    return list;
}

static struct matcher matcher_of(struct builder *b, struct matcher_item item)
{
    struct matcher matcher = {.name = LABEL_METRIC_NAME, .op = MATCH_EQUAL};
    if (item.name.code == TK_STRING) {
        matcher.value = literal_unquote(b->arena, token_text(b, item.name));
        if (item.op.code == TK_STRING)
            return matcher;
        matcher.name = matcher.value;
    } else {
        matcher.name = token_text(b, item.name);
    }
    matcher.value = literal_unquote(b->arena, token_text(b, item.value));
    matcher.op = item.op.code == TK_EQL         ? MATCH_EQUAL
                 : item.op.code == TK_NEQ       ? MATCH_NOT_EQUAL
                 : item.op.code == TK_EQL_REGEX ? MATCH_REGEX
                                                : MATCH_NOT_REGEX;
    return matcher;
}

static void check_pattern(struct builder *b, const struct matcher *matcher, struct matcher_item item)
{
    bool is_pattern = matcher->op == MATCH_REGEX || matcher->op == MATCH_NOT_REGEX;
    struct error error;
    if (!is_pattern || !b->regex || b->regex->check(b->regex->arg, matcher->value, &error) == OK)
        return;
    builder_fail(b, (struct text_range){item.name.range.begin, item.value.range.end}, "%s", error.message);
}

struct matcher_list matcher_list_add(struct builder *b, struct matcher_list list, struct matcher_item item)
{
    if (b->status != OK)
        return list;
    struct matcher matcher = matcher_of(b, item);
    if (!matcher.name.ptr || !matcher.value.ptr) {
        builder_fail_nomem(b);
        return list;
    }
    if (list.n + 1 >= list.capacity) {
        void *grown = grow(b, list.at, list.n ? list.n + 1 : 0, &list.capacity, sizeof *list.at);
        if (!grown)
            return list;
        list.at = grown;
    }
    list.at[1 + list.n++] = matcher;
    check_pattern(b, &matcher, item);
    return list;
}

struct braces braces_close(struct token left, struct matcher_list list, struct token right)
{
    return (struct braces){list, {left.range.begin, right.range.end}};
}

/* -- nodes ------------------------------------------------------------------------------------------------------ */

static struct text_range span(struct text_range first, struct text_range last)
{
    return (struct text_range){first.begin, last.end};
}

static struct expr *node(struct builder *b, enum expr_kind kind, enum value_type type, struct text_range range,
                         uint32_t child_depth)
{
    if (b->status != OK)
        return &b->spare;
    if (child_depth >= b->limits->depth_max) {
        builder_fail(b, range, "expression is nested %u levels deep, the limit is %u", child_depth + 1,
                     b->limits->depth_max);
        return &b->spare;
    }
    struct expr *expr = ARENA_NEW(b->arena, struct expr);
    if (!expr) {
        builder_fail_nomem(b);
        return &b->spare;
    }
    expr->kind = kind;
    expr->type = type;
    expr->range = range;
    expr->depth = child_depth + 1;
    return expr;
}

static uint32_t deeper(const struct expr *a, const struct expr *c)
{
    return a->depth > c->depth ? a->depth : c->depth;
}

struct expr *build_number(struct builder *b, struct number_value number)
{
    struct expr *expr = node(b, EXPR_NUMBER, VALUE_SCALAR, number.range, 0);
    expr->u.number.value = number.value;
    expr->u.number.is_duration = number.is_duration;
    return expr;
}

struct expr *build_string(struct builder *b, struct token token)
{
    struct expr *expr = node(b, EXPR_STRING, VALUE_STRING, token.range, 0);
    expr->u.string = literal_unquote(b->arena, token_text(b, token));
    if (!expr->u.string.ptr)
        builder_fail_nomem(b);
    return expr;
}

struct expr *build_paren(struct builder *b, struct token left, struct expr *inner, struct token right)
{
    struct expr *expr = node(b, EXPR_PAREN, inner->type, span(left.range, right.range), inner->depth);
    expr->u.paren = inner;
    return expr;
}

/* A sign in front of a number becomes part of it. */
struct expr *build_unary(struct builder *b, struct token sign, struct expr *operand)
{
    if (operand->kind == EXPR_NUMBER) {
        struct number_value number = {operand->u.number.value, operand->u.number.is_duration, operand->range};
        operand->range.begin = sign.range.begin;
        operand->u.number.value = number_signed(sign, number).value;
        return operand;
    }
    struct expr *expr = node(b, EXPR_UNARY, operand->type, span(sign.range, operand->range), operand->depth);
    expr->u.unary.negative = sign.code == TK_SUB;
    expr->u.unary.operand = operand;
    return expr;
}

static enum binary_op binary_op_of(int code)
{
    switch (code) {
    case TK_ADD:
        return OP_ADD;
    case TK_SUB:
        return OP_SUB;
    case TK_MUL:
        return OP_MUL;
    case TK_DIV:
        return OP_DIV;
    case TK_MOD:
        return OP_MOD;
    case TK_POW:
        return OP_POW;
    case TK_ATAN2:
        return OP_ATAN2;
    case TK_EQLC:
        return OP_EQL;
    case TK_NEQ:
        return OP_NEQ;
    case TK_GTR:
        return OP_GTR;
    case TK_LSS:
        return OP_LSS;
    case TK_GTE:
        return OP_GTE;
    case TK_LTE:
        return OP_LTE;
    case TK_LAND:
        return OP_AND;
    case TK_LOR:
        return OP_OR;
    case TK_LUNLESS:
        return OP_UNLESS;
    case TK_TRIM_UPPER:
        return OP_TRIM_UPPER;
    default:
        INVARIANT(code == TK_TRIM_LOWER);
        return OP_TRIM_LOWER;
    }
}

struct expr *build_binary(struct builder *b, struct expr *left, struct token op, const struct modifier *modifier,
                          struct expr *right)
{
    enum value_type type = left->type == VALUE_SCALAR && right->type == VALUE_SCALAR ? VALUE_SCALAR : VALUE_VECTOR;
    struct expr *expr = node(b, EXPR_BINARY, type, span(left->range, right->range), deeper(left, right));
    struct expr_binary *binary = &expr->u.binary;
    binary->op = binary_op_of(op.code);
    binary->left = left;
    binary->right = right;
    if (!modifier)
        return expr;
    binary->return_bool = modifier->return_bool;
    binary->on = modifier->on;
    binary->cardinality = modifier->cardinality;
    binary->matching = modifier->matching;
    binary->include = modifier->include;
    binary->matching_written = modifier->on || modifier->matching.n > 0 || modifier->cardinality != CARD_ONE_TO_ONE;
    binary->fill_left_present = modifier->fill_left_present;
    binary->fill_right_present = modifier->fill_right_present;
    binary->fill_left = modifier->fill_left;
    binary->fill_right = modifier->fill_right;
    return expr;
}

struct expr *build_call(struct builder *b, struct token name, struct expr_list args)
{
    const struct function *function = function_find(token_text(b, name));
    if (!function) {
        fail_quoting(b, name.range, "unknown function with name ", token_text(b, name), "");
        return &b->spare;
    }
    uint32_t depth = 0;
    for (uint32_t i = 0; i < args.n; i++)
        if (args.at[i]->depth > depth)
            depth = args.at[i]->depth;
    struct expr *expr = node(b, EXPR_CALL, function->result, (struct text_range){name.range.begin, args.end}, depth);
    expr->u.call.function = function;
    expr->u.call.args = args.at;
    expr->u.call.args_n = args.n;
    return expr;
}

static enum aggregate_op aggregate_op_of(int code)
{
    switch (code) {
    case TK_SUM:
        return AGG_SUM;
    case TK_AVG:
        return AGG_AVG;
    case TK_COUNT:
        return AGG_COUNT;
    case TK_MIN:
        return AGG_MIN;
    case TK_MAX:
        return AGG_MAX;
    case TK_GROUP:
        return AGG_GROUP;
    case TK_STDDEV:
        return AGG_STDDEV;
    case TK_STDVAR:
        return AGG_STDVAR;
    case TK_TOPK:
        return AGG_TOPK;
    case TK_BOTTOMK:
        return AGG_BOTTOMK;
    case TK_QUANTILE:
        return AGG_QUANTILE;
    case TK_COUNT_VALUES:
        return AGG_COUNT_VALUES;
    case TK_LIMITK:
        return AGG_LIMITK;
    default:
        INVARIANT(code == TK_LIMIT_RATIO);
        return AGG_LIMIT_RATIO;
    }
}

struct expr *build_aggregate(struct builder *b, struct token op, struct grouping grouping, struct expr_list args,
                             uint32_t end)
{
    struct text_range range = {op.range.begin, end};
    enum aggregate_op which = aggregate_op_of(op.code);
    uint32_t wanted = which >= AGG_TOPK ? 2 : 1;
    if (args.n == 0)
        builder_fail(b, range, "no arguments for aggregate expression provided");
    else if (args.n != wanted)
        builder_fail(b, range, "wrong number of arguments for aggregate expression provided, expected %u, got %u",
                     wanted, args.n);
    if (b->status != OK)
        return &b->spare;
    struct expr *operand = args.at[wanted - 1];
    struct expr *parameter = wanted == 2 ? args.at[0] : NULL;
    uint32_t depth = parameter ? deeper(operand, parameter) : operand->depth;
    struct expr *expr = node(b, EXPR_AGGREGATE, VALUE_VECTOR, range, depth);
    expr->u.aggregate = (struct expr_aggregate){
        .op = which,
        .operand = operand,
        .parameter = parameter,
        .grouping = grouping.names,
        .without = grouping.without,
        .grouping_written = grouping.written,
    };
    return expr;
}

struct expr *build_plain_aggregate(struct builder *b, struct token op, struct expr_list args)
{
    if (builder_lexer_failed(b))
        return &b->spare;
    return build_aggregate(b, op, (struct grouping){0}, args, args.end);
}

/* The free place in front of the list takes the matcher on the name. */
static void place_metric_name(struct builder *b, struct expr_selector *selector, struct matcher_list list)
{
    if (!list.at) {
        list.at = ARENA_NEW(b->arena, struct matcher);
        if (!list.at) {
            builder_fail_nomem(b);
            return;
        }
    }
    list.at[0] = (struct matcher){LABEL_METRIC_NAME, MATCH_EQUAL, selector->metric};
    selector->matchers = list.at;
    selector->matchers_n = list.n + 1;
}

struct expr *build_named_selector(struct builder *b, struct token name, const struct braces *braces)
{
    struct text_range range = braces ? span(name.range, braces->range) : name.range;
    struct expr *expr = node(b, EXPR_SELECTOR, VALUE_VECTOR, range, 0);
    expr->u.selector = (struct expr_selector){.metric = token_text(b, name)};
    place_metric_name(b, &expr->u.selector, braces ? braces->matchers : (struct matcher_list){0});
    return expr;
}

struct expr *build_selector(struct builder *b, const struct braces *braces)
{
    struct expr *expr = node(b, EXPR_SELECTOR, VALUE_VECTOR, braces->range, 0);
    const struct matcher_list *list = &braces->matchers;
    expr->u.selector = (struct expr_selector){.matchers = list->at ? list->at + 1 : NULL, .matchers_n = list->n};
    return expr;
}

/* A number of seconds is cut to milliseconds, after rounding to nanoseconds as upstream does. A literal like 5m is a
 * whole number of milliseconds from the start; its seconds times 1e9 would not always say so. */
static struct duration duration_of(const struct duration_expr *expr)
{
    if (expr->op != DUR_LITERAL || expr->wrapped)
        return (struct duration){.present = true, .expr = (struct duration_expr *)expr};
    double ms = expr->literal_is_duration ? round(expr->literal * 1000) : round(expr->literal * 1e9) / 1e6;
    return (struct duration){.present = true, .ms = (int64_t)ms};
}

struct expr *build_matrix(struct builder *b, struct expr *selector, struct token left, struct duration_expr *range,
                          struct token right)
{
    const char *wrong = NULL;
    if (selector->kind != EXPR_SELECTOR)
        wrong = "ranges only allowed for vector selectors";
    else if (selector->u.selector.offset.present)
        wrong = "no offset modifiers allowed before range";
    else if (selector->u.selector.at != AT_NONE)
        wrong = "no @ modifiers allowed before range";
    if (wrong)
        builder_fail(b, span(left.range, right.range), "%s", wrong);
    struct expr *expr = node(b, EXPR_MATRIX, VALUE_MATRIX, span(selector->range, right.range), selector->depth);
    expr->u.matrix = (struct expr_matrix){selector, duration_of(range)};
    return expr;
}

struct expr *build_subquery(struct builder *b, struct expr *operand, struct duration_expr *range,
                            struct duration_expr *step, struct token right)
{
    struct expr *expr = node(b, EXPR_SUBQUERY, VALUE_MATRIX, span(operand->range, right.range), operand->depth);
    expr->u.subquery = (struct expr_subquery){.operand = operand, .range = duration_of(range)};
    if (step)
        expr->u.subquery.step = duration_of(step);
    return expr;
}

/* -- modifiers of binary operators ------------------------------------------------------------------------------ */

static struct modifier *modifier_make(struct builder *b, struct modifier *modifier)
{
    if (modifier)
        return modifier;
    modifier = ARENA_NEW(b->arena, struct modifier);
    if (modifier)
        return modifier;
    builder_fail_nomem(b);
    return &b->spare_modifier;
}

struct modifier *modifier_bool(struct builder *b)
{
    struct modifier *modifier = modifier_make(b, NULL);
    modifier->return_bool = true;
    return modifier;
}

struct modifier *modifier_matching(struct builder *b, struct modifier *modifier, bool on, struct name_list names)
{
    modifier = modifier_make(b, modifier);
    modifier->on = on;
    modifier->matching = names;
    return modifier;
}

struct modifier *modifier_group(struct builder *b, struct modifier *modifier, enum cardinality cardinality,
                                struct name_list include)
{
    modifier = modifier_make(b, modifier);
    modifier->cardinality = cardinality;
    modifier->include = include;
    return modifier;
}

struct modifier *modifier_fill(struct builder *b, struct modifier *modifier, bool left, double value)
{
    modifier = modifier_make(b, modifier);
    if (left) {
        modifier->fill_left_present = true;
        modifier->fill_left = value;
    } else {
        modifier->fill_right_present = true;
        modifier->fill_right = value;
    }
    return modifier;
}

/* -- offset, @, anchored, smoothed ------------------------------------------------------------------------------ */

/* The fields that a modifier behind expr sets: a selector's own, those of the selector in a matrix, a subquery's. */
struct time_fields {
    struct duration *offset;
    enum at_kind *at;
    int64_t *at_ms;
};

static bool time_fields(struct expr *expr, struct time_fields *ret)
{
    if (expr->kind == EXPR_SUBQUERY) {
        struct expr_subquery *subquery = &expr->u.subquery;
        *ret = (struct time_fields){&subquery->offset, &subquery->at, &subquery->at_ms};
        return true;
    }
    if (expr->kind == EXPR_MATRIX)
        expr = expr->u.matrix.selector;
    if (expr->kind != EXPR_SELECTOR)
        return false;
    struct expr_selector *selector = &expr->u.selector;
    *ret = (struct time_fields){&selector->offset, &selector->at, &selector->at_ms};
    return true;
}

void apply_offset(struct builder *b, struct expr *expr, struct duration_expr *duration)
{
    struct time_fields fields;
    if (!time_fields(expr, &fields)) {
        builder_fail(b, expr->range,
                     "offset modifier must be preceded by an instant vector selector or range vector selector or a "
                     "subquery");
        return;
    }
    if (fields.offset->present) {
        builder_fail(b, expr->range, "offset may not be set multiple times");
        return;
    }
    *fields.offset = duration_of(duration);
    if (!fields.offset->expr && fields.offset->ms == 0)
        fields.offset->present = false;
    expr->range.end = duration->range.end;
}

/* Returns false after builder_fail. */
static bool at_fields(struct builder *b, struct expr *expr, struct time_fields *ret)
{
    if (!time_fields(expr, ret)) {
        builder_fail(b, expr->range,
                     "@ modifier must be preceded by an instant vector selector or range vector selector or a "
                     "subquery");
        return false;
    }
    if (*ret->at != AT_NONE) {
        builder_fail(b, expr->range, "@ <timestamp> may not be set multiple times");
        return false;
    }
    return true;
}

/* Milliseconds of a time in seconds; what int64 cannot hold becomes its least value, as upstream's conversion. */
static int64_t at_ms(double seconds)
{
    double ms = round(seconds * 1000);
    return ms >= -0x1p63 && ms < 0x1p63 ? (int64_t)ms : INT64_MIN;
}

void apply_at_time(struct builder *b, struct expr *expr, struct number_value time)
{
    double seconds = time.value;
    if (isnan(seconds) || isinf(seconds))
        builder_fail(b, expr->range, "timestamp out of bounds for @ modifier: %s",
                     isnan(seconds) ? "NaN"
                     : seconds > 0  ? "+Inf"
                                    : "-Inf");
    else if (seconds >= 0x1p63 || seconds <= -0x1p63)
        builder_fail(b, expr->range, "timestamp out of bounds for @ modifier: %f", seconds);
    struct time_fields fields;
    if (b->status != OK || !at_fields(b, expr, &fields))
        return;
    *fields.at = AT_TIME;
    *fields.at_ms = at_ms(seconds);
    expr->range.end = time.range.end;
}

void apply_at(struct builder *b, struct expr *expr, enum at_kind at, struct token right)
{
    struct time_fields fields;
    if (b->status != OK || !at_fields(b, expr, &fields))
        return;
    *fields.at = at;
    expr->range.end = right.range.end;
}

void apply_range_modifier(struct builder *b, struct expr *expr, struct token keyword)
{
    bool anchored = keyword.code == TK_ANCHORED;
    const char *word = anchored ? "anchored" : "smoothed";
    if (b->status != OK)
        return;
    if (expr->kind == EXPR_SUBQUERY) {
        builder_fail(b, expr->range, "%s modifier is not supported for subqueries", word);
        return;
    }
    struct time_fields fields;
    if (!time_fields(expr, &fields)) {
        builder_fail(b, expr->range, "%s modifier not implemented", word);
        return;
    }
    struct expr *selector = expr->kind == EXPR_MATRIX ? expr->u.matrix.selector : expr;
    if (anchored)
        selector->u.selector.anchored = true;
    else
        selector->u.selector.smoothed = true;
    if (selector->u.selector.anchored && selector->u.selector.smoothed)
        builder_fail(b, expr->range, "anchored and smoothed modifiers cannot be used together");
    expr->range.end = keyword.range.end;
}
