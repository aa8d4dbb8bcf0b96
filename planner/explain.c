/* planner/explain.c: see explain.h. */
#include "planner/explain.h"

#include <inttypes.h>
#include <time.h>

#include "base/assert.h"

#define COLUMN      10 /* where the text of a section begins */
#define TREE_BYTES  (1u << 20)
#define LABEL_WIDTH 52 /* of the tree, before the verdicts; longer lines push theirs to the right */

/* --- shared words --- */

static struct str task_number(uint32_t index, void *arg)
{
    struct strbuf *scratch = arg;
    strbuf_clear(scratch);
    strbuf_u64(scratch, index + 1);
    return strbuf_view(scratch);
}

static void print_residual(struct strbuf *out, const struct split *split)
{
    struct strbuf scratch;
    strbuf_init(&scratch, 32);
    split_print_residual(out, split, task_number, &scratch);
    strbuf_release(&scratch);
}

/* 2026-08-22T10:15:00Z, with milliseconds if there are any. */
static void print_time(struct strbuf *out, int64_t time_ms)
{
    int64_t ms = time_ms % 1000 < 0 ? time_ms % 1000 + 1000 : time_ms % 1000;
    time_t seconds = (time_t)((time_ms - ms) / 1000);
    struct tm tm;
    if (!gmtime_r(&seconds, &tm)) {
        strbuf_i64(out, time_ms);
        strbuf_cstr(out, " ms");
        return;
    }
    strbuf_f(out, "%04d-%02d-%02dT%02d:%02d:%02d", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min,
             tm.tm_sec);
    if (ms)
        strbuf_f(out, ".%03d", (int)ms);
    strbuf_char(out, 'Z');
}

static void print_grid(struct strbuf *out, struct grid grid)
{
    if (grid.steps == 0) {
        strbuf_cstr(out, "no step: no multiple of the subquery's step lies in its range");
        return;
    }
    print_time(out, grid.start_ms);
    if (grid.steps == 1)
        return;
    strbuf_cstr(out, " … ");
    print_time(out, grid_end(grid));
    strbuf_cstr(out, " every ");
    promql_print_duration(out, grid.step_ms);
    strbuf_f(out, " (%u steps)", grid.steps);
}

static void print_span(struct strbuf *out, struct time_span span)
{
    if (span.max_ms < span.min_ms) {
        strbuf_cstr(out, "none");
        return;
    }
    print_time(out, span.min_ms);
    strbuf_cstr(out, " … ");
    print_time(out, span.max_ms);
}

static void print_name(struct strbuf *out, struct str name)
{
    if (label_name_is_plain(name))
        strbuf_str(out, name);
    else
        promql_print_string(out, name);
}

static void print_names(struct strbuf *out, struct name_list names)
{
    strbuf_cstr(out, " (");
    for (size_t i = 0; i < names.n; i++) {
        strbuf_cstr(out, i ? ", " : "");
        print_name(out, names.at[i]);
    }
    strbuf_char(out, ')');
}

static void print_modifiers(struct strbuf *out, const struct duration *offset, enum at_kind at, int64_t at_ms)
{
    if (at == AT_TIME)
        strbuf_f(out, " @ %s%lld.%03d", at_ms < 0 && at_ms > -1000 ? "-" : "", (long long)(at_ms / 1000),
                 (int)(at_ms % 1000 < 0 ? -(at_ms % 1000) : at_ms % 1000));
    if (at == AT_START || at == AT_END)
        strbuf_cstr(out, at == AT_START ? " @ start()" : " @ end()");
    if (!offset->present)
        return;
    strbuf_cstr(out, offset->ms < 0 ? " offset -" : " offset ");
    promql_print_duration(out, offset->ms < 0 ? -offset->ms : offset->ms);
}

