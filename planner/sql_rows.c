/* planner/sql_rows.c: see sql_writer.h. Columns, labels and scalars. */
#include <math.h>

#include "base/assert.h"
#include "planner/sql_writer.h"

/* --- names --- */

/* A label's own name may name its column when DuckDB reads it as nothing else: identifiers are case-insensitive there,
 * and the names of our tables, columns, functions and numbered labels are taken. */
static bool label_names_itself(struct str name)
{
    static const struct str taken[] = {
        STR_STATIC("series"),  STR_STATIC("samples"),  STR_STATIC("metric"),  STR_STATIC("labels"),
        STR_STATIC("ts"),      STR_STATIC("value"),    STR_STATIC("last"),    STR_STATIC("l"),
        STR_STATIC("r"),       STR_STATIC("rank"),     STR_STATIC("chosen"),  STR_STATIC("kept"),
        STR_STATIC("operand"), STR_STATIC("s"),        STR_STATIC("checked"), STR_STATIC("included"),
        STR_STATIC("newest"),  STR_STATIC("enriched"), STR_STATIC("weight"),  STR_STATIC("tmin"),
        STR_STATIC("tmax"),    STR_STATIC("runs"),     STR_STATIC("pace"),    STR_STATIC("drift")};
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

void label_column(struct writer *w, struct str name)
{
    if (label_names_itself(name)) {
        sql_identifier(&w->sql, name);
        return;
    }
    sql_words(&w->sql, "l");
    sql_i64(&w->sql, (int64_t)label_number(w, name));
}

struct name_list pick_names(struct writer *w, struct name_list from, const struct name_list *other, bool wanted)
{
    struct str *names = new_names(w, from.n);
    struct name_list picked = {names, 0};
    for (size_t i = 0; names && i < from.n; i++)
        if (!str_eq(from.at[i], LABEL_METRIC_NAME) && !name_list_has(picked, from.at[i]) &&
            (!other || name_list_has(*other, from.at[i]) == wanted))
            names[picked.n++] = from.at[i];
    return picked;
}

struct name_list join_names(struct writer *w, struct name_list a, struct name_list b)
{
    struct str *names = new_names(w, a.n + b.n);
    struct name_list joined = {names, 0};
    for (size_t i = 0; names && i < a.n + b.n; i++) {
        struct str name = i < a.n ? a.at[i] : b.at[i - a.n];
        if (!str_eq(name, LABEL_METRIC_NAME) && !name_list_has(joined, name))
            names[joined.n++] = name;
    }
    return joined;
}

/* --- columns --- */

bool columns_none(struct columns columns)
{
    return !columns.metric && !columns.map && columns.by.n == 0;
}

bool columns_have(struct columns columns, struct str name)
{
    if (str_eq(name, LABEL_METRIC_NAME))
        return columns.metric;
    return columns.map || name_list_has(columns.by, name);
}

void write_label(struct writer *w, const char *alias, struct columns from, struct str name)
{
    struct sql *sql = &w->sql;
    if (str_eq(name, LABEL_METRIC_NAME) ? from.metric : name_list_has(from.by, name)) {
        sql_words(sql, alias);
        if (str_eq(name, LABEL_METRIC_NAME))
            sql_words(sql, "metric");
        else
            label_column(w, name);
        return;
    }
    if (str_eq(name, LABEL_METRIC_NAME) || !from.map) {
        sql_string(sql, STR(""));
        return;
    }
    sql_words(sql, "prom_label(");
    sql_words(sql, alias);
    sql_words(sql, "labels, ");
    sql_string(sql, name);
    sql_words(sql, ")");
}

void write_map(struct writer *w, const char *alias, struct columns from, struct columns to, struct name_list removed)
{
    struct sql *sql = &w->sql;
    if (!from.map) {
        sql_words(sql, "MAP {}::MAP(VARCHAR, VARCHAR)");
        return;
    }
    struct name_list out = pick_names(w, join_names(w, removed, to.by), &from.by, false);
    sql_words(sql, out.n ? "prom_without(" : "");
    sql_words(sql, alias);
    sql_words(sql, out.n ? "labels, [" : "labels");
    for (size_t i = 0; i < out.n; i++) {
        sql_words(sql, i ? ", " : "");
        sql_string(sql, out.at[i]);
    }
    sql_words(sql, out.n ? "])" : "");
}

static bool map_unchanged(struct columns from, struct columns to, struct name_list removed)
{
    if (!from.map)
        return false;
    for (size_t i = 0; i < removed.n; i++)
        if (!str_eq(removed.at[i], LABEL_METRIC_NAME) && !name_list_has(from.by, removed.at[i]))
            return false;
    for (size_t i = 0; i < to.by.n; i++)
        if (!name_list_has(from.by, to.by.at[i]))
            return false;
    return true;
}

void write_columns(struct writer *w, const char *alias, struct columns from, struct columns to,
                   struct name_list removed)
{
    struct sql *sql = &w->sql;
    if (to.metric) {
        write_label(w, alias, from, LABEL_METRIC_NAME);
        sql_words(sql, from.metric ? ", " : " AS metric, ");
    }
    if (to.map) {
        write_map(w, alias, from, to, removed);
        sql_words(sql, map_unchanged(from, to, removed) ? ", " : " AS labels, ");
    }
    for (size_t i = 0; i < to.by.n; i++) {
        write_label(w, alias, from, to.by.at[i]);
        if (!name_list_has(from.by, to.by.at[i])) {
            sql_words(sql, " AS ");
            label_column(w, to.by.at[i]);
        }
        sql_words(sql, ", ");
    }
}

void write_column_names(struct writer *w, struct columns columns)
{
    sql_words(&w->sql, columns.metric ? "metric" : "");
    for (size_t i = 0; i < columns.by.n; i++) {
        sql_words(&w->sql, i || columns.metric ? ", " : "");
        label_column(w, columns.by.at[i]);
    }
}

struct columns wanted_columns(struct columns from, struct columns to)
{
    bool map = to.map;
    for (size_t i = 0; i < to.by.n; i++)
        map |= !name_list_has(from.by, to.by.at[i]);
    return (struct columns){.metric = from.metric && to.metric, .map = from.map && map, .by = from.by};
}

/* --- scalars --- */

const char *operator_function(enum binary_op op, bool return_bool)
{
    static const struct {
        const char *plain, *boolean;
    } names[OP_MAX] = {
        [OP_ADD] = {"prom_add", NULL},
        [OP_SUB] = {"prom_sub", NULL},
        [OP_MUL] = {"prom_mul", NULL},
        [OP_DIV] = {"prom_div", NULL},
        [OP_MOD] = {"prom_mod", NULL},
        [OP_POW] = {"prom_pow", NULL},
        [OP_ATAN2] = {"prom_atan2", NULL},
        [OP_EQL] = {"prom_eql", "prom_eql_bool"},
        [OP_NEQ] = {"prom_neq", "prom_neq_bool"},
        [OP_GTR] = {"prom_gtr", "prom_gtr_bool"},
        [OP_LSS] = {"prom_lss", "prom_lss_bool"},
        [OP_GTE] = {"prom_gte", "prom_gte_bool"},
        [OP_LTE] = {"prom_lte", "prom_lte_bool"},
        [OP_AND] = {"prom_and", NULL},
        [OP_UNLESS] = {"prom_unless", NULL},
    };
    const char *name = return_bool ? names[op].boolean : names[op].plain;
    INVARIANT(name);
    return name;
}

static void write_constant(struct writer *w, double value, struct grid grid, bool as_list)
{
    sql_words(&w->sql, as_list ? "prom_constant(" : "");
    sql_double(&w->sql, value);
    if (!as_list)
        return;
    sql_words(&w->sql, ", ");
    sql_i64(&w->sql, grid.steps);
    sql_words(&w->sql, ")");
}

/* The evaluation times: start, step, steps. */
void write_time(struct writer *w, struct grid grid)
{
    sql_words(&w->sql, "prom_time(");
    sql_i64(&w->sql, grid.start_ms);
    sql_words(&w->sql, ", ");
    sql_i64(&w->sql, grid.step_ms);
    sql_words(&w->sql, ", ");
    sql_i64(&w->sql, grid.steps);
    sql_words(&w->sql, ")");
}

/* The one element's value; NaN where there is none, or several. Source: funcScalar. */
static void write_scalar_call(struct writer *w, const struct expr *operand, struct grid grid)
{
    struct sql *sql = &w->sql;
    sql_words(sql, "list_transform(coalesce(");
    write_open(w);
    sql_words(sql, "SELECT prom_and(prom_max(value), prom_eql(prom_count(value), 1e0))");
    sql_line(sql);
    sql_words(sql, "FROM ");
    write_open(w);
    write_rows(w, &(struct rows){.expr = operand, .grid = grid, .to = {.metric = false}, .function = ""});
    write_close(w);
    write_close(w);
    sql_words(sql, ", ");
    write_constant(w, NAN, grid, true);
    sql_words(sql, "), lambda scalar: coalesce(scalar, ");
    sql_double(sql, NAN);
    sql_words(sql, "))");
}

void write_scalar(struct writer *w, const struct expr *expr, struct grid grid, bool as_list)
{
    struct scalar scalar = scalar_of(expr);
    INVARIANT(scalar.kind != SCALAR_NONE);
    expr = expr_unparen(expr);
    if (scalar.kind == SCALAR_CONSTANT) {
        write_constant(w, scalar.value, grid, as_list);
    } else if (expr->kind == EXPR_CALL && expr->u.call.function->id == FN_SCALAR) {
        write_scalar_call(w, expr->u.call.args[0], grid);
    } else if (expr->kind == EXPR_CALL) {
        write_time(w, grid);
    } else if (expr->kind == EXPR_UNARY) {
        sql_words(&w->sql, expr->u.unary.negative ? "prom_neg(" : "");
        write_scalar(w, expr->u.unary.operand, grid, true);
        sql_words(&w->sql, expr->u.unary.negative ? ")" : "");
    } else {
        const struct expr_binary *binary = &expr->u.binary;
        sql_words(&w->sql, operator_function(binary->op, binary_op_is_comparison(binary->op)));
        sql_words(&w->sql, "(");
        write_scalar(w, binary->left, grid, false);
        sql_words(&w->sql, ", ");
        write_scalar(w, binary->right, grid, false);
        sql_words(&w->sql, ")");
    }
}
