/* backend/duckdb/rollup_make.c: see rollup.h. Rollups made of chunks, and joined to what their rows have already. */
#include "backend/duckdb/rollup_rows.h"

#include "backend/duckdb/partition.h"
#include "backend/duckdb/schema.h"
#include "backend/duckdb/store.h"

/* A series' buckets that share a row: so many, but of whole partitions. */
#define SPAN_MS_MAX (ROLLUP_SPAN_BUCKETS * PARTITION_MS)

/* Of the rows that one statement makes: as lists, of a chunk and of what they are joined with, some 100 MB. */
#define SLICE_BUCKETS 500000

/* --- of which chunks --- */

/* Of the table's rows, which lie in the order of metric_key and series: those behind one and up to another. */
struct bound {
    bool is_there;
    uint64_t metric_key;
    uint32_t series;
};
struct slice {
    struct bound after, last;
};

static void write_bound(struct sql *sql, const struct bound *bound, const char *key, const char *series)
{
    if (!bound->is_there)
        return;
    sql_words(sql, " AND metric_key ");
    sql_words(sql, key);
    sql_words(sql, "= ");
    sql_u64(sql, bound->metric_key);
    sql_words(sql, " AND (metric_key ");
    sql_words(sql, key);
    sql_words(sql, " ");
    sql_u64(sql, bound->metric_key);
    sql_words(sql, " OR series ");
    sql_words(sql, series);
    sql_words(sql, " ");
    sql_u64(sql, bound->series);
    sql_words(sql, ")");
}

/* A condition, beginning with AND. Within one metric it is such that the engine can pass over rows in between. */
static void write_slice(struct sql *sql, const struct slice *slice)
{
    if (!slice->after.is_there || !slice->last.is_there || slice->after.metric_key != slice->last.metric_key) {
        write_bound(sql, &slice->after, ">", ">");
        write_bound(sql, &slice->last, "<", "<=");
        return;
    }
    sql_words(sql, " AND metric_key = ");
    sql_u64(sql, slice->after.metric_key);
    sql_words(sql, " AND series > ");
    sql_u64(sql, slice->after.series);
    sql_words(sql, " AND series <= ");
    sql_u64(sql, slice->last.series);
}

/* What rollups are made of. */
struct portion {
    const char *source; /* NULL: stored_chunks that are moved, in `slice`, at one level */
    struct time_span partitions;
    struct slice slice;
    int64_t level_ms;
};

static void write_source(struct sql *sql, const struct portion *portion)
{
    if (portion->source) {
        sql_words(sql, portion->source);
        sql_words(sql, ", rollup_levels WHERE ");
    } else {
        sql_words(sql, "(SELECT *, " SCHEMA_CHUNK_TIMES " AS ts FROM stored_chunks), (SELECT ");
        sql_i64(sql, portion->level_ms);
        sql_words(sql, "::BIGINT AS level) WHERE move <= (SELECT move FROM moved)");
        write_slice(sql, &portion->slice);
        sql_words(sql, " AND ");
    }
    sql_between(sql, "tmin", portion->partitions);
}

/* The runs of a portion, thinned at each level. */
static void write_thinned(struct sql *sql, const struct rolled *rolled, const struct portion *portion)
{
    sql_words(sql, "SELECT level, metric, series, tmin // ");
    rollup_write_span_length(sql, "level");
    sql_words(sql, " AS span, ");
    partition_write(sql, "tmin");
    sql_words(sql,
              " AS part, prom_thin_edges(ts, value, level) AS edges, prom_thin_sums(ts, value, level) AS sums FROM ");
    write_source(sql, portion);
    sql_words(sql, rolled->selective ? " AND series IN (SELECT series FROM rollup_series())" : "");
}

/* What rows there are that a portion's may belong to. */
static void write_old(struct sql *sql, const struct portion *portion)
{
    struct time_span parts = portion->partitions;
    struct time_span near = {parts.min_ms < INT64_MIN + SPAN_MS_MAX ? INT64_MIN : parts.min_ms - SPAN_MS_MAX,
                             parts.max_ms > INT64_MAX - SPAN_MS_MAX ? INT64_MAX : parts.max_ms + SPAN_MS_MAX};
    sql_words(sql, "SELECT level, span, series, " ROLLUP_LISTS " FROM rollups WHERE ");
    sql_meets(sql, near);
    if (!portion->source) {
        sql_words(sql, " AND level = ");
        sql_i64(sql, portion->level_ms);
        write_slice(sql, &portion->slice);
    }
}

/* Makes FRESH_ROLLUPS of a portion's chunks (metric, series, tmin, ts, value), and of what else the rows have that
 * these chunks belong to. */
