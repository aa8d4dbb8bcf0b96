/* backend/duckdb/scan.c: what a fragment's statement has to look at, and how much of that it needs.
 *
 * The engine skips row groups of chunks by the least and greatest value of each column in them. pragma_storage_info
 * tells those, as text; the rows of all row groups that the conditions of runs_of leave are the rows scanned.
 */
#include "backend/duckdb/schema.h"
#include "backend/duckdb/store.h"
#include "base/assert.h"
#include "planner/shape.h"

/* One selector of the fragment. */
struct scanned_selector {
    const struct expr_selector *selector;
    const struct matcher *metric; /* NULL: runs of all metrics */
    struct time_span span;
};

static void write_bound(struct sql *sql, const char *function, const char *column, const char *word, const char *name)
{
    sql_words(sql, ", ");
    sql_words(sql, function);
    sql_words(sql, "(regexp_extract(stats, '");
    sql_words(sql, word);
    sql_words(sql, ": (-?\\d+)', 1)::HUGEINT) FILTER (column_name = '");
    sql_words(sql, column);
    sql_words(sql, "') AS ");
    sql_words(sql, name);
}

/* Rows of all row groups, and of those that may hold what the selector wants. */
static void write_scanned(struct sql *sql, const struct scanned_selector *s)
{
    sql_words(sql, "SELECT coalesce(sum(n), 0)::BIGINT AS held, coalesce(sum(n) FILTER (");
    sql_meets(sql, s->span);
    sql_words(sql, s->metric ? " AND key BETWEEN least_key AND greatest_key" : "");
    sql_words(sql, "), 0)::BIGINT AS scanned FROM (SELECT row_group_id, sum(count) FILTER (column_name = 'tmin') AS n");
    write_bound(sql, "min", "tmin", "Min", "tmin");
    write_bound(sql, "max", "tmax", "Max", "tmax");
    write_bound(sql, "min", "metric_key", "Min", "least_key");
    write_bound(sql, "max", "metric_key", "Max", "greatest_key");
    sql_words(sql, " FROM pragma_storage_info('" ENGINE_CATALOG ".stored_chunks') WHERE segment_type <> 'VALIDITY' AND "
                   "column_name IN ('tmin', 'tmax', 'metric_key') GROUP BY row_group_id), (SELECT md5_number_lower(");
    sql_string(sql, s->metric ? s->metric->value : STR(""));
    sql_words(sql, ") AS key)");
}

static void write_matching(struct sql *sql, const struct scanned_selector *s)
{
    sql_words(sql, " AND series IN (");
    sql_series_matching(sql, s->selector->matchers, s->selector->matchers_n, s->span);
    sql_words(sql, ")");
}

static enum status scan_selector(struct connection *connection, const struct scanned_selector *s, struct cancel *cancel,
                                 struct scan_figures *figures, struct error *reterr)
{
    struct sql sql;
    duckdb_result rows;
    sql_init(&sql, SQL_BYTES_MAX);
    sql_words(&sql, "SELECT held, scanned, (SELECT count(*) FROM chunks() WHERE ");
    sql_meets(&sql, s->span);
    write_matching(&sql, s);
    sql_words(&sql, "), (SELECT count(*) FROM recent), (SELECT count(*) FROM recent WHERE ");
    sql_between(&sql, "ts", s->span);
    write_matching(&sql, s);
    sql_words(&sql, ") FROM (");
    write_scanned(&sql, s);
    sql_words(&sql, ")");
    enum status status = engine_ask(connection, &sql, cancel, &rows, reterr);
    if (status != OK)
        return status;
    uint64_t *const into[] = {&figures->chunks_n, &figures->chunks_scanned_n, &figures->chunks_needed_n,
                              &figures->recent_n, &figures->recent_needed_n};
    for (idx_t i = 0; i < ARRAY_LENGTH(into); i++)
        *into[i] += (uint64_t)duckdb_value_int64(&rows, i, 0);
    duckdb_destroy_result(&rows);
    return OK;
}

/* Selectors of the fragment; more than these are not looked at, as nobody would read them. */
#define SELECTORS_MAX 64

struct found_selectors {
    const struct expr_selector *at[SELECTORS_MAX];
    size_t n;
};

static bool find_selector(const struct expr *expr, void *arg)
{
    struct found_selectors *found = arg;
    if (expr->kind == EXPR_SELECTOR && found->n < SELECTORS_MAX)
        found->at[found->n++] = &expr->u.selector;
    return true;
}

enum status store_scan(struct backend *backend, const struct fragment *fragment, struct cancel *cancel,
                       struct scan_figures *ret_figures, struct error *reterr)
{
    struct duckdb_store *store = store_of(backend);
    struct found_selectors found = {.n = 0};
    struct connection *connection = NULL;
    expr_walk(fragment->root, find_selector, &found);
    *ret_figures = (struct scan_figures){.selectors_n = found.n};
    enum status status = engine_acquire(&store->engine, cancel, &connection, reterr);
    unsigned entered = catalogue_enter(&store->writer.catalogue);
    for (size_t i = 0; status == OK && i < found.n; i++) {
        struct scanned_selector scanned = {found.at[i], selector_metric(found.at[i]), fragment->span};
        status = scan_selector(connection, &scanned, cancel, ret_figures, reterr);
    }
    catalogue_leave(&store->writer.catalogue, entered);
    engine_release(&store->engine, connection);
    return status;
}