static void print_binary(struct strbuf *out, const struct expr_binary *binary)
{
    strbuf_cstr(out, binary_op_text(binary->op));
    strbuf_cstr(out, binary->return_bool ? " bool" : "");
    if (binary->matching_written) {
        strbuf_cstr(out, binary->on ? " on" : " ignoring");
        print_names(out, binary->matching);
    }
    if (binary->cardinality == CARD_MANY_TO_ONE || binary->cardinality == CARD_ONE_TO_MANY) {
        strbuf_cstr(out, binary->cardinality == CARD_MANY_TO_ONE ? " group_left" : " group_right");
        print_names(out, binary->include);
    }
}

static void print_subquery(struct strbuf *out, const struct expr_subquery *subquery, const struct plan_options *options)
{
    strbuf_char(out, '[');
    promql_print_duration(out, subquery->range.ms);
    strbuf_char(out, ':');
    promql_print_duration(out, subquery->step.present ? subquery->step.ms : options->subquery_step_ms);
    strbuf_char(out, ']');
    print_modifiers(out, &subquery->offset, subquery->at, subquery->at_ms);
}

/* One node without its children. */
static void print_node(struct strbuf *out, const struct expr *expr, const struct plan_options *options)
{
    switch (expr->kind) {
    case EXPR_NUMBER:
    case EXPR_STRING:
    case EXPR_SELECTOR:
    case EXPR_MATRIX: /* with its selector, which people read as one */
        promql_print(out, expr, &(struct print_options){.resolved = true});
        return;
    case EXPR_SUBQUERY:
        print_subquery(out, &expr->u.subquery, options);
        return;
    case EXPR_AGGREGATE:
        strbuf_cstr(out, aggregate_op_text(expr->u.aggregate.op));
        if (expr->u.aggregate.without || expr->u.aggregate.grouping_written || expr->u.aggregate.grouping.n) {
            strbuf_cstr(out, expr->u.aggregate.without ? " without" : " by");
            print_names(out, expr->u.aggregate.grouping);
        }
        return;
    case EXPR_CALL:
        strbuf_str(out, expr->u.call.function->name);
        return;
    case EXPR_BINARY:
        print_binary(out, &expr->u.binary);
        return;
    case EXPR_UNARY:
        strbuf_char(out, expr->u.unary.negative ? '-' : '+');
        return;
    case EXPR_PAREN:
        strbuf_cstr(out, "( )");
        return;
    default:
        INVARIANT(!"a node of a query");
    }
}

/* The selector of a matrix selector is shown with it. */
static bool is_shown(const struct split *split, uint32_t at)
{
    return at == 0 || split->nodes[at - 1].expr->kind != EXPR_MATRIX;
}

/* Whether the user pinned it where Prometheus does not see that. */
static bool has_unheeded_pin(const struct expr *expr)
{
    if (expr->kind == EXPR_MATRIX)
        expr = expr->u.matrix.selector;
    return expr->kind == EXPR_SUBQUERY ? expr->u.subquery.at_unheeded
                                       : expr->kind == EXPR_SELECTOR && expr->u.selector.at_unheeded;
}

/* What became of a node: "task 1", "in task 1", "task 2, raw samples: why", "Prometheus: why". */
static void print_fate(struct strbuf *out, const struct split *split, uint32_t at, int32_t within)
{
    const struct split_node *node = &split->nodes[at];
    if (node->expr->kind == EXPR_MATRIX && node[1].fragment >= 0)
        node++;
    if (node->fragment >= 0 && split->fragments[node->fragment].kind == FRAGMENT_RAW)
        strbuf_f(out, "task %d, raw samples: %s", node->fragment + 1, residue_reason_text(node->reason));
    else if (node->fragment >= 0)
        strbuf_f(out, "task %d", node->fragment + 1);
    else if (node->expr->kind == EXPR_NUMBER || node->expr->kind == EXPR_STRING)
        strbuf_cstr(out, "constant");
    else if (node->reason == RESIDUE_NONE && within >= 0)
        strbuf_f(out, "in task %d", within + 1);
    else if (node->reason == RESIDUE_NONE)
        strbuf_cstr(out, "left out: what it holds is a task");
    else
        strbuf_f(out, "Prometheus: %s", residue_reason_text(node->reason));
    if (has_unheeded_pin(split->nodes[at].expr))
        strbuf_cstr(out, "; its @ pins nothing here, nor does it in Prometheus");
}

