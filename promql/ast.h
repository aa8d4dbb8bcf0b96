/* promql/ast.h: the tree of a PromQL expression.
 *
 * The tree is pure: it says what the text says, never what was fetched. Nodes live in an arena and die with it; after
 * promql_parse succeeded a tree is only read, and may then be shared between threads without locks.
 *
 * Positions are byte offsets into the query text. Times and durations are milliseconds. Fields marked "computed" come
 * from the checks, the others from the text. Parentheses are kept as nodes, so that printing gives back what was read.
 *
 * Source: Prometheus promql/parser/ast.go (node kinds and fields), generated_parser.y (the language, version 3.x).
 */
#ifndef PROMSPLIT_PROMQL_AST_H
#define PROMSPLIT_PROMQL_AST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "promql/functions.h"
#include "promql/labels.h"

enum expr_kind {
    EXPR_NUMBER,   /* 1, 0x1f, Inf, 5m (a duration as a number of seconds) */
    EXPR_STRING,   /* "…", '…', `…` */
    EXPR_SELECTOR, /* vector selector: up{job="a"} offset 5m @ 100 */
    EXPR_MATRIX,   /* matrix selector: up[5m] …; its operand is an EXPR_SELECTOR that carries offset and @ */
    EXPR_SUBQUERY, /* expr[5m:1m] offset … @ … */
    EXPR_AGGREGATE,
    EXPR_CALL,
    EXPR_BINARY,
    EXPR_UNARY,
    EXPR_PAREN,
    EXPR_TASK, /* never parsed: stands in a residual where a fragment was (planner/split.h) */
    EXPR_KIND_MAX
};

enum binary_op {
    OP_ADD,
    OP_SUB,
    OP_MUL,
    OP_DIV,
    OP_MOD,
    OP_POW,
    OP_ATAN2,
    OP_EQL,
    OP_NEQ,
    OP_GTR,
    OP_LSS,
    OP_GTE,
    OP_LTE, /* comparisons */
    OP_AND,
    OP_OR,
    OP_UNLESS, /* set operators */
    OP_TRIM_UPPER,
    OP_TRIM_LOWER, /* "</" and ">/": cut a native histogram's buckets; newer than 3.5 */
    OP_MAX
};

enum aggregate_op {
    AGG_SUM,
    AGG_AVG,
    AGG_COUNT,
    AGG_MIN,
    AGG_MAX,
    AGG_GROUP,
    AGG_STDDEV,
    AGG_STDVAR,
    AGG_TOPK,
    AGG_BOTTOMK,
    AGG_QUANTILE,
    AGG_COUNT_VALUES,
    AGG_LIMITK,
    AGG_LIMIT_RATIO, /* these take a parameter */
    AGG_OP_MAX
};

enum cardinality {
    CARD_ONE_TO_ONE,
    CARD_MANY_TO_ONE /* group_left */,
    CARD_ONE_TO_MANY,
    CARD_MANY_TO_MANY /* sets */
};

struct text_range {
    uint32_t begin, end; /* [begin, end) bytes of the query text */
};

/* A list of names in the order written: grouping and matching labels. */
struct name_list {
    const struct str *at;
    size_t n;
};

/* A duration of the text: a literal (expr NULL, ms set), or a duration expression, whose ms is computed by
 * promql_resolve once the query's grid is known (step() and range() depend on it). An offset of zero is the
 * same as none: it is not present. */
struct duration {
    bool present;
    int64_t ms;
    struct duration_expr *expr;
};

enum duration_op {
    DUR_LITERAL,
    DUR_ADD,
    DUR_SUB,
    DUR_MUL,
    DUR_DIV,
    DUR_MOD,
    DUR_POW,
    DUR_NEG,
    DUR_POS,   /* +(5m) behind `offset`: ends with the parenthesis; other pluses are dropped */
    DUR_STEP,  /* step()  */
    DUR_RANGE, /* range() */
    DUR_MIN,   /* min(a, b), newer min_of */
    DUR_MAX    /* max(a, b), newer max_of */
};

struct duration_expr {
    enum duration_op op;
    double literal;                     /* DUR_LITERAL: seconds */
    bool literal_is_duration;           /* DUR_LITERAL: written "5m", not "300"; the printer keeps it */
    bool wrapped;                       /* stood in parentheses; the printer keeps them */
    struct duration_expr *left, *right; /* DUR_NEG and DUR_POS use right only, leaves neither */
    struct text_range range;
    uint32_t depth; /* 1 for a leaf; bounded like that of expressions */
};

