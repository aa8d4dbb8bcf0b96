/* backend/duckdb/by_run.c: see by_run.h. */
#include "backend/duckdb/by_run.h"

#include "backend/duckdb/matching.h"
#include "backend/duckdb/partition.h"
#include "backend/duckdb/schema.h"
#include "backend/duckdb/store.h"
#include "planner/shape.h"

#define SERIES_ENOUGH 4000 /* what is asked of the tables takes 0.8 ms, which is what these save */
#define SPANS_MOST    4    /* rows of rollups a series: each gives a list as long as the whole grid */

/* --- what the grid tells --- */

/* Rows of rollups that begin before 1970 have no span of the usual length. A window's last instant is looked for in the
 * tables. */
static bool windows_lie_in_spans(const struct window_source *source)
{
    int64_t span_ms = rollup_span_ms(source->rollup_ms);
    if (source->span.min_ms < 0 || source->span.max_ms / span_ms - source->span.min_ms / span_ms >= SPANS_MOST)
        return false;
    for (uint32_t k = 0; k < source->ends.steps; k++) {
        int64_t end_ms = grid_time(source->ends, k), begin_ms = end_ms - source->window_ms;
        if (begin_ms / span_ms != (end_ms - 1) / span_ms)
            return false;
    }
    return true;
}

/* The windows reach into one partition, or just beyond it. Of longer spans chunks are asked for in vain nearly always.
 */
static bool may_be_one_partition(const struct window_source *source)
{
    return partition_of(source->span.max_ms) - partition_of(source->span.min_ms) <= 1;
}

static bool may_be_by_run(struct duckdb_store *store, const struct fragment *fragment)
{
    uint64_t series_n = 0, enough = store->options.by_run_series ? store->options.by_run_series : SERIES_ENOUGH;
    for (size_t i = 0; i < fragment->sources_n; i++) {
        const struct window_source *source = &fragment->sources[i];
        if (source->rollup_ms ? !windows_lie_in_spans(source) : !may_be_one_partition(source))
            return false;
        series_n += match_most(&store->writer.catalogue, source->selector->matchers, source->selector->matchers_n);
    }
    return fragment->sql_by_run.len > 0 && series_n >= enough;
}

/* --- what the tables tell --- */

/* "(SELECT count(*) FROM (SELECT 1 FROM … LIMIT 1)) = 0": there is no such row. */
static void write_none(struct sql *sql)
{
    sql_words(sql, "(SELECT count(*) FROM (SELECT 1 FROM ");
}

static void write_none_end(struct sql *sql)
{
    sql_words(sql, " LIMIT 1)) = 0");
}

static void write_of_metric(struct sql *sql, const char *macro, const struct window_source *source)
{
    sql_words(sql, macro);
    sql_words(sql, "(");
    sql_string(sql, selector_metric(source->selector)->value);
}

static void write_samples_condition(struct sql *sql, const struct window_source *source)
{
    write_none(sql);
    sql_words(sql, "recent WHERE ");
    sql_between(sql, "ts", source->span);
    write_none_end(sql);
    sql_words(sql, " AND (SELECT coalesce(min(part) = max(part), true) FROM (SELECT ");
    partition_write(sql, "tmin");
    sql_words(sql, " AS part FROM ");
    write_of_metric(sql, "chunks_of", source);
    sql_words(sql, ") WHERE ");
    sql_meets(sql, source->span);
    sql_words(sql, "))");
}

/* " AND (tmin = … OR tmin = …)": by such conditions the engine passes over row groups without reading them. */
static void write_on_border(struct sql *sql, const struct window_source *source)
{
    int64_t span_ms = rollup_span_ms(source->rollup_ms);
    int64_t first = source->span.min_ms / span_ms, last = source->span.max_ms / span_ms; /* SPANS_MOST at most */
    for (int64_t k = first; k <= last; k++) {
        sql_words(sql, k == first ? " AND (tmin = " : " OR tmin = ");
        sql_i64(sql, k * span_ms);
    }
    sql_words(sql, ")");
}

/* Nothing but rollups is read. If all series have them, that is asked without the readers' macro, which would look for
 * the metric's series; the recent samples are then those of any. */
static void write_rollups_only(struct sql *sql, const struct window_source *source, bool selective)
{
    write_none(sql);
    if (selective) {
        write_of_metric(sql, "rollup_rest_of", source);
        sql_words(sql, ") WHERE ");
        sql_meets(sql, source->span);
    } else {
        write_of_metric(sql, "chunks_of", source);
        sql_words(sql, ") WHERE tmin >= " SCHEMA_ROLLED " AND ");
        sql_meets(sql, source->span);
        write_none_end(sql);
        sql_words(sql, " AND ");
        write_none(sql);
        sql_words(sql, "recent WHERE ");
        sql_between(sql, "ts", source->span);
    }
    write_none_end(sql);
}

static void write_rollups_condition(struct sql *sql, const struct window_source *source, bool selective)
{
    write_rollups_only(sql, source, selective);
    sql_words(sql, " AND ");
    write_none(sql);
    write_of_metric(sql, "rollup_edges_of", source);
    sql_words(sql, ", ");
    sql_i64(sql, source->rollup_ms);
    sql_words(sql, ") WHERE ");
    sql_meets(sql, source->span);
    sql_words(sql, " AND tmin >= ");
    sql_i64(sql, source->ends.start_ms);
    write_on_border(sql, source);
    write_none_end(sql);
}

enum status by_run_ask(struct duckdb_store *store, struct connection *connection, const struct fragment *fragment,
                       struct cancel *cancel, bool *ret_by_run, struct error *reterr)
{
    struct sql sql;
    duckdb_result rows;
    *ret_by_run = false;
    if (!may_be_by_run(store, fragment))
        return OK;
    sql_init(&sql, SQL_BYTES_MAX);
    for (size_t i = 0; i < fragment->sources_n; i++) {
        const struct window_source *source = &fragment->sources[i];
        sql_words(&sql, i ? " AND " : "SELECT ");
        if (source->rollup_ms)
            write_rollups_condition(&sql, source, store->rollups.selective);
        else
            write_samples_condition(&sql, source);
    }
    enum status status = engine_ask(connection, &sql, cancel, &rows, reterr);
    if (status != OK)
        return status;
    *ret_by_run = duckdb_value_boolean(&rows, 0, 0);
    duckdb_destroy_result(&rows);
    return OK;
}
