/* planner/fragment.h: what one task is to compute: the contract between planner and backends.
 *
 * FRAGMENT_GRID: the value of a subtree on a grid, by one SQL statement. The statement's columns are, in this order:
 *     metric  VARCHAR          only if columns.metric: the value of __name__ ('' or NULL: none)
 *     labels  MAP(VARCHAR, VARCHAR)  only if columns.map: all other labels
 *     one VARCHAR per name of columns.by (NULL or '': the series has no such label)
 *     value   DOUBLE[]         one element per step of `grid`; NULL: no value at that step (NaN is a value)
 * A fragment of type scalar (split.h) has one row without labels and a value at every step.
 * Rows with no value at any step may occur and are dropped by the reader. No two rows have the same labels, unless the
 * query is wrong in PromQL too; then the backend answers Prometheus's "vector cannot contain metrics with the same
 * labelset".
 *
 * FRAGMENT_RAW: a selector's own samples in `span`, staleness markers included, under their own labels. The span is the
 * one Prometheus would ask its own storage for; giving samples beyond it could change an answer.
 *
 * Memory   everything lives in the plan's arena.
 * Threads  read-only once the split is made.
 */
#ifndef PROMSPLIT_PLANNER_FRAGMENT_H
#define PROMSPLIT_PLANNER_FRAGMENT_H

#include "planner/grid.h"
#include "promql/ast.h"

enum fragment_kind {
    FRAGMENT_GRID,
    FRAGMENT_RAW
};

/* What a grid fragment's statement looks at in a backend that keeps samples as runs: rows of runs there are, rows that
 * no index or bound lets it pass over, rows that it needs; and the same of samples that lie as they came. Summed over
 * its selectors. */
struct scan_figures {
    size_t selectors_n;
    uint64_t chunks_n, chunks_scanned_n, chunks_needed_n;
    uint64_t recent_n, recent_needed_n;
};

struct fragment_columns {
    bool metric;
    bool map;
    struct name_list by;
};

/* One place where a grid fragment's statement reads samples. */
struct window_source {
    const struct expr_selector *selector; /* names its metric */
    struct grid ends;                     /* of the windows */
    int64_t window_ms;
    struct time_span span; /* that the windows read */
    int64_t rollup_ms;     /* 0: samples */
};

struct fragment {
    enum fragment_kind kind;
    /* The subtree of the query; FRAGMENT_RAW: an EXPR_SELECTOR, maybe a copy with other matchers, as the upstream's
     * version understands the query's. */
    const struct expr *root;
    struct str promql;     /* canonical text of root */
    struct grid grid;      /* where its value is wanted; FRAGMENT_RAW: the grid of its consumer */
    struct time_span span; /* samples it may read; FRAGMENT_RAW: samples it must give */
    struct str sql;        /* FRAGMENT_GRID */
    /* The same where no window of any source sees samples of two runs: each run by itself. Empty: there is none. */
    struct str sql_by_run;
    const struct window_source *sources; /* of sql_by_run */
    size_t sources_n;
    int64_t rollup_ms; /* the longest bucket that it reads rollups of; 0: it reads samples only */
    struct fragment_columns columns;
    const struct str *notes; /* FRAGMENT_GRID: infos for the user if its answer is not empty (notes.h) */
    size_t notes_n;
    bool notes_hidden; /* an empty answer does not say that they don't hold */
};

#endif
