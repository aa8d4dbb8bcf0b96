/* planner/sql_fragment.c: the statement of a grid fragment (sql.h), for DuckDB.
 *
 * A subtree is written as two things that belong together: a FROM item that gives one row per series or group, and an
 * expression over its columns, which is the value on the grid (DOUBLE[]). Selectors, window functions over samples and
 * aggregations make a FROM item of their own; other nodes only wrap the expression of their operand. Each kind of node
 * has one row in `kinds`. judge.c has said before that the subtree may be pushed.
 *
 * What is pinned by @ is computed for one step and repeated, as Prometheus does (grid_step_invariant).
 *
 *     SELECT prom_label(labels, 'le') AS le, prom_sum(rate) AS value          aggregation: columns, value
 *     FROM (
 *         SELECT series, prom_rate(ts, value, …) AS rate                      per series: the window function
 *         FROM samples
 *         WHERE ts BETWEEN … AND …
 *             AND series IN (SELECT series FROM series WHERE metric = '…')
 *         GROUP BY series
 *     )
 *     JOIN (SELECT series, labels FROM series WHERE metric = '…') USING (series)
 *     GROUP BY le
 *     ORDER BY le
 */
#include "base/assert.h"
#include "planner/sql.h"

/* Which labels a FROM item has, and in what columns. */
struct columns {
    bool metric;
    bool map;
    struct name_list by; /* the label names; each is a column, named by label_column */
};

struct writer {
    struct sql sql;
    struct arena *arena;
    const struct plan_options *options;
    struct time_span bounds;
    struct time_span span;     /* union of what the windows read */
    struct name_list numbered; /* labels whose columns are called l1, l2, … in this order */
    bool exhausted;            /* the arena */
};

static struct columns node_columns(struct writer *w, const struct expr *expr);
static void write_value(struct writer *w, const struct expr *expr, struct grid grid);
static void write_from(struct writer *w, const struct expr *expr, struct grid grid, struct columns wanted);

/* --- names --- */

/* A label's own name may name its column when DuckDB reads it as nothing else: identifiers are case-insensitive there,
 * and the names of our tables, columns, functions and numbered labels are taken. */
static bool label_names_itself(struct str name)
{
    static const struct str taken[] = {STR_STATIC("series"), STR_STATIC("samples"), STR_STATIC("metric"),
                                       STR_STATIC("labels"), STR_STATIC("ts"),      STR_STATIC("value"),
                                       STR_STATIC("last")};
    for (size_t i = 0; i < name.len; i++)
        if (!(name.ptr[i] >= 'a' && name.ptr[i] <= 'z') && name.ptr[i] != '_' &&
            (i == 0 || name.ptr[i] < '0' || name.ptr[i] > '9'))
            return false;
    for (size_t i = 0; i < ARRAY_LENGTH(taken); i++)
        if (str_eq(name, taken[i]))
            return false;
    for (unsigned op = 0; op < AGG_OP_MAX; op++)
        if (str_eq(name, str_from(aggregate_op_text((enum aggregate_op)op))))
            return false;
    bool numbered = name.len > 1 && name.ptr[0] == 'l' && name.ptr[1] >= '0' && name.ptr[1] <= '9';
    return name.len > 0 && !numbered && !function_find(name);
}

static struct str *new_names(struct writer *w, size_t n)
{
    struct str *names = ARENA_ARRAY(w->arena, struct str, n ? n : 1);
    w->exhausted |= !names;
    return names;
}

/* The number of a label that cannot name its own column; the same wherever it occurs in the statement. */
static size_t label_number(struct writer *w, struct str name)
{
    for (size_t i = 0; i < w->numbered.n; i++)
        if (str_eq(w->numbered.at[i], name))
            return i + 1;
    struct str *grown = new_names(w, w->numbered.n + 1);
    if (!grown)
        return 0;
    for (size_t i = 0; i < w->numbered.n; i++)
        grown[i] = w->numbered.at[i];
    grown[w->numbered.n] = name;
    w->numbered = (struct name_list){grown, w->numbered.n + 1};
    return w->numbered.n;
}

static void label_column(struct writer *w, struct str name)
{
    if (label_names_itself(name)) {
        sql_identifier(&w->sql, name);
        return;
    }
    sql_words(&w->sql, "l");
    sql_i64(&w->sql, (int64_t)label_number(w, name));
}

