/* planner/sql_join.c: see sql_writer.h. Operators between vectors, as joins on the match group.
 *
 *     SELECT l.labels, prom_div(l.value, r.value) AS value
 *     FROM (SELECT labels, rate AS value FROM …) AS l
 *     JOIN (SELECT labels, rate AS value FROM …) AS r ON l.labels = r.labels
 *
 * Prometheus matches step by step: series of one match group may follow each other in time, on the one side and on the
 * other. prom_one merges what never meets at a step and fails the statement where two do; then Prometheus, asked again
 * with nothing pushed, says itself what is wrong.
 * Source: promql/engine.go, VectorBinop, VectorAnd, VectorOr, VectorUnless, resultMetric, signatureFunc.
 */
#include "base/assert.h"
#include "planner/sql_writer.h"

static const struct name_list no_names = {NULL, 0};

/* One operand as it stands in the FROM clause. */
struct side {
    const struct expr *expr;
    const char *alias;      /* "l", "r", "s" */
    const char *prefix;     /* "l." */
    struct columns columns; /* that it brings */
    bool unique;            /* no two elements are of one match group */
};

struct join {
    const struct expr_binary *binary;
    struct grid grid;
    struct columns match;     /* what names a match group; with a map, that without `removed` */
    struct name_list removed; /* ignoring(…) */
    struct side left, right;
};

/* --- match groups --- */

static struct columns match_columns(struct writer *w, const struct expr_binary *binary, struct columns left,
                                    struct columns right)
{
    struct name_list both = join_names(w, left.by, right.by);
    bool map = left.map || right.map;
    if (binary->on)
        return (struct columns){
            .metric = name_list_has(binary->matching, LABEL_METRIC_NAME) && (left.metric || right.metric),
            .by = pick_names(w, binary->matching, map ? NULL : &both, true),
        };
    if (map) /* what the result takes from the one side must be a column there */
        both = join_names(w, both, binary->include);
    return (struct columns){.map = map, .by = pick_names(w, both, &binary->matching, false)};
}

static bool is_unique(const struct join *join, const struct expr *expr, struct columns columns)
{
    if (columns.metric && !join->match.metric && names_of(expr) == NAMES_MANY)
        return false;
    for (size_t i = 0; i < columns.by.n; i++)
        if (!name_list_has(join->match.by, columns.by.at[i]))
            return false;
    return !columns.map || (join->match.map && join->removed.n == 0);
}

/* "l.job = r.job AND …", or true. */
static void write_match(struct writer *w, const struct join *join, const struct side *a, const struct side *b)
{
    struct sql *sql = &w->sql;
    const struct columns *match = &join->match;
    bool first = true;
    if (match->metric) {
        write_label(w, a->prefix, a->columns, LABEL_METRIC_NAME);
        sql_words(sql, " = ");
        write_label(w, b->prefix, b->columns, LABEL_METRIC_NAME);
        first = false;
    }
    if (match->map) {
        sql_words(sql, first ? "" : " AND ");
        write_map(w, a->prefix, a->columns, *match, join->removed);
        sql_words(sql, " = ");
        write_map(w, b->prefix, b->columns, *match, join->removed);
        first = false;
    }
    for (size_t i = 0; i < match->by.n; i++) {
        sql_words(sql, first ? "" : " AND ");
        write_label(w, a->prefix, a->columns, match->by.at[i]);
        sql_words(sql, " = ");
        write_label(w, b->prefix, b->columns, match->by.at[i]);
        first = false;
    }
    sql_words(sql, first ? "true" : "");
}

/* The columns of match groups that a side has, and those of `include`. */
static struct columns grouped_columns(struct writer *w, const struct join *join, struct columns columns,
                                      struct name_list include)
{
    struct name_list names = join_names(w, join->match.by, include);
    return (struct columns){
        .metric = join->match.metric && columns.metric,
        .map = join->match.map && columns.map,
        .by = pick_names(w, names, columns.map ? NULL : &columns.by, true),
    };
}

static struct side new_side(struct writer *w, const struct join *join, const struct expr *expr, bool left,
                            bool names_wanted)
{
    struct side side = {.expr = expr, .alias = left ? "l" : "r", .prefix = left ? "l." : "r."};
    side.columns = node_columns(w, expr);
    side.unique = is_unique(join, expr, side.columns);
    side.columns.metric &= names_wanted || join->match.metric;
    return side;
}

