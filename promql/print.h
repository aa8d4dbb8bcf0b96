/* promql/print.h: the canonical text of a tree, as Prometheus's Expr.String() gives it.
 *
 * Holds: parse(print(tree)) equals the tree (expr_eq), for every tree that promql_parse returned.
 * Memory   appends to the caller's builder; ask strbuf_status when done.
 * Threads  no state.
 */
#ifndef PROMSPLIT_PROMQL_PRINT_H
#define PROMSPLIT_PROMQL_PRINT_H

#include "base/strbuf.h"
#include "promql/ast.h"

struct print_options {
    /* How an EXPR_TASK is written: `{__task_id__="<id>",__task_kind__="fragment"}`; gives the id of a task's index. */
    struct str (*task_id)(uint32_t index, void *arg);
    void *arg;
    /* Write duration expressions as the literal they resolved to and numbers-as-durations as numbers, so that a
     * Prometheus older than the syntax understands the text. */
    bool resolved;
};

void promql_print(struct strbuf *out, const struct expr *expr, const struct print_options *options /* NULL: plain */);

/* On several lines with indentation when longer than 100 bytes, as Prometheus's Prettify (format_query). */
void promql_prettify(struct strbuf *out, const struct expr *expr);

/* The JSON of /api/v1/parse_query (web/api/v1/translate_ast.go). */
void promql_print_json(struct strbuf *out, const struct expr *expr);

void promql_print_string(struct strbuf *out, struct str s); /* "…" with Go's escapes (strconv.Quote) */
void promql_print_duration(struct strbuf *out, int64_t ms); /* 5400000 -> 1h30m (model.Duration) */
void promql_print_matchers(struct strbuf *out, const struct matcher *at, size_t n); /* {a="b",c=~"d"} */
void promql_print_labels(struct strbuf *out, struct labels labels); /* up{job="a"}, as a metric is written */

#endif