static bool list_has(struct name_list list, struct str name)
{
    for (size_t i = 0; i < list.n; i++)
        if (str_eq(list.at[i], name))
            return true;
    return false;
}

/* The names of `from`, each once, without __name__, that are (wanted) or are not in `other`; other NULL: all. */
static struct name_list pick_names(struct writer *w, struct name_list from, const struct name_list *other, bool wanted)
{
    struct str *names = new_names(w, from.n);
    struct name_list picked = {names, 0};
    for (size_t i = 0; names && i < from.n; i++)
        if (!str_eq(from.at[i], LABEL_METRIC_NAME) && !list_has(picked, from.at[i]) &&
            (!other || list_has(*other, from.at[i]) == wanted))
            names[picked.n++] = from.at[i];
    return picked;
}

/* --- the per-series part: window functions over samples --- */

struct series_source {
    const struct expr *selector;
    struct str function; /* prom_<function> */
    int64_t window_ms;
};

static struct series_source series_source(struct writer *w, const struct expr *expr)
{
    if (expr->kind == EXPR_SELECTOR)
        return (struct series_source){expr, STR("last"), w->options->lookback_ms};
    const struct expr *matrix = expr_unparen(expr->u.call.args[0]);
    return (struct series_source){matrix->u.matrix.selector, expr->u.call.function->name, matrix->u.matrix.range.ms};
}

/* start, step, steps */
static void write_grid(struct writer *w, struct grid grid)
{
    sql_i64(&w->sql, grid.start_ms);
    sql_words(&w->sql, ", ");
    sql_i64(&w->sql, grid.step_ms);
    sql_words(&w->sql, ", ");
    sql_i64(&w->sql, grid.steps);
}

/* start, step, steps, window, closed */
static void write_windows(struct writer *w, struct grid grid, int64_t window_ms)
{
    write_grid(w, grid);
    sql_words(&w->sql, ", ");
    sql_i64(&w->sql, window_ms);
    sql_words(&w->sql, w->options->rule == WINDOW_CLOSED ? ", true" : ", false");
}

/* The matcher that alone narrows the catalogue most: equality on the metric name. */
static const struct matcher *metric_matcher(const struct expr_selector *selector)
{
    for (size_t i = 0; i < selector->matchers_n; i++)
        if (selector->matchers[i].op == MATCH_EQUAL && str_eq(selector->matchers[i].name, LABEL_METRIC_NAME))
            return &selector->matchers[i];
    return NULL;
}

static void write_series_join(struct writer *w, const struct expr_selector *selector, struct columns wanted)
{
    struct sql *sql = &w->sql;
    const struct matcher *metric = metric_matcher(selector);
    sql_line(sql);
    if (!metric) {
        sql_words(sql, "JOIN series USING (series)");
        return;
    }
    sql_words(sql, "JOIN (SELECT series");
    sql_words(sql, wanted.metric ? ", metric" : "");
    sql_words(sql, wanted.map || wanted.by.n ? ", labels" : "");
    sql_words(sql, " FROM series WHERE ");
    sql_matchers(sql, metric, 1);
    sql_words(sql, ") USING (series)");
}

/* One row per series: its number, the function's list and the labels that the node above wants. */
static void series_from(struct writer *w, const struct expr *expr, struct grid grid, struct columns wanted)
{
    struct series_source source = series_source(w, expr);
    const struct expr_selector *selector = &source.selector->u.selector;
    bool pinned;
    struct grid ends = grid_shift(grid, &selector->offset, selector->at, selector->at_ms, w->bounds, &pinned);
    struct time_span span = grid_window_span(ends, source.window_ms, w->options->rule);
    w->span = time_span_union(w->span, span);

    struct sql *sql = &w->sql;
    sql_words(sql, "(");
    sql->indent++;
    sql_line(sql);
    sql_words(sql, "SELECT series, prom_");
    strbuf_str(&sql->text, source.function);
    sql_words(sql, "(ts, value, ");
    write_windows(w, ends, source.window_ms);
    sql_words(sql, ") AS ");
    sql_identifier(sql, source.function);
    sql_line(sql);
    sql_words(sql, "FROM samples");
    sql_line(sql);
    sql_words(sql, "WHERE ts BETWEEN ");
    sql_i64(sql, span.min_ms);
    sql_words(sql, " AND ");
    sql_i64(sql, span.max_ms);
    sql->indent++;
    sql_line(sql);
    sql_words(sql, "AND series IN (SELECT series FROM series WHERE ");
    sql_matchers(sql, selector->matchers, selector->matchers_n);
    sql_words(sql, ")");
    sql->indent--;
    sql_line(sql);
    sql_words(sql, "GROUP BY series");
    sql->indent--;
    sql_line(sql);
    sql_words(sql, ")");
    if (wanted.metric || wanted.map || wanted.by.n)
        write_series_join(w, selector, wanted);
}