/* The fragment that encloses each node while they pass by in preorder. */
struct enclosing {
    int32_t fragment; /* -1: none */
    uint32_t depth;   /* of its root */
};

static void enclosing_next(struct enclosing *enclosing, const struct split_node *node)
{
    if (enclosing->fragment >= 0 && node->depth <= enclosing->depth)
        enclosing->fragment = -1;
    if (node->fragment >= 0)
        *enclosing = (struct enclosing){node->fragment, node->depth};
}

/* --- text --- */

static void section(struct strbuf *out, const char *name)
{
    size_t length = strlen(name);
    strbuf_cstr(out, name);
    for (size_t i = length; i < COLUMN; i++)
        strbuf_char(out, ' ');
}

/* Characters, not bytes; good enough for lining up (wide ones only shift their own line). */
static size_t text_width(struct str text)
{
    size_t width = 0;
    for (size_t i = 0; i < text.len; i++)
        width += ((unsigned char)text.ptr[i] & 0xc0) != 0x80;
    return width;
}

static bool has_later_sibling(const struct split *split, uint32_t at, uint32_t depth)
{
    for (uint32_t i = at + 1; i < split->nodes_n && split->nodes[i].depth >= depth; i++)
        if (split->nodes[i].depth == depth)
            return true;
    return false;
}

static void text_branches(struct strbuf *line, const struct split *split, uint32_t at)
{
    uint32_t depth = split->nodes[at].depth;
    for (uint32_t level = 1; level < depth; level++)
        strbuf_cstr(line, has_later_sibling(split, at, level) ? "│  " : "   ");
    if (depth)
        strbuf_cstr(line, has_later_sibling(split, at, depth) ? "├─ " : "└─ ");
}

static void text_tree(struct strbuf *out, const struct split *split, const struct plan_options *options)
{
    struct enclosing enclosing = {.fragment = -1};
    struct strbuf line;
    strbuf_init(&line, TREE_BYTES);
    section(out, "Plan");
    for (uint32_t i = 0; i < split->nodes_n; i++) {
        enclosing_next(&enclosing, &split->nodes[i]);
        if (!is_shown(split, i))
            continue;
        strbuf_clear(&line);
        text_branches(&line, split, i);
        print_node(&line, split->nodes[i].expr, options);
        if (i)
            section(out, "");
        strbuf_str(out, strbuf_view(&line));
        for (size_t width = text_width(strbuf_view(&line)); width < LABEL_WIDTH; width++)
            strbuf_char(out, ' ');
        strbuf_cstr(out, "  ");
        print_fate(out, split, i, enclosing.fragment);
        strbuf_char(out, '\n');
    }
    strbuf_release(&line);
}

static void text_indented(struct strbuf *out, struct str text)
{
    for (size_t i = 0; i < text.len; i++) {
        strbuf_char(out, text.ptr[i]);
        if (text.ptr[i] == '\n')
            section(out, "");
    }
    strbuf_char(out, '\n');
}

static void text_columns(struct strbuf *out, const struct fragment_columns *columns)
{
    strbuf_cstr(out, columns->metric ? "metric name, " : "");
    strbuf_cstr(out, columns->map ? "labels, " : "");
    for (size_t i = 0; i < columns->by.n; i++) {
        strbuf_cstr(out, "label ");
        print_name(out, columns->by.at[i]);
        strbuf_cstr(out, ", ");
    }
    strbuf_cstr(out, "value\n");
}

