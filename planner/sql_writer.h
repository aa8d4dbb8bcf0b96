/* planner/sql_writer.h: what the writers of a grid fragment's statement share; nobody else includes it.
 *
 *   sql_fragment.c  the statement, selectors, window functions, elementwise functions, plain aggregations
 *   sql_join.c      operators between vectors
 *   sql_select.c    topk, count_values, absent, vector: nodes whose rows are not their operand's
 *   sql_info.c      info
 *   sql_rows.c      columns and labels, scalars
 *
 * A subtree is written as two things that belong together: a FROM item that gives one row per element, and an
 * expression over its columns, which is the value on the grid (DOUBLE[]). A node either only wraps the expression of
 * its operand (abs, x * 2) or writes a SELECT of its own, whose value column is then called `value`.
 *
 * All labels of a row are in its columns: `metric`, the map `labels`, and one column for each name of `by`; a name of
 * `by` is never in the map too.
 */
#ifndef PROMSPLIT_PLANNER_SQL_WRITER_H
#define PROMSPLIT_PLANNER_SQL_WRITER_H

#include "planner/rollup.h"
#include "planner/shape.h"
#include "planner/sql.h"

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
    int64_t rollup_ms;         /* the longest bucket that any of them reads, or 0 */
    struct name_list numbered; /* labels whose columns are called l1, l2, … in this order */
    bool by_run;               /* the statement that takes each run by itself is written */
    bool takes_parts;          /* a series may be several rows, each with values at other steps: they are aggregated */
    bool needs_whole;          /* there is no such statement */
    struct window_source *sources; /* where it reads samples, so far */
    size_t sources_n, sources_capacity;
    bool exhausted; /* the arena */
};

/* --- nodes (sql_fragment.c) --- */

struct columns node_columns(struct writer *w, const struct expr *expr);
void write_from(struct writer *w, const struct expr *expr, struct grid grid, struct columns wanted);
void write_value(struct writer *w, const struct expr *expr, struct grid grid);

/* "SELECT <to>, <function>(<value>) AS value <line> FROM …" of a node's rows; function "": the value as it is.
 * `removed` are names to leave out of the map. An aggregate function merges rows that get the same labels. */
struct rows {
    const struct expr *expr;
    struct grid grid;
    struct columns to;
    struct name_list removed;
    const char *function;
    bool aggregate;
    bool ranked; /* numbers the rows, in the order of their labels, in a further column `rank` */
};
void write_rows(struct writer *w, const struct rows *rows);

void write_open(struct writer *w);  /* "(" and a new line, one level in */
void write_close(struct writer *w); /* back, and ")" */

/* --- columns (sql_rows.c) --- */

void label_column(struct writer *w, struct str name); /* the name of the column of a label */

/* The names of `from`, each once, without __name__, that are (wanted) or are not in `other`; other NULL: all. */
struct name_list pick_names(struct writer *w, struct name_list from, const struct name_list *other, bool wanted);
struct name_list join_names(struct writer *w, struct name_list a, struct name_list b); /* each once */
bool columns_none(struct columns columns);
bool columns_have(struct columns columns, struct str name); /* a label of that name may be there */

/* Expressions over the columns of a FROM item, `alias` being "" or its name with a dot. */
void write_label(struct writer *w, const char *alias, struct columns from, struct str name);
void write_map(struct writer *w, const char *alias, struct columns from, struct columns to, struct name_list removed);

/* The columns of `to`, made of those of `from`, each followed by ", ". */
void write_columns(struct writer *w, const char *alias, struct columns from, struct columns to,
                   struct name_list removed);
void write_column_names(struct writer *w, struct columns columns); /* metric and by, as ORDER BY lists them */

/* What making `to` needs of a FROM item that has `from`. */
struct columns wanted_columns(struct columns from, struct columns to);

/* --- scalars (sql_rows.c) --- */

/* A number, or a list over the grid; as_list: always a list. */
void write_scalar(struct writer *w, const struct expr *expr, struct grid grid, bool as_list);
void write_time(struct writer *w, struct grid grid);                /* the evaluation times, in seconds */
const char *operator_function(enum binary_op op, bool return_bool); /* "prom_add", "prom_gtr_bool" */

/* --- operators between vectors (sql_join.c) --- */

struct columns join_columns(struct writer *w, const struct expr *expr);
void join_select(struct writer *w, const struct expr *expr, struct grid grid);

/* --- rows of their own (sql_select.c) --- */

struct columns select_columns(struct writer *w, const struct expr *expr); /* topk, bottomk, count_values */
void select_select(struct writer *w, const struct expr *expr, struct grid grid);
/* What absent() of something asks for: its operand, absent_over_time the presence of samples. */
void write_asked_value(struct writer *w, const struct expr *call, struct grid grid);
void write_asked_from(struct writer *w, const struct expr *call, struct grid grid);
struct columns absent_columns(struct writer *w, const struct expr *expr);
void absent_select(struct writer *w, const struct expr *expr, struct grid grid);
void constant_select(struct writer *w, const struct expr *expr, struct grid grid); /* vector(s), hour() */

/* --- info (sql_info.c) --- */

struct columns info_columns(struct writer *w, const struct expr *expr);
void info_select(struct writer *w, const struct expr *expr, struct grid grid);

/* Aggregations' columns: of by(…), or without(…), whose names are then removed from the map. */
struct columns grouping_columns(struct writer *w, const struct expr_aggregate *aggregate);
struct name_list grouping_removed(struct writer *w, const struct expr_aggregate *aggregate);

#endif