static struct join new_join(struct writer *w, const struct expr *expr, struct grid grid)
{
    const struct expr_binary *binary = &expr->u.binary;
    struct join join = {.binary = binary, .grid = grid};
    join.match = match_columns(w, binary, node_columns(w, binary->left), node_columns(w, binary->right));
    join.removed = binary->on ? no_names : pick_names(w, binary->matching, NULL, true);
    bool right_is_many = binary_many_side(binary) == binary->right;
    bool names = binary_op_is_set(binary->op) || binary_keeps_name(binary);
    join.left = new_side(w, &join, binary->left, true, names && !right_is_many);
    join.right = new_side(w, &join, binary->right, false, binary->op == OP_OR || (names && right_is_many));
    return join;
}

/* --- FROM clauses --- */

static bool note_check(const struct expr *expr, void *arg)
{
    bool join = expr->kind == EXPR_BINARY && expr->u.binary.left->type == VALUE_VECTOR &&
                expr->u.binary.right->type == VALUE_VECTOR;
    bool info = expr->kind == EXPR_CALL && expr->u.call.function->id == FN_INFO;
    *(bool *)arg |= join || info || (expr->kind == EXPR_SELECTOR && names_of(expr) == NAMES_MANY);
    return true;
}

/* Whether PromQL may forbid what is found inside: all of it must then be looked at, whatever the join needs of it. */
static bool may_fail(const struct expr *expr)
{
    bool fails = false;
    expr_walk(expr, note_check, &fails);
    return fails;
}

/* A join whose other side has a constant in place of a label is a filter on this one. */
static bool is_filtered(const struct join *join, struct columns other)
{
    bool filtered = (join->match.metric && !other.metric) || (join->match.map && !other.map);
    for (size_t i = 0; i < join->match.by.n; i++)
        filtered |= !columns_have(other, join->match.by.at[i]);
    return filtered;
}

static void write_side_rows(struct writer *w, const struct join *join, const struct rows *rows)
{
    struct columns other = rows->expr == join->left.expr ? join->right.columns : join->left.columns;
    bool all = may_fail(rows->expr) || w->options->metadata_labels || (rows->aggregate && is_filtered(join, other));
    write_open(w);
    if (all) {
        sql_words(&w->sql, "WITH checked AS MATERIALIZED ");
        write_open(w);
    }
    write_rows(w, rows);
    if (all) {
        sql_line(&w->sql);
        sql_words(&w->sql, "OFFSET 0"); /* what the join asks for is not looked for inside */
        write_close(w);
        sql_line(&w->sql);
        sql_words(&w->sql, "SELECT *");
        sql_line(&w->sql);
        sql_words(&w->sql, "FROM checked");
    }
    write_close(w);
}

static void write_side(struct writer *w, const struct join *join, const struct side *side)
{
    write_side_rows(w, join,
                    &(struct rows){.expr = side->expr, .grid = join->grid, .to = side->columns, .function = ""});
    sql_words(&w->sql, " AS ");
    sql_words(&w->sql, side->alias);
}

/* A side with one row for each match group: `function` merges, "prom_one" or "prom_any". */
static void write_grouped_side(struct writer *w, const struct join *join, struct side *side, const char *function)
{
    side->columns = grouped_columns(w, join, side->columns, no_names);
    write_side_rows(w, join,
                    &(struct rows){.expr = side->expr,
                                   .grid = join->grid,
                                   .to = side->columns,
                                   .removed = join->removed,
                                   .function = function,
                                   .aggregate = true});
    sql_words(&w->sql, " AS ");
    sql_words(&w->sql, side->alias);
}

/* (SELECT <to>, <function>(value) AS value FROM <table> GROUP BY ALL) */
static void write_groups_of(struct writer *w, const char *table, struct columns from, struct columns to,
                            struct name_list removed, const char *function)
{
    struct sql *sql = &w->sql;
    write_open(w);
    sql_words(sql, "SELECT ");
    write_columns(w, "", from, to, removed);
    sql_words(sql, function);
    sql_words(sql, "(value) AS value");
    sql_line(sql);
    sql_words(sql, "FROM ");
    sql_words(sql, table);
    if (!columns_none(to)) {
        sql_line(sql);
        sql_words(sql, "GROUP BY ALL");
    }
    write_close(w);
}

/* The one side when the result takes labels of it: a row for each match group and each value of those labels. Elements
 * of a group must not meet, whatever those labels are. */