static void text_scan(struct strbuf *out, const struct scan_figures *scan)
{
    section(out, "  scans");
    strbuf_f(out, "%" PRIu64 " of %" PRIu64 " chunks, of which it needs %" PRIu64 "; ", scan->chunks_scanned_n,
             scan->chunks_n, scan->chunks_needed_n);
    strbuf_f(out, "%" PRIu64 " recent samples, of which it needs %" PRIu64 "\n", scan->recent_n, scan->recent_needed_n);
}

/* Whether it would read samples that are gone. */
static bool reaches_behind(const struct fragment *fragment, const struct plan_options *options)
{
    return options->raw_from_ms && fragment->span.min_ms < options->raw_from_ms;
}

static void text_behind(struct strbuf *out, const struct fragment *fragment, const struct plan_options *options)
{
    if (!reaches_behind(fragment, options))
        return;
    section(out, "  behind");
    strbuf_cstr(out, "samples before ");
    print_time(out, options->raw_from_ms);
    strbuf_cstr(out, " are gone: ");
    if (fragment->rollup_ms) {
        strbuf_cstr(out, "buckets of ");
        promql_print_duration(out, fragment->rollup_ms);
        strbuf_cstr(out, " answer there\n");
    } else {
        strbuf_cstr(out, "this task reads no rollups, and finds nothing there\n");
    }
}

static void text_fragment(struct strbuf *out, const struct fragment *fragment, const struct plan_options *options,
                          const struct scan_figures *scan, uint32_t i)
{
    strbuf_f(out, "\nTask %-5u", i + 1);
    strbuf_str(out, fragment->promql);
    strbuf_char(out, '\n');
    if (fragment->kind == FRAGMENT_GRID) {
        section(out, "  at");
        print_grid(out, fragment->grid);
        strbuf_char(out, '\n');
    }
    section(out, fragment->kind == FRAGMENT_GRID ? "  reads" : "  raw");
    strbuf_cstr(out, "samples of ");
    print_span(out, fragment->span);
    strbuf_char(out, '\n');
    text_behind(out, fragment, options);
    if (fragment->kind == FRAGMENT_RAW)
        return;
    if (fragment->rollup_ms) {
        section(out, "  rollups");
        strbuf_cstr(out, "buckets of ");
        promql_print_duration(out, fragment->rollup_ms);
        strbuf_cstr(out, ", where they are made; samples elsewhere\n");
    }
    if (scan)
        text_scan(out, scan);
    section(out, "  columns");
    text_columns(out, &fragment->columns);
    section(out, "  SQL");
    text_indented(out, fragment->sql);
    if (fragment->sql_by_run.len) {
        section(out, "  by run");
        strbuf_cstr(out, "where no window sees samples of two runs; --format=json has that SQL\n");
    }
}

static void text_head(struct strbuf *out, const struct split *split, const struct plan_options *options)
{
    section(out, "Query");
    promql_print(out, split->query.root, NULL);
    strbuf_char(out, '\n');
    section(out, "At");
    print_grid(out, split->grid);
    strbuf_char(out, '\n');
    section(out, "Rules");
    strbuf_cstr(out, options->rule == WINDOW_LEFT_OPEN ? "windows left-open (Prometheus 3), lookback "
                                                       : "windows closed (Prometheus 2), lookback ");
    promql_print_duration(out, options->lookback_ms);
    strbuf_cstr(out, ", default subquery step ");
    promql_print_duration(out, options->subquery_step_ms);
    strbuf_char(out, '\n');
    section(out, "Backend");
    strbuf_cstr(out, options->can->backend);
    strbuf_cstr(out, ", may compute: ");
    if (options->push == PUSH_NONE || options->push == PUSH_ALL)
        strbuf_cstr(out, options->push == PUSH_ALL ? "all that it can" : "nothing");
    bool first = true;
    for (unsigned c = 0; c < PUSH_CLASS_MAX; c++)
        if (options->push != PUSH_ALL && options->push & 1u << c) {
            strbuf_cstr(out, first ? "" : ", ");
            strbuf_cstr(out, push_class_name((enum push_class)c));
            first = false;
        }
    strbuf_cstr(out, "\n\n");
}

