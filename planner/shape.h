/* planner/shape.h: what a subtree's text alone says about its value. For judge.c and the writers of SQL.
 *
 * All functions walk down the tree, whose depth the parser bounds. Threads: no state.
 * Source: Prometheus promql/engine.go (resultMetric, VectorscalarBinop, scalarBinop), promql/functions.go
 * (createLabelsForAbsentFunction).
 */
#ifndef PROMSPLIT_PLANNER_SHAPE_H
#define PROMSPLIT_PLANNER_SHAPE_H

#include "promql/ast.h"

/* What is known of __name__ in the elements of a vector: dropping MANY could make two of them equal. */
enum names {
    NAMES_NONE, /* dropped already */
    NAMES_ONE,  /* all series have the same */
    NAMES_MANY
};

enum names names_of(const struct expr *expr);

/* What of __name__ an operator or function takes from its operand: true, if it keeps it. */
bool call_keeps_name(const struct expr_call *call);
bool binary_keeps_name(const struct expr_binary *binary); /* arithmetic and comparison; of the side names_side says */
const struct expr *binary_many_side(const struct expr_binary *binary); /* whose elements the result's are */
const struct expr *binary_one_side(const struct expr_binary *binary);

/* How a scalar is written: folded to a number, or a list with an element for each step. */
enum scalar_kind {
    SCALAR_NONE, /* Prometheus's part: start(), … */
    SCALAR_CONSTANT,
    SCALAR_GRID /* depends on time(), or is scalar() of something */
};

struct scalar {
    enum scalar_kind kind;
    double value; /* SCALAR_CONSTANT */
};

struct scalar scalar_of(const struct expr *expr); /* expr is of type scalar */

/* How a call becomes SQL. */
enum call_shape {
    CALL_OTHER,       /* not at all */
    CALL_WINDOW,      /* over a range vector, with constants */
    CALL_ELEMENTWISE, /* element by element, with scalars */
    CALL_OF_TIME,     /* hour() and its kin without an argument */
    CALL_VECTOR,
    CALL_ABSENT, /* absent, absent_over_time */
    CALL_TIMESTAMP,
    CALL_INFO
};

enum call_shape call_shape(const struct expr_call *call);
const struct expr *call_range(const struct expr_call *call); /* CALL_WINDOW: the matrix selector or subquery */
/* The selector whose samples' own times a call of timestamp() gives; NULL: that of the evaluation. */
const struct expr *call_sampled(const struct expr_call *call);

/* The equality matcher on the metric's name, which alone narrows the catalogue most; NULL: there is none. */
const struct matcher *selector_metric(const struct expr_selector *selector);

/* The matcher of the info metric's name in the second argument of info(); NULL: there is none. */
const struct matcher *info_metric(const struct expr_selector *asked);

#define ABSENT_LABELS_MAX 64u /* matchers of a selector in absent() */

/* The labels that absent() of this expression has: those of equality matchers of a selector on other names than
 * __name__; a name that is matched again, whatever by, is dropped. Fills labels, returns how many. An expression whose
 * selector has more matchers than ABSENT_LABELS_MAX must not come here. */
size_t absent_labels(const struct expr *operand, struct label labels[ABSENT_LABELS_MAX]);
const struct expr *absent_selector(const struct expr *operand); /* NULL: no selector, no labels */

/* __type__ and __unit__: Prometheus 3.5 and later drop them wherever they drop the name. */
extern const struct name_list METADATA_LABELS;
bool has_metadata(const struct expr *expr); /* whether elements may have one of them */
bool drops_name(const struct expr *expr);   /* a node over the rows of one vector: whether it takes the name away */

bool has_selector(const struct expr *expr);
bool name_list_has(struct name_list list, struct str name);

/* A metric name that Prometheus 3 takes for a counter's. */
bool metric_name_counts(struct str name);

#endif