static void write_including_side(struct writer *w, const struct join *join, struct side *side)
{
    struct sql *sql = &w->sql;
    struct side group = {.alias = "s", .prefix = "s."}, row = {.prefix = "included."};
    group.columns = grouped_columns(w, join, side->columns, no_names);
    row.columns = side->columns = grouped_columns(w, join, side->columns, join->binary->include);
    struct rows rows = {.expr = side->expr,
                        .grid = join->grid,
                        .to = side->columns,
                        .removed = join->removed,
                        .function = "prom_one",
                        .aggregate = true};
    write_open(w);
    sql_words(sql, "WITH included AS MATERIALIZED ");
    write_side_rows(w, join, &rows);
    sql_line(sql);
    sql_words(sql, "SELECT ");
    write_columns(w, row.prefix, row.columns, row.columns, no_names);
    sql_words(sql, "prom_and(included.value, s.value) AS value");
    sql_line(sql);
    sql_words(sql, "FROM included");
    sql_line(sql);
    sql_words(sql, "JOIN ");
    write_groups_of(w, "included", row.columns, group.columns, no_names, "prom_one");
    sql_words(sql, " AS s ON ");
    write_match(w, join, &row, &group);
    write_close(w);
    sql_words(sql, " AS ");
    sql_words(sql, side->alias);
}

static void write_one_side(struct writer *w, const struct join *join, struct side *side)
{
    if (side->unique)
        write_side(w, join, side);
    else if (join->binary->include.n)
        write_including_side(w, join, side);
    else
        write_grouped_side(w, join, side, "prom_one");
}

/* --- arithmetic and comparison --- */

/* The labels that group_left(…) or group_right(…) takes from the one side. */
static struct name_list included_names(struct writer *w, const struct expr_binary *binary, struct columns one)
{
    return pick_names(w, binary->include, one.map ? NULL : &one.by, true);
}

static struct columns matched_columns(struct writer *w, const struct expr_binary *binary)
{
    struct columns many = node_columns(w, binary_many_side(binary));
    struct columns columns = {.metric = many.metric && binary_keeps_name(binary)};
    if (binary->cardinality != CARD_ONE_TO_ONE) {
        struct columns one = node_columns(w, binary_one_side(binary));
        columns.map = many.map;
        columns.by = join_names(w, pick_names(w, many.by, &binary->include, false), included_names(w, binary, one));
    } else if (binary->on) {
        columns.by = pick_names(w, binary->matching, many.map ? NULL : &many.by, true);
    } else {
        columns.map = many.map;
        columns.by = pick_names(w, many.by, &binary->matching, false);
    }
    return columns;
}

static bool must_merge(const struct join *join, const struct side *many)
{
    if (join->binary->cardinality == CARD_ONE_TO_ONE)
        return !many->unique;
    return join->binary->include.n > 0 || (names_of(many->expr) == NAMES_MANY && !binary_keeps_name(join->binary));
}

static void write_matched_columns(struct writer *w, const struct join *join, const struct side *many,
                                  const struct side *one, struct columns result)
{
    const struct expr_binary *binary = join->binary;
    if (binary->cardinality == CARD_ONE_TO_ONE) {
        write_columns(w, many->prefix, many->columns, result, join->removed);
        return;
    }
    struct name_list included = pick_names(w, result.by, &binary->include, true);
    result.by = pick_names(w, result.by, &binary->include, false);
    write_columns(w, many->prefix, many->columns, result, binary->include);
    for (size_t i = 0; i < included.n; i++) {
        write_label(w, one->prefix, one->columns, included.at[i]);
        sql_words(&w->sql, " AS ");
        label_column(w, included.at[i]);
        sql_words(&w->sql, ", ");
    }
}

/* The columns a side will have once it is written: the SELECT comes first. */
static void settle_one_side(struct writer *w, const struct join *join, struct side *side)
{
    if (!side->unique)
        side->columns = grouped_columns(w, join, side->columns, join->binary->include);
}

static void matching_select(struct writer *w, const struct expr *expr, struct grid grid)
{
    struct sql *sql = &w->sql;
    struct join join = new_join(w, expr, grid);
    bool right_is_many = binary_many_side(join.binary) == join.binary->right;
    struct side *many = right_is_many ? &join.right : &join.left, *one = right_is_many ? &join.left : &join.right;
    struct side settled = *one;
    settle_one_side(w, &join, &settled);
    struct columns result = matched_columns(w, join.binary);
    bool merge = must_merge(&join, many);
    sql_words(sql, "SELECT ");
    write_matched_columns(w, &join, many, &settled, result);
    sql_words(sql, merge ? "prom_one(" : "");
    sql_words(sql, operator_function(join.binary->op, join.binary->return_bool));
    sql_words(sql, merge ? "(l.value, r.value)) AS value" : "(l.value, r.value) AS value");
    sql_line(sql);
    sql_words(sql, "FROM ");
    if (right_is_many)
        write_one_side(w, &join, &join.left);
    else
        write_side(w, &join, &join.left);
    sql_line(sql);
    sql_words(sql, "JOIN ");
    if (right_is_many)
        write_side(w, &join, &join.right);
    else
        write_one_side(w, &join, &join.right);
    sql_words(sql, " ON ");
    write_match(w, &join, &join.left, &join.right);
    if (merge) {
        sql_line(sql);
        sql_words(sql, columns_none(result) ? "HAVING count(*) > 0" : "GROUP BY ALL");
    }
}