static void series_value(struct writer *w, const struct expr *expr, struct grid grid)
{
    sql_identifier(&w->sql, series_source(w, expr).function);
}

static struct columns selector_columns(struct writer *w, const struct expr *expr)
{
    return (struct columns){.metric = true, .map = true};
}

/* --- window functions: over samples, or over the grid of a subquery --- */

static const struct expr *subquery_of(const struct expr *call)
{
    const struct expr *range = expr_unparen(call->u.call.args[0]);
    return range->kind == EXPR_SUBQUERY ? range : NULL;
}

static struct grid subquery_ends(struct writer *w, const struct expr_subquery *subquery, struct grid grid)
{
    bool pinned;
    return grid_shift(grid, &subquery->offset, subquery->at, subquery->at_ms, w->bounds, &pinned);
}

static struct grid subquery_grid(struct writer *w, const struct expr_subquery *subquery, struct grid grid)
{
    int64_t step_ms = subquery->step.present ? subquery->step.ms : w->options->subquery_step_ms;
    return grid_subquery(subquery_ends(w, subquery, grid), subquery->range.ms, step_ms, w->options->rule);
}

static struct columns call_columns(struct writer *w, const struct expr *expr)
{
    const struct expr *subquery = subquery_of(expr);
    struct columns columns =
        subquery ? node_columns(w, subquery->u.subquery.operand) : (struct columns){.metric = true, .map = true};
    columns.metric &= expr->u.call.function->keeps_name;
    return columns;
}

static void call_value(struct writer *w, const struct expr *expr, struct grid grid)
{
    const struct expr *subquery = subquery_of(expr);
    if (!subquery) {
        series_value(w, expr, grid);
        return;
    }
    struct grid inner = subquery_grid(w, &subquery->u.subquery, grid);
    sql_words(&w->sql, "prom_");
    strbuf_str(&w->sql.text, expr->u.call.function->name);
    sql_words(&w->sql, "_grid(");
    write_value(w, subquery->u.subquery.operand, inner);
    sql_words(&w->sql, ", ");
    sql_i64(&w->sql, inner.start_ms);
    sql_words(&w->sql, ", ");
    sql_i64(&w->sql, inner.step_ms);
    sql_words(&w->sql, ", ");
    write_windows(w, subquery_ends(w, &subquery->u.subquery, grid), subquery->u.subquery.range.ms);
    sql_words(&w->sql, ")");
}

static void call_from(struct writer *w, const struct expr *expr, struct grid grid, struct columns wanted)
{
    const struct expr *subquery = subquery_of(expr);
    if (subquery)
        write_from(w, subquery->u.subquery.operand, subquery_grid(w, &subquery->u.subquery, grid), wanted);
    else
        series_from(w, expr, grid, wanted);
}

/* --- aggregations --- */

static struct columns aggregate_columns(struct writer *w, const struct expr *expr)
{
    const struct expr_aggregate *aggregate = &expr->u.aggregate;
    struct columns operand = node_columns(w, aggregate->operand);
    if (aggregate->without) {
        if (operand.map)
            return (struct columns){.map = true};
        return (struct columns){.by = pick_names(w, operand.by, &aggregate->grouping, false)};
    }
    return (struct columns){
        .metric = operand.metric && list_has(aggregate->grouping, LABEL_METRIC_NAME),
        .by = pick_names(w, aggregate->grouping, operand.map ? NULL : &operand.by, true),
    };
}

