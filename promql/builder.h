/* promql/builder.h: the verbs of the grammar's actions, for the parser's own files only.
 *
 * Each action makes one node out of its parts. The first failure is kept and ends the parse; until the driver notices,
 * builders go on with the spare node, so that no action ever sees NULL where the grammar promises a tree. Such trees
 * are never looked at.
 *
 * Order of failures: upstream's parser reduces a finished rule before it reads the next token where it can, so a
 * builder's message usually comes before the lexer's about that token. The few rules that need the next token to be
 * finished ask builder_lexer_failed first.
 */
#ifndef PROMSPLIT_PROMQL_BUILDER_H
#define PROMSPLIT_PROMQL_BUILDER_H

#include "base/arena.h"
#include "promql/ast.h"
#include "promql/parse.h"
#include "promql/token.h"

/* What stands between a binary operator and its right operand; NULL when nothing does. */
struct modifier {
    bool return_bool;
    bool matching_written, on;
    enum cardinality cardinality;
    struct name_list matching, include;
    bool fill_left_present, fill_right_present;
    double fill_left, fill_right;
};

#define BUILDER_STACK_ENTRIES 1024 /* %stack_size of grammar.y */

struct builder {
    struct arena *arena;
    const struct parse_limits *limits;
    const struct regex_engine *regex; /* NULL: patterns go unchecked */
    struct str text;                  /* in the arena */
    struct lexer lexer;
    struct token token; /* the last one read: the parser's lookahead */
    struct expr *root;  /* set by builder_finish */
    enum status status; /* OK, or that of the first failure */
    struct error error; /* of the first failure, with "line:column: parse error: " */
    /* What builders work on after a failure; the expression is of no kind, so that no field of it is taken for one. */
    struct expr spare;
    struct duration_expr spare_duration;
    struct modifier spare_modifier;
};

/* Lists under construction grow in the arena by doubling; a zeroed one is empty. */
struct expr_list {
    struct expr **at;
    uint32_t n, capacity;
    uint32_t end; /* position behind the closing parenthesis */
};
struct name_list_builder {
    struct name_list names;
    uint32_t capacity;
    uint32_t end;
};
struct matcher_list {
    struct matcher *at; /* one free place in front, for the metric name */
    uint32_t n, capacity;
};

struct matcher_item {
    struct token name, op, value; /* all three the same token: a lone metric name in quotes */
};
struct braces {
    struct matcher_list matchers;
    struct text_range range;
};
struct grouping {
    struct name_list names;
    bool without;
    bool written;
    uint32_t end;
};
struct number_value {
    double value;
    bool is_duration;
    struct text_range range;
};

/* Keeps the first failure; the message is put behind "line:column: parse error: ". */
void builder_fail(struct builder *b, struct text_range range, const char *format, ...) PRINTF_LIKE(3, 4);
void builder_fail_nomem(struct builder *b);
void builder_stack_overflow(struct builder *b);

/* Whether the token read ahead is one the lexer could not make; then its failure is kept. */
bool builder_lexer_failed(struct builder *b);

/* "unexpected identifier "x" in CONTEXT, expected WHAT", about the last token read; or what the lexer found wrong. */
struct expr *builder_unexpected(struct builder *b, const char *context, const char *expected);
struct name_list_builder builder_unexpected_names(struct builder *b, const char *expected);
struct matcher_item builder_unexpected_matcher(struct builder *b, struct token name, const char *expected);

/* Feeds the parser token by token; first_code is TK_START_EXPRESSION or TK_START_SELECTOR. In grammar.y. */
void builder_run(struct builder *b, int first_code);
void builder_finish(struct builder *b, struct expr *root);
void builder_empty(struct builder *b);
void builder_trailing_comma(struct builder *b, struct token comma);
struct name_list_builder builder_no_group_labels(struct builder *b);

struct expr_list expr_list_add(struct builder *b, struct expr_list list, struct expr *expr);
struct name_list_builder name_list_add(struct builder *b, struct name_list_builder list, struct token name);
struct matcher_list matcher_list_add(struct builder *b, struct matcher_list list, struct matcher_item item);
struct braces braces_close(struct token left, struct matcher_list list, struct token right);