static void explain_text(struct strbuf *out, const struct split *split, const struct plan_options *options,
                         const struct scan_figures *scans)
{
    text_head(out, split, options);
    text_tree(out, split, options);
    for (uint32_t i = 0; i < split->fragments_n; i++)
        text_fragment(out, &split->fragments[i], options, scans ? &scans[i] : NULL, i);
    strbuf_char(out, '\n');
    section(out, "Residual");
    if (split->direct) {
        strbuf_cstr(out, "none: task 1 is the whole answer, Prometheus is not asked\n");
        return;
    }
    print_residual(out, split);
    strbuf_char(out, '\n');
    section(out, "");
    strbuf_cstr(out, split->fragments_n ? "sent to Prometheus, which reads the tasks back by remote read\n"
                                        : "sent to Prometheus; it needs no samples\n");
}

/* --- JSON --- */

static void json_grid(struct strbuf *out, struct grid grid)
{
    strbuf_cstr(out, "{\"startMs\":");
    strbuf_i64(out, grid.start_ms);
    strbuf_cstr(out, ",\"stepMs\":");
    strbuf_i64(out, grid.step_ms);
    strbuf_cstr(out, ",\"steps\":");
    strbuf_u64(out, grid.steps);
    strbuf_char(out, '}');
}

static const char *reason_name(enum residue_reason reason)
{
    static const char *const names[RESIDUE_MAX] = {
        [RESIDUE_NONE] = "pushed",
        [RESIDUE_NOT_EXACT] = "not_exact",
        [RESIDUE_SWITCHED_OFF] = "switched_off",
        [RESIDUE_SHAPES_RESULT] = "shapes_result",
        [RESIDUE_NEEDS_SAMPLES] = "needs_samples",
        [RESIDUE_NAME_MAY_MERGE] = "name_may_merge",
        [RESIDUE_NO_SERIES] = "no_series",
        [RESIDUE_CHILD] = "child",
        [RESIDUE_PARENT] = "parent",
        [RESIDUE_FINE_GRID] = "fine_grid",
        [RESIDUE_NEEDS_AT] = "needs_at",
        [RESIDUE_OBJECTED] = "objected",
        [RESIDUE_REMARKED] = "remarked",
        [RESIDUE_OTHER_VERSION] = "other_version",
        [RESIDUE_HISTOGRAMS] = "native_histograms",
    };
    PRE((unsigned)reason < RESIDUE_MAX && names[reason]);
    return names[reason];
}

static void json_quoted_buffer(struct strbuf *out, struct strbuf *text)
{
    strbuf_json(out, strbuf_view(text));
    strbuf_release(text);
}

static void json_node(struct strbuf *out, const struct split *split, uint32_t at, int32_t within,
                      const struct plan_options *options)
{
    const struct split_node *node = &split->nodes[at];
    struct strbuf text;
    strbuf_init(&text, TREE_BYTES);
    print_node(&text, node->expr, options);
    strbuf_f(out, "{\"depth\":%u,\"begin\":%u,\"end\":%u,\"text\":", node->depth, node->expr->range.begin,
             node->expr->range.end);
    json_quoted_buffer(out, &text);
    strbuf_cstr(out, ",\"grid\":");
    json_grid(out, node->grid);
    strbuf_f(out, ",\"fate\":\"%s\",\"reason\":", reason_name(node->reason));
    strbuf_json(out, str_from(residue_reason_text(node->reason)));
    if (node->fragment >= 0)
        strbuf_f(out, ",\"task\":%d", node->fragment + 1);
    else if (within >= 0)
        strbuf_f(out, ",\"inTask\":%d", within + 1);
    if (has_unheeded_pin(node->expr))
        strbuf_cstr(out, ",\"pinHeeded\":false");
    strbuf_char(out, '}');
}