static void write_fresh(struct sql *sql, const struct rolled *rolled, const struct portion *portion)
{
    sql_words(sql, "CREATE OR REPLACE TEMP TABLE " FRESH_ROLLUPS " AS WITH thinned AS (");
    write_thinned(sql, rolled, portion);
    sql_words(sql,
              "), fresh AS (SELECT level, span, metric, series, list(part) AS parts, flatten(list(edges.ts)) AS ts, "
              "flatten(list(edges.value)) AS value, flatten(list(edges.weight)) AS weight, "
              "flatten(list(sums.ts)) AS sum_ts, flatten(list(sums.value)) AS sum_value, "
              "flatten(list(sums.weight)) AS sum_weight FROM thinned GROUP BY level, span, metric, series), "
              "old AS (");
    write_old(sql, portion);
    sql_words(sql, "), kept AS (SELECT fresh.*, old.ts AS old_ts, old.value AS old_value, old.weight AS old_weight, "
                   "old.sum_ts AS old_sum_ts, old.sum_value AS old_sum_value, old.sum_weight AS old_sum_weight, "
                   "list_filter(range(1, len(old.ts) + 1), lambda i: NOT list_contains(parts, ");
    partition_write(sql, "old.ts[i]");
    sql_words(sql, ")) AS kept, list_filter(range(1, len(old.sum_ts) + 1), lambda i: NOT list_contains(parts, ");
    partition_write(sql, "old.sum_ts[i]");
    sql_words(sql,
              ")) AS sums_kept FROM fresh LEFT JOIN old USING (level, span, series)), joined AS (SELECT level, span, "
              "metric, series, list_concat(list_select(old_ts, kept), ts) AS ts, "
              "list_concat(list_select(old_value, kept), value) AS value, "
              "list_concat(list_select(old_weight, kept), weight) AS weight, "
              "list_concat(list_select(old_sum_ts, sums_kept), sum_ts) AS sum_ts, "
              "list_concat(list_select(old_sum_value, sums_kept), sum_value) AS sum_value, "
              "list_concat(list_select(old_sum_weight, sums_kept), sum_weight) AS sum_weight FROM kept), "
              "places AS (SELECT *, list_grade_up(ts) AS kept, list_grade_up(sum_ts) AS sums_kept FROM joined) "
              "SELECT level, span, metric, series, ");
    rollup_write_selected(sql);
    sql_words(sql, " FROM places");
}

/* In a transaction. */
static enum status put(const struct rollups *rollups, const struct rolled *rolled, struct connection *connection,
                       const struct portion *portion, struct cancel *cancel, struct error *reterr)
{
    struct sql sql;
    sql_init(&sql, SQL_BYTES_MAX);
    write_fresh(&sql, rolled, portion);
    unsigned entered = catalogue_enter(rollups->catalogue);
    enum status status = engine_alter(connection, &sql, cancel, NULL, reterr);
    catalogue_leave(rollups->catalogue, entered);
    return status == OK ? rollup_replace(connection, cancel, reterr) : status;
}

enum status rollup_follow(const struct rollups *rollups, struct connection *connection, const char *source,
                          struct time_span partitions, struct cancel *cancel, struct error *reterr)
{
    struct rolled rolled;
    enum status status = rolled_get(connection, &rolled, reterr);
    if (status != OK || !rolled.is_on || partitions.min_ms >= rolled.until_ms)
        return status;
    if (partitions.max_ms >= rolled.until_ms)
        partitions.max_ms = rolled.until_ms - 1;
    struct portion portion = {.source = source, .partitions = partitions};
    return put(rollups, &rolled, connection, &portion, cancel, reterr);
}

/* --- round by round --- */

/* The end of the first partitions that have chunks from `until` to limit_ms, up to MOVE_SAMPLES of them or one;
 * limit_ms if these are all. *ret_any: there are any. */
static enum status choose(struct compactor *c, int64_t from_ms, int64_t limit_ms, int64_t *ret_until_ms, bool *ret_any,
                          struct error *reterr)
{
    duckdb_result rows;
    enum status status = chunks_by_partition(c, (struct time_span){from_ms, limit_ms - 1}, &rows, reterr);
    if (status != OK)
        return status;
    int64_t samples_n = 0;
    *ret_until_ms = limit_ms;
    *ret_any = duckdb_row_count(&rows) > 0;
    for (idx_t i = 0; i < duckdb_row_count(&rows); i++) {
        samples_n += duckdb_value_int64(&rows, 1, i);
        if (i > 0 && samples_n > MOVE_SAMPLES) {
            int64_t part = duckdb_value_int64(&rows, 0, i);
            *ret_until_ms = partitions_span(part, part).min_ms;
            break;
        }
    }
    duckdb_destroy_result(&rows);
    return OK;
}

