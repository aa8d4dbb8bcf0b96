/* planner/split.h: divide one checked PromQL query into fragments and a residual expression.
 *
 * A fragment is a subtree whose value on its evaluation grid the backend computes exactly, or a bare selector whose raw
 * samples are handed over. Each is replaced in the residual by a task selector (EXPR_TASK); Prometheus evaluates the
 * residual and reads the fragments back. No selector of the query stays in the residual.
 *
 * Holds after success (split_validate checks it; tests and debug builds call it):
 *   - no EXPR_SELECTOR is left in the residual;
 *   - no fragment contains another; equal fragments on equal grids are one;
 *   - every fragment is named by at least one EXPR_TASK, and every EXPR_TASK names a fragment;
 *   - when `direct`, the residual (parentheses aside) is one grid task, and no Prometheus is needed. Only then
 *     may its fragment be of type scalar.
 *
 * What the residual adds to keep Prometheus's answer (docs/semantics.md):
 *   - absent(sel) and absent_over_time(sel[r]) derive labels from matchers, which a task selector has others of: the
 *     residual asks absent(+TASK), which derives none, or strips the task's labels, and adds the user's with
 *     label_replace;
 *   - parentheses around what became a task go;
 *   - timestamp(sel) needs the samples' own times: where it stays, its selector goes raw;
 *   - durations are printed as the literals they resolved to; a subquery's default step is written out.
 *
 * Two fragments of different queries give the same answer when sql and grid (grid fragments), or promql and span (raw
 * ones) are equal.
 *
 * Units    milliseconds. Memory: the result lives in `arena` and dies with it; `query` is only read, its durations are
 *          resolved (promql_resolve).
 * Threads  no shared state; any thread, one arena per thread.
 * Errors   E_LIMIT     more fragments or grid points than allowed;
 *          E_BAD_DATA  a task label named in a selector, or a NUL byte that SQL cannot carry;
 *          E_EXECUTION a query that cannot be right here (info() where it cannot be pushed, native histograms for an
 *                      upstream that cannot read them);
 *          E_NOMEM     the arena is full. On failure *ret_split is untouched.
 */
#ifndef PROMSPLIT_PLANNER_SPLIT_H
#define PROMSPLIT_PLANNER_SPLIT_H

#include "base/arena.h"
#include "base/error.h"
#include "planner/capability.h"
#include "planner/fragment.h"
#include "promql/parse.h"
#include "promql/print.h"

struct plan_options {
    const struct capabilities *can;
    push_set push;
    enum window_rule rule;
    int64_t lookback_ms;
    int64_t subquery_step_ms;   /* the upstream's default evaluation interval, for [1h:] */
    int64_t sample_interval_ms; /* how far apart samples usually are, an estimate; 0: unknown */
    uint32_t fragments_max;
    uint32_t
        version; /* of the upstream, major * 1000 + minor: what it does not have stays its own to refuse; 0: newest */
    bool remarks_apart; /* every call that Prometheus may remark on is a task of its own: see notes.h */
    /* Whether a metric that the selector matches may be named unlike a counter; true where it is not known. May be
     * NULL: none is. Called while the query is planned. */
    bool (*has_gauges)(const struct expr_selector *selector, void *arg);
    void *has_gauges_arg;
    /* Whether a series that the selector matches may have native histograms in the span: SQL does not read them. May be
     * NULL: none has. Called while the query is planned, of each selector that would be pushed; for an upstream that
     * cannot read them, of every one. */
    bool (*has_histograms)(const struct expr_selector *selector, struct time_span span, void *arg);
    void *has_histograms_arg;
    bool metadata_labels; /* some series has a label of METADATA_LABELS (shape.h), which go with the name */
    /* Bucket lengths that the backend keeps rollups of, the longest first: docs/storage.md says which functions may
     * read them, and when. */
    const int64_t *rollups_ms;
    size_t rollups_n;
    int64_t raw_from_ms; /* samples before it are gone, though rollups may tell of them, for explain; 0: none is */
    /* Steps of any one grid, inner ones included. Subqueries have many: not the API's 11 000 for range queries. */
    uint32_t points_max;

    /* The request's own start and end, for @ start(), @ end() and what raw selectors may read: its end may lie beyond
     * the last step. Zeroed: the grid's first and last step. */
    struct time_span bounds;
};

enum residue_reason {       /* why a node stayed in the residual; explain prints it */
    RESIDUE_NONE,           /* it did not: pushed */
    RESIDUE_NOT_EXACT,      /* the backend's answer could differ from Prometheus's, or it has none */
    RESIDUE_SWITCHED_OFF,   /* its class is not in --planner.push */
    RESIDUE_SHAPES_RESULT,  /* histogram_quantile, label_replace, sort …: Prometheus's part */
    RESIDUE_NEEDS_SAMPLES,  /* timestamp(), absent(), x[5m] alone: about the samples or the selector itself */
    RESIDUE_NAME_MAY_MERGE, /* series that differ in their name only would be taken for one */
    RESIDUE_NO_SERIES,      /* scalars, strings, time(): nothing to push */
    RESIDUE_CHILD,          /* an operand stayed, so this did */
    RESIDUE_PARENT,         /* what stayed above it reads it as it is */
    RESIDUE_FINE_GRID,      /* a bare selector with fewer samples than its grid has steps */
    RESIDUE_NEEDS_AT,       /* Prometheus must see this @ itself: what it does around it depends on it */
    RESIDUE_OBJECTED,       /* Prometheus warns of this parameter, or refuses it */
    RESIDUE_REMARKED,       /* Prometheus may remark on an operand, of which the result would not tell */
    RESIDUE_OTHER_VERSION,  /* the upstream's version does not have it */
    RESIDUE_HISTOGRAMS,     /* native histograms may be among its samples */
    RESIDUE_MAX
};
const char *residue_reason_text(enum residue_reason reason); /* one clause, for people */

/* One node of the query as explain shows it, in preorder. */
struct split_node {
    const struct expr *expr;
    uint32_t depth;             /* 0 for the root */
    struct grid grid;           /* where it is evaluated */
    enum residue_reason reason; /* RESIDUE_NONE: inside a grid fragment, or parentheses around one */
    int32_t fragment;           /* index if this node is a fragment's root, raw ones included; -1 else */
};

struct split {
    struct query_text query;
    struct grid grid; /* of the whole query */
    const struct fragment *fragments;
    uint32_t fragments_n;
    const struct expr *residual;
    bool direct;
    const struct split_node *nodes;
    uint32_t nodes_n;
};

MUST_USE enum status split_query(struct arena *arena, const struct query_text *query, struct grid grid,
                                 const struct plan_options *options, struct split *ret_split, struct error *reterr);

/* Asserts the invariants above. */
void split_validate(const struct split *split);

/* The residual's text with the given task ids; see print_options. */
void split_print_residual(struct strbuf *out, const struct split *split,
                          struct str (*task_id)(uint32_t index, void *arg), void *arg);

#endif
