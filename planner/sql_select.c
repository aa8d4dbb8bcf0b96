/* planner/sql_select.c: see sql_writer.h. Nodes whose rows are not their operand's: topk, bottomk, count_values,
 * absent, vector.
 *
 *     WITH operand AS MATERIALIZED (
 *         SELECT metric, labels, last AS value, row_number() OVER (ORDER BY metric, labels) AS rank
 *         FROM …
 *     )
 *     SELECT metric, labels, kept.value AS value
 *     FROM operand
 *     JOIN (SELECT unnest(prom_topk(value, 3e0, rank)) AS kept FROM operand GROUP BY …) ON rank = kept.rank
 */
#include "base/assert.h"
#include "planner/sql_writer.h"

static const struct name_list no_names = {NULL, 0};

/* --- groups --- */

struct columns grouping_columns(struct writer *w, const struct expr_aggregate *aggregate)
{
    struct columns operand = node_columns(w, aggregate->operand);
    if (aggregate->without)
        return (struct columns){.map = operand.map, .by = pick_names(w, operand.by, &aggregate->grouping, false)};
    return (struct columns){
        .metric = operand.metric && name_list_has(aggregate->grouping, LABEL_METRIC_NAME),
        .by = pick_names(w, aggregate->grouping, operand.map ? NULL : &operand.by, true),
    };
}

struct name_list grouping_removed(struct writer *w, const struct expr_aggregate *aggregate)
{
    return aggregate->without ? pick_names(w, aggregate->grouping, NULL, true) : no_names;
}

/* GROUP BY …, as expressions over the operand's columns. */
static void write_groups(struct writer *w, struct columns from, struct columns to, struct name_list removed)
{
    struct sql *sql = &w->sql;
    if (columns_none(to))
        return;
    sql_line(sql);
    sql_words(sql, "GROUP BY ");
    bool first = true;
    if (to.metric) {
        write_label(w, "", from, LABEL_METRIC_NAME);
        first = false;
    }
    if (to.map) {
        sql_words(sql, first ? "" : ", ");
        write_map(w, "", from, to, removed);
        first = false;
    }
    for (size_t i = 0; i < to.by.n; i++) {
        sql_words(sql, first ? "" : ", ");
        write_label(w, "", from, to.by.at[i]);
        first = false;
    }
}

/* --- topk, bottomk: rows are chosen step by step, and keep all their labels --- */

static void topk_chosen(struct writer *w, const struct expr_aggregate *aggregate, struct columns operand,
                        struct grid grid)
{
    struct sql *sql = &w->sql;
    sql_words(sql, "SELECT unnest(prom_");
    sql_words(sql, aggregate_op_text(aggregate->op));
    sql_words(sql, "(value, ");
    write_scalar(w, aggregate->parameter, grid, false);
    sql_words(sql, ", rank)) AS kept");
    sql_line(sql);
    sql_words(sql, "FROM operand");
    write_groups(w, operand, grouping_columns(w, aggregate), grouping_removed(w, aggregate));
}

static void topk_select(struct writer *w, const struct expr_aggregate *aggregate, struct grid grid)
{
    struct sql *sql = &w->sql;
    struct columns operand = node_columns(w, aggregate->operand);
    sql_words(sql, "WITH operand AS MATERIALIZED ");
    write_open(w);
    write_rows(w,
               &(struct rows){.expr = aggregate->operand, .grid = grid, .to = operand, .function = "", .ranked = true});
    write_close(w);
    sql_line(sql);
    sql_words(sql, "SELECT ");
    write_columns(w, "", operand, operand, no_names);
    sql_words(sql, "kept.value AS value");
    sql_line(sql);
    sql_words(sql, "FROM operand");
    sql_line(sql);
    sql_words(sql, "JOIN ");
    write_open(w);
    topk_chosen(w, aggregate, operand, grid);
    write_close(w);
    sql_words(sql, " ON rank = kept.rank");
}

/* --- count_values: one row for each value of a group; the value becomes a label --- */

static struct str value_label(const struct expr_aggregate *aggregate)
{
    return expr_unparen(aggregate->parameter)->u.string;
}

