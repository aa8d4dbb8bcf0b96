/* planner/sql.h: the one place where SQL text is made.
 *
 * User text reaches SQL only through sql_string and sql_identifier, which quote it for the dialect; there is no printf.
 * sql_fragment writes the statement for a grid fragment; the functions it calls (prom_rate, prom_sum, …) and the tables
 * it reads are those docs/adding-a-backend.md lists.
 *
 * Memory: appends to the builder; the first failure sticks (base/strbuf.h), sql_status tells. Threads: one builder, one
 * thread.
 */
#ifndef PROMSPLIT_PLANNER_SQL_H
#define PROMSPLIT_PLANNER_SQL_H

#include "base/arena.h"
#include "base/strbuf.h"
#include "planner/fragment.h"
#include "planner/split.h"

#define SQL_BYTES_MAX   (4u << 20) /* of one statement */
#define SQL_COLUMNS_MAX 100u       /* grouping labels that become columns; more are not pushed */

struct sql {
    struct strbuf text;
    unsigned indent;    /* levels; sql_line starts a new line there */
    enum status status; /* E_BAD_DATA: text that SQL cannot carry; sticky */
};

void sql_init(struct sql *sql, size_t max_bytes);
void sql_release(struct sql *sql);

void sql_words(struct sql *sql, const char *our_words); /* keywords, operators and names of ours */
void sql_line(struct sql *sql);                         /* line break and indentation */
void sql_string(struct sql *sql, struct str s);         /* 'it''s'; a NUL byte cannot be written: E_BAD_DATA sticks */
void sql_identifier(struct sql *sql, struct str name);  /* plain if safe, else "quoted" */
void sql_i64(struct sql *sql, int64_t number);
void sql_u64(struct sql *sql, uint64_t number);
void sql_double(struct sql *sql, double number); /* exact, NaN and infinities included */

/* Conditions on time: what BETWEEN the span's ends, both included; a run (columns tmin, tmax) that meets the span. */
void sql_between(struct sql *sql, const char *what, struct time_span span);
void sql_meets(struct sql *sql, struct time_span span);

/* OK, or the first failure. */
MUST_USE enum status sql_status(const struct sql *sql, struct error *reterr);

/* "SELECT series FROM series_matching('{…}', from, to)": the numbers of the series that match and may have samples in
 * the span. One matcher must not take the empty text. */
void sql_series_matching(struct sql *sql, const struct matcher *at, size_t n, struct time_span span);

/* A selector's matchers as the backend must take them: its regexes' dot matches a newline, Prometheus 2's does not.
 * Returns the selector's own where that makes no difference, else a copy; NULL: no memory. */
const struct matcher *sql_rule_matchers(struct arena *arena, const struct expr_selector *selector,
                                        enum window_rule rule);

/* Fills fragment->sql, columns and span from root and grid. root must be pushable under options. */
MUST_USE enum status sql_fragment(struct arena *arena, const struct plan_options *options, struct time_span query,
                                  struct fragment *fragment, struct error *reterr);

#endif