/* labels without the names of without(…): what is grouped by and what is selected. True if all are left. */
static bool write_labels_left(struct writer *w, struct name_list grouping)
{
    struct name_list names = pick_names(w, grouping, NULL, true);
    sql_words(&w->sql, names.n ? "prom_without(labels, [" : "labels");
    for (size_t i = 0; i < names.n; i++) {
        sql_words(&w->sql, i ? ", " : "");
        sql_string(&w->sql, names.at[i]);
    }
    sql_words(&w->sql, names.n ? "])" : "");
    return names.n == 0;
}

/* The result's columns, made of the operand's. */
static void write_groups(struct writer *w, const struct expr_aggregate *aggregate, struct columns operand,
                         struct columns result)
{
    struct sql *sql = &w->sql;
    sql_words(sql, result.metric ? "metric, " : "");
    if (result.map) {
        bool all = write_labels_left(w, aggregate->grouping);
        sql_words(sql, all ? ", " : " AS labels, ");
    }
    for (size_t i = 0; i < result.by.n; i++) {
        if (operand.map) {
            sql_words(sql, "prom_label(labels, ");
            sql_string(sql, result.by.at[i]);
            sql_words(sql, ") AS ");
        }
        label_column(w, result.by.at[i]);
        sql_words(sql, ", ");
    }
}

/* metric and label columns by name, as GROUP BY and ORDER BY list them. */
static void write_column_names(struct writer *w, struct columns columns)
{
    sql_words(&w->sql, columns.metric ? "metric" : "");
    for (size_t i = 0; i < columns.by.n; i++) {
        sql_words(&w->sql, i || columns.metric ? ", " : "");
        label_column(w, columns.by.at[i]);
    }
}

static bool columns_none(struct columns columns)
{
    return !columns.metric && !columns.map && columns.by.n == 0;
}

static void write_group_by(struct writer *w, const struct expr_aggregate *aggregate, struct columns result)
{
    struct sql *sql = &w->sql;
    sql_line(sql);
    if (columns_none(result)) {
        sql_words(sql, "HAVING count(*) > 0"); /* no series, no row */
        return;
    }
    sql_words(sql, "GROUP BY ");
    if (result.map)
        write_labels_left(w, aggregate->grouping);
    else
        write_column_names(w, result);
}

/* What an aggregation wants from the FROM item below to make its own columns. */
static struct columns wanted_columns(struct columns operand, struct columns result)
{
    return (struct columns){
        .metric = result.metric,
        .map = operand.map && (result.map || result.by.n),
        .by = operand.map ? (struct name_list){NULL, 0} : operand.by,
    };
}

/* SELECT … GROUP BY …; steps is how often the value is repeated, 1: not at all. */
static void write_aggregate(struct writer *w, const struct expr *expr, struct grid grid, uint32_t steps,
                            struct str alias)
{
    const struct expr_aggregate *aggregate = &expr->u.aggregate;
    struct columns operand = node_columns(w, aggregate->operand);
    struct columns result = node_columns(w, expr);
    struct sql *sql = &w->sql;
    sql_words(sql, "SELECT ");
    write_groups(w, aggregate, operand, result);
    sql_words(sql, steps == 1 ? "prom_" : "prom_repeat(prom_");
    sql_words(sql, aggregate_op_text(aggregate->op));
    sql_words(sql, "(");
    write_value(w, aggregate->operand, grid);
    sql_words(sql, ")");
    if (steps != 1) {
        sql_words(sql, ", ");
        sql_i64(sql, steps);
        sql_words(sql, ")");
    }
    sql_words(sql, " AS ");
    sql_identifier(sql, alias);
    sql_line(sql);
    sql_words(sql, "FROM ");
    write_from(w, aggregate->operand, grid, wanted_columns(operand, result));
    write_group_by(w, aggregate, result);
}

static void aggregate_from(struct writer *w, const struct expr *expr, struct grid grid, struct columns wanted)
{
    sql_words(&w->sql, "(");
    w->sql.indent++;
    sql_line(&w->sql);
    write_aggregate(w, expr, grid, 1, str_from(aggregate_op_text(expr->u.aggregate.op)));
    w->sql.indent--;
    sql_line(&w->sql);
    sql_words(&w->sql, ")");
}