/* Every n-th of the chunks in the partitions: where one slice ends and the next begins. */
static enum status find_bounds(struct compactor *c, struct time_span partitions, int64_t n, duckdb_result *ret_bounds,
                               struct error *reterr)
{
    struct sql sql;
    sql_init(&sql, SQL_BYTES_MAX);
    sql_words(&sql, "SELECT metric_key, series FROM (SELECT metric_key, series, row_number() OVER (ORDER BY "
                    "metric_key, series) AS number FROM stored_chunks WHERE move <= (SELECT move FROM moved) AND ");
    sql_between(&sql, "tmin", partitions);
    sql_words(&sql, ") WHERE number % ");
    sql_i64(&sql, n);
    sql_words(&sql, " = 0 ORDER BY number");
    return engine_ask(c->connection, &sql, &c->cancel, ret_bounds, reterr);
}

/* The rollups of one level, in slices: what the engine joins and sorts at once is bounded, however many series there
 * are. */
static enum status put_level(struct duckdb_store *store, const struct rolled *rolled, struct time_span partitions,
                             int64_t level_ms, struct error *reterr)
{
    struct compactor *c = &store->compactor;
    struct portion portion = {.partitions = partitions, .level_ms = level_ms};
    duckdb_result bounds;
    enum status status =
        find_bounds(c, partitions, SLICE_BUCKETS / (rollup_span_ms(level_ms) / level_ms), &bounds, reterr);
    if (status != OK)
        return status;
    idx_t n = duckdb_row_count(&bounds);
    for (idx_t i = 0; status == OK && i <= n; i++) {
        portion.slice.after = portion.slice.last;
        portion.slice.last = (struct bound){.is_there = false};
        if (i < n)
            portion.slice.last =
                (struct bound){true, duckdb_value_uint64(&bounds, 0, i), duckdb_value_uint32(&bounds, 1, i)};
        status = put(&store->rollups, rolled, c->connection, &portion, &c->cancel, reterr);
    }
    duckdb_destroy_result(&bounds);
    return status;
}

static enum status put_levels(struct duckdb_store *store, const struct rolled *rolled, struct time_span partitions,
                              struct error *reterr)
{
    struct compactor *c = &store->compactor;
    duckdb_result levels;
    enum status status = engine_query(c->connection, "SELECT level FROM rollup_levels ORDER BY level", false,
                                      &c->cancel, &levels, reterr);
    if (status != OK)
        return status;
    for (idx_t i = 0; status == OK && i < duckdb_row_count(&levels); i++)
        status = put_level(store, rolled, partitions, duckdb_value_int64(&levels, 0, i), reterr);
    duckdb_destroy_result(&levels);
    return status;
}

static enum status advance_in_transaction(struct duckdb_store *store, const struct rolled *rolled, int64_t limit_ms,
                                          struct error *reterr)
{
    struct compactor *c = &store->compactor;
    int64_t until_ms;
    bool any;
    enum status status = choose(c, rolled->until_ms, limit_ms, &until_ms, &any, reterr);
    if (status == OK && any)
        status = put_levels(store, rolled, (struct time_span){rolled->until_ms, until_ms - 1}, reterr);
    if (status == OK)
        status = engine_change(c->connection, SCHEMA_NEXT_MOVE, &c->cancel, NULL, reterr);
    return status == OK ? rolled_set_until(c->connection, until_ms, reterr) : status;
}

enum status rollup_advance(struct duckdb_store *store, int64_t limit_ms, bool *ret_more, struct error *reterr)
{
    struct compactor *c = &store->compactor;
    struct rollups *rollups = &store->rollups;
    struct rolled rolled;
    int64_t began_us = engine_clock_us();
    bool any = false;
    enum status status;
    *ret_more = false;
    while ((status = rolled_get(c->connection, &rolled, reterr)) == OK && rolled.is_on && rolled.until_ms < limit_ms) {
        *ret_more = atomic_load(&c->waiting_n) > 0;
        if (*ret_more)
            break;
        status = disk_check(store, CHUNKS_LOG_BYTES, reterr);
        if (status == OK)
            status = engine_begin(c->connection, reterr);
        if (status == OK)
            status = engine_end(c->connection, advance_in_transaction(store, &rolled, limit_ms, reterr), reterr);
        if (status != OK)
            break;
        atomic_fetch_add_explicit(&rollups->rounds_n, 1, memory_order_relaxed);
        any = true;
    }
    if (status == OK && any)
        status = rollup_look(rollups, c->connection, reterr);
    atomic_fetch_add_explicit(&rollups->spent_us, (uint64_t)(engine_clock_us() - began_us), memory_order_relaxed);
    if (status != OK)
        atomic_fetch_add_explicit(&rollups->failures_n, 1, memory_order_relaxed);
    return status;
}
