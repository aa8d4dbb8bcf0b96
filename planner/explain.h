/* planner/explain.h: a plan for people (text), programs (JSON) and pictures (DOT).
 *
 * Stable: no pointers, clocks or thread ids; tasks are numbered from 1 in the order of the query. Names for every part
 * whether it is pushed or residual, and why.
 */
#ifndef PROMSPLIT_PLANNER_EXPLAIN_H
#define PROMSPLIT_PLANNER_EXPLAIN_H

#include "planner/split.h"

enum explain_format {
    EXPLAIN_TEXT,
    EXPLAIN_JSON,
    EXPLAIN_DOT
};

/* scans: one for each fragment, or NULL: not known. Those of raw fragments are not shown. */
void explain_split(struct strbuf *out, const struct split *split, const struct plan_options *options,
                   const struct scan_figures *scans, enum explain_format format);

#endif