static void aggregate_value(struct writer *w, const struct expr *expr, struct grid grid)
{
    sql_identifier(&w->sql, str_from(aggregate_op_text(expr->u.aggregate.op)));
}

/* --- the table --- */

/* One row per kind of node that may stand in a fragment. */
struct kind {
    struct columns (*columns)(struct writer *, const struct expr *);
    void (*from)(struct writer *, const struct expr *, struct grid, struct columns wanted);
    void (*value)(struct writer *, const struct expr *, struct grid); /* over the columns of from, on the same grid */
};

static const struct kind kinds[EXPR_KIND_MAX] = {
    [EXPR_SELECTOR] = {selector_columns, series_from, series_value},
    [EXPR_CALL] = {call_columns, call_from, call_value},
    [EXPR_AGGREGATE] = {aggregate_columns, aggregate_from, aggregate_value},
};

static struct columns node_columns(struct writer *w, const struct expr *expr)
{
    expr = expr_unparen(expr);
    INVARIANT(kinds[expr->kind].columns);
    return kinds[expr->kind].columns(w, expr);
}

/* The grid on which a node is computed: its own, or one step of it if that says all. */
static struct grid computed_grid(const struct expr *expr, struct grid grid)
{
    if (grid.steps != 1 && grid_step_invariant(expr))
        grid.steps = 1;
    return grid;
}

static void write_from(struct writer *w, const struct expr *expr, struct grid grid, struct columns wanted)
{
    expr = expr_unparen(expr);
    kinds[expr->kind].from(w, expr, computed_grid(expr, grid), wanted);
}

static void write_value(struct writer *w, const struct expr *expr, struct grid grid)
{
    expr = expr_unparen(expr);
    struct grid computed = computed_grid(expr, grid);
    if (computed.steps == grid.steps) {
        kinds[expr->kind].value(w, expr, grid);
        return;
    }
    sql_words(&w->sql, "prom_repeat(");
    kinds[expr->kind].value(w, expr, computed);
    sql_words(&w->sql, ", ");
    sql_i64(&w->sql, grid.steps);
    sql_words(&w->sql, ")");
}

static void write_statement(struct writer *w, const struct expr *expr, struct grid grid, struct columns columns)
{
    struct sql *sql = &w->sql;
    if (expr->kind == EXPR_AGGREGATE) {
        struct grid computed = computed_grid(expr, grid);
        write_aggregate(w, expr, computed, computed.steps == grid.steps ? 1 : grid.steps, STR("value"));
    } else {
        sql_words(sql, columns.metric ? "SELECT metric, " : "SELECT ");
        sql_words(sql, columns.map ? "labels, " : "");
        for (size_t i = 0; i < columns.by.n; i++) {
            label_column(w, columns.by.at[i]);
            sql_words(sql, ", ");
        }
        write_value(w, expr, grid);
        sql_words(sql, " AS value");
        sql_line(sql);
        sql_words(sql, "FROM ");
        write_from(w, expr, grid, columns);
    }
    if (!columns.map && !columns_none(columns)) {
        sql_line(sql);
        sql_words(sql, "ORDER BY ");
        write_column_names(w, columns);
    }
}

enum status sql_fragment(struct arena *arena, const struct plan_options *options, struct time_span query,
                         struct fragment *fragment, struct error *reterr)
{
    PRE(fragment->kind == FRAGMENT_GRID && options->can->dialect == DIALECT_DUCKDB);
    struct writer w = {.arena = arena, .options = options, .bounds = query, .span = {0, -1}};
    const struct expr *root = expr_unparen(fragment->root);
    sql_init(&w.sql, SQL_BYTES_MAX);
    struct columns columns = node_columns(&w, root);
    write_statement(&w, root, fragment->grid, columns);
    enum status status = sql_status(&w.sql, reterr);
    struct str text = status == OK ? arena_str(arena, strbuf_view(&w.sql.text)) : (struct str){NULL, 0};
    if (status == OK && (w.exhausted || !text.ptr))
        status = error_set(reterr, E_NOMEM, "no memory for a fragment's SQL of %zu bytes", w.sql.text.len);
    sql_release(&w.sql);
    if (status != OK)
        return status;
    fragment->sql = text;
    fragment->span = w.span;
    fragment->columns = (struct fragment_columns){columns.metric, columns.map, columns.by};
    return OK;
}
