/* planner/capability.h: what a backend computes exactly, and what the operator lets the planner push.
 *
 * The default is no: a zeroed table pushes nothing. A row says yes only when the backend's answer equals Prometheus's
 * for every input (docs/semantics.md), not merely for most.
 *
 * Threads: constant data once built.
 */
#ifndef PROMSPLIT_PLANNER_CAPABILITY_H
#define PROMSPLIT_PLANNER_CAPABILITY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "promql/ast.h"

enum sql_dialect {
    DIALECT_DUCKDB
};

struct capabilities {
    const char *backend; /* "duckdb", for explain */
    enum sql_dialect dialect;
    bool selector;         /* instant selector: lookback and staleness on a grid */
    bool subquery;         /* window functions over an inner grid */
    bool negation;         /* -x */
    bool function[FN_MAX]; /* FN_TIME: the list of evaluation times; FN_VECTOR: lists of a constant */
    bool aggregate[AGG_OP_MAX];
    bool binary[OP_MAX]; /* between vectors, and between vectors and scalars */
};

/* Classes of work that --planner.push names: PUSH_CLASS(id, name, text). A fragment needs the classes of all its nodes:
 * sum(rate(x[5m])) is of aggregate and window, sum(x) of aggregate and selector. */
#define PUSH_CLASSES(PUSH_CLASS)                                                                                       \
    PUSH_CLASS(SELECTOR, "selector", "instant selectors (lookback and staleness)")                                     \
    PUSH_CLASS(WINDOW, "window", "functions over range vectors: rate, max_over_time, …")                               \
    PUSH_CLASS(SUBQUERY, "subquery", "window functions over subqueries")                                               \
    PUSH_CLASS(AGGREGATE, "aggregate", "sum, avg, min, max, count, group, stddev, stdvar")                             \
    PUSH_CLASS(SELECT, "select", "topk, bottomk, quantile, count_values")                                              \
    PUSH_CLASS(ELEMENTWISE, "elementwise", "functions of single values and signs: abs, round, clamp, hour, -x, …")     \
    PUSH_CLASS(SCALAR, "scalar", "operators between vectors and scalars, and vector()")                                \
    PUSH_CLASS(BINARY, "binary", "arithmetic and comparison between vectors")                                          \
    PUSH_CLASS(SET, "set", "and, or, unless")                                                                          \
    PUSH_CLASS(ABSENT, "absent", "absent and absent_over_time")

enum push_class {
#define PUSH_CLASS(id, name, text) PUSH_##id,
    PUSH_CLASSES(PUSH_CLASS)
#undef PUSH_CLASS
    PUSH_CLASS_MAX
};

typedef uint32_t push_set; /* bit 1u << PUSH_x set: the class may be pushed */
#define PUSH_ALL  ((1u << PUSH_CLASS_MAX) - 1u)
#define PUSH_NONE 0u

/* "all", "none", or names separated by commas. E_BAD_DATA names the unknown one and the known ones. */
MUST_USE enum status push_set_parse(struct str text, push_set *ret_set, struct error *reterr);
const char *push_class_name(enum push_class push_class); /* "window" */
const char *push_class_text(enum push_class push_class); /* what it covers, for --help */

#endif