/* --- sets --- */

/* and, unless: the left side's elements, by what the right side has of their match group. */
static void keeping_select(struct writer *w, const struct expr *expr, struct grid grid)
{
    struct sql *sql = &w->sql;
    struct join join = new_join(w, expr, grid);
    sql_words(sql, "SELECT ");
    write_columns(w, "l.", join.left.columns, join.left.columns, no_names);
    sql_words(sql, operator_function(join.binary->op, false));
    sql_words(sql, "(l.value, r.value) AS value");
    sql_line(sql);
    sql_words(sql, "FROM ");
    write_side(w, &join, &join.left);
    sql_line(sql);
    sql_words(sql, join.binary->op == OP_UNLESS ? "LEFT JOIN " : "JOIN ");
    if (join.right.unique)
        write_side(w, &join, &join.right);
    else
        write_grouped_side(w, &join, &join.right, "prom_any");
    sql_words(sql, " ON ");
    write_match(w, &join, &join.left, &join.right);
}

static struct columns union_columns(struct writer *w, struct columns left, struct columns right)
{
    return (struct columns){
        .metric = left.metric || right.metric, .map = left.map || right.map, .by = join_names(w, left.by, right.by)};
}

/* The right side's elements where the left has none of their match group. */
static void write_remaining(struct writer *w, const struct join *join, struct columns result)
{
    struct sql *sql = &w->sql;
    struct side groups = join->left;
    groups.alias = "s";
    groups.prefix = "s.";
    groups.columns = grouped_columns(w, join, join->left.columns, no_names);
    sql_words(sql, "SELECT ");
    write_columns(w, "r.", join->right.columns, result, no_names);
    sql_words(sql, "prom_unless(r.value, s.value) AS value");
    sql_line(sql);
    sql_words(sql, "FROM ");
    write_side(w, join, &join->right);
    sql_line(sql);
    sql_words(sql, "LEFT JOIN ");
    write_groups_of(w, "l", join->left.columns, groups.columns, join->removed, "prom_any");
    sql_words(sql, " AS s ON ");
    write_match(w, join, &join->right, &groups);
}

static void either_select(struct writer *w, const struct expr *expr, struct grid grid)
{
    struct sql *sql = &w->sql;
    struct join join = new_join(w, expr, grid);
    struct columns result = join_columns(w, expr);
    sql_words(sql, "SELECT ");
    write_columns(w, "", result, result, no_names);
    sql_words(sql, "prom_one(value) AS value");
    sql_line(sql);
    sql_words(sql, "FROM ");
    write_open(w);
    sql_words(sql, "WITH l AS MATERIALIZED ");
    write_open(w);
    write_rows(w, &(struct rows){.expr = join.left.expr, .grid = grid, .to = join.left.columns, .function = ""});
    write_close(w);
    sql_line(sql);
    sql_words(sql, "SELECT ");
    write_columns(w, "", join.left.columns, result, no_names);
    sql_words(sql, "value");
    sql_line(sql);
    sql_words(sql, "FROM l");
    sql_line(sql);
    sql_words(sql, "UNION ALL");
    sql_line(sql);
    write_remaining(w, &join, result);
    write_close(w);
    sql_line(sql);
    sql_words(sql, columns_none(result) ? "HAVING count(*) > 0" : "GROUP BY ALL");
}

/* --- all of them --- */

struct columns join_columns(struct writer *w, const struct expr *expr)
{
    const struct expr_binary *binary = &expr->u.binary;
    if (binary->op == OP_OR)
        return union_columns(w, node_columns(w, binary->left), node_columns(w, binary->right));
    return binary_op_is_set(binary->op) ? node_columns(w, binary->left) : matched_columns(w, binary);
}

void join_select(struct writer *w, const struct expr *expr, struct grid grid)
{
    enum binary_op op = expr->u.binary.op;
    if (op == OP_OR)
        either_select(w, expr, grid);
    else if (binary_op_is_set(op))
        keeping_select(w, expr, grid);
    else
        matching_select(w, expr, grid);
}