struct expr *build_number(struct builder *b, struct number_value number);
struct expr *build_string(struct builder *b, struct token token);
struct expr *build_paren(struct builder *b, struct token left, struct expr *inner, struct token right);
struct expr *build_unary(struct builder *b, struct token sign, struct expr *operand);
struct expr *build_binary(struct builder *b, struct expr *left, struct token op, const struct modifier *modifier,
                          struct expr *right);
struct expr *build_call(struct builder *b, struct token name, struct expr_list args);
struct expr *build_aggregate(struct builder *b, struct token op, struct grouping grouping, struct expr_list args,
                             uint32_t end);
struct expr *build_plain_aggregate(struct builder *b, struct token op, struct expr_list args);
struct expr *build_named_selector(struct builder *b, struct token name, const struct braces *braces);
struct expr *build_selector(struct builder *b, const struct braces *braces);
struct expr *build_matrix(struct builder *b, struct expr *selector, struct token left, struct duration_expr *range,
                          struct token right);
struct expr *build_subquery(struct builder *b, struct expr *operand, struct duration_expr *range,
                            struct duration_expr *step, struct token right);

struct modifier *modifier_bool(struct builder *b);
struct modifier *modifier_matching(struct builder *b, struct modifier *modifier, bool on, struct name_list names);
struct modifier *modifier_group(struct builder *b, struct modifier *modifier, enum cardinality cardinality,
                                struct name_list include);
struct modifier *modifier_fill(struct builder *b, struct modifier *modifier, bool left, double value);

void apply_offset(struct builder *b, struct expr *expr, struct duration_expr *duration);
void apply_at_time(struct builder *b, struct expr *expr, struct number_value time);
void apply_at(struct builder *b, struct expr *expr, enum at_kind at, struct token right);
void apply_range_modifier(struct builder *b, struct expr *expr, struct token keyword);

struct number_value number_of(struct builder *b, struct token token);
struct number_value number_of_duration(struct builder *b, struct token token);

/* The number with the sign in front; a duration of zero has no sign, its text could not show it. */
struct number_value number_signed(struct token sign, struct number_value number);

struct duration_expr *duration_literal(struct builder *b, struct number_value number);
struct duration_expr *duration_signed_literal(struct builder *b, struct token sign, struct number_value number);
struct duration_expr *duration_leaf(struct builder *b, enum duration_op op, struct token name, struct token right);
struct duration_expr *duration_signed(struct builder *b, struct token sign, struct duration_expr *operand);
/* Behind `offset`: a sign and parentheses; nothing goes on after them. */
struct duration_expr *duration_signed_wrapped(struct builder *b, struct token sign, struct duration_expr *operand);
/* Behind `offset`: what opens with two signs, and what goes on from it. They are wrapped where their text would
 * otherwise end too early when read back. */
struct duration_expr *duration_chain_head(struct builder *b, struct token sign, struct duration_expr *operand);
struct duration_expr *duration_chain_left(struct duration_expr *left);
struct duration_expr *duration_wrapped(struct builder *b, struct token left, struct duration_expr *inner,
                                       struct token right);
struct duration_expr *duration_binary(struct builder *b, enum duration_op op, struct duration_expr *left,
                                      struct duration_expr *right);
struct duration_expr *duration_divide(struct builder *b, enum duration_op op, struct duration_expr *left,
                                      struct token sign, struct duration_expr *right);
struct duration_expr *duration_extremum(struct builder *b, struct token name, struct duration_expr *left,
                                        struct duration_expr *right, struct token closing);
struct duration_expr *duration_positive(struct builder *b, struct duration_expr *duration);

/* Whether one of the matchers refuses the empty text, so that they do not select everything. */
bool matchers_need_something(const struct regex_engine *regex, const struct matcher *at, size_t n);

/* check.c: types, arity, matching rules. Returns false after builder_fail. */
bool check_tree(struct builder *b, struct expr *root);

#endif