static void json_scan(struct strbuf *out, const struct scan_figures *scan)
{
    strbuf_f(out,
             ",\"scans\":{\"chunks\":%" PRIu64 ",\"chunksScanned\":%" PRIu64 ",\"chunksNeeded\":%" PRIu64
             ",\"recent\":%" PRIu64 ",\"recentNeeded\":%" PRIu64 "}",
             scan->chunks_n, scan->chunks_scanned_n, scan->chunks_needed_n, scan->recent_n, scan->recent_needed_n);
}

static void json_fragment(struct strbuf *out, const struct fragment *fragment, const struct plan_options *options,
                          const struct scan_figures *scan, uint32_t i)
{
    strbuf_f(out, "{\"task\":%u,\"kind\":\"%s\",\"promql\":", i + 1, fragment->kind == FRAGMENT_GRID ? "grid" : "raw");
    strbuf_json(out, fragment->promql);
    strbuf_cstr(out, ",\"grid\":");
    json_grid(out, fragment->grid);
    strbuf_cstr(out, ",\"samples\":{\"minMs\":");
    strbuf_i64(out, fragment->span.min_ms);
    strbuf_cstr(out, ",\"maxMs\":");
    strbuf_i64(out, fragment->span.max_ms);
    strbuf_char(out, '}');
    if (reaches_behind(fragment, options)) {
        strbuf_cstr(out, ",\"goneBeforeMs\":");
        strbuf_i64(out, options->raw_from_ms);
    }
    if (scan && fragment->kind == FRAGMENT_GRID)
        json_scan(out, scan);
    if (fragment->kind == FRAGMENT_GRID) {
        strbuf_cstr(out, ",\"rollupMs\":");
        strbuf_i64(out, fragment->rollup_ms);
        strbuf_f(out, ",\"columns\":{\"metric\":%s,\"map\":%s,\"by\":[", fragment->columns.metric ? "true" : "false",
                 fragment->columns.map ? "true" : "false");
        for (size_t k = 0; k < fragment->columns.by.n; k++) {
            strbuf_cstr(out, k ? "," : "");
            strbuf_json(out, fragment->columns.by.at[k]);
        }
        strbuf_cstr(out, "]},\"sql\":");
        strbuf_json(out, fragment->sql);
        if (fragment->sql_by_run.len) {
            strbuf_cstr(out, ",\"sqlByRun\":");
            strbuf_json(out, fragment->sql_by_run);
        }
    }
    strbuf_char(out, '}');
}

static void explain_json(struct strbuf *out, const struct split *split, const struct plan_options *options,
                         const struct scan_figures *scans)
{
    struct strbuf text;
    strbuf_init(&text, TREE_BYTES);
    promql_print(&text, split->query.root, NULL);
    strbuf_cstr(out, "{\"query\":");
    json_quoted_buffer(out, &text);
    strbuf_cstr(out, ",\"grid\":");
    json_grid(out, split->grid);
    strbuf_f(out, ",\"windows\":\"%s\",\"lookbackMs\":%lld,\"backend\":",
             options->rule == WINDOW_LEFT_OPEN ? "left-open" : "closed", (long long)options->lookback_ms);
    strbuf_json(out, str_from(options->can->backend));
    strbuf_cstr(out, ",\"nodes\":[");
    struct enclosing enclosing = {.fragment = -1};
    for (uint32_t i = 0; i < split->nodes_n; i++) {
        enclosing_next(&enclosing, &split->nodes[i]);
        strbuf_cstr(out, i ? "," : "");
        json_node(out, split, i, enclosing.fragment, options);
    }
    strbuf_cstr(out, "],\"tasks\":[");
    for (uint32_t i = 0; i < split->fragments_n; i++) {
        strbuf_cstr(out, i ? "," : "");
        json_fragment(out, &split->fragments[i], options, scans ? &scans[i] : NULL, i);
    }
    strbuf_f(out, "],\"direct\":%s,\"residual\":", split->direct ? "true" : "false");
    strbuf_init(&text, TREE_BYTES);
    print_residual(&text, split);
    json_quoted_buffer(out, &text);
    strbuf_cstr(out, "}\n");
}