enum at_kind {
    AT_NONE,
    AT_TIME,
    AT_START,
    AT_END
};

struct expr;

struct expr_selector {
    struct str metric;              /* name written before the braces, or empty; {"a name"} is only a matcher */
    const struct matcher *matchers; /* all of them, the one on __name__ made from `metric` included (it is first) */
    size_t matchers_n;
    struct duration offset; /* may be negative */
    enum at_kind at;
    int64_t at_ms;           /* AT_TIME */
    bool at_unheeded;        /* an @ was written that pins nothing: `at` is AT_NONE (promql_resolve) */
    bool anchored, smoothed; /* range modifiers of 3.7+ behind a flag; never pushed */
};

struct expr_matrix {
    struct expr
        *selector; /* EXPR_SELECTOR; in a residual EXPR_TASK, printed {…}[range] @ … offset … as a selector is */
    struct duration range;
};

struct expr_subquery {
    struct expr *operand;
    struct duration range;
    struct duration step; /* absent: the upstream's default evaluation interval */
    struct duration offset;
    enum at_kind at;
    int64_t at_ms;
    bool at_unheeded; /* as in selectors */
};

struct expr_aggregate {
    enum aggregate_op op;
    struct expr *operand;
    struct expr *parameter; /* topk, quantile, count_values …; else NULL */
    struct name_list grouping;
    bool without;
    bool grouping_written; /* by or without was written, if only by (), which is the same as nothing */
};

struct expr_call {
    const struct function *function;
    struct expr *const *args;
    size_t args_n;
};

struct expr_binary {
    enum binary_op op;
    struct expr *left, *right;
    bool return_bool;
    bool matching_written; /* on(…), or ignoring(…) with labels or a group; ignoring () alone is the same as nothing */
    bool on;               /* on(…); else ignoring(…) */
    enum cardinality cardinality;
    struct name_list matching;
    struct name_list include; /* group_left(…) / group_right(…) */
    /* fill modifiers of 3.10+ behind a flag: fill(x), fill_left(x), fill_right(x) */
    bool fill_left_present, fill_right_present;
    double fill_left, fill_right;
};

struct expr_unary {
    bool negative; /* -x; else +x */
    struct expr *operand;
};

struct expr_task {
    uint32_t index;         /* of the fragment in its split */
    bool raw;               /* answered with the selector's own samples, else with values on a grid */
    struct duration offset; /* what the residual must keep: raw tasks keep the selector's offset and @ */
    enum at_kind at;
    int64_t at_ms;
    bool anchored, smoothed; /* raw tasks keep these too */
};

struct expr {
    enum expr_kind kind;
    enum value_type type; /* computed */
    struct text_range range;
    uint32_t depth; /* computed: 1 for a leaf; never above the parser's limit */
    union {
        struct {
            double value;
            bool is_duration; /* written as a duration: 5m */
        } number;
        struct str string; /* unescaped */
        struct expr_selector selector;
        struct expr_matrix matrix;
        struct expr_subquery subquery;
        struct expr_aggregate aggregate;
        struct expr_call call;
        struct expr_binary binary;
        struct expr_unary unary;
        struct expr *paren;
        struct expr_task task;
    } u;
};

const char *binary_op_text(enum binary_op op);       /* "+", "atan2", "unless" */
const char *aggregate_op_text(enum aggregate_op op); /* "sum" */
const char *value_type_text(enum value_type type);   /* "instant vector", as Prometheus's messages say it */
bool binary_op_is_comparison(enum binary_op op);
bool binary_op_is_set(enum binary_op op);

const struct expr *expr_unparen(const struct expr *expr); /* the first descendant that is no parenthesis */

/* Calls visit for expr and, while it returns true, for its children in the order of the text. */
void expr_walk(const struct expr *expr, bool (*visit)(const struct expr *expr, void *arg), void *arg);

/* Same tree: kinds, fields and order. Ignored: positions, grouping_written, the order of a selector's matchers (the
 * canonical text sorts them), and what a duration expression resolved to. */
bool expr_eq(const struct expr *a, const struct expr *b);

#endif
