/* promql/build_duration.c: numbers and duration expressions; see builder.h. */
#include <math.h>

#include "promql/builder.h"
#include "promql/grammar.h"
#include "promql/literal.h"
#include "promql/print.h"

static struct str text_of(const struct builder *b, struct text_range range)
{
    return (struct str){b->text.ptr + range.begin, range.end - range.begin};
}

struct number_value number_of(struct builder *b, struct token token)
{
    struct number_value number = {.range = token.range};
    struct str text = text_of(b, token.range);
    enum number_fault fault = literal_number(text, &number.value);
    if (fault != NUMBER_FINE)
        builder_fail(b, token.range, "error parsing number: strconv.ParseFloat: parsing \"" STR_FORMAT "\": %s",
                     STR_ARG(text), fault == NUMBER_INVALID ? "invalid syntax" : "value out of range");
    return number;
}

struct number_value number_of_duration(struct builder *b, struct token token)
{
    struct str text = text_of(b, token.range), unit;
    int64_t ms = 0;
    switch (literal_duration(text, &ms, &unit)) {
    case DURATION_FINE:
        break;
    case DURATION_INVALID:
        builder_fail(b, token.range, "not a valid duration string: \"" STR_FORMAT "\"", STR_ARG(text));
        break;
    case DURATION_UNKNOWN_UNIT:
        builder_fail(b, token.range, "unknown unit \"" STR_FORMAT "\" in duration \"" STR_FORMAT "\"", STR_ARG(unit),
                     STR_ARG(text));
        break;
    case DURATION_OUT_OF_RANGE:
        builder_fail(b, token.range, "duration out of range");
        break;
    }
    int64_t whole = ms / 1000;
    double seconds = (double)whole + (double)(ms % 1000) / 1000;
    return (struct number_value){seconds, true, token.range};
}

struct number_value number_signed(struct token sign, struct number_value number)
{
    number.range.begin = sign.range.begin;
    if (sign.code == TK_SUB && !(number.is_duration && number.value == 0))
        number.value = -number.value;
    return number;
}

static struct duration_expr *duration_node(struct builder *b, enum duration_op op, struct text_range range,
                                           struct duration_expr *left, struct duration_expr *right)
{
    if (b->status != OK)
        return &b->spare_duration;
    uint32_t depth = left ? left->depth : 0;
    if (right && right->depth > depth)
        depth = right->depth;
    if (depth >= b->limits->depth_max) {
        builder_fail(b, range, "duration expression is nested %u levels deep, the limit is %u", depth + 1,
                     b->limits->depth_max);
        return &b->spare_duration;
    }
    struct duration_expr *node = ARENA_NEW(b->arena, struct duration_expr);
    if (!node) {
        builder_fail_nomem(b);
        return &b->spare_duration;
    }
    *node = (struct duration_expr){.op = op, .left = left, .right = right, .range = range, .depth = depth + 1};
    return node;
}

/* A literal must fit int64 nanoseconds, as upstream keeps it; NaN, which upstream lets through, fits nothing. */
static bool out_of_range(double seconds)
{
    return !(seconds <= 0x1p63 / 1e9 && seconds >= -0x1p63 / 1e9);
}

struct duration_expr *duration_literal(struct builder *b, struct number_value number)
{
    if (out_of_range(number.value))
        builder_fail(b, number.range, "duration out of range");
    struct duration_expr *node = duration_node(b, DUR_LITERAL, number.range, NULL, NULL);
    if (b->status != OK)
        return node;
    node->literal = number.value;
    node->literal_is_duration = number.is_duration;
    return node;
}

struct duration_expr *duration_signed_literal(struct builder *b, struct token sign, struct number_value number)
{
    if (out_of_range(number.value))
        builder_fail(b, sign.range, "duration out of range");
    return duration_literal(b, number_signed(sign, number));
}

struct duration_expr *duration_leaf(struct builder *b, enum duration_op op, struct token name, struct token right)
{
    return duration_node(b, op, (struct text_range){name.range.begin, right.range.end}, NULL, NULL);
}

/* A plus says nothing and is dropped; a minus in front of a plain literal becomes part of it. */
struct duration_expr *duration_signed(struct builder *b, struct token sign, struct duration_expr *operand)
{
    if (builder_lexer_failed(b))
        return &b->spare_duration;
    struct text_range range = {sign.range.begin, operand->range.end};
    if (operand->op == DUR_LITERAL && !operand->wrapped) {
        struct number_value number = {operand->literal, operand->literal_is_duration, operand->range};
        operand->range = range;
        operand->literal = number_signed(sign, number).value;
        return operand;
    }
    if (sign.code == TK_ADD)
        return operand;
    return duration_node(b, DUR_NEG, range, NULL, operand);
}

struct duration_expr *duration_signed_wrapped(struct builder *b, struct token sign, struct duration_expr *operand)
{
    struct text_range range = {sign.range.begin, operand->range.end};
    return duration_node(b, sign.code == TK_SUB ? DUR_NEG : DUR_POS, range, NULL, operand);
}

static bool is_bare_binary(const struct duration_expr *expr)
{
    return !expr->wrapped && expr->op >= DUR_ADD && expr->op <= DUR_POW;
}

struct duration_expr *duration_chain_head(struct builder *b, struct token sign, struct duration_expr *operand)
{
    struct duration_expr *head = duration_signed(b, sign, operand);
    if (is_bare_binary(head) || (head->op == DUR_NEG && is_bare_binary(head->right)))
        head->wrapped = true;
    return head;
}

struct duration_expr *duration_chain_left(struct duration_expr *left)
{
    if (!is_bare_binary(left))
        left->wrapped = true;
    return left;
}

struct duration_expr *duration_wrapped(struct builder *b, struct token left, struct duration_expr *inner,
                                       struct token right)
{
    if (b->status != OK)
        return inner;
    inner->wrapped = true;
    if (inner->op == DUR_LITERAL)
        inner->range = (struct text_range){left.range.begin, right.range.end};
    return inner;
}

struct duration_expr *duration_binary(struct builder *b, enum duration_op op, struct duration_expr *left,
                                      struct duration_expr *right)
{
    return duration_node(b, op, (struct text_range){left->range.begin, right->range.end}, left, right);
}

struct duration_expr *duration_divide(struct builder *b, enum duration_op op, struct duration_expr *left,
                                      struct token sign, struct duration_expr *right)
{
    if (builder_lexer_failed(b))
        return &b->spare_duration;
    if (right->op == DUR_LITERAL && !right->wrapped && right->literal == 0)
        builder_fail(b, sign.range, op == DUR_DIV ? "division by zero" : "modulo by zero");
    return duration_binary(b, op, left, right);
}

struct duration_expr *duration_extremum(struct builder *b, struct token name, struct duration_expr *left,
                                        struct duration_expr *right, struct token closing)
{
    bool smaller = name.code == TK_MIN_OF || name.code == TK_MIN;
    return duration_node(b, smaller ? DUR_MIN : DUR_MAX, (struct text_range){name.range.begin, closing.range.end}, left,
                         right);
}

struct duration_expr *duration_positive(struct builder *b, struct duration_expr *duration)
{
    if (builder_lexer_failed(b))
        return &b->spare_duration;
    if (duration->op == DUR_LITERAL && !duration->wrapped && !(duration->literal > 0))
        builder_fail(b, duration->range, "duration must be greater than 0");
    return duration;
}
