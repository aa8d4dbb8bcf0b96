/* planner/judge.h: the first pass over a query: where each node is evaluated, and whether it may be pushed. For
 * split.c.
 *
 * Walks down with the evaluation grid and up with the verdicts; the default verdict is no. The nodes come out in
 * preorder, a node's descendants right behind it.
 *
 * Memory: the arena. Threads: no state.
 */
#ifndef PROMSPLIT_PLANNER_JUDGE_H
#define PROMSPLIT_PLANNER_JUDGE_H

#include "planner/split.h"

struct verdict {
    uint32_t nodes;             /* of the subtree, itself included: the next sibling is that far ahead */
    enum residue_reason reason; /* RESIDUE_NONE: the subtree's value can be computed in SQL */
    struct time_span raw_span;  /* EXPR_SELECTOR: what it may read, as Prometheus asks its storage */
};

struct judgement {
    struct split_node *nodes; /* reason as in the verdict; fragment -1 */
    struct verdict *verdicts; /* one per node */
    uint32_t nodes_n;
};

MUST_USE enum status judge_query(struct arena *arena, const struct query_text *query, struct grid grid,
                                 struct time_span bounds, const struct plan_options *options,
                                 struct judgement *ret_judgement, struct error *reterr);

/* The i-th child in the order of the text, or NULL behind the last one. */
const struct expr *judge_child(const struct expr *expr, size_t i);

#endif