/* --- DOT --- */

static void dot_string(struct strbuf *out, struct str text)
{
    strbuf_char(out, '"');
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == '"' || text.ptr[i] == '\\')
            strbuf_char(out, '\\');
        if (text.ptr[i] == '\n')
            strbuf_cstr(out, "\\l");
        else
            strbuf_char(out, text.ptr[i]);
    }
    strbuf_char(out, '"');
}

static void dot_node(struct strbuf *out, const struct split *split, uint32_t at, int32_t within,
                     const struct plan_options *options)
{
    const struct split_node *node = &split->nodes[at];
    struct strbuf text;
    strbuf_init(&text, TREE_BYTES);
    print_node(&text, node->expr, options);
    strbuf_char(&text, '\n');
    print_fate(&text, split, at, within);
    strbuf_char(&text, '\n');
    const struct split_node *task = node->expr->kind == EXPR_MATRIX ? node + 1 : node;
    bool raw = task->fragment >= 0 && split->fragments[task->fragment].kind == FRAGMENT_RAW;
    strbuf_f(out, "  n%u [label=", at + 1);
    dot_string(out, strbuf_view(&text));
    strbuf_f(out, ", fillcolor=\"%s\"];\n", raw ? "#fff2cc" : within >= 0 ? "#d5e8d4" : "#f5f5f5");
    strbuf_release(&text);
    for (uint32_t parent = at; parent-- > 0;)
        if (split->nodes[parent].depth < node->depth) {
            strbuf_f(out, "  n%u -> n%u;\n", parent + 1, at + 1);
            break;
        }
}

static void explain_dot(struct strbuf *out, const struct split *split, const struct plan_options *options)
{
    strbuf_cstr(out, "digraph plan {\n  node [shape=box, style=filled, fontname=\"monospace\"];\n");
    struct enclosing enclosing = {.fragment = -1};
    for (uint32_t i = 0; i < split->nodes_n; i++) {
        enclosing_next(&enclosing, &split->nodes[i]);
        if (is_shown(split, i))
            dot_node(out, split, i, enclosing.fragment, options);
    }
    for (uint32_t i = 0; i < split->fragments_n; i++) {
        const struct fragment *fragment = &split->fragments[i];
        if (fragment->kind != FRAGMENT_GRID)
            continue;
        struct strbuf text;
        strbuf_init(&text, TREE_BYTES);
        strbuf_f(&text, "task %u\n", i + 1);
        strbuf_str(&text, fragment->sql);
        strbuf_char(&text, '\n');
        strbuf_f(out, "  t%u [shape=note, fillcolor=\"#dae8fc\", label=", i + 1);
        dot_string(out, strbuf_view(&text));
        strbuf_cstr(out, "];\n");
        strbuf_release(&text);
        for (uint32_t k = 0; k < split->nodes_n; k++)
            if (split->nodes[k].fragment == (int32_t)i)
                strbuf_f(out, "  n%u -> t%u [style=dashed];\n", k + 1, i + 1);
    }
    strbuf_cstr(out, "}\n");
}

void explain_split(struct strbuf *out, const struct split *split, const struct plan_options *options,
                   const struct scan_figures *scans, enum explain_format format)
{
    switch (format) {
    case EXPLAIN_TEXT:
        explain_text(out, split, options, scans);
        return;
    case EXPLAIN_JSON:
        explain_json(out, split, options, scans);
        return;
    case EXPLAIN_DOT:
        explain_dot(out, split, options);
        return;
    }
}