/* The columns of the groups alone. */
static struct columns counted_groups(struct writer *w, const struct expr_aggregate *aggregate)
{
    struct str label = value_label(aggregate);
    struct columns groups = grouping_columns(w, aggregate);
    groups.by = pick_names(w, groups.by, &(struct name_list){&label, 1}, false);
    return groups;
}

static void count_values_select(struct writer *w, const struct expr_aggregate *aggregate, struct grid grid)
{
    struct sql *sql = &w->sql;
    struct str label = value_label(aggregate);
    struct columns operand = node_columns(w, aggregate->operand), groups = counted_groups(w, aggregate);
    struct name_list removed = join_names(w, grouping_removed(w, aggregate), (struct name_list){&label, 1});
    sql_words(sql, "SELECT ");
    write_columns(w, "", groups, groups, no_names);
    sql_words(sql, "kept.text AS ");
    label_column(w, label);
    sql_words(sql, ", kept.value AS value");
    sql_line(sql);
    sql_words(sql, "FROM ");
    write_open(w);
    sql_words(sql, "SELECT ");
    write_columns(w, "", operand, groups, removed);
    sql_words(sql, "unnest(prom_count_values(");
    write_value(w, aggregate->operand, grid);
    sql_words(sql, ")) AS kept");
    sql_line(sql);
    sql_words(sql, "FROM ");
    write_from(w, aggregate->operand, grid, wanted_columns(operand, groups));
    write_groups(w, operand, groups, removed);
    write_close(w);
}

struct columns select_columns(struct writer *w, const struct expr *expr)
{
    const struct expr_aggregate *aggregate = &expr->u.aggregate;
    if (aggregate->op != AGG_COUNT_VALUES)
        return node_columns(w, aggregate->operand);
    struct str *label = ARENA_NEW(w->arena, struct str);
    struct columns columns = counted_groups(w, aggregate);
    w->exhausted |= !label;
    if (!label)
        return columns;
    *label = value_label(aggregate);
    columns.by = join_names(w, columns.by, (struct name_list){label, 1});
    return columns;
}

void select_select(struct writer *w, const struct expr *expr, struct grid grid)
{
    if (expr->u.aggregate.op == AGG_COUNT_VALUES)
        count_values_select(w, &expr->u.aggregate, grid);
    else
        topk_select(w, &expr->u.aggregate, grid);
}

/* --- absent: one row, also of none --- */

struct columns absent_columns(struct writer *w, const struct expr *expr)
{
    struct label labels[ABSENT_LABELS_MAX];
    size_t n = absent_labels(expr->u.call.args[0], labels);
    struct str *names = ARENA_ARRAY(w->arena, struct str, n ? n : 1);
    w->exhausted |= !names;
    for (size_t i = 0; names && i < n; i++)
        names[i] = labels[i].name;
    return (struct columns){.by = {names, names ? n : 0}};
}

void absent_select(struct writer *w, const struct expr *expr, struct grid grid)
{
    struct sql *sql = &w->sql;
    struct label labels[ABSENT_LABELS_MAX];
    size_t n = absent_labels(expr->u.call.args[0], labels);
    sql_words(sql, "SELECT ");
    for (size_t i = 0; i < n; i++) {
        sql_string(sql, labels[i].value);
        sql_words(sql, " AS ");
        label_column(w, labels[i].name);
        sql_words(sql, ", ");
    }
    sql_words(sql, "coalesce(prom_absent(");
    write_asked_value(w, expr, grid);
    sql_words(sql, ", ");
    sql_i64(sql, grid.steps);
    sql_words(sql, "), prom_constant(1e0, ");
    sql_i64(sql, grid.steps);
    sql_words(sql, ")) AS value");
    sql_line(sql);
    sql_words(sql, "FROM ");
    write_asked_from(w, expr, grid);
}

/* --- one element without labels --- */

void constant_select(struct writer *w, const struct expr *expr, struct grid grid)
{
    const struct expr_call *call = &expr->u.call;
    sql_words(&w->sql, "SELECT ");
    if (call->function->id == FN_VECTOR) {
        write_scalar(w, call->args[0], grid, true);
    } else {
        sql_words(&w->sql, "prom_");
        strbuf_str(&w->sql.text, call->function->name);
        sql_words(&w->sql, "(");
        write_time(w, grid);
        sql_words(&w->sql, ")");
    }
    sql_words(&w->sql, " AS value");
}
